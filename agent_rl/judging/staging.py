"""The folder for a judging in the candidate's own process: the task's files, the submission, then the tests."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePosixPath

from agent_rl.contracts.environment import InvalidSubmission
from agent_rl.file_sets import ArchiveLimits, InvalidArchive, checked_files
from agent_rl.judging.judging_runs import invalid_program
from agent_rl.judging.patches import InvalidPatch, apply_patch
from agent_rl.vocabulary import Submission, Task

FILE_LIMITS = ArchiveLimits()
_STEERING = frozenset(
    {
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "tox.ini",
        "setup.cfg",
        "sitecustomize.py",
        "usercustomize.py",
        "pyvenv.cfg",
    }
)
"""Files that steer pytest or the interpreter: only the task's own are used."""
_TOOL_MODULES = frozenset({"pytest", "_pytest", "pluggy", "iniconfig", "py", "site", "sitecustomize", "usercustomize"})
"""Modules of pytest and of the interpreter that a submitted module of the same name would replace."""


async def submitted_files(
    task: Task, submission: Submission, module: str, present: Callable[[str], Awaitable[bytes | None]]
) -> dict[str, bytes | None]:
    """Path -> content (None: deleted) of each file in the submission. Raises InvalidSubmission.

    Code becomes the file of `module`. A patch is applied in memory, to the task's files or to files of the task's
    image, which `present` reads.
    """
    if submission.kind == "code":
        invalid = invalid_program(submission)
        if invalid:
            raise InvalidSubmission(invalid)
        return {f"{module.replace('.', '/')}.py": submission.text.encode()}
    try:
        if submission.kind == "files":
            return {**checked_files(submission.files, FILE_LIMITS)}
        if submission.kind == "patch":

            async def content_of(path: str) -> bytes | None:
                own = task.files.get(path)
                return own if own is not None else await present(path)

            changed = await apply_patch(submission.text, content_of)
            checked_files({path: content or b"" for path, content in changed.items()}, FILE_LIMITS)
            return changed
    except (InvalidArchive, InvalidPatch) as error:
        raise InvalidSubmission(str(error)) from None
    raise InvalidSubmission(f"a submission of kind {submission.kind!r}, where files are judged")


def staged(
    task: Task, submitted: Mapping[str, bytes | None], hidden: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[str]]:
    """(files to write: the task's, then the submission's, then the hidden tests; paths to remove).

    These submitted files are left out: files that steer pytest or the interpreter; modules that a test would import
    instead of the standard library; compiled files, which may differ from their source; files in the way of a test.
    """
    folders = {str(parent) for path in hidden for parent in PurePosixPath(path).parents} | {"."}
    kept = {
        path: content
        for path, content in submitted.items()
        if not _steers(path, task, submitted, folders) and not _in_the_way(path, hidden)
    }
    merged = {**task.files, **{p: c for p, c in kept.items() if c is not None}, **hidden}
    removed = [p for p, c in kept.items() if c is None and p not in hidden]
    return {path: content for path, content in merged.items() if path not in removed}, removed


def has_conftest(files: Mapping[str, bytes]) -> bool:
    """Whether one of `files` is a conftest.py."""
    return any(PurePosixPath(path).name == "conftest.py" for path in files)


def _steers(path: str, task: Task, submitted: Mapping[str, bytes | None], folders: set[str]) -> bool:
    """Whether the submission's file at `path` could steer the tests. A module that the task itself has cannot."""
    pure = PurePosixPath(path)
    if pure.name in _STEERING or pure.suffix in (".pth", ".pyc", ".pyo") or "__pycache__" in pure.parts:
        return True
    for depth, part in enumerate(pure.parts):
        name = part.split(".")[0]
        if name not in _TOOL_MODULES and name not in sys.stdlib_module_names:
            continue
        parent = str(PurePosixPath(*pure.parts[:depth]))
        if parent not in folders:
            continue
        here = str(PurePosixPath(*pure.parts[: depth + 1]))
        if depth == len(pure.parts) - 1:
            shadows = pure.suffix in (".py", ".so") and path not in task.files
        else:
            # Without this file, Python prefers the module of the same name to the folder.
            package = f"{here}/__init__.py"
            shadows = package in submitted and package not in task.files
        if shadows:
            return True
    return False


def _in_the_way(path: str, hidden: Mapping[str, bytes]) -> bool:
    """Whether `path` is a folder that the hidden tests need, or lies below one of their files."""
    return any(h.startswith(f"{path}/") or path.startswith(f"{h}/") for h in hidden)
