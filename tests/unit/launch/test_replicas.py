"""Replicas as one policy: where requests go, and that all serve one version."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agent_rl.contracts import GenerateRequest, Generation, PolicyStatus, SamplingParams, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.launch.replicated_policy import Homes, ReplicatedPolicy
from agent_rl.launch.supervised_roles import SupervisedPolicy
from agent_rl.testing.scripted_policy import ScriptedPolicy

REQUEST = GenerateRequest((1, 2), SamplingParams(max_tokens=4), (0,), "")


def ask(session: str, group: str = "") -> GenerateRequest:
    return replace(REQUEST, session=session, prefix_group=group, shared_prefix=2 if group else 0)


def test_a_conversation_stays_where_it_began() -> None:
    homes = Homes(3)
    first = [homes.enter(ask(name)) for name in ("a", "b", "c")]
    assert first == [0, 1, 2], "each goes to the least busy"
    for home in first:
        homes.leave(home)
    assert homes.enter(ask("c")) == 2, "although all are idle"
    assert homes.enter(ask("b")) == 1
    assert homes.end("c") == 2
    assert homes.end("c") is None


def test_a_prefix_group_is_computed_in_one_place() -> None:
    homes = Homes(2)
    assert [homes.enter(ask(f"g{i}", "g")) for i in range(4)] == [0, 0, 0, 0]
    assert [homes.enter(ask(f"h{i}", "h")) for i in range(4)] == [1, 1, 1, 1], "the next group goes to the other"
    for i in range(4):
        homes.leave(0)
        homes.end(f"g{i}")
    homes.enter(ask("x"))  # makes replica 0 as busy as nothing else does: one request
    for _ in range(4):
        homes.leave(1)
    assert homes.enter(ask("g0", "g")) == 1, "the group was forgotten with its last conversation"


def test_requests_without_a_session_are_spread() -> None:
    homes = Homes(2)
    assert [homes.enter(REQUEST) for _ in range(4)] == [0, 1, 0, 1]


class Noting(ScriptedPolicy):
    """Notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(lambda request: (5, 6))
        self.sessions: list[str] = []
        self.ended: list[str] = []

    async def end_session(self, session: str) -> None:
        self.ended.append(session)
        await super().end_session(session)

    async def generate(self, request: GenerateRequest) -> Generation:
        self.sessions.append(request.session)
        return await super().generate(request)


class Alive:
    pid, alive = 1, True

    def kill(self) -> None: ...

    async def stop(self) -> None: ...


async def opened(*policies: ScriptedPolicy) -> ReplicatedPolicy:
    def starter(policy: ScriptedPolicy):
        async def start(model: str, version: int):
            return Alive(), policy

        return start

    replicas = [SupervisedPolicy(starter(p), "model", 0, max_restarts=0, say=print) for p in policies]
    policy = ReplicatedPolicy(replicas)
    await policy.open()
    return policy


async def test_turns_go_to_the_same_replica_and_counts_are_summed() -> None:
    one, other = Noting(), Noting()
    policy = await opened(one, other)
    await asyncio.gather(*(policy.generate(ask(name)) for name in "abcd"))
    await asyncio.gather(*(policy.generate(ask(name)) for name in "dcba"))
    assert sorted(one.sessions) == ["a", "a", "c", "c"]
    assert sorted(other.sessions) == ["b", "b", "d", "d"]
    parts = [await p.status() for p in (one, other)]
    assert (await policy.status()).sampled_tokens == sum(p.sampled_tokens for p in parts) > 0
    await policy.close()


async def test_the_conversations_of_a_batch_end_too() -> None:
    one = Noting()
    policy = await opened(one)
    await policy.generate_batch([ask("a"), ask("b")])
    await policy.end_session("a")
    assert one.ended == ["a"]
    await policy.close()


async def test_all_replicas_are_updated_and_one_that_is_not_is_found_out() -> None:
    one, other = Noting(), Noting()
    policy = await opened(one, other)
    await policy.prepare_update(WeightManifest(1, "blob", 0, ()))
    await policy.finish_update(1)
    assert [(await p.status()).version for p in (one, other)] == [1, 1]

    async def behind() -> PolicyStatus:
        return PolicyStatus(0)

    other.status = behind
    with pytest.raises(PolicyError, match=r"several versions: \[1, 0\]"):
        await policy.status()
    await policy.close()
