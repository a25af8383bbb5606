"""Which programs may answer several calls in one process: those that certainly leave nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from agent_rl_sandboxes.inside.lasting_state import none_by_names, none_in


def leaves_none(program: str) -> bool:
    space: dict[str, Any] = {"__name__": "solution"}
    code = compile(program, "solution.py", "exec", dont_inherit=True)
    if not none_by_names(code):
        return False
    exec(code, space)
    return none_in(space)


@pytest.mark.parametrize(
    "program",
    [
        "def f(x):\n    return x + 1",
        "from typing import List, Optional\nimport math\n\ndef f(x: List[int], k: Optional[int] = None):\n"
        "    return math.pi",
        "from collections import Counter, defaultdict\n\ndef f(x):\n    d = defaultdict(list)\n    return Counter(x)",
        "LIMIT = 10**9 + 7\nNAMES = ('a', frozenset({1}))\n\ndef f(x):\n    return x % LIMIT",
        "def f(x):\n    total = 0\n    def add(n):\n        nonlocal total\n"
        "        total += n\n    add(x)\n    return total",
        "import heapq, re\n\ndef g(x):\n    yield x\n\ndef f(x, *, key=None):\n    return list(g(x))",
        "def f(x):\n    x.append(1)\n    x[0] = 2\n    return x",
    ],
)
def test_plain_functions_leave_nothing(program: str) -> None:
    assert leaves_none(program)


@pytest.mark.parametrize(
    "program",
    [
        "seen = []\n\ndef f(x):\n    seen.append(x)",
        "def f(x, seen=[]):\n    seen.append(x)",
        "def f(x, *, seen={}):\n    seen[x] = 1",
        "n = 0\n\ndef f(x):\n    global n\n    n += 1",
        "def f(x):\n    f.calls = 1",
        "class A:\n    n = 0\n\ndef f(x):\n    A.n += 1",
        "from functools import lru_cache\n\n@lru_cache(None)\ndef f(x):\n    return x",
        "import random\n\ndef f(x):\n    return random.random()",
        "def f(x):\n    import sys\n    sys.setrecursionlimit(9)",
        "def f(x):\n    print(x)",
        "def f(x):\n    open('a', 'w').close()",
        "def f(x):\n    f.__dict__['a'] = 1",
        "def f(x):\n    globals()['n'] = x",
        "import collections\n\ndef f(x):\n    collections.OrderedDict = dict",
        "g = (n for n in range(9))\n\ndef f(x):\n    return next(g)",
        "def make():\n    n = 0\n    def f(x):\n        nonlocal n\n"
        "        n += 1\n        return n\n    return f\n\nf = make()",
        "import itertools\nc = itertools.count()\n\ndef f(x):\n    return next(c)",
        "import decimal\n\ndef f(x):\n    decimal.getcontext().prec = 3",
        "TABLE = ([],)\n\ndef f(x):\n    TABLE[0].append(x)",
        "def f(x):\n    __import__('os').chdir('/')",
        "from os import *\n\ndef f(x):\n    return getcwd()",
    ],
)
def test_whatever_may_keep_state_has_a_process_for_each_call(program: str) -> None:
    assert not leaves_none(program)
