"""Reads the transaction logs that servers leave, Java's or Serval's, for the checker of histories.

`read_server(directory)` gives a ServerLog: every transaction found in the log files of one server, by zxid, and the zxids of
its snapshots. Nothing is repaired and nothing is left out: what stands in the files at a zxid is reported, twice if it is
there twice. Only a torn end of a file ends that file, as it does for a server (docs of the format: ARCHITECTURE.md, storage).
"""
import os
import re
import struct
import zlib

from lib import Reader

CREATE, DELETE, SET, SET_ACL, CHECK, MULTI, CREATE2, RECONFIG = 1, 2, 5, 7, 13, 14, 15, 16
CONTAINER, DELETE_CONTAINER, TTL, ERROR, CREATE_SESSION, CLOSE_SESSION = 19, 20, 21, -1, -10, -11
CREATES = (CREATE, CREATE2, CONTAINER, TTL)
NAMES = {
    CREATE: "create", CREATE2: "create2", CONTAINER: "createContainer", TTL: "createTTL", DELETE: "delete",
    DELETE_CONTAINER: "deleteContainer", SET: "setData", RECONFIG: "reconfig", SET_ACL: "setACL", CHECK: "check",
    MULTI: "multi", ERROR: "error", CREATE_SESSION: "createSession", CLOSE_SESSION: "closeSession",
}


class Damaged(Exception):
    """A log file holds something that no server may leave in it."""


class Txn:
    """One transaction: its header, its record as a dictionary, and the bytes of both (without the digest).

    `digest` is the digest of the whole tree after it, None where the writer left none.
    """

    __slots__ = ("zxid", "session", "cxid", "time", "type", "record", "body", "digest")

    def __init__(self, zxid, session, cxid, time, type_, record, body=b"", digest=None):
        self.zxid, self.session, self.cxid, self.time, self.type = zxid, session, cxid, time, type_
        self.record, self.body, self.digest = record, body, digest

    def __repr__(self):
        what = self.record.get("path", self.record.get("err", ""))
        return "%s %s %s (session %#x, cxid %d)" % (
            zxid_text(self.zxid), NAMES.get(self.type, self.type), what, self.session, self.cxid)


class ServerLog:
    """What one server has on disk: (file, Txn) by zxid in the order found, and snapshot zxids.

    `kept`: these are files that were put aside before their server removed them; nothing is asked of them as a whole.
    """

    def __init__(self, name, entries=(), snapshots=(), kept=False):
        self.name, self.snapshots, self.kept = name, sorted(snapshots), kept
        self.entries = {}
        for file, txn in entries:
            self.entries.setdefault(txn.zxid, []).append((file, txn))


def zxid_text(zxid):
    return "%x:%x" % (zxid >> 32, zxid & 0xFFFFFFFF)


def acl(reader):
    count = reader.take(">i")
    return tuple((reader.take(">i"), reader.text(), reader.buffer() or b"") for _ in range(count))


def record_of(type_, reader):
    """The record of one type as a dictionary."""
    if type_ in CREATES:
        record = {"path": reader.text(), "data": reader.buffer(), "acl": acl(reader), "ephemeral": False}
        if type_ in (CREATE, CREATE2):
            record["ephemeral"] = reader.take(">?")
        record["parent_cversion"] = reader.take(">i")
        if type_ == TTL:
            record["ttl"] = reader.take(">q")
        return record
    if type_ in (DELETE, DELETE_CONTAINER):
        return {"path": reader.text()}
    if type_ in (SET, RECONFIG):
        return {"path": reader.text(), "data": reader.buffer(), "version": reader.take(">i")}
    if type_ == SET_ACL:
        return {"path": reader.text(), "acl": acl(reader), "version": reader.take(">i")}
    if type_ == CHECK:
        return {"path": reader.text(), "version": reader.take(">i")}
    if type_ == ERROR:
        return {"err": reader.take(">i")}
    if type_ == CREATE_SESSION:
        return {"timeout": reader.take(">i")}
    if type_ == MULTI:
        parts = []
        for _ in range(reader.take(">i")):
            kind = reader.take(">i")
            parts.append((kind, record_of(kind, Reader(reader.buffer()))))
        return {"parts": parts}
    if type_ == CLOSE_SESSION:
        count = reader.take(">i")
        return {"paths": [reader.text() for _ in range(count)]}
    raise Damaged("transaction type %d" % type_)


def parse(payload):
    reader = Reader(payload)
    session, cxid, zxid, time, type_ = reader.take(">qiqqi")
    if type_ == CLOSE_SESSION:
        # Older writers leave the record out, and the digest then stands in its place.
        try:
            record = record_of(type_, reader)
        except (struct.error, TypeError, AttributeError):
            return Txn(zxid, session, cxid, time, type_, {"paths": None}, payload[:32])
    else:
        record = record_of(type_, reader)
    body, digest = payload[:reader.at], None
    if len(payload) >= reader.at + 12 and type_ != ERROR:
        version, digest = reader.take(">iQ")
        if version != 2:
            digest = None
    return Txn(zxid, session, cxid, time, type_, record, body, digest)


def read_file(path):
    """The transactions of one log file, up to its end, its padding or a torn record."""
    with open(path, "rb") as file:
        content = file.read()
    if len(content) < 16:
        return
    if content[:4] != b"ZKLG":
        raise Damaged("%s does not begin with ZKLG" % path)
    at = 16
    while at + 12 <= len(content):
        checksum, length = struct.unpack_from(">qi", content, at)
        if length == 0:
            return
        if length < 0 or length > 4 << 20:
            raise Damaged("%s: a record of %d bytes at %d" % (path, length, at))
        payload, end = content[at + 12:at + 12 + length], content[at + 12 + length:at + 13 + length]
        if end != b"B":
            return
        if zlib.adler32(payload) != checksum:
            raise Damaged("%s: a wrong checksum at %d" % (path, at))
        yield parse(payload)
        at += 13 + length


def named(directory, kind):
    """(zxid, path) of the files KIND.ZXID in a directory, by zxid."""
    found = []
    for name in os.listdir(directory):
        match = re.fullmatch(re.escape(kind) + r"\.([0-9a-f]+)(\.gz|\.snappy)?", name)
        if match:
            found.append((int(match.group(1), 16), os.path.join(directory, name)))
    return sorted(found)


def read_server(name, data, log_data=None):
    """The ServerLog of a dataDir and, if it has its own, dataLogDir."""
    logs = os.path.join(log_data or data, "version-2")
    entries = [(os.path.basename(path), txn) for _, path in named(logs, "log") for txn in read_file(path)]
    return ServerLog(name, entries, [zxid for zxid, _ in named(os.path.join(data, "version-2"), "snapshot")])
