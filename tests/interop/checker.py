"""Checks what clients saw (`history`) against what servers logged (`txnlog`), with the reference model (`model`).

    problems = check(sessions, logs, final)      # [Violation(rule, text)], [] when all is well

`final` is the last zxid of the healed ensemble; nobody writes any more. First the committed history is found: every zxid
that any server logged, less the tails that a change of leader threw away. Where such a tail ends is not written anywhere. It
is at least what a client was shown, and the digest in the first record of the next leader says which tail it stands on. Then the
model is led through the history once, and every request, reply and event is held against it at its zxid.

RULES names what can be violated; `history-selftest` violates each.
"""
import bisect
import itertools
from collections import defaultdict, namedtuple

from history import (ADD_WATCH, CHILDREN, CLOSE, EXISTS, EXPIRED, GET, GET_ACL, SET_WATCHES, SYNC, WRITES, Event, Reply,
                     Sent)
from lib import EPHEMERAL, SEQUENTIAL
from model import (CHANGED, CHILD, CHILD_IF_NOT_TOLD, CHILDREN_CHANGED, CREATED, DATA, DELETED, NO_NODE, Impossible, Model,
                   parent_of)
from txnlog import (CHECK, CLOSE_SESSION, CREATE, CREATE2, CREATE_SESSION, CREATES, DELETE, ERROR, MULTI, SET, SET_ACL,
                    zxid_text)

SESSION_MOVED = -118

RULES = {
    "payload": "a zxid stands for the same transaction on every server",
    "gap": "counters of an epoch are contiguous, and epochs follow each other",
    "server": "every server has all of the history, in a log or below a snapshot, and nothing else",
    "digest": "the digest in a record is that of the model's tree",
    "possible": "every transaction can be applied to the state before it",
    "seen": "no client is shown a zxid that is not committed",
    "acknowledged": "what was acknowledged is in the history at the zxid of the reply",
    "content": "a transaction is what its session asked for, and nobody else's",
    "once": "a request is executed at most once",
    "fifo": "requests of a session are executed in the order sent",
    "error": "a request fails when the state says so, with that error, and else succeeds",
    "result": "the reply to a write shows the state right after it",
    "read": "a read shows the state at the zxid in its reply",
    "backwards": "zxids shown to a session never go back, across servers too",
    "order": "replies come in the order of requests",
    "watch": "watches fire once, in order, and before a reply that shows the change",
    "sequence": "sequential nodes have the number that is next, and no two the same",
    "session": "a session begins with its creation, and nothing happens in it after its end",
    "ephemeral": "ephemerals end with their session",
    "real time": "a write that was sent after the reply to another comes later in the history",
    "sync": "a sync shows everything that was acknowledged before it was sent",
}

Violation = namedtuple("Violation", "rule text")


def check(sessions, logs, final, all_ended=True):
    """All violations, at most ten of a rule."""
    checker = Checker(sessions, logs, final)
    checker.run(all_ended)
    return checker.violations


class Checker:
    def __init__(self, sessions, logs, final):
        self.sessions, self.logs, self.final = sessions, logs, final
        self.violations, self.counts = [], defaultdict(int)
        self.model = Model()
        self.txns, self.fired, self.by_zxid = [], [], {}
        self.index_requests()

    def bad(self, rule, text, *values):
        assert rule in RULES
        self.counts[rule] += 1
        if self.counts[rule] <= 10:
            self.violations.append(Violation(rule, text % values if values else text))

    # ---------------------------------------------------------------------------------------------- what was asked

    def index_requests(self):
        """Pairs requests with replies, and gathers the replies by zxid."""
        self.requests = {}           # (session, xid) -> (Sent, Reply or None), writes only
        self.answers = []            # (Reply, Request, SessionHistory, Sent) with a zxid that says something
        self.shown = set()           # zxids that clients were shown
        self.matched = {}            # (session, xid) -> zxid of its transaction
        self.latest = {}             # session -> cxid of its last transaction
        self.now_events = {}         # id of the reply to setWatches -> events that precede it
        self.named = {session.id for session in self.sessions}
        for session in self.sessions:
            for connection in session.connections:
                waiting = []
                for item in connection.items:
                    if isinstance(item, Sent):
                        waiting.append(item)
                        if item.request.kind in WRITES:
                            self.requests[session.id, item.xid] = (item, None)
                    elif isinstance(item, Reply):
                        if not waiting or waiting[0].xid != item.xid:
                            self.bad("order", "%r: a reply to xid %d, expected %s", session, item.xid,
                                     waiting[0].xid if waiting else "none")
                            break
                        sent = waiting.pop(0)
                        if sent.request.kind in WRITES:
                            self.requests[session.id, item.xid] = (sent, item)
                        if item.zxid > 0:
                            self.shown.add(item.zxid)
                            self.answers.append((item, sent.request, session, sent))
                    elif item.zxid > 0:
                        self.shown.add(item.zxid)

    # ---------------------------------------------------------------------------------------------- what was committed

    def run(self, all_ended):
        by_epoch = self.collect()
        self.answers.sort(key=lambda answer: answer[0].zxid)
        self.next_answer = 0
        epochs = sorted(by_epoch)
        # The shown zxids say at least how far an epoch's history goes.
        least = {epoch: max([z for z in self.shown if z >> 32 == epoch and z & 0xFFFFFFFF], default=0) for epoch in epochs}
        for number, epoch in enumerate(epochs):
            entries = by_epoch[epoch]
            self.check_contiguous(entries)
            sure = [txn for txn in entries if txn.zxid <= least[epoch]]
            tail = [txn for txn in entries if txn.zxid > least[epoch]]
            if number + 1 == len(epochs):
                self.advance([txn for txn in entries if txn.zxid <= self.final])
                continue
            self.advance(sure)
            if tail:
                later = [(by_epoch[e], least[e]) for e in epochs[number + 1:]]
                self.advance(self.surviving(tail, later))
        self.answer_reads(None)
        self.check_shown()
        self.check_servers()
        self.check_sessions(all_ended)
        self.check_real_time()
        for session in self.sessions:
            self.check_zxids(session)
            for connection in session.connections:
                self.check_watches(session, connection)

    def collect(self):
        """epoch -> transactions in order, over all servers."""
        found = {}
        for log in self.logs:
            for zxid, copies in log.entries.items():
                for file, txn in copies:
                    known = found.setdefault(zxid, (log.name, file, txn))
                    if fewer_errors(txn, known[2]):
                        found[zxid] = known = (log.name, file, txn)
                    elif not same(txn, known[2]):
                        self.bad("payload", "%s is %r in %s of %s, but %r in %s of %s", zxid_text(zxid), txn, file,
                                 log.name, known[2], known[1], known[0])
        by_epoch = defaultdict(list)
        for zxid in sorted(found):
            by_epoch[zxid >> 32].append(found[zxid][2])
        self.last_of_session = {}
        for txns in by_epoch.values():
            for txn in txns:
                self.last_of_session[txn.session] = max(txn.zxid, self.last_of_session.get(txn.session, 0))
        return by_epoch

    def check_contiguous(self, entries):
        for expected, txn in enumerate(entries, 1):
            if txn.zxid & 0xFFFFFFFF != expected:
                self.bad("gap", "%s is followed by %s, and no server has what was between",
                         zxid_text((txn.zxid >> 32 << 32) + expected - 1), zxid_text(txn.zxid))
                return

    def surviving(self, tail, later):
        """The part of an epoch's unseen tail that the next leader stands on.

        Each later epoch up to one that is sure may have lost its tail, too. Of all combinations, the longest is taken
        whose digest is that of the next sure record; those that end a session which goes on are no candidates. What changes
        nothing, like a request that failed, shows in no digest: so the longest that every server may have comes first.
        """
        fallback = []
        tails, witness = [tail], []
        for entries, least in later:
            sure = [txn for txn in entries if txn.zxid <= max(least, 0)]
            if not sure and (entries, least) == later[-1]:
                sure = [txn for txn in entries if txn.zxid <= self.final]
            if sure:
                for txn in sure:
                    witness.append(txn)
                    if txn.digest is not None:
                        break
                break
            tails.append(entries)
        digest = witness[-1].digest if witness else None
        lengths = sorted(itertools.product(*(range(len(t) + 1) for t in tails)), reverse=True)[:5000]
        for lengths_ in lengths:
            chosen = [txn for t, length in zip(tails, lengths_) for txn in t[:length]]
            if any(txn.type == CLOSE_SESSION and self.last_of_session[txn.session] > chosen[-1].zxid for txn in chosen):
                continue
            got = self.model.try_apply(chosen + witness)
            if got is not None and (digest is None or got == digest):
                fallback = fallback or tail[:lengths_[0]]
                if all(self.may_have(log, txn.zxid) for txn in chosen for log in self.logs):
                    return tail[:lengths_[0]]
        return fallback

    @staticmethod
    def may_have(log, zxid):
        """Whether a server has a transaction, in a log or below a snapshot."""
        return log.kept or zxid in log.entries or zxid <= max(log.snapshots, default=-1)

    def advance(self, txns):
        """Leads the model through these transactions."""
        for txn in txns:
            self.answer_reads(txn.zxid)
            self.check_asked(txn)
            try:
                fired = self.model.apply(txn)
            except Impossible as why:
                self.bad("possible", str(why))
                fired = []
            if txn.digest is not None and txn.digest != self.model.digest:
                self.bad("digest", "%r says %x, the model has %x", txn, txn.digest, self.model.digest)
            self.txns.append(txn)
            self.fired.append(fired)
            self.by_zxid[txn.zxid] = txn
        self.zxids = [txn.zxid for txn in self.txns]

    # ---------------------------------------------------------------------------------------------- writes

    def check_asked(self, txn):
        """Holds a transaction, about to be applied, against the request that made it."""
        if txn.type == CREATE_SESSION:
            if txn.session in self.model.sessions:
                self.bad("session", "%r: it exists already", txn)
            return
        if txn.session not in self.model.sessions:
            # An error record may tell a client that its session is over.
            if txn.type != ERROR:
                self.bad("session", "%r comes before its session's creation or after its end", txn)
        if txn.type == CLOSE_SESSION:
            self.check_close(txn)
        if txn.session not in self.named or txn.cxid == 0:
            return
        key = (txn.session, txn.cxid)
        if key in self.matched:
            self.bad("once", "%r was executed at %s already", txn, zxid_text(self.matched[key]))
        if txn.type == ERROR and txn.record["err"] in (EXPIRED, SESSION_MOVED):
            # Refused, not executed: a request of an old connection may be that late.
            return
        if self.latest.get(txn.session, 0) > txn.cxid:
            self.bad("fifo", "%r comes after cxid %d", txn, self.latest[txn.session])
        self.latest[txn.session] = txn.cxid
        self.matched[key] = txn.zxid
        if key not in self.requests:
            self.bad("content", "%r: the session never asked for it", txn)
            return
        sent, reply = self.requests[key]
        self.check_content(txn, sent.request)
        if reply is not None and reply.zxid > 0 and reply.zxid != txn.zxid:
            self.bad("acknowledged", "%r was acknowledged as %s", txn, zxid_text(reply.zxid))

    def check_close(self, txn):
        held = self.model.ephemerals.get(txn.session, set())
        named = txn.record["paths"]
        if named is not None and set(named) != held:
            self.bad("ephemeral", "%r names %s, but the session has %s", txn, sorted(named), sorted(held))

    def check_content(self, txn, request):
        if txn.type == ERROR:
            if request.kind == MULTI or txn.record["err"] in (EXPIRED, SESSION_MOVED):
                return
            expected = self.judge(request)
            if expected != txn.record["err"]:
                self.bad("error", "%r failed with %d, expected %d", txn, txn.record["err"], expected)
            return
        if request.kind == MULTI:
            parts = txn.record.get("parts", ())
            if any(kind == ERROR for kind, _ in parts):
                return
            same = txn.type == MULTI and len(parts) == len(request.parts) and all(
                alike(part, kind, record) for part, (kind, record) in zip(request.parts, parts))
        elif request.kind == CLOSE:
            same = txn.type == CLOSE_SESSION
        else:
            same = alike(request, txn.type, txn.record)
            expected = self.judge(request, txn.record.get("path"))
            if same and expected:
                self.bad("error", "%r succeeded, but must fail with %d", txn, expected)
            if same and request.flags & SEQUENTIAL and request.kind in (CREATE, CREATE2):
                self.check_sequence(txn, request)
        if not same:
            self.bad("content", "%r is not what was asked for: %r", txn, request)

    def judge(self, request, path=None):
        record = {"path": path or request.path, "version": request.version}
        if path is None and request.kind in (CREATE, CREATE2) and request.flags & SEQUENTIAL:
            record["path"] += "0000000000"
        return self.model.judge(request.kind, record)

    def check_sequence(self, txn, request):
        parent = self.model.nodes.get(parent_of(txn.record["path"]))
        want = "%s%010d" % (request.path, parent.cversion if parent else 0)
        if txn.record["path"] != want:
            self.bad("sequence", "%r, expected %s", txn, want)

    # ---------------------------------------------------------------------------------------------- replies

    def answer_reads(self, before):
        """Checks the replies whose zxid is below that of the next transaction (None: all that are left)."""
        while self.next_answer < len(self.answers):
            reply, request, session, _ = self.answers[self.next_answer]
            if before is not None and reply.zxid >= before:
                return
            self.next_answer += 1
            if request.kind in WRITES:
                self.check_write_reply(reply, request, session)
            elif request.kind == SET_WATCHES:
                self.now_events[id(reply)] = self.caught_up(request)
            else:
                self.check_read(reply, request, session)

    def check_write_reply(self, reply, request, session):
        """A reply to a write, with the model at its zxid."""
        txn = self.by_zxid.get(reply.zxid)
        if txn is None or (txn.session, txn.cxid) != (session.id, reply.xid):
            self.bad("acknowledged", "%r was told that %r is %s (error %d); the history has %r there", session, request,
                     zxid_text(reply.zxid), reply.err, txn)
            return
        failed = txn.record["err"] if txn.type == ERROR else 0
        if failed != reply.err:
            self.bad("result", "%r: %r was answered with error %d", session, txn, reply.err)
            return
        if reply.err:
            return
        want, got = None, reply.result
        if request.kind == CREATE:
            want = txn.record["path"]
        elif request.kind == CREATE2:
            want = (txn.record["path"], self.model.node_stat(txn.record["path"]))
        elif request.kind in (SET, SET_ACL):
            want = self.model.node_stat(txn.record["path"])
        elif request.kind == MULTI:
            parts = txn.record["parts"]
            failed = any(kind == ERROR for kind, _ in parts)
            got = [value if kind == ERROR else kind for kind, value in got]
            want = [record["err"] if kind == ERROR else 0 if failed else kind for kind, record in parts]
            # Releases differ in the type of a create in a multi.
            got, want = ([CREATE if kind == CREATE2 else kind for kind in kinds] for kinds in (got, want))
        if got != want:
            self.bad("result", "%r: %r was answered with %r, expected %r", session, txn, got, want)

    def check_read(self, reply, request, session):
        model, path = self.model, request.path
        if request.kind == ADD_WATCH or request.kind == SYNC:
            return
        if request.kind not in (GET, EXISTS, CHILDREN, GET_ACL):
            return
        if path not in model.nodes:
            if reply.err != NO_NODE:
                self.bad("read", "%r read %r at %s and got %r, but it is not there", session, request,
                         zxid_text(reply.zxid), reply.result)
            return
        stat = model.node_stat(path)
        want = {GET: lambda: (model.nodes[path].data, stat), EXISTS: lambda: stat,
                CHILDREN: lambda: (sorted(model.names[path]), stat),
                GET_ACL: lambda: (model.nodes[path].acl, stat)}[request.kind]()
        if reply.err or reply.result != want:
            self.bad("read", "%r read %r at %s and got %r (error %d), expected %r", session, request, zxid_text(reply.zxid),
                     reply.result, reply.err, want)

    def caught_up(self, request):
        """The events that setWatches sends at once; the other paths are watched from here on."""
        nodes, events, watched = self.model.nodes, [], []
        data, exist, child = request.lists
        for path in data:
            if path not in nodes:
                events.append((DELETED, path))
            elif nodes[path].mzxid > request.zxid:
                events.append((CHANGED, path))
            else:
                watched.append((DATA, path))
        for path in exist:
            if path in nodes:
                events.append((CREATED, path))
            else:
                watched.append((DATA, path))
        for path in child:
            if path not in nodes:
                events.append((DELETED, path))
            elif nodes[path].pzxid > request.zxid:
                events.append((CHILDREN_CHANGED, path))
            else:
                watched.append((CHILD, path))
        return events, watched

    # ---------------------------------------------------------------------------------------------- watches

    def check_watches(self, session, connection):
        """Follows one connection: what it watches, and which events it must get before each reply."""
        watched, recursive = set(), set()
        at, waiting, got = None, [], []
        for item in connection.items:
            if isinstance(item, Sent):
                waiting.append(item)
            elif isinstance(item, Event):
                got.append(item)
            elif not waiting:
                return
            else:
                request = waiting.pop(0).request
                if item.zxid <= 0:
                    continue
                upto = bisect.bisect_right(self.zxids, item.zxid)
                expected = self.expected_events(upto if at is None else at, upto, watched, recursive)
                at = upto
                if request.kind == SET_WATCHES and id(item) in self.now_events:
                    events, more = self.now_events[id(item)]
                    expected += [(-1, kind, path) for kind, path in events]
                    watched.update(more)
                self.compare_events(session, connection, got, expected, "before the reply at " + zxid_text(item.zxid))
                got = []
                if request.kind == ADD_WATCH and not item.err:
                    recursive.add(request.path)
                elif request.watch and (not item.err or (request.kind == EXISTS and item.err == NO_NODE)):
                    watched.add((CHILD if request.kind == CHILDREN else DATA, request.path))
        if got:
            # After the last reply any number of the events that come next may have been sent.
            expected = self.expected_events(at, len(self.txns), watched, recursive) if at is not None else []
            if any(sent.request.kind == SET_WATCHES for sent in waiting):
                return
            self.compare_events(session, connection, got, expected[:len(got)], "after the last reply")

    def expected_events(self, start, end, watched, recursive):
        """The events of transactions [start, end) that reach these watches, which they use up."""
        found = []
        if not watched and not recursive:
            return found
        for index in range(start, end):
            told = None
            for table, kind, path in self.fired[index]:
                if table == DATA:
                    told = None
                    if (DATA, path) in watched or (recursive and covered(path, recursive)):
                        watched.discard((DATA, path))
                        told = path
                        found.append((self.zxids[index], kind, path))
                elif (CHILD, path) in watched:
                    watched.discard((CHILD, path))
                    if table != CHILD_IF_NOT_TOLD or told != path:
                        found.append((self.zxids[index], kind, path))
        return found

    def compare_events(self, session, connection, got, expected, when):
        plain = [(event.type, event.path) for event in got]
        if plain != [(kind, path) for _, kind, path in expected]:
            self.bad("watch", "%r on %s got %s %s, expected %s", session, connection.server, plain[:8], when,
                     [(zxid_text(zxid), kind, path) for zxid, kind, path in expected[:8]])
            return
        for event, (zxid, _, _) in zip(got, expected):
            if event.zxid > 0 and event.zxid != zxid:
                self.bad("watch", "%r on %s: the event for %s is stamped %s, expected %s", session, connection.server,
                         event.path, zxid_text(event.zxid), zxid_text(zxid))

    # ---------------------------------------------------------------------------------------------- the whole

    def check_shown(self):
        for zxid in sorted(self.shown):
            if zxid & 0xFFFFFFFF and zxid not in self.by_zxid:
                self.bad("seen", "a client was shown %s, which is not in the history", zxid_text(zxid))

    def check_servers(self):
        for log in self.logs:
            if log.kept:
                continue
            newest = max(log.snapshots, default=-1)
            for zxid in log.entries:
                # A server that was synchronised with a snapshot keeps the log of what it had before.
                if zxid not in self.by_zxid and (zxid > self.final or zxid > newest):
                    self.bad("server", "%s still has %r, which was never committed", log.name, log.entries[zxid][0][1])
            for zxid in self.by_zxid:
                if not self.may_have(log, zxid):
                    self.bad("server", "%s lacks %r", log.name, self.by_zxid[zxid])

    def check_sessions(self, all_ended):
        for session, paths in self.model.ephemerals.items():
            if paths and (all_ended or session not in self.model.sessions):
                self.bad("ephemeral", "session %#x is over, but %s are there", session & (1 << 64) - 1, sorted(paths)[:5])
        ends = {txn.session: txn.zxid for txn in self.txns if txn.type == CLOSE_SESSION}
        begins = {txn.session: txn.zxid for txn in self.txns if txn.type == CREATE_SESSION}
        for session in self.sessions:
            if session.id == 0:
                continue
            if session.id not in begins:
                self.bad("session", "%r is not in the history", session)
            if session.ended and session.id not in ends:
                self.bad("session", "%r is %s for its client only", session, session.ended)
            end = ends.get(session.id)
            for connection in session.connections:
                for item in connection.items:
                    if end is None or not isinstance(item, Reply) or item.zxid <= end or item.err == EXPIRED:
                        continue
                    self.bad("session", "%r ended at %s, but got a reply at %s", session, zxid_text(end),
                             zxid_text(item.zxid))
                    break
        made = defaultdict(list)
        for session in self.sessions:
            for connection in session.connections:
                requests = {item.xid: item.request for item in connection.items if isinstance(item, Sent)}
                for item in connection.items:
                    request = requests.get(item.xid) if isinstance(item, Reply) else None
                    if request is not None and request.kind == CREATE and not item.err and request.flags & SEQUENTIAL:
                        made[item.result].append(session)
        for path, makers in made.items():
            if len(makers) > 1:
                self.bad("sequence", "%s was given to %s", path, makers)

    def check_real_time(self):
        """Sent after a reply means later in the history; a sync sees what was acknowledged before it."""
        replied = sorted((reply.time, reply.zxid) for _, reply in self.requests.values()
                         if reply is not None and reply.zxid > 0 and reply.zxid in self.by_zxid)
        times, highest, best = [time for time, _ in replied], [], 0
        for _, zxid in replied:
            best = max(best, zxid)
            highest.append(best)

        def known(time):
            index = bisect.bisect_left(times, time)
            return highest[index - 1] if index else 0

        for key, zxid in self.matched.items():
            sent = self.requests[key][0] if key in self.requests else None
            if sent is not None and known(sent.time) > zxid:
                self.bad("real time", "%r was sent after the reply to %s, but became %s", sent.request,
                         zxid_text(known(sent.time)), zxid_text(zxid))
        for reply, request, session, sent in self.answers:
            if request.kind == SYNC and not reply.err and reply.zxid < known(sent.time):
                self.bad("sync", "%r had a sync answered at %s, but %s was acknowledged before it", session,
                         zxid_text(reply.zxid), zxid_text(known(sent.time)))

    def check_zxids(self, session):
        seen, where = 0, None
        for connection in session.connections:
            for item in connection.items:
                if not isinstance(item, Reply) or item.zxid <= 0:
                    continue
                if item.zxid < seen:
                    self.bad("backwards", "%r saw %s on %s and then %s on %s", session, zxid_text(seen), where,
                             zxid_text(item.zxid), connection.server)
                seen, where = item.zxid, connection.server


def failed_parts(txn):
    return sum(kind == ERROR for kind, _ in txn.record["parts"]) if txn.type == MULTI else 0


def fewer_errors(txn, known):
    return same(txn, known) and 0 < failed_parts(txn) < failed_parts(known)


def same(one, other):
    """Whether two servers logged the same transaction.

    Of a failed multi only the head has to agree: DataTree.processTxn of Java turns the parts before the failing one into
    errors, in memory, and where a commit comes before the follower's own write to its log they are logged like that.
    """
    if one.digest != other.digest:
        return False
    if failed_parts(one) and failed_parts(other):
        return all(getattr(one, name) == getattr(other, name) for name in ("zxid", "session", "cxid", "time", "type"))
    return one.body == other.body


def covered(path, recursive):
    return any(above == "/" or path == above or path.startswith(above + "/") for above in recursive)


def alike(request, kind, record):
    """Whether a transaction (or a part of one) is what was asked for."""
    if request.kind in (CREATE, CREATE2):
        if kind not in CREATES or record["data"] != request.data or record["acl"] != request.acl:
            return False
        if record["ephemeral"] != bool(request.flags & EPHEMERAL):
            return False
        if request.flags & SEQUENTIAL:
            return record["path"].startswith(request.path)
        return record["path"] == request.path
    if request.kind != kind or record["path"] != request.path:
        return False
    if kind == SET:
        return record["data"] == request.data
    if kind == SET_ACL:
        return record["acl"] == request.acl
    return kind in (DELETE, CHECK)
