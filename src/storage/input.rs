//! A file read through one buffer, from front to back, in pieces that a parser can borrow.

use std::io::{self, Read};

/// Reads `inner` in blocks of [`BLOCK`] bytes; the buffer grows only for a record that is longer.
pub(super) struct Input<R> {
    inner: R,
    buf: Vec<u8>,
    /// What was handed out already ends here.
    pos: usize,
    filled: usize,
    /// The longest piece that may be asked for; what a length field says is not to be trusted.
    piece_max: usize,
    checksum: Option<Checksum>,
}

/// Adler-32 over everything up to a moving mark, computed in long runs.
struct Checksum {
    adler: simd_adler32::Adler32,
    /// Bytes of the buffer up to here are in `adler`.
    summed: usize,
}

const BLOCK: usize = 1 << 20;

impl<R: Read> Input<R> {
    pub fn new(inner: R, piece_max: usize) -> Input<R> {
        Input { inner, buf: vec![0; BLOCK], pos: 0, filled: 0, piece_max, checksum: None }
    }

    /// Counts every byte that is taken from here on into [`Input::adler`].
    pub fn summing(mut self) -> Input<R> {
        self.checksum = Some(Checksum { adler: simd_adler32::Adler32::new(), summed: self.pos });
        self
    }

    /// Adler-32 of all bytes taken.
    pub fn adler(&mut self) -> u64 {
        self.sum_up_to_pos();
        self.checksum.as_ref().map_or(1, |sum| u64::from(sum.adler.finish()))
    }

    fn sum_up_to_pos(&mut self) {
        if let Some(sum) = &mut self.checksum {
            sum.adler.write(&self.buf[sum.summed..self.pos]);
            sum.summed = self.pos;
        }
    }

    /// The next bytes: at least `n`, unless the file ends before; not taken yet.
    ///
    /// More than the limit is an `InvalidData` error: no record is that long.
    pub fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.filled - self.pos < n {
            self.fill(n)?;
        }
        Ok(&self.buf[self.pos..self.filled])
    }

    /// What the last [`Input::peek`] saw, without reading on.
    pub fn buffered(&self) -> &[u8] {
        &self.buf[self.pos..self.filled]
    }

    #[cold]
    fn fill(&mut self, n: usize) -> io::Result<()> {
        if n > self.piece_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a record is longer than the limit"));
        }
        self.sum_up_to_pos();
        self.buf.copy_within(self.pos..self.filled, 0);
        self.filled -= self.pos;
        self.pos = 0;
        if let Some(sum) = &mut self.checksum {
            sum.summed = 0;
        }
        if self.buf.len() < n {
            self.buf.resize(n.next_multiple_of(BLOCK), 0);
        }
        while self.filled < n {
            match self.inner.read(&mut self.buf[self.filled..]) {
                Ok(0) => break,
                Ok(got) => self.filled += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Takes `n` bytes that were peeked at.
    pub fn take(&mut self, n: usize) -> &[u8] {
        let at = self.pos;
        self.pos += n;
        assert!(self.pos <= self.filled, "only bytes that were peeked at are taken");
        &self.buf[at..self.pos]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_across_blocks_come_out_whole_and_are_summed() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 17).map(|i| (i * 7 % 251) as u8).collect();
        let mut input = Input::new(&bytes[..], 2 * BLOCK).summing();
        let mut seen = Vec::new();
        for n in [1, BLOCK - 1, BLOCK + 5, 3, BLOCK].into_iter().chain([9]) {
            assert!(input.peek(n).unwrap().len() >= n);
            seen.extend_from_slice(input.take(n));
            assert_eq!(input.adler(), u64::from(simd_adler32::adler32(&&seen[..])));
        }
        assert_eq!(seen[..], bytes[..seen.len()]);
        let left = bytes.len() - seen.len();
        assert_eq!(input.peek(left + 1).unwrap().len(), left);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_memory_is_taken() {
        let mut input = Input::new(&[0; 8][..], 100);
        assert_eq!(input.peek(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(input.peek(100).unwrap().len(), 8);
    }
}
