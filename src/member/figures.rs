//! What a member measures: how long a transaction takes from server to server, and how its learners fare.
//!
//! A leader measures from when it made a transaction, by its own clock. A learner knows only the wall time in the
//! transaction's header: its times are as good as both clocks, and what seems to come from the future is left out, as in
//! Java (`Request.logLatency`).

use std::collections::VecDeque;

use super::links::Link;
use super::{LinkId, Member, Role, Step};
use crate::admin::views::{EnsembleView, MemberView, ObserverView};
use crate::ids::{ServerId, Zxid};
use crate::metrics::Metrics;
use crate::quorum::membership::{Role as InEnsemble, Server as MemberServer};
use crate::quorum::zab::leader::Leader;
use crate::quorum::zab::leader::handler::{Stage, SyncKind};
use crate::quorum::zab::packet::Packet;
use crate::server::Server;
use crate::time::{Now, WallMillis};
use crate::wire::address::HostPort;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnHeader;

/// Transactions of which it is known when they were made; more than are ever on their way at a time.
const KEPT: usize = 4096;

/// When the newest transactions were made, in microseconds of whichever clock the role goes by.
#[derive(Default)]
pub(super) struct Times {
    first: Zxid,
    made: VecDeque<u64>,
    /// What this server's log had on disk when it was asked last.
    synced: Zxid,
}

impl Times {
    pub fn clear(&mut self) {
        *self = Times::default();
    }

    pub fn push(&mut self, zxid: Zxid, made: u64) {
        if self.made.is_empty() || zxid.0 != self.first.0 + self.made.len() as i64 {
            self.made.clear();
            self.first = zxid;
        }
        if self.made.len() == KEPT {
            self.made.pop_front();
            self.first = self.first.next();
        }
        self.made.push_back(made);
    }

    pub fn of(&self, zxid: Zxid) -> Option<u64> {
        let at = usize::try_from(zxid.0.checked_sub(self.first.0)?).ok()?;
        self.made.get(at).copied()
    }

    /// Those that have come to the disk since the last call.
    fn newly_synced(&mut self, through: Zxid) -> impl Iterator<Item = u64> {
        let from = self.first.max(self.synced.next());
        self.synced = self.synced.max(through);
        let skipped = usize::try_from(from.0 - self.first.0).unwrap_or(usize::MAX);
        let count = usize::try_from(through.0 - from.0 + 1).unwrap_or(0);
        self.made.iter().skip(skipped).take(count).copied()
    }
}

/// What went over a link to a learner, for `observers` and the metrics by learner.
pub(super) struct Traffic {
    /// The learner's id, as metrics name it; empty until it is known.
    key: Box<str>,
    observer: bool,
    established: WallMillis,
    /// Packets, and of those received the clients' requests among them.
    pub received: u64,
    pub requests: u64,
    sent: u64,
    last_zxid: Zxid,
    /// Packets that the socket has not taken, and since when.
    waiting: u64,
    waiting_since: u64,
}

impl Traffic {
    pub fn new(now: Now) -> Traffic {
        Traffic {
            key: Box::default(),
            observer: false,
            established: now.wall,
            received: 0,
            requests: 0,
            sent: 0,
            last_zxid: Zxid(-1),
            waiting: 0,
            waiting_since: 0,
        }
    }

    pub fn sent(&mut self, now: Now, packet: &Packet) {
        if self.waiting == 0 {
            self.waiting_since = now.mono.0;
        }
        self.waiting += 1;
        self.sent += 1;
        if let Packet::Proposal(entry) | Packet::Inform(entry) | Packet::InformAndActivate { entry, .. } =
            packet
        {
            self.last_zxid = entry.zxid;
        }
    }

    /// The socket has taken everything.
    pub fn taken(&mut self, now: Now, metrics: &mut Metrics) {
        if self.waiting > 0 && !self.key.is_empty() {
            metrics.learner_handler_qp_size.of(&self.key).add(self.waiting);
            let waited = now.mono.0.saturating_sub(self.waiting_since);
            metrics.learner_handler_qp_time_ms.of(&self.key).add_nanos(waited);
        }
        self.waiting = 0;
    }

    /// Has the learner not said yet who it is?
    pub fn is_strange(&self) -> bool {
        self.key.is_empty()
    }

    /// As the log speaks of the learner.
    pub fn name(&self) -> String {
        match (self.key.is_empty(), self.observer) {
            (true, _) => "a learner that has not said who it is".to_string(),
            (false, false) => format!("follower {}", self.key),
            (false, true) => format!("observer {}", self.key),
        }
    }

    /// The HTTP command `observer_connection_stat_reset`.
    fn reset(&mut self) {
        (self.received, self.sent, self.requests, self.last_zxid) = (0, 0, 0, Zxid(-1));
    }
}

/// When a transaction was made, by the clock of its leader.
fn made_at(payload: &[u8]) -> Option<u64> {
    let header = TxnHeader::read(&mut Reader::new(payload, payload.len())).ok()?;
    u64::try_from(header.time).ok()?.checked_mul(1000)
}

fn wall_micros(now: Now) -> u64 {
    u64::try_from(now.wall.0).unwrap_or(0).saturating_mul(1000)
}

fn mono_micros(now: Now) -> u64 {
    now.mono.0 / 1000
}

impl Member {
    /// This server made a transaction and proposes it.
    pub(super) fn note_made(&mut self, step: &Step<'_>, zxid: Zxid) {
        self.times.push(zxid, mono_micros(step.now));
    }

    /// The leader's own ACKs.
    pub(super) fn note_own_acks(&mut self, step: &mut Step<'_>, through: Zxid) {
        let metrics = &mut step.server.metrics;
        let of_this = metrics.ack_latency.of(&self.own_key);
        for made in self.times.newly_synced(through) {
            let nanos = mono_micros(step.now).saturating_sub(made) * 1000;
            metrics.proposal_ack_creation_latency.add_nanos(nanos);
            of_this.add_nanos(nanos);
        }
    }

    /// A learner's packet has come to its leader.
    pub(super) fn note_from_learner(&mut self, step: &mut Step<'_>, link: LinkId, packet: &Packet) {
        let Some(from) = self.links.get_mut(&link) else { return };
        from.traffic.received += 1;
        match packet {
            Packet::FollowerInfo { info, .. } | Packet::ObserverInfo { info, .. } => {
                from.traffic.key = info.sid.unwrap_or(ServerId(-1)).to_string().into();
                from.traffic.observer = matches!(packet, Packet::ObserverInfo { .. });
            }
            Packet::Ack { zxid } => {
                if let Some(made) = self.times.of(*zxid) {
                    let nanos = mono_micros(step.now).saturating_sub(made) * 1000;
                    step.server.metrics.ack_latency.of(&from.traffic.key).add_nanos(nanos);
                }
            }
            Packet::Request(_) => from.traffic.requests += 1,
            Packet::Revalidate { .. } => step.server.metrics.revalidate_count += 1,
            _ => {}
        }
    }

    /// A proposal has its quorum.
    pub(super) fn note_quorum(&self, step: &mut Step<'_>, zxid: Zxid) {
        if let Some(made) = self.times.of(zxid) {
            let nanos = mono_micros(step.now).saturating_sub(made) * 1000;
            step.server.metrics.quorum_ack_latency.add_nanos(nanos);
        }
    }

    /// The leader's packet has come to a learner.
    pub(super) fn note_from_leader(&mut self, step: &mut Step<'_>, packet: &Packet) {
        let metrics = &mut step.server.metrics;
        match packet {
            Packet::Proposal(entry) => {
                metrics.learner_proposal_received_count += 1;
                let Some(made) = made_at(&entry.payload) else { return };
                self.times.push(entry.zxid, made);
                if let Some(micros) = wall_micros(step.now).checked_sub(made) {
                    metrics.proposal_latency.add_nanos(micros * 1000);
                }
            }
            Packet::Commit { .. } | Packet::Inform(_) => metrics.learner_commit_received_count += 1,
            _ => {}
        }
    }

    /// A learner acks a proposal.
    pub(super) fn note_ack_sent(&self, step: &mut Step<'_>, zxid: Zxid) {
        let made = self.times.of(zxid);
        if let Some(micros) = made.and_then(|made| wall_micros(step.now).checked_sub(made)) {
            step.server.metrics.proposal_ack_creation_latency.add_nanos(micros * 1000);
        }
    }

    /// A learner that serves clients applies what its leader has committed.
    pub(super) fn note_commit(&self, step: &mut Step<'_>, payload: &[u8]) {
        let made = made_at(payload);
        if let Some(micros) = made.and_then(|made| wall_micros(step.now).checked_sub(made)) {
            step.server.metrics.commit_propagation_latency.add_nanos(micros * 1000);
            step.server.metrics.propagation_latency.add_nanos(micros * 1000);
        }
    }

    /// How many learners are being synchronised as this one begins to be.
    pub(super) fn note_inflight(&self, step: &mut Step<'_>, kind: SyncKind) {
        let learners = self.serving_learners().into_iter().flat_map(Leader::learners);
        let running = learners.filter(|learner| learner.syncing() && learner.sync == kind).count();
        let metrics = &mut step.server.metrics;
        match kind {
            SyncKind::Snap => metrics.inflight_snap_count.add(running as u64),
            SyncKind::Diff => metrics.inflight_diff_count.add(running as u64),
        }
    }
}

/// For the operator's views.
impl Member {
    /// From whom an observer learns.
    pub fn learner_master(&self) -> Option<ServerId> {
        match &self.role {
            Role::Learning { observer: true, .. } => Some(self.learner_master),
            _ => None,
        }
    }

    /// Observers in step with this server; `None` where it can serve none.
    pub fn synced_observers(&self) -> Option<u64> {
        match &self.role {
            Role::Leading { .. } => Some(self.links_of_observers().count() as u64),
            Role::Learning { observer: false, .. } => Some(self.links_of_observers().count() as u64),
            _ => None,
        }
    }

    fn links_of_observers(&self) -> impl Iterator<Item = (LinkId, ServerId, &Link)> {
        self.links.iter().filter_map(|(id, link)| {
            let handler = self.serving_learners()?.learner(id.learner())?;
            (handler.observer && handler.stage == Stage::Serving).then_some((*id, handler.sid, link))
        })
    }

    /// The ensemble as this member sees it while it serves clients in a role. Where learners connect from is not known
    /// here: their links are told beside them.
    pub fn ensemble_view(&self, server: &Server) -> Option<(EnsembleView, Vec<LinkId>)> {
        let leader = self.leader_id()?;
        self.mode(server)?;
        let committed = self.views().committed();
        let voters = committed.participants().map(|(id, server)| member_view(id, server)).collect();
        let me = self.settings.me;
        let me = committed.servers.get(&me).map_or_else(|| nowhere(me), |server| member_view(me, server));
        let (links, observers) = self
            .links_of_observers()
            .map(|(id, sid, link)| {
                let traffic = &link.traffic;
                let view = ObserverView {
                    peer: None,
                    id: sid,
                    established: traffic.established,
                    queued: traffic.waiting,
                    queued_bytes: link.queued_bytes() as u64,
                    received: traffic.received,
                    sent: traffic.sent,
                    requests: traffic.requests,
                    last_zxid: traffic.last_zxid,
                };
                (id, view)
            })
            .unzip();
        Some((EnsembleView { leader, me, voters, observers }, links))
    }

    pub fn reset_observer_stats(&mut self) {
        let observers: Vec<LinkId> = self.links_of_observers().map(|(id, ..)| id).collect();
        for id in observers {
            self.links.get_mut(&id).expect("listed above").traffic.reset();
        }
    }
}

/// A server that is in no list any more.
fn nowhere(id: ServerId) -> MemberView {
    MemberView { id, quorum: Vec::new(), election: Vec::new(), client: None, votes: false }
}

fn member_view(id: ServerId, server: &MemberServer) -> MemberView {
    let at = |port: fn(&crate::quorum::membership::ServerAddress) -> u16| {
        let addresses = server.addresses.iter();
        addresses.map(|address| HostPort { host: address.host.clone(), port: port(address) }).collect()
    };
    MemberView {
        id,
        quorum: at(|address| address.quorum_port),
        election: at(|address| address.election_port),
        client: server.client.clone(),
        votes: server.role == InEnsemble::Participant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_known_for_what_was_made_last() {
        let mut times = Times::default();
        for n in 1..=KEPT as i64 + 10 {
            times.push(Zxid(n), n as u64 * 7);
        }
        assert_eq!((times.of(Zxid(10)), times.of(Zxid(11))), (None, Some(77)));
        assert_eq!(times.of(Zxid(KEPT as i64 + 11)), None);
        times.push(Zxid::new(1, 1), 5);
        assert_eq!((times.of(Zxid(11)), times.of(Zxid::new(1, 1))), (None, Some(5)));
    }

    #[test]
    fn each_transaction_comes_to_the_disk_once() {
        let mut times = Times::default();
        (1..=5).for_each(|n| times.push(Zxid(n), n as u64));
        let mut synced = |through| times.newly_synced(Zxid(through)).collect::<Vec<_>>();
        assert_eq!((synced(2), synced(2), synced(4)), (vec![1, 2], vec![], vec![3, 4]));
        assert_eq!((synced(1), synced(9)), (vec![], vec![5]));
    }
}
