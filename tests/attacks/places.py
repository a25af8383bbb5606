"""The places in which attacks are tried: the local sandbox, and Docker."""

from __future__ import annotations

from typing import Any

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.registry import resolve

PROVIDERS = {
    "local": "agent_rl_sandboxes.local:LocalProvider",
    "docker": "agent_rl_sandboxes.docker:DockerProvider",
}
PLACES = [
    pytest.param("local", marks=pytest.mark.local_sandbox),
    pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
]


def provider_of(name: str) -> SandboxProvider:
    """The provider, not yet started."""
    kind: Any = resolve(PROVIDERS[name], "agent_rl.sandboxes", key="provider")
    return kind(SandboxConfig(provider=name, slots=2))
