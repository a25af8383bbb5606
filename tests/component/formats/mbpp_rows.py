"""Some forty rows as MBPP writes them: ordinary ones, and each odd kind that there is. Written for these tests.

Of each: the tier at which it is judged, its code, its tests, and a wrong program that one of the tests fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One row and what is to become of it."""

    name: str
    code: str
    tests: list[str]
    wrong: str
    tier: str = "values"
    more: dict[str, Any] = field(default_factory=dict)

    def row(self, number: int) -> dict[str, Any]:
        """In the published schema, with the keys that its rows have."""
        text = f"Write a function for {self.name}."
        row = {"task_id": number, "text": text, "code": self.code, "test_list": self.tests}
        return {**row, "test_setup_code": "", "challenge_test_list": [], **self.more}


NODE = (
    "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.left = self.right = None\n"
)
STACK = "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n"
STACK += "        self.items.append(x)\n    def pop(self):\n        return self.items.pop()\n"
POINT = "class Point:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n"
DATA = "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n    y: int\n"
EMPTY = "class Empty(Exception):\n    pass\n"
APPROX = {"test_imports": ["import math"]}

ORDINARY = [
    Kind("squares", "def square(x):\n    return x * x\n", ["assert square(3) == 9", "assert square(-2) == 4"],
         "def square(x):\n    return x + x\n"),
    Kind("carriage returns", "def rev(s):\r\n    return s[::-1]\r\n", ["assert rev('ab')=='ba'", "assert rev('')==''"],
         "def rev(s):\n    return s\n"),
    Kind("tuples", "def swap(a, b):\n    return b, a\n",
         ["assert swap(1, 2) == (2, 1)", "assert swap('a', 3) == (3, 'a')"],
         "def swap(a, b):\n    return [b, a]\n"),
    Kind("sets", "def unique(xs):\n    return set(xs)\n", ["assert unique([1, 1, 2]) == {1, 2}"],
         "def unique(xs):\n    return set(xs[:1])\n"),
    Kind("order of a set", "def unique(xs):\n    return list(set(xs))\n",
         ["assert set(unique([3, 3, 4])) == set([3, 4])"],
         "def unique(xs):\n    return [3]\n"),
    Kind("dictionaries", "from collections import Counter\ndef count(s):\n    return Counter(s)\n",
         ["assert count('aab') == {'a': 2, 'b': 1}"], "def count(s):\n    return {}\n"),
    Kind("keywords", "def power(x, *, by=2):\n    return x ** by\n",
         ["assert power(3) == 9", "assert power(2, by=5) == 32"], "def power(x, by=2):\n    return x * x\n"),
    Kind("big numbers", "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)\n",
         ["assert factorial(30) == 265252859812191058636308480000000"], "def factorial(n):\n    return 2.0 ** n\n"),
    Kind("complex numbers", "import cmath\ndef angle(a, b):\n    return cmath.phase(complex(a, b))\n",
         ["assert angle(0, 1.0) == 1.5707963267948966", "assert angle(1, 0) == 0.0"],
         "def angle(a, b):\n    return 0.0\n"),
    Kind("bytes", "def pack(n):\n    return n.to_bytes(2, 'big')\n", ["assert pack(258) == b'\\x01\\x02'"],
         "def pack(n):\n    return '12'\n"),
    Kind("a lambda", "double = lambda x: 2 * x\n", ["assert double(2) == 4", "assert double('a') == 'aa'"],
         "double = lambda x: 4\n"),
    Kind("a truth", "def even(n):\n    return n % 2 == 0\n",
         ["assert even(2)", "assert not even(3)", "assert even(0) is True", "assert even(7) == False"],
         "def even(n):\n    return n\n"),
    Kind("several lines", "def join(xs):\n    return '\\n'.join(xs)\n",
         ["text = '''a\nb'''\nassert join(['a', 'b']) == text", "assert join([]) == ''"],
         "def join(xs):\n    return ''.join(xs)\n"),
    Kind("a helper of the code's", "def gcd(a, b):\n    return a if not b else gcd(b, a % b)\n"
         "def lcm(a, b):\n    return a * b // gcd(a, b)\n", ["assert lcm(4, 6) == 12", "assert lcm(1, 7) == 7"],
         "def lcm(a, b):\n    return a * b\n"),
    Kind("a constant that is set up", "def area(r):\n    return PI * r * r\n",
         ["assert area(1) == 3.0", "assert area(2) == 12.0"], "def area(r):\n    return PI\n",
         more={"test_setup_code": "PI = 3.0  # about"}),
    Kind("the sanitized schema", "def half(x):\n    return x / 2\n", ["assert half(3) == 1.5"],
         "def half(x):\n    return x // 2\n",
         more={"text": None, "prompt": "Halve a number.", "test_imports": ["import math"], "source_file": "x.ipynb"}),
]  # fmt: skip
"""Nothing about them is odd."""

JUDGED_BY_A_PROGRAM = [
    Kind("a tolerance", "def third(x):\n    return x / 3\n",
         ["assert math.isclose(third(1), 0.3333, rel_tol=0.001)", "assert abs(third(2) - 0.6667) < 1e-3"],
         "def third(x):\n    return x\n", more=APPROX),
    Kind("pytest's tolerance", "def third(x):\n    return x / 3\n",
         ["assert third(1) == pytest.approx(0.33333333)", "assert third([1][0]) == pytest.approx(1 / 3)"],
         "def third(x):\n    return 0.3\n", more={"test_imports": ["import pytest"]}),
    Kind("rounding", "def third(x):\n    return x / 3\n", ["assert round(third(1), 2) == 0.33"],
         "def third(x):\n    return round(x)\n"),
    Kind("a helper that is set up", "def double(x):\n    return 2 * x\n",
         ["assert same(double(2), 4)", "assert same(double(0.5), 1)"], "def double(x):\n    return x\n",
         more={"test_setup_code": "def same(a, b):\n    return abs(a - b) < 1e-9"}),
    Kind("a helper that calls the function", "def double(x):\n    return 2 * x\n",
         ["assert twice(2) == 8", "assert twice('a') == 'aaaa'"], "def double(x):\n    return x\n",
         "proxied", {"test_setup_code": "def twice(x):\n    return double(double(x))"}),
    Kind("an error", "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x ** 0.5\n",
         ["assert root(4) == 2.0", "try:\n    root(-1)\n    assert False\nexcept ValueError:\n    pass"],
         "def root(x):\n    return abs(x) ** 0.5\n"),
    Kind("an error by pytest",
         "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x ** 0.5\n",
         ["assert root(4) == 2.0", "with pytest.raises(ValueError):\n    root(-1)"],
         "def root(x):\n    return abs(x) ** 0.5\n", more={"test_setup_code": "import pytest"}),
    Kind("a loop", "def square(x):\n    return x * x\n", ["for n in range(5):\n    assert square(n) == n ** 2"],
         "def square(x):\n    return x + x\n"),
    Kind("a helper that names the function", "def name_of(f):\n    return f.__name__\ndef same(x):\n    return x\n",
         ["box = [1]\nassert same(box) == [1]", "assert count() == 2"], "def same(x):\n    return [2]\n",
         more={"test_setup_code": "def count():\n    return len([same, same(1)])"}),
    Kind("a dataclass that is set up", "def norm(p):\n    return abs(p.x) + abs(p.y)\n",
         ["assert norm(Point(1, -2)) == 3", "assert norm(Point(0, 0)) == 0"], "def norm(p):\n    return p.x + p.y\n",
         more={"test_setup_code": DATA}),
    Kind("dataclasses that the code defines", f"{DATA}def mirror(p):\n    return Point(p.y, p.x)\n",
         ["assert mirror(Point(1, 2)) == Point(2, 1)", "assert mirror(Point(0, 3)) == Point(3, 0)"],
         "class Point:\n    def __init__(self, x, y):\n        pass\n    __eq__ = lambda self, other: True\n"
         "def mirror(p):\n    return Point(0, 0)\n"),
    Kind("being handed on", "def key(word):\n    return len(word)\n",
         ["assert sorted(['ccc', 'a', 'bb'], key=key) == ['a', 'bb', 'ccc']",
          "assert list(map(key, ['', 'x'])) == [0, 1]"],
         "def key(word):\n    return -len(word)\n"),
]  # fmt: skip
"""The tests look at more than one value: their own program checks what was recorded."""

NOT_CASES = [
    Kind("an object", f"{POINT}def mirror(x, y):\n    return Point(y, x)\n",
         ["assert mirror(1, 2).x == 2", "assert mirror(1, 2).y == 1"],
         f"{POINT}def mirror(x, y):\n    return Point(x, y)\n", "proxied"),
    Kind("a generator", "def count(n):\n    for i in range(n):\n        yield i\n",
         ["assert list(count(3)) == [0, 1, 2]", "assert next(count(1)) == 0"],
         "def count(n):\n    for i in range(n):\n        yield i + 1\n", "proxied"),
    Kind("a lazy map", "def doubled(xs):\n    return map(lambda x: 2 * x, xs)\n",
         ["assert list(doubled([1, 2])) == [2, 4]"],
         "def doubled(xs):\n    return xs\n"),
    Kind("a function", "def adder(n):\n    return lambda x: x + n\n",
         ["assert adder(2)(3) == 5", "assert adder(0)(1) == 1"],
         "def adder(n):\n    return lambda x: n\n", "proxied"),
    Kind("a function as argument", "def apply(f, x):\n    return f(f(x))\n",
         ["assert apply(lambda v: v + 1, 1) == 3", "assert apply(str.upper, 'a') == 'A'"],
         "def apply(f, x):\n    return f(x)\n", "proxied"),
    Kind("a change in place", "def clear(xs):\n    xs[:] = []\n", ["data = [1, 2]\nclear(data)\nassert data == []"],
         "def clear(xs):\n    xs = []\n", "proxied"),
    Kind("a state", "seen = 0\ndef ticket():\n    global seen\n    seen += 1\n    return seen\n",
         ["assert ticket() == 1", "assert ticket() == 2"], "def ticket():\n    return 1\n", "proxied"),
    Kind("a number of the library's", "from fractions import Fraction\ndef third(x):\n    return Fraction(x, 3)\n",
         ["assert third(1) == Fraction(1, 3)", "assert third(6) == 2"], "def third(x):\n    return x / 3\n",
         more={"test_imports": ["from fractions import Fraction"]}),
    Kind("a coroutine", "async def later(x):\n    return x + 1\n", ["assert asyncio.run(later(1)) == 2"],
         "async def later(x):\n    return x\n", "proxied", {"test_setup_code": "import asyncio"}),
    Kind("an error of its own",
         f"{EMPTY}def first(xs):\n    if not xs:\n        raise Empty('none')\n    return xs[0]\n",
         ["assert first([3]) == 3", "try:\n    first([])\n    assert False\nexcept Empty:\n    pass"],
         "class Empty(Exception):\n    pass\ndef first(xs):\n    return xs[0]\n", "proxied"),
    Kind("an object that is set up", "def norm(p):\n    return abs(p.x) + abs(p.y)\n",
         ["assert norm(Point(1, -2)) == 3", "assert norm(Point(0, 0)) == 0"], "def norm(p):\n    return p.x + p.y\n",
         "proxied", {"test_setup_code": POINT}),
]  # fmt: skip
"""Asserts of one function whose values no list of cases holds."""

SEVERAL_NAMES = [
    Kind("a class", STACK, ["s = Stack()\ns.push(1)\nassert s.pop() == 1", "s.push(2)\nassert s.pop() == 2"],
         STACK.replace("self.items.pop()", "1"), "proxied"),
    Kind("a tree that is set up", f"{NODE}def height(node):\n"
         "    return 0 if node is None else 1 + max(height(node.left), height(node.right))\n",
         ["assert height(root) == 2", "assert height(None) == 0"], f"{NODE}def height(node):\n    return 2\n",
         "proxied",
         {"test_setup_code": "import math\nroot = Node(1) \r\nroot.left = Node(2)"}),
    Kind("two functions", "def coded(s):\n    return s[::-1]\ndef decoded(s):\n    return s[::-1]\n",
         ["assert coded('ab') == 'ba'", "assert decoded(coded('abc')) == 'abc'"],
         "def coded(s):\n    return s[::-1]\ndef decoded(s):\n    return s\n", "proxied"),
]  # fmt: skip
"""Tests of more than one thing."""

KINDS = [*ORDINARY, *JUDGED_BY_A_PROGRAM, *NOT_CASES, *SEVERAL_NAMES]
