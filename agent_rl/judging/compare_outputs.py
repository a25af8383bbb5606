"""Compares a program's printed output with the expected one: outside its process, on bytes.

Every comparison takes linear time in the sizes (n log n if it ignores order), and none raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from agent_rl.vocabulary.task import OutputComparison

_NUMBER = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf(?:inity)?|nan)", re.IGNORECASE)
_INTEGER = re.compile(rb"[+-]?\d+")
_MAX_NUMBER = 400
"""Longest token, in characters, that is read as a number; longer ones are compared as text."""


def same_output(actual: bytes, expected: bytes, comparison: OutputComparison, tolerance: float = 1e-6) -> bool:
    """Whether `actual` equals `expected` under `comparison` (not `checker`, which does not compare two texts)."""
    if comparison == "float":
        left, right = actual.split(), expected.split()
        return len(left) == len(right) and all(_close(a, e, tolerance) for a, e in zip(left, right, strict=True))
    return _COMPARE[comparison](actual, expected)


def _lines(text: bytes) -> list[list[bytes]]:
    """The non-blank lines, sorted, each as a list of its tokens."""
    return sorted(tokens for line in text.splitlines() if (tokens := line.split()))


_COMPARE: Mapping[str, Callable[[bytes, bytes], bool]] = {
    "exact": lambda actual, expected: actual == expected,
    "tokens": lambda actual, expected: actual.split() == expected.split(),
    "any_order": lambda actual, expected: _lines(actual) == _lines(expected),
}


def _close(actual: bytes, expected: bytes, tolerance: float) -> bool:
    """Whether tokens are equal, or numbers within `tolerance`, absolute or relative to the larger; nan matches nan.

    Two integers are compared exactly: a share of a large one would accept others.
    """
    if actual == expected:
        return True
    if _INTEGER.fullmatch(actual) and _INTEGER.fullmatch(expected):
        return _digits(actual) == _digits(expected)
    a, e = _number(actual), _number(expected)
    if a is None or e is None:
        return False
    if math.isnan(a) or math.isnan(e):
        return math.isnan(a) and math.isnan(e)
    return math.isclose(a, e, rel_tol=tolerance, abs_tol=tolerance)


def _digits(token: bytes) -> bytes:
    """An integer without what does not change it: a plus, leading zeros, the sign of zero."""
    digits = token.lstrip(b"+-").lstrip(b"0")
    return b"-" + digits if digits and token.startswith(b"-") else digits


def _number(token: bytes) -> float | None:
    """The token as a number in decimal notation, or None."""
    if len(token) > _MAX_NUMBER or _NUMBER.fullmatch(token) is None:
        return None
    return float(token)
