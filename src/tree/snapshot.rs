//! Writing the nodes of a snapshot in slices, while transactions are applied between the slices.
//!
//! Several may be made at a time: one to a file, and an image for each learner that needs one. Each has its cursor, which
//! walks the tree depth-first, parents before children. What it has passed is written as it was then,
//! what it has not is written as it is when the cursor arrives: a fuzzy snapshot, which replay of the log from the zxid
//! at its beginning makes exact (storage.md section 6). Removing the node that is next moves the cursor on.
//!
//! Nodes created after the beginning are left out: the log that is replayed has them. So a node that is deleted
//! and created again is not written twice, and clients that create quickly cannot keep a snapshot from ending.

use super::store::{ROOT, Store};
use crate::wire::jute;

/// A walk under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorId(usize);

/// Where a walk is; the tree keeps it valid.
#[derive(Default)]
pub struct Cursor {
    /// The node to be written next; 0 when all are.
    pub next: u32,
    /// The path of `next`, unless `moved`.
    path: String,
    /// `next` was changed from outside, so `path` is another node's.
    moved: bool,
    /// Nodes with a czxid above were created since the walk began.
    czxid_max: i64,
}

impl Cursor {
    /// Skips what is going away.
    pub fn move_to(&mut self, next: u32) {
        self.next = next;
        self.moved = true;
    }
}

impl CursorId {
    pub(super) fn end(self, store: &mut Store) {
        store.cursors.try_remove(self.0);
    }
}

impl Store {
    /// Begins a walk. `last_zxid` is the last one applied.
    pub fn snapshot_begin(&mut self, last_zxid: i64) -> CursorId {
        // A loaded tree may have nodes from after its last zxid (a fuzzy snapshot whose log was lost). The log does
        // not have those, so they must not be left out.
        let czxid_max = last_zxid.max(self.czxid_max());
        CursorId(self.cursors.insert(Cursor { next: ROOT, path: String::new(), moved: false, czxid_max }))
    }

    /// Appends node records until there are at least `bytes_max` bytes of them; true when all have been written, and
    /// the walk is over.
    pub fn snapshot_slice(&mut self, id: CursorId, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let Some(mut cursor) = self.cursors.get_mut(id.0).map(std::mem::take) else { return true };
        if std::mem::take(&mut cursor.moved) && cursor.next != 0 {
            cursor.path = self.path(cursor.next);
        }
        let end = out.len() + bytes_max;
        // Nodes that are left out cost time as well, so each counts as much as a small record.
        let mut skipped = 0;
        while cursor.next != 0 && out.len() + skipped < end {
            let node = cursor.next;
            if self.node(node).czxid > cursor.czxid_max {
                skipped += 64;
                self.step_over(&mut cursor);
            } else {
                self.write_record(node, &cursor.path, out);
                match self.first_child(node) {
                    0 => self.step_over(&mut cursor),
                    first => {
                        cursor.next = first;
                        self.enter(&mut cursor);
                    }
                }
            }
        }
        let done = cursor.next == 0;
        if done {
            self.cursors.remove(id.0);
        } else {
            self.cursors[id.0] = cursor;
        }
        done
    }

    /// A node is about to go: walks that come to it next go on behind it.
    pub fn move_cursors_off(&mut self, id: u32) {
        let next = self.next_outside(id);
        for (_, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| cursor.next == id) {
            cursor.move_to(next);
        }
    }

    fn write_record(&self, id: u32, path: &str, out: &mut Vec<u8>) {
        jute::put_string(out, Some(path));
        jute::put_buffer(out, self.data(id));
        jute::put_long(out, self.acls.stored_id(self.acl_slot(id)));
        self.stat(id).write(out);
    }

    fn enter(&self, cursor: &mut Cursor) {
        cursor.path.push('/');
        cursor.path.push_str(self.name(cursor.next));
    }

    /// Goes on behind the subtree of the node that is next.
    fn step_over(&self, cursor: &mut Cursor) {
        while cursor.next != ROOT {
            let node = *self.node(cursor.next);
            cursor.path.truncate(cursor.path.rfind('/').expect("only the root's path has no slash"));
            if node.next != 0 {
                cursor.next = node.next;
                return self.enter(cursor);
            }
            cursor.next = node.parent;
        }
        cursor.next = 0;
    }
}
