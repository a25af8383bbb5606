"""Tests that check what their tier does not show are found when a task is loaded; all others keep their tier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.judging.blind_spots.blind_spot import may_check_more_than_values
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, Message, PytestTests, Submission, Task

PLUS = "def f(n):\n    return n + 1\n"
ROWS = "def f(n):\n    return [[0] * n for _ in range(n)]\n"
SORTED = "def f(xs):\n    return sorted(xs)\n"
COUNTS = "def f(s):\n    return {c: s.count(c) for c in s}\n"

# What a test body checks beside values -> the oracle solution, the body, and how the error names the blind spot.
UNSEEN = {
    "no output": (
        PLUS,
        "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    assert f(1) == 2\n"
        "assert out.getvalue() == ''",
        "prints",
    ),
    "no output on the other stream": (
        PLUS,
        "import io, sys\nsys.stderr = io.StringIO()\nr = f(1)\nsaid = sys.stderr.getvalue()\n"
        "sys.stderr = sys.__stderr__\nassert r == 2 and said == ''",
        "prints to standard error",
    ),
    "no warning": (
        PLUS,
        "import warnings\nwith warnings.catch_warnings():\n    warnings.simplefilter('error')\n    assert f(1) == 2",
        "warns",
    ),
    "no log record": (
        PLUS,
        "import logging\nkept = []\nh = logging.Handler()\nh.emit = kept.append\nlogging.getLogger().addHandler(h)\n"
        "assert f(1) == 2\nassert not kept",
        "logs",
    ),
    "the random state": (
        PLUS,
        "import random\nrandom.seed(3)\nold = random.getstate()\nassert f(1) == 2\nassert random.getstate() == old",
        "draws a random number",
    ),
    "the environment": (
        PLUS,
        "import os\nbefore = dict(os.environ)\nassert f(1) == 2\nassert dict(os.environ) == before",
        "sets an environment variable",
    ),
    "a variable by name": (
        PLUS,
        "import os\nassert f(1) == 2\nassert 'X' not in os.environ",
        "sets an environment variable",
    ),
    "a variable that stays": (
        PLUS,
        "import os\nos.environ['X'] = 'old'\nassert f(1) == 2\nassert os.environ['X'] == 'old'",
        "sets an environment variable",
    ),
    "the import path": (
        PLUS,
        "import sys\nold = list(sys.path)\nassert f(1) == 2\nassert sys.path == old",
        "adds to the import path",
    ),
    "the garbage collector": (
        PLUS,
        "import gc\nassert f(1) == 2\nassert gc.isenabled()",
        "switches the garbage collector",
    ),
    "the locale": (
        PLUS,
        "import locale\nold = locale.setlocale(locale.LC_ALL)\nassert f(1) == 2\n"
        "assert locale.setlocale(locale.LC_ALL) == old",
        "sets the locale",
    ),
    "signal handlers": (
        PLUS,
        "import signal\nold = signal.getsignal(signal.SIGALRM)\nassert f(1) == 2\n"
        "assert signal.getsignal(signal.SIGALRM) == old",
        "handles signals",
    ),
    "filters of warnings": (
        PLUS,
        "import warnings\nold = list(warnings.filters)\nassert f(1) == 2\nassert warnings.filters == old",
        "filters warnings",
    ),
    "log handlers": (
        PLUS,
        "import logging\nassert f(1) == 2\nassert not logging.getLogger().handlers",
        "adds a log handler",
    ),
    "the mask of new files": (
        PLUS,
        "import os\nold = os.umask(0o22)\nassert f(1) == 2\nassert os.umask(0o22) == 0o22",
        "sets the mask of new files",
    ),
    "the depth of recursion": (
        "def f(n):\n    return n * (n + 1) // 2\n",
        "import sys\nold = sys.getrecursionlimit()\nsys.setrecursionlimit(120)\ntry:\n    r = f(500)\nfinally:\n"
        "    sys.setrecursionlimit(old)\nassert r == 125250",
        "recurses deeply",
    ),
    "the time": (
        PLUS,
        "import time\nstart = time.perf_counter()\nassert f(1) == 2\nassert time.perf_counter() - start < 30",
        "takes an hour",
    ),
    "the memory": (
        PLUS,
        "import tracemalloc\ntracemalloc.start()\nassert f(1) == 2\npeak = tracemalloc.get_traced_memory()[1]\n"
        "tracemalloc.stop()\nassert peak < 1_000_000",
        "takes 64 MiB of memory",
    ),
    "a function that must not be called": (
        "def f(xs):\n    s = 0\n    for x in xs:\n        s += x\n    return s\n",
        "from unittest import mock\nwith mock.patch('builtins.sum', side_effect=AssertionError('no sum')):\n"
        "    assert f([1, 2]) == 3",
        "calls what the tests replaced",
    ),
    "a replaced function by hand": (
        PLUS,
        "import os as system\ncalled = []\nold = system.remove\nsystem.remove = lambda *a: called.append(a)\n"
        "r = f(1)\nsystem.remove = old\nassert r == 2 and not called",
        "calls what the tests replaced",
    ),
    "the order of a mapping": (
        "from collections import OrderedDict\n"
        "def f(s):\n    return OrderedDict(sorted((c, s.count(c)) for c in set(s)))\n",
        "from collections import OrderedDict\nassert f('aab') == OrderedDict([('a', 2), ('b', 1)])",
        "returns a mapping in another order",
    ),
    "rows of their own": (
        ROWS,
        "rows = f(2)\nrows[0][0] = 1\nassert rows == [[1, 0], [0, 0]]",
        "repeats one row",
    ),
    "a new object for each call": (
        SORTED,
        "first = f([2, 1])\nfirst.append(9)\nassert f([2, 1]) == [1, 2]",
        "returns one object for equal calls",
    ),
}

SOME = ("no output", "the time", "a replaced function by hand", "the order of a mapping", "rows of their own")


def asserts(name: str, oracle: str, body: str) -> Task:
    source = "def check(f):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return Task(name, (Message.user("?"),), AssertTests("f", source, oracle), oracle=oracle)


def pytest_file(name: str, oracle: str, body: str) -> Task:
    source = "from solution import f\n\n\ndef test_it():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    tests = PytestTests({"test_it.py": source.encode()}, oracle={"solution.py": oracle.encode()})
    return Task(name, (Message.user("?"),), tests, oracle=oracle, tier="proxied")


@pytest.fixture
async def verifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TaskVerifier]:
    from agent_rl_sandboxes.local_provider import LocalProvider

    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    async with LocalProvider(SandboxConfig()) as provider, TaskVerifier(provider, minimum_tier="proxied") as made:
        yield made


async def refusal(verifier: TaskVerifier, task: Task) -> str:
    """Why a task cannot be judged at tier `proxied` or better; "" if it can."""
    try:
        await verifier.prepare(task)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.local_sandbox
@pytest.mark.parametrize("form", [asserts, pytest_file], ids=["asserts", "pytest"])
async def test_what_tests_check_beside_values_is_found_and_named(verifier: TaskVerifier, form: object) -> None:
    chosen = UNSEEN if form is asserts else {name: UNSEEN[name] for name in SOME}
    made = [form(name, oracle, body) for name, (oracle, body, _) in chosen.items()]  # type: ignore[operator]
    said = await asyncio.gather(*(refusal(verifier, task) for task in made))
    named = {task.id: message for task, message in zip(made, said, strict=True)}
    # What the tier does carry over is no blind spot: it may only stay unrefused where a liar fails there.
    for name, (oracle, _, kind) in chosen.items():
        if named[name]:
            assert f"its tests fail a solution that {kind}, which tier" in named[name], named[name]
            assert "so that it is judged at tier 'in_process'" in named[name]
        else:
            assert await liar_fails(verifier, form(name, *UNSEEN[name][:2]), oracle, kind), name  # type: ignore[operator]


async def liar_fails(verifier: TaskVerifier, task: Task, oracle: str, kind: str) -> bool:
    """Whether a solution with the kind's difference fails the task, and the oracle solution passes it."""
    sum_of, plus = "    return sum(xs)\n", "    return n + 1\n"
    wrong = {
        "prints": "def f(n):\n    print(n)\n" + plus,
        "prints to standard error": "import sys\ndef f(n):\n    print(n, file=sys.stderr)\n" + plus,
        "warns": "import warnings\ndef f(n):\n    warnings.warn('w')\n" + plus,
        "logs": "import logging\ndef f(n):\n    logging.warning('w')\n" + plus,
        "draws a random number": "import random\ndef f(n):\n    random.random()\n" + plus,
        "sets an environment variable": "import os\ndef f(n):\n    os.environ['X'] = '1'\n" + plus,
        "calls what the tests replaced": "def f(xs):\n" + sum_of,
        "returns a mapping in another order": oracle.replace("sorted(", "reversed(sorted(").replace("))\n", ")))\n"),
        "repeats one row": "def f(n):\n    return [[0] * n] * n\n",
        "returns one object for equal calls": "k = {}\ndef f(xs):\n    return k.setdefault(str(xs), sorted(xs))\n",
    }[kind]
    prepared = await verifier.prepare(task)
    good = await verifier.judge(prepared, Submission.code(oracle))
    bad = await verifier.judge(prepared, Submission.code(wrong))
    return good.passed and not bad.passed


NEIGHBOURS = {
    "values": (PLUS, "assert f(1) == 2\nassert f(-1) == 0"),
    "random inputs": (
        PLUS,
        "import random\nfor _ in range(5):\n    n = random.randrange(99)\n    assert f(n) == n + 1",
    ),
    "a constant assert": (PLUS, "assert True, 'a message'\nassert f(1) == 2"),
    "approximately": ("def f(n):\n    return n / 3\n", "assert abs(f(1) - 0.3333) < 1e-3"),
    "an exception": (
        "def f(n):\n    return 1 / n\n",
        "try:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nassert f(1) == 1",
    ),
    "an equal dict": (COUNTS, "assert f('aab') == {'b': 1, 'a': 2}"),
    "sorted items": (COUNTS, "assert sorted(f('aab').items()) == [('a', 2), ('b', 1)]"),
    "lengths": (SORTED, "assert len(f([2, 1])) == 2\nassert f([2, 1])[0] == 1"),
    "a variable for the solution": (PLUS, "import os\nos.environ['X'] = '1'\nassert f(1) == 2"),
    "a clock that decides nothing": (PLUS, "import time\ntime.time()\nassert f(1) == 2"),
    "output that is captured and not looked at": (
        PLUS,
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    assert f(1) == 2",
    ),
}


@pytest.mark.local_sandbox
async def test_tests_of_values_keep_their_tier(verifier: TaskVerifier) -> None:
    some = ("values", "an equal dict", "a clock that decides nothing", "output that is captured and not looked at")
    for form, tier, names in ((asserts, "values", tuple(NEIGHBOURS)), (pytest_file, "proxied", some)):
        made = [form(name, *NEIGHBOURS[name]) for name in names]
        prepared = await asyncio.gather(*(verifier.prepare(task) for task in made))
        assert {task.id: task.tier for task in prepared} == dict.fromkeys(names, tier)


@pytest.mark.local_sandbox
async def test_a_blind_spot_is_searched_for_once(
    verifier: TaskVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = pytest_file("once", PLUS, UNSEEN["no output"][1])
    first = await refusal(verifier, task)
    before = verifier.runs
    assert await refusal(verifier, task) == first
    assert verifier.runs - before == 0
    assert len(list((tmp_path / "blind_spots").iterdir())) == 1


BROKEN = {
    "raise OSError('no loader')": SandboxError,
    "def run_variants(*args):\n    raise OSError('no run')": SandboxError,
    "import os\ndef run_variants(*args):\n    os._exit(3)": ConfigError,
    "def run_variants(*args):\n    return [['prints'], 'whole']": ConfigError,
    "def run_variants(*args):\n    return [['a kind that nobody knows'], True]": ConfigError,
}


@pytest.mark.local_sandbox
async def test_a_search_that_fails_is_an_error_and_no_result(
    verifier: TaskVerifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = pytest_file("broken", PLUS, "assert f(1) == 2")
    for program, error in BROKEN.items():
        monkeypatch.setattr("agent_rl.judging.blind_spots.blind_spot._LOADER", program)
        with pytest.raises(error, match="what its tests check beside values could not be found out"):
            await verifier.prepare(task)
    late = "def run_variants(*args):\n    return [[], False]"
    monkeypatch.setattr("agent_rl.judging.blind_spots.blind_spot._LOADER", late)
    assert (await verifier.prepare(task)).tier == "proxied"
    assert not (tmp_path / "blind_spots").exists()


def test_plain_comparisons_are_not_searched() -> None:
    def searched(body: str, oracle: str = PLUS) -> bool:
        tests = asserts("t", oracle, body).tests
        assert isinstance(tests, AssertTests)
        return may_check_more_than_values(tests)

    assert not searched("assert f(1) == 2")
    assert not searched("import random\nassert f(1) == 2\nassert True")
    assert searched("import sys\nassert f(1) == 2")
    assert searched("from os import path\nassert f(1) == 2")
    assert searched("assert f(1) == 2\nassert 1 < 2")
    assert searched("if f:\n    raise ValueError\nassert f(1) == 2")
    assert searched("assert f(1) in (2, 3)")
    assert searched("assert f(1) == 2", UNSEEN["the order of a mapping"][0])
