//! The real shell: one thread, one poll, real sockets and files.
//!
//! A turn takes what is ready, lets the [`Server`] decide, and sends. Nothing in it blocks: what can is done by the
//! [`helper`] threads. All other loops have a budget per turn and go on in the next.
//!
//! # Invariants
//!
//! 1. At most one sync of the log is under way; the next covers everything appended meanwhile (group commit).
//! 2. Bytes reach a socket only after the sync that they depend on: the server writes no reply before.
//! 3. After a storage error no socket is written to any more; the process ends.

mod clients;
mod clock;
mod descriptors;
mod ensemble;
mod helper;
mod host;
mod http;
mod listener;
mod lookup;
mod peers;
mod snapshot;
mod socket;

pub use clock::Clock;
pub use ensemble::Places;
pub use host::Host;
pub use http::{Port, Service};
pub use listener::{advice, listen};
pub use peers::PeerSettings;

use std::io::{self, ErrorKind};
use std::sync::Arc;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use crate::admin::words::{self, Whitelist};
use crate::ids::Zxid;
use crate::member::{self, Member};
use crate::server::{Append, AskedWord, ConnId, Made, Server};
use crate::state::LoadSettings;
use crate::storage::{Compression, DataDirs, SnapshotSchedule, StorageError, TxnLog};
use crate::time::{Instant, Millis, Now};
use crate::wire::address::HostPort;
use ensemble::Ensemble;
use helper::{Done, FileJob, Helpers, SyncWork};
use host::Inspector;
use socket::Socket;

const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const LISTENER: Token = Token(usize::MAX - 2);
/// Tokens from here on belong to [`http`].
const HTTP: usize = usize::MAX / 2;

/// Bytes read from one connection before the others have their turn.
const READ_BUFFER: usize = 256 << 10;

/// A turn longer than this is a defect; it is counted and logged.
const SLOW_TURN_MS: u64 = 5;

/// What the reactor needs to know besides the server's own options.
pub struct Settings {
    pub whitelist: Whitelist,
    pub compression: Compression,
    /// How files are read: by purge, which relies on a snapshot, and by a member that loads anew.
    pub load: LoadSettings,
    pub snapshot_last_zxid: bool,
    pub snap_count: i64,
    pub snap_size_limit_kib: i64,
    pub sync_warning_ms: u64,
    pub purge_every_ms: Option<u64>,
    pub snapshots_kept: usize,
    pub tcp_keep_alive: bool,
}

/// What makes the process a member of an ensemble.
pub struct Membership {
    pub member: Member,
    /// What the member wanted done at its beginning.
    pub actions: Vec<member::Action>,
    pub peers: PeerSettings,
    /// Learners are sent log files up to this share of the snapshot's size; below 0 never.
    pub log_share_of_snapshot: f64,
    pub places: Places,
}

/// What a reactor is made of.
pub struct Parts {
    pub server: Server,
    /// In an ensemble.
    pub membership: Option<Membership>,
    pub host: Host,
    pub log: TxnLog,
    /// The client port, if there is one. It is bound already; clients that came while the data was loaded wait in its
    /// backlog.
    pub listener: Option<std::net::TcpListener>,
    pub http: Vec<Port>,
    /// Write a snapshot as soon as that makes sense.
    pub snapshot_owed: bool,
}

/// Java's exit code for an election port that cannot be bound (`ExitCode.UNABLE_TO_BIND_QUORUM_PORT`).
const ELECTION_PORT_EXIT_CODE: i32 = 14;

/// Why the process must end.
#[derive(Debug)]
pub enum Fatal {
    Storage(StorageError),
    /// Peers cannot reach this server to elect a leader.
    ElectionPort {
        address: String,
        source: io::Error,
    },
    /// The reactor's own machinery failed: no poll, no thread.
    System {
        doing: &'static str,
        source: io::Error,
    },
}

impl From<StorageError> for Fatal {
    fn from(error: StorageError) -> Fatal {
        Fatal::Storage(error)
    }
}

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fatal::Storage(error) => error.fmt(f),
            Fatal::ElectionPort { address, source } => {
                write!(
                    f,
                    "cannot listen on the election port {address}: {source}; {}, or the number in myid",
                    advice(source)
                )
            }
            Fatal::System { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl Fatal {
    pub fn exit_code(&self) -> i32 {
        match self {
            Fatal::Storage(error) => error.exit_code(),
            Fatal::ElectionPort { .. } => ELECTION_PORT_EXIT_CODE,
            Fatal::System { .. } => 1,
        }
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Fatal {
    move |source| Fatal::System { doing, source }
}

pub struct Reactor {
    poll: Poll,
    events: Events,
    signals: Signals,
    /// A member may serve no clients.
    listener: Option<TcpListener>,
    accept_more: bool,
    sockets: Slab<Socket>,
    /// How many sockets the limit of open files leaves to clients.
    sockets_max: usize,
    /// Connections are refused for want of descriptors; said once, not for each of them.
    full: bool,
    /// Token of each connection, by its slot in the server.
    tokens: Vec<usize>,
    http: http::Http,
    server: Server,
    ensemble: Option<Ensemble>,
    host: Host,
    log: TxnLog,
    schedule: SnapshotSchedule,
    random: Random,
    helpers: Helpers,
    settings: Settings,
    snapshot: snapshot::Progress,
    /// What the next sync will cover.
    batch: Batch,
    /// Of the running sync: since when it was waited for.
    sync_awaited: Option<Instant>,
    next_purge: Option<Instant>,
    /// Connections with input that no event will announce again.
    unfinished: Vec<usize>,
    /// Where reading goes on if the last turn did not come to its end.
    read_next: usize,
    stopping: bool,
    // Buffers that each turn uses again.
    read_buffer: Vec<u8>,
    /// Connections to look at, the next one last.
    ready: Vec<ConnId>,
    made: Vec<Made>,
    words: Vec<AskedWord>,
}

/// Transactions appended since the last sync was started, and their bytes.
#[derive(Default)]
struct Batch {
    txns: u64,
    bytes: u64,
    /// When the first of them was appended.
    since: Instant,
}

/// Where the roll of the log gets its random half from; the only randomness there is (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

impl Reactor {
    pub fn new(parts: Parts, dirs: &DataDirs, settings: Settings) -> Result<Reactor, Fatal> {
        let Parts { server, membership, host, log, listener, http, snapshot_owed } = parts;
        let poll = Poll::new().map_err(system("make a poll"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(system("make a waker"))?);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(system("handle signals"))?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(system("handle signals"))?;
        let mut listener = listener.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            poll.registry()
                .register(listener, LISTENER, Interest::READABLE)
                .map_err(system("listen for clients"))?;
        }
        let http = http::Http::new(poll.registry(), http).map_err(system("listen for HTTP"))?;
        let clock = host.clock;
        let now = clock.now();
        let log_share = membership.as_ref().map(|membership| membership.log_share_of_snapshot);
        let helpers =
            Helpers::start(dirs, settings.compression, settings.load, log_share, waker.clone(), clock)
                .map_err(system("start a thread"))?;
        let alone = membership.is_none();
        let ensemble = membership.map(|Membership { member, actions, peers, places, .. }| {
            Ensemble::new(member, actions, peers, places, snapshot_owed, waker)
        });
        let mut random = Random((now.wall.0 as u64) ^ (u64::from(std::process::id()) << 32) | 1);
        let schedule =
            SnapshotSchedule::new(settings.snap_count, settings.snap_size_limit_kib, random.next());
        let next_purge = settings.purge_every_ms.map(|_| now.mono);
        let mut reactor = Reactor {
            poll,
            events: Events::with_capacity(1024),
            signals,
            listener,
            accept_more: true,
            sockets: Slab::new(),
            sockets_max: descriptors::for_clients(descriptors::raise_limit()),
            full: false,
            tokens: Vec::new(),
            http,
            server,
            ensemble,
            host,
            log,
            schedule,
            random,
            helpers,
            settings,
            snapshot: snapshot::Progress::default(),
            batch: Batch::default(),
            sync_awaited: None,
            next_purge,
            unfinished: Vec::new(),
            read_next: 0,
            stopping: false,
            read_buffer: vec![0; READ_BUFFER],
            ready: Vec::new(),
            made: Vec::new(),
            words: Vec::new(),
        };
        if snapshot_owed && alone {
            // As Java does at every start: what was replayed now need not be replayed again.
            reactor.start_snapshot();
        }
        Ok(reactor)
    }

    /// Serves until a signal asks to stop, or something fatal happens.
    pub fn run(&mut self) -> Result<(), Fatal> {
        self.prepare_segment();
        while !self.stopping {
            self.turn()?;
        }
        self.finish()
    }

    /// Takes a snapshot of the tree as it is; it is written while the server works.
    fn start_snapshot(&mut self) {
        let with_last_zxid = self.settings.snapshot_last_zxid;
        self.snapshot.begin(&mut self.server, &self.helpers, with_last_zxid, false);
    }

    /// One turn: take what is ready, let the server decide, send.
    fn turn(&mut self) -> Result<(), Fatal> {
        self.wait()?;
        let now = self.host.clock.now();
        self.deliver_answers()?;
        self.server.commit(now.mono);
        self.take_events(now);
        self.read_peers(now)?;
        self.accept(now);
        self.read_unfinished(now);
        self.handle_timeouts(now)?;
        self.answer_words();
        self.append_to_log()?;
        self.pump_member(now)?;
        self.start_sync();
        self.write_links(now)?;
        self.write_ready();
        self.close_log_if_wanted()?;
        self.pay_snapshot();
        self.snapshot.advance(&mut self.server, &self.helpers, &self.host.clock, &self.log);
        self.purge_if_due(now.mono);
        self.note_turn(now.mono);
        self.stop_if_handed_over(now);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fatal> {
        let busy = !self.unfinished.is_empty()
            || self.has_ready()
            || self.accept_more
            || self.server.has_commits()
            || self.snapshot.wants_a_turn()
            || self.ensemble.as_ref().is_some_and(Ensemble::is_busy);
        let timeout = if busy {
            std::time::Duration::ZERO
        } else {
            let ensemble = self.ensemble.as_ref().and_then(Ensemble::next_timeout);
            let others = self.next_purge.into_iter().chain(ensemble);
            self.host.clock.until(others.fold(self.server.next_timeout(), Instant::min))
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => Err(system("poll")(e)),
            _ => Ok(()),
        }
    }

    /// Notes what is ready; reading waits for [`read_unfinished`](Reactor::read_unfinished).
    fn take_events(&mut self, now: Now) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKER => {} // The answers were fetched at the start of the turn.
                LISTENER => self.accept_more = true,
                SIGNALS => {
                    for signal in self.signals.pending().collect::<Vec<_>>() {
                        self.on_signal(now, signal);
                    }
                }
                Token(token) if token >= HTTP => {
                    let ensemble = self.ensemble.as_mut();
                    let mut inspector =
                        Inspector { server: &mut self.server, host: &mut self.host, ensemble };
                    self.http.event(self.poll.registry(), token, event, &mut inspector, now);
                }
                Token(token) if token >= peers::TOKENS => {
                    if let Some(ensemble) = &mut self.ensemble {
                        ensemble.on_event(self.poll.registry(), now, event, &mut self.server);
                    }
                }
                Token(token) => {
                    let Some(socket) = self.sockets.get_mut(token) else { continue };
                    if event.is_writable() {
                        socket.set_writable();
                        let conn = socket.conn;
                        if self.flush(token, conn) {
                            self.server.output_taken(now.mono, conn);
                        }
                        // Output that has left may be what kept this connection from being read.
                        self.resume(token);
                    }
                    let Some(socket) = self.sockets.get_mut(token) else { continue };
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        socket.readable = true;
                        socket.ending |= event.is_read_closed() || event.is_error();
                        self.unfinished.push(token);
                    }
                }
            }
        }
        self.events = events;
    }

    fn on_signal(&mut self, now: Now, signal: i32) {
        if signal == SIGUSR1 {
            log::info!("Received signal {signal}: another server shall lead, if this one does");
            self.tell(member::Event::HandOver);
        } else {
            log::info!("Received signal {signal}: shutting down");
            self.begin_to_stop(now);
        }
    }

    /// What peers sent comes before what clients did: it lets clients of the whole ensemble go on.
    fn read_peers(&mut self, now: Now) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        ensemble.read(self.poll.registry(), now, &mut self.read_buffer, &mut self.server)
    }

    fn handle_timeouts(&mut self, now: Now) -> Result<(), Fatal> {
        if self.server.next_timeout() <= now.mono {
            self.server.handle_timeouts(now);
        }
        match &mut self.ensemble {
            Some(ensemble) => ensemble.handle_timeouts(self.poll.registry(), now, &mut self.server),
            None => Ok(()),
        }
    }

    fn answer_words(&mut self) {
        let mut asked = std::mem::take(&mut self.words);
        self.server.take_words(&mut asked);
        for AskedWord { conn, word, argument } in asked.drain(..) {
            let ensemble = self.ensemble.as_mut();
            let mut inspector = Inspector { server: &mut self.server, host: &mut self.host, ensemble };
            let text = words::answer(word, &argument, &self.settings.whitelist, &mut inspector);
            self.server.answer_word(conn, &text);
        }
        self.words = asked;
    }

    /// A server that is alone appends what it made; a member's transactions go through the member.
    fn append_to_log(&mut self) -> Result<(), Fatal> {
        if self.ensemble.is_some() {
            return Ok(());
        }
        let mut made = std::mem::take(&mut self.made);
        self.server.take_made(&mut made);
        for made in made.drain(..) {
            // A server that serves alone makes nothing else.
            let Made::Txn(Append { zxid, payload }) = made else { continue };
            self.append(zxid, &payload)?;
        }
        self.made = made;
        Ok(())
    }

    fn append(&mut self, zxid: Zxid, payload: &[u8]) -> Result<(), Fatal> {
        assert!(self.log_is_open(), "nothing is appended while a member's history is being replaced");
        self.log.append(zxid, payload)?;
        self.server.metrics.sync_processor_request_queued += 1;
        if self.batch.txns == 0 {
            self.batch.since = self.host.clock.mono();
        }
        self.server.metrics.sync_processor_queue_size.add(self.batch.txns);
        self.batch.txns += 1;
        self.batch.bytes += payload.len() as u64;
        if self.schedule.is_due(self.log.counters()) {
            self.log.roll();
            self.schedule.redraw(self.random.next());
            if self.snapshot.is_running() {
                log::warn!("Too busy to snap, skipping");
            } else {
                self.start_snapshot();
            }
        }
        Ok(())
    }

    fn start_sync(&mut self) {
        if self.sync_awaited.is_some() {
            return;
        }
        if let Some(job) = self.log.sync_job() {
            let Batch { txns, bytes, since } = std::mem::take(&mut self.batch);
            self.sync_awaited = Some(since);
            self.host.sync_in_flight = true;
            self.server.metrics.sync_processor_batch_size.add(txns);
            self.server.metrics.log_sync_bytes.add(bytes);
            self.helpers.sync(SyncWork::Log(job));
        }
    }

    fn prepare_segment(&mut self) {
        if let Some(job) = self.log.prepare_job() {
            self.helpers.file(FileJob::Prepare(job));
        }
    }

    /// Hands what the helpers have finished to whoever waits for it.
    fn deliver_answers(&mut self) -> Result<(), Fatal> {
        while let Some(done) = self.helpers.answer() {
            self.deliver(done)?;
        }
        Ok(())
    }

    fn deliver(&mut self, done: Done) -> Result<(), Fatal> {
        match done {
            Done::Synced(done) => {
                let done = done?;
                self.log.sync_done(&done);
                let since = self.sync_awaited.take();
                self.host.sync_in_flight = false;
                self.note_sync(since, done.took, done.through);
                match self.ensemble {
                    None => self.server.committable(done.through),
                    Some(_) => self.tell(member::Event::LogSynced { through: done.through }),
                }
                if self.log_is_open() {
                    self.prepare_segment();
                }
            }
            Done::EpochWritten(file) => self.on_epoch_written(file?),
            Done::Loaded(state) => self.on_loaded(state?),
            Done::Located { link, meeting } => self.tell(member::Event::Located { link, meeting }),
            Done::LogPiece { link, piece } => self.on_log_piece(link, piece),
            Done::Prepared(ready) => self.log.segment_ready(ready?)?,
            Done::ChunkWritten(buffer) => self.snapshot.chunk_written(buffer?),
            Done::SnapshotFinished(file) => {
                let (view, latest) =
                    self.snapshot.finished(file?, &self.host.clock, &mut self.server.metrics);
                self.host.last_snapshot = Some(view);
                if latest {
                    self.on_image_saved();
                }
            }
            Done::Purged(Ok(())) => {}
            // Old files that stay are no danger; the next round tries again.
            Done::Purged(Err(error)) => log::error!("Purge failed: {error}"),
            Done::MembershipStored(Ok(())) => {}
            Done::MembershipStored(Err(error)) => {
                log::error!("The configuration files still have an older membership: {error}");
            }
            Done::ListensForClients { address, listener } => self.move_client_port(&address, listener),
        }
        Ok(())
    }

    /// A reconfiguration has given this server another client port. Connections that are there stay.
    fn move_client_port(&mut self, address: &HostPort, listener: io::Result<std::net::TcpListener>) {
        let mut listener = match listener {
            Ok(listener) => TcpListener::from_std(listener),
            Err(error) => {
                return log::error!("Cannot serve clients at {address}, staying where it was: {error}");
            }
        };
        if let Some(old) = &mut self.listener {
            let _ = self.poll.registry().deregister(old);
        }
        match self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE) {
            Ok(()) => log::info!("Serving clients at {address} from now on"),
            Err(error) => log::error!("Cannot watch the client port {address}: {error}"),
        }
        self.host.config.client_port = i32::from(address.port);
        self.listener = Some(listener);
        self.accept_more = true;
    }

    fn note_sync(&mut self, since: Option<Instant>, took: std::time::Duration, through: Zxid) {
        let now = self.host.clock.mono();
        let metrics = &mut self.server.metrics;
        metrics.fsynctime.add_nanos(took.as_nanos() as u64);
        metrics.sync_processor_queue_flush_time_ms.add_nanos(took.as_nanos() as u64);
        metrics
            .sync_processor_queue_and_flush_time_ms
            .add_nanos(since.map_or(0, |since| now.nanos_since(since)));
        let warning_ms = self.settings.sync_warning_ms;
        if took.as_millis() as u64 > warning_ms {
            metrics.stats.fsync_threshold_exceed_count += 1;
            log::warn!(
                "fsync-ing the write ahead log took {}ms (through zxid {through}), which will adversely affect operation latency; fsync.warningthresholdms is {warning_ms}",
                took.as_millis()
            );
        }
    }

    fn purge_if_due(&mut self, now: Instant) {
        let (Some(due), Some(every_ms)) = (self.next_purge, self.settings.purge_every_ms) else { return };
        if due <= now {
            self.next_purge = Some(now + Millis(every_ms));
            self.helpers.file(FileJob::Purge { snapshots_kept: self.settings.snapshots_kept });
        }
    }

    fn note_turn(&mut self, started: Instant) {
        let nanos = self.host.clock.mono().nanos_since(started);
        self.server.metrics.turn_time_ms.add_nanos(nanos);
        if nanos > SLOW_TURN_MS * 1_000_000 {
            self.server.metrics.slow_turn_count += 1;
            log::debug!("A turn took {} us", nanos / 1000);
        }
    }

    /// The end: what was accepted is made durable and answered, as far as it is in the log.
    fn finish(&mut self) -> Result<(), Fatal> {
        loop {
            while self.server.has_commits() {
                self.server.commit(self.host.clock.mono());
            }
            self.append_to_log()?;
            let now = self.host.clock.now();
            self.pump_member(now)?;
            self.start_sync();
            self.write_links(now)?;
            if self.sync_awaited.is_none() {
                break;
            }
            let done = self.helpers.wait();
            self.deliver(done)?;
        }
        while self.has_ready() {
            self.write_ready();
        }
        self.log.close()?;
        log::info!("Shut down at zxid {}", self.server.last_zxid());
        Ok(())
    }
}
