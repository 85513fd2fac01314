//! Jute, the encoding of everything: big-endian integers, length-prefixed buffers and strings, no tags.
//!
//! The reader follows Java's `BinaryInputArchive`: length -1 is null, other negative lengths and lengths above
//! the limit are refused, invalid UTF-8 becomes U+FFFD. The writer follows `BinaryOutputArchive`: characters
//! above U+FFFF leave as two three-byte surrogates (CESU-8), which is what Java's peers and clients see.
//!
//! # Invariants
//!
//! 1. Reading never allocates more than the bytes at hand, whatever a length field says.
//! 2. After an error the reader's position is unspecified; the record is given up as a whole.

use std::borrow::Cow;
use std::fmt;

/// Java's default for `jute.maxbuffer`, in bytes: the largest frame a client may send.
pub const MAX_BUFFER_DEFAULT: usize = 0xfffff;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end inside a field.
    Truncated,
    /// A string or buffer says a length that is negative or above the limit.
    UnreasonableLength(i32),
    /// A field has a value that no writer produces (an unknown transaction type, a null where none may be).
    BadValue(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => f.write_str("record is truncated"),
            Malformed::UnreasonableLength(len) => write!(f, "unreasonable length {len}"),
            Malformed::BadValue(what) => write!(f, "bad value: {what}"),
        }
    }
}

impl std::error::Error for Malformed {}

pub type Result<T> = std::result::Result<T, Malformed>;

/// A string that borrows from the frame unless its bytes had to be repaired.
pub type Text<'a> = Cow<'a, str>;

/// Reads fields off the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Largest length of a string or buffer, in bytes.
    len_max: usize,
}

impl<'a> Reader<'a> {
    /// `len_max` is `jute.maxbuffer` + `jute.maxbuffer.extrasize` where Java would apply them.
    pub fn new(bytes: &'a [u8], len_max: usize) -> Reader<'a> {
        Reader { rest: bytes, len_max }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn len_max(&self) -> usize {
        self.len_max
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes as they are.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Any non-zero byte is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.byte()? != 0)
    }

    pub fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer; null and empty are different values.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        let len = self.int()?;
        if len == -1 {
            return Ok(None);
        }
        let n = usize::try_from(len).map_err(|_| Malformed::UnreasonableLength(len))?;
        if n > self.len_max {
            return Err(Malformed::UnreasonableLength(len));
        }
        self.take(n).map(Some)
    }

    /// A string or null. Bytes that are not UTF-8 are replaced, never refused.
    pub fn string(&mut self) -> Result<Option<Text<'a>>> {
        Ok(self.buffer()?.map(decode_text))
    }

    /// The number of elements of a vector: `None` for null (-1), 0 for every other count that is not positive.
    ///
    /// The count is not a size to allocate: it may be anything up to 2^31-1 in front of no bytes at all.
    pub fn count(&mut self) -> Result<Option<usize>> {
        let n = self.int()?;
        Ok(if n == -1 { None } else { Some(usize::try_from(n).unwrap_or(0)) })
    }

    /// A vector of strings; elements that are null are kept as such. `None` is the null vector.
    pub fn strings(&mut self) -> Result<Option<Vec<Option<Text<'a>>>>> {
        let Some(n) = self.count()? else { return Ok(None) };
        // Each element has at least its four bytes of length, so what is at hand bounds the allocation.
        let mut all = Vec::with_capacity(n.min(self.rest.len() / 4));
        for _ in 0..n {
            all.push(self.string()?);
        }
        Ok(Some(all))
    }
}

/// Decodes as Java's reader does. Each CESU-8 surrogate, which only Java's writer makes, is one U+FFFD: Java
/// cannot read back what it wrote there, and a server that could would show its clients another string.
fn decode_text(bytes: &[u8]) -> Text<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(decode_repaired(bytes)),
    }
}

fn decode_repaired(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return out;
            }
            Err(e) => {
                let (valid, bad) = rest.split_at(e.valid_up_to());
                out.push_str(std::str::from_utf8(valid).expect("valid_up_to bounds valid UTF-8"));
                if is_surrogate(bad) {
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &bad[3..];
                } else {
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &bad[e.error_len().unwrap_or(bad.len())..];
                }
            }
        }
    }
    out
}

fn is_surrogate(bytes: &[u8]) -> bool {
    matches!(bytes, [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..])
}

pub fn put_byte(out: &mut Vec<u8>, v: u8) {
    out.push(v);
}

pub fn put_bool(out: &mut Vec<u8>, v: bool) {
    out.push(u8::from(v));
}

pub fn put_int(out: &mut Vec<u8>, v: i32) {
    out.extend_from_slice(&v.to_be_bytes());
}

pub fn put_long(out: &mut Vec<u8>, v: i64) {
    out.extend_from_slice(&v.to_be_bytes());
}

/// A length or count. Nothing that Serval holds comes near 2^31 bytes: frames and log entries are bounded.
pub fn put_len(out: &mut Vec<u8>, n: usize) {
    put_int(out, i32::try_from(n).expect("lengths are bounded by the frame limit"));
}

pub fn put_buffer(out: &mut Vec<u8>, v: Option<&[u8]>) {
    match v {
        None => put_int(out, -1),
        Some(bytes) => {
            put_len(out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

pub fn put_string(out: &mut Vec<u8>, v: Option<&str>) {
    let Some(text) = v else { return put_int(out, -1) };
    // Only characters above U+FFFF begin with a byte from 0xf0 up.
    if text.bytes().all(|b| b < 0xf0) {
        return put_buffer(out, Some(text.as_bytes()));
    }
    let at = out.len();
    put_int(out, 0);
    for c in text.chars() {
        let mut utf8 = [0; 4];
        if (c as u32) < 0x10000 {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            out.extend_from_slice(&[
                0xe0 | (*unit >> 12) as u8,
                0x80 | ((*unit >> 6) & 0x3f) as u8,
                0x80 | (*unit & 0x3f) as u8,
            ]);
        }
    }
    let len = i32::try_from(out.len() - at - 4).expect("lengths are bounded by the frame limit");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a frame: the four bytes of length, then what `body` writes.
pub fn put_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put_int(out, 0);
    body(out);
    let len = i32::try_from(out.len() - at - 4).expect("a reply fits in 2^31 bytes");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(bytes, MAX_BUFFER_DEFAULT)
    }

    #[test]
    fn null_and_empty_are_different() {
        assert_eq!(reader(&[0xff; 4]).buffer(), Ok(None));
        assert_eq!(reader(&[0; 4]).buffer(), Ok(Some(&[][..])));
    }

    #[test]
    fn lengths_are_refused_before_the_bytes_are_looked_at() {
        assert_eq!(reader(&(-2i32).to_be_bytes()).buffer(), Err(Malformed::UnreasonableLength(-2)));
        let over = MAX_BUFFER_DEFAULT as i32 + 1;
        assert_eq!(reader(&over.to_be_bytes()).buffer(), Err(Malformed::UnreasonableLength(over)));
        assert_eq!(reader(&8i32.to_be_bytes()).buffer(), Err(Malformed::Truncated));
    }

    #[test]
    fn a_huge_vector_count_runs_into_the_end_of_the_data() {
        assert_eq!(reader(&i32::MAX.to_be_bytes()).strings(), Err(Malformed::Truncated));
        assert_eq!(reader(&(-7i32).to_be_bytes()).strings(), Ok(Some(vec![])));
        assert_eq!(reader(&(-1i32).to_be_bytes()).strings(), Ok(None));
    }

    #[test]
    fn characters_outside_the_bmp_leave_as_two_surrogates() {
        let mut out = Vec::new();
        put_string(&mut out, Some("/\u{1f600}"));
        assert_eq!(out, [0, 0, 0, 7, 0x2f, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]);
    }

    #[test]
    fn each_surrogate_reads_as_one_replacement_character() {
        let bytes = [0, 0, 0, 8, 0x2f, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80, 0x62];
        assert_eq!(reader(&bytes).string().unwrap().unwrap(), "/\u{fffd}\u{fffd}b");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        let bytes = [&3i32.to_be_bytes()[..], b"a\xffb"].concat();
        assert_eq!(reader(&bytes).string().unwrap().unwrap(), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn strings_come_back(text in "[^\u{10000}-\u{10ffff}]*") {
            let mut out = Vec::new();
            put_string(&mut out, Some(&text));
            prop_assert_eq!(reader(&out).string().unwrap().unwrap(), text);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = reader(&bytes).strings();
            let _ = reader(&bytes).string();
        }
    }
}
