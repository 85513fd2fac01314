//! Every key that Apache ZooKeeper knows, in one table: its default, where it may be given, and what Serval
//! does with it.
//!
//! The reader of zoo.cfg takes its defaults from here, the warnings about keys without effect take their
//! reasons from here, and the tables of `docs/configuration.md` are printed from here (a test compares them).
//! A key that is honoured in the code and missing here, or the reverse, fails a test as well.
//!
//! Names ending in `<…>` stand for all keys that begin with what precedes it; exact names come first in a
//! lookup, so that `metricsProvider.className` is not one of `metricsProvider.<x>`.

use std::fmt;

/// One key, or one family of keys.
#[derive(Debug)]
pub struct Key {
    /// As written in zoo.cfg; a family ends in `<…>`.
    pub name: &'static str,
    /// What holds when the key is absent, as one would write it; empty where absence means "none".
    pub default: &'static str,
    pub given: Given,
    pub treatment: Treatment,
    /// One line for a person, units included.
    pub meaning: &'static str,
}

/// Where Java reads a key from. Serval accepts all of them in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Only in the file: `QuorumPeerConfig` parses it itself, strictly. A -D of that name does nothing.
    File,
    /// In the file, where it becomes the system property `zookeeper.<key>`, or as `-Dzookeeper.<key>`. Java
    /// reads such values leniently: what is no number is the default, what is not "true" is false.
    Property,
    /// Like `Property`, and Java reads `-D<key>` without the prefix too.
    PropertyOrBare,
    /// In Java only as `-D<key>`, without a prefix; the file cannot set it there.
    Jvm,
}

/// What Serval does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It has the effect that it has in Java.
    Honoured,
    /// Parsed and checked. Only a member of an ensemble makes use of it, in Java as here.
    Ensemble,
    /// Accepted without effect, for this reason.
    Ignored(&'static str),
    /// It is about the JVM, about Netty, about loading a Java class, or a hook of Java's own tests.
    NotApplicable(&'static str),
    /// Accepted, and without effect until this part of the server exists.
    NotBuilt(Part),
}

/// A part of the server that does not exist yet; one warning names all the keys that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Tls,
    Sasl,
    AuthSchemes,
    AdminSnapshots,
    Audit,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Tls => "TLS",
            Part::Sasl => "SASL",
            Part::AuthSchemes => "authentication by other schemes than digest and ip",
            Part::AdminSnapshots => "snapshot and restore over HTTP",
            Part::Audit => "the audit log",
        })
    }
}

impl Key {
    /// The part of a family's name that its members begin with.
    fn family(&self) -> Option<&'static str> {
        self.name.split_once('<').map(|(prefix, _)| prefix)
    }
}

/// The row of the table that speaks of `name`.
pub fn find(name: &str) -> Option<&'static Key> {
    let rows = || SECTIONS.iter().flat_map(|section| section.keys);
    rows().find(|key| key.name == name).or_else(|| {
        rows().find(|key| {
            key.family().is_some_and(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
        })
    })
}

/// What a name that Java would not understand in a file stands for: a documentation heading
/// ("requestThrottleLimit") or a system property written out ("zookeeper.snapCount").
pub fn alias(name: &str) -> Option<&'static str> {
    let bare = name.strip_prefix("zookeeper.").unwrap_or(name);
    let heading = ALIASES.iter().find(|(alias, _)| *alias == bare).map(|(_, key)| *key);
    heading.or_else(|| find(bare).filter(|key| key.name == bare && bare != name).map(|key| key.name))
}

/// The key that an unknown `name` was probably meant to be: equal but for case, or one typing slip away.
pub fn similar(name: &str) -> Option<&'static str> {
    let rows = || SECTIONS.iter().flat_map(|section| section.keys).filter(|key| key.family().is_none());
    let same = rows().find(|key| key.name.eq_ignore_ascii_case(name));
    // Short names are one slip away from too much.
    same.or_else(|| rows().find(|key| key.name.len() > 4 && one_slip_apart(key.name, name)))
        .map(|key| key.name)
}

/// One character added, left out, changed, or two neighbours swapped.
fn one_slip_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let start = long.iter().zip(short).take_while(|(x, y)| x == y).count();
    let end = long[start..].iter().rev().zip(short[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    match (&long[start..long.len() - end], &short[start..short.len() - end]) {
        ([_], [] | [_]) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

/// Keys of one subject, in the order of the documentation.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub keys: &'static [Key],
}

const fn key(
    name: &'static str,
    default: &'static str,
    given: Given,
    treatment: Treatment,
    meaning: &'static str,
) -> Key {
    Key { name, default, given, treatment, meaning }
}

use Given::{File, Jvm, Property, PropertyOrBare};
use Treatment::{Ensemble, Honoured, Ignored, NotApplicable, NotBuilt};

const TLS: Treatment = NotBuilt(Part::Tls);
const SASL: Treatment = NotBuilt(Part::Sasl);
const SCHEMES: Treatment = NotBuilt(Part::AuthSchemes);
const SNAPSHOTS: Treatment = NotBuilt(Part::AdminSnapshots);
const AUDIT: Treatment = NotBuilt(Part::Audit);

const NO_JVM: Treatment = NotApplicable("there is no JVM");
const NO_THREADS: Treatment = NotApplicable("one thread does all the work; there is no pool to size");
const NO_NETTY: Treatment = NotApplicable("there is no Netty");
const NO_CLASSES: Treatment = NotApplicable("Java classes cannot be loaded");
const TEST_HOOK: Treatment = NotApplicable("a hook of Java's own tests");
const NO_DELAY: Treatment =
    Ignored("a sync always takes all that waits; no write is held back to fill a batch");
const NO_QUEUE: Treatment =
    Ignored("requests beyond the limit stay unread in their sockets; none waits in a queue of the server");
const NO_CHANCE: Treatment = Ignored("new sessions are limited by the token bucket alone, never by chance");
const OBSERVERS_WRITE: Treatment =
    Ignored("an observer writes what it applies, or it would begin anew at each start");
const ALWAYS_NODELAY: Treatment = Ignored("TCP_NODELAY is always set between servers");
const NO_PAUSE: Treatment = Ignored("an observer looks for its leader at once");
const EVERY_ADDRESS: Treatment =
    Ignored("all addresses of a server are tried, the next one while the one before is still silent");
const NO_CACHE: Treatment = Ignored("replies are written straight from the tree; there is no cache of them");
const WATCHES: Treatment = Ignored("there is one watch table, and it needs no cleaning");
const PATH_STATS: Treatment = Ignored("the metrics by top-level path replace the sampled statistics");
const PIPELINE: Treatment = Ignored("it saves memory in a pipeline of threads that does not exist here");
const PROVIDER_THREADS: Treatment = Ignored("the reactor serves the metrics; there is no queue or pool");
const SCRIPTS: Treatment = Ignored("logs go to standard error; RUST_LOG sets what is logged");

/// The table.
#[rustfmt::skip] // One key in two lines, name and default in columns.
pub const SECTIONS: &[Section] = &[
    Section { title: "Directories and client ports", keys: &[
        key("dataDir",                  "",     File, Honoured,
            "directory of the snapshots and of `myid`; required"),
        key("dataLogDir",               "",     File, Honoured,
            "directory of the transaction log; as dataDir where absent. A disk of its own keeps syncs short"),
        key("clientPort",               "",     File, Honoured,
            "port for clients; 0 takes any free one. In an ensemble the server line may name it instead"),
        key("clientPortAddress",        "",     File, Honoured,
            "host or address to which clientPort is bound; all addresses where absent"),
        key("clientPortListenBacklog",  "-1",   File, Honoured,
            "connections that may wait to be accepted; -1 is 50, as in Java"),
        key("secureClientPort",         "",     File, TLS,
            "port for clients that speak TLS"),
        key("secureClientPortAddress",  "",     File, TLS,
            "host or address to which secureClientPort is bound"),
        key("datadir.autocreate",       "true", Property, Honoured,
            "create missing data directories; false makes them an error"),
        key("clientTcpKeepAlive",       "false", Property, Honoured,
            "keep-alive probes on client connections"),
    ]},
    Section { title: "Time and sessions", keys: &[
        key("tickTime",                 "3000", File, Honoured,
            "basic unit of time in ms: sessions, initLimit and syncLimit count in it"),
        key("minSessionTimeout",        "-1",   File, Honoured,
            "shortest session timeout granted, in ms; -1 is 2 ticks"),
        key("maxSessionTimeout",        "-1",   File, Honoured,
            "longest session timeout granted, in ms; -1 is 20 ticks"),
        key("nio.sessionlessCnxnTimeout", "10000", Property, Honoured,
            "connections that open no session within this many ms are closed"),
        key("localSessionsEnabled",     "false", File, Ensemble,
            "sessions may be known to one server only"),
        key("localSessionsUpgradingEnabled", "false", File, Ensemble,
            "such a session becomes a global one when it creates an ephemeral node"),
    ]},
    Section { title: "Limits and throttles", keys: &[
        key("maxClientCnxns",           "60",   File, Honoured,
            "connections from one client address; 0 is no limit"),
        key("maxCnxns",                 "0",    Property, Honoured,
            "connections in all; 0 is no limit"),
        key("jute.maxbuffer",           "1048575", Jvm, Honoured,
            "largest request, reply or stored record in bytes. Clients have a limit of their own"),
        key("jute.maxbuffer.extrasize", "",     Property, Honoured,
            "what records on disk and between servers may have beyond it; as jute.maxbuffer where absent"),
        key("globalOutstandingLimit",   "1000", Property, Honoured,
            "requests in flight before no more are read from sockets"),
        key("largeRequestThreshold",    "-1",   Property, Honoured,
            "requests above this many bytes count as large; -1 is off"),
        key("largeRequestMaxBytes",     "104857600", Property, Honoured,
            "bytes that all large requests in flight may have together"),
        key("request_throttle_max_requests", "0", Property, Honoured,
            "requests in flight before others wait; 0 is off"),
        key("request_throttle_stall_time", "100", Property, NO_QUEUE,
            "how long such a request waits at most before the limit is looked at again, in ms"),
        key("request_throttle_drop_stale", "true", Property, NO_QUEUE,
            "drop waiting requests that became stale"),
        key("request_stale_connection_check", "true", Property, NO_QUEUE,
            "a request is stale when its connection is closed"),
        key("request_stale_latency_check", "false", Property, NO_QUEUE,
            "a request is stale when it waited longer than its session's timeout"),
        key("request_throttler.shutdownTimeout", "10000", Property,
            Ignored("requests in flight are finished or refused at once when the server stops"),
            "ms that throttled requests get to drain at shutdown"),
        key("throttled_op_wait_time",   "0",    Property, NO_QUEUE,
            "requests that waited longer than this many ms fail with ThrottledOp; 0 is off"),
        key("connection_throttle_tokens", "0",  Property, Honoured,
            "size of the token bucket that new sessions draw from; 0 is off"),
        key("connection_throttle_fill_time", "1", Property, Honoured,
            "ms between two fillings of the bucket"),
        key("connection_throttle_fill_count", "1", Property, Honoured,
            "tokens that one filling adds"),
        key("connection_throttle_freeze_time", "-1", Property, NO_CHANCE,
            "ms between two adjustments of the drop probability; -1 is off"),
        key("connection_throttle_drop_increase", "0.02", Property, NO_CHANCE,
            "what a bucket found empty adds to the drop probability"),
        key("connection_throttle_drop_decrease", "0.002", Property, NO_CHANCE,
            "what a bucket full enough takes from the drop probability"),
        key("connection_throttle_decrease_ratio", "0", Property, NO_CHANCE,
            "share of the bucket that is full enough"),
        key("connection_throttle_weight_enabled", "false", Property, Honoured,
            "sessions draw tokens by the three weights below"),
        key("connection_throttle_global_session_weight", "3", Property, Honoured,
            "tokens for a new global session"),
        key("connection_throttle_local_session_weight", "1", Property, Ensemble,
            "tokens for a new local session"),
        key("connection_throttle_renew_session_weight", "2", Property, Honoured,
            "tokens for a session that reconnects"),
    ]},
    Section { title: "Transaction log, snapshots and purge", keys: &[
        key("preAllocSize",             "65536", Property, Honoured,
            "size of a preallocated log segment in KiB"),
        key("snapCount",                "100000", Property, Honoured,
            "transactions between two snapshots, give or take a random half; at least 2"),
        key("snapSizeLimitInKb",        "4194304", Property, Honoured,
            "KiB of log between two snapshots, give or take a random half; 0 or less is off"),
        key("txnLogSizeLimitInKb",      "-1",   Property, Honoured,
            "KiB after which a new log file begins; -1 is off"),
        key("forceSync",                "yes",  Property, Honoured,
            "`no` answers writes before they are on disk: a power cut loses them"),
        key("fsync.warningthresholdms", "1000", PropertyOrBare, Honoured,
            "a sync that takes longer than this many ms is logged"),
        key("flushDelay",               "0",    Property, NO_DELAY,
            "ms that a write may wait for others to share its sync"),
        key("maxWriteQueuePollTime",    "",     Property, NO_DELAY,
            "ms to wait for the next write before a sync"),
        key("maxBatchSize",             "1000", Property, NO_DELAY,
            "writes that share a sync at most"),
        key("snapshot.compression.method", "",  Property, Honoured,
            "`gz`, `snappy`, or nothing for plain snapshots"),
        key("snapshot.trust.empty",     "false", Property, Honoured,
            "start from transaction logs although there is no snapshot"),
        key("autopurge.snapRetainCount", "3",   File, Honoured,
            "snapshots that a purge keeps; less than 3 becomes 3"),
        key("autopurge.purgeInterval",  "0",    File, Honoured,
            "hours between purges, or a number with the unit ms, s, m, h or d; 0 is off"),
        key("commitLogCount",           "500",  Property, Ensemble,
            "transactions kept in memory for learners that lag; at least 500. Of large ones fewer: 64 MiB in all"),
        key("snapshotSizeFactor",       "0.33", Property, Ensemble,
            "a learner is sent logs up to this share of the snapshot's size; below 0 snapshots only"),
        key("db.autocreate",            "true", Property, Ensemble,
            "false: an empty member has no vote unless its directory has a file `initialize`"),
        key("syncEnabled",              "true", File, OBSERVERS_WRITE,
            "observers write logs and snapshots too"),
        key("observer.syncEnabled",     "",     Property, OBSERVERS_WRITE,
            "the same; beats syncEnabled"),
    ]},
    Section { title: "The tree", keys: &[
        key("digest.enabled",           "true", Property, Honoured,
            "keep a digest of the tree and store it with transactions and snapshots"),
        key("closeSessionTxn.enabled",  "true", Property, Honoured,
            "the record of a closed session lists the ephemeral nodes that went with it"),
        key("serializeLastProcessedZxid.enabled", "true", Property, Honoured,
            "snapshots end with the last zxid they contain (3.9)"),
        key("extendedTypesEnabled",     "false", Property, Honoured,
            "TTL nodes; in an ensemble, server ids up to 254 only"),
        key("emulate353TTLNodes",       "false", Property, Honoured,
            "TTL nodes in the encoding of 3.5.3"),
        key("znode.container.checkIntervalMs", "60000", Jvm, Honoured,
            "ms between two searches for empty containers and expired TTL nodes"),
        key("znode.container.maxPerMinute", "10000", Jvm, Honoured,
            "nodes that the search deletes in a minute at most"),
        key("znode.container.maxNeverUsedIntervalMs", "0", Jvm, Honoured,
            "containers that never had a child are deleted after this many ms; 0 is never"),
        key("enforceQuota",             "false", Property, Honoured,
            "hard quotas refuse writes; otherwise quotas only warn"),
        key("enableEagerACLCheck",      "false", Property, Ignored("the leader checks ACLs, whichever server the client is on"),
            "learners check ACLs before they forward a write"),
    ]},
    Section { title: "Authentication", keys: &[
        key("skipACL",                  "no",   Property, Honoured,
            "`yes` switches all ACL checks off"),
        key("DigestAuthenticationProvider.superDigest", "", Property, Honoured,
            "who may do anything: `super:` and base64(sha1(`super:password`))"),
        key("DigestAuthenticationProvider.enabled", "true", Property, Honoured,
            "the digest scheme"),
        key("DigestAuthenticationProvider.digestAlg", "SHA1", Property, Honoured,
            "hash of digest ids: SHA1, SHA-224, SHA-256, SHA-384 or SHA-512; it must suit the ACLs"),
        key("enforce.auth.enabled",     "false", Property, Honoured,
            "sessions must authenticate before any request"),
        key("enforce.auth.schemes",     "",     Property, Honoured,
            "comma-separated schemes of which one must have succeeded; required by enforce.auth.enabled"),
        key("sessionRequireClientSASLAuth", "false", Property, Honoured,
            "enforce.auth.enabled with the scheme sasl; refused at start until SASL is built"),
        key("authProvider.<n>",         "",     Property, Honoured,
            "Java class of a scheme. Those for sasl and x509 make such ids valid in ACLs"),
        key("X509AuthenticationProvider.superUser", "", Property, TLS,
            "super user by the name in a client certificate"),
        key("superUser",                "",     Property, SASL,
            "super user by SASL name"),
        key("superUser.<suffix>",       "",     Property, SASL,
            "more of them"),
        key("SASLAuthenticationProvider.superPassword", "", Property, SASL,
            "password of the SASL user `super`"),
        key("allowSaslFailedClients",   "false", Property, SASL,
            "keep connections whose SASL authentication failed"),
        key("letAnySaslUserDoX",        "",     Property, SASL,
            "a permission for every SASL user"),
        key("ensembleAuthName",         "",     Property, SCHEMES,
            "names that the scheme `ensemble` accepts"),
        key("sasl.serverconfig",        "Server", Property, SASL,
            "section of the JAAS file"),
        key("java.security.auth.login.config", "", Jvm, SASL,
            "the JAAS file"),
        key("kerberos.removeHostFromPrincipal", "false", Property, SASL,
            "names without the host part"),
        key("kerberos.removeRealmFromPrincipal", "false", Property, SASL,
            "names without the realm"),
        key("kerberos.canonicalizeHostNames", "false", Property, SASL,
            "resolve host names before they become principals"),
        key("security.auth_to_local",   "DEFAULT", Property, SASL,
            "rules from principals to names"),
        key("requireKerberosConfig",    "false", Property, SASL,
            "a Kerberos configuration must exist"),
        key("kinit",                    "/usr/bin/kinit", Property, SASL,
            "path of the program `kinit`"),
    ]},
    Section { title: "Operations", keys: &[
        key("4lw.commands.whitelist",   "srvr", Property, Honoured,
            "four-letter words that are answered, comma-separated; `*` is all. `srvr` always is"),
        key("metricsProvider.className", "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider", File,
            Honoured,
            "the class name of Java's Prometheus provider switches the metrics port on; others are an error"),
        key("metricsProvider.httpHost", "0.0.0.0", File, Honoured,
            "host or address of the metrics port"),
        key("metricsProvider.httpPort", "7000", File, Honoured,
            "the metrics port: `GET /metrics`"),
        key("metricsProvider.exportJvmInfo", "true", File, Honoured,
            "export the `process_*` series; the `jvm_*` ones have no meaning here"),
        key("metricsProvider.numWorkerThreads", "1", File, PROVIDER_THREADS,
            "threads that export metrics"),
        key("metricsProvider.maxQueueSize", "1000000", File, PROVIDER_THREADS,
            "observations that may wait for them"),
        key("metricsProvider.workerShutdownTimeoutMs", "1000", File, PROVIDER_THREADS,
            "ms that they get to finish"),
        key("metricsProvider.httpsPort", "", File, TLS,
            "metrics port with TLS (3.10)"),
        key("metricsProvider.ssl.<x>",  "",     File, TLS,
            "its stores and protocols (3.10)"),
        key("metricsProvider.<x>",      "",     File, Ignored("no metrics provider of Serval knows it"),
            "settings of other metrics providers"),
        key("readonlymode.enabled",     "false", Jvm, Honoured,
            "a member without quorum serves read-only clients, if localSessionsEnabled; also whitelists `isro`"),
        key("admin.enableServer",       "true", Property, Honoured,
            "the HTTP commands (AdminServer); `false` switches them off"),
        key("admin.serverAddress",      "0.0.0.0", Property, Honoured,
            "address of the HTTP commands"),
        key("admin.serverPort",         "8080", Property, Honoured,
            "port of the HTTP commands"),
        key("admin.commandURL",         "/commands", Property, Honoured,
            "path of the HTTP commands"),
        key("admin.idleTimeout",        "30000", Property, Honoured,
            "ms after which an idle HTTP connection is closed"),
        key("admin.httpVersion",        "11",   Property, TLS,
            "HTTP version under TLS"),
        key("admin.portUnification",    "false", Property, TLS,
            "TLS and plain HTTP on the port"),
        key("admin.forceHttps",         "false", Property, TLS,
            "TLS only"),
        key("admin.needClientAuth",     "false", Property, TLS,
            "HTTP clients need a certificate"),
        key("admin.rateLimiterIntervalInMS", "300000", Property, SNAPSHOTS,
            "ms between two snapshot or restore commands"),
        key("admin.snapshot.enabled",   "true", Property, SNAPSHOTS,
            "the snapshot command"),
        key("admin.restore.enabled",    "true", Property, SNAPSHOTS,
            "the restore command"),
        key("IPAuthenticationProvider.usexforwardedfor", "false", Property, SNAPSHOTS,
            "trust X-Forwarded-For in HTTP commands"),
        key("audit.enable",             "false", Property, AUDIT,
            "one line in the log for each write of a client"),
        key("audit.impl.class",         "org.apache.zookeeper.audit.Slf4jAuditLogger", Property, NO_CLASSES,
            "the class that writes it"),
        key("jvm.pause.monitor",        "false", File, NO_JVM,
            "log pauses of the JVM"),
        key("jvm.pause.info-threshold.ms", "1000", File, NO_JVM,
            "shortest pause logged as information"),
        key("jvm.pause.warn-threshold.ms", "10000", File, NO_JVM,
            "shortest pause logged as a warning"),
        key("jvm.pause.sleep.time.ms",  "500",  File, NO_JVM,
            "how often pauses are looked for"),
    ]},
    Section { title: "Ensemble: members", keys: &[
        key("server.<id>",              "",     File, Ensemble,
            "a member: `host:quorumPort:electionPort[:role][;[clientAddress:]clientPort]`"),
        key("group.<gid>",              "",     File, Ensemble,
            "ids of the servers in a group, colon-separated: hierarchical quorums"),
        key("weight.<id>",              "1",    File, Ensemble,
            "votes of a server within its group"),
        key("version",                  "0",    File, Ensemble,
            "version of the membership, hexadecimal; servers write it, people do not"),
        key("dynamicConfigFile",        "",     File, Ensemble,
            "file that holds the server, group and weight lines instead of zoo.cfg"),
        key("standaloneEnabled",        "true", File, Ensemble,
            "a single server runs standalone; false: it is an ensemble of one that can grow"),
        key("reconfigEnabled",          "false", File, Honoured,
            "allows reconfig, which a standalone server then refuses with another error"),
        key("peerType",                 "participant", File, Ensemble,
            "role of this server; the server line beats it"),
        key("initLimit",                "",     File, Ensemble,
            "ticks that followers get to connect and to sync; required in an ensemble"),
        key("syncLimit",                "",     File, Ensemble,
            "ticks that a follower may lag; required in an ensemble"),
        key("connectToLearnerMasterLimit", "0", File, Ensemble,
            "ticks that connecting to the leader may take; 0 is initLimit"),
        key("electionAlg",              "3",    File, Ensemble,
            "only 3 exists"),
        key("electionPort",             "",     File,
            Ignored("no release of ZooKeeper reads it; the server line has the election port"),
            "nothing"),
        key("quorumListenOnAllIPs",     "false", File, Ensemble,
            "bind the quorum and election ports to all addresses"),
        key("multiAddress.enabled",     "false", File, Ensemble,
            "servers may have several addresses. Java reads -Dzookeeper.multiAddress.enabled only"),
        key("multiAddress.reachabilityCheckEnabled", "true", File, EVERY_ADDRESS,
            "look which of the addresses answers"),
        key("multiAddress.reachabilityCheckTimeoutMs", "1000", File, EVERY_ADDRESS,
            "ms to wait for that"),
        key("oraclePath",               "",     File, Ignored("an oracle for two servers is not supported"),
            "file that decides for an ensemble of two"),
    ]},
    Section { title: "Ensemble: election, leader, learners", keys: &[
        key("cnxTimeout",               "5000", Property, Ensemble,
            "ms to open an election connection"),
        key("quorumCnxnTimeoutMs",      "-1",   Property, Ensemble,
            "ms without a byte after which an election connection is closed; -1 is syncLimit ticks"),
        key("fastleader.minNotificationInterval", "200", Property, Ensemble,
            "ms until votes are sent again, at first"),
        key("fastleader.maxNotificationInterval", "60000", Property, Ensemble,
            "ms until votes are sent again, at most"),
        key("electionPortBindRetry",    "3",    Property, Ensemble,
            "attempts to bind the election port; 0 is for ever"),
        key("tcpKeepAlive",             "false", Property, Ensemble,
            "keep-alive probes on election connections"),
        key("leaderServes",             "yes",  Property, Ensemble,
            "`no`: the leader takes no clients"),
        key("leader.maxTimeToWaitForEpoch", "-1", Property, Ensemble,
            "ms that a leader collects epochs; -1 is no limit"),
        key("leader.maxConcurrentSnapSyncs", "10", Property, Ensemble,
            "learners that get a snapshot at the same time"),
        key("leader.maxConcurrentDiffSyncs", "100", Property, Ensemble,
            "learners that get transactions at the same time"),
        key("leaderConnectDelayDuringRetryMs", "100", Property, Ensemble,
            "ms between two attempts to connect to the leader"),
        key("follower.nodelay",         "true", Jvm, ALWAYS_NODELAY,
            "TCP_NODELAY towards the leader"),
        key("leader.nodelay",           "true", Jvm, ALWAYS_NODELAY,
            "TCP_NODELAY towards learners"),
        key("observer.reconnectDelayMs", "0",   Property, NO_PAUSE,
            "ms that an observer waits before it connects again"),
        key("observer.election.DelayMs", "200", Property, NO_PAUSE,
            "ms that an observer waits before an election"),
        key("observerMasterPort",       "0",    File, Ensemble,
            "port on which followers serve observers; 0 is off"),
        key("observerMaster.sizeLimit", "33554432", Property, Ignored("an observer master keeps as many transactions as a leader, and has the log besides"),
            "bytes of proposals kept for such observers"),
        key("leader.closeSocketAsync",  "false", PropertyOrBare, PIPELINE,
            "close sockets of learners in a thread"),
        key("learner.closeSocketAsync", "false", PropertyOrBare, PIPELINE,
            "close the socket to the leader in a thread"),
        key("learner.asyncSending",     "false", PropertyOrBare, PIPELINE,
            "send to the leader from a thread"),
        key("leader.ackLoggingFrequency", "1000", Property,
            Ignored("acknowledgements are counted, not logged"),
            "log every n-th acknowledgement"),
        key("follower.skipLearnerRequestToNextProcessor", "false", Property, PIPELINE,
            "do not queue forwarded requests locally"),
        key("forward_learner_requests_to_commit_processor_disabled", "false", Property, PIPELINE,
            "the same on the leader"),
        key("messageTracker.Enabled",   "false", Property, Ignored("the log says why a connection ended"),
            "log the last packets of a connection that ends"),
        key("messageTracker.BufferSize", "10",  Property, Ignored("the log says why a connection ended"),
            "how many packets"),
        key("quorum.auth.enableSasl",   "false", File, SASL,
            "SASL between servers"),
        key("quorum.auth.serverRequireSasl", "false", File, SASL,
            "refuse servers without; needs learnerRequireSasl"),
        key("quorum.auth.learnerRequireSasl", "false", File, SASL,
            "refuse a leader without; needs enableSasl"),
        key("quorum.auth.learner.saslLoginContext", "QuorumLearner", File, SASL,
            "section of the JAAS file"),
        key("quorum.auth.server.saslLoginContext", "QuorumServer", File, SASL,
            "section of the JAAS file"),
        key("quorum.auth.kerberos.servicePrincipal", "zkquorum/localhost", File, SASL,
            "Kerberos principal of the servers"),
        key("quorum.cnxn.threads.size", "20",   File, NO_THREADS,
            "threads for SASL handshakes"),
    ]},
    Section { title: "TLS", keys: &[
        key("sslQuorum",                "false", File, TLS,
            "TLS between servers"),
        key("portUnification",          "false", File, TLS,
            "the quorum port takes both"),
        key("sslQuorumReloadCertFiles", "false", File, TLS,
            "read changed certificates"),
        key("client.portUnification",   "false", Property, TLS,
            "TLS and plain clients on one port"),
        key("client.certReload",        "false", Property, TLS,
            "read changed certificates"),
        key("serverCnxnFactory",        "org.apache.zookeeper.server.NIOServerCnxnFactory", Property,
            Ignored("there is one way to serve connections"),
            "class that serves clients; Java needs the Netty one for TLS"),
        key("ssl.authProvider",         "x509", Property, NO_CLASSES,
            "scheme that judges client certificates"),
        key("ssl.quorum.authProvider",  "x509", Property, NO_CLASSES,
            "the same between servers"),
        key("ssl.context.supplier.class", "",   Property, NO_CLASSES,
            "class that makes the TLS context"),
        key("ssl.quorum.context.supplier.class", "", Property, NO_CLASSES,
            "the same between servers"),
        key("ssl.sslProvider",          "JDK",  Property, NO_CLASSES,
            "Netty's TLS engine"),
        key("ssl.keyStore.<x>",         "",     Property, TLS,
            "own certificate for clients: location, password, passwordPath, type"),
        key("ssl.trustStore.<x>",       "",     Property, TLS,
            "certificates that clients are trusted by: location, password, passwordPath, type"),
        key("ssl.protocol",             "TLSv1.2", Property, TLS,
            "TLS version"),
        key("ssl.enabledProtocols",     "",     Property, TLS,
            "TLS versions, comma-separated"),
        key("ssl.ciphersuites",         "",     Property, TLS,
            "cipher suites, comma-separated"),
        key("ssl.hostnameVerification", "true", Property, TLS,
            "check host names in certificates"),
        key("ssl.clientHostnameVerification", "false", Property, TLS,
            "check the host names of clients"),
        key("ssl.allowReverseDnsLookup", "false", Property, TLS,
            "look names of addresses up for that"),
        key("ssl.crl",                  "false", Property, TLS,
            "certificate revocation lists"),
        key("ssl.ocsp",                 "false", Property, TLS,
            "OCSP"),
        key("ssl.clientAuth",           "need", Property, TLS,
            "client certificates: need, want or none"),
        key("ssl.handshakeDetectionTimeoutMillis", "5000", Property, TLS,
            "ms to find out whether a connection is TLS"),
        key("ssl.quorum.<x>",           "",     Property, TLS,
            "each of the above between servers"),
        key("fips-mode",                "true", Property,
            Ignored("TLS here needs no trust manager of its own"),
            "Java's own trust manager only"),
    ]},
    Section { title: "About the Java server only", keys: &[
        key("maxResponseCacheSize",     "400",  Property, NO_CACHE,
            "getData replies kept in serialised form"),
        key("maxGetChildrenResponseCacheSize", "400", Property, NO_CACHE,
            "getChildren replies kept in serialised form"),
        key("intBufferStartingSizeBytes", "1024", Property, Ignored("buffers are reused and grow as needed"),
            "first size of a reply's buffer"),
        key("watchManagerName",         "WatchManager", Property, WATCHES,
            "implementation of the watch table"),
        key("watcherCleanThreadsNum",   "2",    Property, WATCHES,
            "threads that clean it"),
        key("watcherCleanThreshold",    "1000", Property, WATCHES,
            "dead watchers before it is cleaned"),
        key("watcherCleanIntervalInSeconds", "600", Property, WATCHES,
            "seconds before it is cleaned"),
        key("maxInProcessingDeadWatchers", "-1", Property, WATCHES,
            "dead watchers that may wait"),
        key("bitHashCacheSize",         "10",   Property, WATCHES,
            "cached entries of its bit sets"),
        key("pathStats.<x>",            "",     Property, PATH_STATS,
            "sampled statistics by path in the log"),
        key("nio.numSelectorThreads",   "",     Property, NO_THREADS,
            "selector threads"),
        key("nio.numWorkerThreads",     "",     Property, NO_THREADS,
            "worker threads"),
        key("nio.directBufferBytes",    "65536", Property, NO_THREADS,
            "buffer of each of them"),
        key("nio.shutdownTimeout",      "5000", Property, NO_THREADS,
            "ms that they get to finish"),
        key("commitProcessor.numWorkerThreads", "", Property, NO_THREADS,
            "threads that answer requests"),
        key("commitProcessor.maxReadBatchSize", "-1", Property, NO_THREADS,
            "reads between two commits"),
        key("commitProcessor.maxCommitBatchSize", "1", Property, NO_THREADS,
            "commits between two reads"),
        key("commitProcessor.shutdownTimeout", "5000", Property, NO_THREADS,
            "ms that they get to finish"),
        key("netty.advancedFlowControl.enabled", "false", Property, NO_NETTY,
            "flow control of connections"),
        key("netty.server.outstandingHandshake.limit", "-1", Property, NO_NETTY,
            "TLS handshakes under way at once"),
        key("netty.server.earlyDropSecureConnectionHandshakes", "false", Property, NO_NETTY,
            "drop TLS connections while the server is not serving"),
        key("forceSnapshotSync",        "false", Property, TEST_HOOK,
            "send every learner a snapshot"),
        key("test.allowDiscontinuousProposals", "false", Property, TEST_HOOK,
            "accept gaps in the history"),
        key("testingonly.initialZxid",  "",     Property, TEST_HOOK,
            "first zxid of a leader"),
        key("controllerPort",           "",     Property, TEST_HOOK,
            "port of the fault injection server"),
        key("log.dir",                  "",     Property, SCRIPTS,
            "directory of the log files"),
        key("log.file",                 "",     Property, SCRIPTS,
            "name of the log file"),
        key("root.logger",              "",     Property, SCRIPTS,
            "level and appenders"),
        key("jmx.log4j.disable",        "",     Property, NO_JVM,
            "no JMX beans for log4j"),
    ]},
];

/// Headings of the administrator's guide that are not names of keys, and the keys they speak of. Java ignores
/// them in a file, which nobody can guess, so Serval reads them as what they mean.
#[rustfmt::skip]
pub const ALIASES: &[(&str, &str)] = &[
    ("requestThrottleLimit",        "request_throttle_max_requests"),
    ("requestThrottleStallTime",    "request_throttle_stall_time"),
    ("requestThrottleDropStale",    "request_throttle_drop_stale"),
    ("requestStaleLatencyCheck",    "request_stale_latency_check"),
    ("requestStaleConnectionCheck", "request_stale_connection_check"),
    ("throttledOpWaitTime",         "throttled_op_wait_time"),
    ("connectionMaxTokens",         "connection_throttle_tokens"),
    ("connectionTokenFillTime",     "connection_throttle_fill_time"),
    ("connectionTokenFillCount",    "connection_throttle_fill_count"),
    ("connectionFreezeTime",        "connection_throttle_freeze_time"),
    ("connectionDropIncrease",      "connection_throttle_drop_increase"),
    ("connectionDropDecrease",      "connection_throttle_drop_decrease"),
    ("connectionDecreaseRatio",     "connection_throttle_decrease_ratio"),
    ("maxTimeToWaitForEpoch",       "leader.maxTimeToWaitForEpoch"),
    ("maxConcurrentSnapSyncs",      "leader.maxConcurrentSnapSyncs"),
    ("maxConcurrentDiffSyncs",      "leader.maxConcurrentDiffSyncs"),
    ("advancedFlowControlEnabled",  "netty.advancedFlowControl.enabled"),
    ("outstandingHandshake.limit",  "netty.server.outstandingHandshake.limit"),
];
