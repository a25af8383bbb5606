"""The tests' side of tier `proxied`: whatever frames come in, and which tests there are."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from agent_rl.judging.proxied.fixtures import FixtureDefinitions
from agent_rl.judging.proxied.hidden_tests import items_of, load
from agent_rl.judging.proxied.proxied_judge import read_reports
from agent_rl.judging.proxied.tests_runner import HiddenTestsRunner
from agent_rl.judging.proxied.tests_side import HiddenTestsSession

# Frames


FRAMES = [
    '[0,"return",[],[3],[],[]]',
    '[0,"return",[],[{"r":["object",[["id",1],["class",2],["kind","object"],["base",null]]]}],[],[]]',
    '[0,"return",[],[{"r":["object",[["id",2],["class",3],["kind","object"],["base",{"t":["int",3]}]]]}],[],[]]',
    '[0,"return",[],[{"r":["object",[["id",6],["class",null],["kind","generator"],["base",null]]]}],[],[]]',
    '[0,"return",[],[{"t":["Liar","Liar",{"t":[{"r":["builtin",[["name","ValueError"]]]}]},"int",null,{"t":["__eq__"]}]}],'
    "[],[]]",
    '[0,"raise",[],[{"r":["raised",[["class",{"r":["builtin",[["name","ValueError"]]]}],["args",{"t":["no"]}],'
    '["text","no"],["id",null]]]}],[],[]]',
    '[0,"raise",[],[{"r":["raised",[["class",{"r":["object",[["id",4],["kind","class"]]]}],["args",null],["text","no"],'
    '["id",5],["attributes",{"t":[{"t":["errno",2]}]}]]]}],[],[]]',
    '[0,"callback",[0,"call"],[{"t":[1]},{"t":[{"t":["x",2]}]}],[],[]]',
    '[0,"return",[],[{"r":["value",[["type","decimal.Decimal"],["args",{"t":["3"]}]]]}],[[0,"list",[3]]],[0]]',
    '[0,"return",[],[{"r":["at",[["n",1]]]}],[[1,"dict",[1,{"r":["at",[["n",3]]]}]],[3,"list",[2]]],[1,3]]',
    '[0,"return",[["stdout","x"],["environ",{"t":[]}],["log",["a",9,"b"]]],[3],[],[]]',
    '[0,"unheld",["no"],[],[],[]]',
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
        session = HiddenTestsSession(say, receive, admitted)
        HiddenTestsRunner({"test_it.py": source}, frozenset({"test_it.py::test_it"}), session, say, str(tmp_path)).run(
            "solution"
        )
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

@pytest.fixture
def over(given):
    return given

@pytest.fixture(params=[7, 8], scope="module", autouse=True)
def always(request):
    return request.param

@pytest.mark.usefixtures("over")
@pytest.mark.parametrize("x", [0, 1])
def test_used(x): pass

class TestFixtures:
    @pytest.fixture(params=["in"], name="given")
    def other(self, given, request):
        return given, request.param
    @staticmethod
    @pytest.fixture(params=["s"], scope="class")
    def fixed(request):
        return request.param
    def test_own(self, given, fixed): pass
    @pytest.mark.parametrize("given", [1])
    def test_given(self, given): pass
    class TestInside:
        @pytest.fixture
        def given(self, given):
            return given
        def test_outer(self, given): pass

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
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    run = subprocess.run(
        [*command, "test_ids.py"], cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=120
    )
    said = run.stdout
    theirs = [line for line in said.splitlines() if line.startswith("test_ids.py::")]
    assert len(theirs) == 74, said
    ours = collected(IDS)
    assert sorted(ours) == sorted(theirs)
    grid = [name for name in theirs if "test_grid" in name]
    assert [name for name in ours if "test_grid" in name] == grid


def collected(source: str) -> list[str]:
    """The node ids that our own collection finds, with pytest's module in place of ours while the file is loaded."""
    from agent_rl.judging.proxied import pytest_subset

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pytest", pytest_subset.module())
        module = load("test_ids.py", source.encode(), lambda name, act: None, "test_ids")
        sys.modules.pop("test_ids", None)
    definitions = FixtureDefinitions()
    definitions.take("test_ids.py", module)
    return [item.name for item in items_of("test_ids.py", module, definitions)]
