//! What may break, and how often.

use super::random::Random;
use crate::quorum::membership::Role;
use crate::storage::StorageError;

/// Something that goes wrong now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `lost`: with all that was not synced.
    Crash {
        node: usize,
        lost: bool,
    },
    /// Nothing arrives in one direction.
    Block {
        from: usize,
        to: usize,
        ms: u64,
    },
    /// Nothing arrives from other servers, nor at them.
    Isolate {
        node: usize,
        ms: u64,
    },
    /// Connections break; all of a server, or those with one other.
    Reset {
        node: usize,
        other: Option<usize>,
    },
    /// The process stands still (SIGSTOP, or a machine that swaps).
    Pause {
        node: usize,
        ms: u64,
    },
    SlowDisk {
        node: usize,
        factor: u64,
        ms: u64,
    },
    /// The wall clock jumps, forth or back.
    ClockJump {
        node: usize,
        ms: i64,
    },
    DiskFull {
        node: usize,
    },
    /// The power goes everywhere.
    Blackout,
    /// A leader is asked to let another one lead.
    HandOver {
        node: usize,
    },
    /// A client asks for a server to have this role from now on, or none.
    Reconfigure {
        node: usize,
        role: Option<Role>,
    },
}

/// How often each of them happens: a weight, of the sum of all.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Longest time between two faults.
    pub pause_max_ms: u64,
    pub crash: u64,
    pub block: u64,
    pub isolate: u64,
    pub reset: u64,
    pub pause: u64,
    pub slow_disk: u64,
    pub clock_jump: u64,
    pub disk_full: u64,
    pub blackout: u64,
    pub hand_over: u64,
    pub reconfigure: u64,
    /// In one of so many jobs of a helper thread the power goes; 0: in none.
    pub cut_job: u64,
    /// In one of so many jobs an operation of the disk fails; 0: in none.
    pub fail_job: u64,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            pause_max_ms: 1500,
            crash: 6,
            block: 3,
            isolate: 3,
            reset: 3,
            pause: 2,
            slow_disk: 2,
            clock_jump: 1,
            disk_full: 0,
            blackout: 1,
            hand_over: 1,
            reconfigure: 0,
            cut_job: 600,
            fail_job: 0,
        }
    }
}

impl Faults {
    /// Nothing breaks.
    pub fn none() -> Faults {
        Faults {
            pause_max_ms: 1000,
            crash: 0,
            block: 0,
            isolate: 0,
            reset: 0,
            pause: 0,
            slow_disk: 0,
            clock_jump: 0,
            disk_full: 0,
            blackout: 0,
            hand_over: 0,
            reconfigure: 0,
            cut_job: 0,
            fail_job: 0,
        }
    }

    /// The next thing to go wrong. Every other time it hits the leader, if there is one: that is where it hurts.
    pub fn draw(&self, random: &mut Random, servers: usize, leader: Option<usize>) -> Option<Fault> {
        let weights = [
            self.crash,
            self.block,
            self.isolate,
            self.reset,
            self.pause,
            self.slow_disk,
            self.clock_jump,
            self.disk_full,
            self.blackout,
            self.hand_over,
            self.reconfigure,
        ];
        let sum: u64 = weights.iter().sum();
        if sum == 0 {
            return None;
        }
        let mut at = random.below(sum);
        let mut kind = 0;
        while at >= weights[kind] {
            at -= weights[kind];
            kind += 1;
        }
        let any = random.below(servers as u64) as usize;
        let node = leader.filter(|_| random.one_in(2)).unwrap_or(any);
        let other = (node + 1 + random.below(servers as u64 - 1) as usize) % servers;
        // Short ones go by unnoticed, long ones cost a leader its quorum.
        let longest = *random.pick(&[50, 500, 1500, 4000]);
        let ms = random.between(1, longest);
        Some(match kind {
            0 => Fault::Crash { node, lost: !random.one_in(3) },
            1 => Fault::Block { from: node, to: other, ms },
            2 => Fault::Isolate { node, ms },
            3 => Fault::Reset { node, other: (!random.one_in(3)).then_some(other) },
            4 => Fault::Pause { node, ms },
            5 => Fault::SlowDisk { node, factor: *random.pick(&[10, 100, 400]), ms },
            6 => Fault::ClockJump { node, ms: random.below(20_000_000) as i64 - 10_000_000 },
            7 => Fault::DiskFull { node },
            8 => Fault::Blackout,
            9 => Fault::HandOver { node: leader.unwrap_or(node) },
            _ => {
                let roles = [None, Some(Role::Observer), Some(Role::Participant), Some(Role::Participant)];
                Fault::Reconfigure { node, role: *random.pick(&roles) }
            }
        })
    }

    /// Whether a server may stop with this error under these faults. Anything else is a defect.
    pub fn expects(&self, error: &StorageError) -> bool {
        let _ = error;
        self.disk_full > 0 || self.fail_job > 0
    }
}
