"""Charts as inline SVG. Text stays text in the page's own font, and nothing is loaded from other places."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from agent_rl.records.eval_row import Estimate
from agent_rl.report.run_data import Span

INK, MUTED, GRID = "#1f2933", "#66788a", "#e4e9ee"
COLOURS = ("#1f6fb2", "#d9730d", "#2a8c5f", "#8b5fbf", "#b0395a", "#6b7785")
LANE_COLOURS = {"learner": "#d9730d", "publish": "#8b5fbf", "rollouts": "#1f6fb2"}
_ROW_LIMIT = 24
"""The largest number of rows in the timeline. If more groups run at a time, the rest is drawn over the last row."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart: (x, y) points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    smooth: bool = False
    """Whether a moving mean is drawn over faint points."""


def line_chart(
    title: str, series: Sequence[Series], *, share: bool = False, marks: Mapping[float, Estimate] | None = None
) -> str:
    """The SVG of `series` over steps; with `share` the axis is 0 to 1. `marks` are points with intervals."""
    figure, axes = _figure(title, width=5.2, height=2.5)
    for colour, line in zip(itertools.cycle(COLOURS), series, strict=False):
        x, y = [p[0] for p in line.points], [p[1] for p in line.points]
        if line.smooth and len(y) >= 12:
            axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.3)
            axes.plot(x, moving_mean(y, max(3, len(y) // 12)), color=colour, linewidth=1.8, label=line.name)
        else:
            marker = "o" if len(x) < 3 else None
            axes.plot(x, y, color=colour, linewidth=1.5, marker=marker, markersize=4, label=line.name)
    if marks:
        _error_bars(axes, list(marks), list(marks.values()), COLOURS[len(series) % len(COLOURS)], "held out")
    if share:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    elif all(y >= 0 for line in series for _, y in line.points):
        axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    if len(series) + bool(marks) > 1:
        # Next to the title, where it hides no line.
        place = {"loc": "lower right", "bbox_to_anchor": (1.01, 0.98), "borderaxespad": 0.2}
        axes.legend(**place, ncols=4, frameon=False, fontsize=8, labelcolor=INK, columnspacing=1.0, handlelength=1.4)
    return _svg(figure, title)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart with an interval at each point: (x, y) in order of x."""

    name: str
    points: Sequence[tuple[float, Estimate]]


def interval_chart(
    title: str, lines: Sequence[ChartLine], *, x: str, y: str, scales: tuple[str, str] = ("linear", "linear")
) -> str:
    """The SVG of `lines` with the axes' names `x` and `y`. A few points have bars for their intervals, many have none.

    A colour is used again, dashed, after all have been used.
    """
    figure, axes = _figure(title, width=6.4, height=3.6)
    styles = itertools.product(("-", "--", ":"), COLOURS)
    for (dashes, colour), line in zip(styles, lines, strict=False):
        across, values = [p[0] for p in line.points], [p[1].value for p in line.points]
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.5, "label": line.name}
        if len(across) > 12:
            axes.plot(across, values, **style)
            continue
        below = [max(0.0, p[1].value - p[1].low) for p in line.points]
        above = [max(0.0, p[1].high - p[1].value) for p in line.points]
        axes.errorbar(across, values, yerr=[below, above], marker="o", markersize=3.5, capsize=2, **style)
    axes.set_xscale(scales[0])
    axes.set_yscale(scales[1])
    axes.tick_params(which="both", colors=MUTED, labelsize=8)
    axes.set_xlabel(x)
    axes.set_ylabel(y, color=MUTED, fontsize=8)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure, title)


def timeline_strip(spans: Sequence[Span], start: float, end: float) -> str:
    """The SVG of each role's activity between `start` and `end` seconds. Concurrent groups are on separate rows."""
    shown = [s for s in spans if s.end > start and s.start < end]
    roles = [r for r in ("learner", "publish", "rollouts") if any(s.role == r for s in shown)]
    roles += sorted({s.role for s in shown} - set(roles))
    lanes = {role: pack_rows([s for s in shown if s.role == role], _ROW_LIMIT) for role in roles}
    heights = {role: max(4, 1 + max(row for row, _ in lanes[role])) for role in roles}
    figure, axes = _figure("", width=10.6, height=0.5 + 0.09 * sum(h + 2 for h in heights.values()))
    top, ticks = 0.0, list[float]()
    for role in roles:
        height = heights[role] / (1 + max(row for row, _ in lanes[role]))
        for row, span in lanes[role]:
            left, right = max(span.start, start), min(span.end, end)
            colour = LANE_COLOURS.get(role, COLOURS[-1])
            axes.barh(top + (row + 0.5) * height, right - left, left=left, height=0.82 * height, color=colour)
        ticks.append(top + heights[role] / 2)
        top += heights[role] + 2
    axes.set_yticks(ticks, roles)
    axes.set_ylim(top - 1.5, -0.5)
    axes.set_xlim(start, end)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("seconds since the run began")
    return _svg(figure, "timeline")


def pack_rows(spans: Sequence[Span], limit: int) -> list[tuple[int, Span]]:
    """(row, span), where spans of one row do not overlap; rows from 0, at most `limit`."""
    free_from: list[float] = []
    packed: list[tuple[int, Span]] = []
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        row = next((i for i, time in enumerate(free_from) if time <= span.start), len(free_from))
        row = min(row, limit - 1)
        if row == len(free_from):
            free_from.append(span.end)
        free_from[row] = max(free_from[row], span.end)
        packed.append((row, span))
    return packed


def moving_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and its neighbours within `width` // 2 on both sides, fewer at the ends."""
    half = width // 2
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(w) / len(w) for w in windows]


def _error_bars(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], colour: str, label: str) -> None:
    values = [e.value for e in estimates]
    below = [e.value - e.low for e in estimates]
    above = [e.high - e.value for e in estimates]
    axes.errorbar(x, values, yerr=[below, above], fmt="o", color=colour, markersize=4.5, capsize=3, label=label)


def _figure(title: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    if title:
        axes.set_title(title, loc="left", fontsize=10, color=INK, fontweight="bold")
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=8)
    axes.xaxis.label.set_color(MUTED)
    axes.xaxis.label.set_fontsize(8)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element. Ids are salted with `name`, so that charts of one page do not share them."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font(?:-family)?: [^;\"]*sans-serif[^;\"]*", _page_font, text)
    return text[text.index("<svg") :]


def _page_font(match: re.Match[str]) -> str:
    """The same declaration with the page's font instead of matplotlib's list."""
    declaration = match[0]
    if declaration.startswith("font-family"):
        return "font-family: inherit"
    size = re.search(r"[\d.]+px", declaration)
    weight = "bold " if re.search(r"\b(bold|700)\b", declaration) else ""
    return f"font: {weight}{size[0] if size else '10px'} system-ui, sans-serif"
