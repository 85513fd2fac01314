//! Names of peers, looked up on a thread of their own: the resolver may block for many seconds, and nothing else may
//! stand in line behind it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::Waker;

use crate::wire::address::HostPort;

/// What was asked, by the number that the asker gave it, and the addresses in the order of the names. A name that is
/// not known adds none.
pub struct Answer {
    pub asked: u64,
    pub found: Vec<SocketAddr>,
}

pub struct Lookups {
    questions: Sender<(u64, Vec<HostPort>)>,
    answers: Receiver<Answer>,
}

impl Lookups {
    /// # Errors
    /// No thread could be started.
    pub fn start(waker: Arc<Waker>) -> io::Result<Lookups> {
        let (questions, asked) = channel::<(u64, Vec<HostPort>)>();
        let (answer, answers) = channel();
        thread::Builder::new().name("resolve".into()).spawn(move || {
            for (asked, names) in asked {
                let found = names.iter().flat_map(look_up).collect();
                // The reactor may be gone at the end of the process; then nobody needs the answer.
                if answer.send(Answer { asked, found }).is_ok() {
                    let _ = waker.wake();
                }
            }
        })?;
        Ok(Lookups { questions, answers })
    }

    /// Addresses at once, if all of these are addresses; otherwise an [`Answer`] will come.
    pub fn ask(&self, asked: u64, names: Vec<HostPort>) -> Option<Vec<SocketAddr>> {
        let literal = |name: &HostPort| Some(SocketAddr::new(name.host.parse::<IpAddr>().ok()?, name.port));
        if let Some(found) = names.iter().map(literal).collect() {
            return Some(found);
        }
        self.questions.send((asked, names)).expect("the thread lives as long as the process");
        None
    }

    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn look_up(name: &HostPort) -> Vec<SocketAddr> {
    match (name.host.as_str(), name.port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            log::debug!("Cannot look up {}: {error}", name.host);
            Vec::new()
        }
    }
}
