"""What the tests of the command line share: a sandbox provider, a configuration, and a tokenizer without a template."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agent_rl import registry
from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from agent_rl.testing.in_memory_sandbox import InMemoryProvider

ENVIRONMENT = """
from agent_rl.contracts import Environment
from agent_rl.vocabulary import AnswerTests, Message, Task, Verdict

class Echo(Environment):
    async def load(self, split):
        return [Task(f"echo/{split}/{n}", (Message.user(f"{split} {n}"),), AnswerTests("yes"), oracle="yes")
                for n in range(3)]

    async def rollout(self, task, agent, sandbox):
        passed = await agent.say(task.prompt) == "yes"
        return Verdict(passed, "passed" if passed else "failed", "values", None)
"""

CONFIG = """
[[environments]]
environment = "{environment}"
[model]
path = "{model}"
"""


class MemoryProvider(InMemoryProvider):
    """The in-memory sandbox as a registered provider: `--sandbox memory-test`."""

    def __init__(self, config: SandboxConfig, options: ProviderOptions) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def memory_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memory-test` is registered beside the real providers."""
    register_sandbox(monkeypatch, "memory-test", f"{__file__}:MemoryProvider")


def register_sandbox(monkeypatch: pytest.MonkeyPatch, name: str, provider: str) -> None:
    """The class that `provider` (`path:Class`) names is registered beside the real providers, as `name`."""
    real = registry.entry_points

    def entry_points(*, group: str) -> list[EntryPoint]:
        own = [EntryPoint(name, provider, group)] if group == "agent_rl.sandboxes" else []
        return [*real(group=group), *own]

    # Not `registered`: a module that is imported in the meantime would keep the replaced one.
    monkeypatch.setattr(registry, "entry_points", entry_points)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid configuration; its environment needs no sandbox, its model is an empty folder."""
    (tmp_path / "echo.py").write_text(ENVIRONMENT)
    (tmp_path / "model").mkdir()
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(environment=f"{tmp_path}/echo.py:Echo", model=tmp_path / "model"))
    return path


@pytest.fixture
def tiny_tokenizer() -> Callable[[Path], None]:
    """Writes a model's folder with a tokenizer of three words, a configuration, and no chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    def write(folder: Path) -> None:
        Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
        (folder / "config.json").write_text('{"max_position_embeddings": 64}')

    return write
