//! Leading: what a [`Leader`] wants done.

use std::collections::BTreeSet;

use super::links::{Link, Piece};
use super::looking::servers;
use super::{Action, LinkId, Member, Role, Step};
use crate::ids::{ServerId, Zxid};
use crate::metrics::BufferStats;
use crate::quorum::election;
use crate::quorum::elector;
use crate::quorum::zab::leader::handler::{LearnerId, SyncKind};
use crate::quorum::zab::leader::{self, Leader, Options, Start};
use crate::quorum::zab::learner;
use crate::quorum::zab::packet::{Entry, Packet};
use crate::server::{Made, Serving};
use crate::storage::EpochFile;
use crate::wire::op::Op;
use crate::wire::quorum::Misbehaved;
use crate::wire::quorum::packet::FromLearner;

impl Member {
    /// What this server has to lead with, or to serve observers with.
    pub(super) fn leader_start(&self, step: &Step<'_>) -> Start {
        let settings = &self.settings;
        Start {
            sid: settings.me,
            views: self.views().clone(),
            accepted_epoch: self.epochs.accepted,
            current_epoch: self.epochs.current,
            last_zxid: step.server.last_zxid(),
            committed_log: self.window.clone(),
            options: Options {
                limits: settings.limits,
                snap_syncs_max: settings.snap_syncs_max,
                diff_syncs_max: settings.diff_syncs_max,
                force_snap: settings.force_snap,
                counter_end: settings.counter_end,
                reconfig_enabled: settings.reconfig_enabled,
            },
        }
    }

    pub(super) fn begin_to_lead(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let start = self.leader_start(step);
        step.actions.push(Action::Listen { addresses: self.quorum_addresses(self.settings.me) });
        let mut actions = Vec::new();
        let leader = Box::new(Leader::new(now, start, &mut actions));
        self.proposal_sizes = BufferStats::default();
        self.role = Role::Leading { leader, since: now };
        self.carry_out_leader(step, actions);
    }

    pub(super) fn on_learner(&mut self, step: &mut Step<'_>, link: LinkId) {
        if self.serving_learners().is_none() {
            return step.actions.push(Action::CloseLink(link));
        }
        self.make_room_for_strangers(step);
        self.links.insert(link, Link::new(step.now));
        self.lead(step, leader::Event::Connected { learner: link.learner() });
    }

    pub(super) fn lead(&mut self, step: &mut Step<'_>, event: leader::Event) {
        let leader = match &mut self.role {
            Role::Leading { leader, .. } | Role::Learning { master: Some(leader), .. } => leader,
            _ => return,
        };
        let mut actions = Vec::new();
        leader.handle(step.now.mono, event, &mut actions);
        self.carry_out_leader(step, actions);
    }

    /// The machine that serves learners here: a leader's, or an observer master's.
    pub(super) fn serving_learners(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leading { leader, .. } | Role::Learning { master: Some(leader), .. } => Some(leader),
            _ => None,
        }
    }

    fn servers_in_step(&self, step: &Step<'_>) -> BTreeSet<ServerId> {
        self.leader().into_iter().flat_map(|leader| leader.servers_in_step(step.now.mono)).collect()
    }

    /// Packets of a learner. Returns how many bytes were taken.
    pub(super) fn hear_learner(
        &mut self,
        step: &mut Step<'_>,
        link: LinkId,
        bytes: &[u8],
    ) -> Result<usize, Misbehaved> {
        let mut at = 0;
        while self.links.contains_key(&link)
            && let Some((packet, len)) = FromLearner::decode(&bytes[at..], self.settings.field_max)?
        {
            at += len;
            let packet = Packet::from_learner(packet);
            self.note_from_learner(step, link, &packet);
            self.lead(step, leader::Event::Packet { learner: link.learner(), packet });
        }
        Ok(at)
    }

    /// What the server made goes out as proposals, in its order.
    pub(super) fn pump_leader(&mut self, step: &mut Step<'_>) {
        let mut made = Vec::new();
        step.server.take_made(&mut made);
        for made in made {
            if let Made::Txn(append) | Made::Reconfig { append, .. } = &made {
                step.server.metrics.proposal_count += 1;
                self.proposal_sizes.add(append.payload.len());
                self.note_made(step, append.zxid);
            }
            let event = match made {
                Made::Txn(append) => {
                    leader::Event::Propose(Entry { zxid: append.zxid, payload: append.payload })
                }
                Made::Reconfig { append, membership } => {
                    let entry = Entry { zxid: append.zxid, payload: append.payload };
                    let may_lead = self.keeps_quorum_address(&membership);
                    leader::Event::ProposeReconfig { entry, membership, may_lead }
                }
                Made::Sync => leader::Event::SyncRequested { from: None },
                Made::ForwardedSync(learner) => leader::Event::SyncRequested { from: Some(learner) },
            };
            // A leader that steps down with what came before has no use for the rest.
            self.lead(step, event);
        }
        self.tell_standing(step);
    }

    fn carry_out_leader(&mut self, step: &mut Step<'_>, actions: leader::Actions) {
        let mut answers = Vec::new();
        for action in actions {
            if self.serving_learners().is_none() {
                return;
            }
            let leads = matches!(self.role, Role::Leading { .. });
            match action {
                leader::Action::SendTo { learner, packet } => {
                    self.note_sync(step, learner, &packet);
                    self.send(step.now, LinkId::of(learner), &packet);
                }
                leader::Action::SendLog { learner, after, before } => {
                    self.stream(LinkId::of(learner), Piece::Log { after, before, asked: false });
                }
                leader::Action::SendImage { learner } => {
                    let through = self.serving_learners().map_or(Zxid::ZERO, Leader::last_committed);
                    self.stream(LinkId::of(learner), Piece::Image { through, cursor: None });
                }
                leader::Action::Locate { learner, .. } if self.log_is_broken => {
                    answers.push(leader::Event::Located { learner, meeting: None });
                }
                leader::Action::Locate { learner, zxid } => {
                    step.actions.push(Action::Locate { link: LinkId::of(learner), zxid });
                }
                leader::Action::Close { learner, reason } => {
                    log::warn!("Closing the connection of {}: {reason}", self.peer_name(LinkId::of(learner)));
                    self.close_link(step, LinkId::of(learner));
                }
                leader::Action::PersistAcceptedEpoch(epoch) => self.persist(step, EpochFile::Accepted, epoch),
                leader::Action::PersistCurrentEpoch(epoch) => self.persist(step, EpochFile::Current, epoch),
                leader::Action::Append(entry) => self.append(step, entry),
                leader::Action::Commit(entry) => {
                    self.note_quorum(step, entry.zxid);
                    step.server.committable(entry.zxid);
                }
                leader::Action::Activate { zxid, designated } => self.activate(step, zxid, designated),
                leader::Action::Serve { epoch } => {
                    let Role::Leading { since, .. } = self.role else { return };
                    let now = step.now.mono;
                    let without_leader_ms = now.millis_since(self.without_leader_since);
                    step.server.metrics.unavailable_time.add_ms(without_leader_ms);
                    step.server.metrics.leader_unavailable_time.add_ms(without_leader_ms);
                    let here = servers(self.servers_in_step(step));
                    log::info!(
                        "LEADING in epoch {epoch} from {} on, with {here} in step, {} ms after the election, {without_leader_ms} ms without a leader",
                        step.server.last_zxid(),
                        now.millis_since(since)
                    );
                    self.show_config(step);
                    step.server.serve(step.now, Serving::Leading, Some(epoch.first()));
                    if !self.settings.leader_serves {
                        step.server.turn_clients_away();
                    }
                    self.take_leaders_views(step);
                    self.elect(step, elector::Event::Server(election::Event::Synced { epoch: epoch.0 }));
                }
                leader::Action::Request { learner, request } if leads => {
                    step.server.forwarded(step.now, learner, &request);
                }
                // An observer master's leader must not tell whether it asks for itself.
                leader::Action::Request { learner, request } => {
                    if request.op == Op::Sync.code() {
                        self.syncs.push_back(Some(LinkId::of(learner)));
                    }
                    self.learn(step, learner::Event::Forward(request));
                }
                leader::Action::Touch { touched } if leads => step.server.touched(step.now, &touched),
                leader::Action::Touch { touched } => {
                    for (session, timeout_ms) in touched {
                        self.learn(step, learner::Event::Touched { session, timeout_ms });
                    }
                }
                leader::Action::Revalidate { learner, session, timeout_ms } if !leads => {
                    self.revalidations.push_back((session, Some(LinkId::of(learner))));
                    self.learn(step, learner::Event::Revalidate { session, timeout_ms });
                }
                leader::Action::Revalidate { learner, session, timeout_ms } => {
                    let valid = step.server.revalidate(step.now, learner, session, timeout_ms);
                    answers.push(leader::Event::Revalidated { learner, session, valid });
                }
                leader::Action::SyncDone => step.server.sync_done(),
                leader::Action::StepDown(reason) => {
                    let here = self.servers_in_step(step);
                    let (here, missing): (Vec<_>, Vec<_>) =
                        self.views().voters().into_iter().partition(|sid| here.contains(sid));
                    let (here, missing) = (servers(here), servers(missing));
                    let why = format!("{reason}; of the voters only {here}, not {missing}");
                    return self.end_role(step, &why, false);
                }
            }
        }
        for answer in answers {
            self.lead(step, answer);
        }
    }

    /// How a learner is brought to this server's history and how long that takes, for the operator.
    fn note_sync(&mut self, step: &mut Step<'_>, learner: LearnerId, packet: &Packet) {
        let now = step.now.mono;
        let Some(link) = self.links.get_mut(&LinkId::of(learner)) else { return };
        let name = link.traffic.name();
        let (plan, kind) = match packet {
            Packet::Diff { zxid } => {
                log::info!("Sending {name} a DIFF to {zxid}");
                ("DIFF", SyncKind::Diff)
            }
            Packet::Trunc { zxid } => {
                log::info!("Telling {name} to truncate its log to {zxid}");
                ("TRUNC", SyncKind::Diff)
            }
            Packet::Snap { .. } => {
                log::info!("Sending {name} a snapshot at {}", step.server.last_zxid());
                ("SNAP", SyncKind::Snap)
            }
            Packet::UpToDate => {
                let took = now.millis_since(link.since);
                return log::info!("In step by {}: {name}, {took} ms after it connected", link.plan);
            }
            _ => return,
        };
        link.plan = plan;
        let metrics = &mut step.server.metrics;
        match kind {
            SyncKind::Diff => metrics.diff_count += 1,
            SyncKind::Snap => metrics.snap_count += 1,
        }
        self.note_inflight(step, kind);
    }

    pub(super) fn on_log_piece(
        &mut self,
        step: &mut Step<'_>,
        link: LinkId,
        entries: Vec<(Zxid, Box<[u8]>)>,
        end: bool,
    ) {
        let Some(to) = self.links.get_mut(&link) else { return };
        if !to.log_piece(entries, end) {
            return;
        }
        self.list(link);
        self.lead(step, leader::Event::Progress { learner: link.learner() });
    }
}
