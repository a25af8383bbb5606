"""One name for one thing: no type and no file of the three packages has the name of another."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent_rl", "envs/agent_rl_envs", "sandboxes/agent_rl_sandboxes")


def type_names(source: str) -> Iterator[str]:
    """The types that a module defines, private ones too: classes, and names like theirs that are assigned (aliases)."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name) and _like_a_type(t.id))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and _like_a_type(node.target.id):
            yield node.target.id


def _like_a_type(name: str) -> bool:
    """CapWords. A name of capitals alone is a constant; so is a type variable of one letter, which is nobody's noun."""
    return name.lstrip("_")[:1].isupper() and not name.isupper()


def defined_twice(files: dict[str, str]) -> dict[str, list[str]]:
    """Type name -> the files that define it, if these are several. `files` is path -> source.

    Leading underscores do not count: a private `_Run` and a public `Run` are two things with one name.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for path, source in files.items():
        for name in type_names(source):
            found[name.lstrip("_")].append(path)
    return {name: paths for name, paths in sorted(found.items()) if len(paths) > 1}


def sources() -> dict[str, str]:
    """Path -> source of every module of the three packages."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_no_type_name_is_defined_twice() -> None:
    files = sources()
    assert len(files) > 200
    assert defined_twice(files) == {}


def test_no_file_name_is_given_twice() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        found[Path(path).name].append(path)
    del found["__init__.py"]
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    ("first", "second", "twice"),
    [
        ("class Row: ...", "class Row: ...", ["Row"]),
        ("class _Row: ...", "class _Row: ...", ["Row"]),
        ("class _Row: ...", "class Row: ...", ["Row"]),
        ("Say = Callable[[str], None]", "Say: TypeAlias = Callable[[str], None]", ["Say"]),
        ("_Node = TypeVar('_Node')", "class _Node: ...", ["Node"]),
        ("T = TypeVar('T')\nLIMIT = 3\nhere = 1", "T = TypeVar('T')\nLIMIT = 3\nhere = 1", []),
        ("def f():\n    class Row: ...", "class Row: ...", []),
    ],
)
def test_names_are_found_however_they_are_defined(first: str, second: str, twice: list[str]) -> None:
    assert list(defined_twice({"a.py": first, "b.py": second})) == twice
