"""By class, what the list has no line for: texts that no honest run writes, and values that a comparison could miss."""

from __future__ import annotations

from tests.system.attacks.corpus.attack import (
    CHECKED_TASK,
    FORGE,
    JSON_TASK,
    LINES_TASK,
    LOOPED_TASK,
    NESTED_TASK,
    RECORD_TASK,
    SET_TASK,
    attack,
)


def _forged(name: str, text: str, task: object = None) -> object:
    """The attack that writes `text`, made of a, b and their sum, as its value's canonical text."""
    program = f"""{FORGE}
def add(a, b):
    value = a + b
    harness()["value_frame"] = lambda one, _: '{{"id":"%s","value":%s}}' % (one, {text})
    return None
"""
    options = {} if task is None else {"task": task}
    return attack(0, name, program, "fails", "tampered", "failed", **options)  # pyright: ignore[reportArgumentType]


FORGED_VALUES = [
    _forged("text-of-a-long-form-of-a-short-int", "'{\"i\":\"%s\"}' % hex(value)"),
    _forged("text-with-spaces", "' %d ' % value"),
    _forged("text-of-a-dict-with-equal-keys", "'{\"d\":[[1,%d],[true,%d]]}' % (value, value)"),
    _forged("text-of-a-set-that-is-not-sorted", "'{\"s\":[%d,%d,0.5]}' % (max(a, b), min(a, b))", SET_TASK),
    _forged("text-of-forty-thousand-lists", "'[' + '[],' * 40_000 + '[]]'"),
    _forged("text-of-a-float-of-a-hundred-thousand-digits", "'0.' + '9' * 100_000"),
    attack(0, "a-counter-whose-items-never-end", """
        import collections, itertools
        def add(a, b):
            counted = collections.Counter({1: 5})
            counted.items = lambda: ((n, n) for n in itertools.count())
            return counted
    """, "fails", "failed"),
    attack(0, "an-int-with-a-repr-of-its-own-in-a-list", """
        class Int(int):
            __repr__ = __str__ = __format__ = lambda self, *args: "5"
            __reduce__ = __reduce_ex__ = lambda self, *args: (int, (5,))
            __index__ = __int__ = __trunc__ = lambda self: 5
        def add(a, b):
            return [Int(a), {Int(b): 0.5}]
    """, "fails", "failed"),
    attack(0, "fields-that-are-other-each-time", """
        import dataclasses, itertools
        count = itertools.count()
        @dataclasses.dataclass
        class Pair:
            left: int
            right: int
            def __getattribute__(self, name):
                return next(count)
        def add(a, b):
            return Pair(a, b)
    """, task=RECORD_TASK),
    attack(0, "fields-by-other-names", """
        import dataclasses
        Pair = dataclasses.make_dataclass("Pair", ["right", "left"], eq=False)
        Pair.__eq__ = lambda self, other: True
        def add(a, b):
            return Pair(b, a)
    """, "fails", "failed", task=RECORD_TASK),
    attack(0, "keys-that-json-cannot-tell-apart", """
        def add(a, b):
            return {a: None, str(a): [b, (a + b,)]}
    """, "fails", "failed", task=JSON_TASK),
    attack(0, "nan-for-every-number-in-a-nest", """
        def add(a, b):
            return [[a, b], [float("nan")]]
    """, "fails", "failed", task=NESTED_TASK),
    attack(0, "errors-that-the-checker-might-take-for-its-own", """
        names = iter("AssertionError RecursionError MemoryError ImportError UnicodeDecodeError OSError".split())
        def add(a, b):
            raise type(next(names), (Exception,), {})("True")
    """, "fails", task=CHECKED_TASK),
    attack(0, "the-end-of-a-map-of-the-checkers", """
        def add(a, b):
            raise type("StopIteration", (Exception,), {})()
    """, "fails", task=LOOPED_TASK),
    attack(0, "a-record-named-as-the-checkers-own-class", """
        import dataclasses
        @dataclasses.dataclass
        class Total:
            value: int = 0
            seen: int = 0
        def add(a, b):
            return Total(a + b, 1)
    """, "fails", task=LOOPED_TASK),
    attack(0, "marks-of-the-next-executions", """
        import sys
        frame = sys._getframe()
        while "request" not in frame.f_locals:
            frame = frame.f_back
        for one, _ in frame.f_locals["request"]["calls"]:
            sys.stdout.write(f"0\\n\\0{one}\\0")
    """, "fails", task=LINES_TASK),
    attack(0, "one-case-for-each-limit-of-time", """
        import os, time
        time.sleep(0.7)
        print(input())
        os.sys.stdout.flush()
        os._exit(0)
    """, "fails", "failed", task=LINES_TASK),
    attack(0, "executions-that-print-for-each-other", """
        import atexit, builtins, sys, threading, time
        held = sys.modules.setdefault("held", [])
        if not held:
            def late():
                while True:
                    time.sleep(0.001)
                    sys.stdout.write("0\\n")
            threading.Thread(target=late, daemon=True).start()
        held.append(sys.stdout)
        print(sum(map(int, input().split())) + 1)
    """, "fails", task=LINES_TASK),
]  # fmt: skip
