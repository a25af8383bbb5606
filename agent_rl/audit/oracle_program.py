"""The program inside an oracle solution, as a syntax tree that can be changed and written back in the same form."""

from __future__ import annotations

import ast
import copy
import re
import textwrap
import warnings
from dataclasses import dataclass

MAX_CHARS = 1 << 17
MAX_NODES = 20_000
_FENCE = re.compile(r"```([\w+-]*)[ \t]*\n(.*?)(\n?```)", re.DOTALL)
_PYTHON = frozenset({"", "python", "python3", "py"})
_WRITTEN = re.compile(r"^[^\n]*\.py\b[^\n]*<<-?[ \t]*'(\w+)'[^\n]*\n(.*?\n)\1$", re.DOTALL | re.MULTILINE)
"""A Python file that a shell script writes: cat > 'file.py' <<'END' ... END."""
_BODY = re.compile(r"((?:[ \t]*\n)*)([ \t]+)\S")


@dataclass(frozen=True, slots=True)
class OracleProgram:
    """The program of an oracle solution. It is parsed and never run here.

    before, after: the text around it in the reply (a fence and prose). indent: None for a whole program. If the oracle
    solution is the indented body of a function that the prompt began, `indent` is its indentation, and `tree` has one
    function with that body.
    """

    tree: ast.Module
    before: str = ""
    after: str = ""
    indent: str | None = None

    def source(self, tree: ast.Module | None = None) -> str:
        """The source of `tree` (None: of the program itself) from `ast.unparse`; comments are lost."""
        tree = self.tree if tree is None else tree
        if self.indent is None:
            return ast.unparse(tree) + "\n"
        body = "\n".join(ast.unparse(statement) for statement in _wrapping(tree).body)
        return textwrap.indent(body, self.indent) + "\n"

    def reply(self, tree: ast.Module) -> str:
        """The oracle solution with `tree` in place of its program."""
        return self.before + self.source(tree) + self.after

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions of the program, inner ones and methods too."""
        return functions_of(self.tree)


def functions_of(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions in `tree`, inner ones and methods too."""
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def program_in(oracle: str) -> OracleProgram | None:
    """The program in `oracle`; None if there is none (a number, a text, another language, or beyond the limits).

    An oracle solution may be a program, a reply with a fenced block of code, the indented body of a function, or a
    shell script that writes Python files; of these the longest is used.
    """
    if len(oracle) > MAX_CHARS:
        return None
    fence = _FENCE.search(oracle)
    if fence is not None and fence[1].lower() not in _PYTHON:
        written = max(_WRITTEN.finditer(oracle), key=lambda match: len(match[2]), default=None)
        tree = parsed(written[2]) if written is not None else None
        if written is None or tree is None or not _does_something(tree):
            return None
        return _changeable(OracleProgram(tree, oracle[: written.start(2)], oracle[written.end(2) :]))
    before, code, after = "", oracle, ""
    if fence is not None:
        before, code, after = oracle[: fence.start(2)], fence[2], oracle[fence.end(2) :]
    tree = parsed(code)
    if tree is not None:
        return _changeable(OracleProgram(tree, before, after)) if _does_something(tree) else None
    body = _BODY.match(code)
    if body is None:
        return None
    tree = parsed("def f():\n" + code[body.end(1) :])
    return None if tree is None else _changeable(OracleProgram(tree, before + body[1], after, body[2]))


def _changeable(program: OracleProgram) -> OracleProgram | None:
    """`program`; None if it is nested so deeply that it can be parsed, but neither copied nor written."""
    try:
        program.source(copy.deepcopy(program.tree))
        return program
    except (RecursionError, MemoryError):
        return None


def parsed(code: str) -> ast.Module | None:
    """The tree of `code`; None if it is not Python, is nested too deeply or is too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes and comparisons in a data set's code
            tree = ast.parse(code)
        return tree if sum(1 for _ in ast.walk(tree)) <= MAX_NODES else None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def normal_form(tree: ast.Module) -> str:
    """A text that is equal for programs that differ only in layout, docstrings and statements without effect."""
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [s for s in statements if not _does_nothing(s)])
    return ast.dump(tree)


def is_text(statement: ast.AST) -> bool:
    """Whether a statement is only a constant: a docstring, or `...`."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _does_nothing(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Constant, ast.Name))
    )


def _does_something(tree: ast.Module) -> bool:
    """Whether the tree is a program. A number, a word or a comment parses too, but is not a program."""
    return not all(
        is_text(s) or (isinstance(s, ast.Expr) and not any(isinstance(n, ast.Call) for n in ast.walk(s)))
        for s in tree.body
    )


def _wrapping(tree: ast.Module) -> ast.FunctionDef:
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    return function
