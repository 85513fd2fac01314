//! The tree as one would write it without caring what it costs: a map of full paths. Tests hold the real one
//! against it.

use std::collections::{BTreeMap, BTreeSet};

use super::{NodeKind, Tree, TreeLoader, TreeOptions, digest_counts, split};
use crate::ids::{SessionId, Zxid};
use crate::wire::jute::Reader;
use crate::wire::records::{Acl, AclList, StatPersisted};
use crate::wire::txn::{CreateKind, Txn, TxnHeader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelNode {
    pub data: Option<Vec<u8>>,
    pub acl: Vec<u8>,
    pub stat: StatPersisted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub nodes: BTreeMap<String, ModelNode>,
    pub zxid: i64,
}

pub const OPTIONS: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };

impl Model {
    pub fn new() -> Model {
        let open = |aversion, acl: AclList<'_>| ModelNode {
            data: Some(Vec::new()),
            acl: acl.bytes().to_vec(),
            stat: StatPersisted { aversion, ..StatPersisted::default() },
        };
        let nodes = BTreeMap::from([
            (String::new(), open(0, AclList::OPEN)),
            ("/zookeeper".into(), open(0, AclList::OPEN)),
            ("/zookeeper/quota".into(), open(0, AclList::OPEN)),
            ("/zookeeper/config".into(), open(-1, AclList::READ_ONLY)),
        ]);
        Model { nodes, zxid: 0 }
    }

    pub fn children(&self, path: &str) -> BTreeSet<&str> {
        self.nodes
            .keys()
            .filter_map(|other| split(other))
            .filter(|(parent, _)| *parent == path)
            .map(|(_, name)| name)
            .collect()
    }

    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.nodes.keys().filter(|other| other.starts_with(&prefix)).cloned().collect()
    }

    pub fn digest(&self) -> u64 {
        self.nodes
            .iter()
            .filter(|(path, _)| digest_counts(path))
            .map(|(path, node)| {
                let mut bytes = path.clone().into_bytes();
                bytes.extend_from_slice(node.data.as_deref().unwrap_or_default());
                bytes.extend_from_slice(&node.stat.digest_bytes());
                u64::from(crc32fast::hash(&bytes))
            })
            .fold(0, u64::wrapping_add)
    }

    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        match txn {
            Txn::Multi(parts) if !txn.failed() => parts.iter().for_each(|part| self.apply_one(header, part)),
            _ => self.apply_one(header, txn),
        }
        self.zxid = self.zxid.max(header.zxid.0);
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>) {
        let zxid = header.zxid.0;
        match txn {
            Txn::Create(create) => {
                let path = create.path.to_string();
                let Some((parent, name)) = split(&path) else { return };
                let Some(above) = self.nodes.get_mut(parent) else { return };
                if name.is_empty() {
                    return;
                }
                let cversion = match create.parent_cversion {
                    -1 => above.stat.cversion.wrapping_add(1),
                    given => given,
                };
                if cversion > above.stat.cversion {
                    (above.stat.cversion, above.stat.pzxid) = (cversion, zxid);
                }
                let acl = if create.acl == AclList::NULL { AclList::OPEN } else { create.acl };
                if let Some(node) = self.nodes.get_mut(&path) {
                    node.acl = acl.bytes().to_vec();
                    return;
                }
                let kind = match create.kind {
                    CreateKind::Create { ephemeral: true } | CreateKind::Create2 { ephemeral: true } => {
                        NodeKind::Ephemeral(header.session)
                    }
                    CreateKind::Container => NodeKind::Container,
                    CreateKind::Ttl { ttl_ms } => NodeKind::Ttl { ms: ttl_ms },
                    _ => NodeKind::Persistent,
                };
                let stat = StatPersisted {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: header.time,
                    mtime: header.time,
                    ephemeral_owner: kind.owner(OPTIONS),
                    ..StatPersisted::default()
                };
                let node =
                    ModelNode { data: create.data.map(<[u8]>::to_vec), acl: acl.bytes().to_vec(), stat };
                self.nodes.insert(path, node);
            }
            Txn::Delete { path, .. } => self.delete(path, zxid),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                if let Some(node) = self.nodes.get_mut(root_is_empty(path)) {
                    node.data = data.map(<[u8]>::to_vec);
                    node.stat.version = *version;
                    node.stat.mzxid = zxid;
                    node.stat.mtime = header.time;
                }
            }
            Txn::SetAcl { path, acl, version } => {
                if let Some(node) = self.nodes.get_mut(root_is_empty(path)) {
                    let acl = if *acl == AclList::NULL { AclList::OPEN } else { *acl };
                    node.acl = acl.bytes().to_vec();
                    node.stat.aversion = *version;
                }
            }
            Txn::CloseSession { paths } => {
                for path in paths.iter().flatten() {
                    self.delete(path, zxid);
                }
                for path in self.ephemerals(header.session) {
                    self.delete(&path, zxid);
                }
            }
            Txn::CreateSession { .. } | Txn::Error { .. } | Txn::Check { .. } | Txn::Multi(_) => {}
        }
    }

    fn delete(&mut self, path: &str, zxid: i64) {
        let Some((parent, name)) = split(path) else { return };
        if name.is_empty() {
            return;
        }
        let Some(above) = self.nodes.get_mut(parent) else { return };
        above.stat.pzxid = above.stat.pzxid.max(zxid);
        if self.nodes.remove(path).is_some() {
            for path in self.below(path) {
                self.nodes.remove(&path);
            }
        }
    }

    pub fn ephemerals(&self, session: SessionId) -> BTreeSet<String> {
        self.owned_by(|kind| kind == NodeKind::Ephemeral(session))
    }

    fn owned_by(&self, wanted: impl Fn(NodeKind) -> bool) -> BTreeSet<String> {
        self.nodes
            .iter()
            .filter(|(_, node)| wanted(NodeKind::of_owner(node.stat.ephemeral_owner, OPTIONS)))
            .map(|(path, _)| path.clone())
            .collect()
    }

    fn expired(&self, now: i64, never_used_ms_max: i64) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (path, node) in self.nodes.iter().filter(|(path, _)| self.children(path).is_empty()) {
            let age = now - node.stat.mtime;
            let goes = match NodeKind::of_owner(node.stat.ephemeral_owner, OPTIONS) {
                NodeKind::Container if node.stat.cversion > 0 => true,
                NodeKind::Container => never_used_ms_max != 0 && age > never_used_ms_max,
                NodeKind::Ttl { ms } => age > ms,
                _ => false,
            };
            if goes {
                found.insert(path.clone());
            }
        }
        found
    }

    /// Panics where `tree` differs.
    pub fn assert_same(&self, tree: &Tree) {
        assert_eq!(tree.node_count(), self.nodes.len());
        for (path, node) in &self.nodes {
            let id = tree.find(path).unwrap_or_else(|| panic!("{path:?} is missing"));
            let state = tree.state(id);
            assert_eq!(state.stat, node.stat, "{path:?}");
            assert_eq!(tree.data(id), node.data.as_deref(), "{path:?}");
            assert_eq!(tree.acl(state.acl).bytes(), node.acl, "{path:?}");
            let children = self.children(path);
            assert_eq!(tree.children(id).collect::<BTreeSet<_>>(), children, "{path:?}");
            assert_eq!(tree.children(id).count(), children.len(), "{path:?}");
            assert_eq!(tree.descendants(id), self.below(path).len(), "{path:?}");
            assert_eq!(state.kind, NodeKind::of_owner(node.stat.ephemeral_owner, OPTIONS));
            let stat = tree.stat(id);
            assert_eq!(stat, state.shown());
            assert_eq!(stat.num_children as usize, children.len());
            assert_eq!(stat.data_length as usize, node.data.as_ref().map_or(0, Vec::len));
            assert_eq!(stat.cversion, node.stat.cversion.wrapping_mul(2).wrapping_sub(stat.num_children));
        }
        assert_eq!(tree.digest(), self.digest());
        let size: usize = self
            .nodes
            .iter()
            .map(|(path, node)| path.encode_utf16().count() + node.data.as_ref().map_or(0, Vec::len))
            .sum();
        assert_eq!(tree.approximate_data_size(), size as u64 + 1);

        let sessions: BTreeMap<SessionId, usize> = tree.sessions_with_ephemerals().collect();
        let mut count = 0;
        for (session, n) in &sessions {
            let paths = tree.ephemerals(*session);
            assert_eq!(paths.len(), *n);
            assert_eq!(paths.into_iter().collect::<BTreeSet<_>>(), self.ephemerals(*session));
            count += n;
        }
        let all = self.owned_by(|kind| matches!(kind, NodeKind::Ephemeral(_)));
        assert_eq!((tree.ephemeral_count(), count), (all.len(), all.len()));

        for (now, unused) in [(0, 0), (1_000, 0), (1_050, 20), (1_000_000, 1)] {
            let expired = tree.expired_containers(now, unused, usize::MAX);
            assert_eq!(expired.len(), expired.iter().collect::<BTreeSet<_>>().len());
            assert_eq!(expired.into_iter().collect::<BTreeSet<_>>(), self.expired(now, unused));
        }
    }
}

fn root_is_empty(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// A list of one digest entry; what it says does not matter here.
pub fn list_of(user: &str) -> Vec<u8> {
    AclList::encode(&[Acl { perms: 31, scheme: Some("digest".into()), id: Some(format!("{user}:x").into()) }])
}

/// Loads what `write_acl_map` and `snapshot_slice` wrote.
pub fn load(acl_map: &[u8], nodes: &[u8], zxid: Zxid) -> Tree {
    let mut loader = TreeLoader::new(OPTIONS);
    let mut r = Reader::new(acl_map, acl_map.len());
    for _ in 0..r.int().unwrap() {
        let id = r.long().unwrap();
        loader.acl(id, AclList::read(&mut r).unwrap());
    }
    assert!(r.is_empty());
    let mut r = Reader::new(nodes, nodes.len());
    while !r.is_empty() {
        let path = r.string().unwrap().unwrap();
        let data = r.buffer().unwrap();
        let acl = r.long().unwrap();
        let stat = StatPersisted::read(&mut r).unwrap();
        loader.node(&path, data, acl, &stat).unwrap();
    }
    loader.finish(zxid)
}
