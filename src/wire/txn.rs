//! Transactions as they are logged, replicated and applied.
//!
//! A log payload is `TxnHeader` (32 bytes), the record of the header's type, and in most cases a `TxnDigest`
//! (12 bytes). A [`Txn`] borrows from those bytes, so that replay and live commit decode the same way and
//! nothing is copied before the tree keeps it.
//!
//! # Invariants
//!
//! 1. `decode(encode(x)) == x` for every transaction that Serval makes.
//! 2. An error transaction never carries a digest; every other one does when digests are enabled.

use std::borrow::Cow;

use super::jute::{self, Malformed, Reader, Result, Text};
use super::op::Op;
use super::records::AclList;
use crate::ids::{SessionId, Zxid};

/// `TxnDigest.version` and the only digest version there is (`DigestCalculator.DIGEST_VERSION`).
pub const DIGEST_VERSION: i32 = 2;

/// Who asked for a transaction, when, and what kind it is; 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnHeader {
    pub session: SessionId,
    /// The client's xid; 0 for a session's creation and expiry.
    pub cxid: i32,
    pub zxid: Zxid,
    /// Wall clock of the leader when the request was prepared, in milliseconds; becomes ctime and mtime.
    pub time: i64,
    /// The type's number; it agrees with the variant of the [`Txn`] beside it.
    pub kind: i32,
}

impl TxnHeader {
    pub const ENCODED_LEN: usize = 32;

    pub fn read(r: &mut Reader<'_>) -> Result<TxnHeader> {
        Ok(TxnHeader {
            session: SessionId(r.long()?),
            cxid: r.int()?,
            zxid: Zxid(r.long()?),
            time: r.long()?,
            kind: r.int()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_long(out, self.session.0);
        jute::put_int(out, self.cxid);
        jute::put_long(out, self.zxid.0);
        jute::put_long(out, self.time);
        jute::put_int(out, self.kind);
    }
}

/// What a create makes. `Create` and `Create2` differ only in the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    Create { ephemeral: bool },
    Create2 { ephemeral: bool },
    Container,
    Ttl { ttl_ms: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTxn<'a> {
    pub kind: CreateKind,
    pub path: Text<'a>,
    pub data: Option<&'a [u8]>,
    pub acl: AclList<'a>,
    /// The parent's stored cversion after this create; -1 in logs from before 3.4.
    pub parent_cversion: i32,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    CreateSession {
        timeout_ms: i32,
    },
    /// The ephemerals to delete. `None`: the writer logged no list, the tree knows them.
    CloseSession {
        paths: Option<Vec<Text<'a>>>,
    },
    /// A request that failed after it had been given its zxid.
    Error {
        code: i32,
    },
    Create(CreateTxn<'a>),
    Delete {
        path: Text<'a>,
        /// The container manager's own delete: the same effect under type 20.
        container: bool,
    },
    /// `version` is the new version.
    SetData {
        path: Text<'a>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    Reconfig {
        path: Text<'a>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    /// `version` is the new aversion.
    SetAcl {
        path: Text<'a>,
        acl: AclList<'a>,
        version: i32,
    },
    /// Only inside a multi.
    Check {
        path: Text<'a>,
        version: i32,
    },
    /// All of it or, if one of its parts is an `Error`, nothing.
    Multi(Vec<Txn<'a>>),
}

fn path<'a>(r: &mut Reader<'a>) -> Result<Text<'a>> {
    r.string()?.ok_or(Malformed::BadValue("null path in a transaction"))
}

impl<'a> Txn<'a> {
    /// The number that stands in the header for this transaction.
    pub fn kind(&self) -> i32 {
        match self {
            Txn::CreateSession { .. } => Op::CreateSession,
            Txn::CloseSession { .. } => Op::CloseSession,
            Txn::Error { .. } => Op::Error,
            Txn::Create(create) => match create.kind {
                CreateKind::Create { .. } => Op::Create,
                CreateKind::Create2 { .. } => Op::Create2,
                CreateKind::Container => Op::CreateContainer,
                CreateKind::Ttl { .. } => Op::CreateTtl,
            },
            Txn::Delete { container: false, .. } => Op::Delete,
            Txn::Delete { container: true, .. } => Op::DeleteContainer,
            Txn::SetData { .. } => Op::SetData,
            Txn::Reconfig { .. } => Op::Reconfig,
            Txn::SetAcl { .. } => Op::SetAcl,
            Txn::Check { .. } => Op::Check,
            Txn::Multi(_) => Op::Multi,
        }
        .code()
    }

    /// Reads the record of a transaction of type `kind`.
    pub fn read(kind: i32, r: &mut Reader<'a>) -> Result<Txn<'a>> {
        let op = Op::from_code(kind).ok_or(Malformed::BadValue("unknown transaction type"))?;
        Ok(match op {
            Op::CreateSession => Txn::CreateSession { timeout_ms: r.int()? },
            Op::CloseSession => Txn::CloseSession { paths: read_close_paths(r) },
            Op::Error => Txn::Error { code: r.int()? },
            Op::Create | Op::Create2 => {
                let (path, data, acl) = (path(r)?, r.buffer()?, AclList::read(r)?);
                let ephemeral = r.bool()?;
                let kind = if op == Op::Create {
                    CreateKind::Create { ephemeral }
                } else {
                    CreateKind::Create2 { ephemeral }
                };
                // Releases before 3.4 wrote no parentCVersion.
                let parent_cversion = if r.is_empty() { -1 } else { r.int()? };
                Txn::Create(CreateTxn { kind, path, data, acl, parent_cversion })
            }
            Op::CreateContainer => Txn::Create(CreateTxn {
                path: path(r)?,
                data: r.buffer()?,
                acl: AclList::read(r)?,
                parent_cversion: r.int()?,
                kind: CreateKind::Container,
            }),
            Op::CreateTtl => {
                let (path, data, acl) = (path(r)?, r.buffer()?, AclList::read(r)?);
                let (parent_cversion, ttl_ms) = (r.int()?, r.long()?);
                Txn::Create(CreateTxn { kind: CreateKind::Ttl { ttl_ms }, path, data, acl, parent_cversion })
            }
            Op::Delete => Txn::Delete { path: path(r)?, container: false },
            Op::DeleteContainer => Txn::Delete { path: path(r)?, container: true },
            Op::SetData => Txn::SetData { path: path(r)?, data: r.buffer()?, version: r.int()? },
            Op::Reconfig => Txn::Reconfig { path: path(r)?, data: r.buffer()?, version: r.int()? },
            Op::SetAcl => Txn::SetAcl { path: path(r)?, acl: AclList::read(r)?, version: r.int()? },
            Op::Check => Txn::Check { path: path(r)?, version: r.int()? },
            Op::Multi => Txn::Multi(read_multi(r)?),
            _ => return Err(Malformed::BadValue("unknown transaction type")),
        })
    }

    /// Appends the record (without header and digest).
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Txn::CreateSession { timeout_ms } => jute::put_int(out, *timeout_ms),
            Txn::CloseSession { paths: None } => {}
            Txn::CloseSession { paths: Some(paths) } => {
                jute::put_len(out, paths.len());
                for path in paths {
                    jute::put_string(out, Some(path));
                }
            }
            Txn::Error { code } => jute::put_int(out, *code),
            Txn::Create(create) => {
                jute::put_string(out, Some(&create.path));
                jute::put_buffer(out, create.data);
                out.extend_from_slice(create.acl.bytes());
                if let CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } = create.kind {
                    jute::put_bool(out, ephemeral);
                }
                jute::put_int(out, create.parent_cversion);
                if let CreateKind::Ttl { ttl_ms } = create.kind {
                    jute::put_long(out, ttl_ms);
                }
            }
            Txn::Delete { path, .. } => jute::put_string(out, Some(path)),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                jute::put_string(out, Some(path));
                jute::put_buffer(out, *data);
                jute::put_int(out, *version);
            }
            Txn::SetAcl { path, acl, version } => {
                jute::put_string(out, Some(path));
                out.extend_from_slice(acl.bytes());
                jute::put_int(out, *version);
            }
            Txn::Check { path, version } => {
                jute::put_string(out, Some(path));
                jute::put_int(out, *version);
            }
            Txn::Multi(parts) => {
                jute::put_len(out, parts.len());
                for part in parts {
                    jute::put_int(out, part.kind());
                    jute::put_frame(out, |out| part.write(out));
                }
            }
        }
    }

    /// True for an error and for a multi with an error in it: applying it changes nothing but the zxid.
    pub fn failed(&self) -> bool {
        match self {
            Txn::Error { .. } => true,
            Txn::Multi(parts) => parts.iter().any(|part| matches!(part, Txn::Error { .. })),
            _ => false,
        }
    }
}

/// Any parse that does not fit is the empty record: with digests on and `closeSessionTxn.enabled=false` Java
/// leaves the twelve bytes of the digest where the vector would be (storage.md section 4).
fn read_close_paths<'a>(r: &mut Reader<'a>) -> Option<Vec<Text<'a>>> {
    let parse =
        |r: &mut Reader<'a>| -> Option<Vec<Text<'a>>> { r.strings().ok().flatten()?.into_iter().collect() };
    let mut ahead = *r;
    match parse(&mut ahead) {
        Some(paths) => {
            *r = ahead;
            Some(paths)
        }
        None => {
            let all = r.rest().len();
            r.take(all).expect("the rest is there");
            None
        }
    }
}

fn read_multi<'a>(r: &mut Reader<'a>) -> Result<Vec<Txn<'a>>> {
    let n = r.count()?.unwrap_or(0);
    let mut parts = Vec::with_capacity(n.min(r.rest().len() / 8));
    for _ in 0..n {
        let kind = r.int()?;
        let data = r.buffer()?.ok_or(Malformed::BadValue("null part in a multi"))?;
        if matches!(Op::from_code(kind), Some(Op::Multi)) {
            // Java never nests them; refusing keeps the recursion at one level.
            return Err(Malformed::BadValue("multi inside a multi"));
        }
        parts.push(Txn::read(kind, &mut Reader::new(data, r.len_max()))?);
    }
    Ok(parts)
}

/// A log entry's payload, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedTxn<'a> {
    pub header: TxnHeader,
    pub txn: Txn<'a>,
    /// The tree's digest after this transaction; `None` if the writer gave none (or one of another version).
    pub digest: Option<u64>,
}

impl<'a> LoggedTxn<'a> {
    /// `len_max` bounds single strings and buffers, in bytes.
    pub fn decode(payload: &'a [u8], len_max: usize) -> Result<LoggedTxn<'a>> {
        let mut r = Reader::new(payload, len_max);
        let header = TxnHeader::read(&mut r)?;
        let txn = Txn::read(header.kind, &mut r)?;
        // Whatever follows the digest is ignored, as in Java; so is a digest that is cut short.
        let digest = match (r.int(), r.long()) {
            (Ok(DIGEST_VERSION), Ok(digest)) => Some(digest as u64),
            _ => None,
        };
        Ok(LoggedTxn { header, txn, digest })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert_eq!(self.header.kind, self.txn.kind());
        self.header.write(out);
        self.txn.write(out);
        if let Some(digest) = self.digest {
            jute::put_int(out, DIGEST_VERSION);
            jute::put_long(out, digest as i64);
        }
    }
}

/// Borrowed text for a transaction from a path that lives long enough.
pub fn text(path: &str) -> Text<'_> {
    Cow::Borrowed(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(txn: Txn<'_>) {
        let header = TxnHeader {
            session: SessionId(7),
            cxid: 1,
            zxid: Zxid(9),
            time: 1_700_000_000_000,
            kind: txn.kind(),
        };
        let digest = (!matches!(txn, Txn::Error { .. })).then_some(0x51c6_d660);
        let logged = LoggedTxn { header, txn, digest };
        let mut bytes = Vec::new();
        logged.encode(&mut bytes);
        assert_eq!(LoggedTxn::decode(&bytes, jute::MAX_BUFFER_DEFAULT), Ok(logged));
    }

    #[test]
    fn every_kind_comes_back_from_its_bytes() {
        let create = |kind| {
            Txn::Create(CreateTxn {
                kind,
                path: text("/a"),
                data: Some(b"x"),
                acl: AclList::OPEN,
                parent_cversion: 3,
            })
        };
        round_trip(Txn::CreateSession { timeout_ms: 4000 });
        round_trip(Txn::CloseSession { paths: Some(vec![text("/e")]) });
        round_trip(Txn::Error { code: -101 });
        round_trip(create(CreateKind::Create { ephemeral: true }));
        round_trip(create(CreateKind::Create2 { ephemeral: false }));
        round_trip(create(CreateKind::Container));
        round_trip(create(CreateKind::Ttl { ttl_ms: 5 }));
        round_trip(Txn::Delete { path: text("/a"), container: false });
        round_trip(Txn::Delete { path: text("/a"), container: true });
        round_trip(Txn::SetData { path: text("/a"), data: None, version: 1 });
        round_trip(Txn::Reconfig { path: text("/zookeeper/config"), data: Some(b""), version: -1 });
        round_trip(Txn::SetAcl { path: text("/a"), acl: AclList::READ_ONLY, version: 1 });
        round_trip(Txn::Multi(vec![Txn::Check { path: text("/a"), version: 1 }, Txn::Error { code: -2 }]));
    }

    #[test]
    fn a_create_session_record_is_the_one_in_a_real_log() {
        // storage.md section 4, first record of a real log.
        let txn = Txn::CreateSession { timeout_ms: 600_000 };
        let header = TxnHeader {
            session: SessionId(0x0100_003b_9aa2_0000),
            cxid: 0,
            zxid: Zxid(1),
            time: 0,
            kind: txn.kind(),
        };
        let mut bytes = Vec::new();
        LoggedTxn { header, txn, digest: Some(0x51c6_d660) }.encode(&mut bytes);
        assert_eq!(bytes.len(), 0x30);
        assert_eq!(bytes[..20], [1, 0, 0, 0x3b, 0x9a, 0xa2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            bytes[28..],
            [0xff, 0xff, 0xff, 0xf6, 0, 9, 0x27, 0xc0, 0, 0, 0, 2, 0, 0, 0, 0, 0x51, 0xc6, 0xd6, 0x60]
        );
    }

    #[test]
    fn a_close_session_without_a_list_swallows_its_digest() {
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid: Zxid(1), time: 0, kind: -11 };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        jute::put_int(&mut bytes, 2);
        jute::put_long(&mut bytes, 0x51c6_d660);
        let logged = LoggedTxn::decode(&bytes, jute::MAX_BUFFER_DEFAULT).unwrap();
        assert_eq!((logged.txn, logged.digest), (Txn::CloseSession { paths: None }, None));
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128), kind in -12i32..25) {
            let _ = LoggedTxn::decode(&bytes, jute::MAX_BUFFER_DEFAULT);
            let _ = Txn::read(kind, &mut Reader::new(&bytes, jute::MAX_BUFFER_DEFAULT));
        }
    }
}
