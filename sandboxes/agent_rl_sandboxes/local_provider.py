"""Sandboxes on this machine without Docker: unprivileged namespaces around the same worker server.

A run or an episode sees a read-only view of this system's programs and libraries (/usr and what belongs to it, the
interpreter), a small generated /etc, five devices, its own /proc and its own tmpfs. It sees no home folder, no socket
of this host, no other process, and no network but an empty loopback. It has no capability, cannot gain any, and is
under a system call filter. Its processes end with it, however it ends.

It does not protect from:
- holes in the kernel that can be reached through the system calls that are left;
- memory beyond a run's limit for some milliseconds, since without a cgroup it is only looked at again and again; in an
  episode, the limits of all processes add up;
- processor time: a run may use every core until its wall-clock limit;
- a program reading what any user of this machine may read below /usr;
- side channels between programs on the same machine (caches, timing, load).
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.vocabulary import Isolation, PairRequest, PairResult, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.episode_sandbox import PreparedPlace, prepare
from agent_rl_sandboxes.kernel_switches import blockers
from agent_rl_sandboxes.local_channel import LocalChannel
from agent_rl_sandboxes.local_sandbox import LocalPlace, LocalSandbox
from agent_rl_sandboxes.paired_runs import talk_in_pair
from agent_rl_sandboxes.worker_pool import WorkerPool, check_isolation
from agent_rl_sandboxes.workers import Worker, WorkerSetup, worker_command

DOES_NOT_PROTECT_FROM = (
    "holes in the kernel",
    "memory beyond a run's limit for some milliseconds (no cgroup)",
    "use of every core until the wall-clock limit",
    "reading what any user may read below /usr",
    "side channels between programs on this machine",
)


class LocalProvider(SandboxProvider):
    """Warm workers and episodes in namespaces on this machine; needs unprivileged user namespaces, or root."""

    name = "local"
    auto_order = 2
    pytest_remedy = "install python3-pytest on this machine"
    packages_remedy = (
        "programs run with this machine's system Python: install it there (`apt-get install {debian}`), or "
        "use sandbox.provider = 'docker' and an image that has it (`agent-rl sandbox build --with {packages}`)"
    )

    def __init__(self, config: SandboxConfig, options: ProviderOptions = ProviderOptions()) -> None:  # noqa: B008
        """This provider has no options of its own. Raises ConfigError for an image."""
        if config.image is not None:
            message = "the local sandbox has no images: use sandbox.provider = 'docker'"
            raise ConfigError(message, key="sandbox.image", value=config.image)
        self._config = config
        self._python = system_python()
        self._pool: WorkerPool | None = None
        self._sandboxes: set[LocalSandbox] = set()
        self._starts = asyncio.Semaphore(config.concurrent_starts)

    async def start(self) -> None:
        if self._pool is not None:
            return
        if sys.platform != "linux":
            raise SandboxError("the local sandbox needs Linux namespaces: use Docker (sandbox.provider = 'docker')")
        pool = WorkerPool(
            lambda: self._open(WorkerSetup(fall_back=False, preload=self._config.preload)), self._config.workers
        )
        try:
            await pool.start()
        except SandboxError as error:
            raise SandboxError(f"the local sandbox cannot work here: {error}. {'. '.join(blockers())}") from error
        self._pool = pool
        try:
            check_isolation(pool.isolation, self._config.minimum_isolation, pool.first.reasons)
        except SandboxError:
            await self.close()
            raise

    async def close(self) -> None:
        for sandbox in list(self._sandboxes):
            await sandbox.close()
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.shield(pool.close())

    @property
    def isolation(self) -> Isolation:
        return self._started().isolation

    def sandbox(self, spec: SandboxSpec) -> LocalSandbox:
        """A sandbox of this spec, not yet started. Raises ConfigError for what only Docker has."""
        for key, unfit in (
            ("image", spec.image is not None),
            ("build_folder", spec.build_folder is not None),
            ("user", spec.user is not None),
            ("network", spec.network != "none"),
            ("hardening", spec.hardening != "strict"),
        ):
            if unfit:
                raise ConfigError(
                    f"the local provider cannot give {getattr(spec, key)!r}: use sandbox.provider = 'docker'",
                    key=f"sandbox.{key}",
                )
        sandbox = LocalSandbox(spec, self._start_episode, self._sandboxes.discard)
        self._sandboxes.add(sandbox)
        return sandbox

    async def run_pair(self, request: PairRequest, *, fresh: bool = False) -> PairResult:
        return await self._started().run_pair(lambda a, b: talk_in_pair(a, b, request), fresh=fresh)

    async def run(self, request: RunRequest, *, fresh: bool = False) -> RunResult:
        return await self._started().run(request, fresh=fresh)

    def describe(self) -> Mapping[str, Any]:
        first = self._started().first
        return {
            "name": self.name,
            "kernel": platform.release(),
            "python": f"{self._python} ({first.python})",
            "image": None,
            "isolation": first.isolation,
            "why_not_higher": list(first.reasons),
            "memory": first.memory,
            "waits_known": first.waits,
            "workers": self._config.workers,
            "does_not_protect_from": list(DOES_NOT_PROTECT_FROM),
        }

    def _started(self) -> WorkerPool:
        if self._pool is None:
            raise SandboxError("the local provider has not been started")
        return self._pool

    async def _start_episode(self, spec: SandboxSpec) -> PreparedPlace[LocalPlace]:
        """Namespaces for an episode, with a server in them. Raises SandboxError."""
        self._started()
        async with self._starts:
            return await prepare(await LocalPlace.start(self._worker_command(), spec), "in its namespaces")

    async def _open(self, setup: WorkerSetup) -> Worker:
        return await Worker.open(await LocalChannel.start(self._worker_command()), setup)

    def _worker_command(self) -> list[str]:
        """The command line of a worker server."""
        return worker_command(self._python)


def system_python() -> str:
    """The system's Python, whose files everybody may read; else the one that this process was started from."""
    system = "/usr/bin/python3"
    if os.access(system, os.X_OK):
        return system
    return shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or getattr(
        sys, "_base_executable", sys.executable
    )
