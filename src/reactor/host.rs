//! What the machine and the process tell an operator, and the views that server and process make together.

use std::fs;
use std::path::Path;

use super::clock::Clock;
use crate::admin::views::{
    ConfigView, ConnectionView, DigestView, DirsView, EnvironmentView, Inspect, Mode, ServerView,
    SessionsView, SnapshotView, WatchSummary, WatchView,
};
use crate::ids::SessionId;
use crate::metrics::{Gauges, Metrics};
use crate::server::{Server, Serving};
use crate::time::Instant;

/// Java's default trace mask (`ZooTrace`), shown by `gtmk`; it has no effect here.
const TRACE_MASK_DEFAULT: i64 = 306;

/// Facts about the process that do not belong to the server's machines.
pub struct Host {
    pub clock: Clock,
    pub config: ConfigView,
    pub serving_since: Instant,
    pub sync_in_flight: bool,
    pub last_snapshot: Option<SnapshotView>,
    trace_mask: i64,
}

impl Host {
    pub fn new(clock: Clock, config: ConfigView) -> Host {
        Host {
            clock,
            config,
            serving_since: clock.mono(),
            sync_in_flight: false,
            last_snapshot: None,
            trace_mask: TRACE_MASK_DEFAULT,
        }
    }
}

/// Server and process together, for the time of one answer.
pub struct Inspector<'a> {
    pub server: &'a mut Server,
    pub host: &'a mut Host,
}

impl Inspect for Inspector<'_> {
    fn server(&self) -> Option<ServerView> {
        let mut gauges = Gauges {
            uptime_ms: self.host.clock.mono().millis_since(self.host.serving_since),
            open_file_descriptor_count: count_entries("/proc/self/fd"),
            max_file_descriptor_count: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(u64::MAX),
            sync_in_flight: u64::from(self.host.sync_in_flight),
            ..Gauges::default()
        };
        self.server.gauges(&mut gauges);
        let mode = match self.server.serving() {
            Serving::No => return None,
            Serving::Alone => Mode::Standalone,
            Serving::Leading => Mode::Leader,
            Serving::Learning => Mode::Follower,
            Serving::ReadOnly => Mode::ReadOnly,
        };
        Some(ServerView { mode, zxid: self.server.last_zxid(), gauges })
    }

    fn metrics(&self) -> &Metrics {
        &self.server.metrics
    }

    fn environment(&self) -> EnvironmentView {
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        let memory = |field| kib_of("/proc/meminfo", field);
        EnvironmentView {
            host_name: text(uname.nodename()),
            os_name: text(uname.sysname()),
            os_arch: match uname.machine().to_bytes() {
                b"x86_64" => "amd64".to_string(),
                _ => text(uname.machine()),
            },
            os_version: text(uname.release()),
            user_name: std::env::var("USER").unwrap_or_else(|_| "unknown".to_string()),
            user_home: std::env::var("HOME").unwrap_or_default(),
            user_dir: std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
            resident_bytes: kib_of("/proc/self/status", "VmRSS:"),
            available_bytes: memory("MemAvailable:"),
            total_bytes: memory("MemTotal:"),
        }
    }

    fn config(&self) -> ConfigView {
        self.host.config.clone()
    }

    fn dirs(&self) -> DirsView {
        DirsView {
            data_dir_bytes: bytes_in(Path::new(&self.host.config.data_dir)),
            log_dir_bytes: bytes_in(Path::new(&self.host.config.data_log_dir)),
        }
    }

    fn connections(&self) -> Vec<ConnectionView> {
        self.server.connections()
    }

    fn sessions(&self) -> SessionsView {
        self.server.deadlines(self.host.clock.now())
    }

    fn ephemerals(&self) -> Vec<(SessionId, Vec<String>)> {
        self.server.ephemerals()
    }

    fn watches(&self) -> Vec<WatchView> {
        self.server.data_watches()
    }

    fn watch_summary(&self) -> WatchSummary {
        self.server.watch_summary()
    }

    fn digests(&self) -> Vec<DigestView> {
        self.server.digest_log()
    }

    fn last_snapshot(&self) -> Option<SnapshotView> {
        self.host.last_snapshot
    }

    fn trace_mask(&self) -> i64 {
        self.host.trace_mask
    }

    fn set_trace_mask(&mut self, mask: i64) {
        self.host.trace_mask = mask;
    }

    fn reset_stats(&mut self) {
        self.server.metrics.reset();
    }

    fn reset_connection_stats(&mut self) {
        self.server.reset_connection_stats();
    }
}

fn count_entries(dir: &str) -> u64 {
    // The directory that is being listed is open itself.
    fs::read_dir(dir).map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}

/// A field such as `VmRSS:  1234 kB` of a file in /proc, in bytes; 0 where there is no such field.
fn kib_of(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
