"""Tests that tier `proxied` cannot carry are judged in one process with the program, and the reason is said.

What the tests need is found with the reference; the judge of tier `in_process` is a fake.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AssertTests, PytestTests, Submission, Task, Verdict

# Name -> the body of a test, the reference, and what the reason says.
NEEDS: dict[str, tuple[str, str, str]] = {
    "a mock": (
        "from unittest.mock import Mock\nm = Mock()\nm.get.return_value = 3\nassert f(m) == 4",
        "def f(m):\n    return m.get('k') + 1\n",
        "this tier hands Mock to the solution as a plain function",
    ),
    "a mock of a file": (
        "from unittest.mock import mock_open, patch\nwith patch('builtins.open', mock_open(read_data='abc')):\n"
        "    assert f('x') == 'abc'",
        "def f(path):\n    with open(path) as file:\n        return file.read()\n",
        "this tier hands MagicMock to the solution as a plain function",
    ),
    "a stream to write to": (
        "import io\ns = io.StringIO()\nf(s)\nassert s.getvalue() == 'hi'",
        "def f(s):\n    s.write('hi')\n",
        "cannot be handed to the solution",
    ),
    "a stream to read": (
        "import io\nassert f(io.StringIO('a b')) == ['a', 'b']",
        "def f(s):\n    return s.read().split()\n",
        "cannot be handed to the solution",
    ),
    "an object of the tests": (
        "class Node:\n    value = 1\nassert f(Node()) == 1",
        "def f(node):\n    return node.value\n",
        "cannot be handed to the solution",
    ),
    "a class of the tests": (
        "class Base(f()):\n    pass\nassert Base().twice() == 2",
        "class Base:\n    def twice(self):\n        return 2\ndef f():\n    return Base\n",
        "cannot derive a class",
    ),
    "a property": (
        "assert isinstance(f().prop, property)",
        "class C:\n    @property\n    def prop(self):\n        return 1\ndef f():\n    return C\n",
        "isinstance(f().prop, property)",
    ),
    "the source": (
        "import inspect\nassert f([1]) == 1 and 'sum(' not in inspect.getsource(f)",
        "def f(xs):\n    return xs[0]\n",
        "inspect.getsource(f)",
    ),
    "annotations": (
        "import inspect\nassert inspect.signature(f).return_annotation is int and f(1) == 1",
        "def f(x) -> int:\n    return x\n",
        "inspect.signature(f)",
    ),
    "a clock of the tests' own": (
        "import datetime, unittest.mock\nclass Frozen(datetime.datetime):\n    @classmethod\n"
        "    def now(cls, tz=None):\n        return cls(2020, 5, 6)\n"
        "with unittest.mock.patch('datetime.datetime', Frozen):\n    assert f() == 2020",
        "import datetime\ndef f():\n    return datetime.datetime.now().year\n",
        "cannot be handed to the solution",
    ),
}


class FakeInProcess:
    """A judge of tier `in_process` whose tests pass as often as `passes` says."""

    passes: list[bool]

    def __init__(self, runs: Runs) -> None:
        pass

    def _next(self) -> bool:
        return self.passes.pop(0) if self.passes else True

    async def prepare(self, task: Task, tests: PytestTests) -> Task:
        if not self._next():
            raise ConfigError(f"task {task.id}: 1 == 2")
        return dataclasses.replace(task, tests=dataclasses.replace(tests, tests=("test_it",)))

    async def judge(self, task: Task, tests: Any, submission: Submission, *, public: bool) -> Verdict:
        assert submission.files == tests.oracle
        passed = self._next()
        return Verdict(passed, "passed" if passed else "failed", "in_process", "memory")


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    FakeInProcess.passes = []
    monkeypatch.setattr("agent_rl.judging.task_verifier.InProcessJudge", FakeInProcess)
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))


def pytest_task(body: str, oracle: str) -> Task:
    source = "from solution import f\n\ndef test_it():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    tests = PytestTests({"test_it.py": source.encode()}, oracle={"solution.py": oracle.encode()})
    return Task("t", (), tests, tier="proxied")


def assert_task(body: str, oracle: str) -> Task:
    source = "def check(f):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return Task("t", (), AssertTests("f", source, oracle))


async def prepared(task: Task, **options: Any) -> tuple[Task, str]:
    """(the prepared task, why it is judged in one process, "" if it is not)."""
    async with InMemoryProvider() as provider, TaskVerifier(provider, minimum_isolation="memory", **options) as made:
        task = await made.prepare(task)
        return task, made.lowered.get("t", "")


@pytest.mark.parametrize("name", NEEDS)
async def test_what_does_not_cross_is_judged_in_one_process_and_the_reason_names_it(name: str) -> None:
    body, oracle, why = NEEDS[name]
    task, reason = await prepared(pytest_task(body, oracle))
    assert isinstance(task.tests, PytestTests) and task.tests.tests == ("test_it",)
    assert task.tier == "in_process" and why in reason
    assert reason.startswith("its tests need one process with the program (at tier 'proxied': ")
    with pytest.raises(ConfigError) as refused:
        await prepared(pytest_task(body, oracle), minimum_tier="proxied")
    assert why in str(refused.value)


@pytest.mark.parametrize("name", ["a mock", "a stream to write to", "an object of the tests"])
async def test_asserts_that_can_neither_be_recorded_nor_carried_are_judged_there_too(name: str) -> None:
    body, oracle, why = NEEDS[name]
    task, reason = await prepared(assert_task(body, oracle))
    assert task.tier == "in_process" and why in reason
    assert (await prepared(assert_task("assert f(1) == 1", "def f(x):\n    return x\n")))[0].tier == "values"


async def test_wrong_and_unsteady_tests_are_refused_as_before() -> None:
    wrong = pytest_task("assert f(1) == 3", "def f(x):\n    return x\n")
    FakeInProcess.passes = [False]
    with pytest.raises(ConfigError, match=r"assert f\(1\) == 3.*at tier 'in_process' 1 == 2"):
        await prepared(wrong)
    FakeInProcess.passes = [True, False]
    with pytest.raises(ConfigError, match="task t: the oracle solution does not pass its own tests"):
        await prepared(wrong)


async def test_what_crosses_keeps_its_tier() -> None:
    neighbours = {
        "from unittest.mock import Mock\nm = Mock(return_value=2)\nassert f(m) == 3\nm.assert_called_once_with(1)":
            "def f(m):\n    return m(1) + 1\n",
        "import inspect\nassert list(inspect.signature(f).parameters) == ['x'] and f(1) == 1":
            "def f(x):\n    return x\n",
        "assert f(iter([1, 2])) == 3": "def f(xs):\n    return sum(xs)\n",
    }  # fmt: skip
    for body, oracle in neighbours.items():
        task, reason = await prepared(pytest_task(body, oracle))
        assert (task.tier, reason) == ("proxied", ""), body
