//! Why this server must stop, as far as its files are the reason.
//!
//! Every variant names the file and, where there is one, the offset and the zxid, and its one line of text ends
//! with what the operator can do. Exit codes are Java's (`ExitCode`): 1 for a database that cannot be loaded
//! or a failed write to the log, 3 for a directory that cannot be used, 10 for a snapshot that cannot be written.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::ids::Zxid;

pub type Result<T> = std::result::Result<T, StorageError>;

/// Storage's share of the fatal errors. None is retried: after a failed write or sync nobody knows what the
/// disk holds, and after a failed load the server would serve another history than the one it acknowledged.
#[derive(Debug)]
pub enum StorageError {
    /// A directory is missing and may not be made (`datadir.autocreate=false`), is a file, or is not writable.
    BadDir {
        path: PathBuf,
        problem: &'static str,
    },
    /// Snapshots in the log directory or logs in the snapshot directory: the two settings were mixed up, or
    /// one of them was changed without moving the files.
    MisplacedFiles {
        path: PathBuf,
        kind: &'static str,
        setting: &'static str,
    },
    /// Another process serves from this directory.
    Locked {
        path: PathBuf,
        pid: Option<u32>,
    },
    /// The system refused an operation on a file.
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The log could not be extended, written or synced.
    LogWrite {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    SnapshotWrite {
        path: PathBuf,
        source: io::Error,
    },
    /// A log holds something that no crash leaves behind.
    LogCorrupt {
        path: PathBuf,
        offset: u64,
        /// The last good record before it, in this file.
        after: Option<Zxid>,
        problem: Corruption,
    },
    /// A transaction is missing between two that are there.
    LogGap {
        path: PathBuf,
        offset: u64,
        previous: Zxid,
        found: Zxid,
    },
    /// Snapshots are there, and not one of them loads.
    NoUsableSnapshot {
        dir: PathBuf,
        tried: usize,
        newest: PathBuf,
        problem: String,
    },
    /// Logs are there and no snapshot to start from.
    LogsWithoutSnapshot {
        dir: PathBuf,
        /// Snapshot files that are there and were never written to their end.
        incomplete: usize,
    },
    /// TRUNC names a zxid before everything that is on disk.
    NothingToTruncateTo {
        zxid: Zxid,
        dir: PathBuf,
    },
    /// The promises of this server do not cover its history, or contradict each other.
    EpochBehind {
        /// Where the log ends.
        history: Zxid,
        current: i64,
        accepted: i64,
    },
    /// `currentEpoch` or `acceptedEpoch` holds no number.
    BadEpochFile {
        path: PathBuf,
        content: String,
    },
}

/// What is wrong at one place of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The file does not begin with `ZKLG`.
    BadMagic,
    /// The file is shorter than its header, and not the newest one (there a crash explains it).
    ShortHeader,
    BadLength(i32),
    BadChecksum,
    /// The record's end byte is wrong, but a good record follows: no torn write looks like that.
    BadEndByte,
    /// Checksum right, content not a transaction.
    BadTxn(String),
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corruption::BadMagic => f.write_str("not a transaction log (wrong magic number)"),
            Corruption::ShortHeader => f.write_str("file is shorter than a log's header"),
            Corruption::BadLength(len) => {
                write!(
                    f,
                    "unreasonable record length {len} (the limit is jute.maxbuffer + jute.maxbuffer.extrasize)"
                )
            }
            Corruption::BadChecksum => f.write_str("CRC check failed"),
            Corruption::BadEndByte => f.write_str("a record's end byte is wrong, yet good records follow"),
            Corruption::BadTxn(why) => write!(f, "record is no transaction ({why})"),
        }
    }
}

impl StorageError {
    /// The code that the process ends with.
    pub fn exit_code(&self) -> i32 {
        match self {
            StorageError::BadDir { .. }
            | StorageError::MisplacedFiles { .. }
            | StorageError::Locked { .. } => 3,
            StorageError::SnapshotWrite { .. } => 10,
            StorageError::NothingToTruncateTo { .. } => 13,
            _ => 1,
        }
    }

    /// True where the disk has no room: the one write error that an operator can lift at once.
    pub fn is_disk_full(&self) -> bool {
        match self {
            StorageError::Io { source, .. }
            | StorageError::LogWrite { source, .. }
            | StorageError::SnapshotWrite { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "free space on this file system, then start again",
        io::ErrorKind::PermissionDenied => "check the owner and mode of the file and its directory",
        io::ErrorKind::IsADirectory => "move this directory elsewhere: its name is that of a data file",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; look for disk errors in the kernel log"
        }
        _ => "check the disk and the kernel log, then start again",
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use StorageError::*;
        match self {
            BadDir { path, problem } => write!(f, "data directory {}: {problem}", path.display()),
            MisplacedFiles { path, kind, setting } => write!(
                f,
                "{} holds {kind} files: dataDir and dataLogDir are mixed up or were changed; move the files or correct {setting}",
                path.display()
            ),
            Locked { path, pid: Some(pid) } => write!(
                f,
                "data directory {} is in use by process {pid}; stop it or choose another dataDir",
                path.display()
            ),
            Locked { path, pid: None } => write!(
                f,
                "data directory {} is in use by another process; stop it or choose another dataDir",
                path.display()
            ),
            Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}; {}", path.display(), advice(source))
            }
            LogWrite { doing, path, source } => write!(
                f,
                "cannot {doing} transaction log {}: {source}; nothing unsynced was acknowledged; {}",
                path.display(),
                advice(source)
            ),
            SnapshotWrite { path, source } => {
                write!(f, "cannot write snapshot {}: {source}; {}", path.display(), advice(source))
            }
            LogCorrupt { path, offset, after, problem } => {
                write!(f, "transaction log {} is corrupt at offset {offset}", path.display())?;
                if let Some(zxid) = after {
                    write!(f, " (after zxid {zxid})")?;
                }
                write!(
                    f,
                    ": {problem}; in an ensemble empty this server's version-2 directories and let it sync from \
                     the leader, standalone restore a backup or repair the file with zkTxnLogToolkit.sh -r"
                )
            }
            LogGap { path, offset, previous, found } => write!(
                f,
                "transaction log {} at offset {offset}: zxid {found} is not the next after {previous}; a log file \
                 is missing or torn; in an ensemble empty this server's version-2 directories and let it sync from \
                 the leader, standalone restore the missing file",
                path.display()
            ),
            NoUsableSnapshot { dir, tried, newest, problem } => write!(
                f,
                "not one of the {tried} snapshots in {} can be loaded ({}: {problem}); restore one from a backup, \
                 or in an ensemble empty this server's version-2 directories",
                dir.display(),
                newest.display()
            ),
            LogsWithoutSnapshot { dir, incomplete: incomplete @ 1.. } => write!(
                f,
                "no snapshot is complete ({incomplete} are there), but there are log entries in {}; restore a snapshot \
                 from a backup",
                dir.display()
            ),
            LogsWithoutSnapshot { dir, .. } => write!(
                f,
                "no snapshot found, but there are log entries in {}; restore the snapshots, or set \
                 snapshot.trust.empty=true once if this directory never had one",
                dir.display()
            ),
            NothingToTruncateTo { zxid, dir } => write!(
                f,
                "no log or snapshot in {} reaches back to zxid {zxid}; empty the version-2 directories and let \
                 this server sync from the leader",
                dir.display()
            ),
            EpochBehind { history, current, accepted } => write!(
                f,
                "the log ends at {history}, but currentEpoch is {current} and acceptedEpoch {accepted}; were files of \
                 another server or backup mixed? Empty the version-2 directories and let this server sync from the leader"
            ),
            BadEpochFile { path, content } => write!(
                f,
                "{} should hold a decimal epoch but holds {content:?}; correct it or delete the file",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StorageError::Io { source, .. }
            | StorageError::LogWrite { source, .. }
            | StorageError::SnapshotWrite { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Turns a system error into the fatal error that names the file.
pub(super) fn io_error(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.into();
    move |source| StorageError::Io { doing, path, source }
}
