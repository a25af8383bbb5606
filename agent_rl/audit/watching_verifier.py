"""`WatchingVerifier`: what validation puts between an environment and its judge, to see and to vary what is judged."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from agent_rl.contracts import Sandbox, Verifier
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import Submission, Task, Verdict


@dataclass(slots=True)
class Watched:
    """What was judged last in one context, and with which seed it is judged."""

    seed: int
    submission: Submission | None = None


_current: ContextVar[Watched | None] = ContextVar("watched", default=None)


@contextmanager
def watching(seed: int) -> Generator[Watched]:
    """Within it, judging draws its order of calls and random numbers from `seed`; says what was judged."""
    watched = Watched(seed)
    token = _current.set(watched)
    try:
        yield watched
    finally:
        _current.reset(token)


class WatchingVerifier(Verifier):
    """A judge for each seed, and a list of the tasks that none of them takes.

    refused: task id -> why its tests could not be prepared; such a task is handed on unprepared, so that the others
    of its data set can be judged. given: task id -> the task as it came to be prepared.
    """

    def __init__(self, make: Callable[[int], Verifier]) -> None:
        self._make = make
        self._made: dict[int, Verifier] = {}
        self.refused: dict[str, ConfigError] = {}
        self.given: dict[str, Task] = {}

    def _judge(self) -> Verifier:
        watched = _current.get()
        seed = 0 if watched is None else watched.seed
        if seed not in self._made:
            self._made[seed] = self._make(seed)
        return self._made[seed]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge(), name)

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        watched = _current.get()
        if watched is not None:
            watched.submission = submission
        return await self._judge().judge(task, submission)

    async def run_public_tests(self, task: Task, submission: Submission, sandbox: Sandbox | None = None) -> Verdict:
        return await self._judge().run_public_tests(task, submission, sandbox)

    async def prepare(self, task: Task) -> Task:
        self.given[task.id] = task
        try:
            return await self._judge().prepare(task)
        except ConfigError as error:
            self.refused[task.id] = error
            return task

    async def prepares(self, task: Task) -> bool:
        """Whether the task can be prepared with the seed that is watched. Nothing is noted of it."""
        try:
            await self._judge().prepare(task)
        except ConfigError:
            return False
        return True
