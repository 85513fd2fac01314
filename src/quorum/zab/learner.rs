//! A learner: a follower or an observer of one leader, from its first packet to the end of the connection.
//!
//! | phase | waits for | then |
//! |---|---|---|
//! | `Greeting` | LEADERINFO | the epoch is accepted, durably |
//! | `Accepting` | the accepted epoch on disk | ACKEPOCH with what this server has |
//! | `AwaitingPlan` | DIFF, TRUNC or SNAP | |
//! | `Truncating`, `LoadingImage` | the log cut; the image in memory | |
//! | `Receiving` | history, then NEWLEADER | history is made durable |
//! | `SavingImage` | after SNAP: the image on disk as a snapshot | |
//! | `SyncingHistory` | the log synced | NEWLEADER's membership is the last one seen |
//! | `AdoptingEpoch` | membership and current epoch on disk | ACK of NEWLEADER |
//! | `AwaitingUpToDate` | UPTODATE | clients are served |
//! | `Serving` | | proposals are logged and acked, commits applied |
//!
//! # What is durable when
//!
//! The rule that model checking left standing: on NEWLEADER first the history is durable, then the epoch, then the
//! ACK leaves. Any other order loses committed transactions (ZOOKEEPER-3911, 4643, 4646). The membership that came along
//! stands between history and epoch: the ACK counts in it, and who forgets it may lead without those who were to agree.
//!
//! History is what the leader had when its epoch began; transactions of its own epoch that arrive early are kept in
//! memory until the epoch is on disk. A crash may still leave an image, or epochs in between, that are ahead of
//! `currentEpoch`. Then the epoch of the last zxid is to be adopted when the server starts or looks for another leader:
//! who has a transaction of an epoch has all that its leader began with, in front of it (ZOOKEEPER-2307, 2354).
//!
//! After DIFF and TRUNC everything is logged before it is applied, so memory never is ahead of the log
//! (ZOOKEEPER-5094). After SNAP it is, until the snapshot is written: who leaves before must throw the tree away
//! ([`Action::End`] says so, ZOOKEEPER-3642).
//!
//! # Invariants
//!
//! 1. An ACK leaves only for what is synced, one for each proposal, in zxid order, none before NEWLEADER's.
//! 2. Proposals are contiguous within an epoch; a gap ends the connection (ZOOKEEPER-4925).
//! 3. Outside of an unfinished SNAP nothing is applied that was not appended before.
//! 4. After [`Action::End`] nothing more comes out, whatever goes in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::rc::Rc;

use super::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet, Request};
use super::window::follows;
use super::{Epoch, Limits};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::time::Instant;

/// What a learner is when it meets its leader.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub sid: ServerId,
    pub observer: bool,
    /// Version of the committed configuration.
    pub config_version: Zxid,
    pub accepted_epoch: Epoch,
    /// Not below the epoch of `last_zxid`.
    pub current_epoch: Epoch,
    /// The end of the log, committed or not (ZOOKEEPER-2845). All of it is applied and on disk.
    pub last_zxid: Zxid,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The leader sent this. After [`Action::LoadImage`] the image's bytes come first.
    Packet(Packet),
    /// A part of the image came: the leader is alive.
    ImageBytes,
    /// The connection is gone.
    Disconnected,
    /// [`Action::PersistAcceptedEpoch`] is done.
    AcceptedEpochPersisted,
    /// [`Action::PersistCurrentEpoch`] is done.
    CurrentEpochPersisted,
    /// [`Action::Truncate`] is done, the state loaded anew.
    Truncated,
    /// The same, but the log ends before where it was to be cut: that transaction never was in it.
    TruncatedShort { last: Zxid },
    /// [`Action::LoadImage`] is done: all of it is in memory.
    ImageLoaded,
    /// [`Action::SaveImage`] is done.
    ImageSaved,
    /// The log is on disk up to here; covers every append up to it.
    LogSynced { through: Zxid },
    /// A client's write or sync, for the leader.
    Forward(Request),
    /// A client came with a session that the leader must confirm.
    Revalidate { session: SessionId, timeout_ms: i32 },
    /// A session was used, or its creation was just committed.
    Touched { session: SessionId, timeout_ms: i32 },
    /// [`Learner::next_timeout`] has passed.
    Timeout,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Send(Packet),
    /// Make durable, then report.
    PersistAcceptedEpoch(Epoch),
    PersistCurrentEpoch(Epoch),
    /// The membership that came with NEWLEADER is the last one seen, whatever was seen before. Durable before what follows
    /// in [`Action::PersistCurrentEpoch`].
    SeeMembership(Rc<[u8]>),
    /// Durably take back everything above the zxid, in logs and snapshots, and load the state anew.
    Truncate {
        to: Zxid,
    },
    /// Forget the tree and read the image that follows on the connection; no packet until it is complete.
    LoadImage {
        zxid: Zxid,
    },
    /// Cut the log above the zxid, then write the tree as a snapshot and sync file and directory: in this order, so that
    /// no restart replays an old tail on the new image. The log goes on behind it.
    SaveImage {
        through: Zxid,
    },
    /// Append to the log; sync when convenient and report.
    Append(Entry),
    /// Sync the log up to here at once; [`Event::LogSynced`] follows even if nothing was appended.
    SyncLog {
        through: Zxid,
    },
    /// Apply; entries at or below an image's zxid may have been applied in it already.
    Commit(Entry),
    /// The transaction just applied was a reconfiguration: see whether this server's role or leader changed.
    Activate {
        zxid: Zxid,
        designated: ServerId,
    },
    /// In step with the leader: serve clients. `config` came with NEWLEADER and is now the committed one.
    Serve {
        epoch: Epoch,
        config: Option<Rc<[u8]>>,
    },
    /// The oldest sync that waits is done.
    SyncDone,
    Revalidated {
        session: SessionId,
        valid: bool,
    },
    /// Close the connection and look for a leader. `reload`: the tree is ahead of the disk and must be loaded anew
    /// before this server votes.
    End {
        reason: Reason,
        reload: bool,
    },
}

pub type Actions = Vec<Action>;

/// Why a learner leaves its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Disconnected,
    /// Nothing was heard for too long.
    Silent,
    /// The leader proposes an epoch below the one this server has promised.
    StaleEpoch {
        proposed: Epoch,
        accepted: Epoch,
    },
    /// The leader speaks a dialogue that is not known.
    Protocol {
        version: i32,
    },
    /// A transaction is missing between these two.
    Gap {
        after: Zxid,
        got: Zxid,
    },
    /// COMMIT names another transaction than the oldest that waits for one.
    CommitOutOfOrder {
        expected: Option<Zxid>,
        got: Zxid,
    },
    /// TRUNC to what this server does not have.
    TruncateAhead {
        to: Zxid,
        last: Zxid,
    },
    /// After TRUNC the log ends before its zxid. What is missing in between the leader has to send, and it does once it
    /// hears where the log ends (B2).
    TruncatedShort {
        to: Zxid,
        last: Zxid,
    },
    /// NEWLEADER with another epoch than LEADERINFO, or a transaction of a later one.
    WrongEpoch {
        expected: Epoch,
        got: Zxid,
    },
    /// A packet that has no place in this phase.
    Unexpected {
        packet: &'static str,
        phase: &'static str,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Disconnected => f.write_str("the connection to the leader is gone"),
            Reason::Silent => f.write_str("nothing heard from the leader for too long"),
            Reason::StaleEpoch { proposed, accepted } => {
                write!(
                    f,
                    "leader's epoch {proposed} is below {accepted}, which was promised: is this the data of another ensemble?"
                )
            }
            Reason::Protocol { version } => write!(f, "leader speaks protocol version {version:#x}"),
            Reason::Gap { after, got } => write!(f, "got zxid {got} behind {after}"),
            Reason::CommitOutOfOrder { expected: Some(expected), got } => {
                write!(f, "commit of {got}, but {expected} is next")
            }
            Reason::CommitOutOfOrder { expected: None, got } => {
                write!(f, "commit of {got}, which was not proposed")
            }
            Reason::TruncateAhead { to, last } => {
                write!(f, "told to truncate to {to}, but the log ends at {last}")
            }
            Reason::TruncatedShort { to, last } => {
                write!(f, "told to truncate to {to}, which is not in the log; it now ends at {last}")
            }
            Reason::WrongEpoch { expected, got } => {
                write!(f, "leader says zxid {got}, but the epoch agreed upon is {expected}")
            }
            Reason::Unexpected { packet, phase } => write!(f, "unexpected {packet} while {phase}"),
        }
    }
}

/// Where the dialogue stands; the module docs have the table.
#[derive(Clone, Debug)]
enum Phase {
    Greeting,
    Accepting {
        epoch: Epoch,
    },
    AwaitingPlan {
        epoch: Epoch,
    },
    /// NEWLEADER may be here already: it mostly comes in the same piece as TRUNC.
    Truncating {
        epoch: Epoch,
        to: Zxid,
        new_leader: Option<NewLeader>,
    },
    LoadingImage {
        epoch: Epoch,
        zxid: Zxid,
    },
    Receiving {
        epoch: Epoch,
    },
    SavingImage(NewLeader),
    SyncingHistory {
        new_leader: NewLeader,
        through: Zxid,
    },
    AdoptingEpoch(NewLeader),
    AwaitingUpToDate(NewLeader),
    Serving {
        epoch: Epoch,
    },
    Ended,
}

#[derive(Clone, Debug)]
struct NewLeader {
    epoch: Epoch,
    config: Option<Rc<[u8]>>,
}

impl NewLeader {
    /// The packet must name the epoch that LEADERINFO has.
    fn told(epoch: Epoch, zxid: Zxid, config: Option<Rc<[u8]>>) -> Result<NewLeader, Reason> {
        match zxid == epoch.first() {
            true => Ok(NewLeader { epoch, config }),
            false => Err(Reason::WrongEpoch { expected: epoch, got: zxid }),
        }
    }
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Phase::Greeting => "waiting for LEADERINFO",
            Phase::Accepting { .. } => "accepting the epoch",
            Phase::AwaitingPlan { .. } => "waiting for DIFF, TRUNC or SNAP",
            Phase::Truncating { .. } => "truncating",
            Phase::LoadingImage { .. } => "loading an image",
            Phase::Receiving { .. } => "receiving history",
            Phase::SavingImage(_) => "saving the image",
            Phase::SyncingHistory { .. } => "syncing the history",
            Phase::AdoptingEpoch(_) => "adopting the epoch",
            Phase::AwaitingUpToDate(_) => "waiting for UPTODATE",
            Phase::Serving { .. } => "serving",
            Phase::Ended => "ended",
        }
    }

    /// The leader's epoch, once it has said it.
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Phase::Greeting | Phase::Ended => None,
            Phase::Accepting { epoch }
            | Phase::AwaitingPlan { epoch }
            | Phase::Truncating { epoch, .. }
            | Phase::LoadingImage { epoch, .. }
            | Phase::Receiving { epoch }
            | Phase::Serving { epoch } => Some(*epoch),
            Phase::SavingImage(new_leader)
            | Phase::SyncingHistory { new_leader, .. }
            | Phase::AdoptingEpoch(new_leader)
            | Phase::AwaitingUpToDate(new_leader) => Some(new_leader.epoch),
        }
    }
}

/// What may happen to a proposal once it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Nothing: the log is being cut, or the image saved.
    Shut,
    /// Commits go into the tree without the log: the snapshot at NEWLEADER will have them.
    Memory,
    /// The log takes transactions up to this epoch, and the tree what the log has.
    Log { through: Epoch },
}

/// The queues between the connection, the log and the tree. An entry is in both `held` and `uncommitted` at first.
#[derive(Clone, Debug)]
struct Replica {
    gate: Gate,
    /// The last proposal or inform taken; what comes next must follow it. `None`: behind an image, whose zxid bounds.
    previous: Option<Zxid>,
    /// Everything up to here was there before the stream began: SNAP's zxid, TRUNC's, or the end of the own log. The
    /// first proposal behind an image may be older, but not newer than its successor.
    image: Zxid,
    /// Not yet in the log.
    held: VecDeque<Entry>,
    /// COMMIT has not come.
    uncommitted: VecDeque<Entry>,
    /// COMMIT has come, but the log does not have it yet; and who leads behind it, if it is a reconfiguration.
    committed: VecDeque<(Entry, Option<ServerId>)>,
    /// In the log, ACK owed.
    unacked: VecDeque<Zxid>,
    /// The end of the log, and what of it is on disk.
    logged: Zxid,
    synced: Zxid,
    /// The last transaction whose COMMIT has come; earlier ones are tolerated, and nothing more.
    last_committed: Zxid,
}

/// The machine. One per connection to a leader.
#[derive(Debug)]
pub struct Learner {
    start: Start,
    limits: Limits,
    phase: Phase,
    replica: Replica,
    accepted_epoch: Epoch,
    current_epoch: Epoch,
    /// Nothing at all is acked before NEWLEADER is.
    acks_allowed: bool,
    heard: Instant,
    /// Sessions used since the last PING.
    touched: BTreeMap<SessionId, i32>,
}

impl Learner {
    /// On a fresh connection to the leader; says who this server is.
    pub fn new(now: Instant, start: Start, limits: Limits, actions: &mut Actions) -> Learner {
        let info = LearnerInfo {
            sid: Some(start.sid),
            protocol: PROTOCOL_VERSION,
            config_version: start.config_version,
        };
        let accepted_epoch = start.accepted_epoch;
        actions.push(Action::Send(match start.observer {
            true => Packet::ObserverInfo { accepted_epoch, info },
            false => Packet::FollowerInfo { accepted_epoch, info },
        }));
        Learner {
            phase: Phase::Greeting,
            replica: Replica::behind(start.last_zxid),
            accepted_epoch,
            current_epoch: start.current_epoch,
            acks_allowed: false,
            heard: now,
            touched: BTreeMap::new(),
            start,
            limits,
        }
    }

    /// The only way in.
    pub fn handle(&mut self, now: Instant, event: Event, actions: &mut Actions) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        let done = match event {
            Event::Packet(packet) => {
                self.heard = now;
                self.on_packet(packet, actions)
            }
            Event::ImageBytes => {
                self.heard = now;
                Ok(())
            }
            Event::Disconnected => Err(Reason::Disconnected),
            Event::Timeout if now >= self.next_timeout().unwrap_or(now) => Err(Reason::Silent),
            Event::Timeout => Ok(()),
            Event::AcceptedEpochPersisted => {
                self.on_accepted_epoch_persisted(actions);
                Ok(())
            }
            Event::CurrentEpochPersisted => {
                self.on_current_epoch_persisted(actions);
                Ok(())
            }
            Event::Truncated => {
                self.on_truncated(actions);
                Ok(())
            }
            Event::TruncatedShort { last } => match self.phase {
                Phase::Truncating { to, .. } => {
                    // The disk has what the tree has, but neither is what the leader thinks.
                    self.phase = Phase::AwaitingPlan { epoch: self.accepted_epoch };
                    Err(Reason::TruncatedShort { to, last })
                }
                _ => Ok(()),
            },
            Event::ImageLoaded => {
                self.on_image_loaded();
                Ok(())
            }
            Event::ImageSaved => {
                self.on_image_saved(actions);
                Ok(())
            }
            Event::LogSynced { through } => {
                self.on_log_synced(through, actions);
                Ok(())
            }
            Event::Forward(request) => {
                self.send_if_serving(Packet::Request(request), actions);
                Ok(())
            }
            Event::Revalidate { session, timeout_ms } => {
                self.send_if_serving(Packet::Revalidate { session, timeout_ms }, actions);
                Ok(())
            }
            Event::Touched { session, timeout_ms } => {
                self.touched.insert(session, timeout_ms);
                Ok(())
            }
        };
        if let Err(reason) = done {
            let reload = self.tree_is_ahead_of_disk();
            actions.push(Action::End { reason, reload });
            self.phase = Phase::Ended;
        }
        self.assert_invariants();
    }

    /// When the leader has been silent for too long; `None` once it is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ended => None,
            Phase::Greeting
            | Phase::Truncating { .. }
            | Phase::LoadingImage { .. }
            | Phase::Accepting { .. }
            | Phase::AwaitingPlan { .. }
            | Phase::Receiving { .. } => Some(self.heard + self.limits.init()),
            _ => Some(self.heard + self.limits.sync()),
        }
    }

    /// The epoch of the leader that this server follows, once it is in step with it.
    pub fn serving(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Serving { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// What must go into the next vote: the end of the log, applied or not.
    pub fn last_logged(&self) -> Zxid {
        self.replica.logged
    }

    pub fn epochs(&self) -> (Epoch, Epoch) {
        (self.accepted_epoch, self.current_epoch)
    }

    fn on_packet(&mut self, packet: Packet, actions: &mut Actions) -> Result<(), Reason> {
        match (&self.phase, packet) {
            (Phase::Greeting, Packet::LeaderInfo { epoch, protocol_version }) => {
                self.on_leader_info(epoch, protocol_version, actions)
            }
            (&Phase::AwaitingPlan { epoch }, packet) => self.on_plan(epoch, packet, actions),
            (&Phase::Receiving { epoch }, Packet::NewLeader { zxid, config }) => {
                self.on_new_leader(epoch, zxid, config, actions)
            }
            (&Phase::Truncating { epoch, to, new_leader: None }, Packet::NewLeader { zxid, config }) => {
                let new_leader = Some(NewLeader::told(epoch, zxid, config)?);
                self.phase = Phase::Truncating { epoch, to, new_leader };
                Ok(())
            }
            (Phase::AwaitingUpToDate(_), Packet::UpToDate) => {
                self.on_up_to_date(actions);
                Ok(())
            }
            // A second one says nothing new.
            (Phase::Serving { .. }, Packet::UpToDate) => Ok(()),
            (Phase::Serving { .. }, Packet::Ping { zxid, .. }) => {
                let touched = mem::take(&mut self.touched).into_iter().collect();
                actions.push(Action::Send(Packet::Ping { zxid, touched: Some(touched) }));
                Ok(())
            }
            (Phase::Serving { .. }, Packet::Sync) => {
                actions.push(Action::SyncDone);
                Ok(())
            }
            (Phase::Serving { .. }, Packet::Revalidated { session, valid }) => {
                actions.push(Action::Revalidated { session, valid });
                Ok(())
            }
            (Phase::Greeting | Phase::Accepting { .. } | Phase::LoadingImage { .. }, packet) => {
                Err(self.unexpected(&packet))
            }
            (_, packet) => self.on_broadcast(packet, actions),
        }
    }

    /// What may come at any time once the plan is known.
    fn on_broadcast(&mut self, packet: Packet, actions: &mut Actions) -> Result<(), Reason> {
        let serving = self.serving().is_some();
        match packet {
            // After the sync an observer is told by INFORM alone; what else a leader says is not for it.
            Packet::Proposal(_) | Packet::Commit { .. } | Packet::CommitAndActivate { .. }
                if serving && self.start.observer => {}
            Packet::Proposal(entry) => self.take(entry)?,
            Packet::Commit { zxid } => self.replica.commit(zxid, None)?,
            Packet::CommitAndActivate { zxid, designated } => self.replica.commit(zxid, Some(designated))?,
            Packet::Inform(entry) if self.start.observer => self.inform(entry, None)?,
            Packet::InformAndActivate { entry, designated } if self.start.observer => {
                self.inform(entry, Some(designated))?;
            }
            // Not answered before UPTODATE: Java's leader takes the first answer for the ACK of NEWLEADER.
            Packet::Ping { .. } => {}
            Packet::Unknown { .. } | Packet::Sync | Packet::Revalidated { .. } => {}
            packet => return Err(self.unexpected(&packet)),
        }
        self.advance(actions);
        Ok(())
    }

    /// An INFORM is a proposal and its commit in one.
    fn inform(&mut self, entry: Entry, designated: Option<ServerId>) -> Result<(), Reason> {
        let zxid = entry.zxid;
        self.take(entry)?;
        self.replica.commit(zxid, designated)
    }

    /// A transaction of a later epoch than the leader's would wait for ever for that epoch to be adopted.
    fn take(&mut self, entry: Entry) -> Result<(), Reason> {
        match self.phase.epoch() {
            Some(expected) if Epoch::of(entry.zxid) > expected => {
                Err(Reason::WrongEpoch { expected, got: entry.zxid })
            }
            _ => self.replica.take(entry),
        }
    }

    /// The epoch must be durable before it is promised: a promise that a crash forgets lets two leaders have it.
    fn on_leader_info(
        &mut self,
        epoch: Epoch,
        protocol_version: i32,
        actions: &mut Actions,
    ) -> Result<(), Reason> {
        if protocol_version != PROTOCOL_VERSION {
            return Err(Reason::Protocol { version: protocol_version });
        }
        if epoch < self.accepted_epoch {
            return Err(Reason::StaleEpoch { proposed: epoch, accepted: self.accepted_epoch });
        }
        if epoch == self.accepted_epoch {
            self.ack_epoch(epoch, None, actions);
        } else {
            actions.push(Action::PersistAcceptedEpoch(epoch));
            self.phase = Phase::Accepting { epoch };
        }
        Ok(())
    }

    fn on_accepted_epoch_persisted(&mut self, actions: &mut Actions) {
        let Phase::Accepting { epoch } = self.phase else { return };
        self.accepted_epoch = epoch;
        self.ack_epoch(epoch, Some(self.current_epoch), actions);
    }

    fn ack_epoch(&mut self, epoch: Epoch, current_epoch: Option<Epoch>, actions: &mut Actions) {
        let last_zxid = self.start.last_zxid;
        actions.push(Action::Send(Packet::AckEpoch { last_zxid, current_epoch }));
        self.phase = Phase::AwaitingPlan { epoch };
    }

    fn on_plan(&mut self, epoch: Epoch, packet: Packet, actions: &mut Actions) -> Result<(), Reason> {
        let last = self.start.last_zxid;
        match packet {
            // Its zxid means nothing here: what counts is what was applied (ZOOKEEPER-2355).
            Packet::Diff { .. } => {
                self.replica.gate = Gate::Log { through: self.log_through(epoch) };
                self.phase = Phase::Receiving { epoch };
            }
            Packet::Trunc { zxid: to } => {
                if to > last {
                    return Err(Reason::TruncateAhead { to, last });
                }
                actions.push(Action::Truncate { to });
                // What follows in the stream follows the cut, though the cut is not made yet.
                self.replica = Replica::behind(to);
                self.phase = Phase::Truncating { epoch, to, new_leader: None };
            }
            // No tree is older than the empty one.
            Packet::Snap { zxid } if zxid >= Zxid::ZERO => {
                actions.push(Action::LoadImage { zxid });
                self.phase = Phase::LoadingImage { epoch, zxid };
            }
            packet => return Err(self.unexpected(&packet)),
        }
        Ok(())
    }

    /// The leader's own epoch must not enter the log before it is this server's current one.
    fn log_through(&self, epoch: Epoch) -> Epoch {
        if self.current_epoch == epoch { epoch } else { Epoch(epoch.0 - 1) }
    }

    fn on_truncated(&mut self, actions: &mut Actions) {
        let Phase::Truncating { epoch, to, new_leader } = &mut self.phase else { return };
        debug_assert_eq!(self.replica.logged, *to);
        let (epoch, new_leader) = (*epoch, new_leader.take());
        self.replica.gate = Gate::Log { through: self.log_through(epoch) };
        self.phase = Phase::Receiving { epoch };
        self.advance(actions);
        if let Some(new_leader) = new_leader {
            self.sync_history(new_leader, actions);
        }
    }

    fn on_image_loaded(&mut self) {
        let Phase::LoadingImage { epoch, zxid } = self.phase else { return };
        self.replica = Replica::behind_image(zxid);
        self.phase = Phase::Receiving { epoch };
    }

    fn on_new_leader(
        &mut self,
        epoch: Epoch,
        zxid: Zxid,
        config: Option<Rc<[u8]>>,
        actions: &mut Actions,
    ) -> Result<(), Reason> {
        let new_leader = NewLeader::told(epoch, zxid, config)?;
        match self.replica.gate {
            Gate::Memory => {
                let through = self.replica.shut_for_image();
                actions.push(Action::SaveImage { through });
                self.phase = Phase::SavingImage(new_leader);
            }
            _ => self.sync_history(new_leader, actions),
        }
        Ok(())
    }

    fn on_image_saved(&mut self, actions: &mut Actions) {
        let Phase::SavingImage(new_leader) = &self.phase else { return };
        let new_leader = new_leader.clone();
        self.replica.gate = Gate::Log { through: self.log_through(new_leader.epoch) };
        self.advance(actions);
        self.sync_history(new_leader, actions);
    }

    fn sync_history(&mut self, new_leader: NewLeader, actions: &mut Actions) {
        let through = self.replica.logged;
        actions.push(Action::SyncLog { through });
        self.phase = Phase::SyncingHistory { new_leader, through };
    }

    fn on_log_synced(&mut self, through: Zxid, actions: &mut Actions) {
        self.replica.synced = self.replica.synced.max(through.min(self.replica.logged));
        if let Phase::SyncingHistory { new_leader, through: history } = &self.phase
            && self.replica.synced >= *history
        {
            let new_leader = new_leader.clone();
            // Not before the history is there: a crash would leave a transaction that was taken back, and nothing of
            // the membership in it.
            actions.extend(new_leader.config.clone().map(Action::SeeMembership));
            // Also if it is the current one already: the ACK says that the membership is on disk, too.
            actions.push(Action::PersistCurrentEpoch(new_leader.epoch));
            self.phase = Phase::AdoptingEpoch(new_leader);
        }
        self.send_acks(actions);
    }

    fn on_current_epoch_persisted(&mut self, actions: &mut Actions) {
        let Phase::AdoptingEpoch(new_leader) = &self.phase else { return };
        let new_leader = new_leader.clone();
        self.current_epoch = new_leader.epoch;
        self.ack_new_leader(new_leader, actions);
    }

    fn ack_new_leader(&mut self, new_leader: NewLeader, actions: &mut Actions) {
        let epoch = new_leader.epoch;
        actions.push(Action::Send(Packet::Ack { zxid: epoch.first() }));
        self.phase = Phase::AwaitingUpToDate(new_leader);
        // What was committed meanwhile nobody waits for.
        let committed = self.replica.last_committed;
        self.replica.unacked.retain(|zxid| *zxid > committed);
        self.acks_allowed = true;
        self.replica.gate = Gate::Log { through: epoch };
        self.advance(actions);
    }

    fn on_up_to_date(&mut self, actions: &mut Actions) {
        let Phase::AwaitingUpToDate(NewLeader { epoch, config }) =
            mem::replace(&mut self.phase, Phase::Ended)
        else {
            unreachable!("the caller looked")
        };
        actions.push(Action::Send(Packet::Ack { zxid: epoch.first() }));
        actions.push(Action::Serve { epoch, config });
        self.phase = Phase::Serving { epoch };
    }

    fn send_if_serving(&mut self, packet: Packet, actions: &mut Actions) {
        debug_assert!(self.serving().is_some(), "clients are served only in step with a leader");
        if self.serving().is_some() {
            actions.push(Action::Send(packet));
        }
    }

    fn advance(&mut self, actions: &mut Actions) {
        let acked = !self.start.observer;
        self.replica.advance(acked, actions);
        self.send_acks(actions);
    }

    fn send_acks(&mut self, actions: &mut Actions) {
        if !self.acks_allowed {
            return;
        }
        let synced = self.replica.synced;
        while let Some(zxid) = self.replica.unacked.pop_front_if(|zxid| *zxid <= synced) {
            actions.push(Action::Send(Packet::Ack { zxid }));
        }
    }

    /// From the moment the tree is given up for the image until the snapshot is on disk.
    pub fn tree_is_ahead_of_disk(&self) -> bool {
        matches!(self.phase, Phase::Truncating { .. } | Phase::LoadingImage { .. } | Phase::SavingImage(_))
            || self.replica.gate == Gate::Memory
    }

    fn unexpected(&self, packet: &Packet) -> Reason {
        Reason::Unexpected { packet: packet.name(), phase: self.phase.name() }
    }

    fn assert_invariants(&self) {
        let replica = &self.replica;
        assert!(replica.synced <= replica.logged);
        assert!(self.current_epoch <= self.accepted_epoch, "no epoch is adopted that was not promised");
        if let (Some(held), Gate::Log { .. }) = (replica.held.front(), replica.gate) {
            assert!(replica.logged < held.zxid, "the log is appended to in order");
        }
    }
}

impl Replica {
    fn behind(last: Zxid) -> Replica {
        Replica {
            gate: Gate::Shut,
            previous: Some(last),
            image: last,
            held: VecDeque::new(),
            uncommitted: VecDeque::new(),
            committed: VecDeque::new(),
            unacked: VecDeque::new(),
            logged: last,
            synced: last,
            last_committed: Zxid::ZERO,
        }
    }

    fn behind_image(zxid: Zxid) -> Replica {
        Replica { gate: Gate::Memory, previous: None, ..Replica::behind(zxid) }
    }

    /// A proposal has arrived.
    fn take(&mut self, entry: Entry) -> Result<(), Reason> {
        let got = entry.zxid;
        match self.previous {
            Some(previous) if !follows(previous, got) => return Err(Reason::Gap { after: previous, got }),
            // An image is newer than the point from which the leader sends (quorum-protocol, 3.6).
            None if got > self.image && !follows(self.image, got) => {
                return Err(Reason::Gap { after: self.image, got });
            }
            _ => {}
        }
        self.previous = Some(got);
        self.uncommitted.push_back(entry.clone());
        self.held.push_back(entry);
        Ok(())
    }

    /// Its COMMIT has arrived.
    fn commit(&mut self, got: Zxid, designated: Option<ServerId>) -> Result<(), Reason> {
        if got <= self.last_committed {
            return Ok(());
        }
        match self.uncommitted.front().map(|entry| entry.zxid) {
            Some(head) if head == got => {
                self.committed.extend(self.uncommitted.pop_front().map(|entry| (entry, designated)));
                self.last_committed = got;
                Ok(())
            }
            // Applied before the connection, or in the image: the leader need not know how much this server has.
            _ if got <= self.image => Ok(()),
            expected => Err(Reason::CommitOutOfOrder { expected, got }),
        }
    }

    /// Moves what may move: into the log, then from the log into the tree.
    fn advance(&mut self, acked: bool, actions: &mut Actions) {
        match self.gate {
            Gate::Shut => {}
            Gate::Memory => {
                for (entry, designated) in self.committed.drain(..) {
                    let held = self.held.pop_front();
                    debug_assert_eq!(held.map(|held| held.zxid), Some(entry.zxid));
                    push_commit(entry, designated, actions);
                }
            }
            Gate::Log { through } => {
                while let Some(entry) = self.held.pop_front_if(|entry| Epoch::of(entry.zxid) <= through) {
                    self.logged = entry.zxid;
                    if acked {
                        self.unacked.push_back(entry.zxid);
                    }
                    actions.push(Action::Append(entry));
                }
                let logged = self.logged;
                while let Some((entry, designated)) =
                    self.committed.pop_front_if(|(entry, _)| entry.zxid <= logged)
                {
                    push_commit(entry, designated, actions);
                }
            }
        }
    }

    /// NEWLEADER after SNAP: the tree stands still while it is saved. Returns the zxid that it has.
    fn shut_for_image(&mut self) -> Zxid {
        debug_assert!(self.committed.is_empty(), "in memory mode commits are applied at once");
        let through = self.image.max(self.last_committed);
        // The image has them, whether or not their COMMIT has come.
        while self.held.pop_front_if(|entry| entry.zxid <= through).is_some() {}
        self.gate = Gate::Shut;
        self.logged = through;
        self.synced = through;
        // The leader sent all that the image may have before NEWLEADER; the stream goes on behind it.
        self.previous = Some(self.previous.map_or(through, |previous| previous.max(through)));
        through
    }
}

fn push_commit(entry: Entry, designated: Option<ServerId>, actions: &mut Actions) {
    let zxid = entry.zxid;
    actions.push(Action::Commit(entry));
    actions.extend(designated.map(|designated| Action::Activate { zxid, designated }));
}
