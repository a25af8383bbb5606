"""What importing loads: nothing heavy in the core, and no environment or sandbox by name."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "accelerate", "vllm", "docker", "ray", "datasets", "matplotlib")


def modules_after(statement: str) -> set[str]:
    """The top-level modules that are loaded after `statement`, in a process of its own."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "envs", "sandboxes"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import agent_rl",
        "import agent_rl.contracts, agent_rl.vocabulary, agent_rl.config, agent_rl.registry, agent_rl.errors",
        "import agent_rl.cli",
        "import agent_rl.rollouts.run_group, agent_rl.judging.call_judge, agent_rl.evaluation",
        "import agent_rl_sandboxes.remote_provider, agent_rl_sandboxes.serving.serve_command",
    ],
)
def test_the_core_loads_nothing_heavy(statement):
    assert not modules_after(statement) & set(HEAVY)


def test_the_controllers_process_loads_no_torch():
    loaded = modules_after("import agent_rl.loop.train")
    assert not loaded & {"torch", "transformers", "accelerate", "vllm", "ray"}


def test_loading_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, agent_rl.rollouts.run_group, agent_rl.rollouts.pack\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def imported_names(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_library_never_imports_environments_or_sandboxes_by_name():
    files = sorted((ROOT / "agent_rl").rglob("*.py"))
    assert len(files) > 50
    wrong = {str(f.relative_to(ROOT)) for f in files if imported_names(f) & {"agent_rl_envs", "agent_rl_sandboxes"}}
    assert wrong == set()


def test_environments_use_only_what_a_users_own_would_use():
    rooms = {"contracts", "vocabulary", "errors", "registry", "formats", "rollouts"}
    names = {"agent_rl.file_sets", "agent_rl.judging.archives"}
    wrong: dict[str, set[str]] = {}
    for path in sorted((ROOT / "envs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("agent_rl."):
                part = node.module.split(".")[1]
                if part not in rooms and node.module not in names:
                    wrong.setdefault(path.name, set()).add(node.module)
    assert wrong == {}


@pytest.mark.parametrize("folder", ["agent_rl", "envs/agent_rl_envs", "sandboxes/agent_rl_sandboxes"])
def test_the_packages_are_typed(folder):
    assert (ROOT / folder / "py.typed").is_file()


def test_what_runs_inside_vllm_needs_nothing_but_what_vllm_has() -> None:
    # vLLM's interpreter has pydantic and aiohttp, and neither tomli_w nor docker.
    absent = "import sys; sys.modules.update(tomli_w=None, docker=None, tomlkit=None, typer=None)\n"
    program = absent + "import agent_rl.inference.vllm.plugin, agent_rl.contracts, agent_rl.weights.blobs"
    subprocess.run([sys.executable, "-c", program], check=True)
