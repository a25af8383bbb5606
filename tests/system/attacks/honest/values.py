"""Right, with values of every kind that the canonical form holds."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

from agent_rl.vocabulary.stand_ins import EnumMember, Record
from tests.system.attacks.honest.program import dataclass_like, honest

DEEP: list[Any] = []
for _ in range(90):
    DEEP = [DEEP]

POINT = dataclass_like("Point", x=1, y=5, norm=0.0)

CATCHES = """try:
        candidate(3)
    except {}:
        return
    raise AssertionError"""
LISTS_AND_CATCHES = CATCHES.format("ValueError").replace("candidate(3)", "list(candidate(3))")

# fmt: off
VALUES = [
    honest("unicode", """
        import unicodedata
        def solve(text):
            ναί = unicodedata.normalize("NFC", text)
            return ναί[::-1] + "🎈é漢字"
    """, ("e\u0301x", "xé🎈é漢字")),
    honest("every-kind-of-character", "def solve(n):\n    return ''.join(map(chr, range(n)))",
           (256, "".join(map(chr, range(256))))),
    honest("lone-surrogates", "def solve(text):\n    return text + '\\ud800'", ("a", "a\ud800")),
    honest("big-ints", "import math\ndef solve(n):\n    return math.factorial(n)",
           (30, 265252859812191058636308480000000), (0, 1)),
    honest("very-big-ints", "def solve(n):\n    return 3 ** n - 1", (20_000, 3**20_000 - 1)),
    honest("floats-that-are-exact", "def solve(x):\n    return [x / 3, -0.0, 1e308 * 10, 5e-324]",
           (1.0, [1 / 3, -0.0, float("inf"), 5e-324]), comparison="exact"),
    honest("nan-where-it-is-meant", "def solve():\n    return [float('nan'), 1]",
           ([float("nan"), 1],), comparison="exact"),
    honest("sums-that-round", "def solve(xs):\n    return sum(xs)", ([0.1] * 10, 1.0), comparison="float"),
    honest("complex-numbers", "import cmath\ndef solve(x):\n    return cmath.sqrt(x)", (-4, 2j)),
    honest("bytes", "def solve(data):\n    return bytes(reversed(data)) + b'\\x00\\xff'", (b"ab", b"ba\x00\xff")),
    honest("sets-and-frozensets", "def solve(xs):\n    return set(xs), frozenset(map(str, xs))",
           ([1, 2, 2], ({1, 2}, frozenset({"1", "2"})))),
    honest("dicts-of-the-library", """
        from collections import Counter, OrderedDict, defaultdict
        def solve(text):
            grouped = defaultdict(list)
            for word in text.split():
                grouped[len(word)].append(word)
            return [grouped, Counter(text.split()), OrderedDict(sorted(Counter(text).items()))]
    """, ("a b a", [{1: ["a", "b", "a"]}, {"a": 2, "b": 1}, {" ": 2, "a": 2, "b": 1}])),
    honest("keys-of-every-kind", "def solve(n):\n    return {(n, 'a'): 1, None: 2, b'x': 3, 1.5: 4, frozenset([n]): 5}",
           (1, {(1, "a"): 1, None: 2, b"x": 3, 1.5: 4, frozenset([1]): 5})),
    honest("deep-structures", """
        def solve(n):
            value = []
            for _ in range(n):
                value = [value]
            return value
    """, (90, DEEP)),
    honest("wide-structures", "def solve(n):\n    return [{'n': i, 'square': i * i} for i in range(n)]",
           (5_000, [{"n": i, "square": i * i} for i in range(5_000)])),
    honest("a-large-answer", "def solve(n):\n    return 'x' * n", (900_000, "x" * 900_000)),
    honest("dataclasses", """
        from dataclasses import dataclass, field
        @dataclass(order=True)
        class Point:
            x: int
            y: int = 0
            tags: list = field(default_factory=list)
        def solve(x):
            return sorted([Point(x + 1, tags=["a"]), Point(x, 5)])
    """, (1, [dataclass_like("Point", x=1, y=5, tags=[]), dataclass_like("Point", x=2, y=0, tags=["a"])])),
    honest("frozen-dataclasses-with-workers", """
        from dataclasses import astuple, dataclass, replace
        @dataclass(frozen=True)
        class Pair:
            __slots__ = ("left", "right")
            left: int
            right: int
        def solve(a, b):
            return [replace(Pair(a, b), left=0), astuple(Pair(a, b))]
    """, (1, 2, [dataclass_like("Pair", left=0, right=2), (1, 2)])),
    honest("dataclasses-as-arguments", """
        from dataclasses import dataclass, field
        @dataclass
        class Point:
            x: int
            y: int = 0
            norm: float = field(init=False, default=0.0)
            def moved(self, by): return Point(self.x + by, self.y + by)
        def solve(points, options):
            return [point.moved(options["by"]) for point in points["all"]]
    """, ({"all": [POINT]}, {"by": 1}, [dataclass_like("Point", x=2, y=6, norm=0.0)])),
    honest("dataclasses-that-nobody-defined", """
        def solve(record):
            return record
    """, (POINT, POINT)),
    honest("dataclasses-within-a-tolerance", """
        from dataclasses import make_dataclass
        Point = make_dataclass("Point", ["x"])
        solve = lambda x: [Point(x + 0.2)]
    """, (0.1, [dataclass_like("Point", x=0.3)]), comparison="float"),
    honest("enums-fractions-and-decimals-inside", """
        import enum
        from collections import namedtuple
        from decimal import Decimal, getcontext
        from fractions import Fraction
        class Colour(enum.IntEnum):
            RED = 1
        Pair = namedtuple("Pair", "a b")
        getcontext().prec = 50
        def solve(a, b):
            third = Fraction(a, b)
            pair = Pair(Colour.RED.value, str(Decimal(a) / Decimal(b)))
            return [third.numerator, third.denominator, tuple(pair)]
    """, (2, 8, [Fraction(2, 8).numerator, 4, (1, "0.25")])),
    honest("members-of-enumerations-that-are-values", """
        import enum
        class Colour(enum.IntEnum):
            RED = 1
            BLUE = 2
        class Word(str, enum.Enum):
            A = "a"
        class Permission(enum.IntFlag):
            READ = 4
            WRITE = 2
        def solve(n):
            return [Colour(n), Word.A, Permission.READ | Permission.WRITE, {Colour.RED: Word.A}, {Colour.BLUE}]
    """, (2, [2, "a", 6, {1: "a"}, {2}])),
    honest("members-of-enumerations", """
        import enum
        class Colour(enum.Enum):
            RED = "r"
        class Permission(enum.Flag):
            READ = 4
            WRITE = 2
        def solve(name):
            return Colour[name], Permission.READ | Permission.WRITE
    """, ("RED", (EnumMember("Colour", "RED"), EnumMember("Permission", 6)))),
    honest("subclasses-of-built-ins", """
        class Count(int):
            def __new__(cls, value, unit):
                made = super().__new__(cls, value)
                made.unit = unit
                return made
        class Name(str):
            __slots__ = ()
            def __repr__(self): return "Name"
        class Stack(list):
            def push(self, item): self.append(item); return self
        class Table(dict):
            def __missing__(self, key): return 0
        class Bag(set): pass
        def solve(n):
            half = type("Half", (float,), {})(0.5)
            return Count(n, "m"), Name("a"), Stack().push(Count(1, "m")), Table(a=Name("b")), Bag([n]), half
    """, (3, (3, "a", [1], {"a": "b"}, {3}, 0.5))),
    honest("named-tuples", """
        from collections import namedtuple
        from typing import NamedTuple
        Pair = namedtuple("Pair", "a b")
        class Triple(NamedTuple):
            a: int
            b: int
            c: int = 0
        def solve(a, b):
            return [Pair(a, b), Triple(a, b), {Pair(a, b): 1}]
    """, (1, 2, [(1, 2), (1, 2, 0), {(1, 2): 1}])),
    honest("fractions-and-decimals", """
        from decimal import Decimal
        from fractions import Fraction
        def solve(n):
            return [Fraction(n), Decimal(n), Fraction(1, 2), Decimal("0.5"), {Fraction(4, 2): Decimal("1.0")}]
    """, (3, [3, 3, 0.5, 0.5, {2: 1}])),
    honest("fractions-and-decimals-that-are-expected", "def solve(n):\n    return [n / 2, n // 1, n]",
           (3, [Fraction(3, 2), Decimal("3.00"), 3.0])),
    honest("ranges-and-deques", """
        from collections import deque
        def solve(n):
            return [range(0, n, 2), deque([n], maxlen=3), range(n, n)]
    """, (3, [range(0, 4, 2), deque([3]), range(0)])),
    honest("mappings-of-other-kinds", """
        import collections, types
        def solve(n):
            return [collections.UserDict({n: 1}), types.MappingProxyType({n: 1}), collections.ChainMap({n: 1}),
                    collections.defaultdict(lambda: 7, {n: 1}), collections.OrderedDict({n: 1, 5: 2})]
    """, (3, [{3: 1}, {3: 1}, {3: 1}, {3: 1}, {5: 2, 3: 1}])),
    honest("views-that-are-sets", "def solve(n):\n    return {n: 1}.keys(), {n: 1}.items()", (3, ({3}, {(3, 1)}))),
    honest("bytes-of-other-kinds", "def solve(n):\n    return bytearray([n]), memoryview(bytes([n]))",
           (3, (b"\x03", b"\x03"))),
    honest("dataclasses-that-compare-in-part", """
        import dataclasses
        @dataclasses.dataclass
        class Point:
            x: int
            note: str = dataclasses.field(default="mine", compare=False)
        def solve(x):
            return [Point(x)]
    """, (1, [Record("Point", (("x", 1), ("note", "other")), ("note",))])),
    honest("ints-of-many-digits", "def solve(n):\n    return [10 ** n, -(7 ** n)]",
           (30_000, [10**30_000, -(7**30_000)])),
    *(
        honest(f"{name}-that-a-check-{verb}", f"import collections, itertools\n{program}",
               (3, [0, 1, 2]), check=check)
        for verb, check in (
            ("goes-through", "assert list(candidate(3)) == [0, 1, 2]"),
            ("sorts", "assert sorted(candidate(3), reverse=True) == [2, 1, 0]"),
        )
        for name, program in (
            ("a-generator", "def solve(n):\n    yield from range(n)"),
            ("a-map", "def solve(n): return map(int, '012'[:n])"),
            ("a-chain", "def solve(n): return itertools.chain([0], range(1, n))"),
            ("a-deque", "def solve(n): return collections.deque(range(n))"),
            ("a-range", "def solve(n): return range(n)"),
            ("a-view", "def solve(n): return dict.fromkeys(range(n)).keys()"),
            ("an-own-iterable", "class S:\n    def __iter__(self): return iter(range(3))\ndef solve(n): return S()"),
        )
    ),
    *(
        honest(f"an-exception-{number}-that-a-check-catches", f"import json\n{program}", (3, None), check=check)
        for number, (program, check) in enumerate((
            ("def solve(n): return [][n]", CATCHES.format("LookupError")),
            ("class Own(KeyError): pass\ndef solve(n): raise Own(n)", CATCHES.format("KeyError")),
            ("class Own(KeyError, TypeError): pass\ndef solve(n): raise Own(n)", CATCHES.format("TypeError")),
            ("def solve(n): return json.loads('{')", "import json\n    " + CATCHES.format("json.JSONDecodeError")),
            ("def solve(n): return open('none')", CATCHES.format("FileNotFoundError")),
            ("def solve(n): raise KeyboardInterrupt", CATCHES.format("KeyboardInterrupt")),
            ("def solve(n): raise ExceptionGroup('a', [KeyError()])", CATCHES.format("ExceptionGroup")),
            ("def solve(n):\n    yield 1\n    raise ValueError", LISTS_AND_CATCHES),
        ))
    ),
    honest("tokens-with-loose-spaces", "def solve(xs):\n    return '  '.join(map(str, xs)) + ' \\n'",
           ([1, 2], "1 2"), comparison="tokens"),
    honest("any-order", "def solve(xs):\n    return list({x: None for x in reversed(xs)})",
           ([1, 2, 3], [1, 2, 3]), comparison="any_order"),
    honest("arguments-that-are-changed", """
        def solve(items, seen):
            seen[items.pop()] = True
            items.sort()
            return items, seen
    """, ([3, 1, 2], {}, ([1, 3], {2: True}))),
    honest("the-same-list-each-time", """
        kept = []
        def solve(n):
            kept.clear()
            kept.append(n)
            return kept
    """, (1, [1]), (2, [2])),
    honest("shared-parts", "def solve(n):\n    row = [0] * n\n    return [row] * n", (3, [[0] * 3] * 3)),
]
# fmt: on
