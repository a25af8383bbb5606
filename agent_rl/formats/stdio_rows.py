"""Rows of standard input and output, in three schemas.

plain          task_id, prompt, inputs, outputs; optional: public_inputs, public_outputs, solution, comparison
               (default "tokens"), tolerance, checker, isolated
APPS           problem_id, question, input_output (JSON: inputs, outputs, and for functions fn_name), solutions
CodeContests   name, description, public_tests, private_tests, generated_tests ({"input", "output"}), solutions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.vocabulary import CallTests, Case, Limits, Message, StdioCase, StdioTests, Task, Tests
from agent_rl.vocabulary.task import OutputComparison

LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0, output_bytes=8 << 20)
"""Applies to all cases together or, if cases are isolated, to each case."""
_REQUEST = f"Write a Python program that reads standard input and writes standard output. {CODE_REQUEST}"
_PYTHON3 = 3
"""The number of the language in CodeContests."""
_METHOD = """

try:
    {name}
except NameError:
    {name} = Solution().{name}
"""


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    public: Tests | None
    if "input_output" in row:
        hidden, public = _apps(row), None
    elif "private_tests" in row or "public_tests" in row:
        groups = [_pairs(row, name) for name in ("public_tests", "private_tests", "generated_tests") if name in row]
        hidden = StdioTests(tuple(case for group in groups for case in group))
        shown = tuple(_pairs(row, "public_tests")) if "public_tests" in row else ()
        public = StdioTests(shown) if shown else None
    else:
        hidden = _plain(row, "inputs", "outputs")
        public = _plain(row, "public_inputs", "public_outputs") if "public_inputs" in row else None
    entry_point = hidden.entry_point if isinstance(hidden, CallTests) else ""
    request = f"{CODE_REQUEST} It defines `{entry_point}`." if entry_point else _REQUEST
    solution = _solution(row)
    return Task(
        id=row.task_id("task_id", "problem_id", "id", "name"),
        prompt=(Message.user(f"{row.text('prompt', 'question', 'description').strip()}\n\n{request}"),),
        tests=hidden,
        public=public,
        oracle=None if solution is None else fenced(solution),
        limits=settings.limits or LIMITS,
        split=settings.split,
        metadata={
            "format": "stdio",
            "entry_point": entry_point,
            "after": _METHOD.format(name=entry_point) if entry_point else "",
        },
    )


def _plain(row: Fields, inputs: str, outputs: str) -> StdioTests:
    comparison: OutputComparison = row.choice("comparison", get_args(OutputComparison), "tokens")
    cases = _cases(row, inputs, row.list(inputs), row.list(outputs))
    tolerance, checker = row.number("tolerance", 1e-6), row.text("checker", default="")
    return StdioTests(tuple(cases), comparison, tolerance, checker, row.flag("isolated"))


def _pairs(row: Fields, name: str) -> list[StdioCase]:
    tests = row.mapping(name)
    return _cases(row, name, tests.get("input", []), tests.get("output", []))


def _apps(row: Fields) -> StdioTests | CallTests:
    """The tests of an APPS row. For calls of a function, most rows put a list around each expected value."""
    if row.content["input_output"] == "":
        raise row.wrong("'input_output' is empty: there are no tests, so that every program would pass")
    tests = row.mapping("input_output")
    inputs, outputs, name = tests.get("inputs", []), tests.get("outputs", []), tests.get("fn_name")
    if name is None:
        return StdioTests(tuple(_cases(row, "input_output", inputs, outputs)))
    if not isinstance(name, str) or not name.isidentifier() or len(inputs) != len(outputs):
        raise row.wrong("'input_output' should hold fn_name, a function's name, and as many inputs as outputs")
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    expected = [output[0] for output in outputs] if wrapped else outputs
    cases = tuple(Case(tuple(args), value) for args, value in zip(inputs, expected, strict=True))
    return CallTests(name, cases, "json")


def _cases(row: Fields, name: str, inputs: Any, outputs: Any) -> list[StdioCase]:
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise row.wrong(f"{name!r} should hold as many inputs as outputs, each a list")
    return [StdioCase(_text(row, name, i), _text(row, name, o)) for i, o in zip(inputs, outputs, strict=True)]


def _text(row: Fields, name: str, value: Any) -> str:
    """The text of `value`, which is a string or a list of lines."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise row.wrong(f"{name!r} should hold texts, got {type(value).__name__}")
    return value


def _solution(row: Fields) -> str | None:
    """The first solution in Python; None if there is none."""
    if "solution" in row:
        return row.text("solution")
    if "solutions" not in row:
        return None
    solutions: Any = row.content["solutions"]
    if isinstance(solutions, str):
        try:
            solutions = json.loads(solutions)
        except ValueError:
            return None
    if isinstance(solutions, Mapping):
        languages, texts = solutions.get("language", []), solutions.get("solution", [])
        solutions = [t for language, t in zip(languages, texts, strict=False) if language == _PYTHON3]
    return solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else None
