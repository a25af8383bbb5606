"""`HostApp`: the routes of a host. Each says in one place what it takes, what it does, and what it answers.

GET    /health                  no token: whether work is taken
GET    /metrics                 Prometheus' text format; like all that follows, only with the token
GET    /v1/host                 what the host is
POST   /v1/sessions             a new session;  PUT: its client lives;  DELETE: it ends
POST   /v1/runs                 one run in a worker;  /v1/pairs: two runs in two workers, which exchange frames
PUT    /v1/sandboxes/NAME       a new sandbox, of a name that the client chose;  DELETE: it is gone
POST   /v1/sandboxes/NAME/exec | read     PUT /v1/sandboxes/NAME/files (an archive)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from agent_rl.contracts import Sandbox, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError, TestsPlaceError
from agent_rl.file_sets import ArchiveLimits
from agent_rl.judging.archives import unpack
from agent_rl.vocabulary.runs import PARTS, PATIENCE
from agent_rl_sandboxes.episode_client import checked_path
from agent_rl_sandboxes.serving import host_protocol
from agent_rl_sandboxes.serving.bearer_tokens import authorized
from agent_rl_sandboxes.serving.host_json import MalformedBody, from_json, to_json
from agent_rl_sandboxes.serving.host_limits import (
    COMMAND_TIMES,
    Budget,
    Busy,
    Gate,
    HostLimits,
    check_command,
    check_limits,
    check_spec,
)
from agent_rl_sandboxes.serving.host_metrics import CONTENT_TYPE, Metrics
from agent_rl_sandboxes.serving.host_protocol import FRESH_PER_WORKER, PREFIX, PROTOCOL, SESSION_HEADER, VERSION_HEADER
from agent_rl_sandboxes.serving.host_sessions import HostSession, HostSessions, NoSession, UnknownSandbox
from agent_rl_sandboxes.serving.request_bodies import Refusal, deadline_of, held_body, refusal, taken_apart

_LOG = logging.getLogger(__name__)
_REST = "/{rest}"
"""The path pattern of requests that match no route."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_M = TypeVar("_M")
_RunOrPair = TypeVar("_RunOrPair", host_protocol.RunMessage, host_protocol.PairMessage)
_R = TypeVar("_R")
_S = TypeVar("_S", bound=web.StreamResponse)


class HostApp:
    """The routes around a started provider. `token` None: whoever can connect may use them."""

    def __init__(self, provider: SandboxProvider, token: str | None, limits: HostLimits) -> None:
        self._provider = provider
        self._token = token
        self.limits = limits
        self.draining = False
        """Whether new work is refused, since the host is going down."""
        self.gate = Gate(limits.workers, limits.queue)
        self.fresh_gate = Gate(FRESH_PER_WORKER * limits.workers, limits.queue)
        """The gate of runs in workers made for them alone. They are counted separately, so that the honest run by which
        another run is judged has room beside it, however busy the warm workers are."""
        self.sessions = HostSessions(limits.lease_seconds, limits.sessions, limits.sandboxes)
        self._bodies = Budget(limits.held_bytes, "bytes of bodies")
        self._requests = Budget(limits.requests, "requests at a time")
        self.idle = asyncio.Event()
        """Set while no request is under way."""
        self.idle.set()
        self.metrics = self._make_metrics()

    def make(self) -> web.Application:
        """The application, for one server."""
        app = web.Application(middlewares=[self._guard], client_max_size=1)
        sandbox = f"{PREFIX}/sandboxes/{{sandbox:[0-9a-f]{{32}}}}"
        session = f"{PREFIX}/sessions/{{session:[0-9a-f]{{32}}}}"
        app.add_routes(
            [
                web.get("/health", self._health, expect_handler=_expects_nothing),
                web.get("/metrics", self._show_metrics, expect_handler=_expects_nothing),
                web.get(f"{PREFIX}/host", self._describe, expect_handler=_expects_nothing),
                web.post(f"{PREFIX}/sessions", self._open_session, expect_handler=_expects_nothing),
                web.put(session, self._renew_session, expect_handler=_expects_nothing),
                web.delete(session, self._end_session, expect_handler=_expects_nothing),
                web.post(f"{PREFIX}/runs", self._run, expect_handler=_expects_nothing),
                web.post(f"{PREFIX}/pairs", self._run_pair, expect_handler=_expects_nothing),
                web.put(sandbox, self._open_sandbox, expect_handler=_expects_nothing),
                web.delete(sandbox, self._close_sandbox, expect_handler=_expects_nothing),
                web.post(f"{sandbox}/exec", self._exec, expect_handler=_expects_nothing),
                web.post(f"{sandbox}/read", self._read, expect_handler=_expects_nothing),
                web.put(f"{sandbox}/files", self._write_files, expect_handler=_expects_nothing),
            ]
        )
        # Also for paths without a route: aiohttp's own answers to an Expect header can fail over the header's content.
        app.router.add_route("*", "/{rest:.*}", self._no_route, expect_handler=_expects_nothing)
        return app

    # What every request passes

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        known = resource.canonical if resource is not None else _REST
        route = f"{request.method} {known}" if known != _REST else "none"
        try:
            response = await self._admit(request, handler)
        except (asyncio.CancelledError, ConnectionError):
            self.metrics.count("requests_total", route=route, status="gone")
            raise
        except Exception as error:
            response = self._answer_to(error)
        self.metrics.count("requests_total", route=route, status=str(response.status))
        return response

    async def _admit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if "Expect" in request.headers:
            raise web.HTTPExpectationFailed
        if request.path == "/health":
            return await handler(request)
        if "Origin" in request.headers:
            raise Refusal("forbidden", "web pages are not served")
        if self._token is not None and not authorized(request.headers.get("Authorization"), self._token):
            raise Refusal("unauthorized", "the token is missing or wrong")
        if request.path == "/metrics":
            return await handler(request)
        if request.headers.get(VERSION_HEADER) != str(PROTOCOL):
            raise Refusal("protocol", _other_version(request.headers.get(VERSION_HEADER)))
        if request.path.startswith(f"{PREFIX}/sessions/") or request.method == "DELETE":
            return await handler(request)  # never refused as busy: a client can always renew its session and clean up
        if self.draining:
            raise Refusal("draining", "this host is going down")
        with self._requests.take(1):
            self.idle.clear()
            try:
                return await self._sent(request, await handler(request))
            finally:
                if self._requests.taken == 1:
                    self.idle.set()

    async def _sent(self, request: web.Request, response: _S) -> _S:
        """The response, once the client has received it; until then the request is under way. Else ConnectionError."""
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError("the client did not take the answer in") from None
        return response

    def _answer_to(self, error: Exception) -> web.Response:
        """The answer to what a handler raised."""
        text = str(error)
        match error:
            case Refusal():
                return refusal(error.kind, text)
            case Busy():
                self.metrics.count("refused_total")
                return refusal("busy", text, retry_after=error.retry_after)
            case web.HTTPException():
                return refusal("malformed", error.reason, status=error.status)
            case MalformedBody() | HttpProcessingError() | RequestPayloadError():
                return refusal("malformed", text or type(error).__name__)
            case NoSession():
                return refusal("session", text)
            case UnknownSandbox():
                return refusal("sandbox_gone", text)
            case TestsPlaceError():
                return refusal("tests_place", text)
            case SandboxStartError():
                return refusal("sandbox_start", text)
            case SandboxError():
                return refusal("sandbox", text)
            case ConfigError():
                return refusal("config", text)
            case FileNotFoundError():
                return refusal("file", error.strerror or text, number=error.errno or errno.ENOENT)
            case TimeoutError():
                return refusal("deadline", "not done in time")
            case OSError():
                return refusal("os", error.strerror or text, number=error.errno or errno.EIO)
            case ValueError():
                return refusal("value", text)
            case _:
                _LOG.exception("a request failed", exc_info=error)
                return refusal("internal", f"{type(error).__name__} (see the host's log)")

    async def _message(self, request: web.Request, kind: type[_M]) -> _M:
        """The small message in the body."""
        async with held_body(request, self.limits.body_bytes, self._bodies, self.limits.body_seconds) as body:
            return await taken_apart(body, lambda data: from_json(kind, data))

    def _session(self, request: web.Request) -> HostSession:
        return self.sessions.get(request.headers.get(SESSION_HEADER, ""))

    def _sandbox(self, request: web.Request, session: HostSession) -> Sandbox:
        return self.sessions.sandbox(session, request.match_info["sandbox"])

    async def _no_route(self, request: web.Request) -> web.Response:
        raise Refusal("route", "there is no such route")

    # What the host is and how it is doing

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "draining" if self.draining else "serving", "protocol": PROTOCOL},
            status=503 if self.draining else 200,
        )

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.render().encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _describe(self, request: web.Request) -> web.Response:
        return _json(self._description())

    def _description(self) -> host_protocol.HostDescription:
        described = dict(self._provider.describe())
        return host_protocol.HostDescription(
            protocol=PROTOCOL,
            isolation=self._provider.isolation,
            why_not_higher=tuple(str(reason) for reason in described.get("why_not_higher", ())),
            workers=self.limits.workers,
            sandboxes=self.limits.sandboxes,
            body_bytes=self.limits.body_bytes,
            provider=described,
        )

    def _load(self) -> host_protocol.HostLoad:
        return host_protocol.HostLoad(self.gate.inside, self.gate.waiting, self.sessions.sandboxes, self.draining)

    # Sessions

    async def _open_session(self, request: web.Request) -> web.Response:
        session = self.sessions.open()
        return _json(host_protocol.Welcome(session.id, self.limits.lease_seconds, self._description(), self._load()))

    async def _renew_session(self, request: web.Request) -> web.Response:
        self.sessions.get(request.match_info["session"])
        return _json(self._load())

    async def _end_session(self, request: web.Request) -> web.Response:
        await asyncio.shield(asyncio.ensure_future(self.sessions.end(request.match_info["session"])))
        return web.Response(status=204)

    # Runs

    async def _run(self, request: web.Request) -> web.Response:
        result = await self._in_worker(
            request,
            host_protocol.RunMessage,
            lambda message: check_limits(message.request.limits, self.limits),
            lambda message: self._provider.run(message.request, fresh=message.fresh),
        )
        self.metrics.count("runs_total", status=result.status)
        return _json(result)

    async def _run_pair(self, request: web.Request) -> web.Response:
        result = await self._in_worker(
            request,
            host_protocol.PairMessage,
            lambda message: check_limits(message.request.limits, self.limits),
            lambda message: self._provider.run_pair(message.request, fresh=message.fresh),
        )
        self.metrics.count("runs_total", status=result.candidate.status)
        return _json(result)

    async def _in_worker(
        self,
        request: web.Request,
        kind: type[_RunOrPair],
        check: Callable[[_RunOrPair], None],
        work: Callable[[_RunOrPair], Awaitable[_R]],
    ) -> _R:
        """What `work` returns for the message in the body, in its turn; ends at the deadline or if the client goes."""
        session = self._session(request)
        deadline = deadline_of(request, host_protocol.run_deadline(PARTS * PATIENCE * self.limits.run_seconds))
        with self.sessions.work(session):
            async with (
                asyncio.timeout(deadline),
                held_body(request, self.limits.body_bytes, self._bodies, self.limits.body_seconds) as body,
            ):
                message = await taken_apart(body, lambda data: from_json(kind, data))
                check(message)
                gate = self.fresh_gate if message.fresh else self.gate
                async with gate.enter(self.limits.queue_seconds):
                    started = time.monotonic()
                    result = await work(message)
        self.metrics.observe("run_seconds", time.monotonic() - started)
        return result

    # Sandboxes

    async def _open_sandbox(self, request: web.Request) -> web.Response:
        session = self._session(request)
        spec = (await self._message(request, host_protocol.SandboxMessage)).spec
        check_spec(spec, self.limits)
        self.sessions.add(session, request.match_info["sandbox"], lambda: self._provider.sandbox(spec))
        return web.Response(status=204)

    async def _close_sandbox(self, request: web.Request) -> web.Response:
        await self.sessions.close_sandbox(self._session(request), request.match_info["sandbox"])
        return web.Response(status=204)

    async def _exec(self, request: web.Request) -> web.Response:
        session = self._session(request)
        sandbox = self._sandbox(request, session)
        deadline = deadline_of(request, host_protocol.run_deadline(COMMAND_TIMES * self.limits.run_seconds))
        with self.sessions.work(session):
            async with asyncio.timeout(deadline):
                message = await self._message(request, host_protocol.ExecMessage)
                check_command(message, self.limits)
                result = await sandbox.exec(
                    message.command, stdin=message.stdin, timeout=message.timeout, environment=message.environment
                )
        self.metrics.count("commands_total", status=result.status)
        return _json(result)

    async def _write_files(self, request: web.Request) -> web.Response:
        session = self._session(request)
        sandbox = self._sandbox(request, session)
        limits = self.limits
        with self.sessions.work(session):
            async with (
                asyncio.timeout(deadline_of(request, host_protocol.UPLOAD_SECONDS)),
                held_body(request, limits.body_bytes, self._bodies, limits.body_seconds) as body,
            ):
                bounds = ArchiveLimits(archive_bytes=limits.body_bytes)
                await sandbox.write_files(await taken_apart(body, lambda data: unpack(data, bounds)))
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> web.Response:
        session = self._session(request)
        sandbox = self._sandbox(request, session)
        with self.sessions.work(session), contextlib.ExitStack() as held:
            async with asyncio.timeout(deadline_of(request, host_protocol.UPLOAD_SECONDS)):
                message = await self._message(request, host_protocol.ReadMessage)
                if not 0 <= message.max_bytes <= min(self.limits.read_bytes, self.limits.held_bytes):
                    raise ValueError(f"max_bytes = {message.max_bytes} is out of range")
                held.enter_context(self._bodies.take(message.max_bytes))
                content = await sandbox.read_file(checked_path(message.path), max_bytes=message.max_bytes)
            return await self._sent(request, web.Response(body=content, content_type="application/octet-stream"))

    def _make_metrics(self) -> Metrics:
        metrics = Metrics()
        metrics.counter("requests_total", "Requests by route and status (gone: the client was).", "route", "status")
        metrics.counter("refused_total", "Requests answered with 429.")
        metrics.counter("malformed_total", "Connections that spoke no HTTP.")
        metrics.counter("runs_total", "Runs in workers by how they ended.", "status")
        metrics.counter("commands_total", "Commands in sandboxes by how they ended.", "status")
        metrics.histogram("run_seconds", "Seconds a run took in its worker, its start included.")
        metrics.gauge("workers", "Runs at a time, at most.", lambda: self.limits.workers)
        metrics.gauge("runs_in_workers", "Runs in workers now.", lambda: self.gate.inside + self.fresh_gate.inside)
        metrics.gauge("runs_waiting", "Runs that wait for one.", lambda: self.gate.waiting + self.fresh_gate.waiting)
        metrics.gauge("requests_under_way", "Requests under way.", lambda: self._requests.taken)
        metrics.gauge("body_bytes", "Bytes of bodies and files in memory.", lambda: self._bodies.taken)
        metrics.gauge("sandboxes", "Sandboxes that are open.", lambda: self.sessions.sandboxes)
        metrics.gauge("sessions", "Clients.", lambda: len(self.sessions))
        metrics.gauge("sessions_lapsed", "Sessions whose client was not heard of.", lambda: self.sessions.lapsed)
        metrics.gauge("draining", "1 where no new work is taken.", lambda: float(self.draining))
        return metrics


def _other_version(sent: str | None) -> str:
    """What to tell a client that speaks another version of the protocol, or none."""
    if sent is None:
        return f"this host speaks version {PROTOCOL} of its protocol: send {VERSION_HEADER}: {PROTOCOL}"
    return (
        f"this host speaks version {PROTOCOL} of its protocol and the client version {sent[:20]!r}: install the same "
        "version of agent-rl on both"
    )


async def _expects_nothing(request: web.Request) -> None:
    """Does nothing: the guard, which every request passes, answers an Expect header."""


def _json(value: Any) -> web.Response:
    return web.Response(body=to_json(value), content_type="application/json")
