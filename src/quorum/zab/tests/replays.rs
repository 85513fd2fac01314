//! What Java servers were recorded to say, fed to our side of the same connection: what ours says is what theirs said,
//! where the protocol leaves no choice.
//!
//! Where it leaves one: which of the proposals in a DIFF are acked (up to 3.8.6 all, later and here those that still
//! wait for a quorum), whether ACKs come before or after the answer to UPTODATE, and when PINGs are.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::zab::learner::{Action, Actions, Event, Learner, Start};
use crate::quorum::zab::packet::Packet;
use crate::quorum::zab::window::follows;
use crate::quorum::zab::{Epoch, Limits};
use crate::time::Instant;
use crate::wire::quorum::packet::{FromLeader, FromLearner};

const LEN_MAX: usize = 2_097_150;
const NOW: Instant = Instant(1);

/// One connection of a capture from its opening on: each message with whether the learner said it.
type Dialogue = Vec<(bool, Packet)>;

fn dialogues() -> Vec<(String, Dialogue)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quorum");
    let mut all = Vec::new();
    for file in fs::read_dir(dir).expect("the captures are there") {
        let path = file.expect("a directory can be listed").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if !name.starts_with("quorum-") {
            continue;
        }
        let mut open: BTreeMap<i64, Dialogue> = BTreeMap::new();
        let lines = BufReader::new(GzDecoder::new(File::open(&path).expect("a capture can be read")));
        for line in lines.lines() {
            let line: Value = serde_json::from_str(&line.expect("text")).expect("a line is JSON");
            if line["ch"] != "quorum" {
                continue;
            }
            let conn = line["conn"].as_i64().expect("connections have numbers");
            if line["event"] == "open" {
                open.insert(conn, Vec::new());
            }
            let (Some(dialogue), Some(hex)) = (open.get_mut(&conn), line["hex"].as_str()) else { continue };
            if line["event"].is_string() || line["kind"] == "SASL" {
                continue;
            }
            let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digit).collect();
            let by_learner = line["dir"] == "c2s";
            let packet = match by_learner {
                true => {
                    FromLearner::decode(&bytes, LEN_MAX).ok().flatten().map(|(p, _)| Packet::from_learner(p))
                }
                false => FromLeader::decode(&bytes, LEN_MAX)
                    .ok()
                    .flatten()
                    .and_then(|(packet, _)| Packet::from_leader(&packet).ok()),
            };
            // The image's own line is no packet.
            dialogue.extend(packet.filter(|p| !matches!(p, Packet::Unknown { .. })).map(|p| (by_learner, p)));
        }
        let whole = open.into_values().filter(is_whole);
        all.extend(whole.map(|dialogue| (name.clone(), dialogue)));
    }
    all
}

/// Some captures leave out the middle of a long DIFF, or of a load: to a learner, a hole.
fn is_whole(dialogue: &Dialogue) -> bool {
    let zxids = dialogue.iter().filter_map(|(_, packet)| match packet {
        Packet::Proposal(entry) | Packet::Inform(entry) => Some(entry.zxid),
        _ => None,
    });
    let zxids: Vec<Zxid> = zxids.collect();
    zxids.windows(2).all(|pair| follows(pair[0], pair[1]))
}

/// Our learner on a disk that is done with everything at once.
struct Replay {
    learner: Learner,
    sent: Vec<Packet>,
    applied: Vec<Zxid>,
    ended: Option<String>,
}

impl Replay {
    /// With what Java's learner said it has.
    fn of(dialogue: &Dialogue) -> Option<Replay> {
        let said = |wanted: fn(&Packet) -> bool| {
            dialogue.iter().find(|(by_learner, p)| *by_learner && wanted(p)).map(|(_, p)| p.clone())
        };
        let (observer, accepted_epoch, info) = match &dialogue.first()?.1 {
            Packet::FollowerInfo { accepted_epoch, info } => (false, *accepted_epoch, *info),
            Packet::ObserverInfo { accepted_epoch, info } => (true, *accepted_epoch, *info),
            _ => return None,
        };
        let Packet::AckEpoch { last_zxid, current_epoch } = said(|p| matches!(p, Packet::AckEpoch { .. }))?
        else {
            return None;
        };
        let start = Start {
            sid: info.sid.unwrap_or(ServerId(-1)),
            observer,
            config_version: info.config_version,
            accepted_epoch,
            // Who does not say has accepted the epoch before, and mostly adopted it.
            current_epoch: current_epoch.unwrap_or(accepted_epoch),
            last_zxid,
        };
        let limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };
        let mut actions = Vec::new();
        let learner = Learner::new(NOW, start, limits, &mut actions);
        let mut replay = Replay { learner, sent: Vec::new(), applied: Vec::new(), ended: None };
        replay.carry_out(actions);
        Some(replay)
    }

    fn hear(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.learner.handle(NOW, event, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Send(packet) => self.sent.push(packet),
                Action::PersistAcceptedEpoch(_) => self.hear(Event::AcceptedEpochPersisted),
                Action::PersistCurrentEpoch(_) => self.hear(Event::CurrentEpochPersisted),
                Action::Truncate { .. } => self.hear(Event::Truncated),
                Action::LoadImage { .. } => self.hear(Event::ImageLoaded),
                Action::SaveImage { .. } => self.hear(Event::ImageSaved),
                Action::Append(entry) => self.hear(Event::LogSynced { through: entry.zxid }),
                Action::SyncLog { through } => self.hear(Event::LogSynced { through }),
                Action::Commit(entry) => self.applied.push(entry.zxid),
                Action::End { reason, .. } => self.ended = Some(reason.to_string()),
                Action::SeeMembership(_)
                | Action::Activate { .. }
                | Action::Serve { .. }
                | Action::SyncDone
                | Action::Revalidated { .. } => {}
            }
        }
    }
}

fn encoded(packets: &[Packet]) -> Vec<Vec<u8>> {
    let bytes = |packet: &Packet| {
        let mut out = Vec::new();
        packet.encode(&mut out);
        out
    };
    packets.iter().map(bytes).collect()
}

#[test]
fn fed_by_javas_leaders_our_learner_says_what_javas_learners_said() {
    let (mut dialogues_seen, mut acks) = (0, 0);
    for (file, dialogue) in dialogues() {
        let Some(mut replay) = Replay::of(&dialogue) else { continue };
        for (by_learner, packet) in &dialogue {
            match packet {
                _ if !by_learner => replay.hear(Event::Packet(packet.clone())),
                // What its clients made it say, ours are told to say too.
                Packet::Request(request) if replay.learner.serving().is_some() => {
                    replay.hear(Event::Forward(request.clone()));
                }
                Packet::Revalidate { session, timeout_ms } if replay.learner.serving().is_some() => {
                    replay.hear(Event::Revalidate { session: *session, timeout_ms: *timeout_ms });
                }
                _ => {}
            }
        }
        assert_eq!(replay.ended, None, "{file}: our learner leaves a leader that Java's stays with");
        let java: Vec<Packet> =
            dialogue.iter().filter(|(by_learner, _)| *by_learner).map(|(_, p)| p.clone()).collect();
        let handshake = |said: &[Packet]| {
            let ack = |p: &Packet| matches!(p, Packet::Ack { zxid } if zxid.counter() == 0);
            encoded(&said.iter().take(2).chain(said.iter().filter(|p| ack(p))).cloned().collect::<Vec<_>>())
        };
        // A capture may end while Java's learner is still busy with what ours did at once.
        let (ours, theirs) = (handshake(&replay.sent), handshake(&java));
        assert!(ours.starts_with(&theirs), "{file}: {:?} instead of {java:?}", replay.sent);

        // Requests and revalidations: byte for byte, in order.
        let forwarded = |said: &[Packet]| {
            let wanted = |p: &&Packet| matches!(p, Packet::Request(_) | Packet::Revalidate { .. });
            encoded(&said.iter().filter(wanted).cloned().collect::<Vec<_>>())
        };
        assert!(forwarded(&java).ends_with(&forwarded(&replay.sent)), "{file}");

        // ACKs of what was proposed after the learner served: the same, each once, in order.
        let up_to_date = dialogue.iter().position(|(_, p)| *p == Packet::UpToDate);
        let proposed: Vec<Zxid> = dialogue[up_to_date.unwrap_or(dialogue.len())..]
            .iter()
            .filter_map(|(_, packet)| match packet {
                Packet::Proposal(entry) => Some(entry.zxid),
                _ => None,
            })
            .collect();
        let acked = |said: &[Packet]| -> Vec<Zxid> {
            let zxids = said.iter().filter_map(|packet| match packet {
                Packet::Ack { zxid } if proposed.contains(zxid) => Some(*zxid),
                _ => None,
            });
            zxids.collect()
        };
        let (ours, theirs) = (acked(&replay.sent), acked(&java));
        assert!(ours.starts_with(&theirs), "{file}: {ours:?} instead of {theirs:?}");
        assert!(replay.applied.is_sorted(), "{file}");
        acks += theirs.len();
        dialogues_seen += 1;
    }
    assert!(dialogues_seen > 30 && acks > 50, "{dialogues_seen} dialogues with {acks} acks");
}

#[test]
fn a_pings_answer_has_the_bytes_of_javas() {
    let mut out = Vec::new();
    Packet::Ping { zxid: Zxid::new(1, 0), touched: Some(vec![(SessionId(7), 4000)]) }.encode(&mut out);
    assert_eq!(out[..16], [0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 12]);
    assert_eq!(Epoch(2).first(), Zxid::new(2, 0));
}
