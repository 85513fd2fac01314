//! A whole ensemble with its clients, in one thread, from one seed.
//!
//! The world keeps one queue of what happens when. It takes the next event, lets the one whom it concerns act, and puts
//! what follows into the queue. Chance decides how long everything takes and what breaks; all of it comes from the seed.
//!
//! A run has two parts. In the first everything breaks that may. In the second nothing does: the ensemble must then find
//! a leader, serve every client, and come to the same tree everywhere, in bounded time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::client::{Client, Habits, Happened, Want};
use super::faults::{Fault, Faults};
use super::history::History;
use super::network::{Arrival, End, Network, Place, Port, Weather};
use super::node::{Lane, MASTER_PORT, Node, Order, Sabotage, Setup, Stop, Turn};
use super::random::Random;
use super::trace::Trace;
use crate::auth::Auth;
use crate::ids::{ServerId, Zxid};
use crate::member::{DialId, Settings};
use crate::pipeline::Rules;
use crate::quorum::election::Pace;
use crate::quorum::membership::{Membership, Role};
use crate::quorum::views::Views;
use crate::quorum::zab::Limits;
use crate::server::{Options, Serving};
use crate::state::LoadSettings;
use crate::storage::{LoadOptions, LogOptions};
use crate::time::{Instant, Millis};
use crate::tree::{Tree, TreeOptions};

pub const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Time in which an ensemble without faults must be whole again.
const HEALING_MAX: u64 = 30 * SECOND;

/// Timers that may fire at one moment before somebody is said to spin.
const SPINS_MAX: u32 = 1000;

/// Bytes on their way in one direction of a connection through a network that holds up nobody.
const ROOM_MAX: usize = 1 << 20;

const LEN_MAX: usize = 1 << 20;

const QUORUM_PORT: u16 = 2888;

/// What a run is made of. Everything else comes from the seed.
#[derive(Clone, Debug)]
pub struct SimOptions {
    pub voters: usize,
    pub observers: usize,
    pub clients: usize,
    /// How long faults go on, in milliseconds.
    pub stormy_ms: u64,
    pub faults: Faults,
    /// `reconfigEnabled=true`
    pub reconfigurable: bool,
    /// Followers serve observers.
    pub masters: bool,
    /// Where an epoch has no zxid left.
    pub counter_end: u32,
    /// `localSessionsEnabled=true`, and they are upgraded.
    pub local_sessions: bool,
    /// Transactions that a server keeps in memory for learners that are not far behind.
    pub committed_log_max: usize,
    pub snapshot_every: u64,
    /// `snapshotSizeFactor`; negative: learners are never sent the log files.
    pub log_share: f64,
    /// A defect of every server's shell.
    pub sabotage: Option<Sabotage>,
    /// Each event as a line.
    pub lines: Option<fn(&str)>,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            voters: 3,
            observers: 0,
            clients: 4,
            stormy_ms: 8000,
            faults: Faults::default(),
            reconfigurable: false,
            masters: false,
            counter_end: u32::MAX,
            local_sessions: false,
            committed_log_max: 20,
            snapshot_every: 60,
            log_share: 0.33,
            sabotage: None,
            lines: None,
        }
    }
}

impl SimOptions {
    /// A run whose size is drawn from its seed as well.
    pub fn of_seed(seed: u64) -> SimOptions {
        let mut random = Random::new(seed ^ 0x5eed);
        SimOptions {
            voters: *random.pick(&[3, 3, 3, 5]),
            observers: *random.pick(&[0, 0, 1]),
            clients: random.between(2, 6) as usize,
            committed_log_max: *random.pick(&[3, 20, 200]),
            snapshot_every: *random.pick(&[15, 60, 300]),
            log_share: *random.pick(&[-1.0, 0.0, 0.33]),
            ..SimOptions::default()
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub reigns: usize,
    pub writes: u64,
    pub reads: u64,
    pub events: u64,
    pub crashes: u64,
    pub steps: u64,
    /// Learners that were sent transactions, learners that were sent an image, and logs that were cut.
    pub syncs: [u64; 3],
}

/// A rule that was broken, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub at_ms: u64,
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {} at {} ms: {}", self.seed, self.at_ms, self.what)
    }
}

#[derive(Debug)]
enum Happens {
    Arrive(End),
    /// The sender at this end has waited for room.
    Room(End),
    /// A dial has come to its target.
    Knock {
        from: Place,
        life: u64,
        to: usize,
        port: Port,
        dial: DialId,
    },
    Answered {
        from: Place,
        life: u64,
        to: usize,
        port: Port,
        dial: DialId,
        end: Option<End>,
    },
    NodeTimer {
        node: usize,
        life: u64,
    },
    ClientTimer(usize),
    Work {
        node: usize,
        life: u64,
        lane: Lane,
    },
    NextFault,
    Mend(Fault),
    Start(usize),
}

struct Queued {
    at: u64,
    number: u64,
    happens: Happens,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        self.number == other.number
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub struct World {
    pub seed: u64,
    pub options: SimOptions,
    pub now: u64,
    pub random: Random,
    pub network: Network,
    pub nodes: Vec<Node>,
    pub clients: Vec<Client>,
    pub history: History,
    pub trace: Trace,
    queue: BinaryHeap<Reverse<Queued>>,
    numbers: u64,
    /// When each server's and client's timer is set for.
    node_timers: Vec<u64>,
    client_timers: Vec<u64>,
    large: bool,
    storming: bool,
    crashes: u64,
    steps: u64,
    /// See [`super::node::Shell::syncs`]; of lives that are over.
    syncs: [u64; 3],
    spins: (u64, u32),
}

impl World {
    /// All servers start at once, with empty disks.
    pub fn new(seed: u64, options: SimOptions) -> World {
        let mut random = Random::new(seed);
        let delay_min_us = random.between(20, 300);
        // Now and then a tree so large that its image is made in parts, while it changes.
        let large = random.one_in(6);
        let weather = Weather {
            delay_min_us,
            delay_max_us: delay_min_us + *random.pick(&[100, 1000, 5000, 15_000]),
            straggler: *random.pick(&[0, 20, 100]),
            room: *random.pick(if large { &[50_000, 200_000] } else { &[600, 5000, ROOM_MAX, ROOM_MAX] }),
            piece_max: *random.pick(if large { &[1400, 65536] } else { &[64, 1400] }),
        };
        let servers = options.voters + options.observers;
        let text: String = (1..=servers)
            .map(|sid| {
                let role = if sid <= options.voters { Role::Participant } else { Role::Observer };
                format!("{}\n", server_line(sid, QUORUM_PORT, role))
            })
            .collect();
        let membership = Membership::from_text(text.as_bytes()).expect("a good membership");
        let habits = Habits {
            session_timeout: Millis(random.between(1000, 4000)),
            pause_max_us: *random.pick(&[10_000, 40_000, 120_000]),
            pipeline_max: random.between(1, 6) as usize,
            roots: 3,
            names: 4,
            local_sessions: options.local_sessions,
            data_max: if large { 100_000 } else { *random.pick(&[100, 2000]) },
        };
        let clients =
            (0..options.clients).map(|name| Client::new(name, servers, habits, random.fork())).collect();
        let tree = tree_options();
        let mut world = World {
            seed,
            now: SECOND,
            network: Network::new(random.fork(), weather),
            nodes: (0..servers).map(|place| Node::new(place, membership.clone())).collect(),
            clients,
            history: History::new(Tree::new(tree).digest()),
            trace: Trace::new(options.lines),
            queue: BinaryHeap::new(),
            numbers: 0,
            node_timers: vec![u64::MAX; servers],
            client_timers: vec![u64::MAX; options.clients],
            large,
            storming: true,
            crashes: 0,
            steps: 0,
            syncs: [0; 3],
            spins: (0, 0),
            random,
            options,
        };
        for node in 0..servers {
            let at = world.now + world.random.below(300 * MS);
            world.at(at, Happens::Start(node));
        }
        for client in 0..world.clients.len() {
            world.set_client_timer(client);
        }
        let first = world.now + world.random.below(2 * SECOND);
        world.at(first, Happens::NextFault);
        world
    }

    /// A storm of faults, and then the calm in which everything must be well.
    pub fn run(mut self) -> Result<Report, Failure> {
        let end = self.now + self.options.stormy_ms * MS;
        self.run_until(end)?;
        self.calm_down()?;
        Ok(self.report())
    }

    /// Faults end, and the ensemble becomes whole.
    pub fn calm_down(&mut self) -> Result<(), Failure> {
        self.heal();
        let end = self.now + HEALING_MAX;
        self.run_while(end, |world| !world.all_serve())?;
        if !self.all_serve() {
            return Err(self.failure(format!(
                "no ensemble {} s after the last fault: {}",
                HEALING_MAX / SECOND,
                self.roles()
            )));
        }
        // Every client gets a session and its answers, and then rests.
        let end = self.now + HEALING_MAX;
        let wanted: Vec<u64> =
            self.clients.iter().map(|client| if client.quiet { 0 } else { client.answers + 5 }).collect();
        let unserved = |world: &World| {
            world.clients.iter().zip(&wanted).position(|(client, wanted)| client.answers < *wanted)
        };
        self.run_while(end, |world| unserved(world).is_some())?;
        if let Some(client) = unserved(self) {
            return Err(
                self.failure(format!("client {client} is not served without faults: {}", self.roles()))
            );
        }
        for client in &mut self.clients {
            client.quiet = true;
        }
        let end = self.now + HEALING_MAX;
        self.run_while(end, |world| !(world.all_agree() && world.clients.iter().all(Client::is_idle)))?;
        self.compare_servers()
    }

    pub fn report(&self) -> Report {
        let mut syncs = self.syncs;
        for node in &self.nodes {
            if let Some(shell) = &node.shell {
                for (sum, n) in syncs.iter_mut().zip(shell.syncs()) {
                    *sum += n;
                }
            }
        }
        Report {
            trace: self.trace.hash(),
            reigns: self.history.reigns(),
            writes: self.history.writes_answered,
            reads: self.history.reads_answered,
            events: self.history.events_seen,
            crashes: self.crashes,
            steps: self.steps,
            syncs,
        }
    }

    pub fn failure(&self, what: String) -> Failure {
        Failure { seed: self.seed, at_ms: self.now / MS, what }
    }

    pub fn run_until(&mut self, end: u64) -> Result<(), Failure> {
        self.run_while(end, |_| true)
    }

    /// Runs as long as `goes_on` is true, at most until `end`.
    pub fn run_while(&mut self, end: u64, goes_on: impl Fn(&World) -> bool) -> Result<(), Failure> {
        while goes_on(self) {
            if self.queue.peek().is_none_or(|Reverse(next)| next.at > end) {
                self.now = self.now.max(end);
                return Ok(());
            }
            let Some(Reverse(Queued { at, happens, .. })) = self.queue.pop() else { return Ok(()) };
            self.now = self.now.max(at);
            self.steps += 1;
            self.happen(happens);
            if let Some(what) = self.history.failure() {
                return Err(self.failure(what.to_string()));
            }
        }
        Ok(())
    }

    fn at(&mut self, at: u64, happens: Happens) {
        self.numbers += 1;
        self.queue.push(Reverse(Queued { at, number: self.numbers, happens }));
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Arrive(end) => self.arrive(end),
            Happens::Room(end) => self.make_room(end),
            Happens::Knock { from, life, to, port, dial } => self.knock(from, life, (to, port, dial)),
            Happens::Answered { from, life, to, port, dial, end } => {
                self.answered(from, life, (to, port, dial), end);
            }
            Happens::NodeTimer { node, life } => {
                if self.nodes[node].life != life || self.node_timers[node] > self.now {
                    return;
                }
                self.node_timers[node] = u64::MAX;
                if self.spins.0 != self.now {
                    self.spins = (self.now, 0);
                }
                self.spins.1 += 1;
                if self.spins.1 > SPINS_MAX {
                    self.history.fail(format_args!("server {} asks to be woken again and again", node + 1));
                }
                self.trace.note(self.now, "timer", &[node as u64]);
                self.with_node(node, Happens::NodeTimer { node, life }, |shell, now, turn| {
                    shell.on_timeout(now, turn)
                });
            }
            Happens::ClientTimer(client) => {
                if self.client_timers[client] <= self.now {
                    self.client_timers[client] = u64::MAX;
                    self.tell_client(client, Happened::Timeout);
                }
            }
            Happens::Work { node, life, lane } => {
                if self.nodes[node].life != life {
                    return;
                }
                self.trace.note(self.now, "work", &[node as u64, lane as u64]);
                let awake = self.nodes[node].paused_until <= self.now;
                let broken = self.storming && awake && self.perhaps_break_job(node);
                self.with_node(node, Happens::Work { node, life, lane }, |shell, now, turn| {
                    shell.work(now, turn, lane);
                    if broken {
                        shell.disk.spare();
                    }
                });
            }
            Happens::NextFault => {
                if self.storming {
                    self.next_fault();
                    let pause = self.options.faults.pause_max_ms * MS;
                    let next = self.now + 1 + self.random.below(pause);
                    self.at(next, Happens::NextFault);
                }
            }
            Happens::Mend(fault) => self.mend(fault),
            Happens::Start(node) => self.start(node),
        }
    }

    fn arrive(&mut self, end: End) {
        let Some((place, port)) = self.network.place_of(end) else { return };
        if let Place::Server(node) = place {
            let paused_until = self.nodes[node].paused_until;
            if paused_until > self.now {
                return self.at(paused_until, Happens::Arrive(end));
            }
        }
        let Some(arrival) = self.network.arrive(end) else { return };
        let len = if let Arrival::Bytes(bytes) = &arrival { bytes.len() as u64 } else { u64::MAX };
        self.trace.note(self.now, "arrive", &[end.0, len]);
        if self.network.made_room(end) {
            self.make_room(end.other());
        }
        match place {
            Place::Client(client) => {
                let happened = match arrival {
                    Arrival::Bytes(bytes) => Happened::Bytes(end, bytes),
                    Arrival::Closed => Happened::Closed(end),
                };
                self.tell_client(client, happened);
            }
            Place::Server(node) => {
                let _ = port;
                let life = self.nodes[node].life;
                self.with_node(node, Happens::NodeTimer { node, life }, |shell, now, turn| {
                    shell.on_arrival(now, turn, end, arrival);
                });
            }
        }
    }

    fn make_room(&mut self, end: End) {
        let Some((Place::Server(node), _)) = self.network.place_of(end) else { return };
        self.with_node(node, Happens::Room(end), |shell, now, turn| shell.on_room(now, turn, end));
    }

    fn dial(&mut self, from: Place, to: usize, port: Port, dial: DialId) {
        let life = self.life_of(from);
        let at = self.network.later(self.now);
        self.at(at, Happens::Knock { from, life, to, port, dial });
    }

    fn life_of(&self, place: Place) -> u64 {
        match place {
            Place::Server(node) => self.nodes[node].life,
            Place::Client(_) => 0,
        }
    }

    fn knock(&mut self, from: Place, life: u64, (to, port, dial): (usize, Port, DialId)) {
        if self.life_of(from) != life {
            return;
        }
        let target = Place::Server(to);
        let answered = self.network.later(self.now);
        if self.network.is_blocked(from, target) || self.network.is_blocked(target, from) {
            // Nobody answers; the dialer gives up after a while.
            let at = self.now + 500 * MS;
            return self.at(at, Happens::Answered { from, life, to, port, dial, end: None });
        }
        let node = &self.nodes[to];
        let listens = node.shell.as_ref().is_some_and(|shell| match port {
            Port::Learners(port) => shell.listens == Some(port),
            Port::Client | Port::Election => true,
        });
        if !listens {
            return self.at(answered, Happens::Answered { from, life, to, port, dial, end: None });
        }
        let paused_until = node.paused_until;
        if paused_until > self.now {
            // It stands in the backlog.
            return self.at(paused_until, Happens::Knock { from, life, to, port, dial });
        }
        let (near, far) = self.network.connect(from, target, port, answered);
        self.trace.note(self.now, "connect", &[near.0, to as u64]);
        self.at(answered, Happens::Answered { from, life, to, port, dial, end: Some(near) });
        let own = self.nodes[to].life;
        self.with_node(to, Happens::NodeTimer { node: to, life: own }, |shell, now, turn| {
            shell.on_accepted(now, turn, far, port, from);
        });
    }

    fn answered(&mut self, from: Place, life: u64, dialed: (usize, Port, DialId), end: Option<End>) {
        let (to, port, dial) = dialed;
        if self.life_of(from) != life {
            if let Some(end) = end {
                self.close(end);
            }
            return;
        }
        // What was reset before the dialer heard of it is a failed dial.
        let end = end.filter(|end| self.network.is_open(*end));
        match from {
            Place::Client(client) => {
                self.tell_client(client, end.map_or(Happened::DialFailed, Happened::Dialed));
            }
            Place::Server(node) => {
                let paused_until = self.nodes[node].paused_until;
                if paused_until > self.now {
                    return self.at(paused_until, Happens::Answered { from, life, to, port, dial, end });
                }
                self.with_node(node, Happens::NodeTimer { node, life }, |shell, now, turn| {
                    shell.on_dialed(now, turn, dialed, end);
                });
            }
        }
    }

    fn close(&mut self, end: End) {
        if let Some(at) = self.network.close(self.now, end) {
            self.at(at, Happens::Arrive(end.other()));
        }
    }

    /// Lets a server act, unless it is down; one that is paused acts later, and `again` brings it back.
    fn with_node(
        &mut self,
        node: usize,
        again: Happens,
        act: impl FnOnce(&mut super::node::Shell, crate::time::Now, &mut Turn<'_>),
    ) {
        let now = self.nodes[node].now(self.now);
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.now {
            if matches!(again, Happens::NodeTimer { .. }) {
                self.node_timers[node] = paused_until;
            }
            return self.at(paused_until, again);
        }
        let Some(mut shell) = self.nodes[node].shell.take() else { return };
        super::trace::set_place(self.now, node + 1);
        let mut orders = Vec::new();
        let mut turn = Turn {
            now: self.now,
            network: &mut self.network,
            history: &mut self.history,
            orders: &mut orders,
        };
        act(&mut shell, now, &mut turn);
        let outcome = shell.finish_turn(now, &mut turn);
        super::trace::set_place(self.now, 0);
        self.nodes[node].shell = Some(shell);
        self.carry_out(node, orders);
        match outcome {
            Ok(()) => self.set_node_timer(node),
            Err(stop) => self.stopped(node, &stop),
        }
    }

    /// A life has ended by itself.
    fn stopped(&mut self, node: usize, stop: &Stop) {
        self.trace.say(self.now, format_args!("server {} stops: {stop:?}", node + 1));
        let lost = matches!(stop, Stop::PowerCut);
        if let Stop::Storage(error) = stop
            && !self.options.faults.expects(error)
        {
            self.history.fail(format_args!("server {} stops: {error}", node + 1));
        }
        self.crash(node, lost);
    }

    fn carry_out(&mut self, node: usize, orders: Vec<Order>) {
        let life = self.nodes[node].life;
        for order in orders {
            match order {
                Order::Dial { to, port, dial } => self.dial(Place::Server(node), to, port, dial),
                Order::Arrivals { end, at } => {
                    for at in at {
                        self.at(at, Happens::Arrive(end));
                    }
                }
                Order::Work(lane) => {
                    let usual = match lane {
                        Lane::Syncs => self.random.between(100, 3000),
                        Lane::Files | Lane::History => self.random.between(50, 5000),
                    };
                    let at = self.now + 1000 * usual * self.nodes[node].disk_slowness;
                    self.at(at, Happens::Work { node, life, lane });
                }
            }
        }
    }

    fn set_node_timer(&mut self, node: usize) {
        let Some(shell) = &self.nodes[node].shell else { return };
        let wanted = shell.next_timeout().0;
        if wanted == u64::MAX {
            return;
        }
        // A sleep ends a little after its time, never before.
        let at = wanted.saturating_sub(self.nodes[node].mono_offset()).max(self.now);
        if at < self.node_timers[node] {
            self.node_timers[node] = at;
            let life = self.nodes[node].life;
            self.at(at, Happens::NodeTimer { node, life });
        }
    }

    fn set_client_timer(&mut self, client: usize) {
        let at = self.clients[client].next_timeout().0.max(self.now + 1);
        if at < self.client_timers[client] {
            self.client_timers[client] = at;
            self.at(at, Happens::ClientTimer(client));
        }
    }

    pub fn tell_client(&mut self, client: usize, happened: Happened) {
        let mut wants = Vec::new();
        self.clients[client].handle(Instant(self.now), happened, &mut self.history, &mut wants);
        self.do_for_client(client, wants);
    }

    pub fn do_for_client(&mut self, client: usize, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Dial(to) => self.dial(Place::Client(client), to, Port::Client, DialId(0)),
                Want::Send(end, mut bytes) => {
                    // A client's requests are small; what finds no room at once is what its socket would keep.
                    while !bytes.is_empty() {
                        let before = bytes.len();
                        for at in self.network.send(self.now, end, &mut bytes) {
                            self.at(at, Happens::Arrive(end.other()));
                        }
                        if bytes.len() == before {
                            // A full network: the client gives up on this server.
                            self.close(end);
                            self.tell_client(client, Happened::Closed(end));
                            break;
                        }
                    }
                }
                Want::Close(end) => self.close(end),
            }
        }
        self.set_client_timer(client);
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].shell.is_some() {
            return;
        }
        if !self.nodes[node].is_member() && !self.invite(node) {
            return self.at(self.now + 100 * MS, Happens::Start(node));
        }
        self.nodes[node].disk.limit_space(u64::MAX);
        self.trace.say(self.now, format_args!("server {} starts", node + 1));
        self.trace.note(self.now, "start", &[node as u64]);
        let (options, settings, setup) =
            (self.server_options(node), self.member_settings(node), self.setup());
        let mut orders = Vec::new();
        let mut turn = Turn {
            now: self.now,
            network: &mut self.network,
            history: &mut self.history,
            orders: &mut orders,
        };
        super::trace::set_place(self.now, node + 1);
        let started = self.nodes[node].start(&mut turn, options, settings, setup);
        super::trace::set_place(self.now, 0);
        self.node_timers[node] = u64::MAX;
        self.carry_out(node, orders);
        match started {
            Ok(()) => {
                let life = self.nodes[node].life;
                self.with_node(node, Happens::NodeTimer { node, life }, |_, _, _| {});
            }
            Err(stop) => self.stopped(node, &stop),
        }
    }

    /// Gives a server that is in no list any more a configuration to come back with, as an operator would: the membership
    /// in force, and itself as an observer. False while nobody leads who could say what is in force.
    fn invite(&mut self, node: usize) -> bool {
        let Some(shell) = self.leader().and_then(|leader| self.nodes[leader].shell.as_ref()) else {
            return false;
        };
        let text = shell.member.views().committed().to_string();
        let others = text.lines().filter(|line| !line.starts_with("version="));
        let own = server_line(node + 1, QUORUM_PORT, Role::Observer);
        let text: String = others.chain([own.as_str()]).map(|line| format!("{line}\n")).collect();
        let membership = Membership::from_text(text.as_bytes()).expect("a good membership with one more");
        self.nodes[node].views = Views::new(membership);
        true
    }

    /// A life ends here. `lost`: the power went, and with it what was not synced; otherwise only the process.
    pub fn crash(&mut self, node: usize, lost: bool) {
        let Some(shell) = self.nodes[node].shell.take() else {
            // It did not even start; it tries again.
            if lost {
                self.lose_power(node);
            }
            let at = self.now + self.random.between(50, 2000) * MS;
            return self.at(at, Happens::Start(node));
        };
        self.crashes += 1;
        self.trace.note(self.now, "crash", &[node as u64, u64::from(lost)]);
        self.trace.say(
            self.now,
            format_args!("server {} crashes{}", node + 1, if lost { ", power lost" } else { "" }),
        );
        for (sum, n) in self.syncs.iter_mut().zip(shell.syncs()) {
            *sum += n;
        }
        self.nodes[node].views = shell.stored;
        self.nodes[node].life += 1;
        self.nodes[node].paused_until = 0;
        if lost {
            self.lose_power(node);
        }
        for (end, _) in self.network.ends_of(Place::Server(node), None) {
            for (end, at) in self.network.reset(self.now, end) {
                self.at(at, Happens::Arrive(end));
            }
        }
        let longest = if self.random.one_in(4) { 6000 } else { 800 };
        let at = self.now + self.random.between(20, longest) * MS;
        self.at(at, Happens::Start(node));
    }

    fn lose_power(&mut self, node: usize) {
        // Each crash has its own mood: everything that was not synced is there, or nothing, or some of it.
        let mood = self.random.below(4);
        let random = &mut self.random;
        self.nodes[node].disk = self.nodes[node].disk.crash(|| match mood {
            0 => false,
            1 => true,
            _ => random.one_in(2),
        });
    }

    fn setup(&self) -> Setup {
        Setup {
            log: LogOptions { segment_bytes: 16 << 10, force_sync: true, file_bytes_max: None },
            load: LoadSettings {
                files: LoadOptions { len_max: LEN_MAX, trust_empty: false, autocreate_db: true },
                tree: tree_options(),
                newest_max: self.options.committed_log_max,
            },
            snapshot_every: self.options.snapshot_every,
            slice: if self.large { 30_000 } else { 600 },
            piece: 2000,
            log_share: self.options.log_share,
            sabotage: self.options.sabotage,
        }
    }

    fn member_settings(&self, node: usize) -> Settings {
        Settings {
            me: ServerId(node as i64 + 1),
            views: self.nodes[node].views.clone(),
            limits: Limits { tick_ms: 200, init_ticks: 10, sync_ticks: 5 },
            pace: Pace { resend_max: Millis(5000), ..Pace::default() },
            several_addresses: false,
            greeting_timeout: Millis(1000),
            reconfig_enabled: self.options.reconfigurable,
            standalone_enabled: true,
            field_max: LEN_MAX,
            connect_timeout: Millis(2000),
            connect_delay: Millis(100),
            snap_syncs_max: 10,
            diff_syncs_max: 100,
            force_snap: false,
            counter_end: self.options.counter_end,
            leader_serves: true,
            epoch_wait_max: None,
            observer_master_port: self.options.masters.then_some(MASTER_PORT),
            committed_log_max: self.options.committed_log_max,
            read_only_after: None,
        }
    }

    fn server_options(&self, node: usize) -> Options {
        Options {
            server_id: ServerId(node as i64 + 1),
            tick_ms: 200,
            session_timeout_min_ms: 400,
            session_timeout_max_ms: 4000,
            frame_max: LEN_MAX / 2,
            field_max: LEN_MAX,
            client_connections_max: 0,
            connections_max: 0,
            outstanding_max: 1000,
            throttle_max: 0,
            large_request_threshold: None,
            large_request_bytes_max: 0,
            sessionless_timeout_ms: 4000,
            connection_tokens: None,
            container_check_ms: 60_000,
            containers_per_minute_max: 10_000,
            container_never_used_ms_max: 0,
            local_sessions: self.options.local_sessions,
            local_sessions_upgrade: self.options.local_sessions,
            rules: Rules {
                tree: tree_options(),
                ttl_nodes: true,
                enforce_quota: true,
                reconfig_enabled: self.options.reconfigurable,
                close_session_paths: true,
                record_max: LEN_MAX,
            },
            // Nobody but a superuser may reconfigure otherwise.
            auth: Auth { skip_acl: self.options.reconfigurable, ..Auth::default() },
        }
    }

    /// The ensemble is whole: all servers serve, under one leader.
    pub fn all_serve(&self) -> bool {
        let leaders = self.nodes.iter().filter(|node| {
            node.shell.as_ref().is_some_and(|shell| shell.server.serving() == Serving::Leading)
        });
        let serves =
            |node: &Node| node.shell.as_ref().is_some_and(|shell| shell.server.serving() != Serving::No);
        leaders.count() == 1 && self.nodes.iter().all(serves)
    }

    /// Where every server stands, if that is the same place.
    fn all_agree(&self) -> bool {
        let end = self.history.end();
        self.nodes.iter().all(|node| {
            node.shell.as_ref().is_some_and(|shell| self.history.last_txn(shell.server.last_zxid()) == end)
        })
    }

    pub fn roles(&self) -> String {
        let role = |node: &Node| match &node.shell {
            None => format!("{} is down", node.sid),
            Some(shell) => format!(
                "{} {:?}/{:?} at {} epochs {:?}",
                node.sid,
                shell.member.state(),
                shell.server.serving(),
                shell.server.last_zxid(),
                shell.member.epochs()
            ),
        };
        self.nodes.iter().map(role).collect::<Vec<_>>().join("; ")
    }

    fn compare_servers(&mut self) -> Result<(), Failure> {
        if !self.all_agree() {
            return Err(self.failure(format!(
                "the servers do not come to {}: {}",
                self.history.end(),
                self.roles()
            )));
        }
        let sessions = &self.history.model.sessions;
        if let Some((session, paths)) = self
            .history
            .model
            .ephemerals()
            .find(|(id, _)| sessions.get(id).is_none_or(|session| session.closed.is_some()))
        {
            return Err(self.failure(format!("session {session:#x} is gone and still owns {paths:?}")));
        }
        let mut first: Option<(String, String)> = None;
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            let Some(shell) = &mut node.shell else { continue };
            let (sid, dump) = (node.sid, super::dump::of(&mut shell.server));
            match &first {
                None => first = Some((sid.to_string(), dump)),
                Some((other, held)) if *held != dump => {
                    let differs = held.lines().zip(dump.lines()).find(|(a, b)| a != b);
                    return Err(
                        self.failure(format!("servers {other} and {sid} hold different states: {differs:?}"))
                    );
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    // What breaks, and what mends it.

    /// Everything that is broken is mended, and nothing breaks any more.
    pub fn heal(&mut self) {
        self.storming = false;
        self.trace.say(self.now, format_args!("no more faults"));
        self.network.widen(ROOM_MAX);
        for end in self.network.unblock_all() {
            self.at(self.now + 1, Happens::Arrive(end));
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = self.nodes[node].paused_until.min(self.now);
            self.nodes[node].disk_slowness = 1;
            self.nodes[node].disk.limit_space(u64::MAX);
            if self.nodes[node].shell.is_none() {
                self.at(self.now + 1, Happens::Start(node));
            }
        }
    }

    fn next_fault(&mut self) {
        let servers = self.nodes.len();
        let leader = self.leader();
        let Some(fault) = self.options.faults.draw(&mut self.random, servers, leader) else { return };
        self.inflict(fault);
    }

    pub fn inflict(&mut self, fault: Fault) {
        self.trace.say(self.now, format_args!("fault: {fault:?}"));
        match fault {
            Fault::Crash { node, lost } => {
                if self.nodes[node].shell.is_some() {
                    self.crash(node, lost);
                }
            }
            Fault::Block { from, to, ms } => {
                self.network.block(Place::Server(from), Place::Server(to));
                let at = self.now + ms * MS;
                self.at(at, Happens::Mend(Fault::Block { from, to, ms }));
            }
            Fault::Isolate { node, ms } => {
                for other in (0..self.nodes.len()).filter(|other| *other != node) {
                    self.network.block(Place::Server(node), Place::Server(other));
                    self.network.block(Place::Server(other), Place::Server(node));
                }
                let at = self.now + ms * MS;
                self.at(at, Happens::Mend(Fault::Isolate { node, ms }));
            }
            Fault::Reset { node, other } => {
                let with = other.map(Place::Server);
                for (end, _) in self.network.ends_of(Place::Server(node), with) {
                    for (end, at) in self.network.reset(self.now, end) {
                        self.at(at, Happens::Arrive(end));
                    }
                }
            }
            Fault::Pause { node, ms } => {
                if self.nodes[node].shell.is_some() {
                    self.nodes[node].paused_until = self.now + ms * MS;
                }
            }
            Fault::SlowDisk { node, factor, ms } => {
                self.nodes[node].disk_slowness = factor;
                let at = self.now + ms * MS;
                self.at(at, Happens::Mend(Fault::SlowDisk { node, factor, ms }));
            }
            Fault::ClockJump { node, ms } => self.nodes[node].skew_ms += ms,
            Fault::Blackout => {
                for node in
                    (0..self.nodes.len()).filter(|node| self.nodes[*node].shell.is_some()).collect::<Vec<_>>()
                {
                    self.crash(node, true);
                }
            }
            Fault::HandOver { node } => {
                if self.nodes[node].paused_until <= self.now {
                    let life = self.nodes[node].life;
                    self.with_node(node, Happens::NodeTimer { node, life }, |shell, now, turn| {
                        shell.hand_over(now, turn)
                    });
                }
            }
            Fault::Reconfigure { node, role } => self.reconfigure(node, role),
            Fault::DiskFull { node } => self.nodes[node].disk.limit_space(self.random.below(40_000)),
        }
    }

    /// Lets some client with a session ask for it.
    fn reconfigure(&mut self, node: usize, role: Option<Role>) {
        let clients = self.clients.len();
        let first = self.random.below(clients as u64) as usize;
        let asker = (0..clients).map(|at| (first + at) % clients).find(|at| self.clients[*at].is_ready());
        let Some(client) = asker else { return };
        let sid = node + 1;
        let (joining, leaving) = match role {
            Some(role) => {
                let port = if self.random.one_in(5) { QUORUM_PORT + 1 } else { QUORUM_PORT };
                (Some(server_line(sid, port, role)), None)
            }
            None => (None, Some(sid.to_string())),
        };
        let mut wants = Vec::new();
        let now = Instant(self.now);
        self.clients[client].ask_reconfig(now, joining, leaving, &self.history, &mut wants);
        self.do_for_client(client, wants);
    }

    fn mend(&mut self, fault: Fault) {
        let mut held = Vec::new();
        match fault {
            Fault::Block { from, to, .. } => {
                held.extend(self.network.unblock(Place::Server(from), Place::Server(to)));
            }
            Fault::Isolate { node, .. } => {
                for other in (0..self.nodes.len()).filter(|other| *other != node) {
                    held.extend(self.network.unblock(Place::Server(node), Place::Server(other)));
                    held.extend(self.network.unblock(Place::Server(other), Place::Server(node)));
                }
            }
            Fault::SlowDisk { node, .. } => self.nodes[node].disk_slowness = 1,
            _ => {}
        }
        for end in held {
            self.at(self.now + 1, Happens::Arrive(end));
        }
    }

    /// The power may go, or the disk fail, in the middle of a job.
    fn perhaps_break_job(&mut self, node: usize) -> bool {
        let faults = &self.options.faults;
        let Some(shell) = &self.nodes[node].shell else { return false };
        if faults.cut_job > 0 && self.random.one_in(faults.cut_job) {
            shell.disk.cut_after(self.random.below(12) as u32);
        } else if faults.fail_job > 0 && self.random.one_in(faults.fail_job) {
            shell.disk.fail_after(self.random.below(6) as u32);
        } else {
            return false;
        }
        true
    }

    /// The leader that serves, if one does.
    pub fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| {
            node.shell.as_ref().is_some_and(|shell| shell.server.serving() == Serving::Leading)
        })
    }

    /// The last zxid of a server that is up.
    pub fn last_zxid(&self, node: usize) -> Option<Zxid> {
        self.nodes[node].shell.as_ref().map(|shell| shell.server.last_zxid())
    }
}

/// What a membership says of a server.
fn server_line(sid: usize, quorum_port: u16, role: Role) -> String {
    format!("server.{sid}=s{sid}:{quorum_port}:3888:{role};2181")
}

fn tree_options() -> TreeOptions {
    TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false }
}
