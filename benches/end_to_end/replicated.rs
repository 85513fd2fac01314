//! Ensembles side by side: three servers of each kind on one machine, the same loads on each, and one table.
//!
//! All ensembles run at the same time and take turns at every load, so that what else runs on the machine disturbs all
//! alike; of each load the round with the best throughput counts. Then, one ensemble after the other: what a client
//! notices when the leader goes away, and how a follower that was away catches up.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::four_letter_word;
use crate::compare::{self, Comparison};
use crate::ensemble::{Ensemble, PORTS, SERVERS};
use crate::load::{self, Length, Plan, Report, Workload};
use crate::table::{Better, Column, count, millis};
use crate::writer::Writer;

/// Beside what a [`Comparison`] of single servers says.
pub struct Faults {
    /// How often a leader is killed, and how often it is stopped.
    pub rounds: u64,
    /// Transactions that a follower misses.
    pub behind: u64,
    /// Writes a second that go on while it catches up.
    pub behind_rate: u64,
}

/// Which servers the sessions of a load use.
#[derive(Clone, Copy)]
enum At {
    All,
    Leader,
    Followers,
}

impl At {
    const EACH: [At; 3] = [At::All, At::Leader, At::Followers];

    fn name(self) -> &'static str {
        match self {
            At::All => "on all three",
            At::Leader => "on the leader",
            At::Followers => "on followers",
        }
    }

    fn takes(self, server: usize, leader: usize) -> bool {
        match self {
            At::All => true,
            At::Leader => server == leader,
            At::Followers => server != leader,
        }
    }
}

/// A load, and whether its sessions keep many requests in flight.
struct Row {
    what: String,
    at: At,
    plan: Plan,
}

fn rows(c: &Comparison) -> Vec<Row> {
    let base = Plan {
        value_size: c.value_size,
        nodes: c.nodes,
        warm_up: c.warm_up,
        length: Length::Time(c.time),
        ..Plan::DEFAULT
    };
    let row = |at: At, workload: Workload, sessions: usize, depth: usize| Row {
        what: format!("{}, {sessions} x {depth}, {}", workload.name(), at.name()),
        at,
        plan: Plan { workload, sessions, depth, ..base },
    };
    let mut rows: Vec<Row> = At::EACH.map(|at| row(at, Workload::Set, 8, 64)).into();
    rows.push(row(At::All, Workload::CreateDelete, 8, 64));
    rows.push(row(At::All, Workload::Mixed, 8, 64));
    rows.push(row(At::Followers, Workload::Get, 8, 64));
    rows.extend([At::Leader, At::Followers].map(|at| row(at, Workload::Set, 1, 1)));
    rows.extend([10, 100].map(|sessions| row(At::All, Workload::Set, sessions, 1)));
    rows.push(row(At::Followers, Workload::Get, 10, 1));
    rows
}

/// An ensemble that takes part.
struct Rival<'a> {
    ensemble: Ensemble<'a>,
    column: Column,
    leader: usize,
}

impl<'a> Rival<'a> {
    /// Starts three empty servers at once, and measures when the first write is acknowledged.
    fn start(c: &'a Comparison, nth: usize) -> io::Result<Rival<'a>> {
        let kind = &c.kinds[nth];
        let port = c.port + nth as u16 * PORTS;
        let dir = c.work_dir.join(format!("{}-{port}-ensemble", kind.name));
        let begin = Instant::now();
        let mut ensemble = Ensemble::spawn(kind, &dir, port, c.snap_count)?;
        let first = Writer::new(&ensemble.addrs()).write()? - begin;
        let leader = ensemble.settle()?;
        let mut column = Column::new(&compare::name(kind, ensemble.server(leader))?);
        column.add("start of three, empty, to the first write", "ms", Better::Less, millis(first));
        Ok(Rival { ensemble, column, leader })
    }

    fn addrs(&self, at: At) -> Vec<SocketAddr> {
        (0..SERVERS).filter(|&i| at.takes(i, self.leader)).map(|i| self.ensemble.addr(i)).collect()
    }

    fn run(&mut self, at: At, plan: &Plan) -> io::Result<Report> {
        self.leader = self.ensemble.settle()?;
        load::run(&self.addrs(at), plan, &self.ensemble.pids())
    }
}

/// Runs everything on every kind of server; one column for each.
pub fn run(c: &Comparison, faults: &Faults) -> io::Result<Vec<Column>> {
    let mut rivals = Vec::new();
    for nth in 0..c.kinds.len() {
        let rival = Rival::start(c, nth)?;
        load::preload(rival.ensemble.addr(rival.leader), c.nodes, c.value_size)?;
        rivals.push(rival);
    }
    let rows = rows(c);
    // A virtual machine compiles what it finds hot: it is given every load before any number counts.
    for rival in &mut rivals {
        for row in rows.iter().filter(|row| row.plan.depth > 1) {
            rival.run(row.at, &Plan { warm_up: c.warm_up * 3, ..row.plan })?;
        }
    }
    for row in &rows {
        let mut best: Vec<Option<Report>> = rivals.iter().map(|_| None).collect();
        for _ in 0..c.rounds {
            for (rival, best) in rivals.iter_mut().zip(&mut best) {
                let report = rival.run(row.at, &row.plan)?;
                if best.as_ref().is_none_or(|best| best.per_second() < report.per_second()) {
                    *best = Some(report);
                }
            }
        }
        for (rival, report) in rivals.iter_mut().zip(best.into_iter().flatten()) {
            if row.plan.depth > 1 {
                rival.column.add_throughput(&row.what, &report);
            } else {
                rival.column.add_latency(&row.what, &report);
            }
        }
    }
    let mut columns = Vec::new();
    for (nth, mut rival) in rivals.into_iter().enumerate() {
        catch_up(c, faults, &mut rival)?;
        leader_goes(faults, &mut rival, "leader killed", kill)?;
        leader_goes(faults, &mut rival, "leader stopped", stop)?;
        if !c.kinds[nth].is_java {
            leader_goes(faults, &mut rival, "leader hands over", hand_over)?;
        }
        rival.ensemble.remove()?;
        columns.push(rival.column);
    }
    Ok(columns)
}

/// Takes the leader away again and again under a client that writes without a pause, which is in turn a client of the
/// leader and of a follower. `go` takes it away once and tells how long the client was without an answer.
fn leader_goes(
    faults: &Faults,
    rival: &mut Rival<'_>,
    what: &str,
    go: fn(&mut Ensemble<'_>, usize, &mut Writer) -> io::Result<Duration>,
) -> io::Result<()> {
    let mut writer = Writer::new(&rival.ensemble.addrs());
    let mut gaps = Vec::new();
    for round in 0..faults.rounds {
        let leader = rival.ensemble.settle()?;
        writer.move_to((leader + round as usize % 2) % SERVERS);
        for _ in 0..100 {
            writer.write()?;
        }
        gaps.push(go(&mut rival.ensemble, leader, &mut writer)?);
        rival.ensemble.settle()?;
    }
    gaps.sort();
    let what = format!("{what}: longest time without an acknowledged write");
    rival.column.add(&what, "median ms", Better::Less, millis(gaps[gaps.len() / 2]));
    rival.column.add(&what, "max ms", Better::Less, millis(gaps[gaps.len() - 1]));
    Ok(())
}

/// Until the next write is acknowledged. Nothing is written until the process is gone, so it cannot be the old
/// leader's.
fn kill(ensemble: &mut Ensemble<'_>, leader: usize, writer: &mut Writer) -> io::Result<Duration> {
    let begin = Instant::now();
    ensemble.take(leader).kill()?;
    let gap = writer.write()? - begin;
    ensemble.restart(leader)?;
    Ok(gap)
}

fn stop(ensemble: &mut Ensemble<'_>, leader: usize, writer: &mut Writer) -> io::Result<Duration> {
    let begin = Instant::now();
    let mut server = ensemble.take(leader);
    server.signal(Signal::TERM)?;
    let gap = writer.longest_gap(begin, || server.has_ended())?;
    ensemble.restart(leader)?;
    Ok(gap)
}

/// What Serval's leader does on SIGUSR1: a follower that has everything takes over, and the process goes on.
fn hand_over(ensemble: &mut Ensemble<'_>, leader: usize, writer: &mut Writer) -> io::Result<Duration> {
    /// Asking costs a turn of the server, so it is not done after every write.
    const ASKED_EACH: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    ensemble.server(leader).signal(Signal::USR1)?;
    let mut asked = begin;
    writer.longest_gap(begin, || {
        if asked.elapsed() < ASKED_EACH {
            return Ok(false);
        }
        asked = Instant::now();
        if begin.elapsed() > Duration::from_secs(30) {
            return Err(io::Error::other("the leader was asked to hand over and still leads"));
        }
        Ok(ensemble.mode(leader).as_deref() == Some("follower"))
    })
}

/// A follower misses transactions, and is started again while writes go on.
fn catch_up(c: &Comparison, faults: &Faults, rival: &mut Rival<'_>) -> io::Result<()> {
    let leader = rival.ensemble.settle()?;
    let absent = (leader + 1) % SERVERS;
    rival.leader = leader;
    rival.ensemble.take(absent).stop()?;
    let base = Plan {
        workload: Workload::Set,
        value_size: c.value_size,
        nodes: c.nodes,
        warm_up: Duration::ZERO,
        ..Plan::DEFAULT
    };
    let addr = [rival.ensemble.addr(leader)];
    load::run(&addr, &Plan { length: Length::Operations(faults.behind), ..base }, &[])?;
    // Statistics begin anew, the leader's longest turn among them.
    four_letter_word(addr[0], "srst")?;

    let steady = Plan { length: Length::Time(c.steady_time), rate: Some(faults.behind_rate), ..base };
    let (synced, report) = std::thread::scope(|scope| -> io::Result<_> {
        let load = scope.spawn(|| load::run(&addr, &steady, &[]));
        let begin = Instant::now();
        rival.ensemble.restart(absent)?;
        rival.ensemble.settle()?;
        let synced = begin.elapsed();
        let report = load.join().expect("the load does not panic")?;
        Ok((synced, report))
    })?;
    let late = format!("follower {} transactions behind", count(faults.behind));
    let column = &mut rival.column;
    column.add(&format!("{late}: start of its process to synced"), "ms", Better::Less, millis(synced));
    let what = format!("{late}: {} sets/s meanwhile", count(faults.behind_rate));
    column.add(&what, "p99 ms", Better::Less, report.quantile(0.99) / 1000.0);
    column.add(&what, "longest stall ms", Better::Less, millis(report.stall));
    for (key, unit) in
        [("zk_max_turn_time_ms", "longest turn ms"), ("zk_slow_turn_count", "turns above 5 ms")]
    {
        if let Some(value) = compare::mntr(addr[0], key)? {
            column.add(&format!("{late}: the leader's reactor"), unit, Better::Less, value);
        }
    }
    Ok(())
}
