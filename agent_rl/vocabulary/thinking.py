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
"""The marks of DeepSeek and Qwen, Claude, Gemini, common reward prompts, Seed, Magistral, Kimi, Sky-T1 and gpt-oss."""

THINKING_MARKS = tuple(mark for pair in _MARKS for mark in pair)
OPENING = re.compile("|".join(re.escape(opening) for opening, _ in _MARKS), re.IGNORECASE)
ENDING = re.compile("|".join(re.escape(ending) for _, ending in _MARKS), re.IGNORECASE)


def opened_by(prompt: str) -> str:
    """The mark with which `prompt` ends if it opens the thinking of the reply that follows, else ""."""
    end = prompt.rstrip()[-64:]
    return next((opening for opening, _ in _MARKS if end.endswith(opening)), "")
