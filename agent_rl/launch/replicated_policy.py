"""Several replicas of the policy as one: a conversation stays on the replica with its prefix; all serve one version."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import TypeVar

from agent_rl.contracts import GenerateRequest, Generation, Policy, PolicyStatus, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.launch.supervised_roles import SupervisedPolicy

T = TypeVar("T")


class ReplicatedPolicy(Policy):
    """Sends each request to the replica that holds its conversation's prefix, a new conversation to the least busy.

    The requests of one prefix group begin with the same tokens. They go to one replica, which computes these tokens
    once.
    """

    def __init__(self, replicas: Sequence[SupervisedPolicy]) -> None:
        self._replicas = list(replicas)
        self._homes = Homes(len(self._replicas))

    @property
    def count(self) -> int:
        """How many replicas there are."""
        return len(self._replicas)

    @property
    def restarts(self) -> int:
        """How often replicas have been restarted, in all."""
        return sum(replica.restarts for replica in self._replicas)

    def pids(self) -> list[int]:
        """The process ids of the open replicas."""
        return [pid for replica in self._replicas if (pid := replica.pid) is not None]

    async def open(self) -> None:
        """All replicas serve."""
        await _all(replica.open() for replica in self._replicas)

    def base(self, model: str, version: int) -> None:
        """From now on a restart begins with the weights in `model`, whose version is `version`."""
        for replica in self._replicas:
            replica.base(model, version)

    async def close(self) -> None:
        """All replicas are gone."""
        await _all(replica.close() for replica in self._replicas)

    async def generate(self, request: GenerateRequest) -> Generation:
        home = self._homes.enter(request)
        try:
            return await self._replicas[home].generate(request)
        finally:
            self._homes.leave(home)

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        if len(self._replicas) == 1:
            homes = [self._homes.enter(request) for request in requests]
            try:
                return await self._replicas[0].generate_batch(requests)
            finally:
                for home in homes:
                    self._homes.leave(home)
        return await _all([self.generate(request) for request in requests])

    async def score(self, ids: Sequence[int]) -> list[float]:
        return await self._replicas[0].score(ids)

    async def end_session(self, session: str) -> None:
        home = self._homes.end(session)
        if home is not None:
            await self._replicas[home].end_session(session)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        await _all(replica.prepare_update(manifest) for replica in self._replicas)

    async def finish_update(self, version: int) -> None:
        await _all(replica.finish_update(version) for replica in self._replicas)

    async def sleep(self) -> None:
        await _all(replica.sleep() for replica in self._replicas)

    async def wake(self) -> None:
        await _all(replica.wake() for replica in self._replicas)

    async def status(self) -> PolicyStatus:
        """Sums over the replicas, but the mean of `busy_seconds`. Raises PolicyError if they serve several versions."""
        every = await _all(replica.status() for replica in self._replicas)
        if len({status.version for status in every}) > 1:
            raise PolicyError(f"the replicas serve several versions: {[status.version for status in every]}")
        return PolicyStatus(
            version=every[0].version,
            running=sum(status.running for status in every),
            waiting=sum(status.waiting for status in every),
            sampled_tokens=sum(status.sampled_tokens for status in every),
            busy_seconds=sum(status.busy_seconds for status in every) / len(every),
            details=every[0].details if len(every) == 1 else {},
        )


class Homes:
    """Records which replica holds which conversation; it makes no calls."""

    def __init__(self, count: int) -> None:
        self._load = [0] * count
        self._of_session: dict[str, int] = {}
        self._of_group: dict[str, int] = {}
        self._group: dict[str, str] = {}
        """Session -> its prefix group."""
        self._members: dict[str, int] = {}
        """Prefix group -> how many sessions it has."""

    def enter(self, request: GenerateRequest) -> int:
        """The replica for `request`; the request is added to its load."""
        home = self._of_session.get(request.session) if request.session else None
        if home is None:
            home = self._of_group.get(request.prefix_group) if request.prefix_group else None
        if home is None:
            home = self._load.index(min(self._load))
        if request.session and request.session not in self._of_session:
            self._of_session[request.session] = home
            if request.prefix_group:
                self._group[request.session] = request.prefix_group
                self._of_group[request.prefix_group] = home
                self._members[request.prefix_group] = self._members.get(request.prefix_group, 0) + 1
        self._load[home] += 1
        return home

    def leave(self, home: int) -> None:
        """A request of replica `home` is over."""
        self._load[home] -= 1

    def end(self, session: str) -> int | None:
        """The replica that held `session`, or None; the session is forgotten."""
        home = self._of_session.pop(session, None)
        group = self._group.pop(session, None)
        if group is not None:
            self._members[group] -= 1
            if not self._members[group]:
                del self._members[group], self._of_group[group]
        return home


async def _all(calls: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """The results of all `calls`. If some fail, all are still awaited, and then the first error is raised."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
