"""What looks like a tool call and is none in the syntax that was asked for: other models' tags, bare JSON, Python.

The model is told, since it would else believe that it has called a tool. Prose or code that mentions a tool, and JSON
that names none, are answers.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from agent_rl.joined_programs import parsed

_TAGS = re.compile(
    r"(?<!`)(?:</?(?:\w+:)?(?:tool[_\- ]?calls?|function[_\- ]?calls?|invoke|tool[_\-]?use)\b[^>\n]*>?"
    r"|</?(?:function|parameter)\s*=[^>\n]*>?|</(?:function|parameter|invoke)>"
    r"|\[/?(?:END_)?tool_(?:calls?|request)\]|<[|｜](?:tool[▁_]calls?|python_tag|action_start|plugin)[^>\n]*>"
    r"|✿(?:FUNCTION|ARGS)✿|\bto=functions\.\w+)",
    re.IGNORECASE,
)
_CUT = ("<tool_call>", "<function=")
_FENCE = re.compile(r"^```\w*[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_TOOL_CODE = re.compile(r"^```tool_code[ \t]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_MOST_FENCES = 8
_MOST_OBJECTS = 64
_NAMES = ("name", "tool", "function", "tool_name", "function_name", "action", "recipient_name")
_ARGUMENTS = frozenset({
    "arguments", "parameters", "args", "kwargs", "params", "input", "tool_input", "action_input", "tool_args",
})  # fmt: skip
_HOLDERS = ("function", "tool", "action", "command", "function_call", "tool_call", "tool_calls", "calls", "tool_uses")
_INPUT = r"(?:Action[ _]?Input|Input|Arguments|Args|Parameters)"
_MODULES = ("functions", "tools", "tool", "default_api")

Beside = Literal["arguments", "anything", "nothing"]


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Where it begins in the text, what it is, and the tool that it names, if it does."""

    start: int
    what: str
    name: str | None = None


def look_alike(text: str, tools: Sequence[str]) -> LookAlike | None:
    """What looks like a call in `text`, a part of a reply that holds no call; by the names of `tools` too."""
    if match := _TAGS.search(text):
        return LookAlike(match.start(), f"{match[0]} begins or ends no call")
    for tag in _CUT:
        if cut := next((n for n in range(len(tag) - 1, 4, -1) if text.endswith(tag[:n])), 0):
            return LookAlike(len(text) - cut, f"{tag[:cut]} is cut off")
    if not tools:
        return None
    if match := _named(tools).search(_FENCE.sub(lambda fence: " " * len(fence[0]), text)):
        name = next(filter(None, match.groups()))
        return LookAlike(match.start(), f"the call of {name} has no tags", name)
    called = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, tools))})\(")
    for fence in _TOOL_CODE.finditer(text):
        if match := called.search(fence[1]):
            return LookAlike(fence.start(), f"{match[1]}(…) is no call of a tool", match[1])
    fences = [match[1] for match in _FENCE.finditer(text)][:_MOST_FENCES]
    blocks = [text, *([] if fences else [text.rpartition("\n\n")[2]]), *fences]
    for block in map(str.strip, blocks):
        if name := _called_in_python(block, tools):
            return LookAlike(0, f"{name}(…) is no call of a tool", name)
        if name := _whole(block, tools):
            return LookAlike(0, f"the call of {name} has no tags", name)
    return _in_json(_FENCE.sub(lambda fence: " " * len(fence[0]), text), tools)


def _named(tools: Sequence[str]) -> re.Pattern[str]:
    """Forms of other models that name a tool at the beginning of a line."""
    names = "|".join(map(re.escape, tools))
    return re.compile(
        rf"^[ \t]*<(?:tool|tool_name|function|function_name|action)>\s*(?:\{{\s*\"\w+\"\s*:\s*\")?"
        rf"({names})(?:\"|\(|\s*</|\s*$)"
        rf"|^[ \t]*<({names})(?:\s[^<>\n]*)?>(?=.*</\2>)|\A\s*<({names})(?:\s[^<>\n]*)?/?>"
        rf"|(?<!`)<({names})>[^<>]*</\4>\s*\Z"
        rf"|(?<!`)\bto=({names})\b"
        rf"|^[ \t]*({names})[ \t]*:?[ \t]*\{{\s*\"|\A\s*({names})[ \t]*\n\s*\{{\s*\""
        rf"|^[ \t]*(?:functions|default_api)\.({names})[ \t]*(?::\d+)?[ \t]*[({{<]"
        rf"|^[ *_#]*(?:Action|Tool|Function)[*_]*:[ *_`\"]*({names})\b[*_`\"]*[ \t]*(?:[\[(]|\n+[ *_]*{_INPUT}[*_]*:)"
        rf"|^[ *_#]*Action[*_]*:[ *_`\"]*({names})[*_`\"]*\s*\Z",
        re.MULTILINE | re.DOTALL,
    )


def _whole(block: str, tools: Sequence[str]) -> str | None:
    """The tool that a block of nothing but JSON or one element names."""
    if match := re.fullmatch(rf"<({'|'.join(map(re.escape, tools))})(?:\s[^<>\n]*)?>.*</\1>", block, re.DOTALL):
        return match[1]
    if not block.startswith(("{", "[")):
        return None
    try:
        value: Any = json.loads(block)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        return next(filter(None, (_call_in(v, tools, "arguments") for v in cast("list[Any]", value))), None)
    return _call_in(value, tools, "anything")


def _call_in(value: Any, tools: Sequence[str], beside: Beside) -> str | None:
    """The tool that a JSON object calls: it has the tool's name, and `beside` it what a call has."""
    if not isinstance(value, dict):
        return None
    entries = cast("dict[str, Any]", value)
    if "description" in entries:  # it describes a tool
        return None
    names = [str(entries[key]).removeprefix("functions.") for key in _NAMES if isinstance(entries.get(key), str)]
    name = next((name for name in names if name in tools), None)
    more = entries.keys() & _ARGUMENTS if beside == "arguments" else entries.keys() - {*_NAMES}
    if name is not None and (more or len(names) > 1 or beside == "nothing"):
        return name
    for key in _HOLDERS:
        inner = entries.get(key)
        for each in cast("list[Any]", inner) if isinstance(inner, list) else [inner]:
            if found := _call_in(each, tools, "nothing"):
                return found
    return None


def _in_json(text: str, tools: Sequence[str]) -> LookAlike | None:
    """An object with a tool's name and arguments, also one that is cut off, that is no part of a line of code."""
    names = "|".join(map(re.escape, tools))
    keys = "|".join(_NAMES)
    named = re.compile(rf"[\"'](?:{keys})[\"']\s*:\s*[\"'](?:functions\.)?({names})[\"']")
    given = re.compile(rf"[\"'](?:{'|'.join(_ARGUMENTS)})[\"']\s*:?")
    for start, end, value in _objects(text):
        before = text[text.rfind("\n", 0, start) + 1 : start]
        if re.search(r"[=(`]|\breturn\b", before):
            continue
        name = _call_in(value, tools, "arguments")
        part = text[start:end]
        if value is None and '"description"' not in part and given.search(part) and (match := named.search(part)):
            name = match[1]
        if name:
            return LookAlike(start, f"the call of {name} has no tags", name)
    return None


def _objects(text: str) -> Iterator[tuple[int, int, Any]]:
    """(start, end, value) of the objects in `text`; of one that is no JSON the value is None, and the end a guess."""
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
            yield at, end, value
        except (ValueError, RecursionError):
            closed = text.find("}\n", at)
            yield at, closed if closed >= 0 else len(text), None
            end = at + 1
        at = text.find("{", end)


def _called_in_python(code: str, tools: Sequence[str]) -> str | None:
    """The tool that `code` calls first, if it is nothing but calls of tools, as Python writes them."""
    begins = tuple(f"{module}{name}(" for name in tools for module in ("", *(f"{m}." for m in _MODULES)))
    if not code.lstrip("[").removeprefix("await ").startswith(begins):
        return None
    tree = parsed(code)
    if isinstance(tree, SyntaxError):
        return None
    values = [statement.value if isinstance(statement, ast.Expr) else None for statement in tree.body]
    calls = values[0].elts if len(values) == 1 and isinstance(values[0], ast.List) else values
    called = [_tool_of(call) for call in calls]
    return called[0] if called and all(name in tools for name in called) else None


def _tool_of(call: ast.expr | None) -> str | None:
    call = call.value if isinstance(call, ast.Await) else call
    if not isinstance(call, ast.Call):
        return None
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id in _MODULES:
        return function.attr
    return function.id if isinstance(function, ast.Name) else None
