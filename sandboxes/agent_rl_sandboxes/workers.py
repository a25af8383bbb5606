"""Warm workers: `Worker`, one long-lived stream to a worker server.

A provider makes workers: it starts `worker_command()` somewhere closed off, wraps that program's standard input and
output in a `WorkerChannel`, and calls `Worker.open`. Everything else (frames, statuses, deadlines) is the same for
all; a `WorkerPool` (see worker_pool.py) hands runs to them.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import Isolation, Limits, RunRequest, RunResult
from agent_rl.vocabulary.runs import RunStatus
from agent_rl_sandboxes.inside.run_processes import READY_SECONDS
from agent_rl_sandboxes.inside.run_usage import SIGN_SECONDS
from agent_rl_sandboxes.worker_program import (
    LENGTHS,
    PROTOCOL,
    WorkerSetup,
    pack,
    role_sources,
    setup_frame,
    worker_command,
)

__all__ = ["WorkerChannel", "Worker", "WorkerSetup", "channels_of", "run_limits", "worker_command"]

LEVELS: tuple[Isolation, ...] = ("memory", "container", "uid", "namespaces")
"""From the weakest to the strongest."""

GRACE_SECONDS = 10.0
"""How long past the longest time of a run its worker may take to answer before it is ended."""
_LATE_SECONDS = 9.0
"""By how much a loaded machine may delay a sign of life."""
LOOK_SECONDS = 1.0
SILENT_LOOKS = math.ceil((READY_SECONDS + SIGN_SECONDS + _LATE_SECONDS) / LOOK_SECONDS)
"""After so many looks in vain a worker counts as stopped. Its server's longest step without a sign of life is to wait
for the process of a run; the first sign comes a while after that."""
_BYTES_PER_LOOK = 1 << 20
"""A long message may take one look more for each such part."""
_FRAME_LENGTH = struct.Struct(">I")
_MAX_ANSWER = 1 << 29
_MOST_AHEAD = 1 << 16
"""Calls of so many bytes are sent to a run at once."""
_EXTRA_FRAMES = 2
"""How many frames beyond one per call are still parsed: more of them say nothing new."""
_T = TypeVar("_T")

_UNKNOWN: dict[str, Any] = {"isolation": "container", "reasons": (), "python": "", "memory": "", "waits": False}
"""What is known of a worker that has not said hello."""


class WorkerChannel(Protocol):
    """The stdin and stdout of a program started by `worker_command()`; the provider handles its stderr."""

    async def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes of the program's stdout. Raises EOFError or OSError if the stream has ended.

        A cancelled call has consumed nothing (as with `asyncio.StreamReader.readexactly`).
        """
        ...

    async def write(self, data: bytes) -> None:
        """`data` is on its way to the program's stdin, even if the call is cancelled. Raises OSError.

        With no `data`: what was written before is on its way.
        """
        ...

    async def kill(self) -> None:
        """The program and everything that it started are gone (for Docker: the container). Idempotent, never raises."""
        ...

    def ended(self) -> bool:
        """Whether the program's stdout has ended and been read to its end. Never waits."""
        ...

    async def why_dead(self) -> str:
        """After the stream ended: what is known of the reason ("OOMKilled", "exit code 1: ..."), or ""."""
        ...


class Worker:
    """One worker server behind a channel; one request at a time."""

    def __init__(self, channel: WorkerChannel, hello: dict[str, Any]) -> None:
        self._channel = channel
        self._count = 0
        self._lengths: tuple[int, int] | None = None
        self._under_way: str | None = None
        self._used = 0.0
        """Seconds of its own time that the run under way had used at the last sign of life."""
        self._has_roles = False
        self.isolation: Isolation = hello["isolation"]
        self.reasons: tuple[str, ...] = tuple(hello["reasons"])
        """For each better level of isolation, which step was refused with which error."""
        self.python: str = hello["python"]
        self.memory: str = hello["memory"]
        """By what the memory of runs is limited."""
        self.waits: bool = hello["waits"]
        """Whether the kernel says how long a run had no processor."""
        self.reusable = self.isolation != "container"
        self.runs = 0

    @staticmethod
    async def open(channel: WorkerChannel, setup: WorkerSetup | None = None, *, timeout: float = 30.0) -> Worker:
        """A worker on `channel`, whose program has just been started. On failure the channel is killed.

        Raises SandboxError that says what was refused and, as far as is known, why.
        """
        worker = Worker(channel, _UNKNOWN)
        try:
            async with asyncio.timeout(timeout):
                await channel.write(setup_frame(setup or WorkerSetup()))
                hello, _ = await worker._receive(attended=False)
            if hello["op"] == "fatal":
                raise SandboxError(f"the worker server cannot start: {hello['error']}")
            if hello["op"] != "hello" or hello["protocol"] != PROTOCOL:
                raise SandboxError("the worker server speaks another protocol")
            return Worker(channel, hello)
        except TimeoutError:
            await worker.close()
            raise SandboxError(f"the worker server did not answer within {timeout:g} s") from None
        except OSError as error:
            why = await channel.why_dead()
            await worker.close()
            raise SandboxError(f"the worker server died at its start ({why or error})") from error
        except BaseException:
            await worker.close()
            raise

    async def run(self, request: RunRequest) -> RunResult:
        """What the run did. Raises SandboxError if the worker failed; close the worker then.

        After a cancelled call, `settle` says whether the worker can go on.
        """
        self.runs += 1
        limits = request.limits
        payload: dict[str, Any] = {
            "program": request.program,
            "entry_point": request.entry_point,
            "calls": len(request.calls),
            "seed": request.seed,
            "limits": run_limits(limits),
        }
        if request.stdin:
            payload["stdin"] = base64.b64encode(request.stdin).decode()
        calls = b"".join(_part(f"{call.id}\n{call.arguments}") for call in request.calls)
        # Whole programs are always kept apart.
        ahead = request.entry_point is not None and len(calls) <= _MOST_AHEAD
        payload["ahead"] = len(calls) if ahead else 0
        if request.entry_point is None:
            payload["ids"] = [call.id for call in request.calls]
        order = {**_order(limits), "calls": len(request.calls), "ahead": ahead}
        most = request.longest_seconds + GRACE_SECONDS
        try:
            async with asyncio.timeout(most):
                header, body = await self._ask("run", order, _part(json.dumps(payload)) + calls)
        except TimeoutError:
            raise SandboxError(f"a worker did not answer within {most:g} s") from None
        status, raw, stdout, stderr = channels_of(header, body)
        frames, anomalies = split_frames(raw, len(request.calls) + 1)
        # A run that was ended had no time to finish its last frame.
        anomalies = anomalies if status == "completed" else ()
        self.reusable = self.reusable and header["reusable"]
        return RunResult(
            status=status,
            frames=frames,
            stdout=stdout,
            stderr=stderr,
            exit_code=header["exit_code"],
            signal=header["signal"],
            seconds=header["seconds"],
            isolation=self.isolation,
            cpu_seconds=header["cpu"],
            waited_seconds=header["waited"],
            anomalies=(*header["anomalies"], *anomalies),
            ends=tuple((out, err) for out, err in header["ends"]),
            slowest_seconds=header["slowest"],
            unfinished=header["unfinished"],
        )

    async def load_roles(self) -> None:
        """The server has loaded the roles of proxied judging, outside any run's time. Call it before the first `begin`.

        Most workers never need the roles, so they are not loaded at the start. Raises SandboxStartError.
        """
        if self._has_roles:
            return
        try:
            await self._ask("load", {}, role_sources())
        except SandboxError as error:
            raise SandboxStartError(str(error)) from error
        self._has_roles = True

    async def _begin(self, operation: str, header: dict[str, Any], body: bytes) -> None:
        """A request has been sent. Raises SandboxError."""
        self._count += 1
        self._under_way = str(self._count)
        self._used = 0.0
        await self.tell(operation, body, header)

    async def begin_talk(self, limits: Limits, longest: float, body: bytes) -> None:
        """A run that exchanges messages has been asked for; read its answers with `hear`. Raises SandboxError.

        `longest`: when the run ends, however little of that time it had a processor.
        """
        self.runs += 1
        await self._begin("talk", {**_order(limits), "longest": longest}, body)

    async def tell(self, operation: str, body: bytes = b"", header: dict[str, Any] | None = None) -> None:
        """One more message has been sent to the request under way. Raises SandboxError, also if nobody takes it in."""
        data = pack({"op": operation, "id": self._under_way, **(header or {})}, body)
        parts = itertools.chain([data], itertools.repeat(b""))
        try:
            await self._attended(lambda: self._channel.write(next(parts)), len(data))
        except OSError as error:
            raise SandboxError(f"a worker died ({await self._channel.why_dead() or error})") from error

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """Header and body of the next answer to the request under way; "said" is not the last. Raises SandboxError."""
        while True:
            answer, content = await self._receive()
            if answer["op"] in ("failed", "fatal"):
                raise SandboxError(f"a worker failed: {answer['error']}")
            if answer.get("id") != self._under_way:
                raise SandboxError("a worker answered something else than it was asked")
            if answer["op"] == "alive":
                self._used = answer["seconds"]
                continue
            if answer["op"] != "said":
                self._under_way = None
            return answer, content

    async def _ask(self, operation: str, header: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Header and body of the only answer to one request. Raises SandboxError."""
        await self._begin(operation, header, body)
        return await self.hear()

    async def settle(self) -> bool:
        """After a cancelled call: whether the request under way has been ended and the worker can go on."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                if self._under_way is not None:
                    await self._channel.write(pack({"op": "cancel", "id": self._under_way}))
                    answer, _ = await self._receive()
                    while answer["op"] in ("said", "alive"):
                        answer, _ = await self._receive()
                    self._under_way = None
                    return answer["op"] == "result" and answer["reusable"]
        except (TimeoutError, SandboxError, OSError):
            return False
        return True

    @property
    def dead(self) -> bool:
        """Whether the worker server is known to have ended, as far as can be told without asking it."""
        return self._channel.ended()

    async def close(self) -> None:
        """The worker server is gone, with everything in it."""
        await asyncio.shield(self._channel.kill())

    async def _receive(self, *, attended: bool = True) -> tuple[dict[str, Any], bytes]:
        """The next frame. After a cancelled call, the next call resumes where that one stopped. Raises SandboxError.

        `attended`: whether signs of life are to be expected.
        """
        try:
            data = await (self._attended(self._read_frame) if attended else self._read_frame())
            assert self._lengths is not None
            header, _ = self._lengths
            self._lengths = None
            content: Any = json.loads(data[:header])
            if not isinstance(content, dict) or "op" not in content:
                raise ValueError("it says not what it answers")
            return content, data[header:]  # pyright: ignore[reportUnknownVariableType]
        except (ValueError, RecursionError) as error:
            raise SandboxError(f"a worker answered what is no answer: {error}") from error
        except (EOFError, OSError) as error:
            why = await self._channel.why_dead()
            raise SandboxError(f"a worker died{f' ({why})' if why else ''}") from error

    async def _read_frame(self) -> bytes:
        """Header and body of the next frame, whose lengths are then known. After a cancelled call, the next resumes."""
        if self._lengths is None:
            self._lengths = LENGTHS.unpack(await self._channel.read_exactly(LENGTHS.size))
        size = sum(self._lengths)
        if size > _MAX_ANSWER:
            raise SandboxError(f"a worker answered with {size} bytes")
        return await self._channel.read_exactly(size)

    async def _attended(self, step: Callable[[], Awaitable[_T]], size: int = 0) -> _T:
        """What `step` returns; it is cancelled at each look, and called again. `size`: how many bytes it writes.

        Raises SandboxError if too many looks were in vain. It is not the clock that decides: this process may have been
        late itself, and what can be read when it looks has been heard.
        """
        looks = SILENT_LOOKS + size // _BYTES_PER_LOOK
        silent = 0
        while silent <= looks:
            try:
                # The last look takes what is there, and does not wait.
                async with asyncio.timeout(LOOK_SECONDS if silent < looks else 0.0):
                    return await step()
            except TimeoutError:
                silent += 1
                looks = SILENT_LOOKS + (size + sum(self._lengths or ())) // _BYTES_PER_LOOK
        raise SandboxError(
            f"a worker gave no sign of life for {looks * LOOK_SECONDS:g} s (at the last one its run had used "
            f"{self._used:.1f} s)"
        )


def _order(limits: Limits) -> dict[str, float]:
    """What the worker server itself needs to know of a run."""
    return {
        "wall": limits.wall_seconds,
        "longest": limits.longest_seconds,
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "output": limits.output_bytes,
        "disk": limits.disk_bytes,
        "inodes": limits.inodes,
    }


def _part(text: str) -> bytes:
    """A part of a run's body."""
    data = text.encode("utf-8", "surrogatepass")
    return _FRAME_LENGTH.pack(len(data)) + data


def run_limits(limits: Limits) -> dict[str, float]:
    """The limits that a run's own process sets for itself."""
    return {
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "processes": limits.processes,
        "disk": limits.disk_bytes,
        "output": limits.output_bytes,
    }


def channels_of(header: dict[str, Any], body: bytes) -> tuple[RunStatus, bytes, bytes, bytes]:
    """Status, result channel, standard output and standard error of an answer."""
    first = header["results"]
    second = first + header["stdout"]
    return header["status"], body[:first], body[first:second], body[second:]


def split_frames(raw: bytes, expected: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(frames, anomalies) of what came on a result channel, which may be anything."""
    frames: list[str] = []
    at = 0
    while at < len(raw):
        if len(frames) >= expected + _EXTRA_FRAMES:
            return tuple(frames), ("too many frames",)
        end = at + _FRAME_LENGTH.size
        if end > len(raw):
            return tuple(frames), ("a partial frame",)
        end += _FRAME_LENGTH.unpack_from(raw, at)[0]
        if end > len(raw):
            return tuple(frames), ("a frame of wrong length",)
        try:
            frames.append(raw[at + _FRAME_LENGTH.size : end].decode())
        except UnicodeDecodeError:
            return tuple(frames), ("a frame that is not text",)
        at = end
    return tuple(frames), ()
