"""Names the component tests of what was changed, the nearest first: `make check` runs these.

Changed is what differs from where this branch left its base (`--base`; origin's main branch where none is given), with
what is not committed. A test file is concerned where it reaches a changed file by imports; its distance is the number
of imports between them. A module that is only named in a string, as `package.module:Class`, counts as imported.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"agent_rl": "", "agent_rl_envs": "envs", "agent_rl_sandboxes": "sandboxes", "tests": ""}
"""Of each top-level package the folder in which it lies."""
LAYER = "tests/component/"
_DOTTED = re.compile(rf"\b(?:{'|'.join(SOURCES)})(?:\.\w+)+")


def python_files(root: Path) -> dict[str, Path]:
    """Of each module of the project its file."""
    found: dict[str, Path] = {}
    for package, folder in SOURCES.items():
        for file in sorted((root / folder / package).rglob("*.py")):
            parts = file.relative_to(root / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def named_modules(source: str) -> set[str]:
    """Dotted names that a file imports, anywhere in it, or has in a string."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(_DOTTED.findall(node.value))
    return names


def imports(root: Path) -> dict[Path, set[Path]]:
    """Of each file of the project those that it imports; a conftest.py is imported by all files in its folder."""
    modules = python_files(root)
    graph: dict[Path, set[Path]] = {}
    for file in modules.values():
        reached = graph.setdefault(file, set())
        for name in named_modules(file.read_text()):
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and modules[name] != file:
                reached.add(modules[name])
    for file in [f for f in graph if f.name == "conftest.py"]:
        for other in graph:
            if other != file and file.parent in other.parents:
                graph[other].add(file)
    return graph


def distances(graph: Mapping[Path, set[Path]], changed: Iterable[Path]) -> dict[Path, int]:
    """Of each file that reaches a changed one the least number of imports between them."""
    importers: dict[Path, set[Path]] = {}
    for file, reached in graph.items():
        for other in reached:
            importers.setdefault(other, set()).add(file)
    found = dict.fromkeys(changed, 0)
    waiting = deque(found)
    while waiting:
        file = waiting.popleft()
        for importer in sorted(importers.get(file, ())):
            if importer not in found:
                found[importer] = found[file] + 1
                waiting.append(importer)
    return found


def component_tests(root: Path, changed: Iterable[str]) -> list[str]:
    """The component layer's test files that are concerned, the nearest first.

    A changed file that is no Python counts as changed each Python file that names it, and the modules beside it.
    """
    graph = imports(root)
    touched: set[Path] = set()
    for name in changed:
        file = root / name
        if file.suffix == ".py":
            touched.add(file)
            continue
        touched |= {f for f in graph if f.parent == file.parent or file.name in f.read_text()}
    found = distances(graph, sorted(touched))
    tests = [(at, str(f.relative_to(root))) for f, at in found.items() if f.name.startswith("test_") and f.exists()]
    return [name for _, name in sorted(tests) if name.startswith(LAYER)]


def changed_files(root: Path, base: str | None) -> list[str]:
    """Files that differ from the base or are new to git, as paths below `root`."""
    start = _fork_point(root, base)
    changed = _git(root, "diff", "--name-only", "--no-renames", start).splitlines()
    return sorted({*changed, *_git(root, "ls-files", "--others", "--exclude-standard").splitlines()})


def _fork_point(root: Path, base: str | None) -> str:
    """The commit where this branch left its base; HEAD where there is no such base."""
    for name in [base] if base else ["origin/HEAD", "origin/main", "main"]:
        try:
            return _git(root, "merge-base", "HEAD", name).strip()
        except subprocess.CalledProcessError:
            if base:
                raise SystemExit(f"--base: git knows no {base!r}") from None
    return "HEAD"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="what to compare with: a branch or a commit")
    for name in component_tests(ROOT, changed_files(ROOT, parser.parse_args().base)):
        print(name)
