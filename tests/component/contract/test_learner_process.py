"""The torch learner passes the learner contract in a process of its own, behind the runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.config import Optimizer
from agent_rl.contracts import Batch
from agent_rl.errors import LearnerError
from agent_rl.launch.local_launcher import LocalLauncher
from agent_rl.launch.role_clients import LearnerClient
from agent_rl.testing.contracts.learner_contract import *  # noqa: F403
from agent_rl.testing.contracts.learner_contract import PLAN, LearnerSubject
from tests.component.contract.test_learner_torch import read
from tests.component.inference.tiny import saved, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEARNER = "agent_rl.learner.torch_learner:TorchLearner"


@dataclass(frozen=True, slots=True)
class Shared:
    """One process for all tests, and the checkpoint of how it began."""

    learner: LearnerClient
    beginning: str


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), tiny_model("qwen3"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(model: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    folder = tmp_path_factory.mktemp("run")
    kwargs = {"model_path": model, "optimizer": Optimizer(learning_rate=1e-3), "device": "cpu"}
    async with LocalLauncher(folder) as runtime:
        learner = LearnerClient(await runtime.start("learner", LEARNER, kwargs, error=LearnerError))
        await learner.save(str(folder / "beginning"))
        yield Shared(learner, str(folder / "beginning"))


@pytest_asyncio.fixture(loop_scope="module")
async def subject(shared: Shared, tmp_path: Path) -> LearnerSubject:
    await shared.learner.load(shared.beginning)
    return LearnerSubject(shared.learner, read, tmp_path)


async def test_a_killed_learner_fails_its_calls(model: str, tmp_path: Path) -> None:
    async with LocalLauncher(tmp_path) as runtime:
        role = await runtime.start(
            "learner", LEARNER, {"model_path": model, "optimizer": Optimizer()}, error=LearnerError
        )
        learner = LearnerClient(role)
        assert (await learner.step(Batch(1, ()), PLAN)).version == 1
        role.kill()
        with pytest.raises(LearnerError, match=r"learner \(process \d+\) died \(killed by SIGKILL\)"):
            await learner.step(Batch(2, ()), PLAN)
