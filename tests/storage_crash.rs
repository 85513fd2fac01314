//! What is found after a crash, a full disk, or garbage in the files: never a panic, never less than what was synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serval::ids::{SessionId, Zxid};
use serval::sim::disk::FaultyDisk;
use serval::storage::disk::{Disk, RealDisk, SECTOR};
use serval::storage::memory::MemoryDisk;
use serval::storage::snapshot::{self, encode_node, encode_start};
use serval::storage::{
    self, BadNode, Base, Compression, Corruption, DataDirs, EpochFile, LoadOptions, LogOptions, Notice,
    Replay, SnapshotSink, SnapshotWriter, StorageError, Torn, TxnLog,
};
use serval::wire::records::{AclList, StatPersisted};
use serval::wire::txn::{LoggedTxn, Txn, TxnHeader, text};

const ROOT: &str = "/d";

fn dirs(disk: &MemoryDisk) -> DataDirs {
    DataDirs::with_disk(Path::new(ROOT), Path::new(ROOT), Arc::new(disk.clone()))
}

/// A setData of `size` bytes as a log payload.
fn payload(zxid: Zxid, size: usize) -> Vec<u8> {
    let data = vec![zxid.0 as u8 | 1; size];
    let txn = Txn::SetData { path: text("/a"), data: Some(&data), version: 1 };
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: txn.kind() };
    let mut out = Vec::new();
    LoggedTxn { header, txn, digest: Some(7) }.encode(&mut out);
    out
}

fn sync(log: &mut TxnLog) -> Zxid {
    log.sync_job().expect("something was appended").run(|| Duration::ZERO).unwrap().through
}

/// The zxids that replay hands on, and its report.
fn replay(dirs: &DataDirs) -> Result<(Vec<i64>, Replay), StorageError> {
    let mut seen = Vec::new();
    let report = storage::replay(dirs, &LoadOptions::default(), Zxid::ZERO, &mut |logged, bytes| {
        assert_eq!(logged.header.zxid.0.to_be_bytes(), bytes[12..20]);
        seen.push(logged.header.zxid.0);
    })?;
    report.settle(dirs)?;
    Ok((seen, report))
}

fn small() -> LogOptions {
    LogOptions::new(64, true, -1)
}

/// A log of `sizes.len()` records in one file, and where each record begins.
fn written(sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
    let disk = MemoryDisk::new();
    let mut log = TxnLog::new(&dirs(&disk), small(), Zxid::ZERO);
    let mut starts = Vec::new();
    for (i, &size) in sizes.iter().enumerate() {
        let zxid = Zxid(i as i64 + 1);
        starts.push(log.current_size().max(16) as usize);
        log.append(zxid, &payload(zxid, size)).unwrap();
    }
    starts.push(log.current_size() as usize);
    sync(&mut log);
    (disk.get(&log_path("log.1")).unwrap(), starts)
}

fn log_path(name: &str) -> PathBuf {
    Path::new(ROOT).join("version-2").join(name)
}

fn with_log(bytes: &[u8]) -> (MemoryDisk, DataDirs) {
    let disk = MemoryDisk::new();
    disk.put(&log_path("log.1"), bytes);
    let dirs = dirs(&disk);
    (disk, dirs)
}

/// A member's log, whose end is cut off or outrun by an image while a segment is in the making.
#[test]
fn a_log_that_was_closed_goes_on_behind_what_the_files_hold() {
    let temp = tempfile::tempdir().unwrap();
    let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).unwrap();
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    log.append(Zxid(1), &payload(Zxid(1), 10)).unwrap();
    let sync = |log: &mut TxnLog| log.sync_job().unwrap().run(|| Duration::ZERO).unwrap();
    sync(&mut log);
    let late = log.prepare_job().unwrap();
    log.close().unwrap();
    log.continue_after(Zxid(7));
    // The helper made it for a log that is no more; its file must not lie about.
    log.segment_ready(late.run().unwrap()).unwrap();
    assert_eq!(log.appended(), Zxid(7));
    log.append(Zxid(8), &payload(Zxid(8), 10)).unwrap();
    sync(&mut log);
    log.close().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(&dirs.log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("log") || name.starts_with("prealloc"))
        .collect();
    names.sort();
    assert_eq!(names, ["log.1", "log.8"]);
}

#[test]
fn a_last_record_that_is_cut_zeroed_or_garbled_anywhere_is_dropped() {
    let (bytes, starts) = written(&[100, 3, 600]);
    let (last, end) = (starts[2], starts[3]);
    for at in last..end {
        let cut = bytes[..at].to_vec();
        let mut zeros = bytes.clone();
        zeros[at..].fill(0);
        let mut noise = bytes.clone();
        noise[at..end].iter_mut().enumerate().for_each(|(i, b)| *b ^= (i as u8).wrapping_mul(37) | 1);
        for (how, torn) in [("cut", cut), ("zeros", zeros), ("noise", noise)] {
            let (disk, dirs) = with_log(&torn);
            let (seen, _) = replay(&dirs).unwrap_or_else(|e| panic!("{how} at {at}: {e}"));
            assert_eq!(seen, [1, 2], "{how} at {at}");
            assert_eq!(disk.get(&log_path("log.1")).unwrap(), bytes[..last], "{how} at {at}");
        }
    }
}

#[test]
fn files_of_one_sync_get_their_names_in_their_order() {
    let mut steps = 0;
    loop {
        let disk = MemoryDisk::new();
        let faulty = FaultyDisk::new(disk.clone());
        let dirs_of = |disk: Arc<dyn Disk>| DataDirs::with_disk(Path::new(ROOT), Path::new(ROOT), disk);
        let mut log = TxnLog::new(&dirs_of(Arc::new(faulty.clone())), small(), Zxid::ZERO);
        for zxid in 1..=6 {
            log.append(Zxid(zxid), &payload(Zxid(zxid), 50)).unwrap();
            if zxid % 2 == 0 {
                log.roll();
            }
        }
        let job = log.sync_job().unwrap();
        faulty.cut_after(steps);
        let done = job.run(|| Duration::ZERO);
        for survivors in 0_u32..64 {
            let mut asked = 0;
            let found = disk.crash(|| {
                asked += 1;
                survivors >> (asked % 6) & 1 == 1
            });
            let (seen, _) = replay(&dirs_of(Arc::new(found)))
                .unwrap_or_else(|e| panic!("power lost after {steps} steps, {survivors:#b} survive: {e}"));
            assert!(seen.len() == 6 || done.is_err());
        }
        if done.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 9, "three files are synced, named, and their names made durable");
}

#[test]
fn a_sector_that_a_crash_left_out_of_the_last_file_ends_it_and_a_wrong_byte_does_not() {
    let (bytes, starts) = written(&[100, 2000, 50, 50]);
    let (first, last) = (starts[1] / SECTOR, (starts[2] - 1) / SECTOR);
    for sector in first..=last {
        let span = (sector * SECTOR).max(starts[1])..((sector + 1) * SECTOR).min(starts[2]);
        let mut hole = bytes.clone();
        hole[span.clone()].fill(0);
        let (disk, dirs) = with_log(&hole);
        let (seen, _) = replay(&dirs).unwrap_or_else(|e| panic!("{span:?}: {e}"));
        assert_eq!(seen, [1], "{span:?}");
        assert_eq!(disk.get(&log_path("log.1")).unwrap(), bytes[..starts[1]], "{span:?}");
        if sector == first {
            continue; // Without its length it is no record at all.
        }
        // But for one byte the sector was written: somebody may have been told of what follows.
        let mut bad = hole;
        bad[span.start + 20] = 1;
        let (_, dirs) = with_log(&bad);
        assert!(matches!(replay(&dirs), Err(StorageError::LogCorrupt { .. })), "{span:?}");
    }
}

#[test]
fn one_wrong_byte_before_the_last_record_is_never_lost_without_a_word() {
    let (bytes, starts) = written(&[100, 3, 600]);
    for at in 16..starts[2] {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        let (disk, dirs) = with_log(&bad);
        match replay(&dirs) {
            Err(e @ StorageError::LogCorrupt { .. }) => {
                assert_eq!(e.exit_code(), 1);
                assert_eq!(disk.get(&log_path("log.1")).unwrap(), bad, "a refused file is not touched");
            }
            // A length that points elsewhere and finds no end byte looks like a torn write to any reader.
            Ok((_, report)) => {
                let [
                    Notice::TornTail {
                        what: Torn::EndByte | Torn::BehindZeros | Torn::InsideRecord | Torn::Hole,
                        ..
                    },
                ] = &report.notices[..]
                else {
                    panic!("at {at}: {:?}", report.notices);
                };
            }
            Err(e) => panic!("at {at}: {e}"),
        }
    }
}

#[test]
fn a_last_record_above_a_lowered_limit_is_not_cut_off() {
    let (bytes, _) = written(&[100, 5000]);
    let (disk, dirs) = with_log(&bytes);
    let options = LoadOptions { len_max: 4096, ..LoadOptions::default() };
    let e = storage::replay(&dirs, &options, Zxid::ZERO, &mut |_, _| {}).unwrap_err();
    assert!(e.to_string().contains("jute.maxbuffer"), "{e}");
    assert_eq!(disk.get(&log_path("log.1")).unwrap(), bytes);
}

#[test]
fn a_wrong_end_byte_before_a_good_record_is_corruption() {
    let (mut bytes, starts) = written(&[10, 10]);
    bytes[starts[1] - 1] = 0;
    let (_, dirs) = with_log(&bytes);
    let Err(StorageError::LogCorrupt { problem: Corruption::BadEndByte, offset: 16, .. }) = replay(&dirs)
    else {
        panic!("must be refused");
    };
}

#[test]
fn an_empty_newest_log_is_deleted_whatever_the_crash_left_of_its_header() {
    let (bytes, _) = written(&[10]);
    let half = &b"ZKLG\0\0"[..];
    for left in [&[][..], half, &[0; 15], &[0; 16], &[0; 70000]] {
        let (disk, dirs) = with_log(&bytes);
        disk.put(&log_path("log.2"), left);
        let (seen, report) = replay(&dirs).unwrap();
        assert_eq!(seen, [1]);
        assert_eq!(report.notices, [Notice::EmptyLog { path: log_path("log.2") }]);
        assert_eq!(disk.get(&log_path("log.2")), None);
        // In the middle the same is no crash's work.
        let (disk, dirs) = with_log(left);
        disk.put(&log_path("log.2"), &bytes);
        assert!(replay(&dirs).is_err());
    }
}

#[test]
fn copies_beside_the_logs_change_nothing() {
    let (bytes, starts) = written(&[10, 20, 30]);
    let (disk, dirs) = with_log(&bytes);
    disk.put(&log_path("log.1.bak"), &bytes[..starts[2]]);
    for stray in ["log", "log.zz", "logs.1", "log.-1", "README"] {
        disk.put(&log_path(stray), b"what is this");
    }
    let (seen, report) = replay(&dirs).unwrap();
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(report.notices, [Notice::Repeated { path: log_path("log.1.bak"), records: 2 }]);
}

#[test]
fn a_missing_log_file_is_noticed() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    for zxid in 1..=3 {
        log.append(Zxid(zxid), &payload(Zxid(zxid), 10)).unwrap();
        log.roll();
    }
    sync(&mut log);
    disk.remove(&log_path("log.2")).unwrap();
    let Err(StorageError::LogGap { previous: Zxid(1), found: Zxid(3), .. }) = replay(&dirs) else {
        panic!("must be refused");
    };
    // From one epoch to the next the counter starts anew.
    log.append(Zxid::new(1, 1), &payload(Zxid::new(1, 1), 10)).unwrap();
    sync(&mut log);
    disk.remove(&log_path("log.3")).unwrap();
    assert_eq!(replay(&dirs).unwrap().0, [1, Zxid::new(1, 1).0]);
}

#[test]
fn a_record_bigger_than_a_segment_gets_a_file_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).unwrap();
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    let sizes = [10, 5 << 20, 10, 60_000, 60_000, 0];
    for (i, size) in sizes.into_iter().enumerate() {
        let zxid = Zxid(i as i64 + 1);
        log.append(zxid, &payload(zxid, size)).unwrap();
        if i % 2 == 0 {
            let ready = log.prepare_job().unwrap().run().unwrap();
            log.segment_ready(ready).expect("nothing to remove");
        }
    }
    assert_eq!(sync(&mut log), Zxid(6));
    let options = LoadOptions { len_max: 6 << 20, ..LoadOptions::default() };
    let mut lens = Vec::new();
    let report = storage::replay(&dirs, &options, Zxid::ZERO, &mut |_, bytes| {
        lens.push(bytes.len() - payload(Zxid(1), 0).len())
    })
    .unwrap();
    assert_eq!(lens, sizes);
    assert_eq!(report.notices, []);
    assert!(log.prepare_job().is_none_or(|job| job.run().is_ok()));
    // Trimmed: what lies behind the last record of a file that is left takes no room.
    let first = RealDisk.len(&dirs.log.join("log.1")).unwrap();
    assert_eq!(first, 16 + 13 + payload(Zxid(1), 10).len() as u64);
}

#[test]
fn a_spare_segment_takes_the_next_records_without_new_allocation() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    let ready = log.prepare_job().unwrap().run().unwrap();
    log.segment_ready(ready).expect("nothing to remove");
    disk.limit_space(0);
    log.append(Zxid(1), &payload(Zxid(1), 10)).unwrap();
    // No room for the next one: an error where it is made, long before a store needs it.
    let e = log.prepare_job().unwrap().run().err().expect("the disk is full");
    assert!(e.is_disk_full() && e.exit_code() == 1, "{e}");
    log.roll();
    assert!(log.append(Zxid(2), &payload(Zxid(2), 10)).unwrap_err().is_disk_full());
}

#[test]
fn a_closed_log_leaves_nothing_allocated_ahead() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    log.append(Zxid(1), &payload(Zxid(1), 100)).unwrap();
    sync(&mut log);
    let spare = log.prepare_job().expect("a segment is needed ahead").run().unwrap();
    log.segment_ready(spare).expect("nothing to remove");
    let used = log.current_size() as usize;
    log.close().unwrap();
    assert_eq!(disk.list(&Path::new(ROOT).join("version-2")).unwrap(), ["log.1"]);
    assert_eq!(disk.get(&log_path("log.1")).unwrap().len(), used);
}

#[test]
fn without_force_sync_nothing_is_synced() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let mut log = TxnLog::new(&dirs, LogOptions::new(64, false, -1), Zxid::ZERO);
    log.append(Zxid(1), &payload(Zxid(1), 10)).unwrap();
    assert_eq!(sync(&mut log), Zxid(1));
    let found = disk.crash(|| false);
    assert_eq!(replay(&self::dirs(&found)).unwrap().0, [0i64; 0]);
}

#[test]
fn the_directories_of_a_running_server_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let open = || DataDirs::open(temp.path(), temp.path(), true);
    let (_, lock) = open().unwrap();
    let e = open().err().expect("locked");
    assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
    assert_eq!(e.exit_code(), 3);
    drop(lock);
    open().unwrap();
}

#[test]
fn unusable_directories_are_refused_with_javas_exit_code() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    std::fs::write(at("file"), b"").unwrap();
    for (data, log, autocreate, says) in
        [("file", "file", true, "is a file"), ("missing", "missing", false, "autocreate=false")]
    {
        let e = DataDirs::open(&at(data), &at(log), autocreate).err().expect(says);
        assert_eq!(e.exit_code(), 3);
        assert!(e.to_string().contains(says), "{e}");
    }
    DataDirs::open(&at("a"), &at("b"), true).unwrap();
    std::fs::write(at("a/version-2/log.1"), b"").unwrap();
    let e = DataDirs::open(&at("a"), &at("b"), true).err().expect("a log in the snapshot directory");
    assert_eq!((e.exit_code(), e.to_string().contains("log files")), (3, true));
    // One directory under two names is one directory.
    std::os::unix::fs::symlink(at("a"), at("same")).unwrap();
    DataDirs::open(&at("a"), &at("same"), true).unwrap();
}

/// A sink that counts.
#[derive(Default)]
struct Count {
    nodes: usize,
    sessions: usize,
}

impl SnapshotSink for Count {
    fn begin(&mut self) {
        *self = Count::default();
    }
    fn session(&mut self, _: SessionId, _: i32) {
        self.sessions += 1;
    }
    fn acl(&mut self, _: i64, _: AclList<'_>) {}
    fn node(&mut self, _: &str, _: Option<&[u8]>, _: i64, _: &StatPersisted) -> Result<(), BadNode> {
        self.nodes += 1;
        Ok(())
    }
}

fn encoded(nodes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode_start(&mut out, [(SessionId(1), 4000)].into_iter(), 0);
    encode_node(&mut out, "", Some(b""), -1, &StatPersisted::default());
    for i in 1..nodes {
        encode_node(
            &mut out,
            &format!("/n{i}"),
            (i % 3 > 0).then_some(&b"data"[..]),
            -1,
            &StatPersisted::default(),
        );
    }
    out
}

fn write_snapshot(dirs: &DataDirs, zxid: i64, compression: Compression, nodes: usize) -> PathBuf {
    let mut writer = SnapshotWriter::create(dirs, Zxid(zxid), compression).unwrap();
    encoded(nodes).chunks(100).for_each(|slice| writer.write_chunk(slice).unwrap());
    writer.finish(Some((Zxid(zxid), 7)), Some(Zxid(zxid))).unwrap().path
}

#[test]
fn a_snapshot_cut_or_changed_anywhere_gives_way_to_the_one_before() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
        let disk = MemoryDisk::new();
        let dirs = dirs(&disk);
        write_snapshot(&dirs, 1, Compression::None, 3);
        let path = write_snapshot(&dirs, 9, compression, 20);
        let good = disk.get(&path).unwrap();
        let load = || {
            let mut sink = Count::default();
            let (base, _) = storage::load_snapshot(&dirs, &LoadOptions::default(), &mut sink).unwrap();
            let digest = matches!(base, Base::Snapshot { digest: Some(_), .. });
            (base.zxid().0, sink.nodes, sink.sessions, digest)
        };
        assert_eq!(load(), (9, 20, 1, true));
        for len in 0..good.len() {
            disk.put(&path, &good[..len]);
            let (zxid, nodes, ..) = load();
            // Cut exactly behind a seal it is a file of an older release.
            assert!((zxid, nodes) == (1, 3) || compression != Compression::Gzip && nodes == 20, "{len}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            disk.put(&path, &bad);
            let found = load();
            // Some bytes mean nothing (version and dbid), and compressed there are two ways to say the same.
            let same = found == (9, 20, 1, true) && (at < 16 || compression != Compression::None);
            assert!(found == (1, 3, 1, true) || same, "{compression:?} {at} {found:?}");
        }
    }
}

#[test]
fn a_null_acl_list_refuses_the_candidate_and_not_the_server() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    write_snapshot(&dirs, 1, Compression::None, 3);
    let mut writer = SnapshotWriter::create(&dirs, Zxid(5), Compression::None).unwrap();
    let mut out = Vec::new();
    encode_start(&mut out, std::iter::empty(), 1);
    snapshot::encode_acl(&mut out, 1, AclList::NULL);
    encode_node(&mut out, "", None, 1, &StatPersisted::default());
    writer.write_chunk(&out).unwrap();
    writer.finish(None, None).unwrap();
    let mut sink = Count::default();
    let (base, notices) = storage::load_snapshot(&dirs, &LoadOptions::default(), &mut sink).unwrap();
    assert_eq!((base.zxid(), sink.nodes, notices.len()), (Zxid(1), 3, 1));
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_nothing_behind() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    disk.limit_space(200);
    let mut writer = SnapshotWriter::create(&dirs, Zxid(5), Compression::None).unwrap();
    let e = writer.write_chunk(&encoded(20)).unwrap_err();
    assert_eq!((e.exit_code(), e.is_disk_full()), (10, true));
    drop(writer);
    assert_eq!(disk.list(&dirs.snap).unwrap(), [""; 0]);
}

#[test]
fn a_crash_while_a_snapshot_replaces_one_leaves_the_old_or_the_new() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    write_snapshot(&dirs, 5, Compression::None, 3);
    let mut writer = SnapshotWriter::create(&dirs, Zxid(5), Compression::None).unwrap();
    writer.write_chunk(&encoded(50)).unwrap();
    for survives in [false, true] {
        let found = disk.crash(|| survives);
        let mut sink = Count::default();
        storage::load_snapshot(&self::dirs(&found), &LoadOptions::default(), &mut sink).unwrap();
        assert_eq!(sink.nodes, 3);
    }
    writer.finish(None, None).unwrap();
    let mut sink = Count::default();
    storage::load_snapshot(&self::dirs(&disk.crash(|| false)), &LoadOptions::default(), &mut sink).unwrap();
    assert_eq!(sink.nodes, 50);
}

#[test]
fn how_the_tree_begins_without_a_snapshot() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let base = |autocreate_db, trust_empty| {
        let options = LoadOptions { autocreate_db, trust_empty, ..LoadOptions::default() };
        storage::load_snapshot(&dirs, &options, &mut Count::default()).map(|(base, _)| base)
    };
    assert_eq!(base(true, false).unwrap(), Base::New);
    assert_eq!(base(false, false).unwrap(), Base::Nothing);
    let marker = Path::new(ROOT).join("initialize");
    disk.put(&marker, b"");
    assert_eq!(base(false, false).unwrap(), Base::New);
    assert_eq!(disk.get(&marker), None, "the marker counts once");
    disk.put(&log_path("log.1"), &written(&[1]).0);
    assert!(matches!(base(true, false), Err(StorageError::LogsWithoutSnapshot { .. })));
    assert_eq!(base(true, true).unwrap(), Base::TrustedLogs);
}

/// Java begins with an empty tree in both cases: the second is what a copy that broke off looks like.
#[test]
fn an_incomplete_snapshot_is_an_empty_database_only_if_it_was_the_first() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let base = || {
        storage::load_snapshot(&dirs, &LoadOptions::default(), &mut Count::default()).map(|(base, _)| base)
    };
    disk.put(&log_path("snapshot.0"), b"ZKSN");
    assert_eq!(base().unwrap(), Base::New);
    write_snapshot(&dirs, 5, Compression::None, 3);
    let whole = disk.get(&log_path("snapshot.5")).unwrap();
    disk.put(&log_path("snapshot.5"), &whole[..whole.len() - 1]);
    let error = base().unwrap_err();
    assert!(matches!(error, StorageError::NoUsableSnapshot { tried: 1, .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn purge_keeps_what_a_good_snapshot_needs() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
    for zxid in 1..=60 {
        log.append(Zxid(zxid), &payload(Zxid(zxid), 10)).unwrap();
        if zxid % 10 == 0 {
            log.roll();
            write_snapshot(&dirs, zxid, Compression::None, 3);
        }
    }
    sync(&mut log);
    disk.put(&log_path("log.zz"), b"not ours");
    // The third newest ends well and does not load: it counts for Java, and then nothing good would be left behind it.
    let spoiled = log_path("snapshot.28");
    let mut bytes = disk.get(&spoiled).unwrap();
    bytes[100] ^= 1;
    disk.put(&spoiled, &bytes);
    let removed = storage::purge(&dirs, &LoadOptions::default(), 3, &mut |_| {}).unwrap();
    let mut left = disk.list(&dirs.snap).unwrap();
    left.sort();
    // Snapshots 0x1e (30) and later, and the logs from the one that may hold zxid 30.
    assert_eq!(
        left,
        [
            "log.15",
            "log.1f",
            "log.29",
            "log.33",
            "log.zz",
            "snapshot.1e",
            "snapshot.28",
            "snapshot.32",
            "snapshot.3c"
        ]
    );
    assert_eq!(removed.len(), 4);
    let first = replay_from(&dirs, Zxid(30));
    assert_eq!(first, (31..=60).collect::<Vec<_>>());
}

fn replay_from(dirs: &DataDirs, base: Zxid) -> Vec<i64> {
    let mut seen = Vec::new();
    let _ = storage::replay(dirs, &LoadOptions::default(), base, &mut |logged, _| {
        seen.push(logged.header.zxid.0)
    })
    .unwrap();
    seen
}

#[test]
fn truncation_takes_back_everything_above_whatever_file_it_is_in() {
    for to in 0..=12 {
        let disk = MemoryDisk::new();
        let dirs = dirs(&disk);
        write_snapshot(&dirs, 0, Compression::None, 3);
        let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
        for zxid in 1..=12 {
            log.append(Zxid(zxid), &payload(Zxid(zxid), 10)).unwrap();
            if zxid % 4 == 0 {
                log.roll();
                write_snapshot(&dirs, zxid, Compression::None, 3);
            }
        }
        sync(&mut log);
        storage::truncate_after(&dirs, &LoadOptions::default(), Zxid(to)).unwrap();
        let left = dirs_after_crash(&disk);
        assert_eq!(replay(&left).unwrap().0, (1..=to).collect::<Vec<_>>(), "to {to}");
        let base = storage::load_snapshot(&left, &LoadOptions::default(), &mut Count::default()).unwrap().0;
        assert_eq!(base.zxid().0, to / 4 * 4);
    }
    // Nothing reaches so far, or nothing is left to start from: nothing is touched.
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    write_snapshot(&dirs, 3, Compression::None, 3);
    for to in [2, 9] {
        let e = storage::truncate_after(&dirs, &LoadOptions::default(), Zxid(to)).unwrap_err();
        assert_eq!(e.exit_code(), 13);
    }
    assert_eq!(disk.list(&dirs.snap).unwrap(), ["snapshot.3"]);
}

fn dirs_after_crash(disk: &MemoryDisk) -> DataDirs {
    dirs(&disk.crash(|| false))
}

#[test]
fn an_epoch_once_written_survives() {
    let disk = MemoryDisk::new();
    let dirs = dirs(&disk);
    assert_eq!(EpochFile::Current.read(&dirs).unwrap(), None);
    for epoch in [1, 2, 300] {
        EpochFile::Current.write(&dirs, epoch).unwrap();
        assert_eq!(EpochFile::Current.read(&dirs_after_crash(&disk)).unwrap(), Some(epoch));
    }
    disk.put(&log_path("acceptedEpoch"), b"7 ");
    let e = EpochFile::Accepted.read(&dirs).unwrap_err();
    assert!(e.to_string().contains("acceptedEpoch") && e.exit_code() == 1, "{e}");
}

/// What a server does to its log, in any order.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Sync,
    Roll,
    Prepare,
    /// The process dies, the machine does not: what was written but not synced is still there for the next start.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop_oneof![0usize..300, 400usize..9000, 60_000usize..70_000].prop_map(Step::Append),
        2 => Just(Step::Sync),
        1 => Just(Step::Roll),
        1 => Just(Step::Prepare),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever unsynced sectors and names a crash keeps, recovery finds a prefix of what was appended, and in it all
    /// that was synced; or it refuses, and then only because a big record lost its middle and kept its end.
    #[test]
    fn what_was_synced_survives_every_crash(steps in steps(), seed in any::<u64>()) {
        let disk = MemoryDisk::new();
        let dirs = dirs(&disk);
        let mut log = TxnLog::new(&dirs, small(), Zxid::ZERO);
        let mut synced = Zxid::ZERO;
        let mut unsynced_sizes = Vec::new();
        for step in steps {
            match step {
                Step::Append(size) => {
                    let zxid = log.appended().next();
                    log.append(zxid, &payload(zxid, size)).unwrap();
                    unsynced_sizes.push(size);
                }
                Step::Sync => if let Some(job) = log.sync_job() {
                    synced = job.run(|| Duration::ZERO).unwrap().through;
                    unsynced_sizes.clear();
                },
                Step::Roll => log.roll(),
                Step::Kill => {
                    let (seen, _) = replay(&dirs).unwrap();
                    prop_assert!(seen.len() as i64 >= synced.0);
                    log = TxnLog::new(&dirs, small(), Zxid(seen.len() as i64));
                    unsynced_sizes.clear();
                }
                Step::Prepare => if let Some(job) = log.prepare_job() {
                    let ready = job.run().unwrap();
                    log.segment_ready(ready).expect("nothing to remove");
                },
            }
        }
        let mut random = seed;
        let found = disk.crash(|| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            random >> 63 == 1
        });
        match replay(&self::dirs(&found)) {
            Ok((seen, _)) => {
                prop_assert!(seen.len() as i64 >= synced.0, "synced {} found {:?}", synced, seen);
                prop_assert!(seen.iter().copied().eq(1..=seen.len() as i64));
            }
            Err(e @ StorageError::LogCorrupt { .. }) => {
                prop_assert!(unsynced_sizes.iter().any(|&size| size > 400), "{}", e);
            }
            Err(e) => prop_assert!(false, "{}", e),
        }
    }

    #[test]
    fn no_bytes_in_a_log_make_recovery_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        patches in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        header in any::<bool>(),
    ) {
        if header {
            let (good, _) = written(&[10, 60]);
            bytes.splice(0..0, good[..300].iter().copied());
            for (at, byte) in patches {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let (_, dirs) = with_log(&bytes);
        let _ = replay(&dirs);
    }

    #[test]
    fn no_bytes_make_the_snapshot_parser_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        patches in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        begin in 0usize..300,
    ) {
        let mut good = b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
        good.extend_from_slice(&encoded(3));
        good.truncate(begin);
        bytes.splice(0..0, good);
        for (at, byte) in patches {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let _ = snapshot::parse(&bytes[..], 1 << 20, &mut Count::default());
    }
}
