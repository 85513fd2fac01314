//! A leader, from the election it won until it steps down.
//!
//! | phase | waits for | then |
//! |---|---|---|
//! | `CollectingEpochs` | W1: a quorum that says which epochs it has accepted | the epoch is one above all of them |
//! | `AcceptingEpoch` | the accepted epoch on disk | LEADERINFO |
//! | `CollectingPromises` | W2: a quorum that has promised the epoch and is not ahead of this server | |
//! | `AdoptingEpoch` | the current epoch on disk | learners are synchronised |
//! | `Synchronising` | W3: a quorum that has the history, durably | clients are served |
//! | `Broadcasting` | | proposals are counted and committed in order |
//!
//! Each learner's own dialogue is a [`Stage`]; the leader's phase only says when stages may go on.
//!
//! # What the shell keeps in order
//!
//! What is sent to one learner stands in one queue. [`Action::SendLog`] and [`Action::SendImage`] stand in that queue
//! too: they are streamed piece by piece while live packets gather behind them. The shell bounds the queue and closes
//! a learner that is beyond it.
//!
//! # Observer masters
//!
//! A follower can serve observers in its leader's place ([`Leader::master`]): the same dialogue, without the waits for
//! quorums, since its own epoch is established. It proposes nothing; what its leader commits is passed on as INFORM.
//!
//! # Invariants
//!
//! 1. Proposals are committed in zxid order, each when it has a quorum in every configuration it was proposed to.
//! 2. The own ACK counts only for what the own log has synced.
//! 3. The plan for a learner and its registration for live packets are one step: nothing is broadcast in between.
//! 4. NEWLEADER leaves behind everything that the learner's image may contain (ZOOKEEPER-3104).
//! 5. An ACK of a learner counts while that learner has the proposal: one that is told to cut its log, or gets an
//!    image instead, has its ACKs of what is not committed taken back.

mod broadcast;
pub mod handler;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;

use self::broadcast::Proposal;
use self::handler::{Handler, LearnerId, Stage, Summary, SyncKind};
use super::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet, Request, Touched};
use super::sync::{self, History, Plan, Source};
use super::window::{CommittedLog, Meeting};
use super::{Epoch, Limits};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::time::{Instant, Millis};

/// What a leader begins with.
#[derive(Clone, Debug)]
pub struct Start {
    pub sid: ServerId,
    pub accepted_epoch: Epoch,
    pub current_epoch: Epoch,
    /// The end of the log, committed or not. All of it is applied, in `committed_log` as far as that reaches, and
    /// on disk.
    pub last_zxid: Zxid,
    pub committed_log: CommittedLog,
    pub views: Views,
    pub options: Options,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub limits: Limits,
    /// Observers beyond these many synchronisations at a time are closed (`leader.maxConcurrent…Syncs`).
    pub snap_syncs_max: usize,
    pub diff_syncs_max: usize,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snap: bool,
    /// The counter that no zxid may have: an epoch ends in front of it. Lower than `u32::MAX` only to see that.
    pub counter_end: u32,
    /// The first leader of an ensemble that may be reconfigured gives its membership a version.
    pub reconfig_enabled: bool,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    Connected {
        learner: LearnerId,
    },
    Packet {
        learner: LearnerId,
        packet: Packet,
    },
    Disconnected {
        learner: LearnerId,
    },
    /// [`Action::PersistAcceptedEpoch`] is done.
    AcceptedEpochPersisted,
    /// [`Action::PersistCurrentEpoch`] is done.
    CurrentEpochPersisted,
    /// The answer to [`Action::Locate`]; `None`: the files do not reach back to there, or are too much to send.
    Located {
        learner: LearnerId,
        meeting: Option<Meeting>,
    },
    /// A part of an image or of log files was sent.
    Progress {
        learner: LearnerId,
    },
    /// [`Action::SendImage`]'s last byte was made: what the tree becomes from now on is not in it.
    ImageSent {
        learner: LearnerId,
    },
    /// [`Action::SendLog`] met a gap; the learner is closed and gets an image when it comes back.
    LogBroken {
        learner: LearnerId,
    },
    /// The log is on disk up to here.
    LogSynced {
        through: Zxid,
    },
    /// A prepared transaction, with the zxid that [`Leader::next_zxid`] gave.
    Propose(Entry),
    /// A prepared reconfiguration, whose version is its zxid. `may_lead`: this server keeps its quorum address in it.
    ProposeReconfig {
        entry: Entry,
        membership: Membership,
        may_lead: bool,
    },
    /// Only of an observer master: the leader has committed this. `designated`: it is a reconfiguration.
    Relay {
        entry: Entry,
        designated: Option<ServerId>,
    },
    /// Only of an observer master: what its server believes about the ensemble now. Who comes is judged by it, and told.
    Reconfigured(Views),
    /// Only of an observer master: the leader has answered the oldest sync of this learner.
    SyncAnswered {
        learner: LearnerId,
    },
    /// A sync came up, in the order of requests; `None`: from a client of this server.
    SyncRequested {
        from: Option<LearnerId>,
    },
    /// The answer to [`Action::Revalidate`].
    Revalidated {
        learner: LearnerId,
        session: SessionId,
        valid: bool,
    },
    /// [`Leader::next_timeout`] has passed.
    Timeout,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    SendTo {
        learner: LearnerId,
        packet: Packet,
    },
    /// Send PROPOSAL and COMMIT for each transaction of the log files with `after` < zxid < `before`.
    SendLog {
        learner: LearnerId,
        after: Zxid,
        before: Zxid,
    },
    /// Send the image that SNAP has announced, of the tree as it is when its turn comes or later.
    SendImage {
        learner: LearnerId,
    },
    /// Look for this position in the log files.
    Locate {
        learner: LearnerId,
        zxid: Zxid,
    },
    Close {
        learner: LearnerId,
        reason: CloseReason,
    },
    /// Make durable, then report.
    PersistAcceptedEpoch(Epoch),
    PersistCurrentEpoch(Epoch),
    Append(Entry),
    /// Apply.
    Commit(Entry),
    /// The transaction just applied was a reconfiguration.
    Activate {
        zxid: Zxid,
        designated: ServerId,
    },
    /// Established: activate the last-seen configuration, start sessions and requests. The tree's last zxid is now
    /// that of the epoch.
    Serve {
        epoch: Epoch,
    },
    /// A learner's request for the pipeline, in order.
    Request {
        learner: LearnerId,
        request: Request,
    },
    Touch {
        touched: Vec<Touched>,
    },
    /// Does the session exist globally, and is it not closing? If so the learner owns it now.
    Revalidate {
        learner: LearnerId,
        session: SessionId,
        timeout_ms: i32,
    },
    /// The oldest sync of this server's own clients is done.
    SyncDone,
    /// Close all learners and clients and look for a leader.
    StepDown(StepDown),
}

pub type Actions = Vec<Action>;

/// Why a learner is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Silent,
    /// It does not ack a proposal.
    AcksTooLate,
    /// Its configuration is newer.
    NewerConfig {
        version: Zxid,
    },
    /// From before 3.4.
    Protocol {
        version: i32,
    },
    /// It has promised a higher epoch, or has more history, than this server.
    Ahead,
    /// No epoch is left above the one it says to have accepted.
    LastEpoch {
        accepted: Epoch,
    },
    Unexpected {
        packet: &'static str,
        stage: Stage,
    },
    /// PING without its table.
    NoTable,
    TooManySyncs,
    LogBroken,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Silent => f.write_str("nothing was heard of it for too long"),
            CloseReason::AcksTooLate => f.write_str("it has not acked a proposal for too long"),
            CloseReason::NewerConfig { version } => {
                write!(f, "its membership, version {:x}, is newer than this server's", version.0)
            }
            CloseReason::Protocol { version } => write!(f, "it speaks protocol version {version:#x}"),
            CloseReason::Ahead => f.write_str("it has more history than this server"),
            CloseReason::LastEpoch { accepted } => {
                write!(f, "it has accepted epoch {accepted}, above which there is none")
            }
            CloseReason::Unexpected { packet, stage } => write!(f, "unexpected {packet} while {stage:?}"),
            CloseReason::NoTable => f.write_str("its PING has no table of sessions"),
            CloseReason::TooManySyncs => {
                f.write_str("as many as may be are being synchronised; it will come again")
            }
            CloseReason::LogBroken => {
                f.write_str("what it lacks is not in the log files; it gets a snapshot when it comes again")
            }
        }
    }
}

/// Why a leader gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// Not enough servers came to agree on an epoch.
    NoEpochQuorum,
    NoPromiseQuorum,
    NoHistoryQuorum,
    /// Not enough learners are in step.
    QuorumLost,
    /// The epoch has no zxid left (ZOOKEEPER-1277).
    ZxidsUsedUp,
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StepDown::NoEpochQuorum => "not enough servers came to agree on an epoch",
            StepDown::NoPromiseQuorum => "not enough servers promised the epoch",
            StepDown::NoHistoryQuorum => "not enough servers were synchronised in time",
            StepDown::QuorumLost => "not enough learners are in step",
            StepDown::ZxidsUsedUp => "the epoch has no zxid left",
        })
    }
}

/// Where the leader stands; the module docs have the table.
#[derive(Clone, Debug)]
enum Phase {
    CollectingEpochs { since: Instant, here: BTreeSet<ServerId> },
    AcceptingEpoch,
    CollectingPromises { since: Instant, promised: BTreeSet<ServerId> },
    AdoptingEpoch,
    Synchronising { since: Instant, acked: BTreeSet<ServerId> },
    Broadcasting { next_half_tick: Instant, half_ticks: u64 },
    Ended,
}

/// The machine.
#[derive(Debug)]
pub struct Leader {
    sid: ServerId,
    options: Options,
    phase: Phase,
    /// What this server had when it was elected; nobody in its quorum may have more.
    summary: Summary,
    /// The epoch in the making, then its own.
    epoch: Epoch,
    /// Shared with the proposals that were made under them.
    views: Rc<Views>,
    learners: BTreeMap<LearnerId, Handler>,
    /// Learners that get an image, because their piece of the log is broken.
    snap_next: BTreeSet<ServerId>,
    anonymous: i64,
    committed_log: CommittedLog,
    /// What is applied, and with it the point from which learners are synchronised.
    last_committed: Zxid,
    last_proposed: Zxid,
    /// What the own log has on disk.
    synced: Zxid,
    outstanding: VecDeque<Proposal>,
    /// Syncs, and the proposal whose commit answers them.
    syncs: VecDeque<(Zxid, Option<LearnerId>)>,
    /// A reconfiguration made another server the leader: nothing more is committed.
    retired: bool,
    /// It only passes on what its own leader says, to observers.
    master: bool,
}

impl Leader {
    /// The winner of an election. An ensemble of one is established as soon as its epochs are on disk.
    pub fn new(now: Instant, start: Start, actions: &mut Actions) -> Leader {
        let phase = Phase::CollectingEpochs { since: now, here: BTreeSet::from([start.sid]) };
        let epoch = Epoch(start.accepted_epoch.0.max(-1) + 1);
        let mut leader = Leader::in_phase(phase, epoch, start);
        leader.settle_epoch(actions);
        leader
    }

    /// A follower in step with its leader in `start.current_epoch`, which serves observers from now on.
    pub fn master(now: Instant, start: Start) -> Leader {
        let half_tick = Millis(start.options.limits.tick_ms / 2);
        let phase = Phase::Broadcasting { next_half_tick: now + half_tick, half_ticks: 0 };
        Leader { master: true, ..Leader::in_phase(phase, start.current_epoch, start) }
    }

    fn in_phase(phase: Phase, epoch: Epoch, start: Start) -> Leader {
        Leader {
            phase,
            sid: start.sid,
            options: start.options,
            summary: Summary { current_epoch: start.current_epoch, last_zxid: start.last_zxid },
            epoch,
            views: Rc::new(start.views),
            learners: BTreeMap::new(),
            snap_next: BTreeSet::new(),
            anonymous: 0,
            committed_log: start.committed_log,
            last_committed: start.last_zxid,
            last_proposed: start.last_zxid,
            synced: start.last_zxid,
            outstanding: VecDeque::new(),
            syncs: VecDeque::new(),
            retired: false,
            master: false,
        }
    }

    /// The only way in.
    pub fn handle(&mut self, now: Instant, event: Event, actions: &mut Actions) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match event {
            Event::Connected { learner } => {
                self.learners.insert(learner, Handler::new(now));
            }
            Event::Packet { learner, packet } => {
                if let Some(handler) = self.learners.get_mut(&learner) {
                    handler.heard = now;
                    self.on_packet(now, learner, packet, actions);
                }
            }
            Event::Disconnected { learner } => {
                self.learners.remove(&learner);
            }
            Event::AcceptedEpochPersisted => self.on_accepted_epoch_persisted(now, actions),
            Event::CurrentEpochPersisted => self.on_current_epoch_persisted(now, actions),
            Event::Located { learner, meeting } => self.on_located(learner, meeting, actions),
            Event::Progress { learner } => {
                if let Some(handler) = self.learners.get_mut(&learner) {
                    handler.heard = now;
                }
            }
            Event::ImageSent { learner } => self.on_image_sent(now, learner, actions),
            Event::LogBroken { learner } => {
                if let Some(handler) = self.learners.get(&learner) {
                    self.snap_next.insert(handler.sid);
                    self.close(learner, CloseReason::LogBroken, actions);
                }
            }
            Event::LogSynced { through } => self.on_log_synced(through, actions),
            Event::Propose(entry) => self.propose(now, entry, None, actions),
            Event::ProposeReconfig { entry, membership, may_lead } => {
                self.propose(now, entry, Some((membership, may_lead)), actions);
            }
            Event::Relay { entry, designated } => self.relay(entry, designated, actions),
            Event::Reconfigured(views) => self.views = Rc::new(views),
            Event::SyncAnswered { learner } => self.send(learner, Packet::Sync, actions),
            Event::SyncRequested { from } => self.on_sync_requested(from, actions),
            Event::Revalidated { learner, session, valid } => {
                self.send(learner, Packet::Revalidated { session, valid }, actions);
            }
            Event::Timeout => self.on_timeout(now, actions),
        }
        self.assert_invariants();
    }

    /// When to come back with [`Event::Timeout`]; `None` once it is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        let limits = self.options.limits;
        let own = match self.phase {
            Phase::Ended => return None,
            Phase::CollectingEpochs { since, .. }
            | Phase::CollectingPromises { since, .. }
            | Phase::Synchronising { since, .. } => Some(since + limits.init()),
            Phase::AcceptingEpoch | Phase::AdoptingEpoch => None,
            Phase::Broadcasting { next_half_tick, .. } => Some(next_half_tick),
        };
        self.learners.values().filter_map(|handler| handler.deadline(limits)).chain(own).min()
    }

    /// The zxid for the next transaction; the machine steps down if the epoch has none left.
    pub fn next_zxid(&self) -> Zxid {
        self.last_proposed.next()
    }

    /// The leader's epoch, once it is established.
    pub fn serving(&self) -> Option<Epoch> {
        matches!(self.phase, Phase::Broadcasting { .. }).then_some(self.epoch)
    }

    /// Whether a quorum's epochs are not there yet: nobody has been promised anything.
    pub fn collects_epochs(&self) -> bool {
        matches!(self.phase, Phase::CollectingEpochs { .. })
    }

    /// What must go into the next vote: everything that was proposed is in the log.
    pub fn last_logged(&self) -> Zxid {
        self.last_proposed
    }

    /// What a learner that is synchronised now gets, as SNAP says.
    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// Proposals without a quorum yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Syncs that wait for proposals to be committed.
    pub fn pending_syncs(&self) -> usize {
        self.syncs.len()
    }

    /// Everybody who is in step, this server included.
    pub fn servers_in_step(&self, now: Instant) -> Vec<ServerId> {
        let limits = self.options.limits;
        let learners = self.learners.values().filter(|handler| handler.in_step(now, limits));
        std::iter::once(self.sid).chain(learners.map(|handler| handler.sid)).collect()
    }

    /// Who could lead in this server's place: the voter with the highest id of those that have all of its history, once
    /// everything proposed is committed.
    ///
    /// Nobody, while the epoch has no transaction: an ACK of NEWLEADER alone does not raise the last zxid of a voter that
    /// came by DIFF, and those that came by SNAP would be ahead of it.
    pub fn successor(&self) -> Option<ServerId> {
        let in_step = |handler: &&Handler| {
            handler.stage == Stage::Serving && !handler.observer && handler.acked >= self.last_proposed
        };
        if !self.has_proposed() {
            return None;
        }
        let voters = self.learners.values().filter(in_step).map(|handler| handler.sid);
        voters.filter(|sid| self.outstanding.is_empty() && self.views.committed().is_voter(*sid)).max()
    }

    /// Whether there is a transaction of this epoch.
    pub fn has_proposed(&self) -> bool {
        self.last_proposed.counter() > 0
    }

    /// The memberships that its proposals need, the newest included.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// The same, to keep.
    pub fn shared_views(&self) -> Rc<Views> {
        Rc::clone(&self.views)
    }

    /// Who is on a connection; `None` before it has said so.
    pub fn sid_of(&self, learner: LearnerId) -> Option<ServerId> {
        self.learners.get(&learner).filter(|handler| handler.known()).map(|handler| handler.sid)
    }

    pub fn learner(&self, learner: LearnerId) -> Option<&Handler> {
        self.learners.get(&learner)
    }

    /// Every learner that has said who it is.
    pub fn learners(&self) -> impl Iterator<Item = &Handler> {
        self.learners.values().filter(|handler| handler.known())
    }

    /// As if everything up to here had been proposed and committed.
    #[cfg(test)]
    pub(in crate::quorum::zab) fn skip_to(&mut self, zxid: Zxid) {
        (self.last_committed, self.last_proposed, self.synced) = (zxid, zxid, zxid);
    }

    /// The role is over; the window lives on.
    pub fn into_committed_log(self) -> CommittedLog {
        self.committed_log
    }

    fn on_packet(&mut self, now: Instant, learner: LearnerId, packet: Packet, actions: &mut Actions) {
        let stage = self.learners[&learner].stage;
        match (stage, packet) {
            (Stage::Greeting, Packet::FollowerInfo { accepted_epoch, info }) => {
                self.on_info(now, learner, accepted_epoch, info, false, actions);
            }
            (Stage::Greeting, Packet::ObserverInfo { accepted_epoch, info }) => {
                self.on_info(now, learner, accepted_epoch, info, true, actions);
            }
            (Stage::AwaitingAckEpoch, Packet::AckEpoch { last_zxid, current_epoch }) => {
                self.on_ack_epoch(now, learner, last_zxid, current_epoch, actions);
            }
            (Stage::AwaitingAck, Packet::Ack { zxid }) if zxid == self.epoch.first() => {
                self.on_new_leader_ack(now, learner, actions);
            }
            // Some learners ack what they were sent before NEWLEADER first: no reason to give up on them, and no
            // substitute for the ACK that counts (ZOOKEEPER-4685).
            (Stage::AwaitingAck | Stage::AwaitingService { .. } | Stage::Serving, Packet::Ack { zxid }) => {
                self.on_ack(learner, zxid, actions)
            }
            (Stage::Serving, Packet::Ping { touched: Some(touched), .. }) => {
                if !touched.is_empty() {
                    actions.push(Action::Touch { touched });
                }
            }
            (Stage::Serving, Packet::Ping { touched: None, .. }) => {
                self.close(learner, CloseReason::NoTable, actions);
            }
            (Stage::Serving, Packet::Request(request)) => {
                actions.push(Action::Request { learner, request });
            }
            (Stage::Serving, Packet::Revalidate { session, timeout_ms }) => {
                actions.push(Action::Revalidate { learner, session, timeout_ms });
            }
            (Stage::Serving, Packet::Unknown { .. }) => {}
            (stage, packet) => {
                self.close(learner, CloseReason::Unexpected { packet: packet.name(), stage }, actions);
            }
        }
    }

    fn on_info(
        &mut self,
        now: Instant,
        learner: LearnerId,
        accepted_epoch: Epoch,
        info: LearnerInfo,
        observer: bool,
        actions: &mut Actions,
    ) {
        if info.protocol < PROTOCOL_VERSION {
            let reason = CloseReason::Protocol { version: info.protocol };
            return self.close(learner, reason, actions);
        }
        if info.config_version > self.views.committed().version {
            let reason = CloseReason::NewerConfig { version: info.config_version };
            return self.close(learner, reason, actions);
        }
        // Above it there would be a zxid that is negative, and thereby older than all history.
        if accepted_epoch >= Epoch(i64::from(i32::MAX)) {
            return self.close(learner, CloseReason::LastEpoch { accepted: accepted_epoch }, actions);
        }
        if self.master && !observer {
            let stage = Stage::Greeting;
            return self.close(learner, CloseReason::Unexpected { packet: "FOLLOWERINFO", stage }, actions);
        }
        let sid = info.sid.unwrap_or_else(|| {
            self.anonymous -= 1;
            ServerId(self.anonymous)
        });
        let handler = self.learners.get_mut(&learner).expect("the caller looked");
        (handler.sid, handler.observer) = (sid, observer);
        match &mut self.phase {
            Phase::CollectingEpochs { here, .. } => {
                handler.stage = Stage::AwaitingEpoch { since: now };
                self.epoch = self.epoch.max(Epoch(accepted_epoch.0 + 1));
                if self.views.committed().is_voter(sid) {
                    here.insert(sid);
                }
                self.settle_epoch(actions);
            }
            Phase::AcceptingEpoch => handler.stage = Stage::AwaitingEpoch { since: now },
            _ => self.send_leader_info(learner, actions),
        }
    }

    /// W1: enough servers are here, so no epoch above theirs can have been agreed upon without one of them.
    fn settle_epoch(&mut self, actions: &mut Actions) {
        let Phase::CollectingEpochs { here, .. } = &self.phase else { return };
        if here.contains(&self.sid) && self.views.committed().is_quorum(|sid| here.contains(&sid)) {
            actions.push(Action::PersistAcceptedEpoch(self.epoch));
            self.phase = Phase::AcceptingEpoch;
        }
    }

    fn on_accepted_epoch_persisted(&mut self, now: Instant, actions: &mut Actions) {
        if !matches!(self.phase, Phase::AcceptingEpoch) {
            return;
        }
        self.phase = Phase::CollectingPromises { since: now, promised: BTreeSet::from([self.sid]) };
        if self.options.reconfig_enabled {
            Rc::make_mut(&mut self.views).propose_version(self.epoch.first());
        }
        for learner in self.staged(|stage| matches!(stage, Stage::AwaitingEpoch { .. })) {
            self.send_leader_info(learner, actions);
        }
        self.settle_promises(actions);
    }

    fn send_leader_info(&mut self, learner: LearnerId, actions: &mut Actions) {
        let packet = Packet::LeaderInfo { epoch: self.epoch, protocol_version: PROTOCOL_VERSION };
        self.send(learner, packet, actions);
        self.learners.get_mut(&learner).expect("known to the caller").stage = Stage::AwaitingAckEpoch;
    }

    fn on_ack_epoch(
        &mut self,
        now: Instant,
        learner: LearnerId,
        last_zxid: Zxid,
        current_epoch: Option<Epoch>,
        actions: &mut Actions,
    ) {
        let handler = self.learners.get_mut(&learner).expect("the caller looked");
        match &mut self.phase {
            Phase::CollectingPromises { promised, .. } => {
                if let Some(current_epoch) = current_epoch {
                    if (Summary { current_epoch, last_zxid }) > self.summary {
                        return self.close(learner, CloseReason::Ahead, actions);
                    }
                    // An empty server that must not vote must not be counted either.
                    if last_zxid != Zxid(-1) && self.views.committed().is_voter(handler.sid) {
                        promised.insert(handler.sid);
                    }
                }
                handler.stage = Stage::AwaitingPromises { since: now, last_zxid };
                self.settle_promises(actions);
            }
            Phase::AdoptingEpoch => handler.stage = Stage::AwaitingPromises { since: now, last_zxid },
            // What the leader commits in its epoch comes to every master, to one a moment later. Cut off here it would be
            // lost to clients that have seen it, and what is in an image cannot be cut off.
            _ if self.master && last_zxid > self.last_committed && Epoch::of(last_zxid) == self.epoch => {
                self.close(learner, CloseReason::Ahead, actions);
            }
            _ => self.locate_or_sync(learner, last_zxid, actions),
        }
    }

    /// W2: enough servers will follow nobody with a lower epoch, and none of them has more history.
    fn settle_promises(&mut self, actions: &mut Actions) {
        let Phase::CollectingPromises { promised, .. } = &self.phase else { return };
        if self.views.committed().is_quorum(|sid| promised.contains(&sid)) {
            actions.push(Action::PersistCurrentEpoch(self.epoch));
            self.phase = Phase::AdoptingEpoch;
        }
    }

    fn on_current_epoch_persisted(&mut self, now: Instant, actions: &mut Actions) {
        if !matches!(self.phase, Phase::AdoptingEpoch) {
            return;
        }
        self.phase = Phase::Synchronising { since: now, acked: BTreeSet::from([self.sid]) };
        for learner in self.staged(|stage| matches!(stage, Stage::AwaitingPromises { .. })) {
            let Stage::AwaitingPromises { last_zxid, .. } = self.learners[&learner].stage else {
                unreachable!("selected by its stage")
            };
            self.locate_or_sync(learner, last_zxid, actions);
        }
        self.settle_history(now, actions);
    }

    fn locate_or_sync(&mut self, learner: LearnerId, last_zxid: Zxid, actions: &mut Actions) {
        if self.history(learner, last_zxid, None).asks_files(last_zxid) {
            self.learners.get_mut(&learner).expect("known to the caller").stage =
                Stage::Locating { last_zxid };
            actions.push(Action::Locate { learner, zxid: last_zxid });
        } else {
            self.sync(learner, last_zxid, None, actions);
        }
    }

    fn on_located(&mut self, learner: LearnerId, meeting: Option<Meeting>, actions: &mut Actions) {
        let stage = self.learners.get(&learner).map(|handler| handler.stage);
        if let Some(Stage::Locating { last_zxid }) = stage {
            self.sync(learner, last_zxid, meeting, actions);
        }
    }

    fn history(&self, learner: LearnerId, p: Zxid, in_files: Option<Meeting>) -> History {
        History {
            last: self.last_committed,
            window: self.committed_log.min().zip(self.committed_log.max()),
            in_window: self.committed_log.meet(p),
            in_files,
            force_snap: self.options.force_snap || self.snap_next.contains(&self.learners[&learner].sid),
        }
    }

    /// Plan, history and registration in one step.
    fn sync(&mut self, learner: LearnerId, p: Zxid, in_files: Option<Meeting>, actions: &mut Actions) {
        let plan = sync::plan(p, &self.history(learner, p, in_files));
        let kind = if plan == Plan::Snap { SyncKind::Snap } else { SyncKind::Diff };
        let running = self.learners.values().filter(|other| other.syncing() && other.sync == kind).count();
        let most = match kind {
            SyncKind::Snap => self.options.snap_syncs_max,
            SyncKind::Diff => self.options.diff_syncs_max,
        };
        let handler = self.learners.get_mut(&learner).expect("known to the caller");
        if handler.observer && running >= most {
            return self.close(learner, CloseReason::TooManySyncs, actions);
        }
        let (sid, observer) = (handler.sid, handler.observer);
        handler.sync = kind;
        self.take_back_acks(sid, learner);
        let history = match plan {
            Plan::Diff { zxid, history } => {
                self.send(learner, Packet::Diff { zxid }, actions);
                history
            }
            Plan::Trunc { zxid, history } => {
                self.send(learner, Packet::Trunc { zxid }, actions);
                history
            }
            Plan::Snap => {
                self.snap_next.remove(&sid);
                self.send(learner, Packet::Snap { zxid: self.last_committed }, actions);
                actions.push(Action::SendImage { learner });
                None
            }
        };
        let window_after = match history {
            None => self.last_committed,
            Some(Source::Window { after }) => after,
            Some(Source::Files { after }) => {
                let before = self.committed_log.min().unwrap_or(self.last_committed.next());
                actions.push(Action::SendLog { learner, after, before });
                after
            }
        };
        for entry in self.committed_log.after(window_after) {
            actions.push(Action::SendTo { learner, packet: Packet::Proposal(entry.clone()) });
            actions.push(Action::SendTo { learner, packet: Packet::Commit { zxid: entry.zxid } });
        }
        if !observer {
            for proposal in &self.outstanding {
                actions.push(Action::SendTo { learner, packet: Packet::Proposal(proposal.entry.clone()) });
            }
        }
        let handler = self.learners.get_mut(&learner).expect("known to the caller");
        handler.stage = Stage::SendingImage;
        if kind == SyncKind::Diff {
            self.send_new_leader(learner, actions);
        }
    }

    fn on_image_sent(&mut self, now: Instant, learner: LearnerId, actions: &mut Actions) {
        let Some(handler) = self.learners.get_mut(&learner) else { return };
        if handler.stage == Stage::SendingImage {
            handler.heard = now;
            self.send_new_leader(learner, actions);
        }
    }

    fn send_new_leader(&mut self, learner: LearnerId, actions: &mut Actions) {
        let config = self.views.last_seen().to_string();
        let packet = Packet::NewLeader { zxid: self.epoch.first(), config: Some(config.as_bytes().into()) };
        self.send(learner, packet, actions);
        let waits_for_commits = !self.outstanding.is_empty();
        let handler = self.learners.get_mut(&learner).expect("known to the caller");
        handler.stage = Stage::AwaitingAck;
        // Learners up to 3.8.6 and 3.9.2 forget at NEWLEADER what was proposed before it, and stumble over its COMMIT
        // (ZOOKEEPER-4394); behind UPTODATE they take it.
        handler.held_commits = (waits_for_commits && !handler.observer).then(Vec::new);
    }

    fn on_new_leader_ack(&mut self, now: Instant, learner: LearnerId, actions: &mut Actions) {
        let handler = self.learners.get_mut(&learner).expect("the caller looked");
        handler.stage = Stage::AwaitingService { since: now };
        handler.acked = self.epoch.first();
        let sid = handler.sid;
        match &mut self.phase {
            Phase::Synchronising { acked, .. } => {
                acked.insert(sid);
                self.settle_history(now, actions);
            }
            _ => self.send_up_to_date(learner, actions),
        }
    }

    /// W3: the history is with a quorum, for good; what was in it is committed by that.
    fn settle_history(&mut self, now: Instant, actions: &mut Actions) {
        let Phase::Synchronising { acked, .. } = &self.phase else { return };
        if !self.views.is_quorum(|sid| acked.contains(&sid)) {
            return;
        }
        let half_tick = Millis(self.options.limits.tick_ms / 2);
        self.phase = Phase::Broadcasting { next_half_tick: now + half_tick, half_ticks: 0 };
        self.activate_last_seen();
        let first = self.epoch.first();
        (self.last_committed, self.last_proposed, self.synced) = (first, first, first);
        actions.push(Action::Serve { epoch: self.epoch });
        for learner in self.staged(|stage| matches!(stage, Stage::AwaitingService { .. })) {
            self.send_up_to_date(learner, actions);
        }
    }

    /// What is proposed from now on needs a quorum of the new membership alone.
    fn activate_last_seen(&mut self) {
        let last_seen = self.views.last_seen().clone();
        Rc::make_mut(&mut self.views).commit(last_seen);
    }

    fn send_up_to_date(&mut self, learner: LearnerId, actions: &mut Actions) {
        self.send(learner, Packet::UpToDate, actions);
        let handler = self.learners.get_mut(&learner).expect("known to the caller");
        handler.stage = Stage::Serving;
        for zxid in handler.held_commits.take().unwrap_or_default() {
            self.send(learner, Packet::Commit { zxid }, actions);
        }
    }

    fn on_timeout(&mut self, now: Instant, actions: &mut Actions) {
        let limits = self.options.limits;
        let late = |since: Instant| now >= since + limits.init();
        match self.phase {
            Phase::CollectingEpochs { since, .. } if late(since) => {
                return self.step_down(StepDown::NoEpochQuorum, actions);
            }
            Phase::CollectingPromises { since, .. } if late(since) => {
                return self.step_down(StepDown::NoPromiseQuorum, actions);
            }
            Phase::Synchronising { since, .. } if late(since) => {
                return self.step_down(StepDown::NoHistoryQuorum, actions);
            }
            _ => {}
        }
        let silent = |handler: &Handler| handler.deadline(limits).is_some_and(|deadline| now >= deadline);
        let silent: Vec<_> =
            self.learners.iter().filter(|(_, handler)| silent(handler)).map(|(id, _)| *id).collect();
        for learner in silent {
            self.close(learner, CloseReason::Silent, actions);
        }
        if let Phase::Broadcasting { next_half_tick, half_ticks } = &mut self.phase
            && now >= *next_half_tick
        {
            *next_half_tick = now + Millis(limits.tick_ms / 2);
            *half_ticks += 1;
            let full = half_ticks.is_multiple_of(2);
            self.on_half_tick(now, full, actions);
        }
    }

    /// Every half tick a PING, every full one the question whether there still is a quorum.
    fn on_half_tick(&mut self, now: Instant, full: bool, actions: &mut Actions) {
        let limits = self.options.limits;
        if full && !self.master && !self.views.is_quorum(|sid| sid == self.sid || self.has_in_step(now, sid))
        {
            return self.step_down(StepDown::QuorumLost, actions);
        }
        for learner in self.learners.keys().copied().collect::<Vec<_>>() {
            let handler = &self.learners[&learner];
            if handler.acks_too_late(now, limits) {
                self.close(learner, CloseReason::AcksTooLate, actions);
            } else if handler.may_be_pinged() {
                self.send(learner, Packet::Ping { zxid: self.last_proposed, touched: None }, actions);
            }
        }
    }

    fn has_in_step(&self, now: Instant, sid: ServerId) -> bool {
        self.learners.values().any(|handler| handler.sid == sid && handler.in_step(now, self.options.limits))
    }

    fn staged(&self, wanted: impl Fn(Stage) -> bool) -> Vec<LearnerId> {
        self.learners.iter().filter(|(_, handler)| wanted(handler.stage)).map(|(id, _)| *id).collect()
    }

    fn send(&self, learner: LearnerId, packet: Packet, actions: &mut Actions) {
        if self.learners.contains_key(&learner) {
            actions.push(Action::SendTo { learner, packet });
        }
    }

    fn close(&mut self, learner: LearnerId, reason: CloseReason, actions: &mut Actions) {
        if self.learners.remove(&learner).is_some() {
            actions.push(Action::Close { learner, reason });
        }
    }

    fn step_down(&mut self, reason: StepDown, actions: &mut Actions) {
        actions.push(Action::StepDown(reason));
        self.phase = Phase::Ended;
    }

    fn assert_invariants(&self) {
        assert!(self.last_committed <= self.last_proposed);
        assert!(self.synced <= self.last_proposed);
        let first = self.outstanding.front().map(|proposal| proposal.entry.zxid);
        assert!(first.is_none_or(|first| first == self.last_committed.next()), "commits leave no gap");
    }
}
