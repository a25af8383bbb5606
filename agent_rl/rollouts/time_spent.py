"""Measures how much of a rollout's time its sandbox and its judging take."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NoReturn

from agent_rl.contracts import Sandbox, Verifier
from agent_rl.errors import EnvironmentFailure
from agent_rl.vocabulary import ExecResult, Submission, Task, Verdict


class Stopwatch:
    """Sums of seconds of one rollout. Concurrent operations are counted separately."""

    def __init__(self) -> None:
        self.sandbox = 0.0
        self.judging = 0.0

    @contextmanager
    def judging_time(self) -> Generator[None]:
        """The time inside this context counts as `judging`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.judging += time.monotonic() - started


_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextmanager
def measuring() -> Generator[Stopwatch]:
    """A stopwatch. Every `TimedVerifier` that is used in this context adds to it."""
    watch = Stopwatch()
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)


class TimedVerifier(Verifier):
    """A verifier that adds the time of public tests to the rollout that runs them, as `judging`.

    The time of `judge` is added by `run_rollout`, which calls it.
    """

    def __init__(self, verifier: Verifier) -> None:
        self.inner = verifier

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return await self.inner.judge(task, submission)

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        return await self.inner.accept(task, verdict)

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        watch = _current.get()
        with nullcontext() if watch is None else watch.judging_time():
            return await self.inner.run_public_tests(task, submission, sandbox)

    async def prepare(self, task: Task) -> Task:
        return await self.inner.prepare(task)

    async def close(self) -> None:
        await self.inner.close()


class TimedSandbox(Sandbox):
    """A sandbox whose operations count as `sandbox` time of its rollout."""

    def __init__(self, sandbox: Sandbox, watch: Stopwatch) -> None:
        self.inner = sandbox
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @contextmanager
    def _timed(self) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._watch.sandbox += time.monotonic() - started

    async def exec(self, command: Sequence[str], **options: Any) -> ExecResult:
        with self._timed():
            return await self.inner.exec(command, **options)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        with self._timed():
            await self.inner.write_files(files)

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        with self._timed():
            return await self.inner.read_file(path, max_bytes=max_bytes)

    async def close(self) -> None:
        with self._timed():
            await self.inner.close()


class MissingSandbox(Sandbox):
    """The placeholder for a task without a sandbox. Using it raises an error that says so."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def _refuse(self) -> NoReturn:
        raise EnvironmentFailure(
            f"the task {self._task.id} has no sandbox (its `sandbox` is None), but its environment uses one"
        )

    async def exec(self, command: Sequence[str], **options: Any) -> ExecResult:
        self._refuse()

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        if files:
            self._refuse()

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        self._refuse()

    async def close(self) -> None:
        return
