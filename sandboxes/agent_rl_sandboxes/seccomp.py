"""Seccomp profiles for containers, as data: Docker's default, and the default plus what the slot server needs.

Two filters lie on a judged program. The container's is made here and must let the slot server make namespaces. The
second one is set inside by the slot server, after its namespaces stand and before the program's first byte; it denies
the same calls again, since a filter is inherited and can only be made narrower.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Profile = Literal["default", "slots"]

_ARCHITECTURES = [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
]
_AF_VSOCK = 40
_EPERM = 1
_ENOSYS = 38


@cache
def profile(name: Profile) -> str:
    """The profile as the JSON text that the Docker API takes in `SecurityOpt` ("seccomp=" + text).

    `default` is Docker's default for a container without capabilities. `slots` differs from it by exactly the calls
    under `slot_server` in seccomp_default.json: namespaces, the mount family, a host name of one's own.
    """
    facts = _facts()
    names = [n for group in facts["allow"].values() for n in group.split()]
    rules = [_allow(names)]
    for architecture, text in facts["architecture"].items():
        rules.append(_allow(text.split(), includes={"arches": [architecture]}))
    rules.append(_allow(["socket"], argument=(0, _AF_VSOCK, "SCMP_CMP_NE")))
    rules += [_allow(["personality"], argument=(0, value, "SCMP_CMP_EQ")) for value in facts["personalities"]]
    if name == "slots":
        rules.append(_allow([n for group in facts["slot_server"].values() for n in group.split()]))
    else:
        # Allowed where none of the namespace flags is set: flags & mask == 0.
        rules.append(_allow(["clone"], argument=(0, facts["namespace_flags"], "SCMP_CMP_MASKED_EQ")))
    # Its flags lie in memory, where no filter can look: "not there" makes the C library fall back to clone.
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": _EPERM,
            "archMap": _ARCHITECTURES,
            "syscalls": rules,
        },
        separators=(",", ":"),
    )


def slot_calls() -> frozenset[str]:
    """The system calls by which `slots` is wider than `default` (clone: with namespace flags)."""
    return frozenset(n for group in _facts()["slot_server"].values() for n in group.split())


def _facts() -> dict[str, Any]:
    return json.loads(files("agent_rl_sandboxes").joinpath("seccomp_default.json").read_text())


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
        # MASKED_EQ reads `value` as the mask and `valueTwo` (0 where left out) as what must remain.
        rule["args"] = [{"index": index, "value": value, "op": operator}]
    if includes is not None:
        rule["includes"] = includes
    return rule
