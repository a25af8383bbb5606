"""What a Docker daemon says of itself (`docker info`): whether it can confine programs, and how it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_rl.errors import ConfigError


def unfit(info: Mapping[str, Any]) -> str | None:
    """Why a daemon with this `info` cannot confine programs; None if it can."""
    if info.get("OSType") != "linux":
        return f"the Docker daemon runs {info.get('OSType')} containers; Linux containers are needed"
    missing = [name for key, name in (("MemoryLimit", "memory"), ("PidsLimit", "process")) if info.get(key) is False]
    if missing:
        return (
            f"this Docker daemon cannot enforce {' and '.join(missing)} limits (cgroup version "
            f"{info.get('CgroupVersion')}, rootless daemons need version 2 and delegated controllers): boot with "
            "systemd.unified_cgroup_hierarchy=1, and see https://docs.docker.com/engine/security/rootless/"
        )
    if not any("seccomp" in str(option) for option in info.get("SecurityOptions") or ()):
        return "this Docker daemon has no seccomp: use a kernel and a daemon that are built with it"
    return None


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Whether a daemon with this `info` runs as an ordinary user."""
    return any("rootless" in str(option) for option in info.get("SecurityOptions") or ())


def has_apparmor(info: Mapping[str, Any]) -> bool:
    """Whether a daemon with this `info` puts containers under an AppArmor profile; a rootless daemon cannot."""
    return any("apparmor" in str(option) for option in info.get("SecurityOptions") or ())


def check_runtime(info: Mapping[str, Any], runtime: str | None) -> None:
    """A daemon with this `info` knows `runtime`. Raises ConfigError that lists the runtimes it knows."""
    known = [str(name) for name in info.get("Runtimes") or ()]
    # A shim's full name needs no entry in the daemon's configuration; only a start shows whether it is there.
    if runtime is None or runtime in known or runtime.startswith("io.containerd."):
        return
    gvisor = runtime == "runsc"
    remedy = ": install gVisor, then as root `runsc install` and `systemctl restart docker`" if gvisor else ""
    raise ConfigError(
        f"this Docker daemon has no such runtime, only {', '.join(sorted(known))}{remedy}",
        key="sandbox.docker.runtime",
        value=runtime,
        valid=() if gvisor else known,
    )
