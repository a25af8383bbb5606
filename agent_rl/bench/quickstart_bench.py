"""`bench overlap --part quickstart`: the speedup of asynchronous training on a real run, and its upper bound.

`agent-rl train` trains the same configuration in three modes, each time in new processes, from the same cached model:

    sync all     max_staleness 0, policy.threads = learner.threads = all cores: the active role has the machine
    sync share   max_staleness 0, one role's share of the cores each: half of them, at least one
    async        max_staleness 1, the same shares

The modes take turns, so that other load on the machine affects all of them. Each figure is a mean over a run's steps
after the warm-up and before the last step (during which no later rollouts run), taken from the run's timeline and
metrics; then the median over the repetitions:

    period       seconds from one publishing's end to the next one's: the whole step, files and checkpoints included
    rollouts     seconds that a synchronous step waits for its batch: the time of policy and sandboxes alone
    learning     seconds of the learner's step and of publishing: the time of the learner alone
    cores        busy core-seconds of the whole machine in a step, over its cores: no schedule can be faster
    speedup      period of the faster of the synchronous two / period of async
    bound        period of the faster of the synchronous two / max(rollouts, learning), both of `sync share`, where
                 each role is measured while the other rests: what full overlap without any other cost would give
    core bound   the same over max(rollouts, learning, cores): less than the bound if the roles, the controller and the
                 programs under test together need more cores than there are. Only reported; it is not required
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from agent_rl.cache import cache_folder
from agent_rl.config import load_config
from agent_rl.errors import ConfigError, InfrastructureError
from agent_rl.loop.starting_model import prepare_model
from agent_rl.records.eval_row import Estimate, EvalRow

BAR_OF_BOUND = 0.85
BAR = 1.1


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to train. threads: (policy threads, learner threads)."""

    name: str
    max_staleness: int
    threads: tuple[int, int]

    def overrides(self) -> list[str]:
        """The `key=value` overrides that make a configuration train in this mode."""
        return [
            f"loop.max_staleness={self.max_staleness}",
            f"policy.threads={self.threads[0]}",
            f"learner.threads={self.threads[1]}",
        ]


def modes(available: int) -> tuple[Mode, Mode, Mode]:
    """`sync all`, `sync share` and `async` on a machine of `available` cores."""
    share = max(1, available // 2)
    return (
        Mode("sync all", 0, (available, available)),
        Mode("sync share", 0, (share, share)),
        Mode("async", 1, (share, share)),
    )


@dataclass(frozen=True, slots=True)
class OverlapPlan:
    """`repetitions` runs of each mode, each with `steps` measured steps after `warm_up` unmeasured ones."""

    config: Path
    steps: int = 12
    warm_up: int = 3
    repetitions: int = 2
    cores: int = 2
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of one step, as defined in the module's docstring."""

    period: float
    rollouts: float
    learning: float
    cores: float
    """Core-seconds of the whole machine over the number of cores."""

    @staticmethod
    def median(runs: Sequence[StepTimes]) -> StepTimes:
        """The median of each figure over `runs`."""
        return StepTimes(
            period=median(r.period for r in runs),
            rollouts=median(r.rollouts for r in runs),
            learning=median(r.learning for r in runs),
            cores=median(r.cores for r in runs),
        )

    def to_json(self) -> dict[str, float]:
        return {
            "period_seconds": round(self.period, 4),
            "rollouts_seconds": round(self.rollouts, 4),
            "learning_seconds": round(self.learning, 4),
            "core_seconds_per_core": round(self.cores, 4),
        }


@dataclass(frozen=True, slots=True)
class QuickstartReport:
    """The typical step of each mode, and held-out pass@1 after the same number of steps."""

    plan: OverlapPlan
    modes: tuple[Mode, Mode, Mode]
    times: Mapping[str, StepTimes]
    pass_at_1: Mapping[str, Estimate]

    @property
    def sync(self) -> Mode:
        """The faster of the two synchronous modes."""
        return min(self.modes[:2], key=lambda m: self.times[m.name].period)

    @property
    def speedup(self) -> float:
        return self.times[self.sync.name].period / self.times["async"].period

    @property
    def bound(self) -> float:
        share = self.times["sync share"]
        return self.times[self.sync.name].period / max(share.rollouts, share.learning)

    @property
    def core_bound(self) -> float:
        """The highest speedup that the machine's cores allow."""
        share = self.times["sync share"]
        return self.times[self.sync.name].period / max(share.rollouts, share.learning, share.cores)

    @property
    def overlapping(self) -> bool:
        """Whether the intervals of held-out pass@1 of the faster synchronous mode and of async overlap."""
        sync, other = self.pass_at_1[self.sync.name], self.pass_at_1["async"]
        return sync.low <= other.high and other.low <= sync.high

    @property
    def reached(self) -> bool:
        return self.speedup >= max(BAR, BAR_OF_BOUND * self.bound) and self.overlapping

    def to_json(self) -> dict[str, Any]:
        return {
            "speedup": round(self.speedup, 4),
            "bound": round(self.bound, 4),
            "sync_threads": list(self.sync.threads),
            "async_threads": list(self.modes[2].threads),
            "of_bound": round(self.speedup / self.bound, 4),
            "core_bound": round(self.core_bound, 4),
            "modes": {m.name: {"threads": list(m.threads), **self.times[m.name].to_json()} for m in self.modes},
            "pass_at_1": {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in self.pass_at_1.items()},
            "intervals_overlap": self.overlapping,
            "steps": self.plan.steps,
            "warm_up": self.plan.warm_up,
            "repetitions": self.plan.repetitions,
            "bar": {"speedup": BAR, "of_bound": BAR_OF_BOUND, "reached": self.reached},
        }


async def compare_modes(plan: OverlapPlan, say: Callable[[str], None] = print) -> QuickstartReport:
    """The three modes, measured in turn. Raises InfrastructureError with a run's last lines of output if it fails."""
    config = load_config(plan.config, plan.overrides)
    await asyncio.to_thread(prepare_model, config, cache_folder(), say)
    chosen = modes(plan.cores)
    runs: dict[str, list[StepTimes]] = {mode.name: [] for mode in chosen}
    with tempfile.TemporaryDirectory(prefix="agent-rl-bench-") as temporary:
        folders = {mode.name: Path(temporary) for mode in chosen}
        for repetition in range(plan.repetitions):
            for mode in chosen:
                folder = Path(temporary) / f"{mode.name.replace(' ', '-')}-{repetition}"
                folders[mode.name] = folder
                await _train(plan, mode, folder)
                found = step_times(folder, plan.warm_up, plan.cores)
                runs[mode.name].append(found)
                say(f"round {repetition + 1}: {mode.name}, threads {mode.threads}: {found.period:.2f} s/step")
        times = {name: StepTimes.median(found) for name, found in runs.items()}
        faster = min(chosen[:2], key=lambda m: times[m.name].period)
        pass_at_1 = {m.name: await _evaluate(plan, folders[m.name], say) for m in (faster, chosen[2])}
    return QuickstartReport(plan, chosen, times, pass_at_1)


def step_times(run: Path, warm_up: int, cores: int) -> StepTimes:
    """The mean times of the steps of `run` after the first `warm_up` (at least one) and before its last."""
    ends = {row["step"]: row["end"] for row in _rows(run / "timeline.jsonl") if row["role"] == "publish"}
    timings = [row["timings"] for row in _rows(run / "metrics.jsonl")]
    first, last = max(1, warm_up), len(timings) - 1
    measured = timings[first:last]  # steps count from 1: these are first + 1 .. last
    return StepTimes(
        period=(ends[last] - ends[first]) / (last - first),
        rollouts=fmean(t["waiting"] for t in measured),
        learning=fmean(t["learner"] + t["publishing"] for t in measured),
        cores=fmean(t["busy_core_seconds"] for t in measured) / cores,
    )


async def _train(plan: OverlapPlan, mode: Mode, folder: Path) -> None:
    steps = plan.warm_up + plan.steps + 1
    settings = [*plan.overrides, *mode.overrides(), f"loop.steps={steps}", "evaluation.enabled=false"]
    await _agent_rl(["train", str(plan.config), *_sets(settings), "--run-dir", str(folder)])


async def _evaluate(plan: OverlapPlan, run: Path, say: Callable[[str], None]) -> Estimate:
    """Held-out pass@1 of the last checkpoint of `run`."""
    file = run / "bench.json"
    settings = [*plan.overrides, f"policy.threads={plan.cores}"]
    await _agent_rl(["eval", str(plan.config), *_sets(settings), "--policy", str(run), "--json", str(file)])
    rows = [EvalRow.from_json(row) for row in json.loads(file.read_text())]
    say(f"{run.name}: held-out pass@1 {rows[0].pass_at_k[1]}")
    return rows[0].pass_at_k[1]


def _sets(settings: Sequence[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


async def _agent_rl(arguments: Sequence[str]) -> None:
    """Runs the command in its own process, which ends with this call."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent_rl", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        last = "\n".join(output.decode(errors="replace").splitlines()[-15:])
        error = ConfigError if process.returncode == ConfigError.exit_code else InfrastructureError
        raise error(f"agent-rl {arguments[0]} ended with code {process.returncode}:\n{last}")


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
