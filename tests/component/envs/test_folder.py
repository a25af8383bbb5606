"""A folder of tasks as an environment: scripts judge what an agent left, in a place where it has never been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent_rl.contracts import Agent, Prompt, SandboxProvider, Tool
from agent_rl.errors import ConfigError, FilesNotTaken
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import SandboxSpec, Task, Verdict
from agent_rl_envs.folder import Folder, FolderConfig
from tests.component.places import PLACES, provider_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUM = """
expected=$(cat tests/expected.txt)
[ "$(cat answer.txt)" = "$expected" ] || { echo "answer.txt is wrong"; exit 1; }
"""
REWARD = "echo run > ran.txt\nif grep -q 42 answer.txt; then echo 1.0 > reward.txt; else echo 0.25 > reward.txt; fi\n"
FILES = {
    "sum/instruction.md": "Write the sum of numbers.txt into answer.txt.",
    "sum/files/numbers.txt": "1\n2\n39\n",
    "sum/tests/test.sh": SUM,
    "sum/tests/expected.txt": "42\n",
    "sum/solution/solve.sh": "t=0\nwhile read n; do t=$((t + n)); done < numbers.txt\necho $t > answer.txt\n",
    "sum/task.toml": "[verifier]\ntimeout_sec = 20\n",
    "reward/instruction.md": "Write 42 into answer.txt.",
    "reward/tests/test.sh": REWARD,
    "reward/task.toml": '[verifier]\ntimeout_sec = 20\nreward_file = "reward.txt"\nartifacts = ["answer.txt"]\n',
    "reward/solution/answer.txt": "42\n",
}


class Says(Agent):
    """Answers each prompt with one text; with tools, runs that text in the shell first."""

    def __init__(self, reply: str) -> None:
        self.reply = reply

    async def say(self, prompt: Prompt) -> str:
        return self.reply

    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        await tools[0](self.reply)
        return "done"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PLACES)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    async with provider_of(request.param) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


async def judged(environment: Folder, task: Task, agent: Agent, provider: SandboxProvider) -> Verdict:
    sandbox = provider.sandbox(task.sandbox or SandboxSpec())
    try:
        return await environment.verifier.judge(task, await environment.rollout(task, agent, sandbox))
    except FilesNotTaken as error:
        untouched = provider.sandbox(task.sandbox or SandboxSpec())
        await untouched.write_files(task.files)
        await error.again(untouched)
        await untouched.close()
        return Verdict.invalid_submission(task.tier, str(error))
    finally:
        await sandbox.close()


def script(text: str) -> str:
    return f"I do this:\n```sh\n{text}\n```\n"


ATTACKS = {
    "does nothing": "true",
    "exits": "exit 0",
    "is wrong": "echo 41 > answer.txt",
    "leaves a reward": "echo 1 > reward.txt; echo 1.0 > ran.txt",
    "replaces the test": "mkdir tests; echo exit 0 > tests/test.sh; echo 41 | tee answer.txt > tests/expected.txt",
    "puts programs in the way": "for p in sh cat grep; do printf '#!/bin/sh\\necho 42\\n' > $p; chmod +x $p; done",
    "puts a file where the tests go": "rm -rf tests; echo x > tests",
    "leaves links": "ln -s /etc/passwd answer.txt; ln -s / root",
    "leaves start-up files": "echo 'exit 0' > .profile; echo 'exit 0' > .bashrc; echo 'exit 0' > .shrc",
    "fills its disk": "head -c 200000000 /dev/zero > answer.txt",
    "leaves many files": "i=0; while [ $i -lt 12000 ]; do : > f$i; i=$((i+1)); done",
}


@pytest.mark.parametrize("name", ["sum", "reward"])
async def test_references_pass_and_attacks_fail(provider: SandboxProvider, folder: Path, name: str) -> None:
    environment = Folder(FolderConfig(folder=str(folder)), TaskVerifier(provider))
    task = next(t for t in await environment.load("test") if t.id == name)
    assert task.oracle is not None
    verdict = await judged(environment, task, Says(task.oracle), provider)
    assert (verdict.status, verdict.tier, verdict.isolation) == ("passed", "in_process", "container")
    attacks = ATTACKS if name == "sum" else {n: ATTACKS[n] for n in ("is wrong", "leaves a reward", "exits")}
    gate = asyncio.Semaphore(2)

    async def attacked(text: str) -> Verdict:
        async with gate:
            return await judged(environment, task, Says(script(text)), provider)

    verdicts = dict(zip(attacks, await asyncio.gather(*map(attacked, attacks.values())), strict=True))
    assert [attack for attack, verdict in verdicts.items() if verdict.passed] == []
    if name == "reward":
        assert verdicts["is wrong"].scores == {"reward": 0.25}
    else:
        assert verdicts["leaves many files"].status == "invalid_submission"


async def test_with_tools_the_agent_works_in_its_sandbox(provider: SandboxProvider, folder: Path) -> None:
    environment = Folder(FolderConfig(folder=str(folder), tools=True, max_turns=3), TaskVerifier(provider))
    task = next(t for t in await environment.load("test") if t.id == "sum")
    assert (await judged(environment, task, Says("echo 42 > answer.txt"), provider)).passed
    assert not (await judged(environment, task, Says("ls tests solution; cat /tests/*"), provider)).passed


async def test_a_test_that_rewrites_itself_under_the_candidates_hand_is_tampering(
    provider: SandboxProvider, tmp_path: Path
) -> None:
    for path, content in (
        ("run/instruction.md", "Write main.sh."),
        ("run/tests/test.sh", ". ./main.sh\n[ -f never.txt ]\n"),
        ("run/task.toml", "[verifier]\ntimeout_sec = 5\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    environment = Folder(FolderConfig(folder=str(tmp_path)), TaskVerifier(provider))
    (task,) = await environment.load("test")
    expected = {
        "echo 'exit 0' > tests/test.sh": "tampered",
        "while :; do :; done": "timeout",
        "sleep 60 & exit 1": "failed",
    }
    for text, status in expected.items():
        reply = script(f"cat > main.sh <<'END'\n{text}\nEND")
        verdict = await judged(environment, task, Says(reply), provider)
        assert (verdict.passed, verdict.status) == (False, status)
        assert verdict.seconds <= 30  # the time limit is 5 s, and nothing waits for the sleeper


async def test_a_folder_that_is_none_is_the_users_mistake(provider: SandboxProvider, tmp_path: Path) -> None:
    verifier: Any = TaskVerifier(provider)
    with pytest.raises(ConfigError, match="folder: there is no folder"):
        await Folder(FolderConfig(folder=str(tmp_path / "none")), verifier).load("test")
