//! The files beside zoo.cfg in which a server keeps a membership that changes while it runs.
//!
//! | file | what it says |
//! |---|---|
//! | `zoo.cfg.bak` | zoo.cfg as a person wrote it, with server lines |
//! | `zoo.cfg.dynamic.<version>` | a membership that was committed, one line each; its name is its version |
//! | `zoo.cfg` | everything else, and `dynamicConfigFile=` with the name of that file |
//! | `zoo.cfg.dynamic.next` | a membership that was proposed and not committed yet, its version inside |
//!
//! Java writes zoo.cfg anew from its properties: in the order of a hash table, without comments, and without the
//! backslashes that its own parser takes away. Here the lines that have moved to the other file are taken out, and
//! all others stay byte by byte.
//!
//! # Invariants
//! - At any moment a start finds a membership: each file is written under another name, synced, renamed, and its
//!   directory synced, and the file with the members is there before zoo.cfg names it.
//! - `.dynamic.next` goes last. A crash before that leaves a server that has seen the new membership, whatever it
//!   takes to be in force; the others bring it on.

use super::properties;
use crate::ids::{ServerId, Zxid};
use crate::quorum::membership::{Membership, Server, is_member_key};
use crate::quorum::views::Views;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Makes the files beside `zoo_cfg` say what `views` say; blocks until they are on disk. A membership that has no
/// version yet is not written: it is the one in the file.
///
/// # Errors
/// As the file system has them; what leans on a write that failed is not begun. The server goes on: other servers
/// know the membership too, and a start with an older one learns of the newer.
pub fn store(zoo_cfg: &Path, me: ServerId, views: &Views) -> io::Result<()> {
    let (committed, last_seen) = (views.committed(), views.last_seen());
    if committed.version > Zxid::ZERO {
        let dynamic_file = with_suffix(zoo_cfg, &format!(".dynamic.{:x}", committed.version));
        replace(&dynamic_file, &membership_text(committed, false))?;
        point_to(zoo_cfg, &dynamic_file, committed.servers.get(&me)).map_err(naming(zoo_cfg))?;
    }
    let next = next_file(zoo_cfg);
    if last_seen.version > committed.version {
        return replace(&next, &membership_text(last_seen, true));
    }
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(naming(&next)(error)),
        _ => Ok(()),
    }
}

/// zoo.cfg names this file from now on. It is read at this moment, because a person may have edited it meanwhile.
fn point_to(zoo_cfg: &Path, dynamic_file: &Path, my_line: Option<&Server>) -> io::Result<()> {
    // In full, because who starts the server next may stand in another directory.
    let in_full = fs::canonicalize(dynamic_file)?;
    let in_full =
        in_full.to_str().ok_or_else(|| io::Error::other("the path of its directory is not UTF-8"))?;
    let old = fs::read(zoo_cfg)?;
    let malformed = |error: properties::MalformedUnicode| {
        io::Error::new(io::ErrorKind::InvalidData, format!("malformed \\u escape in line {}", error.line))
    };
    if properties::parse(&old).map_err(malformed)?.iter().any(|property| is_member_key(&property.key)) {
        replace(&with_suffix(zoo_cfg, ".bak"), &old)?;
    }
    let new = pointing_to(&old, in_full, my_line).map_err(malformed)?;
    if new == old { Ok(()) } else { replace(zoo_cfg, &new) }
}

/// Where the membership last seen is kept.
pub(super) fn next_file(zoo_cfg: &Path) -> PathBuf {
    with_suffix(zoo_cfg, ".dynamic.next")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The lines of a membership's file: sorted as text, and no end of line behind the last, both as in Java.
fn membership_text(membership: &Membership, with_version: bool) -> Vec<u8> {
    let text = membership.to_string();
    let mut lines: Vec<&str> =
        text.lines().filter(|line| with_version || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n").into_bytes()
}

/// A zoo.cfg whose membership is in another file, and the client ports too if the server's line has them
/// (`QuorumPeerConfig.editStaticConfig`).
fn pointing_to(
    old: &[u8],
    dynamic_file: &str,
    my_line: Option<&Server>,
) -> Result<Vec<u8>, properties::MalformedUnicode> {
    let client = my_line.is_some_and(|server| server.client.is_some());
    let secure_client = my_line.is_some_and(|server| server.secure_client.is_some());
    let moved = |key: &str| {
        is_member_key(key)
            || key.starts_with("dynamicConfigFile")
            || key.starts_with("peerType")
            || client && key.starts_with("clientPort")
            || secure_client && key.starts_with("secureClientPort")
    };
    let mut new = properties::without(old, moved)?;
    new.extend_from_slice(format!("dynamicConfigFile={}\n", escaped(dynamic_file)).as_bytes());
    Ok(new)
}

/// A value that reads back as `text`: the file is ISO-8859-1, and a backslash means something.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => out.push_str("\\\\"),
            Ok(byte @ b' '..=b'~') => out.push(char::from(byte)),
            _ => write!(out, "\\u{unit:04x}").expect("a string takes everything"),
        }
    }
    out
}

fn naming(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Puts a file in the place of another: after a crash there is the one or the other, whole.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        // Somebody may have hidden zoo.cfg from others, for a password in it.
        if let Ok(present) = fs::metadata(path) {
            file.set_permissions(present.permissions())?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(naming(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Ensemble};
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    const THREE: &str = "server.1=127.0.0.1:22011:22012:participant;127.0.0.1:22010\n\
                         server.2=127.0.0.1:22021:22022:participant;127.0.0.1:22020\n\
                         server.3=127.0.0.1:22031:22032:participant;127.0.0.1:22030";
    const ME: ServerId = ServerId(1);

    /// What a person wrote: the zoo.cfg of the recorded reconfiguration of Java servers.
    fn zoo_cfg(dir: &TempDir) -> String {
        format!(
            "tickTime=1000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nadmin.enableServer=false\n\
             4lw.commands.whitelist=*\nreconfigEnabled=true\nstandaloneEnabled=false\nskipACL=yes\n{THREE}\n",
            dir.path().display()
        )
    }

    fn directory() -> TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("myid"), "1\n").expect("myid");
        fs::write(dir.path().join("zoo.cfg"), zoo_cfg(&dir)).expect("zoo.cfg");
        dir
    }

    fn load(dir: &TempDir) -> Ensemble {
        Config::load(&dir.path().join("zoo.cfg"), &[]).expect("good").config.ensemble
    }

    fn keep(dir: &TempDir, views: &Views) {
        store(&dir.path().join("zoo.cfg"), ME, views).expect("the disk works");
    }

    fn membership(lines: &str, version: i64) -> Membership {
        Membership::from_text(format!("{lines}\nversion={version:x}").as_bytes()).expect("good")
    }

    fn content(dir: &TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).expect("it is there");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect();
        names.sort_unstable();
        names
    }

    fn sorted_lines(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// The first line of the capture `quorum-reconfig` has the files that Java 3.8.0 left of these memberships.
    #[test]
    fn the_files_of_a_reconfigured_ensemble_are_javas() {
        let dir = directory();
        let written = content(&dir, "zoo.cfg");
        let mut views = Views::new(load(&dir).membership);
        keep(&dir, &views);
        assert_eq!(names(&dir), ["myid", "zoo.cfg"], "a membership that a person wrote is left alone");
        let observer = THREE.to_owned() + "\nserver.4=127.0.0.1:22041:22042:observer;127.0.0.1:22040";
        for (version, lines) in [(1 << 32, THREE), ((1 << 32) + 2, &observer)] {
            views.propose(membership(lines, version));
            keep(&dir, &views);
            assert_eq!(content(&dir, "zoo.cfg.dynamic.next"), format!("{lines}\nversion={version:x}"));
            views.commit(membership(lines, version));
            keep(&dir, &views);
        }
        assert_eq!(
            names(&dir),
            ["myid", "zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.100000000", "zoo.cfg.dynamic.100000002"]
        );
        assert_eq!(content(&dir, "zoo.cfg.bak"), written);
        assert_eq!(content(&dir, "zoo.cfg.dynamic.100000000"), THREE);
        assert_eq!(content(&dir, "zoo.cfg.dynamic.100000002"), observer);
        let here = dir.path().canonicalize().expect("it is there").display().to_string();
        let java = format!(
            "standaloneEnabled=false\nadmin.enableServer=false\nskipACL=yes\ndataDir={}\n\
             4lw.commands.whitelist=*\ninitLimit=10\ntickTime=1000\nsyncLimit=5\nreconfigEnabled=true\n\
             dynamicConfigFile={here}/zoo.cfg.dynamic.100000002\n",
            dir.path().display()
        );
        assert_eq!(sorted_lines(&content(&dir, "zoo.cfg")), sorted_lines(&java));
        assert_eq!(load(&dir).membership, *views.committed(), "the next start finds it");
    }

    #[test]
    fn the_lines_of_a_file_are_sorted_as_text_also_around_the_version() {
        let lines = "server.2=b:1:2\nserver.10=a:1:2\ngroup.1=2:10\nweight.2=3";
        assert_eq!(
            String::from_utf8(membership_text(&membership(lines, 7), true)).expect("UTF-8"),
            "group.1=2:10\nserver.10=a:1:2:participant\nserver.2=b:1:2:participant\nversion=7\nweight.10=1\n\
             weight.2=3"
        );
    }

    #[test]
    fn a_proposal_that_is_not_committed_is_seen_again_after_a_restart() {
        let dir = directory();
        let mut views = Views::new(load(&dir).membership);
        assert!(views.commit(membership(THREE, 1 << 32)));
        let two: String = THREE.lines().take(2).collect::<Vec<_>>().join("\n");
        views.propose(membership(&two, (1 << 32) + 7));
        keep(&dir, &views);
        let again = load(&dir);
        assert_eq!(again.membership.version, Zxid::new(1, 0));
        assert_eq!(again.last_seen.as_ref(), Some(views.last_seen()));

        assert!(views.commit(membership(THREE, (1 << 32) + 6)), "an older one wins");
        keep(&dir, &views);
        assert_eq!(load(&dir).last_seen.as_ref(), Some(views.last_seen()));
        assert!(views.commit(membership(&two, (1 << 32) + 7)));
        keep(&dir, &views);
        assert_eq!(load(&dir).last_seen, None);
    }

    #[test]
    fn what_stays_in_zoo_cfg_stays_as_it_was() {
        let pointed = |text: &str, line: &str| {
            let line = Server::parse(line, false).expect("a good line");
            let text = pointing_to(text.as_bytes(), "/d", Some(&line)).expect("well formed");
            String::from_utf8(text).expect("UTF-8")
        };
        let text = "# mine\nclientPort=1\n  server.1 = a:1:2\nx=a\\\n  b\r\ngroup.1=1:\\\n 2\npeerType=observer\n\
                    dynamicConfigFile=/old\nweight.1=3\nclientPortAddress=h\nsecureClientPort=4\n";
        assert_eq!(
            pointed(text, "a:1:2"),
            "# mine\nclientPort=1\nx=a\\\n  b\r\nclientPortAddress=h\nsecureClientPort=4\ndynamicConfigFile=/d\n"
        );
        let rest = "# mine\nx=a\\\n  b\r\n";
        assert_eq!(pointed(text, "a:1:2;1"), format!("{rest}secureClientPort=4\ndynamicConfigFile=/d\n"));
        assert_eq!(pointed(text, "a:1:2;1;4"), format!("{rest}dynamicConfigFile=/d\n"));
        assert_eq!(pointed("a=1", "a:1:2"), "a=1\ndynamicConfigFile=/d\n", "a last line without an end");
        let open = pointed("a=1\\", "a:1:2");
        assert_eq!(properties::parse(open.as_bytes()).expect("good").len(), 2, "{open:?}: an open last line");
        assert!(pointing_to(b"a=\\u12", "/d", None).is_err());
    }

    #[test]
    fn paths_read_back_as_they_are() {
        for path in ["/etc/zk/zoo.cfg.dynamic.1", "/a b/\\x", "/zo\u{eb}/\u{1f418}"] {
            let text = pointing_to(b"", path, None).expect("empty is well formed");
            assert_eq!(properties::parse(&text).expect("good")[0].value, path);
        }
    }

    #[test]
    fn a_file_that_was_hidden_from_others_stays_hidden() {
        let dir = directory();
        let path = dir.path().join("zoo.cfg");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        replace(&path, b"a=1\n").expect("the disk works");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(names(&dir), ["myid", "zoo.cfg"]);
    }

    #[test]
    fn where_the_members_cannot_be_written_zoo_cfg_does_not_name_them() {
        let dir = directory();
        let before = content(&dir, "zoo.cfg");
        fs::create_dir(dir.path().join("zoo.cfg.dynamic.100000000")).expect("in the way");
        let views = Views::new(membership(THREE, 1 << 32));
        let error = store(&dir.path().join("zoo.cfg"), ME, &views).expect_err("a directory is there");
        assert!(error.to_string().contains("zoo.cfg.dynamic.100000000"), "{error}");
        assert_eq!(content(&dir, "zoo.cfg"), before);
    }
}
