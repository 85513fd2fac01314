//! How fast the log takes writes, and how fast a tree goes to disk and comes back.
//!
//! Estimates. Appending copies a record into a mapped page and sums it up: for 170 bytes 20 to 40 ns, and a page fault
//! of about 0.5 us every 24 records. Adler-32 with SIMD runs at 10 GB/s or more, which leaves it invisible behind
//! everything else. Encoding a snapshot is copying, 1 to 2 GB/s; writing it is bound by the disk. Parsing one without
//! building a tree looks at each byte twice, 1 GB/s or more: 0.2 s for a million znodes of 100 bytes.
//!
//! A sync costs what the disk makes of it, from 50 us to 10 ms; it is measured to be compared with, not to be judged.

// A bench is a shell: it reads the clock itself.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serval::ids::{SessionId, Zxid};
use serval::storage::snapshot::{encode_node, encode_start, load_file};
use serval::storage::{
    self, BadNode, Compression, DataDirs, DirLock, LoadOptions, LogOptions, SnapshotSink, SnapshotWriter,
    TxnLog,
};
use serval::wire::records::{AclList, StatPersisted};
use serval::wire::txn::{LoggedTxn, Txn, TxnHeader, text};
use tempfile::TempDir;

const VALUE: [u8; 100] = [b'x'; 100];
const NODES: usize = 100_000;

struct Data {
    dirs: DataDirs,
    _lock: DirLock,
    _temp: TempDir,
}

/// On the disk of the working directory, not on a `/tmp` that may be memory.
fn data() -> Data {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    let temp = tempfile::tempdir_in(target).expect("the build directory is writable");
    let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).expect("it is new");
    Data { dirs, _lock, _temp: temp }
}

fn payload(zxid: Zxid, out: &mut Vec<u8>) {
    let txn = Txn::SetData { path: text("/bench/p0123/n0123456"), data: Some(&VALUE), version: 1 };
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: txn.kind() };
    out.clear();
    LoggedTxn { header, txn, digest: Some(7) }.encode(out);
}

fn log(c: &mut Criterion) {
    let mut group = c.benchmark_group("log");
    let mut bytes = Vec::new();
    payload(Zxid(1), &mut bytes);
    group.throughput(Throughput::Elements(1));

    let data = data();
    let mut log = TxnLog::new(&data.dirs, LogOptions::default(), Zxid::ZERO);
    group.bench_function("append", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                // Between the stretches that are measured the helper's work is done, and old files go.
                let ready = log.prepare_job().map(|job| job.run().expect("there is room"));
                ready.into_iter().for_each(|ready| log.segment_ready(ready).expect("nothing to remove"));
                remove_old_logs(&data.dirs, &log);
                let n = left.min(100_000);
                let started = Instant::now();
                for _ in 0..n {
                    let zxid = log.appended().next();
                    log.append(zxid, black_box(&bytes)).expect("there is room");
                }
                took += started.elapsed();
                log.sync_job().expect("records are new").run(|| Duration::ZERO).expect("the disk is well");
                left -= n;
            }
            took
        });
    });
    group.bench_function("append_and_sync", |b| {
        b.iter(|| {
            let zxid = log.appended().next();
            log.append(zxid, black_box(&bytes)).expect("there is room");
            log.sync_job().expect("a record is new").run(|| Duration::ZERO).expect("the disk is well")
        });
    });
    group.finish();

    let mut group = c.benchmark_group("adler");
    let block = vec![0x5a; 1 << 20];
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("1_mib", |b| b.iter(|| simd_adler32::adler32(&black_box(&block[..]))));
    group.finish();

    let mut group = c.benchmark_group("replay");
    let data = self::data();
    let mut log = TxnLog::new(&data.dirs, LogOptions::default(), Zxid::ZERO);
    for zxid in 1..=NODES as i64 {
        payload(Zxid(zxid), &mut bytes);
        log.append(Zxid(zxid), &bytes).expect("there is room");
    }
    log.sync_job().expect("records are new").run(|| Duration::ZERO).expect("the disk is well");
    group.throughput(Throughput::Elements(NODES as u64));
    group.bench_function("decode_only", |b| {
        b.iter(|| {
            let mut seen = 0;
            let report =
                storage::replay(&data.dirs, &LoadOptions::default(), Zxid::ZERO, &mut |logged, _| {
                    seen += logged.header.cxid;
                });
            assert_eq!(report.expect("the log is good").txns, NODES as u64);
            seen
        });
    });
    group.finish();
}

fn remove_old_logs(dirs: &DataDirs, log: &TxnLog) {
    let current = log.current_file();
    for entry in std::fs::read_dir(&dirs.log).expect("it is there") {
        let path = entry.expect("it is readable").path();
        let is_log = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"log."));
        if is_log && Some(&*path) != current {
            std::fs::remove_file(path).expect("it is ours");
        }
    }
}

/// Looks at everything and keeps nothing: what parsing costs beside the tree's own work.
#[derive(Default)]
struct Nodes(usize);

impl SnapshotSink for Nodes {
    fn begin(&mut self) {}
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclList<'_>) {}
    fn node(&mut self, path: &str, data: Option<&[u8]>, _: i64, stat: &StatPersisted) -> Result<(), BadNode> {
        black_box((path, data, stat));
        self.0 += 1;
        Ok(())
    }
}

fn encode(out: &mut Vec<u8>) {
    encode_start(out, std::iter::empty::<(SessionId, i32)>(), 0);
    let mut path = String::from("/bench/n0000000");
    let stat =
        StatPersisted { czxid: 1, mzxid: 2, ctime: 3, mtime: 4, version: 5, ..StatPersisted::default() };
    encode_node(out, "", None, -1, &stat);
    encode_node(out, "/bench", None, -1, &stat);
    for i in 0..NODES {
        use std::fmt::Write;
        path.truncate(8);
        write!(path, "{i:07}").expect("a string takes all");
        encode_node(out, &path, Some(&VALUE), -1, &stat);
    }
}

fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    let mut bytes = Vec::new();
    encode(&mut bytes);
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    group.bench_function("encode", |b| {
        let mut out = Vec::with_capacity(bytes.len());
        b.iter(|| {
            out.clear();
            encode(&mut out);
            out.len()
        });
    });
    for (name, compression) in
        [("plain", Compression::None), ("gz", Compression::Gzip), ("snappy", Compression::Snappy)]
    {
        let data = data();
        let write = || {
            let mut writer = SnapshotWriter::create(&data.dirs, Zxid(1), compression).expect("there is room");
            bytes.chunks(1 << 20).for_each(|chunk| writer.write_chunk(chunk).expect("there is room"));
            writer.finish(Some((Zxid(1), 7)), Some(Zxid(1))).expect("there is room").path
        };
        group.bench_function(format!("write_and_sync_{name}"), |b| {
            b.iter_batched(|| (), |()| write(), BatchSize::PerIteration);
        });
        let path = write();
        group.bench_function(format!("parse_{name}"), |b| {
            b.iter(|| {
                let mut nodes = Nodes::default();
                load_file(&path, 1 << 20, &mut nodes).expect("it is good");
                assert_eq!(nodes.0, NODES + 2);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, log, snapshot);
criterion_main!(benches);
