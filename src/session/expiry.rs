//! Deadlines in buckets, for things that are touched far more often than they expire (Java's `ExpiryQueue`).
//!
//! A deadline is rounded up to a multiple of the interval, so that thousands of touches a second move an
//! entry only when it changes its bucket.
//!
//! # Invariants
//!
//! 1. A key is in exactly the bucket that its owner's [`Slot`] names.
//! 2. A key expires between its timeout and its timeout plus one interval after the last touch, never before.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Where a key is in the queue; its owner keeps it beside the thing that expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(Option<u64>);

/// Keys by the time at which they expire.
#[derive(Debug)]
pub struct ExpiryQueue<K> {
    interval_ms: u64,
    buckets: BTreeMap<u64, BTreeSet<K>>,
}

impl<K: Ord + Copy> ExpiryQueue<K> {
    /// `interval_ms` must not be 0.
    pub fn new(interval_ms: u64) -> ExpiryQueue<K> {
        assert!(interval_ms > 0, "buckets have a width");
        ExpiryQueue { interval_ms, buckets: BTreeMap::new() }
    }

    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Sets the deadline of `key` to `timeout_ms` from now, rounded up to the next bucket.
    pub fn touch(&mut self, key: K, slot: &mut Slot, now: Instant, timeout_ms: u64) {
        let bucket = ((now.millis() + timeout_ms) / self.interval_ms + 1) * self.interval_ms;
        if slot.0 != Some(bucket) {
            self.remove(key, slot);
            self.buckets.entry(bucket).or_default().insert(key);
            slot.0 = Some(bucket);
        }
    }

    pub fn remove(&mut self, key: K, slot: &mut Slot) {
        let Some(bucket) = slot.0.take() else { return };
        if let Some(keys) = self.buckets.get_mut(&bucket) {
            keys.remove(&key);
            if keys.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }

    /// When the next bucket falls due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.buckets.keys().next().map(|&ms| Instant::from_millis(ms))
    }

    /// One key whose time has come. The caller removes it from the queue.
    pub fn due(&self, now: Instant) -> Option<K> {
        let (&bucket, keys) = self.buckets.first_key_value()?;
        if bucket <= now.millis() { keys.first().copied() } else { None }
    }

    /// Every bucket: its time in milliseconds on the monotonic clock, and its keys.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = K> + '_)> + '_ {
        self.buckets.iter().map(|(&ms, keys)| (ms, keys.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_expires_within_one_interval_after_its_timeout() {
        let mut queue = ExpiryQueue::new(1000);
        let mut slot = Slot::default();
        queue.touch(7, &mut slot, Instant::from_millis(400), 4000);
        assert_eq!(queue.next_deadline(), Some(Instant::from_millis(5000)));
        assert_eq!(queue.due(Instant::from_millis(4999)), None);
        assert_eq!(queue.due(Instant::from_millis(5000)), Some(7));
    }

    #[test]
    fn a_touch_moves_the_key_and_leaves_no_empty_bucket() {
        let mut queue = ExpiryQueue::new(1000);
        let mut slot = Slot::default();
        queue.touch(7, &mut slot, Instant::from_millis(0), 1000);
        queue.touch(7, &mut slot, Instant::from_millis(1500), 1000);
        assert_eq!(queue.due(Instant::from_millis(2500)), None);
        queue.remove(7, &mut slot);
        assert_eq!(queue.next_deadline(), None);
    }
}
