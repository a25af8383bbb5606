"""`CaseVerifier` passes the verifier contract in memory, in the local sandbox and in Docker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.call_judge import CaseVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from tests.component.places import PLACES, provider_of
from tests.contract.verifier_contract import *  # noqa: F403

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", *PLACES])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with InMemoryProvider() if request.param == "memory" else provider_of(request.param) as started:
        yield started


@pytest.fixture
def verifier(provider: SandboxProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CaseVerifier:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    return CaseVerifier(provider, minimum_isolation="memory")
