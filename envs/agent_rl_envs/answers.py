"""Final answers: taken from a reply, and compared as numbers or as expressions, with bounded time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Literal

from agent_rl.errors import EnvironmentFailure

MAX_ANSWER_LENGTH = 200
"""Characters. A longer final answer is none."""
COMPARISON_SECONDS = 5
_START_SECONDS = 60.0
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_HASHES = re.compile(r"####[ \t]*([^\n]*)")

AnswerOutcome = Literal["equal", "different", "timeout"]


def final_answer(reply: str) -> str | None:
    r"""What stands last in `reply` after `####` or inside `\boxed{}`; None where there is neither, or too much."""
    candidates: list[tuple[int, str]] = []
    for match in _HASHES.finditer(reply):
        candidates.append((match.start(), match[1]))
    start = reply.rfind(r"\boxed{")
    if start >= 0:
        inside = _braced(reply, start + len(r"\boxed"))
        if inside is not None:
            candidates.append((start, inside))
    if not candidates:
        return None
    answer = max(candidates)[1].strip().removesuffix(".").strip("$ ")
    return answer if 0 < len(answer) <= MAX_ANSWER_LENGTH and _is_one(answer) else None


def _is_one(answer: str) -> bool:
    """Whether `answer` cannot close the box that it is put into and open another: one answer, not several."""
    depth = 0
    for character in answer:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0 and "boxed" not in answer


def _braced(text: str, start: int) -> str | None:
    """What stands between the brace at `start` and its partner; None where it has none."""
    depth = 0
    for position in range(start, min(len(text), start + 2 * MAX_ANSWER_LENGTH)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + 1 : position]
    return None


def number(text: str) -> Decimal | None:
    """The plain decimal number that `text` is, with or without thousands separators; None where it is none."""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


class AnswerComparison:
    """Compares answers; what is no plain number goes to a worker process, started once and ended if it hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._finalizer = weakref.finalize(self, lambda: None)

    def plain(self, expected: str, answer: str) -> AnswerOutcome | None:
        """The outcome where it can be had at once: equal texts, or two plain numbers."""
        if expected == answer:
            return "equal"
        left, right = number(expected), number(answer)
        if left is None or right is None:
            return None
        return "equal" if left == right else "different"

    def compare(self, expected: str, answer: str) -> AnswerOutcome:
        """Whether both mean the same, numerically or symbolically (`math-verify`). Blocks; threads wait for each other.

        An answer that takes the worker longer than COMPARISON_SECONDS, or all its memory, is `timeout`: that is the
        answer's doing where an honest comparison passes in the next worker. Raises EnvironmentFailure where none does.
        """
        known = self.plain(expected, answer)
        if known is not None:
            return known
        with self._lock:
            outcome = self._ask(expected, answer)
            if outcome is not None:
                return outcome
            self._stop()
            if self._ask("1/2", "0.5") != "equal":
                self._stop()
                raise EnvironmentFailure("the process that compares answers does not work: is math-verify installed?")
            return "timeout"

    def close(self) -> None:
        """The worker is gone. Idempotent."""
        with self._lock:
            self._stop()

    def _ask(self, expected: str, answer: str) -> AnswerOutcome | None:
        """What the worker says; None where it died or took too long."""
        worker = self._worker or self._start()
        if worker is None or worker.stdin is None:
            return None
        try:
            worker.stdin.write(json.dumps([expected, answer]).encode() + b"\n")
            worker.stdin.flush()
        except OSError:
            return None
        line = _read_line(worker, COMPARISON_SECONDS)
        return None if line is None else ("equal" if line else "different")

    def _start(self) -> subprocess.Popen[bytes] | None:
        """A worker that has said it is ready; None where it did not."""
        command = [sys.executable, "-I", str(Path(__file__).with_name("answer_worker.py")), str(COMPARISON_SECONDS)]
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        worker = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._worker = worker
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _end, worker)
        return worker if _read_line(worker, _START_SECONDS) == "ready" else None

    def _stop(self) -> None:
        if self._worker is not None:
            self._finalizer()
            self._worker = None


def _read_line(worker: subprocess.Popen[bytes], seconds: float) -> object | None:
    """The next JSON line that `worker` writes; None where none comes in time. Its lines are short: one read has all."""
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    line = worker.stdout.readline() if ready else b""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    worker.wait()
