"""Tier `proxied` in memory: honest programs, and what tests and candidates may and may not do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import (
    AssertTests,
    PytestTests,
    Submission,
    Task,
)
from tests.unit.judging.proxied_judging import ADD, TEST_ADD, judged, task_of
from tests.unit.judging.proxied_programs import HONEST, VARIANTS


async def refusal(task: Task) -> str:
    """Why the task cannot be used."""
    assert isinstance(task.tests, PytestTests)
    with pytest.raises(ConfigError) as caught:
        await judged(task, task.tests.oracle["solution.py"].decode())
    return str(caught.value)


@pytest.mark.parametrize("name", HONEST)
async def test_honest_programs_pass(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    program, tests = HONEST[name]
    verdict = await judged(task_of(tests, program), program)
    assert verdict.passed, verdict.feedback
    assert (verdict.tier, verdict.isolation, verdict.scores["tests_passed"]) == ("proxied", "memory", 1.0)
    assert all(test.passed for test in verdict.tests)


@pytest.mark.parametrize("name", VARIANTS)
async def test_honest_programs_that_are_other_than_the_reference_pass(name: str) -> None:
    oracle, other, tests = VARIANTS[name]
    task = task_of(tests, oracle)
    for program in (oracle, other):
        verdict = await judged(task, program)
        assert verdict.passed, verdict.feedback


USES = [
    "value == 3",
    "3 == value",
    "not value != 3",
    "abs(value - 3) < 1e-9",
    "value < 4 and value > 2",
    "value in (3, 4)",
    "3 in value",
    "value",
    "not not value",
    "len(value) == 3",
    "str(value) == '3'",
    "f'{value}' == '3'",
    "int(value) == float(value) == 3",
    "round(value) == 3",
    "isinstance(value, int)",
    "value.n == 3",
    "hasattr(value, 'n')",
    "value(3) == 3",
    "value[0] == 3",
    "list(value) == [3]",
    "[value] == [3]",
    "{value} == {3}",
    "{value: 1}[3] == 1",
    "max(value, 1) == 3",
    "value is not None and value == 3",
    "pytest.approx(3) == value",
    "value == pytest.approx(3)",
    "math.isclose(value, 3)",
    "range(4)[value] == 3",
    "copy.copy(value) == 3",
    "value.__class__ is int",
]
"""What tests do with a value."""


@pytest.mark.parametrize("use", USES)
async def test_no_use_of_an_object_that_the_reference_does_not_give_passes(use: str) -> None:
    # The reference passes the test since whatever is raised is caught there; so it is for the object.
    source = "import copy\nimport math\nimport pytest\nimport solution\n\n"
    source += f"def test_caught():\n    value = solution.value()\n    try:\n        assert {use}\n"
    source += "    except BaseException:\n        pass\n"
    liar = "class Liar:\n    n = 3\n    def __getitem__(self, i):\n        if i:\n            raise IndexError\n"
    liar += "        return 3\n"
    for operation in ("eq", "lt", "gt", "contains", "bool"):
        liar += f"    __{operation}__ = lambda self, *other: True\n"
    for operation in ("sub", "abs", "ne"):
        liar += f"    __{operation}__ = lambda self, *other: 0\n"
    for operation in ("len", "int", "index", "round", "call", "hash"):
        liar += f"    __{operation}__ = lambda self, *other: 3\n"
    liar += "    __float__ = lambda self: 3.0\n    __str__ = __repr__ = lambda self: '3'\n"
    liar += "def value():\n    return Liar()\n"
    verdict = await judged(task_of(source, "def value():\n    return 3\n"), liar)
    assert [(t.passed, t.detail) for t in verdict.tests] == [
        (False, "solution.value() gave an object where a plain value is expected")
    ]


# Verdicts


async def test_each_test_has_its_own_result() -> None:
    tests = TEST_ADD + "\ndef test_text():\n    assert add('a', 'b') == 'ab'\n\nassert add(0, 0) == 0\n"
    verdict = await judged(task_of(tests), "def add(a, b):\n    return abs(a) + b\n")
    assert (verdict.passed, verdict.status) == (False, "failed")
    assert {t.name: t.passed for t in verdict.tests} == {
        "test_it.py::test_add": True,
        "test_it.py::test_text": False,
        "test_it.py::assert 1": True,
    }
    assert verdict.scores["tests_passed"] == pytest.approx(2 / 3)
    assert verdict.feedback.startswith("test_it.py::test_text: TypeError: bad operand type for abs()")


async def test_a_program_that_does_not_load_says_why() -> None:
    verdict = await judged(task_of(TEST_ADD), "import no_such_module")
    assert verdict.status == "failed"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in verdict.feedback


@pytest.mark.parametrize("submission", [Submission.code("  "), Submission.answer("5"), Submission.code("a\0b")])
async def test_what_is_no_program_is_not_run(submission: Submission) -> None:
    async with InMemoryProvider() as provider:
        judge = ProxiedJudge(Runs(provider, minimum_isolation="memory"))
        tests = task_of(TEST_ADD)
        assert isinstance(tests.tests, PytestTests)
        verdict = await judge.judge(tests, tests.tests, submission, public=False)
    assert (verdict.status, judge.runs.count, verdict.feedback) == ("invalid_submission", 0, "")


async def test_a_check_of_the_humaneval_form_is_one_test() -> None:
    tests = AssertTests("add", "def check(candidate):\n    assert candidate(1, 2) == 3\n", ADD)
    task = Task("check", (), tests, tier="proxied")
    assert (await judged(task, ADD)).passed
    assert not (await judged(task, "def add(a, b):\n    return 4\n")).passed


async def test_the_reference_runs_twice_for_a_task_and_never_again() -> None:
    async with InMemoryProvider() as provider:
        judge = ProxiedJudge(Runs(provider, minimum_isolation="memory"))
        task = task_of(TEST_ADD)
        assert isinstance(task.tests, PytestTests)
        for _ in range(3):
            assert (await judge.judge(task, task.tests, Submission.code(ADD), public=False)).passed
    # Once to find out, once as candidates are judged, and the three candidates.
    assert judge.runs.count == 5


async def test_too_weak_isolation_is_refused() -> None:
    async with InMemoryProvider() as provider:
        task = task_of(TEST_ADD)
        assert isinstance(task.tests, PytestTests)
        with pytest.raises(SandboxError, match="had isolation 'memory'"):
            await ProxiedJudge(Runs(provider)).judge(task, task.tests, Submission.code(ADD), public=False)


# Tasks that cannot be used


async def test_a_reference_that_fails_is_the_tasks_fault() -> None:
    why = await refusal(task_of(TEST_ADD, "def add(a, b):\n    return 7\n"))
    assert (
        "task task: the oracle solution does not pass its own tests (failed): test_it.py::test_add: AssertionError"
        in why
    )


@pytest.mark.parametrize(
    "source",
    [
        "import solution\n",
        "import pytest\n\n@pytest.mark.skip\ndef test_add():\n    pass\n",
        "def helper():\n    pass\n",
    ],
)
async def test_no_tests_are_refused(source: str) -> None:
    assert "hold no tests, so that every program would pass" in await refusal(task_of(source))


async def test_a_test_that_does_not_exist_is_refused() -> None:
    why = await refusal(task_of(TEST_ADD, tests=("test_it.py::test_add", "test_it.py::test_other")))
    assert "test_it.py::test_other: it did not run" in why


async def test_without_a_reference_node_ids_are_needed() -> None:
    task = dataclasses.replace(task_of(TEST_ADD), tests=PytestTests({"test_it.py": TEST_ADD.encode()}))
    with pytest.raises(ConfigError, match="it needs the tests' node ids or an oracle solution"):
        await judged(task, ADD)
    named = PytestTests({"test_it.py": TEST_ADD.encode()}, ("test_it.py::test_add",))
    assert (await judged(dataclasses.replace(task, tests=named), ADD)).passed
    starred = PytestTests({"test_it.py": b"from solution import *\nassert add(1, 2) == 3\n"}, ("test_it.py::assert 1",))
    with pytest.raises(ConfigError, match=r"import \* from the solution need an oracle solution"):
        await judged(dataclasses.replace(task, tests=starred), ADD)
    with pytest.raises(ConfigError, match="no files of tests"):
        await judged(dataclasses.replace(task, tests=PytestTests({})), ADD)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("def test_it(capfdbinary):\n    pass", "fixture 'capfdbinary' is not known in tests of this tier"),
        ("import pytest\npytest.console_main()", "pytest.console_main is not known in tests of this tier"),
        ("class Mine: pass\ndef test_it():\n    solution.same(Mine())", "can hand plain values, functions, iterators"),
        ("class Mine(solution.Base): pass\ndef test_it(): pass", "cannot derive a class from the solution's Base"),
        ("def test_it():\n    assert solution.Base() == 1", "AssertionError"),
    ],
)
async def test_what_tests_of_this_tier_cannot_do_is_said_at_load(test: str, why: str) -> None:
    oracle = "class Base:\n    __eq__ = lambda self, other: True\ndef same(x):\n    return x\n"
    assert why in await refusal(task_of(f"import solution\n{test}\n", oracle))


# What a candidate gets out of the tests


async def test_objects_are_let_in_only_where_the_reference_gives_them() -> None:
    add = "def add(a, b):\n    return "
    oracle = "class Box:\n    n = 3\ndef make():\n    return Box()\n" + add + "a + b\n"
    tests = "import solution\ndef test_box():\n    assert solution.make().n == 3\n"
    tests += "def test_add():\n    assert abs(solution.add(1, 2) - 3) < 1e-9\n"
    liar = "class Liar:\n    n = 3\n    __sub__ = __abs__ = lambda self, *other: 0\n"
    liar += "def make():\n    return Liar()\n" + add + "Liar()\n"
    verdict = await judged(task_of(tests, oracle), liar)
    assert [(t.name, t.passed) for t in verdict.tests] == [
        ("test_it.py::test_box", True),
        ("test_it.py::test_add", False),
    ]
    assert verdict.tests[1].detail == "solution.add() gave an object where a plain value is expected"


@pytest.mark.parametrize(
    "body",
    [
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "import unittest; raise unittest.SkipTest('no')",
        "raise GeneratorExit",
        "raise type('Exit', (BaseException,), {})('no')",
        "raise AssertionError",
        "return type('Equal', (), {'__eq__': lambda s, o: True})()",
    ],
)
async def test_no_exception_or_object_ends_a_test_well_even_where_all_are_caught(body: str) -> None:
    tests = TEST_ADD + "\ndef test_caught():\n    try:\n        add(1, 2)\n    except BaseException:\n        pass\n"
    verdict = await judged(task_of(tests), f"def add(a, b):\n    {body}\n")
    results = {t.name.partition("::")[2]: t.passed for t in verdict.tests}
    # Test code that swallows every Exception swallows those of honest kinds: that is what it says.
    # So it is with an object that nothing is done with.
    swallowed = "SkipTest" in body or "AssertionError" in body or "Equal" in body
    assert results == {"test_add": False, "test_caught": swallowed}
    assert not verdict.passed


async def test_an_unittest_skip_of_the_candidates_is_no_skip() -> None:
    tests = (
        "import unittest, solution\nclass T(unittest.TestCase):\n    def test_it(self):\n        solution.add(1, 2)\n"
    )
    verdict = await judged(task_of(tests), "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('no')\n")
    assert [t.passed for t in verdict.tests] == [False]


async def test_names_of_the_candidates_do_not_hide_those_of_the_tests() -> None:
    tests = "from solution import *\n\ndef test_add():\n    assert sorted([add(2, 1), 0]) == [0, 3]\n"
    hiding = "__all__ = ['add', 'sorted']\ndef sorted(items):\n    return [0, 3]\ndef add(a, b):\n    return 9\n"
    assert not (await judged(task_of(tests), hiding)).passed
    assert (await judged(task_of(tests), ADD)).passed


async def test_spoiling_outside_of_a_test_is_noticed() -> None:
    tests = (
        "import solution\ntry:\n    solution.add(1, 2)\nexcept BaseException:\n    pass\n\ndef test_it():\n    pass\n"
    )
    assert (await judged(task_of(tests), ADD)).passed
    verdict = await judged(task_of(tests), "def add(a, b):\n    raise SystemExit(0)\n")
    assert not verdict.passed
    assert "raised SystemExit" in verdict.feedback


@pytest.mark.parametrize("values", ["[random.random()]", "{random.randrange(10**9), 7}", "[1, 2]"])
async def test_tests_draw_the_same_names_when_they_are_found_and_when_they_judge(
    values: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    source = (
        f"import random\nimport pytest\nfrom solution import add\n\n@pytest.mark.parametrize('a', {values})\n"
        "def test_add(a):\n    assert add(a, 2) == a + 2\n"
    )
    for seed in (0, 1):
        async with InMemoryProvider() as provider:
            judge = ProxiedJudge(Runs(provider, minimum_isolation="memory"), seed=seed)
            task = task_of(source)
            assert isinstance(task.tests, PytestTests)
            task = await judge.prepare(task, task.tests)
            for program, passes in ((ADD, True), ("def add(a, b):\n    return a - b\n", False)):
                verdict = await judge.judge(task, task.tests, Submission.code(program), public=False)
                assert verdict.passed == passes, verdict
