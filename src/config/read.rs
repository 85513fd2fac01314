//! Settings become a [`Config`]: every key of the table is asked for here, once, and what several keys
//! together get wrong is found here.
//!
//! In the order of Java's `QuorumPeerConfig`, so that of several mistakes the same one is reported first
//! where Java has an order at all (among the keys of one file it has none).

use super::error::{ConfigError, Place, Problem};
use super::settings::{Settings, parse_int};
use super::*;
use crate::auth::DigestAlgorithm;
use crate::ids::{HashMap, Zxid};
use crate::quorum::membership::{MemberLine, is_member_key};

const PROMETHEUS: &str = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
/// Providers that export nothing: `mntr` has its values with any provider.
const NO_EXPORTER: [&str; 2] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
];

/// Checks everything. `file` is where the settings come from, if they come from a file.
pub(super) fn read(mut settings: Settings, file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let config = read_config(&mut settings, file)?;
    settings.warn_of_keys_without_effect();
    let in_force = settings.in_force();
    let places = settings.places();
    Ok(Loaded { config, warnings: settings.warnings, file_text: None, in_force, places })
}

/// Every key of the table, asked for once.
pub(super) fn read_config(s: &mut Settings, file: Option<&Path>) -> Result<Config, ConfigError> {
    let purge = purge(s)?;
    check_quorum_auth(s)?;
    let directories = directories(s)?;
    let mut client_port = client_port(s)?;
    let sessions = sessions(s)?;
    let metrics_port = metrics_port(s)?;
    let ensemble = ensemble(s, file, &directories.data_dir, &mut client_port, &sessions)?;
    check_listening(s, &ensemble, &client_port)?;
    let auth = auth(s)?;
    let read_only_mode = s.property_boolean("readonlymode.enabled");
    if read_only_mode
        && !ensemble.local_sessions
        && ensemble.membership.is_distributed(ensemble.standalone_enabled)
    {
        // As in Java: a session that everybody knows of cannot be made, or moved, without a leader.
        let text = "without localSessionsEnabled=true a read-only server refuses every session; add that";
        s.warn(&s.place("readonlymode.enabled"), text.into());
    }
    let config = Config {
        directories,
        client_port,
        sessions,
        limits: limits(s)?,
        connection_throttle: connection_throttle(s),
        storage: storage(s)?,
        purge,
        tree: Tree {
            digests: s.property_boolean("digest.enabled"),
            extended_types: s.property_boolean("extendedTypesEnabled"),
            ttl_as_in_353: s.property_boolean("emulate353TTLNodes"),
            enforce_quotas: s.property_boolean("enforceQuota"),
        },
        containers: Containers {
            check_interval_ms: s.property_int("znode.container.checkIntervalMs", 1) as u64,
            deletions_per_minute_max: s.property_int("znode.container.maxPerMinute", 1) as u32,
            never_used_ms: above_zero(s.property_long("znode.container.maxNeverUsedIntervalMs", i64::MIN)),
        },
        auth,
        four_letter_words: Whitelist::parse(s.text("4lw.commands.whitelist"), read_only_mode),
        metrics_port,
        admin_port: admin_port(s),
        read_only_mode,
        ensemble,
    };
    if let (true, true, Some(ServerId(id))) =
        (config.is_distributed(), config.tree.extended_types, config.ensemble.my_id)
        && !(0..=254).contains(&id)
    {
        // Above, the server's number would not fit beside the TTL in an ephemeral owner.
        return Err(s.error("extendedTypesEnabled", Problem::IdTooLargeForExtendedTypes { id }));
    }
    Ok(config)
}

fn above_zero(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// For limits where Java takes 0 and everything below for "none".
fn above_zero_u32(number: i32) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number > 0)
}

fn directories(s: &mut Settings) -> Result<Directories, ConfigError> {
    let Some(data_dir) = s.text("dataDir").map(PathBuf::from) else {
        return Err(s.missing("dataDir", Problem::NotSet { example: "dataDir=/var/lib/zookeeper" }));
    };
    let data_log_dir = s.text("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from);
    for (key, path) in [("dataDir", &data_dir), ("dataLogDir", &data_log_dir)] {
        // An argument is relative to where it was typed; a file is read from anywhere.
        let in_file = matches!(s.place(key).origin, Origin::File { line: Some(_), .. });
        if in_file && s.has(key) && path.is_relative() && !path.starts_with(".") {
            s.warn(
                &s.place(key),
                format!("{} is relative; prepend ./ to show that you are sure", path.display()),
            );
        }
    }
    Ok(Directories { data_dir, data_log_dir, auto_create: s.property_boolean("datadir.autocreate") })
}

fn client_port(s: &mut Settings) -> Result<ClientPort, ConfigError> {
    let address = |port_key: &'static str, host_key: &'static str| {
        let host = s.text(host_key);
        match (s.port_if_given(port_key)?, host) {
            (Some(port), Some(host)) => Ok(Some(HostPort { host: without_brackets(host), port })),
            (Some(port), None) => Ok(Some(HostPort::on_all_addresses(port))),
            (None, Some(_)) => Err(s.error(host_key, Problem::AddressWithoutPort { port: port_key })),
            (None, None) => Ok(None),
        }
    };
    Ok(ClientPort {
        address: address("clientPort", "clientPortAddress")?,
        secure_address: address("secureClientPort", "secureClientPortAddress")?,
        backlog: above_zero_u32(s.int("clientPortListenBacklog")?),
        tcp_keep_alive: s.property_boolean("clientTcpKeepAlive"),
        sessionless_timeout_ms: s.property_int("nio.sessionlessCnxnTimeout", 1) as u64,
    })
}

/// Java's resolver takes IPv6 addresses with and without brackets.
fn without_brackets(host: &str) -> String {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned()
}

/// A server that nobody can reach is a mistake, even where Java starts it.
fn check_listening(s: &Settings, ensemble: &Ensemble, client_port: &ClientPort) -> Result<(), ConfigError> {
    if client_port.address.is_some() {
        return Ok(());
    }
    if client_port.secure_address.is_some() {
        return Err(s.error("secureClientPort", Problem::SecurePortOnly));
    }
    // A member of an ensemble may do without clients.
    if ensemble.membership.is_distributed(ensemble.standalone_enabled) {
        return Ok(());
    }
    Err(s.missing("clientPort", Problem::NothingToListenOn))
}

fn sessions(s: &Settings) -> Result<Sessions, ConfigError> {
    let tick_time_ms = s.int("tickTime")?;
    if tick_time_ms <= 0 {
        return Err(s.error("tickTime", Problem::NotPositive { value: tick_time_ms.to_string() }));
    }
    // -1 asks for a number of ticks; Java's multiplication wraps around for ticks of a day, this one stops.
    let timeout = |key, ticks| match s.int(key)? {
        -1 => Ok(tick_time_ms.saturating_mul(ticks)),
        ms => Ok(ms.max(0)),
    };
    let timeout_min_ms = timeout("minSessionTimeout", 2)?;
    let timeout_max_ms = timeout("maxSessionTimeout", 20)?;
    if timeout_min_ms > timeout_max_ms {
        let key = if s.has("minSessionTimeout") { "minSessionTimeout" } else { "maxSessionTimeout" };
        let (min_ms, max_ms) = (i64::from(timeout_min_ms), i64::from(timeout_max_ms));
        return Err(s.error(key, Problem::SessionTimeoutsCross { min_ms, max_ms }));
    }
    Ok(Sessions { tick_time_ms, timeout_min_ms, timeout_max_ms })
}

fn limits(s: &mut Settings) -> Result<Limits, ConfigError> {
    // Below this not even a connect request would fit, and every client would be refused.
    let frame_bytes_max = s.property_int("jute.maxbuffer", 64);
    let frame_bytes_extra = match s.has("jute.maxbuffer.extrasize") {
        true => s.property_int_or("jute.maxbuffer.extrasize", 1024, frame_bytes_max),
        false => frame_bytes_max.max(1024),
    };
    Ok(Limits {
        connections_per_ip_max: above_zero_u32(s.int("maxClientCnxns")?),
        connections_max: above_zero_u32(s.property_int("maxCnxns", 0)),
        frame_bytes_max: frame_bytes_max as u32,
        frame_bytes_extra: frame_bytes_extra as u32,
        outstanding_requests_max: s.property_int("globalOutstandingLimit", 1) as u32,
        throttled_requests_max: above_zero_u32(s.property_int("request_throttle_max_requests", 0)),
        large_request_bytes: above_zero_u32(s.property_int("largeRequestThreshold", -1)),
        large_requests_bytes_max: s.property_int("largeRequestMaxBytes", 1) as u32,
    })
}

fn connection_throttle(s: &mut Settings) -> ConnectionThrottle {
    let weights = SessionWeights {
        global: s.property_int("connection_throttle_global_session_weight", 1) as u32,
        local: s.property_int("connection_throttle_local_session_weight", 1) as u32,
        renew: s.property_int("connection_throttle_renew_session_weight", 1) as u32,
    };
    ConnectionThrottle {
        tokens_max: above_zero_u32(s.property_int("connection_throttle_tokens", 0)),
        fill_time_ms: s.property_int("connection_throttle_fill_time", 1) as u64,
        fill_count: s.property_int("connection_throttle_fill_count", 0) as u32,
        weights: s.property_boolean("connection_throttle_weight_enabled").then_some(weights),
    }
}

fn storage(s: &mut Settings) -> Result<Storage, ConfigError> {
    let kib = |number: i64| above_zero(number).map(|kib| kib.saturating_mul(1024));
    let compression = match s.text("snapshot.compression.method") {
        None => Compression::None,
        Some("gz") => Compression::Gzip,
        Some("snappy") => Compression::Snappy,
        Some(other) => {
            // Java reads on with "no compression"; a disk sized for compressed snapshots deserves better.
            let problem = Problem::UnknownCompression { value: other.to_owned() };
            return Err(s.error("snapshot.compression.method", problem));
        }
    };
    Ok(Storage {
        // Java's 0 for "do not preallocate" has no place here: the blocks of a mapped segment must exist.
        segment_bytes: s.property_long("preAllocSize", 64) as u64 * 1024,
        snapshot_txns: s.property_int("snapCount", 2) as u32,
        snapshot_log_bytes: kib(s.property_long("snapSizeLimitInKb", i64::MIN)),
        log_bytes_max: kib(s.property_long("txnLogSizeLimitInKb", i64::MIN)),
        force_sync: !s.property_word("forceSync", ["no", "yes"]),
        sync_warning_ms: s.property_long("fsync.warningthresholdms", 0) as u64,
        compression,
        trust_empty_snapshot: s.property_boolean("snapshot.trust.empty"),
        snapshot_last_zxid: s.property_boolean("serializeLastProcessedZxid.enabled"),
        close_session_paths: s.property_boolean("closeSessionTxn.enabled"),
    })
}

fn purge(s: &mut Settings) -> Result<Purge, ConfigError> {
    let mut snapshots_kept = s.int("autopurge.snapRetainCount")?;
    if snapshots_kept < 3 {
        let text = format!("{snapshots_kept} is less than 3, which is the minimum; 3 is used");
        s.warn(&s.place("autopurge.snapRetainCount"), text);
        snapshots_kept = 3;
    }
    let interval = s.text_or_default("autopurge.purgeInterval");
    let interval_ms = interval_ms(interval).ok_or_else(|| {
        s.error("autopurge.purgeInterval", Problem::NotAnInterval { value: interval.to_owned() })
    })?;
    Ok(Purge { snapshots_kept: snapshots_kept as u32, interval_ms: above_zero(interval_ms) })
}

/// Hours, or a number with a unit, as `Time.parseTimeInterval` of 3.10 takes them.
fn interval_ms(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits_end = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits_end);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" | "" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(i64::from(parse_int(number).ok()?) * unit_ms)
}

fn auth(s: &mut Settings) -> Result<Auth, ConfigError> {
    let algorithm = s.text_or_default("DigestAuthenticationProvider.digestAlg");
    let digest_algorithm = DigestAlgorithm::from_name(algorithm).ok_or_else(|| {
        let problem = Problem::UnsupportedDigestAlg { value: algorithm.to_owned() };
        s.error("DigestAuthenticationProvider.digestAlg", problem)
    })?;
    let super_digest = s.text("DigestAuthenticationProvider.superDigest").map(str::to_owned);
    if super_digest.as_ref().is_some_and(|digest| !digest.contains(':')) {
        s.warn(
            &s.place("DigestAuthenticationProvider.superDigest"),
            "nobody can match it: it is super:base64(sha1(super:password)), and this has no colon".into(),
        );
    }
    let digest_disabled = !s.property_boolean("DigestAuthenticationProvider.enabled");
    // A provider that is configured makes ids of its scheme valid in ACLs, even while nobody can prove one.
    let provides =
        |scheme| s.family("authProvider.").any(|(_, class)| settings::auth_provider(class) == Some(scheme));
    let (sasl_acls, x509_acls) = (provides("sasl"), provides("x509"));

    let mut key = "sessionRequireClientSASLAuth";
    let enforced_schemes = if s.property_boolean(key) {
        vec!["sasl".to_owned()]
    } else {
        let schemes = s.text("enforce.auth.schemes").unwrap_or_default();
        let schemes: Vec<String> = schemes.split(',').map(|scheme| scheme.trim().to_owned()).collect();
        key = "enforce.auth.enabled";
        if !s.property_boolean(key) {
            Vec::new()
        } else if schemes.iter().all(|scheme| scheme.is_empty()) {
            return Err(s.error(key, Problem::EnforcedSchemesMissing));
        } else {
            key = "enforce.auth.schemes";
            schemes
        }
    };
    for scheme in &enforced_schemes {
        let available = scheme == "ip" || scheme == "digest" && !digest_disabled;
        if !available {
            return Err(s.error(key, Problem::EnforcedSchemeUnavailable { scheme: scheme.clone() }));
        }
    }
    let skip_acl = s.property_word("skipACL", ["yes", "no"]);
    Ok(Auth {
        skip_acl,
        digest_disabled,
        digest_algorithm,
        super_digest,
        sasl_acls,
        x509_acls,
        enforced_schemes,
    })
}

fn metrics_port(s: &mut Settings) -> Result<Option<MetricsPort>, ConfigError> {
    // Read even when nothing will be served there, so that a typo is found before it is needed.
    let host = s.text("metricsProvider.httpHost").unwrap_or("0.0.0.0");
    let host = without_brackets(host);
    let port = s.port("metricsProvider.httpPort")?;
    let process_series = s.property_boolean("metricsProvider.exportJvmInfo");
    match s.text_or_default("metricsProvider.className") {
        PROMETHEUS => Ok(Some(MetricsPort { address: HostPort { host, port }, process_series })),
        class if NO_EXPORTER.contains(&class) => Ok(None),
        other => {
            let problem = Problem::UnknownMetricsProvider { class: other.to_owned() };
            Err(s.error("metricsProvider.className", problem))
        }
    }
}

fn admin_port(s: &mut Settings) -> Option<AdminPort> {
    let host = without_brackets(s.text("admin.serverAddress").unwrap_or("0.0.0.0"));
    let port = s.property_port("admin.serverPort");
    let command_url = s.text("admin.commandURL").unwrap_or("/commands").to_owned();
    let idle_timeout_ms = s.property_int("admin.idleTimeout", 1) as u64;
    let enabled = !s.property_word("admin.enableServer", ["false", "true"]);
    let wanted = s.has("admin.enableServer") || s.has("admin.serverPort");
    enabled.then_some(AdminPort { address: HostPort { host, port }, command_url, idle_timeout_ms, wanted })
}

/// The three switches of SASL between servers depend on each other, whether or not SASL is built.
fn check_quorum_auth(s: &Settings) -> Result<(), ConfigError> {
    let [server, learner] = ["quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl"];
    let enabled = s.boolean("quorum.auth.enableSasl")?;
    let learner_requires = s.boolean(learner)?;
    let server_requires = s.boolean(server)?;
    for (key, requires) in [(server, server_requires), (learner, learner_requires)] {
        if requires && !enabled {
            return Err(s.error(key, Problem::QuorumAuthInconsistent { needs: "quorum.auth.enableSasl" }));
        }
    }
    // A server that demands SASL of others could not join them without offering it itself.
    if server_requires && !learner_requires {
        return Err(s.error(server, Problem::QuorumAuthInconsistent { needs: learner }));
    }
    Ok(())
}

fn ensemble(
    s: &mut Settings,
    file: Option<&Path>,
    data_dir: &Path,
    client_port: &mut ClientPort,
    sessions: &Sessions,
) -> Result<Ensemble, ConfigError> {
    let algorithm = s.int("electionAlg")?;
    if algorithm != 3 {
        return Err(s.error("electionAlg", Problem::UnknownElectionAlg { value: algorithm.to_string() }));
    }
    let several_addresses = s.boolean("multiAddress.enabled")?;
    let standalone_enabled = s.boolean("standaloneEnabled")?;
    let dynamic_file = s.text("dynamicConfigFile").map(PathBuf::from);
    let membership = match &dynamic_file {
        None => parse_members(&s.member_lines(), several_addresses, &s.whole)?,
        Some(dynamic) => {
            let lines = s.member_lines();
            if let Some((_, place)) = lines.iter().find(|(line, _)| is_member_key(line.key)) {
                return Err(ConfigError {
                    place: (*place).clone(),
                    problem: Problem::MembershipBesideDynamicFile,
                });
            }
            read_dynamic_file(dynamic, several_addresses).map_err(|error| match error.problem {
                Problem::FileMissing => {
                    s.error("dynamicConfigFile", Problem::DynamicFileMissing { path: dynamic.clone() })
                }
                _ => error,
            })?
        }
    };
    check_membership(s, &membership, standalone_enabled)?;
    warn_of_shared_ports(s, &membership);
    let last_seen = match (file, &dynamic_file) {
        (Some(file), Some(_)) => read_next_file(s, file, several_addresses)?,
        _ => None,
    };

    let my_id = read_myid(data_dir)?;
    let me = my_id.and_then(|id| membership.servers.get(&id));
    if let Some(me) = me {
        let addresses = [
            ("clientPort", &mut client_port.address, &me.client),
            ("secureClientPort", &mut client_port.secure_address, &me.secure_client),
        ];
        for (key, here, in_line) in addresses {
            let Some(in_line) = in_line else { continue };
            if let Some(here) = here.as_ref().filter(|here| here.contradicts(in_line)) {
                let (here, in_server_line) = (here.to_string(), in_line.to_string());
                return Err(s.error(key, Problem::ClientAddressesDiffer { here, in_server_line }));
            }
            *here = Some(in_line.clone());
        }
    }
    let peer_type = s.text_or_default("peerType");
    let peer_type =
        Role::parse(peer_type).map_err(|problem| s.error("peerType", Problem::Members(problem)))?;
    let role = me.map_or(Role::Participant, |me| me.role);
    if role != peer_type {
        let text = format!("peerType says {peer_type}, but the server lines say {role}, and they count");
        s.warn(&s.place("peerType"), text);
    }

    let init_limit = s.int_if_given("initLimit")?.unwrap_or(0);
    let sync_limit = s.int_if_given("syncLimit")?.unwrap_or(0);
    let connect_limit = s.int("connectToLearnerMasterLimit")?;
    if membership.is_distributed(standalone_enabled) {
        for (key, ticks, example) in
            [("initLimit", init_limit, "initLimit=10"), ("syncLimit", sync_limit, "syncLimit=5")]
        {
            if ticks < 0 {
                return Err(s.error(key, Problem::NotPositive { value: ticks.to_string() }));
            }
            if ticks == 0 {
                return Err(s.missing(key, Problem::NotSet { example }));
            }
        }
        let myid_file = || Place::file(data_dir.join("myid"));
        match (my_id, me) {
            (None, _) => return Err(ConfigError { place: myid_file(), problem: Problem::MyidMissing }),
            (Some(ServerId(id)), None) => {
                return Err(ConfigError { place: myid_file(), problem: Problem::NotInServerList { id } });
            }
            (Some(_), Some(_)) => {}
        }
    }
    let ticks = |limit: i32| limit.max(0) as u32;
    Ok(Ensemble {
        my_id,
        membership,
        last_seen,
        static_file: file.map(Path::to_owned),
        dynamic_file,
        standalone_enabled,
        reconfig_enabled: s.boolean("reconfigEnabled")?,
        role,
        init_limit_ticks: ticks(init_limit),
        sync_limit_ticks: ticks(sync_limit),
        connect_limit_ticks: ticks(if connect_limit > 0 { connect_limit } else { init_limit }),
        listen_on_all_ips: s.boolean("quorumListenOnAllIPs")?,
        local_sessions: s.boolean("localSessionsEnabled")?,
        local_sessions_upgrade: s.boolean("localSessionsUpgradingEnabled")?,
        auto_create_database: s.property_boolean("db.autocreate"),
        election: election(s, ticks(sync_limit), sessions),
        leader: leader(s),
        observer_master_port: observer_master_port(s)?,
        several_addresses,
    })
}

/// What Java's `parseDynamicConfig` makes of the numbers of participants and observers.
fn check_membership(
    s: &mut Settings,
    members: &Membership,
    standalone_enabled: bool,
) -> Result<(), ConfigError> {
    let fail = |key: Option<&str>, problem| match key {
        Some(key) => Err(s.error(key, problem)),
        None => Err(ConfigError { place: s.whole.clone(), problem }),
    };
    let has_observers = members.observers().next().is_some();
    // Java looks for a leader without end.
    let weightless = members
        .groups
        .as_ref()
        .is_some_and(|groups| members.participants().all(|(id, _)| groups.weights[&id] == 0));
    match members.participants().count() {
        0 if !standalone_enabled => return fail(Some("standaloneEnabled"), Problem::NoParticipants),
        0 if has_observers => return fail(None, Problem::ObserversOnly),
        0 => {}
        _ if weightless => return fail(None, Problem::NoWeight),
        1 if standalone_enabled && has_observers => return fail(None, Problem::OneParticipantWithObservers),
        1 if standalone_enabled => {
            s.warn(&s.whole.clone(), "only one server line; running standalone, without it".into());
        }
        1 | 2 => s.warn(
            &s.whole.clone(),
            "no server failure will be tolerated; an ensemble needs at least 3 participants for that".into(),
        ),
        even if even % 2 == 0 => s.warn(
            &s.whole.clone(),
            format!("{even} participants tolerate no more failures than {}; use an odd number", even - 1),
        ),
        _ => {}
    }
    Ok(())
}

/// A line that was copied and not changed: such servers hang up on themselves and on each other.
fn warn_of_shared_ports(s: &mut Settings, members: &Membership) {
    let mut taken = HashMap::default();
    for (id, server) in &members.servers {
        for at in &server.addresses {
            let (host, port) = (&at.host, at.election_port);
            if let Some(other) = taken.insert((host, port), id) {
                let text = format!(
                    "servers {other} and {id} have the same election port, {host}:{port}; correct one"
                );
                s.warn(&s.whole.clone(), text);
            }
        }
    }
}

/// The membership in the file that `dynamicConfigFile` names. Its version is the end of the file's name.
fn read_dynamic_file(path: &Path, several_addresses: bool) -> Result<Membership, ConfigError> {
    let lines = member_file_lines(path)?;
    for (place, property) in &lines {
        let problem = match property.key.as_str() {
            "version" => Problem::VersionInDynamicFile,
            key if is_member_key(key) => continue,
            _ => Problem::ForeignKeyInDynamicFile,
        };
        return Err(ConfigError { place: place.clone(), problem });
    }
    let membership = parse_member_file(path, &lines, several_addresses)?;
    Ok(Membership { version: version_in_name(path), ..membership })
}

/// The membership that was proposed and not known to be committed when the server stopped, if there is one.
fn read_next_file(
    s: &mut Settings,
    static_file: &Path,
    several_addresses: bool,
) -> Result<Option<Membership>, ConfigError> {
    let path = super::dynamic::next_file(static_file);
    let mut lines = match member_file_lines(&path) {
        Ok(lines) => lines,
        Err(ConfigError { problem: Problem::FileMissing, .. }) => return Ok(None),
        Err(error @ ConfigError { problem: Problem::FileUnreadable { .. }, .. }) => {
            // As in Java: the proposal is with the other servers too.
            s.warn(&error.place.clone(), format!("{}; going on without it", error.problem));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    lines.retain(|(_, property)| is_member_key(&property.key) || property.key == "version");
    parse_member_file(&path, &lines, several_addresses).map(Some)
}

fn member_file_lines(path: &Path) -> Result<Vec<(Place, properties::Property)>, ConfigError> {
    let properties = parse_properties(path, &read_file(path)?)?;
    Ok(properties.into_iter().map(|p| (Place::line(path, p.line).key(&p.key), p)).collect())
}

fn parse_member_file(
    path: &Path,
    lines: &[(Place, properties::Property)],
    several_addresses: bool,
) -> Result<Membership, ConfigError> {
    // A later line for the same key replaces an earlier one, as in Java's properties.
    let latest: std::collections::BTreeMap<&str, (MemberLine<'_>, &Place)> = lines
        .iter()
        .map(|(place, p)| (p.key.as_str(), (MemberLine { key: &p.key, value: &p.value }, place)))
        .collect();
    let lines: Vec<_> = latest.into_values().collect();
    parse_members(&lines, several_addresses, &Place::file(path))
}

/// The membership in `lines`; `whole` is the place of errors that no single line makes.
fn parse_members(
    lines: &[(MemberLine<'_>, &Place)],
    several_addresses: bool,
    whole: &Place,
) -> Result<Membership, ConfigError> {
    let (members, places): (Vec<_>, Vec<_>) = lines.iter().copied().unzip();
    Membership::parse(&members, several_addresses).map_err(|bad| ConfigError {
        place: bad.line.map_or(whole, |line| places[line]).clone(),
        problem: Problem::Members(bad.problem),
    })
}

fn election(s: &mut Settings, sync_limit_ticks: u32, sessions: &Sessions) -> Election {
    let resend_min_ms = s.property_int("fastleader.minNotificationInterval", 1);
    let silence = s.property_int("quorumCnxnTimeoutMs", i32::MIN);
    let silence_default = u64::from(sync_limit_ticks) * sessions.tick_time_ms as u64;
    Election {
        connect_timeout_ms: s.property_int("cnxTimeout", 1) as u64,
        read_timeout_ms: above_zero(silence.into()).unwrap_or(silence_default),
        resend_min_ms: resend_min_ms as u64,
        resend_max_ms: s.property_int("fastleader.maxNotificationInterval", resend_min_ms) as u64,
        bind_attempts: above_zero_u32(s.property_int("electionPortBindRetry", 0)),
        tcp_keep_alive: s.property_boolean("tcpKeepAlive"),
    }
}

fn leader(s: &mut Settings) -> Leader {
    let share = s.property_fraction("snapshotSizeFactor");
    Leader {
        serves_clients: !s.property_word("leaderServes", ["no", "yes"]),
        epoch_wait_max_ms: above_zero(s.property_int("leader.maxTimeToWaitForEpoch", -1).into()),
        snapshot_syncs_max: s.property_int("leader.maxConcurrentSnapSyncs", 1) as u32,
        diff_syncs_max: s.property_int("leader.maxConcurrentDiffSyncs", 1) as u32,
        commit_log_txns: s.property_int("commitLogCount", 500) as u32,
        // More than the whole snapshot makes no sense; Java falls back to its default then.
        log_share_of_snapshot: if share > 1.0 { 0.33 } else { share },
        connect_retry_delay_ms: s.property_int("leaderConnectDelayDuringRetryMs", 0) as u64,
    }
}

/// Where followers serve observers, if they do.
fn observer_master_port(s: &mut Settings) -> Result<Option<u16>, ConfigError> {
    let port = s.int("observerMasterPort")?;
    let port = u16::try_from(port.max(0))
        .map_err(|_| s.error("observerMasterPort", Problem::NotAPort { value: port.to_string() }))?;
    Ok(Some(port).filter(|port| *port != 0))
}

/// The version in the name of a dynamic configuration file: the hexadecimal number behind its last dot, or 0.
fn version_in_name(path: &Path) -> Zxid {
    let name = path.to_string_lossy();
    let number = name.rsplit_once('.').and_then(|(_, end)| i64::from_str_radix(end, 16).ok());
    Zxid(number.unwrap_or(0))
}

/// This server's number, from the file `myid` in its data directory; `None` without such a file.
///
/// # Errors
/// A first line that is no number. Like Java, this does not trim: a blank behind the number is an error.
fn read_myid(data_dir: &Path) -> Result<Option<ServerId>, ConfigError> {
    let path = data_dir.join("myid");
    // Java asks `isFile` first, so that a directory of that name counts as no file.
    if !path.is_file() {
        return Ok(None);
    }
    let fail = |problem| ConfigError { place: Place::file(&path), problem };
    let unreadable = |error: io::Error| fail(Problem::FileUnreadable { error: error.to_string() });
    // No number is longer; the rest of whatever file this is does not matter.
    let mut start = Vec::new();
    File::open(&path).and_then(|file| file.take(64).read_to_end(&mut start)).map_err(unreadable)?;
    let line = start.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.parse() {
        // Java's own mark for "no id".
        Ok(-1) => Ok(None),
        Ok(id) => Ok(Some(ServerId(id))),
        Err(_) => Err(fail(Problem::MyidNotANumber { value: line.into_owned() })),
    }
}
