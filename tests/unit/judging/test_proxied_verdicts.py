"""How the reports of both processes of tier `proxied` become a verdict, and who is to blame where one dies."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent_rl.errors import SandboxError, TestsPlaceError
from agent_rl.judging.proxied.proxied_judge import check_reports, read_reports, verdict_of
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import (
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    PytestTests,
    RunRequest,
    RunResult,
    Task,
)
from tests.unit.judging.proxied_judging import ADD, TEST_ADD, judged

# Reports


def run_result(frames: tuple[str, ...] = (), **changes: Any) -> RunResult:
    result = RunResult("completed", frames, b"", b"", 0, None, 0.5, "namespaces")
    return dataclasses.replace(result, **changes)


def report(name: str, outcome: str = "passed") -> str:
    return json.dumps({"test": name, "outcome": outcome, "detail": "why"})


DONE = json.dumps({"done": 1, "objects": ["Stack()"]})


@pytest.mark.parametrize(
    "frames",
    [
        ("{",),
        ("[]",),
        ('{"test": "a"}',),
        ('{"test": "a", "outcome": "passed", "detail": "", "more": 1}',),
        ('{"test": 1, "outcome": "passed", "detail": ""}',),
        ('{"done": true, "objects": "all"}',),
        (DONE, report("a")),
        (DONE, DONE),
        ("[" * 100_000,),
    ],
)
def test_reports_of_another_form_are_none(frames: tuple[str, ...]) -> None:
    with pytest.raises(TestsPlaceError, match="the tests' own process: a report"):
        read_reports(frames)


ENDED = {"exit_code": None}
"""The candidate was ended once the tests had."""


@pytest.mark.parametrize(
    ("frames", "candidate", "tests", "usable"),
    [
        ((report("a"), DONE), ENDED, {}, True),
        ((report("a"), '{"tampered": "a frame of unknown form"}'), ENDED, {}, True),
        ((report("a"),), ENDED, {}, False),
        ((), ENDED, {"exit_code": 1}, False),
        ((), ENDED, {"status": "crashed", "exit_code": None, "signal": 9}, False),
        ((report("a"), DONE), ENDED, {"status": "crashed", "exit_code": None, "signal": 11}, False),
        ((report("a"), DONE), ENDED, {"anomalies": ("a frame that is not text",)}, False),
        # What ended with the program is its own doing, and so is what exceeded a limit because of it.
        ((report("a"),), {"exit_code": 3}, {}, True),
        ((), {"status": "crashed"}, {"status": "crashed"}, True),
        ((), {"status": "timeout"}, {}, True),
        ((), {"anomalies": ("a frame that nobody asked for",)}, {}, True),
        ((), ENDED, {"status": "timeout"}, True),
        ((), ENDED, {"status": "out_of_memory"}, True),
        ((), ENDED, {"status": "output_limit"}, True),
    ],
)
def test_a_run_of_tests_that_says_too_little_is_no_verdict(
    frames: tuple[str, ...], candidate: dict[str, Any], tests: dict[str, Any], usable: bool
) -> None:
    result = PairResult(run_result(**candidate), run_result(frames, **tests))
    if usable:
        check_reports(result)
        assert not verdict_of(result, ("b",), public=True).passed
    else:
        with pytest.raises(TestsPlaceError, match="the tests' own process"):
            check_reports(result)


@pytest.mark.parametrize(
    ("frames", "candidate", "tests", "status"),
    [
        ((report("a"), DONE), {}, {}, "passed"),
        ((report("a"), report("b", "skipped"), DONE), {}, {}, "passed"),
        ((report("a"),), {}, {}, "failed"),
        ((DONE,), {}, {}, "failed"),
        ((report("b"), DONE), {}, {}, "failed"),
        ((report("a", "failed"), DONE), {}, {}, "failed"),
        ((report("a", "skipped"), DONE), {}, {}, "failed"),
        ((report("a", "xfailed"), DONE), {}, {}, "failed"),
        ((report("a"), report("a", "failed"), DONE), {}, {}, "failed"),
        ((report("a", "failed"), report("a"), DONE), {}, {}, "failed"),
        ((report("a"), report("", "failed"), DONE), {}, {}, "failed"),
        ((report("a"), DONE), {"anomalies": ("a frame that nobody asked for",)}, {}, "tampered"),
        ((report("a"), '{"tampered": "a frame of unknown form"}'), {}, {}, "tampered"),
        ((report("a"), '{"tampered": "the program has ended"}'), {}, {}, "failed"),
        ((report("a"), DONE), {"status": "timeout"}, {}, "timeout"),
        ((report("a"), DONE), {"status": "crashed"}, {}, "crashed"),
        ((report("a"), DONE), {"status": "out_of_memory"}, {}, "out_of_memory"),
        ((report("a"), DONE), {"status": "output_limit"}, {}, "output_limit"),
        ((report("a"), DONE), {}, {"status": "timeout"}, "timeout"),
        ((report("a"), DONE), {}, {"status": "crashed"}, "failed"),
        ((report("a"), DONE), {}, {"status": "output_limit"}, "failed"),
    ],
)
def test_a_verdict_is_what_both_runs_say(
    frames: tuple[str, ...], candidate: dict[str, Any], tests: dict[str, Any], status: str
) -> None:
    verdict = verdict_of(PairResult(run_result(**candidate), run_result(frames, **tests)), ("a",), public=False)
    assert (verdict.status, verdict.passed, verdict.feedback) == (status, status == "passed", "")
    assert all(t.passed for t in verdict.tests) == verdict.passed


def test_the_weaker_isolation_is_the_verdicts() -> None:
    pair: list[tuple[Isolation, Isolation]] = [("namespaces", "uid"), ("uid", "namespaces")]
    for first, second in pair:
        runs = PairResult(run_result(isolation=first), run_result((report("a"), DONE), isolation=second))
        assert verdict_of(runs, ("a",), public=False).isolation == "uid"


def test_nothing_wanted_is_nothing_passed() -> None:
    assert not verdict_of(PairResult(run_result(), run_result((DONE,))), (), public=False).passed


# Who is to blame

NAMED = PytestTests({"test_it.py": TEST_ADD.encode()}, ("test_it.py::test_add",))


class Garbled(InMemoryProvider):
    """The first `times` pairs of runs report what no run of tests reports; honest runs beside it fail where `ill`."""

    def __init__(self, times: int, *, ill: bool = False) -> None:
        super().__init__()
        self._left = times
        self._ill = ill

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        result = await super().run_pair(request, fresh=fresh)
        self._left -= 1
        if self._left < 0:
            return result
        return PairResult(result.candidate, dataclasses.replace(result.tests, frames=("{", *result.tests.frames)))

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await beside(self._ill, super().run, request, fresh)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(("times", "ill", "status"), [(1, False, "passed"), (3, False, "passed"), (4, True, None)])
async def test_a_report_that_no_tests_make_is_an_infrastructure_failure(times: int, ill: bool, status: str) -> None:
    judging = judged(Task("add", (), NAMED, tier="proxied"), ADD, Garbled(times, ill=ill))
    if status is None:
        with pytest.raises(SandboxError, match="this program did not cause it: the tests' own process: a report that"):
            await judging
    else:
        assert (await judging).status == status


class Dying(InMemoryProvider):
    """Raises the next of `errors` for each pair of runs, then works; honest runs beside it fail where `ill`."""

    def __init__(self, *errors: Exception | None, ill: bool = False) -> None:
        super().__init__()
        self._errors = list(errors)
        self._ill = ill

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        return await super().run_pair(request, fresh=fresh)

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await beside(self._ill, super().run, request, fresh)


async def beside(ill: bool, run: Callable[..., Awaitable[RunResult]], request: RunRequest, fresh: bool) -> RunResult:
    """An honest run beside the pair: it fails where `ill`, and the companion waits for as long as the pair runs."""
    if ill:
        raise SandboxError("a worker died")
    if request.entry_point is None:
        await asyncio.sleep(60)
    return await run(request, fresh=fresh)


OWN, TESTS_OWN = SandboxError("a worker died"), TestsPlaceError("a worker died")


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([OWN], "passed"),
        ([OWN, OWN], "crashed"),
        ([TESTS_OWN], "passed"),
        ([TESTS_OWN, TESTS_OWN], "passed"),
        ([OWN, TESTS_OWN], "passed"),
        ([TESTS_OWN, TESTS_OWN, OWN], "crashed"),
        # In any place, and then in each of three fresh ones beside honest programs that had no trouble.
        ([TESTS_OWN] * 4, "crashed"),
    ],
)
async def test_a_place_that_dies_is_tried_again_and_then_blamed(errors: list[Exception], status: str) -> None:
    task = Task("add", (), NAMED, tier="proxied", limits=Limits())
    verdict = await judged(task, ADD, Dying(*errors))
    assert verdict.status == status, verdict


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("error", [OWN, TESTS_OWN])
async def test_places_that_die_beside_dying_honest_ones_are_an_infrastructure_failure(error: Exception) -> None:
    with pytest.raises(SandboxError, match="this program did not cause it"):
        await judged(Task("add", (), NAMED, tier="proxied"), ADD, Dying(*[error] * 4, ill=True))
