"""Checks of the sandbox, the environments and their tasks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from agent_rl.cli.checks.check_result import DoctorCheck
from agent_rl.config import RunConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import AgentRLError
from agent_rl.evaluation.split_overlap import overlap_note
from agent_rl.judging import make_verifier
from agent_rl.providers import choose_provider
from agent_rl.rollouts.policy_agent import oracle_agent
from agent_rl.rollouts.run_group import run_rollout
from agent_rl.vocabulary import Task
from agent_rl.vocabulary.endless_tasks import some_of


async def open_sandbox(
    config: RunConfig, stack: AsyncExitStack, add: Callable[[DoctorCheck], DoctorCheck]
) -> SandboxProvider | None:
    """The started provider, which `stack` closes, or None. The choice of provider is added as a check."""
    said: list[str] = []
    one = config.sandbox.model_copy(update={"workers": 1})  # programs are run one after another here
    try:
        provider = await stack.enter_async_context(await choose_provider(one, said.append))
    except AgentRLError as error:
        add(DoctorCheck("sandbox", "failed", str(error)))
        return None
    choice = said[0].removeprefix("sandbox: ")
    add(DoctorCheck("sandbox", "good", f"{choice}; isolation between runs: {provider.isolation}"))
    return provider


def load_environments(
    config: RunConfig,
    provider: SandboxProvider | None,
    stack: AsyncExitStack,
    add: Callable[[DoctorCheck], DoctorCheck],
) -> list[NamedEnvironment]:
    """The environments, whose verifier `stack` closes; empty if one cannot be made.

    Without a provider they are made, but nothing is judged.
    """
    try:
        verifier = make_verifier(config.sandbox, provider, config.seed) if provider is not None else None
        if verifier is not None:
            stack.push_async_exit(verifier)
        named = make_environments(config.environments, verifier)  # pyright: ignore[reportArgumentType]
    except AgentRLError as error:
        add(DoctorCheck("environments", "failed", str(error)))
        return []
    add(DoctorCheck("environments", "good", ", ".join(n.name for n in named)))
    return named


async def tasks_of(
    config: RunConfig, named: NamedEnvironment, provider: SandboxProvider, into: list[Task]
) -> DoctorCheck:
    """Checks that both splits load and that the first task's oracle solution passes. Adds training tasks to `into`."""
    name = f"environment {named.name}"
    training = await named.environment.load("train")
    few = some_of(training)
    into += few
    held_out = await named.environment.load(config.evaluation.split) if config.evaluation.enabled else []
    if not training:
        return DoctorCheck(name, "failed", "has no tasks to train on")
    if config.evaluation.enabled and not held_out:
        return DoctorCheck(name, "failed", f"has no tasks in the split {config.evaluation.split!r}")
    number = len(training) if few is training else "endless"
    detail = f"{number} tasks to train on, {len(held_out)} held out"
    if named.minimum_mutation_score > 0:
        detail += (
            f" (those of a mutation score below {named.minimum_mutation_score:g} are dropped when training starts)"
        )
    notes = [overlap_note(few, held_out, config.evaluation.split)]
    left_out = {split: len(named.environment.left_out(split)) for split in ("train", config.evaluation.split)}
    notes += [f"{count} rows of the split {split!r} are left out" for split, count in left_out.items() if count]
    notes = [note for note in notes if note]
    detail = "; ".join([detail, *notes])
    task = training[0]
    if task.oracle is None:
        return DoctorCheck(name, "noted", f"{detail}; {task.id} has no oracle solution, so no judging was tried")
    trajectory = await run_rollout(named.environment, named.name, task, oracle_agent, provider)
    if trajectory.verdict is None:
        return DoctorCheck(name, "failed", f"{detail}; {task.id} could not be judged: {trajectory.error}")
    if not trajectory.verdict.passed:
        return DoctorCheck(
            name, "failed", f"{detail}; the oracle solution of {task.id} is judged {trajectory.verdict.status}"
        )
    return DoctorCheck(
        name,
        "noted" if notes else "good",
        f"{detail}; an oracle solution passes in {trajectory.verdict.seconds * 1000:.0f} ms",
    )
