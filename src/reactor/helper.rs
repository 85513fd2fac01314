//! The helper threads: what can only block is done here.
//!
//! Two of them, because a log sync must never stand in line behind a snapshot: one runs [`SyncJob`]s and nothing
//! else, the other prepares log segments, writes snapshots and deletes old files. Neither owns any state of the
//! server. Each gets jobs over a queue and answers over another, and a `mio::Waker` brings the reactor to look.
//!
//! # Invariants
//!
//! 1. Jobs of one thread are done in the order in which they were given.
//! 2. A failed job is answered with its error and the thread goes on; the reactor ends the process.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use mio::Waker;

use super::clock::Clock;
use crate::ids::Zxid;
use crate::storage::{
    self, Compression, DataDirs, LoadOptions, PrepareJob, SegmentReady, SnapshotFile, SnapshotWriter,
    StorageError, SyncDone, SyncJob,
};

/// Work for the thread of files.
pub enum FileJob {
    Prepare(PrepareJob),
    SnapshotBegin {
        zxid: Zxid,
    },
    /// Bytes of the snapshot; the buffer comes back to be filled again.
    SnapshotChunk(Vec<u8>),
    /// The seals: digest and zxid at the end, and the last zxid if it is to be written.
    SnapshotFinish {
        digest: Option<(Zxid, u64)>,
        last_zxid: Option<Zxid>,
    },
    Purge {
        snapshots_kept: usize,
    },
}

/// What a helper answers.
pub enum Done {
    Synced(Result<SyncDone, StorageError>),
    Prepared(Result<SegmentReady, StorageError>),
    ChunkWritten(Result<Vec<u8>, StorageError>),
    SnapshotFinished(Result<SnapshotFile, StorageError>),
    Purged(Result<(), StorageError>),
}

/// The reactor's end of both threads.
pub struct Helpers {
    syncs: Sender<SyncJob>,
    files: Sender<FileJob>,
    answers: Receiver<Done>,
}

impl Helpers {
    pub fn start(
        dirs: &DataDirs,
        compression: Compression,
        load_options: LoadOptions,
        waker: Arc<Waker>,
        clock: Clock,
    ) -> io::Result<Helpers> {
        let (syncs, sync_jobs) = channel::<SyncJob>();
        let (files, file_jobs) = channel::<FileJob>();
        let (answer, answers) = channel::<Done>();
        let reply = Reply { answer, waker };
        let sync_reply = reply.clone();
        thread::Builder::new().name("log-sync".into()).spawn(move || {
            for job in sync_jobs {
                let done = job.run(|| Duration::from_nanos(clock.mono().0));
                sync_reply.send(Done::Synced(done));
            }
        })?;
        let dirs = dirs.clone();
        thread::Builder::new().name("files".into()).spawn(move || {
            let mut files = Files { dirs, compression, load_options, clock, snapshot: None };
            for job in file_jobs {
                reply.send(files.run(job));
            }
        })?;
        Ok(Helpers { syncs, files, answers })
    }

    pub fn sync(&self, job: SyncJob) {
        self.syncs.send(job).expect("the thread lives as long as the process");
    }

    pub fn file(&self, job: FileJob) {
        self.files.send(job).expect("the thread lives as long as the process");
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

/// The state of the thread of files: at most one snapshot in the making.
struct Files {
    dirs: DataDirs,
    compression: Compression,
    load_options: LoadOptions,
    clock: Clock,
    snapshot: Option<SnapshotWriter>,
}

/// The longest pause between two steps of making a segment.
const PAUSE_MAX: Duration = Duration::from_millis(20);

impl Files {
    fn run(&mut self, job: FileJob) -> Done {
        match job {
            FileJob::Prepare(job) => Done::Prepared(self.prepare(job)),
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
            FileJob::SnapshotFinish { digest, last_zxid } => {
                let writer = self.snapshot.take().expect("a finish follows a begin");
                Done::SnapshotFinished(writer.finish(digest, last_zxid))
            }
            FileJob::Purge { snapshots_kept } => {
                let mut announce = |path: &Path| log::info!("Removing file: {}", path.display());
                let purged =
                    storage::purge::purge(&self.dirs, &self.load_options, snapshots_kept, &mut announce);
                Done::Purged(purged.map(drop))
            }
        }
    }

    /// Makes the next segment at a quarter of the disk's speed at most. It is wanted only once the current one is full, and
    /// every step of it stands before the syncs of the log that clients wait for.
    fn prepare(&self, mut job: PrepareJob) -> Result<SegmentReady, StorageError> {
        loop {
            let begun = self.clock.mono();
            if job.step()? {
                return Ok(job.finish());
            }
            let took = Duration::from_nanos(self.clock.mono().nanos_since(begun));
            // Not a wait for any event: the pause is what leaves the disk to the syncs.
            thread::sleep((3 * took).min(PAUSE_MAX));
        }
    }
}
