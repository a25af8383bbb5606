"""Honest but unusual solutions, judged in each kind of sandbox and at each level of isolation: all pass."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import Submission, Verdict
from tests.attacks.honest import HONEST_PROGRAMS, Honest
from tests.attacks.judging import WORKERS
from tests.attacks.places import LEVELS, level_of, marks_of, provider_in, skip_where_levels_cannot_be_had

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

PLACES = [pytest.param(place, marks=marks_of(place)) for place in LEVELS]
Tried = tuple[str, dict[str, Verdict]]


async def _judge(provider: SandboxProvider, waiting: list[Honest], found: dict[str, Verdict]) -> None:
    verifier = TaskVerifier(provider, cache_size=0)
    while waiting:
        program = waiting.pop(0)
        found[program.name] = await verifier.judge(program.task, Submission.code(program.program))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def tried(request: pytest.FixtureRequest) -> Tried:
    """The place, and the verdict on each program whose test was selected."""
    place: str = request.param
    await skip_where_levels_cannot_be_had(place)
    chosen: list[Honest] = []
    for item in request.session.items:
        params: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("tried") == place and "program" in params and not item.get_closest_marker("skip"):
            chosen.append(params["program"])
    found: dict[str, Verdict] = {}
    async with contextlib.AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(provider_in(place)) for _ in range(min(WORKERS, len(chosen)))]
        await asyncio.gather(*(_judge(provider, chosen, found) for provider in providers))
    return place, found


@pytest.mark.parametrize("program", HONEST_PROGRAMS, ids=lambda program: program.name)
async def test_an_honest_program_passes(tried: Tried, program: Honest) -> None:
    place, found = tried
    verdict = found[program.name]
    assert verdict.passed, f"{verdict.status}: {[t.detail for t in verdict.tests if t.detail]}"
    assert verdict.isolation == level_of(place)


async def test_there_are_enough_of_them() -> None:
    assert len({program.name for program in HONEST_PROGRAMS}) == len(HONEST_PROGRAMS) >= 60
