//! File names of the data directory, read as Java reads them (`Util.getZxidFromName`).
//!
//! A name is split at its dots: the first part says what it is, the second is a hexadecimal zxid, and **the rest is
//! ignored**. `log.5.bak` therefore is a log that begins at zxid 5, and a name whose second part is no number is
//! not looked at.

use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::{Result, io_error};
use crate::ids::Zxid;

/// What a numbered file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Snapshot,
}

impl Kind {
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::Snapshot => "snapshot",
        }
    }

    /// `log.<zxid>` or `snapshot.<zxid>`, without a compression suffix.
    pub fn name(self, zxid: Zxid) -> String {
        format!("{}.{zxid:x}", self.prefix())
    }

    /// The zxid of a name of this kind, `None` if Java would not use the file.
    pub fn zxid_of(self, name: &str) -> Option<Zxid> {
        let mut parts = name.split('.');
        if parts.next()? != self.prefix() {
            return None;
        }
        // Long.parseLong takes a sign; a negative zxid is as good as none.
        let zxid = i64::from_str_radix(parts.next()?, 16).ok()?;
        (zxid >= 0).then_some(Zxid(zxid))
    }

    /// True for every name that Java's start-up checks and purge take for this kind, zxid or not.
    pub fn claims(self, name: &str) -> bool {
        name.strip_prefix(self.prefix()).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A log or snapshot in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub zxid: Zxid,
    pub path: PathBuf,
}

/// The files of one kind in `dir`, in ascending order of zxid, then of name.
pub(super) fn numbered(disk: &dyn Disk, dir: &Path, kind: Kind) -> Result<Vec<Numbered>> {
    let mut files: Vec<Numbered> = disk
        .list(dir)
        .map_err(io_error("list", dir))?
        .into_iter()
        .filter_map(|name| Some(Numbered { zxid: kind.zxid_of(&name)?, path: dir.join(name) }))
        .collect();
    files.sort_by(|a, b| (a.zxid, &a.path).cmp(&(b.zxid, &b.path)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_two_parts_of_a_name_count() {
        assert_eq!(Kind::Log.zxid_of("log.10"), Some(Zxid(16)));
        assert_eq!(Kind::Log.zxid_of("log.5.bak"), Some(Zxid(5)));
        assert_eq!(Kind::Snapshot.zxid_of("snapshot.5.tmp"), Some(Zxid(5)));
        assert_eq!(Kind::Snapshot.zxid_of("snapshot.1f.gz"), Some(Zxid(31)));
        for stray in ["log", "log.", "log.zz", "logs.1", "snapshot.1", "log.-1", "log.0x5"] {
            assert_eq!(Kind::Log.zxid_of(stray), None, "{stray}");
        }
        assert!(Kind::Log.claims("log.zz") && !Kind::Log.claims("logs.1") && !Kind::Log.claims("log"));
        assert_eq!(Kind::Log.name(Zxid::new(1, 0x2b)), "log.10000002b");
    }
}
