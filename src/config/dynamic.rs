//! Configuration files that follow the membership of an ensemble which is reconfigured while it runs.
//!
//! | file | holds |
//! |---|---|
//! | `zoo.cfg.dynamic.<version>` | the members of the committed membership of that version, one line each |
//! | `zoo.cfg` | everything else, and `dynamicConfigFile=` with the name of that file |
//! | `zoo.cfg.dynamic.next` | a membership that was proposed and not committed yet, its version inside |
//! | `zoo.cfg.bak` | `zoo.cfg` as a person wrote it, from before the first of this |
//!
//! Java writes `zoo.cfg` anew from its properties, and with that loses comments and the order of lines. Here the lines
//! that have moved to the other file are taken out, and all others stay as they are.
//!
//! # Invariants
//!
//! 1. At any moment a start finds a membership: the file with the members is there before `zoo.cfg` names it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::properties;
use crate::ids::{ServerId, Zxid};
use crate::quorum::membership::{Membership, is_member_key};
use crate::quorum::views::Views;

/// Makes the files beside `zoo_cfg` say what `views` say; blocks until they are on disk. A membership that has no
/// version yet is not written: it is the one in the file.
///
/// # Errors
/// As the file system has them. The server goes on: other servers know the membership too, and a start with an older
/// one learns of the newer.
pub fn store(zoo_cfg: &Path, me: ServerId, views: &Views) -> io::Result<()> {
    let committed = views.committed();
    if committed.version > Zxid::ZERO {
        let members = beside(zoo_cfg, &format!(".dynamic.{:x}", committed.version));
        let old = fs::read(zoo_cfg)?;
        let backup = beside(zoo_cfg, ".bak");
        if !backup.exists() {
            write(&backup, &old)?;
        }
        write(&members, member_lines(committed).as_bytes())?;
        let client_in_line = committed.servers.get(&me).is_some_and(|server| server.client.is_some());
        let new = without_members(&old, &members, client_in_line)?;
        if new != old {
            write(zoo_cfg, &new)?;
        }
    }
    let next = beside(zoo_cfg, ".dynamic.next");
    if views.last_seen().version > committed.version {
        return write(&next, views.last_seen().to_string().as_bytes());
    }
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(zoo_cfg: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(zoo_cfg);
    name.push(ending);
    PathBuf::from(name)
}

/// The membership's lines without its version, sorted as text, as Java has them; no line end behind the last.
fn member_lines(membership: &Membership) -> String {
    let text = membership.to_string();
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The file without the settings that are in the other file now, and with the name of that.
fn without_members(old: &[u8], members: &Path, client_in_line: bool) -> io::Result<Vec<u8>> {
    let properties =
        properties::parse(old).map_err(|_| io::Error::other("zoo.cfg is not what it was at the start"))?;
    let moved = |key: &str| {
        is_member_key(key)
            || key.starts_with("peerType")
            || key.starts_with("dynamicConfigFile")
            || (client_in_line && key.starts_with("clientPort"))
    };
    let dropped: Vec<u32> =
        properties.iter().filter(|property| moved(&property.key)).map(|property| property.line).collect();
    let mut new = Vec::with_capacity(old.len());
    let mut dropping = false;
    let mut continued = false;
    for (number, line) in (1..).zip(old.split_inclusive(|byte| *byte == b'\n')) {
        if !continued {
            dropping = dropped.contains(&number);
        }
        let text = line.trim_ascii_end();
        let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
        continued = backslashes % 2 == 1;
        if !dropping {
            new.extend_from_slice(line);
        }
    }
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    // In a properties file a backslash begins an escape.
    let name = members.to_string_lossy().replace('\\', "\\\\");
    writeln!(new, "dynamicConfigFile={name}")?;
    Ok(new)
}

/// Replaces a file as a whole, durably.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MEMBERS: &str = "server.1=h1:1:2:participant;0.0.0.0:5\nserver.2=h2:1:2:participant;0.0.0.0:5";

    fn membership(text: &str) -> Membership {
        Membership::from_text(text.as_bytes()).expect("a good membership")
    }

    #[test]
    fn what_has_moved_is_taken_out_and_everything_else_stays() {
        let old = "# ours\ntickTime=2000\nserver.1 = h1:1:2\nserver.2=\\\n  h2:1:2\n\nclientPort=2181\n\
                   peerType=observer\ndynamicConfigFile=/old\ndataDir=/d # no comment";
        let kept = "# ours\ntickTime=2000\n\ndataDir=/d # no comment\ndynamicConfigFile=/z.dynamic.7\n";
        let new = without_members(old.as_bytes(), Path::new("/z.dynamic.7"), true).expect("it parses");
        assert_eq!(String::from_utf8_lossy(&new), kept);
        let new = without_members(old.as_bytes(), Path::new("/z.dynamic.7"), false).expect("it parses");
        assert!(String::from_utf8_lossy(&new).contains("clientPort=2181"));
    }

    #[test]
    fn a_start_finds_the_committed_membership_and_the_proposed_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let (cfg, data) = (dir.path().join("zoo.cfg"), dir.path().join("data"));
        fs::create_dir(&data).and_then(|()| fs::write(data.join("myid"), "1")).expect("written");
        let first = format!(
            "tickTime=500\ninitLimit=5\nsyncLimit=2\nreconfigEnabled=true\ndataDir={}\n{MEMBERS}\n",
            data.display()
        );
        fs::write(&cfg, &first).expect("written");

        let mut views = Views::new(membership(&format!("{MEMBERS}\nversion=100000000")));
        let next = membership(&format!("{MEMBERS}\nserver.3=h3:1:2;5\nversion=100000007"));
        views.propose(next.clone());
        store(&cfg, ServerId(1), &views).expect("stored");
        let loaded = Config::load(&cfg, &[]).expect("a good configuration").config.ensemble;
        assert_eq!((&loaded.membership, loaded.last_seen.as_ref()), (views.committed(), Some(&next)));
        let members = fs::read_to_string(beside(&cfg, ".dynamic.100000000")).expect("written");
        assert_eq!(members, MEMBERS, "as Java writes it, to the byte");
        assert_eq!(fs::read_to_string(beside(&cfg, ".bak")).expect("kept"), first);

        views.commit(next.clone());
        store(&cfg, ServerId(1), &views).expect("stored");
        let loaded = Config::load(&cfg, &[]).expect("a good configuration").config.ensemble;
        assert_eq!((loaded.membership, loaded.last_seen), (next, None));
        assert_eq!(fs::read_to_string(beside(&cfg, ".bak")).expect("kept"), first, "the person's own");
    }

    #[test]
    fn a_membership_that_a_person_wrote_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let cfg = dir.path().join("zoo.cfg");
        fs::write(&cfg, MEMBERS).expect("written");
        store(&cfg, ServerId(1), &Views::new(membership(MEMBERS))).expect("nothing to do");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        assert_eq!(fs::read_to_string(&cfg).expect("there"), MEMBERS);
    }
}
