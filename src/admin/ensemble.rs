//! The AdminServer's commands about the ensemble: who leads, who votes, who observes, and this member's place in it.

use super::commands::Run;
use super::java::Peer;
use super::json::Json;
use super::views::{MemberView, Mode, ObserverView};
use crate::wire::address::HostPort;

/// `LeaderCommand`.
pub(super) fn leader(run: &mut Run<'_>) {
    let (Some(view), Some(ensemble)) = (run.view(), run.server.ensemble()) else {
        return run.put("error", Json::text("server is not initialized"));
    };
    let leader = ensemble.voters.iter().find(|voter| voter.id == ensemble.leader);
    let hosts: Vec<&str> =
        leader.iter().flat_map(|leader| &leader.quorum).map(|at| at.host.as_str()).collect();
    run.put("is_leader", Json::Bool(view.mode == Mode::Leader));
    run.put("leader_id", Json::Int(ensemble.leader.0));
    run.put("leader_ip", Json::Text(hosts.join("|")));
}

/// `SyncedObserverConsCommand`.
pub(super) fn observers(run: &mut Run<'_>) {
    let observers = run.server.ensemble().map_or(Vec::new(), |ensemble| ensemble.observers);
    run.put("synced_observers", Json::int(observers.len() as u64));
    run.put("observers", Json::list(observers.iter().map(observer)));
}

fn observer(observer: &ObserverView) -> Json {
    let peer = observer.peer.map_or("<null>".to_string(), |peer| Peer(peer).to_string());
    Json::object([
        ("remote_socket_address", Json::Text(peer)),
        ("sid", Json::Int(observer.id.0)),
        ("established", Json::Int(observer.established.0)),
        ("queued_packets", Json::int(observer.queued)),
        ("queued_packets_size", Json::int(observer.queued_bytes)),
        ("packets_received", Json::int(observer.received)),
        ("packets_sent", Json::int(observer.sent)),
        ("requests", Json::int(observer.requests)),
        ("last_zxid", Json::Int(observer.last_zxid.0)),
    ])
}

/// `VotingViewCommand`.
pub(super) fn voting_view(run: &mut Run<'_>) {
    let voters = run.server.ensemble().map_or(Vec::new(), |ensemble| ensemble.voters);
    let voters = voters.iter().map(|voter| {
        let fields = Json::object([
            ("server_addresses", addresses(&voter.quorum)),
            ("election_addresses", addresses(&voter.election)),
            ("client_address", Json::Text(client_address(voter))),
            ("learner_type", Json::text(if voter.votes { "participant" } else { "observer" })),
        ]);
        (voter.id.0.to_string(), fields)
    });
    run.put("current_config", Json::object(voters));
}

/// `ZabStateCommand`. A member without a role shows what a standalone server does.
pub(super) fn zab_state(run: &mut Run<'_>) {
    let (Some(view), Some(ensemble)) = (run.view(), run.server.ensemble()) else {
        run.put("voting", Json::Bool(false));
        return run.put("zabstate", Json::text(""));
    };
    let me = &ensemble.me;
    run.put("myid", Json::Int(me.id.0));
    run.put("is_leader", Json::Bool(view.mode == Mode::Leader));
    run.put("quorum_address", several(&me.quorum));
    run.put("election_address", several(&me.election));
    run.put("client_address", Json::Text(client_address(me)));
    run.put("voting", Json::Bool(me.votes));
    run.put("last_zxid", Json::Text(view.zxid.to_string()));
    run.put("zab_epoch", Json::Int(view.zxid.epoch()));
    run.put("zab_counter", Json::Int(view.zxid.counter().into()));
    run.put("zabstate", Json::text("broadcast"));
}

fn addresses(of: &[HostPort]) -> Json {
    Json::list(of.iter().map(|address| Json::Text(address.to_string())))
}

fn client_address(of: &MemberView) -> String {
    of.client.as_ref().map_or(String::new(), HostPort::to_string)
}

/// Jackson's view of `MultipleAddresses`, getter by getter. Java tries to reach the addresses; these are this server's
/// own, so they are taken to be reachable.
fn several(all: &[HostPort]) -> Json {
    let one = || all.first().map_or(Json::Null, |address| Json::Text(address.to_string()));
    let wildcards = all.iter().map(|at| Json::Text(HostPort::on_all_addresses(at.port).to_string()));
    Json::object([
        ("empty", Json::Bool(all.is_empty())),
        ("all_addresses", addresses(all)),
        ("all_reachable_addresses", addresses(all)),
        ("one", one()),
        ("reachable_address", one()),
        ("wildcard_addresses", Json::list(wildcards)),
        ("all_ports", Json::list(all.iter().map(|at| Json::Int(at.port.into())))),
        ("all_host_strings", Json::list(all.iter().map(|at| Json::text(&at.host)))),
        ("all_reachable_addresses_or_all", addresses(all)),
        ("reachable_or_one", one()),
    ])
}
