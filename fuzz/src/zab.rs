//! The machines of ZAB under peers that say anything, over a disk that does what it is told: `serval::quorum::zab`.
//!
//! The bytes are a program. Packets come in a short form, so that dialogues get far, or as bytes of the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serval::ids::{ServerId, SessionId, Zxid};
use serval::quorum::membership::Membership;
use serval::quorum::views::Views;
use serval::quorum::zab::leader::handler::LearnerId;
use serval::quorum::zab::leader::{self, Leader};
use serval::quorum::zab::learner::{self, Learner};
use serval::quorum::zab::packet::{Entry, LearnerInfo, PROTOCOL_VERSION, Packet, Request};
use serval::quorum::zab::window::{CommittedLog, Meeting, follows};
use serval::quorum::zab::{Epoch, Limits};
use serval::time::{Instant, Millis};
use serval::wire::quorum::packet::{FromLeader, FromLearner};
use serval::wire::txn::{LoggedTxn, Txn, TxnHeader};

const LIMITS: Limits = Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 };
/// A foreign packet's longest field, in bytes.
const LEN_MAX: usize = 1 << 12;
/// What both machines begin with: epoch 1, three transactions.
const LAST: Zxid = Zxid((1 << 32) | 3);

fn entry(zxid: Zxid) -> Entry {
    let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: 0, kind: -1 };
    let mut payload = Vec::new();
    LoggedTxn { header, txn: Txn::Error { code: 0 }, digest: None }.encode(&mut payload);
    Entry::from_payload(&payload).expect("just encoded")
}

/// A program's bytes.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Near to where histories meet, or far out.
    fn zxid(&mut self) -> Option<Zxid> {
        Some(match self.byte()? {
            255 => Zxid(i64::MAX),
            254 => Zxid(-1),
            253 => Zxid(i64::MIN),
            252 => Zxid::new(1, u32::MAX),
            byte => Zxid::new(u32::from(byte >> 5), u32::from(byte & 31)),
        })
    }

    fn wire(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(bytes)
    }

    fn packet_from_leader(&mut self, op: u8) -> Option<Packet> {
        Some(match op {
            0 => {
                Packet::LeaderInfo { epoch: Epoch(self.zxid()?.epoch()), protocol_version: PROTOCOL_VERSION }
            }
            1 => Packet::Diff { zxid: self.zxid()? },
            2 => Packet::Trunc { zxid: self.zxid()? },
            3 => Packet::Snap { zxid: self.zxid()? },
            4 => Packet::NewLeader { zxid: self.zxid()?, config: None },
            5 => Packet::UpToDate,
            6 => Packet::Proposal(entry(self.zxid()?)),
            7 => Packet::Commit { zxid: self.zxid()? },
            8 => Packet::CommitAndActivate { zxid: self.zxid()?, designated: ServerId(3) },
            9 => Packet::Inform(entry(self.zxid()?)),
            10 => Packet::InformAndActivate { entry: entry(self.zxid()?), designated: ServerId(3) },
            11 => Packet::Ping { zxid: self.zxid()?, touched: None },
            12 => Packet::Sync,
            13 => Packet::Revalidated { session: SessionId(i64::from(self.byte()?)), valid: true },
            _ => {
                let (packet, _) = FromLeader::decode(self.wire()?, LEN_MAX).ok()??;
                Packet::from_leader(&packet).ok()?
            }
        })
    }

    fn packet_from_learner(&mut self, op: u8) -> Option<Packet> {
        Some(match op {
            0 | 1 => {
                let sid = self.byte()?;
                let info = LearnerInfo {
                    sid: (sid != 0).then_some(ServerId(i64::from(sid % 8))),
                    protocol: PROTOCOL_VERSION,
                    config_version: Zxid(i64::from(sid == 255)),
                };
                let accepted_epoch = Epoch(self.zxid()?.epoch());
                match op {
                    0 => Packet::FollowerInfo { accepted_epoch, info },
                    _ => Packet::ObserverInfo { accepted_epoch, info },
                }
            }
            2 => {
                let current_epoch = Some(Epoch(self.zxid()?.epoch())).filter(|epoch| epoch.0 != -1);
                Packet::AckEpoch { last_zxid: self.zxid()?, current_epoch }
            }
            3 => Packet::Ack { zxid: self.zxid()? },
            4 => Packet::Request(Request {
                session: SessionId(1),
                cxid: 0,
                op: i32::from(self.byte()?),
                body: [].into(),
                ids: None,
            }),
            5 => Packet::Ping { zxid: Zxid::ZERO, touched: Some(vec![(SessionId(1), 4000)]) },
            6 => Packet::Revalidate { session: SessionId(1), timeout_ms: 4000 },
            _ => Packet::from_learner(FromLearner::decode(self.wire()?, LEN_MAX).ok()??.0),
        })
    }
}

/// A learner of whatever leader.
pub fn learner(bytes: &[u8]) {
    let mut program = Program(bytes);
    let Some(options) = program.byte() else { return };
    let start = learner::Start {
        sid: ServerId(1),
        observer: options & 1 == 1,
        config_version: Zxid::ZERO,
        accepted_epoch: Epoch(1 + i64::from(options >> 1 & 1)),
        current_epoch: Epoch(1),
        last_zxid: LAST,
    };
    let mut actions = Vec::new();
    let machine = Learner::new(Instant(0), start, LIMITS, &mut actions);
    let mut server = Server {
        machine,
        observer: start.observer,
        now: Instant(0),
        disk: VecDeque::new(),
        promised: start.accepted_epoch,
        adopted: start.current_epoch,
        log: vec![LAST],
        synced: LAST,
        history: LAST,
        image: None,
        new_leader: None,
        acked: None,
        heard: 0,
        applied: 0,
        ended: false,
    };
    server.carry_out(actions);
    while server.step(&mut program).is_some() {}
}

/// What a learner's shell must do and has not done yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Disk {
    Promise(Epoch),
    Adopt(Epoch),
    Truncate(Zxid),
    Load(Zxid),
    Save(Zxid),
    Sync(Zxid),
}

/// A learner's shell.
struct Server {
    machine: Learner,
    observer: bool,
    now: Instant,
    disk: VecDeque<Disk>,
    promised: Epoch,
    adopted: Epoch,
    /// From the last truncation or image on.
    log: Vec<Zxid>,
    synced: Zxid,
    /// The end of the log when NEWLEADER came.
    history: Zxid,
    /// Being loaded, or in memory and not on disk.
    image: Option<Zxid>,
    /// Has its ACK been sent?
    new_leader: Option<Zxid>,
    acked: Option<Zxid>,
    heard: usize,
    applied: usize,
    ended: bool,
}

impl Server {
    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        let op = program.byte()?;
        let event = match op {
            0..=159 => {
                // Behind SNAP the image comes first.
                if self.disk.iter().any(|op| matches!(op, Disk::Load(_))) && op & 1 == 0 {
                    learner::Event::ImageBytes
                } else {
                    match program.packet_from_leader(op % 16) {
                        Some(packet) => {
                            self.heard += 1;
                            learner::Event::Packet(packet)
                        }
                        None => return (!program.0.is_empty()).then_some(()),
                    }
                }
            }
            160..=223 => match self.disk.pop_front() {
                // The log has nothing at the cut: the one before it is the last.
                Some(Disk::Truncate(to)) if op == 223 => {
                    let last = Zxid(to.0.saturating_sub(1));
                    (self.log, self.synced) = (vec![last], last);
                    learner::Event::TruncatedShort { last }
                }
                Some(done) => self.done(done),
                None => return Some(()),
            },
            224..=231 => learner::Event::Touched { session: SessionId(i64::from(op)), timeout_ms: 4000 },
            232..=235 if self.machine.serving().is_some() => {
                learner::Event::Revalidate { session: SessionId(1), timeout_ms: 4000 }
            }
            236..=247 => {
                self.now = self.now + Millis(u64::from(op) * 10);
                learner::Event::Timeout
            }
            // A sync that nobody asked for, or a piece of one.
            248..=251 => match self.log.iter().find(|zxid| **zxid > self.synced) {
                Some(through) => self.done(Disk::Sync(*through)),
                None => return Some(()),
            },
            255 => learner::Event::Disconnected,
            _ => return Some(()),
        };
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        assert!(!self.ended || actions.is_empty(), "after the end: {actions:?}");
        self.carry_out(actions);
        Some(())
    }

    fn done(&mut self, op: Disk) -> learner::Event {
        match op {
            Disk::Promise(epoch) => {
                self.promised = epoch;
                learner::Event::AcceptedEpochPersisted
            }
            Disk::Adopt(epoch) => {
                self.adopted = epoch;
                learner::Event::CurrentEpochPersisted
            }
            Disk::Truncate(to) => {
                (self.log, self.synced) = (vec![to], to);
                learner::Event::Truncated
            }
            Disk::Load(_) => learner::Event::ImageLoaded,
            Disk::Save(through) => {
                (self.log, self.synced, self.image) = (vec![through], through, None);
                learner::Event::ImageSaved
            }
            Disk::Sync(through) => {
                self.synced = self.synced.max(through);
                learner::Event::LogSynced { through }
            }
        }
    }

    fn end_of_log(&self) -> Zxid {
        *self.log.last().expect("never empty")
    }

    fn carry_out(&mut self, actions: learner::Actions) {
        for action in actions {
            assert!(!self.ended, "{action:?} after the end");
            match action {
                learner::Action::Send(packet) => self.check_sent(&packet),
                learner::Action::PersistAcceptedEpoch(epoch) => {
                    assert!(epoch > self.promised);
                    self.disk.push_back(Disk::Promise(epoch));
                }
                learner::Action::PersistCurrentEpoch(epoch) => {
                    assert_eq!(epoch, self.promised, "what is adopted was promised");
                    assert!(self.image.is_none() && self.synced >= self.history, "history comes first");
                    self.disk.push_back(Disk::Adopt(epoch));
                }
                learner::Action::Truncate { to } => {
                    assert!(to <= LAST);
                    self.disk.push_back(Disk::Truncate(to));
                }
                learner::Action::LoadImage { zxid } => {
                    self.image = Some(zxid);
                    self.disk.push_back(Disk::Load(zxid));
                }
                learner::Action::SaveImage { through } => self.disk.push_back(Disk::Save(through)),
                learner::Action::Append(entry) => {
                    assert!(self.image.is_none(), "the log stands still for an image");
                    assert!(!self.disk.iter().any(|op| matches!(op, Disk::Truncate(_) | Disk::Save(_))));
                    assert!(
                        follows(self.end_of_log(), entry.zxid),
                        "{} behind {}",
                        entry.zxid,
                        self.end_of_log()
                    );
                    // History may be of any epoch before the leader's; the leader's own is adopted first.
                    let epoch = Epoch::of(entry.zxid);
                    assert!(epoch <= self.adopted || epoch < self.promised, "no log is ahead of its epoch");
                    self.log.push(entry.zxid);
                }
                learner::Action::SyncLog { through } => {
                    assert_eq!(through, self.end_of_log());
                    self.history = through;
                    self.disk.push_back(Disk::Sync(through));
                }
                learner::Action::Commit(entry) => {
                    assert!(self.image.is_some() || entry.zxid <= self.end_of_log(), "applied, not logged");
                    self.applied += 1;
                    assert!(self.applied <= self.heard);
                }
                learner::Action::Serve { epoch, .. } => {
                    assert_eq!((epoch, self.image), (self.adopted, None));
                    assert_eq!(self.new_leader, Some(epoch.first()), "served before NEWLEADER was acked");
                }
                learner::Action::End { reload, .. } => {
                    assert!(self.image.is_none() || reload, "an image that is not on disk is forgotten");
                    self.ended = true;
                }
                _ => {}
            }
        }
    }

    fn check_sent(&mut self, packet: &Packet) {
        match packet {
            Packet::AckEpoch { .. } => assert!(self.adopted <= self.promised),
            Packet::Ack { zxid } if *zxid == self.adopted.first() => {
                assert!(self.image.is_none());
                self.new_leader = Some(*zxid);
            }
            Packet::Ack { zxid } => {
                assert!(!self.observer && self.new_leader.is_some(), "NEWLEADER's ACK is the first");
                assert!(*zxid <= self.synced, "acked and not on disk");
                assert!(self.acked.is_none_or(|acked| acked < *zxid), "in order, each once");
                self.acked = Some(*zxid);
            }
            _ => {}
        }
    }
}

/// The leader of any learners: server 3 of three voters; 4 is an observer.
pub fn leader(bytes: &[u8]) {
    let mut program = Program(bytes);
    let Some(options) = program.byte() else { return };
    let text = b"server.1=a:1:11\nserver.2=b:1:12\nserver.3=c:1:13\nserver.4=d:1:14:observer\nversion=0";
    let membership = Membership::from_text(text).expect("a good membership");
    let mut committed_log = CommittedLog::new(4);
    (1..=LAST.counter()).for_each(|counter| committed_log.push(entry(Zxid::new(1, counter))));
    let start = leader::Start {
        sid: ServerId(3),
        accepted_epoch: Epoch(1),
        current_epoch: Epoch(1),
        last_zxid: LAST,
        committed_log,
        views: Views::new(membership.clone()),
        options: leader::Options {
            limits: LIMITS,
            snap_syncs_max: 1,
            diff_syncs_max: 2,
            force_snap: options & 1 == 1,
            counter_end: u32::MAX,
            reconfig_enabled: options & 2 == 2,
        },
    };
    let mut actions = Vec::new();
    let machine = Leader::new(Instant(0), start, &mut actions);
    let mut ensemble = Ensemble {
        machine,
        membership,
        now: Instant(0),
        connections: 0,
        learners: BTreeMap::new(),
        disk: VecDeque::new(),
        log: vec![LAST],
        committed: None,
        acks: BTreeMap::new(),
        syncs: 0,
        ended: false,
    };
    ensemble.carry_out(actions);
    while ensemble.step(&mut program).is_some() {}
}

#[derive(Clone, Copy, Debug)]
enum LeadersDisk {
    Promise,
    Adopt,
    Sync(Zxid),
}

/// What a leader has said on a connection, and heard.
#[derive(Default)]
struct Said {
    sid: Option<ServerId>,
    new_leader: Option<Zxid>,
    new_leader_acked: bool,
    locate: bool,
    image: bool,
}

/// A leader's shell, and what it knows of the learners.
struct Ensemble {
    machine: Leader,
    membership: Membership,
    now: Instant,
    connections: u64,
    learners: BTreeMap<LearnerId, Said>,
    disk: VecDeque<LeadersDisk>,
    log: Vec<Zxid>,
    committed: Option<Zxid>,
    /// Who has said to have what, this server's own disk included.
    acks: BTreeMap<Zxid, BTreeSet<ServerId>>,
    syncs: usize,
    ended: bool,
}

impl Ensemble {
    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        let op = program.byte()?;
        let among = usize::from(op >> 4) % self.learners.len().max(1);
        let learner = self.learners.keys().nth(among).copied();
        let event = match (op, learner) {
            (0..=127, Some(learner)) => {
                let Some(packet) = program.packet_from_learner(op % 8) else {
                    return (!program.0.is_empty()).then_some(());
                };
                self.note(learner, &packet);
                leader::Event::Packet { learner, packet }
            }
            (128..=143, _) if self.learners.len() < 8 => {
                self.connections += 1;
                let learner = LearnerId(self.connections);
                self.learners.insert(learner, Said::default());
                leader::Event::Connected { learner }
            }
            (144..=175, _) => match self.disk.pop_front() {
                Some(LeadersDisk::Promise) => leader::Event::AcceptedEpochPersisted,
                Some(LeadersDisk::Adopt) => leader::Event::CurrentEpochPersisted,
                Some(LeadersDisk::Sync(through)) => {
                    for zxid in self.log.iter().filter(|zxid| **zxid <= through) {
                        self.acks.entry(*zxid).or_default().insert(ServerId(3));
                    }
                    leader::Event::LogSynced { through }
                }
                None => return Some(()),
            },
            (176..=183, _) if self.machine.serving().is_some() => {
                leader::Event::Propose(entry(self.machine.next_zxid()))
            }
            (184..=187, from) if self.machine.serving().is_some() => {
                self.syncs += 1;
                leader::Event::SyncRequested { from: from.filter(|_| op & 1 == 1) }
            }
            (188..=207, Some(_)) => {
                let waits = |said: &Said| (said.locate && op & 1 == 0) || (said.image && op & 1 == 1);
                let (learner, said) = self.learners.iter_mut().find(|(_, said)| waits(said))?;
                let learner = *learner;
                if said.image && op & 1 == 1 {
                    said.image = op >= 204;
                    match op {
                        204.. => leader::Event::Progress { learner },
                        _ => leader::Event::ImageSent { learner },
                    }
                } else {
                    said.locate = false;
                    let meeting = Meeting { before: program.zxid(), at_or_after: program.zxid() };
                    leader::Event::Located { learner, meeting: (op & 2 == 0).then_some(meeting) }
                }
            }
            (208..=215, Some(learner)) => {
                self.learners.remove(&learner);
                leader::Event::Disconnected { learner }
            }
            (216..=219, Some(learner)) => leader::Event::LogBroken { learner },
            (220..=223, Some(learner)) => {
                leader::Event::Revalidated { learner, session: SessionId(1), valid: true }
            }
            (224..=255, _) => {
                let soon = self.now + Millis(u64::from(op - 224) * 50);
                self.now =
                    self.machine.next_timeout().map_or(soon, |timeout| timeout.min(soon)).max(self.now);
                leader::Event::Timeout
            }
            _ => return Some(()),
        };
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        assert!(!self.ended || actions.is_empty(), "after the end: {actions:?}");
        self.carry_out(actions);
        Some(())
    }

    fn note(&mut self, learner: LearnerId, packet: &Packet) {
        let said = self.learners.get_mut(&learner).expect("it is connected");
        match packet {
            Packet::FollowerInfo { info, .. } | Packet::ObserverInfo { info, .. } if said.sid.is_none() => {
                said.sid = Some(info.sid.unwrap_or(ServerId(-1)));
            }
            Packet::Ack { zxid } if said.new_leader.is_some() => {
                said.new_leader_acked |= said.new_leader == Some(*zxid);
                self.acks.entry(*zxid).or_default().extend(said.sid);
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, actions: leader::Actions) {
        for action in actions {
            assert!(!self.ended, "{action:?} after the end");
            match action {
                leader::Action::SendTo { learner, packet } => {
                    let said = self.learners.get_mut(&learner).expect("nothing is sent to who was closed");
                    match packet {
                        Packet::NewLeader { zxid, .. } => {
                            assert!(!said.image, "NEWLEADER in front of the image");
                            said.new_leader = Some(zxid);
                        }
                        Packet::UpToDate => {
                            assert!(said.new_leader_acked && self.machine.serving().is_some())
                        }
                        Packet::Ping { .. } => {
                            assert!(said.new_leader.is_some(), "Java's learners would exit")
                        }
                        Packet::Sync => {
                            self.syncs = self.syncs.checked_sub(1).expect("as many as were asked for");
                        }
                        Packet::Commit { zxid } => {
                            let adopted = zxid <= LAST;
                            assert!(
                                adopted || self.committed.is_some_and(|committed| zxid <= committed.next())
                            );
                        }
                        _ => {}
                    }
                }
                leader::Action::SendImage { learner } => {
                    self.learners.get_mut(&learner).expect("it is connected").image = true;
                }
                leader::Action::Locate { learner, .. } => {
                    self.learners.get_mut(&learner).expect("it is connected").locate = true;
                }
                leader::Action::Close { learner, .. } => {
                    assert!(self.learners.remove(&learner).is_some(), "closed once");
                }
                leader::Action::PersistAcceptedEpoch(_) => self.disk.push_back(LeadersDisk::Promise),
                leader::Action::PersistCurrentEpoch(_) => self.disk.push_back(LeadersDisk::Adopt),
                leader::Action::Append(entry) => {
                    let last = *self.log.last().expect("never empty");
                    assert!(follows(last, entry.zxid));
                    self.log.push(entry.zxid);
                    self.disk.push_back(LeadersDisk::Sync(entry.zxid));
                }
                leader::Action::Commit(entry) => {
                    assert!(self.log.contains(&entry.zxid));
                    assert_eq!(self.committed.map(Zxid::next).unwrap_or(entry.zxid), entry.zxid, "in order");
                    let acks = self.acks.remove(&entry.zxid).unwrap_or_default();
                    assert!(self.membership.is_quorum(|sid| acks.contains(&sid)), "committed by {acks:?}");
                    self.committed = Some(entry.zxid);
                }
                leader::Action::Serve { epoch } => {
                    let acks = self.acks.entry(epoch.first()).or_default();
                    acks.insert(ServerId(3));
                    assert!(self.membership.is_quorum(|sid| acks.contains(&sid)), "established by {acks:?}");
                    self.committed = Some(epoch.first());
                }
                leader::Action::SyncDone => {
                    self.syncs = self.syncs.checked_sub(1).expect("as many as were asked for");
                }
                leader::Action::StepDown(_) => self.ended = true,
                _ => {}
            }
        }
    }
}
