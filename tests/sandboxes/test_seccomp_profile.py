"""The slots' system call filter differs from the default one by what the slot server needs, and by nothing else."""

from __future__ import annotations

import json
from typing import Any, cast

from agent_rl_sandboxes.seccomp import Profile, profile, slot_calls

FORBIDDEN = {
    "add_key", "bpf", "chroot", "delete_module", "finit_module", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "open_by_handle_at", "perf_event_open",
    "reboot", "request_key", "setns", "settimeofday", "swapoff", "swapon", "syslog", "userfaultfd",
}  # fmt: skip


def rules(name: Profile) -> list[dict[str, Any]]:
    parsed = json.loads(profile(name))
    assert parsed["defaultAction"] == "SCMP_ACT_ERRNO"
    return cast(list[dict[str, Any]], parsed["syscalls"])


def allowed_always(name: Profile) -> set[str]:
    return {
        call
        for rule in rules(name)
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for call in rule["names"]
    }


def test_the_difference_is_exactly_the_slot_servers_calls() -> None:
    assert allowed_always("slots") - allowed_always("default") == slot_calls()
    assert allowed_always("default") - allowed_always("slots") == set()
    assert {"unshare", "clone", "mount", "pivot_root", "umount2"} <= slot_calls()


def test_neither_allows_what_reaches_beyond_a_container() -> None:
    for name in ("default", "slots"):
        assert allowed_always(name) & FORBIDDEN == set()


def test_no_call_is_listed_twice_and_vsock_and_new_namespaces_are_conditional() -> None:
    default = rules("default")
    names = [call for rule in default if "args" not in rule and "includes" not in rule for call in rule["names"]]
    assert len(names) == len(set(names))
    conditional = {call: rule["args"] for rule in default if "args" in rule for call in rule["names"]}
    assert conditional["socket"] == [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]
    # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
    flags = 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
    assert conditional["clone"] == [{"index": 0, "value": flags, "op": "SCMP_CMP_MASKED_EQ"}]


def test_clone3_is_absent_rather_than_denied() -> None:
    for name in ("default", "slots"):
        found = [rule for rule in rules(name) if "clone3" in rule["names"]]
        assert [(rule["action"], rule["errnoRet"]) for rule in found] == [("SCMP_ACT_ERRNO", 38)]
