"""System calls: namespaces, users, limits, capabilities. No helper program is needed.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RUN_ID = 1000
"""The uid and gid of programs, inside their own user namespace."""

NOSUID, NODEV, NOEXEC, BIND = 2, 4, 8, 0x1000
"""Flags of `mount`."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
_UNUSED_UIDS = 1_900_000_000
"""The start of unused uids: systemd's table of uids leaves 1879048192 to 2147483647 unused."""
_CAPABILITY_VERSION = 0x20080522
_CLONE = {"x86_64": 56, "aarch64": 220}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.PyDLL(None, use_errno=True)
"""Its calls keep the interpreter's lock: there is only one thread, and releasing the lock costs time."""
# Looked up once, here: a lookup in each child would touch, and so copy, dozens of pages.
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_child, _after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Child, ctypes.pythonapi.PyOS_AfterFork_Parent
_capset: Any = getattr(_libc, "capset", None)
"""Only Linux has it, but this module is also imported on other systems."""
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)

PATH = "/run/bin:/usr/local/bin:/usr/bin:/bin"


class Refused(Exception):
    """A step was refused; the text names the step, its object and the error."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(f"{step}: {errno.errorcode.get(number, number)} ({os.strerror(number)})")


def check(result: int, step: str) -> int:
    """`result` of a system call. Raises Refused if it is an error."""
    if result < 0:
        raise Refused(step, ctypes.get_errno())
    return result


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2). Raises Refused."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3])
    if result < 0:
        raise Refused(f"mounting {kind or source or 'new flags'} on {target}", ctypes.get_errno())


def unshare(flags: int, step: str) -> None:
    """unshare(2). Raises Refused."""
    check(_libc.unshare(flags), step)


def clone(flags: int) -> int:
    """Like fork, with new namespaces: 0 in the child, its pid in the parent. Raises Refused.

    Unlike unshare and fork, this is one system call, and the child is pid 1 of its own pid namespace. The C library
    keeps the parent's thread id in its cache, so use this if the parent is pid 1 itself, or without NEWPID.
    """
    _before_fork()
    pid: int = _libc.syscall(_CLONE[os.uname().machine], flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        _after_fork_child()
        return 0
    number = ctypes.get_errno()
    _after_fork_parent()
    if pid < 0:
        raise Refused("clone with user, pid, mount and ipc namespaces", number)
    return pid


def map_user(inside: int, uid: int, gid: int) -> None:
    """In this new user namespace, `inside` stands for `uid` and `gid` of the parent namespace. Raises Refused."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        try:
            write(f"/proc/self/{name}", text)
        except OSError as error:
            raise Refused(f"writing /proc/self/{name}", error.errno or 0) from None


def leave_root() -> None:
    """If this process was root, it now has a user that owns nothing. Raises Refused.

    Root's processes are exempt from RLIMIT_NPROC, and own the system.
    """
    if os.geteuid() != 0 or os.getuid() != 0:
        return
    # 65534 if a container maps too few users.
    for uid in (_UNUSED_UIDS + os.getpid() % 100_000_000, 65534):
        try:
            become(uid)
        except Refused:
            continue
        return
    raise Refused("becoming an unprivileged user", errno.EPERM)


def unused_uid() -> int:
    """A random unused uid: one that systemd leaves unused, or, if the container does not map those, a lower one."""
    draw = int.from_bytes(os.urandom(4), "big")
    first, count = (_UNUSED_UIDS, 200_000_000) if _mapped(_UNUSED_UIDS + 200_000_000) else (20_000, 40_000)
    return first + draw % count


def _mapped(uid: int) -> bool:
    """Whether the user exists in this user namespace."""
    descriptor = os.open("/proc/self/uid_map", os.O_RDONLY)
    try:
        # os.read is faster than a file object, and each run calls this.
        ranges = [[int(word) for word in line.split()] for line in os.read(descriptor, 1 << 16).splitlines()]
    finally:
        os.close(descriptor)
    return any(start <= uid < start + count for start, _, count in ranges)


def become(uid: int) -> None:
    """This process has user and group `uid`, and no other group. Raises Refused."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise Refused(f"becoming user {uid}", error.errno or 0) from None
    # The change of user has given /proc/self to root.
    show()


def act_as(uid: int) -> None:
    """This process may do what user and group `uid` may, and no process of that user may signal it. Raises Refused."""
    other = unused_uid()
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        # A sender needs the receiver's real or saved user, which is `other` here.
        os.setresuid(other, uid, other)
    except OSError as error:
        raise Refused(f"acting as user {uid}", error.errno or 0) from None


def fresh_network() -> None:
    """This process, and its later children, are in a new network namespace with only a loopback. Raises Refused."""
    unshare(NEWNET, "unshare(CLONE_NEWNET)")
    loopback_up()


def loopback_up() -> None:
    """127.0.0.1 can be reached in the current network namespace. Raises Refused."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            request = struct.pack("16sH14x", b"lo", 0)
            flags: int = struct.unpack_from("16xH", fcntl.ioctl(channel, _SIOCGIFFLAGS, request))[0]
            fcntl.ioctl(channel, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    except OSError as error:
        raise Refused("bringing up the loopback", error.errno or 0) from None


def enter_run(workdir: str, scratch: str | None) -> None:
    """The child of `clone` has its own user, /proc, and, with `scratch` (options), its own tmpfs. Raises Refused."""
    map_user(RUN_ID, RUN_ID, RUN_ID)
    if scratch is not None:
        mount_scratch(workdir, scratch)
    mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC)


def mount_scratch(workdir: str, options: str) -> None:
    """/tmp is a new tmpfs, and `workdir` a folder in it. Raises Refused."""
    mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, options)
    os.mkdir("/tmp/work", 0o755)
    mount("/tmp/work", workdir, None, BIND)


def drop_capabilities() -> None:
    """No capability is left, and none can be gained by executing a file. Raises Refused."""
    check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    check(_capset(header, bytes(24)), "capset")


def die_with_parent() -> None:
    """The kernel kills this process when its parent dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def hide() -> None:
    """No unprivileged process can read this process's memory or descriptors through /proc; children inherit this."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def show() -> None:
    """The opposite of `hide`."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def adopt_orphans() -> None:
    """Orphaned descendants become this process's children."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit(cpu: float, space: int, processes: int, file_size: int, files: int, *, own_users: bool = False) -> None:
    """Resource limits of this process and its children: seconds, bytes, counts. They can only be lowered later.

    `space`: the address space of each process. `own_users`: this process is known to have its own user namespace.
    """
    seconds = max(1, int(cpu + 0.999))
    if os.getuid() == RUN_ID and (_KERNEL < (5, 14) or (not own_users and _mapped(2**32 - 2))):
        # The limit then counts all processes of this user on the whole host, not only in this namespace: in old
        # kernels, and where the programs of all containers share one user of the host's own namespace. (With a uid of
        # its own, a run has no such other processes.)
        processes = max(processes, 4096)
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    _lower(resource.RLIMIT_AS, space)
    _lower(resource.RLIMIT_NPROC, processes)
    # A little more than the disk holds, so that a full disk gives ENOSPC. This limit is for files in memory.
    _lower(resource.RLIMIT_FSIZE, file_size + (1 << 20))
    _lower(resource.RLIMIT_NOFILE, files)
    _lower(resource.RLIMIT_CORE, 0)
    # Honest programs may recurse deeply; the kernel leaves a gap of at least 128 MiB below the stack. They may also ask
    # for more: what they use of it is memory, which is limited otherwise.
    _lower(resource.RLIMIT_STACK, 64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    hard = soft if hard is None else hard
    try:
        return resource.setrlimit(which, (soft, hard))
    except (ValueError, OSError):
        # The value exceeds the hard limit.
        top = resource.getrlimit(which)[1]
    if top != resource.RLIM_INFINITY:
        soft, hard = min(soft, top), min(hard, top)
    resource.setrlimit(which, (soft, hard))


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


_KERNEL = _kernel()


def write(path: str, content: str | bytes, flags: int = 0) -> None:
    """The file has the content, written in one call. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(descriptor, content.encode() if isinstance(content, str) else content)
    finally:
        os.close(descriptor)


def attempt(action: Callable[[], Any]) -> str | None:
    """Why `action` failed in a child process, which ends after it; None if it succeeded."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "it ended early"
        try:
            os.close(reader)
            action()
            text = ""
        except BaseException as error:
            text = str(error) or type(error).__name__
        finally:
            os.write(writer, b"=" + text.encode("utf-8", "replace")[:2000])
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if not answer.startswith(b"="):
        return "it died"
    return answer[1:].decode("utf-8", "replace") or None
