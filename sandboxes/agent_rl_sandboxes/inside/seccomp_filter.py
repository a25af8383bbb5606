"""The filter that every run is under: what a run may ask of the kernel is what a computation needs.

Denied are: making namespaces and mounts (which the slot server has just used, and whose code has had most of the
kernel's holes), reaching into other processes, keyrings, io_uring, bpf, userfaultfd, performance counters, kernel
modules, clocks, handles to files by number, memory that no limit counts, and every socket family but unix and internet.
Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

# Name -> number on (x86_64, aarch64); None where the architecture has no such call.
CALLS: dict[str, tuple[int | None, int]] = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Memory that counts for no limit of the run's.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
}
_X86_ONLY = {"iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)

_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}."""
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_ALLOWED_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""

_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


class Unsupported(Exception):
    """No filter for this processor architecture."""


def run_filter() -> bytes:
    """The BPF program that a run is under."""
    index = _architecture()
    denied = {number: errno.EPERM for pair in CALLS.values() if (number := pair[index]) is not None}
    if index == 0:
        denied.update(dict.fromkeys(_X86_ONLY.values(), errno.EPERM))
    # Its flags lie in memory, where no filter can look: "not there" makes the C library fall back to clone.
    denied[_CLONE3[index]] = errno.ENOSYS
    families = b"".join(_step(_JUMP_EQUAL, family, 0, 1) + _step(_RETURN, _ALLOW) for family in _ALLOWED_FAMILIES)
    families = _step(_LOAD, _OFFSET_ARG0) + families + _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT)
    answers = {number: _step(_RETURN, _ERRNO | error) for number, error in denied.items()}
    answers |= {_SOCKET[index]: families, _SOCKETPAIR[index]: families, _CLONE[index]: _no_namespaces(errno.EPERM)}
    return _prologue() + _choose(sorted(answers.items()))


def refusing_filter(refused: Mapping[str, int], *, namespaces: int | None = None) -> bytes:
    """A program that refuses the calls named, each with its errno, and `clone` with namespaces with `namespaces`.

    For tests of what a host that forbids these gets, so that the fall-backs are probed as they would be there.
    """
    index = _architecture()
    denied: dict[int, int] = {}
    for name, number_of_error in refused.items():
        number = CALLS[name][index]
        assert number is not None
        denied[number] = number_of_error
    clone = b""
    if namespaces is not None:
        denied[_CLONE3[index]] = errno.ENOSYS
        clone = _when(_CLONE[index], _no_namespaces(namespaces))
    return _prologue() + _deny(denied) + clone + _step(_RETURN, _ALLOW)


class Filter:
    """A program, laid out in memory ahead of time: installing it is two system calls."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._buffer))
        self._prctl = ctypes.PyDLL(None, use_errno=True).prctl

    def install(self) -> None:
        """This process and all its children are under the program from now on, with no_new_privs. Raises OSError."""
        if (
            self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            or self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._header, 0, 0) != 0
        ):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "seccomp filter")


def _architecture() -> int:
    """0 on x86_64, 1 on aarch64: the index into the tables above."""
    machine = os.uname().machine
    if machine not in _AUDIT_ARCH:
        raise Unsupported(f"no seccomp filter for the architecture {machine}")
    return list(_AUDIT_ARCH).index(machine)


def _step(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    """One instruction (struct sock_filter)."""
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def _when(number: int, steps: bytes) -> bytes:
    """`steps`, which end in a return, for the system call `number` only."""
    return _step(_JUMP_EQUAL, number, 0, len(steps) // 8) + steps


def _prologue() -> bytes:
    """Another architecture's calls (32-bit, x32) do not exist; after it the call's number is loaded."""
    absent = _step(_RETURN, _ERRNO | errno.ENOSYS)
    check = _step(_LOAD, _OFFSET_ARCH) + _step(_JUMP_EQUAL, _AUDIT_ARCH[os.uname().machine], 1, 0) + absent
    check += _step(_LOAD, _OFFSET_NUMBER)
    if _architecture() == 0:
        check += _step(_JUMP_ABOVE, _X32_BIT, 0, 1) + absent
    return check


def _deny(denied: Mapping[int, int]) -> bytes:
    return b"".join(_when(number, _step(_RETURN, _ERRNO | error)) for number, error in sorted(denied.items()))


def _choose(answers: list[tuple[int, bytes]]) -> bytes:
    """For a call's number its steps among `answers` (sorted, each ends in a return); any other call is allowed.

    A tree of comparisons: when a filter is installed, the kernel tries it on every call's number.
    """
    if len(answers) <= 3:
        return b"".join(_when(number, steps) for number, steps in answers) + _step(_RETURN, _ALLOW)
    middle = len(answers) // 2
    low, high = _choose(answers[:middle]), _choose(answers[middle:])
    return _step(_JUMP_ABOVE, answers[middle][0], len(low) // 8, 0) + low + high


def _no_namespaces(error: int) -> bytes:
    """For `clone`: with any namespace flag it fails with `error`."""
    steps = _step(_LOAD, _OFFSET_ARG0) + _step(_JUMP_SET, _NAMESPACE_FLAGS, 0, 1)
    return steps + _step(_RETURN, _ERRNO | error) + _step(_RETURN, _ALLOW)
