"""What crosses between tests and solution at tier `proxied`, kind by kind: right and wrong programs for each."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True, slots=True)
class Kind:
    """Tests, the reference, other programs that pass as they would in one process, and programs that fail."""

    tests: str
    oracle: str
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {}
IN_PROCESSES = frozenset(
    {
        "not-to-be-copied-or-derived",
        "callables-and-iterables-by-their-classes",
        "callbacks-from-threads",
        "tests-in-threads",
        "lists-in-threads",
    }
)
"""Those to be tried in two processes: `pickle` finds classes by the names of modules; threads meet real channels."""
REFUSED: dict[str, tuple[str, str, str]] = {}
"""Name -> (tests, reference, why the task cannot be judged at this tier)."""


def kind(name: str, tests: str, oracle: str, *, right: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> None:
    KINDS[name] = Kind(_plain(tests), _plain(oracle), tuple(map(_plain, right)), tuple(map(_plain, wrong)))


def refused(name: str, why: str, tests: str, oracle: str) -> None:
    REFUSED[name] = _plain(tests), _plain(oracle), why


def _plain(text: str) -> str:
    return dedent(text).lstrip("\n")


# What cannot be held is no exception

kind(
    "any-exception",
    """
    import pytest
    from solution import f
    def test_it():
        assert f(2) == 2
        with pytest.raises(Exception):
            f(-1)
    """,
    "def f(x):\n    if x < 0:\n        raise ValueError(x)\n    return x\n",
    right=("import decimal\ndef f(x):\n    return x if x >= 0 else decimal.Decimal('x')\n",),
    wrong=(
        "def f(x):\n    return x if x >= 0 else 'x' * (5 << 20)\n",
        "def f(x):\n    return x if x >= 0 else 1 << (2 << 20)\n",
        "def f(x):\n    return x if x >= 0 else list(range(300_000))\n",
        "def f(x):\n    return x if x >= 0 else {i * (2**61 - 1) for i in range(200)}\n",
        "def f(x):\n    value = ()\n    for _ in range(300):\n        value = (value,)\n"
        "    return x if x >= 0 else value\n",
        "class L(list):\n    __hash__ = lambda self: 1\ndef f(x):\n    return x if x >= 0 else {L()}\n",
        "def f(x):\n    value = []\n    value.append(value)\n    return x if x >= 0 else value\n",
        "class C:\n    __class__ = property(lambda self: 1 / 0)\ndef f(x):\n    return x if x >= 0 else C()\n",
        "def f(x):\n    return x if x >= 0 else (i for i in ())\n",
        "def f(x):\n    if x < 0:\n        raise SystemExit\n    return x\n",
        "def f(x):\n    if x < 0:\n        raise KeyboardInterrupt\n    return x\n",
        "def f(x):\n    if x < 0:\n        raise GeneratorExit\n    return x\n",
    ),
)
kind(
    "an-unholdable-value-for-a-callback",
    """
    from solution import f
    def test_it():
        seen = []
        f(seen.append)
        assert len(seen) == 1
    """,
    "def f(tell):\n    tell(1)\n",
    right=("def f(tell):\n    tell([1, [2]])\n",),
    wrong=(
        "def f(tell):\n    try:\n        tell('x' * (5 << 20))\n    except BaseException:\n        tell(1)\n",
        "def f(tell):\n    tell(1 << (2 << 20))\n",
    ),
)

# Exceptions

kind(
    "exceptions-by-their-classes",
    """
    import asyncio, decimal, json, subprocess
    import pytest
    from solution import f
    def test_value():
        with pytest.raises(ValueError):
            f("value")
    def test_json():
        with pytest.raises(json.JSONDecodeError) as caught:
            f("json")
        assert caught.value.pos == 1 and "line 1" in str(caught.value)
    def test_decimal():
        with pytest.raises(decimal.InvalidOperation):
            f("decimal")
    def test_timeout():
        with pytest.raises(asyncio.TimeoutError):
            f("timeout")
    def test_process():
        with pytest.raises(subprocess.CalledProcessError) as caught:
            f("process")
        assert caught.value.returncode == 3 and caught.value.cmd == "x"
    def test_os():
        with pytest.raises(FileNotFoundError) as caught:
            f("os")
        assert caught.value.errno == 2 and caught.value.filename == "/no/such"
    def test_cause():
        with pytest.raises(RuntimeError) as caught:
            f("cause")
        assert isinstance(caught.value.__cause__, KeyError) and caught.value.__cause__.args == ("k",)
    def test_stop():
        with pytest.raises(KeyError) as caught:
            f("key")
        assert caught.value.args == ("a", 2)
    """,
    """
    import asyncio, decimal, json, subprocess
    def f(what):
        if what == "value":
            raise ValueError("v")
        if what == "json":
            json.loads("[x")
        if what == "decimal":
            decimal.Decimal("x")
        if what == "timeout":
            raise asyncio.TimeoutError
        if what == "process":
            raise subprocess.CalledProcessError(3, "x")
        if what == "os":
            open("/no/such")
        if what == "cause":
            try:
                {}["k"]
            except KeyError as error:
                raise RuntimeError("r") from error
        raise KeyError("a", 2)
    """,
    right=(
        """
        import asyncio, decimal, json, subprocess
        class V(ValueError):
            def __init__(self):
                pass
        class P(subprocess.CalledProcessError):
            pass
        class D(decimal.InvalidOperation):
            def __str__(self):
                return "d"
        def f(what):
            if what == "value":
                raise V
            if what == "json":
                json.loads("[x")
            if what == "decimal":
                raise D
            if what == "timeout":
                async def long():
                    await asyncio.wait_for(asyncio.sleep(5), 0.001)
                asyncio.run(long())
            if what == "process":
                raise P(3, "x")
            if what == "os":
                raise FileNotFoundError(2, "no", "/no/such")
            if what == "cause":
                raise RuntimeError("r") from KeyError("k")
            raise type("K", (KeyError,), {})("a", 2)
        """,
    ),
    wrong=(
        "class ValueError(Exception):\n    pass\ndef f(what):\n    raise ValueError\n",
        "class JSONDecodeError(ValueError):\n    __module__ = 'json.decoder'\ndef f(what):\n"
        "    raise JSONDecodeError\n",
        "def f(what):\n    raise Exception('v')\n",
        "class V(BaseException):\n    pass\ndef f(what):\n    raise V\n",
    ),
)
kind(
    "an-exit-that-is-meant",
    """
    import pytest
    from solution import main
    def test_it():
        with pytest.raises(SystemExit) as caught:
            main([])
        assert caught.value.code == 2
        assert main(["x"]) == 0
    """,
    "import sys\ndef main(args):\n    if not args:\n        sys.exit(2)\n    return 0\n",
    right=("def main(args):\n    if args == []:\n        raise SystemExit(2)\n    return 0\n",),
    wrong=(
        "def main(args):\n    raise SystemExit(2)\n",
        "def main(args):\n    if not args:\n        raise ValueError(2)\n    return 0\n",
    ),
)
kind(
    "exceptions-of-the-tests",
    """
    import pytest
    from solution import retry
    class Boom(Exception):
        pass
    def test_it():
        calls = []
        def fail():
            calls.append(1)
            raise error
        error = Boom("b")
        with pytest.raises(Boom) as caught:
            retry(fail, 3)
        assert len(calls) == 3 and caught.value is error
    """,
    """
    def retry(function, times):
        for left in reversed(range(times)):
            try:
                return function()
            except Exception:
                if not left:
                    raise
    """,
    right=(
        """
        def retry(function, times):
            last = None
            for _ in range(times):
                try:
                    return function()
                except Exception as error:
                    last = error
            raise last
        """,
    ),
    wrong=(
        "def retry(function, times):\n    for _ in range(times):\n        try:\n            function()\n"
        "        except Exception:\n            pass\n",
        "def retry(function, times):\n    for _ in range(times):\n        try:\n            function()\n"
        "        except Exception:\n            pass\n    raise RuntimeError('b')\n",
    ),
)
kind(
    "an-exception-as-a-value",
    """
    from solution import check
    def test_it():
        assert check(1) is None
        error = check(-1)
        assert isinstance(error, ValueError) and not isinstance(error, KeyError) and str(error) == "bad"
    """,
    "def check(n):\n    return ValueError('bad') if n < 0 else None\n",
    wrong=(
        "def check(n):\n    return 'bad' if n < 0 else None\n",
        "def check(n):\n    return KeyError('bad') if n < 0 else None\n",
    ),
)
kind(
    "a-class-of-exceptions-for-a-callback",
    """
    import pytest
    from solution import ignoring
    def test_it():
        def fail():
            raise KeyError("k")
        assert ignoring(fail, KeyError) is None and ignoring(fail, LookupError) is None
        with pytest.raises(KeyError):
            ignoring(fail, ValueError)
    """,
    "def ignoring(call, kind):\n    try:\n        return call()\n    except kind:\n        return None\n",
    wrong=("def ignoring(call, kind):\n    try:\n        return call()\n    except Exception:\n        return None\n",),
)

# Kinds of containers

kind(
    "kinds-of-mappings",
    """
    from collections import Counter, OrderedDict, defaultdict
    import pytest
    from solution import counted, grouped, ordered, plain
    def test_ordered():
        assert ordered("ab") == OrderedDict(a=1, b=1) and list(ordered("ba")) == ["a", "b"]
    def test_counted():
        assert counted("aab")["q"] == 0 and counted("aab").most_common(1) == [("a", 2)]
        assert isinstance(counted("a"), Counter) and counted("aab") - Counter("a") == Counter("ab")
    def test_grouped():
        groups = grouped([1, 2])
        assert groups["none"] == [] and "none" in groups and type(groups) is defaultdict
    def test_plain():
        with pytest.raises(KeyError):
            plain()["q"]
        assert type(plain()) is dict
    """,
    """
    from collections import Counter, OrderedDict, defaultdict
    def ordered(text):
        return OrderedDict(sorted((c, text.count(c)) for c in text))
    def counted(text):
        return Counter(text)
    def grouped(items):
        return defaultdict(list)
    def plain():
        return {}
    """,
    right=(
        """
        from collections import Counter, OrderedDict, defaultdict
        def ordered(text):
            return {c: text.count(c) for c in sorted(text)}
        def counted(text):
            found = Counter()
            found.update(text)
            return found
        def grouped(items):
            return defaultdict(lambda: [])
        def plain():
            return dict()
        """,
    ),
    wrong=(
        "from collections import *\ndef ordered(text):\n"
        "    return OrderedDict(sorted(((c, 1) for c in text), reverse=True))\n"
        "counted = Counter\ngrouped = lambda items: defaultdict(list)\nplain = dict\n",
        "from collections import *\nordered = lambda text: dict.fromkeys(sorted(text), 1)\ncounted = dict\n"
        "grouped = lambda items: defaultdict(list)\nplain = dict\n",
        "from collections import *\nordered = lambda text: dict.fromkeys(sorted(text), 1)\ncounted = Counter\n"
        "grouped = lambda items: {}\nplain = dict\n",
        "from collections import *\nordered = lambda text: dict.fromkeys(sorted(text), 1)\ncounted = Counter\n"
        "grouped = lambda items: defaultdict(list)\nplain = lambda: defaultdict(list)\n",
        "from collections import *\nordered = lambda text: dict.fromkeys(sorted(text), 1)\ncounted = Counter\n"
        "grouped = lambda items: defaultdict(list)\nplain = Counter\n",
    ),
)
kind(
    "iterators-are-no-containers",
    """
    import inspect
    import pytest
    from solution import f, g
    def test_list():
        assert list(f(3)) == [0, 1, 2] and not inspect.isgenerator(f(1)) and not hasattr(f(1), "__next__")
    def test_again():
        got = f(2)
        assert list(got) == list(got) == [0, 1]
    def test_generator():
        assert inspect.isgenerator(g(1)) and iter(g(1)) is not g(1)
        with pytest.raises(TypeError):
            len(g(1))
        with pytest.raises(TypeError):
            g(1)[0]
    """,
    "def f(n):\n    return list(range(n))\ndef g(n):\n    yield from range(n)\n",
    right=(
        "f = range\ndef g(n):\n    return (i for i in range(n))\n",
        "def f(n):\n    return dict.fromkeys(range(n)).keys()\ndef g(n):\n    yield n\n",
    ),
    wrong=(
        "def f(n):\n    return (i for i in range(n))\ng = f\n",
        "def f(n):\n    return iter(range(n))\ndef g(n):\n    yield n\n",
        "def f(n):\n    return map(int, range(n))\ndef g(n):\n    yield n\n",
        "f = range\ng = lambda n: list(range(n))\n",
        "f = range\ng = lambda n: iter(range(n))\n",
    ),
)
kind(
    "equal-values-of-other-types",
    """
    from collections import deque
    from solution import f, pair, text, items, mapping, keys
    def test_it():
        assert f(2) == 2 and f(2) + 1 == 3 and f(2) in (2,) and {2: "b"}[f(2)] == "b" and [f(2)] == [2]
        assert pair() == (1, 2) and sorted(pair()) == [1, 2] and pair()[0] == 1
        assert text() == "red" and text().upper() == "RED" and f"{text() + '!'}" == "red!"
        assert items() == [1, 2] and len(items()) == 2 and items()[0] == 1
        assert mapping() == {"a": [1]} and mapping()["a"] == [1]
        assert keys() == {1, 2} and len(keys()) == 2
    """,
    """
    def f(n):
        return n
    def pair():
        return 1, 2
    def text():
        return "red"
    def items():
        return [1, 2]
    def mapping():
        return {"a": [1]}
    def keys():
        return {1, 2}
    """,
    right=(
        """
        import collections, enum, fractions
        class Level(enum.IntEnum):
            LOW = 2
        class Color(str, enum.Enum):
            RED = "red"
        class Rows(list):
            def total(self):
                return sum(self)
        class Table(dict):
            pass
        Pair = collections.namedtuple("Pair", "left right")
        def f(n):
            return Level.LOW
        def pair():
            return Pair(1, 2)
        def text():
            return Color.RED
        def items():
            return Rows([1, 2])
        def mapping():
            return Table(a=[1])
        def keys():
            return {1: 0, 2: 0}.keys()
        """,
        """
        import collections, fractions
        class Two(int):
            __slots__ = ()
        class Text(str):
            pass
        class Half(tuple):
            pass
        f = fractions.Fraction
        pair = lambda: Half((1, 2))
        text = lambda: Text("red")
        items = lambda: collections.UserList([1, 2]).data
        mapping = lambda: collections.OrderedDict(a=[1])
        keys = lambda: frozenset((1, 2))
        """,
    ),
    wrong=(
        """
        class Two(int):
            __eq__ = lambda self, other: True
            __hash__ = lambda self: 2
            __add__ = lambda self, other: 3
        def f(n):
            return Two(7)
        pair = lambda: (1, 2)
        text = lambda: "red"
        items = lambda: [1, 2]
        mapping = lambda: {"a": [1]}
        keys = lambda: {1, 2}
        """,
        """
        class Rows(list):
            __eq__ = lambda self, other: True
            __len__ = lambda self: 2
            __getitem__ = lambda self, index: 1
        f = lambda n: n
        pair = lambda: (1, 2)
        text = lambda: "red"
        items = lambda: Rows()
        mapping = lambda: {"a": [1]}
        keys = lambda: {1, 2}
        """,
    ),
)

# Identity and aliasing

kind(
    "the-same-object-and-a-copy",
    """
    from solution import keep, copy, deep, rows
    def test_keep():
        for value in ([1], {"a": 1}, {1}, bytearray(b"a")):
            assert keep(value) is value and keep([value])[0] is value
    def test_copy():
        data = [[1], [2]]
        made = copy(data)
        assert made == data and made is not data and made[0] is data[0]
        made.append([3])
        assert data == [[1], [2]]
        made[0].append(4)
        assert data[0] == [1, 4]
    def test_deep():
        data = {"a": [1]}
        made = deep(data)
        made["a"].append(2)
        assert data == {"a": [1]} and made == {"a": [1, 2]}
    def test_rows():
        grid = rows(2)
        grid[0][0] = 5
        assert grid == [[5, 0], [0, 0]]
    """,
    """
    from copy import deepcopy as deep
    def keep(value):
        return value
    def copy(value):
        return list(value)
    def rows(n):
        return [[0] * n for _ in range(n)]
    """,
    right=(
        """
        import json
        keep = lambda value, known=[]: known.append(value) or known[-1]
        copy = lambda value: value[:]
        deep = lambda value: json.loads(json.dumps(value))
        def rows(n):
            grid = []
            while len(grid) < n:
                grid.append([0 for _ in range(n)])
            return grid
        """,
    ),
    wrong=(
        "import copy as c\nkeep = c.copy\ncopy = list\ndeep = c.deepcopy\n"
        "rows = lambda n: [[0] * n for _ in range(n)]\n",
        "import copy as c\nkeep = lambda v: v\ncopy = keep\ndeep = c.deepcopy\n"
        "rows = lambda n: [[0] * n for _ in range(n)]\n",
        "import copy as c\nkeep = lambda v: v\ncopy = c.deepcopy\ndeep = c.deepcopy\n"
        "rows = lambda n: [[0] * n for _ in range(n)]\n",
        "import copy as c\nkeep = lambda v: v\ncopy = list\ndeep = c.copy\n"
        "rows = lambda n: [[0] * n for _ in range(n)]\n",
        "import copy as c\nkeep = lambda v: v\ncopy = list\ndeep = c.deepcopy\nrows = lambda n: [[0] * n] * n\n",
    ),
)
kind(
    "what-is-held-and-changes-later",
    """
    from solution import Stack, collect
    def test_constructor():
        items = [1, 2]
        stack = Stack(items)
        items.append(3)
        assert len(stack) == 2
    def test_inside():
        stack = Stack([1])
        stack.items().append(5)
        assert len(stack) == 1
    def test_default():
        first = collect(1)
        second = collect(2)
        assert first == [1] and second == [2]
    """,
    """
    class Stack:
        def __init__(self, items):
            self._items = list(items)
        def __len__(self):
            return len(self._items)
        def items(self):
            return list(self._items)
    def collect(item, into=None):
        into = [] if into is None else into
        into.append(item)
        return into
    """,
    right=(
        """
        class Stack:
            def __init__(self, items):
                self.held = tuple(items)
            __len__ = lambda self: len(self.held)
            items = lambda self: [*self.held]
        def collect(item):
            return [item]
        """,
    ),
    wrong=(
        """
        class Stack:
            def __init__(self, items):
                self._items = items
            def __len__(self):
                return len(self._items)
            def items(self):
                return list(self._items)
        collect = lambda item: [item]
        """,
        """
        class Stack:
            def __init__(self, items):
                self._items = list(items)
            def __len__(self):
                return len(self._items)
            def items(self):
                return self._items
        collect = lambda item: [item]
        """,
        """
        class Stack:
            def __init__(self, items):
                self._items = list(items)
            def __len__(self):
                return len(self._items)
            def items(self):
                return list(self._items)
        def collect(item, into=[]):
            into.append(item)
            return into
        """,
    ),
)
kind(
    "arguments-changed-however-deep",
    """
    from collections import OrderedDict, deque
    from solution import fill, rotate, grow, visit
    def test_fill():
        row = [0, 0]
        grid = {"rows": [row, (row, [1])]}
        fill(grid)
        assert row == [7, 7] and grid == {"rows": [[7, 7], ([7, 7], [7])]}
    def test_rotate():
        ring, order = deque([1, 2, 3], maxlen=3), OrderedDict(a=1, b=2)
        assert rotate(ring, order) is None
        assert list(ring) == [3, 1, 2] and list(order) == ["b", "a"]
    def test_grow():
        data = bytearray(b"a")
        grow(data)
        assert data == b"ab"
    def test_visit():
        seen = []
        visit([1, 2], lambda items: seen.append(list(items)))
        assert seen == [[1], [1, 2]]
    """,
    """
    def fill(value):
        if isinstance(value, list) and all(isinstance(v, int) for v in value):
            value[:] = [7] * len(value)
        else:
            for part in value.values() if isinstance(value, dict) else value:
                fill(part)
    def rotate(ring, order):
        ring.rotate()
        order.move_to_end("a")
    def grow(data):
        data.extend(b"b")
    def visit(items, tell):
        done = []
        for item in items:
            done.append(item)
            tell(done)
    """,
    wrong=(
        "def fill(value):\n    pass\ndef rotate(ring, order):\n    ring.rotate()\n    order.move_to_end('a')\n"
        "def grow(data):\n    data += b'b'\ndef visit(items, tell):\n    tell(items[:1])\n    tell(items)\n",
    ),
)
kind(
    "an-iterable-of-the-programs-own-for-a-list",
    """
    from solution import f
    def test_it():
        assert list(f(1)) == [1, 2] and sorted(f(4)) == [4, 5] and sum(f(1)) == 3
        first, second = f(1)
        assert (first, second) == (1, 2) and [x for x in f(7)] == [7, 8]
    """,
    "def f(n):\n    return [n, n + 1]\n",
    right=(
        "class S:\n    def __init__(self, n): self.n = n\n    def __iter__(self): return iter([self.n, self.n + 1])\n"
        "def f(n):\n    return S(n)\n",
        "class S:\n    def __init__(self, n): self.n = n\n    def __iter__(self):\n        yield self.n\n"
        "        yield self.n + 1\ndef f(n):\n    return S(n)\n",
    ),
    wrong=(
        "class S:\n    def __iter__(self): return iter(())\ndef f(n):\n    return S()\n",
        "class S:\n    def __iter__(self): return 3\ndef f(n):\n    return S()\n",
        "class S:\n    def __iter__(self): return self\ndef f(n):\n    return S()\n",
    ),
)
kind(
    "an-iterable-of-the-programs-own-is-no-list",
    """
    from solution import f
    def test_it():
        got = f(1)
        assert got == [1, 2]
    def test_item():
        assert f(1)[0] == 1 and 1 in f(1)
    def test_true():
        assert f(1)
    def test_length():
        got = f(1)
        assert len(got) == 2
        for one, want in zip(got, [1, 2]):
            assert one == want
    """,
    "def f(n):\n    return [n, n + 1]\n",
    wrong=tuple(
        f"class S:\n    def __iter__(self): return iter([{items}])\n    {more}\ndef f(n):\n    return S()\n"
        for items, more in (
            ("1, 2", "n = 1"),
            ("1, 2", "__eq__ = __contains__ = __bool__ = lambda *args: True"),
            ("1, 2", "__getitem__ = lambda self, at: at + 1"),
            ("", "__len__ = lambda self: 2"),
            ("", "__length_hint__ = lambda self: 2"),
        )
    ),
)
kind(
    "callables-and-iterables-by-their-classes",
    """
    import collections.abc
    import copy, inspect, pickle
    import pytest
    from solution import Bag, add
    def test_protocols():
        bag = Bag()
        assert callable(add) and not callable(bag) and not isinstance(bag, collections.abc.Iterable)
        assert vars(bag) == {"n": 1} and not hasattr(bag, "__len__") and "Bag" in repr(bag)
        with pytest.raises(TypeError):
            len(bag)
        with pytest.raises(TypeError):
            bag < bag
    def test_signature():
        assert list(inspect.signature(add).parameters) == ["a", "b"] and add.__name__ == "add"
        assert inspect.signature(add).parameters["b"].default == 2
    def test_copies():
        bag = Bag()
        for made in (copy.copy(bag), copy.deepcopy(bag), pickle.loads(pickle.dumps(bag))):
            assert made is not bag and made.n == 1 and type(made) is Bag
            made.n = 3
        assert bag.n == 1
    """,
    "class Bag:\n    def __init__(self):\n        self.n = 1\ndef add(a, b=2):\n    return a + b\n",
    wrong=(
        "class Bag:\n    def __init__(self):\n        self.n = 1\n    __call__ = print\ndef add(a, b=2):\n"
        "    return a + b\n",
        "class Bag:\n    def __init__(self):\n        self.n = 1\n    def __iter__(self):\n        return iter(())\n"
        "def add(a, b=2):\n    return a + b\n",
        "class Bag:\n    def __init__(self):\n        self.n, self.m = 1, 2\ndef add(a, b=2):\n    return a + b\n",
        "class Bag:\n    def __init__(self):\n        self.n = 1\n    __len__ = lambda self: 1\n"
        "def add(a, b=2):\n    return a + b\n",
        "class Bag:\n    def __init__(self):\n        self.n = 1\n    __copy__ = lambda self: self\n"
        "def add(a, b=2):\n    return a + b\n",
        "class Bag:\n    def __init__(self):\n        self.n = 1\ndef add(x, y=2):\n    return x + y\n",
    ),
)
kind(
    "not-to-be-copied-or-derived",
    """
    import copy, pickle
    import pytest
    from solution import Secret
    def test_it():
        secret = Secret(3)
        assert secret.v == 3
        with pytest.raises(TypeError, match="no"):
            pickle.dumps(secret)
        with pytest.raises(TypeError, match="no"):
            copy.copy(secret)
    """,
    """
    class Secret:
        def __init__(self, v):
            self.v = v
        def __reduce__(self):
            raise TypeError("no")
    """,
    right=(
        "class Secret:\n    def __init__(self, v):\n        self.v = v\n    def __getstate__(self):\n"
        "        raise TypeError('no')\n"
        "    def __copy__(self):\n        raise TypeError('no')\n",
    ),
    wrong=("class Secret:\n    def __init__(self, v):\n        self.v = v\n",),
)

kind(
    "what-is-no-json",
    """
    import json
    import pytest
    from solution import Secret
    def test_it():
        assert Secret(3).v == 3
        with pytest.raises(TypeError):
            json.dumps([Secret(3)])
    """,
    "class Secret:\n    def __init__(self, v):\n        self.v = v\n",
    right=("class Secret(frozenset):\n    v = 3\n    def __new__(cls, v):\n        return frozenset.__new__(cls)\n",),
    wrong=(
        "class Secret(dict):\n    def __init__(self, v):\n        self.v = v\n",
        "class Secret(list):\n    def __init__(self, v):\n        self.v = v\n",
        "class Secret(int):\n    @property\n    def v(self):\n        return int(self)\n",
    ),
)
kind(
    "a-built-in-that-is-replaced",
    """
    from unittest import mock
    from solution import f
    def test_it():
        with mock.patch("builtins.sum", side_effect=AssertionError("no sum")):
            assert f([1, 2]) == 3
        assert f([]) == 0
    """,
    "def f(xs):\n    s = 0\n    for x in xs:\n        s += x\n    return s\n",
    right=(
        "import builtins, functools\nadd = lambda a, b: a + b\n"
        "def f(xs):\n    return functools.reduce(add, builtins.list(xs), 0)\n",
        "from builtins import *\nimport math as m, os.path\nfrom os import path\ndef f(xs):\n"
        "    assert path is os.path\n    return int(m.fsum(xs))\n",
    ),
    wrong=(
        "def f(xs):\n    return sum(xs)\n",
        "import builtins\ndef f(xs):\n    return builtins.sum(xs)\n",
        "def f(xs):\n    return __import__('builtins').sum(xs)\n",
    ),
)

# Threads

kind(
    "callbacks-from-threads",
    """
    from solution import pmap
    def test_it():
        seen = []
        assert pmap(lambda x: seen.append(x) or x * x, range(6)) == [x * x for x in range(6)]
        assert sorted(seen) == list(range(6)) and pmap(str, [1, 2]) == ["1", "2"]
    def test_within():
        assert pmap(lambda n: sum(pmap(lambda m: m, range(n))), [1, 2, 3]) == [0, 1, 3]
        assert pmap(lambda row: pmap(lambda n: [n], row), [[1], [2, 3]]) == [[[1]], [[2], [3]]]
    def test_errors():
        try:
            pmap(lambda n: 1 // n, [1, 0, 2])
            assert False
        except ZeroDivisionError:
            pass
        assert pmap(int, ["1"]) == [1]
    """,
    "def pmap(fn, xs):\n    return [fn(x) for x in xs]\n",
    right=(
        "from concurrent.futures import ThreadPoolExecutor\ndef pmap(fn, xs):\n"
        "    with ThreadPoolExecutor(4) as pool:\n"
        "        return list(pool.map(fn, xs))\n",
        "import asyncio\ndef pmap(fn, xs):\n    async def run():\n"
        "        return list(await asyncio.gather(*[asyncio.to_thread(fn, x) for x in xs]))\n"
        "    return asyncio.run(run())\n",
        "import threading\ndef pmap(fn, xs):\n    xs = list(xs)\n    found, errors = [None] * len(xs), []\n"
        "    def one(i):\n        try:\n"
        "            found[i] = fn(xs[i])\n        except Exception as error:\n            errors.append(error)\n"
        "    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(xs))]\n"
        "    [t.start() for t in threads]\n    [t.join() for t in threads]\n"
        "    if errors:\n        raise errors[0]\n    return found\n",
    ),
    wrong=(
        "from concurrent.futures import ThreadPoolExecutor, as_completed\ndef pmap(fn, xs):\n"
        "    return [fn(x) for x in list(xs)[:2]]\n",
    ),
)
kind(
    "tests-in-threads",
    """
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from solution import Counter, Queue, square
    def test_counter():
        counter = Counter()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: counter.add(1), range(40)))
        assert counter.value == 40
    def test_values():
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(square, range(30))) == [n * n for n in range(30)]
    def test_queue():
        queue, got = Queue(1), []
        taker = threading.Thread(target=lambda: got.extend(queue.get() for _ in range(5)))
        taker.start()
        for n in range(5):
            queue.put(n)
        taker.join(20)
        assert got == [0, 1, 2, 3, 4]
    def test_order():
        said = []
        queue = Queue(3)
        threads = [threading.Thread(target=queue.last, args=(lambda: said.append("last"),)),
                   threading.Thread(target=queue.first, args=(lambda: said.append("first"),))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert said == ["first", "last"]
    """,
    """
    import threading
    class Counter:
        def __init__(self):
            self.value, self._lock = 0, threading.Lock()
        def add(self, n):
            with self._lock:
                self.value += n
    class Queue:
        def __init__(self, size):
            self._items, self._size, self._changed = [], size, threading.Condition()
            self._done = threading.Event()
        def put(self, item):
            with self._changed:
                self._changed.wait_for(lambda: len(self._items) < self._size)
                self._items.append(item)
                self._changed.notify_all()
        def get(self):
            with self._changed:
                self._changed.wait_for(lambda: self._items)
                self._changed.notify_all()
                return self._items.pop(0)
        def first(self, tell):
            tell()
            self._done.set()
        def last(self, tell):
            self._done.wait()
            tell()
    def square(n):
        return n * n
    """,
    wrong=(
        """
        import queue, threading
        class Counter:
            value = 0
            def add(self, n):
                self.value += n
        class Queue:
            def __init__(self, size):
                self.q = queue.Queue(size)
            def put(self, item):
                self.q.put(item)
            def get(self):
                return self.q.get()
            def first(self, tell):
                import time
                time.sleep(0.2)
                tell()
            def last(self, tell):
                tell()
        square = lambda n: n * n
        """,
    ),
)
kind(
    "lists-in-threads",
    """
    from concurrent.futures import ThreadPoolExecutor
    from solution import each, same
    def test_one_list():
        shared = [[1], [2]]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(10):
                assert all(given is shared for given in pool.map(lambda n: same(shared), range(16)))
    def test_many():
        with ThreadPoolExecutor(6) as pool:
            found = pool.map(lambda n: each(lambda x: [x, [n]], [[n], [n + 1]]), range(40))
            assert list(found) == [[[[n], [n]], [[n + 1], [n]]] for n in range(40)]
    """,
    "def same(xs):\n    return xs\ndef each(fn, xs):\n    return [fn(x) for x in xs]\n",
    right=(
        "from concurrent.futures import ThreadPoolExecutor\ndef same(xs):\n    return xs\ndef each(fn, xs):\n"
        "    with ThreadPoolExecutor(3) as pool:\n        return list(pool.map(fn, xs))\n",
    ),
    wrong=("import copy\nsame = copy.copy\ndef each(fn, xs):\n    return [fn(x) for x in xs]\n",),
)
kind(
    "coroutines-together",
    """
    import asyncio
    import pytest
    from solution import Channel, each, later
    def test_gather():
        async def both():
            channel = Channel()
            return await asyncio.gather(channel.take(), channel.give(5))
        assert asyncio.run(both()) == [5, None]
    async def test_callbacks():
        async def double(n):
            await asyncio.sleep(0)
            return 2 * n
        assert await each(double, [1, 2, 3]) == [2, 4, 6]
    async def test_timeout():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(later(60), 0.05)
        assert await later(0) == "done"
    """,
    """
    import asyncio
    class Channel:
        def __init__(self):
            self._queue = asyncio.Queue()
        async def take(self):
            return await self._queue.get()
        async def give(self, item):
            await self._queue.put(item)
    async def each(function, items):
        return [await function(item) for item in items]
    async def later(seconds):
        await asyncio.sleep(seconds)
        return "done"
    """,
    right=(
        """
        import asyncio
        class Channel:
            def __init__(self):
                self._there = asyncio.Event()
            async def take(self):
                await self._there.wait()
                return self._item
            async def give(self, item):
                self._item = item
                self._there.set()
        async def each(function, items):
            return list(await asyncio.gather(*map(function, items)))
        async def later(seconds):
            await asyncio.sleep(seconds)
            return "done"
        """,
    ),
    wrong=(
        """
        import asyncio
        class Channel:
            async def take(self):
                return None
            async def give(self, item):
                pass
        async def each(function, items):
            return [await function(item) for item in items]
        async def later(seconds):
            return "done"
        """,
    ),
)

# What the tests cannot do

refused(
    "an-object-of-the-tests",
    "can hand plain values, functions, iterators",
    """
    import pytest
    from solution import f
    def test_it():
        assert f(1) == 2
        with pytest.raises(TypeError):
            f(object())
    """,
    "def f(x):\n    if not isinstance(x, int):\n        raise TypeError\n    return x + 1\n",
)
refused(
    "what-is-nested-too-deep",
    "nested deeper than",
    """
    import pytest
    from solution import f
    def test_it():
        deep = ()
        for _ in range(200):
            deep = (deep,)
        with pytest.raises(Exception):
            f(deep)
    """,
    "def f(x):\n    raise TypeError\n",
)
refused(
    "what-is-too-large",
    "this cannot be handed to the solution",
    """
    import pytest
    from solution import f
    def test_it():
        with pytest.raises(Exception):
            f("x" * (5 << 20))
    """,
    "def f(x):\n    raise TypeError\n",
)
refused(
    "a-class-derived-from-the-solutions",
    "cannot derive a class from the solution's Base",
    """
    import pytest
    from solution import Base
    def test_it():
        with pytest.raises(TypeError):
            class Sub(Base):
                pass
    """,
    "class Base:\n    def __init_subclass__(cls):\n        raise TypeError\n",
)
refused(
    "a-generator-that-is-copied",
    "an iterator, which cannot be copied",
    """
    import copy
    import pytest
    from solution import f
    def test_it():
        with pytest.raises(TypeError):
            copy.copy(f())
    """,
    "def f():\n    return map(int, ())\n",
)
refused(
    "what-a-callback-returns",
    "can hand plain values, functions, iterators",
    """
    from solution import f
    def test_it():
        try:
            f(lambda: object())
        except BaseException:
            pass
    """,
    "def f(call):\n    try:\n        return call()\n    except BaseException:\n        return 1\n",
)
refused(
    "a-stream",
    "not <class '_io.StringIO'>",
    """
    import io
    from solution import f
    def test_it():
        assert f(io.StringIO("a\\nb")) == ["a", "b"]
    """,
    "def f(lines):\n    return [line.strip() for line in lines]\n",
)

# The solution is imported anew

kind(
    "imported-anew",
    """
    import importlib, sys
    import pytest
    import solution
    def test_reload():
        assert solution.add(1) == [1] and solution.add(2) == [1, 2]
        assert importlib.reload(solution).add(3) == [3] and solution.total == 1
    def test_fresh():
        del sys.modules["solution"]
        fresh = importlib.import_module("solution")
        assert fresh.add(5) == [5] and solution.add(4)[-1] == 4 and fresh.add(6) == [5, 6]
    """,
    "seen = []\ntotal = 0\ndef add(x):\n    global total\n    total += 1\n    seen.append(x)\n    return seen\n",
    right=(
        "class S(list):\n    pass\nseen, total = S(), 0\ndef add(x):\n    globals()['total'] += 1\n"
        "    globals()['seen'] += [x]\n    return seen\n",
    ),
    wrong=(
        "seen = globals().get('seen', [])\ntotal = 0\ndef add(x):\n    global total\n    total += 1\n"
        "    seen.append(x)\n    return seen\n",
        *(
            f"""
            import sys
            frame = sys._getframe()
            while type(frame.f_locals.get("self")).__name__ != "CandidateServer":
                frame = frame.f_back
            frame.f_locals["self"]._another = {another}
            seen, total = [], 0
            def add(x):
                global total
                total += 1
                seen.append(x)
                return seen
            """
            for another in (
                "lambda: 'x'",
                "lambda: True",
                "lambda: -1",
                "lambda: 0",
                "lambda: object()",
                "lambda: 1 / 0",
            )
        ),
        "import sys\nif 'seen' in globals():\n    sys.exit(0)\nseen, total = [], 0\ndef add(x):\n"
        "    seen.append(x)\n    return seen\n",
    ),
)
kind(
    "what-importing-anew-raises",
    """
    import importlib
    import pytest
    import solution
    def test_it(monkeypatch):
        monkeypatch.setenv("LEVEL", "none")
        with pytest.raises(KeyError):
            importlib.reload(solution)
        monkeypatch.setenv("LEVEL", "low")
        assert importlib.reload(solution).level == 1
    """,
    "import os\nlevel = {'low': 1, 'high': 2}[os.environ.get('LEVEL', 'high')]\n",
    wrong=(
        "import os\nlevel = {'low': 1}.get(os.environ.get('LEVEL', 'high'), 1)\n",
        "import os\nif os.environ.get('LEVEL') == 'none':\n    raise SystemExit\nlevel = 1\n",
        "import os\nclass KeyError(Exception):\n    pass\nif os.environ.get('LEVEL') == 'none':\n    raise KeyError\n"
        "level = 1\n",
    ),
)

# What wraps a container is equal to it, and is none

kind(
    "wrapped-containers",
    """
    from solution import counts, name, rows
    def test_it():
        found = rows([2, 1])
        assert found == [1, 2] and [1, 2] == found and len(found) == 2
        found.append(3)
        assert found == [1, 2, 3] and found[1:] == [2, 3] and found + [4] == [1, 2, 3, 4]
        assert rows([]) == [] and not rows([])
        assert counts("aab") == {"a": 2, "b": 1} and counts("aa")["a"] == 2
        assert name("ab") == "AB" and name("a") + "b" == "Ab"
    """,
    "def rows(x):\n    return sorted(x)\ndef counts(s):\n    return {c: s.count(c) for c in s}\n"
    "def name(s):\n    return s.upper()\n",
    right=(
        """
        from collections import ChainMap, UserList, UserString
        def rows(x):
            return UserList(sorted(x))
        def counts(s):
            return ChainMap({c: s.count(c) for c in s})
        def name(s):
            return UserString(s.upper())
        """,
        """
        from collections import UserDict, UserList, UserString
        class Rows(UserList):
            def top(self):
                return self[0]
        class Counts(UserDict):
            pass
        class Name(UserString):
            pass
        def rows(x):
            return Rows(sorted(x))
        def counts(s):
            return Counts({c: s.count(c) for c in s})
        def name(s):
            return Name(s.upper())
        """,
    ),
    wrong=tuple(
        f"""
        import collections
        class Lie({base}):
            __eq__ = lambda self, other: True
            {body}
        def rows(x):
            return Lie(x)
        def counts(s):
            return {{c: s.count(c) for c in s}}
        def name(s):
            return s.upper()
        """
        for base, body in (
            ("collections.UserList", "pass"),
            ("collections.UserList", "data = 5"),
            ("collections.UserList", "__getitem__ = lambda self, at: 1"),
            ("object", "__init__ = lambda self, data: setattr(self, 'data', sorted(data))"),
        )
    ),
)
kind(
    "what-wraps-a-list-is-no-list",
    "from solution import f\ndef test_it():\n    assert isinstance(f(), list) and f() == [1]\n",
    "def f():\n    return [1]\n",
    right=("class L(list):\n    pass\ndef f():\n    return L([1])\n",),
    wrong=("from collections import UserList\ndef f():\n    return UserList([1])\n",),
)
kind(
    "a-class-derived-from-a-wrapper",
    """
    from solution import Stack
    def test_it():
        stack = Stack()
        stack.push(1)
        assert stack == [1] and len(stack) == 1 and stack.data == [1] and list(stack) == [1]
        assert stack.pop() == 1 and stack[:] == [] and not stack and isinstance(stack, Stack)
    """,
    "from collections import UserList\nclass Stack(UserList):\n    def push(self, x):\n        self.append(x)\n",
    right=("class Stack(list):\n    push = list.append\n    data = property(list)\n",),
    wrong=("from collections import UserList\nclass Stack(UserList):\n    def push(self, x):\n        pass\n",),
)
kind(
    "wrapped-containers-of-the-tests",
    """
    from collections import ChainMap, UserDict, UserList
    from solution import f, top
    def test_it():
        given = UserDict(a=1)
        assert f(given) == 1 and given == {"a": 2}
        assert f(ChainMap({"a": 5}, {"b": 1})) == 5
        assert top(UserList([3])) == 3
    """,
    "def f(x):\n    x['a'] += 1\n    return x['a'] - 1\ndef top(x):\n    return x[0]\n",
    right=("def f(x):\n    y = x['a']\n    x.update(a=y + 1)\n    return y\ntop = lambda x: x.data[-1]\n",),
    wrong=("def f(x):\n    return x['a']\ntop = lambda x: x[0]\n",),
)
