//! Time as the machines see it: handed in, never read.

use std::ops::Add;

/// Nanoseconds on the shell's monotonic clock. Only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Nanoseconds since `earlier`; 0 if `earlier` is later.
    pub fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds since `earlier`, rounded down; 0 if `earlier` is later.
    pub fn millis_since(self, earlier: Instant) -> u64 {
        self.nanos_since(earlier) / 1_000_000
    }

    /// Milliseconds since the clock's own zero, rounded down.
    pub fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    pub fn from_millis(ms: u64) -> Instant {
        Instant(ms.saturating_mul(1_000_000))
    }
}

/// Adding milliseconds is the one thing that deadlines need.
impl Add<Millis> for Instant {
    type Output = Instant;

    fn add(self, ms: Millis) -> Instant {
        Instant(self.0.saturating_add(ms.0.saturating_mul(1_000_000)))
    }
}

/// Lets one through each second: log lines that a client can cause as often as it likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct OncePerSecond {
    last_ms: Option<i64>,
    held_back: u64,
}

impl OncePerSecond {
    /// How many were held back since the last one, if this one may pass. `now_ms` may be of any clock, also of one
    /// that jumps.
    pub fn pass(&mut self, now_ms: i64) -> Option<u64> {
        if self.last_ms.is_some_and(|last| now_ms.abs_diff(last) < 1000) {
            self.held_back += 1;
            return None;
        }
        self.last_ms = Some(now_ms);
        Some(std::mem::take(&mut self.held_back))
    }
}

/// A span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// Milliseconds since 1970: what goes into ctime, mtime and transaction headers. It may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallMillis(pub i64);

/// Both clocks, read together by the shell at the start of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Instant,
    pub wall: WallMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_passes_and_says_how_many_did_not() {
        let mut lines = OncePerSecond::default();
        let passed: Vec<_> = [5000, 5001, 5999, 6000, 6100, 1000].map(|ms| lines.pass(ms)).into();
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
