"""`DockerOptions`: the table `[sandbox.docker]`."""

from __future__ import annotations

from agent_rl.contracts import ProviderOptions


class DockerOptions(ProviderOptions):
    """What a Docker daemon's containers are made of."""

    image: str | None = None
    """Image of workers, and of episodes whose spec names none; None for the one that `agent-rl sandbox build` makes."""
    runtime: str | None = None
    """A runtime that the daemon knows, such as `runsc` (gVisor); None for the daemon's own choice."""
    apparmor_profile: str | None = None
    """Profile of the warm workers' containers; Docker's own denies the mounts that isolation between runs needs."""
