"""`Submission`: what is judged. `Verdict`: the verifier's result for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent_rl.vocabulary.runs import Isolation
from agent_rl.vocabulary.task import Tier
from agent_rl.vocabulary.wording import printable

VerdictStatus = Literal[
    "passed",
    "failed",
    "timeout",
    "out_of_memory",
    "output_limit",
    "crashed",
    "tampered",
    "invalid_submission",
]


@dataclass(frozen=True, slots=True)
class Submission:
    """What is judged: a text, a patch, or files that the task declares and that were taken from a sandbox."""

    kind: Literal["code", "answer", "files", "patch"]
    text: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    @staticmethod
    def code(text: str) -> Submission:
        """A program's source, exactly as it will run."""
        return Submission("code", text)

    @staticmethod
    def of_files(files: Mapping[str, bytes]) -> Submission:
        """Files taken from a sandbox: path relative to the working directory -> content."""
        return Submission("files", files=dict(files))

    @staticmethod
    def patch(text: str) -> Submission:
        """A unified diff against the task's files."""
        return Submission("patch", text)

    @staticmethod
    def answer(text: str) -> Submission:
        """The model's reply, unchanged; the judge looks for the final answer in it."""
        return Submission("answer", text)


@dataclass(frozen=True, slots=True)
class TestResult:
    """The outcome of one test. `detail` is for people, is never parsed, and is safe to print."""

    __test__ = False

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's result for a submission. Binary algorithms use only `passed`."""

    passed: bool
    status: VerdictStatus
    tier: Tier
    isolation: Isolation | None
    """None if nothing had to be run (a final answer is compared outside any sandbox)."""
    seconds: float = 0.0
    tests: tuple[TestResult, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    feedback: str = ""
    """Text that the agent may read; only `run_public_tests` fills it."""
    slowest_case_seconds: float = 0.0
    """What the slowest of the cases took, or loading the program; 0 if the verdict is not one of cases."""

    @property
    def limited_seconds(self) -> float:
        """The time that a task's limit is for: that of the slowest case, or of the whole if there are no cases."""
        return self.slowest_case_seconds or self.seconds

    def __post_init__(self) -> None:
        if self.passed != (self.status == "passed"):
            raise ValueError(f"passed={self.passed} contradicts status={self.status!r}")

    @staticmethod
    def invalid_submission(tier: Tier, why: str = "", *, public: bool = False) -> Verdict:
        """The verdict of a submission that cannot be judged, with the reason `why`; `public` shows it to the agent."""
        why = printable(why)
        tests = (TestResult("submission", False, why),) if why else ()
        return Verdict(False, "invalid_submission", tier, None, tests=tests, feedback=why if public else "")
