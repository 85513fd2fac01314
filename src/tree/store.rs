//! Znodes and their relations: finding, adding, changing, removing. What a transaction means is not known here.
//!
//! # Invariants
//!
//! 1. Every node but the root is in the index under (parent, name) and on its parent's list of children, once.
//! 2. `Family::children` is the length of that list; a node without a family record has no children.
//! 3. With digests on, `digest` is the sum of the node digests of all nodes whose path counts.
//! 4. Each snapshot cursor names a node that exists.

use slab::Slab;

use std::hash::{BuildHasher, Hasher};

use super::acl::AclTable;
use super::arena::Arena;
use super::blob::Blobs;
use super::digest::{node_digest, prefix_crc};
use super::index::Index;
use super::node::{ACL_IN_RARE, Family, NULL, Node, Rare};
use super::owners::{Filing, Owners};
use super::path::{digest_counts, split};
use super::snapshot::Cursor;
use super::types::{NodeKind, TreeOptions};
use crate::wire::records::StatPersisted;

/// The root's slot: the first one that an arena hands out.
pub const ROOT: u32 = 1;
/// Paths that are warmed together: about as many misses as a core has in flight.
pub const WARM_MAX: usize = 16;
/// Bytes of the CRC in front of a block.
const CRC_LEN: usize = 4;

pub struct Store {
    pub options: TreeOptions,
    nodes: Arena<Node>,
    families: Arena<Family>,
    rares: Arena<Rare>,
    blobs: Blobs,
    index: Index,
    pub acls: AclTable,
    owners: Owners,
    digest: u64,
    /// Path lengths in UTF-16 units and data lengths, summed up; see [`Store::data_size`].
    data_size: u64,
    /// The largest czxid ever seen.
    czxid_max: i64,
    /// Walks under way: of a snapshot, of images for learners.
    pub cursors: Slab<Cursor>,
}

impl Store {
    /// A tree with nothing but an open, empty root.
    pub fn new(options: TreeOptions) -> Store {
        let mut store = Store {
            options,
            nodes: Arena::new(),
            families: Arena::new(),
            rares: Arena::new(),
            blobs: Blobs::new(),
            index: Index::new(),
            acls: AclTable::new(),
            owners: Owners::new(),
            digest: 0,
            // Java has the root in its map twice, as "" and as "/", and counts the slash.
            data_size: 1,
            czxid_max: 0,
            cursors: Slab::new(),
        };
        let root = store.add_record("", "", Some(b""), super::acl::OPEN_SLOT, &StatPersisted::default());
        assert_eq!(root, ROOT);
        store
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// `zk_approximate_data_size`, in bytes.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    pub fn czxid_max(&self) -> i64 {
        self.czxid_max
    }

    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Memory held, in bytes: everything that grows with the number of nodes.
    pub fn memory(&self) -> usize {
        self.nodes.memory()
            + self.families.memory()
            + self.rares.memory()
            + self.blobs.memory()
            + self.index.memory()
            + self.acls.memory()
            + self.owners.memory()
    }

    // ---- Reading ----

    pub fn node(&self, id: u32) -> &Node {
        &self.nodes[id]
    }

    pub fn find(&self, path: &str) -> Option<u32> {
        let Some(rest) = path.strip_prefix('/') else { return path.is_empty().then_some(ROOT) };
        if rest.is_empty() {
            return Some(ROOT);
        }
        rest.split('/').try_fold(ROOT, |at, name| self.child(at, name))
    }

    pub fn child(&self, parent: u32, name: &str) -> Option<u32> {
        let name = name.as_bytes();
        self.index.find(hash(parent, name), |id| {
            self.nodes[id].parent == parent && name_of(&self.nodes, &self.blobs, id) == name
        })
    }

    /// Brings what [`Store::find`] will look at into the caches, for several paths at once: each step is taken for all
    /// of them before the next, so that the misses of one step overlap instead of waiting for each other.
    pub fn warm(&self, paths: &[&str]) {
        let mut parent = ("", ROOT);
        let mut hashes = [0; WARM_MAX];
        let mut loaded = 0;
        let mut n = 0;
        for (hash_to, path) in hashes.iter_mut().zip(paths) {
            let Some((parent_path, name)) = split(path) else { continue };
            if parent_path != parent.0 {
                // Parents are few and known to the caches already.
                let Some(id) = self.find(parent_path) else { continue };
                parent = (parent_path, id);
            }
            *hash_to = hash(parent.1, name.as_bytes());
            loaded ^= self.index.touch(*hash_to);
            n += 1;
        }
        let mut ids = [0; WARM_MAX];
        for (id, hash) in ids.iter_mut().zip(&hashes[..n]) {
            *id = self.index.guess(*hash);
        }
        let blobs = ids.map(|id| self.nodes[id].blob);
        for blob in &blobs[..n] {
            loaded ^= self.blobs.touch(*blob);
        }
        std::hint::black_box(loaded);
    }

    pub fn name(&self, id: u32) -> &str {
        std::str::from_utf8(name_of(&self.nodes, &self.blobs, id)).expect("names were strings")
    }

    pub fn data(&self, id: u32) -> Option<&[u8]> {
        let node = &self.nodes[id];
        (node.data_len != NULL).then(|| {
            let at = data_offset(node, &self.blobs);
            &self.blobs.get(node.blob, at + node.data_len())[at..]
        })
    }

    pub fn prefix_crc(&self, id: u32) -> u32 {
        let crc = self.blobs.get(self.nodes[id].blob, CRC_LEN);
        u32::from_le_bytes(crc.try_into().expect("the CRC has four bytes"))
    }

    pub fn path(&self, id: u32) -> String {
        let mut ids = Vec::new();
        let mut at = id;
        while at != ROOT {
            ids.push(at);
            at = self.nodes[at].parent;
        }
        let mut path = String::new();
        for id in ids.into_iter().rev() {
            path.push('/');
            path.push_str(self.name(id));
        }
        path
    }

    pub fn family(&self, id: u32) -> Option<&Family> {
        let node = &self.nodes[id];
        let slot = node.rare().map_or_else(|| node.plain_family(), |rare| self.rares[rare].family);
        (slot != 0).then(|| &self.families[slot])
    }

    pub fn children_count(&self, id: u32) -> u32 {
        self.family(id).map_or(0, |family| family.children)
    }

    /// The first child, 0 if there is none; [`Node::next`] leads on.
    pub fn first_child(&self, id: u32) -> u32 {
        self.family(id).map_or(0, |family| family.first)
    }

    pub fn stat(&self, id: u32) -> StatPersisted {
        let node = &self.nodes[id];
        let family = self.family(id);
        let rare = node.rare().map(|rare| &self.rares[rare]);
        StatPersisted {
            czxid: node.czxid,
            mzxid: node.mzxid,
            ctime: node.ctime,
            mtime: node.mtime,
            version: node.version,
            cversion: family.map_or(0, |family| family.cversion),
            aversion: rare.map_or(0, |rare| rare.aversion),
            ephemeral_owner: rare.map_or(0, |rare| rare.owner),
            pzxid: family.map_or(node.czxid, |family| family.pzxid),
        }
    }

    pub fn kind(&self, id: u32) -> NodeKind {
        match self.nodes[id].rare() {
            None => NodeKind::Persistent,
            Some(rare) => NodeKind::of_owner(self.rares[rare].owner, self.options),
        }
    }

    pub fn acl_slot(&self, id: u32) -> u32 {
        let node = &self.nodes[id];
        match node.acl {
            ACL_IN_RARE => {
                let rare = node.rare().expect("a wide ACL slot is in a rare record");
                self.rares[rare].acl
            }
            slot => u32::from(slot),
        }
    }

    /// A session's oldest ephemeral; [`Store::next_owned`] leads on.
    pub fn first_ephemeral(&self, session: crate::ids::SessionId) -> Option<u32> {
        self.owners.first_of(session)
    }

    /// The node after `id` on the list of its session or kind.
    pub fn next_owned(&self, id: u32) -> Option<u32> {
        Owners::next_of(id, &self.nodes, &self.rares)
    }

    /// The node after `id` in depth-first order, its own subtree left out; 0 at the end.
    pub fn next_outside(&self, mut id: u32) -> u32 {
        while id != ROOT {
            let node = &self.nodes[id];
            if node.next != 0 {
                return node.next;
            }
            id = node.parent;
        }
        0
    }

    /// The node after `id` in depth-first order; 0 at the end.
    pub fn next_in_order(&self, id: u32) -> u32 {
        match self.first_child(id) {
            0 => self.next_outside(id),
            first => first,
        }
    }

    // ---- Changing ----

    /// Adds a child that is not there yet. Takes over the reference to `acl`. The parent's stat stays as it is.
    pub fn insert(
        &mut self,
        parent: u32,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) -> u32 {
        debug_assert!(path.ends_with(name) && self.child(parent, name).is_none());
        let id = self.add_record(path, name, data, acl, stat);
        self.nodes[id].parent = parent;
        let Store { nodes, blobs, index, .. } = self;
        index.insert(hash(parent, name.as_bytes()), id, |id| {
            hash(nodes[id].parent, name_of(nodes, blobs, id))
        });

        self.with_filing(parent, |store| {
            let family = store.family_mut(parent);
            family.children += 1;
            if family.first == 0 {
                family.first = id;
                store.nodes[id].prev = id;
            } else {
                let first = family.first;
                let last = std::mem::replace(&mut store.nodes[first].prev, id);
                store.nodes[last].next = id;
                store.nodes[id].prev = last;
            }
        });
        id
    }

    /// Removes a node without children. Releases its ACL; the parent's stat stays as it is.
    pub fn remove_leaf(&mut self, id: u32, path: &str) {
        debug_assert!(id != ROOT && self.children_count(id) == 0);
        if !self.cursors.is_empty() {
            self.move_cursors_off(id);
        }
        self.data_size -= (units(path) + self.nodes[id].data_len()) as u64;
        if self.options.digest && digest_counts(path) {
            self.digest = self.digest.wrapping_sub(self.node_digest(id));
        }
        if let Some(filing) = self.filing(id) {
            self.owners.unfile(id, &filing, &self.nodes, &mut self.rares);
        }
        self.acls.release(self.acl_slot(id));

        let parent = self.nodes[id].parent;
        let key = hash(parent, name_of(&self.nodes, &self.blobs, id));
        self.index.remove(key, id);
        self.with_filing(parent, |store| {
            let Node { next, prev, .. } = store.nodes[id];
            let family = store.family_mut(parent);
            family.children -= 1;
            let first = family.first;
            if first == id {
                family.first = next;
            } else {
                store.nodes[prev].next = next;
            }
            // The successor's `prev`; without one, the first child's, which names the last.
            if next != 0 {
                store.nodes[next].prev = prev;
            } else if first != id {
                store.nodes[first].prev = prev;
            }
        });

        let node = self.nodes[id];
        let len = data_offset(&node, &self.blobs) + node.data_len();
        self.blobs.free(node.blob, len);
        let family = match node.rare() {
            None => node.plain_family(),
            Some(rare) => {
                let family = self.rares[rare].family;
                self.rares.remove(rare);
                family
            }
        };
        if family != 0 {
            self.families.remove(family);
        }
        self.nodes.remove(id);
    }

    /// Replaces data and, through `change`, what else a write changes of the node.
    pub fn set_data(&mut self, id: u32, path: &str, data: Option<&[u8]>, change: impl FnOnce(&mut Node)) {
        self.with_digest(id, path, |store| {
            store.with_filing(id, |store| {
                store.put_data(id, path, data);
                change(&mut store.nodes[id]);
            });
        });
    }

    /// Replaces the ACL, taking over the reference to `acl`.
    pub fn set_acl(&mut self, id: u32, acl: u32) {
        let old = self.acl_slot(id);
        self.put_acl(id, acl);
        self.acls.release(old);
    }

    pub fn set_aversion(&mut self, id: u32, path: &str, aversion: i32) {
        self.with_digest(id, path, |store| {
            if aversion != 0 || store.nodes[id].rare().is_some() {
                store.rare_mut(id).aversion = aversion;
            }
        });
    }

    /// Changes cversion and pzxid.
    pub fn change_family(&mut self, id: u32, path: &str, change: impl FnOnce(&mut Family)) {
        self.with_digest(id, path, |store| store.with_filing(id, |store| change(store.family_mut(id))));
    }

    /// Replaces the whole stat; only loading does that.
    pub fn set_stat(&mut self, id: u32, path: &str, stat: &StatPersisted) {
        self.with_digest(id, path, |store| store.with_filing(id, |store| store.put_stat(id, stat)));
    }

    // ---- Parts ----

    fn add_record(
        &mut self,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: u32,
        stat: &StatPersisted,
    ) -> u32 {
        let mut node = Node::new(name.len());
        let long = node.name_len().is_none();
        let at = CRC_LEN + if long { 4 } else { 0 };
        let bytes = data.unwrap_or_default();
        let block = at + name.len() + bytes.len();
        node.blob = self.blobs.alloc(block);
        node.data_len = data.map_or(NULL, |data| length(data.len()));
        let to = self.blobs.get_mut(node.blob, block);
        let crc = if self.options.digest { prefix_crc(path, data) } else { 0 };
        to[..CRC_LEN].copy_from_slice(&crc.to_le_bytes());
        if long {
            to[CRC_LEN..at].copy_from_slice(&length(name.len()).to_le_bytes());
        }
        to[at..at + name.len()].copy_from_slice(name.as_bytes());
        to[at + name.len()..].copy_from_slice(bytes);

        let id = self.nodes.add(node);
        self.put_acl(id, acl);
        self.put_stat(id, stat);
        if let Some(filing) = self.filing(id) {
            self.owners.file(id, &filing, &self.nodes, &mut self.rares);
        }
        self.data_size += (units(path) + bytes.len()) as u64;
        if self.options.digest && digest_counts(path) {
            self.digest = self.digest.wrapping_add(self.node_digest(id));
        }
        id
    }

    fn put_data(&mut self, id: u32, path: &str, data: Option<&[u8]>) {
        let node = self.nodes[id];
        let at = data_offset(&node, &self.blobs);
        let bytes = data.unwrap_or_default();
        let (old_len, new_len) = (at + node.data_len(), at + bytes.len());
        let blob = if self.blobs.fits(node.blob, old_len, new_len) {
            node.blob
        } else {
            let blob = self.blobs.alloc(new_len);
            // The part in front of the data moves along; names are short, so a copy on the way is cheap.
            let mut head = [0; 256];
            if at <= head.len() {
                head[..at].copy_from_slice(self.blobs.get(node.blob, at));
                self.blobs.get_mut(blob, new_len)[..at].copy_from_slice(&head[..at]);
            } else {
                let head = self.blobs.get(node.blob, at).to_vec();
                self.blobs.get_mut(blob, new_len)[..at].copy_from_slice(&head);
            }
            self.blobs.free(node.blob, old_len);
            blob
        };
        let to = self.blobs.get_mut(blob, new_len);
        to[at..].copy_from_slice(bytes);
        if self.options.digest {
            to[..CRC_LEN].copy_from_slice(&prefix_crc(path, data).to_le_bytes());
        }
        self.data_size = self.data_size - node.data_len() as u64 + bytes.len() as u64;
        let node = &mut self.nodes[id];
        node.blob = blob;
        node.data_len = data.map_or(NULL, |data| length(data.len()));
    }

    fn put_acl(&mut self, id: u32, acl: u32) {
        match u16::try_from(acl) {
            Ok(slot) if slot != ACL_IN_RARE => self.nodes[id].acl = slot,
            _ => {
                self.rare_mut(id).acl = acl;
                self.nodes[id].acl = ACL_IN_RARE;
            }
        }
    }

    fn put_stat(&mut self, id: u32, stat: &StatPersisted) {
        self.czxid_max = self.czxid_max.max(stat.czxid);
        let node = &mut self.nodes[id];
        node.czxid = stat.czxid;
        node.mzxid = stat.mzxid;
        node.ctime = stat.ctime;
        node.mtime = stat.mtime;
        node.version = stat.version;
        if stat.ephemeral_owner != 0 || stat.aversion != 0 || node.rare().is_some() {
            let rare = self.rare_mut(id);
            rare.owner = stat.ephemeral_owner;
            rare.aversion = stat.aversion;
        }
        if stat.cversion != 0 || stat.pzxid != stat.czxid || self.family(id).is_some() {
            let family = self.family_mut(id);
            family.cversion = stat.cversion;
            family.pzxid = stat.pzxid;
        }
    }

    /// The node's family record, made if there is none.
    fn family_mut(&mut self, id: u32) -> &mut Family {
        let node = self.nodes[id];
        let slot = node.rare().map_or_else(|| node.plain_family(), |rare| self.rares[rare].family);
        if slot != 0 {
            return &mut self.families[slot];
        }
        let slot = self.families.add(Family { pzxid: node.czxid, first: 0, children: 0, cversion: 0 });
        match node.rare() {
            None => self.nodes[id].set_plain_family(slot),
            Some(rare) => self.rares[rare].family = slot,
        }
        &mut self.families[slot]
    }

    /// The node's rare record, made if there is none.
    fn rare_mut(&mut self, id: u32) -> &mut Rare {
        let node = &mut self.nodes[id];
        let slot = match node.rare() {
            Some(slot) => slot,
            None => {
                let family = node.plain_family();
                let slot =
                    self.rares.add(Rare { owner: 0, family, aversion: 0, acl: 0, next: 0, prev: 0, list: 0 });
                node.set_rare(slot);
                slot
            }
        };
        &mut self.rares[slot]
    }

    fn node_digest(&self, id: u32) -> u64 {
        node_digest(self.prefix_crc(id), &self.stat(id))
    }

    /// Runs `change` and brings the tree's digest up to date with what it did to node `id`.
    fn with_digest(&mut self, id: u32, path: &str, change: impl FnOnce(&mut Store)) {
        if !(self.options.digest && digest_counts(path)) {
            return change(self);
        }
        self.digest = self.digest.wrapping_sub(self.node_digest(id));
        change(self);
        self.digest = self.digest.wrapping_add(self.node_digest(id));
    }

    /// Runs `change` and then files node `id` anew if it is one that goes by itself.
    fn with_filing(&mut self, id: u32, change: impl FnOnce(&mut Store)) {
        if let Some(filing) = self.filing(id) {
            self.owners.unfile(id, &filing, &self.nodes, &mut self.rares);
            change(self);
            let filing = self.filing(id).unwrap_or(Filing { kind: NodeKind::Persistent, ..filing });
            self.owners.file(id, &filing, &self.nodes, &mut self.rares);
        } else {
            change(self);
            if let Some(filing) = self.filing(id) {
                self.owners.file(id, &filing, &self.nodes, &mut self.rares);
            }
        }
    }

    /// `None` for the many nodes that stay until they are deleted.
    fn filing(&self, id: u32) -> Option<Filing> {
        let rare = &self.rares[self.nodes[id].rare()?];
        if rare.owner == 0 {
            return None;
        }
        let family = (rare.family != 0).then(|| &self.families[rare.family]);
        Some(Filing {
            kind: NodeKind::of_owner(rare.owner, self.options),
            children: family.map_or(0, |family| family.children),
            cversion: family.map_or(0, |family| family.cversion),
            mtime: self.nodes[id].mtime,
        })
    }
}

fn hash(parent: u32, name: &[u8]) -> u64 {
    // A fixed seed: two runs must not differ. Its price is that one who may create nodes can look for names that
    // collide; what grows then is one bucket's chain.
    let mut hasher = foldhash::fast::FixedState::with_seed(0x5e72_7661_6c00).build_hasher();
    hasher.write_u32(parent);
    hasher.write(name);
    hasher.finish()
}

fn name_of<'a>(nodes: &Arena<Node>, blobs: &'a Blobs, id: u32) -> &'a [u8] {
    let node = &nodes[id];
    match node.name_len() {
        Some(len) => &blobs.get(node.blob, CRC_LEN + len)[CRC_LEN..],
        None => {
            let end = data_offset(node, blobs);
            &blobs.get(node.blob, end)[CRC_LEN + 4..]
        }
    }
}

/// Where in the node's block the data begins.
fn data_offset(node: &Node, blobs: &Blobs) -> usize {
    match node.name_len() {
        Some(len) => CRC_LEN + len,
        None => {
            let len = &blobs.get(node.blob, CRC_LEN + 4)[CRC_LEN..];
            CRC_LEN + 4 + u32::from_le_bytes(len.try_into().expect("a length has four bytes")) as usize
        }
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|len| *len != NULL).expect("lengths are bounded by the frame limit")
}

/// `String.length()`: what Java counts a path with.
fn units(path: &str) -> usize {
    if path.is_ascii() { path.len() } else { path.encode_utf16().count() }
}
