//! One client's socket: nonblocking reads into a shared buffer, writes from the server's output.
//!
//! # Invariants
//!
//! 1. `unread` holds what was read and not consumed: less than a frame, or frames that a limit holds back.
//! 2. Once a read or write has said `WouldBlock`, the next attempt waits for mio's event (edge-triggered).

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::server::ConnId;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes; there may be more.
    Some(usize),
    /// Bytes, and the socket is drained.
    Last(usize),
    Drained,
    /// The client closed, or the connection broke.
    Closed,
}

pub struct Socket {
    pub stream: TcpStream,
    pub conn: ConnId,
    /// Read and not consumed yet.
    pub unread: Vec<u8>,
    /// How much of the server's output for this connection has left already.
    sent: usize,
    /// The socket takes bytes, as far as we know.
    writable: bool,
    /// There may be input that no event will announce again.
    pub readable: bool,
}

impl Socket {
    pub fn new(stream: TcpStream, conn: ConnId) -> Socket {
        Socket { stream, conn, unread: Vec::new(), sent: 0, writable: true, readable: true }
    }

    /// Reads once into `buffer`. A short read means that the socket was drained (epoll(7)): asking again
    /// would only cost a system call.
    pub fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => ReadOutcome::Closed,
                Ok(n) if n < buffer.len() => ReadOutcome::Last(n),
                Ok(n) => ReadOutcome::Some(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => ReadOutcome::Drained,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => ReadOutcome::Closed,
            };
        }
    }

    pub fn set_writable(&mut self) {
        self.writable = true;
    }

    /// Sends as much of `out` as the socket takes. What has left is taken off its front, now or when enough of
    /// it has gathered: moving the rest of a long reply after each write would cost more than the write.
    pub fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        const GATHER: usize = 1 << 20;
        while self.writable && self.sent < out.len() {
            match self.stream.write(&out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.sent == out.len() {
            out.clear();
            self.sent = 0;
            // A connection that once sent something huge must not hold the memory for ever.
            if out.capacity() > GATHER {
                out.shrink_to(0);
            }
        } else if self.sent >= GATHER {
            out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}
