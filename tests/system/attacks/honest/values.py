"""Right, with values of every kind that the canonical form holds."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.system.attacks.honest.program import dataclass_like, honest

DEEP: list[Any] = []
for _ in range(90):
    DEEP = [DEEP]

POINT = dataclass_like("Point", x=1, y=5, norm=0.0)

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
