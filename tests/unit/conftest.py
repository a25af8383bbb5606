"""Holds the unit layer's promise: here no process is started, no Docker daemon is asked, and torch is not imported.

A test that does one of these fails and says which. So does a module that does it while it is collected. Torch is
noticed where it is really loaded, so in a process that has run no other layer before: `make check` has one.
"""

from __future__ import annotations

import _posixsubprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.font_manager  # noqa: F401 - lists the fonts with a process of its own, once on each machine
import pytest

_PROCESSES = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "pty.spawn"}
_TORCH = {"torch", "transformers", "accelerate"}
_FOLDER = Path(__file__).parent
_watching = False


def broken_promise(event: str, arguments: tuple[Any, ...]) -> str | None:
    """What a unit test may not do, where the audit event is that."""
    if event in _PROCESSES:
        return f"starts a process ({event})"
    if event == "import" and arguments[0] in _TORCH:
        return f"imports {arguments[0]}"
    if event == "socket.connect" and isinstance(arguments[1], (str, bytes)) and "docker" in str(arguments[1]):
        return f"asks a Docker daemon ({arguments[1]!r})"
    return None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and (what := broken_promise(event, arguments)):
        _fail(what)


def _fail(what: str) -> None:
    """Ends the test, by what no `except Exception` of the code under test takes for an error of its own."""
    pytest.fail(f"a unit test {what}: it belongs into tests/component or tests/system")


sys.addaudithook(_audit)  # cannot be taken back, so it looks at `_watching` first


@contextmanager
def _watch() -> Generator[None]:
    """Within it the promise is held."""
    global _watching

    def fork_exec(*arguments: Any) -> int:
        _fail("starts a process (multiprocessing)")
        raise AssertionError

    with pytest.MonkeyPatch.context() as patch:
        # multiprocessing calls it without an audit event.
        patch.setattr(_posixsubprocess, "fork_exec", fork_exec)
        _watching = True
        try:
            yield
        finally:
            _watching = False


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Modules of this layer are imported under watch."""
    with _watch():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test of this layer runs under watch, and so do its fixtures of every scope."""
    if _FOLDER not in item.path.parents:  # this hook is called for the tests of all folders
        return (yield)
    with _watch():
        return (yield)
