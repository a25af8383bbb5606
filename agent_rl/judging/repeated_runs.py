"""Runs again, alone, what had no processor: `FairRuns`. A verdict must not depend on what else the machine does.

Time in which a run was ready to run and had no processor is not part of its time (see `RunResult.waited_seconds`), but
it may take only so long (`Limits.longest_seconds`), and whoever waits for another process that has no processor is not
seen to wait. So a run that exceeded its time limit, used little of it, and waited, is made once more while this
verifier has no other run. What comes out then stands.

A program gains nothing: it is judged by one run from its beginning to its end, and what it learnt in the first run is
lost. One that sleeps does not wait for a processor, so that it is not run again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

from agent_rl.vocabulary import ExecResult, Limits, PairResult, RunResult

_USED = 0.9
"""A run that used the processor for more than this share of its limit exceeded it by its own doing."""
_WAITED = 0.05
"""A run that waited for less than this share of its limit would not have ended earlier alone."""
_T = TypeVar("_T")


class FairRuns:
    """Runs that go on side by side, and now and then one alone. `repeated` counts the latter."""

    def __init__(self) -> None:
        self.repeated = 0
        self._beside = 0
        self._wanting_alone = 0
        self._is_alone = False
        self._waiting: list[asyncio.Future[None]] = []

    async def fairly(self, run: Callable[[], Awaitable[_T]], starved: Callable[[_T], bool]) -> _T:
        """What `run` returns; if that is `starved`, what it returns when it is called again, alone.

        If that is starved too, other programs of this machine are to blame, and `doubts` is told.
        """
        async with self._side_by_side():
            outcome = await run()
        if not starved(outcome):
            return outcome
        self.repeated += 1
        async with self._alone():
            outcome = await run()
        if starved(outcome):
            _doubt("it had no processor, although it ran alone")
        return outcome

    @contextlib.asynccontextmanager
    async def _side_by_side(self) -> AsyncIterator[None]:
        while self._wanting_alone:
            await self._change()
        self._beside += 1
        try:
            yield
        finally:
            self._beside -= 1
            self._changed()

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self._wanting_alone += 1
        try:
            while self._beside or self._is_alone:
                await self._change()
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False
        finally:
            self._wanting_alone -= 1
            self._changed()

    async def _change(self) -> None:
        """Waits until a run has begun or ended that others may wait for."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


_doubts: ContextVar[list[str] | None] = ContextVar("doubts", default=None)
_commands: ContextVar[list[ExecResult] | None] = ContextVar("commands", default=None)


@contextlib.contextmanager
def _listed(variable: ContextVar[list[_T] | None]) -> Iterator[list[_T]]:
    """`variable` is a list of this context's own."""
    found: list[_T] = []
    token = variable.set(found)
    try:
        yield found
    finally:
        variable.reset(token)


@contextlib.contextmanager
def doubts() -> Iterator[list[str]]:
    """Why a verdict made in this context may come out differently another time, empty if it would not."""
    with _listed(_doubts) as found:
        yield found


def _doubt(why: str) -> None:
    found = _doubts.get()
    if found is not None:
        found.append(why)


def starved_run(result: object, limits: Limits) -> bool:
    """Whether a run exceeded its time limit for want of a processor; False for anything but a `RunResult`."""
    if not isinstance(result, RunResult) or result.status != "timeout" or result.unfinished:
        return False
    return _starved(result.cpu_seconds, result.waited_seconds, limits.wall_seconds)


def ended_command(result: ExecResult) -> None:
    """A command did not complete: where it exceeded its time for want of a processor, `starved_commands` has it."""
    found = _commands.get()
    limit = result.seconds
    if found is not None and result.status == "timeout" and _starved(result.cpu_seconds, result.waited_seconds, limit):
        found.append(result)


@contextlib.contextmanager
def starved_commands() -> Iterator[list[ExecResult]]:
    """Those that `ended_command` was told of in this context."""
    with _listed(_commands) as found:
        yield found


def starved_pair(result: object, limits: Limits, lost: float, within: float | None = None) -> bool:
    """The same for a pair of runs, one of which waits while the other works; `lost`: seconds that their relay waited.

    `within`: seconds that count as their limit here. False for anything but a `PairResult`.
    """
    if not isinstance(result, PairResult):
        return False
    both = result.candidate, result.tests
    limit = limits.wall_seconds if within is None else within
    if all(r.status != "timeout" and (within is None or r.seconds <= within) for r in both):
        return False
    waits = [r.waited_seconds for r in both]
    waited = None if None in waits else lost + sum(w for w in waits if w is not None)
    return _starved(sum(r.cpu_seconds for r in both), waited, limit)


def _starved(cpu: float, waited: float | None, limit: float) -> bool:
    return cpu < _USED * limit and (waited is None or waited > _WAITED * limit)


def seconds_waited_here() -> float:
    """How long this thread was ready to run and had no processor; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
