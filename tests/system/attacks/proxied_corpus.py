"""Attacks on tier `proxied` itself: its frames, its references, its objects. The task is `add` as in the corpus.

Each program knows how its process is served (`agent_rl.judging.proxied.candidate_side`) and uses that.
"""

from __future__ import annotations

from agent_rl.vocabulary.verdict import VerdictStatus
from tests.system.attacks.corpus import Attack, Outcome

SERVER = '''
import gc, os, struct, sys

def server():
    """The object that serves this process."""
    frame = sys._getframe()
    while "self" not in frame.f_locals or type(frame.f_locals["self"]).__name__ != "Server":
        frame = frame.f_back
    return frame.f_locals["self"]

def say(*texts):
    for text in texts:
        data = text if isinstance(text, bytes) else text.encode()
        os.write(3, struct.pack(">I", len(data)) + data)

def ref(**fields):
    content = {"id": 0, "class": None, "kind": "object", "base": None, **fields}
    import json
    return '{"r":["object",[%s]]}' % ",".join('["%s",%s]' % (k, json.dumps(v)) for k, v in content.items())

def answer_with(text):
    """Every later answer is `text`."""
    served = server()
    served._send = lambda _, send=served._send: send(text)
'''


def attack(number: int, name: str, program: str, outcome: Outcome = "fails", *statuses: VerdictStatus) -> Attack:
    return Attack(number, f"proxied-{name}", program.lstrip("\n"), outcome, statuses)


PROXIED: list[Attack] = [
    attack(
        14,
        "a-report-of-the-tests",
        SERVER
        + """
def add(a, b):
    say('{"test": "test_it.py::assert 1", "outcome": "passed", "detail": ""}', '{"done": 9, "objects": []}')
    os._exit(0)
""",
    ),
    attack(
        15,
        "reports-instead-of-answers",
        SERVER
        + """
answer_with('{"done": 9, "objects": []}')
""",
    ),
    attack(
        25,
        "a-million-frames",
        SERVER
        + """
def add(a, b):
    while True:
        say('["return",5,[]]')
""",
    ),
    attack(
        25,
        "a-partial-frame",
        SERVER
        + """
def add(a, b):
    os.write(3, bytes(4) + struct.pack(">I", 100) + b"half")
""",
    ),
    attack(
        25,
        "a-length-of-four-gigabytes",
        SERVER
        + """
def add(a, b):
    os.write(3, bytes([255]) * 64)
""",
    ),
    attack(
        25,
        "a-frame-at-load",
        SERVER
        + """
say('["return",null,[]]')
def add(a, b):
    return a + b
""",
    ),
    attack(
        26,
        "right-answers-with-one-too-many",
        SERVER
        + """
calls = []
def add(a, b):
    calls.append(a)
    if len(calls) == 3:
        say('["return",%d,[]]' % (a + b))
    return a + b
""",
        "fails",
        "tampered",
    ),
    attack(
        26,
        "one-frame-after-the-last-answer",
        SERVER
        + """
import threading, time
def late():
    time.sleep(0.3)
    say('["return",5,[]]')
threading.Thread(target=late, daemon=True).start()
def add(a, b):
    time.sleep(0.05)
    return a + b
""",
    ),
    *(
        attack(38, f"frame-{name}", SERVER + f"def add(a, b):\n    answer_with({text!r})\n    return a + b\n")
        for name, text in {
            "of-no-form": "[1]",
            "of-nothing": "",
            "of-another-kind": '["load"]',
            "too-short": '["return"]',
            "too-long": '["return",5,[],5]',
            "with-spaces": '["return", 5, []]',
            "with-modified-arguments-of-nobody": '["return",null,[[7,[5]]]]',
            "with-modified-arguments-and-a-value": '["return",5,[[0,[5]]]]',
            "deep": "[" * 5000,
            "deep-value": '["return",' + "[" * 101 + "]" * 101 + ",[]]",
            "nan": '["return",NaN,[]]',
            "duplicate-keys": '["return",{"d":[["a",1],["a",1]]},[]]',
            "unknown-record": '["return",{"r":["Equal",[["x",1]]]},[]]',
            "builtin-eval": '["return",{"r":["builtin",[["name","eval"]]]},[]]',
            "value-of-unknown-type": '["return",{"r":["value",[["type","Popen"],["args",{"t":[["ls"]]}]]]},[]]',
            "range-of-objects": '["return",{"r":["value",[["type","range"],["args",{"t":["a",1,1]}]]]},[]]',
            "huge-decimal": '["return",{"r":["value",[["type","Decimal"],["args",{"t":["1e' + "9" * 20 + '"]}]]]},[]]',
            "reference-without-number": '["return",{"r":["object",[["id","x"]]]},[]]',
            "reference-below-zero": '["return",{"r":["object",[["id",-1],["kind","object"]]]},[]]',
            "class-that-is-its-own-base": '["return",{"r":["object",[["id",5],["class",5],["kind","object"]]]},[]]',
            "callback-of-nobody": '["callback",0,"call",{"t":[]},{"d":[]}]',
            "system-exit": '["raise",{"r":["builtin",[["name","SystemExit"]]]},{"t":[0]},"0",null]',
            "keyboard-interrupt": '["raise",{"r":["builtin",[["name","KeyboardInterrupt"]]]},{"t":[]},"",null]',
            "exception-without-class": '["raise",null,null,"",null]',
            "exception-that-is-a-list": '["raise",{"r":["builtin",[["name","list"]]]},{"t":[]},"",null]',
        }.items()
    ),
    attack(
        27,
        "claims-to-be-an-iterator-that-is-equal",
        SERVER
        + """
answer = ref(id=1, kind="iterator")
def add(a, b):
    answer_with('["return",%s,[]]' % answer)
    return a + b
""",
    ),
    attack(
        27,
        "claims-to-be-the-module",
        SERVER
        + """
def add(a, b):
    answer_with('["return",%s,[]]' % ref())
""",
    ),
    attack(
        27,
        "claims-plain-content",
        SERVER
        + """
def add(a, b):
    answer_with('["return",{"r":["object",[["id",9],["class",null],["kind","object"],["base",{"t":["int",5]}]]]},[]]')
""",
    ),
    attack(
        27,
        "an-iterator-of-equal-values",
        """
class Equal:
    __eq__ = __lt__ = __gt__ = lambda self, other: True
    __hash__ = lambda self: 0
def add(a, b):
    return iter([Equal()] * 3)
""",
    ),
    attack(
        27,
        "equal-to-everything-inside-a-list",
        """
class Equal:
    __eq__ = lambda self, other: True
    __hash__ = lambda self: 0
class add(list):
    def __new__(cls, a, b):
        return [Equal()]
""",
    ),
    attack(
        27,
        "a-class-in-place-of-the-function",
        """
class add:
    def __init__(self, a, b):
        pass
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = lambda self, other: True
    __hash__ = lambda self: 0
    __abs__ = __sub__ = __rsub__ = lambda self, *other: 0
    __float__ = lambda self: 0.0
    __bool__ = lambda self: True
""",
    ),
    attack(
        27,
        "learns-the-expected-value-from-an-operator",
        """
class Liar:
    known = None
    def __sub__(self, other):
        Liar.known = other
        return 0
    def __abs__(self):
        return 0.0
    def __eq__(self, other):
        Liar.known = other
        return True
    __hash__ = lambda self: 0
def add(a, b):
    return Liar.known if Liar.known is not None else Liar()
""",
    ),
    attack(
        40,
        "names-that-hide-those-of-the-tests",
        """
__all__ = ["add", "abs", "sum", "isinstance", "len", "sorted", "pytest", "math", "CASES", "expected", "__builtins__"]
abs = isinstance = len = sorted = lambda *args: True
sum = lambda *args: 5
CASES = []
expected = 0
__builtins__ = {}
def add(a, b):
    return a - b - 1
""",
    ),
    attack(
        5,
        "skip-for-the-tests",
        """
import unittest
def add(a, b):
    raise unittest.SkipTest("skipped")
""",
    ),
    attack(
        1,
        "exits-while-it-is-looked-at",
        """
import sys
class add:
    def __init_subclass__(cls):
        sys.exit(0)
    def __getattr__(self, name):
        sys.exit(0)
    def __new__(cls, a, b):
        raise SystemExit(0)
""",
    ),
    attack(
        19,
        "looks-for-the-tests-in-memory",
        """
import gc, sys
def add(a, b):
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "CASES" in thing:
            return dict(thing["CASES"])[(a, b)]
    for name, module in list(sys.modules.items()):
        if name.startswith("test_"):
            return module.CASES[0][1]
    return None
""",
    ),
    attack(
        55,
        "looks-for-the-tests-on-disk",
        """
import glob
FOUND = [open(name).read() for name in glob.glob("**/test_*.py", recursive=True) + glob.glob("/work/**/test_*.py")]
def add(a, b):
    return a + b if FOUND else None
""",
    ),
    attack(
        8,
        "ends-only-with-its-tests",
        """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
def add(a, b):
    while True:
        time.sleep(1)
""",
        "killed",
        "timeout",
    ),
    attack(
        30,
        "an-iterator-without-end",
        """
import itertools
def add(a, b):
    return itertools.cycle([a + b])
""",
    ),
]
