"""Attacks on the verdict, as data: each is a small program that a verifier must not believe.

The task is `add(a, b)`; the programs are wrong unless their outcome is "same". Numbers are those of the list that the
project keeps; a number may stand here several times, in several disguises. Outcomes:

    fails    not passed
    same     the same verdict as the equivalent honest program (which here is right)
    killed   not passed, and stopped within the limit plus one second

After each attack an honest program must pass in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from agent_rl.vocabulary import CallTests, Case, Limits, Task
from agent_rl.vocabulary.verdict import VerdictStatus

LIMITS = Limits(wall_seconds=1.0, cpu_seconds=1.0, memory_bytes=256 * 2**20)
SUMS = ((2, 3), (-1, 1), (10, 20), (7, 8), (0, 0), (100, -50))
TASK = Task("add", (), CallTests("add", tuple(Case((a, b), a + b) for a, b in SUMS)), limits=LIMITS)
BOXED_TASK = Task("boxed", (), CallTests("add", tuple(Case((a, b), [a + b]) for a, b in SUMS)), limits=LIMITS)
HONEST = "def add(a, b):\n    return a + b\n"
Outcome = Literal["fails", "same", "killed"]


@dataclass(frozen=True, slots=True)
class Attack:
    """One program, what must become of it, and how its verdict may read (empty: in any way)."""

    number: int
    name: str
    program: str
    outcome: Outcome = "fails"
    statuses: tuple[VerdictStatus, ...] = ()
    task: Task = TASK

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"


def attack(
    number: int, name: str, program: str, outcome: Outcome = "fails", *statuses: VerdictStatus, task: Task = TASK
) -> Attack:
    return Attack(number, name, dedent(program).lstrip("\n"), outcome, statuses, task)


WRONG = "def add(a, b):\n    return a - b - 1\n"
FORGE = '''
import json, os, struct

def forge(*texts, prefix=True):
    """Writes each text to every open descriptor, as the frame of a result channel or as it is."""
    for fd in range(3, 256):
        for text in texts:
            data = text if isinstance(text, bytes) else text.encode()
            try:
                os.write(fd, struct.pack(">I", len(data)) + data if prefix else data)
            except OSError:
                break

def call_ids():
    """The ids of this run's calls, taken from the frames of whoever calls us."""
    import sys
    found, frame = [], sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            text = repr(value)
            found += [part for part in text.replace('"', "'").split("'") if len(part) == 16 and part.isalnum()]
        frame = frame.f_back
    return list(dict.fromkeys(found))
'''
RIGHT = "\ndef add(a, b):\n    return a + b\n"

EARLY_EXIT = [
    attack(1, "sys-exit-at-load", "import sys\nsys.exit(0)"),
    attack(1, "sys-exit-in-call", "import sys\ndef add(a, b):\n    sys.exit(0)"),
    attack(2, "os-exit-at-load", "import os\nos._exit(0)"),
    attack(3, "raise-system-exit", "raise SystemExit"),
    attack(3, "raise-system-exit-in-call", "def add(a, b):\n    raise SystemExit(0)"),
    attack(4, "os-exit-in-call", "import os\ndef add(a, b):\n    os._exit(0)"),
    attack(4, "os-exit-after-half-of-the-calls", """
        import os
        calls = []
        def add(a, b):
            calls.append(1)
            if len(calls) > 3:
                os._exit(0)
            return a + b
    """),
    attack(5, "skip-test", "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('skipped')"),
    attack(6, "pytest-skip", "import pytest\npytest.skip('no', allow_module_level=True)"),
    attack(7, "pytest-exit", "import pytest\npytest.exit('ok', returncode=0)"),
    attack(7, "exceptions-named-like-pytests", """
        class Exit(BaseException):
            returncode = 0
        Exit.__module__ = "_pytest.outcomes"
        def add(a, b):
            raise Exit
    """),
    attack(8, "ignore-signals-and-spin", """
        import signal
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        def add(a, b):
            while True:
                pass
    """, "killed", "timeout"),
    attack(8, "spin-at-load", "while True:\n    pass", "killed", "timeout"),
    attack(9, "swallow-everything", """
        import time
        def add(a, b):
            while True:
                try:
                    time.sleep(0.01)
                except BaseException:
                    continue
    """, "killed", "timeout"),
    attack(10, "exit-in-del", """
        import sys
        class Exit:
            def __del__(self):
                sys.exit(0)
        kept = Exit()
        def add(a, b):
            Exit()
            return a + b
    """, "same"),
    attack(10, "exit-in-finalizers", """
        import atexit, sys, weakref
        class Thing:
            pass
        thing = Thing()
        weakref.finalize(thing, sys.exit, 0)
        atexit.register(sys.exit, 1)
        def add(a, b):
            return a + b
    """, "same"),
    attack(11, "kill-oneself", "import os\ndef add(a, b):\n    os.kill(os.getpid(), 9)"),
    attack(11, "terminate-oneself", "import os\nos.kill(os.getpid(), 15)"),
    attack(12, "excepthook", "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0"),
    attack(13, "abort", "import os\ndef add(a, b):\n    os.abort()"),
]  # fmt: skip

FORGED_RESULTS = [
    attack(14, "print-a-summary", "print('===== 6 passed in 0.01s =====')\n" + WRONG),
    attack(15, "print-a-verdict", """
        import sys
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            print('{"passed": true, "status": "passed"}', file=stream, flush=True)
        def add(a, b):
            return None
    """),
    attack(16, "pass-on-every-descriptor", FORGE + WRONG + "forge('PASS', prefix=False)"),
    attack(16, "verdict-frames-on-every-descriptor", FORGE + WRONG + "forge('{\"passed\":true}')"),
    attack(16, "right-length-then-exit", FORGE + "forge('{\"loaded\":true}')\nos._exit(0)"),
    attack(17, "result-files", """
        import os
        for folder in (".", "/tmp", "/logs/verifier", "/logs", os.path.expanduser("~")):
            for name in ("reward.txt", "report.xml", "results.json", "result", "stdout"):
                try:
                    os.makedirs(folder, exist_ok=True)
                    with open(os.path.join(folder, name), "w") as file:
                        file.write('1')
                except OSError:
                    pass
        def add(a, b):
            return None
    """),
    attack(18, "append-to-lists-up-the-stack", """
        import sys
        def add(a, b):
            frame = sys._getframe()
            while frame is not None:
                for value in frame.f_locals.values():
                    if isinstance(value, list):
                        value.append("passed")
                    if isinstance(value, dict) and value is not frame.f_locals:
                        value["passed"] = True
                frame = frame.f_back
            return None
    """),
    attack(18, "patch-what-writes-the-frames", """
        import sys
        for module in list(sys.modules.values()):
            for name in ("encode", "value_frame", "_send", "equal", "judge"):
                if hasattr(module, name) and not module.__name__.startswith(("base64", "json", "solution")):
                    setattr(module, name, lambda *a, **k: '{"passed":true}')
        def add(a, b):
            return None
    """),
    attack(18, "own-frames-for-all-calls-then-exit", FORGE + """
def add(a, b):
    forge(*['{"id":"%s","value":true}' % one for one in call_ids()])
    os._exit(0)
"""),
    attack(19, "put-into-queues", """
        import gc
        def add(a, b):
            for thing in gc.get_objects():
                if type(thing).__name__ in ("Queue", "SimpleQueue", "ListProxy", "Connection"):
                    for method in ("put", "append", "send"):
                        try:
                            getattr(thing, method)("passed")
                        except Exception:
                            pass
            return None
    """),
    attack(20, "connect-to-a-manager", """
        import glob, multiprocessing
        from multiprocessing.connection import Client
        def add(a, b):
            key = bytes(multiprocessing.current_process().authkey)
            for path in glob.glob("/tmp/**/listener-*", recursive=True):
                try:
                    Client(path, authkey=key).send("passed")
                except Exception:
                    pass
            return None
    """),
    attack(21, "pickle-bomb", """
        import os, pickle
        class Bomb:
            def __reduce__(self):
                return os._exit, (0,)
        def add(a, b):
            return Bomb() if a % 2 else pickle.dumps(Bomb())
    """),
    attack(22, "close-all-descriptors", "import os\ndef add(a, b):\n    os.closerange(0, 1024)\n    return a + b"),
    attack(22, "close-all-descriptors-at-load", "import os\nos.closerange(0, 1024)" + RIGHT),
    attack(23, "echo-what-proc-says", FORGE + """
import glob
def add(a, b):
    said = []
    for path in ["/proc/self/environ", "/proc/self/cmdline", *glob.glob("/proc/self/fd*/*")]:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            said.append(os.read(fd, 4096))
            os.close(fd)
        except OSError:
            pass
    forge(*said)
    return None
"""),
    attack(24, "answer-after-the-end", FORGE + """
import time
if os.fork() == 0:
    os.setsid()
    time.sleep(3)
    forge('{"loaded":true}')
    os._exit(0)
os._exit(0)
"""),
    attack(24, "child-holds-the-channel", """
        import os, time
        def add(a, b):
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            os._exit(0)
    """),
    attack(24, "a-forked-copy-answers-nothing", """
        import os
        forked = []
        def add(a, b):
            if not forked:
                forked.append(os.fork())
                if forked[0]:
                    os.waitpid(forked[0], 0)  # the copy would have answered every call by now
            return a + b
    """, "same"),
    attack(25, "a-million-frames", FORGE + "forge(*['{\"id\":\"00\",\"value\":1}'] * 1_000_000)" + RIGHT),
    attack(25, "half-a-frame", FORGE + "forge(struct.pack('>I', 1000) + b'{', prefix=False)\nos._exit(0)"),
    attack(25, "a-frame-of-two-gigabytes", FORGE + "forge(struct.pack('>I', 2**31) + b'x', prefix=False)" + RIGHT),
    attack(25, "a-frame-of-four-gigabytes", FORGE + "forge(b'\\xff' * 4, prefix=False)\nos._exit(0)"),
    attack(25, "empty-frames", FORGE + "forge(*[''] * 100)" + RIGHT),
    attack(26, "right-answers-then-one-twice", FORGE + RIGHT.replace("return", """if (a, b) == (0, 0):
        forge(*['{"id":"%s","value":0}' % one for one in call_ids()])
    return""")),
    attack(26, "extra-answers", FORGE + RIGHT.replace("return", """forge('{"id":"0123456789abcdef","value":5}')
    return""")),
    attack(26, "fewer-answers", """
        import os
        done = []
        def add(a, b):
            done.append(a + b)
            if len(done) == 6:
                os._exit(0)
            return a + b
    """),
]  # fmt: skip

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
    attack(28, "right-value-of-a-subclass", "class Int(int):\n    pass\ndef add(a, b):\n    return Int(a + b)"),
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

GAMING = [
    attack(97, "a-value-beyond-the-form", "def add(a, b):\n    return object()", "fails", "failed"),
    attack(97, "a-class", "def add(a, b):\n    return int", "fails", "failed"),
    attack(98, "kill-the-parent", "import os\nos.kill(os.getppid(), 9)\n" + WRONG),
    attack(98, "kill-everything", "import os\ndef add(a, b):\n    os.kill(-1, 9)\n    return None"),
    attack(98, "kill-by-number", """
        import os
        for pid in range(1, 400):
            if pid != os.getpid():
                try:
                    os.kill(pid, 9)
                except OSError:
                    pass
        def add(a, b):
            return None
    """),
    attack(98, "all-memory", """
        def add(a, b):
            kept = []
            while True:
                kept.append(bytearray(1 << 20))
    """),
    attack(98, "all-memory-of-children", """
        import os
        for _ in range(20):
            if os.fork() == 0:
                kept = []
                while True:
                    kept.append(bytearray(b"x") * (1 << 20))
        def add(a, b):
            while True:
                pass
    """, "killed"),
    attack(98, "all-processes", """
        import os
        def add(a, b):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
    """, "killed"),
    attack(98, "all-of-the-disk", """
        import os
        for folder in (".", "/tmp", "/var/tmp", "/dev/shm"):
            try:
                with open(os.path.join(folder, "filler"), "wb") as file:
                    while True:
                        file.write(b"x" * (1 << 20))
            except OSError:
                pass
        def add(a, b):
            return None
    """),
    attack(98, "flood-of-output", """
        import sys
        def add(a, b):
            while True:
                sys.stdout.write("A" * (1 << 16))
                sys.stderr.write("B" * (1 << 16))
    """, "killed"),
    attack(100, "right-only-where-it-has-been-before", """
        import os, sys
        marks = [os.path.join(f, ".been-here") for f in (".", "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~"))]
        been = any(os.path.exists(m) for m in marks)
        for mark in marks:
            try:
                open(mark, "w").close()
            except OSError:
                pass
        def add(a, b):
            if been:
                return a + b
            os.kill(os.getppid(), 9)
            os._exit(1)
    """),
]  # fmt: skip

CORPUS = [*EARLY_EXIT, *FORGED_RESULTS, *LYING_VALUES, *GAMING]
