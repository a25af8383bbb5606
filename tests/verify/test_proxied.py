"""Tier `proxied` in memory: honest programs, what tests may and may not do, how reports become a verdict."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError, TestsPlaceError
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.verify.proxied import Malformed, ProxiedJudge, read_reports, verdict_of
from agent_rl.verify.proxied_client import Session
from agent_rl.verify.proxied_items import items_of, load
from agent_rl.verify.proxied_runner import Runner
from agent_rl.vocabulary import (
    AssertTests,
    Isolation,
    Limits,
    PairRequest,
    PairResult,
    PytestTests,
    RunRequest,
    RunResult,
    Submission,
    Task,
    Verdict,
)
from tests.verify.proxied_programs import HONEST, VARIANTS

ADD = "def add(a, b):\n    return a + b\n"
TEST_ADD = "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"


def task_of(source: str, reference: str = ADD, **options: Any) -> Task:
    """A task with one test file."""
    files = {"test_it.py": source.encode()}
    return Task(
        "task", (), PytestTests(files, reference={"solution.py": reference.encode()}, **options), tier="proxied"
    )


async def judged(task: Task, program: str, provider: InMemoryProvider | None = None) -> Verdict:
    async with provider or InMemoryProvider() as started:
        judge = ProxiedJudge(started, minimum_isolation="memory")
        assert isinstance(task.tests, PytestTests | AssertTests)
        return await judge.judge(task, task.tests, Submission.code(program), visible=True)


async def refusal(task: Task) -> str:
    """Why the task cannot be used."""
    assert isinstance(task.tests, PytestTests)
    with pytest.raises(ConfigError) as caught:
        await judged(task, task.tests.reference["solution.py"].decode())
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
    reference, other, tests = VARIANTS[name]
    task = task_of(tests, reference)
    for program in (reference, other):
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
        judge = ProxiedJudge(provider, minimum_isolation="memory")
        tests = task_of(TEST_ADD)
        assert isinstance(tests.tests, PytestTests)
        verdict = await judge.judge(tests, tests.tests, submission, visible=False)
    assert (verdict.status, judge.runs, verdict.feedback) == ("invalid_submission", 0, "")


async def test_a_check_of_the_humaneval_form_is_one_test() -> None:
    tests = AssertTests("add", "def check(candidate):\n    assert candidate(1, 2) == 3\n", ADD)
    task = Task("check", (), tests, tier="proxied")
    assert (await judged(task, ADD)).passed
    assert not (await judged(task, "def add(a, b):\n    return 4\n")).passed


async def test_the_reference_runs_twice_for_a_task_and_never_again() -> None:
    async with InMemoryProvider() as provider:
        judge = ProxiedJudge(provider, minimum_isolation="memory")
        task = task_of(TEST_ADD)
        assert isinstance(task.tests, PytestTests)
        for _ in range(3):
            assert (await judge.judge(task, task.tests, Submission.code(ADD), visible=False)).passed
    # Once to find out, once as candidates are judged, and the three candidates.
    assert judge.runs == 5


async def test_too_weak_isolation_is_refused() -> None:
    async with InMemoryProvider() as provider:
        task = task_of(TEST_ADD)
        assert isinstance(task.tests, PytestTests)
        with pytest.raises(SandboxError, match="isolated at level 'memory' only"):
            await ProxiedJudge(provider).judge(task, task.tests, Submission.code(ADD), visible=False)


# Tasks that cannot be used


async def test_a_reference_that_fails_is_the_tasks_fault() -> None:
    why = await refusal(task_of(TEST_ADD, "def add(a, b):\n    return 7\n"))
    assert "task task: the reference does not pass its own tests (failed): test_it.py::test_add: AssertionError" in why


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
    with pytest.raises(ConfigError, match="without a reference its tests' node ids have to be given"):
        await judged(task, ADD)
    named = PytestTests({"test_it.py": TEST_ADD.encode()}, ("test_it.py::test_add",))
    assert (await judged(dataclasses.replace(task, tests=named), ADD)).passed
    starred = PytestTests({"test_it.py": b"from solution import *\nassert add(1, 2) == 3\n"}, ("test_it.py::assert 1",))
    with pytest.raises(ConfigError, match=r"import \* from the solution need a reference"):
        await judged(dataclasses.replace(task, tests=starred), ADD)
    with pytest.raises(ConfigError, match="no files of tests"):
        await judged(dataclasses.replace(task, tests=PytestTests({})), ADD)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("def test_it(capsys):\n    pass", "fixture 'capsys' is not known in tests of this tier"),
        ("import pytest\npytest.console_main()", "pytest.console_main is not known in tests of this tier"),
        ("class Mine: pass\ndef test_it():\n    solution.same(Mine())", "can hand plain values, functions, iterators"),
        ("class Mine(solution.Base): pass\ndef test_it(): pass", "cannot derive a class from the solution's Base"),
        ("import copy\ndef test_it():\n    copy.copy(solution.Base())", "cannot be copied or pickled"),
        ("def test_it():\n    assert solution.Base() == 1", "AssertionError"),
    ],
)
async def test_what_tests_of_this_tier_cannot_do_is_said_at_load(test: str, why: str) -> None:
    reference = "class Base:\n    __eq__ = lambda self, other: True\ndef same(x):\n    return x\n"
    assert why in await refusal(task_of(f"import solution\n{test}\n", reference))


# What a candidate gets out of the tests


async def test_objects_are_let_in_only_where_the_reference_gives_them() -> None:
    add = "def add(a, b):\n    return "
    reference = "class Box:\n    n = 3\ndef make():\n    return Box()\n" + add + "a + b\n"
    tests = "import solution\ndef test_box():\n    assert solution.make().n == 3\n"
    tests += "def test_add():\n    assert abs(solution.add(1, 2) - 3) < 1e-9\n"
    liar = "class Liar:\n    n = 3\n    __sub__ = __abs__ = lambda self, *other: 0\n"
    liar += "def make():\n    return Liar()\n" + add + "Liar()\n"
    verdict = await judged(task_of(tests, reference), liar)
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


# Frames


FRAMES = [
    '["return",3,[]]',
    '["return",{"r":["object",[["id",1],["class",null],["kind","object"],["base",null]]]},[]]',
    '["return",{"r":["object",[["id",2],["class",3],["kind","class"],["base",{"t":["int",3]}]]]},[]]',
    '["return",["Liar",[{"r":["builtin",[["name","ValueError"]]]}],"int",null],[]]',
    '["raise",{"r":["builtin",[["name","ValueError"]]]},{"t":["no"]},"no",null]',
    '["raise",{"r":["object",[["id",4],["kind","class"]]]},null,"no",{"r":["object",[["id",5]]]}]',
    '["callback",0,"call",{"t":[1]},{"d":[["x",2]]}]',
    '["return",{"r":["value",[["type","Decimal"],["args",{"t":["3"]}]]]},[[0,[3]]]]',
]
"""Of every form that there is."""


@pytest.mark.parametrize("seed", range(4))
def test_no_frames_pass_a_test_or_break_its_process(seed: int, tmp_path: Path) -> None:
    """Whatever answers: the tests' run ends with reports, and the test, which asks for a 7 that none gives, fails."""
    draw = random.Random(seed)
    source = b"from solution import add\n\ndef test_it():\n    assert add([3], key=max) == 7\n"
    ended: set[str] = set()
    for _ in range(400):
        reports: list[str] = []
        answers = [mutated(draw) for _ in range(20)]

        def receive(answers: list[str] = answers) -> str | None:
            return answers.pop() if answers else None

        def say(text: str, reports: list[str] = reports) -> None:
            if text.startswith("{"):
                reports.append(text)

        admitted = frozenset({"add", "add()", "add()[]", "callback"}) if draw.random() < 0.7 else frozenset[str]()
        session = Session(say, receive, admitted)
        Runner({"test_it.py": source}, frozenset({"test_it.py::test_it"}), session, say, str(tmp_path)).run("solution")
        report = read_reports(tuple(reports))
        assert all(outcome != "passed" for outcome, _ in report.outcomes.values())
        assert report.outcomes or report.tampered, reports
        ended.add("tampered" if report.tampered else "failed")
    assert ended == {"tampered", "failed"}


def mutated(draw: random.Random) -> str:
    """One of FRAMES, as it is or with some of its characters, or a part of another, in other places."""
    text = draw.choice(FRAMES)
    for _ in range(draw.choice((0, 0, 1, 2, 5))):
        at, other = draw.randrange(len(text) + 1), draw.choice(FRAMES)
        start = draw.randrange(len(other))
        part = draw.choice((other[start : start + draw.randrange(12)], draw.choice('[]{}",:0-9e\\\x00')))
        text = text[:at] + part + text[at + draw.randrange(6) :]
    return text


# Node ids


IDS = """
import enum, re
import pytest

class Color(enum.Enum):
    RED = 1

@pytest.fixture(params=["p", 2])
def given(request):
    return request.param

@pytest.fixture(params=[None], ids=["none"])
def through(given):
    return given

@pytest.mark.parametrize("x", [0, 1])
@pytest.mark.parametrize("y", [2, 3])
def test_grid(x, y): pass

@pytest.mark.parametrize("a, b", [(1, "two"), ([], {}), pytest.param(1.5, None, id="named"), (b"x", "\\n\\u00e9")])
def test_values(a, b): pass

@pytest.mark.parametrize("x", [1, 1, "a", "a", True, Color.RED, len, int, re.compile("a+"), object()])
def test_same(x): pass

@pytest.mark.parametrize(["x"], [(1,), (2,)], ids=["one", None])
def test_ids(x): pass

@pytest.mark.parametrize("x", [1, 2], ids=lambda n: f"n{n}")
def test_function_ids(x): pass

def test_fixture(given): pass

def test_through(through): pass

@pytest.mark.parametrize("given", [5], indirect=True)
def test_indirect(given): pass

@pytest.mark.parametrize("z", ["z"])
class TestClass:
    def test_a(self, z): pass
    @pytest.mark.parametrize("x", [1])
    def test_b(self, x, z): pass
    class TestInner:
        def test_c(self, z): pass
    def helper(self): pass

class Testing:
    def __init__(self): pass
    def test_never(self): pass

def helper_test(): pass
"""


def test_node_ids_are_those_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_ids.py").write_text(IDS)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    said = subprocess.run([*command, "test_ids.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120).stdout
    theirs = [line for line in said.splitlines() if line.startswith("test_ids.py::")]
    assert len(theirs) == 30, said
    ours = collected(IDS)
    assert sorted(ours) == sorted(theirs)
    grid = [name for name in theirs if "test_grid" in name]
    assert [name for name in ours if "test_grid" in name] == grid


def collected(source: str) -> list[str]:
    """The node ids that our own collection finds, with pytest's module in place of ours while the file is loaded."""
    from agent_rl.verify import proxied_pytest

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pytest", proxied_pytest.module())
        module = load("test_ids.py", source.encode(), lambda name, act: None)
        sys.modules.pop("test_ids", None)
    fixtures = {
        v._agent_rl_fixture.name: v._agent_rl_fixture for v in vars(module).values() if hasattr(v, "_agent_rl_fixture")
    }
    return [item.name for item in items_of("test_ids.py", module, fixtures.get)]


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
    with pytest.raises(Malformed):
        read_reports(frames)
    verdict = verdict_of(PairResult(run_result(), run_result(frames)), ("a",), visible=True)
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
    verdict = verdict_of(PairResult(run_result(**candidate), run_result(frames, **tests)), ("a",), visible=False)
    assert (verdict.status, verdict.passed, verdict.feedback) == (status, status == "passed", "")
    assert all(t.passed for t in verdict.tests) == verdict.passed


def test_the_weaker_isolation_is_the_verdicts() -> None:
    pair: list[tuple[Isolation, Isolation]] = [("namespaces", "uid"), ("uid", "namespaces")]
    for first, second in pair:
        runs = PairResult(run_result(isolation=first), run_result((report("a"), DONE), isolation=second))
        assert verdict_of(runs, ("a",), visible=False).isolation == "uid"


def test_nothing_wanted_is_nothing_passed() -> None:
    assert not verdict_of(PairResult(run_result(), run_result((DONE,))), (), visible=False).passed


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
            raise SandboxError("a slot died")
        if request.entry_point is None:
            # The companion, which waits for as long as the pair runs.
            await asyncio.sleep(60)
        return await super().run(request, fresh=fresh)


OWN, TESTS_OWN = SandboxError("a slot died"), TestsPlaceError("a slot died")
NAMED = PytestTests({"test_it.py": TEST_ADD.encode()}, ("test_it.py::test_add",))


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
async def test_a_place_that_dies_is_tried_again_and_then_blamed(
    errors: list[Exception], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_rl.verify.blame._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("agent_rl.verify.blame._GRACE_SECONDS", 0.01)
    task = Task("add", (), NAMED, tier="proxied", limits=Limits())
    verdict = await judged(task, ADD, Dying(*errors))
    assert verdict.status == status, verdict


@pytest.mark.parametrize("error", [OWN, TESTS_OWN])
async def test_places_that_die_beside_dying_honest_ones_are_the_machinerys_failure(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_rl.verify.blame._PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("agent_rl.verify.blame._GRACE_SECONDS", 0.01)
    with pytest.raises(SandboxError, match="not by this program's doing"):
        await judged(Task("add", (), NAMED, tier="proxied"), ADD, Dying(*[error] * 4, ill=True))
