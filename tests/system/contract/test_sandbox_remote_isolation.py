"""Reached over the network, the local sandbox withstands what it does on the spot."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.remote_provider import RemoteProvider
from tests.contract.episode_isolation_contract import *  # noqa: F403
from tests.contract.pair_isolation_contract import *  # noqa: F403
from tests.contract.sandbox_isolation_contract import *  # noqa: F403
from tests.unit.sandboxes.hosting import ENVIRONMENT, hosting

pytestmark = [pytest.mark.local_sandbox, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider() -> AsyncIterator[RemoteProvider]:
    async with hosting(LocalProvider(SandboxConfig(provider="local"))) as host:
        config = SandboxConfig(provider="remote", hosts=(host.url,), minimum_isolation="namespaces")
        async with RemoteProvider(config, environment=ENVIRONMENT) as provider:
            assert isinstance(provider, RemoteProvider)
            yield provider
