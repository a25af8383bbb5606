"""`LocalChannel`: a worker server, or another program, that was started on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Sequence

from agent_rl.errors import SandboxError

_END_SECONDS = 2.0
_TICK_SECONDS = 0.01
_STREAM_BYTES = 1 << 20


class LocalChannel:
    """A program started on this machine; one socket is both its stdin and its stdout."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        socket_: socket.socket,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._socket = socket_
        self._reader = reader
        self._writer = writer
        self._ended: asyncio.Task[None] | None = None

    @staticmethod
    async def start(command: Sequence[str]) -> LocalChannel:
        """The program runs, in a session of its own, so that a Ctrl-C does not reach it. Raises SandboxError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # Blocks for a vfork only.
                process = subprocess.Popen(  # noqa: ASYNC220
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                    cwd="/",
                    env={},
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"{command[0]} cannot be started: {error}") from None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_STREAM_BYTES)
        except BaseException:  # cancelled, where the pool closes while this worker starts
            ours.close()
            assert process.stderr is not None
            process.stderr.close()
            process.kill()
            process.wait()
            raise
        return LocalChannel(process, ours, reader, writer)

    async def read_exactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def open_stream(self, order: bytes) -> LocalStream:
        """A new stream; its other end is sent to the program together with `order`. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._socket, [order], [theirs.fileno()])
                return LocalStream(*await asyncio.open_unix_connection(sock=ours, limit=_STREAM_BYTES))
            except BaseException:
                ours.close()
                raise

    async def kill(self) -> None:
        if self._ended is None:
            self._ended = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._ended)

    def ended(self) -> bool:
        return self._reader.at_eof()

    async def why_dead(self) -> str:
        """The program's exit code, and the last line that it wrote to stderr."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited(), _END_SECONDS)
        stderr = self._process.stderr
        assert stderr is not None
        said = b""
        if not stderr.closed:
            os.set_blocking(stderr.fileno(), False)
            said = stderr.read() or b""
        lines = said.decode("utf-8", "replace").strip().splitlines()
        if self._process.returncode is None:
            return ""
        return f"exit code {self._process.returncode}" + (f": {lines[-1][:500]}" if lines else "")

    async def _kill(self) -> None:
        """The server ends when its input ends. If it does not, its guard ends it at SIGTERM; SIGKILL ends both."""
        self._writer.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None and self._process.returncode is None:
                self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited(), _END_SECONDS)
                break
        if self._process.stderr is not None:
            self._process.stderr.close()
        # Whoever still holds the other end need not read what was written.
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _exited(self) -> None:
        """The process has ended and is reaped; no thread waits for it."""
        if self._process.poll() is not None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except OSError:  # a kernel that has none, such as gVisor's
            while self._process.poll() is None:  # noqa: ASYNC110
                await asyncio.sleep(_TICK_SECONDS)
            return
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()


class LocalStream:
    """One end of a pair of connected sockets; a program has the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError if the other end is gone."""
        try:
            return await self._reader.readexactly(size)
        except OSError as error:
            raise EOFError(str(error)) from None

    async def write(self, data: bytes) -> None:
        """`data` is on its way. Raises EOFError if the other end is gone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise EOFError(str(error)) from None

    def close(self) -> None:
        self._writer.close()
