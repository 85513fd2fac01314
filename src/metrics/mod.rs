//! Counters, gauges and summaries under the names that dashboards read.
//!
//! [`Metrics`] is a plain struct that the server owns: one thread, no atomics, nothing global. Recording is a
//! field access (`metrics.commit_count += 1`, `metrics.fsynctime.add_nanos(ns)`). Gauges are what the server can
//! say about itself at any moment; it fills a [`Gauges`] when somebody asks.
//!
//! [`table`] has the one list of names: each field of `Metrics` is declared there with its unit and its
//! meaning, beside Java's names whose notion does not exist here (thread queues, caches, Netty). Those are
//! exported as zeros, because dashboards break on absent series. The tables of `docs/operations.md`
//! are printed from it.
//!
//! # Invariants
//!
//! 1. No name is exported twice.
//! 2. `srst` ([`Metrics::reset`]) clears what Java clears: everything here but the counts in [`ServerStats`] that
//!    Java keeps (failed authentications, slow syncs, connections without mTLS).

mod gauges;
mod keyed;
mod summary;
mod table;
#[cfg(test)]
mod tests;

pub use gauges::{GAUGES, Gauge, GaugeSet, Gauges, LeaderGauges, Number, QuotaGauges, gauge_sets, round4};
pub use keyed::{KEYS_MAX, Keyed, OVERFLOW_KEY, namespace_of};
pub use summary::{BufferStats, Distribution, Summary, TimeDistribution, TimeSummary};
pub use table::{Kind, Metrics, Origin, Sample, Series, Spec, Unit};

use crate::wire::op::Op;

/// What `srvr`, `stat` and the gauges tell of requests: Java's `ServerStats`.
#[derive(Clone, Debug, Default)]
pub struct ServerStats {
    /// Requests received, pings and connect requests included.
    pub packets_received: u64,
    /// Replies and notifications sent.
    pub packets_sent: u64,
    /// From a request's arrival to its reply.
    pub latency: TimeSummary,
    /// Sizes of replies, in bytes.
    pub client_response: BufferStats,
    /// Syncs of the log that took longer than `fsync.warningthresholdms`.
    pub fsync_threshold_exceed_count: u64,
    /// Requests refused because authentication failed.
    pub auth_failed_count: u64,
    /// Connections from other machines without a client certificate.
    pub non_mtls_remote_conn_count: u64,
    /// The same from this machine.
    pub non_mtls_local_conn_count: u64,
}

/// Java adds this to each read that it counts by namespace: the size of a Stat (`DataTree.STAT_OVERHEAD_BYTES`).
const STAT_OVERHEAD_BYTES: usize = 68;

impl Metrics {
    /// A reply of `bytes` to a request was written.
    #[inline]
    pub fn replied(&mut self, op: Op, bytes: usize) {
        self.stats.packets_sent += 1;
        self.stats.client_response.add(bytes);
        self.response_bytes += bytes as u64;
        self.op_count.add(op);
    }

    /// A request was answered `nanos` after it arrived. `update` says that it was a transaction.
    #[inline]
    pub fn answered(&mut self, nanos: u64, update: bool) {
        self.stats.latency.add_nanos(nanos);
        if update {
            self.updatelatency.add_nanos(nanos);
        } else {
            self.readlatency.add_nanos(nanos);
        }
    }

    /// A read of `path` returned `bytes` of data, or of child names.
    #[inline]
    pub fn read_of(&mut self, path: &str, bytes: usize) {
        if let Some(namespace) = namespace_of(path) {
            self.read_per_namespace.of(namespace).add((path.len() + STAT_OVERHEAD_BYTES + bytes) as u64);
        }
    }

    /// A write to `path` carried `bytes` of data.
    #[inline]
    pub fn write_of(&mut self, path: &str, bytes: usize) {
        if let Some(namespace) = namespace_of(path) {
            self.write_per_namespace.of(namespace).add((path.len() + bytes) as u64);
        }
    }
}

/// Requests by operation; `metrics.op_count.add(op)`.
#[derive(Clone, Debug)]
pub struct OpCounts([u64; OP_SLOTS]);

/// From the smallest number of an operation, -11, to the largest, 107.
const OP_SLOTS: usize = 119;

impl Default for OpCounts {
    fn default() -> OpCounts {
        OpCounts([0; OP_SLOTS])
    }
}

impl OpCounts {
    #[inline]
    pub fn add(&mut self, op: Op) {
        self.0[Self::slot(op)] += 1;
    }

    pub fn get(&self, op: Op) -> u64 {
        self.0[Self::slot(op)]
    }

    fn slot(op: Op) -> usize {
        (op.code() + 11) as usize
    }
}
