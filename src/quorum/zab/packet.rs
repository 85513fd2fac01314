//! Quorum packets as the machines hold them: owned, and one enum for both directions.
//!
//! [`wire::quorum::packet`](crate::wire::quorum::packet) has the bytes, as values that borrow from them. Machines keep
//! transactions until they are logged and committed and hand the same one to many learners, so here they are shared.
//!
//! # Invariants
//!
//! 1. The zxid of a [`Packet::Proposal`] or [`Packet::Inform`] is the zxid in its transaction's header.

use std::rc::Rc;

use super::Epoch;
use crate::ids::{ServerId, SessionId, Zxid};
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::quorum::packet::{self as wire, FromLeader, FromLearner, LearnerKind};
use crate::wire::quorum::{Misbehaved, Result};
use crate::wire::txn::{LoggedTxn, TxnHeader};

pub use crate::wire::quorum::packet::{LearnerInfo, PROTOCOL_VERSION};

/// One transaction of the history: header, record and digest, the bytes that are logged and replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub zxid: Zxid,
    pub payload: Rc<[u8]>,
}

/// An identity of the client whose request is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthId {
    pub scheme: String,
    pub id: String,
}

/// A client's request on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub session: SessionId,
    pub cxid: i32,
    /// The operation's code.
    pub op: i32,
    /// The client's record without its header.
    pub body: Rc<[u8]>,
    /// `None` is the null vector, which only createSession has.
    pub ids: Option<Vec<AuthId>>,
}

/// A session that was used since the last PING, and its timeout in milliseconds.
pub type Touched = (SessionId, i32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    FollowerInfo {
        accepted_epoch: Epoch,
        info: LearnerInfo,
    },
    ObserverInfo {
        accepted_epoch: Epoch,
        info: LearnerInfo,
    },
    LeaderInfo {
        epoch: Epoch,
        protocol_version: i32,
    },
    /// `current_epoch` is `None` (-1) from a learner that had accepted this epoch before.
    AckEpoch {
        last_zxid: Zxid,
        current_epoch: Option<Epoch>,
    },
    Diff {
        zxid: Zxid,
    },
    Trunc {
        zxid: Zxid,
    },
    /// The image follows the packet, outside of any packet.
    Snap {
        zxid: Zxid,
    },
    Proposal(Entry),
    Ack {
        zxid: Zxid,
    },
    Commit {
        zxid: Zxid,
    },
    CommitAndActivate {
        zxid: Zxid,
        designated: ServerId,
    },
    Inform(Entry),
    InformAndActivate {
        entry: Entry,
        designated: ServerId,
    },
    /// `config`: the text of the leader's last-seen configuration.
    NewLeader {
        zxid: Zxid,
        config: Option<Rc<[u8]>>,
    },
    UpToDate,
    /// `touched` is `None` from a leader. A learner's table may be empty, but never null: Java would drop it.
    Ping {
        zxid: Zxid,
        touched: Option<Vec<Touched>>,
    },
    Request(Request),
    /// May this session go on here? From a learner.
    Revalidate {
        session: SessionId,
        timeout_ms: i32,
    },
    /// The leader's answer.
    Revalidated {
        session: SessionId,
        valid: bool,
    },
    Sync,
    /// A type that nobody knows; ignored, as Java does.
    Unknown {
        kind: i32,
    },
}

impl Entry {
    /// Takes a payload by the zxid in its header.
    ///
    /// # Errors
    /// Bytes too short for a header.
    pub fn from_payload(payload: &[u8]) -> jute::Result<Entry> {
        let header = TxnHeader::read(&mut Reader::new(payload, payload.len()))?;
        Ok(Entry { zxid: header.zxid, payload: payload.into() })
    }

    /// What a peer sent: all of it is decoded here, so that nothing is logged or committed that cannot be applied.
    fn checked(packet: &'static str, zxid: Zxid, payload: &[u8]) -> Result<Entry> {
        match LoggedTxn::decode(payload, usize::MAX) {
            Ok(logged) if logged.header.zxid == zxid => Ok(Entry { zxid, payload: payload.into() }),
            Ok(_) => {
                let malformed = Malformed::BadValue("zxid of a packet is not its transaction's");
                Err(Misbehaved::Malformed { packet, malformed })
            }
            Err(malformed) => Err(Misbehaved::Malformed { packet, malformed }),
        }
    }
}

impl Packet {
    /// # Errors
    /// A transaction that is not what its packet says.
    pub fn from_leader(packet: &FromLeader<'_>) -> Result<Packet> {
        Ok(match *packet {
            FromLeader::LeaderInfo { zxid, protocol } => {
                Packet::LeaderInfo { epoch: Epoch::of(zxid), protocol_version: protocol }
            }
            FromLeader::Diff { zxid } => Packet::Diff { zxid },
            FromLeader::Trunc { zxid } => Packet::Trunc { zxid },
            FromLeader::Snap { zxid } => Packet::Snap { zxid },
            FromLeader::NewLeader { zxid, config } => {
                Packet::NewLeader { zxid, config: config.map(Rc::from) }
            }
            FromLeader::UpToDate => Packet::UpToDate,
            FromLeader::Proposal { zxid, entry } => {
                Packet::Proposal(Entry::checked("PROPOSAL", zxid, entry)?)
            }
            FromLeader::Commit { zxid } => Packet::Commit { zxid },
            FromLeader::CommitAndActivate { zxid, designated } => {
                Packet::CommitAndActivate { zxid, designated }
            }
            FromLeader::Inform { zxid, entry } => Packet::Inform(Entry::checked("INFORM", zxid, entry)?),
            FromLeader::InformAndActivate { zxid, designated, entry } => {
                let entry = Entry::checked("INFORMANDACTIVATE", zxid, entry)?;
                Packet::InformAndActivate { entry, designated }
            }
            FromLeader::Ping { zxid } => Packet::Ping { zxid, touched: None },
            FromLeader::Revalidate { session, valid } => Packet::Revalidated { session, valid },
            FromLeader::Sync => Packet::Sync,
            FromLeader::Unknown { kind } => Packet::Unknown { kind },
        })
    }

    pub fn from_learner(packet: FromLearner<'_>) -> Packet {
        match packet {
            FromLearner::Info { kind, zxid, info } => {
                let accepted_epoch = Epoch::of(zxid);
                match kind {
                    LearnerKind::Follower => Packet::FollowerInfo { accepted_epoch, info },
                    LearnerKind::Observer => Packet::ObserverInfo { accepted_epoch, info },
                }
            }
            FromLearner::AckEpoch { last_zxid, current_epoch } => Packet::AckEpoch {
                last_zxid,
                current_epoch: (current_epoch != -1).then_some(Epoch(current_epoch.into())),
            },
            FromLearner::Ack { zxid } => Packet::Ack { zxid },
            FromLearner::Request { session, cxid, op, body, ids } => {
                let ids = ids.map(|ids| ids.into_iter().map(AuthId::from_wire).collect());
                Packet::Request(Request { session, cxid, op, body: body.into(), ids })
            }
            FromLearner::Ping { zxid, touched } => {
                Packet::Ping { zxid, touched: Some(touched.iter().collect()) }
            }
            FromLearner::Revalidate { session, timeout_ms } => Packet::Revalidate { session, timeout_ms },
            FromLearner::Unknown { kind } => Packet::Unknown { kind },
        }
    }

    /// # Panics
    /// For [`Packet::Unknown`], which nobody sends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Packet::FollowerInfo { accepted_epoch, info } => {
                let (kind, zxid) = (LearnerKind::Follower, accepted_epoch.first());
                FromLearner::Info { kind, zxid, info: *info }.encode(out);
            }
            Packet::ObserverInfo { accepted_epoch, info } => {
                let (kind, zxid) = (LearnerKind::Observer, accepted_epoch.first());
                FromLearner::Info { kind, zxid, info: *info }.encode(out);
            }
            Packet::AckEpoch { last_zxid, current_epoch } => {
                let current_epoch = current_epoch.map_or(-1, |epoch| epoch.0 as i32);
                FromLearner::AckEpoch { last_zxid: *last_zxid, current_epoch }.encode(out);
            }
            Packet::Ack { zxid } => FromLearner::Ack { zxid: *zxid }.encode(out),
            Packet::Request(Request { session, cxid, op, body, ids }) => {
                let ids = ids.as_ref().map(|ids| ids.iter().map(AuthId::to_wire).collect());
                let (session, cxid, op) = (*session, *cxid, *op);
                FromLearner::Request { session, cxid, op, body, ids }.encode(out);
            }
            Packet::Ping { zxid, touched: Some(touched) } => {
                let row = |touched: &Touched| wire::Touched::row(touched.0, touched.1);
                let rows: Vec<_> = touched.iter().map(row).collect();
                FromLearner::Ping { zxid: *zxid, touched: wire::Touched::new(&rows) }.encode(out);
            }
            Packet::Revalidate { session, timeout_ms } => {
                FromLearner::Revalidate { session: *session, timeout_ms: *timeout_ms }.encode(out);
            }
            Packet::LeaderInfo { epoch, protocol_version } => {
                FromLeader::LeaderInfo { zxid: epoch.first(), protocol: *protocol_version }.encode(out);
            }
            Packet::Diff { zxid } => FromLeader::Diff { zxid: *zxid }.encode(out),
            Packet::Trunc { zxid } => FromLeader::Trunc { zxid: *zxid }.encode(out),
            Packet::Snap { zxid } => FromLeader::Snap { zxid: *zxid }.encode(out),
            Packet::Proposal(Entry { zxid, payload }) => {
                FromLeader::Proposal { zxid: *zxid, entry: payload }.encode(out);
            }
            Packet::Commit { zxid } => FromLeader::Commit { zxid: *zxid }.encode(out),
            Packet::CommitAndActivate { zxid, designated } => {
                FromLeader::CommitAndActivate { zxid: *zxid, designated: *designated }.encode(out);
            }
            Packet::Inform(Entry { zxid, payload }) => {
                FromLeader::Inform { zxid: *zxid, entry: payload }.encode(out);
            }
            Packet::InformAndActivate { entry: Entry { zxid, payload }, designated } => {
                let (zxid, designated) = (*zxid, *designated);
                FromLeader::InformAndActivate { zxid, designated, entry: payload }.encode(out);
            }
            Packet::NewLeader { zxid, config } => {
                FromLeader::NewLeader { zxid: *zxid, config: config.as_deref() }.encode(out);
            }
            Packet::UpToDate => FromLeader::UpToDate.encode(out),
            Packet::Ping { zxid, touched: None } => FromLeader::Ping { zxid: *zxid }.encode(out),
            Packet::Revalidated { session, valid } => {
                FromLeader::Revalidate { session: *session, valid: *valid }.encode(out);
            }
            Packet::Sync => FromLeader::Sync.encode(out),
            Packet::Unknown { kind } => unreachable!("nobody sends packets of unknown type {kind}"),
        }
    }
}

impl Packet {
    /// As ZooKeeper calls it, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Packet::FollowerInfo { .. } => "FOLLOWERINFO",
            Packet::ObserverInfo { .. } => "OBSERVERINFO",
            Packet::LeaderInfo { .. } => "LEADERINFO",
            Packet::AckEpoch { .. } => "ACKEPOCH",
            Packet::Diff { .. } => "DIFF",
            Packet::Trunc { .. } => "TRUNC",
            Packet::Snap { .. } => "SNAP",
            Packet::Proposal(_) => "PROPOSAL",
            Packet::Ack { .. } => "ACK",
            Packet::Commit { .. } => "COMMIT",
            Packet::CommitAndActivate { .. } => "COMMITANDACTIVATE",
            Packet::Inform(_) => "INFORM",
            Packet::InformAndActivate { .. } => "INFORMANDACTIVATE",
            Packet::NewLeader { .. } => "NEWLEADER",
            Packet::UpToDate => "UPTODATE",
            Packet::Ping { .. } => "PING",
            Packet::Request(_) => "REQUEST",
            Packet::Revalidate { .. } | Packet::Revalidated { .. } => "REVALIDATE",
            Packet::Sync => "SYNC",
            Packet::Unknown { .. } => "UNKNOWN",
        }
    }
}

impl AuthId {
    /// Null means nothing here, and no server sends it.
    fn from_wire(id: wire::AuthId<'_>) -> AuthId {
        let text = |text: Option<jute::Text<'_>>| text.unwrap_or_default().into_owned();
        AuthId { scheme: text(id.scheme), id: text(id.id) }
    }

    fn to_wire(&self) -> wire::AuthId<'_> {
        wire::AuthId { scheme: Some(self.scheme.as_str().into()), id: Some(self.id.as_str().into()) }
    }
}
