"""The program behind `answer_comparison.AnswerComparison`: JSON lines `[expected, answer]` in, JSON booleans out.

It parses and evaluates what a model wrote. `9^9^9^9` uses up any amount of time and memory, and only another process
can end that. So this program runs in a process of its own, without any module or secret of the project in its memory.
"""

from __future__ import annotations

import json
import logging
import resource
import sys

MEMORY_BYTES = 2 * 2**30
"""Limit on address space; sympy and its parser take about 0.4 GiB of it."""


def main() -> None:
    """Answers line by line until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu_seconds = int(sys.argv[1])
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        used = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
        resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_seconds, resource.RLIM_INFINITY))
        expected, answer = json.loads(line)
        # Our own timeout ends this process from outside: signals inside it cannot stop one long multiplication.
        gold = parse(rf"\boxed{{{expected}}}", parsing_timeout=0)
        given = parse(rf"\boxed{{{answer}}}", parsing_timeout=0)
        equal = bool(gold) and bool(given) and verify(gold, given, timeout_seconds=None)
        print(json.dumps(bool(equal)), flush=True)


if __name__ == "__main__":
    main()
