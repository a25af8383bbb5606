"""Programs whose verdicts are compared: oracle solutions, mutants, honest variants; at each tier and in plain Python.

`rewritten` makes variants of a program that mean the same: what models write when they write it in another way.
"""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import TypeVar

from agent_rl.audit.mutants import draw_mutants
from agent_rl.audit.oracle_program import program_in
from agent_rl.concurrency import side_by_side
from agent_rl.formats import read_tasks
from agent_rl.vocabulary import AssertTests, CallTests, Task
from agent_rl_envs.synthesis.problems import make_problem
from agent_rl_envs.synthesis.program_pool import by_family

MUTANTS, VARIANTS, OTHER_ANSWERS = 5, 6, 2
"""Programs of each task, beside the oracle solution."""
SECONDS = 3.0
"""Processor time of a program that loops for ever. The slowest oracle solution takes less than a fifth of it."""

PLAIN = """
import json, os, resource, signal, sys
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        signal.alarm(10 * request["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"],) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = 1
        try:
            space = {"__name__": "solution"}
            exec(compile(request["program"], "solution.py", "exec", dont_inherit=True), space)
            tests = dict(space, __name__="tests")
            exec(compile(request["tests"], "tests.py", "exec", dont_inherit=True), tests)
            tests["check"](space[request["entry_point"]])
            code = 0
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    print(json.dumps([status, used.ru_utime + used.ru_stime]), flush=True)
"""
"""A process for each program, and no isolation: what a user would do by hand."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One program of one task. `kind` says how it was made; `honest` ones mean the same as the oracle solution."""

    task: Task
    kind: str
    program: str
    honest: bool


def tasks_of(humaneval: Path, generated: int) -> list[Task]:
    """HumanEval's tasks and so many generated ones, all with their tests as asserts."""
    families = by_family("train", range(1, 4))
    entries = [
        family[number] for number in range(max(map(len, families))) for family in families if number < len(family)
    ]
    problems = (make_problem(entry, 0) for entry in entries)
    made = [problem.task() for problem in problems if problem.sharp]
    return [*read_tasks(humaneval), *map(_as_asserts, made[:generated])]


def _as_asserts(task: Task) -> Task:
    """A task of cases with the same tests as asserts."""
    assert isinstance(task.tests, CallTests) and task.oracle is not None
    name = task.tests.entry_point
    lines = [f"    assert f({', '.join(map(repr, c.args))}) == {c.expected!r}\n" for c in task.tests.cases]
    tests = AssertTests(name, "def check(f):\n" + "".join(lines), task.oracle)
    return dataclasses.replace(task, tests=tests, public=None)


def programs_of(task: Task) -> Iterator[Compared]:
    """The oracle solution, honest variants of it, variants with answers of other types, and mutants."""
    assert isinstance(task.tests, AssertTests)
    source, name = task.tests.oracle, task.tests.entry_point
    yield Compared(task, "oracle solution", source, True)
    for kind, rewrite in rewritten(task.id).items():
        # Some tests use other functions of the oracle solution too: those must stay where they are.
        several = len([n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)]) > 1
        made = None if several and rewrite is _nested else rewrite(source, name)
        if made is not None:
            yield Compared(task, kind, made, True)
    for kind, change in _some(_OTHER_ANSWERS, OTHER_ANSWERS, task.id).items():
        yield Compared(task, kind, f"{source}\n\noriginal = {name}\n{_CHANGED.format(name=name, change=change)}", False)
    parsed = program_in(source)
    if parsed is not None:
        for number, mutant in enumerate(draw_mutants(parsed, name, MUTANTS, task.id)):
            yield Compared(task, f"mutant {number}: {mutant.kind}", mutant.reply, False)


Rewrite = Callable[[str, str], str | None]
T = TypeVar("T")


def rewritten(task_id: str) -> dict[str, Rewrite]:
    """Some of the ways to write a program again, which ones depends on the task."""
    return _some(_REWRITES, VARIANTS, task_id)


def _some(kinds: Mapping[str, T], count: int, task_id: str) -> dict[str, T]:
    start = sum(task_id.encode()) % len(kinds)
    return {name: kinds[name] for name in [*kinds, *kinds][start : start + count]}


def _around(text: str) -> Rewrite:
    """The program, and then its function replaced by one that `text` defines in terms of `original`."""
    return lambda source, name: f"{source}\n\noriginal = {name}\n\n{text.format(name=name)}"


def _renamed(source: str, name: str) -> str | None:
    """Every local variable of the function has another name."""
    module = ast.parse(source)
    found = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == name]
    if len(found) != 1 or any(isinstance(n, (ast.Global, ast.Nonlocal, ast.Lambda)) for n in ast.walk(found[0])):
        return None
    inner = [n for n in ast.walk(found[0]) if isinstance(n, ast.FunctionDef) and n is not found[0]]
    stored = {n.id for n in ast.walk(found[0]) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if inner or not stored:
        return None
    for node in ast.walk(found[0]):
        if isinstance(node, ast.Name) and node.id in stored - {a.arg for a in found[0].args.args}:
            node.id = f"{node.id}_"
    return ast.unparse(module)


def _nested(source: str, name: str) -> str | None:
    """The whole program inside a function that returns its function."""
    if "from __future__" in source or "import *" in source:
        return None
    return f"def make():\n{indent(source, '    ')}\n    return {name}\n\n\n{name} = make()\n"


def _with_threads(source: str, name: str) -> str:
    text = "def {name}(*args, **kwargs):\n    from concurrent.futures import ThreadPoolExecutor\n"
    text += "    with ThreadPoolExecutor(2) as pool:\n        return pool.submit(original, *args, **kwargs).result()\n"
    return str(_around(text)(source, name))


_REWRITES: dict[str, Rewrite] = {
    "unparsed": lambda source, name: ast.unparse(ast.parse(source)),
    "renamed variables": _renamed,
    "nested in a function": _nested,
    "a lambda": _around("{name} = lambda *args, **kwargs: original(*args, **kwargs)\n"),
    "a partial": _around("import functools\n{name} = functools.partial(original)\n"),
    "a wrapper with functools.wraps": _around(
        "import functools\n@functools.wraps(original)\n"
        "def {name}(*args, **kwargs):\n    return original(*args, **kwargs)\n"
    ),
    "a callable object": _around(
        "class Solver:\n    def __call__(self, *args, **kwargs):\n        return original(*args, **kwargs)\n\n"
        "{name} = Solver()\n"
    ),
    "a bound method": _around(
        "class Solver:\n    def run(self, *args, **kwargs):\n        return original(*args, **kwargs)\n\n"
        "{name} = Solver().run\n"
    ),
    "a static method": _around(
        "class Solver:\n    @staticmethod\n    def run(*args, **kwargs):\n        return original(*args, **kwargs)\n\n"
        "{name} = Solver.run\n"
    ),
    "in a thread pool": _with_threads,
    "with prints and a log": _around(
        "import logging\ndef {name}(*args, **kwargs):\n    print('solving', args)\n    logging.warning('solving')\n"
        "    return original(*args, **kwargs)\n"
    ),
    "with a higher recursion limit": _around(
        "import sys\nsys.setrecursionlimit(50000)\ndef {name}(*args, **kwargs):\n    return original(*args, **kwargs)\n"
    ),
    "with a main block": lambda source, name: f"{source}\n\nif __name__ == '__main__':\n    print({name})\n",
    "with annotations from the future": lambda source, name: (
        None if "from __future__" in source else f"from __future__ import annotations\n{source}"
    ),
    "with a deep copy of its arguments": _around(
        "import copy\n"
        "def {name}(*args, **kwargs):\n    return original(*copy.deepcopy(args), **copy.deepcopy(kwargs))\n"
    ),
    "with a finally block": _around(
        "def {name}(*args, **kwargs):\n    try:\n        return original(*args, **kwargs)\n    finally:\n        pass\n"
    ),
    "with an event loop": _around(
        "import asyncio\nasync def waited(args, kwargs):\n    return original(*args, **kwargs)\n\n"
        "def {name}(*args, **kwargs):\n    return asyncio.run(waited(args, kwargs))\n"
    ),
    "by exec": lambda source, name: f"exec({source!r}, globals())\n",
}


_CHANGED = """
import collections, decimal, enum, fractions

def changed(value):
    kind = type(value)
    {change}
    if kind in (list, tuple):
        return kind(map(changed, value))
    if kind is dict:
        return {{key: changed(item) for key, item in value.items()}}
    return value

def {name}(*args, **kwargs):
    return changed(original(*args, **kwargs))
"""
_OTHER_ANSWERS: dict[str, str] = {
    "integers as floats": "if kind is int: return float(value)",
    "floats as integers": "if kind is float and value == int(value): return int(value)",
    "booleans as integers": "if kind is bool: return int(value)",
    "integers as fractions": "if kind is int: return fractions.Fraction(value)",
    "floats as decimals": "if kind is float: return decimal.Decimal(value)",
    "integers of an enum": "if kind is int: return enum.IntEnum('Number', dict(only=value)).only",
    "texts of a class of their own": "if kind is str: return type('Text', (str,), {})(value)",
    "texts as bytes": "if kind is str: return value.encode()",
    "lists of a class of their own": "if kind is list: return type('Items', (list,), {})(map(changed, value))",
    "lists as tuples": "if kind is list: return tuple(map(changed, value))",
    "tuples as lists": "if kind is tuple: return list(map(changed, value))",
    "tuples with names": "if kind is tuple: return collections.namedtuple('Named', list('abcdefgh'[:len(value)]))"
    "(*map(changed, value))",
    "lists as deques": "if kind is list: return collections.deque(map(changed, value))",
    "lists as iterators": "if kind is list: return iter(value)",
    "dicts in reverse order": "if kind is dict: return dict(reversed(value.items()))",
    "nothing as False": "if value is None: return False",
    "nothing as an exception": "if value is None: raise ValueError",
    "zero as nothing": "if kind is int and value == 0: return None",
    "nearly equal floats": "if kind is float: return value * (1 + 1e-15)",
}
"""What a program's answers become: what plain Python thinks of that is what each tier should think of it."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What plain Python says of a program. `stopped`: it came to no end of its own (it looped, or crashed)."""

    passed: bool
    stopped: bool
    cpu_seconds: float


async def plain_verdicts(programs: Sequence[Compared]) -> list[Plain]:
    """Whether each program passes its tests in a process of plain Python, without isolation."""
    count = os.cpu_count() or 1
    parts = [programs[first::count] for first in range(count)]
    answers = await side_by_side(asyncio.to_thread(_plain, part) for part in parts)
    return [answers[i % count][i // count] for i in range(len(programs))]


def _plain(programs: Sequence[Compared]) -> list[Plain]:
    lines: list[str] = []
    for one in programs:
        assert isinstance(one.task.tests, AssertTests)
        # The tests may use what the oracle solution's module defines, as a data set's own harness lets them.
        request = {"program": one.program, "tests": one.task.tests.source, "entry_point": one.task.tests.entry_point}
        lines.append(json.dumps({**request, "seconds": int(SECONDS)}))
    command, text = [sys.executable, "-c", PLAIN], "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(programs)
    return [Plain(status == 0, os.WIFSIGNALED(status), cpu) for status, cpu in answers]
