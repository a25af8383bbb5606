"""Compares final answers with bounded time and memory: plain numbers here, all else in a process of its own.

The rules of the comparison are in `answers`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import Limits

_START_SECONDS = 60.0
_END_SECONDS = 5.0
_USED = 0.9
"""A comparison that used the processor for more than this share of its time exceeded it by its own doing."""
_ROOM = Path(__file__).parent
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from answers.worker import main; sys.path.pop(0); main()"
"""Only `answers` is imported from the project: no module or secret of ours is in the memory of what reads answers."""
_FLOAT_DIGITS = 15
_LONGEST = 2000
"""In characters: a matrix has room in it, and whoever writes more has not answered."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")

AnswerOutcome = Literal["equal", "different", "timeout", "out_of_memory", "crashed"]


def number(text: str) -> Decimal | None:
    """The value of `text` as a plain decimal number, with or without thousands separators; None if it is not one."""
    return Decimal(text.replace(",", "")) if _NUMBER.fullmatch(text) else None


def plain(expected: str, answer: str) -> Literal["equal", "different"] | None:
    """The outcome for equal texts, two plain numbers, or a text that is too long for an answer; else None.

    None: only the worker of `AnswerComparison` can tell.
    """
    if expected == answer:
        return "equal"
    if len(answer) > _LONGEST:
        return "different"
    left, right = number(expected), number(answer.removeprefix("$"))  # `$18` is 18 dollars
    if left is None or right is None:
        return None
    if left != right and "." in answer and len(re.sub(r"\D", "", answer)) > _FLOAT_DIGITS:
        return None  # perhaps as floats compute it
    return "equal" if left == right else "different"


class AnswerComparison:
    """Compares answers in a worker process, which is started at the first comparison and replaced if it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._finalizer = weakref.finalize(self, lambda: None)
        self._closed = False

    def compare(self, expected: str, answer: str, limits: Limits | None = None) -> AnswerOutcome:
        """Whether `answer` means the same as `expected`, within `limits` (default: a task's). As `timed`.

        An answer of more than 2,000 characters is none: it is only equal to the same text.
        """
        return plain(expected, answer) or self.timed(expected, answer, limits or Limits())[0]

    def timed(self, expected: str, answer: str, limits: Limits) -> tuple[AnswerOutcome, float]:
        """(whether both mean the same, by the rules in `answers`; the seconds that this took).

        Blocks; threads wait for each other, and the wait is not part of the seconds. `limits` says how much time the
        comparison may take, and how much memory beyond what the worker has anyway. If the worker exceeds them or dies,
        a new one has to compare an honest answer. If it said nothing itself, another process may have killed or stopped
        it: the new one compares the same once more, and what comes out stands. Raises SandboxError if there is no
        worker, or after `close`.
        """
        with self._lock:
            if self._worker is None:
                self._start()
            started = time.monotonic()
            outcome, itself = self._ask(expected, answer, limits)
            if not itself:
                self._replace()
                started = time.monotonic()
                outcome, _ = self._ask(expected, answer, limits)
            seconds = time.monotonic() - started
            if outcome not in ("equal", "different"):
                self._replace()
        return outcome, seconds

    def close(self) -> None:
        """Ends the worker, and with it a comparison that is under way. Idempotent."""
        self._closed = True
        worker = self._worker
        if worker is not None:
            worker.kill()
        with self._lock:
            self._stop()

    def _replace(self) -> None:
        self._stop()
        self._start()

    def _ask(self, expected: str, answer: str, limits: Limits) -> tuple[AnswerOutcome, bool]:
        """(the outcome, whether it is what the worker said, or what its own use of the processor led to)."""
        worker = self._worker
        assert worker is not None and worker.stdin is not None
        request = [expected, answer, limits.cpu_seconds, limits.memory_bytes]
        before = _cpu_seconds(worker)
        line = None
        if _tell(worker, json.dumps(request).encode() + b"\n", limits.wall_seconds):
            line = _read_line(worker, limits.wall_seconds)
        if line is None:
            return "timeout", _cpu_seconds(worker) - before > _USED * limits.wall_seconds
        if line.endswith(b"\n"):
            return cast("AnswerOutcome", json.loads(line)), True
        try:
            code = worker.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # it has closed its output, and lives
            return "crashed", False
        if code == -signal.SIGXCPU:
            return "timeout", True
        # SIGKILL comes from the kernel where the machine, or our container, has no memory left.
        return "out_of_memory" if code == -signal.SIGKILL else "crashed", False

    def _start(self) -> None:
        """Starts a worker, which compares an honest answer first. Raises SandboxError if it does not work."""
        if self._closed:
            raise SandboxError("the process that compares answers has been closed")
        command = [sys.executable, "-I", "-c", _PROGRAM, str(_ROOM)]
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        pipe = subprocess.PIPE
        try:
            worker = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, bufsize=0
            )
        except OSError as error:
            raise SandboxError(f"the process that compares answers cannot be started: {error}") from error
        assert worker.stdin is not None
        os.set_blocking(worker.stdin.fileno(), False)
        self._worker = worker
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _end, worker)
        if _read_line(worker, _START_SECONDS) != b'"ready"\n':
            self._stop()
            raise SandboxError("the process that compares answers does not work: is math-verify installed?")

    def _stop(self) -> None:
        if self._worker is not None:
            self._finalizer()
            self._worker = None


def _tell(worker: subprocess.Popen[bytes], data: bytes, seconds: float) -> bool:
    """Whether `worker` has taken `data` in within `seconds`, or has died; it may be stopped."""
    assert worker.stdin is not None
    pipe, until = worker.stdin.fileno(), time.monotonic() + seconds
    while data:
        _, ready, _ = select.select([], [pipe], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            data = data[os.write(pipe, data) :]
        except BlockingIOError:
            continue
        except OSError:  # a broken pipe: the worker has died
            return True
    return True


def _cpu_seconds(worker: subprocess.Popen[bytes]) -> float:
    """The processor time of `worker` so far; 0 where the kernel does not say."""
    try:
        fields = Path(f"/proc/{worker.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _read_line(worker: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """The next line from `worker`, empty if it has died; None if none comes in time.

    Lines are short: one read gets a whole line.
    """
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], seconds)
    return worker.stdout.readline() if ready else None


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    worker.wait()
