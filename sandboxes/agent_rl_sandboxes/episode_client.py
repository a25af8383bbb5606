"""The outer side of `inside/episode_server.py`: an episode's commands and files, over any pair of byte streams."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol, get_args

from agent_rl.vocabulary import ExecResult
from agent_rl.vocabulary.runs import RunStatus
from agent_rl_sandboxes.inside import episode_command, episode_server, source_modules

_HEAD = struct.Struct(">II")
_MAX_HEADER = 1 << 16
_CHUNK = 1 << 20
_GRACE_SECONDS = 15.0
"""How long past its time a command may take to be ended and answered. The server tries to end it for a tenth of that
(see `episode_command`), and beside a command that forks without end it hardly has a processor."""
_LAST_LOOK_SECONDS = 1.0
"""This process may have been late itself: so long it then looks for an answer once more."""
_STATUSES = get_args(RunStatus)
_EXIT_CODES = range(256)
"""128 + n where signal n ended the command."""
_BOOTSTRAP = """
import sys
(loader, source), *modules = {modules!r}
own = {{}}
exec(source, own)
own["load"]([(loader, source)])
sys.modules[loader].load(modules)
sys.modules[modules[-1][0]].main(sys.argv[1], int(sys.argv[2]))
"""


class EpisodeChannel(Protocol):
    """A pair of byte streams to a program inside. Reads and writes raise EOFError if the other end is gone."""

    async def write(self, data: bytes) -> None: ...

    async def read_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        ...

    def close(self) -> None: ...


class ServerGone(Exception):
    """The server inside died, hangs, or answers nonsense. Commands can cause that: it runs as their user."""


class EpisodeClient:
    """The client of one episode server. Commands may run side by side. Every method raises ServerGone."""

    def __init__(self, channel: EpisodeChannel, output_bytes: int) -> None:
        self._channel = channel
        self._output_bytes = output_bytes
        self._hello: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        self._waiting = {0: (self._hello, 0)}
        self._next = 0
        self._gone: ServerGone | None = None
        self._reader = asyncio.create_task(self._read(), name="episode-reader")

    @property
    def gone(self) -> bool:
        """Whether the server is known to have ended, or to be of no use."""
        return self._gone is not None

    async def hello(self, timeout: float) -> None:
        """The server has started and answered."""
        try:
            header, _ = await asyncio.wait_for(asyncio.shield(self._hello), timeout)
        except TimeoutError:
            raise self._fail("it does not start in time") from None
        finally:
            self._waiting.pop(0, None)
        if "error" in header:
            raise self._fail(str(header["error"]))

    async def exec(
        self, command: Sequence[str], stdin: bytes, timeout: float, environment: Mapping[str, str]
    ) -> ExecResult:
        """The outcome of `command`; cancellation ends its process tree."""
        request = {"op": "exec", "command": list(command), "timeout": timeout, "environment": dict(environment)}
        header, payload = await self._ask(request, stdin, 2 * self._output_bytes, timeout)
        status, code, cut = header.get("status"), header.get("exit_code"), header.get("stdout")
        seconds, truncated = header.get("seconds"), header.get("truncated")
        cpu, waited = header.get("cpu"), header.get("waited")
        well_formed = (
            status in _STATUSES
            and (type(code) is int and code in _EXIT_CODES if status == "completed" else code is None)
            and isinstance(cut, int)
            and isinstance(seconds, float)
            and 0 <= seconds < math.inf
            and isinstance(truncated, bool)
            and all(
                isinstance(time, float) and 0 <= time < math.inf for time in (cpu, 0.0 if waited is None else waited)
            )
        )
        if not well_formed:
            raise self._fail("an answer that is none")
        assert isinstance(cut, int)
        out, err = payload[:cut], payload[cut:]
        return ExecResult(status, code, out, err, seconds, truncated, cpu, waited)  # pyright: ignore

    async def write_files(self, contents: Mapping[str, bytes]) -> None:
        """The files are in place. Raises OSError if the place refuses (no space, a file where a folder must be)."""
        async for entries, payload in _batches(contents):
            header, _ = await self._ask({"op": "write", "files": entries}, payload, 0, 60.0)
            _raise_refusal(header)

    async def read_file(self, path: str, max_bytes: int) -> bytes:
        """At most `max_bytes` of a regular file. Raises FileNotFoundError for anything else."""
        header, payload = await self._ask({"op": "read", "path": path, "max_bytes": max_bytes}, b"", max_bytes, 60.0)
        if "error" in header:
            raise FileNotFoundError(header["error"], str(header.get("text")), path)
        return payload

    async def close(self) -> None:
        """The connection is closed and no call waits for it."""
        self._fail("closed")
        self._reader.cancel()
        # Does not take a cancellation of this call for that of the reader.
        await asyncio.wait([self._reader])

    async def _ask(
        self, request: dict[str, Any], payload: bytes, largest: int, timeout: float
    ) -> tuple[dict[str, Any], bytes]:
        if self._gone is not None:
            raise self._gone
        self._next += 1
        number = self._next
        future: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (future, largest)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout + _GRACE_SECONDS):
                    await self._send({**request, "id": number}, payload)
                    await asyncio.wait([future])
            if not future.done():
                await asyncio.wait([future], timeout=_LAST_LOOK_SECONDS)
            if not future.done():
                raise self._fail("no answer in time")
            return future.result()
        except asyncio.CancelledError:
            await self._cancel(number)
            raise
        finally:
            self._waiting.pop(number, None)

    async def _cancel(self, number: int) -> None:
        """The server is told to end the command. A server that does not read (its commands can stop it) is given up."""
        # Not `asyncio.timeout`: before Python 3.11.4 it raises no TimeoutError in a task that was cancelled already.
        telling = asyncio.ensure_future(self._send({"op": "cancel", "id": number}, b""))
        _, waiting = await asyncio.wait([telling], timeout=_GRACE_SECONDS)
        if waiting:
            telling.cancel()
            self._fail("it does not read")
        with contextlib.suppress(asyncio.CancelledError, ServerGone):
            await telling

    async def _send(self, header: dict[str, Any], payload: bytes) -> None:
        text = json.dumps(header).encode()
        try:
            await self._channel.write(_HEAD.pack(len(text), len(payload)) + text + payload)
        except EOFError as error:
            raise self._fail(str(error)) from None

    async def _read(self) -> None:
        """Passes each answer to the call that waits for it; a malformed or oversized message closes the connection."""
        try:
            while True:
                size, payload_size = _HEAD.unpack(await self._channel.read_exactly(_HEAD.size))
                if size > _MAX_HEADER:
                    raise ValueError("a header too long")
                header = json.loads(await self._channel.read_exactly(size))
                number = header["id"] if isinstance(header, dict) else None
                future, largest = self._waiting.get(number, (None, 2 * self._output_bytes))  # pyright: ignore
                if payload_size > max(largest, 4096):
                    raise ValueError("a payload longer than was asked for")
                payload = await self._channel.read_exactly(payload_size)
                if future is not None and not future.done():
                    future.set_result((header, payload))
        except (EOFError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._fail(str(error) or type(error).__name__)

    def _fail(self, reason: str) -> ServerGone:
        self._gone = self._gone or ServerGone(reason)
        self._channel.close()
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(self._gone)
                future.exception()
        return self._gone


def server_command(python: str, workdir: str, output_bytes: int) -> list[str]:
    """The command line that starts the server; it contains the server's sources."""
    sent = (source_modules, episode_command, episode_server)
    modules = [(module.__name__, inspect.getsource(module)) for module in sent]
    return [python, "-I", "-c", _BOOTSTRAP.format(modules=modules), workdir, str(output_bytes)]


def checked_path(path: str) -> str:
    """`path` in its plain form, if it names something below the working directory; else ValueError."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path or path.endswith("/"):
        raise ValueError(f"{path!r} does not name a file below the working directory")
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise ValueError(f"{path[:64]!r}... cannot be the name of a file")
    if len(path.encode("utf-8", "surrogateescape")) > 1024 or any(
        len(p.encode("utf-8", "replace")) > 255 for p in parts
    ):
        raise ValueError(f"{path[:64]!r}... is too long for a file's name")
    return "/".join(parts)


def _raise_refusal(header: Mapping[str, Any]) -> None:
    if "error" in header:
        raise OSError(header["error"], f"the sandbox refused a file: {header.get('text')}")


async def _batches(contents: Mapping[str, bytes]) -> AsyncIterator[tuple[list[tuple[str, int, bool]], bytes]]:
    """The files as messages of about a MiB; a larger file goes in pieces, each appended."""
    entries: list[tuple[str, int, bool]] = []
    pieces: list[bytes] = []
    size = 0
    for path, content in contents.items():
        for offset in range(0, max(len(content), 1), _CHUNK):
            piece = content[offset : offset + _CHUNK]
            entries.append((path, len(piece), offset > 0))
            pieces.append(piece)
            size += len(piece) + len(path)
            if size >= _CHUNK:
                yield entries, b"".join(pieces)
                entries, pieces, size = [], [], 0
    if entries:
        yield entries, b"".join(pieces)
