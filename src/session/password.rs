//! The 16 bytes that a client must show to resume its session.

use crate::ids::SessionId;

/// What Java derives from the id: the first bytes of `java.util.Random(id XOR 0xB3415C00)`.
///
/// A checksum rather than a secret; it must be Java's so that sessions survive a move between servers.
pub fn password(session: SessionId) -> [u8; 16] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session.0 as u64) ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut out = [0; 16];
    for word in out.chunks_exact_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_javas() {
        let java =
            [0x72, 0xf0, 0x5a, 0x79, 0x17, 0xfe, 0x6b, 0xb1, 0xa0, 0xa5, 0x78, 0x68, 0xb8, 0x8d, 0x4e, 0xe5];
        assert_eq!(password(SessionId(0x0100_0019_b480_0000)), java);
    }
}
