"""Tier `in_process` with the real pytest, in a folder of this machine: what counts as the time of the tests."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider, InMemorySandbox
from agent_rl.vocabulary import ExecResult, Limits, PytestTests, SandboxSpec, Submission, Task, Verdict

SECONDS = 3.0
TESTS = b"import solution\n\ndef test_it():\n    assert solution.f() == 1\n"
RIGHT = "def f():\n    return 1\n"
TASK = Task(
    "t",
    (),
    PytestTests({"test_it.py": TESTS}, ("test_it.py::test_it",)),
    tier="in_process",
)


class FolderSandbox(InMemorySandbox):
    """Runs trusted commands in a folder, with this interpreter as `python3`. pytest starts `slow` seconds later."""

    def __init__(self, spec: SandboxSpec, folder: Path, slow: float) -> None:
        super().__init__(spec)
        self._folder, self._slow = folder, slow

    async def exec(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        program, *arguments = command
        if "import pytest" in arguments[-1]:
            arguments[-1] = f"import time; time.sleep({self._slow})\n{arguments[-1]}"
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", '"$@"; exit $?', "sh"),  # so that nothing of a program is a child of these tests
            sys.executable if program == "python3" else program,
            *arguments,
            cwd=self._folder,
            env=environment or {},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            return ExecResult("timeout", None, b"", b"", time.monotonic() - began, cpu_seconds=timeout)
        return ExecResult("completed", process.returncode, out, err, time.monotonic() - began)

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / path).write_bytes(content)

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        return (self._folder / path).read_bytes()[:max_bytes]


class FolderProvider(InMemoryProvider):
    def __init__(self, folder: Path, slow: float) -> None:
        super().__init__()
        self._folder, self._slow = folder, slow
        self.made = 0

    def sandbox(self, spec: SandboxSpec) -> InMemorySandbox:
        self.made += 1
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        return FolderSandbox(spec, self._folder, self._slow)


async def judged(folder: Path, program: str, *, slow: float = 0.0, limit: float = SECONDS) -> tuple[Verdict, int]:
    """(the verdict, how many sandboxes it took)."""
    task = dataclasses.replace(TASK, limits=Limits(wall_seconds=limit))
    async with FolderProvider(folder, slow) as provider:
        verdict = await TaskVerifier(provider, minimum_isolation="memory").judge(task, Submission.code(program))
        return verdict, provider.made


async def test_the_start_of_pytest_is_not_the_tests_time(tmp_path: Path) -> None:
    verdict, _ = await judged(tmp_path, RIGHT, slow=5.8, limit=6.0)
    assert verdict.passed and verdict.seconds > 5.8, verdict


LONG = SECONDS + 0.5
SLOW = f"def f():\n    time.sleep({LONG})\n    return 1\n"
LATE = {
    "sleeps, and then is right": f"import time\n{SLOW}",
    "works without end when it is loaded": "while True:\n    pass\n",
    "swallows what it can": "import signal, time\nfor n in range(1, 64):\n    try:\n"
    f"        signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\n{SLOW}",
    "waits in a child": f"import subprocess\ndef f():\n    subprocess.run(['sleep', '{LONG}'])\n    return 1\n",
    "stops what watches it, for so long": "import os, signal, subprocess, time\ndef f():\n    parent = os.getppid()\n"
    f"    os.kill(parent, signal.SIGSTOP)\n    subprocess.Popen(['sh', '-c', 'sleep {LONG}; kill -CONT %d' % parent])\n"
    "    return 1\n",
}


OFTEN = ("sleeps, and then is right", "stops what watches it, for so long")


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.full) for n in LATE])
async def test_a_program_that_takes_too_long_is_late_although_pytest_had_more(name: str, tmp_path: Path) -> None:
    verdict, _ = await judged(tmp_path, LATE[name])
    assert (verdict.status, verdict.tests[0].detail.splitlines()[0]) == ("timeout", "timeout"), verdict
    assert verdict.seconds >= SECONDS


FAILING = {
    "kills itself": "import os\ndef f():\n    os.kill(os.getpid(), 9)\n",
    "kills what watches it": "import os\ndef f():\n    os.kill(os.getppid(), 9)\n    return 1\n",
    "kills what watches it once it has passed": "import os, sys\ndef f():\n    frame = sys._getframe()\n"
    "    while 'order' not in frame.f_locals or 'reporter' not in frame.f_locals:\n        frame = frame.f_back\n"
    "    frame.f_globals['_exit'] = lambda code: os.kill(os.getppid(), 9)\n    return 1\n",
    "ends with 0": "import os\ndef f():\n    os._exit(0)\n",
}


@pytest.mark.parametrize("name", FAILING)
async def test_a_program_that_ends_its_tests_fails_at_once(name: str, tmp_path: Path) -> None:
    verdict, places = await judged(tmp_path, FAILING[name], limit=20.0)
    assert (verdict.passed, verdict.status in ("failed", "tampered"), places) == (False, True, 1), verdict
