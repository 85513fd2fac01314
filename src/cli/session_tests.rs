//! The session as a server sees it: what is sent when, and what the caller is told.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::error::{Failure, KeeperError, local};
use super::event::State;
use super::fake::{FakeServer, SaidHello, client, dead_address, meanwhile, put_data, put_strings};
use super::output::capture::Captured;
use super::shell::{Flow, SessionOptions, Shell};
use super::watches::WatcherType;
use crate::wire::jute::{MAX_BUFFER_DEFAULT, Reader};
use crate::wire::op::Op;
use crate::wire::records::{AclList, Stat};
use crate::wire::reply::{EventType, put_watch_event};
use crate::wire::request::{AuthRequest, Request};

const FOREVER: Duration = Duration::from_secs(60);

fn request(op: Op, record: &[u8]) -> Request<'_> {
    Request::read(op, &mut Reader::new(record, MAX_BUFFER_DEFAULT)).expect("the client's requests parse")
}

fn lost(path: &str) -> Failure {
    Failure::Keeper(KeeperError::new(local::CONNECTION_LOSS, path))
}

#[test]
fn the_chroot_is_put_before_paths_and_taken_off_again() {
    let server = FakeServer::bind();
    let (client, events) = client(&format!("{}/app", server.address()));
    let mut connection = server.accept_session(1);
    let got = meanwhile(&client, |client| (client.get_data("/a", true), client.get_data("/b", false)));
    let record = connection.answer(Op::GetData, 5, |out| put_data(out, b"x"));
    assert_eq!(request(Op::GetData, &record), Request::GetData { path: Some("/app/a".into()), watch: true });
    let mut event = Vec::new();
    put_watch_event(&mut event, 6, EventType::NodeDataChanged, "/app/a");
    connection.send_raw(&event);
    connection.refuse(Op::GetData, -101);
    let (a, b) = got.join().unwrap();
    assert_eq!(a.unwrap().0.as_deref(), Some(&b"x"[..]));
    assert_eq!(b.unwrap_err().to_string(), "Node does not exist: /b");
    assert_eq!(
        *events.lock().unwrap(),
        [
            "WatchedEvent state:SyncConnected type:None path:null zxid: -1",
            "WatchedEvent state:SyncConnected type:NodeDataChanged path:/a zxid: 6",
        ]
    );
}

#[test]
fn a_lost_session_is_resumed_with_its_credentials_and_watches() {
    let server = FakeServer::bind();
    let (client, events) = client(&server.address());
    let mut connection = server.accept_session(0x77);
    let done = meanwhile(&client, |client| {
        client.add_auth("digest", Some(b"u:p")).unwrap();
        client.get_data("/data", true).unwrap();
        assert_eq!(client.exists("/coming", true), Ok(None));
        client.get_children("/child", true).unwrap();
        client.get_data("/unwatched", false)
    });
    let (xid, op, _) = connection.request();
    assert_eq!((xid, op), (-4, Op::Auth));
    connection.header(-4, 0, 0);
    connection.answer(Op::GetData, 8, |out| put_data(out, b""));
    connection.refuse(Op::Exists, -101);
    connection.answer(Op::GetChildren2, 9, |out| {
        put_strings(out, &[]);
        Stat::default().write(out);
    });
    // The last request is under way when the connection goes.
    connection.request();
    drop(connection);
    assert_eq!(done.join().unwrap().unwrap_err(), lost("/unwatched"));

    let mut connection = server.accept();
    assert_eq!(connection.hello(), SaidHello { session: 0x77, password: vec![7; 16], last_zxid: 9 });
    connection.grant(0x77, 30_000, false);
    let (xid, op, record) = connection.request();
    assert_eq!((xid, op), (-4, Op::Auth));
    let auth = AuthRequest::read(&mut Reader::new(&record, 100)).unwrap();
    assert_eq!((auth.scheme.as_deref(), auth.auth), (Some("digest"), Some(&b"u:p"[..])));
    let (xid, op, record) = connection.request();
    assert_eq!((xid, op), (-8, Op::SetWatches));
    let Request::SetWatches(set) = request(op, &record) else { panic!("it is one") };
    assert_eq!(set.relative_zxid, 9);
    assert_eq!(set.data, [Some("/data".into())]);
    assert_eq!(set.exist, [Some("/coming".into())]);
    assert_eq!(set.child, [Some("/child".into())]);

    let states = events
        .lock()
        .unwrap()
        .iter()
        .map(|event| event.split(' ').nth(1).unwrap().to_string())
        .collect::<Vec<_>>();
    assert_eq!(states, ["state:SyncConnected", "state:Disconnected", "state:SyncConnected"]);
}

#[test]
fn the_next_server_is_tried_when_one_does_not_answer() {
    let (_port, dead) = dead_address();
    let server = FakeServer::bind();
    let (client, _) = client(&format!("{dead},{}", server.address()));
    let _connection = server.accept_session(1);
    assert!(client.wait_connected(FOREVER));
}

#[test]
fn with_no_server_there_a_request_fails_instead_of_waiting() {
    let (_port, dead) = dead_address();
    let (client, events) = client(&dead);
    assert_eq!(client.get_children("/", false).unwrap_err(), lost("/"));
    assert!(client.trouble().unwrap().contains("refused"), "{:?}", client.trouble());
    assert!(!client.was_connected() && events.lock().unwrap().is_empty());
}

#[test]
fn something_else_on_the_port_is_named() {
    let server = FakeServer::bind();
    let (client, _) = client(&server.address());
    // Each attempt is answered alike: the client may be in any round by the time it is asked why.
    std::thread::spawn(move || {
        loop {
            let mut connection = server.accept();
            if connection.hello_unless_probe().is_some() {
                connection.send_raw(b"HTTP/1.1 400 Bad Request\r\n");
            }
        }
    });
    assert_eq!(client.get_children("/", false).unwrap_err(), lost("/"));
    assert!(client.trouble().unwrap().contains("not a ZooKeeper server"), "{:?}", client.trouble());
}

#[test]
fn an_expired_session_ends_the_client() {
    let server = FakeServer::bind();
    let (client, events) = client(&server.address());
    drop(server.accept_session(1));
    let mut connection = server.accept();
    connection.hello();
    connection.grant(0, 0, false);
    assert!(!client.wait_connected(FOREVER));
    assert_eq!(client.state(), State::Closed);
    let failure = client.get_children("/", false).unwrap_err();
    assert_eq!(failure.to_string(), "KeeperErrorCode = Session expired for /");
    assert!(events.lock().unwrap().last().unwrap().contains("state:Expired"));
}

#[test]
fn a_refused_credential_ends_the_client() {
    let server = FakeServer::bind();
    let (client, events) = client(&server.address());
    let mut connection = server.accept_session(1);
    let added = meanwhile(&client, |client| client.add_auth("nonsense", None));
    assert_eq!(connection.request().0, -4);
    connection.header(-4, 0, -115);
    assert_eq!(added.join().unwrap().unwrap_err().to_string(), "KeeperErrorCode = AuthFailed");
    assert_eq!(client.state(), State::AuthFailed);
    assert!(events.lock().unwrap().last().unwrap().contains("state:AuthFailed"));
}

#[test]
fn a_session_of_a_read_only_server_is_not_offered_to_others() {
    let server = FakeServer::bind();
    let (client, events) = client(&server.address());
    let mut connection = server.accept();
    connection.hello();
    connection.grant(5, 30_000, true);
    client.wait_first_round(FOREVER);
    assert_eq!(client.state(), State::ConnectedReadOnly);
    drop(connection);
    // The look for another server may come first; it says `isro` and no connect request.
    let hello = loop {
        let mut connection = server.accept();
        if let Some(hello) = connection.hello_unless_probe() {
            break hello;
        }
    };
    assert_eq!(hello.session, 0);
    assert!(events.lock().unwrap()[0].contains("state:ConnectedReadOnly"));
}

#[test]
fn an_idle_connection_is_pinged_and_a_silent_server_is_left() {
    let server = FakeServer::bind();
    let (_client, _) = client(&server.address());
    let (mut connection, ping) = loop {
        let mut connection = server.accept();
        connection.hello();
        connection.grant(3, 300, false);
        // On a machine that is busy enough the client may find the time over before it ever pinged.
        if let Some(ping) = connection.request_or_end() {
            break (connection, ping);
        }
    };
    assert_eq!((ping.0, ping.1), (-2, Op::Ping));
    // No answer to it, nor to those that follow: the client hangs up, and comes back with its session.
    while connection.request_or_end().is_some() {}
    assert_eq!(server.accept().hello().session, 3);
}

#[test]
fn a_reply_out_of_order_costs_the_connection() {
    let server = FakeServer::bind();
    let (client, _) = client(&server.address());
    let mut connection = server.accept_session(1);
    let got = meanwhile(&client, |client| client.get_data("/a", false));
    let (xid, _, _) = connection.request();
    connection.header(xid + 1, 1, 0);
    assert_eq!(got.join().unwrap().unwrap_err(), lost("/a"));
    assert_eq!(connection.request_or_end(), None);
}

#[test]
fn a_frame_of_impossible_length_costs_the_connection() {
    for len in [-1, i32::MAX] {
        let server = FakeServer::bind();
        let (_client, _) = client(&server.address());
        let mut connection = server.accept_session(1);
        connection.send_raw(&i32::to_be_bytes(len));
        assert_eq!(connection.request_or_end(), None);
    }
}

#[test]
fn watches_are_removed_with_an_event_and_locally_without_a_server() {
    let server = FakeServer::bind();
    let (client, events) = client(&server.address());
    let mut connection = server.accept_session(1);
    let done = meanwhile(&client, |client| {
        client.get_data("/a", true).unwrap();
        client.get_data("/b", true).unwrap();
        client.remove_watches("/a", WatcherType::Any, false).unwrap();
        let none = client.remove_watches("/a", WatcherType::Any, false).unwrap_err();
        assert_eq!(none.to_string(), "KeeperErrorCode = No such watcher for /a");
        client.remove_watches("/b", WatcherType::Data, true)
    });
    connection.answer(Op::GetData, 1, |out| put_data(out, b""));
    connection.answer(Op::GetData, 1, |out| put_data(out, b""));
    connection.answer(Op::RemoveWatches, 1, |_| ());
    // A server of 3.8 says yes to this.
    connection.answer(Op::RemoveWatches, 1, |_| ());
    connection.request();
    drop(connection);
    assert_eq!(done.join().unwrap(), Ok(()));
    // The call may return before the client's own thread has told of the event.
    let removed = (0..10_000_000)
        .map(|_| {
            std::thread::yield_now();
            let events = events.lock().unwrap();
            events.iter().filter(|event| event.contains("Removed")).cloned().collect::<Vec<_>>()
        })
        .find(|removed| removed.len() > 1)
        .expect("two watches are removed");
    assert_eq!(removed[0], "WatchedEvent state:SyncConnected type:DataWatchRemoved path:/a zxid: -1");
    // Whether the client has noticed by now that the server is gone is a matter of luck.
    assert!(removed[1].ends_with(" type:DataWatchRemoved path:/b zxid: -1"), "{}", removed[1]);
    assert_eq!(removed.len(), 2);
}

/// A shell on a server of its own, whose session is granted.
fn shell(output: &Arc<Captured>) -> (Shell, super::fake::FakeConnection) {
    let server = FakeServer::bind();
    let options = SessionOptions { timeout: FOREVER, read_only: false, wait_for_connection: false };
    let sink: Arc<dyn super::output::Output> = output.clone();
    let shell = Shell::open(&server.address(), options, sink, TimeZone::UTC).unwrap();
    let connection = server.accept_session(1);
    // What it says of its connection is none of what the tests look at; `settle` waits only as long as a user would.
    let mut told = String::new();
    while !told.contains("SyncConnected") {
        shell.settle();
        told += &output.take().0;
    }
    (shell, connection)
}

#[test]
fn commands_print_what_javas_print() {
    let output = Arc::new(Captured::default());
    let (mut shell, mut connection) = shell(&output);
    let (lines, typed) = mpsc::channel::<&'static str>();
    let (results, printed) = mpsc::channel();
    let seen = Arc::clone(&output);
    let runner = std::thread::spawn(move || {
        for line in typed {
            let flow = shell.run_line(line);
            results.send((seen.take(), shell.exit_code(), flow)).unwrap();
        }
    });
    let run = |line, serve: &mut dyn FnMut()| {
        lines.send(line).unwrap();
        serve();
        let ((out, err), code, flow) = printed.recv().unwrap();
        assert_eq!(flow, Flow::GoOn);
        (out, err, code)
    };
    let children = |out: &mut Vec<u8>| {
        put_strings(out, &["zookeeper", "a"]);
        Stat { num_children: 2, ..Stat::default() }.write(out);
    };
    let printed = |out: &str, err: &str, code| (out.to_string(), err.to_string(), code);

    let ran = run("ls /", &mut || drop(connection.answer(Op::GetChildren2, 1, children)));
    assert_eq!(ran, printed("[a, zookeeper]\n", "", 0));
    let ran = run("ls2 /", &mut || drop(connection.answer(Op::GetChildren2, 1, children)));
    assert!(
        ran.0.starts_with("[zookeeper, a]\ncZxid = 0x0\nctime = Thu Jan 01 00:00:00 UTC 1970\n"),
        "{ran:?}"
    );
    assert!(ran.0.ends_with("numChildren = 2\n"), "{ran:?}");
    let ran = run("create -s /a/n- x", &mut || {
        connection.answer(Op::Create, 2, |out| crate::wire::jute::put_string(out, Some("/a/n-0000000001")));
    });
    assert_eq!(ran, printed("", "Created /a/n-0000000001\n", 0));
    let ran = run("get -x /a", &mut || drop(connection.answer(Op::GetData, 2, |out| put_data(out, b"hi"))));
    assert_eq!(ran.0.lines().nth(3).unwrap().trim_end(), format!("|00000000| 68 69{:43}|hi{:14}|", "", ""));
    let ran = run("get -b /a", &mut || drop(connection.answer(Op::GetData, 2, |out| put_data(out, b"hi"))));
    assert_eq!(ran, printed("aGk=\n", "", 0));
    let ran = run("getAcl /a", &mut || {
        connection.answer(Op::GetAcl, 2, |out| {
            out.extend_from_slice(AclList::OPEN.bytes());
            Stat::default().write(out);
        });
    });
    assert_eq!(ran, printed("'world,'anyone\n: cdrwa\n", "", 0));
    let ran = run("set /a x -v 3", &mut || connection.refuse(Op::SetData, -103));
    assert_eq!(ran, printed("", "version No is not valid : /a\n", 1));
    let ran = run("set /a x -v three", &mut || ());
    assert_eq!(ran, printed("", "-v argument must be an int value\n", 1));
    let ran = run("whoami", &mut || {
        drop(connection.answer(Op::WhoAmI, 2, |out| {
            crate::wire::jute::put_len(out, 1);
            crate::wire::jute::put_string(out, Some("ip"));
            crate::wire::jute::put_string(out, Some("127.0.0.1"));
        }))
    });
    assert_eq!(ran, printed("Auth scheme: User\nip: 127.0.0.1\n", "", 0));
    let ran = run("nonsense", &mut || ());
    assert_eq!((ran.0.as_str(), ran.2), ("", 127));
    assert!(ran.1.ends_with("\nCommand not found: Command not found nonsense\n"), "{ran:?}");
    let ran = run("printwatches", &mut || ());
    assert_eq!(ran, printed("printwatches is on\n", "", 0));
    let ran = run("redo 0", &mut || drop(connection.answer(Op::GetChildren2, 3, children)));
    assert_eq!(ran, printed("[a, zookeeper]\n", "", 0));
    let ran = run("redo 99", &mut || ());
    assert_eq!(ran, printed("", "Command index out of range\n", 1));
    let ran = run("  ", &mut || ());
    assert_eq!(ran, printed("", "", 1));
    let ran = run("history", &mut || ());
    let numbered: Vec<_> = ran.0.lines().collect();
    assert_eq!(numbered.len(), 11);
    assert_eq!(&numbered[8..], ["11 - ls /", "12 - redo 99", "13 - history"]);
    let ran = run("close", &mut || drop(connection.answer(Op::CloseSession, 4, |_| ())));
    assert_eq!(
        ran,
        printed("\nWATCHER::\n\nWatchedEvent state:Closed type:None path:null zxid: -1\n", "", 0)
    );
    let ran = run("ls /", &mut || ());
    assert_eq!(ran, printed("Not connected\n", "", 1));
    drop(lines);
    runner.join().unwrap();
}

#[test]
fn a_tree_is_deleted_from_the_leaves_up_in_batches() {
    let output = Arc::new(Captured::default());
    let (mut shell, mut connection) = shell(&output);
    let runner = std::thread::spawn(move || {
        shell.run_line("deleteall /a -b 2");
        shell.exit_code()
    });
    for (path, children) in [("/a", &["x", "y"][..]), ("/a/x", &["z"]), ("/a/y", &[]), ("/a/x/z", &[])] {
        let record = connection.answer(Op::GetChildren2, 1, |out| {
            put_strings(out, children);
            Stat::default().write(out);
        });
        let asked = Request::GetChildren { path: Some(path.into()), watch: false, with_stat: true };
        assert_eq!(request(Op::GetChildren2, &record), asked);
    }
    for batch in [["/a/x/z", "/a/y"], ["/a/x", "/a"]] {
        let (xid, op, record) = connection.request();
        let Request::Multi(deletes) = request(op, &record) else { panic!("it is one") };
        let deleted: Vec<_> = deletes
            .iter()
            .map(|delete| match delete {
                crate::wire::request::MultiOp::Delete { path, version: -1 } => path.to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(deleted, batch);
        let failed = batch[0] == "/a/x";
        connection.send(|out| {
            use crate::wire::request::MultiHeader;
            crate::wire::reply::ReplyHeader::ok(xid, 9).write(out);
            let kind = if failed { -1 } else { Op::Delete.code() };
            MultiHeader { kind, done: false, err: if failed { -111 } else { 0 } }.write(out);
            if failed {
                crate::wire::jute::put_int(out, -111);
            }
            MultiHeader::END.write(out);
        });
    }
    assert_eq!(runner.join().unwrap(), 1);
    assert_eq!(output.take().1, "Failed to delete some node(s) in the subtree!\n");
}
