"""How the reports of both processes of tier `proxied` become a verdict, and who is to blame where one dies."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from agent_rl.errors import SandboxError, TestsPlaceError
from agent_rl.judging.proxied.proxied_judge import MalformedReport, read_reports, verdict_of
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
    with pytest.raises(MalformedReport):
        read_reports(frames)
    verdict = verdict_of(PairResult(run_result(), run_result(frames)), ("a",), public=True)
    assert (verdict.passed, verdict.status) == (False, "failed")


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
        if self._ill:
            raise SandboxError("a worker died")
        if request.entry_point is None:
            # The companion, which waits for as long as the pair runs.
            await asyncio.sleep(60)
        return await super().run(request, fresh=fresh)


OWN, TESTS_OWN = SandboxError("a worker died"), TestsPlaceError("a worker died")
NAMED = PytestTests({"test_it.py": TEST_ADD.encode()}, ("test_it.py::test_add",))


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
