"""Answers that are texts: words, yes and no, letters of choices, dates, times and ratios, numbers with a base.

Each rule says whether `given` is the answer `gold`, or None if the rule is not about such answers. A product of
variables (`xy`) is told from a word (`no`) by its letters.
"""

from __future__ import annotations

import re
from fractions import Fraction

from .values import number, numerals, same_value
from .writing import listed, plain_text

_COMMAND = re.compile(r"\\[A-Za-z]+")
_VARIABLES = frozenset("abcdkmnpqrtxyz")
_ENGLISH = frozenset(
    listed(
        "bad dab cab add dad day can cat car cap bar bat ban man map mat nap pan pat rat ran ram arm art tap tan tax "
        "may pay ray any dry an at am"
    )
)
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
_SAME = {
    **dict.fromkeys(("no solution", "no solutions", "none", "there is no solution", "there are no solutions"), "∅"),
    **dict.fromkeys(("no solution exists", "no solutions exist"), "∅"),
    **dict.fromkeys(("empty set", "emptyset", "null set"), "∅"),
    **dict.fromkeys(("no real solution", "no real solutions", "there are no real solutions", "ø"), "∅"),
    **dict.fromkeys(("dne", "does not exist", "limit does not exist", "d n e"), "does not exist"),
    **dict.fromkeys(("true", "yes"), "yes"),
    **dict.fromkeys(("false", "no"), "no"),
    **dict.fromkeys(("infinitely many", "infinitely many solutions", "infinite solutions"), "infinitely many"),
    **dict.fromkeys(("all real numbers", "all reals", "set of all real numbers", "real numbers", "mathbb r"), "reals"),
}
_PLACED = re.compile(r"(?:on|in|at) (\w.*)")
_KIND = re.compile(r"(?!(?:no|any|all|each) )(\w{2,}) (?:function|number|integer)s?")
_LETTER = re.compile(r"\(\s*([A-Ja-j])\s*\)|(?:(?i:option|choice|answer)\s*:?\s*)?\(?([A-Ja-j])\)?[.):]?")
_LETTERED = re.compile(r"\(([A-Ja-j])\)\s*(.+)|([A-J])[.):]\s*(.+)")
_CHOICE = re.compile(r"\([A-J]\)|(?<![A-Za-z])[A-J](?=[.):,]|$)|(?<=or )[A-J]\b|(?<=and )[A-J]\b")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?\d*){2,}")
_MONTHS = listed("jan feb mar apr may jun jul aug sep oct nov dec")
_MONTH = r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
_MONTH += r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
_DATES = (
    re.compile(rf"(?P<m>{_MONTH}) (?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<y>\d{{4}}))?"),
    re.compile(rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<m>{_MONTH})(?:,? (?P<y>\d{{4}}))?"),
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})"),
)
_WEEKDAY = re.compile(r"(?:mon|tues|wednes|thurs|fri|satur|sun)day,? (?=\S* ?\d)")
_TIME = re.compile(r"(\d{1,2}):([0-5]\d)(?::([0-5]\d))? ?([ap]\.? ?m\.?)?|(\d{1,2}) ?([ap]\.? ?m\.?)")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?: ?: ?\d+(?:\.\d+)?)+|\d+ to \d+")
_BASED = re.compile(
    r"\(?([0-9A-Za-z][0-9A-Za-z ]*)\)? ?(?:_\{ ?(?:base ?)?([0-9]+|[a-z]+) ?\}|\(?(?:in )?base[ -]([0-9]+|[a-z]+)\)?)"
)
_PREFIXED = re.compile(r"0([box])([0-9A-Fa-f]+)")
_BASE_NAMES = {**_NUMBERS, "binary": 2, "octal": 8, "decimal": 10, "hex": 16}


def is_product(run: str) -> bool:
    """Whether a run of letters in an expression is a product of variables rather than a word."""
    lower = run.lower()
    if len(run) == 1 or run.isupper():
        return True
    if lower in _ENGLISH:
        return False
    if re.fullmatch("[b-df-hj-np-tv-z]i", lower) and lower not in ("hi", "pi"):
        return True  # `bi`: the imaginary unit times b
    vowels = set(lower) & set("aeiou")
    return (
        not vowels
        or (vowels == {"a"} and len(run) <= 3 and set(lower) <= _VARIABLES)
        or len(run + "".join(vowels & set("eiou"))) == 2
    )


def has_words(text: str) -> bool:
    r"""Whether `text` holds a word: in `\text{}`, or as a run of letters that is no product of variables.

    Capitals alone are a word (`IV`), and in an expression variables or points (`AB + BC`).
    """
    if re.fullmatch(r"[A-Z]{2,}", text.strip()) or any(c.isalpha() and ord(c) > 127 for c in text):
        return True
    if re.search(r"\\text\{[^{}]*[A-Za-z]", text):
        return True
    return any(not is_product(run) for run in re.findall(r"[A-Za-z]{2,}", _COMMAND.sub(" ", text)))


def key(text: str) -> str:
    """What two texts that say the same have in common: no case, no punctuation, no article, one of several wordings."""
    text = plain_text(text).replace(r"\emptyset", "empty set").casefold()
    text = re.sub(r"[\"'`.,;:!?\\${}]+", " ", text.replace("'", ""))
    text = re.sub(r"-(?!\d)|(?<=\w)-", " ", text)
    text = re.sub(r"^(?:the|an|a)\s+(?=\S)", "", " ".join(text.split()))
    return _SAME.get(text, text)


def words(gold: str, given: str) -> bool | None:
    """Words are compared as texts, never as products of letters: `stop` is not `post`. `H2O` is H_2O."""
    formulas = [re.sub(r"[\s_{}]", "", plain_text(text)) for text in (gold, given)]
    if formulas[0] == formulas[1] and _FORMULA.fullmatch(formulas[0]):
        return True
    if not has_words(gold) and not has_words(given):
        return None
    one, other = key(gold), key(given)
    return one == other or other in _bare(one) or one in _bare(other)


def _bare(text: str) -> tuple[str, ...]:
    """`text` without a word that says nothing of its own: `on Tuesday`, `even function`."""
    matches = _PLACED.fullmatch(text), _KIND.fullmatch(text)
    return tuple(match[1] for match in matches if match)


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
        value = _in_words(words)
        value = _with_part(words) if value is None else value
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


def empty_or_named(gold: str, given: str) -> bool | None:
    r"""`\emptyset`, `\{\}` and "no solution" are one answer, and so are `\mathbb{R}` and "all real numbers"."""
    named = [re.sub(r"\\\{\s*\\\}|\{\s*\}", r"\\emptyset", text) for text in (gold, given)]
    one, other = (key(text) for text in named)
    return True if one == other and one in _SAME.values() else None


def choices(gold: str, given: str) -> bool | None:
    """The letter of a choice counts: `(B)`, `B.`, `Option B`, `B) 5` for `B`; and `B` or `5` for the gold `(B) 5`."""
    gold, given = plain_text(gold), plain_text(given)
    if re.fullmatch("[A-J]{2,}", gold) and list(gold) == sorted(set(gold)):
        letters = re.findall("[A-J]", re.sub(r"\b(?:and|or)\b|[,;&()\s]", "", given))
        return True if set(letters) == set(gold) and not re.search("[^A-J,;&() andor]", given) else None
    wanted = _LETTER.fullmatch(gold)
    said = _LETTER.fullmatch(given) or _LETTERED.fullmatch(given)
    if said is not None and len(_CHOICE.findall(given)) > 1:
        said = None  # `(A) or (B)`
    if wanted is None:
        lettered = _LETTERED.fullmatch(gold)
        if lettered is None or re.search(r"[-+*/^=]", lettered[2] or ""):
            return None
        letter, content = (lettered[1], lettered[2]) if lettered[1] else (lettered[3], lettered[4])
        if said is None:
            return key(content) == key(given) or same_value(content, given)
        return _letter(said) == letter.upper()
    letter = wanted[1] or wanted[2]
    bare = gold == letter
    if said is None or (bare and letter.islower()):
        return None
    if bare and given == given.lower() and len(given) == 1 and letter > "D":
        return None
    return _letter(said) == letter.upper()


def _letter(match: re.Match[str]) -> str:
    return next(part for part in match.groups() if part).upper()


def dates(gold: str, given: str) -> bool | None:
    """Dates are compared by year, month and day, never as differences (`2020-01-05`); a missing year is no fault."""
    one, other = _date(gold), _date(given)
    if one is None and other is None:
        return None
    if one is None or other is None:
        return False
    return one[1:] == other[1:] and (one[0] == other[0] or not one[0] or not other[0])


def _date(text: str) -> tuple[int, int, int] | None:
    text = _WEEKDAY.sub("", plain_text(text).casefold())
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            month = match["m"]
            named = _MONTHS.index(month[:3]) + 1 if month[0].isalpha() else int(month)
            return int(match["y"] or 0), named, int(match["d"])
    return None


def times(gold: str, given: str) -> bool | None:
    """Times of day are compared by hour and minute (`3:30 pm` is 15:30); am or pm may be missing on one side."""
    one, other = _time(gold), _time(given)
    if one is None or other is None:
        return None
    if one[1] and other[1]:
        return one[0] == other[0] and one[1] == other[1]
    (hours, *rest), (hours_too, *rest_too) = one[0], other[0]
    half = 12 if one[1] == "p" or other[1] == "p" else 0
    twelve = bool(one[1] or other[1])
    return rest == rest_too and (hours == hours_too or (twelve and (hours - hours_too) % 24 == half == 12))


def _time(text: str) -> tuple[tuple[int, int, int], str] | None:
    match = _TIME.fullmatch(plain_text(text).casefold())
    if match is None:
        return None
    hour, minute, second = int(match[1] or match[5]), int(match[2] or 0), int(match[3] or 0)
    return (hour, minute, second), (match[4] or match[6] or "")[:1]


def ratios(gold: str, given: str) -> bool | None:
    """`6:4`, `3 : 2`, `3 to 2` are one ratio, and so is 3/2 for a ratio of two; `2:3` is another."""
    parts = [
        re.split(r" ?: ?| to ", text) if _RATIO.fullmatch(text) else None for text in map(plain_text, (gold, given))
    ]
    one, other = parts
    if one is None and other is None:
        return None
    if one is None or other is None:
        ratio, rest = (one, given) if one is not None else (other, gold)
        if ratio is None or len(ratio) != 2 or number(ratio[1]) == 0 or _time(gold if one else given) is not None:
            return False
        return same_value(rf"\frac{{{ratio[0]}}}{{{ratio[1]}}}", rest)
    left, right = [number(part) or 0 for part in one], [number(part) or 0 for part in other]
    return len(left) == len(right) and all(a * right[0] == b * left[0] for a, b in zip(left, right, strict=True))


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
