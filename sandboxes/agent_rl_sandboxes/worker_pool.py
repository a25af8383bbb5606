"""`WorkerPool`: hands runs to a bounded number of warm workers, and replaces workers that fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, cast

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import Isolation, RunRequest, RunResult
from agent_rl_sandboxes.workers import LEVELS, Worker

RECYCLE_AFTER = 5000
"""Runs after which a worker is replaced. In Docker a new one takes a `docker run` and a `docker exec`: after every 500
runs, these would cost a noticeable share of the time."""
RETRY_SECONDS = 1.0
"""Wait before a worker that could not be made is tried again; doubled each time, up to LONGEST_RETRY_SECONDS."""
LONGEST_RETRY_SECONDS = 30.0
_log = logging.getLogger(__name__)
_Used = TypeVar("_Used")


class WorkerPool:
    """At most `size` runs at a time in warm workers, and besides them runs in fresh workers, each made for one use.

    A worker is replaced after `recycle_after` runs, and after any anomaly or error.

    If a worker cannot be made, the pool retries by itself, one at a time and with growing pauses, until it has them
    all. A run that finds no worker does not wait for that: it tries at once to make one, and fails if it cannot.

    At most `2 * size` fresh workers are in use. They are counted separately: so the honest run by which another run is
    judged (see `agent_rl.judging.blame`) has room beside it, in a pool of one too, and however busy the pool is.
    """

    def __init__(
        self, start_worker: Callable[[], Awaitable[Worker]], size: int, *, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        """`start_worker` makes one worker; it raises SandboxError, and leaves nothing behind if it is cancelled."""
        self._start_worker = start_worker
        self._size = size
        self._recycle_after = recycle_after
        self._capacity = asyncio.Semaphore(size)
        self._fresh_capacity = asyncio.Semaphore(2 * size)
        self._taking = asyncio.Lock()
        self._idle: deque[asyncio.Task[Worker]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._busy: set[Worker] = set()
        self._first: Worker | None = None
        self._missing = 0
        """How many workers could not be made and are not being made now."""
        self._pause = RETRY_SECONDS
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self) -> None:
        """One worker is ready and the others are being made. Raises SandboxError."""
        task = asyncio.ensure_future(self._start())
        self._first = await task
        self._idle.append(task)
        for _ in range(self._size - 1):
            self._replace()

    @property
    def first(self) -> Worker:
        """The worker that `start` made; it knows what was probed: isolation, reasons, version of Python."""
        if self._first is None:
            raise SandboxError("the workers have not been started")
        return self._first

    @property
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as probed."""
        return self.first.isolation

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """The result of one run in a warm worker, or with `fresh` in a worker made for it alone.

        Raises SandboxError; its subclass SandboxStartError if there was no worker to run in.
        """
        capacity = self._fresh_capacity if fresh else self._capacity
        await capacity.acquire()
        try:
            worker = await (self._start() if fresh else self._obtain())
        except BaseException:
            capacity.release()
            raise
        self._busy.add(worker)
        try:
            self._check_open()
            result = await worker.run(request)
        except asyncio.CancelledError:
            # The capacity comes back when the worker does.
            self._in_background(self._settle(worker, fresh=fresh))
            raise
        except BaseException:
            worker.reusable = False
            self._give_back(worker, fresh=fresh)
            raise
        if result.anomalies:
            worker.reusable = False
        self._give_back(worker, fresh=fresh)
        return result

    async def run_pair(self, use: Callable[[Worker, Worker], Awaitable[_Used]], *, fresh: bool = False) -> _Used:
        """What `use` returns for two workers. In a pool of one, the second is made for this call, and closed after it.

        Raises as `run`. Only one caller at a time takes capacity for two, so that no two callers hold one worker each
        and wait for each other.
        """
        taken = 1 if fresh else min(2, self._size)
        await self._take(taken, fresh=fresh)
        held: list[tuple[Worker, bool]] = []
        try:
            for number in range(2):
                alone = fresh or number >= taken
                worker = await (self._start() if alone else self._obtain())
                self._busy.add(worker)
                held.append((worker, alone))
            self._check_open()
            result = await use(held[0][0], held[1][0])
        except asyncio.CancelledError:
            self._in_background(self._settle_pair(held, taken, fresh=fresh))
            raise
        except BaseException:
            for worker, _ in held:
                worker.reusable = False
            self._give_back_pair(held, taken, fresh=fresh)
            raise
        self._give_back_pair(held, taken, fresh=fresh)
        return result

    async def close(self) -> None:
        """No worker is left. Every run that was under way raises SandboxError. Idempotent."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        for worker in list(self._busy):
            self._in_background(worker.close())
        while self._idle:
            self._in_background(self._close_idle(self._idle.popleft()))
        # Whoever holds capacity has a worker or is making one, and closes it: so wait until all capacity is free.
        for fresh, capacity in ((False, self._size), (True, 2 * self._size)):
            await self._take(capacity, fresh=fresh)
            self._release(capacity, fresh=fresh)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _take(self, count: int, *, fresh: bool) -> None:
        """Capacity for `count` workers is taken; none if the call is cancelled."""
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

    async def _start(self) -> Worker:
        """A new worker. Raises SandboxStartError, or SandboxError if the pool is closed."""
        self._check_open()
        try:
            worker = await self._start_worker()
        except SandboxError as error:
            raise SandboxStartError(str(error)) from error
        if self._first is not None and LEVELS.index(worker.isolation) < LEVELS.index(self._first.isolation):
            await worker.close()
            raise SandboxStartError(
                f"a worker came out at isolation {worker.isolation!r} and not {self._first.isolation!r} as the first "
                f"({'; '.join(worker.reasons)})"
            )
        self._pause = RETRY_SECONDS
        while self._missing:  # what kept them from being made is over
            self._missing -= 1
            self._replace()
        return worker

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the workers have been closed")

    async def _obtain(self) -> Worker:
        """An idle worker, or one that is being made, or a new one.

        Never a worker that is known to have died while idle: the run would be blamed for that death.
        """
        for _ in range(2 * self._size):
            if not self._idle:
                break
            task = self._idle.popleft()
            try:
                worker = await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.cancelled():
                    # The pool was closed; this call was not cancelled.
                    break
                self._idle.append(task)
                raise
            except SandboxError:
                # Another start may succeed: go on.
                self._miss()
                continue
            if not worker.dead:
                return worker
            self._in_background(worker.close())
            self._replace()
        return await self._start_missing()

    async def _start_missing(self) -> Worker:
        """One of the missing workers, now made. Raises as `_start`; the worker then still counts as missing."""
        self._missing = max(0, self._missing - 1)
        try:
            return await self._start()
        except BaseException:
            self._miss()
            raise

    def _give_back(self, worker: Worker, *, fresh: bool) -> None:
        """The worker is idle again, or is being closed and replaced; its capacity is free."""
        self._put_back(worker, fresh=fresh)
        self._release(1, fresh=fresh)

    def _put_back(self, worker: Worker, *, fresh: bool) -> None:
        self._busy.discard(worker)
        if worker.reusable and worker.runs < self._recycle_after and not fresh and not self._closed:
            self._idle.append(_ready(worker))
        else:
            self._in_background(worker.close())
            if not fresh:
                self._replace()

    def _give_back_pair(self, held: list[tuple[Worker, bool]], taken: int, *, fresh: bool) -> None:
        for worker, alone in held:
            self._put_back(worker, fresh=alone)
        self._release(taken, fresh=fresh)

    async def _settle_pair(self, held: list[tuple[Worker, bool]], taken: int, *, fresh: bool) -> None:
        settled = await asyncio.gather(*(worker.settle() for worker, _ in held))
        for (worker, _), well in zip(held, settled, strict=True):
            worker.reusable = well and worker.reusable
        self._give_back_pair(held, taken, fresh=fresh)

    async def _settle(self, worker: Worker, *, fresh: bool) -> None:
        worker.reusable = await worker.settle() and worker.reusable
        self._give_back(worker, fresh=fresh)

    def _replace(self) -> None:
        """A new worker is being made, among the idle ones."""
        if self._closed:
            return
        task = asyncio.ensure_future(self._start())
        task.add_done_callback(self._replaced)
        self._idle.append(task)

    def _replaced(self, task: asyncio.Task[Worker]) -> None:
        # The exception is retrieved here, so that asyncio does not log a failure that nobody waits for.
        if task.cancelled() or (error := task.exception()) is None or self._closed:
            return
        _log.warning("a worker could not be made, and will be tried again: %s", error)
        if task in self._idle:  # whoever waits for it has taken it out
            self._idle.remove(task)
            self._miss()

    def _miss(self) -> None:
        """One more worker is missing, until a run or the timer makes it."""
        if self._closed:
            return
        self._missing += 1
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        """One missing worker is being made; once that succeeds, the others follow."""
        self._retry = None
        self._pause = min(2 * self._pause, LONGEST_RETRY_SECONDS)
        if self._missing:
            self._missing -= 1
            self._replace()

    async def _close_idle(self, task: asyncio.Task[Worker]) -> None:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            await (await task).close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _ready(worker: Worker) -> asyncio.Task[Worker]:
    """A finished task whose result is `worker`."""
    future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    future.set_result(worker)
    return cast("asyncio.Task[Worker]", future)


def check_isolation(level: Isolation, minimum: Isolation, reasons: tuple[str, ...]) -> None:
    """Raises SandboxError if `level` is weaker than `minimum`, with the reasons."""
    if LEVELS.index(level) < LEVELS.index(minimum):
        raise SandboxError(
            f"sandbox.minimum_isolation = {minimum!r} is not available here, only {level!r} ({'; '.join(reasons)})"
        )
