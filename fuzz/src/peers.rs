//! Packets between leader and learner, and what may come before them: `serval::wire::quorum`.

use std::fmt::Debug;

use serval::quorum::zab::packet::Packet;
use serval::wire::quorum::Partial;
use serval::wire::quorum::auth::AuthPacket;
use serval::wire::quorum::packet::{FromLeader, FromLearner};

use super::wire::may_hold_astral;

/// What a peer may announce, small so that inputs reach it.
const LEN_MAX: usize = 1 << 12;

/// The first byte says who speaks.
pub fn peers(bytes: &[u8]) {
    let Some((who, stream)) = bytes.split_first() else { return };
    match who % 3 {
        0 => {
            check_prefixes(stream, |bytes| FromLearner::decode(bytes, LEN_MAX));
            let packet = |bytes: &[u8]| {
                let (packet, used) = FromLearner::decode(bytes, LEN_MAX).ok()??;
                Some((Packet::from_learner(packet), used))
            };
            check_again(stream, packet);
        }
        1 => {
            check_prefixes(stream, |bytes| FromLeader::decode(bytes, LEN_MAX));
            let packet = |bytes: &[u8]| {
                let (packet, used) = FromLeader::decode(bytes, LEN_MAX).ok()??;
                Some((Packet::from_leader(&packet).ok()?, used))
            };
            check_again(stream, packet);
        }
        _ => {
            check_prefixes(stream, AuthPacket::decode);
            if let Ok(Some((step, _))) = AuthPacket::decode(stream) {
                let mut again = Vec::new();
                step.encode(&mut again);
                assert_eq!(AuthPacket::decode(&again), Ok(Some((step, again.len()))));
            }
        }
    }
}

/// A message is not complete before its last byte, and nothing behind it counts.
fn check_prefixes<'a, T: Debug + PartialEq>(stream: &'a [u8], decode: impl Fn(&'a [u8]) -> Partial<T>) {
    let Ok(Some((message, used))) = decode(stream) else { return };
    assert!((8..=stream.len()).contains(&used));
    for end in [0, 3, used / 2, used - 1] {
        assert_eq!(decode(&stream[..end]), Ok(None), "{end} of {used} bytes");
    }
    assert_eq!(decode(&stream[..used]), Ok(Some((message, used))));
}

/// What was understood means the same when it is sent again.
fn check_again(stream: &[u8], decode: impl Fn(&[u8]) -> Option<(Packet, usize)>) {
    let Some((packet, _)) = decode(stream) else { return };
    if matches!(packet, Packet::Unknown { .. }) {
        return;
    }
    let mut again = Vec::new();
    packet.encode(&mut again);
    // Text that had to be repaired may be three times as long, and so beyond a limit.
    if let Some((second, used)) = decode(&again) {
        assert_eq!(used, again.len());
        assert!(second == packet || may_hold_astral(stream), "{second:?} instead of {packet:?}");
    } else {
        assert!(again.len() > stream.len(), "{packet:?} is not understood the second time");
    }
}
