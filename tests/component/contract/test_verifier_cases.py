"""`TaskVerifier` passes the verifier contract in memory, in the local sandbox and in Docker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.contracts.verifier_contract import *  # noqa: F403
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from tests.component.places import PLACES, provider_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", *PLACES])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with InMemoryProvider() if request.param == "memory" else provider_of(request.param) as started:
        yield started


@pytest.fixture
def verifier(provider: SandboxProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskVerifier:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    return TaskVerifier(provider, minimum_isolation="memory")
