//! The election port: greetings, frames and notifications in any pieces, through `serval::quorum::elector`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serval::ids::{ServerId, Zxid};
use serval::quorum::connections::{self, ConnId, Connections};
use serval::quorum::election::{self, Election, Pace, PeerState};
use serval::quorum::elector::{Action, Elector, Event};
use serval::quorum::membership::Membership;
use serval::quorum::views::Views;
use serval::time::{Instant, Millis};
use serval::wire::quorum::election::{Initial, Notification, frame};

const ME: ServerId = ServerId(2);
/// Greetings that are waited for, strangers and members: more connections cannot be kept open by peers.
const OPEN_MAX: usize = 64 + 64 + 3;

fn members() -> Membership {
    let text = b"server.1=a:1:11\nserver.2=b:1:12\nserver.3=c:1:13\nserver.4=d:1:14:observer\nversion=0";
    Membership::from_text(text).expect("a good membership")
}

fn connections() -> Connections {
    Connections::new(ME, Views::new(members()), false, Millis(5000))
}

/// The same bytes say the same in whatever pieces they come; then as instructions for the whole port.
pub fn election(bytes: &[u8]) {
    let Some((cuts, stream)) = bytes.split_at_checked(2) else { return };
    if cuts[0] < 128 {
        check_pieces(stream, usize::from(cuts[1]) + 1);
        check_messages(stream);
    } else {
        Port::new(cuts[1]).run(stream);
    }
}

fn check_pieces(stream: &[u8], piece: usize) {
    let said = |piece: usize| {
        let (mut connections, mut actions, mut messages) = (connections(), Vec::new(), Vec::new());
        connections.handle(Instant(0), connections::Event::Accepted(ConnId(1)), &mut actions);
        for bytes in stream.chunks(piece) {
            connections.handle(
                Instant(0),
                connections::Event::Received { conn: ConnId(1), bytes },
                &mut actions,
            );
        }
        while let Some(message) = connections.next_message() {
            messages.push(message);
        }
        assert!(messages.len() <= connections::INBOX_MAX);
        (actions, messages)
    };
    assert_eq!(said(piece), said(stream.len().max(1)), "in pieces of {piece} bytes");
}

/// What was understood means the same when it is sent again.
fn check_messages(stream: &[u8]) {
    if let Ok(Some((initial, used))) = Initial::decode(stream) {
        assert!(used <= stream.len());
        let again = initial.encode();
        assert_eq!(Initial::decode(&again), Ok(Some((initial, again.len()))));
    }
    if let Ok(notification) = Notification::decode(stream) {
        let again = notification.encode();
        let (body, used) = frame(&again).expect("an own frame").expect("all of it");
        assert_eq!(used, again.len());
        let second = Notification::decode(body).expect("an own message");
        assert_eq!((second.state, second.vote, second.round), {
            (notification.state, notification.vote, notification.round)
        });
        assert_eq!(second.config, Some(notification.config.unwrap_or_default()));
    }
}

/// A server's election port and what the shell would know about it.
struct Port {
    elector: Elector,
    now: Instant,
    conns: u64,
    open: BTreeSet<ConnId>,
    dials: VecDeque<ServerId>,
    /// Connections of which something is on its way.
    writing: BTreeMap<ConnId, usize>,
}

impl Port {
    fn new(options: u8) -> Port {
        let views = Views::new(members());
        let election = Election::new(ME, views, options & 1 == 1, Pace::default());
        let mut port = Port {
            elector: Elector::new(election, connections()),
            now: Instant(0),
            conns: 0,
            open: BTreeSet::new(),
            dials: VecDeque::new(),
            writing: BTreeMap::new(),
        };
        if options & 2 == 2 {
            port.tell(Event::Server(election::Event::Look { zxid: Zxid(7), epoch: 0 }));
        }
        port
    }

    fn run(&mut self, mut program: &[u8]) {
        while let [op, rest @ ..] = program {
            program = rest;
            let conn = self.open.iter().nth(usize::from(op >> 4) % self.open.len().max(1)).copied();
            match (op & 15, conn) {
                (0, _) => {
                    let conn = self.fresh();
                    self.tell(Event::Network(connections::Event::Accepted(conn)));
                }
                (1..=6, Some(conn)) => {
                    let Some((len, rest)) = program.split_first() else { return };
                    let (bytes, rest) = rest.split_at(usize::from(*len).min(rest.len()));
                    program = rest;
                    self.tell(Event::Network(connections::Event::Received { conn, bytes }));
                }
                (7, Some(conn)) => {
                    self.open.remove(&conn);
                    self.tell(Event::Network(connections::Event::Closed(conn)));
                }
                (8, Some(conn)) if self.writing.remove(&conn).is_some() => {
                    self.tell(Event::Network(connections::Event::Written(conn)));
                }
                (9 | 10, _) => {
                    let Some(to) = self.dials.pop_front() else { continue };
                    let event = match op & 15 {
                        9 => connections::Event::Dialed { to, conn: self.fresh() },
                        _ => connections::Event::DialFailed { to },
                    };
                    self.tell(Event::Network(event));
                }
                (11, _) => {
                    self.now = self.elector.next_timeout().unwrap_or(self.now).max(self.now);
                    self.tell(Event::Timeout);
                }
                (12, _) => self.now = self.now + Millis(u64::from(op >> 4) * 10),
                (13, _) => {
                    let zxid = Zxid(i64::from(op >> 4) - 1);
                    self.tell(Event::Server(election::Event::Look { zxid, epoch: zxid.0.min(0) }));
                }
                (14, _) if self.elector.election().state() != PeerState::Looking => {
                    self.tell(Event::Server(election::Event::Synced { epoch: i64::from(op >> 4) }));
                }
                _ => {}
            }
        }
    }

    fn fresh(&mut self) -> ConnId {
        self.conns += 1;
        self.open.insert(ConnId(self.conns));
        ConnId(self.conns)
    }

    fn tell(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.elector.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Dial { to, addresses } => {
                    assert!(to != ME && !addresses.is_empty());
                    assert!(!self.dials.contains(&to), "one attempt at a time");
                    self.dials.push_back(to);
                }
                Action::Send { conn, bytes } => {
                    assert!(self.open.contains(&conn), "nothing is said on a connection that is closed");
                    *self.writing.entry(conn).or_default() += 1;
                    assert!(
                        self.writing[&conn] <= 2,
                        "a greeting and a message, the next when they have left"
                    );
                    let greets = Initial::decode(&bytes).is_ok_and(|initial| initial.is_some());
                    let body = frame(&bytes).ok().flatten().map(|(body, _)| body);
                    assert!(greets || body.is_some_and(|body| Notification::decode(body).is_ok()));
                }
                Action::Close { conn, .. } => {
                    assert!(self.open.remove(&conn), "a connection is closed once");
                    self.writing.remove(&conn);
                }
                Action::Elected { state, leader, supporters } => {
                    assert!(state != PeerState::Looking);
                    assert_eq!(state == PeerState::Leading, leader == ME);
                    assert!(self.elector.election().views().is_quorum(|sid| supporters.contains(&sid)));
                }
                Action::Adopt { restart, .. } => {
                    if restart {
                        self.dials.clear();
                    }
                }
                Action::VoterLooks(sid) => assert!(self.elector.election().views().is_voter(sid)),
            }
        }
        assert!(self.open.len() <= OPEN_MAX, "{} connections", self.open.len());
    }
}
