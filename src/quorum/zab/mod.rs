//! ZAB: one history for all, as the machines of a leader and of its learners.
//!
//! - [`packet`]: what they say to each other.
//! - [`window`], [`sync`]: the newest part of the history in memory, and how a learner that is behind is brought to it.
//! - [`learner`]: a follower or an observer. [`leader`]: the other side, one handler to a learner.
//!
//! Each machine is handed the time and an event and pushes actions, which the shell carries out in their order. What
//! must be on disk is an action too, and its end an event: the machines know what may be said only then.
//!
//! # Invariants
//!
//! Those of the protocol, which `tests` checks over whole ensembles with crashes: one established leader to an epoch;
//! what anybody applies, everybody applies in the same order; what was committed is never lost while a majority keeps
//! its disks; `currentEpoch <= acceptedEpoch`, and no log is ahead of its `currentEpoch`.

pub mod leader;
pub mod learner;
pub mod packet;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod window;

use std::fmt;

use crate::ids::Zxid;
use crate::time::Millis;

/// A leader's reign. -1: an empty database that must not vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

impl Epoch {
    pub fn of(zxid: Zxid) -> Epoch {
        Epoch(zxid.epoch())
    }

    /// The zxid that names the epoch; its transactions begin behind it.
    pub fn first(self) -> Zxid {
        Zxid(self.0 << 32)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// How long peers wait for each other: `tickTime` in milliseconds, `initLimit` and `syncLimit` in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub tick_ms: u64,
    pub init_ticks: u64,
    pub sync_ticks: u64,
}

impl Limits {
    fn init(self) -> Millis {
        Millis(self.tick_ms * self.init_ticks)
    }

    fn sync(self) -> Millis {
        Millis(self.tick_ms * self.sync_ticks)
    }
}
