"""Shares verdicts: each is made once, for every caller that asks for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent_rl.vocabulary import Verdict

VerdictKey = tuple[bytes, bytes, bool]
"""(digest of the tests, digest of the submission, whether the verdict has feedback for the agent)."""


@dataclass(slots=True)
class _Pending:
    task: asyncio.Task[tuple[Verdict, bool]]
    waiters: int = 0


class SharedVerdicts:
    """The latest `size` verdicts by key, and the pending ones. A caller that asks for a pending verdict waits for it.

    A judging is cancelled when its last waiter is cancelled; one that raises is forgotten, and so is a verdict that may
    come out differently another time. With size 0 nothing is kept
    or shared. `reused` counts the answers that needed no judging of their own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.reused = 0
        self._kept: OrderedDict[VerdictKey, Verdict] = OrderedDict()
        self._pending: dict[VerdictKey, _Pending] = {}

    async def get(self, key: VerdictKey, make: Callable[[], Coroutine[Any, Any, tuple[Verdict, bool]]]) -> Verdict:
        """The verdict under `key`; if there is none yet, `make` makes it, and says whether to keep it."""
        if self.size == 0:
            return (await make())[0]
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            self.reused += 1
            return kept
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(asyncio.create_task(make()))
            pending.task.add_done_callback(lambda task: self._done(key, task))
        else:
            self.reused += 1
        pending.waiters += 1
        try:
            return (await asyncio.shield(pending.task))[0]
        finally:
            pending.waiters -= 1
            if pending.waiters == 0 and not pending.task.done():
                self._pending.pop(key, None)  # a later caller starts a new judging
                pending.task.cancel()

    def _done(self, key: VerdictKey, task: asyncio.Task[tuple[Verdict, bool]]) -> None:
        pending = self._pending.get(key)
        if pending is not None and pending.task is task:
            del self._pending[key]
        if task.cancelled() or task.exception() is not None:
            return
        verdict, lasting = task.result()
        if lasting:
            self._kept[key] = verdict
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
