"""Files are taken from a sandbox, or the reason why not is told. The packing program runs here, in a folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from agent_rl.file_sets import ArchiveLimits
from agent_rl.judging import archives
from agent_rl.judging.archives import FilesNotTaken, take_files
from agent_rl.testing.in_memory_sandbox import InMemorySandbox
from agent_rl.vocabulary import ExecResult, SandboxSpec


def sandbox_of(folder: Path) -> InMemorySandbox:
    """A sandbox whose python works in `folder`."""

    def python(command: Sequence[str], stdin: bytes, files: Mapping[str, bytes]) -> ExecResult:
        done = subprocess.run(command, input=stdin, cwd=folder, capture_output=True, timeout=60)
        return ExecResult("completed", done.returncode, done.stdout, done.stderr, 0.0)

    return InMemorySandbox(SandboxSpec(), {"python3": python})


def many(folder: Path) -> None:
    for number in range(6):
        (folder / str(number)).touch()


def large(folder: Path) -> None:
    (folder / "large").write_bytes(bytes(101))


def latin(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).touch()


@pytest.mark.parametrize(
    ("fill", "why"),
    [
        (many, "there are more than 5 files and folders"),
        (large, "the files have more than 100 bytes"),
        (latin, r"a path that is not UTF-8: '\./caf\\udce9'"),
    ],
)
async def test_why_files_are_not_taken_is_told(
    fill: Callable[[Path], None], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "ArchiveLimits", lambda: ArchiveLimits(total_bytes=100, members=5))
    (tmp_path / "café").write_bytes(b"kept")
    sandbox = sandbox_of(tmp_path)
    assert await take_files(sandbox) == {"café": b"kept"}
    fill(tmp_path)
    with pytest.raises(FilesNotTaken, match=rf"could not be taken from the sandbox: exit code 3 \({why}\)$"):
        await take_files(sandbox)
