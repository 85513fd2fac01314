//! One rule, one test: the connections' rules, and those of the election that need no conversation.

use super::*;
use crate::quorum::connections::{Action, Event as Net, INBOX_MAX, Why};
use crate::quorum::election::{Action as ElectionAction, Designated};
use crate::wire::address::HostPort;
use crate::wire::quorum::Misbehaved;
use crate::wire::quorum::election::{Form, Initial};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// Connections of server 2 of three.
struct Fixture {
    connections: Connections,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { connections: connections(2, ensemble(3, 0)), now: Instant(0) }
    }

    fn tell(&mut self, event: Net<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.connections.handle(self.now, event, &mut actions);
        actions
    }

    /// Accepts `conn` and hears `initial` on it.
    fn greeted(&mut self, conn: ConnId, initial: &[u8]) -> Vec<Action> {
        assert_eq!(self.tell(Net::Accepted(conn)), []);
        self.tell(Net::Received { conn, bytes: initial })
    }

    fn send(&mut self, to: i64, frame: &[u8]) -> Vec<Action> {
        self.tell(Net::Send { to: ServerId(to), frame: frame.to_vec() })
    }
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort { host: host.into(), port }
}

fn initial(sid: i64, address: HostPort) -> Vec<u8> {
    Initial { sid: ServerId(sid), form: Form::OneAddress, addresses: vec![address] }.encode()
}

fn dial(sid: i64, address: HostPort) -> Action {
    Action::Dial { to: ServerId(sid), addresses: vec![address] }
}

/// The bytes that were sent first.
fn initial_of(actions: &[Action]) -> Vec<u8> {
    let sent = actions.iter().find_map(|action| match action {
        Action::Send { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    sent.expect("an introduction")
}

fn close(conn: ConnId, why: Why) -> Action {
    Action::Close { conn, why }
}

fn sent(conn: ConnId, bytes: &[u8]) -> Action {
    Action::Send { conn, bytes: bytes.to_vec() }
}

#[test]
fn the_larger_server_keeps_the_connection_it_has_opened() {
    let mut two = Fixture::new();
    assert_eq!(two.send(1, b"vote"), [dial(1, at("h1", 10))]);
    let greeting = sent(A, &initial(2, at("h2", 11)));
    let up = Action::Connected(ServerId(1));
    assert_eq!(two.tell(Net::Dialed { to: ServerId(1), conn: A }), [greeting, up, sent(A, b"vote")]);
}

#[test]
fn the_smaller_server_says_who_it_is_and_hangs_up() {
    let mut two = Fixture::new();
    assert_eq!(two.send(3, b"vote"), [dial(3, at("h3", 12))]);
    let greeting = sent(A, &initial(2, at("h2", 11)));
    let dialed = two.tell(Net::Dialed { to: ServerId(3), conn: A });
    assert_eq!(dialed, [greeting, close(A, Why::OtherSideOpens)]);
    // And is called back.
    let called = two.greeted(B, &initial(3, at("h3", 12)));
    assert_eq!(called, [Action::Connected(ServerId(3)), sent(B, b"vote")]);
}

#[test]
fn a_smaller_server_is_called_back_where_it_says_it_is() {
    let mut two = Fixture::new();
    let called = two.greeted(A, &initial(1, at("elsewhere", 9)));
    assert_eq!(called, [close(A, Why::OtherSideOpens), dial(1, at("elsewhere", 9))]);
}

#[test]
fn a_wildcard_is_no_address_to_call_back() {
    let mut two = Fixture::new();
    let called = two.greeted(A, &initial(1, at("0.0.0.0", 9)));
    assert_eq!(called, [close(A, Why::OtherSideOpens), dial(1, at("h1", 10))]);
    assert_eq!(two.greeted(B, &initial(0, at("0.0.0.0", 9))), [close(B, Why::OtherSideOpens)]);
}

#[test]
fn a_good_connection_gives_way_to_a_new_one() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    let again = two.greeted(B, &initial(3, at("h3", 12)));
    assert_eq!(again, [close(A, Why::Replaced), Action::Connected(ServerId(3))]);
    // Its end is no news.
    assert_eq!(two.tell(Net::Closed(A)), []);
    assert_eq!(two.send(3, b"vote"), [sent(B, b"vote")]);
}

#[test]
fn a_smaller_server_that_calls_again_has_lost_its_connection() {
    let mut two = Fixture::new();
    two.send(1, b"vote");
    two.tell(Net::Dialed { to: ServerId(1), conn: A });
    let called = two.greeted(B, &initial(1, at("h1", 10)));
    assert_eq!(called, [close(A, Why::Replaced), close(B, Why::OtherSideOpens), dial(1, at("h1", 10))]);
}

/// 2164: after a mix-up of addresses a server voted with itself. B9: Java forgets the socket, which stays open.
#[test]
fn zookeeper_2164_b9_who_says_that_it_is_this_server_is_hung_up_on() {
    assert_eq!(Fixture::new().greeted(A, &initial(2, at("h2", 11))), [close(A, Why::OwnId)]);
    assert_eq!(Fixture::new().send(2, b"vote"), [], "nor is anything said to oneself");
}

#[test]
fn a_server_without_an_id_is_called_back_under_another_one() {
    let mut two = Fixture::new();
    for (conn, sid) in [(A, -1), (B, -2)] {
        let called = two.greeted(conn, &initial(i64::MAX, at("observer", 9)));
        assert_eq!(called, [close(conn, Why::OtherSideOpens), dial(sid, at("observer", 9))]);
    }
}

#[test]
fn a_newer_message_replaces_one_that_has_not_left() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    assert_eq!(two.send(3, b"first"), [sent(A, b"first")]);
    assert_eq!(two.send(3, b"second"), []);
    assert_eq!(two.send(3, b"third"), []);
    assert_eq!(two.tell(Net::Written(A)), [sent(A, b"third")]);
    assert_eq!(two.tell(Net::Written(A)), []);
}

#[test]
fn what_was_said_last_is_said_again_on_the_next_connection() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    two.send(3, b"vote");
    two.tell(Net::Closed(A));
    let again = two.greeted(B, &initial(3, at("h3", 12)));
    assert_eq!(again[1..], [sent(B, b"vote")]);
    // But not instead of something newer.
    two.tell(Net::Closed(B));
    two.send(3, b"newer");
    assert_eq!(two.greeted(A, &initial(3, at("h3", 12)))[1..], [sent(A, b"newer")]);
}

/// A leader was killed: the vote that follows may have gone to the connection with the dead process. Waiting for its own
/// vote cost every fail-over 200 ms.
#[test]
fn what_was_said_last_is_worth_another_connection() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    two.send(3, b"vote");
    assert_eq!(two.tell(Net::Closed(A)), [dial(3, at("h3", 12))]);
    assert_eq!(two.tell(Net::DialFailed { to: ServerId(3) }), [Action::Unreachable(ServerId(3))]);
    assert_eq!(two.connections.next_timeout(), None);
}

/// A dying process closes its listening port last.
#[test]
fn who_could_be_called_but_does_not_call_back_is_called_once_more() {
    let mut two = Fixture::new();
    two.send(3, b"vote");
    two.now = Instant::from_millis(10);
    two.tell(Net::Dialed { to: ServerId(3), conn: A });
    // Four times what connecting took.
    assert_eq!(two.connections.next_timeout(), Some(Instant::from_millis(50)));
    two.now = Instant::from_millis(50);
    assert_eq!(two.tell(Net::Timeout), [dial(3, at("h3", 12))]);
    two.tell(Net::Dialed { to: ServerId(3), conn: B });
    assert_eq!(two.connections.next_timeout(), None, "and not once more");
}

#[test]
fn who_hangs_up_on_whatever_it_hears_is_called_twice_and_no_more() {
    let mut two = Fixture::new();
    let dialed = |two: &mut Fixture, conn| two.tell(Net::Dialed { to: ServerId(1), conn });
    two.send(1, b"vote");
    dialed(&mut two, A);
    assert_eq!(two.tell(Net::Closed(A)), [dial(1, at("h1", 10))]);
    dialed(&mut two, B);
    assert_eq!(two.tell(Net::Closed(B)), []);
    two.now = two.connections.next_timeout().expect("it is called again");
    assert_eq!(two.tell(Net::Timeout), [dial(1, at("h1", 10))]);
    dialed(&mut two, A);
    assert_eq!(two.tell(Net::Closed(A)), []);
    assert_eq!(two.connections.next_timeout(), None);
}

#[test]
fn there_is_one_attempt_to_connect_at_a_time() {
    let mut two = Fixture::new();
    assert_eq!(two.send(1, b"a").len(), 1);
    assert_eq!(two.send(1, b"b"), []);
    assert_eq!(two.tell(Net::ConnectAll), []);
    assert_eq!(two.tell(Net::DialFailed { to: ServerId(1) }), [Action::Unreachable(ServerId(1))]);
    assert_eq!(two.tell(Net::ConnectAll), [dial(1, at("h1", 10))]);
}

#[test]
fn an_opener_that_says_nothing_is_hung_up_on_in_time() {
    let mut two = Fixture::new();
    two.tell(Net::Accepted(A));
    assert_eq!(two.connections.next_timeout(), Some(Instant::from_millis(5000)));
    two.now = Instant::from_millis(4999);
    assert_eq!(two.tell(Net::Timeout), []);
    two.now = Instant::from_millis(5000);
    assert_eq!(two.tell(Net::Timeout), [close(A, Why::NoGreeting)]);
    assert_eq!(two.connections.next_timeout(), None);
}

#[test]
fn openers_that_say_nothing_cannot_pile_up() {
    let mut two = Fixture::new();
    for id in 0..64 {
        assert_eq!(two.tell(Net::Accepted(ConnId(id))), []);
    }
    assert_eq!(two.tell(Net::Accepted(ConnId(64))), [close(ConnId(0), Why::NoGreeting)]);
}

#[test]
fn strangers_cannot_pile_up_and_are_forgotten() {
    let mut two = Fixture::new();
    for id in 0..64 {
        let called = two.greeted(ConnId(id), &initial(100 + id as i64, at("x", 1)));
        assert!(matches!(called[..], [Action::Connected(_)]));
    }
    let greeting = initial(99, at("x", 1));
    assert_eq!(two.greeted(ConnId(64), &greeting), [close(ConnId(64), Why::TooManyStrangers)]);
    two.tell(Net::Closed(ConnId(7)));
    assert_eq!(two.greeted(ConnId(65), &greeting), [Action::Connected(ServerId(99))]);
}

/// B11: Java refuses a greeting that comes in two segments.
#[test]
fn b11_messages_are_taken_in_whatever_pieces_they_come() {
    let mut two = Fixture::new();
    let bytes = [&initial(3, at("h3", 12))[..], b"\0\0\0\x02ab", b"\0\0\0\x01c"].concat();
    two.tell(Net::Accepted(A));
    for byte in &bytes {
        two.tell(Net::Received { conn: A, bytes: std::slice::from_ref(byte) });
    }
    let three = ServerId(3);
    assert_eq!(two.connections.next_message(), Some((three, b"ab".to_vec())));
    assert_eq!(two.connections.next_message(), Some((three, b"c".to_vec())));
    assert_eq!(two.connections.next_message(), None);
}

#[test]
fn of_too_many_messages_the_newest_are_kept() {
    let mut two = Fixture::new();
    let frames: Vec<u8> = (0..=INBOX_MAX as u8).flat_map(|n| [0, 0, 0, 1, n]).collect();
    let greeting = initial(3, at("h3", 12));
    two.greeted(A, &[&greeting[..], &frames].concat());
    assert_eq!(two.connections.next_message(), Some((ServerId(3), vec![1])));
    assert_eq!(std::iter::from_fn(|| two.connections.next_message()).count(), INBOX_MAX - 1);
}

#[test]
fn a_bad_frame_costs_its_connection_and_nothing_else() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    let bad = two.tell(Net::Received { conn: A, bytes: &[0, 0, 0, 1, 7, 0, 8, 0, 1] });
    assert_eq!(bad, [close(A, Why::Misbehaved(Misbehaved::FrameLength { len: 524_289 }))]);
    assert_eq!(two.greeted(B, &initial(3, at("h3", 12))), [Action::Connected(ServerId(3))]);
}

#[test]
fn a_restart_closes_and_forgets_everything() {
    let mut two = Fixture::new();
    two.greeted(A, &initial(3, at("h3", 12)));
    two.send(1, b"vote");
    let views = Views::new(ensemble(4, 0));
    let closed = two.tell(Net::Reconfigured { views, restart: true });
    assert_eq!(closed, [close(A, Why::Restart)]);
    assert_eq!(two.tell(Net::Dialed { to: ServerId(1), conn: B }), [close(B, Why::NotWanted)]);
    assert_eq!(two.tell(Net::ConnectAll), []);
}

/// What an election does with one event, at one time.
fn after(election: &mut Election, ms: u64, event: Event<'_>) -> Vec<ElectionAction> {
    let mut actions = Vec::new();
    election.handle(Instant::from_millis(ms), event, &mut actions);
    actions
}

#[test]
fn malformed_messages_are_ignored_in_every_state() {
    let mut one = election(1, ensemble(3, 0));
    for bytes in [&[][..], &[0; 20], &[0; 43]] {
        assert_eq!(after(&mut one, 0, Event::Message { from: ServerId(2), body: bytes }), []);
    }
}

#[test]
fn a_server_answers_before_it_has_begun_to_look() {
    let mut one = election(1, ensemble(3, 0));
    let asked = body(PeerState::Looking, vote(9, 0, 0), 1, "");
    let answer = after(&mut one, 0, Event::Message { from: ServerId(9), body: &asked });
    assert!(matches!(&answer[..], [ElectionAction::Send { to: ServerId(9), .. }]));
}

#[test]
fn repetitions_become_rarer_up_to_a_limit() {
    let pace = Pace { resend_max: Millis(700), ..Pace::default() };
    let mut one = Election::new(ServerId(1), Views::new(ensemble(3, 0)), false, pace);
    after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    let mut times = Vec::new();
    for _ in 0..4 {
        let when = one.next_timeout().expect("it looks").millis();
        assert_eq!(after(&mut one, when, Event::Timeout { delivered: true }).len(), 2);
        times.push(when);
    }
    assert_eq!(times, [200, 600, 1300, 2000]);
    let connect = after(&mut one, 2700, Event::Timeout { delivered: false });
    assert_eq!(connect, [ElectionAction::ConnectAll]);
}

/// B6: a voter with an old round and a server without a vote answered each other without a pause.
#[test]
fn b6_a_storm_of_questions_is_answered_in_measure_and_does_not_delay_the_own_repetitions() {
    let mut one = election(1, ensemble(3, 0));
    after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    let asked = body(PeerState::Looking, Vote::NOBODY, 1, "");
    let answers: usize = (0..200)
        .map(|ms| after(&mut one, ms, Event::Message { from: ServerId(9), body: &asked }).len())
        .sum();
    assert_eq!(answers, 4, "one in 50 ms");
    assert_eq!(one.next_timeout(), Some(Instant::from_millis(200)));
}

#[test]
fn a_server_of_weight_zero_is_nobodys_leader() {
    let text = format!("{}\ngroup.1=1:2:3\nweight.3=0", ensemble(3, 0));
    let mut one = election(1, membership(&text));
    after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    let best = body(PeerState::Looking, vote(3, 99, 99), 1, "");
    assert_eq!(after(&mut one, 0, Event::Message { from: ServerId(3), body: &best }), []);
}

#[test]
fn a_designated_leader_leads_without_an_election() {
    for (leader, state) in [(1, PeerState::Leading), (2, PeerState::Following)] {
        let mut one = election(1, ensemble(3, 0));
        let designated = Some(Designated { leader: ServerId(leader), zxid: Zxid(7) });
        let views = Views::new(ensemble(4, 0));
        assert_eq!(after(&mut one, 0, Event::Reconfigured { views, designated }), []);
        assert_eq!((one.state(), one.round(), one.current_vote()), (state, 0, vote(leader, 7, -1)));
    }
}

#[test]
fn a_newer_membership_of_a_peer_begins_the_election_again_if_reconfiguration_is_enabled() {
    let newer = format!("{}5", ensemble(5, 0));
    let heard = body(PeerState::Looking, vote(2, 0, 0), 4, &newer);
    for enabled in [true, false] {
        let views = Views::new(ensemble(3, 0));
        let mut one = Election::new(ServerId(1), views, enabled, Pace::default());
        after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
        let actions = after(&mut one, 0, Event::Message { from: ServerId(2), body: &heard });
        if enabled {
            let adopt = ElectionAction::Adopt { membership: membership(&newer), restart: true };
            assert_eq!(actions[0], adopt);
            assert_eq!((actions.len(), one.round()), (5, 1), "it asks four servers in a new first round");
        } else {
            assert_eq!((actions.len(), one.round()), (2, 4), "it asks two servers in the peer's round");
        }
    }
}

/// ZOOKEEPER-1732, 1805, 1818: followers of one leader that joined it at different times name it with other
/// zxids and rounds. A joiner must still find that they agree.
#[test]
fn zookeeper_1732_votes_from_different_times_agree_on_their_leader() {
    let mut one = election(1, ensemble(3, 0));
    after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    let follower = body(PeerState::Following, vote(3, 5, 2), 9, "");
    let leader = body(PeerState::Leading, vote(3, 1, 2), 4, "");
    assert_eq!(after(&mut one, 0, Event::Message { from: ServerId(2), body: &follower }), []);
    let joined = after(&mut one, 0, Event::Message { from: ServerId(3), body: &leader });
    assert!(matches!(&joined[..], [ElectionAction::Elected { leader: ServerId(3), .. }]));
    assert_eq!((one.state(), one.round()), (PeerState::Following, 4));
}

/// Another server with this one's myid leads. The operator is told, because nothing else can help.
#[test]
fn a_server_that_is_followed_although_it_looks_knows_by_whom() {
    let mut two = election(2, ensemble(3, 0));
    after(&mut two, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    assert!(two.mistaken().is_empty());
    for (from, leader) in [(1, 2), (3, 3)] {
        let theirs = body(PeerState::Following, vote(leader, 5, 2), 9, "");
        after(&mut two, 0, Event::Message { from: ServerId(from), body: &theirs });
    }
    assert_eq!(two.state(), PeerState::Looking);
    assert_eq!(two.mistaken(), [ServerId(1)].into());
}

/// ZOOKEEPER-3769: a message that cannot be read ended Java's receiving thread, and with it all elections.
#[test]
fn zookeeper_3769_a_malformed_membership_does_not_cost_the_vote() {
    let views = Views::new(ensemble(3, 0));
    let mut one = Election::new(ServerId(1), views, true, Pace::default());
    after(&mut one, 0, Event::Look { zxid: Zxid(0), epoch: 0 });
    let better = body(PeerState::Looking, vote(2, 0, 0), 1, "rubbish=1\nversion=zz");
    assert_eq!(after(&mut one, 0, Event::Message { from: ServerId(2), body: &better }).len(), 2);
}

/// ZOOKEEPER-4787: host names went out in the platform's character set.
#[test]
fn zookeeper_4787_host_names_are_utf_8() {
    let bytes = initial(1, at("zürich", 9));
    assert_eq!(bytes[16..], *b"\0\0\0\x09z\xc3\xbcrich:9");
    let called = Fixture::new().greeted(A, &bytes);
    assert_eq!(called, [close(A, Why::OtherSideOpens), dial(1, at("zürich", 9))]);
}

/// ZOOKEEPER-335, 1081, 1082: the epoch that a leader had begun was not in its votes, so its own quorum lost to them.
#[test]
fn zookeeper_1081_the_vote_to_answer_with_has_the_epoch_that_was_begun() {
    let mut one = election(1, ensemble(2, 0));
    after(&mut one, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    let two = body(PeerState::Looking, vote(1, 9, 4), 1, "");
    after(&mut one, 0, Event::Message { from: ServerId(2), body: &two });
    assert_eq!((one.state(), one.current_vote()), (PeerState::Leading, vote(1, 9, 4)));
    after(&mut one, 0, Event::Synced { epoch: 5 });
    assert_eq!(one.current_vote(), vote(1, 9, 5));
}

/// ZOOKEEPER-3109: a server may lead for the votes of voters that have changed their mind. It is told of each that looks
/// again; by itself it waits for no longer than initLimit (`zab::tests::rules::waits_for_a_quorum_end`).
#[test]
fn zookeeper_3109_a_leader_hears_of_voters_that_look_elsewhere() {
    let mut one = election(1, ensemble(2, 0));
    after(&mut one, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    let mine = body(PeerState::Looking, vote(1, 9, 4), 1, "");
    after(&mut one, 0, Event::Message { from: ServerId(2), body: &mine });
    assert_eq!(one.state(), PeerState::Leading);
    let looks = body(PeerState::Looking, vote(2, 9, 4), 2, "");
    let heard = after(&mut one, 0, Event::Message { from: ServerId(2), body: &looks });
    assert_eq!(heard[0], ElectionAction::VoterLooks(ServerId(2)));
}

/// Voters that look answer an observer with the leader they had, Java's as well. Two such answers agreed, and the observer
/// went to the dead leader for two seconds.
#[test]
fn an_observer_does_not_take_the_leader_that_voters_had_for_the_next_one() {
    let mut four = election(4, ensemble(3, 1));
    after(&mut four, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    let before = body(PeerState::Looking, vote(3, 5, 4), 1, "");
    for from in [1, 2, 3] {
        after(&mut four, 0, Event::Message { from: ServerId(from), body: &before });
        assert_eq!(four.state(), PeerState::Looking);
    }
    let after_it = |state| body(state, vote(2, 9, 4), 1, "");
    after(&mut four, 1, Event::Message { from: ServerId(1), body: &after_it(PeerState::Following) });
    let told = after(&mut four, 1, Event::Message { from: ServerId(2), body: &after_it(PeerState::Leading) });
    assert!(matches!(&told[..], [ElectionAction::Elected { leader: ServerId(2), .. }]), "{told:?}");
}

#[test]
fn an_observer_that_asked_during_an_election_is_told_who_won() {
    let mut one = election(1, ensemble(2, 1));
    after(&mut one, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    let asked = body(PeerState::Looking, Vote::NOBODY, 1, "");
    after(&mut one, 0, Event::Message { from: ServerId(3), body: &asked });
    let mine = body(PeerState::Looking, vote(1, 9, 4), 1, "");
    let actions = after(&mut one, 0, Event::Message { from: ServerId(2), body: &mine });
    let frames = actions.iter().filter_map(|action| match action {
        ElectionAction::Send { to: ServerId(3), frame } => Some(&frame[4..]),
        _ => None,
    });
    let told: Vec<_> = frames.map(|frame| Notification::decode(frame).expect("our own").state).collect();
    assert_eq!(told, [PeerState::Leading], "{actions:?}");
}

#[test]
fn who_hears_of_a_leader_after_long_asks_the_others_soon() {
    let mut four = election(4, ensemble(3, 1));
    after(&mut four, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    for _ in 0..6 {
        let when = four.next_timeout().expect("it looks").millis();
        after(&mut four, when, Event::Timeout { delivered: true });
    }
    let leads = body(PeerState::Leading, vote(3, 9, 4), 1, "");
    after(&mut four, 13_000, Event::Message { from: ServerId(3), body: &leads });
    assert_eq!(four.next_timeout(), Some(Instant::from_millis(13_200)));
}

/// The winner waits for better votes while its followers know already: it repeats itself in the round that it wins.
#[test]
fn a_follower_hears_of_its_leader_looking_again_but_not_of_it_looking_still() {
    let mut two = election(2, ensemble(2, 0));
    after(&mut two, 0, Event::Look { zxid: Zxid(9), epoch: 4 });
    let winner = |round| body(PeerState::Looking, vote(1, 10, 4), round, "");
    after(&mut two, 0, Event::Message { from: ServerId(1), body: &winner(1) });
    assert_eq!(two.state(), PeerState::Following);
    let told = ElectionAction::VoterLooks(ServerId(1));
    for (round, heard) in [(1, false), (2, true)] {
        let actions = after(&mut two, 0, Event::Message { from: ServerId(1), body: &winner(round) });
        assert_eq!(actions.contains(&told), heard, "round {round}: {actions:?}");
    }
}

/// Seed 41 of the network test: the voter had been part of the quorum, and followed another leader before the
/// wait for better votes was over.
#[test]
fn a_quorum_that_dissolves_during_the_wait_does_not_win() {
    let mut one = election(1, ensemble(5, 0));
    after(&mut one, 0, Event::Look { zxid: Zxid(9), epoch: 0 });
    let mine = body(PeerState::Looking, vote(1, 9, 0), 1, "");
    for sid in [2, 3] {
        after(&mut one, 0, Event::Message { from: ServerId(sid), body: &mine });
    }
    let follows_another = body(PeerState::Following, vote(4, 0, 0), 1, "");
    assert_eq!(one.next_timeout(), Some(Instant::from_millis(200)), "a quorum has voted for it");
    after(&mut one, 10, Event::Message { from: ServerId(3), body: &follows_another });
    let actions = after(&mut one, 200, Event::Timeout { delivered: true });
    assert!(!actions.iter().any(|action| matches!(action, ElectionAction::Elected { .. })), "{actions:?}");
    assert_eq!(one.state(), PeerState::Looking);
}

#[test]
fn a_server_that_is_removed_still_says_where_it_is() {
    let mut fixture = Fixture::new();
    fixture.send(1, b"vote");
    let sent = fixture.tell(Net::Dialed { to: ServerId(1), conn: A });
    let first = initial_of(&sent);
    let views = Views::new(membership("server.1=h1:1:2\nserver.3=h3:1:2\nversion=5"));
    fixture.tell(Net::Reconfigured { views, restart: true });
    fixture.send(1, b"vote");
    let sent = fixture.tell(Net::Dialed { to: ServerId(1), conn: B });
    let second = initial_of(&sent);
    assert_eq!(first, second, "an introduction without an address is refused");
}

#[test]
fn a_server_that_hands_over_votes_for_another_and_once_only() {
    let mut three = election(3, ensemble(3, 0));
    after(&mut three, 0, Event::Favour(ServerId(2)));
    let proposed = |actions: Vec<ElectionAction>| {
        let Some(ElectionAction::Send { frame, .. }) = actions.first() else {
            panic!("no vote in {actions:?}")
        };
        Notification::decode(&frame[4..]).expect("its own encoding").vote
    };
    let look = Event::Look { zxid: Zxid(9), epoch: 1 };
    assert_eq!(proposed(after(&mut three, 0, look.clone())), vote(2, 9, 1));
    assert_eq!(proposed(after(&mut three, 1, look.clone())), vote(3, 9, 1));

    after(&mut three, 2, Event::Favour(ServerId(7)));
    assert_eq!(proposed(after(&mut three, 2, look)), vote(3, 9, 1), "who has no vote is not voted for");
}
