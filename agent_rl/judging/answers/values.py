"""Expressions: math-verify reads and compares them, and what it says is checked at full precision.

math-verify compares numbers with six decimals, chops small coefficients, and takes `A` for `a`. So a difference that it
does not see is looked for in values: both expressions are evaluated at the same points with many digits.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .writing import nesting

_DIGITS = 120
_DEEPEST = 20
_MOST_DIGITS = 10**6
_EXACT, _ROUNDED = Decimal("1e-90"), Decimal("2e-6")
"""Relative differences that count as none: of exact expressions, and where one of them is written with decimals."""
_FLOAT, _FLOAT_DIGITS = Decimal("5e-16"), 16
"""The relative error of a number that was computed with floats, and how many digits show that it was."""
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_NO_EXPRESSION = re.compile(
    r"\\text|\d\s*_|boxed|[$#&@\"`;?!%]{2}|[$#&@\"`;?,%]|\d\s+[\d.]|<|>|=|\.\.|\\\\|[^\x00-\x7f]"
)
_CAPITALS = 72100
"""The subscript of the symbol that stands for a capital is this more than its code."""
_CAPITAL = re.compile(r"(\\[A-Za-z]+|[A-Z])(?:_\{([A-Za-z0-9]+)\})?")
_IMAGINARY = re.compile(r"\\[A-Za-z]+|_\{[^{}]*\}|i")
_REPEATING = re.compile(r"(\d+)\.(\d*)\\(?:overline|bar|dot|widehat)\s*\{(\d+)\}")
_REPEATED = re.compile(r"(?<![\d.])(\d+)\.(\d*?)(\d+?)\3{2,}\s*\.\.\.")
_MIXED = re.compile(r"(?<![\d./^_{}A-Za-z])(\d+)\s+(?:and\s+)?(\d+)\s*/\s*(\d+)(?![\d.])")
_MIXED_LATEX = re.compile(r"(?<![\d./^_A-Za-z])(\d+)\s*(?:\\text\{\s*and\s*\}|and\s)?\s*\\frac\{(\d+)\}\{(\d+)\}(?!\^)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(\ue000|'| |_\{)\d{3}(?:(?<=_\{\d{3})\})?)(?:\1\d{3}\}?)*(?![\d])")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?")
_COMMAS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def numerals(text: str) -> str:
    r"""`text` with numbers in one spelling: `72 000` is 72000, `3 1/2` and `3\frac{1}{2}` are fractions, and so is
    `0.\overline{3}`. A fraction behind a number is a mixed number's part if it is below 1: `2\frac{5}{3}` is a product.
    """
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match[0]), text)
    text = re.sub(r"(?<=\d)\ue000(?=\d)", ".", text).replace("\ue000", ",")
    text = _REPEATING.sub(_repeating, _REPEATED.sub(_repeating, text))
    return _MIXED_LATEX.sub(_mixed, _MIXED.sub(_mixed, text))


def number(text: str) -> Fraction | None:
    """The value of a plain decimal number, with or without commas between thousands; None if `text` is not one."""
    text = re.sub(r"^([-+])\s+", r"\1", text.strip())
    if _COMMAS.fullmatch(text) or _INDIAN.fullmatch(text.lstrip("+-")):
        text = text.replace(",", "")
    return Fraction(text) if _NUMBER.fullmatch(text) else None


def squeezed(text: str) -> str:
    """`text` without its spaces but those between digits: `7 2` is not 72."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def same_value(gold: str, given: str) -> bool:
    """Whether both are expressions with one value, for all values of their variables. Raises MemoryError."""
    if squeezed(gold) == squeezed(given):
        return True
    left, right = number(gold), number(given)
    if left is not None and right is not None:
        return left == right or _computed(gold, left, given, right)
    if gold.count("'") != given.count("'"):
        return False
    one, other = expression(gold), expression(given)
    if one is None or other is None:
        return False
    try:
        if not (_may_stand_for(given, one) if right is not None else left is None or _may_stand_for(gold, other)):
            return False
        agree = _agree(one, other)
        return _verified(one, other) if agree is None else agree[0] and (agree[1] or _verified(one, other))
    except MemoryError:
        raise
    except Exception:  # sympy raises every kind
        return False


def _may_stand_for(decimal: str, other: Any) -> bool:
    """Whether a plain number is the other value, rounded to as many decimals: 0.50000001 is no 1/2."""
    from sympy import Expr, Float, Rational

    if not isinstance(other, Expr) or other.free_symbols or other.has(Float) or other.is_infinite:
        return True
    value = _value(other, {})
    exact = number(decimal)
    if value is None or exact is None or "." not in decimal:
        return True
    half = Decimal(5).scaleb(-len(decimal.strip().partition(".")[2]) - 1)
    distance = abs(value - Rational(exact.numerator, exact.denominator))
    return bool(distance <= half) or (_is_float(decimal) and bool(distance <= abs(value) * _FLOAT))


def _is_float(decimal: str) -> bool:
    """Whether a number is written with as many digits as a float has: 2/3 is computed as 0.6666666666666666."""
    return "." in decimal and len(re.sub(r"\D", "", decimal).lstrip("0")) >= _FLOAT_DIGITS


def _computed(gold: str, left: Fraction, given: str, right: Fraction) -> bool:
    """Whether `given` is the short number `gold` as floats compute it: 0.1 + 0.2 is 0.30000000000000004."""
    short = len(re.sub(r"\D", "", gold)) < _FLOAT_DIGITS
    return (
        short and right.denominator > 1 and _is_float(given) and abs(left - right) <= abs(left) * Fraction(str(_FLOAT))
    )


@lru_cache(maxsize=256)
def expression(text: str) -> Any:
    """The expression that `text` writes, as sympy has it; None if it is none. Raises MemoryError."""
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    value = number(text)
    prepared = text.replace(",", "") if value is not None else text
    if not prepared or not 0 <= nesting(prepared) <= _DEEPEST or f"_{{{_CAPITALS // 100}" in prepared:
        return None
    if _NO_EXPRESSION.search(re.sub(r"_\{[a-z]=[^{}]*\}", "_{}", prepared)):
        return None
    config = LatexExtractionConfig(
        normalization_config=NormalizationConfig(basic_latex=True, malformed_operators=True, boxed="last")
    )
    try:
        # Our own limits end this process from outside: signals inside it cannot stop one long multiplication.
        found: list[Any] = parse(
            rf"\boxed{{{_spelled(prepared)}}}", [config], "no_fallback", parsing_timeout=0, raise_on_error=True
        )
    except MemoryError:
        raise
    except Exception:
        return None
    return found[0] if len(found) == 1 and not isinstance(found[0], str) else None


def _spelled(text: str) -> str:
    """`text` as math-verify reads it rightly: capitals are symbols of their own, `i` is the imaginary unit."""
    text = re.sub(r"(\d+(?:\.\d+)?|\\pi)\s*\^\{\\circ\s*\}", r"{(\1 \\cdot \\frac{\\pi}{180})}", text)
    text = _CAPITAL.sub(lambda m: m[0] if m[1][0] == "\\" else f"x_{{{_CAPITALS + ord(m[1])}{m[2] or ''}}}", text)
    if not re.search(r"_\{i=", text):  # the index of a sum
        text = _IMAGINARY.sub(lambda m: "{I}" if m[0] == "i" else m[0], text)
    return text.replace("'", "")


def _agree(one: Any, other: Any) -> tuple[bool, bool] | None:
    """(whether both have the same values, whether that was exact); None if this cannot be told from values."""
    from sympy import Expr, Float, Rational, Symbol
    from sympy.core.function import AppliedUndef

    if not isinstance(one, Expr) or not isinstance(other, Expr):
        return None
    if one.is_infinite or other.is_infinite:
        return one == other, True
    one, other = (side.xreplace({f: Symbol(str(f)) for f in side.atoms(AppliedUndef)}) for side in (one, other))
    symbols = sorted({str(symbol) for symbol in one.free_symbols | other.free_symbols})
    if one.has(Float) or other.has(Float):
        exact = [side.xreplace({f: Rational(str(f)) for f in side.atoms(Float)}) for side in (one, other)]
        if _values_agree(exact[0], exact[1], symbols, _EXACT):
            return True, True
        agree = _values_agree(one, other, symbols, _ROUNDED)
        return None if agree is None else (agree, False)
    agree = _values_agree(one, other, symbols, _EXACT)
    return None if agree is None else (agree, True)


def _values_agree(one: Any, other: Any, symbols: list[str], tolerance: Decimal) -> bool | None:
    """Whether the relative differences are below `tolerance` at every point; None if there is no value at any."""
    seen = 0
    for point in _points(len(symbols)):
        values = dict(zip(symbols, point, strict=True))
        left, right = _value(one, values), _value(other, values)
        if left is None or right is None:
            continue
        seen += 1
        scale = max(abs(left), abs(right))
        if scale and not abs(left - right) <= scale * tolerance:
            return False
        if not symbols:
            return _same_integers(one, other, left)
    return True if seen else None


def constant_ratio(one: Any, other: Any) -> Any:
    """The real number other than 0 that `one` is times `other`, at every point; None if there is none."""
    from sympy import Float

    names = sorted({str(symbol) for symbol in one.free_symbols | other.free_symbols})
    tolerance = _ROUNDED if one.has(Float) or other.has(Float) else _EXACT
    ratios: list[Any] = []
    for point in _points(len(names)) if names else []:
        left, right = (_value(side, dict(zip(names, point, strict=True))) for side in (one, other))
        if left is not None and right is not None and right != 0:
            ratios.append(left / right)
    if len(ratios) < 2 or not ratios[0].is_real or ratios[0] == 0:
        return None
    return ratios[0] if all(abs(ratio - ratios[0]) <= abs(ratios[0]) * tolerance for ratio in ratios) else None


def _points(count: int) -> list[list[Any]]:
    from sympy import Rational

    if not count:
        return [[]]
    bases = (Rational(17, 13), Rational(-23, 19), Rational(5, 29), Rational(-7, 31), Rational(211, 37))
    return [[base * (1 + Rational(k * k + k, 7)) + Rational(k, 11) for k in range(count)] for base in bases]


def _value(expression: Any, values: dict[str, Any]) -> Any:
    """The value at a point with many digits; None where there is none."""
    point = {symbol: values[str(symbol)] for symbol in expression.free_symbols}
    value = (expression.subs(point) if point else expression).evalf(_DIGITS, maxn=10 * _DIGITS)
    return value if value.is_number and value.is_finite and not value.free_symbols else None


def _same_integers(one: Any, other: Any, value: Any) -> bool:
    """Whether two large numbers that agree in their first digits agree in all: rational ones are compared exactly.

    Of numbers with millions of digits, only powers of one base are told to be the same, by their exponents.
    """
    from sympy import log

    digits = log(abs(value), 10).evalf() if value else 0
    if digits < _DIGITS // 2:
        return True
    if digits > _MOST_DIGITS:
        powers = one.is_Pow and other.is_Pow and one.base == other.base
        return one == other or bool(powers and _values_agree(one.exp, other.exp, [], _EXACT))
    left, right = one.doit(), other.doit()
    return left == right if left.is_Rational and right.is_Rational else True


def _verified(one: Any, other: Any) -> bool:
    from math_verify import verify

    return verify(one, other, timeout_seconds=None, raise_on_error=True)


def _mixed(match: re.Match[str]) -> str:
    whole, above, below = (int(part) for part in match.groups())
    return rf"\frac{{{whole * below + above}}}{{{below}}}" if 0 < above < below else match[0]


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, repeated = match.groups()
    ones = 10 ** len(fixed) * (10 ** len(repeated) - 1)
    return rf"\frac{{{int(whole + fixed + repeated) - int(whole + fixed)}}}{{{ones}}}"
