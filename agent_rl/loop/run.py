"""A `Run`: every part that the loop uses, opened in order and closed in reverse, whatever happens."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent_rl.cache import cache_folder
from agent_rl.config import RunConfig
from agent_rl.contracts import Objective, SamplingParams, SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.evaluation import append_row, evaluate, read_rows
from agent_rl.evaluation.session import context_of, held_out_tasks
from agent_rl.learner.warm_start import prepare_model
from agent_rl.loop.capacity import Capacity
from agent_rl.loop.checkpoint import LoopState
from agent_rl.loop.live import Display
from agent_rl.loop.lockstep import LockstepPolicy
from agent_rl.loop.roles import start_learner, start_policy
from agent_rl.loop.run_directory import RunDirectory
from agent_rl.loop.sampler import LoadedEnvironment, SampledTask, TaskSampler
from agent_rl.loop.supervised import SupervisedLearner, SupervisedPolicy
from agent_rl.loop.watchdog import Watchdog
from agent_rl.objectives import make_objective
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.run import PolicyAgents, RolloutSettings, TimedVerifier, run_group
from agent_rl.runtime.local import LocalRuntime
from agent_rl.sandbox_choice import choose_provider
from agent_rl.verify.judge import CaseVerifier
from agent_rl.vocabulary import Group, Task


@dataclass(slots=True)
class Run:
    """The parts of a run. `epoch` is the monotonic time at which it began."""

    config: RunConfig
    directory: RunDirectory
    display: Display
    watchdog: Watchdog
    capacity: Capacity
    sampler: TaskSampler
    held_out: list[LoadedEnvironment]
    objective: Objective
    provider: SandboxProvider
    verifier: CaseVerifier
    agents: PolicyAgents
    policy: SupervisedPolicy
    learner: SupervisedLearner
    lockstep: LockstepPolicy | None
    epoch: float = field(default_factory=time.monotonic)

    def verdicts(self) -> int:
        """How many verdicts have been given since the run began."""
        return self.verifier.runs + self.verifier.reused

    async def run_group(self, sampled: SampledTask) -> Group:
        """The group of one sampled task, `loop.group_size` rollouts."""
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
        """Before the first step, after the last, and every `evaluation.every` steps: the held-out rows stand."""
        settings, version = self.config.evaluation, self.capacity.version
        regular = settings.every > 0 and version % settings.every == 0
        if not settings.enabled or not (regular or version in (0, self.config.loop.steps)):
            return
        present = {(row.environment, row.policy_version) for row in read_rows(self.directory.evaluations)}
        for source in self.held_out:
            if (source.name, version) not in present:
                await self._evaluate(source, version)

    async def _evaluate(self, source: LoadedEnvironment, version: int) -> None:
        settings = self.config.evaluation
        started = time.monotonic()

        async def runner(task: Task, *, index: int, samples: int, greedy: bool) -> Group:
            # A name of its own: sessions and random draws must not meet those of training.
            kind = "greedy" if greedy else "sampled"
            sampling = self.agents.settings.sampling
            if greedy:
                sampling = SamplingParams(temperature=0.0, max_tokens=sampling.max_tokens)
            return await run_group(
                source.environment,
                f"{source.name}/evaluation {version} {kind}",
                task,
                PolicyAgents(self.policy, self.agents.tokenizer, replace(self.agents.settings, sampling=sampling)),
                self.provider,
                index=index,
                group_size=samples,
                retries=self.config.sandbox.retries,
            )

        self.display.say(f"evaluating version {version} on {len(source.tasks)} held-out tasks of {source.name} …")
        with self.watchdog.stage("evaluating"):
            row = await evaluate(
                environment=source.name,
                split=settings.split,
                tasks=source.tasks,
                run_group=runner,
                num_samples=settings.samples,
                k=settings.k,
                greedy=settings.greedy,
                policy_version=version,
                concurrency=max(1, self.config.policy.max_batch // settings.samples),
                on_task=lambda done, of: self.watchdog.progress(),
            )
        append_row(self.directory.evaluations, row)
        shares = ", ".join(f"pass@{k} {estimate}" for k, estimate in sorted(row.pass_at_k.items()))
        greedy = "" if row.greedy is None else f", greedy {row.greedy}"
        seconds = time.monotonic() - started
        self.display.say(f"  {shares}{greedy} ({seconds:.0f} s, {row.num_excluded} rollouts left out)")


@asynccontextmanager
async def open_run(config: RunConfig, run_dir: Path, *, resume: bool, display: Display) -> AsyncIterator[Run]:
    """The parts of a run, ready, from the last checkpoint with `resume`; all of them are gone when the block ends."""
    directory = RunDirectory(run_dir)
    directory.create(config, resume=resume)
    checkpoints = directory.complete_checkpoints() if resume else []
    steps_done, checkpoint = checkpoints[-1] if checkpoints else (0, None)
    if resume:
        directory.cut_back(steps_done)
        display.say(f"resuming {run_dir} after step {steps_done}")
    watchdog = Watchdog(config.loop.stuck_timeout, directory.logs / "watchdog.log")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(await choose_provider(config.sandbox, display.say))
        display.say(f"isolation between runs: {provider.isolation}")
        verifier = CaseVerifier(
            provider,
            seed=config.seed,
            retries=config.sandbox.retries,
            minimum_tier=config.sandbox.minimum_tier,
            minimum_isolation=config.sandbox.minimum_isolation,
        )
        environments = make_environments(config.environments, TimedVerifier(verifier))
        sampler = TaskSampler(await _load(environments, "train"), config.seed)
        held_out = await _held_out(environments, config) if config.evaluation.enabled else []
        model = str(await _starting_model(config, display))
        tokenizer = ChatTokenizer.load(model, config.model.chat_template)
        runtime = await stack.enter_async_context(LocalRuntime(run_dir))
        policy = SupervisedPolicy(
            start_policy(runtime, config),
            str(checkpoint or model),
            steps_done,
            max_restarts=config.policy.max_restarts,
            say=display.say,
        )
        learner = SupervisedLearner(
            start_learner(runtime, config, model), max_restarts=config.learner.max_restarts, say=display.say
        )
        await policy.open()
        await learner.open(checkpoint, steps_done)
        lockstep = LockstepPolicy(policy) if config.deterministic else None
        loop = config.loop
        capacity = Capacity(loop.groups_per_batch, loop.max_staleness, steps_done, loop.steps)
        capacity.accepted = steps_done * config.loop.groups_per_batch
        if checkpoint is not None:
            state = LoopState.read(checkpoint)
            sampler.next_index = state.next_index
            sampler.again.extend(state.pending)
        settings = RolloutSettings(
            sampling=SamplingParams(temperature=config.sampling.temperature, max_tokens=config.sampling.max_tokens),
            seed=config.seed,
            deadline=config.sampling.rollout_deadline,
            max_context=context_of(Path(model)),
        )
        objective = make_objective(config.objective)
        size = config.loop.group_size
        display.say(
            f"objective: {objective.name}, N = {size}, estimates order {objective.order(size)}; "
            f"max_staleness {config.loop.max_staleness}"
        )
        yield Run(
            config,
            directory,
            display,
            watchdog,
            capacity,
            sampler,
            held_out,
            objective,
            provider,
            verifier,
            PolicyAgents(lockstep or policy, tokenizer, settings),
            policy,
            learner,
            lockstep,
        )


async def _starting_model(config: RunConfig, display: Display) -> Path:
    """The folder of the starting model. What makes it ends with this call, also where that is cancelled."""
    children: list[subprocess.Popen[bytes]] = []
    try:
        return await asyncio.to_thread(prepare_model, config, cache_folder(), display.say, children.append)
    except asyncio.CancelledError:
        for child in children:
            child.terminate()
        raise


async def _load(environments: list[NamedEnvironment], split: str) -> list[LoadedEnvironment]:
    return [LoadedEnvironment(e.name, e.environment, await e.environment.load(split), e.weight) for e in environments]


async def _held_out(environments: list[NamedEnvironment], config: RunConfig) -> list[LoadedEnvironment]:
    """The tasks of the held-out split: at most `evaluation.tasks` of each environment, the same in every run."""
    chosen: list[LoadedEnvironment] = []
    for source in await _load(environments, config.evaluation.split):
        tasks = held_out_tasks(source.tasks, config.evaluation.tasks)
        chosen.append(LoadedEnvironment(source.name, source.environment, tasks, source.weight))
    return chosen
