//! Serval: Apache ZooKeeper as one small native daemon.
//!
//! The code map, in reading order; a module may use only those before it:
//!
//! 1. [`ids`], [`time`]: the numbers that everything is about.
//! 2. [`wire`]: bytes to values and back, no state. [`metrics`]: what is counted, by operation too.
//! 3. [`tree`]: the replicated state. [`storage`]: what survives.
//! 4. [`session`]: who is alive. [`auth`]: who may do what. [`admin`]: what an operator reads.
//! 5. [`pipeline`]: from a request to its transaction. [`quorum`]: who is in the ensemble, and who leads it.
//!    [`state`]: what the files hold, made into a tree.
//! 6. [`server`]: clients, sessions and the tree composed; bytes and time in, bytes and log entries out.
//!    [`member`]: a server in an ensemble.
//! 7. [`reactor`]: the real shell around it: sockets, files, clocks, helper threads.
//!    [`sim`]: another one, where network, disks and time come from a seed.
//! 8. [`config`], [`args`], [`version`], [`daemon`]: from a zoo.cfg to a serving process.
//! 9. [`cli`]: the interactive client; a program of its own.

pub mod admin;
pub mod args;
pub mod auth;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod ids;
pub mod member;
pub mod metrics;
pub mod pipeline;
pub mod quorum;
pub mod reactor;
pub mod server;
pub mod session;
pub mod sim;
pub mod state;
pub mod storage;
pub mod time;
pub mod tree;
pub mod version;
pub mod wire;
