"""Verdicts at tiers 1, 2 and 3 and of plain Python agree on 2,000 programs, or the difference is explained here."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_rl.concurrency import side_by_side
from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError
from agent_rl.judging.proxied.asserts import forms_of
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, Limits, Submission, Task, Verdict
from agent_rl.vocabulary.task import Tier
from agent_rl_sandboxes.docker_provider import DockerProvider
from tests.system.attacks.differential import SECONDS, Compared, plain_verdicts, programs_of, tasks_of

GENERATED = 16
WANTED = 2000
LIMITS = Limits(wall_seconds=SECONDS, cpu_seconds=SECONDS)
SHARE_AT_TIER_3 = 4
"""Every fourth program is judged at tier 3 too: each of those judgings starts pytest in a container of its own."""
EXPLAINED: dict[str, str] = {}
"""Kind of difference -> why it is right."""


@pytest.fixture
async def provider() -> AsyncIterator[DockerProvider]:
    async with DockerProvider(SandboxConfig(workers=os.cpu_count() or 2)) as made:
        yield made


@pytest.mark.docker
@pytest.mark.data
@pytest.mark.full
@pytest.mark.timeout(7200)
async def test_every_tier_judges_as_plain_python_does(
    provider: DockerProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))
    tasks = [dataclasses.replace(task, limits=LIMITS) for task in tasks_of(humaneval(), GENERATED)]
    programs = [program for task in tasks for program in programs_of(task)]
    assert len(programs) >= WANTED
    async with TaskVerifier(provider, cache_size=0) as verifier:
        found: dict[Tier, list[Verdict | None]] = {}
        for tier in ("values", "proxied", "in_process"):
            prepared = await prepared_at(verifier, tasks, tier)
            chosen = [p if tier != "in_process" or i % SHARE_AT_TIER_3 == 0 else None for i, p in enumerate(programs)]
            found[tier] = await side_by_side((judged(verifier, prepared, p) for p in chosen), 16)
    plain = await asyncio.to_thread(plain_verdicts, programs)
    counts, differences = Counter[str](), list[str]()
    for index, program in enumerate(programs):
        for tier, verdicts in found.items():
            verdict = verdicts[index]
            if verdict is None:
                continue
            counts[f"{tier}: judged"] += 1
            if verdict.passed != plain[index]:
                detail = next((t.detail for t in verdict.tests if not t.passed), "")
                said = f"{program.task.id} {program.kind}: plain {plain[index]}, {tier} {verdict.status} ({detail})"
                counts[f"{tier}: differs"] += 1
                differences += [] if said in EXPLAINED else [said]
        counts["plain: passed"] += plain[index]
        counts["honest: refused by plain Python"] += program.honest and not plain[index]
    report = {"programs": len(programs), **counts, "differences": differences}
    Path(os.environ.get("AGENT_RL_DIFFERENTIAL", tmp_path / "differential.json")).write_text(
        json.dumps(report, indent=1)
    )
    print(json.dumps(report, indent=1))
    assert not differences
    assert counts["honest: refused by plain Python"] == 0


def humaneval() -> Path:
    return Path(os.environ["AGENT_RL_DATA"]) / "HumanEval.jsonl.gz"


async def prepared_at(verifier: TaskVerifier, tasks: list[Task], tier: Tier) -> dict[str, Task]:
    """Task id -> the task ready to be judged at `tier`; a task that cannot be judged there is left out."""

    async def one(task: Task) -> Task | None:
        assert isinstance(task.tests, AssertTests)
        if tier == "values":
            made = await verifier.prepare(task)
            return made if made.tier == tier else None
        for form in forms_of(task.tests):
            tests = form if tier == "proxied" else dataclasses.replace(form, tests=())
            try:
                made = await verifier.prepare(dataclasses.replace(task, tests=tests, tier=tier))
            except ConfigError:
                continue
            return made if made.tier == tier else None
        return None

    made = await side_by_side((one(task) for task in tasks), 8)
    return {task.id: task for task in made if task is not None}


async def judged(verifier: TaskVerifier, prepared: dict[str, Task], program: Compared | None) -> Verdict | None:
    if program is None or program.task.id not in prepared:
        return None
    return await verifier.judge(prepared[program.task.id], Submission.code(program.program))
