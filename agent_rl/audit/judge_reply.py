"""One episode in which the agent always gives the same reply."""

from __future__ import annotations

from agent_rl.contracts import Environment, Sandboxes
from agent_rl.errors import EnvironmentFailure
from agent_rl.rollouts.policy_agent import ScriptedAgent
from agent_rl.rollouts.run_group import run_rollout
from agent_rl.vocabulary import Task, Verdict

SIDE_BY_SIDE = 8
"""The number of tasks that are judged concurrently: enough to keep a few workers busy."""


async def judge_reply(
    task: Task, text: str, environment: Environment, provider: Sandboxes, *, command: str = "validate"
) -> Verdict:
    """The verdict of an episode in which the agent always replies `text`. Raises EnvironmentFailure if it has none.

    `command`: which one it is for, as warnings name it.
    """
    trajectory = await run_rollout(
        environment, command, task, lambda task, name: ScriptedAgent(lambda messages: text), provider, retries=2
    )
    if trajectory.verdict is None:
        raise EnvironmentFailure(f"task {task.id} could not be judged ({trajectory.boundary}): {trajectory.error}")
    return trajectory.verdict
