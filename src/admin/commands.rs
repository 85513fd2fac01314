//! The AdminServer's commands: `GET /commands/<name>` answers JSON.
//!
//! The same knowledge as the four-letter words, from the same views, under Java's names, in Java's order and layout
//! (`server/admin/Commands`). One table has every command with its aliases. Where Java answers with a null pointer's
//! stack trace (a POST to a GET command, `monitor` without a role), this answers 405, or an error in JSON.
//!
//! `snapshot` and `restore` are in the table, ask for credentials as Java does, and then say that they are disabled
//! (503), which is Java's answer with `admin.snapshot.enabled=false`.

use std::collections::BTreeMap;

use super::ensemble;
use super::http::{Method, Request, Response, Status};
use super::java::HostPort;
use super::json::Json;
use super::monitor::{self, Value};
use super::views::{ConnectionSession, ConnectionView, Inspect, Mode, ServerView};
use super::words::{NOT_SERVING, environment};
use crate::ids::{SessionId, Xid, Zxid};
use crate::metrics::{BufferStats, Metrics, Number, round4};
use crate::time::WallMillis;
use crate::version;

/// Answers a request to the AdminServer's port. `command_url` is `admin.commandURL`, `/commands` by default.
pub fn handle(request: &Request<'_>, command_url: &str, server: &mut dyn Inspect) -> Response {
    let Some(rest) = request.path.strip_prefix(command_url) else { return Response::error(Status::NotFound) };
    let name = match rest.strip_prefix('/') {
        Some(name) => name,
        None if rest.is_empty() => "",
        None => return Response::error(Status::NotFound),
    };
    if request.method == Method::Options {
        let headers = vec![("Allow", "GET, HEAD, POST, OPTIONS".to_string())];
        return Response { status: Status::Ok, content_type: None, headers, body: String::new() };
    }
    let reads = matches!(request.method, Method::Get | Method::Head);
    if name.is_empty() {
        return if reads { list(command_url) } else { Response::method_not_allowed(READ_METHODS) };
    }
    let Some(command) = COMMANDS.iter().find(|c| c.name == name || c.aliases.contains(&name)) else {
        return answer(Status::Ok, Vec::new(), name, Some(format!("Unknown command: {name}")));
    };
    match command.access {
        Access::Read if !reads => return Response::method_not_allowed(READ_METHODS),
        Access::GuardedWrite if request.method != Method::Post => {
            return Response::method_not_allowed("POST");
        }
        Access::GuardedRead if !reads => return Response::method_not_allowed(READ_METHODS),
        Access::GuardedRead | Access::GuardedWrite if request.authorization.is_none() => {
            return answer(Status::Unauthorized, Vec::new(), name, Some(NO_AUTH_INFO.to_string()));
        }
        Access::Read | Access::GuardedRead | Access::GuardedWrite => {}
    }
    if command.needs_role && server.server().is_none() {
        return answer(Status::Ok, Vec::new(), name, Some(NOT_SERVING.to_string()));
    }
    let mut run = Run { request, server, fields: Vec::new(), status: Status::Ok };
    (command.run)(&mut run);
    answer(run.status, run.fields, command.name, None)
}

const READ_METHODS: &str = "GET, HEAD";
const NO_AUTH_INFO: &str = "Auth info is missing for the command";

/// Who may call a command, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// GET, anybody.
    Read,
    /// GET with credentials.
    GuardedRead,
    /// POST with credentials.
    GuardedWrite,
}

/// A row of [`COMMANDS`].
struct Command {
    name: &'static str,
    aliases: &'static [&'static str],
    access: Access,
    /// Not answered while the server has no role.
    needs_role: bool,
    run: fn(&mut Run<'_>),
}

const fn read(name: &'static str, aliases: &'static [&'static str], run: fn(&mut Run<'_>)) -> Command {
    Command { name, aliases, access: Access::Read, needs_role: true, run }
}

/// One that answers without a role too.
const fn always(name: &'static str, aliases: &'static [&'static str], run: fn(&mut Run<'_>)) -> Command {
    Command { name, aliases, access: Access::Read, needs_role: false, run }
}

const fn guarded(name: &'static str, aliases: &'static [&'static str], access: Access) -> Command {
    Command { name, aliases, access, needs_role: true, run: disabled }
}

/// Every command of 3.9, by name.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    read("configuration", &["conf", "config"], configuration),
    read("connection_stat_reset", &["crst"], |run| run.server.reset_connection_stats()),
    read("connections", &["cons"], |run| run.connections(connection)),
    read("dirs", &[], dirs),
    read("dump", &[], dump),
    always("environment", &["env", "envi"], |run| {
        for (name, value) in environment(&run.server.environment()) {
            run.put(name, Json::Text(value));
        }
    }),
    always("get_trace_mask", &["gtmk"], |run| run.put("tracemask", Json::Int(run.server.trace_mask()))),
    read("hash", &[], hash),
    read("initial_configuration", &["icfg"], |run| {
        let text = run.server.config().file_text;
        run.put("initial_configuration", text.map_or(Json::Null, Json::Text));
    }),
    read("is_read_only", &["isro"], |run| {
        let read_only = run.view().is_some_and(|view| view.mode == Mode::ReadOnly);
        run.put("read_only", Json::Bool(read_only));
    }),
    read("last_snapshot", &["lsnp"], last_snapshot),
    read("leader", &["lead"], ensemble::leader),
    read("monitor", &["mntr"], monitor_values),
    read("observer_connection_stat_reset", &["orst"], |run| run.server.reset_observer_stats()),
    read("observers", &["obsr"], ensemble::observers),
    guarded("restore", &["rest"], Access::GuardedWrite),
    read("ruok", &[], |_| {}),
    read("server_stats", &["srvr"], server_stats),
    always("set_trace_mask", &["stmk"], set_trace_mask),
    guarded("snapshot", &["snap"], Access::GuardedRead),
    read("stat_reset", &["srst"], |run| run.server.reset_stats()),
    read("stats", &["stat"], |run| {
        server_stats(run);
        run.connections(connection_brief);
    }),
    always("system_properties", &["sysp"], |run| {
        for (name, value) in BTreeMap::from_iter(run.server.config().settings) {
            run.put(&name, Json::Text(value));
        }
    }),
    read("voting_view", &[], ensemble::voting_view),
    read("watch_summary", &["wchs"], watch_summary),
    read("watches", &["wchc"], watches),
    read("watches_by_path", &["wchp"], watches_by_path),
    always("zabstate", &[], ensemble::zab_state),
];

/// A command at work.
pub(super) struct Run<'a> {
    request: &'a Request<'a>,
    pub server: &'a mut dyn Inspect,
    fields: Vec<(String, Json)>,
    status: Status,
}

impl Run<'_> {
    pub fn put(&mut self, name: &str, value: Json) {
        self.fields.push((name.to_string(), value));
    }

    pub fn view(&self) -> Option<ServerView> {
        self.server.server()
    }

    fn connections(&mut self, render: fn(&ConnectionView) -> Json) {
        let all = self.server.connections();
        let of = |secure| Json::list(all.iter().filter(|c| c.secure == secure).map(render));
        self.put("connections", of(false));
        self.put("secure_connections", of(true));
    }
}

/// The fields, then the command's name and its error. A command that set an error itself keeps that one.
fn answer(status: Status, mut fields: Vec<(String, Json)>, name: &str, error: Option<String>) -> Response {
    let has_error = fields.iter().any(|(name, _)| name == "error");
    fields.push(("command".to_string(), Json::text(name)));
    if !has_error {
        fields.push(("error".to_string(), error.map_or(Json::Null, Json::Text)));
    }
    Response::new(status, "application/json", Json::Object(fields).to_string())
}

fn list(command_url: &str) -> Response {
    let line = |c: &Command| format!("<a href=\"{command_url}/{0}\">{0}</a>\n<br/>\n", c.name);
    let body = COMMANDS.iter().map(line).collect();
    Response { status: Status::Ok, content_type: None, headers: Vec::new(), body }
}

fn disabled(run: &mut Run<'_>) {
    run.status = Status::Unavailable;
}

fn configuration(run: &mut Run<'_>) {
    let c = run.server.config();
    run.put("client_port", Json::Int(c.client_port.into()));
    run.put("data_dir", Json::Text(c.data_dir));
    run.put("data_log_dir", Json::Text(c.data_log_dir));
    run.put("tick_time", Json::Int(c.tick_time_ms.into()));
    run.put("max_client_cnxns", Json::Int(c.max_client_cnxns.into()));
    run.put("min_session_timeout", Json::Int(c.min_session_timeout_ms.into()));
    run.put("max_session_timeout", Json::Int(c.max_session_timeout_ms.into()));
    run.put("server_id", Json::Int(c.server_id));
    run.put("client_port_listen_backlog", Json::Int(c.client_port_listen_backlog.into()));
}

fn dirs(run: &mut Run<'_>) {
    let dirs = run.server.dirs();
    run.put("datadir_size", Json::int(dirs.data_dir_bytes));
    run.put("logdir_size", Json::int(dirs.log_dir_bytes));
}

fn dump(run: &mut Run<'_>) {
    let buckets = run.server.sessions().sessions;
    let by_expiry = buckets
        .into_iter()
        .map(|b| (b.at_mono_ms.to_string(), Json::list(b.members.into_iter().map(session))));
    run.put("expiry_time_to_session_ids", Json::object(by_expiry));
    let ephemerals: BTreeMap<_, _> = run.server.ephemerals().into_iter().collect();
    let by_session = ephemerals.into_iter().map(|(id, mut paths)| {
        paths.sort_unstable();
        (id.0.to_string(), Json::list(paths.into_iter().map(Json::Text)))
    });
    run.put("session_id_to_ephemeral_paths", Json::object(by_session));
}

fn hash(run: &mut Run<'_>) {
    let digests = run.server.digests().into_iter().map(|d| {
        Json::object([
            ("zxid", Json::Int(d.zxid.0)),
            // Java's long: the upper half of the digests is negative.
            ("digest", Json::Int(d.digest as i64)),
            ("digest_version", Json::Int(2)),
        ])
    });
    run.put("digests", Json::list(digests));
}

fn last_snapshot(run: &mut Run<'_>) {
    let snapshot = run.server.last_snapshot();
    // Java prints the zxid -1 and the time -1 before there is one.
    run.put("zxid", Json::Text(snapshot.map_or(format!("{:x}", -1i64), |s| format!("{:x}", s.zxid))));
    run.put("timestamp", Json::Int(snapshot.map_or(-1, |s| s.at.0.div_euclid(1000))));
}

fn monitor_values(run: &mut Run<'_>) {
    let Some(view) = run.view() else { return };
    let mut fields = Vec::new();
    monitor::values(&view, run.server.metrics(), &mut |name, value| {
        let value = match value {
            Value::Text(text) => Json::Text(text),
            Value::Number(Number::Int(n)) => Json::Int(n),
            Value::Number(Number::Real(x)) => Json::Real(x),
        };
        fields.push((name.to_string(), value));
    });
    run.fields.append(&mut fields);
}

fn server_stats(run: &mut Run<'_>) {
    let Some(view) = run.view() else { return };
    let dirs = run.server.dirs();
    run.put("version", Json::Text(version::compatible()));
    run.put("read_only", Json::Bool(view.mode == Mode::ReadOnly));
    let stats = stats(&view, run.server.metrics(), dirs.data_dir_bytes, dirs.log_dir_bytes);
    let client_response = buffer_stats(&run.server.metrics().stats.client_response);
    run.put("server_stats", stats);
    run.put("client_response", client_response);
    if let Some(leader) = &view.gauges.leader {
        run.put("proposal_stats", buffer_stats(&leader.proposal));
    }
    run.put("node_count", Json::int(view.gauges.znode_count));
}

/// The getters of `ServerStats`; their order is not defined in Java.
fn stats(view: &ServerView, metrics: &Metrics, data_bytes: u64, log_bytes: u64) -> Json {
    let (stats, gauges) = (&metrics.stats, &view.gauges);
    Json::object([
        ("packets_sent", Json::int(stats.packets_sent)),
        ("packets_received", Json::int(stats.packets_received)),
        ("fsync_threshold_exceed_count", Json::int(stats.fsync_threshold_exceed_count)),
        ("client_response_stats", buffer_stats(&stats.client_response)),
        ("provider_null", Json::Bool(false)),
        ("uptime", Json::int(gauges.uptime_ms)),
        ("server_state", Json::text(view.mode.name())),
        ("outstanding_requests", Json::int(gauges.outstanding_requests)),
        ("min_latency", Json::int(stats.latency.min_ms())),
        ("avg_latency", Json::Real(round4(stats.latency.avg_ms()))),
        ("max_latency", Json::int(stats.latency.max_ms())),
        ("data_dir_size", Json::int(data_bytes)),
        ("log_dir_size", Json::int(log_bytes)),
        ("last_processed_zxid", Json::Int(view.zxid.0)),
        ("num_alive_client_connections", Json::int(gauges.num_alive_connections)),
        ("auth_failed_count", Json::int(stats.auth_failed_count)),
        ("non_mtlsremote_conn_count", Json::int(stats.non_mtls_remote_conn_count)),
        ("non_mtlslocal_conn_count", Json::int(stats.non_mtls_local_conn_count)),
    ])
}

fn buffer_stats(sizes: &BufferStats) -> Json {
    Json::object([
        ("last_buffer_size", Json::Int(sizes.last)),
        ("min_buffer_size", Json::Int(sizes.min)),
        ("max_buffer_size", Json::Int(sizes.max)),
    ])
}

fn set_trace_mask(run: &mut Run<'_>) {
    match run.request.argument("traceMask").map(str::parse::<i64>) {
        Some(Ok(mask)) => {
            run.server.set_trace_mask(mask);
            run.put("tracemask", Json::Int(mask));
        }
        Some(Err(_)) => {
            let got = run.request.argument("traceMask").unwrap_or_default();
            let error = format!("setTraceMask requires long traceMask argument, got {got}");
            run.put("error", Json::Text(error));
        }
        None => run.put("error", Json::text("setTraceMask requires long traceMask argument")),
    }
}

fn watch_summary(run: &mut Run<'_>) {
    let summary = run.server.watch_summary();
    run.put("num_connections", Json::int(summary.connections));
    run.put("num_paths", Json::int(summary.paths));
    run.put("num_total_watches", Json::int(summary.watches));
}

fn watches(run: &mut Run<'_>) {
    let mut by_session = BTreeMap::<SessionId, Vec<Json>>::new();
    let mut watches = run.server.watches();
    watches.sort_unstable();
    for watch in watches {
        by_session.entry(watch.session).or_default().push(Json::Text(watch.path));
    }
    let fields = by_session.into_iter().map(|(id, paths)| (id.0.to_string(), Json::List(paths)));
    run.put("session_id_to_watched_paths", Json::object(fields));
}

fn watches_by_path(run: &mut Run<'_>) {
    let mut by_path = BTreeMap::<String, Vec<Json>>::new();
    let mut watches = run.server.watches();
    watches.sort_unstable();
    for watch in watches {
        by_path.entry(watch.path).or_default().push(session(watch.session));
    }
    run.put(
        "path_to_session_ids",
        Json::object(by_path.into_iter().map(|(path, ids)| (path, Json::List(ids)))),
    );
}

fn session(id: SessionId) -> Json {
    Json::Int(id.0)
}

/// `ServerCnxn.getConnectionInfo(brief)`.
fn connection_brief(c: &ConnectionView) -> Json {
    Json::Object(connection_fields(c))
}

fn connection_fields(c: &ConnectionView) -> Vec<(String, Json)> {
    let fields = [
        ("remote_socket_address", Json::text(HostPort(c.peer).to_string())),
        ("interest_ops", Json::Int(c.interest_ops.into())),
        ("outstanding_requests", Json::int(c.queued)),
        ("packets_received", Json::int(c.received)),
        ("packets_sent", Json::int(c.sent)),
    ];
    fields.map(|(name, value)| (name.to_string(), value)).to_vec()
}

/// With its session; before the handshake, what Java's fields hold then.
fn connection(c: &ConnectionView) -> Json {
    let before_handshake = ConnectionSession {
        id: SessionId::NONE,
        last_op: "",
        established: WallMillis(0),
        timeout_ms: 0,
        last_cxid: Xid(0),
        last_zxid: Zxid::ZERO,
        last_response_ms: 0,
        last_latency_ms: 0,
        min_latency_ms: 0,
        avg_latency_ms: 0,
        max_latency_ms: 0,
    };
    let s = c.session.as_ref().unwrap_or(&before_handshake);
    let more = [
        ("session_id", session(s.id)),
        ("last_operation", if s.last_op.is_empty() { Json::Null } else { Json::text(s.last_op) }),
        ("established", Json::Int(s.established.0)),
        ("session_timeout", Json::Int(s.timeout_ms.into())),
        ("last_cxid", Json::Int(s.last_cxid.0.into())),
        ("last_zxid", Json::Int(s.last_zxid.0)),
        ("last_response_time", Json::int(s.last_response_ms)),
        ("last_latency", Json::int(s.last_latency_ms)),
        ("min_latency", Json::int(s.min_latency_ms)),
        ("avg_latency", Json::int(s.avg_latency_ms)),
        ("max_latency", Json::int(s.max_latency_ms)),
    ];
    let mut fields = connection_fields(c);
    fields.extend(more.map(|(name, value)| (name.to_string(), value)));
    Json::Object(fields)
}
