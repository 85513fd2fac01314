//! What happens by the clock: sessions expire, silent connections are closed, empty containers go away; and
//! snapshots, which the shell drives slice by slice.

use std::collections::VecDeque;

use super::client::Close;
use super::{Server, Serving};
use crate::ids::{SessionId, Zxid};
use crate::pipeline::{Author, World};
use crate::time::{Instant, Millis, Now};
use crate::tree::CursorId;
use crate::wire::jute;
use crate::wire::op::Op;
use crate::wire::request::Request;

/// Sessions and connections closed in one turn; the rest follows in the next.
const EXPIRED_PER_TURN: usize = 256;

/// The container manager: which nodes are to go, and how fast.
#[derive(Debug)]
pub struct Containers {
    next_check: Instant,
    doomed: VecDeque<String>,
    next_delete: Instant,
}

impl Containers {
    pub fn new(next_check: Instant) -> Containers {
        Containers { next_check, doomed: VecDeque::new(), next_delete: Instant(0) }
    }

    fn next_timeout(&self) -> Instant {
        if self.doomed.is_empty() { self.next_check } else { self.next_delete }
    }
}

/// Digests of the tree at every 128th zxid, for the word `hash` (`DataTree.DIGEST_LOG_INTERVAL`).
#[derive(Debug, Default)]
pub struct DigestLog {
    entries: VecDeque<(Zxid, u64)>,
}

impl DigestLog {
    /// Another history begins.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    const INTERVAL: i64 = 128;
    const ENTRIES_MAX: usize = 1024;

    pub fn note(&mut self, zxid: Zxid, digest: u64) {
        if zxid.0 % DigestLog::INTERVAL == 0 {
            if self.entries.len() == DigestLog::ENTRIES_MAX {
                self.entries.pop_front();
            }
            self.entries.push_back((zxid, digest));
        }
    }

    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, u64)> + '_ {
        self.entries.iter().copied()
    }
}

impl Server {
    /// When [`handle_timeouts`](Server::handle_timeouts) has something to do.
    pub fn next_timeout(&self) -> Instant {
        let (sessions, containers) = if self.counts_time() {
            (self.sessions.next_deadline(), Some(self.containers.next_timeout()))
        } else {
            (None, None)
        };
        [sessions, containers, self.sessions.next_local_deadline(), self.silent.next_deadline()]
            .into_iter()
            .flatten()
            .fold(Instant(u64::MAX), Instant::min)
    }

    /// Whether global sessions expire and containers are deleted here.
    fn counts_time(&self) -> bool {
        matches!(self.serving, Serving::Alone | Serving::Leading)
    }

    pub fn handle_timeouts(&mut self, now: Now) {
        self.metrics.tick(now.mono);
        if self.counts_time() {
            self.expire_sessions(now);
            self.delete_containers(now);
        }
        self.expire_local(now);
        self.close_silent(now);
    }

    fn expire_local(&mut self, now: Now) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(session) = self.sessions.expired_local(now.mono) else { return };
            log::info!("Expiring local session {session}, timeout exceeded");
            self.metrics.stale_sessions_expired += 1;
            self.sessions.remove_local(session);
            if let Some(carrier) = self.carriers.remove(&session) {
                self.clients.close(carrier, Close::Now);
            }
        }
    }

    /// The container manager begins anew.
    pub(super) fn restart_containers(&mut self, now: Instant) {
        self.containers = Containers::new(now + Millis(self.options.container_check_ms));
    }

    fn expire_sessions(&mut self, now: Now) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(session) = self.sessions.expired(now.mono) else { return };
            log::info!("Expiring session {session}, timeout exceeded");
            self.metrics.stale_sessions_expired += 1;
            self.close_session(now, session);
        }
    }

    fn close_session(&mut self, now: Now, session: SessionId) {
        let author = Author { session, cxid: 0, identities: &[] };
        let world = World {
            standing: self.standing.as_ref(),
            tree: &self.tree,
            sessions: &self.sessions,
            auth: &self.options.auth,
        };
        let zxid =
            self.preparer.prepare(world, author, now.wall.0, &Request::CloseSession, &mut self.scratch);
        self.sessions.set_closing(session);
        self.propose(zxid, None, 0, Op::CloseSession, now.mono, 0);
    }

    fn close_silent(&mut self, now: Now) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(conn) = self.silent.due(now.mono) else { return };
            self.metrics.sessionless_connections_expired += 1;
            let client = self.clients.get_mut(conn).expect("a connection leaves the queue before it goes");
            self.silent.remove(conn, &mut client.slot);
            log::debug!("Closed {} (session {}): it was silent for too long", client.peer, client.session);
            self.clients.close(conn, Close::Now);
        }
    }

    fn delete_containers(&mut self, now: Now) {
        if self.containers.doomed.is_empty() {
            if now.mono < self.containers.next_check {
                return;
            }
            self.containers.next_check = now.mono + Millis(self.options.container_check_ms);
            let options = &self.options;
            let found = self.tree.expired_containers(
                now.wall.0,
                options.container_never_used_ms_max,
                options.containers_per_minute_max,
            );
            self.containers.doomed = found.into();
        }
        let pause_ms = 60_000 / self.options.containers_per_minute_max.max(1) as u64;
        while now.mono >= self.containers.next_delete {
            let Some(path) = self.containers.doomed.pop_front() else { return };
            self.containers.next_delete = now.mono + Millis(pause_ms.max(1));
            log::info!("Attempting to delete candidate container: {path}");
            let world = World {
                standing: self.standing.as_ref(),
                tree: &self.tree,
                sessions: &self.sessions,
                auth: &self.options.auth,
            };
            let zxid = self.preparer.prepare_delete_container(world, &path, now.wall.0, &mut self.scratch);
            self.propose(zxid, None, 0, Op::DeleteContainer, now.mono, 0);
        }
    }

    /// Starts a snapshot, of which there may be several, and writes its first part (sessions and ACLs) to `out`. Returns
    /// with it the zxid it is named after: the last one applied.
    pub fn snapshot_begin(&mut self, out: &mut Vec<u8>) -> (CursorId, Zxid) {
        jute::put_len(out, self.sessions.len());
        for (session, timeout_ms) in self.sessions.iter() {
            jute::put_long(out, session.0);
            jute::put_int(out, timeout_ms);
        }
        self.tree.write_acl_map(out);
        (self.tree.snapshot_begin(), self.tree.last_zxid())
    }

    /// Writes about `bytes_max` more bytes of znodes. True once all are written.
    pub fn snapshot_slice(&mut self, cursor: CursorId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        self.tree.snapshot_slice(cursor, out, bytes_max)
    }

    /// The last applied zxid and the tree's digest there: what the snapshot's seals say.
    pub fn snapshot_seal(&self) -> (Zxid, Option<u64>) {
        (self.tree.last_zxid(), self.options.rules.tree.digest.then(|| self.tree.digest()))
    }

    pub fn snapshot_abandon(&mut self, cursor: CursorId) {
        self.tree.snapshot_abandon(cursor);
    }
}
