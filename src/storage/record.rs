//! The bytes of a log file: a header, records, zeros.
//!
//! ```text
//! header(16)  { checksum(8)  length(4)  payload(length)  0x42 }*  zeros
//! ```
//!
//! The checksum is Adler-32 of the payload alone, in the lower half of a 64-bit number. This module only computes
//! and judges; `log` writes such files, `recovery` reads them.

use simd_adler32::adler32;

/// `ZKLG`, version 2, dbid 0.
pub(super) const FILE_HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
pub(super) const MAGIC: &[u8; 4] = b"ZKLG";

/// Checksum and length, before the payload.
pub(super) const HEAD_LEN: usize = 12;
/// What a record has besides its payload: head and end byte.
pub(super) const OVERHEAD: usize = HEAD_LEN + 1;
/// 'B', `FileTxnLog`'s end of record.
pub(super) const END_BYTE: u8 = 0x42;

/// The twelve bytes before `payload`.
pub(super) fn head(payload: &[u8]) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    let len = i32::try_from(payload.len()).expect("a transaction is bounded by the frame limit");
    head[4..8].copy_from_slice(&adler32(&payload).to_be_bytes());
    head[8..12].copy_from_slice(&len.to_be_bytes());
    head
}

/// Appends one whole record.
pub fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&head(payload));
    out.extend_from_slice(payload);
    out.push(END_BYTE);
}

/// What the bytes at the position of a record are (the table of storage.md 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Length 0: zeros, the end of this file.
    Padding,
    /// A record whose payload has this length.
    Record { checksum: u64, len: usize },
    /// Negative or above the limit. Torn writes into zeros only ever make a length smaller.
    BadLength(i32),
}

pub(super) fn read_head(head: &[u8; HEAD_LEN], len_max: usize) -> Head {
    let (checksum, len) = head.split_at(8);
    let len = i32::from_be_bytes(len.try_into().expect("four bytes"));
    match usize::try_from(len) {
        Ok(0) => Head::Padding,
        Ok(n) if n <= len_max => {
            Head::Record { checksum: u64::from_be_bytes(checksum.try_into().expect("eight bytes")), len: n }
        }
        _ => Head::BadLength(len),
    }
}

pub(super) fn checksum_matches(checksum: u64, payload: &[u8]) -> bool {
    checksum == u64::from(adler32(&payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_head_its_payload_and_the_end_byte() {
        let mut out = Vec::new();
        frame(&mut out, b"Wikipedia");
        assert_eq!(out, b"\0\0\0\0\x11\xe6\x03\x98\0\0\0\x09WikipediaB");
        let found = read_head(out.first_chunk().unwrap(), 100);
        assert_eq!(found, Head::Record { checksum: 0x11e6_0398, len: 9 });
        assert!(checksum_matches(0x11e6_0398, b"Wikipedia"));
        assert!(!checksum_matches(0x1_11e6_0398, b"Wikipedia"), "the upper half counts");
    }

    #[test]
    fn lengths_outside_the_limit_are_no_records() {
        let with = |len: i32| {
            let mut head = [7; HEAD_LEN];
            head[8..].copy_from_slice(&len.to_be_bytes());
            read_head(&head, 100)
        };
        assert_eq!(with(0), Head::Padding);
        assert_eq!(with(-1), Head::BadLength(-1));
        assert_eq!(with(101), Head::BadLength(101));
        assert!(matches!(with(100), Head::Record { len: 100, .. }));
    }
}
