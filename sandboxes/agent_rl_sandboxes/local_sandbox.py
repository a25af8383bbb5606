"""`LocalPlace`: an episode in namespaces on this machine; `LocalSandbox`: the sandbox in it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import SandboxSpec
from agent_rl.vocabulary.runs import DEFAULT_WORKDIR
from agent_rl_sandboxes.episode_client import EpisodeClient
from agent_rl_sandboxes.episode_sandbox import EpisodeSandbox, greeted
from agent_rl_sandboxes.local_channel import LocalChannel, LocalStream
from agent_rl_sandboxes.workers import Worker, WorkerSetup

T = TypeVar("T")

_START_SECONDS = 30.0
_KILL_SECONDS = 6.0
"""Less than a sandbox waits for its programs' end. Nothing in the namespaces can keep the first process from answering:
one that does not answer is an infrastructure failure, never the programs' doing."""


class LocalPlace:
    """Namespaces whose first process is `inside/episode_place.py`: nothing in them can end or stop it."""

    def __init__(self, channel: LocalChannel, spec: SandboxSpec) -> None:
        self._channel = channel
        self._spec = spec
        self._end: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()

    @staticmethod
    async def start(command: list[str], spec: SandboxSpec) -> LocalPlace:
        """A place started with a worker server's `command`. Raises SandboxError."""
        spec = dataclasses.replace(spec, workdir=spec.workdir or DEFAULT_WORKDIR)
        channel = await LocalChannel.start(command)
        await Worker.open(channel, WorkerSetup(workdir=spec.workdir, fall_back=False, episode=spec))
        return LocalPlace(channel, spec)

    async def start_server(self) -> EpisodeClient:
        stream = await _not_cut_short(self._ask(b"s", LocalChannel.open_stream, _START_SECONDS), LocalStream.close)
        return await greeted(stream, self._spec.output_bytes)

    async def begin(self, lifetime: float) -> None:
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(lifetime, self._expire)

    async def kill_all(self) -> None:
        await _not_cut_short(self._ask(b"k", LocalChannel.write, _KILL_SECONDS), lambda nothing: None)

    async def why_not_running(self) -> str | None:
        if not self._channel.ended():
            return None
        why = await self._channel.why_dead()
        return f"first process is gone ({why})" if why else "first process is gone"

    async def close(self) -> None:
        if self._end is not None:
            self._end.cancel()
        await self._channel.kill()

    def _expire(self) -> None:
        """The place ends."""
        self._ending = asyncio.ensure_future(self._channel.kill())

    async def _ask(self, order: bytes, send: Callable[[LocalChannel, bytes], Awaitable[T]], seconds: float) -> T:
        """What `send` returns, once the first process has carried out `order`. Raises SandboxError."""
        async with self._asking:
            try:
                async with asyncio.timeout(seconds):
                    sent = await send(self._channel, order)
                    await self._channel.read_exactly(len(order))
                return sent
            except (OSError, EOFError) as error:
                how = await self.why_not_running() or f"first process does not answer ({type(error).__name__})"
                self._expire()
                raise SandboxError(f"the sandbox's {how}") from error


async def _not_cut_short(asking: Coroutine[Any, Any, T], give_up: Callable[[T], None]) -> T:
    """The answer to an order. A cancelled call lets the order finish, and `give_up` gets the answer.

    Otherwise the first process's late answer would be taken for the answer to the next order.
    """
    task = asyncio.ensure_future(asking)

    def done(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            give_up(task.result())

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(done)
        raise


class LocalSandbox(EpisodeSandbox[LocalPlace]):
    """An episode in namespaces of its own, with a tmpfs that lives as long as they do."""
