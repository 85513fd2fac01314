//! Elections as peers see them: rules one by one, whole ensembles from a seed, and recordings of Java servers.

mod conversations;
mod network;
mod replay;
mod rules;

use super::connections::{ConnId, Connections};
use super::election::{Election, Event, Pace, PeerState, Vote};
use super::membership::Membership;
use super::views::Views;
use crate::ids::{ServerId, Zxid};
use crate::time::{Instant, Millis};
use crate::wire::quorum::election::Notification;

/// Servers 1 to `voters`, and after them observers; server n has port n+9 of its host for elections.
fn ensemble(voters: i64, observers: i64) -> Membership {
    let lines = (1..=voters + observers).map(|id| {
        let role = if id > voters { "observer" } else { "participant" };
        format!("server.{id}=h{id}:1:{}:{role}\n", id + 9)
    });
    membership(&lines.collect::<String>())
}

fn membership(text: &str) -> Membership {
    Membership::from_text(text.as_bytes()).expect("a good membership")
}

fn vote(leader: i64, zxid: i64, epoch: i64) -> Vote {
    Vote { leader: ServerId(leader), zxid: Zxid(zxid), epoch }
}

fn body(state: PeerState, vote: Vote, round: i64, config: &str) -> Vec<u8> {
    Notification::new(state, vote, round, config.as_bytes()).encode().split_off(4)
}

fn election(me: i64, members: Membership) -> Election {
    Election::new(ServerId(me), Views::new(members), false, Pace::default())
}

fn connections(me: i64, members: Membership) -> Connections {
    Connections::new(ServerId(me), Views::new(members), false, Millis(5000))
}
