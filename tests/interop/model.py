"""The reference model of a tree: what a ZooKeeper server must hold after each transaction, from the rules alone.

It is slow and plain on purpose, and shares no code and no idea with the server. `Model.apply` takes the transactions of a log
in order of zxid; `judge` says how a request must end if it is prepared at this point; `node_stat`, `children` and so on
are what a read must show. `digest` is the digest of the tree that each transaction's record carries.

# Invariants

1. Every change goes through `_put` or `_set_session`, so that a change can be undone by the way it came.
2. Nodes are values: a changed node is a new one.
"""
import struct
import zlib
from collections import namedtuple

import txnlog
from lib import ZkError
from txnlog import CHECK, CLOSE_SESSION, CONTAINER, CREATE_SESSION, CREATES, DELETE, DELETE_CONTAINER, ERROR, MULTI
from txnlog import RECONFIG, SET, SET_ACL, TTL

NO_NODE, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS, NODE_EXISTS, NOT_EMPTY = -101, -103, -108, -110, -111
CREATED, DELETED, CHANGED, CHILDREN_CHANGED = 1, 2, 3, 4
# Which watches an event reaches: those on data, those on children, or the latter where the former were not told already.
DATA, CHILD, CHILD_IF_NOT_TOLD = "data", "child", "child if not told"

# cversion counts creations only; what a client sees is computed from it. owner as stored: a session, container or TTL.
Node = namedtuple("Node", "data acl czxid mzxid ctime mtime version cversion aversion owner pzxid")
CONTAINER_OWNER = -(1 << 63)
OPEN = ((31, "world", b"anyone"),)


class Impossible(Exception):
    """A transaction that no leader may have proposed in this state."""


def parent_of(path):
    return path.rpartition("/")[0] or "/"


def is_session(owner):
    return owner not in (0, CONTAINER_OWNER) and (owner >> 56) & 0xFF != 0xFF


class Model:
    def __init__(self):
        self.nodes, self.names, self.sessions, self.ephemerals, self.digest = {}, {}, {}, {}, 0
        self.zxid, self.journal = 0, None
        empty = Node(b"", OPEN, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        self._put("/", empty)
        # A child of the built-in nodes is not counted in their parents' cversion.
        self._put("/zookeeper", empty)
        self._put("/zookeeper/quota", empty)
        self._put("/zookeeper/config", empty._replace(acl=((1, "world", b"anyone"),), aversion=-1))

    # ---------------------------------------------------------------------------------------------- changes

    def apply(self, txn):
        """Applies a committed transaction; returns the events it fires, as (table, type, path) in order.

        Raises Impossible where the transaction contradicts the state; the state is then as far as it got.
        """
        self.zxid = txn.zxid
        fired = []
        self._apply(txn.type, txn.record, txn, fired)
        return fired

    def try_apply(self, txns):
        """The digest after these transactions, without applying them; None where they cannot be applied."""
        zxid, self.journal = self.zxid, []
        try:
            for txn in txns:
                self.apply(txn)
            return self.digest
        except Impossible:
            return None
        finally:
            journal, self.journal, self.zxid = self.journal, None, zxid
            for undo, key, old in reversed(journal):
                undo(key, old)

    def _apply(self, kind, record, txn, fired):
        path = record.get("path")
        if kind in CREATES:
            self._create(kind, path, record, txn, fired)
        elif kind in (DELETE, DELETE_CONTAINER):
            if self.names[path] if path in self.nodes else True:
                raise Impossible("%r deletes a node that is missing or has children" % txn)
            self._delete(path, txn, fired)
        elif kind in (SET, RECONFIG):
            old = self._existing(path, txn)
            if kind == SET and record["version"] != next_version(old.version):
                raise Impossible("%r makes version %d of %d" % (txn, record["version"], old.version))
            self._put(path, old._replace(data=record["data"], version=record["version"], mzxid=txn.zxid, mtime=txn.time))
            fired.append((DATA, CHANGED, path))
        elif kind == SET_ACL:
            old = self._existing(path, txn)
            if record["version"] != next_version(old.aversion):
                raise Impossible("%r makes aversion %d of %d" % (txn, record["version"], old.aversion))
            self._put(path, old._replace(acl=record["acl"], aversion=record["version"]))
        elif kind == MULTI:
            if not any(part == ERROR for part, _ in record["parts"]):
                for part, inner in record["parts"]:
                    self._apply(part, inner, txn, fired)
        elif kind == CREATE_SESSION:
            self._set_session(txn.session, record["timeout"])
        elif kind == CLOSE_SESSION:
            held = self.ephemerals.get(txn.session, set())
            for path in [p for p in record["paths"] or () if p in held] + sorted(held - set(record["paths"] or ())):
                self._delete(path, txn, fired)
            self._set_session(txn.session, None)
            if record["paths"] is not None and set(record["paths"]) - {p for _, _, p in fired}:
                raise Impossible("%r names nodes that are not the session's: %s" % (txn, record["paths"]))
        elif kind not in (CHECK, ERROR):
            raise Impossible("%r" % txn)

    def _existing(self, path, txn):
        if path not in self.nodes:
            raise Impossible("%r changes a missing node" % txn)
        return self.nodes[path]

    def _create(self, kind, path, record, txn, fired):
        above = parent_of(path)
        if path in self.nodes or above not in self.nodes:
            raise Impossible("%r creates a node that is there, or without its parent" % txn)
        parent = self.nodes[above]
        if record["parent_cversion"] not in (-1, next_version(parent.cversion)):
            raise Impossible("%r makes cversion %d of %d" % (txn, record["parent_cversion"], parent.cversion))
        owner = txn.session if record["ephemeral"] else 0
        if kind == CONTAINER:
            owner = CONTAINER_OWNER
        elif kind == TTL:
            owner = record["ttl"] - (1 << 56)
        self._put(path, Node(record["data"], record["acl"], txn.zxid, txn.zxid, txn.time, txn.time, 0, 0, 0, owner,
                             txn.zxid))
        self._put(above, parent._replace(cversion=next_version(parent.cversion), pzxid=txn.zxid))
        fired += [(DATA, CREATED, path), (CHILD, CHILDREN_CHANGED, above)]

    def _delete(self, path, txn, fired):
        above = parent_of(path)
        self._put(path, None)
        self._put(above, self.nodes[above]._replace(pzxid=txn.zxid))
        fired += [(DATA, DELETED, path), (CHILD_IF_NOT_TOLD, DELETED, path), (CHILD, CHILDREN_CHANGED, above)]

    def _put(self, path, node):
        """Makes a node this value, None to remove it; the only place where nodes change."""
        old = self.nodes.get(path)
        if self.journal is not None:
            self.journal.append((self._put, path, old))
        if old is not None:
            self.digest -= digest_of(path, old)
            if is_session(old.owner):
                self.ephemerals[old.owner].discard(path)
        if node is None:
            del self.nodes[path], self.names[path]
            self.names[parent_of(path)].discard(path.rpartition("/")[2])
        else:
            self.digest += digest_of(path, node)
            self.nodes[path] = node
            if old is None:
                self.names[path] = set()
                if path != "/":
                    self.names[parent_of(path)].add(path.rpartition("/")[2])
            if is_session(node.owner):
                self.ephemerals.setdefault(node.owner, set()).add(path)
        self.digest &= (1 << 64) - 1

    def _set_session(self, session, timeout):
        if self.journal is not None:
            self.journal.append((self._set_session, session, self.sessions.get(session)))
        if timeout is None:
            self.sessions.pop(session, None)
        else:
            self.sessions[session] = timeout

    # ---------------------------------------------------------------------------------------------- answers

    def node_stat(self, path):
        """The Stat of a node as a client sees it, None where there is none."""
        if path not in self.nodes:
            return None
        node, count = self.nodes[path], len(self.names[path])
        return {
            "czxid": node.czxid, "mzxid": node.mzxid, "ctime": node.ctime, "mtime": node.mtime, "version": node.version,
            "cversion": 2 * node.cversion - count, "aversion": node.aversion,
            "ephemeralOwner": node.owner if is_session(node.owner) else 0, "dataLength": len(node.data or b""),
            "numChildren": count, "pzxid": node.pzxid,
        }

    def read(self, path):
        """The node at a path; raises ZkError as a read does when it is missing."""
        if path not in self.nodes:
            raise ZkError(NO_NODE)
        return self.nodes[path]

    def judge(self, kind, record):
        """The error code with which a write must end that is prepared in this state, 0 when it must succeed.

        Knows creates, deletes, changes of data and ACL, and checks, by versions and existence; not permissions.
        """
        path = record["path"]
        if kind in CREATES:
            above = parent_of(path)
            if above not in self.nodes:
                return NO_NODE
            if path in self.nodes:
                return NODE_EXISTS
            return NO_CHILDREN_FOR_EPHEMERALS if is_session(self.nodes[above].owner) else 0
        if path not in self.nodes:
            return NO_NODE
        node = self.nodes[path]
        if record["version"] not in (-1, node.aversion if kind == SET_ACL else node.version):
            return BAD_VERSION
        return NOT_EMPTY if kind == DELETE and self.names[path] else 0


def next_version(version):
    return (version + 1 + (1 << 31)) % (1 << 32) - (1 << 31)


def digest_of(path, node):
    """A node's part of the tree's digest; nodes below /zookeeper have none, and the root counts by the empty path."""
    if path.startswith("/zookeeper/"):
        return 0
    stat = struct.pack(">qqqqqiiiq", node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime, node.version,
                       node.cversion, node.aversion, node.owner)
    return zlib.crc32((b"" if path == "/" else path.encode("utf-8", "surrogatepass")) + (node.data or b"") + stat)
