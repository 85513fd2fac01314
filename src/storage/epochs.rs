//! `currentEpoch` and `acceptedEpoch`: the promises of an ensemble member, one decimal number to a file.
//!
//! Written to `<name>.tmp`, synced, renamed, and the directory synced (which Java leaves out): once a write returned, a
//! promise made on the strength of it cannot be forgotten.

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use super::dirs::DataDirs;
use super::error::{Result, StorageError, io_error};

/// Which of the two promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochFile {
    /// The epoch of the last NEWLEADER that was acknowledged.
    Current,
    /// The highest epoch that a leader was promised (NEWEPOCH).
    Accepted,
}

impl EpochFile {
    fn name(self) -> &'static str {
        match self {
            EpochFile::Current => "currentEpoch",
            EpochFile::Accepted => "acceptedEpoch",
        }
    }

    /// The stored epoch; `None` if the file was never written.
    pub fn read(self, dirs: &DataDirs) -> Result<Option<i64>> {
        read(dirs, dirs.snap.join(self.name()))
    }

    /// Durable when it returns.
    pub fn write(self, dirs: &DataDirs, epoch: i64) -> Result<()> {
        let path = dirs.snap.join(self.name());
        let temp = dirs.snap.join(format!("{}.tmp", self.name()));
        let written = dirs.disk.create(&temp).and_then(|mut file| {
            file.write_all(epoch.to_string().as_bytes())?;
            file.sync()?;
            dirs.disk.rename(&temp, &path)?;
            dirs.disk.sync_dir(&dirs.snap)
        });
        written.map_err(io_error("write", path))
    }
}

/// Java reads the first line and parses it without trimming.
fn read(dirs: &DataDirs, path: PathBuf) -> Result<Option<i64>> {
    let mut content = Vec::new();
    match dirs.disk.open(&path, 0).and_then(|file| file.take(64).read_to_end(&mut content)) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", path)(e)),
    }
    let content = String::from_utf8_lossy(&content);
    match content.lines().next().unwrap_or("").parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => Err(StorageError::BadEpochFile { path, content: content.into_owned() }),
    }
}
