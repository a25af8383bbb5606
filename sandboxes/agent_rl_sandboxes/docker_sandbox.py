"""`DockerSandbox`: an agent's episode in a container of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent_rl.contracts import Sandbox
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import ExecResult, SandboxSpec
from agent_rl.vocabulary.runs import RunStatus
from agent_rl_sandboxes.docker_container import Container
from agent_rl_sandboxes.docker_engine import DockerStream
from agent_rl_sandboxes.docker_hardening import PROGRAMS
from agent_rl_sandboxes.episode_client import EpisodeClient, ServerGone, checked_path, server_command

T = TypeVar("T")

_KILL_ALL = "import os; os.kill(-1, 9)"
_START_SECONDS = 30.0
_KILL_SECONDS = 10.0
_SETTLE_SECONDS = 2.0
_SETTLE_CHECKS = 10
_DISK_CHECK_SECONDS = 2.0
_STDERR_BYTES = 4096


class StdoutChannel:
    """A program's stdin and stdout as plain byte streams; the end of its stderr is kept for messages."""

    def __init__(self, stream: DockerStream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self.stderr = bytearray()

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.write(data)
        except SandboxError as error:
            raise EOFError(str(error)) from None

    async def read_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError, with what the program said on stderr, where it ended before."""
        while len(self._buffer) < size:
            frame = await self.stream.read_frame()
            if frame is None:
                raise EOFError(
                    f"the program inside ended: {self.stderr.decode('utf-8', 'replace').strip() or 'silent'}"
                )
            number, data = frame
            if number == 1:
                self._buffer += data
            else:
                self.stderr += data
                del self.stderr[:-_STDERR_BYTES]
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def ended(self) -> bool:
        return not self._buffer and self.stream.ended()

    def close(self) -> None:
        self.stream.close()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedContainer:
    """A container in which nobody has run anything, with a server in it that waits for commands."""

    container: Container
    user: str
    """Who commands run as."""
    client: EpisodeClient

    async def alive(self) -> bool:
        """Whether the server is there and the container runs. Raises SandboxError where the daemon does not say."""
        return not self.client.gone and await self.container.running()

    async def close(self) -> None:
        """Nothing of it is left. Never raises SandboxError: what the daemon could not remove is reaped by its label."""
        await self.client.close()
        with contextlib.suppress(SandboxError, OSError):
            await self.container.close()


async def prepare(container: Container, spec: SandboxSpec, user: str) -> PreparedContainer:
    """`container` with its first server. Raises SandboxError, and then the container is gone."""
    try:
        try:
            client = await start_server(container, spec, user)
        except ServerGone as gone:
            if (how := await container.why_not_running()) is not None:
                raise SandboxError(f"the sandbox's container {how}: {gone}") from gone
            raise SandboxError(
                f"a sandbox's server cannot start in the image {spec.image or 'of the provider'!r} "
                f"(python3 must be there): {gone}"
            ) from gone
        return PreparedContainer(container, user, client)
    except BaseException:
        with contextlib.suppress(SandboxError, OSError):
            await asyncio.shield(asyncio.ensure_future(container.close()))
        raise


async def start_server(container: Container, spec: SandboxSpec, user: str) -> EpisodeClient:
    """A new episode server in `container`. Raises ServerGone, or SandboxError where the container is gone."""
    environment = {"HOME": spec.workdir, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    command = server_command("python3", spec.workdir, spec.output_bytes)
    stream = await container.exec(command, user=user, environment=environment)
    client = EpisodeClient(StdoutChannel(stream), spec.output_bytes)
    try:
        await client.hello(_START_SECONDS)
    except BaseException:
        await client.close()
        raise
    return client


class DockerSandbox(Sandbox):
    """A container of its own, had at first use, and ended at the end of its lifetime.

    Inside, an episode server runs the commands. Agents run as its user and can kill it: that costs them the command
    (`crashed`, or `timeout`) and their processes, never their files, and it is no SandboxError; else an agent that
    fails could have its rollout dropped. What nothing inside can do is end the container: its first process belongs to
    another user. Where the container is gone, the machinery failed; but its lifetime is a limit, and what an agent
    begins after it is over is answered with the status `timeout`.

    `take` gives a prepared container that nobody has used.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        take: Callable[[SandboxSpec], Awaitable[PreparedContainer]],
        forget: Callable[[DockerSandbox], None],
    ) -> None:
        self._spec = spec
        self._take = take
        self._forget = forget
        self._lock = asyncio.Lock()
        self._container: Container | None = None
        self._user = PROGRAMS
        self._client: EpisodeClient | None = None
        self._closed = False
        self._destroyed: str | None = None
        self._destroyed_as: RunStatus = "crashed"
        self._over = math.inf
        self._watch: asyncio.Task[None] | None = None

    @property
    def container_id(self) -> str | None:
        """The container's id; None before the first use."""
        return None if self._container is None else self._container.id

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
            raise FileNotFoundError(f"{path}: {error}") from error

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        async with self._lock:
            if self._watch is not None:
                self._watch.cancel()
            if self._client is not None:
                await self._client.close()
            if self._container is not None:
                await self._container.close()
            self._forget(self)

    async def _twice(self, operation: Callable[[EpisodeClient], Awaitable[T]]) -> T:
        """What `operation` returns, on a second server where the first was found dead. Raises OSError after that."""
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
        """The server's client, started where needed; None where the programs inside have made the place unusable."""
        async with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed")
            if self._destroyed is not None:
                return None
            if self._container is None:
                await self._begin(await self._take(self._spec))
            if self._client is None and self._container is not None:
                try:
                    self._client = await start_server(self._container, self._spec, self._user)
                except (ServerGone, SandboxError) as error:
                    if (how := await self._container.why_not_running()) is not None:
                        await self._lost(how, error)
                    elif isinstance(error, SandboxError):
                        raise
                    else:
                        await self._destroy(f"its programs left no way to start another: {error}")
                    return None
            return self._client

    async def _begin(self, prepared: PreparedContainer) -> None:
        """The episode has its place, and its lifetime runs. Raises SandboxError where the place died just now."""
        lifetime = self._spec.lifetime_seconds
        self._over = time.monotonic() + lifetime
        try:
            await prepared.container.begin(lifetime)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(prepared.close()))
            raise
        self._container, self._user, self._client = prepared.container, prepared.user, prepared.client
        if self._spec.hardening == "task_image":
            self._watch = asyncio.create_task(self._watch_disk(self._container))

    async def _lost(self, how: str, error: Exception) -> None:
        """The container does not run. Raises SandboxError, unless it is the lifetime that is over."""
        if time.monotonic() < self._over:
            raise SandboxError(f"the sandbox's container {how}: {error}") from error
        await self._destroy(f"its lifetime of {self._spec.lifetime_seconds:g} s is over", as_="timeout")

    async def _recover(self, client: EpisodeClient, gone: ServerGone) -> None:
        """After the server's end: every process inside is killed, the files stay, the next use starts a server.

        Raises SandboxError where the container itself is gone.
        """
        async with self._lock:
            if self._client is not client or self._container is None:
                return
            self._client = None
            await client.close()
            if self._destroyed is not None:
                return
            if (how := await self._container.why_not_running()) is not None:
                await self._lost(how, gone)
                return
            try:
                async with asyncio.timeout(_KILL_SECONDS):
                    await self._kill_all(self._container)
            except (SandboxError, TimeoutError) as error:
                # A dying container ends its programs first, and only then is known to have ended.
                for _ in range(_SETTLE_CHECKS):
                    if (how := await self._container.why_not_running()) is not None:
                        await self._lost(how, gone)
                        return
                    await asyncio.sleep(_SETTLE_SECONDS / _SETTLE_CHECKS)
                await self._destroy(f"its programs left no way to start another: {error}")

    async def _kill_all(self, container: Container) -> None:
        """Every process of the programs' user is killed. Raises SandboxError where none can be started to do it."""
        stream = await container.exec(["python3", "-I", "-c", _KILL_ALL], user=self._user)
        said = b""
        while (frame := await stream.read_frame()) is not None:
            said += frame[1]
        stream.close()
        if said:
            raise SandboxError(said.decode("utf-8", "replace").strip())

    async def _destroy(self, reason: str, *, as_: RunStatus = "crashed") -> None:
        """The container is ended because of what its programs did; from now on commands have the status `as_`."""
        self._destroyed = f"the sandbox was ended: {reason}"
        self._destroyed_as = as_
        if self._container is not None:
            await self._container.close()

    async def _watch_disk(self, container: Container) -> None:
        """A writable root has no bound of its own on most storages: past `disk_bytes` the sandbox is ended."""
        while not self._closed:
            await asyncio.sleep(_DISK_CHECK_SECONDS)
            with contextlib.suppress(SandboxError):
                if await container.written_bytes() > self._spec.disk_bytes:
                    await self._destroy(f"more than {self._spec.disk_bytes} bytes were written")
                    return
