"""Tells whether calls of a program can leave anything behind in its process. If not, one process may answer them all.

The question is asked of honest programs, and answered carefully: a "no" costs a fork for each call, a wrong "yes" lets
calls of one program see each other. A program that deceives this module gains no more than that.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

import opcode
import types
from typing import Any

_MODULES = frozenset(
    [
        "__future__",
        "abc",
        "bisect",
        "cmath",
        "collections",
        "collections.abc",
        "copy",
        "dataclasses",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "numbers",
        "operator",
        "re",
        "statistics",
        "string",
        "textwrap",
        "typing",
        "unicodedata",
    ]
)
"""What these modules offer keeps nothing that a later call could notice, as long as no attribute is set."""
_NAMES = frozenset(
    [
        "open",
        "input",
        "print",
        "exec",
        "eval",
        "compile",
        "globals",
        "locals",
        "vars",
        "setattr",
        "delattr",
        "getattr",
        "breakpoint",
        "exit",
        "quit",
        "help",
        "lru_cache",
        "cache",
        "cached_property",
        "singledispatch",
        "singledispatchmethod",
        "cache_clear",
        "register",
        "total_ordering",
    ]
)
"""Names with which a function reaches its surroundings, or keeps values. (What is printed is one call's own.)"""
_DUNDERS = frozenset(["__name__", "__doc__", "__len__", "__class__", "__init__"])
_STORES = frozenset(
    opcode.opmap[name]
    for name in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR", "LOAD_BUILD_CLASS", "IMPORT_STAR")
    if name in opcode.opmap
)
_IMPORT, _EXTENDED = opcode.opmap["IMPORT_NAME"], opcode.opmap["EXTENDED_ARG"]
_PLAIN: tuple[type, ...] = (type(None), bool, int, float, complex, str, bytes, range)
_IMPORTED = (type, types.FunctionType, types.BuiltinFunctionType)


def none_by_names(code: types.CodeType) -> bool:
    """Whether no part of the program sets attributes or globals, defines classes, or names what keeps state."""
    # One function with plain loops: in a new process each further one costs more than what it does.
    waiting = [code]
    while waiting:
        at = waiting.pop()
        for name in at.co_names:
            if name in _NAMES or (name[:2] == "__" and name not in _DUNDERS and name not in _MODULES):
                return False
        steps = at.co_code[::2]
        if not _STORES.isdisjoint(steps) or (_IMPORT in steps and not _imports_only_plain(at)):
            return False
        for part in at.co_consts:
            if type(part) is types.CodeType:
                waiting.append(part)
    return True


def _imports_only_plain(code: types.CodeType) -> bool:
    extended = 0
    for at in range(0, len(code.co_code), 2):
        step, argument = code.co_code[at], code.co_code[at + 1] | extended
        extended = argument << 8 if step == _EXTENDED else 0
        if step == _IMPORT and code.co_names[argument] not in _MODULES:
            return False
    return True


def none_in(space: dict[str, Any]) -> bool:
    """Whether the names of a loaded module hold only what calls cannot change."""
    for name, value in space.items():
        if type(value) not in _PLAIN and name[:2] != "__" and not _fixed(value, space):
            return False
    return True


def _fixed(value: Any, space: dict[str, Any]) -> bool:
    kind: Any = type(value)
    if kind in _PLAIN:
        return True
    if kind in (tuple, frozenset):
        return all(_fixed(item, space) for item in value)
    if kind is types.FunctionType and value.__globals__ is space:
        if value.__closure__ is not None or value.__dict__:
            return False
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        return not defaults or all(_fixed(item, space) for item in defaults)
    if kind is types.ModuleType:
        return value.__name__ in _MODULES
    if kind in _IMPORTED:
        # `collections` has its C part in `_collections`, and so have others.
        return str(value.__module__).lstrip("_") in _MODULES or value.__module__ == "builtins"
    return kind.__module__ == "typing" or kind is types.GenericAlias or kind.__module__ == "__future__"
