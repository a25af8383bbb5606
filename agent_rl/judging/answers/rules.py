"""Whether two final answers mean the same: rules with names, asked in order, and math-verify for expressions.

A rule gets both answers in one spelling. It says whether they mean the same, or None if it is not about such answers.
The first one that says something decides.
"""

from __future__ import annotations

import re

from .equations import assignments, constants_of_integration, equations, inequalities
from .exclusions import exclusions
from .number_words import bases, in_figures, remainders, spelled
from .structures import collections, intervals, matrices
from .texts import choices, dates, empty_or_named, ratios, times, words
from .units import compound, units
from .values import numerals, same_value, squeezed
from .writing import plain_text, selections, written

_MOST_STEPS = 400
"""So many comparisons of parts are made at most: an answer that needs more is not equal."""
_LABELLED = re.compile(r"(?:(?:the\s+)?(?:final\s+)?answer|result|ans)\s*(?:is|:|=)\s*:?\s*", re.IGNORECASE)

_SENTENCE = re.compile(
    r"(?!.*\b(?:not|never|no|neither|nor|if|cannot|isn't|wrong|incorrect|except)\b)"
    r"[A-Za-z][A-Za-z' -]{0,80}(?:\b(?:is|are|equals)\s*:?|(?<=[A-Za-z]{2}):)\s*(?=[-+]?[\d$\\(.])",
    re.IGNORECASE,
)
"""Words that lead to a value: "the total is 5", "Total: 5"."""
_LEAD = re.compile(
    r"(?:therefore|thus|hence|so),?\s+|(?:approximately|approx\.?|about|roughly|around|exactly|precisely|both)\s+(?=[-+]?[\d$\\(.])",
    re.IGNORECASE,
)
_REASON = re.compile(r"(?<=\S),?\s+\(?(?:because|since)\s+\S.*", re.IGNORECASE | re.DOTALL)


def _labels(text: str) -> str:
    """`text` without "the answer is", "therefore" or "about" before the answer."""
    plain = re.sub(r"^\\text\{([^{}]*)\}", r"\1 ", text)
    match, rest = None, text
    while match := _LEAD.match(plain) or _LABELLED.match(plain) or _SENTENCE.match(plain):
        rest = plain = plain[match.end() :].strip()
    rest = re.sub(r"^(?:=|\\approx|\\sim|~|\\therefore)\s*(?=\S)", "", rest)
    return rest or text


def equal(expected: str, answer: str) -> bool:
    """Whether `answer` means the same as `expected`. What is not understood is not equal. Raises MemoryError."""
    gold, given = written(expected), written(answer)
    if not _REASON.search(gold):
        given = _REASON.sub("", given)
    given = selections(given)
    if r"\binom" in given:
        gold = selections(gold)
    return _AnswerRules().same(_labels(gold), _labels(given))


class _AnswerRules:
    """One comparison of two answers; counts its steps."""

    def __init__(self) -> None:
        self._steps = 0

    def same(self, gold: str, given: str) -> bool:
        self._steps += 1
        if self._steps > _MOST_STEPS or not gold or not given:
            return False
        if squeezed(gold) == squeezed(given):
            return True
        for rule in (choices, empty_or_named, dates, times, bases, remainders, spelled):
            said = rule(gold, given)
            if said is not None:
                return said
        gold, given = in_figures(gold, given)
        if not (re.search(r"\\text", gold) and not re.search(r"\d", gold)):
            gold, given = numerals(compound(_bare(gold))), numerals(compound(_bare(given)))
        for part_rule in (exclusions, matrices, assignments, intervals, collections, equations):
            said = part_rule(gold, given, self.same)
            if said is not None:
                return said
        return self._undivided(gold, given)

    def _undivided(self, gold: str, given: str) -> bool:
        for rule in (inequalities, ratios):
            said = rule(gold, given)
            if said is not None:
                return said
        gold, given = constants_of_integration(gold, given)
        said = units(gold, given, self.same)
        if said is None:
            said = words(gold, given)
        return same_value(gold, given) if said is None else said


def _bare(text: str) -> str:
    r"""`text` itself, or the number or expression that `\text{…}` encloses as a whole, also with a unit behind it."""
    inside = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inside and (counted := re.fullmatch(r"\s*([-+$€£]?\s*\d[\d.,]*)\s+([^\d,;]+)", inside[1])):
        return rf"{counted[1]} \text{{{counted[2]}}}"
    is_value = inside is not None and not re.match(r"[^\d]*[A-Za-z]{2}", inside[1])
    return plain_text(text) if is_value else text
