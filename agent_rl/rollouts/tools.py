"""Tools: makes JSON schemas from async functions, and describes them to the model.

A tool is an async function with a docstring and type hints:

    async def add(first: int, second: int = 0) -> str:
        \"\"\"Add two numbers.

        Args:
            first: The first number.
            second: The second number.
        \"\"\"
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agent_rl.contracts import Tool
from agent_rl.errors import ConfigError
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.tool_calls import ToolSyntax, as_text
from agent_rl.vocabulary import Message, ToolCall
from agent_rl.vocabulary.task import MessageRole

_ARGUMENT_LINE = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")


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


def describe(schemas: Sequence[Mapping[str, Any]], syntax: ToolSyntax) -> str:
    """The description of the tools for a model whose chat template does not describe them."""
    listed = "\n".join(json.dumps(schema["function"], ensure_ascii=False) for schema in schemas)
    example = as_text([ToolCall("NAME", {"PARAMETER": "VALUE"})], syntax)
    return f"You can call these tools:\n{listed}\nCall one by writing\n{example}\nThe result is sent back to you."


def introduced(
    messages: Sequence[Message],
    tools: Sequence[ToolSignature],
    tokenizer: ChatTokenizer,
    syntax: ToolSyntax,
    first: bool,
) -> list[Message]:
    """`messages` with a description of `tools`, if the chat template does not describe them itself.

    It belongs to the system message of a conversation that begins (`first`), else to the first of `messages`.
    """
    if tokenizer.renders_tools or not tools:
        return list(messages)
    text = describe([tool.schema for tool in tools], syntax)
    begin, *others = messages
    if not first or (begin.role != "system" and not tokenizer.accepts("system")):
        return [replace(begin, content=f"{text}\n\n{begin.content}"), *others]
    if begin.role == "system":
        return [replace(begin, content=f"{begin.content}\n\n{text}"), *others]
    return [Message.system(text), *messages]


def answer_role(tokenizer: ChatTokenizer) -> MessageRole:
    """The role of the messages that answer tool calls: templates without tools show only a user's."""
    return "tool" if tokenizer.accepts("tool") else "user"


def answer_id(turn: int, number: int) -> str:
    """The id of the answer to call `number` of the model's turn `turn`. Some templates require nine characters."""
    return f"call{turn:03d}{number:02d}"
