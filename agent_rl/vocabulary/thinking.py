"""How models mark their thinking in a reply. What stands between an opening and an ending is no part of the answer."""

from __future__ import annotations

import re

_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""The marks of DeepSeek and Qwen, Claude, Gemini, common reward prompts, Seed, Magistral, Kimi, Sky-T1 and gpt-oss. A
template may put the opening into the prompt, so that a reply holds the ending alone."""
_MENTION = (
    r"(?![\"']|\\[nt\"']|`(?!``)|[,;)]|\.(?:\s|\Z)"
    r"|[ \t]+(?-i:tags?|marks?|markers?|tokens?|blocks?|elements?|sections?)\b(?!\s*[=(\[+*/|&-]|\.\w))"
)
"""A mark is only mentioned, in a string or in a text, before a quote, an escape, a single backtick, what goes on with a
sentence, or a word for what it is (`<think> tags are dropped:`). A variable `tags` is none."""


def _any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"(?:{'|'.join(re.escape(mark) for mark in marks)}){_MENTION}", re.IGNORECASE)


THINKING_MARKS = tuple(mark for pair in _MARKS for mark in pair)
OPENING = _any_of(tuple(opening for opening, _ in _MARKS))
ENDING = _any_of(tuple(ending for _, ending in _MARKS))
OPENING_LINE = re.compile(rf"^[ \t]*(?:{OPENING.pattern})", re.IGNORECASE | re.MULTILINE)
"""An opening with which a line begins."""


def opened_by(prompt: str) -> str:
    """The mark with which `prompt` ends if it opens the thinking of the reply that follows, else ""."""
    end = prompt.rstrip()[-64:]
    return next((opening for opening, _ in _MARKS if end.endswith(opening)), "")


def without_thinking(text: str) -> str | None:
    """What follows the last end of thinking; `text` itself if it holds none; None if thinking begins and never ends."""
    start = 0
    for end in ENDING.finditer(text):
        start = end.end()
    return None if OPENING.search(text, start) else text[start:]
