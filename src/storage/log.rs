//! The transaction log: every write in zxid order, on disk before anyone is told of it.
//!
//! The log is a chain of preallocated segments, each a file of Java's format named after its first zxid. The
//! reactor appends into the mapped segment ([`TxnLog::append`]) and, once a turn, asks for one [`SyncJob`] that
//! covers everything appended so far; a helper thread runs it and answers with [`SyncDone`]. While one sync runs,
//! appends go on, and the next job covers them all: group commit without a timer.
//!
//! A segment exists under a temporary name (`prealloc.<n>.tmp`, which Java ignores) until the first sync of its records;
//! then it is renamed after the first of them. The next one is made ahead of need by a [`PrepareJob`] on the helper: blocks allocated, zeros written, so
//! that a later sync changes no metadata and a full disk shows there, as an error, instead of at a store. The same
//! job gives back the unused end of segments that were rolled away from.
//!
//! # Invariants
//!
//! 1. Zxids are appended in rising order; a segment's name is the zxid of its first record.
//! 2. Bytes after the last record are zero, because a segment is allocated as zeros and stored to from front to back.
//! 3. A segment gets its name only when everything before it and its own header are durable. So no crash leaves a log
//!    with a later one behind it that lacks its end: that would be a gap, and the server would not start.
//! 4. `SyncDone::through` is never above what the job's files held when the job was made, and names are durable before
//!    the records behind them count as synced.
//! 5. After an error from any method or job the log must not be used again: the process ends. Nothing is retried.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::dirs::DataDirs;
use super::disk::{Disk, Segment, SegmentFile};
use super::error::{Result, StorageError};
use super::names::Kind;
use super::record::{self, END_BYTE, FILE_HEADER, HEAD_LEN, OVERHEAD};
use crate::ids::Zxid;

/// How the log is written; from `preAllocSize`, `forceSync` and `txnLogSizeLimitInKb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of a segment, in bytes.
    pub segment_bytes: u64,
    /// False only for `forceSync=no`: syncs do nothing, and a crash of the machine loses writes.
    pub force_sync: bool,
    /// Start a new file once this many bytes of records are in one; `txnLogSizeLimitInKb` > 0.
    pub file_bytes_max: Option<u64>,
}

impl LogOptions {
    /// `pre_alloc_kib` and `size_limit_kib` as configured. Steps below 64 KiB, also 0 ("no padding" in Java), become
    /// 64 KiB: a mapped segment is always preallocated.
    pub fn new(pre_alloc_kib: i64, force_sync: bool, size_limit_kib: i64) -> LogOptions {
        let kib = u64::try_from(pre_alloc_kib).unwrap_or(0).clamp(64, 4 << 20);
        LogOptions {
            segment_bytes: FILE_HEADER.len() as u64 + kib * 1024,
            force_sync,
            file_bytes_max: u64::try_from(size_limit_kib)
                .ok()
                .filter(|&n| n > 0)
                .map(|n| n.saturating_mul(1024)),
        }
    }
}

impl Default for LogOptions {
    /// Java's: 64 MiB, synced, no limit.
    fn default() -> LogOptions {
        LogOptions::new(65536, true, -1)
    }
}

/// The write end of the log.
pub struct TxnLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    current: Option<Current>,
    spare: Option<Spare>,
    /// A [`PrepareJob`] is out that brings a spare; this is the file it makes.
    preparing: Option<PathBuf>,
    /// Segments that got no more records, kept until a [`PrepareJob`] takes them to be trimmed.
    full: Vec<Full>,
    /// Files with records that no [`SyncJob`] covers yet, oldest first, except the current one.
    unsynced: Vec<Unsynced>,
    current_dirty: bool,
    appended: Zxid,
    synced: Zxid,
    temp_names: u64,
    counters: Counters,
}

/// What was appended since the last roll for a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub txns: u64,
    /// Size of the log files, the current one counted with its padding, as Java does.
    pub bytes: u64,
}

/// A file with records that are not durable yet.
struct Unsynced {
    path: PathBuf,
    /// The name it still has; `path` is what it is to get.
    unnamed: Option<PathBuf>,
    file: Arc<dyn SegmentFile>,
}

/// The segment that is appended to.
struct Current {
    path: PathBuf,
    unnamed: Option<PathBuf>,
    segment: Box<dyn Segment>,
    used: u64,
}

impl Current {
    fn unsynced(&mut self) -> Unsynced {
        Unsynced { path: self.path.clone(), unnamed: self.unnamed.take(), file: self.segment.file() }
    }
}

/// A segment that waits for its first record, under a temporary name.
struct Spare {
    path: PathBuf,
    segment: Box<dyn Segment>,
}

/// A segment that will get no more records, and how much of it is used.
struct Full {
    path: PathBuf,
    segment: Box<dyn Segment>,
    used: u64,
}

impl TxnLog {
    /// A log whose next record comes after `last`, what recovery found. Creates nothing yet; the first append opens
    /// a new file, as Java's does: a log file is never appended to again after a restart.
    pub fn new(dirs: &DataDirs, options: LogOptions, last: Zxid) -> TxnLog {
        TxnLog {
            disk: dirs.disk.clone(),
            dir: dirs.log.clone(),
            options,
            current: None,
            spare: None,
            preparing: None,
            full: Vec::new(),
            unsynced: Vec::new(),
            current_dirty: false,
            appended: last,
            synced: last,
            temp_names: 0,
            counters: Counters::default(),
        }
    }

    /// The zxid of the last record appended (or recovered); durable only after a sync.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Everything up to here is durable, as far as [`TxnLog::sync_done`] was told.
    pub fn synced(&self) -> Zxid {
        self.synced
    }

    /// A [`SyncJob`] has come to its end.
    pub fn sync_done(&mut self, done: &SyncDone) {
        self.synced = done.through;
    }

    /// The file that is written to, for messages; it has this name from its first sync on.
    pub fn current_file(&self) -> Option<&std::path::Path> {
        self.current.as_ref().map(|current| current.path.as_path())
    }

    /// Bytes in the current file, records and header; 0 before the first record.
    pub fn current_size(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.used)
    }

    pub fn counters(&self) -> Counters {
        Counters {
            txns: self.counters.txns,
            bytes: self.counters.bytes + self.current.as_ref().map_or(0, |c| c.segment.capacity()),
        }
    }

    /// Appends one transaction. Durable only once a [`SyncJob`] made after this has run.
    pub fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<()> {
        assert!(zxid > self.appended, "zxids rise: {zxid} after {}", self.appended);
        assert!(!payload.is_empty(), "a record of length 0 would read as padding");
        let need = (payload.len() + OVERHEAD) as u64;
        if let Some(current) = &self.current {
            let over = self.options.file_bytes_max.is_some_and(|max| current.used >= max);
            if over || current.used + need > current.segment.capacity() {
                self.close_current();
            }
        }
        if self.current.is_none() {
            self.open(zxid, need)?;
        }
        let current = self.current.as_mut().expect("just opened");
        let at = current.used;
        let body = at + HEAD_LEN as u64;
        let end = body + payload.len() as u64;
        let stored = current
            .segment
            .store(at, &record::head(payload))
            .and_then(|()| current.segment.store(body, payload))
            .and_then(|()| current.segment.store(end, &[END_BYTE]));
        stored.map_err(write_error("write", &current.path))?;
        current.used = end + 1;
        self.current_dirty = true;
        self.appended = zxid;
        self.counters.txns += 1;
        Ok(())
    }

    /// The next append opens a new file. Called when a snapshot starts; the counters begin anew.
    pub fn roll(&mut self) {
        self.close_current();
        self.counters = Counters::default();
    }

    /// Everything that was appended and is covered by no earlier job; `None` if that is nothing.
    ///
    /// One job at a time: make the next when the last has answered.
    pub fn sync_job(&mut self) -> Option<SyncJob> {
        let mut files = std::mem::take(&mut self.unsynced);
        if let (Some(current), true) = (&mut self.current, self.current_dirty) {
            files.push(current.unsynced());
        }
        if files.is_empty() {
            return None;
        }
        self.current_dirty = false;
        Some(SyncJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            files,
            through: self.appended,
            force: self.options.force_sync,
        })
    }

    /// Work for the helper in between: a spare segment to make, used-up ones to trim. `None` if there is neither.
    pub fn prepare_job(&mut self) -> Option<PrepareJob> {
        let make = self.spare.is_none() && self.preparing.is_none();
        if !make && self.full.is_empty() {
            return None;
        }
        let make = make.then(|| self.temp_path());
        if make.is_some() {
            self.preparing.clone_from(&make);
        }
        Some(PrepareJob {
            disk: self.disk.clone(),
            trim: std::mem::take(&mut self.full),
            make,
            made: None,
            zeroed: 0,
            len: self.options.segment_len(),
        })
    }

    /// Takes what a [`PrepareJob`] made.
    pub fn segment_ready(&mut self, ready: SegmentReady) -> Result<()> {
        let Some(spare) = ready.spare else { return Ok(()) };
        if self.preparing.as_ref() != Some(&spare.path) {
            // The log was closed since. The file has its name if the helper made it only then.
            return self.remove_unused(&spare.path);
        }
        self.preparing = None;
        assert!(self.spare.is_none(), "one job at a time makes a spare");
        self.spare = Some(spare);
        Ok(())
    }

    /// Gives back what was allocated ahead, for whoever takes the directory next. Only after the last sync: nothing may
    /// be appended any more, unless [`TxnLog::continue_after`] says so. A crash instead leaves zeros and a temporary
    /// file, which the next start deals with.
    pub fn close(&mut self) -> Result<()> {
        assert!(
            !self.current_dirty && self.unsynced.is_empty(),
            "everything is durable before the log is closed"
        );
        self.close_current();
        for Full { path, segment, used } in self.full.drain(..) {
            segment.file().trim(used).map_err(write_error("trim", &path))?;
        }
        // The helper may be at work on the next segment still; it then writes to a file without a name.
        let unused = self.spare.take().map(|spare| spare.path).into_iter().chain(self.preparing.take());
        for path in unused {
            self.remove_unused(&path)?;
        }
        Ok(())
    }

    /// Goes on after a [`TxnLog::close`]: meanwhile the files were made to end at `last`, which may be before or behind
    /// what was appended.
    pub fn continue_after(&mut self, last: Zxid) {
        assert!(self.current.is_none() && self.full.is_empty(), "the log was closed");
        (self.appended, self.synced) = (last, last);
        self.counters = Counters::default();
    }

    fn remove_unused(&self, path: &std::path::Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(write_error("delete", path)(e)),
            _ => Ok(()),
        }
    }

    fn close_current(&mut self) {
        let Some(mut current) = self.current.take() else { return };
        if std::mem::take(&mut self.current_dirty) {
            self.unsynced.push(current.unsynced());
        }
        let Current { path, segment, used, .. } = current;
        self.counters.bytes += used;
        self.full.push(Full { path, segment, used });
    }

    fn open(&mut self, zxid: Zxid, need: u64) -> Result<()> {
        let header = FILE_HEADER.len() as u64;
        let Spare { path: temp, segment } = match self.spare.take() {
            Some(spare) if header + need <= spare.segment.capacity() => spare,
            unfit => {
                // Not ready yet, or one record is bigger than a segment: allocate here and now. Instant on file
                // systems with extents; the helper's zeros are missing, so the first syncs are slower.
                self.spare = unfit;
                let path = self.temp_path();
                let len = self.options.segment_len().max(header + need);
                let mut segment =
                    self.disk.create_segment(&path, len).map_err(write_error("preallocate", &path))?;
                segment.store(0, &FILE_HEADER).map_err(write_error("write", &path))?;
                Spare { path, segment }
            }
        };
        let path = self.dir.join(Kind::Log.name(zxid));
        self.current = Some(Current { path, unnamed: Some(temp), segment, used: header });
        Ok(())
    }

    /// Temporary files of an earlier life are gone: `DataDirs::open` removes them.
    fn temp_path(&mut self) -> PathBuf {
        self.temp_names += 1;
        self.dir.join(format!("{TEMP_PREFIX}{}.tmp", self.temp_names))
    }
}

/// What the names of unfinished segments begin with.
pub(super) const TEMP_PREFIX: &str = "prealloc.";

impl LogOptions {
    fn segment_len(&self) -> u64 {
        // A file that is left at its limit needs no more room than that and one more record.
        let enough = self.file_bytes_max.map_or(u64::MAX, |max| max.saturating_add(64 << 10));
        self.segment_bytes.min(enough)
    }
}

fn write_error(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::LogWrite { doing, path, source }
}

/// Makes everything durable that was appended before it was made. Runs on the helper thread.
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    files: Vec<Unsynced>,
    through: Zxid,
    force: bool,
}

/// A finished sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncDone {
    /// Every record up to this zxid is durable.
    pub through: Zxid,
    /// How long the disk took.
    pub took: Duration,
}

impl SyncJob {
    /// The zxid that [`SyncDone::through`] will have.
    pub fn through(&self) -> Zxid {
        self.through
    }

    /// Blocks until the disk has it all. An error ends the process: what is durable now is unknown.
    ///
    /// `clock` reads the time since any fixed moment; it is asked before and after.
    pub fn run(self, clock: impl Fn() -> Duration) -> Result<SyncDone> {
        let begun = clock();
        let mut named = false;
        // In this order, file by file: see invariant 3.
        for Unsynced { path, unnamed, file } in &self.files {
            if self.force {
                file.sync().map_err(write_error("sync", path))?;
            }
            if let Some(temp) = unnamed {
                // A crash may keep the later of two names and lose the earlier.
                if std::mem::replace(&mut named, true) {
                    self.sync_names()?;
                }
                self.disk.rename(temp, path).map_err(write_error("name", path))?;
            }
        }
        if named {
            self.sync_names()?;
        }
        Ok(SyncDone { through: self.through, took: clock().saturating_sub(begun) })
    }

    fn sync_names(&self) -> Result<()> {
        if !self.force {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir).map_err(write_error("sync the directory of", &self.dir))
    }
}

/// Makes the next segment and trims used ones. Runs on the helper thread, whole ([`PrepareJob::run`]) or in steps with
/// other work in between: first [`PrepareJob::trim`], then [`PrepareJob::step`].
pub struct PrepareJob {
    disk: Arc<dyn Disk>,
    trim: Vec<Full>,
    make: Option<PathBuf>,
    made: Option<Spare>,
    /// How much of the segment was overwritten with zeros.
    zeroed: u64,
    len: u64,
}

/// What a [`PrepareJob`] brings back for [`TxnLog::segment_ready`].
pub struct SegmentReady {
    spare: Option<Spare>,
}

impl PrepareJob {
    /// Bytes of zeros written and synced in one step. A sync of the log that meets one at the disk waits for all of it,
    /// so the worst latency of a write has this size in it; smaller ones cost more of the file system's bookkeeping.
    const STEP: u64 = 512 << 10;

    /// Everything at once.
    pub fn run(mut self) -> Result<SegmentReady> {
        let mut all = self.trim()?;
        while !all {
            all = self.step()?;
        }
        Ok(self.finish())
    }

    /// Gives back the unused ends of segments that get no more records; true when there is nothing else to do.
    pub fn trim(&mut self) -> Result<bool> {
        for Full { path, segment, used } in self.trim.drain(..) {
            // Needs no sync of its own: the zeros that a crash leaves behind read as padding.
            segment.file().trim(used).map_err(write_error("trim", &path))?;
        }
        Ok(self.make.is_none())
    }

    /// A millisecond or so of making the segment; true when it is made and [`PrepareJob::finish`] may be called.
    pub fn step(&mut self) -> Result<bool> {
        let Some(path) = &self.make else { return Ok(true) };
        let Some(spare) = &mut self.made else {
            let mut segment =
                self.disk.create_segment(path, self.len).map_err(write_error("preallocate", path))?;
            segment.store(0, &FILE_HEADER).map_err(write_error("write", path))?;
            self.zeroed = FILE_HEADER.len() as u64;
            self.made = Some(Spare { path: path.clone(), segment });
            return Ok(false);
        };
        let n = (self.len - self.zeroed).min(PrepareJob::STEP);
        let file = spare.segment.file();
        file.write_zeros(self.zeroed, n)
            .and_then(|()| file.sync())
            .map_err(write_error("preallocate", path))?;
        self.zeroed += n;
        Ok(self.zeroed == self.len)
    }

    /// Hands over the segment; only after [`PrepareJob::trim`] or [`PrepareJob::step`] has said true.
    pub fn finish(self) -> SegmentReady {
        assert!(self.make.is_none() || self.zeroed == self.len, "the job has not run to its end");
        SegmentReady { spare: self.made }
    }
}

/// When to roll the log and take a snapshot (`SyncRequestProcessor.shouldSnapshot`).
///
/// The random halves keep the servers of an ensemble from doing it all at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSchedule {
    snap_count: u64,
    size_limit: u64,
    txns_max: u64,
    bytes_max: Option<u64>,
}

impl SnapshotSchedule {
    /// `snap_count` below 2 counts as 2; `size_limit_kib` of 0 or less is off (0 kills Java's sync thread).
    pub fn new(snap_count: i64, size_limit_kib: i64, random: u64) -> SnapshotSchedule {
        let mut schedule = SnapshotSchedule {
            snap_count: u64::try_from(snap_count).unwrap_or(0).max(2),
            size_limit: u64::try_from(size_limit_kib).unwrap_or(0).saturating_mul(1024),
            txns_max: 0,
            bytes_max: None,
        };
        schedule.redraw(random);
        schedule
    }

    /// New random halves, after each roll. The upper bits of `random` draw one of them, the lower the other.
    pub fn redraw(&mut self, random: u64) {
        let count_half = self.snap_count / 2;
        self.txns_max = count_half + (random >> 32) % count_half;
        let size_half = self.size_limit / 2;
        self.bytes_max = (size_half > 0).then(|| size_half + u64::from(random as u32) * 4096 % size_half);
    }

    pub fn is_due(&self, counters: Counters) -> bool {
        counters.txns > self.txns_max || self.bytes_max.is_some_and(|max| counters.bytes > max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_have_javas_first_size_and_never_none() {
        assert_eq!(LogOptions::default().segment_len(), 67_108_880);
        assert_eq!(LogOptions::new(64, true, -1).segment_len(), 65_552);
        for none in [0, -5, 1] {
            assert_eq!(LogOptions::new(none, true, -1).segment_len(), 65_552);
        }
        let limited = LogOptions::new(65536, true, 100);
        assert_eq!((limited.file_bytes_max, limited.segment_len()), (Some(102_400), 102_400 + 65_536));
    }

    #[test]
    fn a_snapshot_is_due_between_half_and_all_of_snap_count() {
        let counters = |txns| Counters { txns, bytes: 0 };
        for random in [0, 1 << 32, u64::MAX, 0x1234_5678_9abc_def0] {
            let schedule = SnapshotSchedule::new(1000, 0, random);
            assert!(!schedule.is_due(counters(500)));
            assert!(schedule.is_due(counters(1000)));
        }
        assert!(SnapshotSchedule::new(-1, 0, 0).is_due(counters(2)), "less than 2 counts as 2");
        let by_size = SnapshotSchedule::new(1_000_000, 64, 0);
        assert!(!by_size.is_due(Counters { txns: 1, bytes: 32 << 10 }));
        assert!(by_size.is_due(Counters { txns: 1, bytes: 64 << 10 }));
        assert!(!SnapshotSchedule::new(100, 0, 0).is_due(Counters { txns: 1, bytes: u64::MAX }), "0 is off");
    }
}
