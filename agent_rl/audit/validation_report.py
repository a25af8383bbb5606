"""What validation found: per task, per split, and of an environment; everything a person is told, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from agent_rl.audit.mutation_score import MutationScore, SplitMutationScore
from agent_rl.vocabulary.task import Tier

SCHEMA_VERSION = 2

ProblemKind = Literal["structure", "reference", "flaky", "stub", "vacuous", "network", "slow"]
"""structure: ids, splits, tests that are none | reference: it is missing or does not pass | flaky: it passes only
sometimes | stub: what solves nothing passes | vacuous: a test that says nothing | network: something asks for one |
slow: the reference needs more than half of its time limit."""


@dataclass(frozen=True, slots=True)
class TaskProblem:
    """What is wrong with a task, or with a split (`task` is then empty)."""

    task: str
    what: str
    kind: ProblemKind = "structure"


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What was found on one task.

    tier: at which its verdicts are reached. references: of how many judgings; seconds: of the slowest. mutation score
    is None where `not_measured` says why.
    """

    task: str
    tier: Tier = "values"
    oracles: int = 0
    oracles_passed: int = 0
    seconds: float = 0.0
    stubs: int = 0
    stubs_failed: int = 0
    mutation_score: MutationScore | None = None
    not_measured: str = ""
    problems: tuple[TaskProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was found in one split.

    tasks: how many it holds; checked: of how many the replies were judged. references: judged references, `times`
    per task; stubs: judged stubs. mutation score is None where no task's could be measured.
    """

    split: str
    tasks: int
    checked: int
    oracles: int
    oracles_passed: int
    stubs: int
    stubs_failed: int
    mutation_score: SplitMutationScore | None
    problems: tuple[TaskProblem, ...]
    by_task: tuple[TaskReport, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Of all splits; `passed` where no split has a problem."""

    environment: str
    splits: tuple[SplitReport, ...]

    @property
    def passed(self) -> bool:
        return all(split.passed for split in self.splits)

    def to_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **asdict(self)}
