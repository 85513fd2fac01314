//! What servers of an ensemble say to each other.
//!
//! [`election`] is the port on which they vote: one [`Initial`](election::Initial) per connection, then frames
//! with one [`Notification`](election::Notification) each. [`packet`] is the port on which a leader feeds its
//! learners: records without a length in front, read as [`FromLearner`](packet::FromLearner) or
//! [`FromLeader`](packet::FromLeader). [`auth`] may come before either.
//!
//! # Invariants
//!
//! 1. A decoder that needs more bytes says so as long as there is a valid message that begins with those at
//!    hand, and never needs more than the bound of its message: what a peer may make us buffer is bounded.
//! 2. What a decoder accepts and the encoder writes are the same bytes, for every message that servers of
//!    today send; older forms are read only.

pub mod auth;
pub mod election;
pub mod packet;
#[cfg(test)]
pub(crate) mod tests;

use super::jute::Malformed;
use std::fmt;

/// How a peer broke the protocol. It costs that peer its connection, and nobody else anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misbehaved {
    /// The first number on an election connection is neither a server id nor a version that is known.
    ElectionProtocol { version: i64 },
    /// The text with the addresses of an opener is longer than allowed, or empty.
    AddressLength { len: i32 },
    /// An address of an opener is no `host:port`.
    Address { text: String },
    /// An election frame is longer than allowed, or empty.
    FrameLength { len: i32 },
    /// A packet between leader and learner has no end within the limit.
    PacketLength { bytes_max: usize },
    /// A field of a packet, or of what is in it.
    Malformed { packet: &'static str, malformed: Malformed },
    /// Data of this packet that is null or too short.
    ShortData { packet: &'static str },
    /// What came where authentication has to begin.
    AuthMagic { magic: i64 },
}

impl fmt::Display for Misbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misbehaved::ElectionProtocol { version } => {
                write!(f, "unrecognised election protocol version {version}")
            }
            Misbehaved::AddressLength { len } => write!(f, "unreasonable length of addresses: {len}"),
            Misbehaved::Address { text } => write!(f, "{text:?} is no host:port"),
            Misbehaved::FrameLength { len } => write!(f, "election message of {len} bytes"),
            Misbehaved::PacketLength { bytes_max } => write!(f, "packet longer than {bytes_max} bytes"),
            Misbehaved::Malformed { packet, malformed } => write!(f, "{packet}: {malformed}"),
            Misbehaved::ShortData { packet } => write!(f, "{packet} with too little data"),
            Misbehaved::AuthMagic { magic } => write!(f, "no authentication but {magic:#x}"),
        }
    }
}

impl std::error::Error for Misbehaved {}

pub type Result<T> = std::result::Result<T, Misbehaved>;

/// A message off the front of a stream, and how many bytes it took; `None` if its end is not there yet.
pub type Partial<T> = Result<Option<(T, usize)>>;

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|b| i32::from_be_bytes(*b))
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..)?.first_chunk().map(|b| i64::from_be_bytes(*b))
}
