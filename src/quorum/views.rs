//! What a server believes about its ensemble: the membership in force, and the one proposed after it.
//!
//! While a reconfiguration is under way, whatever needs a quorum needs one in both memberships; otherwise
//! the old and the new majority could decide against each other.

use super::membership::{Groups, Membership, Role, ServerAddress};
use crate::ids::{ServerId, Zxid};
use crate::wire::address::HostPort;
use std::collections::{BTreeMap, BTreeSet};

impl Membership {
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.servers.get(&sid).is_some_and(|server| server.role == Role::Participant)
    }

    /// What a server's voice counts. Nobody with weight 0 becomes leader.
    pub fn weight(&self, sid: ServerId) -> i64 {
        match &self.groups {
            None => 1,
            Some(groups) => groups.weights.get(&sid).copied().unwrap_or(0),
        }
    }

    /// Do the voters of whom `agrees` is true decide for all?
    ///
    /// Without groups that takes more than half of the voters (`QuorumMaj`). With groups it takes more than
    /// half of the weight in more than half of the groups that have any (`QuorumHierarchical`).
    pub fn is_quorum(&self, agrees: impl Fn(ServerId) -> bool) -> bool {
        let agreeing = || self.participants().map(|(sid, _)| sid).filter(|sid| agrees(*sid));
        let Some(Groups { group_of, weights }) = &self.groups else {
            return agreeing().count() > self.participants().count() / 2;
        };
        let weight_by_group = |sids: &mut dyn Iterator<Item = ServerId>| {
            let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
            for sid in sids {
                if let (Some(group), Some(weight)) = (group_of.get(&sid), weights.get(&sid)) {
                    let sum = sums.entry(*group).or_default();
                    *sum = sum.saturating_add(*weight);
                }
            }
            sums.retain(|_, sum| *sum != 0);
            sums
        };
        let all = weight_by_group(&mut group_of.keys().copied());
        let won = weight_by_group(&mut agreeing())
            .into_iter()
            .filter(|(group, weight)| *weight > all.get(group).copied().unwrap_or(0) / 2)
            .count();
        won > all.len() / 2
    }

    /// The same servers with the same roles, addresses and weights, whatever the versions are.
    pub fn has_members_of(&self, other: &Membership) -> bool {
        self.servers == other.servers && self.groups == other.groups
    }

    /// Where a server's election port is; nowhere if it is no member.
    pub fn election_addresses(&self, sid: ServerId) -> Vec<HostPort> {
        let address =
            |address: &ServerAddress| HostPort { host: address.host.clone(), port: address.election_port };
        self.servers.get(&sid).map_or(Vec::new(), |server| server.addresses.iter().map(address).collect())
    }
}

/// The committed membership, and the last one seen if that is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views {
    committed: Membership,
    /// Always newer than `committed`.
    proposed: Option<Membership>,
}

impl Views {
    pub fn new(committed: Membership) -> Views {
        Views { committed, proposed: None }
    }

    pub fn committed(&self) -> &Membership {
        &self.committed
    }

    /// The newest membership known, committed or not (Java: `lastSeenQuorumVerifier`).
    pub fn last_seen(&self) -> &Membership {
        self.proposed.as_ref().unwrap_or(&self.committed)
    }

    /// A membership has been proposed. Nothing happens if a newer one has been seen.
    pub fn propose(&mut self, membership: Membership) {
        if membership.version > self.last_seen().version {
            self.proposed = Some(membership);
        }
    }

    /// A leader has brought this server to its history, and this is the last membership that was seen in it. What this
    /// server saw besides was proposed in vain: nobody commits it any more.
    pub fn follow(&mut self, last_seen: Membership) {
        self.proposed = (last_seen.version > self.committed.version).then_some(last_seen);
    }

    /// A membership has been committed. False, and nothing happens, if it is not newer than the one in force.
    pub fn commit(&mut self, membership: Membership) -> bool {
        if membership.version <= self.committed.version {
            return false;
        }
        self.proposed.take_if(|proposed| proposed.version <= membership.version);
        self.committed = membership;
        true
    }

    /// Gives the committed membership a version without changing it, as the first leader of an ensemble that
    /// may be reconfigured does. False, and nothing happens, if it has one.
    pub fn propose_version(&mut self, version: Zxid) -> bool {
        if self.last_seen().version != Zxid::ZERO {
            return false;
        }
        self.propose(Membership { version, ..self.committed.clone() });
        true
    }

    fn both(&self) -> impl Iterator<Item = &Membership> {
        std::iter::once(&self.committed).chain(&self.proposed)
    }

    /// A voter of either membership.
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.both().any(|membership| membership.is_voter(sid))
    }

    /// The voters of both memberships.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.both().flat_map(Membership::participants).map(|(sid, _)| sid).collect()
    }

    pub fn is_member(&self, sid: ServerId) -> bool {
        self.both().any(|membership| membership.servers.contains_key(&sid))
    }

    /// Do the servers of whom `agrees` is true decide, in every membership that counts?
    pub fn is_quorum(&self, agrees: impl Fn(ServerId) -> bool) -> bool {
        self.both().all(|membership| membership.is_quorum(&agrees))
    }

    /// Where to try to reach a server's election port, in this order.
    pub fn election_addresses(&self, sid: ServerId) -> Vec<HostPort> {
        let mut addresses = Vec::new();
        for address in self.both().flat_map(|membership| membership.election_addresses(sid)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// What the committed membership makes of a server that is one of its observers, or of any other: who is
    /// in no list may follow without a vote.
    pub fn role_of(&self, sid: ServerId) -> Role {
        self.committed.servers.get(&sid).map_or(Role::Participant, |server| server.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(text: &str) -> Membership {
        Membership::from_text(text.as_bytes()).expect("a good membership")
    }

    fn of(voters: i64, version: i64) -> Membership {
        let lines = (1..=voters).map(|id| format!("server.{id}=h{id}:1:2\n"));
        membership(&format!("{}version={version:x}", lines.collect::<String>()))
    }

    fn agree(members: &Membership, sids: &[i64]) -> bool {
        members.is_quorum(|sid| sids.contains(&sid.0))
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters_and_only_of_them() {
        assert!(agree(&of(1, 0), &[1]) && !agree(&of(1, 0), &[]));
        assert!(agree(&of(2, 0), &[1, 2]) && !agree(&of(2, 0), &[1]));
        assert!(agree(&of(5, 0), &[1, 3, 5]) && !agree(&of(5, 0), &[1, 3, 9]));
        let observer = membership("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer");
        assert!(!agree(&observer, &[1, 3]));
        assert!(!agree(&Membership::default(), &[]), "nobody decides for nobody");
    }

    /// Three groups of three, of which the last has no weight.
    fn hierarchical() -> Membership {
        let servers: String = (1..=9).map(|id| format!("server.{id}=h{id}:1:2\n")).collect();
        membership(&format!(
            "{servers}group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nweight.7=0\nweight.8=0\nweight.9=0\nweight.1=3"
        ))
    }

    #[test]
    fn groups_decide_by_weight_and_then_by_their_number() {
        let members = hierarchical();
        assert!(agree(&members, &[1, 4, 5]), "server 1 has more than half of its group's five votes");
        assert!(!agree(&members, &[2, 3, 4, 5]), "two of five are not enough in group 1");
        assert!(!agree(&members, &[1, 2, 3]), "one of two groups");
        assert!(!agree(&members, &[1, 7, 8, 9]), "a group without weight is no group");
        assert!(!agree(&members, &[]));
        assert_eq!((members.weight(ServerId(1)), members.weight(ServerId(7))), (3, 0));
        assert_eq!(members.weight(ServerId(77)), 0, "Java ends with a null pointer here");
    }

    #[test]
    fn while_a_membership_is_proposed_both_must_agree() {
        let mut views = Views::new(of(3, 1));
        views.propose(of(5, 2));
        let quorum = |views: &Views, sids: &[i64]| views.is_quorum(|sid| sids.contains(&sid.0));
        assert!(!quorum(&views, &[1, 2]) && !quorum(&views, &[1, 4, 5]) && quorum(&views, &[1, 2, 5]));
        assert!(views.is_voter(ServerId(5)) && views.voters().len() == 5);

        assert!(views.commit(of(5, 2)));
        assert!(quorum(&views, &[3, 4, 5]));
        assert_eq!(views.last_seen(), views.committed());
    }

    #[test]
    fn versions_only_rise() {
        let mut views = Views::new(of(3, 5));
        views.propose(of(4, 5));
        assert_eq!(views.last_seen(), &of(3, 5));
        assert!(!views.commit(of(1, 4)) && !views.propose_version(Zxid(9)));
        views.propose(of(4, 7));
        assert!(views.commit(of(3, 6)), "another than the one proposed may win");
        assert_eq!(views.last_seen().version, Zxid(7));
        views.follow(of(3, 6));
        assert_eq!(views.last_seen(), views.committed(), "what the leader did not see was proposed in vain");
        views.follow(of(5, 8));
        assert_eq!((views.committed().version, views.last_seen().version), (Zxid(6), Zxid(8)));
        let mut fresh = Views::new(of(3, 0));
        assert!(fresh.propose_version(Zxid::new(1, 0)));
        assert_eq!(fresh.last_seen().to_string().lines().last(), Some("version=100000000"));
    }

    #[test]
    fn a_server_is_looked_for_where_it_is_and_where_it_will_be() {
        let mut views = Views::new(membership("server.1=a:1:2"));
        views.propose(membership("server.1=b:1:3\nserver.2=c:1:2\nversion=1"));
        let at =
            |sid| views.election_addresses(ServerId(sid)).iter().map(HostPort::to_string).collect::<Vec<_>>();
        assert_eq!((at(1), at(2), at(3)), (vec!["a:2".into(), "b:3".into()], vec!["c:2".into()], vec![]));
    }
}
