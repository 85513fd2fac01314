"""The steps of `mixed` that look at an ensemble as its clients do: sessions, watches, sync, local sessions, read-only mode."""
import itertools

import lib
from ensemble import Session, wait_until
from lib import EPHEMERAL, ZkError


def expect(what, good):
    if not good:
        raise AssertionError(what)


def expect_error(code, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except ZkError as error:
        expect("error %d, expected %d" % (error.code, code), error.code == code)
        return
    raise AssertionError("no error, expected %d" % code)


def expect_expired(port, session):
    """The session is over for this server. A follower that learns of the end just then only hangs up."""
    def refused():
        try:
            lib.Raw(port, session=session)
        except EOFError:
            return False
        except ZkError as error:
            return error.code == -112
        raise AssertionError("a session that was closed goes on at port %d" % port)
    wait_until(refused, "port %d to know that a session has ended" % port)


def syncs(case, e):
    """After a sync, a read on any server shows what was acknowledged on any other before.

    But for a leader that is Java: it sends COMMIT to the followers before it applies (Leader.tryToCommit), and its own
    clients' sync waits for nothing, so that a quick follower's client can be ahead of it.
    """
    sessions = [e.session(m.sid).connect() for m in e.members]
    sessions[0].create("/sync", b"")
    leader = e.wait_leader()
    for here, there in itertools.permutations(range(len(sessions)), 2):
        if e.members[there] is leader and leader.impl != "serval":
            continue
        writer, reader = sessions[here], sessions[there]
        for again in range(20):
            value = b"%d-%d-%d" % (here, there, again)
            writer.set("/sync", value)
            reader.sync("/sync")
            got = reader.get("/sync")[0]
            expect("read %r after a sync on %r, when %r was acknowledged on %r" % (
                got, e.members[there], value, e.members[here]), got == value)
    for session in sessions:
        session.close()


def read_your_writes(case, e):
    """A session that goes round the servers never sees an older state than it saw before."""
    client = e.session()
    client.create("/round", b"0")
    for number in range(30):
        value = b"%d" % number
        zxid = client.set("/round", value)["mzxid"]
        client.move(e.members[number % len(e.members)].port)
        data, stat = client.get("/round")
        expect("read %r after writing %r" % (data, value), data == value and stat["mzxid"] == zxid)
    client.close()


def watches(case, e):
    """Watches on every server fire once for a write on any other, before a reply that shows the change."""
    sessions = [e.session(m.sid).connect() for m in e.members]
    sessions[0].create("/watched", b"0")
    for session in sessions:
        session.sync("/")
    for number, writer in enumerate(sessions, 1):
        for session in sessions:
            expect("no node", session.get("/watched", watch=True))
            session.raw.events.clear()
        path = "/watched/%d" % number
        for session in sessions:
            session.children("/watched", watch=True)
            session.exists(path, watch=True)
        writer.set("/watched", b"%d" % number)
        writer.create(path)
        for session in sessions:
            session.sync("/")
            data, _ = session.get("/watched")
            expect("events %r" % session.raw.events, data == b"%d" % number
                   and sorted(session.raw.events) == [(1, 3, path), (3, 3, "/watched"), (4, 3, "/watched")])
    # Watches that are set again elsewhere fire at once for what was missed meanwhile.
    moving, other = sessions[0], sessions[1]
    moving.get("/watched", watch=True)
    moving.exists("/watched/later", watch=True)
    moving.exists("/watched/1", watch=True)
    seen = moving.raw.zxid
    moving.forget()
    other.set("/watched", b"missed")
    other.create("/watched/later")
    other.sync("/")
    moving.move(e.members[2].port)
    moving.sync("/")
    vectors = (["/watched"], ["/watched/later"], [])
    body = lib.struct.pack(">q", seen) + b"".join(
        lib.struct.pack(">i", len(paths)) + b"".join(map(lib.text_, paths)) for paths in vectors)
    moving.raw.call(101, body, xid=-8)
    moving.exists("/")
    expect("events after setWatches %r" % moving.raw.events,
           sorted(moving.raw.events) == [(1, 3, "/watched/later"), (3, 3, "/watched")])
    for session in sessions:
        session.close()


def sessions_move(case, e):
    """A session moves with its ephemerals; its old connection is worth nothing; closing it anywhere ends it everywhere."""
    ports = [m.port for m in e.members]
    client, watcher = e.session(1), e.session(2)
    client.create("/moving", b"", flags=0)
    client.create("/moving/mine", b"0", flags=EPHEMERAL)
    for number, port in enumerate(ports * 2):
        client.move(port)
        expect("the id changed", client.raw.session == client.id)
        client.set("/moving/mine", b"%d" % number)
        watcher.sync("/")
        data, stat = watcher.get("/moving/mine")
        expect("the ephemeral is wrong", data == b"%d" % number and stat["ephemeralOwner"] == client.id[0])
    # The old connection stays open while the session goes elsewhere: what it still sends must not count.
    for here, there in itertools.permutations(ports, 2):
        client.move(here)
        old, client.raw = client.raw, None
        client.seen, client.xid = max(client.seen, old.zxid), old.xid + 1000
        client.move(there)
        client.set("/moving/mine", b"new")
        try:
            old.set("/moving/mine", b"old")
            raise AssertionError("a write of a session that had moved from %d to %d was accepted" % (here, there))
        except (EOFError, OSError):
            pass
        except ZkError as error:
            expect("error %d for a session that moved" % error.code, error.code in (-118, -112))
        old.socket.close()
        client.sync("/")
        expect("the old connection's write", client.get("/moving/mine")[0] == b"new")
    # A wrong password is refused everywhere.
    for port in ports:
        expect_error(-112, lib.Raw, port, session=(client.id[0], b"\1" * 16))
    client.move(ports[2])
    client.raw.close()
    client.forget()
    watcher.sync("/")
    expect("the ephemeral outlived its session", watcher.exists("/moving/mine") is None)
    for port in ports:
        expect_expired(port, client.id)
    watcher.close()


def sessions_expire(case, e):
    """Silent sessions end with their ephemerals, whichever server they were on; those that ping do not."""
    watcher = e.session(2)
    watcher.create("/expiring")
    silent, busy = [], []
    for member in e.members:
        for kind in (silent, busy):
            # Nobody pings while the others are made, and a server may take its time.
            session = e.session(member.sid, timeout=8000)
            session.create("/expiring/%d-%s" % (member.sid, "silent" if kind is silent else "busy"), flags=EPHEMERAL)
            kind.append(session)
    for session in silent:
        session.forget()
    gone = {"/expiring/%d-silent" % m.sid for m in e.members}

    def ended():
        for session in busy:
            session.raw.call(11, b"", xid=-2)
        return not any(watcher.exists(path) for path in gone)
    wait_until(ended, "the silent sessions to expire")
    for session in busy:
        session.raw.call(11, b"", xid=-2)
    for member in e.members:
        client = e.session(member.sid)
        client.sync("/")
        expect("ephemerals on %r: %s" % (member, client.children("/expiring")),
               client.children("/expiring") == sorted("%d-busy" % m.sid for m in e.members))
        client.close()
    for session in silent:
        expect_error(-112, session.attempt, e[1].port)
    # Without a connection they would expire at any later moment, between the dumps of two trees too.
    for session in busy:
        session.close()
    # Sessions live through the loss of their leader.
    leader = e.wait_leader()
    lasting = e.session(timeout=60000)
    lasting.create("/expiring/lasting", flags=EPHEMERAL)
    leader.kill()
    lasting.forget()
    e.wait_leader()
    lasting.connect()
    expect("the ephemeral is lost", lasting.exists("/expiring/lasting"))
    leader.start()
    e.wait_all()
    lasting.close()
    watcher.close()


def equal_trees(case, e):
    case.verify()


CLIENTS = [
    ("sync", syncs),
    ("a session reads its writes everywhere", read_your_writes),
    ("watches", watches),
    ("sessions move", sessions_move),
    ("sessions expire", sessions_expire),
    ("equal trees", equal_trees),
]
# To the leader, an observer's sessions are its master's: it cannot tell whether one has moved between the two.
CLIENTS_OF_AN_OBSERVER_MASTER = [step for step in CLIENTS if step[1] is not sessions_move]


def local_sessions(case, e):
    """Local sessions cost no transaction, are known to one server only, and become global for an ephemeral node."""
    probe = e.session(1)
    probe.create("/local")
    probe.create("/local/own", flags=EPHEMERAL)  # `probe` is global from here on
    e.wait_same_zxid()
    for member in e.members:
        before = e.wait_same_zxid()
        client = e.session(member.sid)
        client.exists("/local")
        expect("a local session on %r made a transaction" % member, e.wait_same_zxid() == before)
        client.create("/local/by-%d" % member.sid, b"persistent")
        expect("writing made the session on %r global" % member, e.wait_same_zxid() == before + 1)
        elsewhere = e[member.sid % 3 + 1].port
        expect_error(-112, lib.Raw, elsewhere, session=client.id)
        # It upgrades, and may move from then on.
        client.create("/local/e-%d" % member.sid, flags=EPHEMERAL)
        expect("the upgrade of a session on %r" % member, e.wait_same_zxid() == before + 3)
        client.move(elsewhere)
        stat = client.exists("/local/e-%d" % member.sid)
        expect("the ephemeral of an upgraded session", stat and stat["ephemeralOwner"] == client.id[0])
        client.close()
        probe.sync("/")
        expect("the ephemeral outlived its session", probe.exists("/local/e-%d" % member.sid) is None)
    probe.close()
    case.verify()


def local_sessions_without_upgrade(case, e):
    e.start_led_by(3)
    for member in e.members:
        client = e.session(member.sid)
        client.create("/plain-%d" % member.sid)
        expect_error(-120, client.create, "/e-%d" % member.sid, flags=EPHEMERAL)
        client.close()
    case.verify()


def read_only(case, e):
    """A server without a quorum answers reads of those who asked for it, and nothing else; then it is a member again."""
    client = e.session(1)
    client.create("/read-only", b"before")
    client.close()
    e.wait_same_zxid()
    for sid in (1, 3):
        others = [m.sid for m in e.members if m.sid != sid]
        e.kill(*others)
        e[sid].wait_mode("read-only")
        expect("isro says %r" % e[sid].word("isro"), e[sid].word("isro") == "ro")
        try:
            lib.Raw(e[sid].port)
            raise AssertionError("a client that did not ask for read-only was served")
        except (EOFError, OSError):
            pass
        reader = Session([e[sid].port], read_only=True).connect()
        expect("the connect response does not say read-only", reader.raw.read_only)
        expect("the data", reader.get("/read-only")[0] == b"before")
        expect_error(-119, reader.set, "/read-only", b"x")
        expect_error(-119, reader.create, "/never")
        reader.close()
        e.start(*others)
        e.wait_all()
        expect("isro says %r" % e[sid].word("isro"), e[sid].word("isro") == "rw")
        with case.load() as load:
            load.wait_progress(20)
        tree = case.verify()
        expect("a refused write", "/never" not in tree)
