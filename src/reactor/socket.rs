//! One peer's socket: nonblocking reads into a shared buffer, writes from whoever's output it is. Clients and the other
//! members of an ensemble differ only in what their connections are called.
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

pub struct Socket<Id = ConnId> {
    pub stream: TcpStream,
    pub conn: Id,
    /// Read and not consumed yet.
    pub unread: Vec<u8>,
    /// How much of the server's output for this connection has left already.
    sent: usize,
    /// The socket takes bytes, as far as we know.
    writable: bool,
    /// There may be input that no event will announce again.
    pub readable: bool,
    /// The end of the input was announced: it must be read up to there, since no event will announce it again.
    pub ending: bool,
}

impl<Id> Socket<Id> {
    pub fn new(stream: TcpStream, conn: Id) -> Socket<Id> {
        Socket { stream, conn, unread: Vec::new(), sent: 0, writable: true, readable: true, ending: false }
    }

    /// Reads once into `buffer`. A short read means that the socket was drained (epoll(7)): asking again
    /// would only cost a system call, unless the end of the input came in one event with the last of it.
    pub fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => ReadOutcome::Closed,
                Ok(n) if n < buffer.len() && !self.ending => ReadOutcome::Last(n),
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

    /// Sends as much of `out` as the socket takes; true if that is anything. What has left is taken off its front
    /// once it is all, or at least as much as the rest that is moved then: so a byte is moved once on average,
    /// however long the reply.
    pub fn write(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        const GATHER: usize = 1 << 20;
        let before = self.sent;
        while self.writable && self.sent < out.len() {
            match self.stream.write(&out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let progress = self.sent > before;
        if self.sent == out.len() {
            out.clear();
            self.sent = 0;
            // A connection that once sent something huge must not hold the memory for ever.
            if out.capacity() > GATHER {
                out.shrink_to(0);
            }
        } else if self.sent >= GATHER && self.sent >= out.len() / 2 {
            out.drain(..self.sent);
            self.sent = 0;
        }
        Ok(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket of ours, and its client's end.
    fn pair() -> (Socket, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (ours, peer) = listener.accept().expect("it has connected");
        ours.set_nonblocking(true).expect("a socket can");
        let conn = crate::server::Clients::default().insert(peer, crate::time::WallMillis(0));
        (Socket::new(TcpStream::from_std(ours), conn), client)
    }

    #[test]
    fn a_short_read_drains_the_socket_unless_the_end_was_announced() {
        let (mut ours, mut client) = pair();
        let mut buffer = [0; 100];
        for (ending, expected) in [(false, ReadOutcome::Last(3)), (true, ReadOutcome::Some(3))] {
            client.write_all(b"abc").expect("the server is there");
            ours.ending = ending;
            let read = std::iter::repeat_with(|| ours.read(&mut buffer));
            let first = read.into_iter().find(|outcome| *outcome != ReadOutcome::Drained);
            assert_eq!(first, Some(expected));
        }
    }

    #[test]
    fn a_long_reply_arrives_whole_and_in_order_at_a_client_that_takes_it_in_parts() {
        let (mut ours, mut client) = pair();
        let reply: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
        let mut out = reply.clone();
        let len = reply.len();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; len];
            client.read_exact(&mut got).expect("all of it comes");
            got
        });
        while !out.is_empty() {
            ours.set_writable();
            ours.write(&mut out).expect("the client is there");
        }
        assert!(reader.join().expect("it does not panic") == reply);
    }
}
