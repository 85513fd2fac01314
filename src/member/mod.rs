//! A member of an ensemble: elections, roles and links around one [`Server`].
//!
//! A member looks for a leader, leads or follows, and looks again; this is where the machines of [`quorum`](crate::quorum)
//! meet the server's. Like them it is handed time and events and pushes actions for its shell.
//!
//! ```text
//!            Elected: me                     Elected: another
//!   Leading <------------- Looking -------------------> Connecting ---> Learning
//!      |                      ^                             |              |
//!      +----> Settling -------+<----------------------------+<- Settling <-+
//! ```
//!
//! | role | is left when |
//! |---|---|
//! | [`Role::Looking`] | the elector knows a leader |
//! | [`Role::Connecting`] | the leader's quorum port answers, or does not for too long |
//! | [`Role::Learning`] | the [`Learner`] ends: disconnected, silence, a broken stream |
//! | [`Role::Leading`] | the [`Leader`] steps down |
//! | [`Role::Settling`] | the log is drained, no helper job is under way, and the tree has all that the log has |
//!
//! # Invariants
//!
//! 1. A member votes with the end of its log, and its tree then is that log: nothing is under way to the disk, nothing
//!    logged is unapplied, nothing applied is unlogged (ZOOKEEPER-2845, 3642, 4712).
//! 2. Clients are served only between a role's `Serve` and its end.
//! 3. No completion of one role reaches the next: [`Role::Settling`] waits for those of the disk, and the others name
//!    the link or the dial that they are of, whose numbers are never used twice.
//! 4. What is queued for one link is bounded; a learner beyond the bound is closed.

mod figures;
mod lead;
mod learn;
mod links;
mod looking;
mod reconfigure;
mod settling;
#[cfg(test)]
mod tests;

pub use learn::DialId;
pub use links::LinkId;

use std::collections::{BTreeMap, VecDeque};

use self::figures::Times;
use self::learn::Loading;
use self::links::Link;
use crate::admin::views::Mode;
use crate::ids::{ServerId, SessionId, Zxid};
use crate::metrics::BufferStats;
use crate::quorum::connections::{self, ConnId, Connections};
use crate::quorum::election::{self, Election, Pace, PeerState};
use crate::quorum::elector::{self, Elector};
use crate::quorum::views::Views;
use crate::quorum::zab::Limits;
use crate::quorum::zab::leader::{self, Leader};
use crate::quorum::zab::learner::{self, Learner};
use crate::quorum::zab::packet::Entry;
use crate::quorum::zab::window::{CommittedLog, Meeting};
use crate::server::{Server, Serving};
use crate::state::{Epochs, State};
use crate::storage::EpochFile;
use crate::time::{Instant, Millis, Now};
use crate::wire::address::HostPort;

/// How often a learner tries to reach the leader before it looks again: for about two seconds, where Java's five attempts
/// take half a second (`Learner.connectToLeader`). A Java winner waits 200 ms for better votes before it listens, and
/// longer on a busy machine. Who gives up before that is missed by the winner for all of initLimit, and cannot come back
/// in that time, because nobody else says whom to follow. A leader that looks again ends the attempts at once.
const DIALS_MAX: u32 = 25;

/// How long a leader that hands over waits for a voter that has everything.
const HAND_OVER_MAX: Millis = Millis(1000);

/// What a member must know of its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub me: ServerId,
    /// The committed membership and the last one seen.
    pub views: Views,
    pub limits: Limits,
    pub pace: Pace,
    /// `multiAddress.enabled`.
    pub several_addresses: bool,
    /// For the opener of an election connection to say who it is.
    pub greeting_timeout: Millis,
    pub reconfig_enabled: bool,
    /// An ensemble has two voters at least.
    pub standalone_enabled: bool,
    /// Largest field of a quorum packet in bytes (`jute.maxbuffer` + extrasize).
    pub field_max: usize,
    /// Time for all attempts to reach a new leader (`connectToLearnerMasterLimit`, else `initLimit`).
    pub connect_timeout: Millis,
    /// The longest pause between two attempts (`leaderConnectDelayDuringRetryMs`).
    pub connect_delay: Millis,
    /// See [`leader::Options`].
    pub snap_syncs_max: usize,
    pub diff_syncs_max: usize,
    pub force_snap: bool,
    /// See [`leader::Options::counter_end`].
    pub counter_end: u32,
    /// Transactions kept in memory for learners that are not far behind (`commitLogCount`).
    pub committed_log_max: usize,
    /// `leaderServes`: a leader serves clients too.
    pub leader_serves: bool,
    /// A leader that still collects epochs gives up when a voter looks for one after this time
    /// (`leader.maxTimeToWaitForEpoch`, ZOOKEEPER-3109).
    pub epoch_wait_max: Option<Millis>,
    /// Where followers serve observers in the leader's place, and observers look for them (`observerMasterPort`).
    pub observer_master_port: Option<u16>,
    /// With `readonlymode.enabled`: how long to look before clients are served without a leader.
    pub read_only_after: Option<Millis>,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something about the sockets of election connections.
    Election(connections::Event<'a>),
    /// A learner has connected to the quorum port.
    LearnerConnected(LinkId),
    /// The answers to [`Action::DialLeader`].
    LeaderDialed {
        dial: DialId,
        link: LinkId,
    },
    LeaderDialFailed(DialId),
    Received {
        link: LinkId,
        bytes: &'a [u8],
    },
    Closed(LinkId),
    /// The quorum port could not be bound.
    CannotListen,
    /// The log is on disk up to here.
    LogSynced {
        through: Zxid,
    },
    EpochPersisted(EpochFile),
    /// The answer to [`Action::LoadState`].
    StateLoaded(Box<State>),
    /// The answer to [`Action::SaveImage`].
    ImageSaved,
    /// The answer to [`Action::Locate`].
    Located {
        link: LinkId,
        meeting: Option<Meeting>,
    },
    /// The answer to [`Action::OpenLog`] and [`Action::NextPiece`]: transactions in order.
    LogPiece {
        link: LinkId,
        entries: Vec<(Zxid, Box<[u8]>)>,
        end: bool,
    },
    /// The log files have a gap in what was to be read.
    LogBroken(LinkId),
    /// Another server shall lead, if this one does.
    HandOver,
    /// [`Member::next_timeout`] has passed.
    Timeout,
}

/// What the shell must do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Connect an election connection to the first address that answers, names looked up anew.
    DialElection {
        to: ServerId,
        addresses: Vec<HostPort>,
    },
    SendElection {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// Once what was to be sent has left.
    CloseElection {
        conn: ConnId,
    },
    /// Bind the quorum port.
    Listen {
        addresses: Vec<HostPort>,
    },
    StopListening,
    /// Try all of them once. An attempt that is still under way is given up, and not answered any more.
    DialLeader {
        dial: DialId,
        addresses: Vec<HostPort>,
    },
    /// At once.
    CloseLink(LinkId),
    Append(Entry),
    /// Make durable.
    PersistEpoch(EpochFile, i64),
    /// Close the log; take back everything above the zxid, durably, if there is one; load the state anew and open the
    /// log behind it.
    LoadState {
        truncate_to: Option<Zxid>,
    },
    /// The tree is about to be replaced: give up a snapshot that is being written.
    ImageBegins,
    /// The tree now has what nobody may ever commit. A snapshot that is being written would have some of it under a zxid
    /// from before, and TRUNC would not know it for what it is: give it up.
    AbandonSnapshot,
    /// Cut the log above the zxid, then write the tree as a snapshot, file and directory synced; then open the log
    /// behind it.
    SaveImage {
        through: Zxid,
    },
    /// The memberships, committed and last seen, are these now, and this server's own ports are where they say. They
    /// belong into the configuration files, and are durable before the next sync of the log, and the next epoch, is
    /// reported: what is acked after that counts in them.
    Membership(Box<Views>),
    /// Look for a position in the log files.
    Locate {
        link: LinkId,
        zxid: Zxid,
    },
    /// Read the transactions between the two from the log files, the first piece now.
    OpenLog {
        link: LinkId,
        after: Zxid,
        before: Zxid,
    },
    NextPiece(LinkId),
}

/// What a member does in its ensemble.
enum Role {
    Looking {
        since: Instant,
        /// When to speak of how long it takes.
        tell_at: Instant,
        /// When clients that want nothing but reads are let in.
        read_only_at: Option<Instant>,
    },
    Connecting {
        leader: ServerId,
        observer: bool,
        dial: DialId,
        dials: u32,
        give_up_at: Instant,
        /// `None` while an attempt is under way.
        retry_at: Option<Instant>,
    },
    Learning {
        learner: Box<Learner>,
        link: LinkId,
        leader: ServerId,
        observer: bool,
        since: Instant,
        /// There while the bytes of an image come in.
        loading: Option<Box<Loading>>,
        /// Of a follower that serves observers.
        master: Option<Box<Leader>>,
    },
    Leading {
        leader: Box<Leader>,
        since: Instant,
    },
    /// A role is over. `reload`: the tree is not what the disk has.
    Settling {
        reload: bool,
    },
}

/// The machine.
pub struct Member {
    settings: Settings,
    elector: Elector,
    role: Role,
    links: BTreeMap<LinkId, Link>,
    /// Links with output, for the shell.
    ready: Vec<LinkId>,
    epochs: Epochs,
    /// An empty database that was not made on purpose has no vote (`db.autocreate=false`).
    may_vote: bool,
    /// The newest transactions, while no leader has them.
    window: CommittedLog,
    /// The end of the log, and what of it is on disk.
    appended: Zxid,
    synced: Zxid,
    /// In the log and perhaps not in the tree.
    unapplied: VecDeque<Entry>,
    /// Where the log is being cut for a leader.
    truncating_to: Option<Zxid>,
    /// The log files have a gap: learners that are behind it are sent images.
    log_is_broken: bool,
    /// Jobs of the helper whose end the next role must not see.
    jobs: usize,
    /// Who waits for the leader's answers, in the order of the questions: a learner of this observer master, or nobody
    /// but the own server.
    syncs: VecDeque<Option<LinkId>>,
    revalidations: VecDeque<(SessionId, Option<LinkId>)>,
    /// The last attempt to reach a leader.
    last_dial: DialId,
    /// Which observer master is tried next.
    next_master: usize,
    /// Whom the last attempt to learn went to.
    learner_master: ServerId,
    /// Who leads next by a reconfiguration, without an election.
    designated: Option<ServerId>,
    /// Set while this server is to hand its leadership over: until when it waits for a successor.
    handing_over: Option<Instant>,
    /// Sizes of the proposals of this server's present or last reign.
    proposal_sizes: BufferStats,
    times: Times,
    /// This server's id as metrics name it.
    own_key: Box<str>,
    /// When this server had a leader last, for the time without one.
    without_leader_since: Instant,
}

/// What every step works on.
struct Step<'a> {
    now: Now,
    server: &'a mut Server,
    actions: &'a mut Vec<Action>,
}

impl Member {
    /// A member on a loaded state, which is in the server already. It begins to look for a leader.
    pub fn new(
        now: Now,
        settings: Settings,
        epochs: Epochs,
        state: Loaded,
        server: &mut Server,
        actions: &mut Vec<Action>,
    ) -> Member {
        let election =
            Election::new(settings.me, settings.views.clone(), settings.reconfig_enabled, settings.pace);
        let connections = Connections::new(
            settings.me,
            settings.views.clone(),
            settings.several_addresses,
            settings.greeting_timeout,
        );
        let mut member = Member {
            elector: Elector::new(election, connections),
            role: Role::Settling { reload: false },
            links: BTreeMap::new(),
            ready: Vec::new(),
            epochs,
            may_vote: state.may_vote,
            window: CommittedLog::new(settings.committed_log_max),
            appended: server.last_zxid(),
            synced: server.last_zxid(),
            unapplied: VecDeque::new(),
            truncating_to: None,
            log_is_broken: false,
            jobs: 0,
            syncs: VecDeque::new(),
            revalidations: VecDeque::new(),
            last_dial: DialId(0),
            next_master: 0,
            learner_master: settings.me,
            designated: None,
            handing_over: None,
            proposal_sizes: BufferStats::default(),
            times: Times::default(),
            own_key: settings.me.to_string().into(),
            without_leader_since: now.mono,
            settings,
        };
        member.take_window(state.newest);
        server.stop_serving();
        member.settle(&mut Step { now, server, actions });
        member
    }

    /// The only way in, besides [`Member::pump`].
    pub fn handle(&mut self, now: Now, event: Event<'_>, server: &mut Server, actions: &mut Vec<Action>) {
        let step = &mut Step { now, server, actions };
        match event {
            Event::Election(event) => self.elect(step, elector::Event::Network(event)),
            Event::LearnerConnected(link) => self.on_learner(step, link),
            Event::LeaderDialed { dial, link } => self.on_leader_dialed(step, dial, link),
            Event::LeaderDialFailed(dial) => self.on_dial_failed(step, dial),
            Event::Received { link, bytes } => self.on_bytes(step, link, bytes),
            Event::Closed(link) => self.on_closed(step, link),
            Event::CannotListen => match &mut self.role {
                Role::Leading { .. } => self.end_role(step, "the quorum port cannot be bound", false),
                // Its observers find another master, or the leader.
                Role::Learning { master, .. } => *master = None,
                _ => {}
            },
            Event::LogSynced { through } => {
                self.synced = self.synced.max(through);
                match &self.role {
                    Role::Leading { .. } => {
                        self.note_own_acks(step, through);
                        self.lead(step, leader::Event::LogSynced { through });
                    }
                    Role::Learning { .. } => self.learn(step, learner::Event::LogSynced { through }),
                    _ => self.settle(step),
                }
            }
            Event::EpochPersisted(file) => self.on_epoch_persisted(step, file),
            Event::StateLoaded(state) => self.on_state_loaded(step, *state),
            Event::ImageSaved => {
                self.jobs -= 1;
                // The files with the gap went with the history that the image replaced.
                self.log_is_broken = false;
                match &self.role {
                    Role::Learning { .. } => {
                        self.may_vote = true;
                        self.learn(step, learner::Event::ImageSaved);
                    }
                    _ => self.settle(step),
                }
            }
            Event::Located { link, meeting } => {
                self.lead(step, leader::Event::Located { learner: link.learner(), meeting });
            }
            Event::LogPiece { link, entries, end } => self.on_log_piece(step, link, entries, end),
            // For a link that is gone the files may have been cut or replaced under the reader: that is no gap.
            Event::LogBroken(link) if !self.links.contains_key(&link) => {}
            Event::LogBroken(link) => {
                // The learner that it cost may be the one whose ACK makes a quorum: without it the next leader would be
                // this server again, and would try the same again.
                self.log_is_broken = true;
                self.lead(step, leader::Event::LogBroken { learner: link.learner() });
            }
            Event::HandOver => self.begin_hand_over(step),
            Event::Timeout => self.on_timeout(step),
        }
    }

    /// Once a turn, after clients were heard and commits applied: what the server made goes into the role.
    pub fn pump(&mut self, now: Now, server: &mut Server, actions: &mut Vec<Action>) {
        let applied = server.last_zxid();
        while self.unapplied.pop_front_if(|entry| entry.zxid <= applied).is_some() {}
        let step = &mut Step { now, server, actions };
        match &self.role {
            Role::Leading { .. } => self.pump_leader(step),
            Role::Learning { .. } => self.pump_learner(step),
            _ => {}
        }
        self.list_images();
        self.close_overflown(step);
        self.hand_over(step);
    }

    /// When to send [`Event::Timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let role = match &self.role {
            Role::Looking { read_only_at, .. } => *read_only_at,
            Role::Connecting { retry_at, give_up_at, .. } => Some(retry_at.unwrap_or(*give_up_at)),
            Role::Learning { learner, master, .. } => {
                let master = master.as_ref().and_then(|master| master.next_timeout());
                learner.next_timeout().into_iter().chain(master).min()
            }
            Role::Leading { leader, .. } => leader.next_timeout(),
            Role::Settling { .. } => None,
        };
        role.into_iter().chain(self.elector.next_timeout()).chain(self.handing_over).min()
    }

    /// What clients are served as; `None` while they are not.
    pub fn mode(&self, server: &Server) -> Option<Mode> {
        match (server.serving(), &self.role) {
            (Serving::No, _) => None,
            (Serving::ReadOnly, _) => Some(Mode::ReadOnly),
            (_, Role::Leading { .. }) => Some(Mode::Leader),
            (_, Role::Learning { observer: true, .. }) => Some(Mode::Observer),
            _ => Some(Mode::Follower),
        }
    }

    /// As elections know this server.
    pub fn state(&self) -> PeerState {
        self.elector.election().state()
    }

    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    pub fn views(&self) -> &Views {
        self.elector.election().views()
    }

    /// The leader, if this server is it.
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leading { leader, .. } => Some(leader),
            _ => None,
        }
    }

    /// Sizes of the proposals that this server made as a leader.
    pub fn proposal_sizes(&self) -> BufferStats {
        self.proposal_sizes
    }

    /// The leader that this server follows or is, once it is in step.
    pub fn leader_id(&self) -> Option<ServerId> {
        match &self.role {
            Role::Leading { leader, .. } if leader.serving().is_some() => Some(self.settings.me),
            Role::Learning { learner, leader, .. } if learner.serving().is_some() => Some(*leader),
            _ => None,
        }
    }

    /// Whether nothing is under way to the disk and no role holds the member: it may stop.
    pub fn is_looking(&self) -> bool {
        matches!(self.role, Role::Looking { .. })
    }

    fn take_window(&mut self, newest: VecDeque<(Zxid, Box<[u8]>)>) {
        self.window.clear();
        for (zxid, payload) in newest {
            self.window.push(Entry { zxid, payload: payload.into() });
        }
    }

    fn append(&mut self, step: &mut Step<'_>, entry: Entry) {
        self.note_reconfig(step, &entry);
        self.appended = entry.zxid;
        self.unapplied.push_back(entry.clone());
        step.actions.push(Action::Append(entry));
    }

    /// Writes are no longer taken; once everything is committed and a voter has all of it, that one is to lead.
    fn begin_hand_over(&mut self, step: &mut Step<'_>) {
        if let Some(leader) = self.leader().filter(|leader| leader.serving().is_some()) {
            let now = step.now.mono;
            // Without a transaction there is nothing by which a successor could be told: all of them vote.
            let until = if leader.has_proposed() { now + HAND_OVER_MAX } else { now };
            step.server.pause_writes();
            self.handing_over = Some(until);
        }
    }

    fn hand_over(&mut self, step: &mut Step<'_>) {
        let Some(until) = self.handing_over else { return };
        match self.leader().and_then(Leader::successor) {
            Some(successor) => {
                self.elect(step, elector::Event::Server(election::Event::Favour(successor)));
                self.end_role(step, &format!("leadership is handed over to server {successor}"), false);
            }
            None if step.now.mono >= until => {
                let why = "leadership is given up; no voter is known to have all of the history, so this one may win again";
                self.end_role(step, why, false);
            }
            None => {}
        }
    }

    fn on_timeout(&mut self, step: &mut Step<'_>) {
        let now = step.now.mono;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.elector.next_timeout()) {
            self.elect(step, elector::Event::Timeout);
            self.tell_of_long_election(now);
        }
        match &mut self.role {
            Role::Looking { read_only_at, .. } => {
                if read_only_at.take_if(|at| *at <= now).is_some() {
                    log::warn!("No leader was found: serving clients that only read");
                    step.server.serve(step.now, Serving::ReadOnly, None);
                }
            }
            Role::Connecting { .. } => self.on_connect_timeout(step),
            Role::Learning { learner, master, .. } => {
                let masters = due(master.as_ref().and_then(|master| master.next_timeout()));
                if due(learner.next_timeout()) {
                    self.learn(step, learner::Event::Timeout);
                }
                if masters {
                    self.lead(step, leader::Event::Timeout);
                }
            }
            Role::Leading { leader, .. } => {
                if due(leader.next_timeout()) {
                    self.lead(step, leader::Event::Timeout);
                }
            }
            Role::Settling { .. } => {}
        }
    }
}

/// What a member begins with, besides what its server has.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest transactions of the log, oldest first.
    pub newest: VecDeque<(Zxid, Box<[u8]>)>,
    pub may_vote: bool,
}

impl Role {
    fn doing(&self) -> String {
        match self {
            Role::Looking { .. } => "looking".to_string(),
            Role::Connecting { leader, observer: false, .. }
            | Role::Learning { leader, observer: false, .. } => format!("following server {leader}"),
            Role::Connecting { leader, .. } | Role::Learning { leader, .. } => {
                format!("observing server {leader}")
            }
            Role::Leading { .. } => "leading".to_string(),
            Role::Settling { .. } => "settling".to_string(),
        }
    }
}
