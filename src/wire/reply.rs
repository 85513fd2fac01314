//! What a server sends: connect response, reply header, notifications.
//!
//! Rule of the protocol: a reply whose header carries an error has no body.

use super::error::ErrorCode;
use super::jute::{self, Reader, Result};

/// Answer to the handshake. A refusal has timeout 0, session 0 and a zero password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectResponse {
    pub timeout_ms: i32,
    pub session: i64,
    pub password: [u8; 16],
    /// `None` for old clients, which take 36 bytes and no more.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    pub fn encode(&self, out: &mut Vec<u8>) {
        jute::put_int(out, 0); // protocolVersion, always 0 whatever the client said
        jute::put_int(out, self.timeout_ms);
        jute::put_long(out, self.session);
        jute::put_buffer(out, Some(&self.password));
        if let Some(read_only) = self.read_only {
            jute::put_bool(out, read_only);
        }
    }
}

/// In front of every reply and notification; 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
}

impl ReplyHeader {
    pub const ENCODED_LEN: usize = 16;

    pub fn ok(xid: i32, zxid: i64) -> ReplyHeader {
        ReplyHeader { xid, zxid, err: 0 }
    }

    pub fn error(xid: i32, zxid: i64, code: ErrorCode) -> ReplyHeader {
        ReplyHeader { xid, zxid, err: code.code() }
    }

    pub fn read(r: &mut Reader<'_>) -> Result<ReplyHeader> {
        Ok(ReplyHeader { xid: r.int()?, zxid: r.long()?, err: r.int()? })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut b = [0; ReplyHeader::ENCODED_LEN];
        b[0..4].copy_from_slice(&self.xid.to_be_bytes());
        b[4..12].copy_from_slice(&self.zxid.to_be_bytes());
        b[12..16].copy_from_slice(&self.err.to_be_bytes());
        out.extend_from_slice(&b);
    }
}

/// What happened to a watched path (`Watcher.Event.EventType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// Appends the frame of a notification. The state is always SyncConnected (3); the others exist only inside
/// client libraries.
pub fn put_watch_event(out: &mut Vec<u8>, zxid: i64, event: EventType, path: &str) {
    jute::put_frame(out, |out| {
        ReplyHeader { xid: crate::ids::Xid::NOTIFICATION.0, zxid, err: 0 }.write(out);
        jute::put_int(out, event as i32);
        jute::put_int(out, 3);
        jute::put_string(out, Some(path));
    });
}
