//! Looking for a leader: what an election wants done, and what an operator hears of it.

use super::{Action, Member, Role, Step};
use crate::ids::ServerId;
use crate::quorum::election::PeerState;
use crate::quorum::elector;
use crate::time::{Instant, Millis};

/// An election that takes as long is spoken of before it ends; then again each time that it has taken twice as long.
pub(super) const LONG: Millis = Millis(1000);

impl Member {
    pub(super) fn elect(&mut self, step: &mut Step<'_>, event: elector::Event<'_>) {
        let mut actions = Vec::new();
        self.elector.handle(step.now.mono, event, &mut actions);
        for action in actions {
            match action {
                elector::Action::Dial { to, addresses } => {
                    step.actions.push(Action::DialElection { to, addresses });
                }
                elector::Action::Send { conn, bytes } => {
                    step.actions.push(Action::SendElection { conn, bytes });
                }
                elector::Action::Close { conn, why } => {
                    log::debug!("Closing an election connection: {why:?}");
                    step.actions.push(Action::CloseElection { conn });
                }
                elector::Action::Elected { state, leader, supporters } => {
                    self.on_elected(step, state, leader, &supporters);
                }
                elector::Action::Adopt { membership, restart } => {
                    let effect = match restart {
                        true => "its members are others: the election begins again",
                        false => "the members are the same",
                    };
                    log::info!("A peer has a newer membership, version {:x}; {effect}", membership.version);
                    step.actions.push(Action::Membership(Box::new(self.views().clone())));
                }
                elector::Action::VoterLooks(sid) => self.on_voter_looks(step, sid),
            }
        }
    }

    fn on_voter_looks(&mut self, step: &mut Step<'_>, sid: ServerId) {
        let now = step.now.mono;
        let why = match &self.role {
            Role::Connecting { leader, .. } if *leader == sid => {
                format!("server {sid} looks for a leader itself")
            }
            Role::Leading { leader, since }
                if leader.collects_epochs()
                    && self.settings.epoch_wait_max.is_some_and(|max| now >= *since + max) =>
            {
                step.server.metrics.quit_leading_due_to_disloyal_voter += 1;
                format!("server {sid} still looks for a leader")
            }
            _ => return log::debug!("Voter {sid} looks for a leader"),
        };
        self.end_role(step, &why, false);
    }

    fn on_elected(
        &mut self,
        step: &mut Step<'_>,
        state: PeerState,
        leader: ServerId,
        supporters: &[ServerId],
    ) {
        let Role::Looking { since, .. } = self.role else { return };
        step.server.stop_serving();
        let now = step.now.mono;
        let took = now.millis_since(since);
        // As in Java an observer takes no part in elections, it hears of them.
        if state != PeerState::Observing {
            step.server.metrics.election_time.add_ms(took);
        }
        let vote = self.elector.election().current_vote();
        log::info!(
            "{} - LEADER ELECTION TOOK - {took} MS: {} elected server {leader} in round {}, its last zxid {} of epoch {:#x}",
            state_name(state),
            servers(supporters.iter().copied()),
            self.elector.election().round(),
            vote.zxid,
            vote.epoch
        );
        match state {
            PeerState::Leading => self.begin_to_lead(step),
            PeerState::Looking | PeerState::Unknown(_) => {}
            PeerState::Following | PeerState::Observing => self.begin_to_follow(step, leader),
        }
    }

    /// Nobody is elected for long: who is missing?
    pub(super) fn tell_of_long_election(&mut self, now: Instant) {
        let Role::Looking { since, tell_at, .. } = &mut self.role else { return };
        if now < *tell_at {
            return;
        }
        let took = now.millis_since(*since);
        *tell_at = now + Millis(took);
        let election = self.elector.election();
        let heard = election.heard();
        let (here, missing): (Vec<_>, Vec<_>) =
            election.views().voters().into_iter().partition(|sid| heard.contains(sid));
        let mistaken = election.mistaken();
        let twin = match mistaken.len() {
            0 => String::new(),
            _ => format!("; this one is followed by {}: do two servers have one myid?", servers(mistaken)),
        };
        log::warn!(
            "Without a leader for {took} ms: of the voters, {} been heard, {} not{twin}",
            have(&here),
            have(&missing).trim_end_matches(" have").trim_end_matches(" has")
        );
    }
}

/// `server 1 has`, `servers 1, 2 and 3 have`.
fn have(of: &[ServerId]) -> String {
    format!("{} {}", servers(of.iter().copied()), if of.len() > 1 { "have" } else { "has" })
}

/// `server 1`, `servers 1, 2 and 3`.
pub(super) fn servers(of: impl IntoIterator<Item = ServerId>) -> String {
    let names: Vec<String> = of.into_iter().map(|sid| sid.to_string()).collect();
    match names.split_last() {
        None => "no server".to_string(),
        Some((only, [])) => format!("server {only}"),
        Some((last, others)) => format!("servers {} and {last}", others.join(", ")),
    }
}

/// As Java's log has them: tools look for these words.
fn state_name(state: PeerState) -> &'static str {
    match state {
        PeerState::Looking | PeerState::Unknown(_) => "LOOKING",
        PeerState::Following => "FOLLOWING",
        PeerState::Leading => "LEADING",
        PeerState::Observing => "OBSERVING",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_listed_as_an_operator_says_it() {
        let of = |ids: &[i64]| servers(ids.iter().map(|id| ServerId(*id)));
        assert_eq!(of(&[]), "no server");
        assert_eq!(of(&[3]), "server 3");
        assert_eq!(of(&[1, 2, 3]), "servers 1, 2 and 3");
        let has = |ids: &[i64]| have(&ids.iter().map(|id| ServerId(*id)).collect::<Vec<_>>());
        assert_eq!(
            [has(&[]), has(&[3]), has(&[1, 2])],
            ["no server has", "server 3 has", "servers 1 and 2 have"]
        );
    }
}
