"""Warm slots: `Slot`, one long-lived stream to a slot server, and `SlotPool`, which hands runs to slots and heals.

A provider makes slots: it starts `slot_command()` somewhere closed off, wraps that program's standard input and output
in a `Channel`, and calls `Slot.open`. Everything else (frames, statuses, deadlines, recycling) is the same for all.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.vocabulary import Isolation, Limits, RunRequest, RunResult
from agent_rl.vocabulary.sandbox import RunStatus
from agent_rl_sandboxes.slot_program import LENGTHS, PROTOCOL, SlotSetup, pack, setup_frame, slot_command

__all__ = ["Channel", "Slot", "SlotPool", "SlotSetup", "channels_of", "check_isolation", "run_limits", "slot_command"]

LEVELS: tuple[Isolation, ...] = ("memory", "container", "uid", "namespaces")
"""From the weakest to the strongest."""

GRACE_SECONDS = 10.0
"""Beyond a run's own wall limit, how long its slot may take to answer before it is ended."""
RECYCLE_AFTER = 5000
"""Runs of a slot. A new one in Docker is a `docker run` and a `docker exec`: at 500 they cost a noticeable share."""
_FRAME_LENGTH = struct.Struct(">I")
_MAX_ANSWER = 1 << 29
_EXTRA_FRAMES = 2
"""Frames beyond one for each call that are still taken apart: more say nothing new."""


_Result = TypeVar("_Result")


class Channel(Protocol):
    """The stdin and stdout of a program started by `slot_command()`; its stderr is the provider's own affair."""

    async def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes of the program's stdout. Raises EOFError or OSError where the stream has ended.

        A cancelled call has taken nothing (as with `asyncio.StreamReader.readexactly`).
        """
        ...

    async def write(self, data: bytes) -> None:
        """`data` is on its way to the program's stdin; also where the call is cancelled. Raises OSError."""
        ...

    async def kill(self) -> None:
        """The program and everything that it started are gone (for Docker: the container). Idempotent, never raises."""
        ...

    def ended(self) -> bool:
        """Whether the end of the program's stdout has come, and nothing is left of it to read. Never waits."""
        ...

    async def why_dead(self) -> str:
        """After the stream ended: what is known of the reason ("OOMKilled", "exit code 1: ..."), or ""."""
        ...


class Slot:
    """One slot server behind a channel; one request at a time."""

    def __init__(self, channel: Channel, hello: dict[str, Any]) -> None:
        self._channel = channel
        self._count = 0
        self._lengths: tuple[int, int] | None = None
        self._under_way: str | None = None
        self.isolation: Isolation = hello["isolation"]
        self.reasons: tuple[str, ...] = tuple(hello["reasons"])
        """For each better level of isolation, which step was refused with which error."""
        self.python: str = hello["python"]
        self.reusable = self.isolation != "container"
        self.runs = 0

    @staticmethod
    async def open(channel: Channel, setup: SlotSetup | None = None, *, timeout: float = 30.0) -> Slot:
        """A slot on `channel`, whose program has just been started. On failure the channel is killed.

        Raises SandboxError with what was refused, and as far as is known why.
        """
        slot = Slot(channel, {"isolation": "container", "reasons": (), "python": ""})
        try:
            async with asyncio.timeout(timeout):
                await channel.write(setup_frame(setup or SlotSetup()))
                hello, _ = await slot._receive()
            if hello["op"] == "fatal":
                raise SandboxError(f"the slot server cannot start: {hello['error']}")
            if hello["op"] != "hello" or hello["protocol"] != PROTOCOL:
                raise SandboxError("the slot server speaks another protocol")
            return Slot(channel, hello)
        except TimeoutError:
            await slot.close()
            raise SandboxError(f"the slot server did not answer within {timeout:g} s") from None
        except OSError as error:
            why = await channel.why_dead()
            await slot.close()
            raise SandboxError(f"the slot server died at its start ({why or error})") from error
        except BaseException:
            await slot.close()
            raise

    async def run(self, request: RunRequest) -> RunResult:
        """What the run did. Raises SandboxError where the slot failed; it is then to be closed.

        Where the call is cancelled, `settle` says whether the slot can go on.
        """
        self.runs += 1
        limits = request.limits
        payload = {
            "program": request.program,
            "entry_point": request.entry_point,
            "calls": [(call.id, call.arguments) for call in request.calls],
            "seed": request.seed,
            "limits": run_limits(limits),
        }
        if request.stdin:
            payload["stdin"] = base64.b64encode(request.stdin).decode()
        header, body = await self.ask("run", limits, payload)
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
            anomalies=(*header["anomalies"], *anomalies),
        )

    async def ask(self, operation: str, limits: Limits, payload: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Header and body of the server's answer to "run" or "exec". Raises SandboxError."""
        body = json.dumps(payload).encode()
        return await self.exchange(
            operation,
            _order(limits),
            _FRAME_LENGTH.pack(len(body)) + body,
            timeout=limits.wall_seconds + GRACE_SECONDS,
        )

    async def begin(self, operation: str, limits: Limits, body: bytes) -> None:
        """A request is on its way whose answers are taken with `hear`. Raises SandboxError."""
        self.runs += 1
        self._count += 1
        self._under_way = str(self._count)
        await self.tell(operation, body, _order(limits))

    async def tell(self, operation: str, body: bytes = b"", header: dict[str, Any] | None = None) -> None:
        """Something more is said to what is under way. Raises SandboxError."""
        try:
            await self._channel.write(pack({"op": operation, "id": self._under_way, **(header or {})}, body))
        except OSError as error:
            raise SandboxError(f"a slot died ({await self._channel.why_dead() or error})") from error

    async def hear(self) -> tuple[dict[str, Any], bytes]:
        """Header and body of the next answer to what is under way; with "result" it ends. Raises SandboxError."""
        answer, content = await self._receive()
        if answer["op"] in ("failed", "fatal"):
            raise SandboxError(f"a slot failed: {answer['error']}")
        if answer.get("id") != self._under_way:
            raise SandboxError("a slot answered something else than it was asked")
        if answer["op"] == "result":
            self._under_way = None
        return answer, content

    async def exchange(
        self, operation: str, header: dict[str, Any], body: bytes = b"", *, timeout: float
    ) -> tuple[dict[str, Any], bytes]:
        """Header and body of the answer to one request. Raises SandboxError."""
        self._count += 1
        identifier = str(self._count)
        self._under_way = identifier
        try:
            async with asyncio.timeout(timeout):
                await self._channel.write(pack({"op": operation, "id": identifier, **header}, body))
                answer, content = await self._receive()
        except TimeoutError:
            raise SandboxError(f"a slot did not answer within {timeout:g} s") from None
        except OSError as error:
            raise SandboxError(f"a slot died ({await self._channel.why_dead() or error})") from error
        self._under_way = None
        if answer["op"] in ("failed", "fatal"):
            raise SandboxError(f"a slot failed: {answer['error']}")
        if answer.get("id") != identifier:
            raise SandboxError("a slot answered something else than it was asked")
        return answer, content

    async def settle(self) -> bool:
        """After a cancelled call: whether what was under way has been ended and the slot can go on."""
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                if self._under_way is not None:
                    await self._channel.write(pack({"op": "cancel", "id": self._under_way}))
                    answer, _ = await self._receive()
                    while answer["op"] == "said":
                        answer, _ = await self._receive()
                    self._under_way = None
                    return answer["op"] == "result" and answer["reusable"]
        except (TimeoutError, SandboxError, OSError):
            return False
        return True

    @property
    def dead(self) -> bool:
        """Whether the slot server is known to have ended, as far as can be told without asking it."""
        return self._channel.ended()

    async def close(self) -> None:
        """The slot server is gone, with everything in it."""
        await asyncio.shield(self._channel.kill())

    async def _receive(self) -> tuple[dict[str, Any], bytes]:
        """The next frame. A cancelled call goes on where it was with the next. Raises SandboxError."""
        try:
            if self._lengths is None:
                self._lengths = LENGTHS.unpack(await self._channel.read_exactly(LENGTHS.size))
            header, body = self._lengths
            if header + body > _MAX_ANSWER:
                raise SandboxError(f"a slot answered with {header + body} bytes")
            data = await self._channel.read_exactly(header + body)
            self._lengths = None
            return json.loads(data[:header]), data[header:]
        except (EOFError, OSError) as error:
            why = await self._channel.why_dead()
            raise SandboxError(f"a slot died{f' ({why})' if why else ''}") from error


class SlotPool:
    """At most `size` slots at work. A slot is replaced after `recycle_after` runs, and whenever something was odd."""

    def __init__(
        self, start_slot: Callable[[], Awaitable[Slot]], size: int, *, recycle_after: int = RECYCLE_AFTER
    ) -> None:
        """`start_slot` makes one slot; it raises SandboxError, and leaves nothing behind where it is cancelled."""
        self._start_slot = start_slot
        self._size = size
        self._recycle_after = recycle_after
        self._capacity = asyncio.Semaphore(size)
        self._taking = asyncio.Lock()
        self._idle: deque[asyncio.Task[Slot]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._busy: set[Slot] = set()
        self._first: Slot | None = None
        self._closed = False

    async def start(self) -> None:
        """One slot is ready and the others are on their way. Raises SandboxError."""
        task = asyncio.ensure_future(self._start())
        self._first = await task
        self._idle.append(task)
        for _ in range(self._size - 1):
            self._replace()

    @property
    def first(self) -> Slot:
        """The slot that `start` made, for what was probed: isolation, reasons, version of Python."""
        if self._first is None:
            raise SandboxError("the slots have not been started")
        return self._first

    @property
    def isolation(self) -> Isolation:
        """The isolation level between two runs, as probed."""
        return self.first.isolation

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        """One run in a warm slot, or with `fresh` in one made for it alone.

        Raises SandboxError, and of it SandboxStartError where there was no slot to run in.
        """
        await self._capacity.acquire()
        try:
            slot = await (self._start() if fresh else self._obtain())
        except BaseException:
            self._capacity.release()
            raise
        self._busy.add(slot)
        try:
            self._check_open()
            result = await slot.run(request)
        except asyncio.CancelledError:
            # The capacity comes back when the slot does.
            self._in_background(self._settle(slot, fresh=fresh))
            raise
        except BaseException:
            slot.reusable = False
            self._give_back(slot, fresh=fresh)
            raise
        if result.anomalies:
            slot.reusable = False
        self._give_back(slot, fresh=fresh)
        return result

    async def run_pair(self, use: Callable[[Slot, Slot], Awaitable[_Result]], *, fresh: bool = False) -> _Result:
        """What `use` makes of two slots. In a pool of one, the second is made for this alone, and ended after it.

        Errors are those of `run`. Capacity for two is taken by one at a time, so that two who wait for their second
        slot cannot wait for each other.
        """
        # Two fresh ones count as one: an honest run beside them, by which they are judged, has room in a pool of two.
        taken = 1 if fresh else min(2, self._size)
        await self._take(taken)
        held: list[tuple[Slot, bool]] = []
        try:
            for number in range(2):
                alone = fresh or number >= taken
                slot = await (self._start() if alone else self._obtain())
                self._busy.add(slot)
                held.append((slot, alone))
            self._check_open()
            result = await use(held[0][0], held[1][0])
        except asyncio.CancelledError:
            self._in_background(self._settle_pair(held, taken))
            raise
        except BaseException:
            for slot, _ in held:
                slot.reusable = False
            self._give_back_pair(held, taken)
            raise
        self._give_back_pair(held, taken)
        return result

    async def close(self) -> None:
        """No slot is left, and no run under way: each raises SandboxError. Idempotent."""
        self._closed = True
        for slot in list(self._busy):
            self._in_background(slot.close())
        while self._idle:
            self._in_background(self._close_idle(self._idle.popleft()))
        # Whoever holds capacity has a slot, or one on its way, and closes it when it comes.
        await self._take(self._size)
        for _ in range(self._size):
            self._capacity.release()
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    async def _take(self, count: int) -> None:
        """That much capacity is taken. Cancelled, nothing is."""
        async with self._taking:
            for taken in range(count):
                try:
                    await self._capacity.acquire()
                except BaseException:
                    for _ in range(taken):
                        self._capacity.release()
                    raise

    async def _start(self) -> Slot:
        """A new slot. Raises SandboxStartError, or SandboxError where the pool is closed."""
        self._check_open()
        try:
            return await self._start_slot()
        except SandboxError as error:
            raise SandboxStartError(str(error)) from error

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the slots have been closed")

    async def _obtain(self) -> Slot:
        """An idle slot, or one on its way, or a new one.

        Never one that is known to have died while it was idle: the run would be asked to answer for that death.
        """
        for _ in range(2 * self._size):
            if not self._idle:
                break
            task = self._idle.popleft()
            try:
                slot = await asyncio.shield(task)
                if not slot.dead:
                    return slot
                self._in_background(slot.close())
                self._replace()
            except asyncio.CancelledError:
                if task.cancelled():
                    # Not this call, but the pool that was closed.
                    break
                self._idle.append(task)
                raise
            except SandboxError:
                # Its start failed while nobody waited; whether another does is to be seen.
                continue
        return await self._start()

    def _give_back(self, slot: Slot, *, fresh: bool) -> None:
        """The slot is idle again, or on its way out with another on its way in; its capacity is free."""
        self._put_back(slot, fresh=fresh)
        self._capacity.release()

    def _put_back(self, slot: Slot, *, fresh: bool) -> None:
        self._busy.discard(slot)
        if slot.reusable and slot.runs < self._recycle_after and not fresh and not self._closed:
            self._idle.append(_ready(slot))
        else:
            self._in_background(slot.close())
            if not fresh:
                self._replace()

    def _give_back_pair(self, held: list[tuple[Slot, bool]], taken: int) -> None:
        for slot, fresh in held:
            self._put_back(slot, fresh=fresh)
        for _ in range(taken):
            self._capacity.release()

    async def _settle_pair(self, held: list[tuple[Slot, bool]], taken: int) -> None:
        settled = await asyncio.gather(*(slot.settle() for slot, _ in held))
        for (slot, _), well in zip(held, settled, strict=True):
            slot.reusable = well and slot.reusable
        self._give_back_pair(held, taken)

    async def _settle(self, slot: Slot, *, fresh: bool) -> None:
        slot.reusable = await slot.settle() and slot.reusable
        self._give_back(slot, fresh=fresh)

    def _replace(self) -> None:
        if self._closed:
            return
        task = asyncio.ensure_future(self._start())
        # Retrieved here, so that a failure that nobody waits for is not reported as forgotten.
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        self._idle.append(task)

    async def _close_idle(self, task: asyncio.Task[Slot]) -> None:
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, SandboxError):
            await (await task).close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _ready(slot: Slot) -> asyncio.Task[Slot]:
    """A finished wait for `slot`."""
    future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
    future.set_result(slot)
    return cast("asyncio.Task[Slot]", future)


def check_isolation(level: Isolation, minimum: Isolation, reasons: tuple[str, ...]) -> None:
    """Raises SandboxError where `level` is weaker than `minimum`, with the reasons."""
    if LEVELS.index(level) < LEVELS.index(minimum):
        raise SandboxError(
            f"sandbox.minimum_isolation = {minimum!r} cannot be had here, only {level!r} ({'; '.join(reasons)})"
        )


def _order(limits: Limits) -> dict[str, float]:
    """What the slot server itself needs to know of a run."""
    return {
        "wall": limits.wall_seconds,
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "output": limits.output_bytes,
        "disk": limits.disk_bytes,
        "inodes": limits.inodes,
    }


def run_limits(limits: Limits) -> dict[str, float]:
    """What a run's own process sets for itself."""
    return {
        "cpu": limits.cpu_seconds,
        "memory": limits.memory_bytes,
        "processes": limits.processes,
        "disk": limits.disk_bytes,
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
            return tuple(frames), ("a frame that is no text",)
        at = end
    return tuple(frames), ()
