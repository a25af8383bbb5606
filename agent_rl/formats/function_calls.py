"""Rows of function calls: `task_id`, `prompt`, `entry_point`, `cases` ([{"args", "kwargs", "expected"}, ...]).

Optional: `public_cases`, `solution` (a program), `starter_code`, `comparison` (default "json"), `tolerance`, `checker`,
`isolated`, and limits of a case (`time_limit`, `memory_limit`, ...). A program may define the function, or a
`class Solution` with a method of this name: each case then has a new `Solution()`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from agent_rl.formats.judging_keys import Rule, check_keys, limits_of, rule_of
from agent_rl.formats.row_fields import Fields, Settings, fenced
from agent_rl.formats.starter_code import starter_of, usual_imports
from agent_rl.vocabulary import CallTests, Case, Limits, Message, Task
from agent_rl.vocabulary.task import Comparison

_OPTIONAL = ("public_cases", "starter_code")


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    check_keys(row, _OPTIONAL)
    name = row.identifier("entry_point")
    rule = rule_of(row, get_args(Comparison), "json", parameters=1)
    cases = _cases(row, "cases")
    public = _cases(row, "public_cases") if "public_cases" in row else None
    starter = starter_of(row, name, [case.expected for case in cases])
    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(f"{row.text('prompt').strip()}\n\n{starter.request}"),),
        tests=call_tests(row, name, starter.owner, cases, rule),
        public=call_tests(row, name, starter.owner, public, rule, hidden=False) if public else None,
        oracle=fenced(row.text("solution")) if "solution" in row else None,
        limits=limits_of(row, settings.limits or Limits()),
        split=settings.split,
        metadata={
            "format": "calls",
            "entry_point": name,
            "before": starter.before,
            "before_class": starter.before or usual_imports(name),
            "starter": starter.begun,
        },
    )


def call_tests(
    row: Fields, name: str, owner: str, cases: Sequence[Case], rule: Rule, *, hidden: bool = True
) -> CallTests:
    """Tests whose expected values were written as JSON. Raises ConfigError if no program or every program passes."""
    comparison = cast("Comparison", rule.comparison)
    if not cases:
        raise row.wrong("there are no cases, so that every program would pass")
    if hidden and comparison != "checker" and all(case.expected is None for case in cases):
        raise row.wrong("every case expects null, so that a function that does nothing passes")
    for number, case in enumerate(cases if comparison in ("python", "json", "any_order") else ()):
        as_text = comparison == "any_order" and isinstance(case.expected, list)  # its elements are compared as texts
        if _holds_nan(case.expected) and not as_text:
            raise row.wrong(
                f"case {number} expects NaN, which equals nothing under comparison {comparison!r}, so that no program "
                "could pass; 'float' and 'exact' take NaN for NaN"
            )
    for number, case in enumerate(cases if comparison == "tokens" else ()):
        if not isinstance(case.expected, str):
            raise row.wrong(f"case {number} expects no string, so that no program could pass comparison 'tokens'")
    return CallTests(name, tuple(cases), comparison, rule.tolerance, rule.checker, rule.isolated, owner, from_json=True)


def _cases(row: Fields, name: str) -> list[Case]:
    return [_case(row, name, number, value) for number, value in enumerate(row.list(name))]


def _case(row: Fields, name: str, number: int, value: Any) -> Case:
    if not isinstance(value, Mapping) or not {"args", "expected"} <= set(value) <= {"args", "kwargs", "expected"}:
        raise row.wrong(f"{name}[{number}] should be an object with args, expected, and perhaps kwargs")
    args, kwargs = value["args"], value.get("kwargs")
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, list) or not isinstance(kwargs, Mapping):
        raise row.wrong(f"{name}[{number}]: args should be a list, and kwargs an object")
    return Case(tuple(args), value["expected"], dict(kwargs))


def _holds_nan(value: Any) -> bool:
    left: list[Any] = [value]
    while left:
        value = left.pop()
        if isinstance(value, float) and math.isnan(value):
            return True
        if isinstance(value, Mapping):
            left += cast("Mapping[Any, Any]", value).values()
        elif isinstance(value, list):
            left += cast("list[Any]", value)
    return False
