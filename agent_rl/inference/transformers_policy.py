"""The policy on a transformers model: asyncio in front, one engine thread behind.

Calls go to the engine's thread through a queue, which the thread empties between two steps. The results of a step
return to the event loop in one call.
"""

from __future__ import annotations

import asyncio
import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from agent_rl.contracts.policy import GenerateRequest, Generation, Policy, PolicyStatus, WeightManifest
from agent_rl.errors import AgentRLError, PolicyError
from agent_rl.inference.engine_model import ForwardKind, load_forward
from agent_rl.inference.forward import Forward
from agent_rl.inference.request_rows import Job
from agent_rl.inference.scheduler import BatchingEngine, EngineLimits
from agent_rl.inference.session_ids import SessionIds
from agent_rl.weights.receive import receive


@dataclass(eq=False, slots=True)
class _Command:
    """A function for the engine's thread to call between two steps; `future` gets its result."""

    run: Callable[[BatchingEngine], Any]
    future: asyncio.Future[Any]


@dataclass(eq=False, slots=True)
class _Arrivals:
    """Jobs that are admitted together, and the future of each."""

    jobs: list[Job]
    futures: list[asyncio.Future[Generation]]


class TransformersPolicy(Policy):
    """Serves a decoder-only transformers model with continuous batching.

    `deterministic`: one `generate` or `generate_batch` at a time, so that batches depend only on the order of calls;
    two engines that get the same calls give bitwise equal answers. `renew_after`: see `EngineLimits`; pass `limits` to
    set all of its fields.
    """

    def __init__(
        self,
        model_path: str,
        *,
        version: int = 0,
        precision: str = "float32",
        device: str = "auto",
        max_batch: int = 512,
        deterministic: bool = False,
        renew_after: int | None = None,
        limits: EngineLimits | None = None,
        forward: ForwardKind = "auto",
    ) -> None:
        """Raises ConfigError if the model cannot be loaded or served."""
        self._forward: Forward = load_forward(model_path, precision=precision, device=device, kind=forward)
        self._engine = BatchingEngine(
            self._forward, limits or EngineLimits(max_batch=max_batch, renew_after=renew_after), version
        )
        self._deterministic = deterministic
        self._threads = torch.get_num_threads()
        self._sessions = SessionIds()
        self._prepared: tuple[int, Any] | None = None
        self._inbox: deque[_Command | _Arrivals] = deque()
        self._urgent: deque[_Command | _Arrivals] = deque()
        self._cancelled: deque[Job] = deque()
        self._awake = threading.Event()
        self._stopped = False
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._futures: dict[Job, asyncio.Future[Generation]] = {}
        self._thread = threading.Thread(target=self._work, name="transformers engine", daemon=True)

    async def generate(self, request: GenerateRequest) -> Generation:
        (generation,) = await self.generate_batch([request])
        return generation

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        now = time.monotonic()
        whole = [self._sessions.begin(r) for r in requests]
        jobs = [Job(r, math.inf if r.deadline is None else now + r.deadline) for r in whole]
        for job, request in zip(jobs, requests, strict=True):
            self._engine.check(job, request.prompt_ids)
        loop = self._running_loop()
        futures: list[asyncio.Future[Generation]] = [loop.create_future() for _ in jobs]
        self._put(_Arrivals(jobs, futures), self._inbox)
        try:
            generations = [await future for future in futures]
            for request, generation in zip(whole, generations, strict=True):
                self._sessions.answered(request, generation)
            return generations
        except BaseException:
            for job, future in zip(jobs, futures, strict=True):
                if not future.done() or future.cancelled():
                    self._cancelled.append(job)
                future.cancel()
            self._awake.set()
            raise

    async def score(self, ids: Sequence[int]) -> list[float]:
        if not ids:
            raise ValueError("there are no ids to score")
        return await self._do(lambda engine: engine.score(ids))

    async def end_session(self, session: str) -> None:
        self._sessions.end(session)
        await self._do(lambda engine: engine.end_session(session))

    async def prepare_update(self, manifest: WeightManifest) -> None:
        prepared = await asyncio.to_thread(lambda: self._forward.prepare(receive(manifest)))
        self._prepared = manifest.version, prepared

    async def finish_update(self, version: int) -> None:
        if self._prepared is None or self._prepared[0] != version:
            ready = "none" if self._prepared is None else self._prepared[0]
            raise PolicyError(f"version {version} has not been prepared (prepared: {ready})")
        _, prepared = self._prepared
        self._prepared = None
        await self._do(lambda engine: engine.swap(prepared, version))

    async def sleep(self) -> None:
        await self._do(lambda engine: engine.sleep())

    async def wake(self) -> None:
        await self._do(lambda engine: engine.wake())

    async def status(self) -> PolicyStatus:
        return await self._do(lambda engine: engine.status(), at_once=True)

    async def close(self) -> None:
        """The engine's thread has ended; pending calls raise PolicyError. Idempotent."""
        await asyncio.to_thread(self._end_thread)
        atexit.unregister(self._end_thread)
        await asyncio.sleep(0)

    def _end_thread(self) -> None:
        self._stopped = True
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()

    async def _do(self, run: Callable[[BatchingEngine], Any], *, at_once: bool = False) -> Any:
        """The result of `run` on the engine's thread, after all earlier calls, or before them if `at_once`."""
        future = self._running_loop().create_future()
        self._put(_Command(run, future), self._urgent if at_once else self._inbox)
        return await future

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that this policy serves: the loop of the first call. That call starts the engine's thread."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._thread.start()
            atexit.register(self._end_thread)  # torch aborts if the interpreter ends during its thread
        if loop is not self._loop:
            raise RuntimeError("a policy serves one event loop")
        return loop

    def _put(self, item: _Command | _Arrivals, queue: deque[_Command | _Arrivals]) -> None:
        if self._error is not None:
            raise PolicyError(f"the engine has failed: {self._error}") from self._error
        if self._stopped:
            raise PolicyError("the engine is closed")
        queue.append(item)
        self._awake.set()

    def _work(self) -> None:
        """The engine's thread: runs until it is stopped or fails."""
        torch.set_num_threads(self._threads)  # the setting is per thread
        try:
            with torch.inference_mode():
                while not self._stopped:
                    self._take()
                    finished = self._engine.step()
                    self._deliver([(self._futures.pop(job), generation) for job, generation in finished])
                    if self._engine.idle and not self._ready():
                        self._wait()
        except BaseException as error:
            self._error = error
        message = "the engine is closed" if self._error is None else f"the engine has failed: {self._error}"
        left = list(self._futures.values())
        while self._urgent or self._inbox:
            item = (self._urgent or self._inbox).popleft()
            left += [item.future] if isinstance(item, _Command) else item.futures
        cause = self._error if isinstance(self._error, AgentRLError) else None
        self._deliver([(future, _failure(message, self._error, cause)) for future in left])

    def _take(self) -> None:
        """Every call that arrived since the last step is started or done."""
        while self._cancelled:
            job = self._cancelled.popleft()
            if self._futures.pop(job, None) is not None:
                self._engine.cancel(job)
            else:
                job.over = True  # the job is still in the inbox, or has already ended
        done: list[tuple[asyncio.Future[Any], Any]] = []
        while self._ready():
            item = (self._urgent or self._inbox).popleft()
            if isinstance(item, _Arrivals):
                for job, future in zip(item.jobs, item.futures, strict=True):
                    if not job.over:
                        self._futures[job] = future
                        self._engine.submit(job)
                continue
            try:
                done.append((item.future, item.run(self._engine)))
            except Exception as error:
                done.append((item.future, error))
        self._deliver(done)

    def _ready(self) -> bool:
        """Whether the next item of the inbox may be taken now."""
        if self._urgent or not self._inbox:
            return bool(self._urgent)
        return not self._deterministic or not self._futures

    def _wait(self) -> None:
        """Returns when a call arrives or a deadline passes."""
        until = self._engine.next_deadline
        self._awake.wait(None if until == math.inf else max(0.0, until - time.monotonic()))
        self._awake.clear()

    def _deliver(self, outcomes: list[tuple[asyncio.Future[Any], Any]]) -> None:
        """One call on the event loop sets the futures' results and errors."""
        if outcomes and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, outcomes)


def _resolve(outcomes: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _failure(message: str, error: BaseException | None, cause: AgentRLError | None) -> PolicyError:
    failure = PolicyError(message if cause is None else str(cause))
    failure.__cause__ = error
    return failure
