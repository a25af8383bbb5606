"""The transformers engine passes the policy contract in a process of its own, behind the runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.launch.role_clients import PolicyClient
from agent_rl.testing.contracts.policy_contract import *  # noqa: F403
from agent_rl.testing.contracts.policy_contract import PolicySubject, ask, update
from agent_rl.weights.shared_memory import SharedMemorySender
from tests.component.inference.tiny import saved, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENGINE = "agent_rl.inference.transformers_policy:TransformersPolicy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), tiny_model("qwen3"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(folder: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PolicyClient]:
    async with LocalLauncher(tmp_path_factory.mktemp("run")) as runtime:
        yield PolicyClient(await runtime.start("policy", ENGINE, {"model_path": folder}, error=PolicyError))


@pytest_asyncio.fixture(loop_scope="module")
async def subject(process: PolicyClient) -> AsyncIterator[PolicySubject]:
    sender = SharedMemorySender("test")

    async def publish(version: int) -> WeightManifest:
        return sender.send(tiny_model("qwen3", seed=version).named_parameters(), version)

    subject = PolicySubject(process, publish)
    if (await process.status()).version != 0:  # the tests share the process: back to where it began
        await update(subject, 0)
    yield subject
    sender.close()


async def test_a_killed_engine_fails_its_calls(folder: str, tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        role = await runtime.start("policy", ENGINE, {"model_path": folder}, error=PolicyError)
        policy = PolicyClient(role)
        assert (await policy.generate(ask())).finish_reason == "length"
        role.kill()
        with pytest.raises(PolicyError, match=r"policy \(process \d+\) died \(killed by SIGKILL\)"):
            await policy.generate(ask())
