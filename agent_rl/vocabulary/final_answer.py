r"""Finds the final answer in a text: of a model's reply, or of a data set's solution.

What stands last after `####` or in a box counts. Where there is neither, what follows "the answer is", "Answer:" or
`<answer>` does. Words behind `####` are a heading where a box or a value is marked, or where they have text below them
and an answer is said; else they are the answer. What stands on a line of its own below "Answer:" may have a bullet: the
sign of `- 72` is none there, that of `-72` is. Thinking is no part of the reply. What sets the answer off (Markdown,
dollar signs, a heading) is left out; what it means is for the comparison to say.
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
    r"<(?:final_?)?answer>"
    r"|(?<![A-Za-z])(?:answers?|ans|correct\s+(?:option|choice))\b[*_]{0,3}(?:\s+to\s[^.:\n]{1,99})?"
    r"\s*(?:\b(?:is|are)\b|:|=)[*_]{0,3}:?"
    r"(?!\s*(?:correct|right|wrong|verified|confirmed)\b)"
    r"|^[#*_ \t]{0,9}(?:final\s+)?answers?[*_: \t]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(
    r"[*_]*(?:the\s+)?(?:(?:final|correct)\s+)?(answer|result|solution)(?:\s+is\b:?|\s*[*_]*:)?[*_]*", re.IGNORECASE
)
_LEAD = re.compile(r"(?:therefore|thus|hence|so|then|simply)\b[,:]?[*_]*\s*", re.IGNORECASE)
"""Words that lead to an answer and are no part of it."""
_HEADING = re.compile(
    r"(?:\d+\.\s*)?(?:step|explanation|reasoning|note|notes|verification|check|checking|summary|conclusion|justification"
    r"|proof|remark|remarks|details|solution|discussion|why)\b(?:\s+\d+)?[^\d\\$]*",
    re.IGNORECASE,
)
"""Headings that are no answer even where nothing else is marked."""
_WORDS = re.compile(
    r"[^\w\\]*(?:\d{1,2}[.):]\s+)?\(?(?!(?:sqrt|pi|sin|cos|tan|log|ln|exp)\b)[^\W\d_]{2}[\w'’-]*(?![\w(^=])"
)
"""How a line of words begins, also with a number or a picture before them; `x = 5`, `AB = 5` and `(B)` do not."""
_EQUATION = re.compile(r"[^\W\d_]{1,2}\s*=|[a-z]{2}$")
_FENCE = re.compile(r"\A\s*(?:```|~~~)\w*\n")
_BULLET = re.compile(r"[-*+•–]\s+(?=\S)")
_SENTENCE_END = re.compile(
    r"(?:(?:(?<!\bSt)(?<!\bMt)(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)\.|\.(?=\s+[^A-Z\s]|\s*$))"
    r"(?!\s+\d+(?:\.\d+)?\s?(?:in|min|oz|sec)\b)|[!?])(?=\s|\*|$)"
    r"|</(?:final_?)?answer>",
    re.IGNORECASE,
)
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
    box, value, words = _last_box(said), *_last_hashes(said)
    marked = [place for place in (box, value) if place is not None]
    if marked:
        answer = max(marked)[1]
    else:
        told = _last_said(said)
        answer = words[1] if words is not None and (told is None or words[0]) else told
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


def _last_hashes(text: str) -> tuple[tuple[int, str] | None, tuple[bool, str] | None]:
    """(the last value behind `####`, the last words behind `####`): a line of words may be an answer or a heading.

    A value is given with the place where its line begins, words with whether they end the text. Words with no text of
    their own below them go before others. Behind a label, the answer is on the next line.
    """
    words: list[tuple[bool, bool, str]] = []
    following, last = len(text), len(text.rstrip())
    for match in reversed(list(_HASHES.finditer(text))):
        line, label = _unlabelled(_cleaned(match[1].rstrip("# \t")))
        end = match.end()
        if not line and label is not None:
            below = re.compile(r"\s*([^\n]*)").match(text, end)
            if below is None or not below[1] or below[1].startswith("#"):
                continue
            label = "" if label == "answer" else label
            line, end = _BULLET.sub("", below[1], count=1) if _BULLET.match(below[1]) else below[1], below.end()
        if not line or _HEADING.fullmatch(line):
            continue
        if label == "answer" or (label in ("", "result") and not _is_words(line)):
            return (match.start(), line), None
        words.append((not text[end:following].strip(), end >= last, line))
        following = match.start()
    chosen = next((found for found in words if found[0]), words[0] if words else None)
    return None, chosen and chosen[1:]


def _unlabelled(line: str) -> tuple[str, str | None]:
    """(`line` without a label before the answer, what the label is: a word alone, "answer" for "Answer:", "" for none).

    It is None for a line that only leads on, such as "Therefore".
    """
    if not line:
        return "", "answer"
    rest = line
    while lead := _LEAD.match(rest):
        rest = rest[lead.end() :]
    if not rest:
        return "", None
    label = _LABEL.match(rest)
    if label is None:
        return rest, ""
    if label.end() == len(rest):
        return "", label[1].lower()
    said = label[0].strip("*_").lower()
    name = label[1].lower() if said.endswith(":") else ""
    return (rest[label.end() :].strip(), name) if said.endswith((":", "is")) else (rest, "")


def _is_words(line: str) -> bool:
    line = _cleaned(line)
    return bool(_WORDS.match(line)) and not _EQUATION.match(line)


def _last_said(text: str) -> str | None:
    """What follows the last "the answer is" up to the end of its sentence."""
    places = list(_SAID.finditer(text))
    if not places:
        return None
    start = places[-1].end()
    rest = text[start : start + 2 * MAX_ANSWER_LENGTH]
    line = _FENCE.sub("", rest, count=1).strip().partition("\n")[0]
    if "\n" in rest[: rest.find(line)]:
        line = _BULLET.sub("", line, count=1) if _BULLET.match(line) else line
    while lead := _LEAD.match(line):
        line = line[lead.end() :]
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
