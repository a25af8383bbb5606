"""The local sandbox passes the sandbox contract, and withstands what an isolating one must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.testing.contracts.episode_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.pair_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.sandbox_contract import *  # noqa: F403
from agent_rl.testing.contracts.sandbox_isolation_contract import *  # noqa: F403
from agent_rl_sandboxes.local_provider import LocalProvider

pytestmark = [pytest.mark.local_sandbox, pytest.mark.asyncio(loop_scope="module")]
_CONFIG = SandboxConfig(provider="local", minimum_isolation="namespaces")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[LocalProvider]:
    async with LocalProvider(_CONFIG) as provider:
        assert isinstance(provider, LocalProvider)
        yield provider


@pytest.fixture
def fresh_provider() -> Callable[[], LocalProvider]:
    return lambda: LocalProvider(_CONFIG)
