//! Which ZooKeeper this server says it is.
//!
//! Monitoring tools and clients read `major.minor.micro` from the version line and decide by it what the server can do, so the
//! number is that of the Apache release whose behaviour Serval has; Serval's own version follows as its qualifier.

/// The Apache ZooKeeper release whose protocol and behaviour this is.
pub const ZOOKEEPER_RELEASE: &str = "3.9.4";

/// As `zk_version`, `srvr` and `envi` print it: `3.9.4-serval-0.1.0-<commit>, built on <time> UTC`.
pub fn full_version() -> String {
    format!("{}, built on {BUILT}", revision())
}

/// The same without the time: `version` of the HTTP command `server_stats`.
pub fn revision() -> String {
    format!("{ZOOKEEPER_RELEASE}-serval-{}-{COMMIT}", env!("CARGO_PKG_VERSION"))
}

/// The distribution script sets both; a plain `cargo build` is reproducible and knows neither.
const COMMIT: &str = match option_env!("SERVAL_COMMIT") {
    Some(commit) => commit,
    None => "source",
};
const BUILT: &str = match option_env!("SERVAL_BUILD_TIME") {
    Some(time) => time,
    None => "2026-11-22 00:00 UTC",
};
