//! Recordings of Java servers: given what one of them heard, this machine says what it said.
//!
//! A recording has what was on the wire. Not all that is said gets there, because a newer message replaces an
//! older one in its slot; and some of it gets there again, on a new connection. So every message of the Java
//! server must have been said here to the same server, byte for byte, and what is said last here, there too.

use super::*;
use crate::quorum::election::Action;
use crate::wire::quorum::tests::{bytes_of, captures};
use std::collections::BTreeMap;

/// What a recording of messages does not show: what the server knew, and when it lost or found a leader.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The process starts, with this as its last zxid and epoch.
    Start(i64, i64),
    /// It was running before the recording, and this leader had been elected in round 1 with these votes.
    Ran { leader: i64, zxid: i64 },
    /// It has lost its leader.
    Look(i64, i64),
    /// It has begun to serve in this epoch.
    Synced(i64),
    /// The membership has got this version.
    Version(i64),
}

use Step::{Look, Ran, Start, Synced, Version};

struct Server {
    me: i64,
    members: Membership,
    reconfig_enabled: bool,
    election: Election,
    said: Vec<(ServerId, Vec<u8>)>,
}

impl Server {
    fn new(me: i64, members: Membership, reconfig_enabled: bool) -> Server {
        let views = Views::new(members.clone());
        let election = Election::new(ServerId(me), views, reconfig_enabled, Pace::default());
        Server { me, members, reconfig_enabled, election, said: Vec::new() }
    }

    fn tell(&mut self, ms: u64, event: Event<'_>) {
        while let Some(when) = self.election.next_timeout().filter(|when| when.millis() <= ms) {
            self.handle(when, Event::Timeout { delivered: true });
        }
        self.handle(Instant::from_millis(ms), event);
    }

    fn handle(&mut self, now: Instant, event: Event<'_>) {
        let mut actions = Vec::new();
        self.election.handle(now, event, &mut actions);
        for action in actions {
            if let Action::Send { to, frame } = action {
                self.said.push((to, frame));
            }
        }
    }

    fn step(&mut self, ms: u64, step: Step) {
        match step {
            Start(zxid, epoch) => {
                let said = std::mem::take(&mut self.said);
                *self = Server::new(self.me, self.members.clone(), self.reconfig_enabled);
                self.said = said;
                self.tell(ms, Event::Look { zxid: Zxid(zxid), epoch });
            }
            Ran { leader, zxid } => {
                let me = self.me;
                self.tell(ms, Event::Look { zxid: Zxid(zxid), epoch: 0 });
                let bytes = body(PeerState::Looking, vote(leader, zxid, 0), 1, "");
                for sid in self.election.views().voters().into_iter().filter(|sid| sid.0 != me) {
                    self.tell(ms, Event::Message { from: sid, body: &bytes });
                }
                assert_ne!(self.election.state(), PeerState::Looking);
                self.tell(ms, Event::Synced { epoch: 1 });
            }
            Look(zxid, epoch) => self.tell(ms, Event::Look { zxid: Zxid(zxid), epoch }),
            Synced(epoch) => self.tell(ms, Event::Synced { epoch }),
            Version(version) => {
                let mut views = self.election.views().clone();
                assert!(views.commit(Membership { version: Zxid(version), ..self.members.clone() }));
                self.tell(ms, Event::Reconfigured { views, designated: None });
            }
        }
    }
}

/// Plays what server `me` heard in a recording, with what `script` adds at its milliseconds.
fn replay(name: &str, me: i64, until: f64, script: &[(f64, Step)]) {
    let capture: Vec<_> = captures(&format!("election-{name}.")).into_iter().map(|(_, line)| line).collect();
    let lines = || {
        capture
            .iter()
            .filter(|line| line["kind"] == "NOTIFICATION" && line["t"].as_f64().is_some_and(|t| t < until))
    };
    let name_of = |sid: i64| format!("s{sid}");
    let own = lines().find(|line| line["src"] == name_of(me).as_str()).expect("it says something");
    let config = own["fields"]["config"].as_str().expect("a membership");
    let mut server = Server::new(me, membership(config), name == "reconfig");
    let mut steps = script.iter().peekable();
    let mut wire: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
    for line in lines() {
        let t = line["t"].as_f64().expect("a time");
        while let Some((when, step)) = steps.next_if(|(when, _)| *when <= t) {
            server.step((when * 1000.0) as u64, *step);
        }
        let sid_of = |end: &str| line[end].as_str().and_then(|name| name[1..].parse::<i64>().ok());
        if line["src"] == name_of(me).as_str() {
            wire.entry(sid_of("dst").expect("a server")).or_default().push(bytes_of(line));
        } else if line["dst"] == name_of(me).as_str() {
            let from = ServerId(sid_of("src").expect("a server"));
            let bytes = bytes_of(line);
            server.tell((t * 1000.0) as u64, Event::Message { from, body: &bytes[4..] });
        }
    }
    for (to, messages) in wire {
        let ours: Vec<_> =
            server.said.iter().filter(|(sid, _)| sid.0 == to).map(|(_, frame)| frame).collect();
        for (at, message) in messages.iter().enumerate() {
            assert!(ours.contains(&message), "{name}: {} from {me} to {to} (its {at}.)", shown(message));
        }
        // Not "is the last one": two threads of Java write, and an answer may overtake a newer vote.
        let last = *ours.last().expect("something was said");
        assert!(messages.contains(last), "{name}: {} is the last from {me} to {to}", shown(last));
    }
}

fn shown(frame: &[u8]) -> String {
    let n = Notification::decode(&frame[4..]).expect("both sides' messages can be read");
    let config = String::from_utf8_lossy(n.config.unwrap_or_default());
    format!("{:?} {:?} round {} config {config}", n.state, n.vote, n.round)
}

/// All of a recording.
const END: f64 = 1e9;

#[test]
fn three_servers_one_after_the_other() {
    replay("fresh-sequential", 1, END, &[(0.0, Start(0, 0)), (2.33, Synced(1))]);
    replay("fresh-sequential", 2, END, &[(1.3, Start(0, 0)), (2.33, Synced(1))]);
    replay("fresh-sequential", 3, END, &[(3.931, Start(0, 0))]);
}

#[test]
fn three_servers_at_once() {
    for me in 1..=3 {
        replay("fresh-simultaneous", me, END, &[(1.0, Start(0, 0))]);
    }
}

#[test]
fn a_follower_that_restarts() {
    let z = 0x1_0000_0002;
    replay("rejoin", 1, END, &[(1.9, Start(z, 1)), (3.2, Synced(1)), (3.447, Start(z, 1))]);
    for me in [2, 3] {
        replay("rejoin", me, END, &[(0.0, Ran { leader: 3, zxid: 0 })]);
    }
}

#[test]
fn a_killed_leader_and_a_frozen_one() {
    let (old, new) = (0x1_0000_0003, 0x2_0000_0002);
    let lost = [(0.0, Ran { leader: 3, zxid: 0 }), (0.08, Look(old, 1)), (0.616, Synced(2))];
    let again = [(9.05, Look(new, 2)), (12.0, Synced(3))];
    replay("leader-change", 1, END, &[&lost[..], &again].concat());
    replay("leader-change", 2, END, &[&lost[..], &[(12.51, Look(new + 1, 2))]].concat());
    let back = [(1.667, Start(old, 1)), (4.0, Synced(2)), (9.0645, Look(new, 2)), (12.0, Synced(3))];
    replay("leader-change", 3, END, &back);
}

#[test]
fn an_old_leader_with_more_than_the_others() {
    let (z, more) = (0x1_0000_0003, 0x1_0000_0005);
    for me in [1, 2] {
        replay("old-leader-returns", me, END, &[(1.8, Start(z, 1)), (2.8, Synced(2))]);
    }
    replay("old-leader-returns", 3, END, &[(2.831, Start(more, 1))]);
}

#[test]
fn an_observer_asks_the_voters() {
    for me in 1..=3 {
        replay("observer-join", me, END, &[(0.0, Ran { leader: 3, zxid: 0 })]);
    }
    replay("observer-join", 4, END, &[(1.3, Start(0, 0)), (4.0, Start(0, 1))]);
}

#[test]
fn servers_without_a_database_have_no_say() {
    let none = Start(-1, -1);
    replay("empty-without-autocreate", 3, END, &[(2.4, none)]);
    for me in [1, 2] {
        replay("empty-without-autocreate", me, END, &[(2.4, none), (5.9, Start(0, 0)), (8.0, Synced(1))]);
    }
}

#[test]
fn a_membership_that_has_got_a_version_is_adopted() {
    for me in 1..=3 {
        replay("reconfig", me, 7.6, &[(2.9, Start(0, 0)), (4.5, Version(1 << 32)), (4.5, Synced(1))]);
    }
    replay("reconfig", 4, 7.6, &[(5.9, Start(0, 0))]);
}

#[test]
fn odd_messages_are_answered_or_not_as_by_java() {
    for me in [1, 2] {
        replay("edge-cases", me, END, &[(0.0, Ran { leader: 2, zxid: 0 })]);
    }
}
