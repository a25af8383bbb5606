"""Verdicts at tiers 1, 2 and 3 and of plain Python agree on 2,000 programs, or the difference is explained here."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import chain
from pathlib import Path

import pytest

from agent_rl.concurrency import side_by_side
from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError
from agent_rl.judging.proxied.asserts import forms_of
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, Limits, Submission, Task
from agent_rl.vocabulary.task import Tier
from agent_rl_sandboxes.docker_provider import DockerProvider
from tests.system.attacks.differential import SECONDS, Compared, Plain, plain_verdicts, programs_of, tasks_of
from tests.system.attacks.differential_together import verdicts_together

GENERATED = 16
WANTED = 2000
LIMITS = Limits(wall_seconds=20, cpu_seconds=SECONDS)
"""The wall leaves room for a loaded machine and, at tier 3, for the start of pytest: nothing honest comes near it."""
AT_ONCE: dict[Tier, int] = {"values": 16, "proxied": 16, "in_process": 4}
ALONE = 8
"""Of every eighth task, each program is judged at tier 3 in a sandbox of its own too, as in training."""
EXPLAINED: dict[tuple[str, str, Tier], str] = {}
"""(task, kind of program, tier) -> why the verdict is right although plain Python gives another."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A verdict, or what else is known of a program at a tier."""

    passed: bool
    said: str


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
    programs = [program for task in tasks_of(humaneval(), GENERATED) for program in programs_of(task)]
    counts, seconds = Counter[str](programs=len(programs)), dict[str, float]()
    clock = time.monotonic()

    def took(part: str) -> None:
        nonlocal clock
        seconds[part], clock = round(time.monotonic() - clock, 1), time.monotonic()
        print(f"{part}: {seconds[part]} s", flush=True)

    plain = await plain_verdicts(programs)
    took("plain")
    found: dict[Tier, list[Found | None]] = {}
    async with TaskVerifier(provider, cache_size=0) as verifier:
        found["values"] = await alone(verifier, programs, "values")
        took("values")
        found["proxied"] = await alone(verifier, programs, "proxied")
        took("proxied")
        found["in_process"] = await in_process(verifier, programs, plain, counts)
        took("in_process")
    differences: dict[tuple[str, str, Tier], str] = {}
    for tier, verdicts in found.items():
        for program, by_hand, verdict in zip(programs, plain, verdicts, strict=True):
            counts[f"{tier}: judged"] += verdict is not None
            if verdict is not None and verdict.passed != by_hand.passed:
                said = f"plain: {by_hand.passed}, {tier}: {verdict.said}"
                differences[program.task.id, program.kind, tier] = said
                counts[f"{tier}: differs"] += 1
    counts["plain: passed"] = sum(p.passed for p in plain)
    counts["plain: stopped"] = sum(p.stopped for p in plain)
    refused = [f"{p.task.id} {p.kind}" for p, v in zip(programs, plain, strict=True) if p.honest and not v.passed]
    unexplained = {", ".join(key): said for key, said in differences.items() if key not in EXPLAINED}
    stale = [", ".join(key) for key in EXPLAINED if key not in differences]
    counts["explained"] = len(EXPLAINED) - len(stale)
    report = {**counts, "seconds": seconds, "unexplained": unexplained, "stale": stale, "honest, plain fails": refused}
    text = json.dumps(report, indent=1)
    Path(os.environ.get("AGENT_RL_DIFFERENTIAL", tmp_path / "differential.json")).write_text(text)
    print(text)
    assert not unexplained and not stale and not refused
    assert all(counts[f"{tier}: judged"] == len(programs) >= WANTED for tier in found)


def humaneval() -> Path:
    return Path(os.environ["AGENT_RL_DATA"]) / "HumanEval.jsonl.gz"


async def in_process(
    verifier: TaskVerifier, programs: Sequence[Compared], plain: Sequence[Plain], counts: Counter[str]
) -> list[Found | None]:
    """Each program at tier 3: with the others of its task in one run, and where that is not enough, alone.

    Alone are all programs of some tasks, those that plain Python has to stop, those that the common run says nothing
    of, and those on which it differs from plain Python.
    """
    ids = list(dict.fromkeys(p.task.id for p in programs))
    groups = [[i for i, p in enumerate(programs) if p.task.id == task and not plain[i].stopped] for task in ids]
    answers = await side_by_side(
        (verdicts_together(verifier, [programs[i] for i in group]) for group in groups), AT_ONCE["in_process"]
    )
    together = dict(zip(chain(*groups), chain(*answers), strict=True))
    chosen = {task for number, task in enumerate(ids) if number % ALONE == 0}
    wanted = [
        program if program.task.id in chosen or together.get(i) != plain[i].passed else None
        for i, program in enumerate(programs)
    ]
    found = await alone(verifier, wanted, "in_process")
    for i, verdict in enumerate(found):
        passed = together.get(i)
        counts["in_process: in a run of its own"] += verdict is not None
        counts["in_process: no verdict from the common run"] += passed is None and not plain[i].stopped
        if passed is not None and verdict is None:
            found[i] = Found(passed, "a common run")
        elif passed is not None and verdict is not None:
            counts["in_process: common run and own differ"] += passed != verdict.passed
    return found


async def alone(verifier: TaskVerifier, programs: Sequence[Compared | None], tier: Tier) -> list[Found | None]:
    """What the judge of `tier` says of each program."""
    tasks = {p.task.id: dataclasses.replace(p.task, limits=LIMITS) for p in programs if p is not None}
    made = await side_by_side((prepared_at(verifier, task, tier) for task in tasks.values()), 8)
    prepared = {task.id: task for task in made}

    async def judged(program: Compared | None) -> Found | None:
        if program is None:
            return None
        verdict = await verifier.judge(prepared[program.task.id], Submission.code(program.program))
        detail = next((t.detail for t in verdict.tests if not t.passed), "")
        return Found(verdict.passed, f"{verdict.status} {detail}".strip())

    return await side_by_side(map(judged, programs), AT_ONCE[tier])


async def prepared_at(verifier: TaskVerifier, task: Task, tier: Tier) -> Task:
    """The task ready to be judged at `tier`. Raises ConfigError if it cannot be judged there."""
    assert isinstance(task.tests, AssertTests)
    if tier == "values":
        made = await verifier.prepare(task)
    else:
        forms = [form if tier == "proxied" else dataclasses.replace(form, tests=()) for form in forms_of(task.tests)]
        tries = [dataclasses.replace(task, tests=form, tier=tier) for form in forms]
        try:
            made = await verifier.prepare(tries[0])
        except ConfigError:
            made = await verifier.prepare(tries[-1])
    assert made.tier == tier, task.id
    return made
