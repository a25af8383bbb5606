"""Reads a report's data from a run's folder. A missing or truncated file leaves its part empty."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rl.errors import ConfigError
from agent_rl.records.eval_file import read_rows
from agent_rl.records.eval_row import EvalRow
from agent_rl.records.run_directory import RunDirectory

JsonRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """An activity of one role from `start` to `end`, in seconds since the run began."""

    role: str
    what: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class RunData:
    """The data of a run on disk. `rollouts` holds (step, rows) of the first, a middle and the last step.

    took: seconds, SFT and evaluations included; None if the run has not ended or was resumed.
    """

    name: str
    config: JsonRow
    config_text: str
    metrics: Sequence[JsonRow]
    evaluations: Sequence[EvalRow]
    timeline: Sequence[Span]
    rollouts: Sequence[tuple[int, Sequence[JsonRow]]]
    took: float | None
    task_notes: Sequence[JsonRow] = ()
    """What task_notes.json says: rows that were left out, and held-out tasks that are trained on."""


def read_run(run_dir: Path) -> RunData:
    """The run in `run_dir`. Raises ConfigError if that is not a run's folder."""
    if not run_dir.is_dir():
        raise ConfigError(f"there is no folder {run_dir}", key="RUN")
    if not RunDirectory(run_dir).holds_a_run():
        raise ConfigError(f"{run_dir} is not a run's folder: no run wrote config.toml and run.json there", key="RUN")
    text = _text(run_dir / "config.toml")
    try:
        config = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        config = {}
    spans = read_lines(run_dir / "timeline.jsonl")
    return RunData(
        name=run_dir.resolve().name,
        config=config,
        config_text=text,
        metrics=[row for row in read_lines(run_dir / "metrics.jsonl") if "step" in row],
        evaluations=read_rows(run_dir / "eval.json"),
        timeline=[
            Span(str(s["role"]), str(s.get("what", "")), float(s["start"]), float(s["end"]))
            for s in spans
            if {"role", "start", "end"} <= s.keys()
        ],
        rollouts=_rollouts(run_dir / "rollouts"),
        took=_took(run_dir / "took.json"),
        task_notes=read_task_notes(run_dir / "task_notes.json"),
    )


def read_task_notes(path: Path) -> list[JsonRow]:
    """What task_notes.json says of the environments; empty if there is no such file."""
    try:
        return [row for row in json.loads(path.read_text(encoding="utf-8"))["environments"] if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_lines(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """The objects of a JSONL file, at most `most`; empty if there is no file. A half-written line is dropped."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
            if most is not None and len(rows) >= most:
                break
    return rows


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _took(path: Path) -> float | None:
    try:
        row = json.loads(_text(path) or "{}")
        return None if row.get("resumed", True) else float(row["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _rollouts(folder: Path) -> list[tuple[int, Sequence[JsonRow]]]:
    files = sorted(folder.glob("step_*.jsonl")) if folder.is_dir() else []
    chosen = sorted({0, len(files) // 2, len(files) - 1}) if files else []
    found: list[tuple[int, Sequence[JsonRow]]] = []
    for index in chosen:
        number = files[index].stem.removeprefix("step_")
        rows = read_lines(files[index], most=2000)
        if number.isdigit() and rows:
            found.append((int(number), rows))
    return found
