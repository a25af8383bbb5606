"""The report's page: results, curves, the use of time, and rollouts to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.report.charts import Series, line_chart, timeline_strip
from agent_rl.report.rollout_pages import rollouts_section
from agent_rl.report.run_data import JsonRow, RunData, Span, read_run
from agent_rl.report.style import STYLE

_MOST_LEFT_OUT = 20
"""Rows that were left out and are named one by one, for each split."""


def write_report(run_dir: Path) -> Path:
    """The path of `report.html`, written to `run_dir`. It is self-contained: no script, nothing is loaded.

    Raises ConfigError if `run_dir` is not a run's folder.
    """
    run_dir = Path(run_dir)
    page = render(read_run(run_dir))
    path = run_dir / "report.html"
    write_atomically(path, page)
    return path


def render(run: RunData) -> str:
    """The page of `run`."""
    sections = (
        _tiles(run),
        _evaluations(run.evaluations),
        _task_notes(run.task_notes),
        _curves(run),
        _timeline(run),
        _dropped(run.metrics),
        rollouts_section(run.rollouts),
        _config(run),
    )
    body = "\n".join(section for section in sections if section)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(run.name)} · agent-rl</title><style>{STYLE}</style></head>\n"
        f"<body><header><h1>{escape(run.name)}</h1><p class='sub'>{escape(_summary(run))}</p></header>\n"
        f"<main>{body}</main></body></html>\n"
    )


def _summary(run: RunData) -> str:
    """One line that says what was trained and how."""
    config = run.config
    environments = [str(e.get("name") or e.get("environment", "")) for e in config.get("environments", [])]
    model = config.get("model", {})
    advantage, loop = config.get("algorithm", {}).get("advantage", {}), config.get("loop", {})
    parts = [
        " + ".join(environments),
        str(model.get("path") or ("a new small model" if model.get("scratch") else "")),
        f"{advantage.get('name', '')} with N = {loop.get('group_size', '?')}" if advantage else "",
        f"at most {loop['max_staleness']} versions stale" if "max_staleness" in loop else "",
        f"seed {config['seed']}" if "seed" in config else "",
    ]
    return " · ".join(part for part in parts if part)


def _tiles(run: RunData) -> str:
    tiles: list[tuple[str, str, str]] = []
    for environment, rows in _by_environment(run.evaluations).items():
        suffix = f" ({environment})" if len(_by_environment(run.evaluations)) > 1 else ""
        before, after = rows[0], rows[-1]
        for name, first, last in _paired(before, after):
            tiles.append((f"held-out {name}{suffix}", _change(first, last), _interval(last)))
    if run.metrics:
        last = run.metrics[-1]
        seconds = sum(float(row.get("timings", {}).get("total", 0)) for row in run.metrics)
        rollouts = sum(int(row.get("rollouts", 0)) for row in run.metrics)
        dropped = sum(_count(row.get("dropped")) for row in run.metrics)
        tiles.append(("steps", f"{last['step']:,}", f"{duration(seconds)} of training"))
        if rollouts:
            tiles.append(("rollouts trained on", f"{rollouts:,}", f"{dropped:,} dropped"))
    if run.took is not None:
        tiles.append(("the whole run", duration(run.took), "SFT and evaluations included"))
    cells = "".join(
        f"<div class='tile'><div class='label'>{escape(a)}</div><div class='value'>{b}</div>"
        f"<div class='note'>{escape(c)}</div></div>"
        for a, b, c in tiles
    )
    return f"<section class='tiles'>{cells}</section>" if cells else ""


def _by_environment(rows: Sequence[EvalRow]) -> dict[str, list[EvalRow]]:
    grouped: dict[str, list[EvalRow]] = {}
    for row in rows:
        grouped.setdefault(f"{row.environment}, {row.split}", []).append(row)
    return grouped


def _paired(before: EvalRow, after: EvalRow) -> list[tuple[str, Estimate, Estimate]]:
    pairs = [
        (f"pass@{k}", before.pass_at_k[k], after.pass_at_k[k])
        for k in sorted(set(before.pass_at_k) & set(after.pass_at_k))
    ]
    if before.greedy is not None and after.greedy is not None:
        pairs.append(("greedy", before.greedy, after.greedy))
    return pairs


def _change(before: Estimate, after: Estimate) -> str:
    if before is after:
        return f"{after.value:.1%}"
    return f"<span class='from'>{before.value:.1%} →</span> {after.value:.1%}"


def _interval(estimate: Estimate) -> str:
    return f"95 %: {estimate.low:.1%} to {estimate.high:.1%}"


def _evaluations(rows: Sequence[EvalRow]) -> str:
    if not rows:
        return ""
    sizes = sorted({k for row in rows for k in row.pass_at_k})
    head = "".join(f"<th>pass@{k}</th>" for k in sizes)
    lines: list[str] = []
    for row in rows:
        cells = "".join(f"<td>{_cell(row.pass_at_k.get(k))}</td>" for k in sizes)
        version = "–" if row.policy_version is None else str(row.policy_version)
        lines.append(
            f"<tr><td>{version}</td><td>{escape(row.environment)}</td><td>{escape(row.split)}</td>{cells}"
            f"<td>{_cell(row.greedy)}</td><td>{row.num_tasks} × {row.num_samples}</td><td>{row.num_excluded}</td></tr>"
        )
    return (
        "<section><h2>Held-out evaluation</h2><div class='wide'><table><thead><tr><th>policy version</th>"
        f"<th>environment</th><th>split</th>{head}<th>greedy</th><th>tasks × samples</th><th>excluded</th></tr>"
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
        "<p class='sub'>Per episode, over all its turns. Unbiased pass@k; "
        "95 % bootstrap intervals over tasks. Excluded: rollouts lost to infrastructure failures.</p></section>"
    )


def _task_notes(rows: Sequence[JsonRow]) -> str:
    """Rows of the data that were left out, and held-out tasks that are trained on; empty if there are none."""
    items: list[str] = []
    for row in rows:
        left_out = [str(line) for line in row.get("left_out", [])]
        said = str(row.get("note") or f"{len(left_out)} rows of the split {row.get('split')!r} were left out")
        lines = "".join(f"<li>{escape(line)}</li>" for line in left_out[:_MOST_LEFT_OUT])
        more = f"<li>and {len(left_out) - _MOST_LEFT_OUT} more</li>" if len(left_out) > _MOST_LEFT_OUT else ""
        items.append(f"<li>{escape(str(row.get('environment')))}: {escape(said)}<ul>{lines}{more}</ul></li>")
    return f"<section><h2>Tasks</h2><ul>{''.join(items)}</ul></section>" if items else ""


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"<b>{estimate.value:.3f}</b> <span class='ci'>[{estimate.low:.3f}, {estimate.high:.3f}]</span>"


def _curves(run: RunData) -> str:
    metrics = run.metrics
    if not metrics:
        return ""
    environments = sorted({k.split("/")[1] for row in metrics for k in row if k.startswith("env/")})
    many = len(environments) > 1
    rates = [_series(metrics, f"env/{e}/pass_rate", e, smooth=True) for e in environments] if many else []
    marks = {
        float(row.policy_version): row.pass_at_k[1]
        for row in run.evaluations
        if row.policy_version is not None and 1 in row.pass_at_k and not many
    }
    charts = [
        line_chart("Pass rate in training", [*(rates or [_rate(metrics)])], share=True, marks=marks),
        line_chart(
            "Share of groups without a gradient",
            [
                _series(metrics, "groups_all_failed", "K = 0", over="groups"),
                _series(metrics, "groups_all_passed", "K = N", over="groups"),
            ],
            share=True,
        ),
    ]
    tampered = [f"env/{e}/tampered_share" for e in environments] if many else ["tampered_share"]
    tampering = [_series(metrics, key, name) for key, name in zip(tampered, environments or ["training"], strict=True)]
    if any(s.points for s in tampering):
        charts.append(line_chart("Share of verdicts that are tampered", tampering, share=True))
    rewards = sorted({key for row in metrics for key in row if key.startswith("reward/")})
    if rewards:
        parts = [_series(metrics, key, key.removeprefix("reward/"), smooth=True) for key in rewards]
        charts.append(line_chart("Reward and its parts", [_series(metrics, "reward", "sum", smooth=True), *parts]))
    wanted: list[tuple[str, list[tuple[str, str]]]] = [
        ("Staleness (versions)", [("staleness_mean", "mean"), ("staleness_max", "largest"), ("staleness", "mean")]),
        (
            "Tokens per second",
            [("timings/sampled_tokens_per_second", "policy"), ("timings/trained_tokens_per_second", "learner")],
        ),
        ("Verdicts per second", [("timings/verdicts_per_second", "verdicts")]),
        (
            "Seconds per step",
            [("timings/total", "step"), ("timings/waiting", "waiting"), ("timings/learner", "learner")],
        ),
        ("Gradient norm", [("gradient_norm", "norm")]),
        ("Entropy (nats per token)", [("entropy", "entropy")]),
        ("Turns per episode", [("turns_mean", "turns")]),
        ("Mismatch of learner and sampler (nats)", [("mismatch", "mean |difference| of log-probabilities")]),
    ]
    for title, lines in wanted:
        series = [_series(metrics, key, name, smooth=len(lines) == 1) for key, name in lines]
        series = [s for s in series if s.points]
        if series:
            charts.append(line_chart(title, series))
    figures = "".join(f"<figure>{chart}</figure>" for chart in charts)
    return f"<section><h2>Curves</h2><div class='charts'>{figures}</div></section>"


def _rate(metrics: Sequence[JsonRow]) -> Series:
    return _series(metrics, "pass_rate", "training", smooth=True)


def _series(
    metrics: Sequence[JsonRow], key: str, name: str, *, smooth: bool = False, over: str | None = None
) -> Series:
    """The values of `key` divided by those of `over`. Without a key "a/b", it is read as b in the nested table a."""
    points: list[tuple[float, float]] = []
    for row in metrics:
        value = _value(row, key)
        scale = 1.0 if over is None else _value(row, over)
        if value is not None and scale:
            points.append((float(row["step"]), value / scale))
    return Series(name, points, smooth)


def _value(row: JsonRow, key: str) -> float | None:
    value: Any = row.get(key)
    if value is None and "/" in key:
        table, _, rest = key.partition("/")
        inner = row.get(table)
        value = inner.get(rest) if isinstance(inner, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def _timeline(run: RunData) -> str:
    learner = [s for s in run.timeline if s.role == "learner"]
    rollouts = [s for s in run.timeline if s.role == "rollouts"]
    if not learner:
        return ""
    middle = len(learner) // 2
    window = learner[max(0, middle - 3) : middle + 4]
    strip = timeline_strip(run.timeline, window[0].start, window[-1].end)
    share = overlap(learner, rollouts)
    return (
        "<section><h2>Who worked when</h2>"
        f"<p class='sub'>The {len(window)} learner steps in the middle of the run. Rollouts were under way during "
        f"<b>{share:.0%}</b> of the learner's time, over the whole run.</p>"
        f"<figure class='strip'>{strip}</figure></section>"
    )


def overlap(first: Sequence[Span], second: Sequence[Span]) -> float:
    """The share of the time covered by `first` that `second` covers too; 0 if `first` covers no time."""
    a, b = _union(first), _union(second)
    total = sum(end - start for start, end in a)
    both = at = 0.0
    index = 0
    for start, end in a:
        while index < len(b) and b[index][1] <= start:
            index += 1
        at = index
        while at < len(b) and b[int(at)][0] < end:
            low, high = b[int(at)]
            both += min(end, high) - max(start, low)
            at += 1
    return both / total if total > 0 else 0.0


def _union(spans: Sequence[Span]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted((s.start, s.end) for s in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _count(dropped: Any) -> int:
    """The number of dropped rollouts in a row's `dropped`, which is a number or numbers by reason."""
    if isinstance(dropped, dict):
        return sum(int(v) for v in dropped.values())
    return int(dropped or 0)


def _dropped(metrics: Sequence[JsonRow]) -> str:
    reasons: Counter[str] = Counter()
    for row in metrics:
        dropped = row.get("dropped")
        if isinstance(dropped, dict):
            reasons.update({str(k): int(v) for k, v in dropped.items()})
        elif dropped:
            reasons["not recorded"] += int(dropped)
    if not metrics:
        return ""
    if not reasons:
        return "<section><h2>Left out</h2><p>No rollout was dropped.</p></section>"
    lines = "".join(f"<tr><td>{escape(r)}</td><td>{n:,}</td></tr>" for r, n in reasons.most_common())
    return (
        "<section><h2>Left out</h2><table><thead><tr><th>reason</th><th>rollouts</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
        "<p class='sub'>They are in no mean, in no N, and were never scored 0.</p></section>"
    )


def _config(run: RunData) -> str:
    if not run.config_text:
        return ""
    return (
        f"<section><h2>Configuration</h2><details><summary>config.toml</summary>"
        f"<pre>{escape(run.config_text)}</pre></details></section>"
    )


def duration(seconds: float) -> str:
    """`seconds` in words: 12 s, 5 min 12 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
