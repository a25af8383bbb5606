"""How strong a task's hidden tests are: the share of the reference's mutants that they fail."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent_rl.audit.mutants import draw_mutants
from agent_rl.audit.oracle_program import program_in
from agent_rl.audit.shown_examples import entry_point_of
from agent_rl.records.bootstrap import bootstrap_mean
from agent_rl.vocabulary import AnswerTests, Limits, Task, Verdict

MUTANTS = 20
"""Judged for one task, where nobody says otherwise."""
_Z = 1.959964
_SHORTEST = 0.5
_TIMES_REFERENCE = 20.0

JudgeReply = Callable[[Task, str], Awaitable[Verdict]]
"""The verdict of an episode in which the agent says a text; raises where the machinery failed."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that passes the hidden tests. `diff` says what they do not see."""

    kind: str
    diff: str


@dataclass(frozen=True, slots=True)
class MutationScore:
    """`score` = killed / mutants, a lower bound: mutants that do just what the reference does cannot be killed.

    low, high: its 95 % interval (Wilson's), the judged mutants taken as a sample of all. timeouts: how many of the
    killed ended at their time limit.
    """

    killed: int
    mutants: int
    score: float
    low: float
    high: float
    timeouts: int = 0
    survivors: tuple[Survivor, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitMutationScore:
    """Of a split's tasks: `score` is the mean of their scores, each task counting once, with a 95 % interval.

    The interval is a bootstrap's over tasks. tasks: how many had mutants; killed, mutants: of all of them together.
    """

    tasks: int
    killed: int
    mutants: int
    score: float
    low: float
    high: float


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson 1927). (0, 1) where `of` is 0."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = hits / of, _Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    # At the ends the bounds are exact, which sums of floats would miss by a little.
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == of else middle + half


def of_split(mutation_scores: Sequence[MutationScore]) -> SplitMutationScore | None:
    """The mutation score of a split; None where no task of it has any."""
    if not mutation_scores:
        return None
    mean = bootstrap_mean([s.score for s in mutation_scores])
    killed, mutants = sum(s.killed for s in mutation_scores), sum(s.mutants for s in mutation_scores)
    return SplitMutationScore(len(mutation_scores), killed, mutants, mean.value, mean.low, mean.high)


def mutant_limits(limits: Limits, oracle_seconds: float) -> Limits:
    """The limits of a mutant's run: many mutants never end, and the reference says how long a right one may take.

    20 times the reference's slowest run, at least half a second and never more than the task's own limit.
    """
    wall = min(limits.wall_seconds, max(_SHORTEST, _TIMES_REFERENCE * oracle_seconds))
    return dataclasses.replace(limits, wall_seconds=wall)


def not_measurable(task: Task) -> str:
    """Why the mutation score of the task's tests cannot be measured; empty where it can."""
    if isinstance(task.tests, AnswerTests):
        return "an answer, not a program, is judged"
    if task.oracle is None:
        return "has no reference"
    return "" if program_in(task.oracle) is not None else "the reference is no Python program"


async def mutation_score_of(
    task: Task, judge: JudgeReply, oracle_seconds: float, count: int = MUTANTS
) -> MutationScore | str:
    """The mutation score of the task's tests by `count` mutants of its reference, or why it cannot be measured.

    The mutants are drawn by the task's hash: the same for the same task in every process. A mutant is killed where it
    does not pass. `oracle_seconds`: of the reference's slowest judging.
    """
    why = not_measurable(task)
    program = None if why or task.oracle is None else program_in(task.oracle)
    if program is None:
        return why
    mutants = await asyncio.to_thread(draw_mutants, program, entry_point_of(task), count, task.hash)
    if not mutants:
        return "the reference has no mutants"
    # The agent says the same whatever it sees, so that nothing has to be shown.
    bounded = dataclasses.replace(task, limits=mutant_limits(task.limits, oracle_seconds), public=None)
    killed = timeouts = 0
    survivors: list[Survivor] = []
    for mutant in mutants:
        verdict = await judge(bounded, mutant.reply)
        killed += not verdict.passed
        timeouts += verdict.status == "timeout"
        if verdict.passed:
            survivors.append(Survivor(mutant.kind, mutant.diff))
    low, high = wilson(killed, len(mutants))
    return MutationScore(killed, len(mutants), killed / len(mutants), low, high, timeouts, tuple(survivors))
