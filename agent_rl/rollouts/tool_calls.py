"""Reads tool calls from the model's text, and writes them.

Two syntaxes are read. `json`: `<tool_call>{"name": "add", "arguments": {"first": 1}}</tool_call>`. `xml`:
`<function=add><parameter=first>1</parameter></function>`, with or without `<tool_call>` around it.

A call inside the thinking is none. Only thinking that stands before the first call is cut: a `</think>` in an argument
is part of the argument. What looks like a call and cannot be read is a `MalformedCall`, whose reason the model is told.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from agent_rl.rollouts.call_look_alikes import look_alike
from agent_rl.vocabulary import ToolCall
from agent_rl.vocabulary.thinking import ENDING, OPENING

ToolSyntax = Literal["json", "xml"]

_CALL_KEYS = frozenset({"name", "arguments", "id", "type"})
_EXAMPLE: dict[ToolSyntax, str] = {
    "json": '<tool_call>{"name": …, "arguments": {…}}</tool_call>',
    "xml": "<function=NAME><parameter=NAME>…</parameter></function>",
}
_MOST_THOUGHTS = 32
"""One after the other. Of more the last end counts."""


@dataclass(frozen=True, slots=True)
class MalformedCall:
    """A tool call that cannot be parsed, and what is wrong with it."""

    reason: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """A call, and where it stands in the text."""

    start: int
    end: int
    call: ToolCall | MalformedCall


def syntax_of(template: str) -> ToolSyntax:
    """The tool-call syntax that a chat template teaches; `json` if it teaches none."""
    return "xml" if "<function=" in template else "json"


def as_text(calls: Sequence[ToolCall], syntax: ToolSyntax) -> str:
    """`calls` as text, as a model writes them."""
    return "\n".join(_as_text(call, syntax) for call in calls)


def _as_text(call: ToolCall, syntax: ToolSyntax) -> str:
    if syntax == "json":
        call_object = {"name": call.name, "arguments": dict(call.arguments)}
        return f"<tool_call>\n{json.dumps(call_object, ensure_ascii=False)}\n</tool_call>"
    values = "".join(
        f"<parameter={name}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>\n"
        for name, value in call.arguments.items()
    )
    return f"<tool_call>\n<function={call.name}>\n{values}</function>\n</tool_call>"


def parse(text: str, syntax: ToolSyntax, tools: Sequence[str] = ()) -> list[ToolCall | MalformedCall]:
    """The calls in the model's reply `text`, in order. By the names of `tools`, calls without tags are noticed."""
    text = text[_thinking_end(text, syntax) :]
    calls = _calls(text, syntax)
    found = [*calls]
    starts, ends = [0, *(c.end for c in calls)], [*(c.start for c in calls), len(text)]
    for start, end in zip(starts, ends, strict=True):
        found += _look_alikes(text, start, end, syntax, tools)
    return [f.call for f in sorted(found, key=lambda f: f.start)]


def call_spans(text: str, syntax: ToolSyntax) -> list[tuple[int, int]]:
    """(start, end) of each call in `text` that can be read and does not stand inside the thinking."""
    begin = _thinking_end(text, syntax)
    calls = _calls(text[begin:], syntax)
    return [(begin + c.start, begin + c.end) for c in calls if isinstance(c.call, ToolCall)]


def _thinking_end(text: str, syntax: ToolSyntax) -> int:
    """Where the thinking before the first call ends. Thinking that never ends goes to the end of the text.

    Without an opening (the template may have written it) everything before the first end is thinking.
    """
    marks = list(ENDING.finditer(text))
    if not marks and OPENING.match(text.lstrip()) is None:
        return 0
    calls = _calls(text, syntax)
    readable = [c for c in calls if isinstance(c.call, ToolCall)]
    at = 0
    for _ in range(_MOST_THOUGHTS):
        opening = OPENING.match(text, len(text) - len(text[at:].lstrip()))
        # The thinking itself may hold anything that looks like a call. Elsewhere an end in an unreadable one is its.
        around = readable if opening else calls
        after = opening.end() if opening else at
        end = next((m for m in marks if m.start() >= after and not _inside(m.start(), around)), None)
        if opening and end is None:
            return len(text)
        called = min((c.start for c in calls if c.start >= at), default=len(text))
        if end is None or (at and not opening and end.start() > called):
            return at
        at = end.end()
    return marks[-1].end()


def _inside(position: int, calls: Sequence[_Found]) -> bool:
    return any(c.start <= position < c.end for c in calls)


def _calls(text: str, syntax: ToolSyntax) -> list[_Found]:
    return list(_json_calls(text) if syntax == "json" else _xml_calls(text))


def _json_calls(text: str) -> Iterator[_Found]:
    decoder = json.JSONDecoder()
    opening, closing = "<tool_call>", "</tool_call>"
    at = text.find(opening)
    while at >= 0:
        start = at + len(opening)
        start += len(text[start:]) - len(text[start:].lstrip())
        try:
            # The JSON is decoded instead of cut at the closing tag: a string in it may contain a closing tag.
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            call: ToolCall | MalformedCall = MalformedCall(f"the content of <tool_call> is not valid JSON: {error}")
            end = _unreadable_end(text, start, opening, closing)
        else:
            rest = text[end:].lstrip()
            if rest.startswith(closing):
                call, end = _call_of(value), len(text) - len(rest) + len(closing)
            else:
                call = MalformedCall("after the JSON object </tool_call> is missing")
                end = _unreadable_end(text, end, opening, closing)
        yield _Found(at, end, call)
        at = text.find(opening, end)


def _unreadable_end(text: str, start: int, opening: str, closing: str) -> int:
    """Where a call that cannot be read ends: behind its closing tag or before the next call."""
    closed, opened = text.find(closing, start), text.find(opening, start)
    ends = [closed + len(closing)] * (closed >= 0) + [opened] * (opened >= 0)
    return min(ends, default=len(text))


def _call_of(value: Any) -> ToolCall | MalformedCall:
    """The call that a decoded JSON value describes."""
    if not isinstance(value, dict):
        return MalformedCall('a call is an object with "name" and "arguments"')
    call = cast("dict[str, Any]", value)
    name, arguments = call.get("name"), call.get("arguments", {})
    if not isinstance(name, str) or not name:
        return MalformedCall('a call needs a "name", which is a string')
    if unknown := sorted(set(call) - _CALL_KEYS):
        return MalformedCall(f'a call has a "name" and "arguments", but no {json.dumps(unknown[0])}', name)
    if isinstance(arguments, str):  # some models write the arguments as a JSON string
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        return MalformedCall('"arguments" must be an object', name)
    return ToolCall(name, cast("dict[str, Any]", arguments))


_FUNCTION = re.compile(r"<function=([^>\s]*)>\s*")
_PARAMETER = re.compile(r"\s*<parameter=([^>\s]*)>")
_PARAMETER_END = re.compile(r"</parameter>(?=\s*(?:<parameter=|</function>))")
_FUNCTION_END = re.compile(r"\s*</function>")
_WRAPPED = re.compile(r"<tool_call>\s*\Z")
_WRAPPED_END = re.compile(r"\s*</tool_call>")


def _xml_calls(text: str) -> Iterator[_Found]:
    at = 0
    while match := _FUNCTION.search(text, at):
        tagged = _WRAPPED.search(text, at, match.start())
        start = tagged.start() if tagged else match.start()
        name, at = match[1], match.end()
        arguments: dict[str, str] = {}
        problem = "" if name else "a function needs a name: <function=NAME>"
        while not problem and (parameter := _PARAMETER.match(text, at)):
            end = _PARAMETER_END.search(text, parameter.end())
            if end is None:
                problem = f"the parameter {parameter[1]!r} is not closed by </parameter>, or </function> is missing"
                break
            if parameter[1] in arguments:
                problem = f"the parameter {parameter[1]!r} is given twice"
            value = text[parameter.end() : end.start()]
            arguments[parameter[1]] = value.removeprefix("\n").removesuffix("\n")
            at = end.end()
        closing = _FUNCTION_END.match(text, at)
        if not problem and closing is None:
            problem = "after the parameters </function> is missing"
        if problem or closing is None:
            call: ToolCall | MalformedCall = MalformedCall(problem, name or None)
            at = _unreadable_end(text, at, "<function=", "</function>")
        else:
            call, at = ToolCall(name, arguments), closing.end()
        if wrapped := _WRAPPED_END.match(text, at):
            at = wrapped.end()
        elif tagged and isinstance(call, ToolCall):
            call = MalformedCall("after </function> </tool_call> is missing", name)
        yield _Found(start, at, call)


def _look_alikes(text: str, start: int, end: int, syntax: ToolSyntax, tools: Sequence[str]) -> Iterator[_Found]:
    """What looks like a call between `start` and `end`, where no call of the right form stands."""
    if found := look_alike(text[start:end], tools):
        reason = f"{found.what}: a call is written as {_EXAMPLE[syntax]}"
        yield _Found(start + found.start, end, MalformedCall(reason, found.name))
