//! What the server says it is.
//!
//! Clients and dashboards read a version of ZooKeeper out of `srvr`, `mntr` and the HTTP commands, and choose
//! features by it: kazoo, the exporters and the Kubernetes operators all parse `major.minor.micro`, and
//! Java's own form also has `[-qualifier]-<commit>` behind it. So the version is the one that Serval is
//! compatible with, "serval" is the qualifier, and the commit is Serval's.

/// The release of Apache ZooKeeper whose behaviour this is.
pub const ZOOKEEPER: &str = "3.9.4";

/// Serval's own version.
pub const SERVAL: &str = env!("CARGO_PKG_VERSION");

/// The commit this was built from; all zeros where it is unknown (debug builds do not look).
pub const COMMIT: &str = env!("SERVAL_COMMIT");

/// When that commit was made, `YYYY-MM-DD HH:MM` in UTC: two builds of one commit say the same.
pub const DATE: &str = env!("SERVAL_DATE");

/// `3.9.4-serval-<commit>, built on <date> UTC`: what follows "Zookeeper version: " in `srvr`, and the value
/// of `zk_version` and `zookeeper.version`.
pub fn compatible() -> String {
    format!("{ZOOKEEPER}-serval-{COMMIT}, built on {DATE} UTC")
}

/// What `serval --version` prints.
pub fn own() -> String {
    format!("Serval {SERVAL} ({COMMIT}, {DATE} UTC), compatible with Apache ZooKeeper {ZOOKEEPER}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expression that Java's `VerGen` accepts, taken apart by hand.
    #[test]
    fn parsers_of_javas_version_line_understand_it() {
        let line = compatible();
        let (version, built) = line.split_once(", built on ").expect("two parts");
        let (numbers, rest) = version.split_once('-').expect("a qualifier");
        let numbers: Vec<u32> = numbers.split('.').map(|n| n.parse().expect("a number")).collect();
        assert_eq!(numbers, [3, 9, 4]);
        let (qualifier, commit) = rest.split_once('-').expect("a commit");
        assert!(qualifier.chars().all(|c| c.is_ascii_alphanumeric()), "{qualifier}");
        assert!(commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
        let built = built.strip_suffix(" UTC").expect("in UTC");
        let shape: String = built.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00");
    }
}
