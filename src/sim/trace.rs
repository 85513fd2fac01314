//! What happened in a run: always as a hash, that two runs of one seed must share, and as lines if somebody reads them.

use std::cell::Cell;
use std::fmt;

/// Notes every event.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<fn(&str)>,
}

impl Trace {
    /// `lines` is handed each event as text.
    pub fn new(lines: Option<fn(&str)>) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// `now` in nanoseconds. `numbers` are what tells this event from others of its kind.
    pub fn note(&mut self, now: u64, kind: &'static str, numbers: &[u64]) {
        self.mix(now);
        self.mix(kind.len() as u64);
        for number in numbers {
            self.mix(*number);
        }
    }

    /// A line for a reader; not part of the hash.
    pub fn say(&self, now: u64, line: fmt::Arguments<'_>) {
        if let Some(lines) = self.lines {
            lines(&format!("{} {line}", stamp(now)));
        }
    }

    fn mix(&mut self, word: u64) {
        // FNV-1a over words instead of bytes: a fingerprint, not a checksum.
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

/// Simulated time for a reader: milliseconds.
pub fn stamp(now: u64) -> String {
    format!("{:>9}.{:03}", now / 1_000_000, now / 1000 % 1000)
}

thread_local! {
    /// World time and server (0: nobody) of what is going on, for whoever prints the servers' own log lines.
    static PLACE: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
}

/// Says who acts from now on.
pub fn set_place(now: u64, server: usize) {
    PLACE.set((now, server));
}

/// World time in nanoseconds, and the number of the server that acts, 0 for nobody.
pub fn place() -> (u64, usize) {
    PLACE.get()
}
