"""Processes and forks on this machine, without isolation."""

from __future__ import annotations

import asyncio

from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from agent_rl.errors import SandboxError
from agent_rl_sandboxes.baselines.bare_run_program import COMPILE, LENGTH, BareRunProgram, Main
from agent_rl_sandboxes.baselines.baseline import Baseline
from agent_rl_sandboxes.local_channel import LocalChannel
from agent_rl_sandboxes.local_provider import system_python
from agent_rl_sandboxes.worker_program import python_command

_START_SECONDS = 60


class BarePython(Baseline):
    """A process for each run, on this machine, in the same interpreter as the local sandbox's."""

    name = "bare_python"

    async def start(self) -> None:
        python = system_python()
        self.program = await _compiled_here("run_once", python)

    async def close(self) -> None:
        self.program = None

    async def answer(self, request: bytes) -> bytes:
        program = self.started()
        channel = await LocalChannel.start(program.command)
        try:
            await channel.write(program.preamble + request)
            return await _until_end(channel)
        finally:
            await asyncio.shield(channel.kill())


class BareFork(Baseline):
    """A fork for each run, in one of as many warm processes as there are workers."""

    name = "bare_fork"

    def __init__(self, config: SandboxConfig, options: ProviderOptions = ProviderOptions()) -> None:  # noqa: B008
        super().__init__(config, options)
        self._idle: asyncio.Queue[LocalChannel] = asyncio.Queue()
        self._all: set[LocalChannel] = set()

    async def start(self) -> None:
        self.program = await _compiled_here("serve_forks", system_python())
        try:
            for _ in range(self.config.workers):
                self._idle.put_nowait(await self._server())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for channel in self._all:
            await asyncio.shield(channel.kill())
        self._all.clear()

    async def answer(self, request: bytes) -> bytes:
        channel = await self._idle.get()
        try:
            await channel.write(request)
            (size,) = LENGTH.unpack(await channel.read_exactly(LENGTH.size))
            answer = await channel.read_exactly(size)
        except (Exception, asyncio.CancelledError) as error:
            # The program may never end: its process is killed, and a new one takes its place.
            self._all.discard(channel)
            await asyncio.shield(channel.kill())
            self._idle.put_nowait(await self._server())
            if isinstance(error, (EOFError, OSError)):
                raise SandboxError(f"{self.name}: the process died: {error}") from error
            raise
        self._idle.put_nowait(channel)
        return answer

    async def _server(self) -> LocalChannel:
        program = self.started()
        channel = await LocalChannel.start(program.command)
        self._all.add(channel)
        await channel.write(program.preamble)
        async with asyncio.timeout(_START_SECONDS):
            await channel.read_exactly(1)
        return channel


async def _compiled_here(main: Main, python: str) -> BareRunProgram:
    """The program of `main` for the interpreter `python` of this machine. Raises SandboxError."""
    channel = await LocalChannel.start(python_command(COMPILE, python))
    try:
        await channel.write(BareRunProgram.question(main))
        answer = await _until_end(channel)
    finally:
        await asyncio.shield(channel.kill())
    return BareRunProgram.from_answer(main, python, answer)


async def _until_end(channel: LocalChannel) -> bytes:
    """All bytes until the end of output: messages, each after its length."""
    parts: list[bytes] = []
    try:
        while True:
            parts.append(await channel.read_exactly(LENGTH.size))
            parts.append(await channel.read_exactly(LENGTH.unpack(parts[-1])[0]))
    except asyncio.IncompleteReadError as end:
        return b"".join([*parts, end.partial])
