"""One episode in which the agent says the same each time; and many of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from agent_rl.contracts import Environment, SandboxProvider
from agent_rl.errors import EnvironmentFailure
from agent_rl.rollouts.agent import ScriptedAgent
from agent_rl.rollouts.run import run_rollout
from agent_rl.vocabulary import Task, Verdict

T = TypeVar("T")
SIDE_BY_SIDE = 8
"""Tasks that are judged at the same time: enough to keep a few slots busy."""


async def judge_reply(task: Task, text: str, environment: Environment, provider: SandboxProvider) -> Verdict:
    """The verdict of one episode in which the agent says `text` each time. Raises EnvironmentFailure without one."""
    trajectory = await run_rollout(
        environment, "validate", task, lambda task, name: ScriptedAgent(lambda messages: text), provider, retries=2
    )
    if trajectory.verdict is None:
        raise EnvironmentFailure(f"task {task.id} could not be judged ({trajectory.boundary}): {trajectory.error}")
    return trajectory.verdict


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]], most: int = SIDE_BY_SIDE) -> list[T]:
    """What each of `work` returns, in order, at most `most` at a time.

    Raises the first error itself, never a group of them; nothing is left running then.
    """
    slots = asyncio.Semaphore(most)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with slots:
            return await coroutine

    coroutines = list(work)
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(c)) for c in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for coroutine in coroutines:
            coroutine.close()  # one that never had its turn
    return [r.result() for r in running]
