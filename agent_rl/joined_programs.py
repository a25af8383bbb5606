"""Puts parts of a program together. `from __future__` imports come first, as Python demands. Nothing is run here."""

from __future__ import annotations

import ast
import threading
import warnings

MAX_CHARS = 1 << 18
"""Longer texts are not parsed."""
_NAME = "<a program>"
_ONE_AT_A_TIME = threading.Lock()


def parsed(text: str) -> ast.Module | SyntaxError:
    """The tree of an untrusted program, or why there is none. Says nothing, whatever the program's strings hold."""
    if len(text) > MAX_CHARS:
        return SyntaxError(f"more than {MAX_CHARS} characters")
    # The filter names our own file: should another thread restore it later, it does no harm.
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=_NAME)
        try:
            return ast.parse(text, _NAME)
        except SyntaxError as error:
            return error
        except (ValueError, MemoryError, RecursionError) as error:
            return SyntaxError(f"{type(error).__name__}: {error}")


def joined(*parts: str) -> str:
    """One program of `parts`, with empty lines between them. A single part is unchanged.

    The `from __future__` imports with which parts begin are moved to the front.
    """
    filled = [part for part in parts if part.strip()]
    if len(filled) < 2:
        return "".join(filled)
    features: dict[str, None] = {}
    rest = [_without_future(part, features) for part in filled]
    front = [f"from __future__ import {', '.join(features)}"] if features else []
    return "\n\n".join([*front, *(part.strip("\n") for part in rest)]) + "\n"


def _without_future(part: str, features: dict[str, None]) -> str:
    """`part` without the `from __future__` imports at its beginning, whose names are added to `features`."""
    if "__future__" not in part:
        return part
    tree = parsed(part)
    if isinstance(tree, SyntaxError):
        return _without_future_lines(part, features)
    # Columns count bytes, and lines end as Python's do: a form feed ends none.
    lines = [line.encode() for line in part.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    found: list[ast.ImportFrom] = []
    for number, statement in enumerate(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            found.append(statement)
        elif number or not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            break  # only the docstring may stand before them
    for statement in found:
        names = (f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in statement.names)
        features.update(dict.fromkeys(names))
    for statement in reversed(found):
        first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
        lines[first] = lines[first][: statement.col_offset] + b"pass" + lines[last][statement.end_col_offset :]
        lines[first + 1 : last + 1] = [b""] * (last - first)
    return b"\n".join(lines).decode()


def _without_future_lines(part: str, features: dict[str, None]) -> str:
    """The same for a part that cannot be parsed here: whole lines at its beginning, among comments and empty lines."""
    lines = part.split("\n")
    for number, line in enumerate(lines):
        words = line.partition("#")[0].strip()
        if words.startswith("from __future__ import ") and not set("();\\") & set(words):
            features.update(dict.fromkeys(name.strip() for name in words[len("from __future__ import ") :].split(",")))
            lines[number] = ""
        elif words:
            break
    return "\n".join(lines)
