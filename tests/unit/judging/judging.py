"""A judge of cases over a scripted provider, for the tests of both."""

from __future__ import annotations

from typing import Any

from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Submission, Task, Verdict
from tests.unit.judging.fakes import SQUARES, ScriptedProvider, task_of

PROGRAM = Submission.code("def f(x): ...")
TASK = task_of(*SQUARES)


def verifier(*handlers: Any, **options: Any) -> TaskVerifier:
    options.setdefault("minimum_isolation", "memory")
    controls, companions = options.pop("controls", ()), options.pop("companions", ())
    return TaskVerifier(ScriptedProvider(*handlers, controls=controls, companions=companions), **options)


async def judged(*handlers: Any, task: Task = TASK, **options: Any) -> Verdict:
    return await verifier(*handlers, **options).judge(task, PROGRAM)
