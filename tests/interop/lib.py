"""What the suites share: starting the server under test, a small raw client, whole-server dumps, and reporting.

Every suite takes the server to test from the environment, so that it can be proved against Apache ZooKeeper first:

  IMPL            serval (default), java39 (Maven Central) or java380 (Debian)
  SERVAL_BIN      the Serval binary (default target/release/serval)
  INTEROP_PORTS   range to take listening ports from (default 22000-22999)
  INTEROP_OUT     where working directories and logs go (default target/interop); kept until the next run
"""
import glob
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DATA = os.path.join(ROOT, "tests", "data")
CACHE = os.environ.get("SERVAL_CI_CACHE") or os.path.expanduser("~/.cache/serval-ci")
OUT = os.path.abspath(os.environ.get("INTEROP_OUT") or os.path.join(ROOT, "target", "interop"))
IMPL = os.environ.get("IMPL", "serval")
IMPLS = ("serval", "java39", "java380")
PYTHON = os.path.join(CACHE, "venv", "bin", "python")

# The super user of every server here: user "super", password "admin".
SUPER_DIGEST = "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="
SUPER_AUTH = ("digest", b"super:admin")


def die(text):
    """Ends the suite as not runnable, which counts as a failure."""
    print("cannot run: " + text)
    sys.exit(2)


# ---------------------------------------------------------------------------------------------------- servers

LOGBACK = os.path.join(HERE, "java39", "logback.xml")


def jars(impl):
    """The jar files of a Java server and of its command line."""
    if impl == "java380":
        # The manifest of Debian's zookeeper.jar names most of its dependencies, but not these.
        names = ["zookeeper.jar", "slf4j-simple.jar", "servlet-api.jar", "jetty9-util-ajax.jar", "snappy-java.jar"]
        found = [os.path.join("/usr/share/java", name) for name in names]
    else:
        found = sorted(glob.glob(os.path.join(CACHE, "java39", "*.jar")))
    if not found or not os.path.exists(found[-1]):
        die("the Java server %s is not installed; run tests/interop/setup" % impl)
    return found


def classpath(impl):
    """A class path for those who start Java themselves; logback.xml, in its directory, keeps the client quiet."""
    return ":".join([os.path.dirname(LOGBACK), *jars(impl)])


def java(impl, *arguments, properties=()):
    """A command line that runs a Java class of one release, with an encoding and a time zone that do not vary."""
    # logback.xml is named, not found: a directory on the class path would rule out an archive of classes (ensemble.py).
    return ["java", "-Xmx512m", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.showDateTime=false", "-Dlogback.configurationFile=" + LOGBACK, *properties,
            "-cp", ":".join(jars(impl)), *arguments]


def serval_binary():
    path = os.environ.get("SERVAL_BIN") or os.path.join(ROOT, "target", "release", "serval")
    if not os.access(path, os.X_OK):
        die("no Serval binary at %s; build it or set SERVAL_BIN" % path)
    return os.path.abspath(path)


# Where ports listen that do not listen on loopback: port -> address.
HOSTS = {}

_next_port = [None]


def free_port():
    """A port nobody listens on. Each call moves on, so that a port is not handed out twice in a row."""
    low, high = map(int, os.environ.get("INTEROP_PORTS", "22000-22999").split("-"))
    if _next_port[0] is None:
        # Suites that run at the same time start from different places.
        _next_port[0] = low + os.getpid() * 7 % (high - low + 1)
    for _ in range(high - low + 1):
        port = _next_port[0]
        _next_port[0] = low + (port + 1 - low) % (high - low + 1)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    die("no free port in %d-%d" % (low, high))


def free_ports(count):
    """The first of `count` ports in a row that nobody listens on."""
    while True:
        first = free_port()
        if all(free_port() == first + more for more in range(1, count)):
            return first


_work_made = set()


def work(suite):
    """The working directory of a suite with this server; emptied once per run."""
    path = os.path.join(OUT, suite + "-" + IMPL)
    if path not in _work_made:
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        _work_made.add(path)
    return path


BASE_CONFIG = {
    "tickTime": "2000",
    "clientPortAddress": "127.0.0.1",
    "maxClientCnxns": "0",
    "maxSessionTimeout": "3600000",
    "admin.enableServer": "false",
    "4lw.commands.whitelist": "*",
    "preAllocSize": "64",
    "extendedTypesEnabled": "true",
    "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
}


class Server:
    """One standalone server process on its own directory, from a zoo.cfg.

    `config` adds to BASE_CONFIG (None removes a key); `text` replaces it whole. `properties` are Java system
    properties that Java reads from nowhere else: Serval takes them as keys of zoo.cfg. `java_options` are for the JVM.
    `prefix` are words before the command that run it elsewhere, in a namespace for example.
    """

    prefix = ()
    # How long a four-letter word may take.
    WORD_SECONDS = 10

    def __init__(self, directory, config=None, impl=None, port=None, data=None, text=None, properties=None,
                 java_options=(), environment=None):
        self.impl = impl or IMPL
        if self.impl not in IMPLS:
            die("IMPL=%s is none of %s" % (self.impl, ", ".join(IMPLS)))
        self.directory, self.port, self.process = directory, port or free_port(), None
        self.data = data or os.path.join(directory, "data")
        self.log = os.path.join(directory, "server.log")
        self.properties = dict(properties or {})
        self.java_options, self.environment = java_options, dict(environment or {})
        os.makedirs(self.data, exist_ok=True)
        self.configure(config, text)

    def configure(self, config=None, text=None):
        """Writes zoo.cfg; a running server does not notice."""
        if text is None:
            keys = dict(BASE_CONFIG, dataDir=self.data, clientPort=str(self.port))
            keys.update(config or {})
            text = "".join("%s=%s\n" % item for item in keys.items() if item[1] is not None)
        else:
            text = text.replace("@DATADIR@", self.data).replace("@PORT@", str(self.port))
        if self.impl == "serval":
            text += "".join("%s=%s\n" % item for item in self.properties.items())
        self.cfg = os.path.join(self.directory, "zoo.cfg")
        with open(self.cfg, "w") as out:
            out.write(text)

    def spawn(self):
        """Starts the process without waiting for it."""
        if self.impl == "serval":
            command = [serval_binary(), self.cfg]
        else:
            properties = ["-D%s=%s" % item for item in self.properties.items()]
            command = java(self.impl, "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.cfg,
                           properties=[*self.java_options, *properties])
        environment = dict(os.environ, TZ="UTC", **self.environment)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.prefix, *command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.directory, env=environment)
        return self

    def start(self, seconds=120):
        """Starts the process and waits until it serves."""
        self.spawn()
        if not self.wait_up(seconds):
            self.kill()
            print(self.tail())
            die("the server did not start (exit status %s), see %s" % (self.process.returncode, self.log))
        return self

    def wait_up(self, seconds=120):
        """True when the server serves, False when its process ended or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                return False
            if "Mode:" in self.word("srvr"):
                return True
            time.sleep(0.02)
        return False

    def stop(self, seconds=60):
        """SIGTERM, as zkServer.sh sends it; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def kill(self):
        """SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def word(self, word, more=b""):
        """The answer to a four-letter word, "" when nothing answers."""
        try:
            with socket.create_connection((HOSTS.get(self.port, "127.0.0.1"), self.port), self.WORD_SECONDS) as s:
                s.sendall(word.encode() + more)
                parts = []
                while True:
                    part = s.recv(65536)
                    if not part:
                        return b"".join(parts).decode("utf-8", "replace")
                    parts.append(part)
        except OSError:
            return ""

    def tail(self, lines=30):
        with open(self.log, errors="replace") as log:
            return "".join("    | " + line for line in log.readlines()[-lines:])


# ---------------------------------------------------------------------------------------------------- raw client

OPEN = ((31, "world", "anyone"),)
READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
EPHEMERAL, SEQUENTIAL = 1, 2
STAT = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner", "dataLength",
        "numChildren", "pzxid")
STAT_FORMAT = ">qqqqiiiqiiq"


class ZkError(Exception):
    def __init__(self, code):
        super().__init__("ZooKeeper error %d" % code)
        self.code = code


def text_(value):
    value = value.encode()
    return struct.pack(">i", len(value)) + value


def buffer_(value):
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def acl_(acl):
    parts = [struct.pack(">i", perms) + text_(scheme) + text_(ident) for perms, scheme, ident in acl]
    return struct.pack(">i", len(acl)) + b"".join(parts)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, fmt):
        values = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return values[0] if len(values) == 1 else values

    def buffer(self):
        length = self.take(">i")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length:self.at]

    def text(self):
        return self.buffer().decode("utf-8", "surrogatepass")

    def stat(self):
        return dict(zip(STAT, self.take(STAT_FORMAT)))


class Raw:
    """A blocking client that can pipeline, leave its session open, and be dropped like a crashed process.

    While it waits for a reply it pings, as every client does: Java up to 3.8.0 can go to sleep over requests that are in its queue,
    until the next one wakes it (ZOOKEEPER-4537).
    """

    PING, PING_EVERY = -2, 2.0

    def __init__(self, port, timeout=600000, session=(0, b"\0" * 16), seen=0, patience=60, read_only=False):
        self.socket = socket.create_connection((HOSTS.get(port, "127.0.0.1"), port), min(10, patience))
        self.socket.settimeout(patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input, self.xid, self.zxid, self.events = b"", 0, 0, []
        self.patience, self.pings = patience, 0
        self._send(struct.pack(">iqiq", 0, seen, timeout, session[0]) + buffer_(session[1])
                   + struct.pack(">?", read_only))
        reply = Reader(self._frame())
        _, self.timeout, sid = reply.take(">iiq")
        self.session = (sid, reply.buffer())
        self.read_only = bool(reply.data[reply.at:reply.at + 1].strip(b"\0"))
        if self.timeout <= 0:
            raise ZkError(-112)

    def _send(self, payload):
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def _frame(self):
        while True:
            if len(self.input) >= 4:
                end = 4 + struct.unpack_from(">i", self.input)[0]
                if len(self.input) >= end:
                    frame, self.input = self.input[4:end], self.input[end:]
                    return frame
            part = self.socket.recv(262144)
            if not part:
                raise EOFError("connection closed by the server")
            self.input += part

    def _wait(self):
        """Until something arrives, or patience ends."""
        end = time.monotonic() + self.patience
        while not self.input and not select.select([self.socket], [], [], min(self.PING_EVERY, self.patience))[0]:
            if time.monotonic() >= end:
                raise TimeoutError("nothing from the server for %s s" % self.patience)
            if not self.pings:
                self.pings += 1
                self._send(struct.pack(">ii", self.PING, 11))

    def send(self, op, body, xid=None):
        """Sends a request without waiting; `receive` brings the replies in the same order."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self._send(struct.pack(">ii", xid, op) + body)
        return xid

    def receive(self):
        """The next reply that is no watch event, as (xid, error code, body)."""
        while True:
            self._wait()
            frame = self._frame()
            xid, zxid, error = struct.unpack_from(">iqi", frame)
            if xid == -1:
                reader = Reader(frame[16:])
                self.events.append((*reader.take(">ii"), reader.text()))
                continue
            if zxid > 0:
                self.zxid = zxid
            if xid == self.PING and self.pings:
                self.pings -= 1
                continue
            return xid, error, frame[16:]

    def call(self, op, body, xid=None):
        sent = self.send(op, body, xid)
        got, error, reply = self.receive()
        if got != sent:
            raise AssertionError("reply to xid %d, expected %d" % (got, sent))
        if error:
            raise ZkError(error)
        return Reader(reply)

    def auth(self, scheme, credential):
        self.call(100, struct.pack(">i", 0) + text_(scheme) + buffer_(credential), xid=-4)

    def create(self, path, data=b"", acl=OPEN, flags=0):
        return self.call(1, text_(path) + buffer_(data) + acl_(acl) + struct.pack(">i", flags)).text()

    def create2(self, path, data=b"", acl=OPEN, flags=0):
        reply = self.call(15, text_(path) + buffer_(data) + acl_(acl) + struct.pack(">i", flags))
        return reply.text(), reply.stat()

    def container(self, path, data=b""):
        self.call(19, text_(path) + buffer_(data) + acl_(OPEN) + struct.pack(">i", 4))

    def ttl(self, path, data, ttl_ms, sequential=False):
        body = text_(path) + buffer_(data) + acl_(OPEN)
        return self.call(21, body + struct.pack(">iq", 6 if sequential else 5, ttl_ms)).text()

    def delete(self, path, version=-1):
        self.call(2, text_(path) + struct.pack(">i", version))

    def set(self, path, data, version=-1):
        return self.call(5, text_(path) + buffer_(data) + struct.pack(">i", version)).stat()

    def set_acl(self, path, acl, version=-1):
        self.call(7, text_(path) + acl_(acl) + struct.pack(">i", version))

    def get(self, path, watch=False):
        reply = self.call(4, text_(path) + struct.pack(">?", watch))
        return reply.buffer(), reply.stat()

    def exists(self, path, watch=False):
        try:
            return self.call(3, text_(path) + struct.pack(">?", watch)).stat()
        except ZkError as error:
            if error.code == -101:
                return None
            raise

    def get_acl(self, path):
        reply = self.call(6, text_(path))
        return [(reply.take(">i"), reply.text(), reply.text()) for _ in range(reply.take(">i"))]

    def children(self, path, watch=False):
        reply = self.call(8, text_(path) + struct.pack(">?", watch))
        return sorted(reply.text() for _ in range(reply.take(">i")))

    def multi(self, *operations):
        """Runs (opcode, body) pairs; returns the list of result types, or raises the error of the one that failed."""
        body = b"".join(struct.pack(">i?i", op, False, -1) + part for op, part in operations)
        reply = self.call(14, body + struct.pack(">i?i", -1, True, -1))
        kinds = []
        while True:
            kind, done, _ = reply.take(">i?i")
            if done:
                return kinds
            kinds.append(kind)
            if kind == -1:
                code = reply.take(">i")
                if code not in (0, -2):
                    raise ZkError(code)
            elif kind == 1:
                reply.text()
            elif kind == 15:
                reply.text(), reply.stat()
            elif kind == 5:
                reply.stat()

    def sync(self, path="/"):
        self.call(9, text_(path))

    def close(self):
        """Ends the session."""
        self.call(-11, b"")
        self.socket.close()

    def drop(self):
        """Ends the connection only, as when the client's machine dies."""
        self.socket.close()


def op_create(path, data=b"", acl=OPEN, flags=0, op=1):
    return op, text_(path) + buffer_(data) + acl_(acl) + struct.pack(">i", flags)


def op_ttl(path, data, ttl_ms):
    return 21, text_(path) + buffer_(data) + acl_(OPEN) + struct.pack(">iq", 5, ttl_ms)


def op_set(path, data, version=-1):
    return 5, text_(path) + buffer_(data) + struct.pack(">i", version)


def op_delete(path, version=-1):
    return 2, text_(path) + struct.pack(">i", version)


def op_check(path, version):
    return 13, text_(path) + struct.pack(">i", version)


# ---------------------------------------------------------------------------------------------------- dumps

def dump_server(server):
    """Everything a server holds, comparable between servers: last zxid, sessions, ephemerals, and every node.

    The words come before the client connects: its session is one more transaction.
    """
    status, dump = server.word("srvr"), server.word("dump")
    head, _, tail = dump.partition("ephemeral nodes dump:")
    owners, owner = {}, None
    for line in tail.splitlines():
        if line.startswith("Connections"):
            break
        if re.match(r"0x[0-9a-f]+:$", line):
            owner = line[:-1]
            owners[owner] = []
        elif line.startswith("\t/"):
            owners[owner].append(line.strip())
    held = {
        "zxid": re.search(r"^Zxid: (\S+)", status, re.M).group(1),
        "node count": re.search(r"^Node count: (\d+)", status, re.M).group(1),
        "sessions": sorted(set(re.findall(r"^\t(0x[0-9a-f]+)", head, re.M))),
        "ephemerals": {owner: sorted(paths) for owner, paths in sorted(owners.items())},
    }
    held["nodes"] = dump_nodes(server.port)
    return held


def dump_nodes(port):
    """path -> data, Stat, sorted ACL and children of every node, read as the super user."""
    client, nodes, todo = Raw(port), {}, ["/"]
    client.auth(*SUPER_AUTH)
    while todo:
        path = todo.pop()
        data, stat = client.get(path)
        children = client.children(path)
        nodes[path] = {"data": data, "stat": stat, "acl": sorted(client.get_acl(path)), "children": children}
        todo += [path.rstrip("/") + "/" + child for child in children]
    client.close()
    return nodes


def differences(want, got, where=""):
    """The places where two dumps differ, one line each."""
    if isinstance(want, dict) and isinstance(got, dict):
        found = []
        for key in sorted(set(want) | set(got), key=str):
            at = "%s %s" % (where, key)
            if key not in got:
                found.append("%s: missing" % at)
            elif key not in want:
                found.append("%s: unexpected" % at)
            else:
                found += differences(want[key], got[key], at)
        return found
    return [] if want == got else ["%s: %r, expected %r" % (where, got, want)]


# ---------------------------------------------------------------------------------------------------- reporting

class Report:
    """Counts named checks; prints the failing ones at once, and a line for the suite at the end."""

    def __init__(self, suite, verbose=True):
        self.suite, self.verbose, self.passed, self.failed = suite, verbose, 0, []
        self.started = time.monotonic()

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
            if self.verbose:
                print("ok      " + name, flush=True)
        else:
            self.failed.append(name)
            print("FAILED  " + name, flush=True)
            if detail:
                print("".join("        " + line + "\n" for line in str(detail).splitlines()[:40]), end="", flush=True)
        return good

    def equal(self, name, want, got):
        found = differences(want, got)
        return self.check(name, not found, "\n".join(found))

    def finish(self):
        seconds = time.monotonic() - self.started
        print("%s on %s: %d passed, %d failed (%.0f s)" % (self.suite, IMPL, self.passed, len(self.failed), seconds))
        sys.exit(1 if self.failed or not self.passed else 0)
