"""`host_config`: the options of the Docker API for a hardened container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.types import HostConfig, LogConfig, Ulimit

from agent_rl.vocabulary import Limits, SandboxSpec
from agent_rl_sandboxes.seccomp import profile

Purpose = Literal["worker", "uid_worker", "strict", "task_image"]
"""worker: judged programs, each in namespaces that the worker server makes | uid_worker: judged programs where the
server may make no namespaces, each as a user of its own | strict, task_image: an agent's episode."""

_HOLDER = "61373:61373"
"""A user that no image uses (65532 is the `nonroot` of some, 65534 `nobody`): no program may run as this user."""
PROGRAMS = "1000:1000"
"""The user that programs run as unless a spec names another."""
ROOT = "0:0"
"""The user that the server of a `uid_worker` runs as: it becomes another user for each program."""
HOSTNAME = "sandbox"
_MIB = 2**20
_SHM_BYTES = 16 * _MIB
_TMP_BYTES = 64 * _MIB
_OVERHEAD_BYTES = 64 * _MIB
"""Memory for everything but the programs: the first process and the server inside."""
_OVERHEAD_PROCESSES = 8


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one container may use: bytes, counts, processor cores."""

    memory_bytes: int
    processes: int
    cpus: float | None
    """None where the daemon cannot bound them."""
    tmpfs: dict[str, str] = field(default_factory=dict[str, str])
    """Mount point -> options. What lies there counts as the container's memory."""
    root_bytes: int | None = None
    """Bytes that may be written to a writable root."""


def holder_of(purpose: Purpose) -> str:
    """The user of the container's first process. It is not the programs' user, so programs cannot signal it.

    In a `uid_worker` it is root: a program started later by `exec` has no more capabilities than the first process.
    """
    return ROOT if purpose == "uid_worker" else _HOLDER


def worker_bounds(limits: Limits) -> Bounds:
    """The bounds of a worker's container for a run with these limits. The run's files count as memory too."""
    return Bounds(
        memory_bytes=limits.memory_bytes + limits.disk_bytes + _OVERHEAD_BYTES,
        processes=limits.processes + 4 * _OVERHEAD_PROCESSES,
        cpus=1.0,
        tmpfs={
            # A run without a mount namespace has its files in these; any other run has a tmpfs of its own.
            "/tmp": _tmpfs(limits.disk_bytes, limits.inodes),
            "/var/tmp": _tmpfs(_MIB, 128),
            "/dev/shm": _tmpfs(_SHM_BYTES, 128),
            "/run": _tmpfs(_MIB, 128),
        },
    )


def episode_bounds(spec: SandboxSpec, *, keeps_tmp: bool = False) -> Bounds:
    """The bounds of an episode's container.

    `strict`: the working directory is a tmpfs of `disk_bytes` and `inodes`. `task_image`: it is the image's own;
    `disk_bytes` bounds the whole writable root if the daemon's storage can do that, and each file otherwise. With
    `keeps_tmp`, /tmp is part of that root, so that what the image has there is seen.
    """
    tmp = min(_TMP_BYTES, spec.disk_bytes)
    shm = min(_SHM_BYTES, spec.disk_bytes)
    tmpfs = {"/tmp": _tmpfs(tmp, max(spec.inodes // 4, 16)), "/dev/shm": _tmpfs(shm, 128)}
    files = tmp + shm
    if keeps_tmp:
        del tmpfs["/tmp"]
        files -= tmp
    if spec.hardening == "strict":
        # A coding agent runs what it builds: here, and only here, files may be executed.
        tmpfs[spec.workdir] = _tmpfs(spec.disk_bytes, spec.inodes, executable=True) + _owned_by(spec.user or PROGRAMS)
        files += spec.disk_bytes
    return Bounds(
        memory_bytes=spec.memory_bytes + files + _OVERHEAD_BYTES,
        processes=spec.processes + _OVERHEAD_PROCESSES,
        cpus=spec.cpus,
        tmpfs=tmpfs,
        root_bytes=spec.disk_bytes if spec.hardening == "task_image" else None,
    )


def host_config(
    purpose: Purpose,
    bounds: Bounds,
    *,
    network: str = "none",
    runtime: str | None = None,
    apparmor: str | None = None,
    quota: bool = False,
) -> HostConfig:
    """The `HostConfig` of a container for `purpose`; `quota` if the daemon's storage can bound a writable root.

    Everything that Docker can restrict is restricted, except for one thing for each of three purposes. `worker` has the
    wider seccomp profile and an unmasked /proc, without which no namespace can have a /proc of its own; the run's own
    filter and its read-only view close both again. `uid_worker` has the two capabilities with which root becomes
    another user, who then has none. `task_image` has a writable root.
    """
    security = ["no-new-privileges"]
    if purpose == "worker":
        security.append(f"seccomp={profile('workers')}")
        if apparmor is not None:
            security.append(f"apparmor={apparmor}")
    else:
        security.append(f"seccomp={profile('default')}")
    ulimits = [
        Ulimit(name="nofile", soft=1024, hard=1024),
        Ulimit(name="core", soft=0, hard=0),
        Ulimit(name="memlock", soft=64 * 1024, hard=64 * 1024),
        Ulimit(name="msgqueue", soft=64 * 1024, hard=64 * 1024),
        Ulimit(name="sigpending", soft=1024, hard=1024),
    ]
    if bounds.root_bytes is not None:
        ulimits.append(Ulimit(name="fsize", soft=bounds.root_bytes, hard=bounds.root_bytes))
    config = HostConfig(
        version=DEFAULT_DOCKER_API_VERSION,
        network_mode=network,
        runtime=runtime,
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID"] if purpose == "uid_worker" else None,
        privileged=False,
        security_opt=security,
        read_only=purpose != "task_image",
        tmpfs=bounds.tmpfs,
        pids_limit=bounds.processes,
        mem_limit=bounds.memory_bytes,
        # Equal to mem_limit: no swap.
        memswap_limit=bounds.memory_bytes,
        nano_cpus=None if bounds.cpus is None else int(bounds.cpus * 1e9),
        ulimits=ulimits,
        storage_opt={"size": str(bounds.root_bytes)} if quota and bounds.root_bytes is not None else None,
        ipc_mode="none",
        init=True,
        log_config=LogConfig(type="none"),
        auto_remove=True,
    )
    if purpose == "worker":
        # On the command line: systempaths=unconfined. The kernel refuses a namespace its own /proc while parts of the
        # outer /proc are masked.
        config["MaskedPaths"] = []
        config["ReadonlyPaths"] = []
    return config


def _tmpfs(size: int, inodes: int, *, executable: bool = False) -> str:
    execution = "exec" if executable else "noexec"
    return f"rw,nosuid,nodev,{execution},size={size},nr_inodes={inodes},mode=1777"


def _owned_by(user: str) -> str:
    """The mount options that give a tmpfs to `user`, a user in numbers; "" for a name.

    Over a folder of the image, runc keeps that folder's mode.
    """
    uid, _, gid = user.partition(":")
    return f",uid={uid},gid={gid or uid}" if uid.isdigit() and (gid or uid).isdigit() else ""
