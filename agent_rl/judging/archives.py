"""Reads untrusted archives in memory, within limits. Refuses unsafe paths, links and archives that expand too far.

    read_archive   reads tar (plain or compressed) and zip, made by a person or by a program in a sandbox
    unpack         reads only what `tar_archives.pack` writes; hosts and their clients send each other such archives

Both return a mapping from safe relative paths to contents. Nothing is written to this host's disk.
"""

from __future__ import annotations

import asyncio
import bz2
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from agent_rl.contracts import Sandbox
from agent_rl.errors import FilesNotTaken
from agent_rl.file_sets import ArchiveLimits, FileSet, InvalidArchive
from agent_rl.judging.judged_place import END_OTHERS
from agent_rl.judging.tar_archives import Dialect, members
from agent_rl.vocabulary import wording

_MAX_DIRECTORY_BYTES = 2 << 20
"""Limit on a zip's table of contents, which is read as a whole before its members are counted."""
_LZMA_MEMORY = 64 << 20
_END_OF_ZIP = struct.Struct("<4s4H2LH")

_PACK = """
import gzip, os, sys, tarfile
most, members, *paths = sys.argv[1:]
left = [int(most), int(members)]
def refuse(why):
    os.write(2, why.encode())  # what sys.stderr holds is lost with os._exit
    os._exit(3)
def plain(member):
    if not (member.isreg() or member.isdir()) or "__pycache__" in member.name.split("/"):
        return None
    left[0] -= member.size
    left[1] -= 1
    if min(left) < 0:
        refuse("there are more than %s files and folders" % members if left[1] < 0
            else "the files have more than %s bytes" % most)
    try:
        member.name.encode()
    except UnicodeEncodeError:
        refuse("a path that is not UTF-8: %a" % member.name)
    return member
with gzip.GzipFile("", "wb", 1, sys.stdout.buffer) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
    for path in paths:
        if os.path.lexists(path):
            archive.add(path, filter=plain)
"""
_TAKE_SECONDS = 60.0
_TAKE_TRIES = 3
_TOO_MUCH = 3
"""The exit code of `_PACK` for more than the limits, and for a path that no archive of ours holds."""

Links = Literal["refuse", "skip"]
"""What to do with links and devices: refuse the archive, or leave them out (an agent's folder may hold some)."""


def read_archive(data: bytes, limits: ArchiveLimits | None = None, *, links: Links = "refuse") -> dict[str, bytes]:
    """The regular files in a tar (plain, gzip, bzip2 or xz) or zip archive. Raises InvalidArchive, and nothing else.

    Memory use is bounded by the size of the archive plus `total_bytes` plus a constant.
    """
    limits = limits or ArchiveLimits()
    _check_size(data, limits)
    found = FileSet(limits)
    try:
        if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            _read_zip(data, found, links)
        else:
            _read_tar(_decompressed(data, limits), found, "gnu", links)
    except InvalidArchive:
        raise
    except Exception as error:  # the readers raise exceptions of many kinds, from their parsers
        raise InvalidArchive(f"no readable archive: {type(error).__name__}") from None
    return found.files


def unpack(data: bytes, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    """The files of an archive that `pack` wrote, with names that stay inside a folder. Raises InvalidArchive."""
    limits = limits or ArchiveLimits()
    _check_size(data, limits)
    found = FileSet(limits, "any")
    _read_tar(data, found, "posix", "refuse")
    return found.files


async def take_files(sandbox: Sandbox, paths: Sequence[str] = ()) -> dict[str, bytes]:
    """The regular files at and below `paths` (none: all) of a sandbox's working directory, for `Submission.of_files`.

    Links, devices and compiled Python are left out. The paths are safe and the sizes limited, whatever programs inside
    did to their sandbox. A failure is tried again, once what they left running has been ended. Raises FilesNotTaken:
    whether the agent is to blame (it may have left too much, or ended python there) is found out in a sandbox that no
    agent has touched, where a rollout ends with it.
    """

    async def again(untouched: Sandbox) -> None:
        await take_files(untouched, paths)

    limits = ArchiveLimits()
    command = ["python3", "-I", "-c", _PACK, str(limits.total_bytes), str(limits.members), *(paths or (".",))]
    result = await sandbox.exec(command, timeout=_TAKE_SECONDS)
    for _ in range(_TAKE_TRIES - 1):
        if (result.status == "completed" and result.exit_code in (0, _TOO_MUCH)) or result.status == "output_limit":
            break
        await sandbox.exec(["python3", "-I", "-c", END_OTHERS], timeout=_TAKE_SECONDS)
        result = await sandbox.exec(command, timeout=_TAKE_SECONDS)
    if result.status != "completed" or result.exit_code != 0:
        how = result.status.replace("_", " ") if result.status != "completed" else f"exit code {result.exit_code}"
        said = result.stderr.decode("utf-8", "replace").strip()
        why = f"{how} ({wording.last_line(said)})" if said else how
        raise FilesNotTaken(f"the files could not be taken from the sandbox: {why}", again)
    try:
        return await asyncio.to_thread(read_archive, result.stdout, limits, links="skip")
    except InvalidArchive as error:
        raise FilesNotTaken(f"the files could not be taken from the sandbox: {error}", again) from None


def _check_size(data: bytes, limits: ArchiveLimits) -> None:
    if len(data) > limits.archive_bytes:
        raise InvalidArchive(f"an archive of more than {limits.archive_bytes} bytes")


def _read_tar(data: bytes, found: FileSet, dialect: Dialect, links: Links) -> None:
    for member in members(data, dialect):
        if member.kind == "folder":
            found.add_folder(member.path)
        elif member.kind == "file":
            found.reserve(len(member.content))
            found.add(member.path, bytes(member.content))
        elif links == "skip":
            found.count()
        else:
            raise InvalidArchive(f"a link or device: {member.path[:64]!a}")


def _read_zip(data: bytes, found: FileSet, links: Links) -> None:
    _check_directory(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if member.orig_filename != member.filename:
                raise InvalidArchive(f"a path with a NUL or a foreign separator: {member.filename[:64]!a}")
            if member.is_dir():
                found.add_folder(member.filename)
                continue
            mode = member.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                if links == "refuse":
                    raise InvalidArchive(f"a link or device: {member.filename[:64]!a}")
                found.count()
                continue
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidArchive("an encrypted member, or one compressed by another method than deflate")
            found.reserve(member.file_size)
            with archive.open(member) as file:
                content = file.read(found.left + 1)
            found.add(member.filename, content)


def _check_directory(data: bytes) -> None:
    """Raises InvalidArchive if the table of contents is too large, and for zip64 (no archive of this size needs it)."""
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or at + _END_OF_ZIP.size > len(data):
        raise InvalidArchive("a zip archive without an end")
    size: int = _END_OF_ZIP.unpack_from(data, at)[5]
    if size > _MAX_DIRECTORY_BYTES or b"PK\x06\x07" in data[max(0, at - 64) : at]:
        raise InvalidArchive("a zip archive with too large a table of contents")


def _decompressed(data: bytes, limits: ArchiveLimits) -> bytes:
    """The decompressed tar. Raises InvalidArchive, also if it is larger than files within `limits` can need."""
    # Each member has a header, padding, and perhaps a long name of its own.
    most = limits.total_bytes + limits.members * (4 * 512 + limits.path_bytes) + 10240
    decompressor: Any
    if data[:2] == b"\x1f\x8b":
        decompressor = zlib.decompressobj(31)
    elif data[:3] == b"BZh":
        decompressor = bz2.BZ2Decompressor()
    elif data[:6] == b"\xfd7zXZ\x00":
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    else:
        return data
    content: bytes = decompressor.decompress(data, most + 1)
    if len(content) > most:
        raise InvalidArchive(f"more than {limits.total_bytes} bytes in all")
    if not decompressor.eof:
        raise InvalidArchive("truncated: there is no end of the compressed archive")
    if any(decompressor.unused_data):
        raise InvalidArchive("there is data after the end of the compressed archive")
    return content
