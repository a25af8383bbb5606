"""The output of `agent-rl envs validate`: what was judged, the tests' mutation scores, and the problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from agent_rl.audit.validation_report import FOUND_WITH, SplitReport, TaskReport, ValidationReport
from agent_rl.vocabulary.wording import printable

_MOST_PROBLEMS = 40
_WEAKEST = 5
_BINS = ((1.0, "1"), (0.9, "from .9"), (0.75, ".75"), (0.5, ".5"), (0.25, ".25"), (0.0, "0"))
"""The classes in which tasks are counted by mutation score: lower ends, highest first, and headings."""


def print_report(report: ValidationReport) -> None:
    """Prints the tables and the problems of a validation to standard output."""
    console = Console(highlight=False)
    console.print(_judged(report.splits))
    console.print(
        f"each oracle solution judged {report.times} times: one that fails in {report.flaky_rate_found:.1%} of its "
        f"runs is found with a probability of {FOUND_WITH:g} (--times)",
        soft_wrap=True,
    )
    measured = [s for s in report.splits if s.mutation_score is not None]
    if measured:
        console.print(_mutation_score(measured))
        console.print(
            "mutation score: the share of mutants (the oracle solution with one mistake) that the hidden tests fail, "
            "on average over tasks; a lower bound, since some mistakes change nothing",
            soft_wrap=True,
        )
        for split in measured:
            for line in _weakest(split):
                console.print(line, markup=False, soft_wrap=True)
    for split in report.splits:
        for tier, count in Counter(t.tier for t in split.by_task if t.tier != "values").items():
            console.print(f"{split.split}: {count} of {split.checked} tasks are judged at tier {tier}, not values")
        for task in [t for t in split.by_task if t.tier_reason][:_MOST_PROBLEMS]:
            line = printable(f"{split.split} {task.task}: judged at tier {task.tier}: {task.tier_reason}", 400)
            console.print(line, markup=False, soft_wrap=True)
        for why, count in _not_measured(split).items():
            console.print(
                f"{split.split}: mutation score not measured for {count} tasks: {why}", markup=False, soft_wrap=True
            )
    _print_problems(console, report.splits)


def _judged(splits: Sequence[SplitReport]) -> Table:
    table = Table()
    for heading in ("split", "tasks", "checked", "oracles passed", "stubs failed", "mutation score", "problems"):
        table.add_column(heading)
    for s in splits:
        passed, failed = f"{s.oracles_passed} of {s.oracles}", f"{s.stubs_failed} of {s.stubs}"
        mutation_score = "not applicable" if s.mutation_score is None else f"{s.mutation_score.score:.3f}"
        table.add_row(s.split, str(s.tasks), str(s.checked), passed, failed, mutation_score, str(len(s.problems)))
    return table


def _mutation_score(splits: Sequence[SplitReport]) -> Table:
    """The table of task counts by mutation score."""
    table = Table()
    for heading in ("split", "95 % interval", "killed", *(heading for _, heading in _BINS)):
        table.add_column(heading, no_wrap=True)
    for s in splits:
        assert s.mutation_score is not None
        scores = [t.mutation_score.score for t in s.by_task if t.mutation_score is not None]
        counts = Counter(next(heading for low, heading in _BINS if score >= low) for score in scores)
        interval = f"{s.mutation_score.low:.3f} to {s.mutation_score.high:.3f}"
        killed = f"{s.mutation_score.killed} of {s.mutation_score.mutants}"
        table.add_row(s.split, interval, killed, *(str(counts[heading]) for _, heading in _BINS))
    return table


def _weakest(split: SplitReport) -> list[str]:
    """A line for each of the weakest tasks with surviving mutants, with one mistake that passes."""

    def score(task: TaskReport) -> float:
        return 1.0 if task.mutation_score is None else task.mutation_score.score

    lines: list[str] = []
    for task in sorted(split.by_task, key=score)[:_WEAKEST]:
        if task.mutation_score is None or not task.mutation_score.survivors:
            continue
        s = task.mutation_score
        changed = [line for line in s.survivors[0].diff.splitlines()[3:] if line.startswith(("-", "+"))]
        shown = " ".join(f"{line[0]} {line[1:].strip()}" for line in changed[:2])
        lines.append(
            printable(f"{split.split} {task.task}: {s.killed} of {s.mutants} killed; passes too: {shown}", 200)
        )
    return lines


def _not_measured(split: SplitReport) -> Counter[str]:
    return Counter(t.not_measured for t in split.by_task if t.not_measured)


def _print_problems(console: Console, splits: Sequence[SplitReport]) -> None:
    for s in splits:
        for problem in s.problems[:_MOST_PROBLEMS]:
            console.print(f"{s.split} {problem.task}: {problem.what}", markup=False, soft_wrap=True)
        if len(s.problems) > _MOST_PROBLEMS:
            console.print(
                f"{s.split}: and {len(s.problems) - _MOST_PROBLEMS} more, all of which --json FILE writes", markup=False
            )
