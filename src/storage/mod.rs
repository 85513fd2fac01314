//! What survives: transaction log, snapshots, recovery, purge.
//!
//! Java's files, byte for byte, both ways; `docs/storage-format.md` has the layouts. In reading order:
//!
//! - [`error`]: why this server must stop, as far as its files are the reason.
//! - [`disk`]: the effects, as a few small traits; [`map`] is the mapped segment behind the real ones, [`memory`] a disk
//!   that can crash.
//! - `names`, [`dirs`]: which files there are; the directories, checked and locked.
//! - `record`, [`log`]: the log's bytes; the write end, its segments and its jobs for the helper thread.
//! - `input`, `xerial`, [`snapshot`]: reading in blocks; snapshot files, read and written.
//! - [`recovery`]: what a restart makes of it all. [`history`]: the log, read for others. [`mod@purge`], [`truncate`], [`replace`]: what is deleted, and
//!   when it may be.
//! - [`epochs`]: an ensemble member's two promises.
//!
//! # How the parts meet
//!
//! At start: [`DataDirs::open`], [`load_snapshot`] into the tree, [`replay`] onto it, [`Replay::settle`]. While
//! serving: [`TxnLog::append`] in the reactor, one [`SyncJob`] at a time on the helper, acknowledgements only up to
//! [`SyncDone::through`]. Anything that returns a [`StorageError`] ends the process with its exit code.

pub mod dirs;
pub mod disk;
pub mod epochs;
pub mod error;
pub mod history;
mod input;
pub mod log;
mod map;
pub mod memory;
mod names;
pub mod purge;
mod record;
pub mod recovery;
pub mod replace;
pub mod snapshot;
pub mod truncate;
mod xerial;

pub use dirs::{DataDirs, DirLock};
pub use epochs::EpochFile;
pub use error::{Corruption, StorageError};
pub use history::{HistoryError, HistoryReader, Piece};
pub use log::{Counters, LogOptions, PrepareJob, SegmentReady, SnapshotSchedule, SyncDone, SyncJob, TxnLog};
pub use purge::{purge, purge_command};
pub use record::frame as frame_record;
pub use recovery::{Base, LoadOptions, Notice, Replay, Torn, load_snapshot, replay};
pub use replace::replace_history;
pub use snapshot::{BadNode, Compression, SnapshotFile, SnapshotSink, SnapshotWriter, Trailer};
pub use truncate::{Truncated, truncate_after};
