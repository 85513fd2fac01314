//! Memberships that change while the ensemble runs.
//!
//! A membership is *seen* when its transaction is proposed or NEWLEADER brings it, and *committed* when the transaction
//! is, or with UPTODATE. From the first moment on both must agree to whatever is decided; at the second the old one is
//! gone, and with it perhaps this server's role or its leader (Java: `QuorumPeer.processReconfig`).
//!
//! With `reconfigEnabled=false` none of this happens: the files decide.

use super::{Action, Member, Role, Step};
use crate::ids::{ServerId, Zxid};
use crate::quorum::election::Designated;
use crate::quorum::elector;
use crate::quorum::membership::Membership;
use crate::quorum::reconfig::Standing;
use crate::quorum::views::Views;
use crate::quorum::zab::leader;
use crate::quorum::zab::packet::Entry;
use crate::wire::jute::Reader;
use crate::wire::op::Op;
use crate::wire::txn::{LoggedTxn, Txn, TxnHeader};

impl Member {
    /// Sees to it that a proposed reconfiguration counts from now on.
    pub(super) fn note_reconfig(&mut self, step: &mut Step<'_>, entry: &Entry) {
        if !self.settings.reconfig_enabled {
            return;
        }
        let header = TxnHeader::read(&mut Reader::new(&entry.payload, entry.payload.len()));
        if header.is_ok_and(|header| header.kind == Op::Reconfig.code())
            && let Ok(logged) = LoggedTxn::decode(&entry.payload, self.settings.field_max)
            && let Txn::Reconfig { data: Some(text), .. } = logged.txn
        {
            self.see_membership(step, text, Views::propose);
        }
    }

    /// NEWLEADER has brought the membership that the leader saw last.
    pub(super) fn see_leaders_membership(&mut self, step: &mut Step<'_>, text: &[u8]) {
        if self.settings.reconfig_enabled {
            self.see_membership(step, text, Views::follow);
        }
    }

    fn see_membership(&mut self, step: &mut Step<'_>, text: &[u8], see: fn(&mut Views, Membership)) {
        let Ok(membership) = Membership::from_text(text) else {
            log::error!("A proposed membership cannot be read: {}", String::from_utf8_lossy(text));
            return;
        };
        let mut views = self.views().clone();
        see(&mut views, membership);
        if views != *self.views() {
            self.set_views(step, views, None);
        }
    }

    /// This server is in step, and so the membership that NEWLEADER named is in force: unless its transaction still waits
    /// for a quorum and this server came in between. Java's servers take it for committed all the same.
    pub(super) fn adopt_config(&mut self, step: &mut Step<'_>, text: &[u8]) {
        if !self.settings.reconfig_enabled {
            return;
        }
        if let Ok(membership) = Membership::from_text(text)
            && membership.version <= step.server.last_zxid()
        {
            self.commit_membership(step, membership, None);
        }
    }

    /// The reconfiguration with this zxid was applied.
    pub(super) fn activate(&mut self, step: &mut Step<'_>, zxid: Zxid, designated: ServerId) {
        if !self.settings.reconfig_enabled {
            return;
        }
        let last_seen = self.views().last_seen().clone();
        if last_seen.version == zxid {
            self.commit_membership(step, last_seen, Some(Designated { leader: designated, zxid }));
        }
    }

    /// A new membership is in force: whoever is something else in it, or has another leader, begins anew.
    pub(super) fn commit_membership(
        &mut self,
        step: &mut Step<'_>,
        membership: Membership,
        designated: Option<Designated>,
    ) {
        let old = self.views().clone();
        let mut views = old.clone();
        if !views.commit(membership) {
            return;
        }
        let (me, new) = (self.settings.me, views.committed());
        log::info!(
            "Membership of version {:x} is in force: {}",
            new.version,
            new.to_string().replace('\n', ", ")
        );
        step.server.set_config(step.now, &new.to_string(), new.version);
        // Who is in no list follows all the same, and is not disturbed by losing its vote or getting one.
        let role_changed = old.role_of(me) != views.role_of(me);
        let leader = match self.role {
            // Also while it is being synchronised: a reconfiguration may be what it lacks.
            Role::Learning { leader, .. } => Some(leader),
            _ => self.leader_id(),
        };
        let leader_changed = match (leader, designated) {
            (Some(leader), Some(designated)) => leader != designated.leader,
            (Some(leader), None) => {
                !new.is_voter(leader)
                    || quorum_addresses(new, leader) != quorum_addresses(old.committed(), leader)
            }
            (None, _) => false,
        };
        let leads = matches!(self.role, Role::Leading { .. });
        let next = designated.filter(|_| leader_changed || role_changed);
        self.set_views(step, views, next);
        if !leader_changed && !role_changed {
            return;
        }
        self.designated = next.map(|designated| designated.leader);
        if leads {
            // Its learners still have to hear of it; they leave by themselves, and then the quorum is lost.
            log::info!(
                "Server {} is to lead under the new membership",
                designated.map_or(me, |next| next.leader)
            );
            return;
        }
        self.end_role(step, "its role or leader is another in the new membership", false);
    }

    /// What the leader's server judges reconfigurations by, as it is this turn.
    pub(super) fn tell_standing(&self, step: &mut Step<'_>) {
        let Role::Leading { leader, .. } = &self.role else { return };
        if self.settings.reconfig_enabled && leader.serving().is_some() {
            let views = leader.shared_views();
            let in_step = leader.servers_in_step(step.now.mono);
            let standalone_enabled = self.settings.standalone_enabled;
            let several_addresses = self.settings.several_addresses;
            step.server.set_standing(Standing { views, in_step, standalone_enabled, several_addresses });
        }
    }

    /// Whether this server can lead under a membership without asking its learners to connect elsewhere.
    pub(super) fn keeps_quorum_address(&self, next: &Membership) -> bool {
        let me = self.settings.me;
        next.is_voter(me) && quorum_addresses(next, me) == quorum_addresses(self.views().committed(), me)
    }

    /// The leader's own view of memberships is the member's.
    pub(super) fn take_leaders_views(&mut self, step: &mut Step<'_>) {
        let Role::Leading { leader, .. } = &self.role else { return };
        let views = leader.views().clone();
        if self.settings.reconfig_enabled && views != *self.views() {
            self.set_views(step, views, None);
            self.show_config(step);
        }
    }

    /// Puts the committed membership where clients read it.
    pub(super) fn show_config(&self, step: &mut Step<'_>) {
        let committed = self.views().committed();
        step.server.set_config(step.now, &committed.to_string(), committed.version);
    }

    fn set_views(&mut self, step: &mut Step<'_>, views: Views, designated: Option<Designated>) {
        step.actions.push(Action::Membership(Box::new(views.clone())));
        if matches!(self.role, Role::Learning { master: Some(_), .. }) {
            self.lead(step, leader::Event::Reconfigured(views.clone()));
        }
        self.elect(step, elector::Event::Reconfigured { views, designated });
    }
}

fn quorum_addresses(membership: &Membership, sid: ServerId) -> Vec<(&str, u16)> {
    let server = membership.servers.get(&sid);
    server.map_or(Vec::new(), |server| {
        server.addresses.iter().map(|at| (at.host.as_str(), at.quorum_port)).collect()
    })
}
