//! Serval: Apache ZooKeeper as one small native daemon.

pub mod wire;
