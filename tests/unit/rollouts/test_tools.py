"""Async functions become JSON schemas; the model's text becomes calls, and what is no call is told so."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest

from agent_rl.errors import ConfigError
from agent_rl.rollouts.tool_calls import MalformedCall, as_text, call_spans, parse, syntax_of
from agent_rl.rollouts.tools import describe, signature
from agent_rl.vocabulary import ToolCall
from tests.unit.rollouts.support import PLAIN, TOOLS


async def search(query: str, limit: int = 10, kind: Literal["file", "line"] | None = None, *, paths: list[str]) -> str:
    """Search the repository.

    Only text files are read.

    Args:
        query: What to look for,
            as a regular expression.
        limit (int): At most so many hits.

    Returns:
        query: not a parameter's description.
    """
    return f"{query} {limit} {kind} {paths}"


class Place:
    async def bash(self, command: str) -> str:
        """Run a command."""
        return command


def test_the_schema_comes_from_signature_and_docstring() -> None:
    assert signature(search).schema == {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search the repository.\n\nOnly text files are read.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What to look for, as a regular expression."},
                    "limit": {"type": "integer", "description": "At most so many hits.", "default": 10},
                    "kind": {"anyOf": [{"enum": ["file", "line"], "type": "string"}, {"type": "null"}]},
                    "paths": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["query", "paths"],
            },
        },
    }


def test_a_method_is_a_tool_without_its_self_and_is_read_once() -> None:
    assert signature(Place().bash) is signature(Place().bash)
    assert list(signature(Place().bash).parameters) == ["command"]


def test_arguments_are_checked_and_texts_become_what_the_hints_say() -> None:
    given = signature(search).arguments({"query": "1", "limit": "3", "kind": "file", "paths": '["a", "b"]'})
    assert given == {"query": "1", "limit": 3, "kind": "file", "paths": ["a", "b"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"query": "x"}, "search needs a value for 'paths'"),
        ({"query": "x", "paths": [], "path": "y"}, "search has no parameter 'path'; it has: query, limit, kind, paths"),
        ({"query": "x", "paths": [], "limit": "ten"}, "search: the value of 'limit' is wrong: Input should be a valid"),
        ({"query": 7, "paths": []}, "search: the value of 'query' is wrong: Input should be a valid string"),
    ],
)
def test_wrong_arguments_are_explained_to_the_model(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        signature(search).arguments(given)


async def _no_docstring(x: int) -> str:
    return ""


async def _no_hint(x) -> str:  # type: ignore[no-untyped-def]
    """No hint."""
    return ""


async def _any_number(*x: int) -> str:
    """Any number."""
    return ""


def _not_async(x: int) -> str:
    """Not async."""
    return ""


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (_no_docstring, "_no_docstring has no docstring"),
        (_no_hint, "_no_hint: its parameter 'x' has no type hint"),
        (_any_number, "cannot be given by name"),
        (_not_async, "_not_async is not an async function"),
    ],
)
def test_what_cannot_be_a_tool_is_the_programmers_mistake(tool: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        signature(tool)


def test_json_calls() -> None:
    text = (
        'I will look.\n<tool_call>\n{"name": "f", "arguments": {"code": "print(\'</tool_call>\')"}}\n</tool_call>\n'
        '<tool_call>{"name": "g", "arguments": "{\\"x\\": 1}"}</tool_call> <tool_call>{"name": "h"}</tool_call>'
    )
    assert parse(text, "json") == [
        ToolCall("f", {"code": "print('</tool_call>')"}),
        ToolCall("g", {"x": 1}),
        ToolCall("h", {}),
    ]
    assert parse("The answer is 42.", "json") == []
    assert parse('<think><tool_call>{"name": "f"}</tool_call></think>done', "json") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "f", </tool_call>', "not valid JSON"),
        ('<tool_call>{"name": "f"}', "after the JSON object </tool_call> is missing"),
        ("<tool_call>[1]</tool_call>", 'a call is an object with "name" and "arguments"'),
        ('<tool_call>{"arguments": {}}</tool_call>', 'a call needs a "name"'),
        ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', '"arguments" must be an object'),
        ('<tool_call>{"name": "f", "arguments": "x"}</tool_call>', '"arguments" must be an object'),
        ("<tool_call>" + "[" * 100_000, "not valid JSON"),
        ("<tool_call>", "not valid JSON"),
    ],
)
def test_malformed_json_calls(text: str, reason: str) -> None:
    (call,) = parse(text, "json")
    assert isinstance(call, MalformedCall)
    assert reason in call.reason


def test_a_good_call_after_a_malformed_one_is_found() -> None:
    malformed, good = parse('<tool_call>oops</tool_call><tool_call>{"name": "f"}</tool_call>', "json")
    assert isinstance(malformed, MalformedCall)
    assert good == ToolCall("f", {})
    malformed, good = parse("<function=f>oops</function><function=g></function>", "xml")
    assert isinstance(malformed, MalformedCall)
    assert good == ToolCall("g", {})


def test_xml_calls() -> None:
    text = (
        "<tool_call>\n<function=write>\n<parameter=path>\na.py\n</parameter>\n<parameter=code>\n\n  x = "
        "'</parameter>'\n</parameter>\n</function>\n</tool_call><function=list></function>"
    )
    assert parse(text, "xml") == [
        ToolCall("write", {"path": "a.py", "code": "\n  x = '</parameter>'"}),
        ToolCall("list", {}),
    ]
    assert parse("nothing", "xml") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<function=f><parameter=x>1", "the parameter 'x' is not closed"),
        ("<function=f><parameter=x>1</parameter>", "the parameter 'x' is not closed by </parameter>, or </function>"),
        ("<function=f>1</function>", "after the parameters </function> is missing"),
        ("<function=></function>", "a function needs a name"),
        ('<tool_call>{"name": "f"}</tool_call>', "<tool_call> begins or ends no call: a call is written as <function="),
        ("<tool_call><function=f></function>", "after </function> </tool_call> is missing"),
        ("<function=f><parameter=x>1</parameter><parameter=x>2</parameter></function>", "'x' is given twice"),
    ],
)
def test_malformed_xml_calls(text: str, reason: str) -> None:
    (call,) = parse(text, "xml")
    assert isinstance(call, MalformedCall)
    assert reason in call.reason


CALL = '<tool_call>{"name": "f", "arguments": {"x": "</think>"}}</tool_call>'
F = ToolCall("f", {"x": "</think>"})
XML = "<function=f><parameter=x></think></parameter></function>"


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (CALL, [F]),
        (f"Look.\n{CALL}\nDone.", [F]),
        (f"<think>a</think>\n{CALL}{CALL}", [F, F]),
        (f"a</think>\n{CALL}", [F]),  # the template opened the thinking
        (f"a\n</think>\n\nb</think>{CALL} c </think> {CALL}", [F, F]),
        (f"<think>a</think><think>{CALL}</think>{CALL}", [F]),
        (f"<think>{CALL}</think>done", []),
        (f"<think>maybe <tool_call> or so</think>{CALL}", [F]),
        (f"I could {CALL} or not</think>done", []),
        (f"<think>I will {CALL}", []),  # it never ends
        (f"[THINK]{CALL}[/THINK]{CALL}", [F]),
        ("I think so</think>done", []),
    ],
)
def test_only_thinking_before_the_first_call_is_cut(text: str, calls: list[ToolCall]) -> None:
    assert parse(text, "json") == calls
    assert parse(text.replace(CALL, XML), "xml") == calls
    assert len(call_spans(text, "json")) == len(calls)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "f", "arguments": {"x": "</think>', "not valid JSON"),
        ('<tool_call>{"name": "f", "arguments": {"x": </think> </tool_call>', "not valid JSON"),
        ("<tool_call>f(x=1)</tool_call>", "not valid JSON"),
        ("<tool_call>{'name': 'f'}</tool_call>", "not valid JSON"),
        ('<tool_call>{"name": "f", "parameters": {"x": 1}}</tool_call>', 'but no "parameters"'),
        ('{"name": "f", "arguments": {}}</tool_call>', "</tool_call> begins or ends no call"),
        ('<tool_calls>{"name": "f"}</tool_calls>', "<tool_calls> begins or ends no call"),
        ('<function_call>{"name": "f"}</function_call>', "<function_call> begins or ends no call"),
        ('[TOOL_CALLS] [{"name": "f"}]', "[TOOL_CALLS] begins or ends no call"),
        ('<invoke name="f"></invoke>', '<invoke name="f"> begins or ends no call'),
        ("<function=f></function>", "<function=f> begins or ends no call: a call is written as <tool_call>"),
        ("I call it.\n<tool_cal", "<tool_cal is cut off"),
        ('{"name": "f", "arguments": {"x": 1}}', "the call of f has no tags"),
        ('It is:\n```json\n{"name": "f", "arguments": {"x"', "the call of f has no tags"),
        ("f(x='1')", "f(…) is no call of a tool"),
        ("I run it.\n\n[f(x=1), f(x=2)]", "f(…) is no call of a tool"),
        ('```tool_code\nf("""a\nb""")\n```', "f(…) is no call of a tool"),
        ("```tool_code\nprint(default_api.f(x='1'))\n```", "f(…) is no call of a tool"),
        ("I run it.\n```tool_code\nresult = f(x='1')\nprint(result)", "f(…) is no call of a tool"),
        ('f\n{"command": "ls"}', "the call of f has no tags"),
        ('{"type":"function","name":"f","arguments":{}}', "the call of f has no tags"),
        ('I call it: {"arguments":{"command":"ls"},"name":"f"}', "the call of f has no tags"),
        ('{"name": "f", "command": "ls"}', "the call of f has no tags"),
        ('It is time.\n```json\n{"tool": "f", "command": "ls"}\n```\n', "the call of f has no tags"),
        ('{"tool_calls": [{"type": "function", "function": {"name": "f"}}]}', "the call of f has no tags"),
        ("{'id': 1, 'name': 'f', 'arguments': {'x': 1}}", "the call of f has no tags"),
        ('{"action": "f", "action_input": "ls"}', "the call of f has no tags"),
        ('functions.f({"command":"ls"})', "the call of f has no tags"),
        ('Now.\nfunctions.f:0 {"command":"ls"}', "the call of f has no tags"),
        ("tools.f(x=1)", "f(…) is no call of a tool"),
        ("<f>ls</f>", "the call of f has no tags"),
        ("I list.\n<f>\nls\n</f>", "the call of f has no tags"),
        ("```xml\n<f>ls</f>\n```", "the call of f has no tags"),
        ("<tool>f</tool>", "the call of f has no tags"),
        ("<action>f</action>\n<action_input>ls</action_input>", "the call of f has no tags"),
        ('<|python_tag|>{"name":"f"}', "<|python_tag|> begins or ends no call"),
        ('to=functions.f <|message|>{"x": 1}', "to=functions.f begins or ends no call"),
        ("Thought: I list.\nAction: f\nAction Input: ls", "the call of f has no tags"),
        ("**Action:** `f`\n**Action Input:** ls", "the call of f has no tags"),
        ("I look: <f>ls</f>", "the call of f has no tags"),
        ('<tool>\n{"name": "f"}\n</tool>', "the call of f has no tags"),
        ("<action>f(x=1)</action>", "the call of f has no tags"),
        ('f {"command": "ls"}', "the call of f has no tags"),
        ('{"thought": "t", "tool": {"name": "f", "args": {"x": 1}}}', "the call of f has no tags"),
        ("f(x=1)\ng(x=2)", "f(…) is no call of a tool"),
        ("await f('ls')", "f(…) is no call of a tool"),
        ("Action: f[ls]", "the call of f has no tags"),
        ("I list.\nAction: f", "the call of f has no tags"),
        ("✿FUNCTION✿: f\n✿ARGS✿: {}", "✿FUNCTION✿ begins or ends no call"),
        ("[TOOL_REQUEST]{}[END_TOOL_REQUEST]", "[TOOL_REQUEST] begins or ends no call"),
    ],
)
def test_what_looks_like_a_call_is_told(text: str, reason: str) -> None:
    for around in ("", "<think>a</think>\n"):
        (call,) = parse(around + text, "json", ["g", "f"])
        assert isinstance(call, MalformedCall)
        assert reason in call.reason


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42.",
        "I used `<tool_calls>` for it.",
        '{"name": "Bob", "arguments": []}',
        '{"name": "f"}',
        "def g(x):\n    return f(x)\n",
        "```python\nprint(f(1))\nf(2)\n```",
        "f(x) = 2x, so f(2) = 4.",
        "#include <functional>\nstd::function<int(int)> f;",
        "a < b and b > c",
        "I ran f and g, and `f(x=1)` printed 3. The tool f is enough.",
        "Action: I used f.\nTool: f\nResult: 3",
        "Call it with `<f>` or {x}; `to=f` is none.",
        '{"type": "function", "name": "h", "arguments": {}}',
        '{"answer": {"name": "f", "arguments": 2}}',
        '[{"name": "f", "version": 5}]',
        'The schema is {"name": "f", "description": "d", "parameters": {}}.',
        '```python\ncalls = [\n    {"name": "f", "arguments": {}},\n]\n```',
        'call = {"name": "f", "arguments": {}}\nprint(call)',
        "```python\nimport functions\nfunctions.f(1)\n```",
        "```html\n<p>\n<f>a</f>\n</p>\n```",
        "```bash\nf --help\n```",
        "{x | f(x) = 1}",
        "```tool_code\nprint(half(1))\n```",
        'The file of f\n{"command": "ls"}',
        "f(1)\nx = 2\nprint(x)",
        "The set f {1, 2}",
        "<p>a <f>x</f> b</p>",
    ],
)
def test_an_answer_is_no_call(text: str) -> None:
    assert parse(text, "json", ["g", "f"]) == []
    assert parse(text, "xml", ["g", "f"]) == []


@pytest.mark.parametrize(
    "text",
    [
        "</think>" * 3000,
        "<tool_call>" * 3000,
        "<tool_call>{" * 2000,
        "<function=f>" * 2000,
        '{"name": "f"' * 3000,
        "<f>" * 5000,
        "Action: f\n" * 3000,
        "<f \n" * 5000,
        "```tool_code\n" * 5000,
        "{" * 100_000,
        " " * 50_000 + "<f>",
    ],
)
def test_hostile_replies_are_read_in_a_short_time(text: str) -> None:
    assert isinstance(parse(text, "json", ["f"]), list)
    assert isinstance(parse(text, "xml", ["f"]), list)


@pytest.mark.parametrize("syntax", ["json", "xml"])
def test_calls_survive_being_written_and_read(syntax: Literal["json", "xml"]) -> None:
    calls = [ToolCall("f", {"code": "a\n\nb </x>", "empty": ""}), ToolCall("g", {})]
    assert parse(as_text(calls, syntax), syntax) == calls


def test_the_syntax_is_the_one_that_the_template_teaches() -> None:
    assert syntax_of(TOOLS) == "json"
    assert syntax_of(PLAIN) == "json"
    assert syntax_of("call <function=name><parameter=x>") == "xml"


def test_models_are_told_of_their_tools_where_the_template_does_not() -> None:
    text = describe([signature(Place().bash).schema], "xml")
    assert re.search(r'"name": "bash", "description": "Run a command\."', text)
    assert "<function=NAME>" in text
