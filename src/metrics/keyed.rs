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
    values: Vec<(Box<str>, T)>,
    /// Where each key is in `values`.
    places: HashMap<Box<str>, usize>,
    /// The place that was asked for last: requests for one subtree come in rows, and comparing a short key is cheaper
    /// than hashing it.
    last: usize,
}

impl<T: Default> Keyed<T> {
    /// The metric of `key`, made if it is new.
    #[inline]
    pub fn of(&mut self, key: &str) -> &mut T {
        if self.values.get(self.last).is_none_or(|(last, _)| **last != *key) {
            self.last = self.place_of(key);
        }
        &mut self.values[self.last].1
    }

    fn place_of(&mut self, key: &str) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        if self.values.len() >= KEYS_MAX && key != OVERFLOW_KEY {
            return self.place_of(OVERFLOW_KEY);
        }
        let place = self.values.len();
        self.values.push((key.into(), T::default()));
        self.places.insert(key.into(), place);
        place
    }

    pub fn clear(&mut self) {
        *self = Keyed::default();
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().map(|(_, value)| value)
    }

    /// All keys in alphabetical order.
    pub fn sorted(&self) -> Vec<(&str, &T)> {
        let mut all: Vec<_> = self.values.iter().map(|(key, value)| (&**key, value)).collect();
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
