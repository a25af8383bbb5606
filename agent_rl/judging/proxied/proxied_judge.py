"""The judge of tier `proxied`: hidden tests run in one process and call the candidate's program in another.

    PytestTests ──> PairRequest ──> provider.run_pair ──┬─ the tests' run: `runner`
                    (once a task: which tests there       │    ^ │  frames, handed on by `relay` in strict turns
                    are, and where the oracle             │    │ v
                    gives objects)                        └─ the candidate's run: `candidate`

Only the tests' process reports which tests passed. What it believes of the candidate, and what this tier cannot stop,
is described in `agent_rl.judging.proxied.tests_side`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from agent_rl.errors import ConfigError, TestsPlaceError
from agent_rl.judging.blame import Blamed
from agent_rl.judging.collected_node_ids import collected, require_tests
from agent_rl.judging.judge import digest_of
from agent_rl.judging.judging_runs import Runs, check_room, invalid_program, reasons, room_of, weaker_isolation
from agent_rl.judging.proxied.proxy_messages import ANY_NAME
from agent_rl.judging.proxied.tests_side import MODIFIED
from agent_rl.vocabulary import (
    AssertTests,
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    PytestTests,
    Submission,
    Task,
    TestResult,
    Verdict,
    wording,
)
from agent_rl.vocabulary.verdict import VerdictStatus

MAX_FEEDBACK_LINES = 5
_PROFILES = 4096


@dataclass(frozen=True, slots=True)
class ProxiedReport:
    """What the tests' run reported: each test's outcome and detail, and, if it ran to its end, the objects seen."""

    outcomes: dict[str, tuple[str, str]]
    objects: tuple[str, ...] | None = None
    tampered: str = ""

    @property
    def whole(self) -> bool:
        """Whether the last report came."""
        return self.objects is not None or self.tampered != ""


@dataclass(frozen=True, slots=True)
class _Profile:
    """What the run of the oracle solution showed about a task's tests."""

    tests: tuple[str, ...]
    objects: tuple[str, ...]


class ProxiedJudge:
    """Judges `PytestTests` (and `AssertTests`) in pairs of workers, at tier `proxied`.

    Before the first judging of a task, its oracle solution is run: it has to pass all tests, and where it gives objects
    (and not plain values), candidates may give objects too. Without an oracle solution, the task has to list the node
    ids, and only the module's own names (functions) may be objects.
    """

    def __init__(self, runs: Runs, *, seed: int = 0) -> None:
        self.runs = runs
        self._seed = seed
        self._profiles: OrderedDict[bytes, asyncio.Task[_Profile]] = OrderedDict()

    def check(self, task: Task, tests: PytestTests | AssertTests) -> bytes:
        return digest_of(task, tests)

    async def prepare(self, task: Task, tests: PytestTests | AssertTests) -> Task:
        """The task with its tests' node ids, all of which the oracle solution passes."""
        if isinstance(tests, PytestTests):
            require_tests(task, tests)
        return await collected(task, tests, lambda: self._passed_by_oracle(task, tests), self._seed)

    async def _passed_by_oracle(self, task: Task, tests: PytestTests | AssertTests) -> tuple[str, ...]:
        """The node ids of the tests. Raises ConfigError if the oracle solution does not pass them."""
        program = Submission.code(_oracle_program(task, tests))
        verdict = await self.judge(task, tests, program, public=False)
        if not verdict.passed:
            raise ConfigError(f"task {task.id}: the oracle solution does not pass its own tests: {reasons(verdict)}")
        given = tests.tests if isinstance(tests, PytestTests) else ()
        return given or tuple(test.name for test in verdict.tests)

    async def judge(
        self, task: Task, tests: PytestTests | AssertTests, submission: Submission, *, public: bool
    ) -> Verdict:
        """The verdict. Raises ConfigError if the tests cannot be used, and SandboxError for infrastructure failures."""
        tests = as_pytest(task.id, tests)
        if invalid := invalid_program(submission):
            return Verdict.invalid_submission("proxied", invalid, public=public)
        profile = await self._profile(task, tests)
        verdict, modified = await self._judged(task, tests, submission, profile, profile.objects, public)
        if not verdict.passed or not modified:
            return verdict
        # The tests passed without seeing that the program modified its arguments. They must also pass if they see it.
        objects = tuple({*profile.objects, *modified})
        again, _ = await self._judged(task, tests, submission, profile, objects, public)
        return dataclasses.replace(again, seconds=verdict.seconds + again.seconds)

    async def _judged(
        self,
        task: Task,
        tests: PytestTests,
        submission: Submission,
        profile: _Profile,
        objects: tuple[str, ...],
        public: bool,
    ) -> tuple[Verdict, tuple[str, ...]]:
        """(verdict of one pair of runs, access paths outside of `objects` whose calls modified arguments)."""
        request = self._request(tests, submission.text, profile.tests, objects, task.limits)
        result = await self.runs.run_pair(request, check_reports)
        if isinstance(result, Blamed):
            return _failed("crashed", self.runs.provider.isolation, 0.0, "run", result.detail, public), ()
        verdict = verdict_of(result, profile.tests, public=public)
        noted = read_reports(result.tests.frames).objects or () if verdict.passed else ()
        return verdict, tuple(path for path in noted if path.endswith(MODIFIED) and path not in objects)

    def _request(
        self,
        tests: PytestTests,
        program: str,
        wanted: tuple[str, ...],
        objects: tuple[str, ...] | None,
        limits: Limits,
    ) -> PairRequest:
        # Not by the node ids, which are found by a run: what tests draw at random is drawn alike before and after.
        seed = int.from_bytes(_digest(dataclasses.replace(tests, tests=()), self._seed)[:4], "big")
        return PairRequest(program, tests.files, wanted, tests.module, objects, limits, seed)

    # What the oracle solution shows about the tests

    async def _profile(self, task: Task, tests: PytestTests) -> _Profile:
        """The node ids of the tests and the access paths on which objects may come in. Raises ConfigError.

        Found once per task; concurrent callers share it.
        """
        program = tests.oracle.get(f"{tests.module.replace('.', '/')}.py")
        if program is None:
            if not tests.tests:
                raise ConfigError(f"task {task.id}: it needs the tests' node ids or an oracle solution")
            if any(b"import *" in source for source in tests.files.values()):
                raise ConfigError(f"task {task.id}: tests that import * from the solution need an oracle solution")
            return _Profile(tests.tests, (ANY_NAME,))
        key = _digest(tests, self._seed)
        known = self._profiles.get(key)
        if known is None or (known.done() and (known.cancelled() or known.exception() is not None)):
            known = self._profiles[key] = asyncio.create_task(self._find_profile(task, tests, program.decode()))
            # Retrieves the exception, since every waiter may have been cancelled.
            known.add_done_callback(lambda done: None if done.cancelled() else done.exception())
            if len(self._profiles) > _PROFILES:
                self._profiles.popitem(last=False)
        return await asyncio.shield(known)

    async def _find_profile(self, task: Task, tests: PytestTests, program: str) -> _Profile:
        failed = f"task {task.id}: the oracle solution does not pass its own tests"
        first = self._request(tests, program, tests.tests, None, task.limits)
        result = await self.runs.run_pair(first, check_reports, within=room_of(task))
        if isinstance(result, Blamed):
            raise ConfigError(f"{failed}: {result.detail}")
        report = read_reports(result.tests.frames)
        # A test that the oracle solution skips, or is expected to fail, says nothing about a candidate.
        found = tests.tests or tuple(n for n, (how, _) in report.outcomes.items() if how not in ("skipped", "xfailed"))
        if not found and report.objects is not None:
            raise ConfigError(f"task {task.id}: its files hold no tests, so that every program would pass")
        verdict = verdict_of(result, found, public=True)
        if verdict.passed and report.objects is not None:
            # Run again, as candidates will be judged: the oracle solution has to pass both times.
            request = self._request(tests, program, found, report.objects, task.limits)
            again = await self.runs.run_pair(request, check_reports, within=room_of(task))
            if isinstance(again, PairResult):
                verdict = verdict_of(again, found, public=True)
        if not verdict.passed or report.objects is None:
            check_room(task, verdict.seconds)
            reasons = "; ".join(f"{t.name}: {t.detail}" for t in verdict.tests if not t.passed)
            raise ConfigError(f"{failed} ({verdict.status}): {reasons[:1000]}")
        check_room(task, verdict.seconds)
        return _Profile(found, report.objects)


def _oracle_program(task: Task, tests: PytestTests | AssertTests) -> str:
    """The oracle solution as one program. Raises ConfigError."""
    if isinstance(tests, AssertTests):
        return tests.oracle
    path = f"{tests.module.replace('.', '/')}.py"
    if path not in tests.oracle:
        raise ConfigError(f"task {task.id}: its oracle solution holds no {path}", key="oracle")
    return tests.oracle[path].decode("utf-8", "replace")


def as_pytest(task_id: str, tests: PytestTests | AssertTests) -> PytestTests:
    """The tests as pytest files; `check(candidate)` becomes one test. Raises ConfigError if they have no files."""
    if isinstance(tests, PytestTests):
        if not tests.files:
            raise ConfigError(f"task {task_id}: no files of tests, so that every program would pass", key="files")
        return tests
    call = f"\n\ndef test_check():\n    import solution\n\n    check(solution.{tests.entry_point})\n"
    files = {"test_check.py": (tests.source + call).encode()}
    oracle = {"solution.py": tests.oracle.encode()}
    return PytestTests(files, ("test_check.py::test_check",), oracle=oracle)


def read_reports(frames: tuple[str, ...]) -> ProxiedReport:
    """What the tests' run reported. Raises TestsPlaceError for what it never sends, whatever a program does."""
    outcomes: dict[str, tuple[str, str]] = {}
    objects: tuple[str, ...] | None = None
    tampered = ""
    for frame in frames:
        if objects is not None or tampered:
            raise TestsPlaceError("the tests' own process: a report after the last")
        try:
            content: Any = json.loads(frame)
        except (ValueError, RecursionError):
            raise TestsPlaceError("the tests' own process: a report that is not JSON") from None
        match content:
            case {"test": str(name), "outcome": str(outcome), "detail": str(detail), **rest} if not rest:
                if name in outcomes:
                    # A name can be reported twice, if a file also fails outside of its tests. A failure stands.
                    outcome = outcome if outcomes[name][0] == "passed" else outcomes[name][0]
                outcomes[name] = (outcome, detail)
            case {"done": int(), "objects": list(paths), **rest} if not rest:
                objects = tuple(str(path) for path in paths)
            case {"tampered": str(why), **rest} if not rest:
                tampered = why or "its frames were not as they should be"
            case _:
                raise TestsPlaceError("the tests' own process: a report of unknown form")
    return ProxiedReport(outcomes, objects, tampered)


def check_reports(result: PairResult) -> None:
    """Raises TestsPlaceError if the tests' run did not say how the tests ended, and the program did not end either.

    No program is near the tests' process. What ends it or garbles its reports is the infrastructure, or an effect of
    what the program sends: who is to blame is found out as for a place that died.
    """
    candidate, tests = result.candidate, result.tests
    report = read_reports(tests.frames)
    if tests.anomalies:
        raise TestsPlaceError(f"the tests' own process: {'; '.join(tests.anomalies)}")
    running = candidate.status == "completed" and candidate.exit_code is None and not candidate.anomalies
    if running and (tests.status == "crashed" or (tests.status == "completed" and not report.whole)):
        how = f"signal {tests.signal}" if tests.signal else f"exit code {tests.exit_code}"
        raise TestsPlaceError(f"the tests' own process ended before its last report ({how})")


def verdict_of(result: PairResult, wanted: tuple[str, ...], *, public: bool) -> Verdict:
    """The verdict of two runs: passed if both completed, every test in `wanted` passed and no other test failed.

    `check_reports` accepts the result.
    """
    candidate, tests = result.candidate, result.tests
    level = weaker_isolation(result)
    # Each of the two waits while the other works: what one loses for want of a processor, both lose.
    lost = candidate.waited_seconds or 0.0, tests.waited_seconds or 0.0
    seconds = max(0.0, candidate.seconds - lost[1], tests.seconds - lost[0])
    report = read_reports(tests.frames)
    tampered = "; ".join(candidate.anomalies) or (report.tampered if report.tampered != "the program has ended" else "")
    if tampered:
        told = "the program interfered with its tests"
        return _failed("tampered", level, seconds, "tampering", tampered, public, told)
    status, missing = _ending(result, report)
    results: list[TestResult] = []
    for name in wanted:
        outcome, detail = report.outcomes.get(name, ("missing", missing or "it did not run"))
        passed = outcome == "passed"
        results.append(
            TestResult(wording.printable(name), passed, "" if passed else wording.printable(detail or outcome))
        )
    for name, (outcome, detail) in report.outcomes.items():
        if name not in wanted and outcome not in ("passed", "skipped", "xfailed"):
            results.append(TestResult(wording.printable(name) or "tests", False, wording.printable(detail)))
    right = sum(r.passed for r in results)
    if status == "passed" and (right != len(results) or not results):
        status = "failed"
    if status != "passed" and right == len(results):
        results.append(TestResult("run", False, missing))
    scores = {"tests_passed": right / len(results)} if results else {}
    feedback = _feedback(results) if public else ""
    return Verdict(status == "passed", status, "proxied", level, seconds, tuple(results), scores, feedback)


def _ending(result: PairResult, report: ProxiedReport) -> tuple[VerdictStatus, str]:
    """How the two runs ended: "passed" if the tests ran to their end, else why tests are missing."""
    candidate, tests = result.candidate, result.tests
    if candidate.status != "completed":
        return candidate.status, candidate.status.replace("_", " ")
    if report.objects is not None and tests.status == "completed":
        return "passed", ""
    if tests.status in ("timeout", "out_of_memory"):
        return tests.status, f"the tests' own process: {tests.status.replace('_', ' ')}"
    if tests.status != "completed":
        return "failed", f"the tests' own process: {tests.status.replace('_', ' ')}"
    if candidate.exit_code is not None:
        return "failed", f"the program ended early, exit code {candidate.exit_code}"
    return "failed", "the tests ended early"


def _failed(
    status: VerdictStatus, level: Isolation, seconds: float, name: str, detail: str, public: bool, told: str = ""
) -> Verdict:
    detail = wording.printable(detail)
    feedback = (told or detail) if public else ""
    return Verdict(False, status, "proxied", level, seconds, (TestResult(name, False, detail),), feedback=feedback)


def _feedback(results: list[TestResult]) -> str:
    failing = [f"{r.name}: {r.detail}" for r in results if not r.passed]
    more = [f"and {len(failing) - MAX_FEEDBACK_LINES} more"] if len(failing) > MAX_FEEDBACK_LINES else []
    return "\n".join([*failing[:MAX_FEEDBACK_LINES], *more])


def _digest(tests: PytestTests, seed: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for path, content in (*sorted(tests.files.items()), *sorted(tests.oracle.items())):
        digest.update(b"%d,%d:" % (len(path.encode()), len(content)) + path.encode() + content)
    digest.update(repr((tests.tests, tests.module, seed)).encode())
    return digest.digest()
