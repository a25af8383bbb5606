"""`Maze`: the way through a perfect maze in words, the testbed of the MaxRL paper (arXiv 2602.02710)."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator, Sequence

from pydantic import Field, field_validator

from agent_rl import (
    Agent,
    AnswerTests,
    ConfigError,
    EndlessTasks,
    Environment,
    EnvironmentConfig,
    InvalidSubmission,
    Message,
    Sandbox,
    Submission,
    Task,
    TestResult,
    Verdict,
)
from agent_rl_envs.maze_grid import DONE, Grid, draw_grid

SPLITS = ("train", "test")
_TEST_ONE_IN = 5
"""Every fifth maze, by hash, belongs to the split `test`, and to no other."""


class MazeConfig(EnvironmentConfig):
    """Options of `Maze`."""

    max_turns: int = Field(1, ge=1, le=1)
    """A maze is answered once."""
    size: int = Field(11, ge=7, le=17)
    """Width and height with the outer walls: odd. There are 192 mazes of size 7, 100,352 of 9, 5.6e8 of 11."""
    test_tasks: int = Field(200, ge=1)
    """How many mazes the split `test` has, all different. The split `train` has no end."""
    seed: int = 0
    """Seed of the mazes. The split of a maze depends on no option."""

    @field_validator("size")
    @classmethod
    def _odd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError(f"the size of a maze is odd, got {size}")
        return size


class Maze(Environment):
    """Each task shows a maze, from its upper left to its lower right corner; the reply is a walk and DONE.

    The walk itself is judged, here, on the maze that the prompt shows. Nothing is run, and the text of a reply can only
    be a walk or none.
    """

    config_class = MazeConfig
    config: MazeConfig

    async def load(self, split: str) -> Sequence[Task]:
        """The mazes of `split`: of `train`, index i is always the same maze, and different indices are other draws.

        Raises ConfigError for an unknown split, or if there are fewer than `test_tasks` different mazes to hold out.
        """
        if split == "train":
            return EndlessTasks(self._training_task)
        if split == "test":
            return await asyncio.to_thread(self._held_out)
        raise ConfigError("the generated mazes have no such split", key="split", value=split, valid=SPLITS)

    def _training_task(self, index: int) -> Task:
        return self._task("train", index, _draw("train", random.Random(f"{self._key}/train/{index}"), self.config.size))

    def _held_out(self) -> list[Task]:
        generator = random.Random(f"{self._key}/test")
        found: dict[str, Grid] = {}
        for _ in range(100 * self.config.test_tasks + 1000):
            grid = _draw("test", generator, self.config.size)
            found.setdefault(grid.prompt, grid)
            if len(found) == self.config.test_tasks:
                return [self._task("test", i, grid) for i, grid in enumerate(found.values())]
        raise ConfigError(
            f"only {len(found)} mazes of size {self.config.size} were found to hold out: lower `test_tasks` or raise "
            "`size`",
            key="test_tasks",
            value=self.config.test_tasks,
        )

    @property
    def _key(self) -> str:
        return f"mazes/{self.config.seed}/{self.config.size}"

    def _task(self, split: str, index: int, grid: Grid) -> Task:
        solution = grid.solution()
        return Task(
            id=f"maze/{self.config.size}/{split}/{index}",
            prompt=(Message.user(grid.prompt),),
            tests=AnswerTests(" ".join(solution)),  # for people: `rollout` judges the walk
            oracle=" ".join((*solution, DONE)),
            split=split,
        )

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
        """The verdict of the walk that the reply says."""
        fault = Grid.of_prompt(task.prompt[0].content).fault(await agent.say(task.prompt))
        result = TestResult("walk", not fault, fault)
        return Verdict(not fault, "failed" if fault else "passed", task.tier, None, tests=(result,))

    async def submission(self, task: Task, replies: Sequence[str], sandbox: Sandbox) -> Submission:
        """Never one: what was cut short is no walk. Raises InvalidSubmission."""
        raise InvalidSubmission("the episode was cut short before its walk was judged")

    def demonstrations(self, seed: int) -> Iterator[Sequence[Message]]:
        """Endless training mazes, drawn from `seed`, with their shortest ways."""
        generator = random.Random(f"{self._key}/demonstrations/{seed}")
        while True:
            grid = _draw("train", generator, self.config.size)
            yield Message.user(grid.prompt), Message.assistant(" ".join((*grid.solution(), DONE)))


def split_of(grid: Grid) -> str:
    """The split that a maze belongs to. Only its hash decides, so no seed, size of a split or run can change it."""
    digest = hashlib.blake2b(grid.prompt.encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") % _TEST_ONE_IN == 0 else "train"


def _draw(split: str, generator: random.Random, size: int) -> Grid:
    """The next maze of `split` that `generator` draws."""
    while split_of(grid := draw_grid(generator, size)) != split:
        pass
    return grid
