"""Honest programs with tests as people write them: name -> (program, test file). Each program passes its tests."""

from __future__ import annotations

from textwrap import dedent

HONEST: dict[str, tuple[str, str]] = {}


def honest(name: str, program: str, tests: str) -> None:
    HONEST[name] = dedent(program).lstrip("\n"), dedent(tests).lstrip("\n")


honest(
    "a-class",
    """
    class Stack:
        def __init__(self, items=()):
            self.items = list(items)
        def push(self, item):
            self.items.append(item)
            return self
        def pop(self):
            if not self.items:
                raise IndexError("pop from an empty stack")
            return self.items.pop()
        def __len__(self):
            return len(self.items)
        def __contains__(self, item):
            return item in self.items
        def __iter__(self):
            return iter(self.items)
        def __getitem__(self, index):
            return self.items[index]
        def __repr__(self):
            return f"Stack({self.items!r})"
""",
    """
    import pytest
    from solution import Stack

    @pytest.fixture
    def stack():
        return Stack([1, 2])

    def test_push_and_pop(stack):
        stack.push(3).push(4)
        assert stack.pop() == 4
        assert len(stack) == 3 and stack[0] == 1 and stack[-1] == 3
        assert list(stack) == [1, 2, 3] and 2 in stack and 9 not in stack
        assert repr(stack) == "Stack([1, 2, 3])" and str(stack) == "Stack([1, 2, 3])"
        assert stack.items == [1, 2, 3] and bool(stack) and not Stack()
        assert isinstance(stack, Stack) and type(stack) is Stack and Stack.__name__ == "Stack"

    def test_empty():
        with pytest.raises(IndexError, match="empty stack"):
            Stack().pop()
""",
)
honest(
    "dataclasses-and-equality",
    """
    from dataclasses import dataclass, field

    @dataclass(frozen=True, order=True)
    class Point:
        x: int
        y: int = 0
        def __add__(self, other):
            return Point(self.x + other.x, self.y + other.y)
        def __mul__(self, factor):
            return Point(self.x * factor, self.y * factor)
        __rmul__ = __mul__
        def __neg__(self):
            return Point(-self.x, -self.y)
        def __abs__(self):
            return (self.x**2 + self.y**2) ** 0.5

    def corners():
        return [Point(0, 0), Point(1, 1)]
    def by_name():
        return {"origin": Point(0, 0)}
""",
    """
    import pytest
    import solution
    from solution import Point, corners

    def test_arithmetic():
        assert Point(1, 2) + Point(3, 4) == Point(4, 6)
        assert Point(1, 2) * 3 == 3 * Point(1, 2) == Point(3, 6)
        assert -Point(1, 2) == Point(-1, -2) and abs(Point(3, 4)) == pytest.approx(5.0)
        assert Point(1) != Point(2) and Point(1) < Point(2) and sorted([Point(2), Point(1)]) == [Point(1), Point(2)]
        assert Point(1) != (1, 0) and Point(1).x == 1

    def test_containers():
        assert corners() == [Point(0, 0), Point(1, 1)]
        assert len({Point(1, 2), Point(1, 2)}) == 1 and {Point(1): "a"}[Point(1)] == "a"
        assert solution.by_name()["origin"] == Point(0)
        with pytest.raises(AttributeError):
            Point(1).x = 5
        with pytest.raises(TypeError):
            Point()
""",
)
honest(
    "exceptions",
    """
    class Overdrawn(Exception):
        def __init__(self, amount):
            super().__init__(f"{amount} missing")
            self.amount = amount
    class Closed(Overdrawn, ValueError):
        pass
    class Account:
        def __init__(self):
            self.balance = 0
        def withdraw(self, amount):
            if amount > self.balance:
                raise Overdrawn(amount - self.balance)
        def close(self):
            raise Closed(0)
    def missing():
        return {}["key"]
    def custom_message():
        raise KeyError("a", 2)
    def deep(n):
        return deep(n + 1)
    def nested():
        try:
            missing()
        except KeyError as error:
            raise RuntimeError("outer") from error
    def os_error():
        open("/no/such/file")
    def decode():
        return b"\\xff".decode()
""",
    """
    import pytest
    import solution
    from solution import Account, Closed, Overdrawn

    def test_own_exceptions():
        with pytest.raises(Overdrawn) as caught:
            Account().withdraw(5)
        assert caught.value.amount == 5 and str(caught.value) == "5 missing" and caught.value.args == ("5 missing",)
        with pytest.raises(ValueError):
            Account().close()
        with pytest.raises(Overdrawn, match="0 missing"):
            Account().close()
        assert issubclass(Closed, Overdrawn) and not issubclass(Overdrawn, ValueError)
        try:
            Account().withdraw(1)
        except Overdrawn as error:
            assert isinstance(error, Exception) and error.amount == 1

    def test_built_in_exceptions():
        with pytest.raises(KeyError) as caught:
            solution.missing()
        assert caught.value.args == ("key",)
        with pytest.raises(KeyError) as caught:
            solution.custom_message()
        assert caught.value.args == ("a", 2)
        with pytest.raises(LookupError):
            solution.missing()
        with pytest.raises(RecursionError):
            solution.deep(0)
        with pytest.raises(RuntimeError, match="outer"):
            solution.nested()
        with pytest.raises(FileNotFoundError):
            solution.os_error()
        with pytest.raises(UnicodeDecodeError):
            solution.decode()
        with pytest.raises(AttributeError):
            solution.there_is_no_such_thing
        with pytest.raises(TypeError):
            solution.missing(1, 2, 3)
""",
)
honest(
    "generators-and-iterators",
    """
    import itertools
    def count(n):
        for i in range(n):
            yield i
    def forever():
        return itertools.count()
    class Countdown:
        def __init__(self, start):
            self.now = start
        def __iter__(self):
            return self
        def __next__(self):
            if self.now <= 0:
                raise StopIteration
            self.now -= 1
            return self.now
    def pairs():
        return zip("ab", [1, 2])
    def echo():
        received = []
        while True:
            received.append((yield received))
""",
    """
    import itertools
    import pytest
    import solution
    from solution import Countdown, count

    def test_generators():
        assert list(count(3)) == [0, 1, 2] and sum(count(4)) == 6 and max(count(3)) == 2
        numbers = count(2)
        assert iter(numbers) is not None and next(numbers) == 0 and next(numbers) == 1
        with pytest.raises(StopIteration):
            next(numbers)
        assert next(numbers, "end") == "end"
        assert list(itertools.islice(solution.forever(), 3)) == [0, 1, 2]
        assert list(solution.pairs()) == [("a", 1), ("b", 2)] and [*map(str, count(2))] == ["0", "1"]
        assert list(Countdown(3)) == [2, 1, 0] and tuple(Countdown(1)) == (0,)

    def test_send():
        talk = solution.echo()
        next(talk)
        assert talk.send(1) == [1] and talk.send(2) == [1, 2]
        talk.close()
""",
)
honest(
    "functions-of-functions",
    """
    import functools
    def apply(function, *args, **kwargs):
        return function(*args, **kwargs)
    def compose(*functions):
        return lambda x: functools.reduce(lambda value, f: f(value), functions, x)
    def make_counter():
        count = 0
        def step():
            nonlocal count
            count += 1
            return count
        return step
    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return [function(*args), function(*args)]
        return wrapper
    def group_by(items, key):
        found = {}
        for item in items:
            found.setdefault(key(item), []).append(item)
        return found
    def total(numbers):
        return sum(numbers)
    def safely(function):
        try:
            return function()
        except ValueError as error:
            return f"caught {error}"
    def convert(value, kind):
        return kind(value)
""",
    """
    import pytest
    from solution import apply, compose, convert, group_by, make_counter, safely, total, twice

    def test_callbacks():
        seen = []
        assert apply(lambda a, b=1: a + b, 2, b=5) == 7
        assert apply(seen.append, 3) is None and seen == [3]
        assert compose(lambda x: x + 1, str, len)(99) == 3
        assert group_by(["a", "bb", "cc"], len) == {1: ["a"], 2: ["bb", "cc"]}
        assert total(n * n for n in range(4)) == 14 and total(iter([1, 2])) == 3
        assert convert("12", int) == 12 and convert([1, 1], set) == {1}

    def test_a_callback_that_raises():
        def fail():
            raise ValueError("no")
        assert safely(fail) == "caught no"
        with pytest.raises(ZeroDivisionError):
            apply(lambda: 1 / 0)

    def test_closures_and_decorators():
        step = make_counter()
        assert (step(), step(), make_counter()()) == (1, 2, 1)

        @twice
        def shout(text):
            return text.upper()
        assert shout("a") == ["A", "A"] and apply(apply, lambda: 4) == 4
""",
)
honest(
    "context-managers",
    """
    import contextlib
    log = []
    class Resource:
        def __init__(self, name):
            self.name, self.open = name, False
        def __enter__(self):
            self.open = True
            return self
        def __exit__(self, kind, error, trace):
            self.open = False
            return kind is KeyError
    @contextlib.contextmanager
    def logged(name):
        log.append(f"enter {name}")
        try:
            yield len(log)
        except ValueError:
            log.append("failed")
            raise
        finally:
            log.append(f"leave {name}")
""",
    """
    import pytest
    import solution

    def test_resource():
        with solution.Resource("file") as resource:
            assert resource.open and resource.name == "file"
        assert not resource.open
        with solution.Resource("file"):
            raise KeyError("swallowed")
        with pytest.raises(IndexError), solution.Resource("file"):
            raise IndexError

    def test_logged():
        with solution.logged("a") as length:
            assert length == 1
        with pytest.raises(ValueError), solution.logged("b"):
            raise ValueError("x")
        assert solution.log == ["enter a", "leave a", "enter b", "failed", "leave b"]
""",
)
honest(
    "properties-and-class-attributes",
    """
    import abc, enum
    class Shape(abc.ABC):
        count = 0
        def __init__(self):
            Shape.count += 1
        @property
        @abc.abstractmethod
        def area(self): ...
        @classmethod
        def unit(cls):
            return cls(1)
        @staticmethod
        def double(n):
            return 2 * n
    class Square(Shape):
        '''A square.'''
        def __init__(self, side):
            super().__init__()
            self.side = side
        @property
        def area(self):
            return self.side ** 2
        @area.setter
        def area(self, value):
            if value < 0:
                raise ValueError("negative")
            self.side = value ** 0.5
    class Color(enum.Enum):
        RED = 1
        BLUE = "b"
    class Level(enum.IntEnum):
        LOW = 1
        HIGH = 2
    def mix(a, b):
        return Color.BLUE if a is b else Color.RED
    def level():
        return Level.HIGH
""",
    """
    import pytest
    import solution
    from solution import Color, Level, Shape, Square

    def test_properties():
        square = Square(3)
        assert square.area == 9
        square.area = 16
        assert square.side == 4.0
        square.side = 2
        assert square.area == 4 and hasattr(square, "side") and not hasattr(square, "color")
        with pytest.raises(ValueError, match="negative"):
            square.area = -1
        square.name = "mine"
        assert square.name == "mine" and getattr(square, "name") == "mine"
        del square.name
        assert getattr(square, "name", None) is None

    def test_classes():
        assert Square.unit().area == 1 and Square.double(4) == 8 and issubclass(Square, Shape)
        assert isinstance(Square(1), Shape) and Shape.count >= 2 and Square.__doc__ == "A square."
        with pytest.raises(TypeError):
            Shape()

    @pytest.mark.parametrize("color, name", [(Color.RED, "RED"), (Color("b"), "BLUE"), (Color["RED"], "RED")])
    def test_enums(color, name):
        assert color.name == name and color in Color
        assert [c.name for c in Color] == ["RED", "BLUE"] and len(Color) == 2
        assert solution.mix(color, color) is Color.BLUE and solution.mix(Color.RED, Color.BLUE) == Color.RED
        assert solution.level() == Level.HIGH == 2 and solution.level() > Level.LOW and Level.LOW + 1 == 2
""",
)
honest(
    "modified-arguments",
    """
    def sort_in_place(numbers):
        numbers.sort()
    def sorted_copy(numbers):
        numbers = list(numbers)
        numbers.sort()
        return numbers
    def fill(grid, value):
        for row in grid:
            for i in range(len(row)):
                row[i] = value
    def update(mapping, *, seen):
        mapping["new"] = 1
        seen.add(3)
""",
    """
    from solution import fill, sort_in_place, sorted_copy, update

    def test_in_place():
        numbers = [3, 1, 2]
        assert sort_in_place(numbers) is None and numbers == [1, 2, 3]
        row = [0, 0]
        grid = [row, [0]]
        fill(grid, 7)
        assert grid == [[7, 7], [7]] and grid[0] is row
        mapping, seen = {}, {1}
        update(mapping, seen=seen)
        assert mapping == {"new": 1} and seen == {1, 3}

    def test_copies():
        numbers = [3, 1, 2]
        assert sorted_copy(numbers) == sorted(numbers) == [1, 2, 3] and numbers == [3, 1, 2]
""",
)
honest(
    "values-of-the-standard-library",
    """
    import collections, datetime, decimal, fractions
    Pair = collections.namedtuple("Pair", "left right")
    def values():
        return [decimal.Decimal("1.10"), fractions.Fraction(1, 3), datetime.date(2024, 2, 29), range(3)]
    def moments():
        return datetime.datetime(2024, 1, 2, 3, 4, 5), datetime.timedelta(days=1, seconds=2), datetime.time(1, 2)
    def mappings():
        return collections.Counter("aab"), collections.OrderedDict(a=1), collections.defaultdict(list, b=[1])
    def queue():
        return collections.deque([1, 2], maxlen=3)
    def raw():
        return bytearray(b"ab"), b"\\x00", 2**100, 1 + 2j, "\\u2603", float("inf"), None, True
    def pair():
        return Pair(1, 2)
    def double(value):
        return value * 2
""",
    """
    import datetime, math
    from collections import deque
    from decimal import Decimal
    from fractions import Fraction
    import pytest
    from solution import double, mappings, moments, pair, queue, raw, values

    def test_values():
        assert values() == [Decimal("1.10"), Fraction(1, 3), datetime.date(2024, 2, 29), range(3)]
        moment, delta, clock = moments()
        assert moment + delta == datetime.datetime(2024, 1, 3, 3, 4, 7) and clock == datetime.time(1, 2)
        assert mappings() == ({"a": 2, "b": 1}, {"a": 1}, {"b": [1]})
        assert queue() == deque([1, 2]) and queue()[0] == 1
        assert raw() == (bytearray(b"ab"), b"\\x00", 2**100, 1 + 2j, "\\u2603", math.inf, None, True)

    def test_named_tuples():
        assert pair() == (1, 2) and pair().left == 1 and pair()[1] == 2 and len(pair()) == 2
        left, right = pair()
        assert isinstance(pair(), tuple) and pair()._asdict() == {"left": 1, "right": 2}

    @pytest.mark.parametrize("value", [Decimal("2.5"), Fraction(1, 2), datetime.timedelta(1), [1], "a"], ids=str)
    def test_both_ways(value):
        assert double(value) == value * 2
""",
)
honest(
    "unittest-cases",
    """
    def divide(a, b):
        return a / b
    class Box:
        def __init__(self, content):
            self.content = content
""",
    """
    import unittest
    from solution import Box, divide

    class TestDivide(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.made = 0
        def setUp(self):
            self.box = Box([1])
            type(self).made += 1
        def test_values(self):
            self.assertEqual(divide(6, 3), 2)
            self.assertAlmostEqual(divide(1, 3), 0.3333333, places=5)
            self.assertEqual(self.box.content, [1])
            for n in (1, 2):
                with self.subTest(n=n):
                    self.assertEqual(divide(n, n), 1)
        def test_raises(self):
            with self.assertRaises(ZeroDivisionError):
                divide(1, 0)
            self.assertRaises(TypeError, divide, "a", 1)
            self.assertIsInstance(self.box, Box)
            self.assertGreaterEqual(self.made, 1)
""",
)
honest(
    "asserts-alone",
    """
    def add(a, b):
        return a + b
""",
    """
    from solution import *
    assert add(1, 2) == 3
    assert add("a", "b") == "ab", "strings"
    for n in range(3):
        assert add(n, n) == 2 * n
""",
)
honest(
    "pytests-ways",
    """
    import random
    state = {"calls": 0}
    def touch():
        state["calls"] += 1
        return state["calls"]
    def root(x):
        if x < 0:
            raise ValueError(f"negative: {x}")
        return x ** 0.5
    def save(path, text):
        with open(path, "w") as file:
            file.write(text)
    def shuffled(items):
        items = list(items)
        random.shuffle(items)
        return items
    async def later(value):
        return value + 1
    async def numbers(n):
        for i in range(n):
            yield i
""",
    """
    import asyncio
    import math
    import random
    import pytest
    import solution

    pytestmark = pytest.mark.filterwarnings("ignore")
    order = []

    def setup_module(module):
        order.append("module")

    def setup_function(function):
        order.append(function.__name__)

    @pytest.fixture(scope="module", params=[4, 9], ids=["four", "nine"])
    def number(request):
        yield request.param
        order.append("closed")

    @pytest.fixture(autouse=True)
    def always(tmp_path):
        return tmp_path

    @pytest.fixture
    def pair(number):
        return number, int(math.sqrt(number))

    def test_order():
        assert order == ["module", "test_order"]

    def test_roots(pair):
        assert solution.root(pair[0]) == pair[1]

    @pytest.mark.parametrize("x", [0, pytest.param(1, id="one")])
    @pytest.mark.parametrize("y", [2.0])
    def test_grid(x, y):
        assert solution.root(x * y) == pytest.approx(math.sqrt(x * y), rel=1e-9)

    class TestState:
        @pytest.fixture
        def calls(self):
            return solution.touch()
        def setup_method(self):
            self.ready = True
        def test_counts(self, calls):
            assert self.ready and calls == 1
        def test_goes_on(self, calls):
            assert calls == 2 and solution.state == {"calls": 2}
        @staticmethod
        def test_static():
            assert solution.root(1) == 1

    def test_messages():
        with pytest.raises(ValueError, match=r"negative: -\\d"):
            solution.root(-1)
        assert pytest.raises(TypeError, solution.root, "a").typename == "TypeError"
        assert solution.root(2) == pytest.approx(1.41421, abs=1e-4)
        assert [solution.root(4), {"a": solution.root(9)}["a"]] == pytest.approx([2, 3])

    def test_random_inputs():
        for _ in range(20):
            items = [random.randrange(10) for _ in range(5)]
            assert sorted(solution.shuffled(items)) == sorted(items)

    def test_coroutines():
        assert asyncio.run(solution.later(1)) == 2

    @pytest.mark.asyncio
    async def test_async():
        assert await solution.later(2) == 3
        assert [n async for n in solution.numbers(3)] == [0, 1, 2]

    def test_monkeypatch(monkeypatch):
        monkeypatch.setattr(solution, "state", {"calls": 10})
        assert solution.touch() == 11
""",
)
honest(
    "linked-objects",
    """
    class Node:
        def __init__(self, value, next=None):
            self.value, self.next = value, next
    def build(values):
        head = None
        for value in reversed(values):
            head = Node(value, head)
        return head
    def reverse(head):
        done = None
        while head:
            head.next, done, head = done, head, head.next
        return done
    class Tree:
        def __init__(self):
            self.children = {}
        def child(self, name):
            return self.children.setdefault(name, Tree())
""",
    """
    import pytest
    from solution import Node, Tree, build, reverse

    def values(head):
        found = []
        while head is not None:
            found.append(head.value)
            head = head.next
        return found

    @pytest.mark.parametrize("items", [[], [1], [1, 2, 3, 4]])
    def test_lists(items):
        assert values(build(items)) == items
        assert values(reverse(build(items))) == items[::-1]

    def test_identity():
        second = Node(2)
        first = Node(1, second)
        assert first.next is second and first.next.next is None
        first.next = Node(3, second)
        assert values(first) == [1, 3, 2]

    def test_trees():
        tree = Tree()
        assert tree.child("a") is tree.child("a") and tree.child("a") is not tree.child("b")
        assert set(tree.children) == {"a", "b"} and tree.children["a"] is tree.child("a")
        assert tree.child("a").child("c").children == {}
""",
)
honest(
    "large-and-odd",
    """
    import sys, threading, time
    sys.setrecursionlimit(5000)
    print("loading")
    def table(n):
        return {i: str(i) * 3 for i in range(n)}
    def depth(n):
        return 0 if n == 0 else 1 + depth(n - 1)
    def nested(n):
        return [] if n == 0 else [nested(n - 1)]
    def parallel(n):
        found = []
        threads = [threading.Thread(target=lambda i=i: found.append(i * i)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)
    def chatty(x):
        print("computing", x, file=sys.stderr)
        print(x)
        return x
    def text():
        return "\\ud800 \\x00 \\u00e9 \\U0001f600"
""",
    """
    import solution

    def test_large():
        assert solution.table(20000)[19999] == "19999" * 3
        assert solution.depth(3000) == 3000
        value = solution.nested(50)
        for _ in range(50):
            (value,) = value
        assert value == []
        assert solution.parallel(8) == [n * n for n in range(8)]
        assert [solution.chatty(n) for n in range(50)] == list(range(50))
        assert solution.text() == "\\ud800 \\x00 \\u00e9 \\U0001f600"
""",
)


VARIANTS: dict[str, tuple[str, str, str]] = {}
"""Name -> (reference, another honest program, tests that both pass)."""


def variant(name: str, oracle: str, other: str, tests: str) -> None:
    VARIANTS[name] = dedent(oracle).lstrip("\n"), dedent(other).lstrip("\n"), dedent(tests).lstrip("\n")


variant(
    "methods-that-return-themselves",
    """
    class Stack:
        def __init__(self):
            self.items = []
        def push(self, item):
            self.items.append(item)
        def pop(self):
            return self.items.pop()
""",
    """
    class Stack:
        def __init__(self):
            self._items = ()
        def push(self, item):
            self._items += (item,)
            return self
        def pop(self):
            *rest, last = self._items
            self._items = tuple(rest)
            return last
""",
    """
    from solution import Stack
    def test_stack():
        stack = Stack()
        stack.push(1)
        stack.push(2)
        assert stack.pop() == 2 and stack.pop() == 1
""",
)
variant(
    "generators-for-lists",
    """
    def squares(n):
        return [i * i for i in range(n)]
""",
    """
    def squares(n):
        return (i * i for i in range(n))
""",
    """
    from solution import squares
    def test_squares():
        assert list(squares(3)) == [0, 1, 4] and sum(squares(4)) == 14 and sorted(squares(2)) == [0, 1]
        assert [(a, b) for a, b in zip(squares(2), "xy")] == [(0, "x"), (1, "y")] and set(squares(2)) == {0, 1}
""",
)
variant(
    "anything-that-can-be-called",
    """
    def double(n):
        return 2 * n
    def triple(n):
        return 3 * n
    def quadruple(n):
        return 4 * n
""",
    """
    import functools, operator
    class Times:
        def __init__(self, factor):
            self.factor = factor
        def __call__(self, n):
            return self.factor * n
    double = Times(2)
    triple = functools.partial(operator.mul, 3)
    quadruple = functools.lru_cache(lambda n: 4 * n)
""",
    """
    from solution import double, quadruple, triple
    def test_calls():
        assert (double(1), triple(1), quadruple(1)) == (2, 3, 4) and list(map(double, [1, 2])) == [2, 4]
""",
)
variant(
    "subclasses-from-factories",
    """
    class Shape:
        def __init__(self, side):
            self.side = side
        def area(self):
            return self.side**2
    def make(kind, side):
        return Shape(side)
""",
    """
    class Shape:
        def __init__(self, side):
            self._side = side
        @property
        def side(self):
            return self._side
    class _Square(Shape):
        __slots__ = ()
        def area(self):
            return self.side * self.side
    def make(kind, side):
        return {"square": _Square}[kind](side)
""",
    """
    import solution
    from solution import Shape, make
    def test_shapes():
        assert make("square", 3).area() == 9 and make("square", 2).side == 2
        assert isinstance(make("square", 1), Shape)
""",
)
variant(
    "opaque-tokens",
    """
    def encode(text):
        return text[::-1]
    def decode(token):
        return token[::-1]
""",
    """
    class Token:
        def __init__(self, text):
            self.text = text
    def encode(text):
        return Token(text)
    def decode(token):
        return token.text
""",
    """
    import pytest
    from solution import decode, encode
    @pytest.mark.parametrize("text", ["", "a", "abc"])
    def test_round_trip(text):
        assert decode(encode(text)) == text
""",
)
variant(
    "more-special-exceptions",
    """
    def check(n):
        if n < 0:
            raise ValueError("negative")
""",
    """
    class Negative(ValueError):
        def __init__(self, n):
            self.n = n
        def __str__(self):
            return f"{self.n} is negative"
    def check(n):
        if n < 0:
            raise Negative(n)
        return object()
""",
    """
    import pytest
    from solution import check
    def test_check():
        check(1)
        with pytest.raises(ValueError, match="negative") as caught:
            check(-1)
        assert "negative" in str(caught.value)
""",
)
