"""The folder for data that can be made again: `AGENT_RL_CACHE`, or a folder in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder. It may not exist yet."""
    given = os.environ.get("AGENT_RL_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-rl"
