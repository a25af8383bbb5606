"""`EpisodeSandbox`: an agent's episode in a place of its own, whichever provider made the place.

A place is a container, or namespaces on this machine. Inside, an episode server (`inside/episode_server.py`) runs the
commands and reads and writes the files; `EpisodeClient` speaks with it. A place can start such a server, and knows
whether the place itself is still running.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from agent_rl.contracts import Sandbox
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import ExecResult, SandboxSpec
from agent_rl.vocabulary.runs import RunStatus
from agent_rl_sandboxes.episode_client import EpisodeChannel, EpisodeClient, ServerGone, checked_path

T = TypeVar("T")

_START_SECONDS = 30.0
_KILL_SECONDS = _START_SECONDS  # a container's killer has to be started first
_SETTLE_SECONDS = 2.0
_SETTLE_CHECKS = 10


class EpisodePlace(Protocol):
    """Where one episode runs: closed off from all others, with files that outlive an episode server."""

    async def start_server(self) -> EpisodeClient:
        """A new server. Raises ServerGone if it does not come up, SandboxError if the place is gone."""
        ...

    async def begin(self, lifetime: float) -> None:
        """The place ends by itself in `lifetime` seconds. Call it once, before anything is run. Raises SandboxError."""
        ...

    async def kill_all(self) -> None:
        """Every process of the programs inside is gone, the server with them. Raises SandboxError."""
        ...

    async def why_not_running(self) -> str | None:
        """Why the place does not run, as a verb phrase; None if it does."""
        ...

    async def close(self) -> None:
        """The place is gone, with every process in it. Idempotent."""
        ...


PlaceT = TypeVar("PlaceT", bound=EpisodePlace)


async def greeted(channel: EpisodeChannel, output_bytes: int) -> EpisodeClient:
    """The client of the server on `channel`, which has started and answered. Raises ServerGone."""
    client = EpisodeClient(channel, output_bytes)
    try:
        await client.hello(_START_SECONDS)
    except BaseException:
        await client.close()
        raise
    return client


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPlace(Generic[PlaceT]):
    """A place in which nothing has been run, with a server in it that waits for commands."""

    place: PlaceT
    client: EpisodeClient

    async def alive(self) -> bool:
        """Whether the server and the place run. Raises SandboxError if that cannot be found out."""
        return not self.client.gone and await self.place.why_not_running() is None

    async def close(self) -> None:
        """The place is gone. Never raises SandboxError: what could not be removed is reaped by its label."""
        await self.client.close()
        with contextlib.suppress(SandboxError, OSError):
            await self.place.close()


async def prepare(place: PlaceT, what: str) -> PreparedPlace[PlaceT]:
    """`place` with its first server. On failure the place is closed; raises SandboxError, `what` in its message."""
    try:
        try:
            client = await place.start_server()
        except ServerGone as gone:
            if (how := await place.why_not_running()) is not None:
                raise SandboxError(f"the sandbox's {how}: {gone}") from gone
            raise SandboxError(f"a sandbox's server cannot start {what}: {gone}") from gone
        return PreparedPlace(place, client)
    except BaseException:
        with contextlib.suppress(SandboxError, OSError):
            await asyncio.shield(asyncio.ensure_future(place.close()))
        raise


class EpisodeSandbox(Sandbox, Generic[PlaceT]):
    """A sandbox with a place of its own, which it takes at first use and which ends with its lifetime.

    Inside, an episode server runs the commands. Agents run as the server's user and can kill it. They then lose the
    command (`crashed`, or `timeout`) and their processes, never their files. That is no SandboxError: otherwise an
    agent that fails could have its rollout dropped. Nothing inside can end the place, since its first process is out of
    reach. So a place that is gone is an infrastructure failure (SandboxError), unless its lifetime is over: commands
    that an agent begins after that get the status `timeout`.

    `take` returns a prepared place that nobody has used; `forget` is called at the end.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        take: Callable[[SandboxSpec], Awaitable[PreparedPlace[PlaceT]]],
        forget: Callable[[Self], None],
    ) -> None:
        self._spec = spec
        self._take = take
        self._forget = forget
        self._lock = asyncio.Lock()
        self._place: PlaceT | None = None
        self._client: EpisodeClient | None = None
        self._closed = False
        self._destroyed: str | None = None
        self._destroyed_as: RunStatus = "crashed"
        self._over = math.inf

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        if not command:
            raise ValueError("exec needs a command")
        began = time.monotonic()
        client = await self._ready()
        if client is None:
            return ExecResult(self._destroyed_as, None, b"", str(self._destroyed).encode(), 0.0)
        try:
            return await client.exec(command, stdin, timeout, environment or {})
        except ServerGone as gone:
            await self._recover(client, gone)
            seconds = time.monotonic() - began
            told = self._destroyed or f"the sandbox's own server was ended, and with it every process: {gone}"
            status = "timeout" if seconds >= timeout else self._destroyed_as
            return ExecResult(status, None, b"", told.encode(), seconds)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        contents = {checked_path(path): content for path, content in files.items()}
        if len(contents) < len(files):
            raise ValueError("two of the paths name the same file")
        await self._twice(lambda client: client.write_files(contents))

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        plain = checked_path(path)
        try:
            return await self._twice(lambda client: client.read_file(plain, max_bytes))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileNotFoundError(error.errno or errno.EIO, str(error), path) from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        async with self._lock:
            if self._client is not None:
                await self._client.close()
            if self._place is not None:
                await self._place.close()
            self._forget(self)

    async def _twice(self, operation: Callable[[EpisodeClient], Awaitable[T]]) -> T:
        """What `operation` returns; tried on a second server if the first was dead. Raises OSError after that."""
        for _ in range(2):
            client = await self._ready()
            if client is None:
                raise OSError(errno.EIO, str(self._destroyed))
            try:
                return await operation(client)
            except ServerGone as gone:
                await self._recover(client, gone)
        raise OSError(errno.EIO, "the sandbox's own server is ended again and again")

    async def _ready(self) -> EpisodeClient | None:
        """The server's client, started if needed; None if the programs inside have made the place unusable."""
        async with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._destroyed is not None:
                return None
            if self._place is None:
                await self._begin(await self._take(self._spec))
            if self._client is None and self._place is not None:
                try:
                    self._client = await self._place.start_server()
                except (ServerGone, SandboxError) as error:
                    if (how := await self._place.why_not_running()) is not None:
                        await self._lost(how, error)
                    elif isinstance(error, SandboxError):
                        raise
                    else:
                        await self._destroy(f"its programs left no way to start another: {error}")
                    return None
            return self._client

    async def _begin(self, prepared: PreparedPlace[PlaceT]) -> None:
        """The episode has its place, and its lifetime has begun. Raises SandboxError if the place has just died."""
        lifetime = self._spec.lifetime_seconds
        self._over = time.monotonic() + lifetime
        try:
            await prepared.place.begin(lifetime)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(prepared.close()))
            raise
        self._place, self._client = prepared.place, prepared.client

    async def _lost(self, how: str, error: Exception) -> None:
        """Notes that the place does not run. Raises SandboxError, unless the place's lifetime is over."""
        if time.monotonic() < self._over:
            raise SandboxError(f"the sandbox's {how}: {error}") from error
        await self._destroy(f"its lifetime of {self._spec.lifetime_seconds:g} s is over", as_="timeout")

    async def _recover(self, client: EpisodeClient, gone: ServerGone) -> None:
        """After the server's end: every process inside is killed, the files stay, the next use starts a server.

        Raises SandboxError if the place itself is gone.
        """
        async with self._lock:
            if self._client is not client or self._place is None:
                return
            self._client = None
            await client.close()
            if self._destroyed is not None:
                return
            if (how := await self._place.why_not_running()) is not None:
                await self._lost(how, gone)
                return
            try:
                async with asyncio.timeout(_KILL_SECONDS):
                    await self._place.kill_all()
            except (SandboxError, TimeoutError) as error:
                # A dying place ends its programs first; only after that can its own end be seen.
                for _ in range(_SETTLE_CHECKS):
                    if (how := await self._place.why_not_running()) is not None:
                        await self._lost(how, gone)
                        return
                    await asyncio.sleep(_SETTLE_SECONDS / _SETTLE_CHECKS)
                await self._destroy(f"its programs left no way to start another: {error}")

    async def _destroy(self, reason: str, *, as_: RunStatus = "crashed") -> None:
        """The place is ended because of what its programs did; from now on commands have the status `as_`."""
        self._destroyed = f"the sandbox was ended: {reason}"
        self._destroyed_as = as_
        if self._place is not None:
            await self._place.close()
