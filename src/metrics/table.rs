//! The one list of metrics: name, kind, unit, meaning, and the field that holds it.

use super::{Distribution, Keyed, OpCounts, ServerStats, TimeDistribution};
use crate::time::Instant;
use crate::wire::op::OPS;

/// How a metric is exported. Whether it has one value or one for each key is the field's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Counter,
    /// avg, min, max, cnt, sum (`BasicSummary`).
    Basic,
    /// Those and p50, p95, p99, p999 (`AdvancedSummary`).
    Advanced,
}

/// What the numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events or things; the description says which.
    Count,
    Bytes,
    /// Milliseconds.
    Ms,
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Apache ZooKeeper's.
    Java,
    /// Apache ZooKeeper's, for a part that Serval does not have: always 0.
    Absent,
    /// Serval's own.
    Serval,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub origin: Origin,
    /// One sentence, as in the documentation.
    pub help: &'static str,
}

/// A metric's value at this moment.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    Counter(u64),
    Distribution(&'a Distribution),
    /// Microseconds, to be shown as milliseconds.
    TimeDistribution(&'a Distribution),
}

/// One name with its value, or its values by key.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    pub spec: &'static Spec,
    /// `None` is the value of a metric without keys.
    pub samples: Vec<(Option<&'a str>, Sample<'a>)>,
}

/// A type that a row of the table can have.
trait Metric {
    fn reset(&mut self);
    fn rotate(&mut self);
    fn samples(&self) -> Vec<(Option<&str>, Sample<'_>)>;
}

/// A metric that has one value.
trait Single: Default {
    fn rotate_window(&mut self);
    fn sample(&self) -> Sample<'_>;
}

impl Single for u64 {
    fn rotate_window(&mut self) {}

    fn sample(&self) -> Sample<'_> {
        Sample::Counter(*self)
    }
}

impl Single for Distribution {
    fn rotate_window(&mut self) {
        self.rotate();
    }

    fn sample(&self) -> Sample<'_> {
        Sample::Distribution(self)
    }
}

impl Single for TimeDistribution {
    fn rotate_window(&mut self) {
        self.rotate();
    }

    fn sample(&self) -> Sample<'_> {
        Sample::TimeDistribution(self.micros())
    }
}

impl<T: Single> Metric for T {
    fn reset(&mut self) {
        *self = T::default();
    }

    fn rotate(&mut self) {
        self.rotate_window();
    }

    fn samples(&self) -> Vec<(Option<&str>, Sample<'_>)> {
        vec![(None, self.sample())]
    }
}

impl<T: Single> Metric for Keyed<T> {
    fn reset(&mut self) {
        self.clear();
    }

    fn rotate(&mut self) {
        self.values_mut().for_each(T::rotate_window);
    }

    fn samples(&self) -> Vec<(Option<&str>, Sample<'_>)> {
        self.sorted().into_iter().map(|(key, value)| (Some(key), value.sample())).collect()
    }
}

macro_rules! metrics {
    (
        live { $( #[doc = $help:literal] $name:ident: $kind:ident, $ty:ty, $unit:ident, $origin:ident; )* }
        absent { $( #[doc = $why:literal] $absent:ident: $absent_kind:ident, $absent_unit:ident; )* }
    ) => {
        /// All counters and summaries of one server. Fields carry the exported names.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics {
            /// What `srvr` shows.
            pub stats: ServerStats,
            /// Requests by operation (3.10's `op_count_*`).
            pub op_count: OpCounts,
            /// When the window of quantiles began that is being filled.
            window_began: Instant,
            $( #[doc = $help] pub $name: $ty, )*
        }

        /// Rows whose value is a field, in the order of the fields.
        const LIVE: &[Spec] = &[$( Spec {
            name: stringify!($name),
            kind: Kind::$kind,
            unit: Unit::$unit,
            origin: Origin::$origin,
            help: $help.trim_ascii(),
        }, )*];

        /// Rows that are always 0.
        const ABSENT: &[Spec] = &[$( Spec {
            name: stringify!($absent),
            kind: Kind::$absent_kind,
            unit: Unit::$absent_unit,
            origin: Origin::Absent,
            help: $why.trim_ascii(),
        }, )*];

        impl Metrics {
            fn reset_fields(&mut self) {
                $( Metric::reset(&mut self.$name); )*
            }

            fn rotate_fields(&mut self) {
                $( Metric::rotate(&mut self.$name); )*
            }

            fn live_samples(&self) -> Vec<Vec<(Option<&str>, Sample<'_>)>> {
                vec![$( Metric::samples(&self.$name), )*]
            }
        }
    };
}

metrics! {
    live {
        /// Snapshots that could not be written on request.
        snapshot_error_count: Counter, u64, Count, Java;
        /// Snapshot requests refused by the rate limit.
        snapshot_rate_limited_count: Counter, u64, Count, Java;
        /// Restores that failed.
        restore_error_count: Counter, u64, Count, Java;
        /// Restore requests refused by the rate limit.
        restore_rate_limited_count: Counter, u64, Count, Java;
        /// Times that the server went looking for a leader.
        looking_count: Counter, u64, Count, Java;
        /// Learners brought up to date with transactions.
        diff_count: Counter, u64, Count, Java;
        /// Learners brought up to date with a snapshot.
        snap_count: Counter, u64, Count, Java;
        /// Transactions that this server has committed, as a leader or alone.
        commit_count: Counter, u64, Count, Java;
        /// Connect requests, of new and of resumed sessions.
        connection_request_count: Counter, u64, Count, Java;
        /// Connections refused by `maxClientCnxns`, `maxCnxns` or `connection_throttle_tokens`.
        connection_rejected: Counter, u64, Count, Java;
        /// Bytes of requests, without their length fields.
        bytes_received_count: Counter, u64, Bytes, Java;
        /// Errors after which the server cannot go on.
        unrecoverable_error_count: Counter, u64, Count, Java;
        /// Connections that proved to belong to this ensemble.
        ensemble_auth_success: Counter, u64, Count, Java;
        /// Connections meant for another ensemble.
        ensemble_auth_fail: Counter, u64, Count, Java;
        /// Connections that named no ensemble, or met a server without one.
        ensemble_auth_skip: Counter, u64, Count, Java;
        /// Write requests handed to preparation.
        prep_processor_request_queued: Counter, u64, Count, Java;
        /// Changes added to the outstanding ones.
        outstanding_changes_queued: Counter, u64, Count, Java;
        /// Outstanding changes that were committed or failed.
        outstanding_changes_removed: Counter, u64, Count, Java;
        /// Sessions that a learner asked its leader to confirm.
        revalidate_count: Counter, u64, Count, Java;
        /// Connections that their clients closed or lost.
        connection_drop_count: Counter, u64, Count, Java;
        /// Connect requests that resumed a session.
        connection_revalidate_count: Counter, u64, Count, Java;
        /// Connections closed because no session came in time.
        sessionless_connections_expired: Counter, u64, Count, Java;
        /// Sessions that expired.
        stale_sessions_expired: Counter, u64, Count, Java;
        /// Requests answered with ZTHROTTLEDOP.
        throttled_ops: Counter, u64, Count, Java;
        /// Proposals that this learner received.
        learner_proposal_received_count: Counter, u64, Count, Java;
        /// Commits that this learner received.
        learner_commit_received_count: Counter, u64, Count, Java;
        /// Transactions handed to the log.
        sync_processor_request_queued: Counter, u64, Count, Java;
        /// Proposals that this leader sent.
        proposal_count: Counter, u64, Count, Java;
        /// Times that this leader gave up because its voters had left.
        quit_leading_due_to_disloyal_voter: Counter, u64, Count, Java;
        /// Requests found stale by the request throttle.
        stale_requests: Counter, u64, Count, Java;
        /// Stale requests dropped.
        stale_requests_dropped: Counter, u64, Count, Java;
        /// Replies whose connection was gone.
        stale_replies: Counter, u64, Count, Java;
        /// Times that the request throttle stalled.
        request_throttle_wait_count: Counter, u64, Count, Java;
        /// Requests refused by `largeRequestMaxBytes`.
        large_requests_rejected: Counter, u64, Count, Java;
        /// Transactions after which the tree's digest was not the leader's.
        digest_mismatches_count: Counter, u64, Count, Java;
        /// TLS handshakes that failed.
        unsuccessful_handshake: Counter, u64, Count, Java;
        /// Requests to the admin port without TLS.
        insecure_admin_count: Counter, u64, Count, Java;
        /// Connections refused because too many TLS handshakes were under way.
        tls_handshake_exceeded: Counter, u64, Count, Java;
        /// Connections closed because the server did not serve yet, or no longer.
        cnxn_closed_without_zk_server_running: Counter, u64, Count, Java;
        /// Bytes of replies, without their length fields.
        response_bytes: Counter, u64, Bytes, Java;
        /// Bytes of watch events, without their length fields.
        watch_bytes: Counter, u64, Bytes, Java;
        /// TTL znodes created (3.10).
        ttl_node_created_count: Counter, u64, Count, Java;
        /// TTL znodes deleted because their time was over (3.10).
        ttl_node_deleted_count: Counter, u64, Count, Java;
        /// Requests beyond a quota, by top-level path.
        quota_exceeded_error_per_namespace: Counter, Keyed<u64>, Count, Java;

        /// Time of a sync of the log.
        fsynctime: Basic, TimeDistribution, Ms, Java;
        /// Time to write a snapshot.
        snapshottime: Basic, TimeDistribution, Ms, Java;
        /// Time to restore from a snapshot on request.
        restore_time: Basic, TimeDistribution, Ms, Java;
        /// Time to load the database at start.
        dbinittime: Basic, TimeDistribution, Ms, Java;
        /// Time that a follower took to be in sync with its leader.
        follower_sync_time: Basic, TimeDistribution, Ms, Java;
        /// Time that an observer took to be in sync with its leader.
        observer_sync_time: Basic, TimeDistribution, Ms, Java;
        /// Time of an election.
        election_time: Basic, TimeDistribution, Ms, Java;
        /// Tokens missing in the connection throttle's bucket, seen at each connect request.
        connection_token_deficit: Basic, Distribution, Count, Java;
        /// Snapshots under way to learners, seen at each one that begins.
        inflight_snap_count: Basic, Distribution, Count, Java;
        /// Diffs under way to learners, seen at each one that begins.
        inflight_diff_count: Basic, Distribution, Count, Java;
        /// Watches fired by one created znode.
        node_created_watch_count: Basic, Distribution, Count, Java;
        /// Watches fired by one deleted znode.
        node_deleted_watch_count: Basic, Distribution, Count, Java;
        /// Watches fired by one change of data.
        node_changed_watch_count: Basic, Distribution, Count, Java;
        /// Watches fired by one change of a list of children.
        node_children_watch_count: Basic, Distribution, Count, Java;
        /// Time without service, from losing a quorum to serving again.
        unavailable_time: Basic, TimeDistribution, Ms, Java;
        /// The same on the server that became leader.
        leader_unavailable_time: Basic, TimeDistribution, Ms, Java;
        /// Transactions read from the log at start.
        startup_txns_loaded: Basic, Distribution, Count, Java;
        /// Time to read them.
        startup_txns_load_time: Basic, TimeDistribution, Ms, Java;
        /// Time to read the snapshot at start.
        startup_snap_load_time: Basic, TimeDistribution, Ms, Java;
        /// Transactions that wait for the log's sync, seen at each one that arrives.
        sync_processor_queue_size: Basic, Distribution, Count, Java;
        /// Transactions that one sync of the log covered.
        sync_processor_batch_size: Basic, Distribution, Count, Java;
        /// Bytes read, by top-level path.
        read_per_namespace: Basic, Keyed<Distribution>, Bytes, Java;
        /// Bytes written, by top-level path.
        write_per_namespace: Basic, Keyed<Distribution>, Bytes, Java;
        /// Packets that go to a learner at a time, by its id.
        learner_handler_qp_size: Basic, Keyed<Distribution>, Count, Java;

        /// From a read request's arrival to its reply.
        readlatency: Advanced, TimeDistribution, Ms, Java;
        /// From a write request's arrival to its reply.
        updatelatency: Advanced, TimeDistribution, Ms, Java;
        /// From a transaction's making at the leader until it is applied here.
        propagation_latency: Advanced, TimeDistribution, Ms, Java;
        /// On a follower: from a transaction's making at the leader to the arrival of its proposal.
        proposal_latency: Advanced, TimeDistribution, Ms, Java;
        /// From a transaction's making at the leader until this server acks it: it is on disk here.
        proposal_ack_creation_latency: Advanced, TimeDistribution, Ms, Java;
        /// On a learner: from a transaction's making at the leader to the arrival of its commit.
        commit_propagation_latency: Advanced, TimeDistribution, Ms, Java;
        /// From the hand-over to the log to the end of the sync, for the oldest transaction that it covers.
        sync_processor_queue_and_flush_time_ms: Advanced, TimeDistribution, Ms, Java;
        /// Time of a sync that covers transactions; with nothing else in a turn's way, `fsynctime`.
        sync_processor_queue_flush_time_ms: Advanced, TimeDistribution, Ms, Java;
        /// On a leader: from a proposal to its quorum of acks.
        quorum_ack_latency: Advanced, TimeDistribution, Ms, Java;
        /// Time that requests waited in the request throttle.
        request_throttle_queue_time_ms: Advanced, TimeDistribution, Ms, Java;
        /// On a leader: from a proposal to the ack of each voter, by its id.
        ack_latency: Advanced, Keyed<TimeDistribution>, Ms, Java;
        /// Time that packets waited for a learner to take them, by its id.
        learner_handler_qp_time_ms: Advanced, Keyed<TimeDistribution>, Ms, Java;

        /// Length of a turn of the one thread; above 5 ms it is a defect.
        turn_time_ms: Advanced, TimeDistribution, Ms, Serval;
        /// Turns longer than 5 ms.
        slow_turn_count: Counter, u64, Count, Serval;
        /// Bytes that one sync of the log covered.
        log_sync_bytes: Basic, Distribution, Bytes, Serval;
    }
    absent {
        /// Java's dead watch cleaner; watches are removed at once here.
        add_dead_watcher_stall_time: Counter, Ms;
        /// Java's dead watch cleaner.
        dead_watchers_queued: Counter, Count;
        /// Java's dead watch cleaner.
        dead_watchers_cleared: Counter, Count;
        /// Java's cache of serialised replies; here none is needed.
        response_packet_cache_hits: Counter, Count;
        /// Java's cache of serialised replies.
        response_packet_cache_misses: Counter, Count;
        /// Java's cache of serialised replies.
        response_packet_get_children_cache_hits: Counter, Count;
        /// Java's cache of serialised replies.
        response_packet_get_children_cache_misses: Counter, Count;
        /// A queue between two of Java's threads.
        request_commit_queued: Counter, Count;
        /// A shortcut between two of Java's threads.
        skip_learner_request_to_next_processor_count: Counter, Count;
        /// A shortcut between two of Java's threads.
        requests_not_forwarded_to_commit_processor: Counter, Count;
        /// A queue between two of Java's threads.
        prep_processor_queue_size: Basic, Count;
        /// A queue of Java's commit processor.
        requests_in_session_queue: Basic, Count;
        /// A queue of Java's commit processor.
        pending_session_queue_size: Basic, Count;
        /// A queue of Java's commit processor.
        reads_after_write_in_session_queue: Basic, Count;
        /// A queue of Java's commit processor.
        reads_issued_from_session_queue: Basic, Count;
        /// A queue of Java's commit processor.
        session_queues_drained: Basic, Count;
        /// Java's commit processor waiting for its threads.
        time_waiting_empty_pool_in_commit_processor_read_ms: Basic, Ms;
        /// A batch of Java's commit processor.
        write_batch_time_in_commit_processor: Basic, Ms;
        /// Threads of Java's commit processor.
        concurrent_request_processing_in_commit_processor: Basic, Count;
        /// A queue of Java's commit processor.
        read_commit_proc_req_queued: Basic, Count;
        /// A queue of Java's commit processor.
        write_commit_proc_req_queued: Basic, Count;
        /// A queue of Java's commit processor.
        commit_commit_proc_req_queued: Basic, Count;
        /// A queue of Java's commit processor.
        read_commit_proc_issued: Basic, Count;
        /// A queue of Java's commit processor.
        write_commit_proc_issued: Basic, Count;
        /// Preparing one request takes microseconds; `turn_time_ms` has all that one turn does.
        prep_process_time: Basic, Ms;
        /// Handing a proposal over takes microseconds; `turn_time_ms` has it.
        proposal_process_time: Basic, Ms;
        /// Java's commit processor handing a commit over; `turn_time_ms` has it.
        commit_process_time: Basic, Ms;
        /// Appending to the mapped log takes microseconds; `turn_time_ms` has it.
        sync_process_time: Basic, Ms;
        /// Closing a socket does not block here.
        socket_closing_time: Basic, Ms;
        /// A queue between two of Java's threads.
        prep_processor_queue_time_ms: Advanced, Ms;
        /// Preparing takes microseconds; `turn_time_ms` has it.
        close_session_prep_time: Advanced, Ms;
        /// Passing a proposal on to observers takes microseconds; `turn_time_ms` has it.
        om_proposal_process_time_ms: Advanced, Ms;
        /// Passing a commit on to observers takes microseconds; `turn_time_ms` has it.
        om_commit_process_time_ms: Advanced, Ms;
        /// Answering takes microseconds; `readlatency` has it.
        read_final_proc_time_ms: Advanced, Ms;
        /// Applying and answering takes microseconds; `updatelatency` has it.
        write_final_proc_time_ms: Advanced, Ms;
        /// A queue between two of Java's threads.
        sync_processor_queue_time_ms: Advanced, Ms;
        /// Netty's buffers.
        netty_queued_buffer_capacity: Basic, Bytes;
        /// A queue between two of Java's threads.
        learner_request_processor_queue_size: Basic, Count;
        /// Java's dead watch cleaner.
        dead_watchers_cleaner_latency: Advanced, Ms;
        /// A queue of Java's commit processor.
        read_commitproc_time_ms: Advanced, Ms;
        /// A queue of Java's commit processor.
        write_commitproc_time_ms: Advanced, Ms;
        /// A queue of Java's commit processor.
        local_write_committed_time_ms: Advanced, Ms;
        /// A queue of Java's commit processor.
        server_write_committed_time_ms: Advanced, Ms;
        /// Pauses of the JVM; `turn_time_ms` tells of pauses here.
        jvm_pause_time_ms: Advanced, Ms;
    }
}

/// Quantiles look back one to two of these: Prometheus' Java client has ten minutes in five steps.
const WINDOW_MS: u64 = 5 * 60 * 1000;

/// 3.10's counters of requests: what a row adds up is found by its name in the table of operations.
const OP_COUNTS: &[Spec] = &[
    op_count("op_count_total"),
    op_count("op_count_add_watch"),
    op_count("op_count_check"),
    op_count("op_count_check_watches"),
    op_count("op_count_close_session"),
    op_count("op_count_create"),
    op_count("op_count_create_session"),
    op_count("op_count_delete"),
    op_count("op_count_exists"),
    op_count("op_count_get_acl"),
    op_count("op_count_get_all_children_number"),
    op_count("op_count_get_children"),
    op_count("op_count_get_data"),
    op_count("op_count_get_ephemerals"),
    op_count("op_count_multi"),
    op_count("op_count_multi_read"),
    op_count("op_count_ping"),
    op_count("op_count_reconfig"),
    op_count("op_count_remove_watches"),
    op_count("op_count_set_acl"),
    op_count("op_count_set_data"),
    op_count("op_count_set_watches"),
    op_count("op_count_sync"),
    op_count("op_count_who_am_i"),
];

const fn op_count(name: &'static str) -> Spec {
    let help = "Requests of this operation (3.10); `total` is all of these.";
    Spec { name, kind: Kind::Counter, unit: Unit::Count, origin: Origin::Java, help }
}

static EMPTY: Distribution = Distribution::new();

impl Metrics {
    /// Every row of the table.
    pub fn specs() -> impl Iterator<Item = &'static Spec> {
        LIVE.iter().chain(OP_COUNTS).chain(ABSENT)
    }

    /// Every row with its values: counters first, then basic summaries, then advanced ones.
    pub fn series(&self) -> Vec<Series<'_>> {
        let live = LIVE.iter().zip(self.live_samples()).map(|(spec, samples)| Series { spec, samples });
        let ops = OP_COUNTS.iter().map(|spec| {
            let count = Sample::Counter(self.op_count_of(spec.name));
            Series { spec, samples: vec![(None, count)] }
        });
        let absent = ABSENT.iter().map(|spec| Series { spec, samples: vec![(None, zero(spec.kind))] });
        let mut all: Vec<Series<'_>> = live.chain(ops).chain(absent).collect();
        all.sort_by_key(|series| series.spec.kind);
        all
    }

    /// What the four-letter word `srst` does (`ServerStats.reset` and `ServerMetrics.resetAll`).
    pub fn reset(&mut self) {
        let stats = &mut self.stats;
        stats.latency.reset();
        stats.packets_received = 0;
        stats.packets_sent = 0;
        stats.client_response = Default::default();
        self.op_count = OpCounts::default();
        self.reset_fields();
    }

    /// Lets quantiles forget what is older than ten minutes. To be called now and then; every tick is fine.
    pub fn tick(&mut self, now: Instant) {
        if now.millis_since(self.window_began) >= WINDOW_MS {
            self.window_began = now;
            self.rotate_fields();
        }
    }

    fn op_count_of(&self, name: &str) -> u64 {
        let op = name.trim_start_matches("op_count_");
        let rows = OPS.iter().filter(|row| row.name == op || op == "total");
        rows.map(|row| self.op_count.get(row.op)).sum()
    }
}

fn zero(kind: Kind) -> Sample<'static> {
    match kind {
        Kind::Counter => Sample::Counter(0),
        Kind::Basic | Kind::Advanced => Sample::Distribution(&EMPTY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HashSet;
    use crate::wire::op::Op;

    #[test]
    fn no_name_stands_in_the_table_twice() {
        let mut seen = HashSet::default();
        for spec in Metrics::specs() {
            assert!(seen.insert(spec.name), "{}", spec.name);
        }
        assert_eq!(Metrics::default().series().len(), seen.len());
    }

    #[test]
    fn the_values_of_a_field_stand_under_its_own_name() {
        let mut metrics = Metrics::default();
        metrics.commit_count += 7;
        metrics.fsynctime.add_ms(3);
        *metrics.quota_exceeded_error_per_namespace.of("a") += 2;
        let series = metrics.series();
        let of = |name: &str| series.iter().find(|s| s.spec.name == name).expect("in the table");
        assert!(matches!(of("commit_count").samples[..], [(None, Sample::Counter(7))]));
        assert!(
            matches!(of("fsynctime").samples[..], [(None, Sample::TimeDistribution(d))] if d.summary().sum() == 3000)
        );
        let quota = of("quota_exceeded_error_per_namespace");
        assert!(matches!(quota.samples[..], [(Some("a"), Sample::Counter(2))]));
    }

    #[test]
    fn each_operation_with_a_number_is_counted_under_its_name_and_in_the_total() {
        for row in OPS {
            let mut metrics = Metrics::default();
            metrics.op_count.add(row.op);
            assert_eq!(metrics.op_count_of("op_count_total"), 1);
            let named = OP_COUNTS.iter().any(|spec| spec.name.trim_start_matches("op_count_") == row.name);
            let exempt = matches!(row.op, Op::Error | Op::Auth | Op::Sasl);
            assert!(named || exempt, "{}", row.name);
        }
    }

    #[test]
    fn ticks_let_quantiles_forget() {
        let mut metrics = Metrics::default();
        metrics.readlatency.add_ms(5);
        metrics.read_of("/a", 5);
        let mut forgotten_at = |ms| {
            metrics.tick(Instant::from_millis(ms));
            let set = metrics.read_per_namespace.of("a").quantile(1.0).is_none();
            assert_eq!(metrics.readlatency.micros().quantile(1.0).is_none(), set);
            set
        };
        assert!(!forgotten_at(WINDOW_MS - 1));
        assert!(!forgotten_at(WINDOW_MS));
        assert!(!forgotten_at(2 * WINDOW_MS - 1));
        assert!(forgotten_at(2 * WINDOW_MS));
    }

    #[test]
    fn a_reset_clears_what_java_clears_and_keeps_what_java_keeps() {
        let mut metrics = Metrics::default();
        metrics.stats.packets_received = 5;
        metrics.stats.auth_failed_count = 2;
        metrics.answered(1_000_000, true);
        metrics.write_of("/a/b", 3);
        metrics.op_count.add(Op::Create);
        metrics.reset();
        assert_eq!((metrics.stats.packets_received, metrics.stats.auth_failed_count), (0, 2));
        assert_eq!(metrics.stats.latency.micros().count(), 0);
        assert_eq!(metrics.updatelatency, TimeDistribution::default());
        assert!(metrics.write_per_namespace.sorted().is_empty());
        assert_eq!(metrics.op_count.get(Op::Create), 0);
    }
}
