//! Whole ensembles in one thread, from one seed: crashes that lose what was not synced, cut connections, delays, elections
//! at bad moments. Elections themselves are an oracle that keeps to their contract: the winner has the highest (current
//! epoch, last zxid, sid) of some quorum of looking servers.
//!
//! Checked at every step: one established leader to an epoch; nobody who serves applies anything else than what was
//! committed at that zxid; a new leader has everything that was ever committed; no log is ahead of its epoch. At the end
//! faults stop, and all servers must come to the same history.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::entry_by;
use crate::ids::{ServerId, Zxid};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::leader::{self, Leader};
use crate::quorum::zab::learner::{self, Learner};
use crate::quorum::zab::packet::{Entry, Packet};
use crate::quorum::zab::window::{CommittedLog, Meeting};
use crate::quorum::zab::{Epoch, Limits};
use crate::time::Instant;
use crate::wire::quorum::packet::{FromLeader, FromLearner};

const LIMITS: Limits = Limits { tick_ms: 100, init_ticks: 10, sync_ticks: 5 };
/// Small, so that synchronisation needs log files and images too.
const WINDOW: usize = 4;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What survives a crash, and the end of the log, which may not.
struct Disk {
    snapshot: Vec<Entry>,
    /// The snapshot's zxid: that of its last transaction, or of an epoch without one.
    base: Zxid,
    log: Vec<Entry>,
    synced: usize,
    accepted: Epoch,
    current: Epoch,
}

impl Disk {
    fn history(&self) -> Vec<Entry> {
        let later = self.log.iter().filter(|entry| entry.zxid > self.base);
        self.snapshot.iter().chain(later).cloned().collect()
    }
}

impl Disk {
    fn last(&self) -> Zxid {
        self.base.max(last(&self.log))
    }
}

fn last(history: &[Entry]) -> Zxid {
    history.last().map_or(Zxid::ZERO, |entry| entry.zxid)
}

enum Role {
    Down,
    Looking,
    Learning { machine: Box<Learner>, conn: u64 },
    Leading { machine: Box<Leader> },
}

struct Node {
    sid: i64,
    observer: bool,
    disk: Disk,
    tree: Vec<Entry>,
    window: CommittedLog,
    /// What the next vote says; a leader that wrote nothing has its epoch here.
    last_zxid: Zxid,
    role: Role,
    /// Counts roles: what was begun for an earlier one is dropped.
    generation: u64,
}

impl Node {
    /// A crash, or a cut connection, between history and epoch. Who has a transaction of an epoch has all that its leader
    /// began with, in front of it: what it takes to adopt the epoch.
    fn adopt_epoch(&mut self, seed: u64) {
        self.disk.current = self.disk.current.max(Epoch::of(self.disk.last()));
        assert!(self.disk.current <= self.disk.accepted, "seed {seed}");
    }
}

#[derive(Clone, Debug)]
enum Item {
    Bytes(Vec<u8>),
    /// `None` until the leader has made it.
    Image(Option<Vec<Entry>>),
}

struct Conn {
    learner: usize,
    leader: usize,
    to_leader: VecDeque<Item>,
    to_learner: VecDeque<Item>,
    /// From SNAP until its image is loaded.
    loading: bool,
}

#[derive(Clone, Debug)]
enum DiskOp {
    Accepted(Epoch),
    Current(Epoch),
    Truncate(Zxid),
    LoadImage(Vec<Entry>),
    /// The first half of saving an image, and the second.
    CutForImage(Zxid),
    WriteImage(Zxid),
    Sync(usize),
    Locate {
        conn: u64,
        zxid: Zxid,
    },
    MakeImage {
        conn: u64,
    },
}

#[derive(Clone, Debug)]
enum What {
    Deliver { conn: u64, to_leader: bool },
    Disk { node: usize, generation: u64, op: DiskOp },
    Tick,
    Elect,
    Write,
    Fault,
    Restart { node: usize },
}

struct Cluster {
    seed: u64,
    rng: Rng,
    now_ms: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<What>>,
    nodes: Vec<Node>,
    conns: BTreeMap<u64, Conn>,
    conn_ids: u64,
    healed: bool,
    authors: i64,
    /// Everything that was ever committed by an established leader.
    committed: BTreeMap<Zxid, Entry>,
    established: BTreeMap<Epoch, i64>,
    pub images: u64,
    pub cuts: u64,
}

impl Cluster {
    fn new(seed: u64, voters: i64, observers: i64) -> Cluster {
        let node = |sid: i64| Node {
            sid,
            observer: sid > voters,
            disk: Disk {
                snapshot: Vec::new(),
                base: Zxid::ZERO,
                log: Vec::new(),
                synced: 0,
                accepted: Epoch(0),
                current: Epoch(0),
            },
            tree: Vec::new(),
            window: CommittedLog::new(WINDOW),
            last_zxid: Zxid::ZERO,
            role: Role::Looking,
            generation: 0,
        };
        let mut cluster = Cluster {
            seed,
            rng: Rng(seed),
            now_ms: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            nodes: (1..=voters + observers).map(node).collect(),
            conns: BTreeMap::new(),
            conn_ids: 0,
            healed: false,
            authors: 0,
            committed: BTreeMap::new(),
            established: BTreeMap::new(),
            images: 0,
            cuts: 0,
        };
        for what in [What::Tick, What::Elect, What::Write, What::Fault] {
            cluster.after(1, what);
        }
        cluster
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms)
    }

    fn voters(&self) -> Membership {
        let voters = self.nodes.iter().filter(|node| !node.observer).count();
        super::members(voters as i64, 0)
    }

    fn after(&mut self, ms: u64, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now_ms + ms, self.sequence, self.events.len())));
        self.events.push(Some(what));
    }

    fn run_until(&mut self, end_ms: u64) {
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            if at > end_ms {
                self.queue.push(Reverse((at, 0, what)));
                break;
            }
            self.now_ms = at;
            let what = self.events[what].take().expect("each event happens once");
            self.happen(what);
        }
        self.now_ms = end_ms;
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Deliver { conn, to_leader } => self.deliver(conn, to_leader),
            What::Disk { node, generation, op } => {
                if self.nodes[node].generation == generation {
                    self.disk_done(node, op);
                }
            }
            What::Tick => {
                for node in 0..self.nodes.len() {
                    self.tick(node);
                }
                self.after(25, What::Tick);
            }
            What::Elect => {
                self.elect();
                let pause = 20 + self.rng.below(60);
                self.after(pause, What::Elect);
            }
            What::Write => {
                self.write();
                let pause = 1 + self.rng.below(25);
                self.after(pause, What::Write);
            }
            What::Fault if self.healed => {}
            What::Fault => {
                self.fault();
                let pause = 20 + self.rng.below(400);
                self.after(pause, What::Fault);
            }
            What::Restart { node } => {
                if matches!(self.nodes[node].role, Role::Down) {
                    self.load(node);
                }
            }
        }
    }

    // Faults.

    fn fault(&mut self) {
        if self.rng.one_in(3) {
            let conns: Vec<u64> = self.conns.keys().copied().collect();
            if !conns.is_empty() {
                let at = self.rng.below(conns.len() as u64) as usize;
                self.cut(conns[at]);
            }
            return;
        }
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        self.crash(node);
    }

    /// Loses what was not synced, or a part of it: the system may have written some of it already.
    fn crash(&mut self, node: usize) {
        if matches!(self.nodes[node].role, Role::Down) {
            return;
        }
        self.leave_conns(node);
        let lost =
            self.rng.below(1 + (self.nodes[node].disk.log.len() - self.nodes[node].disk.synced) as u64);
        let this = &mut self.nodes[node];
        this.disk.log.truncate(this.disk.log.len() - lost as usize);
        this.disk.synced = this.disk.log.len();
        this.tree.clear();
        this.window.clear();
        this.role = Role::Down;
        this.generation += 1;
        let pause = 10 + self.rng.below(300);
        self.after(pause, What::Restart { node });
    }

    fn load(&mut self, node: usize) {
        let seed = self.seed;
        let this = &mut self.nodes[node];
        this.tree = this.disk.history();
        this.last_zxid = this.disk.last();
        this.window.clear();
        let base = this.disk.base;
        for entry in this.disk.log.iter().filter(|entry| entry.zxid > base) {
            this.window.push(entry.clone());
        }
        let log_epoch = Epoch::of(last(&this.disk.log));
        assert!(this.disk.current <= this.disk.accepted, "seed {seed}");
        // Ahead of its epoch a log can be only by epochs between the last one and the one that was being joined.
        let current = this.disk.current;
        assert!(
            log_epoch <= current || log_epoch < this.disk.accepted,
            "seed {seed}: log is ahead of its epoch"
        );
        this.adopt_epoch(seed);
        this.role = Role::Looking;
    }

    fn cut(&mut self, conn: u64) {
        let Some(Conn { learner, leader, .. }) = self.conns.remove(&conn) else { return };
        self.cuts += 1;
        if let Role::Learning { conn: own, .. } = self.nodes[learner].role
            && own == conn
        {
            self.tell_learner(learner, learner::Event::Disconnected);
        }
        if let Role::Leading { .. } = self.nodes[leader].role {
            self.tell_leader(leader, leader::Event::Disconnected { learner: LearnerId(conn) });
        }
    }

    fn leave_conns(&mut self, node: usize) {
        let own: Vec<u64> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.learner == node || conn.leader == node)
            .map(|(id, _)| *id)
            .collect();
        // The node itself must not hear of it: its role is ending.
        let role = std::mem::replace(&mut self.nodes[node].role, Role::Down);
        for conn in own {
            self.cut(conn);
        }
        self.nodes[node].role = role;
    }

    /// A role ends without a crash: the log is drained, and the tree brought to its end.
    fn look(&mut self, node: usize, last_zxid: Zxid) {
        self.leave_conns(node);
        let this = &mut self.nodes[node];
        this.disk.synced = this.disk.log.len();
        let (applied, logged) = (last(&this.tree), this.disk.history());
        if last(&logged) < applied || !logged.starts_with(&this.tree) {
            this.window.clear();
        }
        this.tree = logged;
        let base = this.disk.base;
        for entry in this.disk.log.iter().filter(|entry| entry.zxid > base) {
            this.window.push(entry.clone());
        }
        this.last_zxid = last_zxid;
        assert!(last_zxid >= this.disk.last());
        this.adopt_epoch(self.seed);
        this.role = Role::Looking;
        this.generation += 1;
    }

    // Elections and clients.

    fn elect(&mut self) {
        let looking = |node: &Node| matches!(node.role, Role::Looking);
        let mut candidates: Vec<usize> = (0..self.nodes.len())
            .filter(|&at| looking(&self.nodes[at]) && !self.nodes[at].observer)
            .collect();
        let voters = self.voters();
        let leads = self.nodes.iter().any(|node| matches!(node.role, Role::Leading { .. }));
        // Mostly they find the leader there is; now and then a quorum elects another one beside it.
        if !leads || self.rng.one_in(4) {
            while candidates.len() > voters.participants().count() / 2 + 1 && self.rng.one_in(2) {
                let out = self.rng.below(candidates.len() as u64) as usize;
                candidates.remove(out);
            }
            let agrees = |sid: ServerId| candidates.iter().any(|&at| self.nodes[at].sid == sid.0);
            if voters.is_quorum(agrees) {
                let vote = |at: &usize| {
                    let node = &self.nodes[*at];
                    (node.disk.current, node.last_zxid, node.sid)
                };
                let winner = *candidates.iter().max_by_key(|at| vote(at)).expect("a quorum");
                self.lead(winner);
                for at in candidates {
                    if at != winner {
                        self.follow(at, winner);
                    }
                }
                return;
            }
        }
        let leaders: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| matches!(self.nodes[at].role, Role::Leading { .. })).collect();
        if leaders.is_empty() {
            return;
        }
        for at in 0..self.nodes.len() {
            if looking(&self.nodes[at]) && !self.rng.one_in(3) {
                let leader = leaders[self.rng.below(leaders.len() as u64) as usize];
                self.follow(at, leader);
            }
        }
    }

    fn lead(&mut self, node: usize) {
        let voters = self.voters();
        let now = self.now();
        let this = &mut self.nodes[node];
        this.generation += 1;
        let mut actions = Vec::new();
        let start = leader::Start {
            sid: ServerId(this.sid),
            accepted_epoch: this.disk.accepted,
            current_epoch: this.disk.current,
            last_zxid: this.last_zxid,
            committed_log: this.window.clone(),
            views: Views::new(voters),
            options: leader::Options {
                limits: LIMITS,
                snap_syncs_max: 10,
                diff_syncs_max: 10,
                force_snap: false,
                counter_end: u32::MAX,
                reconfig_enabled: false,
            },
        };
        let machine = Box::new(Leader::new(now, start, &mut actions));
        this.role = Role::Leading { machine };
        self.leader_actions(node, actions);
    }

    fn follow(&mut self, node: usize, leader: usize) {
        let now = self.now();
        self.conn_ids += 1;
        let id = self.conn_ids;
        self.conns.insert(
            id,
            Conn {
                learner: node,
                leader,
                to_leader: VecDeque::new(),
                to_learner: VecDeque::new(),
                loading: false,
            },
        );
        self.tell_leader(leader, leader::Event::Connected { learner: LearnerId(id) });
        let this = &mut self.nodes[node];
        this.generation += 1;
        let start = learner::Start {
            sid: ServerId(this.sid),
            observer: this.observer,
            config_version: Zxid::ZERO,
            accepted_epoch: this.disk.accepted,
            current_epoch: this.disk.current,
            last_zxid: this.last_zxid,
        };
        let mut actions = Vec::new();
        let machine = Box::new(Learner::new(now, start, LIMITS, &mut actions));
        this.role = Role::Learning { machine, conn: id };
        self.learner_actions(node, actions);
    }

    fn write(&mut self) {
        for node in 0..self.nodes.len() {
            if let Role::Leading { machine } = &self.nodes[node].role
                && machine.serving().is_some()
            {
                self.authors += 1;
                let entry = entry_by(machine.next_zxid(), self.authors);
                self.tell_leader(node, leader::Event::Propose(entry));
            }
        }
    }

    // The machines.

    fn tick(&mut self, node: usize) {
        let now = self.now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match &self.nodes[node].role {
            Role::Learning { machine, .. } if due(machine.next_timeout()) => {
                self.tell_learner(node, learner::Event::Timeout);
            }
            Role::Leading { machine } if due(machine.next_timeout()) => {
                self.tell_leader(node, leader::Event::Timeout);
            }
            _ => {}
        }
    }

    fn tell_learner(&mut self, node: usize, event: learner::Event) {
        let now = self.now();
        let Role::Learning { machine, .. } = &mut self.nodes[node].role else { return };
        let mut actions = Vec::new();
        machine.handle(now, event, &mut actions);
        self.learner_actions(node, actions);
    }

    fn tell_leader(&mut self, node: usize, event: leader::Event) {
        let now = self.now();
        let Role::Leading { machine } = &mut self.nodes[node].role else { return };
        let mut actions = Vec::new();
        machine.handle(now, event, &mut actions);
        self.leader_actions(node, actions);
    }

    fn learner_actions(&mut self, node: usize, actions: learner::Actions) {
        for action in actions {
            let Role::Learning { machine, conn } = &self.nodes[node].role else { return };
            let (conn, serving) = (*conn, machine.serving().is_some());
            match action {
                learner::Action::Send(packet) => self.send(conn, true, &packet),
                learner::Action::PersistAcceptedEpoch(epoch) => self.disk(node, DiskOp::Accepted(epoch)),
                learner::Action::PersistCurrentEpoch(epoch) => self.disk(node, DiskOp::Current(epoch)),
                // Nobody reconfigures here.
                learner::Action::SeeMembership(_) => {}
                learner::Action::Truncate { to } => self.disk(node, DiskOp::Truncate(to)),
                learner::Action::LoadImage { .. } => {
                    let this = &mut self.nodes[node];
                    this.tree.clear();
                    this.window.clear();
                    self.conns.get_mut(&conn).expect("SNAP came on it").loading = true;
                }
                learner::Action::SaveImage { through } => {
                    self.disk(node, DiskOp::CutForImage(through));
                }
                learner::Action::Append(entry) => self.append(node, entry),
                learner::Action::SyncLog { .. } => {
                    let end = self.nodes[node].disk.log.len();
                    self.disk(node, DiskOp::Sync(end));
                }
                learner::Action::Commit(entry) => self.apply(node, entry, serving),
                learner::Action::Serve { .. } => {
                    for entry in &self.nodes[node].tree {
                        self.check(node, entry);
                    }
                }
                learner::Action::End { reload, .. } => {
                    let Role::Learning { machine, .. } = &self.nodes[node].role else { unreachable!() };
                    let last_zxid = machine.last_logged();
                    if reload {
                        self.leave_conns(node);
                        let this = &mut self.nodes[node];
                        this.disk.synced = this.disk.log.len();
                        this.generation += 1;
                        self.load(node);
                    } else {
                        self.look(node, last_zxid);
                    }
                }
                learner::Action::Activate { .. }
                | learner::Action::SyncDone
                | learner::Action::Revalidated { .. } => unreachable!("nobody asks for it here"),
            }
        }
    }

    fn leader_actions(&mut self, node: usize, actions: leader::Actions) {
        for action in actions {
            let Role::Leading { machine } = &self.nodes[node].role else { return };
            match action {
                leader::Action::SendTo { learner, packet } => self.send(learner.0, false, &packet),
                leader::Action::SendLog { learner, after, before } => {
                    let log = self.nodes[node].disk.log.clone();
                    for entry in log.into_iter().filter(|entry| entry.zxid > after && entry.zxid < before) {
                        let zxid = entry.zxid;
                        self.send(learner.0, false, &Packet::Proposal(entry));
                        self.send(learner.0, false, &Packet::Commit { zxid });
                    }
                }
                leader::Action::SendImage { learner } => {
                    self.images += 1;
                    self.enqueue(learner.0, false, Item::Image(None));
                    self.disk(node, DiskOp::MakeImage { conn: learner.0 });
                }
                leader::Action::Locate { learner, zxid } => {
                    self.disk(node, DiskOp::Locate { conn: learner.0, zxid });
                }
                leader::Action::Close { learner, .. } => self.cut(learner.0),
                leader::Action::PersistAcceptedEpoch(epoch) => self.disk(node, DiskOp::Accepted(epoch)),
                leader::Action::PersistCurrentEpoch(epoch) => self.disk(node, DiskOp::Current(epoch)),
                leader::Action::Append(entry) => self.append(node, entry),
                leader::Action::Commit(entry) => {
                    let before = self.committed.insert(entry.zxid, entry.clone());
                    assert!(before.is_none(), "seed {}: {} is committed twice", self.seed, entry.zxid);
                    self.apply(node, entry, true);
                }
                leader::Action::Serve { epoch } => {
                    let (sid, tree) = (self.nodes[node].sid, self.nodes[node].tree.clone());
                    let seed = self.seed;
                    assert!(
                        self.established.insert(epoch, sid).is_none(),
                        "seed {seed}: epoch {epoch} has two leaders"
                    );
                    for (zxid, entry) in &self.committed {
                        assert!(tree.contains(entry), "seed {seed}: {zxid} is lost under leader {sid}");
                    }
                    // Its history is committed by this.
                    self.committed.extend(tree.into_iter().map(|entry| (entry.zxid, entry)));
                }
                leader::Action::StepDown(_) => {
                    let last_zxid = machine.last_logged();
                    self.look(node, last_zxid);
                }
                leader::Action::Touch { .. } => {}
                leader::Action::Activate { .. }
                | leader::Action::Request { .. }
                | leader::Action::Revalidate { .. }
                | leader::Action::SyncDone => unreachable!("nobody asks for it here"),
            }
        }
    }

    fn apply(&mut self, node: usize, entry: Entry, serving: bool) {
        if serving {
            self.check(node, &entry);
        }
        let this = &mut self.nodes[node];
        match this.tree.iter().find(|applied| applied.zxid == entry.zxid) {
            // The image had it.
            Some(applied) => assert_eq!(*applied, entry, "seed {}", self.seed),
            None => {
                let (seed, end) = (self.seed, last(&this.tree));
                assert!(end < entry.zxid, "seed {seed}: {} is applied after {end}", entry.zxid);
                this.tree.push(entry.clone());
            }
        }
        this.window.push(entry);
    }

    /// What is shown to clients was committed, and is the same everywhere.
    fn check(&self, node: usize, entry: &Entry) {
        let (seed, sid) = (self.seed, self.nodes[node].sid);
        let committed = self.committed.get(&entry.zxid);
        assert_eq!(committed, Some(entry), "seed {seed}: {} at server {sid}", entry.zxid);
    }

    // Disks.

    fn append(&mut self, node: usize, entry: Entry) {
        let log = &mut self.nodes[node].disk.log;
        let (seed, end) = (self.seed, last(log));
        assert!(end < entry.zxid, "seed {seed}: {} is appended after {end}", entry.zxid);
        log.push(entry);
        let end = log.len();
        self.disk(node, DiskOp::Sync(end));
    }

    fn disk(&mut self, node: usize, op: DiskOp) {
        let ms = self.rng.below(if self.rng.0 & 7 == 0 { 80 } else { 8 });
        let generation = self.nodes[node].generation;
        self.after(ms, What::Disk { node, generation, op });
    }

    fn disk_done(&mut self, node: usize, op: DiskOp) {
        let leading = matches!(self.nodes[node].role, Role::Leading { .. });
        let this = &mut self.nodes[node];
        match op {
            DiskOp::Accepted(epoch) => {
                this.disk.accepted = epoch;
                match leading {
                    true => self.tell_leader(node, leader::Event::AcceptedEpochPersisted),
                    false => self.tell_learner(node, learner::Event::AcceptedEpochPersisted),
                }
            }
            DiskOp::Current(epoch) => {
                this.disk.current = epoch;
                match leading {
                    true => self.tell_leader(node, leader::Event::CurrentEpochPersisted),
                    false => self.tell_learner(node, learner::Event::CurrentEpochPersisted),
                }
            }
            DiskOp::Truncate(to) => {
                this.disk.log.retain(|entry| entry.zxid <= to);
                this.disk.synced = this.disk.log.len();
                // Real disks keep older snapshots; here the one there is gives up its end.
                this.disk.snapshot.retain(|entry| entry.zxid <= to);
                this.disk.base = this.disk.base.min(to);
                this.tree = this.disk.history();
                this.window.clear();
                assert!(last(&this.tree) == to, "seed {}: a leader cuts where something is", self.seed);
                self.tell_learner(node, learner::Event::Truncated);
            }
            DiskOp::LoadImage(image) => {
                this.tree = image;
                self.tell_learner(node, learner::Event::ImageLoaded);
                self.schedule_deliveries(node);
            }
            DiskOp::CutForImage(through) => {
                this.disk.log.retain(|entry| entry.zxid <= through);
                this.disk.synced = this.disk.log.len();
                self.disk(node, DiskOp::WriteImage(through));
            }
            DiskOp::WriteImage(through) => {
                this.disk.snapshot = this.tree.clone();
                this.disk.base = through.max(last(&this.tree));
                this.disk.log.clear();
                this.disk.synced = 0;
                self.tell_learner(node, learner::Event::ImageSaved);
            }
            DiskOp::Sync(end) => {
                // A cut may have come in between.
                this.disk.synced = this.disk.synced.max(end.min(this.disk.log.len()));
                let through = last(&this.disk.log[..this.disk.synced]).max(this.disk.base);
                match leading {
                    true => self.tell_leader(node, leader::Event::LogSynced { through }),
                    // The log may end below an epoch that was led without a write.
                    false => {
                        let all = this.disk.synced == this.disk.log.len();
                        let through = if all { through.max(this.last_zxid) } else { through };
                        self.tell_learner(node, learner::Event::LogSynced { through });
                    }
                }
            }
            DiskOp::Locate { conn, zxid } => {
                let log = &this.disk.log;
                let reaches = log.first().is_some_and(|first| first.zxid <= zxid);
                let at = log.partition_point(|entry| entry.zxid < zxid);
                let zxid_of = |at: usize| log.get(at).map(|entry| entry.zxid);
                let meeting =
                    Meeting { before: at.checked_sub(1).and_then(zxid_of), at_or_after: zxid_of(at) };
                let meeting = reaches.then_some(meeting);
                self.tell_leader(node, leader::Event::Located { learner: LearnerId(conn), meeting });
            }
            DiskOp::MakeImage { conn: id } => {
                let image = this.tree.clone();
                if let Some(conn) = self.conns.get_mut(&id) {
                    let slot = conn.to_learner.iter_mut().find(|item| matches!(item, Item::Image(None)));
                    *slot.expect("SNAP put it there") = Item::Image(Some(image));
                    let learner = conn.learner;
                    self.tell_leader(node, leader::Event::ImageSent { learner: LearnerId(id) });
                    self.schedule_deliveries(learner);
                }
            }
        }
    }

    // The network: one queue to a connection and direction, emptied in order, each item after its own delay.

    /// Through the bytes, so that what is said is also what is understood.
    fn send(&mut self, conn: u64, to_leader: bool, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        self.enqueue(conn, to_leader, Item::Bytes(bytes));
    }

    fn enqueue(&mut self, id: u64, to_leader: bool, item: Item) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match to_leader {
            true => conn.to_leader.push_back(item),
            false => conn.to_learner.push_back(item),
        }
        let ms = 1 + self.rng.below(if self.rng.0 & 15 == 0 { 120 } else { 6 });
        self.after(ms, What::Deliver { conn: id, to_leader });
    }

    /// Whatever waited behind an image may come now.
    fn schedule_deliveries(&mut self, learner: usize) {
        let waiting: Vec<(u64, usize)> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.learner == learner)
            .map(|(id, conn)| (*id, conn.to_learner.len()))
            .collect();
        for (conn, n) in waiting {
            for ms in 0..n as u64 {
                self.after(ms, What::Deliver { conn, to_leader: false });
            }
        }
    }

    fn deliver(&mut self, id: u64, to_leader: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (learner, leader) = (conn.learner, conn.leader);
        let item = match to_leader {
            true => conn.to_leader.pop_front(),
            false if matches!(conn.to_learner.front(), Some(Item::Image(None))) => None,
            false if conn.loading && !matches!(conn.to_learner.front(), Some(Item::Image(_))) => None,
            false => conn.to_learner.pop_front(),
        };
        match item {
            None => {}
            Some(Item::Image(image)) => {
                conn.loading = false;
                let generation = self.nodes[learner].generation;
                let op = DiskOp::LoadImage(image.expect("waited for"));
                self.happen(What::Disk { node: learner, generation, op });
            }
            Some(Item::Bytes(bytes)) => {
                let packet = match to_leader {
                    true => {
                        let (packet, used) = FromLearner::decode(&bytes, 1 << 20).unwrap().unwrap();
                        assert_eq!(used, bytes.len());
                        Packet::from_learner(packet)
                    }
                    false => {
                        let (packet, used) = FromLeader::decode(&bytes, 1 << 20).unwrap().unwrap();
                        assert_eq!(used, bytes.len());
                        Packet::from_leader(&packet).unwrap()
                    }
                };
                match to_leader {
                    true => {
                        self.tell_leader(leader, leader::Event::Packet { learner: LearnerId(id), packet });
                    }
                    false => self.tell_learner(learner, learner::Event::Packet(packet)),
                }
            }
        }
    }

    /// Faults stop; everybody must serve the same.
    fn heal_and_check(&mut self) {
        self.healed = true;
        let end = self.now_ms + 20_000;
        loop {
            self.run_until(self.now_ms + 500);
            let serving = self.nodes.iter().all(|node| match &node.role {
                Role::Learning { machine, .. } => machine.serving().is_some(),
                Role::Leading { machine } => machine.serving().is_some(),
                _ => false,
            });
            let leaders = self.nodes.iter().filter(|node| matches!(node.role, Role::Leading { .. })).count();
            if serving && leaders == 1 {
                break;
            }
            assert!(self.now_ms < end, "seed {}: the servers do not come together", self.seed);
        }
        self.queue.clear();
        for node in &self.nodes {
            let history: Vec<&Entry> =
                self.committed.values().take_while(|e| e.zxid <= last(&node.tree)).collect();
            assert!(history.into_iter().eq(&node.tree), "seed {}: server {} differs", self.seed, node.sid);
        }
    }
}

fn run(seed: u64, voters: i64, observers: i64, ms: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, voters, observers);
    cluster.run_until(ms);
    cluster.heal_and_check();
    cluster
}

#[test]
fn nothing_that_was_committed_is_lost_whatever_crashes() {
    let (mut committed, mut images, mut epochs, mut cuts) = (0, 0, 0, 0);
    for seed in 0..120 {
        let cluster = run(seed, 3, u64::from(seed % 3 == 0) as i64, 5_000);
        committed += cluster.committed.len();
        images += cluster.images;
        epochs += cluster.established.len();
        cuts += cluster.cuts;
    }
    // A run in which nothing happens proves nothing.
    assert!(committed > 2_000 && images > 80 && epochs > 240 && cuts > 240);
    println!("{committed} transactions, {images} images, {epochs} epochs, {cuts} cut connections");
}

#[test]
fn five_voters_and_two_observers_agree() {
    for seed in 1_000..1_015 {
        run(seed, 5, 2, 4_000);
    }
}
