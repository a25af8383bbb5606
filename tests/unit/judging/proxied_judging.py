"""A judge of tier `proxied` in memory, for its tests."""

from __future__ import annotations

from typing import Any

from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.proxied.proxied_judge import ProxiedJudge
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import AssertTests, PytestTests, Submission, Task, Verdict

ADD = "def add(a, b):\n    return a + b\n"
TEST_ADD = "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"


def task_of(source: str, oracle: str = ADD, **options: Any) -> Task:
    """A task with one test file."""
    files = {"test_it.py": source.encode()}
    return Task("task", (), PytestTests(files, oracle={"solution.py": oracle.encode()}, **options), tier="proxied")


async def judged(task: Task, program: str, provider: InMemoryProvider | None = None) -> Verdict:
    async with provider or InMemoryProvider() as started:
        judge = ProxiedJudge(Runs(started, minimum_isolation="memory"))
        assert isinstance(task.tests, PytestTests | AssertTests)
        return await judge.judge(task, task.tests, Submission.code(program), public=True)
