"""Demonstrations become the tokens that a rollout of the same conversation has: tools, roles and ids included."""

from __future__ import annotations

from typing import Any

import pytest

from agent_rl.contracts import SamplingParams
from agent_rl.errors import ConfigError
from agent_rl.rollouts.conversation import demonstration_rows
from agent_rl.rollouts.policy_agent import PolicyAgents, RolloutName, RolloutSettings
from agent_rl.rollouts.tool_calls import as_text, syntax_of
from agent_rl.rollouts.tools import signature
from agent_rl.testing.scripted_policy import ScriptedPolicy
from agent_rl.vocabulary import Message, ToolCall
from tests.unit.rollouts.support import PLAIN, SYSTEM_INTO_FIRST_USER, TOOLS, chat, make_task

NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
NO_TOOL = PLAIN.replace("{{ m.content }}", "{% if m.role != 'tool' %}{{ m.content }}{% endif %}")
WITH_IDS = PLAIN.replace("{{ m.content }}", "{{ m.content }}{{ m.tool_call_id or '' }}")
XML = "{# <function=f> #}" + PLAIN
THINKING = PLAIN.replace(
    "assistant\n{% endif", "assistant\n{{ '' if enable_thinking is false else '<think>\n' }}{% endif"
)


async def add(first: int, second: int = 0) -> str:
    """Add two numbers."""
    return str(first + second)


CALL = ToolCall("add", {"first": 1})
SAID = (Message.user("1?"), Message("assistant", "So:", tool_calls=(CALL, CALL)), Message.assistant("It is 1."))
ANSWERS = (Message("tool", "1", tool_call_id="mine", name="add"),) * 2
TEMPLATES = {
    "plain": PLAIN,
    "tools": TOOLS,
    "system into first user": SYSTEM_INTO_FIRST_USER,
    "no system": NO_SYSTEM,
    "no tool": NO_TOOL,
    "with ids": WITH_IDS,
    "xml": XML,
}


@pytest.mark.parametrize("begins", [(), (Message.system("Be brief."),)], ids=["user", "system"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
async def test_a_demonstration_begins_as_a_rollout_does(template: str, begins: tuple[Message, ...]) -> None:
    tokenizer = chat(template)
    begins = begins if tokenizer.accepts("system") else ()
    user, calling, last = SAID
    rows = demonstration_rows(tokenizer, [*begins, user, calling, *ANSWERS, last], [signature(add)])
    replies = iter([f"So:\n{as_text(calling.tool_calls, syntax_of(template))}", last.content])
    policy = ScriptedPolicy(lambda request: next(replies), vocabulary=600, encode=tokenizer.encode)
    agents = PolicyAgents(policy, tokenizer, RolloutSettings(SamplingParams(max_tokens=400), max_context=20_000))
    agent = agents(make_task(), RolloutName("env", "task/0", 0, 0))
    assert (await agent.run([*begins, user], [add])).endswith(last.content)
    ((ids, learned),) = rows
    start = learned.index(True)
    assert tokenizer.decode_all(ids[:start]) == tokenizer.decode_all(policy.requests[0].prompt_ids)
    assert ids[:start] == policy.requests[0].prompt_ids
    second = len(learned) - learned[::-1].index(False)
    assert ids[:second] == policy.requests[1].prompt_ids
    assert "Add two numbers." in tokenizer.decode_all(ids[:start])


def test_without_tools_nothing_is_described() -> None:
    tokenizer = chat(PLAIN)
    ((ids, _),) = demonstration_rows(tokenizer, [Message.user("a"), Message.assistant("b")])
    assert tokenizer.decode_all(ids) == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>"


def test_a_call_of_a_tool_that_is_not_described_is_the_authors_mistake() -> None:
    for template in (PLAIN, TOOLS):
        with pytest.raises(ConfigError, match="the demonstrations call add, and demonstration_tools names no tools"):
            demonstration_rows(chat(template), SAID)
    other = ToolCall("sub", {"first": 1})
    said = (SAID[0], Message("assistant", "So:", tool_calls=(CALL, other)), SAID[2])
    with pytest.raises(ConfigError, match="call sub, and demonstration_tools names add"):
        demonstration_rows(chat(PLAIN), said, [signature(add)])
    assert demonstration_rows(chat(PLAIN), [SAID[0], SAID[2]], [signature(add)])


def test_variables_reach_the_template() -> None:
    assert chat(THINKING).render([Message.user("a")]).endswith("assistant\n<think>\n")
    assert chat(THINKING, enable_thinking=False).render([Message.user("a")]).endswith("assistant\n")
    with_default = "{% set effort = effort if effort is defined else 'high' %}{{ effort }}"
    assert chat(with_default).render([]) == "high"
    assert chat(with_default, effort="low").render([]) == "low"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"enable_thinkin": False},
            "has no variable enable_thinkin; it has: enable_thinking .did you mean 'enable_thinking'",
        ),
        ({"m": 1}, "has no variable m"),
        ({"messages": []}, "messages is not the user's to set"),
        ({"add_generation_prompt": True}, "add_generation_prompt is not the user's"),
    ],
)
def test_a_variable_that_the_template_does_not_know_is_a_mistake(variables: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"model\.template_variables: .*{message}"):
        chat(THINKING, **variables)
