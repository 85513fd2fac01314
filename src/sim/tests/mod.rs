//! Seeds of ensembles under all kinds of faults. A failure names its seed; `serval-sim --trace SEED` tells its story.

mod scenarios;

use super::*;

/// A run's report, unless a rule was broken.
fn run(seed: u64, options: SimOptions) -> Report {
    World::new(seed, options).run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// The reports of these seeds, added up where that means something.
fn run_all(seeds: std::ops::Range<u64>, options: impl Fn(u64) -> SimOptions) -> Report {
    let mut sum =
        Report { trace: 0, reigns: 0, writes: 0, reads: 0, events: 0, crashes: 0, steps: 0, syncs: [0; 3] };
    for seed in seeds {
        // If the code under test panics, this is the last line.
        println!("seed {seed}");
        let report = run(seed, options(seed));
        sum.reigns += report.reigns;
        sum.writes += report.writes;
        sum.reads += report.reads;
        sum.events += report.events;
        sum.crashes += report.crashes;
        for (sum, n) in sum.syncs.iter_mut().zip(report.syncs) {
            *sum += n;
        }
    }
    sum
}

/// Storms short enough for a test.
fn short(seed: u64) -> SimOptions {
    let options = SimOptions::of_seed(seed);
    SimOptions { voters: 3, observers: 0, clients: options.clients.min(4), stormy_ms: 5000, ..options }
}

#[test]
fn two_runs_of_one_seed_are_the_same_run() {
    let options = SimOptions { stormy_ms: 3000, ..SimOptions::default() };
    assert_eq!(run(42, options.clone()), run(42, options));
}

#[test]
fn three_servers_keep_every_rule_under_faults() {
    let sum = run_all(1000..1014, short);
    assert!(sum.reigns > 14 && sum.crashes > 14, "faults happen: {sum:?}");
    assert!(sum.writes > 1000 && sum.reads > 1000 && sum.events > 100, "clients are served: {sum:?}");
    assert!(sum.syncs[0] > 0 && sum.syncs[1] > 0, "learners are sent transactions, and images: {sum:?}");
}

#[test]
fn five_servers_and_an_observer_keep_every_rule_under_faults() {
    run_all(2000..2006, |seed| SimOptions { voters: 5, observers: 1, ..short(seed) });
}

#[test]
fn two_servers_with_an_observer_keep_every_rule_under_faults() {
    run_all(3000..3006, |seed| SimOptions { voters: 2, observers: 1, ..short(seed) });
}

#[test]
fn memberships_that_change_under_faults_keep_every_rule() {
    let faults = Faults { reconfigure: 10, ..Faults::default() };
    let change = |seed| SimOptions { reconfigurable: true, faults, observers: 1, ..short(seed) };
    run_all(5000..5006, change);
    // Observers behind followers that know of the change, or do not yet.
    run_all(5010..5014, |seed| SimOptions { masters: true, ..change(seed) });
}

#[test]
fn epochs_that_run_out_of_zxids_keep_every_rule_under_faults() {
    let sum = run_all(7000..7004, |seed| SimOptions { counter_end: 20, ..short(seed) });
    assert!(sum.reigns > 2 * sum.crashes as usize, "they run out: {sum:?}");
}

#[test]
fn local_sessions_keep_every_rule_under_faults() {
    run_all(6000..6004, |seed| SimOptions { local_sessions: true, ..short(seed) });
}

#[test]
fn full_and_failing_disks_cost_a_life_and_nothing_else() {
    let faults = Faults { disk_full: 4, fail_job: 200, ..Faults::default() };
    run_all(4000..4006, |seed| SimOptions { faults, ..short(seed) });
}
