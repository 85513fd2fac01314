//! Between two roles: one ends, and the next begins once nothing of it is under way any more.
//!
//! What is under way is the log up to its end, and jobs of the shell: epochs, an image, a state that is loaded. Each is
//! counted when it is asked for and when it is answered, and [`Role::Settling`] waits until all of them are. So an
//! answer always is for the role that hears it, or for none.

use std::mem;

use super::{Action, Member, Role, Step, looking};
use crate::ids::Zxid;
use crate::quorum::zab::{Epoch, leader, learner};
use crate::quorum::{election, elector};
use crate::state::State;
use crate::storage::EpochFile;

impl Member {
    /// The present role is over: clients and peers are let go, and the log is drained before anything else.
    pub(super) fn end_role(&mut self, step: &mut Step<'_>, why: &str, reload: bool) {
        log::warn!("No longer {}: {why}", self.role.doing());
        step.server.stop_serving();
        self.close_links(step);
        self.without_leader_since = step.now.mono;
        self.handing_over = None;
        self.times.clear();
        match mem::replace(&mut self.role, Role::Settling { reload }) {
            Role::Leading { leader, .. } => {
                step.actions.push(Action::StopListening);
                self.window = leader.into_committed_log();
            }
            Role::Learning { learner, master, .. } => {
                if learner.tree_is_ahead_of_disk() {
                    self.role = Role::Settling { reload: true };
                }
                if master.is_some() {
                    step.actions.push(Action::StopListening);
                }
                self.syncs.clear();
                self.revalidations.clear();
            }
            _ => {}
        }
        self.settle(step);
    }

    /// Goes on to look for a leader once everything of the last role is on disk and applied.
    pub(super) fn settle(&mut self, step: &mut Step<'_>) {
        let Role::Settling { reload } = &mut self.role else { return };
        if self.jobs > 0 || self.synced < self.appended {
            return;
        }
        if mem::take(reload) {
            self.load_state(step, None);
            return;
        }
        let applied = step.server.last_zxid();
        if self.unapplied.back().is_some_and(|entry| entry.zxid > applied) {
            step.actions.push(Action::AbandonSnapshot);
        }
        for entry in mem::take(&mut self.unapplied) {
            if entry.zxid > applied {
                step.server.apply_now(&entry.payload);
                self.window.push(entry);
            }
        }
        let last_zxid = step.server.last_zxid();
        // Who has a transaction of an epoch has all that its leader began with; a crash may have come between the
        // image that has it and the file that says so (ZOOKEEPER-2307, 2354).
        let epoch = Epoch::of(last_zxid);
        if epoch > self.epochs.current && epoch <= self.epochs.accepted {
            return self.persist(step, EpochFile::Current, epoch);
        }
        let now = step.now.mono;
        if let Some(leader) = self.designated.take() {
            return match leader == self.settings.me {
                true => self.begin_to_lead(step),
                false => self.begin_to_follow(step, leader),
            };
        }
        self.role = Role::Looking {
            since: now,
            tell_at: now + looking::LONG,
            read_only_at: self.settings.read_only_after.map(|after| now + after),
        };
        step.server.metrics.looking_count += 1;
        let zxid = if self.may_vote { last_zxid } else { Zxid(-1) };
        let epoch = self.epochs.current.0;
        match self.may_vote {
            true => log::info!("LOOKING for a leader; last zxid {zxid}, epoch {epoch:#x}"),
            false => log::warn!(
                "LOOKING for a leader without a vote: the data directory is empty, and db.autocreate is off; with a file \
                 `initialize` in dataDir it is taken for a new one"
            ),
        }
        self.elect(step, elector::Event::Server(election::Event::Look { zxid, epoch }));
    }

    pub(super) fn persist(&mut self, step: &mut Step<'_>, file: EpochFile, epoch: Epoch) {
        // Known from here on: the machines wait for the file before they say anything about it.
        match file {
            EpochFile::Current => self.epochs.current = epoch,
            EpochFile::Accepted => self.epochs.accepted = epoch,
        }
        self.jobs += 1;
        step.actions.push(Action::PersistEpoch(file, epoch.0));
    }

    pub(super) fn on_epoch_persisted(&mut self, step: &mut Step<'_>, file: EpochFile) {
        self.jobs -= 1;
        match &self.role {
            Role::Leading { .. } => self.lead(
                step,
                match file {
                    EpochFile::Accepted => leader::Event::AcceptedEpochPersisted,
                    EpochFile::Current => leader::Event::CurrentEpochPersisted,
                },
            ),
            Role::Learning { .. } => self.learn(
                step,
                match file {
                    EpochFile::Accepted => learner::Event::AcceptedEpochPersisted,
                    EpochFile::Current => learner::Event::CurrentEpochPersisted,
                },
            ),
            _ => self.settle(step),
        }
    }

    pub(super) fn load_state(&mut self, step: &mut Step<'_>, truncate_to: Option<Zxid>) {
        self.jobs += 1;
        self.unapplied.clear();
        self.truncating_to = truncate_to;
        step.actions.push(Action::ImageBegins);
        step.actions.push(Action::LoadState { truncate_to });
    }

    pub(super) fn on_state_loaded(&mut self, step: &mut Step<'_>, state: State) {
        self.jobs -= 1;
        self.take_window(state.newest);
        step.server.replace_state(state.tree, state.sessions);
        let last_zxid = step.server.last_zxid();
        (self.appended, self.synced) = (last_zxid, last_zxid);
        match (&self.role, self.truncating_to.take()) {
            (Role::Learning { .. }, Some(to)) if last_zxid != to => {
                self.learn(step, learner::Event::TruncatedShort { last: last_zxid });
            }
            (Role::Learning { .. }, _) => self.learn(step, learner::Event::Truncated),
            _ => self.settle(step),
        }
    }
}
