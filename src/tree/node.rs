//! The records of a znode and what they cost.
//!
//! | record | bytes | who has one |
//! |---|---|---|
//! | [`Node`] | 64 | every znode |
//! | block in [`super::blob`] | 4 + name + data, rounded up to 8 | every znode |
//! | index entry | 5, in lines filled to 7 of 12 on average: 9 | every znode |
//! | [`Family`] | 24 | a znode that has had children, or whose pzxid has moved |
//! | [`Rare`] | 32 | ephemerals, containers, TTL nodes, and after a setACL |
//!
//! A leaf so costs about 81 bytes beyond its name and data, an ephemeral 113, a parent 105.

use super::arena::Record;
use super::blob::BlobRef;

/// `data_len` of a null.
pub const NULL: u32 = u32::MAX;
/// `acl` of a node whose slot is in its [`Rare`] record because it needs more than 16 bits.
pub const ACL_IN_RARE: u16 = u16::MAX;
/// Flag in `name_len`: `ext` is a [`Rare`] record, not a [`Family`].
const RARE: u16 = 1 << 15;
/// Names from this length on have their length in the block, in front of the name.
const NAME_LONG: usize = (RARE - 1) as usize;

/// One znode. Links are slots in the arena of nodes, 0 for none.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Node {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// 0 for the root.
    pub parent: u32,
    /// Next sibling, 0 for the last one.
    pub next: u32,
    /// Previous sibling; the first one's is the last one.
    pub prev: u32,
    /// A [`Rare`] or a [`Family`] record, or 0.
    ext: u32,
    /// `crc of path and data: 4, [length of a long name: 4], name, data`.
    pub blob: BlobRef,
    /// [`NULL`] for null.
    pub data_len: u32,
    name_len: u16,
    pub acl: u16,
}

/// What a znode is to its children. A leaf has none and needs no record: cversion 0, pzxid = czxid.
#[derive(Clone, Copy)]
pub struct Family {
    pub pzxid: i64,
    /// 0 for none; a free record's link.
    pub first: u32,
    pub children: u32,
    /// As stored: the number of creates.
    pub cversion: i32,
}

/// What few znodes have.
#[derive(Clone, Copy)]
pub struct Rare {
    /// As stored; 0 for a plain node whose ACL was changed.
    pub owner: i64,
    /// 0 for none.
    pub family: u32,
    pub aversion: i32,
    /// The ACL slot if the node says [`ACL_IN_RARE`].
    pub acl: u32,
    /// Neighbours on the list of the node's session, or of its kind; see [`super::owners`]. The first one's `prev`
    /// is the last one.
    pub next: u32,
    pub prev: u32,
    /// Which list that is.
    pub list: u32,
}

const _: () = assert!(size_of::<Node>() == 64, "a znode is one cache line");
const _: () = assert!(size_of::<Family>() == 24);
const _: () = assert!(size_of::<Rare>() == 32);

impl Node {
    pub fn new(name_len: usize) -> Node {
        Node { name_len: name_len.min(NAME_LONG) as u16, ..Node::free(0) }
    }

    /// The length of the name; `None` if it is in the block.
    pub fn name_len(&self) -> Option<usize> {
        let len = usize::from(self.name_len & !RARE);
        (len != NAME_LONG).then_some(len)
    }

    /// In bytes; 0 for null.
    pub fn data_len(&self) -> usize {
        if self.data_len == NULL { 0 } else { self.data_len as usize }
    }

    pub fn rare(&self) -> Option<u32> {
        (self.name_len & RARE != 0).then_some(self.ext)
    }

    /// The family record of a node without a rare one; 0 for none.
    pub fn plain_family(&self) -> u32 {
        debug_assert!(self.name_len & RARE == 0);
        self.ext
    }

    pub fn set_rare(&mut self, slot: u32) {
        self.name_len |= RARE;
        self.ext = slot;
    }

    pub fn set_plain_family(&mut self, slot: u32) {
        debug_assert!(self.name_len & RARE == 0);
        self.ext = slot;
    }
}

impl Record for Node {
    fn free(next: u32) -> Node {
        Node {
            czxid: 0,
            mzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            parent: 0,
            next,
            prev: 0,
            ext: 0,
            blob: BlobRef::NONE,
            data_len: NULL,
            name_len: 0,
            acl: 0,
        }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}

impl Record for Family {
    fn free(next: u32) -> Family {
        Family { pzxid: 0, first: next, children: 0, cversion: 0 }
    }

    fn next_free(&self) -> u32 {
        self.first
    }
}

impl Record for Rare {
    fn free(next: u32) -> Rare {
        Rare { owner: 0, family: 0, aversion: 0, acl: 0, next, prev: 0, list: 0 }
    }

    fn next_free(&self) -> u32 {
        self.next
    }
}
