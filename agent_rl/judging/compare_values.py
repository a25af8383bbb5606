"""Compares a returned value with the expected one: outside the candidate's process, on plain values only.

Both values have passed through the canonical form, so that `==` on them runs only Python's own code. Every
comparison takes linear time in the sizes (n log n if it ignores order), and none raises. Numbers are compared exactly,
however long they are. An instance of a subclass of a built-in type counts as what its built-in part holds, except where
types count (`exact`).
"""

from __future__ import annotations

import cmath
import math
from collections import deque
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

from agent_rl.vocabulary.canonical import encode
from agent_rl.vocabulary.stand_ins import Derived, Items, Record
from agent_rl.vocabulary.task import Comparison

_ROUNDING = 1e-12
"""The relative error that rounding may leave in a computed float."""
_MOST_BITS = 1 << 16
"""Of an int that is compared with a Decimal; longer ones are not equal to any."""
_MOST_EXPONENT = 1 << 12
"""Decimals beyond 10 to this power are only equal or not: as ratios of integers they would be as long as they say."""


def equal(
    actual: Any, expected: Any, comparison: Comparison, tolerance: float = 1e-6, *, from_json: bool = False
) -> bool:
    """Whether `actual` equals `expected` under `comparison` (not `checker`, which does not compare two values).

    `from_json`: `expected` was written as JSON, so that `float` and `any_order` compare what JSON makes of both.
    """
    try:
        if _takes_long(actual, expected):
            return False
        if comparison in ("exact", "python"):
            return _COMPARE[comparison](actual, expected)
        actual, expected = _built_in(actual), _built_in(expected)
        if from_json and comparison in ("float", "any_order"):
            actual, expected = _as_json(actual), _as_json(expected)
        if comparison == "float":
            return _close(actual, expected, tolerance)
        return _COMPARE[comparison](actual, expected)
    except (RecursionError, ArithmeticError, ValueError, TypeError):
        return False


def _takes_long(actual: Any, expected: Any) -> bool:
    """Whether a Decimal would be compared with an int so long that making a Decimal of it takes a second or more."""
    pairs = (actual, expected), (expected, actual)
    return any(_holds(one, _is_decimal) and _holds(other, _is_huge) for one, other in pairs)


def _is_decimal(value: Any) -> bool:
    return type(value) is Decimal


def _is_huge(value: Any) -> bool:
    return type(value) is int and value.bit_length() > _MOST_BITS


def _holds(value: Any, wanted: Callable[[Any], bool]) -> bool:
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*cast("dict[Any, Any]", value), *cast("dict[Any, Any]", value).values()]
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            waiting += cast("list[Any]", value)
        elif isinstance(value, (Derived, Items)):
            waiting.append(value.content)
        elif isinstance(value, Record):
            waiting += [content for _, content in value.fields]
        elif wanted(value):
            return True
    return False


def _built_in(value: Any) -> Any:
    """`value` with the built-in part of each instance of a subclass in its place."""
    if isinstance(value, Derived):
        return _built_in(value.content)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_built_in, cast("list[Any]", value)))
    if isinstance(value, (set, frozenset)):
        return type(value)(map(_built_in, cast("set[Any]", value)))
    if isinstance(value, dict):
        return {_built_in(k): _built_in(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, deque):
        return deque(map(_built_in, cast("deque[Any]", value)))
    if isinstance(value, Record):
        return Record(value.name, tuple((name, _built_in(v)) for name, v in value.fields), value.ignored)
    return value


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
    if isinstance(actual, _NUMBERS) and isinstance(expected, _NUMBERS):
        return _close_numbers(actual, expected, tolerance)
    if type(actual) is not type(expected):
        return bool(actual == expected)
    if isinstance(actual, (list, tuple, deque)):
        return len(actual) == len(expected) and all(
            _close(a, e, tolerance) for a, e in zip(actual, expected, strict=True)
        )
    if isinstance(actual, dict):
        actual = cast("dict[Any, Any]", actual)
        return actual.keys() == expected.keys() and all(_close(v, expected[k], tolerance) for k, v in actual.items())
    if isinstance(actual, Record):
        ignored = [name for name in actual.ignored if name in expected.ignored]
        a, e = ([[name, value] for name, value in side.compared(ignored)] for side in (actual, expected))
        return actual.name == expected.name and _close(a, e, tolerance)
    if isinstance(actual, (set, frozenset)):
        return actual == expected or _close_sets(cast("set[Any]", actual), expected, tolerance)
    return bool(actual == expected)


_REAL = (int, float, Fraction, Decimal)
_NUMBERS = (*_REAL, complex)


def _close_numbers(actual: Any, expected: Any, tolerance: float) -> bool:
    if actual == expected:
        return True
    if isinstance(expected, int) and not isinstance(actual, complex):
        return close_to_integer(actual, expected, tolerance)
    if isinstance(actual, complex) or isinstance(expected, complex):
        actual, expected = complex(actual), complex(expected)
        # A tolerance relative to infinity would accept everything. Finite numbers whose distance overflows raise.
        finite = cmath.isfinite(actual) and cmath.isfinite(expected)
        return finite and abs(actual - expected) <= tolerance * max(1.0, abs(actual), abs(expected))
    if isinstance(actual, float) and isinstance(expected, float):
        both_nan = math.isnan(actual) and math.isnan(expected)
        return both_nan or math.isclose(actual, expected, rel_tol=tolerance, abs_tol=tolerance)
    if actual != actual or expected != expected:
        return actual != actual and expected != expected
    # In integers, since a float holds neither an int beyond 2**53 nor one beyond its range.
    (a, b), (e, f), (p, q) = _ratio(actual), _ratio(expected), tolerance.as_integer_ratio()
    return abs(a * f - e * b) * q <= max(b * f, abs(a) * f, abs(e) * b) * p


def _ratio(number: Any) -> tuple[int, int]:
    """A number as numerator and denominator. Raises OverflowError for infinity and for a Decimal like 1E+9999."""
    if isinstance(number, Decimal) and number and number.is_finite() and abs(number.adjusted()) > _MOST_EXPONENT:
        raise OverflowError("a Decimal too far from 1")
    return (number.numerator, number.denominator) if isinstance(number, Fraction) else number.as_integer_ratio()


def close_to_integer(actual: Any, expected: int, tolerance: float) -> bool:
    """Whether a real number is as good as an integer: a fraction within `tolerance`, which is then only absolute.

    A share of a large integer would accept other integers. A fraction may also miss it by what rounding does to floats.
    """
    numerator, denominator = _ratio(actual)
    if denominator == 1:
        return False
    (p, q), distance = tolerance.as_integer_ratio(), abs(numerator - expected * denominator)
    rounded = isinstance(actual, float) and math.isclose(actual, expected, rel_tol=min(tolerance, _ROUNDING))
    return rounded or distance * q <= denominator * p


def _close_sets(actual: set[Any], expected: set[Any], tolerance: float) -> bool:
    """Sets of numbers, compared in ascending order."""
    if len(actual) != len(expected) or not all(isinstance(v, _REAL) for v in (*actual, *expected)):
        return False
    return all(_close_numbers(a, e, tolerance) for a, e in zip(sorted(actual), sorted(expected), strict=True))


def _plain_scalar(value: Any) -> Any:
    return value


def _number_as_one(value: Any) -> Any:
    """`value`, with equal numbers made the same one: 1, 1.0, True, 1+0j and Fraction(1) become 1."""
    if isinstance(value, complex) and value.imag == 0:
        value = value.real
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, range):
        return ("range", len(value), value[0] if value else 0, value.step if len(value) > 1 else 0)
    if isinstance(value, Decimal) and value.is_finite() and value and abs(value.adjusted()) > _MOST_EXPONENT:
        return ("Decimal", value.as_tuple().sign, str(value.as_tuple().digits).rstrip("0, )"), value.adjusted())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Decimal) and not value.is_finite():
        return value if value.is_snan() else float(value)
    if isinstance(value, (Fraction, Decimal)):
        fraction = Fraction(*_ratio(value))
        nearest = fraction.numerator if fraction.denominator == 1 else fraction.numerator / fraction.denominator
        return nearest if nearest == fraction else fraction
    return int(value) if isinstance(value, bool) else value


def _text(value: Any, scalar: Callable[[Any], Any]) -> str:
    """A text that is the same for two values exactly if they are equal after `scalar`, ignoring the order of dicts."""
    if isinstance(value, (list, tuple, deque)):
        return f"{type(value).__name__}[{','.join(_text(v, scalar) for v in value)}]"
    if isinstance(value, (set, frozenset)):
        kind = type(value).__name__ if scalar is _plain_scalar else "set"
        return f"{kind}[{','.join(sorted(_text(v, scalar) for v in cast('set[Any]', value)))}]"
    if isinstance(value, dict):
        pairs = (f"{_text(k, scalar)}:{_text(v, scalar)}" for k, v in cast("dict[Any, Any]", value).items())
        return f"dict[{','.join(sorted(pairs))}]"
    if isinstance(value, Record):
        fields = (f"{encode(k)}={_text(v, scalar)}" for k, v in value.compared(value.ignored))
        return f"{encode(value.name)}[{','.join(fields)}]"
    return encode(scalar(value))
