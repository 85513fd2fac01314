//! An observer master: a follower that serves observers what its own leader says.

use super::{entry_by, members, z};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::views::Views;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::leader::{Action, CloseReason, Event, Leader, Options, Start};
use crate::quorum::zab::packet::{LearnerInfo, PROTOCOL_VERSION, Packet, Request};
use crate::quorum::zab::window::CommittedLog;
use crate::quorum::zab::{Epoch, Limits};
use crate::time::Instant;

const OBSERVER: LearnerId = LearnerId(9);

struct Master {
    machine: Leader,
    now: Instant,
}

impl Master {
    /// In epoch 2, with (2, 1) and (2, 2) in its window.
    fn new() -> Master {
        let mut committed_log = CommittedLog::new(500);
        committed_log.push(entry_by(z(2, 1), 1));
        committed_log.push(entry_by(z(2, 2), 1));
        let limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };
        let start = Start {
            sid: ServerId(1),
            accepted_epoch: Epoch(2),
            current_epoch: Epoch(2),
            last_zxid: z(2, 2),
            committed_log,
            views: Views::new(members(3, 0)),
            options: Options {
                limits,
                snap_syncs_max: 10,
                diff_syncs_max: 10,
                force_snap: false,
                counter_end: u32::MAX,
                reconfig_enabled: false,
            },
        };
        let now = Instant::from_millis(1);
        Master { machine: Leader::master(now, start), now }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        actions
    }

    /// What the observer is sent because it says this.
    fn hear(&mut self, packet: Packet) -> Vec<Packet> {
        sent(self.tell(Event::Packet { learner: OBSERVER, packet }))
    }

    fn info() -> LearnerInfo {
        LearnerInfo { sid: Some(ServerId(7)), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO }
    }

    /// With an observer that has everything.
    fn serving() -> Master {
        let mut master = Master::new();
        master.tell(Event::Connected { learner: OBSERVER });
        master.hear(Packet::ObserverInfo { accepted_epoch: Epoch(2), info: Master::info() });
        master.hear(Packet::AckEpoch { last_zxid: z(2, 2), current_epoch: None });
        assert_eq!(master.hear(Packet::Ack { zxid: z(2, 0) }), [Packet::UpToDate]);
        master
    }
}

fn sent(actions: Vec<Action>) -> Vec<Packet> {
    let sent = actions.into_iter().filter_map(|action| match action {
        Action::SendTo { learner: OBSERVER, packet } => Some(packet),
        _ => None,
    });
    sent.collect()
}

#[test]
fn an_observer_is_synchronised_without_any_wait() {
    let mut master = Master::new();
    master.tell(Event::Connected { learner: OBSERVER });
    let said = master.hear(Packet::ObserverInfo { accepted_epoch: Epoch(1), info: Master::info() });
    assert_eq!(said, [Packet::LeaderInfo { epoch: Epoch(2), protocol_version: PROTOCOL_VERSION }]);
    let said = master.hear(Packet::AckEpoch { last_zxid: z(2, 1), current_epoch: Some(Epoch(2)) });
    assert_eq!(
        said[..3],
        [
            Packet::Diff { zxid: z(2, 2) },
            Packet::Proposal(entry_by(z(2, 2), 1)),
            Packet::Commit { zxid: z(2, 2) }
        ]
    );
    assert!(matches!(said[3..], [Packet::NewLeader { .. }]));
    assert_eq!(master.hear(Packet::Ack { zxid: z(2, 0) }), [Packet::UpToDate]);
}

#[test]
fn what_the_leader_commits_is_passed_on_once_and_in_order() {
    let mut master = Master::serving();
    let relay = |zxid| Event::Relay { entry: entry_by(zxid, 1), designated: None };
    assert_eq!(sent(master.tell(relay(z(2, 3)))), [Packet::Inform(entry_by(z(2, 3), 1))]);
    assert_eq!(sent(master.tell(relay(z(2, 3)))), [], "an image had it");
    let entry = entry_by(z(2, 4), 1);
    let event = Event::Relay { entry: entry.clone(), designated: Some(ServerId(2)) };
    assert_eq!(sent(master.tell(event)), [Packet::InformAndActivate { entry, designated: ServerId(2) }]);
    assert_eq!(sent(master.tell(Event::SyncAnswered { learner: OBSERVER })), [Packet::Sync]);
}

#[test]
fn requests_are_for_the_leader_and_followers_for_somebody_else() {
    let mut master = Master::serving();
    let request =
        Request { session: SessionId(5), cxid: 1, op: 9, body: (*b"/").into(), ids: Some(Vec::new()) };
    let event = Event::Packet { learner: OBSERVER, packet: Packet::Request(request.clone()) };
    assert_eq!(master.tell(event), [Action::Request { learner: OBSERVER, request }]);

    let follower = LearnerId(10);
    master.tell(Event::Connected { learner: follower });
    let packet = Packet::FollowerInfo { accepted_epoch: Epoch(2), info: Master::info() };
    let did = master.tell(Event::Packet { learner: follower, packet });
    assert!(
        matches!(did[..], [Action::Close { learner, reason: CloseReason::Unexpected { .. } }] if learner == follower)
    );
}

#[test]
fn an_observer_that_knows_the_newest_membership_is_served_once_the_master_does() {
    let mut master = Master::new();
    let info = LearnerInfo { config_version: z(2, 2), ..Master::info() };
    let hello = Packet::ObserverInfo { accepted_epoch: Epoch(2), info };
    master.tell(Event::Connected { learner: OBSERVER });
    let did = master.tell(Event::Packet { learner: OBSERVER, packet: hello.clone() });
    let reason = CloseReason::NewerConfig { version: z(2, 2) };
    assert_eq!(did, [Action::Close { learner: OBSERVER, reason }]);
    assert_eq!(master.tell(Event::Reconfigured(Views::new(members(3, z(2, 2).0)))), []);
    master.tell(Event::Connected { learner: OBSERVER });
    assert!(matches!(master.hear(hello)[..], [Packet::LeaderInfo { .. }]));
}

#[test]
fn an_observer_that_is_ahead_of_its_next_master_loses_nothing() {
    let mut master = Master::new();
    let hello = Packet::ObserverInfo { accepted_epoch: Epoch(2), info: Master::info() };
    master.tell(Event::Connected { learner: OBSERVER });
    master.hear(hello.clone());
    let packet = Packet::AckEpoch { last_zxid: z(2, 3), current_epoch: None };
    let did = master.tell(Event::Packet { learner: OBSERVER, packet });
    assert_eq!(did, [Action::Close { learner: OBSERVER, reason: CloseReason::Ahead }]);

    master.tell(Event::Relay { entry: entry_by(z(2, 3), 1), designated: None });
    master.tell(Event::Connected { learner: OBSERVER });
    master.hear(hello);
    let said = master.hear(Packet::AckEpoch { last_zxid: z(2, 3), current_epoch: None });
    assert_eq!(said[0], Packet::Diff { zxid: z(2, 3) }, "a moment later");
}

#[test]
fn a_master_never_steps_down_by_itself() {
    let mut master = Master::serving();
    for second in 1..20 {
        master.now = Instant::from_millis(1 + second * 500);
        master.hear(Packet::Ping { zxid: z(2, 2), touched: Some(Vec::new()) });
        let did = master.tell(Event::Timeout);
        assert!(!did.iter().any(|action| matches!(action, Action::StepDown(_))), "{did:?}");
        assert!(matches!(sent(did)[..], [Packet::Ping { .. }]), "every half tick");
    }
}
