"""A real vLLM server passes the policy contract; one server serves all these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_rl.contracts import WeightManifest
from agent_rl.testing.contracts.policy_contract import *  # noqa: F403
from agent_rl.testing.contracts.policy_contract import PolicySubject
from agent_rl.weights.shared_memory import SharedMemorySender
from tests.component.inference.tiny import tiny_model
from tests.component.inference.vllm_server import ServedModel

pytestmark = pytest.mark.vllm


@pytest_asyncio.fixture
async def subject(served: ServedModel) -> AsyncIterator[PolicySubject]:
    sender = SharedMemorySender("test")

    async def publish(version: int) -> WeightManifest:
        return sender.send(tiny_model(**served.shape, seed=version).named_parameters(), version)

    # As where a run is pointed at a server: whatever it has served, it is brought to the model's weights first.
    policy = served.policy()
    yield PolicySubject(policy, publish, long=1600)  # of 2,048
    await policy.close()
    sender.close()
