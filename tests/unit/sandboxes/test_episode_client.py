"""The outer side of an episode's server, with a server that is played."""

from __future__ import annotations

import asyncio
import struct

import pytest

from agent_rl_sandboxes import episode_client
from agent_rl_sandboxes.episode_client import EpisodeClient, ServerGone


class Server:
    """Says hello, and then `answer` to the first command."""

    def __init__(self, answer: str) -> None:
        self._answer = answer
        self._said = asyncio.StreamReader()
        self._say('{"id": 0}')
        self.closed = False

    def _say(self, text: str) -> None:
        self._said.feed_data(struct.pack(">II", len(text), 0) + text.encode())

    async def write(self, data: bytes) -> None:
        self._say(self._answer)

    async def read_exactly(self, size: int) -> bytes:
        return await self._said.readexactly(size)

    def close(self) -> None:
        self.closed = True


class Stopped(Server):
    """Reads nothing, as one does that its own commands have stopped."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.asked = asyncio.Event()

    async def write(self, data: bytes) -> None:
        self.asked.set()
        await asyncio.Event().wait()


ANSWER = (
    '{"id": 1, "status": "completed", "exit_code": 0, "seconds": 0.5, "truncated": false, "stdout": 0, "cpu": 0.25, '
    '"waited": null}'
)


async def test_what_no_command_can_have_done_is_no_answer() -> None:
    """The server runs as the commands' user: what it says may be theirs, and must not upset whoever hands it on."""
    client = EpisodeClient(Server(ANSWER), output_bytes=1000)
    assert (await client.exec(["true"], b"", 5.0, {})).seconds == 0.5
    await client.close()
    for said, other in (
        ("0.5", "NaN"),
        ("0.5", "Infinity"),
        ("0.5", "-0.5"),
        ("0.5", "1"),
        (": 0,", ": 256,"),
        (": 0,", ": -1,"),
        (": 0,", ": true,"),
        (": 0,", ": null,"),
        ("completed", "perfect"),
        ("false", "0"),
        ("0.25", "null"),
        ("0.25", "-0.25"),
        ('"waited": null', '"waited": "long"'),
    ):
        client = EpisodeClient(Server(ANSWER.replace(said, other, 1)), output_bytes=1000)
        with pytest.raises(ServerGone, match="an answer that is none"):
            await client.exec(["true"], b"", 5.0, {})
        await client.close()


async def test_a_command_can_be_cancelled_where_the_server_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_client, "_GRACE_SECONDS", 0.05)
    client = EpisodeClient(channel := Stopped(ANSWER), output_bytes=1000)
    await client.hello(5.0)
    running = asyncio.create_task(client.exec(["cat"], b"x", 600.0, {}))
    await channel.asked.wait()
    running.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([running])
    assert running.cancelled()
    # It is of no more use: whoever asks next is told at once, and starts another.
    assert client.gone
    assert channel.closed
    with pytest.raises(ServerGone, match="it does not read"):
        await client.exec(["true"], b"", 600.0, {})
    await client.close()


async def test_an_answer_that_can_be_read_counts_however_late_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is late itself: the answer came in time, and it looks only after that."""
    monkeypatch.setattr(episode_client, "_GRACE_SECONDS", 0.0)
    client = EpisodeClient(Server(ANSWER), output_bytes=1000)
    await client.hello(5.0)
    assert (await client.exec(["true"], b"", 0.0, {})).seconds == 0.5
    await client.close()


async def test_closing_can_be_cancelled() -> None:
    class Lingering(Server):
        async def read_exactly(self, size: int) -> bytes:
            try:
                return await super().read_exactly(size)
            finally:
                await asyncio.sleep(0.05)

    client = EpisodeClient(Lingering(ANSWER), output_bytes=1000)
    await client.hello(5.0)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    await client.close()
