//! A disk that can fail in the middle of anything: [`MemoryDisk`] behind a counter.
//!
//! After so many operations the power goes: from then on every operation fails, and whatever was under way has done only
//! its first part. What a restart finds is what [`MemoryDisk::crash`] leaves. Instead of the power a single operation may
//! fail, as a bad sector does.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::storage::disk::{Disk, DiskFile, Segment, SegmentFile};
use crate::storage::memory::MemoryDisk;

/// One life of a server's disk. The clones are the same one.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: MemoryDisk,
    switch: Arc<Switch>,
}

struct Switch {
    /// Operations until the power goes or one fails; negative: none is counted.
    left: AtomicI64,
    /// The one that runs out of count fails alone.
    once: AtomicBool,
    off: AtomicBool,
}

impl Switch {
    fn step(&self) -> io::Result<()> {
        if self.off.load(Ordering::Relaxed) {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the power is off"));
        }
        if self.left.load(Ordering::Relaxed) < 0 {
            return Ok(());
        }
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 if self.once.load(Ordering::Relaxed) => Err(io::Error::other("the disk cannot do this")),
            0 => {
                self.off.store(true, Ordering::Relaxed);
                Err(io::Error::new(ErrorKind::BrokenPipe, "the power is off"))
            }
            _ => Ok(()),
        }
    }
}

impl FaultyDisk {
    pub fn new(inner: MemoryDisk) -> FaultyDisk {
        let switch =
            Switch { left: AtomicI64::new(-1), once: AtomicBool::new(false), off: AtomicBool::new(false) };
        FaultyDisk { inner, switch: Arc::new(switch) }
    }

    /// The power goes in the middle of the operation after so many.
    pub fn cut_after(&self, operations: u32) {
        self.switch.once.store(false, Ordering::Relaxed);
        self.switch.left.store(i64::from(operations), Ordering::Relaxed);
    }

    /// The operation after so many fails.
    pub fn fail_after(&self, operations: u32) {
        self.switch.once.store(true, Ordering::Relaxed);
        self.switch.left.store(i64::from(operations), Ordering::Relaxed);
    }

    /// Nothing is to happen any more.
    pub fn spare(&self) {
        self.switch.left.store(-1, Ordering::Relaxed);
    }

    pub fn is_off(&self) -> bool {
        self.switch.off.load(Ordering::Relaxed)
    }
}

impl Disk for FaultyDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.switch.step()?;
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.switch.step()?;
        self.inner.open(path, from)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.switch.step()?;
        self.inner.len(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.switch.step()?;
        Ok(Box::new(FaultyFile { inner: self.inner.create(path)?, switch: self.switch.clone() }))
    }

    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>> {
        self.switch.step()?;
        Ok(Box::new(FaultySegment {
            inner: self.inner.create_segment(path, len)?,
            switch: self.switch.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.switch.step()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.switch.step()?;
        self.inner.remove(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.switch.step()?;
        self.inner.truncate(path, len)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.switch.step()?;
        self.inner.sync_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.switch.step()?;
        self.inner.sync_dir(dir)
    }
}

struct FaultyFile {
    inner: Box<dyn DiskFile>,
    switch: Arc<Switch>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.switch.step()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl DiskFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.switch.step()?;
        self.inner.sync()
    }
}

struct FaultySegment {
    inner: Box<dyn Segment>,
    switch: Arc<Switch>,
}

impl Segment for FaultySegment {
    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.switch.step()?;
        self.inner.store(at, bytes)
    }

    fn file(&self) -> Arc<dyn SegmentFile> {
        Arc::new(FaultySegmentFile { inner: self.inner.file(), switch: self.switch.clone() })
    }
}

struct FaultySegmentFile {
    inner: Arc<dyn SegmentFile>,
    switch: Arc<Switch>,
}

impl SegmentFile for FaultySegmentFile {
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        self.switch.step()?;
        self.inner.write_zeros(at, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.switch.step()?;
        self.inner.sync()
    }

    fn trim(&self, len: u64) -> io::Result<()> {
        self.switch.step()?;
        self.inner.trim(len)
    }
}
