"""The measured agents, tasks and group names: the same in a training run and in `agent-rl eval`.

A rollout's random draws depend on the run's seed and on the name that its group has here. So `agent-rl eval` with the
run's seed repeats the draws that the run made when it measured that version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent_rl.contracts import Environment, Sandboxes
from agent_rl.evaluation.evaluate import GroupRunner
from agent_rl.rollouts.policy_agent import AgentMaker, PolicyAgents
from agent_rl.rollouts.run_group import run_group
from agent_rl.vocabulary import Group, Task
from agent_rl.vocabulary.endless_tasks import FEW, some_of


@dataclass(frozen=True, slots=True)
class Agents:
    """The agents for sampled and for greedy rollouts, and the policy version of all tokens (None for a fixed reply)."""

    sampled: AgentMaker
    greedy: AgentMaker
    version: int | None

    @staticmethod
    def of_policy(agents: PolicyAgents, version: int) -> Agents:
        """`agents`, and the same at temperature 0."""
        settings = agents.settings
        greedy = replace(settings, sampling=replace(settings.sampling, temperature=0.0))
        return Agents(agents, replace(agents, settings=greedy), version)


def group_runner(
    environment: Environment, name: str, agents: Agents, provider: Sandboxes | None, *, retries: int
) -> GroupRunner:
    """A runner for `evaluate`. Its sessions and draws differ from those of training; those of greedy rollouts differ
    from those of sampled ones."""
    version = "" if agents.version is None else f" {agents.version}"

    async def run(task: Task, *, index: int, samples: int, greedy: bool) -> Group:
        maker, kind = (agents.greedy, "greedy") if greedy else (agents.sampled, "sampled")
        label = f"{name}/evaluation{version} {kind}"
        return await run_group(
            environment, label, task, maker, provider, index=index, group_size=samples, retries=retries
        )

    return run


def held_out_tasks(tasks: Sequence[Task], count: int | None) -> list[Task]:
    """At most `count` of `tasks`, chosen by their ids alone: the same in every run and every evaluation.

    Of endless tasks, the first `count`.
    """
    tasks = some_of(tasks, FEW if count is None else count)
    if count is None or count >= len(tasks):
        return list(tasks)
    return sorted(tasks, key=lambda task: hashlib.blake2b(task.id.encode()).digest())[:count]
