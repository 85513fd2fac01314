//! The effects that storage needs, as two small traits, and the real file system behind them.
//!
//! Everything above decides and computes; whatever touches a file goes through here. The simulator brings its
//! own [`Disk`]: in memory, tearing unsynced writes in pages, losing names whose directory was not synced,
//! failing when it likes.
//!
//! # What is asked of the disk
//!
//! 1. After [`SegmentFile::sync`] or [`DiskFile::sync`] returned, the file's bytes survive a crash; after
//!    [`Disk::sync_dir`], the names do. Nothing else is assumed: unsynced pages may be kept or lost in any order.
//! 2. A rename is atomic: after a crash the new name shows the old file or the new one, whole.
//! 3. Bytes that were synced do not change later. Where they do, checksums notice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::map::MappedSegment;

/// What a disk writes as a whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// A directory tree of files.
pub trait Disk: Send + Sync {
    /// The names of the files in `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Reads from byte `from` on.
    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>>;
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// A new, empty file to be written from front to back; replaces one of the same name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A new file of `len` zero bytes whose blocks are really allocated, so that storing to it cannot run
    /// out of space. Fails with `StorageFull` where that is not possible.
    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Cuts the file to `len` bytes and syncs it.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Makes durable what other processes, long gone, may have written to the file.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written from front to back.
pub trait DiskFile: Write + Send {
    fn sync(&mut self) -> io::Result<()>;
}

/// A preallocated stretch of log.
pub trait Segment: Send {
    /// Allocated size in bytes.
    fn capacity(&self) -> u64;
    /// Stores `bytes` at `at`; both ends are inside the segment. Durable only after a sync of [`Segment::file`].
    fn store(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// A handle for the thread that syncs.
    fn file(&self) -> Arc<dyn SegmentFile>;
}

/// What another thread may do to a segment while it is written.
pub trait SegmentFile: Send + Sync {
    /// Writes zeros over `len` bytes from `at`, so that later stores and syncs need no change of metadata.
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Gives back what lies behind `len`.
    fn trim(&self, len: u64) -> io::Result<()>;
}

/// The operating system's files.
pub struct RealDisk;

impl Disk for RealDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is nobody's log or snapshot.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        // Only a hint: the kernel reads further ahead.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Ok(Box::new(file))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) => {}
            // File systems without fallocate: the slow way to the same thing.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.write_zeros(0, len)?,
            Err(e) => return Err(e.into()),
        }
        Ok(Box::new(MappedSegment::new(Arc::new(file), len)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_data()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl SegmentFile for File {
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let end = at + len;
        let mut at = at;
        while at < end {
            let n = (end - at).min(ZEROS.len() as u64);
            self.write_all_at(&ZEROS[..n as usize], at)?;
            at += n;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn trim(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}
