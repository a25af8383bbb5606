"""The outer side of an episode's server, with a server that is played."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from agent_rl_sandboxes import episodes
from agent_rl_sandboxes.episodes import EpisodeClient, ServerGone


class Stopped:
    """A server that says hello and then reads nothing, as one does that its own commands have stopped."""

    def __init__(self) -> None:
        text = json.dumps({"id": 0}).encode()
        self._said = asyncio.StreamReader()
        self._said.feed_data(struct.pack(">II", len(text), 0) + text)
        self.closed = False

    async def write(self, data: bytes) -> None:
        await asyncio.Event().wait()

    async def read_exactly(self, size: int) -> bytes:
        return await self._said.readexactly(size)

    def close(self) -> None:
        self.closed = True


async def test_a_command_can_be_cancelled_where_the_server_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "_GRACE_SECONDS", 0.05)
    client = EpisodeClient(channel := Stopped(), output_bytes=1000)
    await client.hello(5.0)
    running = asyncio.create_task(client.exec(["cat"], b"x", 600.0, {}))
    await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([running])
    assert running.cancelled()
    # It is of no more use: whoever asks next is told at once, and starts another.
    assert client.gone
    assert channel.closed
    with pytest.raises(ServerGone, match="it does not read"):
        await client.exec(["true"], b"", 600.0, {})
    await client.close()
