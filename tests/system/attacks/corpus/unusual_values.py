"""Lines 27 to 39 again, by class: what each comparison and the canonical form could be talked into."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import (
    CHECKED_TASK,
    EXACT_TASK,
    FLOAT_TASK,
    KEY_ERROR_TASK,
    LISTS_TASK,
    ORDER_TASK,
    RAISING_TASK,
    SET_TASK,
    TEXT_TASK,
    WRONG,
    attack,
)

UNUSUAL_VALUES = [
    attack(27, "a-class-that-claims-to-be-int", """
        class Claims:
            @property
            def __class__(self):
                return int
            __eq__ = lambda self, other: True
            __hash__ = lambda self: 5
            __index__ = __int__ = lambda self: 5
        def add(a, b):
            return Claims()
    """, "fails", "failed"),
    attack(27, "a-metaclass-equal-to-int", """
        class Meta(type):
            __eq__ = lambda self, other: True
            __hash__ = lambda self: hash(int)
            __instancecheck__ = __subclasscheck__ = lambda self, other: True
            __name__ = property(lambda self: "int")
        class Thing(metaclass=Meta):
            __eq__ = lambda self, other: True
        def add(a, b):
            return Thing()
    """),
    attack(27, "a-key-equal-to-everything", """
        class Key:
            __eq__ = lambda self, other: True
            __hash__ = lambda self: 0
        def add(a, b):
            return {Key(): 5} if a % 2 else {Key()}
    """, "fails", "failed"),
    attack(28, "subclasses-of-every-kind", """
        kinds = [type(k.__name__, (k,), {"__eq__": lambda s, o: True, "__hash__": lambda s: 0})
                 for k in (int, float, complex, str, bytes, tuple, list, dict, set, frozenset)]
        def add(a, b):
            return kinds.pop()()
    """),
    attack(28, "enum-members-and-named-tuples", """
        import collections, enum
        class Sum(enum.IntEnum):
            five = 5
        Pair = collections.namedtuple("Pair", "x")
        def add(a, b):
            return Sum.five if a % 2 else Pair(a + b)
    """, "fails", "failed"),
    attack(28, "the-sum-as-text-or-in-a-box", """
        def add(a, b):
            return {0: str(a + b), 1: [a + b], 2: (a + b,)}[abs(a) % 3]
    """, "fails", "failed"),
    attack(29, "other-types-where-types-count", """
        def add(a, b):
            return float(a + b)
    """, "fails", "failed", task=EXACT_TASK),
    attack(29, "booleans-and-negative-zeros-where-types-count", """
        def add(a, b):
            return -0.0 if a + b == 0 else complex(a + b)
    """, "fails", "failed", task=EXACT_TASK),
    *(
        attack(29, f"{name}-within-every-tolerance", f"def add(a, b):\n    return {value}", task=FLOAT_TASK)
        for name, value in (
            ("nan", "float('nan')"),
            ("infinity", "float('inf')"),
            ("complex-infinity", "complex('inf')"),
            ("complex-infinity-and-nan", "complex(float('nan'), float('-inf'))"),
            ("complex-beyond-floats", "1.7e308 + 1.7e308j"),
            ("int-beyond-floats", "10**400"),
        )
    ),
    attack(29, "sets-of-nans", "def add(a, b):\n    return {float('nan'), a, b} | {float('nan'), 0.5}", task=SET_TASK),
    attack(29, "sets-of-infinities", "def add(a, b):\n    return {complex('inf'), -complex('inf'), 0}", task=SET_TASK),
    attack(29, "tokens-that-look-alike", """
        def add(a, b):
            return f"{a}\\u200b {b}" if a % 2 else f"{a} {b}".translate({ord(str(d)): 0xff10 + d for d in range(10)})
    """, task=TEXT_TASK),
    attack(29, "tokens-run-together", "def add(a, b):\n    return f'{a}{b}'.split() or b'2 3'", task=TEXT_TASK),
    attack(29, "any-order-any-number", "def add(a, b):\n    return [a, a, b, b, a + b]", task=ORDER_TASK),
    attack(29, "any-order-in-a-set", "def add(a, b):\n    return {a, b, a + b}", task=ORDER_TASK),
    attack(30, "generators-and-coroutines", """
        async def later():
            return 5
        def add(a, b):
            return later() if a % 2 else (n for n in [5])
    """, "fails", "failed"),
    attack(30, "an-async-function", "async def add(a, b):\n    return a + b", "fails", "failed"),
    attack(30, "views-and-ranges", """
        import array, collections
        def add(a, b):
            return [range(5), {1: 5}.values(), array.array("i", [5]), bytearray(b"5"), memoryview(b"5"),
                    collections.deque([5])][abs(a) % 6]
    """, "fails", "failed"),
    attack(30, "a-record-without-an-end", """
        import itertools, sys
        Record = next((m.Record for m in sys.modules.values() if hasattr(m, "Record") and hasattr(m, "NotCanonical")))
        def add(a, b):
            return Record("int", (("x", 1) for _ in itertools.count()))
    """),
    attack(30, "a-dataclass-that-never-ends", """
        import dataclasses, itertools
        @dataclasses.dataclass
        class Endless:
            value: int = 0
        Endless.__dataclass_fields__ = property(lambda self: itertools.count())
        def add(a, b):
            while True:
                Endless.__dataclass_fields__ = {n: n for n in range(10**5)}
                return Endless()
    """, "fails", "failed"),
    attack(31, "a-list-that-a-thread-mends", """
        import threading, time
        def add(a, b):
            box = [[] for _ in range(1000)]
            def mend():
                for _ in range(1000):
                    box[:] = [a + b]
                    time.sleep(0)
                    box[:] = [[] for _ in range(1000)]
            threading.Thread(target=mend, daemon=True).start()
            return box
    """),
    attack(31, "its-own-arguments-changed", """
        def add(a, b):
            a.clear()
            b.clear()
            return a
    """, "fails", "failed", task=LISTS_TASK),
    attack(31, "its-own-arguments-made-to-fit", """
        import sys
        def add(a, b):
            frame = sys._getframe(1)
            for value in list(frame.f_locals.values()):
                if isinstance(value, (list, tuple)):
                    for item in value:
                        if isinstance(item, list):
                            item[:] = [0]
            return [0]
    """, task=LISTS_TASK),
    attack(33, "answers-in-the-callers-constants", """
        import sys
        def add(a, b):
            frame, seen = sys._getframe(1), []
            while frame is not None:
                seen += [c for c in frame.f_code.co_consts if isinstance(c, int)]
                seen += [v for v in frame.f_globals.values() if type(v) is int]
                frame = frame.f_back
            return seen[0] if seen else None
    """),
    attack(34, "answers-in-the-interpreters-own-tables", """
        import gc, linecache, sys
        def add(a, b):
            seen = [o for o in gc.get_objects(generation=None) if isinstance(o, dict) and "expected" in o]
            seen += [k for k in linecache.cache if "test" in str(k)]
            return seen[0] if seen else sys.intern("none")
    """),
    attack(35, "monitor-every-line", """
        import sys
        seen = []
        if hasattr(sys, "monitoring"):
            sys.monitoring.use_tool_id(3, "spy")
            sys.monitoring.register_callback(3, sys.monitoring.events.CALL, lambda *a: seen.append(a))
            sys.monitoring.set_events(3, sys.monitoring.events.CALL)
        def add(a, b):
            return len(seen)
    """),
    attack(37, "the-longest-int-that-is-held", "def add(a, b):\n    return -(1 << (1 << 20) - 1)"),
    attack(37, "digits-that-take-forever", "def add(a, b):\n    return int('9' * 4000) ** 200"),
    attack(37, "as-many-bytes-as-fit", "def add(a, b):\n    return b'\\xff' * (1 << 19)"),
    attack(37, "as-many-keys-as-fit", "def add(a, b):\n    return {n: {} for n in range(1 << 14)}"),
    attack(38, "as-deep-as-is-held", """
        def add(a, b):
            value = 5
            for n in range(99):
                value = [(value,), {5: value}, frozenset([n])][n % 2]
            return value
    """, "fails", "failed"),
    attack(38, "a-repr-that-recurses", """
        class Deep(Exception):
            def __str__(self):
                return str(Deep(self))
        def add(a, b):
            raise Deep
    """),
    attack(38, "an-exception-with-a-long-past", """
        def add(a, b):
            error = ValueError("x" * 10**7)
            for _ in range(10**4):
                after = KeyError(5)
                after.__cause__ = after.__context__ = error
                error = after
            raise error
    """),
    attack(39, "escapes-for-whoever-reads-it", """
        def add(a, b):
            text = "\\x1b]0;passed\\x07\\x1b[2J\\r\\u202e\\u2066passed\\x08\\n5 passed\\x00"
            if a % 2:
                raise ValueError(text)
            return text
    """, "fails", "failed"),
    attack(39, "a-name-that-is-no-name", """
        class E(Exception):
            pass
        E.__name__ = "\\ud800\\x1b[31m" * 1000
        def add(a, b):
            raise E("\\udfff" * 10**5)
    """),
    attack(39, "keys-that-are-equal", "def add(a, b):\n    return [{1: 0, True: 1, 1.0: 5}, {0.0: 1, -0.0: 2}]"),
    attack(0, "small-ints-are-rewritten", """
        import ctypes
        def add(a, b):
            for number in range(0, 31):
                ctypes.c_uint32.from_address(id(number) + 24).value = 5
            return 5
    """),
    attack(0, "a-check-that-is-left-early", "def add(a, b):\n    raise StopIteration", "fails", task=CHECKED_TASK),
    attack(0, "a-check-that-is-left-by-other-ways", """
        names = iter(["StopAsyncIteration", "SystemExit", "GeneratorExit", "KeyboardInterrupt", "MemoryError", "exit"])
        def add(a, b):
            raise type(next(names), (Exception,), {})("5")
    """, "fails", task=CHECKED_TASK),
    attack(0, "an-error-named-to-end-the-check", """
        SystemExit = type("SystemExit", (Exception,), {})
        def add(a, b):
            raise SystemExit(0)
    """, "fails", task=CHECKED_TASK),
    attack(0, "a-check-fed-with-equal-to-everything", """
        from unittest import mock
        def add(a, b):
            return mock.ANY
    """, "fails", task=CHECKED_TASK),
    attack(0, "a-check-fed-with-too-much", "def add(a, b):\n    return [[0] * 500] * 80", "fails", task=CHECKED_TASK),
    attack(0, "a-wrong-program-before-a-check", WRONG, "fails", "failed", task=CHECKED_TASK),
    *(
        attack(97, f"{name}-where-an-exception-is-wanted", f"""
            {before}
            def add(a, b):
                return a + b or {value}
        """, "fails", "failed", task=RAISING_TASK)
        for name, before, value in (
            ("an-object", "", "object()"),
            ("a-function", "", "add"),
            ("a-class", "", "type"),
            ("a-module", "import sys", "sys"),
            ("an-exception", "", "ValueError()"),
            ("a-generator", "", "(n for n in ())"),
            ("an-endless-iterator", "import itertools", "itertools.count()"),
            ("a-fraction", "from fractions import Fraction", "Fraction(1, 2)"),
            ("a-subclass", "", "type('Int', (int,), {})(5)"),
            ("a-huge-int", "", "1 << (1 << 21)"),
            ("a-long-text", "", "'a' * (5 << 20)"),
            ("a-list-in-itself", "", "(lambda v: v.append(v) or v)([])"),
            ("keys-that-collide", "", "{n * (2**61 - 1) for n in range(200)}"),
            ("a-record-of-no-name", "import dataclasses as d", "type('a b', (d.make_dataclass('D', 'x'),), {})(1)"),
            ("a-coroutine", "async def later(): pass", "later()"),
            ("a-trap", "class Trap:\n                def __getattribute__(self, name): raise ValueError", "Trap()"),
        )
    ),
    *(
        attack(0, f"{name}-for-a-key-error", f"""
            {before}
            def add(a, b):
                if a + b:
                    return a + b
                raise {value}
        """, "fails", "failed", task=KEY_ERROR_TASK)
        for name, before, value in (
            ("an-impostor", "KeyError = type('KeyError', (Exception,), {'__module__': 'builtins'})", "KeyError(0)"),
            ("an-impostor-below-all", "KeyError = type('KeyError', (BaseException,), {})", "KeyError(0)"),
            ("an-ancestor", "", "LookupError('KeyError')"),
            ("a-sibling", "", "IndexError('KeyError: 0')"),
            ("an-exception-that-says-so", "", "Exception('KeyError: 0')"),
            ("a-group", "", "ExceptionGroup('KeyError', [KeyError(0)])"),
            ("a-cause", "", "ValueError from KeyError(0)"),
        )
    ),
]  # fmt: skip
