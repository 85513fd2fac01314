//! Where names and data live: blocks of 8-byte granules in pages of 64 KiB, one size class a page.
//!
//! A znode's bytes are one block, found by a 32-bit reference. Sizes up to 1 KiB are rounded to 8 bytes, so that the
//! average waste is 4 bytes where `malloc` costs 16 or more; up to 4 KiB to 64 bytes; what is larger is a box of its
//! own. A page belongs to one class until its last block is freed, and then its memory goes back: data that grew
//! from one class into another does not leave the old class's pages behind.
//!
//! # Invariants
//!
//! 1. A page with a free block is on its class's list of pages with room; a full one and an empty one are not.
//! 2. A block is used by one owner, which alone remembers its length; freeing needs that length.
//! 3. The first two bytes of a freed block link to the next freed one of the page.

use slab::Slab;

const PAGE: usize = 64 * 1024;
const GRANULE: usize = 8;
/// Blocks up to here are rounded to granules.
const FINE_MAX: usize = 1024;
/// Blocks up to here are rounded to `COARSE`; longer ones are boxes.
const PAGED_MAX: usize = 4096;
const COARSE: usize = 64;
const FINE_CLASSES: usize = FINE_MAX / GRANULE;
const CLASSES: usize = FINE_CLASSES + (PAGED_MAX - FINE_MAX) / COARSE;
/// Pages that a reference can name: 16 GiB of them. What does not fit goes into boxes.
const PAGES_MAX: usize = (BIG as usize) * GRANULE / PAGE;
/// Marks a reference to a box.
const BIG: u32 = 1 << 31;
const NONE: u32 = u32::MAX;
/// A cache line.
const LINE: usize = 64;
const NO_BLOCK: u16 = u16::MAX;

/// Where a block is; its length is the owner's business. Page and granule, or a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef(u32);

impl BlobRef {
    /// Refers to nothing.
    pub const NONE: BlobRef = BlobRef(u32::MAX);
}

struct Page {
    /// Empty while the page is not in use.
    bytes: Box<[u8]>,
    class: u16,
    /// Blocks in use.
    used: u16,
    /// First freed block, as a granule; [`NO_BLOCK`] if there is none.
    free: u16,
    /// Blocks that were ever handed out; those after it are untouched memory.
    cut: u16,
    /// Neighbours on the list of pages of this class with room; `next` also links unused pages.
    next: u32,
    prev: u32,
}

pub struct Blobs {
    pages: Vec<Page>,
    /// For each class the first page with room.
    roomy: [u32; CLASSES],
    /// First page that has no memory.
    unused: u32,
    pages_used: usize,
    big: Slab<Box<[u8]>>,
    big_bytes: usize,
}

impl Default for Blobs {
    fn default() -> Blobs {
        Blobs::new()
    }
}

impl Blobs {
    pub fn new() -> Blobs {
        Blobs {
            pages: Vec::new(),
            roomy: [NONE; CLASSES],
            unused: NONE,
            pages_used: 0,
            big: Slab::new(),
            big_bytes: 0,
        }
    }

    /// A block of `len` bytes with unspecified content.
    pub fn alloc(&mut self, len: usize) -> BlobRef {
        if len > PAGED_MAX {
            return self.alloc_big(len);
        }
        let class = class_of(len);
        let mut at = self.roomy[class];
        if at == NONE {
            match self.new_page(class) {
                Some(page) => at = page,
                None => return self.alloc_big(len),
            }
        }
        let size = size_of_class(class);
        let page = &mut self.pages[at as usize];
        let granule = if page.free != NO_BLOCK {
            let granule = page.free;
            let at = granule as usize * GRANULE;
            page.free = u16::from_le_bytes([page.bytes[at], page.bytes[at + 1]]);
            granule
        } else {
            let granule = (page.cut as usize * size / GRANULE) as u16;
            page.cut += 1;
            granule
        };
        page.used += 1;
        if page.free == NO_BLOCK && page.cut as usize == PAGE / size {
            self.unlink(at);
        }
        BlobRef(at << 13 | u32::from(granule))
    }

    /// Gives back a block that was allocated with this `len`, or resized to it.
    pub fn free(&mut self, blob: BlobRef, len: usize) {
        if blob.0 & BIG != 0 {
            self.big_bytes -= self.big.remove((blob.0 & !BIG) as usize).len();
            return;
        }
        let (at, offset) = place(blob);
        let page = &mut self.pages[at];
        debug_assert_eq!(usize::from(page.class), class_of(len));
        let was_full = page.free == NO_BLOCK && page.cut as usize == PAGE / size_of_class(page.class.into());
        page.bytes[offset..offset + 2].copy_from_slice(&page.free.to_le_bytes());
        page.free = (offset / GRANULE) as u16;
        page.used -= 1;
        let empty = page.used == 0;
        let class = usize::from(page.class);
        if was_full {
            self.link(at as u32);
        }
        // The last page of a class is kept: a node that comes and goes should not cost a page each time.
        if empty && (self.roomy[class] != at as u32 || self.pages[at].next != NONE) {
            self.unlink(at as u32);
            let page = &mut self.pages[at];
            page.bytes = Box::default();
            page.next = self.unused;
            self.unused = at as u32;
            self.pages_used -= 1;
        }
    }

    /// True if a block of `len` bytes can serve for `new_len` as it is.
    pub fn fits(&self, blob: BlobRef, len: usize, new_len: usize) -> bool {
        if blob.0 & BIG != 0 {
            return len == new_len;
        }
        new_len <= PAGED_MAX && class_of(len) == class_of(new_len)
    }

    pub fn get(&self, blob: BlobRef, len: usize) -> &[u8] {
        if blob.0 & BIG != 0 {
            return &self.big[(blob.0 & !BIG) as usize][..len];
        }
        let (at, offset) = place(blob);
        &self.pages[at].bytes[offset..offset + len]
    }

    /// Loads the first two cache lines of a block. The result means nothing; it keeps the load.
    pub fn touch(&self, blob: BlobRef) -> u32 {
        if blob.0 & BIG != 0 {
            return 0;
        }
        let (at, offset) = place(blob);
        let bytes = &self.pages[at].bytes;
        [offset, offset + LINE]
            .iter()
            .filter_map(|at| bytes.get(*at))
            .fold(0, |all, byte| all ^ u32::from(*byte))
    }

    pub fn get_mut(&mut self, blob: BlobRef, len: usize) -> &mut [u8] {
        if blob.0 & BIG != 0 {
            return &mut self.big[(blob.0 & !BIG) as usize][..len];
        }
        let (at, offset) = place(blob);
        &mut self.pages[at].bytes[offset..offset + len]
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.pages_used * PAGE
            + self.pages.capacity() * size_of::<Page>()
            + self.big_bytes
            + self.big.capacity() * size_of::<(usize, Box<[u8]>)>()
    }

    fn alloc_big(&mut self, len: usize) -> BlobRef {
        self.big_bytes += len;
        let key = self.big.insert(vec![0; len].into_boxed_slice());
        let key = u32::try_from(key).ok().filter(|key| key & BIG == 0 && key | BIG != NONE);
        BlobRef(key.expect("fewer than 2^31 boxes") | BIG)
    }

    fn new_page(&mut self, class: usize) -> Option<u32> {
        let mut page = Page {
            bytes: vec![0; PAGE].into_boxed_slice(),
            class: class as u16,
            used: 0,
            free: NO_BLOCK,
            cut: 0,
            next: NONE,
            prev: NONE,
        };
        let at = if self.unused != NONE {
            let at = self.unused;
            std::mem::swap(&mut self.pages[at as usize], &mut page);
            self.unused = page.next;
            at
        } else if self.pages.len() < PAGES_MAX {
            self.pages.push(page);
            (self.pages.len() - 1) as u32
        } else {
            return None;
        };
        self.pages_used += 1;
        self.link(at);
        Some(at)
    }

    fn link(&mut self, at: u32) {
        let class = usize::from(self.pages[at as usize].class);
        let next = self.roomy[class];
        if next != NONE {
            self.pages[next as usize].prev = at;
        }
        let page = &mut self.pages[at as usize];
        (page.next, page.prev) = (next, NONE);
        self.roomy[class] = at;
    }

    fn unlink(&mut self, at: u32) {
        let Page { class, next, prev, .. } = self.pages[at as usize];
        match prev {
            NONE => self.roomy[usize::from(class)] = next,
            _ => self.pages[prev as usize].next = next,
        }
        if next != NONE {
            self.pages[next as usize].prev = prev;
        }
    }
}

fn place(blob: BlobRef) -> (usize, usize) {
    ((blob.0 >> 13) as usize, (blob.0 & 0x1fff) as usize * GRANULE)
}

fn class_of(len: usize) -> usize {
    if len <= FINE_MAX {
        len.max(1).div_ceil(GRANULE) - 1
    } else {
        FINE_CLASSES - 1 + (len - FINE_MAX).div_ceil(COARSE)
    }
}

fn size_of_class(class: usize) -> usize {
    if class < FINE_CLASSES { (class + 1) * GRANULE } else { FINE_MAX + (class + 1 - FINE_CLASSES) * COARSE }
}

const _: () = assert!(PAGE / GRANULE == 1 << 13, "a reference has 13 bits for the granule");
const _: () = assert!(PAGE / GRANULE <= NO_BLOCK as usize, "a granule is never NO_BLOCK");
const _: () = assert!(size_of::<Page>() <= 32);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_length_gets_the_smallest_class_that_holds_it() {
        for len in 0..=PAGED_MAX {
            let class = class_of(len);
            assert!(class < CLASSES && size_of_class(class) >= len, "{len}");
            assert!(class == 0 || size_of_class(class - 1) < len, "{len}");
        }
    }

    #[test]
    fn memory_of_a_class_that_is_no_longer_used_goes_to_another() {
        let mut blobs = Blobs::new();
        let small: Vec<BlobRef> = (0..100_000).map(|_| blobs.alloc(100)).collect();
        let full = blobs.memory();
        for blob in small {
            blobs.free(blob, 100);
        }
        let large: Vec<BlobRef> = (0..50_000).map(|_| blobs.alloc(200)).collect();
        assert!(blobs.memory() <= full + 2 * PAGE, "{} > {full}", blobs.memory());
        assert_eq!(large.len(), 50_000);
    }

    proptest! {
        #[test]
        fn blocks_keep_their_bytes_until_they_are_freed(
            ops in proptest::collection::vec((any::<bool>(), prop_oneof![0usize..64, 0usize..6000], any::<u8>()), 1..400)
        ) {
            let mut blobs = Blobs::new();
            let mut live: Vec<(BlobRef, Vec<u8>)> = Vec::new();
            for (add, len, byte) in ops {
                if add || live.is_empty() {
                    let blob = blobs.alloc(len);
                    blobs.get_mut(blob, len).fill(byte);
                    live.push((blob, vec![byte; len]));
                } else {
                    let (blob, bytes) = live.swap_remove(len % live.len());
                    prop_assert_eq!(blobs.get(blob, bytes.len()), &bytes[..]);
                    blobs.free(blob, bytes.len());
                }
            }
            for (blob, bytes) in &live {
                prop_assert_eq!(blobs.get(*blob, bytes.len()), &bytes[..]);
            }
        }
    }
}
