"""The lock of a run: one process at a time, named to the next one, and free once it is gone, however it went."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import parse_config
from agent_rl.errors import ConfigError
from agent_rl.loop import train as train_module
from agent_rl.records.run_directory import RunDirectory
from agent_rl.records.run_lock import run_lock
from tests.component.loop.tiny_runs import quiet

HOLDER = """
import sys
from pathlib import Path
from agent_rl.records.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked(resume=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of the run in `folder` until a line is sent to it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end_with_a_line(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=60)


def end_by_sigkill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=60)


@pytest.mark.parametrize("end", [end_with_a_line, end_by_sigkill])
def test_the_holder_is_named_and_the_lock_is_free_once_it_is_gone(
    tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    folder = tmp_path / "run"
    process = holder(folder)
    said = (
        rf"^--run-dir: {re.escape(str(folder))} is in use by process {process.pid} on "
        rf"{re.escape(socket.gethostname())}, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d "
        rf"\(-c {re.escape(str(folder))}\): give another folder$"
    )
    try:
        with pytest.raises(ConfigError, match=said):
            RunDirectory(folder).locked(resume=False).__enter__()
    finally:
        end(process)
    with RunDirectory(folder).locked(resume=False):
        pass


def test_a_lock_counts_within_one_process_too_and_its_owner_says_nothing_when_it_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with run_lock(file, print):
        assert f'"pid": {os.getpid()}' in file.read_text()
        with pytest.raises(ConfigError, match=f"is in use by process {os.getpid()} on"):
            run_lock(file, print).__enter__()
    assert file.read_text() == ""


def test_a_holder_that_does_not_say_who_it_is_still_holds(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with run_lock(file, print):
        file.write_text("{")
        with pytest.raises(ConfigError, match="is in use by another process, which does not say who it is: give"):
            run_lock(file, print).__enter__()


def test_a_filesystem_without_locks_is_said_in_one_line_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said: list[str] = []
    with RunDirectory(tmp_path / "run").locked(resume=False, say=said.append):
        assert said == [
            f"the filesystem of {tmp_path / 'run'} has no locks: see to it that no second process writes this run"
        ]


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".agent-rl.lock"
    for target, what in ((tmp_path / "precious", "a link"), (tmp_path, "a link"), ("nowhere", "a link to nothing")):
        lock.symlink_to(target)
        with pytest.raises(ConfigError, match=rf"cannot hold a run: {re.escape(str(lock))} is {what}$"):
            RunDirectory(tmp_path / "run").locked(resume=False).__enter__()
        lock.unlink()
    lock.mkdir()
    with pytest.raises(ConfigError, match=rf"cannot hold a run: {re.escape(str(lock))} is a folder$"):
        RunDirectory(tmp_path / "run").locked(resume=False).__enter__()
    assert (tmp_path / "precious").read_text() == "precious"


async def test_the_report_is_written_while_the_run_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config({"environments": [{"environment": "toy"}], "model": {"path": "none"}})
    directory = RunDirectory(tmp_path / "run")
    locked: list[Path] = []

    @asynccontextmanager
    async def nothing_opened(*arguments: Any, **options: Any) -> AsyncIterator[None]:
        directory.create(config, resume=False)
        yield

    async def nothing_trained(run: None) -> None:
        return

    def report(folder: Path) -> None:
        with pytest.raises(ConfigError, match=f"is in use by process {os.getpid()} on"):
            RunDirectory(folder).locked(resume=True).__enter__()
        assert directory.read_took() >= 0.0
        locked.append(folder)

    monkeypatch.setattr(train_module, "open_run", nothing_opened)
    monkeypatch.setattr(train_module, "_watched", nothing_trained)
    monkeypatch.setattr(train_module, "write_report", report)
    assert await train_module.train(config, directory.path, display=quiet()) == directory.path
    assert locked == [directory.path]
