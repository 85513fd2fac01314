//! The two directories of a server: found, checked and locked.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, RealDisk};
use super::error::{Result, StorageError, io_error};
use super::names::Kind;

/// Where a server's files are. Cheap to clone; helper threads get their own copy.
#[derive(Clone)]
pub struct DataDirs {
    /// `dataDir`: `myid` and the pid file.
    pub data_dir: PathBuf,
    /// `dataLogDir`, the same as `data_dir` unless configured.
    pub data_log_dir: PathBuf,
    /// `dataDir/version-2`: snapshots and epochs.
    pub snap: PathBuf,
    /// `dataLogDir/version-2`: transaction logs.
    pub log: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
}

/// Keeps every other Serval out of the directories for as long as it lives.
pub struct DirLock {
    /// A line for the log if a live Java server seems to be at home here.
    pub warning: Option<String>,
    _locks: Vec<File>,
}

/// Java ignores the name, and a lock left behind by a crash is none: the kernel lets go of it.
const LOCK_NAME: &str = ".serval.lock";

impl DataDirs {
    /// Checks both directories as Java does at start-up (`FileTxnSnapLog`), and takes them for this process.
    ///
    /// With `autocreate` missing directories are made. Every error here ends in exit code 3 or 1.
    pub fn open(data_dir: &Path, data_log_dir: &Path, autocreate: bool) -> Result<(DataDirs, DirLock)> {
        let dirs = DataDirs::with_disk(data_dir, data_log_dir, Arc::new(RealDisk));
        for dir in [&dirs.snap, &dirs.log] {
            usable(dir, autocreate)?;
        }
        let mut locks = Vec::new();
        if same_dir(&dirs.snap, &dirs.log)? {
            locks.push(lock(&dirs.snap)?);
        } else {
            dirs.check_not_mixed_up()?;
            locks.push(lock(&dirs.snap)?);
            locks.push(lock(&dirs.log)?);
        }
        super::recovery::remove_leftovers(&dirs)?;
        let warning = live_java_server(data_dir);
        Ok((dirs, DirLock { warning, _locks: locks }))
    }

    /// Neither checked nor locked: for tools beside a running server, which only read or delete old files.
    pub fn unlocked(data_dir: &Path, data_log_dir: &Path) -> DataDirs {
        DataDirs::with_disk(data_dir, data_log_dir, Arc::new(RealDisk))
    }

    /// The same places on another disk; the simulator's way in.
    pub fn with_disk(data_dir: &Path, data_log_dir: &Path, disk: Arc<dyn Disk>) -> DataDirs {
        DataDirs {
            data_dir: data_dir.to_owned(),
            data_log_dir: data_log_dir.to_owned(),
            snap: data_dir.join("version-2"),
            log: data_log_dir.join("version-2"),
            disk,
        }
    }

    fn check_not_mixed_up(&self) -> Result<()> {
        let holds = |dir: &Path, kind: Kind| -> Result<bool> {
            Ok(self.disk.list(dir).map_err(io_error("list", dir))?.iter().any(|name| kind.claims(name)))
        };
        if holds(&self.log, Kind::Snapshot)? {
            let path = self.log.clone();
            return Err(StorageError::MisplacedFiles { path, kind: "snapshot", setting: "dataLogDir" });
        }
        if holds(&self.snap, Kind::Log)? {
            let path = self.snap.clone();
            return Err(StorageError::MisplacedFiles { path, kind: "log", setting: "dataDir" });
        }
        Ok(())
    }
}

fn usable(dir: &Path, autocreate: bool) -> Result<()> {
    let bad = |problem| StorageError::BadDir { path: dir.to_owned(), problem };
    match fs::metadata(dir) {
        Ok(meta) if !meta.is_dir() => {
            return Err(bad("is not a directory; correct the setting or remove the file"));
        }
        Ok(_) => {}
        Err(_) if !autocreate => {
            return Err(bad("is missing and datadir.autocreate=false; run zkServer-initialize.sh"));
        }
        Err(_) => fs::create_dir_all(dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                bad("cannot be created: permission denied; create it for this user or choose another")
            }
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => bad(
                "cannot be created: something on its path is a file; correct the setting or remove the file",
            ),
            std::io::ErrorKind::ReadOnlyFilesystem => {
                bad("cannot be created: the file system is read-only; choose another")
            }
            _ => StorageError::Io { doing: "create directory", path: dir.to_owned(), source: e },
        })?,
    }
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|_| bad("is not writable by this user; check its owner and mode"))
}

fn same_dir(a: &Path, b: &Path) -> Result<bool> {
    let id = |dir: &Path| -> Result<(u64, u64)> {
        let meta = fs::metadata(dir).map_err(io_error("look at", dir))?;
        Ok((meta.dev(), meta.ino()))
    };
    Ok(id(a)? == id(b)?)
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(StorageError::Locked { path: dir.to_owned(), pid: pid.trim().parse().ok() });
        }
        // Some network file systems have no locks; serving without one is what Java does everywhere.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => return Ok(file),
        Err(e) => return Err(io_error("lock", &path)(e.into())),
    }
    let pid = format!("{}\n", std::process::id());
    file.rewind()
        .and_then(|()| file.set_len(0))
        .and_then(|()| file.write_all(pid.as_bytes()))
        .map_err(io_error("write", &path))?;
    Ok(file)
}

/// Java takes no lock; the pid file of its start script is all there is to go by, so this only warns.
fn live_java_server(data_dir: &Path) -> Option<String> {
    let path = data_dir.join("zookeeper_server.pid");
    let pid: u32 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    if pid == std::process::id() {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&command).contains("org.apache.zookeeper").then(|| {
        format!(
            "{} names process {pid}, a running Java ZooKeeper: two servers on one data directory destroy it",
            path.display()
        )
    })
}
