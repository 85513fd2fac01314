//! The replicated state: znodes, their ACLs, quotas, digest and watches.
//!
//! A [`Tree`] is what all transactions up to some zxid have made. [`Tree::apply`] takes it one further and cannot
//! fail; everything else reads. In reading order: [`node`] has the records and what a znode costs in bytes,
//! [`arena`], [`blob`] and [`index`] hold them, [`store`] relates them, [`owners`] knows which go by themselves, [`acl`]
//! interns lists; [`apply`] is what transactions mean, with [`quota`] beside it, [`read`] what can be asked, [`load`]
//! and [`snapshot`] the way from and to a file. [`watches`] stands alone.
//!
//! # Invariants
//!
//! 1. Nothing here fails or panics on what a committed transaction says.
//! 2. No call's cost grows with the size of the tree, except where its documentation says so; in particular nothing
//!    is copied or hashed anew when the tree grows.
//! 3. Two trees that applied the same transactions answer alike, the order of children included, unless one of them
//!    was loaded from a snapshot.

mod acl;
mod apply;
mod arena;
mod blob;
mod digest;
mod index;
mod load;
mod node;
mod owners;
mod path;
mod quota;
mod read;
mod snapshot;
mod store;
mod types;
mod watches;

pub use digest::{node_digest, prefix_crc};
pub use load::TreeLoader;
pub use path::{InvalidPath, digest_counts, split, validate_path};
pub use snapshot::CursorId;
pub use types::{
    AclId, CONTAINER_OWNER, MissingParent, NodeId, NodeKind, NodeState, Observer, OpResult, QuotaUsage,
    QuotaVerdict, TTL_MS_MAX, TreeOptions,
};
pub use watches::{Table, WatchMode, WatchSummary, WatcherId, WatcherType, Watches};

use crate::ids::Zxid;
use crate::wire::records::{AclList, StatPersisted};

/// The state that transactions make.
pub struct Tree {
    store: store::Store,
    quotas: quota::Quotas,
    last_zxid: Zxid,
}

impl Tree {
    /// A tree with the nodes that are there before the first transaction.
    pub fn new(options: TreeOptions) -> Tree {
        let mut store = store::Store::new(options);
        let zookeeper = add_initial(&mut store, store::ROOT, "/zookeeper");
        add_initial(&mut store, zookeeper, "/zookeeper/quota");
        add_initial(&mut store, zookeeper, "/zookeeper/config");
        Tree { store, quotas: quota::Quotas::default(), last_zxid: Zxid::ZERO }
    }
}

/// Adds one of the nodes that are there before the first transaction (client-protocol.md 11.2), if it is missing.
fn add_initial(store: &mut store::Store, parent: u32, path: &str) -> u32 {
    let (_, name) = split(path).expect("initial nodes have absolute paths");
    store.child(parent, name).unwrap_or_else(|| {
        let config = name == "config";
        let acl = if config { store.acls.intern(AclList::READ_ONLY) } else { acl::OPEN_SLOT };
        let stat = StatPersisted { aversion: if config { -1 } else { 0 }, ..StatPersisted::default() };
        store.insert(parent, path, name, Some(b""), acl, &stat)
    })
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
