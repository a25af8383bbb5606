"""What an honest program is: source, and the task that it solves."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from agent_rl.vocabulary import CallTests, Case, Limits, Task
from agent_rl.vocabulary.task import Comparison

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30.0, processes=64)
"""As long as a busy machine may need; how long a right program may take is not what is tested."""


@dataclass(frozen=True, slots=True)
class Honest:
    """One program that defines `solve`, and the task that it solves."""

    name: str
    program: str
    task: Task


def honest(
    name: str, program: str, *cases: tuple[Any, ...], comparison: Comparison = "python", check: str = ""
) -> Honest:
    """A program and its cases, each of arguments and, last, what `solve` returns for them.

    With `check`, the body of a function `check(candidate)`, that function decides.
    """
    checker = f"def check(candidate):\n    {check}\n" if check else ""
    made = tuple(Case(case[:-1], case[-1]) for case in cases)
    tests = CallTests("solve", made, "checker" if check else comparison, checker=checker)
    return Honest(name, dedent(program).lstrip("\n"), Task(name, (), tests, limits=LIMITS))


def dataclass_like(name: str, **fields: Any) -> Any:
    """An instance of a dataclass of this name, made here: only name and fields count."""
    made = dataclass(type(name, (), {"__annotations__": dict.fromkeys(fields, object), "__module__": __name__}))
    return made(**fields)
