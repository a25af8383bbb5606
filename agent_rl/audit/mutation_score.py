"""Mutation score: the share of the oracle solution's mutants that a task's hidden tests fail."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent_rl.audit.mutants import draw_mutants
from agent_rl.audit.oracle_program import program_in
from agent_rl.audit.shown_examples import entry_point_of
from agent_rl.records.bootstrap import bootstrap_mean, wilson
from agent_rl.vocabulary import AnswerTests, Limits, Task, Verdict

MUTANTS = 20
"""Mutants that are judged per task, by default."""
_SHORTEST = 0.5
_TIMES_REFERENCE = 20.0

JudgeReply = Callable[[Task, str], Awaitable[Verdict]]
"""Returns the verdict of an episode in which the agent gives this reply; raises if the infrastructure failed."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that passes the hidden tests. `diff` shows the mistake that they miss."""

    kind: str
    diff: str


@dataclass(frozen=True, slots=True)
class MutationScore:
    """`score` = killed / mutants. It is a lower bound: mutants equivalent to the oracle solution cannot be killed.

    low, high: its 95 % interval (Wilson's), with the judged mutants as a sample of all mutants. timeouts: how many of
    the killed mutants ended at their time limit.
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
    """The mutation score of a split: `score` is the mean of its tasks' scores; each task counts once.

    low, high: its 95 % interval, by bootstrap over tasks. tasks: how many had mutants. killed, mutants: sums over
    these tasks.
    """

    tasks: int
    killed: int
    mutants: int
    score: float
    low: float
    high: float


def of_split(mutation_scores: Sequence[MutationScore]) -> SplitMutationScore | None:
    """The mutation score of a split; None if none of its tasks has one."""
    if not mutation_scores:
        return None
    mean = bootstrap_mean([s.score for s in mutation_scores])
    killed, mutants = sum(s.killed for s in mutation_scores), sum(s.mutants for s in mutation_scores)
    return SplitMutationScore(len(mutation_scores), killed, mutants, mean.value, mean.low, mean.high)


def mutant_limits(limits: Limits, oracle_seconds: float) -> Limits:
    """The limits of a mutant's run: 20 times the oracle solution's time, because many mutants never end.

    The limit is at least half a second and never more than the task's own limit.
    """
    wall = min(limits.wall_seconds, max(_SHORTEST, _TIMES_REFERENCE * oracle_seconds))
    return dataclasses.replace(limits, wall_seconds=wall)


def not_measurable(task: Task) -> str:
    """Why the mutation score of the task's tests cannot be measured; empty if it can."""
    if isinstance(task.tests, AnswerTests):
        return "an answer, not a program, is judged"
    if task.oracle is None:
        return "has no oracle solution"
    return "" if program_in(task.oracle) is not None else "the oracle solution is not a Python program"


async def mutation_score_of(
    task: Task, judge: JudgeReply, oracle_seconds: float, count: int = MUTANTS
) -> MutationScore | str:
    """The mutation score of the task's tests with `count` mutants of its oracle solution, or why it has none.

    The task's hash decides which mutants are drawn: they are the same in every process. A mutant that does not pass is
    killed. `oracle_seconds`: the time of the oracle solution's slowest case, or of its slowest judging.
    """
    why = not_measurable(task)
    program = None if why or task.oracle is None else program_in(task.oracle)
    if program is None:
        return why
    mutants = await asyncio.to_thread(draw_mutants, program, entry_point_of(task), count, task.hash)
    if not mutants:
        return "the oracle solution has no mutants"
    # The agent's reply does not depend on what it sees, so public tests need not be run.
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
