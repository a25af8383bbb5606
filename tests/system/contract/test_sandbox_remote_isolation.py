"""Reached over the network, the local sandbox withstands what it does on the spot."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.testing.contracts.episode_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.pair_isolation_contract import *  # noqa: F403
from agent_rl.testing.contracts.sandbox_isolation_contract import *  # noqa: F403
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from tests.unit.sandboxes.hosting import ENVIRONMENT, hosting

pytestmark = [pytest.mark.local_sandbox, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[RemoteProvider]:
    async with hosting(LocalProvider(SandboxConfig(provider="local"))) as host:
        config = SandboxConfig(provider="remote", minimum_isolation="namespaces")
        async with RemoteProvider(config, RemoteOptions(hosts=(host.url,)), environment=ENVIRONMENT) as provider:
            assert isinstance(provider, RemoteProvider)
            yield provider
