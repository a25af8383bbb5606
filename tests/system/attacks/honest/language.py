"""Right, by unusual means of the language."""

from __future__ import annotations

from tests.system.attacks.honest.program import honest

# fmt: off
LANGUAGE = [
    honest("classes-with-inheritance", """
        class Shape:
            def __init__(self, side): self.side = side
            def area(self): raise NotImplementedError
        class Square(Shape):
            def area(self): return self.side ** 2
        class Cube(Square):
            def area(self): return 6 * super().area()
        solve = lambda side: Cube(side).area()
    """, (2, 24), (3, 54)),
    honest("generators", """
        def walk(n):
            while n != 1:
                yield n
                n = n // 2 if n % 2 == 0 else 3 * n + 1
            yield from (1,)
        def solve(n):
            return list(walk(n))
    """, (6, [6, 3, 10, 5, 16, 8, 4, 2, 1])),
    honest("decorators-and-closures", """
        import functools
        def twice(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return 2 * function(*args, **kwargs)
            return wrapper
        @twice
        @twice
        def solve(n, *rest, factor=1):
            return n * factor + sum(rest)
    """, (3, 12), (1, 2, 3, 24)),
    honest("a-callable-object", """
        class Solver:
            def __call__(self, a, b): return divmod(a, b)
        solve = Solver()
    """, (7, 2, (3, 1))),
    honest("a-bound-method", """
        class Solver:
            seen = 0
            def solve(self, n):
                self.seen += n
                return n + 1
        solve = Solver().solve
    """, (1, 2), (5, 6)),
    honest("a-partial", "import functools\nsolve = functools.partial(max, 10)", (3, 10), (30, 30)),
    honest("a-builtin", "solve = sorted", ([3, 1, 2], [1, 2, 3])),
    honest("a-class-as-the-entry-point", """
        class solve(dict):
            def __new__(cls, n): return {n: str(n)}
    """, (4, {4: "4"})),
    honest("recursion-to-the-limit", """
        import sys
        def solve(n):
            return 0 if n == 0 else 1 + solve(n - 1)
    """, (900, 900)),
    honest("recursion-beyond-the-usual-limit", """
        import sys
        sys.setrecursionlimit(20_000)
        def solve(n):
            return 0 if n == 0 else 1 + solve(n - 1)
    """, (9_000, 9_000)),
    honest("recursion-in-a-thread-with-a-stack-of-its-own", """
        import sys, threading
        sys.setrecursionlimit(50_000)
        threading.stack_size(64 << 20)
        def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
        def solve(n):
            found = []
            thread = threading.Thread(target=lambda: found.append(depth(n)))
            thread.start()
            thread.join()
            return found[0]
    """, (20_000, 20_000)),
    honest("custom-exceptions", """
        class Empty(ValueError):
            def __init__(self, name): super().__init__(f"{name} is empty")
        def first(items):
            if not items: raise Empty("list") from KeyError("none")
            return items[0]
        def solve(items):
            try:
                return first(items)
            except Empty as error:
                return str(error)
            finally:
                pass
    """, ([], "list is empty"), ([5], 5)),
    honest("an-exception-group-or-its-like", """
        def solve(n):
            try:
                [][n]
            except (IndexError, KeyError) as error:
                return type(error).__name__
    """, (0, "IndexError")),
    honest("context-managers", """
        import contextlib
        @contextlib.contextmanager
        def logged(log):
            log.append("in")
            try:
                yield log
            finally:
                log.append("out")
        def solve(n):
            with logged([]) as log, contextlib.suppress(ZeroDivisionError):
                log.append(n / 0)
            return log
    """, (1, ["in", "out"])),
    honest("metaclasses-and-descriptors", """
        class Registry(type):
            known = {}
            def __new__(mcs, name, bases, space):
                made = super().__new__(mcs, name, bases, space)
                mcs.known[name.lower()] = made
                return made
        class Double:
            def __get__(self, instance, owner): return 2 * instance.n
        class Number(metaclass=Registry):
            double = Double()
            __slots__ = ("n",)
            def __init__(self, n): self.n = n
        def solve(n):
            return Registry.known["number"](n).double
    """, (21, 42)),
    honest("operators-of-its-own", """
        class Vector:
            def __init__(self, *parts): self.parts = parts
            def __add__(self, other): return Vector(*(a + b for a, b in zip(self.parts, other.parts)))
            def __matmul__(self, other): return sum(a * b for a, b in zip(self.parts, other.parts))
        def solve(a, b):
            return (Vector(*a) + Vector(*b)).parts, Vector(*a) @ Vector(*b)
    """, ([1, 2], [3, 4], ((4, 6), 11))),
    honest("global-state", """
        calls = 0
        def solve(n):
            global calls
            calls += 1
            return n if calls > 0 else None
    """, (1, 1), (2, 2)),
    honest("caches", """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def solve(n):
            return n if n < 2 else solve(n - 1) + solve(n - 2)
    """, (90, 2880067194370816120), (10, 55)),
    honest("a-main-guard", """
        def solve(n):
            return n * n
        def main():
            raise SystemExit(solve(int(input())))
        if __name__ == "__main__":
            main()
    """, (9, 81)),
    honest("executed-and-compiled-text", """
        space = {}
        exec(compile("def double(n): return 2 * n", "<made>", "exec"), space)
        def solve(n):
            return eval("double(n) + 1", space, {"n": n})
    """, (4, 9)),
    honest("introspection", """
        import inspect
        def solve(a, b=2, *, c=3):
            return list(inspect.signature(solve).parameters), inspect.getsource(solve).count("return")
    """, (1, (["a", "b", "c"], 2))),
    honest("annotations-that-are-looked-at", """
        from __future__ import annotations
        import typing
        def solve(n: list[int] | None) -> typing.Optional[int]:
            return len(solve.__annotations__) + len(n or [])
    """, ([1], 3), (None, 2)),
    honest("walrus-and-starred", """
        def solve(items):
            first, *middle, last = items
            return [y for x in middle if (y := x * x) > 4], {**{"first": first}, "last": last}
    """, ([1, 2, 3, 4], ([9], {"first": 1, "last": 4}))),
    honest("keyword-only-and-defaults", """
        def solve(*numbers, start=0, step=lambda n: n):
            return start + sum(map(step, numbers))
    """, (1, 2, 3, 6)),
]
# fmt: on
