"""Final answers: found in replies, compared, and judged as every other kind of tests is."""

import asyncio
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from agent_rl.contracts import Agent, Sandbox
from agent_rl.errors import SandboxError
from agent_rl.judging.answer_comparison import AnswerComparison
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.rollouts.policy_agent import ScriptedAgent
from agent_rl.rollouts.run_group import run_rollout
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AnswerTests, Limits, Submission, Task
from tests.unit.rollouts.support import FunctionEnvironment

# Roomy: the machine that runs the tests may be busy.
LIMITS = Limits(wall_seconds=60.0, cpu_seconds=30.0)
TASK = Task("half", (), AnswerTests("1/2"), public=AnswerTests("1/2"), limits=LIMITS)


def verifier() -> TaskVerifier:
    return TaskVerifier(InMemoryProvider())


@pytest.fixture(scope="module")
def comparison() -> Iterator[AnswerComparison]:
    comparison = AnswerComparison()
    yield comparison
    comparison.close()


@pytest.mark.parametrize(
    ("expected", "answer", "outcome"),
    [
        ("42", "42.0", "equal"),
        ("1,234", "1234", "equal"),
        ("42", "43", "different"),
        ("0.5", r"\frac{1}{2}", "equal"),
        (r"x^2 + 2x + 1", "(x+1)^2", "equal"),
        (r"x^2 + 2x + 1", "(x-1)^2", "different"),
        ("18", "$18", "equal"),
        ("18", r"18, 19", "different"),
        ("18", r"18 \text{ or } 19", "different"),
        ("18", "__import__('os').abort()", "different"),
    ],
)
def test_answers_are_compared_as_numbers_and_as_expressions(
    comparison: AnswerComparison, expected: str, answer: str, outcome: str
) -> None:
    assert comparison.compare(expected, answer, LIMITS) == outcome


NEVER = "9^{9^{9^{9^{9}}}} - 1/3 + 12345678^{12345678}"
EXPANDED = r"0.1428571+\frac{(x+y+z+1)^{30}}{10^{99}}"
"""To compare it with 1/7, math-verify expands it into some thousands of terms."""
NEVER_ANSWER = Submission.answer(rf"\boxed{{{NEVER}}}")


@pytest.mark.parametrize(
    ("answer", "limits", "outcome"),
    [
        (NEVER, dataclasses.replace(LIMITS, wall_seconds=0.5), "timeout"),
        (NEVER, dataclasses.replace(LIMITS, cpu_seconds=0.5), "timeout"),
        (EXPANDED, dataclasses.replace(LIMITS, memory_bytes=2**20), "out_of_memory"),
    ],
)
def test_a_comparison_has_the_tasks_limits_and_the_next_one_is_compared(
    comparison: AnswerComparison, answer: str, limits: Limits, outcome: str
) -> None:
    said, seconds = comparison.timed("1/7", answer, limits)
    assert said == outcome
    assert 0 < seconds < 60
    assert comparison.compare("7", "14/2", LIMITS) == "equal"


TOO_LONG = ["1+" * 35_000 + "1", "a" + " " * 70_000 + "b", "2^" * 35_000 + "2", " " * 2000 + "7"]


@pytest.mark.parametrize("answer", TOO_LONG, ids=["sum", "spaces", "powers", "one too many"])
def test_a_text_that_is_too_long_for_an_answer_is_none_and_takes_no_time(
    comparison: AnswerComparison, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(comparison, "timed", None)
    assert comparison.compare("7", answer, LIMITS) == "different"
    assert comparison.compare(answer, answer, LIMITS) == "equal"


def test_the_longest_answer_is_compared(comparison: AnswerComparison) -> None:
    assert comparison.compare("100", "1+" * 99 + " 1", LIMITS) == "equal"


def test_a_large_matrix_is_compared(comparison: AnswerComparison) -> None:
    rows = [[row * column for column in range(1, 10)] for row in range(1, 10)]
    gold, spaced, other = (
        r"\begin{pmatrix}"
        + f" \\\\{space}".join(f"{space}&{space}".join(map(str, row)) for row in given)
        + r"\end{pmatrix}"
        for given, space in ((rows, ""), (rows, " "), ([*rows[:-1], [*rows[-1][:-1], 80]], " "))
    )
    assert len(spaced) > 400
    assert comparison.compare(gold, spaced, LIMITS) == "equal"
    assert comparison.compare(gold, other, LIMITS) == "different"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_another_process_ends_or_stops_costs_no_answer(
    comparison: AnswerComparison, number: signal.Signals
) -> None:
    assert comparison.compare("7", "14/2", LIMITS) == "equal"
    worker = comparison._worker
    assert worker is not None
    worker.send_signal(number)
    if number != signal.SIGSTOP:
        worker.wait()
    limits = dataclasses.replace(LIMITS, wall_seconds=5.0)
    # A pipe cannot hold this text: who tells it to a stopped worker must not wait for it.
    assert comparison.compare("7" + "\u200b" * 20_000, "14/2", limits) == "equal"
    assert comparison._worker is not worker


@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGTERM, "crashed"), (signal.SIGKILL, "out_of_memory")])
def test_an_answer_that_ends_each_worker_is_to_blame_and_the_next_one_is_compared(
    comparison: AnswerComparison, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, outcome: str
) -> None:
    def ends(worker: subprocess.Popen[bytes], data: bytes, seconds: float) -> bool:
        worker.send_signal(number)
        return True

    with monkeypatch.context() as patch:
        patch.setattr("agent_rl.judging.answer_comparison._tell", ends)
        assert comparison.compare("7", "14/2", LIMITS) == outcome
    assert comparison.compare("7", "14/2", LIMITS) == "equal"


async def test_a_comparison_that_cannot_be_started_is_an_infrastructure_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(SandboxError, match=r"the process that compares answers cannot be started: .*/nowhere/python3"):
        await verifier().judge(TASK, Submission.answer("#### x"))


async def test_a_closed_verifier_has_ended_the_worker_and_what_it_was_comparing() -> None:
    judge = verifier()
    judging = asyncio.create_task(judge.judge(dataclasses.replace(TASK, tests=AnswerTests("7")), NEVER_ANSWER))
    comparison = judge._answers._comparison
    while comparison._worker is None:
        await asyncio.sleep(0.01)
    worker = comparison._worker
    await judge.close()
    assert worker.poll() is not None
    with pytest.raises(SandboxError, match="the process that compares answers"):
        await judging
    await judge.close()
    with pytest.raises(SandboxError, match="the process that compares answers has been closed"):
        await judge.judge(TASK, Submission.answer("#### x"))


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("#### 1/2", "passed"),
        (r"\boxed{0.5}", "passed"),
        ("#### 2", "failed"),
        ("it is 1/2", "invalid_submission"),
        ("", "invalid_submission"),
    ],
)
async def test_a_reply_is_judged_by_its_final_answer_outside_of_any_sandbox(reply: str, status: str) -> None:
    verdict = await verifier().judge(TASK, Submission.answer(reply))
    assert (verdict.status, verdict.tier, verdict.isolation, verdict.tests) == (status, "values", None, ())
    assert verdict.feedback == ""


async def test_what_is_no_answer_is_an_invalid_submission() -> None:
    verdict = await verifier().judge(TASK, Submission.code("1/2"))
    assert verdict.status == "invalid_submission"
    assert verdict.tests[0].detail == "a submission of kind 'code', where a final answer is judged"


async def test_answers_are_counted_and_equal_ones_judged_once() -> None:
    judge = verifier()
    for reply in ("#### 1/2", "#### 2", "#### 1/2"):
        await judge.judge(TASK, Submission.answer(reply))
    # Three verdicts, of which the last was known. Equal texts are compared at once, which is no run.
    assert (judge.verdicts, judge.reused, judge.runs) == (3, 1, 1)


async def test_answers_may_be_public_tests_too() -> None:
    judge = verifier()
    told = {r: (await judge.run_public_tests(TASK, Submission.answer(r))).feedback for r in ("#### 1/2", "#### 2", "2")}
    assert told == {
        "#### 1/2": "",
        "#### 2": "the answer '2' is not right",
        "2": r"there is no final answer after #### or in \boxed{}",
    }


async def test_judging_an_answer_counts_as_judging_of_its_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: AnswerComparison, expected: str, answer: str, limits: Limits) -> tuple[str, float]:
        assert limits == LIMITS
        time.sleep(0.05)
        return "equal", 0.05

    monkeypatch.setattr(AnswerComparison, "timed", slow)

    async def one_reply(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        return Submission.answer(await agent.say("What is a half?"))

    environment = FunctionEnvironment(one_reply, verifier())
    half = ScriptedAgent(["#### 0.5"])
    trajectory = await run_rollout(environment, "math", TASK, lambda task, name: half, None)
    assert trajectory.verdict is not None
    assert trajectory.verdict.passed
    assert trajectory.verdict.seconds >= 0.05
    assert trajectory.timings.judging >= 0.05


async def test_a_comparison_that_does_not_work_is_an_infrastructure_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.answer_comparison._read_line", lambda worker, seconds: b"")
    with pytest.raises(SandboxError, match="the process that compares answers does not work: is math-verify installed"):
        await verifier().judge(TASK, Submission.answer("#### x"))
