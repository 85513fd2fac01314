//! A leader's side of one learner: where the dialogue stands, and how long it may stand there.

use crate::ids::{ServerId, Zxid};
use crate::quorum::zab::{Epoch, Limits};
use crate::time::{Instant, Millis};

/// A connection from a learner. The shell numbers them in their order and never gives a number twice: a learner that comes
/// back is another owner for its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LearnerId(pub u64);

/// Where the dialogue with a learner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not said who it is.
    Greeting,
    /// W1: it waits until enough servers are here to agree on an epoch.
    AwaitingEpoch { since: Instant },
    /// It has LEADERINFO.
    AwaitingAckEpoch,
    /// W2: it waits until enough servers have promised the epoch.
    AwaitingPromises { since: Instant, last_zxid: Zxid },
    /// The shell looks for its position in the log files.
    Locating { last_zxid: Zxid },
    /// SNAP and its image are on their way; NEWLEADER comes behind them.
    SendingImage,
    /// It has NEWLEADER.
    AwaitingAck,
    /// W3: it waits until enough servers have the history.
    AwaitingService { since: Instant },
    /// It has UPTODATE.
    Serving,
}

/// How a learner is being synchronised; each kind has its limit of how many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    Diff,
    Snap,
}

#[derive(Clone, Debug)]
pub struct Handler {
    /// Negative for anonymous learners.
    pub sid: ServerId,
    pub observer: bool,
    pub stage: Stage,
    pub sync: SyncKind,
    /// When it said something last, or took a part of its image.
    pub heard: Instant,
    /// The last zxid that it has said to have on disk, NEWLEADER's included.
    pub acked: Zxid,
    /// COMMITs kept back between NEWLEADER and UPTODATE.
    pub held_commits: Option<Vec<Zxid>>,
    /// The same server is being synchronised on a later connection: what still comes on this one was said before.
    pub replaced: bool,
    unacked: Unacked,
}

/// The oldest proposal that a learner has not acked, as Java watches it: the oldest, and one candidate for its successor.
#[derive(Clone, Copy, Debug, Default)]
struct Unacked {
    oldest: Option<(Zxid, Instant)>,
    next: Option<(Zxid, Instant)>,
}

impl Handler {
    pub fn new(now: Instant) -> Handler {
        Handler {
            sid: ServerId(-1),
            observer: false,
            stage: Stage::Greeting,
            sync: SyncKind::Diff,
            heard: now,
            acked: Zxid::ZERO,
            held_commits: None,
            replaced: false,
            unacked: Unacked::default(),
        }
    }

    /// Does it receive PROPOSAL, COMMIT or INFORM?
    pub fn registered(&self) -> bool {
        matches!(
            self.stage,
            Stage::SendingImage | Stage::AwaitingAck | Stage::AwaitingService { .. } | Stage::Serving
        )
    }

    /// Has NEWLEADER been sent? Before that a PING would end a Java learner's process.
    pub fn may_be_pinged(&self) -> bool {
        self.registered() && self.stage != Stage::SendingImage
    }

    pub fn syncing(&self) -> bool {
        matches!(self.stage, Stage::SendingImage | Stage::AwaitingAck)
    }

    pub fn known(&self) -> bool {
        self.stage != Stage::Greeting
    }

    /// When its time is up; `None` while it waits for this server alone.
    pub fn deadline(&self, limits: Limits) -> Option<Instant> {
        match self.stage {
            Stage::Greeting | Stage::AwaitingAckEpoch | Stage::SendingImage | Stage::AwaitingAck => {
                Some(self.heard + limits.init())
            }
            Stage::AwaitingEpoch { since }
            | Stage::AwaitingPromises { since, .. }
            | Stage::AwaitingService { since } => Some(since + limits.init()),
            Stage::Locating { .. } => None,
            Stage::Serving => Some(self.heard + limits.sync()),
        }
    }

    /// Does it count as alive for the leader's quorum?
    pub fn in_step(&self, now: Instant, limits: Limits) -> bool {
        let patience = match self.stage {
            Stage::Serving => limits.sync(),
            _ => Millis(limits.init().0 + limits.sync().0),
        };
        self.known() && now <= self.heard + patience
    }

    /// A proposal was sent to it; those of before its ACK of NEWLEADER are not held against it.
    pub fn proposed(&mut self, now: Instant, zxid: Zxid) {
        if !matches!(self.stage, Stage::AwaitingService { .. } | Stage::Serving) {
            return;
        }
        let slot =
            if self.unacked.oldest.is_none() { &mut self.unacked.oldest } else { &mut self.unacked.next };
        slot.get_or_insert((zxid, now));
    }

    pub fn note_ack(&mut self, zxid: Zxid) {
        self.acked = self.acked.max(zxid);
        if self.unacked.oldest.is_some_and(|(oldest, _)| oldest <= zxid) {
            self.unacked.oldest = self.unacked.next.take().filter(|(next, _)| *next > zxid);
        }
    }

    /// Has a proposal waited for its ACK for longer than syncLimit?
    pub fn acks_too_late(&self, now: Instant, limits: Limits) -> bool {
        self.unacked.oldest.is_some_and(|(_, sent)| now > sent + limits.sync())
    }
}

/// What a leader and its learners bring to the comparison of histories: who has the higher one, leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Summary {
    pub current_epoch: Epoch,
    pub last_zxid: Zxid,
}
