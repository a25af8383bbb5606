"""`choose_provider`: chooses the sandbox provider of a run, and tells the user why in one line."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from agent_rl.config import SandboxConfig, config_error
from agent_rl.contracts import ProviderOptions, SandboxProvider
from agent_rl.errors import ConfigError, SandboxError
from agent_rl.registry import registered, resolve

GROUP = "agent_rl.sandboxes"


async def choose_provider(config: SandboxConfig, say: Callable[[str], None] = print) -> SandboxProvider:
    """The provider that `config` names, not yet started. `say` gets a line with the chosen provider and the reason.

    `auto` is the first of `tried_by_auto` that can be used. If `config` has tables of single providers, `auto` tries
    only these providers, so that no option is dropped silently. It never chooses anything weaker silently: if no
    provider works, SandboxError says for each what is missing and what to do.

    Raises ConfigError for a provider that is not registered, and for wrong options.
    """
    check_sandbox_options(config)
    if config.provider != "auto":
        provider = make_provider(config.provider, config)
        say(f"sandbox: {config.provider} (sandbox.provider = {config.provider!r})")
        return provider
    reasons: list[str] = []
    for name in tried_by_auto():
        reason = await unavailable(name, config)
        if reason is None:
            why = f"cannot use {'; '.join(reasons)}" if reasons else provider_class(name).usable_means
            say(f"sandbox: {name} ({why})")
            return make_provider(name, config)
        reasons.append(f"{name}: {reason}")
    raise SandboxError(
        "no sandbox can be used on this machine, and programs are not run without one.\n  "
        + "\n  ".join(reasons or ["no provider that `auto` tries is installed"])
        + "\n`agent-rl sandbox doctor` checks everything that they need and says how to fix it."
    )


def tried_by_auto() -> list[str]:
    """The registered providers that `auto` tries, in this order: see `SandboxProvider.auto_order`.

    Raises ConfigError if a registered provider cannot be loaded: it might have been the one to take.
    """
    places = {name: provider_class(name).auto_order for name in registered(GROUP)}
    return [name for _, name in sorted((place, name) for name, place in places.items() if place is not None)]


def check_sandbox_options(config: SandboxConfig) -> None:
    """Every provider that may be chosen has valid options, and there is no table for any other. Starts nothing.

    Raises ConfigError with the key.
    """
    if config.provider != "auto":
        provider_options(config.provider, config)
    may_be_taken = tried_by_auto() if config.provider == "auto" else [_table_of(config.provider)]
    for table in config.tables:
        if table not in may_be_taken:
            raise _unused(table, config.provider)
        if config.provider == "auto":
            provider_options(table, config)


def _unused(table: str, provider: str) -> ConfigError:
    """The error for a table that none of the providers that may be chosen reads."""
    known = sorted(registered(GROUP))
    if table not in known:
        return ConfigError(
            f"no provider of this name is registered ({', '.join(known)})",
            key=f"sandbox.{table}",
            value=table,
            valid=known,
        )
    return ConfigError(
        f"this table is given, and provider = {provider!r} does not read it: set provider = {table!r}",
        key=f"sandbox.{table}",
    )


async def unavailable(name: str, config: SandboxConfig) -> str | None:
    """Why the provider registered as `name` cannot be used here, with the remedy; None if it can be used.

    If another provider has a table and this one has none, this one is not used: it would ignore that table's options.
    """
    if config.tables and _table_of(name) not in config.tables:
        given = " and ".join(f"[sandbox.{table}]" for table in config.tables)
        return f"skipped, because it ignores {given} (add an empty [sandbox.{_table_of(name)}] to allow it too)"
    return await provider_class(name).available(config, provider_options(name, config))


def make_provider(name: str, config: SandboxConfig) -> SandboxProvider:
    """The provider that `name` names. Raises ConfigError if there is none of that name, or its options are wrong."""
    return provider_class(name)(config, provider_options(name, config))


def provider_class(name: str) -> type[SandboxProvider]:
    """The class that `name` names. Raises ConfigError if there is none."""
    found = resolve(name, GROUP, key="sandbox.provider")
    if not (isinstance(found, type) and issubclass(found, SandboxProvider)):
        raise ConfigError(f"{name} is not a SandboxProvider", key="sandbox.provider")
    return found


def provider_options(name: str, config: SandboxConfig) -> ProviderOptions:
    """The table of `config` for the provider that `name` names, validated by it. Raises ConfigError."""
    table, schema = _table_of(name), provider_class(name).options_class
    try:
        return schema.model_validate(config.tables.get(table, {}))
    except ValidationError as error:
        raise config_error(error, schema, f"[sandbox.{table}]", prefix=f"sandbox.{table}.") from None


def _table_of(name: str) -> str:
    """The name of a provider's table: its short name, or its class's `name` if it is given as `module:Class`."""
    return provider_class(name).name if ":" in name else name
