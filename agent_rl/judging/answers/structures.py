"""Answers made of parts: lists, sets, tuples, intervals, inequalities, matrices. Parts are compared by all rules.

A comma may stand between thousands or between parts (`100,200`): such a text has both readings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .values import number
from .writing import Same, closing, plain_text

_WORDS_BETWEEN = re.compile(
    r"\s*(?:,\s*)?(?:\\text\{\s*,?\s*(?:and|or)\s*\}|\b(?:and|or)\b|\\lor\b|&)\s*", re.IGNORECASE
)
_OPEN = {"(": "(", "[": "[", "\\{": "{", "\\langle": "("}
_CLOSE = {")": ")", "]": "]", "\\}": "}", "\\rangle": ")"}
_RELATION = re.compile(r"\\leq(?![a-z])|\\geq(?![a-z])|<|>")
_SYMBOL = re.compile(r"(?:(?:[A-Za-z]|\\[a-z]{2,7})(?:_\{\w+\})?(?:\([a-z]\))?|\|[a-z]\|)")
_MATRIX = re.compile(
    r"\\begin\{(?:[pb]?matrix|smallmatrix|array)\}(.*)\\end\{(?:[pb]?matrix|smallmatrix|array)\}", re.DOTALL
)
_ABSOLUTE = re.compile(r"\|\s*([a-z])\s*\|\s*(<|>|\\leq|\\geq)\s*([^<>|=\\]+)")
_WHOLE = (r"\mathbb{R}", r"\text{R}", "all real numbers", "all reals", "all real", "the set of all real numbers")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])")
HIGHEST, LOWEST = "\\infty", "-\\infty"


@dataclass(frozen=True)
class Parts:
    """Parts in their order, and what encloses them: `{`, a pair such as `(]`, or "" for a bare list.

    It is "or" for a list with words or `\\pm` between its parts, which has no order.
    """

    enclosed: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; whether each end belongs to it."""

    low: str
    closed_low: bool
    high: str
    closed_high: bool


def collections(gold: str, given: str, same: Same) -> bool | None:
    """Sets and bare lists are compared in any order, tuples in theirs. `1, 2` may stand for `(1,2)` and for `{1,2}`."""
    readings, others = _readings(gold), _readings(given)
    if readings == [None] and others == [None]:
        return None
    return any(_same_parts(one, other, gold, given, same) for one in readings for other in others)


def _same_parts(one: Parts | None, other: Parts | None, gold: str, given: str, same: Same) -> bool:
    if one is None and other is None:
        return same_undivided(gold, given, same)
    if one is None or other is None:
        parts, rest = (one, given) if one is not None else (other, gold)
        # `{5}` is the only solution 5. The distinct ones of a list are what counts: `2, 2`.
        return parts is not None and parts.enclosed == "{" and len(parts.parts) == 1 and same(parts.parts[0], rest)
    if len(one.parts) != len(other.parts):
        return False
    kinds = {one.enclosed, other.enclosed}
    if kinds <= {"", "{", "or"}:
        return _in_any_order(one.parts, other.parts, same)
    ordered = len(kinds) == 1 or kinds == {"", "()"} or kinds == {"", "[]"}
    ordered = ordered or (kinds == {"()", "[]"} and len(one.parts) > 2)  # no interval
    return ordered and all(same(a, b) for a, b in zip(one.parts, other.parts, strict=True))


def same_undivided(gold: str, given: str, same: Same) -> bool:
    """Whether two texts without parts are one number with commas between thousands."""
    left, right = (_GROUPED.sub(lambda match: match[0].replace(",", ""), text) for text in (gold, given))
    return same(left, right) if (left, right) != (gold, given) else False


def _in_any_order(left: tuple[str, ...], right: tuple[str, ...], same: Same) -> bool:
    rest = list(right)
    for part in left:
        found = next((k for k, other in enumerate(rest) if same(part, other)), None)
        if found is None:
            return False
        del rest[found]
    return True


def _readings(text: str) -> list[Parts | None]:
    """Every way to read `text` as parts; None stands for one value."""
    text = re.sub(rf"^{_SYMBOL.pattern}\s*\\in(?![a-z])\s*(?=\\\{{)", "", text)
    if words := re.fullmatch(r"\\text\{([^{}\d]*)\}", text):
        text = words[1].strip()
    enclosed = _enclosed(text)
    if enclosed is not None:
        kind, inside = enclosed
        parts = split_at_commas(inside)
        if kind == "{" or len(parts) > 1:
            return [Parts(kind, expanded(parts))]
        return [None] if kind in ("()", "[]") and len(parts) == 1 else [Parts(kind, expanded(parts))]
    parts = expanded(_between_words(text))
    if len(parts) < 2:
        return [None]
    thousands = re.fullmatch(r"[^\d,]*\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?[^\d,]*", text)
    if thousands:
        return [Parts("", parts), None]
    return [Parts("or" if len(parts) > len(split_at_commas(text)) else "", parts)]


def _between_words(text: str) -> tuple[str, ...]:
    parts: list[str] = []
    for part in split_at_commas(text):
        parts += _WORDS_BETWEEN.split(part) if not re.search(r"(?<![\d/.])\d+\s+and\s+(\d+/|\\frac)", part) else [part]
    shared = re.match(r"((?:[A-Za-z]|\\[a-z]+)(?:_\{\w+\})?\s*(?:=|\\in(?![a-z])))", parts[0])
    if shared and len(parts) > 1 and not any("=" in part for part in parts[1:]):
        parts = [parts[0][shared.end() :].strip(), *parts[1:]]  # `x = 2, 3`
    return tuple(part.strip() for part in parts if part.strip())


def expanded(parts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    r"""`parts` with two in the place of each that holds one `\pm`."""
    result: list[str] = []
    for part in parts:
        if part.count(r"\pm") == 1 and part.count(r"\mp") == 0:
            before, after = part.split(r"\pm")
            result += [f"{before}+{after}".removeprefix("+").strip(), f"{before}-{after.strip()}"]
        else:
            result.append(part)
    return tuple(result)


def split_at_commas(text: str) -> list[str]:
    """What stands between commas and semicolons that no bracket encloses."""
    parts, depth, start = list[str](), 0, 0
    for position, character in enumerate(text):
        if character in "({[":
            depth += 1
        elif character in ")}]":
            depth -= 1
        elif character in ",;" and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def _enclosed(text: str) -> tuple[str, str] | None:
    """(the kind of brackets around the whole of `text`, what they enclose); None if none do."""
    opening = next((sign for sign in _OPEN if text.startswith(sign)), None)
    shutting = next((sign for sign in _CLOSE if text.endswith(sign)), None)
    if opening is None or shutting is None or len(text) < len(opening) + len(shutting):
        return None
    inside = text[len(opening) : -len(shutting)]
    if opening != "\\langle":
        at = closing(text, len(opening) - 1)
        if at != len(text) - 1:
            return None
    kinds = _OPEN[opening] + _CLOSE[shutting]
    return ("{" if kinds == "{}" else kinds), inside.strip()


def intervals(gold: str, given: str, same: Same) -> bool | None:
    r"""`1 < x < 3`, `3 > x > 1`, `x \in (1,3)` and `(1,3)` are one interval; named variables are the same."""
    one, other = intervals_in(gold), intervals_in(given)
    if one is None or other is None or (one[0] is None and other[0] is None):
        return None
    if one[0] and other[0] and one[0] != other[0]:
        return False
    left, right = one[1], list(other[1])
    if len(left) != len(right):
        return False
    for interval in left:
        found = next((k for k, candidate in enumerate(right) if _same_interval(interval, candidate, same)), None)
        if found is None:
            return False
        del right[found]
    return True


def _same_interval(one: Interval, other: Interval, same: Same) -> bool:
    ends = (one.closed_low, one.closed_high) == (other.closed_low, other.closed_high)
    return ends and same(one.low, other.low) and same(one.high, other.high)


def intervals_in(text: str) -> tuple[str | None, list[Interval]] | None:
    """(the variable, or "" if none is named but it can only be a set, or None for `(1,3)`; the intervals)."""
    text = text.strip()
    variable: str | None = None
    if (match := re.fullmatch(r"\\\{\s*([a-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.*)\\\}", text)) is not None:
        text = match[2].strip()
    if (match := re.match(rf"({_SYMBOL.pattern})\s*\\in(?![a-z])\s*", text)) is not None:
        variable, text = match[1], text[match.end() :].strip()
    if (
        plain_text(text).removeprefix("x is ").casefold()
        in (plain_text(w).casefold() for w in _WHOLE if w != r"\text{R}")
        or text in _WHOLE
    ):
        return variable or "", [Interval(LOWEST, False, HIGHEST, False)]
    if (match := _ABSOLUTE.fullmatch(text)) is not None:
        name, sign, value = match.groups()
        low, closed = f"-({value})", "eq" in sign
        if sign in ("<", r"\leq"):
            return name, [Interval(low, closed, value, closed)]
        return name, [Interval(LOWEST, False, low, closed), Interval(value, closed, HIGHEST, False)]
    pieces = re.split(r"\\cup(?![a-z])|(?<=[\])])\s*U\s*(?=[(\[])|\\text\{\s*or\s*\}|\bor\b|\\lor(?![a-z])", text)
    if len(pieces) == 1 and (both := _two_rays(text)) is not None:
        return both
    found: list[Interval] = []
    unioned = len(pieces) > 1
    for piece in pieces:
        named, interval = _one_interval(piece.strip())
        if interval is None:
            return None
        if named and variable and named != variable:
            return None
        variable = variable or named
        found.append(interval)
    return (variable if variable is not None else "" if unioned else None), found


def _two_rays(text: str) -> tuple[str | None, list[Interval]] | None:
    """`x > 1, x < 3` is what both allow, and `x < 1, x > 3` is what either allows, since both allow nothing."""
    parts = split_at_commas(text)
    (name, one), (name_too, other) = map(_inequality, parts) if len(parts) == 2 else ((None, None), (None, None))
    if one is None or other is None or name != name_too:
        return None
    low, high = (one, other) if one.low == LOWEST else (other, one)
    end, start = number(low.high), number(high.low)
    if end is None or start is None or low.low != LOWEST or high.high != HIGHEST:
        return None
    between = Interval(high.low, high.closed_low, low.high, low.closed_high)
    return name, [low, high] if end < start else [between]


def _one_interval(text: str) -> tuple[str | None, Interval | None]:
    if match := re.fullmatch(r"([(\[\]])(.*)([)\]\[])", text):
        ends = split_at_commas(match[2])
        if len(ends) == 2 and all(ends) and (match[1], match[3]) not in ((")", "("),):
            low, high = (end.strip() for end in ends)
            only = None if match[1] != "]" and match[3] != "[" else ""
            if re.search(r"\\infty", low + high) or match[1] + match[3] in ("(]", "[)"):
                only = ""
            return only, Interval(low, match[1] == "[", high, match[3] == "]")
        return None, None
    both = re.split(r"\\text\{\s*and\s*\}|\band\b|\\land(?![a-z])", text)
    if len(both) == 2:
        (name, one), (name_too, other) = (_one_interval(part.strip()) for part in both)
        if one is None or other is None or name != name_too:
            return None, None
        low, high = (one, other) if one.low != LOWEST else (other, one)
        if low.high != HIGHEST or high.low != LOWEST:
            return None, None
        return name, Interval(low.low, low.closed_low, high.high, high.closed_high)
    return _inequality(text)


def _inequality(text: str) -> tuple[str | None, Interval | None]:
    """(the variable, its interval) of `a < x`, `x \\leq b` or `a < x \\leq b`, in either direction."""
    signs, sides = _RELATION.findall(text), [side.strip() for side in _RELATION.split(text)]
    if len(signs) not in (1, 2) or not all(sides) or len({s in (r"\leq", "<") for s in signs}) != 1:
        return None, None
    if signs[0] in (r"\geq", ">"):
        signs, sides = signs[::-1], sides[::-1]
    closed = [sign in (r"\leq", r"\geq") for sign in signs]
    names = [position for position, side in enumerate(sides) if _SYMBOL.fullmatch(side) and side not in (r"\pi", "e")]
    if len(sides) == 3:
        if 1 not in names:
            return None, None
        return sides[1], Interval(
            sides[0], closed[0] and sides[0] != LOWEST, sides[2], closed[1] and sides[2] != HIGHEST
        )
    if len(names) != 1:
        return None, None
    if names == [0]:
        return sides[0], Interval(LOWEST, False, sides[1], closed[0])
    return sides[1], Interval(sides[0], closed[0], HIGHEST, False)


def matrices(gold: str, given: str, same: Same) -> bool | None:
    r"""Matrices are compared entry by entry. A column or a row may be written as a tuple."""
    if (said := _unit_vectors(gold, given, same)) is not None:
        return said
    one, other = _rows(gold), _rows(given)
    if one is None and other is None:
        return None
    if one is None or other is None:
        rows, text = (one, given) if one is not None else (other, gold)
        enclosed = _enclosed(text)
        if rows is None or enclosed is None or enclosed[0] not in ("()", "[]") or 1 not in (len(rows), len(rows[0])):
            return False
        one, other = [[entry for row in rows for entry in row]], [split_at_commas(enclosed[1])]
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    return all(same(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True))


def _unit_vectors(gold: str, given: str, same: Same) -> bool | None:
    """`3i + 4j` is the vector (3,4), and (3,4,0); None if neither or both are written so."""
    one, other = _components(gold), _components(given)
    components, text = (one, given) if one is not None else (other, gold)
    if components is None or (one is not None and other is not None):
        return None
    rows, enclosed = _rows(text), _enclosed(text)
    if rows is None and (enclosed is None or enclosed[0] != "()"):
        return None
    parts = split_at_commas(enclosed[1] if enclosed is not None else "")
    parts = parts if rows is None else [entry for row in rows for entry in row]
    if rows is not None and len(parts) != len(rows):
        return None
    if not max(map("ijk".index, components)) < len(parts) <= 3:
        return False
    return all(same(part, components.get(axis, "0")) for part, axis in zip(parts, "ijk", strict=False))


def _components(text: str) -> dict[str, str] | None:
    """The components of `3i - \\frac{1}{2}j`, in which `j` or `k` stands beside another one; else None."""
    terms = re.findall(r"([-+]?)((?:[^-+{}()ijk]|\\[a-z]+|\{[^{}ijk]*\})*)([ijk])(?![A-Za-z])\s*", text)
    if len(terms) < 2 or "".join(map("".join, terms)).replace(" ", "") != text.replace(" ", ""):
        return None
    components = {axis: f"{sign}{value.strip() or '1'}".removeprefix("+") for sign, value, axis in terms}
    return components if len(components) == len(terms) else None


def _rows(text: str) -> list[list[str]] | None:
    if turned := re.fullmatch(r"([(\[].*[)\]])\^\{(?:T|\\top|t|\\text\{T\})\s*\}", text):
        enclosed = _enclosed(turned[1])
        parts = split_at_commas(enclosed[1]) if enclosed is not None else []
        return [[part] for part in parts] if len(parts) > 1 else None
    outside = _enclosed(text)
    if outside is not None and outside[0] in ("()", "[]") and outside[1].startswith(r"\begin"):
        text = outside[1]
    if match := _MATRIX.fullmatch(text):
        rows = [row.strip() for row in re.split(r"\\\\", match[1]) if row.strip()]
        return [[entry.strip() for entry in row.split("&")] for row in rows]
    if outside is not None and outside[0] == "[]":
        rows = split_at_commas(outside[1])
        inner = [_enclosed(row) for row in rows]
        if all(row is not None and row[0] == "[]" for row in inner):
            return [split_at_commas(row[1]) for row in inner if row is not None]
    return None
