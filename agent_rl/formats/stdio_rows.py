"""Rows of standard input and output, in three schemas.

plain          task_id, prompt, inputs, outputs; optional: public_inputs, public_outputs, solution
APPS           problem_id, question, input_output (JSON: inputs, outputs, and for functions fn_name), solutions,
               starter_code
CodeContests   name, description, public_tests, private_tests, generated_tests ({"input", "output"}), solutions

Each schema takes `comparison` (default "tokens"; for functions "json"), `tolerance`, `checker`, `isolated`, and limits
of a case (`time_limit`, `memory_limit_bytes`, ...). A function's input is a list of its arguments, or a text with a
JSON value a line; its expected value is then a text too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast, get_args

from agent_rl.formats.function_calls import call_tests
from agent_rl.formats.json_text import TooLong, parse_json, parse_lines
from agent_rl.formats.judging_keys import LIMITS as LIMIT_KEYS
from agent_rl.formats.judging_keys import RULES, Rule, asks, check_keys, limits_of, rule_of
from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.formats.starter_code import is_result, shown, starter_of
from agent_rl.vocabulary import Case, Limits, Message, StdioCase, StdioTests, Task
from agent_rl.vocabulary.task import Comparison, OutputComparison

LIMITS = Limits(wall_seconds=20.0, cpu_seconds=20.0, output_bytes=8 << 20)
"""The limits of one case."""
_REQUEST = f"Write a Python program that reads standard input and writes standard output. {CODE_REQUEST}"
_PYTHON3 = 3
"""The number of the language in CodeContests."""
_OPTIONAL = (
    "public_inputs",
    "public_outputs",
    "public_tests",
    "private_tests",
    "generated_tests",
    "input_output",
    "starter_code",
)
_STANDARD = ("stdin", "stdout", "standard input", "standard output")
_FUNCTION_WORDS = ("func_name", "function_name", "fn", "entry_point", "function")
_NOTHING_PASSES = "no case expects any output, so that a program that does nothing passes"


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    check_keys(row, _OPTIONAL)
    for name in ("input_file", "output_file"):
        if asks(row, name) and row.text(name).strip().lower() not in _STANDARD:
            raise row.wrong(f"{name!r} names a file, and only standard input and output can be judged")
    if "input_output" in row:
        tests = _input_output(row)
        if tests.get("fn_name") is not None:
            return _function(row, settings, tests)
        hidden = _stdio(row, _cases(row, "input_output", tests.get("inputs", []), tests.get("outputs", [])))
        public = None
    elif "private_tests" in row or "public_tests" in row:
        groups = {name: _pairs(row, name) for name in ("public_tests", "private_tests", "generated_tests")}
        hidden = _stdio(row, [case for group in groups.values() for case in group])
        public = _stdio(row, groups["public_tests"], hidden=False) if groups["public_tests"] else None
    else:
        hidden = _stdio(row, _cases(row, "inputs", row.list("inputs"), row.list("outputs")))
        given = ("public_inputs", "public_outputs")
        shown_cases = _cases(row, given[0], *map(row.list, given)) if any(name in row for name in given) else []
        public = _stdio(row, shown_cases, hidden=False) if shown_cases else None
    text = row.text("prompt", "question", "description").strip()
    parts = (text, shown(row.text("starter_code", default="")), _REQUEST)
    return _task(row, settings, "\n\n".join(filter(None, parts)), hidden, public, {"entry_point": ""})


def _function(row: Fields, settings: Settings, tests: Mapping[str, Any]) -> Task:
    """The task of a row of APPS whose tests are calls of a function, or of a method of `class Solution`."""
    name, cases = _calls(row, tests)
    starter = starter_of(row, name, [case.expected for case in cases], imports=True)
    rule = rule_of(row, get_args(Comparison), "json", parameters=1)
    hidden = call_tests(row, name, starter.owner, cases, rule)
    prompt = f"{row.text('prompt', 'question', 'description').strip()}\n\n{starter.request}"
    return _task(
        row, settings, prompt, hidden, None, {"entry_point": name, "before": starter.before, "starter": starter.begun}
    )


def _task(
    row: Fields, settings: Settings, prompt: str, hidden: Any, public: StdioTests | None, metadata: Mapping[str, str]
) -> Task:
    solution = _solution(row)
    return Task(
        id=row.task_id("task_id", "problem_id", "id", "name"),
        prompt=(Message.user(prompt),),
        tests=hidden,
        public=public,
        oracle=None if solution is None else fenced(solution),
        limits=limits_of(row, settings.limits or LIMITS),
        split=settings.split,
        metadata={"format": "stdio", **metadata},
    )


def _stdio(row: Fields, cases: list[StdioCase], *, hidden: bool = True) -> StdioTests:
    """The cases, compared as the row says. Raises ConfigError if every program or one that does nothing passes."""
    rule: Rule = rule_of(row, get_args(OutputComparison), "tokens", parameters=3)
    if not cases:
        raise row.wrong("there are no tests, so that every program would pass")
    if hidden and rule.comparison != "checker" and not any(str(case.expected).strip() for case in cases):
        raise row.wrong(_NOTHING_PASSES)
    comparison = cast("OutputComparison", rule.comparison)
    return StdioTests(tuple(cases), comparison, rule.tolerance, rule.checker, rule.isolated)


def _pairs(row: Fields, name: str) -> list[StdioCase]:
    """The cases of one group of CodeContests; none if the row does not have it."""
    if name not in row:
        return []
    tests = row.mapping(name)
    if tests and not {"input", "output"} <= set(tests):
        raise row.wrong(f"{name!r} should hold input and output, got {', '.join(map(str, tests))}")
    return _cases(row, name, tests.get("input", []), tests.get("output", []))


def _input_output(row: Fields) -> Mapping[str, Any]:
    """The tests of an APPS row. Raises ConfigError if there are none, or if a key in them is not read."""
    if isinstance(text := row.content["input_output"], str) and not text.strip():
        raise row.wrong("'input_output' is empty: there are no tests, so that every program would pass")
    tests = row.mapping("input_output")
    inside = Fields(tests, f"{row.where}: 'input_output'")
    check_keys(inside, ("inputs", "outputs", "fn_name"))
    for word in _FUNCTION_WORDS if tests.get("fn_name") is None else ():
        if asks(inside, word):
            raise inside.wrong(f"the key {word!r} is not read; is 'fn_name' meant?")
    for name in (*RULES, *LIMIT_KEYS):
        if asks(inside, name):
            raise inside.wrong(f"the key {name!r} is not read here: it belongs beside 'input_output'")
    return tests


def _calls(row: Fields, tests: Mapping[str, Any]) -> tuple[str, list[Case]]:
    """The function's name and its cases.

    Most rows of APPS put a list around each expected value. A value that is such a list itself is told by the type
    which the starter code gives the result.
    """
    inputs, outputs, name = tests.get("inputs", []), tests.get("outputs", []), tests["fn_name"]
    lists = isinstance(inputs, list) and isinstance(outputs, list)
    if not isinstance(name, str) or not name.isidentifier() or not lists or len(inputs) != len(outputs):
        raise row.wrong("'input_output' should hold fn_name, a function's name, and as many inputs as outputs")
    wrapped = all(isinstance(output, list) and len(cast("list[Any]", output)) == 1 for output in outputs)
    inner = [output[0] for output in outputs] if wrapped else outputs
    fits = [all(is_result(row, name, value) for value in values) for values in (outputs, inner)]
    expected = outputs if fits == [True, False] else inner
    return name, [_call(row, number, *pair) for number, pair in enumerate(zip(inputs, expected, strict=True))]


def _call(row: Fields, number: int, given: Any, expected: Any) -> Case:
    where = f"'input_output': case {number}"
    if isinstance(given, list):
        return Case(tuple(cast("list[Any]", given)), expected)
    if not isinstance(given, str):
        raise row.wrong(f"{where}: an input should be a list of arguments or a text, got {type(given).__name__}")
    try:
        return Case(tuple(parse_lines(given)), parse_json(expected) if isinstance(expected, str) else expected)
    except TooLong as error:
        raise row.wrong(f"{where} holds {error}") from None
    except (ValueError, RecursionError) as error:
        raise row.wrong(
            f"{where}: a text of arguments has a JSON value a line, and so has its output: {error}"
        ) from None


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
        except (ValueError, RecursionError):
            return None
    if isinstance(solutions, Mapping):
        languages, texts = (solutions.get(name) for name in ("language", "solution"))
        if not isinstance(languages, list) or not isinstance(texts, list):
            return None
        solutions = [t for language, t in zip(languages, texts, strict=False) if language == _PYTHON3]
    return solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else None
