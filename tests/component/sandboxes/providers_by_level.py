"""Providers at a given level of isolation: their worker servers start under a filter that refuses what the better ones
need, as a host's own switches would. What is probed, recorded and fallen back to is the product's own code.
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.vocabulary import Isolation
from agent_rl_sandboxes.bpf import ALLOW, AUDIT_ARCH, by_number, refuse, where_any_flag
from agent_rl_sandboxes.docker_provider import DockerProvider
from agent_rl_sandboxes.inside import seccomp_filter
from agent_rl_sandboxes.local_provider import LocalProvider
from agent_rl_sandboxes.seccomp import Machine, syscall_numbers

Kind = Literal["docker", "local"]
_FILTER = Path(seccomp_filter.__file__).read_text()
_NAMESPACE_FLAGS, _NEW_USER = 0x7E020000, 0x10000000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}, and CLONE_NEWUSER."""


@dataclass(frozen=True)
class Refusal:
    """What a host refuses: calls by name, and new namespaces (any, or user ones) as flags, each with its errno."""

    calls: Mapping[str, int] = field(default_factory=dict[str, int])
    namespaces: int | None = None
    user_namespaces: int | None = None

    def program(self) -> bytes:
        """The filter for this machine, which is that of its Docker daemon too: what is not refused is allowed."""
        machine = cast(Machine, platform.machine())
        numbers = syscall_numbers(machine)
        outcome = {numbers[name]: refuse(error) for name, error in self.calls.items()}
        if self.namespaces is not None:
            outcome[numbers["clone3"]] = refuse(errno.ENOSYS)
            outcome[numbers["clone"]] = where_any_flag(_NAMESPACE_FLAGS, refuse(self.namespaces), ALLOW)
        if self.user_namespaces is not None:
            outcome[numbers["clone3"]] = refuse(errno.ENOSYS)
            for name in ("clone", "unshare"):
                outcome[numbers[name]] = where_any_flag(_NEW_USER, refuse(self.user_namespaces), ALLOW)
        return by_number(AUDIT_ARCH[machine], outcome, otherwise=ALLOW, beyond=ALLOW)

    def before(self, command: list[str]) -> list[str]:
        """`command`, started under the refusal. It needs a `python3` there and nothing else."""
        code = (
            f"{_FILTER}\nimport sys\nInstalledFilter(bytes.fromhex({self.program().hex()!r})).install()\n"
            "os.execvp(sys.argv[1], sys.argv[1:])\n"
        )
        return ["python3", "-I", "-c", code, *command]


NOTHING = Refusal()
USER_NAMESPACES = Refusal(user_namespaces=errno.EPERM)
"""As kernel.unprivileged_userns_clone = 0, and AppArmor's limit on recent Ubuntu."""
NESTED_NAMESPACES = Refusal(namespaces=errno.EPERM)
"""The worker has namespaces (by unshare), and its runs none (by clone)."""
NAMESPACES_AND_USERS = Refusal({"setresuid": errno.EPERM, "unshare": errno.EPERM}, namespaces=errno.EPERM)

BY_LEVEL: dict[tuple[Kind, Isolation], Refusal] = {
    ("docker", "namespaces"): NOTHING,
    ("docker", "uid"): USER_NAMESPACES,
    ("docker", "container"): NAMESPACES_AND_USERS,
    ("local", "namespaces"): NOTHING,
    ("local", "container"): NESTED_NAMESPACES,
}


class RefusedDocker(DockerProvider):
    """Docker on a host that refuses `refusal`."""

    def __init__(self, config: SandboxConfig, refusal: Refusal) -> None:
        super().__init__(config)
        self._refusal = refusal

    def _worker_command(self) -> list[str]:
        return self._refusal.before(super()._worker_command())


class RefusedLocal(LocalProvider):
    """The local sandbox on a host that refuses `refusal`."""

    def __init__(self, config: SandboxConfig, refusal: Refusal) -> None:
        super().__init__(config)
        self._refusal = refusal

    def _worker_command(self) -> list[str]:
        return self._refusal.before(super()._worker_command())


async def skip_without_namespaces(kind: Kind) -> None:
    """Skips the test where this host itself gives less than `namespaces`: what is refused then proves nothing."""
    if kind not in _found:
        config = SandboxConfig(workers=1)
        async with DockerProvider(config) if kind == "docker" else LocalProvider(config) as provider:
            _found[kind] = provider.isolation
    if _found[kind] != "namespaces":
        pytest.skip(f"isolation here is {_found[kind]!r}: `agent-rl sandbox doctor` says why")


_found: dict[Kind, Isolation] = {}


def provider_at(kind: Kind, level: Isolation, config: SandboxConfig | None = None) -> DockerProvider | LocalProvider:
    """A provider, not started, whose runs are isolated at `level` where this host gives `namespaces`."""
    config = config or SandboxConfig(workers=1)
    made = RefusedDocker if kind == "docker" else RefusedLocal
    return made(config, BY_LEVEL[kind, level])
