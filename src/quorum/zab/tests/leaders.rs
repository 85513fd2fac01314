//! What Java's learners were recorded to say, fed to our leader: what ours says is what Java's said, where the protocol
//! leaves no choice.
//!
//! A recording shows packets, not state, so the leader's is worked out from them: its epoch from LEADERINFO, the end of
//! its log from the first packet of the first synchronisation, its committed log from the transactions that pass by.
//! Clients of the leader's own and voters outside of the recording are played: a transaction is proposed when the first
//! PROPOSAL of it is recorded, and whoever else is needed for its quorum acks it when the first COMMIT is.
//!
//! On each connection these are the same, byte for byte and in this order:
//!
//! - LEADERINFO, then DIFF, TRUNC or SNAP, then each PROPOSAL, with NEWLEADER at the same place between them;
//! - each COMMIT, COMMITANDACTIVATE and SYNC, so that a sync is answered behind the same commit;
//! - each INFORM and INFORMANDACTIVATE; each answer to REVALIDATE; UPTODATE, once.
//!
//! # Where the protocol leaves a choice
//!
//! - When PINGs are, and UPTODATE against live packets: threads in Java, the order of events here.
//! - COMMITs of what was proposed before NEWLEADER come behind UPTODATE here (ZOOKEEPER-4394), so COMMITs are compared
//!   with each other and not with the rest.
//! - In `trunc-absent-zxid` Java's leader, which has no transaction at all, tells a learner that has one to cut behind
//!   zxid 0, and the learner keeps one too many (B2). Ours sends SNAP.
//! - Some recordings leave out the middle of a long history. What they leave out is not compared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entry_by;
use crate::ids::{ServerId, SessionId, Zxid};
use crate::quorum::image::{END, ImageReader};
use crate::quorum::membership::Membership;
use crate::quorum::views::Views;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::leader::{Action, Actions, CloseReason, Event, Leader, Options, Start};
use crate::quorum::zab::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet, Request};
use crate::quorum::zab::window::{CommittedLog, Meeting};
use crate::quorum::zab::{Epoch, Limits};
use crate::storage::{BadNode, SnapshotSink};
use crate::time::Instant;
use crate::tree::{TreeLoader, TreeOptions};
use crate::wire::op::Op;
use crate::wire::quorum::packet::{FromLeader, FromLearner};
use crate::wire::quorum::tests::{bytes_of, captures};
use crate::wire::records::{AclList, StatPersisted};
use crate::wire::txn::{LoggedTxn, Txn};

const LEN_MAX: usize = 2_097_150;
const NOW: Instant = Instant(1);
const LIMITS: Limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };

/// A packet of a recording.
#[derive(Clone, Debug)]
struct Said {
    conn: LearnerId,
    learner: ServerId,
    by_learner: bool,
    packet: Packet,
}

/// One server's time as leader in one epoch, as far as it was recorded.
#[derive(Debug, Default)]
struct Reign {
    said: Vec<Said>,
    /// Connections whose beginning was not recorded: they are older than the recording.
    older: BTreeSet<LearnerId>,
    /// All transactions of the recording, in whatever reign they were seen.
    known: BTreeMap<Zxid, Entry>,
}

/// A file, who leads, and in which epoch.
type Key = (String, ServerId, Epoch);
/// A connection of a file.
type Conn = (String, LearnerId);

fn zxid_of(packet: &Packet) -> Option<Zxid> {
    match packet {
        Packet::Proposal(entry) | Packet::Inform(entry) | Packet::InformAndActivate { entry, .. } => {
            Some(entry.zxid)
        }
        Packet::Commit { zxid } | Packet::CommitAndActivate { zxid, .. } => Some(*zxid),
        _ => None,
    }
}

/// Every packet on quorum ports, with its file and its leader, and the connections that were seen to open.
fn packets() -> (Vec<(String, ServerId, Said)>, BTreeSet<Conn>) {
    let (mut packets, mut opened) = (Vec::new(), BTreeSet::new());
    let sid = |name: &str| ServerId(name[1..].parse().expect("servers are called s1, s2, s3"));
    for (file, line) in captures("quorum-") {
        if line["ch"] != "quorum" {
            continue;
        }
        let conn = LearnerId(line["conn"].as_u64().expect("connections have numbers"));
        if line["event"] == "open" {
            opened.insert((file, conn));
            continue;
        }
        if line["event"].is_string() || matches!(line["kind"].as_str(), None | Some("SASL" | "SNAPSHOT")) {
            continue;
        }
        let (bytes, by_learner) = (bytes_of(&line), line["dir"] == "c2s");
        let packet = match by_learner {
            true => Packet::from_learner(FromLearner::decode(&bytes, LEN_MAX).unwrap().unwrap().0),
            false => Packet::from_leader(&FromLeader::decode(&bytes, LEN_MAX).unwrap().unwrap().0).unwrap(),
        };
        let ends = (sid(line["src"].as_str().unwrap()), sid(line["dst"].as_str().unwrap()));
        let (learner, leader) = if by_learner { ends } else { (ends.1, ends.0) };
        packets.push((file, leader, Said { conn, learner, by_learner, packet }));
    }
    (packets, opened)
}

fn reigns() -> BTreeMap<Key, Reign> {
    let (packets, opened) = packets();
    let (mut epochs, mut known) = (BTreeMap::new(), BTreeMap::<_, BTreeMap<_, _>>::new());
    for (file, _, said) in &packets {
        let conn = (file.clone(), said.conn);
        let epoch = match &said.packet {
            Packet::LeaderInfo { epoch, .. } => Some(*epoch),
            Packet::Ping { zxid, .. } => Some(Epoch::of(*zxid)),
            packet => zxid_of(packet).map(Epoch::of),
        };
        if let (false, Some(epoch)) = (epochs.contains_key(&conn), epoch) {
            epochs.insert(conn, epoch);
        }
        if let Packet::Proposal(entry) | Packet::Inform(entry) | Packet::InformAndActivate { entry, .. } =
            &said.packet
        {
            known.entry(file.clone()).or_default().insert(entry.zxid, entry.clone());
        }
    }
    let mut reigns: BTreeMap<Key, Reign> = BTreeMap::new();
    for (file, leader, said) in packets {
        let conn = (file.clone(), said.conn);
        let Some(epoch) = epochs.get(&conn) else { continue };
        let reign = reigns.entry((file.clone(), leader, *epoch)).or_default();
        if !opened.contains(&conn) {
            reign.older.insert(said.conn);
        }
        reign.known = known.get(&file).cloned().unwrap_or_default();
        reign.said.push(said);
    }
    reigns
}

impl Reign {
    fn to_learner(&self, conn: LearnerId) -> impl Iterator<Item = &Packet> {
        self.said.iter().filter(move |said| said.conn == conn && !said.by_learner).map(|said| &said.packet)
    }

    fn by_learner(&self, conn: LearnerId) -> impl Iterator<Item = &Packet> {
        self.said.iter().filter(move |said| said.conn == conn && said.by_learner).map(|said| &said.packet)
    }

    fn conns(&self) -> BTreeSet<LearnerId> {
        self.said.iter().map(|said| said.conn).collect()
    }

    /// DIFF, TRUNC or SNAP.
    fn plan(&self, conn: LearnerId) -> Option<(&Packet, Zxid)> {
        self.to_learner(conn).find_map(|packet| match packet {
            Packet::Diff { zxid } | Packet::Trunc { zxid } | Packet::Snap { zxid } => Some((packet, *zxid)),
            _ => None,
        })
    }

    fn position(&self, conn: LearnerId) -> Option<Zxid> {
        self.by_learner(conn).find_map(|packet| match packet {
            Packet::AckEpoch { last_zxid, .. } => Some(*last_zxid),
            _ => None,
        })
    }

    fn config(&self) -> Option<Membership> {
        self.said.iter().find_map(|said| match &said.packet {
            Packet::NewLeader { config: Some(config), .. } => Membership::from_text(config).ok(),
            _ => None,
        })
    }

    fn entry(&self, zxid: Zxid) -> Entry {
        self.known.get(&zxid).cloned().unwrap_or_else(|| entry_by(zxid, 1))
    }

    /// What the leader had before the first packet: the end of its log, or of the epoch it was in.
    fn last_at_first(&self) -> Zxid {
        let first = self.said.iter().find_map(|said| match &said.packet {
            Packet::Ping { zxid, touched: None } => Some(*zxid),
            Packet::Proposal(entry) => Some(Zxid(entry.zxid.0 - 1)),
            Packet::Diff { zxid } | Packet::Trunc { zxid } | Packet::Snap { zxid } => Some(*zxid),
            _ => None,
        });
        first.expect("every reign has one of these")
    }

    /// The committed log up to `last`: from the lowest position that Java served from memory or files.
    fn window(&self, last: Zxid) -> CommittedLog {
        let mut window = CommittedLog::new(usize::MAX);
        let served = self.conns().into_iter().filter_map(|conn| match self.plan(conn)? {
            (Packet::Diff { .. }, _) => self.position(conn),
            (Packet::Trunc { zxid }, _) => Some(*zxid),
            _ => None,
        });
        let first = served.chain([last]).min().expect("one at least");
        let mut zxids: BTreeSet<Zxid> =
            self.known.keys().copied().filter(|zxid| (first..=last).contains(zxid)).collect();
        // Up to the last within its epoch, whether recorded or not.
        let begin = first.max(Zxid(last.0 & !0xffff_ffff));
        zxids.extend((begin.0..=last.0).map(Zxid).chain([first]));
        zxids.retain(|zxid| zxid.counter() != 0);
        zxids.into_iter().for_each(|zxid| window.push(self.entry(zxid)));
        window
    }
}

/// Our leader in Java's place.
struct Replay<'a> {
    reign: &'a Reign,
    leader: Leader,
    sent: BTreeMap<LearnerId, Vec<Packet>>,
    /// Voters that play along: outside of the recording, or older than it.
    extras: Vec<LearnerId>,
    /// Requests that Java's leader had not prepared yet at this point.
    requests: VecDeque<(LearnerId, Request)>,
    answers: BTreeMap<LearnerId, VecDeque<Packet>>,
    proposed: Zxid,
    committed: Zxid,
    closed: Vec<(LearnerId, CloseReason)>,
}

impl<'a> Replay<'a> {
    fn new((file, leader, epoch): &Key, reign: &'a Reign, members: Membership) -> Replay<'a> {
        let reconfig_enabled = file.contains("reconfig");
        let mut committed = members.clone();
        if committed.version == epoch.first() {
            committed.version = Zxid::ZERO;
        }
        let last_zxid = reign.last_at_first();
        let before = Epoch(epoch.0 - 1);
        let start = Start {
            sid: *leader,
            accepted_epoch: before,
            current_epoch: before,
            last_zxid,
            committed_log: reign.window(last_zxid),
            views: Views::new(committed),
            options: Options {
                limits: LIMITS,
                snap_syncs_max: 10,
                diff_syncs_max: 10,
                force_snap: false,
                counter_end: u32::MAX,
                reconfig_enabled,
            },
        };
        let is_answer = |packet: &&Packet| matches!(packet, Packet::Revalidated { .. });
        let answers = reign.conns().into_iter();
        let answers =
            answers.map(|conn| (conn, reign.to_learner(conn).filter(is_answer).cloned().collect())).collect();
        let mut actions = Vec::new();
        let mut replay = Replay {
            leader: Leader::new(NOW, start, &mut actions),
            reign,
            sent: BTreeMap::new(),
            extras: Vec::new(),
            requests: VecDeque::new(),
            answers,
            proposed: last_zxid,
            committed: last_zxid,
            closed: Vec::new(),
        };
        replay.carry_out(actions);
        if !reign.older.is_empty() || Epoch::of(last_zxid) == *epoch {
            replay.establish(&members, *leader, *epoch, last_zxid);
        }
        replay
    }

    /// The reign is older than the recording: learners join that were there before.
    fn establish(&mut self, members: &Membership, leader: ServerId, epoch: Epoch, last_zxid: Zxid) {
        let older: BTreeMap<LearnerId, ServerId> = self
            .reign
            .said
            .iter()
            .filter(|said| self.reign.older.contains(&said.conn))
            .map(|said| (said.conn, said.learner))
            .collect();
        let seen: BTreeSet<ServerId> = self.reign.said.iter().map(|said| said.learner).collect();
        let voters = members.participants().map(|(sid, _)| sid);
        let unseen = voters.filter(|sid| *sid != leader && !seen.contains(sid));
        let unseen: Vec<_> = unseen.map(|sid| (LearnerId(1000 + sid.0 as u64), sid)).collect();
        self.extras = unseen.iter().map(|(conn, _)| *conn).collect();
        for (learner, sid) in older.into_iter().chain(unseen) {
            self.handle(Event::Connected { learner });
            let info = LearnerInfo { sid: Some(sid), protocol: PROTOCOL_VERSION, config_version: Zxid::ZERO };
            let accepted_epoch = Epoch(epoch.0 - 1);
            let current_epoch = Some(accepted_epoch);
            self.hear(learner, Packet::FollowerInfo { accepted_epoch, info });
            self.hear(learner, Packet::AckEpoch { last_zxid, current_epoch });
            self.hear(learner, Packet::Ack { zxid: epoch.first() });
        }
        assert_eq!(self.leader.serving(), Some(epoch));
        self.leader.skip_to(last_zxid);
        (self.proposed, self.committed) = (last_zxid, last_zxid);
        self.sent.clear();
    }

    fn hear(&mut self, learner: LearnerId, packet: Packet) {
        self.handle(Event::Packet { learner, packet });
    }

    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.leader.handle(NOW, event, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::SendTo { learner, packet } => self.sent.entry(learner).or_default().push(packet),
                Action::SendLog { learner, after, before } => {
                    let known = self.reign.known.range(after.next()..before).map(|(_, entry)| entry);
                    let sent = self.sent.entry(learner).or_default();
                    for entry in known {
                        sent.push(Packet::Proposal(entry.clone()));
                        sent.push(Packet::Commit { zxid: entry.zxid });
                    }
                }
                Action::SendImage { learner } => self.handle(Event::ImageSent { learner }),
                Action::Locate { learner, zxid } => {
                    let found = !matches!(self.reign.plan(learner), Some((Packet::Snap { .. }, _)));
                    let meeting = Meeting { before: None, at_or_after: Some(zxid) };
                    self.handle(Event::Located { learner, meeting: found.then_some(meeting) });
                }
                Action::Close { learner, reason } => self.closed.push((learner, reason)),
                Action::PersistAcceptedEpoch(_) => self.handle(Event::AcceptedEpochPersisted),
                Action::PersistCurrentEpoch(_) => self.handle(Event::CurrentEpochPersisted),
                Action::Commit(entry) => self.committed = entry.zxid,
                Action::Serve { epoch } => {
                    (self.proposed, self.committed) = (epoch.first(), epoch.first());
                }
                Action::Request { learner, request } => {
                    self.requests.push_back((learner, request));
                    self.prepare_syncs();
                }
                Action::Revalidate { learner, session, .. } => {
                    let answer = self.answers.get_mut(&learner).and_then(VecDeque::pop_front);
                    let Some(Packet::Revalidated { valid, .. }) = answer else { continue };
                    self.handle(Event::Revalidated { learner, session, valid });
                }
                Action::Append(_) | Action::Activate { .. } | Action::Touch { .. } | Action::SyncDone => {}
                Action::StepDown(reason) => panic!("our leader steps down: {reason}"),
            }
        }
    }

    /// A sync comes up when every request before it has been prepared.
    fn prepare_syncs(&mut self) {
        while let Some((learner, _)) =
            self.requests.pop_front_if(|(_, request)| request.op == Op::Sync as i32)
        {
            self.handle(Event::SyncRequested { from: Some(learner) });
        }
    }

    /// As Java's leader has, by the recording, proposed up to here.
    fn propose_through(&mut self, through: Zxid) {
        while self.proposed < through && Epoch::of(through) == Epoch::of(self.proposed) {
            let entry = self.reign.entry(self.leader.next_zxid());
            self.proposed = entry.zxid;
            let logged = LoggedTxn::decode(&entry.payload, LEN_MAX).expect("a recorded transaction");
            let (session, cxid) = (logged.header.session, logged.header.cxid);
            let by = |(_, request): &(LearnerId, Request)| request.session == session && request.cxid == cxid;
            if self.requests.iter().any(by) {
                while let Some(request) = self.requests.pop_front().filter(|request| !by(request)) {
                    assert_eq!(request.1.op, Op::Sync as i32, "Java prepares in order");
                }
            }
            let event = match &logged.txn {
                Txn::Reconfig { data: Some(data), .. } => Event::ProposeReconfig {
                    membership: Membership::from_text(data).expect("a membership"),
                    may_lead: true,
                    entry: entry.clone(),
                },
                _ => Event::Propose(entry.clone()),
            };
            self.handle(event);
            self.prepare_syncs();
        }
    }

    /// As Java's leader has committed up to here: its own log is synced, and who is not recorded has acked.
    fn commit_through(&mut self, through: Zxid) {
        self.propose_through(through);
        while self.committed < through && Epoch::of(through) == Epoch::of(self.committed) {
            let zxid = self.committed.next();
            self.handle(Event::LogSynced { through: zxid });
            for learner in self.extras.clone() {
                self.hear(learner, Packet::Ack { zxid });
            }
            assert_eq!(self.committed, zxid, "Java has a quorum for it, we have none");
        }
    }

    fn run(&mut self) {
        let established = |replay: &Replay<'_>| replay.leader.serving().is_some();
        for said in &self.reign.said {
            let Said { conn, packet, by_learner, .. } = said;
            match packet {
                _ if *by_learner => {
                    if matches!(packet, Packet::FollowerInfo { .. } | Packet::ObserverInfo { .. }) {
                        self.handle(Event::Connected { learner: *conn });
                    }
                    if let (Packet::AckEpoch { last_zxid, .. }, true) = (packet, established(self)) {
                        self.catch_up(*conn, *last_zxid);
                    }
                    self.hear(*conn, packet.clone());
                }
                Packet::Proposal(entry) if established(self) => self.propose_through(entry.zxid),
                Packet::Commit { .. }
                | Packet::CommitAndActivate { .. }
                | Packet::Inform(_)
                | Packet::InformAndActivate { .. }
                    if established(self) =>
                {
                    self.commit_through(zxid_of(packet).expect("all of these have one"));
                }
                _ => {}
            }
        }
    }

    /// What Java's leader had when it made its plan: committed what the plan says, and proposed what is in front of
    /// NEWLEADER.
    fn catch_up(&mut self, conn: LearnerId, position: Zxid) {
        if let Some((_, through)) = self.reign.plan(conn).filter(|(_, through)| *through != position) {
            self.commit_through(through);
        }
        let before_new_leader: Vec<_> = self
            .reign
            .to_learner(conn)
            .take_while(|packet| !matches!(packet, Packet::NewLeader { .. }))
            .filter_map(zxid_of)
            .collect();
        self.propose_through(before_new_leader.into_iter().max().unwrap_or(Zxid::ZERO));
    }
}

/// The packets of a connection that must come in this order, as bytes, and readable.
fn lines(packets: &[Packet], wanted: fn(&Packet) -> bool) -> Vec<(String, Vec<u8>)> {
    let shown = |packet: &&Packet| {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        (format!("{} {:?}", packet.name(), zxid_of(packet)), bytes)
    };
    packets.iter().filter(|packet| wanted(packet)).collect::<Vec<_>>().iter().map(shown).collect()
}

const ORDERS: [fn(&Packet) -> bool; 5] = [
    |packet| {
        matches!(
            packet,
            Packet::LeaderInfo { .. }
                | Packet::Diff { .. }
                | Packet::Trunc { .. }
                | Packet::Snap { .. }
                | Packet::Proposal(_)
                | Packet::NewLeader { .. }
        )
    },
    |packet| matches!(packet, Packet::Commit { .. } | Packet::CommitAndActivate { .. } | Packet::Sync),
    |packet| matches!(packet, Packet::Inform(_) | Packet::InformAndActivate { .. }),
    |packet| matches!(packet, Packet::Revalidated { .. }),
    |packet| matches!(packet, Packet::UpToDate),
];

#[test]
fn fed_by_javas_learners_our_leader_says_what_javas_leaders_said() {
    let (mut compared, mut plans, mut packets) = (0, BTreeMap::<&str, usize>::new(), 0);
    for (key, reign) in &reigns() {
        let majority = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=0";
        let members = reign.config();
        let members = members.unwrap_or_else(|| Membership::from_text(majority.as_bytes()).expect("good"));
        let mut replay = Replay::new(key, reign, members);
        replay.run();
        for conn in reign.conns() {
            let what = format!("{key:?}, connection {}", conn.0);
            let java: Vec<Packet> = reign.to_learner(conn).cloned().collect();
            let mut ours = replay.sent.remove(&conn).unwrap_or_default();
            if key.0.starts_with("quorum-trunc-absent-zxid") && conn == LearnerId(1) {
                assert!(java.contains(&Packet::Trunc { zxid: Zxid::ZERO }), "Java's choice");
                assert!(ours.contains(&Packet::Snap { zxid: Zxid::ZERO }), "and ours: {ours:?}");
                continue;
            }
            let named = |packet: &Packet| zxid_of(packet).map(|zxid| (packet.name(), zxid));
            let recorded: BTreeSet<_> = java.iter().filter_map(named).collect();
            ours.retain(|packet| named(packet).is_none_or(|named| recorded.contains(&named)));
            for order in ORDERS {
                let (ours, java) = (lines(&ours, order), lines(&java, order));
                let names = |lines: &[(String, Vec<u8>)]| {
                    lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
                };
                assert_eq!(names(&ours), names(&java), "{what}");
                assert_eq!(ours, java, "{what}");
                packets += java.len();
            }
            if let Some((plan, _)) = reign.plan(conn) {
                *plans.entry(plan.name()).or_default() += 1;
            }
            compared += 1;
        }
        assert_eq!(replay.closed, [], "{key:?}: our leader closes whom Java's keeps");
    }
    assert!(compared > 50 && packets > 700, "{compared} connections, {packets} packets");
    let least = [("DIFF", 20), ("SNAP", 8), ("TRUNC", 3)];
    assert!(least.iter().all(|(plan, least)| plans[plan] >= *least), "{plans:?}");
}

/// What an image has, and the tree that it makes.
struct Image {
    sessions: Vec<(SessionId, i32)>,
    paths: Vec<String>,
    loader: TreeLoader,
}

impl SnapshotSink for Image {
    fn begin(&mut self) {}

    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.push((id, timeout_ms));
    }

    fn acl(&mut self, id: i64, list: AclList<'_>) {
        self.loader.acl(id, list);
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: i64,
        stat: &StatPersisted,
    ) -> Result<(), BadNode> {
        self.paths.push(path.to_owned());
        self.loader.node(path, data, acl, stat).map_err(|_| BadNode("a node without its parent"))
    }
}

/// Images that Java's leaders sent are loaded, and the transactions behind them leave the tree with the digest that
/// Java's leader computed.
#[test]
fn javas_images_are_javas_trees() {
    let options = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };
    let (mut images, mut digests) = (0, 0);
    let (mut snap, mut open) = (BTreeMap::new(), BTreeMap::new());
    for (file, line) in captures("quorum-") {
        let conn = (file.clone(), line["ch"].to_string(), line["conn"].as_u64());
        if line["event"].is_string() || line["dir"] != "s2c" || line["ch"] == "election" {
            continue;
        }
        let bytes = match line["kind"].as_str() {
            None | Some("SASL") => continue,
            Some("SNAPSHOT") => {
                let bytes = bytes_of(&line);
                let mut image =
                    Image { sessions: Vec::new(), paths: Vec::new(), loader: TreeLoader::new(options) };
                let fed = ImageReader::new(LEN_MAX).feed(&bytes, &mut image).expect("an image");
                assert!(fed.done && fed.consumed == bytes.len() && bytes.ends_with(&END), "{file}");
                let nodes = line["fields"]["nodes"].as_array().expect("the recording lists them");
                let paths: Vec<_> = nodes.iter().map(|node| node["path"].as_str().expect("a path")).collect();
                assert_eq!(image.paths, paths, "{file}");
                let sessions = line["fields"]["sessions"].as_array().expect("the recording lists them");
                assert_eq!(image.sessions.len(), sessions.len(), "{file}");
                let zxid: Zxid = snap.remove(&conn).expect("SNAP comes before its image");
                open.insert(conn, image.loader.finish(zxid));
                images += 1;
                continue;
            }
            Some(_) => bytes_of(&line),
        };
        let (packet, _) = FromLeader::decode(&bytes, LEN_MAX).unwrap().unwrap();
        match Packet::from_leader(&packet).unwrap() {
            Packet::Snap { zxid } => drop(snap.insert(conn, zxid)),
            Packet::Proposal(entry) | Packet::Inform(entry) => {
                let Some(tree) = open.get_mut(&conn) else { continue };
                let logged = LoggedTxn::decode(&entry.payload, LEN_MAX).expect("a transaction");
                tree.apply(&logged.header, &logged.txn, &mut ());
                if let Some(digest) = logged.digest {
                    assert_eq!(tree.digest(), digest, "{file}: after {}", entry.zxid);
                    digests += 1;
                }
            }
            _ => {}
        }
    }
    assert!(images == 11 && digests == 10, "{images} images, {digests} digests");
}
