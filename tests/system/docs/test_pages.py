"""The documentation builds without a network, every link in it leads somewhere, and its examples work."""

from __future__ import annotations

import ast
import html.parser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import agent_rl
import agent_rl.testing
from agent_rl.testing.contracts import sandbox_contract

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Element -> the attribute by which a page loads something as soon as it is opened."""


def blocks(path: Path, language: str) -> list[str]:
    """The code of a page that is marked as being of `language`."""
    return [code for found, code in BLOCK.findall(path.read_text(encoding="utf-8")) if found == language]


class Page(html.parser.HTMLParser):
    """The anchors, the links and the things loaded of one built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[key] or "" for key in ("id", "name") if key in given}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        where = given.get(LOADING.get(tag, ""))
        if where and given.get("rel") != "canonical":
            self.loaded.append(where)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as `make docs` builds it; where the kernel allows it, in a namespace without a network."""
    pytest.importorskip("mkdocs", reason="the documentation needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0:
        command = [*alone, *command]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_every_link_leads_to_a_page_and_an_anchor(site: Path, built: dict[Path, Page]) -> None:
    assert len(built) > 15
    dead: list[str] = []
    for path, page in built.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # its links begin at the root of the server
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            fragment = unquote(parts.fragment)
            if not target.is_file() or (fragment and target in built and fragment not in built[target].anchors):
                dead.append(f"{path.relative_to(site.resolve())}: {link}")
    assert dead == []


@pytest.mark.slow
def test_no_page_loads_anything_from_outside(built: dict[Path, Page]) -> None:
    outside = {where for page in built.values() for where in page.loaded if urlsplit(where).netloc}
    assert outside == set()


@pytest.mark.slow
def test_the_reference_has_every_public_name(built: dict[Path, Page]) -> None:
    anchors = {anchor for page in built.values() for anchor in page.anchors}
    names = {f"agent_rl.{name}" for name in agent_rl.__all__}
    names |= {f"agent_rl.testing.{name}" for name in agent_rl.testing.__all__}
    assert names - anchors == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_can_be_read_and_import_only_what_is_public(path: Path) -> None:
    for code in blocks(path, "toml"):
        tomllib.loads(code)
    for code in blocks(path, "python"):
        tree = compile(code, str(path), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "agent_rl":
                assert {alias.name for alias in node.names} <= set(agent_rl.__all__)


@pytest.mark.parametrize("path", PAGES[:2], ids=lambda path: path.name)
def test_what_is_linked_from_outside_the_documentation_is_there(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_readme_fits_three_screens() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 125
    told = next(number for number, line in enumerate(lines) if "No GPU path has ever been run" in line)
    assert told < 20


@pytest.mark.slow
def test_the_example_of_a_conformance_suite_runs_it(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "docs/conformance.md", "python")
    (tmp_path / "test_my_provider.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", str(tmp_path)]
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "envs", "sandboxes"))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= len(sandbox_contract.__all__), "every test of the suite, some with several parameters"
    assert "skipped" not in done.stdout


def test_without_pytest_the_suites_say_what_is_missing() -> None:
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.startswith("pytest") else find(name, package)
import agent_rl.testing
try:
    import agent_rl.testing.contracts
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "the conformance suites need pytest and pytest-asyncio: pip install pytest pytest-asyncio\n"
