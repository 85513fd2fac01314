//! The load: sessions in one thread that keep a number of requests in flight, and what is measured of them.
//!
//! A closed load sends the next request when a reply comes; its latency is from the moment the request was
//! handed to the socket's buffer. A load with a rate sends on a clock of one millisecond whatever the server
//! does, and its latency counts from when a request was due, so that a server that stalls is charged for
//! every request that it kept waiting.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use serval::wire::jute;
use serval::wire::op::Op;
use serval::wire::records::AclList;
use serval::wire::request::MultiHeader;

use crate::client::{Direct, Message, Session, Template};
use crate::server;

/// Creates in one request while the nodes are prepared.
const CREATES_PER_MULTI: u64 = 100;
/// Nodes below one parent: a tree that is neither flat nor deep.
const CHILDREN_PER_PARENT: u64 = 1000;
/// The period of a load with a rate.
const TICK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    Get,
    Set,
    /// Nine gets, one set.
    Mixed,
    /// A create and a delete of the same node; each counts as one operation.
    CreateDelete,
    /// All sessions watch one node, another writes it; each delivered event counts as one operation.
    FanOut,
}

impl Workload {
    pub const ALL: [(&'static str, Workload); 5] = [
        ("get", Workload::Get),
        ("set", Workload::Set),
        ("mixed", Workload::Mixed),
        ("create-delete", Workload::CreateDelete),
        ("fan-out", Workload::FanOut),
    ];

    pub fn name(self) -> &'static str {
        Workload::ALL.iter().find(|(_, workload)| *workload == self).expect("every workload has a name").0
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Time(Duration),
    Operations(u64),
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub workload: Workload,
    pub sessions: usize,
    /// Requests in flight per session.
    pub depth: usize,
    pub value_size: usize,
    /// Nodes to choose from, prepared with [`preload`].
    pub nodes: u64,
    /// Load that is not measured, so that a virtual machine has compiled what it will run.
    pub warm_up: Duration,
    pub length: Length,
    /// Requests per second in all; `depth` is not looked at then.
    pub rate: Option<u64>,
}

impl Plan {
    /// The load that the targets are named for: 8 sessions with 64 requests each, values of 100 bytes.
    pub const DEFAULT: Plan = Plan {
        workload: Workload::Get,
        sessions: 8,
        depth: 64,
        value_size: 100,
        nodes: 10_000,
        warm_up: Duration::from_secs(1),
        length: Length::Time(Duration::from_secs(3)),
        rate: None,
    };
}

/// What a run measured.
pub struct Report {
    pub operations: u64,
    pub elapsed: Duration,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
    /// The longest time in which nothing at all was completed.
    pub stall: Duration,
    /// CPU time of the servers, if their processes are known, and of this process.
    pub server_cpu: Option<Duration>,
    pub client_cpu: Duration,
}

impl Report {
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// The server's CPU time for one operation, in microseconds.
    pub fn server_micros(&self) -> Option<f64> {
        Some(self.server_cpu?.as_secs_f64() * 1e6 / self.operations.max(1) as f64)
    }

    /// In microseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        self.latency.value_at_quantile(q) as f64 / 1000.0
    }

    pub fn max_micros(&self) -> f64 {
        self.latency.max() as f64 / 1000.0
    }

    /// The share of one core that this process itself took: near 1 it measures itself.
    pub fn client_share(&self) -> f64 {
        self.client_cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

fn put_node_path(out: &mut Vec<u8>, i: u64) {
    jute::put_string(out, Some(&format!("/bench/p{:04}/n{i:07}", i / CHILDREN_PER_PARENT)));
}

fn put_create(out: &mut Vec<u8>, path: impl FnOnce(&mut Vec<u8>), data: &[u8]) {
    path(out);
    jute::put_buffer(out, Some(data));
    out.extend_from_slice(AclList::OPEN.bytes());
    jute::put_int(out, 0);
}

fn put_multi_create(out: &mut Vec<u8>, path: impl FnOnce(&mut Vec<u8>), data: &[u8]) {
    MultiHeader { kind: Op::Create.code(), done: false, err: -1 }.write(out);
    put_create(out, path, data);
}

/// Makes sure that `/bench` holds at least `nodes` nodes with values of `value_size` bytes.
///
/// The number of those already there is kept in `/bench` itself, so that a restarted or growing server is not
/// filled twice.
pub fn preload(addr: SocketAddr, nodes: u64, value_size: usize) -> io::Result<()> {
    let mut direct = Direct::connect(addr)?;
    let path = |path: &'static str| move |out: &mut Vec<u8>| jute::put_string(out, Some(path));
    let (err, reply) = direct.call(Op::GetData, |out| {
        path("/bench")(out);
        jute::put_bool(out, false);
    })?;
    let mut done = 0;
    if err == 0 {
        let count = jute::Reader::new(&reply, jute::MAX_BUFFER_DEFAULT).string().ok().flatten();
        done = count
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| io::Error::other("/bench is not this bench's"))?;
    } else {
        for node in ["/bench", "/bench/watched", "/bench/tmp"] {
            direct.expect(Op::Create, |out| put_create(out, path(node), b"0"))?;
        }
    }
    if done >= nodes {
        return Ok(());
    }
    let parents = done.div_ceil(CHILDREN_PER_PARENT)..nodes.div_ceil(CHILDREN_PER_PARENT);
    for chunk in parents.clone().step_by(1000) {
        direct.expect(Op::Multi, |out| {
            for parent in chunk..parents.end.min(chunk + 1000) {
                let parent = format!("/bench/p{parent:04}");
                put_multi_create(out, |out| jute::put_string(out, Some(&parent)), b"");
            }
            MultiHeader::END.write(out);
        })?;
    }
    let plan = Plan {
        sessions: 4,
        depth: 8,
        value_size,
        nodes,
        warm_up: Duration::ZERO,
        length: Length::Operations((nodes - done).div_ceil(CREATES_PER_MULTI)),
        ..Plan::DEFAULT
    };
    let kind = Kind::Preload { next: done, end: nodes, value: vec![b'x'; value_size] };
    Load::open(&[addr], &plan, Source::new(kind, &plan))?.run(&[])?;
    direct.expect(Op::SetData, |out| {
        path("/bench")(out);
        jute::put_string(out, Some(&nodes.to_string()));
        jute::put_int(out, -1);
    })?;
    Ok(())
}

/// Runs a plan against the servers at `addrs`, which the sessions take in turn. `pids` are the processes whose CPU
/// time counts as the servers', as far as they are on this machine and known.
pub fn run(addrs: &[SocketAddr], plan: &Plan, pids: &[u32]) -> io::Result<Report> {
    let source = Source::new(Kind::Workload(plan.workload), plan);
    Load::open(addrs, plan, source)?.run(pids)
}

/// Where the requests come from.
struct Source {
    kind: Kind,
    nodes: u64,
    random: u64,
    get: Template,
    set: Template,
    create: Template,
    delete: Template,
    arm: Template,
    fire: Template,
}

enum Kind {
    Workload(Workload),
    /// Creates the nodes from `next` to `end` in multis.
    Preload {
        next: u64,
        end: u64,
        value: Vec<u8>,
    },
}

impl Source {
    fn new(kind: Kind, plan: &Plan) -> Source {
        let value = vec![b'x'; plan.value_size];
        let node = "/bench/p####/n#######";
        let temporary = "/bench/tmp/s####-##########";
        let named = |op, path, rest: &dyn Fn(&mut Vec<u8>)| {
            Template::new(op, path, |out| {
                jute::put_string(out, Some(path));
                rest(out);
            })
        };
        let set_rest = |out: &mut Vec<u8>| {
            jute::put_buffer(out, Some(&value));
            jute::put_int(out, -1);
        };
        Source {
            kind,
            nodes: plan.nodes.max(1),
            random: 0x9e37_79b9_7f4a_7c15,
            get: named(Op::GetData, node, &|out| jute::put_bool(out, false)),
            set: named(Op::SetData, node, &set_rest),
            create: named(Op::Create, temporary, &|out| put_create(out, |_| {}, &value)),
            delete: named(Op::Delete, temporary, &|out| jute::put_int(out, -1)),
            arm: named(Op::Exists, "/bench/watched", &|out| jute::put_bool(out, true)),
            fire: named(Op::SetData, "/bench/watched", &set_rest),
        }
    }

    /// xorshift64*: equal runs send equal requests.
    fn random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// Appends the next request of session `id`; nothing if there are no more.
    fn push(&mut self, session: &mut Session, id: usize, due: u64) {
        let made = session.made;
        let workload = match &mut self.kind {
            Kind::Workload(workload) => *workload,
            Kind::Preload { next, end, .. } if next == end => return,
            Kind::Preload { next, end, value } => {
                let upto = (*next + CREATES_PER_MULTI).min(*end);
                let xid = session.begin(due);
                jute::put_frame(&mut session.out, |out| {
                    jute::put_int(out, xid);
                    jute::put_int(out, Op::Multi.code());
                    for i in *next..upto {
                        put_multi_create(out, |out| put_node_path(out, i), value);
                    }
                    MultiHeader::END.write(out);
                });
                *next = upto;
                return;
            }
        };
        let i = self.random() % self.nodes;
        let node = [i / CHILDREN_PER_PARENT, i];
        let xid = session.begin(due);
        let out = &mut session.out;
        match workload {
            Workload::Get => self.get.put(out, xid, &node),
            Workload::Set => self.set.put(out, xid, &node),
            Workload::Mixed if self.random().is_multiple_of(10) => self.set.put(out, xid, &node),
            Workload::Mixed => self.get.put(out, xid, &node),
            Workload::CreateDelete if made.is_multiple_of(2) => {
                self.create.put(out, xid, &[id as u64, made / 2])
            }
            Workload::CreateDelete => self.delete.put(out, xid, &[id as u64, made / 2]),
            Workload::FanOut if id == 0 => self.fire.put(out, xid, &[]),
            Workload::FanOut => self.arm.put(out, xid, &[]),
        }
    }

    /// A session that has created a node must still delete it, or the next run finds it there.
    fn owes(&self, session: &Session) -> bool {
        matches!(self.kind, Kind::Workload(Workload::CreateDelete)) && session.made % 2 == 1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    /// Nothing new is sent; what is in flight still comes in.
    Draining,
}

struct Load {
    poll: Poll,
    sessions: Vec<Session>,
    source: Source,
    plan: Plan,
    clock: Instant,
    phase: Phase,
    operations: u64,
    latency: Histogram<u64>,
    /// When the newest completion was seen, in nanoseconds of `clock`.
    completed_at: u64,
    stall_ns: u64,
    fan_out: FanOut,
    /// Sessions whose buffer was full at the last read: their socket gives no further event by itself.
    unread: Vec<usize>,
}

/// One round of the fan-out: every watcher arms, then the writer fires, then every watcher has its event.
#[derive(Default)]
struct FanOut {
    armed: usize,
    fired_at: u64,
}

impl Load {
    fn open(addrs: &[SocketAddr], plan: &Plan, source: Source) -> io::Result<Load> {
        let poll = Poll::new()?;
        // The fan-out's writer is session 0, beside the watchers.
        let writers = usize::from(plan.workload == Workload::FanOut);
        let mut sessions = Vec::new();
        for token in 0..plan.sessions + writers {
            let mut session = Session::connect(addrs[token % addrs.len()])?;
            poll.registry().register(&mut session.stream, Token(token), Interest::READABLE)?;
            sessions.push(session);
        }
        Ok(Load {
            poll,
            sessions,
            source,
            plan: *plan,
            clock: Instant::now(),
            phase: Phase::WarmUp,
            operations: 0,
            latency: Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are constants"),
            completed_at: 0,
            stall_ns: 0,
            fan_out: FanOut::default(),
            unread: Vec::new(),
        })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn run(mut self, pids: &[u32]) -> io::Result<Report> {
        let cpu = |pids: &[u32]| pids.iter().map(|&pid| server::cpu_micros(pid)).sum::<io::Result<u64>>();
        let this = &[std::process::id()];
        let first = if self.plan.workload == Workload::FanOut { 1 } else { 0 };
        let depth = match (self.plan.rate, self.plan.workload) {
            (Some(_), _) => 0,
            (None, Workload::FanOut) => 1,
            (None, _) => self.plan.depth,
        };
        for id in first..self.sessions.len() {
            for _ in 0..depth {
                let now = self.now();
                self.source.push(&mut self.sessions[id], id, now);
            }
            self.flush(id)?;
        }

        self.turn_until(|load| load.now() >= load.plan.warm_up.as_nanos() as u64)?;
        let (server_before, client_before) = (cpu(pids)?, cpu(this)?);
        let start = self.now();
        self.phase = Phase::Measured;
        self.completed_at = start;
        match self.plan.length {
            Length::Time(time) => {
                let end = start + time.as_nanos() as u64;
                self.turn_until(|load| load.now() >= end)?;
            }
            Length::Operations(n) => self.turn_until(|load| load.operations >= n)?,
        }
        let end = self.now();
        self.stall_ns = self.stall_ns.max(end - self.completed_at);
        let (server_after, client_after) = (cpu(pids)?, cpu(this)?);

        self.phase = Phase::Draining;
        for id in 0..self.sessions.len() {
            if self.source.owes(&self.sessions[id]) {
                self.source.push(&mut self.sessions[id], id, end);
                self.flush(id)?;
            }
        }
        self.turn_until(|load| load.sessions.iter().all(|session| session.in_flight.is_empty()))?;

        let spent = |before: u64, after: u64| Duration::from_micros(after.saturating_sub(before));
        Ok(Report {
            operations: self.operations,
            elapsed: Duration::from_nanos(end - start),
            latency: self.latency,
            stall: Duration::from_nanos(self.stall_ns),
            server_cpu: (!pids.is_empty()).then(|| spent(server_before, server_after)),
            client_cpu: spent(client_before, client_after),
        })
    }

    /// Serves the sessions until `over`.
    fn turn_until(&mut self, over: impl Fn(&Load) -> bool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut tick_at = self.now();
        while !over(self) {
            if let Some(rate) = self.plan.rate.filter(|_| self.phase != Phase::Draining) {
                self.send_due(rate, &mut tick_at)?;
            }
            // Short enough for the end of the run to be noticed when nothing comes.
            let wait = if self.unread.is_empty() { TICK } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for id in std::mem::take(&mut self.unread) {
                self.take_replies(id)?;
            }
            for event in &events {
                self.take_replies(event.token().0)?;
            }
        }
        Ok(())
    }

    /// Sends what is due of a load with a rate: each tick its share, however late the tick comes.
    fn send_due(&mut self, rate: u64, tick_at: &mut u64) -> io::Result<()> {
        let now = self.now();
        let tick = TICK.as_nanos() as u64;
        while *tick_at <= now {
            let index = *tick_at / tick;
            // The shares of all ticks of a second add up to the rate.
            let share = (index + 1) * rate / 1000 - index * rate / 1000;
            for n in 0..share {
                let id = ((index * rate / 1000 + n) % self.sessions.len() as u64) as usize;
                self.source.push(&mut self.sessions[id], id, *tick_at);
            }
            *tick_at += tick;
        }
        for id in 0..self.sessions.len() {
            self.flush(id)?;
        }
        Ok(())
    }

    /// Reads a session's replies, records them, and sends what follows on them.
    fn take_replies(&mut self, id: usize) -> io::Result<()> {
        if self.sessions[id].receive()? {
            self.unread.push(id);
        }
        let now = self.now();
        while let Some(message) = self.sessions[id].next_message()? {
            match (message, self.plan.workload) {
                (message, Workload::FanOut) => self.on_fan_out(id, message, now)?,
                (Message::Notification, _) => {}
                (Message::Reply { due }, _) => {
                    self.complete(due, now);
                    if self.plan.rate.is_none() && self.phase != Phase::Draining {
                        self.source.push(&mut self.sessions[id], id, now);
                    }
                }
            }
        }
        self.flush(id)
    }

    fn on_fan_out(&mut self, id: usize, message: Message, now: u64) -> io::Result<()> {
        match message {
            Message::Reply { .. } if id != 0 => self.fan_out.armed += 1,
            Message::Reply { .. } => {}
            Message::Notification => {
                self.complete(self.fan_out.fired_at, now);
                if self.phase != Phase::Draining {
                    self.source.push(&mut self.sessions[id], id, now);
                }
            }
        }
        if self.fan_out.armed == self.plan.sessions && self.phase != Phase::Draining {
            self.fan_out = FanOut { fired_at: now, ..FanOut::default() };
            self.source.push(&mut self.sessions[0], 0, now);
            if id != 0 {
                self.flush(0)?;
            }
        }
        Ok(())
    }

    fn complete(&mut self, due: u64, now: u64) {
        if self.phase != Phase::Measured {
            return;
        }
        self.operations += 1;
        self.latency.saturating_record(now.saturating_sub(due));
        self.stall_ns = self.stall_ns.max(now.saturating_sub(self.completed_at));
        self.completed_at = now;
    }

    fn flush(&mut self, id: usize) -> io::Result<()> {
        let session = &mut self.sessions[id];
        let blocked = session.flush()?;
        if blocked != session.blocked {
            session.blocked = blocked;
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.poll.registry().reregister(&mut session.stream, Token(id), interest)?;
        }
        Ok(())
    }
}
