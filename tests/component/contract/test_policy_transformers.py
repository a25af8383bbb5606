"""The transformers engine passes the policy contract in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_rl.contracts import WeightManifest
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.testing.contracts.policy_contract import *  # noqa: F403
from agent_rl.testing.contracts.policy_contract import PolicySubject
from agent_rl.weights.shared_memory import SharedMemorySender
from tests.component.inference.tiny import saved, tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), tiny_model("qwen3"))


@pytest_asyncio.fixture
async def subject(folder: str) -> AsyncIterator[PolicySubject]:
    sender = SharedMemorySender("test")

    async def publish(version: int) -> WeightManifest:
        return sender.send(tiny_model("qwen3", seed=version).named_parameters(), version)

    policy = TransformersPolicy(folder)
    yield PolicySubject(policy, publish)
    await policy.close()
    sender.close()
