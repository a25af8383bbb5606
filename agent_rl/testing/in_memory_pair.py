"""`run_pair_in_memory`: runs the pair of a proxied judging as threads of this process, for trusted programs only."""

from __future__ import annotations

import queue
import random
import tempfile
import threading
import time
import types

from agent_rl.judging.proxied.candidate_side import CandidateServer
from agent_rl.judging.proxied.tests_runner import HiddenTestsRunner, write_files
from agent_rl.judging.proxied.tests_side import HiddenTestsSession
from agent_rl.vocabulary import PairRequest, PairResult, RunResult
from agent_rl.vocabulary.runs import RunStatus

_one_at_a_time = threading.Lock()
"""Held while tests run: `solution` and `pytest` are then modules of this process."""


def run_pair_in_memory(request: PairRequest) -> PairResult:
    """The result of the pair. A call that never returns hangs; the program must not exit or flood its process."""
    asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    answered: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reports: list[str] = []
    ended: list[int] = []

    def serve() -> None:
        try:
            module = types.ModuleType(request.module)
            module.__file__ = "solution.py"
            CandidateServer(request.program, module, answered.put, asked.get).serve()
        except SystemExit:
            ended.append(0)
        finally:
            answered.put(None)

    def say(text: str) -> None:
        if text.startswith("{"):
            reports.append(text)
        else:
            asked.put(text)

    started = time.perf_counter()
    candidate = threading.Thread(target=serve, name="candidate", daemon=True)
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        state = random.getstate()
        random.seed(request.seed)
        candidate.start()
        try:
            write_files(request.files, folder)
            admitted = None if request.objects is None else frozenset(request.objects)
            session = HiddenTestsSession(say, answered.get, admitted)
            HiddenTestsRunner(request.files, frozenset(request.tests), session, say, folder).run(request.module)
        finally:
            random.setstate(state)
            asked.put(None)
            candidate.join(10.0)
    seconds = time.perf_counter() - started
    return PairResult(_result((), seconds, ended[0] if ended else None), _result(tuple(reports), seconds, 0))


def _result(frames: tuple[str, ...], seconds: float, exit_code: int | None) -> RunResult:
    status: RunStatus = "completed"
    return RunResult(status, frames, b"", b"", exit_code, None, seconds, "memory")
