//! How long a request takes to decode and a reply to encode.
//!
//! Every request pays this once, so it bounds what a core can serve before it has touched the tree. Estimate:
//! a getData request is two words and a short string that must be proved UTF-8, 10 to 20 ns; its reply is one
//! copy of the value and two fixed arrays, as much again. At a million requests a second both together may take
//! 5 % of the core. A multi of a hundred creates allocates one vector and nothing for each part.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serval::ids::{SessionId, Zxid};
use serval::wire::jute::{self, MAX_BUFFER_DEFAULT, Reader};
use serval::wire::op::Op;
use serval::wire::records::{AclList, Stat};
use serval::wire::reply::{EventType, ReplyHeader, put_watch_event};
use serval::wire::request::{ConnectRequest, MultiHeader, Request, RequestHeader};
use serval::wire::txn::{LoggedTxn, Txn, TxnHeader, text};

const PATH: &str = "/bench/p0123/n0123456";
const VALUE: [u8; 100] = [b'x'; 100];

/// A frame's payload: the header and what `body` writes.
fn request(op: Op, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    RequestHeader { xid: 1, kind: op.code() }.write(&mut out);
    body(&mut out);
    out
}

fn put_create(out: &mut Vec<u8>) {
    jute::put_string(out, Some(PATH));
    jute::put_buffer(out, Some(&VALUE));
    out.extend_from_slice(AclList::OPEN.bytes());
    jute::put_int(out, 0);
}

/// As the server takes a frame apart: header, row of the table, record.
fn decode(frame: &[u8]) -> Request<'_> {
    let mut r = Reader::new(frame, MAX_BUFFER_DEFAULT);
    let header = RequestHeader::read(&mut r).expect("the frame is whole");
    let op = Op::from_code(header.kind).expect("the operation is known");
    Request::read(op, &mut r).expect("the record is whole")
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let get = request(Op::GetData, |out| {
        jute::put_string(out, Some(PATH));
        jute::put_bool(out, false);
    });
    let set = request(Op::SetData, |out| {
        jute::put_string(out, Some(PATH));
        jute::put_buffer(out, Some(&VALUE));
        jute::put_int(out, -1);
    });
    let multi = request(Op::Multi, |out| {
        for _ in 0..100 {
            MultiHeader { kind: Op::Create.code(), done: false, err: -1 }.write(out);
            put_create(out);
        }
        MultiHeader::END.write(out);
    });
    for (name, frame) in [
        ("getData", &get),
        ("setData", &set),
        ("create", &request(Op::Create, put_create)),
        ("multi of 100 creates", &multi),
    ] {
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(decode(black_box(frame)));
            });
        });
    }
    let mut connect = Vec::new();
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 40_000,
        session: 0,
        password: Some(&[0; 16]),
        read_only: Some(false),
    }
    .encode(&mut connect);
    group.throughput(Throughput::Bytes(connect.len() as u64));
    group.bench_function("connect", |b| {
        b.iter(|| black_box(ConnectRequest::decode(black_box(&connect), MAX_BUFFER_DEFAULT)));
    });
    group.finish();
}

fn replies(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut out = Vec::with_capacity(1 << 16);
    let stat = Stat { czxid: 1, mzxid: 2, pzxid: 3, data_length: 100, ..Stat::default() };
    group.bench_function("getData reply", |b| {
        b.iter(|| {
            out.clear();
            jute::put_frame(&mut out, |out| {
                ReplyHeader::ok(1, 2).write(out);
                jute::put_buffer(out, Some(black_box(&VALUE)));
                black_box(&stat).write(out);
            });
            black_box(&out);
        });
    });
    let children: Vec<String> = (0..1000).map(|i| format!("n{i:07}")).collect();
    group.bench_function("getChildren reply, 1000 names", |b| {
        b.iter(|| {
            out.clear();
            jute::put_frame(&mut out, |out| {
                ReplyHeader::ok(1, 2).write(out);
                jute::put_len(out, children.len());
                for child in black_box(&children) {
                    jute::put_string(out, Some(child));
                }
            });
            black_box(&out);
        });
    });
    group.bench_function("watch event", |b| {
        b.iter(|| {
            out.clear();
            put_watch_event(&mut out, 7, EventType::NodeDataChanged, black_box(PATH));
            black_box(&out);
        });
    });
    group.finish();
}

fn transactions(c: &mut Criterion) {
    let mut group = c.benchmark_group("transaction");
    let header = TxnHeader {
        session: SessionId(7),
        cxid: 1,
        zxid: Zxid(9),
        time: 1_700_000_000_000,
        kind: Op::SetData.code(),
    };
    let txn = Txn::SetData { path: text(PATH), data: Some(&VALUE), version: 3 };
    let logged = LoggedTxn { header, txn, digest: Some(0x51c6_d660) };
    let mut out = Vec::with_capacity(1 << 12);
    group.bench_function("encode setData", |b| {
        b.iter(|| {
            out.clear();
            black_box(&logged).encode(&mut out);
            black_box(&out);
        });
    });
    group.bench_function("decode setData", |b| {
        b.iter(|| black_box(LoggedTxn::decode(black_box(&out), MAX_BUFFER_DEFAULT)).is_ok());
    });
    group.finish();
}

criterion_group!(benches, requests, replies, transactions);
criterion_main!(benches);
