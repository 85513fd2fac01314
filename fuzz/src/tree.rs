//! The tree under any history: `serval::tree`.
//!
//! The bytes are a program of a few instructions over few names, so that creates, deletes and snapshots meet.

use serval::ids::{SessionId, Zxid};
use serval::storage::snapshot::{self, encode_start};
use serval::storage::{BadNode, SnapshotSink};
use serval::tree::{CursorId, NodeState, Tree, TreeLoader, TreeOptions};
use serval::wire::records::{AclList, StatPersisted};
use serval::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, text};

/// Parents, children, quota nodes with their limits, and paths that no client may use but a log may hold.
const PATHS: [&str; 16] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/d",
    "/e",
    "/e/f",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/e",
    "/zookeeper/quota/e/zookeeper_limits",
    "/zookeeper/config",
    "/",
    "",
    "/a/",
    "//a",
];
const DATA: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"count=2,bytes=9"), Some(&[b'x'; 300])];
const ACLS: [AclList<'static>; 3] = [AclList::OPEN, AclList::READ_ONLY, AclList::NULL];
const OPTIONS: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };

/// Applies a history, with a snapshot running through it, and compares the tree with one that was loaded from a
/// snapshot of it.
pub fn tree(bytes: &[u8]) {
    let mut tree = Tree::new(OPTIONS);
    let mut zxid = Zxid::ZERO;
    let mut snapshot = Vec::new();
    let mut walks: Vec<CursorId> = Vec::new();
    for op in bytes.chunks_exact(3) {
        zxid = zxid.next();
        let session = SessionId(i64::from(op[1] >> 6) + 1);
        let (path, data) = (PATHS[usize::from(op[1] % 16)], DATA[usize::from(op[2] % 4)]);
        let txn = match op[0] % 10 {
            0 => {
                walks.push(tree.snapshot_begin());
                snapshot.clear();
                continue;
            }
            1 => {
                let max = usize::from(op[1]);
                walks.retain(|walk| !tree.snapshot_slice(*walk, &mut snapshot, max));
                continue;
            }
            kind => txn(kind, path, data, op[2]),
        };
        let header = TxnHeader { session, cxid: 0, zxid, time: i64::from(op[2]), kind: txn.kind() };
        tree.apply(&header, &txn, &mut ());
    }
    assert!(tree.last_zxid() <= zxid);
    let loaded = load(&write(&mut tree)).expect("what the tree writes, it reads");
    check_equal(&tree, &loaded);
}

fn txn(kind: u8, path: &'static str, data: Option<&'static [u8]>, detail: u8) -> Txn<'static> {
    let acl = ACLS[usize::from(detail >> 2) % ACLS.len()];
    let path = text(path);
    match kind {
        2..=4 => {
            let kind = match detail >> 4 {
                0..=5 => CreateKind::Create { ephemeral: false },
                6..=9 => CreateKind::Create2 { ephemeral: true },
                10..=12 => CreateKind::Container,
                _ => CreateKind::Ttl { ttl_ms: i64::from(detail) },
            };
            Txn::Create(CreateTxn { kind, path, data, acl, parent_cversion: i32::from(detail) - 1 })
        }
        // Loading brings the node of the configuration back, so its deletion does not last.
        5 | 6 | 9 if path == "/zookeeper/config" => Txn::Error { code: -101 },
        5 | 6 => Txn::Delete { path, container: detail & 1 == 1 },
        7 => Txn::SetData { path, data, version: i32::from(detail) },
        8 => Txn::SetAcl { path, acl, version: i32::from(detail) },
        _ if detail & 1 == 0 => Txn::CloseSession { paths: None },
        _ => Txn::Multi(vec![
            Txn::Delete { path: path.clone(), container: false },
            Txn::SetData { path, data, version: 1 },
        ]),
    }
}

/// A whole snapshot, but for its seals.
fn write(tree: &mut Tree) -> Vec<u8> {
    let mut out = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    encode_start(&mut out, std::iter::empty(), 0);
    // The map of ACLs brings its own count.
    out.truncate(out.len() - 4);
    tree.write_acl_map(&mut out);
    let walk = tree.snapshot_begin();
    while !tree.snapshot_slice(walk, &mut out, 100) {}
    out.extend_from_slice(b"\0\0\0\x01/");
    out
}

fn load(bytes: &[u8]) -> Option<Tree> {
    let mut sink = Sink { loader: TreeLoader::new(OPTIONS), nodes: 0, bad: false };
    // An error is due to the missing seals, unless the loader gave it.
    drop(snapshot::parse(bytes, 1 << 16, &mut sink));
    (!sink.bad && sink.nodes > 0).then(|| sink.loader.finish(Zxid::ZERO))
}

struct Sink {
    loader: TreeLoader,
    nodes: usize,
    bad: bool,
}

impl SnapshotSink for Sink {
    fn begin(&mut self) {}

    fn session(&mut self, _: SessionId, _: i32) {}

    fn acl(&mut self, id: i64, list: AclList<'_>) {
        self.loader.acl(id, list);
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BadNode> {
        self.nodes += 1;
        self.loader.node(path, data, acl_id, stat).map_err(|_| {
            self.bad = true;
            BadNode("a node without its parent")
        })
    }
}

fn check_equal(a: &Tree, b: &Tree) {
    assert_eq!(a.node_count(), b.node_count());
    assert_eq!(a.digest(), b.digest());
    // What a quota has used is counted anew at loading, and its znode then says that.
    let counted = |path: &str| path.ends_with("/zookeeper_stats");
    if PATHS.iter().all(|path| !counted(path) || a.find(path).is_none()) {
        assert_eq!(a.approximate_data_size(), b.approximate_data_size());
    }
    assert_eq!(a.ephemeral_count(), b.ephemeral_count());
    let limits = |tree: &Tree| -> Vec<(String, i64, i64)> {
        let all = tree.quota_usage_by_namespace().into_iter();
        all.map(|quota| (quota.namespace.to_string(), quota.count_limit, quota.bytes_limit)).collect()
    };
    assert_eq!(limits(a), limits(b));
    for path in PATHS.into_iter().filter(|path| !counted(path)) {
        let shown = |tree: &Tree| {
            let id = tree.find(path)?;
            let NodeState { stat, data_len, children, acl, prefix_crc, kind } = tree.state(id);
            let acl = tree.acl(acl).bytes().to_vec();
            Some((stat, data_len, children, acl, prefix_crc, kind, tree.data(id).map(<[u8]>::to_vec)))
        };
        assert_eq!(shown(a), shown(b), "{path}");
    }
}

/// Any snapshot that parses is a tree or is refused, and a tree that was loaded can be written.
pub fn check_loadable(bytes: &[u8]) {
    if let Some(mut tree) = load(bytes) {
        drop(write(&mut tree));
    }
}
