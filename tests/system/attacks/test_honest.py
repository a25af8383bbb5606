"""Honest but unusual solutions, judged in each kind of sandbox and at each level of isolation: none is refused.

Where each run has a container of its own, only `make full` tries them all: honest programs among the attacks of
`test_attacks.py`, and one after them, pass there too. `make full` also tries them on a machine with too few cores.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.component.places import LEVELS, level_of, marks_of, skip_where_levels_cannot_be_had
from tests.system.attacks.honest import FAMILIES, HONEST_PROGRAMS
from tests.system.attacks.honest.judging import refused

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

WORKERS = 3
BUSY_LOOPS = 4
_LOOP = "import time\nend = time.monotonic() + 900\nwhile time.monotonic() < end:\n    pass\n"
"""It stops by itself, should nobody stop it."""


def _marks(place: str) -> list[pytest.MarkDecorator]:
    only = [pytest.mark.full] if level_of(place) == "container" else []
    return [*marks_of(place), *only, pytest.mark.xdist_group(f"honest-{place}")]


PLACES = [pytest.param(place, marks=_marks(place), id=place) for place in LEVELS]


@pytest.fixture(scope="module", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was found out about tasks by earlier runs is not used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENT_RL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def wrong(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of each program that the place refuses, why."""
    place: str = request.param
    await skip_where_levels_cannot_be_had(place)
    return await refused(place, HONEST_PROGRAMS, workers=WORKERS)


@pytest.mark.parametrize("family", FAMILIES)
async def test_honest_programs_pass(wrong: dict[str, str], family: str) -> None:
    found = [f"{program.name}: {wrong[program.name]}" for program in FAMILIES[family] if program.name in wrong]
    assert not found, "\n".join(found)


async def test_there_are_enough_of_them() -> None:
    assert len(HONEST_PROGRAMS) >= 300
    assert len({program.name for program in HONEST_PROGRAMS}) == len(HONEST_PROGRAMS)
    # One program may solve several tasks, as its values may be compared in several ways; it counts once.
    assert len({program.program for program in HONEST_PROGRAMS}) >= 300


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("place", [p for p in PLACES if p.id in ("local-namespaces", "docker-namespaces")])
async def test_honest_programs_pass_on_a_machine_with_too_few_cores(place: str) -> None:
    """With busy loops beside, and three runs at a time for each core."""
    await skip_where_levels_cannot_be_had(place)
    with _busy_loops():
        found = await refused(place, HONEST_PROGRAMS, workers=3 * (os.cpu_count() or 1))
    assert not found, "\n".join(f"{name}: {why}" for name, why in found.items())


@contextlib.contextmanager
def _busy_loops() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", _LOOP], cwd=Path("/")) for _ in range(BUSY_LOOPS)]
    try:
        yield
        assert all(loop.poll() is None for loop in loops), "a busy loop had ended before the judging"
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
