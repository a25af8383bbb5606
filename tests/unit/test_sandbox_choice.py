"""Which sandbox a run gets: Docker where it works, else local, else a refusal that says what to do."""

from typing import ClassVar

import pytest

from agent_rl import providers as module
from agent_rl.config import SandboxConfig
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.providers import choose_provider


class FakeProvider:
    """A provider that is available, or says why not."""

    reason: ClassVar[str | None] = None

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config

    @classmethod
    async def available(cls, config: SandboxConfig) -> str | None:
        return cls.reason


def provider(reason: str | None) -> type[FakeProvider]:
    return type("Provider", (FakeProvider,), {"reason": reason})


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[FakeProvider]]:
    """What is registered, to be filled by the test."""
    known: dict[str, type[FakeProvider]] = {}

    def resolve(name: str, group: str, *, key: str) -> type[FakeProvider]:
        if name not in known:
            raise ConfigError("not registered", key=key, value=name, valid=known)
        return known[name]

    monkeypatch.setattr(module, "registered", lambda group: known)
    monkeypatch.setattr(module, "resolve", resolve)
    return known


async def test_docker_is_taken_where_it_works(providers):
    providers.update(docker=provider(None), local=provider(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(), said.append)
    assert type(chosen) is providers["docker"]
    assert said == ["sandbox: docker (a daemon answers and the image is built)"]


async def test_else_the_local_one_and_the_reason_is_said(providers):
    providers.update(docker=provider("no daemon answers"), local=provider(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(), said.append)
    assert type(chosen) is providers["local"]
    assert said == ["sandbox: local (not docker: no daemon answers)"]


async def test_where_neither_works_nothing_is_run(providers):
    providers.update(docker=provider("no daemon answers: start one"), local=provider("no user namespaces"))
    with pytest.raises(SandboxError) as caught:
        await choose_provider(SandboxConfig(), lambda line: None)
    assert caught.value.exit_code == 3
    for part in ("docker: no daemon answers: start one", "local: no user namespaces", "agent-rl sandbox doctor"):
        assert part in str(caught.value)


async def test_a_provider_that_is_not_installed_is_one_that_cannot_be_used(providers):
    with pytest.raises(SandboxError, match="docker: not installed"):
        await choose_provider(SandboxConfig(), lambda line: None)


async def test_one_that_is_named_is_taken_or_refused_never_replaced(providers):
    providers.update(docker=provider("no daemon answers"), local=provider(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(provider="docker"), said.append)
    assert type(chosen) is providers["docker"]  # it says itself, when it is started, why it cannot
    assert said == ["sandbox: docker (sandbox.provider = 'docker')"]
    with pytest.raises(ConfigError, match=r"sandbox.provider: not registered \(did you mean 'docker'\?\)"):
        await choose_provider(SandboxConfig(provider="dokcer"), lambda line: None)
