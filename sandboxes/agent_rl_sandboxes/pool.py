"""`SlotPool`: hands runs to warm slots, at most so many at a time, and heals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import Isolation, RunRequest, RunResult
from agent_rl_sandboxes.slots import LEVELS, Slot

RECYCLE_AFTER = 5000
"""Runs of a slot. A new one in Docker is a `docker run` and a `docker exec`: at 500 they cost a noticeable share."""
RETRY_SECONDS = 1.0
"""After which a slot that could not be made is tried again. Doubled each time, up to:"""
LONGEST_RETRY_SECONDS = 30.0
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class SlotPool:
    """At most `size` slots at work, beside fresh ones that are made for one use alone.

    A slot is replaced after `recycle_after` runs, and whenever something was odd.

    Where a slot cannot be made the pool tries again by itself, one at a time and after longer and longer pauses, until
    it has them all. A run that finds none does not wait for that: it tries at once, and fails where it cannot.

    Uses of fresh slots are at most twice as many, and do not count among the others: so the honest run by which another
    is judged (see `agent_rl.verify.blame`) finds room beside it, in a pool of one too, and however busy it is.
    """

    def __init__(
        self, start_slot: Callable[[], Awaitable[Slot]], size: int, *, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        """`start_slot` makes one slot; it raises SandboxError, and leaves nothing behind where it is cancelled."""
        self._start_slot = start_slot
        self._size = size
        self._recycle_after = recycle_after
        self._capacity = asyncio.Semaphore(size)
        self._fresh_capacity = asyncio.Semaphore(2 * size)
        self._taking = asyncio.Lock()
        self._idle: deque[asyncio.Task[Slot]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._busy: set[Slot] = set()
        self._first: Slot | None = None
        self._missing = 0
        """Slots that could not be made, and that nobody is making."""
        self._pause = RETRY_SECONDS
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        """One slot is ready and the others are on their way. Raises SandboxError."""
        task = asyncio.ensure_future(self._start())
        self._first = await task
        self._idle.append(task)
        for _ in range(self._size - 1):
            self._replace()

    @property
    def first(self) -> Slot:
        """The slot that `start` made, for what was probed: isolation, reasons, version of Python."""
        if self._first is None:
            raise SandboxError("the slots have not been started")
        return self._first

    @property
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as probed."""
        return self.first.isolation

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """One run in a warm slot, or with `fresh` in one made for it alone.

        Raises SandboxError, and of it SandboxStartError where there was no slot to run in.
        """
        capacity = self._fresh_capacity if fresh else self._capacity
        await capacity.acquire()
        try:
            slot = await (self._start() if fresh else self._obtain())
        except BaseException:
            capacity.release()
            raise
        self._busy.add(slot)
        try:
            self._check_open()
            result = await slot.run(request)
        except asyncio.CancelledError:
            # The capacity comes back when the slot does.
            self._in_background(self._settle(slot, fresh=fresh))
            raise
        except BaseException:
            slot.reusable = False
            self._give_back(slot, fresh=fresh)
            raise
        if result.anomalies:
            slot.reusable = False
        self._give_back(slot, fresh=fresh)
        return result

    async def run_pair(self, use: Callable[[Slot, Slot], Awaitable[_Result]], *, fresh: bool = False) -> _Result:
        """What `use` makes of two slots. In a pool of one, the second is made for this alone, and ended after it.

        Errors are those of `run`. Capacity for two is taken by one at a time, so that two who wait for their second
        slot cannot wait for each other.
        """
        taken = 1 if fresh else min(2, self._size)
        await self._take(taken, fresh=fresh)
        held: list[tuple[Slot, bool]] = []
        try:
            for number in range(2):
                alone = fresh or number >= taken
                slot = await (self._start() if alone else self._obtain())
                self._busy.add(slot)
                held.append((slot, alone))
            self._check_open()
            result = await use(held[0][0], held[1][0])
        except asyncio.CancelledError:
            self._in_background(self._settle_pair(held, taken, fresh=fresh))
            raise
        except BaseException:
            for slot, _ in held:
                slot.reusable = False
            self._give_back_pair(held, taken, fresh=fresh)
            raise
        self._give_back_pair(held, taken, fresh=fresh)
        return result

    async def close(self) -> None:
        """No slot is left, and no run under way: each raises SandboxError. Idempotent."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for slot in list(self._busy):
            self._in_background(slot.close())
        while self._idle:
            self._in_background(self._close_idle(self._idle.popleft()))
        # Whoever holds capacity has a slot, or one on its way, and closes it when it comes.
        for fresh, capacity in ((False, self._size), (True, 2 * self._size)):
            await self._take(capacity, fresh=fresh)
            self._release(capacity, fresh=fresh)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _take(self, count: int, *, fresh: bool) -> None:
        """That much capacity is taken. Cancelled, nothing is."""
        capacity = self._fresh_capacity if fresh else self._capacity
        if count == 1:
            await capacity.acquire()
            return
        async with self._taking:
            for taken in range(count):
                try:
                    await capacity.acquire()
                except BaseException:
                    self._release(taken, fresh=fresh)
                    raise

    def _release(self, count: int, *, fresh: bool) -> None:
        for _ in range(count):
            (self._fresh_capacity if fresh else self._capacity).release()

    async def _start(self) -> Slot:
        """A new slot. Raises SandboxStartError, or SandboxError where the pool is closed."""
        self._check_open()
        try:
            slot = await self._start_slot()
        except SandboxError as error:
            raise SandboxStartError(str(error)) from error
        if self._first is not None and LEVELS.index(slot.isolation) < LEVELS.index(self._first.isolation):
            await slot.close()
            raise SandboxStartError(
                f"a slot came out at isolation {slot.isolation!r} and not {self._first.isolation!r} as the first "
                f"({'; '.join(slot.reasons)})"
            )
        self._pause = RETRY_SECONDS
        while self._missing:  # what kept them from being made is over
            self._missing -= 1
            self._replace()
        return slot

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the slots have been closed")

    async def _obtain(self) -> Slot:
        """An idle slot, or one on its way, or a new one.

        Never one that is known to have died while it was idle: the run would be asked to answer for that death.
        """
        for _ in range(2 * self._size):
            if not self._idle:
                break
            task = self._idle.popleft()
            try:
                slot = await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.cancelled():
                    # Not this call, but the pool that was closed.
                    break
                self._idle.append(task)
                raise
            except SandboxError:
                # Whether another start fails too is to be seen.
                self._miss()
                continue
            if not slot.dead:
                return slot
            self._in_background(slot.close())
            self._replace()
        return await self._start_missing()

    async def _start_missing(self) -> Slot:
        """One of the slots that are missing. Raises as `_start`, and then it still is."""
        self._missing = max(0, self._missing - 1)
        try:
            return await self._start()
        except BaseException:
            self._miss()
            raise

    def _give_back(self, slot: Slot, *, fresh: bool) -> None:
        """The slot is idle again, or on its way out with another on its way in; its capacity is free."""
        self._put_back(slot, fresh=fresh)
        self._release(1, fresh=fresh)

    def _put_back(self, slot: Slot, *, fresh: bool) -> None:
        self._busy.discard(slot)
        if slot.reusable and slot.runs < self._recycle_after and not fresh and not self._closed:
            self._idle.append(_ready(slot))
        else:
            self._in_background(slot.close())
            if not fresh:
                self._replace()

    def _give_back_pair(self, held: list[tuple[Slot, bool]], taken: int, *, fresh: bool) -> None:
        for slot, alone in held:
            self._put_back(slot, fresh=alone)
        self._release(taken, fresh=fresh)

    async def _settle_pair(self, held: list[tuple[Slot, bool]], taken: int, *, fresh: bool) -> None:
        settled = await asyncio.gather(*(slot.settle() for slot, _ in held))
        for (slot, _), well in zip(held, settled, strict=True):
            slot.reusable = well and slot.reusable
        self._give_back_pair(held, taken, fresh=fresh)

    async def _settle(self, slot: Slot, *, fresh: bool) -> None:
        slot.reusable = await slot.settle() and slot.reusable
        self._give_back(slot, fresh=fresh)

    def _replace(self) -> None:
        """A new slot is on its way, among the idle ones."""
        if self._closed:
            return
        task = asyncio.ensure_future(self._start())
        task.add_done_callback(self._replaced)
        self._idle.append(task)

    def _replaced(self, task: asyncio.Task[Slot]) -> None:
        # The exception is retrieved here, so that a failure that nobody waits for is not reported as forgotten.
        if task.cancelled() or (error := task.exception()) is None or self._closed:
            return
        _log.warning("a slot could not be made, and will be tried again: %s", error)
        if task in self._idle:  # whoever waits for it has taken it out
            self._idle.remove(task)
            self._miss()

    def _miss(self) -> None:
        """There is a slot less, until a run or the clock asks for it."""
        if self._closed:
            return
        self._missing += 1
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        """One of the missing slots is on its way; the others follow where it can be made."""
        self._retry = None
        self._pause = min(2 * self._pause, LONGEST_RETRY_SECONDS)
        if self._missing:
            self._missing -= 1
            self._replace()

    async def _close_idle(self, task: asyncio.Task[Slot]) -> None:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            await (await task).close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _ready(slot: Slot) -> asyncio.Task[Slot]:
    """A finished wait for `slot`."""
    future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
    future.set_result(slot)
    return cast("asyncio.Task[Slot]", future)


def check_isolation(level: Isolation, minimum: Isolation, reasons: tuple[str, ...]) -> None:
    """Raises SandboxError where `level` is weaker than `minimum`, with the reasons."""
    if LEVELS.index(level) < LEVELS.index(minimum):
        raise SandboxError(
            f"sandbox.minimum_isolation = {minimum!r} cannot be had here, only {level!r} ({'; '.join(reasons)})"
        )
