"""Running a command's coroutine so that SIGINT and SIGTERM end it in order: sandboxes closed, processes gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

T = TypeVar("T")

TERMINATED = 128 + signal.SIGTERM


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. SIGTERM cancels it as SIGINT does; then the exit code is 143."""
    terminated = False

    async def supervised() -> T:
        nonlocal terminated
        this = asyncio.current_task()
        assert this is not None

        def stop() -> None:
            nonlocal terminated
            terminated = True
            this.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        return await work

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if terminated:
            raise typer.Exit(TERMINATED) from None
        raise
