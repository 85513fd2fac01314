//! Commit: what is on disk, or has its quorum, is applied, watched changes are told, the requester is answered.

use super::client::{Clients, Close, ConnId, Phase, Waiting};
use super::read::{Asked, put_error_result};
use super::{Proposal, Server, Serving};
use crate::auth::Auth;
use crate::ids::{SessionId, Zxid};
use crate::metrics::Metrics;
use crate::session::SessionState;
use crate::time::Instant;
use crate::tree::{Observer, OpResult, WatcherId, Watches};
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, Reader};
use crate::wire::op::Op;
use crate::wire::records::{AclList, perms};
use crate::wire::reply::{EventType, ReplyHeader, put_watch_event};
use crate::wire::request::{MultiHeader, RequestHeader};
use crate::wire::txn::{CreateKind, LoggedTxn, Txn};

/// What is committed in one turn, by the length of the records; each counts as at least the second number.
/// The rest waits for the next turn, so that the replies to these are sent first.
const COMMIT_BYTES_PER_TURN: usize = 128 << 10;
const COMMIT_BYTES_MIN: usize = 256;

/// What has its place among the commits without being one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// The oldest sync of an own client is answered.
    SyncDone,
    /// The leader has said whether a session may go on here.
    Revalidated { session: SessionId, valid: bool },
}

/// Whose request a transaction was.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub conn: ConnId,
    pub xid: i32,
    pub op: Op,
    pub received: Instant,
}

/// Collects what applying one transaction does: events go out at once, the reply's body is kept.
struct Effects<'s, 't> {
    zxid: Zxid,
    txn: &'t Txn<'t>,
    /// Which part of a multi comes next.
    part: usize,
    /// Also that of a multi of which a part says that the session has moved.
    err: i32,
    body: &'s mut Vec<u8>,
    created_session: Option<(SessionId, i32)>,
    closed_session: Option<SessionId>,
    watches: &'s mut Watches,
    clients: &'s mut Clients,
    auth: &'s Auth,
    metrics: &'s mut Metrics,
    hits: &'s mut Vec<WatcherId>,
}

impl Observer for Effects<'_, '_> {
    fn event(&mut self, event: EventType, path: &str, acl: AclList<'_>) {
        self.hits.clear();
        self.watches.fire(event, path, self.hits);
        if self.hits.is_empty() {
            return;
        }
        let fired = self.hits.len() as u64;
        match event {
            EventType::NodeCreated => self.metrics.node_created_watch_count.add(fired),
            EventType::NodeDeleted => self.metrics.node_deleted_watch_count.add(fired),
            EventType::NodeDataChanged => self.metrics.node_changed_watch_count.add(fired),
            EventType::NodeChildrenChanged => self.metrics.node_children_watch_count.add(fired),
        }
        // Encoded once, copied to each connection that may see it.
        let mut frame = Vec::with_capacity(32 + path.len());
        put_watch_event(&mut frame, self.zxid.0, event, path);
        let open = acl == AclList::OPEN;
        for &watcher in self.hits.iter() {
            let Some(client) = self.clients.watching(watcher).filter(|client| client.close == Close::No)
            else {
                continue;
            };
            if open || self.auth.allows(acl, perms::READ, &client.identities) {
                client.out.extend_from_slice(&frame);
                client.stats.sent += 1;
                self.metrics.watch_bytes += frame.len() as u64 - 4;
                self.metrics.stats.packets_sent += 1;
                let id = client.id;
                self.clients.list(id);
            }
        }
    }

    fn result(&mut self, result: OpResult<'_>) {
        if let Txn::Multi(parts) = self.txn {
            let part = &parts[self.part];
            self.part += 1;
            if matches!(result, OpResult::Failed(code) if code == ErrorCode::SessionMoved.code()) {
                self.err = ErrorCode::SessionMoved.code();
            }
            return put_part(self.body, part, &result);
        }
        match result {
            OpResult::Created { path, stat } => {
                jute::put_string(self.body, Some(path));
                if !answers_path_only(self.txn) {
                    stat.write(self.body);
                }
            }
            OpResult::DataSet(stat) | OpResult::AclSet(stat) => {
                if let Txn::Reconfig { data, .. } = self.txn {
                    jute::put_buffer(self.body, *data);
                }
                stat.write(self.body);
            }
            OpResult::Deleted | OpResult::Checked => {}
            OpResult::Failed(code) => self.err = code,
            OpResult::SessionCreated { id, timeout_ms } => self.created_session = Some((id, timeout_ms)),
            OpResult::SessionClosed { id } => self.closed_session = Some(id),
        }
    }
}

/// The old create answers with the path alone; every later kind adds the Stat.
fn answers_path_only(txn: &Txn<'_>) -> bool {
    matches!(txn, Txn::Create(create) if matches!(create.kind, CreateKind::Create { .. }))
}

/// Writes by top-level path, as Java counts them: creates and setData, by their data.
fn count_bytes(metrics: &mut Metrics, txn: &Txn<'_>) {
    match txn {
        Txn::Create(create) => metrics.write_of(&create.path, create.data.map_or(0, <[u8]>::len)),
        Txn::SetData { path, data, .. } => metrics.write_of(path, data.map_or(0, <[u8]>::len)),
        Txn::Delete { path, .. } => metrics.write_of(path, 0),
        Txn::Multi(parts) if !txn.failed() => parts.iter().for_each(|part| count_bytes(metrics, part)),
        _ => {}
    }
}

fn put_part(out: &mut Vec<u8>, part: &Txn<'_>, result: &OpResult<'_>) {
    let header = |kind: Op| MultiHeader { kind: kind.code(), done: false, err: 0 };
    match result {
        OpResult::Created { path, stat } => {
            let path_only = answers_path_only(part);
            header(if path_only { Op::Create } else { Op::Create2 }).write(out);
            jute::put_string(out, Some(path));
            if !path_only {
                stat.write(out);
            }
        }
        OpResult::Deleted => header(Op::Delete).write(out),
        OpResult::DataSet(stat) => {
            header(Op::SetData).write(out);
            stat.write(out);
        }
        OpResult::Checked => header(Op::Check).write(out),
        OpResult::Failed(code) => put_error_result(out, *code),
        // No operations of a multi. The client whose they were may hang; a leader that made them is to blame.
        OpResult::AclSet(_) | OpResult::SessionCreated { .. } | OpResult::SessionClosed { .. } => {
            put_error_result(out, ErrorCode::RuntimeInconsistency.code());
        }
    }
}

impl Server {
    /// Everything up to and including `through` is on disk or, in an ensemble, has its quorum:
    /// [`commit`](Server::commit) has work.
    pub fn committable(&mut self, through: Zxid) {
        self.committable = self.committable.max(through);
    }

    /// Whether there is something to commit.
    pub fn has_commits(&self) -> bool {
        self.has_committable() || !self.due.is_empty()
    }

    fn has_committable(&self) -> bool {
        self.proposals.front().is_some_and(|proposal| proposal.zxid <= self.committable)
    }

    /// Puts something behind all that may be committed by now.
    pub(super) fn put_due(&mut self, due: Due) {
        self.due.push_back((self.committable, due));
    }

    /// What is due now: nothing of what it stands behind is left.
    fn take_due(&mut self) -> Option<Due> {
        let (behind, _) = self.due.front()?;
        if self.proposals.front().is_some_and(|proposal| proposal.zxid <= *behind) {
            return None;
        }
        self.due.pop_front().map(|(_, due)| due)
    }

    /// Commits what may be committed, as much of it as belongs into one turn.
    pub fn commit(&mut self, now: Instant) {
        let mut bytes = 0;
        while bytes < COMMIT_BYTES_PER_TURN {
            if let Some(due) = self.take_due() {
                bytes += COMMIT_BYTES_MIN;
                match due {
                    Due::SyncDone => self.answer_sync(now),
                    Due::Revalidated { session, valid } => self.answer_revalidated(now, session, valid),
                }
                continue;
            }
            if !self.has_committable() {
                break;
            }
            let proposal = self.proposals.pop_front().expect("there is one");
            bytes += proposal.payload.len().max(COMMIT_BYTES_MIN);
            self.commit_one(now, &proposal);
        }
        if bytes > 0 {
            self.unblock();
        }
    }

    fn commit_one(&mut self, now: Instant, proposal: &Proposal) {
        self.large_bytes -= proposal.large;
        let logged = LoggedTxn::decode(&proposal.payload, usize::MAX)
            .expect("Serval's own encoding, or decoded when the leader sent it");
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut effects = Effects {
            zxid: proposal.zxid,
            txn: &logged.txn,
            part: 0,
            err: 0,
            body: &mut body,
            created_session: None,
            closed_session: None,
            watches: &mut self.watches,
            clients: &mut self.clients,
            auth: &self.options.auth,
            metrics: &mut self.metrics,
            hits: &mut self.hits,
        };
        self.tree.apply(&logged.header, &logged.txn, &mut effects);
        let (err, created, closed) = (effects.err, effects.created_session, effects.closed_session);
        let before = self.preparer.outstanding_changes();
        self.preparer.applied(proposal.zxid);
        self.metrics.outstanding_changes_removed += (before - self.preparer.outstanding_changes()) as u64;
        self.check_digest(now, &logged);
        // A learner decides no commits, and measures by the wall clock of the leader, when COMMIT comes in.
        if self.serving != Serving::Learning {
            self.metrics.commit_count += 1;
            self.metrics.propagation_latency.add_nanos(now.nanos_since(proposal.received));
        }
        count_bytes(&mut self.metrics, &logged.txn);

        let asker = match self.serving {
            Serving::Learning => self.take_forwarded(&logged.header),
            _ => self.take_write(proposal),
        };
        if let Some((session, timeout_ms)) = created {
            self.sessions.add(session, u32::try_from(timeout_ms).unwrap_or(0), now);
            log::debug!("Created session {session} with a timeout of {timeout_ms} ms");
            if self.serving == Serving::Leading {
                let valid = self.sessions.state(session) == SessionState::Alive;
                self.answer_revalidated(now, session, valid);
            }
        }
        if let Some(session) = closed {
            self.sessions.remove(session);
            // The requester is answered below and closed then; an expired session's connection just ends.
            if let Some(carrier) = self.carriers.remove(&session)
                && asker.map(|asker| asker.conn) != Some(carrier)
            {
                self.clients.close(carrier, Close::Now);
                self.abandon(carrier, session);
            }
        }
        if matches!(logged.txn, Txn::Multi(_)) {
            MultiHeader::END.write(&mut body);
        }
        if let Some(asker) = asker {
            self.finish_write(now, asker, proposal.zxid, err, &body);
        }
        self.body = body;
    }

    /// Takes the write that was prepared as this proposal from the head of its connection's line.
    fn take_write(&mut self, proposal: &Proposal) -> Option<Asker> {
        let conn = proposal.conn?;
        // The line of a connection that is being closed may have been given up.
        let client = self.clients.get_mut(conn).filter(|client| client.close == Close::No)?;
        let head = client.waiting.pop_front();
        assert!(
            matches!(head, Some(Waiting::Write { zxid }) if zxid == proposal.zxid),
            "a connection's writes are committed in the order in which it sent them"
        );
        Some(Asker { conn, xid: proposal.xid, op: proposal.op, received: proposal.received })
    }

    /// Once trees differ they do at every transaction: the counter has them all, the log a line a second.
    fn check_digest(&mut self, now: Instant, logged: &LoggedTxn<'_>) {
        let zxid = logged.header.zxid;
        if let Some(digest) = logged.digest
            && digest != self.tree.digest()
        {
            self.metrics.digest_mismatches_count += 1;
            if let Some(more) = self.digest_lines.pass(now.millis() as i64) {
                log::error!(
                    "Digests are not matching. Value is Zxid: {zxid}, expected {digest:#x}, got {:#x}; {more} more before; this tree is not \
                     the leader's: remove this server's data and start it again, and it gets all of it anew",
                    self.tree.digest()
                );
            }
        }
        self.digests.note(zxid, self.tree.digest());
    }

    /// Answers a write that stood at the head of its connection's line, then the reads that waited for it.
    fn finish_write(&mut self, now: Instant, asker: Asker, zxid: Zxid, err: i32, body: &[u8]) {
        let Asker { conn, xid, op, received } = asker;
        let Some(client) = self.clients.get_mut(conn) else { return };
        if op == Op::CreateSession {
            let session = client.session;
            return match client.phase {
                // A local session that became global: what needed that comes next in the line.
                Phase::Established => self.answer_waiting(now, conn),
                _ if err == 0 => self.establish(now, conn, session),
                _ => self.clients.close(conn, Close::Now),
            };
        }
        if err == ErrorCode::SessionMoved.code() {
            // As Java does it: told the error, a client would not know what became of its session.
            log::info!("Closed {}: its session {} has moved", client.peer, client.session);
            let session = client.session;
            self.abandon(conn, session);
            return self.clients.close(conn, Close::AfterFlush);
        }
        let body = if err == 0 { body } else { &[] };
        jute::put_frame(&mut client.out, |out| {
            ReplyHeader { xid, zxid: zxid.0, err }.write(out);
            out.extend_from_slice(body);
        });
        client.stats.sent += 1;
        client.stats.answered(op, xid, zxid.0, received, now);
        self.metrics.replied(op, ReplyHeader::ENCODED_LEN + body.len());
        self.metrics.answered(now.nanos_since(received), true);
        self.clients.list(conn);
        if op == Op::CloseSession {
            return self.clients.close(conn, Close::AfterFlush);
        }
        self.answer_waiting(now, conn);
    }

    /// Answers what stands at the head of the line, up to the next request that waits for the ensemble or the disk.
    pub(super) fn answer_waiting(&mut self, now: Instant, conn: ConnId) {
        loop {
            let Some(client) = self.clients.get_mut(conn) else { return };
            match client.waiting.pop_front() {
                None => return,
                Some(Waiting::Read { frame, received, identities })
                | Some(Waiting::Sync { frame, received, identities, done: true }) => {
                    self.deferred -= 1;
                    self.answer_deferred(now, conn, &frame, received, identities);
                }
                Some(Waiting::Refused { xid, op, code, received }) => {
                    self.deferred -= 1;
                    self.answer_refused(now, conn, xid, op, code, received);
                }
                Some(unanswered) => return client.waiting.push_front(unanswered),
            }
        }
    }

    /// A write that is answered with an error and takes no zxid.
    pub(super) fn answer_refused(
        &mut self,
        now: Instant,
        conn: ConnId,
        xid: i32,
        op: Op,
        code: ErrorCode,
        received: Instant,
    ) {
        let zxid = self.tree.last_zxid().0;
        self.reply_now(conn, ReplyHeader::error(xid, zxid, code));
        if let Some(client) = self.clients.get_mut(conn) {
            client.stats.answered(op, xid, zxid, received, now);
        }
    }

    fn answer_deferred(
        &mut self,
        now: Instant,
        conn: ConnId,
        frame: &[u8],
        received: Instant,
        identities: usize,
    ) {
        let mut r = Reader::new(frame, self.options.field_max);
        let header = RequestHeader::read(&mut r).expect("parsed when it was put in line");
        let op = Op::from_code(header.kind).expect("parsed when it was put in line");
        if op == Op::CloseSession {
            return self.close_local(now, conn, header.xid, received);
        }
        self.read(now, conn, op, header.xid, &mut r, Asked { received, identities });
    }
}
