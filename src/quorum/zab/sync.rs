//! The sync plan: how a leader brings a learner to its own history. A pure function of what both have.
//!
//! `p` is the learner's last zxid, `last` the leader's, `min` and `max` bound the leader's committed log (both are
//! `last` while it is empty). "Epoch only" is a zxid with counter 0: the learner adopted an epoch and has no
//! transaction of it.
//!
//! | # | condition | plan |
//! |---|---|---|
//! | 0 | SNAP is forced | SNAP |
//! | 1 | p = last | DIFF(p), no history |
//! | 2 | p > max, not epoch only, and the learner is known to have max | TRUNC(max), no history |
//! | 3 | min <= p <= max | walk the committed log from p |
//! | 4 | p < min, and the log files reach back to p | walk the files from p, then the whole committed log |
//! | 5 | everything else | SNAP |
//!
//! The walk, where `at` is the first transaction at or behind p, and `before` the one in front of it:
//!
//! | # | condition | plan |
//! |---|---|---|
//! | a | at = p | DIFF(max), what is behind p |
//! | b | p epoch only | DIFF(max), what is behind p |
//! | c | at has the epoch of p, and before exists | TRUNC(before), what is behind it |
//! | d | everything else: other epoch, or nothing there | SNAP |
//!
//! Row c needs a hole in the leader's own epoch, which Serval never makes; it is refused (SNAP) unless `at` follows
//! `before`, so a hole is not handed on (ZOOKEEPER-4925).
//!
//! Row 2 is stricter than Java's, which sends TRUNC to zxids that no learner has (`0`, or an epoch alone), behind
//! which its own learners then keep a transaction too many: the learner must share max's epoch. Zxids of one epoch come
//! from one leader without holes, so who has a later one has max.

use super::window::{Meeting, follows};
use crate::ids::Zxid;

/// Where the history that follows the first packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The committed log, behind `after`.
    Window { after: Zxid },
    /// The log files, behind `after` and up to where the committed log begins; then all of that.
    Files { after: Zxid },
}

/// What a leader sends first, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// `zxid` only informs. `None`: the learner has everything.
    Diff {
        zxid: Zxid,
        history: Option<Source>,
    },
    Trunc {
        zxid: Zxid,
        history: Option<Source>,
    },
    Snap,
}

/// What a leader has, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct History {
    pub last: Zxid,
    /// Bounds of the committed log; `None` while it is empty.
    pub window: Option<(Zxid, Zxid)>,
    /// What the committed log has at the learner's position.
    pub in_window: Meeting,
    /// What the log files have there; `None` if they do not reach back to it, or are too much to send.
    pub in_files: Option<Meeting>,
    pub force_snap: bool,
}

impl History {
    fn bounds(&self) -> (Zxid, Zxid) {
        self.window.unwrap_or((self.last, self.last))
    }

    /// Is it worth looking into the log files for this learner? Only row 4 asks them.
    ///
    /// Not if the committed log is empty and `last` names an epoch (a snapshot was taken between an election and its first
    /// transaction): then no file can show that it ends where this server's history does.
    pub fn asks_files(&self, learner: Zxid) -> bool {
        let end_is_a_record = self.window.is_some() || !epoch_only(self.last);
        !self.force_snap && end_is_a_record && learner != self.last && learner < self.bounds().0
    }
}

/// The plan for a learner whose last zxid is `p`.
pub fn plan(p: Zxid, leader: &History) -> Plan {
    let (min, max) = leader.bounds();
    if leader.force_snap {
        return Plan::Snap;
    }
    if p == leader.last {
        return Plan::Diff { zxid: p, history: None };
    }
    if p > max {
        let has_max = max.counter() != 0 && max.epoch() == p.epoch();
        return match epoch_only(p) || !has_max {
            true => Plan::Snap,
            false => Plan::Trunc { zxid: max, history: None },
        };
    }
    if p >= min {
        return walk(p, max, leader.in_window, |after| Source::Window { after });
    }
    match leader.in_files {
        // The files end before the committed log's beginning only if they lag behind it, which they never do; a
        // meeting without a transaction still is one that says nothing.
        Some(meeting) if meeting.at_or_after.is_some() => {
            walk(p, max, meeting, |after| Source::Files { after })
        }
        _ => Plan::Snap,
    }
}

fn walk(p: Zxid, max: Zxid, meeting: Meeting, source: impl Fn(Zxid) -> Source) -> Plan {
    match (meeting.before, meeting.at_or_after) {
        (_, Some(at)) if at == p => {
            // Nothing behind p: an empty DIFF, without a source that would be empty.
            Plan::Diff { zxid: max, history: (p < max).then(|| source(p)) }
        }
        (_, Some(at)) if epoch_only(p) && follows(p, at) => {
            Plan::Diff { zxid: max, history: Some(source(p)) }
        }
        (_, None) if epoch_only(p) => Plan::Diff { zxid: max, history: None },
        (Some(before), Some(at)) if at.epoch() == p.epoch() && follows(before, at) => {
            Plan::Trunc { zxid: before, history: Some(source(before)) }
        }
        _ => Plan::Snap,
    }
}

fn epoch_only(zxid: Zxid) -> bool {
    zxid.counter() == 0
}
