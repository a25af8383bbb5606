"""How one hidden test is run, set up and told of when it fails (tier `proxied`).

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import traceback
import types
from typing import Any

from agent_rl.judging.proxied import pytest_subset
from agent_rl.judging.proxied.fixtures import arguments_of
from agent_rl.judging.proxied.hidden_tests import HiddenTest
from agent_rl.judging.proxied.pytest_subset import Exit


def skip_of(item: HiddenTest) -> "tuple[str, str] | None":
    """(outcome, reason) of a test that does not run; None of one that does."""
    for mark in item.marks:
        if mark.name == "skip":
            return "skipped", str(mark.kwargs.get("reason", ""))
        if mark.name == "skipif" and any(mark.args):
            return "skipped", str(mark.kwargs.get("reason", ""))
        if mark.name == "xfail" and (not mark.args or any(mark.args)):
            return "xfailed", str(mark.kwargs.get("reason", ""))
    return None


def run_case(item: HiddenTest) -> None:
    """Runs one method of a `unittest.TestCase`, with its class's and module's setup. Raises why it did not pass."""
    import unittest

    result = unittest.TestResult()
    unittest.TestSuite([item.owner(item.name.rpartition("::")[2])]).run(result)
    wrong = [text for _, text in (*result.errors, *result.failures)]
    if wrong:
        lines = [line for line in wrong[0].strip().splitlines() if line.strip()]
        raise AssertionError(lines[-1] if lines else "failed")
    if result.skipped or result.expectedFailures or result.unexpectedSuccesses:
        raise pytest_subset.Skipped("skipped, or expected to fail")
    if result.testsRun != 1:
        raise AssertionError("the test did not run")


def call_setup(holder: Any, name: str, argument: Any) -> None:
    """Calls the xunit-style function `name` of `holder`, if there is one, with `argument` if it takes one."""
    function = getattr(holder, name, None)
    if isinstance(function, (types.FunctionType, types.MethodType)):
        takes = arguments_of(function)
        function(*[argument][: len(takes)])


def last_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except BaseException:
        lines = []
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def detail_of(error: BaseException) -> str:
    """The error and the line of the tests that raised it."""
    if isinstance(error, Exit):
        return f"exit: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(("<", "/"))]
    where = f" ({frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return last_line(error) + where
