"""Finds the final answer at the end of a text: of a model's reply, or of a data set's solution."""

from __future__ import annotations

import re

MAX_ANSWER_LENGTH = 200
"""Characters. A longer text does not count as a final answer."""
_HASHES = re.compile(r"####[ \t]*([^\n]*)")


def final_answer(reply: str) -> str | None:
    r"""The last text in `reply` after `####` or inside `\boxed{}`; None if there is none, or if it is too long."""
    candidates: list[tuple[int, str]] = []
    for match in _HASHES.finditer(reply):
        candidates.append((match.start(), match[1]))
    start = reply.rfind(r"\boxed{")
    if start >= 0:
        inside = _braced(reply, start + len(r"\boxed"))
        if inside is not None:
            candidates.append((start, inside))
    if not candidates:
        return None
    answer = max(candidates)[1].strip().removesuffix(".").strip("$ ")
    return answer if 0 < len(answer) <= MAX_ANSWER_LENGTH and _is_one(answer) else None


def _is_one(answer: str) -> bool:
    """Whether `answer` is one answer: it cannot close the `\\boxed` that it is put into and open another."""
    depth = 0
    for character in answer:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0 and "boxed" not in answer


def _braced(text: str, start: int) -> str | None:
    """The text between the brace at `start` and its closing brace; None if it is never closed."""
    depth = 0
    for position in range(start, min(len(text), start + 2 * MAX_ANSWER_LENGTH)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + 1 : position]
    return None
