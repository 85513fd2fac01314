//! A server for tests that says exactly what the test tells it to: a listener on loopback, driven by the test's own
//! thread while the client's calls wait in another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::client::Client;
use super::connect::ConnectString;
use super::event::Event;
use super::link::Settings;
use crate::wire::jute::{self, MAX_BUFFER_DEFAULT, Reader};
use crate::wire::op::Op;
use crate::wire::records::Stat;
use crate::wire::reply::{ConnectResponse, ReplyHeader};
use crate::wire::request::{ConnectRequest, RequestHeader};

/// A test that waits longer has failed; nothing depends on it otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct FakeServer(TcpListener);

impl FakeServer {
    pub fn bind() -> FakeServer {
        FakeServer(TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"))
    }

    pub fn address(&self) -> String {
        self.0.local_addr().expect("it is bound").to_string()
    }

    /// The next connection, its connect request not yet read.
    pub fn accept(&self) -> FakeConnection {
        let (stream, _) = self.0.accept().expect("the client connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        FakeConnection(stream)
    }

    /// The next connection, with the session granted as asked for.
    pub fn accept_session(&self, session: i64) -> FakeConnection {
        let mut connection = self.accept();
        connection.hello();
        connection.grant(session, 30_000, false);
        connection
    }
}

/// An address where connections are refused, for as long as the socket is kept: it is bound and does not listen, so
/// that nobody else can be given the port.
pub fn dead_address() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback has a free port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("an IP address");
    (socket, address.to_string())
}

/// What a connect request said.
#[derive(Debug, PartialEq, Eq)]
pub struct SaidHello {
    pub session: i64,
    pub password: Vec<u8>,
    pub last_zxid: i64,
}

pub struct FakeConnection(TcpStream);

impl FakeConnection {
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).ok()?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(len)).ok()?];
        self.0.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    pub fn hello(&mut self) -> SaidHello {
        self.hello_unless_probe().expect("a connect request comes first")
    }

    /// `None` if this is the look for a read-write server, whose four letters are no frame.
    pub fn hello_unless_probe(&mut self) -> Option<SaidHello> {
        let mut start = [0; 4];
        self.0.peek(&mut start).expect("the client says something");
        if &start == b"isro" {
            return None;
        }
        let frame = self.frame()?;
        let request = ConnectRequest::decode(&frame, MAX_BUFFER_DEFAULT).expect("it parses");
        Some(SaidHello {
            session: request.session,
            password: request.password.unwrap_or_default().to_vec(),
            last_zxid: request.last_zxid_seen,
        })
    }

    pub fn grant(&mut self, session: i64, timeout_ms: i32, read_only: bool) {
        let response = ConnectResponse { timeout_ms, session, password: [7; 16], read_only: Some(read_only) };
        self.send(|out| response.encode(out));
    }

    /// The next request: xid, operation, record.
    pub fn request(&mut self) -> (i32, Op, Vec<u8>) {
        self.request_or_end().expect("a request comes")
    }

    /// As [`request`](Self::request); `None` when the client hangs up.
    pub fn request_or_end(&mut self) -> Option<(i32, Op, Vec<u8>)> {
        let frame = self.frame()?;
        let mut r = Reader::new(&frame, MAX_BUFFER_DEFAULT);
        let header = RequestHeader::read(&mut r).expect("a header");
        Some((header.xid, Op::from_code(header.kind).expect("an operation"), r.rest().to_vec()))
    }

    /// Answers the next request, which must be an `op`, with success; its record.
    pub fn answer(&mut self, op: Op, zxid: i64, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (xid, asked, record) = self.request();
        assert_eq!(asked, op);
        self.send(|out| {
            ReplyHeader::ok(xid, zxid).write(out);
            body(out);
        });
        record
    }

    /// Answers the next request with an error.
    pub fn refuse(&mut self, op: Op, code: i32) {
        let (xid, asked, _) = self.request();
        assert_eq!(asked, op);
        self.header(xid, 0, code);
    }

    pub fn header(&mut self, xid: i32, zxid: i64, err: i32) {
        self.send(|out| ReplyHeader { xid, zxid, err }.write(out));
    }

    pub fn send(&mut self, body: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        jute::put_frame(&mut bytes, body);
        self.send_raw(&bytes);
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the client is there");
    }
}

/// A client of `servers` (and a chroot), and the events that it was told.
pub fn client(servers: &str) -> (Arc<Client>, Arc<Mutex<Vec<String>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let client = Client::open(Settings {
        connect: ConnectString::parse(servers).expect("a connect string"),
        session_timeout: PATIENCE,
        read_only: true,
        watcher: Arc::new(move |event: &Event| told.lock().expect("no panic").push(event.to_string())),
    });
    (Arc::new(client), events)
}

/// Runs a call of the client while the test plays the server.
pub fn meanwhile<T: Send + 'static>(
    client: &Arc<Client>,
    call: impl FnOnce(&Client) -> T + Send + 'static,
) -> JoinHandle<T> {
    let client = Arc::clone(client);
    std::thread::spawn(move || call(&client))
}

pub fn put_strings(out: &mut Vec<u8>, items: &[&str]) {
    jute::put_len(out, items.len());
    items.iter().for_each(|item| jute::put_string(out, Some(item)));
}

pub fn put_data(out: &mut Vec<u8>, data: &[u8]) {
    jute::put_buffer(out, Some(data));
    Stat::default().write(out);
}
