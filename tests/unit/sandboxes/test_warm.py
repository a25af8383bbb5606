"""The warm queue with places that are only counted: handed out once, alive, few at a time, and none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agent_rl.errors import SandboxError
from agent_rl_sandboxes.warm_sandboxes import WarmQueue


class Place:
    """A place that is told how it is."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.number = number
        self.is_alive: bool | None = True
        self.closed = 0

    async def alive(self) -> bool:
        await asyncio.sleep(0)
        if self.is_alive is None:
            raise SandboxError("nobody can say")
        return self.is_alive

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


class Maker:
    """Makes places in 10 ms each, and counts them: all, and the most at one moment."""

    def __init__(self) -> None:
        self.made: list[Place] = []
        self.failures = 0
        self.now = 0
        self.most = 0
        self.cancelled = 0

    async def start(self, kind: str) -> Place:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1
        if self.failures:
            self.failures -= 1
            raise SandboxError("no place")
        self.made.append(place := Place(kind, len(self.made)))
        return place

    def waiting(self) -> list[Place]:
        return [place for place in self.made if not place.closed]


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_each_place_is_handed_out_once_and_few_are_made_at_a_time() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=3, concurrent=4)
    places = await asyncio.gather(*(queue.take("a") for _ in range(40)))
    assert len({place.number for place in places}) == 40
    assert maker.most == 4
    await settled(lambda: len(maker.made) == 43)
    await queue.close()
    assert {p.number for p in maker.waiting()} == {p.number for p in places}


async def test_the_next_ones_are_there_before_they_are_asked_for() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=4)
    await queue.take("a")
    await settled(lambda: len(maker.made) == 3)
    assert (await queue.take("a")).number in (1, 2)
    assert (await queue.take("b")).kind == "b"
    await queue.close()


async def test_with_none_ahead_only_what_is_taken_is_made() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=0, concurrent=4)
    for number in range(3):
        assert (await queue.take("a")).number == number
    await asyncio.sleep(0.05)
    await queue.close()
    assert len(maker.made) == 3


@pytest.mark.parametrize("is_alive", [False, None])
async def test_one_that_died_while_it_waited_is_not_handed_out(is_alive: bool | None) -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=4)
    await queue.take("a")
    await settled(lambda: len(maker.made) == 3)
    for place in maker.made[1:]:
        place.is_alive = is_alive
    assert (await queue.take("a")).number > 2
    await settled(lambda: [p.closed for p in maker.made[1:3]] == [1, 1])
    await queue.close()


async def test_one_that_nobody_takes_is_ended_in_time_and_not_replaced() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=4, idle_seconds=0.05)
    taken = await queue.take("a")
    await settled(lambda: len(maker.made) == 3 and maker.waiting() == [taken])
    await asyncio.sleep(0.05)
    assert len(maker.made) == 3
    await queue.close()


async def test_what_has_been_taken_does_not_age() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=1, concurrent=4, idle_seconds=0.05)
    await queue.take("a")
    await settled(lambda: len(maker.made) == 2)
    second = await queue.take("a")
    await asyncio.sleep(0.1)
    assert second.number == 1
    assert not second.closed
    await queue.close()


async def test_a_failure_is_told_to_who_asked_and_one_made_ahead_is_tried_again() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=4)
    maker.failures = 3  # the one that is asked for, and both ahead of the next
    with pytest.raises(SandboxError, match="no place"):
        await queue.take("a")
    await settled(lambda: maker.failures == 0)
    assert (await queue.take("a")).number == 0
    await queue.close()


async def test_where_no_place_can_be_made_a_taker_is_told_after_one_try_of_its_own() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=1)
    await queue.take("a")
    maker.failures = 1000
    for _ in range(4):
        with pytest.raises(SandboxError, match="no place"):
            await asyncio.wait_for(queue.take("a"), 5)
    # Each taker: one that was being made ahead, one of its own, and at most two ahead of the next.
    assert maker.failures >= 1000 - 4 * 4
    await queue.close()


async def test_a_failure_ahead_costs_its_taker_nothing_but_time() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=1, concurrent=1)
    first = asyncio.create_task(queue.take("a"))
    await asyncio.sleep(0.005)  # the first is being made, the one ahead waits
    second = asyncio.create_task(queue.take("a"))
    await first
    maker.failures = 1
    assert (await second).number > 0
    assert maker.failures == 0
    await queue.close()


async def test_a_taker_that_goes_away_leaves_its_place_to_the_next_and_no_more_than_wanted() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=4)
    takers = [asyncio.create_task(queue.take("a")) for _ in range(20)]
    await asyncio.sleep(0.015)
    for taker in takers:
        taker.cancel()
    results = await asyncio.gather(*takers, return_exceptions=True)
    taken = [r for r in results if isinstance(r, Place)]
    await settled(lambda: maker.now == 0 and len(maker.waiting()) == len(taken) + 2)
    before = len(maker.made)
    assert (await queue.take("a")).number < before
    await queue.close()
    assert len(maker.waiting()) == len(taken) + 1


async def test_closing_ends_what_waits_and_what_is_on_its_way() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=2, concurrent=2)
    await queue.take("a")
    takers = [asyncio.create_task(queue.take("b")) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.close()
    for taker in takers:
        with pytest.raises(SandboxError, match="their provider is closed"):
            await taker
    with pytest.raises(SandboxError, match="their provider is closed"):
        await queue.take("a")
    await queue.close()
    assert [place.number for place in maker.waiting()] == [0]
    assert maker.now == 0


async def test_of_kinds_long_unused_none_is_kept() -> None:
    maker = Maker()
    queue = WarmQueue(maker.start, ready=1, concurrent=4)
    for kind in "abcdefghi":  # nine; eight are kept
        await queue.take(kind)
        await settled(lambda: maker.now == 0)
    await settled(lambda: len(maker.waiting()) == 9 + 8)
    assert {p.kind for p in maker.made if p.closed} == {"a"}
    await queue.close()
