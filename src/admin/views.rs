//! What the server shows of itself: plain values that it fills when an operator asks.
//!
//! Four-letter words and HTTP commands are rendered from these only, so that both tell the same, and so that
//! rendering is a pure function with tests. [`Inspect`] is the one way in: the server implements it, and each command
//! asks only for what it prints.

use std::net::SocketAddr;

use crate::ids::{ServerId, SessionId, Xid, Zxid};
use crate::metrics::{Gauges, Metrics};
use crate::time::WallMillis;
use crate::wire::address::HostPort;

/// What a server lets an operator see, and the few things it lets one reset.
pub trait Inspect {
    /// `None` while the server has no role or has not loaded its data: it then is "not currently serving requests".
    fn server(&self) -> Option<ServerView>;
    fn metrics(&self) -> &Metrics;
    fn environment(&self) -> EnvironmentView;
    fn config(&self) -> ConfigView;
    /// Sizes of the files in the `version-2` directories.
    fn dirs(&self) -> DirsView;
    /// Client connections in any order, the asking one included.
    fn connections(&self) -> Vec<ConnectionView>;
    /// When sessions and connections expire.
    fn sessions(&self) -> SessionsView;
    /// Each session that owns ephemeral znodes, with their paths.
    fn ephemerals(&self) -> Vec<(SessionId, Vec<String>)>;
    /// Every data watch (child watches are in no four-letter word).
    fn watches(&self) -> Vec<WatchView>;
    /// What a member of an ensemble says of it while it has a role in it; `None` otherwise.
    fn ensemble(&self) -> Option<EnsembleView>;
    /// Totals of the same, without making the list.
    fn watch_summary(&self) -> WatchSummary;
    /// Digests of the tree at earlier zxids, oldest first.
    fn digests(&self) -> Vec<DigestView>;
    /// The newest snapshot taken or loaded.
    fn last_snapshot(&self) -> Option<SnapshotView>;
    fn trace_mask(&self) -> i64;
    fn set_trace_mask(&mut self, mask: i64);
    /// `srst`: [`Metrics::reset`].
    fn reset_stats(&mut self);
    /// `crst`: the statistics of each connection.
    fn reset_connection_stats(&mut self);
    /// The same of observers' connections.
    fn reset_observer_stats(&mut self);
}

/// What the server does in its ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    /// As `Mode:` in `srvr` and `zk_server_state` in `mntr` name it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Leader => "leader",
            Mode::Follower => "follower",
            Mode::Observer => "observer",
            Mode::ReadOnly => "read-only",
        }
    }
}

/// The server as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerView {
    pub mode: Mode,
    /// The last transaction that was applied.
    pub zxid: Zxid,
    pub gauges: Gauges,
    /// On an observer: from whom it learns, the leader or an observer master.
    pub learner_master: Option<ServerId>,
}

/// An ensemble, as a member that leads, follows or observes sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleView {
    pub leader: ServerId,
    pub me: MemberView,
    pub voters: Vec<MemberView>,
    /// Those that this server serves.
    pub observers: Vec<ObserverView>,
}

/// A server of the membership in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    pub id: ServerId,
    pub quorum: Vec<HostPort>,
    pub election: Vec<HostPort>,
    pub client: Option<HostPort>,
    pub votes: bool,
}

/// An observer that learns from this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObserverView {
    /// `None` if its connection is just gone.
    pub peer: Option<SocketAddr>,
    pub id: ServerId,
    pub established: WallMillis,
    /// Packets that wait to be sent, and their bytes.
    pub queued: u64,
    pub queued_bytes: u64,
    pub received: u64,
    pub sent: u64,
    /// Of the packets received, those that were requests of clients.
    pub requests: u64,
    /// Of the last packet sent that had one; -1 before it.
    pub last_zxid: Zxid,
}

/// One client connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    pub peer: SocketAddr,
    /// Came in on the TLS port.
    pub secure: bool,
    /// 1 while it is read from, plus 4 while output waits; 0 once it is being closed.
    pub interest_ops: u8,
    /// Requests received and not answered yet.
    pub queued: u64,
    pub received: u64,
    pub sent: u64,
    /// What follows the handshake; `None` before it.
    pub session: Option<ConnectionSession>,
}

/// What `cons` and the HTTP command `connections` show once there is a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSession {
    pub id: SessionId,
    /// The short name of the last operation (`OpSpec::short`), or `NA`.
    pub last_op: &'static str,
    pub established: WallMillis,
    pub timeout_ms: u32,
    /// Negative if the last request had none of its own, as a ping.
    pub last_cxid: Xid,
    pub last_zxid: Zxid,
    /// Monotonic milliseconds of the last reply; 0 before the first.
    pub last_response_ms: u64,
    /// Latencies in whole milliseconds.
    pub last_latency_ms: u64,
    pub min_latency_ms: u64,
    pub avg_latency_ms: u64,
    pub max_latency_ms: u64,
}

/// Deadlines of sessions and connections, for `dump`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsView {
    /// Global sessions by the time at which they expire, soonest first; none on a learner, which does not know it.
    pub sessions: Vec<Deadline<SessionId>>,
    /// On a learner or a read-only server instead: all global sessions with their timeouts in ms, by id.
    pub learned: Option<Vec<(SessionId, u32)>>,
    /// This server's own sessions, where there may be some.
    pub local: Option<Vec<Deadline<SessionId>>>,
    /// Connections by the time at which they are closed for silence, soonest first; a connection without a session has
    /// [`SessionId::NONE`].
    pub connections: Vec<Deadline<(SocketAddr, SessionId)>>,
}

/// Everything that expires in one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline<T> {
    pub at: WallMillis,
    /// The same on the monotonic clock, in ms: what the HTTP command `dump` shows.
    pub at_mono_ms: u64,
    pub members: Vec<T>,
}

/// One session's data watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchView {
    pub session: SessionId,
    pub path: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: u64,
    pub paths: u64,
    pub watches: u64,
}

/// The configuration in force (`ZooKeeperServerConf`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigView {
    /// -1 without the port.
    pub client_port: i32,
    pub secure_client_port: i32,
    /// With `version-2`.
    pub data_dir: String,
    pub data_log_dir: String,
    pub tick_time_ms: u32,
    pub max_client_cnxns: u32,
    pub min_session_timeout_ms: u32,
    pub max_session_timeout_ms: u32,
    pub client_port_listen_backlog: i32,
    pub server_id: i64,
    /// On a member of a quorum.
    pub quorum: Option<QuorumConfigView>,
    /// The configuration file as it was read; `None` without one.
    pub file_text: Option<String>,
    /// Settings in force by their full names (`zookeeper.snapCount`), for the command `system_properties`.
    pub settings: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfigView {
    pub init_limit: u32,
    pub sync_limit: u32,
    pub election_alg: u32,
    pub election_port: u16,
    pub quorum_port: u16,
    pub observer: bool,
    /// `server.N=...` lines and `version=...`, without a newline at the end; `None` on a read-only server.
    pub membership: Option<String>,
}

/// Bytes in the directories of snapshots and logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirsView {
    pub data_dir_bytes: u64,
    pub log_dir_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestView {
    pub zxid: Zxid,
    pub digest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    pub zxid: Zxid,
    /// When it was taken or loaded.
    pub at: WallMillis,
}

/// The machine and process, read once at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentView {
    pub host_name: String,
    /// `Linux`.
    pub os_name: String,
    /// As Java names it: `amd64`, `aarch64`.
    pub os_arch: String,
    /// The kernel's release.
    pub os_version: String,
    pub user_name: String,
    pub user_home: String,
    /// The working directory.
    pub user_dir: String,
    /// Resident memory of the process.
    pub resident_bytes: u64,
    /// Memory of the machine that is available, and all of it.
    pub available_bytes: u64,
    pub total_bytes: u64,
}
