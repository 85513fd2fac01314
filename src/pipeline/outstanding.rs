//! What transactions that are logged but not yet applied will have done to the tree.
//!
//! A request is prepared against the tree plus this overlay (Java's `outstandingChanges`), so that requests
//! can follow each other without waiting for the disk. A record says what a znode will be; it goes away once
//! the tree has caught up with it.
//!
//! The overlay also carries the digest that the tree will have, so that every transaction can be logged with
//! it (`TxnDigest`).
//!
//! # Invariants
//!
//! 1. A record's zxid is that of the last outstanding transaction that touches its znode.
//! 2. With nothing outstanding, the predicted digest is the tree's.
//! 3. After a rollback overlay and digest are what they were at [`Outstanding::begin`].

use std::collections::VecDeque;
use std::rc::Rc;

use crate::ids::{HashMap, SessionId, Zxid};
use crate::tree::{self, AclId, NodeKind, NodeState, Tree};
use crate::wire::records::{AclList, StatPersisted};

/// The ACL of a znode that may not be in the tree yet.
#[derive(Clone, Debug)]
pub enum PendingAcl {
    /// In the tree, and no outstanding transaction changes it.
    Interned(AclId),
    /// Set by an outstanding transaction, encoded.
    Own(Rc<[u8]>),
    /// Also set by an outstanding transaction, and the list that nearly everybody sets.
    Open,
}

/// A znode as it will be.
#[derive(Clone, Debug)]
pub struct PendingNode {
    pub stat: StatPersisted,
    pub children: u32,
    pub data_len: u32,
    pub acl: PendingAcl,
    pub prefix_crc: u32,
    pub kind: NodeKind,
}

impl PendingAcl {
    pub fn new(encoded: &[u8]) -> PendingAcl {
        if encoded == AclList::OPEN.bytes() { PendingAcl::Open } else { PendingAcl::Own(Rc::from(encoded)) }
    }
}

impl PendingNode {
    fn from_tree(state: NodeState) -> PendingNode {
        PendingNode {
            stat: state.stat,
            children: state.children,
            data_len: state.data_len,
            acl: PendingAcl::Interned(state.acl),
            prefix_crc: state.prefix_crc,
            kind: state.kind,
        }
    }

    pub fn acl_list<'a>(&'a self, tree: &'a Tree) -> AclList<'a> {
        match &self.acl {
            PendingAcl::Interned(id) => tree.acl(*id),
            PendingAcl::Open => AclList::OPEN,
            PendingAcl::Own(bytes) => AclList::from_encoded(bytes).expect("encoded by Auth::fix_acl"),
        }
    }
}

#[derive(Debug)]
struct Change {
    zxid: Zxid,
    /// `None`: the znode will be gone.
    node: Option<PendingNode>,
}

/// The overlay.
#[derive(Debug)]
pub struct Outstanding {
    changes: HashMap<Rc<str>, Change>,
    /// Every change in zxid order; tells which records an applied transaction makes obsolete.
    order: VecDeque<(Zxid, Rc<str>)>,
    digest: u64,
    digest_enabled: bool,
    /// What the transaction being prepared has replaced, oldest first.
    journal: Vec<(Rc<str>, Option<Change>)>,
    digest_at_begin: u64,
}

/// The root is "" in the overlay, whatever the client called it.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Outstanding {
    pub fn new(digest_enabled: bool) -> Outstanding {
        Outstanding {
            changes: HashMap::default(),
            order: VecDeque::new(),
            digest: 0,
            digest_enabled,
            journal: Vec::new(),
            digest_at_begin: 0,
        }
    }

    /// Starts to prepare a transaction.
    pub fn begin(&mut self, tree: &Tree) {
        if self.order.is_empty() {
            self.digest = tree.digest();
        }
        self.digest_at_begin = self.digest;
        self.journal.clear();
    }

    /// The transaction failed: everything since [`begin`](Outstanding::begin) is taken back.
    pub fn rollback(&mut self) {
        while let Some((path, before)) = self.journal.pop() {
            self.order.pop_back();
            match before {
                Some(change) => self.changes.insert(path, change),
                None => self.changes.remove(&path),
            };
        }
        self.digest = self.digest_at_begin;
    }

    /// The digest of the tree once everything outstanding is applied; `None` if digests are off.
    pub fn digest(&self) -> Option<u64> {
        self.digest_enabled.then_some(self.digest)
    }

    /// The znode as it will be, or `None` if there will be none.
    pub fn get(&self, tree: &Tree, path: &str) -> Option<PendingNode> {
        match self.changes.get(key(path)) {
            Some(change) => change.node.clone(),
            None => tree.find(path).map(|id| PendingNode::from_tree(tree.state(id))),
        }
    }

    /// Whether the znode will exist; cheaper than [`get`](Outstanding::get).
    pub fn exists(&self, tree: &Tree, path: &str) -> bool {
        match self.changes.get(key(path)) {
            Some(change) => change.node.is_some(),
            None => tree.find(path).is_some(),
        }
    }

    /// Records that transaction `zxid` turns `old` (what [`get`](Outstanding::get) said) into `new`.
    pub fn put(&mut self, zxid: Zxid, path: &str, old: Option<&PendingNode>, new: Option<PendingNode>) {
        let path = key(path);
        if self.digest_enabled && tree::digest_counts(path) {
            let digest = |node: &PendingNode| tree::node_digest(node.prefix_crc, &node.stat);
            self.digest =
                self.digest.wrapping_sub(old.map_or(0, digest)).wrapping_add(new.as_ref().map_or(0, digest));
        }
        let path: Rc<str> = match self.changes.get_key_value(path) {
            Some((known, _)) => Rc::clone(known),
            None => Rc::from(path),
        };
        let before = self.changes.insert(Rc::clone(&path), Change { zxid, node: new });
        self.order.push_back((zxid, Rc::clone(&path)));
        self.journal.push((path, before));
    }

    /// The tree has applied everything up to `zxid`.
    pub fn applied(&mut self, zxid: Zxid) {
        while self.order.front().is_some_and(|(at, _)| *at <= zxid) {
            let (_, path) = self.order.pop_front().expect("it was there a line ago");
            if self.changes.get(&path).is_some_and(|change| change.zxid <= zxid) {
                self.changes.remove(&path);
            }
        }
    }

    /// The ephemerals that `session` will own, those of requests in flight included; sorted.
    pub fn ephemerals(&self, tree: &Tree, session: SessionId) -> Vec<String> {
        let owned = |node: &PendingNode| matches!(node.kind, NodeKind::Ephemeral(owner) if owner == session);
        let mut paths: Vec<String> =
            tree.ephemerals(session).into_iter().filter(|path| !self.changes.contains_key(&**path)).collect();
        paths.extend(
            self.changes
                .iter()
                .filter(|(_, change)| change.node.as_ref().is_some_and(owned))
                .map(|(path, _)| path.to_string()),
        );
        paths.sort_unstable();
        paths
    }

    /// Number of records, for the metrics.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}
