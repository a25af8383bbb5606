"""Options that several commands share, with their help texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_rl.errors import ConfigError

SetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the configuration, as often as needed: --set loop.steps=20 "
        "--set environments.0.weight=2.0. Values are TOML; what is not TOML is taken as text.",
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the outcome there as JSON too.")]
EnvironmentOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="KEY=VALUE",
        help="An option of the environment, as often as needed, such as --option dataset=rows.jsonl. Values are TOML; "
        "what is not TOML is taken as text.",
    ),
]
SandboxOption = Annotated[
    str | None,
    typer.Option(
        "--sandbox",
        metavar="NAME",
        help="auto (Docker if a daemon answers, else local), docker, local, or sandbox hosts: "
        "https://one:8700,https://two:8700 (with the token in AGENT_RL_SANDBOX_TOKEN).",
    ),
]


ImageOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The image that programs run in, such as `agent-rl sandbox build --with` makes."),
]


def sandbox_settings(given: str | None, image: str | None = None) -> dict[str, Any]:
    """The table `sandbox` for the values of `--sandbox` (a provider, or the remote provider's hosts) and `--image`."""
    table: dict[str, Any] = {} if image is None else {"image": image}
    if given is None:
        return table
    if "://" in given:
        hosts = [url.strip() for url in given.split(",") if url.strip()]
        return {**table, "provider": "remote", "remote": {"hosts": hosts}}
    return {**table, "provider": given}


def sandbox_overrides(given: str | None, image: str | None = None) -> list[str]:
    """The result of `sandbox_settings` as overrides of a configuration's keys."""
    settings = sandbox_settings(given, image)
    hosts = settings.pop("remote", {})
    return [
        *(f"sandbox.{key}={json.dumps(value)}" for key, value in settings.items()),
        *(f"sandbox.remote.{key}={json.dumps(value)}" for key, value in hosts.items()),
    ]


def parse_sizes(text: str | None) -> tuple[int, ...] | None:
    """The numbers of `1,8`; None for None. Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise ConfigError(f"expected numbers with commas between them, got {text!r}", key="--k") from None
    if sizes[0] < 1:
        raise ConfigError(f"pass@{sizes[0]} means nothing", key="--k")
    return sizes


def write_json(path: Path | None, data: Any) -> None:
    """`path` holds `data` as JSON, if a path is given. Raises ConfigError if it cannot be written."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", key="--json") from None
