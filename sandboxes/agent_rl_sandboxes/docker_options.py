"""`DockerOptions`: the table `[sandbox.docker]`."""

from __future__ import annotations

from agent_rl.contracts import ProviderOptions


class DockerOptions(ProviderOptions):
    """What a Docker daemon's containers are made of."""

    runtime: str | None = None
    """A runtime that the daemon knows, such as `runsc` (gVisor); None for the daemon's own choice."""
    apparmor_profile: str | None = None
    """Profile of the warm workers' containers; Docker's own denies the mounts that isolation between runs needs."""
