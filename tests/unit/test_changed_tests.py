"""Which component tests are concerned by a change, and in which order."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/changed_tests.py as a module."""
    script = Path(__file__).parents[2] / "scripts" / "changed_tests.py"
    spec = importlib.util.spec_from_file_location("changed_tests_for_tests", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes files and gives their folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


FILES = {
    "agent_rl/__init__.py": "",
    "agent_rl/low.py": "",
    "agent_rl/middle.py": "def f():\n    from agent_rl.low import x\n",
    "agent_rl/top.py": "import agent_rl.middle\n",
    "agent_rl/apart.py": "",
    "agent_rl/style.css": "",
    "agent_rl/pages/__init__.py": "",
    "agent_rl/pages/page.py": "STYLE = 'style.css'\n",
    "envs/agent_rl_envs/named.py": "CLASS = 'agent_rl.low:Class'\n",
    "tests/component/test_top.py": "from agent_rl import top\n",
    "tests/component/test_low.py": "from agent_rl.low import x\n",
    "tests/component/test_named.py": "from agent_rl_envs.named import CLASS\n",
    "tests/component/test_apart.py": "from agent_rl import apart\n",
    "tests/component/test_page.py": "from agent_rl.pages import page\n",
    "tests/component/inside/conftest.py": "from tests.component.helper import x\n",
    "tests/component/inside/test_fixture.py": "",
    "tests/component/helper.py": "",
    "tests/system/test_whole.py": "from agent_rl.low import x\n",
}


@pytest.mark.parametrize(
    ("names", "concerned"),
    [
        # One import away; then two, by a string in an environment; then three, one of them inside a function.
        (["agent_rl/low.py"], ["test_low.py", "test_named.py", "test_top.py"]),
        (["agent_rl/apart.py"], ["test_apart.py"]),
        (["agent_rl/middle.py", "agent_rl/apart.py"], ["test_apart.py", "test_top.py"]),
        (["tests/component/test_low.py"], ["test_low.py"]),
        # Through the conftest of its folder.
        (["tests/component/helper.py"], ["inside/test_fixture.py"]),
        (["README.md"], []),
        (["agent_rl/gone.py"], []),
    ],
)
def test_the_nearest_tests_come_first(
    changed: ModuleType, tree: Callable[[dict[str, str]], Path], names: list[str], concerned: list[str]
) -> None:
    root = tree(FILES)
    assert changed.component_tests(root, names) == [f"tests/component/{name}" for name in concerned]


def test_a_file_that_is_no_python_is_what_names_it_and_what_lies_beside_it(
    changed: ModuleType, tree: Callable[[dict[str, str]], Path]
) -> None:
    found = changed.component_tests(tree(FILES), ["agent_rl/style.css"])
    # The modules beside it are all that lie in agent_rl/ itself.
    assert sorted(found) == [f"tests/component/test_{name}.py" for name in ("apart", "low", "named", "page", "top")]


def test_every_component_test_of_this_project_is_reached_by_what_it_tests(changed: ModuleType) -> None:
    everything = [str(f.relative_to(changed.ROOT)) for f in changed.python_files(changed.ROOT).values()]
    expected = sorted(str(f.relative_to(changed.ROOT)) for f in (changed.ROOT / changed.LAYER).rglob("test_*.py"))
    assert sorted(changed.component_tests(changed.ROOT, everything)) == expected
    assert len(expected) > 20
    concerned = changed.component_tests(changed.ROOT, ["agent_rl/learner/token_tree.py"])
    assert concerned[0] == "tests/component/learner/test_token_tree.py"
