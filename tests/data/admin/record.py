#!/usr/bin/env python3
"""Records what a Java server tells an operator, as test data: record.py CLIENT_PORT ADMIN_PORT METRICS_PORT > FILE

The server: a fresh data directory, 4lw.commands.whitelist=*, extendedTypesEnabled=true, and for the last port
Prometheus' metrics provider (words and commands are recorded from a server without it: it changes mntr). A port of 0
is left out. Needs kazoo. Two clients do a little of everything first, a third connection never says a word.
"""
import re
import socket
import sys
import urllib.error
import urllib.request

from kazoo.client import KazooClient

WORDS = "srvr stat conf cons dump envi mntr wchs wchc wchp dirs hash isro ruok gtmk"
RESETS = "crst srst"
COMMANDS = (
    "configuration connections dirs dump environment get_trace_mask hash initial_configuration is_read_only "
    "last_snapshot leader monitor nosuch observer_connection_stat_reset observers ruok server_stats set_trace_mask "
    "stats voting_view watch_summary watches watches_by_path zabstate conf connection_stat_reset stat_reset"
)


def word(port, name):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(name.encode())
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    return answer.decode()


def http(port, path):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def work(client_port):
    """Sessions, znodes, ephemerals, watches, a quota and enough transactions for a digest."""
    first, second = (KazooClient(f"127.0.0.1:{client_port}") for _ in range(2))
    first.start()
    second.start()
    for path in ("/a", "/b", "/b/c"):
        first.create(path, b"hello")
    quota = "/zookeeper/quota/b"
    first.create(quota)
    first.create(quota + "/zookeeper_limits", b"count=5,bytes=1000=;byteHardLimit=-1;countHardLimit=-1")
    first.create(quota + "/zookeeper_stats", b"count=0,bytes=0")
    silent = socket.create_connection(("127.0.0.1", client_port))
    first.create("/a/eph", b"1", ephemeral=True)
    first.create("/a/seq-", b"2", ephemeral=True, sequence=True)
    for size in range(200):
        first.set("/a", b"x" * (size % 20))
    first.get("/a", watch=print)
    second.get("/a", watch=print)
    second.exists("/nope", watch=print)
    first.get_children("/b", watch=print)
    return first, second, silent


def main():
    client_port, admin_port, metrics_port = map(int, sys.argv[1:4])
    connections = work(client_port)
    record = ""
    if not metrics_port:
        for name in WORDS.split():
            record += f"=== {name}\n{word(client_port, name)}\n"
    if admin_port:
        record += f"=== /commands\n{http(admin_port, '/commands')}\n"
        for name in COMMANDS.split():
            record += f"=== /commands/{name}\n{http(admin_port, '/commands/' + name)}\n"
    if not metrics_port:
        for name in RESETS.split():
            record += f"=== {name}\n{word(client_port, name)}\n"
    if metrics_port:
        text = http(metrics_port, "/metrics")
        families = re.split(r"(?m)^(?=# HELP )", text)
        record += "".join(sorted(f for f in families if not re.match("# HELP jvm_(?!pause_time)", f)))
        names = "name[]=uptime&name[]=readlatency_count&name[]=fsynctime"
        record += f"=== filtered\n{http(metrics_port, '/metrics?' + names)}"
    # What a machine's own paths and class path say is of no use to a test.
    record = re.sub(r'(java\.class\.path"? ?[=:] ?"?)[^\n",]*', r"\1lib/zookeeper.jar", record)
    sys.stdout.write(re.sub(r"/tmp/[\w/.-]*?(?=/version-2|[\\\n\"])", "/data", record))
    del connections


main()
