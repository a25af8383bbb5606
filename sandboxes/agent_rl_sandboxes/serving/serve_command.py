"""`agent-rl sandbox serve`: this machine's sandboxes and workers for trainers on other machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from agent_rl.config import SandboxConfig, config_error, parse_options
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import ConfigError
from agent_rl.providers import check_sandbox_options, choose_provider
from agent_rl_sandboxes.serving.bearer_tokens import TOKEN_VARIABLE, read_token
from agent_rl_sandboxes.serving.host_limits import HostLimits
from agent_rl_sandboxes.serving.host_server import Bind, Host, check_exposure, server_tls

_MIB = 1 << 20
_DEFAULTS = HostLimits()


def serve(
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8700",
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"Holds the token that clients must send; else {TOKEN_VARIABLE} does. Beyond loopback: must."
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM), for https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM), where it is not in the same file.")] = None,
    sandbox: Annotated[str, typer.Option(metavar="NAME", help="auto, docker, local.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; by default one per core.")] = None,
    sandboxes: Annotated[int, typer.Option(min=1, help="Episodes' sandboxes at a time.")] = _DEFAULTS.sandboxes,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest body of a request.")] = 64,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests handled at a time.")] = _DEFAULTS.requests,
    lease: Annotated[
        float, typer.Option(min=1.0, metavar="SECONDS", help="A silent client's sandboxes end after so long.")
    ] = _DEFAULTS.lease_seconds,
    drain: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long running work may still take after SIGTERM.")
    ] = _DEFAULTS.drain_seconds,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another key of a configuration's [sandbox], as often as needed: --set image=my/image:1 "
            "--set minimum_isolation=namespaces.",
        ),
    ] = None,
) -> None:
    """Make this machine's sandboxes available over HTTP, to trainers with `sandbox.provider = "remote"`.

    Shuts down in order at SIGTERM and SIGINT. A second signal does not wait for running work.
    Exit codes: 0 ended, 2 a mistake in the options, 3 there is no sandbox here.
    """
    where = Bind.parse(bind)
    token = read_token(token_file, key="--token-file")
    check_exposure(where, token)
    tls = server_tls(tls_cert, tls_key)
    config = _config(
        {**parse_options(settings, "--set"), "provider": sandbox, "workers": workers or os.cpu_count() or 2}
    )
    limits = HostLimits(
        workers=config.workers,
        queue=4 * config.workers,
        sandboxes=sandboxes,
        requests=max_requests,
        connections=2 * max_requests,
        body_bytes=max_body * _MIB,
        held_bytes=4 * max(max_body * _MIB, _DEFAULTS.read_bytes),
        lease_seconds=lease,
        drain_seconds=drain,
    )
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(config, where, token, tls, limits))


def _config(settings: dict[str, Any]) -> SandboxConfig:
    """The host's own [sandbox]. Raises ConfigError."""
    if settings["provider"] == "remote" or "remote" in settings:
        raise ConfigError("a host serves its own sandboxes, not those of others", key="--sandbox", value="remote")
    try:
        config = SandboxConfig.model_validate(settings)
    except ValidationError as error:
        raise config_error(error, SandboxConfig, "--set") from None
    check_sandbox_options(config)
    return config


async def _serve(
    config: SandboxConfig, bind: Bind, token: str | None, tls: ssl.SSLContext | None, limits: HostLimits
) -> None:
    async with _told_to_end() as told:
        provider = await choose_provider(config, _say)
        async with _started(provider), Host(provider, bind, token=token, tls=tls, limits=limits) as host:
            _say(f"serving on {host.url} ({limits.workers} workers, isolation between runs: {provider.isolation})")
            if tls is None and not bind.loopback:
                _say("warning: without --tls-cert programs and the token cross the network unencrypted")
            if token is None:
                _say("warning: without a token every user of this machine can run programs in these sandboxes")
            told.serving = True
            await told.end.wait()
            _say("ending: no new work is taken")
    _say("ended")


class _Told:
    """What signals have asked for so far, and whether the host serves yet."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.serving = False


@contextlib.asynccontextmanager
async def _told_to_end() -> AsyncIterator[_Told]:
    """The first signal sets `end` if the host serves already; any other signal cancels."""
    told = _Told()
    main = asyncio.current_task()
    assert main is not None
    cancelled = False

    def on_signal() -> None:
        nonlocal cancelled
        if told.serving and not told.end.is_set():
            told.end.set()
        elif not cancelled:  # only once: the teardown that follows must be waited for
            cancelled = True
            main.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _started(provider: SandboxProvider) -> AsyncIterator[None]:
    """The provider is started while the context lasts; its closing is not cut short."""
    await provider.start()
    try:
        yield
    finally:
        await asyncio.shield(asyncio.ensure_future(provider.close()))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
