//! What a stream of values looked like: how many, how much, the extremes, and the quantiles.
//!
//! [`Summary`] (32 bytes, so that every connection can have one) is Java's `AvgMinMaxCounter`; [`Distribution`] adds quantiles, as `AvgMinMaxPercentileCounter`
//! does. Java keeps a random sample of 4096 values for them; here each value is counted in a bucket of a
//! log-linear histogram (exact below 16, then 16 buckets per power of two, so at most 6.25 % too high). That
//! needs no random source, forgets no outlier, and recording is an index and an addition: a few nanoseconds. The
//! `hdrhistogram` crate does the same with a larger table and a `Result` at each call; sixty lines are
//! the smaller cost. A table is as long as its largest value needs, so names that never see a value cost nothing.
//!
//! Times come in nanoseconds and are kept in microseconds: a server that answers in 20 us would otherwise report
//! zeros in Java's milliseconds. [`TimeSummary`] and [`TimeDistribution`] are types of their own, so that a
//! count is never added to a time.

use std::fmt;

/// Count, sum and extremes of a stream of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary::new()
    }
}

impl Summary {
    const fn new() -> Summary {
        Summary { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    #[inline]
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub fn reset(&mut self) {
        *self = Summary::default();
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The smallest value; 0 if there is none.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The largest value; 0 if there is none.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 if there is no value.
    pub fn avg(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 }
    }
}

/// A [`Summary`] with quantiles of the recent past.
///
/// Count, sum and extremes are those since the last reset; quantiles are those of the last one or two windows, as
/// Prometheus' Java client has them over ten minutes: an alert on a median of the last month would never fire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    summary: Summary,
    /// Counts by bucket of this window and the one before, as long as the largest value needs.
    current: Vec<u64>,
    previous: Vec<u64>,
}

impl Distribution {
    pub const fn new() -> Distribution {
        Distribution { summary: Summary::new(), current: Vec::new(), previous: Vec::new() }
    }

    #[inline]
    pub fn add(&mut self, value: u64) {
        self.summary.add(value);
        let bucket = bucket_of(value);
        match self.current.get_mut(bucket) {
            Some(count) => *count += 1,
            None => self.grow(bucket),
        }
    }

    #[cold]
    fn grow(&mut self, bucket: usize) {
        self.current.resize(bucket + 1, 0);
        self.current[bucket] = 1;
    }

    pub fn reset(&mut self) {
        *self = Distribution::default();
    }

    /// Begins a new window: what is older than the one that ends is forgotten by the quantiles.
    pub fn rotate(&mut self) {
        std::mem::swap(&mut self.current, &mut self.previous);
        self.current.fill(0);
    }

    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The value that `q` (0 to 1) of the recent values do not exceed, rounded up to its bucket's end but never
    /// beyond the largest value seen: a tail is not understated. `None` if there is no recent value.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let in_bucket = |i: usize| {
            let of = |window: &Vec<u64>| window.get(i).copied().unwrap_or(0);
            of(&self.current) + of(&self.previous)
        };
        let buckets = 0..self.current.len().max(self.previous.len());
        let count: u64 = buckets.clone().map(in_bucket).sum();
        let rank = (q * count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = buckets.into_iter().find(|i| {
            seen += in_bucket(*i);
            seen >= rank
        })?;
        Some(last_value_of(bucket).clamp(self.summary.min, self.summary.max))
    }
}

/// Times without quantiles, kept in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSummary(Summary);

impl TimeSummary {
    #[inline]
    pub fn add_nanos(&mut self, nanos: u64) {
        self.0.add(nanos / 1000);
    }

    pub fn add_ms(&mut self, ms: u64) {
        self.0.add(ms.saturating_mul(1000));
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The same in microseconds.
    pub fn micros(&self) -> &Summary {
        &self.0
    }

    /// Whole milliseconds, rounded down, as Java's integers are.
    pub fn min_ms(&self) -> u64 {
        self.0.min() / 1000
    }

    /// Whole milliseconds, rounded down.
    pub fn max_ms(&self) -> u64 {
        self.0.max() / 1000
    }

    /// Milliseconds with their fraction.
    pub fn avg_ms(&self) -> f64 {
        self.0.avg() / 1000.0
    }
}

/// Times with quantiles, kept in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeDistribution(Distribution);

impl TimeDistribution {
    #[inline]
    pub fn add_nanos(&mut self, nanos: u64) {
        self.0.add(nanos / 1000);
    }

    pub fn add_ms(&mut self, ms: u64) {
        self.0.add(ms.saturating_mul(1000));
    }

    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// See [`Distribution::rotate`].
    pub fn rotate(&mut self) {
        self.0.rotate();
    }

    /// The same in microseconds.
    pub fn micros(&self) -> &Distribution {
        &self.0
    }
}

/// The last, smallest and largest size of some message: Java's `BufferStats`, -1 before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferStats {
    pub last: i64,
    pub min: i64,
    pub max: i64,
}

impl Default for BufferStats {
    fn default() -> BufferStats {
        BufferStats { last: -1, min: -1, max: -1 }
    }
}

impl BufferStats {
    #[inline]
    pub fn add(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.last = bytes;
        self.min = if self.min == -1 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
    }
}

/// `last/min/max`, as the last line of a leader's `srvr` shows proposal sizes.
impl fmt::Display for BufferStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.last, self.min, self.max)
    }
}

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 4;
/// Values from here on share the last bucket: 19 hours in microseconds, 64 GiB in bytes.
const VALUE_BITS: u32 = 36;

#[inline]
fn bucket_of(value: u64) -> usize {
    let value = value.min((1 << VALUE_BITS) - 1);
    // Below 16 the exponent is 0 and the bucket is the value itself.
    let exponent = (value | ((1 << SUB_BITS) - 1)).ilog2() + 1 - SUB_BITS;
    let base = (exponent as usize) << SUB_BITS;
    if exponent == 0 {
        value as usize
    } else {
        base + ((value >> (exponent - 1)) as usize & ((1 << SUB_BITS) - 1))
    }
}

fn last_value_of(bucket: usize) -> u64 {
    let (exponent, sub) = (bucket >> SUB_BITS, (bucket & ((1 << SUB_BITS) - 1)) as u64);
    if exponent == 0 { sub } else { (((1 << SUB_BITS) + sub + 1) << (exponent - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUCKETS: usize = ((VALUE_BITS - SUB_BITS + 1) << SUB_BITS) as usize;

    #[test]
    fn a_summary_knows_count_sum_and_extremes_and_is_zero_when_empty() {
        let mut s = Summary::default();
        assert_eq!((s.count(), s.sum(), s.min(), s.max(), s.avg()), (0, 0, 0, 0, 0.0));
        for v in [4, 2, 9] {
            s.add(v);
        }
        assert_eq!((s.count(), s.sum(), s.min(), s.max(), s.avg()), (3, 15, 2, 9, 5.0));
        s.reset();
        assert_eq!(s, Summary::default());
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_at_most_a_sixteenth_below_its_end() {
        let mut values: Vec<u64> = (0..4096).collect();
        values.extend((12..VALUE_BITS).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1, 3 << (b - 1)]));
        for v in values {
            let end = last_value_of(bucket_of(v));
            assert!(v <= end && end - v <= v / 16, "{v} {end}");
            assert_eq!(bucket_of(end), bucket_of(v));
            assert_eq!(bucket_of(end + 1).min(BUCKETS - 1), (bucket_of(v) + 1).min(BUCKETS - 1));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_never_leave_the_range_that_was_seen() {
        let mut d = Distribution::default();
        assert_eq!(d.quantile(0.5), None);
        d.add(1_000);
        assert_eq!(
            (d.quantile(0.0), d.quantile(0.5), d.quantile(1.0)),
            (Some(1_000), Some(1_000), Some(1_000))
        );
        for v in 1..=999 {
            d.add(v);
        }
        let p50 = d.quantile(0.5).expect("not empty");
        assert!((500..=532).contains(&p50), "{p50}");
        assert_eq!(d.quantile(0.999), Some(1_000));
        d.add(u64::MAX);
        assert_eq!(d.quantile(1.0), Some((1 << VALUE_BITS) - 1));
    }

    #[test]
    fn quantiles_forget_what_is_older_than_two_windows_and_the_rest_does_not() {
        let mut d = Distribution::default();
        d.add(7);
        d.rotate();
        d.add(3);
        assert_eq!((d.quantile(0.5), d.quantile(1.0)), (Some(3), Some(7)));
        d.rotate();
        assert_eq!(d.quantile(1.0), Some(3));
        d.rotate();
        assert_eq!(d.quantile(1.0), None);
        assert_eq!((d.summary().count(), d.summary().max()), (2, 7));
    }

    #[test]
    fn times_are_kept_in_microseconds_and_read_in_milliseconds() {
        let mut t = TimeSummary::default();
        t.add_nanos(1_999_999);
        t.add_ms(4);
        assert_eq!((t.min_ms(), t.max_ms(), t.avg_ms()), (1, 4, 2.9995));
    }

    #[test]
    fn buffer_sizes_are_minus_one_before_the_first() {
        let mut sizes = BufferStats::default();
        assert_eq!(sizes.to_string(), "-1/-1/-1");
        sizes.add(87);
        sizes.add(48);
        sizes.add(54);
        assert_eq!(sizes.to_string(), "54/48/87");
    }
}
