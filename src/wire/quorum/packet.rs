//! `QuorumPacket`: what a leader and its learners say to each other.
//!
//! ```text
//! i32 type    i64 zxid    buffer data    vector<ustring scheme, ustring id> authinfo
//! ```
//!
//! There is no length in front: a packet ends where its last field does. What `data` holds depends on the type
//! and on who speaks, so each side has its own enum: a leader reads [`FromLearner`], a learner [`FromLeader`].
//!
//! | type | name | from | zxid | data |
//! |---|---|---|---|---|
//! | 1 | REQUEST | learner | -1 | i64 session, i32 cxid, i32 op, body; the only one with authinfo |
//! | 2 | PROPOSAL | leader | its own | log entry |
//! | 3 | ACK | learner | what is durable | null |
//! | 4 | COMMIT | leader | what is committed | null |
//! | 5 | PING | leader | last proposed | null |
//! | 5 | PING | learner | the same | (i64 session, i32 timeout)*, never null |
//! | 6 | REVALIDATE | learner | -1 | i64 session, i32 timeout |
//! | 6 | REVALIDATE | leader | -1 | i64 session, bool valid |
//! | 7 | SYNC | leader | 0 | null |
//! | 8 | INFORM | leader | its own | log entry |
//! | 9 | COMMITANDACTIVATE | leader | what is committed | i64 designated leader |
//! | 10 | NEWLEADER | leader | epoch, counter 0 | membership |
//! | 11, 16 | FOLLOWERINFO, OBSERVERINFO | learner | accepted epoch, counter 0 | i64 sid, i32 version, i64 config version |
//! | 12 | UPTODATE | leader | -1 | null |
//! | 13, 14, 15 | DIFF, TRUNC, SNAP | leader | of the history | null |
//! | 17 | LEADERINFO | leader | new epoch, counter 0 | i32 version |
//! | 18 | ACKEPOCH | learner | its last | i32 current epoch, or -1 |
//! | 19 | INFORMANDACTIVATE | leader | its own | i64 designated leader, log entry |

use super::{Misbehaved, Partial, Result, int, long};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::wire::jute::{self, Malformed, Reader, Text};

/// The dialogue that begins with epochs; what both sides say since 3.4.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// What the identities behind one REQUEST may take beyond the limit for data, in bytes.
const AUTH_BYTES_MAX: usize = 256 * 1024;

const REQUEST: i32 = 1;
const PROPOSAL: i32 = 2;
const ACK: i32 = 3;
const COMMIT: i32 = 4;
const PING: i32 = 5;
const REVALIDATE: i32 = 6;
const SYNC: i32 = 7;
const INFORM: i32 = 8;
const COMMITANDACTIVATE: i32 = 9;
const NEWLEADER: i32 = 10;
const FOLLOWERINFO: i32 = 11;
const UPTODATE: i32 = 12;
const DIFF: i32 = 13;
const TRUNC: i32 = 14;
const SNAP: i32 = 15;
const OBSERVERINFO: i32 = 16;
const LEADERINFO: i32 = 17;
const ACKEPOCH: i32 = 18;
const INFORMANDACTIVATE: i32 = 19;

/// The image that follows a SNAP packet: sessions, ACL table, nodes, as in a snapshot file without its header
/// and its trailers.
pub mod image {
    /// The path that stands where another node would, after the last one. (The root's path is "".)
    pub const END_OF_NODES: &str = "/";
    /// What follows the nodes; an image without it is not complete.
    pub const SIGNATURE: &str = "BenWasHere";
}

/// A packet as it is on the wire, before anybody asks what its data means.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Raw<'a> {
    kind: i32,
    zxid: Zxid,
    data: Option<&'a [u8]>,
    ids: Option<Vec<AuthId<'a>>>,
}

/// One identity of the client behind a REQUEST. The leader believes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthId<'a> {
    pub scheme: Option<Text<'a>>,
    pub id: Option<Text<'a>>,
}

impl<'a> Raw<'a> {
    /// `len_max` is `jute.maxbuffer` with its extra size.
    fn decode(bytes: &'a [u8], len_max: usize) -> Partial<Raw<'a>> {
        let bytes_max = len_max.saturating_add(AUTH_BYTES_MAX);
        let within = &bytes[..bytes.len().min(bytes_max)];
        let mut r = Reader::new(within, len_max);
        match Raw::read(&mut r) {
            Ok(packet) => Ok(Some((packet, within.len() - r.rest().len()))),
            Err(Malformed::Truncated) if bytes.len() < bytes_max => Ok(None),
            Err(Malformed::Truncated) => Err(Misbehaved::PacketLength { bytes_max }),
            Err(malformed) => Err(Misbehaved::Malformed { packet: "quorum packet", malformed }),
        }
    }

    fn read(r: &mut Reader<'a>) -> jute::Result<Raw<'a>> {
        let (kind, zxid, data) = (r.int()?, Zxid(r.long()?), r.buffer()?);
        let Some(n) = r.count()? else { return Ok(Raw { kind, zxid, data, ids: None }) };
        // An identity has at least the lengths of its two strings.
        let mut ids = Vec::with_capacity(n.min(r.rest().len() / 8));
        for _ in 0..n {
            ids.push(AuthId { scheme: r.string()?, id: r.string()? });
        }
        Ok(Raw { kind, zxid, data, ids: Some(ids) })
    }

    /// The data of a packet that needs at least `len` bytes of it.
    fn data(&self, packet: &'static str, len: usize) -> Result<&'a [u8]> {
        self.data.filter(|data| data.len() >= len).ok_or(Misbehaved::ShortData { packet })
    }
}

/// Writes a packet whose data is the pieces, one after the other.
fn put(out: &mut Vec<u8>, kind: i32, zxid: Zxid, data: Option<&[&[u8]]>) {
    jute::put_int(out, kind);
    jute::put_long(out, zxid.0);
    match data {
        None => jute::put_int(out, -1),
        Some(pieces) => {
            jute::put_len(out, pieces.iter().map(|piece| piece.len()).sum());
            pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        }
    }
    jute::put_int(out, -1);
}

/// Whether a learner votes, or means to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnerKind {
    Follower,
    Observer,
}

/// How a learner introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerInfo {
    /// `None`: a learner that has no number of its own.
    pub sid: Option<ServerId>,
    /// Below [`PROTOCOL_VERSION`]: from before 3.4.
    pub protocol: i32,
    /// Of the learner's committed membership.
    pub config_version: Zxid,
}

impl LearnerInfo {
    fn decode(data: Option<&[u8]>) -> Result<LearnerInfo> {
        // What is not there is as old as it can be (LearnerHandler.run).
        let Some(data) = data else {
            return Ok(LearnerInfo { sid: None, protocol: 1, config_version: Zxid::ZERO });
        };
        let sid = long(data, 0).ok_or(Misbehaved::ShortData { packet: "FOLLOWERINFO" })?;
        Ok(LearnerInfo {
            sid: Some(ServerId(sid)),
            protocol: int(data, 8).unwrap_or(1),
            config_version: Zxid(long(data, 12).unwrap_or(0)),
        })
    }
}

/// The sessions that a learner has heard of since its last PING.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched<'a> {
    rows: &'a [[u8; 12]],
}

impl<'a> Touched<'a> {
    /// Takes rows made by [`row`](Touched::row).
    pub fn new(rows: &'a [[u8; 12]]) -> Touched<'a> {
        Touched { rows }
    }

    pub fn row(session: SessionId, timeout_ms: i32) -> [u8; 12] {
        let mut row = [0; 12];
        row[..8].copy_from_slice(&session.0.to_be_bytes());
        row[8..].copy_from_slice(&timeout_ms.to_be_bytes());
        row
    }

    /// Sessions and their timeouts in milliseconds.
    pub fn iter(self) -> impl Iterator<Item = (SessionId, i32)> + 'a {
        self.rows.iter().map(|row| {
            let session = row.first_chunk().expect("a row has twelve bytes");
            let timeout = row.last_chunk().expect("a row has twelve bytes");
            (SessionId(i64::from_be_bytes(*session)), i32::from_be_bytes(*timeout))
        })
    }
}

/// What a learner says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLearner<'a> {
    /// FOLLOWERINFO or OBSERVERINFO, its first packet. `zxid` has the epoch it has accepted, and counter 0.
    Info {
        kind: LearnerKind,
        zxid: Zxid,
        info: LearnerInfo,
    },
    /// `current_epoch` is -1 if the leader's epoch was no news.
    AckEpoch {
        last_zxid: Zxid,
        current_epoch: i32,
    },
    Ack {
        zxid: Zxid,
    },
    /// `ids` is null for requests that no client made.
    Request {
        session: SessionId,
        cxid: i32,
        op: i32,
        body: &'a [u8],
        ids: Option<Vec<AuthId<'a>>>,
    },
    Ping {
        zxid: Zxid,
        touched: Touched<'a>,
    },
    Revalidate {
        session: SessionId,
        timeout_ms: i32,
    },
    /// Java logs and ignores these.
    Unknown {
        kind: i32,
    },
}

impl<'a> FromLearner<'a> {
    /// `len_max` is `jute.maxbuffer` with its extra size, in bytes.
    ///
    /// # Errors
    /// What costs a learner its connection with Java too.
    pub fn decode(bytes: &'a [u8], len_max: usize) -> Partial<FromLearner<'a>> {
        let Some((raw, used)) = Raw::decode(bytes, len_max)? else { return Ok(None) };
        Ok(Some((FromLearner::from_raw(raw)?, used)))
    }

    fn from_raw(raw: Raw<'a>) -> Result<FromLearner<'a>> {
        let zxid = raw.zxid;
        let info = |kind| LearnerInfo::decode(raw.data).map(|info| FromLearner::Info { kind, zxid, info });
        Ok(match raw.kind {
            FOLLOWERINFO => info(LearnerKind::Follower)?,
            OBSERVERINFO => info(LearnerKind::Observer)?,
            ACKEPOCH => {
                let packet = "ACKEPOCH";
                let epoch = int(raw.data(packet, 4)?, 0);
                FromLearner::AckEpoch {
                    last_zxid: zxid,
                    current_epoch: epoch.ok_or(Misbehaved::ShortData { packet })?,
                }
            }
            ACK => FromLearner::Ack { zxid },
            REQUEST => {
                let packet = "REQUEST";
                let mut r = Reader::new(raw.data(packet, 16)?, usize::MAX);
                let mut fields = || -> jute::Result<_> { Ok((SessionId(r.long()?), r.int()?, r.int()?)) };
                let (session, cxid, op) =
                    fields().map_err(|malformed| Misbehaved::Malformed { packet, malformed })?;
                FromLearner::Request { session, cxid, op, body: r.rest(), ids: raw.ids }
            }
            PING => {
                let (rows, rest) = raw.data("PING", 0)?.as_chunks();
                if !rest.is_empty() {
                    return Err(Misbehaved::ShortData { packet: "PING" });
                }
                FromLearner::Ping { zxid, touched: Touched { rows } }
            }
            REVALIDATE => {
                let packet = "REVALIDATE";
                let data = raw.data(packet, 12)?;
                match (long(data, 0), int(data, 8)) {
                    (Some(session), Some(timeout_ms)) => {
                        FromLearner::Revalidate { session: SessionId(session), timeout_ms }
                    }
                    _ => return Err(Misbehaved::ShortData { packet }),
                }
            }
            kind => FromLearner::Unknown { kind },
        })
    }

    /// # Panics
    /// For [`Unknown`](FromLearner::Unknown), which nobody sends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FromLearner::Info { kind, zxid, info } => {
                let kind = match kind {
                    LearnerKind::Follower => FOLLOWERINFO,
                    LearnerKind::Observer => OBSERVERINFO,
                };
                let sid = info.sid.map(|sid| sid.0.to_be_bytes());
                let protocol = info.protocol.to_be_bytes();
                let version = info.config_version.0.to_be_bytes();
                match &sid {
                    Some(sid) => put(out, kind, *zxid, Some(&[sid, &protocol, &version])),
                    None => put(out, kind, *zxid, None),
                }
            }
            FromLearner::AckEpoch { last_zxid, current_epoch } => {
                put(out, ACKEPOCH, *last_zxid, Some(&[&current_epoch.to_be_bytes()]));
            }
            FromLearner::Ack { zxid } => put(out, ACK, *zxid, None),
            FromLearner::Request { session, cxid, op, body, ids } => {
                let (session, cxid, op) = (session.0.to_be_bytes(), cxid.to_be_bytes(), op.to_be_bytes());
                put(out, REQUEST, Zxid(-1), Some(&[&session, &cxid, &op, body]));
                if let Some(ids) = ids {
                    // The null that `put` ends with gives way.
                    out.truncate(out.len() - 4);
                    jute::put_len(out, ids.len());
                    for AuthId { scheme, id } in ids {
                        jute::put_string(out, scheme.as_deref());
                        jute::put_string(out, id.as_deref());
                    }
                }
            }
            FromLearner::Ping { zxid, touched } => {
                put(out, PING, *zxid, Some(&[touched.rows.as_flattened()]));
            }
            FromLearner::Revalidate { session, timeout_ms } => {
                let data: &[&[u8]] = &[&session.0.to_be_bytes(), &timeout_ms.to_be_bytes()];
                put(out, REVALIDATE, Zxid(-1), Some(data));
            }
            FromLearner::Unknown { kind } => unreachable!("nobody sends packets of unknown type {kind}"),
        }
    }
}

/// What a leader says, or a follower that serves observers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLeader<'a> {
    /// `zxid` has the epoch that the leader proposes, and counter 0.
    LeaderInfo {
        zxid: Zxid,
        protocol: i32,
    },
    /// What the learner lacks follows. Its zxid promises nothing.
    Diff {
        zxid: Zxid,
    },
    /// What the learner has beyond this is to go.
    Trunc {
        zxid: Zxid,
    },
    /// A whole [`image`] of the tree follows, without a length.
    Snap {
        zxid: Zxid,
    },
    /// `zxid` has the epoch, and counter 0. `config` is the leader's last seen membership.
    NewLeader {
        zxid: Zxid,
        config: Option<&'a [u8]>,
    },
    UpToDate,
    Proposal {
        zxid: Zxid,
        entry: &'a [u8],
    },
    Commit {
        zxid: Zxid,
    },
    CommitAndActivate {
        zxid: Zxid,
        designated: ServerId,
    },
    /// Proposal and commit in one, for observers.
    Inform {
        zxid: Zxid,
        entry: &'a [u8],
    },
    InformAndActivate {
        zxid: Zxid,
        designated: ServerId,
        entry: &'a [u8],
    },
    Ping {
        zxid: Zxid,
    },
    Revalidate {
        session: SessionId,
        valid: bool,
    },
    /// The oldest sync that this learner has asked for is answered.
    Sync,
    /// Java logs and ignores these.
    Unknown {
        kind: i32,
    },
}

impl<'a> FromLeader<'a> {
    /// `len_max` is `jute.maxbuffer` with its extra size, in bytes.
    ///
    /// # Errors
    /// What makes a learner leave its leader.
    pub fn decode(bytes: &'a [u8], len_max: usize) -> Partial<FromLeader<'a>> {
        let Some((raw, used)) = Raw::decode(bytes, len_max)? else { return Ok(None) };
        Ok(Some((FromLeader::from_raw(&raw)?, used)))
    }

    fn from_raw(raw: &Raw<'a>) -> Result<FromLeader<'a>> {
        let zxid = raw.zxid;
        let short = |packet| Misbehaved::ShortData { packet };
        let designated = |packet| {
            let sid = raw.data.and_then(|data| long(data, 0));
            sid.map(ServerId).ok_or(short(packet))
        };
        Ok(match raw.kind {
            LEADERINFO => {
                let protocol = raw.data.and_then(|data| int(data, 0)).ok_or(short("LEADERINFO"))?;
                FromLeader::LeaderInfo { zxid, protocol }
            }
            DIFF => FromLeader::Diff { zxid },
            TRUNC => FromLeader::Trunc { zxid },
            SNAP => FromLeader::Snap { zxid },
            NEWLEADER => FromLeader::NewLeader { zxid, config: raw.data },
            UPTODATE => FromLeader::UpToDate,
            PROPOSAL => FromLeader::Proposal { zxid, entry: raw.data("PROPOSAL", 0)? },
            COMMIT => FromLeader::Commit { zxid },
            COMMITANDACTIVATE => {
                FromLeader::CommitAndActivate { zxid, designated: designated("COMMITANDACTIVATE")? }
            }
            INFORM => FromLeader::Inform { zxid, entry: raw.data("INFORM", 0)? },
            INFORMANDACTIVATE => {
                let packet = "INFORMANDACTIVATE";
                let entry = &raw.data(packet, 8)?[8..];
                FromLeader::InformAndActivate { zxid, designated: designated(packet)?, entry }
            }
            PING => FromLeader::Ping { zxid },
            REVALIDATE => {
                let data = raw.data("REVALIDATE", 9)?;
                let session = long(data, 0).ok_or(short("REVALIDATE"))?;
                FromLeader::Revalidate { session: SessionId(session), valid: data[8] != 0 }
            }
            SYNC => FromLeader::Sync,
            kind => FromLeader::Unknown { kind },
        })
    }

    /// # Panics
    /// For [`Unknown`](FromLeader::Unknown), which nobody sends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            FromLeader::LeaderInfo { zxid, protocol } => {
                put(out, LEADERINFO, zxid, Some(&[&protocol.to_be_bytes()]));
            }
            FromLeader::Diff { zxid } => put(out, DIFF, zxid, None),
            FromLeader::Trunc { zxid } => put(out, TRUNC, zxid, None),
            FromLeader::Snap { zxid } => put(out, SNAP, zxid, None),
            FromLeader::NewLeader { zxid, config: Some(config) } => {
                put(out, NEWLEADER, zxid, Some(&[config]));
            }
            FromLeader::NewLeader { zxid, config: None } => put(out, NEWLEADER, zxid, None),
            FromLeader::UpToDate => put(out, UPTODATE, Zxid(-1), None),
            FromLeader::Proposal { zxid, entry } => put(out, PROPOSAL, zxid, Some(&[entry])),
            FromLeader::Commit { zxid } => put(out, COMMIT, zxid, None),
            FromLeader::CommitAndActivate { zxid, designated } => {
                put(out, COMMITANDACTIVATE, zxid, Some(&[&designated.0.to_be_bytes()]));
            }
            FromLeader::Inform { zxid, entry } => put(out, INFORM, zxid, Some(&[entry])),
            FromLeader::InformAndActivate { zxid, designated, entry } => {
                put(out, INFORMANDACTIVATE, zxid, Some(&[&designated.0.to_be_bytes(), entry]));
            }
            FromLeader::Ping { zxid } => put(out, PING, zxid, None),
            FromLeader::Revalidate { session, valid } => {
                let data: &[&[u8]] = &[&session.0.to_be_bytes(), &[u8::from(valid)]];
                put(out, REVALIDATE, Zxid(-1), Some(data));
            }
            FromLeader::Sync => put(out, SYNC, Zxid::ZERO, None),
            FromLeader::Unknown { kind } => unreachable!("nobody sends packets of unknown type {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN_MAX: usize = 1 << 20;

    fn learner(bytes: &[u8]) -> Partial<FromLearner<'_>> {
        FromLearner::decode(bytes, LEN_MAX)
    }

    fn packet(kind: i32, data: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, kind, Zxid(-1), data.as_ref().map(std::slice::from_ref));
        out
    }

    #[test]
    fn data_that_is_too_short_costs_the_connection() {
        for (kind, len) in [(REQUEST, 15), (REVALIDATE, 11), (ACKEPOCH, 3), (FOLLOWERINFO, 7), (PING, 13)] {
            let bytes = packet(kind, Some(&vec![0; len]));
            assert!(matches!(learner(&bytes), Err(Misbehaved::ShortData { .. })), "{kind}");
        }
        assert!(learner(&packet(PING, None)).is_err(), "null is no empty table");
        for (kind, len) in [(LEADERINFO, 3), (COMMITANDACTIVATE, 7), (INFORMANDACTIVATE, 7), (REVALIDATE, 8)]
        {
            assert!(FromLeader::decode(&packet(kind, Some(&vec![0; len])), LEN_MAX).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_learner_may_leave_out_what_it_does_not_know() {
        let info = |data| match learner(&packet(OBSERVERINFO, data)) {
            Ok(Some((FromLearner::Info { kind: LearnerKind::Observer, info, .. }, _))) => info,
            other => panic!("{other:?}"),
        };
        assert_eq!(info(None), LearnerInfo { sid: None, protocol: 1, config_version: Zxid::ZERO });
        assert_eq!(info(Some(&[0; 8])).sid, Some(ServerId(0)));
        assert_eq!(info(Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])).protocol, PROTOCOL_VERSION);
    }

    #[test]
    fn lengths_are_refused_before_anything_is_waited_for() {
        let mut bytes = packet(REQUEST, Some(&[]));
        bytes[12..16].copy_from_slice(&(LEN_MAX as i32 + 1).to_be_bytes());
        assert!(matches!(learner(&bytes), Err(Misbehaved::Malformed { .. })));
        bytes[12..16].copy_from_slice(&(LEN_MAX as i32).to_be_bytes());
        assert_eq!(learner(&bytes), Ok(None));
    }

    #[test]
    fn identities_without_end_are_refused() {
        let mut bytes = packet(REQUEST, Some(&[0; 16]));
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&i32::MAX.to_be_bytes());
        bytes.resize(LEN_MAX + AUTH_BYTES_MAX - 1, 0xff);
        assert_eq!(learner(&bytes), Ok(None));
        bytes.push(0xff);
        let bytes_max = LEN_MAX + AUTH_BYTES_MAX;
        assert_eq!(learner(&bytes), Err(Misbehaved::PacketLength { bytes_max }));
    }

    proptest! {
        #[test]
        fn requests_come_back_whole_and_only_whole(
            session: i64, cxid: i32, op: i32, body in proptest::collection::vec(any::<u8>(), 0..40),
            ids in proptest::option::of(proptest::collection::vec(("[a-z]{0,5}", "[a-z:]{0,9}"), 0..3)),
        ) {
            let ids = ids.map(|ids| ids.into_iter().map(|(scheme, id)| AuthId {
                scheme: Some(scheme.into()), id: Some(id.into()),
            }).collect());
            let sent = FromLearner::Request { session: SessionId(session), cxid, op, body: &body, ids };
            let mut bytes = Vec::new();
            sent.encode(&mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(learner(&bytes[..end]), Ok(None));
            }
            prop_assert_eq!(learner(&bytes), Ok(Some((sent, bytes.len()))));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(kind in 0..21_i32, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&kind.to_be_bytes()[..], &rest].concat();
            let _ = FromLearner::decode(&bytes, 64);
            let _ = FromLeader::decode(&bytes, 64);
        }

        #[test]
        fn any_data_is_read_or_refused(kind in 0..21_i32, data in proptest::collection::vec(any::<u8>(), 0..30)) {
            let bytes = packet(kind, Some(&data));
            let _ = FromLeader::decode(&bytes, LEN_MAX);
            if let Ok(Some((FromLearner::Ping { touched, .. }, _))) = learner(&bytes) {
                prop_assert_eq!(touched.iter().count() * 12, data.len());
            }
        }
    }
}
