//! The committed log: the newest transactions that were applied, kept in memory for learners that are not far behind.
//!
//! Every applied transaction enters it, whatever the role and however it arrived: a window that left out what a
//! follower got in its own synchronisation made holes that spread when it led (ZOOKEEPER-4925).
//!
//! # Invariants
//!
//! 1. Zxids rise; within an epoch they rise by one.
//! 2. Beyond its limits, in transactions and in bytes, the window forgets from the front, never from the middle.

use std::collections::VecDeque;

use super::packet::Entry;
use crate::ids::Zxid;

/// Bytes of transactions that are kept. All of them may go to one learner at once: were they more than may wait for it, it
/// would be closed each time that it came. Who is behind them is sent the log files, or an image if that is less.
pub const BYTES_MAX: usize = 64 << 20;

/// `zookeeper.commitLogCount`, also the least that Java accepts.
pub const LIMIT_DEFAULT: usize = 500;

#[derive(Clone, Debug)]
pub struct CommittedLog {
    entries: VecDeque<Entry>,
    limit: usize,
    /// Of all payloads.
    bytes: usize,
}

/// What a walk through history meets at a learner's position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// The last transaction before the position, if this part of history reaches back that far.
    pub before: Option<Zxid>,
    /// The first transaction at or behind it.
    pub at_or_after: Option<Zxid>,
}

impl CommittedLog {
    /// An empty window of at most `limit` transactions.
    pub fn new(limit: usize) -> CommittedLog {
        CommittedLog { entries: VecDeque::new(), limit, bytes: 0 }
    }

    /// Takes the transaction that was applied. One that does not continue the window starts it anew: better a SNAP
    /// than a hole.
    pub fn push(&mut self, entry: Entry) {
        match self.max() {
            // An image is newer than its zxid says, so what follows it may have been seen (quorum-protocol, 3.6).
            Some(max) if entry.zxid <= max => return,
            Some(max) if !follows(max, entry.zxid) => self.clear(),
            _ => {}
        }
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        while (self.entries.len() > self.limit || self.bytes > BYTES_MAX)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.payload.len();
        }
    }

    /// Forgets everything: the state was replaced (SNAP) or cut (TRUNC).
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    pub fn min(&self) -> Option<Zxid> {
        self.entries.front().map(|entry| entry.zxid)
    }

    pub fn max(&self) -> Option<Zxid> {
        self.entries.back().map(|entry| entry.zxid)
    }

    /// Everything behind `zxid`, in order.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.entries.partition_point(|entry| entry.zxid <= zxid)..)
    }

    /// What stands at `zxid`.
    pub fn meet(&self, zxid: Zxid) -> Meeting {
        let at = self.entries.partition_point(|entry| entry.zxid < zxid);
        let zxid_of = |at: usize| self.entries.get(at).map(|entry| entry.zxid);
        Meeting { before: at.checked_sub(1).and_then(zxid_of), at_or_after: zxid_of(at) }
    }
}

/// May `next` stand directly behind `previous`? One more within an epoch; any transaction of a later epoch.
pub fn follows(previous: Zxid, next: Zxid) -> bool {
    next.follows(previous)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_large_transactions_holds_fewer_of_them() {
        let mut window = CommittedLog::new(LIMIT_DEFAULT);
        let payload: std::rc::Rc<[u8]> = vec![0; 1 << 20].into();
        for zxid in 1..=200 {
            window.push(Entry { zxid: Zxid(zxid), payload: payload.clone() });
        }
        assert_eq!((window.min(), window.max()), (Some(Zxid(137)), Some(Zxid(200))));
        window.clear();
        for zxid in 201..=600 {
            window.push(Entry { zxid: Zxid(zxid), payload: payload[..1].into() });
        }
        assert_eq!(window.min(), Some(Zxid(201)), "what was forgotten does not count");
    }
}
