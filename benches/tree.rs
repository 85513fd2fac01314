//! What an operation costs in the tree, and whether that grows with the tree.
//!
//! Estimate: a look-up takes three cache misses for each component of the path (index line, node, name) at some
//! 80 ns each once the tree is larger than the caches, so 150 ns for the two-level paths here in a small tree and
//! 500 ns in a large one. A create is two look-ups, 170 bytes to write and two CRCs over 60 bytes: under 1 us in a
//! small tree, 1.5 us in a large one. Nothing may take longer once in a while: the longest of a million creates is
//! printed, where a doubling table or vector would show with tens of milliseconds. A write to a path that nobody
//! watches should not notice that there are watches (one look-up in their index).

#![allow(clippy::disallowed_methods)] // The longest single create is for this program to time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serval::ids::SessionId;
use serval::tree::{Table, Tree, TreeOptions, WatchMode, WatcherId, Watches};
use serval::wire::records::AclList;
use serval::wire::reply::EventType;
use serval::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, text};

const DATA: [u8; 100] = [b'd'; 100];
const CHILDREN: usize = 1000;

fn path(n: usize) -> String {
    format!("/p{:05}/node-{n:07}", n / CHILDREN)
}

fn apply(tree: &mut Tree, txn: &Txn<'_>) {
    let zxid = tree.last_zxid().next();
    tree.apply(&TxnHeader { session: SessionId(1), cxid: 1, zxid, time: 1, kind: txn.kind() }, txn, &mut ());
}

fn create<'a>(path: &'a str) -> Txn<'a> {
    let kind = CreateKind::Create { ephemeral: false };
    Txn::Create(CreateTxn {
        kind,
        path: text(path),
        data: Some(&DATA),
        acl: AclList::OPEN,
        parent_cversion: -1,
    })
}

/// A tree of `n` nodes of 100 bytes, and the longest create.
fn grown(n: usize) -> (Tree, Duration) {
    let mut tree = Tree::new(TreeOptions::default());
    let mut longest = Duration::ZERO;
    for i in 0..n {
        if i % CHILDREN == 0 {
            apply(&mut tree, &create(path(i).rsplit_once('/').expect("paths have slashes").0));
        }
        let path = path(i);
        let txn = create(&path);
        let start = Instant::now();
        apply(&mut tree, &txn);
        longest = longest.max(start.elapsed());
    }
    (tree, longest)
}

/// Numbers that jump about, so that caches are of no more use than they are to a server.
fn scattered(n: usize) -> impl FnMut() -> usize {
    let mut at = 0usize;
    move || {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (at >> 33) % n
    }
}

fn tree(c: &mut Criterion) {
    for n in [1_000, 1_000_000] {
        let (mut tree, longest) = grown(n);
        let each = tree.memory() / n - 12 - DATA.len();
        println!("{n} nodes: {each} bytes each beyond name and data; longest create {longest:?}");
        let mut next = scattered(n);
        let mut group = c.benchmark_group(format!("tree of {n}"));
        group.bench_function("get", |b| {
            b.iter_batched(
                || path(next()),
                |path| {
                    let id = tree.find(&path).expect("it was created");
                    black_box((tree.data(id).map(<[u8]>::len), tree.stat(id)));
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("list 1000 children", |b| {
            let id = tree.find("/p00000").expect("it was created");
            b.iter(|| tree.children(id).map(str::len).sum::<usize>());
        });
        group.bench_function("set", |b| {
            b.iter_batched(
                || path(next()),
                |path| apply(&mut tree, &Txn::SetData { path: text(&path), data: Some(&DATA), version: 1 }),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("create and delete", |b| {
            b.iter_batched(
                || format!("{}-more", path(next())),
                |path| {
                    apply(&mut tree, &create(&path));
                    apply(&mut tree, &Txn::Delete { path: text(&path), container: false });
                },
                BatchSize::SmallInput,
            );
        });
        let mut out = Vec::new();
        group.bench_function("snapshot slice of 64 KiB", |b| {
            let mut cursor = tree.snapshot_begin();
            b.iter(|| {
                out.clear();
                if tree.snapshot_slice(cursor, &mut out, 64 << 10) {
                    cursor = tree.snapshot_begin();
                }
                out.len()
            });
            tree.snapshot_abandon(cursor);
        });
        group.finish();
    }
}

fn watches(c: &mut Criterion) {
    let n = 1_000_000;
    let mut watches = Watches::new();
    let mut next = scattered(n);
    let mut hits = Vec::new();
    let mut group = c.benchmark_group("watches");
    group.bench_function("fire, nobody watches anything", |b| {
        let path = path(7);
        b.iter(|| watches.fire(EventType::NodeDataChanged, black_box(&path), &mut hits));
    });
    for i in 0..n {
        watches.add(Table::Data, &path(i), WatcherId((i % 100) as u32), WatchMode::Standard);
    }
    println!("{n} watches: {} bytes each, paths included", watches.memory() / n);
    group.bench_function("fire, a million other paths are watched", |b| {
        b.iter_batched(
            || format!("{}-other", path(next())),
            |path| watches.fire(EventType::NodeDataChanged, &path, &mut hits),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("add and fire", |b| {
        b.iter_batched(
            || path(next()),
            |path| {
                hits.clear();
                watches.add(Table::Data, &path, WatcherId(3), WatchMode::Standard);
                watches.fire(EventType::NodeDataChanged, &path, &mut hits);
            },
            BatchSize::SmallInput,
        );
    });
    watches.add(Table::Data, "/", WatcherId(5), WatchMode::PersistentRecursive);
    group.bench_function("fire to a recursive watch of the root", |b| {
        b.iter_batched(
            || format!("{}-other", path(next())),
            |path| {
                hits.clear();
                watches.fire(EventType::NodeDataChanged, &path, &mut hits);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, tree, watches);
criterion_main!(benches);
