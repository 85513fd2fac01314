//! The HTTP port: scrapers of metrics, on the same poll as everything else.
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
use crate::admin::http::{self, Step};
use crate::admin::prometheus::{self, ProcessView};
use crate::admin::views::Inspect;
use crate::time::{Instant, Millis, Now};

/// Connections at a time; a scraper needs one.
const CONNECTIONS_MAX: usize = 64;

/// A connection that has said nothing for this long makes room for another.
const IDLE: Millis = Millis(30_000);

struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    keep_alive: bool,
    idle_at: Instant,
}

pub struct Http {
    listener: Option<TcpListener>,
    conns: Slab<Conn>,
    /// Export the `process_*` series.
    process_series: bool,
}

impl Http {
    pub fn new(
        registry: &Registry,
        listener: Option<std::net::TcpListener>,
        process_series: bool,
    ) -> io::Result<Http> {
        let mut listener = listener.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            registry.register(listener, Token(HTTP), Interest::READABLE)?;
        }
        Ok(Http { listener, conns: Slab::new(), process_series })
    }

    pub fn event(
        &mut self,
        registry: &Registry,
        token: usize,
        event: &Event,
        inspector: &mut Inspector<'_>,
        now: Now,
    ) {
        match token.checked_sub(HTTP + 1) {
            None => self.accept(registry, now.mono),
            Some(key) => {
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.idle_at = now.mono + IDLE;
                let readable = event.is_readable() || event.is_read_closed();
                if !(readable && !conn.read() || conn.serve(self.process_series, inspector)) {
                    return;
                }
                self.conns.remove(key);
            }
        }
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        let Some(listener) = &self.listener else { return };
        loop {
            let Ok((mut stream, _)) = listener.accept() else { return };
            if self.conns.len() >= CONNECTIONS_MAX {
                self.conns.retain(|_, conn| conn.idle_at > now);
            }
            if self.conns.len() >= CONNECTIONS_MAX {
                continue;
            }
            let entry = self.conns.vacant_entry();
            let token = Token(HTTP + 1 + entry.key());
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                let idle_at = now + IDLE;
                entry.insert(Conn {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    keep_alive: true,
                    idle_at,
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
    fn serve(&mut self, process_series: bool, inspector: &mut Inspector<'_>) -> bool {
        while self.keep_alive && self.output.is_empty() {
            let step = http::serve(&self.input, &mut |request| {
                let process = process_series.then(|| process(inspector));
                prometheus::handle(request, inspector, process.as_ref())
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
