//! The election port as a whole: the [`election`] and the [`connections`] that carry its messages.
//!
//! This is what a server holds, in every role and for as long as it lives.

use super::connections::{self, ConnId, Connections, Why};
use super::election::{self, Election, PeerState};
use super::membership::Membership;
use super::views::Views;
use crate::ids::ServerId;
use crate::time::Instant;
use crate::wire::address::HostPort;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Something about this server itself: [`Look`](election::Event::Look) and
    /// [`Synced`](election::Event::Synced). A reconfiguration is [`Event::Reconfigured`].
    Server(election::Event<'a>),
    /// Something about sockets.
    Network(connections::Event<'a>),
    /// See [`election::Event::Reconfigured`]. If the committed members or addresses are others than before,
    /// all connections are closed and the election's rounds begin again.
    Reconfigured { views: Views, designated: Option<election::Designated> },
    /// The time of [`Elector::next_timeout`] has come.
    Timeout,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// See [`connections::Action::Dial`].
    Dial {
        to: ServerId,
        addresses: Vec<HostPort>,
    },
    Send {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// Once what was to be sent has left.
    Close {
        conn: ConnId,
        why: Why,
    },
    /// See [`election::Action::Elected`].
    Elected {
        state: PeerState,
        leader: ServerId,
        supporters: Vec<ServerId>,
    },
    /// See [`election::Action::Adopt`]; the elector has done its own part.
    Adopt {
        membership: Membership,
        restart: bool,
    },
    /// See [`election::Action::VoterLooks`].
    VoterLooks(ServerId),
}

/// An election and its connections.
#[derive(Debug)]
pub struct Elector {
    election: Election,
    connections: Connections,
    /// What the two have to tell each other; empty between events.
    votes: Vec<election::Action>,
    network: Vec<connections::Action>,
}

impl Elector {
    pub fn new(election: Election, connections: Connections) -> Elector {
        Elector { election, connections, votes: Vec::new(), network: Vec::new() }
    }

    pub fn election(&self) -> &Election {
        &self.election
    }

    /// When to send [`Event::Timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        self.election.next_timeout().into_iter().chain(self.connections.next_timeout()).min()
    }

    /// The only way in. At most [`connections::INBOX_MAX`] messages are worked on in one call.
    pub fn handle(&mut self, now: Instant, event: Event<'_>, actions: &mut Vec<Action>) {
        match event {
            Event::Server(event) => self.election.handle(now, event, &mut self.votes),
            Event::Network(event) => self.connections.handle(now, event, &mut self.network),
            Event::Reconfigured { views, designated } => {
                let restart = !views.committed().has_members_of(self.election.views().committed());
                let event = connections::Event::Reconfigured { views: views.clone(), restart };
                self.connections.handle(now, event, &mut self.network);
                let event = election::Event::Reconfigured { views, designated };
                self.election.handle(now, event, &mut self.votes);
            }
            Event::Timeout => {
                self.connections.handle(now, connections::Event::Timeout, &mut self.network);
                let event = election::Event::Timeout { delivered: self.connections.any_delivered() };
                self.election.handle(now, event, &mut self.votes);
            }
        }
        self.settle(now, actions);
    }

    /// Carries what one of the two wants from the other, until neither wants anything.
    fn settle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        loop {
            for action in std::mem::take(&mut self.votes) {
                self.carry_out(now, action, actions);
            }
            for action in std::mem::take(&mut self.network) {
                let event = match action {
                    connections::Action::Connected(sid) => election::Event::Connected(sid),
                    connections::Action::Unreachable(sid) => election::Event::Unreachable(sid),
                    connections::Action::Dial { to, addresses } => {
                        actions.push(Action::Dial { to, addresses });
                        continue;
                    }
                    connections::Action::Send { conn, bytes } => {
                        actions.push(Action::Send { conn, bytes });
                        continue;
                    }
                    connections::Action::Close { conn, why } => {
                        actions.push(Action::Close { conn, why });
                        continue;
                    }
                };
                self.election.handle(now, event, &mut self.votes);
            }
            if self.votes.is_empty() && self.network.is_empty() {
                let Some((from, body)) = self.connections.next_message() else { return };
                let event = election::Event::Message { from, body: &body };
                self.election.handle(now, event, &mut self.votes);
            }
        }
    }

    fn carry_out(&mut self, now: Instant, action: election::Action, actions: &mut Vec<Action>) {
        let event = match action {
            election::Action::Send { to, frame } => connections::Event::Send { to, frame },
            election::Action::ConnectAll => connections::Event::ConnectAll,
            election::Action::Adopt { membership, restart } => {
                actions.push(Action::Adopt { membership, restart });
                connections::Event::Reconfigured { views: self.election.views().clone(), restart }
            }
            election::Action::Elected { state, leader, supporters } => {
                return actions.push(Action::Elected { state, leader, supporters });
            }
            election::Action::VoterLooks(sid) => return actions.push(Action::VoterLooks(sid)),
        };
        self.connections.handle(now, event, &mut self.network);
    }
}
