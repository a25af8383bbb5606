"""Who has this machine: the tests of one clone share it, and what takes all of it has it alone.

Each test holds a shared lock (`sharing`, in conftest.py). An attack that takes every processor waits in `alone` until
no other process's test runs, and holds others up while it lasts: their limits are then not measured beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

# Two files that every process of this clone has. A lock ends with the process that holds it.
_TURN = Path(__file__).parent / "conftest.py"
_MACHINE = Path(__file__)
_held: list[int] = []
"""The locks that this process's test holds; empty between tests."""


def _locked(file: Path, how: int) -> int:
    """A descriptor that holds the lock until it is closed. Blocks."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, how)
    return descriptor


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Other tests may run at the same time."""
    # Whoever wants the machine alone keeps the turn, so that others' tests do not begin before.
    turn = _locked(_TURN, fcntl.LOCK_EX)
    descriptor = _locked(_MACHINE, fcntl.LOCK_SH)
    os.close(turn)
    _held.append(descriptor)
    try:
        yield
    finally:
        _held.remove(descriptor)
        os.close(descriptor)


@contextlib.asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """No test of another process runs meanwhile. Begins when those that run have ended."""
    # Given back first: two that hold a share and wait for each other's would wait for ever.
    for descriptor in _held:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    try:
        turn = await asyncio.to_thread(_locked, _TURN, fcntl.LOCK_EX)
        machine = await asyncio.to_thread(_locked, _MACHINE, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(machine)
            os.close(turn)
    finally:
        for descriptor in _held:
            await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_SH)


__all__ = ["alone", "sharing"]
