//! Rule by rule; those named after a number were bugs of Apache ZooKeeper (ZOOKEEPER-n).

use std::rc::Rc;

use super::{entry_by, members, z};
use crate::ids::{ServerId, Zxid};
use crate::quorum::views::Views;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::leader::{self, CloseReason, Leader, StepDown};
use crate::quorum::zab::learner::{self, Action, Learner, Reason};
use crate::quorum::zab::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet};
use crate::quorum::zab::window::{CommittedLog, follows};
use crate::quorum::zab::{Epoch, Limits};
use crate::time::Instant;

const LIMITS: Limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };

fn entry(zxid: Zxid) -> Entry {
    entry_by(zxid, 1)
}

fn proposal(zxid: Zxid) -> Packet {
    Packet::Proposal(entry(zxid))
}

fn commit(zxid: Zxid) -> Packet {
    Packet::Commit { zxid }
}

fn ack(zxid: Zxid) -> Packet {
    Packet::Ack { zxid }
}

fn new_leader(epoch: u32) -> Packet {
    Packet::NewLeader { zxid: z(epoch, 0), config: None }
}

/// A learner of epoch 1 that ends at (1, 3) and meets the leader of epoch 2.
struct Follower {
    machine: Learner,
    now: Instant,
    did: Vec<Action>,
}

impl Follower {
    fn new(observer: bool) -> Follower {
        let start = learner::Start {
            sid: ServerId(1),
            observer,
            config_version: Zxid::ZERO,
            accepted_epoch: Epoch(1),
            current_epoch: Epoch(1),
            last_zxid: z(1, 3),
        };
        let mut did = Vec::new();
        let now = Instant::from_millis(1);
        let machine = Learner::new(now, start, LIMITS, &mut did);
        did.clear();
        Follower { machine, now, did }
    }

    /// Has promised epoch 2 and waits to be told DIFF, TRUNC or SNAP.
    fn promised(observer: bool) -> Follower {
        let mut follower = Follower::new(observer);
        follower.hear(Packet::LeaderInfo { epoch: Epoch(2), protocol_version: PROTOCOL_VERSION });
        follower.event(learner::Event::AcceptedEpochPersisted);
        follower
    }

    fn serving(observer: bool) -> Follower {
        let mut follower = Follower::promised(observer);
        follower.hear(Packet::Diff { zxid: z(1, 3) });
        follower.hear(new_leader(2));
        follower.event(learner::Event::LogSynced { through: z(1, 3) });
        follower.event(learner::Event::CurrentEpochPersisted);
        follower.hear(Packet::UpToDate);
        assert_eq!(follower.machine.serving(), Some(Epoch(2)));
        follower
    }

    fn event(&mut self, event: learner::Event) -> Vec<Action> {
        self.did.clear();
        self.machine.handle(self.now, event, &mut self.did);
        self.did.clone()
    }

    fn hear(&mut self, packet: Packet) -> Vec<Action> {
        self.event(learner::Event::Packet(packet))
    }

    fn ended(&self) -> Option<(&Reason, bool)> {
        match self.did.last() {
            Some(Action::End { reason, reload }) => Some((reason, *reload)),
            _ => None,
        }
    }
}

fn send(packet: Packet) -> Action {
    Action::Send(packet)
}

#[test]
fn an_epoch_is_promised_only_when_it_is_on_disk() {
    let mut follower = Follower::new(false);
    let did = follower.hear(Packet::LeaderInfo { epoch: Epoch(2), protocol_version: PROTOCOL_VERSION });
    assert_eq!(did, [Action::PersistAcceptedEpoch(Epoch(2))]);
    let did = follower.event(learner::Event::AcceptedEpochPersisted);
    assert_eq!(did, [send(Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: Some(Epoch(1)) })]);
}

#[test]
fn an_epoch_that_was_promised_before_is_answered_without_ones_own() {
    let mut follower = Follower::new(false);
    let did = follower.hear(Packet::LeaderInfo { epoch: Epoch(1), protocol_version: PROTOCOL_VERSION });
    assert_eq!(did, [send(Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: None })]);
}

#[test]
fn a_leader_with_a_stale_epoch_is_left() {
    let mut follower = Follower::new(false);
    follower.hear(Packet::LeaderInfo { epoch: Epoch(0), protocol_version: PROTOCOL_VERSION });
    assert!(matches!(follower.ended(), Some((Reason::StaleEpoch { .. }, false))));
    assert_eq!(follower.hear(Packet::UpToDate), [], "after the end nothing comes out");
}

/// 3911, 4643, 4646, 4785: the ACK of NEWLEADER before the history was durable, or the epoch before either.
#[test]
fn zookeeper_4643_4646_3911_history_then_epoch_then_ack() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 4) });
    assert_eq!(follower.hear(proposal(z(1, 4))), [Action::Append(entry(z(1, 4)))]);
    assert_eq!(follower.hear(commit(z(1, 4))), [Action::Commit(entry(z(1, 4)))]);
    assert_eq!(follower.hear(new_leader(2)), [Action::SyncLog { through: z(1, 4) }]);
    assert_eq!(follower.event(learner::Event::LogSynced { through: z(1, 3) }), [], "an older sync");
    let did = follower.event(learner::Event::LogSynced { through: z(1, 4) });
    assert_eq!(did, [Action::PersistCurrentEpoch(Epoch(2))]);
    assert_eq!(follower.event(learner::Event::CurrentEpochPersisted), [send(ack(z(2, 0)))]);
}

#[test]
fn the_membership_of_newleader_stands_between_the_history_and_the_ack() {
    // Back in an epoch that it has adopted before, and with nothing to sync: the ACK waits all the same.
    for epoch in [1, 2] {
        let mut follower = Follower::new(false);
        follower.hear(Packet::LeaderInfo { epoch: Epoch(epoch.into()), protocol_version: PROTOCOL_VERSION });
        follower.event(learner::Event::AcceptedEpochPersisted);
        follower.hear(Packet::Diff { zxid: z(1, 3) });
        let config: Rc<[u8]> = (*b"version=7").into();
        let packet = Packet::NewLeader { zxid: z(epoch, 0), config: Some(Rc::clone(&config)) };
        assert_eq!(follower.hear(packet), [Action::SyncLog { through: z(1, 3) }], "not before the history");
        let did = follower.event(learner::Event::LogSynced { through: z(1, 3) });
        assert_eq!(did, [Action::SeeMembership(config), Action::PersistCurrentEpoch(Epoch(epoch.into()))]);
        assert_eq!(follower.event(learner::Event::CurrentEpochPersisted), [send(ack(z(epoch, 0)))]);
    }
}

#[test]
fn a_reconfiguration_is_activated_once_it_is_applied_and_not_while_the_image_is_saved() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Snap { zxid: z(1, 9) });
    follower.event(learner::Event::ImageLoaded);
    follower.hear(new_leader(2));
    follower.hear(proposal(z(2, 1)));
    let activate = Packet::CommitAndActivate { zxid: z(2, 1), designated: ServerId(3) };
    assert_eq!(follower.hear(activate), [], "it is not in the log");
    follower.event(learner::Event::ImageSaved);
    follower.event(learner::Event::LogSynced { through: z(1, 9) });
    let did = follower.event(learner::Event::CurrentEpochPersisted);
    let entry = entry(z(2, 1));
    let activate = Action::Activate { zxid: z(2, 1), designated: ServerId(3) };
    assert_eq!(did, [send(ack(z(2, 0))), Action::Append(entry.clone()), Action::Commit(entry), activate]);
}

/// 1264, 1282: a follower adopted the epoch with UPTODATE, when others counted on it already.
#[test]
fn zookeeper_1264_the_epoch_is_adopted_before_newleader_is_acked() {
    let mut follower = Follower::promised(false);
    assert_eq!(follower.machine.epochs(), (Epoch(2), Epoch(1)));
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    follower.hear(new_leader(2));
    follower.event(learner::Event::LogSynced { through: z(1, 3) });
    let did = follower.event(learner::Event::CurrentEpochPersisted);
    assert_eq!((did, follower.machine.epochs()), (vec![send(ack(z(2, 0)))], (Epoch(2), Epoch(2))));
}

/// 2307, 2354, 1387: of two epochs in two files the lower one was on disk first.
#[test]
fn zookeeper_2307_an_epoch_is_promised_before_it_is_adopted() {
    let mut follower = Follower::new(false);
    follower.hear(Packet::LeaderInfo { epoch: Epoch(2), protocol_version: PROTOCOL_VERSION });
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    assert!(follower.ended().is_some(), "no leader goes on before the promise is on disk and said");
    assert_eq!(follower.machine.epochs(), (Epoch(1), Epoch(1)));
}

/// B10: observers wrote the epoch before the data that they acked with it.
#[test]
fn b10_an_observer_keeps_the_order_of_a_follower() {
    let mut observer = Follower::promised(true);
    observer.hear(Packet::Diff { zxid: z(1, 4) });
    observer.hear(proposal(z(1, 4)));
    observer.hear(commit(z(1, 4)));
    assert_eq!(observer.hear(new_leader(2)), [Action::SyncLog { through: z(1, 4) }]);
    let did = observer.event(learner::Event::LogSynced { through: z(1, 4) });
    assert_eq!(did, [Action::PersistCurrentEpoch(Epoch(2))]);
    assert_eq!(observer.event(learner::Event::CurrentEpochPersisted), [send(ack(z(2, 0)))]);
}

/// 4712, 4541: the log writer of a role that was over went on, into the history of the next.
#[test]
fn zookeeper_4712_what_is_left_of_an_earlier_role_does_nothing() {
    let mut follower = Follower::serving(false);
    follower.hear(proposal(z(2, 1)));
    follower.event(learner::Event::Disconnected);
    for event in [learner::Event::LogSynced { through: z(2, 1) }, learner::Event::Timeout] {
        assert_eq!(follower.event(event), []);
    }
    // The log of an earlier reign, synced at last, is no ACK of this one's.
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!(ensemble.event(leader::Event::LogSynced { through: z(1, 9) }), []);
    assert_eq!(committed(&ensemble.event(leader::Event::LogSynced { through: z(2, 1) })), [z(2, 1)]);
}

/// 4785, 3023: a learner that leaves within a synchronisation comes back with what it has, not with what it was sent.
#[test]
fn zookeeper_4785_a_learner_that_leaves_in_sync_has_what_it_has_logged() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 9) });
    follower.hear(proposal(z(1, 4)));
    follower.hear(proposal(z(2, 1)));
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.ended(), Some((&Reason::Disconnected, false)));
    assert_eq!(follower.machine.last_logged(), z(1, 4), "the leader's own epoch was not logged yet");
}

/// 4685: an ACK of a proposal overtook the one of NEWLEADER, and the leader took it for that.
#[test]
fn zookeeper_4685_the_ack_of_newleader_is_the_first() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    assert_eq!(follower.hear(proposal(z(2, 1))), [], "the log does not run ahead of its epoch");
    follower.hear(new_leader(2));
    follower.event(learner::Event::LogSynced { through: z(1, 3) });
    let did = follower.event(learner::Event::CurrentEpochPersisted);
    assert_eq!(did, [send(ack(z(2, 0))), Action::Append(entry(z(2, 1)))]);
    assert_eq!(follower.event(learner::Event::LogSynced { through: z(2, 1) }), [send(ack(z(2, 1)))]);
}

/// 4394, 3023: COMMIT behind NEWLEADER for a proposal in front of it.
#[test]
fn zookeeper_4394_a_commit_may_come_on_the_other_side_of_newleader() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    follower.hear(proposal(z(1, 4)));
    follower.hear(new_leader(2));
    assert_eq!(follower.hear(commit(z(1, 4))), [Action::Commit(entry(z(1, 4)))]);
    assert_eq!(follower.ended(), None);
}

/// 4925: a gap was taken in, and handed on.
#[test]
fn zookeeper_4925_a_gap_ends_the_connection() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 6) });
    follower.hear(proposal(z(1, 5)));
    assert!(matches!(follower.ended(), Some((Reason::Gap { .. }, false))));
    let mut follower = Follower::serving(false);
    follower.hear(proposal(z(2, 1)));
    follower.hear(proposal(z(2, 1)));
    assert!(follower.ended().is_some(), "nor is anything taken twice");
}

#[test]
fn a_transaction_of_a_later_epoch_than_the_leaders_ends_the_connection() {
    let expected = Epoch(2);
    for got in [z(3, 1), Zxid(i64::MAX)] {
        let mut follower = Follower::serving(false);
        follower.hear(proposal(got));
        assert_eq!(follower.ended(), Some((&Reason::WrongEpoch { expected, got }, false)));
    }
    assert!(!follows(Zxid(i64::MAX), Zxid(i64::MIN)), "nor does the last zxid have a next one");
}

#[test]
fn an_epochs_own_zxid_is_no_transaction() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    follower.hear(proposal(z(2, 0)));
    assert!(matches!(follower.ended(), Some((Reason::Gap { .. }, false))), "its ACK would be NEWLEADER's");
}

/// 3642, 2872: a tree from an unfinished image was voted with.
#[test]
fn zookeeper_3642_a_tree_from_an_unfinished_image_is_thrown_away() {
    let mut follower = Follower::promised(false);
    assert_eq!(follower.hear(Packet::Snap { zxid: z(1, 9) }), [Action::LoadImage { zxid: z(1, 9) }]);
    follower.event(learner::Event::ImageLoaded);
    assert_eq!(follower.hear(proposal(z(1, 10))), []);
    assert_eq!(follower.hear(commit(z(1, 10))), [Action::Commit(entry(z(1, 10)))], "not logged");
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.ended(), Some((&Reason::Disconnected, true)));
}

/// 3104, B5: the image is saved with everything that came before NEWLEADER, and the old log above it is gone first.
#[test]
fn zookeeper_3104_an_image_is_saved_at_newleader() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Snap { zxid: z(1, 9) });
    follower.event(learner::Event::ImageLoaded);
    for zxid in [z(1, 8), z(1, 9), z(1, 10)] {
        follower.hear(proposal(zxid));
        assert_eq!(follower.hear(commit(zxid)), [Action::Commit(entry(zxid))], "older than the image or not");
    }
    follower.hear(proposal(z(1, 11)));
    assert_eq!(follower.hear(new_leader(2)), [Action::SaveImage { through: z(1, 10) }]);
    assert_eq!(follower.hear(commit(z(1, 11))), [], "the tree stands still while it is saved");
    let did = follower.event(learner::Event::ImageSaved);
    let [Action::Append(appended), Action::Commit(_), Action::SyncLog { through }] = &did[..] else {
        panic!("{did:?}")
    };
    assert_eq!((appended.zxid, *through), (z(1, 11), z(1, 11)));
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.ended(), Some((&Reason::Disconnected, false)), "now the disk has it all");
}

/// 3104: a follower that died behind NEWLEADER came back with an image that was not yet what it was said to be.
#[test]
fn zookeeper_3104_nothing_is_adopted_before_the_image_is_on_disk() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Snap { zxid: z(1, 9) });
    follower.event(learner::Event::ImageLoaded);
    for zxid in [z(1, 10), z(1, 11)] {
        follower.hear(proposal(zxid));
        follower.hear(commit(zxid));
    }
    let image = Action::SaveImage { through: z(1, 11) };
    assert_eq!(
        follower.hear(new_leader(2)),
        [image],
        "no ACK, no epoch, and under the name of all that is in it"
    );
    assert_eq!(follower.event(learner::Event::LogSynced { through: z(1, 11) }), [], "the log has none of it");
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.ended(), Some((&Reason::Disconnected, true)));
    assert_eq!(follower.machine.epochs(), (Epoch(2), Epoch(1)));
}

/// 5094, B4: after TRUNC transactions were applied in memory alone.
#[test]
fn zookeeper_5094_after_a_cut_everything_is_logged_before_it_is_applied() {
    let mut follower = Follower::promised(false);
    assert_eq!(follower.hear(Packet::Trunc { zxid: z(1, 2) }), [Action::Truncate { to: z(1, 2) }]);
    assert_eq!(follower.hear(proposal(z(1, 3))), []);
    assert_eq!(follower.hear(commit(z(1, 3))), [], "the log is still being cut");
    let did = follower.event(learner::Event::Truncated);
    assert_eq!(did, [Action::Append(entry(z(1, 3))), Action::Commit(entry(z(1, 3)))]);
}

#[test]
fn a_cut_that_was_not_finished_means_loading_anew() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Trunc { zxid: z(1, 2) });
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.ended(), Some((&Reason::Disconnected, true)));
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Trunc { zxid: z(1, 7) });
    assert!(matches!(follower.ended(), Some((Reason::TruncateAhead { .. }, false))));
}

/// B2: a leader tells to cut behind a transaction that never was here. Java keeps one too many and calls itself cut.
#[test]
fn a_cut_behind_a_transaction_that_is_not_there_ends_it_and_the_next_leader_hears_the_true_end() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Trunc { zxid: z(1, 2) });
    follower.hear(new_leader(2));
    let short = Reason::TruncatedShort { to: z(1, 2), last: z(1, 1) };
    let did = follower.event(learner::Event::TruncatedShort { last: z(1, 1) });
    assert_eq!(did, [Action::End { reason: short, reload: false }], "what is loaded is what the disk has");
}

/// 2355: the zxid of DIFF was believed before the transactions were there.
#[test]
fn zookeeper_2355_diff_moves_nothing() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 9) });
    assert_eq!(follower.machine.last_logged(), z(1, 3));
}

/// 2845: what was logged and not applied was left out of the vote.
#[test]
fn zookeeper_2845_the_vote_has_everything_in_the_log() {
    let mut follower = Follower::serving(false);
    follower.hear(proposal(z(2, 1)));
    follower.event(learner::Event::Disconnected);
    assert_eq!(follower.machine.last_logged(), z(2, 1));
}

#[test]
fn a_proposal_is_acked_when_it_is_synced_and_applied_when_it_is_committed() {
    let mut follower = Follower::serving(false);
    for counter in 1..=3 {
        assert_eq!(follower.hear(proposal(z(2, counter))), [Action::Append(entry(z(2, counter)))]);
    }
    assert_eq!(
        follower.hear(commit(z(2, 1))),
        [Action::Commit(entry(z(2, 1)))],
        "before the own sync, as Java"
    );
    let did = follower.event(learner::Event::LogSynced { through: z(2, 2) });
    assert_eq!(did, [send(ack(z(2, 1))), send(ack(z(2, 2)))], "one each, in order");
    follower.hear(commit(z(2, 3)));
    assert!(matches!(follower.ended(), Some((Reason::CommitOutOfOrder { .. }, false))));
}

#[test]
fn an_observer_logs_applies_and_acks_nothing_but_newleader() {
    let mut observer = Follower::serving(true);
    let did = observer.hear(Packet::Inform(entry(z(2, 1))));
    assert_eq!(did, [Action::Append(entry(z(2, 1))), Action::Commit(entry(z(2, 1)))]);
    assert_eq!(observer.event(learner::Event::LogSynced { through: z(2, 1) }), []);
    assert_eq!(observer.hear(proposal(z(2, 2))), [], "not for it");
}

#[test]
fn pings_are_answered_with_the_sessions_used_since_the_last_one_but_not_before_uptodate() {
    let mut follower = Follower::promised(false);
    follower.hear(Packet::Diff { zxid: z(1, 3) });
    assert_eq!(follower.hear(Packet::Ping { zxid: z(2, 0), touched: None }), []);
    let mut follower = Follower::serving(false);
    let session = crate::ids::SessionId(5);
    follower.event(learner::Event::Touched { session, timeout_ms: 900 });
    for touched in [vec![(session, 900)], vec![]] {
        let did = follower.hear(Packet::Ping { zxid: z(2, 7), touched: None });
        assert_eq!(did, [send(Packet::Ping { zxid: z(2, 7), touched: Some(touched) })]);
    }
}

#[test]
fn a_silent_leader_is_left_after_sync_limit() {
    let mut follower = Follower::serving(false);
    let deadline = follower.machine.next_timeout().expect("while it serves");
    assert_eq!(deadline, Instant::from_millis(5001));
    follower.event(learner::Event::Timeout);
    assert_eq!(follower.ended(), None, "too early");
    follower.now = deadline;
    follower.event(learner::Event::Timeout);
    assert_eq!(follower.ended(), Some((&Reason::Silent, false)));
}

#[test]
fn a_reconfiguration_is_applied_before_it_is_activated() {
    let mut follower = Follower::serving(false);
    follower.hear(proposal(z(2, 1)));
    let did = follower.hear(Packet::CommitAndActivate { zxid: z(2, 1), designated: ServerId(3) });
    let activate = Action::Activate { zxid: z(2, 1), designated: ServerId(3) };
    assert_eq!(did, [Action::Commit(entry(z(2, 1))), activate]);
}

/// Server 3 of three, with (1, 1) to (1, 3), promised epoch 1.
struct Ensemble {
    machine: Leader,
    now: Instant,
    did: Vec<leader::Action>,
}

const L1: LearnerId = LearnerId(1);
const L2: LearnerId = LearnerId(2);

impl Ensemble {
    fn new() -> Ensemble {
        let mut committed_log = CommittedLog::new(500);
        (1..=3).for_each(|counter| committed_log.push(entry(z(1, counter))));
        let options = leader::Options {
            limits: LIMITS,
            snap_syncs_max: 1,
            diff_syncs_max: 1,
            force_snap: false,
            counter_end: u32::MAX,
            reconfig_enabled: false,
        };
        let start = leader::Start {
            sid: ServerId(3),
            accepted_epoch: Epoch(1),
            current_epoch: Epoch(1),
            last_zxid: z(1, 3),
            committed_log,
            views: Views::new(members(3, 0)),
            options,
        };
        let (now, mut did) = (Instant::from_millis(1), Vec::new());
        let machine = Leader::new(now, start, &mut did);
        assert_eq!(did, [], "alone among three it waits");
        Ensemble { machine, now, did }
    }

    fn event(&mut self, event: leader::Event) -> Vec<leader::Action> {
        self.did.clear();
        self.machine.handle(self.now, event, &mut self.did);
        self.did.clone()
    }

    fn hear(&mut self, learner: LearnerId, packet: Packet) -> Vec<leader::Action> {
        self.event(leader::Event::Packet { learner, packet })
    }

    fn info(&mut self, learner: LearnerId, sid: i64, observer: bool) -> Vec<leader::Action> {
        self.event(leader::Event::Connected { learner });
        let info =
            LearnerInfo { sid: Some(ServerId(sid)), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO };
        let accepted_epoch = Epoch(1);
        self.hear(
            learner,
            match observer {
                true => Packet::ObserverInfo { accepted_epoch, info },
                false => Packet::FollowerInfo { accepted_epoch, info },
            },
        )
    }

    /// Server 1 is here; the epoch is promised; its history is being synchronised.
    fn synchronising() -> Ensemble {
        let mut ensemble = Ensemble::new();
        assert_eq!(ensemble.info(L1, 1, false), [leader::Action::PersistAcceptedEpoch(Epoch(2))]);
        let did = ensemble.event(leader::Event::AcceptedEpochPersisted);
        let packet = Packet::LeaderInfo { epoch: Epoch(2), protocol_version: PROTOCOL_VERSION };
        assert_eq!(did, [to(L1, packet)]);
        let did = ensemble.hear(L1, Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: Some(Epoch(1)) });
        assert_eq!(did, [leader::Action::PersistCurrentEpoch(Epoch(2))]);
        let did = sent(&ensemble.event(leader::Event::CurrentEpochPersisted), L1);
        assert!(matches!(&did[..], [Packet::Diff { .. }, Packet::NewLeader { .. }]));
        ensemble
    }

    fn established() -> Ensemble {
        let mut ensemble = Ensemble::synchronising();
        let did = ensemble.hear(L1, ack(z(2, 0)));
        assert_eq!(did, [leader::Action::Serve { epoch: Epoch(2) }, to(L1, Packet::UpToDate)]);
        ensemble
    }

    /// Another learner comes to an established leader, up to NEWLEADER or its image.
    fn join(&mut self, learner: LearnerId, sid: i64, observer: bool, last_zxid: Zxid) -> Vec<leader::Action> {
        self.info(learner, sid, observer);
        self.hear(learner, Packet::AckEpoch { last_zxid, current_epoch: Some(Epoch(1)) })
    }

    fn propose(&mut self) -> Vec<leader::Action> {
        let zxid = self.machine.next_zxid();
        self.event(leader::Event::Propose(entry(zxid)))
    }
}

fn to(learner: LearnerId, packet: Packet) -> leader::Action {
    leader::Action::SendTo { learner, packet }
}

fn sent(did: &[leader::Action], to: LearnerId) -> Vec<Packet> {
    let packets = did.iter().filter_map(|action| match action {
        leader::Action::SendTo { learner, packet } if *learner == to => Some(packet.clone()),
        _ => None,
    });
    packets.collect()
}

fn committed(did: &[leader::Action]) -> Vec<Zxid> {
    let zxids = did.iter().filter_map(|action| match action {
        leader::Action::Commit(entry) => Some(entry.zxid),
        _ => None,
    });
    zxids.collect()
}

#[test]
fn a_commit_takes_a_quorum_of_which_the_own_log_counts_when_synced() {
    let mut ensemble = Ensemble::established();
    let did = ensemble.propose();
    assert_eq!(did, [to(L1, proposal(z(2, 1))), leader::Action::Append(entry(z(2, 1)))], "sent, then logged");
    assert_eq!(ensemble.hear(L1, ack(z(2, 1))), [], "one of three");
    let did = ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    assert_eq!(did, [to(L1, commit(z(2, 1))), leader::Action::Commit(entry(z(2, 1)))]);
}

/// One that came by DIFF still has its old last zxid then. Those that came by SNAP have the epoch's, and would not be
/// led by it; seen as an ensemble that had no leader for as long as initLimit after a hand-over.
#[test]
fn nobody_succeeds_a_leader_whose_epoch_has_no_transaction() {
    let mut ensemble = Ensemble::established();
    assert_eq!(ensemble.machine.successor(), None);
    ensemble.propose();
    ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!(ensemble.machine.successor(), None, "it is not committed");
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    assert_eq!(ensemble.machine.successor(), Some(ServerId(1)));
}

/// 1291: a leader's own epochs were not on disk before others acted on them.
#[test]
fn zookeeper_1291_a_leaders_epochs_are_on_disk_before_they_are_spoken_of() {
    let mut ensemble = Ensemble::new();
    ensemble.info(L1, 1, false);
    assert_eq!(ensemble.did, [leader::Action::PersistAcceptedEpoch(Epoch(2))], "and no LEADERINFO");
    ensemble.event(leader::Event::AcceptedEpochPersisted);
    let did = ensemble.hear(L1, Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: Some(Epoch(1)) });
    assert_eq!(did, [leader::Action::PersistCurrentEpoch(Epoch(2))], "and no history");
}

/// 3829, 4708: a leader whose own address read differently than in the membership committed nothing more.
#[test]
fn zookeeper_3829_without_a_reconfiguration_nobody_asks_whether_a_leader_may_lead() {
    let mut ensemble = Ensemble::established();
    for counter in 1..=3 {
        ensemble.propose();
        ensemble.event(leader::Event::LogSynced { through: z(2, counter) });
        let did = ensemble.hear(L1, ack(z(2, counter)));
        assert_eq!(did, [to(L1, commit(z(2, counter))), leader::Action::Commit(entry(z(2, counter)))]);
    }
}

/// B7: an ACK that completes a quorum before its predecessor has one was forgotten.
#[test]
fn b7_commits_come_in_order_and_none_is_forgotten() {
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    ensemble.propose();
    ensemble.event(leader::Event::LogSynced { through: z(2, 2) });
    assert_eq!(ensemble.hear(L1, ack(z(2, 2))), []);
    assert_eq!(committed(&ensemble.hear(L1, ack(z(2, 1)))), [z(2, 1), z(2, 2)]);
}

#[test]
fn acks_of_a_learner_that_must_cut_its_log_are_taken_back() {
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    ensemble.hear(L1, ack(z(2, 1)));
    ensemble.event(leader::Event::Disconnected { learner: L1 });
    let did = ensemble.join(L2, 1, false, z(2, 1));
    assert!(sent(&did, L2).contains(&proposal(z(2, 1))), "it gets it again");
    // It has cut the log and not logged it again: were the first ACK to count, this would commit.
    assert_eq!(committed(&ensemble.event(leader::Event::LogSynced { through: z(2, 1) })), []);
    ensemble.event(leader::Event::ImageSent { learner: L2 });
    ensemble.hear(L2, ack(z(2, 0)));
    assert_eq!(committed(&ensemble.hear(L2, ack(z(2, 1)))), [z(2, 1)]);
}

#[test]
fn an_ack_that_was_under_way_on_an_earlier_connection_does_not_count() {
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    // Its old connection is not known to be dead yet.
    ensemble.join(L2, 1, false, z(2, 1));
    assert_eq!(committed(&ensemble.hear(L1, ack(z(2, 1)))), []);
    ensemble.event(leader::Event::ImageSent { learner: L2 });
    ensemble.hear(L2, ack(z(2, 0)));
    assert_eq!(committed(&ensemble.hear(L2, ack(z(2, 1)))), [z(2, 1)]);
}

#[test]
fn an_earlier_connection_that_is_late_does_not_take_a_later_ones_place() {
    let (mut ensemble, later) = (Ensemble::established(), LearnerId(3));
    ensemble.info(L2, 2, false);
    ensemble.join(later, 2, false, z(1, 3));
    ensemble.hear(later, ack(z(2, 0)));
    ensemble.propose();
    ensemble.propose();
    ensemble.hear(later, ack(z(2, 1)));
    ensemble.hear(L2, Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: Some(Epoch(1)) });
    ensemble.hear(L2, ack(z(2, 2)));
    let did = ensemble.event(leader::Event::LogSynced { through: z(2, 2) });
    assert_eq!(
        committed(&did),
        [z(2, 1)],
        "what it acked counts still, and what comes by the old way does not"
    );
    assert_eq!(committed(&ensemble.hear(later, ack(z(2, 2)))), [z(2, 2)]);
}

#[test]
fn who_has_not_said_who_it_is_has_no_earlier_connection() {
    let mut ensemble = Ensemble::established();
    ensemble.event(leader::Event::Connected { learner: L2 });
    // An observer without a number of its own.
    ensemble.join(LearnerId(3), -1, true, z(1, 3));
    let info = LearnerInfo { sid: Some(ServerId(2)), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO };
    ensemble.hear(L2, Packet::FollowerInfo { accepted_epoch: Epoch(1), info });
    ensemble.hear(L2, Packet::AckEpoch { last_zxid: z(1, 3), current_epoch: Some(Epoch(1)) });
    ensemble.hear(L2, ack(z(2, 0)));
    ensemble.propose();
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    assert_eq!(committed(&ensemble.hear(L2, ack(z(2, 1)))), [z(2, 1)]);
}

/// 4685: a learner's ACK of a proposal is no ACK of NEWLEADER, and no reason to give up on the learner.
#[test]
fn zookeeper_4685_acks_in_sync_are_told_apart_by_their_zxid() {
    let mut ensemble = Ensemble::synchronising();
    assert_eq!(ensemble.hear(L1, ack(z(1, 3))), []);
    assert_eq!(ensemble.machine.serving(), None);
    ensemble.hear(L1, ack(z(2, 0)));
    assert_eq!(ensemble.machine.serving(), Some(Epoch(2)));
}

/// 4394: older learners stumble over a COMMIT between NEWLEADER and UPTODATE.
#[test]
fn zookeeper_4394_commits_of_proposals_before_newleader_wait_for_uptodate() {
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    let did = ensemble.join(L2, 2, false, z(1, 3));
    let packets = sent(&did, L2);
    assert!(matches!(&packets[..], [Packet::Diff { .. }, Packet::Proposal(_), Packet::NewLeader { .. }]));
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    let did = ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!((sent(&did, L1), sent(&did, L2)), (vec![commit(z(2, 1))], vec![]));
    let did = ensemble.hear(L2, ack(z(2, 0)));
    assert_eq!(sent(&did, L2), [Packet::UpToDate, commit(z(2, 1))]);
}

/// 3104: NEWLEADER left before everything that the image may contain.
#[test]
fn zookeeper_3104_newleader_waits_for_the_end_of_the_image() {
    let mut ensemble = Ensemble::established();
    let did = ensemble.join(L2, 2, false, Zxid::ZERO);
    let did = match did.last() {
        Some(leader::Action::Locate { .. }) => {
            ensemble.event(leader::Event::Located { learner: L2, meeting: None })
        }
        _ => did,
    };
    assert_eq!(did, [to(L2, Packet::Snap { zxid: z(2, 0) }), leader::Action::SendImage { learner: L2 }]);
    assert_eq!(sent(&ensemble.propose(), L2), [proposal(z(2, 1))], "it is registered already");
    // The image is read from the tree while this is applied to it, and has it or not.
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    let did = ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!((committed(&did), sent(&did, L2)), (vec![z(2, 1)], vec![commit(z(2, 1))]));
    let did = ensemble.event(leader::Event::ImageSent { learner: L2 });
    assert!(matches!(&sent(&did, L2)[..], [Packet::NewLeader { .. }]));
}

/// 2959: observers were counted.
#[test]
fn zookeeper_2959_observers_have_no_say() {
    let mut ensemble = Ensemble::new();
    assert_eq!(ensemble.info(L2, 4, true), [], "no quorum with an observer");
    let mut ensemble = Ensemble::established();
    ensemble.join(L2, 4, true, z(1, 3));
    ensemble.hear(L2, ack(z(2, 0)));
    ensemble.propose();
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    assert_eq!(committed(&ensemble.hear(L2, ack(z(2, 1)))), []);
    let did = ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!(sent(&did, L2), [Packet::Inform(entry(z(2, 1)))]);
}

#[test]
fn who_is_ahead_is_not_led() {
    let mut ensemble = Ensemble::new();
    ensemble.info(L1, 1, false);
    ensemble.event(leader::Event::AcceptedEpochPersisted);
    let did = ensemble.hear(L1, Packet::AckEpoch { last_zxid: z(1, 4), current_epoch: Some(Epoch(1)) });
    assert_eq!(did, [leader::Action::Close { learner: L1, reason: CloseReason::Ahead }]);
}

#[test]
fn an_empty_server_that_must_not_vote_is_not_counted() {
    let mut ensemble = Ensemble::new();
    ensemble.info(L1, 1, false);
    ensemble.event(leader::Event::AcceptedEpochPersisted);
    let did = ensemble.hear(L1, Packet::AckEpoch { last_zxid: Zxid(-1), current_epoch: Some(Epoch(-1)) });
    assert_eq!(did, []);
}

/// 1277: the counter ran into the epoch.
#[test]
fn zookeeper_1277_the_last_counter_ends_the_epoch() {
    let mut ensemble = Ensemble::established();
    ensemble.machine.skip_to(z(2, u32::MAX - 2));
    assert!(ensemble.propose().contains(&leader::Action::Append(entry(z(2, u32::MAX - 1)))));
    assert_eq!(ensemble.propose(), [leader::Action::StepDown(StepDown::ZxidsUsedUp)]);
}

#[test]
fn a_sync_is_answered_behind_what_was_proposed_before_it() {
    let mut ensemble = Ensemble::established();
    let from = Some(L1);
    assert_eq!(ensemble.event(leader::Event::SyncRequested { from }), [to(L1, Packet::Sync)]);
    ensemble.propose();
    assert_eq!(ensemble.event(leader::Event::SyncRequested { from }), []);
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    let did = ensemble.hear(L1, ack(z(2, 1)));
    assert_eq!(sent(&did, L1), [commit(z(2, 1)), Packet::Sync]);
}

#[test]
fn without_a_quorum_a_leader_steps_down_on_a_full_tick() {
    let mut ensemble = Ensemble::established();
    ensemble.event(leader::Event::Disconnected { learner: L1 });
    ensemble.now = ensemble.machine.next_timeout().expect("half a tick");
    assert_eq!(ensemble.event(leader::Event::Timeout), []);
    ensemble.now = ensemble.machine.next_timeout().expect("a full tick");
    let did = ensemble.event(leader::Event::Timeout);
    assert_eq!(did, [leader::Action::StepDown(StepDown::QuorumLost)]);
    assert_eq!(ensemble.machine.next_timeout(), None);
}

#[test]
fn a_learner_that_acks_nothing_is_closed_though_it_answers_pings() {
    let mut ensemble = Ensemble::established();
    ensemble.propose();
    let mut closed = Vec::new();
    while closed.is_empty() && ensemble.now < Instant::from_millis(20_000) {
        ensemble.now = ensemble.machine.next_timeout().expect("it leads");
        let did = ensemble.event(leader::Event::Timeout);
        closed.extend(did.into_iter().filter(|action| matches!(action, leader::Action::Close { .. })));
        ensemble.hear(L1, Packet::Ping { zxid: z(2, 1), touched: Some(vec![]) });
    }
    assert_eq!(closed, [leader::Action::Close { learner: L1, reason: CloseReason::AcksTooLate }]);
}

/// Who gives up because a voter looks may do so only then: while histories are brought into step, which may take long,
/// any voter that starts anew looks.
#[test]
fn zookeeper_3109_a_leader_collects_epochs_until_a_quorum_has_told_its_own() {
    let mut ensemble = Ensemble::new();
    assert!(ensemble.machine.collects_epochs());
    ensemble.info(L1, 1, false);
    assert!(!ensemble.machine.collects_epochs());
    assert!(!Ensemble::synchronising().machine.collects_epochs());
}

#[test]
fn waits_for_a_quorum_end() {
    let mut ensemble = Ensemble::new();
    ensemble.now = ensemble.machine.next_timeout().expect("initLimit");
    assert_eq!(ensemble.event(leader::Event::Timeout), [leader::Action::StepDown(StepDown::NoEpochQuorum)]);
    let mut ensemble = Ensemble::synchronising();
    ensemble.now = ensemble.machine.next_timeout().expect("initLimit");
    assert_eq!(ensemble.event(leader::Event::Timeout), [leader::Action::StepDown(StepDown::NoHistoryQuorum)]);
}

#[test]
fn observers_beyond_the_limit_of_syncs_are_sent_away_and_followers_never() {
    let mut ensemble = Ensemble::established();
    ensemble.join(L2, 4, true, z(1, 3));
    let did = ensemble.join(LearnerId(3), 5, true, z(1, 3));
    let closed = leader::Action::Close { learner: LearnerId(3), reason: CloseReason::TooManySyncs };
    assert_eq!(did, [closed]);
    let did = ensemble.join(LearnerId(4), 2, false, z(1, 3));
    assert!(matches!(&sent(&did, LearnerId(4))[..], [Packet::Diff { .. }, Packet::NewLeader { .. }]));
}

#[test]
fn a_reconfiguration_needs_both_memberships_and_names_who_leads() {
    let mut ensemble = Ensemble::established();
    // Server 3 leaves, 4 and 5 come: of 1, 2, 4 and 5 it takes three.
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.4=d:1:2\nserver.5=e:1:2\nversion=200000001";
    let membership = crate::quorum::membership::Membership::from_text(text.as_bytes()).unwrap();
    for (learner, sid) in [(L2, 2), (LearnerId(4), 4)] {
        ensemble.join(learner, sid, false, z(1, 3));
        ensemble.hear(learner, ack(z(2, 0)));
    }
    let entry = entry(z(2, 1));
    ensemble.event(leader::Event::ProposeReconfig { entry: entry.clone(), membership, may_lead: false });
    ensemble.event(leader::Event::LogSynced { through: z(2, 1) });
    assert_eq!(committed(&ensemble.hear(L1, ack(z(2, 1)))), [], "the old one agrees, the new one does not");
    assert_eq!(committed(&ensemble.hear(L2, ack(z(2, 1)))), []);
    let did = ensemble.hear(LearnerId(4), ack(z(2, 1)));
    let designated = ServerId(1);
    assert_eq!(sent(&did, L1), [Packet::CommitAndActivate { zxid: z(2, 1), designated }]);
    let activate = leader::Action::Activate { zxid: z(2, 1), designated };
    assert_eq!(did[did.len() - 2..], [leader::Action::Commit(entry), activate]);
    ensemble.propose();
    ensemble.hear(L1, ack(z(2, 2)));
    ensemble.hear(L2, ack(z(2, 2)));
    assert_eq!(committed(&ensemble.hear(LearnerId(4), ack(z(2, 2)))), [], "it no longer leads");
}

#[test]
fn a_learner_of_a_newer_membership_or_an_older_dialogue_is_closed() {
    let mut ensemble = Ensemble::new();
    for (protocol, config_version) in [(PROTOCOL_VERSION, z(1, 1)), (1, Zxid::ZERO)] {
        ensemble.event(leader::Event::Connected { learner: L1 });
        let info = LearnerInfo { sid: Some(ServerId(1)), protocol, config_version };
        let did = ensemble.hear(L1, Packet::FollowerInfo { accepted_epoch: Epoch(1), info });
        assert!(matches!(did[..], [leader::Action::Close { .. }]), "{did:?}");
    }
}

#[test]
fn who_has_accepted_the_last_epoch_does_not_carry_it_on() {
    let mut ensemble = Ensemble::new();
    ensemble.event(leader::Event::Connected { learner: L1 });
    let info = LearnerInfo { sid: Some(ServerId(1)), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO };
    let accepted_epoch = Epoch(i64::from(i32::MAX));
    let did = ensemble.hear(L1, Packet::FollowerInfo { accepted_epoch, info });
    let reason = CloseReason::LastEpoch { accepted: accepted_epoch };
    assert_eq!(did, [leader::Action::Close { learner: L1, reason }]);
}
