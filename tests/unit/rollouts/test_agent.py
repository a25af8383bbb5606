"""Agents: what is sent to the policy, tools in conversations, limits, and what is left behind."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent_rl.contracts import GenerateRequest, Generation, RolloutEnded, SamplingParams
from agent_rl.errors import ConfigError, PolicyError, SandboxError
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.policy_agent import (
    AgentRecord,
    PolicyAgent,
    PolicyAgents,
    RolloutName,
    RolloutSettings,
    ScriptedAgent,
    empty_agent,
    oracle_agent,
)
from agent_rl.testing.scripted_policy import Script, ScriptedPolicy
from agent_rl.vocabulary import Message
from tests.unit.rollouts.support import NO_STOP_TOKEN, PLAIN, THINKING_REMOVED, TOOLS, chat, make_task

NAME = RolloutName("env", "task/0", 3, 1)


def scripted(*replies: str, template: str = PLAIN, **settings: object) -> tuple[ScriptedPolicy, PolicyAgent]:
    """A policy that says `replies` in turn, and an agent of it."""
    said = iter(replies)
    return agent_of(lambda request: next(said), template, **settings)


def agent_of(script: Script | None, template: str = PLAIN, **settings: object) -> tuple[ScriptedPolicy, PolicyAgent]:
    tokenizer: ChatTokenizer = chat(template)
    policy = ScriptedPolicy(script, vocabulary=600, encode=tokenizer.encode)
    made = replace(RolloutSettings(SamplingParams(max_tokens=64), seed=5), **settings)  # pyright: ignore
    return policy, PolicyAgents(policy, tokenizer, made)(make_task(), NAME)


async def add(first: int, second: int = 0) -> str:
    """Add two numbers."""
    return str(first + second)


async def fail(reason: str) -> str:
    """Fail."""
    raise ValueError(f"because {reason}")


async def break_down() -> str:
    """Lose the sandbox."""
    raise SandboxError("gone")


async def shout(length: int) -> str:
    """Print much."""
    return "a" * length + "b" * length


async def test_a_conversation_is_recorded_turn_by_turn() -> None:
    policy, agent = scripted("print(1)", "print(2)")
    assert await agent.say("first") == "print(1)"
    assert await agent.say([Message.system("s"), Message.user("u")]) == "print(2)"
    record = agent.record()
    assert [t.text for t in record.turns] == ["print(1)", "print(2)"]
    assert [t.finish_reason for t in record.turns] == ["stop", "stop"]
    assert [[m.content for m in t.observation] for t in record.turns] == [["s", "u"], []]
    assert record.leaves == (record.turns[1].segment,)
    assert record.generation_seconds > 0
    await agent.close()
    assert policy.ended_sessions == ["env/3/1"]


async def test_requests_carry_key_session_prefix_and_stop_tokens() -> None:
    policy, agent = scripted("a", "b")
    await agent.say("x")
    await agent.say("y")
    first, second = policy.requests
    tokenizer = chat(PLAIN)
    assert first.sampling.stop_token_ids == tokenizer.stop_token_ids
    assert [r.session for r in policy.requests] == ["env/3/1"] * 2
    assert (first.key[0], *first.key[2:]) == (5, 1, 0)
    assert second.key == (*first.key[:3], 1)
    # The whole first prompt is shared in the group, in every turn that still begins with it.
    assert first.shared_prefix == second.shared_prefix == len(first.prompt_ids)
    assert second.prompt_ids[: len(first.prompt_ids)] == first.prompt_ids
    assert first.prefix_group == second.prefix_group
    assert first.deadline is not None
    assert 590 < first.deadline <= 600


class Forgetful(ScriptedPolicy):
    """Writes down what it is sent, and forgets its sessions before the requests that `forgets` names."""

    def __init__(self, replies: Sequence[str], forgets: Sequence[int] = ()) -> None:
        super().__init__(lambda request: replies[request.key[-1]], vocabulary=700, encode=chat(PLAIN).encode)
        self.sent: list[GenerateRequest] = []
        self._forgets = forgets

    async def generate(self, request: GenerateRequest) -> Generation:
        if len(self.sent) in self._forgets:
            await self.end_session(request.session)
        self.sent.append(request)
        return await super().generate(request)


async def test_a_policy_that_has_the_session_is_sent_only_what_is_new() -> None:
    policy, tokenizer = Forgetful(["a", "b", "c"]), chat(PLAIN)
    agent = PolicyAgent(policy, tokenizer, RolloutSettings(SamplingParams(max_tokens=8)), RolloutName("env", "t", 3, 1))
    for said in ("x", "y", "z"):
        await agent.say(said)
    first, second, third = policy.sent
    assert first.follows == 0
    assert tokenizer.decode_all(second.prompt_ids) == "\n<|im_start|>user\ny<|im_end|>\n<|im_start|>assistant\n"
    ids = [i for s in agent.record().segments for i in s.token_ids]
    assert [len(r.prompt_ids) + r.follows for r in policy.sent] == [len(r.prompt_ids) for r in policy.requests]
    assert ids[: third.follows] + list(third.prompt_ids) == list(policy.requests[2].prompt_ids)
    assert len(policy.requests) == 3


async def test_a_policy_that_has_lost_the_session_is_sent_the_whole_prompt() -> None:
    settings, name = RolloutSettings(SamplingParams(max_tokens=8)), RolloutName("env", "t", 3, 1)
    forgetful, faithful = Forgetful(["a", "b", "c"], forgets=[1]), Forgetful(["a", "b", "c"])
    records: list[AgentRecord] = []
    for policy in (forgetful, faithful):
        agent = PolicyAgent(policy, chat(PLAIN), settings, name)
        for said in ("x", "y", "z"):
            await agent.say(said)
        records.append(agent.record())
    assert [r.follows > 0 for r in forgetful.sent] == [False, True, False, True]
    assert [replace(r, deadline=None) for r in forgetful.requests] == [
        replace(r, deadline=None) for r in faithful.requests
    ]
    assert records[0].segments == records[1].segments


async def test_rollouts_of_a_group_share_a_prefix_group_only_if_they_begin_alike() -> None:
    tokenizer = chat(PLAIN)
    policy = ScriptedPolicy(vocabulary=600)
    agents = PolicyAgents(policy, tokenizer, RolloutSettings(SamplingParams(max_tokens=4)))
    for rollout, prompt in enumerate(["same", "same", "other"]):
        await agents(make_task(), RolloutName("env", "task/0", 0, rollout)).say(prompt)
    groups = [r.prefix_group for r in policy.requests]
    assert groups[0] == groups[1] != groups[2]


def test_random_keys_differ_by_task_group_and_rollout_and_not_by_attempt() -> None:
    names = [NAME, replace(NAME, task_id="t"), replace(NAME, group=4), replace(NAME, rollout=2)]
    keys = {name.key(seed, turn) for name in names for seed in (0, 1) for turn in (0, 1)}
    assert len(keys) == 16
    assert RolloutName("env", "task/0", 3, 1).key(0, 0) == NAME.key(0, 0)


async def test_the_models_calls_are_run_and_their_results_sent_back() -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {"first": 40, "second": 2}}\n</tool_call>'
    policy, agent = scripted(call, "It is 42.", template=TOOLS)
    assert await agent.run("40 + 2?", [add]) == "It is 42."
    sent = chat(TOOLS).decode_all(policy.requests[1].prompt_ids)
    assert "<tool_response>\n42\n</tool_response>" in sent
    assert '"name": "add"' in sent
    (observation,) = agent.record().turns[0].observation
    assert (observation.role, observation.content, observation.name) == ("tool", "42", "add")
    assert observation.tool_call_id == "call00100"


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ('{"name": "add", "arguments": {}}', "Error: add needs a value for 'first'"),
        ('{"name": "sub", "arguments": {}}', "Error: there is no tool 'sub'; there are: add, fail, shout"),
        ('{"name": "fail", "arguments": {"reason": "so"}}', "Error: because so"),
        ("nothing", "Error: malformed tool call: the content of <tool_call> is not valid JSON"),
        ('{"name": "shout", "arguments": {"length": 5000}}', "a\n[1808 characters dropped]\nb"),
    ],
)
async def test_what_goes_wrong_with_a_call_is_an_observation(call: str, answer: str) -> None:
    _, agent = scripted(f"<tool_call>{call}</tool_call>", "ok", template=TOOLS, max_context=20_000)
    agent._sampling = replace(agent._sampling, max_tokens=200)
    assert await agent.run("go", [add, fail, shout]) == "ok"
    assert answer in agent.record().turns[0].observation[0].content


async def test_a_call_inside_of_thinking_that_the_template_opened_is_none() -> None:
    opening = PLAIN.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
    call = '<tool_call>{"name": "add", "arguments": {"first": 1}}</tool_call>'
    assert opening != PLAIN
    _, agent = scripted(f"maybe {call}", template=opening)
    assert await agent.run("go", [add]) == f"<think>\nmaybe {call}"
    assert agent.record().turns[0].text == f"maybe {call}"
    _, agent = scripted(f"so</think>{call}", "done</think>1", template=opening)
    assert await agent.run("go", [add]) == "<think>\ndone</think>1"
    assert agent.record().turns[0].observation[0].content == "1"


async def test_a_template_does_not_cut_a_call_at_a_mark_in_its_arguments() -> None:
    call = '<tool_call>\n{"name": "fail", "arguments": {"reason": "a </think> b"}}\n</tool_call>'
    policy, agent = scripted(f"<think>so</think>{call}", "ok", template=THINKING_REMOVED)
    assert await agent.run("go", [fail]) == "ok"
    sent = chat(THINKING_REMOVED).decode_all(policy.requests[1].prompt_ids)
    assert call in sent
    assert "<think>so" not in sent


async def test_a_failure_of_what_a_tool_asks_is_no_word_to_the_model() -> None:
    async def ask(answer: str) -> str:
        """Ask a service."""
        return json.loads(answer.encode().decode("ascii"))["said"]

    for answer, error in (("<html>", json.JSONDecodeError), ("é", UnicodeDecodeError)):
        call = json.dumps({"name": "ask", "arguments": {"answer": answer}})
        _, agent = scripted(f"<tool_call>{call}</tool_call>", "ok", template=TOOLS, max_context=20_000)
        with pytest.raises(error):
            await agent.run("go", [ask])


async def test_an_infrastructure_failure_in_a_tool_is_no_observation() -> None:
    _, agent = scripted('<tool_call>{"name": "break_down"}</tool_call>', template=TOOLS)
    with pytest.raises(SandboxError, match="gone"):
        await agent.run("go", [break_down])


async def test_two_tools_of_one_name_are_a_mistake() -> None:
    _, agent = scripted("x")
    with pytest.raises(ConfigError, match="two tools are called 'add'"):
        await agent.run("go", [add, add])


async def test_tools_are_described_where_the_template_does_not() -> None:
    policy, agent = scripted("done", "done", template=PLAIN)
    await agent.run([Message.system("Be brief."), Message.user("go")], [add])
    await agent.run("again", [add])
    text = chat(PLAIN).decode_all(policy.requests[1].prompt_ids)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call these tools:\n{")
    assert text.count("You can call these tools") == 1


async def test_results_come_as_the_users_where_the_template_drops_tool_messages() -> None:
    template = (
        "{% if tools %}{% endif %}{% for m in messages %}{% if m.role != 'tool' %}{{ m.role }}: {{ m.content }}\n"
        "{% endif %}{% endfor %}assistant: "
    )
    policy, agent = scripted(
        '<tool_call>{"name": "add", "arguments": {"first": 7}}</tool_call>', "ok", template=template
    )
    await agent.run("go", [add])
    assert chat(template).decode_all(policy.requests[1].prompt_ids).endswith("\nuser: 7\nassistant: ")


async def test_the_xml_syntax_where_it_is_asked_for() -> None:
    call = "<function=add>\n<parameter=first>\n40\n</parameter>\n<parameter=second>\n2\n</parameter>\n</function>"
    _, agent = scripted(call, "42", template=TOOLS, tool_syntax="xml")
    await agent.run("go", [add])
    assert agent.record().turns[0].observation[0].content == "42"


async def test_turns_used_up_with_tools_end_the_rollout() -> None:
    call = '<tool_call>{"name": "add", "arguments": {"first": 1}}</tool_call>'
    _, agent = scripted(call, call, template=TOOLS)
    with pytest.raises(RolloutEnded) as ended:
        await agent.run("go", [add], max_turns=2)
    assert ended.value.ended == "turns"
    assert len(agent.record().turns) == 2


async def test_turns_used_up_end_the_rollout() -> None:
    _, agent = scripted("a", "b", "c", max_turns=2)
    await agent.say("x")
    await agent.say("x")
    with pytest.raises(RolloutEnded) as ended:
        await agent.say("x")
    assert ended.value.ended == "turns"


async def test_the_context_bounds_completions_and_then_ends_the_rollout() -> None:
    first = len(chat(PLAIN).first_prompt((Message.user("x"),)).token_ids)
    policy, agent = agent_of(lambda request: [300] * 100, max_context=first + 10)
    assert len(policy.requests) == 0
    await agent.say("x")
    assert policy.requests[0].sampling.max_tokens == 10
    with pytest.raises(RolloutEnded) as ended:
        await agent.say("y")
    assert ended.value.ended == "length"
    record = agent.record()
    assert record.turns[0].finish_reason == "length"
    # What was never sent is not in the tree; what the environment answered is on record.
    assert record.leaves == (record.turns[0].segment,)
    assert record.turns[0].observation == (Message.user("y"),)


async def test_a_cut_turn_is_closed_by_the_templates_token_and_a_whole_one_is_not_closed_twice() -> None:
    end = chat(PLAIN).encode("<|im_end|>")[0]
    policy, agent = agent_of(lambda request: [300] * 100)
    await agent.say("x")
    await agent.say("y")
    first, second = policy.requests
    assert second.prompt_ids[len(first.prompt_ids) :][:66] == (*([300] * 64), end, *chat(PLAIN).encode("\n"))
    policy, agent = agent_of(lambda request: [300, end])
    await agent.say("x")
    await agent.say("y")
    first, second = policy.requests
    assert second.prompt_ids[len(first.prompt_ids) :][:3] == (300, end, *chat(PLAIN).encode("\n"))


async def test_any_stop_token_stands_for_the_end_of_the_turn() -> None:
    eos, end = chat(PLAIN).encode("<eos>")[0], chat(PLAIN).encode("<|im_end|>")[0]
    policy, agent = agent_of(lambda request: [300, eos])
    await agent.say("x")
    await agent.say("y")
    new = policy.requests[1].prompt_ids[len(policy.requests[0].prompt_ids) :]
    assert new[:2] == (300, eos)
    assert new[2] != end
    assert agent.record().forks == 0
    policy, agent = agent_of(lambda request: [300, eos], template=NO_STOP_TOKEN)
    await agent.say("x")
    await agent.say("y")
    new = policy.requests[1].prompt_ids[len(policy.requests[0].prompt_ids) :]
    assert chat(NO_STOP_TOKEN).decode_all(new[2:]) == "\nuser: y\nassistant: "


async def test_at_the_deadline_what_was_said_stands_and_nothing_more_is() -> None:
    policy = ScriptedPolicy(lambda request: [300] * 60, vocabulary=600, delay=lambda request: 3.0)
    agent = PolicyAgents(policy, chat(PLAIN), RolloutSettings(SamplingParams(max_tokens=64), deadline=0.2))(
        make_task(), NAME
    )
    text = await agent.say("x")
    record = agent.record()
    assert record.turns[0].finish_reason == "cancelled"
    assert 0 < len(record.segments[-1].token_ids) < 60
    assert text == record.turns[0].text
    with pytest.raises(RolloutEnded) as ended:
        await agent.say("y")
    assert ended.value.ended == "deadline"
    assert len(policy.requests) == 1


async def test_a_tool_is_not_called_after_the_deadline() -> None:
    async def never() -> str:
        """Never called."""
        raise AssertionError

    def too_late(request: GenerateRequest) -> str:
        agent._ends_at = -math.inf  # the deadline passes while the policy still answers
        return '<tool_call>{"name": "never"}</tool_call>'

    _, agent = agent_of(too_late, template=TOOLS)
    with pytest.raises(RolloutEnded):
        await agent.run("go", [never])


class Wrong(ScriptedPolicy):
    """Answers `generation`, or never."""

    def __init__(self, generation: Generation | None) -> None:
        super().__init__()
        self._generation = generation

    async def generate(self, request: GenerateRequest) -> Generation:
        if self._generation is None:
            await asyncio.Event().wait()
        assert self._generation is not None
        return self._generation


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        (Generation((1, 2), (0.0,), (0, 0), "stop"), "2 tokens, 1 log-probabilities, 2 versions"),
        (Generation((1,) * 65, (0.0,) * 65, (0,) * 65, "stop"), "65 tokens where at most 64 were asked for"),
        (Generation((1,), (math.nan,), (0,), "stop"), "a log-probability that is not a number"),
        (None, "has not answered env/3/1 within its deadline"),
    ],
)
async def test_a_policy_that_answers_nonsense_or_never_has_failed(generation: Generation | None, message: str) -> None:
    settings = RolloutSettings(SamplingParams(max_tokens=64), deadline=0.05, policy_grace=0.05)
    agent = PolicyAgents(Wrong(generation), chat(PLAIN), settings)(make_task(), NAME)
    with pytest.raises(PolicyError, match=message):
        await agent.say("x")


async def test_long_conversations_are_encoded_off_the_event_loop_and_alike() -> None:
    long = "word " * 6000
    policy, agent = scripted("a", "b", max_context=100_000)
    await agent.say(long)
    await agent.say(long)
    text = chat(PLAIN).decode_all(policy.requests[1].prompt_ids)
    turn = f"<|im_start|>user\n{long}<|im_end|>\n<|im_start|>assistant\n"
    assert text == f"{turn}a<|im_end|>\n{turn}"


async def test_scripted_agents_say_what_they_are_told() -> None:
    agent = ScriptedAgent(["one", "two"])
    assert [await agent.say("x"), await agent.say("y")] == ["one", "two"]
    with pytest.raises(RolloutEnded):
        await agent.say("z")
    record = agent.record()
    assert [t.segment for t in record.turns] == [0, 1]
    assert [(s.parent, s.source, s.token_ids) for s in record.segments] == [(None, "model", ()), (0, "model", ())]
    assert record.leaves == (1,)
    echo = ScriptedAgent(lambda messages: f"{len(messages)} {messages[-1].content}")
    assert [await echo.say("x"), await echo.say("y")] == ["1 x", "3 y"]
    call = '<tool_call>{"name": "add", "arguments": {"first": 1}}</tool_call>'
    assert await ScriptedAgent([call, "1"]).run("go", [add]) == "1"


async def test_gold_and_empty() -> None:
    task = make_task(answer="42")
    assert [await oracle_agent(task).say("x"), await empty_agent(task).say("x")] == ["42", ""]
    with pytest.raises(ConfigError, match="the task task/0 has no oracle solution"):
        oracle_agent(replace(task, oracle=None))
