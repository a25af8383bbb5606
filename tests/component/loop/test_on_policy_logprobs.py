"""On policy, the learner's log-probabilities are the sampler's, over whole trajectories of several turns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agent_rl.config import Optimizer
from agent_rl.contracts import Agent, SamplingParams, Sandbox
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.learner.torch_learner import TorchLearner
from agent_rl.rollouts.run_group import PolicyAgents, RolloutSettings, run_group
from agent_rl.vocabulary import Group, Task, Verdict
from tests.component.inference.tiny import Architecture, saved, tiny_model
from tests.unit.rollouts.support import TEMPLATES, FunctionEnvironment, chat, make_task, packed, passed


async def four_turns(task: Task, agent: Agent, sandbox: Sandbox) -> Verdict:
    """Later turns differ in length between the rollouts, as real ones do."""
    reply = await agent.say(task.prompt)
    for _ in range(3):
        reply = await agent.say(f"You said {len(reply)} characters. " + "Go on. " * (len(reply) % 3))
    return passed()


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("template", ["plain", "thinking removed"])
async def test_on_policy_the_learner_and_the_sampler_agree(
    tmp_path: Path, architecture: Architecture, template: str
) -> None:
    tokenizer = chat(TEMPLATES[template])
    folder = saved(
        tmp_path, tiny_model(architecture, vocab_size=tokenizer.vocabulary_size, max_position_embeddings=1024)
    )
    temperature = 0.8
    policy = TransformersPolicy(folder)
    settings = RolloutSettings(
        sampling=SamplingParams(temperature=temperature, max_tokens=24), seed=3, max_context=1024
    )
    environment = FunctionEnvironment(four_turns)
    agents = PolicyAgents(policy, tokenizer, settings)
    groups: list[Group] = []
    try:
        for index in range(3):
            task = make_task(index, "Say " + "42 and " * random.Random(index).randint(1, 9))
            groups.append(await run_group(environment, "e", task, agents, None, index=index, group_size=4))
    finally:
        await policy.close()
    batch = packed(groups, [[1.0] * 4] * 3)
    learner = TorchLearner(
        folder,
        optimizer=Optimizer(),
        temperature=temperature,
        precision="float32",
        micro_batch_tokens=2048,
        blob_prefix="agreement",
        seed=0,
    )
    learned = await learner.forward(batch)
    compared = 0
    for group, rows in zip(batch.groups, learned, strict=True):
        for row, logprobs in zip(group.rows, rows, strict=True):
            for trained, ours, theirs in zip(row.loss_mask, logprobs, row.logprobs, strict=True):
                if trained:
                    assert ours == pytest.approx(theirs, abs=1e-4)
                    compared += 1
    assert compared == sum(t.sampled_tokens for g in groups for t in g.trajectories)
    assert compared > 500
