"""Rows of function calls: `task_id`, `prompt`, `entry_point`, `cases` ([{"args", "kwargs", "expected"}, ...]).

Optional: `public_cases`, `solution` (a program), `comparison` (default "json"), `tolerance`, `checker`, `isolated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from agent_rl.formats.row_fields import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.vocabulary import CallTests, Case, Limits, Message, Task
from agent_rl.vocabulary.task import Comparison


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    entry_point = row.identifier("entry_point")
    comparison: Comparison = row.choice("comparison", get_args(Comparison), "json")
    tolerance, checker = row.number("tolerance", 1e-6), row.text("checker", default="")
    isolated = row.flag("isolated")

    def tests(name: str) -> CallTests:
        cases = tuple(_case(row, name, number, value) for number, value in enumerate(row.list(name)))
        return CallTests(entry_point, cases, comparison, tolerance, checker, isolated)

    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(f"{row.text('prompt').strip()}\n\n{CODE_REQUEST} It defines `{entry_point}`."),),
        tests=tests("cases"),
        public=tests("public_cases") if "public_cases" in row else None,
        oracle=fenced(row.text("solution")) if "solution" in row else None,
        limits=settings.limits or Limits(),
        split=settings.split,
        metadata={"format": "calls", "entry_point": entry_point},
    )


def _case(row: Fields, name: str, number: int, value: Any) -> Case:
    if not isinstance(value, Mapping) or not {"args", "expected"} <= set(value) <= {"args", "kwargs", "expected"}:
        raise row.wrong(f"{name}[{number}] should be an object with args, expected, and perhaps kwargs")
    args, kwargs = value["args"], value.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, Mapping):
        raise row.wrong(f"{name}[{number}]: args should be a list, and kwargs an object")
    return Case(tuple(args), value["expected"], dict(kwargs))
