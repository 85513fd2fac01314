//! The connection behind a [`Client`](super::client::Client): one session over as many sockets as it takes.
//!
//! One thread opens a socket to one server after the other, shakes hands, sends credentials and watches
//! again, then reads until the connection is lost, and starts over. It also pings, and gives up a server that
//! has been silent for two thirds of the session timeout, as Java's client does. Whoever calls writes its
//! request to the socket itself and waits for the reader thread to hand over the answer.
//!
//! # Invariants
//!
//! 1. Requests leave in the order of their xids: xid, place in `sent` and bytes on the socket are given under
//!    the `writer` lock.
//! 2. Locks are taken `writer` before `inner`, and nothing is written while `inner` is held: the reader must
//!    be able to take replies off a socket on which a caller is stuck.
//! 3. Every packet is answered exactly once: by its reply, or with the reason why none can come.
//! 4. Events are told in the order in which they came, each before any answer that came after it.

// The lint guards the machines of the server; this is a program of its own, with a clock of its own.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::connect::ConnectString;
use super::error::local;
use super::event::{Event, State};
use super::socket::{self, Frames, Hello, REPLY_BYTES_MAX, RwProbe};
use super::watches::{WatchKind, WatcherType, Watches};
use crate::ids::Xid;
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::op::Op;
use crate::wire::reply::ReplyHeader;
use crate::wire::request::{ConnectRequest, RequestHeader};

/// Between two rounds through the list of servers, none of which answered.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// Java's `MAX_SEND_PING_INTERVAL`.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

const XID_AUTH: i32 = -4;
const XID_SET_WATCHES: i32 = -8;

/// Called for every event, by the reader thread: it must not wait for an answer of the same client.
pub type Watcher = Arc<dyn Fn(&Event) + Send + Sync>;

/// What a client is made with.
#[derive(Clone)]
pub struct Settings {
    pub connect: ConnectString,
    /// Asked for; the server may grant another.
    pub session_timeout: Duration,
    /// Whether a read-only server will do.
    pub read_only: bool,
    pub watcher: Watcher,
}

/// The body of a successful reply, or the error code.
pub type Answer = Result<Vec<u8>, i32>;

/// What a reply means for the watches. Done by the reader, so that no event can come in between.
pub enum Effect {
    None,
    Watch(WatchKind, String),
    /// An `exists` watch: on the node, or on its coming into being.
    WatchExists(String),
    /// `local`: forget the watches even if the server could not be asked.
    Unwatch {
        watcher_type: WatcherType,
        path: String,
        local: bool,
    },
}

/// An answer to come.
pub struct Pending(Receiver<Answer>);

impl Pending {
    pub fn wait(self) -> Answer {
        self.0.recv().unwrap_or(Err(local::CONNECTION_LOSS))
    }

    pub fn wait_at_most(self, limit: Duration) -> Answer {
        match self.0.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(local::OPERATION_TIMEOUT),
            Err(RecvTimeoutError::Disconnected) => Err(local::CONNECTION_LOSS),
        }
    }
}

struct Packet {
    op: Op,
    record: Vec<u8>,
    effect: Effect,
    answer: Sender<Answer>,
}

/// A credential, sent again on every connection.
struct Auth {
    scheme: String,
    credential: Option<Vec<u8>>,
    /// Who waits for the server's word, until it has been sent once.
    answer: Option<Sender<Answer>>,
}

struct Inner {
    state: State,
    /// A close is under way: losing the connection is what we want.
    closing: bool,
    session: i64,
    password: Vec<u8>,
    /// The session is known to the ensemble, so other servers will take it over. One that was made by a
    /// read-only server is known to that server alone and must not be offered elsewhere.
    seen_read_write: bool,
    last_zxid: i64,
    /// As negotiated; before that, as asked for.
    session_timeout: Duration,
    xid: i32,
    /// Not sent yet: there is no connection.
    waiting: Vec<Packet>,
    /// Sent and unanswered, in order.
    sent: VecDeque<(i32, Packet)>,
    auths: Vec<Auth>,
    auths_sent: VecDeque<Option<Sender<Answer>>>,
    watches: Watches,
    last_sent: Instant,
    /// State in the last event, which is not told twice (`EventThread.sessionState`).
    told: &'static str,
    /// Rounds through the list of servers without an answer.
    rounds_failed: u64,
    /// What went wrong last, for a person.
    trouble: Option<String>,
}

/// Shared by the caller and the reader thread.
pub struct Link {
    settings: Settings,
    /// The socket to write to, while requests may be written.
    writer: Mutex<Option<TcpStream>>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Link {
    /// Starts connecting.
    pub fn open(settings: Settings) -> Arc<Link> {
        let inner = Inner {
            state: State::Connecting,
            closing: false,
            session: 0,
            password: vec![0; 16],
            seen_read_write: false,
            last_zxid: 0,
            session_timeout: settings.session_timeout,
            xid: 0,
            waiting: Vec::new(),
            sent: VecDeque::new(),
            auths: Vec::new(),
            auths_sent: VecDeque::new(),
            watches: Watches::default(),
            last_sent: Instant::now(),
            told: "Disconnected",
            rounds_failed: 0,
            trouble: None,
        };
        let link = Arc::new(Link {
            settings,
            writer: Mutex::new(None),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        });
        let reader = Arc::clone(&link);
        std::thread::spawn(move || reader.run());
        link
    }

    pub fn state(&self) -> State {
        self.inner().state
    }

    /// Whether any server ever gave us a session.
    pub fn was_connected(&self) -> bool {
        self.inner().session != 0
    }

    /// Why there is no connection, as the system put it last.
    pub fn trouble(&self) -> Option<String> {
        self.inner().trouble.clone()
    }

    /// Waits until there is a connection or every server has been tried once in vain; at most `limit`.
    pub fn wait_first_round(&self, limit: Duration) {
        self.wait_until(limit, |inner| inner.state != State::Connecting || inner.rounds_failed > 0);
    }

    /// Waits for a connection to a server that takes writes. False if there is none within `limit`.
    pub fn wait_connected(&self, limit: Duration) -> bool {
        self.wait_until(limit, |inner| inner.state == State::Connected || !inner.state.is_alive());
        self.state() == State::Connected
    }

    fn wait_until(&self, limit: Duration, done: impl Fn(&Inner) -> bool) {
        let waited = self.changed.wait_timeout_while(self.inner(), limit, |inner| !done(inner));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Sends a request, or keeps it for the connection to come. It fails with CONNECTIONLOSS when that
    /// connection is lost, or when none of the servers can be reached.
    pub fn submit(&self, op: Op, record: Vec<u8>, effect: Effect) -> Pending {
        let (answer, pending) = mpsc::channel();
        let packet = Packet { op, record, effect, answer };
        let mut writer = lock(&self.writer);
        let mut inner = self.inner();
        if !inner.state.is_alive() {
            let code = inner.state.lost_code();
            inner.answer(packet, Err(code));
        } else if writer.is_none() {
            inner.waiting.push(packet);
        } else {
            let mut bytes = Vec::new();
            inner.send(packet, &mut bytes);
            drop(inner);
            write(&mut writer, &bytes);
        }
        Pending(pending)
    }

    /// Adds a credential for this and all later connections.
    pub fn add_auth(&self, scheme: &str, credential: Option<&[u8]>) -> Pending {
        let (answer, pending) = mpsc::channel();
        let mut auth = Auth {
            scheme: scheme.to_string(),
            credential: credential.map(<[u8]>::to_vec),
            answer: Some(answer),
        };
        let mut writer = lock(&self.writer);
        let mut inner = self.inner();
        if !inner.state.is_alive() {
            // The sender is dropped with `auth`, which reads as a lost connection.
            return Pending(pending);
        }
        let mut bytes = Vec::new();
        if writer.is_some() {
            put_auth(&mut bytes, &auth);
            let waiter = auth.answer.take();
            inner.auths_sent.push_back(waiter);
            inner.last_sent = Instant::now();
        }
        inner.auths.push(auth);
        drop(inner);
        write(&mut writer, &bytes);
        Pending(pending)
    }

    /// Ends the session. Waits a moment for the server to say that it has, so that ephemeral nodes are gone.
    pub fn close(&self, limit: Duration) {
        let connected = {
            let mut inner = self.inner();
            if !inner.state.is_alive() {
                return;
            }
            inner.closing = true;
            inner.state != State::Connecting
        };
        if connected {
            let closed = self.submit(Op::CloseSession, Vec::new(), Effect::None);
            // Whatever the answer is, the session is over for us.
            let _ = closed.wait_at_most(limit);
        }
        self.end(State::Closed);
        self.tell(Event::of_session("Closed"));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// The last state: everybody who waits is told, and the thread ends.
    fn end(&self, state: State) {
        if let Some(stream) = &*lock(&self.writer) {
            // The reader sees the end of the stream; an error says that it already has.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut inner = self.inner();
        inner.state = state;
        let events = inner.fail_all(state.lost_code());
        drop(inner);
        self.changed.notify_all();
        self.tell_all(events);
    }

    /// Tells of paths as the user knows them.
    fn tell_all(&self, events: Vec<Event>) {
        for mut event in events {
            event.path =
                event.path.map(|path| strip_chroot(&self.settings.connect.chroot, &path).to_string());
            self.tell(event);
        }
    }

    fn tell(&self, event: Event) {
        {
            let mut inner = self.inner();
            if event.kind == "None" && inner.told == event.state {
                return;
            }
            inner.told = event.state;
        }
        (self.settings.watcher)(&event);
    }

    /// The reader thread, from the first attempt to the end of the session.
    fn run(&self) {
        let servers = self.settings.connect.shuffled();
        let mut failed_in_a_row = 0;
        for (host, port) in servers.iter().cycle() {
            if !self.wants_connection() {
                return;
            }
            match self.shake_hands(host, *port, servers.len()) {
                Ok((stream, hello)) => {
                    failed_in_a_row = 0;
                    let since = Instant::now();
                    if hello.timeout_ms <= 0 {
                        self.tell(Event::of_session("Expired"));
                        self.end(State::Closed);
                        return;
                    }
                    let error = self.serve(&stream, &hello);
                    // Whoever is stuck writing to it must let go of the writer's lock.
                    let _ = stream.shutdown(Shutdown::Both);
                    self.lost(&format!("{host}:{port}: {error}"));
                    // A server that takes the session and drops it at once must not be hammered.
                    if since.elapsed() < ROUND_PAUSE {
                        self.pause();
                    }
                }
                Err(error) => {
                    failed_in_a_row += 1;
                    self.inner().trouble = Some(format!("{host}:{port}: {error}"));
                    if failed_in_a_row % servers.len() == 0 {
                        let mut inner = self.inner();
                        inner.rounds_failed += 1;
                        let events = inner.fail_all(local::CONNECTION_LOSS);
                        drop(inner);
                        self.changed.notify_all();
                        self.tell_all(events);
                        self.pause();
                    }
                }
            }
        }
    }

    fn wants_connection(&self) -> bool {
        let inner = self.inner();
        inner.state.is_alive() && !inner.closing
    }

    /// Sleeps, unless the session ends first.
    fn pause(&self) {
        self.wait_until(ROUND_PAUSE, |inner| !inner.state.is_alive());
    }

    /// The connection is gone: what was sent has no answer, and the next server gets its turn.
    fn lost(&self, why: &str) {
        *lock(&self.writer) = None;
        let mut inner = self.inner();
        let silent = inner.closing || !inner.state.is_alive();
        if !silent {
            inner.state = State::Connecting;
        }
        inner.trouble = Some(why.to_string());
        let code = inner.state.lost_code();
        let events = inner.fail_all(code);
        drop(inner);
        self.changed.notify_all();
        self.tell_all(events);
        if !silent {
            self.tell(Event::of_session("Disconnected"));
        }
    }

    /// Connects to one server and sends the connect request.
    fn shake_hands(&self, host: &str, port: u16, servers: usize) -> io::Result<(TcpStream, Hello)> {
        let (last_zxid_seen, session, password, limit) = {
            let inner = self.inner();
            // Java's `connectTimeout`: each server gets its share of the session's time.
            let share = inner.session_timeout / u32::try_from(servers).unwrap_or(u32::MAX);
            let session = if inner.seen_read_write { inner.session } else { 0 };
            (inner.last_zxid, session, inner.password.clone(), share.max(Duration::from_millis(100)))
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms: i32::try_from(self.settings.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session,
            password: Some(&password),
            read_only: Some(self.settings.read_only),
        };
        socket::open(host, port, &request, limit)
    }

    /// From the handshake to the loss of the connection; why it was lost.
    fn serve(&self, stream: &TcpStream, hello: &Hello) -> io::Error {
        let event = {
            let mut inner = self.inner();
            inner.session = hello.session;
            inner.password.clone_from(&hello.password);
            inner.seen_read_write |= !hello.read_only;
            inner.session_timeout = Duration::from_millis(hello.timeout_ms.unsigned_abs().into());
            if hello.read_only { "ConnectedReadOnly" } else { "SyncConnected" }
        };
        self.tell(Event::of_session(event));
        match self.go_online(stream, hello.read_only) {
            Ok(()) => match self.read_replies(stream, hello.read_only) {
                Ok(never) => match never {},
                Err(error) => error,
            },
            Err(error) => error,
        }
    }

    /// Sends what every connection begins with: credentials, watches, then the requests that waited.
    fn go_online(&self, stream: &TcpStream, read_only: bool) -> io::Result<()> {
        let own = stream.try_clone()?;
        let mut writer = lock(&self.writer);
        let mut inner = self.inner();
        if !inner.state.is_alive() {
            return Err(io::Error::other("the session was closed"));
        }
        let mut bytes = Vec::new();
        for at in 0..inner.auths.len() {
            put_auth(&mut bytes, &inner.auths[at]);
            let waiter = inner.auths[at].answer.take();
            inner.auths_sent.push_back(waiter);
        }
        for (op, record) in inner.watches.requests(inner.last_zxid) {
            put_request(&mut bytes, XID_SET_WATCHES, op, &record);
        }
        for packet in std::mem::take(&mut inner.waiting) {
            inner.send(packet, &mut bytes);
        }
        inner.last_sent = Instant::now();
        inner.state = if read_only { State::ConnectedReadOnly } else { State::Connected };
        drop(inner);
        *writer = Some(own);
        write(&mut writer, &bytes);
        drop(writer);
        self.changed.notify_all();
        Ok(())
    }

    /// Reads, and pings when there is nothing to read, until the connection fails.
    fn read_replies(&self, stream: &TcpStream, read_only: bool) -> io::Result<std::convert::Infallible> {
        let session_timeout = self.inner().session_timeout;
        let silence_max = session_timeout * 2 / 3;
        let ping_interval = (session_timeout / 3).min(PING_INTERVAL_MAX);
        stream.set_write_timeout(Some(silence_max.max(MILLISECOND)))?;
        let mut frames = Frames::default();
        let mut last_heard = Instant::now();
        let mut probe = read_only.then(|| RwProbe::new(&self.settings.connect));
        loop {
            let now = Instant::now();
            let silence = now - last_heard;
            if silence >= silence_max {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server is silent"));
            }
            let idle = now.saturating_duration_since(self.inner().last_sent);
            if idle >= ping_interval {
                self.ping();
                continue;
            }
            let mut wait = (silence_max - silence).min(ping_interval - idle);
            if let Some(probe) = &mut probe {
                if probe.found_read_write(now) {
                    return Err(io::Error::other("a server that takes writes was found"));
                }
                wait = wait.min(probe.wait);
            }
            stream.set_read_timeout(Some(wait.max(MILLISECOND)))?;
            match frames.fill(stream) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(_) => last_heard = Instant::now(),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(e) => return Err(e),
            }
            while let Some(frame) = frames.next_frame()? {
                self.on_frame(&frame).map_err(io::Error::other)?;
            }
        }
    }

    fn ping(&self) {
        let mut bytes = Vec::new();
        put_request(&mut bytes, Xid::PING.0, Op::Ping, &[]);
        // Whoever holds the lock is sending something, and that serves as well.
        match self.writer.try_lock() {
            Ok(mut writer) => write(&mut writer, &bytes),
            Err(TryLockError::Poisoned(poisoned)) => write(&mut poisoned.into_inner(), &bytes),
            Err(TryLockError::WouldBlock) => {}
        }
        self.inner().last_sent = Instant::now();
    }

    /// One frame from the server. An error costs the connection.
    fn on_frame(&self, frame: &[u8]) -> Result<(), String> {
        let malformed = |e: Malformed| e.to_string();
        let mut r = Reader::new(frame, REPLY_BYTES_MAX);
        let header = ReplyHeader::read(&mut r).map_err(malformed)?;
        match header.xid {
            xid if xid == Xid::PING.0 => return Ok(()),
            XID_SET_WATCHES => return Ok(()),
            XID_AUTH => return self.on_auth_reply(header.err),
            xid if xid == Xid::NOTIFICATION.0 => {
                return self.on_notification(header.zxid, &mut r).map_err(malformed);
            }
            _ => {}
        }
        let mut inner = self.inner();
        let Some((xid, packet)) = inner.sent.pop_front() else {
            return Err(format!("a reply with xid {} to no request", header.xid));
        };
        if xid != header.xid {
            inner.sent.push_front((xid, packet));
            return Err(format!("a reply with xid {} where {xid} was next", header.xid));
        }
        if header.zxid > 0 {
            inner.last_zxid = header.zxid;
        }
        let answer = if header.err == 0 { Ok(r.rest().to_vec()) } else { Err(header.err) };
        let events = inner.answer(packet, answer);
        drop(inner);
        self.tell_all(events);
        Ok(())
    }

    fn on_auth_reply(&self, err: i32) -> Result<(), String> {
        let waiter = self.inner().auths_sent.pop_front();
        if err != ErrorCode::AuthFailed.code() {
            if let Some(Some(waiter)) = waiter {
                // Nobody need wait for it.
                let _ = waiter.send(if err == 0 { Ok(Vec::new()) } else { Err(err) });
            }
            return Ok(());
        }
        // A credential that is refused ends the client for good, as in Java: it would be refused everywhere.
        self.tell(Event::of_session("AuthFailed"));
        self.end(State::AuthFailed);
        if let Some(Some(waiter)) = waiter {
            let _ = waiter.send(Err(err));
        }
        Err("authentication failed".into())
    }

    fn on_notification(&self, zxid: i64, r: &mut Reader<'_>) -> Result<(), Malformed> {
        let event_type = r.int()?;
        let _state = r.int()?; // Always SyncConnected.
        let path = r.string()?.ok_or(Malformed::BadValue("null path in an event"))?;
        let kind = match event_type {
            1 => "NodeCreated",
            2 => "NodeDeleted",
            3 => "NodeDataChanged",
            4 => "NodeChildrenChanged",
            _ => return Err(Malformed::BadValue("unknown event type")),
        };
        self.inner().watches.fired(event_type, &path);
        self.tell_all(vec![Event { state: "SyncConnected", kind, path: Some(path.into_owned()), zxid }]);
        Ok(())
    }
}

/// The path as the user sees it. One outside the chroot (`/zookeeper/config`) stays as it is.
pub fn strip_chroot<'a>(chroot: &str, path: &'a str) -> &'a str {
    match path.strip_prefix(chroot) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

impl Inner {
    /// Gives the packet its xid and appends its bytes to what will be written.
    fn send(&mut self, packet: Packet, bytes: &mut Vec<u8>) {
        // Negative xids have meanings of their own.
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        put_request(bytes, self.xid, packet.op, &packet.record);
        self.sent.push_back((self.xid, packet));
        self.last_sent = Instant::now();
    }

    /// Hands over the answer and does what it means for the watches; the events to tell of that.
    fn answer(&mut self, packet: Packet, answer: Answer) -> Vec<Event> {
        let no_node = Err(ErrorCode::NoNode.code());
        let mut events = Vec::new();
        let mut answer = answer;
        match packet.effect {
            Effect::Watch(kind, path) if answer.is_ok() => self.watches.register(kind, &path),
            Effect::WatchExists(path) if answer.is_ok() => self.watches.register(WatchKind::Data, &path),
            Effect::WatchExists(path) if answer == no_node => self.watches.register(WatchKind::Exist, &path),
            Effect::Unwatch { watcher_type, path, local } if answer.is_ok() || local => {
                let state = if answer.is_ok() { "SyncConnected" } else { "Disconnected" };
                events.extend(self.watches.unregister(watcher_type, &path).into_iter().map(|kind| Event {
                    state,
                    kind,
                    path: Some(path.clone()),
                    zxid: -1,
                }));
                // The server may know of no such watch and still say yes (3.8 mixes up the types).
                answer = if events.is_empty() { Err(ErrorCode::NoWatcher.code()) } else { Ok(Vec::new()) };
            }
            _ => {}
        }
        // The caller may have given up waiting.
        let _ = packet.answer.send(answer);
        events
    }

    /// No reply will come any more for anything that was sent or waits; the events to tell of that.
    fn fail_all(&mut self, code: i32) -> Vec<Event> {
        let sent = std::mem::take(&mut self.sent).into_iter().map(|(_, packet)| packet);
        let waiting = std::mem::take(&mut self.waiting);
        let events = sent.chain(waiting).flat_map(|packet| self.answer(packet, Err(code))).collect();
        let unsent = self.auths.iter_mut().map(|auth| auth.answer.take());
        for waiter in std::mem::take(&mut self.auths_sent).into_iter().chain(unsent).flatten() {
            let _ = waiter.send(Err(code));
        }
        events
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn put_request(out: &mut Vec<u8>, xid: i32, op: Op, record: &[u8]) {
    jute::put_frame(out, |out| {
        RequestHeader { xid, kind: op.code() }.write(out);
        out.extend_from_slice(record);
    });
}

fn put_auth(out: &mut Vec<u8>, auth: &Auth) {
    let mut record = Vec::new();
    jute::put_int(&mut record, 0); // A type that no server looks at.
    jute::put_string(&mut record, Some(&auth.scheme));
    jute::put_buffer(&mut record, auth.credential.as_deref());
    put_request(out, XID_AUTH, Op::Auth, &record);
}

/// Writes to the socket, if there is one. If it fails, the reader is made to see that the connection is gone.
fn write(writer: &mut Option<TcpStream>, bytes: &[u8]) {
    if let Some(stream) = writer
        && stream.write_all(bytes).is_err()
    {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A panic elsewhere leaves the data as good as it was: all changes under these locks are whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
