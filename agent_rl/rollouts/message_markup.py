"""Keeps message content apart from markup: content never becomes a special token, and its position stays known.

Before a template sees a message, its content is *guarded*:

- A marker replaces every text in it that the tokenizer would read as a special token, or as another added token that
  the template itself writes (such as `<tool_response>`). The marker is later encoded as the ordinary characters of the
  text. So a tool's output that contains `<|im_end|>` never ends a turn.
- Content from environments and tools is enclosed in two characters of a private-use plane. They show its position in
  the rendering. They are placed inside the surrounding white space, so that a template can still trim it.

The model's own text is not enclosed, and only special tokens in it are replaced: a template may look for `</think>`.
In a tool call, marks of thinking are replaced too: no template may cut a call there. A template may still drop, move
or rewrite content as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from agent_rl.vocabulary import Message
from agent_rl.vocabulary.trajectory import SegmentSource

_OPEN, _CLOSE, _TASK, _TOOL, _END = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004"
_CONTROL = (_OPEN, _CLOSE, _TASK, _TOOL, _END)
_MARKER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")

GuardedMessage = Mapping[str, Any]
"""A message in the form that templates get."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A rendered conversation: `text` (still with markers), and the spans of content in it with their sources."""

    text: str
    spans: tuple[tuple[int, int, SegmentSource], ...]
    """(start, end, source) in characters, in order, not overlapping. The rest of the text is from the template."""


class Guard:
    """Guards messages for one tokenizer and template."""

    def __init__(
        self,
        special: Iterable[str],
        markup: Iterable[str],
        thinking: Iterable[str] = (),
        calls: Callable[[str], Sequence[tuple[int, int]]] = lambda text: (),
    ) -> None:
        """`special` is replaced in all messages, `markup` only in messages that are not the model's own, and `thinking`
        in the model's own only where `calls` finds tool calls: (start, end) of each.
        """
        special = sorted({s for s in special if s}, key=len, reverse=True)
        others = sorted({m for m in markup if m.strip()} - set(special), key=len, reverse=True)
        inside = sorted({m for m in thinking if m}, key=len, reverse=True)
        self._calls = calls
        self._literals = [*_CONTROL, *special, *others, *(m for m in inside if m not in special and m not in others)]
        self._index = {literal: f"{_OPEN}{i}{_CLOSE}" for i, literal in enumerate(self._literals)}
        self._of_model = _any_of([*_CONTROL, *special])
        self._of_calls = _any_of(sorted({*_CONTROL, *special, *inside}, key=len, reverse=True)) if inside else None
        # The longest first over both kinds: a token that begins like another one must not be cut.
        self._of_others = _any_of(sorted({*_CONTROL, *special, *others}, key=len, reverse=True))

    def message(self, message: Message) -> GuardedMessage:
        """`message` in the form that the template gets."""
        if message.role == "assistant":
            content = self.reply(message.content)
        else:
            content = self._enclosed(message.content, _TOOL if message.role == "tool" else _TASK)
        guarded: dict[str, Any] = {"role": message.role, "content": content}
        if message.tool_calls:
            guarded["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": self._text(call.name), "arguments": self._values(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            guarded["tool_call_id"] = self._text(message.tool_call_id)
        if message.name is not None:
            guarded["name"] = self._text(message.name)
        return guarded

    def reply(self, text: str) -> str:
        """The model's own text as it appears in renderings."""
        if self._of_calls is None or self._of_calls.search(text) is None:
            return self._of_model.sub(self._mark, text)
        parts: list[str] = []
        at = 0
        for start, end in self._calls(text):
            parts += [self._of_model.sub(self._mark, text[at:start]), self._of_calls.sub(self._mark, text[start:end])]
            at = end
        return "".join([*parts, self._of_model.sub(self._mark, text[at:])])

    def _text(self, text: str) -> str:
        return self._of_others.sub(self._mark, text)

    def _mark(self, match: re.Match[str]) -> str:
        return self._index[match[0]]

    def _enclosed(self, text: str, opening: str) -> str:
        core = text.strip()
        if not core:
            return text
        start = text.index(core[0])
        return f"{text[:start]}{opening}{self._text(core)}{_END}{text[start + len(core) :]}"

    def _values(self, value: Any) -> Any:
        """A decoded JSON value with every string in it guarded."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            mapping = cast("Mapping[Any, Any]", value)
            return {self._values(k): self._values(v) for k, v in mapping.items()}
        if isinstance(value, (list, tuple)):
            return [self._values(v) for v in cast("Sequence[Any]", value)]
        return value

    @staticmethod
    def rendering(text: str) -> Rendering:
        """The rendering of guarded messages: the enclosing characters are removed and their positions kept as spans."""
        parts: list[str] = []
        spans: list[tuple[int, int, SegmentSource]] = []
        at = 0
        *enclosed, last = text.split(_END)
        for piece in enclosed:
            opened = max(piece.rfind(_TASK), piece.rfind(_TOOL))
            before, content = _unopened(piece[: max(opened, 0)]), piece[opened + 1 :]
            parts += [before, content]
            start = at + len(before)
            at = start + len(content)
            if opened >= 0 and content:
                spans.append((start, at, "tool" if piece[opened] == _TOOL else "task"))
        parts.append(_unopened(last))
        return Rendering("".join(parts), tuple(spans))

    @staticmethod
    def enclosures(text: str, end: int) -> int:
        """How many enclosing characters `text` has before `end`."""
        return sum(text.count(mark, 0, end) for mark in (_TASK, _TOOL, _END))

    def pieces(self, text: str) -> list[tuple[str, bool, int]]:
        """`text` cut at its markers: (piece, whether it is literal, its length in `text`)."""
        if _OPEN not in text:
            return [(text, False, len(text))]
        found: list[tuple[str, bool, int]] = []
        at = 0
        for match in _MARKER.finditer(text):
            if match.start() > at:
                found.append((text[at : match.start()], False, match.start() - at))
            index = int(match[1])
            literal = self._literals[index] if index < len(self._literals) else match[0]
            found.append((literal, True, len(match[0])))
            at = match.end()
        if at < len(text):
            found.append((text[at:], False, len(text) - at))
        return found

    def plain(self, text: str) -> str:
        """`text` for a person to read: each marker is replaced by the text that it stands for."""
        return "".join(piece for piece, _, _ in self.pieces(text))


def _unopened(text: str) -> str:
    """`text` without openings of content."""
    return text.replace(_TASK, "").replace(_TOOL, "")


def _any_of(literals: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(literal) for literal in literals))
