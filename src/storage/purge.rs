//! Deleting what no restart needs: `autopurge.*`, `zkCleanup.sh` and `serval purge`.
//!
//! Kept are the newest snapshots, so many as asked for, every log from the oldest of them on, and the log before. What
//! Java calls valid is a snapshot that ends well; it may still be corrupt, and then Java deletes the good one before
//! it (ZOOKEEPER-3231). Here the oldest one kept must load to its last seal, else older ones are kept too, up to one
//! that does. Names without a zxid (`log.zz`) are not ours and stay; Java deletes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::dirs::DataDirs;
use super::error::{Result, StorageError, io_error};
use super::names::{Kind, numbered};
use super::recovery::LoadOptions;
use super::snapshot::{self, Nowhere};

/// `autopurge.snapRetainCount` may not be less.
pub const SNAPSHOTS_KEPT_MIN: usize = 3;

/// Deletes what `keep` snapshots make superfluous; announces each file before it is deleted. A file that cannot be
/// deleted does not keep the others; the first such error is returned in the end.
///
/// Safe beside a running server, whose newest files are never touched. Reads one snapshot whole, so it belongs on a
/// helper thread.
pub fn purge(
    dirs: &DataDirs,
    options: &LoadOptions,
    keep: usize,
    announce: &mut dyn FnMut(&Path),
) -> Result<Vec<PathBuf>> {
    let disk = &*dirs.disk;
    let snapshots = numbered(disk, &dirs.snap, Kind::Snapshot)?;
    let mut passing = Vec::new();
    for file in snapshots.iter().rev() {
        if snapshot::quick_test(disk, &file.path).map_err(io_error("read", &file.path))? {
            passing.push(file);
        }
    }
    let loads = |path: &Path| snapshot::load(disk, path, options.len_max, &mut Nowhere).is_ok();
    let first_asked = passing.len().min(keep.max(SNAPSHOTS_KEPT_MIN)).saturating_sub(1);
    let Some(oldest) = passing[first_asked.min(passing.len())..].iter().find(|file| loads(&file.path)) else {
        return Ok(Vec::new());
    };
    let logs = numbered(disk, &dirs.log, Kind::Log)?;
    // Recovery from the oldest snapshot also reads the log that may hold its own zxid.
    let logs_from = logs.iter().rev().map(|file| file.zxid).find(|&zxid| zxid <= oldest.zxid);
    let superfluous = snapshots.iter().filter(|file| file.zxid < oldest.zxid);
    // Snapshots go first, oldest first: at no moment is there one whose logs are gone.
    let superfluous =
        superfluous.chain(logs.iter().filter(|file| logs_from.is_some_and(|from| file.zxid < from)));
    let mut removed = Vec::new();
    let mut failed = None;
    for file in superfluous {
        announce(&file.path);
        match disk.remove(&file.path) {
            Ok(()) => removed.push(file.path.clone()),
            Err(e) => failed = failed.or(Some(io_error("delete", &file.path)(e))),
        }
    }
    failed.map_or(Ok(removed), Err)
}

const USAGE: &str = "Usage:
PurgeTxnLog dataLogDir [snapDir] -n count
\tdataLogDir -- path to the txn log directory
\tsnapDir -- path to the snapshot directory
\tcount -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3";

/// `PurgeTxnLog dataLogDir [snapDir] -n count`, with its messages; returns the exit code.
pub fn purge_command(args: &[String]) -> i32 {
    let (log_dir, snap_dir, count) = match args {
        [log, flag, count] if flag == "-n" => (log, log, count),
        [log, snap, flag, count] if flag == "-n" => (log, snap, count),
        _ => return usage(None),
    };
    for dir in [log_dir, snap_dir] {
        if !Path::new(dir).exists() {
            return usage(Some(format!("Path '{}' does not exist. ", absolute(dir).display())));
        }
    }
    let keep = match count.parse::<i32>() {
        Ok(n) => match usize::try_from(n) {
            Ok(n) if n >= SNAPSHOTS_KEPT_MIN => n,
            _ => return usage(Some("count should be greater than or equal to 3".into())),
        },
        Err(_) => return usage(Some(format!("'{count}' can not be parsed to integer."))),
    };
    let dirs = DataDirs::unlocked(Path::new(snap_dir), Path::new(log_dir));
    let announce = &mut |path: &Path| println!("{}", removing_line(path));
    match purge(&dirs, &LoadOptions::default(), keep, announce) {
        Ok(_) => 0,
        Err(StorageError::Io { doing: "delete", path, source }) => {
            eprintln!("Failed to remove {}: {source}", path.display());
            1
        }
        Err(e) => {
            eprintln!("{e}");
            1
        }
    }
}

fn usage(problem: Option<String>) -> i32 {
    if let Some(problem) = problem {
        eprintln!("{problem}");
    }
    println!("{USAGE}");
    1
}

fn absolute(dir: &str) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir))
}

/// What is printed for each file: when it was last written, in UTC, and where it is.
pub fn removing_line(path: &Path) -> String {
    let seconds = fs::metadata(path)
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    format!("Removing file: {}\t{}", java_date(seconds), path.display())
}

/// `Nov 22, 2026, 4:31:29 PM`, as Java's default format shows a time in the C locale.
fn java_date(unix_seconds: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86400, unix_seconds % 86400);
    // Years that begin in March put the leap day last; 1970-01-01 is day 719468 after 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year + u64::from(month < 2);
    let (hour, half) = (seconds / 3600, if seconds < 43200 { "AM" } else { "PM" });
    format!(
        "{} {day}, {year}, {}:{:02}:{:02} {half}",
        MONTHS[month as usize],
        if hour % 12 == 0 { 12 } else { hour % 12 },
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_look_like_javas() {
        assert_eq!(java_date(0), "Jan 1, 1970, 12:00:00 AM");
        assert_eq!(java_date(1_795_365_089), "Nov 22, 2026, 4:31:29 PM");
        assert_eq!(java_date(951_827_696), "Feb 29, 2000, 12:34:56 PM");
        assert_eq!(java_date(1_704_067_199), "Dec 31, 2023, 11:59:59 PM");
    }
}
