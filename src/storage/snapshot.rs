//! Snapshot files: the whole tree at a zxid, in Java's format.
//!
//! ```text
//! header(16)
//! int sessions  { long session, int timeoutMs }*
//! int acls      { long id, vector<ACL> }*
//! { ustring path, buffer data, long aclId, StatPersisted }*       "" first, parents before children
//! ustring "/"
//! long adler, ustring "/"                                          seal 1
//! long zxid, int version, long digest, long adler, ustring "/"     if the writer has digests
//! long lastProcessedZxid, long adler, ustring "/"                  since 3.9
//! ```
//!
//! Each adler covers every uncompressed byte before it. A file is plain, one gzip member, or xerial's framing of raw
//! snappy blocks; the suffix of its name says which.
//!
//! Writing is shared work: the reactor encodes slices of the tree with the `encode_*` functions and hands the bytes to
//! a helper thread, which owns the [`SnapshotWriter`]. The file gets its name only when it is complete and synced, so
//! that a crash never leaves a half-written `snapshot.<zxid>`, and never replaces a good one by a bad one.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dirs::DataDirs;
use super::disk::{Disk, DiskFile, RealDisk};
use super::error::{Result, StorageError};
use super::input::Input;
use super::names::Kind;
use super::xerial;
use crate::ids::{SessionId, Zxid};
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::records::{AclList, StatPersisted};
use crate::wire::txn::DIGEST_VERSION;

/// `ZKSN`, version 2, dbid -1.
const FILE_HEADER: [u8; 16] = *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
/// The path "/", which ends the nodes and every seal.
const END_MARK: [u8; 5] = *b"\0\0\0\x01/";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What the parser finds, in the order of the file. `begin` comes first for every file that is tried: whatever an
/// earlier, refused one brought must be gone.
pub trait SnapshotSink {
    fn begin(&mut self);
    fn session(&mut self, id: SessionId, timeout_ms: i32);
    fn acl(&mut self, id: i64, list: AclList<'_>);
    /// `acl_id` -1 is world:anyone with all permissions; other ids may be missing from the ACLs (fuzzy snapshots).
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> std::result::Result<(), BadNode>;
}

/// Takes a snapshot apart only to see that it is whole, and what its trailer says.
pub(super) struct Nowhere;

impl SnapshotSink for Nowhere {
    fn begin(&mut self) {}
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclList<'_>) {}
    fn node(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        _: i64,
        _: &StatPersisted,
    ) -> std::result::Result<(), BadNode> {
        Ok(())
    }
}

/// Why a tree cannot take a node; the snapshot is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNode(pub &'static str);

/// What follows the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    /// The tree's digest and the zxid it belongs to; `None` if the writer had none.
    pub digest: Option<(Zxid, u64)>,
    /// Only 3.9 and later write it.
    pub last_processed: Option<Zxid>,
}

/// Why a snapshot is not used.
#[derive(Debug)]
pub enum BadSnapshot {
    Io(io::Error),
    BadMagic,
    /// The file ends inside.
    Torn,
    BadSeal,
    Record(Malformed),
    Node(BadNode),
}

impl std::fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadSnapshot::Io(e) => write!(f, "{e}"),
            BadSnapshot::BadMagic => f.write_str("not a snapshot (wrong magic number)"),
            BadSnapshot::Torn => f.write_str("the file ends too early"),
            BadSnapshot::BadSeal => f.write_str("checksum does not match"),
            BadSnapshot::Record(e) => write!(f, "{e}"),
            BadSnapshot::Node(BadNode(why)) => f.write_str(why),
        }
    }
}

impl From<io::Error> for BadSnapshot {
    fn from(e: io::Error) -> BadSnapshot {
        // Decompressors report a file that was cut this way.
        if e.kind() == io::ErrorKind::UnexpectedEof { BadSnapshot::Torn } else { BadSnapshot::Io(e) }
    }
}

impl From<Malformed> for BadSnapshot {
    fn from(e: Malformed) -> BadSnapshot {
        BadSnapshot::Record(e)
    }
}

/// Parses one uncompressed snapshot. `len_max` bounds single strings and buffers.
pub fn parse(
    from: impl Read,
    len_max: usize,
    sink: &mut dyn SnapshotSink,
) -> std::result::Result<Trailer, BadSnapshot> {
    sink.begin();
    // The longest record is a node, or an ACL list, which has no limit of its own; this one is ample for both.
    let piece_max = (2 * len_max + 256).max(64 << 20);
    let mut parser = Parser { input: Input::new(from, piece_max).summing(), len_max };
    if parser.exactly(FILE_HEADER.len())?[..4] != FILE_HEADER[..4] {
        return Err(BadSnapshot::BadMagic);
    }
    for _ in 0..parser.count()? {
        let mut r = Reader::new(parser.exactly(12)?, len_max);
        sink.session(SessionId(r.long()?), r.int()?);
    }
    for _ in 0..parser.count()? {
        let bytes = parser.acl_entry()?;
        let mut r = Reader::new(bytes, len_max);
        let id = r.long()?;
        let list = AclList::read(&mut r)?;
        if list.bytes() == AclList::NULL.bytes() {
            // A RuntimeException in Java, which stops the server instead of trying the next file.
            return Err(Malformed::BadValue("null ACL list").into());
        }
        sink.acl(id, list);
    }
    while let Some(bytes) = parser.node_entry()? {
        let mut r = Reader::new(bytes, len_max);
        let path = r.string()?.ok_or(Malformed::BadValue("null path"))?;
        let (data, acl_id, stat) = (r.buffer()?, r.long()?, StatPersisted::read(&mut r)?);
        sink.node(&path, data, acl_id, &stat).map_err(BadSnapshot::Node)?;
    }
    parser.seal()?;
    parser.trailer()
}

struct Parser<R> {
    input: Input<R>,
    len_max: usize,
}

impl<R: Read> Parser<R> {
    fn exactly(&mut self, n: usize) -> std::result::Result<&[u8], BadSnapshot> {
        if self.input.peek(n)?.len() < n {
            return Err(BadSnapshot::Torn);
        }
        Ok(self.input.take(n))
    }

    /// A count that is not positive is none, as in Java's loops.
    fn count(&mut self) -> std::result::Result<u32, BadSnapshot> {
        let count = self.exactly(4)?;
        Ok(u32::try_from(i32::from_be_bytes(count.try_into().expect("four bytes"))).unwrap_or(0))
    }

    /// Asks for more and more of the file until `measure` can tell how long the record is, then takes that.
    fn measured(
        &mut self,
        measure: impl Fn(&mut Reader<'_>) -> jute::Result<()>,
    ) -> std::result::Result<&[u8], BadSnapshot> {
        let mut want = 64;
        loop {
            let have = self.input.peek(want)?;
            let mut r = Reader::new(have, self.len_max);
            match measure(&mut r) {
                Ok(()) => {
                    let len = have.len() - r.rest().len();
                    return Ok(self.input.take(len));
                }
                Err(Malformed::Truncated) if have.len() < want => return Err(BadSnapshot::Torn),
                Err(Malformed::Truncated) => want = 2 * have.len(),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn acl_entry(&mut self) -> std::result::Result<&[u8], BadSnapshot> {
        self.measured(|r| {
            r.long()?;
            AclList::read(r).map(|_| ())
        })
    }

    /// One node's bytes; `None` at the end mark, which is taken.
    fn node_entry(&mut self) -> std::result::Result<Option<&[u8]>, BadSnapshot> {
        const FIXED: usize = 8 + StatPersisted::ENCODED_LEN;
        // In the common case all of it is in the buffer already, and one look finds both lengths.
        let head = self.input.peek(END_MARK.len())?;
        if head.starts_with(&END_MARK) {
            self.input.take(END_MARK.len());
            return Ok(None);
        }
        let path = self.len_at(0)?;
        let data = self.len_at(4 + path)?;
        self.exactly(4 + path + 4 + data + FIXED).map(Some)
    }

    /// The length field `at` bytes ahead; null has no bytes.
    fn len_at(&mut self, at: usize) -> std::result::Result<usize, BadSnapshot> {
        let bytes = self.input.peek(at + 4)?.get(at..at + 4).ok_or(BadSnapshot::Torn)?;
        let len = i32::from_be_bytes(bytes.try_into().expect("four bytes"));
        match usize::try_from(len) {
            Ok(n) if n <= self.len_max => Ok(n),
            _ if len == -1 => Ok(0),
            _ => Err(Malformed::UnreasonableLength(len).into()),
        }
    }

    fn seal(&mut self) -> std::result::Result<(), BadSnapshot> {
        let adler = self.input.adler();
        let seal = self.exactly(8 + END_MARK.len())?;
        if seal[..8] == adler.to_be_bytes() && seal[8..] == END_MARK {
            Ok(())
        } else {
            Err(BadSnapshot::BadSeal)
        }
    }

    /// What follows seal 1, told apart by what fits: a 3.9 reader with digests disabled takes the digest block for
    /// the other one and refuses the file.
    fn trailer(&mut self) -> std::result::Result<Trailer, BadSnapshot> {
        const DIGEST_LEN: usize = 8 + 4 + 8;
        const SEAL_LEN: usize = 8 + END_MARK.len();
        let mut trailer = Trailer::default();
        let left = self.input.peek(TRAILER_MAX + 1)?.len();
        if left > TRAILER_MAX {
            return Err(Malformed::BadValue("data after the end of the snapshot").into());
        }
        if left == 0 || left == 8 + SEAL_LEN {
            // No digest block; perhaps the other.
        } else {
            let bytes = self.input.peek(12)?;
            let mut r = Reader::new(bytes, self.len_max);
            let (zxid, version) = (r.long(), r.int());
            let (Ok(zxid), Ok(version)) = (zxid, version) else { return Err(BadSnapshot::Torn) };
            if version < DIGEST_VERSION {
                // Releases in between stored it as hex text; another digest than ours in any case.
                self.measured(|r| {
                    r.long()?;
                    r.int()?;
                    r.buffer().map(|_| ())
                })?;
            } else {
                let bytes = self.exactly(DIGEST_LEN)?;
                let digest = u64::from_be_bytes(bytes[12..].try_into().expect("eight bytes"));
                if version == DIGEST_VERSION {
                    trailer.digest = Some((Zxid(zxid), digest));
                }
            }
            self.seal()?;
        }
        if self.input.peek(1)?.is_empty() {
            return Ok(trailer);
        }
        let zxid = self.exactly(8)?;
        trailer.last_processed = Some(Zxid(i64::from_be_bytes(zxid.try_into().expect("eight bytes"))));
        self.seal()?;
        if self.input.peek(1)?.is_empty() {
            Ok(trailer)
        } else {
            Err(Malformed::BadValue("data after the end of the snapshot").into())
        }
    }
}

/// Both blocks with room for a digest as text; a decompressor that yields more has met garbage.
const TRAILER_MAX: usize = 4096;

/// The first bytes of every snapshot: header, sessions, and how many ACLs follow.
pub fn encode_start(
    out: &mut Vec<u8>,
    sessions: impl ExactSizeIterator<Item = (SessionId, i32)>,
    acls: usize,
) {
    jute::put_len(out, sessions.len());
    for (id, timeout_ms) in sessions {
        jute::put_long(out, id.0);
        jute::put_int(out, timeout_ms);
    }
    jute::put_len(out, acls);
}

pub fn encode_acl(out: &mut Vec<u8>, id: i64, list: AclList<'_>) {
    jute::put_long(out, id);
    out.extend_from_slice(list.bytes());
}

/// Root first, with the path ""; a node after its parent.
pub fn encode_node(out: &mut Vec<u8>, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) {
    jute::put_string(out, Some(path));
    jute::put_buffer(out, data);
    jute::put_long(out, acl_id);
    stat.write(out);
}

/// How snapshots are written; readers go by the suffix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
}

impl Compression {
    /// The value of `snapshot.compression.method`; anything unknown is none, as in Java.
    pub fn from_setting(value: &str) -> Compression {
        if value.eq_ignore_ascii_case("gz") {
            Compression::Gzip
        } else if value.eq_ignore_ascii_case("snappy") {
            Compression::Snappy
        } else {
            Compression::None
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    /// By the name's last part; an unknown suffix is plain.
    pub(super) fn of_name(path: &Path) -> Compression {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            _ => Compression::None,
        }
    }

    /// The file's uncompressed bytes.
    pub(super) fn reader(self, file: Box<dyn Read + Send>) -> Box<dyn Read> {
        match self {
            Compression::None => file,
            Compression::Gzip => {
                Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 18, file)))
            }
            Compression::Snappy => Box::new(xerial::Reader::new(io::BufReader::with_capacity(1 << 18, file))),
        }
    }
}

/// Java's quick look at a candidate (`SnapStream.isValidSnapshot`): torn files mostly fail it.
pub(super) fn quick_test(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let head = |n: usize| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(n);
        disk.open(path, 0)?.take(n as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Ok(match Compression::of_name(path) {
        Compression::Gzip => head(2)? == GZIP_MAGIC,
        Compression::Snappy => head(8)? == xerial::MAGIC,
        Compression::None => {
            let len = disk.len(path)?;
            let mut tail = Vec::with_capacity(END_MARK.len());
            len >= 10
                && disk.open(path, len - END_MARK.len() as u64)?.read_to_end(&mut tail).is_ok()
                && tail == END_MARK
        }
    })
}

/// Reads the snapshot at `path` into `sink`, whatever its compression.
pub(super) fn load(
    disk: &dyn Disk,
    path: &Path,
    len_max: usize,
    sink: &mut dyn SnapshotSink,
) -> std::result::Result<Trailer, BadSnapshot> {
    let file = disk.open(path, 0)?;
    parse(Compression::of_name(path).reader(file), len_max, sink)
}

/// Reads one snapshot file outside a data directory: for tools and the admin `restore` command.
pub fn load_file(
    path: &Path,
    len_max: usize,
    sink: &mut dyn SnapshotSink,
) -> std::result::Result<Trailer, BadSnapshot> {
    load(&RealDisk, path, len_max, sink)
}

/// A snapshot being written; lives on the helper thread.
///
/// The caller writes what [`encode_start`], [`encode_acl`] and [`encode_node`] made, in any slices; header, end mark
/// and seals are added here. Dropped before [`SnapshotWriter::finish`], it removes what it wrote.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    temp: PathBuf,
    path: PathBuf,
    zxid: Zxid,
    adler: simd_adler32::Adler32,
    out: Option<Encoder>,
    uncompressed: u64,
}

/// A finished snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub zxid: Zxid,
    pub path: PathBuf,
    /// Size on disk.
    pub bytes: u64,
}

enum Encoder {
    Plain(Paced),
    Gzip(Box<flate2::write::GzEncoder<Paced>>),
    Snappy(Box<xerial::Writer<Paced>>),
}

impl SnapshotWriter {
    /// Begins `snapshot.<zxid>`, where `zxid` is the last transaction applied as the first slice was encoded.
    pub fn create(dirs: &DataDirs, zxid: Zxid, compression: Compression) -> Result<SnapshotWriter> {
        let name = format!("{}{}", Kind::Snapshot.name(zxid), compression.suffix());
        let temp = dirs.snap.join(format!("{TEMP_PREFIX}{name}"));
        let file = dirs
            .disk
            .create(&temp)
            .map_err(|source| StorageError::SnapshotWrite { path: temp.clone(), source })?;
        let paced = Paced { file, unsynced: 0, written: 0 };
        let out = match compression {
            Compression::None => Encoder::Plain(paced),
            Compression::Gzip => {
                Encoder::Gzip(Box::new(flate2::write::GzEncoder::new(paced, flate2::Compression::new(6))))
            }
            Compression::Snappy => Encoder::Snappy(Box::new(xerial::Writer::new(paced))),
        };
        let mut writer = SnapshotWriter {
            disk: dirs.disk.clone(),
            dir: dirs.snap.clone(),
            temp,
            path: dirs.snap.join(name),
            zxid,
            adler: simd_adler32::Adler32::new(),
            out: Some(out),
            uncompressed: 0,
        };
        writer.write_chunk(&FILE_HEADER)?;
        Ok(writer)
    }

    /// Adds bytes. Blocks for at most one write-back of [`PACE`] bytes.
    pub fn write_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        self.adler.write(bytes);
        self.uncompressed += bytes.len() as u64;
        let out = self.out.as_mut().expect("present until finish");
        let written = match out {
            Encoder::Plain(out) => out.write_all(bytes),
            Encoder::Gzip(out) => out.write_all(bytes),
            Encoder::Snappy(out) => out.write_all(bytes),
        };
        written.map_err(|source| self.error(source))
    }

    /// What the file is named after.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Uncompressed bytes so far.
    pub fn bytes(&self) -> u64 {
        self.uncompressed
    }

    /// Ends the nodes, seals the file, makes it durable and gives it its name.
    ///
    /// `digest` is the tree's at this moment and the last zxid applied by now; `None` with digests disabled, and then
    /// `last_processed` should be `None` too (a 3.8 reader ignores that block, a 3.9 reader needs the order).
    pub fn finish(
        mut self,
        digest: Option<(Zxid, u64)>,
        last_processed: Option<Zxid>,
    ) -> Result<SnapshotFile> {
        let bytes = self.seal(digest, last_processed)?;
        self.name(bytes)
    }

    /// Ends and seals the file and makes it durable; it has no name yet. Its size on disk, in bytes.
    pub(super) fn seal(&mut self, digest: Option<(Zxid, u64)>, last_processed: Option<Zxid>) -> Result<u64> {
        self.write_chunk(&END_MARK)?;
        self.write_seal()?;
        if let Some((zxid, digest)) = digest {
            let mut block = Vec::new();
            jute::put_long(&mut block, zxid.0);
            jute::put_int(&mut block, DIGEST_VERSION);
            jute::put_long(&mut block, digest as i64);
            self.write_chunk(&block)?;
            self.write_seal()?;
        }
        if let Some(zxid) = last_processed {
            self.write_chunk(&zxid.0.to_be_bytes())?;
            self.write_seal()?;
        }
        let ended = match self.out.take().expect("present until finish") {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Snappy(out) => out.finish(),
        };
        let synced = ended.and_then(|mut paced| {
            paced.file.sync()?;
            Ok(paced.written)
        });
        synced.map_err(|source| self.error(source))
    }

    /// Gives the sealed file its name.
    pub(super) fn name(mut self, bytes: u64) -> Result<SnapshotFile> {
        let renamed = self.disk.rename(&self.temp, &self.path).and_then(|()| self.disk.sync_dir(&self.dir));
        renamed.map_err(|source| self.error(source))?;
        self.temp = PathBuf::new();
        Ok(SnapshotFile { zxid: self.zxid, path: self.path.clone(), bytes })
    }

    fn write_seal(&mut self) -> Result<()> {
        let adler = u64::from(self.adler.finish());
        self.write_chunk(&adler.to_be_bytes())?;
        self.write_chunk(&END_MARK)
    }

    fn error(&self, source: io::Error) -> StorageError {
        StorageError::SnapshotWrite { path: self.path.clone(), source }
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.temp.as_os_str().is_empty() {
            // Given up: nobody reads it, and the next one of this name would replace it.
            let _ = self.disk.remove(&self.temp);
        }
    }
}

/// What the names of unfinished snapshots begin with.
pub(super) const TEMP_PREFIX: &str = "writing.";

/// Bytes after which the file is synced along the way, so that the last sync is short and the dirty pages of a snapshot
/// never pile up in front of a sync of the log.
const PACE: u64 = 4 << 20;

struct Paced {
    file: Box<dyn DiskFile>,
    unsynced: u64,
    written: u64,
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        self.unsynced += n as u64;
        if self.unsynced >= PACE {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
