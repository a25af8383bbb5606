"""`RemoteHost`: one sandbox host as its client sees it.

A host is *in* (it can get work) or *out* (for a known reason). A host that is in is checked by heartbeats. A host that
is out is tried again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from agent_rl.vocabulary import Isolation
from agent_rl_sandboxes.serving.host_json import MalformedBody, from_json
from agent_rl_sandboxes.serving.host_protocol import (
    DEADLINE_HEADER,
    PREFIX,
    PROTOCOL,
    SESSION_HEADER,
    VERSION_HEADER,
    HostLoad,
    Welcome,
)
from agent_rl_sandboxes.workers import LEVELS

_SMALL_ANSWER = 1 << 20
_LARGE_BODY = 1 << 19
_LONGEST_REST = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """A client's intervals and timeouts, in seconds."""

    heartbeat: float = 10.0
    """Between two heartbeats; at most a third of the lease that the host gives."""
    answer: float = 10.0
    """Timeout of a small request; also how long past its deadline any answer may come."""
    first_retry: float = 0.25
    """Wait before a host that is out is tried again; doubled each time."""
    longest_retry: float = 10.0
    patience: float = 60.0
    """How long work waits while no host is in."""


class HostLost(Exception):
    """The host did not answer. The request may or may not have been carried out; the place that it used is lost."""


class HostBusy(Exception):
    """The host has no room now, and did nothing."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class HostRefused(Exception):
    """The host answered with one of the protocol's errors."""

    def __init__(self, kind: str, message: str, number: int | None = None) -> None:
        self.kind = kind
        self.number = number
        super().__init__(message)


class RemoteHost:
    """One host. `changed` is called whenever the host may have become able or unable to take work."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        tls: ssl.SSLContext | None,
        minimum: Isolation,
        pace: Pace,
        changed: Callable[[], None],
    ) -> None:
        self.url = url.rstrip("/")
        self.out: str | None = "not asked yet"
        """Why the host is out; None while it is in."""
        self.welcome: Welcome | None = None
        """What the host said of itself when it last came in; kept while it is out."""
        self.load = HostLoad(0, 0, 0)
        self.rests_until = 0.0
        self._token = token
        self._tls = tls
        self._minimum: Isolation = minimum
        self._pace = pace
        self._changed = changed
        self._suspected: str | None = None
        self._lost: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    @property
    def session(self) -> str | None:
        """The session open on the host; None while the host is out. A new session has none of the old one's places."""
        return self.welcome.session if self.welcome is not None and self.out is None else None

    @property
    def ready(self) -> bool:
        """Whether it can be given work now."""
        return (
            self.out is None
            and self._suspected is None
            and not self.load.draining
            and asyncio.get_running_loop().time() >= self.rests_until
        )

    async def start(self) -> None:
        """The host has been tried once, and is watched from now on."""
        headers = {VERSION_HEADER: str(PROTOCOL)}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls if self._tls is not None else True),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._pace.answer),
            auto_decompress=False,
        )
        await self._connect()
        self._keeper = asyncio.create_task(self._keep(), name=f"host {self.url}")

    async def close(self) -> None:
        """The session on the host is ended, if the host answers. Idempotent."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        session = self.session
        self._take_out("closed")
        if self._http is not None:
            http, self._http = self._http, None
            try:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    if session is not None:
                        async with asyncio.timeout(self._pace.answer):
                            await (await http.delete(f"{self.url}{PREFIX}/sessions/{session}")).read()
            finally:
                await http.close()

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        deadline: float,
        most: int = _SMALL_ANSWER,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of the answer, at most `most` bytes. Cancelling closes the connection, which ends the work there.

        Raises HostLost, HostBusy, HostRefused.
        """
        session, lost = self.session, self._lost
        if session is None or lost is None:
            raise HostLost(f"{self.url}: {self.out}")
        headers = {SESSION_HEADER: session, DEADLINE_HEADER: f"{deadline:.3f}", "Content-Type": content_type}
        exchange = asyncio.create_task(self._exchange(method, path, body, headers, deadline, most))
        try:
            await asyncio.wait({exchange, lost}, return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                return exchange.result()
            raise HostLost(f"{self.url}: {self.out}")
        except HostLost as error:
            self._suspect(session, str(error))
            raise
        except HostRefused as error:
            if error.kind in ("session", "unauthorized", "protocol") and session == self.session:
                self._take_out(str(error))
                raise HostLost(f"{self.url}: {error}") from None
            if error.kind == "draining":
                self.load = HostLoad(0, 0, 0, draining=True)
                raise HostBusy(f"{self.url}: {error}", 1.0) from None
            raise
        finally:
            if not exchange.done():
                exchange.cancel()
                await asyncio.gather(exchange, return_exceptions=True)

    def rest(self, seconds: float) -> None:
        """The host gets no work for `seconds` (0.05 to 30), since it said that it is busy."""
        seconds = min(max(seconds, 0.05), _LONGEST_REST)
        loop = asyncio.get_running_loop()
        self.rests_until = loop.time() + seconds
        loop.call_later(seconds + 0.001, self._changed)

    async def _exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str], deadline: float, most: int
    ) -> bytes:
        """One request and its answer. Raises HostLost, HostBusy, HostRefused."""
        assert self._http is not None
        # As a file, a large body is sent in pieces, and does not block the event loop.
        sent = body if len(body) < _LARGE_BODY else io.BytesIO(body)
        try:
            async with (
                asyncio.timeout(deadline + self._pace.answer),
                self._http.request(
                    method, f"{self.url}{PREFIX}{path}", data=sent, headers=headers, allow_redirects=False
                ) as response,
            ):
                content = bytearray()
                async for part in response.content.iter_any():
                    content += part
                    if len(content) > most:
                        raise HostRefused("internal", f"{self.url} answered with more than {most} bytes")
                if response.status in (200, 204):
                    return bytes(content)
                raise self._refusal(response, bytes(content))
        except TimeoutError:
            raise HostLost(f"{self.url}: no answer in {deadline + self._pace.answer:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            remedy = (
                "if the host is yours, name its authority in sandbox.remote.ca_file, or in the variable SSL_CERT_FILE"
            )
            raise HostLost(f"{self.url}: its certificate is not accepted: {error.os_error}; {remedy}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise HostLost(f"{self.url}: {type(error).__name__}: {error}") from error

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> Exception:
        """The error for an answer other than 200; an answer outside the protocol comes from something in between."""
        try:
            error = json.loads(content)["error"]
            kind, message, number = str(error["kind"]), str(error["message"]), error.get("errno")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            if response.status != 429:
                return HostLost(f"{self.url}: answered {response.status} {response.reason}")
            kind, message, number = "busy", "too many connections", None
        if kind == "busy":
            wait = response.headers.get("Retry-After", "")
            return HostBusy(f"{self.url}: {message}", float(wait) if wait.isascii() and wait.isdigit() else 1.0)
        return HostRefused(kind, f"{self.url}: {message}", number if isinstance(number, int) else None)

    # In and out

    async def _keep(self) -> None:
        """Sends heartbeats while the host is in, and tries to connect while it is out; for ever."""
        pause = self._pace.first_retry
        while True:
            if self.out is not None:
                if await self._connect():
                    pause = self._pace.first_retry
                    continue
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._pace.longest_retry)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._until_renewal()):
                        await self._wake.wait()
                self._wake.clear()
                if self.out is None:
                    await self._renew()

    def _until_renewal(self) -> float:
        """Seconds until the next heartbeat: before the lease ends, and soon if the host is suspected."""
        if self._suspected is not None:
            return self._pace.first_retry
        assert self.welcome is not None
        return max(min(self._pace.heartbeat, self.welcome.lease_seconds / 3), self._pace.first_retry)

    async def _connect(self) -> bool:
        """Whether the host is in now, with a new session."""
        try:
            content = await self._exchange("POST", "/sessions", b"", {}, 0.0, _SMALL_ANSWER)
            welcome = from_json(Welcome, content)
        except (HostLost, HostBusy, HostRefused, MalformedBody) as error:
            self.out = str(error).removeprefix(f"{self.url}: ")
            return False
        host = welcome.host
        if LEVELS.index(host.isolation) < LEVELS.index(self._minimum):
            reasons = "; ".join(host.why_not_higher)
            self.out = f"its isolation is {host.isolation!r}, at least {self._minimum!r} is asked for ({reasons})"
            return False
        self.welcome, self.load = welcome, welcome.load
        self.rests_until = 0.0
        self._suspected = self.out = None
        self._lost = asyncio.get_running_loop().create_future()
        self._changed()
        return True

    async def _renew(self) -> None:
        """A heartbeat was sent, and the load noted. After one failure the host is suspected, after the second out."""
        session = self.session
        try:
            content = await self._exchange("PUT", f"/sessions/{session}", b"", {}, 0.0, _SMALL_ANSWER)
            self.load = from_json(HostLoad, content)
        except HostBusy:
            return  # it answers, and so it knows
        except (HostRefused, MalformedBody) as error:
            self._take_out(str(error).removeprefix(f"{self.url}: "))
        except HostLost as error:
            if self._suspected is not None:
                self._take_out(str(error).removeprefix(f"{self.url}: "))
            else:
                self._suspected = str(error)
        else:
            if self._suspected is not None:
                self._suspected = None
            self._changed()

    def _suspect(self, session: str, reason: str) -> None:
        """A request got no answer: the host gets no new work until it answers a heartbeat, which is sent now."""
        if session == self.session and self._suspected is None:
            self._suspected = reason
            self._wake.set()

    def _take_out(self, reason: str) -> None:
        """The host is out, and everything under way on it is lost now."""
        self.out = reason
        self._suspected = None
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._lost = None
        self._changed()
