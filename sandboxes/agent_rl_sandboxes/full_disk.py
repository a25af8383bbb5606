"""The message for a Docker daemon without disk space: which disk is full, how much is left of it, what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

NO_SPACE = "no space left on device"
"""The words in a daemon's answer that mean a full disk."""
REMEDY = "free some of it (`docker system prune` removes what nothing uses)"
_NEARLY_FULL = 2**28
"""Bytes. Where more are left, something other than the disk is full, such as a table of the kernel's."""


def explain(answer: str, root: Path | None) -> str:
    """One sentence on a daemon's `answer` that contains NO_SPACE. `root`: its folder; None if on another machine."""
    folder = _full_folder(answer, root)
    if folder is None:
        return f"the Docker daemon's disk is full ({NO_SPACE}): on its machine, {REMEDY}"
    found = os.statvfs(folder)
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if found.f_files and not found.f_favail:
        left = f"none of {found.f_files} inodes is left"
    elif free < _NEARLY_FULL:
        left = f"{free / 2**20:.1f} MiB of {size / 2**30:.1f} GiB are left"
    else:
        return f"Docker: {answer} (not of its disk: {free / 2**30:.1f} GiB are left in {folder})"
    return f"the Docker daemon's disk is full ({NO_SPACE}): {left} in {folder}; {REMEDY}"


def _full_folder(answer: str, root: Path | None) -> Path | None:
    """`root`, or the folder on another disk that the answer names; None if neither can be looked at from here."""
    if root is None or not root.is_dir():
        return None
    found = re.search(rf"(/[^\s:]+): {NO_SPACE}", answer)
    named = root if found is None else Path(found[1]).parent
    try:
        return named if named.stat().st_dev != root.stat().st_dev else root
    except OSError:
        return root
