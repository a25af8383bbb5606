"""Policy and learner on one device, in alternation: the policy sleeps while the learner is awake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agent_rl.contracts import Policy


@asynccontextmanager
async def device_free(policy: Policy) -> AsyncIterator[None]:
    """The policy sleeps within the block, and requests stand still; it is awake afterwards, also where that fails."""
    await policy.sleep()
    async with afterwards(policy.wake):
        yield


@asynccontextmanager
async def afterwards(call: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """`call` is awaited at the block's end, also where the block fails, but not where it is cancelled.

    Then the run is about to end, maybe since the very role is stuck that `call` would wait for.
    """
    try:
        yield
    except Exception:
        await call()
        raise
    await call()
