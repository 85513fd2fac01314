//! Which nodes go by themselves: the ephemerals of each session, containers, TTL nodes.
//!
//! Lists run through the nodes' [`Rare`] records, so that a node joins and leaves in constant time and no list holds
//! a path. Whatever waits for a time is sorted by it. So the nodes to delete are found without looking at others.

use std::collections::BTreeSet;

use super::arena::Arena;
use super::node::{Node, Rare};
use super::types::NodeKind;
use crate::ids::{HashMap, SessionId};

/// Values of [`Rare::list`].
const NOWHERE: u32 = 0;
/// On the list of a session.
const SESSION: u32 = 1;
/// On the list of containers that have had children and have none.
const LEFT: u32 = 2;
/// Among the containers that never had children.
const UNUSED: u32 = 3;
/// Among the TTL nodes without children.
const TTL: u32 = 4;

#[derive(Clone, Copy, Default)]
struct List {
    first: u32,
    len: usize,
}

pub struct Owners {
    sessions: HashMap<SessionId, List>,
    ephemerals: usize,
    left: List,
    /// (mtime, node).
    unused: BTreeSet<(i64, u32)>,
    /// (mtime + TTL, node).
    ttls: BTreeSet<(i64, u32)>,
}

/// What decides where a node belongs.
pub struct Filing {
    pub kind: NodeKind,
    pub children: u32,
    pub cversion: i32,
    pub mtime: i64,
}

impl Owners {
    pub fn new() -> Owners {
        Owners {
            sessions: HashMap::default(),
            ephemerals: 0,
            left: List::default(),
            unused: BTreeSet::new(),
            ttls: BTreeSet::new(),
        }
    }

    /// Puts a node that is nowhere where it belongs, behind those that are there.
    pub fn file(&mut self, id: u32, filing: &Filing, nodes: &Arena<Node>, rares: &mut Arena<Rare>) {
        let rare = rare_of(nodes, id);
        debug_assert_eq!(rares[rare].list, NOWHERE);
        let place = place(filing);
        rares[rare].list = place;
        if let Some((sorted, key)) = self.sorted(place, filing) {
            sorted.insert((key, id));
        }
        if let Some(list) = self.list(place, filing.kind) {
            list.len += 1;
            if list.first == 0 {
                list.first = id;
                (rares[rare].prev, rares[rare].next) = (id, 0);
            } else {
                let first = rare_of(nodes, list.first);
                let last = std::mem::replace(&mut rares[first].prev, id);
                rares[rare_of(nodes, last)].next = id;
                (rares[rare].prev, rares[rare].next) = (last, 0);
            }
        }
        self.ephemerals += usize::from(place == SESSION);
    }

    /// Takes a node out; `filing` is what it was filed with.
    pub fn unfile(&mut self, id: u32, filing: &Filing, nodes: &Arena<Node>, rares: &mut Arena<Rare>) {
        let rare = rare_of(nodes, id);
        let Rare { list: place, next, prev, .. } = rares[rare];
        rares[rare].list = NOWHERE;
        if let Some((sorted, key)) = self.sorted(place, filing) {
            sorted.remove(&(key, id));
        }
        let mut gone = false;
        if let Some(list) = self.list(place, filing.kind) {
            list.len -= 1;
            gone = list.len == 0;
            let first = list.first;
            if first == id {
                list.first = next;
            } else {
                rares[rare_of(nodes, prev)].next = next;
            }
            // The successor's `prev`; without one, the first node's, which names the last.
            if next != 0 {
                rares[rare_of(nodes, next)].prev = prev;
            } else if first != id {
                rares[rare_of(nodes, first)].prev = prev;
            }
        }
        if let NodeKind::Ephemeral(session) = filing.kind
            && place == SESSION
        {
            self.ephemerals -= 1;
            if gone {
                self.sessions.remove(&session);
            }
        }
    }

    pub fn ephemerals(&self) -> usize {
        self.ephemerals
    }

    /// Sessions that own something, with how many nodes they own.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, usize)> {
        self.sessions.iter().map(|(session, list)| (*session, list.len))
    }

    /// A session's first ephemeral.
    pub fn first_of(&self, session: SessionId) -> Option<u32> {
        self.sessions.get(&session).map(|list| list.first)
    }

    /// The node after `id` on its list.
    pub fn next_of(id: u32, nodes: &Arena<Node>, rares: &Arena<Rare>) -> Option<u32> {
        let next = rares[rare_of(nodes, id)].next;
        (next != 0).then_some(next)
    }

    /// The first container that has had children and has none; [`Owners::next_of`] leads on.
    pub fn first_left_container(&self) -> Option<u32> {
        (self.left.first != 0).then_some(self.left.first)
    }

    /// Containers that never had children and were last written to before `mtime`.
    pub fn unused_containers(&self, mtime: i64) -> impl Iterator<Item = u32> {
        self.unused.range(..(mtime, 0)).map(|(_, id)| *id)
    }

    /// TTL nodes without children whose deadline is before `wall_ms`.
    pub fn expired_ttls(&self, wall_ms: i64) -> impl Iterator<Item = u32> {
        self.ttls.range(..(wall_ms, 0)).map(|(_, id)| *id)
    }

    /// Memory held, in bytes, by estimate: what the links in the records do not cover.
    pub fn memory(&self) -> usize {
        self.sessions.capacity() * 32 + (self.unused.len() + self.ttls.len()) * 24
    }

    fn list(&mut self, place: u32, kind: NodeKind) -> Option<&mut List> {
        match (place, kind) {
            (SESSION, NodeKind::Ephemeral(session)) => Some(self.sessions.entry(session).or_default()),
            (LEFT, _) => Some(&mut self.left),
            _ => None,
        }
    }

    fn sorted(&mut self, place: u32, filing: &Filing) -> Option<(&mut BTreeSet<(i64, u32)>, i64)> {
        match (place, filing.kind) {
            (TTL, NodeKind::Ttl { ms }) => Some((&mut self.ttls, filing.mtime.saturating_add(ms))),
            (UNUSED, _) => Some((&mut self.unused, filing.mtime)),
            _ => None,
        }
    }
}

fn place(filing: &Filing) -> u32 {
    match filing.kind {
        NodeKind::Persistent => NOWHERE,
        NodeKind::Ephemeral(_) => SESSION,
        NodeKind::Container | NodeKind::Ttl { .. } if filing.children > 0 => NOWHERE,
        NodeKind::Container if filing.cversion > 0 => LEFT,
        NodeKind::Container => UNUSED,
        NodeKind::Ttl { .. } => TTL,
    }
}

fn rare_of(nodes: &Arena<Node>, id: u32) -> u32 {
    nodes[id].rare().expect("a node with an owner has a rare record")
}
