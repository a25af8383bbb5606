"""What the runs of an experiment show together: means over seeds, the best of a swept axis, and the claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent_rl.experiments.experiment_file import BestChoice, Experiment, RatioCheck, matches
from agent_rl.experiments.results_file import MeasuredRun
from agent_rl.records.eval_row import Estimate


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """The runs that differ only in the averaged axis. `labels` lacks it; `best` names the choice of a swept axis."""

    labels: dict[str, str]
    runs: tuple[MeasuredRun, ...]
    best: str = ""

    def measure(self, name: str) -> Estimate | None:
        """The mean over the runs; None if one of them lacks the measure.

        The interval is the mean of the runs' own intervals over tasks. The runs share their held-out tasks, so it does
        not shrink with their number; how they differ among themselves is said by `spread`.
        """
        return mean_of([run.measures.get(name) for run in self.runs])

    def spread(self, name: str) -> tuple[float, float]:
        """The lowest and the highest value of a single run."""
        values = [run.measures[name].value for run in self.runs]
        return min(values), max(values)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """The mean of the runs' curves, at the points that all of them have."""
        curves = [dict(run.curve) for run in self.runs]
        shared = sorted(set.intersection(*(set(curve) for curve in curves)))
        return [(x, sum(curve[x] for curve in curves) / len(curves)) for x in shared]


def mean_of(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """The mean of the values and of the ends of the intervals; None if one is missing, or there are none."""
    known = [e for e in estimates if e is not None]
    if not known or len(known) < len(estimates):
        return None
    n = len(known)
    return Estimate(sum(e.value for e in known) / n, sum(e.low for e in known) / n, sum(e.high for e in known) / n)


def summarise(experiment: Experiment, results: Sequence[MeasuredRun]) -> list[SummaryRow]:
    """A row for each combination of choices, in the order of `results`; of a swept axis only the best choice."""
    groups: dict[tuple[tuple[str, str], ...], list[MeasuredRun]] = {}
    for result in results:
        labels = tuple((axis, choice) for axis, choice in result.labels.items() if axis != experiment.average)
        groups.setdefault(labels, []).append(result)
    rows = [SummaryRow(dict(labels), tuple(runs)) for labels, runs in groups.items()]
    return rows if experiment.best is None else _best(rows, experiment.best)


def _best(rows: Sequence[SummaryRow], best: BestChoice) -> list[SummaryRow]:
    """For each combination of the other axes, its row with the best mean. Rows that lack the measure come last."""
    sign = 1 if best.direction == "highest" else -1
    chosen: dict[tuple[tuple[str, str], ...], tuple[float, SummaryRow]] = {}
    for row in rows:
        labels = {axis: choice for axis, choice in row.labels.items() if axis != best.axis}
        estimate = row.measure(best.measure)
        rank = float("-inf") if estimate is None else sign * estimate.value
        key = tuple(labels.items())
        if key not in chosen or rank > chosen[key][0]:
            chosen[key] = rank, SummaryRow(labels, row.runs, row.labels.get(best.axis, ""))
    return [row for _, row in chosen.values()]


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim and its ratio; None where a run of it is missing."""

    claim: RatioCheck
    ratio: float | None

    @property
    def holds(self) -> bool | None:
        """None if it cannot be said yet."""
        return None if self.ratio is None else self.claim.at_least <= self.ratio <= self.claim.at_most

    def line(self) -> str:
        """The claim in a line of Markdown."""
        if self.ratio is None:
            return f"- not measured yet: {self.claim.what}"
        return f"- {'holds' if self.holds else 'DOES NOT HOLD'}: {self.claim.what} (ratio {self.ratio:.4f})"


def checked(experiment: Experiment, rows: Sequence[SummaryRow]) -> list[CheckedClaim]:
    """Each claim of the experiment with its ratio."""
    claims: list[CheckedClaim] = []
    for claim in experiment.checks:
        of, against = (
            mean_of([row.measure(claim.measure) for row in rows if matches(row.labels, where)])
            for where in (claim.of, claim.against)
        )
        ratio = of.value / against.value if of is not None and against is not None and against.value else None
        claims.append(CheckedClaim(claim, ratio))
    return claims
