"""Restarts roles that die, brings them to the current version, and repeats their requests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from agent_rl.contracts import (
    Batch,
    GenerateRequest,
    Generation,
    Learner,
    LossFigures,
    LossPlan,
    OptimizerStep,
    Policy,
    PolicyStatus,
    StepReport,
    WeightManifest,
)
from agent_rl.contracts.learner import Wanted
from agent_rl.errors import LearnerError, PolicyError
from agent_rl.launch.colocated import afterwards

T = TypeVar("T")


class Process(Protocol):
    """The part of a role's process that a supervisor uses."""

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    def kill(self) -> None: ...

    async def stop(self) -> None: ...


StartPolicy = Callable[[str, int], Awaitable[tuple[Process, Policy]]]
"""(model folder, its version) -> a running policy."""
StartLearner = Callable[[], Awaitable[tuple[Process, Learner]]]
DeviceFree = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a block within which only the learner uses its device."""


class SupervisedPolicy(Policy):
    """A policy whose process is replaced when it dies or hangs. Draws are keyed: a repeated request samples the same.

    `heartbeat_timeout`: seconds within which the process must answer a status request; otherwise it is killed.
    """

    def __init__(
        self,
        start: StartPolicy,
        model: str,
        version: int,
        *,
        max_restarts: int,
        say: Callable[[str], None],
        heartbeat_timeout: float = 120.0,
    ) -> None:
        self._start = start
        self._model = (model, version)
        self._manifest: WeightManifest | None = None
        self._restarts_left = max_restarts
        self._say = say
        self._lock = asyncio.Lock()
        self._generation = 0
        self._process: Process | None = None
        self._policy: Policy | None = None
        self._last_failure: PolicyError | None = None
        """Why the last restart failed."""
        self._heartbeat_timeout = heartbeat_timeout
        self._heart: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._changing = 0
        """Updates, sleeps and wakes in progress: during these the engine need not answer status requests."""
        self._closed = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process id of the process that serves now; None before `open`."""
        return None if self._process is None else self._process.pid

    async def open(self) -> None:
        """The policy serves."""
        self._process, self._policy = await self._start(*self._model)
        self._heart = asyncio.create_task(self._watch_heart(), name="the policy's heartbeat")

    async def _watch_heart(self) -> None:
        """Kills a process that lives but does not answer, so that it is replaced like one that died."""
        while True:
            await asyncio.sleep(self._heartbeat_timeout / 4)
            policy, process = self._policy, self._process
            if self._lock.locked() or self._changing or policy is None or process is None or not process.alive:
                continue
            try:
                async with asyncio.timeout(self._heartbeat_timeout):
                    await policy.status()
            except TimeoutError:
                if self._changing:
                    continue
                self._say(f"the policy has not answered for {self._heartbeat_timeout:g} s: it is killed")
                process.kill()
            except PolicyError as error:
                if process.alive and not self._changing:  # its engine has failed; calls notice a dead process
                    self._say(f"the policy's process lives, but not its engine: it is killed ({error})")
                    process.kill()

    def base(self, model: str, version: int) -> None:
        """From now on a restart begins with the weights in `model`, whose version is `version`."""
        self._model = (model, version)

    async def close(self) -> None:
        """The process is gone, and calls still waiting for it fail."""
        self._closed = True
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        if self._process is not None:
            await self._process.stop()

    async def _call(self, call: Callable[[Policy], Awaitable[T]]) -> T:
        while True:
            generation, policy = self._generation, self._policy
            assert policy is not None, "open() comes first"
            try:
                return await call(policy)
            except PolicyError as error:
                await self._healed(generation, error)

    async def _healed(self, generation: int, error: PolicyError) -> None:
        """A policy serves again. Raises `error` when the process is alive (it has not died) or dies too often."""
        async with self._lock:
            if generation != self._generation:
                return  # Another call has already restarted it.
            assert self._process is not None
            if self._process.alive or self._closed:
                raise error
            await self._awake.wait()  # if it died asleep, the learner uses the device now
            if self._restarts_left <= 0:
                last = self._last_failure or error
                raise PolicyError(f"the policy died more often than policy.max_restarts allows; the last: {last}")
            self._restarts_left -= 1
            self.restarts += 1
            self._say(f"the policy died and is started again ({error})")
            await self._process.stop()
            try:
                self._process, self._policy = await self._current()
            except PolicyError as failure:
                self._last_failure = failure
                raise
            self._generation += 1

    async def _current(self) -> tuple[Process, Policy]:
        """A new process that serves the version of the last update; no call has used it yet."""
        model, version = self._model
        process, policy = await self._start(model, version)
        try:
            manifest = self._manifest
            if manifest is not None and manifest.version > version:
                await policy.prepare_update(manifest)
                await policy.finish_update(manifest.version)
        except BaseException:
            await process.stop()
            raise
        return process, policy

    async def generate(self, request: GenerateRequest) -> Generation:
        if request.deadline is None:
            return await self._call(lambda policy: policy.generate(request))
        until = time.monotonic() + request.deadline

        async def generate(policy: Policy) -> Generation:
            return await policy.generate(replace(request, deadline=max(0.0, until - time.monotonic())))

        return await self._call(generate)

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return await self._call(lambda policy: policy.generate_batch(requests))

    async def score(self, ids: Sequence[int]) -> list[float]:
        return await self._call(lambda policy: policy.score(ids))

    async def end_session(self, session: str) -> None:
        if self._policy is not None:
            with contextlib.suppress(PolicyError):  # a dead process holds no session: no reason to restart it
                await self._policy.end_session(session)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        await self._change(lambda policy: policy.prepare_update(manifest))
        self._manifest = manifest

    async def finish_update(self, version: int) -> None:
        manifest = self._manifest
        assert manifest is not None and manifest.version == version, "prepare_update comes first"

        async def finish(policy: Policy) -> None:
            # A policy restarted since `prepare_update` has already loaded the new weights.
            if (await policy.status()).version != version:
                await policy.finish_update(version)

        await self._change(finish)

    async def sleep(self) -> None:
        await self._change(lambda policy: policy.sleep())
        self._awake.clear()

    async def wake(self) -> None:
        self._awake.set()
        await self._change(lambda policy: policy.wake())

    async def _change(self, call: Callable[[Policy], Awaitable[None]]) -> None:
        self._changing += 1
        try:
            await self._call(call)
        finally:
            self._changing -= 1

    async def status(self) -> PolicyStatus:
        return await self._call(lambda policy: policy.status())


class SupervisedLearner(Learner):
    """A learner whose process is replaced when it dies: the new one loads the last checkpoint and repeats later steps.

    A learner that shares its device sleeps at times. Work that needs the device then, such as a restart, is done in a
    `device_free` block.
    """

    _MAX_REPLAY = 8

    def __init__(
        self,
        start: StartLearner,
        *,
        max_restarts: int,
        say: Callable[[str], None],
        device_free: DeviceFree = nullcontext,
    ) -> None:
        self._start = start
        self._device_free = device_free
        self._asleep = False
        self._restarts_left = max_restarts
        self._say = say
        self._process: Process | None = None
        self._learner: Learner | None = None
        self._version = 0
        self._checkpoint: Path | None = None
        self._since: list[tuple[Batch, LossPlan]] = []
        """The steps since the checkpoint."""
        self.restarts = 0

    async def open(self, checkpoint: Path | None, version: int) -> None:
        """The learner is ready, with the state of `checkpoint` (None: the starting model)."""
        self._checkpoint, self._version = checkpoint, version
        await self._begin()

    async def _begin(self) -> None:
        self._process, self._learner = await self._start()
        if self._checkpoint is not None:
            await self._learner.load(str(self._checkpoint))
        for batch, plan in self._since:
            await self._learner.step(batch, plan)

    async def close(self) -> None:
        """The process is gone."""
        if self._process is not None:
            await self._process.stop()

    async def _call(self, call: Callable[[Learner], Awaitable[T]]) -> T:
        while True:
            assert self._learner is not None and self._process is not None, "open() comes first"
            try:
                return await call(self._learner)
            except LearnerError as error:
                if self._process.alive:
                    raise
                await self._heal(error)

    async def _heal(self, error: LearnerError) -> None:
        """A learner with the lost state runs again. Raises LearnerError when that fails."""
        if len(self._since) > self._MAX_REPLAY:
            raise LearnerError(
                f"the learner died {len(self._since)} steps after the last checkpoint, too many to take again: "
                f"go on from there with --resume ({error})"
            )
        if self._restarts_left <= 0:
            raise LearnerError(f"the learner died more often than learner.max_restarts allows; the last: {error}")
        self._restarts_left -= 1
        self.restarts += 1
        self._say(f"the learner died and is started again from {self._checkpoint or 'the starting model'} ({error})")
        assert self._process is not None
        await self._process.stop()
        if not self._asleep:
            await self._begin()
            return
        async with self._device_free():
            await self._begin()
            assert self._learner is not None
            await self._learner.sleep()

    @asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """The learner has the device within the block. If it slept before, it sleeps again afterwards, even on failure.

        A learner that was awake stays awake; on its own device it always is.
        """
        if not self._asleep:
            yield
            return
        async with self._device_free():
            await self.wake()
            async with afterwards(self.sleep):
                yield

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        report = await self._call(lambda learner: learner.step(batch, plan))
        self._version = report.version
        self._since.append((batch, plan))
        if len(self._since) > self._MAX_REPLAY:
            # Too many steps to repeat: only the number of batches is still needed.
            self._since[-1] = Batch(batch.step, ()), plan
        return report

    async def forward_backward(self, batch: Batch, plan: LossPlan) -> LossFigures:
        """Raises LearnerError: a part of a step could not be repeated after the learner's death."""
        raise LearnerError("a supervised learner takes whole steps only")

    async def optim_step(self, *, last: bool = True) -> OptimizerStep:
        """Raises LearnerError: see `forward_backward`."""
        raise LearnerError("a supervised learner takes whole steps only")

    async def publish(self, version: int) -> WeightManifest:
        return await self._call(lambda learner: learner.publish(version))

    async def forward(self, batch: Batch, wanted: Wanted = "logprobs") -> list[list[list[float]]]:
        async with self.awake():
            return await self._call(lambda learner: learner.forward(batch, wanted))

    async def save(self, path: str) -> None:
        await self._call(lambda learner: learner.save(path))
        self._checkpoint, self._since = Path(path), []

    def moved(self, checkpoint: Path) -> None:
        """The last saved state now lies in `checkpoint`: a restart begins there."""
        self._checkpoint = checkpoint

    async def load(self, path: str) -> None:
        await self._call(lambda learner: learner.load(path))

    async def sleep(self) -> None:
        await self._call(lambda learner: learner.sleep())
        self._asleep = True

    async def wake(self) -> None:
        self._asleep = False  # the caller has freed the device, so a dead learner can be replaced at once
        await self._call(lambda learner: learner.wake())
