//! Snappy as Java's library frames it (`SnappyOutputStream`), which is not the official snappy frame format.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00   int version 1   int compatible 1   { int length, raw snappy block }*
//! ```

use std::io::{self, Read, Write};

pub(super) const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_LEN: usize = 16;
/// What a block holds uncompressed; Java's default. Readers accept any up to [`BLOCK_MAX`].
const BLOCK: usize = 32 << 10;
/// Larger blocks than any writer makes; bounds what a length field can make us allocate.
const BLOCK_MAX: usize = 16 << 20;

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Uncompresses on the way.
pub(super) struct Reader<R> {
    inner: R,
    begun: bool,
    compressed: Vec<u8>,
    block: Vec<u8>,
    pos: usize,
}

impl<R: Read> Reader<R> {
    pub fn new(inner: R) -> Reader<R> {
        Reader { inner, begun: false, compressed: Vec::new(), block: Vec::new(), pos: 0 }
    }

    /// Reads the next block; false at the end of the file, which may only be between blocks.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.begun {
            let mut header = [0; HEADER_LEN];
            self.inner.read_exact(&mut header)?;
            if header[..8] != MAGIC {
                return Err(bad("not a snappy file of Java's"));
            }
            self.begun = true;
        }
        let mut len = [0; 4];
        match self.inner.read(&mut len[..1])? {
            0 => return Ok(false),
            _ => self.inner.read_exact(&mut len[1..])?,
        }
        let len =
            usize::try_from(i32::from_be_bytes(len)).map_err(|_| bad("negative snappy block length"))?;
        if len > snap::raw::max_compress_len(BLOCK_MAX) {
            return Err(bad("unreasonable snappy block length"));
        }
        self.compressed.resize(len, 0);
        self.inner.read_exact(&mut self.compressed)?;
        let plain = snap::raw::decompress_len(&self.compressed).map_err(io::Error::other)?;
        if plain > BLOCK_MAX {
            return Err(bad("unreasonable snappy block length"));
        }
        self.block.resize(plain, 0);
        let n = snap::raw::Decoder::new()
            .decompress(&self.compressed, &mut self.block)
            .map_err(io::Error::other)?;
        self.block.truncate(n);
        self.pos = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.pos == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = out.len().min(self.block.len() - self.pos);
        out[..n].copy_from_slice(&self.block[self.pos..self.pos + n]);
        self.pos += n;
        Ok(n)
    }
}

/// Compresses on the way; [`Writer::finish`] writes the last, shorter block.
pub(super) struct Writer<W> {
    inner: W,
    begun: bool,
    block: Vec<u8>,
    encoder: snap::raw::Encoder,
}

impl<W: Write> Writer<W> {
    pub fn new(inner: W) -> Writer<W> {
        Writer { inner, begun: false, block: Vec::with_capacity(BLOCK), encoder: snap::raw::Encoder::new() }
    }

    fn write_block(&mut self) -> io::Result<()> {
        if !self.begun {
            let mut header = [0; HEADER_LEN];
            header[..8].copy_from_slice(&MAGIC);
            header[11] = 1;
            header[15] = 1;
            self.inner.write_all(&header)?;
            self.begun = true;
        }
        if !self.block.is_empty() {
            let compressed = self.encoder.compress_vec(&self.block).map_err(io::Error::other)?;
            let len = i32::try_from(compressed.len()).expect("a block is small");
            self.inner.write_all(&len.to_be_bytes())?;
            self.inner.write_all(&compressed)?;
            self.block.clear();
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_whatever_their_number() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let plain: Vec<u8> = (0..len).map(|i| (i / 3 % 251) as u8).collect();
            let mut writer = Writer::new(Vec::new());
            writer.write_all(&plain).unwrap();
            let packed = writer.finish().unwrap();
            let mut back = Vec::new();
            Reader::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, plain);
            if len > 0 {
                let cut = &packed[..packed.len() - 1];
                let e = Reader::new(cut).read_to_end(&mut Vec::new()).unwrap_err();
                assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn lengths_are_refused_before_memory_is_taken() {
        for len in [-1, i32::MAX] {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            file.extend_from_slice(&len.to_be_bytes());
            let e = Reader::new(&file[..]).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::InvalidData);
        }
    }
}
