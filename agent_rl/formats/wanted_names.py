"""Finds the names that a task's tests take from a submission. Test code is parsed here, never run."""

from __future__ import annotations

import ast
from functools import lru_cache

from agent_rl.joined_programs import parsed
from agent_rl.vocabulary import AssertTests, CallTests, PytestTests, Tests


def wanted_names(tests: Tests) -> frozenset[str]:
    """The entry point, or what test files take from the submission's module; empty if nothing is known."""
    if isinstance(tests, (CallTests, AssertTests)):
        return frozenset({tests.entry_point})
    if isinstance(tests, PytestTests):
        return _taken_from(tests.module, tuple(sorted(tests.files.items())))
    return frozenset()


@lru_cache(maxsize=1024)
def _taken_from(module: str, files: tuple[tuple[str, bytes], ...]) -> frozenset[str]:
    found: set[str] = set()
    for path, content in files:
        tree = parsed(content.decode(errors="replace")) if path.endswith(".py") else None
        if isinstance(tree, ast.Module):
            found |= _names(tree, module)
    return frozenset(found)


def _names(tree: ast.Module, module: str) -> set[str]:
    """`a` and `b` of `from module import a` and of `module.b`, under whatever name it was imported."""
    parent, _, last = module.rpartition(".")
    found: set[str] = set()
    called: set[str] = {module}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            called |= {alias.asname or alias.name for alias in node.names if alias.name == module}
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            found |= {alias.name for alias in node.names if alias.name != "*"}
        elif isinstance(node, ast.ImportFrom) and parent and node.module == parent:
            called |= {alias.asname or alias.name for alias in node.names if alias.name == last}
    for node in ast.walk(tree):
        # A name that consists of many parts is written out: only a short one can be the module's.
        if isinstance(node, ast.Attribute) and _depth(node.value) <= module.count("."):
            found |= {node.attr} if ast.unparse(node.value) in called else set()
    return found


def _depth(node: ast.expr) -> int:
    """How many dots a dotted name has; a large number for anything else."""
    dots = 0
    while isinstance(node, ast.Attribute):
        node, dots = node.value, dots + 1
    return dots if isinstance(node, ast.Name) else 1 << 30
