//! Ports and dials on loopback. Nothing here waits for time: the clock is the test's own, and the poll ends with what
//! is waited for.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::{Events, Poll, Waker};
use socket2::{Domain, Type};

use super::*;
use crate::reactor::lookup::Resolver;

const WAKER: Token = Token(0);
/// For what must happen; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Dialed(i64),
    DialFailed(i64),
    LearnerConnected,
    Heard(Vec<u8>),
    Closed,
}

/// A reactor with nothing but peers.
struct Shell {
    poll: Poll,
    peers: Peers,
    now: Instant,
    told: Vec<Told>,
}

impl Shell {
    fn new(resolver: Resolver, election: SocketAddr, bind_attempts: Option<u32>) -> Shell {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).expect("a waker"));
        let settings = PeerSettings {
            election_addresses: vec![name(&election.ip().to_string(), election.port())],
            on_all_addresses: false,
            connect_timeout: Millis(5000),
            bind_attempts,
            keep_alive: false,
        };
        Shell {
            poll,
            peers: Peers::new(settings, Lookups::new(resolver, waker)),
            now: Instant(0),
            told: Vec::new(),
        }
    }

    fn dial(&mut self, to: i64, addresses: Vec<HostPort>) {
        let Shell { poll, peers, now, told } = self;
        peers
            .dial_election(poll.registry(), *now, ServerId(to), addresses, &mut |event| {
                told.extend(seen(&event))
            })
            .expect("no listener is concerned");
    }

    fn handle_timeouts(&mut self) -> Result<(), Fatal> {
        let Shell { poll, peers, now, told } = self;
        peers.handle_timeouts(poll.registry(), *now, &mut |event| told.extend(seen(&event)))
    }

    fn read(&mut self) {
        let Shell { poll, peers, now, told } = self;
        let mut buffer = [0; 64];
        peers.read(poll.registry(), *now, &mut buffer, &mut |event| told.extend(seen(&event)));
    }

    fn send_election(&mut self, conn: ConnId, bytes: &[u8]) {
        let Shell { poll, peers, told, .. } = self;
        peers.send_election(poll.registry(), conn, bytes, &mut |event| told.extend(seen(&event)));
    }

    /// Turns until the member has been told something.
    fn next_told(&mut self) -> Told {
        let mut events = Events::with_capacity(16);
        while self.told.is_empty() {
            self.poll.poll(&mut events, Some(PATIENCE)).expect("polled");
            assert!(!events.is_empty(), "nothing happens");
            let Shell { poll, peers, now, told } = self;
            let tell: &mut Tell<'_> = &mut |event| told.extend(seen(&event));
            for event in &events {
                match event.token() {
                    WAKER => {
                        peers.take_lookups(poll.registry(), *now, tell).expect("no listener is concerned")
                    }
                    _ => _ = peers.event(poll.registry(), *now, event, tell),
                }
            }
        }
        self.told.remove(0)
    }
}

fn seen(event: &Event<'_>) -> Option<Told> {
    match event {
        Event::Election(connections::Event::Dialed { to, .. }) => Some(Told::Dialed(to.0)),
        Event::Election(connections::Event::DialFailed { to }) => Some(Told::DialFailed(to.0)),
        Event::Election(connections::Event::Received { bytes, .. }) => Some(Told::Heard(bytes.to_vec())),
        Event::Election(connections::Event::Closed(_)) => Some(Told::Closed),
        Event::LearnerConnected(_) => Some(Told::LearnerConnected),
        _ => None,
    }
}

fn name(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = listener.local_addr().expect("bound");
    (listener, at)
}

fn nothing_to_resolve(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
    panic!("{name} is an address")
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

#[test]
fn a_name_is_looked_up_for_every_dial() {
    static PORT: AtomicU16 = AtomicU16::new(0);
    fn moving(_: &HostPort) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![(Ipv4Addr::LOCALHOST, PORT.load(Ordering::SeqCst)).into()])
    }
    let mut shell = Shell::new(moving, anywhere(), None);
    for _ in 0..2 {
        let (listener, at) = listener();
        PORT.store(at.port(), Ordering::SeqCst);
        shell.dial(2, vec![name("moves.example", 3888)]);
        assert_eq!(shell.next_told(), Told::Dialed(2));
        listener.accept().expect("it is this one that was dialed");
    }
}

#[test]
fn a_name_without_an_answer_is_in_nobodys_way_and_has_all_the_time_it_needs() {
    static ANSWERS: Mutex<()> = Mutex::new(());
    static PORT: AtomicU16 = AtomicU16::new(0);
    fn slow(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if name.host == "slow.example" {
            let _answers = ANSWERS.lock().expect("no panic");
        }
        Ok(vec![(Ipv4Addr::LOCALHOST, PORT.load(Ordering::SeqCst)).into()])
    }
    let (_listener, at) = listener();
    PORT.store(at.port(), Ordering::SeqCst);
    let mut shell = Shell::new(slow, anywhere(), None);
    let silence = ANSWERS.lock().expect("no panic");
    shell.dial(2, vec![name("slow.example", 3888)]);
    shell.dial(3, vec![name("quick.example", 3888)]);
    assert_eq!(shell.next_told(), Told::Dialed(3));
    shell.now = shell.now + Millis(60_000);
    shell.handle_timeouts().expect("the election port is free");
    drop(silence);
    assert_eq!(shell.next_told(), Told::Dialed(2));
}

#[test]
fn a_name_that_is_not_known_fails_the_dial() {
    fn unknown(_: &HostPort) -> io::Result<Vec<SocketAddr>> {
        Err(ErrorKind::NotFound.into())
    }
    let mut shell = Shell::new(unknown, anywhere(), None);
    shell.dial(2, vec![name("gone.example", 3888)]);
    assert_eq!(shell.next_told(), Told::DialFailed(2));
}

#[test]
fn the_next_address_is_dialed_when_one_refuses() {
    // Bound and not listening: nobody else gets this port, and nobody is let in.
    let dead = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    dead.bind(&anywhere().into()).expect("a port");
    let dead = dead.local_addr().expect("bound").as_socket().expect("of IPv4");
    let (listener, at) = listener();
    let mut shell = Shell::new(nothing_to_resolve, anywhere(), None);
    shell.dial(2, [dead, at].map(|at| name(&at.ip().to_string(), at.port())).into());
    assert_eq!(shell.next_told(), Told::Dialed(2));
    listener.accept().expect("it is this one that was dialed");
}

#[test]
fn the_election_port_is_tried_again_until_it_is_free() {
    let (listener, at) = listener();
    let mut shell = Shell::new(nothing_to_resolve, at, Some(3));
    for _ in 0..2 {
        shell.handle_timeouts().expect("one attempt is left");
        shell.now = shell.peers.next_timeout().expect("another attempt");
    }
    drop(listener);
    shell.handle_timeouts().expect("the port is free");
    assert_eq!(shell.peers.next_timeout(), None);
    std::net::TcpStream::connect(at).expect("somebody listens");
}

#[test]
fn an_election_port_that_stays_taken_stops_the_server() {
    let (_listener, at) = listener();
    let mut shell = Shell::new(nothing_to_resolve, at, Some(2));
    shell.handle_timeouts().expect("one attempt is left");
    shell.now = shell.peers.next_timeout().expect("another attempt");
    assert!(matches!(shell.handle_timeouts(), Err(Fatal::ElectionPort { .. })));
}

#[test]
fn what_a_peer_said_is_heard_though_it_cannot_be_written_to_any_more() {
    let (listener, at) = listener();
    let mut shell = Shell::new(nothing_to_resolve, anywhere(), None);
    shell.dial(2, vec![name(&at.ip().to_string(), at.port())]);
    assert_eq!(shell.next_told(), Told::Dialed(2));
    let conn = *shell.peers.conns.keys().next().expect("the one that was dialed");
    let (mut peer, _) = listener.accept().expect("it has connected");
    io::Write::write_all(&mut peer, b"my vote").expect("the server is there");
    // Its process dies: what is sent to it is answered with a reset.
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket can");
    drop(peer);
    shell.send_election(conn, b"an answer");
    while shell.peers.has_input() {
        shell.read();
    }
    assert_eq!(shell.told, [Told::Heard(b"my vote".to_vec()), Told::Closed]);
}

#[test]
fn a_port_that_cannot_accept_for_now_does_so_later_without_being_told() {
    let mut shell = Shell::new(nothing_to_resolve, anywhere(), None);
    shell.handle_timeouts().expect("the election port is free");
    // A socket that does not listen yet stands for a process without a free descriptor: accepting fails.
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&anywhere().into()).expect("a port");
    socket.set_nonblocking(true).expect("a socket can");
    let same = socket.try_clone().expect("a descriptor");
    let listener = mio::net::TcpListener::from_std(socket.into());
    let at = shell.peers.slots.insert(Slot::Listener { listener, port: Port::Quorum });
    shell.peers.unfinished.push(at);
    while shell.peers.has_input() {
        shell.read(); // And it does not spin.
    }

    same.listen(1).expect("it is bound");
    let at = same.local_addr().expect("bound").as_socket().expect("of IPv4");
    let _learner = std::net::TcpStream::connect(at).expect("it listens");
    shell.now = shell.peers.next_timeout().expect("it tries again");
    shell.handle_timeouts().expect("nothing to bind");
    shell.read();
    assert_eq!(shell.told, [Told::LearnerConnected]);
    assert_eq!(shell.peers.next_timeout(), None);
}
