"""The two system call filters of a judged program, made from Docker's default (seccomp_default.json).

The container's filter is a profile for the daemon. The worker server must be able to make namespaces, so this filter
is Docker's default plus the calls under `worker_server`. The second filter is a program for the kernel: Docker's
default without the calls under `run`. The worker server installs it inside, after it has made the run's namespaces and
before the judged program starts. Child processes inherit a filter and cannot widen it.

The local sandbox has only the second filter. So each filter is a complete list of the allowed calls; all others are
denied.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from agent_rl_sandboxes.bpf import ALLOW, AUDIT_ARCH, by_number, refuse, where_any_flag, where_argument

ContainerProfile = Literal["default", "workers"]
Machine = Literal["x86_64", "aarch64"]
MACHINES: tuple[Machine, ...] = ("x86_64", "aarch64")

_ARCHITECTURES = [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
]
_DOCKERS_NAME: dict[Machine, str] = {"x86_64": "amd64", "aarch64": "arm64"}
_AF_VSOCK = 40


@cache
def profile(name: ContainerProfile) -> str:
    """The profile as the JSON text that the Docker API takes in `SecurityOpt` ("seccomp=" + text).

    `default` is Docker's default for a container without capabilities. `workers` differs from it by exactly the calls
    under `worker_server` in seccomp_default.json: namespaces, the mount family, a host name of one's own.
    """
    facts = _facts()
    rules = [_allow(sorted(_names(facts["allow"])))]
    for architecture, text in facts["architecture"].items():
        rules.append(_allow(text.split(), includes={"arches": [architecture]}))
    rules.append(_allow(["socket"], argument=(0, _AF_VSOCK, "SCMP_CMP_NE")))
    rules += [_allow(["personality"], argument=(0, value, "SCMP_CMP_EQ")) for value in facts["personalities"]]
    if name == "workers":
        rules.append(_allow(sorted(worker_calls())))
    else:
        # Allowed where none of the namespace flags is set: flags & mask == 0.
        rules.append(_allow(["clone"], argument=(0, facts["namespace_flags"], "SCMP_CMP_MASKED_EQ")))
    # Its flags lie in memory, where no filter can look: "not there" makes the C library fall back to clone.
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.EPERM,
            "archMap": _ARCHITECTURES,
            "syscalls": rules,
        },
        separators=(",", ":"),
    )


@cache
def run_filter(machine: Machine) -> bytes:
    """The BPF program that every run is under, on a processor of this kind.

    It allows what Docker's default allows, less the calls under `run.deny` in seccomp_default.json; denied calls fail
    with EPERM. `socket` and `socketpair` take the families under `run.socket_families` and else fail with EAFNOSUPPORT.
    `clone` takes no namespace flag, and `fcntl` no command under `run.fcntl`. `clone3`, calls that are newer than the
    list of numbers, and calls of another architecture (32-bit, x32) fail with ENOSYS, as on a kernel without them.
    """
    facts, numbers = _facts(), syscall_numbers(machine)
    denied = run_denied_calls()
    allowed = _names(facts["allow"]) | set(facts["architecture"][_DOCKERS_NAME[machine]].split())
    outcome = {number: ALLOW if name in allowed - denied else refuse(errno.EPERM) for name, number in numbers.items()}
    family = where_argument(facts["run"]["socket_families"], ALLOW, refuse(errno.EAFNOSUPPORT))
    outcome |= {numbers["socket"]: family, numbers["socketpair"]: family}
    commands = [command for group in facts["run"]["fcntl"].values() for command in group]
    outcome[numbers["fcntl"]] = where_argument(commands, refuse(errno.EPERM), ALLOW, index=1)
    outcome[numbers["personality"]] = where_argument(facts["personalities"], ALLOW, refuse(errno.EPERM))
    outcome[numbers["clone"]] = where_any_flag(facts["namespace_flags"], refuse(errno.EPERM), ALLOW)
    outcome[numbers["clone3"]] = refuse(errno.ENOSYS)
    return by_number(AUDIT_ARCH[machine], outcome, otherwise=refuse(errno.EPERM), beyond=refuse(errno.ENOSYS))


def worker_calls() -> frozenset[str]:
    """The system calls that `workers` allows beyond `default` (clone: with namespace flags)."""
    return _names(_facts()["worker_server"])


def run_denied_calls() -> frozenset[str]:
    """The system calls that `default` allows and a run's filter denies, whatever their arguments."""
    return _names(_facts()["run"]["deny"])


def default_calls(machine: Machine) -> frozenset[str]:
    """The system calls that `default` allows with any arguments, of those that this kind of processor has."""
    facts = _facts()
    names = _names(facts["allow"]) | set(facts["architecture"][_DOCKERS_NAME[machine]].split())
    return frozenset(names & syscall_numbers(machine).keys())


@cache
def syscall_numbers(machine: Machine) -> Mapping[str, int]:
    """Name -> number of every system call that this kind of processor has, as of the list's kernel."""
    return cast("dict[str, int]", json.loads(_data("syscall_numbers.json"))[machine])


def _facts() -> dict[str, Any]:
    return json.loads(_data("seccomp_default.json"))


def _data(name: str) -> str:
    return files("agent_rl_sandboxes").joinpath(name).read_text()


def _names(groups: Mapping[str, str]) -> frozenset[str]:
    """The calls of all groups (subject -> names separated by spaces)."""
    return frozenset(name for group in groups.values() for name in group.split())


def _allow(
    names: list[str],
    *,
    argument: tuple[int, int, str] | None = None,
    includes: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """One rule that allows `names`, where argument number `index` compares with `value`."""
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if argument is not None:
        index, value, operator = argument
        # MASKED_EQ reads `value` as the mask and `valueTwo` (0 where dropped) as what must remain.
        rule["args"] = [{"index": index, "value": value, "op": operator}]
    if includes is not None:
        rule["includes"] = includes
    return rule
