//! Watches.

use crate::wire::reply::EventType;

/// The server's connection slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Data,
    Child,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    Standard,
    Persistent,
    PersistentRecursive,
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

/// Figures of `wchs`, of the data table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: usize,
    pub paths: usize,
    pub total: usize,
}

#[derive(Default)]
pub struct Watches {}

impl Watches {
    pub fn new() -> Watches {
        Watches::default()
    }

    pub fn add(&mut self, _table: Table, _path: &str, _id: WatcherId, _mode: WatchMode) {}

    /// Appends the connections to notify, in Java's order, each at most once.
    pub fn fire(&mut self, _event: EventType, _path: &str, _hits: &mut Vec<WatcherId>) {}

    pub fn remove_watcher(&mut self, _id: WatcherId) {}

    pub fn contains(&self, _path: &str, _id: WatcherId, _kind: WatcherType) -> bool {
        false
    }

    pub fn remove(&mut self, _path: &str, _id: WatcherId, _kind: WatcherType) -> bool {
        false
    }

    /// `zk_watch_count`: entries of both tables.
    pub fn count(&self) -> usize {
        0
    }

    pub fn summary(&self) -> WatchSummary {
        WatchSummary::default()
    }

    /// `wchc`: each connection with the paths it watches in the data table.
    pub fn by_connection(&self) -> impl Iterator<Item = (WatcherId, Vec<&str>)> {
        std::iter::empty()
    }

    /// `wchp`: each path of the data table with the connections that watch it.
    pub fn by_path(&self) -> impl Iterator<Item = (&str, Vec<WatcherId>)> {
        std::iter::empty()
    }
}
