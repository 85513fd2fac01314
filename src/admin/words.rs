//! Four-letter words: a connection whose first four bytes are a word gets a text and is closed.
//!
//! The reactor shows the first four bytes of a connection to [`Word::from_first_four`], waits for
//! [`Word::argument_len`] more if the word is enabled, sends what [`answer`] says, and closes. An empty answer is a close
//! without a byte. All texts are Java's (`server/command/*Command`), line by line, because scripts cut
//! them with `grep` and `awk`; where Java prints in the random order of a hash table, the order here is sorted.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::java::{Date, Double, Peer};
use super::views::{
    ConfigView, ConnectionView, Deadline, EnvironmentView, Inspect, Mode, ServerView, SessionsView, WatchView,
};
use crate::ids::SessionId;
use crate::metrics::{Metrics, round4};
use crate::version;

/// A word that a connection may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    /// What a telnet client sends on interrupt. Java knows it as a word without an answer.
    TelnetClose,
    Wchc,
    Wchp,
    Wchs,
}

/// A row of [`WORDS`].
struct WordSpec {
    word: Word,
    /// What the first four bytes are.
    bytes: [u8; 4],
    /// As the whitelist and the refusal name it.
    name: &'static str,
    /// Answered "not currently serving requests" while there is no role.
    needs_role: bool,
}

const fn word(word: Word, bytes: &[u8; 4], name: &'static str, needs_role: bool) -> WordSpec {
    WordSpec { word, bytes: *bytes, name, needs_role }
}

/// Every word, in the order of the enum.
#[rustfmt::skip]
const WORDS: &[WordSpec] = &[
    word(Word::Conf,        b"conf",              "conf",         true),
    word(Word::Cons,        b"cons",              "cons",         true),
    word(Word::Crst,        b"crst",              "crst",         true),
    word(Word::Dirs,        b"dirs",              "dirs",         true),
    word(Word::Dump,        b"dump",              "dump",         true),
    word(Word::Envi,        b"envi",              "envi",         false),
    word(Word::Gtmk,        b"gtmk",              "gtmk",         false),
    word(Word::Hash,        b"hash",              "hash",         true),
    word(Word::Isro,        b"isro",              "isro",         false),
    word(Word::Mntr,        b"mntr",              "mntr",         true),
    word(Word::Ruok,        b"ruok",              "ruok",         false),
    word(Word::Srst,        b"srst",              "srst",         true),
    word(Word::Srvr,        b"srvr",              "srvr",         true),
    word(Word::Stat,        b"stat",              "stat",         true),
    word(Word::Stmk,        b"stmk",              "stmk",         false),
    word(Word::TelnetClose, b"\xff\xf4\xff\xfd",  "telnet close", false),
    word(Word::Wchc,        b"wchc",              "wchc",         true),
    word(Word::Wchp,        b"wchp",              "wchp",         true),
    word(Word::Wchs,        b"wchs",              "wchs",         true),
];

impl Word {
    /// The word that these bytes are. `None`: they are the length of a frame, or nonsense.
    pub fn from_first_four(bytes: [u8; 4]) -> Option<Word> {
        WORDS.iter().find(|spec| spec.bytes == bytes).map(|spec| spec.word)
    }

    /// As the whitelist names it.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Bytes that follow the word and belong to it; they are waited for only if the word is enabled.
    pub fn argument_len(self) -> usize {
        if self == Word::Stmk { 8 } else { 0 }
    }

    fn spec(self) -> &'static WordSpec {
        &WORDS[self as usize]
    }
}

/// Which words are answered: `4lw.commands.whitelist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist {
    /// A bit for each word.
    enabled: u32,
}

impl Whitelist {
    /// `list` is the key's value, if there is one; words are told apart by case. `srvr` is always in (`zkServer.sh
    /// status` asks it), `isro` if read-only mode is on (clients look for a read-write server with it).
    pub fn parse(list: Option<&str>, read_only_mode: bool) -> Whitelist {
        let mut whitelist = Whitelist { enabled: 0 };
        for name in list.unwrap_or("").split(',').map(str::trim) {
            for spec in WORDS.iter().filter(|spec| name == "*" || name == spec.name) {
                whitelist.enable(spec.word);
            }
        }
        if read_only_mode {
            whitelist.enable(Word::Isro);
        }
        whitelist.enable(Word::Srvr);
        whitelist
    }

    pub fn allows(&self, word: Word) -> bool {
        self.enabled & (1 << word as u32) != 0
    }

    fn enable(&mut self, word: Word) {
        self.enabled |= 1 << word as u32;
    }
}

/// Answers `word` in full. `argument` holds the bytes after the word; only `stmk` looks at them, and answers nothing
/// if they are fewer than [`Word::argument_len`].
pub fn answer(word: Word, argument: &[u8], whitelist: &Whitelist, server: &mut dyn Inspect) -> String {
    let mut out = String::new();
    if !whitelist.allows(word) {
        push(&mut out, format_args!("{} is not executed because it is not in the whitelist.\n", word.name()));
        return out;
    }
    let view = server.server();
    let (true, Some(view)) = (word.spec().needs_role, &view) else {
        return match word {
            Word::Ruok => "imok".to_string(),
            Word::Isro => read_only(view.as_ref()).to_string(),
            Word::Envi => envi(&server.environment()),
            Word::Gtmk => server.trace_mask().to_string(),
            Word::Stmk => set_trace_mask(argument, server),
            Word::TelnetClose => String::new(),
            Word::Hash => NOT_SERVING.to_string(),
            _ => format!("{NOT_SERVING}\n"),
        };
    };
    match word {
        Word::Conf => {
            conf(&mut out, &server.config(), server.dirs().data_dir_bytes, server.dirs().log_dir_bytes)
        }
        Word::Cons => cons(&mut out, &server.connections()),
        Word::Crst => {
            server.reset_connection_stats();
            out.push_str("Connection stats reset.\n");
        }
        Word::Srst => {
            server.reset_stats();
            out.push_str("Server stats reset.\n");
        }
        Word::Dirs => {
            let dirs = server.dirs();
            push(&mut out, format_args!("datadir_size: {}\n", dirs.data_dir_bytes));
            push(&mut out, format_args!("logdir_size: {}\n", dirs.log_dir_bytes));
        }
        Word::Dump => dump(&mut out, &server.sessions(), server.ephemerals()),
        Word::Hash => {
            // Java's long is signed: the upper half of the digests prints as negative numbers.
            for digest in server.digests() {
                push(&mut out, format_args!("{:x}: {}\n", digest.zxid, digest.digest as i64));
            }
        }
        Word::Mntr => mntr(&mut out, view, server.metrics()),
        Word::Srvr => srvr(&mut out, view, server.metrics(), None),
        Word::Stat => srvr(&mut out, view, server.metrics(), Some(server.connections())),
        Word::Wchc => wchc(&mut out, server.watches()),
        Word::Wchp => wchp(&mut out, server.watches()),
        Word::Wchs => {
            let s = server.watch_summary();
            push(&mut out, format_args!("{} connections watching {} paths\n", s.connections, s.paths));
            push(&mut out, format_args!("Total watches:{}\n", s.watches));
        }
        Word::Ruok | Word::Isro | Word::Envi | Word::Gtmk | Word::Stmk | Word::TelnetClose => {
            unreachable!("answered above, role or not")
        }
    }
    out
}

/// What every word but a few answers before the server has a role.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// `rw`, `ro`, or `null` without a role.
fn read_only(view: Option<&ServerView>) -> &'static str {
    match view.map(|view| view.mode) {
        None => "null",
        Some(Mode::ReadOnly) => "ro",
        Some(_) => "rw",
    }
}

fn set_trace_mask(argument: &[u8], server: &mut dyn Inspect) -> String {
    let Some(bytes) = argument.first_chunk::<8>() else { return String::new() };
    let mask = i64::from_be_bytes(*bytes);
    server.set_trace_mask(mask);
    mask.to_string()
}

fn srvr(out: &mut String, view: &ServerView, metrics: &Metrics, clients: Option<Vec<ConnectionView>>) {
    push(out, format_args!("Zookeeper version: {}\n", version::compatible()));
    if view.mode == Mode::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if let Some(clients) = clients {
        out.push_str("Clients:\n");
        for client in &clients {
            connection(out, client, true);
        }
        out.push('\n');
    }
    let stats = &metrics.stats;
    let latency = &stats.latency;
    let avg = Double(round4(latency.avg_ms()));
    push(out, format_args!("Latency min/avg/max: {}/{avg}/{}\n", latency.min_ms(), latency.max_ms()));
    push(out, format_args!("Received: {}\nSent: {}\n", stats.packets_received, stats.packets_sent));
    push(out, format_args!("Connections: {}\n", view.gauges.num_alive_connections));
    push(out, format_args!("Outstanding: {}\n", view.gauges.outstanding_requests));
    push(out, format_args!("Zxid: {}\nMode: {}\n", view.zxid, view.mode.name()));
    push(out, format_args!("Node count: {}\n", view.gauges.znode_count));
    if let Some(leader) = &view.gauges.leader {
        push(out, format_args!("Proposal sizes last/min/max: {}\n", leader.proposal));
    }
}

fn cons(out: &mut String, connections: &[ConnectionView]) {
    for c in connections {
        connection(out, c, false);
    }
    out.push('\n');
}

/// A line of `cons`, or of `stat` if `brief` (`ServerCnxn.dumpConnectionInfo`).
fn connection(out: &mut String, c: &ConnectionView, brief: bool) {
    push(out, format_args!(" {}[{:x}](", Peer(c.peer), c.interest_ops));
    push(out, format_args!("queued={},recved={},sent={}", c.queued, c.received, c.sent));
    if let (false, Some(s)) = (brief, &c.session) {
        push(
            out,
            format_args!(",sid={},lop={},est={},to={}", s.id, s.last_op, s.established.0, s.timeout_ms),
        );
        if s.last_cxid.0 >= 0 {
            push(out, format_args!(",lcxid={:#x}", s.last_cxid.0));
        }
        push(out, format_args!(",lzxid={},lresp={}", s.last_zxid, s.last_response_ms));
        push(out, format_args!(",llat={},minlat={}", s.last_latency_ms, s.min_latency_ms));
        push(out, format_args!(",avglat={},maxlat={}", s.avg_latency_ms, s.max_latency_ms));
    }
    out.push_str(")\n");
}

/// `ZooKeeperServerConf.toString`, and the members of the quorum where there is one.
fn conf(out: &mut String, c: &ConfigView, data_bytes: u64, log_bytes: u64) {
    push(out, format_args!("clientPort={}\nsecureClientPort={}\n", c.client_port, c.secure_client_port));
    push(out, format_args!("dataDir={}\ndataDirSize={data_bytes}\n", c.data_dir));
    push(out, format_args!("dataLogDir={}\ndataLogSize={log_bytes}\n", c.data_log_dir));
    push(out, format_args!("tickTime={}\nmaxClientCnxns={}\n", c.tick_time_ms, c.max_client_cnxns));
    push(out, format_args!("minSessionTimeout={}\n", c.min_session_timeout_ms));
    push(out, format_args!("maxSessionTimeout={}\n", c.max_session_timeout_ms));
    push(out, format_args!("clientPortListenBacklog={}\n", c.client_port_listen_backlog));
    push(out, format_args!("serverId={}\n", c.server_id));
    if let Some(q) = &c.quorum {
        push(out, format_args!("initLimit={}\nsyncLimit={}\n", q.init_limit, q.sync_limit));
        push(out, format_args!("electionAlg={}\nelectionPort={}\n", q.election_alg, q.election_port));
        push(out, format_args!("quorumPort={}\npeerType={}\n", q.quorum_port, u8::from(q.observer)));
        if let Some(membership) = &q.membership {
            push(out, format_args!("membership: \n{membership}"));
        }
    }
}

/// `Environment.list`. There is no JVM: its lines hold what Java prints for a property that is not set.
fn envi(e: &EnvironmentView) -> String {
    let mut out = String::from("Environment:\n");
    for (name, value) in environment(e) {
        push(&mut out, format_args!("{name}={value}\n"));
    }
    out
}

/// The names of `envi` and of the HTTP command `environment`, in Java's order.
pub(super) fn environment(e: &EnvironmentView) -> Vec<(&'static str, String)> {
    let mib = |bytes: u64| format!("{}MB", bytes >> 20);
    let absent = || "<NA>".to_string();
    vec![
        ("zookeeper.version", version::compatible()),
        ("host.name", e.host_name.clone()),
        ("java.version", absent()),
        ("java.vendor", absent()),
        ("java.home", absent()),
        ("java.class.path", absent()),
        ("java.library.path", absent()),
        ("java.io.tmpdir", absent()),
        ("java.compiler", absent()),
        ("os.name", e.os_name.clone()),
        ("os.arch", e.os_arch.clone()),
        ("os.version", e.os_version.clone()),
        ("user.name", e.user_name.clone()),
        ("user.home", e.user_home.clone()),
        ("user.dir", e.user_dir.clone()),
        ("os.memory.free", mib(e.available_bytes)),
        ("os.memory.max", mib(e.total_bytes)),
        ("os.memory.total", mib(e.resident_bytes)),
    ]
}

fn dump(out: &mut String, sessions: &SessionsView, mut ephemerals: Vec<(SessionId, Vec<String>)>) {
    out.push_str("SessionTracker dump:\n");
    if let Some(local) = &sessions.local {
        session_sets(out, "Local ", local);
    }
    match &sessions.learned {
        Some(learned) => {
            push(out, format_args!("Global Sessions({}):\n", learned.len()));
            for (id, timeout_ms) in learned {
                push(out, format_args!("{id}\t{timeout_ms}ms\n"));
            }
        }
        None => session_sets(out, if sessions.local.is_some() { "Global " } else { "" }, &sessions.sessions),
    }
    out.push_str("ephemeral nodes dump:\n");
    push(out, format_args!("Sessions with Ephemerals ({}):\n", ephemerals.len()));
    ephemerals.sort_unstable_by_key(|(id, _)| *id);
    for (id, paths) in &mut ephemerals {
        push(out, format_args!("{id}:\n"));
        paths.sort_unstable();
        for path in paths {
            push(out, format_args!("\t{path}\n"));
        }
    }
    out.push_str("Connections dump:\n");
    let buckets = &sessions.connections;
    let count: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    push(out, format_args!("Connections Sets ({})/({count}):\n", buckets.len()));
    for bucket in buckets {
        push(out, format_args!("{} expire at {}:\n", bucket.members.len(), Date(bucket.at)));
        for (peer, id) in &bucket.members {
            push(out, format_args!("\tip: {} sessionId: {id}\n", Peer(*peer)));
        }
    }
}

fn session_sets(out: &mut String, kind: &str, buckets: &[Deadline<SessionId>]) {
    let count: usize = buckets.iter().map(|bucket| bucket.members.len()).sum();
    push(out, format_args!("{kind}Session Sets ({})/({count}):\n", buckets.len()));
    for bucket in buckets {
        push(out, format_args!("{} expire at {}:\n", bucket.members.len(), Date(bucket.at)));
        for id in &bucket.members {
            push(out, format_args!("\t{id}\n"));
        }
    }
}

/// Sessions with the paths that they watch.
fn wchc(out: &mut String, mut watches: Vec<WatchView>) {
    watches.sort_unstable();
    let mut session = None;
    for watch in &watches {
        if session.replace(watch.session) != Some(watch.session) {
            push(out, format_args!("{}\n", watch.session));
        }
        push(out, format_args!("\t{}\n", watch.path));
    }
    out.push('\n');
}

/// Paths with the sessions that watch them.
fn wchp(out: &mut String, watches: Vec<WatchView>) {
    let mut by_path = BTreeMap::<&str, Vec<SessionId>>::new();
    for watch in &watches {
        by_path.entry(&watch.path).or_default().push(watch.session);
    }
    for (path, mut sessions) in by_path {
        push(out, format_args!("{path}\n"));
        sessions.sort_unstable();
        for session in sessions {
            push(out, format_args!("\t{session}\n"));
        }
    }
    out.push('\n');
}

fn mntr(out: &mut String, view: &ServerView, metrics: &Metrics) {
    super::monitor::values(view, metrics, &mut |name, value| {
        push(out, format_args!("zk_{name}\t{value}\n"));
    });
}

fn push(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String cannot fail");
}
