"""`HostSessions`: which client each sandbox and run belongs to. It ends them when the client goes silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from agent_rl.contracts import Sandbox
from agent_rl_sandboxes.serving.host_limits import Busy

_LOG = logging.getLogger(__name__)
_CLOSE_SECONDS = 60.0


class NoSession(Exception):
    """There is no such session, or none any more."""


class UnknownSandbox(Exception):
    """There is no such sandbox, or none any more."""


@dataclass(eq=False, slots=True)
class HostSession:
    """One client's session: its sandboxes, and what it has under way."""

    id: str
    heard: float
    sandboxes: dict[str, Sandbox] = field(default_factory=dict[str, Sandbox])
    under_way: set[asyncio.Task[object]] = field(default_factory=set[asyncio.Task[object]])


class HostSessions:
    """All sessions of a host. A session whose client is not heard of for `lease_seconds` is ended."""

    def __init__(
        self, lease_seconds: float, most: int, most_sandboxes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lease_seconds = lease_seconds
        self._most = most
        self._most_sandboxes = most_sandboxes
        self._clock = clock
        self._open: dict[str, HostSession] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sandboxes = 0
        self.lapsed = 0
        """How many sessions ended because their client was not heard of."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def sandboxes(self) -> int:
        """How many sandboxes there are, including those that are being closed."""
        return self._sandboxes

    def open(self) -> HostSession:
        """A new session. Raises Busy."""
        if len(self._open) >= self._most:
            raise Busy(f"there are {self._most} sessions", self.lease_seconds / 4)
        session = HostSession(secrets.token_hex(16), self._clock())
        self._open[session.id] = session
        return session

    def get(self, identifier: str) -> HostSession:
        """The session, whose client has now been heard of. Raises NoSession."""
        session = self._open.get(identifier)
        if session is None:
            raise NoSession("there is no such session (any more)")
        session.heard = self._clock()
        return session

    @contextlib.contextmanager
    def work(self, session: HostSession) -> Iterator[None]:
        """The current task is cancelled when the session ends; the end of its work counts as hearing of the client."""
        task = asyncio.current_task()
        assert task is not None
        session.under_way.add(task)
        try:
            yield
        finally:
            session.under_way.discard(task)
            session.heard = self._clock()

    def add(self, session: HostSession, name: str, make: Callable[[], Sandbox]) -> None:
        """The session has a new sandbox. Raises Busy, ValueError if the name is taken, and what `make` raises."""
        if session.id not in self._open:
            raise NoSession("the session has ended")
        if name in session.sandboxes:
            raise ValueError("there is a sandbox of this name")
        if self._sandboxes >= self._most_sandboxes:
            raise Busy(f"there are {self._most_sandboxes} sandboxes", 1.0)
        session.sandboxes[name] = make()
        self._sandboxes += 1

    def sandbox(self, session: HostSession, identifier: str) -> Sandbox:
        """The session's own sandbox. Raises UnknownSandbox."""
        try:
            return session.sandboxes[identifier]
        except KeyError:
            raise UnknownSandbox("there is no such sandbox (any more)") from None

    async def close_sandbox(self, session: HostSession, identifier: str) -> None:
        """The sandbox is gone. An unknown name is no error."""
        sandbox = session.sandboxes.pop(identifier, None)
        if sandbox is not None:
            await asyncio.shield(self._in_background(self._close(sandbox)))

    async def end(self, identifier: str) -> None:
        """The session, its sandboxes and all that it has under way are gone. An unknown id is no error."""
        session = self._open.pop(identifier, None)
        if session is None:
            return
        this = asyncio.current_task()
        for task in tuple(session.under_way):
            if task is not this:
                task.cancel()
        closing = [self._in_background(self._close(sandbox)) for sandbox in session.sandboxes.values()]
        session.sandboxes.clear()
        if closing:
            await asyncio.wait(closing)

    async def sweep(self) -> None:
        """Sessions whose client is not heard of are ended."""
        now = self._clock()
        for session in tuple(self._open.values()):
            if now - session.heard > self.lease_seconds:
                self.lapsed += 1
                await self.end(session.id)

    async def watch(self) -> None:
        """Sweeps for ever."""
        while True:
            await asyncio.sleep(self.lease_seconds / 8)
            # Not waited for: a sandbox that takes long to end must not keep other sessions alive.
            self._in_background(self.sweep())

    async def end_all(self) -> None:
        """No session is left."""
        await asyncio.gather(*(self.end(identifier) for identifier in tuple(self._open)))
        while self._closing:
            await asyncio.wait(self._closing)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _close(self, sandbox: Sandbox) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await sandbox.close()
        except Exception:
            # The provider ends with the host, and what it leaves is reaped by its owner's label.
            _LOG.warning("a sandbox could not be closed", exc_info=True)
        finally:
            self._sandboxes -= 1
