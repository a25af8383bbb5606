"""Tar archives in memory: `pack` writes one, `members` reads one strictly. Nothing is ever extracted to a disk.

Headers are POSIX (ustar or pax); dialect `gnu` also accepts GNU headers. A member's content is a slice of the archive,
so that no content can be larger than what was sent. Sparse and continued files are refused, and so are truncated
archives and archives with data after their end.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from agent_rl.file_sets import InvalidArchive

Dialect = Literal["posix", "gnu"]
"""`posix`: only what `pack` writes, files and folders. `gnu`: also what other tars write, with links and devices."""
EntryKind = Literal["file", "folder", "special"]

_BLOCK = 512
_EXTENDED_BYTES = 1 << 14
_PAX_RECORD = re.compile(rb"([0-9]{1,5}) ([A-Za-z][A-Za-z0-9._-]{0,99})=")
_PAX_IGNORED = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset"})
_PAX_FOREIGN = ("SCHILY.", "LIBARCHIVE.")
"""Prefixes of file attributes that GNU and BSD tar add; they change neither names nor contents."""
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*")
_POSIX_MAGIC, _GNU_MAGIC = b"ustar\0", b"ustar  \0"
_KINDS: dict[bytes, EntryKind] = {b"0": "file", b"\0": "file", b"5": "folder"}
_SPECIAL = (b"1", b"2", b"3", b"4", b"6")
"""Type flags of links, devices and pipes, which have no content."""
_PAX, _PAX_OF_ALL, _LONG_NAME, _LONG_TARGET = b"x", b"g", b"L", b"K"


@dataclass(frozen=True, slots=True)
class Member:
    """One member; its path is as written in the archive, and unchecked."""

    kind: EntryKind
    path: str
    content: memoryview


def pack(files: Mapping[str, bytes]) -> bytes:
    """An archive of `files` (path -> content); equal files give equal archives."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def packed_bytes(path: str, content: bytes) -> int:
    """Upper bound on the bytes that one file adds to an archive."""
    return 4 * _BLOCK + 2 * len(path.encode("utf-8", "surrogatepass")) + len(content) + 2 * _BLOCK


def members(data: bytes, dialect: Dialect = "posix") -> Iterator[Member]:
    """The members in order. Raises InvalidArchive, possibly only after the last member."""
    view = memoryview(data)
    named = _Extended()
    at = 0
    while True:
        block = bytes(view[at : at + _BLOCK])
        if len(block) < _BLOCK:
            raise InvalidArchive("truncated: there is no end of the archive")
        if not any(block):
            break
        header = _header(block, dialect)
        at += _BLOCK
        content = view[at : at + header.size]
        at += -(-header.size // _BLOCK) * _BLOCK
        if at > len(data):
            raise InvalidArchive(f"truncated within {header.path[:64]!a}")
        if header.kind == "extended":
            named.take(header.type, bytes(content), dialect)
            continue
        if named.target and header.kind != "special":
            raise InvalidArchive(f"{header.path[:64]!a} names a link's target")
        yield Member(header.kind, named.path or header.path, content)
        named = _Extended()
    if not named.empty or data.count(b"\0", at) < len(data) - at:
        raise InvalidArchive("there is data after the end of the archive")
    if len(data) - at < 2 * _BLOCK or len(data) % _BLOCK:
        raise InvalidArchive("truncated: the end of the archive is not whole")


@dataclass(frozen=True, slots=True)
class _Header:
    kind: EntryKind | Literal["extended"]
    type: bytes
    path: str
    size: int


def _header(block: bytes, dialect: Dialect) -> _Header:
    """The fields of one header block. Raises InvalidArchive."""
    gnu = dialect == "gnu" and block[257:265] == _GNU_MAGIC
    if not gnu and block[257:263] != _POSIX_MAGIC:
        raise InvalidArchive("no tar archive that is read here (POSIX" + (" or GNU)" if dialect == "gnu" else ")"))
    written = _number(block[148:156], "checksum")
    if written != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise InvalidArchive("a header with a wrong checksum")
    # GNU stores other fields where POSIX stores the first part of a long path.
    name, prefix = _text(block[0:100]), "" if gnu else _text(block[345:500])
    path = f"{prefix}/{name}" if prefix else name
    kind, size = _kind(block[156:157], path, dialect), _number(block[124:136], "size")
    if kind in ("file", "folder") and any(block[157:257]):
        raise InvalidArchive(f"{path[:64]!a} names a link's target")
    if kind in ("folder", "special") and size:
        raise InvalidArchive(f"{path[:64]!a} is not a file, but has content")
    if kind == "extended" and size > _EXTENDED_BYTES:
        raise InvalidArchive(f"an extended header of {size} bytes")
    return _Header(kind, block[156:157], path, size)


def _kind(type: bytes, path: str, dialect: Dialect) -> EntryKind | Literal["extended"]:
    """The kind of entry that a header's type flag stands for. Raises InvalidArchive."""
    if type in _KINDS:
        return _KINDS[type]
    if type == _PAX or (dialect == "gnu" and type in (_PAX_OF_ALL, _LONG_NAME, _LONG_TARGET)):
        return "extended"
    if dialect == "gnu" and type in _SPECIAL:
        return "special"
    raise InvalidArchive(f"{path[:64]!a} is neither a file nor a folder (type {type!r})")


class _Extended:
    """What the extended headers before a member say about it."""

    def __init__(self) -> None:
        self.path = ""
        """"" if they name no path; then the path in the member's own header holds."""
        self.target = False
        """Whether they name the target of a link."""
        self._seen: set[bytes] = set()

    @property
    def empty(self) -> bool:
        return not self._seen

    def take(self, type: bytes, content: bytes, dialect: Dialect) -> None:
        """Takes the content of one extended header. Raises InvalidArchive."""
        if type == _PAX_OF_ALL:
            if _Extended()._take_records(content, dialect):
                raise InvalidArchive("an extended header that names all members")
            return
        if type in self._seen:
            raise InvalidArchive("two extended headers for one member")
        self._seen.add(type)
        if type == _PAX:
            self._take_records(content, dialect)
        elif type == _LONG_NAME:
            self._name(content.removesuffix(b"\0"))
        else:
            self.target = True

    def _take_records(self, content: bytes, dialect: Dialect) -> bool:
        """Takes pax records. Returns whether the headers so far name a path or a link target. Raises InvalidArchive."""
        at = 0
        while at < len(content):
            match = _PAX_RECORD.match(content, at)
            if match is None:
                raise InvalidArchive("a malformed extended header")
            end = at + int(match[1])
            if end > len(content) or end <= match.end() or content[end - 1 : end] != b"\n":
                raise InvalidArchive("a malformed extended header")
            key = match[2].decode()
            if key == "path":
                self._name(content[match.end() : end - 1])
            elif key == "linkpath" and dialect == "gnu":
                self.target = True
            elif key not in _PAX_IGNORED and not (dialect == "gnu" and key.startswith(_PAX_FOREIGN)):
                raise InvalidArchive(f"an extended header with {key!r}")
            at = end
        return bool(self.path) or self.target

    def _name(self, path: bytes) -> None:
        if self.path or not path:
            raise InvalidArchive("extended headers with no path, or two")
        self.path = _decoded(path)


def _number(field: bytes, name: str) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise InvalidArchive(f"a {name} that is not an octal number")
    return int(match[1], 8)


def _text(field: bytes) -> str:
    """The text in a field of fixed length, which ends at its first NUL. Raises InvalidArchive."""
    text, _, rest = field.partition(b"\0")
    if any(rest):
        raise InvalidArchive(f"a path with NUL in it: {field[:64]!r}")
    return _decoded(text)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidArchive(f"a path that is not UTF-8: {text[:64]!r}") from None
