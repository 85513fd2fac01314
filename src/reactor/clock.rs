//! The only place that reads the clocks.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now, WallMillis};

/// Monotonic time counts from here; small numbers read better in logs than uptimes of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: std::time::Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { zero: std::time::Instant::now() }
    }

    pub fn mono(&self) -> Instant {
        Instant(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same as a span since the clock's zero.
    pub fn elapsed(&self) -> Duration {
        self.zero.elapsed()
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { mono: self.mono(), wall: WallMillis(wall.as_millis() as i64) }
    }

    /// How long a poll may sleep to be back at `deadline`. Rounded up, so that the deadline has then passed.
    pub fn until(&self, deadline: Instant) -> Duration {
        Duration::from_millis(deadline.nanos_since(self.mono()).div_ceil(1_000_000))
    }
}
