"""Containers, and processes in containers, made for one run each."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Any

from agent_rl.config import SandboxConfig
from agent_rl.errors import SandboxStartError
from agent_rl.vocabulary import Isolation, SandboxSpec
from agent_rl_sandboxes.baselines.bare_run_program import COMPILE, BareRunProgram
from agent_rl_sandboxes.baselines.baseline import Baseline
from agent_rl_sandboxes.docker_container import Container, remove_all
from agent_rl_sandboxes.docker_engine import DockerEngine, DockerStream
from agent_rl_sandboxes.docker_hardening import HOSTNAME, PROGRAMS, episode_bounds, host_config
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE
from agent_rl_sandboxes.resource_owner import LABEL, Owner
from agent_rl_sandboxes.worker_program import python_command


class _InDocker(Baseline):
    """A connection to the daemon, and the settings of an ordinary hardened container of the workers' image."""

    options_class = DockerOptions

    def __init__(self, config: SandboxConfig, options: DockerOptions = DockerOptions()) -> None:  # noqa: B008
        super().__init__(config, options)
        self._image = config.image or DEFAULT_IMAGE
        self._owner = Owner.current()
        self._engine: DockerEngine | None = None

    @classmethod
    async def available(cls, config: SandboxConfig, options: DockerOptions) -> str | None:
        return await DockerProvider.available(config, options)

    @property
    def isolation(self) -> Isolation:
        return "container"

    async def start(self) -> None:
        self._engine = await DockerEngine.connect()
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

    async def _prepare(self, engine: DockerEngine) -> None:
        """`program` and everything else that is made before the runs is ready."""
        container = await self._container(engine)
        stream = await container.exec(python_command(COMPILE), user=PROGRAMS)
        try:
            await stream.write(BareRunProgram.question("run_once"))
            answer = await _stdout(stream)
        finally:
            stream.close()
            await container.close()
        self.program = BareRunProgram.from_answer("run_once", "python3", answer)

    async def _container(self, engine: DockerEngine) -> Container:
        """A running, idle container. Raises SandboxError."""
        bounds = episode_bounds(SandboxSpec())
        return await Container.start(engine, image=self._image, purpose="strict", bounds=bounds, owner=self._owner)

    def _running(self) -> DockerEngine:
        if self._engine is None:
            raise SandboxStartError(f"{self.name} is not started")
        return self._engine


class DockerRun(_InDocker):
    """A container for each run."""

    name = "docker_run"

    async def answer(self, request: bytes) -> bytes:
        engine, program = self._running(), self.started()
        identifier: str = (await engine.call(self._create, engine, program.command))["Id"]
        removed = False
        try:
            async with AsyncExitStack() as stack:
                stream = await engine.attach(f"/containers/{identifier}/attach?stream=1&stdin=1&stdout=1&stderr=1")
                stack.callback(stream.close)
                # As with `docker run --rm`, the run is over when the daemon has removed the container. Like that
                # command, begin to wait before the start: a wait that begins during the removal never returns.
                removal = await engine.attach(f"/containers/{identifier}/wait?condition=removed")
                stack.callback(removal.close)
                await engine.call(engine.api.start, identifier)
                await stream.write(program.preamble + request)
                answer = await _stdout(stream)
                await removal.first_byte()
            removed = True
            return answer
        finally:
            if not removed:
                await asyncio.shield(engine.remove(identifier))

    def _create(self, engine: DockerEngine, command: list[str]) -> dict[str, Any]:
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
    """A process for each run, in one of as many containers as there are workers."""

    name = "docker_exec"

    def __init__(self, config: SandboxConfig, options: DockerOptions = DockerOptions()) -> None:  # noqa: B008
        super().__init__(config, options)
        self._idle: asyncio.Queue[Container] = asyncio.Queue()

    async def _prepare(self, engine: DockerEngine) -> None:
        await super()._prepare(engine)
        for _ in range(self.config.workers):
            self._idle.put_nowait(await self._container(engine))

    async def answer(self, request: bytes) -> bytes:
        engine, program = self._running(), self.started()
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


async def _stdout(stream: DockerStream) -> bytes:
    """All that a program writes to its standard output before it ends."""
    parts: list[bytes] = []
    while (frame := await stream.read_frame()) is not None:
        number, data = frame
        if number == 1:
            parts.append(data)
    return b"".join(parts)
