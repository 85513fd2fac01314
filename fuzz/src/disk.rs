//! A disk in memory, with one directory: fast enough for a fuzzer, and it leaves nothing behind.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serval::storage::disk::{Disk, DiskFile, Segment};
use serval::storage::{DataDirs, LoadOptions};

/// The files by their paths.
#[derive(Default)]
pub struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

/// The only directory there is; logs and snapshots share it.
const DIR: &str = "/d";

/// Records of fuzzed files are small; so are their limits, or most time would go into clearing buffers.
pub const OPTIONS: LoadOptions = LoadOptions { len_max: 1 << 16, trust_empty: true, autocreate_db: true };

impl MemoryDisk {
    /// A data directory with these files in its `version-2`.
    pub fn data_dir<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> DataDirs {
        let disk = MemoryDisk::default();
        let dir = Path::new(DIR).join("version-2");
        let files = files.into_iter().map(|(name, bytes)| (dir.join(name), bytes.to_vec()));
        disk.files.lock().expect("nobody panics with the lock").extend(files);
        DataDirs::with_disk(Path::new(DIR), Path::new(DIR), Arc::new(disk))
    }

    fn with<T>(&self, path: &Path, f: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut files = self.files.lock().expect("nobody panics with the lock");
        files.get_mut(path).map(f).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What only a server that writes would ask for.
fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().expect("nobody panics with the lock");
        let names = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.with(path, |bytes| {
            let mut file = Cursor::new(bytes.clone());
            file.set_position(from);
            Box::new(file) as Box<dyn Read + Send>
        })
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.with(path, |bytes| bytes.len() as u64)
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        read_only()
    }

    fn create_segment(&self, _: &Path, _: u64) -> io::Result<Box<dyn Segment>> {
        read_only()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files.lock().expect("nobody panics with the lock").remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.with(path, |bytes| bytes.resize(len as usize, 0))
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
