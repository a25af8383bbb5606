"""Capacity never leaks and the bound on staleness holds, whatever is dropped, late, failed or cancelled."""

from __future__ import annotations

import asyncio
import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_rl.errors import InfrastructureError
from agent_rl.loop.buffer import staleness
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.running_groups import RunningGroups
from agent_rl.loop.sampler import SampledTask, TaskSampler
from agent_rl.vocabulary import Group
from tests.unit.loop.fakes import group, source


def test_capacity_is_the_formula_of_the_design() -> None:
    # (max_staleness + version + 1) * groups_per_batch - (accepted + running) = (1 + 0 + 1) * 4 - 0 = 8
    capacity = Capacity(groups_per_batch=4, max_staleness=1)
    assert capacity.free == 8
    for index in range(8):
        capacity.start(index)
    with pytest.raises(RuntimeError, match="free=0"):
        capacity.start(8)
    capacity.accept(0)
    assert capacity.free == 0, "an accepted group keeps its place"
    capacity.release(1)
    assert capacity.free == 1, "a dropped one gives it back"
    capacity.version = 1
    assert capacity.free == 5


def test_no_group_starts_that_no_step_will_need() -> None:
    # Of 3 steps of 4 groups, version 2 is the last to be made: 12 groups in all, although (1 + 2 + 1) * 4 = 16.
    capacity = Capacity(groups_per_batch=4, max_staleness=1, version=2, steps=3, accepted=8)
    assert capacity.free == 4


def test_a_group_that_started_too_long_ago_is_a_straggler_before_the_step_that_would_age_it() -> None:
    capacity = Capacity(groups_per_batch=1, max_staleness=1)
    capacity.start(0)
    assert capacity.stragglers() == []
    capacity.version = 1
    # After the next step the version is 2, and 2 - 0 exceeds 1.
    assert capacity.stragglers() == [0]


def test_groups_that_no_later_step_can_take_in_time_are_stragglers_too() -> None:
    # Three groups of version 0 (max_staleness 2: steps 0, 1 and 2 can take them). Step 0 took group 0. At version 1 the
    # newer group 3 alone is ready: a step with it would leave groups 1 and 2 to the one step at version 2.
    capacity = Capacity(groups_per_batch=1, max_staleness=2)
    for index in range(3):
        capacity.start(index)
    capacity.accept(0)
    capacity.version = 1
    assert capacity.stragglers(buffered=[1]) == [1]
    # Where one of the two is ready, the step takes it.
    capacity.accept(1)
    assert capacity.stragglers(buffered=[0, 1]) == []


async def test_a_step_waits_for_groups_of_which_too_many_would_be_left() -> None:
    capacity = Capacity(groups_per_batch=1, max_staleness=2)
    slow = asyncio.Event()

    async def run_group(sampled: SampledTask) -> Group:
        version = capacity.version
        if sampled.index in (1, 2):
            await slow.wait()
        return group(sampled, version=version)

    running = RunningGroups(
        capacity,
        TaskSampler([source()], seed=0),
        run_group,
        straggler_timeout=60.0,
        on_stale="drop",
        max_failed_share=1.0,
    )
    taken: list[int] = []
    async with running:
        for version in range(5):
            capacity.version = version
            running.fill()
            batch = asyncio.create_task(running.next_batch())
            await asyncio.sleep(0.01)
            if version == 1:
                assert not batch.done(), "group 3 is ready, and groups 1 and 2 run"
                slow.set()
            taken += [g.index for g in await batch]
    assert taken == [0, 1, 2, 3, 4]
    assert not running.dropped.reasons


class World:
    """A run of the loop in a virtual event loop's time: episodes of log-normal length, a step that takes a second."""

    def __init__(self, seed: int, max_staleness: int, mishaps: float, straggler_timeout: float) -> None:
        self.random = random.Random(seed)
        self.mishaps = mishaps
        self.version = 0
        self.sampled: list[float] = []
        self.accepted: list[float] = []
        self.lengths: dict[int, float] = {}
        self.capacity = Capacity(groups_per_batch=4, max_staleness=max_staleness)
        self.running = RunningGroups(
            self.capacity,
            TaskSampler([source()], seed=seed),
            self.run_group,
            straggler_timeout=straggler_timeout,
            on_stale="drop",
            max_failed_share=1.0,
        )

    async def run_group(self, sampled: SampledTask) -> Group:
        version = self.capacity.version
        length = self.random.lognormvariate(0.0, 1.0)
        self.sampled.append(length)
        self.lengths[sampled.index] = length
        await asyncio.sleep(length * 0.001)
        mishap = self.random.random()
        if mishap < self.mishaps / 2:
            return group(sampled, version=version, survivors=0)
        if mishap < self.mishaps:
            return group(sampled, version=version, survivors=1)
        return group(sampled, version=version)

    async def steps(self, count: int) -> None:
        async with self.running:
            for _ in range(count):
                self.running.fill()
                self.check()
                groups = await self.running.next_batch()
                assert len(groups) == 4
                for g in groups:
                    assert staleness(g, self.capacity.version) <= self.capacity.max_staleness
                    self.accepted.append(self.lengths[g.index])
                if self.random.random() < self.mishaps and self.running._tasks:
                    self.random.choice(list(self.running._tasks.values())).cancel()
                await asyncio.sleep(0.001)
                self.capacity.version += 1
                self.check()
        assert not self.capacity.running, "nothing runs after the end"
        consumed = self.capacity.version * 4
        assert self.capacity.accepted == consumed + len(self.running.buffer)

    def check(self) -> None:
        assert self.capacity.free >= 0
        bound = (self.capacity.max_staleness + self.capacity.version + 1) * 4
        assert self.capacity.accepted + len(self.capacity.running) <= bound


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    max_staleness=st.integers(0, 3),
    mishaps=st.sampled_from([0.0, 0.1, 0.4]),
    straggler_timeout=st.sampled_from([0.0, 0.002, 10.0]),
)
def test_capacity_never_leaks_and_the_bound_holds(
    seed: int, max_staleness: int, mishaps: float, straggler_timeout: float
) -> None:
    world = World(seed, max_staleness, mishaps, straggler_timeout)
    asyncio.run(world.steps(12))


def test_accepted_lengths_have_the_distribution_of_the_sampled_ones() -> None:
    """With a straggler timeout that lets long episodes end, being long is no reason to be dropped.

    400 accepted of log-normal(0, 1): the standard error of the mean log-length is 1 / 20; four of them are allowed.
    """
    world = World(seed=3, max_staleness=1, mishaps=0.0, straggler_timeout=10.0)
    asyncio.run(world.steps(100))
    assert len(world.accepted) == 400
    assert abs(fmean(map(math.log, world.accepted))) < 4 / 20
    long = sum(length > math.exp(1.0) for length in world.accepted) / 400
    # P(log-normal > e) = P(normal > 1) = 0.159, with a standard error of 0.018.
    assert abs(long - 0.159) < 4 * 0.018
    # Whatever was not accepted was still under way or buffered at the end, never dropped.
    assert not world.running.dropped.reasons


async def test_a_straggler_is_waited_for_and_only_then_dropped() -> None:
    capacity = Capacity(groups_per_batch=1, max_staleness=0)
    release = asyncio.Event()
    versions: list[int] = []

    async def run_group(sampled: SampledTask) -> Group:
        versions.append(sampled.index)
        if sampled.index == 0:
            await release.wait()
        return group(sampled, version=capacity.version)

    running = RunningGroups(
        capacity,
        TaskSampler([source()], seed=0),
        run_group,
        straggler_timeout=0.05,
        on_stale="drop",
        max_failed_share=1.0,
    )
    async with running:
        # Two groups run: one that never ends, and (by lending capacity) one that ends at once.
        running.fill()
        capacity.groups_per_batch = 2
        running.fill()
        capacity.groups_per_batch = 1
        batch = await running.next_batch()
        assert [g.index for g in batch] == [1]
        assert running.take_dropped().reasons == {"too stale": 1}
        assert capacity.accepted == 1
        assert not capacity.running


async def test_dropped_rollouts_beyond_the_allowed_share_end_the_run_and_name_the_cause() -> None:
    capacity = Capacity(groups_per_batch=2, max_staleness=1)

    async def run_group(sampled: SampledTask) -> Group:
        return group(sampled, version=0, survivors=0)

    running = RunningGroups(
        capacity,
        TaskSampler([source()], seed=0),
        run_group,
        straggler_timeout=1.0,
        on_stale="drop",
        max_failed_share=0.5,
    )
    async with running:
        running.fill()
        with pytest.raises(InfrastructureError, match=r"100% of the last 8 rollouts.*sandbox: died"):
            await running.next_batch()
    assert not capacity.running


def test_the_sampler_depends_on_the_index_alone() -> None:
    first = TaskSampler([source(8)], seed=1)
    handed_out = [first.next().task.id for _ in range(24)]
    again = TaskSampler([source(8)], seed=1)
    assert [again.at(i).task.id for i in range(24)] == handed_out
    for epoch in range(3):
        assert sorted(handed_out[8 * epoch : 8 * epoch + 8]) == [f"t{i}" for i in range(8)]
    assert handed_out[:8] != handed_out[8:16], "epochs are shuffled anew"


def test_environments_take_turns_by_weight() -> None:
    sampler = TaskSampler([source(4, "a", 3.0), source(4, "b", 1.0)], seed=0)
    names = [sampler.next().source.name for _ in range(40)]
    assert names.count("a") == 30
    assert names[:4].count("b") == 1
