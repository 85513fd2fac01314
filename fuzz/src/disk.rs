//! A data directory in memory: fast enough for a fuzzer, and it leaves nothing behind.

use std::path::Path;
use std::sync::Arc;

use serval::storage::memory::MemoryDisk;
use serval::storage::{DataDirs, LoadOptions};

/// The only directory there is; logs and snapshots share it.
const DIR: &str = "/d";

/// Records of fuzzed files are small; so are their limits, or most time would go into clearing buffers.
pub const OPTIONS: LoadOptions = LoadOptions { len_max: 1 << 16, trust_empty: true, autocreate_db: true };

/// A data directory with these files in its `version-2`.
pub fn data_dir<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> DataDirs {
    let disk = MemoryDisk::new();
    let dir = Path::new(DIR).join("version-2");
    for (name, bytes) in files {
        disk.put(&dir.join(name), bytes);
    }
    DataDirs::with_disk(Path::new(DIR), Path::new(DIR), Arc::new(disk))
}
