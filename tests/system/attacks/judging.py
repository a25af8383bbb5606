"""Attacks judged for real, many at once, each followed in its own worker by an honest program and by a probe.

Where each run has a container of its own, they follow the last attack only.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Submission, Task, Verdict
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.workers import Worker
from tests.component.places import level_of, provider_in
from tests.system.attacks.corpus import HONEST, LIMITS, TASK, Attack
from tests.system.attacks.probe import ROOMY, differences, probe
from tests.whole_machine import alone

WORKERS = 3
"""Workers at work at a time, each with a provider of its own: what follows an attack follows it in the same worker."""
_TRIES = 3
"""A busy machine may be late once to stop a program; what is late each time is not stopped in time."""
ROOMY_TASK = dataclasses.replace(TASK, limits=ROOMY)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one attack, and of its worker."""

    verdict: Verdict | None
    error: str
    """Why there is no verdict."""
    honest: str
    """What went wrong with the honest program after it; empty where nothing did."""
    changed: dict[str, Any]
    """What the probe after it found other than the probe before all."""
    same_worker: bool
    """Whether the worker was kept, so that what followed was where the attack had been."""


class OneWorker:
    """One provider with one worker."""

    def __init__(self, provider: DockerProvider | LocalProvider, first: dict[str, Any]) -> None:
        self.provider = provider
        self.verifier = TaskVerifier(provider, cache_size=0)
        self.first = first

    async def judge(self, attack: Attack) -> Judged:
        """The attack's verdict, and what is left of it."""
        verdict, error, worker = None, "", self._worker()
        try:
            for _ in range(_TRIES):
                verdict = await self.verifier.judge(_timed(attack), Submission.code(attack.program))
                if attack.outcome != "killed" or verdict.seconds <= LIMITS.wall_seconds + 1:
                    break
        except Exception as raised:  # whatever it is: no program may bring it about
            error = f"{type(raised).__name__}: {raised}"
        same_worker = worker is not None and self._worker() is worker
        # A run that has a container of its own leaves nothing in the next one's: one look after all of them is enough.
        honest, changed = ("", {}) if self.provider.isolation == "container" else await self.look()
        return Judged(verdict, error, honest, changed, same_worker)

    async def look(self) -> tuple[str, dict[str, Any]]:
        """What is wrong with an honest program now, and what a probe finds other than the first did."""
        try:
            after = await self.verifier.judge(ROOMY_TASK, Submission.code(HONEST))
            honest = "" if after.passed else f"{after.status}: {[t.detail for t in after.tests][:1]}"
            return honest, differences(self.first, await probe(self.provider))
        except Exception as raised:
            return f"{type(raised).__name__}: {raised}", {}

    def _worker(self) -> Worker | None:
        """The provider's one worker while nothing runs in it; None where it is only on its way."""
        pool = self.provider._pool
        assert pool is not None and len(pool._idle) == 1
        idle = pool._idle[0]
        return idle.result() if idle.done() and not idle.cancelled() and idle.exception() is None else None


def _timed(attack: Attack) -> Task:
    """What has to come to an end of its own gets as much time as a busy machine may need."""
    ends_by_itself = attack.outcome == "same" or (attack.outcome == "fails" and attack.statuses)
    return dataclasses.replace(attack.task, limits=ROOMY) if ends_by_itself else attack.task


async def judge_all(place: str, attacks: Sequence[Attack]) -> dict[str, Judged]:
    """Of each attack, by its id, what became of it in `place`. All providers are closed afterwards."""
    found: dict[str, Judged] = {}
    waiting = [a for a in attacks if not a.alone]

    async def work(worker: OneWorker) -> None:
        while waiting:
            attack = waiting.pop(0)
            found[attack.id] = await worker.judge(attack)

    async with contextlib.AsyncExitStack() as stack:
        workers: list[OneWorker] = []
        for _ in range(min(WORKERS, len(attacks))):
            provider = provider_in(place)
            await stack.enter_async_context(provider)
            assert provider.isolation == level_of(place)
            workers.append(OneWorker(provider, await probe(provider)))
        async with alone():
            for attack in attacks:
                if attack.alone:
                    found[attack.id] = await workers[0].judge(attack)
        await asyncio.gather(*map(work, workers))
        for worker in workers if level_of(place) == "container" else ():
            honest, changed = await worker.look()
            last = [*found][-1]  # any of them may have left it
            found[last] = dataclasses.replace(
                found[last], honest=found[last].honest or honest, changed=found[last].changed or changed
            )
    return found
