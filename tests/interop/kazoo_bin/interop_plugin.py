"""A pytest plugin for the kazoo suite: leaves out what INTEROP_LEFT_OUT names and writes every outcome to INTEROP_RESULTS."""
import json
import os

import pytest

results = {"deselected": {}, "outcomes": {}}


def pytest_collection_modifyitems(config, items):
    names = json.loads(os.environ["INTEROP_LEFT_OUT"])
    left_out = []
    for item in items:
        for name in names:
            if name in item.nodeid:
                results["deselected"].setdefault(name, []).append(item.nodeid)
                left_out.append(item)
                break
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    # A test has three reports (setup, call, teardown); the worst one counts.
    worst = results["outcomes"].get(report.nodeid, {"outcome": "passed"})["outcome"]
    if report.outcome != "passed" and worst != "failed" or report.nodeid not in results["outcomes"]:
        results["outcomes"][report.nodeid] = {"outcome": report.outcome, "text": report.longreprtext[-3000:]}


def pytest_sessionfinish(session):
    with open(os.environ["INTEROP_RESULTS"], "w") as out:
        json.dump(results, out)
