"""Runs tests that stay code once, at load, on the oracle solution: finds their node ids and checks that all pass.

The node ids are kept on disk by the task's hash, under `~/.cache/agent-rl/collected` (`AGENT_RL_CACHE` replaces
`~/.cache/agent-rl`).
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent_rl.cache import cache_folder
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import AssertTests, PytestTests, Task

_VERSION = 4


def require_tests(task: Task, tests: PytestTests) -> None:
    """Raises ConfigError if the tests have neither node ids nor an oracle solution to find them with."""
    if not tests.oracle and not tests.tests:
        raise ConfigError(f"task {task.id}: it needs the tests' node ids or an oracle solution", key="tests")


async def collected(
    task: Task, tests: PytestTests | AssertTests, find: Callable[[], Awaitable[tuple[str, ...]]], seed: int = 0
) -> Task:
    """The task with the node ids of its tests. `find` finds them once, with the oracle solution, if there is one.

    `seed`: of the run that finds them, since tests may draw their names at random.

    Raises ConfigError (naming the task), also if no tests are found.
    """
    if not tests.oracle:
        return task
    file = cache_folder() / "collected" / f"{task.hash}-{seed}-{_VERSION}.json"
    found = _kept(file)
    if found is None:
        found = await find()
        if not found:
            raise ConfigError(f"task {task.id}: its files hold no tests, so that every program would pass")
        _keep(file, found)
    if isinstance(tests, AssertTests) or found == tests.tests:
        return task
    return dataclasses.replace(task, tests=dataclasses.replace(tests, tests=found))


def _kept(file: Path) -> tuple[str, ...] | None:
    try:
        kept: Any = json.loads(file.read_text())["tests"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(kept) if kept and all(type(test) is str for test in kept) else None


def _keep(file: Path, found: tuple[str, ...]) -> None:
    """Writes the node ids to disk, whole or not at all; a cache that cannot be written is not an error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_text(json.dumps({"schema_version": _VERSION, "tests": found}))
        part.replace(file)
    except OSError:
        return
