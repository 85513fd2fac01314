//! Every message that Java servers were recorded to send is read, and written again as it was.

use super::auth::AuthPacket;
use super::election::{Ignored, Initial, Notification, PeerState, frame};
use super::packet::{FromLeader, FromLearner};
use crate::ids::{ServerId, Zxid};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Java's defaults for `jute.maxbuffer` and its extra size together.
const LEN_MAX: usize = 2_097_150;

/// The lines of every capture whose name begins with `prefix`.
pub(crate) fn captures(prefix: &str) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quorum");
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).expect("the captures are there") {
        let path = entry.expect("a directory can be listed").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if name.starts_with(prefix) {
            let file = BufReader::new(GzDecoder::new(File::open(&path).expect("a capture can be read")));
            for line in file.lines() {
                let line = serde_json::from_str(&line.expect("text")).expect("a line is JSON");
                lines.push((name.clone(), line));
            }
        }
    }
    lines
}

pub(crate) fn bytes_of(line: &Value) -> Vec<u8> {
    let hex = line["hex"].as_str().expect("a message has bytes");
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Numbers in captures: decimal, or `0x` hexadecimal.
fn number(field: &Value) -> i64 {
    match field.as_str() {
        None => field.as_i64().expect("a number"),
        Some(text) => match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).expect("a number"),
            None => text.parse().expect("a number"),
        },
    }
}

#[test]
fn openers_and_authentication_come_back() {
    let (mut openers, mut steps) = (0, 0);
    for (file, line) in captures("") {
        let bytes = match line["kind"].as_str() {
            Some("INITIAL") if line["fields"]["addr"] != "localhost" => bytes_of(&line),
            Some("SASL") => {
                let bytes = bytes_of(&line);
                let (step, used) = AuthPacket::decode(&bytes).expect("good").expect("whole");
                let mut again = Vec::new();
                step.encode(&mut again);
                assert_eq!((again, used), (bytes.clone(), bytes.len()), "{file}");
                steps += 1;
                continue;
            }
            _ => continue,
        };
        let (opener, used) = Initial::decode(&bytes).expect("good").expect("whole");
        assert_eq!(opener.sid, ServerId(number(&line["fields"]["sid"])));
        assert_eq!((opener.encode(), used), (bytes.clone(), bytes.len()), "{file}");
        openers += 1;
    }
    assert!(openers > 50 && steps == 16, "{openers} {steps}");
}

#[test]
fn notifications_say_what_was_recorded_and_come_back() {
    let mut whole = 0;
    for (file, line) in captures("").iter().filter(|(_, line)| line["kind"] == "NOTIFICATION") {
        let bytes = bytes_of(line);
        let (body, used) = frame(&bytes).expect("good").expect("whole");
        assert_eq!(used, bytes.len());
        let fields = &line["fields"];
        let read = match (Notification::decode(body), fields.get("undecoded")) {
            (Err(Ignored::TooShort { .. } | Ignored::ConfigLength { .. }), Some(_)) => continue,
            (Ok(read), None) => read,
            (read, recorded) => panic!("{file}: {read:?} {recorded:?}"),
        };
        let state = match fields["state"].as_str() {
            Some("LOOKING") => PeerState::Looking,
            Some("FOLLOWING") => PeerState::Following,
            Some("LEADING") => PeerState::Leading,
            Some("OBSERVING") => PeerState::Observing,
            _ => PeerState::Unknown(7),
        };
        assert_eq!(read.state, state);
        assert_eq!(read.vote.leader, ServerId(number(&fields["leader"])));
        assert_eq!(read.vote.zxid, Zxid(number(&fields["zxid"])));
        assert_eq!(read.round, number(&fields["electionEpoch"]));
        match fields.get("peerEpoch") {
            Some(epoch) => assert_eq!(read.vote.epoch, number(epoch)),
            None => assert_eq!(read.vote.epoch, read.vote.zxid.epoch()),
        }
        if read.version == 2 {
            assert_eq!(read.encode(), bytes, "{file}");
            whole += 1;
        }
    }
    assert!(whole > 200, "{whole}");
}

#[test]
fn packets_between_leader_and_learner_come_back() {
    let mut packets = 0;
    for (file, line) in captures("quorum-") {
        if line["ch"] == "election" || matches!(line["kind"].as_str(), None | Some("SASL" | "SNAPSHOT")) {
            continue;
        }
        let bytes = bytes_of(&line);
        let mut again = Vec::new();
        let used = if line["dir"] == "c2s" {
            let (packet, used) = FromLearner::decode(&bytes, LEN_MAX).expect("good").expect("whole");
            packet.encode(&mut again);
            used
        } else {
            let (packet, used) = FromLeader::decode(&bytes, LEN_MAX).expect("good").expect("whole");
            packet.encode(&mut again);
            used
        };
        assert_eq!((again, used), (bytes.clone(), bytes.len()), "{file} {line}");
        packets += 1;
    }
    assert!(packets > 1400, "{packets}");
}
