"""The honest programs judged for real, several at a time, as a training run judges: one verifier, several workers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable

from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Submission, Task, Verdict
from tests.component.places import level_of, provider_in
from tests.system.attacks.honest.program import Honest


async def refused(place: str, programs: Iterable[Honest], *, workers: int) -> dict[str, str]:
    """Of each program that does not pass in `place` at its task's tier, why; as many at a time as there are workers.

    Whatever is raised is a reason too: an infrastructure failure would drop the honest program's rollout.
    """
    waiting = list(programs)
    wrong: dict[str, str] = {}
    async with provider_in(place, workers=workers) as provider:
        verifier = TaskVerifier(provider, cache_size=0)
        preparing: dict[str, asyncio.Task[Task]] = {}

        async def judged(program: Honest) -> Verdict:
            task = program.task
            if task.tier == "proxied":
                if task.id not in preparing:
                    preparing[task.id] = asyncio.create_task(verifier.prepare(task))
                task = await preparing[task.id]
            verdict = await verifier.judge(task, Submission.code(program.program))
            return verdict if verdict.tier == program.task.tier else dataclasses.replace(verdict, passed=False)

        async def work() -> None:
            while waiting:
                program = waiting.pop(0)
                try:
                    why = _why_refused(await judged(program), place)
                except Exception as error:
                    why = f"{type(error).__name__}: {error}"
                if why:
                    wrong[program.name] = why

        await asyncio.gather(*(work() for _ in range(workers)))
        await verifier.close()
    return wrong


def _why_refused(verdict: Verdict, place: str) -> str:
    """Empty where the verdict is as it has to be."""
    if verdict.passed and verdict.isolation == level_of(place):
        return ""
    details = [test.detail for test in verdict.tests if test.detail]
    return f"{verdict.status} at tier {verdict.tier}, level {verdict.isolation}: {details}"
