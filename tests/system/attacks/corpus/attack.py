"""What an attack is, the tasks that attacks are tried on, and the pieces that their programs share."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import Literal

from agent_rl.vocabulary import CallTests, Case, Limits, StdioCase, StdioTests, Task
from agent_rl.vocabulary.verdict import VerdictStatus

LIMITS = Limits(wall_seconds=1.0, cpu_seconds=1.0, memory_bytes=256 * 2**20)
SUMS = ((2, 3), (-1, 1), (10, 20), (7, 8), (0, 0), (100, -50))
CASES = tuple(Case((a, b), a + b) for a, b in SUMS)
TASK = Task("add", (), CallTests("add", CASES), limits=LIMITS)
BOXED_TASK = Task("boxed", (), CallTests("add", tuple(Case((a, b), [a + b]) for a, b in SUMS)), limits=LIMITS)
EXACT_TASK = Task("exact", (), CallTests("add", CASES, "exact"), limits=LIMITS)
FLOAT_TASK = Task(
    "float", (), CallTests("add", tuple(Case((a, b), a + b + 0.5) for a, b in SUMS), "float"), limits=LIMITS
)
LISTS = (([1], [2]), ([], [3]), ([4, 5], []), ([6, 7], [8]))
LISTS_TASK = Task("lists", (), CallTests("add", tuple(Case((a, b), a + b) for a, b in LISTS)), limits=LIMITS)
SET_TASK = Task("set", (), CallTests("add", tuple(Case((a, b), {a, b, 0.5}) for a, b in SUMS), "float"), limits=LIMITS)
TEXT_TASK = Task(
    "text", (), CallTests("add", tuple(Case((a, b), f"{a} {b}") for a, b in SUMS), "tokens"), limits=LIMITS
)
ORDER_TASK = Task(
    "order", (), CallTests("add", tuple(Case((a, b), [a, b, a + b]) for a, b in SUMS), "any_order"), limits=LIMITS
)
CHECKER = """
def check(candidate):
    assert all(map(lambda pair: candidate(*pair) - pair[0] == pair[1], {SUMS}))
""".replace("{SUMS}", repr(SUMS))
CHECKED_TASK = Task("checked", (), CallTests("add", CASES, "checker", checker=CHECKER), limits=LIMITS)
RAISES = """
def check(candidate):
    for a, b in {SUMS}:
        if a + b:
            assert candidate(a, b) == a + b
            continue
        try:
            candidate(a, b)
        except {KINDS}:
            continue
        raise AssertionError
""".replace("{SUMS}", repr(SUMS))
RAISING_TASK = Task(
    "raising", (), CallTests("add", CASES, "checker", checker=RAISES.replace("{KINDS}", "BaseException")), limits=LIMITS
)
KEY_ERROR_TASK = Task(
    "key-error", (), CallTests("add", CASES, "checker", checker=RAISES.replace("{KINDS}", "KeyError")), limits=LIMITS
)
"""Where the sum is 0, these want an exception: any, or a KeyError."""
LOOPS = """
import dataclasses

@dataclasses.dataclass
class Total:
    value: int
    seen: int = 0
    def __eq__(self, other):
        self.seen += 1
        return type(other) is not Total or self.value == other.value

def check(candidate):
    totals = [Total(a + b) for a, b in {SUMS}]
    found = list(map(lambda pair: candidate(*pair), {SUMS}))
    assert all(map(lambda pair: type(candidate(*pair)) is int, {SUMS}))
    for total, value in zip(totals, found):
        assert total.value == value and len(found) == len(totals)
    assert [n for n, (a, b) in enumerate({SUMS}) if candidate(a, b) != a + b] == []
""".replace("{SUMS}", repr(SUMS))
LOOPED_TASK = Task("looped", (), CallTests("add", CASES, "checker", checker=LOOPS), limits=LIMITS)
JSON_TASK = Task(
    "json", (), CallTests("add", tuple(Case((a, b), {str(a): [b, [a + b]]}) for a, b in SUMS), "json"), limits=LIMITS
)
NESTED = tuple(Case((a, b), [[a, b], [a + b + 0.5]]) for a, b in SUMS)
NESTED_TASK = Task("nested", (), CallTests("add", NESTED, "float"), limits=LIMITS)


@dataclass
class Pair:
    """As a task would have it."""

    left: int
    right: int


RECORD_TASK = Task("record", (), CallTests("add", tuple(Case((a, b), Pair(a, b)) for a, b in SUMS)), limits=LIMITS)
LINES_TASK = Task("lines", (), StdioTests(tuple(StdioCase(f"{a} {b}\n", f"{a + b}\n") for a, b in SUMS)), limits=LIMITS)
HARD_LIMIT_TASK = Task("hard-limit", (), CallTests("add", CASES), limits=Limits(20.0, 20.0, 256 * 2**20))

HONEST = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b - 1\n"
RIGHT = "\ndef add(a, b):\n    return a + b\n"
MARK = "agent-rl-attack-was-here"
"""In the name of every file that an attack leaves for others to find."""
PORT = 18417
"""Where attacks listen."""
SECRET = "AGENT_RL_SECRET_OF_THE_CONTROLLER"
"""Part of the name of a variable in the controller's environment, where the test has put it."""

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

def harness():
    """The globals of the code that calls the program."""
    import sys
    frame = sys._getframe()
    while "_answer" not in frame.f_globals:
        frame = frame.f_back
    return frame.f_globals
'''
"""What forgers share."""

SYSCALL = '''
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"

def syscall(numbers, *arguments):
    """The call's errno, or 0 where it was let through; `numbers` are those of x86_64 and aarch64."""
    ctypes.set_errno(0)
    result = libc.syscall(numbers[0] if x86 else numbers[1], *arguments)
    return ctypes.get_errno() if result == -1 else 0
'''

CONTAINED = """
def add(a, b):
    assert not leaks, leaks
    return a + b
"""
"""The end of a program that is right where, and only where, it found itself contained: `leaks` says what it got."""

Outcome = Literal["fails", "same", "killed"]
"""fails: not passed | same: the same verdict as the equivalent honest program (which here is right) |
killed: not passed, and stopped within the limit plus one second."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One program, what must become of it, and how its verdict may read (empty: in any way).

    number: of the line in the list of attacks that the project keeps; 0 where it stands in none.
    alone: it takes the whole machine for its second: nothing is judged beside it.
    long: at level `container` it holds the worker server up for as long as that is let, and so takes many seconds.
    """

    number: int
    name: str
    program: str
    outcome: Outcome = "fails"
    statuses: tuple[VerdictStatus, ...] = ()
    task: Task = TASK
    alone: bool = False
    long: bool = False

    @property
    def id(self) -> str:
        return f"{self.number}-{self.name}"


def attack(
    number: int,
    name: str,
    program: str,
    outcome: Outcome = "fails",
    *statuses: VerdictStatus,
    task: Task = TASK,
    alone: bool = False,
    long: bool = False,
) -> Attack:
    """An attack whose program may be indented as a whole."""
    return Attack(number, name, dedent(program).lstrip("\n"), outcome, statuses, task, alone, long)
