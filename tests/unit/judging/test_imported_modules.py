"""A task of cases whose oracle solution imports what the sandbox lacks says so at load; no other task does."""

from __future__ import annotations

import dataclasses

import pytest

from agent_rl.errors import ConfigError
from agent_rl.judging.imported_modules import imported
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, Case, PytestTests, SandboxSpec, StdioCase, StdioTests, Task

CALLS = Task("t/calls", (), CallTests("f", (Case((1,), 1),)))
STDIO = Task("t/stdio", (), StdioTests((StdioCase("1", "1"),)))


@pytest.mark.parametrize(
    ("program", "modules"),
    [
        ("import no_such_a", {"no_such_a"}),
        ("import os, no_such_a.b as c\nfrom no_such_b.c import d", {"no_such_a", "no_such_b"}),
        ("def f():\n    import no_such_a\nclass A:\n    def g(self):\n        with a:\n            import no_such_b",
         {"no_such_a", "no_such_b"}),
        ("if __name__ == '__main__':\n    import no_such_a", {"no_such_a"}),
        ("try:\n    import no_such_a\nexcept ImportError:\n    no_such_a = None", set()),
        ("from contextlib import suppress\nwith suppress(ImportError):\n    import no_such_a", set()),
        ("with open('a') as a:\n    import no_such_a", {"no_such_a"}),
        ("import sys\nif sys.argv[-1] == 'JUDGE':\n    import no_such_a", set()),
        ("from . import a\nfrom .b import c\nimport solution, _private, __future__", set()),
        ("import math, collections.abc\nfrom heapq import *", set()),
        ("'''\nimport no_such_a\n'''\nprint 'import no_such_a'", set()),
        ("print(x)  # import no_such_a", set()),
        ("72", set()),
    ],
)  # fmt: skip
def test_what_a_program_has_to_import(program: str, modules: set[str]) -> None:
    assert imported(program) == modules


def test_a_module_that_is_called_needs_nothing_for_a_run_of_its_own() -> None:
    program = "import no_such_a\nif __name__ == '__main__':\n    import no_such_b"
    assert imported(program, as_main=False) == {"no_such_a"}
    assert imported(program) == {"no_such_a", "no_such_b"}


@pytest.mark.parametrize("task", [CALLS, STDIO], ids=["calls", "stdio"])
async def test_a_module_that_the_oracle_solution_lacks_is_named_with_its_cure(task: Task) -> None:
    provider = InMemoryProvider()
    await provider.start()
    verifier = TaskVerifier(provider, minimum_isolation="memory")

    def solved(program: str) -> Task:
        return dataclasses.replace(task, oracle=f"```python\n{program}\n```")

    wrong = solved("import no_such_a\nfrom no_such_b.x import y\nimport pytest")
    with pytest.raises(
        ConfigError,
        match=f"task {task.id}: its oracle solution imports no_such_a, no_such_b. The sandbox has no "
        "no_such_a, no_such_b: install no_such_a,no_such_b there",
    ):
        await verifier.prepare(wrong)
    runs = verifier.runs
    with pytest.raises(ConfigError, match="has no no_such_a: "):
        await verifier.prepare(solved("import no_such_a"))
    for good in (task, solved("import math\nimport pytest"), solved("f = 1 +")):
        assert await verifier.prepare(good) is good
    assert runs == verifier.runs == 1, "each module is looked for once, and none where no program imports one"
    with pytest.raises(ConfigError, match="has no no_such_c: "):
        await verifier.prepare(dataclasses.replace(task, metadata={"before": "import no_such_c"}))
    await verifier.close()
    await provider.close()


@pytest.mark.parametrize(
    ("sandbox", "cure"),
    [
        (None, "install no_such_a there"),
        (SandboxSpec(), "install no_such_a there"),
        (SandboxSpec("their/image"), "add it to the task's own image, for instance to its environment/Dockerfile"),
        (SandboxSpec(build_folder="/environment"), "add it to the task's own image"),
    ],
)
async def test_what_a_tasks_own_image_lacks_is_added_there(sandbox: SandboxSpec | None, cure: str) -> None:
    class Failing(TaskVerifier):
        async def _prepared(self, task: Task) -> Task:
            raise ConfigError("collection: E   ModuleNotFoundError: No module named 'no_such_a'")

    tests = PytestTests({"tests/test_a.py": b"import no_such_a"})
    task = Task("t/folder", (), tests, sandbox=sandbox, tier="in_process")
    with pytest.raises(ConfigError, match=f"'no_such_a'. The sandbox has no no_such_a: {cure}"):
        await Failing(InMemoryProvider()).prepare(task)
