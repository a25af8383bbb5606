"""Both filters are Docker's default and what is documented, no more and no less: both are read and evaluated."""

from __future__ import annotations

import errno
import json
import re
import struct
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from agent_rl_sandboxes.seccomp import (
    MACHINES,
    ContainerProfile,
    Machine,
    default_calls,
    profile,
    run_denied_calls,
    run_filter,
    syscall_numbers,
    worker_calls,
)

NO_CAPABILITY = {
    "add_key", "bpf", "chroot", "delete_module", "finit_module", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "open_by_handle_at", "perf_event_open",
    "reboot", "request_key", "setns", "settimeofday", "swapoff", "swapon", "syslog", "userfaultfd",
}  # fmt: skip
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NEW_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
AUDIT_ARCH: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
AUDIT_ARCH_I386, AUDIT_ARCH_ARM, X32_BIT = 0x40000003, 0x40000028, 0x40000000
SIGCHLD, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK = 17, 1, 2, 10, 16, 17, 40
CONDITIONAL = {"clone", "socket", "personality"}
"""Docker's default allows these with some arguments."""


def rules(name: ContainerProfile) -> list[dict[str, Any]]:
    parsed = json.loads(profile(name))
    assert (parsed["defaultAction"], parsed["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", errno.EPERM)
    return cast(list[dict[str, Any]], parsed["syscalls"])


def allowed_always(name: ContainerProfile) -> set[str]:
    return {
        call
        for rule in rules(name)
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for call in rule["names"]
    }


def run(program: bytes, audit_arch: int, number: int, argument: int = 0, second: int = 0) -> Literal["allow"] | int:
    """What the kernel does with a call under `program`: the errno, or "allow". An interpreter of classic BPF."""
    data = struct.pack("<IIQQQ", number, audit_arch, 0, argument, second)
    steps = list(struct.iter_unpack("<HBBI", program))
    at = held = 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code == 0x20:  # load a word
            (held,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:  # return
            if k == 0x7FFF0000:
                return "allow"
            assert k >> 16 == 5  # SECCOMP_RET_ERRNO
            return k & 0xFFFF
        else:
            jump = {0x15: held == k, 0x35: held >= k, 0x45: bool(held & k)}[code]
            at += if_true if jump else if_false


# The container's filter


def test_the_workers_profile_differs_by_exactly_the_worker_servers_calls() -> None:
    assert allowed_always("workers") - allowed_always("default") == worker_calls()
    assert allowed_always("default") - allowed_always("workers") == set()
    assert worker_calls() == {
        "clone", "unshare", "mount", "umount", "umount2", "pivot_root", "fsopen", "fsconfig", "fsmount", "move_mount",
        "open_tree", "mount_setattr", "sethostname", "setdomainname",
    }  # fmt: skip
    # And not by arguments: what only `default` has a condition for is what `workers` allows always.
    conditions = {n: [r for r in rules(n) if "args" in r or r["action"] != "SCMP_ACT_ALLOW"] for n in PROFILES}
    assert [r for r in conditions["default"] if r["names"] != ["clone"]] == conditions["workers"]


PROFILES: tuple[ContainerProfile, ...] = ("default", "workers")


@pytest.mark.parametrize("name", PROFILES)
def test_no_profile_allows_what_reaches_beyond_a_container(name: ContainerProfile) -> None:
    assert allowed_always(name) & NO_CAPABILITY == set()


def test_no_call_is_listed_twice_and_vsock_and_new_namespaces_are_conditional() -> None:
    default = rules("default")
    names = [call for rule in default if "args" not in rule and "includes" not in rule for call in rule["names"]]
    assert len(names) == len(set(names))
    conditional = {call: rule["args"] for rule in default if "args" in rule for call in rule["names"]}
    assert conditional.keys() == CONDITIONAL
    assert conditional["socket"] == [{"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}]
    assert conditional["clone"] == [{"index": 0, "value": sum(NEW_NAMESPACES), "op": "SCMP_CMP_MASKED_EQ"}]


@pytest.mark.parametrize("name", PROFILES)
def test_clone3_is_absent_rather_than_denied(name: ContainerProfile) -> None:
    found = [rule for rule in rules(name) if "clone3" in rule["names"]]
    assert [(rule["action"], rule["errnoRet"]) for rule in found] == [("SCMP_ACT_ERRNO", errno.ENOSYS)]


# The run's filter


@pytest.mark.parametrize("machine", MACHINES)
def test_a_run_is_allowed_what_dockers_default_allows_less_exactly_the_documented_calls(machine: Machine) -> None:
    numbers, program = syscall_numbers(machine), run_filter(machine)
    outcomes = {name: run(program, AUDIT_ARCH[machine], number) for name, number in numbers.items()}
    allowed = {name for name, outcome in outcomes.items() if outcome == "allow"}
    # Argument 0: no flags for clone, the personality that every program has, no family for socket and socketpair.
    default = default_calls(machine) | {"clone", "personality"}
    assert default - allowed - {"socketpair"} == run_denied_calls() & numbers.keys()
    assert allowed - default == set()
    absent = {name for name, outcome in outcomes.items() if outcome == errno.ENOSYS}
    families = {name for name, outcome in outcomes.items() if outcome == errno.EAFNOSUPPORT}
    assert (absent, families) == ({"clone3"}, {"socket", "socketpair"})
    assert set(outcomes.values()) == {"allow", errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT}


def test_every_documented_denial_is_a_difference() -> None:
    assert run_denied_calls() <= allowed_always("default")
    assert run_denied_calls() == {
        "ptrace", "process_vm_readv", "process_vm_writev", "memfd_create", "memfd_secret", "shmget", "semget", "msgget",
        "mq_open", "name_to_handle_at", "fanotify_mark", "adjtimex", "clock_adjtime", "modify_ldt",
        "inotify_init", "inotify_init1", "io_setup", "sync", "syncfs",
    }  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_a_run_is_denied_again_what_the_worker_server_may_and_what_opens_the_kernel(machine: Machine) -> None:
    numbers = syscall_numbers(machine)
    refused = (worker_calls() - {"clone", "umount"}) | NO_CAPABILITY | {"ptrace", "process_vm_readv", "pidfd_getfd"}
    for name in refused:
        assert run(run_filter(machine), AUDIT_ARCH[machine], numbers[name]) == errno.EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_a_runs_arguments_are_looked_at(machine: Machine) -> None:
    numbers = syscall_numbers(machine)

    def outcome(name: str, argument: int) -> Literal["allow"] | int:
        return run(run_filter(machine), AUDIT_ARCH[machine], numbers[name], argument)

    assert outcome("clone", SIGCHLD) == "allow"
    # As threads are made: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID
    assert outcome("clone", 0x3D0F00) == "allow"
    for flag in NEW_NAMESPACES:
        assert outcome("clone", flag | SIGCHLD) == errno.EPERM
        assert outcome("clone", (1 << 63) | flag) == errno.EPERM
    for call in ("socket", "socketpair"):
        assert {outcome(call, family) for family in (AF_UNIX, AF_INET, AF_INET6)} == {"allow"}
        others = [family for family in range(64) if family not in (AF_UNIX, AF_INET, AF_INET6)]
        assert {AF_NETLINK, AF_PACKET, AF_VSOCK} < set(others)
        assert {outcome(call, family) for family in others} == {errno.EAFNOSUPPORT}
        # The kernel takes the family as an int: what is above its 32 bits says nothing.
        assert outcome(call, (1 << 32) | AF_VSOCK) == errno.EAFNOSUPPORT
    # Linux, UNAME26 and what asks for the present one; not ADDR_NO_RANDOMIZE.
    assert {outcome("personality", value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)} == {"allow"}
    assert outcome("personality", 0x40000) == errno.EPERM
    # The second argument of fcntl, whatever the first: F_SETLEASE, F_NOTIFY, F_SET_RW_HINT, F_SET_FILE_RW_HINT.
    fcntl = numbers["fcntl"]
    told = {n: run(run_filter(machine), AUDIT_ARCH[machine], fcntl, 5, n) for n in range(1100)}
    assert [n for n, answer in told.items() if answer != "allow"] == [1024, 1026, 1036, 1038]
    assert {told[n] for n in (1024, 1026, 1036, 1038)} == {errno.EPERM}
    assert run(run_filter(machine), AUDIT_ARCH[machine], fcntl, 1036, 3) == "allow"


@pytest.mark.parametrize("machine", MACHINES)
def test_a_run_has_no_calls_of_another_architecture_nor_newer_ones(machine: Machine) -> None:
    program, arch = run_filter(machine), AUDIT_ARCH[machine]
    highest = max(syscall_numbers(machine).values())
    for number in range(highest + 1):
        assert run(program, AUDIT_ARCH_I386, number) == errno.ENOSYS
        assert run(program, AUDIT_ARCH_ARM, number) == errno.ENOSYS
        assert run(program, arch, X32_BIT | number) == errno.ENOSYS
    # Where the other machine's numbers mean something else, its architecture is refused too.
    (other,) = set(AUDIT_ARCH.values()) - {arch}
    assert run(program, other, 0) == errno.ENOSYS
    for number in (highest + 1, 462, 467, 1 << 29, X32_BIT, (1 << 32) - 1):
        assert run(program, arch, number) == errno.ENOSYS
    # No call has these numbers.
    gaps = set(range(highest)) - set(syscall_numbers(machine).values())
    assert {run(program, arch, number) for number in gaps} == {errno.EPERM}


def test_the_numbers_are_those_of_this_machines_kernel_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers for x86_64 are not installed (linux-libc-dev)")
    found = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    numbers = syscall_numbers("x86_64")
    assert {name: int(found[name]) for name in numbers if name in found} == {
        n: numbers[n] for n in numbers if n in found
    }
    assert len(numbers.keys() & found.keys()) > 340


def test_the_numbers_of_aarch64_are_the_generic_ones() -> None:
    header = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("the kernel's generic headers are not installed (linux-libc-dev)")
    found = {name: int(n) for name, n in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", header.read_text())}
    # Under __NR3264 the header names the call of 32-bit machines in some, and of both in others.
    numbers = syscall_numbers("aarch64")
    assert {name: found[name] for name in numbers if name in found} == {n: numbers[n] for n in numbers if n in found}
    assert len(numbers.keys() & found.keys()) > 290
