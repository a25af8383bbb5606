"""`table.md` of an experiment, and its figures beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from agent_rl.atomic_files import write_atomically
from agent_rl.experiments.experiment_file import Experiment, FigureSpec, matches
from agent_rl.experiments.results_file import MeasuredRun
from agent_rl.experiments.summarise import SummaryRow, checked, mean_of, summarise
from agent_rl.records.eval_row import Estimate
from agent_rl.report.charts import ChartLine, interval_chart


def write_page(experiment: Experiment, results: Sequence[MeasuredRun], planned: int, folder: Path) -> list[Path]:
    """The files of the experiment's table and figures, written into `folder` from the `results` of `planned` runs."""
    rows = summarise(experiment, results)
    figures: list[Path] = []
    for spec in experiment.figures:
        lines = _lines(experiment, spec, rows)
        if lines:
            path = folder / f"{spec.name}.svg"
            y = spec.y or "pass@k"
            label = f"-log {y}" if spec.transform == "minus_log" else y.replace("_", " ")
            scales = spec.x_scale, spec.y_scale
            write_atomically(path, interval_chart(spec.title, lines, x=spec.x, y=label, scales=scales) + "\n")
            figures.append(path)
    table = folder / "table.md"
    write_atomically(table, _page(experiment, rows, results, planned, figures))
    return [table, *figures]


def _page(
    experiment: Experiment,
    rows: Sequence[SummaryRow],
    results: Sequence[MeasuredRun],
    planned: int,
    figures: Sequence[Path],
) -> str:
    parts = [f"# {experiment.title}\n"]
    minutes = sum(result.seconds for result in results) / 60
    parts.append(f"{len(results)} of {planned} runs, which took {minutes:.0f} minutes together.\n")
    parts.append(_table(experiment, rows, results))
    claims = checked(experiment, rows)
    if claims:
        parts.append("\n".join(claim.line() for claim in claims) + "\n")
    parts += [f"![{path.stem}]({path.name})\n" for path in figures]
    return "\n".join(parts)


def _table(experiment: Experiment, rows: Sequence[SummaryRow], results: Sequence[MeasuredRun]) -> str:
    """A Markdown table: mean over the averaged axis, [interval over tasks], (lowest to highest run)."""
    axes = [axis for axis in _axes(experiment) if any(axis in row.labels for row in rows)]
    best = [] if experiment.best is None else [f"best {experiment.best.axis}"]
    headings = [*axes, *best, "runs", *(name.replace("_", " ") for name in experiment.measures)]
    lines = [headings, ["---"] * len(headings)]
    start = {name: mean_of([r.start[name] for r in results if name in r.start]) for name in experiment.measures}
    if any(start.values()):
        known = [_shown(start[name]) for name in experiment.measures]
        lines.append(["start", *[""] * (len(axes) - 1 + len(best)), "", *known])
    for row in rows:
        chosen = [row.best] if best else []
        missing = "diverged" if experiment.likelihood is not None else "not measured"
        measured = [_measured(row, name, missing) for name in experiment.measures]
        lines.append([*(row.labels.get(axis, "") for axis in axes), *chosen, str(len(row.runs)), *measured])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _axes(experiment: Experiment) -> list[str]:
    """The axes in the order of the file, each once."""
    return list(dict.fromkeys(axis.name for grid in experiment.grids for axis in grid.axes))


def _measured(row: SummaryRow, name: str, missing: str) -> str:
    estimate = row.measure(name)
    if estimate is None:
        return missing
    shown = _shown(estimate)
    low, high = row.spread(name)
    return shown if len(row.runs) == 1 else f"{shown} ({low:.3f} to {high:.3f})"


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.3f}" if estimate.low == estimate.high else str(estimate)


def _lines(experiment: Experiment, spec: FigureSpec, rows: Sequence[SummaryRow]) -> list[ChartLine]:
    """The lines of a figure. Points at which nothing can be drawn (-log 0) are left out."""
    shown = [row for row in rows if matches(row.labels, spec.where)]
    names = [tuple(row.labels.get(axis, "") for axis in spec.lines) for row in shown]
    lines: list[ChartLine] = []
    for name in dict.fromkeys(names):
        own = [row for row, other in zip(shown, names, strict=True) if other == name]
        points = list(itertools.chain.from_iterable(_points(spec, row) for row in own))
        drawn = [(x, drawable) for x, y in points if (drawable := _transformed(y, spec.transform)) is not None]
        if drawn:
            label = ", ".join(_named(axis, choice) for axis, choice in zip(spec.lines, name, strict=True) if choice)
            lines.append(ChartLine(label, sorted(drawn, key=lambda point: point[0])))
    return lines


def _named(axis: str, choice: str) -> str:
    """A number says what it is a number of; a name speaks for itself."""
    return choice if not choice.replace(".", "").isdigit() else f"{axis} = {choice}"


def _points(spec: FigureSpec, row: SummaryRow) -> list[tuple[float, Estimate]]:
    """(x, y with its interval) of one row."""
    if spec.x == "step":
        return [(x, Estimate(y, y, y)) for x, y in row.curve]
    if spec.x == "k":
        names = [name for name in row.runs[0].measures if name.startswith("pass@")]
        found = [(float(name.removeprefix("pass@")), row.measure(name)) for name in names]
    else:
        found = [(float(row.labels[spec.x]), row.measure(spec.y))] if spec.x in row.labels else []
    return [(x, estimate) for x, estimate in found if estimate is not None]


def _transformed(estimate: Estimate, transform: str) -> Estimate | None:
    """`estimate` as it is drawn; -log turns the interval around, and its end is open where the share's low end is 0."""
    if transform == "none":
        return estimate
    if estimate.value <= 0:
        return None
    value = -math.log(estimate.value)
    return Estimate(value, -math.log(min(1.0, estimate.high)), -math.log(estimate.low) if estimate.low > 0 else value)
