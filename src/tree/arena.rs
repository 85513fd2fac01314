//! Fixed-size records in chunks, named by 32-bit slots.
//!
//! A chunk is allocated whole and never moves, so growing costs one allocation of bounded size whatever the arena
//! holds; a `Vec` would copy all of it, which at ten million znodes is a pause that clients notice. Freed slots form
//! a list through the records themselves and are used again first. Chunks are not given back: a tree that was large once
//! is expected to be large again.
//!
//! # Invariants
//!
//! 1. Slot 0 is never handed out: it is "none" in every link.
//! 2. A slot is either on the free list or in use; `len` counts the used ones.

/// A record that can carry the link of the free list while it is not in use.
pub trait Record {
    /// A free slot whose successor on the free list is `next`.
    fn free(next: u32) -> Self;

    /// The link that [`Record::free`] stored.
    fn next_free(&self) -> u32;
}

/// Records per chunk; with 64-byte records a chunk is 256 KiB.
const CHUNK: usize = 4096;

pub struct Arena<T> {
    chunks: Vec<Vec<T>>,
    free: u32,
    len: usize,
}

impl<T: Record> Arena<T> {
    pub fn new() -> Arena<T> {
        let mut first = Vec::with_capacity(CHUNK);
        first.push(T::free(0));
        Arena { chunks: vec![first], free: 0, len: 0 }
    }

    /// Records in use.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn add(&mut self, record: T) -> u32 {
        self.len += 1;
        if self.free != 0 {
            let slot = self.free;
            self.free = self[slot].next_free();
            self[slot] = record;
            return slot;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("a chunk with room was just made sure of");
        let slot = u32::try_from(full + chunk.len()).expect("an arena has fewer than 2^32 records");
        chunk.push(record);
        slot
    }

    pub fn remove(&mut self, slot: u32) {
        debug_assert_ne!(slot, 0);
        let next = self.free;
        self[slot] = T::free(next);
        self.free = slot;
        self.len -= 1;
    }

    /// All slots that were ever handed out, free ones included.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        let end = (self.chunks.len() - 1) * CHUNK + self.chunks.last().map_or(0, Vec::len);
        1..end as u32
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T: Record> Default for Arena<T> {
    fn default() -> Arena<T> {
        Arena::new()
    }
}

impl<T> std::ops::Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record for u32 {
        fn free(next: u32) -> u32 {
            next
        }

        fn next_free(&self) -> u32 {
            *self
        }
    }

    #[test]
    fn slots_start_at_one_and_freed_ones_come_back_first() {
        let mut arena = Arena::new();
        let slots: Vec<u32> = (0..10_000).map(|n| arena.add(n)).collect();
        assert_eq!((slots[0], slots[9_999], arena[slots[4_321]]), (1, 10_000, 4_321));
        arena.remove(7);
        arena.remove(9);
        assert_eq!(arena.len(), 9_998);
        assert_eq!([arena.add(70), arena.add(90), arena.add(0)], [9, 7, 10_001]);
        assert_eq!((arena[9], arena[7]), (70, 90));
    }
}
