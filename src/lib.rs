//! Serval: Apache ZooKeeper as one small native daemon.
//!
//! The code map, in reading order; a module may use only those before it:
//!
//! 1. [`ids`], [`time`]: the numbers that everything is about.
//! 2. [`wire`]: bytes to values and back, no state. [`metrics`]: what is counted, by operation too.
//! 3. [`tree`]: the replicated state. [`storage`]: what survives.
//! 4. [`session`]: who is alive. [`auth`]: who may do what.
//! 5. [`admin`]: what an operator reads.
//! 6. [`cli`]: the interactive client; a program of its own.

pub mod admin;
pub mod args;
pub mod auth;
pub mod cli;
pub mod config;
pub mod ids;
pub mod metrics;
pub mod session;
pub mod storage;
pub mod time;
pub mod tree;
pub mod version;
pub mod wire;
