//! The simulated shell: whole ensembles with network, disks and clocks from one seed, in one thread.
//!
//! It drives the same machines as the [`reactor`](crate::reactor). In reading order: [`random`] and [`trace`]; [`network`]
//! and [`disk`], which fail; [`node`], one server and its shell; [`model`] and [`history`], what everything is checked
//! against; [`client`]; [`faults`] and [`world`], which put it all in motion.
//!
//! ```
//! use serval::sim::{SimOptions, World};
//!
//! let report = World::new(7, SimOptions { stormy_ms: 2000, ..SimOptions::default() }).run().expect("no rule is broken");
//! assert!(report.writes > 0);
//! ```
//!
//! # What it covers
//!
//! Voters and observers that crash, lose power with any part of what was not synced, stand still or write slowly, lose
//! connections and directions of them, jump in time, and are asked to hand over. With `--disks` disks are full or fail;
//! with `--reconfig` memberships change: voters become observers, leave, come back, and get another port; with
//! `--masters` followers serve observers; with `--local` sessions are local; with `--counter-end` epochs run out of zxids.
//! Clients with pipelines, multis, ephemerals and watches take their sessions from server to server.
//!
//! [`Sabotage`] builds a defect into every server, and tests show that it is found: syncs that are not done
//! ([`NoSync`](Sabotage::NoSync)) or reported early ([`EarlySync`](Sabotage::EarlySync)), epochs that are not written
//! ([`NoEpochs`](Sabotage::NoEpochs)), snapshots ahead of the log
//! ([`SnapshotAheadOfLog`](Sabotage::SnapshotAheadOfLog)). Storms do not find
//! [`OldLogUnderImage`](Sabotage::OldLogUnderImage) in 60 seeds; `tests/storage_cuts.rs` has its rule. Nor do they find
//! memberships that are not written ([`NoMemberships`](Sabotage::NoMemberships)) in 1500; a scenario does.
//!
//! Not covered: read-only mode, ACLs and quotas, and the code of the real shell, of which [`node`] is a likeness.
//!
//! # Invariants
//!
//! 1. Two runs of one seed are the same run, event by event: [`Report::trace`] tells.
//! 2. Nothing that a server does here depends on anything but its inputs: no clock, no thread, no file.

pub mod client;
pub mod disk;
mod dump;
pub mod faults;
pub mod history;
pub mod model;
pub mod network;
pub mod node;
pub mod random;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod world;

pub use faults::{Fault, Faults};
pub use node::Sabotage;
pub use world::{Failure, Report, SimOptions, World};
