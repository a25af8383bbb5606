"""What a judging in a candidate's own process finds in its folder: the task's files, the submission, then the tests."""

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
"""Files by which pytest or an interpreter would be steered: only the task's own are taken."""
_MACHINERY = frozenset({"pytest", "_pytest", "pluggy", "iniconfig", "py", "site", "sitecustomize", "usercustomize"})


async def submitted_files(
    task: Task, submission: Submission, module: str, present: Callable[[str], Awaitable[bytes | None]]
) -> dict[str, bytes | None]:
    """Path -> content (None: deleted) of what the submission brings. Raises InvalidSubmission.

    Code becomes the file of `module`. A patch is applied here, to the task's files or, where `present` gives them, to
    those of the task's image.
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
    """(what is written: the task's files, then the submission's, then the hidden tests; paths to be removed).

    Of the submission is dropped what would steer pytest or the interpreter, or be imported instead of the standard
    library by a test; compiled files, which need not be what their source says; and what stands in a test's way.
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
    """Whether the submission's file at `path` is dropped. What the task itself has under that name is its own."""
    pure = PurePosixPath(path)
    if pure.name in _STEERING or pure.suffix in (".pth", ".pyc", ".pyo") or "__pycache__" in pure.parts:
        return True
    for depth, part in enumerate(pure.parts):
        name = part.split(".")[0]
        if name not in _MACHINERY and name not in sys.stdlib_module_names:
            continue
        parent = str(PurePosixPath(*pure.parts[:depth]))
        if parent not in folders:
            continue
        here = str(PurePosixPath(*pure.parts[: depth + 1]))
        if depth == len(pure.parts) - 1:
            shadows = pure.suffix in (".py", ".so") and path not in task.files
        else:
            # A folder without this file gives way to the module of its name.
            package = f"{here}/__init__.py"
            shadows = package in submitted and package not in task.files
        if shadows:
            return True
    return False


def _in_the_way(path: str, hidden: Mapping[str, bytes]) -> bool:
    """Whether a file at `path` would be where a folder of the tests has to be, or below one of their files."""
    return any(h.startswith(f"{path}/") or path.startswith(f"{h}/") for h in hidden)
