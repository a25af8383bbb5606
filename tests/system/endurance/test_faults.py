"""What can befall a worker: it is paused from outside, or its program takes all memory or all disk. It heals; nobody
waits for ever; and only what a program did itself is held against it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import docker
import docker.errors
import pytest
import pytest_asyncio

from agent_rl.contracts import SandboxProvider
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Case, Limits, Submission, Task
from agent_rl_sandboxes.docker_engine import Endpoint, client
from agent_rl_sandboxes.resource_owner import LABEL
from tests.component.places import PLACES, provider_of
from tests.component.sandboxes.inventory import descendants
from tests.system.attacks.corpus import SUMS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200), pytest.mark.slow]

MIB = 2**20
LIMITS = Limits(wall_seconds=3.0, cpu_seconds=3.0, memory_bytes=256 * MIB, disk_bytes=32 * MIB)
TASK = Task("add", (), CallTests("add", tuple(Case((a, b), a + b) for a, b in SUMS)), limits=LIMITS)
SLOW = "import time\ntime.sleep(1)\ndef add(a, b):\n    return a + b\n"
SLOW_AND_WRONG = SLOW.replace("a + b", "a - b - 1")
ROOMY = dataclasses.replace(TASK, limits=dataclasses.replace(LIMITS, wall_seconds=30.0, cpu_seconds=30.0))
Freeze = Callable[[], list[str]]


def submitted(program: str) -> Submission:
    """The program, made another by the moment, so that no verdict of it is known."""
    return Submission.code(f"{program}\n# {time.monotonic_ns()}\n")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[tuple[SandboxProvider, Freeze]]:
    """A provider with two workers, and what stops both from outside, once they are there, and says what that was."""
    mine = {pid for pid, _ in descendants(os.getpid())}
    async with provider_of(request.param) as provider:

        def stop_processes() -> list[str]:
            pids = {pid for pid, _ in descendants(os.getpid())} - mine
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):  # a run's that has just ended
                    os.kill(pid, signal.SIGSTOP)
            return [str(pid) for pid in pids]

        def pause_containers() -> list[str]:
            api = client(Endpoint.find())
            try:
                found = [c["Id"] for c in api.containers(filters={**_of(provider), "status": "running"})]
                # One that is paused while a program is started in it is stuck in the daemon for good (Docker 20.10).
                if not all(_serves(api, identifier) for identifier in found):
                    return []
                for identifier in found:
                    with contextlib.suppress(docker.errors.APIError):  # it has just ended by itself
                        api.pause(identifier)
                return found
            finally:
                api.close()

        yield provider, stop_processes if request.param == "local" else pause_containers


def _serves(api: docker.APIClient, identifier: str) -> bool:
    """Whether the worker server in the container has started, and has made the process of the next run."""
    try:
        lines = [" ".join(row[7:]) for row in api.top(identifier)["Processes"] or ()]
    except docker.errors.APIError:
        return False
    return sum(line.startswith("python3") for line in lines) >= 3


def _of(provider: SandboxProvider) -> dict[str, str]:
    return {"label": f"{LABEL}={provider.owner.label()}"}  # pyright: ignore[reportAttributeAccessIssue]


def _is_there(provider: SandboxProvider, name: str) -> bool:
    """Whether what was stopped is still there."""
    if provider.name == "local":
        return Path(f"/proc/{name}").exists()
    api = client(Endpoint.find())
    try:
        return bool(api.containers(all=True, filters={"id": name}))
    finally:
        api.close()


async def test_workers_that_are_stopped_change_no_verdict_and_are_replaced(
    place: tuple[SandboxProvider, Freeze],
) -> None:
    """Those at work are given up once they give no sign of life, idle ones when they are asked and give none."""
    provider, freeze = place
    verifier = TaskVerifier(provider, cache_size=0)

    async def both() -> list[tuple[bool, str]]:
        judgings = (verifier.judge(TASK, submitted(program)) for program in (SLOW, SLOW_AND_WRONG))
        return [(v.passed, v.status) for v in await asyncio.wait_for(asyncio.gather(*judgings), 60)]

    async def stop() -> list[str]:
        async with asyncio.timeout(60):
            while not (stopped := await asyncio.to_thread(freeze)):
                await asyncio.sleep(0.1)  # a new worker is on its way
        return stopped

    right_and_wrong = [(True, "passed"), (False, "failed")]
    at_work = asyncio.create_task(both())
    await asyncio.sleep(0.5)
    stopped = await stop()
    assert await at_work == right_and_wrong
    stopped += await stop()
    assert await both() == right_and_wrong
    async with asyncio.timeout(60):
        while await asyncio.to_thread(lambda: any(_is_there(provider, name) for name in stopped)):
            await asyncio.sleep(0.1)
    assert await both() == right_and_wrong


ALL_MEMORY = """
import os
for _ in range(20):
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(bytearray(b"x") * (1 << 20))
def add(a, b):
    while True:
        pass
"""
ALL_DISK = """
import os
written = 0
for folder in (".", "/tmp", "/var/tmp", "/dev/shm"):
    try:
        with open(os.path.join(folder, "filler"), "wb") as file:
            while True:
                written += file.write(b"x" * (1 << 20))
    except OSError:
        pass
def add(a, b):
    return a + b if written >= 24 << 20 else written
"""
USES_BOTH = """
kept = bytearray(b"x") * (128 << 20)
with open("file", "wb") as file:
    file.write(b"x" * (24 << 20))
def add(a, b):
    return a + b
"""


@pytest.mark.parametrize(("program", "passed"), [(ALL_MEMORY, False), (ALL_DISK, True)], ids=["memory", "disk"])
async def test_a_program_that_takes_everything_is_judged_by_itself_and_the_next_has_everything(
    place: tuple[SandboxProvider, Freeze], program: str, passed: bool
) -> None:
    """Neither is dropped (the bomb fails, who fills the disk and then answers right passes), nor felt afterwards."""
    provider, _ = place
    verifier = TaskVerifier(provider, cache_size=0)
    task = ROOMY if passed else TASK
    verdict = await asyncio.wait_for(verifier.judge(task, submitted(program)), 120)
    assert verdict.passed == passed, verdict
    after = await asyncio.gather(*(verifier.judge(ROOMY, submitted(USES_BOTH)) for _ in range(2)))
    assert [v.status for v in after] == ["passed", "passed"], after
