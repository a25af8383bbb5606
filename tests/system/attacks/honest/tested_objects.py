"""Classes, iterators and functions of functions whose tests are files for pytest, at tier `proxied`."""

from __future__ import annotations

from tests.system.attacks.honest.program import Honest, tested_programs

# fmt: off
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
    "user-list": """
        from collections import UserList
        class Stack(UserList):
            def push(self, item): self.append(item)
    """,
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
    "an-iterable-class": """
        class count:
            def __init__(self, n): self.n = n
            def __iter__(self): return iter(range(self.n, 0, -1))
    """,
    "an-iterable-class-that-yields": """
        class Steps:
            def __init__(self, n): self.n = n
            def __iter__(self):
                for i in range(self.n): yield self.n - i
        def count(n): return Steps(n)
    """,
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

TESTED_OBJECTS: list[Honest] = [*_STACK, *_COUNT, *_POINT, *_MEMO, *_OPENED]
