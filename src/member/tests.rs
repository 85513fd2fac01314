//! One member and its shell's answers: those that come when the role they are of is over, and those of links and dials
//! that are gone.

use std::mem;

use super::*;
use crate::quorum::membership::Membership;
use crate::quorum::zab::Epoch;
use crate::quorum::zab::packet::{LearnerInfo, PROTOCOL_VERSION, Packet};
use crate::server::tests::options;
use crate::time::WallMillis;
use crate::tree::Tree;
use crate::wire::quorum::packet::FromLeader;
use crate::wire::txn::{LoggedTxn, Txn, TxnHeader};

/// Server 1 of three, with the transactions of epoch 1 in its tree and on disk.
struct Fixture {
    member: Member,
    server: Server,
    actions: Vec<Action>,
    now: Now,
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn entry(zxid: Zxid) -> Entry {
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: 0, kind: -1 };
    let mut payload = Vec::new();
    LoggedTxn { header, txn: Txn::Error { code: 0 }, digest: None }.encode(&mut payload);
    Entry::from_payload(&payload).expect("just encoded")
}

fn tree() -> Tree {
    Tree::new(options().rules.tree)
}

/// What a helper loads: a tree with `count` transactions of epoch 1.
fn state(count: u32) -> Box<State> {
    let mut tree = tree();
    for counter in 1..=count {
        let payload = entry(z(1, counter)).payload;
        let LoggedTxn { header, txn, .. } = LoggedTxn::decode(&payload, usize::MAX).expect("just encoded");
        tree.apply(&header, &txn, &mut ());
    }
    Box::new(State {
        tree,
        sessions: Vec::new(),
        newest: VecDeque::new(),
        replayed: 0,
        snapshot_zxid: Zxid::ZERO,
        base_missing: false,
        may_vote: true,
        snapshot_took: std::time::Duration::ZERO,
        replay_took: std::time::Duration::ZERO,
    })
}

fn membership(servers: i64, version: Zxid) -> Membership {
    let lines: String = (1..=servers).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
    Membership::from_text(format!("{lines}version={:x}", version.0).as_bytes()).expect("well-formed")
}

impl Fixture {
    fn new(txns: u32) -> Fixture {
        Fixture::with(txns, Views::new(membership(3, Zxid::ZERO)), false)
    }

    fn with(txns: u32, views: Views, reconfig_enabled: bool) -> Fixture {
        let now = Now { mono: Instant::from_millis(1000), wall: WallMillis(0) };
        let settings = Settings {
            me: ServerId(1),
            views,
            limits: Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 },
            pace: Pace::default(),
            several_addresses: false,
            greeting_timeout: Millis(1000),
            reconfig_enabled,
            standalone_enabled: true,
            field_max: 1 << 20,
            connect_timeout: Millis(10_000),
            connect_delay: Millis(100),
            snap_syncs_max: 10,
            diff_syncs_max: 10,
            force_snap: false,
            counter_end: u32::MAX,
            committed_log_max: 500,
            leader_serves: true,
            epoch_wait_max: None,
            observer_master_port: None,
            read_only_after: None,
        };
        let mut server = Server::new(options(), state(txns).tree, [], now);
        let epochs = Epochs { current: Epoch(1), accepted: Epoch(1) };
        let loaded = Loaded { newest: VecDeque::new(), may_vote: true };
        let mut actions = Vec::new();
        let member = Member::new(now, settings, epochs, loaded, &mut server, &mut actions);
        assert!(member.is_looking());
        actions.clear();
        Fixture { member, server, actions, now }
    }

    fn step(&mut self, act: impl FnOnce(&mut Member, &mut Step<'_>)) {
        let Fixture { member, server, actions, now } = self;
        act(member, &mut Step { now: *now, server, actions });
    }

    fn hear(&mut self, event: Event<'_>) {
        self.member.handle(self.now, event, &mut self.server, &mut self.actions);
    }

    /// What it wants done, besides what concerns elections.
    fn wants(&mut self) -> Vec<String> {
        let actions = mem::take(&mut self.actions);
        let of_elections = |action: &Action| {
            matches!(
                action,
                Action::DialElection { .. } | Action::SendElection { .. } | Action::CloseElection { .. }
            )
        };
        actions.iter().filter(|action| !of_elections(action)).map(|action| format!("{action:?}")).collect()
    }

    /// Server `leader` was elected; the answer is the dial.
    fn follow(&mut self, leader: i64) -> DialId {
        self.step(|member, step| member.begin_to_follow(step, ServerId(leader)));
        let dial = match self.actions.last() {
            Some(Action::DialLeader { dial, .. }) => *dial,
            other => panic!("{other:?} instead of a dial"),
        };
        self.actions.clear();
        dial
    }

    /// It follows server 3 over this link, and has said who it is.
    fn follow_over(&mut self, link: u64) -> LinkId {
        let (dial, link) = (self.follow(3), LinkId(link));
        self.hear(Event::LeaderDialed { dial, link });
        assert!(!self.output(link).is_empty(), "FOLLOWERINFO");
        link
    }

    fn receive(&mut self, link: LinkId, packets: &[Packet]) {
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| packet.encode(&mut bytes));
        self.hear(Event::Received { link, bytes: &bytes });
    }

    /// What it has sent over this link since the last time.
    fn output(&mut self, link: LinkId) -> Vec<u8> {
        let Fixture { member, server, actions, now } = self;
        member.output(*now, link, server, actions).map(mem::take).unwrap_or_default()
    }

    /// It leads; follower 2, which is behind, is looked up in the log files.
    fn lead_and_locate(&mut self, link: u64) -> LinkId {
        self.step(|member, step| member.begin_to_lead(step));
        let link = self.follower_comes(link);
        self.hear(Event::EpochPersisted(EpochFile::Accepted));
        self.promise(link);
        self.hear(Event::EpochPersisted(EpochFile::Current));
        assert_eq!(self.wants().last(), Some(&locate(link)));
        self.output(link);
        link
    }

    /// Follower 2 says who it is.
    fn follower_comes(&mut self, link: u64) -> LinkId {
        let link = LinkId(link);
        self.hear(Event::LearnerConnected(link));
        let info =
            LearnerInfo { sid: Some(ServerId(2)), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO };
        self.receive(link, &[Packet::FollowerInfo { accepted_epoch: Epoch(1), info }]);
        link
    }

    fn promise(&mut self, link: LinkId) {
        self.receive(link, &[Packet::AckEpoch { last_zxid: z(1, 2), current_epoch: Some(Epoch(1)) }]);
    }
}

fn locate(link: LinkId) -> String {
    format!("{:?}", Action::Locate { link, zxid: z(1, 2) })
}

fn leader_info(epoch: i64) -> Packet {
    Packet::LeaderInfo { epoch: Epoch(epoch), protocol_version: PROTOCOL_VERSION }
}

#[test]
fn the_next_role_waits_for_the_log_of_the_last() {
    let mut one = Fixture::new(2);
    let link = one.follow_over(1);
    let proposals = [Packet::Proposal(entry(z(1, 3))), Packet::Proposal(entry(z(1, 4)))];
    one.receive(link, &[leader_info(1), Packet::Diff { zxid: z(1, 2) }]);
    one.receive(link, &proposals);
    assert_eq!(one.wants().len(), 2, "two to append");
    one.hear(Event::Closed(link));
    assert!(!one.member.is_looking());
    one.hear(Event::LogSynced { through: z(1, 3) });
    assert!(!one.member.is_looking(), "the end of its log is not on disk");
    one.hear(Event::LogSynced { through: z(1, 4) });
    assert!(one.member.is_looking());
    assert_eq!(one.server.last_zxid(), z(1, 4), "it votes with the end of its log, and has all of that");
}

#[test]
fn an_epoch_on_disk_after_its_role_is_over_is_no_news_to_the_next() {
    let mut one = Fixture::new(2);
    let link = one.follow_over(1);
    one.receive(link, &[leader_info(2)]);
    assert_eq!(one.wants(), ["PersistEpoch(Accepted, 2)"]);
    one.hear(Event::Closed(link));
    assert!(!one.member.is_looking(), "the file is under way");
    one.hear(Event::EpochPersisted(EpochFile::Accepted));
    assert!(one.member.is_looking());
    let link = one.follow_over(2);
    one.wants();
    one.receive(link, &[leader_info(2)]);
    assert_eq!(one.wants(), [""; 0], "it has promised this epoch already");
    let mut ack = Vec::new();
    Packet::AckEpoch { last_zxid: z(1, 2), current_epoch: None }.encode(&mut ack);
    assert_eq!(one.output(link), ack);
}

#[test]
fn an_image_on_disk_after_its_role_is_over_is_loaded_before_the_next() {
    let mut leader = Fixture::new(7);
    let mut image = Vec::new();
    FromLeader::Snap { zxid: z(1, 7) }.encode(&mut image);
    let cursor = leader.server.snapshot_begin(&mut image).0;
    while !leader.server.snapshot_slice(cursor, &mut image, 1 << 20) {}
    image.extend(crate::quorum::image::END);
    Packet::NewLeader { zxid: z(1, 0), config: None }.encode(&mut image);

    let mut one = Fixture::new(2);
    let link = one.follow_over(1);
    one.receive(link, &[leader_info(1)]);
    one.hear(Event::Received { link, bytes: &image });
    let save = format!("{:?}", Action::SaveImage { through: z(1, 7) });
    assert_eq!(one.wants(), ["ImageBegins".to_string(), save]);
    one.hear(Event::Closed(link));
    let close = format!("{:?}", Action::CloseLink(link));
    assert_eq!(one.wants(), [close], "nothing is loaded while the image is written");
    one.hear(Event::ImageSaved);
    assert_eq!(one.wants(), ["ImageBegins", "LoadState { truncate_to: None }"]);
    assert!(!one.member.is_looking());
    one.hear(Event::StateLoaded(state(7)));
    assert!(one.member.is_looking());
}

#[test]
fn a_cut_that_is_made_after_its_role_is_over_is_loaded_once_more_before_the_next() {
    let mut one = Fixture::new(2);
    let link = one.follow_over(1);
    one.receive(link, &[leader_info(1), Packet::Trunc { zxid: z(1, 1) }]);
    let cut = format!("{:?}", Action::LoadState { truncate_to: Some(z(1, 1)) });
    assert_eq!(one.wants(), ["ImageBegins".to_string(), cut]);
    one.hear(Event::Closed(link));
    one.wants();
    one.hear(Event::StateLoaded(state(1)));
    assert_eq!(one.wants(), ["ImageBegins", "LoadState { truncate_to: None }"]);
    assert!(!one.member.is_looking());
    one.hear(Event::StateLoaded(state(1)));
    assert!(one.member.is_looking());
    assert_eq!(one.server.last_zxid(), z(1, 1));
}

#[test]
fn a_leader_is_not_taken_for_another_that_was_dialed_before() {
    let mut one = Fixture::new(2);
    let older = one.follow(3);
    one.step(|member, step| member.end_role(step, "server 3 looks for a leader itself", false));
    let dial = one.follow(2);
    one.hear(Event::LeaderDialed { dial: older, link: LinkId(1) });
    assert_eq!(one.wants(), [format!("{:?}", Action::CloseLink(LinkId(1)))]);
    let until = one.member.next_timeout();
    one.hear(Event::LeaderDialFailed(older));
    assert_eq!(one.member.next_timeout(), until, "its own dial is under way");
    one.hear(Event::LeaderDialed { dial, link: LinkId(2) });
    assert!(!one.output(LinkId(2)).is_empty(), "FOLLOWERINFO");
}

#[test]
fn a_timer_ends_with_its_role() {
    let mut one = Fixture::new(2);
    let dial = one.follow(3);
    one.hear(Event::LeaderDialFailed(dial));
    let retry_at = one.member.next_timeout().expect("it tries again");
    one.step(|member, step| member.end_role(step, "server 3 looks for a leader itself", false));
    one.step(|member, step| member.begin_to_lead(step));
    one.wants();
    one.now.mono = retry_at;
    one.hear(Event::Timeout);
    assert_eq!(one.wants(), [""; 0], "it leads, and dials nobody");
}

#[test]
fn what_was_looked_up_for_a_link_that_is_gone_is_not_for_the_next_of_the_same_learner() {
    let mut one = Fixture::new(5);
    let gone = one.lead_and_locate(1);
    one.hear(Event::Closed(gone));
    let link = one.follower_comes(2);
    one.promise(link);
    one.output(link);
    let meeting = Some(Meeting { before: Some(z(1, 1)), at_or_after: Some(z(1, 2)) });
    one.hear(Event::Located { link: gone, meeting });
    one.hear(Event::LogPiece { link: gone, entries: vec![(z(1, 3), Box::from([0]))], end: true });
    assert!(one.output(link).is_empty());
    one.hear(Event::Located { link, meeting });
    assert!(!one.output(link).is_empty(), "DIFF");
}

#[test]
fn the_log_is_not_taken_for_broken_by_the_reader_of_a_link_that_is_gone() {
    let mut one = Fixture::new(5);
    let gone = one.lead_and_locate(1);
    one.hear(Event::Closed(gone));
    one.hear(Event::LogBroken(gone));
    one.wants();
    let link = one.follower_comes(2);
    one.promise(link);
    assert_eq!(one.wants(), [locate(link)], "the log is asked");
}

#[test]
fn the_shell_is_told_of_a_link_that_is_gone_so_that_it_stops_to_read_the_log_for_it() {
    let mut one = Fixture::new(5);
    let link = one.lead_and_locate(1);
    one.hear(Event::Closed(link));
    assert_eq!(one.wants(), [format!("{:?}", Action::CloseLink(link))]);
}

#[test]
fn learners_that_do_not_say_who_they_are_make_room_for_newer_ones() {
    let mut one = Fixture::new(5);
    one.step(|member, step| member.begin_to_lead(step));
    one.wants();
    let known = one.follower_comes(1);
    one.wants();
    for link in 2..=1 + links::STRANGERS_MAX as u64 {
        one.hear(Event::LearnerConnected(LinkId(link)));
    }
    assert_eq!(one.wants(), [""; 0]);
    one.hear(Event::LearnerConnected(LinkId(1000)));
    assert_eq!(one.wants(), [format!("{:?}", Action::CloseLink(LinkId(2)))], "the oldest of them goes");
    one.hear(Event::EpochPersisted(EpochFile::Accepted));
    assert!(!one.output(known).is_empty(), "LEADERINFO");
}

/// A follower of the leader that proposed five servers has cut that off its log.
#[test]
fn a_membership_that_was_proposed_in_vain_is_forgotten_once_the_leaders_history_is_there() {
    let mut views = Views::new(membership(3, z(1, 0)));
    views.propose(membership(5, z(1, 3)));
    let mut one = Fixture::with(3, views, true);
    let link = one.follow_over(1);
    let config = membership(3, z(1, 0)).to_string();
    let new_leader = Packet::NewLeader { zxid: z(2, 0), config: Some(config.as_bytes().into()) };
    one.receive(link, &[leader_info(2)]);
    one.hear(Event::EpochPersisted(EpochFile::Accepted));
    one.receive(link, &[Packet::Trunc { zxid: z(1, 2) }, new_leader]);
    one.wants();
    assert_eq!(one.member.views().last_seen().version, z(1, 3), "a crash would find it in the log");
    one.hear(Event::StateLoaded(state(2)));
    assert_eq!(one.member.views().last_seen().version, z(1, 0));
    let wants = one.wants();
    assert!(
        wants[0].starts_with("Membership("),
        "on disk before the epoch that the ACK waits for: {wants:?}"
    );
    assert_eq!(wants[1..], ["PersistEpoch(Current, 2)"]);
}

/// Its leader moves to another port, for which it gives up leading, while this server is being synchronised.
#[test]
fn a_reconfiguration_in_the_middle_of_a_synchronisation_sends_it_to_the_leader_that_it_names() {
    let views = Views::new(membership(3, z(1, 0)));
    let config = views.committed().to_string();
    let mut one = Fixture::with(2, views, true);
    let link = one.follow_over(1);
    one.receive(link, &[leader_info(2)]);
    one.hear(Event::EpochPersisted(EpochFile::Accepted));
    let config = Some(config.as_bytes().into());
    one.receive(link, &[Packet::Diff { zxid: z(1, 2) }, Packet::NewLeader { zxid: z(2, 0), config }]);
    one.hear(Event::EpochPersisted(EpochFile::Current));
    one.wants();
    let next = format!("server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:7:2\nversion={:x}", z(2, 1).0);
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: z(2, 1), time: 0, kind: 16 };
    let txn = Txn::Reconfig { path: "/zookeeper/config".into(), data: Some(next.as_bytes()), version: -1 };
    let mut payload = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut payload);
    let proposal = Packet::Proposal(Entry::from_payload(&payload).expect("just encoded"));
    let activate = Packet::CommitAndActivate { zxid: z(2, 1), designated: ServerId(2) };
    one.receive(link, &[proposal, activate]);
    assert!(!one.wants().iter().any(|want| want.starts_with("DialLeader")), "its log is not on disk");
    one.hear(Event::LogSynced { through: z(2, 1) });
    let wants = one.wants();
    let dial = wants.iter().find(|want| want.starts_with("DialLeader")).expect("another leader is named");
    assert!(dial.contains("h2"), "{dial}");
}

#[test]
fn a_membership_that_still_waits_for_its_quorum_is_seen_and_not_in_force() {
    let next = membership(5, z(2, 4));
    let mut one = Fixture::with(2, Views::new(membership(3, z(1, 0))), true);
    let link = one.follow_over(1);
    one.receive(link, &[leader_info(2)]);
    one.hear(Event::EpochPersisted(EpochFile::Accepted));
    let config = Some(next.to_string().as_bytes().into());
    one.receive(link, &[Packet::Diff { zxid: z(1, 2) }, Packet::NewLeader { zxid: z(2, 0), config }]);
    one.hear(Event::EpochPersisted(EpochFile::Current));
    one.receive(link, &[Packet::UpToDate]);
    assert_eq!(one.server.serving(), Serving::Learning);
    let views = one.member.views();
    assert_eq!((views.committed().version, views.last_seen().version), (z(1, 0), z(2, 4)));
}
