"""Tier `proxied` against attacks on its own frames and on its place, in `make full` against the whole corpus too."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.vocabulary import Limits, PytestTests, Submission, Task, Verdict
from tests.component.places import LEVELS, PLACES, level_of, marks_of, provider_in, provider_of
from tests.system.attacks.corpus import CORPUS, HONEST, TASK, Attack
from tests.system.attacks.probe import Host, differences, probe
from tests.system.attacks.proxied_corpus import PROXIED
from tests.system.attacks.proxied_shapes import SHAPES
from tests.system.attacks.proxied_tasks import proxied
from tests.unit.judging.proxied_programs import HONEST as PROGRAMS
from tests.unit.judging.proxied_suites import RIGHT, SUITES
from tests.whole_machine import alone

pytestmark = [pytest.mark.timeout(900)]

LIMITS = Limits(wall_seconds=0.6, cpu_seconds=0.6, memory_bytes=256 * 2**20)
ROOMY = dataclasses.replace(LIMITS, wall_seconds=20.0, cpu_seconds=20.0)
"""Of right programs: so long that a busy machine does not fail them."""
WORKERS = 3
_LATE = 10.0
"""Seconds that a busy machine may take to notice the end of a limit; what hangs takes longer."""

HARMLESS = {
    "9-an-endless-end": "nothing is flushed at the end: the process is ended when the tests have ended",
    "18-the-right-sum-in-another-spelling": "changes code that does not serve at this tier; it is right",
    "18-a-value-and-an-error-at-once": "the same",
    "18-every-answer-under-one-id": "the same",
    "24-both-halves-of-a-fork-answer": "the same: a copy of the process is not heard",
}
"""Programs that are right, and whose attack is on the harness of tier `values` alone: they may pass."""


@dataclasses.dataclass
class Judged:
    attack: Attack
    verdict: Verdict | Exception
    honest: Verdict | Exception
    changed: dict[str, Any]
    """What probes of both workers found other than before all."""


async def judge_all(place: str, attacks: Sequence[Attack]) -> list[Judged]:
    """What became of each attack in `place`, and of the honest program after it; several at a time.

    A judging takes two workers, and a provider has two: what follows an attack follows it in the same ones.
    """
    waiting = sorted(attacks, key=lambda attack: getattr(attack, "alone", False), reverse=True)
    hogs = [a for a in waiting if getattr(a, "alone", False)]
    found: list[Judged] = []

    async def work(judge: ProxiedJudge) -> None:
        while waiting:
            found.append(await one(judge, waiting.pop(0), first))

    async with contextlib.AsyncExitStack() as stack:
        providers = [
            await stack.enter_async_context(provider_in(place, workers=2)) for _ in range(min(WORKERS, len(attacks)))
        ]
        assert {provider.isolation for provider in providers} == {level_of(place)}
        judges = [ProxiedJudge(Runs(provider)) for provider in providers]
        for task in {attack.task.id: tasks(attack) for attack in attacks}.values():
            # What the reference says of the tests is found out before it has to share the machine with attacks.
            for judge in judges:
                assert isinstance(task.tests, PytestTests)
                oracle = task.tests.oracle["solution.py"].decode()
                verdict = await outcome(judge, dataclasses.replace(task, limits=ROOMY), oracle)
                assert isinstance(verdict, Verdict) and verdict.passed, verdict
        first = await probe(providers[0])  # after a first pair: what plays its parts is loaded into a worker by then
        async with alone():
            for attack in hogs:
                waiting.remove(attack)
                found.append(await one(judges[0], attack, first))
        await asyncio.gather(*map(work, judges))
    return found


async def one(judge: ProxiedJudge, attack: Attack, first: dict[str, Any]) -> Judged:
    task = dataclasses.replace(tasks(attack), limits=ROOMY if attack.outcome == "same" else LIMITS)
    verdict = await outcome(judge, task, attack.program)
    honest = await outcome(judge, dataclasses.replace(ADD, limits=ROOMY), HONEST)
    # Idle workers are taken in turn. Where each run has a place of its own, there is nothing to be found in another's.
    workers = 0 if judge.runs.provider.isolation == "container" else 2
    changed = [differences(first, await probe(judge.runs.provider)) for _ in range(workers)]
    return Judged(attack, verdict, honest, {name: found for one in changed for name, found in one.items()})


async def outcome(judge: ProxiedJudge, task: Task, program: str) -> Verdict | Exception:
    """The verdict, or whatever was raised: no program may bring that about."""
    assert isinstance(task.tests, PytestTests)
    try:
        return await judge.judge(task, task.tests, Submission.code(program), public=True)
    except Exception as error:
        return error


_TASKS: dict[str, Task | None] = {}


def tasks(attack: Attack) -> Task:
    task = _TASKS.setdefault(attack.task.id, proxied(attack.task))
    assert task is not None
    return task


_ADD = proxied(TASK)
assert _ADD is not None
ADD: Task = _ADD
ATTACKS = [attack for attack in (*CORPUS, *PROXIED) if proxied(attack.task) is not None]


def problems(judged: Judged) -> str:
    """What is not as it has to be; empty where all is."""
    attack, verdict, honest = judged.attack, judged.verdict, judged.honest
    if isinstance(honest, Exception) or not honest.passed:
        return f"an honest program after it: {honest}"
    if judged.changed:
        return f"it left behind: {judged.changed}"
    if isinstance(verdict, Exception):
        return f"{type(verdict).__name__}: {verdict}"
    told = f"{verdict.status} after {verdict.seconds:.2f} s: {[t.detail for t in verdict.tests if not t.passed][:2]}"
    if verdict.tier != "proxied" or not all(test.detail.isprintable() for test in verdict.tests):
        return f"the verdict's form: {verdict}"
    if attack.id in HARMLESS:
        return ""
    if verdict.passed != (attack.outcome == "same"):
        return told
    if attack.outcome == "killed" and attack.number != 98 and verdict.seconds > LIMITS.wall_seconds + _LATE:
        # Of one run. Where a worker dies, or is full of processes, who is to blame and what is left take longer.
        return f"too late: {told}"
    if attack in PROXIED and attack.statuses and verdict.status not in attack.statuses:
        return told
    return ""


@pytest.mark.parametrize("place", [pytest.param(f"{p.values[0]}-namespaces", marks=p.marks) for p in PLACES])
async def test_no_attack_passes_and_honest_programs_go_on_passing(place: str, tmp_path: Path) -> None:
    """What is aimed at this tier, or at what lies around a run."""
    await check(place, FEW, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("place", [pytest.param(p, marks=marks_of(p)) for p in LEVELS])
async def test_no_attack_of_the_whole_corpus_passes_in_any_place(place: str, tmp_path: Path) -> None:
    """Where each run takes a container of its own to start, only what the place matters for."""
    await check(place, FEW if place == "docker-container" else ATTACKS, tmp_path)


async def check(place: str, attacks: Sequence[Attack], folder: Path) -> None:
    host = Host.watch(folder / "canary")
    try:
        judged = await judge_all(place, attacks)
        assert host.changes() == {}
    finally:
        host.close()
    assert len(judged) == len(attacks)
    found = {j.attack.id: problems(j) for j in judged if problems(j)}
    assert not found, "\n".join(f"{name}: {why}" for name, why in found.items())


@pytest.mark.parametrize("place", PLACES)
async def test_honest_programs_pass(place: str) -> None:
    async with provider_of(place) as provider:
        judge = ProxiedJudge(Runs(provider))

        async def judged(name: str) -> Verdict | Exception:
            program, files = programs[name]
            sources = {path: text.encode() for path, text in files.items()}
            tests = PytestTests(sources, oracle={"solution.py": program.encode()})
            return await outcome(judge, Task(name, (), tests, limits=ROOMY, tier="proxied"), program)

        programs = {name: (program, {"test_it.py": source}) for name, (program, source) in PROGRAMS.items()}
        programs.update({name: (RIGHT, files) for name, files in SUITES.items()})
        verdicts = dict(zip(programs, await asyncio.gather(*map(judged, programs)), strict=True))
    wrong = {name: v for name, v in verdicts.items() if isinstance(v, Exception) or not v.passed}
    assert not wrong, wrong


@pytest.mark.parametrize("place", PLACES)
async def test_no_lie_satisfies_tests_of_any_shape(place: str) -> None:
    """Of each shape, the wrong programs fail, for what they do and not by infrastructure; the right ones pass."""
    async with provider_of(place) as provider:
        judge = ProxiedJudge(Runs(provider))
        wrong: list[str] = []
        for shape in SHAPES:
            tests = PytestTests({"test_it.py": shape.tests.encode()}, oracle={"solution.py": shape.oracle.encode()})
            task = Task(shape.name, (), tests, limits=ROOMY, tier="proxied")
            programs = {**dict.fromkeys((shape.oracle, *shape.right), True), **dict.fromkeys(shape.wrong, False)}
            for program, passes in programs.items():
                verdict = await outcome(judge, task, program)
                status = verdict.status if isinstance(verdict, Verdict) else str(verdict)
                if status != ("passed" if passes else "failed"):
                    wrong.append(f"{shape.name}: {verdict}\n{program}")
    assert not wrong, "\n".join(wrong)


PLACE_MATTERS = frozenset({2, 8, 11, 13, 22, 61, 63, 66, 70, 71, 77, 78, 97, 98})
"""Numbers of attacks on the run's own place, rather than on what its frames say, which is the same in every place."""
FEW = [attack for attack in ATTACKS if attack in PROXIED or attack.number in PLACE_MATTERS]


def test_every_attack_is_tried_once() -> None:
    ids = [attack.id for attack in ATTACKS]
    assert len(set(ids)) == len(ids)
    assert {attack.id for attack in PROXIED} <= set(ids)
