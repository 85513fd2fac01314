//! What the machine and the process tell an operator, and the views that server and process make together.

use std::fs;
use std::path::Path;

use super::clock::Clock;
use super::ensemble::Ensemble;
use crate::admin::views::{
    ConfigView, ConnectionView, DigestView, DirsView, EnsembleView, EnvironmentView, Inspect, Mode,
    ServerView, SessionsView, SnapshotView, WatchSummary, WatchView,
};
use crate::ids::SessionId;
use crate::member::Member;
use crate::metrics::{Gauges, LeaderGauges, Metrics};
use crate::quorum::zab::leader::Leader;
use crate::quorum::zab::leader::handler::Stage;
use crate::server::Server;
use crate::time::Instant;

/// Java's default trace mask (`ZooTrace`), shown by `gtmk`; it has no effect here.
const TRACE_MASK_DEFAULT: i64 = 306;

/// Facts about the process that do not belong to the server's machines.
pub struct Host {
    pub clock: Clock,
    pub config: ConfigView,
    /// Since when clients are served in the present role.
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
    pub ensemble: Option<&'a mut Ensemble>,
}

impl Inspect for Inspector<'_> {
    fn server(&self) -> Option<ServerView> {
        let mut gauges = Gauges {
            uptime_ms: self.uptime_ms(),
            open_file_descriptor_count: count_entries("/proc/self/fd"),
            max_file_descriptor_count: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(u64::MAX),
            sync_in_flight: u64::from(self.host.sync_in_flight),
            ..Gauges::default()
        };
        self.server.gauges(&mut gauges);
        let member = self.ensemble.as_ref().map(|ensemble| &ensemble.member);
        let mode = match member {
            None => Mode::Standalone,
            Some(member) => member.mode(self.server)?,
        };
        // Java's read-only server is no member as long as it is one.
        if let Some(member) = member.filter(|_| mode != Mode::ReadOnly) {
            gauges.quorum_size = Some(member.views().committed().participants().count() as u64);
            gauges.synced_observers = member.synced_observers();
            gauges.leader = member.leader().map(|leader| self.leader_gauges(member, leader));
        }
        let learner_master = member.and_then(Member::learner_master);
        Some(ServerView { mode, zxid: self.server.last_zxid(), gauges, learner_master })
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
        let mut config = self.host.config.clone();
        if let (Some(quorum), Some(ensemble)) = (&mut config.quorum, &self.ensemble) {
            let member = &ensemble.member;
            let shown = member.mode(self.server) != Some(Mode::ReadOnly);
            quorum.membership = shown.then(|| member.views().committed().to_string().trim_end().to_string());
        }
        config
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

    fn ensemble(&self) -> Option<EnsembleView> {
        let ensemble = self.ensemble.as_ref()?;
        let (mut view, links) = ensemble.member.ensemble_view(self.server)?;
        for (observer, link) in view.observers.iter_mut().zip(links) {
            observer.peer = ensemble.address_of(link);
        }
        Some(view)
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

    fn reset_observer_stats(&mut self) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.member.reset_observer_stats();
        }
    }
}

impl Inspector<'_> {
    fn leader_gauges(&self, member: &Member, leader: &Leader) -> LeaderGauges {
        let mut gauges = LeaderGauges {
            leader_uptime_ms: self.uptime_ms(),
            proposal: member.proposal_sizes(),
            pending_syncs: leader.pending_syncs() as u64,
            ..LeaderGauges::default()
        };
        let committed = leader.views().committed();
        for learner in leader.learners() {
            gauges.learners += 1;
            match learner.stage {
                Stage::Serving if !learner.observer => {
                    gauges.synced_followers += 1;
                    gauges.synced_non_voting_followers += u64::from(!committed.is_voter(learner.sid));
                }
                _ => {}
            }
        }
        gauges
    }

    fn uptime_ms(&self) -> u64 {
        self.host.clock.mono().millis_since(self.host.serving_since)
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
