//! Sessions: who is alive, and until when.
//!
//! A session is *alive*, then *closing* (expired, or a closeSession has been prepared), then gone once that
//! transaction is applied (client-protocol.md section 15.3). Only alive sessions can be touched or resumed.
//!
//! # Invariants
//!
//! 1. An alive session is in the expiry queue, a closing one is not.
//! 2. Ids are never 0 and never `i64::MIN`, which the tree uses for "container".

mod expiry;
mod password;

pub use expiry::{ExpiryQueue, Slot};
pub use password::password;

use crate::ids::{HashMap, ServerId, SessionId};
use crate::time::{Instant, WallMillis};

#[derive(Debug)]
struct Session {
    timeout_ms: u32,
    slot: Slot,
    closing: bool,
}

/// What the session check says of a request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Alive,
    Closing,
    Unknown,
}

/// Every session of this server.
#[derive(Debug)]
pub struct Sessions {
    by_id: HashMap<SessionId, Session>,
    expiry: ExpiryQueue<SessionId>,
    next_id: i64,
}

impl Sessions {
    /// `tick_ms` is the width of an expiry bucket.
    pub fn new(server: ServerId, started: WallMillis, tick_ms: u64) -> Sessions {
        // Server id in the high byte, then the low 40 bits of a millisecond clock, then a counter: Java's
        // layout (SessionTrackerImpl.initializeNextSessionId), so that ids never meet in a mixed ensemble.
        let next_id = (server.0 << 56) | (((started.0 as u64) << 24) >> 8) as i64;
        Sessions { by_id: HashMap::default(), expiry: ExpiryQueue::new(tick_ms), next_id }
    }

    /// An id for a session to be created; the session exists once it is [`add`](Sessions::add)ed.
    pub fn allocate_id(&mut self) -> SessionId {
        loop {
            let id = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if id.0 != 0 && id.0 != i64::MIN && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a session, or gives a known one a new timeout. Its clock starts now.
    pub fn add(&mut self, id: SessionId, timeout_ms: u32, now: Instant) {
        let session =
            self.by_id.entry(id).or_insert(Session { timeout_ms, slot: Slot::default(), closing: false });
        session.timeout_ms = timeout_ms;
        if !session.closing {
            self.expiry.touch(id, &mut session.slot, now, u64::from(timeout_ms));
        }
    }

    /// A sign of life. False if the session is unknown or closing: the request must then be dropped.
    pub fn touch(&mut self, id: SessionId, now: Instant) -> bool {
        match self.by_id.get_mut(&id) {
            Some(session) if !session.closing => {
                self.expiry.touch(id, &mut session.slot, now, u64::from(session.timeout_ms));
                true
            }
            _ => false,
        }
    }

    pub fn state(&self, id: SessionId) -> SessionState {
        match self.by_id.get(&id) {
            None => SessionState::Unknown,
            Some(session) if session.closing => SessionState::Closing,
            Some(_) => SessionState::Alive,
        }
    }

    /// From here on the session can only be removed.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.closing = true;
            self.expiry.remove(id, &mut session.slot);
        }
    }

    pub fn remove(&mut self, id: SessionId) {
        if let Some(mut session) = self.by_id.remove(&id) {
            self.expiry.remove(id, &mut session.slot);
        }
    }

    /// A session whose time is up. The caller closes it, which takes it out of the queue.
    pub fn expired(&self, now: Instant) -> Option<SessionId> {
        self.expiry.due(now)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.expiry.next_deadline()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every session with its timeout in milliseconds, as snapshots list them.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.by_id.iter().map(|(&id, session)| (id, session.timeout_ms as i32))
    }

    /// Expiry buckets, for the four-letter word `dump`.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, impl Iterator<Item = SessionId> + '_)> + '_ {
        self.expiry.buckets()
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
}
