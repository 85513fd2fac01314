//! A disk in memory that can crash: for tests, for fuzzing, and for the simulator to build on.
//!
//! It keeps what a real disk may forget apart from what it may not: each file has its bytes and the bytes of its last
//! sync, each directory its names and the names of its last sync. A crash lets the caller choose, sector by sector,
//! which unsynced bytes survive, so that torn writes and writes out of order are all within reach.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, SECTOR, Segment, SegmentFile};

/// Cheap to clone; the clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, File>,
    synced_names: BTreeMap<PathBuf, File>,
    /// Bytes that may still be allocated; `None` is any number.
    space: Option<u64>,
}

type File = Arc<Mutex<Content>>;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

impl MemoryDisk {
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// From now on only this many more bytes can be allocated.
    pub fn limit_space(&self, bytes: u64) {
        locked(&self.0).space = Some(bytes);
    }

    /// Puts a file there, synced and named.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let file = Arc::new(Mutex::new(Content { bytes: bytes.to_vec(), synced: bytes.to_vec() }));
        let mut state = locked(&self.0);
        state.names.insert(path.to_owned(), file.clone());
        state.synced_names.insert(path.to_owned(), file);
    }

    pub fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let file = locked(&self.0).names.get(path)?.clone();
        let bytes = locked(&file).bytes.clone();
        Some(bytes)
    }

    /// The disk as it is found after a crash at this moment. `survives` is asked, for each sector that was written
    /// since its file's last sync, whether the new bytes reached the disk, and for each unsynced name likewise.
    pub fn crash(&self, mut survives: impl FnMut() -> bool) -> MemoryDisk {
        let state = locked(&self.0);
        let mut names = state.synced_names.clone();
        for (path, file) in &state.names {
            if !names.get(path).is_some_and(|old| Arc::ptr_eq(old, file)) && survives() {
                names.insert(path.clone(), file.clone());
            }
        }
        for path in state.synced_names.keys() {
            if !state.names.contains_key(path) && survives() {
                names.remove(path);
            }
        }
        let found = MemoryDisk::new();
        for (path, file) in names {
            let content = locked(&file).clone();
            let len = if survives() { content.bytes.len() } else { content.synced.len() };
            let mut bytes = content.synced;
            bytes.resize(len, 0);
            for (at, sector) in bytes.chunks_mut(SECTOR).enumerate() {
                let new = content.bytes.get(at * SECTOR..).unwrap_or(&[]);
                let n = sector.len().min(new.len());
                if sector[..n] != new[..n] && survives() {
                    sector[..n].copy_from_slice(&new[..n]);
                }
            }
            found.put(&path, &bytes);
        }
        found
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match &mut locked(&self.0).space {
            Some(space) if *space < bytes => Err(ErrorKind::StorageFull.into()),
            Some(space) => {
                *space -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        locked(&self.0).names.get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn new_file(&self, path: &Path, len: u64) -> File {
        let bytes = vec![0; usize::try_from(len).expect("small files only")];
        let file = Arc::new(Mutex::new(Content { bytes, synced: Vec::new() }));
        locked(&self.0).names.insert(path.to_owned(), file.clone());
        file
    }
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = locked(&self.0);
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let bytes = locked(&*self.file(path)?).bytes.clone();
        let mut reader = Cursor::new(bytes);
        reader.set_position(from);
        Ok(Box::new(reader))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(locked(&*self.file(path)?).bytes.len() as u64)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Writing { disk: self.clone(), file: self.new_file(path, 0) }))
    }

    fn create_segment(&self, path: &Path, len: u64) -> io::Result<Box<dyn Segment>> {
        self.allocate(len)?;
        Ok(Box::new(MemorySegment { file: Arc::new(Shared(self.new_file(path, len))), len }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        let file = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.0).names.remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = Shared(self.file(path)?);
        file.trim(len)?;
        file.sync()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        Shared(self.file(path)?).sync()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = locked(&self.0);
        let State { names, synced_names, .. } = &mut *state;
        synced_names.retain(|path, _| path.parent() != Some(dir));
        let inside = names.iter().filter(|(path, _)| path.parent() == Some(dir));
        synced_names.extend(inside.map(|(path, file)| (path.clone(), file.clone())));
        Ok(())
    }
}

struct Writing {
    disk: MemoryDisk,
    file: File,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.allocate(bytes.len() as u64)?;
        locked(&self.file).bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Writing {
    fn sync(&mut self) -> io::Result<()> {
        Shared(self.file.clone()).sync()
    }
}

struct MemorySegment {
    file: Arc<Shared>,
    len: u64,
}

impl Segment for MemorySegment {
    fn capacity(&self) -> u64 {
        self.len
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = at as usize;
        locked(&self.file.0).bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn file(&self) -> Arc<dyn SegmentFile> {
        self.file.clone()
    }
}

struct Shared(File);

impl SegmentFile for Shared {
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        locked(&self.0).bytes[at as usize..(at + len) as usize].fill(0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = locked(&self.0);
        content.synced = content.bytes.clone();
        Ok(())
    }

    fn trim(&self, len: u64) -> io::Result<()> {
        locked(&self.0).bytes.truncate(len as usize);
        Ok(())
    }
}
