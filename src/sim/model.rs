//! What the tree must be at every zxid: an independent, plain reading of the committed transactions.
//!
//! It keeps every version of every znode, so that a read can be checked at the zxid that its reply names. It shares no
//! code with [`tree`](crate::tree), only the decoded records.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::ids::Zxid;
use crate::wire::error::ErrorCode;
use crate::wire::records::Stat;
use crate::wire::reply::EventType;
use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

/// A znode at some zxid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    pub data: Rc<[u8]>,
    pub stat: Stat,
    pub children: Rc<BTreeSet<String>>,
    /// How many children were ever made here.
    pub made: i32,
}

/// A session, as the history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub timeout_ms: i32,
    pub closed: Option<Zxid>,
}

/// The outcome of one operation on the model: what it would answer.
pub type Outcome = Result<(), ErrorCode>;

/// One part of a client's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Create { path: String, data: Vec<u8>, ephemeral: bool, sequential: bool },
    Delete { path: String, version: i32 },
    Set { path: String, data: Vec<u8>, version: i32 },
    Check { path: String, version: i32 },
}

/// A path's znode, each time that it changed, and `None` where it went away.
type Versions = Vec<(Zxid, Option<Rc<Znode>>)>;

#[derive(Default)]
pub struct Model {
    nodes: BTreeMap<String, Znode>,
    versions: BTreeMap<String, Versions>,
    changes: BTreeMap<String, Vec<(Zxid, EventType)>>,
    pub sessions: BTreeMap<i64, Session>,
    ephemerals: BTreeMap<i64, BTreeSet<String>>,
}

impl Model {
    pub fn new() -> Model {
        let mut model = Model::default();
        for (path, children) in [
            ("/", vec!["zookeeper"]),
            ("/zookeeper", vec!["config", "quota"]),
            ("/zookeeper/config", vec![]),
            ("/zookeeper/quota", vec![]),
        ] {
            let children: BTreeSet<String> = children.into_iter().map(str::to_owned).collect();
            let stat = Stat { num_children: children.len() as i32, ..Stat::default() };
            model.nodes.insert(
                path.into(),
                Znode { data: Rc::from([]), stat, children: Rc::new(children), made: 0 },
            );
        }
        model
    }

    /// The znode as it was after the transaction with this zxid.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<Rc<Znode>> {
        let versions = self.versions.get(path)?;
        let newer = versions.partition_point(|(changed, _)| *changed <= zxid);
        versions[..newer].last().and_then(|(_, node)| node.clone())
    }

    /// The events of a path after one zxid, up to and including another.
    pub fn changes(&self, path: &str, after: Zxid, through: Zxid) -> &[(Zxid, EventType)] {
        let Some(changes) = self.changes.get(path) else { return &[] };
        let from = changes.partition_point(|(zxid, _)| *zxid <= after);
        let to = changes.partition_point(|(zxid, _)| *zxid <= through);
        &changes[from..to.max(from)]
    }

    pub fn ephemerals(&self) -> impl Iterator<Item = (i64, &BTreeSet<String>)> {
        self.ephemerals.iter().filter(|(_, paths)| !paths.is_empty()).map(|(id, paths)| (*id, paths))
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// What a write of a live session would be answered now.
    pub fn outcome(&self, writes: &[Write]) -> Outcome {
        // A multi sees its own earlier parts: what they make and delete is tried on a copy of the few nodes it touches.
        let mut made: BTreeMap<String, Option<(i32, i32, bool)>> = BTreeMap::new();
        let mut children: BTreeMap<String, i32> = BTreeMap::new();
        let mut created: BTreeMap<String, i32> = BTreeMap::new();
        for write in writes {
            let seen = |path: &str, made: &BTreeMap<String, Option<(i32, i32, bool)>>| match made.get(path) {
                Some(node) => *node,
                None => {
                    let node = self.nodes.get(path);
                    node.map(|node| {
                        (node.stat.version, node.stat.num_children, node.stat.ephemeral_owner != 0)
                    })
                }
            };
            match write {
                Write::Create { path, sequential, .. } => {
                    let parent = parent_of(path);
                    let Some((_, _, ephemeral)) = seen(parent, &made) else { return Err(ErrorCode::NoNode) };
                    let before = self.nodes.get(parent).map_or(0, |node| node.made);
                    let count = created.entry(parent.into()).or_default();
                    let path = match sequential {
                        true => format!("{path}{:010}", before + *count),
                        false => path.clone(),
                    };
                    if seen(&path, &made).is_some() {
                        return Err(ErrorCode::NodeExists);
                    }
                    if ephemeral {
                        return Err(ErrorCode::NoChildrenForEphemerals);
                    }
                    *count += 1;
                    *children.entry(parent.into()).or_default() += 1;
                    let Write::Create { ephemeral, .. } = write else { unreachable!("matched above") };
                    children.insert(path.clone(), 0);
                    made.insert(path, Some((0, 0, *ephemeral)));
                }
                Write::Delete { path, version } => {
                    let Some((now, count, _)) = seen(path, &made) else { return Err(ErrorCode::NoNode) };
                    if *version != -1 && *version != now {
                        return Err(ErrorCode::BadVersion);
                    }
                    if count + children.get(path).copied().unwrap_or(0) > 0 {
                        return Err(ErrorCode::NotEmpty);
                    }
                    *children.entry(parent_of(path).into()).or_default() -= 1;
                    children.remove(path);
                    made.insert(path.clone(), None);
                }
                Write::Set { path, version, .. } => {
                    let Some((now, count, ephemeral)) = seen(path, &made) else {
                        return Err(ErrorCode::NoNode);
                    };
                    if *version != -1 && *version != now {
                        return Err(ErrorCode::BadVersion);
                    }
                    made.insert(path.clone(), Some((now + 1, count, ephemeral)));
                }
                Write::Check { path, version } => {
                    let Some((now, ..)) = seen(path, &made) else { return Err(ErrorCode::NoNode) };
                    if *version != -1 && *version != now {
                        return Err(ErrorCode::BadVersion);
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies a committed transaction; an error says what in it contradicts the state before it.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        match txn {
            Txn::Multi(_) if txn.failed() => Ok(()),
            Txn::Multi(parts) => parts.iter().try_for_each(|part| self.apply_one(header, part)),
            _ => self.apply_one(header, txn),
        }
    }

    fn apply_one(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Result<(), String> {
        match txn {
            Txn::CreateSession { timeout_ms } => {
                let session = Session { timeout_ms: *timeout_ms, closed: None };
                match self.sessions.insert(header.session.0, session) {
                    None => Ok(()),
                    Some(old) => Err(format!("session {} is made twice, first as {old:?}", header.session)),
                }
            }
            Txn::CloseSession { paths } => self.close(header, paths.as_deref()),
            Txn::Error { .. } | Txn::Check { .. } => Ok(()),
            Txn::Create(create) => self.create(header, create),
            Txn::Delete { path, .. } => self.delete(header, path),
            Txn::SetData { path, data, version } => {
                let node =
                    self.nodes.get_mut(&**path).ok_or_else(|| format!("sets {path}, which is not there"))?;
                if *version != node.stat.version + 1 {
                    return Err(format!("sets {path} to version {version} after {}", node.stat.version));
                }
                node.data = Rc::from(data.unwrap_or(&[]));
                node.stat.data_length = node.data.len() as i32;
                node.stat.version = *version;
                node.stat.mzxid = header.zxid.0;
                node.stat.mtime = header.time;
                self.changed(path, header.zxid);
                self.event(path, header.zxid, EventType::NodeDataChanged);
                Ok(())
            }
            // The version of a reconfiguration is a zxid; the node is not read by clients here.
            Txn::Reconfig { .. } => Ok(()),
            Txn::SetAcl { .. } | Txn::Multi(_) => Err("a transaction that no client asks for here".into()),
        }
    }

    fn create(&mut self, header: &TxnHeader, create: &CreateTxn<'_>) -> Result<(), String> {
        let (path, zxid) = (&*create.path, header.zxid);
        if self.nodes.contains_key(path) {
            return Err(format!("creates {path}, which is there"));
        }
        let parent_path = parent_of(path);
        let parent =
            self.nodes.get_mut(parent_path).ok_or_else(|| format!("creates {path} without its parent"))?;
        parent.made += 1;
        if create.parent_cversion != parent.made {
            return Err(format!(
                "creates {path} as child {} of its parent, not {}",
                create.parent_cversion, parent.made
            ));
        }
        let children = Rc::make_mut(&mut parent.children);
        children.insert(name_of(path).into());
        family(parent, zxid);
        let ephemeral = match create.kind {
            CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } => ephemeral,
            CreateKind::Container | CreateKind::Ttl { .. } => {
                return Err("a kind that no client asks for here".into());
            }
        };
        if ephemeral {
            if self.sessions.get(&header.session.0).is_none_or(|session| session.closed.is_some()) {
                return Err(format!(
                    "creates ephemeral {path} of session {}, which is not alive",
                    header.session
                ));
            }
            self.ephemerals.entry(header.session.0).or_default().insert(path.into());
        }
        let data: Rc<[u8]> = Rc::from(create.data.unwrap_or(&[]));
        let stat = Stat {
            czxid: zxid.0,
            mzxid: zxid.0,
            pzxid: zxid.0,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: if ephemeral { header.session.0 } else { 0 },
            data_length: data.len() as i32,
            ..Stat::default()
        };
        self.nodes.insert(path.into(), Znode { data, stat, children: Rc::default(), made: 0 });
        self.changed(path, zxid);
        self.changed(parent_path, zxid);
        self.event(path, zxid, EventType::NodeCreated);
        self.event(parent_path, zxid, EventType::NodeChildrenChanged);
        Ok(())
    }

    fn delete(&mut self, header: &TxnHeader, path: &str) -> Result<(), String> {
        let zxid = header.zxid;
        let node = self.nodes.remove(path).ok_or_else(|| format!("deletes {path}, which is not there"))?;
        if !node.children.is_empty() {
            return Err(format!("deletes {path}, which has children"));
        }
        if let Some(paths) = self.ephemerals.get_mut(&node.stat.ephemeral_owner) {
            paths.remove(path);
        }
        let parent_path = parent_of(path);
        let parent = self.nodes.get_mut(parent_path).ok_or("a node without its parent")?;
        Rc::make_mut(&mut parent.children).remove(name_of(path));
        family(parent, zxid);
        self.changed(path, zxid);
        self.changed(parent_path, zxid);
        self.event(path, zxid, EventType::NodeDeleted);
        self.event(parent_path, zxid, EventType::NodeChildrenChanged);
        Ok(())
    }

    fn close(
        &mut self,
        header: &TxnHeader,
        listed: Option<&[crate::wire::jute::Text<'_>]>,
    ) -> Result<(), String> {
        let id = header.session;
        let owned = self.ephemerals.remove(&id.0).unwrap_or_default();
        if let Some(listed) = listed {
            let listed: BTreeSet<String> = listed.iter().map(|path| path.to_string()).collect();
            if listed != owned {
                return Err(format!("closes session {id} and lists {listed:?}; it owns {owned:?}"));
            }
        }
        owned.iter().try_for_each(|path| self.delete(header, path))?;
        match self.sessions.get_mut(&id.0) {
            Some(session) if session.closed.is_none() => session.closed = Some(header.zxid),
            // A close that was asked twice, by the client and by the clock, is no harm.
            Some(_) => {}
            None => return Err(format!("closes session {id}, which was never made")),
        }
        Ok(())
    }

    fn changed(&mut self, path: &str, zxid: Zxid) {
        let now = self.nodes.get(path).map(|node| Rc::new(node.clone()));
        let versions = self.versions.entry(path.into()).or_default();
        versions.pop_if(|(last, _)| *last == zxid);
        versions.push((zxid, now));
    }

    fn event(&mut self, path: &str, zxid: Zxid, event: EventType) {
        self.changes.entry(path.into()).or_default().push((zxid, event));
    }
}

/// What a change among the children does to their parent.
fn family(parent: &mut Znode, zxid: Zxid) {
    parent.stat.num_children = parent.children.len() as i32;
    parent.stat.cversion = 2 * parent.made - parent.stat.num_children;
    parent.stat.pzxid = zxid.0;
}

pub fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn name_of(path: &str) -> &str {
    &path[path.rfind('/').map_or(0, |at| at + 1)..]
}
