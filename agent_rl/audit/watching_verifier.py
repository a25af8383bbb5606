"""`WatchingVerifier`: a verifier that validation puts between an environment and its judge. It records what is judged
and varies the seed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from agent_rl.contracts import Sandbox, Verifier
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import AnswerTests, Submission, Task, Verdict


@dataclass(slots=True)
class Watched:
    """The last judged submission of one context, and the seed that it is judged with."""

    seed: int
    submission: Submission | None = None


_current: ContextVar[Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(seed: int) -> Generator[Watched]:
    """In this context, judging takes its order of calls and its random numbers from `seed`. Yields what was judged."""
    watched = Watched(seed)
    token = _current.set(watched)
    try:
        yield watched
    finally:
        _current.reset(token)


class WatchingVerifier(Verifier):
    """One judge per seed, and a record of the tasks that cannot be prepared.

    refused: task id -> why its tests could not be prepared. Such a task is returned unprepared, so that the other tasks
    of its data set can still be judged. given: task id -> the task before it was prepared. lowered: task id -> why its
    tests need tier `in_process`.
    """

    def __init__(self, make: Callable[[int], Verifier]) -> None:
        self._make = make
        self._made: dict[int, Verifier] = {}
        self.refused: dict[str, ConfigError] = {}
        self.given: dict[str, Task] = {}
        self.lowered: dict[str, str] = {}

    def _judge(self, task: Task | None = None) -> Verifier:
        watched = _current.get()
        # A comparison of final answers takes no seed, and the process that compares is large: one judge is enough.
        seed = 0 if watched is None or (task is not None and isinstance(task.tests, AnswerTests)) else watched.seed
        if seed not in self._made:
            self._made[seed] = self._make(seed)
        return self._made[seed]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge(), name)

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        watched = _current.get()
        if watched is not None:
            watched.submission = submission
        return await self._judge(task).judge(task, submission)

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        return await self._judge().accept(task, verdict)

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        return await self._judge().run_public_tests(task, submission, sandbox)

    async def prepare(self, task: Task) -> Task:
        self.given[task.id] = task
        judge = self._judge()
        try:
            prepared = await judge.prepare(task)
        except ConfigError as error:
            self.refused[task.id] = error
            return task
        self.lowered.update(getattr(judge, "lowered", {}))
        return prepared

    async def close(self) -> None:
        for made in self._made.values():
            await made.close()

    async def prepares(self, task: Task) -> bool:
        """Whether the task can be prepared with the current seed. The result is not recorded."""
        try:
            await self._judge().prepare(task)
        except ConfigError:
            return False
        return True
