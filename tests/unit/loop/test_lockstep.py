"""With lockstep, the batches that reach the engine do not depend on time."""

from __future__ import annotations

import asyncio
import random

from agent_rl.contracts import GenerateRequest, Generation, SamplingParams
from agent_rl.loop.lockstep import LockstepPolicy
from agent_rl.testing.scripted_policy import ScriptedPolicy


class Recording(ScriptedPolicy):
    """Notes the keys of every batch."""

    def __init__(self) -> None:
        super().__init__(lambda request: (7,))
        self.batches: list[list[tuple[int, ...]]] = []

    async def generate_batch(self, requests) -> list[Generation]:
        self.batches.append([r.key for r in requests])
        return [await super(Recording, self).generate(r) for r in requests]


async def episodes(delays: random.Random) -> list[list[tuple[int, ...]]]:
    """Six rollouts of 1 + (rollout mod 3) turns, with delays between the turns."""
    engine = Recording()
    policy = LockstepPolicy(engine)
    policy.expect(6)

    async def rollout(number: int) -> None:
        for turn in range(1 + number % 3):
            await asyncio.sleep(delays.random() * 0.005)
            await policy.generate(GenerateRequest((1,), SamplingParams(max_tokens=1), (0, number, turn), f"s{number}"))
        await asyncio.sleep(delays.random() * 0.005)
        await policy.end_session(f"s{number}")

    async with asyncio.TaskGroup() as group:
        for number in random.Random(delays.random()).sample(range(6), 6):
            group.create_task(rollout(number))
    return engine.batches


async def test_batches_are_the_same_whatever_the_delays() -> None:
    expected = [
        [(0, n, 0) for n in range(6)],
        [(0, n, 1) for n in (1, 2, 4, 5)],
        [(0, n, 2) for n in (2, 5)],
    ]
    for seed in range(5):
        assert await episodes(random.Random(seed)) == expected
