"""Right answers to calls: classes, other comparisons, state between calls, files of its own, values of other types."""

from __future__ import annotations

from tests.system.attacks.honest.program import Honest, honest

# fmt: off
_METHODS = {
    "a-plain-method": "class Solution:\n    def solve(self, n): return n + 1",
    "state-made-in-init": """
        class Solution:
            def __init__(self): self.calls = 0
            def solve(self, n):
                self.calls += 1
                return n + self.calls
    """,
    "state-of-the-class": """
        class Solution:
            seen = {}
            def solve(self, n):
                assert not self.seen
                self.seen[n] = n
                return n + 1
    """,
    "a-static-method": "class Solution:\n    @staticmethod\n    def solve(n): return n + 1",
    "a-class-method": "class Solution:\n    @classmethod\n    def solve(cls, n): return n + 1",
    "a-cached-method": "import functools\nclass Solution:\n    @functools.cache\n    def solve(self, n): return n + 1",
    "typing-names": """
        from typing import *
        class Solution:
            def solve(self, n: int) -> Optional[int]:
                xs: List[int] = [n, 1]
                return sum(xs)
    """,
    "inherited": "class Base:\n    def solve(self, n): return n + 1\nclass Solution(Base): pass",
    "a-dataclass": """
        import dataclasses
        @dataclasses.dataclass
        class Solution:
            step: int = 1
            def solve(self, n): return n + self.step
    """,
    "slots-and-new": """
        class Solution:
            __slots__ = ("step",)
            def __new__(cls):
                made = super().__new__(cls)
                made.step = 1
                return made
            def solve(self, n): return n + self.step
    """,
    "a-metaclass": """
        class Meta(type):
            def __call__(cls):
                made = super().__call__()
                made.step = 1
                return made
        class Solution(metaclass=Meta):
            def solve(self, n): return n + self.step
    """,
    "a-decorated-method": """
        import functools
        def plus(f):
            @functools.wraps(f)
            def inner(self, n): return f(self, n) + 1
            return inner
        class Solution:
            @plus
            def solve(self, n): return n
    """,
    "a-lambda-as-method": "class Solution:\n    solve = lambda self, n: n + 1",
    "helpers-and-usage-beside": """
        class Node:
            def __init__(self, n): self.n = n
        class Solution:
            def up(self, node): return node.n + 1
            def solve(self, n): return self.up(Node(n))
        if __name__ == "__main__":
            print(Solution().solve(int(input())))
    """,
    "usage-that-prints": "class Solution:\n    def solve(self, n): return n + 1\nprint(Solution().solve(3))",
}
_STATE = {
    "a-cache-in-a-dict": "kept = {}\ndef solve(n):\n    return kept.setdefault(n, n * n)",
    "a-cache-in-a-default":
        "def solve(n, kept={}):\n    kept[n] = n * n\n    assert len(kept) == 1\n    return kept[n]",
    "an-attribute-of-the-function": "def solve(n):\n    solve.n = n\n    return solve.n ** 2",
    "an-attribute-of-a-module": """
        import math
        def solve(n):
            math.kept = getattr(math, "kept", 0) + 1
            return n * n * math.kept
    """,
    "a-counter-of-calls":
        "calls = []\ndef solve(n):\n    calls.append(n)\n    return n * n if len(calls) == 1 else None",
    "a-generator-kept": "import itertools\nticks = itertools.count()\ndef solve(n): return n * n + next(ticks)",
    "the-state-of-random": """
        import random
        random.seed(1)
        def solve(n):
            return n * n if random.random() == random.Random(1).random() else 0
    """,
    "a-working-directory": """
        import os
        def solve(n):
            os.mkdir("here")
            os.chdir("here")
            return n * n
    """,
    "a-file-that-must-not-be-there": """
        def solve(n):
            with open("mine", "x") as f: f.write(str(n * n))
            return int(open("mine").read())
    """,
    "a-changed-environment": """
        import os
        def solve(n):
            assert "MINE" not in os.environ
            os.environ["MINE"] = "1"
            return n * n
    """,
    "a-recursion-limit": "import sys\ndef solve(n):\n    sys.setrecursionlimit(5000)\n    return n * n",
    "a-deep-recursion-in-a-thread": """
        import sys, threading
        sys.setrecursionlimit(10**6)
        threading.stack_size(128 << 20)
        def solve(n):
            out = []
            def down(k): return 0 if k == 0 else 1 + down(k - 1)
            t = threading.Thread(target=lambda: out.append(down(n * n)))
            t.start(); t.join()
            return out[0]
    """,
    "memory-of-each-call": "def solve(n):\n    return len(bytes(160 << 20)) * 0 + n * n",
    "its-own-file": "def solve(n):\n    assert 'def solve' in open(__file__).read()\n    return n * n",
    "a-process-of-its-own-file": """
        import subprocess, sys
        def solve(n):
            return int(subprocess.check_output([sys.executable, __file__, str(n)]))
        if __name__ == "__main__" and len(sys.argv) > 1:
            print(int(sys.argv[1]) ** 2)
    """,
    "a-spawned-process": """
        import multiprocessing
        def square(n, q): q.put(n * n)
        def solve(n):
            context = multiprocessing.get_context("spawn")
            q = context.Queue()
            child = context.Process(target=square, args=(n, q))
            child.start()
            found = q.get()
            child.join()
            return found
    """,
    "a-thread-begun-at-load": """
        import queue, threading
        todo, done = queue.Queue(), queue.Queue()
        def work():
            while True:
                done.put(todo.get() ** 2)
        threading.Thread(target=work, daemon=True).start()
        def solve(n):
            todo.put(n)
            return done.get()
    """,
    "a-pool-begun-at-load": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        def solve(n): return pool.submit(pow, n, 2).result()
    """,
    "an-event-loop-begun-at-load": """
        import asyncio
        loop = asyncio.new_event_loop()
        async def square(n): return n * n
        def solve(n): return loop.run_until_complete(square(n))
    """,
    "a-database-begun-at-load": """
        import sqlite3
        base = sqlite3.connect(":memory:", check_same_thread=False)
        def solve(n): return base.execute("select ? * ?", (n, n)).fetchone()[0]
    """,
    "a-module-of-its-own-making": """
        import sys, types
        made = types.ModuleType("made")
        exec("def square(n): return n * n", made.__dict__)
        sys.modules["made"] = made
        def solve(n):
            from made import square
            return square(n)
    """,
    "an-import-of-itself":
        "import sys\ndef solve(n):\n    return sys.modules[__name__].square(n)\ndef square(n): return n * n",
    "a-name-made-by-globals": "globals()['solve'] = lambda n: n * n",
    "a-function-that-replaces-itself": """
        def solve(n):
            global solve
            solve = lambda n: n ** 2
            return solve(n)
    """,
    "a-single-dispatch": """
        import functools
        @functools.singledispatch
        def solve(n): raise TypeError(n)
        @solve.register
        def _(n: int): return n * n
    """,
    "match-and-case": """
        def solve(n):
            match n:
                case 0 | 1: return n
                case int() if n > 0: return n * n
    """,
    "an-exit-hook-and-no-end": "import atexit, time\natexit.register(time.sleep, 0.01)\ndef solve(n): return n * n",
}
_LISTS = {
    "a-tuple": "def solve(n): return tuple(range(n))",
    "named-tuples": "from collections import namedtuple\nT = namedtuple('T', 'a b c')\ndef solve(n): return T(0, 1, 2)",
    "a-list-of-int-enums": "import enum\nE = enum.IntEnum('E', 'A B', start=0)\ndef solve(n): return [*E, 2]",
    "a-list-class": "class L(list): pass\ndef solve(n): return L(range(n))",
    "floats-for-integers": "def solve(n): return [0.0, 1.0, 2.0]",
    "fractions": "from fractions import Fraction\ndef solve(n): return [Fraction(i) for i in range(n)]",
    "decimals": "from decimal import Decimal\ndef solve(n): return [Decimal(i) for i in range(n)]",
    "integers-of-a-class":
        "class I(int):\n    __repr__ = lambda self: 'I'\ndef solve(n): return [I(i) for i in range(n)]",
    "a-boolean-among-numbers": "def solve(n): return [False, True, 2]",
}
# fmt: on

CALLS: list[Honest] = [
    *(
        honest(f"solution-with-{name}", text, (1, 2), (5, 6), (1, 2), owner="Solution")
        for name, text in _METHODS.items()
    ),
    *(honest(f"calls-and-{name}", text, (3, 9), (4, 16)) for name, text in _STATE.items()),
    *(
        honest(f"{name}-under-{comparison}", text, (3, [0, 1, 2]), comparison=comparison, from_json=True)
        for name, text in _LISTS.items()
        for comparison in ("json", "float", "any_order")
    ),
]
