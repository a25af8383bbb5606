"""`SynthesisProblem`: a program with its examples and tests, and the results of its wrong variants on the examples."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agent_rl import CallTests, Case, Limits, Message, Task
from agent_rl_envs.synthesis.inputs import arguments
from agent_rl_envs.synthesis.program_pool import Entry
from agent_rl_envs.synthesis.sites import SiteProgram

ENTRY_POINT = "f"
LIMITS = Limits(wall_seconds=2.0, cpu_seconds=2.0, memory_bytes=256 * 2**20, processes=16)
VISIBLE, HIDDEN = 2, 10
_CANDIDATES = 24
_LONGEST_EXAMPLE = 24


@dataclass(frozen=True, slots=True)
class SynthesisProblem:
    """One problem. Its expected values are computed with its oracle solution, which is ours, not a data set's."""

    entry: Entry
    public: tuple[Case, ...]
    hidden: tuple[Case, ...]
    sharp: bool
    """Whether the hidden tests fail every program with a single mistake, and the program with all mistakes. Problems
    that are not sharp (conditions that exclude each other, mistakes that cancel out) become neither tasks nor
    demonstrations."""

    @property
    def prompt(self) -> str:
        """The request with its public examples. It is the same for all variants of the program."""
        family = self.entry.program.family
        examples = "".join(f"\n>>> {call_text(case)}\n{case.expected!r}" for case in self.public)
        return f"Write {family.signature} that returns {self.entry.program.request}.{examples}"

    def task(self) -> Task:
        """The problem as a task of its split."""
        program = self.entry.program
        return Task(
            id=f"{program.family.name}/{self.entry.key}",
            prompt=(Message.user(self.prompt),),
            tests=CallTests(ENTRY_POINT, self.hidden),
            public=CallTests(ENTRY_POINT, self.public),
            oracle=program.oracle,
            limits=LIMITS,
            split=self.entry.split,
            metadata={
                "family": program.family.name,
                "area": program.family.area,
                "difficulty": program.family.difficulty,
            },
        )


def call_text(case: Case) -> str:
    """The call as source: `f([1, 2])`."""
    return f"{ENTRY_POINT}({', '.join(map(repr, case.args))})"


def function(source: str) -> Callable[..., Any]:
    """The function `f` that one of *our own* programs defines. Never for text from a model or a data set."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<generated>", "exec"), namespace)
    return namespace[ENTRY_POINT]


@lru_cache(maxsize=1 << 13)
def make_problem(entry: Entry, seed: int) -> SynthesisProblem:
    """The problem of `entry` with examples and tests drawn from `seed`; equal in every process.

    From the candidate calls it takes those that reveal a wrong variant, for each variant in turn, so that few wrong
    programs pass. Examples and tests are drawn independently and may share calls.
    """
    program = entry.program
    draw = random.Random(f"{entry.key} {seed}")
    right = function(program.oracle)
    sites = len(program.sites)
    wrong = [function(program.source(flaws)) for flaws in (*(1 << site for site in range(sites)), (1 << sites) - 1)]
    shows = _candidates(program, draw, right, wrong, size=3)
    short = [pair for pair in shows if len(repr(pair[0].args)) + len(repr(pair[0].expected)) <= _LONGEST_EXAMPLE]
    public = _covering(short if len(short) >= VISIBLE else shows, VISIBLE, len(wrong))
    hidden = _covering(_candidates(program, draw, right, wrong, size=6), HIDDEN, len(wrong))
    revealed = frozenset[int]().union(*(reveals for _, reveals in hidden))
    return SynthesisProblem(
        entry, tuple(case for case, _ in public), tuple(case for case, _ in hidden), len(revealed) == len(wrong)
    )


_Shown = tuple[Case, frozenset[int]]
"""A case, and the wrong variants that it reveals."""


def _candidates(
    program: SiteProgram,
    draw: random.Random,
    right: Callable[..., Any],
    wrong: list[Callable[..., Any]],
    size: int,
) -> list[_Shown]:
    seen: dict[str, _Shown] = {}
    for _ in range(_CANDIDATES):
        args = arguments(program.family.kind, program.salt, draw, size)
        text = repr(args)
        if text in seen:
            continue
        expected = right(*args)
        shows = frozenset(i for i, variant in enumerate(wrong) if outcome(variant, args) != (expected, ""))
        seen[text] = Case(args, expected), shows
    return list(seen.values())


def outcome(variant: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, str]:
    """(result, "") of one of our own variants, or (None, its exception), written as `ValueError: no`."""
    try:
        return variant(*args), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _covering(shown: list[_Shown], count: int, variants: int) -> list[_Shown]:
    """`count` cases (or all). Each is chosen greedily: it reveals most variants not yet revealed in this round."""
    left = list(shown)
    chosen: list[_Shown] = []
    missing = set(range(variants))
    while left and len(chosen) < count:
        best = max(range(len(left)), key=lambda i: (len(left[i][1] & missing), -i))
        chosen.append(left.pop(best))
        missing -= chosen[-1][1]
        if not missing:
            missing = set(range(variants))
    return chosen
