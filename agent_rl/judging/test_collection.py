"""Tests that stay code are tried once, at load, with their reference: which there are, and that it passes them.

What was found is kept on disk by the task's hash, under `~/.cache/agent-rl/collected` (`AGENT_RL_CACHE` names another
place than `~/.cache/agent-rl`).
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from pathlib import Path
from typing import Any, Protocol

from agent_rl.cache import cache_folder
from agent_rl.errors import ConfigError
from agent_rl.judging.in_process_judge import InProcessJudge
from agent_rl.judging.judging_runs import reasons
from agent_rl.vocabulary import AssertTests, PytestTests, Submission, Task, Verdict

_VERSION = 1


class JudgeOfTests(Protocol):
    """The judge of one kind of tests. Raises SandboxError where the machinery failed, after blame has been tested."""

    async def judge(self, task: Task, tests: Any, submission: Submission, *, public: bool) -> Verdict: ...


async def collect_tests(task: Task, tests: PytestTests | AssertTests, judge: JudgeOfTests) -> Task:
    """The task with the node ids of its tests, each of which its reference passes.

    Raises ConfigError that names the task.
    """
    ids = tests.tests if isinstance(tests, PytestTests) else ()
    if not tests.oracle and not ids:
        raise ConfigError(f"task {task.id}: without a reference its tests' node ids have to be given", key="tests")
    if isinstance(judge, InProcessJudge):
        await judge.probe(task)
    if not tests.oracle:
        return task
    file = cache_folder() / "collected" / f"{task.hash}-{_VERSION}.json"
    found = _kept(file)
    if found is None:
        found = await _found(task, tests, judge)
        _keep(file, found)
    if isinstance(tests, AssertTests) or found == ids:
        return task
    return dataclasses.replace(task, tests=dataclasses.replace(tests, tests=found))


async def _found(task: Task, tests: PytestTests | AssertTests, judge: JudgeOfTests) -> tuple[str, ...]:
    if isinstance(judge, InProcessJudge):
        assert isinstance(tests, PytestTests)  # the only kind that it collects
        found = await judge.collect(task, tests)
    else:
        verdict = await judge.judge(task, tests, Submission.code(_program(task, tests)), public=False)
        if not verdict.passed:
            raise ConfigError(f"task {task.id}: the reference does not pass its own tests: {reasons(verdict)}")
        given = tests.tests if isinstance(tests, PytestTests) else ()
        found = given or tuple(test.name for test in verdict.tests)
    if not found:
        raise ConfigError(f"task {task.id}: its files hold no tests, so that every program would pass")
    return found


def _program(task: Task, tests: PytestTests | AssertTests) -> str:
    if isinstance(tests, AssertTests):
        return tests.oracle
    path = f"{tests.module.replace('.', '/')}.py"
    if path not in tests.oracle:
        raise ConfigError(f"task {task.id}: its reference holds no {path}", key="reference")
    return tests.oracle[path].decode("utf-8", "replace")


def _kept(file: Path) -> tuple[str, ...] | None:
    try:
        kept: Any = json.loads(file.read_text())["tests"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return tuple(kept) if kept and all(type(test) is str for test in kept) else None


def _keep(file: Path, found: tuple[str, ...]) -> None:
    """The ids are on disk, whole or not at all; a cache that cannot be written is no error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        part.write_text(json.dumps({"schema_version": _VERSION, "tests": found}))
        part.replace(file)
    except OSError:
        return
