"""What is said where a Docker daemon has no space left."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent_rl_sandboxes import full_disk

ANSWER = "mkdir /nowhere/overlay2/0a1b: no space left on device"


def disk(*, blocks: int, free: int, inodes: int = 1000, free_inodes: int = 10) -> SimpleNamespace:
    """A file system of blocks of a MiB."""
    return SimpleNamespace(f_frsize=2**20, f_blocks=blocks, f_bavail=free, f_files=inodes, f_favail=free_inodes)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (disk(blocks=20480, free=3), "3.0 MiB of 20.0 GiB are left"),
        (disk(blocks=20480, free=255), "255.0 MiB of 20.0 GiB are left"),
        (disk(blocks=20480, free=9000, free_inodes=0), "none of 1000 inodes is left"),
    ],
)
def test_it_is_said_what_is_full_how_much_is_left_and_what_to_do(
    found: SimpleNamespace, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    assert full_disk.explain(ANSWER, tmp_path) == (
        f"the Docker daemon's disk is full (no space left on device): {said} in {tmp_path}; "
        "free some of it (`docker system prune` removes what nothing uses)"
    )


def test_what_is_full_beside_a_disk_with_room_is_said_as_the_daemon_said_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: disk(blocks=20480, free=256, inodes=0, free_inodes=0))
    said = f"Docker: {ANSWER} (not of its disk: 0.2 GiB are left in {tmp_path})"
    assert full_disk.explain(ANSWER, tmp_path) == said


@pytest.mark.parametrize("root", [None, Path("/nowhere/at/all")])
def test_the_disk_of_a_daemon_elsewhere_is_not_looked_at(root: Path | None) -> None:
    assert full_disk.explain(ANSWER, root) == (
        "the Docker daemon's disk is full (no space left on device): on its machine, free some of it "
        "(`docker system prune` removes what nothing uses)"
    )


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a second file system")
def test_a_folder_on_another_disk_than_the_daemons_own_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda folder: disk(blocks=1024, free=0))
    answer = "open /proc/self/new: no space left on device"
    assert "0.0 MiB of 1.0 GiB are left in /proc/self; " in full_disk.explain(answer, tmp_path)
