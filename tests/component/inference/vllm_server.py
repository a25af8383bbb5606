"""One vLLM server for all tests that need a real one: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from agent_rl.inference.vllm.server import VllmServer
    from agent_rl.inference.vllm.vllm_policy import VllmPolicy

SHAPE: dict[str, Any] = {"architecture": "qwen3", "head_dim": 32, "max_position_embeddings": 2048}
"""Of the model: vLLM's attention on a CPU knows no smaller heads. Its output layer shares the embedding's weights."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A server, the folder of the model that it was started with, and that model's shape."""

    server: VllmServer
    folder: str
    shape: dict[str, Any]

    def policy(self, model: str | None = None) -> VllmPolicy:
        """A policy that is pointed at the server, and brings it to the weights of `model` (the one it started with).

        A server that dies does not take the tests with it.
        """
        from agent_rl.inference.vllm.vllm_policy import VllmPolicy

        return VllmPolicy(model or self.folder, url=self.server.socket, exit_with_server=False)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedModel]:
    """The server, started for the first test that asks for it."""
    from agent_rl.config import VllmConfig
    from agent_rl.inference.vllm.server import ServerPlan, VllmServer
    from tests.component.inference.tiny import saved, tiny_model

    folder = saved(tmp_path_factory.mktemp("served"), tiny_model(**SHAPE))
    plan = ServerPlan(folder, VllmConfig(start_timeout=300), "float32", threads=1, max_batch=128, on_cpu=True)
    server = VllmServer(plan)
    yield ServedModel(server, folder, SHAPE)
    server.close()
