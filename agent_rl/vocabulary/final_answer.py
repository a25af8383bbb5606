r"""Finds the final answer in a text: of a model's reply, or of a data set's solution.

What stands last after `####` or in a box counts. Where there is neither, what follows "the answer is", "Answer:" or
`<answer>` does. Thinking is no part of the reply. What sets the answer off (Markdown, dollar signs, a heading) is left
out; what it means is for the comparison to say.
"""

from __future__ import annotations

import re

from agent_rl.vocabulary.thinking import without_thinking

MAX_ANSWER_LENGTH = 200
"""Characters. A longer text does not count as a final answer."""
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_UNBRACED = re.compile(r"(?:\\[A-Za-z]+|[^\s$\\{}]|\{[^{}\n]{0,99}\}){1,99}")
_HASHES = re.compile(r"#{4,}[ \t]*([^\n]*)")
_SAID = re.compile(
    r"<answer>|\b(?:answer|ans)\b[*_]{0,3}(?:\s+to\s[^.:\n]{1,99})?\s*(?:\bis\b|:|=)[*_]{0,3}:?"
    r"|^[#*_ \t]{0,9}(?:final\s+)?answer[*_: \t]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(
    r"[*_]*(?:the\s+)?(?:(?:final|correct)\s+)?(?:answer|result|solution)(?:\s+is\b|\s*[*_]*:)?[*_]*", re.IGNORECASE
)
_HEADING = re.compile(
    r"(?:\d+\.\s*)?(?:step|explanation|reasoning|note|notes|verification|check|checking|summary|conclusion|justification"
    r"|proof|remark|remarks|details|therefore|solution|discussion|why)\b(?:\s+\d+)?[^\d\\$]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\*|$)|</answer>")
_WRAPPED = re.compile(r"(\*\*\*|\*\*|__|\*|_|`+|\$\$|\$)\s*(.*?)\s*\1", re.DOTALL)
_BEHIND = re.compile(
    r"(?:<br ?/?>|</?[a-z]{1,10}>|<\|[a-z_]{1,20}\|>|[\u2705\u2713\u2714\U0001f300-\U0001faff\ufe0f])$"
)
"""A tag, a special token or a picture that ends a line."""
_PARENTHESISED = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)


def final_answer(reply: str) -> str | None:
    r"""The text in `reply` that is meant as its final answer; None if there is none, or if it is too long.

    Of several boxes and `####`, the last counts, and a box without an end is none. Boxes are `\boxed{72}`, `\fbox{72}`,
    `\boxed {72}` and `\boxed 72`.
    """
    said = without_thinking(reply)
    if said is None:
        return None
    marked = [place for place in (_last_box(said), _last_hashes(said)) if place is not None]
    answer = max(marked)[1] if marked else _last_said(said)
    answer = "" if answer is None else _cleaned(answer)
    return answer if 0 < len(answer) <= MAX_ANSWER_LENGTH and _is_one(answer) else None


def _last_box(text: str) -> tuple[int, str] | None:
    """(where the last box begins, what is in it); None if there is none, or if it does not end."""
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    last = boxes[-1]
    if text[last.end() : last.end() + 1] == "{":
        inside = _braced(text, last.end())
    else:
        bare = _UNBRACED.match(text, last.end())
        inside = bare[0] if bare is not None else None
    return None if inside is None else (last.start(), inside)


def _last_hashes(text: str) -> tuple[int, str] | None:
    """(where the last `####` before an answer begins, the answer). Behind a label, the answer is on the next line."""
    for match in reversed(list(_HASHES.finditer(text))):
        line = _cleaned(match[1].rstrip("# \t"))
        if line and not _LABEL.fullmatch(line):
            if _HEADING.fullmatch(line):
                continue
            label = _LABEL.match(line)
            labelled = label is not None and label[0].strip("*_").lower().endswith((":", "is"))
            return match.start(), line[label.end() :] if label is not None and labelled else line
        below = next((line for line in text[match.end() :].splitlines() if line.strip()), "#")
        if not below.lstrip().startswith("#"):
            return match.start(), below
    return None


def _last_said(text: str) -> str | None:
    """What follows the last "the answer is" up to the end of its sentence."""
    places = list(_SAID.finditer(text))
    if not places:
        return None
    start = places[-1].end()
    rest = text[start : start + 2 * MAX_ANSWER_LENGTH].strip()
    line = rest.partition("\n")[0]
    end = _SENTENCE_END.search(line)
    return line[: end.start()] if end is not None else line


def _cleaned(text: str) -> str:
    r"""`text` without what only sets it off: Markdown, `$…$`, `\(…\)`, a full stop behind it."""
    before = None
    text = text.strip()[: 4 * MAX_ANSWER_LENGTH]
    while text != before:
        before = text
        if (match := _WRAPPED.fullmatch(text)) and match[1] not in match[2]:
            text = match[2].strip()
        if match := _PARENTHESISED.fullmatch(text):
            text = (match[1] or match[2] or "").strip()
        text = re.sub(r"^(?:\*\*|__)(?=[^*]*$)|(?<=[^*\s])(?:\*\*|__)$", "", text).strip()
        text = _BEHIND.sub("", text).strip()
        text = text.removesuffix(".").strip() if not text.endswith("..") else text
    return text


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
