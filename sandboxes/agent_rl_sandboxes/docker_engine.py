"""The Docker daemon from asyncio: `DockerEngine` for requests (the SDK, in threads), `DockerStream` for attached
programs.

Only the hijacked connection is made by hand here (HTTP upgrade, then Docker's frames): the SDK's own attached sockets
block, and lose what the daemon sent together with its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import docker
import requests.exceptions
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, NotFound
from docker.utils import parse_host

from agent_rl.errors import SandboxError
from agent_rl_sandboxes import full_disk

T = TypeVar("T")

_HEADER = struct.Struct(">BxxxL")
_CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 30
"""Timeout of one request. Long enough for a busy machine; a daemon can hang on one container and serve all others."""
_ASK_SECONDS = 0.2
_GONE_SECONDS = 0.05
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the daemon listens: `address` is a socket's path, or host:port."""

    url: str
    kind: Literal["unix", "tcp"]
    address: str
    certificates: Path | None = None
    verify: bool = True

    @staticmethod
    def find() -> Endpoint:
        """The daemon that the `docker` command would use: DOCKER_HOST, else the current context, else the default.

        Raises SandboxError for a transport that cannot carry attached programs (ssh, npipe).
        """
        certificates = os.environ.get("DOCKER_CERT_PATH")
        tls = bool(certificates or os.environ.get("DOCKER_TLS_VERIFY"))
        url = os.environ.get("DOCKER_HOST") or _context_host()
        try:
            parsed = str(parse_host(url, tls=tls))
        except DockerException as error:
            raise SandboxError(f"DOCKER_HOST={url!r} is not understood: {error}") from None
        scheme, _, rest = parsed.partition("://")
        if scheme == "http+unix":
            return Endpoint(parsed, "unix", "/" + rest.lstrip("/"))
        if scheme in ("http", "https"):
            folder = Path(certificates or Path.home() / ".docker") if scheme == "https" else None
            return Endpoint(parsed, "tcp", rest, folder, bool(os.environ.get("DOCKER_TLS_VERIFY")))
        raise SandboxError(
            f"a Docker daemon at {url!r} cannot be used: only unix:// and tcp:// are. Forward the socket instead: "
            "`ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, then DOCKER_HOST=unix:///tmp/docker.sock"
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """The client's TLS context, or None for a plain connection."""
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cafile=str(self.certificates / "ca.pem") if self.verify else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.certificates / "cert.pem", self.certificates / "key.pem")
        return context


class DaemonGone(SandboxError):
    """The daemon does not answer: it is down, or being restarted."""


class DockerEngine:
    """A connection to one daemon. The daemon's failures become SandboxError, except NotFound, which is kept."""

    def __init__(self, endpoint: Endpoint, api: docker.APIClient) -> None:
        self.endpoint = endpoint
        self.api = api
        self.quota = False
        """Whether the daemon's storage can bound what a container writes to its root; set by the provider."""
        self.bounds_cpus = True
        """Whether the daemon can bound processor time; set by the provider."""
        self.root: Path | None = None
        """The daemon's folder, where the daemon is on this machine; set by the provider."""
        self.runtime: str | None = None
        """The runtime that containers are started with, None for the daemon's own choice; set by the provider."""
        self._missed_at: float | None = None
        """Since when the daemon has not answered; None while it does."""
        self._streams: set[DockerStream] = set()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="docker")

    @staticmethod
    async def connect(endpoint: Endpoint | None = None) -> DockerEngine:
        """An engine whose daemon answers, at an agreed API version. Raises SandboxError that says what to do."""
        endpoint = endpoint or Endpoint.find()
        try:
            api = await asyncio.wait_for(asyncio.to_thread(client, endpoint), _CONNECT_SECONDS)
        except (DockerException, requests.exceptions.RequestException, OSError, TimeoutError) as error:
            raise SandboxError(unreachable(endpoint, error)) from None
        return DockerEngine(endpoint, api)

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """What the API client's method `function` returns, from a thread of its own."""
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, partial(function, *args, **kwargs))
            self._missed_at = None
            return answer
        except NotFound:
            raise
        except (APIError, DockerException) as error:
            raise SandboxError(_explain(error, self.root)) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise DaemonGone(f"the Docker daemon does not answer: {error}") from error

    async def is_back(self, seconds: float) -> bool:
        """Whether the daemon answers within `seconds` of when it was first missed; it is asked again and again.

        A call after that time asks only once, so that many runs do not each wait for a daemon that stays away.
        """
        if self._missed_at is None:
            self._missed_at = time.monotonic()
        until = self._missed_at + seconds
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, _knock, self.endpoint)
                await self.call(self.api.get, f"{self.api.base_url}/_ping", timeout=_CONNECT_SECONDS)
                return True
            except (OSError, SandboxError, NotFound):
                if time.monotonic() > until:
                    return False
            await asyncio.sleep(_ASK_SECONDS)

    async def attach(self, path: str, body: dict[str, Any] | None = None) -> DockerStream:
        """A hijacked connection after a POST to `path` (such as /exec/ID/start)."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST /v{self.api.api_version}{path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
            f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                stream = DockerStream(*await self._open())
        except (OSError, TimeoutError) as error:
            raise DaemonGone(f"the Docker daemon does not answer: {error!r}") from error
        self._streams = {s for s in self._streams if not s.gone} | {stream}
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await stream.upgrade(head.encode() + payload, path)
        except TimeoutError as error:
            stream.close()
            raise DaemonGone(f"the Docker daemon does not answer: {error!r}") from error
        except BaseException:
            stream.close()
            raise
        return stream

    async def exec(
        self,
        container: str,
        command: list[str],
        *,
        user: str,
        workdir: str | None = None,
        environment: dict[str, str] | None = None,
    ) -> tuple[str, DockerStream]:
        """The id and the stream of a program started in `container`, its stdin, stdout and stderr attached.

        Raises SandboxError if the container is gone.
        """
        try:
            created = await self.call(
                self.api.exec_create,
                container,
                command,
                stdin=True,
                user=user,
                workdir=workdir,
                environment=environment,
            )
        except NotFound as error:
            raise SandboxError(f"the container {container[:12]} is gone") from error
        return created["Id"], await self.attach(f"/exec/{created['Id']}/start", {"Detach": False, "Tty": False})

    async def remove(self, container: str) -> None:
        """The container and everything in it are gone; one that is gone already is no error."""
        try:
            await self.call(self.api.remove_container, container, force=True, v=True)
        except NotFound:
            return
        except SandboxError as error:
            if not isinstance(error.__cause__, APIError) or error.__cause__.status_code != 409:
                raise
            # 409: somebody (or auto-removal) is removing it right now.
            await self._until_gone(container)

    async def _until_gone(self, container: str) -> None:
        """The container is gone. Polled: a wait that the daemon begins just as the container goes never ends."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                while True:
                    await self.call(self.api.inspect_container, container)
                    await asyncio.sleep(_GONE_SECONDS)
        except NotFound:
            return
        except TimeoutError:
            raise SandboxError(f"the container {container[:12]} is being removed for {REQUEST_SECONDS} s") from None

    async def close(self) -> None:
        """No thread and no connection is left; calls under way are finished first, those not begun are dropped."""
        for stream in self._streams:
            # A daemon that hangs never reads what was written: do not wait for it.
            stream.abort()
            await stream.wait_closed()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self.api.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.endpoint.kind == "unix":
            return await asyncio.open_unix_connection(self.endpoint.address, limit=_BUFFER_BYTES)
        host, _, port = self.endpoint.address.rpartition(":")
        return await asyncio.open_connection(
            host, int(port.rstrip("/")), ssl=self.endpoint.ssl_context(), limit=_BUFFER_BYTES
        )


class DockerStream:
    """An attached program: `write` to its stdin, `read_frame` from its stdout (1) and stderr (2)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._head: tuple[int, int] | None = None
        self.closed = False

    async def upgrade(self, request: bytes, path: str) -> None:
        """The daemon has accepted `request`; from now on the connection is the program's. Raises SandboxError."""
        try:
            self._writer.write(request)
            answer = await self._reader.readuntil(b"\r\n\r\n")
            status = int(answer.split(None, 2)[1])
            if status not in (101, 200):
                text = (await self._reader.read(4096)).decode("utf-8", "replace")
                raise SandboxError(f"Docker refused {path} with status {status}: {text.strip()}")
        except (OSError, ValueError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise DaemonGone(f"the Docker daemon does not answer: {error!r}") from error

    async def write(self, data: bytes) -> None:
        """`data` is on its way. Raises SandboxError if the connection is broken."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise SandboxError(f"the connection to the container broke: {error}") from error

    async def first_byte(self) -> None:
        """Some output has arrived, or the end of it. Nothing more can be read from the stream afterwards."""
        with contextlib.suppress(OSError):
            await self._reader.read(1)

    def write_eof(self) -> None:
        """The program's stdin ends after what was written."""
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    async def read_frame(self) -> tuple[int, bytes] | None:
        """The next output with its stream's number; None at the end of both. A cancelled call takes nothing."""
        try:
            if self._head is None:
                self._head = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            number, size = self._head
            data = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None
        self._head = None
        return number, data

    def ended(self) -> bool:
        """Whether the end of both outputs has come, and nothing is left of them to read."""
        return self._reader.at_eof()

    def close(self) -> None:
        """The connection is being closed; the program sees the end of its stdin."""
        self.closed = True
        self._writer.close()

    def abort(self) -> None:
        """As `close`, but drops what was written and not sent yet."""
        self.closed = True
        self._writer.transport.abort()

    @property
    def gone(self) -> bool:
        """Whether it has been closed, and nothing is left to be sent."""
        return self.closed and not self._writer.transport.get_write_buffer_size()

    async def wait_closed(self) -> None:
        """After `close`: the connection is gone."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def unreachable(endpoint: Endpoint, error: BaseException) -> str:
    """Why the daemon at `endpoint` cannot be used, and what to do about it."""
    text = f"{type(error).__name__}: {error}"
    if "PermissionError" in text or "Permission denied" in text:
        return (
            f"no permission to use the Docker socket {endpoint.address}: as root run "
            "`usermod -aG docker $USER`, then log in again (members of that group have root's power on this machine)"
        )
    if isinstance(error, TimeoutError):
        return f"the Docker daemon at {endpoint.address} does not answer within {_CONNECT_SECONDS:.0f} seconds"
    if any(name in text for name in ("FileNotFoundError", "ConnectionRefused", "Connection refused")):
        return (
            f"no Docker daemon answers at {endpoint.address}: install Docker and start it "
            "(as root: `systemctl start docker`, or `dockerd &`), or set DOCKER_HOST"
        )
    return f"the Docker daemon at {endpoint.address} cannot be used: {text}"


def client(endpoint: Endpoint, seconds: int = REQUEST_SECONDS) -> docker.APIClient:
    """A client whose API version is agreed upon with the daemon; the daemon may be silent for so many seconds.

    Raises what the SDK and its transport raise.
    """
    # The SDK leaks the socket of a refused connection, so check first whether anybody listens.
    _knock(endpoint)
    tls: Any = False
    if endpoint.certificates is not None:
        folder = endpoint.certificates
        tls = docker.tls.TLSConfig(
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
            ca_cert=str(folder / "ca.pem") if endpoint.verify else None,
            verify=endpoint.verify,
        )
    return docker.APIClient(base_url=endpoint.url, version="auto", timeout=seconds, tls=tls)


def _knock(endpoint: Endpoint) -> None:
    """Somebody listens at `endpoint`. Raises OSError."""
    if endpoint.kind == "unix":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(_CONNECT_SECONDS)
            knock.connect(endpoint.address)
        return
    host, _, port = endpoint.address.rpartition(":")
    socket.create_connection((host, int(port.rstrip("/"))), _CONNECT_SECONDS).close()


def _context_host() -> str | None:
    """The endpoint of the `docker` command's current context; None for the default one."""
    try:
        context = ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError):
        return None
    return getattr(context, "Host", None)


def _explain(error: Exception, root: Path | None) -> str:
    text = str(error.explanation) if isinstance(error, APIError) and error.explanation else str(error)
    return full_disk.explain(text, root) if full_disk.NO_SPACE in text else f"Docker: {text}"
