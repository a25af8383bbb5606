"""Functions whose tests are code, at tier `proxied`: asserts as of HumanEval, and files for pytest."""

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
    "a-loop": """
        def solve(xs):
            out = []
            for x in xs:
                if x not in out: out.append(x)
            return sorted(out)
    """,
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
    "wait-for": """
        import asyncio
        async def d(n): return n * 2
        async def later(n): return await asyncio.wait_for(d(n), 20)
    """,
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
    "kept-elsewhere": """
        seen = []
        def extend(into, *more):
            seen.append(into)
            seen[-1].extend(more)
            return seen[-1]
    """,
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
    "one-print": """
        def greet(*names):
            print(*('Hello, ' + n for n in names), sep='\\n', end='\\n' if names else '')
    """,
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
    "a-template": """
        import string
        T = string.Template('Hello, $n')
        def greet(*ns):
            for n in ns: print(T.substitute(n=n))
    """,
    "a-partial": """
        import functools
        hello = functools.partial(print, 'Hello,')
        def greet(*names):
            for n in names: hello(n)
    """,
})
# fmt: on

TESTED_FUNCTIONS: list[Honest] = [*_UNIQUE, *_MEAN, *_NESTED, *_EACH, *_LATER, *_PARSE, *_EXTEND, *_GREET]
