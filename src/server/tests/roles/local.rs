//! Sessions of one server's own, and how they become everybody's.

use super::*;

#[test]
fn local_sessions_cost_no_transaction_and_stay_where_they_are() {
    let sides: [(At, At); 2] = [(leader, learner), (learner, leader)];
    for (at, elsewhere) in sides {
        let mut pair = Pair::with_local_sessions(true);
        let a = pair.client(at);
        let session = at(&mut pair).session(a);
        assert_ne!(session, SessionId::NONE);
        assert_eq!((pair.history.len(), pair.sent.len()), (0, 0));
        assert_eq!(pair.create(at, a, "/a", 0).err, 0, "what stays may be written");
        assert_eq!(kinds(&pair.history), [1]);
        let (refused, answer) = pair.resume(elsewhere, session);
        assert_eq!(answer, Some(SessionId::NONE));
        assert!(elsewhere(&mut pair).is_closed(refused));
        pair.sent.clear();
        let (again, answer) = pair.resume(at, session);
        assert_eq!((answer, pair.sent.len()), (Some(session), 0));
        at(&mut pair).send(again, 1, Op::Create.code(), &create("/b", b"", 0));
        at(&mut pair).send(again, 2, Op::CloseSession.code(), &[]);
        at(&mut pair).send(again, 3, Op::Create.code(), &create("/c", b"", 0));
        pair.run();
        let xids: Vec<_> = at(&mut pair).replies(again).iter().map(|reply| (reply.xid, reply.err)).collect();
        assert_eq!(xids, [(1, 0), (2, 0)]);
        assert!(at(&mut pair).is_closed(again));
        assert_eq!(kinds(&pair.history), [1, 1]);
        let (_, answer) = pair.resume(at, session);
        assert_eq!(answer, Some(SessionId::NONE));
    }
}

#[test]
fn a_local_session_whose_client_closes_it_and_leaves_is_gone() {
    for at in [leader as At, learner] {
        let mut pair = Pair::with_local_sessions(true);
        let a = pair.client(at);
        at(&mut pair).send(a, 1, Op::Create.code(), &create("/a", b"", 0));
        at(&mut pair).send(a, 2, Op::CloseSession.code(), &[]);
        at(&mut pair).server.disconnected(a);
        pair.run();
        assert_eq!(kinds(&pair.history), [1]);
        assert_eq!((at(&mut pair).server.sessions.local_len(), at(&mut pair).server.in_flight()), (0, 0));
    }
}

#[test]
fn a_local_session_expires_where_it_is() {
    let mut pair = Pair::with_local_sessions(true);
    let a = pair.client(learner);
    pair.learner.pass_ms(4000);
    assert!(!pair.learner.is_closed(a));
    pair.learner.server.sessions.touch(pair.learner.session(a), pair.learner.now.mono);
    pair.learner.pass_ms(9000);
    assert_eq!(pair.learner.server.sessions.local_len(), 1);
    pair.learner.pass_ms(4000);
    assert!(pair.learner.is_closed(a));
    assert_eq!((pair.learner.server.sessions.local_len(), pair.history.len()), (0, 0));
}

#[test]
fn a_local_session_becomes_global_for_its_first_ephemeral() {
    let in_a_multi = multi(&[(Op::Check, path_and_version("/", -1)), (Op::Create, create("/e", b"", 1))]);
    for at in [leader as At, learner] {
        for (op, body) in [(Op::Create, create("/e", b"", 1)), (Op::Multi, in_a_multi.clone())] {
            let mut pair = Pair::with_local_sessions(true);
            let a = pair.client(at);
            let session = at(&mut pair).session(a);
            at(&mut pair).send(a, 1, Op::Create.code(), &create("/a", b"", 0));
            at(&mut pair).send(a, 2, op.code(), &body);
            at(&mut pair).send(a, 3, Op::Create.code(), &create("/e2", b"", 3));
            at(&mut pair).send(a, 4, Op::Exists.code(), &path_and_watch("/e", false));
            pair.run();
            let xids: Vec<_> = at(&mut pair).replies(a).iter().map(|reply| (reply.xid, reply.err)).collect();
            assert_eq!(xids, [(1, 0), (2, 0), (3, 0), (4, 0)]);
            assert_eq!(kinds(&pair.history), [1, Op::CreateSession.code(), op.code(), 1]);
            assert!(pair.leader.server.sessions.is_global(session));
            assert!(pair.learner.server.sessions.is_global(session));
            assert_eq!(at(&mut pair).server.sessions.local_len(), 0);
            assert_eq!(pair.leader.server.tree().ephemerals(session).len(), 2);
            assert_eq!(at(&mut pair).server.in_flight(), 0);
            pair.assert_same_trees();
        }
    }
}

#[test]
fn a_session_that_closes_while_it_becomes_global_leaves_nothing() {
    for at in [leader as At, learner] {
        let mut pair = Pair::with_local_sessions(true);
        let a = pair.client(at);
        at(&mut pair).send(a, 1, Op::Create.code(), &create("/e", b"", 1));
        at(&mut pair).send(a, 2, Op::CloseSession.code(), &[]);
        at(&mut pair).send(a, 3, Op::Create.code(), &create("/e2", b"", 1));
        pair.run();
        let xids: Vec<_> = at(&mut pair).replies(a).iter().map(|reply| (reply.xid, reply.err)).collect();
        assert_eq!(xids, [(1, 0), (2, 0)]);
        assert_eq!(pair.leader.server.tree().ephemeral_count(), 0);
        assert_eq!((pair.leader.server.sessions.len(), at(&mut pair).server.sessions.local_len()), (0, 0));
        pair.assert_same_trees();
    }
}

#[test]
fn nothing_comes_behind_the_close_of_a_session_in_the_making() {
    let mut pair = Pair::new();
    let session = SessionId(2 << 56 | 9);
    let asked = [
        (0, Op::CreateSession, 10_000i32.to_be_bytes().to_vec()),
        (1, Op::Create, create("/e", b"", 1)),
        (2, Op::CloseSession, Vec::new()),
        (3, Op::Create, create("/late", b"", 1)),
        (4, Op::Create, create("/later", b"", 0)),
    ];
    for (cxid, op, body) in asked {
        let request = packet::Request { session, cxid, op: op.code(), body: body.into(), ids: Some(vec![]) };
        pair.leader.server.forwarded(pair.leader.now, LEARNER, &request);
    }
    let valid = pair.leader.server.revalidate(pair.leader.now, LEARNER, session, 10_000);
    assert!(!valid);
    pair.answer();
    assert_eq!(kinds(&pair.history), [-10, 1, -11, -1, -1]);
    assert_eq!(pair.leader.server.tree().ephemeral_count(), 0);
    pair.assert_same_trees();
}

#[test]
fn without_upgrading_a_local_session_has_no_ephemerals() {
    for at in [leader as At, learner] {
        let mut pair = Pair::with_local_sessions(false);
        let a = pair.client(at);
        at(&mut pair).send(a, 1, Op::Create.code(), &create("/a", b"", 0));
        at(&mut pair).send(a, 2, Op::Create.code(), &create("/e", b"", 1));
        at(&mut pair).send(a, 3, Op::Exists.code(), &path_and_watch("/a", false));
        pair.run();
        let xids: Vec<_> = at(&mut pair).replies(a).iter().map(|reply| (reply.xid, reply.err)).collect();
        assert_eq!(xids, [(1, 0), (2, ErrorCode::EphemeralOnLocalSession.code()), (3, 0)]);
        assert_eq!(kinds(&pair.history), [1]);
    }
}

#[test]
fn a_leader_refuses_ephemerals_of_sessions_that_it_does_not_know() {
    let mut pair = Pair::with_local_sessions(false);
    let session = SessionId(2 << 56 | 9);
    for (cxid, flags) in [(1, 1), (2, 0)] {
        let body = create("/x", b"", flags)[..].into();
        let request = packet::Request { session, cxid, op: 1, body, ids: Some(Vec::new()) };
        pair.leader.server.forwarded(pair.leader.now, LEARNER, &request);
    }
    pair.answer();
    assert_eq!(kinds(&pair.history), [-1, 1]);
}

#[test]
fn a_local_session_may_move_to_the_leader_while_it_becomes_global() {
    for at in [leader as At, learner] {
        let mut pair = Pair::with_local_sessions(true);
        let a = pair.client(at);
        let session = at(&mut pair).session(a);
        at(&mut pair).send(a, 1, Op::Create.code(), &create("/e", b"", 1));
        pair.ask();
        let b = pair.leader.connection();
        pair.leader.bytes(b, &connect_frame(session.0, 0, &crate::session::password(session)));
        assert!(!pair.leader.is_closed(b));
        assert!(!pair.leader.server.sessions.is_global(session), "that is for its transaction to say");
        pair.answer();
        assert_eq!(pair.leader.connected_as(b), Some(session));
        assert_eq!(pair.create(leader, b, "/e2", 1).err, 0);
        assert_eq!(pair.leader.server.tree().ephemerals(session).len(), 2);
        pair.assert_same_trees();
    }
}

#[test]
fn a_local_session_that_ends_while_it_becomes_global_does_not_move() {
    let mut pair = Pair::with_local_sessions(true);
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.learner.send(a, 1, Op::Create.code(), &create("/e", b"", 1));
    pair.learner.send(a, 2, Op::CloseSession.code(), &[]);
    pair.ask();
    let (b, answer) = pair.resume(leader, session);
    assert_eq!(answer, Some(SessionId::NONE));
    assert!(pair.leader.is_closed(b));
    assert_eq!(pair.leader.server.tree().ephemeral_count(), 0);
}
