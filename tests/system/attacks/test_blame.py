"""Who is to blame, for real: places are killed from outside in the middle of a judging."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import docker.errors
import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, PytestTests, Submission, Task
from tests.component.places import PLACES, provider_of
from tests.system.attacks.corpus import SUMS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

TASK = Task("add", (), CallTests("add", tuple(Case((a, b), a + b) for a, b in SUMS)))
SLOW = "import time\ntime.sleep(1)\ndef add(a, b):\n    return a + b\n"
SLOW_AND_WRONG = SLOW.replace("a + b", "a - b - 1")


def children() -> set[int]:
    """The processes that this one started."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
        except (OSError, IndexError):
            continue
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[SandboxProvider, Callable[[], int]]]:
    """A provider, and what kills all of its places, from outside, and says how many."""
    mine = children()

    def kill_processes() -> int:
        pids = children() - mine
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def kill_containers() -> int:
        label = f"agent-rl.owner={provider.owner.label()}"  # pyright: ignore[reportAttributeAccessIssue]
        client = docker.from_env()
        try:
            # One call, not one more for each: none may live long enough to answer between two rounds.
            found = [container["Id"] for container in client.api.containers(quiet=True, filters={"label": label})]

            def end(container: str) -> None:
                with contextlib.suppress(docker.errors.APIError):  # it has just ended by itself
                    client.api.kill(container)

            # At once: a run that moves on to a place that is killed a moment later has been killed twice.
            with ThreadPoolExecutor(max_workers=8) as threads:
                list(threads.map(end, found))
            return len(found)
        finally:
            client.close()

    async with provider_of(request.param) as provider:
        yield provider, kill_processes if request.param == "local" else kill_containers


@pytest.mark.parametrize(("program", "passed"), [(SLOW, True), (SLOW_AND_WRONG, False)], ids=["right", "wrong"])
async def test_a_place_that_is_killed_once_changes_no_verdict(
    place: tuple[SandboxProvider, Callable[[], int]], program: str, passed: bool
) -> None:
    provider, kill = place
    judging = asyncio.create_task(TaskVerifier(provider).judge(TASK, Submission.code(program)))
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(kill) > 0
    verdict = await judging
    assert (verdict.passed, verdict.status) == (passed, "passed" if passed else "failed"), verdict


async def test_places_that_died_before_the_judging_are_not_its_programs_doing(
    place: tuple[SandboxProvider, Callable[[], int]],
) -> None:
    provider, kill = place
    assert await asyncio.to_thread(kill) > 0
    await asyncio.sleep(0.5)
    verifier = TaskVerifier(provider)
    judging = asyncio.create_task(verifier.judge(TASK, Submission.code(SLOW)))
    await asyncio.sleep(0.5)
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(kill):  # on a busy machine its new place is still on its way
            await asyncio.sleep(0.1)
    verdict = await judging
    assert (verdict.passed, verdict.status) == (True, "passed"), verdict


@contextlib.asynccontextmanager
async def always_killed(kill: Callable[[], int]) -> AsyncIterator[None]:
    """Whatever place begins is killed, again and again."""
    stop = asyncio.Event()

    async def killing() -> None:
        while not stop.is_set():
            await asyncio.to_thread(kill)
            await asyncio.sleep(0.002)

    killer = asyncio.create_task(killing())
    try:
        yield
    finally:
        stop.set()
        await killer


async def test_places_that_are_always_killed_are_an_infrastructure_failure(
    place: tuple[SandboxProvider, Callable[[], int]],
) -> None:
    provider, kill = place
    async with always_killed(kill):
        with pytest.raises(SandboxError, match="this program did not cause it"):
            await TaskVerifier(provider, retries=1).judge(TASK, Submission.code(SLOW))
    assert (await TaskVerifier(provider).judge(TASK, Submission.code(SLOW))).passed


PAIRED_TESTS = PytestTests(
    {"test_it.py": b"import solution\ndef test_it():\n    assert solution.add(2, 3) == 5\n"}, ("test_it.py::test_it",)
)
PAIRED = Task("add", (), PAIRED_TESTS, tier="proxied")


async def test_a_pair_of_places_that_is_killed_once_changes_no_verdict(
    place: tuple[SandboxProvider, Callable[[], int]],
) -> None:
    provider, kill = place
    judge = ProxiedJudge(Runs(provider))
    judging = asyncio.create_task(judge.judge(PAIRED, PAIRED_TESTS, Submission.code(SLOW), public=False))
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(kill) > 0
    verdict = await judging
    assert (verdict.passed, verdict.status) == (True, "passed"), verdict


async def test_pairs_of_places_that_are_always_killed_are_an_infrastructure_failure(
    place: tuple[SandboxProvider, Callable[[], int]],
) -> None:
    provider, kill = place
    judge = ProxiedJudge(Runs(provider, retries=1))
    async with always_killed(kill):
        with pytest.raises(SandboxError, match="this program did not cause it"):
            await judge.judge(PAIRED, PAIRED_TESTS, Submission.code(SLOW), public=False)
    assert (await judge.judge(PAIRED, PAIRED_TESTS, Submission.code(SLOW), public=False)).passed
