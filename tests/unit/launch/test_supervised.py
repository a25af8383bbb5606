"""Roles that die are started again, brought to the current version, and their requests are issued again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent_rl.contracts import (
    Batch,
    GenerateRequest,
    Generation,
    LossPlan,
    PolicyStatus,
    SamplingParams,
    StepReport,
    WeightManifest,
)
from agent_rl.errors import LearnerError, PolicyError
from agent_rl.launch.supervised_roles import SupervisedLearner, SupervisedPolicy
from agent_rl.testing.contracts.learner_contract import PLAN
from agent_rl.testing.scripted_policy import ScriptedPolicy


@dataclass
class FakeProcess:
    alive: bool = True
    stopped: int = 0
    pid: int = 0

    def kill(self) -> None:
        self.alive = False

    async def stop(self) -> None:
        self.stopped += 1


@dataclass
class Fleet:
    """Starts policies that die at their `dies_at`-th request, the first `deaths` of them."""

    deaths: int
    dies_at: int = 1
    started: list[tuple[str, int]] = field(default_factory=list)
    updates: list[tuple[int, int]] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)
    before_update: Callable[[], Awaitable[object]] | None = None
    on_request: Callable[[GenerateRequest], None] = lambda request: None

    async def start(self, model: str, version: int):
        number = len(self.started)
        self.started.append((model, version))
        process = FakeProcess()
        self.processes.append(process)
        fleet = self

        class Mortal(ScriptedPolicy):
            served = 0

            async def generate(self, request: GenerateRequest) -> Generation:
                self.served += 1
                fleet.on_request(request)
                if number < fleet.deaths and self.served == fleet.dies_at:
                    process.alive = False
                if not process.alive:
                    raise PolicyError("policy died (killed by SIGKILL)")
                return await super().generate(request)

            async def finish_update(self, version: int) -> None:
                if number and fleet.before_update is not None:
                    await fleet.before_update()
                fleet.updates.append((number, version))
                await super().finish_update(version)

        return process, Mortal(lambda request: (5, 6, 7))


REQUEST = GenerateRequest((1, 2), SamplingParams(max_tokens=8), (0, 0, 0, 0), "s")


def supervised(fleet: Fleet, max_restarts: int = 3) -> SupervisedPolicy:
    return SupervisedPolicy(fleet.start, "model", 0, max_restarts=max_restarts, say=lambda text: None)


async def test_a_request_of_a_policy_that_died_is_issued_again() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet)
    await policy.open()
    generation = await policy.generate(REQUEST)
    assert generation.token_ids[:3] == (5, 6, 7)
    assert fleet.started == [("model", 0), ("model", 0)]
    assert policy.restarts == 1


async def test_a_policy_that_died_asleep_is_started_when_it_is_its_turn() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet)
    await policy.open()
    await policy.sleep()
    fleet.processes[0].alive = False
    request = asyncio.create_task(policy.generate(REQUEST))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(fleet.started) == 1, "the device is the learner's"
    await policy.wake()
    assert (await request).token_ids[:3] == (5, 6, 7)
    assert len(fleet.started) == 2


async def test_a_restarted_policy_is_seen_by_nobody_before_it_is_current() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet)
    await policy.open()
    await policy.prepare_update(WeightManifest(9, "blob", 0, ()))
    await policy.finish_update(9)
    slow = asyncio.Event()
    fleet.before_update = slow.wait
    dying = asyncio.create_task(policy.generate(REQUEST))
    while len(fleet.started) < 2:
        await asyncio.sleep(0)
    others = [asyncio.create_task(policy.generate(REQUEST)) for _ in range(4)]
    policy.base("checkpoint", 9)  # a checkpoint that is written meanwhile is not what was started with
    for _ in range(50):
        await asyncio.sleep(0)
    slow.set()
    generations = await asyncio.gather(dying, *others)
    assert {version for g in generations for version in g.versions} == {9}
    assert fleet.started == [("model", 0), ("model", 0)]
    assert policy.restarts == 1


async def test_a_restart_that_fails_is_what_the_last_error_quotes() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet, max_restarts=2)
    await policy.open()

    async def start(model: str, version: int):
        raise PolicyError("no GPU memory left; the last lines of its log: …")

    policy._start = start
    for _ in range(2):
        with pytest.raises(PolicyError, match=r"^no GPU memory left"):
            await policy.generate(REQUEST)
    with pytest.raises(PolicyError, match=r"policy\.max_restarts allows; the last: no GPU memory left"):
        await policy.generate(REQUEST)


async def test_a_policy_that_is_closed_is_not_started_again() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet)
    await policy.open()
    await policy.close()
    with pytest.raises(PolicyError, match="died"):
        await policy.generate(REQUEST)
    assert len(fleet.started) == 1


async def test_a_request_that_is_issued_again_has_what_is_left_of_its_deadline() -> None:
    fleet = Fleet(deaths=1)
    deadlines: list[float | None] = []
    fleet.on_request = lambda request: deadlines.append(request.deadline)
    policy = supervised(fleet)
    await policy.open()
    await policy.generate(replace(REQUEST, deadline=60.0))
    first, second = deadlines
    assert first is not None and second is not None
    assert second < first <= 60.0


async def test_a_policy_that_hangs_is_killed_and_replaced() -> None:
    fleet, said = Fleet(deaths=0), list[str]()

    async def start(model: str, version: int):
        process, policy = await fleet.start(model, version)
        if len(fleet.started) == 1:

            async def never() -> PolicyStatus:
                while process.alive:
                    await asyncio.sleep(0.001)
                raise PolicyError("policy died (killed by SIGKILL)")

            policy.status = never
            policy.generate = lambda request: never()
        return process, policy

    policy = SupervisedPolicy(start, "model", 0, max_restarts=1, say=said.append, heartbeat_timeout=0.05)
    await policy.open()
    assert (await policy.generate(REQUEST)).token_ids[:3] == (5, 6, 7)
    assert said[0] == "the policy has not answered for 0.05 s: it is killed"
    await policy.close()


async def test_a_process_whose_engine_has_failed_is_killed_and_replaced() -> None:
    fleet, said = Fleet(deaths=0), list[str]()

    async def start(model: str, version: int):
        process, policy = await fleet.start(model, version)
        if len(fleet.started) == 1:

            async def fails(*_: object):
                raise PolicyError("the engine has failed: out of memory")

            policy.status = policy.generate = fails
        return process, policy

    policy = SupervisedPolicy(start, "model", 0, max_restarts=1, say=said.append, heartbeat_timeout=0.05)
    await policy.open()
    with pytest.raises(PolicyError, match="the engine has failed"):
        await policy.generate(REQUEST)  # before anybody has noticed
    async with asyncio.timeout(10):
        while fleet.processes[0].alive:
            await asyncio.sleep(0.01)
    assert (await policy.generate(REQUEST)).token_ids[:3] == (5, 6, 7)
    assert "the policy's process lives, but not its engine" in said[0]
    await policy.close()


async def test_a_restarted_policy_serves_the_current_version() -> None:
    fleet = Fleet(deaths=1, dies_at=2)
    policy = supervised(fleet)
    await policy.open()
    await policy.generate(REQUEST)
    await policy.prepare_update(WeightManifest(3, "blob", 0, ()))
    await policy.finish_update(3)
    assert fleet.updates == [(0, 3)]
    generation = await policy.generate(REQUEST)
    assert fleet.updates == [(0, 3), (1, 3)]
    assert set(generation.versions) == {3}


async def test_a_restart_begins_with_the_newest_checkpoint() -> None:
    fleet = Fleet(deaths=1)
    policy = supervised(fleet)
    await policy.open()
    policy.base("checkpoint", 2)
    await policy.generate(REQUEST)
    assert fleet.started[-1] == ("checkpoint", 2)


async def test_a_policy_that_dies_too_often_ends_the_run_with_the_cause() -> None:
    policy = supervised(Fleet(deaths=9), max_restarts=2)
    await policy.open()
    with pytest.raises(PolicyError, match=r"more often than policy.max_restarts allows.*SIGKILL"):
        await policy.generate(REQUEST)


class CountingLearner:
    """Its state is the list of the steps taken; it dies at the calls numbered in `dies_at`."""

    saved: dict[str, list[int]]

    def __init__(self, process: FakeProcess, dies_at: set[int], calls: list[int], disk: dict[str, list[int]]) -> None:
        self.process, self.dies_at, self.calls, self.disk = process, dies_at, calls, disk
        self.steps: list[int] = []

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        self.calls[0] += 1
        if self.calls[0] in self.dies_at:
            self.process.alive = False
            raise LearnerError("learner died (killed by SIGKILL)")
        self.steps.append(batch.step)
        return StepReport(batch.step, batch.step, 0.0, 0.0, 0.0, 0, 0.0)

    async def save(self, path: str) -> None:
        self.disk[path] = list(self.steps)

    async def load(self, path: str) -> None:
        self.steps = list(self.disk[path])


async def learner_run(dies_at: set[int], save_after: set[int], steps: int = 4) -> tuple[list[int], SupervisedLearner]:
    calls, disk = [0], {}
    made: list[CountingLearner] = []

    async def start():
        process = FakeProcess()
        made.append(CountingLearner(process, dies_at, calls, disk))
        return process, made[-1]

    learner = SupervisedLearner(start, max_restarts=3, say=lambda text: None)
    await learner.open(None, 0)
    for step in range(1, steps + 1):
        await learner.step(Batch(step, ()), PLAN)
        if step in save_after:
            await learner.save(f"unfinished {step}")
            disk[f"step {step}"] = disk.pop(f"unfinished {step}")
            learner.moved(Path(f"step {step}"))
    return made[-1].steps, learner


@pytest.mark.parametrize("save_after", [set(), {1, 2, 3, 4}, {2}])
@pytest.mark.parametrize("dies_at", [{1}, {3}, {2, 4}])
async def test_a_learner_that_died_takes_its_steps_again(dies_at: set[int], save_after: set[int]) -> None:
    steps, learner = await learner_run(dies_at, save_after)
    assert steps == [1, 2, 3, 4], "each step stands once, in order"
    assert learner.restarts == len(dies_at)


async def test_a_learner_that_died_long_after_its_checkpoint_says_how_to_go_on() -> None:
    with pytest.raises(LearnerError, match=r"12 steps after the last checkpoint.*--resume"):
        await learner_run({13}, set(), steps=20)
