"""The filter that a run is under, step by step as the kernel does it: what each call gets, whatever its number."""

from __future__ import annotations

import errno
import struct

import pytest

from agent_rl_sandboxes.inside import seccomp_filter
from agent_rl_sandboxes.inside.seccomp_filter import CALLS, run_filter

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NEW_PID, SIGCHLD = 0x20000000, 17
AF_INET, AF_UNIX, AF_NETLINK, AF_VSOCK = 2, 1, 16, 40


def answer(program: bytes, number: int, arch: int, first_argument: int = 0) -> int:
    """What the BPF program returns for a call: loads, jumps and returns are all that it may consist of."""
    data = struct.pack("IIQQ", number, arch, 0, first_argument) + bytes(40)
    steps = [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x20:
            (accumulator,) = struct.unpack_from("I", data, k)
            continue
        met = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
        at += if_true if met else if_false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """(index into the tables, the kernel's number for the architecture)."""

    class Machine:
        machine = request.param

    monkeypatch.setattr(seccomp_filter.os, "uname", lambda: Machine)
    return ["x86_64", "aarch64"].index(request.param), {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[request.param]


def test_each_call_gets_what_the_table_says_and_every_other_is_allowed(machine: tuple[int, int]) -> None:
    index, arch = machine
    program = run_filter()
    expected = {pair[index]: ERRNO | errno.EPERM for pair in CALLS.values() if pair[index] is not None}
    if index == 0:
        # iopl, ioperm, modify_ldt, uselib, ustat, sysfs, _sysctl
        expected.update(dict.fromkeys((172, 173, 154, 134, 136, 139, 156), ERRNO | errno.EPERM))
    expected[435] = ERRNO | errno.ENOSYS  # clone3
    clone, socket, socketpair = ((56, 41, 53), (220, 198, 199))[index]
    for number in range(1024):
        if number not in (clone, socket, socketpair):
            assert answer(program, number, arch) == expected.get(number, ALLOW), number
    for call in (socket, socketpair):
        assert answer(program, call, arch, AF_UNIX) == answer(program, call, arch, AF_INET) == ALLOW
        for family in (AF_NETLINK, AF_VSOCK, 0, 3):
            assert answer(program, call, arch, family) == ERRNO | errno.EAFNOSUPPORT
    assert answer(program, clone, arch, SIGCHLD) == ALLOW
    assert answer(program, clone, arch, NEW_PID | SIGCHLD) == ERRNO | errno.EPERM


def test_calls_of_other_architectures_do_not_exist(machine: tuple[int, int]) -> None:
    index, arch = machine
    program = run_filter()
    i386 = 0x40000003
    assert answer(program, 1, i386) == ERRNO | errno.ENOSYS
    if index == 0:
        # x32: the same architecture, another numbering.
        assert answer(program, 0x40000000 | 1, arch) == ERRNO | errno.ENOSYS
