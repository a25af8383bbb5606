"""Files of an episode, written and read inside its namespaces, where the worst that a link leads to is itself.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def _folder(workdir: str, parts: list[str], *, make: bool) -> int:
    """A descriptor of the folder, reached without following a link. Raises OSError."""
    at = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    for part in parts:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=at)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def write(workdir: str, path: str, content: memoryview) -> None:
    """`path` below `workdir` has the content. A link on the way, or in its place, is an OSError."""
    *parts, name = path.split("/")
    folder = _folder(workdir, parts, make=True)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def read(workdir: str, path: str, max_bytes: int) -> bytes:
    """The first `max_bytes` of the regular file. Anything else, and a link on the way, is an OSError."""
    *parts, name = path.split("/")
    folder = _folder(workdir, parts, make=False)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "no regular file")
        parts_read: list[bytes] = []
        while max_bytes > 0 and (part := os.read(descriptor, min(max_bytes, 1 << 20))):
            parts_read.append(part)
            max_bytes -= len(part)
        return b"".join(parts_read)
    finally:
        os.close(descriptor)
