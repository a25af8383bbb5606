"""Hosts reached over the network pass the sandbox contract; where they isolate, from afar as well as on the spot."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.testing.contracts.sandbox_contract import *  # noqa: F403
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.remote_provider import RemoteOptions, RemoteProvider
from agent_rl_sandboxes.serving.host_limits import HostLimits
from agent_rl_sandboxes.serving.host_server import Bind, Host

pytestmark = pytest.mark.asyncio(loop_scope="module")
TOKEN = "0123456789abcdef"
ENVIRONMENT = {"AGENT_RL_SANDBOX_TOKEN": TOKEN}


def remote_to(*hosts: Host) -> RemoteProvider:
    """Isolation `memory` cannot be written in a config; `model_copy` does not check."""
    config = SandboxConfig(provider="remote").model_copy(update={"minimum_isolation": "memory"})
    options = RemoteOptions(hosts=tuple(host.url for host in hosts))
    return RemoteProvider(config, options, environment=ENVIRONMENT)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["memory", pytest.param("local", marks=pytest.mark.local_sandbox)]
)
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[list[Host]]:
    """Two hosts of the kind."""
    async with contextlib.AsyncExitStack() as stack:
        made: list[Host] = []
        for _ in range(2):
            inner: SandboxProvider = (
                InMemoryProvider() if request.param == "memory" else LocalProvider(SandboxConfig(provider="local"))
            )
            await stack.enter_async_context(inner)
            bind = Bind.parse("127.0.0.1:0")
            made.append(await stack.enter_async_context(Host(inner, bind, token=TOKEN, limits=HostLimits(workers=2))))
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(hosts: list[Host]) -> AsyncIterator[RemoteProvider]:
    async with remote_to(*hosts) as provider:
        assert isinstance(provider, RemoteProvider)
        yield provider


@pytest.fixture
def fresh_provider(hosts: list[Host]) -> Callable[[], RemoteProvider]:
    return lambda: remote_to(*hosts)
