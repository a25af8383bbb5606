"""The training loop. Start reading the project here.

    TaskSampler.next ──> run_group ──> Environment.rollout <──> Policy.generate    messages <-> tokens in one place
                            │               └──> Submission ──> Verifier.judge ──> Verdict
                            v
                          Group ──> GroupBuffer ──> Algorithm.assign ──> pack ──> Learner.step ──> publish
                                        ^                                                             │
                                        └──────── capacity and staleness ──── Policy(version + 1) <───┘

`run_loop` implements this diagram. There is no second loop: synchronous training is `max_staleness = 0`. When policy
and learner share one device (`placement = "colocated"`), the policy sleeps while the learner is awake.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from agent_rl.algorithms import with_defaults
from agent_rl.config import RunConfig
from agent_rl.contracts import PolicyStatus, RolloutReward, StepReport, TrainingSample
from agent_rl.devices import busy_core_seconds
from agent_rl.inference.required_devices import require_devices
from agent_rl.launch.garbage_collection import settled
from agent_rl.loop.background_writes import BackgroundWrites
from agent_rl.loop.checkpoint import LoopState, complete_checkpoint
from agent_rl.loop.logprob_mismatch import MismatchWatch
from agent_rl.loop.open_run import Run, open_run
from agent_rl.loop.run_display import Display
from agent_rl.loop.running_groups import RunningGroups
from agent_rl.loop.step_metrics import StepTimings, dropped_rows, reward_means, step_row, trajectory_row
from agent_rl.records.run_directory import RunDirectory
from agent_rl.registry import require_packages
from agent_rl.report import write_report
from agent_rl.rollouts.pack import pack
from agent_rl.vocabulary import Group


async def train(config: RunConfig, run_dir: Path, *, resume: bool = False, display: Display | None = None) -> Path:
    """The folder of the finished run, with its report. `took.json` holds the time this took, SFT and evaluations too.

    Raises ConfigError for the user's mistakes and InfrastructureError for an infrastructure failure that ends the run.
    """
    display = display or Display()
    started = time.monotonic()
    directory = RunDirectory(run_dir)
    require_packages("torch", "transformers", "accelerate", "safetensors")
    config = with_defaults(config)
    require_devices(config)
    with directory.locked(resume=resume, say=display.say):
        async with open_run(config, run_dir, resume=resume, display=display) as run:
            await _watched(run)
        directory.write_took(time.monotonic() - started, resumed=resume)
        with directory.writing():
            write_report(run_dir)
    return run_dir


async def _watched(run: Run) -> None:
    """The run has been trained. Raises InfrastructureError when a stage of it is stuck."""
    watching = asyncio.create_task(run.watchdog.watch())
    working = asyncio.create_task(_train(run))
    try:
        with settled():
            await asyncio.wait({watching, working}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            watching.result()
        await working
    finally:
        for task in (watching, working):
            task.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


async def _train(run: Run) -> None:
    """Evaluate, train, evaluate."""
    await run.evaluate_if_due()
    async with run.running_groups() as running:
        run.display.start(run.capacity.version, run.config.loop.steps)
        try:
            await run_loop(run, running)
        finally:
            run.display.stop()
    await run.evaluate_if_due()


async def run_loop(run: Run, running: RunningGroups) -> None:
    """`loop.steps` optimizer steps have been taken; all are recorded, and the last checkpoint includes them."""
    config = run.config
    mismatch = MismatchWatch(config.mismatch_bounds[0], run.display.say)
    async with BackgroundWrites() as writes:
        while run.capacity.version < config.loop.steps:
            clock = StepClock(run)
            clock.start()
            running.fill()
            with run.watchdog.stage("waiting for rollouts"):
                groups = await running.next_batch()
            clock.batch_ready()
            step = run.capacity.version + 1
            with run.watchdog.stage("rewards"):
                rewards = await run.algorithm.rewards(groups, step)
            samples = run.algorithm.assign(groups, rewards, step)
            stale_before = run.capacity.version - config.loop.max_staleness
            batch = pack(
                samples,
                run.algorithm.aggregation,
                step=step,
                keep_zeros=run.algorithm.keeps_zeros,
                stale_before=stale_before if config.loop.on_stale == "mask" else None,
            )
            with run.watchdog.stage("learner step"):
                async with run.learner.awake():
                    clock.learner_starts()
                    report = await run.learner.step(batch, run.algorithm.plan)
                    clock.learner_ended()
            with run.watchdog.stage("publishing weights"):
                await publish(run, report.version)
            running.fill()
            estimator, timings = run.algorithm.estimator, await clock.stop()
            row = step_row(groups, report, running.take_dropped(), estimator, timings, len(running.buffer))
            if not run.algorithm.reward.is_outcome:
                row.update(reward_means(rewards))
            await writes.begin(record(run, groups, samples, rewards, row, clock))
            if report.version % config.checkpoints.every == 0 or report.version == config.loop.steps:
                with run.watchdog.stage("writing a checkpoint"):
                    await checkpoint(run, running, report, writes)
            run.display.step(row)
            mismatch.step(row)
            await run.evaluate_if_due()


async def publish(run: Run, version: int) -> None:
    """The policy serves `version`, and the capacity has grown by one batch."""
    manifest = await run.learner.publish(version)
    await run.policy.prepare_update(manifest)
    await run.policy.finish_update(version)
    run.capacity.version = version


async def record(
    run: Run,
    groups: list[Group],
    samples_G: list[list[TrainingSample]],
    rewards_G: list[list[RolloutReward]],
    row: dict[str, Any],
    clock: StepClock,
) -> None:
    """metrics.jsonl holds the step; its rollouts and the timeline are in their own files."""
    step = row["step"]

    def write() -> None:
        rollouts = [
            trajectory_row(group, sample, reward)
            for group, samples_N, rewards_N in zip(groups, samples_G, rewards_G, strict=True)
            for sample, reward in zip(samples_N, rewards_N, strict=True)
        ]
        rollouts += [r for group in groups for r in dropped_rows(group)]
        run.directory.write_rollouts(step, rollouts)
        run.directory.append(run.directory.timeline, clock.timeline(step, groups))
        run.directory.append(run.directory.metrics, [row])

    await asyncio.to_thread(write)


async def checkpoint(run: Run, running: RunningGroups, report: StepReport, writes: BackgroundWrites) -> None:
    """The learner's state after this step is on disk, and a restarted policy starts from it.

    The checkpoint is marked complete only after the step's records are written, so that a resumed run lacks no step.
    """
    state = LoopState(report.version, run.sampler.next_index, tuple(running.pending()))
    with run.directory.writing():
        await run.learner.save(str(run.directory.unfinished(report.version)))
        path = await asyncio.to_thread(run.directory.place_checkpoint, report.version)
    run.learner.moved(path)
    run.policy.base(str(path), report.version)
    writes.then(asyncio.to_thread(complete_checkpoint, run.directory, state, keep=run.config.checkpoints.keep))


class StepClock:
    """Measures one step: how long each part took, and what the policy did in that time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._marks: dict[str, float] = {}
        self._asked: dict[str, asyncio.Task[PolicyStatus]] = {}
        """The policy's status at each mark; awaited only at the end of the step."""

    def _mark(self, name: str) -> None:
        self._marks[name] = time.monotonic()
        self._asked[name] = asyncio.create_task(self._run.policy.status(), name=f"status at {name}")
        self._asked[name].add_done_callback(_seen)

    def start(self) -> None:
        self._verdicts = self._run.verdicts()
        self._cores = busy_core_seconds()
        self._mark("start")

    def batch_ready(self) -> None:
        self._marks["batch"] = time.monotonic()

    def learner_starts(self) -> None:
        self._mark("learner")

    def learner_ended(self) -> None:
        self._mark("learned")

    async def stop(self) -> StepTimings:
        """The timings from `start` until now."""
        self._mark("stop")
        statuses = {name: await status for name, status in self._asked.items()}
        busy = {name: (status.sampled_tokens, status.busy_seconds) for name, status in statuses.items()}
        marks = self._marks
        # After a restart within the step, the policy counts from zero again.
        return StepTimings(
            total=marks["stop"] - marks["start"],
            waiting=marks["batch"] - marks["start"],
            learner=marks["learned"] - marks["learner"],
            publishing=marks["stop"] - marks["learned"],
            event_loop_lag=self._run.watchdog.take_lag(),
            sampled_tokens=max(0, busy["stop"][0] - busy["start"][0]),
            policy_busy=max(0.0, busy["stop"][1] - busy["start"][1]),
            policy_busy_while_learning=max(0.0, busy["learned"][1] - busy["learner"][1]),
            busy_core_seconds=busy_core_seconds() - self._cores,
            verdicts=self._run.verdicts() - self._verdicts,
        )

    def timeline(self, step: int, groups: list[Group]) -> list[dict[str, Any]]:
        """Spans in seconds since the run began: the learner's step, publishing, and each group's rollouts."""
        epoch, marks = self._run.epoch, self._marks

        def span(role: str, what: str, start: float, end: float) -> dict[str, Any]:
            return {
                "step": step,
                "role": role,
                "what": what,
                "start": round(start - epoch, 4),
                "end": round(end - epoch, 4),
            }

        rows = [
            span("learner", f"step {step}", marks["learner"], marks["learned"]),
            span("publish", f"version {step}", marks["learned"], marks["stop"]),
        ]
        for group in groups:
            starts = [t.timings.started for t in group.trajectories]
            ends = [t.timings.started + t.timings.total for t in group.trajectories]
            rows.append(span("rollouts", f"group {group.index}", min(starts), max(ends)))
        return rows


def _seen(status: asyncio.Task[PolicyStatus]) -> None:
    """Reads the error of a status request that a failed step left behind, so that asyncio does not warn about it."""
    if not status.cancelled():
        status.exception()
