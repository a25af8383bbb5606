"""`run_plan`: an evaluation on its own, outside any training: sandbox, policy and rollouts, opened and closed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from agent_rl.config import RunConfig
from agent_rl.contracts import Environment, SamplingParams, SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import ConfigError
from agent_rl.evaluation.evaluate import GroupRunner, evaluate
from agent_rl.evaluation.policy_spec import FixedReply, ModelSource
from agent_rl.evaluation.row import EvalRow
from agent_rl.rollouts.agent import AgentMaker, PolicyAgents, RolloutSettings, empty_agent, reference_agent
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.run import run_group
from agent_rl.sandbox_choice import choose_provider
from agent_rl.verify.judge import CaseVerifier
from agent_rl.vocabulary import Group, Task

_GROUPS_AT_ONCE = 64
_FIXED: dict[FixedReply, AgentMaker] = {"gold": reference_agent, "empty": empty_agent}


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is to be measured. `tasks` None is all of the split; `greedy` asks for one such rollout per task besides."""

    policy: FixedReply | ModelSource
    split: str
    tasks: int | None
    samples: int
    k: tuple[int, ...]
    greedy: bool
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Agents:
    """Who answers: sampled rollouts, and greedy ones."""

    sampled: AgentMaker
    greedy: AgentMaker
    version: int | None


async def run_plan(config: RunConfig, plan: EvaluationPlan, say: Callable[[str], None] = print) -> list[EvalRow]:
    """One row per environment of `config`, measured as `plan` says.

    Raises ConfigError for the user's mistakes, InfrastructureError where the machinery failed.
    """
    async with AsyncExitStack() as stack:
        agents = await _agents(config, plan, stack)
        provider = await choose_provider(config.sandbox, say)
        verifier = CaseVerifier(
            provider,
            seed=plan.seed,
            retries=config.sandbox.retries,
            minimum_tier=config.sandbox.minimum_tier,
            minimum_isolation=config.sandbox.minimum_isolation,
        )
        environments = make_environments(config.environments, verifier)
        await stack.enter_async_context(provider)
        return [await _measure(named, plan, agents, provider, config.sandbox.retries) for named in environments]


async def _measure(
    named: NamedEnvironment, plan: EvaluationPlan, agents: Agents, provider: SandboxProvider, retries: int
) -> EvalRow:
    """The row of one environment, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    tasks = held_out_tasks(await named.environment.load(plan.split), plan.tasks)
    if not tasks:
        raise ConfigError(f"{named.name} has no tasks in this split", key="--split", value=plan.split)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"{named.name}, {plan.split}", total=len(tasks))
        return await evaluate(
            environment=named.name,
            split=plan.split,
            tasks=tasks,
            run_group=group_runner(named.environment, named.name, agents, provider, retries=retries),
            num_samples=plan.samples,
            k=plan.k,
            greedy=plan.greedy,
            policy_version=agents.version,
            concurrency=_GROUPS_AT_ONCE,
            seed=plan.seed,
            on_task=lambda done, of: progress.update(bar, completed=done),
        )


def held_out_tasks(tasks: Sequence[Task], count: int | None) -> list[Task]:
    """At most `count` of `tasks`, chosen by their ids alone: the same in every run and every evaluation."""
    if count is None or count >= len(tasks):
        return list(tasks)
    return sorted(tasks, key=lambda task: hashlib.blake2b(task.id.encode()).digest())[:count]


def group_runner(
    environment: Environment, name: str, agents: Agents, provider: SandboxProvider | None, *, retries: int
) -> GroupRunner:
    """A runner for `evaluate`; its sessions are named apart from those of training, and greedy from sampled."""

    async def run(task: Task, *, index: int, samples: int, greedy: bool) -> Group:
        maker = agents.greedy if greedy else agents.sampled
        label = f"{name}/{'greedy' if greedy else 'evaluation'}"
        return await run_group(
            environment, label, task, maker, provider, index=index, group_size=samples, retries=retries
        )

    return run


async def _agents(config: RunConfig, plan: EvaluationPlan, stack: AsyncExitStack) -> Agents:
    """The agents that `plan.policy` names; a model's process is started, and ends with `stack`."""
    if not isinstance(plan.policy, ModelSource):
        maker = _FIXED[plan.policy]
        return Agents(maker, maker, None)
    from agent_rl.loop.roles import start_policy
    from agent_rl.runtime.local import LocalRuntime

    folder, version = plan.policy.folder, plan.policy.version
    tokenizer = ChatTokenizer.load(folder, config.model.chat_template)
    runtime = await stack.enter_async_context(LocalRuntime())
    _, policy = await start_policy(runtime, config)(str(folder), version)
    sampling = SamplingParams(plan.temperature, config.sampling.top_p, config.sampling.top_k, plan.max_tokens)
    settings = RolloutSettings(
        sampling=sampling,
        seed=plan.seed,
        deadline=config.sampling.rollout_deadline,
        max_context=context_of(folder),
    )
    greedy = replace(settings, sampling=replace(sampling, temperature=0.0))
    return Agents(PolicyAgents(policy, tokenizer, settings), PolicyAgents(policy, tokenizer, greedy), version)


def context_of(folder: Path, default: int = 4096) -> int:
    """How many tokens the model in `folder` can attend to, by its own configuration; else `default`."""
    import json

    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / 'config.json'} cannot be read: {error}", key="--policy") from None
    for part in (config, config.get("text_config") or {}):
        if isinstance(part.get("max_position_embeddings"), int):
            return part["max_position_embeddings"]
    return default
