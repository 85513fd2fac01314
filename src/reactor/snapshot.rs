//! A snapshot in the making: a slice of the tree each turn, written by the helper.
//!
//! # Invariants
//!
//! 1. At most [`CHUNKS_AHEAD`] buffers are with the helper: a slow disk slows the snapshot, not the server.
//! 2. A turn gives the snapshot at most [`SLICE_MAX`] of its time.
//! 3. A snapshot is finished only once the log is durable to the last transaction that it has anything of. A member
//!    may commit what its own log has not on disk yet; a file with half of such transactions, and no log to bring the
//!    other half, would be a state that never was.
//! 4. The helper answers in order: what it still owes for snapshots that were given up comes before what is of the
//!    present one.

use super::clock::Clock;
use super::helper::{FileJob, Helpers};
use crate::admin::views::SnapshotView;
use crate::ids::Zxid;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::storage::{SnapshotFile, TxnLog};
use crate::time::Instant;
use crate::tree::CursorId;

/// Buffers of snapshot that may be under way to the disk.
const CHUNKS_AHEAD: usize = 4;

/// Size of such a buffer, in bytes.
const CHUNK: usize = 256 << 10;

/// What is written between two looks at the clock, in bytes.
const SLICE: usize = 32 << 10;

/// Time that one turn gives to a snapshot, in nanoseconds.
const SLICE_MAX: u64 = 500_000;

#[derive(Default)]
pub struct Progress {
    running: Option<Running>,
    buffers: Vec<Vec<u8>>,
    /// Answers that the helper owes for snapshots that were given up: buffers, and ends.
    owed_buffers: usize,
    owed_ends: usize,
}

struct Running {
    cursor: CursorId,
    zxid: Zxid,
    /// Set at the first turn, which has the clock at hand.
    started: Option<Instant>,
    filling: Vec<u8>,
    /// Buffers with the helper, the one that opens the file included.
    ahead: usize,
    sealed: bool,
    /// The end of the file, until the log is durable to there.
    held: Option<(Zxid, FileJob)>,
    with_last_zxid: bool,
    replaces_history: bool,
}

impl Progress {
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether there is something to write and room to write it to.
    pub fn wants_a_turn(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.sealed && running.ahead < CHUNKS_AHEAD)
    }

    /// `with_last_zxid`: the file ends with the block that 3.9 added. `replaces_history`: the tree is a leader's, and
    /// what this server had before it goes once the file is complete.
    pub fn begin(
        &mut self,
        server: &mut Server,
        helpers: &Helpers,
        with_last_zxid: bool,
        replaces_history: bool,
    ) {
        let mut filling = self.buffers.pop().unwrap_or_default();
        filling.clear();
        let (cursor, zxid) = server.snapshot_begin(&mut filling);
        log::info!("Snapshotting: {zxid} to snapshot.{zxid:x}");
        helpers.file(FileJob::SnapshotBegin { zxid });
        self.running = Some(Running {
            cursor,
            zxid,
            started: None,
            filling,
            ahead: 1,
            sealed: false,
            held: None,
            with_last_zxid,
            replaces_history,
        });
    }

    /// Writes for a moment.
    pub fn advance(&mut self, server: &mut Server, helpers: &Helpers, clock: &Clock, log: &TxnLog) {
        self.write_slices(server, helpers, clock, log.appended());
        let held =
            self.running.as_mut().and_then(|running| running.held.take_if(|held| held.0 <= log.synced()));
        if let Some((_, finish)) = held {
            helpers.file(finish);
        }
    }

    fn write_slices(&mut self, server: &mut Server, helpers: &Helpers, clock: &Clock, log_end: Zxid) {
        if !self.wants_a_turn() {
            return;
        }
        let Some(running) = &mut self.running else { return };
        let begun = clock.mono();
        running.started.get_or_insert(begun);
        while running.ahead < CHUNKS_AHEAD {
            let all = server.snapshot_slice(running.cursor, &mut running.filling, SLICE);
            if all || running.filling.len() >= CHUNK {
                let full = std::mem::replace(&mut running.filling, self.buffers.pop().unwrap_or_default());
                running.filling.clear();
                running.ahead += 1;
                helpers.file(FileJob::SnapshotChunk(full));
            }
            if all {
                let (zxid, digest) = server.snapshot_seal();
                let finish = FileJob::SnapshotFinish {
                    digest: digest.map(|digest| (zxid, digest)),
                    last_zxid: running.with_last_zxid.then_some(zxid),
                    replaces_history: running.replaces_history,
                };
                // Neither a leader's image was ever in the log, nor is the name of an epoch.
                running.held = Some((zxid.min(log_end), finish));
                running.sealed = true;
                return;
            }
            if clock.mono().nanos_since(begun) > SLICE_MAX {
                return;
            }
        }
    }

    /// The tree is about to be replaced: what is written of it is of no use.
    pub fn abandon(&mut self, server: &mut Server, helpers: &Helpers) {
        let Some(running) = self.running.take() else { return };
        self.owed_buffers += running.ahead;
        if running.sealed && running.held.is_none() {
            self.owed_ends += 1;
        } else {
            if !running.sealed {
                server.snapshot_abandon(running.cursor);
            }
            helpers.file(FileJob::SnapshotAbandon);
            log::info!("Snapshot {} is given up: another state takes the place of this one", running.zxid);
        }
    }

    pub fn chunk_written(&mut self, buffer: Vec<u8>) {
        if self.owed_buffers > 0 {
            self.owed_buffers -= 1;
        } else if let Some(running) = &mut self.running {
            running.ahead -= 1;
        }
        if buffer.capacity() > 0 && self.buffers.len() < CHUNKS_AHEAD {
            self.buffers.push(buffer);
        }
    }

    /// The file is durable. Also says whether it is of the snapshot that was begun last.
    pub fn finished(
        &mut self,
        file: SnapshotFile,
        clock: &Clock,
        metrics: &mut Metrics,
    ) -> (SnapshotView, bool) {
        let now = clock.now();
        let view = SnapshotView { zxid: file.zxid, at: now.wall };
        if self.owed_ends > 0 {
            self.owed_ends -= 1;
            return (view, false);
        }
        if let Some(running) = self.running.take() {
            let nanos = running.started.map_or(0, |started| now.mono.nanos_since(started));
            metrics.snapshottime.add_nanos(nanos);
            log::info!("Snapshot {} written in {} ms", running.zxid, nanos / 1_000_000);
        }
        self.buffers.clear();
        (view, true)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::helper::Done;
    use super::*;
    use crate::server::Serving;
    use crate::server::tests::options;
    use crate::state::LoadSettings;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::{Compression, DataDirs, LoadOptions, LogOptions};
    use crate::tree::Tree;

    #[test]
    fn a_snapshot_gets_its_name_once_the_log_is_durable_behind_it() {
        let disk = MemoryDisk::new();
        let dirs = DataDirs::with_disk(Path::new("/data"), Path::new("/data"), Arc::new(disk));
        let poll = mio::Poll::new().expect("a poll");
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
        let clock = Clock::start();
        let options = options();
        let tree = options.rules.tree;
        let files = LoadOptions { len_max: 1 << 20, trust_empty: false, autocreate_db: true };
        let load = LoadSettings { files, tree, newest_max: 0 };
        let helpers =
            Helpers::start(&dirs, Compression::None, load, None, waker, clock).expect("the threads start");
        let mut server = Server::new(options, Tree::new(tree), [], clock.now());
        let mut log = TxnLog::new(&dirs, LogOptions::new(64, true, -1), Zxid::ZERO);
        let mut progress = Progress::default();

        // Leads an epoch without a transaction, so its tree is at a zxid that no log will ever have.
        server.stop_serving();
        server.serve(clock.now(), Serving::Leading, Some(Zxid(1 << 32)));
        log.append(Zxid(1), b"applied, because a quorum has it").expect("a good disk");
        progress.begin(&mut server, &helpers, true, false);
        progress.advance(&mut server, &helpers, &clock, &log);
        assert!(progress.is_running() && !progress.wants_a_turn(), "a small tree is written in one turn");
        // The helper answers in order: its answer to this would come behind the one to the snapshot's end.
        helpers.file(FileJob::Purge { snapshots_kept: 3 });
        loop {
            match helpers.wait() {
                Done::ChunkWritten(buffer) => progress.chunk_written(buffer.expect("a good disk")),
                Done::Purged(_) => break,
                _ => panic!("the snapshot ends ahead of the log"),
            }
        }

        let job = log.sync_job().expect("there is something to sync");
        log.sync_done(&job.run(|| clock.elapsed()).expect("a good disk"));
        progress.advance(&mut server, &helpers, &clock, &log);
        let running = progress.running.as_ref().expect("it is not finished");
        assert!(running.sealed && running.held.is_none(), "its end is not held back any more");
        let Done::SnapshotFinished(file) = helpers.wait() else { panic!("nothing else was asked for") };
        progress.finished(file.expect("a good disk"), &clock, &mut server.metrics);
        assert!(!progress.is_running());
    }
}
