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
