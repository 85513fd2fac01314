//! Who is to be told when a path changes.
//!
//! Two tables, data and child. A watch is one connection's interest in one path in one table, with the set of
//! modes it has there; it is a 32-byte record on two lists, its path's and its connection's. A path is kept once
//! for all its watches. Both are found through an incremental hash index, so a million watches more or less
//! stop nobody. Most writes hit a path that nobody watches: that costs one look-up, and none at all in an empty
//! table.
//!
//! # Invariants
//!
//! 1. A watch has at least one mode; without one it is removed, and its path with its last watch.
//! 2. On a path's list the watches with PERSISTENT_RECURSIVE come first: for an event below, the rest is not looked at.
//! 3. There is at most one watch for a (table, path, connection).

use std::hash::{BuildHasher, Hasher};

use super::arena::{Arena, Record};
use super::blob::{BlobRef, Blobs};
use super::index::Index;
use crate::wire::reply::EventType;

/// The server's connection slot. Small numbers: there is a record for each up to the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Data = 0,
    Child = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// Gone after one event.
    Standard = 1,
    Persistent = 2,
    /// Also for everything below; only in the data table.
    PersistentRecursive = 4,
}

/// The types of checkWatches and removeWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatcherType {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

impl WatcherType {
    pub fn from_code(code: i32) -> Option<WatcherType> {
        Some(match code {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 => WatcherType::Persistent,
            5 => WatcherType::PersistentRecursive,
            _ => return None,
        })
    }
}

/// Figures of `wchs`, of the data table alone as in Java.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: usize,
    pub paths: usize,
    pub total: usize,
}

const TABLES: [Table; 2] = [Table::Data, Table::Child];
const RECURSIVE: u8 = WatchMode::PersistentRecursive as u8;
const STANDARD: u8 = WatchMode::Standard as u8;
const ANY_MODE: u8 = 7;

/// A path and its watches, one list a table. Links are slots, 0 for none.
struct Path {
    text: BlobRef,
    /// In bytes.
    len: u32,
    first: [u32; 2],
    count: [u32; 2],
}

struct Watch {
    path: u32,
    watcher: u32,
    /// Neighbours on the path's list; the first one's `prev` is the last one.
    next: u32,
    prev: u32,
    /// Neighbours on the connection's list.
    next_own: u32,
    prev_own: u32,
    modes: u8,
    table: u8,
}

/// A connection.
#[derive(Clone, Copy, Default)]
struct Watcher {
    first: u32,
    /// Watches in the data table.
    data: u32,
    /// The event that this connection was hit by last: it is told of each once.
    hit_by: u64,
}

const _: () = assert!(size_of::<Path>() == 24);
const _: () = assert!(size_of::<Watch>() == 28);

#[derive(Default)]
pub struct Watches {
    paths: Arena<Path>,
    path_index: Index,
    texts: Blobs,
    watches: Arena<Watch>,
    watch_index: Index,
    watchers: Vec<Watcher>,
    /// Watches in each table.
    totals: [usize; 2],
    recursive: usize,
    /// Connections and paths with watches in the data table.
    data_connections: usize,
    data_paths: usize,
    events: u64,
}

impl Watches {
    pub fn new() -> Watches {
        Watches::default()
    }

    /// Sets a mode; setting it twice is once.
    pub fn add(&mut self, table: Table, path: &str, id: WatcherId, mode: WatchMode) {
        debug_assert!(mode != WatchMode::PersistentRecursive || table == Table::Data);
        let path_slot = self.find_path(path).unwrap_or_else(|| self.new_path(path));
        let slot = match self.find_watch(table, path_slot, id) {
            Some(slot) => slot,
            None => self.new_watch(table, path_slot, id),
        };
        self.set_modes(slot, self.watches[slot].modes | mode as u8);
    }

    /// Appends the connections to notify: those on the path in the order of their watches, then the recursive
    /// ones of its ancestors, the nearest first; each connection once. NodeDeleted asks both tables, data first.
    pub fn fire(&mut self, event: EventType, path: &str, hits: &mut Vec<WatcherId>) {
        self.events += 1;
        let tables = match event {
            EventType::NodeCreated | EventType::NodeDataChanged => &TABLES[..1],
            EventType::NodeChildrenChanged => &TABLES[1..],
            EventType::NodeDeleted => &TABLES[..],
        };
        if tables.iter().all(|table| self.totals[*table as usize] == 0) {
            return;
        }
        let found = self.find_path(path);
        for table in tables {
            if let Some(slot) = found {
                self.hit_exact(*table, slot, hits);
            }
            if *table == Table::Data && self.recursive > 0 {
                self.hit_ancestors(path, hits);
            }
        }
        if let Some(slot) = found {
            self.drop_if_unwatched(slot);
        }
    }

    /// Removes all watches of a connection. The cost is theirs.
    pub fn remove_watcher(&mut self, id: WatcherId) {
        while let Some(slot) = self.first_of(id) {
            let path = self.watches[slot].path;
            self.set_modes(slot, 0);
            self.drop_if_unwatched(path);
        }
    }

    /// Whether checkWatches succeeds (3.9's rules).
    pub fn contains(&self, path: &str, id: WatcherId, kind: WatcherType) -> bool {
        let Some(path) = self.find_path(path) else { return false };
        let has = |table, modes| {
            self.find_watch(table, path, id).is_some_and(|slot| self.watches[slot].modes & modes != 0)
        };
        match kind {
            WatcherType::Children => has(Table::Child, STANDARD),
            WatcherType::Data => has(Table::Data, STANDARD),
            WatcherType::Any => has(Table::Child, ANY_MODE) || has(Table::Data, ANY_MODE),
            WatcherType::Persistent => has(Table::Data, WatchMode::Persistent as u8),
            WatcherType::PersistentRecursive => has(Table::Data, RECURSIVE),
        }
    }

    /// Removes what removeWatches names; true if there was any of it (3.9's rules).
    pub fn remove(&mut self, path: &str, id: WatcherId, kind: WatcherType) -> bool {
        let Some(path) = self.find_path(path) else { return false };
        let (child, data) = match kind {
            WatcherType::Children => (STANDARD, 0),
            WatcherType::Data => (0, STANDARD),
            WatcherType::Any => (ANY_MODE, ANY_MODE),
            WatcherType::Persistent => (WatchMode::Persistent as u8, WatchMode::Persistent as u8),
            WatcherType::PersistentRecursive => (0, RECURSIVE),
        };
        let mut removed = false;
        for (table, modes) in [(Table::Child, child), (Table::Data, data)] {
            if let Some(slot) = self.find_watch(table, path, id) {
                let old = self.watches[slot].modes;
                removed |= old & modes != 0;
                self.set_modes(slot, old & !modes);
            }
        }
        self.drop_if_unwatched(path);
        removed
    }

    /// `zk_watch_count`: watches in both tables.
    pub fn count(&self) -> usize {
        self.totals[0] + self.totals[1]
    }

    /// True if no event can hit anybody.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub fn summary(&self) -> WatchSummary {
        WatchSummary { connections: self.data_connections, paths: self.data_paths, total: self.totals[0] }
    }

    /// `wchc`: each connection with the paths it watches in the data table.
    pub fn by_connection(&self) -> impl Iterator<Item = (WatcherId, Vec<&str>)> {
        self.watchers.iter().enumerate().filter(|(_, watcher)| watcher.data > 0).map(|(id, watcher)| {
            let own = self.chain(watcher.first, |watch| watch.next_own);
            let paths = own.filter(|watch| watch.table == Table::Data as u8);
            (WatcherId(id as u32), paths.map(|watch| self.text(watch.path)).collect())
        })
    }

    /// `wchp`: each path of the data table with the connections that watch it.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<WatcherId>)> {
        self.paths.slots().filter(|slot| self.paths[*slot].count[0] > 0).map(|slot| {
            let all = self.chain(self.paths[slot].first[0], |watch| watch.next);
            (self.text(slot), all.map(|watch| WatcherId(watch.watcher)).collect())
        })
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.paths.memory()
            + self.path_index.memory()
            + self.texts.memory()
            + self.watches.memory()
            + self.watch_index.memory()
            + self.watchers.capacity() * size_of::<Watcher>()
    }

    // ---- Firing ----

    fn hit_exact(&mut self, table: Table, path: u32, hits: &mut Vec<WatcherId>) {
        let mut next = self.paths[path].first[table as usize];
        while next != 0 {
            let slot = next;
            let Watch { watcher, modes, .. } = self.watches[slot];
            next = self.watches[slot].next;
            self.hit(watcher, hits);
            if modes & STANDARD != 0 {
                self.set_modes(slot, modes & !STANDARD);
            }
        }
    }

    fn hit_ancestors(&mut self, path: &str, hits: &mut Vec<WatcherId>) {
        let mut at = path;
        while let Some((parent, name)) = at.rsplit_once('/') {
            if parent.is_empty() && name.is_empty() {
                return;
            }
            at = parent;
            let parent = if parent.is_empty() { "/" } else { parent };
            let Some(slot) = self.find_path(parent) else { continue };
            let mut next = self.paths[slot].first[0];
            while next != 0 && self.watches[next].modes & RECURSIVE != 0 {
                self.hit(self.watches[next].watcher, hits);
                next = self.watches[next].next;
            }
        }
    }

    fn hit(&mut self, watcher: u32, hits: &mut Vec<WatcherId>) {
        let entry = &mut self.watchers[watcher as usize];
        if entry.hit_by != self.events {
            entry.hit_by = self.events;
            hits.push(WatcherId(watcher));
        }
    }

    // ---- Records ----

    fn first_of(&self, id: WatcherId) -> Option<u32> {
        self.watchers.get(id.0 as usize).map(|watcher| watcher.first).filter(|slot| *slot != 0)
    }

    fn chain(&self, first: u32, next: impl Fn(&Watch) -> u32) -> impl Iterator<Item = &Watch> {
        let mut at = first;
        std::iter::from_fn(move || {
            let watch = (at != 0).then(|| &self.watches[at])?;
            at = next(watch);
            Some(watch)
        })
    }

    fn text(&self, path: u32) -> &str {
        std::str::from_utf8(text_of(&self.paths, &self.texts, path)).expect("paths were strings")
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        let path = path.as_bytes();
        self.path_index.find(hash_path(path), |slot| text_of(&self.paths, &self.texts, slot) == path)
    }

    fn new_path(&mut self, path: &str) -> u32 {
        let bytes = path.as_bytes();
        let text = self.texts.alloc(bytes.len());
        self.texts.get_mut(text, bytes.len()).copy_from_slice(bytes);
        let len = u32::try_from(bytes.len()).expect("lengths are bounded by the frame limit");
        let slot = self.paths.add(Path { text, len, first: [0; 2], count: [0; 2] });
        let Watches { paths, texts, path_index, .. } = self;
        path_index.insert(hash_path(bytes), slot, |slot| hash_path(text_of(paths, texts, slot)));
        slot
    }

    fn drop_if_unwatched(&mut self, path: u32) {
        let Path { text, len, count: [0, 0], .. } = self.paths[path] else { return };
        self.path_index.remove(hash_path(text_of(&self.paths, &self.texts, path)), path);
        self.texts.free(text, len as usize);
        self.paths.remove(path);
    }

    fn find_watch(&self, table: Table, path: u32, id: WatcherId) -> Option<u32> {
        self.watch_index.find(hash_watch(table as u8, path, id.0), |slot| {
            let watch = &self.watches[slot];
            watch.path == path && watch.watcher == id.0 && watch.table == table as u8
        })
    }

    /// A watch without modes yet, at the end of its path's list.
    fn new_watch(&mut self, table: Table, path: u32, id: WatcherId) -> u32 {
        let at = id.0 as usize;
        if at >= self.watchers.len() {
            self.watchers.resize(at + 1, Watcher::default());
        }
        let first = std::mem::take(&mut self.watchers[at].first);
        let table = table as u8;
        let slot = self.watches.add(Watch {
            path,
            watcher: id.0,
            next: 0,
            prev: 0,
            next_own: first,
            prev_own: 0,
            modes: 0,
            table,
        });
        if first != 0 {
            self.watches[first].prev_own = slot;
        }
        let watcher = &mut self.watchers[at];
        watcher.first = slot;
        if table == 0 {
            self.data_connections += usize::from(watcher.data == 0);
            watcher.data += 1;
            self.data_paths += usize::from(self.paths[path].count[0] == 0);
        }
        self.link(slot);
        self.totals[usize::from(table)] += 1;
        let Watches { watches, watch_index, .. } = self;
        watch_index.insert(hash_watch(table, path, id.0), slot, |slot| {
            let watch = &watches[slot];
            hash_watch(watch.table, watch.path, watch.watcher)
        });
        slot
    }

    /// Gives a watch its modes, and its place on the path's list; without modes it goes. The path stays.
    fn set_modes(&mut self, slot: u32, modes: u8) {
        let old = std::mem::replace(&mut self.watches[slot].modes, modes);
        if (old ^ modes) & RECURSIVE != 0 {
            self.recursive =
                self.recursive + usize::from(modes & RECURSIVE != 0) - usize::from(old & RECURSIVE != 0);
            self.unlink(slot);
            self.link(slot);
        }
        if modes == 0 {
            self.remove_watch(slot);
        }
    }

    fn remove_watch(&mut self, slot: u32) {
        self.unlink(slot);
        let Watch { path, watcher: id, next_own, prev_own, table, .. } = self.watches[slot];
        let watcher = &mut self.watchers[id as usize];
        if prev_own == 0 {
            watcher.first = next_own;
        } else {
            self.watches[prev_own].next_own = next_own;
        }
        if next_own != 0 {
            self.watches[next_own].prev_own = prev_own;
        }
        if table == 0 {
            watcher.data -= 1;
            self.data_connections -= usize::from(watcher.data == 0);
            self.data_paths -= usize::from(self.paths[path].count[0] == 0);
        }
        self.totals[usize::from(table)] -= 1;
        self.watch_index.remove(hash_watch(table, path, id), slot);
        self.watches.remove(slot);
    }

    /// Puts a watch on its path's list: in front if it is recursive, else at the end.
    fn link(&mut self, slot: u32) {
        let Watch { path, modes, table, .. } = self.watches[slot];
        let path = &mut self.paths[path];
        path.count[usize::from(table)] += 1;
        let first = &mut path.first[usize::from(table)];
        let old = *first;
        if old == 0 {
            *first = slot;
            (self.watches[slot].prev, self.watches[slot].next) = (slot, 0);
            return;
        }
        let last = std::mem::replace(&mut self.watches[old].prev, slot);
        if modes & RECURSIVE != 0 {
            *first = slot;
            (self.watches[slot].prev, self.watches[slot].next) = (last, old);
        } else {
            self.watches[last].next = slot;
            (self.watches[slot].prev, self.watches[slot].next) = (last, 0);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Watch { path, next, prev, table, .. } = self.watches[slot];
        let path = &mut self.paths[path];
        path.count[usize::from(table)] -= 1;
        let first = &mut path.first[usize::from(table)];
        let old = *first;
        if old == slot {
            *first = next;
        } else {
            self.watches[prev].next = next;
        }
        // The successor's `prev`; without one, the first watch's, which names the last.
        if next != 0 {
            self.watches[next].prev = prev;
        } else if old != slot {
            self.watches[old].prev = prev;
        }
    }
}

impl Record for Path {
    fn free(next: u32) -> Path {
        Path { text: BlobRef::NONE, len: 0, first: [next, 0], count: [0; 2] }
    }

    fn next_free(&self) -> u32 {
        self.first[0]
    }
}

impl Record for Watch {
    fn free(next: u32) -> Watch {
        Watch { path: 0, watcher: 0, next, prev: 0, next_own: 0, prev_own: 0, modes: 0, table: 0 }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}

fn text_of<'a>(paths: &Arena<Path>, texts: &'a Blobs, slot: u32) -> &'a [u8] {
    let path = &paths[slot];
    texts.get(path.text, path.len as usize)
}

fn hasher() -> impl Hasher {
    foldhash::fast::FixedState::with_seed(0x5e72_7761).build_hasher()
}

fn hash_path(path: &[u8]) -> u64 {
    let mut hasher = hasher();
    hasher.write(path);
    hasher.finish()
}

fn hash_watch(table: u8, path: u32, watcher: u32) -> u64 {
    let mut hasher = hasher();
    hasher.write_u64(u64::from(path) << 32 | u64::from(watcher));
    hasher.write_u8(table);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use EventType::*;
    use WatchMode::*;

    fn fire(watches: &mut Watches, event: EventType, path: &str) -> Vec<u32> {
        let mut hits = Vec::new();
        watches.fire(event, path, &mut hits);
        hits.into_iter().map(|id| id.0).collect()
    }

    fn id(n: u32) -> WatcherId {
        WatcherId(n)
    }

    #[test]
    fn a_standard_watch_fires_once_and_a_persistent_one_stays() {
        let mut w = Watches::new();
        w.add(Table::Data, "/a", id(1), Standard);
        w.add(Table::Data, "/a", id(2), Persistent);
        w.add(Table::Data, "/a", id(1), Standard);
        assert_eq!(w.count(), 2);
        assert_eq!(fire(&mut w, NodeChildrenChanged, "/a"), [0; 0]);
        assert_eq!(fire(&mut w, NodeDataChanged, "/a"), [1, 2]);
        assert_eq!(fire(&mut w, NodeDataChanged, "/a"), [2]);
        assert_eq!(w.count(), 1);
    }

    #[test]
    fn a_deletion_is_told_once_to_those_with_data_and_child_watches() {
        let mut w = Watches::new();
        w.add(Table::Data, "/a", id(1), Standard);
        w.add(Table::Child, "/a", id(1), Standard);
        w.add(Table::Child, "/a", id(2), Standard);
        assert_eq!(fire(&mut w, NodeDeleted, "/a"), [1, 2]);
        assert!(w.is_empty());
        assert_eq!(w.summary(), WatchSummary::default());
    }

    #[test]
    fn a_recursive_watch_hears_of_everything_below_but_not_of_children_changing() {
        let mut w = Watches::new();
        w.add(Table::Data, "/a", id(1), PersistentRecursive);
        w.add(Table::Data, "/", id(2), PersistentRecursive);
        w.add(Table::Data, "/a/b/c", id(2), Standard);
        assert_eq!(fire(&mut w, NodeCreated, "/a"), [1, 2]);
        assert_eq!(fire(&mut w, NodeDataChanged, "/a/b/c"), [2, 1]);
        assert_eq!(fire(&mut w, NodeDeleted, "/a/b/c"), [1, 2]);
        assert_eq!(fire(&mut w, NodeDataChanged, "/ab"), [2]);
        assert_eq!(fire(&mut w, NodeDataChanged, "/"), [2]);
        assert_eq!(fire(&mut w, NodeChildrenChanged, "/a"), [0; 0]);
    }

    #[test]
    fn modes_on_one_path_are_independent() {
        let mut w = Watches::new();
        w.add(Table::Data, "/a", id(1), Persistent);
        w.add(Table::Child, "/a", id(1), Persistent);
        w.add(Table::Data, "/a", id(1), Standard);
        w.add(Table::Data, "/a", id(1), PersistentRecursive);
        assert!(w.contains("/a", id(1), WatcherType::Data));
        assert!(!w.contains("/a", id(1), WatcherType::Children));
        assert!(w.contains("/a", id(1), WatcherType::Persistent));
        assert!(!w.contains("/a", id(2), WatcherType::Any));
        assert!(w.remove("/a", id(1), WatcherType::PersistentRecursive));
        assert!(!w.remove("/a", id(1), WatcherType::PersistentRecursive));
        assert!(!w.remove("/a", id(1), WatcherType::Children));
        assert_eq!(fire(&mut w, NodeDataChanged, "/a"), [1]);
        assert!(!w.contains("/a", id(1), WatcherType::Data));
        assert!(w.remove("/a", id(1), WatcherType::Persistent));
        assert!(!w.remove("/a", id(1), WatcherType::Any) && w.is_empty());
    }

    #[test]
    fn summaries_are_of_the_data_table() {
        let mut w = Watches::new();
        w.add(Table::Data, "/a", id(1), Standard);
        w.add(Table::Data, "/b", id(1), Standard);
        w.add(Table::Data, "/a", id(2), Standard);
        w.add(Table::Child, "/c", id(3), Standard);
        assert_eq!(w.summary(), WatchSummary { connections: 2, paths: 2, total: 3 });
        assert_eq!(w.count(), 4);
        let by_path: BTreeMap<_, _> = w.by_path().collect();
        assert_eq!(by_path, BTreeMap::from([("/a", vec![id(1), id(2)]), ("/b", vec![id(1)])]));
        let by_connection: BTreeMap<_, _> = w.by_connection().collect();
        assert_eq!(by_connection, BTreeMap::from([(id(1), vec!["/b", "/a"]), (id(2), vec!["/a"])]));
        w.remove_watcher(id(1));
        assert_eq!(w.summary(), WatchSummary { connections: 1, paths: 1, total: 1 });
        w.remove_watcher(id(2));
        w.remove_watcher(id(3));
        w.remove_watcher(id(77));
        assert!(w.is_empty() && w.paths.len() == 0 && w.watches.len() == 0);
    }

    /// What `WatchManager` does, with a map for each table.
    #[derive(Default)]
    struct Naive([BTreeMap<(String, u32), u8>; 2]);

    impl Naive {
        fn fire(&mut self, event: EventType, path: &str) -> Vec<u32> {
            let tables: &[usize] = match event {
                NodeCreated | NodeDataChanged => &[0],
                NodeChildrenChanged => &[1],
                NodeDeleted => &[0, 1],
            };
            let mut hits = Vec::new();
            for table in tables {
                self.0[*table].retain(|(on, watcher), modes| {
                    let below = on == "/" || path.starts_with(&format!("{on}/"));
                    if on == path || (*modes & 4 != 0 && below) {
                        hits.push(*watcher);
                    }
                    if on == path {
                        *modes &= !1;
                    }
                    *modes != 0
                });
            }
            hits.sort_unstable();
            hits.dedup();
            hits
        }
    }

    proptest! {
        #[test]
        fn watches_do_what_a_map_would(
            ops in proptest::collection::vec(
                (0u8..8, prop_oneof!["(/[ab]){1,3}", Just("/".to_owned())], 0u32..6, 0u8..6), 1..300
            )
        ) {
            let (mut w, mut naive) = (Watches::new(), Naive::default());
            for (what, path, watcher, kind) in ops {
                match what {
                    0..=2 => {
                        let (table, mode) = [
                            (Table::Data, Standard),
                            (Table::Child, Standard),
                            (Table::Data, Persistent),
                            (Table::Child, Persistent),
                            (Table::Data, PersistentRecursive),
                            (Table::Data, PersistentRecursive),
                        ][usize::from(kind)];
                        w.add(table, &path, id(watcher), mode);
                        *naive.0[table as usize].entry((path, watcher)).or_default() |= mode as u8;
                    }
                    3 => {
                        w.remove_watcher(id(watcher));
                        naive.0.iter_mut().for_each(|table| table.retain(|key, _| key.1 != watcher));
                    }
                    4 => {
                        let kind = WatcherType::from_code(i32::from(kind.max(1))).unwrap();
                        let had = w.contains(&path, id(watcher), kind);
                        let removed = w.remove(&path, id(watcher), kind);
                        prop_assert!(removed || !had);
                        let (data, child) = match kind {
                            WatcherType::Children => (0, 1),
                            WatcherType::Data => (1, 0),
                            WatcherType::Any => (7, 7),
                            WatcherType::Persistent => (2, 2),
                            WatcherType::PersistentRecursive => (4, 0),
                        };
                        let mut expected = false;
                        for (table, mask) in naive.0.iter_mut().zip([data, child]) {
                            if let Some(modes) = table.get_mut(&(path.clone(), watcher)) {
                                expected |= *modes & mask != 0;
                                *modes &= !mask;
                            }
                            table.retain(|_, modes| *modes != 0);
                        }
                        prop_assert_eq!(removed, expected);
                    }
                    _ => {
                        let event = [NodeCreated, NodeDeleted, NodeDataChanged, NodeChildrenChanged]
                            [usize::from(kind) % 4];
                        let mut hits = fire(&mut w, event, &path);
                        hits.sort_unstable();
                        prop_assert_eq!(hits, naive.fire(event, &path));
                    }
                }
                prop_assert_eq!(w.count(), naive.0[0].len() + naive.0[1].len());
                let mut expected: Vec<_> = naive.0[0].keys().cloned().collect();
                let mut found: Vec<_> = w
                    .by_path()
                    .flat_map(|(path, ids)| ids.into_iter().map(move |id| (path.to_owned(), id.0)))
                    .collect();
                found.sort();
                expected.sort();
                prop_assert_eq!(&found, &expected);
                let mut found: Vec<_> = w
                    .by_connection()
                    .flat_map(|(id, paths)| paths.into_iter().map(move |path| (path.to_owned(), id.0)))
                    .collect();
                found.sort();
                prop_assert_eq!(&found, &expected);
                let summary = w.summary();
                prop_assert_eq!(
                    (summary.connections, summary.paths, summary.total),
                    (w.by_connection().count(), w.by_path().count(), expected.len())
                );
            }
        }
    }
}
