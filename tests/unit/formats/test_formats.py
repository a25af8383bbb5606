"""Rows of every format become tasks that their own solution passes and a wrong one fails; bad rows are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.formats import program_of, read_tasks, submission_of
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import (
    AnswerTests,
    AssertTests,
    CallTests,
    Case,
    PytestTests,
    ScriptTests,
    StdioCase,
    StdioTests,
    Submission,
    Task,
)

HUMANEVAL = {
    "task_id": "H/1",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function that squares a number.",
    "code": "def square(x):\n    return base * x * x\n",
    "test_setup_code": "base = 1",
    "test_list": ["assert square(2) == 4", "assert square(-3) == 9\nassert square(x=0) == 0"],
}
CALLS = {
    "task_id": "C/1",
    "prompt": "Write pair(a, b).",
    "entry_point": "pair",
    "cases": [{"args": [1, 2], "expected": [1, 2]}, {"args": [3], "kwargs": {"b": 4}, "expected": [3, 4]}],
    "public_cases": [{"args": [0, 0], "expected": [0, 0]}],
    "solution": "def pair(a, b):\n    return a, b\n",  # a tuple, which JSON has no word for
}
STDIO = {
    "task_id": "S/1",
    "prompt": "Add two numbers.",
    "inputs": ["1 2\n", "3 4\n"],
    "outputs": ["3\n", "7\n"],
    "public_inputs": ["0 0"],
    "public_outputs": ["0"],
    "solution": "print(sum(map(int, input().split())))\n",
    "isolated": True,
}
APPS = {
    "problem_id": 7,
    "question": "Add two numbers.",
    "input_output": json.dumps({"inputs": ["1\n2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}),
    "solutions": json.dumps(["print(int(input()) + int(input()))\n"]),
}
APPS_CALLS = {
    "problem_id": 8,
    "question": "Add two numbers.",
    "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]}),
    "solutions": json.dumps(["class Solution:\n    def add(self, a, b):\n        return a + b\n"]),
}
CODE_CONTESTS = {
    "name": "CC/1",
    "description": "Echo.",
    "public_tests": {"input": ["1\n"], "output": ["1\n"]},
    "private_tests": {"input": ["2\n"], "output": ["2\n"]},
    "generated_tests": {"input": ["3\n"], "output": ["3\n"]},
    "solutions": {"language": [2, 3], "solution": ["#include <x>", "print(input())\n"]},
}
PYTEST = {
    "task_id": "P/1",
    "prompt": "Write add.",
    "test_files": {"test_add.py": "from adder import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"},
    "module": "adder",
    "solution": "def add(a, b):\n    return a + b\n",
    "tests": ["test_add.py::test_add"],
    "tier": "in_process",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path / "cache"))


def read(tmp_path: Path, *rows: Any, **options: Any) -> list[Task]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_tasks(file, **options)


def test_each_format_is_told_by_its_keys_and_a_file_may_mix_them(tmp_path: Path) -> None:
    tasks = read(tmp_path, HUMANEVAL, MBPP, CALLS, STDIO, APPS, APPS_CALLS, CODE_CONTESTS, PYTEST)
    kinds = [AssertTests, AssertTests, CallTests, StdioTests, StdioTests, CallTests, StdioTests, PytestTests]
    assert [type(t.tests) for t in tasks] == kinds
    assert [t.id for t in tasks] == ["H/1", "11", "C/1", "S/1", "7", "8", "CC/1", "P/1"]
    assert [t.tier for t in tasks] == ["values"] * 7 + ["in_process"]
    assert all(t.split == "test" and t.oracle is not None for t in tasks)


async def test_solutions_pass_and_others_fail_in_every_format_that_needs_no_container(tmp_path: Path) -> None:
    tasks = read(tmp_path, HUMANEVAL, MBPP, CALLS, STDIO, APPS, APPS_CALLS, CODE_CONTESTS)
    wrong = "```python\ndef double(x):\n    return 1\nsquare = pair = add = lambda *a, **k: 1\nprint('wrong')\n```"
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")
        for task in tasks:
            task = await verifier.prepare(task)
            assert task.oracle is not None
            verdict = await verifier.judge(task, Submission.code(program_of(task, task.oracle)))
            assert verdict.passed, (task.id, verdict)
            assert not (await verifier.judge(task, Submission.code(program_of(task, wrong)))).passed
            if task.public is not None:
                assert (await verifier.run_public_tests(task, submission_of(task, task.oracle))).passed


def test_a_file_may_be_one_array_as_the_sanitized_mbpp_is(tmp_path: Path) -> None:
    file = tmp_path / "sanitized-mbpp.json"
    for indent in (None, 1):
        file.write_text(json.dumps([MBPP, CALLS], indent=indent))
        assert [t.id for t in read_tasks(file)] == ["11", "C/1"]
    file.write_text(json.dumps([MBPP, without(MBPP, "code")]))
    with pytest.raises(ConfigError, match=r"sanitized-mbpp.json:\[1\]: 'code' is missing"):
        read_tasks(file)


def test_mbpp_asserts_become_a_check_of_the_one_function_that_they_call(tmp_path: Path) -> None:
    (task,) = read(tmp_path, MBPP)
    assert isinstance(task.tests, AssertTests)
    assert task.tests.entry_point == "square"
    assert task.tests.source == (
        "base = 1\n\ndef check(candidate):\n"
        "    assert candidate(2) == 4\n    assert candidate(-3) == 9\n    assert candidate(x=0) == 0\n"
    )
    assert task.public == CallTests("square", (Case((2,), 4),))
    assert "assert square(2) == 4" in task.prompt[0].content
    assert "square(-3)" not in task.prompt[0].content
    assert submission_of(task, "def square(x):\n    return x\n").text == "base = 1\n\ndef square(x):\n    return x\n"


def test_mbpp_tests_of_a_class_or_of_several_functions_are_a_pytest_file(tmp_path: Path) -> None:
    two = {**MBPP, "code": "def f():\n    return 1\ndef g():\n    return 2\n", "test_list": ["assert f() + g() == 3"]}
    klass = {**MBPP, "task_id": 12, "code": "class Box:\n    size = 3\n", "test_list": ["assert Box().size == 3"]}
    for task, names in zip(read(tmp_path, two, klass), ("f, g", "Box"), strict=True):
        assert task.tier == "proxied"
        assert isinstance(task.tests, PytestTests)
        source = task.tests.files["test_solution.py"].decode()
        assert f"from solution import {names}\n" in source
        assert "def test_0():\n    assert " in source


def test_rows_of_stdio_keep_their_rule(tmp_path: Path) -> None:
    row = {**STDIO, "comparison": "float", "tolerance": 0.1}
    (task,) = read(tmp_path, row, split="train")
    cases = (StdioCase("1 2\n", "3\n"), StdioCase("3 4\n", "7\n"))
    assert task.tests == StdioTests(cases, "float", 0.1, isolated=True)
    assert task.public == StdioTests((StdioCase("0 0", "0"),), "float", 0.1, isolated=True)
    assert task.split == "train"


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?", "answer": "!"}, "rows.jsonl:1: a row of no known format: its keys are answer, question"),
        ({}, "its keys are none"),
        ({"task_id": "a", "completion": "x"}, "a solution .task_id, completion. where a task is expected"),
        ({**APPS, "input_output": ""}, "'input_output' is empty: there are no tests"),
        (without(HUMANEVAL, "test"), "rows.jsonl:1: 'test' is missing"),
        (without(MBPP, "code"), "'code' is missing"),
        ({**MBPP, "test_list": []}, "'test_list' is empty"),
        ({**MBPP, "test_list": ["assert ("]}, "'test_list' is not Python"),
        ({**MBPP, "test_list": [1]}, "'test_list' should be a string, got int"),
        ({**MBPP, "test_list": ["assert 1 == 1"]}, "no test uses what 'code' defines .square."),
        ({**CALLS, "entry_point": "a b"}, "should be a function's name"),
        ({**CALLS, "cases": [[1, 2]]}, r"cases\[0\] should be an object with args, expected"),
        ({**CALLS, "cases": "x"}, "'cases' is not JSON"),
        ({**CALLS, "comparison": "fuzzy"}, "'comparison' is one of python, json, exact"),
        ({**STDIO, "outputs": ["3"]}, "as many inputs as outputs"),
        ({**STDIO, "inputs": [1, 2]}, "'inputs' should hold texts, got int"),
        ({**STDIO, "isolated": 1}, "'isolated' should be true or false, got int"),
        ({**STDIO, "tolerance": "x"}, "'tolerance' should be a number, got str"),
        ({**APPS, "input_output": "{"}, "'input_output' is not JSON"),
        ({**PYTEST, "test_files": {"a": 1}}, "'test_files.a' should be a string, got int"),
        ({**PYTEST, "tier": "values"}, "'tier' is one of proxied, in_process"),
        (without(PYTEST, "task_id"), "'task_id' is missing"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, row)


def test_an_id_may_stand_once_and_a_file_may_not_be_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows.jsonl:2: task_id '11' is already in .*rows.jsonl:1"):
        read(tmp_path, MBPP, MBPP)
    with pytest.raises(ConfigError, match="holds no rows"):
        read(tmp_path)


def test_what_is_said_to_a_question_is_submitted_as_an_answer() -> None:
    task = Task("q", (), AnswerTests("4"))
    assert submission_of(task, "2 + 2 is four\n#### 4") == Submission.answer("2 + 2 is four\n#### 4")


def folder_of(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = tmp_path / "tasks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "tasks"


def test_a_folder_of_tasks_is_read(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {
            "hello/instruction.md": "Write hello.txt.\n",
            "hello/task.toml": '[verifier]\ntimeout_sec = 7\nreward_file = "r"\nartifacts = ["hello.txt"]\n'
            "[environment]\nmemory_mb = 64\n",
            "hello/tests/test.sh": "grep -q hello hello.txt\n",
            "hello/tests/data/expected.txt": "hello\n",
            "hello/files/README": "start here\n",
            "hello/solution/solve.sh": "echo hello > hello.txt\n",
            "library/instruction.md": "Write add in src/lib.py.\n",
            "library/tests/test_lib.py": "from src.lib import add\n",
            "library/solution/src/lib.py": "def add(a, b):\n    return a + b\n",
            "built/instruction.md": "x",
            "built/environment/Dockerfile": "FROM scratch\n",
            "built/tests/run-tests.sh": "true\n",
            "other/task.toml": 'split = "train"\ninstruction = "y"\n',
            "other/tests/test.sh": "true\n",
            "notes/README.md": "no task\n",
        },
    )
    built, hello, library = read_tasks(folder)
    assert (hello.id, hello.tier, hello.split, hello.limits.wall_seconds) == ("hello", "in_process", "test", 7.0)
    hidden = {"tests/test.sh": b"grep -q hello hello.txt\n", "tests/data/expected.txt": b"hello\n"}
    assert hello.tests == ScriptTests(hidden, ("/bin/sh", "tests/test.sh"), "r", ("hello.txt",))
    assert hello.files == {"README": b"start here\n"}
    assert hello.oracle == "```sh\necho hello > hello.txt\n```"
    assert hello.sandbox is not None and hello.sandbox.memory_bytes == 64 << 20
    assert "grep" not in hello.prompt[0].content and "echo" not in hello.prompt[0].content
    assert isinstance(library.tests, PytestTests)
    assert library.tests.oracle == {"src/lib.py": b"def add(a, b):\n    return a + b\n"}
    assert library.oracle is not None and "mkdir -p 'src'\ncat > 'src/lib.py'" in library.oracle
    assert built.sandbox is not None
    assert (built.sandbox.build_folder, built.sandbox.hardening) == (str(folder / "built/environment"), "task_image")
    assert [t.id for t in read_tasks(folder, "train")] == ["other"]
    assert [t.hash for t in read_tasks(folder)] == [t.hash for t in (built, hello, library)]


def test_a_folder_that_names_no_split_has_whichever_is_asked_for(tmp_path: Path) -> None:
    one = {"a/tests/test.sh": "", "a/instruction.md": "x", "b/tests/test.sh": "", "b/instruction.md": "y"}
    folder = folder_of(tmp_path, one)
    for split, of in (("train", "train"), ("test", "test"), (None, "test")):
        assert [(t.id, t.split) for t in read_tasks(folder, split)] == [("a", of), ("b", of)]
    folder_of(tmp_path, {"b/task.toml": 'split = "held_out"\n'})
    assert [t.id for t in read_tasks(folder, "held_out")] == ["b"]
    cure = r"no task of the split 'train'; its tasks are of 'held_out' .1., 'test' .1.. Write split = 'train' into the"
    with pytest.raises(ConfigError, match=cure):
        read_tasks(folder, "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/tests/test.sh": "", "a/task.toml": "[tests]\nreward = 'reward.txt'\n"},
         "^tests: .*task.toml:1: an unknown key"),
        ({"a/tests/test.sh": "", "a/task.toml": "\n[verifer]\ntimeout_sec = 3\n"},
         "^verifer: .*task.toml:2: .*'verifier'"),
        ({"a/tests/test.sh": "", "a/instruction.md": "x", "a/task.toml": "[verifier]\ntimeout_sec = inf"},
         "finite number"),
        ({"a/tests/test.sh": "", "a/instruction.md": "x", "a/task.toml": "[verifier]\ntimeout_sec = 0"}, "more than 0"),
        ({"a/tests/test_a.py": "def test_a():\n    yield\n", "a/instruction.md": "x"},
         "a: tests/test_a.py:1: the test"),
        ({"a/README": ""}, "holds no folder of a task"),
        ({"a/tests/test.sh": ""}, "has no instruction.md"),
        ({"a/tests/x.txt": "", "a/instruction.md": ""}, "holds neither test.sh"),
        ({"a/tests/test.sh": "", "a/task.toml": "x ="}, "task.toml: "),
        ({"a/tests/test.sh": "", "a/task.toml": "[verifier]\ntimeout = 3\n"}, "verifier.timeout: .*'timeout_sec'"),
        ({"a/tests/test.sh": "", "a/task.toml": "splits = 3\n"}, "splits: .*'split'"),
        ({"a/tests/test.sh": "", "a/task.toml": 'instruction = "x"\nsplit = "train"\n'}, "no task of the split"),
        ({"a/tests/test.sh": "", "a/instruction.md": "x", "a/task.toml": 'id = "b"', "b/tests/test.sh": "",
          "b/instruction.md": "y"}, "the id 'b' is given twice"),
    ],
)  # fmt: skip
def test_a_bad_folder_is_the_users_mistake(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_tasks(folder_of(tmp_path, files))
