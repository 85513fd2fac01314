//! Sessions: who is alive, and until when.
//!
//! A session is *alive*, then *closing* (expired, or a closeSession has been prepared), then gone once that
//! transaction is applied (client-protocol.md section 15.3). Only alive sessions can be touched or resumed.
//!
//! In an ensemble every server has the same *global* sessions, because transactions make and end them; only the leader
//! counts their time. A *local* session is one server's own: no transaction knows of it, and that server counts its
//! time. A session whose createSession is prepared but not committed is *in the making*: its requests may follow
//! at once (a local session that is upgraded sends them so).
//!
//! # Invariants
//!
//! 1. An alive session of a server that counts its time is in an expiry queue, a closing one is not.
//! 2. Ids are never 0 and never `i64::MIN`, which the tree uses for "container".
//! 3. What [`Sessions::iter`] lists is what committed transactions made: nothing local, nothing in the making.

mod expiry;
mod password;

pub use expiry::{ExpiryQueue, Slot};
pub use password::password;

use crate::ids::{HashMap, ServerId, SessionId};
use crate::time::{Instant, WallMillis};

/// Through whom a session's requests come to the leader. Requests that come another way are of a client that has
/// moved on (Java's `SessionMoved`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Whoever comes first.
    #[default]
    Nobody,
    /// A connection to this server.
    Here,
    /// A learner's connection, by its number.
    Learner(u64),
}

#[derive(Debug)]
struct Session {
    timeout_ms: u32,
    slot: Slot,
    closing: bool,
    /// It is in `Sessions::touched`.
    reported: bool,
    /// Local: its createSession is on its way.
    upgrading: bool,
    owner: Owner,
}

/// A session whose createSession is prepared and not committed.
#[derive(Debug)]
struct InTheMaking {
    owner: Owner,
    /// A closeSession is prepared, too: nothing may come behind it.
    closing: bool,
}

/// What the session check says of a request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Alive,
    Closing,
    Unknown,
}

/// Sessions of one kind, and when each expires.
#[derive(Debug)]
struct Table {
    by_id: HashMap<SessionId, Session>,
    expiry: ExpiryQueue<SessionId>,
}

impl Table {
    fn new(tick_ms: u64) -> Table {
        Table { by_id: HashMap::default(), expiry: ExpiryQueue::new(tick_ms) }
    }

    fn entry(&mut self, id: SessionId, timeout_ms: u32) -> &mut Session {
        let session = self.by_id.entry(id).or_insert(Session {
            timeout_ms,
            slot: Slot::default(),
            closing: false,
            reported: false,
            upgrading: false,
            owner: Owner::Nobody,
        });
        session.timeout_ms = timeout_ms;
        session
    }

    fn add(&mut self, id: SessionId, timeout_ms: u32, now: Instant) {
        self.entry(id, timeout_ms);
        self.touch(id, now);
    }

    fn touch(&mut self, id: SessionId, now: Instant) -> Option<&mut Session> {
        let session = self.by_id.get_mut(&id).filter(|session| !session.closing)?;
        self.expiry.touch(id, &mut session.slot, now, u64::from(session.timeout_ms));
        Some(session)
    }

    fn state(&self, id: SessionId) -> SessionState {
        match self.by_id.get(&id) {
            None => SessionState::Unknown,
            Some(session) if session.closing => SessionState::Closing,
            Some(_) => SessionState::Alive,
        }
    }

    fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.closing = true;
            self.expiry.remove(id, &mut session.slot);
        }
    }

    fn remove(&mut self, id: SessionId) {
        if let Some(mut session) = self.by_id.remove(&id) {
            self.expiry.remove(id, &mut session.slot);
        }
    }
}

/// Every session that this server knows.
#[derive(Debug)]
pub struct Sessions {
    global: Table,
    local: Table,
    in_the_making: HashMap<SessionId, InTheMaking>,
    /// The high byte of this server's own sessions.
    high_byte: u8,
    /// Sessions that are not known here may be local to the server in their high byte, which lets them write.
    foreign_local: bool,
    /// Which global sessions were used is told to the leader.
    reporting: bool,
    touched: Vec<SessionId>,
    next_id: i64,
}

impl Sessions {
    /// `tick_ms` is the width of an expiry bucket.
    pub fn new(server: ServerId, started: WallMillis, tick_ms: u64) -> Sessions {
        // Server id in the high byte, then the low 40 bits of a millisecond clock, then a counter: Java's
        // layout (SessionTrackerImpl.initializeNextSessionId), so that ids never meet in a mixed ensemble.
        let next_id = (server.0 << 56) | (((started.0 as u64) << 24) >> 8) as i64;
        Sessions {
            global: Table::new(tick_ms),
            local: Table::new(tick_ms),
            in_the_making: HashMap::default(),
            high_byte: server.0 as u8,
            foreign_local: false,
            reporting: false,
            touched: Vec::new(),
            next_id,
        }
    }

    /// An id for a session to be created; the session exists once it is [`add`](Sessions::add)ed.
    pub fn allocate_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if id.0 != 0 && id.0 != i64::MIN && self.state(id) == SessionState::Unknown {
                return id;
            }
        }
    }

    /// Adds a global session, or gives a known one a new timeout. Its clock starts now. A local one becomes global.
    pub fn add(&mut self, id: SessionId, timeout_ms: u32, now: Instant) {
        self.local.remove(id);
        let session = self.global.entry(id, timeout_ms);
        if let Some(made) = self.in_the_making.remove(&id) {
            session.owner = made.owner;
            session.closing |= made.closing;
        }
        self.global.touch(id, now);
        self.report(id);
    }

    /// The same while nobody counts the time; [`restart`](Sessions::restart) begins to.
    pub fn add_untimed(&mut self, id: SessionId, timeout_ms: u32) {
        self.global.entry(id, timeout_ms);
    }

    /// A sign of life. False if the session is unknown or closing: the request must then be dropped.
    pub fn touch(&mut self, id: SessionId, now: Instant) -> bool {
        match self.global.touch(id, now) {
            Some(session) => {
                if self.reporting && !session.reported {
                    session.reported = true;
                    self.touched.push(id);
                }
                true
            }
            None => self.local.touch(id, now).is_some(),
        }
    }

    /// A sign of life with a new timeout. False if no global session has this id, or it is closing.
    pub fn extend(&mut self, id: SessionId, timeout_ms: u32, now: Instant) -> bool {
        match self.global.by_id.get_mut(&id) {
            Some(session) if !session.closing => {
                session.timeout_ms = timeout_ms;
                self.global.expiry.touch(id, &mut session.slot, now, u64::from(timeout_ms));
                true
            }
            Some(_) => false,
            None => self.is_in_the_making(id),
        }
    }

    /// Global or local; one in the making is not known yet.
    pub fn state(&self, id: SessionId) -> SessionState {
        match self.global.state(id) {
            SessionState::Unknown => self.local.state(id),
            known => known,
        }
    }

    /// Whether a request of this session may change something: as [`state`](Sessions::state), and alive while it is in
    /// the making or may be local to another server.
    pub fn writer(&self, id: SessionId) -> SessionState {
        match self.owner_of_ephemerals(id) {
            SessionState::Unknown => match self.local.state(id) {
                SessionState::Unknown if self.foreign_local && (id.0 >> 56) as u8 != self.high_byte => {
                    SessionState::Alive
                }
                state => state,
            },
            known => known,
        }
    }

    /// Whether a request of this session may make an ephemeral: only global sessions may.
    pub fn owner_of_ephemerals(&self, id: SessionId) -> SessionState {
        match (self.global.state(id), self.in_the_making.get(&id)) {
            (SessionState::Unknown, Some(InTheMaking { closing: true, .. })) => SessionState::Closing,
            (SessionState::Unknown, Some(_)) => SessionState::Alive,
            (known, _) => known,
        }
    }

    /// Whether its createSession is prepared and not committed, and no closeSession behind it.
    pub fn is_in_the_making(&self, id: SessionId) -> bool {
        self.in_the_making.get(&id).is_some_and(|made| !made.closing)
    }

    pub fn is_global(&self, id: SessionId) -> bool {
        self.global.by_id.contains_key(&id)
    }

    /// From here on the session can only be removed.
    pub fn set_closing(&mut self, id: SessionId) {
        self.global.set_closing(id);
        self.local.set_closing(id);
        if let Some(made) = self.in_the_making.get_mut(&id) {
            made.closing = true;
        }
    }

    pub fn remove(&mut self, id: SessionId) {
        self.global.remove(id);
    }

    /// A global session whose time is up. The caller closes it, which takes it out of the queue.
    pub fn expired(&self, now: Instant) -> Option<SessionId> {
        self.global.expiry.due(now)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.global.expiry.next_deadline()
    }

    /// Number of global sessions.
    pub fn len(&self) -> usize {
        self.global.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.global.by_id.is_empty()
    }

    /// Every global session with its timeout in milliseconds, as snapshots list them.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.global.by_id.iter().map(|(&id, session)| (id, session.timeout_ms as i32))
    }

    /// Expiry buckets of global sessions, for the four-letter word `dump`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = SessionId> + '_)> + '_ {
        self.global.expiry.buckets()
    }
}

/// Roles.
impl Sessions {
    /// A role begins: every global session's clock starts afresh. `reporting`: whether
    /// [`take_touched`](Sessions::take_touched) will be asked. `foreign_local`: other servers may have local sessions.
    pub fn restart(&mut self, now: Instant, reporting: bool, foreign_local: bool) {
        self.reporting = reporting;
        self.foreign_local = foreign_local;
        for (&id, session) in &mut self.global.by_id {
            self.global.expiry.touch(id, &mut session.slot, now, u64::from(session.timeout_ms));
        }
    }

    /// A role has ended: what was prepared and not committed never happened, and no session is anybody's.
    pub fn forget_role(&mut self) {
        let tick_ms = self.global.expiry.interval_ms();
        self.local = Table::new(tick_ms);
        self.in_the_making.clear();
        self.reporting = false;
        self.touched.clear();
        for session in self.global.by_id.values_mut() {
            session.closing = false;
            session.reported = false;
            session.owner = Owner::Nobody;
        }
    }

    /// Other sessions take the place of all global ones; nobody counts their time yet.
    pub fn replace(&mut self, sessions: impl IntoIterator<Item = (SessionId, i32)>) {
        self.global = Table::new(self.global.expiry.interval_ms());
        for (id, timeout_ms) in sessions {
            self.add_untimed(id, u32::try_from(timeout_ms).unwrap_or(0));
        }
    }

    /// Its createSession was prepared.
    pub fn begin(&mut self, id: SessionId, owner: Owner) {
        self.in_the_making.insert(id, InTheMaking { owner, closing: false });
    }

    /// A request of the session comes through `owner`. False: the session is another's by now.
    pub fn claim(&mut self, id: SessionId, owner: Owner) -> bool {
        let present = match self.global.by_id.get_mut(&id) {
            Some(session) => &mut session.owner,
            None => match self.in_the_making.get_mut(&id) {
                Some(made) => &mut made.owner,
                // Local to somebody: whoever that is.
                None => return true,
            },
        };
        if *present == Owner::Nobody {
            *present = owner;
        }
        *present == owner
    }

    /// The session goes on at `owner` from now on.
    pub fn give(&mut self, id: SessionId, owner: Owner) {
        if let Some(session) = self.global.by_id.get_mut(&id) {
            session.owner = owner;
        } else if let Some(made) = self.in_the_making.get_mut(&id) {
            made.owner = owner;
        }
    }

    fn report(&mut self, id: SessionId) {
        if self.reporting
            && let Some(session) = self.global.by_id.get_mut(&id)
            && !session.reported
        {
            session.reported = true;
            self.touched.push(id);
        }
    }

    /// Global sessions that were used or made since the last call, with their timeouts in milliseconds.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        let mut all = Vec::with_capacity(self.touched.len());
        for id in self.touched.drain(..) {
            if let Some(session) = self.global.by_id.get_mut(&id) {
                session.reported = false;
                all.push((id, session.timeout_ms as i32));
            }
        }
        all
    }
}

/// Local sessions.
impl Sessions {
    /// Adds a local session, or gives a known one a new timeout. Its clock starts now.
    pub fn add_local(&mut self, id: SessionId, timeout_ms: u32, now: Instant) {
        self.local.add(id, timeout_ms, now);
    }

    /// Whether the session is this server's own, and not on its way to becoming global.
    pub fn is_local(&self, id: SessionId) -> bool {
        self.local.by_id.get(&id).is_some_and(|session| !session.upgrading)
    }

    /// Its createSession is on its way.
    pub fn set_upgrading(&mut self, id: SessionId) {
        if let Some(session) = self.local.by_id.get_mut(&id) {
            session.upgrading = true;
        }
    }

    pub fn remove_local(&mut self, id: SessionId) {
        self.local.remove(id);
    }

    /// Removes the session if it is local and closing.
    pub fn remove_closing_local(&mut self, id: SessionId) {
        if self.local.state(id) == SessionState::Closing {
            self.local.remove(id);
        }
    }

    pub fn expired_local(&self, now: Instant) -> Option<SessionId> {
        self.local.expiry.due(now)
    }

    pub fn next_local_deadline(&self) -> Option<Instant> {
        self.local.expiry.next_deadline()
    }

    /// Expiry buckets of local sessions, for the four-letter word `dump`.
    pub fn local_buckets(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = SessionId> + '_)> + '_ {
        self.local.expiry.buckets()
    }

    pub fn local_len(&self) -> usize {
        self.local.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(ServerId(1), WallMillis(0x12_3456_789a), 1000)
    }

    #[test]
    fn ids_carry_the_server_in_their_high_byte_and_rise() {
        let mut all = sessions();
        let (a, b) = (all.allocate_id(), all.allocate_id());
        assert_eq!(a.0 >> 56, 1);
        assert_eq!(a.0 & 0x00ff_ffff_ffff_0000, 0x0012_3456_789a_0000);
        assert_eq!(b.0, a.0 + 1);
    }

    #[test]
    fn a_closing_session_cannot_be_touched_and_does_not_expire() {
        let mut all = sessions();
        let id = all.allocate_id();
        all.add(id, 4000, Instant(0));
        assert!(all.touch(id, Instant(0)));
        all.set_closing(id);
        assert!(!all.touch(id, Instant(0)));
        assert_eq!(all.state(id), SessionState::Closing);
        assert_eq!(all.expired(Instant::from_millis(1 << 40)), None);
        all.remove(id);
        assert_eq!(all.state(id), SessionState::Unknown);
    }

    #[test]
    fn a_silent_session_expires_one_bucket_after_its_timeout_at_the_latest() {
        let mut all = sessions();
        let id = all.allocate_id();
        all.add(id, 4000, Instant::from_millis(100));
        assert_eq!(all.expired(Instant::from_millis(4100)), None);
        assert_eq!(all.expired(Instant::from_millis(5000)), Some(id));
    }

    #[test]
    fn the_first_to_write_owns_a_session_until_it_is_given_away() {
        let mut all = sessions();
        let id = all.allocate_id();
        all.add(id, 4000, Instant(0));
        assert!(all.claim(id, Owner::Learner(1)));
        assert!(!all.claim(id, Owner::Here));
        all.give(id, Owner::Here);
        assert!(all.claim(id, Owner::Here) && !all.claim(id, Owner::Learner(1)));
    }

    #[test]
    fn each_session_is_reported_once_between_two_looks() {
        let mut all = sessions();
        let id = all.allocate_id();
        all.restart(Instant(0), true, false);
        all.add(id, 4000, Instant(0));
        assert!(all.touch(id, Instant(0)) && all.touch(id, Instant(1)));
        assert_eq!(all.take_touched(), [(id, 4000)]);
        assert_eq!(all.take_touched(), []);
        assert!(all.touch(id, Instant(2)));
        assert_eq!(all.take_touched(), [(id, 4000)]);
    }

    #[test]
    fn a_session_that_another_server_may_have_writes_but_owns_nothing() {
        let mut all = sessions();
        let (own, foreign) = (SessionId(1 << 56 | 7), SessionId(2 << 56 | 7));
        assert_eq!(all.writer(foreign), SessionState::Unknown);
        all.restart(Instant(0), false, true);
        assert_eq!(all.writer(foreign), SessionState::Alive);
        assert_eq!(all.owner_of_ephemerals(foreign), SessionState::Unknown);
        assert_eq!(all.state(foreign), SessionState::Unknown);
        assert_eq!(all.writer(own), SessionState::Unknown);
    }

    #[test]
    fn what_a_role_prepared_ends_with_it() {
        let mut all = sessions();
        let (a, b) = (all.allocate_id(), all.allocate_id());
        all.add(a, 4000, Instant(0));
        all.set_closing(a);
        all.begin(b, Owner::Here);
        all.forget_role();
        assert_eq!((all.state(a), all.writer(b)), (SessionState::Alive, SessionState::Unknown));
        all.restart(Instant(0), false, false);
        assert_eq!(all.expired(Instant::from_millis(5000)), Some(a));
    }
}
