"""Shared by all judges: the order of tiers and isolation levels, and runs whose failures are blamed fairly."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent_rl.concurrency import side_by_side
from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.blame import Blamed, run_or_blame, run_pair_or_blame, work_or_blame
from agent_rl.judging.repeated_runs import (
    FairRuns,
    seconds_waited_here,
    starved_commands,
    starved_pair,
    starved_run,
)
from agent_rl.vocabulary import (
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    RunCall,
    RunRequest,
    RunResult,
    Submission,
    Task,
    TestResult,
    Verdict,
    wording,
)
from agent_rl.vocabulary.runs import RunStatus
from agent_rl.vocabulary.task import Tier
from agent_rl.vocabulary.verdict import VerdictStatus

TIERS: tuple[Tier, ...] = ("in_process", "proxied", "values")
ISOLATIONS: tuple[Isolation, ...] = ("memory", "container", "uid", "namespaces")
"""`TIERS` and `ISOLATIONS` go from the weakest to the strongest."""
MAX_PROGRAM_CHARS = 1 << 18
MAX_FEEDBACK_LINES = 5
MAX_DETAILS = 20
"""Number of failed cases that are described; further ones are only counted."""
_ISOLATED_AT_ONCE = 4
"""Concurrent runs of one judging whose cases are isolated from each other."""
_T = TypeVar("_T")


class TooSlow(ConfigError):
    """A task's oracle solution is too close to the time limit: a right answer would fail on a busy machine."""


OUTPUT_SLACK = 1 << 16
"""Bytes that a case may put out beyond what is expected of it, whatever the task's limit on output."""


def due(limits: Limits, expected: Iterable[int]) -> Limits:
    """The limits of each case, if the cases are expected to put out so many bytes."""
    most = max(expected, default=0) + OUTPUT_SLACK
    return dataclasses.replace(limits, output_bytes=max(limits.output_bytes, most))


def room_of(task: Task) -> float:
    """Seconds that the oracle solution's slowest case may take: half of the task's limit."""
    return task.limits.wall_seconds / 2


def check_room(task: Task, seconds: float) -> None:
    """Raises TooSlow if `seconds`, the oracle solution's slowest case, is more than half of the task's limit."""
    limit = task.limits.wall_seconds
    if seconds > room_of(task):
        raise TooSlow(
            f"task {task.id}: the oracle solution takes {seconds:.1f} s, more than half of the limit ({limit} s)"
        )


def check_tier(task: Task, minimum: Tier) -> None:
    """Raises ConfigError if the task's tier is weaker than `minimum`."""
    if TIERS.index(task.tier) < TIERS.index(minimum):
        raise ConfigError(
            f"task {task.id} is judged at tier {task.tier!r}, which is weaker than {minimum!r}",
            key="sandbox.minimum_tier",
            value=minimum,
        )


@dataclass(frozen=True, slots=True)
class CallsRun:
    """One of the runs that share the calls of a request: the calls that were its own, and its result."""

    calls: tuple[RunCall, ...]
    result: RunResult


class Runs:
    """Runs requested from a provider: failures are blamed fairly, and none is less isolated than demanded.

    One that exceeded its time for want of a processor is made once more, alone.

    `count` is the number of requests: runs, pairs of runs, sandboxes, and what is run outside of sandboxes.
    """

    def __init__(
        self, provider: SandboxProvider, *, retries: int = 2, minimum_isolation: Isolation = "container"
    ) -> None:
        self.provider = provider
        self.retries = retries
        self.minimum_isolation: Isolation = minimum_isolation
        self.count = 0
        self._fair = FairRuns()

    @property
    def repeated(self) -> int:
        """Number of requests that were made once more, alone."""
        return self._fair.repeated

    async def run(self, request: RunRequest) -> RunResult | Blamed:
        """The run's result, or `Blamed`. Raises SandboxError, also if the isolation is too weak."""
        self.count += 1
        result = await self._fair.fairly(
            lambda: run_or_blame(self.provider, request, retries=self.retries),
            lambda result: starved_run(result, request.limits),
        )
        if isinstance(result, RunResult):
            self.check(result.isolation)
        return result

    async def run_calls(self, request: RunRequest) -> list[CallsRun] | Blamed:
        """The runs that together answer the calls of `request`: each call once, in order. Raises as `run`.

        After a run that is unfinished, another answers the calls that are left. After one that did not complete, there
        is none: the calls that are left are in no run.
        """
        done: list[CallsRun] = []
        left, most = request.calls, len(request.calls)
        while left:
            calls = left[:most]
            result = await self.run(dataclasses.replace(request, calls=calls))
            if isinstance(result, Blamed):
                return result
            answered = max(0, len(result.frames) - 1)  # the first frame says that the program was loaded
            if result.unfinished and 0 < answered < len(calls):
                result = dataclasses.replace(result, status="completed", frames=result.frames[: answered + 1])
                calls = calls[:answered]
            elif result.status != "completed" or result.anomalies or answered != len(calls):
                done.append(CallsRun(calls, result))
                break
            done.append(CallsRun(calls, result))
            left = left[answered:]
            # Where each run answers few calls, none is sent all that are left.
            most = 2 * answered
        return done

    async def run_pair(
        self, request: PairRequest, check: Callable[[PairResult], None], *, within: float | None = None
    ) -> PairResult | Blamed:
        """The result of two runs that exchange frames, or `Blamed`. Raises as `run`.

        Where `check` raises TestsPlaceError, the runs count as ones whose place died, and are made again. They are made
        again too if they took more than `within` seconds (None: their time limit) for want of a processor.
        """
        self.count += 1
        lost = 0.0

        async def pair() -> PairResult | Blamed:
            nonlocal lost
            before = seconds_waited_here()
            result = await run_pair_or_blame(self.provider, request, retries=self.retries, check=check)
            lost = seconds_waited_here() - before
            return result

        result = await self._fair.fairly(pair, lambda result: starved_pair(result, request.limits, lost, within))
        if isinstance(result, PairResult):
            self.check(weaker_isolation(result))
        return result

    async def work(self, work: Callable[[SandboxProvider], Awaitable[_T]], limits: Limits) -> _T | Blamed:
        """The result of `work`, which makes a fresh sandbox at each call; or `Blamed`. Raises SandboxError.

        `work` tells `repeated_runs.ended_command` of a command that exceeded its time.
        """
        self.count += 1
        with starved_commands() as starved:

            async def once(place: SandboxProvider) -> _T:
                starved.clear()
                return await work(place)

            return await self._fair.fairly(
                lambda: work_or_blame(self.provider, once, limits, retries=self.retries),
                lambda outcome: bool(starved) and not isinstance(outcome, Blamed),
            )

    async def outside_sandboxes(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, a blocking function, called in a thread; counted as a run.

        It uses no sandbox, so nothing is tried again here: `work` itself says who is to blame for a failure.
        """
        self.count += 1
        return await asyncio.to_thread(work)

    async def run_each(self, requests: Sequence[RunRequest]) -> list[RunResult] | Blamed:
        """The results of isolated runs, in order; starts no more after one did not complete. Raises as `run`."""
        results: list[RunResult] = []
        while len(results) < len(requests):
            # The first request runs alone, so that a program that hangs costs one timeout and not several.
            count = _ISOLATED_AT_ONCE if results else 1
            outcomes = await side_by_side(self.run(r) for r in requests[len(results) : len(results) + count])
            for outcome in outcomes:
                if isinstance(outcome, Blamed):
                    return outcome
                results.append(outcome)
            if any(r.status != "completed" for r in results):
                break
        return results

    def check(self, isolation: Isolation) -> None:
        """Raises SandboxError if `isolation` is weaker than demanded."""
        if ISOLATIONS.index(isolation) < ISOLATIONS.index(self.minimum_isolation):
            raise SandboxError(
                f"a run had isolation {isolation!r}, which is weaker than sandbox.minimum_isolation = "
                f"{self.minimum_isolation!r}; `agent-rl sandbox doctor` says what prevents more"
            )


def weaker_isolation(result: PairResult) -> Isolation:
    """The isolation level of the less isolated of the two runs."""
    return min((result.candidate.isolation, result.tests.isolation), key=ISOLATIONS.index)


def invalid_program(submission: Submission) -> str:
    """Why the submission cannot be run as a program, or "". The text is untrusted and never parsed here."""
    if submission.kind != "code":
        return f"a submission of kind {submission.kind!r}, where a program is judged"
    text = submission.text
    if not text.strip():
        return "an empty program"
    if len(text) > MAX_PROGRAM_CHARS:
        return f"a program of more than {MAX_PROGRAM_CHARS} characters"
    if "\0" in text:
        return "a program with a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a program that is not valid Unicode"
    return ""


def verdict_of_cases(
    status: RunStatus,
    details: Sequence[str],
    isolation: Isolation,
    seconds: float,
    *,
    public: bool,
    load_error: str | None,
    slowest: float,
) -> Verdict:
    """The verdict at tier `values`. `details` says why each case failed ("": it passed).

    A `status` other than "completed" becomes the verdict's status.
    """
    failed = sum(detail != "" for detail in details)
    final = status if status != "completed" else "failed" if failed else "passed"
    feedback = ""
    if public:
        feedback = wording.last_line(load_error) if load_error is not None else feedback_lines(details)
    tests = tuple(TestResult(f"case {i}", not detail, detail) for i, detail in enumerate(details))
    scores = {"tests_passed": (len(details) - failed) / len(details)}
    return Verdict(final == "passed", final, "values", isolation, seconds, tests, scores, feedback, slowest)


def failed_run(
    tier: Tier, isolation: Isolation | None, status: VerdictStatus, seconds: float, detail: str, *, public: bool
) -> Verdict:
    """A failing verdict with one reason, `detail`, and no result of any test of the task."""
    detail = wording.printable(detail)
    tests = (TestResult("run", False, detail),)
    return Verdict(False, status, tier, isolation, seconds, tests, feedback=detail if public else "")


def tampered(tier: Tier, isolation: Isolation | None, seconds: float, why: str, *, public: bool) -> Verdict:
    """The verdict of a submission that interfered with its tests."""
    tests = (TestResult("tampering", False, wording.printable(why)),)
    feedback = "the program interfered with its tests" if public else ""
    return Verdict(False, "tampered", tier, isolation, seconds, tests, feedback=feedback)


def feedback_lines(details: Sequence[str]) -> str:
    """The details of the first failing tests, and the number of further ones."""
    failing = [d for d in details if d]
    more = [f"and {len(failing) - MAX_FEEDBACK_LINES} more"] if len(failing) > MAX_FEEDBACK_LINES else []
    return "\n".join([*failing[:MAX_FEEDBACK_LINES], *more])


def reasons(verdict: Verdict) -> str:
    """Why an oracle solution did not pass: its status, and the first tests that failed."""
    failing = [f"{t.name}: {t.detail}" for t in verdict.tests if not t.passed]
    return f"{verdict.status}: {'; '.join(failing[:MAX_FEEDBACK_LINES])}"
