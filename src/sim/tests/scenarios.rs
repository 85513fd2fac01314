//! Known bugs of ZooKeeper's replication as schedules, at the level of whole servers: those that the tests of the machines
//! cannot show, because logs, snapshots and restarts take part.

use super::super::client::Happened;
use super::super::model::Write;
use super::super::node::Shell;
use super::super::world::MS;
use super::*;
use crate::quorum::membership::Role;

const LONG: u64 = 1_000_000;

/// Three servers that lead a quiet life, and clients that do only what they are told.
fn quiet(options: SimOptions) -> World {
    quiet_from(7, options)
}

fn quiet_from(seed: u64, options: SimOptions) -> World {
    let faults = Faults { fail_job: u64::MAX, ..Faults::none() };
    let mut world = World::new(seed, SimOptions { clients: 2, faults, ..options });
    for client in &mut world.clients {
        client.quiet = true;
    }
    world
}

fn ok<T>(outcome: Result<T, Failure>) -> T {
    outcome.unwrap_or_else(|failure| panic!("{failure}"))
}

impl World {
    /// Runs until something is so.
    fn wait(&mut self, what: &str, is_so: impl Fn(&World) -> bool) -> Result<(), Failure> {
        let end = self.now + 30_000 * MS;
        self.run_while(end, |world| !is_so(world))?;
        if is_so(self) {
            Ok(())
        } else {
            Err(self.failure(format!("waited in vain until {what}: {}", self.roles())))
        }
    }

    /// All servers serve; who leads.
    fn wait_for_leader(&mut self) -> Result<usize, Failure> {
        self.wait("all serve", World::all_serve)?;
        Ok(self.leader().expect("one leads if all serve"))
    }

    fn connect(&mut self, client: usize, server: usize) -> Result<(), Failure> {
        self.clients[client].prefers = Some(server);
        self.tell_client(client, Happened::Timeout);
        self.wait("the client has a session", |world| world.clients[client].is_ready())
    }

    /// Asks for nodes of this name, and does not wait for answers.
    fn create(&mut self, client: usize, name: &str, count: u32) {
        for number in 0..count {
            let path = format!("/{name}{number}");
            let data = b"x".to_vec();
            self.ask(client, Write::Create { path, data, ephemeral: false, sequential: false });
        }
    }

    /// Asks for nodes of this name to be changed.
    fn change(&mut self, client: usize, name: &str, count: u32) {
        for number in 0..count {
            let path = format!("/{name}{number}");
            self.ask(client, Write::Set { path, data: b"changed".to_vec(), version: -1 });
        }
    }

    fn ask(&mut self, client: usize, write: Write) {
        let mut wants = Vec::new();
        let now = crate::time::Instant(self.now);
        assert!(
            self.clients[client].ask_write(now, write, &mut self.history, &mut wants),
            "it has a session"
        );
        self.do_for_client(client, wants);
    }

    fn has(&self, path: &str) -> bool {
        self.history.model.at(path, self.history.end()).is_some()
    }

    fn pass(&mut self, ms: u64) -> Result<(), Failure> {
        self.run_until(self.now + ms * MS)
    }

    fn shell(&self, node: usize) -> &Shell {
        self.nodes[node].shell.as_ref().expect("it is up")
    }
}

/// A leader logs what nobody else gets, and another one takes over. Returns who that first leader is.
fn a_leader_has_a_tail_of_its_own(world: &mut World, crashes: bool) -> Result<usize, Failure> {
    let old = world.wait_for_leader()?;
    world.connect(0, old)?;
    world.create(0, "before", 8);
    world.wait("it is served", |world| world.clients[0].is_idle())?;
    world.inflict(Fault::Isolate { node: old, ms: LONG });
    world.create(0, "lost", 6);
    world.change(0, "before", 8);
    world.pass(300)?;
    if crashes {
        world.crash(old, false);
    }
    world.wait("another one leads", |world| world.leader().is_some_and(|leader| leader != old))?;
    world.wait("the old one looks again", |world| {
        world.nodes[old].shell.as_ref().is_some_and(|shell| shell.member.is_looking())
    })?;
    assert!(!world.has("/lost0") && world.has("/before7"));
    Ok(old)
}

/// The present leader's client writes.
fn the_new_leader_writes(world: &mut World) -> Result<(), Failure> {
    let leader = world.leader().expect("one leads");
    world.connect(1, leader)?;
    // A second time they are there already, which is an answer too.
    world.create(1, "kept", 10);
    world.wait("it is served", |world| world.clients[1].is_idle())
}

/// The old leader comes back, while `disturb` is done to it as soon as it begins what `begins` says.
fn comes_back(
    world: &mut World,
    old: usize,
    begins: impl Fn(&Shell) -> bool,
    disturb: impl Fn(&Shell),
) -> Result<(), Failure> {
    world.heal();
    world.wait("it is brought into step", |world| {
        world.nodes[old].shell.as_ref().is_some_and(|shell| begins(shell))
    })?;
    disturb(world.shell(old));
    world.wait_for_leader()?;
    the_new_leader_writes(world)?;
    world.calm_down()?;
    assert!(!world.has("/lost0") && world.has("/kept9"));
    Ok(())
}

fn by_transactions() -> SimOptions {
    SimOptions { committed_log_max: 200, snapshot_every: 1000, ..SimOptions::default() }
}

fn by_image() -> SimOptions {
    SimOptions { committed_log_max: 3, log_share: -1.0, snapshot_every: 1000, ..SimOptions::default() }
}

#[test]
fn zookeeper_1549_and_2845_a_restart_with_a_tail_that_nobody_has_leaves_no_trace_of_it() {
    let mut world = quiet(by_transactions());
    let old = ok(a_leader_has_a_tail_of_its_own(&mut world, true));
    ok(comes_back(&mut world, old, |_| true, |_| {}));
    assert!(world.nodes[old].life > 1, "it was restarted");
}

/// A snapshot that runs while its server stops to lead ends with transactions under a zxid from before them. TRUNC goes by
/// the name and keeps it.
#[test]
fn b1_a_snapshot_that_runs_when_a_role_ends_has_nothing_uncommitted() {
    // How slow the disk must be for the snapshot to end in between is a matter of luck.
    let run = |factor| {
        let options = SimOptions { snapshot_every: 12, ..by_transactions() };
        let mut world = quiet(options);
        let old = world.wait_for_leader()?;
        world.inflict(Fault::SlowDisk { node: old, factor, ms: LONG });
        let old = a_leader_has_a_tail_of_its_own(&mut world, false)?;
        world.pass(700)?;
        comes_back(&mut world, old, |_| true, |_| {})
    };
    let factors = (60..200).step_by(20);
    for factor in factors {
        ok(run(factor));
    }
}

/// A quorum commits ahead of the leader's own disk, whose snapshot goes on meanwhile. The process ends before the log is
/// there: nothing of what was only in the log may be in the snapshot.
#[test]
fn a_snapshot_never_shows_what_a_crash_takes_out_of_the_log() {
    let found = (0..10).find_map(|seed| {
        let early = SimOptions { sabotage: Some(Sabotage::SnapshotAheadOfLog), ..by_transactions() };
        crash_while_the_log_is_behind(early, seed).err()
    });
    assert!(found.is_some_and(|failure| failure.what.contains("a tree with digest")), "it could be seen");
    let behind = (0..10).filter(|seed| ok(crash_while_the_log_is_behind(by_transactions(), *seed)));
    assert!(behind.count() > 0, "no quorum was ahead of the leader's disk");
}

/// The leader loses its power while it waits for its disk, and its ensemble does not. Whether it was behind.
fn crash_while_the_log_is_behind(options: SimOptions, seed: u64) -> Result<bool, Failure> {
    let mut world = quiet_from(seed, SimOptions { snapshot_every: 12, ..options });
    let leader = world.wait_for_leader()?;
    world.connect(0, (leader + 1) % 3)?;
    world.create(0, "before", 60);
    world.wait("it is served", |world| world.clients[0].is_idle())?;
    // The snapshots of these have come to their end.
    world.pass(500)?;
    world.inflict(Fault::SlowDisk { node: leader, factor: 400, ms: LONG });
    world.create(0, "slow", 1);
    world.wait("the disk is asked", |world| world.shell(leader).syncs_log())?;
    world.nodes[leader].disk_slowness = 1;
    for round in 0..60 {
        world.create(0, &format!("r{round}-"), 1);
        world.pass(1)?;
    }
    let behind = world.history.end() > world.shell(leader).log_synced();
    world.crash(leader, true);
    world.wait("it starts again", |world| world.nodes[leader].shell.is_some())?;
    world.calm_down()?;
    Ok(behind)
}

#[test]
fn zookeeper_5094_and_1489_a_cut_that_is_interrupted_anywhere_is_done_again() {
    for operations in 0..14 {
        let mut world = quiet(by_transactions());
        let old = ok(a_leader_has_a_tail_of_its_own(&mut world, false));
        ok(comes_back(&mut world, old, Shell::loads_next, |shell| shell.disk.cut_after(operations)));
    }
}

#[test]
fn zookeeper_3701_a_cut_that_fails_ends_the_process() {
    for operations in 0..5 {
        let mut world = quiet(by_transactions());
        let old = ok(a_leader_has_a_tail_of_its_own(&mut world, false));
        let life = world.nodes[old].life;
        ok(comes_back(&mut world, old, Shell::loads_next, |shell| shell.disk.fail_after(operations)));
        assert!(world.nodes[old].life > life, "it went on after a failure at operation {operations}");
    }
}

#[test]
fn b5_and_zookeeper_2872_an_image_that_is_interrupted_anywhere_leaves_one_history() {
    for operations in 0..20 {
        let mut world = quiet(by_image());
        let old = ok(a_leader_has_a_tail_of_its_own(&mut world, true));
        ok(the_new_leader_writes(&mut world));
        ok(comes_back(&mut world, old, Shell::saves_image, |shell| shell.disk.cut_after(operations)));
        assert_eq!(world.shell(old).syncs()[2], 0, "no log was cut, it got images");
    }
}

/// A follower has logged what its leader never committed, and leads without a restart: what it serves is its log.
#[test]
fn zookeeper_3642_and_2678_who_leads_without_a_restart_has_all_that_it_logged() {
    let mut world = quiet(by_transactions());
    let old = ok(world.wait_for_leader());
    let (next, third) = ((old + 1) % 3, (old + 2) % 3);
    ok(world.connect(0, old));
    world.inflict(Fault::Pause { node: third, ms: 3000 });
    world.inflict(Fault::Block { from: next, to: old, ms: LONG });
    world.create(0, "maybe", 3);
    ok(world.wait("the follower has logged it", |world| {
        world.shell(next).log_end() == world.shell(old).log_end()
    }));
    ok(world.pass(100));
    assert!(!world.has("/maybe0"), "nobody has heard that it is there");
    world.inflict(Fault::Isolate { node: old, ms: LONG });
    ok(world.wait("the follower leads", |world| world.leader() == Some(next)));
    assert!(world.has("/maybe2"));
    assert_eq!(world.nodes[next].life, 1, "it was not restarted");
    ok(world.calm_down());
}

#[test]
fn zookeeper_2307_2354_and_1387_the_power_may_go_at_any_time_of_a_first_election() {
    for operations in (0..48).step_by(2) {
        let mut world = quiet(SimOptions::default());
        ok(world.wait("it is up", |world| world.nodes[0].shell.is_some()));
        world.shell(0).disk.cut_after(operations);
        ok(world.wait_for_leader());
        ok(world.connect(0, 0));
        world.create(0, "a", 3);
        ok(world.calm_down());
    }
}

/// Whatever is written in an epoch's change can be interrupted; elections afterwards find the right history.
#[test]
fn zookeeper_4643_the_power_may_go_while_an_epoch_is_written() {
    for operations in 0..6 {
        let mut world = quiet(by_transactions());
        let old = ok(a_leader_has_a_tail_of_its_own(&mut world, true));
        ok(comes_back(&mut world, old, Shell::writes_epoch_next, |shell| shell.disk.cut_after(operations)));
    }
}

#[test]
fn leadership_is_handed_over_without_a_loss() {
    let mut world = quiet(by_transactions());
    let old = ok(world.wait_for_leader());
    ok(world.connect(0, (old + 1) % 3));
    world.create(0, "a", 20);
    ok(world.pass(2));
    world.inflict(Fault::HandOver { node: old });
    ok(world.wait("another one leads", |world| world.leader().is_some_and(|leader| leader != old)));
    ok(world.calm_down());
}

fn reconfigurable() -> SimOptions {
    SimOptions { reconfigurable: true, ..by_transactions() }
}

/// The leader asks the others, who do not hear it, to make one of them an observer; and comes back. With a crash its
/// files still say that the two who are left decide, and it cannot hear itself agree.
#[test]
fn a_reconfiguration_that_was_proposed_in_vain_holds_nobody_up() {
    for crashes in [false, true] {
        let mut world = quiet(reconfigurable());
        let old = ok(world.wait_for_leader());
        ok(world.connect(0, old));
        world.inflict(Fault::Isolate { node: old, ms: LONG });
        world.inflict(Fault::Reconfigure { node: (old + 1) % 3, role: Some(Role::Observer) });
        ok(world.pass(300));
        let seen = |world: &World| world.shell(old).member.views().last_seen().clone();
        let proposed = seen(&world);
        assert_eq!(proposed.participants().count(), 2);
        if crashes {
            world.crash(old, false);
        }
        ok(world.wait("another one leads", |world| world.leader().is_some_and(|leader| leader != old)));
        ok(the_new_leader_writes(&mut world));
        world.heal();
        ok(world.wait_for_leader());
        assert!(seen(&world).version < proposed.version, "it is forgotten with the history that had it");
        ok(world.calm_down());
    }
}

/// Two of five decide from now on; the power goes at the other three, and they hear nobody but each other.
fn three_who_have_lost_their_votes_are_left_alone(sabotage: Option<Sabotage>) -> Result<(), Failure> {
    let mut world = quiet(SimOptions { voters: 5, sabotage, ..reconfigurable() });
    let leader = world.wait_for_leader()?;
    let (second, others) = ((leader + 1) % 5, [2, 3, 4].map(|at| (leader + at) % 5));
    world.connect(0, leader)?;
    for node in others {
        world.inflict(Fault::Reconfigure { node, role: Some(Role::Observer) });
        world.wait("it is granted", |world| world.clients[0].is_idle())?;
    }
    let members = world.shell(leader).member.views().committed();
    assert_eq!(members.participants().count(), 2);
    world.wait("all know", World::all_serve)?;
    for from in others {
        for to in [leader, second] {
            world.inflict(Fault::Block { from, to, ms: LONG });
            world.inflict(Fault::Block { from: to, to: from, ms: LONG });
        }
    }
    world.create(0, "kept", 5);
    world.wait("the two have it", |world| world.clients[0].is_idle())?;
    for node in others {
        world.crash(node, true);
    }
    world.pass(15_000)?;
    assert_eq!(world.leader(), Some(leader));
    world.calm_down()?;
    assert!(world.has("/kept4"));
    Ok(())
}

#[test]
fn who_has_lost_its_vote_never_votes_again() {
    ok(three_who_have_lost_their_votes_are_left_alone(None));
}

/// What the checks are worth: with a defect in every server they find it.
fn is_found_out(sabotage: Sabotage, faults: Faults, options: SimOptions) {
    let found = (0..SEEDS_MAX).find_map(|seed| {
        let options = SimOptions { sabotage: Some(sabotage), faults, stormy_ms: 6000, ..options.clone() };
        World::new(seed, options).run().err()
    });
    let failure = found.unwrap_or_else(|| panic!("{SEEDS_MAX} seeds do not find {sabotage:?}"));
    println!("{sabotage:?}: {failure}");
}

const SEEDS_MAX: u64 = 60;

/// The power goes everywhere, again and again.
fn dark() -> Faults {
    Faults { blackout: 8, isolate: 8, cut_job: 0, ..Faults::default() }
}

#[test]
fn a_sync_that_is_reported_and_not_done_is_found_out() {
    is_found_out(Sabotage::NoSync, dark(), by_transactions());
}

#[test]
fn a_sync_that_is_reported_before_it_is_done_is_found_out() {
    is_found_out(Sabotage::EarlySync, Faults { slow_disk: 20, blackout: 30, ..dark() }, by_transactions());
}

#[test]
fn epochs_that_are_reported_and_not_written_are_found_out() {
    is_found_out(Sabotage::NoEpochs, dark(), by_transactions());
}

#[test]
fn memberships_that_are_not_written_are_found_out() {
    let failure = three_who_have_lost_their_votes_are_left_alone(Some(Sabotage::NoMemberships));
    println!("{}", failure.expect_err("the three have chosen a leader of their own"));
}
