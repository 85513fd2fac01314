//! What we print beside what a Java server printed: `tests/data/admin/` has recordings of 3.9.4, made by `record.py`.
//!
//! The fixture is a server in the state that the recorded one was in: the same sessions, znodes and watches. Numbers
//! that depend on time, sizes and ports are made equal before comparing ([`shape`]); where Java's order is that of a hash
//! table, lines are sorted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::http::{self, Method, Request, Response, Step};
use super::views::*;
use super::words::{self, Whitelist, Word};
use super::{commands, prometheus};
use crate::ids::{ServerId, SessionId, Xid, Zxid};
use crate::metrics::{BufferStats, Gauges, LeaderGauges, Metrics, Origin, QuotaGauges};
use crate::time::WallMillis;
use crate::version;
use crate::wire::address::HostPort;

const WORDS_AND_COMMANDS: &str = include_str!("../../tests/data/admin/java-3.9.4.txt");
const METRICS: &str = include_str!("../../tests/data/admin/java-3.9.4-metrics.txt");

/// The part of a recording under `=== name`.
fn recorded(recording: &'static str, name: &str) -> String {
    let start = format!("=== {name}\n");
    let from = recording.find(&start).expect("recorded") + start.len();
    let part = &recording[from..];
    let end = part.find("\n=== ").or(part.strip_suffix('\n').map(str::len));
    let part = &part[..end.unwrap_or(part.len())];
    let javas = "3.9.4-7246445ec281f3dbf53dc54e970c914f39713903, built on 2025-08-19 19:53 UTC";
    part.replace(javas, &version::compatible())
}

/// The text with each number, decimal or hexadecimal, made the same.
fn shape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let number = match rest.strip_prefix("0x") {
            Some(hex) => 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count(),
            None => rest.bytes().take_while(u8::is_ascii_digit).count(),
        };
        match number {
            0 => out.push(c),
            _ => out.push('#'),
        }
        rest = &rest[number.max(if number == 0 { c.len_utf8() } else { 0 })..];
    }
    out
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end_matches(',').to_string()).collect();
    lines.sort();
    lines
}

struct Fixture {
    metrics: Metrics,
    mode: Option<Mode>,
    leader: Option<LeaderGauges>,
    local_sessions: bool,
    trace_mask: i64,
    connections_reset: bool,
}

const FIRST: SessionId = SessionId(0x1_0000_2f9a_d300);
const SECOND: SessionId = SessionId(0x1_0000_2f9a_d301);
/// Sun Nov 22 18:44:45 UTC 2026.
const AT: WallMillis = WallMillis(1_795_373_085_000);

fn fixture() -> Fixture {
    let mut metrics = Metrics::default();
    metrics.stats.packets_received = 215;
    metrics.stats.packets_sent = 214;
    metrics.stats.client_response.add(16);
    for ms in [0, 0, 7] {
        metrics.answered(ms * 1_000_000, true);
    }
    metrics.read_of("/a", 19);
    metrics.read_of("/b", 1);
    for path in ["/a", "/b/c", "/zookeeper/quota"] {
        metrics.write_of(path, 5);
    }
    let mode = Some(Mode::Standalone);
    Fixture { metrics, mode, leader: None, local_sessions: false, trace_mask: 306, connections_reset: false }
}

impl Fixture {
    fn word(&mut self, name: &str) -> String {
        let word = Word::from_first_four(name.as_bytes().try_into().expect("four letters"));
        words::answer(word.expect("a word"), b"", &Whitelist::parse(Some("*"), false), self)
    }

    fn command(&mut self, path: &str) -> Response {
        commands::handle(&get(path), "/commands", self)
    }
}

fn get(target: &str) -> Request<'static> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let arguments = query.split('&').filter_map(|part| part.split_once('='));
    Request {
        method: Method::Get,
        path: path.to_string(),
        query: arguments.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        authorization: None,
        body: Some(b""),
    }
}

fn connection(port: u16, interest_ops: u8, session: Option<(SessionId, i32)>) -> ConnectionView {
    ConnectionView {
        peer: ([127, 0, 0, 1], port).into(),
        secure: false,
        interest_ops,
        queued: 0,
        received: 211,
        sent: 211,
        session: session.map(|(id, cxid)| ConnectionSession {
            id,
            last_op: if id == FIRST { "GETC" } else { "EXIS" },
            established: AT,
            timeout_ms: 10_000,
            last_cxid: Xid(cxid),
            last_zxid: Zxid(0xd2),
            last_response_ms: 3_120_569,
            last_latency_ms: 1,
            min_latency_ms: 0,
            avg_latency_ms: 0,
            max_latency_ms: 7,
        }),
    }
}

impl Inspect for Fixture {
    fn server(&self) -> Option<ServerView> {
        let quota = |namespace: &str| QuotaGauges {
            namespace: namespace.to_string(),
            count_limit: 5,
            bytes_limit: 1000,
            count_usage: 2,
            bytes_usage: 10,
        };
        let gauges = Gauges {
            num_alive_connections: 4,
            znode_count: 13,
            quotas: vec![quota("b")],
            leader: self.leader.clone(),
            ..Gauges::default()
        };
        let learner_master = (self.mode? == Mode::Observer).then_some(ServerId(3));
        Some(ServerView { mode: self.mode?, zxid: Zxid(0xd2), gauges, learner_master })
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn environment(&self) -> EnvironmentView {
        EnvironmentView { total_bytes: 256 << 20, ..EnvironmentView::default() }
    }

    fn config(&self) -> ConfigView {
        ConfigView {
            client_port: 26010,
            secure_client_port: -1,
            data_dir: "/data/version-2".to_string(),
            data_log_dir: "/data/version-2".to_string(),
            tick_time_ms: 2000,
            max_client_cnxns: 60,
            min_session_timeout_ms: 4000,
            max_session_timeout_ms: 40_000,
            client_port_listen_backlog: -1,
            server_id: 0,
            quorum: None,
            file_text: Some("tickTime=2000\ndataDir=/data\nclientPort=26010\n".to_string()),
            settings: vec![("zookeeper.b".to_string(), "2".to_string()), ("a".to_string(), "1".to_string())],
        }
    }

    fn dirs(&self) -> DirsView {
        DirsView { data_dir_bytes: 67_109_358, log_dir_bytes: 67_109_358 }
    }

    fn connections(&self) -> Vec<ConnectionView> {
        vec![
            connection(51284, 1, Some((FIRST, 0xd2))),
            connection(51300, 1, Some((SECOND, 2))),
            connection(51314, 1, None),
        ]
    }

    fn sessions(&self) -> SessionsView {
        let peer = |port: u16| ([127, 0, 0, 1], port).into();
        let connections = vec![
            Deadline { at: AT, at_mono_ms: 0, members: vec![] },
            Deadline {
                at: WallMillis(AT.0 + 8000),
                at_mono_ms: 0,
                members: vec![
                    (peer(51284), FIRST),
                    (peer(51300), SECOND),
                    (peer(51314), SessionId::NONE),
                    (peer(51346), SessionId::NONE),
                ],
            },
        ];
        let sessions = vec![Deadline { at: AT, at_mono_ms: 3_132_000, members: vec![FIRST, SECOND] }];
        let learns = matches!(self.mode, Some(Mode::Follower | Mode::Observer | Mode::ReadOnly));
        let learned = learns.then(|| vec![(FIRST, 10_000), (SECOND, 4000)]);
        let sessions = if learns { Vec::new() } else { sessions };
        SessionsView { sessions, learned, local: self.local_sessions.then(Vec::new), connections }
    }

    fn ephemerals(&self) -> Vec<(SessionId, Vec<String>)> {
        vec![(FIRST, vec!["/a/seq-0000000001".to_string(), "/a/eph".to_string()])]
    }

    fn watches(&self) -> Vec<WatchView> {
        let watch = |session, path: &str| WatchView { session, path: path.to_string() };
        vec![watch(SECOND, "/nope"), watch(SECOND, "/a"), watch(FIRST, "/a")]
    }

    fn ensemble(&self) -> Option<EnsembleView> {
        let at = |port| vec![HostPort::parse(&format!("127.0.0.1:{port}")).expect("an address")];
        let member = |id: i64, port| MemberView {
            id: ServerId(id),
            quorum: at(port),
            election: at(port + 10),
            client: at(port - 10).pop(),
            votes: id < 4,
        };
        let observer = ObserverView {
            peer: Some(([127, 0, 0, 1], 51400).into()),
            id: ServerId(4),
            established: AT,
            queued: 0,
            queued_bytes: 0,
            received: 9,
            sent: 12,
            requests: 1,
            last_zxid: Zxid(0xd2),
        };
        (!matches!(self.mode?, Mode::Standalone | Mode::ReadOnly)).then(|| EnsembleView {
            leader: ServerId(3),
            me: if self.mode == Some(Mode::Leader) { member(3, 22123) } else { member(4, 22124) },
            voters: vec![member(1, 22121), member(3, 22123)],
            observers: vec![observer],
        })
    }

    fn watch_summary(&self) -> WatchSummary {
        WatchSummary { connections: 2, paths: 2, watches: 3 }
    }

    fn digests(&self) -> Vec<DigestView> {
        vec![DigestView { zxid: Zxid(0x80), digest: 9_315_339_184 }]
    }

    fn last_snapshot(&self) -> Option<SnapshotView> {
        Some(SnapshotView { zxid: Zxid(0), at: AT })
    }

    fn trace_mask(&self) -> i64 {
        self.trace_mask
    }

    fn set_trace_mask(&mut self, mask: i64) {
        self.trace_mask = mask;
    }

    fn reset_stats(&mut self) {
        self.metrics.reset();
    }

    fn reset_connection_stats(&mut self) {
        self.connections_reset = true;
    }

    fn reset_observer_stats(&mut self) {}
}

#[test]
fn words_print_what_java_prints() {
    for name in
        ["srvr", "conf", "wchs", "wchc", "wchp", "dirs", "hash", "isro", "ruok", "gtmk", "crst", "srst"]
    {
        assert_eq!(shape(&fixture().word(name)), shape(&recorded(WORDS_AND_COMMANDS, name)), "{name}");
    }
}

#[test]
fn what_is_not_a_moment_or_a_size_is_equal_to_the_last_digit() {
    for name in ["conf", "wchs", "dirs", "hash", "isro", "ruok", "gtmk", "crst", "srst"] {
        assert_eq!(fixture().word(name), recorded(WORDS_AND_COMMANDS, name), "{name}");
    }
}

#[test]
fn dump_and_connection_lists_print_what_java_prints_in_any_order() {
    // The asking connection is one of Java's; it differs in being closed already.
    for name in ["stat", "cons", "dump"] {
        let ours = shape(&fixture().word(name));
        let javas = shape(&recorded(WORDS_AND_COMMANDS, name));
        let asking = " /#.#.#.#:#[#](queued=#,recved=#,sent=#)";
        let set = |text: &str| sorted(text).into_iter().filter(|line| line != asking).collect::<Vec<_>>();
        assert_eq!(set(&ours), set(&javas), "{name}");
        assert!(ours.ends_with('\n') && javas.ends_with('\n'));
    }
}

#[test]
fn envi_has_javas_names_in_javas_order() {
    let names =
        |text: &str| text.lines().map(|l| l.split('=').next().map(str::to_string)).collect::<Vec<_>>();
    assert_eq!(names(&fixture().word("envi")), names(&recorded(WORDS_AND_COMMANDS, "envi")));
}

/// Names of Serval's own, and of 3.10, which 3.9.4 cannot have.
fn is_newer_than_the_recording(name: &str) -> bool {
    let gauges = ["sync_in_flight", "unsynced_txns"];
    let newer = Metrics::specs().filter(|spec| {
        spec.origin == Origin::Serval
            || spec.name.starts_with("op_count_")
            || spec.name.starts_with("ttl_node_")
    });
    gauges.contains(&name) || newer.into_iter().any(|spec| name.ends_with(spec.name))
}

#[test]
fn mntr_has_every_name_of_javas_with_the_same_kind_of_number() {
    let lines = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.strip_prefix("zk_")?.split_once('\t'));
        pairs.map(|(name, value)| (name.to_string(), shape(&value.replace('-', "")))).collect()
    };
    let ours = lines(&fixture().word("mntr"));
    let javas = lines(&recorded(WORDS_AND_COMMANDS, "mntr"));
    for (name, value) in &javas {
        assert_eq!(ours.get(name), Some(value), "zk_{name}");
    }
    for name in ours.keys().filter(|name| !javas.contains_key(*name)) {
        assert!(is_newer_than_the_recording(name), "zk_{name} is not Java's");
    }
    let text = fixture().word("mntr");
    let first = text.lines().map(|line| line.split('\t').next()).take(2).collect::<Vec<_>>();
    assert_eq!(first, [Some("zk_version"), Some("zk_server_state")]);
}

/// Families by name: the TYPE, and the lines without their numbers.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all = BTreeMap::<String, (String, BTreeSet<String>)>::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').expect("a name and a type");
            name = of.to_string();
            all.insert(name.clone(), (kind.to_string(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value = if value == "NaN" { 0.0 } else { value.parse::<f64>().expect("a number") };
            assert!(
                value.is_finite() && line.rsplit(' ').next().is_some_and(|v| v.contains(['.', 'N'])),
                "{line}"
            );
            all.get_mut(&name).expect("after its TYPE").1.insert(series.to_string());
        }
    }
    all
}

#[test]
fn prometheus_sees_every_series_of_javas_but_those_of_the_jvm() {
    let process = prometheus::ProcessView::default();
    let ours = families(&prometheus::text(&fixture(), Some(&process), &[]));
    let text = METRICS.split("=== filtered").next().expect("the page");
    let javas = families(text);
    for (name, family) in &javas {
        assert_eq!(ours.get(name), Some(family), "{name}");
    }
    for name in ours.keys().filter(|name| !javas.contains_key(*name)) {
        assert!(is_newer_than_the_recording(name), "{name} is not Java's");
    }
}

#[test]
fn prometheus_may_ask_for_some_names_only() {
    let request = get("/metrics?name[]=uptime&name[]=readlatency_count&name[]=fsynctime");
    let page = prometheus::handle(&request, &fixture(), None).body;
    assert_eq!(families(&page), families(&recorded(METRICS, "filtered")));
    assert!(page.contains("# HELP uptime uptime\n# TYPE uptime gauge\nuptime 0.0\n"), "{page}");
    assert!(page.contains("fsynctime{quantile=\"0.5\",} NaN\n"), "{page}");
}

#[test]
fn prometheus_shows_fractions_of_milliseconds_and_escapes_keys() {
    let mut fixture = fixture();
    fixture.metrics.readlatency.add_nanos(42_000);
    fixture.metrics.read_of("/x\"y\\z", 0);
    let page = prometheus::text(&fixture, None, &[]);
    assert!(page.contains("readlatency{quantile=\"0.99\",} 0.042\n"), "{page}");
    assert!(page.contains("readlatency_sum 0.042\n"));
    assert!(page.contains("read_per_namespace_count{key=\"x\\\"y\\\\z\",} 1.0\n"), "{page}");
}

#[test]
fn prometheus_has_counters_but_no_gauges_without_a_role() {
    let mut fixture = fixture();
    fixture.mode = None;
    let page = prometheus::text(&fixture, None, &[]);
    assert!(page.contains("commit_count 0.0") && !page.contains("znode_count"));
}

#[test]
fn the_exporter_answers_only_its_own_path_and_methods() {
    let status =
        |method, path: &str| prometheus::handle(&Request { method, ..get(path) }, &fixture(), None).status;
    assert_eq!(status(Method::Get, "/metrics"), http::Status::Ok);
    assert_eq!(status(Method::Post, "/metrics"), http::Status::Ok);
    assert_eq!(status(Method::Other, "/metrics"), http::Status::MethodNotAllowed);
    assert_eq!(status(Method::Get, "/"), http::Status::NotFound);
    assert_eq!(status(Method::Get, "/metrics/"), http::Status::NotFound);
}

#[test]
fn process_figures_are_found_behind_a_name_with_blanks_and_brackets() {
    let stat = "4711 (a ) (b) S 1 4711 4711 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 2 0 1000 104857600 2560 \
                18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
    let process = prometheus::parse_proc_stat(stat, 100, 4096, 1_700_000_000).expect("it parses");
    assert_eq!((process.cpu_seconds, process.start_time_seconds), (3.0, 1_700_000_010.0));
    assert_eq!((process.virtual_memory_bytes, process.resident_memory_bytes), (104_857_600, 2560 * 4096));
    assert_eq!(prometheus::parse_proc_stat("", 100, 4096, 0), None);
    assert_eq!(prometheus::parse_proc_stat("1 (x) S 1 2", 100, 4096, 0), None);
}

#[test]
fn commands_print_what_java_prints() {
    let names = WORDS_AND_COMMANDS.lines().filter_map(|line| line.strip_prefix("=== /commands/"));
    let mut compared = 0;
    for name in names {
        let response = fixture().command(&format!("/commands/{name}"));
        let (ours, javas) =
            (shape(&response.body), shape(&recorded(WORDS_AND_COMMANDS, &format!("/commands/{name}"))));
        match name {
            // Compared by `mntr`, and of the machine that was recorded.
            "monitor" | "environment" | "system_properties" => {}
            // The recorded sessions happened to expire in different ticks.
            "dump" => assert_eq!(ours, javas.replace("[ # ],\n    \"#\" : [ # ]", "[ #, # ]")),
            // In the order of Java's reflection.
            "server_stats" | "stats" | "connections" => assert_eq!(sorted(&ours), sorted(&javas), "{name}"),
            "initial_configuration" => {
                assert!(ours.contains("\"tickTime=#\\ndataDir=/data\\nclientPort=#\\n\""))
            }
            _ => assert_eq!(ours, javas, "{name}"),
        }
        assert_eq!((response.status, response.content_type), (http::Status::Ok, Some("application/json")));
        compared += 1;
    }
    assert!(compared > 20, "only {compared} commands were recorded");
}

#[test]
fn the_list_of_commands_is_javas() {
    for path in ["/commands", "/commands/"] {
        assert_eq!(
            fixture().command(path).body.trim_end(),
            recorded(WORDS_AND_COMMANDS, "/commands").trim_end()
        );
    }
    assert_eq!(fixture().command("/").status, http::Status::NotFound);
    assert_eq!(fixture().command("/commandsx").status, http::Status::NotFound);
}

#[test]
fn commands_have_their_aliases_and_methods() {
    let body = |path: &str| fixture().command(path).body;
    assert_eq!(body("/commands/srvr"), body("/commands/server_stats"));
    assert_eq!(body("/commands/sysp").lines().nth(1), Some("  \"a\" : \"1\","));
    assert!(body("/commands/ruok/").contains("\"error\" : \"Unknown command: ruok/\""));
    let status = |method, path: &str| {
        commands::handle(&Request { method, ..get(path) }, "/commands", &mut fixture()).status
    };
    assert_eq!(status(Method::Head, "/commands/ruok"), http::Status::Ok);
    assert_eq!(status(Method::Post, "/commands/ruok"), http::Status::MethodNotAllowed);
    assert_eq!(status(Method::Get, "/commands/restore"), http::Status::MethodNotAllowed);
    assert_eq!(status(Method::Post, "/commands/restore"), http::Status::Unauthorized);
    assert_eq!(status(Method::Get, "/commands/snapshot"), http::Status::Unauthorized);
    assert_eq!(status(Method::Options, "/commands/ruok"), http::Status::Ok);
}

#[test]
fn set_trace_mask_takes_a_number() {
    let mut server = fixture();
    assert!(server.command("/commands/stmk?traceMask=7").body.contains("\"tracemask\" : 7"));
    assert_eq!(server.trace_mask, 7);
    let refused = server.command("/commands/stmk?traceMask=x").body;
    assert!(
        refused.contains("\"error\" : \"setTraceMask requires long traceMask argument, got x\""),
        "{refused}"
    );
    let argument = 0x1234_i64.to_be_bytes();
    let all = Whitelist::parse(Some("*"), false);
    assert_eq!(words::answer(Word::Stmk, &argument, &all, &mut server), "4660");
    assert_eq!(server.trace_mask, 0x1234);
    assert_eq!(words::answer(Word::Stmk, &argument[..7], &all, &mut server), "");
    assert_eq!(server.trace_mask, 0x1234);
}

#[test]
fn without_a_role_words_and_commands_say_so() {
    let mut server = fixture();
    server.mode = None;
    let refusal = "This ZooKeeper instance is not currently serving requests";
    for name in ["srvr", "stat", "conf", "cons", "dump", "mntr", "wchs", "dirs", "crst", "srst"] {
        assert_eq!(server.word(name), format!("{refusal}\n"), "{name}");
    }
    assert_eq!(server.word("hash"), refusal);
    assert_eq!((server.word("ruok").as_str(), server.word("isro").as_str()), ("imok", "null"));
    assert_eq!(server.word("gtmk"), "306");
    assert!(server.word("envi").starts_with("Environment:\nzookeeper.version="));
    assert!(!server.connections_reset);

    let body = server.command("/commands/mntr").body;
    assert_eq!(body, format!("{{\n  \"command\" : \"mntr\",\n  \"error\" : \"{refusal}\"\n}}"));
    assert!(server.command("/commands/gtmk").body.contains("\"error\" : null"));
}

#[test]
fn a_read_only_server_says_so_and_a_leader_shows_its_proposals() {
    let mut server = fixture();
    server.mode = Some(Mode::ReadOnly);
    assert_eq!(server.word("isro"), "ro");
    let text = server.word("srvr");
    assert_eq!(text.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"));
    server.mode = Some(Mode::Leader);
    server.leader =
        Some(LeaderGauges { proposal: BufferStats { last: 54, min: 48, max: 87 }, ..Default::default() });
    assert!(server.word("srvr").ends_with("Node count: 13\nProposal sizes last/min/max: 54/48/87\n"));
    assert!(server.word("mntr").contains("zk_synced_followers\t0\n"));
    assert!(!fixture().word("mntr").contains("zk_synced_followers"));
}

#[test]
fn members_of_an_ensemble_list_sessions_as_they_know_them() {
    let first_lines = |mode, local| {
        let text = Fixture { mode: Some(mode), local_sessions: local, ..fixture() }.word("dump");
        let sessions = text.split("ephemeral nodes dump").next().expect("the part before it");
        sessions.lines().skip(1).filter(|line| !line.contains("expire at")).collect::<Vec<_>>().join("|")
    };
    let ids = "\t0x100002f9ad300|\t0x100002f9ad301";
    assert_eq!(first_lines(Mode::Leader, false), format!("Session Sets (1)/(2):|{ids}"));
    let local = "Local Session Sets (0)/(0):";
    assert_eq!(first_lines(Mode::Leader, true), format!("{local}|Global Session Sets (1)/(2):|{ids}"));
    let learned = "Global Sessions(2):|0x100002f9ad300\t10000ms|0x100002f9ad301\t4000ms";
    assert_eq!(first_lines(Mode::Follower, false), learned);
    assert_eq!(first_lines(Mode::Observer, true), format!("{local}|{learned}"));
    assert_eq!(first_lines(Mode::ReadOnly, false), learned);
}

#[test]
fn commands_about_the_ensemble_answer_by_role() {
    let ask = |mode, command: &str| {
        let server = &mut Fixture { mode: Some(mode), ..fixture() };
        let body = server.command(&format!("/commands/{command}")).body;
        body.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let nobody = "{ \"error\" : \"server is not initialized\", \"command\" : \"leader\" }";
    assert_eq!(
        (ask(Mode::Standalone, "lead").as_str(), ask(Mode::ReadOnly, "lead").as_str()),
        (nobody, nobody)
    );
    let led = |me| {
        format!("{{ \"is_leader\" : {me}, \"leader_id\" : 3, \"leader_ip\" : \"127.0.0.1\", \"command\"")
    };
    assert!(ask(Mode::Leader, "leader").starts_with(&led(true)));
    assert!(ask(Mode::Observer, "leader").starts_with(&led(false)));

    let one = "\"3\" : { \"server_addresses\" : [ \"127.0.0.1:22123\" ], \"election_addresses\" : [ \"127.0.0.1:22133\" ], \
               \"client_address\" : \"127.0.0.1:22113\", \"learner_type\" : \"participant\" }";
    assert!(ask(Mode::Follower, "voting_view").contains(one), "{}", ask(Mode::Follower, "voting_view"));
    assert!(ask(Mode::Standalone, "voting_view").starts_with("{ \"current_config\" : { }"));

    let state = ask(Mode::Leader, "zabstate");
    assert!(
        state.starts_with("{ \"myid\" : 3, \"is_leader\" : true, \"quorum_address\" : { \"empty\" : false,"),
        "{state}"
    );
    assert!(
        state.contains(
            "\"voting\" : true, \"last_zxid\" : \"0xd2\", \"zab_epoch\" : 0, \"zab_counter\" : 210,"
        )
    );
    assert!(ask(Mode::Observer, "zabstate").contains("\"voting\" : false"));
    assert!(ask(Mode::Standalone, "zabstate").starts_with("{ \"voting\" : false, \"zabstate\" : \"\""));

    let observer = "\"observers\" : [ { \"remote_socket_address\" : \"/127.0.0.1:51400\", \"sid\" : 4,";
    assert!(ask(Mode::Leader, "obsr").contains(observer), "{}", ask(Mode::Leader, "obsr"));
    assert!(ask(Mode::Standalone, "obsr").contains("\"synced_observers\" : 0, \"observers\" : [ ]"));

    let mntr = |mode| Fixture { mode: Some(mode), ..fixture() }.word("mntr");
    assert!(
        mntr(Mode::Observer).contains("zk_peer_state\tobserving - broadcast\nzk_observer_master_id\t3\n")
    );
    assert!(!mntr(Mode::Standalone).contains("zk_peer_state"));
}

#[test]
fn resets_reach_the_server() {
    let mut server = fixture();
    server.word("srst");
    assert_eq!(server.metrics.stats.packets_received, 0);
    server.word("crst");
    assert!(server.connections_reset);
}

#[test]
fn only_words_of_the_whitelist_are_answered() {
    let refused = |list: Option<&str>, read_only, word: Word| {
        let text = words::answer(word, b"", &Whitelist::parse(list, read_only), &mut fixture());
        let expected = format!("{} is not executed because it is not in the whitelist.\n", word.name());
        assert_eq!(text.contains("whitelist"), text == expected);
        text == expected
    };
    assert!(refused(None, false, Word::Ruok) && refused(Some(""), false, Word::Isro));
    assert!(!refused(None, false, Word::Srvr));
    assert!(!refused(None, true, Word::Isro));
    assert!(!refused(Some(" ruok ,stat"), false, Word::Ruok));
    assert!(!refused(Some("nonsense, *"), false, Word::Wchp));
    assert!(refused(Some("RUOK"), false, Word::Ruok));
    assert!(refused(Some("srvr"), false, Word::TelnetClose));
    assert!(!refused(Some("*"), false, Word::TelnetClose));
    let all = Whitelist::parse(Some("*"), false);
    assert_eq!(words::answer(Word::TelnetClose, b"", &all, &mut fixture()), "");
}

#[test]
fn words_are_known_by_their_four_bytes() {
    assert_eq!(Word::from_first_four(*b"ruok"), Some(Word::Ruok));
    assert_eq!(Word::from_first_four([0xff, 0xf4, 0xff, 0xfd]), Some(Word::TelnetClose));
    assert_eq!(Word::from_first_four(*b"RUOK"), None);
    assert_eq!(Word::from_first_four(*b"zzzz"), None);
    assert_eq!(Word::from_first_four([0, 0, 0, 45]), None);
}

#[test]
fn a_request_in_bytes_gets_its_answer_in_bytes() {
    let mut server = fixture();
    let step =
        http::serve(b"GET /commands/ruok HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &mut |request| {
            commands::handle(request, "/commands", &mut server)
        });
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 42\r\nConnection: close\r\n\r\n\
                    {\n  \"command\" : \"ruok\",\n  \"error\" : null\n}";
    let Step::Respond { bytes, keep_alive, .. } = step else { panic!("incomplete") };
    assert_eq!((String::from_utf8(bytes).expect("text").as_str(), keep_alive), (expected, false));
}

proptest! {
    #[test]
    fn no_word_argument_or_whitelist_panics(
        first in any::<[u8; 4]>(),
        pick in 0..19usize,
        argument in proptest::collection::vec(any::<u8>(), 0..12),
        list in "[a-z*, ]{0,30}",
    ) {
        let known = ["conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst",
            "srvr", "stat", "stmk", "wchc", "wchp", "wchs"];
        let bytes = known.get(pick).map_or(first, |word| word.as_bytes().try_into().expect("four letters"));
        if let Some(word) = Word::from_first_four(bytes) {
            words::answer(word, &argument, &Whitelist::parse(Some(&list), true), &mut fixture());
        }
    }

    #[test]
    fn no_path_or_query_panics(target in "/(commands)?(/[a-z_%/?=&]{0,20})?") {
        fixture().command(&target);
        prometheus::handle(&get(&target), &fixture(), None);
    }
}
