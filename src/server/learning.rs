//! What only a learner does: its clients' writes go to the leader and are answered when their transactions come back.
//!
//! Nothing but session and number in the transaction's header tells whose it was. Requests leave in the order in which
//! they came, and the leader answers each with a transaction, in that order for each session. So only the oldest
//! forwarded request of the session's connection can be meant, unless the session had another connection
//! before: the requests of that one are *orphans*, and their transactions come first.

use std::collections::VecDeque;
use std::rc::Rc;

use super::client::{Close, ConnId, Phase, Waiting};
use super::commit::{Asker, Due};
use super::{Made, Proposal, Server, Serving};
use crate::ids::{HashMap, SessionId};
use crate::quorum::zab::packet::{AuthId, Entry, Request, Touched};
use crate::time::Instant;
use crate::wire::error::ErrorCode;
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
    /// Who waits for the leader's word on a session; one connection for each, the latest.
    revalidating: HashMap<SessionId, ConnId>,
    /// Forwarded requests whose connection is gone, by session, oldest first.
    orphans: HashMap<SessionId, VecDeque<(i32, Op)>>,
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

    pub fn orphaned(&mut self, session: SessionId, cxid: i32, op: Op) {
        self.orphans.entry(session).or_default().push_back((cxid, op));
    }

    /// The session has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.orphans.remove(&session);
    }

    /// Whether the transaction answers a request whose connection is gone.
    fn answers_orphan(&mut self, header: &TxnHeader) -> bool {
        let Some(orphans) = self.orphans.get_mut(&header.session) else { return false };
        let answers = orphans.front().is_some_and(|&(cxid, op)| answers(header, cxid, op));
        if answers {
            orphans.pop_front();
            if orphans.is_empty() {
                self.orphans.remove(&header.session);
            }
        }
        answers
    }
}

/// Whether a transaction of the session can be that of this request. Some clients begin to count anew with each
/// connection, so the number alone could be that of a request which the client sent to another server.
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
        self.push_request(conn, op, xid, frame);
    }

    fn push_request(&mut self, conn: ConnId, op: Op, cxid: i32, frame: &[u8]) {
        let client = self.clients.get(conn).expect("the caller looked it up");
        let ids = client
            .identities
            .iter()
            .map(|identity| AuthId { scheme: identity.scheme.to_string(), id: identity.id.clone() })
            .collect();
        let body = Rc::from(&frame[RequestHeader::ENCODED_LEN..]);
        let request = Request { session: client.session, cxid, op: op.code(), body, ids: Some(ids) };
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
        let body = Rc::from(timeout_ms.to_be_bytes().as_slice());
        let request = Request { session, cxid: 0, op: op.code(), body, ids: None };
        self.learning.forwards.push(Forward::Request(request));
    }

    /// A client wants a session back that only the leader can give.
    pub(super) fn ask_leader(&mut self, conn: ConnId, session: SessionId, timeout_ms: u32) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        client.phase = Phase::Connecting;
        client.session = session;
        if let Some(older) = self.learning.revalidating.insert(session, conn) {
            self.clients.close(older, Close::Now);
        }
        self.learning.forwards.push(Forward::Revalidate { session, timeout_ms: timeout_ms as i32 });
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
        let carrier = self.carriers.get(&header.session).copied();
        // Whoever is being closed hears of nothing any more. Left in line, the request would become an orphan after
        // its transaction, and wait for a later one.
        if let Some(conn) = carrier
            && self.clients.get(conn).is_some_and(|client| client.close != Close::No)
        {
            self.abandon(conn, header.session);
        }
        if self.learning.answers_orphan(header) {
            return None;
        }
        let conn = carrier?;
        let client = self.clients.get_mut(conn)?;
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
            Serving::Learning => self.push_request(conn, Op::Sync, xid, frame),
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
        self.syncs.push_back(conn);
    }

    pub(super) fn answer_sync(&mut self, now: Instant) {
        // An answer to nothing: its connection's role has ended.
        let Some(conn) = self.syncs.pop_front() else { return };
        let Some(client) = self.clients.get_mut(conn) else { return };
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
