"""Compares a returned value with the expected one: outside the candidate's process, on plain values only.

Both values have passed through the canonical form, so that `==` on them runs only Python's own code. Every
comparison takes linear time in the sizes (n log n if it ignores order), and none raises.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from agent_rl.vocabulary.canonical import Record, encode
from agent_rl.vocabulary.task import Comparison

_ROUNDING = 1e-12
"""The relative error that rounding may leave in a computed float."""


def equal(
    actual: Any, expected: Any, comparison: Comparison, tolerance: float = 1e-6, *, from_json: bool = False
) -> bool:
    """Whether `actual` equals `expected` under `comparison` (not `checker`, which does not compare two values).

    `from_json`: `expected` was written as JSON, so that `float` and `any_order` compare what JSON makes of both.
    """
    try:
        if from_json and comparison in ("float", "any_order"):
            actual, expected = _as_json(actual), _as_json(expected)
        if comparison == "float":
            return _close(actual, expected, tolerance)
        return _COMPARE[comparison](actual, expected)
    except (RecursionError, OverflowError, ValueError, TypeError):
        return False


def _python(actual: Any, expected: Any) -> bool:
    """Python's ==: 1 == 1.0 == True, -0.0 == 0.0, nan != nan, a list is no tuple."""
    return bool(actual == expected)


def _json(actual: Any, expected: Any) -> bool:
    """Python's == after conversion to JSON: tuples become lists, and dict keys become distinct strings."""
    return bool(_as_json(actual) == _as_json(expected))


def _as_json(value: Any) -> Any:
    """`value` as JSON represents it. Raises ValueError if two keys become the same string."""
    if isinstance(value, (list, tuple)):
        return [_as_json(v) for v in value]
    if isinstance(value, dict):
        content = cast("dict[Any, Any]", value)
        named = {_key(k): _as_json(v) for k, v in content.items()}
        if len(named) != len(content):
            raise ValueError("keys that are one in JSON")
        return named
    return value


def _key(key: Any) -> str:
    """A dict's key as JSON writes it."""
    if isinstance(key, str):
        return key
    return {True: "true", False: "false", None: "null"}[key] if key is None or type(key) is bool else repr(key)


def _exact(actual: Any, expected: Any) -> bool:
    """Equal types throughout, and floats equal bit for bit: nan is nan, -0.0 is not 0.0. Dict order is ignored."""
    return _text(actual, _plain_scalar) == _text(expected, _plain_scalar)


def _tokens(actual: Any, expected: Any) -> bool:
    """Two strings, equal when split at whitespace."""
    return type(actual) is str and type(expected) is str and actual.split() == expected.split()


def _any_order(actual: Any, expected: Any) -> bool:
    """Two collections of one type whose elements are equal (Python's ==) as multisets; other values by ==."""
    if type(actual) is not type(expected):
        return False
    if type(actual) not in (list, tuple):
        return _python(actual, expected)
    if len(actual) != len(expected):
        return False
    return sorted(_text(v, _number_as_one) for v in actual) == sorted(_text(v, _number_as_one) for v in expected)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "python": _python,
    "json": _json,
    "exact": _exact,
    "tokens": _tokens,
    "any_order": _any_order,
}


def _close(actual: Any, expected: Any, tolerance: float) -> bool:
    """Numbers within `tolerance`, absolute or relative to the larger (an expected integer: see `close_to_integer`);
    containers of one type by element, dataclasses by field; else ==."""
    if isinstance(actual, (int, float, complex)) and isinstance(expected, (int, float, complex)):
        return _close_numbers(actual, expected, tolerance)
    if type(actual) is not type(expected):
        return bool(actual == expected)
    if isinstance(actual, (list, tuple)):
        return len(actual) == len(expected) and all(
            _close(a, e, tolerance) for a, e in zip(actual, expected, strict=True)
        )
    if isinstance(actual, dict):
        actual = cast("dict[Any, Any]", actual)
        return actual.keys() == expected.keys() and all(_close(v, expected[k], tolerance) for k, v in actual.items())
    if isinstance(actual, Record):
        return actual.name == expected.name and _close(
            [[field, value] for field, value in actual.fields],
            [[field, value] for field, value in expected.fields],
            tolerance,
        )
    if isinstance(actual, (set, frozenset)):
        return actual == expected or _close_sets(cast("set[Any]", actual), expected, tolerance)
    return bool(actual == expected)


def _close_numbers(actual: complex, expected: complex, tolerance: float) -> bool:
    if actual == expected:
        return True
    if isinstance(expected, int) and not isinstance(actual, complex):
        return close_to_integer(actual, expected, tolerance)
    if isinstance(actual, complex) or isinstance(expected, complex):
        actual, expected = complex(actual), complex(expected)
        # A tolerance relative to infinity would accept everything. Finite numbers whose distance overflows raise.
        finite = cmath.isfinite(actual) and cmath.isfinite(expected)
        return finite and abs(actual - expected) <= tolerance * max(1.0, abs(actual), abs(expected))
    a, e = float(actual), float(expected)  # an int beyond a float's range raises; it equals only itself
    if math.isnan(a) and math.isnan(e):
        return True
    return math.isclose(a, e, rel_tol=tolerance, abs_tol=tolerance)


def close_to_integer(actual: float, expected: int, tolerance: float) -> bool:
    """Whether another number is as good as an integer: a fraction within `tolerance`, which is then only absolute.

    A share of a large integer would accept other integers. A fraction may also miss it by what rounding does to floats.
    """
    if isinstance(actual, int) or not math.isfinite(actual) or actual.is_integer():
        return False
    return math.isclose(actual, float(expected), rel_tol=min(tolerance, _ROUNDING), abs_tol=tolerance)


def _close_sets(actual: set[Any], expected: set[Any], tolerance: float) -> bool:
    """Sets of numbers, compared in ascending order."""
    if len(actual) != len(expected) or not all(isinstance(v, (int, float)) for v in (*actual, *expected)):
        return False
    return all(_close_numbers(a, e, tolerance) for a, e in zip(sorted(actual), sorted(expected), strict=True))


def _plain_scalar(value: Any) -> Any:
    return value


def _number_as_one(value: Any) -> Any:
    """`value`, with equal numbers made the same int: 1, 1.0, True and 1+0j become 1."""
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, bool) else value


def _text(value: Any, scalar: Callable[[Any], Any]) -> str:
    """A text that is the same for two values exactly if they are equal after `scalar`, ignoring the order of dicts."""
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{','.join(_text(v, scalar) for v in value)}]"
    if isinstance(value, (set, frozenset)):
        kind = type(value).__name__ if scalar is _plain_scalar else "set"
        return f"{kind}[{','.join(sorted(_text(v, scalar) for v in cast('set[Any]', value)))}]"
    if isinstance(value, dict):
        pairs = (f"{_text(k, scalar)}:{_text(v, scalar)}" for k, v in cast("dict[Any, Any]", value).items())
        return f"dict[{','.join(sorted(pairs))}]"
    if isinstance(value, Record):
        return f"{encode(value.name)}[{','.join(f'{encode(k)}={_text(v, scalar)}' for k, v in value.fields)}]"
    return encode(scalar(value))
