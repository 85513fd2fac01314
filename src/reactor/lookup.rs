//! Names of peers, looked up beside the reactor: the resolver may block for many seconds.
//!
//! Every question has a thread of its own, so that a name whose servers do not answer stands in nobody's way but its own.
//! Questions come with dials, and dials are paced; [`RUNNING_MAX`] bounds what a resolver that never returns can cost.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use crate::wire::address::HostPort;

/// Questions under way at a time. One more is answered at once with no address, and its dial is tried again later.
const RUNNING_MAX: usize = 64;

/// Looks one name up; every time anew, because a peer may have moved.
pub type Resolver = fn(&HostPort) -> io::Result<Vec<SocketAddr>>;

/// The system's resolver.
pub fn system(name: &HostPort) -> io::Result<Vec<SocketAddr>> {
    Ok((name.host.as_str(), name.port).to_socket_addrs()?.collect())
}

/// What was asked, by the number that the asker gave it, and the addresses in the order of the names. A name that is
/// not known adds none.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub asked: u64,
    pub found: Vec<SocketAddr>,
}

pub struct Lookups {
    resolver: Resolver,
    waker: Arc<Waker>,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
    running: usize,
}

impl Lookups {
    /// `waker` is woken for every [`Answer`].
    pub fn new(resolver: Resolver, waker: Arc<Waker>) -> Lookups {
        let (answer, answers) = channel();
        Lookups { resolver, waker, answer, answers, running: 0 }
    }

    /// Addresses at once, if all of these are addresses; otherwise an [`Answer`] will come.
    pub fn ask(&mut self, asked: u64, names: Vec<HostPort>) -> Option<Vec<SocketAddr>> {
        let literal = |name: &HostPort| Some(SocketAddr::new(name.host.parse::<IpAddr>().ok()?, name.port));
        if let Some(found) = names.iter().map(literal).collect() {
            return Some(found);
        }
        if self.running >= RUNNING_MAX {
            log::warn!("{RUNNING_MAX} look-ups of peers' names have had no answer yet");
            return Some(Vec::new());
        }
        let (resolver, waker, answer) = (self.resolver, self.waker.clone(), self.answer.clone());
        let started = thread::Builder::new().name("resolve".into()).spawn(move || {
            let found = names.iter().flat_map(|name| look_up(resolver, name)).collect();
            // The reactor may be gone at the end of the process; then nobody needs the answer.
            if answer.send(Answer { asked, found }).is_ok() {
                let _ = waker.wake();
            }
        });
        match started {
            Ok(_) => {
                self.running += 1;
                None
            }
            Err(error) => {
                log::error!("Cannot start a thread to look up a peer's name: {error}");
                Some(Vec::new())
            }
        }
    }

    pub fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.running -= 1;
        Some(answer)
    }
}

fn look_up(resolver: Resolver, name: &HostPort) -> Vec<SocketAddr> {
    resolver(name).unwrap_or_else(|error| {
        log::debug!("Cannot look up {}: {error}", name.host);
        Vec::new()
    })
}
