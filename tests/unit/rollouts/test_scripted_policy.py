"""The scripted policy keeps what the contract promises: see also `agent_rl.testing.contracts.policy_contract`."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest

from agent_rl.contracts import GenerateRequest, SamplingParams, WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.testing.scripted_policy import ScriptedPolicy


def request(rollout: int = 0, *, deadline: float | None = None, top: int = 0, **sampling: object) -> GenerateRequest:
    params = SamplingParams(**{"max_tokens": 8, "stop_token_ids": (0,), **sampling})  # pyright: ignore
    return GenerateRequest((3, 1), params, (7, 1, rollout, 0), f"s{rollout}", deadline=deadline, top_logprobs=top)


async def test_sampling_is_keyed_by_the_request_and_agrees_with_score() -> None:
    policy = ScriptedPolicy(vocabulary=50)
    first = await policy.generate(request(0))
    (again, other) = await policy.generate_batch([request(0), request(1)])
    assert again == first
    assert other.token_ids != first.token_ids
    assert list(first.logprobs) == (await policy.score((3, 1, *first.token_ids)))[1:]
    assert set(first.versions) == {0}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
async def test_frequencies_are_those_of_the_distribution(temperature: float) -> None:
    policy = ScriptedPolicy(vocabulary=20)
    drawn: Counter[int] = Counter()
    logprobs: dict[int, float] = {}
    for rollout in range(4000):
        generation = await policy.generate(request(rollout, max_tokens=1, temperature=temperature))
        drawn[generation.token_ids[0]] += 1
        logprobs[generation.token_ids[0]] = generation.logprobs[0]
    everything = await policy.generate(request(temperature=temperature, max_tokens=1, top=20))
    assert sum(math.exp(p) for _, p in everything.top_logprobs[0]) == pytest.approx(1.0)
    for token, logprob in everything.top_logprobs[0]:
        # 4000 draws: 5 standard deviations of a share p are 5 sqrt(p (1 - p) / 4000) <= 0.04.
        assert drawn[token] / 4000 == pytest.approx(math.exp(logprob), abs=0.04)
        assert logprobs.get(token, logprob) == logprob


async def test_greedy_takes_the_likeliest_with_log_probabilities_of_temperature_one() -> None:
    policy = ScriptedPolicy(vocabulary=50)
    greedy = await policy.generate(request(temperature=0.0, max_tokens=1))
    plain = await policy.generate(request(max_tokens=1, top=1))
    assert greedy.token_ids[0] == plain.top_logprobs[0][0][0]
    assert greedy.logprobs[0] == plain.top_logprobs[0][0][1]


async def test_scripts_say_ids_texts_or_nothing() -> None:
    said: list[object] = [[5, 6, 0], "ab", None, [5] * 20, [5], [5] * 8]
    policy = ScriptedPolicy(lambda r: said[r.key[2]], encode=lambda text: [ord(c) for c in text])  # pyright: ignore
    generations = [await policy.generate(request(i)) for i in range(6)]
    assert generations[0].token_ids == (5, 6, 0)
    assert generations[1].token_ids == (97, 98, 0)
    assert [g.finish_reason for g in generations[:2]] == ["stop", "stop"]
    assert generations[2] == await ScriptedPolicy().generate(request(2))
    assert (generations[3].token_ids, generations[3].finish_reason) == ((5,) * 8, "length")
    assert generations[4].finish_reason == "stop"
    assert generations[5].finish_reason == "length"


async def test_weights_change_between_two_tokens_of_a_running_request() -> None:
    policy = ScriptedPolicy(lambda r: [5] * 8, delay=lambda r: 0.08)
    running = asyncio.create_task(policy.generate(request()))
    await asyncio.sleep(0.04)
    await policy.prepare_update(WeightManifest(1, "", 0, ()))
    assert (await policy.status()).version == 0
    await policy.finish_update(1)
    generation = await running
    assert sorted(generation.versions) == list(generation.versions)
    assert set(generation.versions) == {0, 1}
    with pytest.raises(PolicyError, match="version 2 was not prepared"):
        await policy.finish_update(2)


async def test_requests_wait_while_it_sleeps() -> None:
    policy = ScriptedPolicy(lambda r: [5, 0])
    await policy.sleep()
    running = asyncio.create_task(policy.generate(request()))
    await asyncio.sleep(0.01)
    assert not running.done()
    assert ((await policy.status()).running, (await policy.status()).waiting) == (0, 1)
    await policy.wake()
    assert (await running).token_ids == (5, 0)
    assert (await policy.status()).sampled_tokens == 2


async def test_deadlines_cancellation_and_failures() -> None:
    policy = ScriptedPolicy(lambda r: [5] * 8, delay=lambda r: 1.6)
    cut = await policy.generate(request(deadline=0.3))
    assert cut.finish_reason == "cancelled"
    assert len(cut.token_ids) == 1
    running = asyncio.create_task(policy.generate(request()))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await policy.status()).running == 0
    policy.fail("dead")
    with pytest.raises(PolicyError, match="dead"):
        await policy.generate_batch([request(), request(1)])
    policy.fail(None)
    await policy.end_session("unknown")
    assert policy.ended_sessions == ["unknown"]
