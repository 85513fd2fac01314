//! Clients' connections: accepted, read, written to and closed, all within budgets.
//!
//! What is ready is noted as events come ([`Reactor::take_events`]); the work is done in [`Reactor::read_unfinished`]
//! and [`Reactor::write_ready`], once a turn each, and what their budgets leave over comes first in the next.

use std::io::ErrorKind;

use mio::{Interest, Token};

use super::Reactor;
use super::socket::{ReadOutcome, Socket};
use crate::server::{Close, ConnId};
use crate::time::Now;

/// Frames handled of one connection before the others have their turn.
const FRAMES_PER_TURN: usize = 256;

/// Time for which input is read in one turn, and output written: the connections that are left have their turn
/// next, before the others.
const READ_MS: u64 = 2;
const WRITE_MS: u64 = 2;

/// Connections accepted in one turn: a storm of new ones must not starve those that have sessions.
const ACCEPTS_PER_TURN: usize = 64;

/// Reads of a connection that is being closed: what came with the last request, not what may yet come.
const LAST_READS: usize = 4;

impl Reactor {
    pub(super) fn accept(&mut self, now: Now) {
        if !self.accept_more {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else { break };
            match listener.accept() {
                Ok((stream, peer)) => self.adopt(now, stream, peer),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.accept_more = false;
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // The whole system is out of descriptors or memory. Trying again at once would spin; the next
                    // connection that comes or goes brings us back.
                    log::error!("Cannot accept a connection: {e}");
                    self.accept_more = false;
                    return;
                }
            }
        }
        self.accept_more = self.listener.is_some();
    }

    fn adopt(&mut self, now: Now, mut stream: mio::net::TcpStream, peer: std::net::SocketAddr) {
        // Behind a socket of both families IPv4 clients come as ::ffff:a.b.c.d; limits and ACLs know them as IPv4.
        let peer = std::net::SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.sockets.len() >= self.sockets_max {
            if !std::mem::replace(&mut self.full, true) {
                log::error!(
                    "Refusing connections: {} are open, and the limit of open files allows no more; raise it (ulimit -n, LimitNOFILE=)",
                    self.sockets.len()
                );
            }
            self.server.metrics.connection_rejected += 1;
            return;
        }
        let Some(conn) = self.server.connected(now, peer) else {
            self.server.metrics.connection_rejected += 1;
            return;
        };
        // A connection that is gone already shows at its first read; neither option is worth losing it for.
        let _ = stream.set_nodelay(true);
        if self.settings.tcp_keep_alive {
            let _ = socket2::SockRef::from(&stream).set_keepalive(true);
        }
        let entry = self.sockets.vacant_entry();
        let token = entry.key();
        if let Err(e) =
            self.poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)
        {
            log::error!("Cannot watch the connection from {peer}: {e}");
            return self.server.disconnected(conn);
        }
        entry.insert(Socket::new(stream, conn));
        if self.tokens.len() <= conn.index() {
            self.tokens.resize(conn.index() + 1, usize::MAX);
        }
        self.tokens[conn.index()] = token;
        self.unfinished.push(token);
    }

    /// Reads and handles input: one buffer and one budget of frames for each connection that has some.
    pub(super) fn read_unfinished(&mut self, now: Now) {
        let mut tokens = std::mem::take(&mut self.unfinished);
        tokens.sort_unstable();
        tokens.dedup();
        let first = tokens.partition_point(|token| *token < self.read_next);
        tokens.rotate_left(first);
        let started = self.host.clock.mono();
        for (done, &token) in tokens.iter().enumerate() {
            self.read_one(now, token);
            if self.host.clock.mono().millis_since(started) >= READ_MS
                && let Some(&next) = tokens.get(done + 1)
            {
                self.read_next = next;
                self.unfinished.extend_from_slice(&tokens[done + 1..]);
                break;
            }
        }
        tokens.clear();
        // Whatever still has input was put on the new list meanwhile.
        tokens.append(&mut self.unfinished);
        self.unfinished = tokens;
    }

    fn read_one(&mut self, now: Now, token: usize) {
        let Some(socket) = self.sockets.get_mut(token) else { return };
        let conn = socket.conn;
        if !socket.unread.is_empty() {
            // What a limit or the budget held back comes first.
            let mut unread = std::mem::take(&mut socket.unread);
            let input = self.server.input(now, conn, &unread, FRAMES_PER_TURN);
            unread.drain(..input.consumed);
            let held_back = complete_frame(&unread, self.server.options().frame_max);
            let socket = self.sockets.get_mut(token).expect("input does not close sockets");
            socket.unread = unread;
            if input.more {
                return self.unfinished.push(token);
            }
            if held_back {
                return; // The server lists the connection when the limit has eased.
            }
        }
        let socket = self.sockets.get_mut(token).expect("looked up above");
        if !socket.readable {
            return;
        }
        let (n, drained) = match socket.read(&mut self.read_buffer) {
            ReadOutcome::Closed => {
                self.server.metrics.connection_drop_count += 1;
                return self.drop_socket(token);
            }
            ReadOutcome::Drained => {
                socket.readable = false;
                return;
            }
            ReadOutcome::Last(n) => (n, true),
            ReadOutcome::Some(n) => (n, false),
        };
        socket.readable = !drained;
        let input = if socket.unread.is_empty() {
            let input = self.server.input(now, conn, &self.read_buffer[..n], FRAMES_PER_TURN);
            let socket = self.sockets.get_mut(token).expect("input does not close sockets");
            socket.unread.extend_from_slice(&self.read_buffer[input.consumed..n]);
            input
        } else {
            let mut unread = std::mem::take(&mut socket.unread);
            unread.extend_from_slice(&self.read_buffer[..n]);
            let input = self.server.input(now, conn, &unread, FRAMES_PER_TURN);
            unread.drain(..input.consumed);
            let socket = self.sockets.get_mut(token).expect("input does not close sockets");
            socket.unread = unread;
            input
        };
        if input.more || !drained {
            self.unfinished.push(token);
        }
    }

    /// Looks at every connection that the server listed: output to send, sockets to close, input to take up.
    pub(super) fn write_ready(&mut self) {
        let started = self.host.clock.mono();
        while self.has_ready() {
            let Some(conn) = self.ready.pop() else {
                self.server.take_ready(&mut self.ready);
                self.ready.reverse();
                continue;
            };
            let Some(&token) = self.tokens.get(conn.index()) else { continue };
            if self.sockets.get(token).is_some_and(|socket| socket.conn == conn) {
                self.flush(token, conn);
                self.resume(token);
                if self.host.clock.mono().millis_since(started) >= WRITE_MS {
                    return;
                }
            }
        }
    }

    /// Whether there are connections left to look at.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.server.has_ready()
    }

    /// Takes up input that no event will announce again.
    pub(super) fn resume(&mut self, token: usize) {
        if self.sockets.get(token).is_some_and(|socket| socket.readable || !socket.unread.is_empty()) {
            self.unfinished.push(token);
        }
    }

    /// Sends what there is, and closes the socket if the server wants that. True if the client took anything.
    pub(super) fn flush(&mut self, token: usize, conn: ConnId) -> bool {
        let close = self.server.close_wanted(conn);
        let Some(out) = self.server.output(conn).filter(|_| close != Close::Now) else {
            self.drop_socket(token);
            return false;
        };
        let Ok(progress) = self.sockets[token].write(out) else {
            self.drop_socket(token);
            return false;
        };
        if close == Close::AfterFlush && out.is_empty() {
            self.hang_up(token);
        }
        progress
    }

    /// Closes after a last reply. Input that was not read would make the kernel send a reset, which can
    /// overtake the reply; so the sending side is closed first and what has arrived is read away.
    fn hang_up(&mut self, token: usize) {
        let socket = &mut self.sockets[token];
        let _ = socket.stream.shutdown(std::net::Shutdown::Write);
        for _ in 0..LAST_READS {
            if matches!(socket.read(&mut self.read_buffer), ReadOutcome::Drained | ReadOutcome::Closed) {
                break;
            }
        }
        self.drop_socket(token);
    }

    pub(super) fn drop_socket(&mut self, token: usize) {
        let mut socket = self.sockets.remove(token);
        // Closing the descriptor takes it out of the poll as well; this only says so where it can be seen.
        let _ = self.poll.registry().deregister(&mut socket.stream);
        self.server.disconnected(socket.conn);
        // A descriptor is free again: if accepting failed for want of one, it may succeed now.
        self.accept_more = true;
        // Well below the limit, so that a single client that comes and goes does not fill the log.
        if self.full && self.sockets.len() <= self.sockets_max / 8 * 7 {
            self.full = false;
            log::info!("Accepting connections again: {} are open", self.sockets.len());
        }
    }
}

/// Whether `bytes` begin with a whole frame, or with what can never become one.
fn complete_frame(bytes: &[u8], frame_max: usize) -> bool {
    let Some(prefix) = bytes.first_chunk::<4>() else { return false };
    let len = u32::from_be_bytes(*prefix) as usize;
    len > frame_max || bytes.len() >= 4 + len
}
