//! What an administrator sees: files in, settings and warnings out.

mod errors;
mod members;
mod table;

use super::*;
use crate::admin::words::Word;
use crate::auth::DigestAlgorithm;
use crate::ids::Zxid;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

/// A directory with a zoo.cfg whose dataDir is the directory itself.
struct Fixture {
    dir: TempDir,
    defines: Vec<(String, String)>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().expect("a temporary directory"), defines: Vec::new() }
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Fixture {
        fs::write(self.dir.path().join(name), content).expect("a file in it");
        self
    }

    fn define(mut self, name: &str, value: &str) -> Fixture {
        self.defines.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Loads exactly this text.
    fn load_bare(&self, text: &str) -> Result<Loaded, ConfigError> {
        let path = self.dir.path().join("zoo.cfg");
        fs::write(&path, text).expect("zoo.cfg");
        Config::load(&path, &self.defines)
    }

    /// Loads the least that a server needs, in one line, and `text` from line 2 on.
    fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        self.load_bare(&format!("dataDir={}\n{text}\nclientPort=2181\n", self.dir.path().display()))
    }

    /// The error of `text`, without the directory.
    fn error(&self, text: &str) -> (String, u8) {
        let error = self.load(text).expect_err(text);
        (self.shorten(&error.to_string()), error.exit_code())
    }

    fn warnings(&self, text: &str) -> Vec<String> {
        let loaded = self.load(text).expect(text);
        loaded.warnings.iter().map(|warning| self.shorten(&warning.to_string())).collect()
    }

    fn shorten(&self, message: &str) -> String {
        assert!(!message.contains('\n'), "one line: {message}");
        message.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn config(text: &str) -> Config {
    Fixture::new().load(text).expect(text).config
}

/// The error must come with exit code 2, start like this and tell what to do behind a semicolon.
#[track_caller]
fn refused(text: &str, starts: &str) {
    refused_in(&Fixture::new(), text, starts);
}

#[track_caller]
fn refused_in(fixture: &Fixture, text: &str, starts: &str) {
    let (message, code) = fixture.error(text);
    assert!(message.starts_with(starts), "{text:?}: {message}");
    assert_eq!(code, 2, "{message}");
}

#[track_caller]
fn warned(text: &str, expected: &[&str]) {
    assert_eq!(Fixture::new().warnings(text), expected, "{text:?}");
}

const THREE: &str =
    "initLimit=10\nsyncLimit=5\nserver.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

// The whole of it.

#[test]
fn an_ensembles_file_with_metrics_and_purge_is_honoured_without_a_warning() {
    let text = "dataLogDir=/var/lib/zk-log\n\
        autopurge.purgeInterval=1\n\
        autopurge.snapRetainCount=5\n\
        clientPortAddress=127.0.0.1\n\
        maxClientCnxns=100\n\
        tickTime=2000\n\
        initLimit=10\n\
        syncLimit=5\n\
        server.1=zoo1:2888:3888\n\
        server.2=zoo2:2888:3888\n\
        server.3=zoo3:2888:3888\n\
        metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
        metricsProvider.httpPort=7000\n\
        metricsProvider.exportJvmInfo=true\n";
    let fixture = Fixture::new().with("myid", "2\n");
    let Loaded { config, warnings, .. } = fixture.load(text).expect("a good file");
    assert_eq!(warnings, []);
    assert_eq!(config.directories.data_dir, fixture.dir.path());
    assert_eq!(config.directories.data_log_dir, Path::new("/var/lib/zk-log"));
    assert_eq!(config.purge, Purge { snapshots_kept: 5, interval_ms: Some(3_600_000) });
    assert_eq!(config.client_port.address, Some(HostPort { host: "127.0.0.1".into(), port: 2181 }));
    assert_eq!(config.limits.connections_per_ip_max, Some(100));
    let sessions = Sessions { tick_time_ms: 2000, timeout_min_ms: 4000, timeout_max_ms: 40_000 };
    assert_eq!(config.sessions, sessions);
    assert_eq!((config.ensemble.init_limit_ticks, config.ensemble.sync_limit_ticks), (10, 5));
    assert_eq!(config.ensemble.my_id, Some(ServerId(2)));
    assert_eq!(config.ensemble.membership.participants().count(), 3);
    assert!(config.is_distributed());
    let metrics = MetricsPort { address: HostPort::on_all_addresses(7000), process_series: true };
    assert_eq!(config.metrics_port, Some(metrics));
}

#[test]
fn what_is_not_set_has_javas_default() {
    let Loaded { config, warnings, .. } = Fixture::new().load("").expect("enough");
    assert_eq!(warnings, []);
    assert!(!config.is_distributed());
    assert_eq!(config.directories.data_log_dir, config.directories.data_dir);
    assert_eq!(config.client_port.address, Some(HostPort::on_all_addresses(2181)));
    assert_eq!(config.client_port.backlog, None);
    let sessions = Sessions { tick_time_ms: 3000, timeout_min_ms: 6000, timeout_max_ms: 60_000 };
    assert_eq!(config.sessions, sessions);
    assert_eq!(
        config.limits,
        Limits {
            connections_per_ip_max: Some(60),
            connections_max: None,
            frame_bytes_max: 0xf_ffff,
            frame_bytes_extra: 0xf_ffff,
            outstanding_requests_max: 1000,
            throttled_requests_max: None,
            large_request_bytes: None,
            large_requests_bytes_max: 100 << 20,
        }
    );
    assert_eq!(
        config.storage,
        Storage {
            segment_bytes: 64 << 20,
            snapshot_txns: 100_000,
            snapshot_log_bytes: Some(4 << 30),
            log_bytes_max: None,
            force_sync: true,
            sync_warning_ms: 1000,
            compression: Compression::None,
            trust_empty_snapshot: false,
            snapshot_last_zxid: true,
            close_session_paths: true,
        }
    );
    assert_eq!(config.purge, Purge { snapshots_kept: 3, interval_ms: None });
    let tree = Tree { digests: true, extended_types: false, ttl_as_in_353: false, enforce_quotas: false };
    assert_eq!(config.tree, tree);
    let containers =
        Containers { check_interval_ms: 60_000, deletions_per_minute_max: 10_000, never_used_ms: None };
    assert_eq!(config.containers, containers);
    assert_eq!(config.auth, Auth::default());
    assert!(config.four_letter_words.allows(Word::Srvr) && !config.four_letter_words.allows(Word::Ruok));
    assert_eq!(config.metrics_port, None);
    assert_eq!(config.connection_throttle.tokens_max, None);
}

#[test]
fn the_sample_starts_a_standalone_server_as_it_is() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/zoo_sample.cfg");
    let Loaded { config, warnings, .. } = Config::load(&sample, &[]).expect("the sample is right");
    assert_eq!(warnings, []);
    assert!(!config.is_distributed());
    assert_eq!(config.client_port.address, Some(HostPort::on_all_addresses(2181)));
    assert_eq!(config.purge.interval_ms, Some(24 * 3_600_000));
}

#[test]
fn the_sample_with_every_line_switched_on_is_right_too() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/zoo_sample.cfg");
    let sample = fs::read_to_string(sample).expect("the sample");
    let mut keys = BTreeSet::new();
    let mut text = String::new();
    for line in sample.lines().map(|line| line.strip_prefix('#').unwrap_or(line)) {
        // Prose has a blank behind the '#', settings that are switched off have none.
        if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with(' ')) {
            keys.insert(key.to_owned());
            if key != "dataDir" {
                text += &format!("{line}\n");
            }
        }
    }
    let fixture = Fixture::new().with("myid", "1");
    let Loaded { config, warnings, .. } = fixture
        .load_bare(&format!("{text}dataDir={}\n", fixture.dir.path().display()))
        .expect("every line of the sample is right");
    assert_eq!(warnings, []);
    assert!(config.is_distributed() && config.metrics_port.is_some());
    for key in [
        "dataDir",
        "dataLogDir",
        "autopurge.purgeInterval",
        "autopurge.snapRetainCount",
        "clientPort",
        "clientPortAddress",
        "maxClientCnxns",
        "tickTime",
        "initLimit",
        "syncLimit",
        "server.1",
        "metricsProvider.className",
        "metricsProvider.httpPort",
        "metricsProvider.exportJvmInfo",
    ] {
        assert!(keys.contains(key), "{key} is in the sample");
    }
}

#[test]
fn javas_separators_and_escapes_reach_the_settings() {
    let config =
        config("tickTime : 2000\nmaxClientCnxns 7   \nminSessionTimeout=1\\\n  000\nsnap\\u0043ount=12");
    assert_eq!(config.sessions.tick_time_ms, 2000);
    assert_eq!(config.limits.connections_per_ip_max, Some(7));
    assert_eq!(config.sessions.timeout_min_ms, 1000);
    assert_eq!(config.storage.snapshot_txns, 12);
}

#[test]
fn arguments_make_a_standalone_server() {
    let Loaded { config, warnings, .. } =
        Config::from_args(2182, "/nowhere/data", Some(500), Some(9), &[]).expect("good arguments");
    assert_eq!(warnings, []);
    assert_eq!(config.client_port.address, Some(HostPort::on_all_addresses(2182)));
    assert_eq!(config.directories.data_dir, Path::new("/nowhere/data"));
    assert_eq!((config.sessions.tick_time_ms, config.sessions.timeout_min_ms), (500, 1000));
    assert_eq!(config.limits.connections_per_ip_max, Some(9));

    let config = Config::from_args(2182, "d", None, None, &[]).expect("good arguments").config;
    assert_eq!(config.sessions.tick_time_ms, 3000);
    assert_eq!(config.limits.connections_per_ip_max, None, "as in Java, no limit in this form");

    let error = Config::from_args(2182, "d", Some(0), None, &[]).expect_err("a tick of 0");
    assert_eq!(error.to_string(), "argument tickTime: \"0\" is not positive; write a number above 0");
}

#[test]
fn the_embedded_default_listens_on_loopback_only() {
    let defines = [("zookeeper.snapCount".to_owned(), "77".to_owned())];
    let Loaded { config, warnings, .. } = Config::embedded_default(&defines).expect("always good");
    assert_eq!(warnings, []);
    assert_eq!(config.client_port.address, Some(HostPort { host: "127.0.0.1".into(), port: 2181 }));
    assert_eq!(config.admin_port.expect("on by default").address.host, "127.0.0.1");
    assert_eq!(config.directories.data_dir, Path::new("./data"));
    assert_eq!(config.storage.snapshot_txns, 77);
}

// Values.

#[test]
fn each_group_of_settings_is_read() {
    let config = config(
        "maxCnxns=10\njute.maxbuffer=0x1fffff\njute.maxbuffer.extrasize=5000\nglobalOutstandingLimit=11\n\
        largeRequestThreshold=1000\nlargeRequestMaxBytes=9000\n\
        request_throttle_max_requests=5\n\
        connection_throttle_tokens=8\nconnection_throttle_weight_enabled=true\n\
        preAllocSize=1024\nsnapCount=1000\nsnapSizeLimitInKb=0\ntxnLogSizeLimitInKb=10\nforceSync=no\n\
        fsync.warningthresholdms=20\nsnapshot.compression.method=snappy\nsnapshot.trust.empty=true\n\
        digest.enabled=false\nextendedTypesEnabled=true\nenforceQuota=true\n\
        serializeLastProcessedZxid.enabled=false\n\
        znode.container.checkIntervalMs=100\nznode.container.maxNeverUsedIntervalMs=200\n\
        skipACL=yes\nDigestAuthenticationProvider.superDigest=super:abc=\n\
        DigestAuthenticationProvider.digestAlg=SHA-256\n\
        enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n\
        4lw.commands.whitelist=ruok, mntr ,\nreadonlymode.enabled=true\n\
        admin.serverPort=9090\nadmin.commandURL=/do\nadmin.serverAddress=[::1]\n\
        clientPortListenBacklog=9\nclientTcpKeepAlive=true\nnio.sessionlessCnxnTimeout=50\n\
        datadir.autocreate=false",
    );
    assert_eq!(
        config.limits,
        Limits {
            connections_per_ip_max: Some(60),
            connections_max: Some(10),
            frame_bytes_max: 0x1f_ffff,
            frame_bytes_extra: 5000,
            outstanding_requests_max: 11,
            throttled_requests_max: Some(5),
            large_request_bytes: Some(1000),
            large_requests_bytes_max: 9000,
        }
    );
    assert_eq!(config.connection_throttle.tokens_max, Some(8));
    let weights = SessionWeights { global: 3, local: 1, renew: 2 };
    assert_eq!(config.connection_throttle.weights, Some(weights));
    assert_eq!(
        config.storage,
        Storage {
            segment_bytes: 1 << 20,
            snapshot_txns: 1000,
            snapshot_log_bytes: None,
            log_bytes_max: Some(10 << 10),
            force_sync: false,
            sync_warning_ms: 20,
            compression: Compression::Snappy,
            trust_empty_snapshot: true,
            snapshot_last_zxid: false,
            close_session_paths: true,
        }
    );
    let tree = Tree { digests: false, extended_types: true, ttl_as_in_353: false, enforce_quotas: true };
    assert_eq!(config.tree, tree);
    assert_eq!((config.containers.check_interval_ms, config.containers.never_used_ms), (100, Some(200)));
    assert_eq!(
        config.auth,
        Auth {
            skip_acl: true,
            digest_algorithm: DigestAlgorithm::Sha256,
            super_digest: Some("super:abc=".into()),
            enforced_schemes: vec!["digest".into(), "ip".into()],
            ..Auth::default()
        }
    );
    use Word::{Cons, Isro, Mntr, Ruok, Srvr};
    for (word, allowed) in [(Ruok, true), (Mntr, true), (Srvr, true), (Isro, true), (Cons, false)] {
        assert_eq!(config.four_letter_words.allows(word), allowed, "{word:?}");
    }
    assert!(config.read_only_mode);
    let address = HostPort { host: "::1".into(), port: 9090 };
    let admin_port = AdminPort { address, command_url: "/do".into(), idle_timeout_ms: 30_000, wanted: true };
    assert_eq!(config.admin_port, Some(admin_port));
    assert_eq!(config.client_port.backlog, Some(9));
    assert!(config.client_port.tcp_keep_alive && !config.directories.auto_create);
    assert_eq!(config.client_port.sessionless_timeout_ms, 50);
}

#[test]
fn only_the_word_false_switches_the_http_commands_off() {
    assert_eq!(config("admin.enableServer=false").admin_port, None);
    let port = |text| config(text).admin_port.expect("it is on").address.port;
    assert_eq!(port(""), 8080);
    assert_eq!(port("admin.enableServer=no"), 8080, "as in Java");
    assert_eq!(port("admin.serverPort=70000"), 8080, "the default, with a warning");
}

#[test]
fn what_is_in_force_can_be_shown_without_secrets() {
    let fixture = Fixture::new().define("zookeeper.ssl.keyStore.password", "hush");
    let text = "tickTime=7\nsnapCount=8\nDigestAuthenticationProvider.superDigest=super:hush";
    let loaded = fixture.load(text).expect("good");
    let value = |name: &str| {
        let mut all = loaded.in_force.iter().filter(|(key, _)| key == name);
        let value = all.next().map(|(_, value)| value.as_str());
        assert_eq!(all.next(), None, "{name} twice");
        value
    };
    assert_eq!(value("tickTime"), Some("7"));
    assert_eq!(value("zookeeper.snapCount"), Some("8"));
    assert_eq!(value("zookeeper.preAllocSize"), Some("65536"));
    assert_eq!(value("jute.maxbuffer"), Some("1048575"));
    assert_eq!(value("zookeeper.DigestAuthenticationProvider.superDigest"), Some("(hidden)"));
    assert_eq!(value("zookeeper.ssl.keyStore.password"), Some("(hidden)"));
    assert_eq!(value("zookeeper.nio.numWorkerThreads"), None);
    assert!(loaded.file_text.expect("from a file").contains("\ntickTime=7\n"));
}

#[test]
fn limits_of_zero_or_less_are_no_limits() {
    assert_eq!(config("maxClientCnxns=0").limits.connections_per_ip_max, None);
    assert_eq!(config("maxClientCnxns=-1").limits.connections_per_ip_max, None);
    assert_eq!(config("snapSizeLimitInKb=-5").storage.snapshot_log_bytes, None);
    assert_eq!(config("autopurge.purgeInterval=-1").purge.interval_ms, None);
}

#[test]
fn a_purge_interval_may_have_a_unit() {
    for (text, ms) in [("2", 7_200_000), ("90m", 5_400_000), ("30S", 30_000), ("1d", 86_400_000), ("5ms", 5)]
    {
        assert_eq!(config(&format!("autopurge.purgeInterval={text}")).purge.interval_ms, Some(ms), "{text}");
    }
    for text in ["", "h", "1w", "1 h", "1.5h", "99999999999h"] {
        refused(
            &format!("autopurge.purgeInterval={text}"),
            &format!("zoo.cfg:2: autopurge.purgeInterval: {text:?} is not an interval"),
        );
    }
}

#[test]
fn a_whitelist_of_a_star_allows_everything() {
    assert!(config("4lw.commands.whitelist=ruok, *").four_letter_words.allows(Word::Wchp));
}

#[test]
fn ids_of_configured_schemes_are_valid_in_acls() {
    let auth = config(
        "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
        authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
    )
    .auth;
    assert!(auth.sasl_acls && auth.x509_acls);
}

#[test]
fn a_session_timeout_of_many_ticks_does_not_wrap_around() {
    let sessions = config("tickTime=2000000000").sessions;
    assert_eq!((sessions.timeout_min_ms, sessions.timeout_max_ms), (i32::MAX, i32::MAX));
}

// -D.

#[test]
fn a_define_counts_where_the_file_is_silent() {
    let fixture = Fixture::new()
        .define("zookeeper.snapCount", "5")
        .define("zookeeper.preAllocSize", "100")
        .define("zookeeper.preAllocSize", "200")
        .define("jute.maxbuffer", "4000")
        .define("zookeeper.readonlymode.enabled", "true")
        .define("fsync.warningthresholdms", "1")
        .define("zookeeper.fsync.warningthresholdms", "2")
        .define("zookeeper.requestThrottleLimit", "3");
    let Loaded { config, warnings, .. } = fixture.load("snapCount=6").expect("good");
    assert_eq!(warnings, []);
    assert_eq!(config.storage.snapshot_txns, 6, "the file wins");
    assert_eq!(config.storage.segment_bytes, 200 << 10, "the last one wins");
    assert_eq!(config.limits.frame_bytes_max, 4000);
    assert!(config.read_only_mode);
    assert_eq!(config.storage.sync_warning_ms, 2, "the name with the prefix wins");
    assert_eq!(config.limits.throttled_requests_max, Some(3));
}

#[test]
fn a_define_that_java_would_not_read_is_named() {
    let fixture = Fixture::new()
        .define("zookeeper.tickTime", "5")
        .define("snapCount", "5")
        .define("zookeeper.nonsense", "5")
        .define("java.net.preferIPv4Stack", "true");
    let Loaded { config, warnings, .. } = fixture.load("").expect("good");
    let warnings: BTreeSet<String> = warnings.iter().map(Warning::to_string).collect();
    let expected = [
        "-Djava.net.preferIPv4Stack: is a Java system property, and has no effect here",
        "-DsnapCount: is a Java system property, and has no effect here",
        "-Dzookeeper.nonsense: is a Java system property, and has no effect here",
        "-Dzookeeper.tickTime: has no effect, as in Java: only a line in the file can set it",
    ];
    assert_eq!(warnings.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!((config.sessions.tick_time_ms, config.storage.snapshot_txns), (3000, 100_000));
}

#[test]
fn several_addresses_may_be_allowed_on_either_side() {
    let servers = "initLimit=1\nsyncLimit=1\nserver.1=b:1:2|a:1:3\nserver.2=c:1:2\nserver.3=d:1:2";
    let fixture = Fixture::new().with("myid", "1");
    refused_in(&fixture, servers, "zoo.cfg:4: server.1: multiple address feature is disabled");
    fixture.load(&format!("{servers}\nmultiAddress.enabled=true")).expect("Serval honours the file");
    fixture.define("zookeeper.multiAddress.enabled", "true").load(servers).expect("Java's way");
}

// Warnings.

#[test]
fn an_unknown_key_is_a_warning_that_knows_better() {
    let none = "it would become a Java system property, and has no effect here";
    warned("flavour=vanilla", &[&format!("zoo.cfg:2: flavour: unknown key; {none}")]);
    for (typo, meant) in [
        ("ticktime", "tickTime"),
        ("snapCuont", "snapCount"),
        ("snpCount", "snapCount"),
        ("initLimits", "initLimit"),
    ] {
        warned(
            &format!("{typo}=5"),
            &[&format!("zoo.cfg:2: {typo}: unknown key (did you mean {meant}?); {none}")],
        );
    }
}

#[test]
fn names_of_the_guide_and_of_system_properties_are_understood() {
    let text = "requestThrottleLimit=5\nzookeeper.snapCount=6";
    let config = config(text);
    assert_eq!((config.limits.throttled_requests_max, config.storage.snapshot_txns), (Some(5), 6));
    warned(
        text,
        &[
            "zoo.cfg:2: requestThrottleLimit: Java ignores this name in a file; it is read as \
             request_throttle_max_requests",
            "zoo.cfg:3: zookeeper.snapCount: Java ignores this name in a file; it is read as snapCount",
        ],
    );
    let both = Fixture::new().load("snapCount=7\nzookeeper.snapCount=6").expect("good").config;
    assert_eq!(both.storage.snapshot_txns, 7, "the real name wins");
}

#[test]
fn a_key_without_effect_says_why() {
    warned(
        "nio.numWorkerThreads=5\njvm.pause.monitor=true\nmaxBatchSize=5",
        &[
            "zoo.cfg:2: nio.numWorkerThreads: has no effect: one thread does all the work; there is no \
             pool to size",
            "zoo.cfg:3: jvm.pause.monitor: has no effect: there is no JVM",
            "zoo.cfg:4: maxBatchSize: has no effect: a sync always takes all that waits; no write is held \
             back to fill a batch",
        ],
    );
    warned("maxBatchSize=1000\njvm.pause.monitor=false\nsslQuorum=False\nadmin.snapshot.enabled=false", &[]);
}

#[test]
fn a_part_that_is_not_built_is_one_warning() {
    let fixture = Fixture::new().define("zookeeper.ssl.quorum.keyStore.location", "/k");
    let warnings = fixture.warnings(
        "ssl.keyStore.password=hush\nsecureClientPort=2281\nadmin.rateLimiterIntervalInMS=1\n\
        authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
        authProvider.2=org.example.Own\n\
        authProvider.3=org.apache.zookeeper.server.auth.IPAuthenticationProvider\n\
        superUser.2=bob",
    );
    assert_eq!(
        warnings,
        [
            "zoo.cfg:5: authProvider.1: ids of the scheme sasl may stand in ACLs, but nobody can authenticate by \
             it yet",
            "zoo.cfg:6: authProvider.2: the Java class \"org.example.Own\" cannot be loaded; its scheme does \
             not exist",
            "zoo.cfg: TLS is not built yet, so these have no effect: secureClientPort (line 3), \
             ssl.keyStore.password (line 2), -Dzookeeper.ssl.quorum.keyStore.location",
            "zoo.cfg: SASL is not built yet, so these have no effect: superUser.2 (line 8)",
            "zoo.cfg: snapshot and restore over HTTP is not built yet, so these have no effect: \
             admin.rateLimiterIntervalInMS (line 4)",
        ]
    );
}

#[test]
fn lenient_values_fall_back_and_say_so() {
    let text = "snapCount=1\npreAllocSize=64M\nmaxCnxns=99999999999\ndigest.enabled=yes\nforceSync=off\n\
        snapshotSizeFactor=much\nsnapshot.trust.empty=";
    warned(
        text,
        &[
            "zoo.cfg:2: snapCount: 1 is too small; 2 is used",
            "zoo.cfg:3: preAllocSize: \"64M\" is not a whole number; the default 65536 is used",
            "zoo.cfg:4: maxCnxns: is too large; the default 0 is used",
            "zoo.cfg:5: digest.enabled: \"yes\" counts as false, as in Java; write true or false",
            "zoo.cfg:6: forceSync: \"off\" counts as yes, as in Java; write no or yes",
            "zoo.cfg:7: snapshotSizeFactor: \"much\" is not a number; the default 0.33 is \
             used",
            "zoo.cfg:8: snapshot.trust.empty: \"\" counts as false, as in Java; write true or false",
        ],
    );
    let config = config(text);
    assert_eq!((config.storage.snapshot_txns, config.storage.segment_bytes), (2, 64 << 20));
    assert!(config.storage.force_sync && !config.tree.digests);
}

#[test]
fn a_line_that_does_not_count_is_named() {
    warned(
        "tickTime=1\ntickTime=2",
        &["zoo.cfg:3: tickTime: is set more than once; this line counts, line 2 does not"],
    );
    assert_eq!(config("tickTime=1\ntickTime=2").sessions.tick_time_ms, 2);
}

#[test]
fn a_relative_directory_wants_a_dot() {
    let warned =
        Fixture::new().load_bare("dataDir=data\ndataLogDir=./log\nclientPort=1").expect("good").warnings;
    let warned: Vec<_> = warned.iter().map(|warning| warning.text.as_str()).collect();
    assert_eq!(warned, ["data is relative; prepend ./ to show that you are sure"]);
}

#[test]
fn too_few_snapshots_become_three() {
    warned(
        "autopurge.snapRetainCount=1",
        &["zoo.cfg:2: autopurge.snapRetainCount: 1 is less than 3, which is the minimum; 3 is used"],
    );
    assert_eq!(config("autopurge.snapRetainCount=1").purge.snapshots_kept, 3);
}

#[test]
fn a_super_digest_that_is_a_password_is_noticed_and_not_repeated() {
    let warnings = Fixture::new().warnings("DigestAuthenticationProvider.superDigest=hunter2");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("has no colon") && !warnings[0].contains("hunter2"), "{warnings:?}");
}

#[test]
fn text_of_a_file_cannot_break_a_message_into_lines() {
    let warnings = Fixture::new().warnings("a\\nb\\u001b=1");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    refused("tickTime=1\\n2", "zoo.cfg:2: tickTime: \"1\\n2\" is not a whole number");
}

fn rows() -> impl Iterator<Item = &'static keys::Key> {
    keys::SECTIONS.iter().flat_map(|section| section.keys)
}

fn any_key() -> impl Strategy<Value = String> {
    let names = rows().map(|key| key.name.replace("<id>", "1").replace("<gid>", "1"));
    proptest::sample::select(names.collect::<Vec<_>>())
}

proptest! {
    /// Whatever a file holds, loading it ends with a configuration or one line.
    #[test]
    fn no_file_is_a_panic(
        lines in proptest::collection::vec((any_key(), "[-0-9a-z:;|=\\[\\]., \\\\]{0,12}"), 0..12),
        junk in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut text: Vec<u8> = b"dataDir=/nowhere/at/all\nclientPort=1\n".to_vec();
        for (key, value) in lines.iter().filter(|(key, _)| key != "dynamicConfigFile") {
            text.extend_from_slice(format!("{key}={value}\n").as_bytes());
        }
        text.extend_from_slice(&junk);
        if let Ok(properties) = properties::parse(&text) {
            match read::read(Settings::of_file(Path::new("zoo.cfg"), properties, &[]), None) {
                Ok(loaded) => for warning in loaded.warnings {
                    prop_assert!(!warning.to_string().contains('\n'));
                },
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
            }
        }
    }
}
