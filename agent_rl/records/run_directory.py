"""The files of a run, and cutting them back to a checkpoint so that no step stands twice."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.config import RunConfig, load_config
from agent_rl.errors import ConfigError
from agent_rl.records import eval_file

SCHEMA_VERSION = 1
_MAY_DIFFER = (
    "loop.steps",
    "loop.straggler_timeout",
    "loop.stuck_timeout",
    "loop.max_failed_share",
    "evaluation.",
    "checkpoints.",
    "sandbox.",
    "policy.",
    "learner.",
)
_CHECKPOINT = re.compile(r"step_(\d{6})$")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """config.toml, metrics.jsonl, timeline.jsonl, rollouts/, checkpoints/step_*/, eval.json, took.json, report.html,
    logs/; dropped_tasks.json where a threshold on the mutation score of tests is set.
    """

    path: Path

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.jsonl"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluations(self) -> Path:
        return self.path / "eval.json"

    @property
    def took(self) -> Path:
        return self.path / "took.json"

    @property
    def dropped_tasks(self) -> Path:
        return self.path / "dropped_tasks.json"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def create(self, config: RunConfig, *, resume: bool) -> None:
        """The folders stand; without `resume` they are empty.

        Raises ConfigError where a run would be overwritten, or there is none to resume, or it is of another
        configuration (its length, its evaluations and how it uses this machine may differ).
        """
        if resume:
            self._same_run(config)
        if not resume and self.metrics.exists() and self.metrics.stat().st_size:
            raise ConfigError(
                f"{self.path} already holds a run: give --resume to go on with it, or another folder", key="--run-dir"
            )
        if not resume:
            # What a run left that ended before its first step.
            for file in (self.timeline, self.evaluations, self.dropped_tasks):
                file.unlink(missing_ok=True)
            for folder in (self.rollouts, self.checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
        # How long this start of the run takes is known when it ends.
        self.took.unlink(missing_ok=True)
        for folder in (self.path, self.rollouts, self.checkpoints, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "config.toml", config.to_toml())

    def _same_run(self, config: RunConfig) -> None:
        file = self.path / "config.toml"
        if not file.is_file():
            raise ConfigError(f"there is no run to resume in {self.path}", key="--resume")
        stored, given = (_flat(c.model_dump(mode="json")) for c in (load_config(file), config))
        for key in sorted(stored.keys() | given.keys()):
            if stored.get(key) != given.get(key) and not key.startswith(_MAY_DIFFER):
                raise ConfigError(
                    f"the run in {self.path} has {stored.get(key)!r}, this configuration has {given.get(key)!r}: "
                    "a run goes on as it began",
                    key=key,
                )

    def append(self, file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """`rows` stand at the end of the JSONL `file`."""
        with file.open("a", encoding="utf-8") as f:
            f.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    def write_rollouts(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """The trajectories that step `step` was trained on, a line each."""
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (self.rollouts / f"step_{step:06d}.jsonl").write_text(text, encoding="utf-8")

    def elapsed(self) -> float:
        """When the last span of the timeline ends, in seconds since the run began; 0 where there is none."""
        return max((float(row.get("end", 0.0)) for _, row in _lines(self.timeline)), default=0.0)

    def write_took(self, seconds: float, *, resumed: bool) -> None:
        """How long the run took, in seconds: with `resumed`, from where it was taken up again."""
        row = {"schema_version": SCHEMA_VERSION, "seconds": round(seconds, 3), "resumed": resumed}
        write_atomically(self.took, json.dumps(row) + "\n")

    def read_took(self) -> float:
        """The seconds that `write_took` noted. Raises FileNotFoundError where the run has not ended."""
        return float(json.loads(self.took.read_text(encoding="utf-8"))["seconds"])

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step_{step:06d}"

    def complete_checkpoints(self) -> list[tuple[int, Path]]:
        """(steps, folder) of every checkpoint that was written to its end, oldest first."""
        if not self.checkpoints.is_dir():
            return []
        found = [(int(m[1]), p) for p in self.checkpoints.iterdir() if (m := _CHECKPOINT.search(p.name))]
        return sorted((step, path) for step, path in found if (path / "trainer.json").is_file())

    def prune(self, keep: int) -> None:
        """Only the `keep` newest checkpoints, and nothing half-written, is left."""
        complete = self.complete_checkpoints()
        for _, path in complete[: max(0, len(complete) - keep)]:
            shutil.rmtree(path, ignore_errors=True)
        newest = complete[-1][0] if complete else -1
        for path in self.checkpoints.iterdir():
            match = _CHECKPOINT.search(path.name)
            if match is None or ((not (path / "trainer.json").is_file()) and int(match[1]) < newest):
                shutil.rmtree(path, ignore_errors=True)

    def cut_back(self, steps: int) -> None:
        """Nothing after `steps` steps is left in any file, nor a half-written line."""
        for file in (self.metrics, self.timeline):
            _keep_lines(file, lambda row: int(row.get("step", 0)) <= steps)
        for file in self.rollouts.glob("step_*.jsonl"):
            if int(file.stem.removeprefix("step_")) > steps:
                file.unlink()
        try:
            eval_file.cut_back(self.evaluations, steps)
        except ConfigError:
            # No reason not to go on training; rows that cannot be read are of no use to anyone.
            eval_file.write_rows(self.evaluations, [])
        for path in self.checkpoints.iterdir():
            match = _CHECKPOINT.search(path.name)
            if match is None or int(match[1]) > steps:
                shutil.rmtree(path, ignore_errors=True)


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, of every leaf of nested tables."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {
        k: v for key, value in data.items() for k, v in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a JSONL file, if there is one, and what they hold."""
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            yield line, json.loads(line)
        except ValueError:
            continue  # The line that was being written when the run was killed.


def _keep_lines(file: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    if file.is_file():
        write_atomically(file, "".join(line + "\n" for line, row in _lines(file) if keep(row)))
