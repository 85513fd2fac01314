//! One server: the machines, and around them a shell that does what the real one does, on simulated time.
//!
//! A [`Node`] outlives its lives: it keeps the disk. A [`Shell`] is one life, from loading its files to a crash. What a
//! shell wants done by the helper threads it puts in one of two lanes, as the real one does; the world says when a job's
//! time is over, and only then is it done. A crash before that finds it not done, or half done.
//!
//! # Invariants
//!
//! 1. Actions of the member are carried out in their order.
//! 2. The log is closed from [`Action::LoadState`] and [`Action::SaveImage`] until those are done, and nothing is
//!    appended meanwhile.
//! 3. At most one sync of the log is under way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::disk::FaultyDisk;
use super::history::History;
use super::network::{Arrival, End, Network, Place, Port};
use crate::ids::{ServerId, Zxid};
use crate::member::{Action, DialId, Event, LinkId, Loaded, Member, Settings};
use crate::quorum::connections::{self, ConnId as ElectionId};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::quorum::zab::packet::Entry;
use crate::quorum::zab::window::Meeting;
use crate::server::{Close, ConnId, Options, Server, Serving};
use crate::state::{self, Epochs, LoadSettings, State};
use crate::storage::memory::MemoryDisk;
use crate::storage::{
    Compression, DataDirs, EpochFile, HistoryError, HistoryReader, LogOptions, Piece, PrepareJob,
    SnapshotWriter, StorageError, SyncJob, TxnLog, history, replace_history, truncate_after,
};
use crate::time::{Instant, Now, WallMillis};
use crate::tree::CursorId;

/// Frames of one connection that are handled before the others have their turn.
const FRAMES_PER_TURN: usize = 16;

/// `observerMasterPort`
pub const MASTER_PORT: u16 = 2191;

/// A turn that goes round so often never comes to rest.
const ROUNDS_MAX: usize = 10_000;

/// The shell's settings, the same for all servers.
#[derive(Clone, Debug)]
pub struct Setup {
    pub log: LogOptions,
    pub load: LoadSettings,
    /// Transactions between two snapshots.
    pub snapshot_every: u64,
    /// Bytes of a snapshot that are made at a time.
    pub slice: usize,
    /// Bytes of the log that are read for a learner at a time.
    pub piece: usize,
    /// `snapshotSizeFactor`; negative: learners are never sent the log files.
    pub log_share: f64,
    pub sabotage: Option<Sabotage>,
}

/// A defect that a shell can be given on purpose, to see that it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Syncs of the log are reported and not done.
    NoSync,
    /// An image stands beside the old history instead of taking its place (B5).
    OldLogUnderImage,
    /// Epochs are reported as written and are not.
    NoEpochs,
    /// Memberships are not written.
    NoMemberships,
    /// A sync of the log is reported when it begins.
    EarlySync,
    /// A snapshot does not wait for the log.
    SnapshotAheadOfLog,
}

/// Which helper thread does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Syncs,
    Files,
    History,
}

/// What a shell asks of the world.
#[derive(Debug)]
pub enum Order {
    /// `dial` is the answer's name, where answers may be mistaken.
    Dial { to: usize, port: Port, dial: DialId },
    /// Pieces arrive at this end at these times.
    Arrivals { end: End, at: Vec<u64> },
    /// The lane has a job and had none.
    Work(Lane),
}

/// What a turn works with.
pub struct Turn<'a> {
    /// World time in nanoseconds.
    pub now: u64,
    pub network: &'a mut Network,
    pub history: &'a mut History,
    pub orders: &'a mut Vec<Order>,
}

/// Why a life ends by itself.
#[derive(Debug)]
pub enum Stop {
    Storage(StorageError),
    /// The power went in the middle of a job.
    PowerCut,
}

pub struct Node {
    pub sid: ServerId,
    pub place: usize,
    /// What the disk holds; a crash replaces it.
    pub disk: MemoryDisk,
    /// What its configuration files say between two lives.
    pub views: Views,
    pub shell: Option<Box<Shell>>,
    /// Counts the lives.
    pub life: u64,
    pub paused_until: u64,
    /// How far the wall clock is off, in milliseconds.
    pub skew_ms: i64,
    /// Jobs take so many times as long.
    pub disk_slowness: u64,
}

impl Node {
    pub fn new(place: usize, membership: Membership) -> Node {
        Node {
            sid: ServerId(place as i64 + 1),
            place,
            disk: MemoryDisk::new(),
            views: Views::new(membership),
            shell: None,
            life: 0,
            paused_until: 0,
            skew_ms: 0,
            disk_slowness: 1,
        }
    }

    /// Whether its configuration files have it in their list. If not, the server does not start, as in Java.
    pub fn is_member(&self) -> bool {
        self.views.committed().servers.contains_key(&self.sid)
    }

    pub fn now(&self, world: u64) -> Now {
        // Each life has its own zero of the monotonic clock.
        let mono = Instant(world + self.mono_offset());
        Now { mono, wall: WallMillis(1_700_000_000_000 + (world / 1_000_000) as i64 + self.skew_ms) }
    }

    pub fn mono_offset(&self) -> u64 {
        1_000_000_000_000 * (1 + self.life % 7)
    }

    /// Loads the files and begins a life.
    pub fn start(
        &mut self,
        turn: &mut Turn<'_>,
        options: Options,
        settings: Settings,
        setup: Setup,
    ) -> Result<(), Stop> {
        self.life += 1;
        let now = self.now(turn.now);
        let disk = FaultyDisk::new(self.disk.clone());
        let dirs = DataDirs::with_disk(Path::new("/data"), Path::new("/data"), Arc::new(disk.clone()));
        let shell = Shell::start(now, turn, disk, dirs, options, settings, setup)?;
        self.shell = Some(Box::new(shell));
        Ok(())
    }
}

enum SyncWork {
    Log(SyncJob),
    Epoch(EpochFile, i64),
    Membership(Box<Views>),
}

enum FileJob {
    Prepare(PrepareJob),
    Load {
        truncate_to: Option<Zxid>,
    },
    SnapshotBegin {
        number: u64,
        zxid: Zxid,
    },
    SnapshotChunk {
        number: u64,
        bytes: Vec<u8>,
    },
    /// `image`: it takes the place of the whole history.
    SnapshotFinish {
        number: u64,
        seal: (Zxid, Option<u64>),
        image: Option<Zxid>,
    },
}

enum HistoryJob {
    Locate { link: LinkId, zxid: Zxid },
    Open { link: LinkId, after: Zxid, before: Zxid },
    Next(LinkId),
}

/// What waits for the log to be closed.
enum Closing {
    ToLoad { truncate_to: Option<Zxid> },
    ToSave { through: Zxid },
}

/// A snapshot in the making.
struct Snapshot {
    number: u64,
    cursor: CursorId,
    /// The image of a leader, for which the member waits, and where the log goes on behind it.
    image: Option<Zxid>,
    sealed: bool,
    /// The end of the file, until the log is durable to there.
    held: Option<(Zxid, FileJob)>,
}

struct Peer {
    out: Vec<u8>,
    /// Close once everything has left.
    closing: bool,
}

struct Caller {
    conn: ConnId,
    unread: Vec<u8>,
}

/// One life of a server.
pub struct Shell {
    me: ServerId,
    pub server: Server,
    pub member: Member,
    pub disk: FaultyDisk,
    dirs: DataDirs,
    setup: Setup,
    log: TxnLog,
    closing: Option<Closing>,
    /// The log is closed, or about to be.
    log_closed: bool,
    /// The tree is being replaced: no snapshot is written.
    snapshots_held: bool,
    /// Once clients are served: what was replayed at the start need not be replayed again.
    snapshot_owed: bool,
    /// The end of the history on disk and in memory, as far as the log goes.
    log_end: Zxid,
    since_snapshot: u64,
    /// A sync of the log is under way.
    syncing: bool,
    syncs: VecDeque<SyncWork>,
    files: VecDeque<FileJob>,
    histories: VecDeque<HistoryJob>,
    /// Lanes with a job whose time has begun.
    runs: [bool; 3],
    snapshot: Option<Snapshot>,
    snapshots: u64,
    writer: Option<(u64, SnapshotWriter)>,
    readers: BTreeMap<LinkId, HistoryReader>,
    /// The port at which it waits for learners, if it does.
    pub listens: Option<u16>,
    callers: BTreeMap<End, Caller>,
    ends: BTreeMap<ConnId, End>,
    peers: BTreeMap<End, Peer>,
    /// Those with something to send.
    ready_peers: Vec<End>,
    links: BTreeMap<End, ()>,
    /// What was shown to the history last.
    shown: (Zxid, Serving),
    /// What the configuration files say.
    pub stored: Views,
    /// How often its log was cut.
    pub cuts: u64,
    leads: bool,
    failed: Option<Stop>,
}

impl Shell {
    fn start(
        now: Now,
        turn: &mut Turn<'_>,
        disk: FaultyDisk,
        dirs: DataDirs,
        options: Options,
        settings: Settings,
        setup: Setup,
    ) -> Result<Shell, Stop> {
        let (me, stored) = (settings.me, settings.views.clone());
        let stop = |error| if disk.is_off() { Stop::PowerCut } else { Stop::Storage(error) };
        let mut state = state::load(&dirs, &setup.load, || Duration::ZERO).map_err(stop)?;
        let epochs = state::epochs(&dirs, state.last_zxid()).map_err(stop)?;
        if state.base_missing {
            state.write_snapshot(&dirs, Compression::None, true).map_err(stop)?;
        }
        let State { tree, sessions, newest, may_vote, replayed, .. } = state;
        let log_end = tree.last_zxid();
        let mut server = Server::new(options, tree, sessions, now);
        let log = TxnLog::new(&dirs, setup.log, log_end);
        let mut actions = Vec::new();
        let loaded = Loaded { newest, may_vote };
        let member = Member::new(now, settings, epochs, loaded, &mut server, &mut actions);
        let mut shell = Shell {
            me,
            server,
            member,
            disk,
            dirs,
            setup,
            log,
            closing: None,
            log_closed: false,
            snapshots_held: false,
            snapshot_owed: replayed > 0,
            log_end,
            since_snapshot: 0,
            syncing: false,
            syncs: VecDeque::new(),
            files: VecDeque::new(),
            histories: VecDeque::new(),
            runs: [false; 3],
            snapshot: None,
            snapshots: 0,
            writer: None,
            readers: BTreeMap::new(),
            listens: None,
            callers: BTreeMap::new(),
            ends: BTreeMap::new(),
            peers: BTreeMap::new(),
            ready_peers: Vec::new(),
            links: BTreeMap::new(),
            shown: (Zxid(-2), Serving::No),
            stored,
            cuts: 0,
            leads: false,
            failed: None,
        };
        shell.check_epochs(turn.history);
        shell.prepare_segment();
        shell.carry_out(turn, actions);
        Ok(shell)
    }

    /// What recovery may rely on (quorum-protocol, 6.3).
    fn check_epochs(&self, history: &mut History) {
        let Epochs { current, accepted } = self.member.epochs();
        let (current, accepted, end) = (current.0, accepted.0, self.log_end.epoch());
        if current > accepted || end > current {
            history.fail(format_args!(
                "server {} starts with currentEpoch {current}, acceptedEpoch {accepted} and history up to {}",
                self.me, self.log_end
            ));
        }
    }

    /// When it wants to be woken, in its own time.
    pub fn next_timeout(&self) -> Instant {
        self.member.next_timeout().into_iter().fold(self.server.next_timeout(), Instant::min)
    }

    pub fn on_timeout(&mut self, now: Now, turn: &mut Turn<'_>) {
        if self.member.next_timeout().is_some_and(|at| at <= now.mono) {
            self.tell(now, turn, Event::Timeout);
        }
        if self.server.next_timeout() <= now.mono {
            self.server.handle_timeouts(now);
        }
    }

    /// Gives the member an event and does what it wants.
    pub fn tell(&mut self, now: Now, turn: &mut Turn<'_>, event: Event<'_>) {
        let mut actions = Vec::new();
        self.member.handle(now, event, &mut self.server, &mut actions);
        self.carry_out(turn, actions);
    }

    /// A connection to one of the ports.
    pub fn on_accepted(&mut self, now: Now, turn: &mut Turn<'_>, end: End, port: Port, from: Place) {
        match port {
            Port::Client => {
                let Place::Client(client) = from else { unreachable!("servers have no sessions") };
                let peer = SocketAddr::from(([10, 0, 1, client as u8], 1000 + (end.0 % 50_000) as u16));
                match self.server.connected(now, peer) {
                    Some(conn) => {
                        self.callers.insert(end, Caller { conn, unread: Vec::new() });
                        self.ends.insert(conn, end);
                    }
                    None => self.hang_up(turn, end),
                }
            }
            Port::Learners(_) => {
                self.links.insert(end, ());
                self.tell(now, turn, Event::LearnerConnected(LinkId(end.0)));
            }
            Port::Election => {
                self.peers.insert(end, Peer { out: Vec::new(), closing: false });
                self.tell(now, turn, Event::Election(connections::Event::Accepted(ElectionId(end.0))));
            }
        }
    }

    /// The outcome of a dial.
    pub fn on_dialed(
        &mut self,
        now: Now,
        turn: &mut Turn<'_>,
        (to, port, dial): (usize, Port, DialId),
        end: Option<End>,
    ) {
        let sid = ServerId(to as i64 + 1);
        match (port, end) {
            (Port::Election, Some(end)) => {
                self.peers.insert(end, Peer { out: Vec::new(), closing: false });
                let event = connections::Event::Dialed { to: sid, conn: ElectionId(end.0) };
                self.tell(now, turn, Event::Election(event));
            }
            (Port::Election, None) => {
                self.tell(now, turn, Event::Election(connections::Event::DialFailed { to: sid }));
            }
            // The real shell gives up a dial when there is another; here the member sees for itself.
            (Port::Learners(_), Some(end)) => {
                self.links.insert(end, ());
                self.tell(now, turn, Event::LeaderDialed { dial, link: LinkId(end.0) });
            }
            (Port::Learners(_), None) => self.tell(now, turn, Event::LeaderDialFailed(dial)),
            (Port::Client, _) => unreachable!("servers have no sessions"),
        }
    }

    pub fn on_arrival(&mut self, now: Now, turn: &mut Turn<'_>, end: End, arrival: Arrival) {
        if let Some(caller) = self.callers.get_mut(&end) {
            match arrival {
                Arrival::Bytes(bytes) => {
                    caller.unread.extend_from_slice(&bytes);
                    self.read(now, end);
                }
                Arrival::Closed => self.drop_caller(end),
            }
        } else if self.peers.contains_key(&end) {
            let conn = ElectionId(end.0);
            match arrival {
                Arrival::Bytes(bytes) => {
                    let event = connections::Event::Received { conn, bytes: &bytes };
                    self.tell(now, turn, Event::Election(event));
                }
                Arrival::Closed => {
                    self.peers.remove(&end);
                    self.tell(now, turn, Event::Election(connections::Event::Closed(conn)));
                }
            }
        } else if self.links.contains_key(&end) {
            let link = LinkId(end.0);
            match arrival {
                Arrival::Bytes(bytes) => self.tell(now, turn, Event::Received { link, bytes: &bytes }),
                Arrival::Closed => {
                    self.links.remove(&end);
                    self.readers.remove(&link);
                    self.tell(now, turn, Event::Closed(link));
                }
            }
        }
    }

    /// There is room again on a connection that had none.
    pub fn on_room(&mut self, now: Now, turn: &mut Turn<'_>, end: End) {
        if self.peers.contains_key(&end) {
            self.write_peer(now, turn, end);
        } else if self.links.contains_key(&end) {
            self.write_link(now, turn, LinkId(end.0));
        } else if let Some(conn) = self.callers.get(&end).map(|caller| caller.conn) {
            if self.write_caller(turn, conn) {
                self.server.output_taken(now.mono, conn);
            }
            self.read(now, end);
        }
    }

    fn read(&mut self, now: Now, end: End) {
        while let Some(caller) = self.callers.get_mut(&end) {
            let unread = std::mem::take(&mut caller.unread);
            let input = self.server.input(now, caller.conn, &unread, FRAMES_PER_TURN);
            caller.unread = unread[input.consumed..].to_vec();
            if !input.more {
                return;
            }
        }
    }

    fn drop_caller(&mut self, end: End) {
        if let Some(caller) = self.callers.remove(&end) {
            self.ends.remove(&caller.conn);
            self.server.disconnected(caller.conn);
        }
    }

    fn hang_up(&mut self, turn: &mut Turn<'_>, end: End) {
        if let Some(at) = turn.network.close(turn.now, end) {
            turn.orders.push(Order::Arrivals { end: end.other(), at: vec![at] });
        }
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, actions: Vec<Action>) {
        for action in actions {
            if self.failed.is_some() {
                return;
            }
            match action {
                Action::DialElection { to, .. } => {
                    turn.orders.push(Order::Dial {
                        to: to.0 as usize - 1,
                        port: Port::Election,
                        dial: DialId(0),
                    });
                }
                Action::SendElection { conn, bytes } => {
                    let end = End(conn.0);
                    if let Some(peer) = self.peers.get_mut(&end) {
                        peer.out.extend_from_slice(&bytes);
                        self.ready_peers.push(end);
                    }
                }
                Action::CloseElection { conn } => {
                    let end = End(conn.0);
                    if let Some(peer) = self.peers.get_mut(&end) {
                        peer.closing = true;
                        self.ready_peers.push(end);
                    }
                }
                Action::Listen { addresses } => self.listens = Some(addresses[0].port),
                Action::StopListening => self.listens = None,
                Action::DialLeader { dial, addresses } => {
                    let to: usize = addresses[0].host[1..].parse().expect("hosts are called s1, s2, …");
                    turn.orders.push(Order::Dial {
                        to: to - 1,
                        port: Port::Learners(addresses[0].port),
                        dial,
                    });
                }
                Action::CloseLink(link) => {
                    let end = End(link.0);
                    self.readers.remove(&link);
                    if self.links.remove(&end).is_some() {
                        self.hang_up(turn, end);
                    }
                }
                Action::Append(entry) => self.append(turn, entry),
                Action::PersistEpoch(file, epoch) => self.syncs.push_back(SyncWork::Epoch(file, epoch)),
                Action::LoadState { truncate_to } => {
                    self.log_closed = true;
                    self.closing = Some(Closing::ToLoad { truncate_to });
                }
                Action::ImageBegins => {
                    self.snapshots_held = true;
                    self.abandon_snapshot();
                }
                Action::AbandonSnapshot => self.abandon_snapshot(),
                Action::SaveImage { through } => {
                    self.log_closed = true;
                    self.closing = Some(Closing::ToSave { through });
                }
                Action::Membership(views) => self.syncs.push_back(SyncWork::Membership(views)),
                Action::Locate { link, zxid } => self.histories.push_back(HistoryJob::Locate { link, zxid }),
                Action::OpenLog { link, after, before } => {
                    self.histories.push_back(HistoryJob::Open { link, after, before });
                }
                Action::NextPiece(link) => self.histories.push_back(HistoryJob::Next(link)),
            }
        }
    }

    fn append(&mut self, turn: &mut Turn<'_>, entry: Entry) {
        // What a leader proposed before it gave up in the same turn is still its own.
        if self.server.serving() == Serving::Leading {
            self.note_reign(turn.history);
        }
        let leads = self.leads;
        turn.history.appended(self.me, self.log_end, entry.zxid, &entry.payload, leads);
        self.log_end = entry.zxid;
        if self.log_closed {
            return turn.history.fail(format_args!("server {} appends to a log that is closed", self.me));
        }
        if let Err(error) = self.log.append(entry.zxid, &entry.payload) {
            return self.fail(error);
        }
        self.since_snapshot += 1;
        if self.since_snapshot >= self.setup.snapshot_every && self.snapshot.is_none() && !self.snapshots_held
        {
            self.since_snapshot = 0;
            self.log.roll();
            self.begin_snapshot(None);
        }
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.setup.sabotage == Some(sabotage)
    }

    /// Whether the next job of the thread of files is to load the state.
    pub fn loads_next(&self) -> bool {
        matches!(self.files.front(), Some(FileJob::Load { .. }))
    }

    /// Whether an epoch is about to be written.
    pub fn writes_epoch_next(&self) -> bool {
        matches!(self.syncs.front(), Some(SyncWork::Epoch(..)))
    }

    /// Whether a leader's image is being saved.
    pub fn saves_image(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.image.is_some())
    }

    /// The end of its log.
    pub fn log_end(&self) -> Zxid {
        self.log_end
    }

    /// Whether a sync of its log is under way.
    pub fn syncs_log(&self) -> bool {
        self.syncing
    }

    /// What of its log is durable.
    pub fn log_synced(&self) -> Zxid {
        self.log.synced()
    }

    fn fail(&mut self, error: StorageError) {
        let stop = if self.disk.is_off() { Stop::PowerCut } else { Stop::Storage(error) };
        self.failed.get_or_insert(stop);
    }

    /// Closes the log if that is wanted and everything in it is on disk.
    fn close_log_if_wanted(&mut self) {
        if self.syncing {
            return;
        }
        let Some(closing) = self.closing.take() else { return };
        if let Err(error) = self.log.close() {
            return self.fail(error);
        }
        match closing {
            Closing::ToLoad { truncate_to } => self.files.push_back(FileJob::Load { truncate_to }),
            Closing::ToSave { through } => self.begin_snapshot(Some(through)),
        }
    }

    fn open_log(&mut self, last: Zxid) {
        self.log.continue_after(last);
        self.log_closed = false;
        self.snapshots_held = false;
        self.log_end = last;
        self.prepare_segment();
    }

    fn prepare_segment(&mut self) {
        self.files.extend(self.log.prepare_job().map(FileJob::Prepare));
    }

    fn start_sync(&mut self, now: Now, turn: &mut Turn<'_>) {
        if self.syncing {
            return;
        }
        if let Some(job) = self.log.sync_job() {
            let through = job.through();
            self.syncing = true;
            self.syncs.push_back(SyncWork::Log(job));
            if self.is(Sabotage::EarlySync) {
                self.tell(now, turn, Event::LogSynced { through });
            }
        }
    }

    fn begin_snapshot(&mut self, image: Option<Zxid>) {
        self.abandon_snapshot();
        let mut bytes = Vec::new();
        let (cursor, zxid) = self.server.snapshot_begin(&mut bytes);
        self.snapshots += 1;
        let number = self.snapshots;
        self.snapshot = Some(Snapshot { number, cursor, image, sealed: false, held: None });
        self.files.push_back(FileJob::SnapshotBegin { number, zxid });
        self.files.push_back(FileJob::SnapshotChunk { number, bytes });
    }

    /// What is sealed is written all the same, unless it waits for the log.
    fn abandon_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot.take()
            && !snapshot.sealed
        {
            self.server.snapshot_abandon(snapshot.cursor);
        }
    }

    /// Another server shall lead, if this one does.
    pub fn hand_over(&mut self, now: Now, turn: &mut Turn<'_>) {
        self.tell(now, turn, Event::HandOver);
    }

    /// A job of the lane has had its time: it is done now.
    pub fn work(&mut self, now: Now, turn: &mut Turn<'_>, lane: Lane) {
        self.runs[lane as usize] = false;
        let done = match lane {
            Lane::Syncs => self.syncs.pop_front().map(|work| self.do_sync(now, turn, work)),
            Lane::Files => self.files.pop_front().map(|job| self.do_file(now, turn, job)),
            Lane::History => self.histories.pop_front().map(|job| self.do_history(now, turn, job)),
        };
        if let Some(Err(error)) = done {
            self.fail(error);
        }
    }

    fn do_sync(&mut self, now: Now, turn: &mut Turn<'_>, work: SyncWork) -> Result<(), StorageError> {
        match work {
            SyncWork::Log(job) => {
                let through = match self.is(Sabotage::NoSync) {
                    true => self.log.appended(),
                    false => {
                        let done = job.run(|| Duration::ZERO)?;
                        self.log.sync_done(&done);
                        done.through
                    }
                };
                self.syncing = false;
                self.finish_snapshot();
                if !self.is(Sabotage::EarlySync) {
                    self.tell(now, turn, Event::LogSynced { through });
                }
                self.prepare_segment();
            }
            SyncWork::Epoch(file, epoch) => {
                if !self.is(Sabotage::NoEpochs) {
                    file.write(&self.dirs, epoch)?;
                }
                self.tell(now, turn, Event::EpochPersisted(file));
            }
            SyncWork::Membership(views) => {
                if !self.is(Sabotage::NoMemberships) {
                    self.stored = *views;
                }
            }
        }
        Ok(())
    }

    fn do_file(&mut self, now: Now, turn: &mut Turn<'_>, job: FileJob) -> Result<(), StorageError> {
        match job {
            FileJob::Prepare(job) => {
                let ready = job.run()?;
                self.log.segment_ready(ready)?;
            }
            FileJob::Load { truncate_to } => {
                if let Some(zxid) = truncate_to {
                    truncate_after(&self.dirs, &self.setup.load.files, zxid)?;
                    self.cuts += 1;
                }
                let state = state::load(&self.dirs, &self.setup.load, || Duration::ZERO)?;
                self.open_log(state.tree.last_zxid());
                self.tell(now, turn, Event::StateLoaded(Box::new(state)));
            }
            FileJob::SnapshotBegin { number, zxid } => {
                self.writer = Some((number, SnapshotWriter::create(&self.dirs, zxid, Compression::None)?));
            }
            FileJob::SnapshotChunk { number, bytes } => {
                if let Some((_, writer)) = self.writer.as_mut().filter(|(of, _)| *of == number) {
                    writer.write_chunk(&bytes)?;
                }
                self.next_chunk(number)?;
            }
            FileJob::SnapshotFinish { number, seal: (zxid, digest), image } => {
                let Some((_, writer)) = self.writer.take_if(|(of, _)| *of == number) else { return Ok(()) };
                let digest = digest.map(|digest| (zxid, digest));
                match image {
                    Some(_) if !self.is(Sabotage::OldLogUnderImage) => {
                        drop(replace_history(
                            &self.dirs,
                            &self.setup.load.files,
                            writer,
                            digest,
                            Some(zxid),
                        )?);
                    }
                    _ => drop(writer.finish(digest, Some(zxid))?),
                }
                let wanted = self.snapshot.take_if(|snapshot| snapshot.number == number);
                if let Some(through) = wanted.and_then(|snapshot| snapshot.image) {
                    self.open_log(through);
                    self.tell(now, turn, Event::ImageSaved);
                }
            }
        }
        Ok(())
    }

    /// Goes on with a snapshot; what was given up is forgotten.
    fn next_chunk(&mut self, number: u64) -> Result<(), StorageError> {
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| snapshot.number == number) else {
            self.writer.take_if(|(of, _)| *of == number);
            return Ok(());
        };
        let mut bytes = Vec::new();
        let all = self.server.snapshot_slice(snapshot.cursor, &mut bytes, self.setup.slice);
        if !all {
            self.files.push_back(FileJob::SnapshotChunk { number, bytes });
            return Ok(());
        }
        snapshot.sealed = true;
        let (seal, image) = (self.server.snapshot_seal(), snapshot.image);
        if let Some((_, writer)) = self.writer.as_mut().filter(|(of, _)| *of == number) {
            writer.write_chunk(&bytes)?;
        }
        let through = seal.0.min(self.log.appended());
        snapshot.held = Some((through, FileJob::SnapshotFinish { number, seal, image }));
        self.finish_snapshot();
        Ok(())
    }

    /// Ends the file once the log is durable to where it went when the last part was written.
    fn finish_snapshot(&mut self) {
        let early = self.is(Sabotage::SnapshotAheadOfLog);
        let synced = if early { self.log.appended() } else { self.log.synced() };
        let held = self.snapshot.as_mut().and_then(|snapshot| snapshot.held.take_if(|held| held.0 <= synced));
        self.files.extend(held.map(|(_, finish)| finish));
    }

    fn do_history(&mut self, now: Now, turn: &mut Turn<'_>, job: HistoryJob) -> Result<(), StorageError> {
        match job {
            HistoryJob::Locate { link, zxid } => {
                let meeting = self.locate(zxid)?;
                self.tell(now, turn, Event::Located { link, meeting });
            }
            HistoryJob::Open { link, after, before } => {
                let opened = HistoryReader::open(&self.dirs, &self.setup.load.files, after, before);
                self.read_piece(now, turn, link, opened);
            }
            HistoryJob::Next(link) => {
                if let Some(reader) = self.readers.remove(&link) {
                    self.read_piece(now, turn, link, Ok(reader));
                }
            }
        }
        Ok(())
    }

    fn locate(&self, zxid: Zxid) -> Result<Option<Meeting>, StorageError> {
        if self.setup.log_share < 0.0 {
            return Ok(None);
        }
        let bytes_max = history::bytes_max(&self.dirs, self.setup.log_share)?;
        let met = history::locate(&self.dirs, &self.setup.load.files, zxid, Zxid(i64::MAX), bytes_max)?;
        Ok(met.map(|(before, at_or_after)| Meeting { before, at_or_after }))
    }

    fn read_piece(
        &mut self,
        now: Now,
        turn: &mut Turn<'_>,
        link: LinkId,
        reader: Result<HistoryReader, HistoryError>,
    ) {
        let piece = reader.and_then(|mut reader| {
            let piece = reader.next_piece(self.setup.piece)?;
            if !piece.end {
                self.readers.insert(link, reader);
            }
            Ok(piece)
        });
        self.tell(
            now,
            turn,
            match piece {
                Ok(Piece { entries, end }) => Event::LogPiece { link, entries, end },
                Err(_) => Event::LogBroken(link),
            },
        );
    }

    /// What a turn ends with: everything that can go on now goes on.
    pub fn finish_turn(&mut self, now: Now, turn: &mut Turn<'_>) -> Result<(), Stop> {
        for round in 0.. {
            if let Some(stop) = self.failed.take() {
                return Err(stop);
            }
            if round == ROUNDS_MAX {
                turn.history.fail(format_args!("a turn of server {} never comes to rest", self.me));
                break;
            }
            while self.server.has_commits() {
                self.server.commit(now.mono);
            }
            let mut actions = Vec::new();
            self.member.pump(now, &mut self.server, &mut actions);
            let mut busy = !actions.is_empty();
            self.carry_out(turn, actions);
            self.start_sync(now, turn);
            self.close_log_if_wanted();
            let peers = std::mem::take(&mut self.ready_peers);
            busy |= !peers.is_empty();
            for end in peers {
                self.write_peer(now, turn, end);
            }
            let mut links = Vec::new();
            self.member.take_ready(&mut links);
            busy |= !links.is_empty();
            for link in links {
                self.write_link(now, turn, link);
            }
            let mut ready = Vec::new();
            self.server.take_ready(&mut ready);
            busy |= !ready.is_empty();
            for conn in ready {
                self.look_at(now, turn, conn);
            }
            if !busy && !self.server.has_commits() {
                break;
            }
        }
        if self.snapshot_owed && self.server.serving() != Serving::No && !self.snapshots_held {
            self.snapshot_owed = false;
            if self.snapshot.is_none() {
                self.begin_snapshot(None);
            }
        }
        let waiting = [!self.syncs.is_empty(), !self.files.is_empty(), !self.histories.is_empty()];
        for lane in [Lane::Syncs, Lane::Files, Lane::History] {
            if waiting[lane as usize] && !std::mem::replace(&mut self.runs[lane as usize], true) {
                turn.orders.push(Order::Work(lane));
            }
        }
        self.show(turn.history);
        Ok(())
    }

    fn look_at(&mut self, now: Now, turn: &mut Turn<'_>, conn: ConnId) {
        let Some(&end) = self.ends.get(&conn) else { return };
        let close = self.server.close_wanted(conn);
        if close == Close::Now {
            self.drop_caller(end);
            return self.hang_up(turn, end);
        }
        self.write_caller(turn, conn);
        if close == Close::AfterFlush && self.server.output(conn).is_none_or(|out| out.is_empty()) {
            self.drop_caller(end);
            return self.hang_up(turn, end);
        }
        self.read(now, end);
    }

    /// True if the client took anything.
    fn write_caller(&mut self, turn: &mut Turn<'_>, conn: ConnId) -> bool {
        let Some(&end) = self.ends.get(&conn) else { return false };
        let Some(out) = self.server.output(conn) else { return false };
        let at = turn.network.send(turn.now, end, out);
        let any = !at.is_empty();
        turn.orders.push(Order::Arrivals { end: end.other(), at });
        any
    }

    fn write_peer(&mut self, now: Now, turn: &mut Turn<'_>, end: End) {
        let Some(peer) = self.peers.get_mut(&end) else { return };
        let had = !peer.out.is_empty();
        let at = turn.network.send(turn.now, end, &mut peer.out);
        turn.orders.push(Order::Arrivals { end: end.other(), at });
        let (left, closing) = (!peer.out.is_empty(), peer.closing);
        if left {
            return;
        }
        if closing {
            self.peers.remove(&end);
            return self.hang_up(turn, end);
        }
        if had {
            self.tell(now, turn, Event::Election(connections::Event::Written(ElectionId(end.0))));
        }
    }

    fn write_link(&mut self, now: Now, turn: &mut Turn<'_>, link: LinkId) {
        let end = End(link.0);
        let mut actions = Vec::new();
        let mut wrote = false;
        if let Some(out) = self.member.output(now, link, &mut self.server, &mut actions) {
            let at = turn.network.send(turn.now, end, out);
            wrote = !at.is_empty();
            turn.orders.push(Order::Arrivals { end: end.other(), at });
        }
        if wrote {
            self.member.written(now, link, &mut self.server, &mut actions);
        }
        self.carry_out(turn, actions);
    }

    fn note_reign(&mut self, history: &mut History) {
        let leads = self.server.serving() == Serving::Leading;
        if leads && !self.leads {
            history.established(self.me, self.server.last_zxid().epoch(), self.log_end);
        }
        self.leads = leads;
    }

    /// Shows the history where this server stands.
    fn show(&mut self, history: &mut History) {
        self.note_reign(history);
        let serving = self.server.serving();
        let zxid = self.server.last_zxid();
        if self.shown == (zxid, serving) {
            return;
        }
        self.shown = (zxid, serving);
        let serves = !matches!(serving, Serving::No | Serving::ReadOnly);
        if serves || self.member.is_looking() {
            history.state(self.me, zxid, self.server.tree().digest(), serves);
        }
        let mismatches = self.server.metrics.digest_mismatches_count;
        if mismatches > 0 {
            history.fail(format_args!("server {} has found {mismatches} digests that do not match", self.me));
        }
    }

    /// How often it has sent transactions to a learner that was behind, and images, and how often its log was cut.
    pub fn syncs(&self) -> [u64; 3] {
        let metrics = &self.server.metrics;
        [metrics.diff_count, metrics.snap_count, self.cuts]
    }
}
