"""The whole loop in one process: a scripted policy, a learner that counts, real rollouts, files and checkpoints."""

from __future__ import annotations

import asyncio
import errno
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from agent_rl.algorithms import make_algorithm
from agent_rl.config import RunConfig, WeightedPart, parse_config
from agent_rl.contracts import Agent, Batch, GenerateRequest, LossPlan, Sandbox, StepReport, WeightManifest
from agent_rl.errors import InfrastructureError, SandboxError, StorageError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.launch.supervised_roles import SupervisedLearner, SupervisedPolicy
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.checkpoint import LoopState
from agent_rl.loop.open_run import Run
from agent_rl.loop.run_display import Display
from agent_rl.loop.running_groups import RunningGroups
from agent_rl.loop.sampler import LoadedEnvironment, TaskSampler
from agent_rl.loop.train import run_loop
from agent_rl.loop.watchdog import Watchdog
from agent_rl.records.run_directory import RunDirectory
from agent_rl.rollouts.run_group import PolicyAgents, RolloutSettings
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.testing.scripted_policy import ScriptedPolicy
from agent_rl.vocabulary import Task, Verdict
from tests.unit.rollouts.support import PLAIN, FunctionEnvironment, chat, make_task


@dataclass
class FakeProcess:
    alive: bool = True

    async def stop(self) -> None:
        self.alive = False


@dataclass
class NotingLearner:
    """Keeps the batches that it was given; its state on disk is their number."""

    seconds: float = 0.0
    batches: list[Batch] = field(default_factory=list)
    version: int = 0

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        await asyncio.sleep(self.seconds)
        self.batches.append(batch)
        self.version += 1
        assert batch.step == self.version
        return StepReport(batch.step, self.version, 0.5, 1.0, 1e-3, batch.trained_tokens, 0.01)

    async def publish(self, version: int) -> WeightManifest:
        return WeightManifest(version, "blob", 0, ())

    async def save(self, path: str) -> None:
        Path(path).mkdir(parents=True)
        (Path(path) / "learner.json").write_text(json.dumps(self.version))

    async def load(self, path: str) -> None:
        self.version = json.loads((Path(path) / "learner.json").read_text())


def config(**loop: object) -> RunConfig:
    return parse_config(
        {
            "environments": [{"environment": "toy"}],
            "model": {"path": "none"},
            "loop": {"steps": 6, "groups_per_batch": 3, "group_size": 4, **loop},
            "evaluation": {"enabled": False},
        }
    )


def without_retries(settings: RunConfig) -> RunConfig:
    return settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"retries": 0})})


async def coin_toss(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
    """Two turns; passes where the second reply's length is even."""
    await agent.say(task.prompt)
    reply = await agent.say("again")
    passed = len(reply) % 2 == 0
    return Verdict(passed, "passed" if passed else "failed", "values", None)


async def made_run(tmp_path: Path, settings: RunConfig, rollout=coin_toss, *, delay=None) -> tuple[Run, NotingLearner]:
    tokenizer = chat(PLAIN)
    learner = NotingLearner()
    policy = SupervisedPolicy(
        lambda model, version: _start(ScriptedPolicy(vocabulary=400, delay=delay)),
        "model",
        0,
        max_restarts=0,
        say=lambda text: None,
    )
    supervised = SupervisedLearner(lambda: _start(learner), max_restarts=0, say=lambda text: None)
    await policy.open()
    await supervised.open(None, 0)
    directory = RunDirectory(tmp_path / "run")
    directory.create(settings, resume=False)
    environment = FunctionEnvironment(rollout)
    source = LoadedEnvironment("toy", environment, [make_task(i, f"toss {i}") for i in range(7)])
    rollouts = RolloutSettings(sampling=_short(), seed=settings.seed, max_context=256)
    provider = InMemoryProvider()
    run = Run(
        settings,
        directory,
        Display(Console(quiet=True)),
        Watchdog(60.0, tmp_path / "watchdog.log"),
        Capacity(settings.loop.groups_per_batch, settings.loop.max_staleness, steps=settings.loop.steps),
        TaskSampler([source], settings.seed),
        [],
        make_algorithm(settings),
        provider,
        TaskVerifier(provider),
        PolicyAgents(policy, tokenizer, rollouts),
        policy,
        supervised,
        None,
    )
    return run, learner


def _short():
    from agent_rl.contracts import SamplingParams

    return SamplingParams(max_tokens=6)


async def _start(role):
    return FakeProcess(), role


async def looped(run: Run) -> RunningGroups:
    running = run.running_groups()
    async with running:
        await run_loop(run, running)
    return running


def rows(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.directory.metrics.read_text().splitlines()]


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
async def test_every_step_is_recorded_and_within_the_bound(tmp_path: Path, max_staleness: int) -> None:
    delays = random.Random(0)
    run, learner = await made_run(
        tmp_path,
        config(max_staleness=max_staleness),
        delay=lambda request: delays.lognormvariate(-6.0, 1.0),
    )
    await looped(run)
    recorded = rows(run)
    assert [row["step"] for row in recorded] == [1, 2, 3, 4, 5, 6]
    assert [row["rollouts"] for row in recorded] == [12] * 6
    assert max(row["staleness_max"] for row in recorded) <= max_staleness
    assert len(learner.batches) == 6
    for row in recorded:
        lines = (run.directory.rollouts / f"step_{row['step']:06d}.jsonl").read_text().splitlines()
        trajectories = [json.loads(line) for line in lines]
        assert len(trajectories) == 12
        passed = sum(t["verdict"]["passed"] for t in trajectories)
        assert row["pass_rate"] == pytest.approx(passed / 12)
    assert [step for step, _ in run.directory.complete_checkpoints()] == [5, 6]


async def test_the_trained_rows_are_what_the_rollouts_sampled(tmp_path: Path) -> None:
    run, learner = await made_run(tmp_path, config(max_staleness=1))
    await looped(run)
    for step, batch in enumerate(learner.batches, start=1):
        lines = (run.directory.rollouts / f"step_{step:06d}.jsonl").read_text().splitlines()
        sampled = sorted(
            tuple(token for s in t["segments"] if s["source"] == "model" for token in s["token_ids"])
            for t in map(json.loads, lines)
            if t["advantage"] != 0.0
        )
        trained = sorted(
            tuple(token for token, mask in zip(row.token_ids, row.loss_mask, strict=True) if mask)
            for group in batch.groups
            for row in group.rows
        )
        assert trained == sampled
        assert trained, "a step in which nothing is trained would make this test empty"


async def test_infrastructure_failures_are_dropped_and_counted_never_scored(tmp_path: Path) -> None:
    async def fragile(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        reply = await agent.say(task.prompt)
        if len(reply) % 3 == 0:
            raise SandboxError("the container is gone")
        return Verdict(True, "passed", "values", None)

    settings = config(max_failed_share=1.0).model_copy(
        update={"sandbox": config().sandbox.model_copy(update={"retries": 0})}
    )
    run, _ = await made_run(tmp_path, settings, fragile)
    await looped(run)
    recorded = rows(run)
    assert all(row["pass_rate"] == 1.0 for row in recorded), "a failed machine is no failed rollout"
    assert sum(row["dropped"].get("sandbox", 0) for row in recorded) > 0
    files = sorted(run.directory.rollouts.iterdir())
    dropped = [t for f in files for t in map(json.loads, f.read_text().splitlines()) if "dropped" in t]
    assert dropped
    assert {t["boundary"] for t in dropped} == {"sandbox"}
    assert {t["error"] for t in dropped} == {"the container is gone"}


async def test_a_run_whose_infrastructure_fails_too_often_ends_and_names_the_cause(tmp_path: Path) -> None:
    async def broken(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        raise SandboxError("the daemon is gone")

    settings = without_retries(config())
    run, _ = await made_run(tmp_path, settings, broken)
    with pytest.raises(InfrastructureError, match="the daemon is gone"):
        await looped(run)


async def test_a_checkpoint_holds_what_has_to_be_issued_again(tmp_path: Path) -> None:
    run, _ = await made_run(tmp_path, config(max_staleness=1))
    await looped(run)
    for version in (5, 6):
        state = LoopState.read(run.directory.checkpoint(version))
        assert state.version == version
        # Whatever was handed out is either consumed or pending: nothing is lost, nothing is trained on twice.
        assert state.next_index == version * 3 + len(state.pending)
    assert len(LoopState.read(run.directory.checkpoint(5)).pending) == 3, "the last step's groups were under way"


async def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_the_last_checkpoint_whole(tmp_path: Path) -> None:
    run, learner = await made_run(tmp_path, config(max_staleness=0))
    saved = learner.save

    async def save(path: str) -> None:
        if path.endswith("step_000003"):
            raise OSError(errno.ENOSPC, "No space left on device", path)
        await saved(path)

    learner.save = save  # pyright: ignore[reportAttributeAccessIssue]
    said = r"run can no longer be written: No space left on device .*; free some space .* \(step_000002 is complete\)$"
    with pytest.raises(StorageError, match=said):
        await looped(run)
    assert [step for step, _ in run.directory.complete_checkpoints()] == [1, 2]
    assert [row["step"] for row in rows(run)] == [1, 2, 3], "cut back to step 2 when the run goes on"


async def test_permuted_verdicts_keep_their_number(tmp_path: Path) -> None:
    plain, _ = await made_run(tmp_path / "plain", config(max_staleness=0))
    await looped(plain)
    control = config(max_staleness=0)
    control = control.model_copy(update={"algorithm": control.algorithm.model_copy(update={"shuffle_rewards": True})})
    permuted, _ = await made_run(tmp_path / "permuted", control)
    await looped(permuted)

    def advantages(run: Run) -> list[tuple[int, float, bool]]:
        lines = [line for f in sorted(run.directory.rollouts.iterdir()) for line in f.read_text().splitlines()]
        return [(t["group"], t["advantage"], t["verdict"]["passed"]) for t in map(json.loads, lines)]

    first, second = advantages(plain), advantages(permuted)
    assert [(g, p) for g, _, p in first] == [(g, p) for g, _, p in second]
    assert [a for _, a, _ in first] != [a for _, a, _ in second]
    for group in {g for g, _, _ in first}:
        assert sorted(a for g, a, _ in first if g == group) == sorted(a for g, a, _ in second if g == group)


async def test_flipped_verdicts_are_trained_on_and_never_recorded(tmp_path: Path) -> None:
    noise = WeightedPart.model_validate({"name": "noisy_outcome", "false_passes": 1.0, "false_failures": 1.0})
    run, _ = await made_run(tmp_path, config(max_staleness=0).model_copy(update={"reward": (noise,)}))
    await looped(run)
    shares: list[float] = []
    mixed = 0
    for file in sorted(run.directory.rollouts.iterdir()):
        step = [json.loads(line) for line in file.read_text().splitlines()]
        shares.append(sum(row["verdict"]["passed"] for row in step) / len(step))
        for group in {row["group"] for row in step}:
            members = [(row["advantage"], row["verdict"]["passed"]) for row in step if row["group"] == group]
            if len({passed for _, passed in members}) == 2:
                mixed += 1
                # All verdicts are flipped: what failed has the positive advantage.
                assert all((advantage > 0) != passed for advantage, passed in members)
    assert mixed
    assert [row["pass_rate"] for row in rows(run)] == pytest.approx(shares)


async def test_a_stuck_stage_is_named(tmp_path: Path) -> None:
    watchdog = Watchdog(0.2, tmp_path / "watchdog.log")
    with watchdog.stage("publishing weights"), pytest.raises(InfrastructureError, match="'publishing weights'"):
        await watchdog.watch()
    assert "stuck in the stage 'publishing weights'" in (tmp_path / "watchdog.log").read_text()


def test_requests_carry_the_rollout_in_their_key(tmp_path: Path) -> None:
    async def go() -> set[tuple[int, ...]]:
        run, _ = await made_run(tmp_path, config(max_staleness=0))
        await looped(run)
        scripted = run.policy._policy
        assert isinstance(scripted, ScriptedPolicy)
        keys = [_key(r) for r in scripted.requests]
        assert len(keys) == len(set(keys)), "no two requests draw the same numbers"
        return set(keys)

    assert len(asyncio.run(go())) == 6 * 3 * 4 * 2


def _key(request: GenerateRequest) -> tuple[int, ...]:
    return request.key
