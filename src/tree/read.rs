//! What can be asked of a tree.

use super::Tree;
use super::acl;
use super::snapshot::CursorId;
use super::store::{ROOT, Store, WARM_MAX};
use super::types::{AclId, NodeId, NodeState, QuotaUsage, QuotaVerdict, shown};
use crate::ids::{SessionId, Zxid};
use crate::wire::records::{AclList, Stat};

/// Nodes from which on a tree is larger than the caches.
const WARM_FROM: usize = 20_000;

impl Tree {
    /// The node at `path`. "" and "/" are the root; what is not a path finds nothing.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        self.store.find(path).map(NodeId::new)
    }

    /// Whether the tree is larger than the caches, so that [`warm`](Tree::warm) is worth it.
    pub fn is_large(&self) -> bool {
        self.store.len() >= WARM_FROM
    }

    /// Tells that these paths are about to be asked for: what a large tree costs is waiting for memory, and this waits
    /// for many nodes at once. Only worth it for a batch; changes nothing.
    pub fn warm(&self, paths: &[&str]) {
        if self.is_large() {
            paths.chunks(WARM_MAX).for_each(|paths| self.store.warm(paths));
        }
    }

    pub fn state(&self, id: NodeId) -> NodeState {
        let slot = id.0.get();
        NodeState {
            stat: self.store.stat(slot),
            data_len: self.store.node(slot).data_len() as u32,
            children: self.store.children_count(slot),
            acl: self.acl_id(id),
            prefix_crc: self.store.prefix_crc(slot),
            kind: self.store.kind(slot),
        }
    }

    /// What a client is shown.
    pub fn stat(&self, id: NodeId) -> Stat {
        self.store.shown(id.0.get())
    }

    /// `None` is null, which is not the same as empty.
    pub fn data(&self, id: NodeId) -> Option<&[u8]> {
        self.store.data(id.0.get())
    }

    pub fn acl_id(&self, id: NodeId) -> AclId {
        self.store.acls.id(self.store.acl_slot(id.0.get()))
    }

    pub fn acl(&self, id: AclId) -> AclList<'_> {
        self.store.acls.get(id)
    }

    /// The permissions that world:anyone has by this list: all for an empty one. Enough for most checks.
    pub fn acl_world_perms(&self, id: AclId) -> i32 {
        self.store.acls.world_perms(id)
    }

    /// The names of the children, oldest first (clients may not rely on any order).
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = &str> {
        let store = &self.store;
        let mut at = store.first_child(id.0.get());
        std::iter::from_fn(move || {
            let id = at;
            (id != 0).then(|| {
                at = store.node(id).next;
                store.name(id)
            })
        })
    }

    /// Nodes below `id` at any depth. Walks them, except for the root.
    pub fn descendants(&self, id: NodeId) -> usize {
        let slot = id.0.get();
        if slot == ROOT {
            return self.store.len() - 1;
        }
        let end = self.store.next_outside(slot);
        let mut at = slot;
        std::iter::from_fn(|| {
            at = self.store.next_in_order(at);
            (at != end).then_some(())
        })
        .count()
    }

    /// The paths of a session's ephemerals, oldest first.
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let first = self.store.first_ephemeral(session);
        std::iter::successors(first, |id| self.store.next_owned(*id)).map(|id| self.store.path(id)).collect()
    }

    /// Sessions that own ephemerals, with how many.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = (SessionId, usize)> {
        self.store.owners().sessions()
    }

    /// The digest of all nodes outside /zookeeper/; 0 if digests are off.
    pub fn digest(&self) -> u64 {
        self.store.digest()
    }

    /// False where digests are switched off; [`Tree::digest`] then says nothing.
    pub fn keeps_digest(&self) -> bool {
        self.store.options.digest
    }

    /// The last transaction applied, or the snapshot's.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }

    /// Znodes, the root counted once (Java's `zk_znode_count` counts it twice).
    pub fn node_count(&self) -> usize {
        self.store.len()
    }

    /// Lengths of all paths and data, in characters and bytes.
    pub fn approximate_data_size(&self) -> u64 {
        self.store.data_size()
    }

    pub fn ephemeral_count(&self) -> usize {
        self.store.owners().ephemerals()
    }

    /// Memory held by the nodes, in bytes.
    pub fn memory(&self) -> usize {
        self.store.memory()
    }

    /// Whether creating (`count_diff` 1) or changing data at `path` would pass a quota. Applied state only.
    pub fn quota_exceeded(&self, path: &str, count_diff: i64, bytes_diff: i64) -> QuotaVerdict {
        self.quotas.verdict(&self.store, path, count_diff, bytes_diff)
    }

    /// Limits and usage by top-level node, sorted by name.
    pub fn quota_usage_by_namespace(&self) -> Vec<QuotaUsage> {
        self.quotas.usage(&self.store)
    }

    /// At most `limit` paths of containers and TTL nodes to delete now (`ContainerManager.getCandidates`).
    /// Containers without children go if they have had some, or have not been written to for longer than
    /// `never_used_ms_max`, where 0 is "ever". The cost is that of the answer.
    pub fn expired_containers(&self, wall_ms: i64, never_used_ms_max: i64, limit: usize) -> Vec<String> {
        let store = &self.store;
        let owners = store.owners();
        let left = std::iter::successors(owners.first_left_container(), |id| store.next_owned(*id));
        let written_before =
            if never_used_ms_max == 0 { i64::MIN } else { wall_ms.saturating_sub(never_used_ms_max) };
        let unused = owners.unused_containers(written_before);
        left.chain(unused).chain(owners.expired_ttls(wall_ms)).take(limit).map(|id| store.path(id)).collect()
    }

    /// Begins to write a snapshot of the nodes.
    pub fn snapshot_begin(&mut self) -> CursorId {
        self.store.snapshot_begin(self.last_zxid.0)
    }

    /// Appends a snapshot's ACL map: `int aclMapSize { long aclId, vector<ACL> }*`.
    pub fn write_acl_map(&self, out: &mut Vec<u8>) {
        acl::write_map(&self.store.acls, out);
    }

    /// Appends the next node records, `bytes_max` bytes and one record at most; true when all have been written.
    pub fn snapshot_slice(&mut self, cursor: CursorId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        self.store.snapshot_slice(cursor, out, bytes_max)
    }

    /// Gives a snapshot up; nothing happens if it has come to its end.
    pub fn snapshot_abandon(&mut self, cursor: CursorId) {
        cursor.end(&mut self.store);
    }
}

impl Store {
    pub fn shown(&self, id: u32) -> Stat {
        shown(&self.stat(id), self.kind(id), self.node(id).data_len() as u32, self.children_count(id))
    }

    pub fn acl_of(&self, id: u32) -> AclList<'_> {
        self.acls.list(self.acl_slot(id))
    }
}
