//! A log segment, written through a memory mapping. The only `unsafe` code of the crate.
//!
//! A store into a mapped page is a memory copy instead of a system call, and `fdatasync` on the file covers it.
//! The mapping is a window of [`WINDOW`] bytes that moves along with the writer, not the whole segment: what is
//! mapped and touched counts as this process's resident memory, and unmapping much at once takes long.
//!
//! # Invariants
//!
//! 1. Every byte of the segment is inside the file and has its block (`fallocate`, or written zeros) before it is
//!    mapped, so a store raises no SIGBUS for lack of a block.
//! 2. The file shrinks only (`SegmentFile::trim`) after the last store, and never below what was stored.
//! 3. Nobody keeps a reference into the mapping: bytes are copied in, and read back through `read` only.

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use super::disk::{Segment, SegmentFile};

/// Bytes mapped at a time. A multiple of every page size in use.
const WINDOW: u64 = 4 << 20;

/// A preallocated file and the window of it that is mapped.
pub(super) struct MappedSegment {
    file: Arc<File>,
    len: u64,
    window_at: u64,
    window: MmapMut,
}

impl MappedSegment {
    /// Takes a file whose first `len` bytes have their blocks allocated.
    pub fn new(file: Arc<File>, len: u64) -> io::Result<MappedSegment> {
        let window = map(&file, 0, len)?;
        Ok(MappedSegment { file, len, window_at: 0, window })
    }
}

impl Segment for MappedSegment {
    fn capacity(&self) -> u64 {
        self.len
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(at + bytes.len() as u64 <= self.len, "the caller rolls before a record does not fit");
        let (mut at, mut bytes) = (at, bytes);
        while !bytes.is_empty() {
            if at < self.window_at || at >= self.window_at + self.window.len() as u64 {
                self.window_at = at / WINDOW * WINDOW;
                self.window = map(&self.file, self.window_at, self.len)?;
            }
            let from = (at - self.window_at) as usize;
            let n = bytes.len().min(self.window.len() - from);
            self.window[from..from + n].copy_from_slice(&bytes[..n]);
            (at, bytes) = (at + n as u64, &bytes[n..]);
        }
        Ok(())
    }

    fn file(&self) -> Arc<dyn SegmentFile> {
        self.file.clone()
    }
}

fn map(file: &File, at: u64, len: u64) -> io::Result<MmapMut> {
    let window = WINDOW.min(len - at) as usize;
    // SAFETY: the mapping may outlive neither the file's blocks nor its length. Both hold by invariants 1 and 2 of
    // this module: the file was allocated to `len` before it came here, and is not cut below what is stored. Other
    // processes keep away from the file by the lock on the directory (`dirs`); if one wrote to it all the same, the
    // bytes in it would differ, but no reference to them is ever held (invariant 3).
    unsafe { MmapOptions::new().offset(at).len(window).map_mut(file) }
}
