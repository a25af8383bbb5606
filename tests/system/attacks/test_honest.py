"""Honest but unusual solutions, judged in each kind of sandbox and at each level of isolation: all pass.

Where each run has a container of its own, only `make full` tries them all: honest programs among the attacks of
`test_attacks.py`, and one after them, pass there too.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Submission, Verdict
from tests.component.places import LEVELS, level_of, marks_of, provider_in, skip_where_levels_cannot_be_had
from tests.system.attacks.honest import FAMILIES, HONEST_PROGRAMS, Honest
from tests.system.attacks.judging import WORKERS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


def _marks(place: str) -> list[pytest.MarkDecorator]:
    only = [pytest.mark.full] if level_of(place) == "container" else []
    return [*marks_of(place), *only, pytest.mark.xdist_group(f"honest-{place}")]


PLACES = [pytest.param(place, marks=_marks(place), id=place) for place in LEVELS]
Tried = tuple[str, dict[str, Verdict]]


async def _judge(provider: SandboxProvider, waiting: list[Honest], found: dict[str, Verdict]) -> None:
    verifier = TaskVerifier(provider, cache_size=0)
    while waiting:
        program = waiting.pop(0)
        found[program.name] = await verifier.judge(program.task, Submission.code(program.program))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def tried(request: pytest.FixtureRequest) -> Tried:
    """The place, and the verdict on each program there."""
    place: str = request.param
    await skip_where_levels_cannot_be_had(place)
    waiting, found = list(HONEST_PROGRAMS), dict[str, Verdict]()
    async with contextlib.AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(provider_in(place)) for _ in range(WORKERS)]
        await asyncio.gather(*(_judge(provider, waiting, found) for provider in providers))
    return place, found


@pytest.mark.parametrize("family", FAMILIES)
async def test_honest_programs_pass(tried: Tried, family: str) -> None:
    place, found = tried
    wrong: list[str] = []
    for program in FAMILIES[family]:
        verdict = found[program.name]
        if not verdict.passed or verdict.isolation != level_of(place):
            details = [t.detail for t in verdict.tests if t.detail]
            wrong.append(f"{program.name}: {verdict.status} at level {verdict.isolation}: {details}")
    assert not wrong, "\n".join(wrong)


async def test_there_are_enough_of_them() -> None:
    assert len({program.name for program in HONEST_PROGRAMS}) == len(HONEST_PROGRAMS) >= 60
