//! Local sessions: one server's own, without a transaction, until they want an ephemeral.
//!
//! A session that wants one is *upgraded*: a createSession with its id goes ahead of the request, and from there
//! on it is a session like any other.

use super::client::{Close, ConnId, Waiting};
use super::{Server, Serving};
use crate::time::{Instant, Now};
use crate::wire::error::ErrorCode;
use crate::wire::jute::Reader;
use crate::wire::op::Op;
use crate::wire::reply::ReplyHeader;
use crate::wire::request::{MultiOp, Request, RequestHeader};

impl Server {
    /// A server that is alone has nobody to keep a session from.
    pub(super) fn makes_local_sessions(&self) -> bool {
        self.options.local_sessions && self.serving != Serving::Alone
    }

    /// A write of an own client of a member of an ensemble.
    pub(super) fn write_in_ensemble(
        &mut self,
        now: Now,
        conn: ConnId,
        op: Op,
        xid: i32,
        frame: &[u8],
        large: usize,
    ) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let (session, timeout_ms) = (client.session, client.timeout_ms);
        let local = self.sessions.is_local(session);
        if local && op == Op::CloseSession {
            // No transaction, but in its turn: what was asked before is answered before.
            self.sessions.set_closing(session);
            if client.waiting.is_empty() {
                return self.close_local(now.mono, conn, xid, now.mono);
            }
            let (received, identities) = (now.mono, client.identities.len());
            client.waiting.push_back(Waiting::Read { frame: frame.into(), received, identities });
            self.deferred += 1;
            return;
        }
        if self.serving == Serving::ReadOnly {
            return self.refuse(now.mono, conn, xid, op, ErrorCode::NotReadOnly);
        }
        let mut r = Reader::new(frame, self.options.field_max);
        r.take(RequestHeader::ENCODED_LEN).expect("the caller has read the header");
        if local && wants_ephemeral(op, r) {
            if !self.options.local_sessions_upgrade {
                return self.refuse(now.mono, conn, xid, op, ErrorCode::EphemeralOnLocalSession);
            }
            log::debug!("Local session {session} becomes global");
            self.sessions.set_upgrading(session);
            if self.serving == Serving::Leading {
                self.create_session(now, conn, session, timeout_ms);
            } else {
                self.forward_create_session(now.mono, conn, session, timeout_ms);
            }
        }
        if self.serving == Serving::Leading {
            self.write(now, conn, op, xid, &mut r, large);
        } else {
            self.forward(now.mono, conn, op, xid, frame, large);
        }
    }

    /// Answers with an error that takes no zxid, in its turn.
    pub(super) fn refuse(&mut self, now: Instant, conn: ConnId, xid: i32, op: Op, code: ErrorCode) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        if client.waiting.is_empty() {
            return self.answer_refused(now, conn, xid, op, code, now);
        }
        client.waiting.push_back(Waiting::Refused { xid, op, code, received: now });
        self.deferred += 1;
    }

    /// Ends a local session that its client closes.
    pub(super) fn close_local(&mut self, now: Instant, conn: ConnId, xid: i32, received: Instant) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let (session, zxid) = (client.session, self.tree.last_zxid().0);
        client.stats.answered(Op::CloseSession, xid, zxid, received, now);
        self.sessions.remove_local(session);
        self.carriers.remove(&session);
        self.reply_now(conn, ReplyHeader::ok(xid, zxid));
        self.clients.close(conn, Close::AfterFlush);
    }
}

/// Whether the request makes an ephemeral, alone or as a part of a multi. One that cannot be read does not.
fn wants_ephemeral(op: Op, mut r: Reader<'_>) -> bool {
    let is_ephemeral = |flags: i32| matches!(flags, 1 | 3);
    match op {
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl | Op::Multi => {}
        _ => return false,
    }
    match Request::read(op, &mut r) {
        Ok(Request::Create { create, .. }) => is_ephemeral(create.flags),
        Ok(Request::Multi(ops)) => {
            ops.iter().any(|op| matches!(op, MultiOp::Create { create, .. } if is_ephemeral(create.flags)))
        }
        _ => false,
    }
}
