r"""All real numbers but some: `x \neq -7, 3`, `\mathbb{R} \setminus \{-7, 3\}`, "all real numbers except -7 and 3"."""

from __future__ import annotations

import re

from .structures import HIGHEST, LOWEST, expanded, intervals_in, split_at_commas
from .writing import Same, plain_text

_VARIABLE = r"(?:[A-Za-z]|\\(?!neq|in\b|mathbb|text)[a-z]{2,7})"
_UNEQUAL = re.compile(
    rf"({_VARIABLE})\s*(?:\\neq(?![a-z])|(?:is not equal to|does not equal|is not|cannot (?:be|equal))\b)\s*(.+)"
)
_BUILT = re.compile(rf"\\\{{\s*(.*?)\s*(?:[|:]|\\text\{{\s*such that\s*\}})\s*({_VARIABLE}\s*\\neq.*)\\\}}")
_MEMBER = re.compile(rf"({_VARIABLE})\s*(?:\\in(?![a-z])|is in)\s*")
_ALL = r"(?:\\mathbb\{R\}|R)"
_WITHOUT = re.compile(rf"{_ALL}\s*(?:\\setminus|\\backslash|\\|-)\s*\\?\{{(.*?)\\?\}}")
_EVERY = (
    r"(?:the set of )?(?:all|any) (?:the )?(?:real (?:numbers?|values)|reals?|values|[a-z](?=,? ))(?: (?:of )?[a-z])?"
)
_EXCEPT = re.compile(
    rf"(?:[a-z] can be |[a-z] is )?(?:{_ALL}|{_EVERY}),? "
    r"(?:except(?: for| when| where)?|excluding|but|other than|such that|where|with)(?: ?:)? (.+)",
    re.IGNORECASE,
)
_AND = re.compile(r"\s*(?:\\text\{\s*,?\s*(?:and|nor)\s*\}|\b(?:and|nor)\b|\\land(?![a-z]))\s*")


def exclusions(gold: str, given: str, same: Same) -> bool | None:
    """The values that are left out are compared, in any order. A union of intervals may say the same."""
    one, other = _excluded(gold, same), _excluded(given, same)
    if one is None and other is None:
        return None
    if one is None or other is None or (one[0] and other[0] and one[0] != other[0]):
        return False
    rest = list(other[1])
    for value in one[1]:
        found = next((k for k, candidate in enumerate(rest) if same(value, candidate)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


def _excluded(text: str, same: Same) -> tuple[str, list[str]] | None:
    """(the variable or "", the values that it cannot have); None if `text` says something else."""
    if built := _BUILT.fullmatch(text):
        text = built[2]
    variable, member = "", _MEMBER.match(text)
    if member is not None:
        variable, text = member[1], text[member.end() :]
        text = re.sub(rf"^{_ALL}\s*(?:,|;|:|\\text\{{[^{{}}]*\}}|and\b)\s*(?={_VARIABLE}\s*\\neq)", "", text)
    if without := _WITHOUT.fullmatch(text):
        return variable, _values(without[1], "") or []
    if all_but := _EXCEPT.fullmatch(plain_text(text)):
        rest = re.sub(rf"^{_VARIABLE}\s*=\s*", "", all_but[1])
        unequal = _UNEQUAL.fullmatch(rest)
        values = _values(unequal[2], unequal[1]) if unequal else _values(rest, "")
        return None if values is None else (variable, values)
    if unequal := _UNEQUAL.fullmatch(text):
        values = _values(unequal[2], unequal[1])
        return None if values is None else (unequal[1], values)
    if re.search(r"\\infty|[<>]", text) and (found := intervals_in(text)) is not None:
        values = _between([(i.low, i.high) for i in found[1] if not (i.closed_low or i.closed_high)], same)
        return (found[0] or variable, values) if len(values) == len(found[1]) - 1 > 0 else None
    return None


def _values(text: str, variable: str) -> list[str] | None:
    """The values of a list; each may repeat that the variable is unequal. None if a part says something else."""
    text = re.sub(r"^\\?\{(.*?)\\?\}$", r"\1", text.strip())
    parts = [part.strip() for piece in split_at_commas(text) for part in _AND.split(piece)]
    values: list[str] = []
    for part in filter(None, parts):
        unequal = _UNEQUAL.fullmatch(part)
        if unequal is not None and unequal[1] != variable:
            return None
        values.append(part if unequal is None else unequal[2])
    if any(re.search(r"[=<>]|\\(?:neq|leq|geq|in|lor)(?![a-z])|\bor\b", value) for value in values):
        return None
    return list(expanded(values)) or None


def _between(gaps: list[tuple[str, str]], same: Same) -> list[str]:
    """The points between open intervals that follow each other from -∞ to ∞, as far as they do."""
    ends: list[str] = []
    at = LOWEST
    while (following := next((gap for gap in gaps if gap[0] == at or same(gap[0], at)), None)) is not None:
        gaps.remove(following)
        at = following[1]
        if at == HIGHEST:
            return [] if gaps else ends
        ends.append(at)
    return []
