//! From bytes to requests: framing, handshake, and where each request goes.
//!
//! The order of checks is that of client-protocol.md sections 3 and 4.2.

use super::client::{Close, ConnId, Fence, Phase, Waiting};
use super::read::Asked;
use super::{AskedWord, Server, Serving};
use crate::admin::words::Word;
use crate::ids::SessionId;
use crate::pipeline::{Author, World};
use crate::session::{Owner, SessionState, password};
use crate::time::{Instant, Now};
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, Reader};
use crate::wire::op::{Op, Route};
use crate::wire::reply::{ConnectResponse, ReplyHeader};
use crate::wire::request::{AuthRequest, ConnectRequest, Request, RequestHeader};

/// A connection whose unsent output is longer than this is not read: it must take its replies first.
const OUTPUT_PAUSE: usize = 1 << 20;

/// Requests looked at ahead of their turn.
const AHEAD: usize = 16;

/// Unanswered requests of one connection above which it is not read.
const WAITING_MAX: usize = 8192;

/// What became of a connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Bytes that are done with; the shell keeps the rest and shows it again with what follows.
    pub consumed: usize,
    /// The budget was spent before the input was: call again, after the other connections' turn.
    pub more: bool,
}

impl Server {
    /// Handles what a connection has sent, up to `frames_max` frames.
    pub fn input(&mut self, now: Now, conn: ConnId, bytes: &[u8], frames_max: usize) -> Input {
        let mut consumed = 0;
        for i in 0..frames_max {
            if i % AHEAD == 0 {
                self.warm(&bytes[consumed..]);
            }
            let Some(client) = self.clients.get(conn) else {
                return Input { consumed: bytes.len(), more: false };
            };
            let phase = client.phase;
            if client.close != Close::No {
                return Input { consumed: bytes.len(), more: false };
            }
            if self.must_pause(conn) {
                return Input { consumed, more: false };
            }
            let rest = &bytes[consumed..];
            let Some(prefix) = rest.first_chunk::<4>() else { return Input { consumed, more: false } };
            if phase == Phase::New && self.four_letter_word(conn, *prefix, &rest[4..]) {
                return Input { consumed: bytes.len(), more: false };
            }
            let len = i32::from_be_bytes(*prefix);
            let Some(len) = usize::try_from(len).ok().filter(|&len| len <= self.options.frame_max) else {
                self.refuse_length(conn, *prefix);
                return Input { consumed: bytes.len(), more: false };
            };
            let Some(frame) = rest.get(4..4 + len) else { return Input { consumed, more: false } };
            consumed += 4 + len;
            self.frame(now, conn, phase, frame);
        }
        Input { consumed, more: true }
    }

    /// Lets a large tree fetch from memory what the next requests will look up, all of it at once.
    fn warm(&self, mut bytes: &[u8]) {
        if !self.tree.is_large() {
            return;
        }
        let mut paths = [""; AHEAD];
        let mut n = 0;
        for slot in &mut paths {
            let Some((frame, rest)) = split_frame(bytes) else { break };
            bytes = rest;
            *slot = path_of(frame).unwrap_or_default();
            n += 1;
        }
        if n > 1 {
            self.tree.warm(&paths[..n]);
        }
    }

    /// Takes a four-letter word, if the connection begins with one; then nothing else is read from it.
    fn four_letter_word(&mut self, conn: ConnId, prefix: [u8; 4], rest: &[u8]) -> bool {
        let Some(word) = Word::from_first_four(prefix) else { return false };
        let wanted = word.argument_len();
        // Whatever of the argument has arrived with the word; nobody sends the eight bytes of `stmk` apart.
        let argument = rest[..wanted.min(rest.len())].to_vec();
        self.clients.get_mut(conn).expect("the caller looked it up").stats.received += 1;
        self.metrics.stats.packets_received += 1;
        self.words.push(AskedWord { conn, word, argument });
        true
    }

    /// Moves the four-letter words asked since the last call into `into`.
    pub fn take_words(&mut self, into: &mut Vec<AskedWord>) {
        into.append(&mut self.words);
    }

    /// Sends a word's answer and ends the connection.
    pub fn answer_word(&mut self, conn: ConnId, text: &str) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.out.extend_from_slice(text.as_bytes());
            self.metrics.stats.packets_sent += 1;
            self.clients.close(conn, Close::AfterFlush);
        }
    }

    /// Back-pressure: whether the connection's input must stay where it is for now.
    fn must_pause(&mut self, conn: ConnId) -> bool {
        let in_flight = self.in_flight();
        let options = &self.options;
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let pause = self.paused
            || client.phase == Phase::Connecting
            || client.out.len() > OUTPUT_PAUSE
            || client.waiting.len() > WAITING_MAX
            || (in_flight > options.outstanding_max && !client.waiting.is_empty())
            || (options.throttle_max > 0 && in_flight >= options.throttle_max);
        if pause && !client.blocked {
            client.blocked = true;
            self.blocked.push(conn);
        }
        pause
    }

    /// Lets the shell try paused connections again; called when something that paused them has eased.
    pub(super) fn unblock(&mut self) {
        for conn in std::mem::take(&mut self.blocked) {
            if let Some(client) = self.clients.get_mut(conn) {
                client.blocked = false;
                self.clients.list(conn);
            }
        }
    }

    /// The client has taken bytes that it was slow to take. While much output waits, its requests are not read and
    /// so its pings not seen: this is then the only sign that it lives.
    pub fn output_taken(&mut self, now: Instant, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        if client.phase == Phase::Established && self.sessions.touch(client.session, now) {
            self.silent.touch(conn, &mut client.slot, now, u64::from(client.timeout_ms));
        }
    }

    fn refuse_length(&mut self, conn: ConnId, prefix: [u8; 4]) {
        let client = self.clients.get(conn).expect("the caller looked it up");
        let len = i32::from_be_bytes(prefix);
        let looks_like = match &prefix {
            b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" => {
                "; this looks like HTTP, which is on another port"
            }
            [0x16, 3, 0..=4, _] => "; this looks like TLS, but the port is a plain one",
            _ if client.phase == Phase::Established && len > 0 => "; see jute.maxbuffer",
            _ if client.phase == Phase::Established => "; the client sends no frames any more",
            _ => "; this is no ZooKeeper client",
        };
        log::warn!("Closed {} (session {}): Len error {len}{looks_like}", client.peer, client.session);
        self.clients.close(conn, Close::Now);
    }

    fn frame(&mut self, now: Now, conn: ConnId, phase: Phase, frame: &[u8]) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        client.stats.received += 1;
        self.metrics.stats.packets_received += 1;
        self.metrics.bytes_received_count += 4 + frame.len() as u64;
        let silence_ms = match phase {
            Phase::New => self.options.sessionless_timeout_ms,
            _ => u64::from(client.timeout_ms),
        };
        self.silent.touch(conn, &mut client.slot, now.mono, silence_ms);
        match phase {
            Phase::New => self.connect(now, conn, frame),
            Phase::Connecting => unreachable!("paused until the session exists"),
            Phase::Established => self.request(now, conn, frame),
        }
    }

    /// The handshake.
    fn connect(&mut self, now: Now, conn: ConnId, frame: &[u8]) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let peer = client.peer;
        if self.serving == Serving::No || self.turns_away {
            log::debug!("Closed {peer}: not serving");
            return self.clients.close(conn, Close::Now);
        }
        let Ok(request) = ConnectRequest::decode(frame, self.options.field_max) else {
            log::warn!("Closed {peer}: malformed connect request");
            return self.clients.close(conn, Close::Now);
        };
        client.knows_read_only = request.read_only.is_some();
        if !self.take_tokens(now.mono, request.session == 0) {
            self.metrics.connection_rejected += 1;
            if let Some(more) = self.refusal_lines.pass(now.mono.millis() as i64) {
                log::warn!(
                    "Closed {peer}: too many connect requests (connection_throttle_tokens); {more} more before"
                );
            }
            return self.clients.close(conn, Close::Now);
        }
        self.metrics.connection_request_count += 1;
        if self.serving == Serving::ReadOnly && request.read_only != Some(true) {
            log::info!(
                "Refusing session request from {peer}: it is no read-only client and this server is read-only"
            );
            return self.clients.close(conn, Close::Now);
        }
        if request.last_zxid_seen > self.tree.last_zxid().0 {
            log::warn!(
                "Refusing session request for client {peer} as it has seen zxid {:#x} our last zxid is {} client must try another server",
                request.last_zxid_seen,
                self.tree.last_zxid()
            );
            return self.clients.close(conn, Close::Now);
        }
        let options = &self.options;
        let timeout_ms = u32::try_from(request.timeout_ms).unwrap_or(0);
        let timeout_ms = timeout_ms.max(options.session_timeout_min_ms).min(options.session_timeout_max_ms);
        let client = self.clients.get_mut(conn).expect("looked up above");
        client.timeout_ms = timeout_ms;
        if request.session != 0 {
            return self.resume(now, conn, &request, timeout_ms);
        }
        if self.serving == Serving::ReadOnly && !options.local_sessions {
            // No client can read this as the answer to its connect request; Java sends it all the same.
            let zxid = self.tree.last_zxid().0;
            self.reply_now(conn, ReplyHeader::error(0, zxid, ErrorCode::NotReadOnly));
            return self.clients.close(conn, Close::AfterFlush);
        }
        let local = self.makes_local_sessions();
        let client = self.clients.get_mut(conn).expect("looked up above");
        client.phase = Phase::Connecting;
        let session = self.sessions.allocate_id();
        client.session = session;
        if local {
            self.sessions.add_local(session, timeout_ms, now.mono);
            self.establish(now.mono, conn, session);
        } else if self.serving == Serving::Learning {
            self.carriers.insert(session, conn);
            self.forward_create_session(now.mono, conn, session, timeout_ms);
        } else {
            self.create_session(now, conn, session, timeout_ms);
        }
    }

    /// Prepares the transaction that makes a session, or makes a local one global.
    pub(super) fn create_session(&mut self, now: Now, conn: ConnId, session: SessionId, timeout_ms: u32) {
        let world = World {
            standing: self.standing.as_ref(),
            tree: &self.tree,
            sessions: &self.sessions,
            auth: &self.options.auth,
        };
        let zxid = self.preparer.prepare_create_session(
            world,
            session,
            timeout_ms as i32,
            now.wall.0,
            &mut self.scratch,
        );
        if self.serving == Serving::Leading {
            self.sessions.begin(session, Owner::Here);
        }
        self.await_commit(conn, zxid);
        self.propose(zxid, Some(conn), 0, Op::CreateSession, now.mono, 0);
    }

    /// A client shows an id and a password and wants its session back.
    fn resume(&mut self, now: Now, conn: ConnId, request: &ConnectRequest<'_>, timeout_ms: u32) {
        let session = SessionId(request.session);
        if self.serving == Serving::ReadOnly && self.sessions.is_global(session) {
            return self.clients.close(conn, Close::Now);
        }
        // The session's present connection goes before the password is looked at, as in Java: a client that
        // comes back is more likely than a stranger who knows the id.
        let peer = self.clients.get(conn).expect("the caller looked it up").peer;
        if let Some(other) = self.carriers.remove(&session) {
            self.clients.close(other, Close::Now);
            if let Some(client) = self.clients.get_mut(other) {
                log::info!("{peer} asks for session {session}: closed its connection from {}", client.peer);
                client.session = SessionId::NONE;
            }
            self.abandon(other, session);
        }
        let password_fits = request.password == Some(&password(session)[..]);
        let client = self.clients.get_mut(conn).expect("looked up above");
        client.fence = Fence::Wanted;
        let own = self.sessions.is_local(session);
        if password_fits && self.serving == Serving::Learning && !own {
            return self.ask_leader(conn, session, timeout_ms);
        }
        if password_fits && self.sessions.is_in_the_making(session) {
            // Its createSession is not committed here, and may be at the server where the client was: of a local session
            // on its way to becoming global, or of one whose server was faster. As in Java it may come.
            self.sessions.give(session, Owner::Here);
            return self.await_session(conn, session);
        }
        if !password_fits || self.sessions.state(session) != SessionState::Alive {
            return self.refuse_session(conn, session);
        }
        self.metrics.connection_revalidate_count += 1;
        if own {
            self.sessions.add_local(session, timeout_ms, now.mono);
        } else {
            self.sessions.add(session, timeout_ms, now.mono);
            self.sessions.give(session, Owner::Here);
        }
        log::debug!("Session {session} resumed by {peer}, timeout {timeout_ms} ms");
        self.establish(now.mono, conn, session);
    }

    /// The session exists: tell the client and begin to read its requests.
    pub(super) fn establish(&mut self, now: Instant, conn: ConnId, session: SessionId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.phase = Phase::Established;
        client.session = session;
        let timeout_ms = client.timeout_ms;
        self.silent.touch(conn, &mut client.slot, now, u64::from(timeout_ms));
        self.carriers.insert(session, conn);
        self.answer_connect(conn, session, timeout_ms as i32);
    }

    /// The session that a client wants back is none.
    pub(super) fn refuse_session(&mut self, conn: ConnId, session: SessionId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        log::info!("Invalid session {session} for client {}, probably expired", client.peer);
        client.session = SessionId::NONE;
        self.answer_connect(conn, SessionId::NONE, 0);
        self.clients.close(conn, Close::AfterFlush);
    }

    /// The connect response; session 0 is the refusal that clients take for "expired".
    fn answer_connect(&mut self, conn: ConnId, session: SessionId, timeout_ms: i32) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let response = ConnectResponse {
            timeout_ms,
            session: session.0,
            password: if session == SessionId::NONE { [0; 16] } else { password(session) },
            read_only: client.knows_read_only.then_some(self.serving == Serving::ReadOnly),
        };
        jute::put_frame(&mut client.out, |out| response.encode(out));
        client.stats.sent += 1;
        self.clients.list(conn);
    }

    fn take_tokens(&mut self, now: Instant, new_session: bool) -> bool {
        let Some(bucket) = self.options.connection_tokens else { return true };
        let fills = now.millis_since(self.tokens_filled) / bucket.fill_time_ms.max(1);
        if fills > 0 {
            self.tokens =
                self.tokens.saturating_add(fills.saturating_mul(bucket.fill_count)).min(bucket.tokens_max);
            self.tokens_filled = now;
        }
        let cost = match new_session {
            true if self.makes_local_sessions() => bucket.local_session_cost,
            true => bucket.new_session_cost,
            false => bucket.resume_cost,
        };
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    /// A request of an established session.
    fn request(&mut self, now: Now, conn: ConnId, frame: &[u8]) {
        let mut r = Reader::new(frame, self.options.field_max);
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let Ok(header) = RequestHeader::read(&mut r) else {
            log::warn!(
                "Closed {} (session {}): request of {} bytes",
                client.peer,
                client.session,
                frame.len()
            );
            return self.clients.close(conn, Close::Now);
        };
        let op = Op::from_code(header.kind);
        if let Some(op @ (Op::Auth | Op::Sasl)) = op {
            return self.authenticate(conn, op, header.xid, &mut r);
        }
        if !self.options.auth.meets_enforcement(&client.identities) {
            let (peer, session) = (client.peer, client.session);
            log::warn!("Closed {peer} (session {session}): it has not authenticated (enforce.auth.schemes)");
            let code = ErrorCode::SessionClosedRequireSaslAuth;
            self.reply_now(conn, ReplyHeader::error(header.xid, 0, code));
            return self.clients.close(conn, Close::AfterFlush);
        }
        let large = self
            .options
            .large_request_threshold
            .map_or(0, |over| if frame.len() > over { frame.len() } else { 0 });
        if large > 0 && self.large_bytes + large > self.options.large_request_bytes_max {
            log::warn!("Closed {}: large requests in flight exceed largeRequestMaxBytes", client.peer);
            return self.clients.close(conn, Close::Now);
        }
        let session = client.session;
        if !self.sessions.touch(session, now.mono) {
            return; // Closing or gone: dropped without a word, as in Java.
        }
        match op.map(|op| (op, op.spec().route)) {
            Some((Op::Sync, _)) if self.serving != Serving::Alone => {
                self.sync(now.mono, conn, header.xid, frame);
            }
            Some((op, Route::Read)) => {
                let client = self.clients.get_mut(conn).expect("looked up above");
                let (received, identities) = (now.mono, client.identities.len());
                if client.waiting.is_empty() {
                    self.read(now.mono, conn, op, header.xid, &mut r, Asked { received, identities });
                } else {
                    client.waiting.push_back(Waiting::Read { frame: frame.into(), received, identities });
                    self.deferred += 1;
                }
            }
            Some((op, Route::Write)) if self.serving == Serving::Alone => {
                self.write(now, conn, op, header.xid, &mut r, large);
            }
            Some((op, Route::Write)) => self.write_in_ensemble(now, conn, op, header.xid, frame, large),
            Some((Op::Check, _)) if self.serving == Serving::ReadOnly => {
                self.refuse(now.mono, conn, header.xid, Op::Check, ErrorCode::NotReadOnly);
            }
            Some((_, Route::Internal | Route::Connection)) | None => {
                log::warn!("Closed session {session}: unknown request type {}", header.kind);
                self.reply_now(conn, ReplyHeader::error(header.xid, -1, ErrorCode::Unimplemented));
                self.clients.close(conn, Close::AfterFlush);
            }
        }
    }

    /// Prepares a write of an own client.
    pub(super) fn write(
        &mut self,
        now: Now,
        conn: ConnId,
        op: Op,
        xid: i32,
        r: &mut Reader<'_>,
        large: usize,
    ) {
        self.metrics.prep_processor_request_queued += 1;
        let changes_before = self.preparer.outstanding_changes();
        let client = self.clients.get(conn).expect("the caller looked it up");
        let session = client.session;
        let request = if self.serving == Serving::Leading {
            self.readable_from(Owner::Here, session, op, r)
        } else {
            Request::read(op, r).map_err(|_| ErrorCode::MarshallingError)
        };
        let client = self.clients.get(conn).expect("looked up above");
        let author = Author { session, cxid: xid, identities: &client.identities };
        let world = World {
            standing: self.standing.as_ref(),
            tree: &self.tree,
            sessions: &self.sessions,
            auth: &self.options.auth,
        };
        let zxid = match request {
            Ok(request) => self.preparer.prepare(world, author, now.wall.0, &request, &mut self.scratch),
            // Like every failed write this takes a zxid, as in 3.8. What 3.9 does instead gives the same zxid
            // out twice and stops an ensemble (client-protocol.md section 19).
            Err(error) => self.preparer.prepare_error(world, author, now.wall.0, error, &mut self.scratch),
        };
        if op == Op::CloseSession {
            self.sessions.set_closing(session);
        }
        self.metrics.outstanding_changes_queued +=
            (self.preparer.outstanding_changes() - changes_before) as u64;
        self.await_commit(conn, zxid);
        self.propose(zxid, Some(conn), xid, op, now.mono, large);
    }

    fn await_commit(&mut self, conn: ConnId, zxid: crate::ids::Zxid) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        client.waiting.push_back(Waiting::Write { zxid });
    }

    /// `auth` and `sasl`: answered by the connection at once, ahead of whatever still waits.
    fn authenticate(&mut self, conn: ConnId, op: Op, xid: i32, r: &mut Reader<'_>) {
        let client = self.clients.get_mut(conn).expect("the caller looked it up");
        let peer = client.peer;
        if op == Op::Sasl {
            match r.buffer() {
                // No SASL is configured: success with a null token, as Java answers then.
                Ok(Some(_)) => {
                    jute::put_frame(&mut client.out, |out| {
                        ReplyHeader::ok(xid, 0).write(out);
                        jute::put_buffer(out, None);
                    });
                    client.stats.sent += 1;
                    self.clients.list(conn);
                }
                _ => {
                    log::warn!("Closed {peer}: malformed sasl request");
                    self.clients.close(conn, Close::Now);
                }
            }
            return;
        }
        let Ok(request) = AuthRequest::read(r) else {
            log::warn!("Closed {peer}: malformed auth request");
            return self.clients.close(conn, Close::Now);
        };
        match self.options.auth.authenticate(request.scheme.as_deref(), request.auth) {
            Ok(proven) => {
                for identity in proven {
                    if !client.identities.contains(&identity) {
                        client.identities.push(identity);
                    }
                }
                self.reply_now(conn, ReplyHeader::ok(xid, 0));
            }
            Err(_) => {
                self.metrics.stats.auth_failed_count += 1;
                log::warn!("Authentication failed for scheme {:?} from {peer}", request.scheme);
                self.reply_now(conn, ReplyHeader::error(xid, 0, ErrorCode::AuthFailed));
                self.clients.close(conn, Close::AfterFlush);
            }
        }
    }

    /// A reply without a body, written at once.
    pub(super) fn reply_now(&mut self, conn: ConnId, header: ReplyHeader) {
        if let Some(client) = self.clients.get_mut(conn) {
            jute::put_frame(&mut client.out, |out| header.write(out));
            client.stats.sent += 1;
            self.metrics.stats.packets_sent += 1;
            self.clients.list(conn);
        }
    }
}

/// The first frame, without its length, and what follows it; `None` if it is not whole.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

/// The path that a request is about, if it begins with one as nearly all do. A wrong guess costs nothing.
fn path_of(frame: &[u8]) -> Option<&str> {
    let (len, rest) = frame.get(RequestHeader::ENCODED_LEN..)?.split_first_chunk::<4>()?;
    std::str::from_utf8(rest.get(..u32::from_be_bytes(*len) as usize)?).ok()
}
