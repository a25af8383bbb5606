"""`run_plan`: a whole evaluation outside training. It starts sandbox and policy, runs the rollouts, and closes all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent_rl.config import RunConfig
from agent_rl.contracts import SamplingParams, SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import ConfigError
from agent_rl.evaluation.evaluate import evaluate
from agent_rl.evaluation.evaluated_agents import Agents, group_runner, held_out_tasks
from agent_rl.evaluation.policy_spec import FixedReply, ModelSource
from agent_rl.formats.invalid_rows import lines_of
from agent_rl.inference.required_devices import require_devices
from agent_rl.inference.start_policy import make_policy, served_context
from agent_rl.judging import make_verifier
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.providers import choose_provider
from agent_rl.records.eval_row import EvalRow
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.policy_agent import AgentMaker, PolicyAgents, RolloutSettings, empty_agent, oracle_agent

_GROUPS_AT_ONCE = 64
_FIXED: dict[FixedReply, AgentMaker] = {"gold": oracle_agent, "empty": empty_agent}


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What to measure. `tasks` None is all tasks of the split; `greedy` adds one greedy rollout per task."""

    policy: FixedReply | ModelSource
    split: str
    tasks: int | None
    samples: int
    k: tuple[int, ...]
    greedy: bool
    temperature: float
    max_tokens: int
    seed: int


async def run_plan(config: RunConfig, plan: EvaluationPlan, say: Callable[[str], None] = print) -> list[EvalRow]:
    """One row per environment of `config`, measured as `plan` says.

    Raises ConfigError for the user's mistakes, and InfrastructureError if the infrastructure failed.
    """
    async with AsyncExitStack() as stack:
        agents = await _agents(config, plan, stack, say)
        provider = await choose_provider(config.sandbox, say)
        verifier = await stack.enter_async_context(make_verifier(config.sandbox, provider, plan.seed))
        environments = make_environments(config.environments, verifier)
        await stack.enter_async_context(provider)
        return [await _measure(named, plan, agents, provider, config.sandbox.retries, say) for named in environments]


async def _measure(
    named: NamedEnvironment,
    plan: EvaluationPlan,
    agents: Agents,
    provider: SandboxProvider,
    retries: int,
    say: Callable[[str], None],
) -> EvalRow:
    """The row of one environment, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    loaded = await named.environment.load(plan.split)
    for line in lines_of(named.environment.left_out(plan.split), len(loaded)):
        say(line)
    tasks = held_out_tasks(loaded, plan.tasks)
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
            on_task=lambda done, of: progress.update(bar, completed=done),
        )


async def _agents(config: RunConfig, plan: EvaluationPlan, stack: AsyncExitStack, say: Callable[[str], None]) -> Agents:
    """The agents that `plan.policy` names. For a model a policy process is started; it ends with `stack`."""
    if not isinstance(plan.policy, ModelSource):
        maker = _FIXED[plan.policy]
        return Agents(maker, maker, None)
    require_devices(config, learner=False)
    folder, version = plan.policy.folder, plan.policy.version
    tokenizer = ChatTokenizer.load(folder, config.model.chat_template, config.model.template_variables)
    runtime = await stack.enter_async_context(LocalLauncher())
    policy = make_policy(runtime, config, str(folder), version, say)
    stack.push_async_callback(policy.close)
    await policy.open()
    settings = RolloutSettings(
        sampling=SamplingParams(temperature=plan.temperature, max_tokens=plan.max_tokens),
        seed=plan.seed,
        deadline=config.sampling.rollout_deadline,
        max_context=served_context(config, folder),
    )
    return Agents.of_policy(PolicyAgents(policy, tokenizer, settings), version)
