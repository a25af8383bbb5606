"""The results of a validation as data: per task, per split, and for an environment. All output is made from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from agent_rl.audit.mutation_score import MutationScore, SplitMutationScore
from agent_rl.vocabulary.task import Tier

SCHEMA_VERSION = 3
FOUND_WITH = 0.9
"""The probability that goes with `flaky_rate_found`."""

ProblemKind = Literal["structure", "oracle", "flaky", "stub", "vacuous", "network", "slow"]
"""structure: ids, splits, missing tests | reference: the oracle solution is missing or does not pass | flaky: it passes
only sometimes | stub: a reply that solves nothing passes | vacuous: a test that tests nothing | network: code uses a
network | slow: the oracle solution needs more than half of its time limit."""


@dataclass(frozen=True, slots=True)
class TaskProblem:
    """A problem of a task, or of a split (`task` is then empty)."""

    task: str
    what: str
    kind: ProblemKind = "structure"


@dataclass(frozen=True, slots=True)
class TaskReport:
    """The results of one task.

    tier: the tier of its verdicts. oracles: how often the oracle solution was judged. seconds: of the slowest of these
    judgings. mutation_score: None if it was not measured; `not_measured` then says why. tier_reason: why it needs tier
    `in_process`, if that was found when it was loaded.
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
    tier_reason: str = ""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """The results of one split.

    tasks: how many it has. checked: for how many of them replies were judged. oracles: judgings of oracle solutions,
    `times` per task. stubs: judged stubs. mutation_score: None if it could not be measured for any task.
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
    """The results of all splits; `passed` if no split has a problem."""

    environment: str
    splits: tuple[SplitReport, ...]
    times: int
    """How often each oracle solution was judged."""

    @property
    def passed(self) -> bool:
        return all(split.passed for split in self.splits)

    @property
    def flaky_rate_found(self) -> float:
        """The smallest share of failing runs of an oracle solution that `times` runs show with probability .9.

        1 - (1 - rate)^times = .9
        """
        return 1 - (1 - FOUND_WITH) ** (1 / self.times)

    def to_json(self) -> dict[str, Any]:
        found = {"flaky_rate_found": self.flaky_rate_found}
        return {"schema_version": SCHEMA_VERSION, "passed": self.passed, **found, **asdict(self)}
