"""The workload of `bench verify`: for each task its reference and one wrong program, so that half are wrong."""

from __future__ import annotations

import ast
import copy
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_rl.contracts import Verifier
from agent_rl.errors import ConfigError
from agent_rl.verify.humaneval import Row, read_rows, tasks_from_rows
from agent_rl.verify.recording import prepare_all
from agent_rl.vocabulary import Submission, Task

Variant = Literal["reference", "empty", "return None", "mutated"]
WRONG: tuple[Variant, ...] = ("mutated", "empty", "return None")
"""The wrong variants, dealt out to the tasks in turn."""
_BODIES = {"empty": "    pass\n", "return None": "    return None\n"}
_SLOW_SECONDS = 0.5
"""A wrong program that runs longer would make the bench a measurement of this program."""
_MUTANTS = 24
"""How many mutants of one reference are tried."""
HUB = "openai/openai_humaneval"


@dataclass(frozen=True, slots=True)
class Item:
    """One verification: a program for a task, and whether it is right."""

    task: Task
    row: Row
    program: str
    variant: Variant

    @property
    def right(self) -> bool:
        return self.variant == "reference"


def default_tasks() -> str:
    """HumanEval: in the folder that AGENT_RL_DATA names where it is there, else by its name on the hub."""
    folder = os.environ.get("AGENT_RL_DATA")
    file = Path(folder or "") / "HumanEval.jsonl.gz"
    return str(file) if folder and file.is_file() else HUB


async def make_items(source: str, verifier: Verifier, *, limit: int | None = None) -> list[Item]:
    """A reference and a wrong program for each of the first `limit` tasks of `source`, shuffled, always the same.

    `verifier` records the tests and confirms what is right and what is wrong. Raises ConfigError where a reference
    fails or no variant of a task does.
    """
    rows = read_rows(source)[:limit]
    tasks = await prepare_all(verifier, tasks_from_rows(rows))
    items: list[Item] = []
    for number, (row, task) in enumerate(zip(rows, tasks, strict=True)):
        items.append(Item(task, row, row.prompt + row.canonical_solution, "reference"))
        preferred = WRONG[number % len(WRONG)]
        items.append(await _wrong(row, task, (preferred, *(v for v in WRONG if v != preferred)), verifier))
    random.Random(0).shuffle(items)
    return items


async def _wrong(row: Row, task: Task, variants: Sequence[Variant], verifier: Verifier) -> Item:
    """The first of `variants` that its tests reject. Raises ConfigError where there is none."""
    for variant in variants:
        for program in mutants(row) if variant == "mutated" else [row.prompt + _BODIES[variant]]:
            verdict = await verifier.judge(task, Submission.code(program))
            if verdict.status == "failed" and verdict.seconds < _SLOW_SECONDS:
                return Item(task, row, program, variant)
    raise ConfigError(f"{row.where}: the tests of {row.task_id} reject no wrong program", key="--tasks")


def mutants(row: Row) -> Iterator[str]:
    """Programs that differ from the reference in one operator, number or condition; at most _MUTANTS of them."""
    tree = ast.parse(row.prompt + row.canonical_solution)
    function = next(n for n in reversed(tree.body) if getattr(n, "name", None) == row.entry_point)
    places = [index for index, node in enumerate(ast.walk(function)) if _changed(node) is not None]
    for place in places[:_MUTANTS]:
        mutant = copy.deepcopy(function)
        target = list(ast.walk(mutant))[place]
        changed = _changed(target)
        assert changed is not None
        for field in target._fields:
            setattr(target, field, getattr(changed, field))
        body = [mutant if node is function else node for node in tree.body]
        yield ast.unparse(ast.Module(body, [])) + "\n"


_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def _changed(node: ast.AST) -> ast.AST | None:
    """What `node` becomes in a mutant, of the same class; None where it stays."""
    if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in _SWAPPED:
        return _with(node, op=_SWAPPED[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
        return _with(node, ops=[_SWAPPED[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return ast.Constant(node.value + 1)
    if isinstance(node, (ast.If, ast.IfExp)):
        return _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    return None


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def counts(items: Sequence[Item]) -> dict[str, int]:
    """How many items there are of each variant."""
    return {variant: sum(item.variant == variant for item in items) for variant in ("reference", *WRONG)}
