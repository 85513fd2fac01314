//! A simulated client: one session after the other, over whatever server answers, with requests drawn by chance.
//!
//! It does what Java's client library does: pings, gives up a silent server after two thirds of its session's time,
//! takes its session and its watches to another server, and begins a new one once it is told that the old one is gone. It
//! is also the witness of the clients' guarantees.
//!
//! | guarantee | where it is checked |
//! |---|---|
//! | replies come in the order of requests | `on_reply` |
//! | the zxids that a session is shown never go back, across servers too | `see` |
//! | an event stands before any reply that shows its change, and comes once | `see`, `on_event` |
//! | what was missed while no server was there is told when watches are set again | `on_watches_set` |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::history::History;
use super::model::Write;
use super::network::End;
use super::random::Random;
use crate::ids::Zxid;
use crate::time::{Instant, Millis};
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::op::Op;
use crate::wire::records::{Acl, AclList, Stat};
use crate::wire::reply::{EventType, ReplyHeader};
use crate::wire::request::{ConnectRequest, MultiHeader, RequestHeader, put_create};

const XID_SET_WATCHES: i32 = -8;
const XID_PING: i32 = -2;
const XID_EVENT: i32 = -1;

/// Watches that one client holds at a time: checking them costs time at every reply.
const WATCHES_MAX: usize = 12;

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub session_timeout: Millis,
    /// Longest pause between two requests, in microseconds.
    pub pause_max_us: u64,
    /// Requests sent and not answered.
    pub pipeline_max: usize,
    /// Znodes directly below the root, and how many children of a name each may have.
    pub roots: u64,
    pub names: u64,
    pub data_max: u64,
    /// Sessions may be known to one server alone.
    pub local_sessions: bool,
}

/// What a client wants of the world.
#[derive(Debug)]
pub enum Want {
    Dial(usize),
    Send(End, Vec<u8>),
    Close(End),
}

/// What happened to a client.
#[derive(Debug)]
pub enum Happened {
    Dialed(End),
    DialFailed,
    Bytes(End, Vec<u8>),
    Closed(End),
    Timeout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Write { writes: Vec<Write>, multi: bool, answered_before: Zxid },
    Get { path: String, watch: bool },
    Exists { path: String, watch: bool },
    Children { path: String, watch: bool },
    Sync,
    SetWatches { relative: Zxid },
    Reconfig { joining: Option<String>, leaving: Option<String>, answered_before: Zxid },
    Close,
}

#[derive(Debug)]
struct Pending {
    xid: i32,
    question: Question,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Data,
    Child,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    since: Zxid,
    /// Set by `exists` on a path that had no node.
    absent: bool,
}

enum State {
    Resting,
    Dialing,
    /// The connect request is on its way.
    Greeting(End),
    Ready(End),
}

pub struct Client {
    name: usize,
    servers: usize,
    random: Random,
    habits: Habits,
    state: State,
    session: i64,
    password: Vec<u8>,
    seen: Zxid,
    input: Vec<u8>,
    xid: i32,
    pending: VecDeque<Pending>,
    watches: BTreeMap<(String, Kind), Watch>,
    next_step: Instant,
    heard: Instant,
    said: Instant,
    /// No new requests: the run is at its end.
    pub quiet: bool,
    /// A server to go to next; otherwise any.
    pub prefers: Option<usize>,
    pub sessions_had: u64,
    pub answers: u64,
}

impl Client {
    pub fn new(name: usize, servers: usize, habits: Habits, mut random: Random) -> Client {
        let first = Instant(random.below(1_000_000_000));
        Client {
            name,
            servers,
            random,
            habits,
            state: State::Resting,
            session: 0,
            password: vec![0; 16],
            seen: Zxid::ZERO,
            input: Vec::new(),
            xid: 0,
            pending: VecDeque::new(),
            watches: BTreeMap::new(),
            next_step: first,
            heard: first,
            said: first,
            quiet: false,
            prefers: None,
            sessions_had: 0,
            answers: 0,
        }
    }

    /// The session that it holds, or 0.
    pub fn session(&self) -> i64 {
        self.session
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub fn next_timeout(&self) -> Instant {
        self.next_step
    }

    pub fn handle(&mut self, now: Instant, happened: Happened, history: &mut History, wants: &mut Vec<Want>) {
        match happened {
            Happened::Dialed(end) => {
                if !matches!(self.state, State::Dialing) {
                    return wants.push(Want::Close(end));
                }
                self.greet(now, end, wants);
            }
            Happened::DialFailed => self.lose(now),
            Happened::Closed(end) if self.end() == Some(end) => self.lose(now),
            Happened::Bytes(end, bytes) if self.end() == Some(end) => {
                self.heard = now;
                self.input.extend_from_slice(&bytes);
                self.take_frames(now, history, wants);
            }
            Happened::Closed(_) | Happened::Bytes(..) => {}
            Happened::Timeout => self.on_timeout(now, history, wants),
        }
    }

    fn end(&self) -> Option<End> {
        match self.state {
            State::Greeting(end) | State::Ready(end) => Some(end),
            State::Resting | State::Dialing => None,
        }
    }

    fn greet(&mut self, now: Instant, end: End, wants: &mut Vec<Want>) {
        self.state = State::Greeting(end);
        (self.heard, self.said) = (now, now);
        self.next_step = now + Millis(self.patience_ms());
        let mut frame = Vec::new();
        jute::put_frame(&mut frame, |out| {
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: self.seen.0,
                timeout_ms: self.habits.session_timeout.0 as i32,
                session: self.session,
                password: Some(&self.password),
                read_only: Some(false),
            };
            request.encode(out);
        });
        wants.push(Want::Send(end, frame));
    }

    fn patience_ms(&self) -> u64 {
        self.habits.session_timeout.0 * 2 / 3
    }

    /// The connection is gone, and with it every answer that has not come.
    fn lose(&mut self, now: Instant) {
        self.state = State::Resting;
        self.pending.clear();
        self.input.clear();
        self.next_step = Instant(now.0 + 1000 * self.random.between(1000, 100_000));
    }

    fn forget_session(&mut self) {
        (self.session, self.seen) = (0, Zxid::ZERO);
        self.password = vec![0; 16];
        self.watches.clear();
    }

    fn on_timeout(&mut self, now: Instant, history: &mut History, wants: &mut Vec<Want>) {
        if now < self.next_step {
            return;
        }
        match self.state {
            State::Resting => {
                if self.quiet && self.session == 0 && self.prefers.is_none() {
                    return self.next_step = now + Millis(10_000);
                }
                self.state = State::Dialing;
                let any = self.random.below(self.servers as u64) as usize;
                wants.push(Want::Dial(self.prefers.unwrap_or(any)));
                self.next_step = now + Millis(60_000);
            }
            State::Dialing => self.next_step = now + Millis(60_000),
            State::Greeting(end) => {
                wants.push(Want::Close(end));
                self.lose(now);
            }
            State::Ready(end) => {
                if now.millis_since(self.heard) >= self.patience_ms() {
                    wants.push(Want::Close(end));
                    return self.lose(now);
                }
                if now.millis_since(self.said) >= self.habits.session_timeout.0 / 3 {
                    self.send(now, XID_PING, Op::Ping, wants, |_| {});
                }
                if !self.quiet && self.pending.len() < self.habits.pipeline_max {
                    self.ask_something(now, history, wants);
                }
                let most = if self.quiet {
                    1000 * self.habits.session_timeout.0 / 6
                } else {
                    self.habits.pause_max_us
                };
                self.next_step = Instant(now.0 + 1000 * self.random.between(most / 10 + 1, most + 1));
            }
        }
    }

    fn send(
        &mut self,
        now: Instant,
        xid: i32,
        op: Op,
        wants: &mut Vec<Want>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let State::Ready(end) = self.state else { return };
        let mut frame = Vec::new();
        jute::put_frame(&mut frame, |out| {
            RequestHeader { xid, kind: op.code() }.write(out);
            body(out);
        });
        self.said = now;
        wants.push(Want::Send(end, frame));
    }

    fn root(&mut self) -> String {
        format!("/n{}", self.random.below(self.habits.roots))
    }

    fn some_path(&mut self) -> String {
        let root = self.root();
        let name = self.random.below(self.habits.names);
        match self.random.below(4) {
            0 => root,
            1 => format!("{root}/e{name}"),
            _ => format!("{root}/c{name}"),
        }
    }

    fn some_data(&mut self) -> Vec<u8> {
        let len = match self.random.below(8) {
            0 => self.random.below(self.habits.data_max + 1),
            _ => self.random.below(24),
        };
        let byte = self.random.number() as u8;
        (0..len).map(|at| byte ^ at as u8).collect()
    }

    fn some_version(&mut self) -> i32 {
        if self.random.one_in(4) { self.random.below(4) as i32 } else { -1 }
    }

    fn some_write(&mut self) -> Write {
        match self.random.below(12) {
            0 => Write::Create {
                path: self.root(),
                data: self.some_data(),
                ephemeral: false,
                sequential: false,
            },
            1 | 2 => {
                let path = format!("{}/c{}", self.root(), self.random.below(self.habits.names));
                Write::Create { path, data: self.some_data(), ephemeral: false, sequential: false }
            }
            3 | 4 => {
                let path = format!("{}/e{}", self.root(), self.random.below(self.habits.names));
                Write::Create { path, data: self.some_data(), ephemeral: true, sequential: false }
            }
            5 => {
                let (path, ephemeral) = (format!("{}/s-", self.root()), self.random.one_in(2));
                Write::Create { path, data: Vec::new(), ephemeral, sequential: true }
            }
            6 | 7 => Write::Delete { path: self.some_path(), version: self.some_version() },
            _ => Write::Set { path: self.some_path(), data: self.some_data(), version: self.some_version() },
        }
    }

    fn ask_something(&mut self, now: Instant, history: &mut History, wants: &mut Vec<Want>) {
        let watch = self.watches.len() < WATCHES_MAX && self.random.one_in(3);
        match self.random.below(100) {
            0..45 => {
                let write = self.some_write();
                self.write(now, vec![write], false, history, wants);
            }
            45..55 => {
                let mut writes: Vec<Write> = Vec::new();
                for _ in 0..self.random.between(1, 4) {
                    let write = match self.random.below(5) {
                        0 => Write::Check { path: self.some_path(), version: self.some_version() },
                        _ => self.some_write(),
                    };
                    writes.push(write);
                }
                self.write(now, writes, true, history, wants);
            }
            55..70 => {
                let path = self.some_path();
                self.ask(now, Question::Get { path, watch }, wants);
            }
            70..80 => {
                let path = self.some_path();
                self.ask(now, Question::Exists { path, watch }, wants);
            }
            80..92 => {
                let path = self.root();
                self.ask(now, Question::Children { path, watch }, wants);
            }
            92..97 => self.ask(now, Question::Sync, wants),
            97..99 => {
                // To another server, with the session.
                if let (State::Ready(end), true) = (&self.state, self.random.one_in(3)) {
                    wants.push(Want::Close(*end));
                    self.lose(now);
                }
            }
            _ => {
                if self.random.one_in(4) {
                    self.ask(now, Question::Close, wants);
                }
            }
        }
    }

    /// Asks for a write of the caller's choice; false if there is no session.
    pub fn ask_write(
        &mut self,
        now: Instant,
        write: Write,
        history: &mut History,
        wants: &mut Vec<Want>,
    ) -> bool {
        let ready = self.is_ready();
        if ready {
            self.write(now, vec![write], false, history, wants);
        }
        ready
    }

    /// Asks for another membership: a server that gets a role, or one that is none any more.
    pub fn ask_reconfig(
        &mut self,
        now: Instant,
        joining: Option<String>,
        leaving: Option<String>,
        history: &History,
        wants: &mut Vec<Want>,
    ) {
        let answered_before = history.answered_through();
        self.ask(now, Question::Reconfig { joining, leaving, answered_before }, wants);
    }

    fn write(
        &mut self,
        now: Instant,
        writes: Vec<Write>,
        multi: bool,
        history: &mut History,
        wants: &mut Vec<Want>,
    ) {
        history.asked(self.session, self.xid + 1, writes.clone());
        let answered_before = history.answered_through();
        self.ask(now, Question::Write { writes, multi, answered_before }, wants);
    }

    fn ask(&mut self, now: Instant, question: Question, wants: &mut Vec<Want>) {
        self.xid += 1;
        let xid = self.xid;
        let mut body = Vec::new();
        let op = match &question {
            Question::Write { writes, multi: true, .. } => {
                for write in writes {
                    let op = op_of(write);
                    MultiHeader { kind: op.code(), done: false, err: -1 }.write(&mut body);
                    put_write(&mut body, write);
                }
                MultiHeader::END.write(&mut body);
                Op::Multi
            }
            Question::Write { writes, .. } => {
                put_write(&mut body, &writes[0]);
                op_of(&writes[0])
            }
            Question::Get { path, watch } => {
                put_read(&mut body, path, *watch);
                Op::GetData
            }
            Question::Exists { path, watch } => {
                put_read(&mut body, path, *watch);
                Op::Exists
            }
            Question::Children { path, watch } => {
                put_read(&mut body, path, *watch);
                Op::GetChildren2
            }
            Question::Sync => {
                jute::put_string(&mut body, Some("/"));
                Op::Sync
            }
            Question::Reconfig { joining, leaving, .. } => {
                jute::put_string(&mut body, joining.as_deref());
                jute::put_string(&mut body, leaving.as_deref());
                jute::put_string(&mut body, None);
                jute::put_long(&mut body, -1);
                Op::Reconfig
            }
            Question::Close => Op::CloseSession,
            Question::SetWatches { .. } => unreachable!("sent by itself"),
        };
        self.pending.push_back(Pending { xid, question });
        self.send(now, xid, op, wants, |out| out.extend_from_slice(&body));
    }

    /// As Java's client: first of all on a new connection of an old session.
    fn set_watches(&mut self, now: Instant, wants: &mut Vec<Want>) {
        if self.watches.is_empty() {
            return;
        }
        let list = |out: &mut Vec<u8>, paths: Vec<&str>| {
            jute::put_len(out, paths.len());
            for path in paths {
                jute::put_string(out, Some(path));
            }
        };
        let of = |kind: Kind, absent: bool| -> Vec<&str> {
            let mine = self.watches.iter().filter(|((_, of), watch)| *of == kind && watch.absent == absent);
            mine.map(|((path, _), _)| path.as_str()).collect()
        };
        let mut body = Vec::new();
        jute::put_long(&mut body, self.seen.0);
        list(&mut body, of(Kind::Data, false));
        list(&mut body, of(Kind::Data, true));
        list(&mut body, of(Kind::Child, false));
        let question = Question::SetWatches { relative: self.seen };
        self.pending.push_back(Pending { xid: XID_SET_WATCHES, question });
        self.send(now, XID_SET_WATCHES, Op::SetWatches, wants, |out| out.extend_from_slice(&body));
    }

    fn take_frames(&mut self, now: Instant, history: &mut History, wants: &mut Vec<Want>) {
        while let Some(len) = self.input.first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            if self.input.len() < 4 + len || self.end().is_none() {
                return;
            }
            let rest = self.input.split_off(4 + len);
            let frame = std::mem::replace(&mut self.input, rest);
            let taken = match self.state {
                State::Greeting(end) => self.on_greeted(now, end, &frame[4..], history, wants),
                State::Ready(end) => self.on_frame(now, end, &frame[4..], history, wants),
                State::Resting | State::Dialing => return,
            };
            if let Err(error) = taken {
                let name = self.name;
                history.fail(format_args!("client {name} is sent what it cannot read: {error}"));
            }
        }
    }

    fn on_greeted(
        &mut self,
        now: Instant,
        end: End,
        frame: &[u8],
        history: &mut History,
        wants: &mut Vec<Want>,
    ) -> Result<(), Malformed> {
        let mut r = Reader::new(frame, frame.len());
        let _version = r.int()?;
        let timeout_ms = r.int()?;
        let session = r.long()?;
        let password = r.buffer()?.unwrap_or(&[]).to_vec();
        if session == 0 || timeout_ms <= 0 {
            if self.session == 0 {
                history.fail(format_args!("client {} is refused a new session", self.name));
            }
            self.forget_session();
            wants.push(Want::Close(end));
            self.lose(now);
            return Ok(());
        }
        match history.model.sessions.get(&session) {
            None if self.habits.local_sessions => {}
            None => history.fail(format_args!(
                "client {} is given session {session:#x}, which was never made",
                self.name
            )),
            Some(_) if self.session != 0 && self.session != session => {
                history.fail(format_args!("client {} is given another session than its own", self.name));
            }
            Some(_) => {}
        }
        if self.session == 0 {
            self.sessions_had += 1;
        }
        (self.session, self.password) = (session, password);
        self.state = State::Ready(end);
        self.next_step = now;
        self.set_watches(now, wants);
        Ok(())
    }

    fn on_frame(
        &mut self,
        now: Instant,
        end: End,
        frame: &[u8],
        history: &mut History,
        wants: &mut Vec<Want>,
    ) -> Result<(), Malformed> {
        let mut r = Reader::new(frame, frame.len());
        let header = ReplyHeader::read(&mut r)?;
        match header.xid {
            XID_EVENT => return self.on_event(header, &mut r, history),
            XID_PING => {
                self.see(Zxid(header.zxid), history);
                return Ok(());
            }
            _ => {}
        }
        self.answers += 1;
        let Some(pending) = self.pending.pop_front().filter(|pending| pending.xid == header.xid) else {
            history.fail(format_args!("client {} is sent a reply {} out of order", self.name, header.xid));
            return Ok(());
        };
        let zxid = Zxid(header.zxid);
        match &pending.question {
            Question::SetWatches { relative } => {
                self.on_watches_set(*relative, zxid, history);
                self.see(zxid, history);
            }
            question => {
                self.see(zxid, history);
                self.on_reply(&pending, question, header, &mut r, history)?;
            }
        }
        if pending.question == Question::Close {
            self.forget_session();
            wants.push(Want::Close(end));
            self.lose(now);
        }
        Ok(())
    }

    fn on_reply(
        &mut self,
        pending: &Pending,
        question: &Question,
        header: ReplyHeader,
        r: &mut Reader<'_>,
        history: &mut History,
    ) -> Result<(), Malformed> {
        let (zxid, session) = (Zxid(header.zxid), self.session);
        match question {
            Question::Write { answered_before, .. } | Question::Reconfig { answered_before, .. } => {
                history.answered(session, pending.xid, *answered_before, zxid, header.err);
            }
            Question::Get { path, watch } => {
                let seen = match header.err {
                    0 => Some((r.buffer()?.unwrap_or(&[]).to_vec(), Stat::read(r)?)),
                    _ => None,
                };
                history.read(session, path, zxid, seen.as_ref(), |node| (node.data.to_vec(), node.stat));
                if *watch && seen.is_some() {
                    self.watch(path, Kind::Data, Watch { since: zxid, absent: false });
                }
            }
            Question::Exists { path, watch } => {
                let seen = if header.err == 0 { Some(Stat::read(r)?) } else { None };
                history.read(session, path, zxid, seen.as_ref(), |node| node.stat);
                if *watch {
                    self.watch(path, Kind::Data, Watch { since: zxid, absent: seen.is_none() });
                }
            }
            Question::Children { path, watch } => {
                let seen = match header.err {
                    0 => {
                        let names = r.strings()?.unwrap_or_default();
                        let names: BTreeSet<String> =
                            names.into_iter().flatten().map(|name| name.into_owned()).collect();
                        Some((names, Stat::read(r)?))
                    }
                    _ => None,
                };
                history
                    .read(session, path, zxid, seen.as_ref(), |node| ((*node.children).clone(), node.stat));
                if *watch && seen.is_some() {
                    self.watch(path, Kind::Child, Watch { since: zxid, absent: false });
                }
            }
            Question::Sync | Question::Close | Question::SetWatches { .. } => {}
        }
        Ok(())
    }

    fn watch(&mut self, path: &str, kind: Kind, watch: Watch) {
        // A watch that is there already stays as old as it is; only whether the node is there is news.
        let known = self.watches.entry((path.into(), kind)).or_insert(watch);
        known.absent &= watch.absent;
    }

    /// The session is shown the tree at `zxid`.
    fn see(&mut self, zxid: Zxid, history: &mut History) {
        if zxid.0 <= 0 {
            return;
        }
        if zxid < self.seen {
            let (session, seen) = (self.session, self.seen);
            history.fail(format_args!("session {session:#x} is shown {zxid} after {seen}"));
        }
        self.seen = zxid;
        if self.pending.iter().any(|pending| matches!(pending.question, Question::SetWatches { .. })) {
            return;
        }
        for ((path, kind), watch) in &self.watches {
            let missed =
                history.model.changes(path, watch.since, zxid).iter().find(|(_, event)| fires(*kind, *event));
            if let Some((changed, event)) = missed.copied() {
                let session = self.session;
                history.fail(format_args!(
                    "session {session:#x} is shown {zxid} and was not told of {event:?} of {path} at {changed}"
                ));
                return;
            }
        }
    }

    fn on_event(
        &mut self,
        header: ReplyHeader,
        r: &mut Reader<'_>,
        history: &mut History,
    ) -> Result<(), Malformed> {
        history.events_seen += 1;
        let (code, _state) = (r.int()?, r.int()?);
        let path = r.string()?.unwrap_or_default().into_owned();
        let (event, kinds): (_, &[Kind]) = match code {
            1 => (EventType::NodeCreated, &[Kind::Data]),
            2 => (EventType::NodeDeleted, &[Kind::Data, Kind::Child]),
            3 => (EventType::NodeDataChanged, &[Kind::Data]),
            4 => (EventType::NodeChildrenChanged, &[Kind::Child]),
            _ => return Err(Malformed::BadValue("event type")),
        };
        // What was set and has fired may be on its way while an own read that sets it again is not answered yet.
        let asked = self.pending.iter().any(|pending| match &pending.question {
            Question::Get { path: of, watch: true } | Question::Exists { path: of, watch: true } => {
                *of == path
            }
            Question::Children { path: of, watch: true } => *of == path,
            // Each list is looked through for itself: who watched data and children is told twice, as by Java.
            Question::SetWatches { .. } => event == EventType::NodeDeleted,
            _ => false,
        });
        let mut had = false;
        for kind in kinds {
            had |= self.watches.remove(&(path.clone(), *kind)).is_some();
        }
        let session = self.session;
        if !had && !asked {
            history.fail(format_args!(
                "session {session:#x} is told of {event:?} of {path} without a watch on it"
            ));
        }
        let at = Zxid(header.zxid);
        if at.0 > 0 {
            let before = Zxid(at.0 - 1);
            if !history.model.changes(&path, before, at).iter().any(|(_, happened)| *happened == event) {
                history.fail(format_args!(
                    "session {session:#x} is told of {event:?} of {path} at {at}, which was not"
                ));
            }
        }
        Ok(())
    }

    /// Watches that are left after they were set again stand for what is there now.
    fn on_watches_set(&mut self, relative: Zxid, zxid: Zxid, history: &mut History) {
        for ((path, kind), watch) in &mut self.watches {
            let node = history.model.at(path, zxid);
            let due = match (kind, &node, watch.absent) {
                (Kind::Data, Some(_), true) => true,
                (Kind::Data, None, true) => false,
                (Kind::Data, Some(node), false) => node.stat.mzxid > relative.0,
                (Kind::Child, Some(node), _) => node.stat.pzxid > relative.0,
                (_, None, _) => true,
            };
            if due {
                let session = self.session;
                history.fail(format_args!(
                    "session {session:#x} has set its watches again at {zxid} and was not told what it missed of {path}"
                ));
                return;
            }
            watch.since = zxid;
        }
    }
}

fn fires(kind: Kind, event: EventType) -> bool {
    match event {
        EventType::NodeCreated | EventType::NodeDataChanged => kind == Kind::Data,
        EventType::NodeDeleted => true,
        EventType::NodeChildrenChanged => kind == Kind::Child,
    }
}

fn op_of(write: &Write) -> Op {
    match write {
        Write::Create { .. } => Op::Create,
        Write::Delete { .. } => Op::Delete,
        Write::Set { .. } => Op::SetData,
        Write::Check { .. } => Op::Check,
    }
}

fn put_write(out: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Create { path, data, ephemeral, sequential } => {
            let open: Vec<Acl<'_>> = AclList::OPEN.entries().collect();
            let flags = i32::from(*ephemeral) | i32::from(*sequential) << 1;
            put_create(out, path, Some(data), &open, flags, None);
        }
        Write::Delete { path, version } | Write::Check { path, version } => {
            jute::put_string(out, Some(path));
            jute::put_int(out, *version);
        }
        Write::Set { path, data, version } => {
            jute::put_string(out, Some(path));
            jute::put_buffer(out, Some(data));
            jute::put_int(out, *version);
        }
    }
}

fn put_read(out: &mut Vec<u8>, path: &str, watch: bool) {
    jute::put_string(out, Some(path));
    jute::put_bool(out, watch);
}
