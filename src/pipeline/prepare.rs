//! The checks of each write, in Java's order; the first that fails decides what the client is told.

use std::borrow::Cow;

use super::outstanding::{Outstanding, PendingAcl, PendingNode};
use crate::auth::{Auth, Identity};
use crate::ids::{SessionId, Zxid};
use crate::quorum::membership::Membership;
use crate::quorum::reconfig::{Standing, Wanted};
use crate::session::{SessionState, Sessions};
use crate::time::OncePerSecond;
use crate::tree::{self, NodeKind, QuotaVerdict, Tree, TreeOptions};
use crate::wire::error::ErrorCode;
use crate::wire::jute::Text;
use crate::wire::op::Op;
use crate::wire::records::{AclList, StatPersisted, perms};
use crate::wire::request::{CreateRequest, MultiOp, Request};
use crate::wire::txn::{CreateKind, CreateTxn, LoggedTxn, Txn, TxnHeader};

/// The membership, as clients read it.
const CONFIG: &str = "/zookeeper/config";

/// Settings that decide whether a write is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What kinds of nodes there are, and whether digests are kept.
    pub tree: TreeOptions,
    /// `extendedTypesEnabled`: TTL nodes may be made.
    pub ttl_nodes: bool,
    pub enforce_quota: bool,
    pub reconfig_enabled: bool,
    /// `closeSessionTxn.enabled`: closeSession lists the paths it deletes.
    pub close_session_paths: bool,
    /// Largest log payload in bytes: what a server reads back at its next start (`jute.maxbuffer` + extrasize).
    pub record_max: usize,
}

/// What a request is checked against.
#[derive(Clone, Copy)]
pub struct World<'w> {
    /// Only of a leader: nobody else can change the membership.
    pub standing: Option<&'w Standing>,
    pub tree: &'w Tree,
    pub sessions: &'w Sessions,
    pub auth: &'w Auth,
}

/// Who asks. Internal requests (expiry, containers) have no identities.
#[derive(Clone, Copy)]
pub struct Author<'w> {
    pub session: SessionId,
    pub cxid: i32,
    pub identities: &'w [Identity],
}

/// A list as [`Auth::fix_acl`] made it, or why it was refused. Made before the checks, so that transactions
/// can borrow it; looked at when its turn among the checks comes.
type FixedAcl<'a> = Result<Cow<'a, [u8]>, ErrorCode>;

/// Makes transactions of requests.
#[derive(Debug)]
pub struct Preparer {
    rules: Rules,
    outstanding: Outstanding,
    last_zxid: Zxid,
    quota_lines: OncePerSecond,
    /// The membership in the transaction that was prepared last, if it is one that changes it.
    reconfig: Option<Membership>,
}

/// A transaction in the making.
struct Draft<'p, 'w> {
    outstanding: &'p mut Outstanding,
    quota_lines: &'p mut OncePerSecond,
    world: World<'w>,
    rules: Rules,
    author: Author<'w>,
    zxid: Zxid,
    time: i64,
}

impl Preparer {
    pub fn new(rules: Rules, last_zxid: Zxid) -> Preparer {
        Preparer {
            rules,
            outstanding: Outstanding::new(rules.tree.digest),
            last_zxid,
            quota_lines: OncePerSecond::default(),
            reconfig: None,
        }
    }

    /// The membership that the last transaction proposes, if it proposes one.
    pub fn take_reconfig(&mut self) -> Option<Membership> {
        self.reconfig.take()
    }

    /// The zxid of the last prepared transaction.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Number of change records that wait for their transaction to be applied.
    pub fn outstanding_changes(&self) -> usize {
        self.outstanding.len()
    }

    /// The tree has applied everything up to `zxid`.
    pub fn applied(&mut self, zxid: Zxid) {
        self.outstanding.applied(zxid);
    }

    /// Turns a client's write into its transaction and appends the log payload to `out`.
    ///
    /// A refused request becomes an error transaction (or, for a multi, one that says which part failed).
    pub fn prepare(
        &mut self,
        world: World<'_>,
        author: Author<'_>,
        time: i64,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Zxid {
        match request {
            Request::Multi(ops) => {
                let fixed: Vec<Option<FixedAcl<'_>>> = ops
                    .iter()
                    .map(|op| match op {
                        MultiOp::Create { create, .. } => {
                            Some(world.auth.fix_acl(create.acl, author.identities))
                        }
                        _ => None,
                    })
                    .collect();
                self.draft(world, author, time, out, |draft| Ok(draft.multi(ops, &fixed)))
            }
            Request::Create { op, create } => {
                let fixed = world.auth.fix_acl(create.acl, author.identities);
                self.draft(world, author, time, out, |draft| draft.create(*op, create, &fixed))
            }
            Request::SetAcl { path, acl, version } => {
                let fixed = world.auth.fix_acl(*acl, author.identities);
                self.draft(world, author, time, out, |draft| draft.set_acl(path, &fixed, *version))
            }
            Request::Reconfig { joining, leaving, new_members, config_id } => {
                let wanted = Wanted {
                    joining: joining.as_deref(),
                    leaving: leaving.as_deref(),
                    new_members: new_members.as_deref(),
                    config_id: *config_id,
                };
                // A server that does not lead can do nothing with it, as Java's standalone server.
                let planned = world.standing.ok_or(ErrorCode::Unimplemented);
                let planned = planned.and_then(|standing| standing.plan(&wanted, self.last_zxid.next()));
                let text = planned.as_ref().map(Membership::to_string).map_err(|error| *error);
                let mut allowed = false;
                let zxid = self.draft(world, author, time, out, |draft| {
                    let txn = draft.reconfig(&text)?;
                    allowed = true;
                    Ok(txn)
                });
                self.reconfig = planned.ok().filter(|_| allowed);
                zxid
            }
            request => self.draft(world, author, time, out, |draft| draft.single(request)),
        }
    }

    /// The transaction of a write that could not even be read.
    pub fn prepare_error(
        &mut self,
        world: World<'_>,
        author: Author<'_>,
        time: i64,
        error: ErrorCode,
        out: &mut Vec<u8>,
    ) -> Zxid {
        self.draft(world, author, time, out, |_| Err(error))
    }

    /// The transaction that makes a session.
    pub fn prepare_create_session(
        &mut self,
        world: World<'_>,
        session: SessionId,
        timeout_ms: i32,
        time: i64,
        out: &mut Vec<u8>,
    ) -> Zxid {
        let author = Author { session, cxid: 0, identities: &[] };
        self.draft(world, author, time, out, |_| Ok(Txn::CreateSession { timeout_ms }))
    }

    /// The container manager's delete: no session, no ACL; it takes a zxid even if it fails.
    pub fn prepare_delete_container(
        &mut self,
        world: World<'_>,
        path: &str,
        time: i64,
        out: &mut Vec<u8>,
    ) -> Zxid {
        let author = Author { session: SessionId::NONE, cxid: 0, identities: &[] };
        self.draft(world, author, time, out, |draft| draft.delete_container(path))
    }

    fn draft<'w, 'r>(
        &mut self,
        world: World<'w>,
        author: Author<'w>,
        time: i64,
        out: &mut Vec<u8>,
        make: impl FnOnce(&mut Draft<'_, 'w>) -> Result<Txn<'r>, ErrorCode>,
    ) -> Zxid {
        let zxid = self.last_zxid.next();
        self.last_zxid = zxid;
        self.outstanding.begin(world.tree);
        let mut draft = Draft {
            outstanding: &mut self.outstanding,
            quota_lines: &mut self.quota_lines,
            world,
            rules: self.rules,
            author,
            zxid,
            time,
        };
        let txn = make(&mut draft).unwrap_or_else(|error| {
            draft.outstanding.rollback();
            Txn::Error { code: error.code() }
        });
        let digest = if matches!(txn, Txn::Error { .. }) { None } else { self.outstanding.digest() };
        let closes_session = matches!(txn, Txn::CloseSession { .. });
        let start = out.len();
        let mut log = |txn: Txn<'r>, digest| {
            out.truncate(start);
            let header =
                TxnHeader { session: author.session, cxid: author.cxid, zxid, time, kind: txn.kind() };
            LoggedTxn { header, txn, digest }.encode(out);
            out.len() - start
        };
        let len = log(txn, digest);
        if len <= self.rules.record_max {
            return zxid;
        }
        // Java logs such a record and refuses it at its next start. It takes many ephemerals, or an `auth` entry
        // that stands for many identities, to make one of requests that fit.
        if closes_session {
            // Without its list the record means what the session owns when it is applied, which is the same. A
            // reader takes a digest for a list, so there is none.
            log(Txn::CloseSession { paths: None }, None);
        } else {
            log::warn!(
                "Refused a write of session {}: its record of {len} bytes is too long",
                author.session
            );
            self.outstanding.rollback();
            log(Txn::Error { code: ErrorCode::MarshallingError.code() }, None);
        }
        zxid
    }
}

/// Everything before the last slash; "" is the root. Only for paths that contain one.
fn parent_of(path: &str) -> &str {
    &path[..path.rfind('/').unwrap_or(0)]
}

/// `PrepRequestProcessor.getParentPathAndValidate` and its kin: a slash somewhere, and no NUL.
fn has_parent(path: &str) -> bool {
    path.contains('/') && !path.contains('\0')
}

fn present<'a>(path: &'a Option<Text<'_>>) -> Result<&'a str, ErrorCode> {
    path.as_deref().ok_or(ErrorCode::MarshallingError)
}

fn validated<'a>(path: &'a Option<Text<'_>>) -> Result<&'a str, ErrorCode> {
    // Here Java validates before anything dereferences the path: null is a bad argument like any other.
    let path = path.as_deref().ok_or(ErrorCode::BadArguments)?;
    tree::validate_path(path).map_err(|_| ErrorCode::BadArguments)?;
    Ok(path)
}

fn fixed_list<'a>(fixed: &'a FixedAcl<'_>) -> Result<AclList<'a>, ErrorCode> {
    let bytes = fixed.as_ref().map_err(|error| *error)?;
    Ok(AclList::from_encoded(bytes).expect("encoded by Auth::fix_acl"))
}

fn session_lives(state: SessionState) -> Result<(), ErrorCode> {
    match state {
        SessionState::Alive => Ok(()),
        SessionState::Closing | SessionState::Unknown => Err(ErrorCode::SessionExpired),
    }
}

/// Nodes that exist from the start and stay (`PrepRequestProcessor`, `ZooKeeperServer.checkPath`).
fn is_reserved(path: &str) -> bool {
    matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config")
}

/// -1 matches every version.
fn next_version(expected: i32, current: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        Err(ErrorCode::BadVersion)
    } else {
        Ok(current.wrapping_add(1))
    }
}

impl<'w> Draft<'_, 'w> {
    /// Every write without an ACL list.
    fn single<'r>(&mut self, request: &'r Request<'_>) -> Result<Txn<'r>, ErrorCode> {
        match request {
            Request::Delete { path, version } => {
                self.check_session()?;
                let path = present(path)?;
                self.delete(path, *version)?;
                Ok(Txn::Delete { path: Cow::Borrowed(path), container: false })
            }
            Request::SetData { path, data, version } => {
                self.check_session()?;
                let path = validated(path)?;
                let version = self.set_data(path, *data, *version)?;
                Ok(Txn::SetData { path: Cow::Borrowed(path), data: *data, version })
            }
            Request::DeleteContainer { path } => {
                self.check_session()?;
                let path = present(path)?;
                // Java's 3.9 lets any client delete any childless node this way, without a look at its ACL.
                // Here it is a delete like any other, and only of what the container manager would delete.
                if let Ok(node) = self.node(path)
                    && !matches!(node.kind, NodeKind::Container | NodeKind::Ttl { .. })
                {
                    return Err(ErrorCode::BadArguments);
                }
                self.delete(path, -1)?;
                Ok(Txn::Delete { path: Cow::Borrowed(path), container: true })
            }
            Request::CloseSession => Ok(self.close_session()),
            _ => unreachable!("routed here by the operation table: only writes"),
        }
    }

    /// A new membership's text becomes the data of `/zookeeper/config`, on which the client needs WRITE.
    fn reconfig<'r>(&mut self, planned: &'r Result<String, ErrorCode>) -> Result<Txn<'r>, ErrorCode> {
        if !self.rules.reconfig_enabled {
            return Err(ErrorCode::ReconfigDisabled);
        }
        self.check_session()?;
        let text = planned.as_ref().map_err(|error| *error)?;
        let node = self.node(CONFIG)?;
        self.check_acl(&node, perms::WRITE)?;
        if text.len() > self.rules.record_max / 2 {
            // What is too long for the log becomes an error there, and by then the membership counts as proposed.
            return Err(ErrorCode::MarshallingError);
        }
        let mut changed = node.clone();
        changed.stat.version = -1;
        changed.stat.mzxid = self.zxid.0;
        changed.stat.mtime = self.time;
        changed.data_len = text.len() as u32;
        self.outstanding.put(self.zxid, CONFIG, Some(&node), Some(changed));
        Ok(Txn::Reconfig { path: Cow::Borrowed(CONFIG), data: Some(text.as_bytes()), version: -1 })
    }

    /// All parts, or, if one fails, none: then each part has its error and the overlay is as before.
    fn multi<'r>(&mut self, ops: &'r [MultiOp<'_>], fixed: &'r [Option<FixedAcl<'_>>]) -> Txn<'r> {
        let mut parts = Vec::with_capacity(ops.len());
        for (op, fixed) in ops.iter().zip(fixed) {
            match self.part(op, fixed.as_ref()) {
                Ok(part) => parts.push(part),
                Err(error) => {
                    self.outstanding.rollback();
                    parts.push(Txn::Error { code: error.code() });
                    let rest = ops.len() - parts.len();
                    parts.extend(
                        (0..rest).map(|_| Txn::Error { code: ErrorCode::RuntimeInconsistency.code() }),
                    );
                    break;
                }
            }
        }
        Txn::Multi(parts)
    }

    fn part<'r>(
        &mut self,
        op: &'r MultiOp<'_>,
        fixed: Option<&'r FixedAcl<'_>>,
    ) -> Result<Txn<'r>, ErrorCode> {
        match op {
            MultiOp::Create { op, create } => {
                self.create(*op, create, fixed.expect("every create of a multi has its list"))
            }
            MultiOp::BadCreateFlags => Err(ErrorCode::BadArguments),
            MultiOp::Delete { path, version } => {
                self.check_session()?;
                self.delete(path, *version)?;
                Ok(Txn::Delete { path: Cow::Borrowed(path), container: false })
            }
            MultiOp::SetData { path, data, version } => {
                self.check_session()?;
                tree::validate_path(path).map_err(|_| ErrorCode::BadArguments)?;
                let version = self.set_data(path, *data, *version)?;
                Ok(Txn::SetData { path: Cow::Borrowed(path), data: *data, version })
            }
            MultiOp::Check { path, version } => {
                self.check_session()?;
                tree::validate_path(path).map_err(|_| ErrorCode::BadArguments)?;
                let node = self.node(path)?;
                self.check_acl(&node, perms::READ)?;
                let version = next_version(*version, node.stat.version)?;
                Ok(Txn::Check { path: Cow::Borrowed(path), version })
            }
            MultiOp::GetData { .. } | MultiOp::GetChildren { .. } => {
                unreachable!("the decoder refuses reads inside a multi")
            }
        }
    }

    fn check_session(&self) -> Result<(), ErrorCode> {
        session_lives(self.world.sessions.writer(self.author.session))
    }

    fn node(&self, path: &str) -> Result<PendingNode, ErrorCode> {
        self.outstanding.get(self.world.tree, path).ok_or(ErrorCode::NoNode)
    }

    fn check_acl(&self, node: &PendingNode, wanted: i32) -> Result<(), ErrorCode> {
        if let PendingAcl::Interned(id) = node.acl
            && self.world.tree.acl_world_perms(id) & wanted != 0
        {
            return Ok(());
        }
        if self.world.auth.allows(node.acl_list(self.world.tree), wanted, self.author.identities) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn check_quota(&mut self, path: &str, count_diff: i64, bytes_diff: i64) -> Result<(), ErrorCode> {
        if !self.rules.enforce_quota {
            return Ok(());
        }
        let verdict = self.world.tree.quota_exceeded(path, count_diff, bytes_diff);
        if verdict != QuotaVerdict::Ok
            && let Some(more) = self.quota_lines.pass(self.time)
        {
            let session = self.author.session;
            log::warn!(
                "Quota exceeded ({verdict:?}) by a write of session {session} to {path}; {more} more before"
            );
        }
        if verdict == QuotaVerdict::HardExceeded { Err(ErrorCode::QuotaExceeded) } else { Ok(()) }
    }

    fn create<'r>(
        &mut self,
        op: Op,
        create: &'r CreateRequest<'_>,
        fixed: &'r FixedAcl<'_>,
    ) -> Result<Txn<'r>, ErrorCode> {
        let flags = create.flags;
        if !(0..=6).contains(&flags) {
            return Err(ErrorCode::BadArguments);
        }
        let with_ttl = flags >= 5;
        if with_ttl && !self.rules.ttl_nodes {
            return Err(ErrorCode::Unimplemented);
        }
        let ttl_ms = create.ttl_ms.unwrap_or(-1);
        let ttl_fits = if with_ttl { (1..=tree::TTL_MS_MAX).contains(&ttl_ms) } else { ttl_ms < 0 };
        // The second half: Java takes createTTL with plain flags, logs a TTL of -1 and dies of it at every start.
        if !ttl_fits || (op == Op::CreateTtl && !with_ttl) {
            return Err(ErrorCode::BadArguments);
        }
        let ephemeral = matches!(flags, 1 | 3);
        if ephemeral {
            session_lives(self.world.sessions.owner_of_ephemerals(self.author.session))?;
        } else {
            self.check_session()?;
        }
        let path = present(&create.path)?;
        if !has_parent(path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = fixed_list(fixed)?;
        let parent_path = parent_of(path);
        let parent = self.node(parent_path)?;
        self.check_acl(&parent, perms::CREATE)?;
        let sequential = matches!(flags, 2 | 3 | 6);
        let path: Text<'r> = if sequential {
            Cow::Owned(format!("{path}{:010}", parent.stat.cversion))
        } else {
            Cow::Borrowed(path)
        };
        tree::validate_path(&path).map_err(|_| ErrorCode::BadArguments)?;
        if self.outstanding.exists(self.world.tree, &path) {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let data_len = create.data.map_or(0, <[u8]>::len);
        self.check_quota(&path, 1, data_len as i64)?;

        let (kind, node_kind) = match op {
            Op::CreateContainer => (CreateKind::Container, NodeKind::Container),
            Op::CreateTtl => (CreateKind::Ttl { ttl_ms }, NodeKind::Ttl { ms: ttl_ms }),
            _ => (
                if op == Op::Create {
                    CreateKind::Create { ephemeral }
                } else {
                    CreateKind::Create2 { ephemeral }
                },
                if ephemeral { NodeKind::Ephemeral(self.author.session) } else { NodeKind::Persistent },
            ),
        };
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        let mut grown = parent.clone();
        grown.children += 1;
        // After 2^31-1 creates the counter stands still, in Java and in the tree alike.
        if parent_cversion > grown.stat.cversion {
            grown.stat.cversion = parent_cversion;
            grown.stat.pzxid = self.zxid.0;
        }
        self.outstanding.put(self.zxid, parent_path, Some(&parent), Some(grown));
        let made = PendingNode {
            stat: StatPersisted {
                czxid: self.zxid.0,
                mzxid: self.zxid.0,
                pzxid: self.zxid.0,
                ctime: self.time,
                mtime: self.time,
                ephemeral_owner: node_kind.owner(self.rules.tree),
                ..StatPersisted::default()
            },
            children: 0,
            data_len: data_len as u32,
            acl: PendingAcl::new(acl.bytes()),
            prefix_crc: self.prefix_crc(&path, create.data),
            kind: node_kind,
        };
        self.outstanding.put(self.zxid, &path, None, Some(made));
        Ok(Txn::Create(CreateTxn { kind, path, data: create.data, acl, parent_cversion }))
    }

    fn prefix_crc(&self, path: &str, data: Option<&[u8]>) -> u32 {
        if self.rules.tree.digest { tree::prefix_crc(path, data) } else { 0 }
    }

    fn delete(&mut self, path: &str, version: i32) -> Result<(), ErrorCode> {
        if !has_parent(path) || is_reserved(path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.node(parent_of(path))?;
        self.check_acl(&parent, perms::DELETE)?;
        let node = self.node(path)?;
        next_version(version, node.stat.version)?;
        self.remove(path, parent, node)
    }

    fn delete_container(&mut self, path: &str) -> Result<Txn<'static>, ErrorCode> {
        if !has_parent(path) || is_reserved(path) {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.node(path)?;
        // The node may have been written to or replaced since it was found to be due, up to a minute ago. Java
        // looks at nothing but its children again, and deletes what its owner has just renewed.
        let due = match node.kind {
            NodeKind::Container => true,
            NodeKind::Ttl { ms } => self.time.saturating_sub(node.stat.mtime) > ms,
            NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
        };
        if !due && node.children == 0 {
            return Err(ErrorCode::BadVersion);
        }
        let parent = self.node(parent_of(path))?;
        self.remove(path, parent, node)?;
        Ok(Txn::Delete { path: Cow::Owned(path.to_string()), container: true })
    }

    fn remove(&mut self, path: &str, parent: PendingNode, node: PendingNode) -> Result<(), ErrorCode> {
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.forget(path, parent, node);
        Ok(())
    }

    /// The node will be gone; its parent shows it.
    fn forget(&mut self, path: &str, parent: PendingNode, node: PendingNode) {
        let mut shrunk = parent.clone();
        shrunk.children = shrunk.children.saturating_sub(1);
        shrunk.stat.pzxid = self.zxid.0;
        self.outstanding.put(self.zxid, parent_of(path), Some(&parent), Some(shrunk));
        self.outstanding.put(self.zxid, path, Some(&node), None);
    }

    fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32) -> Result<i32, ErrorCode> {
        let node = self.node(path)?;
        self.check_acl(&node, perms::WRITE)?;
        let data_len = data.map_or(0, <[u8]>::len);
        let grows_by = data_len as i64 - i64::from(node.data_len);
        if grows_by != 0 {
            self.check_quota(path, 0, grows_by)?;
        }
        let version = next_version(version, node.stat.version)?;
        let mut changed = node.clone();
        changed.stat.version = version;
        changed.stat.mzxid = self.zxid.0;
        changed.stat.mtime = self.time;
        changed.data_len = data_len as u32;
        changed.prefix_crc = self.prefix_crc(if path == "/" { "" } else { path }, data);
        self.outstanding.put(self.zxid, path, Some(&node), Some(changed));
        Ok(version)
    }

    fn set_acl<'r>(
        &mut self,
        path: &'r Option<Text<'_>>,
        fixed: &'r FixedAcl<'_>,
        version: i32,
    ) -> Result<Txn<'r>, ErrorCode> {
        self.check_session()?;
        let path = validated(path)?;
        let acl = fixed_list(fixed)?;
        let node = self.node(path)?;
        self.check_acl(&node, perms::ADMIN)?;
        let version = next_version(version, node.stat.aversion)?;
        let mut changed = node.clone();
        changed.stat.aversion = version;
        changed.acl = PendingAcl::new(acl.bytes());
        self.outstanding.put(self.zxid, path, Some(&node), Some(changed));
        Ok(Txn::SetAcl { path: Cow::Borrowed(path), acl, version })
    }

    fn close_session(&mut self) -> Txn<'static> {
        let paths = self.outstanding.ephemerals(self.world.tree, self.author.session);
        for path in &paths {
            let node = self.node(path).expect("it was listed a moment ago");
            let parent = self.node(parent_of(path)).expect("a znode has its parent");
            self.forget(path, parent, node);
        }
        let paths = self.rules.close_session_paths.then(|| paths.into_iter().map(Cow::Owned).collect());
        Txn::CloseSession { paths }
    }
}
