"""Which sandbox a run gets: the first in order that works, else a refusal that says what to do."""

from typing import Any, ClassVar

import pytest

from agent_rl import providers as module
from agent_rl.config import SandboxConfig
from agent_rl.contracts import ProviderOptions
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.providers import check_sandbox_options, choose_provider
from agent_rl.testing.in_memory_sandbox import InMemoryProvider


class FakeOptions(ProviderOptions):
    """The options of a provider's own."""

    image: str | None = None
    sizes: tuple[int, ...] = ()


class FakeProvider(InMemoryProvider):
    """A provider that is available, or says why not."""

    reason: ClassVar[str | None] = None
    name = "fake"

    def __init__(self, config: SandboxConfig, options: Any) -> None:
        super().__init__()
        self.config, self.options = config, options

    @classmethod
    async def available(cls, config: SandboxConfig, options: Any) -> str | None:
        return cls.reason


def provider(
    reason: str | None, options: type[ProviderOptions] = ProviderOptions, order: int | None = None
) -> type[FakeProvider]:
    """A class that is available unless there is a `reason`. Without `order`, `auto` does not try it."""
    return type("Provider", (FakeProvider,), {"reason": reason, "options_class": options, "auto_order": order})


def docker(reason: str | None, options: type[ProviderOptions] = ProviderOptions) -> type[FakeProvider]:
    """A provider that `auto` tries first."""
    return provider(reason, options, order=1)


def local(reason: str | None, options: type[ProviderOptions] = ProviderOptions) -> type[FakeProvider]:
    """A provider that `auto` tries second."""
    return provider(reason, options, order=2)


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


async def test_the_first_in_order_is_taken_where_it_works(providers):
    providers.update(another=provider(None), local=local(None), docker=docker(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(), said.append)
    assert type(chosen) is providers["docker"]
    assert said == ["sandbox: docker (it can be used here)"]


async def test_else_the_next_one_and_the_reason_is_said(providers):
    providers.update(docker=docker("no daemon answers"), local=local(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(), said.append)
    assert type(chosen) is providers["local"]
    assert said == ["sandbox: local (cannot use docker: no daemon answers)"]


async def test_where_none_works_nothing_is_run(providers):
    providers.update(docker=docker("no daemon answers: start one"), local=local("no user namespaces"))
    with pytest.raises(SandboxError) as caught:
        await choose_provider(SandboxConfig(), lambda line: None)
    assert caught.value.exit_code == 3
    for part in ("docker: no daemon answers: start one", "local: no user namespaces", "agent-rl sandbox doctor"):
        assert part in str(caught.value)


async def test_without_the_first_provider_the_second_one_is_taken(providers):
    providers.update(another=provider(None))
    with pytest.raises(SandboxError, match="no provider that `auto` tries is installed"):
        await choose_provider(SandboxConfig(), lambda line: None)
    providers.update(local=local(None))
    assert type(await choose_provider(SandboxConfig(), lambda line: None)) is providers["local"]


async def test_one_that_is_named_is_taken_or_refused_never_replaced(providers):
    providers.update(docker=docker("no daemon answers"), local=local(None))
    said: list[str] = []
    chosen = await choose_provider(SandboxConfig(provider="docker"), said.append)
    assert type(chosen) is providers["docker"]  # it says itself, when it is started, why it cannot
    assert said == ["sandbox: docker (sandbox.provider = 'docker')"]
    with pytest.raises(ConfigError, match=r"sandbox.provider: not registered \(did you mean 'docker'\?\)"):
        await choose_provider(SandboxConfig(provider="dokcer"), lambda line: None)


# Tables of single providers


def config(provider: str = "auto", **tables: Any) -> SandboxConfig:
    return SandboxConfig.model_validate({"provider": provider, **tables})


async def test_a_provider_is_made_with_its_own_table(providers):
    providers.update(docker=docker(None, FakeOptions), local=local(None))
    chosen = await choose_provider(config("docker", docker={"image": "x", "sizes": [1, 2]}), lambda line: None)
    assert isinstance(chosen, FakeProvider)
    assert chosen.options == FakeOptions(image="x", sizes=(1, 2))
    without = await choose_provider(config("docker"), lambda line: None)
    assert isinstance(without, FakeProvider)
    assert without.options == FakeOptions()


@pytest.mark.parametrize("name", ["auto", "docker"])
def test_what_is_wrong_in_a_table_is_named_with_its_key(providers, name: str):
    providers.update(docker=docker(None, FakeOptions), local=local(None))
    known = r"sandbox\.docker\.imge: unknown key in \[sandbox\.docker\] \(did you mean 'image'\?\)"
    with pytest.raises(ConfigError, match=known):
        check_sandbox_options(config(name, docker={"imge": "x"}))
    with pytest.raises(ConfigError, match=r"sandbox\.docker\.image: Input should be a valid string, got 3"):
        check_sandbox_options(config(name, docker={"image": 3}))
    check_sandbox_options(config(name, docker={"image": "x"}))


def test_a_table_of_no_provider_names_those_that_there_are(providers):
    providers.update(docker=docker(None, FakeOptions), local=local(None))
    known = r"sandbox\.dokcer: no provider of this name is registered \(docker, local\) \(did you mean 'docker'\?\)"
    with pytest.raises(ConfigError, match=known):
        check_sandbox_options(config("local", dokcer={"image": "x"}))


@pytest.mark.parametrize("name", ["auto", "local"])
def test_a_table_that_nothing_reads_is_a_mistake(providers, name: str):
    providers.update(docker=docker(None, FakeOptions), local=local(None), other=provider(None, FakeOptions))
    says = rf"sandbox\.other: this table is given, and provider = '{name}' does not read it: set provider = 'other'"
    with pytest.raises(ConfigError, match=says):
        check_sandbox_options(config(name, other={"image": "x"}))


async def test_what_a_table_asks_for_is_never_dropped_by_taking_another_provider(providers):
    providers.update(docker=docker("no daemon answers", FakeOptions), local=local(None))
    with pytest.raises(SandboxError, match=r"local: skipped, because it ignores \[sandbox\.docker\]"):
        await choose_provider(config(docker={"image": "x"}), lambda line: None)
    said: list[str] = []
    chosen = await choose_provider(config(docker={"image": "x"}, local={}), said.append)
    assert type(chosen) is providers["local"]
    assert said == ["sandbox: local (cannot use docker: no daemon answers)"]


def test_one_that_is_named_by_its_class_has_a_table_of_its_own_name(providers):
    providers.update({"my.place:Provider": provider(None, FakeOptions)})
    check_sandbox_options(config("my.place:Provider", fake={"image": "x"}))
    with pytest.raises(ConfigError, match=r"sandbox\.fake\.image: Input should be a valid string"):
        check_sandbox_options(config("my.place:Provider", fake={"image": 1}))


def test_what_is_no_provider_is_not_taken_for_one(providers):
    providers.update({"my.place:Other": dict})
    with pytest.raises(ConfigError, match=r"sandbox\.provider: my\.place:Other is not a SandboxProvider"):
        check_sandbox_options(config("my.place:Other"))
