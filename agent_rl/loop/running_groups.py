"""The running groups: started as capacity allows, accepted into the buffer, dropped when they are too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from agent_rl.errors import AgentRLError, EnvironmentFailure, InfrastructureError
from agent_rl.loop.buffer import GroupBuffer, staleness
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.dropped_rollouts import DroppedRollouts
from agent_rl.loop.sampler import SampledTask, TaskSampler
from agent_rl.vocabulary import Group

RunGroup = Callable[[SampledTask], Awaitable[Group]]


class RunningGroups:
    """Runs groups concurrently. `fill` starts them, `next_batch` waits for the groups of the next step.

    on_stale "drop": a straggler is cancelled after the learner has waited `straggler_timeout` seconds for it;
    "mask": it continues, and its tokens that are too stale are masked when it is packed.
    """

    def __init__(
        self,
        capacity: Capacity,
        sampler: TaskSampler,
        run_group: RunGroup,
        *,
        straggler_timeout: float,
        on_stale: Literal["drop", "mask"],
        max_failed_share: float,
        smallest_group: int = 2,
        group_size: int = 1,
        on_group: Callable[[], None] = lambda: None,
        on_alarm: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.capacity = capacity
        self.sampler = sampler
        self.buffer = GroupBuffer()
        self.dropped = DroppedRollouts()
        self._run_group = run_group
        self._straggler_timeout = straggler_timeout
        self._on_stale = on_stale
        self._max_failed_share = max_failed_share
        self._smallest_group = smallest_group
        self._group_size = group_size
        self._on_group = on_group
        self._on_alarm = on_alarm
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._closing = False

    async def __aenter__(self) -> RunningGroups:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fill(self) -> None:
        """As many groups run as the capacity allows."""
        while self.capacity.free > 0 and self._failure is None and not self._closing:
            sampled = self.sampler.next()
            self.capacity.start(sampled.index)
            task = asyncio.create_task(self._run(sampled), name=f"group {sampled.index}")
            self._tasks[sampled.index] = task
            # Not a `finally` within the task: a task that is cancelled before its first step never enters its body.
            task.add_done_callback(lambda _, index=sampled.index: self._ended(index))

    async def _run(self, sampled: SampledTask) -> None:
        """Runs one group and accepts it, or stores the error that has to end the run."""
        started = self.capacity.running[sampled.index]
        try:
            group = await self._run_group(sampled)
            self._count(group, started)
        except AgentRLError as error:
            self._failure = error
        except Exception as error:
            failure = EnvironmentFailure(f"group {sampled.index} ({sampled.task.id}): {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._failure = failure
        else:
            if len(group.trajectories) >= self._smallest_group:
                self.capacity.accept(sampled.index)
                self.buffer.add(group, started)
            else:
                self.dropped.reasons["group too small"] += len(group.trajectories)

    def _ended(self, index: int) -> None:
        """Called when group `index` has ended in any way: its capacity is free again unless it was accepted."""
        del self._tasks[index]
        if index in self.capacity.running:
            self.capacity.release(index)
        self._changed.set()
        self._on_group()
        self.fill()

    def _count(self, group: Group, started: int) -> None:
        """Counts the group's dropped rollouts and reports alarms. Raises InfrastructureError when too many failed."""
        for dropped in group.dropped:
            self.dropped.reasons[dropped.boundary or dropped.reason] += 1
            self.dropped.last_error = f"{dropped.boundary or dropped.reason}: {dropped.error}"
        self.dropped.recent.append((group.asked, len(group.dropped)))
        self.dropped.tasks.count(group.task.id, group.asked, len(group.dropped))
        self.dropped.versions.count(started, group.asked, len(group.dropped))
        for alarm in self.dropped.alarms(self._max_failed_share):
            self._on_alarm(alarm)
        full = len(self.dropped.recent) >= 4
        if full and self.dropped.share > self._max_failed_share:
            raise InfrastructureError(
                f"{self.dropped.share:.0%} of the last {sum(a for a, _ in self.dropped.recent)} rollouts failed for "
                f"infrastructure reasons (allowed: loop.max_failed_share = {self._max_failed_share:.0%}); "
                f"the last: {self.dropped.last_error}"
            )

    async def next_batch(self) -> list[Group]:
        """The groups of the next step, all within the bound on staleness (with "mask", some may exceed it).

        Raises the error of a failed group: it ends the run.
        """
        size = self.capacity.groups_per_batch
        waiting_since: float | None = None
        while True:
            if self._failure is not None:
                raise self._failure
            late = self.capacity.stragglers(self.buffer.started_versions())
            timeout: float | None = None
            if len(self.buffer) >= size:
                now = time.monotonic()
                if not late:
                    if waiting_since is not None:
                        self.dropped.straggler_wait += now - waiting_since
                    return self._checked(self.buffer.take(size))
                waiting_since = waiting_since or now
                timeout = waiting_since + self._straggler_timeout - now
                if timeout <= 0:
                    self.dropped.straggler_wait += now - waiting_since
                    if self._on_stale == "mask":
                        return self.buffer.take(size)
                    waiting_since = None
                    await self._drop(late)
                    continue
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _drop(self, groups: list[int]) -> None:
        """Cancels the groups and counts them as too stale; their capacity is free again."""
        tasks = [self._tasks[g] for g in groups if g in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.dropped.reasons["too stale"] += len(tasks) * self._group_size

    def _checked(self, groups: list[Group]) -> list[Group]:
        bound = self.capacity.max_staleness
        for group in groups:
            if self._on_stale == "drop" and staleness(group, self.capacity.version) > bound:
                raise InfrastructureError(
                    f"group {group.index} has staleness {staleness(group, self.capacity.version)}, the bound is {bound}"
                )
        return groups

    def pending(self) -> list[int]:
        """The indices of the groups that are buffered, running, or waiting to be handed out again."""
        return sorted({*self.buffer.indices(), *self._tasks, *self.sampler.again})

    def take_dropped(self) -> DroppedRollouts:
        """The dropped rollouts since the last call."""
        dropped = self.dropped
        self.dropped = dropped.since()
        return dropped
