"""Starter code of a row: it is part of the prompt, and the names that it promises exist when a program runs.

The judges that such rows come from run a program after many imports, with `ListNode` and `TreeNode` defined, call a
method of a new `Solution()` for each case, and write linked lists and trees as lists. The same is done here. It is put
into the task's metadata as `before`, which `program_of` puts before each program, whose own definitions replace it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from agent_rl.formats.parts_of_programs import begun_by
from agent_rl.formats.row_fields import CODE_REQUEST, Fields

_MAX_CHARS = 1 << 16
_IMPORTS = """\
from random import *
from bisect import *
from collections import *
from copy import *
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from re import *
from string import *
from typing import *
from builtins import *
import bisect, collections, copy, datetime, functools, heapq, itertools, json, math, operator, random, re, string, sys
import time, typing
"""
"""The usual imports. Those of builtins come after the others, so that no `pow` or `compile` is hidden."""
_FREE = "globals().pop({name!r}, None)\n"
"""An imported function (`operator.add`) is no answer to a task that asks for one of this name."""
_NODES = {
    "ListNode": """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
""",
    "TreeNode": """
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val
        self.left = left
        self.right = right
""",
}
_CALLING = """

def __agent_rl_nodes__():
    made = {{"__name__": "linked_nodes"}}
    exec(compile({source!r}, "linked_nodes.py", "exec", dont_inherit=True), made)
    globals()[{key!r}] = made["calling"](globals(), {owner!r}, {name!r}, {parameters!r}, {result!r})


__agent_rl_nodes__()
del __agent_rl_nodes__
"""
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Starter:
    """What a row's starter code means for its task.

    owner: the class whose method each case calls, or "" for a function. request: the end of the prompt. before: what
    runs before each program. begun: the starter code up to the body that is asked for, "" if that cannot be told.
    """

    owner: str
    request: str
    before: str
    begun: str = ""


def starter_of(row: Fields, name: str, expected: Sequence[Any], *, imports: bool = False) -> Starter:
    """What the row's starter code means for calls of `name` with the `expected` values. Raises ConfigError.

    With `imports`, the usual imports exist also if the row has no starter code.
    """
    text = row.text("starter_code", default="").rstrip()
    if not text:
        before = usual_imports(name) if imports else ""
        return Starter("", f"{CODE_REQUEST} It defines `{name}`.", before)
    tree = _parsed(text)
    owner, function = _found(tree, name)
    if not owner and tree is None and re.search(r"^class[ \t]+Solution\b", text, re.MULTILINE):
        owner = "Solution"
    key = f"{owner}.{name}" if owner else name
    parameters, result = _shapes(function, owner != "", expected)
    before = usual_imports(name) + "".join(source for node, source in _NODES.items() if node in text)
    if result or any(shape for _, shape in parameters):
        source = files("agent_rl.formats").joinpath("linked_nodes.py").read_text()
        before += _CALLING.format(
            source=source, key=key, owner=owner or "Solution", name=name, parameters=parameters, result=result
        )
    what = f"the class `{owner}` with the method `{name}`" if owner else f"`{name}`"
    return Starter(owner, f"{shown(text)}\n\n{CODE_REQUEST} It defines {what}.", before, begun_by(text, owner, name))


def usual_imports(name: str) -> str:
    """The imports of the judges that run a `class Solution`, without what would be an answer to a call of `name`."""
    return _IMPORTS + _FREE.format(name=name)


def is_result(row: Fields, name: str, value: Any) -> bool | None:
    """Whether `value`, as JSON, has the type that the row's starter code gives `name`'s result; None if it says none.

    Only what is a list, and of what, is looked at.
    """
    _, function = _found(_parsed(row.text("starter_code", default="").rstrip()), name)
    depth = None if function is None else _lists(function.returns)
    return None if depth is None else _has_lists(value, depth)


def _lists(annotation: ast.expr | None) -> int | None:
    """How many lists lie in each other in a value of this type; None for a type that does not say it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = _expression(annotation.value)
    if isinstance(annotation, ast.Name):
        return 1 if annotation.id in _NODES else 0 if annotation.id in ("int", "float", "str", "bool") else None
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.right, ast.Constant):  # X | None
        return _lists(annotation.left)
    if isinstance(annotation, ast.Subscript):
        kind, inner = ast.unparse(annotation.value).rpartition(".")[2], _lists(annotation.slice)
        if inner is not None and kind in ("List", "list", "Optional"):
            return inner + (kind != "Optional")
    return None


def _has_lists(value: Any, depth: int) -> bool:
    if not isinstance(value, list):
        return depth == 0 or value is None
    return depth > 0 and all(_has_lists(item, depth - 1) for item in cast("list[Any]", value))


def shown(starter_code: str) -> str:
    """The part of a prompt that shows starter code; empty if there is none."""
    text = starter_code.rstrip()
    return f"Start from this code:\n\n```python\n{text}\n```" if text else ""


def _parsed(text: str) -> ast.Module | None:
    """The code, which usually ends where a body should begin; None if it is no Python even with a body."""
    if len(text) > _MAX_CHARS:
        return None
    last = text.rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    for end in ("", " pass", f"\n{indent}pass", f"\n{indent}    pass"):
        try:
            return ast.parse(text + end)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def _found(tree: ast.Module | None, name: str) -> tuple[str, _Definition | None]:
    """(the class that defines the method `name`, or "", and its definition)."""
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ClassDef):
            for function in node.body:
                if isinstance(function, _Definition) and function.name == name:
                    return node.name, function
        if isinstance(node, _Definition) and node.name == name:
            return "", node
    return "", None


def _shapes(function: _Definition | None, method: bool, expected: Sequence[Any]) -> tuple[list[tuple[str, str]], str]:
    """The parameters' names and shapes and the result's, as `linked_nodes.calling` takes them."""
    if function is None:
        return [], ""
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list)
    arguments = [*function.args.posonlyargs, *function.args.args][1 if method and not static else 0 :]
    parameters = [(a.arg, _shape(a.annotation)) for a in arguments]
    if isinstance(function.returns, ast.Constant) and function.returns.value is None:
        return parameters, "first" if any(value is not None for value in expected) else ""
    return parameters, _shape(function.returns)


def _shape(annotation: ast.expr | None) -> str:
    """ "ListNode" for `ListNode`, `Optional[ListNode]` and `ListNode | None`; "[ListNode]" for lists; else ""."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = _expression(annotation.value)
    if isinstance(annotation, ast.Name):
        return annotation.id if annotation.id in _NODES else ""
    if isinstance(annotation, ast.BinOp):
        return _shape(annotation.left) or _shape(annotation.right)
    if isinstance(annotation, ast.Subscript):
        kind = ast.unparse(annotation.value).rpartition(".")[2]
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        inner = next((shape for shape in map(_shape, parts) if shape), "")
        if kind in ("List", "list"):
            return f"[{inner}]" if inner else ""
        return inner if kind in ("Optional", "Union") else ""
    return ""


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
