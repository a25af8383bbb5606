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
    while "self" not in frame.f_locals or type(frame.f_locals["self"]).__name__ != "CandidateServer":
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
    lanes = server()._lanes
    lanes._send = lambda _, send=lanes._send: send(text)
'''


def raised(kind: str, args: str) -> str:
    """The frame of an exception."""
    fields = f'[["class",{kind}],["args",{args}],["text",""],["id",null]]'
    return '[0,"raise",[],[{"r":["raised",' + fields + "]}],[],[]]"


def returned(value: str) -> str:
    """The frame of a value."""
    return '[0,"return",[],[' + value + "],[],[]]"


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
        say('[0,"return",[],[5],[],[]]')
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
say('[0,"return",[],[null],[],[]]')
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
        say('[0,"return",[],[%d],[],[]]' % (a + b))
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
    say('[0,"return",[],[5],[],[]]')
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
            "of-another-kind": '[0,"load",[],[5],[],[]]',
            "too-short": '[0,"return",[],[5],[]]',
            "too-long": '[0,"return",[],[5],[],[],[]]',
            "of-two-values": '[0,"return",[],[5,5],[],[]]',
            "with-spaces": '[0, "return", [], [5], [], []]',
            "on-another-lane": '[1,"return",[],[5],[],[]]',
            "on-a-lane-below-zero": '[-1,"return",[],[5],[],[]]',
            "with-containers-of-nobody": '[0,"return",[],[null],[[8,"list",[5]]],[]]',
            "with-a-container-of-the-tests": '[0,"return",[],[5],[[0,"list",[5]]],[]]',
            "with-a-container-of-no-kind": '[0,"return",[],[{"r":["at",[["n",1]]]}],[[1,"Popen",["ls"]]],[]]',
            "with-a-container-twice": '[0,"return",[],[{"r":["at",[["n",1]]]}],[[1,"list",[]],[1,"list",[5]]],[]]',
            "with-numbers-given-up-that-nobody-has": '[0,"return",[],[{"r":["at",[["n",1]]]}],[],[1,2,-3]]',
            "with-keys-of-one-hash": '[0,"return",[],[{"r":["at",[["n",1]]]}],[[1,"set",['
            + ",".join('{"i":"%#x"}' % (i * (2**61 - 1)) if i > 3 else str(i * (2**61 - 1)) for i in range(200))
            + "]]],[]]",
            "with-an-effect-that-nobody-watches": '[0,"return",[["stdout","x"]],[5],[],[]]',
            "with-an-environment": '[0,"return",[["environ",{"t":[{"t":["A","1"]}]}]],[5],[],[]]',
            "that-is-not-held": '[0,"unheld",["it cannot be held"],[],[],[]]',
            "deep": "[" * 5000,
            "deep-value": '[0,"return",[],[' + '{"t":[' * 101 + "]}" * 101 + "],[],[]]",
            "nan": '[0,"return",[],[NaN],[],[]]',
            "duplicate-keys": '[0,"return",[],[{"d":[["a",1],["a",1]]}],[],[]]',
            "unknown-record": '[0,"return",[],[{"r":["Equal",[["x",1]]]}],[],[]]',
            "builtin-eval": '[0,"return",[],[{"r":["builtin",[["name","eval"]]]}],[],[]]',
            "value-of-unknown-type": returned('{"r":["value",[["type","subprocess.Popen"],["args",{"t":[["ls"]]}]]]}'),
            "range-of-objects": returned('{"r":["value",[["type","builtins.range"],["args",{"t":["a",1,1]}]]]}'),
            "huge-decimal": '[0,"return",[],[{"r":["value",[["type","decimal.Decimal"],["args",{"t":["1e'
            + "9" * 20
            + '"]}]]]}],[],[]]',
            "reference-without-number": returned('{"r":["object",[["id","x"]]]}'),
            "reference-below-zero": returned('{"r":["object",[["id",-1],["kind","object"]]]}'),
            "class-that-is-its-own-base": returned('{"r":["object",[["id",5],["class",5],["kind","object"]]]}'),
            "callback-of-nobody": '[0,"callback",[0,"call"],[{"t":[]},{"t":[]}],[],[]]',
            "system-exit": raised('{"r":["builtin",[["name","SystemExit"]]]}', '{"t":[0]}'),
            "keyboard-interrupt": raised('{"r":["builtin",[["name","KeyboardInterrupt"]]]}', '{"t":[]}'),
            "exception-without-class": raised("null", "null"),
            "exception-that-is-a-list": raised('{"r":["builtin",[["name","list"]]]}', '{"t":[]}'),
            "skip-of-unittest": raised(
                '{"r":["library",[["module","unittest.case"],["name","SkipTest"]]]}', '{"t":[]}'
            ),
            "exception-of-another-module": raised('{"r":["library",[["module","os"],["name","error"]]]}', '{"t":[]}'),
            "class-in-a-module-of-exceptions": raised(
                '{"r":["library",[["module","io"],["name","FileIO"]]]}', '{"t":[3]}'
            ),
            "exception-of-the-tests": '[0,"raise",[],[{"r":["theirs",[["id",0]]]}],[],[]]',
        }.items()
    ),
    attack(
        27,
        "claims-to-be-an-iterator-that-is-equal",
        SERVER
        + """
answer = ref(id=1, kind="iterator")
def add(a, b):
    answer_with('[0,"return",[],[%s],[],[]]' % answer)
    return a + b
""",
    ),
    attack(
        27,
        "claims-to-be-the-module",
        SERVER
        + """
def add(a, b):
    answer_with('[0,"return",[],[%s],[],[]]' % ref())
""",
    ),
    attack(
        27,
        "claims-plain-content",
        SERVER
        + """
def add(a, b):
    liar = '{"r":["object",[["id",9],["class",null],["kind","object"],["base",{"t":["int",5]}]]]}'
    answer_with('[0,"return",[],[%s],[],[]]' % liar)
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
