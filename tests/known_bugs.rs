//! Known bugs of Apache ZooKeeper's files in ensembles, by their numbers; `docs/known-zab-bugs.md` has the others.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serval::ids::Zxid;
use serval::state::{self, LoadSettings};
use serval::storage::disk::{Disk, DiskFile, Segment};
use serval::storage::memory::MemoryDisk;
use serval::storage::{
    Compression, DataDirs, EpochFile, LoadOptions, LogOptions, SnapshotWriter, TxnLog, truncate_after,
};
use serval::tree::{Tree, TreeOptions};
use serval::wire::jute;
use serval::wire::records::AclList;
use serval::wire::txn::{CreateKind, CreateTxn, LoggedTxn, Txn, TxnHeader, text};

const ROOT: &str = "/d";
const TREE: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };

/// A disk on which one step that changes something fails, and all after it.
struct Failing {
    disk: MemoryDisk,
    steps_left: AtomicUsize,
}

impl Failing {
    fn after(steps: usize, disk: &MemoryDisk) -> Failing {
        Failing { disk: disk.clone(), steps_left: AtomicUsize::new(steps) }
    }

    fn step(&self) -> io::Result<()> {
        let left = self.steps_left.load(Ordering::Relaxed);
        self.steps_left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Failing {
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
        self.step()?;
        self.disk.create(path)
    }

    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>> {
        self.step()?;
        self.disk.create_segment(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.remove(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.step()?;
        self.disk.truncate(path, len)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        self.disk.sync_dir(dir)
    }
}

fn dirs(disk: impl Disk + 'static) -> DataDirs {
    DataDirs::with_disk(Path::new(ROOT), Path::new(ROOT), Arc::new(disk))
}

/// Eight transactions of epoch 1, a snapshot at the fourth and at the eighth.
fn history(disk: &MemoryDisk) {
    let dirs = dirs(disk.clone());
    let mut log = TxnLog::new(&dirs, LogOptions::new(64, true, -1), Zxid::ZERO);
    let mut tree = Tree::new(TREE);
    for n in 0..=8 {
        if n > 0 {
            let (zxid, path) = (Zxid::new(1, n), format!("/n{n}"));
            let create = CreateTxn {
                kind: CreateKind::Create { ephemeral: false },
                path: text(&path),
                data: None,
                acl: AclList::OPEN,
                parent_cversion: n as i32,
            };
            let txn = Txn::Create(create);
            let header = TxnHeader { session: Default::default(), cxid: 1, zxid, time: 1, kind: txn.kind() };
            tree.apply(&header, &txn, &mut ());
            let mut payload = Vec::new();
            LoggedTxn { header, txn, digest: None }.encode(&mut payload);
            log.append(zxid, &payload).expect("a new disk");
            log.sync_job().expect("something to sync").run(|| std::time::Duration::ZERO).expect("a new disk");
        }
        if n % 4 == 0 {
            log.roll();
            snapshot(&dirs, &mut tree);
        }
    }
}

fn snapshot(dirs: &DataDirs, tree: &mut Tree) {
    let mut bytes = Vec::new();
    jute::put_len(&mut bytes, 0);
    tree.write_acl_map(&mut bytes);
    let cursor = tree.snapshot_begin();
    assert!(tree.snapshot_slice(cursor, &mut bytes, usize::MAX / 2));
    let zxid = tree.last_zxid();
    let mut writer = SnapshotWriter::create(dirs, zxid, Compression::None).expect("a new disk");
    writer.write_chunk(&bytes).expect("a new disk");
    writer.finish(Some((zxid, tree.digest())), Some(zxid)).expect("a new disk");
}

/// The last zxid that a start finds, and how many of the nodes.
fn loaded(disk: &MemoryDisk) -> (Zxid, usize) {
    let settings = LoadSettings { files: LoadOptions::default(), tree: TREE, newest_max: 0 };
    let state = state::load(&dirs(disk.clone()), &settings, || std::time::Duration::ZERO).expect("it loads");
    let nodes = (1..=8).filter(|n| state.tree.find(&format!("/n{n}")).is_some()).count();
    (state.last_zxid(), nodes)
}

/// ZOOKEEPER-1549, B1: a snapshot above the cut was kept, and loaded: one server had what nobody else has.
#[test]
fn zookeeper_1549_b1_no_snapshot_survives_a_cut_below_it() {
    let disk = MemoryDisk::new();
    history(&disk);
    assert_eq!(loaded(&disk), (Zxid::new(1, 8), 8));
    truncate_after(&dirs(disk.clone()), &LoadOptions::default(), Zxid::new(1, 7)).expect("it can be cut");
    assert_eq!(loaded(&disk), (Zxid::new(1, 7), 7));
}

/// ZOOKEEPER-3701: a disk that was full when the log had to be cut was ignored, and the longer log led.
#[test]
fn zookeeper_3701_a_cut_that_fails_at_any_step_is_an_error() {
    let mut steps = 0;
    loop {
        let disk = MemoryDisk::new();
        history(&disk);
        let cut =
            truncate_after(&dirs(Failing::after(steps, &disk)), &LoadOptions::default(), Zxid::new(1, 3));
        if cut.is_ok() {
            assert_eq!(loaded(&disk), (Zxid::new(1, 3), 3), "what failed in step {steps} was not told");
            break;
        }
        let (last, nodes) = loaded(&disk);
        assert!(last >= Zxid::new(1, 3) && nodes == last.counter() as usize, "{last}, {nodes} nodes");
        steps += 1;
    }
    assert!(steps >= 4, "{steps} steps can fail");
}

/// ZOOKEEPER-4269: an epoch file that could not be renamed stopped the next start.
#[test]
fn zookeeper_4269_an_epoch_that_could_not_be_written_leaves_the_one_before() {
    for epoch_file in [EpochFile::Accepted, EpochFile::Current] {
        for steps in 0..3 {
            let disk = MemoryDisk::new();
            history(&disk);
            for epoch_file in [EpochFile::Accepted, EpochFile::Current] {
                epoch_file.write(&dirs(disk.clone()), 1).expect("a good disk");
            }
            let failed = epoch_file.write(&dirs(Failing::after(steps, &disk)), 2);
            assert!(failed.is_err(), "after {steps} steps");
            let epochs = state::epochs(&dirs(disk.crash(|| false)), Zxid::new(1, 8));
            assert_eq!(epochs.expect("it starts").current.0, 1);
        }
    }
}

/// Every function in these files and below these directories.
fn functions(paths: &[&Path], all: &mut Vec<String>) {
    for path in paths {
        if path.is_dir() {
            let entries: Vec<_> =
                path.read_dir().expect("a directory").map(|entry| entry.expect("listed").path()).collect();
            functions(&entries.iter().map(|entry| entry.as_path()).collect::<Vec<_>>(), all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).expect("a source file can be read");
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            all.extend(names.map(|name| name.split('(').next().unwrap_or_default().to_owned()));
        }
    }
}

#[test]
fn every_test_that_the_page_of_bugs_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = Vec::new();
    functions(&[&root.join("src"), &root.join("tests")], &mut known);
    let page = std::fs::read_to_string(root.join("docs/known-zab-bugs.md")).expect("the page can be read");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| bug"));
    let (mut bugs, mut named) = (0, 0);
    for row in rows {
        bugs += 1;
        // Every other piece stands between backticks; a test's name is a sentence.
        for name in row.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3) {
            assert!(known.iter().any(|known| known == name), "there is no test {name}");
            named += 1;
        }
    }
    assert!(bugs > 45 && named > 50, "{bugs} bugs, {named} tests");
}
