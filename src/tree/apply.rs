//! Applying a committed transaction: live, and again at replay.
//!
//! It cannot fail: what could, failed when the request was prepared. At replay over a fuzzy snapshot a record may find
//! its effect already there, or its node gone; every rule below gives the same state however often the
//! records from the snapshot's zxid on are applied (storage.md section 7). What Java would have answered goes to the
//! observer.

use super::Tree;
use super::path::{shown, split};
use super::store::{ROOT, Store};
use super::types::{NodeKind, Observer, OpResult};
use crate::ids::SessionId;
use crate::wire::error::ErrorCode;
use crate::wire::records::{AclList, StatPersisted};
use crate::wire::reply::EventType;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

impl Tree {
    /// Applies a committed transaction and tells `observer` what happened, in Java's order.
    ///
    /// Transactions come in the order of their zxids; only replay goes back, to where a snapshot began.
    pub fn apply<O: Observer>(&mut self, header: &TxnHeader, txn: &Txn<'_>, observer: &mut O) {
        match txn {
            Txn::Multi(parts) if txn.failed() => {
                // The parts before the error are OK, those after it were never looked at.
                let mut before = 0;
                for part in parts {
                    let code = match part {
                        Txn::Error { code } => {
                            before = ErrorCode::RuntimeInconsistency.code();
                            *code
                        }
                        _ => before,
                    };
                    observer.result(OpResult::Failed(code));
                }
            }
            Txn::Multi(parts) => parts.iter().for_each(|part| self.apply_one(header, part, observer)),
            _ => self.apply_one(header, txn, observer),
        }
        // Last: a snapshot that begins at this zxid must have all of the transaction.
        self.last_zxid = self.last_zxid.max(header.zxid);
    }

    fn apply_one<O: Observer>(&mut self, header: &TxnHeader, txn: &Txn<'_>, observer: &mut O) {
        let done = match txn {
            Txn::Create(create) => self.create(header, create, observer),
            Txn::Delete { path, .. } => self.delete(header, path, observer).map(|()| OpResult::Deleted),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                self.set_data(header, path, *data, *version, observer)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, *acl, *version),
            Txn::CreateSession { timeout_ms } => {
                Ok(OpResult::SessionCreated { id: header.session, timeout_ms: *timeout_ms })
            }
            Txn::CloseSession { paths } => {
                let paths = paths.as_deref().unwrap_or_default();
                self.close_session(header, paths.iter().map(|path| &**path), observer);
                Ok(OpResult::SessionClosed { id: header.session })
            }
            Txn::Error { code } => Ok(OpResult::Failed(*code)),
            Txn::Check { .. } => Ok(OpResult::Checked),
            // The decoder lets no multi into a multi.
            Txn::Multi(_) => Err(ErrorCode::MarshallingError),
        };
        observer.result(done.unwrap_or_else(|code| OpResult::Failed(code.code())));
    }

    fn create<'a, O: Observer>(
        &mut self,
        header: &TxnHeader,
        create: &'a CreateTxn<'_>,
        observer: &mut O,
    ) -> Result<OpResult<'a>, ErrorCode> {
        let path: &str = &create.path;
        let Tree { store, quotas, .. } = self;
        let (parent, parent_path, name) = place(store, path)?;
        let zxid = header.zxid.0;
        let existing = if name.is_empty() { Some(ROOT) } else { store.child(parent, name) };

        if let Some(id) = existing {
            // Replay over a snapshot that has the node already. Its list may be one that came with a later
            // record; the map of ACLs is written first, so it may also be missing. Both end with this record's.
            let acl = store.acls.intern(create.acl);
            store.set_acl(id, acl);
            raise_parent(store, parent, parent_path, create.parent_cversion, zxid);
            return Err(ErrorCode::NodeExists);
        }

        raise_parent(store, parent, parent_path, create.parent_cversion, zxid);
        let kind = match create.kind {
            CreateKind::Create { ephemeral: true } | CreateKind::Create2 { ephemeral: true } => {
                NodeKind::Ephemeral(header.session)
            }
            CreateKind::Create { .. } | CreateKind::Create2 { .. } => NodeKind::Persistent,
            CreateKind::Container => NodeKind::Container,
            CreateKind::Ttl { ttl_ms } => NodeKind::Ttl { ms: ttl_ms },
        };
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: kind.owner(store.options),
            pzxid: zxid,
            ..StatPersisted::default()
        };
        let acl = store.acls.intern(create.acl);
        let id = store.insert(parent, path, name, create.data, acl, &stat);
        let stat = store.shown(id);
        quotas.created(store, path, create.data.map_or(0, <[u8]>::len));
        observer.event(EventType::NodeCreated, path, create.acl);
        observer.event(EventType::NodeChildrenChanged, shown(parent_path), store.acl_of(parent));
        Ok(OpResult::Created { path, stat })
    }

    fn delete<O: Observer>(
        &mut self,
        header: &TxnHeader,
        path: &str,
        observer: &mut O,
    ) -> Result<(), ErrorCode> {
        let Tree { store, quotas, .. } = self;
        let (parent, parent_path, name) = place(store, path)?;
        if name.is_empty() {
            return Err(ErrorCode::BadArguments);
        }
        // Also when the node has gone already: a snapshot may have lost it and still have the parent's old pzxid.
        let zxid = header.zxid.0;
        if store.stat(parent).pzxid < zxid {
            store.change_family(parent, parent_path, |family| family.pzxid = zxid);
        }
        let id = store.child(parent, name).ok_or(ErrorCode::NoNode)?;
        // A live delete finds no children. At replay, those that are there belong to a later node of the same
        // name, and the records that create them are still to come. Java leaves them in its map without a parent.
        while store.children_count(id) > 0 {
            let mut leaf = id;
            while store.children_count(leaf) > 0 {
                leaf = store.first_child(leaf);
            }
            let path = store.path(leaf);
            let bytes = store.node(leaf).data_len();
            store.remove_leaf(leaf, &path);
            quotas.deleted(store, &path, bytes);
        }
        let bytes = store.node(id).data_len();
        let acl = store.acl_slot(id);
        store.acls.add_reference(acl);
        store.remove_leaf(id, path);
        quotas.deleted(store, path, bytes);
        observer.event(EventType::NodeDeleted, path, store.acls.list(acl));
        observer.event(EventType::NodeChildrenChanged, shown(parent_path), store.acl_of(parent));
        store.acls.release(acl);
        Ok(())
    }

    fn set_data<'a, O: Observer>(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        observer: &mut O,
    ) -> Result<OpResult<'a>, ErrorCode> {
        let Tree { store, quotas, .. } = self;
        let id = store.find(path).ok_or(ErrorCode::NoNode)?;
        let path = if id == ROOT { "" } else { path };
        let old_len = store.node(id).data_len();
        store.set_data(id, path, data, |node| {
            node.version = version;
            node.mzxid = header.zxid.0;
            node.mtime = header.time;
        });
        let stat = store.shown(id);
        let diff = stat.data_length as i64 - old_len as i64;
        quotas.changed(store, path, 0, diff);
        observer.event(EventType::NodeDataChanged, shown(path), store.acl_of(id));
        Ok(OpResult::DataSet(stat))
    }

    fn set_acl<'a>(&mut self, path: &str, acl: AclList<'_>, version: i32) -> Result<OpResult<'a>, ErrorCode> {
        let store = &mut self.store;
        let id = store.find(path).ok_or(ErrorCode::NoNode)?;
        let path = if id == ROOT { "" } else { path };
        let acl = store.acls.intern(acl);
        store.set_acl(id, acl);
        store.set_aversion(id, path, version);
        Ok(OpResult::AclSet(store.shown(id)))
    }

    /// Deletes what the record lists, then what the session still owns: at replay that may be more (the
    /// record was prepared before a create that the snapshot has), and old records list nothing.
    fn close_session<'a, O: Observer>(
        &mut self,
        header: &TxnHeader,
        paths: impl Iterator<Item = &'a str>,
        observer: &mut O,
    ) {
        for path in paths {
            // A path that is gone is none of the closing client's business.
            let _ = self.delete(header, path, observer);
        }
        while let Some(id) = self.store.first_ephemeral(header.session) {
            let path = self.store.path(id);
            self.delete(header, &path, observer).expect("a node that its session's list names is there");
        }
    }

    /// Deletes the ephemerals of a session that does not exist, as of the last zxid (storage.md section 10, step 4).
    /// No transaction is logged for it.
    pub fn kill_session(&mut self, session: SessionId) {
        let header = TxnHeader { session, cxid: 0, zxid: self.last_zxid, time: 0, kind: 0 };
        self.close_session(&header, std::iter::empty(), &mut ());
    }
}

/// Parent, its path and the name of the node that `path` is or will be.
fn place<'a>(store: &Store, path: &'a str) -> Result<(u32, &'a str, &'a str), ErrorCode> {
    let (parent_path, name) = split(path).ok_or(ErrorCode::NoNode)?;
    // "//a" and "/a/" are paths of no node; a log has them only if its writer did not check.
    if parent_path == "/" || (name.is_empty() && !parent_path.is_empty()) {
        return Err(ErrorCode::NoNode);
    }
    let parent = store.find(parent_path).ok_or(ErrorCode::NoNode)?;
    Ok((parent, parent_path, name))
}

/// A create raises its parent's cversion and pzxid, unless the snapshot has the parent as it was later.
fn raise_parent(store: &mut Store, parent: u32, parent_path: &str, parent_cversion: i32, zxid: i64) {
    let stored = store.family(parent).map_or(0, |family| family.cversion);
    // Logs from before 3.4 do not say.
    let cversion = if parent_cversion == -1 { stored.wrapping_add(1) } else { parent_cversion };
    if cversion > stored {
        store.change_family(parent, parent_path, |family| {
            family.cversion = cversion;
            family.pzxid = zxid;
        });
    }
}
