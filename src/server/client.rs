//! One client connection as the server sees it: bytes in and out, and what it still has to be told.
//!
//! # Invariants
//!
//! 1. Replies leave in request order: a request is answered at once only if `waiting` is empty.
//! 2. A [`ConnId`] never means another connection than the one it was given to, even after its slot is reused.

use std::collections::VecDeque;
use std::net::SocketAddr;

use slab::Slab;

use crate::auth::Identity;
use crate::ids::{SessionId, Zxid};
use crate::session::Slot;
use crate::time::{Instant, WallMillis};
use crate::tree::WatcherId;
use crate::wire::error::ErrorCode;
use crate::wire::op::Op;

/// A connection: its slot and how many had the slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    pub fn index(self) -> usize {
        self.index as usize
    }

    pub fn watcher(self) -> WatcherId {
        WatcherId(self.index)
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing but perhaps a few bytes: a four-letter word or a connect request will come.
    New,
    /// The session is being created or confirmed; what the client sends meanwhile stays unread.
    Connecting,
    Established,
}

/// When the shell must close the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Close {
    No,
    /// Once everything in `out` has left.
    AfterFlush,
    /// At once; what is in `out` is dropped.
    Now,
}

/// Whether what earlier connections of a session asked can still be on its way: see [`super::learning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It can, and nothing was asked on this connection yet.
    Wanted,
    /// It can, and stands in front of the fence that was sent.
    Sent,
    /// Every transaction of the session is of this connection.
    Passed,
}

/// A request that cannot be answered yet.
#[derive(Debug)]
pub enum Waiting {
    /// Prepared here; answered when it is committed.
    Write { zxid: Zxid },
    /// Sent to the leader; answered when a transaction of this session with this number is committed.
    Forwarded { cxid: i32, op: Op, received: Instant, large: usize },
    /// A sync that the ensemble answers, in its place once `done`.
    Sync { frame: Box<[u8]>, received: Instant, identities: usize, done: bool },
    /// A write that was refused without a transaction.
    Refused { xid: i32, op: Op, code: ErrorCode, received: Instant },
    /// A read behind an unanswered write of the same session, or the end of a local session. It is asked by who the
    /// connection was when it was received: its first `identities` identities.
    Read { frame: Box<[u8]>, received: Instant, identities: usize },
}

/// What the four-letter words tell of a connection.
#[derive(Clone, Debug)]
pub struct ClientStats {
    pub established: WallMillis,
    pub received: u64,
    pub sent: u64,
    pub last_op: Option<Op>,
    pub last_cxid: i32,
    pub last_zxid: i64,
    pub last_response: Instant,
    pub last_latency_ms: u64,
    pub min_latency_ms: u64,
    pub max_latency_ms: u64,
    pub total_latency_ms: u64,
    pub replies: u64,
}

impl ClientStats {
    fn new(established: WallMillis) -> ClientStats {
        ClientStats {
            established,
            received: 0,
            sent: 0,
            last_op: None,
            last_cxid: -1,
            last_zxid: -1,
            last_response: Instant(0),
            last_latency_ms: 0,
            min_latency_ms: u64::MAX,
            max_latency_ms: 0,
            total_latency_ms: 0,
            replies: 0,
        }
    }

    /// What the word `crst` does.
    pub fn reset(&mut self) {
        *self = ClientStats::new(self.established);
    }

    pub fn answered(&mut self, op: Op, cxid: i32, zxid: i64, received: Instant, now: Instant) {
        let latency_ms = now.millis_since(received);
        if cxid >= 0 {
            self.last_cxid = cxid;
        }
        if op != Op::Ping {
            self.last_zxid = zxid;
        }
        self.last_op = Some(op);
        self.last_response = now;
        self.last_latency_ms = latency_ms;
        self.min_latency_ms = self.min_latency_ms.min(latency_ms);
        self.max_latency_ms = self.max_latency_ms.max(latency_ms);
        self.total_latency_ms += latency_ms;
        self.replies += 1;
    }
}

#[derive(Debug)]
pub struct Client {
    pub id: ConnId,
    pub peer: SocketAddr,
    pub phase: Phase,
    pub session: SessionId,
    pub timeout_ms: u32,
    /// The connect request had the read-only byte, so the response has it too.
    pub knows_read_only: bool,
    /// Only ever grows.
    pub identities: Vec<Identity>,
    /// Encoded and not yet sent.
    pub out: Vec<u8>,
    pub waiting: VecDeque<Waiting>,
    /// Of a learner's client.
    pub fence: Fence,
    pub close: Close,
    /// Where this connection is in the queue of silent connections.
    pub slot: Slot,
    /// It has been listed for the shell and not yet been looked at.
    listed: bool,
    /// Input was left unread because of a limit; the shell is told when to try again.
    pub blocked: bool,
    pub stats: ClientStats,
}

/// Every connection, and the list of those that the shell has to look at.
#[derive(Debug, Default)]
pub struct Clients {
    slots: Slab<Client>,
    generation: u32,
    ready: Vec<ConnId>,
}

impl Clients {
    pub fn insert(&mut self, peer: SocketAddr, now: WallMillis) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let index = u32::try_from(entry.key()).expect("fewer than 2^32 connections");
        let id = ConnId { index, generation: self.generation };
        entry.insert(Client {
            id,
            peer,
            phase: Phase::New,
            session: SessionId::NONE,
            timeout_ms: 0,
            knows_read_only: true,
            identities: vec![Identity::ip(peer.ip())],
            out: Vec::new(),
            waiting: VecDeque::new(),
            fence: Fence::Passed,
            close: Close::No,
            slot: Slot::default(),
            listed: false,
            blocked: false,
            stats: ClientStats::new(now),
        });
        id
    }

    pub fn get(&self, id: ConnId) -> Option<&Client> {
        self.slots.get(id.index()).filter(|client| client.id == id)
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Client> {
        self.slots.get_mut(id.index()).filter(|client| client.id == id)
    }

    /// The connection that set a watch; a watcher is removed with its connection.
    pub fn watching(&mut self, watcher: WatcherId) -> Option<&mut Client> {
        self.slots.get_mut(watcher.0 as usize)
    }

    /// The same, to look at.
    pub fn watched_by(&self, watcher: WatcherId) -> Option<&Client> {
        self.slots.get(watcher.0 as usize)
    }

    pub fn remove(&mut self, id: ConnId) -> Option<Client> {
        self.get(id)?;
        Some(self.slots.remove(id.index()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().map(|(_, client)| client)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().map(|(_, client)| client)
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Tells the shell that this connection has output, must be closed, or may be read again.
    pub fn list(&mut self, id: ConnId) {
        if let Some(client) =
            self.slots.get_mut(id.index()).filter(|client| client.id == id && !client.listed)
        {
            client.listed = true;
            self.ready.push(id);
        }
    }

    /// Takes the list; its connections may be listed again from now on.
    pub fn take_ready(&mut self, into: &mut Vec<ConnId>) {
        into.clear();
        std::mem::swap(into, &mut self.ready);
        for id in into {
            if let Some(client) = self.slots.get_mut(id.index()).filter(|client| client.id == *id) {
                client.listed = false;
            }
        }
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn close(&mut self, id: ConnId, how: Close) {
        if let Some(client) = self.get_mut(id) {
            client.close = client.close.max(how);
            self.list(id);
        }
    }
}
