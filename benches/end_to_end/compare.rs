//! Servers side by side: the same loads on each, and one table.
//!
//! Each server gets its own empty data directory and the same zoo.cfg. First a small tree, where the servers take
//! turns; then, one server after the other, a million znodes: what they cost in memory, how steady writes run while
//! snapshots of them are taken, and how long a restart takes to answer.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::four_letter_word;
use crate::load::{self, Length, Plan, Report, Workload};
use crate::server::{Kind, Server, resident_bytes};
use crate::table::{Better, Column, count, megabytes, millis};

/// What is compared, and how long it may take.
pub struct Comparison {
    pub kinds: Vec<Kind>,
    pub work_dir: PathBuf,
    /// Of the first server; the others have those after it.
    pub port: u16,
    pub value_size: usize,
    /// Of each round.
    pub warm_up: Duration,
    pub time: Duration,
    pub rounds: u64,
    /// Nodes of the small tree and of the large one.
    pub nodes: u64,
    pub nodes_large: u64,
    /// Writes a second on the large tree while snapshots run, and for how long.
    pub steady_rate: u64,
    pub steady_time: Duration,
    /// `snapCount` of the servers.
    pub snap_count: u64,
}

impl Comparison {
    /// What takes long is done less often.
    fn rounds_long(&self) -> u64 {
        self.rounds.min(2)
    }
}

/// A load on the small tree, and which of its numbers are shown.
struct Row {
    what: String,
    plan: Plan,
    shows: Shows,
    /// The echo server has no watches.
    for_echo: bool,
}

#[derive(Clone, Copy)]
enum Shows {
    Throughput,
    Latency,
}

/// First what fills the pipe, then one request at a time, then watches.
fn rows(c: &Comparison) -> Vec<Row> {
    let base = Plan {
        value_size: c.value_size,
        nodes: c.nodes,
        warm_up: c.warm_up,
        length: Length::Time(c.time),
        ..Plan::DEFAULT
    };
    let pipelined = [Workload::Get, Workload::Set, Workload::Mixed, Workload::CreateDelete];
    let pipelined = pipelined.map(|workload| Row {
        what: format!("{}, 8 x 64", workload.name()),
        plan: Plan { workload, ..base },
        shows: Shows::Throughput,
        for_echo: true,
    });
    let unpipelined = [1, 10, 100].into_iter().flat_map(|sessions| {
        [Workload::Get, Workload::Set].map(|workload| Row {
            what: format!("{}, {sessions} x 1", workload.name()),
            plan: Plan { workload, sessions, depth: 1, ..base },
            shows: Shows::Latency,
            for_echo: true,
        })
    });
    let watches = Row {
        what: "watch events to 100 sessions".into(),
        plan: Plan { workload: Workload::FanOut, sessions: 100, depth: 1, ..base },
        shows: Shows::Throughput,
        for_echo: false,
    };
    pipelined.into_iter().chain(unpipelined).chain([watches]).collect()
}

/// A server that takes part.
struct Rival<'a> {
    kind: &'a Kind,
    dir: PathBuf,
    server: Server,
    column: Column,
    /// Memory with the small tree, in bytes.
    small: u64,
}

impl Rival<'_> {
    fn start<'a>(c: &Comparison, kind: &'a Kind, port: u16) -> io::Result<Rival<'a>> {
        let dir = prepare(c, kind, port)?;
        let server = Server::start(kind, &dir, local(port))?;
        let column = Column::new(&name(kind, &server)?);
        Ok(Rival { kind, dir, server, column, small: 0 })
    }

    fn run(&self, plan: &Plan) -> io::Result<Report> {
        load::run(&[self.server.addr], plan, &[self.server.pid()])
    }
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Runs everything on everything; one column for each kind.
///
/// On the small tree the servers take turns, round by round, and of each the round with the best throughput counts: what
/// else runs on the machine then disturbs all of them alike, and least of all what is shown.
pub fn run(c: &Comparison) -> io::Result<Vec<Column>> {
    let mut rivals = Vec::new();
    for (kind, port) in c.kinds.iter().zip(c.port..) {
        let mut rival = Rival::start(c, kind, port)?;
        if !kind.is_echo {
            let start_up = millis(rival.server.start_up);
            rival.column.add("start, empty, to the first reply", "ms", Better::Less, start_up);
            load::preload(rival.server.addr, c.nodes, c.value_size)?;
            rival.small = resident_bytes(rival.server.pid())?;
        }
        rivals.push(rival);
    }
    let rows = rows(c);
    // A virtual machine compiles what it finds hot: it is given every load before any number counts.
    for rival in rivals.iter().filter(|rival| rival.kind.is_java) {
        for row in rows.iter().filter(|row| row.plan.depth > 1) {
            rival.run(&Plan { warm_up: c.warm_up * 3, ..row.plan })?;
        }
    }
    for row in &rows {
        let mut best: Vec<Option<Report>> = rivals.iter().map(|_| None).collect();
        for _ in 0..c.rounds {
            for (rival, best) in rivals.iter().zip(&mut best) {
                if rival.kind.is_echo && !row.for_echo {
                    continue;
                }
                let report = rival.run(&row.plan)?;
                if best.as_ref().is_none_or(|best| best.per_second() < report.per_second()) {
                    *best = Some(report);
                }
            }
        }
        for (rival, best) in rivals.iter_mut().zip(best) {
            match (best, row.shows) {
                (None, _) => {}
                (Some(report), Shows::Throughput) => rival.column.add_throughput(&row.what, &report),
                (Some(report), Shows::Latency) => rival.column.add_latency(&row.what, &report),
            }
        }
    }
    rivals.into_iter().map(|rival| finish(c, rival)).collect()
}

/// What only one server does at a time: the large tree, and the start with it.
fn finish(c: &Comparison, mut rival: Rival<'_>) -> io::Result<Column> {
    if rival.kind.is_echo {
        return Ok(rival.column);
    }
    large_tree(c, &mut rival)?;
    let Rival { kind, dir, server, mut column, .. } = rival;
    let addr = server.addr;
    server.stop()?;
    let (mut start_up, mut resident) = (Duration::MAX, 0);
    for _ in 0..c.rounds_long() {
        let server = Server::start(kind, &dir, addr)?;
        start_up = start_up.min(server.start_up);
        resident = resident_bytes(server.pid())?;
        server.stop()?;
    }
    let nodes = count(c.nodes_large);
    column.add(&format!("start, {nodes} znodes, to the first reply"), "ms", Better::Less, millis(start_up));
    let what = format!("resident, {nodes} znodes, after a start");
    column.add(&what, "MB", Better::Less, megabytes(resident));
    fs::remove_dir_all(&dir)?;
    Ok(column)
}

fn large_tree(c: &Comparison, rival: &mut Rival<'_>) -> io::Result<()> {
    load::preload(rival.server.addr, c.nodes_large, c.value_size)?;
    let large = resident_bytes(rival.server.pid())?;
    let nodes = count(c.nodes_large);
    let per_znode = large.saturating_sub(rival.small) as f64 / (c.nodes_large - c.nodes).max(1) as f64;
    let column = &mut rival.column;
    column.add(&format!("resident, {nodes} znodes"), "MB", Better::Less, megabytes(large));
    column.add(&format!("resident, {nodes} znodes, each"), "bytes", Better::Less, per_znode);

    let plan = Plan {
        value_size: c.value_size,
        nodes: c.nodes_large,
        warm_up: c.warm_up,
        length: Length::Time(c.time),
        ..Plan::DEFAULT
    };
    let mut best = rival.run(&plan)?;
    for _ in 1..c.rounds {
        let report = rival.run(&plan)?;
        if best.per_second() < report.per_second() {
            best = report;
        }
    }
    rival.column.add_throughput(&format!("get, 8 x 64, {nodes} znodes"), &best);
    steady(c, rival)
}

/// Only the part with the snapshots, on every kind that takes some.
pub fn run_stall(c: &Comparison) -> io::Result<Vec<Column>> {
    let mut columns = Vec::new();
    for kind in c.kinds.iter().filter(|kind| !kind.is_echo) {
        let mut rival = Rival::start(c, kind, c.port)?;
        load::preload(rival.server.addr, c.nodes_large, c.value_size)?;
        steady(c, &mut rival)?;
        let Rival { dir, server, column, .. } = rival;
        server.stop()?;
        fs::remove_dir_all(&dir)?;
        columns.push(column);
    }
    Ok(columns)
}

/// Steady writes on the large tree, long enough for snapshots to be taken meanwhile.
fn steady(c: &Comparison, rival: &mut Rival<'_>) -> io::Result<()> {
    let plan = Plan {
        workload: Workload::Set,
        value_size: c.value_size,
        nodes: c.nodes_large,
        warm_up: c.warm_up,
        length: Length::Time(c.steady_time),
        rate: Some(c.steady_rate),
        ..Plan::DEFAULT
    };
    let mut best: Option<(Report, usize)> = None;
    for _ in 0..c.rounds_long() {
        let before = snapshots(&rival.dir)?;
        let report = rival.run(&plan)?;
        let taken = snapshots(&rival.dir)?.saturating_sub(before);
        // A round without a snapshot does not answer the question.
        if taken > 0 && best.as_ref().is_none_or(|(best, _)| report.stall < best.stall) {
            best = Some((report, taken));
        }
    }
    let Some((report, taken)) = best else {
        return Err(io::Error::other(
            "no snapshot was begun: --steady-seconds is too short for --snap-count",
        ));
    };
    let column = &mut rival.column;
    let what = format!("set, {}/s, snapshots of {} znodes", count(c.steady_rate), count(c.nodes_large));
    column.add(&what, "snapshots taken", Better::Neither, taken as f64);
    column.add(&what, "longest stall ms", Better::Less, millis(report.stall));
    column.add(&what, "p99 ms", Better::Less, report.quantile(0.99) / 1000.0);
    column.add(&what, "p99.9 ms", Better::Less, report.quantile(0.999) / 1000.0);
    column.add(&what, "max ms", Better::Less, report.max_micros() / 1000.0);
    column.add_cost(&what, &report);
    if let Some(turn) = mntr(rival.server.addr, "zk_max_turn_time_ms")? {
        column.add("longest turn of the reactor", "ms", Better::Less, turn);
    }
    column.note_client(&report);
    Ok(())
}

/// An empty directory for a server, with its zoo.cfg.
fn prepare(c: &Comparison, kind: &Kind, port: u16) -> io::Result<PathBuf> {
    let dir = c.work_dir.join(format!("{}-{port}", kind.name));
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    fs::remove_dir_all(&dir)?;
    write_config(&dir, local(port), c.snap_count)?;
    Ok(dir)
}

fn write_config(dir: &Path, addr: SocketAddr, snap_count: u64) -> io::Result<()> {
    fs::create_dir_all(dir.join("data"))?;
    fs::write(dir.join("zoo.cfg"), config(dir, addr, snap_count))
}

/// The zoo.cfg of every server that the bench starts.
pub fn config(dir: &Path, addr: SocketAddr, snap_count: u64) -> String {
    format!(
        "tickTime=2000\ndataDir={}\nclientPortAddress={}\nclientPort={}\nmaxClientCnxns=0\n\
         4lw.commands.whitelist=*\nadmin.enableServer=false\nsnapCount={snap_count}\n",
        dir.join("data").display(),
        addr.ip(),
        addr.port(),
    )
}

/// A server for itself, in an empty directory that the caller owns.
pub fn start_alone(kind: &Kind, dir: &Path, addr: SocketAddr) -> io::Result<Server> {
    write_config(dir, addr, 100_000)?;
    Server::start(kind, dir, addr)
}

/// How the table names a server: Java ones with the version that they report.
pub fn name(kind: &Kind, server: &Server) -> io::Result<String> {
    if !kind.is_java {
        return Ok(kind.name.clone());
    }
    let text = four_letter_word(server.addr, "srvr")?;
    let version = text.strip_prefix("Zookeeper version: ").and_then(|rest| rest.split('-').next());
    Ok(format!("{} {}", kind.name, version.unwrap_or("of no version")))
}

fn snapshots(dir: &Path) -> io::Result<usize> {
    let names = fs::read_dir(dir.join("data/version-2"))?;
    Ok(names.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("snapshot.")).count())
}

/// One number of the four-letter word `mntr`; `None` if this server does not have it.
pub fn mntr(addr: SocketAddr, key: &str) -> io::Result<Option<f64>> {
    let text = four_letter_word(addr, "mntr")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}
