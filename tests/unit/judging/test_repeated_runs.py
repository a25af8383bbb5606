"""What had no processor is run again, alone; what comes out then stands, and is not kept if it had none again."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.repeated_runs import FairRuns, doubts, ended_command, starved_commands, starved_pair
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import (
    CallTests,
    Case,
    ExecResult,
    Limits,
    PairResult,
    RunRequest,
    RunResult,
    Submission,
    Task,
)
from tests.unit.judging.fakes import Handler, ScriptedProvider, answers, result_of

TASK = Task("t", (), CallTests("f", (Case((1,), 2),)), limits=Limits(wall_seconds=10.0))
PROGRAM = Submission.code("def f(x):\n    return 2\n")
right, wrong = answers(lambda x: 2), answers(lambda x: 3)


def timed_out(cpu: float, waited: float | None) -> RunResult:
    return dataclasses.replace(result_of(status="timeout"), cpu_seconds=cpu, waited_seconds=waited)


def timeout(cpu: float, waited: float | None) -> Handler:
    return lambda request: timed_out(cpu, waited)


@pytest.mark.parametrize(("then", "passed"), [(right, True), (wrong, False)])
async def test_a_run_that_had_no_processor_is_judged_by_the_next(then: Handler, passed: bool) -> None:
    provider = ScriptedProvider(timeout(cpu=2.0, waited=30.0), then)
    verifier = TaskVerifier(provider, minimum_isolation="memory")
    for _ in range(2):
        assert (await verifier.judge(TASK, PROGRAM)).passed == passed
    first, second = (request for request, _ in provider.requests)
    assert first == second
    assert verifier.reused == 1


@pytest.mark.parametrize(
    ("cpu", "waited"),
    [(10.0, 30.0), (9.1, 30.0), (0.1, 0.0), (2.0, 0.4)],
    ids=["endless", "nearly its limit", "sleeps", "waited too little"],
)
async def test_a_run_that_had_its_time_is_not_run_again(cpu: float, waited: float) -> None:
    provider = ScriptedProvider(timeout(cpu, waited), right)
    verdict = await TaskVerifier(provider, minimum_isolation="memory").judge(TASK, PROGRAM)
    assert (verdict.status, len(provider.requests)) == ("timeout", 1)


async def test_only_timeouts_are_run_again() -> None:
    def crashed(request: RunRequest) -> RunResult:
        return dataclasses.replace(timed_out(0.1, 30.0), status="crashed")

    provider = ScriptedProvider(crashed, right)
    verdict = await TaskVerifier(provider, minimum_isolation="memory").judge(TASK, PROGRAM)
    assert (verdict.status, len(provider.requests)) == ("crashed", 1)


async def test_where_waits_are_not_known_a_timeout_is_run_again_once() -> None:
    provider = ScriptedProvider(timeout(0.1, None))
    assert (await TaskVerifier(provider, minimum_isolation="memory").judge(TASK, PROGRAM)).status == "timeout"
    assert len(provider.requests) == 2


async def test_a_verdict_that_depends_on_others_is_not_kept() -> None:
    provider = ScriptedProvider(timeout(2.0, 30.0), timeout(2.0, 30.0), right)
    verifier = TaskVerifier(provider, minimum_isolation="memory")
    statuses = [(await verifier.judge(TASK, PROGRAM)).status for _ in range(3)]
    assert (statuses, verifier.reused) == (["timeout", "passed", "passed"], 1)


async def test_the_repetition_is_alone_and_nobody_waits_for_ever() -> None:
    fair, running, seen = FairRuns(), set[str](), list[tuple[str, frozenset[str]]]()

    async def judged(name: str, *, hungry: bool) -> str:
        times = 0

        async def run() -> int:
            nonlocal times
            times += 1
            running.add(name)
            seen.append((f"{name}{times}", frozenset(running)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append((f"{name}{times}", frozenset(running)))
            running.discard(name)
            return times

        return f"{name}{await fair.fairly(run, lambda times: hungry and times == 1)}"

    with doubts() as doubtful:
        names = [judged(name, hungry=name in "bd") for name in "abcdefgh"]
        cancelled = asyncio.create_task(judged("x", hungry=True))
        waiting = asyncio.gather(*names)
        while fair.repeated < 3:
            await asyncio.sleep(0)
        cancelled.cancel()  # while it waits until it is alone, or is
        assert await waiting == ["a1", "b2", "c1", "d2", "e1", "f1", "g1", "h1"]
        assert await judged("y", hungry=False) == "y1"
    assert doubtful == []
    assert all(len(others) == 1 for name, others in seen if name.endswith("2"))
    assert max(len(others) for _, others in seen) > 1


def test_in_a_pair_one_waits_while_the_other_works() -> None:
    limits = TASK.limits
    idle = dataclasses.replace(result_of(), cpu_seconds=0.5)
    assert starved_pair(PairResult(timed_out(1.0, 0.0), dataclasses.replace(idle, waited_seconds=8.0)), limits, 0.0)
    assert starved_pair(PairResult(timed_out(1.0, 0.0), idle), limits, 4.0)  # what passes their messages on waited
    assert not starved_pair(PairResult(timed_out(1.0, 0.0), idle), limits, 0.0)
    assert not starved_pair(PairResult(timed_out(9.0, 3.0), idle), limits, 0.0)
    assert not starved_pair(PairResult(idle, idle), limits, 9.0)
    # What took long although it is not over its limit.
    slow = dataclasses.replace(idle, seconds=6.0)
    assert starved_pair(PairResult(idle, slow), limits, 4.0, 5.0)
    assert not starved_pair(PairResult(idle, slow), limits, 4.0, 7.0)
    assert not starved_pair(PairResult(idle, dataclasses.replace(slow, cpu_seconds=5.0)), limits, 4.0, 5.0)
    assert not starved_pair(PairResult(idle, slow), limits, 0.0, 5.0)


async def test_a_sandboxs_commands_are_judged_alike() -> None:
    provider = ScriptedProvider(right)
    runs = Runs(provider, minimum_isolation="memory")
    for cpu, waited, times in ((1.0, 5.0, 2), (9.5, 5.0, 1), (1.0, 0.0, 1)):
        made: list[int] = []

        async def work(place: object, *, cpu: float = cpu, waited: float = waited, made: list[int] = made) -> int:
            made.append(1)
            ended_command(ExecResult("timeout", None, b"", b"", 10.0, cpu_seconds=cpu, waited_seconds=waited))
            return len(made)

        assert await runs.work(work, TASK.limits) == times
    ended_command(ExecResult("timeout", None, b"", b"", 10.0, waited_seconds=9.0))  # outside of any: no effect
    with starved_commands() as found:
        ended_command(ExecResult("completed", 0, b"", b"", 10.0, waited_seconds=9.0))
    assert found == []
