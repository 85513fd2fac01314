//! How fast a server of ZooKeeper's protocol is, seen from outside.
//!
//! One thread drives any `host:port` that speaks the protocol, Serval or Java alike, and costs so little for
//! each request that it is not what is measured. Four uses:
//!
//!     cargo bench --bench end_to_end -- --addr 127.0.0.1:2181 --workload get,set --sessions 1,8 --depth 1,64
//!     cargo bench --bench end_to_end -- --compare           the table of the README
//!     cargo bench --bench end_to_end -- --stall             steady writes while snapshots are taken
//!     cargo bench --bench end_to_end -- --ensemble --compare     three servers, lost leaders, late followers
//!
//! Estimate to hold the numbers against: an unpipelined request costs each side a `recv`, a `send` and an
//! `epoll_wait`, 5 to 7 us of kernel time, so 150 k/s are the most one core gives; with 64 requests in each
//! read, what is left is copying and the tree, and a million a second is near. `--echo` measures that ceiling.
//! A write adds a share of one `fdatasync`.
//!
//! Without `--bench` in the arguments (that is, under `cargo test`) or with `--test`, every load runs for a moment
//! and nothing is printed but that it ran.

// The sans-IO boundary binds the server; a bench is a shell of its own and reads the clock.
#![allow(clippy::disallowed_methods)]

mod client;
mod compare;
mod echo;
mod ensemble;
mod load;
mod replicated;
mod server;
mod table;
mod writer;

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use getopts::{Matches, Options};

use crate::compare::Comparison;
use crate::load::{Length, Plan, Workload};
use crate::replicated::Faults;
use crate::server::Kind;

/// Debian's package `libzookeeper-java`; its manifest names all other jars.
const DEBIAN_JAR: &str = "/usr/share/java/zookeeper.jar";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("end_to_end: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Options {
    let mut o = Options::new();
    o.optflag("h", "help", "show this");
    o.optflag("", "bench", "given by cargo bench");
    o.optflag("", "test", "run every load for a moment, measure nothing");
    o.optopt("", "addr", "drive the server at this address, or the ensemble at these", "HOST:PORT,...");
    o.optopt("", "pid", "the servers' processes, for their CPU time and memory", "PID,...");
    o.optopt("", "workload", "get, set, mixed, create-delete, fan-out", "LIST");
    o.optopt("", "sessions", "numbers of sessions (8)", "LIST");
    o.optopt("", "depth", "requests in flight per session (64)", "LIST");
    o.optopt("", "value-size", "bytes of a value (100)", "N");
    o.optopt("", "nodes", "znodes to prepare and choose from (10000)", "N");
    o.optopt("", "nodes-large", "znodes of the large tree (1000000)", "N");
    o.optopt("", "seconds", "measured time of a run (3; of each round of a comparison 1)", "S");
    o.optopt("", "warm-up", "time before that (1; 0.3)", "S");
    o.optopt("", "rounds", "rounds of a comparison, of which the best counts (3)", "N");
    o.optopt("", "ops", "end a run after this many operations instead", "N");
    o.optopt("", "rate", "send so many requests a second in all, whatever comes back", "N");
    o.optflag("", "compare", "start each server, run everything, print the table");
    o.optflag("", "stall", "start each server, write steadily while snapshots of the large tree are taken");
    o.optflag(
        "",
        "ensemble",
        "start three servers of each kind instead: writes, lost leaders, late followers",
    );
    o.optopt("", "leaders-lost", "how often an ensemble's leader is killed, and stopped (10)", "N");
    o.optopt("", "behind", "transactions that a late follower has missed (100000)", "N");
    o.optopt("", "behind-rate", "writes a second while it catches up (2000)", "N");
    o.optflag("", "echo", "measure a server that does nothing: the ceiling");
    o.optopt("", "serval-bin", "the Serval to compare (the one built with this bench)", "FILE");
    o.optmulti(
        "",
        "java",
        "a Java server to compare: its name and class path, DIR for DIR/*.jar",
        "NAME=PATH",
    );
    o.optopt("", "java-flags", "flags of java (-Xmx1000m, as Apache's zkEnv.sh sets)", "FLAGS");
    o.optopt("", "work-dir", "where the servers' data goes; on a disk, not in memory (target/bench)", "DIR");
    o.optopt("", "port", "port of the first server started here (27090), the others follow", "PORT");
    o.optopt("", "snap-count", "snapCount of the servers started here (100000; with --stall 50000)", "N");
    o.optopt("", "steady-rate", "writes a second while snapshots are taken (10000)", "N");
    o.optopt("", "steady-seconds", "and for how long (12)", "S");
    o.optopt("", "echo-server", "be the server that does nothing", "PORT");
    o
}

fn run() -> io::Result<()> {
    let options = options();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = match options.parse(&args) {
        Ok(given) => given,
        // Flags of the test harness, which `cargo test` hands to benches too.
        Err(_) if !args.iter().any(|arg| arg == "--bench") => return self_check(),
        Err(e) => return Err(io::Error::other(format!("{e}; see --help"))),
    };
    if given.opt_present("help") {
        print!("{}", options.usage("cargo bench --bench end_to_end -- [options]"));
        return Ok(());
    }
    let modes = ["bench", "addr", "compare", "ensemble", "stall", "echo", "echo-server"].map(String::from);
    if given.opt_present("test") || !given.opts_present(&modes) {
        return self_check();
    }
    let plan = plan(&given)?;
    if let Some(port) = number(&given, "echo-server")? {
        return echo::serve(port as u16, plan.value_size, |_| ());
    }
    if let Some(addrs) = given.opt_str("addr") {
        let mut found = Vec::new();
        for addr in addrs.split(',') {
            let first = addr.to_socket_addrs()?.next();
            found.push(first.ok_or_else(|| io::Error::other("--addr names no address"))?);
        }
        return drive(&found, &plan, &given);
    }
    let comparison = comparison(&given, &plan)?;
    let machine = Machine::look()?;
    let columns = if given.opt_present("ensemble") {
        replicated::run(&comparison, &faults(&given)?)?
    } else if given.opt_present("stall") {
        compare::run_stall(&comparison)?
    } else {
        compare::run(&comparison)?
    };
    println!("{}", table::table(&columns));
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--bench").collect();
    println!("Made by `cargo bench --bench end_to_end -- {}` on {machine}.", args.join(" "));
    Ok(())
}

/// Where the numbers come from, and how much else was running there.
struct Machine {
    cores: usize,
    model: String,
    kernel: String,
    /// Processes that wanted to run during the last minute, before the first server was started.
    load: String,
}

impl Machine {
    fn look() -> io::Result<Machine> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg")?;
        Ok(Machine {
            cores: std::thread::available_parallelism()?.get(),
            model: model.map_or("an unknown processor", |(_, name)| name).into(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into(),
            load: load.split(' ').next().unwrap_or("?").into(),
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine { cores, model, kernel, load } = self;
        write!(f, "{cores} cores of {model}, Linux {kernel}, load average before it {load}")
    }
}

fn number(given: &Matches, name: &str) -> io::Result<Option<u64>> {
    given.opt_get(name).map_err(|e| io::Error::other(format!("--{name}: {e}")))
}

fn list<T: std::str::FromStr>(given: &Matches, name: &str, default: T) -> io::Result<Vec<T>> {
    let Some(text) = given.opt_str(name) else { return Ok(vec![default]) };
    let parsed: Result<Vec<T>, _> = text.split(',').map(str::parse).collect();
    parsed.map_err(|_| io::Error::other(format!("--{name}: not a list of numbers: {text}")))
}

fn seconds(given: &Matches, name: &str, default: Duration) -> io::Result<Duration> {
    let parsed: Option<f64> = given.opt_get(name).map_err(|e| io::Error::other(format!("--{name}: {e}")))?;
    parsed.map_or(Ok(default), |s| Duration::try_from_secs_f64(s).map_err(io::Error::other))
}

fn plan(given: &Matches) -> io::Result<Plan> {
    let time = seconds(given, "seconds", Duration::from_secs(3))?;
    Ok(Plan {
        value_size: number(given, "value-size")?.map_or(Plan::DEFAULT.value_size, |n| n as usize),
        nodes: number(given, "nodes")?.unwrap_or(Plan::DEFAULT.nodes),
        warm_up: seconds(given, "warm-up", Plan::DEFAULT.warm_up)?,
        length: number(given, "ops")?.map_or(Length::Time(time), Length::Operations),
        rate: number(given, "rate")?,
        ..Plan::DEFAULT
    })
}

/// Every combination of workload, sessions and depth against one server, or one ensemble.
fn drive(addrs: &[SocketAddr], base: &Plan, given: &Matches) -> io::Result<()> {
    let pids: Vec<u32> = if given.opt_present("pid") { list(given, "pid", 0)? } else { Vec::new() };
    let mut workloads = Vec::new();
    for name in given.opt_str("workload").unwrap_or("get,set".into()).split(',') {
        let known = Workload::ALL.iter().find(|(known, _)| *known == name);
        workloads.push(known.ok_or_else(|| io::Error::other(format!("--workload: {name} is unknown")))?.1);
    }
    load::preload(addrs[0], base.nodes, base.value_size)?;
    println!(
        "| workload | sessions x depth | op/s | server us/op | p50 us | p90 us | p99 us | p99.9 us | max us | stall ms | generator |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &workload in &workloads {
        for sessions in list(given, "sessions", base.sessions)? {
            for depth in list(given, "depth", base.depth)? {
                let r = load::run(addrs, &Plan { workload, sessions, depth, ..*base }, &pids)?;
                let server = r.server_micros().map_or("-".into(), |us| format!("{us:.2}"));
                let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| r.quantile(q));
                println!(
                    "| {} | {sessions} x {depth} | {:.0} | {server} | {p50:.0} | {p90:.0} | {p99:.0} | {p999:.0} | \
                     {:.0} | {:.1} | {:.0} % |",
                    workload.name(),
                    r.per_second(),
                    r.max_micros(),
                    r.stall.as_secs_f64() * 1000.0,
                    100.0 * r.client_share()
                );
            }
        }
    }
    for pid in pids {
        println!("\nresident: {:.1} MB", server::resident_bytes(pid)? as f64 / 1e6);
    }
    Ok(())
}

/// Which servers are compared: all Java servers that were named or else Debian's if it is there, then Serval,
/// then the echo server. Without `--compare` or `--stall` only Serval.
fn comparison(given: &Matches, plan: &Plan) -> io::Result<Comparison> {
    let work_dir = PathBuf::from(given.opt_str("work-dir").unwrap_or("target/bench".into()));
    fs::create_dir_all(&work_dir)?;
    let work_dir = work_dir.canonicalize()?;
    let port = number(given, "port")?.map_or(27_090, |port| port as u16);
    let stall = given.opt_present("stall");
    let mut kinds = Vec::new();
    let flags = given.opt_str("java-flags").unwrap_or("-Xmx1000m".into());
    let mut javas = given.opt_strs("java");
    if javas.is_empty() && given.opt_present("compare") && Path::new(DEBIAN_JAR).exists() {
        javas.push(DEBIAN_JAR.into());
    }
    for path in &javas {
        let class_path = if Path::new(path).is_dir() { format!("{path}/*") } else { path.clone() };
        kinds.push(Kind::java(&class_path, &flags, &work_dir)?);
    }
    let only_echo = given.opt_present("echo");
    if !only_echo {
        let program = given.opt_str("serval-bin").unwrap_or(env!("CARGO_BIN_EXE_serval").into());
        kinds.push(Kind::serval(Path::new(&program)));
    }
    if only_echo || (given.opt_present("compare") && !given.opt_present("ensemble")) {
        kinds.push(Kind::echo(port + kinds.len() as u16, plan.value_size)?);
    }
    // Rounds are shorter than the runs against one server: there are more of them.
    let time = seconds(given, "seconds", Duration::from_secs(1))?;
    Ok(Comparison {
        kinds,
        work_dir,
        port,
        value_size: plan.value_size,
        warm_up: seconds(given, "warm-up", Duration::from_millis(300))?,
        time,
        rounds: number(given, "rounds")?.unwrap_or(3).max(1),
        nodes: plan.nodes,
        nodes_large: number(given, "nodes-large")?.unwrap_or(1_000_000),
        steady_rate: number(given, "steady-rate")?.unwrap_or(10_000),
        steady_time: seconds(given, "steady-seconds", Duration::from_secs(12))?,
        snap_count: number(given, "snap-count")?.unwrap_or(if stall { 50_000 } else { 100_000 }),
    })
}

fn faults(given: &Matches) -> io::Result<Faults> {
    Ok(Faults {
        rounds: number(given, "leaders-lost")?.unwrap_or(10).max(1),
        behind: number(given, "behind")?.unwrap_or(100_000),
        behind_rate: number(given, "behind-rate")?.unwrap_or(2_000),
    })
}

/// Every load for a moment, on the server that does nothing and on Serval, so that the bench cannot rot unseen.
fn self_check() -> io::Result<()> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || echo::serve(0, 100, |addr| send.send(addr).expect("the check waits for it")));
    let addr = receive.recv().map_err(io::Error::other)?;
    check_loads(addr, &[Workload::Get, Workload::Set, Workload::Mixed, Workload::CreateDelete])?;

    let dir = tempfile::tempdir()?;
    // Nothing holds the port between these two lines, but the kernel hands out others first.
    let addr = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let server =
        compare::start_alone(&Kind::serval(Path::new(env!("CARGO_BIN_EXE_serval"))), dir.path(), addr)?;
    load::preload(addr, 2000, 100)?;
    load::preload(addr, 3000, 100)?;
    check_loads(addr, &Workload::ALL.map(|(_, workload)| workload))?;
    server.stop()?;

    let dir = tempfile::tempdir()?;
    let moment = Duration::from_millis(100);
    let comparison = Comparison {
        kinds: vec![Kind::serval(Path::new(env!("CARGO_BIN_EXE_serval")))],
        work_dir: dir.path().into(),
        port: free_ports(ensemble::PORTS)?,
        value_size: 100,
        warm_up: Duration::ZERO,
        time: moment,
        rounds: 1,
        nodes: 3000,
        nodes_large: 0,
        steady_rate: 0,
        steady_time: moment,
        snap_count: 100_000,
    };
    replicated::run(&comparison, &Faults { rounds: 1, behind: 1000, behind_rate: 1000 })?;
    println!("end_to_end: every load ran");
    Ok(())
}

/// The first of `n` ports in a row that nothing uses, below those that the kernel gives out.
fn free_ports(n: u16) -> io::Result<u16> {
    let mut first = 12_000 + (std::process::id() % 1000) as u16 * 16;
    for _ in 0..100 {
        if (first..first + n).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
        first = 12_000 + (first - 12_000 + 16) % 16_000;
    }
    Err(io::Error::other("no ports are free"))
}

fn check_loads(addr: SocketAddr, workloads: &[Workload]) -> io::Result<()> {
    for &workload in workloads {
        // The watches' writer keeps no clock.
        let rates = if workload == Workload::FanOut { &[None][..] } else { &[None, Some(50_000)] };
        for &rate in rates {
            let plan = Plan {
                workload,
                nodes: 3000,
                warm_up: Duration::ZERO,
                length: Length::Operations(1000),
                rate,
                ..Plan::DEFAULT
            };
            let report = load::run(&[addr], &plan, &[])?;
            assert!(report.operations >= 1000, "{} ended early", workload.name());
            assert_eq!(report.latency.len(), report.operations);
        }
    }
    Ok(())
}
