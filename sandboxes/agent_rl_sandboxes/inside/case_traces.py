"""What a case can leave behind outside of its own process: `CaseTraces`. And what a fork would not copy: `can_fork`.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import fcntl
import os
import stat

from agent_rl_sandboxes.inside import leftovers
from agent_rl_sandboxes.inside.network_traffic import Traffic

_FIRST_FREE = 5
"""The lowest descriptor that is not one of a run's streams and channels."""


class CaseTraces:
    """The run's files and its network, as they are when this object is made."""

    def __init__(self) -> None:
        self._traffic = Traffic()
        # Some of the folders are the same one by another name.
        self._folders = {os.path.realpath(folder) for folder in leftovers.SHARED if os.path.isdir(folder)}
        self._user = os.getuid()
        self._files = self._look()

    def seen(self) -> bool:
        """Whether files have come, gone or changed since then, or something was sent."""
        return self._look() != self._files or self._traffic.seen()

    def close(self) -> None:
        self._traffic.close()

    def _look(self) -> set[tuple[object, ...]]:
        """All files and folders of this user in the folders that it can write to."""
        found: set[tuple[object, ...]] = set()
        waiting = list(self._folders)
        while waiting:
            at = waiting.pop()
            try:
                with os.scandir(at) as entries:
                    for entry in entries:
                        about = entry.stat(follow_symlinks=False)
                        if about.st_uid != self._user:
                            continue
                        if stat.S_ISDIR(about.st_mode):
                            # Its times also change when a file in it has come and gone.
                            found.add((entry.path, about.st_ino, about.st_mode))
                            waiting.append(entry.path)
                        else:
                            found.add((entry.path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns))
            except OSError as error:
                found.add((at, error.errno))
        return found


def can_fork() -> bool:
    """Whether a fork of this process has all that it has: no other thread, no child, no open file, no shared memory."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return False
    except ChildProcessError:
        pass
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            return False
        for name in os.listdir("/proc/self/fd"):
            # The list itself was read through a descriptor that is closed by now.
            if int(name) >= _FIRST_FREE and _is_open(int(name)):
                return False
        with open("/proc/self/maps", "rb") as lines:
            return not any(line.split(b" ", 2)[1] == b"rw-s" for line in lines)
    except OSError:
        return False


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def children() -> list[int]:
    """The pids of this process's children."""
    try:
        with open("/proc/thread-self/children") as names:
            return [int(name) for name in names.read().split()]
    except OSError:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == os.getpid()]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as line:
            return int(line.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def stream_flags() -> list[int]:
    """The flags of the standard streams, which a case shares with the next: such as "non-blocking"."""
    return [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in range(3)]


def set_stream_flags(flags: list[int]) -> None:
    """The standard streams have these flags."""
    for descriptor, before in enumerate(flags):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) != before:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, before)
