"""Every token carries the version that sampled it: proven with weights of which each always says one token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rl.contracts import GenerateRequest, Generation, Policy, SamplingParams
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.weights.shared_memory import SharedMemorySender
from tests.component.inference.tiny import VOCABULARY, saved, says
from tests.component.inference.vllm_server import SHAPE, ServedModel

UPDATES = 20
AT_ONCE = 64
LONG = 1200
"""Tokens of the longest completion; each update falls into the middle of the completions that run then."""
ROUNDS = 3
"""On a machine so busy that the updates came between the completions, all is done again."""


@pytest.fixture(params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
async def policy(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Policy]:
    """Each engine, serving a model that says token 0."""
    folder = saved(tmp_path / "model", says(0, **SHAPE))
    if request.param == "transformers":
        policy = TransformersPolicy(folder)
    else:
        served: ServedModel = request.getfixturevalue("served")
        policy = served.policy(model=folder)
    yield policy
    await policy.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_the_recorded_version_of_every_token_is_the_one_that_sampled_it(
    policy: Policy, temperature: float
) -> None:
    assert VOCABULARY > ROUNDS * UPDATES
    for first in range(1, ROUNDS * UPDATES + 1, UPDATES):
        generations = await updated_in_flight(policy, range(first, first + UPDATES), temperature)
        for generation in generations:
            check(generation)
        caught = [
            sum({version - 1, version} <= set(generation.versions) for generation in generations)
            for version in range(first, first + UPDATES)
        ]
        if min(caught) >= AT_ONCE // 2:
            return
    pytest.fail(f"no {UPDATES} updates in a row came into the middle of {AT_ONCE // 2} completions each: {caught}")


def check(generation: Generation) -> None:
    assert generation.token_ids == generation.versions  # version v says token v, and nothing else


async def updated_in_flight(policy: Policy, versions: range, temperature: float) -> list[Generation]:
    """The completions that ran, always `AT_ONCE` at a time, while the policy was updated to each of `versions`."""
    sender = SharedMemorySender()

    def ask(key: int, prompt_length: int, max_tokens: int) -> GenerateRequest:
        # some share a prompt, so that first tokens drawn from a prefix's stored logits are among them
        params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
        prompt = tuple(i % VOCABULARY for i in range(1, prompt_length + 1))
        group = "g" if prompt_length == 20 else ""
        return GenerateRequest(prompt, params, (key,), f"{versions.start}, {key}", group, len(prompt) if group else 0)

    async def converse(key: int) -> list[Generation]:
        """One completion after the other, of lengths of their own, until the last version is served."""
        generations: list[Generation] = []
        while not served.is_set():
            length = LONG - 97 * ((key + len(generations)) % 5)
            shape = ask(1000 * key + len(generations), 20 if key % 2 else 5 + key, length)
            generations.append(await policy.generate(shape))
            assert len(generations[-1].token_ids) == length
        return generations

    async def sampled(more: int) -> None:
        goal = (await policy.status()).sampled_tokens + more
        while (await policy.status()).sampled_tokens < goal:
            await asyncio.sleep(0.01)

    served = asyncio.Event()
    async with asyncio.timeout(120):
        running = [asyncio.create_task(converse(key)) for key in range(AT_ONCE)]
        await sampled(40 * AT_ONCE)
        for version in versions:
            await sampled(AT_ONCE)
            weights = dict(says(version, **SHAPE).named_parameters())
            await policy.prepare_update(sender.send(weights, version))
            await policy.finish_update(version)
            after = await policy.generate(ask(100_000 + version, 20, 3))
            assert after.versions == (version,) * 3
            check(after)
        served.set()
        generations = [generation for each in await asyncio.gather(*running) for generation in each]
    sender.close()
    return generations
