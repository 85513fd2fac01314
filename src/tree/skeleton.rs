use super::types::*;
use crate::ids::{SessionId, Zxid};
use crate::wire::records::{AclList, Stat, StatPersisted};
use crate::wire::txn::{Txn, TxnHeader};

pub struct Tree {
    last_zxid: Zxid,
}

#[allow(unused_variables)]
impl Tree {
    pub fn new(options: TreeOptions) -> Tree {
        Tree { last_zxid: Zxid::ZERO }
    }
    pub fn find(&self, path: &str) -> Option<NodeId> {
        None
    }
    pub fn state(&self, id: NodeId) -> NodeState {
        unreachable!("no node was found")
    }
    pub fn stat(&self, id: NodeId) -> Stat {
        Stat::default()
    }
    pub fn data(&self, id: NodeId) -> Option<&[u8]> {
        None
    }
    pub fn acl_id(&self, id: NodeId) -> AclId {
        AclId { slot: 0, serial: 0 }
    }
    pub fn acl(&self, id: AclId) -> AclList<'_> {
        AclList::OPEN
    }
    /// The permissions that world:anyone has by this list.
    pub fn acl_world_perms(&self, id: AclId) -> i32 {
        31
    }
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    pub fn descendants(&self, id: NodeId) -> usize {
        0
    }
    pub fn ephemerals(&self, session: SessionId) -> Vec<String> {
        Vec::new()
    }
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = (SessionId, usize)> {
        std::iter::empty()
    }
    pub fn digest(&self) -> u64 {
        0
    }
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }
    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.last_zxid = zxid;
    }
    /// Znodes, the root counted once.
    pub fn node_count(&self) -> usize {
        0
    }
    pub fn approximate_data_size(&self) -> u64 {
        0
    }
    pub fn ephemeral_count(&self) -> usize {
        0
    }
    pub fn apply<O: Observer>(&mut self, header: &TxnHeader, txn: &Txn<'_>, observer: &mut O) {}
    pub fn quota_exceeded(&self, path: &str, count_diff: i64, bytes_diff: i64) -> QuotaVerdict {
        QuotaVerdict::Ok
    }
    pub fn expired_containers(&self, wall_ms: i64, never_used_ms_max: i64, limit: usize) -> Vec<String> {
        Vec::new()
    }
    pub fn quota_usage_by_namespace(&self) -> Vec<QuotaUsage> {
        Vec::new()
    }
    pub fn snapshot_begin(&mut self) {}
    pub fn write_acl_map(&self, out: &mut Vec<u8>) {}
    pub fn snapshot_slice(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        true
    }
    pub fn snapshot_abandon(&mut self) {}
}

pub struct TreeLoader {}

#[allow(unused_variables)]
impl TreeLoader {
    pub fn new(options: TreeOptions) -> TreeLoader {
        TreeLoader {}
    }
    pub fn acl(&mut self, id: i64, list: AclList<'_>) {}
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), MissingParent> {
        Ok(())
    }
    pub fn finish(self, last_zxid: Zxid) -> Tree {
        Tree { last_zxid }
    }
}
