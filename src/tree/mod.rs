//! The replicated state: znodes, their ACLs, quotas, digest and watches.

mod digest;
mod path;
mod skeleton;
mod types;
mod watches;

pub use digest::{node_digest, prefix_crc};
pub use path::{InvalidPath, digest_counts, split, validate_path};
pub use skeleton::{Tree, TreeLoader};
pub use types::{
    AclId, CONTAINER_OWNER, MissingParent, NodeId, NodeKind, NodeState, Observer, OpResult, QuotaUsage,
    QuotaVerdict, TTL_MS_MAX, TreeOptions,
};
pub use watches::{Table, WatchMode, WatchSummary, WatcherId, WatcherType, Watches};
