//! One metric per key: per top-level path, or per learner.
//!
//! Keys come from clients (the first component of a path), so their number is bounded: what arrives after
//! [`KEYS_MAX`] keys is counted under [`OVERFLOW_KEY`]. Java has no bound; a client that makes a million
//! top-level znodes there makes a million series, each time anybody scrapes.

use crate::ids::HashMap;

/// Most keys that one set keeps.
pub const KEYS_MAX: usize = 256;
/// What the rest is counted under. It holds a slash, so no path component can be it.
pub const OVERFLOW_KEY: &str = "other/";

/// Metrics of one name, told apart by a key.
#[derive(Clone, Debug, Default)]
pub struct Keyed<T> {
    by_key: HashMap<Box<str>, T>,
}

impl<T: Default> Keyed<T> {
    /// The metric of `key`, made if it is new.
    pub fn of(&mut self, key: &str) -> &mut T {
        // Two look-ups on the hit path would be the price of the entry API, which wants an owned key.
        let key =
            if self.by_key.len() < KEYS_MAX || self.by_key.contains_key(key) { key } else { OVERFLOW_KEY };
        if !self.by_key.contains_key(key) {
            self.by_key.insert(key.into(), T::default());
        }
        self.by_key.get_mut(key).expect("inserted above if it was missing")
    }

    pub fn clear(&mut self) {
        self.by_key.clear();
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_key.values_mut()
    }

    /// All keys in alphabetical order.
    pub fn sorted(&self) -> Vec<(&str, &T)> {
        let mut all: Vec<_> = self.by_key.iter().map(|(key, value)| (&**key, value)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

/// The key of `path` in sets by top-level path: `/a/b` counts for `a`. The root has none
/// (`PathUtils.getTopNamespace`).
pub fn namespace_of(path: &str) -> Option<&str> {
    let top = path.strip_prefix('/')?.split('/').next()?;
    (!top.is_empty()).then_some(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_for_its_first_component_and_the_root_for_none() {
        assert_eq!(namespace_of("/a"), Some("a"));
        assert_eq!(namespace_of("/a/b/c"), Some("a"));
        assert_eq!(namespace_of("/"), None);
        assert_eq!(namespace_of(""), None);
    }

    #[test]
    fn keys_beyond_the_bound_share_one() {
        let mut set = Keyed::<u64>::default();
        for i in 0..10_000 {
            *set.of(&format!("{i}")) += 1;
        }
        *set.of("0") += 1;
        let all = set.sorted();
        assert_eq!(all.len(), KEYS_MAX + 1);
        assert_eq!(all.iter().map(|(_, n)| **n).sum::<u64>(), 10_001);
        assert!(all.contains(&("0", &2)));
        assert!(all.contains(&(OVERFLOW_KEY, &(10_000 - KEYS_MAX as u64))));
    }
}
