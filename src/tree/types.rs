//! What the tree says to its callers: ids, a node's state, results and events.

use std::num::NonZeroU32;

use crate::ids::SessionId;
use crate::wire::records::{AclList, Stat, StatPersisted};
use crate::wire::reply::EventType;

/// How stored owners are read and whether the digest is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeOptions {
    /// `digest.enabled`: keep the tree digest. Without it [`super::Tree::digest`] is 0.
    pub digest: bool,
    /// `extendedTypesEnabled`. Requests are refused by the caller; what the tree does with a stored TTL owner
    /// is in [`NodeKind::of_owner`].
    pub extended_types: bool,
    /// `emulate353TTLNodes`: every negative owner but the container's is a TTL.
    pub emulate_353_ttl: bool,
}

impl TreeOptions {
    /// Java emulates only where it knows extended types; otherwise a negative owner is a session of a server with
    /// an id above 127.
    fn emulates_353(self) -> bool {
        self.emulate_353_ttl && self.extended_types
    }
}

impl Default for TreeOptions {
    fn default() -> TreeOptions {
        TreeOptions { digest: true, extended_types: false, emulate_353_ttl: false }
    }
}

/// Where a znode lives in the arena. Slot 0 is never handed out, so `Option<NodeId>` is four bytes.
///
/// Good until the next call that changes the tree: the slot of a deleted node is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) NonZeroU32);

const _: () = assert!(size_of::<Option<NodeId>>() == 4);

impl NodeId {
    pub(super) fn new(slot: u32) -> NodeId {
        NodeId(NonZeroU32::new(slot).expect("slot 0 is never handed out"))
    }
}

/// An interned ACL list. Copies may outlive the list: a stale id reads as a list that nobody passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AclId {
    pub(super) slot: u32,
    pub(super) serial: u32,
}

/// What decides when a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Persistent,
    /// Goes with its session.
    Ephemeral(SessionId),
    /// Goes when its last child has gone.
    Container,
    /// Goes when it has no children and has not been written to for this long.
    Ttl {
        ms: i64,
    },
}

/// `EphemeralType.CONTAINER_EPHEMERAL_OWNER`.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// Upper 24 bits of a TTL owner; the lower 40 are the TTL in milliseconds.
const TTL_MARK: i64 = 0xff00_0000_0000_0000_u64 as i64;
/// The longest TTL, in milliseconds.
pub const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

impl NodeKind {
    /// What a stored `ephemeralOwner` means (client-protocol.md 11.5).
    ///
    /// Java without `extendedTypesEnabled` takes a TTL owner for a session, finds that session dead and deletes
    /// the node at its next start. Here a TTL owner is a TTL whatever the option says: no session id looks like
    /// one (24 bits, 16 of them of a running clock, would all have to fit), and losing nodes because an option
    /// was forgotten helps nobody.
    pub fn of_owner(owner: i64, options: TreeOptions) -> NodeKind {
        if owner == 0 {
            return NodeKind::Persistent;
        }
        if owner == CONTAINER_OWNER {
            return NodeKind::Container;
        }
        if options.emulates_353() && owner < 0 {
            return NodeKind::Ttl { ms: owner & i64::MAX };
        }
        let ms = owner & TTL_MS_MAX;
        if owner & !TTL_MS_MAX == TTL_MARK && ms != 0 {
            return NodeKind::Ttl { ms };
        }
        NodeKind::Ephemeral(SessionId(owner))
    }

    /// What is stored for a node of this kind.
    pub fn owner(self, options: TreeOptions) -> i64 {
        match self {
            NodeKind::Persistent => 0,
            NodeKind::Ephemeral(session) => session.0,
            NodeKind::Container => CONTAINER_OWNER,
            NodeKind::Ttl { ms } if options.emulates_353() => ms | CONTAINER_OWNER,
            // A TTL out of range is refused when it is asked for. A log of a Java server that did not refuse it
            // (client-protocol.md 19) gives a node that stays, where Java cannot start any more.
            NodeKind::Ttl { ms } if (1..=TTL_MS_MAX).contains(&ms) => TTL_MARK | ms,
            NodeKind::Ttl { .. } => 0,
        }
    }

    /// The owner that clients are shown.
    pub fn owner_shown(self) -> i64 {
        match self {
            NodeKind::Ephemeral(session) => session.0,
            _ => 0,
        }
    }
}

/// Everything that preparing a request needs of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    pub stat: StatPersisted,
    /// In bytes; 0 for null.
    pub data_len: u32,
    pub children: u32,
    pub acl: AclId,
    /// CRC-32 of path and data, which the node's digest continues ([`super::node_digest`]). 0 if digests are off.
    pub prefix_crc: u32,
    pub kind: NodeKind,
}

impl NodeState {
    /// What a client is shown.
    pub fn shown(&self) -> Stat {
        shown(&self.stat, self.kind, self.data_len, self.children)
    }
}

/// `DataNode.copyStat`.
pub(super) fn shown(stat: &StatPersisted, kind: NodeKind, data_len: u32, children: u32) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion.wrapping_mul(2).wrapping_sub(children as i32),
        aversion: stat.aversion,
        ephemeral_owner: kind.owner_shown(),
        data_length: data_len as i32,
        num_children: children as i32,
        pzxid: stat.pzxid,
    }
}

/// Whether a change would pass a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaVerdict {
    Ok,
    /// Only worth a log line.
    SoftExceeded,
    /// Refused.
    HardExceeded,
}

/// Limits and usage of all quotas below one top-level node; -1 is "no limit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Name of the top-level node, without slash.
    pub namespace: String,
    pub count_limit: i64,
    pub bytes_limit: i64,
    pub count: i64,
    pub bytes: i64,
}

/// A snapshot has a node whose parent it does not have: it is not a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingParent {
    pub path: String,
}

/// What one (sub)operation of a transaction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpResult<'a> {
    Created {
        path: &'a str,
        stat: Stat,
    },
    Deleted,
    DataSet(Stat),
    AclSet(Stat),
    Checked,
    /// A `KeeperException` code; 0 for the parts of a failed multi before the one that failed.
    Failed(i32),
    SessionCreated {
        id: SessionId,
        timeout_ms: i32,
    },
    SessionClosed {
        id: SessionId,
    },
}

/// Told what applying a transaction does, in the order in which Java does it.
pub trait Observer {
    /// A watch event. `acl` is the list that READ is checked against before the event is sent.
    fn event(&mut self, event: EventType, path: &str, acl: AclList<'_>);

    /// Once per operation, in order; for each part of a multi and not for the multi itself.
    fn result(&mut self, result: OpResult<'_>);
}

/// Replay: nobody is waiting.
impl Observer for () {
    fn event(&mut self, _: EventType, _: &str, _: AclList<'_>) {}

    fn result(&mut self, _: OpResult<'_>) {}
}
