"""The scripted fake passes the policy contract."""

from __future__ import annotations

import pytest

from agent_rl.contracts import WeightManifest
from agent_rl.testing.contracts.policy_contract import *  # noqa: F403
from agent_rl.testing.contracts.policy_contract import PolicySubject
from agent_rl.testing.scripted_policy import ScriptedPolicy


@pytest.fixture
def subject() -> PolicySubject:
    async def publish(version: int) -> WeightManifest:
        return WeightManifest(version, "none", 0, ())

    return PolicySubject(ScriptedPolicy(vocabulary=64, delay=lambda r: 0.001 * r.sampling.max_tokens), publish)
