"""`Places`: chooses the host of the next piece of work, least loaded first; callers queue while none has room."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from agent_rl.errors import SandboxStartError
from agent_rl_sandboxes.remote_host import RemoteHost
from agent_rl_sandboxes.serving.host_protocol import HostLoad


@dataclass(eq=False, slots=True)
class _Waiter:
    future: asyncio.Future[RemoteHost]
    accepts: Callable[[RemoteHost], bool]


class Places:
    """Places of one kind (workers, or sandboxes) on several hosts.

    room: how many places a host has. taken_by_all: how many of them the host says are taken, by all of its clients.
    """

    def __init__(
        self,
        hosts: Sequence[RemoteHost],
        *,
        room: Callable[[RemoteHost], int],
        taken_by_all: Callable[[RemoteHost], int],
        patience: float,
    ) -> None:
        self._hosts = hosts
        self._room = room
        self._taken_by_all = taken_by_all
        self._patience = patience
        self._taken: Counter[RemoteHost] = Counter()
        self._heard: dict[RemoteHost, HostLoad] = {}
        self._others: Counter[RemoteHost] = Counter()
        self._given: Counter[RemoteHost] = Counter()
        self._waiters: deque[_Waiter] = deque()

    def taken(self, host: RemoteHost) -> int:
        """How many of the host's places this client has taken."""
        return self._taken[host]

    async def take(self, *, only: RemoteHost | None = None, besides: Collection[RemoteHost] = ()) -> RemoteHost:
        """The least loaded host with a free place, which is now taken; waits until there is one.

        `only` allows one host, `besides` excludes hosts. Return the place with `give_back`. Raises SandboxStartError
        if no allowed host is in for `patience` seconds (with `only`: at once).
        """

        def accepts(host: RemoteHost) -> bool:
            return host is only if only is not None else host not in besides

        host = None if self._waiters else self._choose(accepts)
        if host is not None:
            self._taken[host] += 1
            return host
        waiter = _Waiter(asyncio.get_running_loop().create_future(), accepts)
        self._waiters.append(waiter)
        self.changed()
        try:
            await self._wait(waiter, at_once=only is not None)
            return waiter.future.result()
        except BaseException:
            if waiter.future.done() and not waiter.future.cancelled():
                self.give_back(waiter.future.result())
            else:
                self._waiters.remove(waiter)
            raise

    def give_back(self, host: RemoteHost) -> None:
        """One place on the host is free again."""
        self._taken[host] -= 1
        self.changed()

    def changed(self) -> None:
        """Every waiter that can be served now has been; the loads that hosts reported are noted."""
        for host in self._hosts:
            if self._heard.get(host) is not host.load:
                self._heard[host] = host.load
                self._others[host] = max(0, self._taken_by_all(host) - self._taken[host])
        for waiter in tuple(self._waiters):
            if not any(host.ready and self._free(host) for host in self._hosts):
                return
            host = self._choose(waiter.accepts)
            if host is not None and not waiter.future.done():
                self._taken[host] += 1
                self._waiters.remove(waiter)
                waiter.future.set_result(host)

    async def _wait(self, waiter: _Waiter, *, at_once: bool) -> None:
        """A place has been given to the waiter. Raises SandboxStartError if no host that it accepts is in."""
        loop = asyncio.get_running_loop()
        alone_since: float | None = None
        patience = 0.0 if at_once else self._patience
        while not waiter.future.done():
            if any(host.out is None for host in self._hosts if waiter.accepts(host)):
                alone_since = None
            elif alone_since is None:
                alone_since = loop.time()
            if alone_since is not None and loop.time() - alone_since >= patience:
                raise SandboxStartError(f"no sandbox host can be used: {self.reasons()}")
            await asyncio.wait([waiter.future], timeout=min(max(self._patience / 20, 0.01), 1.0))

    def reasons(self) -> str:
        """For each host that is out, why."""
        return "; ".join(f"{host.url}: {host.out}" for host in self._hosts if host.out is not None) or "none is left"

    def choose_one(self) -> RemoteHost:
        """The least loaded host, whether it has room or not. Raises SandboxStartError if none is in."""
        usable = [host for host in self._hosts if host.ready] or [host for host in self._hosts if host.out is None]
        if not usable:
            raise SandboxStartError(f"no sandbox host can be used: {self.reasons()}")
        chosen = min(usable, key=lambda host: (self.load(host), self._given[host]))
        self._given[chosen] += 1
        return chosen

    def _choose(self, accepts: Callable[[RemoteHost], bool]) -> RemoteHost | None:
        """The least loaded host with room; of equals, the one chosen least often. None if no host has room."""
        best = min(
            (host for host in self._hosts if host.ready and accepts(host) and self._free(host)),
            key=lambda host: (self.load(host), self._given[host]),
            default=None,
        )
        if best is not None:
            self._given[best] += 1
        return best

    def _free(self, host: RemoteHost) -> bool:
        return self._taken[host] < self._room(host)

    def load(self, host: RemoteHost) -> float:
        """The share of the host's places that is taken: by us now, and by others as last reported."""
        return (self._taken[host] + self._others[host]) / max(1, self._room(host))
