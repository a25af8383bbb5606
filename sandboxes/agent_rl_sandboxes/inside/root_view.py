"""A worker's own namespaces, with a read-only view of the system in them.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator

from agent_rl_sandboxes.inside.namespaces import (
    BIND,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    NODEV,
    NOEXEC,
    NOSUID,
    RUN_ID,
    check,
    die_with_parent,
    leave_root,
    loopback_up,
    map_user,
    mount,
    unshare,
    write,
)

_RDONLY, _REMOUNT, _REC, _PRIVATE, _DETACH = 1, 0x20, 0x4000, 0x40000, 2
_ATIME_FLAGS = {"noatime": 0x400, "nodiratime": 0x800, "relatime": 0x200000}
_FLAGS = {"ro": _RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC, **_ATIME_FLAGS}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_libc = ctypes.PyDLL(None, use_errno=True)

DEVICES = ("null", "zero", "full", "random", "urandom")
ETC_COPIES = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types")
ETC_FOLDERS = ("alternatives", "ld.so.conf.d")
ETC_FILES = {
    "passwd": "root:x:0:0:root:/:/bin/sh\nsandbox:x:1000:1000:sandbox:/tmp:/bin/sh\n",
    "group": "root:x:0:\nsandbox:x:1000:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


def enter_worker(expose: list[str], workdir: str) -> int:
    """The pid of a child that is pid 1 of the worker's namespaces, or 0 in that child. Raises Refused.

    The child has a read-only view of SYSTEM, `expose` and the interpreter, an empty /tmp and `workdir`, a loopback
    network, and all capabilities in its namespaces. It gets SIGKILL when the parent dies.
    """
    leave_root()
    uid, gid = os.getuid(), os.getgid()
    unshare(NEWUSER, "unshare(CLONE_NEWUSER)")
    # Not to 0: a run is the same user outside, and as root of the worker's namespaces it would own their sysctls.
    map_user(RUN_ID, uid, gid)
    unshare(NEWPID | NEWNS | NEWIPC | NEWNET | NEWUTS, "unshare of pid, mount, ipc, network and uts namespaces")
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    die_with_parent()
    if not os.path.exists(f"/proc/{parent}"):
        os._exit(1)
    name = b"sandbox"
    check(_libc.sethostname(name, len(name)), "sethostname")
    loopback_up()
    _build_root(expose, workdir)
    return 0


def _build_root(expose: list[str], workdir: str) -> None:
    """The root of this mount namespace is a read-only tmpfs with the view; the old root is gone. Raises Refused."""
    mount("none", "/", None, _REC | _PRIVATE)
    base = next((path for path in ("/tmp", "/mnt", "/run", "/var/tmp") if os.path.isdir(path)), "/tmp")
    mount("tmpfs", base, "tmpfs", NOSUID | NODEV, "mode=755,size=16m")
    os.mkdir(base + "/new")
    os.mkdir(base + "/old")
    mount("tmpfs", base + "/new", "tmpfs", NOSUID | NODEV, "mode=755,size=16m")
    _pivot(base, base + "/old")
    os.chdir("/")
    old, new = "/old", "/new"
    for path in [*SYSTEM, *expose, *_interpreter()]:
        _show(path, old, new)
    _make_etc(old, new)
    os.makedirs(new + "/dev")
    for name in DEVICES:
        _show(f"/dev/{name}", old, new)
    links = [(name, f"/proc/self/fd/{number}") for number, name in enumerate(("stdin", "stdout", "stderr"))]
    for name, target in (*links, ("fd", "/proc/self/fd"), ("shm", "/tmp")):
        os.symlink(target, f"{new}/dev/{name}")
    for path in ("/proc", "/tmp", "/run/bin", "/var", workdir):
        os.makedirs(new + path, exist_ok=True)
    os.symlink("/tmp", new + "/var/tmp")
    os.symlink(sys.executable, new + "/run/bin/python3")
    mount("proc", new + "/proc", "proc", NOSUID | NODEV | NOEXEC)
    os.chdir(new)
    _pivot(".", ".")
    check(_libc.umount2(b".", _DETACH), "detaching the old root")
    os.chdir("/")
    mount(None, "/", None, BIND | _REMOUNT | _RDONLY | NOSUID | NODEV)


def _pivot(new: str, old: str) -> None:
    number = _PIVOT_ROOT[os.uname().machine]
    check(_libc.syscall(number, os.fsencode(new), os.fsencode(old)), f"pivot_root to {new}")


def _interpreter() -> list[str]:
    """The paths of this interpreter's own files."""
    paths = {os.path.realpath(sys.executable), sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix}
    return sorted(path for path in paths if path not in ("", "/"))


def _show(path: str, old: str, new: str) -> None:
    """`path` of the old root is in the new one, read-only, with all mounts below it; no effect if it is absent."""
    source, target = old + path, new + path
    if os.path.lexists(target) or any(os.path.ismount(new + p) for p in _parents(path)):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.mkdir(target)
    elif os.path.exists(source):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    else:
        return
    mount(source, target, None, BIND | _REC)
    # On a read-only mount devices can still be written to, but their times, which are the host's, cannot change.
    nodev = 0 if path.startswith("/dev/") else NODEV
    for point, flags in list(_mounts_below(target, old)):
        mount(None, point, None, BIND | _REMOUNT | _RDONLY | NOSUID | nodev | flags)


def _parents(path: str) -> Iterator[str]:
    while path not in ("/", ""):
        path = os.path.dirname(path)
        if path not in ("/", ""):
            yield path


def _mounts_below(folder: str, old: str) -> Iterator[tuple[str, int]]:
    """Mount points at and below `folder`, with their flags; flags that are set may be locked, and must stay set."""
    with open(f"{old}/proc/self/mountinfo") as lines:
        for line in lines:
            fields = line.split(" ")
            point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
            if point == folder or point.startswith(folder + "/"):
                yield point, sum(_FLAGS.get(name, 0) for name in set(fields[5].split(",")) - {"ro", "nosuid", "nodev"})


def _make_etc(old: str, new: str) -> None:
    """The new root has an /etc with what programs need to run, and nothing specific to this host."""
    os.makedirs(new + "/etc", exist_ok=True)
    # Copied, not mounted: each mount would slow down every run a little.
    for name in ETC_FOLDERS:
        if os.path.isdir(f"{old}/etc/{name}"):
            os.mkdir(f"{new}/etc/{name}")
            for entry in os.scandir(f"{old}/etc/{name}"):
                _copy(entry.path, f"{new}/etc/{name}/{entry.name}")
    for name in ETC_COPIES:
        if os.path.isfile(f"{old}/etc/{name}"):
            _copy(f"{old}/etc/{name}", f"{new}/etc/{name}")
    for name, text in ETC_FILES.items():
        write(f"{new}/etc/{name}", text, os.O_CREAT)


def _copy(source: str, target: str) -> None:
    """Copies a link as a link and a readable file as a file; ignores everything else."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isfile(source) and os.access(source, os.R_OK):
        with open(source, "rb") as content:
            write(target, content.read(), os.O_CREAT)
