"""The judge of whole programs, with scripted runs: what is sent, what is believed, and what is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import Limits, RunRequest, RunResult, StdioCase, StdioTests, Submission, Task
from agent_rl.vocabulary.canonical import decode
from agent_rl.vocabulary.held_values import error_frame, value_frame
from tests.unit.judging.fakes import Handler, ScriptedProvider

CASES = tuple(StdioCase(f"{n}\n", f"{n * n}\n") for n in (2, 3, 5, 7))
PROGRAM = Submission.code("print(int(input()) ** 2)\n")


def task_of(*cases: StdioCase, **options: Any) -> Task:
    return Task("squares", (), StdioTests(cases or CASES, **options), limits=Limits(wall_seconds=2.0))


def verifier(*handlers: Handler, **options: Any) -> tuple[TaskVerifier, ScriptedProvider]:
    provider = ScriptedProvider(*handlers)
    return TaskVerifier(provider, minimum_isolation="memory", **options), provider


def prints(function: Callable[[str], str], *, stop_after: int = 10**6, exit_code: int = 0) -> Handler:
    """An honest run; where it stops early, the calls that are left are due another run."""

    def handler(request: RunRequest) -> RunResult:
        if not request.calls:
            return result(function(request.stdin.decode()).encode(), exit_code=exit_code)
        calls = request.calls[:stop_after]
        printed = [function(decode(call.arguments)).encode() for call in calls]
        frames = [LOADED, *(value_frame(call.id, exit_code) for call in calls)]
        unfinished = len(calls) < len(request.calls)
        return dataclasses.replace(result(b"".join(printed), *frames, ends=printed), unfinished=unfinished)

    return handler


LOADED = '{"loaded": true}'


def result(
    stdout: bytes, *frames: str, status: Any = "completed", exit_code: int = 0, ends: Sequence[bytes] = ()
) -> RunResult:
    """`ends`: what each execution printed."""
    at = tuple((sum(map(len, ends[:number])), 0) for number in range(len(ends) + 1))
    return RunResult(status, frames, stdout, b"", exit_code, None, 0.01, "memory", ends=at)


def squares(text: str) -> str:
    return f"{int(text) ** 2}\n"


async def test_all_cases_are_asked_in_one_run_and_nothing_expected_is_sent() -> None:
    judge, provider = verifier(prints(squares))
    verdict = await judge.judge(task_of(), PROGRAM)
    assert (verdict.passed, verdict.tier, len(verdict.tests)) == (True, "values", 4)
    ((request, fresh),) = provider.requests
    assert (request.entry_point, request.stdin, fresh) == (None, b"", False)
    assert sorted(decode(call.arguments) for call in request.calls) == ["2\n", "3\n", "5\n", "7\n"]
    assert not any(f"{n * n}" in call.arguments for call in request.calls for n in (5, 7))


async def test_isolated_cases_have_a_run_each() -> None:
    judge, provider = verifier(prints(squares))
    assert (await judge.judge(task_of(isolated=True), PROGRAM)).passed
    assert sorted(request.stdin for request, _ in provider.requests) == [b"2\n", b"3\n", b"5\n", b"7\n"]


async def test_after_a_run_that_hangs_isolated_cases_are_not_run() -> None:
    judge, provider = verifier(lambda request: result(b"", status="timeout"))
    verdict = await judge.judge(task_of(isolated=True), PROGRAM)
    assert (verdict.status, len(provider.requests)) == ("timeout", 1)


async def test_a_wrong_output_is_described_and_counted() -> None:
    judge, _ = verifier(prints(lambda text: text))
    verdict = await judge.judge(task_of(StdioCase("1\n", "1\n"), StdioCase("2\n", "4\n")), PROGRAM)
    assert (verdict.status, verdict.scores) == ("failed", {"tests_passed": 0.5})
    assert [t.detail for t in verdict.tests] == ["", "for input '2\\n' printed '2\\n', expected '4\\n'"]
    assert verdict.feedback == ""


async def test_the_public_cases_outcome_is_told() -> None:
    judge, _ = verifier(prints(lambda text: text))
    task = dataclasses.replace(task_of(), public=StdioTests((StdioCase("2\n", "4\n"),)))
    report = await judge.run_public_tests(task, PROGRAM)
    assert report.feedback == "for input '2\\n' printed '2\\n', expected '4\\n'"
    assert (await judge.run_public_tests(task_of(), PROGRAM)).passed


async def test_a_right_output_with_another_exit_code_fails() -> None:
    for isolated in (False, True):
        judge, _ = verifier(prints(squares, exit_code=3))
        verdict = await judge.judge(task_of(isolated=isolated), PROGRAM)
        assert verdict.status == "failed"
        assert "the program failed: exit code 3" in verdict.tests[0].detail


async def test_the_rest_of_an_unfinished_run_is_asked_elsewhere_and_no_case_twice() -> None:
    judge, provider = verifier(prints(squares, stop_after=1), prints(squares))
    assert (await judge.judge(task_of(), PROGRAM)).passed
    # Of four, one was answered in the first run. So the second is asked two, and, as it answers both, the third one.
    assert [len(request.calls) for request, _ in provider.requests] == [4, 2, 1]
    asked = [decode(call.arguments) for request, _ in provider.requests for call in request.calls]
    assert asked[:1] + asked[4:] == asked[:4]


async def test_a_run_that_answers_nothing_is_not_followed_by_another() -> None:
    for unfinished in (False, True):
        nothing = dataclasses.replace(result(b"", LOADED, exit_code=1, ends=[]), unfinished=unfinished)
        judge, provider = verifier(lambda request, nothing=nothing: nothing)
        assert (await judge.judge(task_of(), PROGRAM)).status == "failed"
        assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "frames",
    [
        lambda ids: [LOADED, value_frame("0" * 16, 0)],
        lambda ids: [LOADED, value_frame(ids[0], 0), value_frame(ids[0], 0)],
        lambda ids: [LOADED, value_frame(ids[0], "passed")],
        lambda ids: [LOADED, value_frame(ids[0], True)],
        lambda ids: [LOADED, value_frame(ids[0], (0, None))],
        lambda ids: [LOADED, *(value_frame(i, 0) for i in ids[:3])],  # and two ends
        lambda ids: ["PASS"],
        lambda ids: [LOADED, f'{{"id":"{ids[0]}","error":"no"}}'],
    ],
)
async def test_what_no_honest_run_says_is_tampering(frames: Callable[[list[str]], list[str]]) -> None:
    judge, _ = verifier(
        lambda request: result(b"4\n9\n", *frames([call.id for call in request.calls]), ends=[b"4\n", b"9\n"])
    )
    assert (await judge.judge(task_of(), PROGRAM)).status == "tampered"


async def test_a_run_that_did_not_complete_keeps_its_status() -> None:
    for status in ("timeout", "out_of_memory", "output_limit", "crashed"):

        def cut_off(request: RunRequest, status: Any = status) -> RunResult:
            whole = prints(squares)(request)
            return dataclasses.replace(whole, status=status, frames=whole.frames[:2], ends=whole.ends[:2])

        judge, _ = verifier(cut_off)
        verdict = await judge.judge(task_of(), PROGRAM)
        assert verdict.status == status
        assert sum(t.passed for t in verdict.tests) == 1  # one execution's output has come whole


def checks(request: RunRequest) -> RunResult:
    """A run of a checker, executed in this very process."""
    namespace: dict[str, Any] = {}
    exec(request.program, namespace)
    frames: list[str] = []
    for call in request.calls:
        try:
            frames.append(value_frame(call.id, namespace["check"](*decode(call.arguments)[0])))
        except Exception as error:
            frames.append(error_frame(call.id, error))
    return result(b"", LOADED, *frames)


CHECKER = "def check(stdin, stdout, expected):\n    return abs(int(stdout)) == int(expected)\n"


async def test_a_checker_sees_inputs_and_outputs_in_a_run_of_its_own() -> None:
    task = task_of(comparison="checker", checker=CHECKER)
    judge, provider = verifier(prints(lambda text: f"-{squares(text)}"), checks)
    assert (await judge.judge(task, PROGRAM)).passed
    assert [request.program for request, _ in provider.requests] == [PROGRAM.text, CHECKER]
    judge, _ = verifier(prints(lambda text: text), checks)
    assert (await judge.judge(task, PROGRAM)).tests[0].detail == "for input '2\\n' the checker said: not accepted"


@pytest.mark.parametrize(
    "broken",
    [
        lambda request: result(b"", LOADED, exit_code=3),
        lambda request: dataclasses.replace(result(b"", LOADED), status="timeout"),
        lambda request: dataclasses.replace(result(b"", LOADED), status="crashed"),
        lambda request: result(b"", '{"load_error":"SyntaxError: no"}'),
        lambda request: result(b"", "no frame"),
    ],
)
async def test_a_checker_that_ends_is_to_blame_unless_it_works_on_the_expected_outputs(broken: Any) -> None:
    task = task_of(comparison="checker", checker=CHECKER)
    verdict = await verifier(prints(squares), broken, checks)[0].judge(task, PROGRAM)
    assert verdict.status == "failed"
    assert "the checker said: nothing (" in verdict.tests[0].detail
    with pytest.raises(SandboxError, match="the checker does not work, even on the expected outputs"):
        await verifier(prints(squares), broken)[0].judge(task, PROGRAM)
    with pytest.raises(ConfigError, match="task squares: its checker does not work, even on the expected outputs"):
        await verifier(broken)[0].prepare(task)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ("abs(int(stdout)) == int(expected)", True),
        ("False", True),
        ("abs(imt(stdout)) == int(expected)", False),
        ("stdout.missing", False),
    ],
)
async def test_a_checker_that_raises_on_the_expected_outputs_is_refused(body: str, fits: bool) -> None:
    task = task_of(comparison="checker", checker=f"def check(stdin, stdout, expected):\n    return {body}\n")
    if fits:
        assert await verifier(checks)[0].prepare(task) == task
    else:
        with pytest.raises(ConfigError, match="task squares: its checker does not work"):
            await verifier(checks)[0].prepare(task)


async def test_one_judging_stands_for_equal_programs() -> None:
    judge, provider = verifier(prints(squares))
    task = task_of()
    assert (await judge.judge(task, PROGRAM)) is (await judge.judge(task, PROGRAM))
    assert (len(provider.requests), judge.reused, judge.verdicts) == (1, 1, 2)


async def test_an_infrastructure_failure_is_raised_and_a_program_that_kills_its_places_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent_rl.judging.blame._GRACE_SECONDS", 0.01)
    judge, _ = verifier(lambda request: SandboxError("gone"))
    verdict = await judge.judge(task_of(), PROGRAM)
    assert verdict.status == "crashed"
    provider = ScriptedProvider(lambda request: SandboxError("gone"), controls=[False] * 9)
    with pytest.raises(SandboxError, match="this program did not cause it"):
        await TaskVerifier(provider, minimum_isolation="memory", retries=0).judge(task_of(), PROGRAM)


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (StdioTests(()), "task squares: no cases"),
        (StdioTests((StdioCase("1", " \n"),)), "no case expects any output"),
        (StdioTests(CASES, "checker"), "needs a checker"),
        (
            StdioTests((StdioCase("x" * (5 << 20), "1"),)),
            "case 0: its input cannot be sent together .*set isolated = true",
        ),
    ],
)
async def test_tests_that_cannot_be_judged_are_the_users_mistake(tests: StdioTests, message: str) -> None:
    judge, _ = verifier(prints(squares))
    with pytest.raises(ConfigError, match=message):
        await judge.prepare(Task("squares", (), tests))


async def test_the_in_memory_provider_executes_programs_too() -> None:
    async with InMemoryProvider() as provider:
        judge = TaskVerifier(provider, minimum_isolation="memory")
        for isolated in (False, True):
            task = task_of(isolated=isolated)
            assert (await judge.judge(task, PROGRAM)).passed
            assert (await judge.judge(task, Submission.code("print(int(input()))"))).status == "failed"
            assert "NameError" in (await judge.judge(task, Submission.code("prnt()"))).tests[0].detail
