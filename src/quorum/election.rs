//! Fast leader election: who shall lead is whoever has the newest history, as soon as a quorum says so.
//!
//! Every server that has no leader votes for itself, tells all voters, and takes over any vote that is better
//! than its own: by epoch, then zxid, then server id. Votes count within a *round*; who hears of a later round
//! joins it. Servers that have a leader answer with it, and who finds a quorum of them, the leader among them,
//! joins that leader, whatever its own history is (Java: `FastLeaderElection`).
//!
//! Whoever sees a quorum for one vote waits a little for better ones before it believes it, unless no better
//! one can come: every voter that can be reached has voted the same. That wait is most of what a Java
//! ensemble needs to replace its leader.
//!
//! The machine is fed with [`Event`]s and pushes [`Action`]s; [`Election::next_timeout`] says when it wants to
//! hear [`Event::Timeout`]. It never ends: in every state it answers those who look for a leader.
//!
//! # Invariants
//!
//! 1. There is always a current vote to answer with.
//! 2. Ballots are kept of voters only, and counted in the committed and the proposed membership alike.
//! 3. Within a round the proposal only gets better.
//! 4. A peer causes at most one answer that says the same in [`Pace::answer_pause`].

use super::membership::{Membership, Role};
use super::views::Views;
use crate::ids::{ServerId, Zxid};
use crate::time::{Instant, Millis};
use crate::wire::quorum::election::Notification;
pub use crate::wire::quorum::election::{PeerState, Vote};

use std::collections::{BTreeMap, BTreeSet};

/// How long the machine waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Before the first repetition of an own vote; doubles up to `resend_max`.
    pub resend_min: Millis,
    pub resend_max: Millis,
    /// For better votes, after a quorum has agreed.
    pub finalize: Millis,
    /// Between two answers to one peer that say the same. Without it a voter with an old round and a server
    /// without a vote answer each other as fast as they can, for ever.
    pub answer_pause: Millis,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            resend_min: Millis(200),
            resend_max: Millis(60_000),
            finalize: Millis(200),
            answer_pause: Millis(50),
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// This server has no leader (any more). `zxid` is the last one in its log, committed or not, or -1 if it
    /// has no database and must not vote; `epoch` is its current epoch.
    Look { zxid: Zxid, epoch: i64 },
    /// In the next election this server votes for that one instead of itself: it hands its leadership over. The
    /// other must have the same history.
    Favour(ServerId),
    /// The body of a frame on the election connection with a server.
    Message { from: ServerId, body: &'a [u8] },
    /// There is a new connection with this server, which may be a new process.
    Connected(ServerId),
    /// An attempt to connect to this server has failed.
    Unreachable(ServerId),
    /// The time of [`Election::next_timeout`] has come. `delivered`: some server has taken what was last sent
    /// to it; otherwise nobody is connected, and repeating would be useless.
    Timeout { delivered: bool },
    /// The leader of this vote has begun to serve in this epoch, and this server is synchronised with it.
    Synced { epoch: i64 },
    /// A reconfiguration has been committed, or another membership proposed. If it names a leader, that one
    /// leads from here on, without an election. The server sends [`Event::Look`] if it is to look for one.
    Reconfigured { views: Views, designated: Option<Designated> },
}

/// The leader that a reconfiguration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Designated {
    pub leader: ServerId,
    /// Of the reconfiguration.
    pub zxid: Zxid,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A frame for another server. A newer one replaces an older one that has not left yet.
    Send { to: ServerId, frame: Vec<u8> },
    /// Connect to everybody for whom there was something to say.
    ConnectAll,
    /// This server is from now on in `state`, which is not `Looking`.
    Elected { state: PeerState, leader: ServerId, supporters: Vec<ServerId> },
    /// A peer has a newer membership, which is now this server's committed one. If its members are others,
    /// the election has begun again, and all election connections are to be closed first.
    Adopt { membership: Membership, restart: bool },
    /// A voter looks for a leader while this server leads: a leader that nobody follows yet may give up. Or the leader
    /// itself looks, in a later round: who has not reached it need not go on trying.
    VoterLooks(ServerId),
}

/// A vote, and what its sender said with it.
#[derive(Clone, Copy, Debug)]
struct Ballot {
    vote: Vote,
    round: i64,
    state: PeerState,
    /// Does the message have a version above 0?
    versioned: bool,
}

impl Ballot {
    /// Java's `Vote.equals`, with its reasons: votes of established ensembles come from different times, and
    /// differ in zxid and round between servers that follow the same leader.
    fn agrees_with(&self, other: &Ballot) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            self.vote == other.vote && self.round == other.round
        } else {
            self.vote.leader == other.vote.leader
                && (self.versioned != other.versioned || self.vote.epoch == other.vote.epoch)
        }
    }
}

/// Servers without a vote to remember, whatever ids they say they have.
const ASKERS_MAX: usize = 64;

/// An election that is under way.
#[derive(Debug)]
struct Looking {
    /// What this server votes if it has heard nothing better.
    own: Vote,
    proposal: Vote,
    /// Ballots of this round.
    received: BTreeMap<ServerId, Ballot>,
    /// What servers with a leader said, in whatever round.
    established: BTreeMap<ServerId, Ballot>,
    /// Servers that had a leader when this one's vote came to them, and so did not count it.
    missed: BTreeSet<ServerId>,
    /// Servers that could not be connected to, and have not been heard of since.
    unreachable: BTreeSet<ServerId>,
    /// Servers without a vote that have asked meanwhile, and are told once there is a leader.
    askers: BTreeSet<ServerId>,
    interval: Millis,
    resend_at: Instant,
    /// When the proposal counts as agreed upon; set while a quorum has voted for it.
    decide_at: Option<Instant>,
}

/// Who leads, as far as this server knows.
#[derive(Debug)]
pub struct Election {
    me: ServerId,
    views: Views,
    pace: Pace,
    /// Do memberships of peers count at all?
    reconfig_enabled: bool,
    state: PeerState,
    /// What this server answers those who look for a leader, and the round that goes with it.
    current: Vote,
    current_round: i64,
    round: i64,
    /// The last of this server's log, and its epoch: what it votes with.
    history: (Zxid, i64),
    /// Whom to vote for next, if not for this server.
    favoured: Option<ServerId>,
    /// There while `state` is `Looking`, once the server has been told to look.
    looking: Option<Looking>,
    answered: BTreeMap<ServerId, (Instant, PeerState, Vote, i64)>,
}

impl Election {
    /// A server that has not begun to look for a leader, and already answers.
    pub fn new(me: ServerId, views: Views, reconfig_enabled: bool, pace: Pace) -> Election {
        Election {
            me,
            views,
            pace,
            reconfig_enabled,
            state: PeerState::Looking,
            current: Vote { leader: me, zxid: Zxid::ZERO, epoch: 0 },
            current_round: -1,
            round: 0,
            history: (Zxid::ZERO, 0),
            favoured: None,
            looking: None,
            answered: BTreeMap::new(),
        }
    }

    pub fn state(&self) -> PeerState {
        self.state
    }

    /// Whom this server follows, or voted for last.
    pub fn current_vote(&self) -> Vote {
        self.current
    }

    pub fn round(&self) -> i64 {
        self.round
    }

    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Servers whose votes of this election have come in, one's own included.
    pub fn heard(&self) -> BTreeSet<ServerId> {
        let ballots =
            self.looking.iter().flat_map(|looking| looking.received.keys().chain(looking.established.keys()));
        ballots.copied().collect()
    }

    /// Servers that say they follow this one, although it looks for a leader.
    pub fn mistaken(&self) -> BTreeSet<ServerId> {
        let established = self.looking.iter().flat_map(|looking| &looking.established);
        established.filter(|(_, theirs)| theirs.vote.leader == self.me).map(|(from, _)| *from).collect()
    }

    /// When to send [`Event::Timeout`], if it is not too late by then.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.looking.as_ref().map(|looking| looking.decide_at.unwrap_or(looking.resend_at))
    }

    /// The only way in.
    pub fn handle(&mut self, now: Instant, event: Event<'_>, actions: &mut Vec<Action>) {
        match event {
            Event::Look { zxid, epoch } => {
                self.history = (zxid, epoch);
                if self.current_round == -1 && self.state == PeerState::Looking {
                    self.current = Vote { leader: self.me, zxid, epoch };
                }
                self.look(now, actions);
            }
            Event::Favour(sid) => self.favoured = Some(sid),
            Event::Message { from, body } => self.on_message(now, from, body, actions),
            Event::Connected(sid) => {
                // What was said on an older connection may not have arrived.
                self.answered.remove(&sid);
                if let Some(looking) = &mut self.looking {
                    looking.unreachable.remove(&sid);
                }
            }
            Event::Unreachable(sid) => {
                if let Some(looking) = &mut self.looking {
                    looking.unreachable.insert(sid);
                    self.decide(now, actions);
                }
            }
            Event::Timeout { delivered } => self.on_timeout(now, delivered, actions),
            Event::Synced { epoch } => self.current.epoch = epoch,
            Event::Reconfigured { views, designated } => self.on_reconfigured(views, designated),
        }
        assert!(self.looking.is_none() || self.state == PeerState::Looking);
    }

    fn look(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (zxid, epoch) = self.history;
        let mut own = Vote { zxid, epoch, ..Vote::NOBODY };
        if self.views.committed().is_voter(self.me) {
            let favoured = self.favoured.take().filter(|sid| self.views.committed().is_voter(*sid));
            own.leader = favoured.unwrap_or(self.me);
        }
        if self.views.role_of(self.me) == Role::Observer {
            own = Vote::NOBODY;
        }
        self.state = PeerState::Looking;
        self.round = self.round.saturating_add(1);
        self.looking = Some(Looking {
            own,
            proposal: own,
            received: BTreeMap::new(),
            established: BTreeMap::new(),
            missed: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            askers: BTreeSet::new(),
            interval: self.pace.resend_min,
            resend_at: now + self.pace.resend_min,
            decide_at: None,
        });
        self.broadcast(now, actions);
        self.decide(now, actions);
    }

    fn on_reconfigured(&mut self, views: Views, designated: Option<Designated>) {
        if !views.committed().has_members_of(self.views.committed()) {
            // The machinery starts over, as Java's does; only the current vote stays.
            self.round = 0;
            self.answered.clear();
        }
        self.views = views;
        if let Some(Designated { leader, zxid }) = designated {
            self.current = Vote { leader, zxid, epoch: -1 };
            self.current_round = -1;
            self.state = self.state_under(leader);
            self.looking = None;
        }
    }

    /// What this server is once `leader` leads.
    fn state_under(&self, leader: ServerId) -> PeerState {
        match self.views.role_of(self.me) {
            _ if leader == self.me => PeerState::Leading,
            Role::Participant => PeerState::Following,
            Role::Observer => PeerState::Observing,
        }
    }

    /// The receive path, which is the same in every state (`Messenger.WorkerReceiver`).
    fn on_message(&mut self, now: Instant, from: ServerId, body: &[u8], actions: &mut Vec<Action>) {
        let Ok(n) = Notification::decode(body) else { return };
        if let Some(looking) = &mut self.looking {
            looking.unreachable.remove(&from);
            if self.adopt_newer(now, n.config, actions) {
                return;
            }
        }
        if !self.views.is_voter(from) {
            // What is answered now is the leader of before, as in Java. Who asks once in a while would take long to hear
            // of the next one.
            if let Some(looking) = &mut self.looking
                && looking.askers.len() < ASKERS_MAX
            {
                looking.askers.insert(from);
            }
            return self.answer(now, from, self.current, self.round, actions);
        }
        if matches!(n.state, PeerState::Unknown(_)) {
            return;
        }
        let asks = n.state == PeerState::Looking;
        if self.state == PeerState::Looking {
            if asks && n.round < self.round {
                let vote = self.looking.as_ref().map_or(self.current, |looking| looking.proposal);
                self.answer(now, from, vote, self.round, actions);
            }
            self.count(now, from, &n, actions);
        } else if asks {
            let leader_looks = from == self.current.leader && n.round > self.current_round;
            if self.state == PeerState::Leading || leader_looks {
                actions.push(Action::VoterLooks(from));
            }
            self.answer(now, from, self.current, self.current_round, actions);
        }
    }

    /// Takes a peer's membership if it is newer. True if the election has begun again with it.
    ///
    /// Java does so too with reconfiguration disabled, without effect on its membership, and begins again with
    /// every such message.
    fn adopt_newer(&mut self, now: Instant, config: Option<&[u8]>, actions: &mut Vec<Action>) -> bool {
        if !self.reconfig_enabled {
            return false;
        }
        let Some(theirs) = config.and_then(|text| Membership::from_text(text).ok()) else { return false };
        let restart = !theirs.has_members_of(self.views.committed());
        if !self.views.commit(theirs.clone()) {
            return false;
        }
        actions.push(Action::Adopt { membership: theirs, restart });
        if restart {
            self.round = 0;
            self.answered.clear();
            self.look(now, actions);
        }
        restart
    }

    /// The election loop's part of a message from a voter (`FastLeaderElection.lookForLeader`).
    fn count(&mut self, now: Instant, from: ServerId, n: &Notification<'_>, actions: &mut Vec<Action>) {
        if !self.views.is_voter(n.vote.leader) {
            return;
        }
        match n.state {
            PeerState::Looking => self.count_looking(now, from, n, actions),
            PeerState::Following | PeerState::Leading => self.count_established(now, from, n, actions),
            PeerState::Observing | PeerState::Unknown(_) => {}
        }
    }

    fn count_looking(
        &mut self,
        now: Instant,
        from: ServerId,
        n: &Notification<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Some(looking) = &mut self.looking else { return };
        // Who has no database must neither vote nor be counted for one.
        if looking.own.zxid == Zxid(-1) || n.vote.zxid == Zxid(-1) || n.round < self.round {
            return;
        }
        let later = n.round > self.round;
        if later {
            self.round = n.round;
            looking.received.clear();
            looking.proposal = looking.own;
        }
        let better = is_better(self.views.committed(), &n.vote, &looking.proposal);
        if better {
            looking.proposal = n.vote;
        }
        let missed = looking.missed.remove(&from);
        if later || better {
            looking.decide_at = None;
            self.broadcast(now, actions);
        } else if missed {
            // It would wait for this vote until the next repetition. Of a leader that hands over, and of whoever is
            // first to notice that a leader has died, the others always miss the first vote.
            let vote = looking.proposal;
            self.tell(from, vote, self.round, actions);
        }
        let Some(looking) = &mut self.looking else { return };
        looking.received.insert(from, ballot(n, true));
        self.decide(now, actions);
    }

    /// A server that has a leader speaks of it. Two ways to believe that: a quorum of this round, or a quorum
    /// of those who have a leader, whatever the round.
    fn count_established(
        &mut self,
        now: Instant,
        from: ServerId,
        n: &Notification<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Some(looking) = &mut self.looking else { return };
        looking.missed.insert(from);
        let theirs = ballot(n, n.version > 0);
        if n.round == self.round {
            // Java keeps these ballots without the version of their message, with the effect that only the
            // leader counts in the comparison.
            looking.received.insert(from, ballot(n, false));
            let supporters = supporters(&looking.received, &theirs);
            if leads(self.me, self.round, &looking.received, n)
                && is_led_by(self.me, &self.views, n.vote.leader, &supporters)
            {
                return self.win(n.vote, n.round, supporters, actions);
            }
        }
        if !looking.established.values().any(|known| known.agrees_with(&theirs)) {
            // News: whoever was asked long ago will have heard of it, too.
            looking.interval = self.pace.resend_min;
            looking.resend_at = looking.resend_at.min(now + looking.interval);
        }
        looking.established.insert(from, theirs);
        let supporters = supporters(&looking.established, &theirs);
        if leads(self.me, self.round, &looking.established, n)
            && is_led_by(self.me, &self.views, n.vote.leader, &supporters)
        {
            return self.win(n.vote, n.round, supporters, actions);
        }
        // Who has voted for the proposal in this round may have found another leader since.
        self.decide(now, actions);
    }

    /// If a quorum has voted for the proposal, it wins: at once if nobody is left who could vote otherwise,
    /// else after a while.
    ///
    /// Java waits in every case, and again after every message that changes nothing.
    fn decide(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // Voters that look tell an observer of the leader they had. Many of those would elect a server that is dead.
        if self.views.role_of(self.me) == Role::Observer {
            return;
        }
        let Some(looking) = &mut self.looking else { return };
        let proposal =
            Ballot { vote: looking.proposal, round: self.round, state: PeerState::Looking, versioned: true };
        let supporters = supporters(&looking.received, &proposal);
        if !self.views.is_quorum(|sid| supporters.contains(&sid)) {
            looking.decide_at = None;
            return;
        }
        let waits_for = |sid: &ServerId| !supporters.contains(sid) && !looking.unreachable.contains(sid);
        if self.views.voters().iter().any(waits_for) {
            looking.decide_at.get_or_insert(now + self.pace.finalize);
        } else {
            self.win(proposal.vote, proposal.round, supporters, actions);
        }
    }

    fn win(&mut self, vote: Vote, round: i64, supporters: Vec<ServerId>, actions: &mut Vec<Action>) {
        self.round = round;
        (self.current, self.current_round) = (vote, round);
        self.state = self.state_under(vote.leader);
        let askers = self.looking.take().map_or(BTreeSet::new(), |looking| looking.askers);
        for sid in askers {
            self.tell(sid, vote, round, actions);
        }
        actions.push(Action::Elected { state: self.state, leader: vote.leader, supporters });
    }

    fn on_timeout(&mut self, now: Instant, delivered: bool, actions: &mut Vec<Action>) {
        let Some(looking) = &mut self.looking else { return };
        if looking.decide_at.is_some_and(|at| at <= now) {
            let (vote, round) = (looking.proposal, self.round);
            let ballot = Ballot { vote, round, state: PeerState::Looking, versioned: true };
            let supporters = supporters(&looking.received, &ballot);
            return self.win(vote, round, supporters, actions);
        }
        if looking.decide_at.is_some() || now < looking.resend_at {
            return;
        }
        looking.interval = Millis((looking.interval.0 * 2).min(self.pace.resend_max.0));
        looking.resend_at = now + looking.interval;
        if delivered {
            self.broadcast(now, actions);
        } else {
            actions.push(Action::ConnectAll);
        }
    }

    /// Tells all voters the proposal, and counts it if this server is one of them.
    fn broadcast(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(looking) = &mut self.looking else { return };
        looking.resend_at = now + looking.interval;
        let config = self.views.committed().to_string();
        let n = Notification::new(PeerState::Looking, looking.proposal, self.round, config.as_bytes());
        let frame = n.encode();
        for sid in self.views.voters() {
            if sid != self.me {
                actions.push(Action::Send { to: sid, frame: frame.clone() });
            } else if n.vote.zxid != Zxid(-1) && self.views.is_voter(n.vote.leader) {
                looking.received.insert(sid, ballot(&n, true));
            }
        }
    }

    fn answer(&mut self, now: Instant, to: ServerId, vote: Vote, round: i64, actions: &mut Vec<Action>) {
        let pause = self.pace.answer_pause;
        self.answered.retain(|_, (at, ..)| now < *at + pause);
        let same = |(_, state, v, r): &(Instant, PeerState, Vote, i64)| {
            (*state, *v, *r) == (self.state, vote, round)
        };
        if self.answered.get(&to).is_some_and(same) {
            return;
        }
        self.answered.insert(to, (now, self.state, vote, round));
        self.tell(to, vote, round, actions);
    }

    fn tell(&self, to: ServerId, vote: Vote, round: i64, actions: &mut Vec<Action>) {
        let config = self.views.committed().to_string();
        let frame = Notification::new(self.state, vote, round, config.as_bytes()).encode();
        actions.push(Action::Send { to, frame });
    }
}

/// Do these servers make `leader`, who says that it leads, the leader of `me`?
///
/// To lead itself a server needs a quorum of each membership that counts; to follow who leads already, only one of the
/// membership in force. One that was proposed and never committed may have members that never come, and nothing depends
/// on what a follower believes: its leader needs the quorums of all memberships that the leader knows. Java's
/// servers need all of them here, too, and wait for ever.
fn is_led_by(me: ServerId, views: &Views, leader: ServerId, supporters: &[ServerId]) -> bool {
    let agrees = |sid| supporters.contains(&sid);
    if leader == me { views.is_quorum(agrees) } else { views.committed().is_quorum(agrees) }
}

fn ballot(n: &Notification<'_>, versioned: bool) -> Ballot {
    Ballot { vote: n.vote, round: n.round, state: n.state, versioned }
}

fn supporters(ballots: &BTreeMap<ServerId, Ballot>, theirs: &Ballot) -> Vec<ServerId> {
    ballots.iter().filter(|(_, ballot)| ballot.agrees_with(theirs)).map(|(sid, _)| *sid).collect()
}

/// Does the leader of this message say itself that it leads? Followers of a dead leader may not know yet that
/// it is dead (`FastLeaderElection.checkLeader`).
fn leads(me: ServerId, round: i64, ballots: &BTreeMap<ServerId, Ballot>, n: &Notification<'_>) -> bool {
    if n.vote.leader == me {
        return n.round == round;
    }
    ballots.get(&n.vote.leader).is_some_and(|ballot| ballot.state == PeerState::Leading)
}

/// The order of votes (`FastLeaderElection.totalOrderPredicate`).
fn is_better(members: &Membership, new: &Vote, than: &Vote) -> bool {
    let rank = |vote: &Vote| (vote.epoch, vote.zxid, vote.leader);
    members.weight(new.leader) != 0 && rank(new) > rank(than)
}
