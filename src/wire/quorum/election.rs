//! The election port: who is calling, then votes.
//!
//! ```text
//! Initial       i64 -65536 | -65535    i64 sid    i32 n (1..=2048)    n bytes "host:port{|host:port}"
//!               i64 sid                before 3.5: nothing follows
//! frame         i32 n (1..=524288)     n bytes, one notification
//! notification   0 i32 state           20 i64 round        36 i32 version, 2
//!                4 i64 leader          28 i64 peer epoch   40 i32 n
//!               12 i64 zxid                                44 n bytes: the sender's committed membership
//! ```

use super::{Misbehaved, Partial, Result, int, long};
use crate::ids::{ServerId, Zxid};
use crate::wire::address::HostPort;
use crate::wire::jute;

/// The longest notification, in bytes; Java's `QuorumCnxManager.PACKETMAXSIZE`.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// The longest text with addresses, in bytes; Java's `QuorumCnxManager.maxBuffer`.
pub const ADDRESSES_BYTES_MAX: usize = 2048;

const ONE_ADDRESS: i64 = -65536;
const SEVERAL_ADDRESSES: i64 = -65535;
/// What notifications of 3.5 and later say; the first version with a membership.
const VERSION: i32 = 2;

/// The first thing that is said on an election connection, by the one that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initial {
    pub sid: ServerId,
    pub form: Form,
    /// Where the opener's own election port is; empty in the oldest form.
    pub addresses: Vec<HostPort>,
}

/// How an [`Initial`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The server id alone.
    SidOnly,
    /// What a server says that has one address.
    OneAddress,
    /// With `multiAddress.enabled`.
    SeveralAddresses,
}

impl Initial {
    /// # Errors
    /// The opener is to be hung up on.
    pub fn decode(bytes: &[u8]) -> Partial<Initial> {
        let Some(first) = long(bytes, 0) else { return Ok(None) };
        let form = match first {
            0.. => {
                return Ok(Some((
                    Initial { sid: ServerId(first), form: Form::SidOnly, addresses: Vec::new() },
                    8,
                )));
            }
            ONE_ADDRESS => Form::OneAddress,
            SEVERAL_ADDRESSES => Form::SeveralAddresses,
            version => return Err(Misbehaved::ElectionProtocol { version }),
        };
        let (Some(sid), Some(len)) = (long(bytes, 8), int(bytes, 16)) else { return Ok(None) };
        let n = usize::try_from(len).unwrap_or(0);
        if n == 0 || n > ADDRESSES_BYTES_MAX {
            return Err(Misbehaved::AddressLength { len });
        }
        let Some(text) = bytes.get(20..20 + n) else { return Ok(None) };
        // Java splits in both versions, and so accepts several addresses in either.
        let text = String::from_utf8_lossy(text);
        let parse = |text: &str| HostPort::parse(text).ok_or(Misbehaved::Address { text: text.to_owned() });
        let addresses = text.split('|').map(parse).collect::<Result<_>>()?;
        Ok(Some((Initial { sid: ServerId(sid), form, addresses }, 20 + n)))
    }

    /// To be sent in one piece: Java reads the addresses with a single read (`InitialMessage.parse`).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self.form {
            Form::SidOnly => {
                jute::put_long(&mut out, self.sid.0);
                return out;
            }
            Form::OneAddress => jute::put_long(&mut out, ONE_ADDRESS),
            Form::SeveralAddresses => jute::put_long(&mut out, SEVERAL_ADDRESSES),
        }
        jute::put_long(&mut out, self.sid.0);
        let addresses: Vec<String> = self.addresses.iter().map(HostPort::to_string).collect();
        jute::put_buffer(&mut out, Some(addresses.join("|").as_bytes()));
        out
    }
}

/// The body of the frame that `bytes` begin with.
///
/// # Errors
/// A length that no frame has.
pub fn frame(bytes: &[u8]) -> Partial<&[u8]> {
    let Some(len) = int(bytes, 0) else { return Ok(None) };
    let n = usize::try_from(len).unwrap_or(0);
    if n == 0 || n > FRAME_BYTES_MAX {
        return Err(Misbehaved::FrameLength { len });
    }
    Ok(bytes.get(4..4 + n).map(|body| (body, 4 + n)))
}

/// What a server is doing (`QuorumPeer.ServerState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    Looking,
    Following,
    Leading,
    Observing,
    /// No server of today is in it. Kept, because who is no voter is answered in whatever state.
    Unknown(i32),
}

impl PeerState {
    fn from_wire(state: i32) -> PeerState {
        match state {
            0 => PeerState::Looking,
            1 => PeerState::Following,
            2 => PeerState::Leading,
            3 => PeerState::Observing,
            other => PeerState::Unknown(other),
        }
    }

    fn to_wire(self) -> i32 {
        match self {
            PeerState::Looking => 0,
            PeerState::Following => 1,
            PeerState::Leading => 2,
            PeerState::Observing => 3,
            PeerState::Unknown(other) => other,
        }
    }
}

/// Whom a server votes for, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// [`Vote::NOBODY`]'s if the sender has no vote.
    pub leader: ServerId,
    /// What the leader voted for has logged last; -1 of a server that has no database at all.
    pub zxid: Zxid,
    /// The epoch that leader is in, or that it has begun.
    pub epoch: i64,
}

impl Vote {
    /// What an observer votes.
    pub const NOBODY: Vote = Vote { leader: ServerId(i64::MIN), zxid: Zxid(i64::MIN), epoch: i64::MIN };
}

/// One message on the election port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// Of the sender.
    pub state: PeerState,
    pub vote: Vote,
    /// The sender's count of elections (Java: `electionEpoch`, `logicalclock`).
    pub round: i64,
    /// Of the message; 0 in those that are too short to have one.
    pub version: i32,
    /// The text of the sender's committed membership; not known to parse.
    pub config: Option<&'a [u8]>,
}

/// Why a notification is ignored. Its sender keeps the connection, as with Java
/// (`FastLeaderElection.Messenger.WorkerReceiver`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    TooShort {
        len: usize,
    },
    /// The membership has no end in the message.
    ConfigLength {
        len: i32,
    },
}

impl<'a> Notification<'a> {
    /// Takes the body of a frame. Its length tells the forms of old versions apart.
    ///
    /// # Errors
    /// A message that is to be ignored.
    pub fn decode(body: &'a [u8]) -> std::result::Result<Notification<'a>, Ignored> {
        let too_short = || Ignored::TooShort { len: body.len() };
        let number = |at| long(body, at).ok_or_else(too_short);
        let state = PeerState::from_wire(int(body, 0).ok_or_else(too_short)?);
        let (leader, zxid, round) = (ServerId(number(4)?), Zxid(number(12)?), number(20)?);
        let (epoch, version) = match body.len() {
            28 => (zxid.epoch(), 0),
            // The last four bytes say 1, and Java does not look at them.
            40 => (number(28)?, 0),
            _ => (number(28)?, int(body, 36).ok_or_else(too_short)?),
        };
        let config = if version > 1 {
            let len = int(body, 40).ok_or_else(too_short)?;
            let n = usize::try_from(len).map_err(|_| Ignored::ConfigLength { len })?;
            Some(body[44..].get(..n).ok_or(Ignored::ConfigLength { len })?)
        } else {
            None
        };
        Ok(Notification { state, vote: Vote { leader, zxid, epoch }, round, version, config })
    }

    /// A message as servers of today send it.
    pub fn new(state: PeerState, vote: Vote, round: i64, config: &'a [u8]) -> Notification<'a> {
        Notification { state, vote, round, version: VERSION, config: Some(config) }
    }

    /// The whole frame, always of version 2.
    pub fn encode(&self) -> Vec<u8> {
        let config = self.config.unwrap_or_default();
        let mut out = Vec::with_capacity(48 + config.len());
        jute::put_len(&mut out, 44 + config.len());
        jute::put_int(&mut out, self.state.to_wire());
        jute::put_long(&mut out, self.vote.leader.0);
        jute::put_long(&mut out, self.vote.zxid.0);
        jute::put_long(&mut out, self.round);
        jute::put_long(&mut out, self.vote.epoch);
        jute::put_int(&mut out, VERSION);
        jute::put_buffer(&mut out, Some(config));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(len: usize, version: i32) -> Vec<u8> {
        let vote = Vote { leader: ServerId(3), zxid: Zxid::new(7, 1), epoch: 9 };
        let mut bytes = Notification::new(PeerState::Leading, vote, 5, b"version=0").encode().split_off(4);
        bytes[36..40].copy_from_slice(&version.to_be_bytes());
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn the_length_of_a_notification_says_what_is_in_it() {
        let epoch_and_version =
            |len, version| Notification::decode(&body(len, version)).map(|n| (n.vote.epoch, n.version));
        assert_eq!(epoch_and_version(28, 0), Ok((7, 0)));
        assert_eq!(epoch_and_version(40, 2), Ok((9, 0)), "the version of 40 bytes is not read");
        assert_eq!(epoch_and_version(41, 1), Ok((9, 1)), "version 1 has no membership");
        assert_eq!(epoch_and_version(53, 2), Ok((9, 2)));
        for len in (0..28).chain(29..40) {
            assert_eq!(epoch_and_version(len, 0), Err(Ignored::TooShort { len }));
        }
        for len in 41..44 {
            assert_eq!(epoch_and_version(len, 2), Err(Ignored::TooShort { len }));
        }
    }

    #[test]
    fn a_membership_without_end_makes_the_message_ignored() {
        for len in [-1, 10, i32::MAX, i32::MIN] {
            let mut bytes = body(53, 2);
            bytes[40..44].copy_from_slice(&len.to_be_bytes());
            assert_eq!(Notification::decode(&bytes), Err(Ignored::ConfigLength { len }));
        }
    }

    #[test]
    fn lengths_are_refused_before_anything_is_waited_for() {
        for len in [0, -1, 524_289, i32::MIN] {
            assert_eq!(frame(&i32::to_be_bytes(len)), Err(Misbehaved::FrameLength { len }));
        }
        assert_eq!(frame(&524_288_i32.to_be_bytes()), Ok(None));
        for len in [0, -1, 2049, i32::MAX] {
            let mut bytes = Initial::decode_me();
            bytes[16..20].copy_from_slice(&len.to_be_bytes());
            assert_eq!(Initial::decode(&bytes[..20]), Err(Misbehaved::AddressLength { len }));
        }
    }

    impl Initial {
        fn decode_me() -> Vec<u8> {
            let addresses = vec![HostPort { host: "a".into(), port: 1 }];
            Initial { sid: ServerId(1), form: Form::OneAddress, addresses }.encode()
        }
    }

    #[test]
    fn an_opener_without_a_usable_address_is_hung_up_on() {
        let mut bytes = Initial::decode_me();
        bytes[21] = b'x';
        assert_eq!(Initial::decode(&bytes), Err(Misbehaved::Address { text: "ax1".into() }));
        let unknown = (-7_i64).to_be_bytes();
        assert_eq!(Initial::decode(&unknown), Err(Misbehaved::ElectionProtocol { version: -7 }));
    }

    proptest! {
        #[test]
        fn notifications_come_back(
            state in 0..5_i32, leader: i64, zxid: i64, epoch: i64, round: i64,
            config in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let vote = Vote { leader: ServerId(leader), zxid: Zxid(zxid), epoch };
            let sent = Notification::new(PeerState::from_wire(state), vote, round, &config);
            let bytes = sent.encode();
            let (body, used) = frame(&bytes).unwrap().unwrap();
            prop_assert_eq!(used, bytes.len());
            prop_assert_eq!(Notification::decode(body), Ok(sent));
        }

        #[test]
        fn openers_come_back_and_no_part_of_them_is_taken_for_more(
            sid: i64, names in proptest::collection::vec("[a-z.]{1,9}|[0-9a-f:]{2,9}", 1..4), port: u16,
            several: bool,
        ) {
            let addresses = names.into_iter().map(|host| HostPort { host, port }).collect();
            let form = if several { Form::SeveralAddresses } else { Form::OneAddress };
            let sent = Initial { sid: ServerId(sid), form, addresses };
            let bytes = sent.encode();
            for end in 0..bytes.len() {
                prop_assert_eq!(Initial::decode(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(Initial::decode(&bytes), Ok(Some((sent, bytes.len()))));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Initial::decode(&bytes);
            let _ = frame(&bytes);
            let _ = Notification::decode(&bytes);
        }
    }
}
