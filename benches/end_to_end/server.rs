//! Servers as processes: starting and stopping them, and what the kernel says they cost.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Answer, Greeting};

/// The unit of the times in /proc/<pid>/stat; Linux promises 100 to user space on every common machine.
const TICKS_PER_SECOND: u64 = 100;
/// How long a server may take to start; Java with ten million znodes takes minutes.
const START_MAX: Duration = Duration::from_secs(300);
/// How often a starting server is asked for a session.
const GREETING_INTERVAL: Duration = Duration::from_millis(50);

/// CPU time of a process so far, user and system, all threads, in microseconds. Steps of 10 ms.
pub fn cpu_micros(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * 1_000_000 / TICKS_PER_SECOND)
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.ok_or_else(|| io::Error::other("no VmRSS in /proc"))? * 1024)
}

/// The name of the kind that does nothing.
pub const ECHO: &str = "echo";

/// A kind of server that the bench can start.
#[derive(Clone, Debug)]
pub struct Kind {
    /// As the table heads its column.
    pub name: String,
    pub program: PathBuf,
    /// What stands before the path of zoo.cfg.
    pub args: Vec<String>,
    pub is_echo: bool,
    /// The name wants the version that the server itself reports.
    pub is_java: bool,
}

impl Kind {
    pub fn serval(program: &Path) -> Kind {
        Kind {
            name: "Serval".into(),
            program: program.into(),
            args: Vec::new(),
            is_echo: false,
            is_java: false,
        }
    }

    /// Java's server with the main class of its zkServer.sh, without JMX.
    ///
    /// `class_path` is as `java -cp` takes it; `flags` are separated by blanks. `log_dir` is where the
    /// configuration of both of its loggers goes: warnings only, as Serval is started. (Logback without one
    /// logs every packet.)
    pub fn java(class_path: &str, flags: &str, log_dir: &Path) -> io::Result<Kind> {
        let (log4j, logback) = (log_dir.join("log4j.properties"), log_dir.join("logback.xml"));
        fs::write(&log4j, LOG4J)?;
        fs::write(&logback, LOGBACK)?;
        let mut args: Vec<String> = flags.split_whitespace().map(String::from).collect();
        args.push(format!("-Dlog4j.configuration=file:{}", log4j.display()));
        args.push(format!("-Dlogback.configurationFile={}", logback.display()));
        args.push("-Dzookeeper.jmx.log4j.disable=true".into());
        args.extend(["-cp".into(), class_path.into()]);
        args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
        Ok(Kind { name: "Java".into(), program: "java".into(), args, is_echo: false, is_java: true })
    }

    /// This program again, as the server that does nothing.
    pub fn echo(port: u16, value_size: usize) -> io::Result<Kind> {
        let args = ["--echo-server", &port.to_string(), "--value-size", &value_size.to_string()];
        Ok(Kind {
            name: ECHO.into(),
            program: std::env::current_exe()?,
            args: args.map(String::from).to_vec(),
            is_echo: true,
            is_java: false,
        })
    }
}

const LOG4J: &str = "log4j.rootLogger=WARN, C\n\
    log4j.appender.C=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.C.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.C.layout.ConversionPattern=%d %p %m%n\n";
const LOGBACK: &str = "<configuration>\
    <appender name='C' class='ch.qos.logback.core.ConsoleAppender'>\
    <encoder><pattern>%d %p %m%n</pattern></encoder></appender>\
    <root level='WARN'><appender-ref ref='C'/></root></configuration>\n";

/// A server that was started here. It is killed when this is dropped.
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    /// What it wrote to its standard output and error.
    log: PathBuf,
    /// From the start of the process to the first reply to a client, session included.
    pub start_up: Duration,
}

impl Server {
    /// Starts a server on `zoo.cfg` in `dir`, its output going to `server.log` there, and waits for its first
    /// reply.
    ///
    /// # Errors
    ///
    /// The program cannot be run, it ends by itself, or it does not answer within [`START_MAX`].
    pub fn start(kind: &Kind, dir: &Path, addr: SocketAddr) -> io::Result<Server> {
        let begin = Instant::now();
        let mut server = Server::spawn(kind, dir, addr)?;
        // A Java server that is still loading takes a connection and then forgets it, so new ones are opened
        // all the time and the first that is answered counts.
        let mut asked: Vec<Greeting> = Vec::new();
        loop {
            if asked.last().is_none_or(|newest| newest.sent.elapsed() > GREETING_INTERVAL) {
                asked.extend(Greeting::send(addr));
            }
            asked.retain_mut(|greeting| greeting.poll() != Answer::Closed);
            server.start_up = begin.elapsed();
            if asked.iter().any(|greeting| greeting.answer == Answer::Accepted) {
                return Ok(server);
            }
            server.still_starting(begin)?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As [`Server::start`], without waiting: a server of an ensemble answers nobody while it is alone.
    pub fn spawn(kind: &Kind, dir: &Path, addr: SocketAddr) -> io::Result<Server> {
        let log = dir.join("server.log");
        let output = fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::new(&kind.program)
            .args(&kind.args)
            .arg(dir.join("zoo.cfg"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|e| io::Error::other(format!("cannot run {}: {e}", kind.program.display())))?;
        Ok(Server { child, addr, log, start_up: Duration::ZERO })
    }

    /// An error if the server has ended, or has had time enough since `begin`.
    pub fn still_starting(&mut self, begin: Instant) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            return Err(io::Error::other(format!("a server ended with {status}: {said}")));
        }
        if begin.elapsed() > START_MAX {
            return Err(io::Error::other(format!("{} did not answer within {START_MAX:?}", self.addr)));
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Asks the server to end and waits until it has.
    pub fn stop(mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends the server as a crash would. When this returns, its sockets are closed.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the server is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
