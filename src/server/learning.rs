//! What only a learner does: its clients' writes go to the leader and are answered when their transactions come back.
//!
//! Nothing but session and number in the transaction's header tells whose it was, and some clients count anew with each
//! connection. Requests leave in the order in which they came, and the leader answers each with a transaction, in that
//! order for each session. So only the oldest forwarded request of the session's connection can be meant, unless the
//! session had another connection before, here or at another server, of which something is still on its way.
//!
//! Therefore a connection that resumes a session sends a sync of its own ahead of its first write, the *fence*. When the
//! leader saw it, it had let the session in here, and from then on it refuses what comes by another way. When it answers,
//! all that it had proposed before is committed, and nothing that came behind the fence: so the transactions in front of the
//! answer are others', and those behind it are this connection's. (Java's learners have no fence, and take a
//! transaction of the same number for the answer.) Nobody waits for a fence, and who only reads sends none.
//!
//! Two kinds can still come by the old way: a refusal because the session has moved, of the same number as the
//! request in front, ends the connection, and its client asks again; a closeSession ends the session for everybody.

use std::rc::Rc;

use super::client::{Close, ConnId, Fence, Phase, Waiting};
use super::commit::{Asker, Due};
use super::{Made, Proposal, Server, Serving};
use crate::ids::{HashMap, SessionId};
use crate::quorum::zab::packet::{AuthId, Entry, Request, Touched};
use crate::time::Instant;
use crate::wire::error::ErrorCode;
use crate::wire::jute;
use crate::wire::op::Op;
use crate::wire::request::RequestHeader;
use crate::wire::txn::TxnHeader;

/// What goes to the leader, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forward {
    Request(Request),
    /// May this session go on here?
    Revalidate {
        session: SessionId,
        timeout_ms: i32,
    },
}

/// What a learner keeps of its clients' requests.
#[derive(Debug, Default)]
pub(super) struct Learning {
    forwards: Vec<Forward>,
    /// Who waits for the leader's word on a session, or at the leader until it is made; one connection for each, the
    /// latest.
    revalidating: HashMap<SessionId, ConnId>,
}

/// A sync that the ensemble answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sync {
    /// That of a client.
    Asked(ConnId),
    /// The connection's fence.
    Fence(ConnId),
}

impl Learning {
    pub fn clear(&mut self) {
        *self = Learning::default();
    }

    /// A connection is gone.
    pub fn gone(&mut self, session: SessionId, conn: ConnId) {
        if self.revalidating.get(&session) == Some(&conn) {
            self.revalidating.remove(&session);
        }
    }
}

/// Whether a transaction of the session can be that of this request: not a closeSession of the leader's, or one that
/// came by the session's old way.
fn answers(header: &TxnHeader, cxid: i32, op: Op) -> bool {
    header.cxid == cxid && (header.kind == op.code() || header.kind == Op::Error.code())
}

impl Server {
    /// Moves what is to be sent to the leader since the last call into `into`.
    pub fn take_forwards(&mut self, into: &mut Vec<Forward>) {
        into.append(&mut self.learning.forwards);
    }

    /// The leader has committed this; [`commit`](Server::commit) has work.
    pub fn committed(&mut self, entry: Entry) {
        let Entry { zxid, payload } = entry;
        self.committable(zxid);
        self.proposals.push_back(Proposal {
            zxid,
            payload,
            conn: None,
            xid: 0,
            op: Op::Error,
            received: Instant(0),
            large: 0,
        });
    }

    /// The ensemble has answered the oldest sync of an own client. It is told behind everything that is committed by
    /// now.
    pub fn sync_done(&mut self) {
        self.put_due(Due::SyncDone);
    }

    /// The leader has said whether a session may go on here. The client is told behind everything that is committed
    /// by now, its session's creation perhaps included.
    pub fn revalidated(&mut self, session: SessionId, valid: bool) {
        self.put_due(Due::Revalidated { session, valid });
    }

    /// Global sessions that were used or made since the last call, with their timeouts in milliseconds.
    pub fn take_touched(&mut self) -> Vec<Touched> {
        self.sessions.take_touched()
    }

    /// Sends a write to the leader.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        conn: ConnId,
        op: Op,
        xid: i32,
        frame: &[u8],
        large: usize,
    ) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let session = client.session;
        client.waiting.push_back(Waiting::Forwarded { cxid: xid, op, received: now, large });
        self.deferred += 1;
        self.large_bytes += large;
        if op == Op::CloseSession {
            self.sessions.set_closing(session);
        }
        self.put_fence(conn);
        self.push_request(conn, op, xid, &frame[RequestHeader::ENCODED_LEN..]);
    }

    /// Sends the fence of a connection that resumed its session, if it is about to write for the first time.
    fn put_fence(&mut self, conn: ConnId) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        if client.fence != Fence::Wanted {
            return;
        }
        client.fence = Fence::Sent;
        let mut root = Vec::new();
        jute::put_string(&mut root, Some("/"));
        self.push_request(conn, Op::Sync, 0, &root);
        self.syncs.push_back(Sync::Fence(conn));
    }

    fn push_request(&mut self, conn: ConnId, op: Op, cxid: i32, body: &[u8]) {
        let client = self.clients.get(conn).expect("the caller looked it up");
        let ids = client
            .identities
            .iter()
            .map(|identity| AuthId { scheme: identity.scheme.to_string(), id: identity.id.clone() })
            .collect();
        let request =
            Request { session: client.session, cxid, op: op.code(), body: body.into(), ids: Some(ids) };
        self.learning.forwards.push(Forward::Request(request));
    }

    /// Asks the leader to make a session, or to make a local one global.
    pub(super) fn forward_create_session(
        &mut self,
        now: Instant,
        conn: ConnId,
        session: SessionId,
        timeout_ms: u32,
    ) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let op = Op::CreateSession;
        client.waiting.push_back(Waiting::Forwarded { cxid: 0, op, received: now, large: 0 });
        self.deferred += 1;
        self.put_fence(conn);
        let body = Rc::from(timeout_ms.to_be_bytes().as_slice());
        let request = Request { session, cxid: 0, op: op.code(), body, ids: None };
        self.learning.forwards.push(Forward::Request(request));
    }

    /// A client wants a session back that only the leader can give.
    pub(super) fn ask_leader(&mut self, conn: ConnId, session: SessionId, timeout_ms: u32) {
        self.await_session(conn, session);
        self.learning.forwards.push(Forward::Revalidate { session, timeout_ms: timeout_ms as i32 });
    }

    /// The connection waits for [`answer_revalidated`](Server::answer_revalidated).
    pub(super) fn await_session(&mut self, conn: ConnId, session: SessionId) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        client.phase = Phase::Connecting;
        client.session = session;
        if let Some(older) = self.learning.revalidating.insert(session, conn) {
            self.clients.close(older, Close::Now);
        }
    }

    pub(super) fn answer_revalidated(&mut self, now: Instant, session: SessionId, valid: bool) {
        // A second answer, after a newer attempt replaced an older one, finds nobody.
        let Some(conn) = self.learning.revalidating.remove(&session) else { return };
        if valid {
            let Some(client) = self.clients.get(conn) else { return };
            log::debug!("Session {session} resumed by {}, timeout {} ms", client.peer, client.timeout_ms);
            self.metrics.connection_revalidate_count += 1;
            self.sessions.add(session, client.timeout_ms, now);
            self.establish(now, conn, session);
        } else {
            self.refuse_session(conn, session);
        }
        self.unblock();
    }

    /// Takes the request that this transaction answers from the head of its connection's line; most are foreign.
    pub(super) fn take_forwarded(&mut self, header: &TxnHeader) -> Option<Asker> {
        let conn = *self.carriers.get(&header.session)?;
        // Whoever is being closed hears of nothing any more.
        let client = self.clients.get_mut(conn).filter(|client| client.close == Close::No)?;
        if client.fence != Fence::Passed {
            return None;
        }
        let &Waiting::Forwarded { cxid, op, received, large } = client.waiting.front()? else { return None };
        if !answers(header, cxid, op) {
            return None;
        }
        client.waiting.pop_front();
        self.deferred -= 1;
        self.large_bytes -= large;
        Some(Asker { conn, xid: cxid, op, received })
    }

    /// A sync in an ensemble: the leader says when all that it had committed by now has come.
    pub(super) fn sync(&mut self, now: Instant, conn: ConnId, xid: i32, frame: &[u8]) {
        match self.serving {
            Serving::Leading => self.made.push(Made::Sync),
            Serving::Learning => self.push_request(conn, Op::Sync, xid, &frame[RequestHeader::ENCODED_LEN..]),
            _ => return self.refuse(now, conn, xid, Op::Sync, ErrorCode::NotReadOnly),
        }
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let identities = client.identities.len();
        client.waiting.push_back(Waiting::Sync {
            frame: frame.into(),
            received: now,
            identities,
            done: false,
        });
        self.deferred += 1;
        self.syncs.push_back(Sync::Asked(conn));
    }

    pub(super) fn answer_sync(&mut self, now: Instant) {
        // An answer to nothing: its connection's role has ended.
        let Some(sync) = self.syncs.pop_front() else { return };
        let (Sync::Asked(conn) | Sync::Fence(conn)) = sync;
        let Some(client) = self.clients.get_mut(conn) else { return };
        if let Sync::Fence(_) = sync {
            client.fence = Fence::Passed;
            return;
        }
        for one in &mut client.waiting {
            if let Waiting::Sync { done: done @ false, .. } = one {
                *done = true;
                break;
            }
        }
        self.answer_waiting(now, conn);
        self.unblock();
    }
}
