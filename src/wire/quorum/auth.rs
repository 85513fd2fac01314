//! `QuorumAuthPacket`: SASL between servers, before their first packet.
//!
//! ```text
//! i64 0x5f2435013501edcc    i32 status (0 in progress, 1 success, -1 error)    buffer token
//! ```
//!
//! The client begins, with a token that may be empty; the server answers a challenge with status 0, or the
//! end with 1 or -1. A server that does not insist on authentication looks at eight bytes to see whether it
//! is what the peer begins with.

use super::{Misbehaved, Partial, int, long};
use crate::wire::jute;

/// The eight bytes by which authentication is told from everything else that may come first.
pub const MAGIC: i64 = 0x5f24_3501_3501_edcc;

/// Longest token, in bytes. Kerberos tickets with many groups stay far below.
pub const TOKEN_BYTES_MAX: usize = 128 * 1024;

/// One step of an authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthPacket<'a> {
    pub status: Status,
    pub token: Option<&'a [u8]>,
}

/// How the authentication stands (`QuorumAuth.Status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Success,
    /// -1, and whatever else is not one of the two.
    Error,
}

impl<'a> AuthPacket<'a> {
    /// # Errors
    /// Something else than authentication, or a token that is too long.
    pub fn decode(bytes: &'a [u8]) -> Partial<AuthPacket<'a>> {
        match long(bytes, 0) {
            Some(MAGIC) => {}
            Some(magic) => return Err(Misbehaved::AuthMagic { magic }),
            None => return Ok(None),
        }
        let (Some(status), Some(len)) = (int(bytes, 8), int(bytes, 12)) else { return Ok(None) };
        let status = match status {
            0 => Status::InProgress,
            1 => Status::Success,
            _ => Status::Error,
        };
        if len == -1 {
            return Ok(Some((AuthPacket { status, token: None }, 16)));
        }
        let n = usize::try_from(len).ok().filter(|n| *n <= TOKEN_BYTES_MAX).ok_or(Misbehaved::Malformed {
            packet: "authentication",
            malformed: jute::Malformed::UnreasonableLength(len),
        })?;
        Ok(bytes.get(16..16 + n).map(|token| (AuthPacket { status, token: Some(token) }, 16 + n)))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_long(out, MAGIC);
        jute::put_int(
            out,
            match self.status {
                Status::InProgress => 0,
                Status::Success => 1,
                Status::Error => -1,
            },
        );
        jute::put_buffer(out, self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_begin_with_the_magic_is_no_authentication() {
        let bytes = 11_i64.to_be_bytes();
        assert_eq!(AuthPacket::decode(&bytes[..7]), Ok(None));
        assert_eq!(AuthPacket::decode(&bytes), Err(Misbehaved::AuthMagic { magic: 11 }));
    }

    #[test]
    fn a_token_that_is_too_long_is_refused_before_it_arrives() {
        let mut bytes = Vec::new();
        AuthPacket { status: Status::InProgress, token: Some(&[]) }.encode(&mut bytes);
        bytes[12..].copy_from_slice(&(TOKEN_BYTES_MAX as i32 + 1).to_be_bytes());
        assert!(AuthPacket::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn steps_come_back(error: bool, token in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))) {
            let status = if error { Status::Error } else { Status::InProgress };
            let sent = AuthPacket { status, token: token.as_deref() };
            let mut bytes = Vec::new();
            sent.encode(&mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(AuthPacket::decode(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(AuthPacket::decode(&bytes), Ok(Some((sent, bytes.len()))));
        }
    }
}
