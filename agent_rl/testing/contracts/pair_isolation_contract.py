"""A program must find nothing of its tests if an isolating provider runs both; used as `sandbox_isolation_contract`."""

from __future__ import annotations

import asyncio

import pytest

from agent_rl.contracts.sandbox import SandboxProvider
from agent_rl.testing.contracts.sandbox_contract import IN_MEMORY, PASSED, pair, reports
from agent_rl.vocabulary import Limits


async def test_a_pairs_program_finds_nothing_of_its_tests(provider: SandboxProvider) -> None:
    """Neither in memory nor on disk, although its worker has run such tests before and another worker runs them now."""
    program = f"""{IN_MEMORY}
import os
def search(word, held):
    kept = word * held
    return in_memory(word), [name for _, _, names in os.walk('.') for name in names if name != 'solution.py']
"""
    # The tests hold 50 of the word in a row; the second call is the control: the program holds 50 itself.
    tests = f"""
import solution
HIDDEN = {"wallaby" * 50!r}
def test_it():
    assert (solution.search("wallaby", 1), solution.search("wallaby", 50)) == ((False, []), (True, []))
"""
    for _ in range(3):
        result = await provider.run_pair(pair(program, tests.encode()))
        assert reports(result)[0]["outcome"] == "passed", result


@pytest.mark.parametrize(
    ("program", "status", "exit_code"),
    [
        ("import os\ndef add(a, b):\n    os._exit(7)\n", "completed", 7),
        ("def add(a, b):\n    while True: pass\n", "timeout", None),
        ("import os\ndef add(a, b):\n    os.abort()\n", "crashed", None),
        ("def add(a, b):\n    return [0] * (1 << 40)\n", "out_of_memory", 86),
        ("def add(a, b):\n    while True: print('A' * 10**6)\n", "output_limit", None),
    ],
    ids=["exit", "endless", "abort", "memory", "output"],
)
async def test_a_pairs_program_that_ends_ends_the_pair(
    provider: SandboxProvider, program: str, status: str, exit_code: int | None
) -> None:
    limits = Limits(wall_seconds=1.0, cpu_seconds=1.0)
    result = await provider.run_pair(pair(program, limits=limits))
    assert (result.candidate.status, result.candidate.exit_code) == (status, exit_code)
    assert all("done" not in report for report in reports(result))
    # The tests, which have a longer limit, are ended soon after the program. What that waited for a processor is not
    # the pair's doing.
    program_seconds = result.candidate.seconds + (result.candidate.waited_seconds or 0.0)
    assert result.tests.seconds < program_seconds + 10
    assert reports(await provider.run_pair(pair()))[0] == PASSED


async def test_a_pairs_tests_have_a_limit_too(provider: SandboxProvider) -> None:
    tests = b"import solution\ndef test_it():\n    while True: pass\n"
    result = await provider.run_pair(pair(tests=tests, limits=Limits(wall_seconds=1.0, cpu_seconds=1.0)))
    assert "timeout" in (result.candidate.status, result.tests.status)
    assert reports(result) == []
    assert reports(await provider.run_pair(pair()))[0] == PASSED


async def test_a_cancelled_pair_gives_both_workers_back(provider: SandboxProvider) -> None:
    for _ in range(2):
        running = [
            asyncio.ensure_future(provider.run_pair(pair("def add(a, b):\n    while True: pass\n"))) for _ in range(3)
        ]
        await asyncio.sleep(0.2)
        for task in running:
            task.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    async with asyncio.timeout(10):
        assert reports(await provider.run_pair(pair()))[0] == PASSED


__all__ = [name for name in globals() if name.startswith("test_")]  # pyright: ignore[reportUnsupportedDunderAll]
