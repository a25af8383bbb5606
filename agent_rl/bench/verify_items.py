"""The workload of `bench verify`: for each task its oracle solution and one wrong program, so that half are wrong."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agent_rl.audit.mutants import draw_mutants
from agent_rl.audit.oracle_program import program_in
from agent_rl.contracts import Verifier
from agent_rl.errors import ConfigError
from agent_rl.formats import prepare_all
from agent_rl.formats.humaneval import HumanEvalRow, read_rows, tasks_from_rows
from agent_rl.vocabulary import Submission, Task

Variant = Literal["oracle", "empty", "return None", "mutated"]
WRONG: tuple[Variant, ...] = ("mutated", "empty", "return None")
"""The wrong variants, assigned to the tasks in turn."""
_BODIES = {"empty": "    pass\n", "return None": "    return None\n"}
_SLOW_SECONDS = 0.1
"""Wrong programs that run longer are not used: the bench would mostly measure the program."""
_ENDLESS_SECONDS = 1.0
"""Time limit for trying a wrong program."""
_MUTANTS = 24
"""How many mutants of one oracle solution are tried."""
HUB = "openai/openai_humaneval"


@dataclass(frozen=True, slots=True)
class VerifyItem:
    """One verification: a program for a task, and whether it is right."""

    task: Task
    row: HumanEvalRow
    program: str
    variant: Variant

    @property
    def right(self) -> bool:
        return self.variant == "oracle"


def default_tasks() -> str:
    """HumanEval: its file in the folder AGENT_RL_DATA if it exists there, else its name on the hub."""
    folder = os.environ.get("AGENT_RL_DATA")
    file = Path(folder or "") / "HumanEval.jsonl.gz"
    return str(file) if folder and file.is_file() else HUB


async def make_items(source: str, verifier: Verifier, *, limit: int | None = None) -> list[VerifyItem]:
    """The oracle solution and a wrong program for each of the first `limit` tasks of `source`, in a fixed shuffled
    order.

    `verifier` records the tests and confirms which programs are right and wrong. Raises ConfigError when an oracle
    solution fails or when no wrong variant of a task fails.
    """
    rows = read_rows(source)[:limit]
    tasks = await prepare_all(verifier, tasks_from_rows(rows))
    items: list[VerifyItem] = []
    for number, (row, task) in enumerate(zip(rows, tasks, strict=True)):
        items.append(VerifyItem(task, row, row.prompt + row.canonical_solution, "oracle"))
        preferred = WRONG[number % len(WRONG)]
        items.append(await _wrong(row, task, (preferred, *(v for v in WRONG if v != preferred)), verifier))
    random.Random(0).shuffle(items)
    return items


async def _wrong(row: HumanEvalRow, task: Task, variants: Sequence[Variant], verifier: Verifier) -> VerifyItem:
    """The first of `variants` that the task's tests reject. Raises ConfigError when there is none."""
    bounded = replace(task, limits=replace(task.limits, wall_seconds=_ENDLESS_SECONDS))
    for variant in variants:
        for program in _programs(row, variant):
            verdict = await verifier.judge(bounded, Submission.code(program))
            if verdict.status == "failed" and verdict.seconds < _SLOW_SECONDS:
                return VerifyItem(task, row, program, variant)
    raise ConfigError(f"{row.where}: the tests of {row.task_id} reject no wrong program", key="--tasks")


def _programs(row: HumanEvalRow, variant: Variant) -> list[str]:
    """The programs of a wrong variant, in the order in which they are tried; empty if there are none."""
    if variant != "mutated":
        return [row.prompt + _BODIES[variant]]
    oracle = program_in(row.prompt + row.canonical_solution)
    drawn = draw_mutants(oracle, row.entry_point, _MUTANTS, row.task_id) if oracle is not None else []
    return [mutant.reply for mutant in drawn]


def counts(items: Sequence[VerifyItem]) -> dict[str, int]:
    """Variant -> its number of items."""
    return {variant: sum(item.variant == variant for item in items) for variant in ("oracle", *WRONG)}
