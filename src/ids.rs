//! Integers that mean different things are different types.

use std::fmt;

/// Position of a transaction in the history: epoch in the upper 32 bits, counter in the lower.
///
/// Compared as a signed number, as Java does. Counter 0 never is a transaction; it names an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    pub const ZERO: Zxid = Zxid(0);

    pub fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((i64::from(epoch) << 32) | i64::from(counter))
    }

    /// The epoch; the shift is arithmetic, so the epoch of -1 is -1.
    pub fn epoch(self) -> i64 {
        self.0 >> 32
    }

    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }

    /// May this stand directly behind `previous`? One more within an epoch; any transaction of a later epoch.
    pub fn follows(self, previous: Zxid) -> bool {
        // A foreign zxid may be the last there is, or no transaction's: counter 0 names an epoch, and its ACK would be
        // taken for that of NEWLEADER.
        self.counter() != 0 && (previous.0.checked_add(1) == Some(self.0) || self.epoch() > previous.epoch())
    }
}

/// Lower-case hex without `0x` and without padding, as in file names.
impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// `0x…`, as every log line and four-letter word shows it.
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A client's session. The server that accepted the session is in the high byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session": what a connection has before its handshake, and the author of internal requests.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The number in a server's `myid` file and in `server.N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number a client gives its request; the reply repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub i32);

impl Xid {
    pub const NOTIFICATION: Xid = Xid(-1);
    pub const PING: Xid = Xid(-2);
}

/// Hash map with a fixed hasher: two runs over the same events iterate in the same order, which the
/// simulator relies on.
#[allow(clippy::disallowed_types)]
pub type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::FixedState>;

/// Hash set with the same fixed hasher as [`HashMap`].
#[allow(clippy::disallowed_types)]
pub type HashSet<K> = std::collections::HashSet<K, foldhash::fast::FixedState>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_splits_into_epoch_and_counter() {
        let zxid = Zxid::new(2, 7);
        assert_eq!((zxid.epoch(), zxid.counter(), zxid.0), (2, 7, 0x2_0000_0007));
        assert_eq!(Zxid(-1).epoch(), -1);
        assert_eq!(format!("{zxid} {zxid:x}"), "0x200000007 200000007");
    }
}
