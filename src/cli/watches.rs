//! Which watches this client has set, so that they outlive a connection.
//!
//! A server forgets watches with the connection. The client keeps the paths and sends them again with
//! `setWatches` (or `setWatches2`, if any is persistent) as soon as it is connected. All paths here are as
//! the server knows them, chroot included.

use std::collections::BTreeSet;

use crate::wire::jute;
use crate::wire::op::Op;

/// The lists of `setWatches2`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    Data,
    /// A data watch on a node that did not exist when it was set.
    Exist,
    Child,
    Persistent,
    PersistentRecursive,
}

const KINDS: [WatchKind; 5] = [
    WatchKind::Data,
    WatchKind::Exist,
    WatchKind::Child,
    WatchKind::Persistent,
    WatchKind::PersistentRecursive,
];

/// What `removewatches` takes off (`Watcher.WatcherType`); the numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum WatcherType {
    Children = 1,
    Data = 2,
    Any = 3,
    Persistent = 4,
    PersistentRecursive = 5,
}

/// Java's limit on the characters of one `setWatches` (`ClientCnxn.SET_WATCHES_MAX_LENGTH`): far below the
/// frame limit, so that a client with many watches can come back.
const BATCH_BYTES_MAX: usize = 128 * 1024;

/// The watches of one session.
#[derive(Debug, Default)]
pub struct Watches {
    paths: [BTreeSet<String>; KINDS.len()],
}

impl Watches {
    pub fn register(&mut self, kind: WatchKind, path: &str) {
        self.paths[kind as usize].insert(path.to_string());
    }

    /// An event uses up the one-shot watches that it fires; `event_type` as on the wire.
    pub fn fired(&mut self, event_type: i32, path: &str) {
        let used: &[WatchKind] = match event_type {
            1 | 3 => &[WatchKind::Data, WatchKind::Exist],
            2 => &[WatchKind::Data, WatchKind::Exist, WatchKind::Child],
            4 => &[WatchKind::Child],
            _ => &[],
        };
        for kind in used {
            self.paths[*kind as usize].remove(path);
        }
    }

    /// Forgets the watches of that type on exactly `path`. The names of the events that tell of it, in a
    /// fixed order (Java's is that of a hash map); empty if there was no such watch.
    pub fn unregister(&mut self, watcher_type: WatcherType, path: &str) -> Vec<&'static str> {
        let any = watcher_type == WatcherType::Any;
        let mut removed = |kinds: &[WatchKind]| {
            let found = kinds.iter().filter(|kind| self.paths[**kind as usize].remove(path)).count();
            found > 0
        };
        let mut events = Vec::new();
        if (any || watcher_type == WatcherType::Children) && removed(&[WatchKind::Child]) {
            events.push("ChildWatchRemoved");
        }
        if (any || watcher_type == WatcherType::Data) && removed(&[WatchKind::Data, WatchKind::Exist]) {
            events.push("DataWatchRemoved");
        }
        let persistent: &[WatchKind] = match watcher_type {
            WatcherType::Any => &[WatchKind::Persistent, WatchKind::PersistentRecursive],
            WatcherType::Persistent => &[WatchKind::Persistent],
            WatcherType::PersistentRecursive => &[WatchKind::PersistentRecursive],
            WatcherType::Children | WatcherType::Data => &[],
        };
        if removed(persistent) {
            events.push("PersistentWatchRemoved");
        }
        events
    }

    /// The requests that set all watches again, each with its record. `last_zxid` is the last change that the
    /// client knows of: the server fires at once what happened since.
    pub fn requests(&self, last_zxid: i64) -> Vec<(Op, Vec<u8>)> {
        let mut all =
            KINDS.iter().flat_map(|kind| self.paths[*kind as usize].iter().map(|path| (*kind, path)));
        let mut requests = Vec::new();
        loop {
            let mut batch: [Vec<&str>; KINDS.len()] = Default::default();
            let mut bytes = 0;
            while bytes < BATCH_BYTES_MAX
                && let Some((kind, path)) = all.next()
            {
                bytes += path.len();
                batch[kind as usize].push(path);
            }
            if bytes == 0 {
                return requests;
            }
            requests.push(encode(last_zxid, &batch));
        }
    }
}

fn encode(last_zxid: i64, batch: &[Vec<&str>; KINDS.len()]) -> (Op, Vec<u8>) {
    // Servers before 3.6 know only the older request, so it is used wherever it will do.
    let (op, lists) = if batch[3].is_empty() && batch[4].is_empty() {
        (Op::SetWatches, &batch[..3])
    } else {
        (Op::SetWatches2, &batch[..])
    };
    let mut record = Vec::new();
    jute::put_long(&mut record, last_zxid);
    for list in lists {
        jute::put_len(&mut record, list.len());
        for path in list {
            jute::put_string(&mut record, Some(path));
        }
    }
    (op, record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jute::{MAX_BUFFER_DEFAULT, Reader};
    use crate::wire::request::{Request, SetWatches};

    fn decoded(op: Op, record: &[u8]) -> SetWatches<'_> {
        match Request::read(op, &mut Reader::new(record, MAX_BUFFER_DEFAULT)) {
            Ok(Request::SetWatches(set)) => set,
            other => panic!("not a setWatches: {other:?}"),
        }
    }

    #[test]
    fn one_shot_watches_go_with_their_event_and_persistent_ones_stay() {
        let mut watches = Watches::default();
        watches.register(WatchKind::Data, "/a");
        watches.register(WatchKind::Child, "/a");
        watches.register(WatchKind::Persistent, "/a");
        watches.fired(3, "/a");
        let requests = watches.requests(9);
        assert_eq!(requests.len(), 1);
        let set = decoded(requests[0].0, &requests[0].1);
        assert_eq!((set.relative_zxid, set.data.len(), set.child.len(), set.persistent.len()), (9, 0, 1, 1));
        assert_eq!(
            watches.unregister(WatcherType::Any, "/a"),
            ["ChildWatchRemoved", "PersistentWatchRemoved"]
        );
        assert_eq!(watches.unregister(WatcherType::Any, "/a"), [""; 0]);
        assert!(watches.requests(9).is_empty());
    }

    #[test]
    fn without_persistent_watches_the_older_request_is_used() {
        let mut watches = Watches::default();
        watches.register(WatchKind::Exist, "/a");
        assert_eq!(watches.requests(1)[0].0, Op::SetWatches);
        watches.register(WatchKind::PersistentRecursive, "/a");
        assert_eq!(watches.requests(1)[0].0, Op::SetWatches2);
    }

    #[test]
    fn many_watches_are_sent_in_batches_that_lose_none() {
        let mut watches = Watches::default();
        for i in 0..5000 {
            watches.register(WatchKind::Data, &format!("/{i}{}", "x".repeat(100)));
        }
        let requests = watches.requests(1);
        assert!(requests.len() > 3);
        assert!(requests.iter().all(|(_, record)| record.len() < 2 * BATCH_BYTES_MAX));
        let sent: usize = requests.iter().map(|(op, record)| decoded(*op, record).data.len()).sum();
        assert_eq!(sent, 5000);
    }
}
