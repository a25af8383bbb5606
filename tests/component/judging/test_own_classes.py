"""Tests that use what a class of the solution defines, or the function itself, see the candidate's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AssertTests, Limits, Message, PytestTests, Submission, Task

ROW = "class Row(tuple):\n    kind = 'row'\ndef f(n):\n    return Row([n])\n"
SIZED = "from dataclasses import dataclass\n@dataclass\nclass Size:\n    w: int\n    h: int\n"
AREA = "    def area(self):\n        return self.w * self.h\n"
PAIR = (
    "from collections import namedtuple\nPair = namedtuple('Pair', 'low high')\ndef f(n):\n    return Pair(n, n + 1)\n"
)
LEVEL = "from enum import Enum\nclass Level(Enum):\n    LOW = 1\n    HIGH = 2\ndef f(n):\n    return Level(n)\n"
RANK = LEVEL.replace("Enum", "IntEnum")
SHOUT = "class Loud(str):\n    def loud(self):\n        return self.upper()\ndef f(s):\n    return Loud(s)\n"
TURNED = "def f(w, h):\n    return Size(h, w)\n"
MADE = "def f(w, h):\n    return Size(w, h)\n"

# oracle solution, the tests' body, tier, and a wrong program
KINDS = [
    (ROW, "assert f(1) == (1,)\nassert f(2).kind == 'row'", "proxied", ROW.replace("'row'", "'line'")),
    (SIZED + AREA + MADE, "assert f(2, 3).area() == 6", "proxied", SIZED + AREA.replace("*", "+") + MADE),
    (PAIR, "assert f(1).low == 1", "proxied", PAIR.replace("low high", "high low")),
    (LEVEL, "assert f(1).name == 'LOW'\nassert f(2).value == 2", "proxied", LEVEL.replace("LOW", "LESS")),
    (SHOUT, "assert f('a').loud() == 'A'", "proxied", SHOUT.replace(".upper()", "")),
    # So is the function itself.
    ("def f(s):\n    return s\n", "assert f.__name__ == 'f'\nassert f(1) == 1", "proxied", "f = lambda s: s\n"),
    # What an answer holds is enough here.
    (SIZED + MADE, "r = f(2, 3)\nassert r.w == 2 and r.h == 3", "values", SIZED + TURNED),
    (SIZED + MADE, "r = f(2, 3)\nassert r == Size(2, 3)", "values", SIZED + TURNED),
    (RANK, "r = f(1)\nassert r < 2 and r == 1", "values", "def f(n):\n    return n + 1\n"),
    (ROW, "r = f(1)\nassert r[0] == 1 and len(r) == 1", "values", "def f(n):\n    return (n, n)\n"),
]


async def test_what_a_class_of_the_solution_defines_is_the_candidates_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory", cache_size=0)
        for number, (oracle, body, tier, wrong) in enumerate(KINDS):
            source = "def check(f):\n" + "".join(f"    {line}\n" for line in body.splitlines())
            tests = AssertTests("f", source, oracle)
            task = await verifier.prepare(Task(str(number), (Message.user("?"),), tests, oracle=oracle))
            right, bad = [await verifier.judge(task, Submission.code(program)) for program in (oracle, wrong)]
            assert (number, task.tier, right.passed, bad.passed) == (number, tier, True, False)


WRAPS = """import functools
def f(fn):
    @functools.wraps(fn)
    def w(*args):
        return fn(*args)
    return w
"""
WRAPPED = """    @f
    def g(x):
        'hello'
        return x
    assert (g.__doc__, g.__name__, g(2)) == ('hello', 'g', 2)
"""
SAID = """def f(x):
    'Adds one.'
    return x + 1
class C:
    'A class.'
    def m(self):
        'A method.'
"""
ASKED = """    assert f.__doc__ == 'Adds one.' and f(1) == 2
    assert f.__doc__ and C.__doc__ == C().__doc__ == 'A class.'
"""
INPUT = """from unittest.mock import patch
def test_it():
    with patch('builtins.input', return_value='4'):
        assert f() == 8
"""

# oracle solution, the tests, and a wrong program: all of tier `proxied`
DOCUMENTED = [
    (WRAPS, f"def test_it():\n{WRAPPED}", WRAPS.replace("    @functools.wraps(fn)\n", "")),
    (SAID, f"from solution import C\ndef test_it():\n{ASKED}", SAID.replace("    'Adds one.'\n", "")),
    (
        SAID,
        "from solution import C\ndef test_it():\n    assert C.m.__doc__ == 'A method.'\n",
        SAID.replace("'A m", "'m"),
    ),
    ("def f():\n    return 2 * int(input())\n", INPUT, "def f():\n    return int(input())\n"),
]


@pytest.mark.local_sandbox
async def test_documentation_and_replaced_built_ins_are_seen_at_tier_proxied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    from agent_rl_sandboxes.local_provider import LocalProvider

    async with LocalProvider(SandboxConfig()) as provider, TaskVerifier(provider, minimum_tier="proxied") as verifier:
        for number, (oracle, source, wrong) in enumerate(DOCUMENTED):
            files = {"test_it.py": f"from solution import f\n{source}".encode()}
            tests = PytestTests(files, oracle={"solution.py": oracle.encode()})
            given = Task(str(number), (Message.user("?"),), tests, oracle=oracle, tier="proxied")
            task = await verifier.prepare(given)
            right, bad = [await verifier.judge(task, Submission.code(program)) for program in (oracle, wrong)]
            assert (number, task.tier, right.passed, bad.passed) == (number, "proxied", True, False)


SLEEPS = "import time\ndef f(x):\n    time.sleep(x)\n    return x\n"
READS = "import time\ndef f(x):\n    return time.time() + x\n"
LATER = "import time as clock\ndef f(x):\n    now = clock.time()\n    return x + now\n"

# asserts, oracle solution, a right program and a wrong one
REPLACED = [
    (
        "from unittest.mock import patch\nwith patch('time.sleep'):\n    assert f(50) == 50",
        SLEEPS,
        SLEEPS.replace("x)\n", "2 * x)\n"),
        SLEEPS.replace("return x", "return 2 * x"),
    ),
    (
        "from unittest.mock import patch\nwith patch('time.sleep') as slept:\n    f(50)\nslept.assert_called_with(50)",
        SLEEPS,
        SLEEPS + "    pass\n",
        "def f(x):\n    return x\n",
    ),
    (
        "import pytest\nm = pytest.MonkeyPatch()\nm.setattr('time.time', lambda: 5.0)\nassert f(1) == 6\nm.undo()",
        READS,
        LATER,
        READS.replace("+ x", ""),
    ),
]


@pytest.mark.local_sandbox
async def test_what_asserts_replace_is_replaced_for_the_solution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    from agent_rl_sandboxes.local_provider import LocalProvider

    limits = Limits(wall_seconds=2.0)
    async with LocalProvider(SandboxConfig()) as provider, TaskVerifier(provider, minimum_tier="proxied") as verifier:
        for number, (body, oracle, *programs) in enumerate(REPLACED):
            source = "def check(f):\n" + "".join(f"    {line}\n" for line in body.splitlines())
            tests = AssertTests("f", source, oracle)
            task = await verifier.prepare(Task(str(number), (Message.user("?"),), tests, oracle=oracle, limits=limits))
            passed = [(await verifier.judge(task, Submission.code(p))).passed for p in (oracle, *programs)]
            assert (number, task.tier, passed) == (number, "proxied", [True, True, False])


@pytest.mark.docker
@pytest.mark.slow
async def test_tests_that_need_one_process_tell_right_from_wrong_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    from agent_rl_sandboxes.docker_provider import DockerProvider

    async with DockerProvider(SandboxConfig()) as provider, TaskVerifier(provider) as verifier:
        for name, (source, oracle, right, wrong) in IN_ONE_PROCESS.items():
            tests = PytestTests({"test_it.py": source.encode()}, oracle={"solution.py": oracle.encode()})
            limits = Limits(wall_seconds=60.0, cpu_seconds=60.0)
            task = await verifier.prepare(Task(name, (Message.user("?"),), tests, limits=limits, tier="proxied"))
            passed = [(await verifier.judge(task, Submission.code(p))).passed for p in (right, wrong)]
            assert (name, task.tier, passed) == (name, "in_process", [True, False])


COUNT = "def f(path):\n    return len(open(path).read().split())\n"
IN_ONE_PROCESS = {
    "files that the solution reads": (
        "from solution import f\ndef test_it(tmp_path):\n    (tmp_path / 'x').write_text('a b')\n"
        "    assert f(str(tmp_path / 'x')) == 2\n",
        COUNT,
        "import pathlib\ndef f(path):\n    return pathlib.Path(path).read_text().count(' ') + 1\n",
        COUNT.replace(".split()", ""),
    ),
    "files that it writes": (
        "import os, tempfile\nfrom solution import f\ndef test_it():\n"
        "    with tempfile.TemporaryDirectory() as place:\n"
        "        f(os.path.join(place, 'o'))\n        assert open(os.path.join(place, 'o')).read() == 'hi'\n",
        "def f(path):\n    open(path, 'w').write('hi')\n",
        "import pathlib\ndef f(path):\n    pathlib.Path(path).write_text('hi')\n",
        "def f(path):\n    open(path, 'w').write('ho')\n",
    ),
    "a stream": (
        "import io\nfrom solution import f\ndef test_it():\n    s = io.StringIO()\n    f(s)\n"
        "    assert s.getvalue() == 'hi'\n",
        "def f(s):\n    s.write('hi')\n",
        "def f(s):\n    print('hi', end='', file=s)\n",
        "def f(s):\n    print('hi', file=s)\n",
    ),
}
