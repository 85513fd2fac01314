//! What clients send: the connect request, the request header, and the record of each operation.
//!
//! Decoding is lenient exactly where Java is: bytes after a record are ignored, null paths pass (the
//! operation's own checks refuse them in their place), booleans are any byte.

use super::jute::{self, Malformed, Reader, Result, Text};
use super::op::Op;
use super::records::{Acl, AclList};

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Option<&'a [u8]>,
    /// `None`: an old client (up to 3.3) that does not send the byte and must not be sent it.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    pub fn decode(frame: &'a [u8], len_max: usize) -> Result<ConnectRequest<'a>> {
        let mut r = Reader::new(frame, len_max);
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: r.long()?,
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_int(out, self.protocol_version);
        jute::put_long(out, self.last_zxid_seen);
        jute::put_int(out, self.timeout_ms);
        jute::put_long(out, self.session);
        jute::put_buffer(out, self.password);
        if let Some(read_only) = self.read_only {
            jute::put_bool(out, read_only);
        }
    }
}

/// In front of every request after the handshake; 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub xid: i32,
    /// The operation's number, known or not.
    pub kind: i32,
}

impl RequestHeader {
    pub const ENCODED_LEN: usize = 8;

    pub fn read(r: &mut Reader<'_>) -> Result<RequestHeader> {
        Ok(RequestHeader { xid: r.int()?, kind: r.int()? })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_int(out, self.xid);
        jute::put_int(out, self.kind);
    }
}

/// What create, create2, createContainer and createTTL share; `ttl_ms` only in the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    pub path: Option<Text<'a>>,
    pub data: Option<&'a [u8]>,
    pub acl: AclList<'a>,
    /// `CreateMode` as sent, not yet checked.
    pub flags: i32,
    pub ttl_ms: Option<i64>,
}

impl<'a> CreateRequest<'a> {
    pub fn read(op: Op, r: &mut Reader<'a>) -> Result<CreateRequest<'a>> {
        Ok(CreateRequest {
            path: r.string()?,
            data: r.buffer()?,
            acl: AclList::read(r)?,
            flags: r.int()?,
            ttl_ms: if op == Op::CreateTtl { Some(r.long()?) } else { None },
        })
    }
}

/// The paths that a client watched before it reconnected, and the zxid it had seen by then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatches<'a> {
    pub relative_zxid: i64,
    pub data: Vec<Option<Text<'a>>>,
    pub exist: Vec<Option<Text<'a>>>,
    pub child: Vec<Option<Text<'a>>>,
    pub persistent: Vec<Option<Text<'a>>>,
    pub persistent_recursive: Vec<Option<Text<'a>>>,
}

/// One operation inside a `multi` or `multiRead`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// `op` is the operation after Java's normalisation: flags 4 make a container whatever the header said.
    Create {
        op: Op,
        create: CreateRequest<'a>,
    },
    /// A createTTL with flags outside 0..6: the one bad flag that costs only this operation.
    BadCreateFlags,
    Delete {
        path: Text<'a>,
        version: i32,
    },
    SetData {
        path: Text<'a>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    Check {
        path: Text<'a>,
        version: i32,
    },
    GetData {
        path: Text<'a>,
    },
    GetChildren {
        path: Text<'a>,
    },
}

/// A request's record, for every operation that a client may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Create {
        op: Op,
        create: CreateRequest<'a>,
    },
    Delete {
        path: Option<Text<'a>>,
        version: i32,
    },
    DeleteContainer {
        path: Option<Text<'a>>,
    },
    Exists {
        path: Option<Text<'a>>,
        watch: bool,
    },
    GetData {
        path: Option<Text<'a>>,
        watch: bool,
    },
    SetData {
        path: Option<Text<'a>>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    GetAcl {
        path: Option<Text<'a>>,
    },
    SetAcl {
        path: Option<Text<'a>>,
        acl: AclList<'a>,
        version: i32,
    },
    GetChildren {
        path: Option<Text<'a>>,
        watch: bool,
        with_stat: bool,
    },
    Sync {
        path: Option<Text<'a>>,
    },
    Ping,
    Multi(Vec<MultiOp<'a>>),
    MultiRead(Vec<MultiOp<'a>>),
    Reconfig {
        joining: Option<Text<'a>>,
        leaving: Option<Text<'a>>,
        new_members: Option<Text<'a>>,
        config_id: i64,
    },
    CheckWatches {
        path: Option<Text<'a>>,
        watcher_type: i32,
    },
    RemoveWatches {
        path: Option<Text<'a>>,
        watcher_type: i32,
    },
    SetWatches(SetWatches<'a>),
    AddWatch {
        path: Option<Text<'a>>,
        mode: i32,
    },
    GetEphemerals {
        prefix: Option<Text<'a>>,
    },
    GetAllChildrenNumber {
        path: Option<Text<'a>>,
    },
    WhoAmI,
    CloseSession,
}

/// `auth`: handled by the connection as soon as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRequest<'a> {
    pub scheme: Option<Text<'a>>,
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthRequest<'a> {
    pub fn read(r: &mut Reader<'a>) -> Result<AuthRequest<'a>> {
        r.int()?; // A type that clients send as 0 and no server ever looked at.
        Ok(AuthRequest { scheme: r.string()?, auth: r.buffer()? })
    }
}

impl<'a> Request<'a> {
    /// Reads the record behind the header. `op` must have route `Read` or `Write`.
    pub fn read(op: Op, r: &mut Reader<'a>) -> Result<Request<'a>> {
        Ok(match op {
            Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
                Request::Create { op, create: CreateRequest::read(op, r)? }
            }
            Op::Delete => Request::Delete { path: r.string()?, version: r.int()? },
            Op::DeleteContainer => Request::DeleteContainer { path: r.string()? },
            Op::Exists => Request::Exists { path: r.string()?, watch: r.bool()? },
            Op::GetData => Request::GetData { path: r.string()?, watch: r.bool()? },
            Op::SetData => Request::SetData { path: r.string()?, data: r.buffer()?, version: r.int()? },
            Op::GetAcl => Request::GetAcl { path: r.string()? },
            Op::SetAcl => Request::SetAcl { path: r.string()?, acl: AclList::read(r)?, version: r.int()? },
            Op::GetChildren | Op::GetChildren2 => Request::GetChildren {
                path: r.string()?,
                watch: r.bool()?,
                with_stat: op == Op::GetChildren2,
            },
            Op::Sync => Request::Sync { path: r.string()? },
            Op::Ping => Request::Ping,
            Op::Multi => Request::Multi(read_multi(r, super::op::Multi::Write)?),
            Op::MultiRead => Request::MultiRead(read_multi(r, super::op::Multi::Read)?),
            Op::Reconfig => Request::Reconfig {
                joining: r.string()?,
                leaving: r.string()?,
                new_members: r.string()?,
                config_id: r.long()?,
            },
            Op::CheckWatches => Request::CheckWatches { path: r.string()?, watcher_type: r.int()? },
            Op::RemoveWatches => Request::RemoveWatches { path: r.string()?, watcher_type: r.int()? },
            Op::SetWatches | Op::SetWatches2 => Request::SetWatches(read_set_watches(op, r)?),
            Op::AddWatch => Request::AddWatch { path: r.string()?, mode: r.int()? },
            Op::GetEphemerals => Request::GetEphemerals { prefix: r.string()? },
            Op::GetAllChildrenNumber => Request::GetAllChildrenNumber { path: r.string()? },
            Op::WhoAmI => Request::WhoAmI,
            Op::CloseSession => Request::CloseSession,
            Op::CreateSession | Op::Error | Op::Check | Op::Auth | Op::Sasl => {
                return Err(Malformed::BadValue("not a client's request"));
            }
        })
    }
}

fn read_set_watches<'a>(op: Op, r: &mut Reader<'a>) -> Result<SetWatches<'a>> {
    let null = Malformed::BadValue("null vector in setWatches");
    let mut set = SetWatches {
        relative_zxid: r.long()?,
        data: r.strings()?.ok_or(null)?,
        exist: r.strings()?.ok_or(null)?,
        child: r.strings()?.ok_or(null)?,
        ..SetWatches::default()
    };
    if op == Op::SetWatches2 {
        set.persistent = r.strings()?.ok_or(null)?;
        set.persistent_recursive = r.strings()?.ok_or(null)?;
    }
    Ok(set)
}

/// In front of each operation and each result of a multi; 9 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiHeader {
    pub kind: i32,
    pub done: bool,
    pub err: i32,
}

impl MultiHeader {
    pub const END: MultiHeader = MultiHeader { kind: -1, done: true, err: -1 };

    pub fn read(r: &mut Reader<'_>) -> Result<MultiHeader> {
        Ok(MultiHeader { kind: r.int()?, done: r.bool()?, err: r.int()? })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_int(out, self.kind);
        jute::put_bool(out, self.done);
        jute::put_int(out, self.err);
    }
}

fn read_multi<'a>(r: &mut Reader<'a>, wanted: super::op::Multi) -> Result<Vec<MultiOp<'a>>> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::read(r)?;
        if header.done {
            return Ok(ops);
        }
        let op = Op::from_code(header.kind).ok_or(Malformed::BadValue("unknown operation in a multi"))?;
        // A mix of reads and writes is refused as a whole, like an unknown operation.
        if op.spec().multi != wanted {
            return Err(Malformed::BadValue("operation does not belong in this multi"));
        }
        ops.push(read_multi_op(op, r)?);
    }
}

fn read_multi_op<'a>(op: Op, r: &mut Reader<'a>) -> Result<MultiOp<'a>> {
    let null = Malformed::BadValue("null path in a multi");
    Ok(match op {
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
            return normalise_create(op, CreateRequest::read(op, r)?);
        }
        Op::Delete => MultiOp::Delete { path: r.string()?.ok_or(null)?, version: r.int()? },
        Op::SetData => {
            MultiOp::SetData { path: r.string()?.ok_or(null)?, data: r.buffer()?, version: r.int()? }
        }
        Op::Check => MultiOp::Check { path: r.string()?.ok_or(null)?, version: r.int()? },
        Op::GetData => {
            let path = r.string()?.ok_or(null)?;
            r.bool()?; // The watch flag is read and ignored: a multiRead never sets a watch.
            MultiOp::GetData { path }
        }
        Op::GetChildren => {
            let path = r.string()?.ok_or(null)?;
            r.bool()?;
            MultiOp::GetChildren { path }
        }
        _ => return Err(Malformed::BadValue("operation does not belong in a multi")),
    })
}

/// Java rebuilds create operations as `Op` objects and loses some of what was sent (client-protocol.md
/// section 8, `MultiOperationRecord.deserialize` and `Op.create`); 3.9's rules.
fn normalise_create<'a>(op: Op, mut create: CreateRequest<'a>) -> Result<MultiOp<'a>> {
    if create.path.is_none() {
        return Err(Malformed::BadValue("null path in a multi"));
    }
    // `CreateOptions.newBuilder` refuses it while the multi is read; the way of TTL nodes and of creates outside of a
    // multi does not lead there, and ends in InvalidACL.
    if op != Op::CreateTtl && create.acl == AclList::NULL {
        return Err(Malformed::BadValue("null ACL in a multi"));
    }
    let op = match (op, create.flags) {
        (Op::CreateTtl, 5 | 6) => Op::CreateTtl,
        (Op::CreateTtl, 4) => Op::CreateContainer,
        (Op::CreateTtl, 0..=3) => Op::Create,
        (Op::CreateTtl, _) => return Ok(MultiOp::BadCreateFlags),
        (_, 4) => Op::CreateContainer,
        (op, 0..=3) => op,
        _ => return Err(Malformed::BadValue("create flags in a multi")),
    };
    if op != Op::CreateTtl {
        create.ttl_ms = None;
    }
    Ok(MultiOp::Create { op, create })
}

/// Encodes a create request's record; for clients (zkCli, benches, tests).
pub fn put_create(
    out: &mut Vec<u8>,
    path: &str,
    data: Option<&[u8]>,
    acl: &[Acl<'_>],
    flags: i32,
    ttl_ms: Option<i64>,
) {
    jute::put_string(out, Some(path));
    jute::put_buffer(out, data);
    out.extend_from_slice(&AclList::encode(acl));
    jute::put_int(out, flags);
    if let Some(ttl_ms) = ttl_ms {
        jute::put_long(out, ttl_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::op::OPS;
    use proptest::prelude::*;

    #[test]
    fn a_connect_request_without_the_read_only_byte_is_an_old_client() {
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 40_000,
            session: 0,
            password: Some(&[0; 16]),
            read_only: None,
        };
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        assert_eq!(bytes.len(), 0x2c);
        assert_eq!(ConnectRequest::decode(&bytes, 1000), Ok(request.clone()));
        bytes.push(0);
        assert_eq!(ConnectRequest::decode(&bytes, 1000).unwrap().read_only, Some(false));
    }

    #[test]
    fn flags_four_make_a_container_of_any_create_in_a_multi() {
        for op in [Op::Create, Op::Create2, Op::CreateContainer] {
            let mut bytes = Vec::new();
            MultiHeader { kind: op.code(), done: false, err: -1 }.write(&mut bytes);
            put_create(&mut bytes, "/c", None, &[], 4, None);
            MultiHeader::END.write(&mut bytes);
            let Ok(Request::Multi(ops)) = Request::read(Op::Multi, &mut Reader::new(&bytes, 100)) else {
                panic!("a multi of one create parses");
            };
            assert!(matches!(ops[..], [MultiOp::Create { op: Op::CreateContainer, .. }]));
        }
    }

    #[test]
    fn a_null_acl_makes_the_whole_multi_malformed() {
        for op in [Op::Create, Op::Create2, Op::CreateContainer] {
            let mut bytes = Vec::new();
            MultiHeader { kind: op.code(), done: false, err: -1 }.write(&mut bytes);
            jute::put_string(&mut bytes, Some("/c"));
            jute::put_buffer(&mut bytes, None);
            bytes.extend_from_slice(&(-1i32).to_be_bytes());
            jute::put_int(&mut bytes, 0);
            MultiHeader::END.write(&mut bytes);
            let read = Request::read(Op::Multi, &mut Reader::new(&bytes, 100));
            assert_eq!(read, Err(Malformed::BadValue("null ACL in a multi")));
        }
    }

    #[test]
    fn a_multi_without_its_end_marker_is_malformed() {
        assert_eq!(Request::read(Op::Multi, &mut Reader::new(&[], 100)), Err(Malformed::Truncated));
    }

    proptest! {
        #[test]
        fn no_frame_makes_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = ConnectRequest::decode(&bytes, 1000);
            for spec in OPS {
                let _ = Request::read(spec.op, &mut Reader::new(&bytes, 1000));
            }
            let _ = AuthRequest::read(&mut Reader::new(&bytes, 1000));
        }
    }
}
