//! Proposals: sent, counted, committed in order.

use std::ops::Bound;
use std::rc::Rc;

use super::handler::LearnerId;
use super::{Action, Actions, Leader, Phase, StepDown};
use crate::ids::{ServerId, Zxid};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::quorum::zab::packet::{Entry, Packet};
use crate::time::Instant;

/// A transaction that waits for its quorum.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub entry: Entry,
    /// Learners that have it on disk; this server's own ACK is the synced end of its log.
    acks: Vec<ServerId>,
    /// The memberships that must agree, as they were when it was proposed.
    views: Rc<Views>,
    /// Of a reconfiguration: may this server lead under it?
    reconfig: Option<bool>,
}

impl Leader {
    pub(super) fn propose(
        &mut self,
        now: Instant,
        entry: Entry,
        reconfig: Option<(Membership, bool)>,
        actions: &mut Actions,
    ) {
        assert!(matches!(self.phase, Phase::Broadcasting { .. }), "only an established leader has requests");
        assert_eq!(entry.zxid, self.last_proposed.next(), "zxids have no gaps");
        if entry.zxid.counter() >= self.options.counter_end {
            // One more would count into the epoch.
            return self.step_down(StepDown::ZxidsUsedUp, actions);
        }
        let reconfig = reconfig.map(|(membership, may_lead)| {
            assert_eq!(membership.version, entry.zxid, "a membership is as new as its transaction");
            Rc::make_mut(&mut self.views).propose(membership);
            may_lead
        });
        self.last_proposed = entry.zxid;
        let packet = Packet::Proposal(entry.clone());
        for (learner, handler) in &mut self.learners {
            if handler.registered() && !handler.observer {
                handler.proposed(now, entry.zxid);
                actions.push(Action::SendTo { learner: *learner, packet: packet.clone() });
            }
        }
        actions.push(Action::Append(entry.clone()));
        let views = Rc::clone(&self.views);
        self.outstanding.push_back(Proposal { entry, acks: Vec::new(), views, reconfig });
    }

    /// A learner has a proposal on disk.
    pub(super) fn on_ack(&mut self, learner: LearnerId, zxid: Zxid, actions: &mut Actions) {
        let Some(handler) = self.learners.get_mut(&learner) else { return };
        handler.note_ack(zxid);
        if handler.replaced {
            return;
        }
        let sid = handler.sid;
        // Who has no vote is not even noted: it may come back under a thousand names.
        if let Some(proposal) = self.proposal(zxid)
            && proposal.views.is_voter(sid)
            && !proposal.acks.contains(&sid)
        {
            proposal.acks.push(sid);
            self.commit_ready(actions);
        }
    }

    pub(super) fn on_log_synced(&mut self, through: Zxid, actions: &mut Actions) {
        // A sync of an earlier role may end in this one: it says nothing about this epoch's log.
        self.synced = self.synced.max(through.min(self.last_proposed));
        self.commit_ready(actions);
    }

    /// Java takes the ACKs of a learner for good. But one that is told to cut its log, or to replace it, no longer has
    /// what it acked, and a commit counted on it could be lost with one crash. It acks again what it gets again, on the
    /// connection that it gets it on: what is still under way on an earlier one is of no more worth, and an earlier one
    /// that gets this far late takes nothing back.
    pub(super) fn take_back_acks(&mut self, sid: ServerId, on: LearnerId) {
        let behind = (Bound::Excluded(on), Bound::Unbounded);
        if self.learners.range(behind).any(|(_, later)| later.registered() && later.sid == sid) {
            self.learners.get_mut(&on).expect("known to the caller").replaced = true;
            return;
        }
        for (_, earlier) in self.learners.range_mut(..on) {
            earlier.replaced |= earlier.known() && earlier.sid == sid;
        }
        for proposal in &mut self.outstanding {
            proposal.acks.retain(|acked| *acked != sid);
        }
    }

    fn proposal(&mut self, zxid: Zxid) -> Option<&mut Proposal> {
        let first = self.outstanding.front()?.entry.zxid;
        let at = usize::try_from(zxid.0.checked_sub(first.0)?).ok()?;
        self.outstanding.get_mut(at)
    }

    /// Commits from the front for as long as there is a quorum: also what was complete before its predecessor was.
    fn commit_ready(&mut self, actions: &mut Actions) {
        while !self.retired
            && let Some(head) = self.outstanding.front()
            && head.views.is_quorum(|sid| match sid == self.sid {
                true => self.synced >= head.entry.zxid,
                false => head.acks.contains(&sid),
            })
        {
            let proposal = self.outstanding.pop_front().expect("looked at above");
            self.commit(proposal, actions);
        }
    }

    fn commit(&mut self, proposal: Proposal, actions: &mut Actions) {
        let designated = proposal.reconfig.map(|may_lead| self.designate(&proposal, may_lead));
        let Proposal { entry, .. } = proposal;
        let zxid = entry.zxid;
        self.last_committed = zxid;
        let (to_follower, to_observer) = match designated {
            None => (Packet::Commit { zxid }, Packet::Inform(entry.clone())),
            Some(designated) => (
                Packet::CommitAndActivate { zxid, designated },
                Packet::InformAndActivate { entry: entry.clone(), designated },
            ),
        };
        for (learner, handler) in self.learners.iter_mut().filter(|(_, handler)| handler.registered()) {
            let packet = if handler.observer { &to_observer } else { &to_follower };
            match &mut handler.held_commits {
                // Not a reconfiguration's: the learner must leave because of it, early rather than late.
                Some(held) if designated.is_none() => held.push(zxid),
                held => {
                    for zxid in held.take().into_iter().flatten() {
                        actions.push(Action::SendTo { learner: *learner, packet: Packet::Commit { zxid } });
                    }
                    actions.push(Action::SendTo { learner: *learner, packet: packet.clone() });
                }
            }
        }
        self.committed_log.push(entry.clone());
        actions.push(Action::Commit(entry));
        if let Some(designated) = designated {
            self.activate_last_seen();
            self.retired = designated != self.sid;
            actions.push(Action::Activate { zxid, designated });
        }
        self.release_syncs(actions);
    }

    /// An observer master's share: its leader has committed a transaction.
    pub(super) fn relay(&mut self, entry: Entry, designated: Option<ServerId>, actions: &mut Actions) {
        // What an image brought is behind it already.
        if entry.zxid <= self.last_committed {
            return;
        }
        (self.last_committed, self.last_proposed, self.synced) = (entry.zxid, entry.zxid, entry.zxid);
        let packet = match designated {
            None => Packet::Inform(entry.clone()),
            Some(designated) => Packet::InformAndActivate { entry: entry.clone(), designated },
        };
        for (learner, _) in self.learners.iter().filter(|(_, handler)| handler.registered()) {
            actions.push(Action::SendTo { learner: *learner, packet: packet.clone() });
        }
        self.committed_log.push(entry);
    }

    /// Who leads under the new configuration: this server if it may, else whoever has the reconfiguration and most of
    /// what follows it.
    fn designate(&self, reconfig: &Proposal, may_lead: bool) -> ServerId {
        let next = self.views.last_seen();
        if may_lead && next.is_voter(self.sid) {
            return self.sid;
        }
        let mut candidates: Vec<ServerId> =
            next.participants().map(|(sid, _)| sid).filter(|sid| reconfig.acks.contains(sid)).collect();
        for later in &self.outstanding {
            let ahead: Vec<_> = candidates.iter().copied().filter(|sid| later.acks.contains(sid)).collect();
            if ahead.is_empty() {
                break;
            }
            candidates = ahead;
        }
        // A quorum of the new voters has acked, and this server is none of them, or may not lead them.
        candidates.first().copied().unwrap_or(self.sid)
    }

    /// A sync is answered behind the commit of everything proposed before it.
    pub(super) fn on_sync_requested(&mut self, from: Option<LearnerId>, actions: &mut Actions) {
        self.syncs.push_back((self.last_proposed, from));
        self.release_syncs(actions);
    }

    fn release_syncs(&mut self, actions: &mut Actions) {
        let through = self.last_committed;
        while let Some((_, from)) = self.syncs.pop_front_if(|(zxid, _)| *zxid <= through) {
            match from {
                Some(learner) => self.send(learner, Packet::Sync, actions),
                None => actions.push(Action::SyncDone),
            }
        }
    }
}
