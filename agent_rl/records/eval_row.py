"""`EvalRow`: one evaluation of one policy version on one environment's split, one row of `eval.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share in [0, 1] with its 95 % interval over tasks."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}

    @staticmethod
    def from_json(data: Mapping[str, float]) -> Estimate:
        return Estimate(value=data["value"], low=data["low"], high=data["high"])

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class EvalRow:
    """One row of `eval.json`.

    policy_version: the version of every sample of the row; None if no policy was sampled (`gold`, `empty`).
    num_samples: rollouts asked for per task, not counting the greedy one.
    num_excluded: rollouts, greedy ones included, that ended in an infrastructure failure; no mean contains them.
    greedy: share of tasks that the greedy rollout passes; None if it was not asked for.
    pass_at_k: k -> pass@k. A task with fewer than k surviving samples is left out of that mean.
    """

    policy_version: int | None
    split: str
    environment: str
    num_tasks: int
    num_samples: int
    num_excluded: int
    greedy: Estimate | None
    pass_at_k: Mapping[int, Estimate]

    def to_json(self) -> dict[str, Any]:
        """The row as JSON data, in which the keys of `pass_at_k` are strings."""
        return {
            "schema_version": SCHEMA_VERSION,
            "policy_version": self.policy_version,
            "split": self.split,
            "environment": self.environment,
            "num_tasks": self.num_tasks,
            "num_samples": self.num_samples,
            "num_excluded": self.num_excluded,
            "greedy": None if self.greedy is None else self.greedy.to_json(),
            "pass_at_k": {str(k): estimate.to_json() for k, estimate in sorted(self.pass_at_k.items())},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> EvalRow:
        """The row that `to_json` wrote; unknown keys are ignored."""
        greedy = data.get("greedy")
        return EvalRow(
            policy_version=data["policy_version"],
            split=data["split"],
            environment=data["environment"],
            num_tasks=data["num_tasks"],
            num_samples=data["num_samples"],
            num_excluded=data["num_excluded"],
            greedy=None if greedy is None else Estimate.from_json(greedy),
            pass_at_k={int(k): Estimate.from_json(e) for k, e in data["pass_at_k"].items()},
        )
