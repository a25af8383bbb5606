"""The judge of cases: who is to blame for a place that dies, and which judgings are made once."""

import asyncio
import dataclasses
from typing import Any

import pytest

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import RunRequest, RunResult, Submission
from tests.unit.judging.fakes import SQUARES, ScriptedProvider, answers, task_of
from tests.unit.judging.judging import PROGRAM, TASK, judged, verifier

pytestmark = pytest.mark.usefixtures("no_pauses")


def dies(_: RunRequest) -> SandboxError:
    return SandboxError("the worker died")


async def test_a_place_that_dies_once_is_the_infrastructures_fault_and_the_fresh_run_counts() -> None:
    judge = verifier(dies, answers(lambda x: x * x))
    assert (await judge.judge(TASK, PROGRAM)).passed
    assert [fresh for _, fresh in judge.provider.requests] == [False, True]  # pyright: ignore


async def test_a_connection_that_broke_off_is_a_place_that_died() -> None:
    assert (await judged(lambda _: ConnectionResetError("lost"), answers(lambda x: x * x))).passed
    assert (await judged(lambda _: EOFError("ended"))).status == "crashed"


async def test_a_program_whose_fresh_place_dies_too_beside_an_honest_control_has_crashed() -> None:
    verdict = await judged(dies)
    assert (verdict.passed, verdict.status) == (False, "crashed")
    assert verdict.tests[0].detail == "the program ends its own sandbox: the worker died"


@pytest.mark.parametrize("ill", [{"controls": [False] * 9}, {"companions": [False] * 9}])
async def test_where_an_honest_program_dies_too_the_infrastructure_is_to_blame(ill: dict[str, Any]) -> None:
    judge = verifier(dies, **ill)
    with pytest.raises(SandboxError, match="failed 4 times, and this program did not cause it: the worker died"):
        await judge.judge(TASK, PROGRAM)
    # The first run, then one fresh run in each of 1 + 2 retries.
    assert len(judge.provider.requests) == 4  # pyright: ignore


async def test_a_place_that_cannot_be_made_is_no_programs_death() -> None:
    def no_place(_: RunRequest) -> SandboxError:
        return SandboxStartError("no more room")

    assert (await judged(dies, no_place, no_place, answers(lambda x: x * x))).passed
    judge = verifier(dies, no_place)
    with pytest.raises(SandboxError, match="failed 4 times, and this program did not cause it: no more room"):
        await judge.judge(TASK, PROGRAM)
    assert judge.provider.control_runs == 0  # pyright: ignore


async def test_infrastructure_that_recovers_gives_a_verdict() -> None:
    assert (await judged(dies, dies, answers(lambda x: x * x), controls=[False])).passed
    assert (await judged(dies, dies, answers(lambda x: x * x), companions=[False])).passed


async def test_an_infrastructure_error_is_not_kept() -> None:
    judge = verifier(dies, dies, answers(lambda x: x * x), controls=[False], retries=0)
    with pytest.raises(SandboxError):
        await judge.judge(TASK, PROGRAM)
    assert (await judge.judge(TASK, PROGRAM)).passed


# One judging stands


async def test_a_failed_judging_stands() -> None:
    """Attack 100: a program that would answer rightly the second time is not asked a second time."""
    judge = verifier(answers(lambda x: None), answers(lambda x: x * x))
    assert not (await judge.judge(TASK, PROGRAM)).passed
    assert not (await judge.judge(TASK, PROGRAM)).passed
    assert (judge.runs, judge.reused) == (1, 1)


async def test_sharing_can_be_switched_off_and_depends_on_tests_program_and_limits() -> None:
    judge = verifier(answers(lambda x: x * x), cache_size=0)
    await judge.judge(TASK, PROGRAM)
    await judge.judge(TASK, PROGRAM)
    assert (judge.runs, judge.reused) == (2, 0)
    judge = verifier(answers(lambda x: x * x))
    await judge.judge(TASK, PROGRAM)
    await judge.judge(task_of(*SQUARES), PROGRAM)  # equal tests, another object
    assert judge.runs == 1
    await judge.judge(task_of(*SQUARES[:2]), PROGRAM)
    await judge.judge(TASK, Submission.code("other"))
    tighter = dataclasses.replace(TASK, limits=dataclasses.replace(TASK.limits, wall_seconds=1.0))
    await judge.judge(tighter, PROGRAM)
    assert judge.runs == 4


class SlowProvider(ScriptedProvider):
    """Runs that end when the test says."""

    def __init__(self) -> None:
        super().__init__(answers(lambda x: x * x))
        self.go = asyncio.Event()
        self.cancelled = 0

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().run(request, fresh=fresh)


async def test_equal_requests_at_once_share_a_run_whoever_is_cancelled() -> None:
    provider = SlowProvider()
    judge = TaskVerifier(provider, minimum_isolation="memory")
    first, second, third = [asyncio.create_task(judge.judge(TASK, PROGRAM)) for _ in range(3)]
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    provider.go.set()
    assert (await second).passed
    assert (await third).passed
    assert first.cancelled()
    assert len(provider.requests) == 1


async def test_a_run_that_nobody_waits_for_is_cancelled_and_begun_anew() -> None:
    provider = SlowProvider()
    judge = TaskVerifier(provider, minimum_isolation="memory")
    waiting = [asyncio.create_task(judge.judge(TASK, PROGRAM)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    provider.go.set()
    assert (await judge.judge(TASK, PROGRAM)).passed
    assert provider.cancelled == 1
