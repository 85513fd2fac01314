//! Building a tree from a snapshot's records.

use super::acl::{OPEN_ID, OPEN_SLOT};
use super::path::split;
use super::quota::Quotas;
use super::store::{ROOT, Store};
use super::types::{MissingParent, TreeOptions};
use super::{Tree, add_initial};
use crate::ids::{HashMap, Zxid};
use crate::wire::records::{AclList, StatPersisted};

/// Takes a snapshot's ACL map and nodes in the order of the file. A refused candidate's loader is dropped whole, so
/// that nothing of it reaches the next one.
pub struct TreeLoader {
    store: Store,
    acls: HashMap<i64, u32>,
    /// The last node's parent: in most snapshots siblings stand together.
    parent: u32,
    parent_path: String,
}

impl TreeLoader {
    pub fn new(options: TreeOptions) -> TreeLoader {
        TreeLoader {
            store: Store::new(options),
            acls: HashMap::default(),
            parent: ROOT,
            parent_path: String::new(),
        }
    }

    /// An entry of the ACL map.
    pub fn acl(&mut self, id: i64, list: AclList<'_>) {
        let slot = self.store.acls.load(id, list);
        self.acls.insert(id, slot);
    }

    /// A node record; parents come before their children. An id that the ACL map does not have is a list that was
    /// new while the snapshot was written, and whose record will be replayed.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), MissingParent> {
        let missing = || MissingParent { path: path.to_owned() };
        // The root is the record without a slash.
        let Some((parent_path, name)) = split(path) else {
            self.replace(ROOT, "", data, acl_id, stat);
            return Ok(());
        };
        if name.is_empty() {
            return Err(missing());
        }
        if parent_path != self.parent_path {
            self.parent = self.store.find(parent_path).filter(|_| parent_path != "/").ok_or_else(missing)?;
            self.parent_path.clear();
            self.parent_path.push_str(parent_path);
        }
        match self.store.child(self.parent, name) {
            // Twice in one file: deleted and created while it was written. The last one counts, as in Java.
            Some(id) => self.replace(id, path, data, acl_id, stat),
            None => {
                let acl = self.slot(acl_id);
                self.store.insert(self.parent, path, name, data, acl, stat);
            }
        }
        Ok(())
    }

    /// Everything is there: recounts quotas, drops lists that no node has.
    pub fn finish(mut self, last_zxid: Zxid) -> Tree {
        let store = &mut self.store;
        // Snapshots from before 3.5 have no /zookeeper/config (`ZKDatabase.initConfigInZKDatabase`).
        if let Some(parent) = store.find("/zookeeper") {
            add_initial(store, parent, "/zookeeper/config");
        }
        store.acls.drop_unreferenced();
        let quotas = Quotas::rebuild(store);
        Tree { store: self.store, quotas, last_zxid }
    }

    fn replace(&mut self, id: u32, path: &str, data: Option<&[u8]>, acl_id: i64, stat: &StatPersisted) {
        self.store.set_data(id, path, data, |_| {});
        self.store.set_stat(id, path, stat);
        let acl = self.slot(acl_id);
        self.store.set_acl(id, acl);
    }

    fn slot(&mut self, acl_id: i64) -> u32 {
        if acl_id == OPEN_ID {
            return OPEN_SLOT;
        }
        match self.acls.get(&acl_id) {
            Some(slot) => {
                self.store.acls.add_reference(*slot);
                *slot
            }
            None => self.store.acls.intern_unknown(acl_id),
        }
    }
}
