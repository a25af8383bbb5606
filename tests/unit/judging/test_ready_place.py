"""Where files cannot be written to a sandbox, what a fresh one without the submission refuses too is not its fault."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from agent_rl.contracts import InvalidSubmission
from agent_rl.errors import SandboxStartError
from agent_rl.judging.ready_place import Staging
from agent_rl.testing.in_memory_sandbox import InMemorySandbox
from agent_rl.vocabulary import ExecResult, PytestTests, SandboxSpec, ScriptTests, Submission, Task

HIDDEN = {"tests/test_f.py": b"t" * 1000}
CODE = Submission.code("x = 1\n")
PYTEST = Task("t", (), PytestTests(HIDDEN, ("tests/test_f.py::test",)), files={"README": b"r"}, tier="in_process")
SCRIPT = Task("t", (), ScriptTests(HIDDEN, ("/bin/sh", "tests/test.sh"), artifacts=("src",)), tier="in_process")
ANY = Task("t", (), ScriptTests(HIDDEN, ("/bin/sh", "tests/test.sh")), tier="in_process")
Refuses = Callable[[str, Mapping[str, bytes]], int | None]


class Place(InMemorySandbox):
    """A sandbox that refuses files: `refuses` is given a path and all files there, and says the error's number."""

    def __init__(self, refuses: Refuses, writable: bool) -> None:
        def python(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
            facts: dict[str, Any] = {"root": "/app", "path": "/bin", "python_path": "", "installed": [], "top": {}}
            facts |= {"same": [], "writable": writable}
            return ExecResult("completed", 0, json.dumps(facts).encode(), b"", 0.1)

        super().__init__(SandboxSpec(), {"python3": python})
        self.refuses = refuses

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        await super().write_files(files)
        for path in files:
            number = self.refuses(path, self.files)
            if number is not None:
                raise OSError(number, os.strerror(number), path)


async def staged(refuses: Refuses, submission: Submission, task: Task, writable: bool = True) -> None:
    staging = Staging(lambda _: Place(refuses, writable))
    await staging.stage(Place(refuses, writable), task, submission, HIDDEN, "solution")


def room(size: int, number: int = errno.ENOSPC) -> Refuses:
    return lambda path, files: number if sum(map(len, files.values())) > size else None


def below(folder: str, number: int) -> Refuses:
    return lambda path, files: number if path.startswith(folder) else None


LARGE = Submission.of_files({"src/a.bin": bytes(3 << 20)})
SMALL = Submission.of_files({"src/a.py": b"x = 1\n"})
OTHER = Submission.of_files({"vendor/a.py": b"x = 1\n"})


@pytest.mark.parametrize(
    ("refuses", "submission", "task", "why"),
    [
        (room(0), CODE, PYTEST, "task's own files"),
        (room(5), CODE, ANY, "also without the submission"),
        (room(900), CODE, PYTEST, "also without the submission"),
        (room(900, errno.EDQUOT), SMALL, SCRIPT, "also without the submission"),
        (room(1003), SMALL, SCRIPT, "also without the submission"),  # the tests fit, and not even a small submission
        (below("tests", errno.EACCES), CODE, PYTEST, "also without the submission"),
        (below("tests", errno.EPERM), SMALL, SCRIPT, "also without the submission"),
        (below("src", errno.EACCES), SMALL, SCRIPT, "what the task asks for cannot be written there"),
        (below("src", errno.EROFS), SMALL, SCRIPT, "what the task asks for cannot be written there"),
        (below("solution", errno.EACCES), CODE, ANY, "what the task asks for cannot be written there"),
        (below("src", errno.EIO), SMALL, SCRIPT, "Input/output error"),
    ],
)
async def test_what_a_submission_could_not_have_caused_is_not_its_fault(
    refuses: Refuses, submission: Submission, task: Task, why: str
) -> None:
    with pytest.raises(SandboxStartError, match=why):
        await staged(refuses, submission, task)


@pytest.mark.parametrize(
    ("refuses", "submission", "task"),
    [
        (room(2 << 20), LARGE, SCRIPT),
        ((lambda path, files: errno.EFBIG if len(files[path]) > 1 << 20 else None), LARGE, SCRIPT),
        # The submission fits, and leaves no room for the tests.
        (room((3 << 20) + 500), LARGE, SCRIPT),
        (below("vendor", errno.EACCES), OTHER, SCRIPT),
        (below("src", errno.EACCES), SMALL, ANY),
        (below("docs", errno.EISDIR), Submission.of_files({"docs": b""}), ANY),
        (below("src", errno.ENAMETOOLONG), SMALL, SCRIPT),
    ],
)
async def test_a_submission_that_does_not_fit_is_invalid(refuses: Refuses, submission: Submission, task: Task) -> None:
    with pytest.raises(InvalidSubmission, match="its files do not fit into the sandbox"):
        await staged(refuses, submission, task)


async def test_a_working_directory_that_nobody_can_write_into_is_the_tasks_mistake() -> None:
    for task in (PYTEST, SCRIPT):
        with pytest.raises(SandboxStartError, match="USER of the task's image cannot write into its WORKDIR /app"):
            await staged(below("", errno.EACCES), CODE, task, writable=False)


async def test_what_fits_is_staged() -> None:
    for submission, task in ((CODE, PYTEST), (SMALL, SCRIPT), (LARGE, ANY)):
        await staged(room(4 << 20), submission, task)
