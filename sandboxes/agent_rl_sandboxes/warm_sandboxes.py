"""`WarmQueue`: makes places for agents' episodes ahead of their first use, only a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, Protocol, TypeVar

from agent_rl.errors import SandboxError


class Place(Protocol):
    """What a queue holds: something that was started, may die, and must be closed."""

    async def alive(self) -> bool:
        """Whether it can be handed out. Raises SandboxError if that cannot be found out."""
        ...

    async def close(self) -> None:
        """It is gone. Never raises SandboxError."""
        ...


K = TypeVar("K", bound=Hashable)
P = TypeVar("P", bound=Place)

IDLE_SECONDS = 300.0
"""A place that nobody takes is ended after this long."""
_KINDS = 8
"""How many kinds of place are kept ready: the most recently used."""


class WarmQueue(Generic[K, P]):
    """Hands out places, each once. Of each recently taken kind, `ready` more are ready or being made.

    At most `concurrent` places are being made at any moment, whoever asked for them. A place that died while it waited
    is never handed out; a place that has waited for `idle_seconds` is ended.
    """

    def __init__(
        self, start: Callable[[K], Awaitable[P]], *, ready: int, concurrent: int, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        """`start` makes a place; it raises SandboxError, and leaves nothing behind if it is cancelled."""
        self._start = start
        self._ready = ready
        self._idle_seconds = idle_seconds
        self._starts = asyncio.Semaphore(concurrent)
        self._waiting: OrderedDict[K, deque[asyncio.Task[P]]] = OrderedDict()
        self._under_way: set[asyncio.Task[P]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._ages: dict[asyncio.Task[P], asyncio.TimerHandle] = {}
        self._closed = False

    async def take(self, kind: K) -> P:
        """A place that nobody has used, ready or made now. Raises SandboxError if none can be made."""
        task = self._waiting_task(kind)
        own = None if task is not None else self._make(kind)
        # Only once, not in the loop: places added behind must not keep this call going.
        self._top_up(kind)
        while task is not None:
            try:
                place = await self._result(kind, task)
            except SandboxError:
                # Its start failed while nobody waited. Another start may succeed.
                break
            if await self._is_alive(place, task):
                return place
            self._dispose(task)
            task = self._waiting_task(kind)
        return await self._result(kind, own or self._make(kind))

    async def close(self) -> None:
        """Every place that was not handed out is gone, and none is being made. Idempotent."""
        self._closed = True
        for waiting in self._waiting.values():
            for task in waiting:
                self._dispose(task)
        self._waiting.clear()
        for task in tuple(self._under_way):
            task.cancel()
        while self._ending or self._under_way:
            await asyncio.gather(*self._ending, *self._under_way, return_exceptions=True)

    def _of(self, kind: K) -> deque[asyncio.Task[P]]:
        """The waiting places of `kind`, now the latest used kind; the places of the kind used longest ago are ended."""
        waiting = self._waiting.setdefault(kind, deque())
        self._waiting.move_to_end(kind)
        while len(self._waiting) > _KINDS:
            _, forgotten = self._waiting.popitem(last=False)
            for task in forgotten:
                self._dispose(task)
        return waiting

    def _top_up(self, kind: K) -> None:
        waiting = self._of(kind)
        while len(waiting) < self._ready:
            waiting.append(task := self._make(kind))
            task.add_done_callback(lambda done: self._wait_for_age(kind, done))

    def _make(self, kind: K) -> asyncio.Task[P]:
        """The task that makes a new place. Raises SandboxError if the queue is closed."""
        self._check_open()
        task = asyncio.ensure_future(self._bounded_start(kind))
        self._under_way.add(task)
        task.add_done_callback(self._made)
        return task

    def _made(self, task: asyncio.Task[P]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # Retrieved here, so that asyncio does not log a failure that nobody waits for.
            task.exception()

    async def _bounded_start(self, kind: K) -> P:
        async with self._starts:
            return await self._start(kind)

    def _waiting_task(self, kind: K) -> asyncio.Task[P] | None:
        """The place of `kind` that has waited longest, or is on its way; None if there is none."""
        waiting = self._of(kind)
        if not waiting:
            return None
        task = waiting.popleft()
        self._forget_age(task)
        return task

    async def _result(self, kind: K, task: asyncio.Task[P]) -> P:
        """The place that `task` makes. Raises SandboxError."""
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                # The queue was closed; this call was not cancelled.
                self._check_open()
            self._put_back(kind, task)
            raise

    async def _is_alive(self, place: P, task: asyncio.Task[P]) -> bool:
        try:
            return await place.alive()
        except SandboxError:
            return False
        except asyncio.CancelledError:
            self._dispose(task)
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("no more sandboxes are made: their provider is closed")

    def _put_back(self, kind: K, task: asyncio.Task[P]) -> None:
        """A place whose taker went away waits for another, if there is room."""
        waiting = self._waiting.get(kind)
        if self._closed or waiting is None or len(waiting) >= self._ready:
            self._dispose(task)
            return
        waiting.appendleft(task)
        if task.done():
            self._wait_for_age(kind, task)
        else:
            task.add_done_callback(lambda done: self._wait_for_age(kind, done))

    def _wait_for_age(self, kind: K, task: asyncio.Task[P]) -> None:
        """A place that still waits after `idle_seconds` is ended; one that could not be made is forgotten now."""
        waiting = self._waiting.get(kind)
        if waiting is None or task not in waiting:
            return
        if task.cancelled() or task.exception() is not None:
            waiting.remove(task)
            return
        self._forget_age(task)
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._age_out, kind, task)
        self._ages[task] = timer

    def _age_out(self, kind: K, task: asyncio.Task[P]) -> None:
        waiting = self._waiting.get(kind)
        if waiting is not None and task in waiting:
            waiting.remove(task)
            self._dispose(task)

    def _forget_age(self, task: asyncio.Task[P]) -> None:
        if (timer := self._ages.pop(task, None)) is not None:
            timer.cancel()

    def _dispose(self, task: asyncio.Task[P]) -> None:
        self._forget_age(task)
        task.cancel()
        self._in_background(self._end(task))

    async def _end(self, task: asyncio.Task[P]) -> None:
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            await (await task).close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        ending = asyncio.ensure_future(work)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
