"""What an honest program is: source, and the task that it solves."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from agent_rl.vocabulary import AssertTests, CallTests, Case, Limits, PytestTests, StdioCase, StdioTests, Task
from agent_rl.vocabulary.task import Comparison, OutputComparison

LIMITS = Limits(wall_seconds=30.0, cpu_seconds=30.0, processes=64)
"""As long as a busy machine may need; how long a right program may take is not what is tested."""


@dataclass(frozen=True, slots=True)
class Honest:
    """One program, and the task that it solves. Tasks with `AssertTests` or `PytestTests` have to be prepared."""

    name: str
    program: str
    task: Task


def honest(
    name: str,
    program: str,
    *cases: tuple[Any, ...],
    comparison: Comparison = "python",
    check: str = "",
    owner: str = "",
    from_json: bool = False,
) -> Honest:
    """A program and its cases, each of arguments and, last, what `solve` returns for them.

    With `check`, the body of a function `check(candidate)`, that function decides.
    """
    checker = f"def check(candidate):\n    {check}\n" if check else ""
    made = tuple(Case(case[:-1], case[-1]) for case in cases)
    how: Comparison = "checker" if check else comparison
    tests = CallTests("solve", made, how, checker=checker, owner=owner, from_json=from_json)
    return Honest(name, plain(program), Task(name, (), tests, limits=LIMITS))


def whole_programs(
    programs: dict[str, str],
    *cases: tuple[str | bytes, str | bytes],
    comparison: OutputComparison = "tokens",
    limits: Limits = LIMITS,
) -> list[Honest]:
    """Programs that all solve one task: of each case, standard input and the expected output."""
    tests = StdioTests(tuple(StdioCase(*case) for case in cases), comparison)
    return [Honest(name, plain(text), Task(name, (), tests, limits=limits)) for name, text in programs.items()]


def tested_programs(task: str, oracle: str, source: str, programs: dict[str, str]) -> list[Honest]:
    """Programs that all pass one file of tests at tier `proxied`."""
    oracle, source = plain(oracle), plain(source)
    if "def check(candidate)" in source:
        tests: AssertTests | PytestTests = AssertTests("solve", source, oracle)
    else:
        tests = PytestTests({"test_it.py": source.encode()}, oracle={"solution.py": oracle.encode()})
    shared = Task(task, (), tests, limits=LIMITS, tier="proxied")
    return [Honest(f"{task}: {name}", plain(text), shared) for name, text in programs.items()]


def plain(text: str) -> str:
    return dedent(text).lstrip("\n")


def dataclass_like(name: str, **fields: Any) -> Any:
    """An instance of a dataclass of this name, made here: only name and fields count."""
    made = dataclass(type(name, (), {"__annotations__": dict.fromkeys(fields, object), "__module__": __name__}))
    return made(**fields)
