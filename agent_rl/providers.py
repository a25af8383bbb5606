"""`choose_provider`: which sandbox a run gets, and why, in one line for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent_rl.config import SandboxConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import SandboxError
from agent_rl.registry import registered, resolve

GROUP = "agent_rl.sandboxes"
PREFERENCE = ("docker", "local")
"""What `auto` tries, in this order."""


async def choose_provider(config: SandboxConfig, say: Callable[[str], None] = print) -> SandboxProvider:
    """The provider that `config` names, not yet started; `say` is told which one it is and why.

    `auto` is Docker where a daemon answers and the image is there, else the local sandbox. Nothing weaker is ever
    taken silently: where neither can work, SandboxError says of each what is missing and what to do.

    Raises ConfigError for a provider that is not registered.
    """
    if config.provider != "auto":
        provider = make_provider(config.provider, config)
        say(f"sandbox: {config.provider} (sandbox.provider = {config.provider!r})")
        return provider
    reasons: list[str] = []
    for name in PREFERENCE:
        if name not in registered(GROUP):
            reasons.append(f"{name}: not installed")
            continue
        reason = await unavailable(name, config)
        if reason is None:
            why = f"not {'; '.join(reasons)}" if reasons else "a daemon answers and the image is built"
            say(f"sandbox: {name} ({why})")
            return make_provider(name, config)
        reasons.append(f"{name}: {reason}")
    raise SandboxError(
        "no sandbox can be used on this machine, and programs are not run without one.\n  "
        + "\n  ".join(reasons)
        + "\n`agent-rl sandbox doctor` checks each thing that either needs and says how to mend it."
    )


async def unavailable(name: str, config: SandboxConfig) -> str | None:
    """Why the provider registered as `name` cannot be used here, with the remedy; None where it can."""
    provider_class = resolve(name, GROUP, key="sandbox.provider")
    return await provider_class.available(config)


def make_provider(name: str, config: SandboxConfig) -> SandboxProvider:
    """The provider that `name` names. Raises ConfigError where there is none of that name."""
    provider_class: Any = resolve(name, GROUP, key="sandbox.provider")
    return provider_class(config)
