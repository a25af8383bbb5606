"""What one would do without warm slots, for `agent-rl bench verify` to compare with: never for judging anything real.

Every kind takes the same requests as a provider's `run` and gives the same frames, written by the same harness in the
same interpreter with the same flags. What they do not give is what the slots are for: `bare_python` and `bare_fork`
isolate nothing at all.

    docker_run    a container for each run: created, started, its answer read, removed
    docker_exec   a process for each run, started by `docker exec` in a container that is there already
    bare_python   a process for each run, on this machine
    bare_fork     a fork for each run, of a process on this machine that has imported everything already
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import secrets
import struct
import time
from abc import abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

from docker.errors import NotFound

from agent_rl.config import SandboxConfig
from agent_rl.contracts import Sandbox, SandboxProvider
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.verify import canonical
from agent_rl.vocabulary import Isolation, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.build import DEFAULT_IMAGE
from agent_rl_sandboxes.docker import DockerProvider
from agent_rl_sandboxes.docker_container import Container, remove_all
from agent_rl_sandboxes.docker_engine import Engine, Stream
from agent_rl_sandboxes.docker_hardening import HOSTNAME, PROGRAMS, episode_bounds, host_config
from agent_rl_sandboxes.inside import bare, harness, loading, namespaces, preloading
from agent_rl_sandboxes.local import system_python
from agent_rl_sandboxes.local_channel import LocalChannel
from agent_rl_sandboxes.owner import LABEL, Owner
from agent_rl_sandboxes.slot_program import python_command
from agent_rl_sandboxes.slots import run_limits, split_frames

_LENGTH = struct.Struct(">I")
_START_SECONDS = 60
_GRACE_SECONDS = 30.0
"""Beyond a run's own wall limit: for a daemon to start it and to take it away."""

# Both read messages behind their lengths. The first is asked once for each interpreter: what would otherwise be
# compiled anew by every process comes back as code.
_COMPILE = """
import json, marshal, os, struct, sys
def read(size):
    parts = []
    while size:
        parts.append(os.read(0, size))
        size -= len(parts[-1])
    return b"".join(parts)
sources = json.loads(read(*struct.unpack(">I", read(4))))
code = marshal.dumps([(name, compile(source, "<" + name + ">", "exec")) for name, source in sources])
answer = sys.version.split()[0].encode() + b"\\n" + code
answer = struct.pack(">I", len(answer)) + answer
while answer:
    answer = answer[os.write(1, answer):]
"""
_START = """
import marshal, os, struct, sys, types
def read(size):
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            sys.exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
sys.path[:] = [path for path in sys.path if path]
for name, code in marshal.loads(read(*struct.unpack(">I", read(4)))):
    parts = name.split(".")
    for index in range(1, len(parts) + 1):
        part = ".".join(parts[:index])
        if part not in sys.modules:
            module = sys.modules[part] = types.ModuleType(part)
            module.__path__ = []
            if index > 1:
                setattr(sys.modules[".".join(parts[:index - 1])], parts[index - 1], module)
    exec(code, sys.modules[name].__dict__)
sys.modules["agent_rl_sandboxes.inside.bare"].MAIN()
"""

Main = Literal["run_once", "serve_forks"]


def _sources(main: Main) -> list[tuple[str, str]]:
    """Name and source of what a process needs for `main`, in an order in which it can be imported."""
    modules: list[ModuleType] = [canonical, namespaces, harness, loading, preloading, bare]
    if main == "run_once":
        modules = [canonical, harness, bare]
    sources = [(module.__name__, inspect.getsource(module)) for module in modules]
    if main == "run_once":
        # The harness names it only for limits, which nobody sets here: a process of its own need not import it.
        sources.insert(1, (namespaces.__name__, ""))
    return sources


class _Program:
    """A command line, and what is to be written to it before the request."""

    def __init__(self, main: Main, python: str, version: str, code: bytes) -> None:
        self.command = python_command(_START.replace("MAIN", main), python)
        self.version = version
        self.preamble = _LENGTH.pack(len(code)) + code

    @staticmethod
    def question(main: Main) -> bytes:
        """What the compiling process is asked."""
        return _message(json.dumps(_sources(main)).encode())

    @staticmethod
    def from_answer(main: Main, python: str, answer: bytes) -> _Program:
        """The program that the compiling process answered with. Raises SandboxError."""
        version, separator, code = answer[_LENGTH.size :].partition(b"\n")
        if len(answer) < _LENGTH.size or _LENGTH.unpack_from(answer)[0] != len(answer) - _LENGTH.size or not separator:
            raise SandboxError(f"the harness could not be compiled with {python}")
        return _Program(main, python, version.decode(), code)


class Baseline(SandboxProvider):
    """One way to run a program. It has no sandboxes and no slots, and tries nothing twice."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._program: _Program | None = None

    @classmethod
    async def available(cls, config: SandboxConfig) -> str | None:
        """Why it cannot be measured here; None where it can."""
        return None

    @property
    def isolation(self) -> Isolation:
        return "memory"

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        raise SandboxError(f"{self.name} is for comparison only: it has no sandboxes")

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "python": self._started().version}

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        limit = request.limits.wall_seconds + _GRACE_SECONDS
        started = time.monotonic()
        raw: bytes = b""
        status: Literal["completed", "timeout"] = "completed"
        try:
            async with asyncio.timeout(limit):
                raw = await self._answer(_payload(request))
        except TimeoutError:
            status = "timeout"
        frames, anomalies = split_frames(raw, len(request.calls) + 1)
        seconds = time.monotonic() - started
        return RunResult(status, frames, b"", b"", None, None, seconds, self.isolation, anomalies)

    @abstractmethod
    async def _answer(self, request: bytes) -> bytes:
        """The frames of a run of `request`. Where it is cancelled, nothing of the run is left. Raises SandboxError."""

    def _started(self) -> _Program:
        if self._program is None:
            raise SandboxStartError(f"{self.name} is not started")
        return self._program


class BarePython(Baseline):
    """A process for each run, on this machine, in the same interpreter as the local sandbox's."""

    name = "bare_python"

    async def start(self) -> None:
        python = system_python()
        self._program = await _compiled_here("run_once", python)

    async def close(self) -> None:
        self._program = None

    async def _answer(self, request: bytes) -> bytes:
        program = self._started()
        channel = await LocalChannel.start(program.command)
        try:
            await channel.write(program.preamble + request)
            return await _until_end(channel)
        finally:
            await asyncio.shield(channel.kill())


class BareFork(Baseline):
    """A fork for each run, in one of as many warm processes as there are slots."""

    name = "bare_fork"

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self._idle: asyncio.Queue[LocalChannel] = asyncio.Queue()
        self._all: set[LocalChannel] = set()

    async def start(self) -> None:
        self._program = await _compiled_here("serve_forks", system_python())
        try:
            for _ in range(self._config.slots):
                self._idle.put_nowait(await self._server())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for channel in self._all:
            await asyncio.shield(channel.kill())
        self._all.clear()

    async def _answer(self, request: bytes) -> bytes:
        channel = await self._idle.get()
        try:
            await channel.write(request)
            (size,) = _LENGTH.unpack(await channel.read_exactly(_LENGTH.size))
            answer = await channel.read_exactly(size)
        except (Exception, asyncio.CancelledError) as error:
            # A program that does not end: its process goes, and another one comes.
            self._all.discard(channel)
            await asyncio.shield(channel.kill())
            self._idle.put_nowait(await self._server())
            if isinstance(error, (EOFError, OSError)):
                raise SandboxError(f"{self.name}: the process died: {error}") from error
            raise
        self._idle.put_nowait(channel)
        return answer

    async def _server(self) -> LocalChannel:
        program = self._started()
        channel = await LocalChannel.start(program.command)
        self._all.add(channel)
        await channel.write(program.preamble)
        async with asyncio.timeout(_START_SECONDS):
            await channel.read_exactly(1)
        return channel


class _InDocker(Baseline):
    """A connection to the daemon, and what an ordinary hardened container of the slots' image is made with."""

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self._image = config.image or DEFAULT_IMAGE
        self._owner = Owner.current()
        self._engine: Engine | None = None

    @classmethod
    async def available(cls, config: SandboxConfig) -> str | None:
        return await DockerProvider.available(config)

    @property
    def isolation(self) -> Isolation:
        return "container"

    async def start(self) -> None:
        self._engine = await Engine.connect()
        try:
            await self._prepare(self._engine)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await remove_all(engine, self._owner)
            await engine.close()

    async def _prepare(self, engine: Engine) -> None:
        """`_program` is there, and everything that is made ahead of the runs."""
        container = await self._container(engine)
        stream = await container.exec(python_command(_COMPILE), user=PROGRAMS)
        try:
            await stream.write(_Program.question("run_once"))
            answer = await _stdout(stream)
        finally:
            stream.close()
            await container.close()
        self._program = _Program.from_answer("run_once", "python3", answer)

    async def _container(self, engine: Engine) -> Container:
        """A container that waits. Raises SandboxError."""
        bounds = episode_bounds(SandboxSpec())
        return await Container.start(engine, image=self._image, purpose="strict", bounds=bounds, owner=self._owner)

    def _running(self) -> Engine:
        if self._engine is None:
            raise SandboxStartError(f"{self.name} is not started")
        return self._engine


class DockerRun(_InDocker):
    """A container for each run."""

    name = "docker_run"

    async def _answer(self, request: bytes) -> bytes:
        engine, program = self._running(), self._started()
        identifier: str = (await engine.call(self._create, engine, program.command))["Id"]
        removed = False
        try:
            stream = await engine.attach(f"/containers/{identifier}/attach?stream=1&stdin=1&stdout=1&stderr=1")
            try:
                await engine.call(engine.api.start, identifier)
                await stream.write(program.preamble + request)
                answer = await _stdout(stream)
            finally:
                stream.close()
            # The daemon removes it by itself; as with `docker run --rm`, the run is over when that is done.
            await engine.call(_wait_removed, engine, identifier)
            removed = True
            return answer
        finally:
            if not removed:
                await asyncio.shield(engine.remove(identifier))

    def _create(self, engine: Engine, command: list[str]) -> dict[str, Any]:
        return engine.api.create_container(
            image=self._image,
            entrypoint=command,
            command=[],
            name=f"agent-rl-{self._owner.lease[:8]}-{secrets.token_hex(4)}",
            user=PROGRAMS,
            hostname=HOSTNAME,
            labels={LABEL: self._owner.label()},
            stdin_open=True,
            working_dir="/work",
            healthcheck={"test": ["NONE"]},
            host_config=host_config("strict", episode_bounds(SandboxSpec())),
        )


class DockerExec(_InDocker):
    """A process for each run, in one of as many containers as there are slots."""

    name = "docker_exec"

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self._idle: asyncio.Queue[Container] = asyncio.Queue()

    async def _prepare(self, engine: Engine) -> None:
        await super()._prepare(engine)
        for _ in range(self._config.slots):
            self._idle.put_nowait(await self._container(engine))

    async def _answer(self, request: bytes) -> bytes:
        engine, program = self._running(), self._started()
        container = await self._idle.get()
        try:
            stream = await container.exec(program.command, user=PROGRAMS, workdir="/work")
            try:
                await stream.write(program.preamble + request)
                answer = await _stdout(stream)
            finally:
                stream.close()
        except BaseException:
            await asyncio.shield(container.close())
            self._idle.put_nowait(await self._container(engine))
            raise
        self._idle.put_nowait(container)
        return answer


async def _compiled_here(main: Main, python: str) -> _Program:
    """The program of `main` for the interpreter `python` of this machine. Raises SandboxError."""
    channel = await LocalChannel.start(python_command(_COMPILE, python))
    try:
        await channel.write(_Program.question(main))
        answer = await _until_end(channel)
    finally:
        await asyncio.shield(channel.kill())
    return _Program.from_answer(main, python, answer)


async def _until_end(channel: LocalChannel) -> bytes:
    """All that comes: messages behind their lengths, each with its length."""
    parts: list[bytes] = []
    try:
        while True:
            parts.append(await channel.read_exactly(_LENGTH.size))
            parts.append(await channel.read_exactly(_LENGTH.unpack(parts[-1])[0]))
    except asyncio.IncompleteReadError as end:
        return b"".join([*parts, end.partial])


async def _stdout(stream: Stream) -> bytes:
    """All that a program writes to its standard output until its end."""
    parts: list[bytes] = []
    while (frame := await stream.read_frame()) is not None:
        number, data = frame
        if number == 1:
            parts.append(data)
    return b"".join(parts)


def _payload(request: RunRequest) -> bytes:
    """What the harness is told, behind its length: as a slot tells it."""
    content: dict[str, Any] = {
        "program": request.program,
        "entry_point": request.entry_point,
        "calls": [(call.id, call.arguments) for call in request.calls],
        "seed": request.seed,
        "limits": run_limits(request.limits),
    }
    if request.stdin:
        content["stdin"] = base64.b64encode(request.stdin).decode()
    return _message(json.dumps(content).encode())


def _message(content: bytes) -> bytes:
    return _LENGTH.pack(len(content)) + content


def _wait_removed(engine: Engine, identifier: str) -> None:
    try:
        engine.api.wait(identifier, condition="removed", timeout=_START_SECONDS)
    except NotFound:
        return
