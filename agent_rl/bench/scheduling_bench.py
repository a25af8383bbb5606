"""`bench overlap --part scheduling`: the time that the loop loses when all durations are fixed in advance.

The loop is the real one (`run_loop`, `RunningGroups`, `Capacity`, `GroupBuffer`, rollouts, packing, the files of a
step). Only the policy and the learner are stand-ins that sleep, each in its own process. In one run of S measured
steps:

    learner bound   seconds of a learner's step
    rollout bound   seconds that the consumed rollouts occupied places, / places / S
    ideal           the larger of the two: the step time if neither role ever waited for the other
    achieved        wall-clock seconds of the measured steps / S, including all work of the loop
    efficiency      ideal / achieved

Both scenarios are the hardest case: a learner's step takes as long as the rollouts of a batch. All time in which one
role waits for the other is then lost. If one role took longer, it would hide the waiting of the other.

The bound on staleness makes some loss unavoidable. At max_staleness 1, all rollouts that run when new weights come must
end before the next batch is taken. A step therefore lasts at least as long as the learner's step plus the longest
remaining episode. The size of this loss depends on the time of a batch in mean episodes: here 32, 256 rollouts in 8
places. A loop without any cost of its own would reach these efficiencies for sigma .5 and 1 (computed event by event,
not measured): 8 places .98 and .93, 16 places .96 and .84, 32 places .90 and .66. The bench reports the efficiency for
8 places.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from agent_rl.algorithms import make_algorithm
from agent_rl.bench.fixed_time_parts import OneReply, byte_tokenizer
from agent_rl.config import RunConfig, parse_config
from agent_rl.contracts import EnvironmentConfig, SamplingParams, SandboxProvider
from agent_rl.errors import LearnerError, PolicyError
from agent_rl.judging import TaskVerifier
from agent_rl.launch.local_launcher import LocalLauncher, RoleProcess
from agent_rl.launch.replicated_policy import ReplicatedPolicy
from agent_rl.launch.role_clients import LearnerClient, PolicyClient
from agent_rl.launch.supervised_roles import SupervisedLearner, SupervisedPolicy
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.open_run import Run
from agent_rl.loop.run_display import Display
from agent_rl.loop.sampler import LoadedEnvironment, TaskSampler
from agent_rl.loop.train import run_loop
from agent_rl.loop.watchdog import Watchdog
from agent_rl.records.run_directory import RunDirectory
from agent_rl.rollouts.run_group import PolicyAgents, RolloutSettings


@dataclass(frozen=True, slots=True)
class Scenario:
    """A batch of groups_per_batch * group_size rollouts; `places` rollouts run at a time, each log-normal with `mean`
    seconds and `sigma`. A learner's step takes `ratio` times as long as a batch does in all places."""

    sigma: float
    bar: float
    groups_per_batch: int = 16
    group_size: int = 16
    places: int = 8
    mean: float = 0.05
    ratio: float = 1.0
    max_staleness: int = 1
    steps: int = 16
    warm_up: int = 4
    """Steps before the measured ones: the first batch has nothing to overlap with."""
    seed: int = 0

    @property
    def learner_seconds(self) -> float:
        """Seconds of a learner's step."""
        return self.ratio * self.groups_per_batch * self.group_size * self.mean / self.places


SCENARIOS: Mapping[str, Scenario] = {
    "balanced": Scenario(sigma=0.5, bar=0.95),
    "heavy_tail": Scenario(sigma=1.0, bar=0.90),
}


@dataclass(frozen=True, slots=True)
class Achieved:
    """Step times in seconds, by the formulas above. overhead: a step's time without waiting and learning.

    straggler_wait is the part of the waiting in which the batch was complete, but older groups had to end first, since
    they would be too stale for the step after.
    """

    learner_bound: float
    rollout_bound: float
    step: float
    waiting: float
    overhead: float
    straggler_wait: float
    event_loop_lag: float

    @property
    def ideal(self) -> float:
        return max(self.learner_bound, self.rollout_bound)

    @property
    def efficiency(self) -> float:
        return self.ideal / self.step

    def to_json(self) -> dict[str, float]:
        figures = {name: getattr(self, name) for name in self.__slots__} | {"ideal": self.ideal}
        return {
            "efficiency": round(self.efficiency, 4),
            **{f"{name}_seconds": round(value, 4) for name, value in figures.items()},
        }


class _Ticks(Display):
    """Shows nothing; records each step's row and the time of its `step` call."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO()))
        self.rows: list[tuple[float, Mapping[str, Any]]] = []

    def step(self, row: Mapping[str, Any]) -> None:
        self.rows.append((time.monotonic(), row))


async def measure(scenario: Scenario, provider: SandboxProvider) -> Achieved:
    """The result of the loop in this scenario. The rollouts do not use `provider`, so any provider will do."""
    ticks = _Ticks()
    with tempfile.TemporaryDirectory(prefix="agent-rl-bench-") as folder:
        async with LocalLauncher(Path(folder)) as runtime:
            run, role = await _make_run(scenario, Path(folder) / "run", ticks, runtime, provider)
            await _run_loop(run)
            consumed = [
                int(row["group"])
                for step in range(scenario.warm_up + 1, scenario.warm_up + scenario.steps + 1)
                for row in _json_lines(run.directory.rollouts / f"step_{step:06d}.jsonl")
            ]
            occupied = await role.call("occupied", sorted(set(consumed)))
    return _achieved(scenario, ticks, occupied)


async def _run_loop(run: Run) -> None:
    """Runs all steps of the run."""
    watching = asyncio.create_task(run.watchdog.watch())  # it measures the event loop's lag
    try:
        async with run.running_groups() as running:
            await run_loop(run, running)
    finally:
        watching.cancel()


def _achieved(scenario: Scenario, ticks: _Ticks, occupied: float) -> Achieved:
    """The figures of the measured steps, whose rollouts occupied places for `occupied` seconds."""
    first = scenario.warm_up - 1
    last = first + scenario.steps
    rows = [row for _, row in ticks.rows[first + 1 : last + 1]]
    step = (ticks.rows[last][0] - ticks.rows[first][0]) / scenario.steps
    waiting, learning = (fmean(row["timings"][key] for row in rows) for key in ("waiting", "learner"))
    return Achieved(
        learner_bound=scenario.learner_seconds,
        rollout_bound=occupied / scenario.places / scenario.steps,
        step=step,
        waiting=waiting,
        overhead=step - waiting - learning,
        straggler_wait=fmean(row["straggler_wait"] for row in rows),
        event_loop_lag=max(row["timings"]["event_loop_lag"] for row in rows),
    )


async def _make_run(
    scenario: Scenario, folder: Path, display: Display, runtime: LocalLauncher, provider: SandboxProvider
) -> tuple[Run, RoleProcess]:
    """The parts of a run, with policy and learner as stand-ins in their own processes; and the policy's process."""
    config = _config(scenario)
    directory = RunDirectory(folder)
    directory.create(config, resume=False)
    verifier = TaskVerifier(provider)
    environment = OneReply(EnvironmentConfig(), verifier)
    source = LoadedEnvironment("fixed", environment, await environment.load("train"))
    stand_ins = "agent_rl.bench.fixed_time_parts"
    serving = await runtime.start(
        "policy",
        f"{stand_ins}:PolicyWithPlaces",
        {"places": scenario.places, "mean": scenario.mean, "sigma": scenario.sigma},
        error=PolicyError,
    )
    learning = await runtime.start(
        "learner", f"{stand_ins}:LearnerWithSteps", {"seconds": scenario.learner_seconds}, error=LearnerError
    )

    async def start_policy(model: str, version: int) -> tuple[RoleProcess, PolicyClient]:
        return serving, PolicyClient(serving)

    async def start_learner() -> tuple[RoleProcess, LearnerClient]:
        return learning, LearnerClient(learning)

    policy = ReplicatedPolicy([SupervisedPolicy(start_policy, "", 0, max_restarts=0, say=display.say)])
    learner = SupervisedLearner(start_learner, max_restarts=0, say=display.say)
    await policy.open()
    await learner.open(None, 0)
    settings = RolloutSettings(sampling=SamplingParams(max_tokens=config.sampling.max_tokens), seed=scenario.seed)
    loop = config.loop
    run = Run(
        config=config,
        directory=directory,
        display=display,
        watchdog=Watchdog(loop.stuck_timeout, directory.logs / "watchdog.log"),
        capacity=Capacity(loop.groups_per_batch, loop.max_staleness, 0, loop.steps),
        sampler=TaskSampler([source], scenario.seed),
        held_out=[],
        algorithm=make_algorithm(config),
        provider=provider,
        verifier=verifier,
        agents=PolicyAgents(policy, byte_tokenizer(), settings),
        policy=policy,
        learner=learner,
        lockstep=None,
    )
    return run, serving


def _config(scenario: Scenario) -> RunConfig:
    """A configuration without evaluation, and without a checkpoint before the last step (which is not measured)."""
    # Extra steps after the measured ones: the loop starts rollouts one batch ahead, which the last steps no longer do.
    steps = scenario.warm_up + scenario.steps + scenario.max_staleness
    return parse_config(
        {
            "environments": [{"environment": "none is loaded"}],
            "model": {"path": "none is loaded"},
            "loop": {
                "steps": steps,
                "groups_per_batch": scenario.groups_per_batch,
                "group_size": scenario.group_size,
                "max_staleness": scenario.max_staleness,
            },
            "evaluation": {"enabled": False},
            "checkpoints": {"every": 10**9},
        },
        source="bench overlap",
    )


def _json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]
