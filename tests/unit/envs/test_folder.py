"""What of an agent's replies is run in the sandbox of a folder's task."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_rl.contracts import InvalidSubmission
from agent_rl.rollouts.policy_agent import ScriptedAgent
from agent_rl.rollouts.run_group import run_rollout
from agent_rl.rollouts.tools import signature
from agent_rl.testing.in_memory_sandbox import InMemoryProvider, InMemorySandbox
from agent_rl.vocabulary import ExecResult, SandboxSpec, Submission, Task, Verdict
from agent_rl_envs.folder import Folder, FolderConfig

CALL = '<tool_call>\n{"name": "bash", "arguments": {"command": "work"}}\n</tool_call>'
SCRIPT = "```sh\necho hi\n```\n"


class Judge:
    """Prepares tasks as they are, and judges nothing."""

    async def prepare(self, task: Task) -> Task:
        return task

    async def judge(self, task: Task, submission: Submission) -> Verdict:
        return Verdict(True, "passed", task.tier, "memory")

    async def accept(self, task: Task, verdict: Verdict) -> Verdict:
        return verdict


def no_files(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
    packed = io.BytesIO()
    tarfile.open(fileobj=packed, mode="w").close()
    return ExecResult("completed", 0, packed.getvalue(), b"", 0.0)


async def environment_of(folder: Path, **options: Any) -> tuple[Folder, Task]:
    for name, text in {"instruction.md": "Do it.", "tests/test.sh": "true\n"}.items():
        (folder / "task" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "task" / name).write_text(text)
    verifier: Any = Judge()
    environment = Folder(FolderConfig(folder=str(folder), **options), verifier)
    (task,) = await environment.load("test")
    return environment, task


async def ran(folder: Path, *replies: str, **options: Any) -> tuple[list[str], str]:
    """The commands that an episode runs in its sandbox, and the status of its verdict."""
    commands: list[str] = []

    def shell(command: Sequence[str], stdin: bytes, files: dict[str, bytes]) -> ExecResult:
        commands.append(command[-1])
        return ExecResult("completed", 0, b"", b"", 0.0)

    environment, task = await environment_of(folder, **options)
    async with InMemoryProvider(commands={"sh": shell, "python3": no_files}) as provider:
        agent = ScriptedAgent(replies)
        trajectory = await run_rollout(environment, "folder", task, lambda task, name: agent, provider)
    assert trajectory.verdict is not None, trajectory.error
    return commands, trajectory.verdict.status


async def test_the_script_of_a_reply_is_run(tmp_path: Path) -> None:
    assert await ran(tmp_path, f"{SCRIPT}Output:\n```\nhi\n```\n") == (["echo hi\n"], "passed")
    assert await ran(tmp_path, "Nothing is to be done.") == ([], "passed")


async def test_a_script_that_was_only_thought_is_not_run(tmp_path: Path) -> None:
    assert await ran(tmp_path, f"<think>\n{SCRIPT}") == ([], "invalid_submission")
    assert await ran(tmp_path, f"<think>\n{SCRIPT}", unfinished_thinking="read") == (["echo hi\n"], "passed")
    assert await ran(tmp_path, f"<think>\n{SCRIPT}</think>\n{'x' * 30_000}") == ([], "passed")


async def test_after_work_with_tools_no_block_of_a_reply_is_run(tmp_path: Path) -> None:
    work = {"tools": True, "max_turns": 3}
    assert await ran(tmp_path, CALL, f"Done, with:\n{SCRIPT}", **work) == (["work"], "passed")
    assert await ran(tmp_path, CALL, "<think>\nDone?", **work) == (["work"], "passed")
    assert await ran(tmp_path, CALL, f"{SCRIPT}{CALL}", CALL, **work) == (["work"] * 3, "passed")  # out of turns
    assert await ran(tmp_path, f"{SCRIPT}{CALL}", tools=True) == (["work"], "passed")


async def test_without_work_with_tools_the_script_of_a_reply_is_run(tmp_path: Path) -> None:
    assert await ran(tmp_path, SCRIPT, tools=True, max_turns=3) == (["echo hi\n"], "passed")
    wrong = CALL.replace("bash", "shell")
    assert await ran(tmp_path, wrong, SCRIPT, tools=True, max_turns=3) == (["echo hi\n"], "passed")


async def test_with_tools_the_prompt_asks_for_work_and_the_shell_is_described_as_ever(tmp_path: Path) -> None:
    (_, asked), (environment, to_work) = await environment_of(tmp_path), await environment_of(tmp_path, tools=True)
    assert "Answer with one ```sh block" in asked.prompt[0].content
    assert to_work.prompt[0].content.startswith("Do it.\n\n")
    assert "block" not in to_work.prompt[0].content

    class Told(ScriptedAgent):
        async def run(self, prompt: Any, tools: Any, *, max_turns: int = 8) -> str:
            assert signature(tools[0]).schema == signature(InMemorySandbox(SandboxSpec()).bash).schema
            raise InvalidSubmission("told")

    with pytest.raises(InvalidSubmission, match="told"):
        await environment.rollout(to_work, Told([]), InMemorySandbox(SandboxSpec()))
