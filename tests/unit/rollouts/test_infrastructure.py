"""A failure of the infrastructure is never a verdict, at whatever boundary; what an agent causes always is one."""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import json
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import requests.exceptions
from docker.errors import ImageNotFound

from agent_rl import take_files
from agent_rl.contracts import Agent, Environment, EnvironmentConfig, Sandbox
from agent_rl.errors import PolicyError, SandboxError, SandboxStartError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.rollouts.run_group import run_group
from agent_rl.testing.in_memory_sandbox import InMemoryProvider, InMemorySandbox
from agent_rl.vocabulary import (
    AnswerTests,
    CallTests,
    Case,
    ExecResult,
    Group,
    PytestTests,
    SandboxSpec,
    ScriptTests,
    StdioCase,
    StdioTests,
    Submission,
    Task,
)
from agent_rl.vocabulary.task import Tier
from agent_rl_sandboxes.image_build import build_folder
from agent_rl_sandboxes.remote_host import HostRefused
from agent_rl_sandboxes.remote_sandbox import _as_the_contract_says
from tests.unit.judging.test_in_process import around_the_tests, honest, ran
from tests.unit.rollouts.support import FunctionEnvironment, make_task
from tests.unit.rollouts.test_run import policy_agents

Raises = Callable[[], Exception]
HIDDEN = {"tests/test_f.py": b"def test_one(): pass\n"}
IDS = ("tests/test_f.py::test_one",)
SCRIPT = ScriptTests({"tests/test.sh": b"true\n"})


def task(tests: Any = SCRIPT, tier: Tier = "in_process") -> Task:
    return Task("t", (), tests, sandbox=SandboxSpec(), tier=tier)


class Places(InMemoryProvider):
    """`broken` says what a call of a sandbox (method, and for `exec` what it is to do) raises or gives instead.

    It sees (what is done, the number of the sandbox: 0 is the agent's). `sick`: other runs fail too.
    """

    def __init__(self, broken: Callable[[str, int], Any] = lambda what, number: None, *, sick: bool = False) -> None:
        super().__init__()
        self._broken, self._sick, self._made = broken, sick, 0

    def sandbox(self, spec: SandboxSpec) -> InMemorySandbox:
        self._made += 1
        return Place(spec, self._broken, self._made - 1)

    async def run(self, request: Any, *, fresh: bool = False) -> Any:
        if self._sick:
            raise SandboxError("every place dies")
        if request.program.startswith("import time"):  # the companion, which waits
            await asyncio.Event().wait()
        return await super().run(request, fresh=fresh)

    async def run_pair(self, request: Any, *, fresh: bool = False) -> Any:
        raise SandboxError("every pair dies")


class Place(InMemorySandbox):
    def __init__(self, spec: SandboxSpec, broken: Callable[[str, int], Any], number: int) -> None:
        super().__init__(spec)
        self._broken, self._number = broken, number

    def _instead(self, what: str) -> Any:
        found = self._broken(what, self._number)
        if isinstance(found, Exception):
            raise found
        return found

    async def exec(self, command: Sequence[str], *, stdin: bytes = b"", **options: Any) -> ExecResult:
        what = doing(command, stdin)
        if (instead := self._instead(what)) is not None:
            return instead
        if what == "take":
            return ran(stdout=archive(self.files))
        if what == "tests" and stdin:
            order = json.loads(stdin)
            self.files[order["report"].removeprefix("/work/")] = json.dumps(honest(order, self.files)).encode()
        return around_the_tests(stdin, self.files) or ran()

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        if self._instead("write") is None:
            await super().write_files(files)

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        self._instead("read")
        return await super().read_file(path, max_bytes=max_bytes)

    async def close(self) -> None:
        self._instead("close")


def doing(command: Sequence[str], stdin: bytes) -> str:
    text = " ".join(command)
    if "tarfile" in text:
        return "take"
    if stdin:
        order = json.loads(stdin)
        return next((w for key, w in WORK.items() if key in order), "tests")
    return "tests" if "tests/" in text else "command"


WORK = {"digests": "look", "place": "guard", "most": "after"}


def archive(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Works(Environment):
    """Uses each thing that an episode may use, then submits its files, or the reply where no files are judged."""

    async def load(self, split: str) -> Sequence[Task]:
        return []

    async def rollout(self, task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        await sandbox.write_files({"solution.py": b"def f(x):\n    return x\n"})
        await sandbox.exec(["true"])
        await sandbox.read_file("solution.py")
        reply = await agent.say(task.prompt)
        if isinstance(task.tests, AnswerTests):
            return Submission.answer(f"\\boxed{{{reply}}}")
        if isinstance(task.tests, CallTests | StdioTests) or task.tier == "proxied":
            return Submission.code("def f(x):\n    return x\n")
        return Submission.of_files(await take_files(sandbox))


async def group_of(judged: Task, places: Places, reply: Callable[[Any], str] = lambda request: "x") -> Group:
    _, agents = policy_agents(reply)
    async with places:
        verifier = TaskVerifier(places, minimum_isolation="memory", retries=0, cache_size=0)
        environment = Works(EnvironmentConfig(), verifier)
        return await run_group(environment, "e", judged, agents, places, index=0, group_size=1, retries=0)


def breaks(what: str, error: Any, since: int = 0) -> Callable[[str, int], Any]:
    return lambda done, number: error if done == what and number >= since else None


def refused(kind: str) -> Exception:
    try:
        with _as_the_contract_says(SandboxSpec()):
            raise HostRefused(cast(Any, kind), "lost")
    except Exception as error:
        return error
    raise AssertionError


def unbuilt(tmp_path: Path) -> Exception:
    class Api:
        def inspect_image(self, tag: str) -> None:
            raise ImageNotFound("none")

        def build(self, **options: Any) -> Any:
            raise requests.exceptions.ConnectionError("refused")

    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(SandboxError) as raised:
        build_folder(cast(Any, Api()), tmp_path)
    return raised.value


GONE = SandboxError("gone")
UNREADABLE = FileNotFoundError(errno.EIO, "its server is ended again and again")
CALLS = task(CallTests("f", (Case((1,), 1),)), "values")
STDIO = task(StdioTests((StdioCase("1", "1"),)), "values")
PAIRS = task(PytestTests(HIDDEN, IDS, oracle={"solution.py": b""}), "proxied")
FILES = task(PytestTests(HIDDEN, IDS))
EVERYWHERE: dict[str, tuple[Task, Places]] = {
    "a sandbox does not start": (task(), Places(breaks("write", SandboxStartError("no place")))),
    "a file cannot be written": (task(), Places(breaks("write", OSError(errno.EMFILE, "many")))),
    "a command's sandbox dies": (task(), Places(breaks("command", GONE))),
    "a file's sandbox dies": (task(), Places(breaks("read", GONE))),
    "a host is lost": (task(), Places(breaks("command", refused("sandbox_start")))),
    "a host says nothing useful": (task(), Places(breaks("read", refused("internal")))),
    "files: the sandbox dies": (task(), Places(breaks("take", GONE))),
    **{
        f"files: {how} everywhere": (task(), Places(breaks("take", result)))
        for how, result in {
            "no python": ran(127),
            "a timeout": ran(status="timeout"),
            "too much output": ran(status="output_limit"),
            "no memory": ran(status="out_of_memory"),
            "an archive that is none": ran(stdout=b"x" * 600),
        }.items()
    },
    "a run's worker dies": (CALLS, Places(sick=True)),
    "a program's worker dies": (STDIO, Places(sick=True)),
    "a pair dies": (PAIRS, Places(sick=True)),
    "judging: no look": (task(), Places(breaks("look", ran(1), 1))),
    "judging: a look in vain": (FILES, Places(breaks("look", ran(status="timeout"), 1))),
    "judging: no file is written": (task(), Places(breaks("write", OSError(errno.EIO, "no"), 1))),
    "judging: no file is read": (FILES, Places(breaks("read", UNREADABLE, 1))),
    "judging: no guard": (task(), Places(breaks("guard", ran(status="crashed"), 1))),
    "judging: the tests' sandbox dies": (FILES, Places(breaks("tests", GONE, 1), sick=True)),
    "judging: the script's sandbox dies": (task(), Places(breaks("tests", GONE, 1), sick=True)),
    "judging: nothing is known afterwards": (task(), Places(breaks("after", ran(status="timeout"), 1), sick=True)),
}


@pytest.mark.parametrize("name", EVERYWHERE)
async def test_a_failure_at_any_boundary_drops_the_rollout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.blame._GRACE_SECONDS", 0.01)
    group = await group_of(*EVERYWHERE[name])
    assert [drop.boundary for drop in group.dropped] in (["sandbox"], ["environment"]), group.trajectories
    assert group.trajectories == ()


async def test_a_policy_an_image_and_a_process_that_compares_drop_it_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def dead(request: Any) -> str:
        raise PolicyError("gone")

    assert [d.boundary for d in (await group_of(task(), Places(), dead)).dropped] == ["policy"]
    places = Places(breaks("write", unbuilt(tmp_path)))
    assert [d.boundary for d in (await group_of(task(), places)).dropped] == ["sandbox"]

    def no_process(*given: Any, **options: Any) -> Any:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    answer = replace(task(AnswerTests("\\frac{1}{2}"), "values"))
    assert len((await group_of(answer, Places(), lambda request: "\\frac{2}{4}")).dropped) == 1


def statuses(group: Group) -> list[str]:
    return [t.verdict.status for t in group.trajectories if t.verdict is not None]


async def test_what_an_agent_does_to_its_own_sandbox_is_its_own_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.blame._GRACE_SECONDS", 0.01)
    assert statuses(await group_of(task(), Places())) == ["passed"]
    assert statuses(await group_of(FILES, Places())) == ["passed"]
    for result in (ran(3), ran(127), ran(status="timeout"), ran(status="output_limit"), ran(status="crashed")):
        only_here = Places(lambda what, number, result=result: result if (what, number) == ("take", 0) else None)
        assert statuses(await group_of(task(), only_here)) == ["invalid_submission"]
    writes = itertools.count()

    def full(what: str, number: int) -> Any:
        """The task's own files fit, and its submission's after them do not."""
        second = (what, number) == ("write", 1) and next(writes) == 1
        return OSError(errno.ENOSPC, "full") if second else None

    assert statuses(await group_of(task(), Places(full))) == ["invalid_submission"]
    # Its tests' sandbox dies each time, and no other does.
    for what, result in (("tests", GONE), ("after", ran(status="timeout"))):
        assert statuses(await group_of(task(), Places(breaks(what, result, 1)))) == ["crashed"]
    # Closing a sandbox says nothing of what was judged in it.
    assert statuses(await group_of(task(), Places(breaks("close", GONE)))) == ["passed"]


async def test_a_warning_of_an_attempt_is_one_line_that_names_the_task(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter(["cannot be built\nstep 1\nno such command", "one line", ""])

    async def never(task: Task, agent: Agent, sandbox: Sandbox) -> Submission:
        raise SandboxError(next(errors))

    _, agents = policy_agents()
    given = make_task()
    await run_group(
        FunctionEnvironment(never), "env", given, agents, None, index=0, group_size=1, retries=2, retry_delay=0.001
    )
    assert [record.getMessage().partition(" ")[2] for record in caplog.records] == [
        f"attempt 0 at task {given.id} failed: sandbox: cannot be built ... no such command",
        f"attempt 1 at task {given.id} failed: sandbox: one line",
    ]
