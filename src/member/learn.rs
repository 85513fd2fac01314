//! Following and observing: what a [`Learner`] wants done.

use super::links::Link;
use super::{Action, DIALS_MAX, LinkId, Member, Role, Step};
use crate::ids::{ServerId, Zxid};
use crate::quorum::election;
use crate::quorum::elector;
use crate::quorum::image::ImageReader;
use crate::quorum::membership;
use crate::quorum::zab::leader::{self, Leader};
use crate::quorum::zab::learner::{self, Learner};
use crate::quorum::zab::packet::Packet;
use crate::server::{Forward, Serving};
use crate::state::Sink;
use crate::storage::EpochFile;
use crate::time::Millis;
use crate::tree::{TreeLoader, TreeOptions};
use crate::wire::address::HostPort;
use crate::wire::op::Op;
use crate::wire::quorum::Misbehaved;
use crate::wire::quorum::packet::FromLeader;

/// An attempt to reach a leader. Its answer may come when another leader is dialed already, in the very turn in which
/// that was decided: the connection would be taken for one with the new leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialId(pub u64);

/// An image on its way into memory.
pub(super) struct Loading {
    reader: ImageReader,
    sink: Sink,
    zxid: Zxid,
}

impl Loading {
    fn new(zxid: Zxid, field_max: usize, options: TreeOptions) -> Loading {
        Loading { reader: ImageReader::new(field_max), sink: Sink::new(options), zxid }
    }
}

impl Member {
    pub(super) fn begin_to_follow(&mut self, step: &mut Step<'_>, leader: ServerId) {
        let observer = self.views().role_of(self.settings.me) == membership::Role::Observer;
        let give_up_at = step.now.mono + self.settings.connect_timeout;
        self.role =
            Role::Connecting { leader, observer, dial: self.last_dial, dials: 0, give_up_at, retry_at: None };
        self.dial_leader(step);
    }

    pub(super) fn dial_leader(&mut self, step: &mut Step<'_>) {
        let Role::Connecting { leader, observer, dial, dials, retry_at, .. } = &mut self.role else { return };
        let leader = *leader;
        self.last_dial.0 += 1;
        *dial = self.last_dial;
        *dials += 1;
        *retry_at = None;
        let addresses = match self.settings.observer_master_port {
            Some(port) if *observer => self.next_master_addresses(port),
            _ => {
                self.learner_master = leader;
                self.quorum_addresses(leader)
            }
        };
        if addresses.is_empty() {
            return self.end_role(step, &format!("server {leader} has no address in the membership"), false);
        }
        step.actions.push(Action::DialLeader { dial: self.last_dial, addresses });
    }

    /// The voters in turn: any of them may be a follower that serves observers.
    fn next_master_addresses(&mut self, port: u16) -> Vec<HostPort> {
        let committed = self.elector.election().views().committed();
        let turn = self.next_master;
        self.next_master = turn.wrapping_add(1);
        let voters = committed.participants().count();
        let nth = master_in_turn(self.settings.me, turn, voters);
        let Some((sid, server)) = committed.participants().nth(nth) else { return Vec::new() };
        let addresses = server.addresses.iter().map(|at| HostPort { host: at.host.clone(), port }).collect();
        self.learner_master = sid;
        addresses
    }

    /// A follower that is in step begins to serve observers, if it is configured to.
    fn begin_to_serve_observers(&mut self, step: &mut Step<'_>) {
        let Some(port) = self.settings.observer_master_port else { return };
        let mut addresses = self.quorum_addresses(self.settings.me);
        // Who is in no list is asked by nobody.
        if addresses.is_empty() {
            return;
        }
        let start = self.leader_start(step);
        if let Role::Learning { observer: false, master, .. } = &mut self.role {
            *master = Some(Box::new(Leader::master(step.now.mono, start)));
            addresses.iter_mut().for_each(|address| address.port = port);
            step.actions.push(Action::Listen { addresses });
        }
    }

    pub(super) fn quorum_addresses(&self, sid: ServerId) -> Vec<HostPort> {
        let servers = &self.views().committed().servers;
        servers.get(&sid).map_or(Vec::new(), |server| {
            let at = server.addresses.iter();
            at.map(|at| HostPort { host: at.host.clone(), port: at.quorum_port }).collect()
        })
    }

    /// Where a leader is dialed, for the log.
    fn dialed(&self, leader: ServerId) -> String {
        let ports: Vec<String> = self.quorum_addresses(leader).iter().map(HostPort::to_string).collect();
        ports.join(", ")
    }

    pub(super) fn on_dial_failed(&mut self, step: &mut Step<'_>, failed: DialId) {
        let now = step.now.mono;
        let Role::Connecting { leader, dial, dials, give_up_at, retry_at, .. } = &mut self.role else {
            return;
        };
        if *dial != failed {
            return;
        }
        if *dials >= DIALS_MAX || now >= *give_up_at {
            let leader = *leader;
            let why = format!(
                "server {leader} does not accept connections on its quorum port {}",
                self.dialed(leader)
            );
            return self.end_role(step, &why, false);
        }
        // A refusal right after an election is normal: the winner may not listen yet. It will in a moment.
        let delay = self.settings.connect_delay.0;
        *retry_at = Some(now + Millis((delay >> 5 << (*dials - 1)).clamp(1, delay.max(1))));
    }

    pub(super) fn on_connect_timeout(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let Role::Connecting { leader, give_up_at, retry_at, .. } = &self.role else { return };
        if now >= *give_up_at {
            let leader = *leader;
            let why =
                format!("no connection to server {leader} in time, quorum port {}", self.dialed(leader));
            self.end_role(step, &why, false);
        } else if retry_at.is_some_and(|at| at <= now) {
            self.dial_leader(step);
        }
    }

    pub(super) fn on_leader_dialed(&mut self, step: &mut Step<'_>, dialed: DialId, link: LinkId) {
        let (leader, observer) = match self.role {
            Role::Connecting { leader, observer, dial, .. } if dial == dialed => (leader, observer),
            _ => return step.actions.push(Action::CloseLink(link)),
        };
        let now = step.now.mono;
        let start = learner::Start {
            sid: self.settings.me,
            observer,
            config_version: self.views().committed().version,
            accepted_epoch: self.epochs.accepted,
            current_epoch: self.epochs.current,
            last_zxid: if self.may_vote { step.server.last_zxid() } else { Zxid(-1) },
        };
        self.links.insert(link, Link::new(step.now));
        let mut actions = Vec::new();
        let learner = Box::new(Learner::new(now, start, self.settings.limits, &mut actions));
        self.role =
            Role::Learning { learner, link, leader, observer, since: now, loading: None, master: None };
        self.carry_out_learner(step, actions);
    }

    pub(super) fn learn(&mut self, step: &mut Step<'_>, event: learner::Event) {
        let Role::Learning { learner, .. } = &mut self.role else { return };
        let mut actions = Vec::new();
        learner.handle(step.now.mono, event, &mut actions);
        self.carry_out_learner(step, actions);
    }

    /// Bytes of the leader: packets, or the image that one of them announced. Returns how many were taken.
    pub(super) fn hear_leader(&mut self, step: &mut Step<'_>, bytes: &[u8]) -> Result<usize, Misbehaved> {
        let mut at = 0;
        loop {
            let Role::Learning { loading, .. } = &mut self.role else { return Ok(bytes.len()) };
            if let Some(image) = loading {
                let fed = image.reader.feed(&bytes[at..], &mut image.sink)?;
                at += fed.consumed;
                if !fed.done {
                    self.learn(step, learner::Event::ImageBytes);
                    return Ok(at);
                }
                let Some(image) = loading.take() else { unreachable!("looked at above") };
                let Loading { sink, zxid, .. } = *image;
                step.server.replace_state(sink.loader.finish(zxid), sink.sessions);
                self.learn(step, learner::Event::ImageLoaded);
                continue;
            }
            let Some((packet, len)) = FromLeader::decode(&bytes[at..], self.settings.field_max)? else {
                return Ok(at);
            };
            at += len;
            let packet = Packet::from_leader(&packet)?;
            self.note_plan(&packet);
            self.note_from_leader(step, &packet);
            if matches!(packet, Packet::Ping { .. }) {
                for (session, timeout_ms) in step.server.take_touched() {
                    self.learn(step, learner::Event::Touched { session, timeout_ms });
                }
            }
            self.learn(step, learner::Event::Packet(packet));
        }
    }

    /// How the leader brings this server to its history, for the operator.
    fn note_plan(&mut self, packet: &Packet) {
        let Role::Learning { leader, link, .. } = &self.role else { return };
        let plan = match packet {
            Packet::Diff { zxid } => {
                log::info!("Server {leader} sends a DIFF to {zxid}");
                "DIFF"
            }
            Packet::Trunc { zxid } => {
                log::warn!("Server {leader} tells this one to truncate its log to {zxid}");
                "TRUNC"
            }
            Packet::Snap { zxid } => {
                log::info!("Server {leader} sends a snapshot at {zxid}");
                "SNAP"
            }
            _ => return,
        };
        if let Some(link) = self.links.get_mut(link) {
            link.plan = plan;
        }
    }

    pub(super) fn pump_learner(&mut self, step: &mut Step<'_>) {
        let mut forwards = Vec::new();
        step.server.take_forwards(&mut forwards);
        for forward in forwards {
            let event = match forward {
                Forward::Request(request) => {
                    if request.op == Op::Sync.code() {
                        self.syncs.push_back(None);
                    }
                    learner::Event::Forward(request)
                }
                Forward::Revalidate { session, timeout_ms } => {
                    self.revalidations.push_back((session, None));
                    learner::Event::Revalidate { session, timeout_ms }
                }
            };
            self.learn(step, event);
        }
    }

    fn carry_out_learner(&mut self, step: &mut Step<'_>, actions: learner::Actions) {
        let mut synced = None;
        let mut actions = actions.into_iter().peekable();
        while let Some(action) = actions.next() {
            let Role::Learning { link, leader, observer, since, loading, .. } = &mut self.role else {
                return;
            };
            let (link, leader, observer, since) = (*link, *leader, *observer, *since);
            match action {
                learner::Action::Send(packet) => {
                    if let Packet::Ack { zxid } = packet {
                        self.note_ack_sent(step, zxid);
                    }
                    self.send(step.now, link, &packet);
                }
                learner::Action::PersistAcceptedEpoch(epoch) => {
                    self.persist(step, EpochFile::Accepted, epoch);
                }
                learner::Action::PersistCurrentEpoch(epoch) => self.persist(step, EpochFile::Current, epoch),
                learner::Action::SeeMembership(text) => self.see_leaders_membership(step, &text),
                learner::Action::Truncate { to } => self.load_state(step, Some(to)),
                learner::Action::LoadImage { zxid } => {
                    let options = step.server.options().rules.tree;
                    *loading = Some(Box::new(Loading::new(zxid, self.settings.field_max, options)));
                    self.window.clear();
                    self.unapplied.clear();
                    step.actions.push(Action::ImageBegins);
                    // Not both trees at a time: the old one is on disk if this comes to nothing.
                    step.server.replace_state(TreeLoader::new(options).finish(Zxid::ZERO), Vec::new());
                }
                learner::Action::SaveImage { through } => {
                    self.jobs += 1;
                    (self.appended, self.synced) = (through, through);
                    step.actions.push(Action::SaveImage { through });
                }
                learner::Action::Append(entry) => self.append(step, entry),
                learner::Action::SyncLog { through } => {
                    // One that led and made nothing has the epoch as its last zxid, and no record of it to sync.
                    if self.synced >= through.min(self.appended) {
                        synced = Some(through);
                    }
                }
                learner::Action::Commit(entry) => {
                    self.window.push(entry.clone());
                    let designated = match actions.peek() {
                        Some(learner::Action::Activate { zxid, designated }) if *zxid == entry.zxid => {
                            Some(*designated)
                        }
                        _ => None,
                    };
                    self.lead(step, leader::Event::Relay { entry: entry.clone(), designated });
                    match step.server.serving() {
                        Serving::No => step.server.apply_now(&entry.payload),
                        _ => {
                            self.note_commit(step, &entry.payload);
                            step.server.committed(entry);
                        }
                    }
                }
                learner::Action::Activate { zxid, designated } => self.activate(step, zxid, designated),
                learner::Action::Serve { epoch, config } => {
                    let now = step.now.mono;
                    let (sync_ms, without_leader_ms) =
                        (now.millis_since(since), now.millis_since(self.without_leader_since));
                    let metrics = &mut step.server.metrics;
                    metrics.unavailable_time.add_ms(without_leader_ms);
                    match observer {
                        true => metrics.observer_sync_time.add_ms(sync_ms),
                        false => metrics.follower_sync_time.add_ms(sync_ms),
                    }
                    log::info!(
                        "In step by {} with server {leader} at {} in epoch {epoch}, {sync_ms} ms after connecting, {without_leader_ms} ms without a leader",
                        self.links.get(&link).map_or("nothing", |link| link.plan),
                        step.server.last_zxid()
                    );
                    self.show_config(step);
                    // As the leader does. In Java only that one does, so until the first transaction of an epoch its
                    // followers are behind it: they refuse its clients, and cannot be elected in its place.
                    let first = epoch.first();
                    let from = (step.server.last_zxid() < first).then_some(first);
                    step.server.serve(step.now, Serving::Learning, from);
                    self.elect(step, elector::Event::Server(election::Event::Synced { epoch: epoch.0 }));
                    self.begin_to_serve_observers(step);
                    if let Some(config) = config {
                        self.adopt_config(step, &config);
                    }
                }
                learner::Action::SyncDone => match self.syncs.pop_front() {
                    Some(Some(link)) => {
                        self.lead(step, leader::Event::SyncAnswered { learner: link.learner() });
                    }
                    _ => step.server.sync_done(),
                },
                learner::Action::Revalidated { session, valid } => {
                    let asked = self.revalidations.iter().position(|(asked, _)| *asked == session);
                    match asked.and_then(|at| self.revalidations.remove(at)) {
                        Some((_, Some(link))) => {
                            let learner = link.learner();
                            self.lead(step, leader::Event::Revalidated { learner, session, valid });
                        }
                        _ => step.server.revalidated(session, valid),
                    }
                }
                learner::Action::End { reason, reload } => {
                    return self.end_role(step, &reason.to_string(), reload);
                }
            }
        }
        if let Some(through) = synced {
            self.learn(step, learner::Event::LogSynced { through });
        }
    }
}

/// Which voter an observer tries in this turn. Neighbours begin with different ones, so that the observers are spread over
/// the followers, which they are there to spread the leader's load over; Java shuffles the voters.
fn master_in_turn(me: ServerId, turn: usize, voters: usize) -> usize {
    (me.0.unsigned_abs() as usize).wrapping_add(turn) % voters.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observers_begin_with_different_voters_and_come_to_all_of_them() {
        let turns = |me| [0, 1, 2].map(|turn| master_in_turn(ServerId(me), turn, 3));
        assert_eq!([turns(4), turns(5), turns(6)], [[1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        assert_eq!(master_in_turn(ServerId(4), 0, 0), 0);
    }
}
