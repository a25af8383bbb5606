"""What every `Verifier` must do. A module that imports these functions and has a fixture `verifier` runs them.

`verifier` judges `CallTests` of tier `values`, and is new for each test.
"""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from agent_rl.contracts import Verifier
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import AnswerTests, AssertTests, CallTests, Case, Submission, Task, Verdict

CASES = (Case((1, 2), 3), Case((-5, 5), 0), Case((10, 20), 30))
TASK = Task("sum", (), CallTests("add", CASES), public=CallTests("add", CASES[:1]))
RIGHT = Submission.code("def add(a, b):\n    return a + b\n")
WRONG = Submission.code("def add(a, b):\n    return a - b\n")
RIGHT_ON_THE_VISIBLE = Submission.code("def add(a, b):\n    return 3\n")
AS_CODE = AssertTests(
    "add",
    "def check(candidate):\n    for n in range(9):\n        assert candidate(n, 1) == n + 1\n",
    "def add(a, b):\n    return a + b\n",
)


async def test_a_right_program_passes_and_a_wrong_one_fails(verifier: Verifier) -> None:
    right, wrong = await verifier.judge(TASK, RIGHT), await verifier.judge(TASK, WRONG)
    assert (right.passed, right.status, right.tier) == (True, "passed", "values")
    assert (wrong.passed, wrong.status, wrong.tier) == (False, "failed", "values")
    assert right.isolation is not None
    assert right.seconds > 0
    assert [t.passed for t in right.tests] == [True, True, True]
    assert not all(t.passed for t in wrong.tests)
    assert right.feedback == wrong.feedback == ""


async def test_hidden_tests_judge_and_public_ones_inform(verifier: Verifier) -> None:
    assert (await verifier.run_public_tests(TASK, RIGHT_ON_THE_VISIBLE)).passed
    assert not (await verifier.judge(TASK, RIGHT_ON_THE_VISIBLE)).passed
    report = await verifier.run_public_tests(TASK, WRONG)
    assert not report.passed
    assert report.feedback == "add(1, 2) gave -1, expected 3"


async def test_what_a_program_does_is_a_verdict_never_an_error(verifier: Verifier) -> None:
    for program in ("def add(a, b:", "1 / 0", "raise SystemExit", "def other(): ...", "def add(a, b):\n    1 / 0"):
        verdict = await verifier.judge(TASK, Submission.code(program))
        assert (verdict.passed, verdict.status) == (False, "failed"), program
    for submission in (Submission.code(""), Submission.code("\0"), Submission("patch", "x"), Submission.answer("3")):
        assert (await verifier.judge(TASK, submission)).status == "invalid_submission"


async def test_many_at_once_each_get_their_own_verdict(verifier: Verifier) -> None:
    def program(n: int) -> Submission:
        return Submission.code(f"def add(a, b):\n    return a + b + {n % 3}\n# {n}\n")

    verdicts = await asyncio.gather(*(verifier.judge(TASK, program(n)) for n in range(30)))
    assert [v.passed for v in verdicts] == [n % 3 == 0 for n in range(30)]


async def test_a_cancelled_judging_leaves_the_verifier_usable(verifier: Verifier) -> None:
    judging = asyncio.create_task(verifier.judge(TASK, RIGHT))
    await asyncio.sleep(0)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    assert (await verifier.judge(TASK, RIGHT)).passed


async def test_prepare_turns_code_into_cases_that_judge_the_same(verifier: Verifier) -> None:
    task = await verifier.prepare(dataclasses.replace(TASK, tests=AS_CODE))
    assert isinstance(task.tests, CallTests)
    assert len(task.tests.cases) == 9
    assert (await verifier.judge(task, RIGHT)).passed
    assert not (await verifier.judge(task, WRONG)).passed
    assert await verifier.prepare(TASK) is TASK


async def test_a_final_answer_is_judged_like_a_program(verifier: Verifier) -> None:
    task = dataclasses.replace(TASK, tests=AnswerTests("3"), public=None)
    said = {"1 + 2\n#### 3": "passed", "#### 4": "failed", "three": "invalid_submission"}
    verdicts = {text: await verifier.judge(task, Submission.answer(text)) for text in said}
    assert {text: verdict.status for text, verdict in verdicts.items()} == said
    assert {verdict.isolation for verdict in verdicts.values()} == {None}
    assert (await verifier.judge(task, RIGHT)).status == "invalid_submission"
    assert await verifier.prepare(task) is task


async def test_a_verdict_of_the_environments_own_is_of_the_tasks_tier(verifier: Verifier) -> None:
    won = Verdict(True, "passed", "values", None, 2.0, scores={"moves": 3.0})
    assert await verifier.accept(TASK, won) == won
    with pytest.raises(ConfigError, match="task sum is of tier 'values', and its environment gave a verdict"):
        await verifier.accept(TASK, dataclasses.replace(won, tier="proxied"))


async def test_it_can_be_closed_more_than_once(verifier: Verifier) -> None:
    async with verifier:
        assert (await verifier.judge(TASK, RIGHT)).passed
    await verifier.close()


async def test_tests_that_cannot_be_judged_name_the_task(verifier: Verifier) -> None:
    for tests in (AS_CODE, CallTests("add", ())):
        with pytest.raises(ConfigError, match="task sum"):
            await verifier.judge(dataclasses.replace(TASK, tests=tests), RIGHT)
    failing = dataclasses.replace(AS_CODE, oracle=WRONG.text)
    with pytest.raises(ConfigError, match="task sum: the tests could not be recorded with the oracle solution"):
        await verifier.prepare(dataclasses.replace(TASK, tests=failing))
