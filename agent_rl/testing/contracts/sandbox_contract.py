"""What every `SandboxProvider` must do. A module that imports these functions and has a fixture `provider` runs them.

`provider` is a started provider; `fresh_provider` makes another one that is not started. Tests that need real isolation
are in `sandbox_isolation_contract`, `pair_isolation_contract` and `episode_isolation_contract`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.vocabulary import Limits, PairRequest, PairResult, RunCall, RunRequest, RunResult, SandboxSpec
from agent_rl.vocabulary.canonical import decode, encode

ADD = "def add(a, b):\n    return a + b\n"
LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0)
"""Limits of honest runs: long enough for a busy machine."""

IN_MEMORY = """
def in_memory(word):
    found = 0
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', buffering=0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if mode.startswith('rw'):
                start, stop = (int(end, 16) for end in span.split('-'))
                memory.seek(start)
                parts = memory.read(stop - start).split(word.encode())
                found += sum(not part for part in parts) > 10
    return found > 0
"""
"""A function of a program under test: whether `word` stands more than ten times in a row in the program's memory."""


def calls(*arguments: tuple[Any, ...]) -> tuple[RunCall, ...]:
    """A call of each tuple of positional arguments, with ids 0a, 1a, ..."""
    return tuple(RunCall(f"{index:x}a", encode([args, {}])) for index, args in enumerate(arguments))


def request(program: str, *arguments: tuple[Any, ...], entry_point: str | None = "add", **options: Any) -> RunRequest:
    """A run of `program` that calls its entry point with each of `arguments`."""
    return RunRequest(program, entry_point, calls(*arguments), **{"limits": LIMITS, **options})


def values(result: RunResult) -> list[Any]:
    """The value that each call returned, in order. For a call that raised it is the error's text, and for a value that
    has no canonical form it is the reason."""
    found: list[Any] = []
    for frame in result.frames:
        content = json.loads(frame)
        if "unheld" in content:
            found.append(content["unheld"])
        for key in ("value", "error"):
            if key in content:
                value = decode(json.dumps(content[key], separators=(",", ":")))
                found.append(value if key == "value" else str(value))
    return found


async def run_values(provider: SandboxProvider, program: str, *arguments: tuple[Any, ...]) -> list[Any]:
    """The `values` of a run, which must complete."""
    result = await provider.run(request(program, *arguments))
    assert result.status == "completed", result
    return values(result)


# Runs


async def test_frames_are_loaded_and_then_one_for_each_call_in_order(provider: SandboxProvider) -> None:
    result = await provider.run(request(ADD, (1, 2), ("a", "b"), ((1,), (2.5,))))
    assert json.loads(result.frames[0]) == {"loaded": True}
    assert [json.loads(frame)["id"] for frame in result.frames[1:]] == ["0a", "1a", "2a"]
    assert values(result) == [3, "ab", (1, 2.5)]
    assert (result.status, result.exit_code, result.signal, result.anomalies) == ("completed", 0, None, ())
    assert result.isolation == provider.isolation
    assert result.seconds < LIMITS.wall_seconds


async def test_keyword_arguments_reach_the_entry_point(provider: SandboxProvider) -> None:
    call = RunCall("0a", encode([(1,), {"b": 5}]))
    assert values(await provider.run(RunRequest(ADD, "add", (call,)))) == [6]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def add(a, b) return a", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("def sub(a, b): pass", "the program defines no 'add'"),
        ("raise KeyError('add')", "KeyError: 'add'"),
    ],
)
async def test_a_program_that_does_not_load_says_why(provider: SandboxProvider, program: str, reason: str) -> None:
    result = await provider.run(request(program, (1, 2)))
    (frame,) = result.frames
    assert reason in json.loads(frame)["load_error"]
    assert result.status == "completed"


async def test_a_method_of_solution_answers_calls_each_on_an_object_of_its_own(provider: SandboxProvider) -> None:
    method = "    def add(self, a, b):\n        self.n = getattr(self, 'n', 0) + 1\n        return (self.n, a + b)\n"
    program = f"class Solution:\n{method}"
    assert await run_values(provider, program, (1, 2), (3, 4)) == [(1, 3), (1, 7)]
    calls = (RunCall("0a", encode([(1, 2), {}])),)
    program += "def add(a, b):\n    return 'a function'\n"
    assert await run_values(provider, program, (1, 2)) == ["a function"]
    assert values(await provider.run(RunRequest(program, "Solution.add", calls))) == [(1, 3)]


async def test_a_call_that_raises_does_not_stop_the_others(provider: SandboxProvider) -> None:
    program = "def add(a, b):\n    return a / b\n"
    assert await run_values(provider, program, (1, 0), (6, 3)) == ["ZeroDivisionError: division by zero", 2.0]


async def test_a_value_that_the_canonical_form_cannot_hold_is_said_so(provider: SandboxProvider) -> None:
    program = "class Equal:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return Equal()\n"
    result = await provider.run(request(program, (1, 2)))
    assert [set(json.loads(frame)) for frame in result.frames[1:]] == [{"id", "unheld"}]
    assert "Equal" in values(result)[0]


async def test_no_call_sees_what_another_has_left(provider: SandboxProvider) -> None:
    program = "kept = []\ndef add(a, b):\n    kept.append(1)\n    return kept\n"
    assert await run_values(provider, program, (0, 0), (0, 0)) == [[1], [1]]


async def test_leaving_early_leaves_calls_unanswered(provider: SandboxProvider) -> None:
    program = "import sys\ndef add(a, b):\n    if a == 2: sys.exit(7)\n    return a + b\n"
    result = await provider.run(request(program, (1, 1), (2, 1), (3, 1)))
    assert (result.status, result.exit_code) == ("completed", 7)
    assert values(result) == [2]


async def test_without_entry_point_a_program_reads_and_writes(provider: SandboxProvider) -> None:
    program = "n = int(input())\nif __name__ == '__main__':\n    print(n * 2)\n"
    result = await provider.run(request(program, entry_point=None, stdin=b"21\n"))
    assert (result.status, result.exit_code, result.stdout) == ("completed", 0, b"42\n")
    assert [json.loads(frame) for frame in result.frames] == [{"loaded": True}]


async def test_standard_input_is_empty_unless_given(provider: SandboxProvider) -> None:
    result = await provider.run(request("import sys\nprint(repr(sys.stdin.read()))", entry_point=None))
    assert result.stdout == b"''\n"


async def test_what_a_program_prints_is_kept_apart(provider: SandboxProvider) -> None:
    program = "import sys\ndef add(a, b):\n    print('out'); print('err', file=sys.stderr)\n    return 1\n"
    result = await provider.run(request(program, (1, 2)))
    assert (values(result), result.stdout, result.stderr) == ([1], b"out\n", b"err\n")


async def test_the_seed_fixes_what_is_drawn(provider: SandboxProvider) -> None:
    program = "import random\ndef add(a, b):\n    return [random.random() for _ in range(3)]\n"
    drawn = [values(await provider.run(request(program, (1, 2), seed=seed))) for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


async def test_runs_share_no_state(provider: SandboxProvider) -> None:
    program = "count = 0\ndef add(a, b):\n    global count\n    count += 1\n    return count\n"
    for _ in range(3):
        assert await run_values(provider, program, (0, 0)) == [1]


async def test_a_fresh_run_answers_the_same(provider: SandboxProvider) -> None:
    assert values(await provider.run(request(ADD, (1, 2)), fresh=True)) == [3]


async def test_many_runs_at_once_each_get_their_own_answer(provider: SandboxProvider) -> None:
    results = await asyncio.gather(*(provider.run(request(ADD, (n, n))) for n in range(40)))
    assert [values(result) for result in results] == [[2 * n] for n in range(40)]


async def test_unusual_text_and_large_values_pass(provider: SandboxProvider) -> None:
    program = "def add(a, b):\n    return [a, '\\u2603' * 3, '\\x00', list(range(b))]\n"
    assert await run_values(provider, program, ("\ud800é\n", 20000)) == [["\ud800é\n", "☃☃☃", "\0", list(range(20000))]]


async def test_a_result_beyond_the_limit_is_a_status(provider: SandboxProvider) -> None:
    program = "def add(a, b):\n    return 'x' * 5000\n"
    limits = Limits(output_bytes=4096)
    result = await provider.run(request(program, (1, 2), limits=limits))
    assert result.status == "output_limit"
    assert sum(map(len, result.frames)) <= limits.output_bytes


# Pairs of runs


TESTS = {"test_it.py": b"import solution\n\ndef test_add():\n    assert solution.add(2, 3) == 5\n"}
PASSED = {"test": "test_it.py::test_add", "outcome": "passed", "detail": ""}


def pair(program: str = ADD, tests: bytes | None = None, **options: Any) -> PairRequest:
    """Hidden tests beside `program`."""
    files = TESTS if tests is None else {"test_it.py": tests}
    return PairRequest(program, files, **{"limits": LIMITS, **options})


def reports(result: PairResult) -> list[Any]:
    """The reports of the tests' run to the judge."""
    return [json.loads(frame) for frame in result.tests.frames]


async def test_tests_and_program_run_apart_and_talk(provider: SandboxProvider) -> None:
    result = await provider.run_pair(pair())
    # If no paths are given, the report lists the paths on which objects arrived: here the function itself.
    assert reports(result) == [PASSED, {"done": 1, "objects": ["add"]}]
    assert (result.candidate.status, result.candidate.frames, result.candidate.anomalies) == ("completed", (), ())
    assert (result.tests.status, result.tests.exit_code) == ("completed", 0)
    assert result.candidate.isolation == result.tests.isolation == provider.isolation


async def test_tests_that_fail_say_so(provider: SandboxProvider) -> None:
    result = await provider.run_pair(pair("def add(a, b):\n    return a * b\n", objects=("add",)))
    first, last = reports(result)
    assert (first["outcome"], last) == ("failed", {"done": 1, "objects": []})


async def test_only_the_tests_that_are_asked_for_run(provider: SandboxProvider) -> None:
    tests = TESTS["test_it.py"] + b"\ndef test_other():\n    assert False\n"
    everything = await provider.run_pair(pair(tests=tests))
    assert [r.get("outcome") for r in reports(everything)] == ["passed", "failed", None]
    asked = await provider.run_pair(PairRequest(ADD, {"test_it.py": tests}, (PASSED["test"],), limits=LIMITS))
    assert [r.get("outcome") for r in reports(asked)] == ["passed", None]


async def test_many_pairs_at_once_wait_for_two_workers_each(provider: SandboxProvider) -> None:
    async with asyncio.timeout(60):
        results = await asyncio.gather(
            *(provider.run_pair(pair()) for _ in range(12)), *(provider.run(request(ADD, (1, 2))) for _ in range(6))
        )
    for result in results:
        if isinstance(result, PairResult):
            assert reports(result)[0] == PASSED
        else:
            assert values(result) == [3]


async def test_a_fresh_pair_answers_the_same(provider: SandboxProvider) -> None:
    assert reports(await provider.run_pair(pair(), fresh=True))[0] == PASSED


# Providers


async def test_it_says_what_it_is(provider: SandboxProvider) -> None:
    description = provider.describe()
    assert description["name"] == provider.name
    assert description["isolation"] == provider.isolation
    assert "why_not_higher" in description


async def test_nothing_runs_before_the_start_nor_after_the_end(
    fresh_provider: Callable[[], SandboxProvider],
) -> None:
    provider = fresh_provider()
    with pytest.raises(SandboxError, match=r"not.* started"):
        await provider.run(request(ADD, (1, 2)))
    async with provider:
        assert values(await provider.run(request(ADD, (1, 2)))) == [3]
    await provider.close()
    with pytest.raises(SandboxError):
        await provider.run(request(ADD, (1, 2)))


# Sandboxes


async def test_a_command_reads_and_writes_and_has_an_exit_code(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    program = "import sys\nprint(sys.stdin.read().upper())\nprint('oh', file=sys.stderr)\nsys.exit(3)"
    result = await sandbox.exec(["python3", "-c", program], stdin=b"text")
    assert (result.status, result.exit_code) == ("completed", 3)
    assert (result.stdout, result.stderr) == (b"TEXT\n", b"oh\n")
    await sandbox.close()


async def test_a_command_that_is_not_there_has_the_shells_exit_code(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    result = await sandbox.exec(["no-such-program"])
    assert (result.status, result.exit_code) == ("completed", 127)
    assert b"no-such-program" in result.stderr
    await sandbox.close()


async def test_files_go_in_and_come_out(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    content = bytes(range(256)) * 1000
    await sandbox.write_files({"a/b/c.bin": content, "empty": b"", "./d": b"d"})
    assert await sandbox.read_file("a/b/c.bin") == content
    assert await sandbox.read_file("a/b/c.bin", max_bytes=3) == b"\0\1\2"
    assert await sandbox.read_file("empty") == b""
    await sandbox.write_files({"a/b/c.bin": b"new"})
    assert (await sandbox.exec(["cat", "a/b/c.bin", "d"])).stdout == b"newd"
    await sandbox.close()


async def test_a_file_that_is_not_there_is_not_found(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.write_files({"folder/file": b"x"})
    for path in ("absent", "folder/absent", "absent/file", "folder"):
        with pytest.raises(FileNotFoundError):
            await sandbox.read_file(path)
    await sandbox.close()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\0b"])
async def test_a_path_that_leaves_the_working_directory_is_refused(provider: SandboxProvider, path: str) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    with pytest.raises(ValueError, match="working directory"):
        await sandbox.write_files({path: b"x"})
    with pytest.raises(ValueError, match="working directory"):
        await sandbox.read_file(path)
    await sandbox.close()


async def test_two_sandboxes_do_not_share_files(provider: SandboxProvider) -> None:
    first, second = provider.sandbox(SandboxSpec()), provider.sandbox(SandboxSpec())
    await first.write_files({"file": b"first"})
    with pytest.raises(FileNotFoundError):
        await second.read_file("file")
    await first.close()
    await second.close()


async def test_a_closed_sandbox_stays_closed(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    await sandbox.write_files({"file": b""})
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        await sandbox.exec(["cat", "file"])


async def test_tools_answer_with_output_and_exit_code(provider: SandboxProvider) -> None:
    sandbox = provider.sandbox(SandboxSpec())
    assert await sandbox.python("print(6 * 7)") == "42\n"
    assert "[exit code 3]" in await sandbox.python("import sys\nsys.exit(3)")
    await sandbox.close()


__all__ = [name for name in globals() if name.startswith("test_")]  # pyright: ignore[reportUnsupportedDunderAll]
