"""Unified diffs applied in memory: exactly, by content, with no program and no file of this host."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from agent_rl.file_sets import InvalidArchive, safe_path

MAX_PATCH_CHARS = 4 << 20
MAX_FILES = 1000
MAX_STEPS = 2_000_000
"""Limit on lines read, written or compared in all. An honest patch needs few more than the lines of its files."""
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@.*")
_NO_NEWLINE = "\\ No newline at end of file"


class InvalidPatch(ValueError):
    """The patch cannot be read or does not apply. The message says where and is safe to print."""


@dataclass(slots=True)
class _Hunk:
    start: int
    old: list[str] = field(default_factory=list[str])
    new: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _FileChange:
    """One file's change: `old` None creates it, `new` None deletes it, two different names move it."""

    old: str | None
    new: str | None
    hunks: list[_Hunk] = field(default_factory=list[_Hunk])


class _Steps:
    """The budget of steps that one patch may still take."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self, lines: int) -> None:
        """Counts `lines` more steps. Raises InvalidPatch if the budget is exceeded."""
        self._left -= lines
        if self._left < 0:
            raise InvalidPatch("a patch whose hunks take too long to be placed")


async def apply_patch(text: str, content_of: Callable[[str], Awaitable[bytes | None]]) -> dict[str, bytes | None]:
    """Path -> new content (None: deleted) of each file that the unified diff `text` changes.

    `content_of` returns a file's present content, or None if there is no such file. A hunk applies where its old lines
    occur, at the position nearest to the line it names. MAX_STEPS bounds the time, which is spent in threads. Raises
    InvalidPatch.
    """
    changed: dict[str, bytes | None] = {}
    steps = _Steps()
    for change in await asyncio.to_thread(_parse, text):
        old = None
        if change.old is not None:
            old = changed[change.old] if change.old in changed else await content_of(change.old)
            if old is None:
                raise InvalidPatch(f"{change.old!a} is not there to be changed")
        elif change.new is not None and (changed.get(change.new) or await content_of(change.new)) is not None:
            raise InvalidPatch(f"{change.new!a} is there already")
        new = await asyncio.to_thread(_new_content, old, change, steps)
        if change.old is not None:
            changed[change.old] = None
        if change.new is not None:
            changed[change.new] = new
    return changed


def _new_content(old: bytes | None, change: _FileChange, steps: _Steps) -> bytes:
    """The content of a file after its change; empty if the change deletes it. Raises InvalidPatch."""
    lines = [] if old is None else _lines(old, change.old or "")
    result = _patched(lines, change, steps)
    if change.new is None and result:
        raise InvalidPatch(f"{change.old!a} is deleted, but not all of its lines are")
    try:
        return "".join(result).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPatch(f"{change.new!a} would hold what is not valid Unicode") from None


def _lines(content: bytes, path: str) -> list[str]:
    text = content.decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise InvalidPatch(f"{path!a} is not text")
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _patched(lines: list[str], change: _FileChange, steps: _Steps) -> list[str]:
    """The file's lines after all hunks. Raises InvalidPatch."""
    steps.take(len(lines) + sum(len(hunk.new) for hunk in change.hunks))
    result: list[str] = []
    at = 0
    for number, hunk in enumerate(change.hunks, 1):
        wanted = max(hunk.start - 1, 0) if hunk.old else hunk.start
        found = _find(lines, hunk.old, at, wanted, steps)
        if found is None:
            name = change.new or change.old
            raise InvalidPatch(f"hunk {number} of {name!a} does not apply")
        result += lines[at:found] + hunk.new
        at = found + len(hunk.old)
    return result + lines[at:]


def _find(lines: list[str], old: list[str], lowest: int, wanted: int, steps: _Steps) -> int | None:
    """Index at or after `lowest`, nearest to `wanted`, at which `old` occurs in `lines`. Raises InvalidPatch."""
    if not old:
        return wanted if lowest <= wanted <= len(lines) else None
    for at in _nearest_first(lowest, len(lines) - len(old), wanted):
        steps.take(len(old) if lines[at] == old[0] else 1)
        if lines[at] == old[0] and lines[at : at + len(old)] == old:
            return at
    return None


def _nearest_first(lowest: int, highest: int, wanted: int) -> Iterator[int]:
    """`lowest` to `highest` by distance from `wanted`; at equal distance the lower one first."""
    down, up = min(wanted, highest), max(wanted + 1, lowest)
    while down >= lowest or up <= highest:
        if down >= lowest and (up > highest or wanted - down <= up - wanted):
            yield down
            down -= 1
        else:
            yield up
            up += 1


def _parse(text: str) -> list[_FileChange]:
    """The changes in order. Raises InvalidPatch."""
    if len(text) > MAX_PATCH_CHARS:
        raise InvalidPatch(f"a patch of more than {MAX_PATCH_CHARS} characters")
    lines = text.removesuffix("\n").split("\n")
    changes: list[_FileChange] = []
    moved: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise InvalidPatch("a patch of a binary file")
        if line.startswith("diff --git "):
            _take_move(moved, changes)
        elif line.startswith(("rename from ", "rename to ")):
            moved.append(line.split(" ", 2)[2])
        elif line.startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ "):
            change = _FileChange(_path(line[4:], "a/"), _path(lines[at + 1][4:], "b/"))
            moved.clear()
            if change.old is None and change.new is None:
                raise InvalidPatch("a change of no file")
            at = _parse_hunks(lines, at + 2, change)
            changes.append(change)
            if len(changes) > MAX_FILES:
                raise InvalidPatch(f"changes of more than {MAX_FILES} files")
            continue
        elif line.startswith("@@ "):
            raise InvalidPatch(f"line {at + 1}: a hunk of no file")
        at += 1
    _take_move(moved, changes)
    if not changes:
        raise InvalidPatch("no change of any file")
    return changes


def _take_move(moved: list[str], changes: list[_FileChange]) -> None:
    """Adds the change of a file that was only renamed: it has no hunks, and only these lines name it."""
    if len(moved) == 2:
        changes.append(_FileChange(_path(moved[0], ""), _path(moved[1], "")))
    moved.clear()


def _parse_hunks(lines: list[str], at: int, change: _FileChange) -> int:
    """Index of the line after the last hunk. Raises InvalidPatch."""
    while at < len(lines) and lines[at].startswith("@@ "):
        match = _HUNK.fullmatch(lines[at])
        if match is None:
            raise InvalidPatch(f"line {at + 1}: no hunk's head")
        hunk = _Hunk(int(match[1]))
        old, new = (int(match[group]) if match[group] is not None else 1 for group in (2, 4))
        at += 1
        while len(hunk.old) < old or len(hunk.new) < new:
            if at >= len(lines):
                raise InvalidPatch("a patch that ends within a hunk")
            line = lines[at]
            sides = {" ": (hunk.old, hunk.new), "-": (hunk.old,), "+": (hunk.new,), "": (hunk.old, hunk.new)}.get(
                line[:1]
            )
            if sides is None:
                raise InvalidPatch(f"line {at + 1}: a line that is neither kept, added nor removed")
            whole = at + 1 < len(lines) and lines[at + 1] == _NO_NEWLINE
            for side in sides:
                side.append(line[1:] + ("" if whole else "\n"))
            at += 2 if whole else 1
        if len(hunk.old) != old or len(hunk.new) != new:
            raise InvalidPatch(f"line {at}: a hunk of another length than it says")
        change.hunks.append(hunk)
    return at


def _path(written: str, prefix: str) -> str | None:
    """The path that a header names; None for /dev/null. Raises InvalidPatch."""
    name = written.split("\t")[0].rstrip("\r")
    if name == "/dev/null":
        return None
    if name.startswith('"'):
        raise InvalidPatch("a quoted path")
    try:
        return safe_path(name.removeprefix(prefix))
    except InvalidArchive as error:
        raise InvalidPatch(str(error)) from None
