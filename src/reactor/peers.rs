//! Sockets of an ensemble: the election port and its connections, the quorum port and its links. [`dials`] has the
//! connections that this server makes.
//!
//! What is said on them is the [`member`](crate::member)'s business. Here each socket has its token, and each connection
//! the number by which the member knows it; what happens is told as the member's events.
//!
//! # Invariants
//!
//! 1. Numbers of connections are never used twice.
//! 2. All that a peer sent is told before the end of its connection is: those who hang up at once have said something.
//!    That a connection cannot be written to is no end yet.

mod dials;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};

use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;

use self::dials::Dial;
use super::Fatal;
use super::listener::{self, advice};
use super::lookup::Lookups;
use super::socket::{ReadOutcome, Socket};
use crate::ids::{HashMap, ServerId};
use crate::member::{Event, LinkId};
use crate::quorum::connections::{self, ConnId};
use crate::time::{Instant, Millis};
use crate::wire::address::HostPort;

/// Tokens from here on, up to those of HTTP, are of peers' sockets.
pub const TOKENS: usize = usize::MAX / 4;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Between two attempts to bind the election port (`QuorumCnxManager.Listener`).
const BIND_PAUSE: Millis = Millis(1000);

/// Bytes of one peer that are taken before the others have their turn.
const READ_MAX: usize = 128 << 10;

/// Reads of a connection that is being closed.
const LAST_READS: usize = 4;

/// Connections accepted at a time.
const ACCEPTS: usize = 64;

/// Before a port that could not accept tries again: the connections that wait there are not announced once more.
const ACCEPT_PAUSE: Millis = Millis(1000);

/// What the sockets need to know of the configuration.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Where peers find this server's election port.
    pub election_addresses: Vec<HostPort>,
    /// Bind ports for peers on all addresses (`quorumListenOnAllIPs`).
    pub on_all_addresses: bool,
    /// For connecting, and for the end of a connection (`cnxTimeout`).
    pub connect_timeout: Millis,
    /// Attempts to bind the election port; `None` is for ever (`electionPortBindRetry`).
    pub bind_attempts: Option<u32>,
    /// Of election connections (`tcpKeepAlive`).
    pub keep_alive: bool,
}

/// Hands an event to the member.
pub type Tell<'a> = dyn FnMut(Event<'_>) + 'a;

pub struct Peers {
    settings: PeerSettings,
    slots: Slab<Slot>,
    conns: HashMap<ConnId, usize>,
    links: HashMap<LinkId, usize>,
    tasks: HashMap<u64, Task>,
    /// What was told last, and when, of peers whose election port is not reached.
    unreachable: HashMap<ServerId, (String, Instant)>,
    lookups: Lookups,
    /// The last number that was given to a connection or a task.
    numbers: u64,
    /// Failed attempts to bind the election port, and when the next one is.
    bind_failures: u32,
    bind_at: Option<Instant>,
    /// When ports that could not accept try again.
    accept_at: Option<Instant>,
    /// Sockets with input that no event will announce again.
    unfinished: Vec<usize>,
}

/// Which of the two ports for peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Election,
    Quorum,
}

enum Slot {
    Listener {
        listener: TcpListener,
        port: Port,
    },
    /// A connection in the making, for this dial.
    Dialing {
        stream: TcpStream,
        task: u64,
        to: SocketAddr,
    },
    Election(ElectionSocket),
    Link(Socket<LinkId>),
}

struct ElectionSocket {
    socket: Socket<ConnId>,
    out: Vec<u8>,
    /// It cannot be written to any more; its end comes when all that it sent was read.
    broken: bool,
    /// Closed once all has left, and by this time in any case.
    close_by: Option<Instant>,
}

/// Something that begins with names to be looked up.
enum Task {
    Listen { port: Port, names: Vec<HostPort> },
    Dial(Dial),
}

impl Peers {
    /// The election port is bound by the first [`Peers::handle_timeouts`].
    pub fn new(settings: PeerSettings, lookups: Lookups) -> Peers {
        Peers {
            settings,
            slots: Slab::new(),
            conns: HashMap::default(),
            links: HashMap::default(),
            tasks: HashMap::default(),
            unreachable: HashMap::default(),
            lookups,
            numbers: 0,
            bind_failures: 0,
            bind_at: Some(Instant(0)),
            accept_at: None,
            unfinished: Vec::new(),
        }
    }

    pub fn has_input(&self) -> bool {
        !self.unfinished.is_empty()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let tasks = self.tasks.values().filter_map(|task| match task {
            Task::Dial(dial) => dial.next_at.into_iter().chain(dial.deadline).min(),
            Task::Listen { .. } => None,
        });
        let closing = self.slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Election(election) => election.close_by,
            _ => None,
        });
        tasks.chain(closing).chain(self.bind_at).chain(self.accept_at).min()
    }

    pub fn handle_timeouts(
        &mut self,
        registry: &Registry,
        now: Instant,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        if self.bind_at.take_if(|at| *at <= now).is_some() {
            self.start_listening(
                registry,
                now,
                Port::Election,
                self.settings.election_addresses.clone(),
                tell,
            )?;
        }
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            let listens = |slot: &Slot| matches!(slot, Slot::Listener { .. });
            self.unfinished.extend(self.slots.iter().filter(|(_, slot)| listens(slot)).map(|(at, _)| at));
        }
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let due = |task: &Task| match task {
            Task::Dial(dial) => past(dial.deadline) || past(dial.next_at),
            Task::Listen { .. } => false,
        };
        let tasks: Vec<u64> = self.tasks.iter().filter(|(_, task)| due(task)).map(|(id, _)| *id).collect();
        for id in tasks {
            let Some(Task::Dial(dial)) = self.tasks.get_mut(&id) else { continue };
            if past(dial.deadline) {
                self.end_dial(registry, now, id, None, tell);
            } else {
                self.try_next(registry, now, id, tell);
            }
        }
        let late = |slot: &Slot| matches!(slot, Slot::Election(e) if e.close_by.is_some_and(|by| by <= now));
        let late: Vec<usize> = self.slots.iter().filter(|(_, slot)| late(slot)).map(|(at, _)| at).collect();
        for at in late {
            self.remove(registry, at);
        }
        Ok(())
    }

    /// Goes on with what waited for names.
    pub fn take_lookups(
        &mut self,
        registry: &Registry,
        now: Instant,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        while let Some(answer) = self.lookups.answer() {
            self.on_found(registry, now, answer.asked, answer.found, tell)?;
        }
        Ok(())
    }

    /// Something is ready. Reading waits for [`Peers::read`]; true if a link can be written to again.
    pub fn event(
        &mut self,
        registry: &Registry,
        now: Instant,
        event: &Readiness,
        tell: &mut Tell<'_>,
    ) -> Option<LinkId> {
        let at = event.token().0 - TOKENS;
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        let ending = event.is_read_closed() || event.is_error();
        let mut writable = None;
        match self.slots.get_mut(at)? {
            Slot::Listener { .. } => {}
            Slot::Dialing { .. } => {
                self.on_dialing(registry, now, at, tell);
                return None;
            }
            Slot::Election(election) => {
                election.socket.readable |= readable;
                election.socket.ending |= ending;
                if event.is_writable() {
                    election.socket.set_writable();
                    self.flush_election(registry, at, tell);
                }
            }
            Slot::Link(socket) => {
                socket.readable |= readable;
                socket.ending |= ending;
                if event.is_writable() {
                    socket.set_writable();
                    writable = Some(socket.conn);
                }
            }
        }
        if readable {
            self.unfinished.push(at);
        }
        writable
    }

    /// Takes what peers sent: at most one buffer of each.
    pub fn read(&mut self, registry: &Registry, now: Instant, buffer: &mut [u8], tell: &mut Tell<'_>) {
        let mut unfinished = std::mem::take(&mut self.unfinished);
        // Election connections before links: where a leader has died, the election then begins with the knowledge that
        // it cannot be asked, and need not wait for its vote.
        let is_link = |at: usize| matches!(self.slots.get(at), Some(Slot::Link(_)));
        unfinished.sort_unstable_by_key(|at| (is_link(*at), *at));
        unfinished.dedup();
        let buffer_len = buffer.len().min(READ_MAX);
        for at in unfinished.drain(..) {
            let Some(slot) = self.slots.get_mut(at) else { continue };
            let (outcome, name) = match slot {
                Slot::Listener { .. } => {
                    self.accept(registry, now, at, tell);
                    continue;
                }
                Slot::Dialing { .. } => continue,
                Slot::Election(election) => {
                    let outcome = match read(&mut election.socket, &mut buffer[..buffer_len]) {
                        ReadOutcome::Drained if election.broken => ReadOutcome::Closed,
                        outcome => outcome,
                    };
                    // One that is being closed has nothing more to say.
                    let told = election.close_by.is_none();
                    (outcome, told.then_some(Name::Conn(election.socket.conn)))
                }
                Slot::Link(socket) => {
                    (read(socket, &mut buffer[..buffer_len]), Some(Name::Link(socket.conn)))
                }
            };
            match outcome {
                ReadOutcome::Drained => {}
                ReadOutcome::Closed => {
                    self.remove(registry, at);
                    match name {
                        Some(Name::Conn(conn)) => tell(Event::Election(connections::Event::Closed(conn))),
                        Some(Name::Link(link)) => tell(Event::Closed(link)),
                        None => {}
                    }
                }
                ReadOutcome::Some(n) | ReadOutcome::Last(n) => {
                    let bytes = &buffer[..n];
                    match name {
                        Some(Name::Conn(conn)) => {
                            tell(Event::Election(connections::Event::Received { conn, bytes }));
                        }
                        Some(Name::Link(link)) => tell(Event::Received { link, bytes }),
                        None => {}
                    }
                    if matches!(outcome, ReadOutcome::Some(_)) {
                        self.unfinished.push(at);
                    }
                }
            }
        }
    }

    /// The election port moves to where the membership has it now, unless it is there already.
    pub fn move_election_port(&mut self, now: Instant, registry: &Registry, addresses: Vec<HostPort>) {
        if addresses.is_empty() || addresses == self.settings.election_addresses {
            return;
        }
        self.settings.election_addresses = addresses;
        self.stop_listening_on(registry, Port::Election);
        self.bind_failures = 0;
        self.bind_at = Some(now);
    }

    pub fn send_election(&mut self, registry: &Registry, conn: ConnId, bytes: &[u8], tell: &mut Tell<'_>) {
        let Some(&at) = self.conns.get(&conn) else { return };
        if let Some(Slot::Election(election)) = self.slots.get_mut(at) {
            election.out.extend_from_slice(bytes);
            self.flush_election(registry, at, tell);
        }
    }

    /// Closes once what was to be sent has left. The member has forgotten the connection already.
    pub fn close_election(&mut self, registry: &Registry, now: Instant, conn: ConnId) {
        let Some(&at) = self.conns.get(&conn) else { return };
        if let Some(Slot::Election(election)) = self.slots.get_mut(at) {
            election.close_by = Some(now + self.settings.connect_timeout);
            if election.out.is_empty() {
                self.hang_up(registry, at);
            }
        }
    }

    /// Binds the quorum port.
    pub fn listen(
        &mut self,
        registry: &Registry,
        now: Instant,
        addresses: Vec<HostPort>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        self.start_listening(registry, now, Port::Quorum, addresses, tell)
    }

    pub fn stop_listening(&mut self, registry: &Registry) {
        self.stop_listening_on(registry, Port::Quorum);
    }

    fn stop_listening_on(&mut self, registry: &Registry, which: Port) {
        self.tasks.retain(|_, task| !matches!(task, Task::Listen { port, .. } if *port == which));
        let listens = |slot: &Slot| matches!(slot, Slot::Listener { port, .. } if *port == which);
        let all: Vec<usize> = self.slots.iter().filter(|(_, slot)| listens(slot)).map(|(at, _)| at).collect();
        for at in all {
            self.remove(registry, at);
        }
    }

    pub fn close_link(&mut self, registry: &Registry, link: LinkId) {
        if let Some(&at) = self.links.get(&link) {
            self.remove(registry, at);
        }
    }

    pub fn address_of(&self, link: LinkId) -> Option<SocketAddr> {
        let slot = self.links.get(&link).and_then(|at| self.slots.get(*at));
        let Some(Slot::Link(socket)) = slot else { return None };
        socket.stream.peer_addr().ok()
    }

    /// Sends what the link's socket takes of `out`; true if that is anything.
    ///
    /// # Errors
    /// The connection is gone; the member is to be told.
    pub fn write_link(&mut self, link: LinkId, out: &mut Vec<u8>) -> io::Result<bool> {
        let slot = self.links.get(&link).and_then(|at| self.slots.get_mut(*at));
        let Some(Slot::Link(socket)) = slot else { return Err(ErrorKind::NotConnected.into()) };
        socket.write(out)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn start_listening(
        &mut self,
        registry: &Registry,
        now: Instant,
        port: Port,
        mut addresses: Vec<HostPort>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        if self.settings.on_all_addresses {
            addresses = addresses.iter().map(|at| HostPort::on_all_addresses(at.port)).collect();
            addresses.dedup();
        }
        let id = self.number();
        self.tasks.insert(id, Task::Listen { port, names: addresses.clone() });
        match self.lookups.ask(id, addresses) {
            Some(found) => self.on_found(registry, now, id, found, tell),
            None => Ok(()),
        }
    }

    fn on_found(
        &mut self,
        registry: &Registry,
        now: Instant,
        id: u64,
        found: Vec<SocketAddr>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        match self.tasks.get_mut(&id) {
            // Nobody wants to know any more.
            None => Ok(()),
            Some(Task::Dial(dial)) => {
                dial.left = found.into();
                dial.deadline = Some(now + self.settings.connect_timeout);
                self.try_next(registry, now, id, tell);
                Ok(())
            }
            Some(Task::Listen { port, names }) => {
                let (port, names) = (*port, list(names));
                self.tasks.remove(&id);
                self.bind(registry, now, port, names, &found, tell)
            }
        }
    }

    /// One address is enough: another may be a machine's outer one, which only its peers can use.
    fn bind(
        &mut self,
        registry: &Registry,
        now: Instant,
        port: Port,
        names: String,
        found: &[SocketAddr],
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
        let mut bound = false;
        for &at in found {
            match self.bind_one(registry, port, at) {
                Ok(()) => bound = true,
                Err(error) => {
                    log::debug!("Cannot listen on {at}: {error}");
                    failure = error;
                }
            }
        }
        match port {
            _ if bound => self.bind_failures = 0,
            Port::Quorum => {
                log::error!("Cannot listen on the quorum port {names}: {failure}; {}", advice(&failure));
                tell(Event::CannotListen);
            }
            Port::Election => {
                self.bind_failures += 1;
                if self.settings.bind_attempts.is_some_and(|max| self.bind_failures >= max) {
                    return Err(Fatal::ElectionPort { address: names, source: failure });
                }
                log::warn!("Cannot listen on the election port {names}, trying again: {failure}");
                self.bind_at = Some(now + BIND_PAUSE);
            }
        }
        Ok(())
    }

    fn bind_one(&mut self, registry: &Registry, port: Port, at: SocketAddr) -> io::Result<()> {
        let mut listener = TcpListener::from_std(listener::listen(at, BACKLOG)?);
        let entry = self.slots.vacant_entry();
        registry.register(&mut listener, Token(TOKENS + entry.key()), Interest::READABLE)?;
        self.unfinished.push(entry.key());
        entry.insert(Slot::Listener { listener, port });
        Ok(())
    }

    fn accept(&mut self, registry: &Registry, now: Instant, at: usize, tell: &mut Tell<'_>) {
        for _ in 0..ACCEPTS {
            let Some(Slot::Listener { listener, port }) = self.slots.get_mut(at) else { return };
            let port = *port;
            match listener.accept() {
                Ok((stream, peer)) => {
                    log::debug!("{peer} has connected to the {port:?} port");
                    match port {
                        Port::Election => {
                            if let Some(conn) = self.adopt_election(registry, stream) {
                                tell(Event::Election(connections::Event::Accepted(conn)));
                            }
                        }
                        Port::Quorum => {
                            if let Some(link) = self.adopt_link(registry, stream) {
                                tell(Event::LearnerConnected(link));
                            }
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(e) => {
                    // Mostly for want of a descriptor. At once it would fail again.
                    log::error!("Cannot accept a peer's connection, trying again: {e}");
                    self.accept_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        self.unfinished.push(at);
    }

    fn adopt_election(&mut self, registry: &Registry, mut stream: TcpStream) -> Option<ConnId> {
        // An option that cannot be set is not worth the connection.
        let _ = stream.set_nodelay(true);
        if self.settings.keep_alive {
            let _ = socket2::SockRef::from(&stream).set_keepalive(true);
        }
        let conn = ConnId(self.number());
        let entry = self.slots.vacant_entry();
        let at = entry.key();
        watch(registry, &mut stream, at)?;
        entry.insert(Slot::Election(ElectionSocket {
            socket: Socket::new(stream, conn),
            out: Vec::new(),
            broken: false,
            close_by: None,
        }));
        self.conns.insert(conn, at);
        self.unfinished.push(at);
        Some(conn)
    }

    fn adopt_link(&mut self, registry: &Registry, mut stream: TcpStream) -> Option<LinkId> {
        let _ = stream.set_nodelay(true);
        let link = LinkId(self.number());
        let entry = self.slots.vacant_entry();
        let at = entry.key();
        watch(registry, &mut stream, at)?;
        entry.insert(Slot::Link(Socket::new(stream, link)));
        self.links.insert(link, at);
        self.unfinished.push(at);
        Some(link)
    }

    fn flush_election(&mut self, registry: &Registry, at: usize, tell: &mut Tell<'_>) {
        let Some(Slot::Election(election)) = self.slots.get_mut(at) else { return };
        if election.broken {
            election.out.clear();
        }
        if election.out.is_empty() {
            return;
        }
        let conn = election.socket.conn;
        let closing = election.close_by.is_some();
        let written = election.socket.write(&mut election.out);
        let all = election.out.is_empty();
        match written {
            Err(_) if closing => self.remove(registry, at),
            Err(_) => {
                election.out.clear();
                election.broken = true;
                // What is left of a message is told by a read that finds nothing more.
                election.socket.ending = true;
                self.unfinished.push(at);
            }
            Ok(_) if all && closing => self.hang_up(registry, at),
            Ok(_) if all => tell(Event::Election(connections::Event::Written(conn))),
            Ok(_) => {}
        }
    }

    /// Closes after a last message. Input that was not read would make the kernel send a reset, which can overtake it.
    fn hang_up(&mut self, registry: &Registry, at: usize) {
        if let Some(Slot::Election(election)) = self.slots.get_mut(at) {
            let _ = election.socket.stream.shutdown(Shutdown::Write);
            let mut buffer = [0; 4096];
            for _ in 0..LAST_READS {
                if matches!(
                    read(&mut election.socket, &mut buffer),
                    ReadOutcome::Drained | ReadOutcome::Closed
                ) {
                    break;
                }
            }
        }
        self.remove(registry, at);
    }

    fn remove(&mut self, registry: &Registry, at: usize) {
        // Closing the descriptor takes it out of the poll as well; this only says so where it can be seen.
        match self.slots.remove(at) {
            Slot::Listener { mut listener, .. } => {
                let _ = registry.deregister(&mut listener);
            }
            Slot::Dialing { mut stream, .. } => {
                let _ = registry.deregister(&mut stream);
            }
            Slot::Election(mut election) => {
                self.conns.remove(&election.socket.conn);
                let _ = registry.deregister(&mut election.socket.stream);
            }
            Slot::Link(mut socket) => {
                self.links.remove(&socket.conn);
                let _ = registry.deregister(&mut socket.stream);
            }
        }
    }
}

/// Whose input it is.
enum Name {
    Conn(ConnId),
    Link(LinkId),
}

fn read<Id>(socket: &mut Socket<Id>, buffer: &mut [u8]) -> ReadOutcome {
    let outcome = socket.read(buffer);
    socket.readable = matches!(outcome, ReadOutcome::Some(_));
    outcome
}

fn watch(registry: &Registry, stream: &mut TcpStream, at: usize) -> Option<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry
        .register(stream, Token(TOKENS + at), interest)
        .inspect_err(|error| log::error!("Cannot watch a peer's connection: {error}"))
        .ok()
}

fn list<T: std::fmt::Display>(addresses: &[T]) -> String {
    addresses.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
