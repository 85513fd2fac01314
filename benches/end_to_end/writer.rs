//! A client that writes again and again and never gives up: what it notices of a leader that goes away.
//!
//! It has several servers and one session, as every client library has. A library waits up to a second before it
//! tries the next server; this client tries again after [`PAUSE`], because the servers are what is measured.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serval::wire::jute::{self, Reader};
use serval::wire::op::Op;
use serval::wire::reply::ReplyHeader;
use serval::wire::request::RequestHeader;

use crate::client::{Remembered, connect_frame, read_frame};

/// Between two attempts to find a server: it bounds what the measurement can resolve.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a server that took the connection may keep a session waiting until the next server is tried.
const HANDSHAKE_MAX: Duration = Duration::from_millis(500);
/// How long one write may take before its connection counts as lost. Clients wait about as long: two thirds of
/// their session's time-out.
const REPLY_MAX: Duration = Duration::from_secs(20);
/// How long nothing may be acknowledged before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Writer {
    addrs: Vec<SocketAddr>,
    /// The server that is used, or tried next.
    at: usize,
    remembered: Remembered,
    stream: Option<TcpStream>,
    xid: i32,
}

impl Writer {
    /// Opens nothing yet.
    pub fn new(addrs: &[SocketAddr]) -> Writer {
        Writer { addrs: addrs.into(), at: 0, remembered: Remembered::default(), stream: None, xid: 0 }
    }

    /// Moves its session to this server.
    pub fn move_to(&mut self, server: usize) {
        if self.at != server {
            self.stream = None;
            self.at = server;
        }
    }

    /// Writes until a write is acknowledged, on as many connections as that takes. Returns when that was.
    ///
    /// # Errors
    ///
    /// No server acknowledges one within [`PATIENCE`].
    pub fn write(&mut self) -> io::Result<Instant> {
        let begin = Instant::now();
        loop {
            match self.try_write() {
                Ok(()) => return Ok(Instant::now()),
                Err(e) if begin.elapsed() > PATIENCE => {
                    return Err(io::Error::other(format!("no write was acknowledged in {PATIENCE:?}: {e}")));
                }
                Err(_) => {
                    self.stream = None;
                    self.at = (self.at + 1) % self.addrs.len();
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// The longest time without an acknowledged write from `since` until some time after `over` has become true.
    pub fn longest_gap(
        &mut self,
        since: Instant,
        mut over: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<Duration> {
        /// Covers what a change of leaders still does after it looks complete.
        const AFTERWARDS: Duration = Duration::from_millis(500);
        let (mut last, mut longest, mut end) = (since, Duration::ZERO, None);
        loop {
            let acknowledged = self.write()?;
            longest = longest.max(acknowledged - last);
            last = acknowledged;
            match end {
                None if over()? => end = Some(Instant::now() + AFTERWARDS),
                Some(end) if acknowledged > end => return Ok(longest),
                _ => {}
            }
        }
    }

    /// Sets the data of the root, which every server has.
    fn try_write(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            self.stream = Some(self.connect()?);
        }
        let stream = self.stream.as_mut().expect("it was just made");
        self.xid += 1;
        let mut request = Vec::new();
        jute::put_frame(&mut request, |out| {
            RequestHeader { xid: self.xid, kind: Op::SetData.code() }.write(out);
            jute::put_string(out, Some("/"));
            jute::put_buffer(out, Some(&[b'x'; 100]));
            jute::put_int(out, -1);
        });
        stream.write_all(&request)?;
        let reply = read_frame(stream)?;
        let header = ReplyHeader::read(&mut Reader::new(&reply, 0)).map_err(io::Error::other)?;
        if (header.xid, header.err) != (self.xid, 0) {
            return Err(io::Error::other(format!("the write {} was answered with {header:?}", self.xid)));
        }
        self.remembered.zxid = header.zxid;
        Ok(())
    }

    /// Takes the session to the server that is next, or opens one there.
    fn connect(&mut self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.addrs[self.at], HANDSHAKE_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE_MAX))?;
        stream.write_all(&connect_frame(&self.remembered))?;
        let reply = read_frame(&mut stream)?;
        let mut r = Reader::new(&reply, 16);
        let mut greeting = || -> jute::Result<(i32, i64, [u8; 16])> {
            r.int()?;
            let (timeout_ms, session) = (r.int()?, r.long()?);
            let password = r.buffer()?.and_then(|password| password.try_into().ok()).unwrap_or_default();
            Ok((timeout_ms, session, password))
        };
        let (timeout_ms, session, password) = greeting().map_err(io::Error::other)?;
        if timeout_ms <= 0 {
            // Nobody knows the session any more; the next attempt asks for a new one.
            self.remembered.session = 0;
            return Err(io::Error::other("the server refused the session"));
        }
        self.remembered = Remembered { session, password, ..self.remembered };
        stream.set_read_timeout(Some(REPLY_MAX))?;
        Ok(stream)
    }
}
