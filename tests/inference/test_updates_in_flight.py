"""Every token carries the version that sampled it: proven with weights of which each always says one token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from agent_rl.contracts import GenerateRequest, Generation, SamplingParams
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.runtime.weights import SharedMemorySender
from tests.inference.tiny import VOCABULARY, saved, tiny_model

UPDATES = 20


def says(token: int) -> PreTrainedModel:
    """A model whose likeliest next token is `token`, by 40 nats, after anything.

    All embeddings are equal and the layers add nothing, so that the last hidden state is the same in every context.
    """
    model = tiny_model(tie_word_embeddings=False, max_position_embeddings=2048)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(0.0 if "proj" in name or "lm_head" in name else 1.0)
        model.get_output_embeddings().weight[token] = 40 / 32  # pyright: ignore  # width 32, hidden state all ones
    return model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_the_recorded_version_of_every_token_is_the_one_that_sampled_it(
    tmp_path: Path, temperature: float
) -> None:
    policy = TransformersPolicy(saved(tmp_path / "model", says(0)))
    sender = SharedMemorySender()

    def ask(key: int, prompt_length: int, max_tokens: int) -> GenerateRequest:
        # some share a prompt, so that first tokens drawn from a prefix's stored logits are among them
        params = SamplingParams(temperature=temperature, max_tokens=max_tokens)
        prompt = tuple(i % VOCABULARY for i in range(1, prompt_length + 1))
        group = "g" if prompt_length == 20 else ""
        return GenerateRequest(prompt, params, (key,), str(key), group, len(prompt) if group else 0)

    def check(generation: Generation) -> None:
        assert generation.token_ids == generation.versions  # version v says token v, and nothing else

    weights = [dict(says(version).named_parameters()) for version in range(UPDATES + 1)]
    running = [asyncio.create_task(policy.generate(ask(key, 20 if key % 2 else 5 + key, 800))) for key in range(64)]
    async with asyncio.timeout(60):
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
        assert len(set(generation.versions)) > UPDATES // 2, "many updates fell into each of the long completions"
    await policy.close()
    sender.close()
