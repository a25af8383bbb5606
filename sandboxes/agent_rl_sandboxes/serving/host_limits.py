"""`HostLimits`: the most that clients may ask of a host. Gates enforce it: they tell clients to retry later."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from agent_rl.vocabulary import Limits, SandboxSpec
from agent_rl_sandboxes.serving.host_protocol import ExecMessage

_MEMORY_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
COMMAND_TIMES = 2.0
"""A command may take so many times as long as a run: pytest may start for as long as its tests may take."""


@dataclass(frozen=True, slots=True)
class HostLimits:
    """Bounds of one host: counts, bytes and seconds."""

    workers: int = 2
    """Runs at a time."""
    queue: int = 8
    """Runs that wait for a worker, at most."""
    queue_seconds: float = 10.0
    sandboxes: int = 64
    sessions: int = 256
    requests: int = 256
    """Requests under way, of all kinds."""
    connections: int = 512
    body_bytes: int = 64 << 20
    """Largest body with an archive or a run."""
    read_bytes: int = 64 << 20
    """Largest file that is read out of a sandbox."""
    held_bytes: int = 256 << 20
    """All bodies in memory at a time; at least as much as the largest body."""
    body_seconds: float = 120.0
    idle_seconds: float = 75.0
    """A connection that sends no request for this long is closed."""
    lease_seconds: float = 60.0
    """A session ends when its client has not been heard of for this long."""
    drain_seconds: float = 10.0
    """When the host is told to end, work under way has this long to finish."""
    run_seconds: float = 3600.0
    """The most that a run or command may ask for."""
    memory_bytes: int = _MEMORY_BYTES
    """The most that a run or sandbox may ask for: this machine's."""


class Busy(Exception):
    """No room now; `retry_after` in seconds."""

    def __init__(self, what: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(what)


class Gate:
    """Lets at most `workers` in at a time, while at most `queue` wait."""

    def __init__(self, workers: int, queue: int) -> None:
        self._free = asyncio.Semaphore(workers)
        self._queue = queue
        self.inside = 0
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def enter(self, seconds: float) -> AsyncIterator[None]:
        """The context is inside. Raises Busy if the queue is full, or after `seconds` in it."""
        if self._free.locked() and self.waiting >= self._queue:
            raise Busy(f"all workers are taken, and {self.waiting} runs wait for one", 1.0)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"no worker became free in {seconds:g} s", 1.0) from None
        finally:
            self.waiting -= 1
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
            self._free.release()


class Budget:
    """At most `total` taken at a time, of whatever is counted."""

    def __init__(self, total: int, what: str) -> None:
        self.total = total
        self.taken = 0
        self._what = what

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """`amount` is taken while the context lasts. Raises Busy if less than that is left."""
        if self.taken + amount > self.total:
            raise Busy(f"{self.taken} of {self.total} {self._what} are taken", 1.0)
        self.taken += amount
        try:
            yield
        finally:
            self.taken -= amount


def check_limits(limits: Limits, host: HostLimits) -> None:
    """Raises ValueError for a limit that means nothing or is more than the host gives."""
    _check_seconds("limits.wall_seconds", limits.wall_seconds, host)
    _check_seconds("limits.cpu_seconds", limits.cpu_seconds, host)
    _check_counts(limits, ("memory_bytes", "processes", "disk_bytes", "inodes", "output_bytes"), host)


def check_spec(spec: SandboxSpec, host: HostLimits) -> None:
    """Raises ValueError for a sandbox that means nothing, or more than the host gives."""
    if spec.build_folder is not None:
        raise ValueError("a host builds no images from a client's folders: name an image that it has")
    _check_seconds("lifetime_seconds", spec.lifetime_seconds, host, 24.0)
    if not 0 < spec.cpus <= 1024:
        raise ValueError(f"cpus = {spec.cpus:g} is out of range")
    _check_counts(spec, ("memory_bytes", "processes", "disk_bytes", "inodes", "output_bytes"), host)
    for name, text in (("image", spec.image), ("workdir", spec.workdir), ("user", spec.user)):
        if text is not None:
            _check_text(name, text)
    if (spec.workdir and not spec.workdir.startswith("/")) or ".." in spec.workdir.split("/"):
        raise ValueError(f"workdir = {spec.workdir[:80]!r} is not an absolute path")


def check_command(message: ExecMessage, host: HostLimits) -> None:
    """Raises ValueError for a command that no operating system can start, or that may take too long."""
    if not message.command or not message.command[0]:
        raise ValueError("exec needs a command")
    for argument in (*message.command, *message.environment.values()):
        _check_text("an argument", argument or " ")
    for name in message.environment:
        if "=" in name:
            raise ValueError(f"{name[:80]!r} is not the name of a variable")
        _check_text("a variable", name)
    _check_seconds("timeout", message.timeout, host, COMMAND_TIMES)


def _check_text(name: str, text: str) -> None:
    """Raises ValueError for what no operating system takes as a name or an argument."""
    if not text or "\0" in text or len(text) > 1 << 20 or any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{name} = {text[:80]!r} cannot be used")


def _check_seconds(name: str, seconds: float, host: HostLimits, times: float = 1.0) -> None:
    if not 0 < seconds <= host.run_seconds * times:
        raise ValueError(f"{name} = {seconds:g} is out of range: more than 0, at most {host.run_seconds * times:g}")


def _check_counts(holder: Limits | SandboxSpec, names: tuple[str, ...], host: HostLimits) -> None:
    most = {"memory_bytes": host.memory_bytes, "processes": 1 << 15, "inodes": 1 << 24, "output_bytes": 64 << 20}
    for name in names:
        value = getattr(holder, name)
        if not 0 < value <= most.get(name, 1 << 40):
            raise ValueError(f"{name} = {value} is out of range: more than 0, at most {most.get(name, 1 << 40)}")
