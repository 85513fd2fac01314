//! TRUNC: taking back transactions that a leader does not know.
//!
//! Java cuts behind the first record at or after the given zxid and keeps newer snapshots, which then win over the cut
//! at the reload. Here nothing above the zxid survives, in whatever file it stands, and every step is checked (a full
//! disk that was ignored here has split ensembles: ZOOKEEPER-3701).
//!
//! A snapshot's name says where the writer began, and its trailer where the tree was in the end: a fuzzy one has of
//! the transactions in between what came before the writer. Replay mends that, but not once they are cut off.
//!
//! # Invariants
//!
//! 1. A crash between any two steps leaves a prefix of the old history that loads: snapshots above the zxid go
//!    first, then logs from the newest to the oldest, then the end of the last one.
//! 2. There is a good snapshot with nothing above the zxid in it, or nothing is touched.

use std::path::{Path, PathBuf};

use super::dirs::DataDirs;
use super::disk::Disk;
use super::error::{Corruption, Result, StorageError, io_error};
use super::names::{Kind, numbered};
use super::recovery::{EIO, LoadOptions, LogFile, Next, Opening, files_from};
use super::snapshot::{self, BadSnapshot};
use crate::ids::Zxid;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnHeader;

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    pub removed: Vec<PathBuf>,
    /// Files that got shorter, and their new sizes in bytes.
    pub cut: Vec<(PathBuf, u64)>,
}

/// Removes every transaction above `zxid` from disk; the caller then loads anew. The log must not be open.
pub fn truncate_after(dirs: &DataDirs, options: &LoadOptions, zxid: Zxid) -> Result<Truncated> {
    let disk = &*dirs.disk;
    let nothing = || StorageError::NothingToTruncateTo { zxid, dir: dirs.log.clone() };
    let snapshots = numbered(disk, &dirs.snap, Kind::Snapshot)?;
    let mut newer = Vec::new();
    let mut base = None;
    for file in snapshots.into_iter().rev() {
        if file.zxid > zxid {
            newer.push(file.path);
            continue;
        }
        match last_inside(disk, options, &file.path)? {
            Some(last) if last > zxid => newer.push(file.path),
            Some(_) => {
                base = Some(file.zxid);
                break;
            }
            // A start passes it over too.
            None => {}
        }
    }
    let base = base.ok_or_else(nothing)?;

    // Look at everything before touching anything.
    let logs = files_from(numbered(disk, &dirs.log, Kind::Log)?, zxid.next());
    let mut later = Vec::new();
    let mut cuts = Vec::new();
    let mut reached = base;
    for file in logs {
        if file.zxid > zxid {
            reached = reached.max(file.zxid);
            later.push(file.path);
            continue;
        }
        let (last, end, size) = read_up_to(dirs, options, &file.path, zxid)?;
        reached = reached.max(last);
        if end < size {
            cuts.push((file.path, end));
        }
    }
    if reached < zxid {
        return Err(nothing());
    }

    let mut done = Truncated::default();
    done.remove(disk, &dirs.snap, newer.into_iter())?;
    done.remove(disk, &dirs.log, later.into_iter().rev())?;
    for (path, len) in cuts.into_iter().rev() {
        done.cut(disk, path, len)?;
    }
    Ok(done)
}

impl Truncated {
    /// One after the other: the directory is synced behind each, because a crash may keep one unsynced removal and lose
    /// another, whatever their order.
    pub(super) fn remove(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        paths: impl Iterator<Item = PathBuf>,
    ) -> Result<()> {
        for path in paths {
            disk.remove(&path).map_err(io_error("delete", &path))?;
            disk.sync_dir(dir).map_err(io_error("sync", dir))?;
            self.removed.push(path);
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, disk: &dyn Disk, path: PathBuf, len: u64) -> Result<()> {
        disk.truncate(&path, len).map_err(io_error("cut off the end of", &path))?;
        self.cut.push((path, len));
        Ok(())
    }
}

/// The last zxid of which a snapshot may hold something, -1 if it does not say; `None` if it cannot be loaded.
fn last_inside(disk: &dyn Disk, options: &LoadOptions, path: &Path) -> Result<Option<Zxid>> {
    if !snapshot::quick_test(disk, path).map_err(io_error("read", path))? {
        return Ok(None);
    }
    match snapshot::load(disk, path, options.len_max, &mut snapshot::Nowhere) {
        Ok(trailer) => {
            let digest_at = trailer.digest.map(|(at, _)| at);
            Ok(Some(digest_at.max(trailer.last_processed).unwrap_or(Zxid(-1))))
        }
        // As at a start: this is not the file's fault, and an older one would be no better.
        Err(BadSnapshot::Io(source)) if source.raw_os_error().is_some_and(|code| code != EIO) => {
            Err(io_error("read", path)(source))
        }
        Err(_) => Ok(None),
    }
}

/// The last zxid in a log that is not above `zxid`, or the first above it; where the log ends without the ones above;
/// and how long it is.
pub(super) fn read_up_to(
    dirs: &DataDirs,
    options: &LoadOptions,
    path: &Path,
    zxid: Zxid,
) -> Result<(Zxid, u64, u64)> {
    let disk = &*dirs.disk;
    let size = disk.len(path).map_err(io_error("look at", path))?;
    let mut log = LogFile::open(disk, path, size, options.len_max)?;
    let mut last = Zxid(-1);
    if matches!(log.read_header()?, Opening::NeverWritten) {
        return Ok((last, 0, size));
    }
    loop {
        match log.next_record(true)? {
            Next::End(_) => return Ok((last, log.end, size)),
            Next::Record { offset, payload } => {
                let header = TxnHeader::read(&mut Reader::new(payload, options.len_max)).map_err(|e| {
                    let problem = Corruption::BadTxn(e.to_string());
                    StorageError::LogCorrupt { path: path.to_owned(), offset, after: Some(last), problem }
                })?;
                last = header.zxid;
                if last > zxid {
                    return Ok((last, offset, size));
                }
            }
        }
    }
}
