//! Sessions between servers: who may go on where, and whose requests a transaction answers.

use super::*;

#[test]
fn a_session_moves_with_its_client_and_its_old_connection_may_not_write() {
    let mut pair = Pair::new();
    let old = pair.client(learner);
    let session = pair.learner.session(old);
    pair.create(learner, old, "/e", 1);
    let (new, answer) = pair.resume(leader, session);
    assert_eq!(answer, Some(session));
    pair.learner.send(old, 1, Op::Exists.code(), &path_and_watch("/e", false));
    assert_eq!(pair.learner.replies(old)[0].err, 0, "learners do not check reads");
    pair.learner.send(old, 2, Op::Create.code(), &create("/late", b"", 0));
    pair.learner.send(old, 3, Op::Exists.code(), &path_and_watch("/e", false));
    pair.learner.send(old, 4, Op::Create.code(), &create("/later", b"", 0));
    pair.run();
    assert_eq!(pair.learner.replies(old), [], "the connection ends instead");
    assert!(pair.learner.is_closed(old));
    assert_eq!(kinds(&pair.history[pair.history.len() - 2..]), [-1, -1]);
    pair.learner.reap();
    assert_eq!(pair.learner.server.in_flight(), 0);
    assert_eq!(pair.create(leader, new, "/e2", 1).err, 0);

    let (back, answer) = pair.resume(learner, session);
    assert_eq!(answer, Some(session));
    pair.leader.send(new, 5, Op::Create.code(), &create("/late", b"", 0));
    pair.leader.send(new, 6, Op::Exists.code(), &path_and_watch("/late", false));
    pair.run();
    assert_eq!(pair.leader.replies(new), []);
    assert!(pair.leader.is_closed(new));
    assert_eq!(pair.create(learner, back, "/e3", 1).err, 0);
    pair.assert_same_trees();
}

#[test]
fn a_multi_of_a_moved_session_that_another_leader_refused_ends_the_connection() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.learner.send(a, 1, Op::Multi.code(), &multi(&[(Op::Check, path_and_version("/", -1))]));
    let txn = Txn::Multi(vec![Txn::Error { code: ErrorCode::SessionMoved.code() }]);
    pair.learner.server.committed(entry(session, 1, Zxid(50), txn));
    pair.learner.sync_rest();
    assert_eq!(pair.learner.replies(a), []);
    assert!(pair.learner.is_closed(a));
}

#[test]
fn a_learner_asks_the_leader_about_a_session_only_with_the_right_password() {
    let mut pair = Pair::new();
    let a = pair.client(leader);
    let session = pair.leader.session(a);
    let stranger = pair.learner.connection();
    assert_eq!(pair.connect(learner, stranger, session, &[1; 16]), Some(SessionId::NONE));
    assert!(pair.learner.is_closed(stranger));
    assert_eq!(pair.sent, []);
    let (nobody, answer) = pair.resume(learner, SessionId(0x0155));
    assert_eq!((answer, pair.sent.len()), (Some(SessionId::NONE), 1));
    assert!(pair.learner.is_closed(nobody));
    let (_, answer) = pair.resume(learner, session);
    assert_eq!(answer, Some(session));
}

#[test]
fn of_two_connections_that_want_one_session_the_later_gets_it() {
    let mut pair = Pair::new();
    let a = pair.client(leader);
    let session = pair.leader.session(a);
    let (older, newer) = (pair.learner.connection(), pair.learner.connection());
    let frame = connect_frame(session.0, 0, &crate::session::password(session));
    pair.learner.bytes(older, &frame);
    pair.learner.bytes(newer, &frame);
    assert!(pair.learner.is_closed(older));
    pair.learner.reap();
    pair.run();
    assert_eq!(pair.learner.connected_as(newer), Some(session));
    assert_eq!(pair.sent.len(), 2, "and the second answer finds nobody");
}

#[test]
fn a_confirmed_session_is_known_before_its_first_request() {
    let mut pair = Pair::new();
    let a = pair.leader.connection();
    pair.leader.bytes(a, &connect_frame(0, 0, &[0; 16]));
    let mut made = Vec::new();
    pair.leader.server.take_made(&mut made);
    let [Made::Txn(Append { zxid, payload })] = &made[..] else { panic!("a createSession: {made:?}") };
    pair.leader.server.committable(*zxid);
    pair.leader.sync_rest();
    let session = pair.leader.connected_as(a).expect("it has a session");
    // The learner is behind: the commit and the leader's word come together.
    let conn = pair.learner.connection();
    let mut bytes = connect_frame(session.0, 0, &crate::session::password(session));
    let consumed = pair.learner.bytes(conn, &bytes);
    bytes.drain(..consumed);
    pair.learner.server.committed(Entry { zxid: *zxid, payload: Rc::clone(payload) });
    pair.ask();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.connected_as(conn), Some(session));
    assert_eq!(pair.create(learner, conn, "/a", 1).err, 0);
}

#[test]
fn what_an_earlier_connection_asked_does_not_answer_the_next_one() {
    let mut pair = Pair::new();
    let old = pair.client(learner);
    let session = pair.learner.session(old);
    pair.learner.send(old, 1, Op::Create.code(), &create("/a", b"", 0));
    pair.ask();
    pair.learner.server.disconnected(old);
    let new = pair.learner.connection();
    pair.learner.bytes(new, &connect_frame(session.0, 0, &crate::session::password(session)));
    pair.ask();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.connected_as(new), Some(session), "the leader's word does not wait for commits");
    pair.learner.send(new, 1, Op::Create.code(), &create("/b", b"", 0));
    pair.run();
    let replies = pair.learner.replies(new);
    assert_eq!((replies.len(), text(&replies[0].body)), (1, "/b".to_string()));
    assert_eq!(pair.learner.server.in_flight(), 0);
}

#[test]
fn what_was_answered_while_its_connection_ended_answers_for_no_later_request() {
    let mut pair = Pair::new();
    let old = pair.client(learner);
    let session = pair.learner.session(old);
    pair.learner.send(old, 7, Op::Create.code(), &create("/a", b"", 0));
    pair.learner.send(old, 8, Op::Exists.code(), &path_and_watch("/a", false));
    pair.learner.send(old, 9, Op::Create.code(), &create("/b", b"", 0));
    pair.learner.send(old, 10, 9999, &[]);
    assert_eq!(pair.learner.server.close_wanted(old), Close::AfterFlush);
    pair.run();
    pair.learner.reap();
    assert_eq!(pair.learner.server.in_flight(), 0);
    let (new, answer) = pair.resume(learner, session);
    assert_eq!(answer, Some(session));
    assert_eq!(pair.create(learner, new, "/c", 0).err, 0, "a client may count anew with each connection");
}

#[test]
fn a_transaction_of_another_kind_is_of_a_request_to_another_server() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.learner.send(a, 1, Op::Delete.code(), &path_and_version("/none", -1));
    let acl = AclList::OPEN;
    let kind = CreateKind::Create { ephemeral: false };
    let txn = CreateTxn { kind, path: "/x".into(), data: None, acl, parent_cversion: 1 };
    pair.learner.server.committed(entry(session, 1, Zxid(50), Txn::Create(txn)));
    pair.learner.sync_rest();
    assert_eq!(pair.learner.replies(a), []);
    let code = ErrorCode::NoNode.code();
    pair.learner.server.committed(entry(session, 1, Zxid(51), Txn::Error { code }));
    pair.learner.sync_rest();
    assert_eq!(pair.learner.replies(a)[0].err, code);
}

#[test]
fn sessions_live_while_their_learner_reports_them_and_the_leader_ends_them() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.create(learner, a, "/e", 1);
    assert_eq!(pair.learner.server.take_touched(), [(session, 10_000)]);
    assert_eq!(pair.learner.server.take_touched(), []);
    for _ in 0..10 {
        pair.leader.pass_ms(3000);
        pair.learner.pass_ms(3000);
        pair.learner.send(a, -2, Op::Ping.code(), &[]);
        let touched = pair.learner.server.take_touched();
        pair.leader.server.touched(pair.leader.now, &touched);
        pair.run();
    }
    assert_eq!(pair.learner.replies(a).len(), 10);
    pair.learner.pass_ms(60_000);
    assert_eq!(pair.learner.server.sessions.len(), 1, "a learner's clock ends no session");
    pair.leader.pass_ms(9000);
    pair.leader.pass_ms(9000);
    pair.run();
    assert_eq!(pair.learner.server.sessions.len(), 0);
    assert!(pair.learner.is_closed(a));
    assert!(pair.learner.output(a).is_empty(), "without a byte");
    assert!(pair.learner.server.tree().find("/e").is_none());
    pair.assert_same_trees();
}

#[test]
fn a_client_on_a_learner_closes_its_session() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.create(learner, a, "/e", 1);
    pair.learner.send(a, 8, Op::Create.code(), &create("/e2", b"", 1));
    pair.learner.send(a, 9, Op::CloseSession.code(), &[]);
    pair.learner.send(a, 10, Op::Create.code(), &create("/e3", b"", 1));
    pair.run();
    let xids: Vec<_> = pair.learner.replies(a).iter().map(|reply| (reply.xid, reply.err)).collect();
    assert_eq!(xids, [(8, 0), (9, 0)], "what follows the close is dropped");
    assert!(pair.learner.is_closed(a));
    assert_eq!(pair.learner.server.tree().ephemeral_count(), 0);
    assert_eq!(pair.leader.server.sessions.state(session), crate::session::SessionState::Unknown);
    let (_, answer) = pair.resume(learner, session);
    assert_eq!(answer, Some(SessionId::NONE));
    pair.assert_same_trees();
}

#[test]
fn what_was_asked_at_another_server_does_not_answer_a_request_of_the_same_number() {
    let mut pair = Pair::new();
    let old = pair.client(leader);
    let session = pair.leader.session(old);
    pair.leader.send(old, 1, Op::Create.code(), &create("/a", b"", 0));
    let new = pair.learner.connection();
    pair.learner.bytes(new, &connect_frame(session.0, 0, &crate::session::password(session)));
    pair.ask();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.connected_as(new), Some(session), "the leader's word does not wait for commits");
    // Behind the move, so the leader refuses it.
    pair.leader.send(old, 2, Op::Create.code(), &create("/late", b"", 0));
    pair.learner.send(new, 1, Op::Create.code(), &create("/b", b"", 0));
    pair.learner.send(new, 2, Op::Create.code(), &create("/c", b"", 0));
    pair.run();
    let replies: Vec<_> =
        pair.learner.replies(new).iter().map(|reply| (reply.xid, reply.err, text(&reply.body))).collect();
    assert_eq!(replies, [(1, 0, "/b".to_string()), (2, 0, "/c".to_string())]);
    assert_eq!(kinds(&pair.history), [Op::CreateSession.code(), 1, -1, 1, 1]);
    assert_eq!(pair.learner.server.in_flight(), 0);
    assert!(!pair.learner.is_closed(new));
    pair.assert_same_trees();
}

#[test]
fn only_a_connection_that_goes_on_with_a_session_and_writes_sends_a_fence_and_only_one() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.create(learner, a, "/a", 0);
    assert_eq!(pair.sent.len(), 2, "the session and the node");
    let (b, _) = pair.resume(learner, session);
    pair.sent.clear();
    pair.call(learner, b, Op::Exists, &path_and_watch("/a", false));
    assert_eq!(pair.sent, []);
    for path in ["/b", "/c"] {
        assert_eq!(pair.create(learner, b, path, 0).err, 0);
    }
    let op = |forward: &Forward| match forward {
        Forward::Request(request) => request.op,
        Forward::Revalidate { .. } => panic!("it has its session"),
    };
    let ops: Vec<_> = pair.sent.iter().map(op).collect();
    assert_eq!(ops, [Op::Sync.code(), 1, 1]);
}

#[test]
fn a_session_that_is_not_committed_at_the_leader_yet_may_move_there() {
    // Its server was faster than the leader at applying it.
    let mut pair = Pair::new();
    let a = pair.learner.connection();
    pair.learner.bytes(a, &connect_frame(0, 0, &[0; 16]));
    pair.ask();
    let session = pair.learner.session(a);
    let (older, newer) = (pair.leader.connection(), pair.leader.connection());
    let frame = connect_frame(session.0, 0, &crate::session::password(session));
    pair.leader.bytes(older, &frame);
    pair.leader.bytes(newer, &frame);
    assert!(pair.leader.is_closed(older));
    assert_eq!(pair.leader.connected_as(newer), None, "it is not made yet");
    pair.answer();
    assert_eq!(pair.leader.connected_as(newer), Some(session));
    assert_eq!(pair.create(leader, newer, "/e", 1).err, 0);
    let stranger = pair.leader.connection();
    assert_eq!(pair.connect(leader, stranger, session, &[1; 16]), Some(SessionId::NONE));
}
