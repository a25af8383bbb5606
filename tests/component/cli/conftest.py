"""What the tests of the command line share: a sandbox provider for tests, and a tokenizer without a chat template."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from agent_rl import registry
from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from agent_rl.testing.in_memory_sandbox import InMemoryProvider


class MemoryProvider(InMemoryProvider):
    """The in-memory sandbox as a registered provider: `--sandbox memory-test`."""

    def __init__(self, config: SandboxConfig, options: ProviderOptions) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def memory_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """`memory-test` is registered beside the real providers."""
    real = registry.registered

    def registered(group: str) -> dict[str, object]:
        points = dict(real(group))
        if group == "agent_rl.sandboxes":
            points["memory-test"] = EntryPoint("memory-test", f"{__file__}:MemoryProvider", group)
        return points

    monkeypatch.setattr(registry, "registered", registered)


@pytest.fixture
def tiny_tokenizer() -> Callable[[Path], None]:
    """Writes a model's folder with a tokenizer of three words, a configuration, and no chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    def write(folder: Path) -> None:
        Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
        (folder / "config.json").write_text('{"max_position_embeddings": 64}')

    return write
