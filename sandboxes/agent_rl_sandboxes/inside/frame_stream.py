"""Frames between the worker server and the pool: `FrameStream`.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from agent_rl_sandboxes.inside.private_buffers import PrivateBuffer

LENGTHS = struct.Struct(">II")
"""Before each frame: the lengths of its header and its body."""
_MAX_FRAME = 1 << 28


class StreamClosed(Exception):
    """The pool has gone away: the server must end."""


class FrameStream:
    """Frames from and to the pool. Incoming bytes are in a buffer that no child can read."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self._target = target
        self._incoming = PrivateBuffer(1 << 20)
        self._at = 0

    def next(self) -> tuple[dict[str, Any], memoryview]:
        """Waits for the next frame; its body stays valid until the call after the next. Raises StreamClosed."""
        if self._at == self._incoming.size:
            self._incoming.reset(0)
            self._at = 0
        while (frame := self.arrived()) is None:
            self.fill()
        return frame

    def arrived(self) -> tuple[dict[str, Any], memoryview] | None:
        """The next frame, if it has arrived completely."""
        waiting = self._incoming.size - self._at
        if waiting < LENGTHS.size:
            return None
        header, body = LENGTHS.unpack(self._incoming.view(self._at, self._at + LENGTHS.size))
        size = LENGTHS.size + header + body
        if size > _MAX_FRAME:
            raise StreamClosed(f"a frame of {size} bytes")
        # Leaves room for a "cancel" after the frame, so that the buffer need not move while the body is in use.
        self._incoming.grow(self._at + size + 4096)
        if waiting < size:
            return None
        start = self._at + LENGTHS.size
        self._at += size
        return json.loads(bytes(self._incoming.view(start, start + header))), self._incoming.view(
            start + header, self._at
        )

    def rewind(self) -> None:
        """If all frames were returned, their space is free again; their bodies are no longer valid."""
        if self._at == self._incoming.size:
            self._incoming.reset(0)
            self._at = 0

    def fill(self) -> None:
        """Waits for more input and reads it. Raises StreamClosed at the end of input."""
        self._incoming.grow(self._incoming.size + 4096)
        if self._incoming.read(self.source, self._incoming.capacity) == 0:
            raise StreamClosed("end of input")

    def send(self, header: dict[str, Any], *body: memoryview | bytes) -> None:
        """The frame is sent. Raises StreamClosed."""
        text = json.dumps(header).encode()
        parts = [memoryview(LENGTHS.pack(len(text), sum(map(len, body))) + text), *map(memoryview, body)]
        try:
            while parts:
                sent = os.writev(self._target, parts)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
        except OSError as error:
            raise StreamClosed(str(error)) from None
