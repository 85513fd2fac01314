//! What the server tells of itself: the parts of the operator's views that it knows.

use super::client::{Client, Close, Phase};
use super::{Server, Serving};
use crate::admin::views::{
    ConnectionSession, ConnectionView, Deadline, DigestView, SessionsView, WatchSummary, WatchView,
};
use crate::ids::{SessionId, Xid, Zxid};
use crate::metrics::{Gauges, QuotaGauges};
use crate::time::{Now, WallMillis};

impl Server {
    /// Fills in the gauges that the server itself knows.
    pub fn gauges(&self, gauges: &mut Gauges) {
        gauges.num_alive_connections = self.clients.count() as u64;
        gauges.outstanding_requests = self.in_flight() as u64;
        gauges.znode_count = self.tree.node_count() as u64 + 1;
        gauges.watch_count = self.watches.count() as u64;
        gauges.ephemerals_count = self.tree.ephemeral_count() as u64;
        gauges.approximate_data_size = self.tree.approximate_data_size();
        gauges.global_sessions = self.sessions.len() as u64;
        gauges.local_sessions = self.sessions.local_len() as u64;
        gauges.unsynced_txns = self.proposals.len() as u64;
        gauges.quotas = self
            .tree
            .quota_usage_by_namespace()
            .into_iter()
            .map(|usage| QuotaGauges {
                namespace: usage.namespace,
                count_limit: usage.count_limit,
                bytes_limit: usage.bytes_limit,
                count_usage: usage.count,
                bytes_usage: usage.bytes,
            })
            .collect();
    }

    pub fn last_zxid(&self) -> Zxid {
        self.tree.last_zxid()
    }

    pub fn connections(&self) -> Vec<ConnectionView> {
        self.clients.iter().map(view).collect()
    }

    /// When sessions and connections expire; wall-clock times are worked out from `now`.
    pub fn deadlines(&self, now: Now) -> SessionsView {
        let wall = |ms: u64| WallMillis(now.wall.0 + ms as i64 - now.mono.millis() as i64);
        let deadline = |ms, members| Deadline { at: wall(ms), at_mono_ms: ms, members };
        let learns = matches!(self.serving, Serving::Learning | Serving::ReadOnly);
        let timed = self.sessions.buckets().filter(|_| !learns);
        let sessions = timed.map(|(ms, members)| deadline(ms, members.collect())).collect();
        let learned = learns.then(|| {
            let mut all: Vec<_> = self.sessions.iter().map(|(id, ms)| (id, ms as u32)).collect();
            all.sort_unstable();
            all
        });
        let local = self.makes_local_sessions().then(|| {
            let buckets = self.sessions.local_buckets();
            buckets.map(|(ms, members)| deadline(ms, members.collect())).collect()
        });
        let named = |conn| {
            let client = self.clients.get(conn).expect("a connection leaves the queue before it goes");
            (client.peer, client.session)
        };
        let connections = self
            .silent
            .buckets()
            .map(|(ms, members)| Deadline {
                at: wall(ms),
                at_mono_ms: ms,
                members: members.map(named).collect(),
            })
            .collect();
        SessionsView { sessions, learned, local, connections }
    }

    /// Each session with ephemerals, and their paths.
    pub fn ephemerals(&self) -> Vec<(SessionId, Vec<String>)> {
        self.tree
            .sessions_with_ephemerals()
            .map(|(session, _)| (session, self.tree.ephemerals(session)))
            .collect()
    }

    /// Every data watch.
    pub fn data_watches(&self) -> Vec<WatchView> {
        let mut all = Vec::new();
        for (path, watchers) in self.watches.by_path() {
            for watcher in watchers {
                if let Some(client) = self.clients.watched_by(watcher) {
                    all.push(WatchView { session: client.session, path: path.to_string() });
                }
            }
        }
        all
    }

    pub fn watch_summary(&self) -> WatchSummary {
        let summary = self.watches.summary();
        WatchSummary {
            connections: summary.connections as u64,
            paths: summary.paths as u64,
            watches: summary.total as u64,
        }
    }

    /// Digests at every 128th zxid, oldest first.
    pub fn digest_log(&self) -> Vec<DigestView> {
        self.digests.iter().map(|(zxid, digest)| DigestView { zxid, digest }).collect()
    }

    /// What the word `crst` does.
    pub fn reset_connection_stats(&mut self) {
        for client in self.clients.iter_mut() {
            client.stats.reset();
        }
    }
}

fn view(client: &Client) -> ConnectionView {
    let stats = &client.stats;
    let reading = u8::from(client.close == Close::No);
    let writing = if client.out.is_empty() { 0 } else { 4 };
    let session = (client.phase == Phase::Established).then(|| ConnectionSession {
        id: client.session,
        last_op: stats.last_op.map_or("NA", |op| op.spec().short),
        established: stats.established,
        timeout_ms: client.timeout_ms,
        last_cxid: Xid(stats.last_cxid),
        last_zxid: Zxid(stats.last_zxid),
        last_response_ms: stats.last_response.millis(),
        last_latency_ms: stats.last_latency_ms,
        min_latency_ms: if stats.replies == 0 { 0 } else { stats.min_latency_ms },
        avg_latency_ms: stats.total_latency_ms.checked_div(stats.replies).unwrap_or(0),
        max_latency_ms: stats.max_latency_ms,
    });
    ConnectionView {
        peer: client.peer,
        secure: false,
        interest_ops: reading | writing,
        queued: client.waiting.len() as u64,
        received: stats.received,
        sent: stats.sent,
        session,
    }
}
