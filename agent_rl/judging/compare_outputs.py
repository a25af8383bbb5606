"""Compares a program's printed output with the expected one: outside its process, on bytes.

Every comparison takes linear time in the sizes (n log n if it ignores order), and none raises. No number is taken for
infinity because no float holds it. Two integers are equal or not: a share of a large one would be another integer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DecimalException

from agent_rl.vocabulary.task import OutputComparison

_NUMBER = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:inf(?:inity)?|nan)", re.IGNORECASE)
_INTEGER = re.compile(rb"[+-]?\d+")
_DIGITS = 40
"""Digits to which the distance of two numbers is known that are not compared as floats: far more than a float has."""
_EXACT = Context(prec=_DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


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
    if _NUMBER.fullmatch(actual) is None or _NUMBER.fullmatch(expected) is None:
        return False
    a, e = float(actual), float(expected)
    if math.isnan(a) or math.isnan(e):
        return math.isnan(a) and math.isnan(e)
    if math.isinf(a) or math.isinf(e):
        return _close_decimals(actual, expected, tolerance)
    return math.isclose(a, e, rel_tol=tolerance, abs_tol=tolerance)


def _digits(token: bytes) -> bytes:
    """An integer without what does not change it: a plus, leading zeros, the sign of zero."""
    digits = token.lstrip(b"+-").lstrip(b"0")
    return b"-" + digits if digits and token.startswith(b"-") else digits


def _close_decimals(actual: bytes, expected: bytes, tolerance: float) -> bool:
    """As `_close`, for numbers of which one is infinite, or beyond the range of floats."""
    try:
        a, e = Decimal(actual.decode()), Decimal(expected.decode())
        if not (a.is_finite() and e.is_finite()):
            return a == e
        within = _EXACT.multiply(Decimal(tolerance), max(_EXACT.abs(a), _EXACT.abs(e), Decimal(1)))
        return a == e or _EXACT.abs(_EXACT.subtract(a, e)) <= within
    except (DecimalException, ValueError):  # an exponent that is itself too long
        return False
