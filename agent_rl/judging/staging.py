"""The folder for a judging in the candidate's own process: the task's files, the submission, then the tests."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent_rl.contracts.environment import InvalidSubmission
from agent_rl.file_sets import ArchiveLimits, InvalidArchive, checked_files
from agent_rl.judging.judged_place import PlaceFacts
from agent_rl.judging.judging_runs import invalid_program
from agent_rl.judging.patches import InvalidPatch, apply_patch
from agent_rl.judging.steering_files import SHARED, with_own_pytest_part
from agent_rl.vocabulary import PytestTests, ScriptTests, Submission, Task

FILE_LIMITS = ArchiveLimits()
_STEERING = frozenset(
    {
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "sitecustomize.py",
        "usercustomize.py",
        "pyvenv.cfg",
    }
)
"""Files that steer pytest or the interpreter: only the task's own are used."""
_TOOL_MODULES = frozenset({"pytest", "_pytest", "pluggy", "iniconfig", "py", "site", "sitecustomize", "usercustomize"})
"""Modules of pytest and of the interpreter that a submitted module of the same name would replace."""
_COMPILED = (".pth", ".pyc", ".pyo", ".egg-link")
_METADATA = (".dist-info", ".egg-info")
_MODULE = (".py", ".so", ".pyd")
_TEST_FOLDER = re.compile(r"(?:.*[_.-])?(?:tests?|testing|specs?|__tests__)")
_IMPORT = re.compile(rb"\b(?:from|import)[ \t]+([A-Za-z_]\w*(?:[ \t]*,[ \t]*[A-Za-z_]\w*)*)")
ROOTS = (".", "src")
"""Folders that imports commonly start from, beside those of the tests."""


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


@dataclass(frozen=True, slots=True)
class Staged:
    """What is written to a sandbox before the tests, which paths are removed there, and what was not used.

    own: the task's files that the submission leaves as they are. write: those of the submission that are new or differ
    from the task's own.
    """

    own: dict[str, bytes]
    write: dict[str, bytes]
    remove: list[str]
    left_out: list[str]


def import_roots(hidden: Mapping[str, bytes]) -> set[str]:
    """The folders, relative to the working directory, that the tests may import modules from."""
    return {*ROOTS, *(str(parent) for path in hidden for parent in PurePosixPath(path).parents)}


def shared_configs(submitted: Mapping[str, bytes | None]) -> list[str]:
    """The submitted files that configure pytest beside other tools."""
    return [path for path in submitted if PurePosixPath(path).name in SHARED]


def staged(
    task: Task,
    submitted: Mapping[str, bytes | None],
    hidden: Mapping[str, bytes],
    facts: PlaceFacts,
    own_configs: Mapping[str, bytes | None],
) -> Staged:
    """The task's files and the submission, as they are written before the `hidden` tests.

    These submitted files are left out, and the task's own (also those of its image) stay: files that steer pytest or
    the interpreter; what lies below the tests' folders, unless it is a declared artifact; modules that a test would
    import instead of the standard library, an installed package or a hidden helper; compiled files, which may differ
    from their source; metadata of packages, which can name plug-ins; programs in a folder of PATH; files in the way of
    a test. Of pyproject.toml and the like, the part that pytest reads is the task's own (in `own_configs`).
    """
    rules = _Rules(task, submitted, hidden, facts)
    kept: dict[str, bytes | None] = {}
    left_out: list[str] = []
    for path, content in submitted.items():
        if PurePosixPath(path).name in SHARED:
            content = with_own_pytest_part(path, content or b"", own_configs.get(path))
            if content is None:
                left_out.append(path)
                continue
        if rules.refuses(path):
            if content != task.files.get(path) and path not in facts.same and path not in hidden:
                left_out.append(path)
        else:
            kept[path] = content
    removed = [p for p, c in kept.items() if c is None and p not in hidden]
    own = {p: c for p, c in task.files.items() if kept.get(p, c) == c and p not in hidden}
    # What the image has already is not written again: it may be read-only there.
    write = {
        p: c for p, c in kept.items() if c is not None and c != task.files.get(p) and p not in {*hidden, *facts.same}
    }
    return Staged(own, write, removed, left_out)


def has_conftest(files: Mapping[str, bytes]) -> bool:
    """Whether one of `files` is a conftest.py."""
    return any(PurePosixPath(path).name == "conftest.py" for path in files)


def wanted(task: Task) -> set[str]:
    """What the task asks for: the tested module and the files of its oracle solution, or its declared artifacts."""
    if isinstance(task.tests, PytestTests):
        return {*task.tests.oracle, f"{task.tests.module.replace('.', '/')}.py"}
    if isinstance(task.tests, ScriptTests):
        return {str(PurePosixPath(path)) for path in task.tests.artifacts}
    return set()


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether `path` is one of the paths, or lies in one of them."""
    return any(folder != "." and PurePosixPath(path).is_relative_to(folder) for folder in folders)


class _Rules:
    """Which files of one submission could steer the tests. A module that the task itself has cannot."""

    def __init__(
        self, task: Task, submitted: Mapping[str, bytes | None], hidden: Mapping[str, bytes], facts: PlaceFacts
    ) -> None:
        self._declared = wanted(task)
        self._own = {*self._declared, *task.files}
        self._submitted = submitted
        self._hidden = hidden
        self._tools = facts.tools
        self._top = facts.top
        self._roots = import_roots(hidden)
        self._tests_folders = _tests_folders(hidden, self._own, facts.top.get(".", ()))
        self._protected = _TOOL_MODULES | sys.stdlib_module_names | _imported(hidden, facts.installed)

    def refuses(self, path: str) -> bool:
        pure = PurePosixPath(path)
        parents = {str(parent) for parent in pure.parents}
        if pure.name in _STEERING or pure.suffix in _COMPILED or "__pycache__" in pure.parts:
            return True
        if any(part.endswith(_METADATA) for part in pure.parts):
            return True
        if any(h.startswith(f"{path}/") or path.startswith(f"{h}/") for h in self._hidden):
            return True
        if not self._declared.isdisjoint({path, *parents} - {"."}):
            return False
        return not parents.isdisjoint({*self._tests_folders, *self._tools}) or self._shadows(pure)

    def _shadows(self, pure: PurePosixPath) -> bool:
        for depth, part in enumerate(pure.parts):
            name = part.split(".")[0]
            parent = str(PurePosixPath(*pure.parts[:depth]))
            if name not in self._protected or parent not in self._roots:
                continue
            here = str(PurePosixPath(*pure.parts[: depth + 1]))
            if part in self._top.get(parent, ()) or here in self._own or self._is_own_package(here):
                continue
            # Without __init__.py, Python prefers the module of the same name to the folder.
            if pure.suffix in _MODULE if depth == len(pure.parts) - 1 else f"{here}/__init__.py" in self._submitted:
                return True
        return False

    def _is_own_package(self, folder: str) -> bool:
        return any(path.startswith(f"{folder}/") and path.endswith(".py") for path in self._own)


def _tests_folders(hidden: Mapping[str, bytes], own: Collection[str], image: Collection[str]) -> set[str]:
    """The folders that belong to the tests alone: named so, or without a file of the task.

    Where tests lie beside the code that they test, the folder is not theirs.
    """
    found: set[str] = set()
    for path in hidden:
        folder = PurePosixPath(path).parent
        if str(folder) == ".":
            continue
        named = [p for p in (folder, *folder.parents) if _TEST_FOLDER.fullmatch(p.name.lower())]
        if named:
            found.add(str(named[0]))
        elif folder.parts[0] not in image and not any(other.startswith(f"{folder}/") for other in own):
            found.add(str(folder))
    return found


def _imported(hidden: Mapping[str, bytes], installed: frozenset[str]) -> set[str]:
    """The names that the hidden files import and that are installed, or are hidden files themselves."""
    found: set[str] = set()
    for path, content in hidden.items():
        names = {name.strip().decode() for group in _IMPORT.findall(content) for name in group.split(b",")}
        found |= names & installed
        for folder in PurePosixPath(path).parents:
            prefix = "" if str(folder) == "." else f"{folder}/"
            beside = {h[len(prefix) :].partition("/")[0] for h in hidden if h.startswith(prefix)}
            found |= names & {name.removesuffix(".py") for name in beside}
    return found
