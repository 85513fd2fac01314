//! What the whole ensemble has done, seen from above; every rule that a run must keep is checked here.
//!
//! A history of ZAB is told by its last zxid: one leader proposes in an epoch, behind one history that it began with. So
//! each transaction is kept once, with the one before it, and whatever a server has must lie on such a chain. What a
//! serving server has applied is committed; the committed chain only grows.
//!
//! | rule | where |
//! |---|---|
//! | one established leader for an epoch | [`History::established`] |
//! | a zxid means one transaction, behind one history | [`History::appended`] |
//! | no server has anything that its zxid does not say | [`History::state`] |
//! | what one server served as committed, every later one has | [`History::state`] |
//! | a transaction is what its client asked for, once, with the outcome that the state before it demands | `commit` |
//! | a write that was answered is committed at the zxid of its answer, behind all answered before it was asked | [`History::answered`] |
//! | a read is what the tree was at the zxid of its answer | [`History::read`] |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use super::model::{Model, Write, Znode};
use crate::ids::{ServerId, Zxid};
use crate::wire::error::ErrorCode;
use crate::wire::txn::{CreateKind, LoggedTxn, Txn};

/// A transaction that some leader has proposed.
struct Proposed {
    before: Zxid,
    payload: Rc<[u8]>,
    /// The tree's digest after it.
    digest: Option<u64>,
}

/// An established leader.
struct Reign {
    leader: ServerId,
    /// The end of the history that it began with.
    base: Zxid,
}

pub struct History {
    proposed: BTreeMap<Zxid, Proposed>,
    reigns: BTreeMap<i64, Reign>,
    /// Every committed zxid, rising.
    committed: Vec<Zxid>,
    pub model: Model,
    /// The digest of a tree to which nothing was ever applied.
    empty_digest: u64,
    asked: BTreeMap<(i64, i32), Vec<Write>>,
    done: BTreeSet<(i64, i32)>,
    /// The highest zxid that any client was told of as the zxid of its own write.
    answered: Zxid,
    failure: Option<String>,
    pub writes_answered: u64,
    pub reads_answered: u64,
    pub events_seen: u64,
}

impl History {
    pub fn new(empty_digest: u64) -> History {
        History {
            proposed: BTreeMap::new(),
            reigns: BTreeMap::new(),
            committed: Vec::new(),
            model: Model::new(),
            empty_digest,
            asked: BTreeMap::new(),
            done: BTreeSet::new(),
            answered: Zxid::ZERO,
            failure: None,
            writes_answered: 0,
            reads_answered: 0,
            events_seen: 0,
        }
    }

    /// A rule is broken. The first time counts.
    pub fn fail(&mut self, what: fmt::Arguments<'_>) {
        self.failure.get_or_insert_with(|| what.to_string());
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The last committed zxid.
    pub fn end(&self) -> Zxid {
        self.committed.last().copied().unwrap_or(Zxid::ZERO)
    }

    /// The highest zxid that a client was told of.
    pub fn answered_through(&self) -> Zxid {
        self.answered
    }

    /// Epochs with an established leader.
    pub fn reigns(&self) -> usize {
        self.reigns.len()
    }

    /// The name of an epoch stands for the history that its leader began with.
    pub fn last_txn(&self, zxid: Zxid) -> Zxid {
        match zxid.counter() {
            0 => self.reigns.get(&zxid.epoch()).map_or(zxid, |reign| reign.base),
            _ => zxid,
        }
    }

    /// A leader begins to serve, behind the history that ends with `base`.
    pub fn established(&mut self, leader: ServerId, epoch: i64, base: Zxid) {
        let base = self.last_txn(base);
        if let Some(other) = self.reigns.get(&epoch) {
            let other = other.leader;
            self.fail(format_args!("epoch {epoch} has two leaders, {other} and then {leader}"));
        }
        self.reigns.insert(epoch, Reign { leader, base });
    }

    /// A server logs a transaction behind `before`. `leads`: it proposes it.
    pub fn appended(&mut self, server: ServerId, before: Zxid, zxid: Zxid, payload: &Rc<[u8]>, leads: bool) {
        let before = self.last_txn(before);
        match self.proposed.get(&zxid) {
            Some(proposed) if proposed.payload != *payload => {
                self.fail(format_args!(
                    "server {server} logs another transaction as {zxid} than was proposed"
                ));
            }
            Some(proposed) if proposed.before != before => {
                let expected = proposed.before;
                self.fail(format_args!("server {server} logs {zxid} behind {before} instead of {expected}"));
            }
            Some(_) if leads => self.fail(format_args!("server {server} proposes {zxid} a second time")),
            Some(_) => {}
            None if !leads => self.fail(format_args!("server {server} logs {zxid}, which nobody proposed")),
            None => {
                let digest = match LoggedTxn::decode(payload, usize::MAX) {
                    Ok(logged) if logged.header.zxid == zxid => logged.digest,
                    _ => {
                        return self
                            .fail(format_args!("server {server} proposes {zxid}, which does not decode"));
                    }
                };
                self.proposed.insert(zxid, Proposed { before, payload: Rc::clone(payload), digest });
            }
        }
    }

    /// What a server's tree is. `serves`: clients may see it, so it must be committed.
    pub fn state(&mut self, server: ServerId, zxid: Zxid, digest: u64, serves: bool) {
        let zxid = self.last_txn(zxid);
        let expected = self.digest_at(zxid);
        if expected != Some(digest) {
            self.fail(format_args!(
                "server {server} at {zxid} has a tree with digest {digest:#x} instead of {expected:x?}"
            ));
        }
        if serves {
            self.commit_through(server, zxid);
        }
    }

    fn digest_at(&self, mut zxid: Zxid) -> Option<u64> {
        while zxid != Zxid::ZERO {
            let proposed = self.proposed.get(&zxid)?;
            if let Some(digest) = proposed.digest {
                return Some(digest);
            }
            zxid = proposed.before;
        }
        Some(self.empty_digest)
    }

    fn commit_through(&mut self, server: ServerId, zxid: Zxid) {
        let end = self.end();
        if zxid <= end {
            if zxid != Zxid::ZERO && self.committed.binary_search(&zxid).is_err() {
                self.fail(format_args!(
                    "server {server} serves {zxid}, which is not in the committed history"
                ));
            }
            return;
        }
        let mut news = Vec::new();
        let mut at = zxid;
        while at > end {
            news.push(at);
            let Some(proposed) = self.proposed.get(&at) else {
                return self.fail(format_args!("server {server} serves {zxid}, which nobody proposed"));
            };
            at = proposed.before;
        }
        if at != end {
            return self.fail(format_args!(
                "server {server} serves {zxid}, whose history has no {end}, which was committed"
            ));
        }
        for zxid in news.into_iter().rev() {
            self.commit(zxid);
        }
    }

    fn commit(&mut self, zxid: Zxid) {
        let payload = Rc::clone(&self.proposed[&zxid].payload);
        let logged = LoggedTxn::decode(&payload, usize::MAX).expect("decoded when it was proposed");
        let key = (logged.header.session.0, logged.header.cxid);
        if let Some(writes) = self.asked.get(&key) {
            if let Err(why) = self.is_what_was_asked(writes, &logged.txn) {
                self.fail(format_args!("transaction {zxid} of session {}: {why}", logged.header.session));
            }
            if !self.done.insert(key) {
                self.fail(format_args!(
                    "request {} of session {} is committed twice",
                    key.1, logged.header.session
                ));
            }
        }
        if let Err(why) = self.model.apply(&logged.header, &logged.txn) {
            self.fail(format_args!("transaction {zxid} {why}"));
        }
        self.committed.push(zxid);
    }

    fn is_what_was_asked(&self, writes: &[Write], txn: &Txn<'_>) -> Result<(), String> {
        let failed = match txn {
            Txn::Error { code } => Some(*code),
            Txn::Multi(parts) => parts.iter().find_map(|part| match part {
                Txn::Error { code } if *code != 0 => Some(*code),
                _ => None,
            }),
            _ => None,
        };
        let due = self.model.outcome(writes);
        match (failed, due) {
            // The session may be on its way out or to another server, which the history does not say.
            (Some(code), _) if code == ErrorCode::SessionExpired.code() => return Ok(()),
            (Some(code), _) if code == ErrorCode::SessionMoved.code() => return Ok(()),
            (Some(code), Err(due)) if due.code() == code => return Ok(()),
            (None, Ok(())) => {}
            _ => {
                return Err(format!(
                    "{writes:?} ends with {failed:?}, but the state before it demands {due:?}"
                ));
            }
        }
        let single = std::slice::from_ref(txn);
        let parts = if let Txn::Multi(parts) = txn { parts } else { single };
        let all = parts.len() == writes.len();
        match all && writes.iter().zip(parts).all(|(write, part)| is_part(write, part)) {
            true => Ok(()),
            false => Err(format!("{writes:?} was asked for, and {txn:?} was made of it")),
        }
    }

    /// A client sends a write.
    pub fn asked(&mut self, session: i64, xid: i32, writes: Vec<Write>) {
        self.asked.insert((session, xid), writes);
    }

    /// A client is told that its write, sent when `before` was the highest answered zxid, has become `zxid`.
    pub fn answered(&mut self, session: i64, xid: i32, before: Zxid, zxid: Zxid, err: i32) {
        self.writes_answered += 1;
        let Some(proposed) = self.proposed.get(&zxid) else {
            return self
                .fail(format_args!("session {session:#x} is answered with {zxid}, which nobody proposed"));
        };
        let payload = Rc::clone(&proposed.payload);
        let logged = LoggedTxn::decode(&payload, usize::MAX).expect("decoded when it was proposed");
        if (logged.header.session.0, logged.header.cxid) != (session, xid) {
            self.fail(format_args!(
                "request {xid} of session {session:#x} is answered with another's zxid {zxid}"
            ));
        }
        if self.committed.binary_search(&zxid).is_err() {
            self.fail(format_args!(
                "request {xid} of session {session:#x} is answered, and {zxid} is not committed"
            ));
        }
        let code = if let Txn::Error { code } = logged.txn { code } else { 0 };
        if code != err {
            self.fail(format_args!(
                "request {xid} of session {session:#x} is answered with {err}, not {code}"
            ));
        }
        if zxid <= before {
            self.fail(format_args!(
                "request {xid} of session {session:#x} is {zxid}, though {before} was answered before it was sent"
            ));
        }
        self.answered = self.answered.max(zxid);
    }

    /// A client has read a znode. `seen`: data and Stat as they were answered.
    pub fn read<T: PartialEq + fmt::Debug>(
        &mut self,
        session: i64,
        path: &str,
        zxid: Zxid,
        seen: Option<&T>,
        of: impl Fn(&Znode) -> T,
    ) {
        self.reads_answered += 1;
        if self.last_txn(zxid) > self.end() {
            let end = self.end();
            self.fail(format_args!(
                "session {session:#x} is shown {zxid}, but {end} is the last one committed"
            ));
        }
        let due = self.model.at(path, zxid).map(|node| of(&node));
        if due.as_ref() != seen {
            self.fail(format_args!(
                "session {session:#x} reads {path} at {zxid} as {seen:?}, but it was {due:?}"
            ));
        }
    }
}

fn is_part(write: &Write, part: &Txn<'_>) -> bool {
    match (write, part) {
        (Write::Create { path, data, ephemeral, sequential }, Txn::Create(create)) => {
            let (CreateKind::Create { ephemeral: made } | CreateKind::Create2 { ephemeral: made }) =
                create.kind
            else {
                return false;
            };
            let named =
                if *sequential { create.path.starts_with(path.as_str()) } else { create.path == *path };
            named && made == *ephemeral && create.data == Some(data.as_slice())
        }
        (Write::Delete { path, .. }, Txn::Delete { path: made, .. }) => path == made,
        (Write::Set { path, data, .. }, Txn::SetData { path: made, data: to, .. }) => {
            path == made && *to == Some(data.as_slice())
        }
        (Write::Check { path, .. }, Txn::Check { path: made, .. }) => path == made,
        _ => false,
    }
}
