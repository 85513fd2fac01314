//! `serval-sim`: many seeds of the simulator, or the story of one.

use std::panic;
use std::process::ExitCode;

use getopts::Options;
use serval::sim::{Faults, SimOptions, World, trace};

const USAGE: &str = "serval-sim --seeds A..B [--servers N] [--observers N] [--disks] [--reconfig] [--masters] [--local] [--trace SEED]";

/// Prints the servers' own log lines with simulated time and the server that speaks.
struct Lines;

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let (now, server) = trace::place();
        println!("{}   [{server}] {} {}", trace::stamp(now), record.level(), record.args());
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    let mut known = Options::new();
    known.optopt("", "seeds", "which seeds to run", "A..B");
    known.optopt("", "trace", "run one seed and tell what happens", "SEED");
    known.optopt("", "servers", "how many servers vote", "N");
    known.optopt("", "observers", "how many only observe", "N");
    known.optopt("", "clients", "how many clients there are", "N");
    known.optopt("", "seconds", "how long faults go on, in simulated time", "N");
    known.optflag("", "disks", "disks get full and fail, too");
    known.optflag("", "reconfig", "the membership changes, too");
    known.optflag("", "masters", "followers serve observers");
    known.optflag("", "local", "sessions are local until they must be global");
    known.optopt("", "counter-end", "where an epoch has no zxid left", "N");
    known.optflag("", "verbose", "with --trace: debug lines too");
    known.optflag("h", "help", "this text");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = match known.parse(&args) {
        Ok(given) => given,
        Err(error) => {
            eprintln!("{error}\n{}", known.usage(USAGE));
            return ExitCode::from(2);
        }
    };
    if given.opt_present("help") {
        println!("{}", known.usage(USAGE));
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| given.opt_get::<u64>(name).ok().flatten();
    let options = move |given: &getopts::Matches, seed: u64| {
        let of =
            |name: &str, default: u64| given.opt_get::<u64>(name).ok().flatten().unwrap_or(default) as usize;
        let mut options = SimOptions::of_seed(seed);
        options.voters = of("servers", options.voters as u64);
        options.observers = of("observers", options.observers as u64);
        options.clients = of("clients", options.clients as u64);
        options.stormy_ms = of("seconds", options.stormy_ms / 1000) as u64 * 1000;
        if given.opt_present("disks") {
            options.faults = Faults { disk_full: 2, fail_job: 800, ..options.faults };
        }
        options.counter_end = of("counter-end", u64::from(u32::MAX)) as u32;
        options.masters = given.opt_present("masters");
        options.local_sessions = given.opt_present("local");
        if given.opt_present("reconfig") {
            options.reconfigurable = true;
            options.faults = Faults { reconfigure: 8, ..options.faults };
        }
        options
    };
    if let Some(seed) = number("trace") {
        log::set_logger(&Lines).expect("no other logger is set");
        let level =
            if given.opt_present("verbose") { log::LevelFilter::Debug } else { log::LevelFilter::Info };
        log::set_max_level(level);
        let told = SimOptions { lines: Some(|line| println!("{line}")), ..options(&given, seed) };
        return match World::new(seed, told).run() {
            Ok(report) => {
                println!("{report:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    let Some((from, to)) = given.opt_str("seeds").and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?))
    }) else {
        eprintln!("{}", known.usage(USAGE));
        return ExitCode::from(2);
    };
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let mut failed = 0;
    for seed in from..to {
        let options = options(&given, seed);
        match panic::catch_unwind(move || World::new(seed, options).run()) {
            Ok(Ok(report)) => println!("seed {seed}: {report:?}"),
            Ok(Err(failure)) => {
                failed += 1;
                println!("FAILED {failure}");
            }
            Err(_) => {
                failed += 1;
                println!("FAILED seed {seed}: panic");
            }
        }
    }
    println!("{} seeds, {failed} failed", to.saturating_sub(from));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
