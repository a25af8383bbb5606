"""Archives from untrusted places, read in memory and with limits: names that lead astray, bombs and links are refused.

Nothing is ever unpacked on this host's disk. What is returned is a plain mapping of safe relative paths to contents.
"""

from __future__ import annotations

import bz2
import io
import lzma
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from agent_rl.contracts.sandbox import Sandbox

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
_MAX_DIRECTORY_BYTES = 2 << 20
"""Of a zip's table of contents: it is read as a whole before its members are counted."""
_LZMA_MEMORY = 64 << 20
_END_OF_ZIP = struct.Struct("<4s4H2LH")

_PACK = """
import os, sys, tarfile
def plain(member):
    return member if member.isreg() or member.isdir() else None
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    for path in sys.argv[1:]:
        if os.path.lexists(path):
            archive.add(path, filter=plain)
"""

Links = Literal["refuse", "skip"]
"""What becomes of links and devices: the archive is refused, or they are left out (an agent's folder may hold some)."""


class InvalidArchive(ValueError):
    """The archive, or a set of files, is not acceptable; the message says why and is safe to print."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive: of the archive itself, and of what it holds."""

    archive_bytes: int = 64 << 20
    total_bytes: int = 64 << 20
    members: int = 10_000


def read_archive(data: bytes, limits: ArchiveLimits | None = None, *, links: Links = "refuse") -> dict[str, bytes]:
    """The regular files in a tar (plain, gzip, bzip2 or xz) or zip archive. Raises InvalidArchive, and nothing else.

    Memory is bounded by the archive, `total_bytes`, and a constant.
    """
    limits = limits or ArchiveLimits()
    if len(data) > limits.archive_bytes:
        raise InvalidArchive(f"an archive of more than {limits.archive_bytes} bytes")
    try:
        if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            found = _read_zip(data, limits, links)
        else:
            found = _read_tar(_decompressed(data, limits), limits, links)
    except InvalidArchive:
        raise
    except Exception as error:  # the readers raise what their parsers raise, of many kinds
        raise InvalidArchive(f"no readable archive: {type(error).__name__}") from None
    return found.files


def checked_files(files: Mapping[str, bytes], limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    """`files` under their plain paths, with the same rules as for an archive. Raises InvalidArchive."""
    found = _Found(limits or ArchiveLimits())
    for path, content in files.items():
        found.add(path, content)
    return found.files


def safe_path(name: str) -> str:
    """`name` as a plain relative path below a folder. Raises InvalidArchive where it is none or leads out of it."""
    shown = ascii(name[:64])
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidArchive(f"a path that is no valid Unicode: {shown}") from None
    if size > MAX_PATH_BYTES:
        raise InvalidArchive(f"a path of more than {MAX_PATH_BYTES} bytes: {shown}...")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise InvalidArchive(f"a path that leaves its folder, or names none: {shown}")
    if any(ord(c) < 32 or c in "\\\x7f" for c in name):
        raise InvalidArchive(f"a path with a control character or a backslash: {shown}")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in pure.parts):
        raise InvalidArchive(f"a name of more than {MAX_NAME_BYTES} bytes: {shown}...")
    return str(pure)


async def take_files(sandbox: Sandbox, paths: Sequence[str], limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    """The regular files at and below `paths` of a sandbox's working directory; links and devices are left out.

    Whatever the programs inside made of their sandbox, what comes out obeys the rules of `read_archive`. Raises
    InvalidArchive, also where it is more than the sandbox's limit on output.
    """
    result = await sandbox.exec(["python3", "-I", "-c", _PACK, *(paths or (".",))], timeout=60.0)
    if result.status != "completed" or result.exit_code != 0:
        how = result.status.replace("_", " ") if result.status != "completed" else f"exit code {result.exit_code}"
        raise InvalidArchive(f"the files could not be taken from the sandbox: {how}")
    return read_archive(result.stdout, limits, links="skip")


class _Found:
    """Files found so far, within limits; no two under one name on any common file system."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self.files: dict[str, bytes] = {}
        self.limits = limits
        self.left = limits.total_bytes
        self._names: set[str] = set()
        self._folders: set[str] = set()
        self._members = 0

    def count(self) -> None:
        """One more member, of whatever kind."""
        self._members += 1
        if self._members > self.limits.members:
            raise InvalidArchive(f"more than {self.limits.members} members")

    def reserve(self, size: int) -> None:
        """There is room for `size` bytes more."""
        if size < 0 or size > self.left:
            raise InvalidArchive(f"more than {self.limits.total_bytes} bytes in all")

    def add(self, name: str, content: bytes) -> None:
        self.count()
        path = safe_path(name)
        self.reserve(len(content))
        self.left -= len(content)
        key = _folded(path)
        if key in self._names:
            raise InvalidArchive(f"two paths that differ in case only, or not at all: {path[:64]!a}")
        parents = [_folded(str(p)) for p in PurePosixPath(path).parents][:-1]
        if key in self._folders or any(p in self._names for p in parents):
            raise InvalidArchive(f"a path that is a file and a folder: {path[:64]!a}")
        self._names.add(key)
        self._folders.update(parents)
        self.files[path] = content


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _read_tar(data: bytes, limits: ArchiveLimits, links: Links) -> _Found:
    found = _Found(limits)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  it would keep every one
            if member.isdir():
                found.count()
                continue
            if not member.isreg() or member.issparse():
                if links == "refuse":
                    raise InvalidArchive(f"a link, device or sparse file: {member.name[:64]!a}")
                found.count()
                continue
            found.reserve(member.size)
            file = archive.extractfile(member)
            content = file.read(found.left + 1) if file is not None else b""
            if len(content) != member.size:
                raise InvalidArchive("an archive that ends within a file")
            found.add(member.name, content)
    return found


def _read_zip(data: bytes, limits: ArchiveLimits, links: Links) -> _Found:
    _check_directory(data)
    found = _Found(limits)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.is_dir():
                found.count()
                continue
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                if links == "refuse":
                    raise InvalidArchive(f"a link or device: {member.filename[:64]!a}")
                found.count()
                continue
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidArchive("an encrypted member, or one compressed by another method than deflate")
            if member.orig_filename != member.filename:
                raise InvalidArchive(f"a path with a NUL or a foreign separator: {member.filename[:64]!a}")
            found.reserve(member.file_size)
            with archive.open(member) as file:
                content = file.read(found.left + 1)
            found.add(member.filename, content)
    return found


def _check_directory(data: bytes) -> None:
    """The table of contents is small. Raises InvalidArchive (also for zip64, which no archive of this size needs)."""
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or at + _END_OF_ZIP.size > len(data):
        raise InvalidArchive("a zip archive without an end")
    size: int = _END_OF_ZIP.unpack_from(data, at)[5]
    if size > _MAX_DIRECTORY_BYTES or b"PK\x06\x07" in data[max(0, at - 64) : at]:
        raise InvalidArchive("a zip archive with too large a table of contents")


def _decompressed(data: bytes, limits: ArchiveLimits) -> bytes:
    """The tar itself, at most as large as files within the limits need. Raises InvalidArchive."""
    # Each member has a header, padding, and perhaps a long name of its own.
    most = limits.total_bytes + limits.members * (4 * 512 + MAX_PATH_BYTES) + 10240
    decompress: Callable[[bytes, int], bytes]
    if data[:2] == b"\x1f\x8b":
        unzip = zlib.decompressobj(31)
        decompress = unzip.decompress
    elif data[:3] == b"BZh":
        decompress = bz2.BZ2Decompressor().decompress
    elif data[:6] == b"\xfd7zXZ\x00":
        decompress = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY).decompress
    else:
        return data
    content: Any = decompress(data, most + 1)
    if len(content) > most:
        raise InvalidArchive(f"more than {limits.total_bytes} bytes in all")
    return content
