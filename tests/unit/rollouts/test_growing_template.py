"""A rendering that goes on from the last one is the template's own text, for every template; most go on."""

from __future__ import annotations

import random

import pytest

from agent_rl.rollouts.template import ChatTemplate
from tests.unit.rollouts.support import TEMPLATES

NEIGHBOURS = """\
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>' + m.content + '</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- else %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}
{%- endfor %}"""
LAST_QUESTION = """\
{%- set found = namespace(search=true, last=0) %}
{%- for m in messages[::-1] %}
    {%- if found.search and m.role == 'user' %}
        {%- set found.search = false %}{%- set found.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set said = m.content %}
    {%- if m.role == 'assistant' and loop.index0 < found.last %}{%- set said = said.split('</think>')[-1] %}{%- endif %}
    {{- '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}
{%- endfor %}"""
GO_ON = {
    **{name: text for name, text in TEMPLATES.items() if name != "system into first user"},
    "neighbours": NEIGHBOURS,
    "last question": LAST_QUESTION,
    "first": "B{% for m in messages %}{{ '' if loop.first else '|' }}{{ loop.index }}{{ m.content }}{% endfor %}",
    "renamed": "{% set kept = messages %}{% for m in kept %}{{ loop.index0 % 2 }}{{ m.content | trim }}{% endfor %}",
    "macro": "{% macro show(m, i) %}[{{ i }}{{ m.content }}{{ tools }}]{% endmacro %}"
    "{% for m in messages %}{{ show(m, loop.index) }}{% endfor %}",
    "next": "{% for m in messages %}{{ m.content }}{{ (loop.nextitem or m).role }}{% endfor %}",
    "two on": "{% for m in messages %}{{ m.content }}{{ (messages[loop.index0 + 2] or m).role }}{% endfor %}",
    "inner loop": "{% for m in messages %}{{ loop.index0 }}{% for c in m.content.split(' ') %}{{ loop.index }}{{ c }}"
    "{{ loop.first }}{% endfor %}{% endfor %}",
    "block": "{% for m in messages %}{% set x %}<{{ m.content }}>{% endset %}{{ x }}{{ y }}{% set y = 1 %}{% endfor %}",
}
START_ANEW = {
    "system into first user": TEMPLATES["system into first user"],
    "count": "{% for m in messages %}{{ loop.index }} of {{ messages | length }} {{ m.content }};{% endfor %}",
    "length": "{% for m in messages %}{{ loop.index }} of {{ loop.length }} {{ m.content }};{% endfor %}",
    "the last of all": "{% for m in messages %}{{ m.content }}{{ messages[-1].content }}{% endfor %}",
    "a head that changes": "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "a value that changes": "{% set n = messages[-1] %}{% for m in messages %}{{ n.content, m.content }}{% endfor %}",
    "joined": "{% set sep = joiner('|') %}{% for m in messages %}{{ sep() }}{{ m.content }}{% endfor %}",
    "counted": "{% set c = namespace(n=0) %}{% for m in messages %}{% set c.n = c.n + 1 %}{{ c.n }}{{ m.content }}"
    "{% endfor %}",
    "before": "{% for m in messages %}{{ m.content }}{{ loop.previtem.role if loop.index > 1 }}{% endfor %}",
    "changed": "{% for m in messages %}{{ m.content }}{{ loop.changed(m.role) }}{% endfor %}",
    "break": "{% for m in messages %}{% if loop.index > 3 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "filtered": "{% for m in messages if m.role != 'tool' %}{{ loop.index }}{{ m.content }}{% endfor %}",
    "in a condition": "{% if messages %}{% for m in messages %}{{ m.content }}{% endfor %}{% endif %}",
    "no loop": "{{ messages | map(attribute='content') | join('|') }}",
}


def conversation(template: str, seed: int) -> int:
    """How many renderings of a random conversation went on; each was compared with the whole one."""
    draw = random.Random(seed)
    chat = ChatTemplate(template + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", {})
    messages: list[dict[str, str]] = [{"role": "system", "content": "S"}] if draw.random() < 0.5 else []
    tools = [{"name": "a"}] if seed % 2 else []
    text, progress, went_on = "", None, 0
    for turn in range(8):
        if turn:
            messages.append({"role": "assistant", "content": draw.choice(["x", "<think>a</think>b", " c "])})
        for _ in range(draw.choice([1, 1, 2])):
            role = "user" if turn == 0 or draw.random() < 0.3 else "tool"
            messages.append({"role": role, "content": draw.choice(["u v ", "w"]) + str(turn)})
        if seed % 5 == 0 and turn == 4:
            tools = [{"name": "b"}]
        growth = chat.grow(messages, tools, progress)
        whole = text + growth.text if growth.continued else growth.text
        assert whole == chat.render(messages, tools, True), f"turn {turn}"
        text = whole[: len(whole) - len(growth.text) + growth.resume_at]
        progress, went_on = growth.progress, went_on + growth.continued
    return went_on


@pytest.mark.parametrize("name", GO_ON)
def test_a_rendering_that_goes_on_is_the_whole_one(name: str) -> None:
    went_on = [conversation(GO_ON[name], seed) for seed in range(40)]
    assert sum(went_on) > 40 * 8 / 3


@pytest.mark.parametrize("name", START_ANEW)
def test_where_later_messages_may_change_earlier_text_everything_is_rendered(name: str) -> None:
    assert sum(conversation(START_ANEW[name], seed) for seed in range(40)) == 0


def test_what_goes_on_is_only_the_last_message_and_what_follows() -> None:
    chat = ChatTemplate(TEMPLATES["plain"], {})
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    first = chat.grow([*messages, {"role": "user", "content": "c"}], (), None)
    assert not first.continued
    assert first.text[first.resume_at :] == "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    more = [*messages, {"role": "user", "content": "c"}, *messages[1:], {"role": "user", "content": "d"}]
    second = chat.grow(more, (), first.progress)
    assert second.continued
    assert second.text == (
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nd<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    # A conversation that does not begin as the last one did starts anew.
    other = [{"role": "user", "content": "z"}, *more[1:]]
    assert not chat.grow(other, (), first.progress).continued
