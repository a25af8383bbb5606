"""Numbers that words write: `twenty-one` is 21, `a dozen eggs` are 12, `3 remainder 1`, `101 base 2`."""

from __future__ import annotations

import re
from fractions import Fraction

from .texts import has_words
from .units import is_unit
from .values import number, numerals, same_value
from .writing import listed, plain_text

_NUMBERS = dict(
    zip(
        listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty"
        ),
        range(21),
        strict=True,
    )
)
_TENS = listed("twenty thirty forty fifty sixty seventy eighty ninety")
_POWERS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = dict(
    zip(
        listed("half third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth quarter"),
        (*range(2, 13), 20, 100, 4),
        strict=True,
    )
)
_MINUS = re.compile(r"(?:negative|minus)\s+")
_BASED = re.compile(
    r"\(?([0-9A-Za-z][0-9A-Za-z ]*)\)? ?(?:_\{ ?(?:base ?)?([0-9]+|[a-z]+) ?\}|\(?(?:in )?base[ -]([0-9]+|[a-z]+)\)?)"
)
_PREFIXED = re.compile(r"0([box])([0-9A-Fa-f]+)")
_BASE_NAMES = {**_NUMBERS, "binary": 2, "octal": 8, "decimal": 10, "hex": 16}
_REMAINDER = re.compile(
    r"(?:(?:the )?quotient(?: is|:)? ?)?(-?\d+),?(?: and| with)?(?: a| an| the)? ?"
    r"(?:(?:remainder|rem\.?)(?: of| is|:)?|[Rr]\.?) ?(\d+)"
)
_SHARE = re.compile(r"(.+?) (?:out of|in)(?: every)? (.+)")
_WORD = re.compile(r"[A-Za-z]+")
_COUNTED = re.compile(r"[-+]?\s*(?:[\d.$€£¥]|\\frac)")
_MOST_WORDS = 16
"""Of a number, such as `two million three hundred and four thousand and twelve`."""


def spelled(gold: str, given: str) -> bool | None:
    """`two` is 2, and `negative twenty-one` is -21."""
    if not any(re.match(r"(?:\\text\{)?\s*(?:a\s+)?[A-Za-z]{2}", text) for text in (gold, given)):
        return None
    one, other = (_spelled(plain_text(text)) for text in (gold, given))
    if one is not None and other is not None:
        return one == other
    value, rest = (one, given) if one is not None else (other, gold)
    if value is None or has_words(rest):
        return None
    return same_value(rf"\frac{{{value.numerator}}}{{{value.denominator}}}", numerals(rest)) or None


def in_figures(gold: str, given: str) -> tuple[str, str]:
    """Both answers, with figures for the number in words before what is counted: `a dozen eggs`, `half of it`.

    A gold answer in words may be a name (`Seven Samurai`): it is read so only before a unit, or if the other answer
    counts the same.
    """
    if not any(_WORD.search(text) for text in (gold, given)):
        return gold, given
    (one, rest), (other, _) = _figures(gold), _figures(given)
    if rest and not is_unit(rest) and rest.casefold() not in plain_text(other).casefold():
        one = gold
    return one, other if _COUNTED.match(one) else given


def _figures(text: str) -> tuple[str, str]:
    """(`text` with figures for the number in words that it begins with, what stands behind it); else (`text`, "")."""
    plain = plain_text(text)
    if (share := _SHARE.fullmatch(plain)) is not None:
        part, whole = _spelled(share[1]), _spelled(share[2])
        if part is not None and whole and 0 <= part <= whole and whole.denominator == 1:
            return _fraction(part / whole), ""
    if re.search(r"\d", plain):
        return text, ""
    if (both := _two_units(plain)) is not None:
        return both, both
    ends = [match.end() for match in _WORD.finditer(plain)][:_MOST_WORDS]
    for end in reversed(ends):
        value, rest = _spelled(plain[:end]), plain[end:]
        if value is not None and rest.startswith(" "):
            rest = re.sub(r"^(?: of)? an? ", " ", rest)  # `half an hour`
            return f"{_fraction(value)}{rest}", rest.strip()
    article = re.fullmatch(r"an? (\w{3,})", plain)
    return (f"1 {article[1]}", article[1]) if article is not None and is_unit(article[1]) else (text, "")


def _two_units(text: str) -> str | None:
    """`six feet two inches` as `6 feet 2 inches`, and `an hour and a half` as `\\frac{3}{2} hour`; else None."""
    words = text.replace(",", " ").split()
    at = next((n for n, word in enumerate(words) if n and is_unit(word)), 0)
    first = _spelled(" ".join(words[:at])) if words[:at] not in (["a"], ["an"]) else Fraction(1)
    if not at or first is None:
        return None
    if words[at + 1 :] == ["and", "a", "half"]:
        return f"{_fraction(first + Fraction(1, 2))} {words[at]}"
    behind = words[at + 2 : -1] if words[at + 1 : at + 2] == ["and"] else words[at + 1 : -1]
    second = _spelled(" ".join(behind))
    return None if second is None else f"{_fraction(first)} {words[at]} {_fraction(second)} {words[-1]}"


def _fraction(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def remainders(gold: str, given: str) -> bool | None:
    """`3 R 1` is `3 remainder 1`, no product, and no other quotient with that remainder."""
    one, other = (_REMAINDER.fullmatch(plain_text(text)) for text in (gold, given))
    if one is None and other is None:
        return None
    return one is not None and other is not None and list(map(int, one.groups())) == list(map(int, other.groups()))


def _spelled(text: str) -> Fraction | None:
    """The value of a number, which may be written in words; None if `text` is none."""
    if (plain := number(text)) is not None:
        return plain
    text = text.casefold().strip()
    minus = _MINUS.match(text)
    rest = text[minus.end() :] if minus else text
    value = number(rest) if minus and not rest.startswith("-") else None
    if value is None:
        words = re.sub(r"[-,]", " ", rest).split()
        value = next((v for v in (read(words) for read in (_in_words, _with_part, _with_point)) if v is not None), None)
    return None if value is None else Fraction(-value if minus else value)


def _with_part(words: list[str]) -> Fraction | None:
    """The value of `two thirds`, `a half`, `two and a half`; None if the words are no such number."""
    if "and" in words:
        at = len(words) - 1 - words[::-1].index("and")
        whole, part = _in_words(words[:at]), _with_part(words[at + 1 :])
        return None if whole is None or part is None or part >= 1 else whole + part
    name = {"halves": "half"}.get(words[-1], words[-1].removesuffix("s")) if words else ""
    if name not in _PARTS or (len(words) == 1 and words != ["half"]):
        return None
    count = 1 if words[:-1] in ([], ["a"], ["an"]) else _in_words(words[:-1])
    return Fraction(count, _PARTS[name]) if count and (count == 1) == (words[-1] == name) else None


def _with_point(words: list[str]) -> Fraction | None:
    """The value of `two point five`; None if the words are no such number."""
    if "point" not in words:
        return None
    at = words.index("point")
    whole, digits = _in_words(words[:at]), [_NUMBERS.get(word, 10) for word in words[at + 1 :]]
    if whole is None or not digits or max(digits) > 9:
        return None
    return whole + Fraction(int("".join(map(str, digits))), 10 ** len(digits))


def _in_words(words: list[str]) -> int | None:
    """The value of `one thousand two hundred and thirty four`; None if the words are no such number."""
    if words[-1:] == ["dozen"]:
        count = 1 if words[:-1] in ([], ["a"]) else _in_words(words[:-1])
        return 12 * count if count else None
    total, last, part = 0, 10**15, list[str]()
    for word in words:
        power = _POWERS.get(word)
        if power is None:
            part.append(word)
            continue
        count = 1 if part in ([], ["a"]) and not total else _below_1000(part)
        if count is None or power >= last:
            return None
        total, last, part = total + count * power, power, []
    rest = _below_1000(part[1:] if total and part[:1] == ["and"] else part) if part or not total else 0
    return None if rest is None or (total and rest >= 1000) else total + rest


def _below_1000(words: list[str]) -> int | None:
    if "hundred" not in words:
        return _below_100(words)
    at = words.index("hundred")
    behind = words[at + 1 :]
    count = 1 if words[:at] in ([], ["a"]) else _below_100(words[:at])
    rest = _below_100(behind[1:] if behind[0] == "and" else behind) if behind else 0
    return None if not count or rest is None else 100 * count + rest


def _below_100(words: list[str]) -> int | None:
    tens = 10 * (_TENS.index(words[0]) + 2) if words and words[0] in _TENS else 0
    if len(words) == 1:
        return tens or _NUMBERS.get(words[0])
    one = _NUMBERS.get(words[1], 0) if len(words) == 2 else 0
    return tens + one if tens and 0 < one < 10 else None


def bases(gold: str, given: str) -> bool | None:
    """A number with a base equals the same number with the same base. Without a base it has base ten: 11 is no 11_2."""
    one, other = _based(gold), _based(given)
    if one is None and other is None:
        return None
    for based, rest in ((one, given), (other, gold)):
        if based is not None and based[1] == 10 and number(rest) is not None:
            return number(rest) == number(based[0])
    return one == other


def _based(text: str) -> tuple[str, int] | None:
    text = plain_text(text).replace("\ue000", "")
    if match := _PREFIXED.fullmatch(text):
        return match[2].lstrip("0").lower() or "0", {"b": 2, "o": 8, "x": 16}[match[1]]
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    name, digits = match[2] or match[3], match[1].replace(" ", "")
    base = int(name) if name.isdigit() else _BASE_NAMES.get(name, 0)
    if not 2 <= base <= 36 or not (digits[0].isdigit() or digits.isupper()):
        return None
    valid = all(int(digit, 36) < base for digit in digits)
    return (digits.lstrip("0").lower() or "0", base) if valid else None
