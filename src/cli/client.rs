//! The client that the commands call: one blocking method for each operation, paths below the chroot.
//!
//! What a connection is and how it is kept alive is in [`link`](super::link); here requests are encoded and
//! replies decoded. Paths are checked before they are sent, as Java's client does, because the server's
//! refusal does not say what is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use super::error::{Failure, KeeperError};
use super::event::State;
use super::link::{Effect, Link, Pending, Settings, strip_chroot};
use super::path;
use super::watches::{WatchKind, WatcherType};
use crate::wire::error::ErrorCode;
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::op::Op;
use crate::wire::records::{Acl, AclList, Stat};
use crate::wire::request::{MultiHeader, put_create};

/// Where the ensemble's membership lives, whatever the chroot.
const CONFIG_PATH: &str = "/zookeeper/config";
/// How long `close` waits for the server's word.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What kind of znode to create: the flags of the wire, and the TTL where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateMode {
    pub flags: i32,
    pub ttl_ms: Option<i64>,
}

impl CreateMode {
    pub const PERSISTENT: CreateMode = CreateMode { flags: 0, ttl_ms: None };
    pub const EPHEMERAL: CreateMode = CreateMode { flags: 1, ttl_ms: None };
    pub const PERSISTENT_SEQUENTIAL: CreateMode = CreateMode { flags: 2, ttl_ms: None };
    pub const EPHEMERAL_SEQUENTIAL: CreateMode = CreateMode { flags: 3, ttl_ms: None };
    pub const CONTAINER: CreateMode = CreateMode { flags: 4, ttl_ms: None };

    pub fn with_ttl(ttl_ms: i64, sequential: bool) -> CreateMode {
        CreateMode { flags: if sequential { 6 } else { 5 }, ttl_ms: Some(ttl_ms) }
    }

    fn is_sequential(self) -> bool {
        matches!(self.flags, 2 | 3 | 6)
    }

    fn op(self) -> Op {
        match self.flags {
            4 => Op::CreateContainer,
            5 | 6 => Op::CreateTtl,
            // Not create2: servers of 3.4 know only this one, and nobody looks at the stat.
            _ => Op::Create,
        }
    }
}

/// Which persistent watch to add; the numbers are the wire's (`AddWatchMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum AddWatchMode {
    Persistent = 0,
    PersistentRecursive = 1,
}

/// One session with an ensemble.
pub struct Client {
    link: Arc<Link>,
    chroot: String,
}

pub type Result<T> = std::result::Result<T, Failure>;

impl Client {
    /// Starts connecting and returns at once; requests wait for the connection.
    pub fn open(settings: Settings) -> Client {
        let chroot = settings.connect.chroot.clone();
        Client { link: Link::open(settings), chroot }
    }

    pub fn state(&self) -> State {
        self.link.state()
    }

    /// Whether there ever was a connection.
    pub fn was_connected(&self) -> bool {
        self.link.was_connected()
    }

    /// Why there is no connection, for a person; `None` if nothing went wrong yet.
    pub fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    /// Waits until there is a connection or every server has been tried once in vain; at most `limit`.
    pub fn wait_first_round(&self, limit: Duration) {
        self.link.wait_first_round(limit);
    }

    /// Waits for a connection to a server that takes writes. False if there is none within `limit`.
    pub fn wait_connected(&self, limit: Duration) -> bool {
        self.link.wait_connected(limit)
    }

    /// Ends the session, and with it its ephemeral nodes.
    pub fn close(&self) {
        self.link.close(CLOSE_WAIT);
    }

    /// The path that was made; a sequential one has its number.
    pub fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl<'_>],
        mode: CreateMode,
    ) -> Result<String> {
        path::validate_to_create(path, mode.is_sequential()).map_err(Failure::Text)?;
        let mut record = Vec::new();
        put_create(&mut record, &self.full(path), data, acl, mode.flags, mode.ttl_ms);
        self.call(mode.op(), record, Effect::None, path, |r| {
            Ok(strip_chroot(&self.chroot, &required(r.string()?)?).to_string())
        })
    }

    pub fn delete(&self, path: &str, version: i32) -> Result<()> {
        let record = self.record(path, |out| jute::put_int(out, version))?;
        self.call(Op::Delete, record, Effect::None, path, |_| Ok(()))
    }

    /// Deletes all of `paths` in this order or none, without waiting for the answer.
    pub fn submit_deletes(&self, paths: &[String]) -> Deletes {
        let mut record = Vec::new();
        for path in paths {
            MultiHeader { kind: Op::Delete.code(), done: false, err: -1 }.write(&mut record);
            jute::put_string(&mut record, Some(&self.full(path)));
            jute::put_int(&mut record, -1);
        }
        MultiHeader::END.write(&mut record);
        Deletes(self.link.submit(Op::Multi, record, Effect::None))
    }

    /// `None` if there is no such node; a watch then waits for it to come into being.
    pub fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>> {
        let record = self.record(path, |out| jute::put_bool(out, watch))?;
        let effect = if watch { Effect::WatchExists(self.full(path)) } else { Effect::None };
        match self.call(Op::Exists, record, effect, path, Stat::read) {
            Err(Failure::Keeper(error)) if error.is(ErrorCode::NoNode) => Ok(None),
            other => other.map(Some),
        }
    }

    pub fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        path::validate(path).map_err(Failure::Text)?;
        self.get_data_of(&self.full(path), path, watch)
    }

    /// The ensemble's membership.
    pub fn get_config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        self.get_data_of(CONFIG_PATH, CONFIG_PATH, watch)
    }

    fn get_data_of(&self, full: &str, shown: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat)> {
        let mut record = Vec::new();
        jute::put_string(&mut record, Some(full));
        jute::put_bool(&mut record, watch);
        let effect = watch_effect(watch, WatchKind::Data, full);
        self.call(Op::GetData, record, effect, shown, |r| {
            Ok((r.buffer()?.map(<[u8]>::to_vec), Stat::read(r)?))
        })
    }

    pub fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat> {
        let record = self.record(path, |out| {
            jute::put_buffer(out, Some(data));
            jute::put_int(out, version);
        })?;
        self.call(Op::SetData, record, Effect::None, path, Stat::read)
    }

    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat)> {
        let record = self.record(path, |_| ())?;
        self.call(Op::GetAcl, record, Effect::None, path, |r| {
            let list = AclList::read(r)?;
            Ok((list.entries().map(into_owned).collect(), Stat::read(r)?))
        })
    }

    pub fn set_acl(&self, path: &str, acl: &[Acl<'_>], version: i32) -> Result<Stat> {
        let record = self.record(path, |out| {
            out.extend_from_slice(&AclList::encode(acl));
            jute::put_int(out, version);
        })?;
        self.call(Op::SetAcl, record, Effect::None, path, Stat::read)
    }

    /// The names of the children, in the server's order.
    pub fn get_children(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat)> {
        self.submit_children(path, watch)?.wait()
    }

    /// As [`get_children`](Client::get_children), without waiting for the answer.
    pub fn submit_children(&self, path: &str, watch: bool) -> Result<Children> {
        let record = self.record(path, |out| jute::put_bool(out, watch))?;
        let effect = watch_effect(watch, WatchKind::Child, &self.full(path));
        Ok(Children { pending: self.link.submit(Op::GetChildren2, record, effect), path: path.to_string() })
    }

    /// Waits until the server has caught up with its leader; at most `limit`.
    pub fn sync(&self, path: &str, limit: Duration) -> Result<()> {
        let record = self.record(path, |_| ())?;
        let answer = self.link.submit(Op::Sync, record, Effect::None).wait_at_most(limit);
        answer.map(|_| ()).map_err(|code| KeeperError::new(code, path).into())
    }

    pub fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<()> {
        let record = self.record(path, |out| jute::put_int(out, mode as i32))?;
        let kind = match mode {
            AddWatchMode::Persistent => WatchKind::Persistent,
            AddWatchMode::PersistentRecursive => WatchKind::PersistentRecursive,
        };
        self.call(Op::AddWatch, record, Effect::Watch(kind, self.full(path)), path, |_| Ok(()))
    }

    /// `local`: forget them even if the server cannot be asked.
    pub fn remove_watches(&self, path: &str, watcher_type: WatcherType, local: bool) -> Result<()> {
        let record = self.record(path, |out| jute::put_int(out, watcher_type as i32))?;
        let effect = Effect::Unwatch { watcher_type, path: self.full(path), local };
        self.call(Op::RemoveWatches, record, effect, path, |_| Ok(()))
    }

    /// This session's ephemeral nodes whose paths begin with `prefix`, sorted.
    pub fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>> {
        let record = self.record(prefix, |_| ())?;
        let mut paths = self.call(Op::GetEphemerals, record, Effect::None, prefix, strings)?;
        for path in &mut paths {
            *path = strip_chroot(&self.chroot, path).to_string();
        }
        paths.sort();
        Ok(paths)
    }

    /// How many nodes are below `path`, at any depth.
    pub fn get_all_children_number(&self, path: &str) -> Result<i32> {
        let record = self.record(path, |_| ())?;
        self.call(Op::GetAllChildrenNumber, record, Effect::None, path, |r| r.int())
    }

    /// Scheme and user of each identity that the connection has.
    pub fn who_am_i(&self) -> Result<Vec<(String, String)>> {
        self.call_without_path(Op::WhoAmI, Vec::new(), |r| {
            let n = r.count()?.unwrap_or(0);
            (0..n)
                .map(|_| Ok((r.string()?.unwrap_or_default().into(), r.string()?.unwrap_or_default().into())))
                .collect()
        })
    }

    /// Adds an identity for the rest of the session. A server that refuses it ends the session.
    pub fn add_auth(&self, scheme: &str, credential: Option<&[u8]>) -> Result<()> {
        match self.link.add_auth(scheme, credential).wait() {
            Ok(_) => Ok(()),
            Err(code) => Err(KeeperError { code, path: None }.into()),
        }
    }

    /// Changes the ensemble's membership; the new one, and the stat of the node that holds it. `version` is the
    /// version of the configuration that is to be replaced, -1 for whatever it is.
    pub fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        version: i64,
    ) -> Result<(Vec<u8>, Stat)> {
        let mut record = Vec::new();
        jute::put_string(&mut record, joining);
        jute::put_string(&mut record, leaving);
        jute::put_string(&mut record, members);
        jute::put_long(&mut record, version);
        // Java names no path here, and its text then ends after the colon.
        self.call(Op::Reconfig, record, Effect::None, "", |r| {
            Ok((r.buffer()?.unwrap_or_default().to_vec(), Stat::read(r)?))
        })
    }

    /// The path as the server knows it.
    fn full(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            ("", path) => path.to_string(),
            (chroot, "/") => chroot.to_string(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// A record that begins with the path, once that has been checked.
    fn record(&self, path: &str, rest: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>> {
        path::validate(path).map_err(Failure::Text)?;
        let mut record = Vec::new();
        jute::put_string(&mut record, Some(&self.full(path)));
        rest(&mut record);
        Ok(record)
    }

    fn call<T>(
        &self,
        op: Op,
        record: Vec<u8>,
        effect: Effect,
        path: &str,
        decode: impl FnOnce(&mut Reader<'_>) -> jute::Result<T>,
    ) -> Result<T> {
        let answer = self.link.submit(op, record, effect).wait();
        read_answer(answer, Some(path), decode)
    }

    fn call_without_path<T>(
        &self,
        op: Op,
        record: Vec<u8>,
        decode: impl FnOnce(&mut Reader<'_>) -> jute::Result<T>,
    ) -> Result<T> {
        read_answer(self.link.submit(op, record, Effect::None).wait(), None, decode)
    }
}

/// Children to come.
pub struct Children {
    pending: Pending,
    path: String,
}

impl Children {
    pub fn wait(self) -> Result<(Vec<String>, Stat)> {
        read_answer(self.pending.wait(), Some(&self.path), children)
    }

    /// For a person who waits at a prompt.
    pub fn wait_at_most(self, limit: Duration) -> Result<(Vec<String>, Stat)> {
        read_answer(self.pending.wait_at_most(limit), Some(&self.path), children)
    }
}

/// The answer to [`Client::submit_deletes`].
pub struct Deletes(Pending);

impl Deletes {
    /// Whether all of them are gone; false: none of them is.
    pub fn wait(self) -> Result<bool> {
        read_answer(self.0.wait(), None, |r| {
            // A multi that failed has header error 0, and an error for each operation.
            let first = MultiHeader::read(r)?;
            Ok(first.done || first.kind != Op::Error.code())
        })
    }
}

fn read_answer<T>(
    answer: super::link::Answer,
    path: Option<&str>,
    decode: impl FnOnce(&mut Reader<'_>) -> jute::Result<T>,
) -> Result<T> {
    let failed = |code| Failure::Keeper(KeeperError { code, path: path.map(str::to_string) });
    let body = answer.map_err(failed)?;
    decode(&mut Reader::new(&body, body.len())).map_err(|_| failed(ErrorCode::MarshallingError.code()))
}

fn children(r: &mut Reader<'_>) -> jute::Result<(Vec<String>, Stat)> {
    Ok((strings(r)?, Stat::read(r)?))
}

fn strings(r: &mut Reader<'_>) -> jute::Result<Vec<String>> {
    let all = r.strings()?.unwrap_or_default();
    Ok(all.into_iter().flatten().map(String::from).collect())
}

fn required<T>(value: Option<T>) -> jute::Result<T> {
    value.ok_or(Malformed::BadValue("null in a reply"))
}

fn watch_effect(watch: bool, kind: WatchKind, full: &str) -> Effect {
    if watch { Effect::Watch(kind, full.to_string()) } else { Effect::None }
}

fn into_owned(acl: Acl<'_>) -> Acl<'static> {
    let owned = |text: Option<jute::Text<'_>>| text.map(|text| text.into_owned().into());
    Acl { perms: acl.perms, scheme: owned(acl.scheme), id: owned(acl.id) }
}
