"""`Host`: a started provider on the network, from binding to an end that leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl_sandboxes.serving.bearer_tokens import TOKEN_VARIABLE
from agent_rl_sandboxes.serving.connection_limit import ConnectionLimit
from agent_rl_sandboxes.serving.host_app import HostApp
from agent_rl_sandboxes.serving.host_limits import HostLimits
from agent_rl_sandboxes.serving.host_metrics import Metrics

_END_SECONDS = 2.0
_BACKLOG = 128
"""How many connections the kernel queues at least: a client must be accepted even to be answered 429."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen; `addresses` are what the name resolves to."""

    name: str
    port: int
    addresses: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> Bind:
        """`HOST:PORT`, with `[ADDRESS]:PORT` for IPv6. Raises ConfigError."""
        name, _, port = text.rpartition(":")
        name = name.removeprefix("[").removesuffix("]") if name.startswith("[") else name
        if (
            not name
            or not port.isascii()
            or not port.isdigit()
            or int(port) > 65535
            or (":" in name and text[0] != "[")
        ):
            raise ConfigError("expected HOST:PORT, such as 127.0.0.1:8700 or [::1]:8700", key="--bind", value=text)
        try:
            found = socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{name} is not an address: {error}", key="--bind") from None
        return Bind(name, int(port), tuple(dict.fromkeys(str(entry[4][0]) for entry in found)))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in self.addresses)


def check_exposure(bind: Bind, token: str | None) -> None:
    """Raises ConfigError if others could use this machine's sandboxes without a token."""
    if token is None and not bind.loopback:
        raise ConfigError(
            f"{bind.name} can be reached from beyond this machine, so there must be a token: --token-file FILE, or "
            f"{TOKEN_VARIABLE} (make one: `openssl rand -hex 32`)",
            key="--bind",
        )


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The server's TLS context; None if neither file is given. Raises ConfigError."""
    if certificate is None and key is None:
        return None
    if certificate is None:
        raise ConfigError("--tls-key needs --tls-cert", key="--tls-cert")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Otherwise a key with a password would prompt on the terminal, where nobody answers.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{certificate} and {key or 'the key in it'} cannot be used: {error}", key="--tls-cert"
        ) from None
    return context


class Host:
    """Serves a started provider while its context lasts; the caller closes the provider.

    Raises ConfigError if others could use it without a token, or if it cannot listen on the address.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        bind: Bind,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        limits: HostLimits = HostLimits(),  # noqa: B008
    ) -> None:
        check_exposure(bind, token)
        self._bind = bind
        self._tls = tls
        self._limits = limits
        self.app = HostApp(provider, token, limits)
        self._stack = contextlib.AsyncExitStack()
        self.port = bind.port
        """The port; once the host listens, the one that the system chose if `bind` gives 0."""

    @property
    def url(self) -> str:
        """Where clients find it."""
        name = f"[{self._bind.name}]" if ":" in self._bind.name else self._bind.name
        return f"{'http' if self._tls is None else 'https'}://{name}:{self.port}"

    async def __aenter__(self) -> Host:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._watching())
            runner = web.AppRunner(
                self.app.make(),
                handle_signals=False,
                handler_cancellation=True,
                shutdown_timeout=_END_SECONDS,
                access_log=None,
                auto_decompress=False,
                keepalive_timeout=self._limits.idle_seconds,
                lingering_time=_END_SECONDS,
                logger=_quiet_logger(self.app.metrics),
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            assert runner.server is not None
            accept = ConnectionLimit(runner.server, self._tls, self._limits.connections)
            stack.push_async_callback(accept.close)
            server = await self._listen(accept)
            stack.callback(server.close)
            self.port = server.sockets[0].getsockname()[1]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is under way ends within `drain_seconds` or is cancelled; then every sandbox is gone."""
        self.app.draining = True
        try:
            if error is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.drain_seconds):
                        await self.app.idle.wait()
        finally:
            await asyncio.shield(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        await self.app.sessions.end_all()
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """While the context lasts, sessions whose client is not heard of are ended."""
        watch = asyncio.create_task(self.app.sessions.watch(), name="host-sessions")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _listen(self, accept: ConnectionLimit) -> asyncio.Server:
        # Port 0: the system chooses a port, for one address only.
        addresses = self._bind.addresses if self._bind.port else self._bind.addresses[:1]
        try:
            return await asyncio.get_running_loop().create_server(
                accept, list(addresses), self._bind.port, backlog=max(self._limits.connections, _BACKLOG)
            )
        except OSError as error:
            raise ConfigError(f"cannot listen there: {error.strerror or error}", key="--bind") from None


def _quiet_logger(metrics: Metrics) -> logging.Logger:
    """aiohttp's error log without malformed requests (which are counted) and lost connections: they could flood it."""
    logger = logging.Logger("agent_rl_sandboxes.serving.http")
    logger.parent = logging.getLogger("agent_rl_sandboxes")

    def wanted(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            metrics.count("malformed_total")
            return False
        return not isinstance(error, ConnectionError)

    logger.addFilter(wanted)
    return logger
