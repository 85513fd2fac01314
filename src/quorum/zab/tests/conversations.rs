//! Conversations as text: what a learner or a leader hears, from its peers and its disk, and what it does about it.
//!
//! `conversations.txt` has scenarios; a line that begins with `->` is what the machine did, and is written
//! anew by `UPDATE_CONVERSATIONS=1 cargo test`, to be read in the diff. Zxids are `epoch:counter`, both hexadecimal.

use super::{entry_by, members};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::leader::{self, Leader};
use crate::quorum::zab::learner::{self, Learner};
use crate::quorum::zab::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet, Request};
use crate::quorum::zab::window::{CommittedLog, Meeting};
use crate::quorum::zab::{Epoch, Limits};
use crate::time::Instant;

use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEXT: &str = include_str!("conversations.txt");
const LIMITS: Limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };

fn entry(zxid: Zxid) -> Entry {
    entry_by(zxid, 1)
}

/// A line: its words, and among them those that are `key=value`.
struct Line<'a> {
    words: Vec<&'a str>,
    keyed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let (keyed, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Line { words, keyed: keyed.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_else(|| panic!("{:?} is too short", self.words))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.keyed.get(key).map(|text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no number")))
    }

    fn epoch(&self, key: &str) -> Epoch {
        Epoch(self.number(key).unwrap_or_else(|| panic!("{key}= is missing")))
    }

    fn zxid(&self, key: &str) -> Option<Zxid> {
        self.keyed.get(key).map(|text| zxid(text))
    }
}

fn zxid(text: &str) -> Zxid {
    if text == "-1" {
        return Zxid(-1);
    }
    let (epoch, counter) = text.split_once(':').unwrap_or_else(|| panic!("{text} is no zxid"));
    let number = |text| u32::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text} is no number"));
    Zxid::new(number(epoch), number(counter))
}

/// The packet that a line's words from `at` on speak of.
fn packet(line: &Line<'_>, at: usize) -> Packet {
    let named = || zxid(line.word(at + 1));
    let session = || SessionId(line.number("session").expect("session="));
    let timeout_ms = line.number("timeout").unwrap_or(4000) as i32;
    let designated = ServerId(line.number("designated").unwrap_or(0));
    match line.word(at) {
        kind @ ("FOLLOWERINFO" | "OBSERVERINFO") => {
            let info = LearnerInfo {
                sid: line.number("sid").map(ServerId),
                protocol: PROTOCOL_VERSION,
                config_version: line.zxid("config").unwrap_or(Zxid::ZERO),
            };
            let accepted_epoch = line.epoch("accepted");
            match kind {
                "FOLLOWERINFO" => Packet::FollowerInfo { accepted_epoch, info },
                _ => Packet::ObserverInfo { accepted_epoch, info },
            }
        }
        "LEADERINFO" => Packet::LeaderInfo { epoch: line.epoch("epoch"), protocol_version: PROTOCOL_VERSION },
        "ACKEPOCH" => {
            Packet::AckEpoch { last_zxid: named(), current_epoch: line.number("current").map(Epoch) }
        }
        "DIFF" => Packet::Diff { zxid: named() },
        "TRUNC" => Packet::Trunc { zxid: named() },
        "SNAP" => Packet::Snap { zxid: named() },
        "NEWLEADER" => Packet::NewLeader { zxid: named(), config: None },
        "UPTODATE" => Packet::UpToDate,
        "PROPOSAL" => Packet::Proposal(entry(named())),
        "COMMIT" => Packet::Commit { zxid: named() },
        "COMMITANDACTIVATE" => Packet::CommitAndActivate { zxid: named(), designated },
        "INFORM" => Packet::Inform(entry(named())),
        "INFORMANDACTIVATE" => Packet::InformAndActivate { entry: entry(named()), designated },
        "ACK" => Packet::Ack { zxid: named() },
        "SYNC" => Packet::Sync,
        "REQUEST" => request(line),
        "REVALIDATE" => match line.keyed.get("valid") {
            Some(valid) => Packet::Revalidated { session: session(), valid: *valid == "true" },
            None => Packet::Revalidate { session: session(), timeout_ms },
        },
        "PING" => {
            let touched = line.number("session").map(|session| (SessionId(session), timeout_ms));
            let from_learner = line.word(0) != "hear";
            Packet::Ping { zxid: named(), touched: from_learner.then(|| touched.into_iter().collect()) }
        }
        "NONSENSE" => Packet::Unknown { kind: 77 },
        other => panic!("{other} is no packet"),
    }
}

fn request(line: &Line<'_>) -> Packet {
    Packet::Request(Request {
        session: SessionId(line.number("session").expect("session=")),
        cxid: line.number("cxid").unwrap_or(0) as i32,
        op: line.number("op").unwrap_or(1) as i32,
        body: [].into(),
        ids: None,
    })
}

fn short(zxid: Zxid) -> String {
    if zxid == Zxid(-1) { "-1".into() } else { format!("{:x}:{:x}", zxid.epoch(), zxid.counter()) }
}

fn shown(packet: &Packet) -> String {
    let name = packet.name();
    match packet {
        Packet::FollowerInfo { accepted_epoch, info } | Packet::ObserverInfo { accepted_epoch, info } => {
            let sid = info.sid.map_or("none".into(), |sid| sid.to_string());
            format!("{name} sid={sid} accepted={}", accepted_epoch.0)
        }
        Packet::LeaderInfo { epoch, .. } => format!("{name} epoch={}", epoch.0),
        Packet::AckEpoch { last_zxid, current_epoch } => {
            let current = current_epoch.map_or(-1, |epoch| epoch.0);
            format!("{name} {} current={current}", short(*last_zxid))
        }
        Packet::Diff { zxid }
        | Packet::Trunc { zxid }
        | Packet::Snap { zxid }
        | Packet::Ack { zxid }
        | Packet::Commit { zxid }
        | Packet::NewLeader { zxid, .. }
        | Packet::Ping { zxid, touched: None }
        | Packet::Proposal(Entry { zxid, .. })
        | Packet::Inform(Entry { zxid, .. }) => format!("{name} {}", short(*zxid)),
        Packet::CommitAndActivate { zxid, designated }
        | Packet::InformAndActivate { entry: Entry { zxid, .. }, designated } => {
            format!("{name} {} designated={designated}", short(*zxid))
        }
        Packet::Ping { zxid, touched: Some(touched) } => {
            let touched: Vec<_> =
                touched.iter().map(|(session, timeout)| format!("{}/{timeout}", session.0)).collect();
            format!("{name} {} touched=[{}]", short(*zxid), touched.join(" "))
        }
        Packet::Request(Request { session, cxid, op, .. }) => {
            format!("{name} session={} cxid={cxid} op={op}", session.0)
        }
        Packet::Revalidate { session, timeout_ms } => {
            format!("{name} session={} timeout={timeout_ms}", session.0)
        }
        Packet::Revalidated { session, valid } => format!("{name} session={} valid={valid}", session.0),
        Packet::UpToDate | Packet::Sync | Packet::Unknown { .. } => name.into(),
    }
}

fn learner_did(action: &learner::Action) -> String {
    use learner::Action;
    match action {
        Action::Send(packet) => format!("say {}", shown(packet)),
        Action::PersistAcceptedEpoch(epoch) => format!("disk: accepted epoch {}", epoch.0),
        Action::PersistCurrentEpoch(epoch) => format!("disk: current epoch {}", epoch.0),
        Action::SeeMembership(_) => "disk: membership".into(),
        Action::Truncate { to } => format!("disk: cut behind {}", short(*to)),
        Action::LoadImage { zxid } => format!("load image {}", short(*zxid)),
        Action::SaveImage { through } => format!("disk: save image {}", short(*through)),
        Action::Append(entry) => format!("append {}", short(entry.zxid)),
        Action::SyncLog { through } => format!("disk: sync log {}", short(*through)),
        Action::Commit(entry) => format!("apply {}", short(entry.zxid)),
        Action::Activate { zxid, designated } => {
            format!("activate {} designated={designated}", short(*zxid))
        }
        Action::Serve { epoch, .. } => format!("serve clients in epoch {}", epoch.0),
        Action::SyncDone => "answer the oldest sync".into(),
        Action::Revalidated { session, valid } => format!("session {} valid={valid}", session.0),
        Action::End { reason, reload: false } => format!("end: {reason}"),
        Action::End { reason, reload: true } => format!("end, and load the tree anew: {reason}"),
    }
}

fn leader_did(action: &leader::Action) -> String {
    use leader::Action;
    match action {
        Action::SendTo { learner, packet } => format!("to {}: {}", name(*learner), shown(packet)),
        Action::SendLog { learner, after, before } => {
            format!("to {}: log files behind {} before {}", name(*learner), short(*after), short(*before))
        }
        Action::SendImage { learner } => format!("to {}: image", name(*learner)),
        Action::Locate { learner, zxid } => format!("look for {}'s {}", name(*learner), short(*zxid)),
        Action::Close { learner, reason } => format!("close {}: {reason:?}", name(*learner)),
        Action::PersistAcceptedEpoch(epoch) => format!("disk: accepted epoch {}", epoch.0),
        Action::PersistCurrentEpoch(epoch) => format!("disk: current epoch {}", epoch.0),
        Action::Append(entry) => format!("append {}", short(entry.zxid)),
        Action::Commit(entry) => format!("apply {}", short(entry.zxid)),
        Action::Activate { zxid, designated } => {
            format!("activate {} designated={designated}", short(*zxid))
        }
        Action::Serve { epoch } => format!("serve clients in epoch {}", epoch.0),
        Action::Request { learner, request } => {
            format!("prepare {}'s {}", name(*learner), shown(&Packet::Request(request.clone())))
        }
        Action::Touch { touched } => {
            let sessions: Vec<_> = touched.iter().map(|(session, _)| session.0.to_string()).collect();
            format!("touch {}", sessions.join(" "))
        }
        Action::Revalidate { learner, session, .. } => {
            format!("is {}'s session {} alive?", name(*learner), session.0)
        }
        Action::SyncDone => "answer the oldest sync".into(),
        Action::StepDown(reason) => format!("step down: {reason}"),
    }
}

/// Learners are called a, b, c.
fn name(learner: LearnerId) -> char {
    char::from(b'a' + learner.0 as u8)
}

fn called(name: &str) -> LearnerId {
    let [letter @ b'a'..=b'z'] = name.as_bytes() else { panic!("{name} is no learner") };
    LearnerId(u64::from(letter - b'a'))
}

enum Machine {
    Learner(Learner),
    Leader(Leader),
}

/// The machine of the scenario, and its time.
#[derive(Default)]
struct Scenario {
    now: Instant,
    machine: Option<Machine>,
}

impl Scenario {
    /// Runs one line and returns what it made the machine do.
    fn run(&mut self, line: &Line<'_>) -> Vec<String> {
        match line.words[..] {
            [] => Vec::new(),
            ["at", ms] => {
                self.now = Instant::from_millis(ms.parse().expect("a time"));
                Vec::new()
            }
            ["follower" | "observer", sid] => {
                let start = learner::Start {
                    sid: ServerId(sid.parse().expect("an id")),
                    observer: line.word(0) == "observer",
                    config_version: Zxid::ZERO,
                    accepted_epoch: line.epoch("accepted"),
                    current_epoch: line.epoch("current"),
                    last_zxid: line.zxid("last").expect("last="),
                };
                (self.now, self.machine) = (Instant(0), None);
                let mut actions = Vec::new();
                self.machine = Some(Machine::Learner(Learner::new(self.now, start, LIMITS, &mut actions)));
                actions.iter().map(learner_did).collect()
            }
            ["leader", sid] => {
                self.now = Instant(0);
                let mut actions = Vec::new();
                let start = leader_start(ServerId(sid.parse().expect("an id")), line);
                self.machine = Some(Machine::Leader(Leader::new(self.now, start, &mut actions)));
                actions.iter().map(leader_did).collect()
            }
            _ => match self.machine.as_mut().expect("a scenario begins with its server") {
                Machine::Learner(learner) => {
                    let mut actions = Vec::new();
                    learner.handle(self.now, learner_event(line), &mut actions);
                    actions.iter().map(learner_did).collect()
                }
                Machine::Leader(leader) => {
                    let mut actions = Vec::new();
                    if let ["skip", to] = line.words[..] {
                        leader.skip_to(zxid(to));
                    } else {
                        leader.handle(self.now, leader_event(leader, line), &mut actions);
                    }
                    actions.iter().map(leader_did).collect()
                }
            },
        }
    }
}

/// All of the history from `window=` on is in memory.
fn leader_start(sid: ServerId, line: &Line<'_>) -> leader::Start {
    let last_zxid = line.zxid("last").expect("last=");
    let mut committed_log = CommittedLog::new(500);
    let mut zxid = line.zxid("window").unwrap_or(last_zxid.next());
    while zxid <= last_zxid {
        committed_log.push(entry(zxid));
        zxid = zxid.next();
    }
    leader::Start {
        sid,
        accepted_epoch: line.epoch("accepted"),
        current_epoch: line.epoch("current"),
        last_zxid,
        committed_log,
        views: Views::new(members(line.number("voters").unwrap_or(3), 0)),
        options: leader::Options {
            limits: LIMITS,
            snap_syncs_max: 10,
            diff_syncs_max: 10,
            force_snap: false,
            counter_end: u32::MAX,
            reconfig_enabled: line.keyed.contains_key("reconfig"),
        },
    }
}

fn learner_event(line: &Line<'_>) -> learner::Event {
    use learner::Event;
    let session = || SessionId(line.number("session").expect("session="));
    match line.words[..] {
        ["hear", ..] => Event::Packet(packet(line, 1)),
        ["disk", "accepted"] => Event::AcceptedEpochPersisted,
        ["disk", "current"] => Event::CurrentEpochPersisted,
        ["disk", "cut"] => Event::Truncated,
        ["disk", "saved"] => Event::ImageSaved,
        ["disk", "synced", through] => Event::LogSynced { through: zxid(through) },
        ["image", "bytes"] => Event::ImageBytes,
        ["image", "loaded"] => Event::ImageLoaded,
        ["client", "request"] => match request(line) {
            Packet::Request(request) => Event::Forward(request),
            _ => unreachable!("a request"),
        },
        ["client", "returns"] => Event::Revalidate { session: session(), timeout_ms: 4000 },
        ["client", "touches"] => Event::Touched { session: session(), timeout_ms: 4000 },
        ["gone"] => Event::Disconnected,
        ["timeout"] => Event::Timeout,
        _ => panic!("{:?} is nothing that happens to a learner", line.words),
    }
}

fn leader_event(leader: &Leader, line: &Line<'_>) -> leader::Event {
    use leader::Event;
    match line.words[..] {
        ["connect", learner] => Event::Connected { learner: called(learner) },
        ["gone", learner] => Event::Disconnected { learner: called(learner) },
        ["disk", "accepted"] => Event::AcceptedEpochPersisted,
        ["disk", "current"] => Event::CurrentEpochPersisted,
        ["disk", "synced", through] => Event::LogSynced { through: zxid(through) },
        ["located", learner] => {
            let meeting = Meeting { before: line.zxid("before"), at_or_after: line.zxid("at") };
            let found = meeting != Meeting::default();
            Event::Located { learner: called(learner), meeting: found.then_some(meeting) }
        }
        ["sent", learner, "image"] => Event::ImageSent { learner: called(learner) },
        ["sent", learner, "part"] => Event::Progress { learner: called(learner) },
        ["broken", learner] => Event::LogBroken { learner: called(learner) },
        ["propose"] => Event::Propose(entry(leader.next_zxid())),
        ["propose", "members"] => {
            let zxid = leader.next_zxid();
            let sids = line.keyed.get("voters").expect("voters=").split(',');
            let lines: String = sids.map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
            let text = format!("{lines}version={zxid:x}");
            Event::ProposeReconfig {
                entry: entry(zxid),
                membership: Membership::from_text(text.as_bytes()).expect("a good membership"),
                may_lead: true,
            }
        }
        ["sync"] => Event::SyncRequested { from: None },
        ["sync", learner] => Event::SyncRequested { from: Some(called(learner)) },
        ["alive", learner] => Event::Revalidated {
            learner: called(learner),
            session: SessionId(line.number("session").expect("session=")),
            valid: line.keyed.get("valid").is_none_or(|valid| *valid == "true"),
        },
        ["timeout"] => Event::Timeout,
        [learner, ..] => Event::Packet { learner: called(learner), packet: packet(line, 1) },
        [] => unreachable!("empty lines are passed over"),
    }
}

#[test]
fn conversations_go_as_they_are_written() {
    let (mut scenario, mut happened) = (Scenario::default(), String::new());
    for line in TEXT.lines().filter(|line| !line.starts_with("->")) {
        writeln!(happened, "{line}").expect("a string takes all");
        let command = if line.starts_with('#') { "" } else { line };
        for action in scenario.run(&Line::of(command)) {
            writeln!(happened, "-> {action}").expect("a string takes all");
        }
    }
    if std::env::var_os("UPDATE_CONVERSATIONS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/quorum/zab/tests/conversations.txt");
        std::fs::write(path, &happened).expect("the text can be written");
    } else {
        assert_eq!(happened, TEXT);
    }
}
