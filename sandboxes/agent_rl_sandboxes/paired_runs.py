"""Runs that exchange frames: `PairedRun`, one run in one worker; `talk_in_pair`, two runs that exchange frames."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any

from agent_rl.errors import SandboxError, TestsPlaceError
from agent_rl.judging.proxied.proxy_messages import MAX_FRAME_BYTES
from agent_rl.judging.proxied.relay import relay
from agent_rl.vocabulary import Limits, PairRequest, PairResult, RunResult
from agent_rl_sandboxes.workers import GRACE_SECONDS, Worker, channels_of, run_limits

TESTS_MARGIN_SECONDS = 0.5
"""How much longer the tests may take than the program, so that the program reaches its limit first."""
_MOST_TESTS_OUTPUT = 16 << 20
_LENGTH = struct.Struct(">I")


class PairedRun:
    """A run in `worker` that exchanges frames with us. An async context manager; `end` says how the run ended."""

    def __init__(
        self,
        worker: Worker,
        payload: dict[str, Any],
        limits: Limits,
        longest: float,
        error: type[SandboxError] = SandboxError,
    ) -> None:
        """`longest`: when the run ends, in seconds; `error`: the exception to raise if the worker fails."""
        self._worker = worker
        self._error = error
        self._payload = {**payload, "limits": run_limits(limits)}
        self._limits = limits
        self._longest = longest
        self._frames: deque[str] = deque()
        self._raw = bytearray()
        self._news = asyncio.Event()
        self._reading: asyncio.Task[RunResult] | None = None
        self._anomaly: str | None = None

    async def __aenter__(self) -> PairedRun:
        """The worker has been sent the run's request. Raises SandboxError."""
        body = json.dumps(self._payload).encode()
        with self._failing():
            await self._worker.begin_talk(self._limits, self._longest, _LENGTH.pack(len(body)) + body)
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        # Does not take a cancellation of this call for that of the reading.
        await asyncio.wait([self._reading])
        if not self._reading.cancelled():
            self._reading.exception()

    async def say(self, frame: str) -> None:
        data = frame.encode()
        if not self._done:
            with self._failing():
                await self._worker.tell("say", _LENGTH.pack(len(data)) + data)

    async def hear(self) -> str | None:
        while not self._frames:
            if self._anomaly is not None:
                return None
            if self._done:
                assert self._reading is not None
                self._reading.result()
                return None
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()

    async def end(self) -> tuple[RunResult, bool]:
        """(how the run ended, whether it sent more than was read). A run that is still under way is ended first."""
        assert self._reading is not None
        if not self._done:
            with self._failing():
                await self._worker.tell("cancel")
        return await asyncio.shield(self._reading), bool(self._frames or self._raw)

    @property
    def _done(self) -> bool:
        assert self._reading is not None
        return self._reading.done()

    async def _read(self) -> RunResult:
        """The result of the run; reads what the run sends until it ends."""
        try:
            async with asyncio.timeout(self._longest + GRACE_SECONDS):
                while True:
                    with self._failing():
                        header, body = await self._worker.hear()
                    if header["op"] == "said":
                        self._take(body)
                        continue
                    status, rest, stdout, stderr = channels_of(header, body)
                    self._take(rest)
                    return self._result(header, status, stdout, stderr)
        except TimeoutError:
            raise self._error("a worker did not end a run in time") from None

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """The worker's errors are raised as this run's `error`."""
        try:
            yield
        except SandboxError as error:
            raise self._error(str(error)) from error

    def _result(self, header: dict[str, Any], status: Any, stdout: bytes, stderr: bytes) -> RunResult:
        ended = status == "cancelled"
        self._worker.reusable = self._worker.reusable and header["reusable"] and self._anomaly is None
        anomalies = header["anomalies"]
        if self._anomaly is not None:
            anomalies = [*anomalies, self._anomaly]
        return RunResult(
            status="completed" if ended else status,
            frames=(),
            stdout=stdout,
            stderr=stderr,
            exit_code=None if ended else header["exit_code"],
            signal=None if ended else header["signal"],
            seconds=header["seconds"],
            isolation=self._worker.isolation,
            cpu_seconds=header["cpu"],
            waited_seconds=header["waited"],
            anomalies=tuple(anomalies),
        )

    def _take(self, data: bytes) -> None:
        """The received bytes have been split into frames; an incomplete one is kept for later."""
        if self._anomaly is not None:
            return
        self._raw += data
        at = 0
        while len(self._raw) >= at + _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(self._raw, at)[0]
            if end - at > MAX_FRAME_BYTES:
                self._anomaly = "a frame of wrong length"
                break
            if end > len(self._raw):
                break
            try:
                self._frames.append(self._raw[at + _LENGTH.size : end].decode())
            except UnicodeDecodeError:
                self._anomaly = "a frame that is not text"
                break
            at = end
        del self._raw[:at]
        self._news.set()


async def talk_in_pair(candidate_worker: Worker, tests_worker: Worker, request: PairRequest) -> PairResult:
    """What the two runs did.

    Raises SandboxError; its subclass SandboxStartError if a worker cannot load its role, and TestsPlaceError if
    only the tests' worker died.
    """
    limits = request.limits
    candidate_payload = {
        "role": "candidate",
        "module": request.module,
        "program": request.program,
        "seed": request.seed,
    }
    tests_payload = {
        "role": "tests",
        "module": request.module,
        "files": {path: base64.b64encode(content).decode() for path, content in request.files.items()},
        "tests": list(request.tests),
        "objects": None if request.objects is None else list(request.objects),
        "seed": request.seed,
    }
    longer = dataclasses.replace(
        limits,
        # They wait for the program, which may have no processor.
        wall_seconds=limits.longest_seconds + TESTS_MARGIN_SECONDS,
        cpu_seconds=limits.cpu_seconds + TESTS_MARGIN_SECONDS,
        output_bytes=max(limits.output_bytes, _MOST_TESTS_OUTPUT),
    )
    await asyncio.gather(candidate_worker.load_roles(), tests_worker.load_roles())
    async with (
        PairedRun(candidate_worker, candidate_payload, limits, limits.longest_seconds) as candidate,
        PairedRun(tests_worker, tests_payload, longer, longer.wall_seconds, TestsPlaceError) as tests,
    ):
        try:
            heard = await relay(candidate, tests)
            ran, more = await candidate.end()
            judged, _ = await tests.end()
        except TestsPlaceError:
            # If the program's worker has died too, this raises that error instead.
            await candidate.end()
            raise
    tampered = heard.tampered
    if not tampered and more and not heard.candidate_due:
        tampered = "a frame that nobody asked for"
    if tampered:
        candidate_worker.reusable = False
        ran = dataclasses.replace(ran, anomalies=(*ran.anomalies, tampered))
    return PairResult(ran, dataclasses.replace(judged, frames=heard.reports))
