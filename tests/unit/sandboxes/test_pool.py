"""The pool of workers, with worker servers played by the test: healing, capacity, closing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl_sandboxes.worker_pool import WorkerPool, check_isolation
from agent_rl_sandboxes.workers import Worker
from tests.unit.sandboxes.played import HELLO, REQUEST, Farm, Server, deaf, dying, frame, honest, silent, started


async def test_a_worker_that_dies_under_a_run_is_replaced() -> None:
    farm = Farm(dying, honest)
    pool = await started(farm)
    with pytest.raises(SandboxError, match=r"a worker died \(exit code 9\)"):
        await pool.run(REQUEST)
    assert (await pool.run(REQUEST)).frames == ("{}",)
    assert (len(farm.servers), farm.alive) == (2, 1)
    await pool.close()
    assert farm.alive == 0


async def test_workers_that_died_while_they_were_idle_are_no_runs_death() -> None:
    farm = Farm(honest)
    pool = await started(farm, 3)
    while len(farm.servers) < 3:
        await asyncio.sleep(0)
    for server in farm.servers:
        server.die()
    assert (await pool.run(REQUEST)).status == "completed"
    async with asyncio.timeout(10):  # each of the dead is replaced
        while (len(farm.servers), farm.alive) != (6, 3):
            await asyncio.sleep(0)
    await pool.close()
    assert farm.alive == 0


class Clock:
    """Notes for how long what is called later would have waited, and calls it at once."""

    def __init__(self, patch: pytest.MonkeyPatch, *, most: int) -> None:
        self.waited: list[float] = []
        self.stopped: list[Callable[[], object]] = []
        loop = asyncio.get_running_loop()
        timeouts = loop.call_at

        def call_later(delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
            self.waited.append(delay)
            if len(self.waited) > most:
                self.stopped.append(callback)
                return timeouts(loop.time() + 3600, callback)
            return timeouts(loop.time(), callback)

        patch.setattr(loop, "call_later", call_later)


async def test_workers_that_cannot_be_made_are_tried_again_until_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(honest)
    pool = await started(farm, 3)
    while len(farm.servers) < 3:
        await asyncio.sleep(0)
    clock = Clock(monkeypatch, most=100)
    # The first of three runs finds three dead workers, whose replacements fail, and its own attempt fails too.
    farm.refuse_starts = 3 + 1 + 7
    for server in farm.servers:
        server.die()
    with pytest.raises(SandboxStartError, match="no more room"):
        await pool.run(REQUEST)
    async with asyncio.timeout(10):  # nobody asks for a worker
        while farm.alive != 3:
            await asyncio.sleep(0)
    # One at a time, seven failures, and a start that goes well: the two others follow without a pause.
    assert clock.waited == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert (len(farm.servers), farm.refuse_starts) == (6, 0)
    # The next trouble begins with the shortest pause again.
    farm.refuse_starts = 1
    clock.waited.clear()
    for server in farm.servers:
        server.die()
    assert (await pool.run(REQUEST)).status == "completed"
    async with asyncio.timeout(10):
        while (farm.alive, clock.waited) != (3, [1.0]):
            await asyncio.sleep(0)
    await pool.close()
    assert farm.alive == 0


async def pool_that_lost_its_worker(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> tuple[WorkerPool, Clock]:
    """A pool whose one worker has died under a run, and is made again only when the clock says so."""
    pool = await started(farm)
    clock = Clock(monkeypatch, most=0)
    farm.refuse_starts = 1
    with pytest.raises(SandboxError, match="a worker died"):
        await pool.run(REQUEST)
    async with asyncio.timeout(10):
        while not clock.waited:
            await asyncio.sleep(0)
    return pool, clock


async def test_a_run_does_not_wait_until_a_worker_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(dying, honest)
    pool, clock = await pool_that_lost_its_worker(farm, monkeypatch)
    assert (await pool.run(REQUEST)).status == "completed"
    # What the clock brings later finds nothing missing.
    clock.stopped[0]()
    assert (await pool.run(REQUEST)).status == "completed"
    assert (len(farm.servers), farm.alive) == (2, 1)
    await pool.close()


async def test_a_closed_pool_tries_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(dying)
    pool, clock = await pool_that_lost_its_worker(farm, monkeypatch)
    await pool.close()
    clock.stopped[0]()
    await asyncio.sleep(0)
    assert (len(farm.servers), farm.alive, clock.waited) == (1, 0, [1.0])


async def test_a_worker_that_hangs_is_ended_at_the_pools_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl_sandboxes.workers.GRACE_SECONDS", 0.1 - REQUEST.longest_seconds)
    farm = Farm(deaf, honest)
    pool = await started(farm)
    with pytest.raises(SandboxError, match=r"did not answer within 0.1 s"):
        await pool.run(REQUEST)
    await asyncio.sleep(0.01)
    assert farm.servers[0].killed
    assert (await pool.run(REQUEST)).status == "completed"
    await pool.close()


async def test_a_worker_that_fails_or_answers_another_question_is_replaced() -> None:
    async def failing(server: Server, header: dict[str, Any]) -> None:
        server.send({"op": "failed", "id": header["id"], "error": "fork: EAGAIN"})

    async def confused(server: Server, header: dict[str, Any]) -> None:
        server.result({**header, "id": "other"})

    farm = Farm(failing, confused, honest)
    pool = await started(farm)
    with pytest.raises(SandboxError, match="a worker failed: fork: EAGAIN"):
        await pool.run(REQUEST)
    with pytest.raises(SandboxError, match="something else"):
        await pool.run(REQUEST)
    assert (await pool.run(REQUEST)).status == "completed"
    assert farm.alive == 1
    await pool.close()


async def test_a_worker_is_replaced_after_so_many_runs_and_after_an_anomaly() -> None:
    farm = Farm(honest)
    pool = await started(farm, recycle_after=3)
    for _ in range(7):
        await pool.run(REQUEST)
    # 3 + 3 + 1 runs.
    assert (len(farm.servers), farm.alive) == (3, 1)
    await pool.close()

    async def odd(server: Server, header: dict[str, Any]) -> None:
        server.result(header, b"PASS")

    farm = Farm(odd, honest)
    pool = await started(farm)
    assert (await pool.run(REQUEST)).anomalies
    await pool.run(REQUEST)
    assert farm.servers[0].killed
    await pool.close()


async def test_at_the_weakest_level_every_run_has_a_worker_of_its_own() -> None:
    class Weak(Farm):
        async def start(self) -> Worker:
            server = Server(honest, {**HELLO, "isolation": "container", "reasons": ["namespaces: EPERM"]})
            self.servers.append(server)
            return await Worker.open(server)

    farm = Weak(honest)
    pool = await started(farm)
    for _ in range(3):
        assert (await pool.run(REQUEST)).isolation == "container"
    await asyncio.sleep(0.01)
    # Three were used and one waits for the next run.
    assert farm.servers[2].killed
    assert sum("run" in [h["op"] for h in server.headers] for server in farm.servers) == 3
    await pool.close()
    assert farm.alive == 0


async def test_a_fresh_run_has_a_worker_for_itself() -> None:
    farm = Farm(honest)
    pool = await started(farm)
    await pool.run(REQUEST, fresh=True)
    await pool.run(REQUEST)
    await asyncio.sleep(0)
    assert [server.killed for server in farm.servers] == [False, True]
    await pool.close()


async def test_fresh_runs_find_room_beside_a_busy_pool_and_each_other() -> None:
    """One that is judged and the honest one beside it, whatever else a pool of one has to do."""
    farm = Farm(silent)
    pool = await started(farm)
    runs = [asyncio.ensure_future(pool.run(REQUEST, fresh=fresh)) for fresh in (False, False, True, True, True)]
    await asyncio.sleep(0.01)
    # Of the first two one is at work, of the last three two.
    asked = [header["op"] for server in farm.servers for header in server.headers]
    assert (len(farm.servers), asked.count("run")) == (3, 3)
    for run in runs:
        run.cancel()
    await asyncio.gather(*runs, return_exceptions=True)
    await pool.close()
    assert farm.alive == 0


async def test_a_worker_that_came_out_weaker_than_the_first_is_not_used() -> None:
    class Weakening(Farm):
        async def start(self) -> Worker:
            hello = {**HELLO, "isolation": "container", "reasons": ["namespaces: ENOSPC"]} if self.servers else HELLO
            server = Server(honest, hello)
            self.servers.append(server)
            return await Worker.open(server)

    farm = Weakening(honest)
    pool = await started(farm)
    with pytest.raises(SandboxStartError, match=r"at isolation 'container' and not 'namespaces'.*namespaces: ENOSPC"):
        await pool.run(REQUEST, fresh=True)
    assert farm.servers[1].killed
    assert (await pool.run(REQUEST)).isolation == "namespaces"
    await pool.close()


async def test_a_cancelled_run_gives_its_worker_back() -> None:
    farm = Farm(silent)
    pool = await started(farm)
    task = asyncio.ensure_future(pool.run(REQUEST))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    second = asyncio.ensure_future(pool.run(REQUEST))
    await asyncio.sleep(0.01)
    # The same worker: told to cancel the first run, then given the second.
    (server,) = farm.servers
    assert [header["op"] for header in server.headers] == ["setup", "run", "cancel", "run"]
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await pool.close()


async def test_waiting_for_a_worker_can_be_cancelled() -> None:
    farm = Farm(silent, honest)
    pool = await started(farm)
    first = asyncio.ensure_future(pool.run(REQUEST))
    waiting = asyncio.ensure_future(pool.run(REQUEST))
    await asyncio.sleep(0.01)
    waiting.cancel()
    first.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    farm.servers[0].die()
    async with asyncio.timeout(30):
        assert (await pool.run(REQUEST)).status == "completed"
    await pool.close()


async def test_closing_ends_what_runs_and_refuses_what_comes() -> None:
    farm = Farm(deaf)
    pool = await started(farm, 2)
    running = [asyncio.ensure_future(pool.run(REQUEST)) for _ in range(4)]
    await asyncio.sleep(0.01)
    await pool.close()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(outcome, SandboxError) for outcome in outcomes)
    with pytest.raises(SandboxError, match="closed"):
        await pool.run(REQUEST)
    await pool.close()
    assert farm.alive == 0


@pytest.mark.parametrize("seed", range(8))
async def test_capacity_never_leaks_whatever_goes_wrong(seed: int) -> None:
    draw = random.Random(seed)

    async def any_of(server: Server, header: dict[str, Any]) -> None:
        if header["op"] == "cancel":
            if draw.random() < 0.8:
                server.result(header, status="cancelled")
            else:
                server.die()
            return
        await asyncio.sleep(draw.random() * 0.004)
        choice = draw.random()
        if choice < 0.6:
            server.result(header, frame("{}"))
        elif choice < 0.75:
            server.die()
        elif choice < 0.9:
            server.send({"op": "failed", "id": header["id"], "error": "odd"})
        else:
            server.result(header, b"odd")

    size = 3
    farm = Farm(any_of)
    pool = await started(farm, size, recycle_after=5)

    async def one() -> None:
        await asyncio.sleep(draw.random() * 0.03)
        if draw.random() < 0.05:
            farm.refuse_starts += 1
        task = asyncio.ensure_future(pool.run(REQUEST, fresh=draw.random() < 0.2))
        if draw.random() < 0.3:
            await asyncio.sleep(draw.random() * 0.01)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with asyncio.timeout(20):
        await asyncio.gather(*(one() for _ in range(200)))
        farm.refuse_starts = 0
        # All of the capacity is there: `size` runs are under way at once.
        together = [asyncio.ensure_future(pool.run(REQUEST)) for _ in range(size)]
        await asyncio.gather(*together, return_exceptions=True)
        await pool.close()
    assert farm.alive == 0


def test_too_weak_a_level_is_refused_with_the_reasons() -> None:
    check_isolation("uid", "uid", ())
    check_isolation("namespaces", "container", ())
    with pytest.raises(SandboxError, match=r"minimum_isolation = 'namespaces'.* only 'uid' \(namespaces: EPERM\)"):
        check_isolation("uid", "namespaces", ("namespaces: EPERM",))
