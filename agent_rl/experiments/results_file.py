"""`results.jsonl` of an experiment: a line for each finished run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_rl.atomic_files import write_atomically
from agent_rl.errors import ConfigError
from agent_rl.experiments.planned_runs import PlannedRun
from agent_rl.records.eval_row import Estimate

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """What one finished run showed. `start` holds the measures before training, where they were taken."""

    run: str
    labels: dict[str, str]
    digest: str
    seconds: float
    measures: dict[str, Estimate]
    """Where nothing was sampled, an interval of no width."""
    start: dict[str, Estimate] = field(default_factory=dict[str, Estimate])
    curve: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "labels": self.labels,
            "digest": self.digest,
            "seconds": round(self.seconds, 2),
            "measures": {name: estimate.to_json() for name, estimate in self.measures.items()},
            "start": {name: estimate.to_json() for name, estimate in self.start.items()},
            "curve": [list(point) for point in self.curve],
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> MeasuredRun:
        """The run that `to_json` wrote."""
        return MeasuredRun(
            run=data["run"],
            labels=data["labels"],
            digest=data["digest"],
            seconds=data["seconds"],
            measures={name: Estimate.from_json(each) for name, each in data["measures"].items()},
            start={name: Estimate.from_json(each) for name, each in data["start"].items()},
            curve=tuple((x, y) for x, y in data["curve"]),
        )


@dataclass(frozen=True, slots=True)
class ResultsFile:
    """The results in `path`, always complete lines."""

    path: Path

    def read(self) -> list[MeasuredRun]:
        """The finished runs; none without the file. Raises ConfigError for another format."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return [MeasuredRun.from_json(json.loads(line)) for line in lines]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{self.path} does not hold results of an experiment: {reason}", key="--dir") from None

    def add(self, result: MeasuredRun) -> None:
        """`result` is the last line; a reader sees the old file or the new one."""
        rows = [*self.read(), result]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(json.dumps(row.to_json()) + "\n" for row in rows))

    def of(self, runs: Sequence[PlannedRun]) -> dict[str, MeasuredRun]:
        """Name -> result of those of `runs` that have finished.

        Raises ConfigError if a result has other settings than the run of this name.
        """
        found = {result.run: result for result in self.read()}
        for run in runs:
            if run.name in found and found[run.name].digest != run.digest:
                raise ConfigError(
                    f"{self.path} has a result of {run.name} with other settings: name another folder with --dir, or "
                    "remove that line",
                    key="--dir",
                )
        return {run.name: found[run.name] for run in runs if run.name in found}
