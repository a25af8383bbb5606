"""Runs pytest in one process with a candidate, inside a sandbox, and writes each test's result to one file.

Started as `python3 -I -B -c SOURCE`. Its order comes as JSON on standard input, so that it is in no command line and no
environment: {"root", "report", "nonce", "tests": [node ids or paths], "more": [paths that are added if the task's own
configuration names them as tests], "conftest": whether the task has one, "config": its own file for pytest or "",
"python_path": the image's PYTHONPATH, "seconds": the limit on the tests, which begins when pytest has started}.

The report is JSON: {"nonce", "exit", "collected": [node ids], "errors": [[node id, text]],
"phases": [[node id, when, outcome, expected to fail, text]]}. The candidate's code runs in this very process, so the
report can be forged. Where the tests exceed their limit, it is {"nonce", "late": [processor seconds, seconds waited for
a processor or null]} instead, of another process: `until_late`.

Standard library and pytest only, Python 3.9: this runs inside the sandboxes.
"""

import contextlib
import fnmatch
import json
import os
import signal
import sys
import time
from typing import Any, NoReturn

_exit, _open, _write = os._exit, os.open, os.write
_MAX_TEXT = 2000


class Reporter:
    """A plugin that records pytest's reports on each test, and lets tests import from the task's folder."""

    def __init__(self, order: "dict[str, Any]") -> None:
        self.order = order
        self.folders: list[str] = [order["root"], *order["python_path"]]
        self.collected: list[str] = []
        self.errors: list[list[str]] = []
        self.phases: list[list[Any]] = []

    def pytest_load_initial_conftests(self, early_config: Any, args: "list[str]") -> None:
        # Only after pytest has searched for plugins: none may come from the candidate's folder.
        until_late(self.order)
        sys.path[:0] = self.folders
        patterns = early_config.getini("python_files")
        # The last argument is a canary's file, and stays the last.
        args[-1:-1] = [path for path in self.order["more"] if any(_names(pattern, path) for pattern in patterns)]

    def pytest_collection_finish(self, session: Any) -> None:
        self.collected = [item.nodeid for item in session.items]

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.errors.append([report.nodeid, str(report.longrepr)[-_MAX_TEXT:]])

    def pytest_runtest_logreport(self, report: Any) -> None:
        text = "" if report.passed else str(report.longrepr)[-_MAX_TEXT:]
        expected = hasattr(report, "wasxfail")
        self.phases.append([report.nodeid, report.when, report.outcome, expected, text])


def until_late(order: "dict[str, Any]") -> None:
    """Returns in a child process, in which pytest goes on; this one ends as that does, or ends it once it is late.

    By now pytest has started, and nothing of the candidate has run.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    end = time.monotonic() + order["seconds"]
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        return
    while True:
        left = end - time.monotonic()
        if left <= 0:
            break
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            _exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
        signal.sigtimedwait([signal.SIGCHLD], left)
    below, late = _used(child)
    for pid in below:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os.waitpid(child, 0)
    if os.path.lexists(order["report"]):
        os.unlink(order["report"])  # it was being written
    _report(order, {"nonce": order["nonce"], "late": late})
    _exit(0)


def _used(root: int) -> "tuple[list[int], list[Any]]":
    """(a process and all below it, [their processor seconds, how long the one that waited longest had none]).

    The latter is None where the kernel does not say.
    """
    table: dict[int, tuple[int, float]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        table[int(name)] = int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    found = [root]
    for pid in found:
        found += [other for other, (parent, _) in table.items() if parent == pid and other not in found]
    ran, waited = 0, 0
    for pid in found:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                    times = file.read().split()
                ran, waited = ran + int(times[0]), max(waited, int(times[1]))
        except (OSError, ValueError, IndexError):
            continue
    cpu = sum((table[pid][1] for pid in found if pid in table), 0.0)
    return found, [cpu, waited / 1e9 if ran else None]


def _report(order: "dict[str, Any]", report: "dict[str, Any]") -> None:
    data = json.dumps(report).encode()
    descriptor = _open(order["report"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    while data:
        data = data[_write(descriptor, data) :]


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
    reporter = Reporter(order)
    code = int(pytest.main(arguments(order), plugins=[reporter]))
    report = {
        "nonce": order["nonce"],
        "exit": code,
        "collected": reporter.collected,
        "errors": reporter.errors,
        "phases": reporter.phases,
    }
    _report(order, report)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Skips the exit handlers that the candidate may have registered.
    _exit(0)


if __name__ == "__main__":
    main()
