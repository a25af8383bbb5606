"""Deterministic generation: timing cannot change which requests form a batch, nor their order in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agent_rl.contracts import GenerateRequest, Generation, Policy, PolicyStatus, WeightManifest


class LockstepPolicy(Policy):
    """Holds requests back until every running rollout waits for a reply, then sends all of them, ordered by key.

    The members of a batch then depend only on what the rollouts do, not on how long a sandbox took.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._under_way = 0
        self._waiting: list[tuple[GenerateRequest, asyncio.Future[Generation]]] = []
        self._sends: set[asyncio.Task[None]] = set()

    def expect(self, rollouts: int) -> None:
        """`rollouts` more rollouts are running; each ends with one `end_session`."""
        self._under_way += rollouts

    async def generate(self, request: GenerateRequest) -> Generation:
        future: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._send_if_complete()
        return await future

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return await self._policy.generate_batch(requests)

    async def end_session(self, session: str) -> None:
        self._under_way -= 1
        self._send_if_complete()
        await self._policy.end_session(session)

    def _send_if_complete(self) -> None:
        if not self._waiting or len(self._waiting) < self._under_way:
            return
        batch, self._waiting = sorted(self._waiting, key=lambda item: (item[0].key, item[0].session)), []
        task = asyncio.create_task(self._send(batch))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _send(self, batch: list[tuple[GenerateRequest, asyncio.Future[Generation]]]) -> None:
        try:
            generations = await self._policy.generate_batch([request for request, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), generation in zip(batch, generations, strict=True):
            if not future.done():
                future.set_result(generation)

    async def score(self, ids: Sequence[int]) -> list[float]:
        return await self._policy.score(ids)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        await self._policy.prepare_update(manifest)

    async def finish_update(self, version: int) -> None:
        await self._policy.finish_update(version)

    async def sleep(self) -> None:
        await self._policy.sleep()

    async def wake(self) -> None:
        await self._policy.wake()

    async def status(self) -> PolicyStatus:
        return await self._policy.status()
