"""Answers that are texts: words, yes and no, letters of choices, dates, times and ratios.

Each rule says whether `given` is the answer `gold`, or None if the rule is not about such answers. A product of
variables (`xy`) is told from a word (`no`) by its letters.
"""

from __future__ import annotations

import re

from .values import number, same_value
from .writing import listed, plain_text

_COMMAND = re.compile(r"\\[A-Za-z]+")
_VARIABLES = frozenset("abcdkmnpqrtxyz")
_ENGLISH = frozenset(
    listed(
        "bad dab cab add dad day can cat car cap bar bat ban man map mat nap pan pat rat ran ram arm art tap tan tax "
        "may pay ray any dry an at am"
    )
)
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
_MORE_LETTERS = re.compile(r"(?:(?:and|or|,|;|&)\s*)?(?:\([A-J]\)|[A-J](?![A-Za-z' ]))|(?:and|or|&)\s*[A-J]\b")
"""What follows the first one of several letters: `(A) and (C)`, `(A), (C)`, `(A)(C)`."""
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
_NAMED_TIME = re.compile(r"(?:12(?::00)? )?(noon|midnight)")
_RATIO = re.compile(r"\d+(?:\.\d+)?(?: ?: ?\d+(?:\.\d+)?)+|\d+ to \d+")


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
        if _MORE_LETTERS.match(lettered[2] or lettered[4]):
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
    """Times of day are compared by the clock of 24 hours; am or pm may be missing on one side."""
    one, other = _time(gold), _time(given)
    if one is None or other is None:
        return None
    if one[0][1:] != other[0][1:]:
        return False
    if not one[1] and not other[1]:
        return one[0][0] % 24 == other[0][0] % 24
    return bool(_hours(*one) & _hours(*other))


def _hours(time: tuple[int, int, int], half: str) -> set[int]:
    """The hours of the day that a time may mean: 12 am is 0, and 3:30 may be 3 or 15."""
    hour = time[0]
    if not 1 <= hour <= 12:
        return {hour % 24}
    return {hour % 12 + 12 * (part == "p") for part in (half or "ap")}


def _time(text: str) -> tuple[tuple[int, int, int], str] | None:
    """((hour, minute, second), "a", "p" or ""); noon and midnight are times too."""
    text = plain_text(text).casefold()
    if match := _NAMED_TIME.fullmatch(text):
        return (12, 0, 0), "p" if match[1] == "noon" else "a"
    match = _TIME.fullmatch(text)
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
