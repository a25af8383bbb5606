"""The in-memory fake passes the sandbox contract, as far as it can without isolation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from agent_rl.testing.contracts.sandbox_contract import *  # noqa: F403
from agent_rl.testing.in_memory_sandbox import InMemoryProvider


@pytest.fixture
async def provider() -> AsyncIterator[InMemoryProvider]:
    async with InMemoryProvider() as provider:
        assert isinstance(provider, InMemoryProvider)
        yield provider


@pytest.fixture
def fresh_provider() -> Callable[[], InMemoryProvider]:
    return InMemoryProvider
