//! Frames of clients and payloads of the log: `serval::wire`.

use serval::wire::jute::{MAX_BUFFER_DEFAULT, Reader};
use serval::wire::op::{Op, Route};
use serval::wire::records::AclList;
use serval::wire::request::{AuthRequest, ConnectRequest, CreateRequest, MultiOp, Request, RequestHeader};
use serval::wire::txn::LoggedTxn;

/// The first frame of a connection: what was understood means the same when it is sent again.
pub fn connect(bytes: &[u8]) {
    let Ok(request) = ConnectRequest::decode(bytes, MAX_BUFFER_DEFAULT) else { return };
    let mut again = Vec::new();
    request.encode(&mut again);
    assert_eq!(ConnectRequest::decode(&again, MAX_BUFFER_DEFAULT).as_ref(), Ok(&request));
}

/// Any later frame, taken apart as a connection does it.
pub fn request(bytes: &[u8]) {
    let mut r = Reader::new(bytes, MAX_BUFFER_DEFAULT);
    let Ok(header) = RequestHeader::read(&mut r) else { return };
    let Some(op) = Op::from_code(header.kind) else { return };
    match op.spec().route {
        Route::Connection => drop(AuthRequest::read(&mut r)),
        Route::Internal => {
            assert!(Request::read(op, &mut r).is_err(), "{op:?} is nobody's request");
        }
        Route::Read | Route::Write => {
            let Ok(request) = Request::read(op, &mut r) else { return };
            match &request {
                Request::Create { create, .. } => check_create(create, bytes),
                Request::SetAcl { acl, .. } => check_acl(*acl),
                Request::Multi(parts) | Request::MultiRead(parts) => check_parts(parts, bytes),
                Request::SetWatches(set) => {
                    let paths =
                        [&set.data, &set.exist, &set.child, &set.persistent, &set.persistent_recursive];
                    let count: usize = paths.iter().map(|paths| paths.len()).sum();
                    assert!(count <= bytes.len() / 4, "{count} paths in {} bytes", bytes.len());
                }
                _ => {}
            }
        }
    }
}

/// The record of a multi and of a multiRead, which `request` reaches too but seldom gets deep into.
pub fn multi(bytes: &[u8]) {
    for op in [Op::Multi, Op::MultiRead] {
        let mut r = Reader::new(bytes, MAX_BUFFER_DEFAULT);
        if let Ok(Request::Multi(parts) | Request::MultiRead(parts)) = Request::read(op, &mut r) {
            check_parts(&parts, bytes);
        }
    }
}

/// A payload of the log: what was understood is the same transaction when it is logged again.
///
/// But for characters above U+FFFF, which Java's writer spells in a way that Java's reader replaces; then it is the
/// same from the second time on.
pub fn txn(bytes: &[u8]) {
    let Ok(logged) = LoggedTxn::decode(bytes, MAX_BUFFER_DEFAULT) else { return };
    let encode = |logged: &LoggedTxn<'_>| {
        let mut out = Vec::new();
        logged.encode(&mut out);
        out
    };
    let again = encode(&logged);
    let second = LoggedTxn::decode(&again, MAX_BUFFER_DEFAULT).expect("what was encoded decodes");
    if !may_hold_astral(bytes) {
        assert_eq!(second, logged);
    }
    assert_eq!(LoggedTxn::decode(&encode(&second), MAX_BUFFER_DEFAULT).as_ref(), Ok(&second));
}

/// Can these bytes decode to a character above U+FFFF? Its UTF-8 begins with one of five bytes.
pub fn may_hold_astral(bytes: &[u8]) -> bool {
    bytes.iter().any(|b| (0xf0..=0xf4).contains(b))
}

fn check_parts(parts: &[MultiOp<'_>], bytes: &[u8]) {
    // A header of nine bytes each: memory is bounded by the frame.
    assert!(parts.len() <= bytes.len() / 9, "{} parts in {} bytes", parts.len(), bytes.len());
    for part in parts {
        if let MultiOp::Create { op, create } = part {
            assert!(create.path.is_some(), "a multi refuses null paths");
            assert_eq!(create.ttl_ms.is_some(), *op == Op::CreateTtl);
            check_create(create, bytes);
        }
    }
}

fn check_create(create: &CreateRequest<'_>, bytes: &[u8]) {
    // Replacing bytes that are not UTF-8 makes three of one.
    assert!(create.path.as_ref().is_none_or(|path| path.len() <= 3 * bytes.len()));
    check_acl(create.acl);
}

/// A list that was accepted shows as many entries as it says, and is accepted again.
fn check_acl(acl: AclList<'_>) {
    let entries: Vec<_> = acl.entries().collect();
    assert_eq!(entries.len(), acl.len());
    assert_eq!(AclList::from_encoded(acl.bytes()), Ok(acl));
    // Equal but for text that had to be repaired, so it is accepted, if not the same.
    assert!(AclList::from_encoded(&AclList::encode(&entries)).is_ok());
}
