"""Tasks and groups without any model, for the loop's tests."""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.contracts import Agent, Environment, EnvironmentConfig, Sandbox
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.loop.sampler import LoadedEnvironment, SampledTask
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, Case, DroppedRollout, Group, Message, Segment, Task, Trajectory, Verdict


class Nothing(Environment):
    """An environment whose rollouts nobody runs."""

    async def load(self, split: str) -> Sequence[Task]:
        return tasks(8)

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        raise AssertionError("not to be called")


def tasks(count: int) -> list[Task]:
    return [Task(f"t{i}", (Message.user(f"task {i}"),), CallTests("f", (Case((1,), 1),))) for i in range(count)]


def source(count: int = 8, name: str = "nothing", weight: float = 1.0) -> LoadedEnvironment:
    environment = Nothing(EnvironmentConfig(), TaskVerifier(InMemoryProvider()))
    return LoadedEnvironment(name, environment, tasks(count), weight)


def group(sampled: SampledTask, *, version: int, size: int = 2, survivors: int | None = None, tokens: int = 1) -> Group:
    """A group of `survivors` trajectories with `tokens` sampled tokens each, all of `version`."""
    survivors = size if survivors is None else survivors
    segments = (
        Segment(None, "task", (1,)),
        Segment(0, "model", (2,) * tokens, (-1.0,) * tokens, (version,) * tokens, (True,) * tokens),
    )
    verdict = Verdict(True, "passed", "values", "memory")
    return Group(
        sampled.index,
        sampled.source.name,
        sampled.task,
        size,
        tuple(
            Trajectory(sampled.task.id, "nothing", sampled.index, r, segments, (1,), (), verdict, "answered")
            for r in range(survivors)
        ),
        tuple(DroppedRollout(r, "infrastructure", "sandbox", "died") for r in range(survivors, size)),
    )
