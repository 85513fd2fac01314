//! The program as an operator meets it: what it says when it cannot start, and what it does at the limit of open files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

const SERVAL: &str = env!("CARGO_BIN_EXE_serval");

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A zoo.cfg whose first line is dataDir, and whose third is `more`.
    fn config(&self, data_dir: &str, more: &str) -> PathBuf {
        let path = self.path("zoo.cfg");
        let data_dir = self.path(data_dir);
        let text = format!(
            "dataDir={}\nadmin.serverPort=0\n{more}\nadmin.serverAddress=127.0.0.1\n",
            data_dir.display()
        );
        fs::write(&path, text).expect("zoo.cfg");
        path
    }
}

/// Runs to the end; for configurations that must not start.
fn refused(config: &Path) -> (i32, String) {
    let Output { status, stderr, .. } = Command::new(SERVAL).arg(config).output().expect("the program runs");
    let errors = String::from_utf8(stderr).expect("UTF-8");
    let last = errors.lines().last().unwrap_or_default().to_owned();
    (status.code().expect("no signal"), last)
}

/// A running server; killed when dropped.
struct Running {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Running {
    /// `limit`: of open files, hard and soft.
    fn start(place: &Place, config: &Path, limit: u32) -> Running {
        let log = place.path("log");
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {limit} && exec \"$0\" \"$1\""))
            .args([Path::new(SERVAL), config])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the announcement");
        let port = line.split_once(':').and_then(|(_, rest)| rest.split_once(',')).map(|(port, _)| port);
        let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port in {line:?}"));
        Running { child, port, log }
    }

    /// The port of the AdminServer, from the log.
    fn admin_port(&self) -> u16 {
        let log = fs::read_to_string(&self.log).expect("the log");
        let (_, rest) =
            log.split_once("Started AdminServer on address 127.0.0.1, port ").expect("it was started");
        rest.split_once(' ').and_then(|(port, _)| port.parse().ok()).expect("a port")
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("the port is open")
    }

    /// Whether a new connection is served; kept open if so.
    fn serves(&self) -> Option<TcpStream> {
        let mut stream = self.connect();
        // A session as long as a minute, so that none ends before its test does on a slow disk: version, last zxid,
        // timeout, session, password, read-only.
        let mut request = [0; 49];
        request[3] = 45;
        request[18..20].copy_from_slice(&60_000_u16.to_be_bytes());
        request[31] = 16;
        stream.write_all(&request).ok()?;
        let mut reply = [0; 41];
        stream.read_exact(&mut reply).ok()?;
        Some(stream)
    }

    fn log_lines(&self, with: &str) -> usize {
        fs::read_to_string(&self.log).expect("the log").lines().filter(|line| line.contains(with)).count()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_port_in_use_is_named_with_the_line_that_asks_for_it() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("bound").port();
    let config = place.config("data", &format!("clientPortAddress=127.0.0.1\nclientPort={port}"));
    let (code, line) = refused(&config);
    assert_eq!(code, 1);
    assert!(line.contains(&format!("{}:4: clientPort: cannot listen on 127.0.0.1:{port}", config.display())));
}

/// `ExitCode.UNABLE_TO_BIND_QUORUM_PORT`.
#[test]
fn an_election_port_in_use_ends_the_server_with_javas_code() {
    let place = Place::new();
    fs::create_dir_all(place.path("data")).expect("a directory");
    fs::write(place.path("data").join("myid"), "1").expect("myid");
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = other.local_addr().expect("bound").port();
    let servers = format!("server.1=127.0.0.1:1:{port};127.0.0.1:0\nserver.2=127.0.0.1:1:2;127.0.0.1:0");
    let config =
        place.config("data", &format!("electionPortBindRetry=1\ninitLimit=5\nsyncLimit=2\n{servers}"));
    let (code, line) = refused(&config);
    assert_eq!(code, 14, "{line}");
    assert!(
        line.contains(&format!("127.0.0.1:{port}: ")) && line.contains("another process has this port"),
        "{line}"
    );
    // An address for documentation, which no machine has.
    let servers = servers.replace("server.1=127.0.0.1", "server.1=192.0.2.1");
    let config =
        place.config("data", &format!("electionPortBindRetry=1\ninitLimit=5\nsyncLimit=2\n{servers}"));
    let (code, line) = refused(&config);
    assert_eq!(code, 14, "{line}");
    assert!(line.contains(&format!("192.0.2.1:{port}: ")) && line.contains("no such address"), "{line}");
}

#[test]
fn a_peer_that_cannot_be_reached_is_named_with_its_address_and_the_reason() {
    let place = Place::new();
    fs::create_dir_all(place.path("data")).expect("a directory");
    fs::write(place.path("data").join("myid"), "1").expect("myid");
    // Bound, so that nobody else takes it, and not listening.
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let port = closed.local_addr().ok().and_then(|at| at.as_socket()).expect("bound").port();
    let servers = format!("server.1=127.0.0.1:1:0;127.0.0.1:0\nserver.2=127.0.0.1:1:{port}");
    let config = place.config("data", &format!("initLimit=5\nsyncLimit=2\n{servers}"));
    let server = Running::start(&place, &config, 1024);
    let told = format!("Cannot reach server 2 at its election port 127.0.0.1:{port}: Connection refused");
    // It has dialed again by then, and has had nothing new to tell. A minute is patience.
    for _ in 0..6000 {
        if server.log_lines("Without a leader for") > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(server.log_lines(&told), 1);
}

#[test]
fn a_directory_that_is_a_file_is_named_with_its_line() {
    let place = Place::new();
    fs::write(place.path("data"), "").expect("a file");
    let config = place.config("data", "clientPort=0");
    let (code, line) = refused(&config);
    assert_eq!(code, 3);
    assert!(line.contains(&format!("{}:1: dataDir: ", config.display())), "{line}");
    let config =
        place.config("elsewhere", &format!("dataLogDir={}\nclientPort=0", place.path("data").display()));
    let (code, line) = refused(&config);
    assert_eq!(code, 3);
    assert!(line.contains(&format!("{}:3: dataLogDir: ", config.display())), "{line}");
}

#[test]
fn a_directory_in_use_names_the_process() {
    let place = Place::new();
    let config = place.config("data", "clientPort=0");
    let running = Running::start(&place, &config, 1024);
    let (code, line) = refused(&config);
    assert_eq!(code, 3);
    assert!(line.contains(&format!("is in use by process {}", running.child.id())), "{line}");
}

#[test]
fn at_the_limit_of_open_files_connections_are_refused_and_files_are_not() {
    let place = Place::new();
    let config = place.config("data", "clientPort=0\nmaxClientCnxns=0\nsnapCount=2");
    let server = Running::start(&place, &config, 256);
    let mut served = Vec::new();
    while let Some(stream) = server.serves() {
        served.push(stream);
    }
    // Every session was a write, and with this snapCount most began a log and a snapshot.
    assert_eq!(served.len(), 128);
    assert!(server.serves().is_none() && server.serves().is_none());
    assert_eq!(server.log_lines("Refusing connections: 128 are open"), 1);
    drop(served);
    while server.serves().is_none() {}
    assert_eq!(server.log_lines("Accepting connections again"), 1);
}

#[test]
fn http_connections_that_say_nothing_keep_nobody_out() {
    let place = Place::new();
    let server = Running::start(&place, &place.config("data", "clientPort=0"), 1024);
    let port = server.admin_port();
    let silent: Vec<_> =
        (0..100).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("the port is open")).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.write_all(b"GET /commands/ruok HTTP/1.0\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    drop(silent);
}
