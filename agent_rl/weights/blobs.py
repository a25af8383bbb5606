"""Shared-memory blobs: bytes that one process writes and that other processes of the same user and machine map.

On Linux a blob is a memfd, named by its path at its owner (`/proc/<pid>/fd/<n>`): it needs no space in /dev/shm
(64 MiB in a default container), and nothing is left behind however the owner ends. Elsewhere it is a file in the
temporary folder with the owner's pid in its name; `reap` removes the files of dead owners.

Not covered: a blob does not cross machines or pid namespaces.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import sys
import tempfile
import weakref
from pathlib import Path

_FILE_NAME = re.compile(r"agent-rl-(\d+)-.*\.blob")


class Blob:
    """`size` bytes of shared memory, mapped at `memory`; others can open it under `name` until it is closed."""

    def __init__(self, label: str, size: int) -> None:
        self.size = max(size, 1)
        if sys.platform == "linux":
            descriptor = os.memfd_create(f"agent-rl-{label}", os.MFD_CLOEXEC)
            self.name = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            descriptor, self.name = tempfile.mkstemp(".blob", f"agent-rl-{os.getpid()}-{label}-")
        os.ftruncate(descriptor, self.size)
        self.memory = mmap.mmap(descriptor, self.size)
        self._finalizer = weakref.finalize(self, _release, descriptor, self.name)

    def close(self) -> None:
        """The blob can no longer be opened; processes that have mapped it keep its bytes. Idempotent."""
        self._finalizer()


def open_blob(name: str, size: int) -> mmap.mmap:
    """The bytes of the blob `name`, mapped (copy on write, so that a reader cannot change them for others).

    Raises FileNotFoundError when its owner has closed it or died, ValueError when it is smaller than `size`.
    """
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_size < size:
            raise ValueError(f"blob {name} has fewer than {size} bytes")
        return mmap.mmap(descriptor, max(size, 1), access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)


def reap() -> list[str]:
    """Removes the blob files of dead owners and returns their paths (none on Linux, where blobs are not files)."""
    removed: list[str] = []
    for path in Path(tempfile.gettempdir()).glob("agent-rl-*.blob"):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or _alive(int(match[1])):
            continue
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(str(path))
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _release(descriptor: int, name: str) -> None:
    os.close(descriptor)
    if not name.startswith("/proc/"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
