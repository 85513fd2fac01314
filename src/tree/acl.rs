//! ACL lists, each distinct one kept once (`ReferenceCountedACLCache`).
//!
//! Lists are compared as the bytes they have on the wire: order and duplicates matter, as in Java. A node stores
//! the slot of its list. The id that snapshots store is another number, one that is never used twice.
//!
//! # Invariants
//!
//! 1. Slot 0 is the open list with id -1, which has no entry in snapshots and is never released. The same list asked
//!    for by a client gets a slot and id of its own.
//! 2. A slot's `refs` is the number of nodes that store it; at 0 the slot is free.

use std::sync::Arc;

use super::types::AclId;
use crate::ids::HashMap;
use crate::wire::jute;
use crate::wire::records::{Acl, AclList, perms};

/// The slot of the built-in open list.
pub const OPEN_SLOT: u32 = 0;
/// Its id in snapshots (`OPEN_UNSAFE_ACL_ID`).
pub const OPEN_ID: i64 = -1;

struct Entry {
    bytes: Arc<[u8]>,
    id: i64,
    refs: u32,
    /// Counts the lists that this slot has held, so that a stale [`AclId`] is noticed.
    serial: u32,
    world_perms: i32,
}

pub struct AclTable {
    entries: Vec<Entry>,
    by_bytes: HashMap<Arc<[u8]>, u32>,
    free: Vec<u32>,
    /// Largest id ever used, absurd ones apart; the next list gets one more.
    id_last: i64,
    /// The list asked for last: most nodes have the list of the node created before them.
    recent: u32,
    /// What a stale id reads as: one entry without permissions. An empty list would let everybody in.
    nobody: Vec<u8>,
}

/// Ids above this are not counted on from; a server that makes a million lists a second gets here in 146,000 years.
const ID_LOADED_MAX: i64 = 1 << 62;

impl AclTable {
    pub fn new() -> AclTable {
        let open = Entry {
            bytes: AclList::OPEN.bytes().into(),
            id: OPEN_ID,
            refs: 0,
            serial: 0,
            world_perms: perms::ALL,
        };
        let nobody = Acl { perms: 0, scheme: Some("world".into()), id: Some("anyone".into()) };
        AclTable {
            entries: vec![open],
            by_bytes: HashMap::default(),
            free: Vec::new(),
            id_last: 0,
            recent: OPEN_SLOT,
            nobody: AclList::encode(&[nobody]),
        }
    }

    /// The slot of `list`, with one reference added. The null list is the open one, as in Java.
    pub fn intern(&mut self, list: AclList<'_>) -> u32 {
        if list == AclList::NULL {
            return OPEN_SLOT;
        }
        let recent = &mut self.entries[self.recent as usize];
        if recent.refs > 0 && *recent.bytes == *list.bytes() {
            recent.refs += 1;
            return self.recent;
        }
        let slot = match self.by_bytes.get(list.bytes()) {
            Some(slot) => *slot,
            None => {
                self.id_last += 1;
                self.add(self.id_last, list)
            }
        };
        self.entries[slot as usize].refs += 1;
        self.recent = slot;
        slot
    }

    /// A list from a snapshot, without references yet. A second id for the same list is the first one's slot.
    pub fn load(&mut self, id: i64, list: AclList<'_>) -> u32 {
        self.note_id(id);
        match self.by_bytes.get(list.bytes()) {
            Some(slot) => *slot,
            None => self.add(id, list),
        }
    }

    /// New ids go on after the largest one that was loaded, except one that no server has ever counted to: such a
    /// snapshot is damaged or made up, and counting on from there would overflow.
    fn note_id(&mut self, id: i64) {
        if id < ID_LOADED_MAX {
            self.id_last = self.id_last.max(id);
        }
    }

    /// A slot that stands for an id that a snapshot's map does not have: nobody may do anything with its nodes
    /// until the record that set their list has been replayed.
    pub fn intern_unknown(&mut self, id: i64) -> u32 {
        self.note_id(id);
        let nobody = std::mem::take(&mut self.nobody);
        let slot = self.intern(AclList::from_encoded(&nobody).expect("it was encoded here"));
        self.nobody = nobody;
        slot
    }

    pub fn add_reference(&mut self, slot: u32) {
        if slot != OPEN_SLOT {
            self.entries[slot as usize].refs += 1;
        }
    }

    pub fn release(&mut self, slot: u32) {
        if slot == OPEN_SLOT {
            return;
        }
        let entry = &mut self.entries[slot as usize];
        entry.refs -= 1;
        if entry.refs == 0 {
            self.drop_entry(slot);
        }
    }

    /// Drops what no node of a loaded snapshot refers to.
    pub fn drop_unreferenced(&mut self) {
        for slot in 1..self.entries.len() as u32 {
            let entry = &self.entries[slot as usize];
            if entry.refs == 0 && !entry.bytes.is_empty() {
                self.drop_entry(slot);
            }
        }
    }

    pub fn id(&self, slot: u32) -> AclId {
        AclId { slot, serial: self.entries[slot as usize].serial }
    }

    /// The id in snapshots.
    pub fn stored_id(&self, slot: u32) -> i64 {
        self.entries[slot as usize].id
    }

    pub fn get(&self, id: AclId) -> AclList<'_> {
        AclList::from_checked(self.entry(id).map_or(&self.nobody[..], |entry| &entry.bytes))
    }

    /// The list in a slot that is in use.
    pub fn list(&self, slot: u32) -> AclList<'_> {
        AclList::from_checked(&self.entries[slot as usize].bytes)
    }

    pub fn world_perms(&self, id: AclId) -> i32 {
        self.entry(id).map_or(0, |entry| entry.world_perms)
    }

    /// Lists with their snapshot ids, the built-in one excepted.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &[u8])> {
        self.entries[1..].iter().filter(|entry| entry.refs > 0).map(|entry| (entry.id, &*entry.bytes))
    }

    /// Memory held, in bytes, by estimate.
    pub fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.entries.iter().map(|entry| entry.bytes.len() + 16).sum::<usize>()
            + self.by_bytes.capacity() * 32
    }

    fn entry(&self, id: AclId) -> Option<&Entry> {
        let entry = &self.entries[id.slot as usize];
        (entry.serial == id.serial && !entry.bytes.is_empty()).then_some(entry)
    }

    fn add(&mut self, id: i64, list: AclList<'_>) -> u32 {
        let bytes: Arc<[u8]> = list.bytes().into();
        let entry = Entry { bytes: bytes.clone(), id, refs: 0, serial: 0, world_perms: world_perms(list) };
        let slot = match self.free.pop() {
            Some(slot) => {
                let old = &mut self.entries[slot as usize];
                *old = Entry { serial: old.serial.wrapping_add(1), ..entry };
                slot
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("fewer lists than nodes")
            }
        };
        self.by_bytes.insert(bytes, slot);
        slot
    }

    fn drop_entry(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        let bytes = std::mem::replace(&mut entry.bytes, Arc::new([]));
        self.by_bytes.remove(&bytes);
        self.free.push(slot);
    }
}

/// What world:anyone may do. Java lets everybody do everything with a node whose list is empty.
fn world_perms(list: AclList<'_>) -> i32 {
    if list.is_empty() {
        return -1;
    }
    list.entries()
        .filter(|acl| acl.scheme.as_deref() == Some("world") && acl.id.as_deref() == Some("anyone"))
        .fold(0, |all, acl| all | acl.perms)
}

/// Appends `int aclMapSize { long aclId, vector<ACL> }*`.
pub fn write_map(table: &AclTable, out: &mut Vec<u8>) {
    jute::put_len(out, table.iter().count());
    for (id, bytes) in table.iter() {
        jute::put_long(out, id);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(id: &str) -> Vec<u8> {
        AclList::encode(&[Acl { perms: 31, scheme: Some("digest".into()), id: Some(id.into()) }])
    }

    #[test]
    fn ids_are_given_in_order_of_first_use_and_never_again() {
        let mut table = AclTable::new();
        let (a, b) = (list("a:x"), list("b:x"));
        let (a, b) = (AclList::from_encoded(&a).unwrap(), AclList::from_encoded(&b).unwrap());
        let first = table.intern(a);
        assert_eq!(table.intern(a), first);
        assert_eq!(table.stored_id(first), 1);
        let stale = table.id(first);
        table.release(first);
        assert_eq!(table.get(stale), a);
        table.release(first);
        let second = table.intern(b);
        assert_eq!((second, table.stored_id(second)), (first, 2));
        assert_eq!(table.get(stale).entries().next().unwrap().perms, 0);
        assert_eq!(table.world_perms(stale), 0);
    }

    #[test]
    fn the_open_list_of_a_client_is_not_the_built_in_one() {
        let mut table = AclTable::new();
        assert_eq!(table.intern(AclList::NULL), OPEN_SLOT);
        let open = table.intern(AclList::OPEN);
        assert_eq!(
            (open == OPEN_SLOT, table.stored_id(open), table.world_perms(table.id(open))),
            (false, 1, 31)
        );
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn ids_continue_after_the_largest_loaded_one() {
        let mut table = AclTable::new();
        let (a, b) = (list("a:x"), list("b:x"));
        table.load(17, AclList::from_encoded(&a).unwrap());
        table.drop_unreferenced();
        let slot = table.intern(AclList::from_encoded(&b).unwrap());
        assert_eq!(table.stored_id(slot), 18);
    }
}
