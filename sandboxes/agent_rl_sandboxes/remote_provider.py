"""`RemoteProvider`: the sandboxes of other machines, each served by `agent-rl sandbox serve`, as one provider.

Programs, their inputs and files are sent to a host, and their output comes back. The judge stays here: at tier `values`
no expected value leaves this machine. Hidden tests that must run near the program are sent as files. The hosts must be
trusted: a verdict is right only if the host runs the program as asked and reports its output truthfully.

A host that dies gets no more work until it answers again. Its runs are started again on another host. Such a run may
happen twice; one result is used. An episode's sandbox is lost with its host (SandboxError): its files are gone, and the
rollout starts again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions, Sandbox, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError, SandboxStartError, TestsPlaceError
from agent_rl.vocabulary import Isolation, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.remote_host import HostBusy, HostLost, HostRefused, Pace, RemoteHost
from agent_rl_sandboxes.remote_places import Places
from agent_rl_sandboxes.remote_sandbox import RemoteSandbox
from agent_rl_sandboxes.serving.bearer_tokens import read_token
from agent_rl_sandboxes.serving.host_json import MalformedBody, from_json, to_json
from agent_rl_sandboxes.serving.host_protocol import FRESH_PER_WORKER, PairMessage, RunMessage, run_deadline
from agent_rl_sandboxes.workers import LEVELS

_R = TypeVar("_R")
_LOG = logging.getLogger(__name__)
_MOST_LOST = 3
"""A run that has lost this many hosts is given up: it may be the reason that they end."""
_AFTER_THE_RUN = {"sandbox": SandboxError, "internal": SandboxError, "tests_place": TestsPlaceError}
"""Kinds of errors that the program may have caused; after any other kind, no program has run."""


@dataclass(frozen=True, slots=True)
class _Question(Generic[_R]):
    """A request to a worker of any host; its answer is a `kind` of at most `most` bytes, after `seconds` at most."""

    path: str
    body: bytes
    fresh: bool
    seconds: float
    most: int
    kind: type[_R]


class RemoteOptions(ProviderOptions):
    """The table `[sandbox.remote]`: which hosts there are, and how to connect to them."""

    hosts: tuple[str, ...] = Field(default=(), validate_default=True)
    """Machines that run `agent-rl sandbox serve`, as https://host:port."""
    token_file: str | None = None
    """A file with the token that the hosts ask for; None: AGENT_RL_SANDBOX_TOKEN holds it. Never the token itself."""
    ca_file: str | None = None
    """A file with the authorities that sign the hosts' certificates; None: those of this system."""

    @field_validator("hosts")
    @classmethod
    def _plain_urls(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if not hosts:
            raise ValueError("the remote provider needs the URL of at least one host")
        for url in hosts:
            check_url(url)
        return hosts


class RemoteProvider(SandboxProvider):
    """Several hosts as one provider: `sandbox.remote.hosts`, with the token from a file or the environment."""

    name = "remote"
    options_class = RemoteOptions
    pytest_remedy = "add pytest to the image of the sandbox hosts, or to the task's own image"
    packages_remedy = (
        "on each host, `agent-rl sandbox build --with {packages}`, and `serve --set image=...` with its name"
    )

    def __init__(
        self,
        config: SandboxConfig,
        options: RemoteOptions,
        *,
        pace: Pace = Pace(),  # noqa: B008
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Raises ConfigError for an image, and for a token or a CA file that cannot be used."""
        if config.image is not None:
            message = "each host has an image of its own: give it there, with `agent-rl sandbox serve --set image=...`"
            raise ConfigError(message, key="sandbox.image", value=config.image)
        token = read_token(options.token_file, environment, key="sandbox.remote.token_file")
        tls = _client_tls(options.ca_file)
        if token is not None:
            _warn_of_plain_http(options.hosts)
        self._hosts = [
            RemoteHost(
                url,
                token=token,
                tls=tls,
                minimum=config.minimum_isolation,
                pace=pace,
                changed=self._changed,
            )
            for url in options.hosts
        ]
        self._runs = Places(
            self._hosts,
            room=lambda host: host.welcome.host.workers if host.welcome is not None else 0,
            taken_by_all=lambda host: host.load.running + host.load.waiting,
            patience=pace.patience,
        )
        self._fresh = Places(
            self._hosts,
            room=lambda host: FRESH_PER_WORKER * host.welcome.host.workers if host.welcome is not None else 0,
            taken_by_all=lambda host: 0,
            patience=pace.patience,
        )
        self._places = Places(
            self._hosts,
            room=lambda host: host.welcome.host.sandboxes if host.welcome is not None else 0,
            taken_by_all=lambda host: host.load.sandboxes,
            patience=pace.patience,
        )
        self._sandboxes: set[RemoteSandbox] = set()
        self._state = "not started"

    async def start(self) -> None:
        if self._state == "started":
            return
        self._state = "started"
        try:
            await asyncio.gather(*(host.start() for host in self._hosts))
            if all(host.out is not None for host in self._hosts):
                raise SandboxError(
                    f"no sandbox host can be used: {self._runs.reasons()}. On each of them `agent-rl sandbox serve` "
                    "must run, with the same token as here"
                )
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self.close()))
            raise
        for host in self._hosts:
            if host.out is not None:
                _LOG.warning("the sandbox host %s is not used until it answers: %s", host.url, host.out)

    async def close(self) -> None:
        if self._state != "started":
            return
        self._state = "closed"
        await asyncio.gather(*(host.close() for host in self._hosts))
        for sandbox in tuple(self._sandboxes):
            await sandbox.close()

    @property
    def isolation(self) -> Isolation:
        """The weakest level of the hosts that are in; if all are out, of those that have been in."""
        known = [(host, host.welcome.host.isolation) for host in self._hosts if host.welcome is not None]
        levels = [level for host, level in known if host.out is None] or [level for _, level in known]
        for level in LEVELS:
            if level in levels:
                return level
        raise SandboxError("the remote provider has not been started")

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        return self.sandbox_on(None, spec)

    def sandbox_on(self, host: RemoteHost | None, spec: SandboxSpec) -> Sandbox:
        """As `sandbox`, on this host only (None: on any)."""
        if spec.build_folder is not None:
            raise ConfigError(
                "a remote host builds no images from folders of this machine: build it there, and name the image",
                key="sandbox.build_folder",
                value=spec.build_folder,
            )
        sandbox = RemoteSandbox(spec, self._places, self.check_open, self._sandboxes.discard, host)
        self._sandboxes.add(sandbox)
        return sandbox

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await self._issue(_question_of(request, fresh))

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        return await self._issue(_question_of_pair(request, fresh))

    async def _issue(self, question: _Question[_R]) -> _R:
        """The answer of one host; if that host is lost, the question goes to another."""
        places = self._fresh if question.fresh else self._runs
        refused: dict[RemoteHost, SandboxStartError] = {}
        lost: list[str] = []
        while True:
            self.check_open()
            try:
                host = await places.take(besides=refused)
            except SandboxStartError as error:
                raise next(iter(refused.values()), error) from None
            try:
                return await _ask(host, question)
            except HostLost as error:
                lost.append(str(error))
                if len(lost) >= _MOST_LOST:
                    raise SandboxStartError(f"{len(lost)} hosts were lost under it: {'; '.join(lost)}") from error
            except HostBusy as busy:
                host.rest(busy.retry_after)
            except SandboxStartError as error:
                refused[host] = error
                if all(h in refused for h in self._hosts if h.out is None):
                    raise
            finally:
                places.give_back(host)

    def on_one_host(self) -> SandboxProvider:
        return _OneHost(self)

    async def run_on_one(self, host: RemoteHost, request: RunRequest, *, fresh: bool) -> RunResult:
        """As `run`, but on `host`, and never issued again elsewhere."""
        return await self._issue_on_one(host, _question_of(request, fresh))

    async def run_pair_on_one(self, host: RemoteHost, request: PairRequest, *, fresh: bool) -> PairResult:
        """As `run_on_one`."""
        return await self._issue_on_one(host, _question_of_pair(request, fresh))

    async def _issue_on_one(self, host: RemoteHost, question: _Question[_R]) -> _R:
        places = self._fresh if question.fresh else self._runs
        while True:
            self.check_open()
            await places.take(only=host)
            try:
                return await _ask(host, question)
            except HostLost as error:
                raise SandboxStartError(str(error)) from error
            except HostBusy as busy:
                host.rest(busy.retry_after)
            finally:
                places.give_back(host)

    def describe(self) -> Mapping[str, Any]:
        hosts: list[dict[str, Any]] = []
        for host in self._hosts:
            known = host.welcome.host if host.welcome is not None else None
            hosts.append(
                {
                    "url": host.url,
                    "out": host.out,
                    "workers": known.workers if known is not None else None,
                    "isolation": known.isolation if known is not None else None,
                    "provider": known.provider if known is not None else None,
                }
            )
        reasons = [f"{h.url}: {r}" for h in self._hosts if h.welcome is not None for r in h.welcome.host.why_not_higher]
        return {"name": self.name, "isolation": self.isolation, "why_not_higher": reasons, "hosts": hosts}

    def check_open(self) -> None:
        """Raises SandboxError if the provider has not been started, or has been closed."""
        if self._state == "closed":
            raise SandboxError("the remote provider has been closed")
        if self._state != "started":
            raise SandboxError("the remote provider has not been started")

    def choose_one(self) -> RemoteHost:
        """The host that would get the next run if it had room. Raises SandboxStartError if none is in."""
        self.check_open()
        return self._runs.choose_one()

    def _changed(self) -> None:
        for places in (self._runs, self._fresh, self._places):
            places.changed()


class _OneHost(SandboxProvider):
    """A view of the provider that puts all runs and sandboxes on one host: the least loaded one at first use."""

    name = RemoteProvider.name

    def __init__(self, provider: RemoteProvider) -> None:
        self._provider = provider
        self._host: RemoteHost | None = None

    async def start(self) -> None:
        """Nothing: the provider has been started."""

    async def close(self) -> None:
        """Nothing: the provider goes on."""

    @property
    def isolation(self) -> Isolation:
        return self._provider.isolation

    def sandbox(self, spec: SandboxSpec) -> Sandbox:
        return self._provider.sandbox_on(self._chosen(), spec)

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await self._provider.run_on_one(self._chosen(), request, fresh=fresh)

    def _chosen(self) -> RemoteHost:
        """The host. Raises SandboxStartError if none is in."""
        if self._host is None:
            self._host = self._provider.choose_one()
        return self._host

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        return await self._provider.run_pair_on_one(self._chosen(), request, fresh=fresh)

    def on_one_host(self) -> SandboxProvider:
        return self

    def describe(self) -> Mapping[str, Any]:
        return self._provider.describe()


def _question_of(request: RunRequest, fresh: bool) -> _Question[RunResult]:
    # As JSON, text may be six times as long, and bytes a third longer.
    most = (1 << 20) + 12 * request.most_output_bytes + 128 * len(request.calls)
    return _Question("/runs", to_json(RunMessage(request, fresh)), fresh, request.longest_seconds, most, RunResult)


def _question_of_pair(request: PairRequest, fresh: bool) -> _Question[PairResult]:
    limits = request.limits
    most = 2 * ((1 << 20) + 12 * limits.output_bytes)
    return _Question("/pairs", to_json(PairMessage(request, fresh)), fresh, limits.longest_seconds, most, PairResult)


async def _ask(host: RemoteHost, question: _Question[_R]) -> _R:
    """The host's answer. Raises HostLost, HostBusy, SandboxError, SandboxStartError."""
    deadline = run_deadline(question.seconds)
    try:
        content = await host.call("POST", question.path, question.body, deadline=deadline, most=question.most)
        return from_json(question.kind, content)
    except HostRefused as refusal:
        raise _AFTER_THE_RUN.get(refusal.kind, SandboxStartError)(str(refusal)) from None
    except MalformedBody as error:
        raise SandboxError(f"{host.url} answered nonsense: {error}") from None


def check_url(url: str) -> None:
    """`url` names a host and nothing else. Raises ValueError, whose text never repeats a token from the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("the token does not belong into the URL: see token_file")
    plain = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and port != 0
    if not plain or parts.query or parts.fragment:
        raise ValueError("expected http(s)://HOST:PORT")


def _warn_of_plain_http(urls: Iterable[str]) -> None:
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme == "http" and not _loopback(parts.hostname or ""):
            _LOG.warning("%s: programs and the token cross the network unencrypted; https needs --tls-cert there", url)


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _client_tls(ca_file: str | None) -> ssl.SSLContext | None:
    """The TLS context for hosts signed by the authorities in `ca_file`; None for the system's. Raises ConfigError."""
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file).expanduser()))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file} cannot be used: {error}", key="sandbox.remote.ca_file") from None
