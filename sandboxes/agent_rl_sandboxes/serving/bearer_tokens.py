"""The bearer token of a host or a client: read from a file or the environment, never from a configuration."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from agent_rl.errors import ConfigError

TOKEN_VARIABLE = "AGENT_RL_SANDBOX_TOKEN"
_FEWEST_CHARACTERS = 16


def read_token(file: str | Path | None, environment: Mapping[str, str] = os.environ, *, key: str) -> str | None:
    """The token in `file`, else in AGENT_RL_SANDBOX_TOKEN, else None. Raises ConfigError if it is not valid."""
    if file is not None:
        try:
            token, source = Path(file).expanduser().read_text("ascii").strip(), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the token cannot be read from {file}: {error}", key=key) from None
    elif TOKEN_VARIABLE in environment:
        token, source = environment[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE
    else:
        return None
    if len(token) < _FEWEST_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"the token in {source} must be one line of at least {_FEWEST_CHARACTERS} plain characters "
            "(make one: `openssl rand -hex 32`)",
            key=key,
        )
    return token


def authorized(header: str | None, token: str) -> bool:
    """Whether an Authorization header carries `token`; takes equally long whatever the header says."""
    given = header or ""
    # Digests have a fixed length, so the time taken does not show the token's length either.
    expected = hashlib.sha256(f"Bearer {token}".encode()).digest()
    return hmac.compare_digest(hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest(), expected)
