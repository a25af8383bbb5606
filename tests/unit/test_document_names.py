"""The documents name files, modules, tests and functions that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import agent_rl

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FOLDERS = ("agent_rl", "envs", "sandboxes", "tests", "scripts", "configs", "docs")
SOURCES = {"agent_rl": ".", "agent_rl_envs": "envs", "agent_rl_sandboxes": "sandboxes"}
EXAMPLES = {"path/to/file.py", "setup.py", "solution.py", "unit_conversion.py", "utils.py"}
"""Files that a document names although this project does not have them."""
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def quoted(text: str) -> list[str]:
    """What stands between single backticks, outside of blocks of code."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text))


@cache
def files() -> frozenset[str]:
    """Every file of the project, and every folder, by its path from the root."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    paths += [path for path in ROOT.iterdir() if path.is_file()]
    return frozenset(path.relative_to(ROOT).as_posix() for path in paths) | frozenset(FOLDERS)


def missing_file(name: str) -> bool:
    """Whether `name` is the name of a file or folder (such as `a/b.py`, `b.py` or `tests/unit`) that does not exist."""
    path = name.partition(":")[0].rstrip("/")
    whole = re.fullmatch(r"[\w./-]+", path) is not None
    if not whole or path in EXAMPLES or not (path.endswith(".py") or (path.split("/")[0] in FOLDERS and "/" in path)):
        return False
    return not any(file == path or file.endswith(f"/{path}") for file in files())


@cache
def known_tests() -> frozenset[str]:
    """The names of all test functions."""
    paths = (ROOT / "tests").rglob("*.py")
    return frozenset(re.findall(r"def (test_\w+)", "\n".join(path.read_text(encoding="utf-8") for path in paths)))


def missing_test(name: str) -> bool:
    """Whether `name` reads like the name of a test (`test_` and at least three words) that does not exist."""
    return name.startswith("test_") and name.count("_") > 2 and name not in known_tests()


def missing_module(name: str) -> bool:
    """Whether `name` begins with one of our packages (`agent_rl.config.load_config`) and names nothing in it."""
    parts = name.split(".")
    if len(parts) < 2 or parts[0] not in SOURCES or not all(part.isidentifier() for part in parts):
        return False
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    if name in groups or name == "agent_rl.__all__" or (parts[0] == "agent_rl" and parts[1] in agent_rl.__all__):
        return False
    folder = ROOT / SOURCES[parts[0]]
    for length in range(len(parts), 0, -1):
        base = folder.joinpath(*parts[:length])
        module = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if module.is_file():
            return not set(parts[length:]) <= defined(module.read_text(encoding="utf-8"))
    return True


def defined(source: str) -> set[str]:
    """The names of everything in a module: functions, classes, methods, fields, variables, imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


@cache
def all_names() -> frozenset[str]:
    """Every name that a module of the three packages defines, and the modules' own names."""
    names: set[str] = set()
    for package, folder in SOURCES.items():
        for path in (ROOT / folder / package).rglob("*.py"):
            names |= defined(path.read_text(encoding="utf-8")) | {path.stem}
            names.add(path.parent.name)
    return frozenset(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_modules_and_tests_that_a_document_names_exist(page: Path) -> None:
    names = quoted(page.read_text(encoding="utf-8"))
    assert [name for name in names if missing_file(name) or missing_module(name) or missing_test(name)] == []


def test_functions_and_classes_of_the_architecture_exist() -> None:
    names = [name for name in quoted(ARCHITECTURE.read_text(encoding="utf-8")) if re.fullmatch(r"[\w.]+", name)]
    names = [name for name in names if not name.endswith((".py", ".toml"))]
    assert len(names) > 50
    assert [name for name in names if not set(name.split(".")) <= all_names()] == []


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("agent_rl/loop/train.py", False),
        ("loop/train.py", False),
        ("train.py", False),
        ("rain.py", True),
        ("loop/no_such_file.py", True),
        ("tests/unit", False),
        ("tests/no_such_folder/", True),
        ("path/to/file.py:Class", False),
        ("make lint", False),
        ("agent_rl.testing.contracts", False),
        ("agent_rl.testing.no_such_module", True),
        ("agent_rl.config.load_config", False),
        ("agent_rl.config.no_such_function", True),
        ("agent_rl.Policy", False),
        ("agent_rl.sandboxes", False),
        ("loop.max_staleness", False),
        ("test_what_is_missing_is_found", False),
        ("test_that_nobody_wrote", True),
    ],
)
def test_what_is_missing_is_found(name: str, missing: bool) -> None:
    assert (missing_file(name) or missing_module(name) or missing_test(name)) is missing
