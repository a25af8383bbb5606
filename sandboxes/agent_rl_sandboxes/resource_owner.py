"""`Owner`: the process that made a container or folder. Leftovers can be removed once their owner has ended."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

LABEL = "agent-rl.owner"
"""The label that carries an owner, on everything that this package makes outside its own process."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One process on one boot of one host, and its lease (one lease per provider).

    `namespace` is the pid namespace that `pid` counts in; `started` is in the system's own unit and only compared.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    lease: str

    @staticmethod
    def current(lease: str | None = None) -> Owner:
        """This process, with a new lease unless one is given."""
        pid = os.getpid()
        return Owner(
            host=_host(),
            boot=_boot(),
            namespace=_namespace(),
            pid=pid,
            started=_started(pid) or "",
            lease=lease or secrets.token_hex(8),
        )

    @staticmethod
    def parse(text: str) -> Owner | None:
        """The owner that `label` wrote; None if the text is not one."""
        try:
            data = json.loads(text)
            owner = Owner(**data)
        except (ValueError, TypeError):
            return None
        texts = (owner.host, owner.boot, owner.namespace, owner.started, owner.lease)
        return owner if isinstance(owner.pid, int) and all(isinstance(t, str) for t in texts) else None

    def label(self) -> str:
        """The owner as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def provably_dead(self) -> bool:
        """Whether the owner has certainly ended. False if it may still be alive.

        An owner on another host may be alive. An owner on this host has ended if the host has booted since. Otherwise
        only pids of our own pid namespace can be looked up: such an owner has ended if no process has its pid, or if
        the process with its pid started at another time.
        """
        if self.host != _host():
            return False
        if self.boot != _boot():
            return True
        if self.namespace != _namespace():
            return False
        return _started(self.pid) != self.started


def _host() -> str:
    """A hash of the machine's id and its name: clones of one image keep the id, containers often share it."""
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = ""
    return hashlib.blake2b(f"{machine}\0{socket.gethostname()}".encode(), digest_size=8).hexdigest()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _output("sysctl", "-n", "kern.boottime")


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When the process `pid` started; None if there is none (a zombie counts as none)."""
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may hold spaces and parentheses itself: fields are counted from its end.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        state, started = fields[0], fields[19]
        return None if state in "ZX" else started
    return _output("ps", "-o", "lstart=", "-p", str(pid)) or None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
