//! zoo.cfg, program arguments and `-D` settings, checked and made into one plain [`Config`].
//!
//! Everything that can be wrong with a configuration is found here, before a socket is opened or a directory
//! touched: the only files read are the ones that configure (zoo.cfg, the dynamic configuration beside it,
//! `myid`). Whatever is wrong is one [`ConfigError`], one line with file, line, key and advice, and Java's
//! exit code. Whatever is merely without effect is a [`Warning`], so that nobody wonders.
//!
//! `bytes -> properties -> settings (names resolved, origins kept) -> Config`; the table in [`keys`] says of
//! every key what becomes of it, and the documentation is printed from it.
//!
//! Names carry their units. Numbers are already what the server works with: ticks that only sessions use are
//! milliseconds, KiB are bytes, and Java's -1 for "none" is `None`.

pub mod dynamic;
mod error;
pub mod keys;
mod read;
mod settings;
#[cfg(test)]
mod tests;

pub use crate::admin::words::Whitelist;
pub use crate::quorum::membership::{Groups, Membership, Role, Server, ServerAddress};
pub use crate::wire::address::HostPort;
pub use crate::wire::properties;
pub use error::{ConfigError, Origin, Place, Problem, Warning};

use crate::auth::Auth;
use crate::ids::ServerId;
use crate::storage::Compression;
use settings::Settings;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Larger than any configuration; smaller than a log or snapshot that was named by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a server is told to be. Every value is within its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub directories: Directories,
    pub client_port: ClientPort,
    pub sessions: Sessions,
    pub limits: Limits,
    pub connection_throttle: ConnectionThrottle,
    pub storage: Storage,
    pub purge: Purge,
    pub tree: Tree,
    pub containers: Containers,
    /// Who a client may be, and what that is worth.
    pub auth: Auth,
    pub four_letter_words: Whitelist,
    /// Where to serve Prometheus metrics, if anywhere.
    pub metrics_port: Option<MetricsPort>,
    /// Where to serve the HTTP commands, if anywhere.
    pub admin_port: Option<AdminPort>,
    /// A member without quorum serves read-only clients.
    pub read_only_mode: bool,
    pub ensemble: Ensemble,
}

/// Where data lives. Neither path has the `version-2` that the server adds to both.
#[derive(Clone, Debug, PartialEq)]
pub struct Directories {
    /// Snapshots and `myid`.
    pub data_dir: PathBuf,
    /// Transaction logs; equal to `data_dir` unless the file says otherwise.
    pub data_log_dir: PathBuf,
    /// Create what is missing; otherwise a missing directory is an error.
    pub auto_create: bool,
}

/// The port for clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPort {
    /// `None` only in a member of an ensemble that serves no clients. Port 0 takes any free one.
    pub address: Option<HostPort>,
    /// As in the file; nothing listens there until TLS is built.
    pub secure_address: Option<HostPort>,
    /// Connections that may wait to be accepted; `None` leaves it to the server (50, as in Java).
    pub backlog: Option<u32>,
    pub tcp_keep_alive: bool,
    /// A connection that has opened no session by then is closed.
    pub sessionless_timeout_ms: u64,
}

/// Session timeouts, as wide as on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Above 0.
    pub tick_time_ms: i32,
    pub timeout_min_ms: i32,
    /// Not below `timeout_min_ms`.
    pub timeout_max_ms: i32,
}

/// What one client, or all of them together, may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections from one address.
    pub connections_per_ip_max: Option<u32>,
    pub connections_max: Option<u32>,
    /// `jute.maxbuffer`: the largest request, reply or stored record.
    pub frame_bytes_max: u32,
    /// `jute.maxbuffer.extrasize`: what records on disk and between servers may have beyond it.
    pub frame_bytes_extra: u32,
    /// Requests in flight before sockets are read no further.
    pub outstanding_requests_max: u32,
    /// `request_throttle_max_requests`, which limits the same thing.
    pub throttled_requests_max: Option<u32>,
    /// Requests above this size are large; `None` switches the check off.
    pub large_request_bytes: Option<u32>,
    /// What all large requests in flight may have together.
    pub large_requests_bytes_max: u32,
}

/// Java's `BlueThrottle`, without its chance of refusing a session for which there is a token.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    /// Size of the bucket; `None` switches the throttle off.
    pub tokens_max: Option<u32>,
    pub fill_time_ms: u64,
    pub fill_count: u32,
    /// `None`: every session costs one token.
    pub weights: Option<SessionWeights>,
}

/// Tokens that a session costs by its kind. Java multiplies the bucket and its filling by `global` then.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionWeights {
    pub global: u32,
    pub local: u32,
    pub renew: u32,
}

/// Transaction logs and snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// Size of a preallocated log segment.
    pub segment_bytes: u64,
    /// Transactions between two snapshots, give or take a random half. At least 2.
    pub snapshot_txns: u32,
    /// Bytes of log between two snapshots, give or take a random half.
    pub snapshot_log_bytes: Option<u64>,
    /// Size after which a new log file begins, snapshot or not.
    pub log_bytes_max: Option<u64>,
    /// False: writes are acknowledged before they are on disk.
    pub force_sync: bool,
    /// A sync that takes longer is logged.
    pub sync_warning_ms: u64,
    pub compression: Compression,
    /// Start from logs although there is no snapshot.
    pub trust_empty_snapshot: bool,
    /// Snapshots end with the last zxid they contain.
    pub snapshot_last_zxid: bool,
    /// closeSession records list the ephemeral nodes that went with the session.
    pub close_session_paths: bool,
}

/// Deleting what is older than the snapshots worth keeping.
#[derive(Clone, Debug, PartialEq)]
pub struct Purge {
    /// At least 3.
    pub snapshots_kept: u32,
    /// `None` never purges. Otherwise the first purge is at the start.
    pub interval_ms: Option<u64>,
}

/// Features of the tree and of the records that change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub digests: bool,
    /// TTL nodes (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// TTL nodes in the encoding of 3.5.3.
    pub ttl_as_in_353: bool,
    pub enforce_quotas: bool,
}

/// The search for containers that became empty and TTL nodes that expired.
#[derive(Clone, Debug, PartialEq)]
pub struct Containers {
    pub check_interval_ms: u64,
    pub deletions_per_minute_max: u32,
    /// Containers that never had a child go after this time.
    pub never_used_ms: Option<u64>,
}

/// Where Prometheus fetches metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsPort {
    pub address: HostPort,
    /// Export the `process_*` series (Java's `exportJvmInfo`, as far as it has a meaning here).
    pub process_series: bool,
}

/// Java's AdminServer.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminPort {
    pub address: HostPort,
    /// The path below which the commands are: `/commands`.
    pub command_url: String,
    /// Silence after which a connection is closed.
    pub idle_timeout_ms: u64,
    /// Somebody asked for it; by default it is on, but not worth failing a start for.
    pub wanted: bool,
}

/// Everything that only members of an ensemble make use of.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// From `myid`; a standalone server needs none.
    pub my_id: Option<ServerId>,
    /// Empty without server lines.
    pub membership: Membership,
    /// The membership that was being agreed on when the server stopped (`zoo.cfg.dynamic.next`).
    pub last_seen: Option<Membership>,
    /// The file itself, for reconfigurations to rewrite; `None` without one.
    pub static_file: Option<PathBuf>,
    pub dynamic_file: Option<PathBuf>,
    pub standalone_enabled: bool,
    pub reconfig_enabled: bool,
    /// This server's own role: what its server line says.
    pub role: Role,
    pub init_limit_ticks: u32,
    pub sync_limit_ticks: u32,
    /// Ticks that connecting to the leader may take.
    pub connect_limit_ticks: u32,
    pub listen_on_all_ips: bool,
    pub local_sessions: bool,
    pub local_sessions_upgrade: bool,
    /// False: an empty member has no vote unless it finds a file `initialize`.
    pub auto_create_database: bool,
    pub election: Election,
    pub leader: Leader,
    /// Port on which followers serve observers.
    pub observer_master_port: Option<u16>,
    /// A server line may have several addresses (`multiAddress.enabled`).
    pub several_addresses: bool,
}

/// Connections and votes of the election.
#[derive(Clone, Debug, PartialEq)]
pub struct Election {
    pub connect_timeout_ms: u64,
    /// Silence after which a connection is closed.
    pub read_timeout_ms: u64,
    pub resend_min_ms: u64,
    pub resend_max_ms: u64,
    /// Attempts to bind the election port; `None` is for ever.
    pub bind_attempts: Option<u32>,
    pub tcp_keep_alive: bool,
}

/// The leader, and how learners reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leader {
    pub serves_clients: bool,
    pub epoch_wait_max_ms: Option<u64>,
    pub snapshot_syncs_max: u32,
    pub diff_syncs_max: u32,
    /// Transactions kept in memory for learners that lag. At least 500.
    pub commit_log_txns: u32,
    /// Learners are sent log files up to this share of the snapshot's size; below 0 never.
    pub log_share_of_snapshot: f64,
    pub connect_retry_delay_ms: u64,
}

/// A configuration that a server can run with, and what its administrator should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Warning>,
    /// The file as it was read, for the command `initial_configuration`; `None` without one.
    pub file_text: Option<String>,
    /// What holds, by name: every key that was given, and the defaults of those that were not. Keys that Java
    /// makes system properties of have its names for them (`zookeeper.snapCount`). Secrets are hidden.
    pub in_force: Vec<(String, String)>,
    /// Where each setting was given. What turns out wrong only when a port or a directory is used can then still
    /// be named with its file and line.
    pub places: BTreeMap<String, Place>,
}

impl Loaded {
    /// Where `key` was given, as errors begin with it: `conf/zoo.cfg:12: clientPort`, or the key alone if its
    /// default is in force.
    pub fn place(&self, key: &str) -> String {
        self.places.get(key).map_or_else(|| key.to_owned(), Place::to_string)
    }
}

impl Config {
    /// Reads a zoo.cfg, the dynamic configuration file that it names, and `myid`. `defines` are the
    /// `-Dname=value` arguments; a key of the file beats them.
    ///
    /// # Errors
    /// Whatever Java refuses with exit code 1 or 2 before it looks at a directory or opens a port.
    pub fn load(path: &Path, defines: &[(String, String)]) -> Result<Loaded, ConfigError> {
        Config::from_bytes(path, &read_file(path)?, defines)
    }

    /// [`Config::load`] for a zoo.cfg that is in memory already; `path` is for messages and for the names of
    /// files beside it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_bytes(
        path: &Path,
        bytes: &[u8],
        defines: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let properties = parse_properties(path, bytes)?;
        let loaded = read::read(Settings::of_file(path, properties, defines), Some(path))?;
        Ok(Loaded { file_text: Some(String::from_utf8_lossy(bytes).into_owned()), ..loaded })
    }

    /// The form `serval <port> <dataDir> [tickTime [maxClientCnxns]]`. As in Java, connections are not
    /// limited here unless the last argument limits them.
    ///
    /// # Errors
    /// As [`Config::load`]: `-D` settings and `myid` can still be wrong.
    pub fn from_args(
        port: u16,
        data_dir: &str,
        tick_time_ms: Option<i32>,
        max_client_cnxns: Option<i32>,
        defines: &[(String, String)],
    ) -> Result<Loaded, ConfigError> {
        let mut arguments = vec![("clientPort", port.to_string()), ("dataDir", data_dir.to_owned())];
        arguments.extend(tick_time_ms.map(|ms| ("tickTime", ms.to_string())));
        arguments.push(("maxClientCnxns", max_client_cnxns.unwrap_or(0).to_string()));
        read::read(Settings::of_arguments(&arguments, defines), None)
    }

    /// What the server is when it is told nothing: 127.0.0.1:2181, with its data under `./data`. Its HTTP commands
    /// are on loopback only, too.
    ///
    /// # Errors
    /// As [`Config::from_args`].
    pub fn embedded_default(defines: &[(String, String)]) -> Result<Loaded, ConfigError> {
        let arguments = [
            ("clientPort", "2181"),
            ("clientPortAddress", "127.0.0.1"),
            ("dataDir", "./data"),
            ("admin.serverAddress", "127.0.0.1"),
        ];
        let arguments = arguments.map(|(key, value)| (key, value.to_owned()));
        read::read(Settings::of_arguments(&arguments, defines), None)
    }

    /// Is this a member of an ensemble? Java's rule: more than one participant, or standaloneEnabled=false.
    pub fn is_distributed(&self) -> bool {
        self.ensemble.membership.is_distributed(self.ensemble.standalone_enabled)
    }
}

/// The content of a file of at most [`FILE_BYTES_MAX`].
fn read_file(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |problem| ConfigError { place: Place::file(path), problem };
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => Problem::FileMissing,
            _ => Problem::FileUnreadable { error: error.to_string() },
        })
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(Problem::FileTooLarge { bytes_max: FILE_BYTES_MAX }));
    }
    Ok(bytes)
}

fn parse_properties(path: &Path, bytes: &[u8]) -> Result<Vec<properties::Property>, ConfigError> {
    properties::parse(bytes).map_err(|malformed| ConfigError {
        place: Place::line(path, malformed.line),
        problem: Problem::MalformedUnicode,
    })
}
