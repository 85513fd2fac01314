//! Quotas: limits and usage as text in nodes below /zookeeper/quota (`StatsTrack`, `Quotas`).
//!
//! A quota on P is there while /zookeeper/quota + P + /zookeeper_limits is. Usage is kept in the sibling
//! zookeeper_stats by each server for itself: no transaction, no version, no watch. The deepest quota above a path
//! counts, and only that one.

use super::path::split;
use super::store::Store;
use super::types::{QuotaUsage, QuotaVerdict};
use crate::ids::HashSet;

const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The paths that have a quota.
#[derive(Default)]
pub struct Quotas {
    paths: HashSet<Box<str>>,
}

impl Quotas {
    /// The quota that counts for `path`.
    fn deepest<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.paths.is_empty() {
            return None;
        }
        let mut prefix = path;
        while !prefix.is_empty() {
            if self.paths.contains(prefix) {
                return Some(prefix);
            }
            prefix = split(prefix)?.0;
        }
        None
    }

    /// A node has been created: perhaps one that makes a quota, perhaps one that a quota counts.
    pub fn created(&mut self, store: &mut Store, path: &str, bytes: usize) {
        match quota_node(path) {
            Some((of, LIMITS)) => {
                self.paths.insert(of.into());
            }
            Some((of, STATS)) => recount(store, of),
            _ => {}
        }
        self.changed(store, path, 1, bytes as i64);
    }

    pub fn deleted(&mut self, store: &mut Store, path: &str, bytes: usize) {
        if let Some((of, LIMITS)) = quota_node(path) {
            self.paths.remove(of);
        }
        self.changed(store, path, -1, -(bytes as i64));
    }

    /// Adds to the usage of the quota that counts for `path`.
    pub fn changed(&self, store: &mut Store, path: &str, count_diff: i64, bytes_diff: i64) {
        let Some(of) = self.deepest(path) else { return };
        let stats_path = format!("{QUOTA}{of}/{STATS}");
        let Some(id) = store.find(&stats_path) else { return };
        let mut track = Track::parse(store.data(id));
        track.count = track.count.wrapping_add(count_diff);
        track.bytes = track.bytes.wrapping_add(bytes_diff);
        store.set_data(id, &stats_path, Some(track.text().as_bytes()), |_| {});
    }

    /// Whether a change would pass the limits (`ZooKeeperServer.checkQuota`). Looks at applied state only.
    pub fn verdict(&self, store: &Store, path: &str, count_diff: i64, bytes_diff: i64) -> QuotaVerdict {
        let Some(of) = self.deepest(path) else { return QuotaVerdict::Ok };
        let track = |name| {
            let id = store.find(&format!("{QUOTA}{of}/{name}"))?;
            Some(Track::parse(store.data(id)))
        };
        let (Some(limits), Some(usage)) = (track(LIMITS), track(STATS)) else { return QuotaVerdict::Ok };
        let check = |diff: i64, usage: i64, soft: i64, hard: i64| {
            let limit = if hard > -1 { hard } else { soft };
            if diff == 0 || limit <= -1 || usage.saturating_add(diff) <= limit {
                QuotaVerdict::Ok
            } else if hard > -1 {
                QuotaVerdict::HardExceeded
            } else {
                QuotaVerdict::SoftExceeded
            }
        };
        let count = check(count_diff, usage.count, limits.count, limits.other("countHardLimit"));
        let bytes = check(bytes_diff, usage.bytes, limits.bytes, limits.other("byteHardLimit"));
        match (count, bytes) {
            (QuotaVerdict::HardExceeded, _) | (_, QuotaVerdict::HardExceeded) => QuotaVerdict::HardExceeded,
            (QuotaVerdict::SoftExceeded, _) | (_, QuotaVerdict::SoftExceeded) => QuotaVerdict::SoftExceeded,
            _ => QuotaVerdict::Ok,
        }
    }

    /// Finds the quotas of a loaded tree and counts anew what each one counts.
    pub fn rebuild(store: &mut Store) -> Quotas {
        let mut quotas = Quotas::default();
        for (of, _) in quota_nodes(store, LIMITS) {
            recount(store, &of);
            quotas.paths.insert(of.into());
        }
        quotas
    }

    /// Limits and usage, summed up by top-level node (`QuotaMetricsUtils`), sorted by name.
    pub fn usage(&self, store: &Store) -> Vec<QuotaUsage> {
        let mut all: Vec<QuotaUsage> = Vec::new();
        let mut add = |of: &str, add: &dyn Fn(&mut QuotaUsage)| {
            let namespace = of[1..].split('/').next().unwrap_or_default();
            let at = all.binary_search_by(|usage| usage.namespace.as_str().cmp(namespace));
            let at = at.unwrap_or_else(|at| {
                let namespace = namespace.to_owned();
                all.insert(at, QuotaUsage { namespace, count_limit: 0, bytes_limit: 0, count: 0, bytes: 0 });
                at
            });
            add(&mut all[at]);
        };
        for (of, id) in quota_nodes(store, LIMITS) {
            let track = Track::parse(store.data(id));
            let limit = |soft, hard| if hard > -1 { hard } else { soft };
            add(&of, &|usage| {
                usage.count_limit += limit(track.count, track.other("countHardLimit"));
                usage.bytes_limit += limit(track.bytes, track.other("byteHardLimit"));
            });
        }
        for (of, id) in quota_nodes(store, STATS) {
            let track = Track::parse(store.data(id));
            add(&of, &|usage| {
                usage.count += track.count;
                usage.bytes += track.bytes;
            });
        }
        all
    }
}

/// For a node below /zookeeper/quota: whose quota it would belong to, and its name. The root has none: "/" is not
/// supported, and Java dies of such a node (client-protocol.md 19).
fn quota_node(path: &str) -> Option<(&str, &str)> {
    let (of, name) = split(path.strip_prefix(QUOTA)?)?;
    (of.starts_with('/') && of.len() > 1).then_some((of, name))
}

/// All nodes of this name below /zookeeper/quota, with the path whose quota they belong to.
fn quota_nodes(store: &Store, name: &str) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let Some(top) = store.find(QUOTA) else { return found };
    let end = store.next_outside(top);
    let mut at = store.next_in_order(top);
    while at != end {
        if store.name(at) == name && store.children_count(at) == 0 {
            let path = store.path(at);
            if let Some((of, _)) = quota_node(&path) {
                found.push((of.to_owned(), at));
            }
        }
        at = store.next_in_order(at);
    }
    found
}

/// Sets the usage of the quota on `of` to what is there. This walks the subtree.
fn recount(store: &mut Store, of: &str) {
    let stats_path = format!("{QUOTA}{of}/{STATS}");
    let Some(id) = store.find(&stats_path) else { return };
    let mut track = Track { count: 0, bytes: 0, others: Vec::new() };
    if let Some(top) = store.find(of) {
        let end = store.next_outside(top);
        let mut at = top;
        while at != end {
            track.count += 1;
            track.bytes += store.node(at).data_len() as i64;
            at = store.next_in_order(at);
        }
    }
    store.set_data(id, &stats_path, Some(track.text().as_bytes()), |_| {});
}

/// The text of limits and stats nodes; -1 is "none".
struct Track {
    count: i64,
    bytes: i64,
    /// Sorted by key.
    others: Vec<(String, i64)>,
}

impl Track {
    /// Text that is not pairs of key and number reads as if it were not there; Java dies of it.
    fn parse(data: Option<&[u8]>) -> Track {
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        Track::parse_pairs(&text).unwrap_or(Track { count: -1, bytes: -1, others: Vec::new() })
    }

    fn parse_pairs(text: &str) -> Option<Track> {
        let mut track = Track { count: -1, bytes: -1, others: Vec::new() };
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => match track.others.binary_search_by(|(other, _)| other.as_str().cmp(key)) {
                    Ok(at) => track.others[at].1 = value,
                    Err(at) => track.others.insert(at, (key.to_owned(), value)),
                },
            }
        }
        Some(track)
    }

    fn other(&self, key: &str) -> i64 {
        self.others.iter().find(|(other, _)| other == key).map_or(-1, |(_, value)| *value)
    }

    /// The `=` before the first `;` makes parsers from before hard limits stop there.
    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        for (n, (key, value)) in self.others.iter().enumerate() {
            let separator = if n == 0 { "=;" } else { ";" };
            text.push_str(&format!("{separator}{key}={value}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_come_back_as_java_writes_them() {
        for text in ["count=5,bytes=-1", "count=2,bytes=-1=;byteHardLimit=10;countHardLimit=-1"] {
            assert_eq!(Track::parse(Some(text.as_bytes())).text(), text);
        }
        let track = Track::parse(Some(b"bytes=7;;,countHardLimit=3=x,count="));
        assert_eq!((track.count, track.bytes, track.other("countHardLimit")), (-1, 7, 3));
    }

    #[test]
    fn text_that_is_no_pairs_sets_no_limits() {
        for text in ["x", "count", "count=x", "=", "count=1,bytes=99999999999999999999"] {
            let track = Track::parse(Some(text.as_bytes()));
            assert_eq!((track.count, track.bytes), (-1, -1), "{text}");
        }
        assert_eq!(Track::parse(None).count, -1);
    }

    #[test]
    fn the_quota_of_the_root_and_look_alikes_are_none() {
        assert_eq!(quota_node("/zookeeper/quota/a/zookeeper_limits"), Some(("/a", LIMITS)));
        assert_eq!(quota_node("/zookeeper/quota/zookeeper_limits"), None);
        assert_eq!(quota_node("/zookeeper/quotas/a/zookeeper_limits"), None);
        assert_eq!(quota_node("/zookeeper/z/zookeeper_limits"), None);
    }
}
