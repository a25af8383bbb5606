"""Readable errors for a disk or path that fails: the user's mistake before a run starts, a failure while it runs."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_rl.errors import ConfigError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_LOST = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE}
"""Errors of a folder that was writable and now is gone, is read-only or has a broken disk."""
_LONGEST_NAME = 200


@contextmanager
def usable_run_folder(folder: Path) -> Iterator[None]:
    """Turns an OSError in the block into a ConfigError of one line: the user gave an unusable `folder`."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{_shown(folder)} cannot hold a run: {_reason(folder, error)}", key="--run-dir") from None


@contextmanager
def usable_for_a_report(folder: Path) -> Iterator[None]:
    """Turns an OSError in the block into a ConfigError of one line, that of a full disk excepted: see `full_disk`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise
        said = f"the report of {_shown(folder)} cannot be written: {_reason(folder, error)}"
        raise ConfigError(said, key="RUN") from None


@contextmanager
def still_writable(folder: Path, last_checkpoint: Callable[[], Path | None]) -> Iterator[None]:
    """Turns an OSError in the block that comes from the disk of `folder` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL | _LOST:
            raise
        full = error.errno in _FULL
        remedy = "free some space there, or lower checkpoints.keep" if full else "make it writable again"
        try:
            checkpoint = last_checkpoint()
            whole = "no checkpoint has been written yet" if checkpoint is None else f"{checkpoint.name} is complete"
        except OSError:
            whole = "its checkpoints cannot be read now"
        raise StorageError(
            f"{_shown(folder)} can no longer be written: {error.strerror} ({bytes_left(folder)} left on its disk); "
            f"{remedy}, then go on with --resume ({whole})"
        ) from error


def full_disk(error: BaseException) -> StorageError | None:
    """A StorageError with a readable message if `error` says that a disk is full; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    where = f" at {error.filename}" if error.filename else ""
    return StorageError(
        f"a disk is full{where}: {error.strerror}; free some space there, or set AGENT_RL_CACHE and TMPDIR to folders "
        "on another disk"
    )


def bytes_left(folder: Path) -> str:
    """The free space on the disk of `folder`, as text; if `folder` does not exist, that of its nearest parent."""
    for place in (folder, *folder.absolute().parents):
        try:
            free = shutil.disk_usage(place).free
        except OSError:
            continue
        return f"{free / 2**30:.1f} GiB" if free >= 2**30 else f"{free / 2**20:.1f} MiB"
    return "an unknown number of bytes"


def _reason(folder: Path, error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return "this user may not read and write there"
        case errno.EROFS:
            return "it is on a read-only filesystem"
        case errno.ENOSPC | errno.EDQUOT:
            left = bytes_left(folder)
            return f"its disk is full ({error.strerror}; {left} left): free some space, or give another folder"
        case errno.ENAMETOOLONG:
            return "its name is too long"
        case errno.EEXIST | errno.ENOTDIR | errno.EISDIR | errno.ELOOP:
            return _in_its_place(Path(error.filename2 or error.filename or folder), error)
        case _:
            return error.strerror or str(error)


def _in_its_place(path: Path, error: OSError) -> str:
    """What is at `path`, or above it, instead of what the run has there."""
    if error.errno == errno.EISDIR:
        return f"{path} is a folder"
    for place in (path, *path.parents):
        if place.is_symlink() and (error.errno == errno.ELOOP or not place.is_dir()):
            return f"{place} is a link{'' if place.exists() else ' to nothing'}"
        if os.path.lexists(place) and not place.is_dir():
            return f"{place} is a file"
    return error.strerror or str(error)


def _shown(path: Path) -> str:
    """The path, cut if it is so long that it would hide the rest of the message."""
    text = str(path)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"
