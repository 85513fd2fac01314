//! Roles: a leader and a learner back to back, with a wire between them that carries everything at once or bit by bit.

mod local;
mod moves;

use super::*;
use crate::quorum::views::Views;
use crate::quorum::zab::packet::{self, Entry};
use crate::wire::op::Route;
use crate::wire::txn::{CreateKind, CreateTxn, LoggedTxn, Txn, TxnHeader};

const LEARNER: LearnerId = LearnerId(7);

/// One of the two.
type At = fn(&mut Pair) -> &mut Fixture;

/// Two servers of one ensemble.
struct Pair {
    leader: Fixture,
    learner: Fixture,
    /// What the learner has sent since the last look.
    sent: Vec<Forward>,
    /// Every transaction.
    history: Vec<Entry>,
}

fn member(id: i64, serving: Serving, epoch: Option<Zxid>, options: Options) -> Fixture {
    let mut f = Fixture::with(Options { server_id: ServerId(id), ..options });
    f.server.stop_serving();
    f.server.serve(f.now, serving, epoch);
    f
}

impl Pair {
    fn new() -> Pair {
        Pair::with(options())
    }

    fn with(options: Options) -> Pair {
        Pair {
            // Epoch 0, so that zxids are those of a server that is alone.
            leader: member(1, Serving::Leading, Some(Zxid::ZERO), options.clone()),
            learner: member(2, Serving::Learning, None, options),
            sent: Vec::new(),
            history: Vec::new(),
        }
    }

    fn with_local_sessions(upgrade: bool) -> Pair {
        Pair::with(Options { local_sessions: true, local_sessions_upgrade: upgrade, ..options() })
    }

    /// The learner's requests reach the leader.
    fn ask(&mut self) {
        let mut forwards = Vec::new();
        self.learner.server.take_forwards(&mut forwards);
        for forward in forwards {
            self.sent.push(forward.clone());
            match forward {
                Forward::Request(request) => self.leader.server.forwarded(self.leader.now, LEARNER, &request),
                Forward::Revalidate { session, timeout_ms } => {
                    let now = self.leader.now;
                    let valid = self.leader.server.revalidate(now, LEARNER, session, timeout_ms);
                    self.learner.server.revalidated(session, valid);
                }
            }
        }
    }

    /// What the leader has made gets its quorum, and both apply it.
    fn answer(&mut self) {
        let mut made = Vec::new();
        self.leader.server.take_made(&mut made);
        for made in made {
            match made {
                Made::Txn(Append { zxid, payload })
                | Made::Reconfig { append: Append { zxid, payload }, .. } => {
                    self.leader.server.committable(zxid);
                    self.learner.server.committed(Entry { zxid, payload: Rc::clone(&payload) });
                    self.history.push(Entry { zxid, payload });
                }
                Made::Sync => self.leader.server.sync_done(),
                Made::ForwardedSync(from) => {
                    assert_eq!(from, LEARNER);
                    self.learner.server.sync_done();
                }
            }
        }
        self.leader.sync_rest();
        self.learner.sync_rest();
    }

    fn run(&mut self) {
        self.ask();
        self.answer();
    }

    fn call(&mut self, at: At, conn: ConnId, op: Op, body: &[u8]) -> Reply {
        at(self).send(conn, 7, op.code(), body);
        self.run();
        let mut replies = at(self).replies(conn);
        assert_eq!(replies.len(), 1, "one request, one reply: {replies:?}");
        replies.remove(0)
    }

    fn create(&mut self, at: At, conn: ConnId, path: &str, flags: i32) -> Reply {
        self.call(at, conn, Op::Create, &create(path, b"x", flags))
    }

    /// A connection with a new session.
    fn client(&mut self, at: At) -> ConnId {
        let conn = at(self).connection();
        self.connect(at, conn, SessionId::NONE, &[0; 16]);
        conn
    }

    /// Sends a connect request; returns the session in the response, if there is a response.
    fn connect(&mut self, at: At, conn: ConnId, session: SessionId, password: &[u8]) -> Option<SessionId> {
        at(self).bytes(conn, &connect_frame(session.0, 0, password));
        self.run();
        at(self).connected_as(conn)
    }

    fn resume(&mut self, at: At, session: SessionId) -> (ConnId, Option<SessionId>) {
        let conn = at(self).connection();
        (conn, self.connect(at, conn, session, &crate::session::password(session)))
    }

    fn assert_same_trees(&self) {
        let (a, b) = (self.leader.server.tree(), self.learner.server.tree());
        assert_eq!((a.last_zxid(), a.digest(), a.node_count()), (b.last_zxid(), b.digest(), b.node_count()));
        assert_eq!(self.learner.server.metrics.digest_mismatches_count, 0);
    }
}

fn leader(pair: &mut Pair) -> &mut Fixture {
    &mut pair.leader
}

fn learner(pair: &mut Pair) -> &mut Fixture {
    &mut pair.learner
}

impl Fixture {
    /// The session in a connect response.
    fn connected_as(&mut self, conn: ConnId) -> Option<SessionId> {
        let bytes = self.output(conn);
        let session = bytes.get(12..20)?;
        Some(SessionId(i64::from_be_bytes(session.try_into().expect("eight bytes"))))
    }

    fn session(&self, conn: ConnId) -> SessionId {
        self.server.clients.get(conn).expect("it is there").session
    }

    /// The shell closes what must be closed.
    fn reap(&mut self) {
        let mut ready = Vec::new();
        self.server.take_ready(&mut ready);
        for conn in ready {
            if self.server.close_wanted(conn) != Close::No {
                self.server.disconnected(conn);
            }
        }
    }
}

fn path_only(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    jute::put_string(&mut body, Some(path));
    body
}

fn entry(session: SessionId, cxid: i32, zxid: Zxid, txn: Txn<'_>) -> Entry {
    let header = TxnHeader { session, cxid, zxid, time: 0, kind: txn.kind() };
    let mut payload = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut payload);
    Entry { zxid, payload: payload.into() }
}

fn kinds(history: &[Entry]) -> Vec<i32> {
    let kind = |entry: &Entry| {
        LoggedTxn::decode(&entry.payload, usize::MAX).expect("Serval's own encoding").header.kind
    };
    history.iter().map(kind).collect()
}

#[test]
fn a_learner_forwards_the_clients_record_and_who_the_client_is() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    assert_eq!(session.0 >> 56, 2, "the server that accepted the connection gives the id");
    let created = packet::Request {
        session,
        cxid: 0,
        op: Op::CreateSession.code(),
        body: 10_000i32.to_be_bytes().as_slice().into(),
        ids: None,
    };
    assert_eq!(std::mem::take(&mut pair.sent), [Forward::Request(created)]);
    assert_eq!(pair.call(learner, a, Op::Auth, &digest_auth("u:p")).err, 0);
    assert_eq!(pair.sent, [], "the connection's own business");
    let body = create("/a", b"x", 0);
    assert_eq!(pair.call(learner, a, Op::Create, &body).err, 0);
    let [Forward::Request(request)] = &pair.sent[..] else { panic!("one request: {:?}", pair.sent) };
    assert_eq!((request.session, request.cxid, request.op), (session, 7, 1));
    assert_eq!(request.body[..], body[..]);
    let ids: Vec<_> = request.ids.iter().flatten().map(|id| (&*id.scheme, &*id.id)).collect();
    assert_eq!(ids, [("ip", "127.0.0.1"), ("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")]);
    pair.assert_same_trees();
}

#[test]
fn the_leader_checks_acls_by_the_identities_that_came_along() {
    let mut pair = Pair::new();
    let (a, b) = (pair.client(learner), pair.client(learner));
    pair.call(learner, a, Op::Auth, &digest_auth("u:p"));
    let mine = [Acl { perms: perms::ALL, scheme: Some("auth".into()), id: Some("".into()) }];
    let mut body = Vec::new();
    put_create(&mut body, "/mine", Some(b""), &mine, 0, None);
    assert_eq!(pair.call(learner, a, Op::Create, &body).err, 0);
    assert_eq!(pair.create(learner, b, "/mine/b", 0).err, ErrorCode::NoAuth.code());
    assert_eq!(pair.create(learner, a, "/mine/a", 0).err, 0);
}

#[test]
fn requests_of_one_session_keep_their_order_and_others_do_not_wait() {
    let mut pair = Pair::new();
    let (a, b) = (pair.client(learner), pair.client(learner));
    let f = &mut pair.learner;
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Exists.code(), &path_and_watch("/a", false));
    f.send(a, 3, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 4, Op::Sync.code(), &path_only("/"));
    f.send(a, 5, Op::Delete.code(), &path_and_version("/a", -1));
    f.send(a, 6, Op::Exists.code(), &path_and_watch("/a", false));
    f.send(b, 1, Op::Exists.code(), &path_and_watch("/a", false));
    assert_eq!(f.replies(b)[0].err, ErrorCode::NoNode.code());
    pair.ask();
    assert_eq!(pair.learner.replies(a), [], "nothing is committed yet");
    pair.answer();
    let seen: Vec<_> = pair.learner.replies(a).into_iter().map(|reply| (reply.xid, reply.err)).collect();
    let (exists, gone) = (ErrorCode::NodeExists.code(), ErrorCode::NoNode.code());
    assert_eq!(seen, [(1, 0), (2, 0), (3, exists), (4, 0), (5, 0), (6, gone)]);
    assert_eq!(pair.learner.server.in_flight(), 0);
}

#[test]
fn a_sync_is_answered_behind_what_the_leader_had_proposed() {
    for at in [leader as At, learner] {
        let mut pair = Pair::new();
        let (writer, reader) = (pair.client(leader), pair.client(at));
        pair.leader.send(writer, 1, Op::Create.code(), &create("/a", b"", 0));
        at(&mut pair).send(reader, 1, Op::Sync.code(), &path_only("/p"));
        at(&mut pair).send(reader, 2, Op::Exists.code(), &path_and_watch("/a", false));
        assert_eq!(at(&mut pair).replies(reader), []);
        pair.run();
        let replies = at(&mut pair).replies(reader);
        assert_eq!(replies.iter().map(|reply| (reply.xid, reply.err)).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
        assert_eq!(text(&replies[0].body), "/p");
    }
}

#[test]
fn a_sync_whose_connection_is_gone_takes_its_own_answer() {
    let mut pair = Pair::new();
    let (a, b) = (pair.client(learner), pair.client(learner));
    pair.learner.send(a, 1, Op::Sync.code(), &path_only("/"));
    pair.learner.send(b, 1, Op::Sync.code(), &path_only("/"));
    pair.learner.server.disconnected(a);
    pair.learner.server.sync_done();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.replies(b), []);
    pair.learner.server.sync_done();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.replies(b).len(), 1);
    pair.learner.server.sync_done();
    pair.learner.sync_rest();
    assert_eq!(pair.learner.server.in_flight(), 0);
}

#[test]
fn a_watch_on_a_learner_fires_before_the_reply_that_shows_the_change() {
    let mut pair = Pair::new();
    let (a, b) = (pair.client(learner), pair.client(leader));
    pair.create(learner, a, "/a", 0);
    pair.call(learner, a, Op::GetData, &path_and_watch("/a", true));
    pair.learner.send(a, 9, Op::SetData.code(), &set_data("/a", b"y", -1));
    pair.run();
    let replies = pair.learner.replies(a);
    assert_eq!(event(&replies[0]), (3, "/a".into()));
    assert_eq!((replies[1].xid, replies[1].zxid), (9, replies[0].zxid));
    pair.call(learner, a, Op::GetData, &path_and_watch("/a", true));
    pair.call(leader, b, Op::SetData, &set_data("/a", b"z", -1));
    assert_eq!(event(&pair.learner.replies(a)[0]), (3, "/a".into()));
}

#[test]
fn a_check_outside_a_multi_never_leaves_a_learner_and_fails_at_a_leader() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    let session = pair.learner.session(a);
    pair.sent.clear();
    let reply = pair.call(learner, a, Op::Check, &path_and_version("/", -1));
    assert_eq!((reply.err, &pair.sent[..]), (ErrorCode::Unimplemented.code(), &[][..]));
    let made = pair.history.len();
    for op in [Op::Check.code(), Op::GetData.code(), 4711, -1] {
        let body = path_and_version("/", -1)[..].into();
        let request = packet::Request { session, cxid: 5, op, body, ids: Some(Vec::new()) };
        pair.leader.server.forwarded(pair.leader.now, LEARNER, &request);
    }
    pair.answer();
    let code = ErrorCode::Unimplemented.code();
    let LoggedTxn { header, txn, .. } =
        LoggedTxn::decode(&pair.history[made].payload, usize::MAX).expect("just made");
    assert_eq!((header.session, header.cxid, txn), (session, 5, Txn::Error { code }));
    assert_eq!(pair.history.len(), made + 1, "the others are ignored");
}

#[test]
fn what_was_prepared_and_not_committed_never_happened() {
    let mut pair = Pair::new();
    let (a, b) = (pair.client(leader), pair.client(learner));
    let session = pair.leader.session(a);
    pair.create(leader, a, "/e", 1);
    let before = (pair.leader.server.last_zxid(), pair.leader.server.tree().digest());
    pair.leader.send(a, 1, Op::Create.code(), &create("/lost", b"", 0));
    pair.leader.send(a, 2, Op::Sync.code(), &path_only("/"));
    pair.leader.send(a, 3, Op::Exists.code(), &path_and_watch("/", false));
    pair.leader.send(a, 4, Op::CloseSession.code(), &[]);
    let connecting = pair.leader.connection();
    pair.leader.bytes(connecting, &connect_frame(0, 0, &[0; 16]));
    pair.learner.send(b, 1, Op::Create.code(), &create("/lost-too", b"", 0));
    pair.learner.send(b, 2, Op::Sync.code(), &path_only("/"));
    for f in [&mut pair.leader, &mut pair.learner] {
        f.server.stop_serving();
        assert_eq!((f.server.serving(), f.server.in_flight()), (Serving::No, 0));
        assert!(!f.server.has_commits());
        let (mut made, mut forwards) = (Vec::new(), Vec::new());
        f.server.take_made(&mut made);
        f.server.take_forwards(&mut forwards);
        assert!(made.is_empty() && forwards.is_empty());
    }
    assert!(pair.leader.is_closed(a) && pair.leader.is_closed(connecting) && pair.learner.is_closed(b));
    pair.leader.reap();
    pair.learner.reap();
    assert_eq!((pair.leader.server.last_zxid(), pair.leader.server.tree().digest()), before);

    let epoch = Zxid::new(1, 0);
    pair.leader.server.serve(pair.leader.now, Serving::Leading, Some(epoch));
    pair.learner.server.serve(pair.learner.now, Serving::Learning, None);
    assert_eq!(pair.leader.server.last_zxid(), epoch);
    let (a, answer) = pair.resume(leader, session);
    assert_eq!(answer, Some(session), "its closing was not committed");
    assert_eq!(pair.create(leader, a, "/lost", 0).zxid, epoch.next().0);
    pair.assert_same_trees();
}

#[test]
fn a_new_leader_starts_every_clock_afresh() {
    let mut f = member(1, Serving::Leading, Some(Zxid::ZERO), options());
    f.server.stop_serving();
    let tree = Tree::new(options().rules.tree);
    f.server.replace_state(tree, [(SessionId(5), 10_000), (SessionId(6), 10_000)]);
    f.now.mono = f.now.mono + Millis(3_600_000);
    f.server.handle_timeouts(f.now);
    f.server.apply_now(&entry(SessionId(7), 0, Zxid(9), Txn::CreateSession { timeout_ms: 10_000 }).payload);
    f.server.apply_now(&entry(SessionId(6), 0, Zxid(10), Txn::CloseSession { paths: None }).payload);
    f.server.serve(f.now, Serving::Leading, Some(Zxid::new(1, 0)));
    f.pass_ms(9000);
    assert_eq!(f.server.sessions.len(), 2);
    f.pass_ms(5000);
    let mut made = Vec::new();
    f.server.take_made(&mut made);
    assert_eq!(made.len(), 2, "both expire, a timeout after the role began");
    assert_eq!(f.server.tree().last_zxid(), Zxid::new(1, 0));
}

#[test]
fn a_transaction_may_be_applied_again_between_roles() {
    let mut f = Fixture::new();
    f.server.stop_serving();
    let acl = AclList::OPEN;
    let create = |path: &'static str| {
        Txn::Create(crate::wire::txn::CreateTxn {
            kind: crate::wire::txn::CreateKind::Create { ephemeral: false },
            path: path.into(),
            data: None,
            acl,
            parent_cversion: 1,
        })
    };
    let entries =
        [entry(SessionId(5), 1, Zxid(1), create("/a")), entry(SessionId(5), 2, Zxid(2), create("/a/b"))];
    for entry in entries.iter().chain(&entries) {
        f.server.apply_now(&entry.payload);
    }
    assert!(f.server.tree().find("/a/b").is_some());
    assert_eq!(f.server.last_zxid(), Zxid(2));
}

#[test]
fn a_server_without_a_role_answers_words_and_closes_whoever_connects() {
    let mut f = Fixture::new();
    f.server.stop_serving();
    let (asking, connecting) = (f.connection(), f.connection());
    f.bytes(asking, b"srvr");
    let mut words = Vec::new();
    f.server.take_words(&mut words);
    assert_eq!(words.len(), 1);
    f.bytes(connecting, &connect_frame(0, 0, &[0; 16]));
    assert!(f.is_closed(connecting) && f.output(connecting).is_empty());
}

#[test]
fn a_read_only_server_reads_for_those_who_know_it() {
    let connect = |read_only, session: SessionId| {
        let password = crate::session::password(session);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session: session.0,
            password: Some(&password),
            read_only: Some(read_only),
        };
        let mut frame = Vec::new();
        jute::put_frame(&mut frame, |out| request.encode(out));
        frame
    };
    let mut f = member(1, Serving::ReadOnly, None, Options { local_sessions: true, ..options() });
    f.server.sessions.add_untimed(SessionId(77), 10_000);
    let other = f.connection();
    f.bytes(other, &connect(false, SessionId::NONE));
    assert!(f.is_closed(other) && f.output(other).is_empty());
    let global = f.connection();
    f.bytes(global, &connect(true, SessionId(77)));
    assert!(f.is_closed(global) && f.output(global).is_empty());

    let a = f.connection();
    f.bytes(a, &connect(true, SessionId::NONE));
    let response = f.output(a);
    assert_eq!((response.len(), response[40]), (41, 1), "a response that says read-only");
    for op in [Op::Create, Op::SetData, Op::Multi, Op::Sync, Op::Check, Op::Reconfig] {
        let reply = f.call(a, op, &path_only("/"));
        assert_eq!(reply.err, ErrorCode::NotReadOnly.code(), "{op:?}");
        assert!(!f.is_closed(a));
    }
    assert_eq!(f.call(a, Op::Exists, &path_and_watch("/", true)).err, 0);
    assert_eq!(f.call(a, Op::CloseSession, &[]).err, 0);
    assert!(f.is_closed(a));
    assert!(f.take_appends().is_empty());

    let mut f = member(1, Serving::ReadOnly, None, options());
    let a = f.connection();
    f.bytes(a, &connect(true, SessionId::NONE));
    let replies = f.replies(a);
    assert_eq!((replies.len(), replies[0].xid, replies[0].err), (1, 0, ErrorCode::NotReadOnly.code()));
}

#[test]
fn only_who_counts_time_deletes_containers() {
    let mut pair = Pair::new();
    let a = pair.client(learner);
    pair.call(learner, a, Op::CreateContainer, &create("/c", b"", 4));
    pair.create(learner, a, "/c/x", 0);
    pair.call(learner, a, Op::Delete, &path_and_version("/c/x", -1));
    pair.learner.pass_ms(61_000);
    pair.run();
    assert!(pair.leader.server.tree().find("/c").is_some());
    pair.leader.pass_ms(61_000);
    pair.run();
    assert!(pair.learner.server.tree().find("/c").is_none());
    pair.assert_same_trees();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked of a learner, the client cannot tell it from a server that is alone.
    #[test]
    fn a_learner_answers_what_a_server_that_is_alone_answers(
        requests in prop::collection::vec((any_request(), any::<bool>(), any::<bool>()), 1..30),
    ) {
        let mut pair = Pair::new();
        let mut alone = Fixture::with(Options { server_id: ServerId(2), ..options() });
        let (a, b) = (pair.client(learner), alone.client());
        for (xid, ((op, body), in_a_multi, pause)) in (1..).zip(requests) {
            let (op, body) = match op {
                _ if op.spec().multi == crate::wire::op::Multi::Write && in_a_multi => {
                    (Op::Multi, multi(&[(op, body.clone()), (op, body)]))
                }
                _ => (op, body),
            };
            prop_assert_eq!(op.spec().route, Route::Write);
            pair.learner.send(a, xid, op.code(), &body);
            alone.send(b, xid, op.code(), &body);
            pair.learner.send(a, -xid, Op::GetChildren2.code(), &path_and_watch("/", true));
            alone.send(b, -xid, Op::GetChildren2.code(), &path_and_watch("/", true));
            if pause {
                pair.run();
                alone.sync();
            }
        }
        pair.run();
        alone.sync();
        prop_assert_eq!(pair.learner.replies(a), alone.replies(b));
        pair.assert_same_trees();
    }

    /// A peer's bytes in a request cost the leader nothing.
    #[test]
    fn no_forwarded_request_disturbs_a_leader(
        op in prop_oneof![-12i32..30, 98i32..110],
        body in prop::collection::vec(any::<u8>(), 0..40),
        session in prop::sample::select(vec![0i64, 5, 2 << 56, i64::MIN]),
        cxid in any::<i32>(),
    ) {
        let mut pair = Pair::with_local_sessions(true);
        let request =
            packet::Request { session: SessionId(session), cxid, op, body: body.into(), ids: None };
        for _ in 0..2 {
            pair.leader.server.forwarded(pair.leader.now, LEARNER, &request);
        }
        pair.answer();
        pair.assert_same_trees();
    }
}

#[test]
fn a_reconfiguration_is_judged_by_the_leader_and_answered_with_the_new_membership() {
    let mut options = options();
    options.rules.reconfig_enabled = true;
    options.auth.skip_acl = true;
    let mut pair = Pair::with(options);
    let conn = pair.client(learner);
    let body = |joining: &str| {
        let mut body = Vec::new();
        jute::put_string(&mut body, Some(joining));
        jute::put_string(&mut body, None);
        jute::put_string(&mut body, None);
        jute::put_long(&mut body, -1);
        body
    };
    let joiner = body("server.3=127.0.0.1:103:203;303");
    let refused = pair.call(learner, conn, Op::Reconfig, &joiner);
    assert_eq!(refused.err, ErrorCode::Unimplemented.code(), "nobody has told what the ensemble is like");

    let text = "server.1=127.0.0.1:101:201;301\nserver.2=127.0.0.1:102:202;302\nversion=1";
    let members = Membership::from_text(text.as_bytes()).expect("a good membership");
    let views = Rc::new(Views::new(members));
    let in_step = vec![ServerId(1), ServerId(2)];
    pair.leader.server.set_standing(Standing {
        views,
        in_step,
        standalone_enabled: true,
        several_addresses: false,
    });
    let done = pair.call(learner, conn, Op::Reconfig, &joiner);
    assert_eq!(done.err, 0);
    let text = String::from_utf8_lossy(&done.body);
    assert!(text.contains("server.3=127.0.0.1:103:203:participant;0.0.0.0:303"), "{text}");
    let again = pair.call(learner, conn, Op::Reconfig, &body("server.4=127.0.0.1:104:204;304"));
    assert_eq!(again.err, ErrorCode::ReconfigInProgress.code());
    pair.assert_same_trees();
}

/// A learner that left its role at a reconfiguration took what waited below it for applied, and lost it: a run of
/// tests/interop/reconfig.
#[test]
fn a_membership_is_shown_at_once_but_counts_for_no_transaction() {
    let mut pair = Pair::new();
    let f = &mut pair.learner;
    let before = f.server.last_zxid();
    let version = Zxid(before.0 + 5);
    f.server.set_config(f.now, "server.1=h:1:2\nversion=9", version);
    assert_eq!(f.server.last_zxid(), before);
    let node = f.server.tree().find("/zookeeper/config").expect("it is always there");
    assert_eq!(f.server.tree().state(node).stat.mzxid, version.0);
}
