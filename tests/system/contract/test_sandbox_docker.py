"""Docker passes the sandbox contract, and withstands what an isolating sandbox must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.testing.contracts.episode_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.pair_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.sandbox_contract import *  # noqa: F403
from agent_rl.testing.contracts.sandbox_isolation_contract import *  # noqa: F403
from agent_rl_sandboxes.docker_provider import DockerProvider

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
_CONFIG = SandboxConfig(provider="docker")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[DockerProvider]:
    async with DockerProvider(_CONFIG) as provider:
        assert isinstance(provider, DockerProvider)
        yield provider


@pytest.fixture
def fresh_provider() -> Callable[[], DockerProvider]:
    return lambda: DockerProvider(_CONFIG)
