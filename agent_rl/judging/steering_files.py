"""Files of a submission that also configure pytest: everything in them counts, but for the part that pytest reads.

That part is replaced by the task's own, so that an agent may add a dependency to pyproject.toml and cannot deselect a
test there.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import PurePosixPath
from typing import Any

SHARED = frozenset({"pyproject.toml", "setup.cfg", "tox.ini"})
_TOML_HEADER = re.compile(r"^\s*\[{1,2}\s*([\w\"'. \-]+?)\s*\]{1,2}\s*(?:#.*)?$")
_INI_HEADER = re.compile(r"^\[([^\]]+)\]")
_PYTEST = ("pytest", "tool:pytest", "tool.pytest")


def with_own_pytest_part(path: str, submitted: bytes, own: bytes | None) -> bytes | None:
    """The `submitted` file with the pytest part of the task's `own`; None if it cannot be told apart: use the own."""
    toml = PurePosixPath(path).suffix == ".toml"
    try:
        text, own_text = submitted.decode(), "" if own is None else own.decode()
    except UnicodeDecodeError:
        return None
    if toml and _rest(text)[1] == _rest(own_text)[1] is not None:
        return submitted
    rest, _ = _split(text, toml)
    part = _split(own_text, toml)[1]
    merged = rest + ("\n" if rest and part and not rest.endswith("\n") else "") + part
    if toml:
        if _rest(text)[0] is None or _rest(merged) != (_rest(text)[0], _rest(own_text)[1]):
            return None
    elif not toml and part == _split(text, toml)[1]:
        return submitted
    return merged.encode()


def configures_pytest(path: str, content: bytes) -> bool:
    """Whether pytest takes the file at `path` for its configuration."""
    text = content.decode("utf-8", "replace")
    name = PurePosixPath(path).name
    if name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml"):
        return True
    return name in SHARED and bool(_split(text, name.endswith(".toml"))[1])


def _split(text: str, toml: bool) -> tuple[str, str]:
    """(the rest, the lines of the tables and sections that pytest reads)."""
    header = _TOML_HEADER if toml else _INI_HEADER
    parts: tuple[list[str], list[str]] = ([], [])
    inside = False
    for line in text.splitlines(keepends=True):
        if (found := header.match(line)) is not None:
            name = re.sub(r"[\"'\s]", "", found[1])
            inside = name in _PYTEST or name.startswith("tool.pytest.")
        parts[inside].append(line)
    return "".join(parts[0]), "".join(parts[1])


def _rest(text: str) -> tuple[Any, Any]:
    """(the content of a TOML file without the part for pytest, that part); (None, None) if it cannot be read."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None, None
    tool = content.get("tool")
    if not isinstance(tool, dict):
        return content, {}
    pytest: Any = tool.pop("pytest", {})  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not tool:
        del content["tool"]
    return content, pytest
