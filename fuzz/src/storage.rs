//! Files of the data directory: `serval::storage`.

use serval::ids::{SessionId, Zxid};
use serval::storage::snapshot::{self, encode_acl, encode_node, encode_start};
use serval::storage::{
    BadNode, DataDirs, Notice, SnapshotSink, StorageError, frame_record, load_snapshot, replay,
};
use serval::wire::records::{AclList, StatPersisted};
use serval::wire::txn::LoggedTxn;

use super::disk::{OPTIONS, data_dir};
use super::tree::check_loadable;
use super::wire::may_hold_astral;

/// A log as the last one of a directory.
///
/// The first byte says how it is used. Odd: the checksums of its records are put right first, since no fuzzer
/// guesses them, and what lies behind a checksum would never be reached. With the second bit the file stands
/// between two others.
///
/// Whatever is in it: transactions come in rising order, and a start that succeeds has left files from which the next
/// start reads the same transactions with nothing to repair.
pub fn log(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    let mut log = bytes.to_vec();
    if mode & 1 == 1 {
        mend_checksums(&mut log);
    }
    // Both neighbours are empty logs: only the newest may be, so the later one is cut or deleted.
    let header = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
    let dirs = match mode & 2 {
        0 => data_dir([("log.1", &log[..])]),
        _ => data_dir([("log.1", &header[..]), ("log.5", &log), ("log.9", &header)]),
    };
    let Ok((first, notices)) = replayed(&dirs) else { return };
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "zxids rise");
    let (second, notices_again) = replayed(&dirs).expect("what was read once is read again");
    assert_eq!(first, second, "settling loses nothing and brings nothing back; first: {notices:?}");
    let repairs =
        |notice: &&Notice| matches!(notice, Notice::TornTail { cut: true, .. } | Notice::EmptyLog { .. });
    assert_eq!(notices_again.iter().find(repairs), None, "one repair is enough");
}

/// One start: everything replayed, then settled.
fn replayed(dirs: &DataDirs) -> Result<(Vec<Zxid>, Vec<Notice>), StorageError> {
    let mut zxids = Vec::new();
    let replay = replay(dirs, &OPTIONS, Zxid::ZERO, &mut |logged: LoggedTxn<'_>, payload: &[u8]| {
        assert!(!payload.is_empty());
        zxids.push(logged.header.zxid);
    })?;
    assert_eq!(replay.last, zxids.last().copied());
    replay.settle(dirs)?;
    Ok((zxids, replay.notices))
}

/// Follows the records from the file's header and gives each the checksum that its payload has.
fn mend_checksums(log: &mut [u8]) {
    let mut at = 16;
    while let Some(len) = log.get(at + 8..at + 12) {
        let len = u32::from_be_bytes(len.try_into().expect("four bytes")) as usize;
        if len == 0 || len > log.len() - at - 12 {
            return;
        }
        let mut framed = Vec::new();
        frame_record(&mut framed, &log[at + 12..at + 12 + len]);
        log[at..at + 8].copy_from_slice(&framed[..8]);
        at += 12 + len + 1;
    }
}

/// A snapshot: read as a plain one, and as a start finds it under a name that the first byte chooses.
///
/// What was accepted can be written again and reads the same.
pub fn snapshot(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    let name = ["snapshot.7", "snapshot.7.gz", "snapshot.7.snappy"][usize::from(mode) % 3];
    let mut found = Found::default();
    drop(load_snapshot(&data_dir([(name, bytes)]), &OPTIONS, &mut found));

    check_loadable(bytes);
    if snapshot::parse(bytes, OPTIONS.len_max, &mut found).is_ok() {
        let mut again = Found::default();
        let written = found.write();
        // The seals are missing, which shows only behind the last node.
        assert!(snapshot::parse(&written[..], OPTIONS.len_max, &mut again).is_err());
        if !may_hold_astral(bytes) {
            assert_eq!(found, again);
        }
    }
}

/// Everything that a snapshot brought.
#[derive(Debug, Default, PartialEq)]
struct Found {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<u8>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
}

impl SnapshotSink for Found {
    fn begin(&mut self) {
        *self = Found::default();
    }

    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.push((id, timeout_ms));
    }

    fn acl(&mut self, id: i64, list: AclList<'_>) {
        assert_eq!(list.entries().count(), list.len());
        self.acls.push((id, list.bytes().to_vec()));
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BadNode> {
        assert_ne!(path, "/", "that is the end mark");
        self.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), acl_id, *stat));
        Ok(())
    }
}

impl Found {
    fn write(&self) -> Vec<u8> {
        let mut out = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
        encode_start(&mut out, self.sessions.iter().copied(), self.acls.len());
        for (id, list) in &self.acls {
            encode_acl(&mut out, *id, AclList::from_encoded(list).expect("the parser accepted it"));
        }
        for (path, data, acl_id, stat) in &self.nodes {
            encode_node(&mut out, path, data.as_deref(), *acl_id, stat);
        }
        out.extend_from_slice(b"\0\0\0\x01/");
        out
    }
}
