"""Checks sets of files from untrusted places: their number, their sizes and their names.

The same rules apply to an archive, a patch, a submission and a folder of tasks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Names = Literal["plain", "any"]
"""Which names are accepted. plain: names without control characters and backslashes. any: all names that an operating
system accepts."""

_UNPLAIN = re.compile(r"[\0-\x1f\\\x7f]")


class InvalidArchive(ValueError):
    """The archive or the set of files is refused. The message says why and is safe to print."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds of one archive: its bytes, bytes of all files, members, bytes of a path and of each path part, depth."""

    archive_bytes: int = 64 << 20
    total_bytes: int = 64 << 20
    members: int = 10_000
    path_bytes: int = 1024
    name_bytes: int = 255
    depth: int = 64


def checked_files(files: Mapping[str, bytes], limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    """`files` by their normalised paths. The rules are those for an archive. Raises InvalidArchive."""
    found = FileSet(limits or ArchiveLimits())
    for path, content in files.items():
        found.add(path, content)
    return found.files


def safe_path(name: str, limits: ArchiveLimits | None = None, names: Names = "plain") -> str:
    """`name` as a plain relative path below a folder. Raises InvalidArchive if it is none or leads out of it."""
    path = _normal(name, limits or ArchiveLimits(), names)
    if not path:
        raise InvalidArchive(f"{name[:64]!a} is not the path of a file")
    return path


class FileSet:
    """Collects files one after another, within limits. No two names may be the same on any common file system."""

    def __init__(self, limits: ArchiveLimits, names: Names = "plain") -> None:
        self.files: dict[str, bytes] = {}
        """Content by path in normal form."""
        self.left = limits.total_bytes
        """How many more bytes may be added."""
        self._limits = limits
        self._names: Names = names
        self._members = 0
        self._folders: set[str] = set()
        """The folders that are members themselves."""
        self._spellings = Spellings()

    def count(self) -> None:
        """Counts one more member, of any kind. Raises InvalidArchive if that is one too many."""
        self._members += 1
        if self._members > self._limits.members:
            raise InvalidArchive(f"more than {self._limits.members} members")

    def reserve(self, size: int) -> None:
        """Reserves `size` more bytes. Raises InvalidArchive if there is no room for them."""
        if size < 0 or size > self.left:
            raise InvalidArchive(f"more than {self._limits.total_bytes} bytes in all")

    def add(self, name: str, content: bytes) -> None:
        """Adds a file. Raises InvalidArchive."""
        self.count()
        path = safe_path(name, self._limits, self._names)
        if name.endswith("/"):
            raise InvalidArchive(f"{name[:64]!a} is a file under the name of a folder")
        self.reserve(len(content))
        self.left -= len(content)
        self._take(path)
        if path in self._folders or self._spellings.is_folder(path):
            raise InvalidArchive(f"{path[:64]!a} is a file and a folder")
        self.files[path] = content

    def add_folder(self, name: str) -> None:
        """Adds a folder. Its name must follow the rules for file names. Raises InvalidArchive."""
        self.count()
        path = _normal(name, self._limits, self._names)
        if path:  # empty for "./", the root itself
            self._take(path)
            self._folders.add(path)

    def _take(self, path: str) -> None:
        clash = self._spellings.clash(path)
        if clash is not None:
            shown = " and ".join(ascii(name[:64]) for name in clash)
            raise InvalidArchive(f"{shown} differ in case only, or in how they are written")
        if path in self.files:
            raise InvalidArchive(f"{path[:64]!a} is there twice, or as a file and a folder")
        at = path.find("/")
        while at >= 0:
            above = path[:at]
            if above in self.files:
                raise InvalidArchive(f"{above[:64]!a} is a file and a folder")
            at = path.find("/", at + 1)


@dataclass(slots=True)
class _Branch:
    """Path parts up to the next fork of the recorded paths, as written; and the branches below, by plain spelling."""

    parts: str
    below: dict[str, _Branch]


class Spellings:
    """Finds different spellings of files and folders that a forgiving file system treats as one path.

    It is a tree that branches only where paths differ: memory and time are linear in the length of all paths, no
    matter how deep they are.
    """

    def __init__(self) -> None:
        self._root: dict[str, _Branch] = {}

    def clash(self, path: str) -> tuple[str, str] | None:
        """None if `path` clashes with no recorded path; it is then recorded.

        Otherwise the two spellings that clash: the part of `path`, and the part of an earlier path. `path` is then not
        recorded.
        """
        parts, level, at = path.split("/"), self._root, 0
        while at < len(parts):
            branch = level.get(_plain(parts[at]))
            if branch is None:
                level[_plain(parts[at])] = _Branch("/".join(parts[at:]), {})
                return None
            known = branch.parts.split("/")
            same = 0
            for new, old in zip(parts[at:], known, strict=False):
                if new != old and _plain(new) != _plain(old):
                    break
                same += 1
                if new != old:
                    return "/".join(parts[: at + same]), "/".join([*parts[:at], *known[:same]])
            if same < len(known):
                branch.below = {_plain(known[same]): _Branch("/".join(known[same:]), branch.below)}
                branch.parts = "/".join(known[:same])
            level, at = branch.below, at + same
        return None

    def is_folder(self, path: str) -> bool:
        """Whether a recorded path is below `path`, which is a recorded path itself."""
        parts, level, at = path.split("/"), self._root, 0
        while at < len(parts):
            branch = level[_plain(parts[at])]
            level, at = branch.below, at + branch.parts.count("/") + 1
        return bool(level)


def _plain(part: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _normal(name: str, limits: ArchiveLimits, names: Names) -> str:
    """`name` without "." and empty parts, "" for the folder itself. Raises InvalidArchive."""
    shown = ascii(name[:64])
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidArchive(f"a path that is not valid Unicode: {shown}") from None
    if size > limits.path_bytes:
        raise InvalidArchive(f"a path of more than {limits.path_bytes} bytes: {shown}...")
    if "\0" in name:
        raise InvalidArchive(f"a path with NUL in it: {shown}")
    if name.startswith("/"):
        raise InvalidArchive(f"{shown} is absolute: it leaves its folder")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidArchive(f"{shown} leaves its folder")
    if names == "plain" and _UNPLAIN.search(name):
        raise InvalidArchive(f"a path with a control character or a backslash: {shown}")
    if len(parts) > limits.depth:
        raise InvalidArchive(f"{shown}... is more than {limits.depth} folders deep")
    if any(len(part.encode()) > limits.name_bytes for part in parts):
        raise InvalidArchive(f"{shown}... has a part of more than {limits.name_bytes} bytes")
    return "/".join(parts)
