//! Three servers of one kind on this machine, as one ensemble.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::four_letter_word;
use crate::compare::{config, local};
use crate::server::{Kind, Server};

pub const SERVERS: usize = 3;
/// Ports of an ensemble: for each server one for clients, one for followers, one for elections.
pub const PORTS: u16 = 3 * SERVERS as u16;
/// How often servers are asked who they are.
const POLL: Duration = Duration::from_millis(5);
/// How long an ensemble may be without a leader, or a server outside of it.
const SETTLE_MAX: Duration = Duration::from_secs(120);

pub struct Ensemble<'a> {
    kind: &'a Kind,
    members: Vec<Member>,
}

struct Member {
    dir: PathBuf,
    addr: SocketAddr,
    /// `None` while it is down.
    server: Option<Server>,
}

impl<'a> Ensemble<'a> {
    /// Starts three servers with empty data below `dir`, on [`PORTS`] ports from `port` on, and does not wait.
    pub fn spawn(kind: &'a Kind, dir: &Path, port: u16, snap_count: u64) -> io::Result<Ensemble<'a>> {
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        fs::remove_dir_all(&dir)?;
        let n = SERVERS as u16;
        let lines: String = (0..n)
            .map(|i| format!("server.{}=127.0.0.1:{}:{}\n", i + 1, port + n + i, port + 2 * n + i))
            .collect();
        let mut members = Vec::new();
        for i in 0..n {
            let dir = dir.join(format!("{}", i + 1));
            fs::create_dir_all(dir.join("data"))?;
            fs::write(dir.join("data/myid"), format!("{}\n", i + 1))?;
            let alone = config(&dir, local(port + i), snap_count);
            fs::write(dir.join("zoo.cfg"), format!("{alone}initLimit=10\nsyncLimit=5\n{lines}"))?;
            members.push(Member { addr: local(port + i), server: None, dir });
        }
        for member in &mut members {
            member.server = Some(Server::spawn(kind, &member.dir, member.addr)?);
        }
        Ok(Ensemble { kind, members })
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.addr).collect()
    }

    pub fn addr(&self, i: usize) -> SocketAddr {
        self.members[i].addr
    }

    /// Of the servers that are up.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| Some(member.server.as_ref()?.pid())).collect()
    }

    pub fn server(&mut self, i: usize) -> &mut Server {
        self.members[i].server.as_mut().expect("the bench started it")
    }

    /// Waits until every server that is up leads or follows; returns the number of the leader, counted from 0.
    pub fn settle(&mut self) -> io::Result<usize> {
        let begin = Instant::now();
        loop {
            let modes: Vec<Option<String>> =
                (0..SERVERS).filter(|&i| self.members[i].server.is_some()).map(|i| self.mode(i)).collect();
            if modes.iter().all(Option::is_some) {
                let leader = (0..SERVERS).find(|&i| self.mode(i).as_deref() == Some("leader"));
                if let Some(leader) = leader {
                    return Ok(leader);
                }
            }
            for member in &mut self.members {
                if let Some(server) = &mut member.server {
                    server.still_starting(begin)?;
                }
            }
            if begin.elapsed() > SETTLE_MAX {
                return Err(io::Error::other(format!(
                    "three servers ({}) did not agree on a leader within {SETTLE_MAX:?}: {modes:?}",
                    self.kind.name
                )));
            }
            std::thread::sleep(POLL);
        }
    }

    /// What a server says that it is; `None` while it serves nobody.
    pub fn mode(&self, i: usize) -> Option<String> {
        self.members[i].server.as_ref()?;
        let text = four_letter_word(self.members[i].addr, "srvr").ok()?;
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(String::from)
    }

    /// Takes a server out, so that it can be killed or stopped.
    pub fn take(&mut self, i: usize) -> Server {
        self.members[i].server.take().expect("the bench started it")
    }

    /// Starts a server again on the data it has, and does not wait.
    pub fn restart(&mut self, i: usize) -> io::Result<()> {
        let member = &mut self.members[i];
        member.server = Some(Server::spawn(self.kind, &member.dir, member.addr)?);
        Ok(())
    }

    /// Ends all servers and removes their data.
    pub fn remove(mut self) -> io::Result<()> {
        for member in &mut self.members {
            drop(member.server.take());
            fs::remove_dir_all(&member.dir)?;
        }
        Ok(())
    }
}
