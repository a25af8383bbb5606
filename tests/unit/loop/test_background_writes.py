"""What is written beside the next step: in order, at most one step behind, and no error is lost."""

from __future__ import annotations

import asyncio

import pytest

from agent_rl.loop.background_writes import BackgroundWrites


async def test_pieces_are_done_in_order_and_all_at_the_end() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def piece(name: str, wait: bool = False) -> None:
        if wait:
            await gate.wait()
        done.append(name)

    async with BackgroundWrites() as writes:
        await writes.begin(piece("record 1", wait=True))
        writes.then(piece("checkpoint 1"))
        await asyncio.sleep(0)
        assert done == [], "nobody has waited"
        asyncio.get_running_loop().call_later(0.01, gate.set)
        await writes.begin(piece("record 2"))
        assert done == ["record 1", "checkpoint 1"], "the step before is done when the next begins"
        writes.then(piece("checkpoint 2"))
    assert done == ["record 1", "checkpoint 1", "record 2", "checkpoint 2"]


async def fails() -> None:
    raise OSError("no space left on device")


async def test_an_error_leaves_out_what_follows_and_is_raised_by_the_next_step() -> None:
    done: list[str] = []

    async def mark() -> None:
        done.append("whole")

    async def two_steps() -> None:
        async with BackgroundWrites() as writes:
            await writes.begin(fails())
            writes.then(mark())
            await asyncio.sleep(0.01)
            await writes.begin(mark())

    with pytest.raises(OSError, match="no space left"):
        await two_steps()
    assert done == [], "a step that was not recorded has no whole checkpoint"


async def test_an_error_of_the_last_piece_is_raised_at_the_end() -> None:
    with pytest.raises(OSError, match="no space left"):
        async with BackgroundWrites() as writes:
            await writes.begin(fails())


async def test_the_blocks_own_error_comes_first() -> None:
    async def one_step() -> None:
        async with BackgroundWrites() as writes:
            await writes.begin(fails())
            raise ValueError("the step failed")

    with pytest.raises(ValueError, match="the step failed"):
        await one_step()
