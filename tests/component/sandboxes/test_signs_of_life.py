"""What a real worker server says while a run goes on, and what becomes of one that is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_rl.errors import SandboxError
from agent_rl.testing.contracts.sandbox_contract import ADD, PASSED, pair, reports, request, values
from agent_rl.vocabulary import Limits
from agent_rl_sandboxes import workers
from agent_rl_sandboxes.local_channel import LocalChannel
from agent_rl_sandboxes.paired_runs import talk_in_pair
from agent_rl_sandboxes.workers import Worker, WorkerSetup, worker_command
from tests.component.sandboxes.providers_by_level import NOTHING, Refusal

pytestmark = pytest.mark.local_sandbox
LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60.0)
SLEEPS = "import time\ndef add(a, b):\n    time.sleep({})\n    return a + b"


class Heard:
    """A worker server's channel, and the kinds of frames that came through it."""

    def __init__(self, channel: LocalChannel) -> None:
        self._channel = channel
        self._size: int | None = None
        self.frames: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def read_exactly(self, size: int) -> bytes:
        data = await self._channel.read_exactly(size)
        if self._size is None:
            self._size = struct.unpack(">II", data)[0]
        else:
            self.frames.append(json.loads(data[: self._size])["op"])
            self._size = None
        return data


@contextlib.asynccontextmanager
async def opened(refusal: Refusal = NOTHING, *, before: tuple[str, ...] = ()) -> AsyncIterator[tuple[Worker, Heard]]:
    channel = Heard(await LocalChannel.start([*before, *refusal.before(worker_command("/usr/bin/python3"))]))
    worker = await Worker.open(channel, WorkerSetup(fall_back=bool(before)))
    try:
        yield worker, channel
    finally:
        await worker.close()


async def test_a_short_run_gives_no_sign_of_life_and_a_longer_one_gives_one_a_second() -> None:
    async with opened() as (worker, heard):
        assert values(await worker.run(request(ADD, (1, 2), limits=LIMITS))) == [3]
        assert heard.frames == ["hello", "result"]
        heard.frames.clear()
        began = time.monotonic()
        assert values(await worker.run(request(SLEEPS.format(2.5), (1, 2), limits=LIMITS))) == [3]
        signs = heard.frames.count("alive")
        assert 2 <= signs <= time.monotonic() - began
        assert heard.frames == ["alive"] * signs + ["result"]
        assert values(await worker.run(request(ADD, (1, 2), limits=LIMITS))) == [3]


async def test_a_host_that_is_late_itself_blames_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks once in one and a half seconds: each look is much too late, and finds what has come since."""
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(workers, "SILENT_LOOKS", 2)
    async with opened() as (worker, heard):
        running = asyncio.create_task(worker.run(request(SLEEPS.format(2.5), (1, 2), limits=LIMITS)))
        while not running.done():
            for _ in range(5):
                await asyncio.sleep(0)
            time.sleep(1.5)
        assert values(await running) == [3]
        assert heard.frames.count("alive") >= 2


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "for ever"])
async def test_a_run_that_stops_its_server_is_soon_over(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without namespaces it can. The server goes on by itself; one that is kept from that is given up."""
    unprivileged = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ("env",)
    stop = "import os, signal\nserver = os.getppid()\ndef add(a, b):\n    os.kill(server, signal.SIGSTOP)\n"
    refusal = Refusal({"unshare": errno.EPERM}, namespaces=errno.EPERM)
    async with opened(refusal, before=unprivileged) as (worker, _), asyncio.timeout(30):
        assert worker.isolation == "container"
        if again:
            monkeypatch.setattr(workers, "LOOK_SECONDS", 0.2)
            for_ever = f"import os\nos.fork()\n{stop}    while True:\n        os.kill(server, signal.SIGSTOP)"
            with pytest.raises(SandboxError, match="gave no sign of life for 4 s"):
                raise AssertionError(await worker.run(request(for_ever, (1, 2), limits=LIMITS)))
        else:
            assert values(await worker.run(request(stop + "    return a + b", (1, 2), limits=LIMITS))) == [3]


@pytest.mark.slow
async def test_workers_that_are_stopped_from_outside_are_given_up_in_seconds() -> None:
    """In a run, in a talk, and while idle; the limits would leave each of them hours."""
    hours = Limits(wall_seconds=3600.0, cpu_seconds=3600.0)

    async def stopped(work: Any, *channels: Heard) -> float:
        """Seconds until `work`, begun a moment before its workers are stopped, has failed."""
        task = asyncio.ensure_future(work)
        await asyncio.sleep(1.5)
        began = time.monotonic()
        for channel in channels:
            os.kill(_server(channel), signal.SIGSTOP)
        with pytest.raises(SandboxError, match=f"gave no sign of life for {workers.SILENT_LOOKS} s"):
            await task
        return time.monotonic() - began

    async with opened() as (first, a), opened() as (second, b), opened() as (third, c), opened() as (fourth, d):
        assert reports(await talk_in_pair(first, second, pair()))[0] == PASSED
        os.kill(_server(d), signal.SIGSTOP)
        slow = pair("import time\ntime.sleep(3000)", limits=hours)
        run = request(SLEEPS.format(3000), (1, 2), limits=hours)
        waited = await asyncio.gather(
            stopped(talk_in_pair(first, second, slow), a, b), stopped(third.run(run), c), stopped(fourth.run(run))
        )
        assert max(waited) < workers.SILENT_LOOKS + 15, waited


def _server(channel: Heard) -> int:
    """The worker server itself: pid 1 of its namespaces, the only child of the process that was started."""
    started = channel._process.pid
    with open(f"/proc/{started}/task/{started}/children") as file:
        return int(file.read())
