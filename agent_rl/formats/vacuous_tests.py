"""Refuses tests that test nothing, or that are none: they are parsed, never run. Errors name file and line.

A function that yields does nothing when it is called, and pytest ignores it; a coroutine that nobody awaits does
nothing either; nobody looks at what a test returns; an assert of a tuple always holds; and tests without any assert
accept every program that runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent_rl.formats.row_fields import Fields

MAX_CHARS = 1 << 20
_CHECKING = ("assert", "raises", "fail", "check", "expect", "verify", "warns")
"""How names begin, or what they hold, of functions that may check something."""
_TEST_FILE = re.compile(r"(^|/)(test_[^/]*|[^/]*_test)\.py$")
"""The files that pytest collects by itself."""
_HIDDEN_TESTS = (b"TestCase", b"exec(", b"import *", b"setattr(")
"""Signs of tests that are defined in another way than by `def`."""
_PLAIN = (["TestCase"], ["unittest.TestCase"])
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def check_checker(row: Fields, source: str, parameters: int) -> None:
    """Raises ConfigError if `source` is no program that defines a `check` of so many parameters, which can decide.

    With one parameter (calls) it raises if an output is wrong; with more (whole outputs) it returns True for a good
    one.
    """
    check = _check_of(row, "checker", source)
    if check is None:
        return
    if not _takes(check, parameters):
        raise row.wrong(f"'checker': its function 'check' should take {parameters} arguments")
    if parameters == 1:
        if not _checks_something([parsed_field(row, "checker", source)]):
            raise row.wrong("'checker' asserts nothing, so that every program would pass")
        return
    returned = [node.value for node in _own_nodes(check) if isinstance(node, ast.Return)]
    given = {value.value if isinstance(value, ast.Constant) else None if value is None else ... for value in returned}
    if given <= {None, False}:
        raise row.wrong("'checker': its function 'check' never returns True, so that no program could pass")
    if given == {True} and not _checks_something([check]):
        raise row.wrong("'checker': its function 'check' always returns True, so that every program would pass")


def check_asserts(row: Fields, name: str, source: str) -> None:
    """Raises ConfigError if `source` (HumanEval's tests) defines no `check`, or one that checks nothing."""
    check = _check_of(row, name, source)
    if check is None:
        return
    tree = parsed_field(row, name, source)
    if not _checks_something([tree]):
        raise row.wrong(f"{name!r} asserts nothing, so that every program would pass")


def check_statements(row: Fields, name: str, trees: Sequence[ast.Module], helpers: Sequence[ast.stmt]) -> None:
    """Raises ConfigError if `trees` (MBPP's tests) assert nothing, or if one asserts or compares without any effect.

    `helpers` are the statements that the tests can use.
    """
    for number, tree in enumerate(trees):
        _check_tuples(row, f"{name}[{number}]", tree)
        if any(isinstance(s, ast.Expr) and isinstance(s.value, ast.Compare) for s in tree.body):
            raise row.wrong(f"{name}[{number}] compares without an assert, so that every program would pass it")
    if not _checks_something([*trees, *helpers]):
        raise row.wrong(f"{name!r} asserts nothing, so that every program would pass")


def check_pytest_files(row: Fields, files: Mapping[str, bytes], named: Sequence[str], module: str | None) -> None:
    """Raises ConfigError for a test function that yields, and if there are no tests or none mentions `module`.

    `named` are the node ids that the row names: pytest collects their files too.
    """
    tests = check_collected(row, files, named)
    if not tests and not any(word in content for word in _HIDDEN_TESTS for content in files.values()):
        raise row.wrong("its test files hold no test function, so that nothing would be tested")
    if module is not None and not _uses_module(files, module):
        raise row.wrong(f"no test uses the module {module!r}, so that every program would pass")


def check_collected(row: Fields, files: Mapping[str, bytes], named: Sequence[str] = ()) -> int:
    """The number of test functions in `files`.

    Raises ConfigError for one that yields, returns a comparison, or is never awaited, if pytest collects its file.
    """
    collected = {path for path in files if _TEST_FILE.search(path)} | {test.partition("::")[0] for test in named}
    tests = 0
    for path in (path for path in files if path.endswith(".py")):
        tree = parsed_field(row, path, files[path].decode("utf-8", "replace"))
        functions = list(_test_functions(tree.body))
        tests += len(functions)
        if path not in collected:
            continue
        _check_tuples(row, path, tree)
        for function in functions:
            where = f"{path}:{function.lineno}: the test {function.name}"
            if _yields(function):
                raise row.wrong(f"{where} yields, so that pytest does not run it")
            if any(isinstance(node, ast.Return) and _is_comparison(node.value) for node in _own_nodes(function)):
                raise row.wrong(f"{where} returns a comparison, which nothing looks at; is an assert meant?")
        for function in _never_awaited(tree):
            where = f"{path}:{function.lineno}: the test {function.name}"
            raise row.wrong(f"{where} is async, and a plain TestCase awaits none: every program would pass")
    return tests


def _uses_module(files: Mapping[str, bytes], module: str) -> bool:
    """Whether the files mention the module in another way than by imports whose names are never used."""
    last = module.rpartition(".")[2]
    bound: set[str] = set()
    used: set[str] = set()
    for path, content in files.items():
        if not path.endswith(".py"):
            if last.encode() in content:
                return True
            continue
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Import):
                bound |= {(a.asname or a.name).partition(".")[0] for a in node.names if last in a.name.split(".")}
            elif isinstance(node, ast.ImportFrom):
                of_module = last in (node.module or "").split(".")
                names = [a.asname or a.name for a in node.names if of_module or a.name == last]
                if "*" in names:
                    return True
                bound |= set(names)
            elif isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and last in node.value:
                return True
    return bool(bound & used)


def _check_of(row: Fields, name: str, source: str) -> _Function | None:
    """The function `check` of `source`; None if it is defined in another way than by `def`. Raises ConfigError."""
    tree = parsed_field(row, name, source)
    found = [node for node in _statements(tree.body) if isinstance(node, _Function) and node.name == "check"]
    if not found:
        if not any(isinstance(n, (ast.Name, ast.alias)) and _bound(n) in ("check", "*") for n in ast.walk(tree)):
            raise row.wrong(f"{name!r} defines no function 'check'")
        return None
    if isinstance(found[-1], ast.AsyncFunctionDef):
        raise row.wrong(f"{name!r}: its function 'check' is async, and nobody awaits it: every program would pass")
    if _yields(found[-1]):
        raise row.wrong(f"{name!r}: its function 'check' yields, so that a call does nothing: every program would pass")
    _check_tuples(row, name, tree)
    return found[-1]


def parsed_field(row: Fields, name: str, source: str, most: int = MAX_CHARS) -> ast.Module:
    """The tree of a program in the field `name`. Raises ConfigError if it is none, or longer than `most` characters."""
    if len(source) > most:
        raise row.wrong(f"{name!r} has more than {most} characters")
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise row.wrong(f"{name!r} is not Python: {error}") from None


def _check_tuples(row: Fields, name: str, tree: ast.AST) -> None:
    """Raises ConfigError for `assert (condition, "message")`, which always holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            raise row.wrong(f"{name!r} asserts a tuple, which always holds (line {node.lineno})")


def _checks_something(trees: Iterable[ast.AST]) -> bool:
    """Whether there is an assert (of more than a constant), a raise, or a call of something named as a check."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Assert) and not (isinstance(node.test, ast.Constant) and node.test.value):
            return True
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called != "check" and any(word in called.lower() for word in _CHECKING):
                return True
    return False


def _test_functions(body: Sequence[ast.stmt], *, inside: bool = False) -> Iterator[_Function]:
    """What pytest collects: functions `test...` at top level and in classes `Test...`, except fixtures."""
    for node in _statements(body):
        if isinstance(node, ast.ClassDef) and not inside:
            if node.name.startswith("Test") or any("TestCase" in ast.unparse(base) for base in node.bases):
                yield from _test_functions(node.body, inside=True)
        elif (
            isinstance(node, _Function)
            and node.name.startswith("test")
            and not any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
        ):
            yield node


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of its `if`, `try` and `with` blocks."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody") if not isinstance(node, _SCOPES) else ():
            yield from _statements(getattr(node, part, []))


def _yields(function: _Function) -> bool:
    """Whether the function itself yields, not only one within it."""
    return any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in _own_nodes(function))


def _is_comparison(node: ast.expr | None) -> bool:
    """Whether the expression is `a == b`, or made of such by `and`, `or` and `not`."""
    if isinstance(node, ast.BoolOp):
        return all(_is_comparison(value) for value in node.values)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare)


def _never_awaited(tree: ast.Module) -> Iterator[_Function]:
    """The async tests of classes that derive from `unittest.TestCase` alone."""
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef) and [ast.unparse(b) for b in node.bases] in _PLAIN:
            tests = (part for part in _statements(node.body) if isinstance(part, ast.AsyncFunctionDef))
            yield from (part for part in tests if part.name.startswith("test"))


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """The nodes of the function's body, without those of functions and classes within it."""
    left: list[ast.AST] = list(function.body)
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, _SCOPES):
            left += ast.iter_child_nodes(node)


def _takes(function: _Function, parameters: int) -> bool:
    """Whether a call with so many positional arguments fits."""
    given = function.args
    positional = len(given.posonlyargs) + len(given.args)
    required = positional - len(given.defaults)
    keywords = any(default is None for default in given.kw_defaults)
    return required <= parameters and (given.vararg is not None or parameters <= positional) and not keywords


def _bound(node: ast.Name | ast.alias) -> str:
    if isinstance(node, ast.alias):
        return node.asname or node.name
    return node.id if isinstance(node.ctx, ast.Store) else ""
