"""The transformers engine passes the policy contract, in this process and in one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import WeightManifest
from agent_rl.errors import PolicyError
from agent_rl.inference.transformers_policy import TransformersPolicy
from agent_rl.runtime.clients import PolicyClient
from agent_rl.runtime.local import LocalRuntime
from agent_rl.runtime.weights import SharedMemorySender
from tests.contract.policy_contract import *  # noqa: F403
from tests.contract.policy_contract import Subject, update
from tests.inference.tiny import saved, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), tiny_model("qwen3"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(folder: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PolicyClient]:
    async with LocalRuntime(tmp_path_factory.mktemp("run")) as runtime:
        role = await runtime.start(
            "policy",
            "agent_rl.inference.transformers_policy:TransformersPolicy",
            {"model_path": folder},
            error=PolicyError,
        )
        yield PolicyClient(role)


@pytest_asyncio.fixture(params=["here", "deterministic", "own process"], loop_scope="module")
async def subject(request: pytest.FixtureRequest, folder: str) -> AsyncIterator[Subject]:
    sender = SharedMemorySender("test")

    async def publish(version: int) -> WeightManifest:
        return sender.send(tiny_model("qwen3", seed=version).named_parameters(), version)

    if request.param == "own process":
        process = request.getfixturevalue("process")
        if (await process.status()).version != 0:  # the process is shared by the tests: back to where it began
            await update(Subject(process, publish), 0)
        yield Subject(process, publish)
    else:
        policy = TransformersPolicy(folder, deterministic=request.param == "deterministic")
        yield Subject(policy, publish)
        await policy.close()
    sender.close()


async def test_a_killed_engine_fails_its_calls(folder: str, tmp_path: Path) -> None:
    async with LocalRuntime(tmp_path) as runtime:
        target = "agent_rl.inference.transformers_policy:TransformersPolicy"
        role = await runtime.start("policy", target, {"model_path": folder}, error=PolicyError)
        role.kill()
        with pytest.raises(PolicyError, match=r"policy \(process \d+\) died \(killed by SIGKILL\)"):
            await PolicyClient(role).generate(ask())  # noqa: F405
