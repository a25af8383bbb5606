"""Equations and inequalities: which value an equation names, and when two of them say the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from .structures import split_at_commas
from .values import constant_ratio, expression
from .writing import Same, plain_text

_EQUALS = re.compile(r"(?<![<>!:])=|\\approx(?![a-z])|\\equiv(?![a-z])")
_SYMBOL = r"(?:[A-Za-z]|\\(?!frac|sqrt|cdot|pi\b|infty)[a-z]{2,8})(?:_\{[\w,]+\})?'*"
_NAME = re.compile(
    rf"{_SYMBOL}(?:\^\{{-1\}})?\s*(?:\([A-Za-z0-9, =|\\.-]{{1,24}}\))?"
    r"|\\frac\{d(?:\^\{2\})?[a-z]?\}\{d[a-z](?:\^\{2\})?\}|\|[A-Za-z]{1,2}\|"
    r"|[A-Za-z](?:\s*:\s*[A-Za-z])+"
)
_NAMES = re.compile(r"\((?:[a-z]|\\[a-z]{2,7})\s?(?:,\s*(?:[a-z]|\\[a-z]{2,7})\s?)+\)")
_COMMAND, _LETTER = re.compile(r"\\[A-Za-z]+"), re.compile(r"[A-Za-z]")
_LABEL = re.compile(
    r"(?:[A-Za-z][A-Za-z'-]*\s+){0,5}[A-Za-z]{2,}|\\(?:angle|overline|triangle|text)\b.*|\|?[A-Z]{2,4}\|?"
)
_PLAIN_LABEL = re.compile(r"[A-Za-z_{}()|+\-/\s'\\]+")
_ASSIGNMENT_END = re.compile(r",|;|\\\\|\\text\{\s*and\s*\}|\band\b")
_CONSTANT = re.compile(r"(?<=\+)(\s*)([CcKk]|\\text\{\s*(?:constant|const\.?)\s*\}|constant|const)$")
_INTEGRATED = re.compile(r"(?<![A-Za-z\\])(?:[tuxyz]|\\theta)(?![A-Za-z])")
_RELATIONS = {"<": (-1, True), ">": (1, True), r"\leq": (-1, False), r"\geq": (1, False)}


def sides(text: str) -> list[str]:
    """What stands between the equals signs of `text`; one part if it is no equation."""
    cuts = [(match.start(), match.end()) for match in _EQUALS.finditer(text) if _is_outside(text, match.start())]
    starts, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _is_outside(text: str, position: int) -> bool:
    """Whether no bracket that is open before `position` is closed behind it."""
    before = text[:position]
    return all(before.count(a) <= before.count(b) for a, b in ("()", "{}"))


def equations(gold: str, given: str, same: Same) -> bool | None:
    """`x = 5` is right for the gold `5`, and `5` for `x = 5`: an equation that only names a value is that value.

    Otherwise an equation equals another one if both say the same (`y = 2x` and `2x - y = 0`), and no number.
    """
    one, other = sides(gold), sides(given)
    if (len(one) == 1 and len(other) == 1) or "" in one or "" in other:
        return None
    named, said = _named(one, _is_name, same), _named(other, _is_name, same)
    if len(one) > 1 and len(other) > 1:
        if named is not None and said is not None and _same_name(named[0], said[0]):
            return same(named[1], said[1]) or _equivalent(one, other)
        return _equivalent(one, other)
    if len(other) == 1:
        return named is not None and same(named[1], given)
    said = said or _named(other, _is_label, same)
    if said is not None:
        return same(gold, said[1])
    # `6 * 7 = 42`: a calculation that is right.
    return not re.search(r"(?<!\\)\b[a-z]\b", given) and all(same(other[-1], side) for side in [gold, *other[:-1]])


def assignments(gold: str, given: str, same: Same) -> bool | None:
    """`x = 1, y = 2`, `(x, y) = (1, 2)` and `(1, 2)` are one answer: a variable's values are compared."""
    one, other = _assigned(gold), _assigned(given)
    if one is None and other is None:
        return None
    if one is None or other is None:
        values, text = (one, given) if one is not None else (other, gold)
        inside = re.fullmatch(r"\((.*)\)", text)
        parts = split_at_commas(inside[1] if inside else text)
        if values is None or len(parts) != len(values) or "=" in text:
            return None
        return all(same(values[name], part) for name, part in zip(_in_order(values), parts, strict=True))
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def constants_of_integration(gold: str, given: str) -> tuple[str, str]:
    """Both with `C` for the constant, if both end with one: `x^2 + C` is `x^2 + c`, and `a + C` is not `a + c`."""
    one, other = _CONSTANT.search(gold), _CONSTANT.search(given)
    if one is None or other is None or one[2] != "C" or not _INTEGRATED.search(gold):
        return gold, given
    integral = given[: other.start()]
    is_constant = re.search(r"[A-Da-dKk]", _COMMAND.sub("", integral)) is None
    return gold, f"{integral} C" if is_constant else given


def _in_order(names: Iterable[str]) -> list[str]:
    r"""Names in the order in which their values are written alone: `x, y` by the alphabet, `r, \theta` as it is."""
    names = list(names)
    return names if any("\\" in name for name in names) else sorted(names)


def _assigned(text: str) -> dict[str, str] | None:
    """Two or more variables and their values; None if `text` says something else."""
    text = re.sub(r"^\\begin\{(?:cases|aligned|array)\}(.*)\\end\{(?:cases|aligned|array)\}$", r"\1", text).replace(
        "&", ""
    )
    if match := re.fullmatch(r"\(((?:[a-z, ]|\\[a-z]{2,7})+)\)\s*=\s*\((.*)\)", text):
        names, values = [name.strip() for name in match[1].split(",")], split_at_commas(match[2])
    else:
        parts = [re.split(r"(?<![<>])=", part) for part in _ASSIGNMENT_END.split(text)]
        if any(len(part) != 2 for part in parts):
            return None
        names, values = [part[0].strip() for part in parts], [part[1].strip() for part in parts]
    distinct = len(set(names)) == len(names) == len(values) >= 2
    return dict(zip(names, values, strict=True)) if distinct and all(_is_name(name) for name in names) else None


def _named(parts: list[str], is_name: Callable[[str], bool], same: Same) -> tuple[str, str] | None:
    """(the name, the value) of an equation such as `x = 5`, `5 = x` or `x = 2 + 3 = 5`; None if it names none."""
    if len(parts) < 2:
        return None
    if is_name(parts[0]) and not _says_itself(parts[0], parts[-1]):
        steps = [part for part in parts[1:-1] if not _LETTER.search(_COMMAND.sub("", part))]
        return (parts[0], parts[-1]) if all(same(step, parts[-1]) for step in steps) else None
    is_named = len(parts) == 2 and is_name(parts[1]) and not _says_itself(parts[1], parts[0])
    return (parts[-1], parts[0]) if is_named else None


def _says_itself(name: str, value: str) -> bool:
    """Whether an equation is none that names a value: `x = 2x + 3` is not `2x + 3`."""
    return bool(re.fullmatch("[a-z]", name)) and name in _LETTER.findall(_COMMAND.sub("", value))


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) or bool(_NAMES.fullmatch(text)) or _is_words(text)


def _is_words(text: str) -> bool:
    return bool(_LABEL.fullmatch(text)) and not re.fullmatch(r"[a-z]{2}", text)


def _is_label(text: str) -> bool:
    """Whether `text` may stand for what was asked: `a + b`, `AB`, `|x|`; it holds no digit."""
    return bool(_PLAIN_LABEL.fullmatch(text))


def _same_name(one: str, other: str) -> bool:
    names = [re.sub(r"\s", "", plain_text(name)).casefold() for name in (one, other)]
    if names[0] == names[1]:
        return not (len(names[0]) == 1 and one.strip() != other.strip())
    return any(name == "y" for name in names) and any(re.fullmatch(r"[a-z]\(x\)", name) for name in names)


def _equivalent(one: list[str], other: list[str]) -> bool:
    return len(one) == len(other) == 2 and _ratio(one, other) is not None


def inequalities(gold: str, given: str) -> bool | None:
    """`2x > 6` and `x > 3` say the same: the differences of their sides are proportional, and the directions fit."""
    one, other = _relation(gold), _relation(given)
    if one is None and other is None:
        return None
    if one is None or other is None or one[1] != other[1]:
        return False
    ratio = _ratio(one[2], other[2])
    return ratio is not None and (ratio > 0) == (one[0] == other[0])


def _relation(text: str) -> tuple[int, bool, list[str]] | None:
    found = re.findall(r"\\leq(?![a-z])|\\geq(?![a-z])|<|>", text)
    if len(found) != 1:
        return None if not found else (0, False, [text, "0"])
    direction, strict = _RELATIONS[found[0]]
    return direction, strict, [side.strip() for side in text.split(found[0])]


def _ratio(one: list[str], other: list[str]) -> Any:
    """The constant by which the differences of the sides differ, seen at several points; None if there is none."""
    values = [expression(side) for side in (*one, *other)]
    if any(value is None for value in values):
        return None
    try:
        return constant_ratio(values[0] - values[1], values[2] - values[3])
    except MemoryError:
        raise
    except Exception:  # sympy raises every kind
        return None
