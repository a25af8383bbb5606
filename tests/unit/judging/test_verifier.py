"""The router: every kind of tests finds its judge, and what is weaker than demanded is refused when it is loaded."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
    Case,
    PytestTests,
    ScriptTests,
    StdioCase,
    StdioTests,
    Submission,
    Task,
    TestResult,
    Verdict,
)
from tests.unit.judging.fakes import ScriptedProvider, executes

PROGRAM = Submission.code("def f(x):\n    return x\n")
FILES = {"test_f.py": b"from solution import f\n\ndef test_f():\n    assert f(1) == 1\n"}
CALLS = CallTests("f", (Case((1,), 1),))
ASSERTS = AssertTests("f", "def check(candidate):\n    assert candidate(1) == 1\n", PROGRAM.text)


class FakeProxied(ProxiedJudge):
    """A judge of tier `proxied` whose tests pass, whatever is submitted."""

    def __init__(self, runs: Runs, *, seed: int) -> None:
        super().__init__(runs, seed=seed)
        self.made_with = (runs.provider, seed, runs.retries, runs.minimum_isolation)
        self.judged: list[tuple[Any, Submission, bool]] = []
        made.append(self)

    async def judge(self, task: Task, tests: Any, submission: Submission, *, public: bool) -> Verdict:
        self.judged.append((tests, submission, public))
        return Verdict(True, "passed", "proxied", "memory", tests=(TestResult("test_f.py::test_f", True),))


made: list[FakeProxied] = []


@pytest.fixture(autouse=True)
def _proxied(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    made.clear()
    monkeypatch.setattr("agent_rl.judging.task_verifier.ProxiedJudge", FakeProxied)
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))


def verifier(**options: Any) -> TaskVerifier:
    return TaskVerifier(ScriptedProvider(executes), **{"minimum_isolation": "memory", **options})


async def test_asserts_become_calls_at_tier_values() -> None:
    judge = verifier()
    task = await judge.prepare(Task("t", (), ASSERTS))
    assert isinstance(task.tests, CallTests)
    assert (await judge.judge(task, PROGRAM)).passed


@pytest.mark.parametrize("tests", [PytestTests(FILES, ("test_f.py::test_f",)), ASSERTS])
async def test_tier_proxied_goes_to_its_own_judge_once_for_equal_submissions(tests: Any) -> None:
    judge = verifier(seed=3, retries=1)
    task = await judge.prepare(Task("t", (), tests, tier="proxied"))
    assert task.tests == tests
    for _ in range(2):
        assert (await judge.judge(task, PROGRAM)).tier == "proxied"
    (proxied,) = made
    assert proxied.made_with == (judge.provider, 3, 1, "memory")
    # The reference of `AssertTests` once when it was loaded, and the submission, which is equal to it.
    assert proxied.judged == [(tests, PROGRAM, False)] * (2 if isinstance(tests, AssertTests) else 1)


async def test_node_ids_of_proxied_pytest_files_come_from_the_reference() -> None:
    judge = verifier()
    tests = PytestTests(FILES, oracle={"solution.py": PROGRAM.text.encode()})
    task = await judge.prepare(Task("t", (), tests, tier="proxied"))
    assert isinstance(task.tests, PytestTests)
    assert task.tests.tests == ("test_f.py::test_f",)
    assert made[0].judged == [(tests, PROGRAM, False)]


async def test_public_tests_are_judged_at_their_own_kinds_tier() -> None:
    judge = verifier()
    task = Task("t", (), PytestTests(FILES, ("test_f.py::test_f",)), public=CALLS, tier="proxied")
    shown = await judge.run_public_tests(task, Submission.code("def f(x):\n    return 2\n"))
    assert (shown.tier, shown.feedback) == ("values", "f(1) gave 2, expected 1")


STDIO = StdioTests((StdioCase("1", "1"),))


@pytest.mark.parametrize(
    ("tests", "tier", "message"),
    [
        (CALLS, "proxied", "task t: CallTests are of tier 'values'"),
        (STDIO, "in_process", "task t: StdioTests are of tier 'values'"),
        (PytestTests(FILES), "values", "task t: PytestTests are of tier 'proxied' or 'in_process'"),
        (ScriptTests(FILES), "proxied", "task t: ScriptTests are of tier 'in_process'"),
        (ASSERTS, "in_process", "task t: AssertTests are of tier 'values' or 'proxied'"),
        (AnswerTests("1"), "in_process", "task t: AnswerTests are of tier 'values'"),
        (PytestTests({}, ("x",)), "in_process", "task t: no test files"),
        (
            PytestTests(FILES),
            "in_process",
            "task t: it needs the tests' node ids or an oracle solution",
        ),
        (
            ScriptTests(FILES, ("sh", "x")),
            "in_process",
            "task t: the command of the tests must begin with an",
        ),
    ],
)
async def test_tests_of_a_tier_that_they_cannot_have_are_refused_at_load(tests: Any, tier: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await verifier().prepare(Task("t", (), tests, tier=tier))


async def test_tests_that_are_not_ready_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"call prepare\(task\) first"):
        await verifier().judge(Task("t", (), ASSERTS), PROGRAM)


async def test_a_task_weaker_than_demanded_is_refused_at_load() -> None:
    weak = Task("t", (), PytestTests(FILES, ("test_f.py::test_f",)), tier="in_process")
    proxied = dataclasses.replace(weak, tier="proxied")
    with pytest.raises(ConfigError, match="minimum_tier: task t is judged at tier 'in_process'"):
        await verifier(minimum_tier="proxied").prepare(weak)
    with pytest.raises(ConfigError, match="minimum_tier: task t is judged at tier 'proxied'"):
        await verifier(minimum_tier="values").prepare(proxied)
    with pytest.raises(ConfigError, match="minimum_isolation: task t is judged at isolation 'container'"):
        await verifier(minimum_isolation="namespaces").prepare(weak)
    assert (await verifier(minimum_tier="proxied").prepare(proxied)) is proxied


async def test_a_verdict_of_the_environments_own_is_counted_and_as_strong_as_demanded() -> None:
    weak = Task("t", (), PytestTests(FILES, ("test_f.py::test_f",)), tier="in_process")
    own = Verdict(True, "passed", "in_process", "container")
    judge = verifier()
    assert await judge.accept(weak, own) is own
    assert judge.verdicts == 1
    with pytest.raises(ConfigError, match="minimum_tier: task t is judged at tier 'in_process'"):
        await verifier(minimum_tier="proxied").accept(weak, own)
    with pytest.raises(ConfigError, match="tier: task t is of tier 'in_process', and its environment gave"):
        await judge.accept(weak, dataclasses.replace(own, tier="values"))
    with pytest.raises(SandboxError, match="a run had isolation 'container', which is weaker"):
        await verifier(minimum_isolation="uid").accept(weak, own)
    assert judge.verdicts == 1


async def test_one_verifier_judges_a_mix_of_kinds() -> None:
    async with InMemoryProvider() as provider:
        judge = TaskVerifier(provider, minimum_isolation="memory")
        program = Submission.code("def f(x):\n    return x\n\nif __name__ == '__main__':\n    print(input())\n")
        for tests in (CALLS, STDIO):
            assert (await judge.judge(Task("t", (), tests), program)).passed
        assert judge.verdicts == 2
