//! The state that a server begins with: what its files hold, made into a tree.
//!
//! Loading is the newest good snapshot, every later transaction of the log on top, and the ephemerals of sessions that are
//! no more taken away. It blocks for as long as that takes, so whoever serves meanwhile calls it on a helper thread, and
//! gets a [`State`], which may change threads. A member of an ensemble loads at its start, and again whenever a leader has
//! cut its log: what is on disk then is the truth, not what is in memory.
//!
//! Beside it [`epochs`], the two promises of a member, which have to agree with the history.
//!
//! # Invariants
//!
//! 1. The tree's last zxid is the end of the log, whether or not anybody committed it (ZOOKEEPER-2845).
//! 2. A load that fails changes nothing on disk, but for the marker `initialize`.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::ids::{HashMap, SessionId, Zxid};
use crate::quorum::zab::Epoch;
use crate::storage::{
    self, BadNode, Base, Compression, DataDirs, EpochFile, LoadOptions, SnapshotFile, SnapshotSink,
    SnapshotWriter, StorageError,
};
use crate::tree::{Observer, OpResult, Tree, TreeLoader, TreeOptions};
use crate::wire::jute;
use crate::wire::records::{AclList, StatPersisted};
use crate::wire::reply::EventType;

/// How loading goes about it.
#[derive(Clone, Copy, Debug)]
pub struct LoadSettings {
    pub files: LoadOptions,
    pub tree: TreeOptions,
    /// How many of the newest transactions are kept as they stand in the log (`commitLogCount`); 0 where there is
    /// nobody to send them to.
    pub newest_max: usize,
}

/// What the files hold.
pub struct State {
    pub tree: Tree,
    /// Each session that is alive, and its timeout in milliseconds.
    pub sessions: Vec<(SessionId, i32)>,
    /// The newest transactions that were replayed, oldest first, with their payload as logged.
    pub newest: VecDeque<(Zxid, Box<[u8]>)>,
    /// Transactions replayed from the log.
    pub replayed: u64,
    /// What the snapshot is named after; 0 if there was none.
    pub snapshot_zxid: Zxid,
    /// There is no snapshot yet. One has to be [written](State::write_snapshot) before the first log: logs without a
    /// snapshot are refused at the next start.
    pub base_missing: bool,
    /// False for a directory that is empty and was not declared to be a new database (`db.autocreate=false`, no file
    /// `initialize`). What it lost nobody knows, so it must not be counted anywhere until a leader has filled it.
    pub may_vote: bool,
    pub snapshot_took: Duration,
    pub replay_took: Duration,
}

const _: () = {
    const fn changes_threads<T: Send>() {}
    changes_threads::<State>();
};

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State at {}, {} znodes", self.last_zxid(), self.tree.node_count())
    }
}

impl State {
    /// What a member votes with: -1 where it [may not vote](State::may_vote).
    pub fn last_zxid(&self) -> Zxid {
        if self.may_vote { self.tree.last_zxid() } else { Zxid(-1) }
    }

    /// Writes it all as a snapshot, durable when it returns; blocks for as long as that takes. `with_last_zxid`: the file
    /// ends with the block that 3.9 added.
    pub fn write_snapshot(
        &mut self,
        dirs: &DataDirs,
        compression: Compression,
        with_last_zxid: bool,
    ) -> Result<SnapshotFile, StorageError> {
        let zxid = self.tree.last_zxid();
        let mut writer = SnapshotWriter::create(dirs, zxid, compression)?;
        let mut bytes = Vec::new();
        put_sessions(&mut bytes, self.sessions.iter().copied());
        self.tree.write_acl_map(&mut bytes);
        let cursor = self.tree.snapshot_begin();
        while !self.tree.snapshot_slice(cursor, &mut bytes, 1 << 20) {
            writer.write_chunk(&bytes)?;
            bytes.clear();
        }
        writer.write_chunk(&bytes)?;
        let digest = self.tree.keeps_digest().then(|| (zxid, self.tree.digest()));
        writer.finish(digest, with_last_zxid.then_some(zxid))
    }
}

/// A snapshot begins with this: `int count { long session, int timeoutMs }*`.
fn put_sessions(out: &mut Vec<u8>, sessions: impl ExactSizeIterator<Item = (SessionId, i32)>) {
    jute::put_len(out, sessions.len());
    for (session, timeout_ms) in sessions {
        jute::put_long(out, session.0);
        jute::put_int(out, timeout_ms);
    }
}

/// Snapshot into tree, log onto tree. `elapsed` reads the time since any fixed moment.
pub fn load(
    dirs: &DataDirs,
    settings: &LoadSettings,
    elapsed: impl Fn() -> Duration,
) -> Result<State, StorageError> {
    let started = elapsed();
    let mut sink = Sink::new(settings.tree);
    let (base, notices) = storage::load_snapshot(dirs, &settings.files, &mut sink)?;
    for notice in &notices {
        log::warn!("{notice}");
    }
    let Sink { loader, mut sessions, .. } = sink;
    let mut tree = match base {
        Base::Snapshot { zxid, .. } => loader.finish(zxid),
        Base::New | Base::TrustedLogs | Base::Nothing => Tree::new(settings.tree),
    };
    let snapshot_loaded = elapsed();
    let mut expected = match base {
        Base::Snapshot { digest, .. } => digest,
        _ => None,
    };
    let (mut replayed, mut mismatches) = (0, 0);
    let mut newest = VecDeque::with_capacity(settings.newest_max);
    let replay = storage::replay(dirs, &settings.files, base.zxid(), &mut |logged, payload| {
        replayed += 1;
        if settings.newest_max > 0 {
            if newest.len() == settings.newest_max {
                newest.pop_front();
            }
            newest.push_back((logged.header.zxid, Box::from(payload)));
        }
        tree.apply(&logged.header, &logged.txn, &mut SessionChanges { sessions: &mut sessions });
        // A fuzzy snapshot adds up only once replay has reached the zxid of its seal.
        let wanted = match expected {
            Some((zxid, _)) if logged.header.zxid < zxid => None,
            Some((zxid, digest)) if logged.header.zxid == zxid => {
                expected = None;
                Some(digest)
            }
            _ => logged.digest,
        };
        if settings.tree.digest && wanted.is_some_and(|wanted| wanted != tree.digest()) {
            mismatches += 1;
        }
    })?;
    for notice in &replay.notices {
        log::warn!("{notice}");
    }
    if mismatches > 0 {
        log::warn!(
            "{mismatches} of {replayed} replayed transactions left another digest than their writer had"
        );
    }
    replay.settle(dirs)?;
    delete_orphans(&mut tree, &sessions);
    let ended = elapsed();
    log::info!(
        "Snapshot loaded in {} ms, highest zxid is {}, digest is {}; {} transactions replayed, {} znodes",
        ended.saturating_sub(started).as_millis(),
        tree.last_zxid(),
        tree.digest(),
        replayed,
        tree.node_count()
    );
    Ok(State {
        tree,
        sessions: sessions.into_iter().collect(),
        newest,
        replayed,
        snapshot_zxid: base.zxid().max(Zxid::ZERO),
        base_missing: matches!(base, Base::New | Base::TrustedLogs),
        may_vote: base != Base::Nothing,
        snapshot_took: snapshot_loaded.saturating_sub(started),
        replay_took: ended.saturating_sub(snapshot_loaded),
    })
}

/// Ephemerals whose session is in no table: their owner can never come back (`ZooKeeperServer.killSession`).
/// Not logged; the next start finds the same.
fn delete_orphans(tree: &mut Tree, sessions: &HashMap<SessionId, i32>) {
    let orphans: Vec<SessionId> =
        tree.sessions_with_ephemerals().map(|(id, _)| id).filter(|id| !sessions.contains_key(id)).collect();
    for session in orphans {
        log::warn!("Session {session} is not known any more: its ephemeral nodes are deleted");
        tree.kill_session(session);
    }
}

/// Takes the content of a snapshot file, or of an image.
pub struct Sink {
    options: TreeOptions,
    pub loader: TreeLoader,
    pub sessions: HashMap<SessionId, i32>,
}

impl Sink {
    pub fn new(options: TreeOptions) -> Sink {
        Sink { options, loader: TreeLoader::new(options), sessions: HashMap::default() }
    }
}

impl SnapshotSink for Sink {
    fn begin(&mut self) {
        self.loader = TreeLoader::new(self.options);
        self.sessions.clear();
    }

    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.insert(id, timeout_ms);
    }

    fn acl(&mut self, id: i64, list: AclList<'_>) {
        self.loader.acl(id, list);
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BadNode> {
        self.loader.node(path, data, acl_id, stat).map_err(|_| BadNode("a node without its parent"))
    }
}

/// Follows the sessions through a replay.
struct SessionChanges<'a> {
    sessions: &'a mut HashMap<SessionId, i32>,
}

impl Observer for SessionChanges<'_> {
    fn event(&mut self, _: EventType, _: &str, _: AclList<'_>) {}

    fn result(&mut self, result: OpResult<'_>) {
        match result {
            OpResult::SessionCreated { id, timeout_ms } => {
                self.sessions.insert(id, timeout_ms);
            }
            OpResult::SessionClosed { id } => {
                self.sessions.remove(&id);
            }
            _ => {}
        }
    }
}

/// The promises of a member; -1 where it has made none and has no history to derive one from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// That of the last NEWLEADER that it acknowledged.
    pub current: Epoch,
    /// The highest that it has promised to a leader.
    pub accepted: Epoch,
}

/// Reads both promises, and settles them with the history, whose end is `last_zxid`. What is written is durable when it
/// returns.
///
/// | found | done |
/// |---|---|
/// | no file, or -1 in it (which Java leaves in an empty database that must not vote) | the epoch of `last_zxid`, written |
/// | the history is ahead of `currentEpoch`, not of `acceptedEpoch` | `currentEpoch` is raised: a crash came between the two |
/// | the history is ahead of both, or `acceptedEpoch` < `currentEpoch` | refused |
///
/// In the second row Java looks whether `currentEpoch.tmp` has survived, and else refuses to start (ZOOKEEPER-2307, 2354).
/// Raising is safe: transactions of an epoch are proposed only behind that leader's whole initial history, and the log
/// has no gaps.
pub fn epochs(dirs: &DataDirs, last_zxid: Zxid) -> Result<Epochs, StorageError> {
    let of_history = last_zxid.epoch();
    let read = |file: EpochFile| Ok(file.read(dirs)?.filter(|&epoch| epoch >= 0));
    let (stored_current, stored_accepted) = (read(EpochFile::Current)?, read(EpochFile::Accepted)?);
    let mut current = stored_current.unwrap_or(of_history);
    // A promise is not older than the epoch that was entered on the strength of it.
    let accepted = stored_accepted.unwrap_or(of_history.max(current));
    if current < of_history {
        if of_history > accepted {
            return Err(StorageError::EpochBehind { history: last_zxid, current, accepted });
        }
        log::warn!("The log ends at {last_zxid}: currentEpoch is raised from {current} to {of_history}");
        current = of_history;
    }
    if accepted < current {
        return Err(StorageError::EpochBehind { history: last_zxid, current, accepted });
    }
    // -1 is not written, so that a later `initialize` makes an ordinary new database of it.
    if stored_accepted.unwrap_or(-1) != accepted {
        EpochFile::Accepted.write(dirs, accepted)?;
    }
    if stored_current.unwrap_or(-1) != current {
        EpochFile::Current.write(dirs, current)?;
    }
    Ok(Epochs { current: Epoch(current), accepted: Epoch(accepted) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::storage::memory::MemoryDisk;
    use crate::storage::{LogOptions, TxnLog};
    use crate::wire::txn::{CreateKind, CreateTxn, LoggedTxn, Txn, TxnHeader, text};

    const TREE: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };

    fn dirs(disk: &MemoryDisk) -> DataDirs {
        DataDirs::with_disk(Path::new("/d"), Path::new("/d"), Arc::new(disk.clone()))
    }

    fn settings(autocreate_db: bool) -> LoadSettings {
        let files = LoadOptions { autocreate_db, ..LoadOptions::default() };
        LoadSettings { files, tree: TREE, newest_max: 3 }
    }

    fn load(disk: &MemoryDisk, autocreate_db: bool) -> State {
        super::load(&dirs(disk), &settings(autocreate_db), || Duration::ZERO).unwrap()
    }

    fn create(n: i64, session: SessionId, ephemeral: bool) -> (Zxid, Vec<u8>) {
        let path = text(&format!("/n{n}")).into_owned().into();
        let kind = CreateKind::Create { ephemeral };
        let txn =
            Txn::Create(CreateTxn { kind, path, data: None, acl: AclList::OPEN, parent_cversion: n as i32 });
        encoded(n, session, txn)
    }

    fn encoded(n: i64, session: SessionId, txn: Txn<'_>) -> (Zxid, Vec<u8>) {
        let zxid = Zxid::new(1, n as u32);
        let header = TxnHeader { session, cxid: 0, zxid, time: 1, kind: txn.kind() };
        let mut out = Vec::new();
        LoggedTxn { header, txn, digest: None }.encode(&mut out);
        (zxid, out)
    }

    #[test]
    fn a_state_is_the_snapshot_and_the_log_whose_newest_part_is_kept_as_it_stands() {
        let disk = MemoryDisk::new();
        let mut first = load(&disk, true);
        assert!(first.base_missing && first.may_vote && first.last_zxid() == Zxid::ZERO);
        first.write_snapshot(&dirs(&disk), Compression::None, true).unwrap();

        let alive = SessionId(7);
        let mut txns = vec![encoded(1, alive, Txn::CreateSession { timeout_ms: 4000 })];
        txns.push(create(2, alive, true));
        txns.push(create(3, SessionId(8), true));
        txns.push(create(4, alive, false));
        txns.push(create(5, alive, false));
        let mut log = TxnLog::new(&dirs(&disk), LogOptions::default(), Zxid::ZERO);
        for (zxid, payload) in &txns {
            log.append(*zxid, payload).unwrap();
        }
        log.sync_job().unwrap().run(|| Duration::ZERO).unwrap();

        let state = load(&disk, true);
        assert_eq!((state.last_zxid(), state.replayed, state.base_missing), (Zxid::new(1, 5), 5, false));
        assert_eq!(state.sessions, [(alive, 4000)]);
        let kept: Vec<(Zxid, Vec<u8>)> = state.newest.iter().map(|(z, p)| (*z, p.to_vec())).collect();
        assert_eq!(kept, txns[2..]);
        let found = |path| state.tree.find(path).is_some();
        assert!(found("/n2") && found("/n5") && !found("/n3"), "session 8 is nobody's: so is its node");

        let mut state = state;
        state.write_snapshot(&dirs(&disk), Compression::Gzip, true).unwrap();
        let again = load(&disk, true);
        assert_eq!(
            (again.replayed, again.snapshot_zxid, again.sessions),
            (0, Zxid::new(1, 5), state.sessions)
        );
        assert_eq!(again.tree.digest(), state.tree.digest());
    }

    #[test]
    fn an_empty_directory_votes_only_if_it_was_declared_new() {
        let disk = MemoryDisk::new();
        let state = load(&disk, false);
        assert!(!state.may_vote && !state.base_missing && state.last_zxid() == Zxid(-1));
        disk.put(Path::new("/d/initialize"), b"");
        let state = load(&disk, false);
        assert!(state.may_vote && state.base_missing && state.last_zxid() == Zxid::ZERO);
        assert_eq!(disk.get(Path::new("/d/initialize")), None);
    }

    /// What is in the two files, and what comes of them. `None`: the server refuses to start.
    #[test]
    fn epochs_and_history_agree_or_the_server_does_not_start() {
        const NONE: Option<i64> = None;
        let rows = [
            // current   accepted   history        current, accepted afterwards
            (NONE, NONE, Zxid::ZERO, Some((0, 0))),
            (NONE, NONE, Zxid::new(3, 9), Some((3, 3))),
            (Some(3), Some(4), Zxid::new(3, 9), Some((3, 4))),
            (Some(5), Some(5), Zxid::new(3, 9), Some((5, 5))),
            // A crash between the history of a new epoch and the epoch.
            (Some(3), Some(4), Zxid::new(4, 1), Some((4, 4))),
            (Some(3), Some(3), Zxid::new(4, 1), None),
            (Some(4), Some(3), Zxid::new(3, 1), None),
            // What Java leaves in an empty database that must not vote (B8).
            (Some(-1), Some(-1), Zxid::ZERO, Some((0, 0))),
            (Some(-1), Some(2), Zxid::new(2, 1), Some((2, 2))),
            (NONE, Some(2), Zxid::new(1, 1), Some((1, 2))),
            (Some(2), NONE, Zxid::new(1, 1), Some((2, 2))),
        ];
        for (current, accepted, history, wanted) in rows {
            let disk = MemoryDisk::new();
            let dirs = dirs(&disk);
            for (file, epoch) in [(EpochFile::Current, current), (EpochFile::Accepted, accepted)] {
                if let Some(epoch) = epoch {
                    file.write(&dirs, epoch).unwrap();
                }
            }
            let row = format!("{current:?} {accepted:?} {history}");
            let wanted = wanted.map(|(current, accepted)| (Epoch(current), Epoch(accepted)));
            let got = epochs(&dirs, history);
            assert_eq!(got.as_ref().ok().map(|e| (e.current, e.accepted)), wanted, "{row}: {got:?}");
            if let Some((current, accepted)) = wanted {
                let found =
                    DataDirs::with_disk(Path::new("/d"), Path::new("/d"), Arc::new(disk.crash(|| false)));
                let stored = (EpochFile::Current.read(&found), EpochFile::Accepted.read(&found));
                assert_eq!(
                    (stored.0.unwrap(), stored.1.unwrap()),
                    (Some(current.0), Some(accepted.0)),
                    "{row}"
                );
            } else {
                assert_eq!(got.unwrap_err().exit_code(), 1, "{row}");
            }
        }
    }

    #[test]
    fn a_server_without_history_that_must_not_vote_has_promised_nothing() {
        let disk = MemoryDisk::new();
        let none = Epochs { current: Epoch(-1), accepted: Epoch(-1) };
        assert_eq!(epochs(&dirs(&disk), Zxid(-1)).unwrap(), none);
        assert_eq!(EpochFile::Current.read(&dirs(&disk)).unwrap(), None);

        EpochFile::Accepted.write(&dirs(&disk), 3).unwrap();
        let promised = Epochs { accepted: Epoch(3), ..none };
        assert_eq!(epochs(&dirs(&disk), Zxid(-1)).unwrap(), promised, "a leader was joined, and lost");
    }
}
