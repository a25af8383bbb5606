"""Tools: makes JSON schemas from async functions, and tool calls from the model's text.

A tool is an async function with a docstring and type hints:

    async def add(first: int, second: int = 0) -> str:
        \"\"\"Add two numbers.

        Args:
            first: The first number.
            second: The second number.
        \"\"\"

Two syntaxes are read. `json`: `<tool_call>{"name": "add", "arguments": {"first": 1}}</tool_call>`. `xml`:
`<function=add><parameter=first>1</parameter></function>`, with or without `<tool_call>` around it. For an invalid
call the model gets an observation that says what is wrong.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError

from agent_rl.contracts import Tool
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import ToolCall

ToolSyntax = Literal["json", "xml"]

_ARGUMENT_LINE = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_THINKING_END = "</think>"


@dataclass(frozen=True, slots=True)
class MalformedCall:
    """A tool call that cannot be parsed, and what is wrong with it."""

    reason: str
    name: str | None = None


@dataclass(frozen=True)
class ToolSignature:
    """A tool's name, description and parameters, read once from its function."""

    name: str
    schema: Mapping[str, Any]
    """In the form that chat templates take: {"type": "function", "function": {"name", "description", "parameters"}}."""
    parameters: Mapping[str, TypeAdapter[Any]]
    required: frozenset[str]

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given`, converted to the function's types. Raises ValueError that tells the model what is wrong."""
        unknown = sorted(set(given) - set(self.parameters))
        if unknown:
            raise ValueError(
                f"{self.name} has no parameter {unknown[0]!r}; it has: {', '.join(self.parameters) or 'none'}"
            )
        missing = sorted(self.required - set(given))
        if missing:
            raise ValueError(f"{self.name} needs a value for {missing[0]!r}")
        return {name: self._value(name, value) for name, value in given.items()}

    def _value(self, name: str, value: Any) -> Any:
        adapter = self.parameters[name]
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]["msg"]
        if isinstance(value, str):  # in the XML-like syntax every value is a string
            try:
                return adapter.validate_json(value)
            except ValidationError:
                pass
        raise ValueError(f"{self.name}: the value of {name!r} is wrong: {first}")


def signature(tool: Tool) -> ToolSignature:
    """The name and parameters of `tool`. Raises ConfigError for a function that cannot be a tool."""
    return _signature(getattr(tool, "__func__", tool), inspect.ismethod(tool))


@lru_cache(maxsize=256)
def _signature(function: Any, bound: bool) -> ToolSignature:
    name = getattr(function, "__name__", repr(function))
    if not inspect.iscoroutinefunction(function):
        raise ConfigError(f"the tool {name} is not an async function", key="tools", value=name)
    if not inspect.getdoc(function):
        raise ConfigError(f"the tool {name} has no docstring: it is what the model is told", key="tools")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigError(f"the tool {name} has a type hint that cannot be resolved: {error}", key="tools") from None
    description, told = _docstring(inspect.getdoc(function) or "")
    adapters: dict[str, TypeAdapter[Any]] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[1 if bound else 0 :]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"the tool {name}: {parameter} cannot be given by name", key="tools")
        if parameter.name not in hints:
            raise ConfigError(f"the tool {name}: its parameter {parameter.name!r} has no type hint", key="tools")
        adapter = adapters[parameter.name] = TypeAdapter(hints[parameter.name])
        schema = adapter.json_schema()
        if parameter.name in told:
            schema["description"] = told[parameter.name]
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        elif parameter.default is not None:
            schema["default"] = adapter.dump_python(parameter.default, mode="json")
        properties[parameter.name] = schema
    parameters = {"type": "object", "properties": properties, "required": required}
    declared = {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }
    return ToolSignature(name, declared, adapters, frozenset(required))


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description, and the text of each parameter in the section `Args:`."""
    description, _, rest = ("\n" + text).partition("\nArgs:\n")
    told: dict[str, str] = {}
    name = ""
    section: list[str] = []
    for line in rest.splitlines():
        if line and not line[0].isspace():
            break
        section.append(line)
    for line in textwrap.dedent("\n".join(section)).splitlines():
        match = _ARGUMENT_LINE.match(line)
        if match:
            name = match[1]
            told[name] = match[2]
        elif line.strip() and name:
            told[name] = f"{told[name]} {line.strip()}".strip()
    return description.strip(), told


def syntax_of(template: str) -> ToolSyntax:
    """The tool-call syntax that a chat template teaches; `json` if it teaches none."""
    return "xml" if "<function=" in template else "json"


def describe(schemas: Sequence[Mapping[str, Any]], syntax: ToolSyntax) -> str:
    """The description of the tools for a model whose chat template does not describe them."""
    listed = "\n".join(json.dumps(schema["function"], ensure_ascii=False) for schema in schemas)
    example = as_text([ToolCall("NAME", {"PARAMETER": "VALUE"})], syntax)
    return f"You can call these tools:\n{listed}\nCall one by writing\n{example}\nThe result is sent back to you."


def describe_tools(tools: Sequence[Tool]) -> str:
    """What the system message says of `tools` where a chat template does not describe them itself.

    For demonstrations that are to begin as rollouts do. Raises ConfigError for a function that cannot be a tool.
    """
    return describe([signature(tool).schema for tool in tools], "json")


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


def parse(text: str, syntax: ToolSyntax) -> list[ToolCall | MalformedCall]:
    """The calls in the model's reply `text`, in order. Calls inside its thinking are ignored."""
    text = text.rpartition(_THINKING_END)[2]
    return list(_parse_json(text) if syntax == "json" else _parse_xml(text))


def _parse_json(text: str) -> Iterator[ToolCall | MalformedCall]:
    decoder = json.JSONDecoder()
    at = text.find("<tool_call>")
    while at >= 0:
        start = at + len("<tool_call>")
        start += len(text[start:]) - len(text[start:].lstrip())
        end = start
        try:
            # The JSON is decoded instead of cut at the closing tag: a string in it may contain a closing tag.
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            yield MalformedCall(f"the content of <tool_call> is not valid JSON: {error}")
            end = _after(text, "</tool_call>", start)
        else:
            if not text[end:].lstrip().startswith("</tool_call>"):
                yield MalformedCall("after the JSON object </tool_call> is missing")
            else:
                yield _call_of(value)
        at = text.find("<tool_call>", end)


def _call_of(value: Any) -> ToolCall | MalformedCall:
    """The call that a decoded JSON value describes."""
    if not isinstance(value, dict):
        return MalformedCall('a call is an object with "name" and "arguments"')
    call = cast("dict[str, Any]", value)
    name, arguments = call.get("name"), call.get("arguments", {})
    if not isinstance(name, str) or not name:
        return MalformedCall('a call needs a "name", which is a string')
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


def _parse_xml(text: str) -> Iterator[ToolCall | MalformedCall]:
    at = 0
    while match := _FUNCTION.search(text, at):
        name, at = match[1], match.end()
        arguments: dict[str, str] = {}
        problem = "" if name else "a function needs a name: <function=NAME>"
        while not problem and (parameter := _PARAMETER.match(text, at)):
            end = _PARAMETER_END.search(text, parameter.end())
            if end is None:
                problem = f"the parameter {parameter[1]!r} is not closed by </parameter>, or </function> is missing"
                break
            value = text[parameter.end() : end.start()]
            arguments[parameter[1]] = value.removeprefix("\n").removesuffix("\n")
            at = end.end()
        closing = _FUNCTION_END.match(text, at)
        if not problem and closing is None:
            problem = "after the parameters </function> is missing"
        if problem or closing is None:
            yield MalformedCall(problem, name or None)
            at = _after(text, "</function>", at)
        else:
            yield ToolCall(name, arguments)
            at = closing.end()
    if at == 0 and "<tool_call>" in text:
        yield MalformedCall("the content of <tool_call> is not <function=NAME>…</function>")


def _after(text: str, closing: str, start: int) -> int:
    """The end of the first `closing` after `start`; the end of the text if there is none."""
    found = text.find(closing, start)
    return len(text) if found < 0 else found + len(closing)
