"""`DockerSandbox`: an agent's episode in a container of its own; `StdoutChannel`: a program's streams there."""

from __future__ import annotations

import asyncio
import contextlib

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import SandboxSpec
from agent_rl_sandboxes.docker_container import Container
from agent_rl_sandboxes.docker_engine import DockerStream
from agent_rl_sandboxes.episode_client import EpisodeClient, server_command
from agent_rl_sandboxes.episode_sandbox import EpisodeSandbox, PreparedPlace, greeted

_KILL_ALL = "import os; os.kill(-1, 9)"
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
        """Exactly `size` bytes. Raises EOFError, with the program's stderr, where the program ended before that."""
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


class DockerPlace:
    """An episode's container, in which commands run as `user`. `variables`: those that its image sets (ENV)."""

    def __init__(
        self, container: Container, spec: SandboxSpec, user: str, variables: frozenset[str] = frozenset()
    ) -> None:
        self.container = container
        self._spec = spec
        self._user = user
        self._variables = variables

    async def start_server(self) -> EpisodeClient:
        spec = self._spec
        environment = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        if spec.hardening == "strict":
            environment["HOME"] = spec.workdir
        environment = {name: value for name, value in environment.items() if name not in self._variables}
        command = server_command("python3", spec.workdir, spec.output_bytes)
        stream = await self.container.exec(command, user=self._user, environment=environment)
        return await greeted(StdoutChannel(stream), spec.output_bytes)

    async def begin(self, lifetime: float) -> None:
        await self.container.begin(lifetime)

    async def kill_all(self) -> None:
        """Every process of the programs' user is killed. Raises SandboxError if the killer cannot be started."""
        stream = await self.container.exec(["python3", "-I", "-c", _KILL_ALL], user=self._user)
        said = b""
        while (frame := await stream.read_frame()) is not None:
            said += frame[1]
        stream.close()
        if said:
            raise SandboxError(said.decode("utf-8", "replace").strip())

    async def why_not_running(self) -> str | None:
        how = await self.container.why_not_running()
        return None if how is None else f"container {how}"

    async def close(self) -> None:
        await self.container.close()


class DockerSandbox(EpisodeSandbox[DockerPlace]):
    """An episode in a container of its own."""

    _watch: asyncio.Task[None] | None = None

    @property
    def container_id(self) -> str | None:
        """The container's id; None before the first use."""
        return None if self._place is None else self._place.container.id

    async def _begin(self, prepared: PreparedPlace[DockerPlace]) -> None:
        await super()._begin(prepared)
        if self._spec.hardening == "task_image":
            self._watch = asyncio.create_task(self._watch_disk(prepared.place.container))

    async def _end(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await super()._end()

    async def _watch_disk(self, container: Container) -> None:
        """Ends the sandbox once it has written more than `disk_bytes`: most storages do not bound a writable root."""
        while not self._closed:
            await asyncio.sleep(_DISK_CHECK_SECONDS)
            with contextlib.suppress(SandboxError):
                if await container.written_bytes() > self._spec.disk_bytes:
                    await self._destroy(f"more than {self._spec.disk_bytes} bytes were written")
                    return
