//! A server that does nothing: the ceiling.
//!
//! It speaks just enough of the protocol to move the same bytes as a real server for the same load: every
//! request is answered at once with a reply of the right length and the right xid. What it reaches is what the
//! machine's sockets and this generator allow; a real server can only be compared with it, never beat it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serval::wire::jute;
use serval::wire::op::Op;
use serval::wire::records::Stat;
use serval::wire::reply::{ConnectResponse, ReplyHeader};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    out: Vec<u8>,
    greeted: bool,
}

/// Listens on 127.0.0.1 (port 0: any free one) and calls `ready` with the address. Returns only on an error.
pub fn serve(port: u16, value_size: usize, ready: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready(listener.local_addr()?);
    let mut connections: Slab<Connection> = Slab::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&mut poll, &listener, &mut connections)?;
            } else if turn(&mut connections[event.token().0], value_size).is_err() {
                connections.remove(event.token().0);
            }
        }
    }
}

fn accept(poll: &mut Poll, listener: &TcpListener, connections: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = connections.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                let input = vec![0; 256 * 1024];
                entry.insert(Connection { stream, input, filled: 0, out: Vec::new(), greeted: false });
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Reads what is there, answers all of it, writes once.
fn turn(c: &mut Connection, value_size: usize) -> io::Result<()> {
    loop {
        let room = c.input.len() - c.filled;
        match c.stream.read(&mut c.input[c.filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                c.filled += n;
                answer(c, value_size);
                if n < room {
                    break;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    while !c.out.is_empty() {
        match c.stream.write(&c.out) {
            Ok(n) => {
                c.out.drain(..n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Answers each whole frame of the input.
fn answer(c: &mut Connection, value_size: usize) {
    let mut at = 0;
    while let Some((len, rest)) = c.input[at..c.filled].split_first_chunk::<4>() {
        let Some(frame) = rest.get(..u32::from_be_bytes(*len) as usize) else { break };
        at += 4 + frame.len();
        jute::put_frame(&mut c.out, |out| {
            let Some((xid, kind)) = frame.first_chunk::<4>().zip(frame[4..].first_chunk::<4>()) else {
                return;
            };
            if !c.greeted {
                ConnectResponse { timeout_ms: 40_000, session: 1, password: [0; 16], read_only: Some(false) }
                    .encode(out);
                c.greeted = true;
                return;
            }
            ReplyHeader::ok(i32::from_be_bytes(*xid), 1).write(out);
            match Op::from_code(i32::from_be_bytes(*kind)) {
                Some(Op::GetData) => {
                    jute::put_len(out, value_size);
                    out.resize(out.len() + value_size, b'x');
                    Stat::default().write(out);
                }
                Some(Op::SetData | Op::Exists) => Stat::default().write(out),
                // A create answers with its path, which is how its record begins.
                Some(Op::Create) => {
                    let path_len =
                        frame[8..].first_chunk::<4>().map_or(0, |n| u32::from_be_bytes(*n) as usize);
                    out.extend_from_slice(frame.get(8..12 + path_len).unwrap_or_default());
                }
                _ => {}
            }
        });
    }
    c.input.copy_within(at..c.filled, 0);
    c.filled -= at;
}
