//! From a checked configuration to a serving process: directories, sockets, data, reactor.
//!
//! The order is Java's: the directories are checked and locked, the ports are bound, then the data is loaded. A
//! client that connects meanwhile waits in the listener's backlog.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use crate::admin::views::{ConfigView, QuorumConfigView, SnapshotView};
use crate::config::{self, Config, HostPort, Loaded, Role};
use crate::ids::ServerId;
use crate::member::{self, Member};
use crate::pipeline::Rules;
use crate::quorum::election::Pace;
use crate::quorum::views::Views;
use crate::quorum::zab::Limits;
use crate::reactor::{
    self, Clock, Fatal, Host, Membership, Parts, PeerSettings, Places, Port, Reactor, Service, Settings,
};
use crate::server::{ConnectionTokens, Options, Server};
use crate::state::{self, LoadSettings};
use crate::storage::{DataDirs, LoadOptions, LogOptions, StorageError, TxnLog};
use crate::time::Millis;
use crate::tree::TreeOptions;

/// Java's standalone server calls itself 1, whatever `myid` says.
const STANDALONE_ID: ServerId = ServerId(1);

/// Connections that may wait to be accepted, where nothing is configured; the kernel has a limit of its own. With
/// Java's 50 some clients of a storm of reconnections wait a whole second, until they try again.
const BACKLOG: u32 = 4096;

/// Silence that ends a connection for metrics; Jetty's default.
const IDLE: Millis = Millis(30_000);

/// A read-only server begins to serve after a tick, but not sooner than this (`QuorumPeer.run`).
const READ_ONLY_AFTER_MIN_MS: u64 = 2000;

/// Java's exit code for an AdminServer that cannot start.
const ADMIN_EXIT_CODE: i32 = 4;

/// Why the server does not start, or had to stop: one line, and Java's exit code.
#[derive(Debug)]
pub struct Stopped {
    pub line: String,
    pub exit_code: i32,
}

impl From<Fatal> for Stopped {
    fn from(fatal: Fatal) -> Stopped {
        Stopped { line: fatal.to_string(), exit_code: fatal.exit_code() }
    }
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Stopped {
        Fatal::from(error).into()
    }
}

/// Runs a server, alone or in an ensemble, until it is told to stop. `announce` is handed the one line that says where
/// it listens and where its data is.
pub fn run(configured: &Loaded, announce: impl FnOnce(&str)) -> Result<(), Stopped> {
    let config = &configured.config;
    let clock = Clock::start();
    let places = &config.directories;
    let (dirs, lock) = DataDirs::open(&places.data_dir, &places.data_log_dir, places.auto_create)
        .map_err(|error| bad_directory(configured, error))?;
    if let Some(warning) = &lock.warning {
        log::warn!("{warning}");
    }
    let clients = client_port(configured)?;
    let http = http_ports(configured)?;

    let mut state = state::load(&dirs, &load_settings(config), || clock.elapsed())?;
    if !state.may_vote && !config.is_distributed() {
        let line = format!(
            "{}: no data, db.autocreate is false and there is no file `initialize`; run zkServer-initialize.sh",
            dirs.log.display()
        );
        return Err(Stopped { line, exit_code: 1 });
    }
    if state.base_missing {
        let with_last_zxid = config.storage.snapshot_last_zxid && config.tree.digests;
        state.write_snapshot(&dirs, config.storage.compression, with_last_zxid)?;
    }
    let snapshot_owed = state.replayed > 0;
    let epochs = match config.is_distributed() {
        true => Some(state::epochs(&dirs, state.last_zxid())?),
        false => None,
    };
    let loaded = member::Loaded { newest: state.newest, may_vote: state.may_vote };
    let mut server = Server::new(options(config), state.tree, state.sessions, clock.now());
    server.metrics.startup_txns_loaded.add(state.replayed);
    server.metrics.startup_snap_load_time.add_nanos(nanos(state.snapshot_took));
    server.metrics.startup_txns_load_time.add_nanos(nanos(state.replay_took));
    server.metrics.dbinittime.add_nanos(nanos(state.snapshot_took + state.replay_took));
    let membership = epochs.map(|epochs| membership(config, &clock, epochs, loaded, &mut server));
    let log = TxnLog::new(&dirs, log_options(config), server.last_zxid());
    let (listener, bound) = clients.map_or((None, None), |(listener, at)| (Some(listener), Some(at)));
    let mut host =
        Host::new(clock, config_view(configured, &dirs, bound.as_ref().map_or(-1, |at| at.port.into())));
    host.last_snapshot = Some(SnapshotView { zxid: state.snapshot_zxid, at: clock.now().wall });
    let parts = Parts { server, membership, host, log, listener, http, snapshot_owed };
    let mut reactor = Reactor::new(parts, &dirs, settings(config))?;
    announce(&announcement(config, bound.as_ref(), &dirs));
    reactor.run()?;
    drop(lock);
    Ok(())
}

/// The client port, bound, and where it is. A member of an ensemble may have none.
fn client_port(configured: &Loaded) -> Result<Option<(TcpListener, HostPort)>, Stopped> {
    let config = &configured.config;
    let Some(address) = &config.client_port.address else {
        if config.is_distributed() {
            return Ok(None);
        }
        return Err(Stopped { line: "clientPort is not set: nobody could connect".into(), exit_code: 2 });
    };
    let listener = bind(configured, "clientPort", address, config.client_port.backlog.unwrap_or(BACKLOG))?;
    let bound = HostPort { host: address.host.clone(), port: bound_port(&listener, address) };
    log::info!("binding to port {bound}");
    Ok(Some((listener, bound)))
}

fn announcement(config: &Config, clients: Option<&HostPort>, dirs: &DataDirs) -> String {
    let in_full =
        |dir: &Path| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string();
    let serval = crate::version::SERVAL;
    let listening = match clients {
        Some(at) => format!("is listening on {at}"),
        None => "serves no clients (there is no clientPort)".to_string(),
    };
    let data = in_full(&dirs.snap);
    let apart =
        if dirs.log == dirs.snap { String::new() } else { format!(", its log in {}", in_full(&dirs.log)) };
    let membership = match config.ensemble.my_id {
        Some(id) if config.is_distributed() => {
            format!("; it is server {} of {}", id.0, config.ensemble.membership.servers.len())
        }
        _ => String::new(),
    };
    format!("Serval {serval} {listening}, its data is in {data}{apart}{membership}")
}

/// What makes this server a member of its ensemble.
fn membership(
    config: &Config,
    clock: &Clock,
    epochs: state::Epochs,
    loaded: member::Loaded,
    server: &mut Server,
) -> Membership {
    let ensemble = &config.ensemble;
    let me = my_id(config);
    let tick_ms = config.sessions.tick_time_ms as u64;
    let ticks = |ticks: u32| Millis(tick_ms * u64::from(ticks));
    let mut views = Views::new(ensemble.membership.clone());
    ensemble.last_seen.iter().for_each(|last_seen| views.propose(last_seen.clone()));
    let settings = member::Settings {
        me,
        views,
        limits: Limits {
            tick_ms,
            init_ticks: ensemble.init_limit_ticks.into(),
            sync_ticks: ensemble.sync_limit_ticks.into(),
        },
        pace: Pace {
            resend_min: Millis(ensemble.election.resend_min_ms),
            resend_max: Millis(ensemble.election.resend_max_ms),
            ..Pace::default()
        },
        several_addresses: ensemble.several_addresses,
        greeting_timeout: Millis(ensemble.election.read_timeout_ms),
        reconfig_enabled: ensemble.reconfig_enabled,
        standalone_enabled: ensemble.standalone_enabled,
        field_max: load_options(config).len_max,
        connect_timeout: ticks(ensemble.connect_limit_ticks),
        connect_delay: Millis(ensemble.leader.connect_retry_delay_ms),
        snap_syncs_max: ensemble.leader.snapshot_syncs_max as usize,
        diff_syncs_max: ensemble.leader.diff_syncs_max as usize,
        force_snap: false,
        counter_end: u32::MAX,
        leader_serves: ensemble.leader.serves_clients,
        epoch_wait_max: ensemble.leader.epoch_wait_max_ms.map(Millis),
        observer_master_port: ensemble.observer_master_port,
        committed_log_max: ensemble.leader.commit_log_txns as usize,
        read_only_after: config.read_only_mode.then(|| Millis(tick_ms.max(READ_ONLY_AFTER_MIN_MS))),
    };
    let peers = PeerSettings {
        election_addresses: ensemble.membership.election_addresses(me),
        on_all_addresses: ensemble.listen_on_all_ips,
        connect_timeout: Millis(ensemble.election.connect_timeout_ms),
        bind_attempts: ensemble.election.bind_attempts,
        keep_alive: ensemble.election.tcp_keep_alive,
    };
    let mut actions = Vec::new();
    let member = Member::new(clock.now(), settings, epochs, loaded, server, &mut actions);
    let places = Places {
        me,
        zoo_cfg: ensemble.static_file.clone(),
        client_address: config.client_port.address.clone(),
        client_backlog: config.client_port.backlog.unwrap_or(BACKLOG),
    };
    let log_share_of_snapshot = ensemble.leader.log_share_of_snapshot;
    Membership { member, actions, peers, log_share_of_snapshot, places }
}

/// By what number this server is known.
fn my_id(config: &Config) -> ServerId {
    match config.ensemble.my_id {
        Some(id) if config.is_distributed() => id,
        _ => STANDALONE_ID,
    }
}

/// The line of a directory that cannot be used begins with the setting that named it.
fn bad_directory(configured: &Loaded, error: StorageError) -> Stopped {
    let places = &configured.config.directories;
    let key = match &error {
        StorageError::BadDir { path, .. }
        | StorageError::MisplacedFiles { path, .. }
        | StorageError::Locked { path, .. }
            if path.starts_with(&places.data_log_dir) && places.data_log_dir != places.data_dir =>
        {
            "dataLogDir"
        }
        StorageError::BadDir { .. } | StorageError::MisplacedFiles { .. } | StorageError::Locked { .. } => {
            "dataDir"
        }
        _ => return error.into(),
    };
    Stopped { line: format!("{}: {error}", configured.place(key)), exit_code: error.exit_code() }
}

/// The ports for metrics and for the AdminServer's commands.
fn http_ports(configured: &Loaded) -> Result<Vec<Port>, Stopped> {
    let config = &configured.config;
    let mut ports = Vec::new();
    if let Some(port) = &config.metrics_port {
        let listener = bind(configured, "metricsProvider.httpPort", &port.address, BACKLOG)?;
        let bound = bound_port(&listener, &port.address);
        log::info!("Serving Prometheus metrics at http://{}:{bound}/metrics", shown(&port.address.host));
        ports.push(Port {
            listener,
            service: Service::Metrics { process_series: port.process_series },
            idle: IDLE,
        });
    }
    if let Some(port) = &config.admin_port {
        match bind(configured, "admin.serverPort", &port.address, BACKLOG) {
            Ok(listener) => {
                log::info!(
                    "Started AdminServer on address {}, port {} and command URL {}",
                    port.address.host,
                    bound_port(&listener, &port.address),
                    port.command_url
                );
                ports.push(Port {
                    listener,
                    service: Service::Commands { url: port.command_url.clone() },
                    idle: Millis(port.idle_timeout_ms),
                });
            }
            // Nobody asked for this port by name: a server that others depend on starts without it.
            Err(stopped) if !port.wanted => {
                log::warn!("{}; the HTTP commands are off (admin.enableServer=false says so)", stopped.line);
            }
            Err(stopped) => return Err(Stopped { exit_code: ADMIN_EXIT_CODE, ..stopped }),
        }
    }
    Ok(ports)
}

/// The port that was bound: where 0 was asked for, the kernel chose it.
fn bound_port(listener: &TcpListener, asked: &HostPort) -> u16 {
    listener.local_addr().map_or(asked.port, |bound| bound.port())
}

fn shown(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_string() }
}

/// Binds and listens. A wildcard is bound for both families, as Java does.
fn bind(configured: &Loaded, key: &str, address: &HostPort, backlog: u32) -> Result<TcpListener, Stopped> {
    let fail = |error: io::Error| {
        let advice = reactor::advice(&error);
        let place = configured.place(key);
        Stopped { line: format!("{place}: cannot listen on {address}: {error}; {advice}"), exit_code: 1 }
    };
    let mut found = (address.host.as_str(), address.port).to_socket_addrs().map_err(fail)?;
    let at = found.next().ok_or_else(|| fail(io::Error::other("the name has no address")))?;
    reactor::listen(at, backlog).map_err(fail)
}

fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

fn load_settings(config: &Config) -> LoadSettings {
    let newest_max =
        if config.is_distributed() { config.ensemble.leader.commit_log_txns as usize } else { 0 };
    LoadSettings { files: load_options(config), tree: tree_options(config), newest_max }
}

fn load_options(config: &Config) -> LoadOptions {
    let limits = &config.limits;
    LoadOptions {
        len_max: LoadOptions::len_max(limits.frame_bytes_max as usize, limits.frame_bytes_extra as usize),
        trust_empty: config.storage.trust_empty_snapshot,
        autocreate_db: config.ensemble.auto_create_database,
    }
}

fn log_options(config: &Config) -> LogOptions {
    let storage = &config.storage;
    LogOptions::new(
        (storage.segment_bytes / 1024) as i64,
        storage.force_sync,
        storage.log_bytes_max.map_or(-1, |bytes| (bytes / 1024) as i64),
    )
}

fn tree_options(config: &Config) -> TreeOptions {
    TreeOptions {
        digest: config.tree.digests,
        // TTL nodes are recognised even if making them is switched off. Java takes their owners for sessions
        // then, finds these dead, and deletes the nodes: a flipped setting must not cost data. Session ids
        // look like TTL owners only where there is a server 255.
        extended_types: config.tree.extended_types
            || !config.ensemble.membership.servers.contains_key(&ServerId(255)),
        emulate_353_ttl: config.tree.ttl_as_in_353,
    }
}

fn options(config: &Config) -> Options {
    let limits = &config.limits;
    let throttle = &config.connection_throttle;
    let weight = |of: fn(&config::SessionWeights) -> u32| throttle.weights.as_ref().map_or(1, of);
    // Java scales the bucket by the weight of a global session, so that the setting still counts sessions.
    let scale = u64::from(weight(|weights| weights.global));
    Options {
        server_id: my_id(config),
        tick_ms: config.sessions.tick_time_ms as u64,
        session_timeout_min_ms: config.sessions.timeout_min_ms.max(0) as u32,
        session_timeout_max_ms: config.sessions.timeout_max_ms.max(0) as u32,
        frame_max: limits.frame_bytes_max as usize,
        field_max: load_options(config).len_max,
        client_connections_max: limits.connections_per_ip_max.unwrap_or(0) as usize,
        connections_max: limits.connections_max.unwrap_or(0) as usize,
        outstanding_max: limits.outstanding_requests_max as usize,
        throttle_max: limits.throttled_requests_max.unwrap_or(0) as usize,
        large_request_threshold: limits.large_request_bytes.map(|n| n as usize),
        large_request_bytes_max: limits.large_requests_bytes_max as usize,
        sessionless_timeout_ms: config.client_port.sessionless_timeout_ms,
        connection_tokens: throttle.tokens_max.map(|tokens| ConnectionTokens {
            tokens_max: u64::from(tokens) * scale,
            fill_time_ms: throttle.fill_time_ms,
            fill_count: u64::from(throttle.fill_count) * scale,
            new_session_cost: scale,
            local_session_cost: u64::from(weight(|weights| weights.local)),
            resume_cost: u64::from(weight(|weights| weights.renew)),
        }),
        container_check_ms: config.containers.check_interval_ms,
        containers_per_minute_max: config.containers.deletions_per_minute_max as usize,
        container_never_used_ms_max: config.containers.never_used_ms.map_or(0, |ms| ms as i64),
        local_sessions: config.ensemble.local_sessions,
        local_sessions_upgrade: config.ensemble.local_sessions_upgrade,
        rules: Rules {
            tree: tree_options(config),
            ttl_nodes: config.tree.extended_types,
            enforce_quota: config.tree.enforce_quotas,
            reconfig_enabled: config.ensemble.reconfig_enabled,
            close_session_paths: config.storage.close_session_paths,
            record_max: load_options(config).len_max,
        },
        auth: config.auth.clone(),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        whitelist: config.four_letter_words.clone(),
        compression: config.storage.compression,
        load: load_settings(config),
        snapshot_last_zxid: config.storage.snapshot_last_zxid && config.tree.digests,
        snap_count: i64::from(config.storage.snapshot_txns),
        snap_size_limit_kib: config.storage.snapshot_log_bytes.map_or(0, |bytes| (bytes / 1024) as i64),
        sync_warning_ms: config.storage.sync_warning_ms,
        purge_every_ms: config.purge.interval_ms,
        snapshots_kept: config.purge.snapshots_kept as usize,
        tcp_keep_alive: config.client_port.tcp_keep_alive,
    }
}

fn config_view(configured: &Loaded, dirs: &DataDirs, client_port: i32) -> ConfigView {
    let config = &configured.config;
    ConfigView {
        client_port,
        secure_client_port: -1,
        data_dir: dirs.snap.display().to_string(),
        data_log_dir: dirs.log.display().to_string(),
        tick_time_ms: config.sessions.tick_time_ms as u32,
        max_client_cnxns: config.limits.connections_per_ip_max.unwrap_or(0),
        min_session_timeout_ms: config.sessions.timeout_min_ms as u32,
        max_session_timeout_ms: config.sessions.timeout_max_ms as u32,
        client_port_listen_backlog: config.client_port.backlog.map_or(-1, |backlog| backlog as i32),
        server_id: if config.is_distributed() { my_id(config).0 } else { 0 },
        quorum: config.is_distributed().then(|| quorum_view(config)),
        file_text: configured.file_text.clone(),
        settings: configured.in_force.clone(),
    }
}

/// The membership is filled in when somebody asks: it may change.
fn quorum_view(config: &Config) -> QuorumConfigView {
    let ensemble = &config.ensemble;
    let own = ensemble.membership.servers.get(&my_id(config)).and_then(|server| server.addresses.first());
    QuorumConfigView {
        init_limit: ensemble.init_limit_ticks,
        sync_limit: ensemble.sync_limit_ticks,
        // There is no other any more (`FastLeaderElection`).
        election_alg: 3,
        election_port: own.map_or(0, |own| own.election_port),
        quorum_port: own.map_or(0, |own| own.quorum_port),
        observer: ensemble.role == Role::Observer,
        membership: None,
    }
}
