"""Tells whether a network was used: `Traffic`.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import os


class Traffic:
    """Counters and sockets of the current network namespace; they change when a process sends, or tries to send, in it.

    A socket that was sent in a message to itself outlives its process until the kernel's next search for such sockets.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        for name in ("dev", "snmp", "sockstat"):
            with contextlib.suppress(OSError):
                self._files.append(os.open(f"/proc/net/{name}", os.O_RDONLY))
        self._first = self._read()

    def seen(self) -> bool:
        """Whether there was any traffic since this object was made."""
        return self._read() != self._first

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)

    def _read(self) -> list[bytes]:
        # Only the number of sockets: the rest of sockstat counts the whole host's socket memory.
        return [os.pread(descriptor, 1 << 16, 0).partition(b"\nTCP:")[0] for descriptor in self._files]
