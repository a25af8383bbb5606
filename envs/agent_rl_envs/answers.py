"""Final answers of data sets: the gold answer of a row, and what compares answers (`AnswerComparison`, `final_answer`).

A gold answer that no reply can match is a mistake of the data set, and is found when the rows are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_rl import AnswerComparison, ConfigError, final_answer

__all__ = ["AnswerComparison", "Gold", "final_answer", "gold_answer"]


@dataclass(frozen=True)
class Gold:
    """The answer that a reply is compared with, and a reply that gives it."""

    answer: str
    reply: str


def gold_answer(text: str, where: str) -> Gold:
    """The final answer in `text`: a solution that ends with `####` or a box, or the answer alone.

    Raises ConfigError that begins with `where` if a reply that says just this would be judged wrong: the answer is too
    long, has lines, or cannot be told from the text around it.
    """
    text = text.strip()
    answer = final_answer(text)
    if answer is not None:
        return Gold(answer, text)
    if r"\begin{" in text:
        text = " ".join(text.split())
    reply = f"#### {text}"
    answer = None if "####" in text or "\n" in text else final_answer(reply)
    if answer is None:
        raise ConfigError(f"{where}: no reply can give the answer {_shown(text)}: {_reason(text)}")
    return Gold(answer, reply)


def _reason(text: str) -> str:
    if "\n" in text:
        return r"it has several lines and no final answer after #### or in \boxed{}"
    if final_answer(rf"\boxed{{{text}}}") is not None:
        return "behind #### it reads as a heading"
    return f"it has {len(text)} characters, more than a final answer may have, or its braces do not match"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:30]}…{text[-20:]}")
