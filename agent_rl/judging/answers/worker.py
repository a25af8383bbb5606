"""The program behind `answer_comparison.AnswerComparison`: JSON lines in, an outcome for each as a JSON string out.

A line is `[expected, answer, cpu_seconds, memory_bytes]`.

It parses and evaluates what a model wrote. `9^9^9^9` uses up any amount of time and memory, and only another process
can end that. So this program runs in a process of its own, and has nothing else
of the project in its memory.

What counts as memory is what a comparison adds to the process. math-verify takes a failed allocation for a difference,
so the operating system refuses memory only from ADDRESS_SPACE times the limit on, and the peak is checked afterwards.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
from pathlib import Path

from .rules import equal

ADDRESS_SPACE = 4
_STATUS, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Says "ready" after an honest comparison. Then answers line by line until standard input ends."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    print(json.dumps("ready" if equal("1/2", "0.5") else "broken"), flush=True)
    for line in sys.stdin:
        expected, answer, cpu_seconds, memory_bytes = json.loads(line)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = math.ceil(usage.ru_utime + usage.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (used + math.ceil(cpu_seconds), resource.RLIM_INFINITY))
        print(json.dumps(outcome(expected, answer, memory_bytes)), flush=True)


def outcome(expected: str, answer: str, memory_bytes: int) -> str:
    """ "equal" or "different", or "out_of_memory" if the comparison took more than `memory_bytes`."""
    _forget_peak()
    size, resident = _status("VmSize"), _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE * memory_bytes, resource.RLIM_INFINITY))
    try:
        equals = same(expected, answer)
    except MemoryError:
        return "out_of_memory"
    if _status("VmHWM") - resident > memory_bytes:
        return "out_of_memory"
    return "equal" if equals else "different"


def same(expected: str, answer: str) -> bool:
    """Whether both mean the same. What cannot be parsed or compared is not equal. Raises MemoryError."""
    try:
        return equal(expected, answer)
    except MemoryError:
        raise
    except Exception:  # a text that a rule or sympy stumbles over: deep nesting, huge exponents
        return False


def _forget_peak() -> None:
    """The peak of memory is that from now on (Linux)."""
    if _RESET_PEAK.exists():
        _RESET_PEAK.write_text("5")


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes; 0 where there is no such file."""
    if not _STATUS.exists():
        return 0
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return next(int(line[1]) * 1024 for line in lines if line[0] == f"{name}:")
