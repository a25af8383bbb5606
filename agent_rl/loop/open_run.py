"""A `Run`: every part that the loop uses. Parts are opened in order and always closed in reverse order."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent_rl.algorithms import Algorithm, make_algorithm
from agent_rl.cache import cache_folder
from agent_rl.config import RunConfig
from agent_rl.contracts import SamplingParams, SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.evaluation.evaluate import evaluate
from agent_rl.evaluation.evaluated_agents import Agents, group_runner, held_out_tasks
from agent_rl.inference.start_policy import make_policy, served_context
from agent_rl.judging import TaskVerifier, make_verifier
from agent_rl.launch.colocated import device_free
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.launch.replicated_policy import ReplicatedPolicy
from agent_rl.launch.supervised_roles import SupervisedLearner
from agent_rl.learner.start_learner import start_learner
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.checkpoint import LoopState
from agent_rl.loop.lockstep import LockstepPolicy
from agent_rl.loop.logprob_mismatch import mismatch_of
from agent_rl.loop.run_display import Display
from agent_rl.loop.running_groups import RunningGroups
from agent_rl.loop.sampler import LoadedEnvironment, SampledTask, TaskSampler
from agent_rl.loop.starting_model import prepare_model
from agent_rl.loop.task_notes import note_tasks
from agent_rl.loop.task_selection import without_weak_tasks
from agent_rl.loop.watchdog import Watchdog
from agent_rl.providers import choose_provider
from agent_rl.records.eval_file import append_row, read_rows
from agent_rl.records.run_directory import RunDirectory
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.run_group import PolicyAgents, RolloutSettings, TimedVerifier, run_group
from agent_rl.vocabulary import Group
from agent_rl.vocabulary.endless_tasks import some_of


@dataclass(slots=True)
class Run:
    """The parts of a run. `epoch` is the monotonic time from which its timeline counts."""

    config: RunConfig
    directory: RunDirectory
    display: Display
    watchdog: Watchdog
    capacity: Capacity
    sampler: TaskSampler
    held_out: list[LoadedEnvironment]
    algorithm: Algorithm
    provider: SandboxProvider
    verifier: TaskVerifier
    agents: PolicyAgents
    policy: ReplicatedPolicy
    learner: SupervisedLearner
    lockstep: LockstepPolicy | None
    epoch: float = field(default_factory=time.monotonic)

    def running_groups(self) -> RunningGroups:
        """A new `RunningGroups` for this run, with no group running yet; an async context manager."""
        loop = self.config.loop
        return RunningGroups(
            self.capacity,
            self.sampler,
            self.run_group,
            straggler_timeout=loop.straggler_timeout,
            on_stale=loop.on_stale,
            max_failed_share=loop.max_failed_share,
            smallest_group=self.algorithm.estimator.smallest_group,
            group_size=loop.group_size,
            on_group=self.watchdog.progress,
            on_alarm=self.display.say,
        )

    def verdicts(self) -> int:
        """How many verdicts have been given since the run began."""
        return self.verifier.verdicts

    async def run_group(self, sampled: SampledTask) -> Group:
        """The group of one sampled task: `loop.group_size` rollouts."""
        size = self.config.loop.group_size
        if self.lockstep is not None:
            self.lockstep.expect(size)
        return await run_group(
            sampled.source.environment,
            sampled.source.name,
            sampled.task,
            self.agents,
            self.provider,
            index=sampled.index,
            group_size=size,
            retries=self.config.sandbox.retries,
        )

    async def evaluate_if_due(self) -> None:
        """The evaluation rows of this version exist if it is due: first, last, and every `evaluation.every` steps."""
        settings, version = self.config.evaluation, self.capacity.version
        regular = settings.every > 0 and version % settings.every == 0
        due = settings.before if version == 0 else regular or version == self.config.loop.steps
        if not settings.enabled or not due:
            return
        present = {(row.environment, row.policy_version) for row in read_rows(self.directory.evaluations)}
        for source in self.held_out:
            if (source.name, version) not in present:
                await self._evaluate(source, version)

    async def _evaluate(self, source: LoadedEnvironment, version: int) -> None:
        settings = self.config.evaluation
        started = time.monotonic()
        # Not through `lockstep`: the evaluated tasks would wait for each other.
        agents = Agents.of_policy(replace(self.agents, policy=self.policy), version)
        self.display.say(f"evaluating version {version} on {len(source.tasks)} held-out tasks of {source.name} …")
        with self.watchdog.stage("evaluating"):
            row = await evaluate(
                environment=source.name,
                split=settings.split,
                tasks=source.tasks,
                run_group=group_runner(
                    source.environment, source.name, agents, self.provider, retries=self.config.sandbox.retries
                ),
                num_samples=settings.samples,
                k=settings.k,
                greedy=settings.greedy,
                policy_version=version,
                concurrency=max(1, self.config.policy.max_batch // settings.samples),
                on_task=lambda done, of: self.watchdog.progress(),
            )
        with self.directory.writing():
            append_row(self.directory.evaluations, row)
        shares = ", ".join(f"pass@{k} {estimate}" for k, estimate in sorted(row.pass_at_k.items()))
        greedy = "" if row.greedy is None else f", greedy {row.greedy}"
        seconds = time.monotonic() - started
        self.display.say(f"  {shares}{greedy} ({seconds:.0f} s, {row.num_excluded} rollouts dropped)")


@asynccontextmanager
async def open_run(config: RunConfig, run_dir: Path, *, resume: bool, display: Display) -> AsyncIterator[Run]:
    """The parts of a run, ready to train; with `resume`, from the last checkpoint. The block's end closes them all."""
    directory = RunDirectory(run_dir)
    algorithm = make_algorithm(config)
    start = _prepared(directory, config, resume=resume, display=display)
    watchdog = Watchdog(config.loop.stuck_timeout, directory.logs / "watchdog.log")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(await choose_provider(config.sandbox, display.say))
        display.say(f"isolation between runs: {provider.isolation}")
        verifier = await stack.enter_async_context(make_verifier(config.sandbox, provider, config.seed))
        environments = make_environments(config.environments, TimedVerifier(verifier))
        sources = await _to_train_on(environments, provider, directory, display)
        sampler = TaskSampler(sources, config.seed)
        held_out = await _held_out(environments, config) if config.evaluation.enabled else []
        note_tasks(sources, held_out, config.evaluation.split, directory.task_notes, display.say)
        model = await _starting_model(config, display)
        tokenizer = ChatTokenizer.load(str(model), config.model.chat_template, config.model.template_variables)
        runtime = await stack.enter_async_context(LocalLauncher(run_dir))
        policy, learner = await open_roles(
            stack, runtime, config, model, display.say, checkpoint=start.checkpoint, version=start.steps
        )
        if config.mismatch.check:
            tasks = [task for source in sources for task in some_of(source.tasks)]
            mismatch = await mismatch_of(config, policy, learner, tokenizer, tasks, served_context(config, model))
            display.say(f"mismatch: {mismatch.line(config.mismatch_bounds)}")
            mismatch.require(config.mismatch_bounds, start.steps)
        lockstep = LockstepPolicy(policy) if config.deterministic else None
        capacity = _restored(start, sampler, config)
        display.say(f"{algorithm.line(config.loop.group_size)}; max_staleness {config.loop.max_staleness}")
        yield Run(
            config,
            directory,
            display,
            watchdog,
            capacity,
            sampler,
            held_out,
            algorithm,
            provider,
            verifier,
            PolicyAgents(lockstep or policy, tokenizer, _rollout_settings(config, model)),
            policy,
            learner,
            lockstep,
            # A resumed run's spans follow those already in the timeline.
            epoch=time.monotonic() - directory.elapsed(),
        )


@dataclass(frozen=True, slots=True)
class _StartingPoint:
    """Where a run continues: after `steps` steps, from `checkpoint`; None means from the starting model."""

    steps: int
    checkpoint: Path | None


def _prepared(directory: RunDirectory, config: RunConfig, *, resume: bool, display: Display) -> _StartingPoint:
    """Where the run begins; `directory` exists and holds nothing from after that point. Raises ConfigError."""
    directory.create(config, resume=resume)
    if not resume:
        return _StartingPoint(0, None)
    checkpoints = directory.complete_checkpoints()
    start = _StartingPoint(*checkpoints[-1]) if checkpoints else _StartingPoint(0, None)
    directory.cut_back(start.steps)
    display.say(f"resuming {directory.path} after step {start.steps}")
    return start


async def open_roles(
    stack: AsyncExitStack,
    runtime: LocalLauncher,
    config: RunConfig,
    model: Path,
    say: Callable[[str], None],
    *,
    checkpoint: Path | None = None,
    version: int = 0,
) -> tuple[ReplicatedPolicy, SupervisedLearner]:
    """The policy and the learner, each in its own process. Both have `version`, that of `checkpoint` or of `model`."""
    policy = make_policy(runtime, config, str(checkpoint or model), version, say)
    learner = SupervisedLearner(
        start_learner(runtime, config, str(model)),
        max_restarts=config.learner.max_restarts,
        say=say,
        device_free=lambda: device_free(policy),
    )
    stack.push_async_callback(policy.close)
    await learner.open(checkpoint, version)
    if config.loop.placement == "colocated":
        await learner.sleep()  # before the policy takes the device's memory
    await policy.open()
    return policy, learner


def _restored(start: _StartingPoint, sampler: TaskSampler, config: RunConfig) -> Capacity:
    """The counters where the run begins; `sampler` first hands out the groups that were running then."""
    loop = config.loop
    capacity = Capacity(loop.groups_per_batch, loop.max_staleness, start.steps, loop.steps)
    capacity.accepted = start.steps * loop.groups_per_batch
    if start.checkpoint is not None:
        state = LoopState.read(start.checkpoint)
        sampler.next_index = state.next_index
        sampler.again.extend(state.pending)
    return capacity


def _rollout_settings(config: RunConfig, model: Path) -> RolloutSettings:
    """The sampling parameters and limits of the run's rollouts."""
    return RolloutSettings(
        sampling=SamplingParams(temperature=config.sampling.temperature, max_tokens=config.sampling.max_tokens),
        seed=config.seed,
        deadline=config.sampling.rollout_deadline,
        max_context=served_context(config, model),
    )


async def _starting_model(config: RunConfig, display: Display) -> Path:
    """The folder of the starting model. The processes that make it end with this call, even when it is cancelled."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        return await asyncio.to_thread(prepare_model, config, cache_folder(), display.say, children.append)
    except asyncio.CancelledError:
        for child in children:
            child.terminate()
        raise


async def _load(environments: list[NamedEnvironment], split: str) -> list[LoadedEnvironment]:
    return [LoadedEnvironment(e.name, e.environment, await e.environment.load(split), e.weight) for e in environments]


async def _to_train_on(
    environments: list[NamedEnvironment], provider: SandboxProvider, directory: RunDirectory, display: Display
) -> list[LoadedEnvironment]:
    """The tasks of the split `train`, except those whose tests are too weak."""
    sources = await _load(environments, "train")
    return await without_weak_tasks(environments, sources, provider, directory.dropped_tasks, display.say)


async def _held_out(environments: list[NamedEnvironment], config: RunConfig) -> list[LoadedEnvironment]:
    """The tasks of the held-out split: at most `evaluation.tasks` of each environment, the same in every run."""
    chosen: list[LoadedEnvironment] = []
    for source in await _load(environments, config.evaluation.split):
        tasks = held_out_tasks(source.tasks, config.evaluation.tasks)
        chosen.append(LoadedEnvironment(source.name, source.environment, tasks, source.weight))
    return chosen
