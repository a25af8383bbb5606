"""Arguments for the generated functions: small values, so that examples cost few tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from agent_rl_envs.synthesis.sites import SiteKind

_LETTERS = "abcde"
_KEYS = "abcdefg"


def arguments(kind: SiteKind, salt: Sequence[int | str], draw: random.Random, size: int) -> tuple[Any, ...]:
    """One call's arguments; lists, strings and dictionaries of at most about `size` items, numbers below 4 * `size`.

    Values of `salt` are mixed in often, because only they reveal wrong bounds.
    """
    if kind == "number":
        return (_number(salt, draw, 4 * size),)
    if kind == "numbers":
        return (_number(salt, draw, 4 * size), _number(salt, draw, 4 * size))
    length = draw.randint(max(0, size - 2), size)
    if kind == "list":
        return ([_number(salt, draw) for _ in range(length)],)
    if kind == "dictionary":
        return ({key: _number(salt, draw) for key in sorted(draw.sample(_KEYS, length))},)
    if kind == "string":
        return (_word(salt, draw, length + 1),)
    return (" ".join(_word(salt, draw, draw.randint(1, 5)) for _ in range(max(1, length - 1))),)


def _number(salt: Sequence[int | str], draw: random.Random, below: int = 13) -> int:
    if salt and draw.random() < 0.4:
        value = draw.choice(salt)
        if isinstance(value, int):
            return value * draw.choice((1, 1, 2))
    return draw.randrange(below)


def _word(salt: Sequence[int | str], draw: random.Random, length: int) -> str:
    letters = [value for value in salt if isinstance(value, str)] * 2
    return "".join(draw.choice([*_LETTERS, *letters]) for _ in range(length))
