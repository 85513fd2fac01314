//! Three processes on loopback: an ensemble as an operator and a client meet it.
//!
//! What the machines do in every order of events is tested beside them; here it is that sockets, files, threads and
//! signals carry it out.

#![allow(clippy::disallowed_methods)] // A test may look at the clock.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

const SERVAL: &str = env!("CARGO_BIN_EXE_serval");

/// For everything that is waited for; it takes a hundredth of this on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until there is an answer.
fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = poll() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} took too long");
        thread::sleep(Duration::from_millis(10));
    }
}

struct Member {
    process: Child,
    client_port: u16,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    /// What a four-letter word is answered; nothing if nobody is there.
    fn word(&self, word: &str) -> String {
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.client_port)) {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.write_all(word.as_bytes());
            let _ = stream.read_to_string(&mut text);
        }
        text
    }

    /// `leader` or `follower`, if it serves.
    fn mode(&self) -> Option<String> {
        self.word("srvr").lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the process is ours");
    }

    fn has_stopped(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the process is ours")
    }
}

/// Servers 1 to 3; a slot is empty while its server is down.
struct Ensemble {
    dir: TempDir,
    members: [Option<Member>; 3],
    /// The ports of the quorum and of the election, which a server leaves while it is down.
    _held: Vec<(Socket, u16)>,
}

/// A port that only those are given who ask for it by its number: it is bound, and shared with a listener, but does
/// not listen itself.
fn hold_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("a socket can");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = socket.local_addr().ok().and_then(|at| at.as_socket()).expect("bound").port();
    (socket, port)
}

impl Ensemble {
    /// Starts three servers and waits until all of them serve.
    fn start() -> Ensemble {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let held: Vec<_> = (0..6).map(|_| hold_port()).collect();
        let ports: Vec<u16> = held.iter().map(|(_, port)| *port).collect();
        let servers: String = (0..3)
            .map(|i| format!("server.{}=127.0.0.1:{}:{}\n", i + 1, ports[2 * i], ports[2 * i + 1]))
            .collect();
        for id in 1..=3 {
            let data = dir.path().join(format!("data{id}"));
            fs::create_dir(&data).expect("a directory");
            fs::write(data.join("myid"), format!("{id}\n")).expect("myid");
            // Nothing here may need a time-out, so these are longer than anybody waits.
            let config = format!(
                "tickTime=1000\ninitLimit=1000\nsyncLimit=1000\ndataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\n\
                 admin.enableServer=false\npreAllocSize=64\n{servers}",
                data.display()
            );
            fs::write(dir.path().join(format!("{id}.cfg")), config).expect("a configuration");
        }
        let mut ensemble = Ensemble { dir, members: [None, None, None], _held: held };
        (1..=3).for_each(|id| ensemble.start_one(id));
        ensemble.wait_until_all_serve();
        ensemble
    }

    fn start_one(&mut self, id: usize) {
        let log = self.dir.path().join(format!("{id}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let mut process = Command::new(SERVAL)
            .arg(self.dir.path().join(format!("{id}.cfg")))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("an announcement");
        let port = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once(','));
        let client_port = port.and_then(|(port, _)| port.parse().ok());
        let client_port = client_port.unwrap_or_else(|| panic!("no port in {line:?}\n{}", self.log(id)));
        self.members[id - 1] = Some(Member { process, client_port });
    }

    fn log(&self, id: usize) -> String {
        fs::read_to_string(self.dir.path().join(format!("{id}.log"))).expect("a log")
    }

    fn member(&mut self, id: usize) -> &mut Member {
        self.members[id - 1].as_mut().expect("this one is up")
    }

    /// The servers that are in this mode.
    fn in_mode(&self, mode: &str) -> Vec<usize> {
        let is = |member: &Member| member.mode().as_deref() == Some(mode);
        (1..=3).filter(|id| self.members[id - 1].as_ref().is_some_and(is)).collect()
    }

    /// Waits for one leader whom all that are up follow; returns it.
    fn wait_until_all_serve(&self) -> usize {
        let up = self.members.iter().flatten().count();
        wait_for("an election", || match self.in_mode("leader")[..] {
            [leader] if self.in_mode("follower").len() + 1 == up => Some(leader),
            _ => None,
        })
    }

    fn client(&mut self, id: usize) -> Client {
        Client::connect(self.member(id).client_port)
    }
}

/// A session in as few bytes as it takes.
struct Client {
    stream: TcpStream,
    xid: i32,
}

impl Client {
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket can");
        // Version, last zxid, timeout, session, password, read-only.
        let mut request = vec![0; 45];
        request[12..16].copy_from_slice(&60_000_i32.to_be_bytes());
        request[27] = 16;
        let mut client = Client { stream, xid: 0 };
        client.send(&request);
        let reply = client.receive();
        assert!(reply.len() >= 36, "a session was refused: {reply:?}");
        client
    }

    fn send(&mut self, body: &[u8]) {
        let frame = [&(body.len() as i32).to_be_bytes(), body].concat();
        self.stream.write_all(&frame).expect("the server is there");
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).expect("a reply");
        let mut body = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut body).expect("a whole reply");
        body
    }

    /// Zxid, error code and record of the reply.
    fn request(&mut self, op: i32, record: &[u8]) -> (i64, i32, Vec<u8>) {
        self.xid += 1;
        let header = [self.xid.to_be_bytes(), op.to_be_bytes()].concat();
        self.send(&[&header, record].concat());
        let reply = self.receive();
        assert_eq!(reply[..4], self.xid.to_be_bytes(), "replies come in the order of the requests");
        let zxid = i64::from_be_bytes(reply[4..12].try_into().expect("eight bytes"));
        let error = i32::from_be_bytes(reply[12..16].try_into().expect("four bytes"));
        (zxid, error, reply[16..].to_vec())
    }

    fn create(&mut self, path: &str, data: &[u8]) -> i64 {
        let acl = [&[0, 0, 0, 1, 0, 0, 0, 31][..], &string(b"world"), &string(b"anyone")].concat();
        let record = [&string(path.as_bytes())[..], &string(data), &acl, &[0; 4]].concat();
        let (zxid, error, _) = self.request(1, &record);
        assert_eq!(error, 0, "create {path}");
        zxid
    }

    /// The data of a znode, as new as the leader's.
    fn read(&mut self, path: &str) -> Vec<u8> {
        let path = string(path.as_bytes());
        assert_eq!(self.request(9, &path).1, 0, "sync");
        let (_, error, reply) = self.request(4, &[&path[..], &[0]].concat());
        assert_eq!(error, 0, "getData");
        let len = i32::from_be_bytes(reply[..4].try_into().expect("four bytes"));
        reply[4..4 + len as usize].to_vec()
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}

#[test]
fn writes_survive_the_leader_that_took_them() {
    let mut ensemble = Ensemble::start();
    let leader = ensemble.wait_until_all_serve();
    let follower = leader % 3 + 1;

    let mut client = ensemble.client(follower);
    let mut last = 0;
    for i in 0..200 {
        let zxid = client.create(&format!("/n{i}"), format!("value {i}").as_bytes());
        assert!(zxid > last, "zxids rise");
        last = zxid;
    }
    let at_leader = ensemble.client(leader).read("/n199");
    assert_eq!(at_leader, b"value 199");

    ensemble.member(leader).send(Signal::KILL);
    ensemble.members[leader - 1] = None;
    let next = ensemble.wait_until_all_serve();
    assert_ne!(next, leader);
    for id in (1..=3).filter(|id| *id != leader) {
        let mut client = ensemble.client(id);
        assert_eq!(client.read("/n0"), b"value 0");
        assert_eq!(client.read("/n199"), b"value 199");
    }
    let zxid = ensemble.client(next).create("/after", b"a new epoch");
    assert!(zxid >> 32 > last >> 32, "{zxid:x} is of a later epoch than {last:x}");

    // It comes back, and is given what it has missed.
    ensemble.start_one(leader);
    assert_eq!(ensemble.wait_until_all_serve(), next);
    assert_eq!(ensemble.client(leader).read("/after"), b"a new epoch");
}

#[test]
fn a_leader_that_is_stopped_hands_over_first() {
    let mut ensemble = Ensemble::start();
    let leader = ensemble.wait_until_all_serve();
    ensemble.client(leader).create("/kept", b"here");
    ensemble.member(leader).send(Signal::TERM);
    let status = wait_for("stopping", || ensemble.member(leader).has_stopped());
    assert_eq!(status.code(), Some(0), "{}", ensemble.log(leader));
    assert!(ensemble.log(leader).contains("handed over to server"), "{}", ensemble.log(leader));
    ensemble.members[leader - 1] = None;
    let next = ensemble.wait_until_all_serve();
    assert_eq!(ensemble.client(next).read("/kept"), b"here");
}

#[test]
fn leadership_can_be_given_away_on_demand() {
    let mut ensemble = Ensemble::start();
    let leader = ensemble.wait_until_all_serve();
    // By a transaction of the epoch it is known who has everything.
    ensemble.client(leader).create("/before", b"here");
    ensemble.member(leader).send(Signal::USR1);
    let next = wait_for("another leader", || match ensemble.in_mode("leader")[..] {
        [next] if next != leader => Some(next),
        _ => None,
    });
    assert_eq!(ensemble.wait_until_all_serve(), next, "and the old one follows");
}
