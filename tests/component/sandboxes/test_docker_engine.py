"""The connection to a daemon, with a daemon that is played."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agent_rl_sandboxes.docker_engine import DockerEngine, Endpoint


async def test_an_engine_closes_also_where_the_daemon_takes_nothing_in() -> None:
    """As one does that hangs: it has agreed to a stream, and then reads no more."""
    hang = asyncio.Event()

    async def daemon(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        cast(asyncio.ReadTransport, writer.transport).pause_reading()
        writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        await hang.wait()
        writer.close()

    api: Any = SimpleNamespace(api_version="1.41", close=lambda: None)
    # A short path: a socket's has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="are-") as folder:
        path = str(Path(folder, "docker.sock"))
        async with await asyncio.start_unix_server(daemon, path):
            engine = DockerEngine(Endpoint(f"http+unix://{path}", "unix", path), api)
            stream, other = await engine.attach("/exec/1/start"), await engine.attach("/exec/2/start")
            other.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await stream.write(bytes(10 << 20))
            stream.close()
            # Closed, and yet there while something is left to be sent; the other one is forgotten.
            third = await engine.attach("/exec/3/start")
            assert engine._streams == {stream, third}
            async with asyncio.timeout(5):
                await engine.close()
            hang.set()
