"""With lockstep, the batches that reach the engine do not depend on time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from agent_rl.bench.fixed_time_parts import byte_tokenizer
from agent_rl.contracts import GenerateRequest, Generation, SamplingParams
from agent_rl.loop.lockstep import LockstepPolicy
from agent_rl.rollouts.policy_agent import AgentRecord, PolicyAgent, RolloutName, RolloutSettings
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


class Restarted(ScriptedPolicy):
    """Loses all sessions before batch `at`, as an engine does that was started again."""

    def __init__(self, at: int) -> None:
        super().__init__(vocabulary=50)
        self.batches: list[list[tuple[tuple[int, ...], int]]] = []
        self._at = at

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        if len(self.batches) == self._at:
            for request in requests:
                await self.end_session(request.session)
        self.batches.append([(request.key, request.follows) for request in requests])
        return await super().generate_batch(requests)


async def test_a_batch_whose_sessions_are_lost_is_sent_again_as_a_whole() -> None:
    settings = RolloutSettings(SamplingParams(max_tokens=4))
    records: list[list[AgentRecord]] = []
    engines = Restarted(at=1), Restarted(at=99)
    for engine in engines:
        policy = LockstepPolicy(engine)
        policy.expect(2)
        agents = [PolicyAgent(policy, byte_tokenizer(), settings, RolloutName("e", "t", 0, n)) for n in range(2)]
        for said in ("x", "y", "z"):
            await asyncio.gather(*(agent.say(said) for agent in agents))
        records.append([agent.record() for agent in agents])
    lost, kept = engines
    assert [[follows > 0 for _, follows in batch] for batch in lost.batches] == [
        [False, False],
        [True, True],
        [False, False],  # the same requests again, whole
        [True, True],
    ]
    assert [[key for key, _ in batch] for batch in lost.batches] == [
        [key for key, _ in kept.batches[turn]] for turn in (0, 1, 1, 2)
    ]
    assert [r.segments for r in records[0]] == [r.segments for r in records[1]]
