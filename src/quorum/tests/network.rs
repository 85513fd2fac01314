//! Whole ensembles in one thread: machines, a network that is late and breaks, and servers that restart, all
//! from one seed, which a failure names.
//!
//! What follows an election is played in one step: after a second a leader that a quorum follows begins an
//! epoch, and whoever has no leader by then, or one without a quorum, looks again.

use super::*;
use crate::quorum::connections::Event as NetworkEvent;
use crate::quorum::elector::{Action, Elector, Event as ElectorEvent};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    /// Some bytes, or none: the end of the connection.
    Arrives {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    Written {
        conn: ConnId,
    },
    Answered {
        from: i64,
        to: i64,
        life: u64,
    },
    Checked {
        sid: i64,
        term: u64,
    },
    Crash {
        sid: i64,
    },
    Start {
        sid: i64,
    },
    Cut {
        sid: i64,
    },
}

struct Server {
    /// `None` while it is down.
    elector: Option<Elector>,
    /// Counts its starts, so that what was meant for an earlier one is dropped.
    life: u64,
    /// Counts its elections, for the same reason.
    term: u64,
    /// Does it serve with the leader it has elected?
    synced: bool,
    zxid: i64,
    epoch: i64,
    leader: Option<ServerId>,
}

/// One end of a connection: whose it is, what it is called on the other side, and when its last bytes arrive.
struct End {
    sid: i64,
    other: ConnId,
    busy_until: u64,
}

struct Network {
    random: Random,
    now: u64,
    delay_max: u64,
    members: Membership,
    servers: BTreeMap<i64, Server>,
    ends: BTreeMap<ConnId, End>,
    queue: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    ids: u64,
    /// Elected leaders with their round, in the order of their elections.
    elected: Vec<(i64, i64)>,
}

impl Network {
    fn new(voters: i64, observers: i64, seed: u64, delay_max: u64) -> Network {
        let mut random = Random(seed);
        let servers = (1..=voters + observers).map(|sid| {
            // Few enough different histories that equal ones are common.
            let (epoch, zxid) = (random.below(3) as i64, random.below(3) as i64);
            (
                sid,
                Server {
                    elector: None,
                    life: 0,
                    term: 0,
                    synced: false,
                    zxid: epoch << 32 | zxid,
                    epoch,
                    leader: None,
                },
            )
        });
        let servers = servers.collect();
        let members = ensemble(voters, observers);
        let mut network = Network {
            random,
            now: 0,
            delay_max,
            members,
            servers,
            ends: BTreeMap::new(),
            queue: BinaryHeap::new(),
            ids: 0,
            elected: Vec::new(),
        };
        for sid in 1..=voters + observers {
            network.start(sid);
        }
        network
    }

    fn at(&mut self, when: u64, happens: Happens) {
        self.ids += 1;
        self.queue.push(Reverse((when, self.ids, happens)));
    }

    fn start(&mut self, sid: i64) {
        let mut votes = election(sid, self.members.clone());
        votes.handle(Instant(0), Event::Synced { epoch: 0 }, &mut Vec::new());
        let elector = Elector::new(votes, connections(sid, self.members.clone()));
        let server = self.servers.get_mut(&sid).expect("a server");
        assert!(server.elector.is_none());
        server.elector = Some(elector);
        server.life += 1;
        self.look(sid);
    }

    fn look(&mut self, sid: i64) {
        let server = self.servers.get_mut(&sid).expect("a server");
        (server.leader, server.synced) = (None, false);
        server.term += 1;
        let event = Event::Look { zxid: Zxid(server.zxid), epoch: server.epoch };
        self.tell(sid, ElectorEvent::Server(event));
    }

    fn crash(&mut self, sid: i64) {
        let server = self.servers.get_mut(&sid).expect("a server");
        server.elector = None;
        server.leader = None;
        self.cut(sid);
    }

    /// Every connection of a server breaks, for both sides and with all that is on its way.
    fn cut(&mut self, sid: i64) {
        let ends: Vec<_> =
            self.ends.iter().filter(|(_, end)| end.sid == sid).map(|(c, e)| (*c, e.other)).collect();
        for (mine, theirs) in ends {
            for conn in [mine, theirs] {
                if let Some(end) = self.ends.remove(&conn) {
                    self.tell(end.sid, ElectorEvent::Network(NetworkEvent::Closed(conn)));
                }
            }
        }
    }

    fn tell(&mut self, sid: i64, event: ElectorEvent<'_>) {
        let Some(elector) = self.servers.get_mut(&sid).and_then(|server| server.elector.as_mut()) else {
            return;
        };
        let mut actions = Vec::new();
        elector.handle(Instant::from_millis(self.now), event, &mut actions);
        for action in actions {
            self.carry_out(sid, action);
        }
    }

    fn carry_out(&mut self, sid: i64, action: Action) {
        let later = self.now + 1 + self.random.below(self.delay_max);
        let life = self.servers[&sid].life;
        match action {
            Action::Dial { to, .. } => self.at(later, Happens::Answered { from: sid, to: to.0, life }),
            Action::Send { conn, bytes } => {
                // In pieces, as networks do.
                let cut = self.random.below(bytes.len() as u64 + 1) as usize;
                let (head, tail) = bytes.split_at(cut);
                for piece in [head, tail].into_iter().filter(|piece| !piece.is_empty()) {
                    self.send(conn, piece.to_vec());
                }
                self.at(self.now, Happens::Written { conn });
            }
            Action::Close { conn, .. } => {
                self.send(conn, Vec::new());
                self.ends.remove(&conn);
            }
            Action::Elected { state, leader, supporters } => self.on_elected(sid, state, leader, &supporters),
            Action::VoterLooks(_) => {}
            Action::Adopt { .. } => panic!("nobody has another membership"),
        }
    }

    /// Bytes arrive in order, after a while.
    fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let delay = self.random.below(self.delay_max);
        let Some(end) = self.ends.get_mut(&conn) else { return };
        end.busy_until = end.busy_until.max(self.now + delay);
        let (when, conn) = (end.busy_until, end.other);
        self.at(when, Happens::Arrives { conn, bytes });
    }

    fn on_elected(&mut self, sid: i64, state: PeerState, leader: ServerId, supporters: &[ServerId]) {
        let server = self.servers.get_mut(&sid).expect("a server");
        server.leader = Some(leader);
        let term = server.term;
        let round = server.elector.as_ref().expect("it is up").election().round();
        if state == PeerState::Leading {
            assert_eq!(leader.0, sid);
            self.elected.push((round, sid));
        }
        assert!(supporters.len() * 2 > self.members.participants().count(), "{supporters:?}");
        assert!(self.members.is_voter(leader));
        self.at(self.now + 1000, Happens::Checked { sid, term });
    }

    /// The servers that follow this one, itself among them.
    fn followers(&self, leader: i64) -> Vec<i64> {
        let follows = |server: &Server| server.elector.is_some() && server.leader == Some(ServerId(leader));
        self.servers.iter().filter(|(_, server)| follows(server)).map(|(sid, _)| *sid).collect()
    }

    fn has_quorum(&self, leader: i64) -> bool {
        let followers = self.followers(leader);
        followers.contains(&leader) && self.members.is_quorum(|sid| followers.contains(&sid.0))
    }

    /// What becomes of an election that this server believed in.
    fn check(&mut self, sid: i64) {
        let Some(leader) = self.servers[&sid].leader else { return };
        if !self.has_quorum(leader.0) {
            return self.look(sid);
        }
        if sid == leader.0 && !self.servers[&sid].synced {
            let epoch = self.servers.values().map(|server| server.epoch).max().expect("servers") + 1;
            for follower in self.followers(sid) {
                self.synced(follower, epoch << 32, epoch);
            }
        } else if !self.servers[&sid].synced && self.servers[&leader.0].synced {
            let Server { zxid, epoch, .. } = self.servers[&leader.0];
            self.synced(sid, zxid, epoch);
        }
        let term = self.servers[&sid].term;
        self.at(self.now + 1000, Happens::Checked { sid, term });
    }

    fn synced(&mut self, sid: i64, zxid: i64, epoch: i64) {
        let server = self.servers.get_mut(&sid).expect("a server");
        (server.zxid, server.epoch, server.synced) = (zxid, epoch, true);
        self.tell(sid, ElectorEvent::Server(Event::Synced { epoch }));
    }

    /// Runs until everybody has followed one leader for a while. Returns it.
    fn settle(&mut self, until: u64) -> i64 {
        while self.now < until {
            let timers = self
                .servers
                .iter()
                .filter_map(|(sid, server)| Some((server.elector.as_ref()?.next_timeout()?.millis(), *sid)));
            let timer = timers.min();
            let next = self.queue.peek().map(|Reverse((when, ..))| *when);
            match (timer, next) {
                (Some((when, sid)), next) if next.is_none_or(|next| when < next) => {
                    self.now = self.now.max(when);
                    self.tell(sid, ElectorEvent::Timeout);
                }
                (_, Some(_)) => {
                    let Reverse((when, _, happens)) = self.queue.pop().expect("it was seen");
                    self.now = self.now.max(when);
                    self.happen(happens);
                }
                (_, None) => break,
            }
        }
        let leaders: Vec<_> = self.servers.values().map(|server| server.leader).collect();
        let leader = leaders[0].expect("nobody looks for a leader at the end");
        assert!(leaders.iter().all(|l| *l == Some(leader)), "{leaders:?}");
        for (sid, server) in &self.servers {
            let state = server.elector.as_ref().expect("everybody is up").election().state();
            let voter = self.members.is_voter(ServerId(*sid));
            let right = if *sid == leader.0 {
                PeerState::Leading
            } else if voter {
                PeerState::Following
            } else {
                PeerState::Observing
            };
            assert_eq!(state, right);
        }
        leader.0
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Arrives { conn, bytes } => {
                let Some(end) = self.ends.get(&conn) else { return };
                let sid = end.sid;
                if bytes.is_empty() {
                    self.ends.remove(&conn);
                    self.tell(sid, ElectorEvent::Network(NetworkEvent::Closed(conn)));
                } else {
                    self.tell(sid, ElectorEvent::Network(NetworkEvent::Received { conn, bytes: &bytes }));
                }
            }
            Happens::Written { conn } => {
                if let Some(sid) = self.ends.get(&conn).map(|end| end.sid) {
                    self.tell(sid, ElectorEvent::Network(NetworkEvent::Written(conn)));
                }
            }
            Happens::Answered { from, to, life } => {
                if self.servers[&from].life != life || self.servers[&from].elector.is_none() {
                    return;
                }
                if self.servers[&to].elector.is_none() {
                    let event = NetworkEvent::DialFailed { to: ServerId(to) };
                    return self.tell(from, ElectorEvent::Network(event));
                }
                let (mine, theirs) = (ConnId(self.ids + 1), ConnId(self.ids + 2));
                self.ids += 2;
                self.ends.insert(mine, End { sid: from, other: theirs, busy_until: 0 });
                self.ends.insert(theirs, End { sid: to, other: mine, busy_until: 0 });
                self.tell(to, ElectorEvent::Network(NetworkEvent::Accepted(theirs)));
                let event = NetworkEvent::Dialed { to: ServerId(to), conn: mine };
                self.tell(from, ElectorEvent::Network(event));
            }
            Happens::Checked { sid, term } => {
                if self.servers[&sid].term == term {
                    self.check(sid);
                }
            }
            Happens::Crash { sid } if self.servers[&sid].elector.is_some() => {
                self.crash(sid);
                let back = self.now + 100 + self.random.below(2000);
                self.at(back, Happens::Start { sid });
            }
            Happens::Crash { .. } => {}
            Happens::Start { sid } => self.start(sid),
            Happens::Cut { sid } => self.cut(sid),
        }
    }

    fn best(&self) -> i64 {
        let voters = self.members.participants().map(|(sid, _)| sid.0);
        voters.max_by_key(|sid| (self.servers[sid].epoch, self.servers[sid].zxid, *sid)).expect("voters")
    }
}

/// Runs `scenario` for many seeds, and says which one failed.
fn for_seeds(seeds: u64, scenario: impl Fn(u64, i64) + std::panic::RefUnwindSafe) {
    for seed in 0..seeds {
        let voters = [3, 5, 7][seed as usize % 3];
        let run = std::panic::catch_unwind(|| scenario(seed, voters));
        assert!(run.is_ok(), "seed {seed} with {voters} voters");
    }
}

#[test]
fn servers_that_start_together_agree_on_the_best_of_them_and_only_once() {
    for_seeds(150, |seed, voters| {
        let mut network = Network::new(voters, (seed % 2) as i64, seed, 10);
        let best = network.best();
        assert_eq!(network.settle(20_000), best);
        let rounds: Vec<_> = network.elected.iter().map(|(round, _)| *round).collect();
        assert_eq!(network.elected, [(1, best)], "one leader of one round: {rounds:?}");
    });
}

#[test]
fn servers_find_one_leader_whatever_the_network_and_crashes_did() {
    for_seeds(150, |seed, voters| {
        let mut network = Network::new(voters, (seed % 2) as i64, seed, 60);
        let all = network.servers.len() as u64;
        for _ in 0..12 {
            let (when, sid) = (network.random.below(6000), 1 + network.random.below(all) as i64);
            let happens =
                if network.random.one_in(3) { Happens::Crash { sid } } else { Happens::Cut { sid } };
            network.at(when, happens);
        }
        let leader = network.settle(60_000);
        assert!(network.has_quorum(leader));
    });
}

#[test]
fn a_killed_leader_is_replaced_without_a_wait_where_everybody_left_agrees() {
    let mut network = Network::new(3, 0, 1, 5);
    let old = network.settle(10_000);
    let before = network.elected.len();
    network.crash(old);
    let killed = network.now;
    for sid in network.members.clone().participants().map(|(sid, _)| sid.0).filter(|sid| *sid != old) {
        network.look(sid);
    }
    while network.elected.len() == before {
        let Reverse((when, _, happens)) = network.queue.pop().expect("something happens until then");
        network.now = network.now.max(when);
        network.happen(happens);
    }
    let wait = Pace::default().finalize.0;
    assert!(network.now - killed < wait / 2, "elected after {} ms", network.now - killed);
}

#[test]
fn a_leader_that_hands_over_is_followed_by_the_server_it_names() {
    for_seeds(30, |seed, voters| {
        let mut network = Network::new(voters, 0, seed, 5);
        let old = network.settle(20_000);
        let heir = (1..=voters).rev().find(|sid| *sid != old).expect("several voters");
        let zxid = network.servers[&old].zxid;
        let epoch = network.servers[&old].epoch;
        for server in network.servers.values_mut() {
            (server.zxid, server.epoch) = (zxid, epoch);
        }
        network.tell(old, ElectorEvent::Server(Event::Favour(ServerId(heir))));
        let all: Vec<_> = network.servers.keys().copied().collect();
        for sid in all {
            network.look(sid);
        }
        assert_eq!(network.settle(60_000), heir, "it has the highest id of those that are left");
    });
}
