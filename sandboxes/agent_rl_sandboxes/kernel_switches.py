"""The kernel settings of this host that can refuse namespaces to an ordinary user, and how to change them."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent_rl.vocabulary import Isolation

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class SwitchCheck:
    """One thing that a sandbox needs. `name` begins with what needs it (docker, host, local)."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    isolation: Isolation | None = None
    """The isolation between runs, where this check ran a program."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A setting below /proc/sys that refuses namespaces at one value."""

    name: str
    refusing: str
    allowing: str
    meaning: str

    @property
    def title(self) -> str:
        """The name of its check."""
        return f"host: {self.name}"

    @property
    def remedy(self) -> str:
        """What to do if the switch refuses namespaces."""
        command = f"sysctl -w {self.name}={self.allowing}"
        return f"as root: `{command}` (and {self.name}={self.allowing} in /etc/sysctl.d/90-agent-rl.conf to keep it)"

    def read(self, root: Path) -> str | None:
        """Its value; None if this kernel has no such setting."""
        text = _read(root / "proc/sys" / self.name.replace(".", "/"))
        return None if text is None else text.strip()


SWITCHES = (
    Switch("kernel.unprivileged_userns_clone", "0", "1", "ordinary users cannot make namespaces"),
    Switch(
        "kernel.apparmor_restrict_unprivileged_userns",
        "1",
        "0",
        "AppArmor takes all power from the namespaces of ordinary users (Ubuntu from 23.10)",
    ),
    *(
        Switch(f"user.max_{kind}_namespaces", "0", "15000", f"nobody can make {kind} namespaces")
        for kind in ("user", "pid", "mnt", "ipc", "net", "uts")
    ),
)


def refusing_switches(root: Path = Path("/")) -> list[Switch]:
    """The switches that refuse namespaces, as read from `root`."""
    return [switch for switch in SWITCHES if switch.read(root) == switch.refusing]


def blockers(root: Path = Path("/")) -> list[str]:
    """What refuses unprivileged namespaces here, each with its remedy; a suggestion if nothing is found."""
    found = [f"{s.name} is {s.refusing}, so that {s.meaning}: {s.remedy}" for s in refusing_switches(root)]
    if not found and "Seccomp:\t2" in (_read(root / "proc/self/status") or ""):
        found.append(
            "This process is under a seccomp filter, as in a container: start that with "
            "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or use Docker from outside it"
        )
    return found or ["Otherwise use Docker: sandbox.provider = 'docker'"]


def host_checks(root: Path = Path("/")) -> list[SwitchCheck]:
    """What this kernel allows an ordinary user, as read from `root`; the local sandbox needs all of it."""
    if platform.system() != "Linux":
        return [SwitchCheck("host: kernel", "failed", platform.system(), "the local sandbox needs Linux: use Docker")]
    checks = [_switch_check(switch, switch.read(root)) for switch in SWITCHES]
    python = root / "usr/bin/python3"
    checks.append(
        SwitchCheck("host: python", "ok", str(python))
        if python.exists()
        else SwitchCheck("host: python", "failed", "/usr/bin/python3 is missing", "as root: `apt-get install python3`")
    )
    known = _read(root / "proc/filesystems") or ""
    checks.append(
        SwitchCheck("host: tmpfs", "ok", "known to the kernel")
        if "\ttmpfs" in known
        else SwitchCheck("host: tmpfs", "failed", "not known to the kernel", "use a kernel with CONFIG_TMPFS")
    )
    return checks


def _switch_check(switch: Switch, value: str | None) -> SwitchCheck:
    """The check of one switch; a setting that is absent forbids nothing."""
    if value is None:
        return SwitchCheck(switch.title, "ok", "not present in this kernel")
    if value != switch.refusing:
        return SwitchCheck(switch.title, "ok", value)
    return SwitchCheck(switch.title, "failed", f"{value}: {switch.meaning}", switch.remedy)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
