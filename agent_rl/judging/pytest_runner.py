"""Runs pytest in one process with a candidate, inside a sandbox, and writes each test's result to one file.

Started as `python3 -I -B -c SOURCE`. Its order comes as JSON on standard input, so that it is in no command line and no
environment: {"root", "report", "nonce", "tests": [node ids or paths], "more": [paths that are added if the task's own
configuration names them as tests], "conftest": whether the task has one, "config": its own file for pytest or "",
"python_path": the image's PYTHONPATH}.

The report is JSON: {"nonce", "exit", "collected": [node ids], "errors": [[node id, text]],
"phases": [[node id, when, outcome, expected to fail, text]]}. The candidate's code runs in this very process, so the
report can be forged.

Standard library and pytest only, Python 3.9: this runs inside the sandboxes.
"""

import fnmatch
import json
import os
import sys
from typing import Any, NoReturn

_exit, _open, _write = os._exit, os.open, os.write
_MAX_TEXT = 2000


class Reporter:
    """A plugin that records pytest's reports on each test, and lets tests import from the task's folder."""

    def __init__(self, folders: "list[str]", more: "list[str]") -> None:
        self.folders = folders
        self.more = more
        self.collected: list[str] = []
        self.errors: list[list[str]] = []
        self.phases: list[list[Any]] = []

    def pytest_load_initial_conftests(self, early_config: Any, args: "list[str]") -> None:
        # Only after pytest has searched for plugins: none may come from the candidate's folder.
        sys.path[:0] = self.folders
        patterns = early_config.getini("python_files")
        # The last argument is a canary's file, and stays the last.
        args[-1:-1] = [path for path in self.more if any(_names(pattern, path) for pattern in patterns)]

    def pytest_collection_finish(self, session: Any) -> None:
        self.collected = [item.nodeid for item in session.items]

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors.append([report.nodeid, str(report.longrepr)[-_MAX_TEXT:]])

    def pytest_runtest_logreport(self, report: Any) -> None:
        text = "" if report.passed else str(report.longrepr)[-_MAX_TEXT:]
        expected = hasattr(report, "wasxfail")
        self.phases.append([report.nodeid, report.when, report.outcome, expected, text])


def _names(pattern: str, path: str) -> bool:
    return fnmatch.fnmatch(path if "/" in pattern else os.path.basename(path), pattern)


def arguments(order: "dict[str, Any]") -> "list[str]":
    """The arguments for pytest: only the task's own configuration, plugins and conftest are used."""
    config = order["config"] or os.devnull
    # Its `addopts` could select tests or end the run at the first failure, which is a canary's.
    options = ["-c", config, "--rootdir", order["root"], "--confcutdir", order["root"], "-o", "addopts="]
    options += ["-p", "no:cacheprovider", "-q", "--color=no", "--tb=short", "--continue-on-collection-errors"]
    if not order["conftest"]:
        options.append("--noconftest")
    return [*options, *order["tests"]]


def main() -> NoReturn:
    order = json.loads(sys.stdin.buffer.read())
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "PYTHON"))]:
        del os.environ[name]
    os.chdir(order["root"])
    sys.argv = ["pytest"]
    import pytest

    first = pytest.hookimpl(tryfirst=True)
    Reporter.pytest_load_initial_conftests = first(Reporter.pytest_load_initial_conftests)
    reporter = Reporter([order["root"], *order["python_path"]], order["more"])
    code = int(pytest.main(arguments(order), plugins=[reporter]))
    report = {
        "nonce": order["nonce"],
        "exit": code,
        "collected": reporter.collected,
        "errors": reporter.errors,
        "phases": reporter.phases,
    }
    data = json.dumps(report).encode()
    descriptor = _open(order["report"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    while data:
        data = data[_write(descriptor, data) :]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Skips the exit handlers that the candidate may have registered.
    _exit(0)


if __name__ == "__main__":
    main()
