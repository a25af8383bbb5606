"""Whether anybody has used a network: `Traffic`.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import os


class Traffic:
    """The counters and sockets of the present network namespace: equal as long as nobody sent, or tried to send, in it.

    A socket that is on its way in a message to itself outlives its process, until the kernel looks for such.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        for name in ("dev", "snmp", "sockstat"):
            with contextlib.suppress(OSError):
                self._files.append(os.open(f"/proc/net/{name}", os.O_RDONLY))
        self._first = self._read()

    def seen(self) -> bool:
        """Whether there has been any since this object was made."""
        return self._read() != self._first

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)

    def _read(self) -> list[bytes]:
        # Of sockets the number alone: what follows counts the whole host's memory for them.
        return [os.pread(descriptor, 1 << 16, 0).partition(b"\nTCP:")[0] for descriptor in self._files]
