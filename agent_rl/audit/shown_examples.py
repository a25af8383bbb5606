"""The examples that an agent sees: from the public cases, else from the prompt's text. They are parsed, never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from agent_rl.vocabulary import CallTests, Case, StdioTests, Task

MAX_CHARS = 1 << 17
_SHOWN = re.compile(r"^[ \t]*>>>[ \t]*(?P<call>[^\n]+)\n[ \t]*(?P<value>[^\n>][^\n]*)$", re.MULTILINE)
_ASSERTED = re.compile(r"^[ \t]*assert[ \t]+(?P<test>[^\n]+)$", re.MULTILINE)


def entry_point_of(task: Task) -> str | None:
    """The function that the tests call; None if they call none (whole programs, answers)."""
    name = getattr(task.tests, "entry_point", None) or task.metadata.get("entry_point")
    return name if isinstance(name, str) and name else None


def shown_calls(task: Task) -> tuple[Case, ...]:
    """The calls of the task's function whose value the agent is shown, if both are written as literals.

    They are the public cases or, if there are none, `>>> f(1)` with its value and `assert f(1) == 2` in the prompt.
    """
    if isinstance(task.public, CallTests) and task.public.cases:
        return tuple(c for c in task.public.cases if literal([c.args, dict(c.kwargs), c.expected]) is not None)
    entry_point = entry_point_of(task)
    if entry_point is None:
        return ()
    return tuple(case for message in task.prompt for case in _cases_in(message.content, entry_point))


def shown_runs(task: Task) -> tuple[tuple[str, str], ...]:
    """(input, output) of the runs of a whole program that the agent is shown, if both are text."""
    if not isinstance(task.public, StdioTests):
        return ()
    pairs = ((c.stdin, c.expected) for c in task.public.cases)
    return tuple((given, out) for given, out in pairs if isinstance(given, str) and isinstance(out, str))


def _cases_in(text: str, entry_point: str) -> Iterator[Case]:
    text = text[:MAX_CHARS]
    pairs = [(m["call"], m["value"]) for m in _SHOWN.finditer(text)]
    for match in _ASSERTED.finditer(text):
        test = _expression(match["test"])
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            pairs.append((ast.unparse(test.left), ast.unparse(test.comparators[0])))
    for call, value in pairs:
        case = _case(_expression(call), _expression(value), entry_point)
        if case is not None:
            yield case


def _case(call: ast.expr | None, value: ast.expr | None, entry_point: str) -> Case | None:
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == entry_point):
        return None
    if value is None or any(k.arg is None for k in call.keywords):
        return None
    try:
        args = tuple(ast.literal_eval(a) for a in call.args)
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        return Case(args, ast.literal_eval(value), kwargs)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def literal(value: Any) -> str | None:
    """`value` as Python source; None if literals cannot express the same value."""
    try:
        text = repr(value)
        return text if len(text) <= MAX_CHARS and ast.literal_eval(text) == value else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
