"""A watchdog: names the stage that is stuck and dumps the stacks. It also measures the event loop's lag."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_rl.errors import InfrastructureError


class Watchdog:
    """Knows which stage the loop is in. `watch` runs beside the loop and raises when a stage outlasts the timeout."""

    def __init__(self, timeout: float, log: Path) -> None:
        self._timeout = timeout
        self._log = log
        self._stage = "starting"
        self._since = time.monotonic()
        self._max_lag = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The loop is in stage `name` within the block."""
        before = self._stage
        self._stage, self._since = name, time.monotonic()
        try:
            yield
        finally:
            self._stage, self._since = before, time.monotonic()

    def progress(self) -> None:
        """The stage has made progress: its clock restarts."""
        self._since = time.monotonic()

    def take_lag(self) -> float:
        """The longest delay of the event loop since the last call, in seconds."""
        lag, self._max_lag = self._max_lag, 0.0
        return lag

    async def watch(self) -> None:
        """Never returns. Raises an InfrastructureError that names the stuck stage."""
        period = 0.1
        while True:
            before = time.monotonic()
            await asyncio.sleep(period)
            now = time.monotonic()
            self._max_lag = max(self._max_lag, now - before - period)
            if now - self._since > self._timeout:
                self._dump()
                raise InfrastructureError(
                    f"no progress for {self._timeout:.0f} s (loop.stuck_timeout) in the stage {self._stage!r}; "
                    f"the stacks are in {self._log}"
                )

    def _dump(self) -> None:
        with self._log.open("a") as file:
            file.write(f"stuck in the stage {self._stage!r} for {time.monotonic() - self._since:.1f} s\n")
            for task in asyncio.all_tasks():
                text = io.StringIO()
                task.print_stack(file=text)
                file.write(text.getvalue())
            file.flush()
            faulthandler.dump_traceback(file=file, all_threads=True)
        sys.stderr.flush()
