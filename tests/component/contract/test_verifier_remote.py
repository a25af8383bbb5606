"""The judge passes the verifier contract with its programs running on other hosts, and it itself here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.contracts.verifier_contract import *  # noqa: F403
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl_sandboxes.local_provider import LocalProvider
from tests.unit.sandboxes.hosting import hosting, remote

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["memory", pytest.param("local", marks=pytest.mark.local_sandbox)]
)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    def inner() -> SandboxProvider:
        memory = request.param == "memory"
        return InMemoryProvider() if memory else LocalProvider(SandboxConfig(provider="local"))

    async with hosting(inner()) as one, hosting(inner()) as other, remote(one.url, other.url) as started:
        yield started


@pytest.fixture
def verifier(provider: SandboxProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskVerifier:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    return TaskVerifier(provider, minimum_isolation="memory")
