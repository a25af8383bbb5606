"""The places in which attacks are tried: the local sandbox and Docker, at each level of isolation they can have."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.registry import resolve
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.local_provider import LocalProvider
from tests.component.sandboxes.providers_by_level import BY_LEVEL, provider_at, skip_without_namespaces

PROVIDERS = {
    "local": "agent_rl_sandboxes.local_provider:LocalProvider",
    "docker": "agent_rl_sandboxes.docker_provider:DockerProvider",
}
_MARKS: dict[str, Any] = {
    "local": [pytest.mark.local_sandbox],
    "docker": [pytest.mark.docker, pytest.mark.slow],
}
PLACES = [pytest.param(name, marks=marks) for name, marks in _MARKS.items()]
LEVELS = tuple(f"{kind}-{level}" for kind, level in BY_LEVEL)
"""Provider and level, such as "docker-uid". The local sandbox never goes without namespaces of the worker's own."""


def provider_of(name: str) -> SandboxProvider:
    """The provider, not yet started."""
    kind: Any = resolve(PROVIDERS[name], "agent_rl.sandboxes", key="provider")
    return kind(SandboxConfig(provider=name, workers=2))


def provider_in(place: str, *, workers: int = 1) -> DockerProvider | LocalProvider:
    """A provider with one worker, or more, for `place`, one of LEVELS, not yet started."""
    kind, level = place.split("-")
    return provider_at(cast(Any, kind), cast(Any, level), SandboxConfig(provider=kind, workers=workers))


async def skip_where_levels_cannot_be_had(place: str) -> None:
    """Skips the test where this host gives less than every level: what is refused then proves nothing."""
    await skip_without_namespaces(cast(Any, place.split("-")[0]))


def level_of(place: str) -> str:
    """The isolation level that runs in `place` have."""
    return place.split("-")[1]


def marks_of(place: str) -> list[pytest.MarkDecorator]:
    """What a test in `place` needs; the fall-backs are slow tests too."""
    return [*_MARKS[place.split("-")[0]], *([] if level_of(place) == "namespaces" else [pytest.mark.slow])]
