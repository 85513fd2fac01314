//! One socket to one server: opening it with the handshake, and cutting what it delivers into frames.

// The lint guards the machines of the server; this is a program of its own, with a clock of its own.
#![allow(clippy::disallowed_methods)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::connect::ConnectString;
use crate::wire::jute::{self, Reader};
use crate::wire::request::ConnectRequest;

/// The largest reply taken, in bytes. Java's client stops at `jute.maxbuffer` (1 MiB) and cannot list a node
/// with very many children; the server has no limit on replies, so there is no reason to share that one.
pub const REPLY_BYTES_MAX: usize = 256 << 20;
/// The largest answer to a handshake, in bytes; a real one has 37. Anything else is no ZooKeeper server.
const HANDSHAKE_BYTES_MAX: usize = 1024;
/// First and longest wait between two looks for a server that is not read-only.
const RW_PROBE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Connects to a server, to each of its addresses in turn, and shakes hands; each step takes at most `limit`.
///
/// # Errors
///
/// What went wrong with the last address.
pub fn open(
    host: &str,
    port: u16,
    request: &ConnectRequest<'_>,
    limit: Duration,
) -> io::Result<(TcpStream, Hello)> {
    let mut bytes = Vec::new();
    jute::put_frame(&mut bytes, |out| request.encode(out));
    let mut error = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let attempt = TcpStream::connect_timeout(&address, limit).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(limit))?;
            stream.set_write_timeout(Some(limit))?;
            stream.write_all(&bytes)?;
            let hello = Hello::read(&mut stream)?;
            Ok((stream, hello))
        });
        match attempt {
            Ok(connected) => return Ok(connected),
            Err(e) => error = e,
        }
    }
    Err(error)
}

/// What a server answers to the connect request.
pub struct Hello {
    /// 0 or less: the session has expired.
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Vec<u8>,
    pub read_only: bool,
}

impl Hello {
    fn read(stream: &mut TcpStream) -> io::Result<Hello> {
        let mut len = [0; 4];
        stream.read_exact(&mut len).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => io::Error::new(e.kind(), "the server closed the connection"),
            ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "no answer to the connect request"),
            _ => e,
        })?;
        let foreign = || io::Error::new(ErrorKind::InvalidData, "the answer is not a ZooKeeper server's");
        let len = usize::try_from(i32::from_be_bytes(len)).map_err(|_| foreign())?;
        if len > HANDSHAKE_BYTES_MAX {
            return Err(foreign());
        }
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes)?;
        Hello::decode(&bytes).map_err(|_| foreign())
    }

    fn decode(bytes: &[u8]) -> jute::Result<Hello> {
        let mut r = Reader::new(bytes, HANDSHAKE_BYTES_MAX);
        let _protocol_version = r.int()?;
        Ok(Hello {
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?.unwrap_or_default().to_vec(),
            read_only: !r.is_empty() && r.bool()?,
        })
    }
}

/// Cuts what the socket delivers into frames.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Reads what there is; 0 when the server has closed the connection.
    pub fn fill(&mut self, mut stream: &TcpStream) -> io::Result<usize> {
        let mut chunk = [0; 64 << 10];
        let n = stream.read(&mut chunk)?;
        self.bytes.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// The next whole frame, without its length.
    ///
    /// # Errors
    ///
    /// Its length is impossible.
    pub fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(len) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        if len > REPLY_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the server sent a frame that is too long"));
        }
        if self.bytes.len() < 4 + len {
            return Ok(None);
        }
        let frame = self.bytes[4..4 + len].to_vec();
        self.bytes.drain(..4 + len);
        Ok(Some(frame))
    }
}

/// Looks for a server that takes writes while the session is with a read-only one (`pingRwServer`).
pub struct RwProbe {
    servers: Vec<(String, u16)>,
    next: usize,
    at: Instant,
    /// How long to wait between two looks.
    pub wait: Duration,
}

impl RwProbe {
    pub fn new(connect: &ConnectString) -> RwProbe {
        RwProbe {
            servers: connect.servers.clone(),
            next: 0,
            at: Instant::now() + RW_PROBE.0,
            wait: RW_PROBE.0,
        }
    }

    /// Looks at the next server, if it is time to.
    pub fn found_read_write(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        let (host, port) = self.servers[self.next].clone();
        self.next = (self.next + 1) % self.servers.len();
        self.wait = (self.wait * 2).min(RW_PROBE.1);
        self.at = now + self.wait;
        // A server that is down or does not answer is simply not the one.
        is_read_write(&host, port).unwrap_or(false)
    }
}

fn is_read_write(host: &str, port: u16) -> io::Result<bool> {
    let limit = Duration::from_secs(1);
    for address in (host, port).to_socket_addrs()? {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, limit) else { continue };
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"isro")?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer)?;
        return Ok(&answer == b"rw");
    }
    Ok(false)
}
