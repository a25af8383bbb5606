"""Prepares cases for their runs, and reads and compares the outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.errors import ConfigError
from agent_rl.judging.checker_programs import Recorded, recorded_call
from agent_rl.judging.compare_values import equal
from agent_rl.judging.judging_runs import MAX_DETAILS, due, tampered, verdict_of_cases
from agent_rl.judging.result_frames import Answer, Raised, Returned, Tampered, Unheld, read_frames, value_of
from agent_rl.vocabulary import CallTests, Case, Isolation, Limits, RunResult, Verdict, wording
from agent_rl.vocabulary.canonical import NotCanonical, decode, encode
from agent_rl.vocabulary.runs import RunStatus


@dataclass(frozen=True, slots=True)
class PreparedTests:
    """One `CallTests` with everything that does not depend on a submission; `cases` hold normalised values."""

    source: CallTests
    limits: Limits
    cases: tuple[Case, ...]
    arguments: tuple[str, ...]
    expected: tuple[str | None, ...]
    """Canonical text of each expected value; None if an equal text does not prove a pass (nan under ==, a checker)."""
    digest: bytes


@dataclass(frozen=True, slots=True)
class CasePart:
    """One run of a judging: the ids of the cases it had to answer, and its result."""

    ids: dict[int, str]
    result: RunResult


class Reading:
    """A judging's runs, read and compared. If a checker decides, `verdict` is None and `recorded` holds the outputs."""

    def __init__(self, prepared: PreparedTests, parts: Sequence[CasePart], public: bool) -> None:
        """`parts` must not be empty. A case that is in none of them was not run."""
        self.prepared = prepared
        self.parts = parts
        self.public = public
        self.recorded: list[Recorded] = []
        self.isolation: Isolation = parts[0].result.isolation
        self.seconds = sum(p.result.seconds for p in parts)
        self.slowest = max(p.result.slowest_seconds for p in parts)
        self._answers: dict[int, Answer] = {}
        self._missing: dict[int, str] = {}
        self._load_error: str | None = None

    @property
    def status(self) -> RunStatus:
        """The status of the first run that did not complete; "completed" if all did."""
        for part in self.parts:
            if part.result.status != "completed":
                return part.result.status
        return "completed"

    def verdict(self) -> Verdict | None:
        """The verdict; None if a checker has to decide."""
        anomalies = [a for part in self.parts for a in part.result.anomalies]
        if anomalies:
            return self._tampered("; ".join(anomalies))
        try:
            for part in self.parts:
                self._read(part)
            complete = self.status == "completed" and len(self._answers) == len(self.prepared.cases)
            # No check sees what cannot be held, since it could take it for anything.
            complete = complete and not any(isinstance(answer, Unheld) for answer in self._answers.values())
            if complete and self.prepared.source.comparison == "checker":
                self._record()
                return None
            return self._compared()
        except Tampered as error:
            return self._tampered(str(error))

    def _read(self, part: CasePart) -> None:
        """Reads the answers of one run, and why others are missing. Raises Tampered."""
        answers = read_frames(part.result.frames, list(part.ids.values()))
        if answers.load_error is not None:
            self._load_error = self._load_error or answers.load_error
            missing = wording.last_line(answers.load_error)
        elif part.result.status != "completed":
            missing = part.result.status.replace("_", " ")
        else:
            missing = f"the program ended early, exit code {part.result.exit_code}"
        for index, call_id in part.ids.items():
            answer = answers.by_id.get(call_id)
            if answer is None:
                self._missing[index] = missing
            else:
                self._answers[index] = answer

    def _record(self) -> None:
        for index, case in enumerate(self.prepared.cases):
            answer = self._answers[index]
            if isinstance(answer, Raised):
                self.recorded.append(recorded_call(case, answer.failure, None))
            elif isinstance(answer, Returned):
                self.recorded.append(recorded_call(case, None, value_of(answer)))

    def _compared(self) -> Verdict:
        """The verdict of all cases. If a run did not complete, its status stands, whatever it answered before."""
        details: list[str] = []
        failed = 0
        for index in range(len(self.prepared.cases)):
            details.append(self._detail(index, describe=failed < MAX_DETAILS))
            failed += details[-1] != ""
        return verdict_of_cases(
            self.status,
            details,
            self.isolation,
            self.seconds,
            public=self.public,
            load_error=self._load_error,
            slowest=self.slowest,
        )

    def _detail(self, index: int, *, describe: bool) -> str:
        """Empty if the case passed, else what came out instead; without `describe` only "failed"."""
        tests, case = self.prepared.source, self.prepared.cases[index]
        answer = self._answers.get(index)
        if isinstance(answer, Returned):
            if answer.text == self.prepared.expected[index]:
                return ""
            value = value_of(answer)
            if tests.comparison != "checker" and _equal(value, case.expected, tests):
                return ""
            return wording.gave(tests.entry_point, case, value) if describe else "failed"
        if not describe:
            return "failed"
        if isinstance(answer, Raised):
            return wording.raised(tests.entry_point, case, answer.error)
        if isinstance(answer, Unheld):
            return wording.unheld(tests.entry_point, case, answer.why)
        return wording.unanswered(tests.entry_point, case, self._missing.get(index, "not run"))

    def _tampered(self, why: str) -> Verdict:
        return tampered("values", self.isolation, self.seconds, why, public=self.public)


def _equal(value: Any, expected: Any, tests: CallTests) -> bool:
    return equal(value, expected, tests.comparison, tests.tolerance, from_json=tests.from_json)


def prepare(task_id: str, tests: CallTests, limits: Limits) -> PreparedTests:
    """The tests in canonical form. Raises ConfigError (naming the task and the case)."""
    if not tests.cases:
        raise ConfigError(f"task {task_id}: no cases, so that every program would pass")
    if tests.comparison == "checker" and not tests.checker:
        raise ConfigError(f"task {task_id}: comparison 'checker' needs a checker", key="checker")
    cases: list[Case] = []
    arguments: list[str] = []
    expected: list[str | None] = []
    texts: list[str] = []
    digest = hashlib.blake2b(digest_size=16)
    for number, case in enumerate(tests.cases):
        try:
            arguments.append(encode([case.args, dict(case.kwargs)]))
            text = encode(case.expected)
        except NotCanonical as error:
            raise ConfigError(f"task {task_id}: case {number} cannot be held in canonical form: {error}") from None
        texts.append(text)
        value = decode(text)
        cases.append(Case(case.args, value, case.kwargs))
        same = tests.comparison != "checker" and _equal(value, decode(text), tests)
        expected.append(text if same else None)
        digest.update(f"{len(arguments[-1])},{len(text)}:{arguments[-1]}{text}".encode("utf-8", "surrogatepass"))
    limits = due(limits, (len(text.encode("utf-8", "surrogatepass")) for text in texts))
    settings = (tests.called, tests.comparison, tests.tolerance, tests.checker, tests.from_json, limits)
    digest.update(repr(settings).encode() + (b"isolated" if tests.isolated else b""))
    return PreparedTests(tests, limits, tuple(cases), tuple(arguments), tuple(expected), digest.digest())
