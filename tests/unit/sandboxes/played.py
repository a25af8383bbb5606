"""Worker servers played by a test, and a farm that starts them."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from agent_rl.errors import SandboxError
from agent_rl.vocabulary import Limits, RunCall, RunRequest
from agent_rl_sandboxes.worker_pool import WorkerPool
from agent_rl_sandboxes.workers import Worker

HELLO = {
    "op": "hello",
    "protocol": 1,
    "isolation": "namespaces",
    "reasons": [],
    "python": "3.11.2",
    "memory": "resident memory",
    "waits": True,
}
REQUEST = RunRequest("x = 1", "add", (RunCall("0a", "[[],{}]"),), limits=Limits(wall_seconds=1.0))

Play = Callable[["Server", dict[str, Any]], Awaitable[None]]
"""What a played worker server does with one request."""


class Server:
    """A worker server's side of a channel, in memory."""

    def __init__(self, play: Play, hello: dict[str, Any] = HELLO) -> None:
        self._play = play
        self._hello = hello
        self._reader = asyncio.StreamReader()
        self._tasks: set[asyncio.Task[None]] = set()
        self.headers: list[dict[str, Any]] = []
        self.killed = False

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header).encode()
        self._reader.feed_data(struct.pack(">II", len(text), len(body)) + text + body)

    def result(self, header: dict[str, Any], raw: bytes = b"", **changes: Any) -> None:
        """A completed run whose result channel carried `raw`."""
        answer = {"op": "result", "id": header["id"], "status": "completed", "exit_code": 0, "signal": None}
        lengths = {"results": len(raw), "stdout": 0, "stderr": 0}
        times = {"seconds": 0.1, "cpu": 0.05, "waited": 0.01}
        cases: dict[str, Any] = {"ends": [], "slowest": 0.1, "unfinished": False}
        self.send({**answer, **lengths, **times, **cases, "anomalies": [], "reusable": True, **changes}, raw)

    def die(self) -> None:
        self._reader.feed_eof()

    async def read_exactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def write(self, data: bytes) -> None:
        header, _ = struct.unpack_from(">II", data)
        content = json.loads(data[8 : 8 + header])
        self.headers.append(content)
        if content["op"] == "setup":
            self.send(self._hello)
            return
        task = asyncio.ensure_future(self._play(self, content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def kill(self) -> None:
        self.killed = True
        for task in self._tasks:
            task.cancel()
        if not self._reader.at_eof():
            self._reader.feed_eof()

    def ended(self) -> bool:
        return self._reader.at_eof()

    async def why_dead(self) -> str:
        return "exit code 9"


async def honest(server: Server, header: dict[str, Any]) -> None:
    """Answers a run, and knows of no run to cancel."""
    if header["op"] == "run":
        server.result(header, frame("{}"))


async def silent(server: Server, header: dict[str, Any]) -> None:
    """Answers nothing until it is told to cancel."""
    if header["op"] == "cancel":
        server.result(header, status="cancelled")


async def deaf(server: Server, header: dict[str, Any]) -> None:
    """Answers nothing at all."""


async def dying(server: Server, header: dict[str, Any]) -> None:
    server.die()


def frame(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode()


class Farm:
    """Starts played servers, each with the next of `plays`, the last one for ever."""

    def __init__(self, *plays: Play) -> None:
        self._plays = list(plays)
        self.servers: list[Server] = []
        self.refuse_starts = 0

    async def start(self) -> Worker:
        if self.refuse_starts:
            self.refuse_starts -= 1
            raise SandboxError("no more room")
        play = self._plays.pop(0) if len(self._plays) > 1 else self._plays[0]
        server = Server(play)
        self.servers.append(server)
        return await Worker.open(server)

    @property
    def alive(self) -> int:
        return sum(not server.killed for server in self.servers)


async def started(farm: Farm, size: int = 1, **options: Any) -> WorkerPool:
    pool = WorkerPool(farm.start, size, **options)
    await pool.start()
    return pool
