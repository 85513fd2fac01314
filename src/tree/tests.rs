//! What a tree does with transactions, against the naive one and in single cases.

use proptest::prelude::*;

use super::model::{Model, OPTIONS, list_of, load};
use super::*;
use crate::ids::SessionId;
use crate::wire::reply::EventType;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, text};

// ---- Random histories ----

/// A request by numbers; what it comes to depends on the state when it is prepared.
#[derive(Clone, Debug)]
enum Request {
    Create { parent: usize, name: u8, kind: u8, data: Option<u8>, acl: u8 },
    Delete { node: usize },
    SetData { node: usize, data: Option<u16> },
    SetAcl { node: usize, acl: u8 },
    Close { session: u8 },
    Fail,
    Multi(Vec<Request>),
}

fn request() -> impl Strategy<Value = Request> {
    let single = prop_oneof![
        6 => (any::<usize>(), 0u8..5, 0u8..8, any::<Option<u8>>(), 0u8..4)
            .prop_map(|(parent, name, kind, data, acl)| Request::Create { parent, name, kind, data, acl }),
        4 => any::<usize>().prop_map(|node| Request::Delete { node }),
        2 => (any::<usize>(), any::<Option<u16>>())
            .prop_map(|(node, data)| Request::SetData { node, data: data.map(|len| len % 6000) }),
        1 => (any::<usize>(), 0u8..4).prop_map(|(node, acl)| Request::SetAcl { node, acl }),
        1 => (0u8..3).prop_map(|session| Request::Close { session }),
        1 => Just(Request::Fail),
    ];
    prop_oneof![
        8 => single.clone(),
        1 => proptest::collection::vec(single, 0..5).prop_map(Request::Multi),
    ]
}

/// Owned transactions, so that a history can be applied again.
struct History {
    txns: Vec<(TxnHeader, Txn<'static>)>,
    /// The state after each of them, the initial one first.
    states: Vec<Model>,
}

fn history(requests: Vec<Request>) -> History {
    let mut states = vec![Model::new()];
    let mut txns = Vec::new();
    for request in requests {
        let mut model = states.last().unwrap().clone();
        let n = txns.len() as i64;
        let mut header = TxnHeader {
            session: SessionId(100 + n % 3),
            cxid: 1,
            zxid: Zxid(n + 1),
            // Not in order: clocks jump.
            time: 1000 + n * 7 % 60,
            kind: 0,
        };
        if let Request::Close { session } = request {
            header.session = SessionId(100 + i64::from(session));
        }
        let txn = match request {
            Request::Multi(parts) => {
                let mut ahead = model.clone();
                let parts = parts.iter().map(|part| {
                    let txn = match part {
                        Request::Close { .. } => Txn::Check { path: text("/"), version: 0 },
                        part => prepare(&ahead, &header, part),
                    };
                    ahead.apply(&header, &txn);
                    txn
                });
                Txn::Multi(parts.collect())
            }
            request => prepare(&model, &header, &request),
        };
        header.kind = txn.kind();
        model.apply(&header, &txn);
        txns.push((header, txn));
        states.push(model);
    }
    History { txns, states }
}

/// The transaction that a leader would log.
fn prepare(model: &Model, header: &TxnHeader, request: &Request) -> Txn<'static> {
    let pick = |n: usize| {
        let open: Vec<&String> = model.nodes.keys().filter(|path| !path.starts_with("/zookeeper")).collect();
        open[n % open.len()].clone()
    };
    let acl = |n: u8| match n {
        0 => AclList::OPEN,
        n => AclList::from_encoded(list_of(&n.to_string()).leak()).unwrap(),
    };
    match request {
        Request::Create { parent, name, kind, data, acl: list } => {
            let parent = pick(*parent);
            let above = &model.nodes[&parent].stat;
            let path =
                format!("{parent}/{}", ["a", "b", "c", "long-name-of-a-node", "ä€"][usize::from(*name)]);
            let is_ephemeral =
                matches!(NodeKind::of_owner(above.ephemeral_owner, OPTIONS), NodeKind::Ephemeral(_));
            if is_ephemeral || model.nodes.contains_key(&path) || parent.matches('/').count() > 4 {
                return Txn::Error { code: -110 };
            }
            Txn::Create(CreateTxn {
                kind: match kind {
                    0 | 1 => CreateKind::Create { ephemeral: true },
                    2 => CreateKind::Create2 { ephemeral: true },
                    3 => CreateKind::Container,
                    4 => CreateKind::Ttl { ttl_ms: 40 },
                    5 => CreateKind::Create2 { ephemeral: false },
                    _ => CreateKind::Create { ephemeral: false },
                },
                path: path.into(),
                data: data.map(|len| &*vec![len; usize::from(len)].leak()),
                acl: acl(*list),
                parent_cversion: above.cversion + 1,
            })
        }
        Request::Delete { node } => {
            let path = pick(*node);
            if path.is_empty() || !model.children(&path).is_empty() {
                return Txn::Error { code: -111 };
            }
            Txn::Delete { path: path.into(), container: false }
        }
        Request::SetData { node, data } => {
            let path = pick(*node);
            let version = model.nodes[&path].stat.version + 1;
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let data = data.map(|len| &*vec![len as u8; usize::from(len)].leak());
            Txn::SetData { path: path.into(), data, version }
        }
        Request::SetAcl { node, acl: list } => {
            let path = pick(*node);
            let version = model.nodes[&path].stat.aversion + 1;
            let path = if path.is_empty() { "/".to_owned() } else { path };
            Txn::SetAcl { path: path.into(), acl: acl(*list), version }
        }
        Request::Close { .. } => {
            let paths = model.ephemerals(header.session).into_iter().map(Into::into).collect();
            Txn::CloseSession { paths: Some(paths) }
        }
        Request::Fail => Txn::Error { code: -101 },
        Request::Multi(_) => unreachable!("no multi in a multi"),
    }
}

proptest! {
    #[test]
    fn a_tree_is_what_a_map_of_paths_would_be(requests in proptest::collection::vec(request(), 1..120)) {
        let History { txns, states } = history(requests);
        let mut tree = Tree::new(OPTIONS);
        for ((header, txn), state) in txns.iter().zip(&states[1..]) {
            tree.apply(header, txn, &mut ());
            prop_assert_eq!(tree.digest(), state.digest());
        }
        states.last().unwrap().assert_same(&tree);
    }

    #[test]
    fn applying_a_suffix_again_changes_nothing(
        requests in proptest::collection::vec(request(), 1..80), from in any::<usize>()
    ) {
        let History { txns, states } = history(requests);
        let mut tree = Tree::new(OPTIONS);
        txns.iter().for_each(|(header, txn)| tree.apply(header, txn, &mut ()));
        for (header, txn) in &txns[from % txns.len()..] {
            tree.apply(header, txn, &mut ());
        }
        states.last().unwrap().assert_same(&tree);
    }

    /// Slices of a few bytes are written between transactions; what comes out is loaded, the log from where the
    /// snapshot began is replayed, and the result is the state at the end of the log.
    #[test]
    fn a_fuzzy_snapshot_and_replay_give_the_exact_state(
        requests in proptest::collection::vec(request(), 1..120),
        begin in any::<usize>(),
        slice in 1usize..1500,
    ) {
        let History { txns, states } = history(requests);
        let begin = begin % txns.len();
        let mut tree = Tree::new(OPTIONS);
        let (mut acls, mut nodes, mut cursor) = (Vec::new(), Vec::new(), None);
        for (n, (header, txn)) in txns.iter().enumerate() {
            if n == begin {
                cursor = Some(tree.snapshot_begin());
                tree.write_acl_map(&mut acls);
            }
            // Walks at the same time, of learners that come and go, must not disturb each other.
            let other = tree.snapshot_begin();
            tree.apply(header, txn, &mut ());
            cursor.take_if(|cursor| tree.snapshot_slice(*cursor, &mut nodes, slice));
            if n % 2 == 0 {
                tree.snapshot_abandon(other);
            }
        }
        while cursor.take_if(|cursor| tree.snapshot_slice(*cursor, &mut nodes, slice)).is_none() && cursor.is_some() {}
        states.last().unwrap().assert_same(&tree);

        let mut loaded = load(&acls, &nodes, Zxid(begin as i64));
        for (header, txn) in &txns[begin..] {
            loaded.apply(header, txn, &mut ());
        }
        states.last().unwrap().assert_same(&loaded);
        prop_assert_eq!(loaded.last_zxid(), tree.last_zxid());
    }

    /// Records as no leader would make them: any path, any version, in any order.
    #[test]
    fn nothing_in_a_record_makes_applying_panic(
        records in proptest::collection::vec(
            ("(/|//|/a|/b|/zookeeper|/quota|/config|/zookeeper_limits|/zookeeper_stats|x|/\u{e9}){0,5}",
             0u8..8, any::<Option<u8>>(), any::<i32>(), any::<i64>()),
            1..60,
        )
    ) {
        let mut tree = Tree::new(OPTIONS);
        for (n, (path, what, data, number, long)) in records.into_iter().enumerate() {
            let path = || text(&path);
            let bytes = data.map(|byte| [b'c', b'o', byte]);
            let data = bytes.as_ref().map(|bytes| &bytes[..]);
            let create = |kind| {
                let acl = if number & 1 == 0 { AclList::OPEN } else { AclList::NULL };
                Txn::Create(CreateTxn { kind, path: path(), data, acl, parent_cversion: number })
            };
            let txn = match what {
                0 => create(CreateKind::Create { ephemeral: number & 2 == 0 }),
                1 => create(CreateKind::Ttl { ttl_ms: long }),
                2 => create(CreateKind::Container),
                3 => Txn::Delete { path: path(), container: false },
                4 => Txn::SetData { path: path(), data, version: number },
                5 => Txn::SetAcl { path: path(), acl: AclList::NULL, version: number },
                6 => Txn::CloseSession { paths: Some(vec![path()]) },
                _ => create(CreateKind::Create2 { ephemeral: false }),
            };
            let header =
                TxnHeader { session: SessionId(long), cxid: 0, zxid: Zxid(n as i64), time: long, kind: 0 };
            tree.apply(&header, &txn, &mut ());
            tree.expired_containers(long, 1, 10);
            tree.quota_usage_by_namespace();
            tree.quota_exceeded(&path(), 1, 1);
        }
        let (mut acls, mut nodes) = (Vec::new(), Vec::new());
        let cursor = tree.snapshot_begin();
        tree.write_acl_map(&mut acls);
        prop_assert!(tree.snapshot_slice(cursor, &mut nodes, usize::MAX / 2));
        prop_assert_eq!(load(&acls, &nodes, tree.last_zxid()).digest(), tree.digest());
    }
}

// ---- Single cases ----

/// A tree and the zxid of the next transaction.
struct Fixture {
    tree: Tree,
    zxid: i64,
    seen: Seen,
}

/// What the observer was told, as text.
#[derive(Default)]
struct Seen(Vec<String>);

impl Observer for Seen {
    fn event(&mut self, event: EventType, path: &str, acl: AclList<'_>) {
        let perms = acl.entries().next().map_or(0, |acl| acl.perms);
        self.0.push(format!("{event:?} {path} {perms}"));
    }

    fn result(&mut self, result: OpResult<'_>) {
        self.0.push(match result {
            OpResult::Created { path, stat } => format!("created {path} {}", stat.czxid),
            OpResult::DataSet(stat) => format!("data v{}", stat.version),
            OpResult::AclSet(stat) => format!("acl v{}", stat.aversion),
            other => format!("{other:?}"),
        });
    }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { tree: Tree::new(OPTIONS), zxid: 0, seen: Seen::default() }
    }

    fn apply(&mut self, session: i64, txn: Txn<'_>) -> Vec<String> {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(session),
            cxid: 0,
            zxid: Zxid(self.zxid),
            time: 1000,
            kind: txn.kind(),
        };
        self.tree.apply(&header, &txn, &mut self.seen);
        std::mem::take(&mut self.seen.0)
    }

    fn create(&mut self, path: &str, data: &str) -> Vec<String> {
        self.create_as(path, data, CreateKind::Create { ephemeral: false })
    }

    fn create_as(&mut self, path: &str, data: &str, kind: CreateKind) -> Vec<String> {
        let txn = CreateTxn {
            kind,
            path: text(path),
            data: Some(data.as_bytes()),
            acl: AclList::OPEN,
            parent_cversion: -1,
        };
        self.apply(7, Txn::Create(txn))
    }

    fn delete(&mut self, path: &str) -> Vec<String> {
        self.apply(7, Txn::Delete { path: text(path), container: false })
    }

    fn set(&mut self, path: &str, data: &str) -> Vec<String> {
        self.apply(7, Txn::SetData { path: text(path), data: Some(data.as_bytes()), version: 1 })
    }

    fn data(&self, path: &str) -> &str {
        std::str::from_utf8(self.tree.data(self.tree.find(path).unwrap()).unwrap()).unwrap()
    }
}

#[test]
fn a_fresh_tree_has_four_nodes_and_the_known_digest() {
    let tree = Tree::new(OPTIONS);
    assert_eq!((tree.digest(), tree.node_count(), tree.approximate_data_size()), (0x51c6_d660, 4, 44));
    let stat = |path| tree.stat(tree.find(path).unwrap());
    assert_eq!(["/", "/zookeeper", "/zookeeper/quota"].map(|path| stat(path).cversion), [-1, -2, 0]);
    let config = stat("/zookeeper/config");
    assert_eq!((config.aversion, config.cversion), (-1, 0));
    assert_eq!(tree.acl_world_perms(tree.acl_id(tree.find("/zookeeper/config").unwrap())), 1);
    let mut map = Vec::new();
    tree.write_acl_map(&mut map);
    assert_eq!(map[..12], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    Model::new().assert_same(&tree);
}

#[test]
fn only_exact_paths_are_found() {
    let mut f = Fixture::new();
    f.create("/a", "");
    assert_eq!(f.tree.find(""), f.tree.find("/"));
    assert!(f.tree.find("/").is_some() && f.tree.find("/a").is_some());
    for path in ["a", "//", "/a/", "//a", "/a//", "/b", "/a/b", "zookeeper"] {
        assert_eq!(f.tree.find(path), None, "{path}");
    }
}

#[test]
fn events_and_results_come_in_javas_order() {
    let mut f = Fixture::new();
    assert_eq!(f.create("/a", ""), ["NodeCreated /a 31", "NodeChildrenChanged / 31", "created /a 1"]);
    assert_eq!(f.create("/a", ""), ["Failed(-110)"]);
    assert_eq!(f.create("/x/y", ""), ["Failed(-101)"]);
    assert_eq!(f.set("/a", "1"), ["NodeDataChanged /a 31", "data v1"]);
    assert_eq!(f.set("/x", "1"), ["Failed(-101)"]);
    let acl = Txn::SetAcl { path: text("/a"), acl: AclList::READ_ONLY, version: 1 };
    assert_eq!(f.apply(7, acl), ["acl v1"]);
    let ephemeral = CreateKind::Create { ephemeral: true };
    assert_eq!(f.create_as("/a/e", "", ephemeral)[1], "NodeChildrenChanged /a 1");
    f.create_as("/f", "", ephemeral);
    let close = Txn::CloseSession { paths: Some(vec![text("/f"), text("/gone")]) };
    assert_eq!(
        f.apply(7, close),
        [
            "NodeDeleted /f 31",
            "NodeChildrenChanged / 31",
            "NodeDeleted /a/e 31",
            "NodeChildrenChanged /a 1",
            "SessionClosed { id: SessionId(7) }",
        ]
    );
    assert_eq!(f.delete("/a"), ["NodeDeleted /a 1", "NodeChildrenChanged / 31", "Deleted"]);
    assert_eq!(
        f.apply(9, Txn::CreateSession { timeout_ms: 5 }),
        ["SessionCreated { id: SessionId(9), timeout_ms: 5 }"]
    );
}

#[test]
fn a_failed_multi_changes_nothing_and_tells_each_part_its_code() {
    let mut f = Fixture::new();
    f.create("/a", "");
    let before = f.tree.digest();
    let multi = Txn::Multi(vec![
        Txn::Delete { path: text("/a"), container: false },
        Txn::Error { code: -103 },
        Txn::Error { code: -2 },
    ]);
    assert_eq!(f.apply(7, multi), ["Failed(0)", "Failed(-103)", "Failed(-2)"]);
    assert_eq!((f.tree.digest(), f.tree.last_zxid()), (before, Zxid(2)));
}

#[test]
fn a_deleted_childs_pzxid_reaches_the_parent_even_at_replay() {
    let mut f = Fixture::new();
    f.create("/a", "");
    assert_eq!(f.delete("/a/gone"), ["Failed(-101)"]);
    let stat = f.tree.stat(f.tree.find("/a").unwrap());
    assert_eq!((stat.pzxid, stat.cversion), (2, 0));
}

#[test]
fn a_replayed_delete_takes_along_what_a_later_node_of_that_name_has() {
    let mut f = Fixture::new();
    f.create("/a", "");
    f.create("/a/b", "");
    f.create_as("/a/b/c", "", CreateKind::Create { ephemeral: true });
    assert_eq!(f.delete("/a"), ["NodeDeleted /a 31", "NodeChildrenChanged / 31", "Deleted"]);
    assert_eq!((f.tree.node_count(), f.tree.ephemeral_count()), (4, 0));
}

#[test]
fn null_and_empty_data_stay_apart() {
    let mut f = Fixture::new();
    f.create("/a", "");
    let id = f.tree.find("/a").unwrap();
    assert_eq!(f.tree.data(id), Some(&b""[..]));
    f.apply(7, Txn::SetData { path: text("/a"), data: None, version: 1 });
    let id = f.tree.find("/a").unwrap();
    assert_eq!((f.tree.data(id), f.tree.stat(id).data_length), (None, 0));
}

#[test]
fn names_and_data_of_any_length_are_kept() {
    let mut f = Fixture::new();
    for len in [1, 100, 32_766, 32_767, 32_768, 70_000] {
        let path = format!("/{}", "n".repeat(len));
        f.create(&path, "x");
        for data in [0, 10, 1020, 5000, 900_000, 3] {
            let data = "d".repeat(data);
            f.set(&path, &data);
            assert_eq!(f.data(&path), data);
        }
        let child = format!("{path}/c");
        f.create(&child, "");
        assert_eq!(f.tree.store.path(f.tree.find(&child).unwrap().0.get()), child);
        f.delete(&child);
        f.delete(&path);
    }
    assert_eq!(f.tree.node_count(), 4);
}

#[test]
fn more_lists_than_a_node_has_bits_for_are_kept_apart() {
    let mut f = Fixture::new();
    f.tree = Tree::new(TreeOptions { digest: false, ..OPTIONS });
    let n = 66_000;
    for i in 0..n {
        let (path, acl) = (format!("/{i}"), list_of(&i.to_string()));
        let acl = AclList::from_encoded(&acl).unwrap();
        let kind = CreateKind::Create { ephemeral: false };
        f.apply(7, Txn::Create(CreateTxn { kind, path: text(&path), data: None, acl, parent_cversion: -1 }));
    }
    for i in [0, 65_533, 65_534, 65_535, n - 1] {
        let id = f.tree.find(&format!("/{i}")).unwrap();
        assert_eq!(f.tree.acl(f.tree.acl_id(id)).bytes(), list_of(&i.to_string()));
        assert_eq!(f.tree.state(id).stat.aversion, 0);
    }
}

#[test]
fn ttl_owners_are_ttls_and_never_sessions() {
    let owner = 0xff00_0000_0000_0028_u64 as i64;
    for extended_types in [false, true] {
        let options = TreeOptions { extended_types, ..OPTIONS };
        assert_eq!(NodeKind::of_owner(owner, options), NodeKind::Ttl { ms: 40 });
        assert_eq!(NodeKind::Ttl { ms: 40 }.owner(options), owner);
        assert_eq!(NodeKind::of_owner(i64::MIN, options), NodeKind::Container);
        assert_eq!(NodeKind::of_owner(-5, options), NodeKind::Ephemeral(SessionId(-5)));
    }
    let old = TreeOptions { emulate_353_ttl: true, ..OPTIONS };
    assert_eq!(NodeKind::of_owner(NodeKind::Ttl { ms: 40 }.owner(old), old), NodeKind::Ttl { ms: 40 });
}

#[test]
fn a_poisoned_ttl_of_a_java_log_makes_a_persistent_node() {
    // Java exits on this record, and again on every restart (client-protocol.md 19).
    let mut f = Fixture::new();
    f.create_as("/t", "", CreateKind::Ttl { ttl_ms: -1 });
    assert_eq!(f.tree.state(f.tree.find("/t").unwrap()).kind, NodeKind::Persistent);
}

#[test]
fn containers_go_when_their_children_have_gone() {
    let mut f = Fixture::new();
    f.create_as("/c", "", CreateKind::Container);
    f.create_as("/t", "", CreateKind::Ttl { ttl_ms: 50 });
    assert_eq!(f.tree.expired_containers(1050, 0, 9), [""; 0]);
    assert_eq!(f.tree.expired_containers(1051, 0, 9), ["/t"]);
    assert_eq!(f.tree.expired_containers(1051, 50, 9), ["/c", "/t"]);
    f.create("/c/x", "");
    f.create("/t/x", "");
    assert_eq!(f.tree.expired_containers(9999, 50, 9), [""; 0]);
    f.delete("/c/x");
    f.delete("/t/x");
    assert_eq!(f.tree.expired_containers(1000, 0, 9), ["/c"]);
    assert_eq!(f.tree.expired_containers(9999, 0, 1), ["/c"]);
    assert_eq!(f.tree.expired_containers(9999, 0, 9), ["/c", "/t"]);
    f.delete("/c");
    f.delete("/t");
    assert_eq!(f.tree.expired_containers(9999, 50, 9), [""; 0]);
}

#[test]
fn quotas_count_what_is_at_and_below_their_path() {
    let mut f = Fixture::new();
    f.create("/q", "12345");
    f.create("/q/a", "123");
    f.create("/zookeeper/quota/q", "");
    f.create("/zookeeper/quota/q/zookeeper_limits", "count=3,bytes=-1=;byteHardLimit=10");
    f.create("/zookeeper/quota/q/zookeeper_stats", "whatever");
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    assert_eq!(f.data(stats), "count=2,bytes=8");
    f.create("/q/b", "1");
    f.create("/qq", "not counted");
    assert_eq!(f.data(stats), "count=3,bytes=9");
    assert_eq!(f.tree.quota_exceeded("/q/c", 1, 0), QuotaVerdict::SoftExceeded);
    assert_eq!(f.tree.quota_exceeded("/q/c", 1, 2), QuotaVerdict::HardExceeded);
    assert_eq!(f.tree.quota_exceeded("/q/b", 0, 1), QuotaVerdict::Ok);
    assert_eq!(f.tree.quota_exceeded("/qq", 1, 100), QuotaVerdict::Ok);
    let usage = QuotaUsage { namespace: "q".into(), count_limit: 3, bytes_limit: 10, count: 3, bytes: 9 };
    assert_eq!(f.tree.quota_usage_by_namespace(), [usage]);
    let before = f.tree.stat(f.tree.find(stats).unwrap());
    f.set("/q/b", "1234567");
    f.delete("/q/a");
    assert_eq!(f.data(stats), "count=2,bytes=12");
    let after = f.tree.stat(f.tree.find(stats).unwrap());
    assert_eq!((before.mzxid, before.version), (after.mzxid, after.version));

    let (mut acls, mut nodes) = (Vec::new(), Vec::new());
    f.set(stats, "nonsense");
    f.create("/q/d", "1");
    assert_eq!(f.data(stats), "count=0,bytes=0");
    let cursor = f.tree.snapshot_begin();
    f.tree.write_acl_map(&mut acls);
    f.tree.snapshot_slice(cursor, &mut nodes, 1 << 20);
    let loaded = load(&acls, &nodes, f.tree.last_zxid());
    assert_eq!(loaded.data(loaded.find(stats).unwrap()), Some(&b"count=3,bytes=13"[..]));

    f.delete("/zookeeper/quota/q/zookeeper_limits");
    f.create("/q/e", "1");
    assert_eq!(f.data(stats), "count=0,bytes=0");
}

#[test]
fn a_limit_where_no_quota_can_be_is_a_plain_node() {
    // Java exits on the first, and throws on deleting the second (client-protocol.md 19).
    let mut f = Fixture::new();
    for parent in ["/zookeeper/quota", "/zookeeper/z"] {
        f.create("/zookeeper/z", "");
        let path = format!("{parent}/zookeeper_limits");
        assert_eq!(f.create(&path, "count=1")[2], format!("created {path} {}", f.zxid));
        assert_eq!(f.delete(&path)[2], "Deleted");
    }
}

#[test]
fn sessions_that_are_gone_lose_their_ephemerals_without_a_transaction() {
    let mut f = Fixture::new();
    f.create("/a", "");
    f.create_as("/a/e", "", CreateKind::Create { ephemeral: true });
    f.tree.kill_session(SessionId(7));
    assert_eq!((f.tree.find("/a/e"), f.tree.last_zxid(), f.tree.ephemeral_count()), (None, Zxid(2), 0));
    assert_eq!(f.tree.sessions_with_ephemerals().count(), 0);
}

#[test]
fn a_snapshot_without_a_parent_is_refused() {
    let mut loader = TreeLoader::new(OPTIONS);
    let stat = StatPersisted::default();
    loader.node("", Some(b""), -1, &stat).unwrap();
    let missing = MissingParent { path: "/a/b".into() };
    assert_eq!(loader.node("/a/b", None, -1, &stat), Err(missing));
}

#[test]
fn a_list_that_the_map_lacks_lets_nobody_in_until_it_is_replayed() {
    let mut loader = TreeLoader::new(OPTIONS);
    let stat = StatPersisted { czxid: 5, ..StatPersisted::default() };
    loader.node("", Some(b""), -1, &StatPersisted::default()).unwrap();
    loader.node("/a", None, 9, &stat).unwrap();
    let mut tree = loader.finish(Zxid(4));
    let acl = tree.acl_id(tree.find("/a").unwrap());
    assert!(tree.acl(acl).entries().all(|acl| acl.perms == 0) && !tree.acl(acl).is_empty());
    let kind = CreateKind::Create { ephemeral: false };
    let create = CreateTxn { kind, path: text("/a"), data: None, acl: AclList::OPEN, parent_cversion: 1 };
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(5), time: 0, kind: 1 };
    tree.apply(&header, &Txn::Create(create), &mut ());
    assert_eq!(tree.acl(tree.acl_id(tree.find("/a").unwrap())), AclList::OPEN);
}

#[test]
fn nodes_created_after_a_snapshot_began_are_left_to_the_log() {
    let mut f = Fixture::new();
    f.create("/a", "");
    f.create("/a/b", "");
    let cursor = f.tree.snapshot_begin();
    f.delete("/a/b");
    f.delete("/a");
    f.create("/a", "");
    f.create("/z", "");
    let (mut acls, mut nodes) = (Vec::new(), Vec::new());
    f.tree.write_acl_map(&mut acls);
    assert!(f.tree.snapshot_slice(cursor, &mut nodes, 1 << 20));
    let loaded = load(&acls, &nodes, Zxid(2));
    assert_eq!((loaded.find("/a"), loaded.find("/z"), loaded.node_count()), (None, None, 4));
}

#[test]
fn a_znode_costs_less_than_a_hundred_bytes_beyond_its_name_and_data() {
    let mut f = Fixture::new();
    f.tree = Tree::new(TreeOptions { digest: false, ..OPTIONS });
    f.create("/parent", "");
    let before = f.tree.memory();
    let n = 100_000;
    let data = "d".repeat(100);
    for i in 0..n {
        f.create(&format!("/parent/node-{i:07}"), &data);
    }
    let each = (f.tree.memory() - before) / n - (12 + 100);
    assert!((64..=96).contains(&each), "{each} bytes");
}

#[test]
fn an_acl_id_that_no_server_counted_to_is_not_counted_on_from() {
    let mut loader = TreeLoader::new(OPTIONS);
    loader.acl(i64::MAX, AclList::READ_ONLY);
    loader.node("", None, i64::MAX, &StatPersisted::default()).expect("the root");
    loader.node("/a", None, i64::MAX - 1, &StatPersisted::default()).expect("its parent is there");
    let tree = loader.finish(Zxid(1));
    assert_eq!(tree.acl(tree.acl_id(tree.find("/").expect("the root"))), AclList::READ_ONLY);
}
