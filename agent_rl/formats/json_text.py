"""Reads JSON of data sets: integers of any length that can be judged, and texts with one value a line.

Python refuses to read a decimal integer of more than 4300 digits, since its own algorithm takes quadratic time. Rows of
APPS hold longer ones. They are read here in pieces, in less than quadratic time; the interpreter's limit stays as it
is.
"""

from __future__ import annotations

import json
from typing import Any

from agent_rl.vocabulary.canonical import MAX_INT_BITS

MAX_DIGITS = MAX_INT_BITS * 30103 // 100000
"""Decimal digits that fit into an integer of the canonical form: log10(2) is 0.30103."""
_PIECE = 600
"""Digits that `int` reads under every setting of the interpreter's limit, which is at least 640."""


class TooLong(ValueError):
    """An integer has more digits than the canonical form can hold."""


def parse_json(text: str) -> Any:
    """The value of `text`. Raises TooLong, another ValueError if it is no JSON, and RecursionError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer that Python refuses to read
        return json.loads(text, parse_int=_integer)


def parse_lines(text: str) -> list[Any]:
    """The values of `text`, one a line (a value may span lines). Raises as `parse_json` does."""
    values: list[Any] = []
    decoder = json.JSONDecoder(parse_int=_integer)
    rest = text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        line, _, following = rest[end:].partition("\n")
        if line.strip():
            raise ValueError(f"{line.strip()[:40]!r} follows a value in its line")
        values.append(value)
        rest = following.strip()
    return values


def _integer(digits: str) -> int:
    """The integer that `digits` write in decimal. Raises TooLong."""
    if len(digits) <= _PIECE:
        return int(digits)
    magnitude = digits.lstrip("-")
    if len(magnitude) > MAX_DIGITS:
        raise TooLong(f"an integer of {len(magnitude)} digits; the longest that can be judged has {MAX_DIGITS}")
    begin = len(magnitude) % _PIECE
    pieces = [magnitude[:begin] or "0", *(magnitude[i : i + _PIECE] for i in range(begin, len(magnitude), _PIECE))]
    values, power = [int(piece) for piece in pieces], 10**_PIECE
    while len(values) > 1:  # neighbours are joined, so that the factors of each product are equally long
        if len(values) % 2:
            values.insert(0, 0)
        values = [high * power + low for high, low in zip(values[::2], values[1::2], strict=True)]
        power *= power
    return -values[0] if digits.startswith("-") else values[0]
