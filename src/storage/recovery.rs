//! What a restart makes of the files: one snapshot, then every later transaction of the logs.
//!
//! Loading has two halves, because the tree is built in between: [`load_snapshot`] finds the newest snapshot that is
//! good and pours it into a [`SnapshotSink`]; [`replay`] hands on the transactions after it, in order. The caller
//! applies them and then says [`Replay::settle`]; only then are torn ends cut off, so that a start that fails changes
//! nothing on disk.
//!
//! What is found at the position of a record, and what it means (storage.md 4.1):
//!
//! | found | means | here |
//! |---|---|---|
//! | end of the file, inside a record or before one | torn write | end of this file |
//! | length 0 | padding | end of this file |
//! | end byte wrong | torn write | end of this file; refused if a good record follows at once |
//! | checksum wrong, or length negative or above the limit | corruption | refused |
//! | the same in the last file, and no good record anywhere behind | torn write | end of this file (Java refuses to start) |
//! | the same in the last file, and a sector of the record is all zeros | torn write | end of this file |
//! | checksum right, content no transaction | not understood | refused (Java takes a short one for the end of the file) |
//!
//! Unsynced pages reach a disk in any order, so a crash can leave the end of a record without its middle; what tells that
//! from corruption is that nobody was told of the records behind. Zeros followed by good records are such a hole too, and
//! so is a sector of zeros inside a record: log files are zeros before they are written to.
//!
//! A file that ends early is no error by itself, since a server that restarts goes on in a new file; a transaction that is
//! missing is one, and shows as a gap between two zxids of an epoch.
//!
//! # Invariants
//!
//! 1. Transactions reach the caller in rising zxid order, each once, without a gap within an epoch.
//! 2. Nothing is deleted or cut before all of it was read without error.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dirs::DataDirs;
use super::disk::{Disk, SECTOR};
use super::error::{Corruption, Result, StorageError, io_error};
use super::input::Input;
use super::log;
use super::names::{Kind, Numbered, numbered};
use super::record::{self, END_BYTE, FILE_HEADER, HEAD_LEN, Head, MAGIC, OVERHEAD};
use super::snapshot::{self, BadSnapshot, SnapshotSink};
use crate::ids::Zxid;
use crate::wire::jute::{MAX_BUFFER_DEFAULT, Reader};
use crate::wire::txn::{LoggedTxn, TxnHeader};

/// How loading treats what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// `jute.maxbuffer` + `jute.maxbuffer.extrasize`, in bytes: the longest record, string or buffer.
    pub len_max: usize,
    /// `snapshot.trust.empty`: logs without a snapshot are a whole history.
    pub trust_empty: bool,
    /// `db.autocreate`: an empty directory is a new database.
    pub autocreate_db: bool,
}

impl LoadOptions {
    /// Java's limit for a record, from its two settings; an extra size below 1024 counts as 1024.
    pub fn len_max(max_buffer: usize, extra_size: usize) -> usize {
        max_buffer.saturating_add(extra_size.max(1024)).min(i32::MAX as usize)
    }
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            len_max: LoadOptions::len_max(MAX_BUFFER_DEFAULT, MAX_BUFFER_DEFAULT),
            trust_empty: false,
            autocreate_db: true,
        }
    }
}

/// What the tree begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// The sink holds this snapshot.
    Snapshot {
        /// From the file's name; replay goes on after it.
        zxid: Zxid,
        path: PathBuf,
        /// The digest to compare when replay reaches its zxid, which may be above the file's.
        digest: Option<(Zxid, u64)>,
    },
    /// No files at all: a new database. The caller writes snapshot.0 before anything else.
    New,
    /// Logs, no snapshot, and `snapshot.trust.empty`: the built-in tree, and everything is replayed.
    TrustedLogs,
    /// No files, and neither `initialize` nor `db.autocreate`: zxid -1, no vote until synced.
    Nothing,
}

impl Base {
    /// The zxid that the tree is at before replay.
    pub fn zxid(&self) -> Zxid {
        match self {
            Base::Snapshot { zxid, .. } => *zxid,
            Base::New | Base::TrustedLogs => Zxid::ZERO,
            Base::Nothing => Zxid(-1),
        }
    }
}

/// Something that was found and dealt with; each is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    SnapshotSkipped {
        path: PathBuf,
        problem: String,
    },
    /// A log ends early. `cut`: it is the last one, and what lies behind is cut off when loading is done.
    TornTail {
        path: PathBuf,
        offset: u64,
        what: Torn,
        cut: bool,
    },
    /// The newest log was made but never written to.
    EmptyLog {
        path: PathBuf,
    },
    /// Records that an earlier file had already; copies beside the logs look like this.
    Repeated {
        path: PathBuf,
        records: u64,
    },
    /// The first transaction after the snapshot is not its successor. Java does not notice; nor is it always wrong.
    GapAfterSnapshot {
        snapshot: Zxid,
        first: Zxid,
    },
}

/// How a log ended that did not end in zeros or at the end of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    InsideRecord,
    EndByte,
    /// Its checksum or length is wrong, and no good record follows.
    Garbled,
    /// A sector of it was never written.
    Hole,
    /// Zeros where the next record would begin, but something behind them: pages written out of order.
    BehindZeros,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::SnapshotSkipped { path, problem } => {
                write!(f, "snapshot {} is not usable ({problem}); trying an older one", path.display())
            }
            Notice::TornTail { path, offset, what, cut } => {
                let what = match what {
                    Torn::InsideRecord => "the file ends inside it",
                    Torn::EndByte => "it has no end byte",
                    Torn::Garbled => "its checksum or length is wrong and no good record follows it",
                    Torn::Hole => "a sector of it was never written",
                    Torn::BehindZeros => "it begins with zeros",
                };
                let done = if *cut { "it is cut off" } else { "replay goes on with the next file" };
                write!(
                    f,
                    "the last record of {} at offset {offset} was partly written ({what}); {done}",
                    path.display()
                )
            }
            Notice::EmptyLog { path } => {
                write!(f, "log {} was never written to; it is deleted", path.display())
            }
            Notice::Repeated { path, records } => {
                write!(f, "log {} repeats {records} records of other files; they are skipped", path.display())
            }
            Notice::GapAfterSnapshot { snapshot, first } => {
                write!(
                    f,
                    "the first transaction after snapshot {snapshot} is {first}; is a log file missing?"
                )
            }
        }
    }
}

pub(super) const EIO: i32 = rustix::io::Errno::IO.raw_os_error();

/// Java tries no more than this many.
const CANDIDATES_MAX: usize = 100;

/// Finds the newest good snapshot and pours it into `sink`; says how the tree begins if there is none.
///
/// Deletes the `initialize` marker in any case, as Java does at the first load.
pub fn load_snapshot(
    dirs: &DataDirs,
    options: &LoadOptions,
    sink: &mut dyn SnapshotSink,
) -> Result<(Base, Vec<Notice>)> {
    let disk = &*dirs.disk;
    let initialize = take_initialize_marker(dirs);
    let mut notices = Vec::new();
    let mut files = numbered(disk, &dirs.snap, Kind::Snapshot)?;
    files.reverse();
    let mut tried = 0;
    let mut unfinished = Vec::new();
    for Numbered { zxid, path } in files {
        if !snapshot::quick_test(disk, &path).map_err(io_error("read", &path))? {
            // Java writes in place, and of its very first one a crash may leave a part.
            if zxid > Zxid::ZERO {
                unfinished.push(path.clone());
            }
            notices.push(Notice::SnapshotSkipped { path, problem: "it is incomplete".into() });
            continue;
        }
        match snapshot::load(disk, &path, options.len_max, sink) {
            Ok(trailer) => {
                // Where the writer had no digest yet it wrote zxid 0; below the file's own zxid it says nothing.
                let digest = trailer.digest.filter(|&(at, _)| at > Zxid::ZERO && at >= zxid);
                return Ok((Base::Snapshot { zxid, path, digest }, notices));
            }
            // Not this file's fault (no permission, no descriptors left): an older one would be no better. A bad
            // sector is its fault; the logs make up for it.
            Err(BadSnapshot::Io(source)) if source.raw_os_error().is_some_and(|code| code != EIO) => {
                return Err(StorageError::Io { doing: "read", path, source });
            }
            Err(problem) => {
                notices.push(Notice::SnapshotSkipped { path, problem: problem.to_string() });
                tried += 1;
                if tried == CANDIDATES_MAX {
                    break;
                }
            }
        }
    }
    sink.begin();
    if tried > 0 {
        let first = notices.into_iter().find_map(|notice| match notice {
            Notice::SnapshotSkipped { path, problem } if problem != "it is incomplete" => {
                Some((path, problem))
            }
            _ => None,
        });
        let (newest, problem) = first.expect("at least one was tried");
        return Err(StorageError::NoUsableSnapshot { dir: dirs.snap.clone(), tried, newest, problem });
    }
    let base = if !numbered(disk, &dirs.log, Kind::Log)?.is_empty() {
        if !options.trust_empty {
            return Err(StorageError::LogsWithoutSnapshot {
                dir: dirs.log.clone(),
                incomplete: notices.len(),
            });
        }
        Base::TrustedLogs
    } else if !options.trust_empty && !unfinished.is_empty() {
        // There was a history once: half of a copied backup is no empty database.
        let (tried, newest) = (unfinished.len(), unfinished.swap_remove(0));
        let problem = "it is incomplete".into();
        return Err(StorageError::NoUsableSnapshot { dir: dirs.snap.clone(), tried, newest, problem });
    } else if initialize || options.autocreate_db {
        Base::New
    } else {
        Base::Nothing
    };
    Ok((base, notices))
}

/// True if there was one. `zkServer-initialize.sh` puts it into dataDir, where Java with a separate dataLogDir
/// does not look for it; both places count here.
fn take_initialize_marker(dirs: &DataDirs) -> bool {
    [&dirs.data_log_dir, &dirs.data_dir]
        .into_iter()
        .filter(|dir| dirs.disk.remove(&dir.join("initialize")).is_ok())
        .count()
        > 0
}

/// What replay did, and what is left to do once the caller has taken it all.
#[derive(Debug, Default)]
#[must_use = "settle it, or torn ends stay on disk"]
pub struct Replay {
    /// The last transaction handed on; `None` if there was none.
    pub last: Option<Zxid>,
    pub txns: u64,
    /// Bytes of records read.
    pub bytes: u64,
    pub notices: Vec<Notice>,
    /// The files that were read, for [`Replay::settle`].
    read: Vec<PathBuf>,
    last_file: Option<LastFile>,
}

#[derive(Debug)]
enum LastFile {
    CutAt(u64),
    Remove(PathBuf),
}

impl Replay {
    /// Cuts the last log behind its last good record, so that nothing follows that a reader could take for one, deletes
    /// an empty last log, and makes durable what was read. Call it after everything was applied.
    ///
    /// A server that was killed leaves records that only the system's memory holds. They are part of the history now,
    /// and the next ones go to another file: without a sync here, a power failure could take them from in between.
    pub fn settle(&self, dirs: &DataDirs) -> Result<()> {
        let disk = &*dirs.disk;
        for path in &self.read {
            disk.sync_file(path).map_err(io_error("sync", path))?;
        }
        match &self.last_file {
            None => {}
            Some(LastFile::CutAt(len)) => {
                let path = self.read.last().expect("it is among those that were read");
                disk.truncate(path, *len).map_err(io_error("cut off the end of", path))?;
            }
            Some(LastFile::Remove(path)) => disk.remove(path).map_err(io_error("delete", path))?,
        }
        disk.sync_dir(&dirs.log).map_err(io_error("sync", &dirs.log))
    }
}

/// Hands on every transaction after `base`, with its payload as logged.
pub fn replay(
    dirs: &DataDirs,
    options: &LoadOptions,
    base: Zxid,
    apply: &mut dyn FnMut(LoggedTxn<'_>, &[u8]),
) -> Result<Replay> {
    let disk = &*dirs.disk;
    let mut report = Replay::default();
    let files = files_from(numbered(disk, &dirs.log, Kind::Log)?, base.next());
    for (i, Numbered { path, .. }) in files.iter().enumerate() {
        let is_last = i + 1 == files.len();
        let size = disk.len(path).map_err(io_error("look at", path))?;
        let mut log = LogFile::open(disk, path, size, options.len_max)?;
        match log.read_header()? {
            Opening::Log => {}
            Opening::NeverWritten if is_last => {
                report.notices.push(Notice::EmptyLog { path: path.clone() });
                report.last_file = Some(LastFile::Remove(path.clone()));
                break;
            }
            Opening::NeverWritten => return Err(log.corrupt(Corruption::ShortHeader)),
        }
        report.read.push(path.clone());
        let mut repeated = 0;
        let torn = loop {
            let (offset, payload) = match log.next_record(is_last)? {
                Next::Record { offset, payload } => (offset, payload),
                Next::End(torn) => break torn,
            };
            report.bytes += (payload.len() + OVERHEAD) as u64;
            let corrupt = |after, e: crate::wire::jute::Malformed| StorageError::LogCorrupt {
                path: path.clone(),
                offset,
                after,
                problem: Corruption::BadTxn(e.to_string()),
            };
            let after = report.last;
            let header =
                TxnHeader::read(&mut Reader::new(payload, options.len_max)).map_err(|e| corrupt(after, e))?;
            if header.zxid > base {
                match report.last {
                    Some(last) if header.zxid <= last => {
                        // Java applies these once more, which takes the tree back if the copy ends earlier.
                        repeated += 1;
                    }
                    Some(last) if header.zxid.epoch() == last.epoch() && header.zxid != last.next() => {
                        let (path, found) = (path.clone(), header.zxid);
                        return Err(StorageError::LogGap { path, offset, previous: last, found });
                    }
                    last => {
                        if last.is_none() && header.zxid.epoch() == base.epoch() && header.zxid != base.next()
                        {
                            report
                                .notices
                                .push(Notice::GapAfterSnapshot { snapshot: base, first: header.zxid });
                        }
                        let txn =
                            LoggedTxn::decode(payload, options.len_max).map_err(|e| corrupt(after, e))?;
                        report.last = Some(header.zxid);
                        report.txns += 1;
                        apply(txn, payload);
                    }
                }
            }
            log.last_zxid = Some(header.zxid);
        };
        if repeated > 0 {
            report.notices.push(Notice::Repeated { path: path.clone(), records: repeated });
        }
        if let Some(what) = torn {
            let (path, offset) = (path.clone(), log.end);
            report.notices.push(Notice::TornTail { path, offset, what, cut: is_last });
        }
        if is_last && log.end < size {
            report.last_file = Some(LastFile::CutAt(log.end));
        }
    }
    Ok(report)
}

/// The files that may hold `from` and later: those named so, and the one before them (storage.md 4.2), together with
/// copies that have its zxid in their name too (`log.5.bak`), of which Java reads any one.
pub(super) fn files_from(mut files: Vec<Numbered>, from: Zxid) -> Vec<Numbered> {
    let before = files.iter().map(|file| file.zxid).filter(|&zxid| zxid < from).max();
    files.retain(|file| file.zxid >= from || Some(file.zxid) == before);
    files
}

/// One log, read record by record.
pub(super) struct LogFile<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    size: u64,
    len_max: usize,
    input: Input<Box<dyn Read + Send>>,
    /// Behind the last good record.
    pub end: u64,
    /// For messages: the last good record's.
    pub last_zxid: Option<Zxid>,
}

pub(super) enum Opening {
    Log,
    /// Empty, half a header, or nothing but zeros: a crash came between making the file and the first sync.
    NeverWritten,
}

pub(super) enum Next<'a> {
    Record { offset: u64, payload: &'a [u8] },
    End(Option<Torn>),
}

/// A log bigger than this is not searched for good records behind a bad one; it is taken for corrupt.
const SEARCHED_MAX: u64 = 256 << 20;

/// How far behind the end we look for anything but zeros, in bytes. It only decides whether a line is logged.
const LOOK_BEHIND_MAX: usize = 4 << 20;

impl<'a> LogFile<'a> {
    pub fn open(disk: &'a dyn Disk, path: &'a Path, size: u64, len_max: usize) -> Result<LogFile<'a>> {
        LogFile::open_at(disk, path, size, len_max, 0)
    }

    /// Goes on where an earlier reading was [`end`](LogFile::end)ed.
    pub fn open_at(
        disk: &'a dyn Disk,
        path: &'a Path,
        size: u64,
        len_max: usize,
        end: u64,
    ) -> Result<LogFile<'a>> {
        let file = disk.open(path, end).map_err(io_error("read", path))?;
        let piece_max = (len_max + OVERHEAD).max(LOOK_BEHIND_MAX) * 2;
        Ok(LogFile { disk, path, size, len_max, input: Input::new(file, piece_max), end, last_zxid: None })
    }

    fn corrupt(&self, problem: Corruption) -> StorageError {
        StorageError::LogCorrupt {
            path: self.path.to_owned(),
            offset: self.end,
            after: self.last_zxid,
            problem,
        }
    }

    pub fn read_header(&mut self) -> Result<Opening> {
        let head = self.input.peek(FILE_HEADER.len()).map_err(io_error("read", self.path))?;
        if head.len() < FILE_HEADER.len() {
            return Ok(Opening::NeverWritten);
        }
        let head = self.input.take(FILE_HEADER.len());
        if head.starts_with(MAGIC) {
            self.end = FILE_HEADER.len() as u64;
            return Ok(Opening::Log);
        }
        if head.iter().all(|&b| b == 0) && self.only_zeros_follow()? {
            return Ok(Opening::NeverWritten);
        }
        Err(self.corrupt(Corruption::BadMagic))
    }

    /// The next record, or why there is none. `last`: this is the newest file, where a crash explains more.
    pub fn next_record(&mut self, last: bool) -> Result<Next<'_>> {
        let offset = self.end;
        let have = self.input.peek(HEAD_LEN).map_err(io_error("read", self.path))?;
        let Some(head) = have.first_chunk::<HEAD_LEN>() else {
            let torn = have.iter().any(|&b| b != 0).then_some(Torn::InsideRecord);
            return Ok(Next::End(torn));
        };
        let (checksum, len) = match record::read_head(head, self.len_max) {
            Head::Record { checksum, len } => (checksum, len),
            Head::Padding => {
                let torn = self.anything_but_zeros_near()?.then_some(Torn::BehindZeros);
                return Ok(Next::End(torn));
            }
            Head::BadLength(len) => return self.garbled(last, Corruption::BadLength(len)),
        };
        let whole = HEAD_LEN + len + 1;
        let have = self.input.peek(whole).map_err(io_error("read", self.path))?;
        if have.len() < whole {
            return Ok(Next::End(Some(Torn::InsideRecord)));
        }
        let good =
            have[whole - 1] == END_BYTE && record::checksum_matches(checksum, &have[HEAD_LEN..whole - 1]);
        if last && !good && lacks_a_sector(offset, &have[..whole]) {
            return Ok(Next::End(Some(Torn::Hole)));
        }
        if have[whole - 1] != END_BYTE {
            if self.good_record_at(whole)? {
                return Err(self.corrupt(Corruption::BadEndByte));
            }
            return Ok(Next::End(Some(Torn::EndByte)));
        }
        if !good {
            return self.garbled(last, Corruption::BadChecksum);
        }
        self.end = offset + whole as u64;
        let record = self.input.take(whole);
        Ok(Next::Record { offset, payload: &record[HEAD_LEN..whole - 1] })
    }

    /// The last file may end in the remains of a write, but not with good records behind them.
    fn garbled(&self, last: bool, problem: Corruption) -> Result<Next<'_>> {
        if last && !self.good_record_left()? {
            return Ok(Next::End(Some(Torn::Garbled)));
        }
        Err(self.corrupt(problem))
    }

    /// Looks for a record at every byte of the rest of the file. Slow, and rare.
    ///
    /// Of any length: one that is only too long for today's `jute.maxbuffer` was acknowledged under yesterday's.
    fn good_record_left(&self) -> Result<bool> {
        if self.size - self.end > SEARCHED_MAX {
            return Ok(true);
        }
        let mut rest = Vec::new();
        let file = self.disk.open(self.path, self.end).map_err(io_error("read", self.path))?;
        file.take(SEARCHED_MAX).read_to_end(&mut rest).map_err(io_error("read", self.path))?;
        Ok((0..rest.len()).any(|at| {
            // The upper half of the checksum is zero and the payload is no shorter than its header: this leaves few
            // places to compute a checksum for.
            rest[at..].starts_with(&[0; 4])
                && good_record(&rest[at..], rest.len()).is_some_and(|len| len >= TxnHeader::ENCODED_LEN)
        }))
    }

    /// Looks at the record `ahead` bytes further on without taking anything.
    fn good_record_at(&mut self, ahead: usize) -> Result<bool> {
        let have = self.input.peek(ahead + HEAD_LEN).map_err(io_error("read", self.path))?;
        let Some(Head::Record { len, .. }) = have
            .get(ahead..)
            .and_then(|have| have.first_chunk())
            .map(|head| record::read_head(head, self.len_max))
        else {
            return Ok(false);
        };
        self.input.peek(ahead + len + OVERHEAD).map_err(io_error("read", self.path))?;
        let have = self.input.buffered();
        Ok(have.get(ahead..).is_some_and(|have| good_record(have, self.len_max).is_some()))
    }

    fn anything_but_zeros_near(&mut self) -> Result<bool> {
        let left = usize::try_from(self.size - self.end).unwrap_or(usize::MAX);
        let near = self.input.peek(left.min(LOOK_BEHIND_MAX)).map_err(io_error("read", self.path))?;
        Ok(near.iter().any(|&b| b != 0))
    }

    /// Reads the rest of the file.
    fn only_zeros_follow(&mut self) -> Result<bool> {
        loop {
            let piece = self.input.peek(1).map_err(io_error("read", self.path))?;
            if piece.is_empty() {
                return Ok(true);
            }
            if piece.iter().any(|&b| b != 0) {
                return Ok(false);
            }
            let n = piece.len();
            self.input.take(n);
        }
    }
}

/// Whether a part of the record that lies in one sector is all zeros. The first bytes of every record are zeros, and say
/// nothing: the upper half of its checksum.
fn lacks_a_sector(offset: u64, record: &[u8]) -> bool {
    const CHECKSUM_UPPER_HALF: usize = 4;
    let to_boundary = SECTOR - (offset % SECTOR as u64) as usize;
    let (first, rest) = record.split_at(to_boundary.min(record.len()));
    let lacking = |part: &[u8]| part.iter().all(|&b| b == 0);
    (first.len() > CHECKSUM_UPPER_HALF && lacking(first)) || rest.chunks(SECTOR).any(lacking)
}

/// The length of the payload of the good record that `bytes` begin with.
fn good_record(bytes: &[u8], len_max: usize) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD_LEN>()?;
    let Head::Record { checksum, len } = record::read_head(head, len_max) else { return None };
    let (payload, rest) = bytes[HEAD_LEN..].split_at_checked(len)?;
    (rest.first() == Some(&END_BYTE) && record::checksum_matches(checksum, payload)).then_some(len)
}

/// Deletes unfinished files that a crash left behind. Only for the process that holds the lock.
pub(super) fn remove_leftovers(dirs: &DataDirs) -> Result<()> {
    let prefixes = [(&dirs.log, log::TEMP_PREFIX), (&dirs.snap, snapshot::TEMP_PREFIX)];
    for (dir, prefix) in prefixes {
        for name in dirs.disk.list(dir).map_err(io_error("list", dir))? {
            if name.starts_with(prefix) {
                let path = dir.join(name);
                dirs.disk.remove(&path).map_err(io_error("delete", &path))?;
            }
        }
    }
    Ok(())
}
