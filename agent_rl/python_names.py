"""Finds the names that parts of a program define and use. Programs are parsed here, never run."""

from __future__ import annotations

import ast


def defined_by(statement: ast.stmt) -> set[str]:
    """The names of functions, classes and values that a module's statement defines (without imports)."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)  # inside of `if` or `try`
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            waiting += ast.iter_child_nodes(node)
    return found


_BINDS_NOTHING = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Constant, ast.Attribute)


def bound_by(node: ast.AST) -> set[str]:
    """The names that a module's statement binds, imports included; those inside of functions and classes excluded."""
    if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Name, ast.Constant)):
        return set()
    found: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in inner.names}
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(inner.name)
        elif isinstance(inner, ast.Name):
            found |= {inner.id} if isinstance(inner.ctx, ast.Store) else set()
        elif not isinstance(inner, _BINDS_NOTHING):
            waiting += ast.iter_child_nodes(inner)
    return found


def names_used(tree: ast.AST) -> set[str]:
    """The names that are read anywhere in `tree`."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
