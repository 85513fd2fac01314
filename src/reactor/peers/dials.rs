//! Dials: from the names of a peer to a connection, or to the reason why there is none.
//!
//! The names are looked up, then their addresses are tried in order, the next one while the one before is still silent.
//!
//! # Invariants
//!
//! Each dial is answered exactly once, and within its time-out from when its names are known; but a dial to a leader that
//! takes the place of another ends that one without an answer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{Peers, Slot, TOKENS, Task, Tell, list};
use crate::ids::ServerId;
use crate::member::{DialId, Event};
use crate::quorum::connections;
use crate::reactor::Fatal;
use crate::time::{Instant, Millis};
use crate::wire::address::HostPort;

/// When several addresses may be the peer's: how long one is tried before the next is tried as well.
const NEXT_ADDRESS: Millis = Millis(250);

/// How long nobody is told again that a peer cannot be reached, for the same reason.
const TELL_AGAIN: Millis = Millis(60_000);

pub(super) struct Dial {
    purpose: Purpose,
    names: Vec<HostPort>,
    /// Of the last attempt that came to nothing.
    failure: Option<(SocketAddr, io::Error)>,
    /// Addresses that were not tried yet.
    pub(super) left: VecDeque<SocketAddr>,
    /// Slots of attempts under way.
    trying: Vec<usize>,
    pub(super) next_at: Option<Instant>,
    /// `None` while names are looked up: for that the resolver has its own time-outs.
    pub(super) deadline: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Purpose {
    Election(ServerId),
    Leader(DialId),
}

impl Dial {
    /// Where it failed, and why, for the log.
    fn trouble(&self) -> String {
        match &self.failure {
            Some((at, error)) => format!("{at}: {error}"),
            None if self.trying.is_empty() => format!("{}: the name has no address", list(&self.names)),
            None => format!("{}: no answer", list(&self.names)),
        }
    }
}

impl Peers {
    pub fn dial_election(
        &mut self,
        registry: &Registry,
        now: Instant,
        to: ServerId,
        addresses: Vec<HostPort>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        self.dial(registry, now, Purpose::Election(to), addresses, tell)
    }

    pub fn dial_leader(
        &mut self,
        registry: &Registry,
        now: Instant,
        dial: DialId,
        addresses: Vec<HostPort>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        let to_leader = |task: &Task| matches!(task, Task::Dial(Dial { purpose: Purpose::Leader(_), .. }));
        let older: Vec<u64> =
            self.tasks.iter().filter(|(_, task)| to_leader(task)).map(|(id, _)| *id).collect();
        for id in older {
            self.take_dial(registry, id, None);
        }
        self.dial(registry, now, Purpose::Leader(dial), addresses, tell)
    }

    fn dial(
        &mut self,
        registry: &Registry,
        now: Instant,
        purpose: Purpose,
        addresses: Vec<HostPort>,
        tell: &mut Tell<'_>,
    ) -> Result<(), Fatal> {
        let id = self.number();
        let dial = Dial {
            purpose,
            names: addresses.clone(),
            failure: None,
            left: VecDeque::new(),
            trying: Vec::new(),
            next_at: None,
            deadline: None,
        };
        self.tasks.insert(id, Task::Dial(dial));
        match self.lookups.ask(id, addresses) {
            Some(found) => self.on_found(registry, now, id, found, tell),
            None => Ok(()),
        }
    }

    /// Tries one more address of a dial; the dial fails once none is left and none is being tried.
    pub(super) fn try_next(&mut self, registry: &Registry, now: Instant, id: u64, tell: &mut Tell<'_>) {
        loop {
            let Some(Task::Dial(dial)) = self.tasks.get_mut(&id) else { return };
            dial.next_at = None;
            let Some(at) = dial.left.pop_front() else {
                if dial.trying.is_empty() {
                    self.end_dial(registry, now, id, None, tell);
                }
                return;
            };
            let entry = self.slots.vacant_entry();
            let attempt = TcpStream::connect(at).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut stream, Token(TOKENS + entry.key()), interest)?;
                Ok(stream)
            });
            match attempt {
                Ok(stream) => {
                    dial.trying.push(entry.key());
                    dial.next_at = (!dial.left.is_empty()).then_some(now + NEXT_ADDRESS);
                    entry.insert(Slot::Dialing { stream, task: id, to: at });
                    return;
                }
                Err(error) => dial.failure = Some((at, error)),
            }
        }
    }

    /// An attempt has come to its end, perhaps.
    pub(super) fn on_dialing(&mut self, registry: &Registry, now: Instant, at: usize, tell: &mut Tell<'_>) {
        let Some(Slot::Dialing { stream, task, to }) = self.slots.get(at) else { return };
        let id = *task;
        let failed = match stream.take_error() {
            Ok(None) => match stream.peer_addr() {
                Ok(_) => None,
                // Not connected, and no error: it is still at it.
                Err(e) if e.kind() == ErrorKind::NotConnected => return,
                Err(e) => Some(e),
            },
            Ok(Some(e)) | Err(e) => Some(e),
        };
        match failed {
            None => self.end_dial(registry, now, id, Some(at), tell),
            Some(error) => {
                let failure = Some((*to, error));
                self.remove(registry, at);
                if let Some(Task::Dial(dial)) = self.tasks.get_mut(&id) {
                    dial.failure = failure;
                    dial.trying.retain(|other| *other != at);
                }
                self.try_next(registry, now, id, tell);
            }
        }
    }

    /// Ends a dial; its purpose, and the connection of the attempt that succeeded.
    fn take_dial(
        &mut self,
        registry: &Registry,
        id: u64,
        won: Option<usize>,
    ) -> Option<(Purpose, Option<TcpStream>)> {
        let Some(Task::Dial(dial)) = self.tasks.remove(&id) else { return None };
        let mut stream = None;
        for at in dial.trying {
            let Slot::Dialing { stream: mut tried, .. } = self.slots.remove(at) else {
                unreachable!("attempts of a dial are dialing")
            };
            // Registered anew under the token of its new slot.
            let _ = registry.deregister(&mut tried);
            if won == Some(at) {
                stream = Some(tried);
            }
        }
        Some((dial.purpose, stream))
    }

    /// Answers a dial: with the connection in the slot that has won, or that it has failed.
    pub(super) fn end_dial(
        &mut self,
        registry: &Registry,
        now: Instant,
        id: u64,
        won: Option<usize>,
        tell: &mut Tell<'_>,
    ) {
        if let Some(Task::Dial(dial)) = self.tasks.get(&id) {
            match (dial.purpose, won) {
                (Purpose::Election(to), Some(_)) => _ = self.unreachable.remove(&to),
                (Purpose::Election(to), None) => {
                    let trouble = dial.trouble();
                    let known = |(told, at): &(String, Instant)| *told == trouble && now < *at + TELL_AGAIN;
                    if !self.unreachable.get(&to).is_some_and(known) {
                        log::warn!("Cannot reach server {to} at its election port {trouble}; trying again");
                        self.unreachable.insert(to, (trouble, now));
                    }
                }
                (Purpose::Leader(_), Some(_)) => {}
                // The member counts these, and says so when it gives up: the first may come before the leader listens.
                (Purpose::Leader(_), None) => log::debug!("Cannot reach the leader at {}", dial.trouble()),
            }
        }
        let Some((purpose, stream)) = self.take_dial(registry, id, won) else { return };
        match purpose {
            Purpose::Election(to) => {
                let conn = stream.and_then(|stream| self.adopt_election(registry, stream));
                tell(Event::Election(match conn {
                    Some(conn) => connections::Event::Dialed { to, conn },
                    None => connections::Event::DialFailed { to },
                }));
            }
            Purpose::Leader(dial) => {
                let link = stream.and_then(|stream| self.adopt_link(registry, stream));
                tell(match link {
                    Some(link) => Event::LeaderDialed { dial, link },
                    None => Event::LeaderDialFailed(dial),
                });
            }
        }
    }
}
