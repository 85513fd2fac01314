//! One connection for every pair of servers, for votes (Java: `QuorumCnxManager`).
//!
//! Whoever has something to say connects; but the connection that stays is always one that the server with the
//! larger id has opened. A smaller one says who it is and hangs up, and is called back. There is no heartbeat,
//! and nobody reconnects unless there is something to say. What was said on a connection just before it broke is
//! something to say, twice: a process that has died is then known to be unreachable, and nobody waits for its vote. Once
//! is not enough, since a dying process closes its listening port last: there is a moment in which it can be called, and
//! will not call back.
//!
//! For each server there is a slot for one message. A newer message replaces an older one that has not been
//! taken, because only the newest vote matters. What was taken last is said again on the next connection,
//! since nobody knows whether it arrived; so peers hear votes twice, and old ones.
//!
//! The machine names connections by the [`ConnId`]s of its shell. It hears of bytes and hang-ups in the order
//! in which they came: those who hang up at once have said something before.
//!
//! # Invariants
//!
//! 1. At most one connection and one attempt to connect for each server.
//! 2. What peers can make this machine hold is bounded: unfinished greetings, servers that are in no
//!    membership, the bytes of one frame each, and [`INBOX_MAX`] messages.

use super::views::Views;
use crate::ids::ServerId;
use crate::time::{Instant, Millis};
use crate::wire::address::HostPort;
use crate::wire::quorum::election::{Form, Initial, frame};
use crate::wire::quorum::{Misbehaved, Result};
use std::collections::{BTreeMap, VecDeque};

/// Messages that wait to be counted; the oldest is dropped for a newer one.
pub const INBOX_MAX: usize = 100;
/// Connections whose opener has not said who it is.
const GREETINGS_MAX: usize = 64;
/// The least time for a server to call back, and to have died for good; or so many times what connecting took.
const CALL_AGAIN: Millis = Millis(20);
const CALL_AGAIN_TIMES: u64 = 4;
/// Attempts at one message after its connection has broken.
const TRIES_MORE: u8 = 2;
/// Servers that are in no membership and are talked to nevertheless: they may be about to be added.
const STRANGERS_MAX: usize = 64;
/// What a server calls itself that has no id (Java: `QuorumPeer.OBSERVER_ID`).
const ANONYMOUS: ServerId = ServerId(i64::MAX);

/// A connection, named by the shell; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// There is something to say to a server.
    Send {
        to: ServerId,
        frame: Vec<u8>,
    },
    /// Connect to every server for whom there was something to say.
    ConnectAll,
    /// The membership has changed. With `restart` everything is closed and forgotten, as after a change of
    /// members or addresses.
    Reconfigured {
        views: Views,
        restart: bool,
    },
    Accepted(ConnId),
    Dialed {
        to: ServerId,
        conn: ConnId,
    },
    DialFailed {
        to: ServerId,
    },
    Received {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// All that was to be sent on this connection has left.
    Written(ConnId),
    /// The peer has hung up, or the network has. Also for connections that were to be closed: no harm.
    Closed(ConnId),
    Timeout,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the first of these that answers, names looked up anew; [`Event::Dialed`] or
    /// [`Event::DialFailed`] follows.
    Dial {
        to: ServerId,
        addresses: Vec<HostPort>,
    },
    Send {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// Close once what was to be sent has left. The machine knows the connection no more.
    Close {
        conn: ConnId,
        why: Why,
    },
    /// This server can be talked to.
    Connected(ServerId),
    /// This server could not be connected to.
    Unreachable(ServerId),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The server with the larger id is to open it.
    OtherSideOpens,
    /// There is a newer one with the same server.
    Replaced,
    /// The peer says that it is this server.
    OwnId,
    NoGreeting,
    TooManyStrangers,
    Misbehaved(Misbehaved),
    /// An attempt that nobody waits for any more.
    NotWanted,
    Restart,
}

#[derive(Debug, Default)]
struct Peer {
    conn: Option<ConnId>,
    dialing: bool,
    /// What the connection has been given has not left yet.
    busy: bool,
    slot: Option<Vec<u8>>,
    last_sent: Option<Vec<u8>>,
    /// How often the last message is worth another connection, if the one that it left on breaks.
    tries_left: u8,
    /// When to connect for it again.
    call_again_at: Option<Instant>,
    /// When the last attempt to connect began, and what the last good one took.
    dialed_at: Instant,
    connect_took: Millis,
}

#[derive(Debug)]
enum Talk {
    /// Accepted; the opener has until then to say who it is.
    Greeting {
        deadline: Instant,
    },
    With(ServerId),
}

#[derive(Debug)]
struct Conn {
    talk: Talk,
    /// The beginning of a message whose end is not here yet.
    input: Vec<u8>,
}

/// Who is connected, and what there is to say.
#[derive(Debug)]
pub struct Connections {
    me: ServerId,
    views: Views,
    /// Where this server is; where it was last, if the membership has it no more.
    own_addresses: Vec<HostPort>,
    /// How this server introduces itself.
    form: Form,
    /// For the opener's greeting.
    greeting_timeout: Millis,
    peers: BTreeMap<ServerId, Peer>,
    conns: BTreeMap<ConnId, Conn>,
    inbox: VecDeque<(ServerId, Vec<u8>)>,
    anonymous: i64,
}

impl Connections {
    /// `several_addresses` is `multiAddress.enabled`.
    pub fn new(me: ServerId, views: Views, several_addresses: bool, greeting_timeout: Millis) -> Connections {
        let mut connections = Connections {
            me,
            views,
            own_addresses: Vec::new(),
            form: if several_addresses { Form::SeveralAddresses } else { Form::OneAddress },
            greeting_timeout,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            inbox: VecDeque::new(),
            anonymous: 0,
        };
        connections.find_own_addresses();
        connections
    }

    fn find_own_addresses(&mut self) {
        let committed = self.views.committed().election_addresses(self.me);
        let found = match committed.is_empty() {
            true => self.views.last_seen().election_addresses(self.me),
            false => committed,
        };
        if !found.is_empty() {
            self.own_addresses = found;
        }
    }

    /// The oldest message that has been received and not taken.
    pub fn next_message(&mut self) -> Option<(ServerId, Vec<u8>)> {
        self.inbox.pop_front()
    }

    /// Has some server taken what was last said to it? If not, repeating it is useless.
    pub fn any_delivered(&self) -> bool {
        self.peers.values().any(|peer| peer.slot.is_none())
    }

    /// When to send [`Event::Timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let calls = self.peers.values().filter_map(|peer| peer.call_again_at);
        self.greetings().map(|(deadline, _)| deadline).chain(calls).min()
    }

    fn greetings(&self) -> impl Iterator<Item = (Instant, ConnId)> {
        self.conns.iter().filter_map(|(id, conn)| match conn.talk {
            Talk::Greeting { deadline } => Some((deadline, *id)),
            Talk::With(_) => None,
        })
    }

    /// The only way in.
    pub fn handle(&mut self, now: Instant, event: Event<'_>, actions: &mut Vec<Action>) {
        match event {
            Event::Send { to, frame } if to != self.me => {
                let peer = self.peers.entry(to).or_default();
                peer.slot = Some(frame);
                peer.tries_left = TRIES_MORE;
                self.send_next(to, actions);
                self.connect(now, to, Vec::new(), actions);
                self.forget_stranger(to);
            }
            // A server that hears itself would count its own vote twice.
            Event::Send { .. } => {}
            Event::ConnectAll => {
                for sid in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.connect(now, sid, Vec::new(), actions);
                }
            }
            Event::Reconfigured { views, restart } => {
                self.views = views;
                self.find_own_addresses();
                if restart {
                    for conn in std::mem::take(&mut self.conns).into_keys() {
                        actions.push(Action::Close { conn, why: Why::Restart });
                    }
                    self.peers.clear();
                    self.inbox.clear();
                }
            }
            Event::Accepted(conn) => {
                if self.greetings().count() >= GREETINGS_MAX
                    && let Some((_, oldest)) = self.greetings().min()
                {
                    self.close(oldest, Why::NoGreeting, actions);
                }
                let talk = Talk::Greeting { deadline: now + self.greeting_timeout };
                self.conns.insert(conn, Conn { talk, input: Vec::new() });
            }
            Event::Dialed { to, conn } => self.on_dialed(now, to, conn, actions),
            Event::DialFailed { to } => {
                if let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.dialing) {
                    peer.dialing = false;
                    actions.push(Action::Unreachable(to));
                    self.forget_stranger(to);
                }
            }
            Event::Received { conn, bytes } => self.on_received(now, conn, bytes, actions),
            Event::Written(conn) => {
                if let Some(Conn { talk: Talk::With(sid), .. }) = self.conns.get(&conn) {
                    let sid = *sid;
                    self.peers.entry(sid).or_default().busy = false;
                    self.send_next(sid, actions);
                }
            }
            Event::Closed(conn) => {
                if let Some(Conn { talk: Talk::With(sid), .. }) = self.conns.remove(&conn) {
                    let peer = self.peers.entry(sid).or_default();
                    peer.conn = None;
                    match peer.tries_left {
                        TRIES_MORE => {
                            peer.tries_left -= 1;
                            self.connect(now, sid, Vec::new(), actions);
                        }
                        1.. => self.call_again_later(now, sid),
                        0 => {}
                    }
                    self.forget_stranger(sid);
                }
            }
            Event::Timeout => {
                let late: Vec<_> = self.greetings().filter(|(deadline, _)| *deadline <= now).collect();
                for (_, conn) in late {
                    self.close(conn, Why::NoGreeting, actions);
                }
                let due = |peer: &Peer| peer.call_again_at.is_some_and(|at| at <= now);
                let due: Vec<_> =
                    self.peers.iter().filter(|(_, peer)| due(peer)).map(|(sid, _)| *sid).collect();
                for sid in due {
                    self.connect(now, sid, Vec::new(), actions);
                    self.forget_stranger(sid);
                }
            }
        }
    }

    /// Connects to a server unless that has been done: to `addresses`, or where the membership says it is.
    fn connect(
        &mut self,
        now: Instant,
        sid: ServerId,
        mut addresses: Vec<HostPort>,
        actions: &mut Vec<Action>,
    ) {
        let peer = self.peers.entry(sid).or_default();
        peer.call_again_at = None;
        if peer.conn.is_some() || peer.dialing {
            return;
        }
        if addresses.is_empty() {
            addresses = self.views.election_addresses(sid);
        }
        if !addresses.is_empty() {
            peer.dialing = true;
            peer.dialed_at = now;
            actions.push(Action::Dial { to: sid, addresses });
        }
    }

    /// Connects once more for the last message, once a living server would have called back.
    fn call_again_later(&mut self, now: Instant, sid: ServerId) {
        if let Some(peer) = self.peers.get_mut(&sid).filter(|peer| peer.tries_left > 0) {
            peer.tries_left = 0;
            let patience = Millis(CALL_AGAIN_TIMES * peer.connect_took.0);
            peer.call_again_at = Some(now + CALL_AGAIN.max(patience));
        }
    }

    fn on_dialed(&mut self, now: Instant, to: ServerId, conn: ConnId, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.dialing) else {
            return actions.push(Action::Close { conn, why: Why::NotWanted });
        };
        peer.dialing = false;
        peer.connect_took = Millis(now.millis_since(peer.dialed_at));
        let mut addresses = self.own_addresses.clone();
        if self.form == Form::OneAddress {
            addresses.truncate(1);
        }
        let initial = Initial { sid: self.me, form: self.form, addresses };
        actions.push(Action::Send { conn, bytes: initial.encode() });
        if self.me < to {
            actions.push(Action::Close { conn, why: Why::OtherSideOpens });
            self.call_again_later(now, to);
            self.forget_stranger(to);
        } else {
            self.talk(to, conn, Vec::new(), actions);
        }
    }

    /// From here on `conn` is the connection with `sid`.
    fn talk(&mut self, sid: ServerId, conn: ConnId, input: Vec<u8>, actions: &mut Vec<Action>) {
        if let Some(older) = self.peers.get(&sid).and_then(|peer| peer.conn) {
            self.close(older, Why::Replaced, actions);
        }
        self.conns.insert(conn, Conn { talk: Talk::With(sid), input });
        let peer = self.peers.entry(sid).or_default();
        peer.conn = Some(conn);
        peer.busy = false;
        peer.call_again_at = None;
        if peer.slot.is_none() {
            peer.slot = peer.last_sent.clone();
        }
        actions.push(Action::Connected(sid));
        self.send_next(sid, actions);
    }

    fn send_next(&mut self, sid: ServerId, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(&sid) else { return };
        let (Some(conn), false) = (peer.conn, peer.busy) else { return };
        if let Some(bytes) = peer.slot.take() {
            // Before the bytes leave: on the next connection nobody knows how far they got.
            peer.last_sent = Some(bytes.clone());
            peer.busy = true;
            actions.push(Action::Send { conn, bytes });
        }
    }

    fn close(&mut self, conn: ConnId, why: Why, actions: &mut Vec<Action>) {
        if let Some(Conn { talk: Talk::With(sid), .. }) = self.conns.remove(&conn) {
            self.peers.entry(sid).or_default().conn = None;
        }
        actions.push(Action::Close { conn, why });
    }

    /// A server in no membership is remembered as long as it is connected.
    fn forget_stranger(&mut self, sid: ServerId) {
        let idle = |peer: &Peer| peer.conn.is_none() && !peer.dialing;
        if !self.views.is_member(sid) && self.peers.get(&sid).is_some_and(idle) {
            self.peers.remove(&sid);
        }
    }

    fn on_received(&mut self, now: Instant, conn: ConnId, bytes: &[u8], actions: &mut Vec<Action>) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.input.extend_from_slice(bytes);
        if let Talk::Greeting { .. } = known.talk {
            match Initial::decode(&known.input) {
                Ok(None) => return,
                Ok(Some((initial, used))) => {
                    let rest = known.input.split_off(used);
                    self.on_greeting(now, conn, initial, rest, actions);
                }
                Err(misbehaved) => return self.close(conn, Why::Misbehaved(misbehaved), actions),
            }
        }
        if let Err(misbehaved) = self.take_frames(conn) {
            let sid = self.conns.get(&conn).map(|conn| match conn.talk {
                Talk::With(sid) => sid,
                Talk::Greeting { .. } => self.me,
            });
            self.close(conn, Why::Misbehaved(misbehaved), actions);
            sid.into_iter().for_each(|sid| self.forget_stranger(sid));
        }
    }

    /// Moves whole messages to the inbox.
    fn take_frames(&mut self, conn: ConnId) -> Result<()> {
        let Some(Conn { talk: Talk::With(from), input }) = self.conns.get_mut(&conn) else { return Ok(()) };
        let mut taken = 0;
        while let Some((body, used)) = frame(&input[taken..])? {
            if self.inbox.len() == INBOX_MAX {
                self.inbox.pop_front();
            }
            self.inbox.push_back((*from, body.to_vec()));
            taken += used;
        }
        input.drain(..taken);
        Ok(())
    }

    /// The opener has said who it is (`QuorumCnxManager.handleConnection`).
    fn on_greeting(
        &mut self,
        now: Instant,
        conn: ConnId,
        initial: Initial,
        rest: Vec<u8>,
        actions: &mut Vec<Action>,
    ) {
        let mut sid = initial.sid;
        if sid == ANONYMOUS {
            self.anonymous -= 1;
            sid = ServerId(self.anonymous);
        }
        if sid == self.me {
            // Java forgets the socket, which stays open until the peer ends.
            return self.close(conn, Why::OwnId, actions);
        }
        let strangers = self.peers.keys().filter(|sid| !self.views.is_member(**sid)).count();
        if !self.peers.contains_key(&sid) && !self.views.is_member(sid) && strangers >= STRANGERS_MAX {
            return self.close(conn, Why::TooManyStrangers, actions);
        }
        if sid > self.me {
            return self.talk(sid, conn, rest, actions);
        }
        // It may have lost the connection that this server still believes in.
        if let Some(older) = self.peers.get(&sid).and_then(|peer| peer.conn) {
            self.close(older, Why::Replaced, actions);
        }
        self.close(conn, Why::OtherSideOpens, actions);
        // An address for all of a machine's interfaces is good for listening only.
        let mut addresses = initial.addresses;
        addresses.retain(|address| !address.is_on_all_addresses());
        self.connect(now, sid, addresses, actions);
        self.forget_stranger(sid);
    }
}
