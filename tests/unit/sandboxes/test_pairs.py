"""Two workers at once: capacity that cannot deadlock, pools of one, whose place died, and what is given back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from agent_rl.errors import SandboxError, SandboxStartError, TestsPlaceError
from agent_rl.vocabulary import Limits, PairRequest, PairResult
from agent_rl_sandboxes.paired_runs import PairedRun, talk_in_pair
from agent_rl_sandboxes.worker_pool import WorkerPool
from agent_rl_sandboxes.workers import Worker
from tests.unit.sandboxes.played import REQUEST, Farm, Play, Server, dying, frame, honest, silent, started

PAIR = PairRequest("x = 1", {"test_it.py": b"assert True"}, limits=Limits(wall_seconds=1.0))
LONG = dataclasses.replace(PAIR, limits=Limits(wall_seconds=600.0))
ASK, ANSWER, REPORT = '[0,"load"]', '[0,"return",null]', '{"done":0,"objects":[]}'


class Talking:
    """Plays both parts: the tests' run asks once, reports and ends; the program's answers, and `more` after that."""

    def __init__(self, more: bytes = b"", report: str = REPORT) -> None:
        self._more = more
        self._report = report
        self.order: list[str] = []

    async def __call__(self, server: Any, header: dict[str, Any]) -> None:
        operation = header["op"]
        if operation == "run":
            server.result(header, frame("{}"))
        elif operation == "load":
            load(server, header)
        elif operation == "talk":
            server.role = json.loads(server.body[4:])["role"]
            if server.role == "tests":
                server.send({"op": "said", "id": header["id"]}, frame(ASK))
        elif operation == "say":
            self.order.append(server.role)
            if server.role == "candidate":
                assert server.body == frame(ASK)
                server.send({"op": "said", "id": header["id"]}, frame(ANSWER))
                if self._more:
                    server.send({"op": "said", "id": header["id"]}, self._more)
            else:
                assert server.body == frame(ANSWER)
                server.result(header, frame(self._report))
        elif operation == "cancel":
            server.result(header, status="cancelled", exit_code=None, signal=9)


def load(server: Any, header: dict[str, Any]) -> None:
    server.send({"op": "loaded", "id": header["id"]})


async def dying_in_its_talk(server: Any, header: dict[str, Any]) -> None:
    if header["op"] == "load":
        load(server, header)
    else:
        await dying(server, header)


class TalkServer(Server):
    """A played worker server that keeps the last body it was sent."""

    body = b""
    role = ""

    async def write(self, data: bytes) -> None:
        header = int.from_bytes(data[:4], "big")
        self.body = data[8 + header :]
        await super().write(data)


class TalkFarm(Farm):
    async def start(self) -> Worker:
        if self.refuse_starts:
            self.refuse_starts -= 1
            raise SandboxError("no more room")
        server = TalkServer(self._plays.pop(0) if len(self._plays) > 1 else self._plays[0])
        self.servers.append(server)
        return await Worker.open(server)


async def run(pool: WorkerPool, *, fresh: bool = False) -> PairResult:
    async with asyncio.timeout(30):
        return await pool.run_pair(lambda first, second: talk_in_pair(first, second, PAIR), fresh=fresh)


def farm_of(*plays: Play) -> TalkFarm:
    return TalkFarm(*plays)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("fresh", [False, True])
async def test_a_pair_runs_in_a_pool_of_any_size(size: int, fresh: bool) -> None:
    farm = farm_of(Talking())
    pool = await started(farm, size)
    result = await run(pool, fresh=fresh)
    assert result.tests.frames == (REPORT,)
    assert (result.candidate.status, result.candidate.exit_code, result.candidate.anomalies) == ("completed", None, ())
    assert (await pool.run(REQUEST)).frames == ("{}",)
    await pool.close()
    assert farm.alive == 0


async def test_only_what_each_may_know_goes_in() -> None:
    bodies: dict[str, dict[str, Any]] = {}

    class Listening(Talking):
        async def __call__(self, server: Any, header: dict[str, Any]) -> None:
            if header["op"] == "talk":
                content = json.loads(server.body[4:])
                bodies[content["role"]] = content
            await super().__call__(server, header)

    pool = await started(farm_of(Listening()), 2)
    await run(pool)
    assert set(bodies["candidate"]) == {"role", "module", "program", "seed", "limits"}
    assert set(bodies["tests"]) == {"role", "module", "files", "tests", "objects", "seed", "limits"}
    await pool.close()


async def test_many_pairs_and_runs_wait_for_each_other_without_end() -> None:
    for size in (1, 2, 3):
        farm = farm_of(Talking())
        pool = await started(farm, size)
        async with asyncio.timeout(30):
            pairs = [run(pool, fresh=n % 3 == 0) for n in range(12)]
            await asyncio.gather(*pairs, *(pool.run(REQUEST) for _ in range(12)))
        await pool.close()
        assert farm.alive == 0


@pytest.mark.parametrize(
    ("more", "anomaly"),
    [
        (frame("[1]"), "a frame that nobody asked for"),
        (b"\0\0", "a frame that nobody asked for"),
        (b"\xff\xff\xff\xff", "a frame of wrong length"),
        (frame("x")[:-1] + b"\xff", "a frame that is not text"),
    ],
)
async def test_what_is_said_unasked_is_an_anomaly_and_costs_the_worker(more: bytes, anomaly: str) -> None:
    farm = farm_of(Talking(more))
    pool = await started(farm, 2)
    result = await run(pool)
    assert anomaly in result.candidate.anomalies
    async with asyncio.timeout(30):
        while (len(farm.servers), farm.alive) != (3, 2):
            await asyncio.sleep(0)
    await pool.close()


async def test_both_workers_have_their_roles_loaded_once_and_before_either_talk_begins() -> None:
    began: list[str] = []

    class Listening(Talking):
        async def __call__(self, server: Any, header: dict[str, Any]) -> None:
            if header["op"] in ("load", "talk"):
                began.append(header["op"])
            if header["op"] == "load":
                names = [name for name, _ in json.loads(server.body)]
                assert names[-1] == "agent_rl_sandboxes.inside.proxied_roles"
            await super().__call__(server, header)

    pool = await started(farm_of(Listening()), 2)
    for _ in range(2):
        await run(pool)
    assert began == ["load", "load", "talk", "talk", "talk", "talk"]
    await pool.close()


async def test_a_worker_that_dies_before_the_talk_is_no_programs_doing() -> None:
    for plays in ((dying, Talking()), (Talking(), dying), (dying, dying)):
        farm = farm_of(*plays)
        pool = await started(farm, 2)
        with pytest.raises(SandboxStartError, match=r"a worker died \(exit code 9\)"):
            await run(pool)
        await pool.close()
        assert farm.alive == 0


async def test_whose_place_died_is_said() -> None:
    """The first server is the program's, the second the tests'."""
    both = (dying_in_its_talk, Talking())
    for plays, tests_place in ((both, False), (both[::-1], True), ((dying_in_its_talk, dying_in_its_talk), False)):
        farm = farm_of(*plays)
        pool = await started(farm, 2)
        with pytest.raises(SandboxError, match=r"a worker died \(exit code 9\)") as caught:
            await run(pool)
        assert isinstance(caught.value, TestsPlaceError) == tests_place, plays
        async with asyncio.timeout(30):
            while farm.alive != 2 or len(farm.servers) < 4:
                await asyncio.sleep(0)
        await pool.close()


@pytest.mark.parametrize(
    ("operation", "role"), [("talk", "candidate"), ("talk", "tests"), ("say", "candidate"), ("cancel", "candidate")]
)
async def test_a_worker_that_takes_nothing_in_is_given_up(
    operation: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a paused container does not, once the pipes to it are full."""
    monkeypatch.setattr("agent_rl_sandboxes.workers.LOOK_SECONDS", 0.005)

    class Stuffed(TalkServer):
        async def write(self, data: bytes) -> None:
            if not data:  # what was written before is still on its way
                await asyncio.Event().wait()
            size = int.from_bytes(data[:4], "big")
            told, body = json.loads(data[8 : 8 + size])["op"], data[8 + size :]
            if told == operation and role == (json.loads(body[4:])["role"] if told == "talk" else self.role):
                await asyncio.Event().wait()
            await super().write(data)

    class StuffedFarm(Farm):
        async def start(self) -> Worker:
            # The third and later ones are as they should be.
            server = (Stuffed if len(self.servers) < 2 else TalkServer)(Talking())
            self.servers.append(server)
            return await Worker.open(server)

    farm = StuffedFarm(Talking())
    pool = await started(farm, 2)
    async with asyncio.timeout(20):
        with pytest.raises(SandboxError, match="a worker gave no sign of life") as caught:
            await pool.run_pair(lambda first, second: talk_in_pair(first, second, LONG))
        assert isinstance(caught.value, TestsPlaceError) == (role == "tests")
        assert (await run(pool)).tests.frames == (REPORT,)
    await pool.close()
    assert farm.alive == 0


async def test_a_cancelled_pair_gives_back_what_it_took() -> None:
    async def waiting(server: Any, header: dict[str, Any]) -> None:
        """Says nothing in a talk, and knows how to load, to run and to be cancelled."""
        if header["op"] == "load":
            load(server, header)
        elif header["op"] == "run":
            await honest(server, header)
        elif header["op"] == "cancel":
            await silent(server, header)

    for size in (1, 2):
        farm = farm_of(waiting)
        pool = await started(farm, size)
        for _ in range(3):
            pairs = [asyncio.ensure_future(run(pool)) for _ in range(3)]
            await asyncio.sleep(0.01)
            for pair in pairs:
                pair.cancel()
            await asyncio.gather(*pairs, return_exceptions=True)
        async with asyncio.timeout(30):
            await asyncio.gather(*(pool.run(REQUEST) for _ in range(4)))
        await pool.close()
        assert farm.alive == 0


async def test_the_end_of_a_talk_can_be_cancelled() -> None:
    class Lingering(TalkServer):
        async def read_exactly(self, size: int) -> bytes:
            try:
                return await super().read_exactly(size)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                raise

    async def mute(server: Any, header: dict[str, Any]) -> None:
        """Answers nothing at all."""

    worker = await Worker.open(Lingering(mute))
    talk = PairedRun(worker, {}, LONG.limits, 600.0)
    await talk.__aenter__()
    await asyncio.sleep(0)
    ending = asyncio.create_task(talk.__aexit__())
    await asyncio.sleep(0.01)
    ending.cancel()
    await asyncio.wait([ending])
    assert ending.cancelled()
    await worker.close()


async def test_a_second_worker_that_cannot_be_started_costs_nothing() -> None:
    farm = farm_of(Talking())
    pool = await started(farm, 1)
    farm.refuse_starts = 1
    with pytest.raises(SandboxError, match="no more room"):
        await run(pool)
    assert (await run(pool)).tests.frames == (REPORT,)
    await pool.close()
    assert farm.alive == 0


async def test_a_pool_that_closes_ends_its_pairs() -> None:
    async def mute(server: Any, header: dict[str, Any]) -> None:
        """Answers nothing at all."""

    farm = farm_of(mute)
    pool = await started(farm, 2)
    pairs = [asyncio.ensure_future(run(pool)) for _ in range(3)]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(30):
        await pool.close()
        outcomes = await asyncio.gather(*pairs, return_exceptions=True)
    assert all(isinstance(outcome, SandboxError) for outcome in outcomes)
    assert farm.alive == 0
