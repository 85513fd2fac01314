//! SNAP: a leader's state takes the place of this server's whole history.
//!
//! Java leaves the old files beside the new snapshot, and a restart then prefers an old snapshot with a higher zxid, or
//! replays an old log's tail on the new one. Even where the image is the newest by far, what is older remains a trap: should
//! the image's file go bad, a restart would take an older snapshot and put the new log behind a history that never was in
//! front of it. So nothing of the old history stays.
//!
//! # Invariants
//!
//! 1. A crash between any two steps leaves the old history, or the old one cut off above the image's zxid, or the image;
//!    and each of them loads. What is cut off is nothing that anybody has committed: the leader has all of that, and
//!    this is not in its state.
//! 2. The image is durable before anything goes away that may have been committed.

use super::dirs::DataDirs;
use super::error::{Result, StorageError};
use super::names::{Kind, numbered};
use super::recovery::{LoadOptions, files_from};
use super::snapshot::{SnapshotFile, SnapshotWriter};
use super::truncate::{Truncated, read_up_to};
use crate::ids::Zxid;

/// Finishes the snapshot, as [`SnapshotWriter::finish`] does, and makes it the only history there is. The log must not be
/// open; the next record goes behind the snapshot.
pub fn replace_history(
    dirs: &DataDirs,
    options: &LoadOptions,
    mut image: SnapshotWriter,
    digest: Option<(Zxid, u64)>,
    last_processed: Option<Zxid>,
) -> Result<(SnapshotFile, Truncated)> {
    let disk = &*dirs.disk;
    let zxid = image.zxid();
    let mut done = Truncated::default();
    let bytes = image.seal(digest, last_processed)?;

    // First the tail, newest first: with a name, the image would be what a restart replays it on. The snapshots stay
    // meanwhile; the newest may be all that the old history can be loaded from.
    let (across, above): (Vec<_>, Vec<_>) =
        numbered(disk, &dirs.log, Kind::Log)?.into_iter().partition(|file| file.zxid <= zxid);
    done.remove(disk, &dirs.log, above.into_iter().rev().map(|file| file.path))?;
    for file in files_from(across.clone(), zxid.next()) {
        match read_up_to(dirs, options, &file.path, zxid) {
            Ok((last, end, _)) if last > zxid => done.cut(disk, file.path, end)?,
            Ok(_) => {}
            // Nothing behind such a place is ever loaded.
            Err(StorageError::LogCorrupt { offset, .. }) => done.cut(disk, file.path, offset)?,
            Err(error) => return Err(error),
        }
    }

    let file = image.name(bytes)?;

    let mut snapshots = numbered(disk, &dirs.snap, Kind::Snapshot)?;
    snapshots.retain(|old| old.path != file.path);
    // The newest first: of those above, each that is left is what a restart begins with.
    done.remove(disk, &dirs.snap, snapshots.into_iter().rev().map(|file| file.path))?;
    done.remove(disk, &dirs.log, across.into_iter().map(|file| file.path))?;
    Ok((file, done))
}
