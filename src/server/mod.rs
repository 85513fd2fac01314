//! The server: every machine composed. Bytes and time in; bytes, log entries and closings out.
//!
//! A shell (the reactor, later the simulator) owns sockets, files and clocks and drives a [`Server`]:
//!
//! | shell | server |
//! |---|---|
//! | a connection was made, sent bytes, went away | [`connected`](Server::connected), [`input`](Server::input), [`disconnected`](Server::disconnected) |
//! | take what was prepared, for the log or the ensemble | [`take_made`](Server::take_made) |
//! | everything up to a zxid is on disk, or has its quorum | [`committable`](Server::committable), then [`commit`](Server::commit) while [`has_commits`](Server::has_commits) |
//! | time has come | [`next_timeout`](Server::next_timeout), [`handle_timeouts`](Server::handle_timeouts) |
//! | send, close | [`take_ready`](Server::take_ready), [`output`](Server::output) |
//! | a snapshot, slice by slice | [`snapshot_begin`](Server::snapshot_begin), … |
//!
//! A write's path: `input` → [`Preparer`] → proposal → the shell's log → `committable`, `commit` → tree,
//! watches, reply. A read's path: `input` → `read` → reply, unless an own write is unanswered.
//!
//! # Roles
//!
//! A server [serves](Server::serve) alone, as the leader of an ensemble or as one of its learners; in between it
//! serves nobody. The module `role` has the changes, `leading` and `learning` what only one of them does, `local`
//! the sessions that are one server's own. A leader prepares what its own clients and its learners ask; who shells it
//! hands what was made to the ensemble and says what was committed:
//!
//! | member | leader | learner |
//! |---|---|---|
//! | requests | [`forwarded`](Server::forwarded), [`revalidate`](Server::revalidate), [`touched`](Server::touched) | [`take_forwards`](Server::take_forwards), [`take_touched`](Server::take_touched) |
//! | answers | [`committable`](Server::committable), [`sync_done`](Server::sync_done) | [`committed`](Server::committed), [`sync_done`](Server::sync_done), [`revalidated`](Server::revalidated) |
//!
//! # Invariants
//!
//! 1. A reply or event that shows a transaction is written only after the shell has said that it is committed.
//! 2. Proposals are committed in zxid order, each exactly once.
//! 3. A watch event stands in a connection's output before any reply that shows the change.
//! 4. Nothing here reads a clock, touches a socket or a file, or allocates in proportion to a length field.

mod client;
mod commit;
mod housekeeping;
mod input;
mod inspect;
mod leading;
mod learning;
mod local;
mod read;
mod role;
#[cfg(test)]
pub(crate) mod tests;

pub use client::{Client, ClientStats, Clients, Close, ConnId, Phase};
pub use input::Input;
pub use learning::Forward;
pub use role::Serving;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use client::Waiting;
use commit::Due;

use crate::admin::words::Word;
use crate::auth::Auth;
use crate::ids::{HashMap, ServerId, SessionId, Zxid};
use crate::metrics::Metrics;
use crate::pipeline::{Preparer, Rules};
use crate::quorum::membership::Membership;
use crate::quorum::reconfig::Standing;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::session::{ExpiryQueue, Sessions};
use crate::time::{Instant, Millis, Now, OncePerSecond};
use crate::tree::{Tree, WatcherId, Watches};
use crate::wire::op::Op;

/// Settings of the server; times in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    pub server_id: ServerId,
    pub tick_ms: u64,
    pub session_timeout_min_ms: u32,
    pub session_timeout_max_ms: u32,
    /// Largest frame a client may send (`jute.maxbuffer`).
    pub frame_max: usize,
    /// Largest string or buffer inside a frame (`jute.maxbuffer` + extrasize).
    pub field_max: usize,
    /// Connections per client address; 0 = no limit.
    pub client_connections_max: usize,
    /// Connections in all; 0 = no limit.
    pub connections_max: usize,
    /// Requests in flight above which a connection with an unanswered request is not read.
    pub outstanding_max: usize,
    /// Requests in flight above which no connection is read (`request_throttle_max_requests`); 0 = off.
    pub throttle_max: usize,
    /// Frames larger than this count against `large_request_bytes_max`; `None` = off.
    pub large_request_threshold: Option<usize>,
    pub large_request_bytes_max: usize,
    /// A connection without a session is closed after this silence.
    pub sessionless_timeout_ms: u64,
    pub connection_tokens: Option<ConnectionTokens>,
    pub container_check_ms: u64,
    pub containers_per_minute_max: usize,
    pub container_never_used_ms_max: i64,
    /// In an ensemble new sessions are this server's own until they need to be more.
    pub local_sessions: bool,
    /// Such a session may become global, which it needs to own ephemerals.
    pub local_sessions_upgrade: bool,
    pub rules: Rules,
    pub auth: Auth,
}

/// The token bucket of connection requests (`connection_throttle_*`).
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTokens {
    pub tokens_max: u64,
    pub fill_time_ms: u64,
    pub fill_count: u64,
    /// What a new session, a new local one and a resumed one cost.
    pub new_session_cost: u64,
    pub local_session_cost: u64,
    pub resume_cost: u64,
}

/// A transaction that was prepared here, or committed by the leader, and is not yet applied.
#[derive(Debug)]
struct Proposal {
    zxid: Zxid,
    payload: Rc<[u8]>,
    /// Who is told; `None` for expiry and the container manager, and for all that others asked.
    conn: Option<ConnId>,
    xid: i32,
    op: Op,
    received: Instant,
    /// Bytes that count against `large_request_bytes_max`.
    large: usize,
}

/// A log entry for the shell to append, in zxid order.
#[derive(Clone, Debug)]
pub struct Append {
    pub zxid: Zxid,
    pub payload: Rc<[u8]>,
}

/// What was prepared, in its order.
#[derive(Clone, Debug)]
pub enum Made {
    /// To be logged and, in an ensemble, proposed.
    Txn(Append),
    /// The same, of one that changes the ensemble's membership.
    Reconfig { append: Append, membership: Membership },
    /// Only of a leader: a sync of an own client; [`Server::sync_done`] answers it.
    Sync,
    /// The same of a learner's client, for which that learner is told.
    ForwardedSync(LearnerId),
}

pub struct Server {
    options: Options,
    serving: Serving,
    /// Leadership is being handed over: no client is read.
    paused: bool,
    /// A leader that leaves the clients to others.
    turns_away: bool,
    /// What a leader judges reconfigurations by.
    standing: Option<Standing>,
    tree: Tree,
    watches: Watches,
    sessions: Sessions,
    preparer: Preparer,
    clients: Clients,
    /// The connection that carries a session, if one does.
    carriers: HashMap<SessionId, ConnId>,
    connections_by_ip: HashMap<IpAddr, usize>,
    /// Connections by when their silence ends them.
    silent: ExpiryQueue<ConnId>,
    proposals: VecDeque<Proposal>,
    /// Proposals may be committed up to here.
    committable: Zxid,
    /// What else has its place in the order of commits: each behind everything up to its zxid.
    due: VecDeque<(Zxid, Due)>,
    made: Vec<Made>,
    learning: learning::Learning,
    /// Syncs that the ensemble has not answered, oldest first.
    syncs: VecDeque<learning::Sync>,
    /// Requests in the connections' lines that are no proposals of this server.
    deferred: usize,
    large_bytes: usize,
    tokens: u64,
    tokens_filled: Instant,
    containers: housekeeping::Containers,
    /// Connections whose input was left unread because of a limit on requests in flight.
    blocked: Vec<ConnId>,
    /// Four-letter words that were asked; the shell knows some of the answers.
    words: Vec<AskedWord>,
    digests: housekeeping::DigestLog,
    /// Connections that were refused because of a limit.
    refusal_lines: OncePerSecond,
    /// Transactions after which the tree was not the leader's.
    digest_lines: OncePerSecond,
    pub metrics: Metrics,
    /// Buffers that are used again and again: the payload in the making, a reply's body, watchers hit.
    scratch: Vec<u8>,
    body: Vec<u8>,
    hits: Vec<WatcherId>,
}

/// A four-letter word that a connection asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedWord {
    pub conn: ConnId,
    pub word: Word,
    /// What follows the word, for `stmk`.
    pub argument: Vec<u8>,
}

impl Server {
    /// A server on a loaded tree. `sessions` are those of the snapshot and log, with their timeouts; their
    /// clocks start now.
    pub fn new(
        options: Options,
        tree: Tree,
        sessions: impl IntoIterator<Item = (SessionId, i32)>,
        now: Now,
    ) -> Server {
        let mut all = Sessions::new(options.server_id, now.wall, options.tick_ms);
        for (id, timeout_ms) in sessions {
            all.add(id, u32::try_from(timeout_ms).unwrap_or(0), now.mono);
        }
        Server {
            preparer: Preparer::new(options.rules, tree.last_zxid()),
            containers: housekeeping::Containers::new(now.mono + Millis(options.container_check_ms)),
            silent: ExpiryQueue::new(options.sessionless_timeout_ms.max(1)),
            tokens: options.connection_tokens.map_or(0, |tokens| tokens.tokens_max),
            tokens_filled: now.mono,
            options,
            serving: Serving::Alone,
            paused: false,
            turns_away: false,
            standing: None,
            tree,
            watches: Watches::new(),
            sessions: all,
            clients: Clients::default(),
            carriers: HashMap::default(),
            connections_by_ip: HashMap::default(),
            proposals: VecDeque::new(),
            committable: Zxid::ZERO,
            due: VecDeque::new(),
            made: Vec::new(),
            learning: learning::Learning::default(),
            syncs: VecDeque::new(),
            deferred: 0,
            large_bytes: 0,
            blocked: Vec::new(),
            words: Vec::new(),
            digests: housekeeping::DigestLog::default(),
            refusal_lines: OncePerSecond::default(),
            digest_lines: OncePerSecond::default(),
            metrics: Metrics::default(),
            scratch: Vec::new(),
            body: Vec::new(),
            hits: Vec::new(),
        }
    }

    /// A client connected. `None`: over a limit, close the socket.
    pub fn connected(&mut self, now: Now, peer: SocketAddr) -> Option<ConnId> {
        let options = &self.options;
        if options.connections_max > 0 && self.clients.count() >= options.connections_max {
            if let Some(more) = self.refusal_lines.pass(now.mono.millis() as i64) {
                let max = options.connections_max;
                log::warn!(
                    "Too many connections (max is {max}): closed the one from {peer}; {more} more before"
                );
            }
            return None;
        }
        let from_there = self.connections_by_ip.entry(peer.ip()).or_insert(0);
        if options.client_connections_max > 0 && *from_there >= options.client_connections_max {
            if let Some(more) = self.refusal_lines.pass(now.mono.millis() as i64) {
                let max = options.client_connections_max;
                log::warn!(
                    "Too many connections from {} - max is {max} (maxClientCnxns); {more} more before",
                    peer.ip()
                );
            }
            return None;
        }
        *from_there += 1;
        let id = self.clients.insert(peer, now.wall);
        let client = self.clients.get_mut(id).expect("inserted above");
        self.silent.touch(id, &mut client.slot, now.mono, options.sessionless_timeout_ms);
        Some(id)
    }

    /// The socket is gone, for whatever reason. The session lives on.
    pub fn disconnected(&mut self, conn: ConnId) {
        let Some(session) = self.clients.get(conn).map(|client| client.session) else { return };
        self.abandon(conn, session);
        let mut client = self.clients.remove(conn).expect("it was there a line ago");
        self.silent.remove(conn, &mut client.slot);
        self.learning.gone(client.session, conn);
        self.watches.remove_watcher(conn.watcher());
        if self.carriers.get(&client.session) == Some(&conn) {
            self.carriers.remove(&client.session);
        }
        let ip = client.peer.ip();
        if let Some(n) = self.connections_by_ip.get_mut(&ip) {
            *n -= 1;
            if *n == 0 {
                self.connections_by_ip.remove(&ip);
            }
        }
    }

    /// Gives up the line of a connection that will hear of nothing in it.
    fn abandon(&mut self, conn: ConnId, session: SessionId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        for one in std::mem::take(&mut client.waiting) {
            match one {
                Waiting::Write { .. } => continue,
                Waiting::Forwarded { large, .. } => self.large_bytes -= large,
                Waiting::Read { .. } | Waiting::Sync { .. } | Waiting::Refused { .. } => {}
            }
            self.deferred -= 1;
        }
        // The end of a local session is in its connection's line and nowhere else.
        self.sessions.remove_closing_local(session);
    }

    /// Moves what was prepared since the last call into `into`, in its order.
    pub fn take_made(&mut self, into: &mut Vec<Made>) {
        into.append(&mut self.made);
    }

    /// Connections to look at: output to send, a socket to close, or input that may be read again.
    pub fn take_ready(&mut self, into: &mut Vec<ConnId>) {
        self.clients.take_ready(into);
    }

    pub fn has_ready(&self) -> bool {
        self.clients.has_ready()
    }

    /// What the connection has to send; the shell takes bytes off its front.
    pub fn output(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        self.clients.get_mut(conn).map(|client| &mut client.out)
    }

    /// Whether the shell must close the connection.
    pub fn close_wanted(&self, conn: ConnId) -> Close {
        self.clients.get(conn).map_or(Close::Now, |client| client.close)
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Requests that were accepted and are not answered yet: transactions, and the reads that wait for them.
    fn in_flight(&self) -> usize {
        // A learner's proposals are committed already, most of them for others; its own requests are in the lines.
        let prepared = if self.serving == Serving::Learning { 0 } else { self.proposals.len() };
        prepared + self.deferred
    }

    /// Puts a prepared transaction in line for log and commit.
    fn propose(
        &mut self,
        zxid: Zxid,
        conn: Option<ConnId>,
        xid: i32,
        op: Op,
        received: Instant,
        large: usize,
    ) {
        let payload: Rc<[u8]> = Rc::from(self.scratch.as_slice());
        self.scratch.clear();
        self.large_bytes += large;
        let append = Append { zxid, payload: Rc::clone(&payload) };
        self.made.push(match self.preparer.take_reconfig() {
            None => Made::Txn(append),
            Some(membership) => {
                if let Some(standing) = &mut self.standing {
                    Rc::make_mut(&mut standing.views).propose(membership.clone());
                }
                Made::Reconfig { append, membership }
            }
        });
        self.proposals.push_back(Proposal { zxid, payload, conn, xid, op, received, large });
    }
}
