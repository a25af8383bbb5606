"""`pack` and `unpack`: files as a tar archive, read in memory, strictly. Nothing is ever extracted to a disk.

Accepted is what `pack` writes: POSIX (ustar or pax) headers, regular files and folders, no compression. All else is
refused as a whole: links, devices, sparse and continued files, names that lead out or that two files would share, on
any file system. What a member holds is a part of the archive, so that nothing can be larger than what was sent.
"""

from __future__ import annotations

import io
import re
import tarfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_BLOCK = 512
_PAX_BYTES = 1 << 14
_PAX_RECORD = re.compile(rb"([0-9]{1,5}) ([a-zA-Z]+)=")
_PAX_IGNORED = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset"})
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*")


class BadArchive(ValueError):
    """The archive is not taken; the message says which member and why."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold: bytes of the whole, members, bytes of a path and of each part, parts of a path."""

    archive_bytes: int = 64 << 20
    members: int = 10_000
    path_bytes: int = 1024
    name_bytes: int = 255
    depth: int = 64


def pack(files: Mapping[str, bytes]) -> bytes:
    """An archive of `files` (content by path), the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def packed_bytes(path: str, content: bytes) -> int:
    """At most so many bytes are what a file adds to an archive."""
    return 4 * _BLOCK + 2 * len(path.encode("utf-8", "surrogatepass")) + len(content) + 2 * _BLOCK


def unpack(data: bytes, limits: ArchiveLimits = ArchiveLimits()) -> dict[str, bytes]:
    """Content by path in normal form, of the regular files in `data`. Raises BadArchive."""
    if len(data) > limits.archive_bytes:
        raise BadArchive(f"{len(data)} bytes, and {limits.archive_bytes} are allowed")
    names = _Names(limits)
    files: dict[str, bytes] = {}
    view = memoryview(data)
    long_path: str | None = None
    at = members = 0
    while True:
        header = bytes(view[at : at + _BLOCK])
        if len(header) < _BLOCK:
            raise BadArchive("truncated: there is no end of the archive")
        if not any(header):
            break
        at += _BLOCK
        members += 1
        if members > limits.members:
            raise BadArchive(f"more than {limits.members} members")
        kind, path, size = _header(header)
        content = view[at : at + size]
        at += -(-size // _BLOCK) * _BLOCK
        if at > len(data):
            raise BadArchive(f"truncated within {path[:80]!r}")
        if kind == "pax":
            if long_path is not None:
                raise BadArchive("two extended headers for one member")
            long_path = _pax_path(bytes(content))
            continue
        # An extended header without a path says "" and changes nothing.
        inner = names.take(long_path or path, folder=kind == "folder")
        long_path = None
        if kind == "file":
            files[inner] = bytes(content)
    if long_path is not None or any(view[at:]):
        raise BadArchive("something stands behind the end of the archive")
    if len(data) - at < 2 * _BLOCK or len(data) % _BLOCK:
        raise BadArchive("truncated: the end of the archive is not whole")
    return files


def _header(header: bytes) -> tuple[str, str, int]:
    """("file" | "folder" | "pax", path, size) of one header block. Raises BadArchive."""
    written = _number(header[148:156], "checksum")
    if written != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise BadArchive("a header with a wrong checksum")
    if header[257:263] != b"ustar\0":
        raise BadArchive("no POSIX archive")
    name, prefix = _text(header[0:100]), _text(header[345:500])
    path = f"{prefix}/{name}" if prefix else name
    kind = {b"0": "file", b"\0": "file", b"5": "folder", b"x": "pax"}.get(header[156:157])
    if kind is None:
        raise BadArchive(f"{path[:80]!r} is neither a file nor a folder (type {header[156:157]!r})")
    if kind != "pax" and any(header[157:257]):
        raise BadArchive(f"{path[:80]!r} names a link's target")
    size = _number(header[124:136], "size")
    if kind == "folder" and size:
        raise BadArchive(f"the folder {path[:80]!r} has content")
    if kind == "pax" and size > _PAX_BYTES:
        raise BadArchive(f"an extended header of {size} bytes")
    return kind, path, size


def _number(field: bytes, name: str) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise BadArchive(f"a {name} that is no octal number")
    return int(match[1], 8)


def _text(field: bytes) -> str:
    """The text in a field of fixed length, which ends at its first NUL. Raises BadArchive."""
    text, _, rest = field.partition(b"\0")
    if any(rest):
        raise BadArchive(f"a name with NUL in it: {field[:80]!r}")
    return _decoded(text)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BadArchive(f"a name that is no UTF-8: {text[:80]!r}") from None


def _pax_path(content: bytes) -> str:
    """The path that an extended header gives, "" where it gives none. Raises BadArchive."""
    path = ""
    at = 0
    while at < len(content):
        match = _PAX_RECORD.match(content, at)
        if match is None:
            raise BadArchive("a malformed extended header")
        end = at + int(match[1])
        if end > len(content) or end <= match.end() or content[end - 1 : end] != b"\n":
            raise BadArchive("a malformed extended header")
        key, value = match[2].decode(), content[match.end() : end - 1]
        if key == "path":
            if path or not value:
                raise BadArchive("an extended header with no path, or two")
            path = _decoded(value)
        elif key not in _PAX_IGNORED:
            raise BadArchive(f"an extended header with {key!r}")
        at = end
    return path


class _Names:
    """The paths of an archive, each checked against the others."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._spelled: dict[str, str] = {}
        """For each path and each folder above one: how it is written, by what a forgiving file system makes of it."""

    def take(self, path: str, *, folder: bool) -> str:
        """`path` in normal form, taken. Raises BadArchive where it leads out or clashes with one before."""
        parts = self._checked(path)
        if not parts:
            if folder:
                return ""  # "./", the root itself
            raise BadArchive(f"{path[:80]!r} is no path of a file")
        above = plain = ""
        for depth, part in enumerate(parts, 1):
            above = f"{above}/{part}" if above else part
            plain += "/" + unicodedata.normalize("NFC", part).casefold()
            if self._spelled.setdefault(plain, above) != above:
                raise BadArchive(f"{above[:80]!r} and {self._spelled[plain][:80]!r} are one on some file systems")
            if depth < len(parts) or folder:
                self._folders.add(above)
            if above in self._files:
                raise BadArchive(f"{above[:80]!r} is there twice, or as a file and a folder")
        if not folder:
            if above in self._folders:
                raise BadArchive(f"{above[:80]!r} is a file and a folder")
            self._files.add(above)
        return above

    def _checked(self, path: str) -> list[str]:
        shown = f"{path[:80]!r}"
        if "\0" in path:
            raise BadArchive(f"a name with NUL in it: {shown}")
        if path.startswith("/"):
            raise BadArchive(f"{shown} is absolute")
        if len(path.encode()) > self._limits.path_bytes:
            raise BadArchive(f"{shown}... is longer than {self._limits.path_bytes} bytes")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise BadArchive(f"{shown} leads out of the folder")
        if len(parts) > self._limits.depth:
            raise BadArchive(f"{shown}... is more than {self._limits.depth} folders deep")
        if any(len(part.encode()) > self._limits.name_bytes for part in parts):
            raise BadArchive(f"{shown}... has a part longer than {self._limits.name_bytes} bytes")
        return parts
