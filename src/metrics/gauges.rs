//! What the server can say of itself at any moment, under Java's names.

use super::{BufferStats, Metrics};

/// What only the server knows; the rest of the gauges is in [`Metrics`]. Filled anew for each request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Client connections, with or without a session.
    pub num_alive_connections: u64,
    /// Requests taken from a socket and not answered yet.
    pub outstanding_requests: u64,
    /// Since the server began to serve.
    pub uptime_ms: u64,
    /// As Java counts: znodes plus one, because its root stands in the table twice.
    pub znode_count: u64,
    /// Data and child watches.
    pub watch_count: u64,
    /// Ephemeral znodes.
    pub ephemerals_count: u64,
    /// Bytes of all paths and data.
    pub approximate_data_size: u64,
    /// Sessions known to the ensemble.
    pub global_sessions: u64,
    /// Sessions known to this server only.
    pub local_sessions: u64,
    /// File descriptors in use.
    pub open_file_descriptor_count: u64,
    /// File descriptors allowed.
    pub max_file_descriptor_count: u64,
    /// Of the connection throttle.
    pub connection_drop_probability: f64,
    /// TLS handshakes under way.
    pub outstanding_tls_handshake: u64,
    /// Syncs of the log under way: 0 or 1.
    pub sync_in_flight: u64,
    /// Transactions appended to the log and not synced yet.
    pub unsynced_txns: u64,
    /// Quotas by top-level path.
    pub quotas: Vec<QuotaGauges>,
    /// On a member of a quorum: how many voting members it has.
    pub quorum_size: Option<u64>,
    /// On a leader, and on a follower, which may be an observer master.
    pub synced_observers: Option<u64>,
    /// On a leader.
    pub leader: Option<LeaderGauges>,
}

/// The quota of one top-level path (`QuotaMetricsUtils`); -1 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaGauges {
    pub namespace: String,
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count_usage: i64,
    pub bytes_usage: i64,
}

/// What only a leader exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderGauges {
    pub learners: u64,
    pub synced_followers: u64,
    pub synced_non_voting_followers: u64,
    pub pending_syncs: u64,
    pub leader_uptime_ms: u64,
    /// Sizes of proposals, in bytes.
    pub proposal: BufferStats,
}

/// A number as Java has it: some gauges are doubles and print as such.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i64),
    Real(f64),
}

/// One gauge: its name, and where its value is.
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    /// `None` where the gauge does not exist, as a leader's on other servers.
    pub read: fn(&Gauges, &Metrics) -> Option<Number>,
}

fn int(n: u64) -> Option<Number> {
    Some(Number::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn led(gauges: &Gauges, of: fn(&LeaderGauges) -> i64) -> Option<Number> {
    gauges.leader.as_ref().map(|leader| Number::Int(of(leader)))
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    read: fn(&Gauges, &Metrics) -> Option<Number>,
) -> Gauge {
    Gauge { name, help, read }
}

/// Every gauge without keys, Java's first and in Java's order of registration.
#[rustfmt::skip]
pub const GAUGES: &[Gauge] = &[
    gauge("avg_latency", "Mean time to answer a request, in ms.", |_, m| Some(Number::Real(round4(m.stats.latency.avg_ms())))),
    gauge("max_latency", "Longest time to answer a request, in ms.", |_, m| int(m.stats.latency.max_ms())),
    gauge("min_latency", "Shortest time to answer a request, in ms.", |_, m| int(m.stats.latency.min_ms())),
    gauge("packets_received", "Requests received.", |_, m| int(m.stats.packets_received)),
    gauge("packets_sent", "Replies and watch events sent.", |_, m| int(m.stats.packets_sent)),
    gauge("num_alive_connections", "Client connections.", |g, _| int(g.num_alive_connections)),
    gauge("outstanding_requests", "Requests not answered yet.", |g, _| int(g.outstanding_requests)),
    gauge("uptime", "Time since the server began to serve, in ms.", |g, _| int(g.uptime_ms)),
    gauge("znode_count", "Znodes plus one, as Java counts them.", |g, _| int(g.znode_count)),
    gauge("watch_count", "Data and child watches.", |g, _| int(g.watch_count)),
    gauge("ephemerals_count", "Ephemeral znodes.", |g, _| int(g.ephemerals_count)),
    gauge("approximate_data_size", "Bytes of all paths and data.", |g, _| int(g.approximate_data_size)),
    gauge("global_sessions", "Sessions known to the ensemble.", |g, _| int(g.global_sessions)),
    gauge("local_sessions", "Sessions known to this server only.", |g, _| int(g.local_sessions)),
    gauge("open_file_descriptor_count", "File descriptors in use.", |g, _| int(g.open_file_descriptor_count)),
    gauge("max_file_descriptor_count", "File descriptors allowed.", |g, _| int(g.max_file_descriptor_count)),
    gauge("connection_drop_probability", "Share of connections that the throttle drops.", |g, _| Some(Number::Real(g.connection_drop_probability))),
    gauge("last_client_response_size", "Bytes of the last reply; -1 before the first.", |_, m| Some(Number::Int(m.stats.client_response.last))),
    gauge("max_client_response_size", "Bytes of the largest reply; -1 before the first.", |_, m| Some(Number::Int(m.stats.client_response.max))),
    gauge("min_client_response_size", "Bytes of the smallest reply; -1 before the first.", |_, m| Some(Number::Int(m.stats.client_response.min))),
    gauge("outstanding_tls_handshake", "TLS handshakes under way.", |g, _| int(g.outstanding_tls_handshake)),
    gauge("auth_failed_count", "Failed authentications.", |_, m| int(m.stats.auth_failed_count)),
    gauge("non_mtls_remote_conn_count", "Connections from other machines without a client certificate.", |_, m| int(m.stats.non_mtls_remote_conn_count)),
    gauge("non_mtls_local_conn_count", "Connections from this machine without a client certificate.", |_, m| int(m.stats.non_mtls_local_conn_count)),
    gauge("quorum_size", "Voting members; on members of a quorum only.", |g, _| g.quorum_size.and_then(int)),
    gauge("learners", "Followers and observers; on a leader only.", |g, _| led(g, |l| l.learners as i64)),
    gauge("synced_followers", "Followers in sync; on a leader only.", |g, _| led(g, |l| l.synced_followers as i64)),
    gauge("synced_non_voting_followers", "Followers in sync without a vote; on a leader only.", |g, _| led(g, |l| l.synced_non_voting_followers as i64)),
    gauge("synced_observers", "Observers in sync; on leaders and followers only.", |g, _| g.synced_observers.and_then(int)),
    gauge("pending_syncs", "`sync` requests that wait; on a leader only.", |g, _| led(g, |l| l.pending_syncs as i64)),
    gauge("leader_uptime", "Time since it leads, in ms; on a leader only.", |g, _| led(g, |l| l.leader_uptime_ms as i64)),
    gauge("last_proposal_size", "Bytes of the last proposal; on a leader only.", |g, _| led(g, |l| l.proposal.last)),
    gauge("max_proposal_size", "Bytes of the largest proposal; on a leader only.", |g, _| led(g, |l| l.proposal.max)),
    gauge("min_proposal_size", "Bytes of the smallest proposal; on a leader only.", |g, _| led(g, |l| l.proposal.min)),
    gauge("sync_in_flight", "Syncs of the log under way (Serval).", |g, _| int(g.sync_in_flight)),
    gauge("unsynced_txns", "Transactions appended to the log and not synced yet (Serval).", |g, _| int(g.unsynced_txns)),
];

/// A gauge set: the name, and the values by key.
pub type GaugeSet<'a> = (&'static str, Vec<(&'a str, i64)>);

/// The four gauge sets by top-level path. Paths without that limit are left out, as in Java.
pub fn gauge_sets(gauges: &Gauges) -> [GaugeSet<'_>; 4] {
    let set = |of: fn(&QuotaGauges) -> i64| {
        let values = gauges.quotas.iter().map(|quota| (quota.namespace.as_str(), of(quota)));
        values.filter(|(_, value)| *value >= 0).collect()
    };
    [
        ("quota_count_limit_per_namespace", set(|q| q.count_limit)),
        ("quota_bytes_limit_per_namespace", set(|q| q.bytes_limit)),
        ("quota_count_usage_per_namespace", set(|q| q.count_usage)),
        ("quota_bytes_usage_per_namespace", set(|q| q.bytes_usage)),
    ]
}

/// Java rounds means to four decimals (`AvgMinMaxCounter.getAvg`).
pub fn round4(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
