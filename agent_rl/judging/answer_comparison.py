"""Compares final answers as numbers or as expressions, with bounded time and memory."""

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

from agent_rl.errors import SandboxError

COMPARISON_SECONDS = 5
_START_SECONDS = 60.0
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")

AnswerOutcome = Literal["equal", "different", "timeout"]


def number(text: str) -> Decimal | None:
    """The value of `text` as a plain decimal number, with or without thousands separators; None if it is not one."""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


class AnswerComparison:
    """Compares answers. Anything but plain numbers goes to a worker process, started once and ended if it hangs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._finalizer = weakref.finalize(self, lambda: None)

    def plain(self, expected: str, answer: str) -> AnswerOutcome | None:
        """The outcome for equal texts or two plain numbers, found without the worker process; None otherwise."""
        if expected == answer:
            return "equal"
        left, right = number(expected), number(answer)
        if left is None or right is None:
            return None
        return "equal" if left == right else "different"

    def compare(self, expected: str, answer: str) -> AnswerOutcome:
        """Whether both mean the same, numerically or symbolically (`math-verify`). Blocks; threads wait for each other.

        The outcome is `timeout` if the worker took longer than COMPARISON_SECONDS or ran out of memory, and a new
        worker then compares an honest answer. Raises SandboxError if the new worker fails too.
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
                raise SandboxError("the process that compares answers does not work: is math-verify installed?")
            return "timeout"

    def close(self) -> None:
        """Ends the worker. Idempotent."""
        with self._lock:
            self._stop()

    def _ask(self, expected: str, answer: str) -> AnswerOutcome | None:
        """The worker's outcome; None if it died or took too long."""
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
        """A worker that has reported that it is ready; None if it did not."""
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
    """The next JSON line from `worker`; None if none comes in time. Lines are short: one read gets a whole line."""
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
