"""Rows in MBPP's schema: `text` (or `prompt`), `code`, `test_list`, and `test_setup_code` (or `test_imports`).

Asserts about one function become the body of a `check(candidate)`, which is recorded as cases (tier `values`). Asserts
about several functions or a class become a pytest file (tier `proxied`). The first assert is in the prompt, since it
says how the function is called; it is the visible test, and one of the hidden ones.
"""

from __future__ import annotations

import ast
import textwrap

from agent_rl.verify.canonical import NotCanonical, encode
from agent_rl.verify.formats.rows import CODE_REQUEST, Fields, Settings, fenced
from agent_rl.vocabulary import AssertTests, CallTests, Case, Limits, Message, PytestTests, Task

_MAX_CHARS = 1 << 18


def task_of(row: Fields, settings: Settings) -> Task:
    """The task of one row. Raises ConfigError."""
    code, tests = row.text("code"), row.texts("test_list")
    setup = _setup(row)
    if not tests:
        raise row.wrong("'test_list' is empty: every program would pass")
    parsed = _parse(row, "test_list", "\n".join(tests))
    used = _defined(_parse(row, "code", code)) & {n.id for n in ast.walk(parsed) if isinstance(n, ast.Name)}
    if not used:
        raise row.wrong("no test uses what 'code' defines")
    if len(used) == 1 and not _is_class(code, *used):
        (entry_point,) = used
        hidden, visible, tier = _asserts(parsed, entry_point, setup, code), _shown(tests[0], entry_point), "values"
    else:
        entry_point = ""
        hidden, visible, tier = _pytest(tests, sorted(used), setup, code), None, "proxied"
    request = f"{row.text('text', 'prompt').strip()}\nThis test has to pass:\n\n```python\n{tests[0]}\n```"
    return Task(
        id=row.task_id("task_id"),
        prompt=(Message.user(f"{request}\n{CODE_REQUEST}"),),
        tests=hidden,
        visible=visible,
        reference=fenced(code),
        limits=settings.limits or Limits(),
        split=settings.split,
        tier=tier,
        metadata={"format": "mbpp", "entry_point": entry_point, "before": setup},
    )


def _setup(row: Fields) -> str:
    if "test_imports" in row:
        return "\n".join(row.texts("test_imports"))
    return row.text("test_setup_code", default="")


def _parse(row: Fields, name: str, source: str) -> ast.Module:
    if len(source) > _MAX_CHARS:
        raise row.wrong(f"{name!r} has more than {_MAX_CHARS} characters")
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise row.wrong(f"{name!r} is no Python: {error}") from None


def _defined(module: ast.Module) -> set[str]:
    """Names that `module` gives functions, classes and values."""
    names = {n.name for n in module.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    for node in module.body:
        if isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def _is_class(code: str, name: str) -> bool:
    return any(isinstance(n, ast.ClassDef) and n.name == name for n in ast.parse(code).body)


class _Renamed(ast.NodeTransformer):
    def __init__(self, name: str) -> None:
        self.name = name

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("candidate", node.ctx) if node.id == self.name else node


def _asserts(tests: ast.Module, entry_point: str, setup: str, code: str) -> AssertTests:
    renamed = _Renamed(entry_point).visit(tests)
    body = textwrap.indent(ast.unparse(ast.fix_missing_locations(renamed)), "    ")
    return AssertTests(entry_point, f"{setup}\n\ndef check(candidate):\n{body}\n", f"{setup}\n\n{code}\n")


def _pytest(tests: list[str], used: list[str], setup: str, code: str) -> PytestTests:
    functions = [f"def test_{n}():\n{textwrap.indent(test, '    ')}\n" for n, test in enumerate(tests)]
    source = f"{setup}\n\nfrom solution import {', '.join(used)}\n\n" + "\n".join(functions)
    program = f"{setup}\n\n{code}\n"
    return PytestTests({"test_solution.py": source.encode()}, reference={"solution.py": program.encode()})


def _shown(test: str, entry_point: str) -> CallTests | None:
    """The test as a visible case, where it is `assert f(literals) == literal`."""
    try:
        (statement,) = ast.parse(test).body
        assert isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare)
        call, (expected,), (operator,) = statement.test.left, statement.test.comparators, statement.test.ops
        assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and isinstance(operator, ast.Eq)
        kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
        if call.func.id != entry_point or len(kwargs) != len(call.keywords):
            return None
        case = Case(tuple(ast.literal_eval(a) for a in call.args), ast.literal_eval(expected), kwargs)
        encode([case.args, dict(case.kwargs), case.expected])
    except (AssertionError, SyntaxError, ValueError, TypeError, MemoryError, RecursionError, NotCanonical):
        return None
    return CallTests(entry_point, (case,))
