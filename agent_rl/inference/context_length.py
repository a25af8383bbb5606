"""How long a conversation with a model may be, read from the model's config.json without torch."""

from __future__ import annotations

import json
from pathlib import Path

from agent_rl.errors import ConfigError


def context_of(folder: str | Path, default: int = 4096) -> int:
    """How many tokens the model in `folder` can attend to, from its config.json; `default` if that gives no number.

    Raises ConfigError if the file cannot be read.
    """
    file = Path(folder) / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", key="--policy") from None
    for part in (config, config.get("text_config") or {}):
        if isinstance(part.get("max_position_embeddings"), int):
            return part["max_position_embeddings"]
    return default
