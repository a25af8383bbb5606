"""Runs a command's coroutine. SIGINT and SIGTERM end it in an orderly way: sandboxes are closed, processes are gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer

T = TypeVar("T")

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def terminable() -> Iterator[None]:
    """Within it, where no event loop runs, SIGTERM ends the command in an orderly way; the exit code is then 143."""

    def stop(*_: object) -> None:
        raise typer.Exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. SIGTERM cancels it like SIGINT; the exit code is then 143."""
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
