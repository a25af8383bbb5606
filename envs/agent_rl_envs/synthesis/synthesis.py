"""`Synthesis`: function-writing problems made by a seeded generator, answered in a few turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from agent_rl import (
    Agent,
    ConfigError,
    Environment,
    EnvironmentConfig,
    InvalidSubmission,
    Message,
    Sandbox,
    Submission,
    Task,
    UnfinishedThinking,
    program_of,
)
from agent_rl_envs.synthesis.demonstrations import demonstrations
from agent_rl_envs.synthesis.problems import make_problem
from agent_rl_envs.synthesis.program_pool import SPLITS, SplitName, balanced

_LONG = 20_000
"""Characters. A longer reply is read in a thread, off the event loop."""


class SynthesisConfig(EnvironmentConfig):
    """Options of `Synthesis`. The split of a program depends on none of them."""

    max_turns: PositiveInt = 2
    seed: int = 0
    """Seed of the choice and order of the tasks, and of their examples and tests."""
    train_tasks: PositiveInt = 2000
    test_tasks: PositiveInt = 400
    min_difficulty: PositiveInt = 1
    """A program's difficulty is the number of places where it can go wrong, less one: 1 to 3."""
    max_difficulty: PositiveInt = 3
    flaw_rate: Annotated[float, Field(ge=0, le=1)] = 0.6
    """The probability of the wrong text at each place of a demonstration's program."""
    unfinished_thinking: UnfinishedThinking = "invalid"
    """A reply whose thinking never ends is no answer (invalid), or is read as if it were one (read)."""

    @model_validator(mode="after")
    def _ordered(self) -> SynthesisConfig:
        if self.min_difficulty > min(self.max_difficulty, 3):
            raise ValueError(
                f"min_difficulty = {self.min_difficulty} leaves no tasks: it must be at most 3 and at most "
                f"max_difficulty = {self.max_difficulty}"
            )
        return self


class Synthesis(Environment):
    """Each task asks for one function; the agent sees which examples failed and may answer again."""

    config_class = SynthesisConfig
    config: SynthesisConfig

    @property
    def _difficulties(self) -> range:
        return range(self.config.min_difficulty, self.config.max_difficulty + 1)

    async def load(self, split: str) -> Sequence[Task]:
        """The tasks of "train" or "test": different programs, the families evenly mixed."""
        for name in SPLITS:
            if split == name:
                return await asyncio.to_thread(self._tasks, name)
        raise ConfigError("the generated tasks have no such split", key="split", value=split, valid=SPLITS)

    def _tasks(self, split: SplitName) -> list[Task]:
        count = self.config.train_tasks if split == "train" else self.config.test_tasks
        chosen = balanced(split, self._difficulties, self.config.seed)
        problems = (make_problem(entry, self.config.seed) for entry in chosen)
        return [problem.task() for problem in islice((p for p in problems if p.sharp), count)]

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        """The program of the last answer, after at most `max_turns` answers."""
        reply = await agent.say(task.prompt)
        for _ in range(self.config.max_turns - 1):
            try:
                report = await self.verifier.run_public_tests(task, await self._program(task, reply))
            except InvalidSubmission as error:
                feedback = f"There is no program to run: {error}."
            else:
                if report.passed:
                    break
                feedback = report.feedback
            reply = await agent.say(feedback)
        return await self._program(task, reply)

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """The program in the last reply."""
        return await self._program(task, replies[-1])

    async def _program(self, task: Task, reply: str) -> Submission:
        """The program in a reply. Raises InvalidSubmission."""
        read = partial(program_of, task, reply, unfinished_thinking=self.config.unfinished_thinking)
        return Submission.code(await asyncio.to_thread(read) if len(reply) > _LONG else read())

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless conversations of mixed quality about training programs: see `synthesis.demonstrations`."""
        return demonstrations(
            seed,
            task_seed=self.config.seed,
            max_turns=self.config.max_turns,
            difficulties=self._difficulties,
            flaw_rate=self.config.flaw_rate,
        )
