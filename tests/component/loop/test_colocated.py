"""Policy and learner on one device: never both awake, nothing sampled while the learner works, and the same results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from agent_rl.config import parse_config
from agent_rl.contracts import Batch, GenerateRequest, Generation, LossPlan, SamplingParams, StepReport, WeightManifest
from agent_rl.errors import LearnerError
from agent_rl.launch.colocated import device_free
from agent_rl.launch.supervised_roles import SupervisedLearner, SupervisedPolicy
from agent_rl.loop.open_run import Run, open_run
from agent_rl.loop.train import run_loop, train
from agent_rl.testing.scripted_policy import ScriptedPolicy
from tests.component.loop.tiny_runs import (
    DETERMINISTIC,
    assert_equal,
    outcome,
    own_cache,  # noqa: F401  (a fixture of the whole runs)
    quiet,
    settings,
)
from tests.unit.loop.test_train import FakeProcess, config, looped, made_run, rows


@dataclass
class Device:
    """What happened on one device, in order; whoever wakes beside another is caught in the act."""

    awake: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)

    def turn(self, who: Literal["policy", "learner"], state: Literal["sleeps", "wakes"]) -> None:
        self.events.append(f"{who} {state}")
        (self.awake.add if state == "wakes" else self.awake.discard)(who)
        assert len(self.awake) <= 1, f"both are awake after {self.events}"


class PolicyOnDevice(ScriptedPolicy):
    """Requests of group `held` wait before each token until the learner works for the first time."""

    def __init__(self, device: Device, held: int | None) -> None:
        self.learner_works = asyncio.Event()
        self.device = device

        def delay(request: GenerateRequest) -> float:
            return 600.0 if int(request.session.rsplit("/", 2)[1]) == held else 0.0

        async def sleep(seconds: float) -> None:
            await self.learner_works.wait()

        super().__init__(vocabulary=400, delay=delay, sleep=sleep)
        device.turn("policy", "wakes")

    async def sleep(self) -> None:
        await super().sleep()
        self.device.turn("policy", "sleeps")

    async def wake(self) -> None:
        self.device.turn("policy", "wakes")
        await super().wake()

    async def finish_update(self, version: int) -> None:
        self.device.events.append("policy takes weights")
        await super().finish_update(version)


class LearnerOnDevice:
    """Counts the tokens that are sampled while it works. `dies_at`: the calls at which its process dies, by name."""

    def __init__(self, device: Device, process: FakeProcess, dies_at: list[str]) -> None:
        self.device, self.process, self.dies_at = device, process, dies_at
        self.policy: PolicyOnDevice | None = None
        self.sampled_meanwhile = self.stood_still = 0
        self.version = 0
        device.turn("learner", "wakes")

    def _happens(self, call: str) -> None:
        self.device.events.append(f"learner {call}")
        if call in self.dies_at:
            self.dies_at.remove(call)
            self.process.alive = False
            self.device.awake.discard("learner")
            raise LearnerError("learner died (killed by SIGKILL)")

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        assert "learner" in self.device.awake
        self._happens("steps")
        if self.policy is not None:
            before = await self.policy.status()
            self.policy.learner_works.set()
            for _ in range(100):  # Turns of the event loop in which whoever can go on does.
                await asyncio.sleep(0)
            after = await self.policy.status()
            self.sampled_meanwhile += after.sampled_tokens - before.sampled_tokens
            self.stood_still += after.running + after.waiting > 0
        self.version += 1
        return StepReport(batch.step, self.version, 0.5, 1.0, 1e-3, batch.trained_tokens, 0.01)

    async def publish(self, version: int) -> WeightManifest:
        self._happens("publishes")
        return WeightManifest(version, "blob", 0, ())

    async def save(self, path: str) -> None:
        self._happens("saves")
        await asyncio.to_thread(Path(path).mkdir, parents=True)

    async def forward(self, batch: Batch, wanted: str) -> list[list[list[float]]]:
        assert "learner" in self.device.awake
        self._happens("computes")
        return []

    async def sleep(self) -> None:
        self._happens("falls asleep")
        self.device.turn("learner", "sleeps")

    async def wake(self) -> None:
        self._happens("is woken")
        if "learner" not in self.device.awake:
            self.device.turn("learner", "wakes")


async def colocated(
    tmp_path: Path, dies_at: list[str] | None = None, held: int | None = None, **loop: Any
) -> tuple[Run, Device, LearnerOnDevice]:
    """A run whose learner has been opened, and sleeps; then the policy. It never steps without the policy asleep."""
    run, _ = await made_run(tmp_path, config(**loop))
    device = Device()
    made: list[LearnerOnDevice] = []

    async def start_learner() -> tuple[Any, Any]:
        process = FakeProcess()
        made.append(LearnerOnDevice(device, process, [] if dies_at is None else dies_at))
        return process, made[-1]

    async def start_policy(model: str, version: int) -> tuple[Any, Any]:
        return FakeProcess(), PolicyOnDevice(device, held)

    policy = SupervisedPolicy(start_policy, "model", 0, max_restarts=0, say=lambda text: None)
    learner = SupervisedLearner(
        start_learner, max_restarts=3, say=lambda text: None, device_free=lambda: device_free(policy)
    )
    await learner.open(None, 0)
    await learner.sleep()
    await policy.open()
    made[0].policy = policy._policy  # type: ignore[assignment]
    run.policy, run.learner, run.agents = policy, learner, replace(run.agents, policy=policy)  # type: ignore[assignment]
    device.events.clear()
    return run, device, made[0]


ONE_STEP = [
    "policy sleeps",
    "learner is woken",
    "learner wakes",
    "learner steps",
    "learner falls asleep",
    "learner sleeps",
    "policy wakes",
    "learner publishes",
    "policy takes weights",
    "learner saves",
]


@pytest.mark.parametrize(("max_staleness", "held"), [(0, None), (2, 5)])
async def test_every_step_has_the_device_to_itself(tmp_path: Path, max_staleness: int, held: int | None) -> None:
    run, device, learner = await colocated(tmp_path, held=held, max_staleness=max_staleness)
    await looped(run)
    assert device.events == ONE_STEP * 6
    assert learner.sampled_meanwhile == 0
    # Group 5 of the nine that may start at first is not needed for the first batch, and can go on only beside it.
    assert learner.stood_still == 0 if held is None else learner.stood_still >= 1
    recorded = rows(run)
    assert [row["rollouts"] for row in recorded] == [12] * 6
    assert max(row["staleness_max"] for row in recorded) <= max_staleness
    assert [row["timings"]["policy_busy_while_learning"] for row in recorded] == [0.0] * 6


async def test_on_devices_of_their_own_nobody_sleeps(tmp_path: Path) -> None:
    run, _ = await made_run(tmp_path, config(max_staleness=1))
    slept: list[str] = []

    async def sleep() -> None:
        slept.append("policy")

    run.policy._policy.sleep = sleep  # type: ignore[union-attr]
    async with run.learner.awake():
        assert slept == []
    await looped(run)  # its learner has neither `sleep` nor `wake`
    assert slept == []


async def test_where_a_step_fails_the_policy_is_awake_again_and_the_learner_asleep(tmp_path: Path) -> None:
    run, device, learner = await colocated(tmp_path, max_staleness=1)

    async def fails(batch: Batch, plan: LossPlan) -> StepReport:
        raise LearnerError("the gradient's norm is nan: no step is taken")

    learner.step = fails  # type: ignore[method-assign]
    with pytest.raises(LearnerError, match="norm is nan"):
        await looped(run)
    assert device.events == [e for e in ONE_STEP[:7] if e != "learner steps"]
    assert device.awake == {"policy"}


async def test_where_the_learner_cannot_be_woken_the_policy_serves_on(tmp_path: Path) -> None:
    run, device, learner = await colocated(tmp_path)

    async def fails() -> None:
        raise LearnerError("out of memory")

    learner.wake = fails  # type: ignore[method-assign]
    with pytest.raises(LearnerError, match="out of memory"):
        async with run.learner.awake():
            raise AssertionError("the block is never entered")
    assert device.awake == {"policy"}


async def test_a_run_that_is_cancelled_waits_for_no_learner_that_is_stuck(tmp_path: Path) -> None:
    run, device, learner = await colocated(tmp_path, max_staleness=0)
    reached = asyncio.Event()

    async def stuck(batch: Batch, plan: LossPlan) -> StepReport:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError("not reached")

    async def never() -> None:
        raise AssertionError("a stuck learner would never answer")

    learner.step, learner.sleep = stuck, never  # type: ignore[method-assign]
    working = asyncio.create_task(looped(run))
    async with asyncio.timeout(60.0):  # it fails before only where the test is to fail
        await reached.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert device.events == ONE_STEP[:3]


@pytest.mark.parametrize("call", ["publishes", "saves"])
async def test_a_learner_that_dies_asleep_is_replaced_while_the_policy_sleeps(tmp_path: Path, call: str) -> None:
    run, device, _ = await colocated(tmp_path, [call], steps=2, max_staleness=1)
    await looped(run)
    assert run.learner.restarts == 1
    replaced = ["policy sleeps", "learner wakes", "learner steps", "learner falls asleep", "learner sleeps"]
    at = ONE_STEP.index(f"learner {call}") + 1
    # Then the call that found it dead is made again.
    assert device.events == [*ONE_STEP[:at], *replaced, "policy wakes", *ONE_STEP[at - 1 :], *ONE_STEP]
    assert device.awake == {"policy"}


@pytest.mark.parametrize(
    ("call", "replaced"),
    [
        ("is woken", ["learner wakes", "learner is woken"]),
        ("steps", ["learner wakes", "learner steps"]),
        # The step that was taken, but is in no checkpoint, is taken again.
        ("falls asleep", ["learner wakes", "learner steps", "learner falls asleep"]),
    ],
)
async def test_a_learner_that_dies_in_its_turn_is_replaced_within_it(
    tmp_path: Path, call: str, replaced: list[str]
) -> None:
    run, device, _ = await colocated(tmp_path, max_staleness=1, steps=1)
    run.learner._learner.dies_at.append(call)  # type: ignore[union-attr]
    await looped(run)
    assert run.learner.restarts == 1
    at = ONE_STEP.index(f"learner {call}") + 1
    rest = [e for e in ONE_STEP[at:] if call != "is woken" or e != "learner wakes"]
    assert device.events == [*ONE_STEP[:at], *replaced, *rest]


async def test_log_probabilities_asked_for_between_turns_borrow_the_device(tmp_path: Path) -> None:
    run, device, _ = await colocated(tmp_path)
    await run.learner.forward(Batch(0, ()))
    assert device.events == [e if e != "learner steps" else "learner computes" for e in ONE_STEP[:7]]


@dataclass
class Watched:
    """A whole run: its metrics; for each of the learner's turns the tokens sampled in it, how many requests stood still
    from its beginning, how many of these to its end; and what became of these requests.
    """

    metrics: list[dict[str, Any]]
    sampled: list[int]
    standing: list[tuple[int, int]]
    requests: list[Generation]


async def watched(data: dict[str, Any], run_dir: Path) -> Watched:
    """A run in which one more request, of LONG tokens, is sent before each of the learner's turns."""
    parsed = parse_config(data)
    sampled: list[int] = []
    standing: list[tuple[int, int]] = []
    requests: list[asyncio.Task[Generation]] = []

    async with open_run(parsed, run_dir, resume=False, display=quiet()) as run:
        awake = run.learner.awake

        @asynccontextmanager
        async def awake_beside_a_request() -> AsyncIterator[None]:
            number = len(requests)
            request = GenerateRequest((1, 2, 3), SamplingParams(max_tokens=LONG), (0, 0, number, 9), f"held/{number}")
            requests.append(asyncio.create_task(run.policy.generate(request)))
            await asyncio.sleep(0)
            async with awake():
                before = await settled(run)
                held = [task for task in requests if not task.done()]
                yield
                sampled.append((await run.policy.status()).sampled_tokens - before)
                standing.append((len(held), sum(not task.done() for task in held)))

        run.learner.awake = awake_beside_a_request  # type: ignore[method-assign]
        running = run.running_groups()
        async with running:
            await run_loop(run, running)
        await run.evaluate_if_due()
        done = [await request for request in requests]
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return Watched([json.loads(line) for line in lines], sampled, standing, done)


async def settled(run: Run) -> int:
    """Tokens sampled so far, once readings over half a second agree: a busy server counts and hands out later."""
    readings = [(await run.policy.status()).sampled_tokens]
    while len(readings) < 6 or len(set(readings[-6:])) > 1:
        await asyncio.sleep(0.1)
        readings.append((await run.policy.status()).sampled_tokens)
    return readings[-1]


LONG = 400
"""Tokens: far more than an engine samples between two calls that are sent one right after the other."""
MODEL = {
    "vocabulary": 300,
    "width": 64,  # vLLM's attention on a CPU knows no heads smaller than 32
    "layers": 1,
    "heads": 2,
    "kv_heads": 2,
    "ffn_width": 128,
    "context": 512,
}


@pytest.mark.slow
@pytest.mark.local_sandbox
@pytest.mark.parametrize(
    "engine", ["transformers", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.timeout(600)])]
)
async def test_no_token_is_sampled_while_the_learner_works(tmp_path: Path, engine: str) -> None:
    evaluation = {"enabled": True, "tasks": 2, "samples": 4, "k": [1, 4]}
    changes = {"model": {"scratch": MODEL}, "policy": {"engine": engine, "device": "cpu", "max_batch": 32}}
    data = {**settings(8, loop={"placement": "colocated"}, evaluation=evaluation), **changes}
    seen = await watched(data, tmp_path / "run")
    assert [row["step"] for row in seen.metrics] == list(range(1, 9))
    assert [row["rollouts"] for row in seen.metrics] == [8] * 8
    assert [row["timings"]["policy_busy_while_learning"] for row in seen.metrics] == [0.0] * 8
    assert sum(row["timings"]["policy_busy"] for row in seen.metrics) > 0
    assert seen.sampled == [0] * 8
    assert max(row["staleness_max"] for row in seen.metrics) == 1
    assert sum(first for first, _ in seen.standing) > 0, "with nothing under way nothing would have been held back"
    assert all(first == last for first, last in seen.standing), seen.standing
    for before, request in enumerate(seen.requests):
        assert (len(request.token_ids), request.finish_reason) == (LONG, "length")
        assert set(request.versions) <= set(range(before, 9)), "it went on, with whatever served then"
    assert (tmp_path / "run" / "checkpoints" / "step_000008" / "trainer.json").is_file()
    evaluations = (tmp_path / "run" / "eval.json").read_text()
    assert {row["policy_version"] for row in json.loads(evaluations)} == {8}


@pytest.mark.slow
@pytest.mark.local_sandbox
async def test_a_colocated_run_is_equal_bit_for_bit_to_one_on_separate_devices(
    recorded_run: Path, tmp_path: Path
) -> None:
    loop = {"max_staleness": 0, "placement": "colocated"}
    data = settings(20, **{**DETERMINISTIC, "loop": loop})
    await train(parse_config(data), tmp_path / "colocated", display=quiet())
    separate = outcome(recorded_run)
    assert_equal(separate, outcome(tmp_path / "colocated"))
    assert sum(row["trained_tokens"] > 0 for row in separate["metrics"]) >= 15
