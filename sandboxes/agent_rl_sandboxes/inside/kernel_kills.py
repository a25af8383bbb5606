"""What the kernel kills when memory runs out, and what it counts for a container.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import os

_GROUP_FILES = (
    ("memory.stat", "memory.events"),
    ("memory/memory.stat", "memory/memory.oom_control", "memory/memory.failcnt"),
)
"""In /sys/fs/cgroup, with cgroup version 2 and 1: what is used, how often the limit was met, how many were killed."""

_PROCESSOR_FILES = ("cpu.stat", 1e6), ("cpuacct/cpuacct.usage", 1e9)
"""With version 2 and 1: the time that all processes have used, those that have ended too; in so many units a second."""
_NAMELESS = b""
"""The name here of a number that is the whole file, as in memory.failcnt and cpuacct.usage."""


def prefer_this_process() -> None:
    """When memory runs out, the kernel kills this process and its children, not the server."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"1000")
    except OSError:
        return
    finally:
        os.close(descriptor)


def count() -> int:
    """How many processes the kernel has killed for lack of memory since its start; 0 if it does not say."""
    try:
        with open("/proc/vmstat") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


class OwnGroup:
    """This container's own cgroup. Whatever it kills at its limit is a process of the one run that is in the container.

    Its files are opened at once, since they are not in the worker's view of the system. No run inherits them.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        for names in _GROUP_FILES:
            try:
                self._files = [os.open(f"/sys/fs/cgroup/{name}", os.O_RDONLY) for name in names]
                break
            except OSError:
                continue
        self._processor: tuple[int, float] | None = None
        # Without the others this may be the machine's group.
        for name, units in _PROCESSOR_FILES if self._files else ():
            try:
                self._processor = os.open(f"/sys/fs/cgroup/{name}", os.O_RDONLY), units
                break
            except OSError:
                continue
        self._met, self._kills = self._counts()

    @property
    def known(self) -> bool:
        """Whether the kernel says what this cgroup has killed."""
        return bool(self._files)

    def killed(self) -> bool:
        """Whether it has killed a process at its limit since the last call. (The whole machine may lack memory too.)"""
        met, kills = self._counts()
        if kills == self._kills:
            return False
        before, self._met, self._kills = self._met, met, kills
        return met > before

    def anonymous(self) -> int:
        """Bytes of memory that all processes together have, other than files; 0 if that is not known."""
        found = self._read(self._files[:1])
        return int(found.get(b"anon", found.get(b"total_rss", 0)))

    def processor_seconds(self) -> float | None:
        """Processor seconds of all processes since the group was made; None if that is not known."""
        if self._processor is None:
            return None
        file, units = self._processor
        found = self._read([file])
        used = found.get(b"usage_usec", found.get(_NAMELESS))
        return None if used is None else int(used) / units

    def _counts(self) -> tuple[int, int]:
        """(how often the limit was met, how many processes were killed); (0, 0) if that is not known."""
        found = self._read(self._files[1:])
        return int(found.get(b"oom", found.get(_NAMELESS, 0))), int(found.get(b"oom_kill", 0))

    def _read(self, files: list[int]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for file in files:
            try:
                text = os.pread(file, 1 << 14, 0)
            except OSError:
                continue
            for words in map(bytes.split, text.splitlines()):
                found[words[0] if len(words) > 1 else _NAMELESS] = words[-1]
        return found
