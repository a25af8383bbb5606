"""A minimum of isolation and of tier holds for every command: what is weaker is refused, with one clear line."""

import json
from pathlib import Path

import pytest

from agent_rl.cli import main
from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from tests.component.cli import conftest
from tests.component.sandboxes.providers_by_level import BY_LEVEL, RefusedLocal

pytestmark = pytest.mark.local_sandbox

ENVIRONMENT = """
from agent_rl.contracts import Environment
from agent_rl.vocabulary import CallTests, Case, Message, Submission, Task

class Adds(Environment):
    async def load(self, split):
        tests = CallTests("add", (Case((1, 2), 3),))
        return [Task(f"adds/{split}", (Message.user("add"),), tests, tier="TIER",
                     oracle="def add(a, b): return a + b")]

    async def rollout(self, task, agent, sandbox):
        return Submission.code(await agent.say(task.prompt))
"""


class ContainerProvider(RefusedLocal):
    """The local sandbox on a host that gives no more than `container`."""

    def __init__(self, config: SandboxConfig, options: ProviderOptions) -> None:
        super().__init__(config, BY_LEVEL["local", "container"])


@pytest.fixture(autouse=True)
def weak_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """`weak-test` is registered beside the real providers."""
    conftest.register_sandbox(monkeypatch, "weak-test", f"{__file__}:ContainerProvider")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr().err


def config(folder: Path, tier: str, sandbox: str) -> Path:
    """A configuration whose one task is judged at `tier`."""
    (folder / "adds.py").write_text(ENVIRONMENT.replace("TIER", tier))
    (folder / "model").mkdir()
    path = folder / "run.toml"
    path.write_text(
        f'[[environments]]\nenvironment = "{folder}/adds.py:Adds"\n[model]\npath = "{folder}/model"\n'
        f'[sandbox]\nprovider = "weak-test"\nworkers = 1\n{sandbox}\n'
    )
    return path


def verify_command(folder: Path, task: dict[str, object], completion: str, *, workers: int = 1) -> tuple[object, ...]:
    """`verify` for one task and one solution, whose files are written to `folder`."""
    tasks, solutions = folder / "tasks.jsonl", folder / "solutions.jsonl"
    tasks.write_text(json.dumps(task) + "\n")
    solutions.write_text(json.dumps({"task_id": task["task_id"], "completion": completion}))
    return "verify", tasks, solutions, "--sandbox", "weak-test", "--workers", workers


GOLD = ("--policy", "gold", "--samples", "1", "--k", "1")
REFUSED = r"minimum_isolation = 'namespaces' is not available here, only 'container' (namespaces: clone with user, pid"


@pytest.mark.parametrize("command", [("train",), ("eval", *GOLD), ("doctor",)], ids=lambda command: command[0])
def test_a_sandbox_weaker_than_the_minimum_is_refused_before_anything_is_judged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, "values", 'minimum_isolation = "namespaces"')
    code = main([command[0], str(path), *command[1:]])
    captured = capsys.readouterr()
    print(captured.out, captured.err)
    assert REFUSED in captured.out + captured.err
    assert code == (1 if command[0] == "doctor" else 3)


def test_verify_refuses_it_too_and_judges_where_the_minimum_is_met(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = {
        "task_id": "adds/0",
        "prompt": "def add(a, b):\n",
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    }
    verify = verify_command(tmp_path, task, "    return a + b\n")
    code, error = run(capsys, *verify, "--minimum-isolation", "namespaces")
    assert (code, REFUSED in error) == (3, True)
    assert run(capsys, *verify, "--minimum-isolation", "container", "--minimum-tier", "values") == (0, "")


def test_verify_refuses_a_task_below_the_minimum_tier(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    task = {"task_id": 1, "text": "Count.", "code": "def f():\n    yield 1\n", "test_list": ["assert list(f()) == [1]"]}
    verify = verify_command(tmp_path, task, "def f():\n    return 1\n", workers=2)
    code, error = run(capsys, *verify, "--minimum-tier", "values")
    assert code == 2
    assert "sandbox.minimum_tier: task 1: its tests cannot be recorded as cases" in error
    assert main([str(a) for a in verify]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-3:-1] == ["passed 0, failed 1, excluded 0", "judged at tier proxied: 1"]
    assert out[-1].startswith("  task 1: failed: ")


def test_a_tier_weaker_than_the_minimum_is_a_mistake_that_names_the_task(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, "in_process", 'minimum_tier = "proxied"')
    code, error = run(capsys, "eval", path, *GOLD)
    assert "sandbox.minimum_tier: task adds/test is judged at tier 'in_process'" in error
    assert code == 2
    (tmp_path / "other").mkdir()
    strong = config(tmp_path / "other", "values", 'minimum_tier = "values"')
    assert run(capsys, "eval", strong, *GOLD) == (0, "")


def test_a_level_that_there_is_none_of_names_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, error = run(capsys, "train", config(tmp_path, "values", 'minimum_isolation = "namespace"'))
    assert code == 2
    assert "sandbox.minimum_isolation: " in error
    assert "did you mean 'namespaces'?" in error
