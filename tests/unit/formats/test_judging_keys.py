"""No key that changes judging is ignored: each is read, or refused with file and line; all other keys are free."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.formats import InvalidRows, read_tasks
from agent_rl.vocabulary import CallTests, StdioTests, Task
from tests.unit.formats.test_formats import (
    APPS,
    APPS_CALLS,
    CALLS,
    CODE_CONTESTS,
    HUMANEVAL,
    MBPP,
    PYTEST,
    STDIO,
    without,
)

MIB = 1 << 20
FREE = {
    "difficulty": "easy", "url": "u", "source": 3, "tags": ["a"], "metadata": {"comparision": 1}, "raw_tags": "[]",
    "cf_rating": 800, "input_file": "", "output_file": "stdout", "checked": True, "description_translated": False,
    "incorrect_solutions": {"language": [], "solution": []}, "comparision": None, "eps": 0, "timeouts": "",
    "Expected Time Complexity": "O(n)", "time": "2023-05-01", "check": "manual", "precision": "high", "cpus": 2,
    "order_matters": True, "case_sensitive": True, "any_order": False, "runtime": 12, "output_format": "x", "order": 3,
    "challenge_test_list": [], "source_file": "a.py", "contract": "", "notes": "n",
}  # fmt: skip
"""What rows of data sets hold beside what is judged; keys of judging that ask for nothing are among them."""


LONG = "(an integer of 5000 digits)"


def read(tmp_path: Path, *rows: Any) -> list[Task]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row).replace(f'"{LONG}"', "7" * 5000) + "\n" for row in rows))
    return read_tasks(file)


def test_other_keys_are_free_in_every_format(tmp_path: Path) -> None:
    rows = [HUMANEVAL, MBPP, CALLS, STDIO, APPS, APPS_CALLS, CODE_CONTESTS, PYTEST]
    plain = read(tmp_path, *rows)
    assert [t.hash for t in read(tmp_path, *({**FREE, **row} for row in rows))] == [t.hash for t in plain]


def test_every_schema_of_cases_keeps_its_rule(tmp_path: Path) -> None:
    rule = {"comparison": "float", "tolerance": 0.25, "isolated": True}
    for task in read(tmp_path, *({**row, **rule} for row in (CALLS, STDIO, APPS, APPS_CALLS, CODE_CONTESTS))):
        for tests in (task.tests, task.public):
            if tests is not None:
                assert isinstance(tests, (CallTests, StdioTests))
                assert (tests.comparison, tests.tolerance, tests.isolated) == ("float", 0.25, True)
    call = {"comparison": "checker", "checker": "def check(candidate):\n    assert candidate(1, 2)\n"}
    output = {"comparison": "checker", "checker": "def check(stdin, stdout, expected):\n    return stdout > ''\n"}
    for task in read(tmp_path, {**CALLS, **call}, {**APPS_CALLS, **call}, {**APPS, **output}, {**STDIO, **output}):
        assert isinstance(task.tests, (CallTests, StdioTests))
        assert task.tests.comparison == "checker" and task.tests.checker.startswith("def check")


@pytest.mark.parametrize(
    ("keys", "seconds", "memory"),
    [
        ({"time_limit": 2}, 2.0, None),
        ({"timeout": 0.5, "memory": 256}, 0.5, 256 * MIB),
        ({"time_limit": {"seconds": 1, "nanos": 500_000_000}, "memory_limit_bytes": 256_000_000}, 1.5, 256_000_000),
        ({"time_limit": "2.0 seconds", "memory_limit": "256.0 megabytes"}, 2.0, 256 * MIB),
        ({"timeout_ms": 1500, "memory_limit": 64 * MIB}, 1.5, 64 * MIB),
        ({"time_limit": "300 ms", "memory_limit": "1 GB"}, 0.3, 1024 * MIB),
        ({"time_limit_ms": "2 s", "memory_limit_kb": 65536}, 2.0, 64 * MIB),
        ({"timeout": 3, "time_limit": "3"}, 3.0, None),
        ({"time_limit": {"seconds": 0, "nanos": 0}, "timeout": 0, "memory_limit_bytes": 0, "memory": None}, None, None),
    ],
)
def test_the_rows_own_limits_are_those_of_a_case(tmp_path: Path, keys: Any, seconds: Any, memory: Any) -> None:
    rows = [HUMANEVAL, MBPP, CALLS, STDIO, APPS_CALLS, CODE_CONTESTS, PYTEST]
    for plain, task in zip(read(tmp_path, *rows), read(tmp_path, *({**row, **keys} for row in rows)), strict=True):
        limits, before = task.limits, plain.limits
        assert limits.wall_seconds == (before.wall_seconds if seconds is None else seconds)
        assert limits.cpu_seconds == (before.cpu_seconds if seconds is None else seconds)
        assert limits.memory_bytes == (before.memory_bytes if memory is None else memory)
        assert limits.output_bytes == before.output_bytes


CHECK = "def check(candidate):\n    assert candidate(1, 2)\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**CALLS, "comparision": "float"}, "the key 'comparision' is not read; is 'comparison' meant"),
        ({**STDIO, "Comparison": "float"}, "is 'comparison' meant"),
        ({**APPS, "comparsion": "float"}, "is 'comparison' meant"),
        ({**HUMANEVAL, "timeLimit": 3}, "is 'time_limit' meant"),
        ({**MBPP, "test_import": ["import math"]}, "is 'test_imports' meant"),
        ({**CODE_CONTESTS, "private_test": {}, "memory_limt": 3}, "is 'memory_limit' meant"),
        ({**PYTEST, "modul": "other"}, "is 'module' meant"),
        ({**CALLS, "epsilon": 0.1}, "is 'tolerance' meant"),
        ({**STDIO, "special_judge": True}, "is 'checker' meant"),
        ({**HUMANEVAL, "comparison": "float"}, "'comparison' cannot be honoured: HumanEval's tests compare by"),
        ({**MBPP, "isolated": True}, "'isolated' cannot be honoured: MBPP's asserts"),
        ({**PYTEST, "tolerance": 0.1}, "'tolerance' cannot be honoured: pytest files"),
        ({**CALLS, "tolerance": 0.1}, "'tolerance' is only for comparison 'float', and this row's is 'json'"),
        ({**STDIO, "checker": CHECK}, "'checker' is only for comparison 'checker'"),
        ({**CALLS, "comparison": "checker"}, "needs a 'checker'"),
        ({**CALLS, "comparison": "checker", "checker": "def check(a, b, c): pass"}, "'check' should take 1 arguments"),
        ({**CALLS, "comparison": "checker", "checker": "def check(f): f(1, 2)"}, "'checker' asserts nothing"),
        ({**STDIO, "comparison": "checker", "checker": "def check(a, b, c): return True"}, "always returns True"),
        ({**STDIO, "comparison": "checker", "checker": "def check(a, b, c): assert b == c"}, "never returns True"),
        ({**CALLS, "comparison": "checker", "checker": "x ="}, "'checker' is not Python"),
        ({**CALLS, "comparison": "checker", "checker": f"{CHECK}    yield"}, "'check' yields"),
        ({**CALLS, "comparison": "float", "tolerance": math.inf}, "'tolerance' should be a finite number, got inf"),
        ({**CALLS, "comparison": "float", "tolerance": math.nan}, "should be a finite number, got nan"),
        ({**STDIO, "comparison": "float", "tolerance": -1e-9}, "at least 0 and below 1, got -1e-09"),
        ({**STDIO, "comparison": "float", "tolerance": 1}, "a tolerance of 1 accepts 0 for every number"),
        ({**STDIO, "comparison": "float", "tolerance": 10**400}, "finite number"),
        ({**CALLS, "time_limit": "soon"}, "'time_limit' should be a number or a text such as '2 seconds', got 'soon'"),
        ({**CALLS, "time_limit": "256 MB"}, "'time_limit' should be a number or a text"),
        ({**CALLS, "timeout": -1}, "'timeout' should be more than 0"),
        ({**CALLS, "timeout": 2000}, "at most 600 seconds, got 2000 .milliseconds are given as 'time_limit_ms'"),
        ({**CALLS, "time_limit": {"minutes": 1}}, "should hold seconds and nanos, got minutes"),
        ({**CALLS, "timeout": 1, "time_limit": 2}, "'time_limit' and 'timeout' say different limits"),
        ({**CALLS, "memory_limit_bytes": 5000}, "at least 1 MiB, got 5000 bytes"),
        ({**CODE_CONTESTS, "input_file": "in.txt"}, "'input_file' names a file"),
        ({**APPS, "input_output": {"inputs": ["1"], "outputs": ["1"], "isolated": True}}, "belongs beside 'input_outp"),
        ({**APPS, "input_output": {"inputs": ["1"], "outputs": ["1"], "memory_mb": 64}}, "belongs beside 'input_outp"),
        ({**APPS, "input_output": {"inputs": [[1]], "outputs": [[1]], "func_name": "f"}}, "is 'fn_name' meant"),
        ({**CODE_CONTESTS, "private_tests": {"inputs": ["1"], "outputs": ["1"]}}, "should hold input and output"),
    ],
)
def test_a_key_that_would_be_ignored_is_named_by_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"rows.jsonl:2: .*{message}"):
        read(tmp_path, {**STDIO, "task_id": "before"}, row)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *((key, 5, "is 'time_limit' meant") for key in (
            "limits", "max_time", "cpu_time", "time_limit_secs", "timeLimitSec", "timeout_secs", "time", "cpu_limit",
            "time_limit_per_test", "max_runtime_ms",
        )),
        ("time", "5 seconds", "is 'time_limit' meant"),
        *((key, 64, "is 'memory_limit' meant") for key in (
            "mem_limit", "max_memory_mb", "ram_limit", "memory_limit_gb",
        )),
        *((key, 0.1, "is 'tolerance' meant") for key in ("epsilon", "precision", "rel_tol", "float_tolerance")),
        ("precision", "1e-6", "is 'tolerance' meant"),
        *((key, True, "is 'comparison': 'any_order' meant") for key in ("any_order", "ignore_order", "unordered")),
        ("order_matters", False, "is 'comparison': 'any_order' meant"),
        ("ignore_case", True, "is 'comparison' meant"),
        ("case_sensitive", False, "is 'comparison' meant"),
        *((key, CHECK, "is 'checker' meant") for key in ("special_judge", "check", "checker_code")),
        ("output_limit", 100, "has no such limit"),
        ("max_output_bytes", 100, "has no such limit"),
    ],
)  # fmt: skip
def test_another_usual_word_is_refused_in_every_format(tmp_path: Path, key: str, value: Any, message: str) -> None:
    for row in (HUMANEVAL, MBPP, CALLS, STDIO, APPS, APPS_CALLS, CODE_CONTESTS, PYTEST):
        with pytest.raises(ConfigError, match=f"rows.jsonl:1: the key '{key}' is not read; .*{message}"):
            read(tmp_path, {**row, key: value})


def test_the_tolerance_that_evalplus_rows_carry_is_free_there_alone(tmp_path: Path) -> None:
    rows = [HUMANEVAL, MBPP]
    assert [t.hash for t in read(tmp_path, *({**r, "atol": 1e-6} for r in rows))] == [
        t.hash for t in read(tmp_path, *rows)
    ]
    with pytest.raises(ConfigError, match="is 'tolerance' meant"):
        read(tmp_path, {**STDIO, "atol": 1e-6})


NAN = {"args": [1], "expected": [{"x": math.nan}]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**CALLS, "cases": []}, "there are no cases"),
        ({**CALLS, "cases": [{"args": [1], "expected": None}]}, "every case expects null"),
        ({**CALLS, "cases": [NAN]}, "case 0 expects NaN, which equals nothing under comparison 'json'"),
        ({**CALLS, "cases": [NAN], "comparison": "python"}, "no program could pass"),
        ({**CALLS, "cases": [{"args": [1], "expected": math.nan}], "comparison": "any_order"}, "no program could pass"),
        ({**CALLS, "cases": [{"args": [1], "expected": {"a": math.nan}}], "comparison": "any_order"},
         "case 0 expects NaN, which equals nothing under comparison 'any_order'"),
        ({**CALLS, "comparison": "tokens"}, "case 0 expects no string"),
        ({**STDIO, "inputs": [], "outputs": []}, "there are no tests"),
        ({**STDIO, "outputs": ["", "\n"]}, "no case expects any output"),
        ({**APPS, "input_output": "{}"}, "there are no tests"),
        ({**APPS, "input_output": {"fn_name": "f", "inputs": [5], "outputs": [6]}},
         "case 0: an input should be a list"),
        ({**APPS, "input_output": {"fn_name": "f", "inputs": 5, "outputs": [6]}}, "as many inputs as outputs"),
        ({**APPS, "input_output": {"fn_name": "f", "inputs": ["1 2"], "outputs": ["3"]}}, "has a JSON value a line"),
        (without({**CODE_CONTESTS, "public_tests": {}}, "generated_tests") | {"private_tests": {}},
         "there are no tests"),
        ({**HUMANEVAL, "test": "def check(candidate):\n    assert candidate(2) == 4\n    yield\n"}, "'check' yields"),
        ({**HUMANEVAL, "test": "async def check(candidate):\n    assert candidate(2) == 4\n"}, "'check' is async"),
        ({**HUMANEVAL, "test": "def check(candidate):\n    candidate(2) == 4\n\ncheck(double)"}, "asserts nothing"),
        ({**HUMANEVAL, "test": "def check(c):\n    assert (c(2) == 4, 'four')\n"}, "asserts a tuple"),
        ({**HUMANEVAL, "test": "def test(candidate):\n    assert candidate(2) == 4\n"}, "defines no function 'check'"),
        ({**MBPP, "test_list": ["square(2) == 4"]}, r"test_list\[0\] compares without an assert"),
        ({**MBPP, "test_list": ["square(2)"]}, "'test_list' asserts nothing"),
        ({**MBPP, "test_list": ["assert square(2) == 4", "assert (square(2), 4)"]}, "asserts a tuple"),
        ({**PYTEST, "test_files": {"test_a.py": "import adder\n"}}, "hold no test function"),
        ({**PYTEST, "tier": "proxied", "test_files": {"test_a.py": "def test_a():\n    assert 1\n"}},
         "no test uses the"),
        ({**PYTEST, "tier": "proxied", "test_files": {"test_a.py": "from adder import add\ndef test_a():\n    pass\n"}},
         "no test uses the module 'adder'"),
        ({**PYTEST, "test_files": {"test_a.py": "import adder\ndef test_a():\n    assert adder\n    yield\n"}},
         "yields"),
        ({**PYTEST, "test_files": {"t/a_test.py": "class TestA:\n    def test_a(self):\n        yield 1\n"}}, "yields"),
        ({**PYTEST, "test_files": {"test_a.py": "import adder\ndef test_a():\n    return adder.add(1, 2) == 3\n"}},
         "returns a comparison"),
        ({**PYTEST, "test_files": {"test_a.py": "import adder\nclass TestA:\n    def test_a(self):\n"
                                                "        return not adder.add(1, 2) != 3 and adder.add(0, 0) == 0\n"}},
         "returns a comparison"),
        ({**PYTEST, "test_files": {"test_a.py": "import adder, unittest\nclass TestA(unittest.TestCase):\n"
                                                "    async def test_a(self):\n        assert adder.add(1, 2) == 3\n"}},
         "is async, and a plain TestCase awaits none"),
        ({**PYTEST, "test_files": {"test_a.py": "def test_a(:\n"}}, "'test_a.py' is not Python"),
    ],
)  # fmt: skip
def test_rows_that_nobody_can_pass_or_that_test_nothing_are_refused(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"rows.jsonl:1: .*{message}"):
        read(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**STDIO, "task_id": LONG}, "'task_id' is an integer too long for an id"),
        ({**STDIO, "memory_limit_mb": 1e308}, "no more than a machine has"),
        ({**STDIO, "memory_limit": "9" * 400}, "no more than a machine has"),
        ({**APPS, "input_output": LONG}, "'input_output' should be an object, got int"),
        ({**PYTEST, "solution": "# \ud800"}, "half of a surrogate pair"),
        ({**PYTEST, "test_files": {"test_a.py": "# \ud800"}}, "half of a surrogate pair"),
        ({**MBPP, "test_list": [f"assert square(1) == {'1 + ' * 900}1"]}, "nested too deeply"),
    ],
)  # fmt: skip
def test_values_that_nothing_can_hold_are_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"rows.jsonl:1: .*{message}"):
        read(tmp_path, row)
    invalid = InvalidRows()
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{file.read_text()}{json.dumps(CALLS)}\n")
    assert len(read_tasks(file, invalid=invalid)) == len(invalid.rows) == 1


def test_solutions_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    for solutions in ("[" * 100_000, {"language": None, "solution": None}, {"language": 3, "solution": 4}):
        (task,) = read(tmp_path, {**APPS, "solutions": solutions})
        assert task.oracle is None


def test_tests_that_look_like_these_are_kept(tmp_path: Path) -> None:
    helper = "def same(a, b):\n    if a != b:\n        raise AssertionError\n"
    fixture = "import adder, pytest\n@pytest.fixture\ndef test_data():\n    yield 1\n"
    fixture += "def test_a(test_data):\n    def numbers():\n        yield 3\n    assert adder.add(1, 2) in numbers()\n"
    fixture += "def test_b():\n    def same(a, b):\n        return a == b\n    assert same(adder.add(1, 2), 3)\n"
    fixture += "    return adder.add(1, 2)\nasync def test_c():\n    assert adder.add(1, 2) == 3\n"
    fixture += "class TestD(unittest.IsolatedAsyncioTestCase):\n    async def test_d(self):\n        assert adder\n"
    rows = [
        {**HUMANEVAL, "test": f"{helper}\ncheck = lambda candidate: same(candidate(2), 4)\n"},
        {**MBPP, "test_setup_code": f"base = 1\n{helper}", "test_list": ["same(square(2), 4)"]},
        {**CALLS, "cases": [{"args": [1, 2], "expected": None}, {"args": [1, 3], "expected": 0}]},
        {**CALLS, "task_id": "nan", "cases": [NAN], "comparison": "float", "tolerance": 0},
        {**STDIO, "outputs": ["", "7\n"]},
        {**PYTEST, "test_files": {"test_a.py": fixture, "helpers.py": "def test_numbers():\n    yield 1\n"}},
        {**PYTEST, "task_id": "unit", "test_files": {"a.py": "import adder\nclass A(unittest.TestCase): ...\n"}},
    ]  # fmt: skip
    assert len(read(tmp_path, *rows)) == len(rows)


def test_integers_of_any_length_are_read(tmp_path: Path) -> None:
    digits = "1234567890" * 600
    file = tmp_path / "rows.jsonl"
    call = json.dumps({**CALLS, "public_cases": None, "cases": [{"args": [0], "expected": 7}]})
    text = json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [[7]]}).replace("7", f"-{digits}")
    file.write_text(f"{call.replace('7', digits)}\n{json.dumps({**APPS, 'input_output': text})}\n")
    expected = 1234567890 * ((10**6000 - 1) // (10**10 - 1))  # its digits, 600 times
    calls, apps = read_tasks(file)
    assert isinstance(calls.tests, CallTests) and isinstance(apps.tests, CallTests)
    assert (calls.tests.cases[0].expected, apps.tests.cases[0].expected) == (expected, -expected)
    assert calls.hash != apps.hash
    file.write_text(call.replace("7", "7" * 400_000))
    with pytest.raises(ConfigError, match=r"rows.jsonl:1: an integer that is too long: an integer of 400000 digits"):
        read_tasks(file)
