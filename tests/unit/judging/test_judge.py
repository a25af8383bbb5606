"""The judge of cases: what answers, frames and checkers come to; nothing here runs a program."""

import cProfile
import dataclasses
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
    Case,
    RunRequest,
    RunResult,
    Submission,
    Task,
)
from agent_rl.vocabulary.canonical import decode, encode
from agent_rl.vocabulary.held_values import value_frame
from tests.unit.judging.fakes import SQUARES, ScriptedProvider, answers, result_of, task_of
from tests.unit.judging.judging import PROGRAM, TASK, judged, verifier

pytestmark = pytest.mark.usefixtures("no_pauses")


async def test_right_answers_pass() -> None:
    verdict = await judged(answers(lambda x: x * x))
    assert verdict.passed
    assert (verdict.status, verdict.tier, verdict.isolation) == ("passed", "values", "memory")
    assert verdict.scores == {"tests_passed": 1.0}
    assert verdict.seconds == 0.01
    assert [t.passed for t in verdict.tests] == [True] * 3


async def test_one_wrong_answer_fails_and_says_which() -> None:
    verdict = await judged(answers(lambda x: x * 2))  # right for 2 alone
    assert verdict.status == "failed"
    assert [(t.name, t.passed, t.detail) for t in verdict.tests] == [
        ("case 0", True, ""),
        ("case 1", False, "f(3) gave 6, expected 9"),
        ("case 2", False, "f(-1) gave -2, expected 1"),
    ]
    assert verdict.scores["tests_passed"] == pytest.approx(1 / 3)


async def test_expected_values_never_go_in_and_order_and_ids_say_nothing() -> None:
    cases = tuple(Case((n,), f"secret{n}") for n in range(20))
    provider = ScriptedProvider(answers(lambda n: f"secret{n}"))
    assert (await TaskVerifier(provider, minimum_isolation="memory").judge(task_of(*cases), PROGRAM)).passed
    ((request, fresh),) = provider.requests
    assert "secret" not in repr(request)
    assert not fresh
    order = [decode(call.arguments)[0][0] for call in request.calls]
    assert sorted(order) == list(range(20)) != order
    assert len({call.id for call in request.calls}) == 20


async def test_order_and_seed_depend_on_seed_tests_and_program_alone() -> None:
    async def request(seed: int, program: str) -> tuple[list[str], int]:
        provider = ScriptedProvider(answers(lambda x: x))
        task = task_of(*(Case((n,), n) for n in range(20)))
        judge = TaskVerifier(provider, seed=seed, minimum_isolation="memory", cache_size=0)
        await judge.judge(task, Submission.code(program))
        sent = provider.requests[0][0]
        return [c.arguments for c in sent.calls], sent.seed

    assert await request(1, "a") == await request(1, "a")
    assert await request(1, "a") != await request(2, "a")
    assert await request(1, "a") != await request(1, "b")


@pytest.mark.parametrize("status", ["timeout", "out_of_memory", "output_limit", "crashed"])
async def test_a_run_that_did_not_complete_never_passes(status: Any) -> None:
    verdict = await judged(answers(lambda x: x * x, status=status))
    assert (verdict.passed, verdict.status) == (False, status)


async def test_early_exit_fails() -> None:
    def two_answers(request: RunRequest) -> RunResult:
        full = answers(lambda x: x * x)(request)
        return dataclasses.replace(full, frames=full.frames[:3])

    verdict = await judged(two_answers)
    assert verdict.status == "failed"
    assert sum(t.passed for t in verdict.tests) == 2
    assert "gave no answer (the program ended early, exit code 0)" in next(t.detail for t in verdict.tests if t.detail)


async def test_a_program_that_does_not_load_fails() -> None:
    verdict = await judged(lambda _: result_of('{"load_error":"Traceback\\n  x\\nSyntaxError: bad\\u001b[2J"}'))
    assert verdict.status == "failed"
    assert verdict.tests[0].detail == "f(2) gave no answer (SyntaxError: bad\\x1b[2J), expected 4"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frames: (*frames, frames[1]),  # one answer twice
        lambda frames: (*frames[:-1], frames[1]),  # twice, instead of another
        lambda frames: (*frames[:-1], '{"id":"00","value":1}'),  # to no call
        lambda frames: (*frames, *["x"] * 1000),  # a flood
        lambda frames: ('{"passed":true}', *frames[1:]),
        lambda frames: (*frames[:-1], frames[-1].replace("value", "valve")),
        lambda frames: (*frames[:-1], frames[-1][:-1] + ',"value":4}'),
        lambda frames: (*frames[:-1], '{"id":' + "[" * 100_000),
    ],
)
async def test_frames_that_no_honest_run_writes_are_tampering(spoil: Any) -> None:
    def handler(request: RunRequest) -> RunResult:
        full = answers(lambda x: x * x)(request)
        return dataclasses.replace(full, frames=spoil(full.frames))

    assert (await judged(handler)).status == "tampered"


async def test_anomalies_seen_by_the_worker_are_tampering() -> None:
    verdict = await judged(answers(lambda x: x * x, anomalies=("an extra channel",)))
    assert verdict.status == "tampered"
    assert verdict.tests[0].detail == "an extra channel"


class Everything:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # pyright: ignore[reportAssignmentType]


async def test_a_value_that_the_form_cannot_hold_fails_at_the_same_tier() -> None:
    verdict = await judged(answers(lambda x: Everything()))
    assert (verdict.status, verdict.tier) == ("failed", "values")
    assert "gave what cannot be compared (type Everything)" in verdict.tests[0].detail


async def test_comparison_and_tolerance_are_the_tasks() -> None:
    near = task_of(Case((1,), 1.0), comparison="float", tolerance=0.1)
    assert (await judged(answers(lambda x: 1.05), task=near)).passed
    exact = task_of(Case((1,), 1), comparison="exact")
    assert not (await judged(answers(lambda x: True), task=exact)).passed
    assert (await judged(answers(lambda x: True), task=task_of(Case((1,), 1)))).passed


async def test_nan_is_expected_by_exact_and_never_equal_under_python() -> None:
    nan = float("nan")
    assert (await judged(answers(lambda x: nan), task=task_of(Case((1,), nan), comparison="exact"))).passed
    assert not (await judged(answers(lambda x: nan), task=task_of(Case((1,), nan)))).passed


@pytest.mark.parametrize(
    ("submission", "why"),
    [
        (Submission.code(" \n"), "an empty program"),
        (Submission.code("x = '\0'"), "NUL"),
        (Submission.code("x = '\ud800'"), "not valid Unicode"),
        (Submission.code("#" * 300_000), "more than 262144 characters"),
        (Submission.answer("4"), "kind 'answer'"),
    ],
)
async def test_what_is_no_program_is_invalid_without_a_run(submission: Submission, why: str) -> None:
    judge = verifier(answers(lambda x: x * x))
    verdict = await judge.judge(TASK, submission)
    assert verdict.status == "invalid_submission"
    assert why in verdict.tests[0].detail
    assert judge.runs == 0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("t", (), AssertTests("f", "", "")), "task t: its tests are not recorded"),
        (Task("t", (), AnswerTests("4"), tier="proxied"), "task t: AnswerTests are of tier 'values'"),
        (task_of(), "demo: no cases, so that every program would pass"),
        (task_of(Case((1,), object())), "demo: case 0 cannot be held in canonical form: type object"),
        (task_of(*SQUARES, comparison="checker"), "demo: comparison 'checker' needs a checker"),
        (dataclasses.replace(TASK, tier="in_process"), "task demo: CallTests are of tier 'values'"),
    ],
)
async def test_tests_that_cannot_be_judged_are_the_users_mistake(task: Task, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await judged(answers(lambda x: x), task=task)


async def test_minimum_tier_and_isolation() -> None:
    with pytest.raises(ConfigError, match=r"sandbox\.minimum_tier: task demo is judged at tier 'proxied'"):
        await judged(answers(abs), task=dataclasses.replace(TASK, tier="proxied"), minimum_tier="values")
    with pytest.raises(SandboxError, match=r"had isolation 'memory', which is weaker than .* = 'uid'"):
        await judged(answers(abs), minimum_isolation="uid")


# Visible tests


async def test_public_feedback_is_one_line_a_failing_example() -> None:
    task = task_of(*SQUARES, public=(Case((2,), 4), Case((3,), 9), Case((0,), 0, {"k": "a"})))

    def double(x: int, k: str = "") -> int:
        return x * 2 if not k else 1 // x

    verdict = await verifier(answers(double)).run_public_tests(task, PROGRAM)
    assert verdict.feedback == (
        "f(3) gave 6, expected 9\nf(0, k='a') raised ZeroDivisionError: integer division or modulo by zero, expected 0"
    )
    assert (await verifier(answers(double)).judge(task, PROGRAM)).feedback == ""


async def test_public_feedback_is_short_and_safe_to_print() -> None:
    task = task_of(*SQUARES, public=tuple(Case((n,), 0) for n in range(1, 9)))
    verdict = await verifier(answers(lambda n: "\x1b]0;x\x07\u202e" + "a" * 10_000)).run_public_tests(task, PROGRAM)
    lines = verdict.feedback.splitlines()
    assert len(lines) == 6  # five examples, then "and 3 more"
    assert lines[-1] == "and 3 more"
    assert verdict.feedback.replace("\n", "").isprintable()
    assert max(map(len, lines)) < 200


async def test_public_feedback_of_a_program_that_does_not_load_or_end() -> None:
    task = task_of(*SQUARES, public=SQUARES[:1])
    broken = await verifier(lambda _: result_of('{"load_error":"NameError: g"}')).run_public_tests(task, PROGRAM)
    assert broken.feedback == "NameError: g"
    endless = await verifier(lambda _: result_of('{"loaded":true}', status="timeout")).run_public_tests(task, PROGRAM)
    assert (endless.status, endless.feedback) == ("timeout", "f(2) gave no answer (timeout), expected 4")
    empty = await verifier(answers(abs)).run_public_tests(task, Submission.code(""))
    assert empty.feedback == "an empty program"


async def test_without_public_tests_there_is_nothing_to_fail() -> None:
    judge = verifier(answers(abs))
    assert (await judge.run_public_tests(TASK, PROGRAM)).passed
    assert judge.runs == 0


async def test_huge_ints_are_described_not_written() -> None:
    verdict = await judged(answers(lambda x: 1 << 100_000), task=task_of(Case((1,), 1)))
    assert verdict.tests[0].detail == "f(1) gave <int of 100001 bits>, expected 1"


# Checkers

CHECKER = "def check(candidate):\n    assert candidate(2) > 0\n"


async def test_a_checker_sees_recorded_outputs_in_a_run_of_its_own() -> None:
    task = task_of(*SQUARES, comparison="checker", checker=CHECKER)
    provider = ScriptedProvider(answers(lambda x: (x, {x})), answers(lambda recorded: True))
    assert (await TaskVerifier(provider, minimum_isolation="memory").judge(task, PROGRAM)).passed
    (first, _), (second, _) = provider.requests
    assert first.program == PROGRAM.text
    assert second.program.startswith(CHECKER)
    assert PROGRAM.text not in second.program
    (call,) = second.calls
    assert decode(call.arguments) == [([((x,), {}, None, (x, {x})) for x in (2, 3, -1)],), {}]


GOOD = answers(lambda recorded: True)
REJECTS = answers(lambda r: exec("assert 0, 'no'"))
BROKEN = (
    lambda r: result_of('{"loaded":true}', status="timeout"),
    lambda r: result_of('{"loaded":true}', status="crashed"),
    lambda r: result_of('{"loaded":true}'),
    lambda r: result_of('{"load_error":"NameError: x"}'),
    lambda r: result_of('{"x":1}'),
)
"""Runs of a checker that say nothing about an output."""


@pytest.mark.parametrize(
    ("second", "detail"),
    [
        (REJECTS, "the check was not satisfied: AssertionError: no"),
        (answers(lambda r: 1), "the check was not satisfied: it was not True"),
        (BROKEN[0], "the check was not satisfied: timeout"),
        (BROKEN[2], "the check was not satisfied: it ended early"),
        (BROKEN[4], "the check was not satisfied: a frame of unknown form"),
    ],
)
async def test_a_checker_that_an_output_ends_is_a_failure_if_it_works_on_the_expected_ones(
    second: Any, detail: str
) -> None:
    task = task_of(*SQUARES, comparison="checker", checker=CHECKER)
    for control in (GOOD, REJECTS):
        verdict = await judged(answers(lambda x: x), second, control, task=task)
        assert (verdict.status, verdict.tests[0].detail) == ("failed", detail)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_checker_that_works_on_no_output_is_no_verdict_and_refused_at_load(broken: Any) -> None:
    task = task_of(*SQUARES, comparison="checker", checker=CHECKER)
    with pytest.raises(SandboxError, match="the checker does not work, even on the expected outputs"):
        await judged(answers(lambda x: x), broken, task=task)
    with pytest.raises(ConfigError, match="task demo: its checker does not work, even on the expected outputs"):
        await verifier(broken).prepare(task)


@pytest.mark.parametrize(
    ("run", "expected", "fits"),
    [
        (GOOD, 4, True),
        (REJECTS, 4, True),
        (answers(lambda r: 1 // 0), 4, False),
        # Nothing is expected here: the checker may stumble over it, unless what it needs is not there.
        (answers(lambda r: 1 // 0), None, True),
        (answers(lambda r: exec("import nowhere_to_be_found")), None, False),
        (answers(lambda r: exec("nowhere_to_be_found")), None, False),
    ],
)
async def test_a_checker_is_tried_on_the_expected_outputs_at_load(run: Any, expected: Any, fits: bool) -> None:
    task = task_of(Case((2,), expected), comparison="checker", checker=CHECKER)
    if fits:
        assert await verifier(run).prepare(task) == task
    else:
        with pytest.raises(ConfigError, match="task demo: its checker does not work"):
            await verifier(run).prepare(task)


async def test_without_all_answers_no_checker_runs() -> None:
    task = task_of(*SQUARES, comparison="checker", checker=CHECKER)
    judge = verifier(lambda _: result_of('{"loaded":true}'))
    assert (await judge.judge(task, PROGRAM)).status == "failed"
    assert judge.runs == 1


# Cost


async def test_a_verdict_costs_little_outside_the_sandbox() -> None:
    """The hot path: so many calls of Python functions for ten cases, whatever the machine is doing."""
    cases = tuple(Case(([n, n + 1], "text"), n) for n in range(10))
    task = Task("demo", (), CallTests("f", cases))

    class Instant(ScriptedProvider):
        async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
            return result_of(*[f'{{"id":"{c.id}","value":{texts[c.arguments]}}}' for c in request.calls])

    texts = {encode([c.args, {}]): encode(c.expected) for c in cases}
    judge = TaskVerifier(Instant(answers(abs)), minimum_isolation="memory")
    assert (await judge.judge(task, Submission.code("the first"))).passed
    profile = cProfile.Profile()
    with profile:
        for n in range(40):
            assert (await judge.judge(task, Submission.code(f"{n}"))).passed
    assert judge.runs == 41
    calls = sum(entry.callcount for entry in profile.getstats())
    assert calls / 40 < 700, f"{calls / 40:.0f} calls"


async def test_large_answers_are_judged_too() -> None:
    numbers = list(range(50_000))
    task = task_of(Case((1,), numbers))
    assert (await judged(answers(lambda x: numbers), task=task)).passed
    assert not (await judged(answers(lambda x: numbers[:-1]), task=task)).passed
    assert len(value_frame("aa", numbers)) > 1 << 16  # read in a thread
