//! What clients can observe, through the one way in that shells have.

mod roles;

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::tree::TreeOptions;
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, MAX_BUFFER_DEFAULT, Reader};
use crate::wire::records::{Acl, AclList, Stat, perms};
use crate::wire::reply::ReplyHeader;
use crate::wire::request::{ConnectRequest, MultiHeader, put_create};

/// A server, a clock that stands still until it is told to move, and a log that is synced when asked.
struct Fixture {
    server: Server,
    now: Now,
    logged: Vec<Append>,
}

/// A reply or, with xid -1, a watch event.
#[derive(Clone, Debug, PartialEq)]
struct Reply {
    xid: i32,
    zxid: i64,
    err: i32,
    body: Vec<u8>,
}

pub fn options() -> Options {
    let tree = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };
    Options {
        server_id: ServerId(1),
        tick_ms: 2000,
        session_timeout_min_ms: 4000,
        session_timeout_max_ms: 40_000,
        frame_max: MAX_BUFFER_DEFAULT,
        field_max: 2 * MAX_BUFFER_DEFAULT,
        client_connections_max: 60,
        connections_max: 0,
        outstanding_max: 1000,
        throttle_max: 0,
        large_request_threshold: None,
        large_request_bytes_max: 0,
        sessionless_timeout_ms: 10_000,
        connection_tokens: None,
        container_check_ms: 60_000,
        containers_per_minute_max: 10_000,
        container_never_used_ms_max: 0,
        local_sessions: false,
        local_sessions_upgrade: false,
        rules: Rules {
            tree,
            ttl_nodes: true,
            enforce_quota: true,
            reconfig_enabled: false,
            close_session_paths: true,
            record_max: 2 * MAX_BUFFER_DEFAULT,
        },
        auth: Auth::default(),
    }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(options())
    }

    fn with(options: Options) -> Fixture {
        let now =
            Now { mono: Instant::from_millis(1_000_000), wall: crate::time::WallMillis(1_700_000_000_000) };
        let tree = Tree::new(options.rules.tree);
        Fixture { server: Server::new(options, tree, [], now), now, logged: Vec::new() }
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Millis(ms);
        self.now.wall.0 += ms as i64;
        self.server.handle_timeouts(self.now);
    }

    fn connection(&mut self) -> ConnId {
        let peer: SocketAddr = "127.0.0.1:50000".parse().expect("an address");
        self.server.connected(self.now, peer).expect("below every limit")
    }

    /// A connection with a session of its own; the handshake's response is taken.
    fn client(&mut self) -> ConnId {
        let conn = self.connection();
        self.bytes(conn, &connect_frame(0, 0, &[0; 16]));
        self.sync();
        assert_eq!(self.output(conn).len(), 41, "a connect response of 37 bytes in its frame");
        conn
    }

    /// Sends bytes as they are; returns how many of them were taken.
    fn bytes(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.server.input(self.now, conn, bytes, usize::MAX).consumed
    }

    fn send(&mut self, conn: ConnId, xid: i32, kind: i32, body: &[u8]) {
        let mut frame = Vec::new();
        jute::put_frame(&mut frame, |out| {
            jute::put_int(out, xid);
            jute::put_int(out, kind);
            out.extend_from_slice(body);
        });
        assert_eq!(self.bytes(conn, &frame), frame.len(), "the connection is read");
    }

    /// The shell appends and syncs everything.
    fn sync(&mut self) {
        let before = self.logged.len();
        self.take_appends();
        if let Some(last) = self.logged[before..].last() {
            self.server.committable(last.zxid);
            self.sync_rest();
        }
    }

    /// What was made for the log since the last call; it is kept in `logged`, too.
    fn take_appends(&mut self) -> Vec<Append> {
        let mut made = Vec::new();
        self.server.take_made(&mut made);
        let appends: Vec<Append> = made
            .into_iter()
            .map(|made| match made {
                Made::Txn(append) => append,
                other => panic!("a server that serves alone made {other:?}"),
            })
            .collect();
        self.logged.extend(appends.iter().cloned());
        appends
    }

    fn sync_rest(&mut self) {
        while self.server.has_commits() {
            self.server.commit(self.now.mono);
        }
    }

    fn output(&mut self, conn: ConnId) -> Vec<u8> {
        self.server.output(conn).map(std::mem::take).unwrap_or_default()
    }

    fn replies(&mut self, conn: ConnId) -> Vec<Reply> {
        let bytes = self.output(conn);
        let mut rest = &bytes[..];
        let mut all = Vec::new();
        while let Some(len) = rest.first_chunk::<4>() {
            let (frame, after) = rest[4..].split_at(u32::from_be_bytes(*len) as usize);
            rest = after;
            let mut r = Reader::new(frame, usize::MAX);
            let ReplyHeader { xid, zxid, err } = ReplyHeader::read(&mut r).expect("a reply has its header");
            all.push(Reply { xid, zxid, err, body: r.rest().to_vec() });
        }
        all
    }

    /// Sends one request, syncs, and returns the only reply.
    fn call(&mut self, conn: ConnId, op: Op, body: &[u8]) -> Reply {
        self.send(conn, 7, op.code(), body);
        self.sync();
        let mut replies = self.replies(conn);
        assert_eq!(replies.len(), 1, "one request, one reply: {replies:?}");
        replies.remove(0)
    }

    fn create(&mut self, conn: ConnId, path: &str, flags: i32) -> Reply {
        self.call(conn, Op::Create, &create(path, b"x", flags))
    }

    fn exists(&mut self, conn: ConnId, path: &str) -> bool {
        self.call(conn, Op::Exists, &path_and_watch(path, false)).err == 0
    }

    fn is_closed(&self, conn: ConnId) -> bool {
        self.server.close_wanted(conn) != Close::No
    }
}

fn connect_frame(session: i64, last_zxid_seen: i64, password: &[u8]) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen,
        timeout_ms: 10_000,
        session,
        password: Some(password),
        read_only: Some(false),
    };
    let mut frame = Vec::new();
    jute::put_frame(&mut frame, |out| request.encode(out));
    frame
}

fn open() -> Vec<Acl<'static>> {
    AclList::OPEN.entries().collect()
}

fn create(path: &str, data: &[u8], flags: i32) -> Vec<u8> {
    let mut body = Vec::new();
    put_create(&mut body, path, Some(data), &open(), flags, None);
    body
}

fn create_ttl(path: &str, flags: i32, ttl_ms: i64) -> Vec<u8> {
    let mut body = Vec::new();
    put_create(&mut body, path, Some(b"x"), &open(), flags, Some(ttl_ms));
    body
}

fn path_and_watch(path: &str, watch: bool) -> Vec<u8> {
    let mut body = Vec::new();
    jute::put_string(&mut body, Some(path));
    jute::put_bool(&mut body, watch);
    body
}

fn path_and_version(path: &str, version: i32) -> Vec<u8> {
    let mut body = Vec::new();
    jute::put_string(&mut body, Some(path));
    jute::put_int(&mut body, version);
    body
}

fn set_data(path: &str, data: &[u8], version: i32) -> Vec<u8> {
    let mut body = Vec::new();
    jute::put_string(&mut body, Some(path));
    jute::put_buffer(&mut body, Some(data));
    jute::put_int(&mut body, version);
    body
}

fn multi(ops: &[(Op, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (op, record) in ops {
        MultiHeader { kind: op.code(), done: false, err: -1 }.write(&mut body);
        body.extend_from_slice(record);
    }
    MultiHeader::END.write(&mut body);
    body
}

fn digest_auth(credential: &str) -> Vec<u8> {
    let mut body = Vec::new();
    jute::put_int(&mut body, 0);
    jute::put_string(&mut body, Some("digest"));
    jute::put_buffer(&mut body, Some(credential.as_bytes()));
    body
}

fn text(body: &[u8]) -> String {
    Reader::new(body, usize::MAX).string().expect("a string").expect("not null").into_owned()
}

/// Type and path of a watch event.
fn event(reply: &Reply) -> (i32, String) {
    assert_eq!(reply.xid, -1, "an event: {reply:?}");
    let mut r = Reader::new(&reply.body, usize::MAX);
    let (kind, state) = (r.int().expect("a type"), r.int().expect("a state"));
    assert_eq!(state, 3, "SyncConnected");
    (kind, text(r.rest()))
}

#[test]
fn a_write_is_answered_only_after_its_log_entry_is_synced() {
    let mut f = Fixture::new();
    let a = f.client();
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    assert_eq!(f.replies(a), []);
    f.sync();
    let replies = f.replies(a);
    assert_eq!((replies.len(), replies[0].xid, replies[0].err), (1, 1, 0));
    assert_eq!(text(&replies[0].body), "/a");
}

#[test]
fn a_read_behind_an_own_write_waits_for_it_and_sees_it() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Exists.code(), &path_and_watch("/a", false));
    f.send(a, 3, Op::Delete.code(), &path_and_version("/a", -1));
    f.send(a, 4, Op::Exists.code(), &path_and_watch("/a", false));
    f.send(b, 5, Op::Exists.code(), &path_and_watch("/a", false));
    assert_eq!(f.replies(a), [], "nothing is synced yet");
    assert_eq!(f.replies(b)[0].err, ErrorCode::NoNode.code(), "other sessions do not wait");
    f.sync();
    let seen: Vec<_> = f.replies(a).into_iter().map(|reply| (reply.xid, reply.err)).collect();
    assert_eq!(seen, [(1, 0), (2, 0), (3, 0), (4, ErrorCode::NoNode.code())]);
}

#[test]
fn a_partial_sync_answers_exactly_what_it_covers() {
    let mut f = Fixture::new();
    let a = f.client();
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Create.code(), &create("/b", b"", 0));
    let appends = f.take_appends();
    f.server.committable(appends[0].zxid);
    f.server.commit(f.now.mono);
    assert_eq!(f.replies(a).iter().map(|reply| reply.xid).collect::<Vec<_>>(), [1]);
    f.server.committable(appends[1].zxid);
    f.server.commit(f.now.mono);
    assert_eq!(f.replies(a).iter().map(|reply| reply.xid).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_own_watch_event_comes_before_the_reply() {
    let mut f = Fixture::new();
    let a = f.client();
    f.create(a, "/a", 0);
    f.call(a, Op::GetData, &path_and_watch("/a", true));
    f.send(a, 9, Op::SetData.code(), &set_data("/a", b"y", -1));
    f.sync();
    let replies = f.replies(a);
    assert_eq!(event(&replies[0]), (3, "/a".into()));
    assert_eq!((replies[1].xid, replies[1].zxid), (9, replies[0].zxid));
}

#[test]
fn a_watch_on_a_node_that_may_not_be_read_is_spent_in_silence() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    f.create(a, "/a", 0);
    f.call(b, Op::GetData, &path_and_watch("/a", true));
    assert_eq!(f.call(a, Op::Auth, &digest_auth("u:p")).err, 0);
    let mine = [Acl { perms: perms::ALL, scheme: Some("auth".into()), id: Some("".into()) }];
    let mut body = Vec::new();
    jute::put_string(&mut body, Some("/a"));
    body.extend(AclList::encode(&mine));
    jute::put_int(&mut body, -1);
    assert_eq!(f.call(a, Op::SetAcl, &body).err, 0);
    f.call(a, Op::SetData, &set_data("/a", b"1", -1));
    assert_eq!(f.replies(b), []);
}

#[test]
fn sequence_numbers_count_creates_that_are_still_in_flight() {
    let mut f = Fixture::new();
    let a = f.client();
    for xid in 1..=3 {
        f.send(a, xid, Op::Create.code(), &create("/s-", b"", 2));
    }
    f.sync();
    let names: Vec<_> = f.replies(a).iter().map(|reply| text(&reply.body)).collect();
    // The root has stored cversion 0: /zookeeper was not created by a transaction.
    assert_eq!(names, ["/s-0000000000", "/s-0000000001", "/s-0000000002"]);
}

#[test]
fn a_failed_multi_changes_nothing_and_says_which_part_failed() {
    let mut f = Fixture::new();
    let a = f.client();
    f.create(a, "/q", 0);
    let ops = [
        (Op::Create, create("/q/s-", b"", 2)),
        (Op::Check, path_and_version("/q", 5)),
        (Op::Delete, path_and_version("/nowhere", -1)),
    ];
    let reply = f.call(a, Op::Multi, &multi(&ops));
    assert_eq!(reply.err, 0, "the header of a failed multi is fine");
    let mut r = Reader::new(&reply.body, usize::MAX);
    for code in [0, ErrorCode::BadVersion.code(), ErrorCode::RuntimeInconsistency.code()] {
        assert_eq!(MultiHeader::read(&mut r), Ok(MultiHeader { kind: -1, done: false, err: code }));
        assert_eq!(r.int(), Ok(code));
    }
    assert_eq!(MultiHeader::read(&mut r), Ok(MultiHeader::END));
    let next = f.call(a, Op::Create, &create("/q/s-", b"", 2));
    assert_eq!(text(&next.body), "/q/s-0000000000", "the rolled back create gave its number back");
    assert_eq!(f.server.metrics.digest_mismatches_count, 0);
}

#[test]
fn parts_of_a_multi_see_the_parts_before_them() {
    let mut f = Fixture::new();
    let a = f.client();
    let ops = [
        (Op::Create, create("/m", b"0", 0)),
        (Op::SetData, set_data("/m", b"1", 0)),
        (Op::Create2, create("/m/s-", b"", 2)),
        (Op::Create, create("/m/s-", b"", 2)),
        (Op::Delete, path_and_version("/m/s-0000000000", -1)),
    ];
    let reply = f.call(a, Op::Multi, &multi(&ops));
    let mut r = Reader::new(&reply.body, usize::MAX);
    let kinds: Vec<i32> = ops
        .iter()
        .map(|(op, _)| {
            let header = MultiHeader::read(&mut r).expect("a result");
            if matches!(op, Op::Create | Op::Create2) {
                r.string().expect("a path");
            }
            if matches!(op, Op::SetData | Op::Create2) {
                Stat::read(&mut r).expect("a stat");
            }
            header.kind
        })
        .collect();
    assert_eq!(kinds, [1, 5, 15, 1, 2]);
    assert!(f.exists(a, "/m/s-0000000001") && !f.exists(a, "/m/s-0000000000"));
}

#[test]
fn an_expired_session_loses_its_ephemerals_and_its_connection_without_a_byte() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    f.create(a, "/e", 1);
    f.call(b, Op::Exists, &path_and_watch("/e", true));
    for _ in 0..7 {
        f.pass_ms(2000);
        f.send(b, -2, Op::Ping.code(), &[]);
    }
    assert_eq!(f.replies(b).iter().filter(|reply| reply.xid == -1).count(), 0, "not before it is on disk");
    f.sync();
    let events: Vec<_> = f.replies(b).iter().filter(|reply| reply.xid == -1).map(event).collect();
    assert_eq!(events, [(2, "/e".into())]);
    assert!(f.is_closed(a) && f.output(a).is_empty());
    assert!(!f.exists(b, "/e"));
}

#[test]
fn a_session_resumes_with_its_password_and_only_while_it_lives() {
    let mut f = Fixture::new();
    let a = f.client();
    let session = f.server.clients.get(a).expect("connected").session;
    f.server.disconnected(a);
    let password = crate::session::password(session);
    let b = f.connection();
    f.bytes(b, &connect_frame(session.0, 0, &password));
    assert_eq!(f.output(b)[12..20], session.0.to_be_bytes());
    let c = f.connection();
    f.bytes(c, &connect_frame(session.0, 0, &[1; 16]));
    assert_eq!(f.output(c)[8..20], [0; 12], "timeout 0 and session 0: expired, to the client");
    assert!(f.is_closed(c));
}

#[test]
fn a_client_that_has_seen_a_later_zxid_is_sent_elsewhere_without_a_byte() {
    let mut f = Fixture::new();
    let a = f.connection();
    f.bytes(a, &connect_frame(0, 1 << 40, &[0; 16]));
    assert!(f.is_closed(a) && f.output(a).is_empty());
}

#[test]
fn a_closing_session_is_answered_and_then_closed_and_later_requests_are_dropped() {
    let mut f = Fixture::new();
    let a = f.client();
    f.create(a, "/e", 1);
    f.send(a, 5, Op::CloseSession.code(), &[]);
    f.send(a, 6, Op::Exists.code(), &path_and_watch("/e", false));
    f.sync();
    let replies = f.replies(a);
    assert_eq!(replies.iter().map(|reply| reply.xid).collect::<Vec<_>>(), [5]);
    assert!(f.is_closed(a));
    let b = f.client();
    assert!(!f.exists(b, "/e"));
}

#[test]
fn lengths_that_no_frame_has_cost_the_connection_and_nothing_else() {
    for prefix in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], *b"GET ", [0x16, 3, 1, 2], [0, 0x0f, 0xff, 0xff]] {
        let mut f = Fixture::new();
        let (a, b) = (f.client(), f.client());
        f.bytes(a, &prefix);
        let too_long = u32::from_be_bytes(prefix) > MAX_BUFFER_DEFAULT as u32;
        assert_eq!(f.is_closed(a), too_long, "{prefix:?}");
        assert_eq!(f.create(b, "/b", 0).err, 0);
    }
}

#[test]
fn connections_over_the_limit_of_their_address_are_not_taken() {
    let mut f = Fixture::with(Options { client_connections_max: 2, ..options() });
    let (a, _b) = (f.connection(), f.connection());
    let peer: SocketAddr = "127.0.0.1:50001".parse().expect("an address");
    let other: SocketAddr = "127.0.0.2:50001".parse().expect("an address");
    assert_eq!(f.server.connected(f.now, peer), None);
    assert!(f.server.connected(f.now, other).is_some());
    f.server.disconnected(a);
    assert!(f.server.connected(f.now, peer).is_some());
}

#[test]
fn above_the_outstanding_limit_only_connections_that_wait_are_held_back() {
    let mut f = Fixture::with(Options { outstanding_max: 1, ..options() });
    let (a, b) = (f.client(), f.client());
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Create.code(), &create("/b", b"", 0));
    let mut frame = Vec::new();
    jute::put_frame(&mut frame, |out| {
        jute::put_long(out, (3 << 32) | i64::from(Op::Ping.code()));
    });
    assert_eq!(f.bytes(a, &frame), 0, "held back");
    assert_eq!(f.bytes(b, &frame), frame.len(), "b has nothing unanswered");
    f.sync();
    let mut ready = Vec::new();
    f.server.take_ready(&mut ready);
    assert!(ready.contains(&a), "the shell is told to try again");
    assert_eq!(f.bytes(a, &frame), frame.len());
}

#[test]
fn reads_that_wait_for_a_write_count_as_outstanding() {
    let mut f = Fixture::with(Options { outstanding_max: 2, ..options() });
    let a = f.client();
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Exists.code(), &path_and_watch("/a", false));
    f.send(a, 3, Op::Exists.code(), &path_and_watch("/a", false));
    let mut frame = Vec::new();
    jute::put_frame(&mut frame, |out| {
        jute::put_long(out, (4 << 32) | i64::from(Op::Ping.code()));
    });
    assert_eq!(f.bytes(a, &frame), 0, "held back");
    let b = f.connection();
    f.bytes(b, &connect_frame(0, 0, &[0; 16]));
    f.server.disconnected(a);
    f.sync();
    assert_eq!(f.output(b).len(), 41);
    assert_eq!(f.server.in_flight(), 0, "what a lost connection asked is not counted for ever");
}

#[test]
fn one_turn_commits_a_part_and_the_next_ones_the_rest() {
    let mut f = Fixture::with(Options { outstanding_max: 10_000, ..options() });
    let a = f.client();
    for xid in 0..2000 {
        f.send(a, xid, Op::Create.code(), &create("/s-", b"", 2));
    }
    f.take_appends();
    f.server.committable(f.logged.last().expect("2000 creates").zxid);
    f.server.commit(f.now.mono);
    let mut xids: Vec<i32> = f.replies(a).iter().map(|reply| reply.xid).collect();
    assert!(!xids.is_empty() && f.server.has_commits(), "{} of 2000 replies", xids.len());
    f.sync_rest();
    xids.extend(f.replies(a).iter().map(|reply| reply.xid));
    assert!(xids.into_iter().eq(0..2000));
}

#[test]
fn a_read_that_waited_has_the_identities_of_when_it_was_asked() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    assert_eq!(f.call(b, Op::Auth, &digest_auth("u:p")).err, 0);
    let mine = [Acl { perms: perms::ALL, scheme: Some("auth".into()), id: None }];
    let mut secret = Vec::new();
    put_create(&mut secret, "/secret", Some(b"x"), &mine, 0, None);
    assert_eq!(f.call(b, Op::Create, &secret).err, 0);

    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::GetData.code(), &path_and_watch("/secret", false));
    f.send(a, 3, Op::WhoAmI.code(), &[]);
    f.send(a, 4, Op::Auth.code(), &digest_auth("u:p"));
    f.send(a, 5, Op::GetData.code(), &path_and_watch("/secret", false));
    assert_eq!(f.replies(a).iter().map(|reply| reply.xid).collect::<Vec<_>>(), [4], "auth waits for nothing");
    f.sync();
    let replies = f.replies(a);
    let seen: Vec<_> = replies.iter().map(|reply| (reply.xid, reply.err)).collect();
    assert_eq!(seen, [(1, 0), (2, ErrorCode::NoAuth.code()), (3, 0), (5, 0)]);
    assert_eq!(replies[2].body[..4], [0, 0, 0, 1], "only the address");
}

#[test]
fn a_multi_read_whose_results_would_fill_the_memory_is_refused() {
    let mut f = Fixture::with(Options { frame_max: 2000, ..options() });
    let a = f.client();
    assert_eq!(f.call(a, Op::Create, &create("/big", &[7; 1500], 0)).err, 0);
    let reads = |n| multi(&vec![(Op::GetData, path_and_watch("/big", false)); n]);
    assert_eq!(f.call(a, Op::MultiRead, &reads(10)).err, 0);
    let refused = f.call(a, Op::MultiRead, &reads(60));
    assert_eq!((refused.err, refused.body), (ErrorCode::MarshallingError.code(), vec![]));
    assert_eq!(f.call(a, Op::MultiRead, &reads(10)).err, 0);
}

/// A huge reply over a slow line takes longer than a session's timeout, and pings behind it are not read.
#[test]
fn a_client_that_takes_its_output_lives_though_its_pings_are_not_read() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    for _ in 0..10 {
        f.pass_ms(4000);
        f.server.output_taken(f.now.mono, a);
    }
    f.sync();
    assert!(!f.is_closed(a) && f.is_closed(b));
    assert!(f.exists(a, "/"));
}

#[test]
fn a_connection_that_is_being_closed_hears_of_no_more_events() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    f.call(a, Op::Exists, &path_and_watch("/a", true));
    f.call(a, Op::CloseSession, &[]);
    f.create(b, "/a", 0);
    assert_eq!(f.replies(a), []);
}

#[test]
fn what_a_lost_connection_asked_is_done_and_told_to_nobody() {
    let mut f = Fixture::new();
    let a = f.client();
    let session = f.server.clients.get(a).expect("connected").session;
    f.send(a, 1, Op::Create.code(), &create("/a", b"", 0));
    f.send(a, 2, Op::Exists.code(), &path_and_watch("/a", true));
    f.server.disconnected(a);
    // The new connection has the slot of the old one.
    let b = f.connection();
    f.bytes(b, &connect_frame(session.0, 0, &crate::session::password(session)));
    assert_eq!(f.output(b).len(), 41);
    f.send(b, 3, Op::Delete.code(), &path_and_version("/a", -1));
    f.sync();
    let seen: Vec<_> = f.replies(b).iter().map(|reply| (reply.xid, reply.err)).collect();
    assert_eq!(seen, [(3, 0)]);
}

#[test]
fn a_session_that_is_resumed_keeps_what_its_old_connection_has_in_flight() {
    let mut f = Fixture::new();
    let a = f.client();
    let session = f.server.clients.get(a).expect("connected").session;
    f.send(a, 1, Op::Create.code(), &create("/e", b"", 1));
    let b = f.connection();
    f.bytes(b, &connect_frame(session.0, 0, &crate::session::password(session)));
    assert!(f.is_closed(a), "a session has one connection");
    f.send(b, 2, Op::Exists.code(), &path_and_watch("/none", false));
    f.sync();
    f.server.disconnected(a);
    f.output(b);
    assert!(f.exists(b, "/e"));
    assert_eq!(f.call(b, Op::CloseSession, &[]).err, 0);
    let c = f.client();
    assert!(!f.exists(c, "/e"));
}

#[test]
fn a_session_that_expires_with_writes_in_flight_leaves_no_ephemeral_behind() {
    let mut f = Fixture::new();
    let (a, b) = (f.client(), f.client());
    f.create(a, "/e1", 1);
    f.send(a, 1, Op::Delete.code(), &path_and_version("/e1", -1));
    f.send(a, 2, Op::Create.code(), &create("/e2", b"", 1));
    f.send(a, 3, Op::Create.code(), &create("/e1", b"", 1));
    for _ in 0..7 {
        f.pass_ms(2000);
        f.send(b, -2, Op::Ping.code(), &[]);
    }
    // Too late: the session is closing.
    f.send(a, 4, Op::Create.code(), &create("/e3", b"", 0));
    f.sync();
    f.output(b);
    assert!(f.is_closed(a));
    for path in ["/e1", "/e2", "/e3"] {
        assert!(!f.exists(b, path), "{path}");
    }
    assert_eq!(f.server.metrics.digest_mismatches_count, 0);
}

#[test]
fn large_requests_beyond_their_budget_cost_the_connection() {
    let limits = Options { large_request_threshold: Some(100), large_request_bytes_max: 300, ..options() };
    let mut f = Fixture::with(limits);
    let (a, b) = (f.client(), f.client());
    f.send(a, 1, Op::Create.code(), &create("/a", &[0; 200], 0));
    f.send(b, 1, Op::Create.code(), &create("/b", &[0; 200], 0));
    assert!(f.is_closed(b) && !f.is_closed(a));
    f.sync();
    assert_eq!(f.replies(a).len(), 1);
    assert_eq!(f.call(a, Op::Create, &create("/c", &[0; 200], 0)).err, 0, "the budget is free again");
}

#[test]
fn connect_requests_without_a_token_are_closed_until_the_bucket_fills() {
    let tokens = ConnectionTokens {
        tokens_max: 1,
        fill_time_ms: 10,
        fill_count: 1,
        new_session_cost: 1,
        local_session_cost: 1,
        resume_cost: 1,
    };
    let mut f = Fixture::with(Options { connection_tokens: Some(tokens), ..options() });
    f.client();
    let b = f.connection();
    f.bytes(b, &connect_frame(0, 0, &[0; 16]));
    assert!(f.is_closed(b) && f.output(b).is_empty());
    f.pass_ms(10);
    f.client();
}

#[test]
fn each_handshake_is_counted_once() {
    let mut f = Fixture::new();
    let a = f.client();
    let session = f.server.clients.get(a).expect("connected").session;
    let b = f.connection();
    f.bytes(b, &connect_frame(session.0, 0, &crate::session::password(session)));
    assert_eq!(f.server.metrics.connection_request_count, 2);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut f = Fixture::new();
    let a = f.connection();
    f.pass_ms(9_000);
    assert!(!f.is_closed(a));
    f.pass_ms(11_000);
    assert!(f.is_closed(a));
}

#[test]
fn a_container_goes_once_its_last_child_has_gone() {
    let mut f = Fixture::new();
    let a = f.client();
    f.call(a, Op::CreateContainer, &create("/c", b"", 4));
    f.create(a, "/c/k", 0);
    f.call(a, Op::Delete, &path_and_version("/c/k", -1));
    for _ in 0..40 {
        f.send(a, -2, Op::Ping.code(), &[]);
        f.pass_ms(2000);
    }
    f.sync();
    f.replies(a);
    assert!(!f.exists(a, "/c"));
}

#[test]
fn a_ttl_node_goes_when_its_time_has_come() {
    let mut f = Fixture::new();
    let a = f.client();
    assert_eq!(f.call(a, Op::CreateTtl, &create_ttl("/t", 5, 1000)).err, 0);
    assert!(f.exists(a, "/t"));
    for _ in 0..40 {
        f.send(a, -2, Op::Ping.code(), &[]);
        f.pass_ms(2000);
    }
    f.sync();
    f.replies(a);
    assert!(!f.exists(a, "/t"));
}

/// Deletions are spread over time; what was found to be due may no longer be when its turn comes.
#[test]
fn what_was_renewed_or_replaced_since_it_was_due_is_not_deleted() {
    let mut f = Fixture::with(Options { containers_per_minute_max: 4, ..options() });
    let a = f.client();
    for container in ["/c1", "/c2"] {
        f.call(a, Op::CreateContainer, &create(container, b"", 4));
        f.create(a, &format!("{container}/k"), 0);
        f.call(a, Op::Delete, &path_and_version(&format!("{container}/k"), -1));
    }
    for (node, ttl_ms) in [("/t1", 1000), ("/t2", 2000)] {
        assert_eq!(f.call(a, Op::CreateTtl, &create_ttl(node, 5, ttl_ms)).err, 0);
    }
    let pass = |f: &mut Fixture, ms: u64| {
        for _ in 0..ms / 1000 {
            f.send(a, -2, Op::Ping.code(), &[]);
            f.pass_ms(1000);
            f.sync();
        }
        f.replies(a);
    };
    pass(&mut f, 61_000);
    assert!(!f.exists(a, "/c1") && f.exists(a, "/c2"), "one each 15 seconds");
    assert_eq!(f.call(a, Op::Delete, &path_and_version("/c2", -1)).err, 0);
    assert_eq!(f.create(a, "/c2", 0).err, 0);
    for _ in 0..50 {
        assert_eq!(f.call(a, Op::SetData, &set_data("/t2", b"again", -1)).err, 0);
        pass(&mut f, 1000);
    }
    assert!(f.exists(a, "/c2"), "a plain node now");
    assert!(!f.exists(a, "/t1") && f.exists(a, "/t2"));
}

#[test]
fn with_enforced_authentication_an_unknown_client_may_do_nothing() {
    let auth = Auth { enforced_schemes: vec!["digest".into()], ..Auth::default() };
    let mut f = Fixture::with(Options { auth, ..options() });
    let a = f.client();
    let reply = f.call(a, Op::Ping, &[]);
    assert_eq!((reply.err, reply.zxid), (ErrorCode::SessionClosedRequireSaslAuth.code(), 0));
    assert!(f.is_closed(a));
}

/// Nothing in the log may be longer than what is read back at the next start.
#[test]
fn a_session_with_more_ephemerals_than_a_record_can_list_closes_all_the_same() {
    let rules = Rules { record_max: 300, ..options().rules };
    let mut f = Fixture::with(Options { rules, ..options() });
    let (a, b) = (f.client(), f.client());
    for n in 0..100 {
        assert_eq!(f.create(a, &format!("/e{n}"), 1).err, 0);
    }
    assert_eq!(f.call(a, Op::CloseSession, &[]).err, 0);
    assert!(f.logged.iter().all(|append| append.payload.len() <= 300));
    assert_eq!(f.server.tree().ephemeral_count(), 0);
    assert_eq!(f.create(b, "/after", 0).err, 0);
    assert_eq!(f.server.metrics.digest_mismatches_count, 0);
}

#[test]
fn a_write_whose_record_would_be_too_long_is_refused_and_leaves_no_trace() {
    let rules = Rules { record_max: 300, ..options().rules };
    let mut f = Fixture::with(Options { rules, ..options() });
    let a = f.client();
    for user in 0..10 {
        assert_eq!(f.call(a, Op::Auth, &digest_auth(&format!("u{user}:p"))).err, 0);
    }
    let mine = [Acl { perms: perms::ALL, scheme: Some("auth".into()), id: Some("".into()) }];
    let mut body = Vec::new();
    put_create(&mut body, "/a", Some(b"x"), &mine, 0, None);
    assert_eq!(f.call(a, Op::Create, &body).err, ErrorCode::MarshallingError.code());
    let multi = f.call(a, Op::Multi, &multi(&[(Op::Create, body)]));
    assert_eq!((multi.err, multi.body), (ErrorCode::MarshallingError.code(), vec![]));
    assert!(f.logged.iter().all(|append| append.payload.len() <= 300));
    assert!(!f.exists(a, "/a"));
    assert_eq!(f.create(a, "/a", 0).err, 0);
    assert_eq!(f.server.metrics.digest_mismatches_count, 0);
}

/// client-protocol.md section 19: what kills, hangs or fools a Java server is refused here, and the server goes on.
mod defects_of_the_reference {
    use super::*;

    #[test]
    fn create_ttl_with_plain_flags_is_a_bad_argument() {
        let mut f = Fixture::new();
        let a = f.client();
        for flags in 0..=4 {
            let reply = f.call(a, Op::CreateTtl, &create_ttl("/t", flags, -1));
            assert_eq!(reply.err, ErrorCode::BadArguments.code(), "flags {flags}");
        }
        assert_eq!(f.create(a, "/still-here", 0).err, 0);
    }

    #[test]
    fn limits_right_below_the_quota_root_are_a_plain_node() {
        let mut f = Fixture::new();
        let a = f.client();
        assert_eq!(f.create(a, "/zookeeper/quota/zookeeper_limits", 0).err, 0);
        assert_eq!(f.create(a, "/zookeeper/quota/zookeeper_stats", 0).err, 0);
        assert_eq!(f.call(a, Op::Delete, &path_and_version("/zookeeper/quota/zookeeper_limits", -1)).err, 0);
    }

    #[test]
    fn limits_below_a_short_parent_are_deleted_like_any_node() {
        let mut f = Fixture::new();
        let a = f.client();
        assert_eq!(f.create(a, "/zookeeper/z", 0).err, 0);
        assert_eq!(f.create(a, "/zookeeper/z/zookeeper_limits", 0).err, 0);
        assert_eq!(f.call(a, Op::Delete, &path_and_version("/zookeeper/z/zookeeper_limits", -1)).err, 0);
    }

    #[test]
    fn quota_statistics_that_are_no_statistics_count_as_none() {
        let mut f = Fixture::new();
        let a = f.client();
        f.create(a, "/q", 0);
        f.create(a, "/zookeeper/quota/q", 0);
        let limits = create("/zookeeper/quota/q/zookeeper_limits", b"count=5,bytes=-1", 0);
        assert_eq!(f.call(a, Op::Create, &limits).err, 0);
        assert_eq!(f.create(a, "/zookeeper/quota/q/zookeeper_stats", 0).err, 0);
        let nonsense = set_data("/zookeeper/quota/q/zookeeper_stats", b"no statistics", -1);
        assert_eq!(f.call(a, Op::SetData, &nonsense).err, 0);
        assert_eq!(f.create(a, "/q/k", 0).err, 0);
    }

    #[test]
    fn a_truncated_write_is_answered_and_the_next_one_works() {
        let mut f = Fixture::new();
        let a = f.client();
        let before = f.create(a, "/a", 0).zxid;
        let whole = create("/b", b"x", 0);
        let reply = f.call(a, Op::Create, &whole[..whole.len() - 3]);
        assert_eq!((reply.err, reply.zxid), (ErrorCode::MarshallingError.code(), before + 1));
        assert_eq!(f.create(a, "/b", 0).zxid, before + 2);
    }

    #[test]
    fn a_multi_with_a_null_path_is_malformed_and_answered() {
        let mut f = Fixture::new();
        let a = f.client();
        let mut null_path = Vec::new();
        jute::put_string(&mut null_path, None);
        jute::put_int(&mut null_path, -1);
        assert_eq!(
            f.call(a, Op::Multi, &multi(&[(Op::Delete, null_path)])).err,
            ErrorCode::MarshallingError.code()
        );
        assert_eq!(f.create(a, "/a", 0).err, 0);
    }

    #[test]
    fn a_check_outside_a_multi_is_an_unknown_operation() {
        let mut f = Fixture::new();
        let a = f.client();
        let reply = f.call(a, Op::Check, &path_and_version("/", -1));
        assert_eq!((reply.err, reply.zxid), (ErrorCode::Unimplemented.code(), -1));
        assert!(f.is_closed(a));
    }

    #[test]
    fn digests_are_those_of_what_is_stored_whatever_the_flags_promised() {
        let mut f = Fixture::new();
        let a = f.client();
        assert_eq!(f.create(a, "/flags-4", 4).err, 0);
        assert_eq!(f.call(a, Op::CreateContainer, &create("/container", b"", 1)).err, 0);
        assert_eq!(f.server.metrics.digest_mismatches_count, 0);
    }

    #[test]
    fn clients_delete_through_delete_container_only_what_is_one_and_what_they_may() {
        let mut f = Fixture::new();
        let a = f.client();
        f.create(a, "/plain", 0);
        f.call(a, Op::CreateContainer, &create("/c", b"", 4));
        let path = |path| {
            let mut body = Vec::new();
            jute::put_string(&mut body, Some(path));
            body
        };
        assert_eq!(f.call(a, Op::DeleteContainer, &path("/plain")).err, ErrorCode::BadArguments.code());
        let mut read_only = Vec::new();
        jute::put_string(&mut read_only, Some("/"));
        read_only.extend_from_slice(AclList::READ_ONLY.bytes());
        jute::put_int(&mut read_only, -1);
        assert_eq!(f.call(a, Op::SetAcl, &read_only).err, 0);
        assert_eq!(f.call(a, Op::DeleteContainer, &path("/c")).err, ErrorCode::NoAuth.code());
        assert!(f.exists(a, "/plain") && f.exists(a, "/c"));
    }
}

/// Requests of every kind over a handful of paths, some of them nonsense.
fn any_request() -> impl Strategy<Value = (Op, Vec<u8>)> {
    let path =
        prop::sample::select(vec!["/", "/a", "/a/b", "/a/c", "/d", "/d/e", "/zookeeper/x", "bad", "/a/"]);
    let version = prop::sample::select(vec![-1, -1, 0, 1]);
    (path, 0i32..8, version, prop::collection::vec(any::<u8>(), 0..8), 0..8usize).prop_map(
        |(path, flags, version, data, what)| match what {
            0 | 1 => (Op::Create, create(path, &data, flags)),
            2 => (Op::Create2, create(path, &data, flags)),
            3 => (Op::CreateContainer, create(path, &data, flags)),
            4 => (Op::CreateTtl, create_ttl(path, flags, 5000)),
            5 => (Op::Delete, path_and_version(path, version)),
            6 => (Op::SetData, set_data(path, &data, version)),
            _ => {
                let mut body = Vec::new();
                jute::put_string(&mut body, Some(path));
                body.extend_from_slice(AclList::OPEN.bytes());
                jute::put_int(&mut body, version);
                (Op::SetAcl, body)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The digest that is logged with a transaction is predicted from the overlay; the tree's is computed from
    /// what was applied. They agree whatever is in flight together, and whatever fails or is rolled back.
    #[test]
    fn predicted_digests_are_the_trees(
        batches in prop::collection::vec(
            (prop::collection::vec(any_request(), 1..8), any::<bool>(), any::<bool>()), 1..12)
    ) {
        let mut f = Fixture::new();
        let a = f.client();
        let mut b = f.client();
        for (requests, as_multi, close) in batches {
            if as_multi {
                let parts: Vec<_> =
                    requests.into_iter().filter(|(op, _)| !matches!(op, Op::SetAcl)).collect();
                f.send(a, 1, Op::Multi.code(), &multi(&parts));
            } else {
                for (i, (op, body)) in requests.into_iter().enumerate() {
                    f.send(if i % 2 == 0 { a } else { b }, 1, op.code(), &body);
                }
            }
            if close {
                f.send(b, 2, Op::CloseSession.code(), &[]);
                f.sync();
                f.server.disconnected(b);
                b = f.client();
            } else {
                f.sync();
            }
        }
        prop_assert_eq!(f.server.metrics.digest_mismatches_count, 0);
    }

    /// Whatever bytes one connection sends, nothing panics and the other connection works.
    #[test]
    fn foreign_bytes_disturb_nobody(
        op in -12i32..110, body in prop::collection::vec(any::<u8>(), 0..200), raw in any::<bool>()
    ) {
        let mut f = Fixture::new();
        let (a, b) = (f.client(), f.client());
        if raw {
            f.bytes(a, &body);
        } else {
            let mut frame = Vec::new();
            jute::put_frame(&mut frame, |out| {
                jute::put_int(out, 1);
                jute::put_int(out, op);
                out.extend_from_slice(&body);
            });
            f.bytes(a, &frame);
        }
        f.sync();
        prop_assert_eq!(f.create(b, "/works", 0).err, 0);
    }
}
