"""Rows as lines of JSON, and the quick way to write the tokens of a trajectory.

The text is that of `json.dumps`, to the last character. It is put together from whole lists of numbers, which takes a
third of the time.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_rl.vocabulary import Segment

_encode = json.JSONEncoder(separators=(",", ":")).encode
_DIGITS = 5
"""Decimals of a log-probability."""
_TINY = re.compile(r"(?<![0-9])0\.0000([1-9])(?=,)")
"""A number that Python writes with an exponent."""
_HUGE = 1e9
"""Python writes a number below it with as many digits as it has been rounded to."""


@dataclass(frozen=True, slots=True)
class JsonText:
    """A value of a row that is JSON already."""

    text: str


def json_line(row: Mapping[str, Any]) -> str:
    """`row` as JSON on one line, with its end."""
    parts = [
        f"{_encode(key)}:{value.text if isinstance(value, JsonText) else _encode(value)}" for key, value in row.items()
    ]
    return f"{{{','.join(parts)}}}\n"


def segments_json(segments: Iterable[Segment]) -> JsonText:
    """The segments with all their tokens; log-probabilities have five decimals, and masks are 0 and 1."""
    return JsonText(f"[{','.join(map(_segment, segments))}]")


def _segment(s: Segment) -> str:
    parent = "null" if s.parent is None else s.parent
    begin = f'{{"parent":{parent},"source":{_encode(s.source)},"token_ids":{_integers(s.token_ids)}'
    if s.source != "model":
        return begin + "}"
    mask = (1,) * len(s.loss_mask) if all(s.loss_mask) else [int(trained) for trained in s.loss_mask]
    return f'{begin},"logprobs":{rounded_json(s.logprobs)},"versions":{_runs(s.versions)},"loss_mask":{_runs(mask)}}}'


def _integers(values: Sequence[int]) -> str:
    """A JSON array."""
    return str(list(values)).replace(" ", "")


def _runs(values: Sequence[int]) -> str:
    """A JSON array of integers which are often all the same."""
    if len(set(values)) == 1:
        return f"[{f'{values[0]},' * (len(values) - 1)}{values[0]}]"
    return _integers(values)


def rounded_json(values: Sequence[float]) -> str:
    """A JSON array of the values as `round(value, 5)` gives them."""
    plain = bool(values) and set(map(type, values)) == {float} and math.isfinite(sum(values))
    if not plain or max(values) >= _HUGE or min(values) <= -_HUGE:
        return _encode([round(value, _DIGITS) for value in values])
    text = f"%.{_DIGITS}f," * len(values) % tuple(values)
    for _ in range(_DIGITS - 1):  # one digit stays behind the point
        text = text.replace("0,", ",")
    if "0.0000" in text:
        text = _TINY.sub(r"\1e-05", text)
    return f"[{text[:-1]}]"
