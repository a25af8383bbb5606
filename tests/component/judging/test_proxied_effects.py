"""Tier `proxied` in the local sandbox: what only two real processes show, as in one process."""

from __future__ import annotations

import dataclasses

import pytest

from agent_rl.errors import ConfigError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.vocabulary import Limits, PytestTests, Submission
from tests.component.judging.proxied_effects import EFFECTS
from tests.component.places import provider_in
from tests.unit.judging.proxied_judging import task_of
from tests.unit.judging.proxied_kinds import IN_PROCESSES, KINDS

pytestmark = pytest.mark.local_sandbox
ROOMY = Limits(wall_seconds=30.0, cpu_seconds=30.0)


async def test_programs_pass_and_fail_as_in_one_process() -> None:
    found: list[str] = []
    kinds = {name: (k.tests, k.oracle, k.right, k.wrong) for name, k in KINDS.items() if name in IN_PROCESSES}
    async with provider_in("local-namespaces", workers=2) as provider:
        judge = ProxiedJudge(Runs(provider, minimum_isolation="memory"))
        for name, (tests, oracle, right, wrong) in {**EFFECTS, **kinds}.items():
            task = dataclasses.replace(task_of(tests, oracle), limits=ROOMY)
            assert isinstance(task.tests, PytestTests)
            for program in (oracle, *right, *wrong):
                wanted = "failed" if program in wrong else "passed"
                try:
                    verdict = await judge.judge(task, task.tests, Submission.code(program), public=True)
                except ConfigError as error:
                    found.append(f"{name}: {error}")
                    break
                if verdict.status != wanted:
                    found.append(f"{name}: {verdict.status}: {verdict.feedback}\n{program}")
    assert not found, "\n".join(found)
