//! Servers side by side: the same loads on each, one after the other, and one table.
//!
//! Each server gets its own empty data directory and the same zoo.cfg. Small trees first, then a million
//! znodes: what they cost in memory, how steady writes run while snapshots of them are taken, and how long a
//! restart takes to answer.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::four_letter_word;
use crate::load::{self, Length, Plan, Report, Workload};
use crate::server::{ECHO, Kind, Server, resident_bytes};

/// What is compared, and how long it may take.
pub struct Comparison {
    pub kinds: Vec<Kind>,
    pub work_dir: PathBuf,
    pub port: u16,
    pub value_size: usize,
    /// Of each row.
    pub warm_up: Duration,
    pub time: Duration,
    /// Nodes of the small tree and of the large one.
    pub nodes: u64,
    pub nodes_large: u64,
    /// Writes a second on the large tree while snapshots run, and for how long.
    pub steady_rate: u64,
    pub steady_time: Duration,
    /// `snapCount` of the servers.
    pub snap_count: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
    /// A number that explains others.
    Neither,
}

/// One measured number.
struct Cell {
    what: String,
    unit: &'static str,
    better: Better,
    value: f64,
}

impl Comparison {
    fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// All numbers of one server.
pub struct Column {
    name: String,
    cells: Vec<Cell>,
}

impl Column {
    fn new(name: &str) -> Column {
        Column { name: name.into(), cells: Vec::new() }
    }

    fn add(&mut self, what: &str, unit: &'static str, better: Better, value: f64) {
        eprintln!("  {}: {what}: {} {unit}", self.name, number(value));
        self.cells.push(Cell { what: what.into(), unit, better, value });
    }

    /// Throughput, cost and tail of a pipelined load.
    fn add_throughput(&mut self, what: &str, report: &Report) {
        self.add(what, "op/s", Better::More, report.per_second());
        self.add_cost(what, report);
        self.add(what, "p99 ms", Better::Less, report.quantile(0.99) / 1000.0);
        self.note_client(report);
    }

    /// Latency of a load with one request at a time.
    fn add_latency(&mut self, what: &str, report: &Report) {
        self.add(what, "p50 us", Better::Less, report.quantile(0.5));
        self.add(what, "p99 us", Better::Less, report.quantile(0.99));
        self.add(what, "p99.9 us", Better::Less, report.quantile(0.999));
        self.add_cost(what, report);
        self.note_client(report);
    }

    fn add_cost(&mut self, what: &str, report: &Report) {
        if let Some(micros) = report.server_micros() {
            self.add(what, "server CPU us/op", Better::Less, micros);
        }
    }

    fn note_client(&self, report: &Report) {
        eprintln!("    (generator at {:.0} % of a core)", 100.0 * report.client_share());
    }
}

/// The loads that fill the pipe, and how many sessions have one request at a time after that.
const PIPELINED: [Workload; 4] = [Workload::Get, Workload::Set, Workload::Mixed, Workload::CreateDelete];
const SESSIONS_UNPIPELINED: [usize; 3] = [1, 10, 100];

/// Runs everything on everything; one column for each kind.
pub fn run(comparison: &Comparison) -> io::Result<Vec<Column>> {
    comparison.kinds.iter().map(|kind| measure(comparison, kind)).collect()
}

fn measure(c: &Comparison, kind: &Kind) -> io::Result<Column> {
    let dir = prepare(c, kind)?;
    let server = Server::start(kind, &dir, c.addr())?;
    let mut column = Column::new(&name(kind, &server)?);
    if kind.is_echo {
        small_tree(c, &mut column, &server, false)?;
        return Ok(column);
    }
    column.add("start, empty, to the first reply", "ms", Better::Less, millis(server.start_up));
    load::preload(server.addr, c.nodes, c.value_size)?;
    let small = resident_bytes(server.pid())?;
    small_tree(c, &mut column, &server, true)?;
    large_tree(c, &mut column, &server, &dir, small)?;

    server.stop()?;
    let server = Server::start(kind, &dir, c.addr())?;
    let nodes = count(c.nodes_large);
    let what = format!("start, {nodes} znodes, to the first reply");
    column.add(&what, "ms", Better::Less, millis(server.start_up));
    let resident = megabytes(resident_bytes(server.pid())?);
    column.add(&format!("resident, {nodes} znodes, after a start"), "MB", Better::Less, resident);
    server.stop()?;
    fs::remove_dir_all(&dir)?;
    Ok(column)
}

fn small_tree(c: &Comparison, column: &mut Column, server: &Server, keeps_nodes: bool) -> io::Result<()> {
    let (addr, pid) = (server.addr, Some(server.pid()));
    let base = Plan {
        value_size: c.value_size,
        nodes: c.nodes,
        warm_up: c.warm_up,
        length: Length::Time(c.time),
        ..Plan::DEFAULT
    };
    if keeps_nodes {
        // A virtual machine compiles what it finds hot: it is given every load before any number counts.
        for workload in PIPELINED {
            load::run(addr, &Plan { workload, length: Length::Time(c.warm_up), ..base }, pid)?;
        }
    }
    for workload in PIPELINED {
        let report = load::run(addr, &Plan { workload, ..base }, pid)?;
        column.add_throughput(&format!("{}, 8 x 64", workload.name()), &report);
    }
    for sessions in SESSIONS_UNPIPELINED {
        for workload in [Workload::Get, Workload::Set] {
            let report = load::run(addr, &Plan { workload, sessions, depth: 1, ..base }, pid)?;
            column.add_latency(&format!("{}, {sessions} x 1", workload.name()), &report);
        }
    }
    if keeps_nodes {
        let plan = Plan { workload: Workload::FanOut, sessions: 100, depth: 1, ..base };
        column.add_throughput("watch events to 100 sessions", &load::run(addr, &plan, pid)?);
    }
    Ok(())
}

fn large_tree(
    c: &Comparison,
    column: &mut Column,
    server: &Server,
    dir: &Path,
    small: u64,
) -> io::Result<()> {
    let (addr, pid) = (server.addr, server.pid());
    load::preload(addr, c.nodes_large, c.value_size)?;
    let large = resident_bytes(pid)?;
    let nodes = count(c.nodes_large);
    column.add(&format!("resident, {nodes} znodes"), "MB", Better::Less, megabytes(large));
    let per_znode = large.saturating_sub(small) as f64 / (c.nodes_large - c.nodes).max(1) as f64;
    column.add(&format!("resident, {nodes} znodes, each"), "bytes", Better::Less, per_znode);

    let base = Plan { value_size: c.value_size, nodes: c.nodes_large, warm_up: c.warm_up, ..Plan::DEFAULT };
    let report = load::run(addr, &Plan { length: Length::Time(c.time), ..base }, Some(pid))?;
    column.add_throughput(&format!("get, 8 x 64, {nodes} znodes"), &report);
    steady(c, column, server, dir)
}

/// Only the part with the snapshots, on every kind that takes some.
pub fn run_stall(c: &Comparison) -> io::Result<Vec<Column>> {
    let mut columns = Vec::new();
    for kind in c.kinds.iter().filter(|kind| !kind.is_echo) {
        let dir = prepare(c, kind)?;
        let server = Server::start(kind, &dir, c.addr())?;
        load::preload(server.addr, c.nodes_large, c.value_size)?;
        let mut column = Column::new(&name(kind, &server)?);
        steady(c, &mut column, &server, &dir)?;
        server.stop()?;
        fs::remove_dir_all(&dir)?;
        columns.push(column);
    }
    Ok(columns)
}

/// Steady writes on the large tree, long enough for snapshots to be taken meanwhile.
fn steady(c: &Comparison, column: &mut Column, server: &Server, dir: &Path) -> io::Result<()> {
    let plan = Plan {
        workload: Workload::Set,
        value_size: c.value_size,
        nodes: c.nodes_large,
        warm_up: c.warm_up,
        length: Length::Time(c.steady_time),
        rate: Some(c.steady_rate),
        ..Plan::DEFAULT
    };
    let before = snapshots(dir)?;
    let report = load::run(server.addr, &plan, Some(server.pid()))?;
    let taken = snapshots(dir)?.saturating_sub(before);
    let what = format!("set, {}/s, snapshots of {} znodes", count(c.steady_rate), count(c.nodes_large));
    column.add(&what, "snapshots begun", Better::Neither, taken as f64);
    column.add(&what, "longest stall ms", Better::Less, millis(report.stall));
    column.add(&what, "p99 ms", Better::Less, report.quantile(0.99) / 1000.0);
    column.add(&what, "p99.9 ms", Better::Less, report.quantile(0.999) / 1000.0);
    column.add(&what, "max ms", Better::Less, report.max_micros() / 1000.0);
    column.add_cost(&what, &report);
    if let Some(turn) = mntr(server.addr, "zk_max_turn_time_ms")? {
        column.add("longest turn of the reactor", "ms", Better::Less, turn);
    }
    column.note_client(&report);
    Ok(())
}

/// An empty directory for a server, with its zoo.cfg and what a Java server needs to log no more than Serval.
fn prepare(c: &Comparison, kind: &Kind) -> io::Result<PathBuf> {
    let dir = c.work_dir.join(kind.name.replace(' ', "-"));
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    fs::remove_dir_all(&dir)?;
    fs::create_dir_all(dir.join("data"))?;
    let config = format!(
        "tickTime=2000\ndataDir={}\nclientPortAddress=127.0.0.1\nclientPort={}\nmaxClientCnxns=0\n\
         4lw.commands.whitelist=*\nadmin.enableServer=false\nsnapCount={}\n",
        dir.join("data").display(),
        c.port,
        c.snap_count
    );
    fs::write(dir.join("zoo.cfg"), config)?;
    Ok(dir)
}

/// How the table names a server: Java ones with the version that they report.
fn name(kind: &Kind, server: &Server) -> io::Result<String> {
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
fn mntr(addr: SocketAddr, key: &str) -> io::Result<Option<f64>> {
    let text = four_letter_word(addr, "mntr")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    Ok(value.and_then(|value| value.trim().parse().ok()))
}

/// The columns as a table in Markdown: a row for each number, and how many times better the last server is than
/// the first.
pub fn table(columns: &[Column]) -> String {
    let servers: Vec<&Column> = columns.iter().filter(|column| column.name != ECHO).collect();
    let mut rows: Vec<(&str, &str, Better)> = Vec::new();
    for cell in columns.iter().flat_map(|column| &column.cells) {
        if !rows.iter().any(|row| (row.0, row.1) == (&cell.what, cell.unit)) {
            rows.push((&cell.what, cell.unit, cell.better));
        }
    }
    let value = |column: &Column, row: &(&str, &str, Better)| {
        let cell = column.cells.iter().find(|cell| (cell.what.as_str(), cell.unit) == (row.0, row.1));
        cell.map(|cell| cell.value)
    };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let compared = servers.len() > 1;
    let mut out = format!("| what | unit | {} |", names.join(" | "));
    if compared {
        out.push_str(&format!(" {} : {} |", servers[servers.len() - 1].name, servers[0].name));
    }
    out.push_str(&format!("\n|---|---|{}\n", "---:|".repeat(names.len() + usize::from(compared))));
    for row in &rows {
        out.push_str(&format!("| {} | {} |", row.0, row.1));
        for column in columns {
            out.push_str(&format!(" {} |", value(column, row).map_or("-".into(), number)));
        }
        if compared {
            let (first, last) = (value(servers[0], row), value(servers[servers.len() - 1], row));
            let ratio = match (row.2, first.zip(last)) {
                (Better::More, Some((first, last))) if first > 0.0 => format!("{:.1}x", last / first),
                (Better::Less, Some((first, last))) if last > 0.0 => format!("{:.1}x", first / last),
                _ => "".into(),
            };
            out.push_str(&format!(" {ratio} |"));
        }
        out.push('\n');
    }
    out
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} k", v / 1e3),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A round number as a person says it: `1 M`, `10 k`.
fn count(n: u64) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(100_000) => format!("{} M", n as f64 / 1e6),
        n if n >= 1_000 && n.is_multiple_of(100) => format!("{} k", n as f64 / 1e3),
        n => n.to_string(),
    }
}
