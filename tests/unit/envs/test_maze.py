"""Mazes: perfect, reproducible, written in few words; a walk is judged by where it goes."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from pydantic import ValidationError

from agent_rl import ConfigError, EndlessTasks, InvalidSubmission
from agent_rl.config import SandboxConfig
from agent_rl.judging.task_verifier import make_verifier
from agent_rl.rollouts.policy_agent import ScriptedAgent
from agent_rl.rollouts.run_group import oracle_agent, run_rollout
from agent_rl.rollouts.time_spent import MissingSandbox
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl_envs.maze import Maze, MazeConfig, split_of
from agent_rl_envs.maze_grid import GOAL, PATH, START, WALL, WORDS, Grid, draw_grid

SIZES = (7, 9, 11, 13, 15, 17)
SMALL = Grid(
    tuple(
        tuple({"#": WALL, ".": PATH, "S": START, "G": GOAL}[c] for c in row)
        for row in ("#######", "#S..#.#", "###.#.#", "#.#...#", "#.###.#", "#....G#", "#######")
    )
)
"""The way goes right, right, down, down, right, right, down, down. (1, 5) and (5, 1) to (3, 1) are dead ends."""
WAY = "RIGHT RIGHT DOWN DOWN RIGHT RIGHT DOWN DOWN"


def maze(**options: int) -> Maze:
    return Maze(MazeConfig(**options), make_verifier(SandboxConfig(), InMemoryProvider(), 0))


@pytest.mark.parametrize("size", SIZES)
def test_mazes_are_perfect(size: int) -> None:
    for seed in range(20):
        grid = draw_grid(random.Random(seed), size)
        open_cells = [(r, c) for r in range(size) for c in range(size) if grid.at((r, c)) != WALL]
        # A tree: connected, with one edge less than it has nodes. Each edge is seen from both of its ends.
        edges = sum(1 for cell in open_cells for _ in grid.neighbours(cell)) // 2
        reached, waiting = {(1, 1)}, [(1, 1)]
        while waiting:
            for _, to in grid.neighbours(waiting.pop()):
                if to not in reached:
                    reached.add(to)
                    waiting.append(to)
        # m^2 cells at odd places, with m = (size - 1) / 2, and m^2 - 1 opened walls between them.
        assert len(open_cells) == 2 * ((size - 1) // 2) ** 2 - 1
        assert edges == len(open_cells) - 1
        assert reached == set(open_cells)
        assert (grid.place_of(START), grid.place_of(GOAL)) == ((1, 1), (size - 2, size - 2))
        assert all(grid.at((r, c)) != WALL for r in range(1, size, 2) for c in range(1, size, 2))


def test_all_192_mazes_of_size_7_are_drawn() -> None:
    # Spanning trees of the grid of 3 x 3 cells: 192. Prim's are not equally likely; 20,000 draws miss none.
    generator = random.Random(0)
    assert len({draw_grid(generator, 7).prompt for _ in range(20_000)}) == 192


@pytest.mark.parametrize("size", SIZES)
def test_a_prompt_has_its_words(size: int) -> None:
    grid = draw_grid(random.Random(1), size)
    words = grid.prompt.split()
    # With the token for the beginning of a text: 4 + n (n + 1).
    assert 1 + len(words) == 4 + size * (size + 1)
    assert words[0] == "GRID_START"
    assert words[-2:] == ["GRID_END", "PATH_START"]
    assert [i for i, word in enumerate(words) if word == "NEWLINE"] == [(size + 1) * (r + 1) for r in range(size)]
    assert set(words) | set(grid.solution()) | {"DONE"} <= set(WORDS)
    assert len(set(WORDS)) == len(WORDS) <= 32 - 4  # room for the special tokens
    assert Grid.of_prompt(grid.prompt) == grid


def test_the_shortest_way() -> None:
    assert " ".join(SMALL.solution()) == "RIGHT RIGHT DOWN DOWN RIGHT RIGHT DOWN DOWN"


@pytest.mark.parametrize(
    "reply",
    [
        f"{WAY} DONE",
        f"  {WAY}\nDONE ",
        f"RIGHT LEFT {WAY} DONE",  # back and forth
        f"{WAY} LEFT RIGHT DONE",  # beyond the goal and back to it
    ],
)
def test_walks_that_reach_the_goal(reply: str) -> None:
    assert SMALL.fault(reply) == ""


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("", "does not end with DONE"),
        (WAY, "does not end with DONE"),
        (f"{WAY} DONE DONE", "word 9 is no move"),
        (f"{WAY} DONE UP", "does not end with DONE"),
        (f"DONE {WAY} DONE", "word 1 is no move"),
        ("DONE", "does not end at the goal"),
        ("RIGHT DONE", "does not end at the goal"),
        (f"{WAY} LEFT DONE", "does not end at the goal"),
        ("DOWN DONE", "move 1 meets a wall"),
        ("UP UP DOWN DOWN DONE", "move 1 meets a wall"),
        # Straight through the walls to the goal.
        ("RIGHT RIGHT RIGHT RIGHT DOWN DOWN DOWN DOWN DONE", "move 3 meets a wall"),
        (f"RIGHT RIGHT UP DOWN {WAY[12:]} DONE", "move 3 meets a wall"),
        (f"{WAY.lower()} DONE", "word 1 is no move"),
        (f"{WAY} GOAL DONE", "word 9 is no move"),
        (f"{WAY} <|unknown|> DONE", "word 9 is no move"),
        (f"GRID_START START GOAL GRID_END PATH_START {WAY} DONE", "word 1 is no move"),
        (f"{WAY}DONE", "does not end with DONE"),
    ],
)
def test_other_walks_fail(reply: str, fault: str) -> None:
    assert fault in SMALL.fault(reply)


def test_a_walk_beyond_the_edge_meets_a_wall() -> None:
    # A hole in the outer wall leads nowhere: outside of the grid all is wall. (Index -1 would be the other side.)
    holed = Grid((("#", PATH, "#"), (WALL, START, WALL), (WALL, GOAL, WALL)))
    assert "move 2 meets a wall" in holed.fault("UP UP DOWN DOWN DOWN DONE")


@pytest.mark.parametrize("text", ["", "GRID_START PATH_START", f"{SMALL.prompt} UP", SMALL.prompt.replace(" ", "  ")])
def test_what_is_no_maze_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a maze|not enough values"):
        Grid.of_prompt(text)


async def test_splits_share_no_maze_and_are_the_same_each_time() -> None:
    training, held_out = await maze().load("train"), await maze().load("test")
    assert isinstance(training, EndlessTasks)
    assert len({task.prompt for task in held_out}) == len(held_out) == 200
    first = training[:300]
    assert {split_of(Grid.of_prompt(t.prompt[0].content)) for t in first} == {"train"}
    assert {split_of(Grid.of_prompt(t.prompt[0].content)) for t in held_out} == {"test"}
    again = maze()
    assert (await again.load("train"))[:300] == first
    assert list(await again.load("test")) == list(held_out)
    assert (await maze(seed=1).load("train"))[0].prompt != first[0].prompt
    # 5e8 mazes of this size: 300 draws are all different.
    assert len({task.prompt for task in first}) == 300


async def test_there_are_not_more_held_out_mazes_than_there_are_mazes() -> None:
    # About a fifth of the 192 mazes of size 7 belong to the split.
    with pytest.raises(ConfigError, match=r"only \d\d mazes of size 7 were found to hold out"):
        await maze(size=7, test_tasks=100).load("test")
    with pytest.raises(ConfigError, match="no such split"):
        await maze().load("dev")


@pytest.mark.parametrize("size", [5, 8, 19])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValidationError, match="size"):
        MazeConfig(size=size)


def test_demonstrations_are_solved_training_mazes() -> None:
    shown = list(islice(maze(size=9).demonstrations(3), 20))
    for question, answer in shown:
        grid = Grid.of_prompt(question.content)
        assert split_of(grid) == "train"
        assert grid.fault(answer.content) == ""
    assert shown == list(islice(maze(size=9).demonstrations(3), 20))
    assert shown != list(islice(maze(size=9).demonstrations(4), 20))


async def test_the_environment_judges_the_walk() -> None:
    environment = maze(size=7, test_tasks=3)
    for task in await environment.load("test"):
        assert task.oracle is not None
        for reply, passed in ((task.oracle, True), (task.oracle.removesuffix(" DONE"), False), ("DONE", False)):
            verdict = await environment.rollout(task, ScriptedAgent([reply]), MissingSandbox(task))
            assert (verdict.passed, verdict.tier, verdict.isolation) == (passed, "values", None)
            assert verdict.tests[0].name == "walk"
        trajectory = await run_rollout(environment, "maze", task, oracle_agent, None)
        assert trajectory.verdict is not None and trajectory.verdict.passed


async def test_what_was_cut_short_is_no_walk() -> None:
    environment = maze(size=7, test_tasks=1)
    (task,) = await environment.load("test")
    with pytest.raises(InvalidSubmission, match="cut short"):
        await environment.submission(task, [task.oracle or ""], MissingSandbox(task))
