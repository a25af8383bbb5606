"""Rows of every kind that MBPP has are loaded at the tier that their asserts allow, and tell right from wrong there."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError
from agent_rl.formats import prepare_all, program_of, read_tasks
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, PytestTests, Submission, Task
from tests.component.formats.mbpp_rows import DATA, KINDS, NOT_CASES, Kind


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


def read(tmp_path: Path, *rows: Any) -> list[Task]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_tasks(file)


@pytest.fixture
async def memory() -> AsyncIterator[TaskVerifier]:
    async with InMemoryProvider() as provider:
        yield TaskVerifier(provider, minimum_isolation="memory", cache_size=0)


@pytest.mark.local_sandbox
async def test_every_kind_of_row_passes_with_its_own_code_and_fails_with_a_wrong_one(tmp_path: Path) -> None:
    from agent_rl_sandboxes.local_provider import LocalProvider

    tasks = read(tmp_path, *(kind.row(number) for number, kind in enumerate(KINDS)))
    async with LocalProvider(SandboxConfig()) as provider:
        verifier = TaskVerifier(provider)

        async def passes(task: Task, reply: str, tier: str) -> bool:
            verdict = await verifier.judge(task, Submission.code(program_of(task, reply)))
            assert (task.id, verdict.tier) == (task.id, tier)
            return verdict.passed

        async def outcomes(kind: Kind, task: Task) -> tuple[str, bool, bool, bool]:
            assert task.oracle is not None
            shown = await verifier.run_public_tests(task, Submission.code(program_of(task, task.oracle)))
            right, wrong = [await passes(task, reply, kind.tier) for reply in (task.oracle, kind.wrong)]
            return kind.name, right, wrong, shown.passed

        pairs = zip(KINDS, await prepare_all(verifier, tasks), strict=True)
        found = await asyncio.gather(*(outcomes(kind, task) for kind, task in pairs))
    assert found == [(kind.name, True, False, True) for kind in KINDS]


OBJECT, IN_PLACE = (next(k for k in NOT_CASES if k.name == name) for name in ("an object", "a change in place"))


async def test_the_tier_is_fixed_at_load_and_kept_on_disk(tmp_path: Path, memory: TaskVerifier) -> None:
    (task,) = read(tmp_path, OBJECT.row(1))
    assert task.tier == "values"
    prepared = await memory.prepare(task)
    assert (prepared.tier, type(prepared.tests)) == ("proxied", PytestTests)
    runs = memory.runs
    assert await memory.prepare(task) == prepared
    assert memory.runs == runs
    # It is tried with its reference as every task of tier `proxied`, once: two pairs of runs find out what its tests
    # are, and one more judges it.
    for _ in range(2):
        assert await memory.prepare(prepared) == prepared
    assert memory.runs == runs + 3


async def test_a_weaker_tier_is_refused_where_the_minimum_is_values(tmp_path: Path) -> None:
    tasks = read(tmp_path, OBJECT.row(1), IN_PLACE.row(2))
    async with InMemoryProvider() as provider:
        lax = TaskVerifier(provider, minimum_isolation="memory", minimum_tier="proxied")
        assert [(await lax.prepare(task)).tier for task in tasks] == ["proxied", "proxied"]
        strict = TaskVerifier(provider, minimum_isolation="memory", minimum_tier="values")
        for task, why in zip(
            tasks, ("no canonical value: type Point", "the oracle solution does not pass these"), strict=True
        ):
            message = rf"minimum_tier: task {task.id}: its tests cannot be recorded as cases \({why}.*at tier 'proxied'"
            with pytest.raises(ConfigError, match=message):
                await strict.prepare(task)


async def test_a_public_case_that_the_reference_fails_as_a_case_is_dropped(
    tmp_path: Path, memory: TaskVerifier
) -> None:
    # The tests' set-up is a call too, which a case does not make.
    code = "calls = []\ndef count(n):\n    calls.append(n)\n    return len(calls)\n"
    rows = [
        Kind("x", code, ["assert count(1) == 2", "assert count(2) == 3"], "", more={"test_setup_code": "count(0)"}).row(
            1
        ),
        Kind("x", code, ["assert count(1) == 1", "assert count(2) == 2"], "").row(2),
    ]
    first, second = [await memory.prepare(task) for task in read(tmp_path, *rows)]
    assert (first.tier, first.public) == ("proxied", None)
    assert (second.tier, type(second.public)) == ("proxied", CallTests)
    # As it is kept on disk.
    again = [await memory.prepare(task) for task in read(tmp_path, *rows)]
    assert again == [first, second]


@pytest.mark.parametrize(
    ("code", "test", "messages"),
    [
        # The tests do not hold: no tier is looked for.
        (
            "def f(x):\n    return x\n",
            "assert f(1) == 2",
            ["could not be recorded with the oracle solution: AssertionError"],
        ),
        # What cannot be modified comes back from another process as an equal object, and never as the same.
        (
            "def f(x):\n    return x\n",
            "a = (1,)\nassert f(a) is a",
            [
                "its tests cannot be recorded as cases (the oracle solution does not pass these: the check was "
                "not satisfied",
                "at tier 'proxied' the oracle solution does not pass its own tests (failed)",
            ],
        ),
    ],
)
async def test_a_row_that_no_tier_can_judge_says_why(
    tmp_path: Path, memory: TaskVerifier, code: str, test: str, messages: list[str]
) -> None:
    (task,) = read(tmp_path, Kind("x", code, [test], "").row(1))
    with pytest.raises(ConfigError, match="task 1: ") as caught:
        await memory.prepare(task)
    assert [m for m in messages if m not in str(caught.value)] == []


async def test_a_row_in_humanevals_schema_is_treated_alike(tmp_path: Path, memory: TaskVerifier) -> None:
    prompt = 'class Point:\n    def __init__(self, x):\n        self.x = x\n\ndef doubled(p):\n    """Twice p."""\n'
    row = {
        "task_id": "H/0",
        "prompt": prompt,
        "entry_point": "doubled",
        "canonical_solution": "    return Point(2 * p.x)\n",
        "test": "def check(candidate):\n    for n in range(3):\n        assert candidate(Point(n)).x == 2 * n\n",
    }
    task = await memory.prepare(read(tmp_path, row)[0])
    assert task.tier == "proxied"
    for body, passes in (("    return Point(p.x + p.x)\n", True), ("    return p\n", False), ("    return 4\n", False)):
        verdict = await memory.judge(task, Submission.code(program_of(task, body) if body else ""))
        assert (body, verdict.passed, verdict.tier) == (body, passes, "proxied")


async def test_what_the_tests_use_beside_the_function_is_out_of_a_candidates_reach(
    tmp_path: Path, memory: TaskVerifier
) -> None:
    helper = "def far(a, b):\n    return a != b\n"
    code = f"{helper}class Box:\n    n = 3\ndef box():\n    return Box()\n"
    row = {
        "task_id": "H/0",
        "prompt": f"{helper}def box():\n    ''\n",
        "entry_point": "box",
        "canonical_solution": "    class Box:\n        n = 3\n    return Box()\n",
        "test": "def check(candidate):\n    assert not far(candidate().n, 3)\n",
    }
    task = await memory.prepare(read(tmp_path, row)[0])
    wrong = code.replace("a != b", "False").replace("n = 3", "n = 4")
    assert task.tier == "proxied"
    assert (await memory.judge(task, Submission.code(code))).passed
    assert not (await memory.judge(task, Submission.code(wrong))).passed


async def test_a_task_with_a_dataclass_among_its_values_has_a_hash(tmp_path: Path, memory: TaskVerifier) -> None:
    kind = Kind("x", f"{DATA}def f(n):\n    return Point(n, 2)\n", ["assert f(1) == Point(1, 2)"], "")
    task = await memory.prepare(read(tmp_path, kind.row(1))[0])
    assert isinstance(task.tests, CallTests)
    assert task.hash == dataclasses.replace(task).hash
    assert task.hash != dataclasses.replace(task, tests=dataclasses.replace(task.tests, cases=())).hash


def test_names_that_the_prompt_does_not_show_are_told(tmp_path: Path) -> None:
    (two,) = (k for k in KINDS if k.name == "two functions")
    (task,) = read(tmp_path, two.row(1))
    assert "assert coded('ab') == 'ba'" in task.prompt[0].content
    assert "Other tests use `decoded`." in task.prompt[0].content
