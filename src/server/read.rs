//! Reads: answered from the tree at once, on the server the client is connected to.
//!
//! The checks of each operation and their order are those of client-protocol.md section 7.

use super::Server;
use super::client::{Client, ConnId};
use crate::auth::{Auth, mask_digests};
use crate::metrics::Metrics;
use crate::time::Instant;
use crate::tree::{AclId, NodeId, Table, Tree, WatchMode, WatcherType, Watches};
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, Reader, Text};
use crate::wire::op::Op;
use crate::wire::records::perms;
use crate::wire::reply::{EventType, ReplyHeader, put_watch_event};
use crate::wire::request::{MultiHeader, MultiOp, Request, SetWatches};

/// A multiRead's results may fill this many frames of the size that clients may send. Its operations are a few bytes
/// each, so without a limit one small request would be answered with every byte of memory there is.
const MULTI_READ_FRAMES: usize = 16;

/// When a read was received, and who its client was then.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub received: Instant,
    /// How many of the connection's identities it had.
    pub identities: usize,
}

/// What a read works with.
struct Reading<'s> {
    tree: &'s Tree,
    metrics: &'s mut Metrics,
    watches: &'s mut Watches,
    auth: &'s Auth,
    client: &'s mut Client,
    /// How many of the client's identities count.
    identities: usize,
    /// The longest that the results of a multiRead may get, in bytes.
    multi_read_max: usize,
}

impl Server {
    /// Answers a read; it was asked before `now` if it had to wait.
    pub(super) fn read(
        &mut self,
        now: Instant,
        conn: ConnId,
        op: Op,
        xid: i32,
        r: &mut Reader<'_>,
        asked: Asked,
    ) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let zxid = self.tree.last_zxid().0;
        // The header is written first and patched on failure: most reads succeed, and their body then goes
        // straight into the connection's output.
        let start = client.out.len();
        let xid = if op == Op::Ping { crate::ids::Xid::PING.0 } else { xid };
        jute::put_int(&mut client.out, 0);
        ReplyHeader::ok(xid, zxid).write(&mut client.out);
        let body = client.out.len();
        let mut reading = Reading {
            tree: &self.tree,
            metrics: &mut self.metrics,
            watches: &mut self.watches,
            auth: &self.options.auth,
            client,
            identities: asked.identities,
            multi_read_max: MULTI_READ_FRAMES * self.options.frame_max,
        };
        let outcome = match Request::read(op, r) {
            Ok(Request::SetWatches(set)) => reading.set_watches(&set, start),
            Ok(request) => reading.answer(&request).map(|()| start),
            Err(_) => Err(ErrorCode::MarshallingError),
        };
        let client = reading.client;
        // Names of children can be more than the length of a frame can say.
        let fits = |start: &usize| client.out.len() - start - 4 <= i32::MAX as usize;
        let outcome = match outcome {
            Ok(start) if !fits(&start) => Err(ErrorCode::MarshallingError),
            outcome => outcome,
        };
        let start = match outcome {
            Ok(start) => start,
            Err(error) => {
                client.out.truncate(body);
                client.out[body - 4..].copy_from_slice(&error.code().to_be_bytes());
                start
            }
        };
        let len = i32::try_from(client.out.len() - start - 4).expect("a reply fits in 2^31 bytes");
        client.out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        client.stats.sent += 1;
        client.stats.answered(op, xid, zxid, asked.received, now);
        self.metrics.replied(op, len as usize);
        self.metrics.answered(now.nanos_since(asked.received), false);
        self.clients.list(conn);
    }
}

impl Reading<'_> {
    fn allowed(&self, acl: AclId, wanted: i32) -> bool {
        let identities = &self.client.identities[..self.identities];
        self.tree.acl_world_perms(acl) & wanted != 0
            || self.auth.allows(self.tree.acl(acl), wanted, identities)
    }

    /// The node at `path`, if it is there and may be read.
    fn readable(&self, path: &str) -> Result<NodeId, ErrorCode> {
        let node = self.tree.find(path).ok_or(ErrorCode::NoNode)?;
        if self.allowed(self.tree.acl_id(node), perms::READ) { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    fn watch(&mut self, table: Table, path: &str, mode: WatchMode) {
        self.watches.add(table, path, self.client.id.watcher(), mode);
    }

    fn answer(&mut self, request: &Request<'_>) -> Result<(), ErrorCode> {
        match request {
            Request::Ping => {}
            Request::Exists { path, watch } => {
                let text = present(path)?;
                if text.contains('\0') {
                    return Err(ErrorCode::BadArguments);
                }
                let node = self.tree.find(text);
                if node.is_some_and(|node| !self.allowed(self.tree.acl_id(node), perms::READ)) {
                    return Err(ErrorCode::NoAuth);
                }
                // Also on a missing node: that is what a client uses exists for.
                if *watch {
                    self.watch(Table::Data, text, WatchMode::Standard);
                }
                let node = node.ok_or(ErrorCode::NoNode)?;
                self.tree.stat(node).write(&mut self.client.out);
            }
            Request::GetData { path, watch } => {
                let text = present(path)?;
                let node = self.readable(text)?;
                if *watch {
                    self.watch(Table::Data, text, WatchMode::Standard);
                }
                let data = self.tree.data(node);
                self.metrics.read_of(text, data.map_or(0, <[u8]>::len));
                jute::put_buffer(&mut self.client.out, data);
                self.tree.stat(node).write(&mut self.client.out);
            }
            Request::GetChildren { path, watch, with_stat } => {
                let text = present(path)?;
                let node = self.readable(text)?;
                if *watch {
                    self.watch(Table::Child, text, WatchMode::Standard);
                }
                let before = self.client.out.len();
                put_children(self.tree, node, &mut self.client.out);
                // The names alone, as Java counts them, without the four bytes before each and before all.
                let lengths = 4 * (self.tree.state(node).children as usize + 1);
                self.metrics.read_of(text, self.client.out.len() - before - lengths);
                if *with_stat {
                    self.tree.stat(node).write(&mut self.client.out);
                }
            }
            Request::GetAcl { path } => {
                let node = self.tree.find(present(path)?).ok_or(ErrorCode::NoNode)?;
                let acl = self.tree.acl_id(node);
                if !self.allowed(acl, perms::READ | perms::ADMIN) {
                    return Err(ErrorCode::NoAuth);
                }
                let list = self.tree.acl(acl);
                if self.allowed(acl, perms::ADMIN) && std::str::from_utf8(list.bytes()).is_ok() {
                    self.client.out.extend_from_slice(list.bytes());
                } else if self.allowed(acl, perms::ADMIN) {
                    // Re-encoding repairs what Java wrote as surrogates, as Java's own reader does.
                    let entries: Vec<_> = list.entries().collect();
                    self.client.out.extend(crate::wire::records::AclList::encode(&entries));
                } else {
                    self.client.out.extend(mask_digests(list));
                }
                self.tree.stat(node).write(&mut self.client.out);
            }
            Request::GetAllChildrenNumber { path } => {
                let node = self.readable(present(path)?)?;
                jute::put_len(&mut self.client.out, self.tree.descendants(node));
            }
            Request::GetEphemerals { prefix } => {
                // `String.trim` takes control characters away as well.
                let all = |prefix: &&str| matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
                let prefix = prefix.as_deref().filter(|prefix| !all(prefix)).unwrap_or_default();
                let mut paths = self.tree.ephemerals(self.client.session);
                paths.retain(|path| path.starts_with(prefix));
                jute::put_len(&mut self.client.out, paths.len());
                for path in &paths {
                    jute::put_string(&mut self.client.out, Some(path));
                }
            }
            // Standalone (and on a leader) an ordered no-op: everything acknowledged is applied here.
            Request::Sync { path } => jute::put_string(&mut self.client.out, path.as_deref()),
            Request::WhoAmI => {
                let client = &mut *self.client;
                let identities = &client.identities[..self.identities];
                jute::put_len(&mut client.out, identities.len());
                for identity in identities {
                    jute::put_string(&mut client.out, Some(&identity.scheme));
                    jute::put_string(&mut client.out, Some(identity.user()));
                }
            }
            Request::AddWatch { path, mode } => {
                // Java takes a null path, too; nothing can happen to it.
                match (mode, path) {
                    (0, Some(path)) => {
                        self.watch(Table::Data, path, WatchMode::Persistent);
                        self.watch(Table::Child, path, WatchMode::Persistent);
                    }
                    (1, Some(path)) => self.watch(Table::Data, path, WatchMode::PersistentRecursive),
                    (0 | 1, None) => {}
                    _ => return Err(ErrorCode::MarshallingError),
                }
                // An ErrorResponse: four bytes that clients wait for.
                jute::put_int(&mut self.client.out, 0);
            }
            Request::CheckWatches { path, watcher_type } => {
                let kind = WatcherType::from_code(*watcher_type).ok_or(ErrorCode::MarshallingError)?;
                let path = path.as_deref().unwrap_or_default();
                if !self.watches.contains(path, self.client.id.watcher(), kind) {
                    return Err(ErrorCode::NoWatcher);
                }
            }
            Request::RemoveWatches { path, watcher_type } => {
                let kind = WatcherType::from_code(*watcher_type).ok_or(ErrorCode::MarshallingError)?;
                let path = path.as_deref().unwrap_or_default();
                if !self.watches.remove(path, self.client.id.watcher(), kind) {
                    return Err(ErrorCode::NoWatcher);
                }
            }
            Request::MultiRead(ops) => self.multi_read(ops)?,
            _ => unreachable!("routed here by the operation table: only reads"),
        }
        Ok(())
    }

    /// Each operation has its result or its own error; only a reply that grows too long fails as a whole.
    fn multi_read(&mut self, ops: &[MultiOp<'_>]) -> Result<(), ErrorCode> {
        let end_max = self.client.out.len() + self.multi_read_max;
        for op in ops {
            if self.client.out.len() > end_max {
                log::warn!("Refused a multiRead of session {}: its reply is too long", self.client.session);
                return Err(ErrorCode::MarshallingError);
            }
            let (path, kind) = match op {
                MultiOp::GetData { path } => (path, Op::GetData),
                MultiOp::GetChildren { path } => (path, Op::GetChildren),
                _ => unreachable!("the decoder refuses writes inside a multiRead"),
            };
            let node = self.readable(path);
            let out = &mut self.client.out;
            match node {
                Err(error) => put_error_result(out, error.code()),
                Ok(node) => {
                    MultiHeader { kind: kind.code(), done: false, err: 0 }.write(out);
                    if kind == Op::GetData {
                        jute::put_buffer(out, self.tree.data(node));
                        self.tree.stat(node).write(out);
                    } else {
                        put_children(self.tree, node, out);
                    }
                }
            }
        }
        MultiHeader::END.write(&mut self.client.out);
        Ok(())
    }

    /// Sets the watches that a reconnected client had, or tells it at once what it missed.
    ///
    /// The reply's header stands already at `start`; events go out before it, so it is written again behind
    /// them. Returns where it stands now.
    fn set_watches(&mut self, set: &SetWatches<'_>, start: usize) -> Result<usize, ErrorCode> {
        let header: Vec<u8> = self.client.out.split_off(start);
        let outcome = self.renew_watches(set);
        let start = self.client.out.len();
        self.client.out.extend_from_slice(&header);
        if let Err(error) = outcome {
            // Events may stand before the header by now, so the caller's way of failing does not fit.
            let end = self.client.out.len();
            self.client.out[end - 4..].copy_from_slice(&error.code().to_be_bytes());
        }
        Ok(start)
    }

    fn renew_watches(&mut self, set: &SetWatches<'_>) -> Result<(), ErrorCode> {
        let present = |path: &Option<Text<'_>>| path.is_some();
        let lists = [&set.data, &set.exist, &set.child, &set.persistent, &set.persistent_recursive];
        if !lists.into_iter().flatten().all(present) {
            return Err(ErrorCode::MarshallingError);
        }
        let seen = set.relative_zxid;
        for path in set.data.iter().flatten() {
            match self.tree.find(path).map(|node| self.tree.stat(node)) {
                None => self.event(EventType::NodeDeleted, path),
                Some(stat) if stat.mzxid > seen => self.event(EventType::NodeDataChanged, path),
                Some(_) => self.watch(Table::Data, path, WatchMode::Standard),
            }
        }
        for path in set.exist.iter().flatten() {
            match self.tree.find(path) {
                Some(_) => self.event(EventType::NodeCreated, path),
                None => self.watch(Table::Data, path, WatchMode::Standard),
            }
        }
        for path in set.child.iter().flatten() {
            match self.tree.find(path).map(|node| self.tree.stat(node)) {
                None => self.event(EventType::NodeDeleted, path),
                Some(stat) if stat.pzxid > seen => self.event(EventType::NodeChildrenChanged, path),
                Some(_) => self.watch(Table::Child, path, WatchMode::Standard),
            }
        }
        for path in set.persistent.iter().flatten() {
            self.watch(Table::Data, path, WatchMode::Persistent);
            self.watch(Table::Child, path, WatchMode::Persistent);
        }
        for path in set.persistent_recursive.iter().flatten() {
            self.watch(Table::Data, path, WatchMode::PersistentRecursive);
        }
        Ok(())
    }

    fn event(&mut self, event: EventType, path: &str) {
        put_watch_event(&mut self.client.out, -1, event, path);
        self.client.stats.sent += 1;
    }
}

fn present<'p>(path: &'p Option<Text<'_>>) -> Result<&'p str, ErrorCode> {
    path.as_deref().ok_or(ErrorCode::MarshallingError)
}

fn put_children(tree: &Tree, node: NodeId, out: &mut Vec<u8>) {
    jute::put_len(out, tree.state(node).children as usize);
    for name in tree.children(node) {
        jute::put_string(out, Some(name));
    }
}

/// The result of an operation that failed inside a multi.
pub(super) fn put_error_result(out: &mut Vec<u8>, code: i32) {
    MultiHeader { kind: Op::Error.code(), done: false, err: code }.write(out);
    jute::put_int(out, code);
}
