//! Data directories that Java 3.8.0 and 3.9.5 wrote, loaded, and written again byte for byte.
//!
//! `tests/data/datadirs/<name>/manifest.json` says what those servers held after a restart on the directory, or with
//! which exit code they refused. Where releases differ, Serval does what 3.9.4 and later do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serval::ids::{SessionId, Zxid};
use serval::storage::{
    self, BadNode, Base, Compression, DataDirs, EpochFile, LoadOptions, LogOptions, Notice, Replay,
    SnapshotSink, SnapshotWriter, StorageError, TxnLog,
};
use serval::wire::records::{AclList, StatPersisted};
use serval::wire::txn::{LoggedTxn, Txn};

/// Cases of a manifest that are another release's: directory, index, why not ours.
const NOT_OURS: &[(&str, usize)] = &[
    // 3.8.0 stops at an empty newest log.
    ("empty-tail-log", 0),
    // 3.8.0 replays across the gap, with wrong data as the result.
    ("torn-not-last-log", 0),
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datadirs")
}

fn manifest(name: &str) -> Value {
    let text =
        fs::read_to_string(golden().join(name).join("manifest.json")).expect("every directory has one");
    serde_json::from_str(&text).expect("a manifest is JSON")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(golden())
        .expect("the golden directories are there")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| golden().join(name).is_dir())
        .collect();
    names.sort();
    assert_eq!(names.len(), 31, "a directory is missing or new");
    names
}

/// A copy of a golden directory, opened as a server would.
struct Copy {
    dirs: DataDirs,
    _temp: tempfile::TempDir,
}

fn copy(data: &str) -> Copy {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join("version-2");
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(golden().join(data).join("version-2")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).unwrap();
    Copy { dirs, _temp: temp }
}

/// A snapshot as it was found, in the order of the file.
#[derive(Default)]
struct Parsed {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<u8>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
}

impl SnapshotSink for Parsed {
    fn begin(&mut self) {
        *self = Parsed::default();
    }
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.push((id, timeout_ms));
    }
    fn acl(&mut self, id: i64, list: AclList<'_>) {
        self.acls.push((id, list.bytes().to_vec()));
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), BadNode> {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !self.nodes.iter().any(|node| node.0 == parent)) {
            return Err(BadNode("parent is missing"));
        }
        self.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), acl_id, *stat));
        Ok(())
    }
}

struct Loaded {
    base: Base,
    replay: Replay,
    notices: Vec<Notice>,
    sessions: BTreeMap<SessionId, i32>,
}

fn load(dirs: &DataDirs, options: &LoadOptions) -> Result<Loaded, StorageError> {
    let mut parsed = Parsed::default();
    let (base, mut notices) = storage::load_snapshot(dirs, options, &mut parsed)?;
    let mut sessions: BTreeMap<_, _> = parsed.sessions.into_iter().collect();
    let replay = storage::replay(dirs, options, base.zxid(), &mut |logged, _| match logged.txn {
        Txn::CreateSession { timeout_ms } => {
            sessions.insert(logged.header.session, timeout_ms);
        }
        Txn::CloseSession { .. } => {
            sessions.remove(&logged.header.session);
        }
        _ => {}
    })?;
    replay.settle(dirs)?;
    notices.extend(replay.notices.iter().cloned());
    Ok(Loaded { base, replay, notices, sessions })
}

fn options_of(case: &Value) -> LoadOptions {
    let extra = case["extraConfig"].as_str().unwrap_or("");
    LoadOptions { trust_empty: extra.contains("snapshot.trust.empty=true"), ..LoadOptions::default() }
}

fn hex(value: &Value) -> i64 {
    i64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn every_directory_loads_or_is_refused_as_its_manifest_says() {
    for name in names() {
        if name.starts_with("ensemble") {
            continue;
        }
        for (i, case) in manifest(&name)["expect"].as_array().unwrap().iter().enumerate() {
            if NOT_OURS.contains(&(name.as_str(), i)) {
                continue;
            }
            let copy = copy(&format!("{name}/data"));
            let loaded = load(&copy.dirs, &options_of(case));
            if !case["loads"].as_bool().unwrap() {
                let e = loaded.err().unwrap_or_else(|| panic!("{name} must be refused"));
                assert_eq!(i64::from(e.exit_code()), case["exitCode"].as_i64().unwrap(), "{name}: {e}");
                continue;
            }
            let loaded = loaded.unwrap_or_else(|e| panic!("{name}: {e}"));
            let last = loaded.replay.last.unwrap_or(loaded.base.zxid());
            assert_eq!(last.0, hex(&case["lastZxid"]), "{name}");
            let expected: BTreeMap<_, _> = case["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| (SessionId(hex(&s["id"])), s["timeoutMs"].as_i64().unwrap() as i32))
                .collect();
            assert_eq!(loaded.sessions, expected, "{name}");
            // What was cut off stays cut off: the second start finds nothing to do, and the same history.
            let again = load(&copy.dirs, &options_of(case)).unwrap();
            assert_eq!(again.replay.last, loaded.replay.last, "{name}");
            let torn = |n: &Notice| matches!(n, Notice::TornTail { cut: true, .. } | Notice::EmptyLog { .. });
            assert!(!again.notices.iter().any(torn), "{name}: {:?}", again.notices);
        }
    }
}

#[test]
fn members_of_ensembles_load_too() {
    for name in ["ensemble-3", "ensemble-trunc", "ensemble-orphan-snap"] {
        for server in ["1", "2", "3"] {
            let copy = copy(&format!("{name}/server{server}/data"));
            let loaded = load(&copy.dirs, &LoadOptions::default()).unwrap();
            let last = hex(&manifest(name)["servers"][server]["lastLoggedZxid"]);
            assert_eq!(loaded.replay.last, Some(Zxid(last)), "{name} {server}");
            let epoch = |file: EpochFile| file.read(&copy.dirs).unwrap().unwrap().to_string();
            let stated = &manifest(name)["servers"][server];
            assert_eq!(epoch(EpochFile::Current), stated["currentEpoch"].as_str().unwrap());
            assert_eq!(epoch(EpochFile::Accepted), stated["acceptedEpoch"].as_str().unwrap());
        }
    }
}

fn notices(name: &str) -> Vec<Notice> {
    let copy = copy(&format!("{name}/data"));
    load(&copy.dirs, &LoadOptions::default()).unwrap().notices
}

#[test]
fn what_was_repaired_is_reported_with_file_and_offset() {
    for name in ["torn-cut", "torn-eor", "torn-length-only"] {
        let [Notice::TornTail { path, offset: 1137, cut: true, .. }] = &notices(name)[..] else {
            panic!("{name}: {:?}", notices(name));
        };
        assert!(path.ends_with("log.c"), "{name}");
    }
    let skipped = |name: &str| {
        notices(name)
            .into_iter()
            .filter_map(|notice| match notice {
                Notice::SnapshotSkipped { path, problem } => {
                    Some((path.file_name().unwrap().to_str().unwrap().to_owned(), problem))
                }
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(skipped("snapshot-newest-bad-crc"), [("snapshot.b".into(), "checksum does not match".into())]);
    assert_eq!(skipped("snapshot-zero-length"), [("snapshot.17".into(), "it is incomplete".into())]);
    assert!(
        matches!(&notices("empty-tail-log")[..], [Notice::EmptyLog { path }] if path.ends_with("log.18"))
    );
    assert_eq!(notices("standalone-full"), []);
}

#[test]
fn refusals_tell_file_offset_and_what_to_do() {
    let refused = |name: &str| {
        let copy = copy(&format!("{name}/data"));
        load(&copy.dirs, &LoadOptions::default()).err().expect("refused").to_string()
    };
    for (name, parts) in [
        ("corrupt-middle", ["log.c", "CRC check failed", "zkTxnLogToolkit"]),
        ("corrupt-length", ["log.c", "unreasonable record length 2130706525", "restore a backup"]),
        (
            "torn-not-last-log",
            ["log.c at offset 16", "zxid 0xc is not the next after 0xa", "restore the missing file"],
        ),
        ("logs-only", ["version-2", "no snapshot found", "snapshot.trust.empty=true"]),
        ("snapshot-all-bad", ["snapshot.b", "not one of the 2 snapshots", "backup"]),
    ] {
        let message = refused(name);
        assert!(parts.iter().all(|part| message.contains(part)), "{name}: {message}");
        assert!(!message.contains('\n'));
    }
}

/// Every log file of the golden directories that is whole, with the records and lengths that its manifest states.
fn whole_logs() -> Vec<(PathBuf, usize)> {
    let mut logs = Vec::new();
    for name in names() {
        if name.starts_with("torn") || name.starts_with("corrupt") {
            continue;
        }
        let manifest = manifest(&name);
        let mut add = |data: &str, files: &Value| {
            for file in files.as_array().unwrap() {
                let path = golden().join(&name).join(data).join(file["file"].as_str().unwrap());
                if let Some(records) = file["records"].as_u64() {
                    logs.push((path, records as usize));
                }
            }
        };
        match &manifest["servers"] {
            Value::Null => add("data", &manifest["files"]),
            servers => {
                (1..=3).for_each(|n| add(&format!("server{n}/data"), &servers[n.to_string()]["files"]))
            }
        }
    }
    logs
}

/// The payloads of a whole log, found without the code under test.
fn payloads(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = &bytes[16..];
    while rest.len() > 12 {
        let len = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        if len == 0 {
            break;
        }
        found.push(&rest[12..12 + len]);
        rest = &rest[12 + len + 1..];
    }
    found
}

#[test]
fn every_record_of_java_is_decoded_and_encoded_to_the_same_bytes() {
    let mut seen = 0;
    for (path, records) in whole_logs() {
        let bytes = fs::read(&path).unwrap();
        let payloads = payloads(&bytes);
        assert_eq!(payloads.len(), records, "{}", path.display());
        for payload in payloads {
            let logged = LoggedTxn::decode(payload, LoadOptions::default().len_max).unwrap();
            if matches!(logged.txn, Txn::CloseSession { paths: None }) {
                continue; // The digest that some writers leave in its place is not kept.
            }
            let mut again = Vec::new();
            logged.encode(&mut again);
            // A character above U+FFFF that Java wrote as two surrogates is one again, and two when written.
            assert_eq!(again, payload, "{} {:?}", path.display(), logged);
            seen += 1;
        }
    }
    assert!(seen > 1500, "{seen}");
}

#[test]
fn a_log_that_serval_writes_is_javas_byte_for_byte() {
    for (path, records) in whole_logs() {
        if records == 0 {
            continue;
        }
        let java = fs::read(&path).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).unwrap();
        let mut log = TxnLog::new(&dirs, LogOptions::new(64, true, -1), Zxid(-1));
        for payload in payloads(&java) {
            let zxid = Zxid(i64::from_be_bytes(payload[12..20].try_into().unwrap()));
            log.append(zxid, payload).unwrap();
        }
        let done = log.sync_job().unwrap().run(|| std::time::Duration::ZERO).unwrap();
        assert_eq!(done.through, log.appended());
        let ours = fs::read(dirs.log.join(path.file_name().unwrap())).unwrap();
        assert!(ours == java, "{}", path.display());
    }
}

#[test]
fn a_snapshot_that_serval_writes_is_javas_byte_for_byte() {
    let mut seen = [0; 3];
    let mut paths = Vec::new();
    for name in names() {
        for data in ["data", "server1/data", "server2/data", "server3/data"] {
            if let Ok(files) = fs::read_dir(golden().join(&name).join(data).join("version-2")) {
                paths.extend(files.map(|file| file.unwrap().path()));
            }
        }
    }
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let compression = match name.rsplit('.').next().unwrap() {
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => Compression::None,
        };
        if !name.starts_with("snapshot.") || name.ends_with(".tmp") {
            continue;
        }
        let mut parsed = Parsed::default();
        let options = LoadOptions::default();
        let Ok(trailer) = storage::snapshot::load_file(&path, options.len_max, &mut parsed) else {
            assert!(path.to_str().unwrap().contains("bad") || fs::metadata(&path).unwrap().len() < 700);
            continue;
        };
        let temp = tempfile::tempdir().unwrap();
        let (dirs, _lock) = DataDirs::open(temp.path(), temp.path(), true).unwrap();
        let zxid = Zxid(i64::from_str_radix(name.split('.').nth(1).unwrap(), 16).unwrap());
        let mut writer = SnapshotWriter::create(&dirs, zxid, compression).unwrap();
        let mut out = Vec::new();
        storage::snapshot::encode_start(&mut out, parsed.sessions.iter().copied(), parsed.acls.len());
        for (id, list) in &parsed.acls {
            storage::snapshot::encode_acl(&mut out, *id, AclList::from_encoded(list).unwrap());
        }
        for (path, data, acl_id, stat) in &parsed.nodes {
            storage::snapshot::encode_node(&mut out, path, data.as_deref(), *acl_id, stat);
        }
        for slice in out.chunks(997) {
            writer.write_chunk(slice).unwrap();
        }
        let file = writer.finish(trailer.digest, trailer.last_processed).unwrap();
        assert_eq!(file.path.file_name(), path.file_name());
        assert_eq!(file.bytes, fs::metadata(&file.path).unwrap().len());
        if compression == Compression::None {
            assert!(fs::read(&file.path).unwrap() == fs::read(&path).unwrap(), "{}", path.display());
        } else {
            // Compressors differ in their choices; what comes out again may not.
            let mut again = Parsed::default();
            let trailer_again =
                storage::snapshot::load_file(&file.path, options.len_max, &mut again).unwrap();
            assert_eq!(trailer_again, trailer);
            assert!(
                again.nodes == parsed.nodes && again.acls == parsed.acls && again.sessions == parsed.sessions
            );
        }
        seen[compression as usize] += 1;
    }
    assert!(seen[0] > 40 && seen[1] >= 4 && seen[2] >= 4, "{seen:?}");
}

#[test]
fn truncation_leaves_exactly_what_is_not_above_the_zxid() {
    // A former leader logged two proposals that nobody else has.
    let copy = copy("ensemble-trunc/server3/data");
    let before = load(&copy.dirs, &LoadOptions::default()).unwrap().replay.last.unwrap();
    let to = Zxid(before.0 - 2);
    let done = storage::truncate_after(&copy.dirs, &LoadOptions::default(), to).unwrap();
    assert_eq!((done.removed.len(), done.cut.len()), (0, 1));
    assert_eq!(load(&copy.dirs, &LoadOptions::default()).unwrap().replay.last, Some(to));
}
