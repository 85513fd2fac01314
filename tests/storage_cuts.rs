//! What a crash leaves of a history that is being cut (TRUNC), or replaced by a leader's state (SNAP): at every step
//! something that loads, and never a part of both.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serval::ids::{SessionId, Zxid};
use serval::state::{self, LoadSettings, State};
use serval::storage::disk::{Disk, DiskFile, Segment};
use serval::storage::memory::MemoryDisk;
use serval::storage::{
    Compression, DataDirs, LoadOptions, LogOptions, SnapshotWriter, StorageError, TxnLog, replace_history,
    truncate_after,
};
use serval::tree::{Tree, TreeOptions};
use serval::wire::jute;
use serval::wire::records::AclList;
use serval::wire::txn::{CreateKind, CreateTxn, LoggedTxn, Txn, TxnHeader, text};

const ROOT: &str = "/d";
const TREE: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };
/// How many transactions the old history has.
const OLD: u32 = 14;

/// A disk that notes, before every step that changes something, what crashes there could leave.
struct Watched {
    disk: MemoryDisk,
    crashes: Arc<Mutex<Vec<MemoryDisk>>>,
}

impl Watched {
    fn crash(&self) {
        let mut crashes = self.crashes.lock().unwrap();
        crashes.push(self.disk.crash(|| false));
        crashes.push(self.disk.crash(|| true));
        for _ in 0..3 {
            let mut random = crashes.len() as u64 + 1;
            crashes.push(self.disk.crash(|| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                random >> 63 == 1
            }));
        }
    }
}

impl Disk for Watched {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.disk.open(path, from)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path)
    }

    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>> {
        self.disk.create_segment(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.crash();
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.crash();
        self.disk.remove(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.crash();
        self.disk.truncate(path, len)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.crash();
        self.disk.sync_dir(dir)
    }
}

fn dirs(disk: impl Disk + 'static) -> DataDirs {
    DataDirs::with_disk(Path::new(ROOT), Path::new(ROOT), Arc::new(disk))
}

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join("version-2").join(name)
}

fn load(disk: &MemoryDisk) -> Result<State, StorageError> {
    let settings = LoadSettings { files: LoadOptions::default(), tree: TREE, newest_max: 0 };
    state::load(&dirs(disk.clone()), &settings, || Duration::ZERO)
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn create(path: &str, zxid: Zxid) -> (TxnHeader, Txn<'_>) {
    let kind = CreateKind::Create { ephemeral: false };
    let path = text(path);
    let txn = Txn::Create(CreateTxn {
        kind,
        path,
        data: None,
        acl: AclList::OPEN,
        parent_cversion: zxid.counter() as i32,
    });
    (TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: txn.kind() }, txn)
}

fn append(log: &mut TxnLog, path: &str, zxid: Zxid) {
    let (header, txn) = create(path, zxid);
    let mut payload = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut payload);
    log.append(zxid, &payload).unwrap();
    log.sync_job().unwrap().run(|| Duration::ZERO).unwrap();
}

/// Epoch 1 with a node to each transaction, a new log file and a snapshot after every fourth.
fn old_history() -> (MemoryDisk, TxnLog) {
    let disk = MemoryDisk::new();
    let dirs = dirs(disk.clone());
    let mut log = TxnLog::new(&dirs, LogOptions::new(64, true, -1), Zxid::ZERO);
    for n in 0..=OLD {
        if n > 0 {
            append(&mut log, &format!("/old{n}"), z(1, n));
        }
        if n % 4 == 0 {
            log.roll();
            load(&disk).unwrap().write_snapshot(&dirs, Compression::None, true).unwrap();
        }
        if n % 5 == 2 {
            log.roll();
        }
    }
    (disk, log)
}

/// How many transactions of the old history a state has, if it is a part of that.
fn old_part(state: &State) -> Option<u32> {
    let has = |n: u32| state.tree.find(&format!("/old{n}")).is_some();
    let n = (1..=OLD).take_while(|&n| has(n)).count() as u32;
    let end = if n == 0 { Zxid::ZERO } else { z(1, n) };
    let whole = (n + 1..=OLD).all(|n| !has(n)) && state.last_zxid() == end;
    (whole && state.tree.find("/image").is_none()).then_some(n)
}

fn is_image(state: &State, zxid: Zxid) -> bool {
    let old = (1..=OLD).any(|n| state.tree.find(&format!("/old{n}")).is_some());
    state.tree.find("/image").is_some() && !old && state.last_zxid() == zxid
}

/// The image of a leader at `zxid`, written up to its seals.
fn image(dirs: &DataDirs, zxid: Zxid) -> (SnapshotWriter, Option<(Zxid, u64)>) {
    let mut tree = Tree::new(TREE);
    let (header, txn) = create("/image", zxid);
    tree.apply(&header, &txn, &mut ());
    tree.set_last_zxid(zxid);
    let mut bytes = Vec::new();
    jute::put_len(&mut bytes, 0);
    tree.write_acl_map(&mut bytes);
    let cursor = tree.snapshot_begin();
    assert!(tree.snapshot_slice(cursor, &mut bytes, usize::MAX / 2));
    let mut writer = SnapshotWriter::create(dirs, zxid, Compression::None).unwrap();
    writer.write_chunk(&bytes).unwrap();
    (writer, Some((zxid, tree.digest())))
}

/// Loads what every crash in `cut` leaves, and asks whether it is allowed.
fn check_crashes(
    disk: &MemoryDisk,
    cut: impl FnOnce(&DataDirs),
    allowed: impl Fn(&State) -> Result<(), String>,
) {
    let crashes = Arc::new(Mutex::new(Vec::new()));
    let watched = || Watched { disk: disk.clone(), crashes: crashes.clone() };
    cut(&dirs(watched()));
    watched().crash();
    let crashes = crashes.lock().unwrap();
    assert!(crashes.len() > 5, "there are steps to crash between");
    for (n, crash) in crashes.iter().enumerate() {
        let mut names = crash.list(&file("")).unwrap();
        names.sort();
        let state = load(crash).unwrap_or_else(|e| panic!("crash {n} left {names:?}: {e}"));
        allowed(&state).unwrap_or_else(|e| panic!("crash {n} left {names:?}: {e}: {state:?}"));
    }
}

#[test]
fn a_crash_in_a_truncation_leaves_a_prefix_of_the_history() {
    for to in [0, 3, 4, 6, 13] {
        let (disk, _) = old_history();
        let zxid = if to == 0 { Zxid::ZERO } else { z(1, to) };
        let cut = |dirs: &DataDirs| drop(truncate_after(dirs, &LoadOptions::default(), zxid).unwrap());
        check_crashes(&disk, cut, |state| match old_part(state) {
            Some(n) if n >= to => Ok(()),
            part => Err(format!("{part:?} of it, truncated to {to}")),
        });
        assert_eq!(old_part(&load(&disk).unwrap()), Some(to));
    }
}

/// ZOOKEEPER-1549: the writer of a fuzzy snapshot began at 1-13, and found 1-14 in the tree. A cut between the two takes
/// it along, though its name is below; whichever part of the trailer tells. Cut behind 1-14 it stays.
#[test]
fn a_snapshot_that_has_what_is_cut_off_goes_whatever_its_name() {
    for (digest_at, last_processed) in [(Some(14), Some(14)), (None, Some(14)), (Some(14), None)] {
        let (disk, _) = old_history();
        let mut tree = load(&disk).unwrap().tree;
        let mut bytes = Vec::new();
        jute::put_len(&mut bytes, 0);
        tree.write_acl_map(&mut bytes);
        let cursor = tree.snapshot_begin();
        assert!(tree.snapshot_slice(cursor, &mut bytes, usize::MAX / 2));
        let digest = digest_at.map(|n| (z(1, n), tree.digest()));
        let mut writer = SnapshotWriter::create(&dirs(disk.clone()), z(1, 13), Compression::None).unwrap();
        writer.write_chunk(&bytes).unwrap();
        writer.finish(digest, last_processed.map(|n| z(1, n))).unwrap();
        assert_eq!(old_part(&load(&disk).unwrap()), Some(14));

        truncate_after(&dirs(disk.clone()), &LoadOptions::default(), z(1, 14)).unwrap();
        assert!(disk.list(&file("")).unwrap().contains(&format!("snapshot.{:x}", z(1, 13))));
        let cut = |dirs: &DataDirs| drop(truncate_after(dirs, &LoadOptions::default(), z(1, 13)).unwrap());
        check_crashes(&disk, cut, |state| match old_part(state) {
            Some(13 | 14) => Ok(()),
            part => Err(format!("{part:?} of it, truncated to 13")),
        });
        assert_eq!(old_part(&load(&disk).unwrap()), Some(13));
    }
}

/// B5: an image that is lower than the log, in its middle, or above all of it. Whatever is there when the server starts
/// again is the image, or what it had before, and not less of that than the image's zxid.
#[test]
fn a_crash_while_an_image_is_saved_leaves_the_image_or_the_old_history() {
    for zxid in [z(0, 1), z(1, 6), z(1, 13), z(1, 14), z(2, 3)] {
        for first_snapshot in [0, 12] {
            let (disk, _) = old_history();
            // Older snapshots were purged.
            for n in (0..first_snapshot).step_by(4) {
                let name = if n == 0 { "snapshot.0".into() } else { format!("snapshot.{:x}", z(1, n)) };
                disk.remove(&file(&name)).unwrap();
                disk.sync_dir(&file("")).unwrap();
            }
            let not_above = (1..=OLD).filter(|&n| z(1, n) <= zxid).count() as u32;
            let cut = |dirs: &DataDirs| {
                let (writer, digest) = image(dirs, zxid);
                replace_history(dirs, &LoadOptions::default(), writer, digest, Some(zxid)).unwrap();
            };
            check_crashes(&disk, cut, |state| match old_part(state) {
                Some(n) if n >= not_above => Ok(()),
                _ if is_image(state, zxid) => Ok(()),
                part => Err(format!("{part:?} of the old history, image at {zxid}")),
            });

            let left = disk.crash(|| false);
            assert!(is_image(&load(&left).unwrap(), zxid));
            assert_eq!(left.list(&file("")).unwrap(), [format!("snapshot.{zxid:x}")]);
        }
    }
}

#[test]
fn the_log_goes_on_behind_what_was_cut_or_replaced() {
    let (disk, mut log) = old_history();
    let dirs = dirs(disk.clone());
    // A segment that was made ahead, and one that is still being made when the log is closed.
    let ready = log.prepare_job().unwrap().run().unwrap();
    log.segment_ready(ready).unwrap();
    log.roll();
    append(&mut log, "/old15", z(1, 15));
    let late = log.prepare_job().unwrap();
    log.close().unwrap();
    truncate_after(&dirs, &LoadOptions::default(), z(1, 6)).unwrap();
    let state = load(&disk).unwrap();
    assert_eq!(old_part(&state), Some(6));
    log.continue_after(state.last_zxid());
    append(&mut log, "/old7", z(1, 7));
    log.segment_ready(late.run().unwrap()).unwrap();
    append(&mut log, "/old8", z(1, 8));
    assert_eq!(old_part(&load(&disk.crash(|| false)).unwrap()), Some(8));

    log.close().unwrap();
    let (writer, digest) = image(&dirs, z(2, 5));
    replace_history(&dirs, &LoadOptions::default(), writer, digest, None).unwrap();
    log.continue_after(z(2, 5));
    append(&mut log, "/new", z(2, 6));
    let state = load(&disk.crash(|| false)).unwrap();
    assert!(state.tree.find("/image").is_some() && state.tree.find("/new").is_some());
    assert_eq!((state.last_zxid(), state.replayed), (z(2, 6), 1));
}

/// ZOOKEEPER-4712, 4541: a role ended, its log was cut, and what its log writer had not written yet came in behind the
/// cut. Here there is no cut before the log is closed, and no closing before everything is written and synced.
#[test]
#[should_panic(expected = "everything is durable before the log is closed")]
fn zookeeper_4712_a_log_with_something_unwritten_is_not_left_behind() {
    let (_, mut log) = old_history();
    let (header, txn) = create("/old15", z(1, 15));
    let mut payload = Vec::new();
    LoggedTxn { header, txn, digest: None }.encode(&mut payload);
    log.append(z(1, 15), &payload).unwrap();
    let _ = log.close();
}
