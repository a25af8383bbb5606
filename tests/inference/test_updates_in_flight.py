"""Every token carries the version that sampled it: proven with weights of which each always says one token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rl.contracts import GenerateRequest, Generation, Policy, SamplingParams
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.runtime.weights import SharedMemorySender
from tests.inference.tiny import VOCABULARY, saved, says
from tests.vllm_server import SHAPE, ServedModel

UPDATES = 20


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
    sender = SharedMemorySender()

    def ask(key: int, prompt_length: int, max_tokens: int) -> GenerateRequest:
        # some share a prompt, so that first tokens drawn from a prefix's stored logits are among them
        params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
        prompt = tuple(i % VOCABULARY for i in range(1, prompt_length + 1))
        group = "g" if prompt_length == 20 else ""
        return GenerateRequest(prompt, params, (key,), str(key), group, len(prompt) if group else 0)

    def check(generation: Generation) -> None:
        assert generation.token_ids == generation.versions  # version v says token v, and nothing else

    weights = [dict(says(version, **SHAPE).named_parameters()) for version in range(UPDATES + 1)]
    running = [asyncio.create_task(policy.generate(ask(key, 20 if key % 2 else 5 + key, 800))) for key in range(64)]
    async with asyncio.timeout(240):
        for version in range(1, UPDATES + 1):
            seen = (await policy.status()).sampled_tokens
            while (await policy.status()).sampled_tokens < seen + 64:
                await asyncio.sleep(0)
            running.append(asyncio.create_task(policy.generate(ask(100 * version, 20, 30))))
            await policy.prepare_update(sender.send(weights[version], version))
            await policy.finish_update(version)
            after = await policy.generate(ask(100 * version + 1, 20, 3))
            assert after.versions == (version,) * 3
            check(after)
        generations = await asyncio.gather(*running)
    assert VOCABULARY > UPDATES
    for generation in generations:
        check(generation)
    for generation in generations[:64]:
        assert len(generation.token_ids) == 800
        assert len(set(generation.versions)) > UPDATES // 2, "many updates fell into each of the long completions"
    sender.close()
