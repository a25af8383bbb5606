"""Memory of the worker server that no run can read: `PrivateBuffer`.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import mmap
import os


class PrivateBuffer:
    """Bytes that no child can read: the memory is not mapped after a fork."""

    def __init__(self, capacity: int) -> None:
        self.size = 0
        self._map(capacity)

    def _map(self, capacity: int) -> None:
        # The old memory is freed with the last view of it.
        self.capacity = capacity
        self._memory = mmap.mmap(-1, max(capacity, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory.madvise(mmap.MADV_DONTFORK)
        self._bytes = memoryview(self._memory)

    def reset(self, capacity: int) -> None:
        """The buffer is empty, with room for at least `capacity` bytes; the memory of large content is freed."""
        used, self.size = self.size, 0
        if capacity > self.capacity:
            self._map(capacity)
        elif used > 1 << 18:
            self._memory.madvise(mmap.MADV_DONTNEED)

    def grow(self, capacity: int) -> None:
        """There is room for `capacity` bytes in all; the content stays. Existing views may show the old memory."""
        if capacity > self.capacity:
            content = self._bytes[: self.size]
            self._map(max(capacity, 2 * self.capacity))
            self._bytes[: self.size] = content

    def read(self, descriptor: int, most: int) -> int:
        """How many bytes were read from `descriptor`, up to `most` in the buffer; 0 at its end, -1 if none is ready."""
        try:
            count = os.readv(descriptor, [self._bytes[self.size : most]])
        except BlockingIOError:
            return -1
        self.size += count
        return count

    def append(self, content: memoryview) -> None:
        """`content` is appended."""
        end = self.size + len(content)
        self.grow(end)
        self._bytes[self.size : end] = content
        self.size = end

    def view(self, start: int = 0, stop: int | None = None) -> memoryview:
        """The content between two offsets, not copied."""
        return self._bytes[start : self.size if stop is None else stop]
