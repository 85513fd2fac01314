"""Runs a client program that prints one line per check, and restarts the server when it asks.

The programs in C, Go and Java share this: "ok      NAME" and "FAILED  NAME: what" are checks, "RESTART" asks for a restart, and a
line on their standard input says that the server is back.
"""
import os
import subprocess

import lib


def run(suite, command, config=None):
    report = lib.Report(suite)
    directory = lib.work(suite)
    log_name = os.path.join(directory, "client.log")
    with lib.Server(directory, config) as server:
        server.start()
        with open(log_name, "wb") as log:
            client = subprocess.Popen([*command, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                      text=True)
        for line in client.stdout:
            line = line.rstrip("\n")
            if line == "RESTART":
                server.stop()
                server.start()
                client.stdin.write("go on\n")
                client.stdin.flush()
            else:
                report.check(line[8:], line.startswith("ok "))
        status = client.wait(60)
        report.check("exit status 0", status == 0, "status %d, see %s" % (status, log_name))
    report.finish()
