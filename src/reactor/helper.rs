//! The helper threads: what can only block is done here.
//!
//! Two of them, because a log sync must never stand in line behind a snapshot: one syncs the log and writes epochs and
//! memberships, all that is promised to others, the other prepares log segments, writes snapshots, deletes old files and
//! loads. In an ensemble a third reads the log for learners, which must wait for neither. None owns any state of the
//! server. Each gets jobs over a queue and answers over another, and a `mio::Waker` brings the reactor to look.
//!
//! # Invariants
//!
//! 1. Jobs of one thread are done in the order in which they were given, but for making a log segment: that takes
//!    seconds on a slow disk and nobody waits for it, so it goes on between the jobs that somebody does wait for. It
//!    rests while a snapshot is written: both at once are more than a disk can do beside the syncs of the log.
//! 2. A failed job is answered with its error and the thread goes on; the reactor ends the process.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use mio::Waker;

use super::clock::Clock;
use super::listener;
use crate::config::dynamic;
use crate::ids::{HashMap, ServerId, Zxid};
use crate::member::LinkId;
use crate::quorum::views::Views;
use crate::quorum::zab::window::Meeting;
use crate::state::{self, LoadSettings, State};
use crate::storage::history::{self, HistoryError, HistoryReader, Piece};
use crate::storage::{
    self, Compression, DataDirs, EpochFile, LoadOptions, PrepareJob, SegmentReady, SnapshotFile,
    SnapshotWriter, StorageError, SyncDone, SyncJob,
};
use crate::time::Instant;
use crate::wire::address::HostPort;

/// Work for the thread that makes promises durable.
pub enum SyncWork {
    Log(SyncJob),
    Epoch(EpochFile, i64),
    /// Make the configuration files say what the memberships are now.
    Membership {
        zoo_cfg: PathBuf,
        me: ServerId,
        views: Box<Views>,
    },
}

/// Work for the thread of files.
pub enum FileJob {
    Prepare(PrepareJob),
    /// Take back everything above the zxid, if there is one, and load what is left.
    Load {
        truncate_to: Option<Zxid>,
    },
    SnapshotBegin {
        zxid: Zxid,
    },
    /// Bytes of the snapshot; the buffer comes back to be filled again.
    SnapshotChunk(Vec<u8>),
    /// The snapshot that was begun is not wanted any more. Not answered.
    SnapshotAbandon,
    /// The seals: digest and zxid at the end, and the last zxid if it is to be written.
    SnapshotFinish {
        digest: Option<(Zxid, u64)>,
        last_zxid: Option<Zxid>,
        /// It is a leader's state: everything older goes.
        replaces_history: bool,
    },
    Purge {
        snapshots_kept: usize,
    },
    /// Look up an address and listen there for clients.
    ListenForClients {
        address: HostPort,
        backlog: u32,
    },
}

/// What a helper answers.
pub enum Done {
    Synced(Result<SyncDone, StorageError>),
    EpochWritten(Result<EpochFile, StorageError>),
    Loaded(Result<Box<State>, StorageError>),
    Located {
        link: LinkId,
        /// `None`: the log files do not say.
        meeting: Option<Meeting>,
    },
    LogPiece {
        link: LinkId,
        /// `None`: the log files have a gap there.
        piece: Option<Piece>,
    },
    Prepared(Result<SegmentReady, StorageError>),
    ChunkWritten(Result<Vec<u8>, StorageError>),
    SnapshotFinished(Result<SnapshotFile, StorageError>),
    Purged(Result<(), StorageError>),
    MembershipStored(io::Result<()>),
    ListensForClients {
        address: HostPort,
        listener: io::Result<TcpListener>,
    },
}

/// Work for the thread that reads the log for learners.
pub enum HistoryJob {
    Locate {
        link: LinkId,
        zxid: Zxid,
    },
    /// Read the transactions between the two; the first piece comes at once.
    Open {
        link: LinkId,
        after: Zxid,
        before: Zxid,
    },
    /// One more piece.
    Next(LinkId),
    /// The link is gone.
    Drop(LinkId),
}

/// The reactor's end of the threads.
pub struct Helpers {
    syncs: Sender<SyncWork>,
    files: Sender<FileJob>,
    /// In an ensemble.
    history: Option<Sender<HistoryJob>>,
    answers: Receiver<Done>,
}

impl Helpers {
    /// `log_share`: in an ensemble, up to what share of a snapshot's size learners are sent the log instead.
    pub fn start(
        dirs: &DataDirs,
        compression: Compression,
        load: LoadSettings,
        log_share: Option<f64>,
        waker: Arc<Waker>,
        clock: Clock,
    ) -> io::Result<Helpers> {
        let (syncs, sync_work) = channel::<SyncWork>();
        let (files, file_jobs) = channel::<FileJob>();
        let (answer, answers) = channel::<Done>();
        let reply = Reply { answer, waker };
        let (sync_reply, sync_dirs) = (reply.clone(), dirs.clone());
        thread::Builder::new().name("log-sync".into()).spawn(move || {
            for work in sync_work {
                sync_reply.send(match work {
                    SyncWork::Log(job) => Done::Synced(job.run(|| clock.elapsed())),
                    SyncWork::Epoch(file, epoch) => {
                        Done::EpochWritten(file.write(&sync_dirs, epoch).map(|()| file))
                    }
                    SyncWork::Membership { zoo_cfg, me, views } => {
                        Done::MembershipStored(dynamic::store(&zoo_cfg, me, &views))
                    }
                });
            }
        })?;
        let mut history = None;
        if let Some(share_of_snapshot) = log_share {
            let (jobs, history_jobs) = channel::<HistoryJob>();
            let (reply, dirs) = (reply.clone(), dirs.clone());
            thread::Builder::new().name("history".into()).spawn(move || {
                let options = load.files;
                let mut readers = History { dirs, options, share_of_snapshot, open: HashMap::default() };
                for job in history_jobs {
                    if let Some(done) = readers.run(job) {
                        reply.send(done);
                    }
                }
            })?;
            history = Some(jobs);
        }
        let dirs = dirs.clone();
        thread::Builder::new().name("files".into()).spawn(move || {
            let mut files = Files::new(dirs, compression, load, clock);
            while let Ok(job) = files.next(&file_jobs) {
                if let Some(done) = job.and_then(|job| files.run(job)) {
                    reply.send(done);
                }
                if let Some(done) = files.make_segment() {
                    reply.send(done);
                }
            }
        })?;
        Ok(Helpers { syncs, files, history, answers })
    }

    pub fn sync(&self, work: SyncWork) {
        self.syncs.send(work).expect("the thread lives as long as the process");
    }

    pub fn file(&self, job: FileJob) {
        self.files.send(job).expect("the thread lives as long as the process");
    }

    /// # Panics
    /// If the helpers were not started for learners.
    pub fn history(&self, job: HistoryJob) {
        let history = self.history.as_ref().expect("only members have learners");
        history.send(job).expect("the thread lives as long as the process");
    }

    /// The next answer, if one is there.
    pub fn answer(&self) -> Option<Done> {
        self.answers.try_recv().ok()
    }

    /// Waits for the next answer; only for the end of the process, when there is nothing else to do.
    pub fn wait(&self) -> Done {
        self.answers.recv().expect("the threads live as long as the process")
    }
}

#[derive(Clone)]
struct Reply {
    answer: Sender<Done>,
    waker: Arc<Waker>,
}

impl Reply {
    fn send(&self, done: Done) {
        // The reactor may be gone at the end of the process; then nobody needs the answer.
        if self.answer.send(done).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// The state of the thread of files: at most one snapshot in the making, and log segments.
struct Files {
    dirs: DataDirs,
    compression: Compression,
    load: LoadSettings,
    clock: Clock,
    snapshot: Option<SnapshotWriter>,
    /// More than one only if the log was closed and went on before the first was made.
    segments: VecDeque<PrepareJob>,
    /// When the next step of the first of them is due.
    step_due: Instant,
}

/// The longest pause between two steps of making a segment, in nanoseconds.
const PAUSE_MAX: u64 = 20_000_000;

impl Files {
    fn new(dirs: DataDirs, compression: Compression, load: LoadSettings, clock: Clock) -> Files {
        let (segments, step_due) = (VecDeque::new(), clock.mono());
        Files { dirs, compression, load, clock, snapshot: None, segments, step_due }
    }

    /// Waits for the next job, or until a step of making a segment is due.
    fn next(&self, jobs: &Receiver<FileJob>) -> Result<Option<FileJob>, RecvTimeoutError> {
        if self.segments.is_empty() || self.snapshot.is_some() {
            return jobs.recv().map(Some).map_err(RecvTimeoutError::from);
        }
        match jobs.recv_timeout(Duration::from_nanos(self.step_due.nanos_since(self.clock.mono()))) {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            job => job.map(Some),
        }
    }

    /// One step of making a segment, if it is due: at a quarter of the disk's speed at most. The segment is wanted only
    /// once the current one is full, and every step stands before the syncs of the log that clients wait for.
    fn make_segment(&mut self) -> Option<Done> {
        let begun = self.clock.mono();
        if begun < self.step_due || self.snapshot.is_some() {
            return None;
        }
        let step = self.segments.front_mut()?.step();
        let ended = self.clock.mono();
        self.step_due = Instant(ended.0 + (3 * ended.nanos_since(begun)).min(PAUSE_MAX));
        if let Ok(false) = step {
            return None;
        }
        let job = self.segments.pop_front()?;
        Some(Done::Prepared(step.map(|_| job.finish())))
    }

    fn run(&mut self, job: FileJob) -> Option<Done> {
        Some(match job {
            // What is trimmed is so before any later job looks at the files.
            FileJob::Prepare(mut job) => match job.trim() {
                Ok(false) => {
                    self.segments.push_back(job);
                    return None;
                }
                trimmed => Done::Prepared(trimmed.map(|_| job.finish())),
            },
            FileJob::Load { truncate_to } => {
                let cut = truncate_to.map_or(Ok(()), |zxid| self.cut(zxid));
                let load = || state::load(&self.dirs, &self.load, || self.clock.elapsed());
                Done::Loaded(cut.and_then(|()| load()).map(Box::new))
            }
            FileJob::SnapshotBegin { zxid } => {
                Done::ChunkWritten(SnapshotWriter::create(&self.dirs, zxid, self.compression).map(|writer| {
                    self.snapshot = Some(writer);
                    Vec::new()
                }))
            }
            FileJob::SnapshotChunk(bytes) => {
                let writer = self.snapshot.as_mut().expect("chunks follow a begin");
                Done::ChunkWritten(writer.write_chunk(&bytes).map(|()| bytes))
            }
            FileJob::SnapshotAbandon => {
                // What is written so far has a temporary name, which the next start deletes.
                self.snapshot = None;
                return None;
            }
            FileJob::SnapshotFinish { digest, last_zxid, replaces_history } => {
                let writer = self.snapshot.take().expect("a finish follows a begin");
                Done::SnapshotFinished(match replaces_history {
                    false => writer.finish(digest, last_zxid),
                    true => self.replace_history(writer, digest, last_zxid),
                })
            }
            FileJob::Purge { snapshots_kept } => {
                let mut announce = |path: &Path| log::info!("Removing file: {}", path.display());
                let purged =
                    storage::purge::purge(&self.dirs, &self.load.files, snapshots_kept, &mut announce);
                Done::Purged(purged.map(drop))
            }
            FileJob::ListenForClients { address, backlog } => {
                let mut found = (address.host.as_str(), address.port).to_socket_addrs();
                let listener = match &mut found {
                    Ok(found) => match found.next() {
                        Some(at) => listener::listen(at, backlog),
                        None => Err(io::Error::other("the name has no address")),
                    },
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                Done::ListensForClients { address, listener }
            }
        })
    }

    fn cut(&self, above: Zxid) -> Result<(), StorageError> {
        let cut = storage::truncate_after(&self.dirs, &self.load.files, above)?;
        for path in &cut.removed {
            log::info!("Removed {}: it has what is above {above}", path.display());
        }
        for (path, len) in &cut.cut {
            log::info!("Cut {} to {len} bytes: what followed is above {above}", path.display());
        }
        Ok(())
    }

    fn replace_history(
        &self,
        image: SnapshotWriter,
        digest: Option<(Zxid, u64)>,
        last_zxid: Option<Zxid>,
    ) -> Result<SnapshotFile, StorageError> {
        let (file, gone) = storage::replace_history(&self.dirs, &self.load.files, image, digest, last_zxid)?;
        for path in &gone.removed {
            log::info!("Removed {}: the leader's state at {} took its place", path.display(), file.zxid);
        }
        Ok(file)
    }
}

/// The state of the thread that reads the log: where it stands for each link.
struct History {
    dirs: DataDirs,
    options: LoadOptions,
    /// `snapshotSizeFactor`.
    share_of_snapshot: f64,
    open: HashMap<LinkId, HistoryReader>,
}

/// About as many bytes of transactions as go to a learner in one piece.
const PIECE: usize = 256 << 10;

impl History {
    fn run(&mut self, job: HistoryJob) -> Option<Done> {
        match job {
            HistoryJob::Locate { link, zxid } => {
                let meeting = self.locate(zxid).unwrap_or_else(|error| {
                    log::error!(
                        "The log cannot be read for a learner at {zxid}, which gets an image: {error}"
                    );
                    None
                });
                Some(Done::Located { link, meeting })
            }
            HistoryJob::Open { link, after, before } => {
                let opened = HistoryReader::open(&self.dirs, &self.options, after, before);
                Some(self.piece(link, opened))
            }
            HistoryJob::Next(link) => self.open.remove(&link).map(|reader| self.piece(link, Ok(reader))),
            HistoryJob::Drop(link) => {
                self.open.remove(&link);
                None
            }
        }
    }

    fn locate(&self, zxid: Zxid) -> Result<Option<Meeting>, StorageError> {
        if self.share_of_snapshot < 0.0 {
            return Ok(None);
        }
        let bytes_max = history::bytes_max(&self.dirs, self.share_of_snapshot)?;
        let end = Zxid(i64::MAX);
        let met = history::locate(&self.dirs, &self.options, zxid, end, bytes_max)?;
        Ok(met.map(|(before, at_or_after)| Meeting { before, at_or_after }))
    }

    /// One more piece for this link. The reader is kept unless it was the last.
    fn piece(&mut self, link: LinkId, reader: Result<HistoryReader, HistoryError>) -> Done {
        let piece = reader.and_then(|mut reader| {
            let piece = reader.next_piece(PIECE)?;
            if !piece.end {
                self.open.insert(link, reader);
            }
            Ok(piece)
        });
        let piece = piece.inspect_err(|error| {
            log::warn!("A learner cannot be sent the log, and has to come again for an image: {error}");
        });
        Done::LogPiece { link, piece: piece.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::options;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::{LogOptions, TxnLog};

    #[test]
    fn nobody_waits_for_the_next_log_segment() {
        let dirs = DataDirs::with_disk(Path::new("/data"), Path::new("/data"), Arc::new(MemoryDisk::new()));
        let files = LoadOptions { len_max: 1 << 20, trust_empty: false, autocreate_db: true };
        let load = LoadSettings { files, tree: options().rules.tree, newest_max: 0 };
        let mut log = TxnLog::new(&dirs, LogOptions::new(4096, true, -1), Zxid::ZERO);
        let mut files = Files::new(dirs, Compression::None, load, Clock::start());
        let (jobs, given) = channel();
        let give = |job| jobs.send(job).expect("the other end is here");

        give(FileJob::Prepare(log.prepare_job().expect("there is no segment yet")));
        give(FileJob::SnapshotBegin { zxid: Zxid(1) });
        give(FileJob::SnapshotChunk(vec![0; 100]));
        give(FileJob::SnapshotAbandon);
        give(FileJob::Purge { snapshots_kept: 3 });
        let mut answers = Vec::new();
        while !matches!(answers.last(), Some(Done::Prepared(_))) {
            let job = files.next(&given).expect("the sender is here");
            answers.extend(job.and_then(|job| files.run(job)));
            answers.extend(files.make_segment());
        }
        let [
            Done::ChunkWritten(Ok(_)),
            Done::ChunkWritten(Ok(_)),
            Done::Purged(Ok(())),
            Done::Prepared(made),
        ] = <[Done; 4]>::try_from(answers).unwrap_or_else(|answers| panic!("{} answers", answers.len()))
        else {
            panic!("the segment came first");
        };
        log.segment_ready(made.expect("a good disk")).expect("it is the one asked for");
        assert!(log.prepare_job().is_none(), "the segment is there");
    }
}
