"""Workers that say nothing, say that they live, or take long to take something in: which of them are given up."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from agent_rl.errors import SandboxError, TestsPlaceError
from agent_rl.vocabulary import Limits, PairRequest
from agent_rl_sandboxes import workers
from agent_rl_sandboxes.paired_runs import talk_in_pair
from agent_rl_sandboxes.workers import Worker
from tests.unit.sandboxes.played import REQUEST, Play, Server, deaf

LIMITS = Limits(wall_seconds=600.0)
LONG = dataclasses.replace(REQUEST, limits=LIMITS)
PAIR = PairRequest("x = 1", {"test_it.py": b"assert True"}, limits=LIMITS)
LOOK = 0.02
SILENT = f"gave no sign of life for {LOOK * workers.SILENT_LOOKS:g} s"


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK_SECONDS", LOOK)


def living(looks: float, *, then: str = "run") -> Play:
    """Gives a sign of life every second look, for so many looks; then answers the run, or `then` nothing more."""

    async def play(server: Server, header: dict[str, Any]) -> None:
        if header["op"] == "load":
            server.send({"op": "loaded", "id": header["id"]})
            return
        if header["op"] == "cancel":
            server.result(header, status="cancelled", exit_code=None, signal=9)
        if header["op"] not in ("run", "talk"):
            return
        for _ in range(round(looks / 2)):
            await asyncio.sleep(2 * LOOK)
            server.send({"op": "alive", "id": header["id"], "seconds": 7.25})
        if then == "run":
            server.result(header)

    return play


async def test_a_worker_that_gives_signs_of_life_is_waited_for_and_one_that_says_nothing_is_not() -> None:
    waited = await (await Worker.open(Server(living(2 * workers.SILENT_LOOKS)))).run(LONG)
    assert waited.status == "completed"
    async with asyncio.timeout(30):
        with pytest.raises(SandboxError, match=rf"{SILENT} \(.* its run had used 0.0 s\)"):
            await (await Worker.open(Server(deaf))).run(LONG)
        with pytest.raises(SandboxError, match=rf"{SILENT} \(.* its run had used 7.2 s\)"):
            await (await Worker.open(Server(living(4, then="silence")))).run(LONG)


async def test_a_sign_of_life_is_no_answer_to_another_question() -> None:
    async def confused(server: Server, header: dict[str, Any]) -> None:
        server.send({"op": "alive", "id": "other", "seconds": 1.0})

    with pytest.raises(SandboxError, match="something else"):
        await (await Worker.open(Server(confused))).run(LONG)


async def test_a_run_that_was_cancelled_may_have_given_signs_of_life_since() -> None:
    async def play(server: Server, header: dict[str, Any]) -> None:
        if header["op"] == "cancel":
            server.send({"op": "alive", "id": header["id"], "seconds": 1.0})
            server.result(header, status="cancelled")

    worker = await Worker.open(Server(play))
    running = asyncio.create_task(worker.run(LONG))
    await asyncio.sleep(LOOK)
    running.cancel()
    await asyncio.wait([running])
    assert await worker.settle()


@pytest.mark.parametrize("silent", ["candidate", "tests"])
async def test_of_two_workers_the_one_that_says_nothing_is_told_apart(silent: str) -> None:
    """Both are in the middle of a talk; the other one gives signs of life."""
    roles = {"candidate": living(200, then="silence"), "tests": living(200, then="silence")}
    roles[silent] = living(4, then="silence")
    first, second = [await Worker.open(Server(roles[role])) for role in ("candidate", "tests")]
    async with asyncio.timeout(30):
        with pytest.raises(SandboxError, match=rf"{SILENT} .* had used 7.2 s") as caught:
            await talk_in_pair(first, second, PAIR)
    assert isinstance(caught.value, TestsPlaceError) == (silent == "tests")


class SlowToTake(Server):
    """Takes in what it is told within so many looks; answers at once after that."""

    def __init__(self, looks: float) -> None:
        super().__init__(deaf)
        self._seconds = looks * LOOK
        self._taken: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        if data and self._taken is None:
            await super().write(data)
            self._taken = asyncio.create_task(asyncio.sleep(0))
        elif data:
            header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:4], "big")])
            self._taken = asyncio.create_task(self._take(lambda: self.result(header)))
        assert self._taken is not None
        await asyncio.shield(self._taken)

    async def _take(self, then: Callable[[], None]) -> None:
        await asyncio.sleep(self._seconds)
        then()


async def test_a_long_message_may_take_longer() -> None:
    long = dataclasses.replace(LONG, program="#" * (40 << 20))
    slow = workers.SILENT_LOOKS + 10
    assert (await (await Worker.open(SlowToTake(slow))).run(long)).status == "completed"
    with pytest.raises(SandboxError, match="gave no sign of life"):
        await (await Worker.open(SlowToTake(slow))).run(LONG)
    assert (await (await Worker.open(SlowToTake(2))).run(LONG)).status == "completed"
