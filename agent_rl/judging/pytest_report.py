"""Reads and checks the report of `pytest_runner`, which runs inside the sandbox."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from agent_rl.vocabulary import ExecResult, wording

_PHASES = ("setup", "call", "teardown")


class TamperedReport(Exception):
    """The report is not one that the runner could have written; the message says why."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of one test, in pytest's words; `expected` is true if a failure was announced (xfail)."""

    when: str
    outcome: str
    expected: bool
    text: str


@dataclass(frozen=True, slots=True)
class PytestReport:
    """Exit code of pytest, collected node ids in order, collection errors, and each test's phases in order."""

    exit_code: int
    collected: tuple[str, ...]
    errors: tuple[tuple[str, str], ...]
    phases: dict[str, list[Phase]]

    def why_not_passed(self, test: str) -> str:
        """Why `test` did not pass; empty if it ran once and passed in each of its phases, without xfail."""
        phases = self.phases.get(test)
        if phases is None:
            errors = [text for _, text in self.errors if text.strip()]
            return _reason(errors[0]) if errors else "was not run"
        for phase in phases:
            if phase.expected:
                return "is marked as expected to fail"
            if phase.outcome == "skipped":
                return "was skipped"
            if phase.outcome != "passed":
                return _reason(phase.text) or f"{phase.when}: {phase.outcome}"
        if tuple(phase.when for phase in phases) != _PHASES:
            return "was not run once, from setup to teardown"
        return ""


@dataclass(frozen=True, slots=True)
class Late:
    """The tests exceeded their limit; seconds that they used and waited as in `ExecResult`."""

    cpu_seconds: float
    waited_seconds: float | None

    def ended(self, result: ExecResult, seconds: float) -> ExecResult:
        """The result of the runner, as of a command that was ended after `seconds`."""
        times: dict[str, Any] = {"cpu_seconds": self.cpu_seconds, "waited_seconds": self.waited_seconds}
        return dataclasses.replace(result, status="timeout", exit_code=None, seconds=seconds, **times)


def read_report(raw: bytes, nonce: str) -> PytestReport | Late:
    """The report. Raises TamperedReport for anything that the runner does not write."""
    try:
        content: Any = json.loads(raw)
        if content["nonce"] != nonce:
            raise TamperedReport("a report with another nonce")
        if "late" in content:
            cpu, waited = content["late"]
            if type(cpu) is not float or type(waited) not in (float, type(None)):
                raise TamperedReport("a report of unknown form")
            return Late(cpu, waited)
        if type(content["exit"]) is not int:
            raise TamperedReport("a report with another nonce")
        phases: dict[str, list[Phase]] = {}
        for test, when, outcome, expected, text in content["phases"]:
            if [type(v) for v in (test, when, outcome, expected, text)] != [str, str, str, bool, str]:
                raise TamperedReport("a phase of unknown form")
            phases.setdefault(test, []).append(Phase(when, outcome, expected, text))
        collected = tuple(content["collected"])
        errors = tuple((where, text) for where, text in content["errors"])
        if not all(type(v) is str for v in (*collected, *(part for error in errors for part in error))):
            raise TamperedReport("a report of unknown form")
        return PytestReport(content["exit"], collected, errors, phases)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise TamperedReport("a malformed report") from None


def _reason(text: str) -> str:
    """The line that pytest marks as the error in a failure's text, or else the last line.

    Of a SyntaxError, the first marked line says only where it is.
    """
    marked = [line[2:].strip() for line in text.splitlines() if line.startswith("E ")]
    if len(marked) > 1 and marked[0].startswith('File "'):
        return wording.printable(f"{marked[-1]} ({marked[0]})")
    return wording.last_line(marked[0] if marked else text) if text.strip() else ""


def asked_of_all(report: PytestReport, canaries: Container[str]) -> tuple[str, ...]:
    """The node ids of the collected tests, without canaries.

    A test that the oracle solution skips, or is expected to fail, says nothing about a candidate: it is left out.
    """

    def counts(test: str) -> bool:
        return not any(phase.expected or phase.outcome == "skipped" for phase in report.phases.get(test, ()))

    return tuple(dict.fromkeys(test for test in report.collected if test not in canaries and counts(test)))
