"""`Code` with scripted replies and a provider that executes the tests' own programs in this process."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_rl.contracts import Agent, Prompt, Tool
from agent_rl.errors import ConfigError
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import CallTests, Task
from agent_rl_envs.code import Code, CodeConfig
from tests.unit.judging.fakes import ScriptedProvider, executes

ROWS = [
    {
        "task_id": f"T/{n}",
        "prompt": f'def times{n}(x):\n    """ x times {n}.\n    >>> times{n}(2)\n    {2 * n}\n    """\n',
        "entry_point": f"times{n}",
        "canonical_solution": f"    return {n} * x\n",
        "test": f"def check(candidate):\n    for x in range(5):\n        assert candidate(x) == {n} * x\n",
    }
    for n in range(5, 9)
]
NO_SANDBOX: Any = None


class Replies(Agent):
    """Says the given replies, one a turn, and keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[Any] = []

    async def say(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        return self.replies.pop(0)

    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


def environment(tmp_path: Path, **options: Any) -> Code:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    verifier = TaskVerifier(ScriptedProvider(executes), minimum_isolation="memory")
    return Code(CodeConfig(**{"dataset": str(file), **options}), verifier)


async def passes(code: Code, task: Task, agent: Agent) -> bool:
    """Whether what the episode submits passes."""
    return (await code.verifier.judge(task, await code.rollout(task, agent, NO_SANDBOX))).passed


async def first(code: Code) -> Task:
    return (await code.load("test"))[0]


async def test_tasks_are_loaded_ready_to_be_judged_always_the_same(tmp_path: Path) -> None:
    code = environment(tmp_path)
    tasks = await code.load("test")
    assert [t.id for t in tasks] == ["T/5", "T/6", "T/7", "T/8"]
    assert all(isinstance(t.tests, CallTests) and len(t.tests.cases) == 5 for t in tasks)
    assert [t.hash for t in tasks] == [t.hash for t in await code.load("test")]


@pytest.mark.parametrize("style", ["instruct", "complete"])
async def test_gold_passes_and_empty_fails(tmp_path: Path, style: Any) -> None:
    code = environment(tmp_path, prompt=style)
    for task in await code.load("test"):
        assert task.oracle is not None
        assert await passes(code, task, Replies(task.oracle))
        assert not await passes(code, task, Replies(""))


async def test_a_later_turn_sees_what_came_out_of_the_examples(tmp_path: Path) -> None:
    code = environment(tmp_path, max_turns=3)
    agent = Replies("    return 4 * x\n", "```python\ndef times5(x):\n    return x * 5\n```")
    assert await passes(code, await first(code), agent)
    assert agent.asked[1] == "Some examples fail:\ntimes5(2) gave 8, expected 10\nWrite the whole function again."
    assert len(agent.asked) == 2  # the examples passed, so no third turn


async def test_passing_the_examples_is_not_passing_the_tests(tmp_path: Path) -> None:
    code = environment(tmp_path, max_turns=3)
    agent = Replies("    return 10\n")
    assert not await passes(code, await first(code), agent)
    assert len(agent.asked) == 1


async def test_an_episode_cut_short_is_judged_by_its_last_reply(tmp_path: Path) -> None:
    code = environment(tmp_path)
    task = await first(code)
    right, wrong = "    return 5 * x\n", "no"
    for replies, passed in (([wrong, right], True), ([right, wrong], False)):
        submission = await code.submission(task, replies, NO_SANDBOX)
        assert (await code.verifier.judge(task, submission)).passed == passed


async def test_splits_are_files_or_rows(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({**ROWS[0], "task_id": "other"}))
    splits = {"train": "[:3]", "test": "[3:]", "all": "", "other": str(other)}
    code = environment(tmp_path, splits=splits)
    ids = {split: [t.id for t in await code.load(split)] for split in splits}
    assert ids == {
        "train": ["T/5", "T/6", "T/7"],
        "test": ["T/8"],
        "all": ["T/5", "T/6", "T/7", "T/8"],
        "other": ["other"],
    }


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({}, "tset", r"split: the data set's splits are test; .*did you mean 'test'"),
        ({"splits": {"test": "[9:]"}}, "test", r"splits\.test: '\[9:\]' holds none of the 4 rows"),
        ({"splits": {"test": "[a:]"}}, "test", r"splits\.test: expected name\[start:stop\]"),
        ({"dataset": "none.jsonl"}, "test", r"there is no file none\.jsonl"),
    ],
)
async def test_what_cannot_be_loaded(tmp_path: Path, options: dict[str, Any], split: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await environment(tmp_path, **options).load(split)
