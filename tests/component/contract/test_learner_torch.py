"""The torch learner passes the learner contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from accelerate.state import AcceleratorState

from agent_rl.config import Optimizer
from agent_rl.contracts import WeightManifest
from agent_rl.learner.torch_learner import TorchLearner
from agent_rl.testing.contracts.learner_contract import *  # noqa: F403
from agent_rl.testing.contracts.learner_contract import LearnerSubject
from agent_rl.weights.shared_memory import SharedMemoryReceiver
from tests.component.inference.tiny import saved, tiny_model


def read(manifest: WeightManifest) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in SharedMemoryReceiver().load(manifest).items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("model"), tiny_model("qwen3"))


@pytest_asyncio.fixture
async def subject(model: str, tmp_path: Path) -> AsyncIterator[LearnerSubject]:
    torch.set_num_threads(1)
    learner = TorchLearner(model, optimizer=Optimizer(learning_rate=1e-3), device="cpu")
    yield LearnerSubject(learner, read, tmp_path)
    await learner.close()
    AcceleratorState._reset_state(True)
