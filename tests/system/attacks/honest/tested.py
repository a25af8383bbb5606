"""Programs whose tests are code, at tier `proxied`: asserts as of HumanEval, and files for pytest."""

from __future__ import annotations

from tests.system.attacks.honest.program import Honest, tested_programs

# fmt: off
_UNIQUE = tested_programs("unique", "def solve(xs):\n    return sorted(set(xs))\n", """
    def check(candidate):
        assert candidate([3, 1, 3]) == [1, 3]
        assert candidate([]) == []
        assert candidate(list("ba")) == ["a", "b"]
        assert len(candidate(range(100))) == 100
""", {
    "a-loop": "def solve(xs):\n    out = []\n    for x in xs:\n        if x not in out: out.append(x)\n    return sorted(out)",
    "a-dict": "def solve(xs): return sorted(dict.fromkeys(xs))",
    "a-counter": "from collections import Counter\ndef solve(xs): return sorted(Counter(xs))",
    "groupby": "from itertools import groupby\ndef solve(xs): return [k for k, _ in groupby(sorted(xs))]",
    "a-lambda": "solve = lambda xs: sorted({*xs})",
    "a-callable-object": "class S:\n    def __call__(self, xs): return sorted(set(xs))\nsolve = S()",
    "bisect": """
        import bisect
        def solve(xs):
            out = []
            for x in xs:
                at = bisect.bisect_left(out, x)
                if out[at:at + 1] != [x]:
                    out.insert(at, x)
            return out
    """,
    "recursion": """
        def solve(xs):
            xs = list(xs)
            if not xs: return []
            head = xs[0]
            return solve([x for x in xs if x < head]) + [head] + solve([x for x in xs if x > head])
    """,
    "a-list-class": "class L(list): pass\ndef solve(xs): return L(sorted(set(xs)))",
    "prints-beside": "print('loaded')\ndef solve(xs):\n    print('solving', xs)\n    return sorted(set(xs))",
})
_MEAN = tested_programs("mean", "def solve(xs):\n    return sum(xs) / len(xs)\n", """
    import math
    def check(candidate):
        assert abs(candidate([1, 2]) - 1.5) < 1e-9
        assert math.isclose(candidate([0.1] * 3), 0.1)
        try:
            candidate([])
        except ZeroDivisionError:
            pass
        else:
            assert False
""", {
    "fsum": "import math\ndef solve(xs): return math.fsum(xs) / len(xs)",
    "fractions": "from fractions import Fraction\ndef solve(xs): return float(sum(map(Fraction, xs)) / len(xs))",
    "a-loop": "def solve(xs):\n    t = n = 0\n    for x in xs: t, n = t + x, n + 1\n    return t / n",
    "reduce": "from functools import reduce\ndef solve(xs): return reduce(lambda a, b: a + b, xs, 0) / len(xs)",
    "a-float-class": "class F(float): unit = 'm'\ndef solve(xs): return F(sum(xs) / len(xs))",
    "an-error-of-its-own": """
        class Empty(ZeroDivisionError): pass
        def solve(xs):
            if not xs: raise Empty("no numbers")
            return sum(xs) / len(xs)
    """,
    "statistics": """
        import statistics
        def solve(xs):
            try:
                return statistics.fmean(xs)
            except statistics.StatisticsError as error:
                raise ZeroDivisionError from error
    """,
})
_NESTED = tested_programs("nested", "def solve(f, n):\n    return f(f(n))\n", """
    def check(candidate):
        assert candidate(lambda x: x + 1, 3) == 5
        assert candidate(str.upper, "a") == "A"
        seen = []
        candidate(lambda x: seen.append(x) or x, 7)
        assert seen == [7, 7]
""", {
    "a-loop": "def solve(f, n):\n    for _ in range(2): n = f(n)\n    return n",
    "reduce": "import functools\ndef solve(f, n): return functools.reduce(lambda a, g: g(a), [f, f], n)",
    "map": "def solve(f, n): return next(map(f, map(f, [n])))",
    "a-closure": "def twice(f): return lambda n: f(f(n))\ndef solve(f, n): return twice(f)(n)",
    "a-pool": """
        from concurrent.futures import ThreadPoolExecutor
        def solve(f, n):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(f, pool.submit(f, n).result()).result()
    """,
    "a-thread": """
        import threading
        def solve(f, n):
            out = []
            t = threading.Thread(target=lambda: out.append(f(f(n))))
            t.start(); t.join()
            return out[0]
    """,
})
_STACK = tested_programs("stack", """
    class Stack:
        def __init__(self, items=()): self._items = list(items)
        def push(self, item): self._items.append(item)
        def pop(self): return self._items.pop()
        def __len__(self): return len(self._items)
        def __iter__(self): return iter(self._items)
""", """
    import pytest
    from solution import Stack
    def test_it():
        s = Stack([1])
        s.push("b")
        assert len(s) == 2 and list(s) == [1, "b"]
        assert s.pop() == "b" and s.pop() == 1 and not s
        with pytest.raises(IndexError):
            s.pop()
""", {
    "a-list": "class Stack(list):\n    push = list.append",
    "a-deque": """
        from collections import deque
        class Stack:
            def __init__(self, items=()): self.d = deque(items)
            def push(self, item): self.d.append(item)
            def pop(self): return self.d.pop()
            def __len__(self): return len(self.d)
            def __iter__(self): return iter(self.d)
    """,
    "user-list": "from collections import UserList\nclass Stack(UserList):\n    def push(self, item): self.append(item)",
    "a-sequence": """
        from collections.abc import Sequence
        class Stack(Sequence):
            __slots__ = ("held",)
            def __init__(self, items=()): self.held = tuple(items)
            def push(self, item): self.held += (item,)
            def pop(self):
                *rest, last = self.held or self[0:1][0]
                self.held = tuple(rest)
                return last
            def __getitem__(self, at): return self.held[at]
            def __len__(self): return len(self.held)
    """,
    "linked-nodes": """
        class Stack:
            def __init__(self, items=()):
                self.top, self.n = None, 0
                for item in items: self.push(item)
            def push(self, item): self.top, self.n = (item, self.top), self.n + 1
            def pop(self):
                if self.top is None: raise IndexError("empty")
                item, self.top = self.top
                self.n -= 1
                return item
            def __len__(self): return self.n
            def __iter__(self):
                node, out = self.top, []
                while node: out.append(node[0]); node = node[1]
                return reversed(out)
    """,
    "a-dataclass": """
        from dataclasses import dataclass, field
        @dataclass
        class Stack:
            items: list = field(default_factory=list)
            def __post_init__(self): self.items = [*self.items]
            def push(self, item): self.items.append(item)
            def pop(self):
                try: return self.items.pop()
                except IndexError as error: raise IndexError("empty stack") from error
            def __bool__(self): return bool(self.items)
            def __len__(self): return len(self.items)
            def __iter__(self): yield from self.items
    """,
    "attributes-passed-on": """
        class Stack:
            def __init__(self, items=()): self.items = list(items)
            def __getattr__(self, name):
                if name == "items": raise AttributeError(name)
                return getattr(self.items, {"push": "append"}.get(name, name))
            def __len__(self): return len(self.items)
            def __iter__(self): return self.items.__iter__()
    """,
    "an-error-of-its-own": """
        class Empty(IndexError, ValueError):
            def __init__(self): super().__init__("nothing to pop")
        class Stack(list):
            def push(self, item): self += [item]
            def pop(self):
                if not self: raise Empty
                return super().pop()
    """,
})
_EACH = tested_programs("each", "def each(f, xs):\n    return [f(x) for x in xs]\n", """
    import threading
    import pytest
    from solution import each
    def test_values():
        assert each(lambda x: x * 2, range(6)) == [0, 2, 4, 6, 8, 10]
    def test_calls():
        seen, lock = [], threading.Lock()
        def f(x):
            with lock:
                seen.append(x)
            return x
        assert each(f, [1, 2, 3]) == [1, 2, 3] and sorted(seen) == [1, 2, 3]
    def test_errors():
        def fail(x):
            raise KeyError(x)
        with pytest.raises(KeyError):
            each(fail, [1])
""", {
    "map": "def each(f, xs): return list(map(f, xs))",
    "a-pool-of-threads": """
        from concurrent.futures import ThreadPoolExecutor
        def each(f, xs):
            with ThreadPoolExecutor(4) as pool:
                return list(pool.map(f, xs))
    """,
    "futures": """
        import concurrent.futures as cf
        def each(f, xs):
            with cf.ThreadPoolExecutor() as pool:
                waiting = {pool.submit(f, x): i for i, x in enumerate(xs)}
                done = {waiting[one]: one.result() for one in cf.as_completed(waiting)}
            return [done[i] for i in sorted(done)]
    """,
    "threads": """
        import threading
        def each(f, xs):
            xs, errors = list(xs), []
            out = [None] * len(xs)
            def work(i):
                try: out[i] = f(xs[i])
                except Exception as error: errors.append(error)
            ts = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
            for t in ts: t.start()
            for t in ts: t.join()
            if errors: raise errors[0]
            return out
    """,
    "a-pool-of-multiprocessing": """
        from multiprocessing.pool import ThreadPool
        def each(f, xs):
            with ThreadPool(3) as pool:
                return pool.map(f, xs)
    """,
    "to-thread": """
        import asyncio
        def each(f, xs):
            async def main():
                return await asyncio.gather(*(asyncio.to_thread(f, x) for x in xs))
            return asyncio.run(main())
    """,
    "a-generator": "def walk(f, xs):\n    for x in xs: yield f(x)\ndef each(f, xs): return [*walk(f, xs)]",
    "recursion": "def each(f, xs):\n    xs = list(xs)\n    return [f(xs[0]), *each(f, xs[1:])] if xs else []",
})
_LATER = tested_programs("later", "async def later(n):\n    return n * 2\n", """
    import asyncio
    import pytest
    from solution import later
    def test_one():
        assert asyncio.run(later(4)) == 8
    def test_many():
        async def main():
            return await asyncio.gather(*(later(i) for i in range(4)))
        assert asyncio.run(main()) == [0, 2, 4, 6]
    def test_error():
        with pytest.raises(TypeError):
            asyncio.run(later(None))
""", {
    "sleeps": "import asyncio\nasync def later(n):\n    await asyncio.sleep(0.001)\n    return n * 2",
    "a-task": """
        import asyncio
        async def double(n): return n * 2
        async def later(n): return await asyncio.create_task(double(n))
    """,
    "an-executor": """
        import asyncio
        async def later(n):
            return await asyncio.get_running_loop().run_in_executor(None, lambda: n * 2)
    """,
    "a-future": """
        import asyncio
        async def later(n):
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_soon(future.set_result, n * 2)
            return await future
    """,
    "a-queue-and-a-lock": """
        import asyncio
        async def later(n):
            queue = asyncio.Queue()
            async with asyncio.Lock():
                await queue.put(n * 2)
            return await queue.get()
    """,
    "wait-for": "import asyncio\nasync def d(n): return n * 2\nasync def later(n): return await asyncio.wait_for(d(n), 20)",
    "a-plain-function-that-returns-a-coroutine": "async def d(n): return n * 2\ndef later(n): return d(n)",
})
_PARSE = tested_programs("parse", """
    def parse(text):
        name, _, number = text.partition("=")
        if not name:
            raise KeyError("no name")
        return name, int(number)
""", """
    import pytest
    from solution import parse
    def test_value():
        assert parse("a=5") == ("a", 5)
    @pytest.mark.parametrize("text", ["a=x", "a="])
    def test_bad_number(text):
        with pytest.raises(ValueError) as caught:
            parse(text)
        assert isinstance(caught.value, ValueError) and not isinstance(caught.value, KeyError)
    def test_no_name():
        with pytest.raises(LookupError):
            parse("=5")
""", {
    "an-own-subclass": """
        class BadNumber(ValueError):
            def __init__(self, text, *, at): super().__init__(text); self.at = at
        class NoName(KeyError): pass
        def parse(text):
            at = text.index("=")
            if not at: raise NoName
            try: return text[:at], int(text[at + 1:])
            except ValueError: raise BadNumber(text, at=at) from None
    """,
    "regular-expressions": """
        import re
        def parse(text):
            found = re.fullmatch(r"(\\w*)=(\\d+)", text)
            if not found: raise ValueError(f"bad text {text!r}")
            if not found[1]: raise IndexError("no name")
            return found[1], int(found[2])
    """,
    "json-errors": """
        import json
        def parse(text):
            name, number = text.split("=")
            if not name: raise LookupError(name)
            return name, json.loads(number)
    """,
    "a-chain-of-errors": """
        def parse(text):
            try:
                name, number = text.split("=")
                {"": {}[""]} if not name else None
                return name, int(number)
            except KeyError as error:
                error.add_note("no name")
                raise
            except Exception as error:
                raise UnicodeError("bad") from error
    """,
    "two-bases": """
        class NoName(KeyError, ValueError): pass
        class BadNumber(ValueError, ArithmeticError): pass
        def parse(text):
            name, number = text.split("=")
            if not name: raise NoName("name")
            if not number.isdecimal(): raise BadNumber(number)
            return (name, int(number))
    """,
    "a-named-tuple": """
        from typing import NamedTuple
        class Pair(NamedTuple):
            name: str
            number: int
        def parse(text):
            name, number = text.split("=")
            return Pair(name or {}[name], int(number))
    """,
    "finally-and-else": """
        def parse(text):
            try:
                name, number = text.split("=")
                value = int(number)
            except ValueError:
                raise
            else:
                if name: return name, value
                raise KeyError
            finally:
                text = None
    """,
})
_EXTEND = tested_programs("extend", "def extend(into, *more):\n    into.extend(more)\n    return into\n", """
    from solution import extend
    def test_it():
        data = [1]
        got = extend(data, 2, 3)
        assert got == [1, 2, 3] and data == [1, 2, 3]
        assert got is data
        got.append(4)
        assert data[-1] == 4
    def test_rows():
        row = []
        table = [row, row]
        extend(table[0], 5)
        assert table == [[5], [5]] and row == [5]
""", {
    "augmented": "def extend(into, *more):\n    into += more\n    return into",
    "appending": "def extend(into, *more):\n    for x in more: into.append(x)\n    return into",
    "a-slice": "def extend(into, *more):\n    into[len(into):] = more\n    return into",
    "all-of-it-replaced": "def extend(into, *more):\n    into[:] = [*into, *more]\n    return into",
    "inserts": "def extend(into, *more):\n    for x in more: into.insert(len(into), x)\n    return into",
    "list-extend": "def extend(into, *more):\n    list.extend(into, iter(more))\n    return into",
    "kept-elsewhere": "seen = []\ndef extend(into, *more):\n    seen.append(into)\n    seen[-1].extend(more)\n    return seen[-1]",
})
_GREET = tested_programs("greet", "def greet(*names):\n    for name in names:\n        print('Hello,', name)\n", """
    from solution import greet
    def test_it(capsys):
        assert greet("Ann", "Bob") is None
        assert capsys.readouterr().out == "Hello, Ann\\nHello, Bob\\n"
        greet()
        assert capsys.readouterr().out == ""
""", {
    "write": "import sys\ndef greet(*names):\n    for name in names: sys.stdout.write(f'Hello, {name}\\n')",
    "one-print": "def greet(*names):\n    print(*('Hello, ' + n for n in names), sep='\\n', end='\\n' if names else '')",
    "writelines": "import sys\ndef greet(*names): sys.stdout.writelines(f'Hello, {n}\\n' for n in names)",
    "a-buffer": """
        import io
        def greet(*names):
            out = io.StringIO()
            for name in names: print("Hello,", name, file=out)
            print(out.getvalue(), end="", flush=True)
    """,
    "redirected": """
        import contextlib, io
        def greet(*names):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                for name in names: print("Hello,", name)
            print(out.getvalue(), end="")
    """,
    "a-template": "import string\nT = string.Template('Hello, $n')\ndef greet(*ns):\n    for n in ns: print(T.substitute(n=n))",
    "a-partial": "import functools\nhello = functools.partial(print, 'Hello,')\ndef greet(*names):\n    for n in names: hello(n)",
})
_COUNT = tested_programs("count", "def count(n):\n    while n:\n        yield n\n        n -= 1\n", """
    import pytest
    from solution import count
    def test_it():
        assert list(count(3)) == [3, 2, 1] and sum(count(4)) == 10
        ticks = iter(count(2))
        assert next(ticks) == 2 and next(ticks) == 1
        with pytest.raises(StopIteration):
            next(ticks)
        assert [a for a, _ in zip(count(9), "ab")] == [9, 8]
        assert not [*count(0)]
""", {
    "yield-from": "def count(n): yield from range(n, 0, -1)",
    "an-iterator-class": """
        class count:
            def __init__(self, n): self.n = n
            def __iter__(self): return self
            def __next__(self):
                if not self.n: raise StopIteration
                self.n -= 1
                return self.n + 1
    """,
    "a-generator-expression": "def count(n): return (i for i in reversed(range(1, n + 1)))",
    "itertools": "import itertools\ndef count(n): return itertools.islice(itertools.count(n, -1), n)",
    "iter-with-a-sentinel": "def count(n):\n    xs = list(range(n + 1))\n    return iter(xs.pop, 0)",
    "recursive": "def count(n):\n    if n:\n        yield n\n        yield from count(n - 1)",
    "map": "def count(n): return map(lambda i: n - i, range(n))",
})
_POINT = tested_programs("point", """
    from dataclasses import dataclass
    @dataclass(frozen=True, order=True)
    class Point:
        x: int
        y: int = 0
        def moved(self, dx, dy=0): return Point(self.x + dx, self.y + dy)
        @property
        def norm(self): return (self.x ** 2 + self.y ** 2) ** 0.5
""", """
    import pytest
    from solution import Point
    @pytest.fixture
    def p():
        return Point(3, y=4)
    def test_fields(p):
        assert (p.x, p.y, p.norm) == (3, 4, pytest.approx(5))
        q = p.moved(1)
        assert q.x == 4 and q.y == 4 and p.x == 3
    def test_order():
        assert Point(1) < Point(2) and sorted([Point(2), Point(1)])[0].x == 1
        assert Point(1, 2) == Point(1, 2) and Point(1) != Point(2)
        assert len({Point(1), Point(1)}) == 1
    def test_frozen(p):
        with pytest.raises(AttributeError):
            p.x = 5
""", {
    "a-named-tuple": """
        from typing import NamedTuple
        class Point(NamedTuple):
            x: int
            y: int = 0
            def moved(self, dx, dy=0): return self._replace(x=self.x + dx, y=self.y + dy)
            norm = property(lambda self: abs(complex(*self)))
    """,
    "a-dataclass-with-slots": """
        import math
        from dataclasses import dataclass, replace
        @dataclass(frozen=True, order=True, slots=True)
        class Point:
            x: int
            y: int = 0
            def moved(self, dx, dy=0): return replace(self, x=self.x + dx, y=self.y + dy)
            @property
            def norm(self): return math.hypot(self.x, self.y)
    """,
    "total-ordering": """
        import functools
        @functools.total_ordering
        class Point:
            __slots__ = ("_xy",)
            def __init__(self, x, y=0): self._xy = x, y
            x = property(lambda self: self._xy[0])
            y = property(lambda self: self._xy[1])
            norm = property(lambda self: sum(c * c for c in self._xy) ** 0.5)
            def __eq__(self, other): return self._xy == other._xy
            def __lt__(self, other): return self._xy < other._xy
            def __hash__(self): return hash(self._xy)
            def moved(self, dx, dy=0): return type(self)(self.x + dx, self.y + dy)
    """,
    "setattr-that-refuses": """
        class Point:
            def __init__(self, x, y=0): self.__dict__.update(x=x, y=y)
            def __setattr__(self, name, value): raise AttributeError(name)
            def _key(self): return self.x, self.y
            def __eq__(self, other): return isinstance(other, Point) and self._key() == other._key()
            def __hash__(self): return hash(self._key())
            def __lt__(self, other): return self._key() < other._key()
            def moved(self, dx, dy=0): return Point(self.x + dx, self.y + dy)
            @property
            def norm(self): return (self.x * self.x + self.y * self.y) ** 0.5
    """,
})
_MEMO = tested_programs("memo", """
    import functools
    def memo(f):
        return functools.lru_cache(maxsize=None)(f)
""", """
    import pytest
    from solution import memo
    def test_it():
        calls = []
        @memo
        def square(n):
            calls.append(n)
            return n * n
        assert [square(3), square(3), square(4)] == [9, 9, 16]
        assert calls == [3, 4]
    def test_errors_are_not_kept():
        calls = []
        def fail(n):
            calls.append(n)
            raise ValueError(n)
        kept = memo(fail)
        for _ in range(2):
            with pytest.raises(ValueError, match="7"):
                kept(7)
        assert calls == [7, 7]
""", {
    "cache": "from functools import cache as memo",
    "a-dict": """
        def memo(f):
            kept = {}
            def inner(*args):
                if args not in kept: kept[args] = f(*args)
                return kept[args]
            return inner
    """,
    "a-class": """
        class memo:
            def __init__(self, f): self.f, self.kept = f, {}
            def __call__(self, *args):
                try: return self.kept[args]
                except KeyError: return self.kept.setdefault(args, self.f(*args))
    """,
    "missing-keys": """
        def memo(f):
            class Kept(dict):
                def __missing__(self, n):
                    self[n] = f(n)
                    return self[n]
            return Kept().__getitem__
    """,
    "wraps-and-a-lock": """
        import functools, threading
        def memo(f):
            kept, lock = {}, threading.RLock()
            @functools.wraps(f)
            def inner(*args, **kwargs):
                key = args, frozenset(kwargs.items())
                with lock:
                    if key not in kept: kept[key] = f(*args, **kwargs)
                    return kept[key]
            return inner
    """,
    "a-mutable-default": """
        def memo(f):
            def inner(n, kept={}):
                return kept[n] if n in kept else kept.setdefault(n, f(n))
            return inner
    """,
})
_OPENED = tested_programs("opened", """
    from contextlib import contextmanager
    @contextmanager
    def opened(log):
        log.append("in")
        try:
            yield log
        finally:
            log.append("out")
""", """
    import unittest
    from solution import opened
    class Opened(unittest.TestCase):
        def setUp(self):
            self.log = []
        def test_order(self):
            with opened(self.log) as log:
                self.assertEqual(list(log), ["in"])
            self.assertEqual(self.log, ["in", "out"])
        def test_error(self):
            with self.assertRaises(ZeroDivisionError), opened(self.log):
                1 / 0
            self.assertEqual(self.log, ["in", "out"])
""", {
    "a-class": """
        class opened:
            def __init__(self, log): self.log = log
            def __enter__(self):
                self.log.append("in")
                return self.log
            def __exit__(self, *error): self.log.append("out")
    """,
    "an-exit-stack": """
        import contextlib
        @contextlib.contextmanager
        def opened(log):
            with contextlib.ExitStack() as stack:
                log.append("in")
                stack.callback(log.append, "out")
                yield log
    """,
    "an-abstract-context-manager": """
        from contextlib import AbstractContextManager
        class opened(AbstractContextManager):
            def __init__(self, log): self.log = log
            def __enter__(self):
                self.log += ["in"]
                return self.log
            def __exit__(self, kind, error, trace):
                self.log.insert(len(self.log), "out")
                return False
    """,
    "reraising": """
        from contextlib import contextmanager
        @contextmanager
        def opened(log):
            log.append("in")
            try:
                yield log
            except BaseException:
                log.append("out")
                raise
            else:
                log.append("out")
    """,
})
# fmt: on

TESTED: list[Honest] = [
    *_UNIQUE, *_MEAN, *_NESTED, *_STACK, *_EACH, *_LATER, *_PARSE, *_EXTEND, *_GREET, *_COUNT, *_POINT, *_MEMO, *_OPENED
]  # fmt: skip
