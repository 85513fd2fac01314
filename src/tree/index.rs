//! The hash index: from (parent, name) to a node, four bytes and a tag an entry.
//!
//! Linear hashing: buckets of one cache line, and whenever the average bucket is fuller than `FILL` one bucket, the
//! next in turn, is split in two. Growth so is spread evenly over the inserts; a table that doubles would stop
//! the server for hundreds of milliseconds at ten million nodes. The price is that buckets not yet split are up to
//! twice as full as the split ones, so some overflow into a second line.
//!
//! The index holds no keys. It asks the caller whether a candidate is the one, and for a node's hash when a bucket
//! is split; a tag of eight bits of the hash keeps wrong candidates away (1 in 20 look-ups sees one).
//!
//! # Invariants
//!
//! 1. An entry with hash `h` is in the chain of bucket `bucket_of(h)`.
//! 2. In a chain all lines but the last are full, and entries of a line are at its front.

use super::arena::{Arena, Record};

/// Entries in a bucket line.
const LINE: usize = 12;
/// Average entries a bucket above which one is split, and below which two are joined.
const FILL: usize = 7;
const FILL_LOW: usize = 3;
/// Buckets in a chunk of the table, and the least the table has; 64 KiB.
const CHUNK: usize = 1024;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    ids: [u32; LINE],
    /// The next line of this chain in `overflow`; 0 for none.
    next: u32,
    tags: [u8; LINE],
}

const _: () = assert!(size_of::<Line>() == 64, "a bucket is one cache line");

impl Line {
    const EMPTY: Line = Line { ids: [0; LINE], next: 0, tags: [0; LINE] };

    fn len(&self) -> usize {
        self.ids.iter().take_while(|id| **id != 0).count()
    }
}

impl Record for Line {
    fn free(next: u32) -> Line {
        Line { next, ..Line::EMPTY }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}

pub struct Index {
    chunks: Vec<Vec<Line>>,
    /// Buckets in use.
    buckets: usize,
    overflow: Arena<Line>,
    entries: usize,
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

impl Index {
    pub fn new() -> Index {
        Index { chunks: vec![vec![Line::EMPTY; CHUNK]], buckets: CHUNK, overflow: Arena::new(), entries: 0 }
    }

    /// The entry with this hash that `is_it` accepts.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        let bucket = self.bucket_of(hash);
        let mut line = &self.chunks[bucket / CHUNK][bucket % CHUNK];
        loop {
            for (id, t) in line.ids.iter().zip(&line.tags) {
                if *t == tag && *id != 0 && is_it(*id) {
                    return Some(*id);
                }
            }
            if line.next == 0 {
                return None;
            }
            line = &self.overflow[line.next];
        }
    }

    /// Loads the line that [`Index::find`] begins with. The result means nothing; it keeps the load.
    pub fn touch(&self, hash: u64) -> u32 {
        let bucket = self.bucket_of(hash);
        self.chunks[bucket / CHUNK][bucket % CHUNK].ids[0]
    }

    /// An entry that may well have this hash; 0 if the first line has none.
    pub fn guess(&self, hash: u64) -> u32 {
        let tag = tag_of(hash);
        let bucket = self.bucket_of(hash);
        let line = &self.chunks[bucket / CHUNK][bucket % CHUNK];
        line.tags
            .iter()
            .zip(&line.ids)
            .fold(0, |found, (t, id)| if *t == tag { found.max(*id) } else { found })
    }

    /// Adds an entry that is not there yet. `hash_of` is asked for the hashes of other entries.
    pub fn insert(&mut self, hash: u64, id: u32, hash_of: impl Fn(u32) -> u64) {
        debug_assert_ne!(id, 0);
        self.push(self.bucket_of(hash), tag_of(hash), id);
        self.entries += 1;
        if self.entries > FILL * self.buckets {
            self.split(hash_of);
        }
    }

    /// Removes an entry that is there.
    pub fn remove(&mut self, hash: u64, id: u32) {
        self.take(self.bucket_of(hash), id);
        self.entries -= 1;
        if self.buckets > CHUNK && self.entries < FILL_LOW * self.buckets {
            self.join();
        }
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Line>()
            + self.chunks.capacity() * size_of::<Vec<Line>>()
            + self.overflow.memory()
    }

    fn bucket_of(&self, hash: u64) -> usize {
        let mask = self.buckets.next_power_of_two() - 1;
        let bucket = hash as usize & mask;
        // The upper half is only there as far as buckets have been split.
        if bucket < self.buckets { bucket } else { bucket & (mask >> 1) }
    }

    /// A line of a bucket's chain: the bucket itself for `slot` 0, else an overflow line.
    fn line(&mut self, bucket: usize, slot: u32) -> &mut Line {
        if slot == 0 { &mut self.chunks[bucket / CHUNK][bucket % CHUNK] } else { &mut self.overflow[slot] }
    }

    /// The last line of a chain and the one before it, as slots.
    fn last_line(&self, bucket: usize) -> (u32, u32) {
        let (mut before, mut at) = (0, 0);
        let mut next = self.chunks[bucket / CHUNK][bucket % CHUNK].next;
        while next != 0 {
            (before, at) = (at, next);
            next = self.overflow[next].next;
        }
        (at, before)
    }

    fn push(&mut self, bucket: usize, tag: u8, id: u32) {
        let (last, _) = self.last_line(bucket);
        let line = self.line(bucket, last);
        let at = line.len();
        if at < LINE {
            (line.ids[at], line.tags[at]) = (id, tag);
            return;
        }
        let mut more = Line::EMPTY;
        (more.ids[0], more.tags[0]) = (id, tag);
        let slot = self.overflow.add(more);
        self.line(bucket, last).next = slot;
    }

    /// Removes `id` from the chain and fills its place with the chain's last entry.
    fn take(&mut self, bucket: usize, id: u32) {
        let (tag, last) = self.pop(bucket).expect("an entry that is removed is there");
        if last == id {
            return;
        }
        let mut slot = 0;
        loop {
            let line = self.line(bucket, slot);
            if let Some(at) = line.ids.iter().position(|other| *other == id) {
                (line.ids[at], line.tags[at]) = (last, tag);
                return;
            }
            slot = line.next;
            assert_ne!(slot, 0, "an entry that is removed is in the chain of its hash");
        }
    }

    /// Removes the last entry of a chain.
    fn pop(&mut self, bucket: usize) -> Option<(u8, u32)> {
        let (at, before) = self.last_line(bucket);
        let line = self.line(bucket, at);
        let last = line.len().checked_sub(1)?;
        let entry = (line.tags[last], line.ids[last]);
        line.ids[last] = 0;
        if at != 0 && last == 0 {
            self.overflow.remove(at);
            self.line(bucket, before).next = 0;
        }
        Some(entry)
    }

    fn split(&mut self, hash_of: impl Fn(u32) -> u64) {
        if self.buckets.is_multiple_of(CHUNK) {
            self.chunks.push(vec![Line::EMPTY; CHUNK]);
        }
        let new = self.buckets;
        let old = new - (new + 1).next_power_of_two() / 2;
        self.buckets += 1;
        let entries: Vec<(u8, u32)> = std::iter::from_fn(|| self.pop(old)).collect();
        for (tag, id) in entries.into_iter().rev() {
            let bucket = self.bucket_of(hash_of(id));
            debug_assert!(bucket == old || bucket == new);
            self.push(bucket, tag, id);
        }
    }

    /// The reverse of a split: the last bucket's entries go back to the bucket they came from.
    fn join(&mut self) {
        let last = self.buckets - 1;
        let old = last - self.buckets.next_power_of_two() / 2;
        while let Some((tag, id)) = self.pop(last) {
            self.push(old, tag, id);
        }
        self.buckets = last;
        if last.is_multiple_of(CHUNK) {
            self.chunks.pop();
        }
    }
}

fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hash(id: u32) -> u64 {
        foldhash::fast::FixedState::default().hash_one(id)
    }

    #[test]
    fn every_entry_is_found_while_the_table_grows_and_shrinks() {
        let mut index = Index::new();
        let n = 60_000;
        for id in 1..=n {
            index.insert(hash(id), id, hash);
            assert_eq!(index.find(hash(id), |other| other == id), Some(id));
        }
        let grown = index.buckets;
        assert!(grown > 8 * CHUNK - 100 && index.chunks.len() > 8, "{grown}");
        for id in 1..=n {
            assert_eq!(index.find(hash(id), |other| other == id), Some(id));
        }
        for id in (1..=n).filter(|id| id % 16 != 0) {
            index.remove(hash(id), id);
            assert_eq!(index.find(hash(id), |other| other == id), None);
        }
        for id in 1..=n {
            assert_eq!(index.find(hash(id), |other| other == id).is_some(), id % 16 == 0);
        }
        assert!(index.buckets < grown / 4, "{}", index.buckets);
    }

    #[test]
    fn entries_with_one_hash_overflow_and_come_back() {
        let mut index = Index::new();
        for id in 1..=100 {
            index.insert(5, id, |_| 5);
        }
        for id in 1..=100 {
            assert_eq!(index.find(5, |other| other == id), Some(id));
        }
        for id in 1..=100 {
            index.remove(5, id);
        }
        assert_eq!(index.find(5, |_| true), None);
        assert_eq!(index.overflow.len(), 0);
    }
}
