"""`Staging`: a fresh sandbox gets the task's files, the submission and the tests, and is then ready for the tests.

No program of the submission runs here. So what fails is the infrastructure's (SandboxStartError), unless the
submission's files are to blame by their sizes or paths (InvalidSubmission). Where files cannot be written, a fresh
sandbox without the submission says which of the two it is.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent_rl.contracts.environment import InvalidSubmission
from agent_rl.contracts.sandbox import Sandbox
from agent_rl.errors import SandboxError, SandboxStartError
from agent_rl.judging.judged_place import PlaceFacts, conftests, lacking, look, started_by
from agent_rl.judging.staging import Staged, import_roots, is_below, shared_configs, staged, submitted_files, wanted
from agent_rl.judging.steering_files import configures_pytest
from agent_rl.vocabulary import SandboxSpec, Submission, Task

_MAX_FILE = 16 << 20
_CONFIGS = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")
"""In pytest's order."""
_NO_ANSWER = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, *_FORBIDDEN)
_DUE = 1 << 20
"""Bytes. A place that has no room for a submission of this size is no place for submissions."""


@dataclass(frozen=True, slots=True)
class ReadyPlace:
    """A sandbox that is ready for the tests. `conftests`: the paths of the task's own."""

    facts: PlaceFacts
    staged: Staged
    conftests: frozenset[str]


class Staging:
    """Makes sandboxes ready, and remembers what those without an image of the task are like.

    fresh: a sandbox for the task, which no submission has touched.
    """

    def __init__(self, fresh: Callable[[Task], Sandbox]) -> None:
        self._fresh = fresh
        self._facts: dict[SandboxSpec | None, PlaceFacts] = {}
        self._lacking: dict[tuple[SandboxSpec | str | None, ...], list[str]] = {}

    async def stage(
        self,
        sandbox: Sandbox,
        task: Task,
        submission: Submission,
        hidden: Mapping[str, bytes],
        module: str,
        without: str = "",
    ) -> ReadyPlace:
        """Writes the task's files, the submission and, last, the tests to the sandbox.

        Raises InvalidSubmission, and SandboxStartError for any other failure.
        """
        try:
            return await self._stage(sandbox, task, submission, hidden, module, without)
        except (SandboxError, OSError) as error:
            raise SandboxStartError(str(error)) from error

    async def _stage(
        self,
        sandbox: Sandbox,
        task: Task,
        submission: Submission,
        hidden: Mapping[str, bytes],
        module: str,
        without: str,
    ) -> ReadyPlace:
        async def present(path: str) -> bytes | None:
            return await read_file(sandbox, path, _MAX_FILE)

        submitted = await submitted_files(task, submission, module, present)
        facts = await self._look(sandbox, task, submitted, hidden)
        if without:
            submitted.pop(_relative(facts.root, without), None)
        own = {
            path: task.files[path] if path in task.files else await present(path) for path in shared_configs(submitted)
        }
        files = staged(task, submitted, hidden, facts, own)
        own_conftests = {path for path in {**task.files, **hidden} if PurePosixPath(path).name == "conftest.py"}
        if has_own_image(task):
            own_conftests |= await conftests(sandbox, facts)
        await _write(sandbox, facts, files.own)
        asked = files.write if submission.kind == "code" else [p for p in files.write if is_below(p, wanted(task))]
        try:
            await sandbox.write_files(files.write)
            await _remove(sandbox, facts, [*files.remove, *([without] if without else [])])
            await sandbox.write_files(hidden)
        except (OSError, ValueError) as error:
            if why := await self._why_nobody_could(task, facts, files.write, hidden, asked, error):
                raise SandboxError(f"files could not be written to a sandbox: {why}") from error
            raise InvalidSubmission(f"its files do not fit into the sandbox: {error}") from None
        return ReadyPlace(facts, files, frozenset(own_conftests))

    async def _why_nobody_could(
        self,
        task: Task,
        facts: PlaceFacts,
        submitted: Mapping[str, bytes],
        hidden: Mapping[str, bytes],
        asked: Collection[str],
        error: OSError | ValueError,
    ) -> str:
        """Why the error is not the submission's: a fresh sandbox refuses too what is written without it. Else "".

        asked: the paths that the task asked for. Where the image forbids them, it is the task's mistake.
        """
        number = error.errno if isinstance(error, OSError) else None
        if not facts.writable:
            return f"{_no_right(facts)}: {error}"
        if isinstance(error, OSError) and number not in (*_NO_ROOM, *_NO_PATH):
            return str(error)
        own = {path: content for path, content in task.files.items() if path not in hidden}
        size = min(_DUE, sum(map(len, submitted.values()))) if number in _NO_ROOM else 0
        spare = {f".spare-{secrets.token_hex(8)}": bytes(size)} if size else {}
        sandbox = self._fresh(task)
        try:
            for contents in (own, spare, hidden):
                await _write(sandbox, facts, contents)
            if number in _FORBIDDEN:
                try:
                    await sandbox.write_files(dict.fromkeys(asked, b""))
                except OSError as refused:
                    return f"what the task asks for cannot be written there: {refused}" * (refused.errno in _FORBIDDEN)
        except SandboxError as refused:
            return f"{refused}, also without the submission"
        finally:
            with contextlib.suppress(SandboxError, OSError):
                await sandbox.close()
        return ""

    async def lacking(self, task: Task, command: Sequence[str], root: str) -> list[str]:
        """What `command` is started by and the sandbox lacks: then no submission can pass. Raises SandboxError."""
        programs = started_by(command, root)
        known = (task.sandbox, *programs)
        if known not in self._lacking:
            sandbox = self._fresh(task)
            try:
                self._lacking[known] = await lacking(sandbox, programs, own_image=has_own_image(task))
            finally:
                with contextlib.suppress(SandboxError, OSError):
                    await sandbox.close()
        return self._lacking[known]

    async def _look(
        self, sandbox: Sandbox, task: Task, submitted: Mapping[str, bytes | None], hidden: Mapping[str, bytes]
    ) -> PlaceFacts:
        """What the fresh sandbox is like; asked once where its working directory is empty. Raises SandboxError."""
        if has_own_image(task):
            return await look(sandbox, import_roots(hidden), submitted, own_image=True)
        if task.sandbox not in self._facts:
            self._facts[task.sandbox] = await look(sandbox, (), {}, own_image=False)
        return self._facts[task.sandbox]


def has_own_image(task: Task) -> bool:
    return task.sandbox is not None and (task.sandbox.image or task.sandbox.build_folder) is not None


def _relative(root: str, path: str) -> str:
    """`path` relative to `root`, if it lies there; else `path`."""
    whole = PurePosixPath(root, path)
    return str(whole.relative_to(root)) if whole.is_relative_to(root) else path


async def _write(sandbox: Sandbox, facts: PlaceFacts, contents: Mapping[str, bytes]) -> None:
    """Files of the task are there. Raises SandboxError."""
    try:
        await sandbox.write_files(contents)
    except (OSError, ValueError) as error:
        why = "" if facts.writable else f"{_no_right(facts)}: "
        raise SandboxError(f"the task's own files could not be written to a sandbox: {why}{error}") from error


def _no_right(facts: PlaceFacts) -> str:
    return (
        f"the USER of the task's image cannot write into its WORKDIR {facts.root} (let its Dockerfile end with the "
        "USER that owns it, or `RUN chown` it; here root, too, can write only into what it owns)"
    )


async def _remove(sandbox: Sandbox, facts: PlaceFacts, paths: Collection[str]) -> None:
    if not paths:
        return
    removed = [str(PurePosixPath(facts.root, path)) for path in paths]
    result = await sandbox.exec(["/bin/rm", "-f", "--", *removed], environment=facts.environment)
    if result.status != "completed":
        raise SandboxError(f"files could not be removed from a sandbox: {result.status}")


async def own_config(sandbox: Sandbox, tests: Collection[str]) -> str:
    """The file with the task's own configuration of pytest; "" if there is none. Raises SandboxStartError.

    As pytest does, it is searched for in the folder that holds all `tests` (paths or node ids), and then in those above
    it. Staging has put the task's own part into each file that is pytest's to read.
    """
    folders = [str(PurePosixPath(test.partition("::")[0]).parent) for test in tests]
    common = PurePosixPath(posixpath.commonpath(folders) if folders else ".")
    for folder in (common, *common.parents):
        for name in _CONFIGS:
            path = str(folder / name)
            try:
                content = await read_file(sandbox, path, _MAX_FILE)
            except SandboxError as error:
                raise SandboxStartError(str(error)) from error
            if content is not None and configures_pytest(path, content):
                return path
    return ""


async def read_file(sandbox: Sandbox, path: str, most: int) -> bytes | None:
    """At most `most` bytes of a file; None if there is none. Raises SandboxError if the sandbox does not say.

    A submission that has made its sandbox unusable is blamed for that error: it happens again in a fresh one.
    """
    try:
        return await sandbox.read_file(path, max_bytes=most)
    except FileNotFoundError as error:
        if error.errno in _NO_ANSWER:
            raise SandboxError(f"a file could not be read from a sandbox: {error}") from error
        return None
