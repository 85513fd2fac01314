"""What clients saw: sessions that record every request, reply and watch event in order, for `checker`.

A SessionHistory is one session over all its connections, a Connection one TCP connection with its items in the order in
which the client sent or received them:

    Sent(time, xid, request)                        a request left
    Reply(time, xid, zxid, err, result)             result by kind, see RESULTS below; None with an error
    Event(time, zxid, type, path)                   a watch fired; zxid -1 where the server does not say

`Recorder` is a thread that works through one session after the other on an ensemble that may break under it, and
remembers. It either stays at one server or moves between several. Times are of time.monotonic(), in seconds.

RESULTS   create: path; create2: (path, stat); set, set_acl, exists: stat; get: (data, stat); children: (names, stat);
          get_acl: (acl, stat); multi: list of (kind, path or stat or error code); others: None.
"""
import random
import select
import socket
import struct
import threading
import time
from collections import deque, namedtuple

from lib import EPHEMERAL, SEQUENTIAL, Reader, acl_, buffer_, text_
from txnlog import CHECK, CREATE, CREATE2, DELETE, MULTI, SET, SET_ACL, acl as read_acl

EXISTS, GET, GET_ACL, SYNC, PING, CHILDREN, SET_WATCHES, ADD_WATCH, CLOSE = 3, 4, 6, 9, 11, 12, 101, 106, -11
WRITES = (CREATE, CREATE2, DELETE, SET, SET_ACL, MULTI, CLOSE)
EXPIRED = -112
PERSISTENT_RECURSIVE = 1
OPEN = ((31, "world", b"anyone"),)
OTHER_ACL = ((31, "world", b"anyone"), (1, "digest", b"nobody:none"))

Sent = namedtuple("Sent", "time xid request")
Reply = namedtuple("Reply", "time xid zxid err result")
Event = namedtuple("Event", "time zxid type path")


class Request:
    """A request: kind (an opcode) and what it asks for."""

    __slots__ = ("kind", "path", "data", "acl", "flags", "version", "watch", "parts", "zxid", "lists")

    def __init__(self, kind, path="/", data=b"", acl=OPEN, flags=0, version=-1, watch=False, parts=(), zxid=0,
                 lists=((), (), ())):
        self.kind, self.path, self.data, self.acl, self.flags = kind, path, data, acl, flags
        self.version, self.watch, self.parts, self.zxid, self.lists = version, watch, parts, zxid, lists

    def __repr__(self):
        return "%d %s" % (self.kind, self.parts or self.path)

    def body(self):
        kind, path = self.kind, text_(self.path)
        if kind in (CREATE, CREATE2):
            return path + buffer_(self.data) + acl_bytes(self.acl) + struct.pack(">i", self.flags)
        if kind in (DELETE, CHECK):
            return path + struct.pack(">i", self.version)
        if kind == SET:
            return path + buffer_(self.data) + struct.pack(">i", self.version)
        if kind == SET_ACL:
            return path + acl_bytes(self.acl) + struct.pack(">i", self.version)
        if kind in (GET, EXISTS, CHILDREN):
            return path + struct.pack(">?", self.watch)
        if kind in (GET_ACL, SYNC):
            return path
        if kind == ADD_WATCH:
            return path + struct.pack(">i", PERSISTENT_RECURSIVE)
        if kind == MULTI:
            parts = b"".join(struct.pack(">i?i", part.kind, False, -1) + part.body() for part in self.parts)
            return parts + struct.pack(">i?i", -1, True, -1)
        if kind == SET_WATCHES:
            lists = [struct.pack(">i", len(paths)) + b"".join(map(text_, paths)) for paths in self.lists]
            return struct.pack(">q", self.zxid) + b"".join(lists)
        return b""

    def result(self, reader):
        """What the body of a good reply says."""
        kind = self.kind
        if kind == CREATE or kind == SYNC:
            return reader.text()
        if kind == CREATE2:
            return reader.text(), reader.stat()
        if kind in (SET, SET_ACL, EXISTS):
            return reader.stat()
        if kind == GET:
            return reader.buffer(), reader.stat()
        if kind == CHILDREN:
            names = sorted(reader.text() for _ in range(reader.take(">i")))
            return names, reader.stat()
        if kind == GET_ACL:
            return read_acl(reader), reader.stat()
        if kind == MULTI:
            return multi_result(reader)
        return None


def multi_result(reader):
    found = []
    while True:
        kind, done, _ = reader.take(">i?i")
        if done:
            return found
        if kind == -1:
            found.append((kind, reader.take(">i")))
        elif kind in (CREATE, CREATE2):
            found.append((kind, reader.text()))
            if kind == CREATE2:
                reader.stat()
        elif kind == SET:
            found.append((kind, reader.stat()))
        else:
            found.append((kind, None))


def acl_bytes(acl):
    return acl_([(perms, scheme, ident.decode()) for perms, scheme, ident in acl])


class Connection:
    """One connection of a session: to which server, when, and everything that went over it."""

    def __init__(self, server, opened):
        self.server, self.opened, self.items = server, opened, []


class SessionHistory:
    """A session's whole life. `ended`: None, "closed" (the server confirmed) or "expired" (a server said so)."""

    def __init__(self, owner):
        self.owner, self.id, self.password, self.timeout = owner, 0, b"\0" * 16, 0
        self.connections, self.ended = [], None

    def __repr__(self):
        return "session %#x of %s" % (self.id & (1 << 64) - 1, self.owner)


class Wire:
    """A connection's socket and frames; raises OSError or EOFError when it breaks."""

    def __init__(self, address, patience):
        self.socket = socket.create_connection(address, patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(patience)
        self.input = b""

    def send(self, payload):
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def ready(self, seconds):
        """Whether a frame, or the end, can be read within this time."""
        return self.complete() or bool(select.select([self.socket], [], [], seconds)[0])

    def complete(self):
        return len(self.input) >= 4 and len(self.input) >= 4 + struct.unpack_from(">i", self.input)[0]

    def frame(self):
        while not self.complete():
            part = self.socket.recv(262144)
            if not part:
                raise EOFError("connection closed by the server")
            self.input += part
        end = 4 + struct.unpack_from(">i", self.input)[0]
        frame, self.input = self.input[4:end], self.input[end:]
        return frame

    def close(self):
        self.socket.close()


class Recorder(threading.Thread):
    """One client after the other: records its session on `servers`, a list of (name, (host, port)).

    moves      leave a working connection for another server now and then; else only when it breaks
    pace       requests a second, about
    abandons   leave a session behind now and then, so that it expires with what it holds
    """

    def __init__(self, number, servers, root, seed, timeout=4000, moves=False, abandons=False, pace=120, depth=4):
        super().__init__(daemon=True, name="recorder %d" % number)
        self.number, self.servers, self.root, self.timeout = number, list(servers), root, timeout
        self.moves, self.abandons, self.pace, self.depth = moves, abandons, pace, depth
        self.random = random.Random(seed * 1000 + number)
        # While this is set nothing is sent that could become a transaction.
        self.next, self.hold = number, False
        self.sessions, self.ending, self.failure, self.replies, self.acknowledged = [], False, None, 0, 0
        self.history = self.wire = self.connection = None
        self.pending, self.counter = deque(), 0
        # What this client believes, to make most requests succeed and some fail; the checker does not look at it.
        self.mine, self.queue, self.versions = [], [], {}
        self.watches = {}

    # ---------------------------------------------------------------------------------------------- life

    def run(self):
        try:
            while not self.ending:
                try:
                    if self.history is None:
                        if self.hold:
                            time.sleep(0.02)
                            continue
                        self.begin()
                    if self.wire is None and not self.connect():
                        # Nobody answers: waiting between attempts is what a client does.
                        time.sleep(0.03)
                        continue
                    self.work()
                except (OSError, EOFError, struct.error):
                    self.disconnect()
            self.finish()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure
            self.disconnect()

    def begin(self):
        self.history = SessionHistory(self.name)
        self.xid, self.seen = 0, 0
        self.sessions.append(self.history)
        self.mine, self.watches = [], {}

    def disconnect(self):
        if self.wire is not None:
            self.wire.close()
        self.wire = None
        self.next += 1
        self.pending.clear()

    def connect(self):
        """Opens the session, or resumes it at the next server; False where no server takes it now."""
        history = self.history
        name, address = self.servers[self.next % len(self.servers)]
        patience = max(0.5, self.timeout / 1000 * 2 / 3)
        wire = None
        try:
            wire = Wire(address, patience)
            opened = time.monotonic()
            wire.send(struct.pack(">iqiq", 0, self.seen, self.timeout, history.id) + buffer_(history.password) + b"\0")
            reader = Reader(wire.frame())
            _, timeout, session = reader.take(">iiq")
        except (OSError, EOFError, struct.error):
            if wire is not None:
                wire.close()
            self.next += 1
            return False
        if timeout <= 0:
            wire.close()
            history.ended = "expired"
            self.history = None
            return True if self.ending else False
        assert history.id in (0, session), "the server changed the session's id"
        history.id, history.password, history.timeout = session, reader.buffer(), timeout
        self.wire, self.connection = wire, Connection(name, opened)
        history.connections.append(self.connection)
        self.lease = time.monotonic() + self.random.uniform(0.3, 2.0)
        if self.abandons and self.random.random() < 0.3:
            self.lease = -self.lease
        self.resume_watches()
        return True

    def resume_watches(self):
        """Asks for the watches of the last connection again, as clients do, before anything else."""
        lists = [sorted(path for path, kind in self.watches if kind == wanted) for wanted in (GET, EXISTS, CHILDREN)]
        self.watches = {}
        if self.number % 4 == 3:
            self.send(Request(ADD_WATCH, self.root))
        elif any(lists):
            self.send(Request(SET_WATCHES, zxid=self.seen, lists=tuple(map(tuple, lists))), -8)

    def work(self):
        """Sends and receives until the connection breaks, its time is over or the work ends."""
        due = time.monotonic()
        while not self.ending:
            now = time.monotonic()
            if now >= abs(self.lease) and (self.moves or self.lease < 0):
                if self.lease < 0:
                    # As when the client's machine dies: the session is never heard of again.
                    self.history = None
                self.disconnect()
                return
            if self.hold:
                # Nothing new is asked for, but what comes is taken.
                if self.wire.ready(0.05):
                    self.receive()
            elif len(self.pending) < self.depth and now >= due:
                due = max(due + self.random.expovariate(self.pace), now - 0.1)
                self.send(self.choose())
            elif self.wire.ready(max(0.0, due - now) if len(self.pending) < self.depth else 0.1):
                self.receive()
            elif self.pending and now - self.pending[0].time > self.timeout / 1000 * 2 / 3:
                raise EOFError("no answer")

    def finish(self):
        """Waits for what is under way and ends the session, or leaves it to expire."""
        end = time.monotonic() + 30
        closing = self.number % 2 == 0
        while self.history is not None and closing and time.monotonic() < end:
            try:
                if self.wire is None and not self.connect():
                    # A closed session is unknown, too: then nobody can tell whether the close or the time ended it.
                    time.sleep(0.03)
                    continue
                if self.history is None:
                    return
                self.send(Request(CLOSE))
                while self.pending:
                    self.receive()
                self.history.ended = "closed"
                break
            except (OSError, EOFError, struct.error):
                self.disconnect()
        self.disconnect()

    # ---------------------------------------------------------------------------------------------- requests

    def send(self, request, xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        sent = Sent(time.monotonic(), xid, request)
        # Recorded first: what was not recorded must not have happened.
        self.connection.items.append(sent)
        self.pending.append(sent)
        self.wire.send(struct.pack(">ii", xid, request.kind) + request.body())

    def receive(self):
        frame = self.wire.frame()
        now = time.monotonic()
        xid, zxid, err = struct.unpack_from(">iqi", frame)
        reader = Reader(frame[16:])
        if xid == -1:
            kind, _, path = *reader.take(">ii"), reader.text()
            self.connection.items.append(Event(now, zxid, kind, path))
            for watch in [(path, GET), (path, EXISTS)] if kind != 4 else [(path, CHILDREN)]:
                self.watches.pop(watch, None)
            if kind == 2:
                self.watches.pop((path, CHILDREN), None)
            return
        result, sent = None, self.pending.popleft() if self.pending else None
        if sent is not None and not err:
            result = sent.request.result(reader)
        self.connection.items.append(Reply(now, xid, zxid, err, result))
        if zxid > 0:
            self.seen = max(self.seen, zxid)
        self.replies += 1
        if sent is None:
            return
        if err == EXPIRED:
            self.history.ended = "expired"
            self.history = None
            raise EOFError("the session expired")
        self.learn(sent.request, err, result)

    def learn(self, request, err, result):
        """Keeps what later requests are made from."""
        kind = request.kind
        if kind in WRITES and not err:
            self.acknowledged += 1
        if kind == CREATE and not err:
            if request.flags & EPHEMERAL:
                self.mine.append(result)
            if request.flags & SEQUENTIAL:
                self.queue.append(result)
        elif kind == GET and not err:
            self.versions[request.path] = result[1]["version"]
        if request.watch and (not err or kind == EXISTS):
            self.watches[(request.path, kind)] = True

    def choose(self):
        """A random request; most can succeed."""
        roll, self.counter = self.random.random(), self.counter + 1
        data = b"%d-%d-%d-" % (self.number, len(self.sessions), self.counter) + b"x" * self.random.choice((0, 20, 300))
        shared = "%s/n%d" % (self.root, self.random.randrange(8))
        loose = "%s/t%d" % (self.root, self.random.randrange(8))
        watch = self.random.random() < 0.6 and self.number % 4 != 3
        if roll < 0.18:
            version = self.versions.get(shared, -1) if self.random.random() < 0.3 else -1
            return Request(SET, shared, data, version=version)
        if roll < 0.26:
            return Request(self.random.choice((CREATE, CREATE2)), loose, data)
        if roll < 0.33:
            return Request(DELETE, loose)
        if roll < 0.38:
            return Request(CREATE, "%s/e/%d-%d-%d" % (self.root, self.number, len(self.sessions), self.counter), data,
                           flags=EPHEMERAL)
        if roll < 0.41 and self.mine:
            return Request(DELETE, self.mine.pop(self.random.randrange(len(self.mine))))
        if roll < 0.46:
            if len(self.queue) > 20:
                return Request(DELETE, self.queue.pop(0))
            return Request(CREATE, self.root + "/q/s-", data, flags=SEQUENTIAL | self.random.choice((0, EPHEMERAL)))
        if roll < 0.50:
            return Request(SET_ACL, shared, acl=self.random.choice((OPEN, OTHER_ACL)))
        if roll < 0.56:
            parts = [Request(SET, shared, data), Request(self.random.choice((CREATE, DELETE)), loose, data)]
            if self.random.random() < 0.5:
                parts.insert(0, Request(CHECK, shared, version=self.versions.get(shared, -1)))
            return Request(MULTI, parts=tuple(parts))
        if roll < 0.70:
            return Request(GET, self.random.choice((shared, loose)), watch=watch)
        if roll < 0.80:
            return Request(EXISTS, self.random.choice((shared, loose)), watch=watch)
        if roll < 0.90:
            return Request(CHILDREN, self.root + self.random.choice(("", "", "/e", "/q")), watch=watch)
        if roll < 0.94:
            return Request(GET_ACL, shared)
        return Request(SYNC if roll < 0.98 else GET, self.root)
