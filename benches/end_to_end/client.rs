//! The client's side of the protocol, as little of it as a load needs.
//!
//! [`Direct`] asks one thing at a time and waits; it prepares what a load runs on. [`Session`] is the load's
//! own: many requests in flight, nothing allocated for one, and frames that are copied from a [`Template`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serval::wire::jute::{self, Reader};
use serval::wire::op::Op;
use serval::wire::reply::ReplyHeader;
use serval::wire::request::{ConnectRequest, RequestHeader};

/// How long a server may take for one answer before the bench gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the largest burst of replies to one session: 64 values of some kilobytes.
const INPUT_BYTES: usize = 256 * 1024;

/// What a client must remember of its session to go on with it at another server.
#[derive(Clone, Copy, Default)]
pub struct Remembered {
    pub session: i64,
    pub password: [u8; 16],
    /// The newest that it has seen. A server that has not seen as much refuses it.
    pub zxid: i64,
}

/// Asks for a new session where nothing is remembered.
pub fn connect_frame(remembered: &Remembered) -> Vec<u8> {
    let mut out = Vec::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: remembered.zxid,
        timeout_ms: 40_000,
        session: remembered.session,
        password: Some(&remembered.password),
        read_only: Some(false),
    };
    jute::put_frame(&mut out, |out| request.encode(out));
    out
}

/// A refused session has no timeout.
fn is_accepted(reply: &[u8]) -> bool {
    matches!(Reader::new(reply.get(4..).unwrap_or_default(), 0).int(), Ok(timeout_ms) if timeout_ms > 0)
}

/// Opens a connection and a session on it.
fn connect(addr: SocketAddr) -> io::Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&connect_frame(&Remembered::default()))?;
    if is_accepted(&read_frame(&mut stream)?) {
        return Ok(stream);
    }
    Err(io::Error::other("the server refused a session"))
}

/// A connect request to a server that may not be ready for it.
pub struct Greeting {
    stream: std::net::TcpStream,
    pub sent: Instant,
    pub answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Pending,
    Accepted,
    Closed,
}

impl Greeting {
    pub fn send(addr: SocketAddr) -> io::Result<Greeting> {
        let mut stream = std::net::TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.write_all(&connect_frame(&Remembered::default()))?;
        stream.set_nonblocking(true)?;
        Ok(Greeting { stream, sent: Instant::now(), answer: Answer::Pending })
    }

    /// Looks for the answer without waiting.
    pub fn poll(&mut self) -> Answer {
        let mut reply = [0; 64];
        self.answer = match self.stream.read(&mut reply) {
            Ok(n) if n > 4 && is_accepted(&reply[4..n]) => Answer::Accepted,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Answer::Pending,
            _ => Answer::Closed,
        };
        self.answer
    }
}

pub fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// A session with one request at a time.
pub struct Direct {
    stream: std::net::TcpStream,
    xid: i32,
}

impl Direct {
    pub fn connect(addr: SocketAddr) -> io::Result<Direct> {
        Ok(Direct { stream: connect(addr)?, xid: 0 })
    }

    /// Sends a request and waits for its reply: the error code and the body behind the header.
    pub fn call(&mut self, op: Op, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<(i32, Vec<u8>)> {
        self.xid += 1;
        let mut out = Vec::new();
        jute::put_frame(&mut out, |out| {
            RequestHeader { xid: self.xid, kind: op.code() }.write(out);
            body(out);
        });
        self.stream.write_all(&out)?;
        let mut reply = read_frame(&mut self.stream)?;
        let header = ReplyHeader::read(&mut Reader::new(&reply, 0)).map_err(io::Error::other)?;
        Ok((header.err, reply.split_off(ReplyHeader::ENCODED_LEN)))
    }

    /// As [`Direct::call`], where every error is the end of the bench.
    pub fn expect(&mut self, op: Op, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<Vec<u8>> {
        match self.call(op, body)? {
            (0, reply) => Ok(reply),
            (err, _) => Err(io::Error::other(format!("{} failed with error {err}", op.spec().name))),
        }
    }
}

/// What a server answers to a four-letter word.
pub fn four_letter_word(addr: SocketAddr, word: &str) -> io::Result<String> {
    let mut stream = std::net::TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(word.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A request that is made once: a send copies it and fills in the xid and the path's digits.
pub struct Template {
    bytes: Vec<u8>,
    /// Where the digits stand and how many there are.
    digits: Vec<(usize, usize)>,
}

impl Template {
    /// `path` must occur once in what `body` writes; runs of `#` in it are the digits.
    pub fn new(op: Op, path: &str, body: impl FnOnce(&mut Vec<u8>)) -> Template {
        let mut bytes = Vec::new();
        jute::put_frame(&mut bytes, |out| {
            RequestHeader { xid: 0, kind: op.code() }.write(out);
            body(out);
        });
        let start =
            bytes.windows(path.len()).position(|w| w == path.as_bytes()).expect("the path is written");
        let mut digits: Vec<(usize, usize)> = Vec::new();
        for (i, _) in path.bytes().enumerate().filter(|(_, b)| *b == b'#') {
            match digits.last_mut() {
                Some((at, n)) if *at + *n == start + i => *n += 1,
                _ => digits.push((start + i, 1)),
            }
        }
        Template { bytes, digits }
    }

    /// Appends the request. `numbers` are written into the runs of digits, in order.
    pub fn put(&self, out: &mut Vec<u8>, xid: i32, numbers: &[u64]) {
        debug_assert_eq!(numbers.len(), self.digits.len());
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        frame[4..8].copy_from_slice(&xid.to_be_bytes());
        for (&(at, n), &number) in self.digits.iter().zip(numbers) {
            let mut rest = number;
            for digit in frame[at..at + n].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

/// A session of the load.
pub struct Session {
    pub stream: mio::net::TcpStream,
    input: Vec<u8>,
    /// `input[parsed..filled]` has been received and not yet looked at.
    parsed: usize,
    filled: usize,
    /// Requests that wait to be written; `out[..sent]` is gone already.
    pub out: Vec<u8>,
    sent: usize,
    /// When each unanswered request was due, in nanoseconds of the load's clock, oldest first.
    pub in_flight: VecDeque<u64>,
    /// The xid of the newest request; the oldest unanswered one has `xid - in_flight.len() + 1`.
    xid: i32,
    /// How many requests this session has made of its workload.
    pub made: u64,
    /// The socket took less than it was given, and is registered for more.
    pub blocked: bool,
}

/// One message from the server.
pub enum Message {
    /// The answer to the oldest request, which was due at this time.
    Reply {
        due: u64,
    },
    Notification,
}

impl Session {
    pub fn connect(addr: SocketAddr) -> io::Result<Session> {
        let stream = connect(addr)?;
        stream.set_nonblocking(true)?;
        Ok(Session {
            stream: mio::net::TcpStream::from_std(stream),
            input: vec![0; INPUT_BYTES],
            parsed: 0,
            filled: 0,
            out: Vec::new(),
            sent: 0,
            in_flight: VecDeque::new(),
            xid: 0,
            made: 0,
            blocked: false,
        })
    }

    /// The xid for a request that is due at `due`; the caller appends the request to `out`.
    pub fn begin(&mut self, due: u64) -> i32 {
        self.xid = if self.xid == i32::MAX { 1 } else { self.xid + 1 };
        self.in_flight.push_back(due);
        self.made += 1;
        self.xid
    }

    /// Receives until the socket is empty or the buffer full; true if the buffer was filled and more may wait.
    pub fn receive(&mut self) -> io::Result<bool> {
        self.input.copy_within(self.parsed..self.filled, 0);
        self.filled -= self.parsed;
        self.parsed = 0;
        loop {
            let room = self.input.len() - self.filled;
            match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(io::Error::other("the server closed a session")),
                Ok(n) => {
                    self.filled += n;
                    // A short read has emptied the socket: the next byte is a new edge.
                    if n < room {
                        return Ok(false);
                    }
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The next whole message of what was received.
    ///
    /// # Errors
    ///
    /// A reply out of order, or one that says that its request failed.
    pub fn next_message(&mut self) -> io::Result<Option<Message>> {
        let waiting = &self.input[self.parsed..self.filled];
        let Some((len, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*len) as usize;
        if len + 4 > self.input.len() {
            return Err(io::Error::other("a reply is larger than the bench's buffer"));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let header = ReplyHeader::read(&mut Reader::new(rest, 0)).map_err(io::Error::other)?;
        self.parsed += 4 + len;
        if header.xid == -1 {
            return Ok(Some(Message::Notification));
        }
        // Xids wrap once in 2^31 requests of one session, further than any run goes.
        let oldest = self.xid - self.in_flight.len() as i32 + 1;
        match self.in_flight.pop_front() {
            Some(_) if header.err != 0 => {
                Err(io::Error::other(format!("a request failed with error {}", header.err)))
            }
            Some(due) if header.xid == oldest => Ok(Some(Message::Reply { due })),
            _ => Err(io::Error::other(format!("a reply has xid {} where {oldest} was next", header.xid))),
        }
    }

    /// Writes what waits; true if the socket would not take all of it.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(false)
    }
}
