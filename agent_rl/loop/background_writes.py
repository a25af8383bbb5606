"""Writes a step's files while the next step runs, so that the learner does not wait for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundWrites:
    """Runs work in the background, in order and at most one step behind; all of it is done when the block has ended.

    If a piece of work fails, the next call raises its error, or the end of the block does.
    """

    def __init__(self) -> None:
        self._last: asyncio.Task[None] | None = None

    async def __aenter__(self) -> BackgroundWrites:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if self._last is None:
            return
        outcomes = await asyncio.gather(self._last, return_exceptions=True)
        if kind is None and isinstance(outcomes[0], BaseException):
            raise outcomes[0]

    async def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """`work` has started, and all earlier work is done."""
        try:
            if self._last is not None:
                await self._last
        except BaseException:
            work.close()
            raise
        self._last = asyncio.create_task(_do(work), name="beside the next step")

    def then(self, work: Coroutine[Any, Any, Any]) -> None:
        """`work` runs after the work that is under way; if that fails, `work` never runs."""
        self._last = asyncio.create_task(_do(work, self._last), name="beside the next step")


async def _do(work: Coroutine[Any, Any, Any], after: asyncio.Task[None] | None = None) -> None:
    if after is not None:
        try:
            await after
        except BaseException:
            work.close()
            raise
    await work
