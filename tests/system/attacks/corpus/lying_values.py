"""Lines 27 to 39: values that lie, and what abuses their comparison."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import BOXED_TASK, FORGE, RIGHT, WRONG, attack

LYING_VALUES = [
    attack(27, "equal-to-everything", """
        class Everything:
            def __eq__(self, other):
                return True
            def __ne__(self, other):
                return False
        def add(a, b):
            return Everything()
    """),
    attack(28, "int-equal-to-everything", """
        class Int(int):
            def __eq__(self, other):
                return True
            __hash__ = int.__hash__
        def add(a, b):
            return Int(0)
    """),
    attack(28, "right-value-of-a-subclass", "class Int(int):\n    pass\ndef add(a, b):\n    return Int(a + b)", "same"),
    attack(28, "wrong-value-of-a-subclass-that-says-otherwise", """
        class Int(int):
            right = 0
            def __int__(self):
                return self.right
            __eq__ = lambda self, other: True
            __hash__ = lambda self: hash(self.right)
            __index__ = __trunc__ = __pos__ = __abs__ = __int__
            __add__ = __radd__ = __sub__ = lambda self, other: self.right
            __repr__ = __str__ = lambda self: repr(self.right)
            def __reduce__(self):
                return int, (self.right,)
            real = numerator = property(__int__)
        def add(a, b):
            value = Int(7)
            value.right = a + b
            return value
    """, "fails", "failed"),
    attack(28, "str-and-list-subclasses", """
        class Text(str):
            __eq__ = lambda self, other: True
            __hash__ = str.__hash__
        class List(list):
            __eq__ = lambda self, other: True
        def add(a, b):
            return Text("5") if a % 2 else List([5])
    """),
    attack(28, "subclass-made-to-look-exact", """
        class Int(int):
            __eq__ = lambda self, other: True
            __hash__ = int.__hash__
        Int.__name__ = Int.__qualname__ = "int"
        Int.__module__ = "builtins"
        def add(a, b):
            return Int(0)
    """),
    attack(28, "lies-inside-containers", """
        class Int(int):
            __eq__ = lambda self, other: True
            __hash__ = int.__hash__
        def add(a, b):
            return [(Int(0),)]
    """),
    attack(29, "nan", "def add(a, b):\n    return float('nan')"),
    attack(29, "true", "def add(a, b):\n    return True"),
    attack(29, "float-for-int-is-equal-in-python", "def add(a, b):\n    return float(a + b)", "same"),
    attack(29, "numpy-like-scalar", """
        class int64:
            def __init__(self, value):
                self.value = value
            def __eq__(self, other):
                return True
            def __array__(self):
                return [5]
            dtype = "int64"
        def add(a, b):
            return int64(0)
    """),
    attack(30, "traps", """
        class Trap(list):
            def __iter__(self):
                while True:
                    yield 1
            __len__ = __hash__ = lambda self: 1 << 62
            __float__ = lambda self: 5.0
            __reduce__ = __repr__ = __str__ = None
            @property
            def __class__(self):
                while True:
                    pass
        def add(a, b):
            return Trap()
    """, "killed"),
    attack(30, "infinite-iterator", "import itertools\ndef add(a, b):\n    return itertools.count()"),
    attack(30, "dataclass-with-endless-fields", """
        import dataclasses
        @dataclasses.dataclass
        class Lazy:
            value: int = 0
            def __getattribute__(self, name):
                return [Lazy()] if name == "value" else object.__getattribute__(self, name)
        def add(a, b):
            return Lazy()
    """, "killed"),
    attack(31, "list-that-becomes-right-later", """
        kept = []
        def add(a, b):
            for box, total in kept:
                box[0] = total
            box = [None]
            kept.append((box, a + b))
            return box
    """, task=BOXED_TASK),
    attack(32, "mock-any", "from unittest import mock\ndef add(a, b):\n    return mock.ANY"),
    attack(33, "expected-up-the-stack", """
        import inspect
        def add(a, b):
            for info in inspect.stack():
                for name in ("expected", "answer", "want", "target", "cases", "tests"):
                    if name in info.frame.f_locals:
                        return info.frame.f_locals[name]
            return None
    """),
    attack(34, "expected-on-the-heap", """
        import gc
        def add(a, b):
            for thing in gc.get_objects():
                if isinstance(thing, (list, tuple)) and len(thing) == 2 and thing[0] in ([a, b], (a, b)):
                    return thing[1]
                if isinstance(thing, dict) and thing.get("args") in ([a, b], (a, b)):
                    return thing.get("expected")
            return None
    """),
    attack(35, "trace-the-comparison", """
        import sys, threading
        seen = []
        def tracer(frame, event, arg):
            seen.append({k: v for k, v in frame.f_locals.items() if k in ("expected", "actual", "want")})
            return tracer
        sys.settrace(tracer)
        sys.setprofile(tracer)
        threading.settrace(tracer)
        def add(a, b):
            return next((v for names in seen for v in names.values()), None)
    """),
    attack(36, "answers-by-order", """
        order = iter([5, 0, 30, 15, 0, 50])
        def add(a, b):
            return next(order)
    """),
    attack(36, "table-of-public-examples", "def add(a, b):\n    return {(2, 3): 5, (-1, 1): 0}.get((a, b), 0)"),
    attack(37, "huge-int", "def add(a, b):\n    return 1 << (1 << 24)"),
    attack(37, "long-text", "def add(a, b):\n    return '9' * 10**7"),
    attack(37, "many-values", "def add(a, b):\n    return [0] * 10**6"),
    attack(38, "deep-list", """
        def add(a, b):
            value = []
            for _ in range(10**5):
                value = [value]
            return value
    """),
    attack(38, "deep-json-on-the-channel", FORGE + "forge('{\"id\":' + '[' * 10**5)" + RIGHT),
    attack(38, "list-in-itself", "def add(a, b):\n    value = []\n    value.append(value)\n    return value"),
    attack(38, "shared-lists", """
        def add(a, b):
            value = []
            for _ in range(60):
                value = [value, value]
            return value
    """),
    attack(39, "surrogates-and-nul", "def add(a, b):\n    return '\\ud800\\x00\\udfff'"),
    attack(39, "surrogates-on-the-channel", FORGE + WRONG + r"""
forge(b'\xed\xa0\x80', b'{"load_error":"\\ud800"}')
"""),
    attack(39, "surrogates-in-an-error", "def add(a, b):\n    raise ValueError('\\ud800\\x00')"),
    attack(39, "error-without-words", """
        class Mute(Exception):
            def __str__(self):
                raise Mute
            __repr__ = __str__
        def add(a, b):
            raise Mute
    """),
    attack(39, "nan-and-duplicate-keys-on-the-channel", FORGE + """
ids = []
def add(a, b):
    for one in call_ids():
        forge('{"id":"%s","value":NaN}' % one, '{"id":"%s","id":"%s","value":1}' % (one, one))
    return a + b
"""),
    attack(39, "hashes-that-collide", """
        def add(a, b):
            return set(k * (2**61 - 1) for k in range(3000))
    """),
]  # fmt: skip
