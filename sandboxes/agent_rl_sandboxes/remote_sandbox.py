"""`RemoteSandbox`: an episode's place on one of several hosts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from agent_rl.contracts.sandbox import Sandbox
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError
from agent_rl.file_sets import ArchiveLimits, Spellings
from agent_rl.judging.tar_archives import pack, packed_bytes
from agent_rl.vocabulary import ExecResult, SandboxSpec
from agent_rl_sandboxes.episode_client import checked_path
from agent_rl_sandboxes.remote_host import HostBusy, HostLost, HostRefused, RemoteHost
from agent_rl_sandboxes.remote_places import Places
from agent_rl_sandboxes.serving.host_json import MalformedBody, from_json, to_json
from agent_rl_sandboxes.serving.host_protocol import (
    UPLOAD_SECONDS,
    ExecMessage,
    ReadMessage,
    SandboxMessage,
    run_deadline,
)

_CLOSE_SECONDS = 10.0
_MOST_LOST = 3


class RemoteSandbox(Sandbox):
    """A sandbox on the host that was least loaded at its first use.

    The sandbox is lost with that host: from then on every call raises SandboxStartError, since no program inside is to
    blame.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        places: Places,
        check_open: Callable[[], None],
        forget: Callable[[RemoteSandbox], None],
        only: RemoteHost | None = None,
    ) -> None:
        """`only`: the one host on which it may be made."""
        self._spec = spec
        self._only = only
        self._places = places
        self._check_open = check_open
        self._forget = forget
        self._lock = asyncio.Lock()
        self._host: RemoteHost | None = None
        self._session: str | None = None
        self._name = secrets.token_hex(16)
        self._ended: str | None = None
        self._lost: str | None = None
        self._making: asyncio.Task[RemoteHost] | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        body = to_json(ExecMessage(tuple(command), stdin, timeout, dict(environment or {})))
        most = (1 << 20) + 4 * self._spec.output_bytes
        answer = await self._call("POST", "/exec", body, deadline=run_deadline(timeout), most=most)
        try:
            return from_json(ExecResult, answer)
        except MalformedBody as error:
            raise SandboxError(f"a host answered nonsense: {error}") from None

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """As in the contract. Raises OSError if a file is larger than the host accepts, or its disk is full."""
        contents = {checked_path(path): content for path, content in files.items()}
        if len(contents) < len(files):
            raise ValueError("two of the paths name the same file")
        host = await self._ready()
        most = host.welcome.host.body_bytes if host.welcome is not None else ArchiveLimits().archive_bytes
        for batch in _batches(contents, most):
            await self._call("PUT", "/files", pack(batch), deadline=UPLOAD_SECONDS, content_type="application/x-tar")

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        body = to_json(ReadMessage(checked_path(path), max_bytes))
        return await self._call("POST", "/read", body, deadline=UPLOAD_SECONDS, most=max_bytes + (1 << 16))

    async def close(self) -> None:
        if self._ended is None:
            self._ended = "the sandbox has been closed"
        if self._making is not None:
            self._making.cancel()
        await asyncio.shield(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        async with self._lock:
            host, self._host = self._host, None
            self._forget(self)
            if host is None:
                return
            try:
                if host.session == self._session:
                    await self._end_there(host)
            finally:
                self._places.give_back(host)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        deadline: float,
        most: int = 1 << 20,
        content_type: str = "application/json",
    ) -> bytes:
        """The host's answer. Raises what the contract says."""
        host = await self._ready()
        while True:
            self._check_usable(host)
            try:
                with _as_the_contract_says(self._spec):
                    return await host.call(
                        method,
                        f"/sandboxes/{self._name}{path}",
                        body,
                        deadline=deadline,
                        most=most,
                        content_type=content_type,
                    )
            except HostBusy as busy:
                # Nothing was done there.
                await asyncio.sleep(min(busy.retry_after, 5.0))
            except HostLost as error:
                self._lost = f"the sandbox's host was lost: {error}"
                raise SandboxStartError(self._lost) from error

    def _check_usable(self, host: RemoteHost) -> None:
        if self._ended is not None:
            raise SandboxError(self._ended)
        self._check_open()
        if host.session != self._session and self._lost is None:
            self._lost = f"the sandbox's host was lost: {host.url}"
        if self._lost is not None:
            raise SandboxStartError(self._lost)
        if host.load.draining:
            raise SandboxStartError(f"the sandbox's host is going down: {host.url}")

    async def _ready(self) -> RemoteHost:
        """The host that has the sandbox, made at the first use. Raises SandboxError."""
        async with self._lock:
            if self._ended is not None:
                raise SandboxError(self._ended)
            self._check_open()
            if self._host is None:
                self._making = asyncio.create_task(self._make())
                try:
                    self._host = await self._making
                except asyncio.CancelledError:
                    if self._ended is not None and not _being_cancelled():
                        raise SandboxError(self._ended) from None
                    raise
                finally:
                    self._making = None
            return self._host

    async def _make(self) -> RemoteHost:
        """A host, with the sandbox on it. Raises SandboxStartError, and ConfigError if a host cannot give it."""
        body = to_json(SandboxMessage(self._spec))
        lost: list[str] = []
        while True:
            self._check_open()
            host = await self._places.take(only=self._only)
            made = asked = False
            try:
                self._session, asked = host.session, True
                with _as_the_contract_says(self._spec):
                    await host.call("PUT", f"/sandboxes/{self._name}", body, deadline=_CLOSE_SECONDS)
                made = True
                return host
            except HostLost as error:
                lost.append(str(error))
                if len(lost) >= _MOST_LOST:
                    raise SandboxStartError("; ".join(lost)) from error
            except HostBusy as busy:
                host.rest(busy.retry_after)
                asked = False
            finally:
                if not made:
                    self._places.give_back(host)
                    if asked:
                        # The host may have made the sandbox nonetheless.
                        farewell = asyncio.create_task(self._end_there(host))
                        self._farewells.add(farewell)
                        farewell.add_done_callback(self._farewells.discard)

    async def _end_there(self, host: RemoteHost) -> None:
        """The sandbox is gone. If the host cannot be told, it ends the sandbox with our session."""
        with contextlib.suppress(HostLost, HostRefused, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                while True:
                    try:
                        await host.call("DELETE", f"/sandboxes/{self._name}", deadline=_CLOSE_SECONDS)
                        return
                    except HostBusy as busy:
                        await asyncio.sleep(min(busy.retry_after, 1.0))


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextlib.contextmanager
def _as_the_contract_says(spec: SandboxSpec) -> Iterator[None]:
    """A host's refusal becomes the error that a sandbox on this machine would raise."""
    try:
        yield
    except HostRefused as refusal:
        text = str(refusal)
        match refusal.kind:
            case "value":
                raise ValueError(text) from None
            case "config":
                raise ConfigError(text) from None
            case "file":
                raise FileNotFoundError(refusal.number or errno.ENOENT, text) from None
            case "os":
                number = refusal.number or 5
                raise OSError(number, f"{os.strerror(number)} ({text})") from None
            case "sandbox_start":
                raise SandboxStartError(text) from None
            case _:
                raise SandboxError(text) from None


def _batches(contents: Mapping[str, bytes], most: int) -> Iterator[dict[str, bytes]]:
    """The files in archives of at most `most` bytes. Raises OSError (EFBIG) for a file that fits into none.

    Two names that some file systems take for one (`Makefile`, `makefile`) are never in the same archive: a host would
    refuse that archive as a whole.
    """
    left = dict(contents)
    if not left:
        yield {}
    while left:
        batch: dict[str, bytes] = {}
        spellings = Spellings()
        size = 4 * 10240
        for path, content in left.items():
            if packed_bytes(path, content) + 4 * 10240 > most:
                raise OSError(27, f"{len(content)} bytes, and a host takes archives of {most}", path)
            if size + packed_bytes(path, content) > most or len(batch) >= ArchiveLimits().members:
                break
            if spellings.clash(path) is None:
                batch[path] = content
                size += packed_bytes(path, content)
        for path in batch:
            del left[path]
        yield batch
