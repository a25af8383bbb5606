"""Policy and learner take turns on one device: the policy sleeps while the learner is awake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from agent_rl.contracts import Policy


@asynccontextmanager
async def device_free(policy: Policy) -> AsyncIterator[None]:
    """The policy sleeps within the block, and requests wait; it is awake afterwards, even if the block fails."""
    await policy.sleep()
    async with afterwards(policy.wake):
        yield


@asynccontextmanager
async def afterwards(call: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Awaits `call` at the block's end, even if the block fails, but not if it is cancelled.

    After a cancellation the run is about to end, perhaps because the role that `call` would wait for is stuck.
    """
    try:
        yield
    except Exception:
        await call()
        raise
    await call()
