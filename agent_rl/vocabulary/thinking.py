"""Separates what a model thought aloud from what it replied."""

from __future__ import annotations

import re

_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"""How thinking begins and ends, in the templates of well-known models. A template may put the beginning into the
prompt, so that a reply holds the end alone."""
_MENTION = r"(?![\"']|\\[nt\"']|`(?!``))"
"""A tag that a quote, an escape or a single backtick follows is talked about: a string in a program, code in a text."""


def _any_of(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"(?:{'|'.join(re.escape(tag) for tag in tags)}){_MENTION}", re.IGNORECASE)


_BEGIN = _any_of(tuple(begin for begin, _ in _TAGS))
_END = _any_of(tuple(end for _, end in _TAGS))


def without_thinking(text: str) -> str | None:
    """What follows the last end of thinking; `text` itself if it holds none; None if thinking begins and never ends."""
    start = 0
    for end in _END.finditer(text):
        start = end.end()
    return None if _BEGIN.search(text, start) else text[start:]
