//! Reading the log for learners: history that is older than the committed log in memory.
//!
//! A leader asks [`locate`] what stands at a learner's position, plans the synchronisation with it, and lets a
//! [`HistoryReader`] read the transactions in pieces, as fast as the learner takes them. Both block, and belong on a helper
//! thread; neither holds a file open in between, so a purge is in nobody's way.
//!
//! Only what is older than `before` is looked at, where the committed log begins. That part is long written, so it does
//! not matter that the log is appended to meanwhile.
//!
//! What is missing here is no reason to stop: a learner that cannot be given the history gets an image. So a gap, a log
//! that was purged, and one that turns out to be corrupt are all "not from the files". Starting does not read old logs,
//! and a server that serves well should not end because one of them went bad.
//!
//! # Invariants
//!
//! 1. What a [`HistoryReader`] hands out, from `after` to `before`, is contiguous: a hole is never handed on
//!    (ZOOKEEPER-4925).

use std::collections::VecDeque;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use super::dirs::DataDirs;
use super::disk::Disk;
use super::error::{Corruption, Result, StorageError, io_error};
use super::names::{Kind, Numbered, numbered};
use super::record::OVERHEAD;
use super::recovery::{LoadOptions, LogFile, Next, Opening, files_from};
use crate::ids::Zxid;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnHeader;

/// What Java takes for every `snapshotSizeFactor` above 1.
const SIZE_FACTOR_DEFAULT: f64 = 0.33;

/// How many bytes of history are worth sending instead of an image: the size of the newest snapshot times `factor`
/// (`snapshotSizeFactor`). `None` is no limit, which a factor of 0 means. A negative one switches the files off, and is
/// nothing to ask here.
pub fn bytes_max(dirs: &DataDirs, factor: f64) -> Result<Option<u64>> {
    if factor == 0.0 {
        return Ok(None);
    }
    let factor = if factor > 1.0 { SIZE_FACTOR_DEFAULT } else { factor };
    let newest = numbered(&*dirs.disk, &dirs.snap, Kind::Snapshot)?.pop();
    let bytes = match newest.map(|file| (dirs.disk.len(&file.path), file.path)) {
        None => 0,
        Some((Ok(bytes), _)) => bytes,
        // Purged this moment; the next learner gets a better answer.
        Some((Err(e), _)) if e.kind() == ErrorKind::NotFound => 0,
        Some((Err(e), path)) => return Err(io_error("look at", path)(e)),
    };
    Ok(Some((bytes as f64 * factor) as u64))
}

/// What the log files have at `zxid`: the last transaction before it, and the first at or behind it.
///
/// `None` if they do not reach back to it, or if the records behind it, up to `before`, are more than `bytes_max`.
/// Bytes of records are counted, not sizes of files as in Java, where preallocation decides.
pub fn locate(
    dirs: &DataDirs,
    options: &LoadOptions,
    zxid: Zxid,
    before: Zxid,
    bytes_max: Option<u64>,
) -> Result<Option<(Option<Zxid>, Option<Zxid>)>> {
    let mut walk = Walk::new(dirs, options, zxid)?;
    let (mut previous, mut at_or_after, mut bytes) = (None, None, 0);
    let readable = walk.through(&mut |found, payload| {
        if found < zxid {
            previous = Some(found);
            return true;
        }
        at_or_after = at_or_after.or(Some(found));
        if found > zxid && found < before {
            bytes += (payload.len() + OVERHEAD) as u64;
        }
        found < before && bytes_max.is_some_and(|max| bytes <= max)
    })?;
    // Without one at or before it, nobody knows what was between it and the first.
    let reached = previous.is_some() || at_or_after == Some(zxid);
    let small = bytes_max.is_none_or(|max| bytes <= max);
    Ok((readable && reached && small).then_some((previous, at_or_after)))
}

/// Why a history cannot be read to its end.
#[derive(Debug)]
pub enum HistoryError {
    /// It is not all there: the learner needs an image.
    Gap {
        /// The last transaction that was read.
        after: Zxid,
        /// The one that stands behind it, if any.
        found: Option<Zxid>,
    },
    /// The system refused to read. Ends the process.
    Storage(StorageError),
}

impl From<StorageError> for HistoryError {
    fn from(error: StorageError) -> HistoryError {
        HistoryError::Storage(error)
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HistoryError::Gap { after, found: Some(found) } => {
                write!(f, "the log files have {found} behind {after}")
            }
            HistoryError::Gap { after, found: None } => write!(f, "the log files end at {after}"),
            HistoryError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HistoryError {}

/// A part of the history, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Each transaction with its payload as logged.
    pub entries: Vec<(Zxid, Box<[u8]>)>,
    /// It was the last piece: what follows is `before`.
    pub end: bool,
}

/// Reads the transactions between two zxids, neither of them included.
pub struct HistoryReader {
    walk: Walk,
    last: Zxid,
    before: Zxid,
}

const _: () = {
    const fn changes_threads<T: Send>() {}
    changes_threads::<HistoryReader>();
};

impl HistoryReader {
    pub fn open(
        dirs: &DataDirs,
        options: &LoadOptions,
        after: Zxid,
        before: Zxid,
    ) -> std::result::Result<HistoryReader, HistoryError> {
        Ok(HistoryReader { walk: Walk::new(dirs, options, after.next())?, last: after, before })
    }

    /// At least one transaction and about `bytes_max` bytes, unless the end comes before.
    pub fn next_piece(&mut self, bytes_max: usize) -> std::result::Result<Piece, HistoryError> {
        let HistoryReader { walk, last, before } = self;
        let mut piece = Piece { entries: Vec::new(), end: *before == last.next() };
        let (mut bytes, mut gap) = (0, None);
        if !piece.end {
            let readable = walk.through(&mut |found, payload| {
                // Copies beside the logs repeat what was read.
                if found <= *last {
                    return true;
                }
                if !found.follows(*last) {
                    gap = Some(found);
                    return false;
                }
                if found >= *before {
                    // In a log without holes it is `before` itself that stands here.
                    piece.end = found == *before;
                    gap = (!piece.end).then_some(found);
                    return false;
                }
                piece.entries.push((found, payload.into()));
                *last = found;
                bytes += payload.len();
                piece.end = *before == found.next();
                !piece.end && bytes < bytes_max
            })?;
            if !readable {
                return Err(HistoryError::Gap { after: *last, found: None });
            }
        }
        if gap.is_some() || (piece.entries.is_empty() && !piece.end) {
            return Err(HistoryError::Gap { after: *last, found: gap });
        }
        Ok(piece)
    }
}

/// A walk over the log files that can be interrupted.
struct Walk {
    dirs: DataDirs,
    options: LoadOptions,
    /// Those that are not read to their end, oldest first.
    files: VecDeque<Numbered>,
    /// How much of the first is read.
    offset: u64,
}

impl Walk {
    /// Over every file that may hold `from` and later, and what is in front of it.
    fn new(dirs: &DataDirs, options: &LoadOptions, from: Zxid) -> Result<Walk> {
        let files = files_from(numbered(&*dirs.disk, &dirs.log, Kind::Log)?, from);
        Ok(Walk { dirs: dirs.clone(), options: *options, files: files.into(), offset: 0 })
    }

    /// Shows one transaction after the other, as long as `visit` says true; the one it said false to is read. False if
    /// a file cannot be read: a gap.
    fn through(&mut self, visit: &mut dyn FnMut(Zxid, &[u8]) -> bool) -> Result<bool> {
        while let Some(Numbered { path, .. }) = self.files.front() {
            match read(&*self.dirs.disk, path, self.options.len_max, self.offset, visit) {
                Ok(Some(end)) => {
                    self.offset = end;
                    return Ok(true);
                }
                Ok(None) => {}
                // It was purged.
                Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    return Ok(false);
                }
                Err(error @ StorageError::LogCorrupt { .. }) => {
                    log::warn!("History cannot be read for a learner: {error}");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
            self.files.pop_front();
            self.offset = 0;
        }
        Ok(true)
    }
}

/// Shows the records of one file from `offset` on. Where it was told to stop; `None` at the file's end.
fn read(
    disk: &dyn Disk,
    path: &Path,
    len_max: usize,
    offset: u64,
    visit: &mut dyn FnMut(Zxid, &[u8]) -> bool,
) -> Result<Option<u64>> {
    let size = disk.len(path).map_err(io_error("look at", path))?;
    let mut log = LogFile::open_at(disk, path, size, len_max, offset)?;
    if offset == 0 && matches!(log.read_header()?, Opening::NeverWritten) {
        return Ok(None);
    }
    loop {
        // What is still being written is never met, so there is no damage here that a crash would explain.
        let Next::Record { offset, payload } = log.next_record(false)? else { return Ok(None) };
        let header = TxnHeader::read(&mut Reader::new(payload, len_max)).map_err(|e| {
            let problem = Corruption::BadTxn(e.to_string());
            StorageError::LogCorrupt { path: path.to_owned(), offset, after: None, problem }
        })?;
        if !visit(header.zxid, payload) {
            return Ok(Some(log.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::ids::SessionId;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::{LogOptions, TxnLog};
    use crate::wire::txn::{LoggedTxn, Txn, text};

    fn dirs(disk: &MemoryDisk) -> DataDirs {
        DataDirs::with_disk(Path::new("/d"), Path::new("/d"), Arc::new(disk.clone()))
    }

    fn file(name: &str) -> PathBuf {
        Path::new("/d/version-2").join(name)
    }

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    fn payload(zxid: Zxid) -> Vec<u8> {
        let data = vec![zxid.counter() as u8; 30 + 50 * (zxid.counter() as usize % 3)];
        let txn = Txn::SetData { path: text("/a"), data: Some(&data), version: 1 };
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: txn.kind() };
        let mut out = Vec::new();
        LoggedTxn { header, txn, digest: None }.encode(&mut out);
        out
    }

    fn append(log: &mut TxnLog, zxids: &[Zxid]) {
        for zxid in zxids {
            log.append(*zxid, &payload(*zxid)).unwrap();
        }
        log.sync_job().unwrap().run(|| Duration::ZERO).unwrap();
    }

    /// A log of these files.
    fn disk(files: &[&[Zxid]]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        let mut log = TxnLog::new(&dirs(&disk), LogOptions::new(64, true, -1), Zxid::ZERO);
        for zxids in files {
            append(&mut log, zxids);
            log.roll();
        }
        disk
    }

    fn two_epochs() -> MemoryDisk {
        disk(&[&[z(1, 1), z(1, 2), z(1, 3)], &[z(1, 4), z(1, 5)], &[z(2, 1), z(2, 2)], &[z(2, 3), z(2, 4)]])
    }

    /// What is read between two zxids, in pieces of this size; the error's text if it is not all there.
    fn read(
        disk: &MemoryDisk,
        after: Zxid,
        before: Zxid,
        piece: usize,
    ) -> std::result::Result<Vec<Zxid>, String> {
        let mut reader = HistoryReader::open(&dirs(disk), &LoadOptions::default(), after, before).unwrap();
        let mut all = Vec::new();
        loop {
            let got = reader.next_piece(piece).map_err(|e| e.to_string())?;
            for (zxid, bytes) in got.entries {
                assert_eq!(bytes[..], payload(zxid));
                all.push(zxid);
            }
            if got.end {
                return Ok(all);
            }
        }
    }

    fn found(disk: &MemoryDisk, zxid: Zxid, bytes_max: Option<u64>) -> Option<(Option<Zxid>, Option<Zxid>)> {
        locate(&dirs(disk), &LoadOptions::default(), zxid, z(2, 4), bytes_max).unwrap()
    }

    #[test]
    fn history_is_read_whole_from_every_place_to_every_other_in_pieces_of_any_size() {
        let disk = two_epochs();
        let all = [z(1, 1), z(1, 2), z(1, 3), z(1, 4), z(1, 5), z(2, 1), z(2, 2), z(2, 3), z(2, 4)];
        for piece in [1, 100, 250, 1 << 20] {
            for from in 0..all.len() {
                for to in from + 1..all.len() {
                    let got = read(&disk, all[from], all[to], piece);
                    assert_eq!(got.unwrap(), all[from + 1..to], "{} to {}", all[from], all[to]);
                }
            }
        }
        assert_eq!(read(&disk, z(2, 0), z(2, 3), 1).unwrap(), [z(2, 1), z(2, 2)], "behind an epoch's name");
    }

    #[test]
    fn a_gap_is_told_and_never_read_over() {
        let gap = disk(&[&[z(1, 1), z(1, 2)], &[z(1, 4), z(1, 5)], &[z(2, 1)]]);
        assert_eq!(
            read(&gap, z(1, 1), z(1, 5), 1 << 20).unwrap_err(),
            "the log files have 0x100000004 behind 0x100000002"
        );
        assert!(read(&gap, z(1, 4), z(2, 1), 1).is_ok());
        assert!(read(&gap, z(1, 4), z(2, 3), 1).is_err(), "the last one is not what it says");
        assert!(read(&gap, z(1, 4), z(1, 7), 1).is_err(), "the files go on with another one");
        assert!(read(&gap, z(2, 1), z(3, 1), 1).is_err(), "the files end");
        assert!(read(&gap, z(1, 0), z(1, 2), 1).is_ok());
        let late = disk(&[&[z(1, 3)]]);
        assert!(read(&late, z(1, 1), z(1, 4), 1).is_err(), "purged in front");
    }

    #[test]
    fn a_corrupt_or_purged_file_is_a_gap_and_no_reason_to_stop() {
        let disk = two_epochs();
        let path = file("log.100000004");
        let mut bytes = disk.get(&path).unwrap();
        bytes[60] ^= 1;
        disk.put(&path, &bytes);
        assert!(read(&disk, z(1, 1), z(2, 3), 1).unwrap_err().contains("end at 0x100000003"));
        assert!(read(&disk, z(2, 1), z(2, 4), 1).is_ok());

        let disk = two_epochs();
        let mut reader =
            HistoryReader::open(&dirs(&disk), &LoadOptions::default(), z(1, 1), z(2, 4)).unwrap();
        reader.next_piece(1).unwrap();
        disk.remove(&path).unwrap();
        let end = loop {
            match reader.next_piece(1) {
                Ok(piece) => assert!(!piece.end),
                Err(e) => break e,
            }
        };
        assert!(matches!(end, HistoryError::Gap { after, .. } if after == z(1, 3)), "{end}");
    }

    #[test]
    fn the_log_is_appended_to_while_it_is_read() {
        let disk = MemoryDisk::new();
        let mut log = TxnLog::new(&dirs(&disk), LogOptions::new(64, true, -1), Zxid::ZERO);
        append(&mut log, &[z(1, 1), z(1, 2), z(1, 3), z(1, 4)]);
        let mut reader =
            HistoryReader::open(&dirs(&disk), &LoadOptions::default(), z(1, 1), z(1, 4)).unwrap();
        assert_eq!(reader.next_piece(1).unwrap().entries[0].0, z(1, 2));
        append(&mut log, &[z(1, 5)]);
        log.append(z(1, 6), &payload(z(1, 6))).unwrap();
        let rest = reader.next_piece(1).unwrap();
        assert_eq!((rest.entries[0].0, rest.end), (z(1, 3), true));
    }

    #[test]
    fn what_stands_at_a_position() {
        let disk = two_epochs();
        let rows = [
            (z(1, 1), Some((None, Some(z(1, 1))))),
            (z(1, 2), Some((Some(z(1, 1)), Some(z(1, 2))))),
            (z(1, 4), Some((Some(z(1, 3)), Some(z(1, 4))))),
            (z(2, 1), Some((Some(z(1, 5)), Some(z(2, 1))))),
            (z(2, 0), Some((Some(z(1, 5)), Some(z(2, 1))))),
            (z(1, 9), Some((Some(z(1, 5)), Some(z(2, 1))))),
            // Nobody knows what was in front of the first.
            (Zxid::ZERO, None),
            (z(1, 0), None),
            (z(3, 1), Some((Some(z(2, 4)), None))),
        ];
        for (zxid, wanted) in rows {
            assert_eq!(found(&disk, zxid, None), wanted, "{zxid}");
        }
        assert_eq!(found(&MemoryDisk::new(), z(1, 1), None), None);
    }

    #[test]
    fn a_history_that_is_larger_than_its_limit_is_not_worth_sending() {
        let disk = two_epochs();
        let between: usize = [z(2, 1), z(2, 2), z(2, 3)].iter().map(|z| payload(*z).len() + OVERHEAD).sum();
        let all = between as u64;
        assert_eq!(found(&disk, z(1, 5), Some(all)), Some((Some(z(1, 4)), Some(z(1, 5)))));
        assert_eq!(found(&disk, z(1, 5), Some(all - 1)), None);

        assert_eq!(bytes_max(&dirs(&disk), 0.33).unwrap(), Some(0), "no snapshot, no limit to speak of");
        disk.put(&file("snapshot.0"), &[0; 10]);
        disk.put(&file("snapshot.100000003"), &[0; 1000]);
        let limit = |factor| bytes_max(&dirs(&disk), factor).unwrap();
        assert_eq!((limit(0.5), limit(1.0), limit(0.0)), (Some(500), Some(1000), None));
        assert_eq!(limit(2.0), Some(330), "as in Java");
    }
}
