"""`BatchesAhead`: the batches of a source, made in advance in a separate process."""

from __future__ import annotations

import multiprocessing
import os
import queue
from multiprocessing.context import SpawnProcess
from typing import Any

from agent_rl.contracts import PackedGroup
from agent_rl.errors import AgentRLError, EnvironmentFailure
from agent_rl.launch.role_process import die_with_parent
from agent_rl.sft.sft_plan import BatchSource

AHEAD = 8
"""Number of batches made in advance."""


class BatchesAhead:
    """`source.batches`, run in a separate process that keeps a few batches ready. Used as a context manager."""

    def __init__(self, source: BatchSource, seed: int, conversations_each: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: multiprocessing.Queue[Any] = context.Queue(AHEAD)
        self._process: SpawnProcess = context.Process(
            target=_produce, args=(source, seed, conversations_each, self._queue, os.getpid()), daemon=True
        )

    def __enter__(self) -> BatchesAhead:
        self._process.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.join()
        self._queue.cancel_join_thread()

    def next(self) -> tuple[PackedGroup, ...]:
        """The next batch. Raises the error that making it raised, or EnvironmentFailure when its process died."""
        while True:
            try:
                item = self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._process.is_alive():
                    continue
                raise EnvironmentFailure(
                    f"the process that makes demonstrations ended with code {self._process.exitcode}"
                ) from None
            if isinstance(item, AgentRLError):
                raise item
            return item


def _produce(
    source: BatchSource, seed: int, conversations_each: int, out: multiprocessing.Queue[Any], parent: int
) -> None:
    die_with_parent(parent)
    try:
        for batch in source.batches(seed, conversations_each):
            out.put(batch)
    except AgentRLError as error:
        out.put(type(error)(str(error)))
