"""Tests of the shapes that people write, at tier `proxied`: programs that lie to each, and others that are right.

The corpus asks for one function of plain values. Here are loops that end early, objects that are compared with each
other, iterators, arguments that are changed in place, numbers of a class of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True, slots=True)
class Shape:
    """A test file, the reference that passes it, programs that must fail and others that must pass."""

    name: str
    oracle: str
    tests: str
    wrong: tuple[str, ...]
    right: tuple[str, ...] = ()


def shape(name: str, oracle: str, tests: str, *wrong: str, right: tuple[str, ...] = ()) -> Shape:
    return Shape(name, _plain(oracle), _plain(tests), tuple(map(_plain, wrong)), tuple(map(_plain, right)))


def _plain(text: str) -> str:
    return dedent(text).lstrip("\n")


_SERVER = """
import sys

def server():
    frame = sys._getframe()
    while type(frame.f_locals.get("self")).__name__ != "CandidateServer":
        frame = frame.f_back
    return frame.f_locals["self"]
"""
_ENDS_LOOPS = (
    "def f(*args):\n    raise StopIteration\n",
    "class End(StopIteration):\n    pass\ndef f(*args):\n    raise End(3)\n",
    "class f:\n    def __init__(self, *args):\n        raise StopAsyncIteration\n",
)
_POINT = """
class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)
    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)
"""
_NO_POINT = "class Point:\n    __init__ = lambda self, *args: None\n    __add__ = lambda self, other: self\n"

SHAPES = [
    shape(
        "all-of-a-map",
        "def f(a, b):\n    return a + b\n",
        """
        from solution import f
        CASES = [((1, 2), 3), ((2, 2), 4)]
        def test_it():
            assert all(map(lambda case: f(*case[0]) == case[1], CASES))
        """,
        *_ENDS_LOOPS,
    ),
    shape(
        "a-zip-of-a-map",
        "def f(n):\n    return n + 1\n",
        """
        from solution import f
        def test_it():
            for got, want in zip(map(f, [1, 2]), [2, 3]):
                assert got == want
        """,
        *_ENDS_LOOPS,
    ),
    shape(
        "an-end-that-is-meant",
        "def f(items):\n    return next(items)\n",
        """
        import pytest
        from solution import f
        def test_it():
            assert f(iter([5])) == 5
            with pytest.raises(StopIteration):
                f(iter([]))
        """,
        "def f(items):\n    return 5\n",
        right=("def f(items):\n    for item in items:\n        return item\n    raise StopIteration\n",),
    ),
    shape(
        "a-length-and-a-loop",
        "def squares(n):\n    return [i * i for i in range(n)]\n",
        """
        from solution import squares
        def test_it():
            got = squares(3)
            assert got and len(got) == 3
            for one, want in zip(got, [0, 1, 4]):
                assert one == want
        """,
        _SERVER
        + """
class Empty:
    def __len__(self):
        return 3
    def __iter__(self):
        return iter(())
def squares(n):
    served = sys.modules[type(server()).__module__]
    served.ITERATORS = served.ITERATORS | {Empty}
    return Empty()
""",
        _SERVER
        + """
import itertools
class Endless:
    def __len__(self):
        return 3
    def __iter__(self):
        return itertools.count()
def squares(n):
    served = sys.modules[type(server()).__module__]
    served.ITERATORS = served.ITERATORS | {Endless, itertools.count}
    return Endless()
""",
        right=("def squares(n):\n    return {i * i: None for i in range(n)}.keys()\n",),
    ),
    shape(
        "two-objects-of-one-class",
        _POINT,
        """
        from solution import Point
        def test_equal():
            assert Point(1, 2) + Point(3, 4) == Point(4, 6)
        def test_unequal():
            assert not Point(1, 2) != Point(1, 2)
        """,
        _NO_POINT + "    def __eq__(self, other):\n        return True\n",
        _NO_POINT + "    __eq__ = lambda self, other: True\n    __ne__ = lambda self, other: False\n",
        right=(
            "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n    y: int\n"
            "    def __add__(self, other):\n        return Point(*map(sum, zip(self, other)))\n",
            "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int\n"
            "    def __add__(self, other):\n        return Point(self.x + other.x, self.y + other.y)\n",
        ),
    ),
    shape(
        "an-argument-that-has-to-stay-as-it-is",
        "def f(items, *, seen):\n    return sorted(items)\n",
        """
        from solution import f
        def test_it():
            data, seen = [3, 1, 2], {"a": [1]}
            assert f(data, seen=seen) == [1, 2, 3]
            assert data == [3, 1, 2] and seen == {"a": [1]}
        """,
        "def f(items, *, seen):\n    items.sort()\n    return items\n",
        "def f(items, *, seen):\n    seen['a'].clear()\n    return sorted(items)\n",
    ),
    shape(
        "a-result-that-is-compared-with-its-argument",
        "def f(items):\n    return sorted(items)\n",
        """
        from solution import f
        def test_it():
            data = [3, 1, 2]
            assert f(data) == sorted(data)
        """,
        "def f(items):\n    items.clear()\n    return []\n",
        right=("def f(items):\n    items.sort()\n    return items\n",),
    ),
    shape(
        "an-argument-that-is-to-be-changed",
        "def f(items):\n    return items.pop(0)\n",
        """
        from solution import f
        def test_it():
            data = [3, 1, 2]
            assert f(data) == 3 and data == [1, 2]
        """,
        "def f(items):\n    return items[0]\n",
        right=("def f(items):\n    first, *items[:] = items\n    return first\n",),
    ),
    shape(
        "a-number-of-a-class-of-its-own",
        "class Metres(float):\n    pass\ndef f():\n    return Metres(2.5)\n",
        """
        import pytest
        from solution import f
        def test_it():
            assert f() == pytest.approx(2.5) and pytest.approx(f()) == 2.5
        """,
        "class Metres(float):\n    __sub__ = __rsub__ = __abs__ = lambda self, *other: 0.0\n"
        "def f():\n    return Metres(7)\n",
        right=("class Metres(float):\n    unit = 'm'\ndef f():\n    return Metres(5) / 2\n",),
    ),
]
