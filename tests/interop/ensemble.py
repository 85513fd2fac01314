"""Ensembles of real server processes on loopback, each one Serval or a release of Java, and load that keeps account.

    with Ensemble(directory, impls=["serval", "java39", "java380"], extra_cfg={"syncLimit": "4"}) as ensemble:
        ensemble.start_led_by(3)                     # server 3 leads, whatever the order of ids allows
        with Writers(ensemble) as writers:           # sessions that write through every server
            ensemble[3].kill()
            ensemble.wait_leader()
            writers.wait_progress(100)
            ensemble[3].start().wait_serving()
        writers.check_acknowledged(ensemble.assert_equal_trees())

Servers are counted from 1, as in `server.N` and `myid`: `ensemble[1]` is the member with id 1, `impls[0]` its implementation.

`Member` (a lib.Server, so it has .port, .word(), .data, .log, .process):
    start() spawn without waiting; stop() SIGTERM; kill() SIGKILL; pause() SIGSTOP; resume() SIGCONT; alive
    mode() what `srvr` says: leader, follower, observer, standalone, read-only, or "" when it serves nobody
    zxid() of `srvr`; wait_mode(*modes), wait_serving(); mark(), said(pattern, mark) its log from a place on
    epochs() (acceptedEpoch, currentEpoch) on disk; logged(bytes) whether the transaction log holds these bytes
`Ensemble`:
    start(*ids), start_led_by(id), make_leader(id), stop(), kill(); swap(id, impl), wipe(id); members, alive()
    leader(), followers(), observers(): members by mode now; wait_leader(), wait_all(), wait_same_zxid()
    session(*ids) a Session over these servers; tree_dump(id), assert_equal_trees(*ids)
    line(of, seen_by) makes the address part of a server.N line; override it to put something between two servers
`Session`: a client session over several servers that is moved with move(id) and found again with connect().
`Writers`: threads that create, set, delete, make ephemeral and sequential nodes and multis, and know what was promised.

Everything here waits for a condition with a deadline (PATIENCE seconds, or the one given) and raises Late when it passes.
"""
import contextlib
import glob
import os
import random
import re
import shutil
import signal
import threading
import time

import lib
from lib import EPHEMERAL, SEQUENTIAL, Raw, ZkError

# How long anything may take on a busy machine before it counts as a failure.
PATIENCE = float(os.environ.get("ENSEMBLE_PATIENCE") or 120)
MODES = ("leader", "follower", "observer", "standalone", "read-only")
# Session ids and passwords are unknown to every server after this error.
EXPIRED = -112

CONFIG = {
    "tickTime": "500",
    "initLimit": "20",
    # Ten seconds: no suite that uses this waits for it, and a disk or a scheduler that hangs for less ends no role.
    "syncLimit": "20",
    # Java's listener for the commands of AdminServer would need a port per server.
    "admin.enableServer": "false",
}
# A small heap and the serial collector start faster, and three of them fit on a small machine.
JVM = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-Xshare:auto")


_archives = {}


def class_archive(impl):
    """An archive of a Java server's classes, made once by a server that does nothing else: it halves the time of each start.

    Java ignores an archive that is missing or made from other jars.
    """
    if impl not in _archives:
        name = os.path.join(lib.OUT, "classes-%s.jsa" % impl)
        if not os.path.exists(name):
            directory = os.path.join(lib.OUT, "classes-%s-%d" % (impl, os.getpid()))
            new = os.path.join(directory, "classes.jsa")
            with lib.Server(directory, impl=impl, java_options=[*JVM, "-XX:ArchiveClassesAtExit=" + new]) as server:
                server.start().stop()
            if os.path.exists(new):
                os.replace(new, name)
            shutil.rmtree(directory, ignore_errors=True)
        _archives[impl] = name
    return _archives[impl]


class Late(AssertionError):
    """Something did not happen in its time."""


def wait_until(condition, what, seconds=None):
    """Polls until `condition()` is true and returns its value; raises Late with `what` (text or function) otherwise."""
    end = time.monotonic() + (PATIENCE if seconds is None else seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Late("waited in vain: %s" % (what() if callable(what) else what))
        time.sleep(0.02)


class Member(lib.Server):
    """One server of an ensemble; made by `Ensemble`."""

    WORD_SECONDS = 3

    def __init__(self, ensemble, sid, impl, ports):
        self.ensemble, self.sid, self.paused = ensemble, sid, False
        self.quorum_port, self.election_port = ports[1], ports[2]
        directory = os.path.join(ensemble.directory, "s%d" % sid)
        os.makedirs(directory, exist_ok=True)
        super().__init__(directory, impl=impl, port=ports[0], text="")
        self.write_myid()

    def __repr__(self):
        return "s%d(%s)" % (self.sid, self.impl)

    def write_myid(self):
        os.makedirs(self.data, exist_ok=True)
        with open(os.path.join(self.data, "myid"), "w") as out:
            out.write("%d\n" % self.sid)

    def spawn(self):
        self.java_options = JVM if self.impl == "serval" else (*JVM, "-XX:SharedArchiveFile=" + class_archive(self.impl))
        self.environment = self.ensemble.environment
        self.paused = False
        return super().spawn()

    def start(self):
        """Starts the process; does not wait, because a server alone waits for the others."""
        return self.spawn()

    def stop(self, seconds=PATIENCE):
        """SIGTERM; returns the exit status."""
        self.resume()
        try:
            return super().stop(seconds)
        except lib.subprocess.TimeoutExpired:
            raise Late("%r did not end within %d s of SIGTERM" % (self, seconds)) from None

    def kill(self):
        super().kill()
        self.paused = False

    def pause(self):
        """SIGSTOP: the server hangs, its sockets stay open. Returns when all its threads have stopped."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True
        wait_until(lambda: self.thread_states() <= {"T", "t", "Z"}, "%r to stop" % self)

    def thread_states(self):
        states = set()
        for name in glob.glob("/proc/%d/task/*/stat" % self.process.pid):
            try:
                with open(name) as file:
                    states.add(file.read().rpartition(")")[2].split()[0])
            except OSError:
                pass
        return states

    def resume(self):
        if self.paused and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        self.paused = False

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def mode(self):
        if not self.alive or self.paused:
            return ""
        found = re.search(r"^Mode: (\S+)", self.word("srvr"), re.M)
        return found.group(1) if found else ""

    def zxid(self):
        """The last zxid the server applied, None when it serves nobody."""
        found = re.search(r"^Zxid: 0x([0-9a-f]+)", self.word("srvr"), re.M)
        return int(found.group(1), 16) if found else None

    def wait_mode(self, *modes, seconds=None):
        """Waits until `srvr` shows one of these modes; returns it."""
        def now():
            if not self.alive:
                raise Late("%r ended with status %s:\n%s" % (
                    self, self.process and self.process.returncode, self.tail(12)))
            mode = self.mode()
            return mode if mode in modes else None
        return wait_until(now, lambda: "%r is %r, not %s\n%s" % (self, self.mode(), " or ".join(modes), self.tail(12)),
                          seconds)

    def wait_serving(self, seconds=None):
        self.wait_mode("leader", "follower", "observer", "standalone", seconds=seconds)
        return self

    def mark(self):
        """The place in the server's log that `said` may start from."""
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def said(self, pattern, mark=0):
        """The lines of the server's log from a mark on that match."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, "rb") as log:
            log.seek(mark)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return [line for line in lines if re.search(pattern, line)]

    def epochs(self):
        """(acceptedEpoch, currentEpoch) as the files say, None for a missing one."""
        found = []
        for name in ("acceptedEpoch", "currentEpoch"):
            try:
                with open(os.path.join(self.data, "version-2", name)) as file:
                    found.append(int(file.read()))
            except (OSError, ValueError):
                found.append(None)
        return tuple(found)

    def files(self, kind):
        """Names of files in version-2 that begin with `kind` ("log.", "snapshot."), sorted by zxid."""
        try:
            names = os.listdir(os.path.join(self.data, "version-2"))
        except OSError:
            return []
        names = [name for name in names if re.match(re.escape(kind) + "[0-9a-f]+", name)]
        return sorted(names, key=lambda name: int(re.match("[0-9a-f]+", name[len(kind):]).group(), 16))

    def logged(self, content):
        """Whether a log file holds these bytes, for example the path of a node that was created."""
        for name in self.files("log."):
            try:
                with open(os.path.join(self.data, "version-2", name), "rb") as file:
                    if content in file.read():
                        return True
            except OSError:
                pass
        return False


class Ensemble:
    """Servers 1..n, of which `impls` says the implementation ("serval", "java39", "java380").

    `base_port`: 10 * n ports from there on are used (server i: base + 10 * (i - 1) client, + 1 quorum, + 2 election; the
    rest is free for the suite), or None for any in INTEROP_PORTS. `extra_cfg` are zoo.cfg keys of every server,
    `per_server_cfg[i]` of server i (None removes a key). `properties` are Java system properties that must be named whole
    (readonlymode.enabled); they are written to zoo.cfg as well, where Serval reads them. `observers` are ids.
    `client_in_line` puts the client's address in the server.N line, as reconfig wants it, instead of clientPort.
    `environment` is added to the servers' environment. `followers` is how many a leader needs at least: half of the voters, unless
    weights or groups say otherwise. With `two_addresses` each server listens on two; of a peer's, the first that Serval is told of is dead.
    """

    def __init__(self, directory, base_port=None, impls=("serval",) * 3, extra_cfg=None, per_server_cfg=None,
                 properties=None, observers=(), client_in_line=False, environment=None, followers=None,
                 two_addresses=False):
        self.directory, self.extra_cfg = directory, dict(extra_cfg or {})
        self.per_server_cfg, self.properties = dict(per_server_cfg or {}), dict(properties or {})
        self.observer_ids, self.client_in_line = set(observers), client_in_line
        self.environment, self.two_addresses = dict(environment or {}), two_addresses
        self.followers_needed = (len(impls) - len(self.observer_ids)) // 2 if followers is None else followers
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        first = base_port or lib.free_ports(10 * len(impls))
        self.members = []
        for number, impl in enumerate(impls):
            port = first + 10 * number
            self.members.append(Member(self, number + 1, impl, (port, port + 1, port + 2)))
        for member in self.members:
            self.configure(member)

    def __getitem__(self, sid):
        return self.members[sid - 1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def line(self, of, seen_by):
        """host:quorum:election of member `of` in the configuration of `seen_by`."""
        first, second = of.quorum_port, of.election_port
        if not self.two_addresses:
            return "127.0.0.1:%d:%d" % (first, second)
        # Java tries one that answers its ping, and knows no better of one where only the port is closed.
        dead = 4 if of is not seen_by and seen_by.impl == "serval" else 0
        return "127.0.0.1:%d:%d|127.0.0.2:%d:%d" % (first + dead, second + dead, first + 2, second + 2)

    def configure(self, member):
        """Writes the member's zoo.cfg; done at the beginning, and again only on request."""
        keys = dict(lib.BASE_CONFIG, **CONFIG, dataDir=member.data)
        if not self.client_in_line:
            keys["clientPort"] = str(member.port)
        else:
            keys["clientPortAddress"] = None
        if member.sid in self.observer_ids:
            keys["peerType"] = "observer"
        keys.update(self.properties)
        keys.update(self.extra_cfg)
        keys.update(self.per_server_cfg.get(member.sid, {}))
        member.properties = dict(self.properties)
        text = "".join("%s=%s\n" % item for item in keys.items() if item[1] is not None)
        for of in self.members:
            role = ":observer" if of.sid in self.observer_ids else ""
            client = ";127.0.0.1:%d" % of.port if self.client_in_line else ""
            if self.client_in_line:
                role = role or ":participant"
            text += "server.%d=%s%s%s\n" % (of.sid, self.line(of, member), role, client)
        member.cfg = os.path.join(member.directory, "zoo.cfg")
        with open(member.cfg, "w") as out:
            out.write(text)

    def describe(self):
        return " ".join("%r:%s" % (m, m.mode() or ("paused" if m.paused else "-" if m.alive else "dead"))
                        for m in self.members)

    # ---------------------------------------------------------------------------------------------- life and death

    def start(self, *sids):
        """Starts these servers (all if none is named) without waiting."""
        for member in self.chosen(sids):
            if not member.alive:
                member.start()
        return self

    def start_led_by(self, sid):
        """Starts all servers so that this one leads: with equal histories the highest of those that vote wins.

        It is started with enough lower ids for a quorum first, so it must not be the lowest; the others join later.
        """
        voters = [m.sid for m in self.members if m.sid not in self.observer_ids]
        needed = len(voters) // 2
        lower = [other for other in voters if other < sid][:needed]
        if len(lower) < needed:
            raise ValueError("server %d cannot win an election of %s" % (sid, voters))
        self.start(sid, *lower)
        self[sid].wait_mode("leader")
        self.start()
        self.wait_all()
        return self

    def stop(self, *sids):
        """SIGTERM to these servers, or all."""
        chosen = [m for m in self.chosen(sids) if m.alive]
        for member in chosen:
            member.resume()
            member.process.terminate()
        for member in chosen:
            member.stop()

    def kill(self, *sids):
        """SIGKILL to these servers, or all, at the same moment."""
        for member in self.chosen(sids):
            if member.process and member.process.poll() is None:
                member.process.send_signal(signal.SIGKILL)
        for member in self.chosen(sids):
            member.kill()

    def make_leader(self, sid):
        """Lets the highest id lead a whole ensemble whose members hold the same, by killing whoever leads instead."""
        leader = self.wait_all()
        while leader.sid != sid:
            self.wait_same_zxid()
            leader.kill()
            new = self.wait_leader()
            leader.start()
            self.wait_all()
            if new.sid == leader.sid:
                raise AssertionError("server %d does not win: %s" % (sid, self.describe()))
            leader = new
        return leader

    def wait_same_zxid(self, *sids):
        """Waits until these servers (all that are alive) have applied the same last transaction; returns its zxid."""
        chosen = self.chosen(sids) if sids else self.alive()

        def now():
            zxids = {member.zxid() for member in chosen}
            return zxids.pop() if len(zxids) == 1 and None not in zxids else None
        return wait_until(now, lambda: "one zxid everywhere: %s" % {repr(m): m.zxid() for m in chosen})

    def swap(self, sid, impl):
        """Restarts the server as another implementation on its data directory; waits until it serves.

        When it alone is missing to the quorum the wait may be in vain: stop, set `impl` and start then.
        """
        member = self[sid]
        if member.alive:
            member.stop()
        member.impl = impl
        member.start().wait_serving()
        return member

    def wipe(self, sid):
        """Empties the data directory of a stopped server, all but its myid."""
        assert not self[sid].alive
        shutil.rmtree(self[sid].data)
        self[sid].write_myid()

    # ---------------------------------------------------------------------------------------------- who does what

    def chosen(self, sids):
        return [self[sid] for sid in sids] if sids else self.members

    def alive(self):
        """The members whose process runs and is not paused."""
        return [m for m in self.members if m.alive and not m.paused]

    def leader(self):
        """The member that says it leads, None if none does. During a change two may claim it: the later epoch counts."""
        leaders = [m for m in self.alive() if m.mode() == "leader"]
        return max(leaders, key=lambda m: m.zxid() or 0) if leaders else None

    def followers(self):
        return [m for m in self.alive() if m.mode() == "follower"]

    def observers(self):
        return [m for m in self.alive() if m.mode() == "observer"]

    def wait_leader(self, seconds=None):
        """Waits until exactly one live member leads and a quorum serves; returns the leader."""
        def now():
            modes = [(m, m.mode()) for m in self.alive()]
            leaders = [m for m, mode in modes if mode == "leader"]
            served = sum(mode == "follower" for _, mode in modes)
            return leaders[0] if len(leaders) == 1 and served >= self.followers_needed else None
        return wait_until(now, lambda: "one leader: " + self.describe(), seconds)

    def wait_all(self, seconds=None):
        """Waits until every live member serves clients and one leads; returns the leader."""
        leader = self.wait_leader(seconds)
        for member in self.alive():
            member.wait_serving(seconds)
        return leader

    # ---------------------------------------------------------------------------------------------- what they hold

    def session(self, *sids, timeout=600000, patience=30, read_only=False):
        """A session that is connected to the first of these servers (of all) that takes it."""
        return Session([m.port for m in self.chosen(sids)], timeout, patience, read_only)

    def tree_dump(self, sid, seconds=None):
        """path -> data, Stat, sorted ACL and children of every node of one server, after a `sync`.

        The times of /zookeeper/config are each server's own: they are left out, and so is what was told to each differently.
        """
        client = Session([self[sid].port], patience=30)
        client.connect(PATIENCE if seconds is None else seconds)
        client.auth(*lib.SUPER_AUTH)
        client.sync("/")
        nodes = dump(client.raw)
        client.close()
        for path in ("/zookeeper/config",):
            if path in nodes:
                nodes[path]["stat"].update(ctime=0, mtime=0)
                if self.two_addresses:
                    nodes[path]["data"] = None
        return nodes

    def assert_equal_trees(self, *sids):
        """Dumps these servers (all that are alive) one after the other and compares; returns the tree.

        Nobody may write meanwhile. Sessions come and go with a dump, which leaves no trace in the tree.
        """
        chosen = self.chosen(sids) if sids else self.alive()
        first = self.tree_dump(chosen[0].sid)
        for member in chosen[1:]:
            found = lib.differences(first, self.tree_dump(member.sid))
            if found:
                raise AssertionError("%r differs from %r in %d places:\n%s" % (
                    member, chosen[0], len(found), "\n".join(found[:30])))
        return first


def dump(raw):
    """path -> data, Stat, sorted ACL and children, with many requests under way at once."""
    nodes, todo = {}, ["/"]
    while todo:
        batch, todo = todo[:200], todo[200:]
        for path in batch:
            raw.send(4, lib.text_(path) + b"\0")
            raw.send(6, lib.text_(path))
            raw.send(8, lib.text_(path) + b"\0")
        for path in batch:
            replies = [raw.receive() for _ in range(3)]
            for _, error, _ in replies:
                if error:
                    raise ZkError(error)
            data, acl, children = (lib.Reader(body) for _, _, body in replies)
            names = []
            node = {"data": data.buffer(), "stat": data.stat()}
            node["acl"] = sorted((acl.take(">i"), acl.text(), acl.text()) for _ in range(acl.take(">i")))
            names = sorted(children.text() for _ in range(children.take(">i")))
            node["children"] = names
            nodes[path] = node
            todo += [path.rstrip("/") + "/" + name for name in names]
    return nodes


class Session:
    """A client session over several servers. Requests are those of lib.Raw (session.create(...)), on `session.raw`.

    Numbers of requests go on from connection to connection, as in every real client: the servers tell the answers to a
    session's requests apart by them, and an old request may still be under way when the session goes on elsewhere.

    Broken connections show as OSError or EOFError; connect() then finds a server that takes the session, with the highest
    zxid it has seen, and raises ZkError(-112) when it has expired.
    """

    def __init__(self, ports, timeout=600000, patience=30, read_only=False):
        self.ports, self.timeout, self.patience, self.read_only = list(ports), timeout, patience, read_only
        self.raw, self.id, self.seen, self.xid, self.next = None, (0, b"\0" * 16), 0, 0, 0
        self.events = []

    def __getattr__(self, name):
        if name == "raw" or self.__dict__.get("raw") is None:
            if name.startswith("_"):
                raise AttributeError(name)
            self.connect()
        return getattr(self.raw, name)

    def attempt(self, port):
        """Connects to one server; raises OSError, EOFError, or ZkError(-112) for a session nobody knows."""
        self.forget()
        self.raw = Raw(port, self.timeout, self.id, self.seen, self.patience, self.read_only)
        self.raw.xid = self.xid
        self.id = self.raw.session
        return self

    def connect(self, seconds=None):
        """Tries one server after the other until one takes the session."""
        def once():
            for _ in self.ports:
                port = self.ports[self.next % len(self.ports)]
                self.next += 1
                try:
                    return self.attempt(port)
                except (OSError, EOFError, lib.struct.error):
                    continue
            return None
        return wait_until(once, "a server for a session among ports %s" % self.ports, seconds)

    def move(self, port, seconds=None):
        """Leaves the connection as it is and goes on at another server."""
        self.forget()

        def once():
            try:
                return self.attempt(port)
            except (OSError, EOFError, lib.struct.error):
                return None
        return wait_until(once, "the server at port %d for a session" % port, seconds)

    def forget(self):
        """Drops the connection; the session lives on."""
        if self.raw is not None:
            self.seen, self.xid = max(self.seen, self.raw.zxid), self.raw.xid
            self.events += self.raw.events
            self.raw.socket.close()
            self.raw = None

    def close(self):
        """Ends the session; quietly when the connection is gone."""
        if self.raw is not None:
            try:
                self.raw.close()
            except (OSError, EOFError, ZkError):
                pass
            self.forget()


# ---------------------------------------------------------------------------------------------------- load

class Operation:
    """A request under way: its wire form, what it makes of which paths, and what it was told.

    `changes` are (path, state) pairs: the state the node will have, or None when it is deleted. A sequential create has
    the prefix of its path. `zxid` is the transaction's own where the reply has a Stat, else at least that.
    """

    def __init__(self, kind, op, body, changes):
        self.kind, self.op, self.body, self.changes = kind, op, body, changes
        self.zxid = None

    def __repr__(self):
        return "%s %s" % (self.kind, ", ".join("%s=%r" % (p, s and s.value) for p, s in self.changes))


class State:
    """What a node must be: its value, version, and creating and last changing zxid (None: unknown)."""

    def __init__(self, value, version=0, czxid=None, mzxid=None, owner=0):
        self.value, self.version, self.czxid, self.mzxid, self.owner = value, version, czxid, mzxid, owner

    def unlike(self, node):
        """Why a dumped node is not in this state, or None."""
        stat = node["stat"]
        if (node["data"] or b"") != self.value:
            return "data %r, expected %r" % (node["data"], self.value)
        for name, want in (("version", self.version), ("czxid", self.czxid), ("mzxid", self.mzxid),
                           ("ephemeralOwner", self.owner)):
            if want is not None and stat[name] != want:
                return "%s %#x, expected %#x" % (name, stat[name], want)
        return None


class Writer(threading.Thread):
    """One session that writes below its own node, so that it knows what must be there.

    acknowledged: (path, value, zxid) of every acknowledged write in order (value None: deleted)
    uncertain:    operations whose reply never came; their paths are never written again
    sessions:     ids of the sessions it had; all but the last have expired
    """

    def __init__(self, base, number, ports, depth, pace, timeout, patience, seed):
        super().__init__(daemon=True, name="writer %d" % number)
        self.base, self.number, self.depth = "%s/%d" % (base, number), number, depth
        self.interval, self.due, self.wake = 1.0 / pace if pace else 0, 0, threading.Event()
        self.session = Session(ports, timeout, patience)
        self.session.next = number
        self.random = random.Random(seed * 1000 + number)
        self.counter, self.ending, self.holding, self.failure = 0, False, False, None
        self.nodes, self.gone, self.maybe, self.strays = {}, set(), {}, {}
        self.acknowledged, self.uncertain, self.sessions, self.disconnects = [], [], [], 0
        self.outstanding, self.busy = [], set()
        self.last_ack, self.longest_gap = None, 0.0

    # -- load

    def run(self):
        try:
            while not self.ending or self.outstanding:
                try:
                    if self.session.raw is None:
                        self.reconnect()
                        continue
                    while len(self.outstanding) < self.depth and not self.ending and not self.holding:
                        if self.interval and not self.turn():
                            break
                        operation = self.choose()
                        self.outstanding.append(operation)
                        self.busy.update(path for path, _ in operation.changes)
                        self.session.raw.send(operation.op, operation.body)
                    if self.outstanding:
                        self.receive()
                    elif self.holding:
                        time.sleep(0.01)
                except (OSError, EOFError):
                    self.lost()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure
            self.lost()

    def turn(self):
        """Whether the next request is due; with nothing under way it waits for that moment."""
        now = time.monotonic()
        if now < self.due:
            if self.outstanding:
                return False
            self.wake.wait(self.due - now)
        self.due = max(self.due, now - 1) + self.interval
        return not self.ending

    def reconnect(self):
        """Comes back with the session, or with a new one when it expired."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.session.attempt(self.session.ports[self.session.next % len(self.session.ports)])
                break
            except (OSError, EOFError, lib.struct.error):
                self.session.next += 1
                if self.ending:
                    return
                if time.monotonic() > end:
                    raise Late("writer %d found no server for %d s" % (self.number, PATIENCE)) from None
                time.sleep(0.02)
            except ZkError as error:
                if error.code != EXPIRED:
                    raise
                self.expire()
        if not self.sessions or self.sessions[-1] != self.session.id[0]:
            self.sessions.append(self.session.id[0])

    def expire(self):
        """The session is gone, and with it its ephemerals."""
        for path in [path for path, state in self.nodes.items() if state.owner]:
            del self.nodes[path]
            self.gone.add(path)
        for path, states in list(self.maybe.items()):
            if any(state is not None and state.owner for _, state in states):
                del self.maybe[path]
                self.gone.add(path)
        self.session.id = (0, b"\0" * 16)

    def lost(self):
        """The connection broke: what was under way may have happened or not."""
        self.session.forget()
        self.session.next += 1
        self.disconnects += 1
        for operation in self.outstanding:
            self.uncertain.append(operation)
            for path, state in operation.changes:
                if operation.kind == "sequential":
                    self.strays[state.value] = path
                else:
                    self.maybe[path] = [(None, self.nodes.pop(path, None)), (operation, state)]
        self.outstanding, self.busy = [], set()

    def receive(self):
        _, error, body = self.session.raw.receive()
        operation = self.outstanding.pop(0)
        self.busy.difference_update(path for path, _ in operation.changes)
        if error == -118:  # SessionMoved: the request was refused, and the connection ends
            raise EOFError("session moved")
        if error:
            raise AssertionError("%r was refused with %d" % (operation, error))
        self.note(operation, lib.Reader(body), self.session.raw.zxid)
        now = time.monotonic()
        if self.last_ack is not None:
            self.longest_gap = max(self.longest_gap, now - self.last_ack)
        self.last_ack = now

    def note(self, operation, reply, zxid):
        """Books an acknowledged operation."""
        changes = operation.changes
        if operation.kind in ("create", "ephemeral", "sequential"):
            path, stat = reply.text(), reply.stat()
            zxid, changes = stat["czxid"], [(path, changes[0][1])]
        elif operation.kind == "set":
            zxid = reply.stat()["mzxid"]
        operation.zxid = zxid
        exact = zxid if operation.kind in ("create", "ephemeral", "sequential", "set") else None
        for path, state in changes:
            if state is None:
                self.nodes.pop(path, None)
                self.gone.add(path)
            else:
                before = self.nodes.get(path)
                state.czxid, state.mzxid = (before.czxid if before else exact), exact
                self.nodes[path] = state
                self.gone.discard(path)
            self.acknowledged.append((path, state and state.value, zxid))

    def choose(self):
        """A random write that must succeed."""
        self.counter += 1
        value = b"%d:%d:" % (self.number, self.counter) + self.random.randbytes(self.random.choice((0, 20, 200)))
        free = [path for path in self.nodes if path not in self.busy]
        plain = [path for path in free if not self.nodes[path].owner]
        kind = self.random.random()
        if len(free) < 5 or kind < 0.25:
            path = "%s/n%d" % (self.base, self.counter)
            return Operation("create", *lib.op_create(path, value, op=15), [(path, State(value))])
        if kind < 0.33:
            path = "%s/s%d-" % (self.base, self.counter % 3)
            return Operation("sequential", *lib.op_create(path, value, flags=SEQUENTIAL, op=15), [(path, State(value))])
        if kind < 0.40:
            path, owner = "%s/e%d" % (self.base, self.counter), self.session.id[0]
            return Operation("ephemeral", *lib.op_create(path, value, flags=EPHEMERAL, op=15),
                             [(path, State(value, owner=owner))])
        if kind < 0.50 and plain:
            first, second = self.random.choice(plain), "%s/m%d" % (self.base, self.counter)
            parts = [lib.op_set(first, value), lib.op_create(second, value)]
            body = b"".join(lib.struct.pack(">i?i", op, False, -1) + part for op, part in parts)
            return Operation("multi", 14, body + lib.struct.pack(">i?i", -1, True, -1),
                             [(first, self.after(first, value)), (second, State(value))])
        if kind < 0.65 or len(self.nodes) > 60:
            path = self.random.choice(free)
            return Operation("delete", *lib.op_delete(path), [(path, None)])
        path = self.random.choice(free)
        return Operation("set", *lib.op_set(path, value), [(path, self.after(path, value))])

    def after(self, path, value):
        before = self.nodes[path]
        return State(value, before.version + 1, before.czxid, None, before.owner)

    # -- account

    def wrong(self, tree):
        """What in a dumped tree contradicts the acknowledged writes, one line each."""
        found = []
        below = {path for path in tree if path.startswith(self.base + "/")}
        for path, state in sorted(self.nodes.items()):
            if path not in tree:
                found.append("%s: acknowledged at %s, missing" % (path, state.mzxid and hex(state.mzxid)))
            elif state.unlike(tree[path]):
                found.append("%s: %s" % (path, state.unlike(tree[path])))
        for path in sorted(self.gone & below):
            found.append("%s: deleted, or its session ended, but it is there" % path)
        done = {}
        for path, states in sorted(self.maybe.items()):
            node = tree.get(path)
            fits = [operation for operation, state in states
                    if (node is None if state is None else node is not None and not state.unlike(node))]
            if not fits:
                found.append("%s: %s is neither before nor after %r" % (path, node, states[1][0]))
            elif len(fits) == 1:
                operation = states[1][0]
                if done.setdefault(id(operation), fits[0] is not None) != (fits[0] is not None):
                    found.append("%s: %r was done in part" % (path, operation))
        strays = {}
        for path in sorted(below - set(self.nodes) - set(self.maybe) - self.gone):
            value = tree[path]["data"] or b""
            prefix = self.strays.get(value)
            if prefix is None or not path.startswith(prefix) or value in strays:
                found.append("%s: nobody asked for this node (or not twice): %r" % (path, value))
            strays[value] = path
        return found


class Writers:
    """Sessions that write through several servers at once, each in its own thread, and know what was acknowledged.

    A writer has up to `depth` requests under way, at most `pace` a second (None: as many as it can), and below its own node `root`/NUMBER creates, sets, deletes, and makes ephemeral
    and sequential nodes and multis. When its connection breaks it goes on at the next server, with its session.

        start(), stop()     stop() waits for the replies to what is under way; the sessions, and their ephemerals, stay
        spared()            a context in which a leader may go, or a server come; nobody writes where that is too much for Java 3.8.0
        wait_progress(n)    until every writer has had n more acknowledgements from now on
        acknowledged        (path, value, zxid) of all writers; value None is a delete
        uncertain           operations that may have happened or not
        check_acknowledged(tree)  raises AssertionError unless the tree holds what was promised and nothing else
    """

    def __init__(self, ensemble, root="/writers", count=4, depth=4, pace=None, sids=(), timeout=600000, patience=5,
                 seed=None):
        self.ensemble, self.root = ensemble, root
        self.ports = [m.port for m in ensemble.chosen(sids)]
        self.seed = random.randrange(1 << 30) if seed is None else seed
        self.writers = [Writer(root, number, self.ports, depth, pace, timeout, patience, self.seed)
                        for number in range(count)]
        self.stopped, self.marks = False, 0

    def start(self):
        client = Session(self.ports)
        for path in [self.root, *(writer.base for writer in self.writers)]:
            try:
                client.create(path)
            except ZkError as error:
                if error.code != -110:
                    raise
        client.close()
        for writer in self.writers:
            writer.start()
        return self

    def stop(self, seconds=None):
        for writer in self.writers:
            writer.ending = True
            writer.wake.set()
        for writer in self.writers:
            writer.join(PATIENCE if seconds is None else seconds)
            if writer.is_alive():
                raise Late("writer %d does not end" % writer.number)
        self.stopped = True
        self.fail_if_broken()
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            self.stop()
        except AssertionError:
            if kind is None:
                raise

    def fail_if_broken(self):
        for writer in self.writers:
            if writer.failure:
                raise AssertionError("writer %d (seed %d): %r" % (writer.number, self.seed, writer.failure)) \
                    from writer.failure

    def wait_progress(self, count=50, seconds=None):
        """Waits until each writer has had `count` more acknowledgements."""
        before = [len(writer.acknowledged) for writer in self.writers]

        def now():
            self.fail_if_broken()
            return all(len(writer.acknowledged) >= start + count for writer, start in zip(self.writers, before))
        wait_until(now, lambda: "progress of the writers, %s since %s; %s" % (
            [len(writer.acknowledged) for writer in self.writers], before, self.ensemble.describe()), seconds)

    @contextlib.contextmanager
    def spared(self, comes=None):
        """The leader may go in this context, or a server of the implementation that `comes`. If that concerns Java 3.8.0, nobody
        writes meanwhile, and what its servers were sent is in their logs: the slower the machine, the more often their trees differ else.

        When its leader goes, 3.8.0 counts what is still in the queue before its log as what it has, and loses it with the queue
        (ZOOKEEPER-4541). When it comes, a COMMIT in the wrong moment makes it give up and try again with half of a DIFF (ZOOKEEPER-4394).
        """
        fragile, client = [m for m in self.ensemble.alive() if m.impl == "java380"], None
        if comes == "java380" or fragile and not comes:
            for writer in self.writers:
                writer.holding = True
            wait_until(lambda: not any(writer.outstanding for writer in self.writers), "the writers to hold")
            client, self.marks = Session(self.ports), self.marks + 1
            mark = client.create("%s/mark-%d" % (self.root, self.marks)).encode()
            wait_until(lambda: all(m.logged(mark) for m in fragile), lambda: "%r to log %r" % (fragile, mark))
        try:
            yield
        finally:
            for writer in self.writers:
                writer.holding = False
            if client:
                client.close()

    @property
    def acknowledged(self):
        return [write for writer in self.writers for write in list(writer.acknowledged)]

    @property
    def uncertain(self):
        return [operation for writer in self.writers for operation in list(writer.uncertain)]

    def longest_gap(self):
        """The longest time in seconds that any writer waited between two acknowledgements."""
        return max(writer.longest_gap for writer in self.writers)

    def wrong(self, tree):
        return [line for writer in self.writers for line in writer.wrong(tree)]

    def check_acknowledged(self, tree):
        self.fail_if_broken()
        found = self.wrong(tree)
        if found:
            raise AssertionError("%d of %d acknowledged writes are not as they should be (seed %d):\n%s" % (
                len(found), len(self.acknowledged), self.seed, "\n".join(found[:30])))

    def close(self):
        """Ends the sessions, and so their ephemerals; check_acknowledged then expects them to be gone."""
        for writer in self.writers:
            try:
                if writer.session.raw is None:
                    writer.session.connect()
                writer.session.raw.close()
                writer.session.forget()
            except ZkError as error:
                if error.code != EXPIRED:
                    raise
            writer.expire()
