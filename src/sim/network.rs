//! The network: connections of two byte streams, late, cut into pieces, held up and broken.
//!
//! A [`Network`] decides and remembers; the world keeps the events. Bytes of one direction arrive in their order, each
//! piece at its own time. A direction that is blocked holds what arrives until it is open again, as TCP does; a
//! connection can also be reset, and then both ends hear of it when the network lets them.
//!
//! # Invariants
//!
//! 1. What arrives is a prefix of what was sent, in order.
//! 2. The end of a stream arrives after all bytes of it, unless the connection was reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::random::Random;

/// Who is at an end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// By its place in the ensemble, from 0.
    Server(usize),
    Client(usize),
}

/// What a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    Client,
    /// A leader's quorum port, or where a follower serves observers.
    Learners(u16),
    Election,
}

/// One end of a connection. The other one differs in the last bit; no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End(pub u64);

impl End {
    pub fn other(self) -> End {
        End(self.0 ^ 1)
    }

    fn side(self) -> usize {
        (self.0 & 1) as usize
    }
}

/// What comes out of a connection.
#[derive(Debug)]
pub enum Arrival {
    Bytes(Vec<u8>),
    /// The peer has hung up, or the network has: this end is closed.
    Closed,
}

/// How the network behaves; times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_min_us: u64,
    pub delay_max_us: u64,
    /// One piece in so many takes ten times as long.
    pub straggler: u64,
    /// Bytes on their way in one direction before the sender must wait.
    pub room: usize,
    /// Largest piece that arrives as one.
    pub piece_max: u64,
}

struct Flow {
    pieces: VecDeque<Arrival>,
    /// Arrivals that came while the direction was blocked.
    held: usize,
    bytes: usize,
    busy_until: u64,
    /// The sender wants to know when there is room again.
    waits: bool,
}

struct Connection {
    places: [Place; 2],
    port: Port,
    /// `flows[0]` is what the first end sends.
    flows: [Flow; 2],
    open: [bool; 2],
    room: usize,
}

pub struct Network {
    random: Random,
    pub weather: Weather,
    connections: BTreeMap<u64, Connection>,
    /// Directions in which nothing arrives.
    blocked: BTreeSet<(Place, Place)>,
    next: u64,
}

impl Network {
    pub fn new(random: Random, weather: Weather) -> Network {
        Network { random, weather, connections: BTreeMap::new(), blocked: BTreeSet::new(), next: 0 }
    }

    /// When something sent now would arrive.
    pub fn later(&mut self, now: u64) -> u64 {
        let weather = self.weather;
        let delay = self.random.between(weather.delay_min_us, weather.delay_max_us);
        let slow = weather.straggler > 0 && self.random.one_in(weather.straggler);
        now + 1000 * delay * if slow { 10 } else { 1 }
    }

    pub fn is_blocked(&self, from: Place, to: Place) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub fn block(&mut self, from: Place, to: Place) {
        self.blocked.insert((from, to));
    }

    /// Opens a direction. Returns the ends for whom something was held, once for each piece.
    pub fn unblock(&mut self, from: Place, to: Place) -> Vec<End> {
        self.blocked.remove(&(from, to));
        let mut due = Vec::new();
        for (number, connection) in &mut self.connections {
            for side in 0..2 {
                if (connection.places[side], connection.places[1 - side]) == (from, to) {
                    let held = std::mem::take(&mut connection.flows[side].held);
                    due.extend(std::iter::repeat_n(End(number << 1 | (1 - side as u64)), held));
                }
            }
        }
        due
    }

    /// From now on every direction has this much room. One too narrow for what is asked of it keeps learners from ever
    /// coming into step, which is a fault like others.
    pub fn widen(&mut self, room: usize) {
        self.weather.room = self.weather.room.max(room);
        for connection in self.connections.values_mut() {
            connection.room = connection.room.max(room);
        }
    }

    /// Opens all directions.
    pub fn unblock_all(&mut self) -> Vec<End> {
        let blocked: Vec<_> = self.blocked.iter().copied().collect();
        blocked.into_iter().flat_map(|(from, to)| self.unblock(from, to)).collect()
    }

    /// Connects; the first end is the one of who has dialed. Bytes to it arrive after `answered`.
    pub fn connect(&mut self, from: Place, to: Place, port: Port, answered: u64) -> (End, End) {
        self.next += 1;
        let flow = |busy_until| Flow { pieces: VecDeque::new(), held: 0, bytes: 0, busy_until, waits: false };
        let connection = Connection {
            places: [from, to],
            port,
            flows: [flow(0), flow(answered)],
            open: [true, true],
            room: self.weather.room,
        };
        self.connections.insert(self.next, connection);
        (End(self.next << 1), End(self.next << 1 | 1))
    }

    /// Takes bytes off the front of `out`, as many as there is room for. Returns when their pieces arrive at the other
    /// end. What is sent to an end that is closed is lost.
    pub fn send(&mut self, now: u64, end: End, out: &mut Vec<u8>) -> Vec<u64> {
        let mut arrivals = Vec::new();
        while !out.is_empty() {
            let piece = self.random.between(1, self.weather.piece_max) as usize;
            // Most pieces are whole: a network that cuts everything hides what a long read shows.
            let piece = if self.random.one_in(4) { piece } else { self.weather.piece_max as usize };
            let arrival = self.later(now);
            let Some(connection) = self.connections.get_mut(&(end.0 >> 1)) else {
                out.clear();
                break;
            };
            let flow = &mut connection.flows[end.side()];
            let n = out.len().min(piece).min(connection.room - flow.bytes.min(connection.room));
            if n == 0 {
                flow.waits = true;
                break;
            }
            flow.bytes += n;
            flow.pieces.push_back(Arrival::Bytes(out.drain(..n).collect()));
            flow.busy_until = flow.busy_until.max(arrival) + 1;
            arrivals.push(flow.busy_until);
        }
        arrivals
    }

    /// This end is closed; what it has sent still arrives, and then the other end hears of it, at the time returned.
    pub fn close(&mut self, now: u64, end: End) -> Option<u64> {
        let arrival = self.later(now);
        let connection = self.connections.get_mut(&(end.0 >> 1))?;
        if !std::mem::replace(&mut connection.open[end.side()], false) {
            return None;
        }
        let flow = &mut connection.flows[end.side()];
        flow.pieces.push_back(Arrival::Closed);
        flow.busy_until = flow.busy_until.max(arrival) + 1;
        let due = flow.busy_until;
        if !connection.open[1 - end.side()] {
            self.connections.remove(&(end.0 >> 1));
            return None;
        }
        Some(due)
    }

    /// Who is at an end, as long as the connection is known.
    pub fn place_of(&self, end: End) -> Option<(Place, Port)> {
        self.connections.get(&(end.0 >> 1)).map(|connection| (connection.places[end.side()], connection.port))
    }

    /// Whether this end has not been closed, nor heard that the other one is.
    pub fn is_open(&self, end: End) -> bool {
        self.connections.get(&(end.0 >> 1)).is_some_and(|connection| connection.open[end.side()])
    }

    /// All connections of a place, or between two places, by the first's ends.
    pub fn ends_of(&self, place: Place, with: Option<Place>) -> Vec<(End, Port)> {
        let mut ends = Vec::new();
        for (number, connection) in &self.connections {
            for side in 0..2 {
                let other = connection.places[1 - side];
                if connection.places[side] == place && with.is_none_or(|with| with == other) {
                    ends.push((End(number << 1 | side as u64), connection.port));
                }
            }
        }
        ends
    }

    /// What is on its way in both directions is lost. Both ends hear of it at the times returned.
    pub fn reset(&mut self, now: u64, end: End) -> Vec<(End, u64)> {
        let at = [self.later(now), self.later(now)];
        let number = end.0 >> 1;
        let Some(connection) = self.connections.get_mut(&number) else { return Vec::new() };
        let mut told = Vec::new();
        for (side, at) in at.into_iter().enumerate() {
            let flow = &mut connection.flows[side];
            // The arrivals that are due find one piece between them, which is the end.
            flow.pieces.clear();
            flow.pieces.push_back(Arrival::Closed);
            if connection.open[1 - side] {
                told.push((End(number << 1 | (1 - side as u64)), at));
            }
        }
        told
    }

    /// The next piece for an end. `None`: it is held up, or the end is closed.
    pub fn arrive(&mut self, end: End) -> Option<Arrival> {
        let number = end.0 >> 1;
        let connection = self.connections.get_mut(&number)?;
        let (from, to) = (1 - end.side(), end.side());
        let blocked = self.blocked.contains(&(connection.places[from], connection.places[to]));
        let flow = &mut connection.flows[from];
        if blocked {
            flow.held += 1;
            return None;
        }
        let piece = flow.pieces.pop_front()?;
        if let Arrival::Bytes(bytes) = &piece {
            flow.bytes -= bytes.len().min(flow.bytes);
        }
        if !connection.open[to] {
            return None;
        }
        if matches!(piece, Arrival::Closed) {
            connection.open[to] = false;
            // After a reset the other end has not heard of it yet.
            if !connection.open[from] {
                self.connections.remove(&number);
            }
        }
        Some(piece)
    }

    /// Whether the sender towards `end` has waited for room; asked after something has arrived there.
    pub fn made_room(&mut self, end: End) -> bool {
        let connection = self.connections.get_mut(&(end.0 >> 1));
        connection.is_some_and(|connection| std::mem::take(&mut connection.flows[1 - end.side()].waits))
    }
}
