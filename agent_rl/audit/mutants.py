"""Mutants: the oracle solution with one small mistake, drawn from all mistakes that its syntax tree allows.

    program_in(oracle) ──> sites (node, mistake) ──> drawn in an order fixed by the task ──> Mutant (reply, diff)

Programs are only parsed here, never run: a mutant goes into a sandbox like any other reply. Some mistakes do not change
the behaviour (`x <= 0` for `x < 1`), so no test can find them. Only mutants with the oracle solution's own tree are
dropped here.
"""

from __future__ import annotations

import ast
import copy
import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from agent_rl.audit.mutations import changes
from agent_rl.audit.oracle_program import OracleProgram, functions_of, normal_form

VERSION = 1
"""Version of the mistakes and of their drawing; part of the cache key of a mutation score."""
MAX_SITES = 20_000


@dataclass(frozen=True, slots=True)
class Mutant:
    """One reply that is wrong in one place (or, rarely, equivalent to the oracle solution)."""

    kind: str
    reply: str
    diff: str
    """Unified diff of the two programs, both written by `ast.unparse`."""


def draw_mutants(program: OracleProgram, entry_point: str | None, count: int, seed: str) -> list[Mutant]:
    """At most `count` different mutants, equal for equal arguments. None of them has the oracle solution's own tree.

    Mistakes are made only in code that `entry_point` can reach (anywhere, if it is None or the program does not define
    it), and never in imports, annotations or docstrings. Empty if the tree is nested too deeply to be copied.
    """
    try:
        return list(_draw(program, entry_point, count, seed))
    except (RecursionError, MemoryError):
        return []


def _draw(program: OracleProgram, entry_point: str | None, count: int, seed: str) -> Iterator[Mutant]:
    sites = _sites(program, entry_point)
    random.Random(f"mutants {VERSION} {seed}").shuffle(sites)
    before = program.source().splitlines(keepends=True)
    seen = {normal_form(program.tree)}
    for node_index, change_index in sites:
        if count == 0:
            return
        made = _made(program.tree, node_index, change_index)
        if made is None:
            continue
        kind, tree = made
        form = _form(tree)
        if form is None or form in seen:
            continue
        seen.add(form)
        count -= 1
        after = program.source(tree).splitlines(keepends=True)
        diff = "".join(difflib.unified_diff(before, after, "oracle", "mutant", n=2))
        yield Mutant(kind, program.reply(tree), diff)


def _sites(program: OracleProgram, entry_point: str | None) -> list[tuple[int, int]]:
    """(index of the node in `ast.walk`, index of the mistake at that node) of all possible mistakes."""
    allowed = _mutable(program, entry_point)
    rebinds = any(isinstance(n, (ast.Nonlocal, ast.Global)) for n in ast.walk(program.tree))
    sites: list[tuple[int, int]] = []
    for node_index, node in enumerate(ast.walk(program.tree)):
        if id(node) not in allowed:
            continue
        for change_index, (kind, _) in enumerate(changes(node)):
            # A name in a `nonlocal` statement must stay assigned, or the mutant is not a valid program.
            if kind == "statement removed" and rebinds and isinstance(node, (ast.Assign, ast.AugAssign)):
                continue
            sites.append((node_index, change_index))
            if len(sites) == MAX_SITES:
                return sites
    return sites


def _made(tree: ast.Module, node_index: int, change_index: int) -> tuple[str, ast.Module] | None:
    """(kind, copy of `tree`) with one mistake; the nodes of the copy have the same order."""
    mutated = copy.deepcopy(tree)
    for index, node in enumerate(ast.walk(mutated)):
        if index == node_index:
            kind, replacement = list(changes(node))[change_index]
            _Replace(node, replacement).visit(mutated)
            return kind, ast.fix_missing_locations(mutated)
    return None


class _Replace(ast.NodeTransformer):
    """Replaces one node by another. It does not visit the new node, which may contain the old one."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old = old
        self.new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def _form(tree: ast.Module) -> str | None:
    """The normal form of a mutated tree, or None if it is not a valid program any more."""
    try:
        return normal_form(tree)
    except (SyntaxError, ValueError):
        return None


def _mutable(program: OracleProgram, entry_point: str | None) -> set[int]:
    """The ids of the nodes at which a mistake may be made."""
    allowed: set[int] = set()
    waiting: list[ast.AST] = _reachable(program, entry_point)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)):
            continue
        allowed.add(id(node))
        waiting += _children(node)
    return allowed


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of `node` in which mistakes are made: no annotations, format specifications or decorators."""
    skipped: list[ast.AST | None] = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        skipped += [node.returns, *node.decorator_list]
    elif isinstance(node, ast.ClassDef):
        skipped += node.decorator_list
    elif isinstance(node, (ast.arg, ast.AnnAssign)):
        skipped.append(node.annotation)
    elif isinstance(node, ast.FormattedValue):
        skipped.append(node.format_spec)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        skipped.append(node.value)
    for child in ast.iter_child_nodes(node):
        if not any(child is s for s in skipped):
            yield child


def _reachable(program: OracleProgram, entry_point: str | None) -> list[ast.AST]:
    """The statements that a call of `entry_point` can reach, found by the names that they use."""
    body = list(program.tree.body)
    known = {name: s for s in body for name in _defined(s)}
    if program.indent is not None or entry_point is None or entry_point not in known:
        return list[ast.AST](body)
    reached: dict[int, ast.AST] = {}
    waiting = [entry_point]
    while waiting:
        statement = known.pop(waiting.pop(), None)
        if statement is None or id(statement) in reached:
            continue
        reached[id(statement)] = statement
        waiting += [n.id for n in ast.walk(statement) if isinstance(n, ast.Name)]
    return list(reached.values())


def _defined(statement: ast.stmt) -> list[str]:
    """The names that a module's statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return []
    return [n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def defines_function(program: OracleProgram) -> bool:
    """Whether tests call the program's functions, rather than run it as a whole."""
    return bool(functions_of(program.tree))
