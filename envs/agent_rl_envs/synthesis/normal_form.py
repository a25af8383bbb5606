"""`normalise`: a program's syntax tree as text, without details that do not change what the program does."""

from __future__ import annotations

import ast
from typing import TypeVar

_Syntax = TypeVar("_Syntax", bound=ast.AST)


def normalise(source: str) -> str:
    """The normal form of a program: equal for programs that differ only in the names of their own functions,
    arguments and variables, in docstrings, annotations, comments or layout. Constants, operators and order count.

    Names are numbered in order of first appearance, scope by scope; a name that the program does not bind (a
    builtin) and an attribute's name stay. Raises SyntaxError if `source` is no Python.
    """
    return ast.dump(_Renamer().visit(ast.parse(source)))


class _Renamer(ast.NodeTransformer):
    """Renames bound names to `_0`, `_1`, … and strips docstrings and annotations, in place."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, str]] = []
        self.named = 0

    def visit_Module(self, node: ast.Module) -> ast.Module:
        return self._scope(node, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name = self._name(node.name)
        node.returns = None
        return self._scope(node, [node.args, *node.body])

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        node.name = self._name(node.name)
        node.returns = None
        return self._scope(node, [node.args, *node.body])

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return self._scope(node, [node.args, node.body])

    def visit_ListComp(self, node: ast.ListComp) -> ast.ListComp:
        return self._scope(node, node.generators)

    def visit_SetComp(self, node: ast.SetComp) -> ast.SetComp:
        return self._scope(node, node.generators)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.GeneratorExp:
        return self._scope(node, node.generators)

    def visit_DictComp(self, node: ast.DictComp) -> ast.DictComp:
        return self._scope(node, node.generators)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._name(node.arg))

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._name(node.id), node.ctx)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def _scope(self, node: _Syntax, binders: list[ast.AST] | list[ast.stmt] | list[ast.comprehension]) -> _Syntax:
        """`node`, visited in a new scope with the names that `binders` bind."""
        scope: dict[str, str] = {}
        for binder in binders:
            for name in _bound(binder):
                if name not in scope:
                    scope[name] = f"_{self.named}"
                    self.named += 1
        self.scopes.append(scope)
        self.generic_visit(node)
        self.scopes.pop()
        return node

    def _name(self, name: str) -> str:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return name


def _bound(node: ast.AST) -> list[str]:
    """The names that `node` binds in its own scope, in order."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, (ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
        return []
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    return [name for child in ast.iter_child_nodes(node) for name in _bound(child)]
