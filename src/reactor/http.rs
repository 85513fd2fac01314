//! The HTTP ports: metrics for scrapers and commands for operators, on the same poll as everything else.
//!
//! Connections here are few and their answers made at once; `admin::http` knows the protocol.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::HTTP;
use super::host::Inspector;
use crate::admin::commands;
use crate::admin::http::{self, Step};
use crate::admin::prometheus::{self, ProcessView};
use crate::admin::views::Inspect;
use crate::time::{Instant, Millis, Now};

/// Tokens kept for listening ports, before those of connections.
const PORTS_MAX: usize = 8;

/// Connections at a time; a scraper needs one.
const CONNECTIONS_MAX: usize = 64;

/// What a port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Prometheus text; with the `process_*` series if so configured.
    Metrics { process_series: bool },
    /// The AdminServer's commands, below this path.
    Commands { url: String },
}

/// A bound port and what it answers.
pub struct Port {
    pub listener: std::net::TcpListener,
    pub service: Service,
    /// A connection that has said nothing for this long makes room for another.
    pub idle: Millis,
}

struct Conn {
    stream: TcpStream,
    /// Index of the port it came in by.
    port: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    keep_alive: bool,
    idle_at: Instant,
}

pub struct Http {
    ports: Vec<(TcpListener, Service, Millis)>,
    conns: Slab<Conn>,
}

impl Http {
    pub fn new(registry: &Registry, ports: Vec<Port>) -> io::Result<Http> {
        assert!(ports.len() <= PORTS_MAX, "tokens of ports and connections must not meet");
        let mut bound = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let mut listener = TcpListener::from_std(port.listener);
            registry.register(&mut listener, Token(HTTP + i), Interest::READABLE)?;
            bound.push((listener, port.service, port.idle));
        }
        Ok(Http { ports: bound, conns: Slab::new() })
    }

    pub fn event(
        &mut self,
        registry: &Registry,
        token: usize,
        event: &Event,
        inspector: &mut Inspector<'_>,
        now: Now,
    ) {
        let Some(key) = token.checked_sub(HTTP + PORTS_MAX) else {
            return self.accept(registry, token - HTTP, now.mono);
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        let (_, service, idle) = &self.ports[conn.port];
        conn.idle_at = now.mono + *idle;
        let open = !(event.is_readable() || event.is_read_closed()) || conn.read();
        if !open || conn.serve(service, inspector) {
            self.conns.remove(key);
        }
    }

    fn accept(&mut self, registry: &Registry, port: usize, now: Instant) {
        let Some((listener, _, idle)) = self.ports.get(port) else { return };
        loop {
            let Ok((mut stream, _)) = listener.accept() else { return };
            if self.conns.len() >= CONNECTIONS_MAX {
                self.conns.retain(|_, conn| conn.idle_at > now);
            }
            if self.conns.len() >= CONNECTIONS_MAX {
                // Whoever has been silent longest goes: connections that say nothing must not keep scrapers out.
                let silent = self.conns.iter().min_by_key(|(_, conn)| conn.idle_at).map(|(key, _)| key);
                silent.map(|key| self.conns.remove(key));
            }
            let entry = self.conns.vacant_entry();
            let token = Token(HTTP + PORTS_MAX + entry.key());
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                entry.insert(Conn {
                    stream,
                    port,
                    input: Vec::new(),
                    output: Vec::new(),
                    keep_alive: true,
                    idle_at: now + *idle,
                });
            }
        }
    }
}

impl Conn {
    /// Reads what there is. False once the other side has closed.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(n) if self.input.len() + n > http::HEAD_MAX + http::BODY_MAX => return false,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Answers what is complete and sends. True if the connection is to be closed.
    fn serve(&mut self, service: &Service, inspector: &mut Inspector<'_>) -> bool {
        while self.keep_alive && self.output.is_empty() {
            let step = http::serve(&self.input, &mut |request| match service {
                Service::Metrics { process_series } => {
                    let process = process_series.then(|| process(inspector));
                    prometheus::handle(request, inspector, process.as_ref())
                }
                Service::Commands { url } => commands::handle(request, url, inspector),
            });
            match step {
                Step::NeedMore => return false,
                Step::Respond { bytes, consumed, keep_alive } => {
                    self.input.drain(..consumed);
                    self.output = bytes;
                    self.keep_alive = keep_alive;
                }
            }
            if !self.write() {
                return true;
            }
        }
        !self.write() || (self.output.is_empty() && !self.keep_alive)
    }

    /// Sends what the socket takes. False if it is broken.
    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// What the kernel says of this process.
fn process(inspector: &Inspector<'_>) -> ProcessView {
    let text = |file| fs::read_to_string(file).unwrap_or_default();
    let boot = text("/proc/stat").lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let ticks = rustix::param::clock_ticks_per_second();
    let page = rustix::param::page_size() as u64;
    let gauges = inspector.server().map(|view| view.gauges).unwrap_or_default();
    ProcessView {
        open_fds: gauges.open_file_descriptor_count,
        max_fds: gauges.max_file_descriptor_count,
        ..prometheus::parse_proc_stat(&text("/proc/self/stat"), ticks, page, boot.unwrap_or(0))
            .unwrap_or_default()
    }
}
