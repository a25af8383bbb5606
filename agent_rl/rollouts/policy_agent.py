"""The agents that environments converse with, and the records of these conversations.

`RecordingAgent` is the conversation's control flow (turns, tools, observations). `PolicyAgent` samples its replies from
a policy and records every token. `ScriptedAgent` gives scripted replies and records no tokens.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

from agent_rl.contracts import (
    Agent,
    GenerateRequest,
    Generation,
    Policy,
    Prompt,
    RolloutEnded,
    SamplingParams,
    SessionLost,
    Tool,
)
from agent_rl.errors import ConfigError, PolicyError
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.conversation import Conversation, Request
from agent_rl.rollouts.tool_calls import MalformedCall, ToolSyntax, parse, syntax_of
from agent_rl.rollouts.tools import ToolSignature, answer_id, answer_role, introduced, signature
from agent_rl.vocabulary import Message, Segment, Task, ToolCall, Turn
from agent_rl.vocabulary.task import MessageRole
from agent_rl.vocabulary.thinking import opened_by

_LARGE = 20_000
"""Characters. A longer text is rendered and encoded in a thread, off the event loop."""
_TOOL_OUTPUT = 8192
"""Characters of a tool's output that the model sees. Of a longer output it sees the beginning and the end."""


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How rollouts are sampled and bounded. Lengths in tokens, times in seconds.

    sampling: max_tokens is per turn. Without stop tokens, the tokenizer's are used.
    deadline: from the rollout's start. The text sampled by then is judged.
    max_context: of prompt and completion together; a rollout that needs more ends as `length`.
    max_turns: of one rollout, no matter how many its environment asks for.
    policy_grace: how long after the deadline the policy may still answer before it counts as dead.
    """

    sampling: SamplingParams = field(default_factory=SamplingParams)
    seed: int = 0
    deadline: float = 600.0
    max_context: int = 4096
    max_turns: int = 128
    tool_syntax: ToolSyntax | None = None
    """None: the syntax that the chat template teaches."""
    policy_grace: float = 60.0


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent's record: the tree of segments, the turns, and the seconds spent waiting for the policy."""

    segments: tuple[Segment, ...]
    leaves: tuple[int, ...]
    turns: tuple[Turn, ...]
    forks: int
    generation_seconds: float


class RecordingAgent(Agent):
    """An agent that keeps a record. A subclass implements `reply`."""

    tool_syntax: ToolSyntax = "json"
    tool_role: MessageRole = "tool"
    opened: str = ""
    """The mark with which the template opened the last reply's thinking, or ""."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.replies: list[str] = []
        """The texts of the turns. Where the template opened the thinking, its mark stands before what was sampled."""
        self.tools: tuple[ToolSignature, ...] = ()

    @abstractmethod
    async def reply(self, messages: Sequence[Message]) -> Turn:
        """The turn that answers `messages`, the new messages of the conversation. Raises RolloutEnded."""

    @abstractmethod
    def record(self) -> AgentRecord:
        """The record of the conversation so far."""

    async def close(self) -> None:
        """Everything that the policy kept for the conversation is freed."""
        return

    def introduce_tools(self, messages: list[Message]) -> list[Message]:
        """`messages` with a description of `tools`, if the chat template does not describe them itself."""
        return messages

    def check_deadline(self) -> None:
        """Raises RolloutEnded if the deadline has passed."""
        return

    async def say(self, prompt: Prompt) -> str:
        return await self._turn(_messages(prompt))

    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        by_name: dict[str, tuple[Tool, ToolSignature]] = {}
        for tool in tools:
            described = signature(tool)
            if described.name in by_name:
                raise ConfigError(f"two tools are called {described.name!r}", key="tools", value=described.name)
            by_name[described.name] = (tool, described)
        messages = _messages(prompt)
        known = self.tools
        self.tools = tuple(described for _, described in by_name.values())
        if self.tools != known:
            messages = self.introduce_tools(messages)
        for _ in range(max_turns):
            text = await self._turn(messages)
            calls = parse(text, self.tool_syntax, tuple(by_name))
            if not calls:
                return text
            self.check_deadline()
            messages = [await self._call(call, number, by_name) for number, call in enumerate(calls)]
        self._observed(messages)
        raise RolloutEnded("turns")

    async def _turn(self, messages: list[Message]) -> str:
        self._observed(messages)
        turn = await self.reply(messages)
        self.turns.append(turn)
        self.replies.append(f"{self.opened}\n{turn.text}" if self.opened else turn.text)
        return self.replies[-1]

    def _observed(self, messages: Sequence[Message]) -> None:
        """Records `messages` as the environment's answer to the last turn."""
        if self.turns:
            self.turns[-1] = replace(self.turns[-1], observation=tuple(messages))

    async def _call(
        self, call: ToolCall | MalformedCall, number: int, tools: Mapping[str, tuple[Tool, ToolSignature]]
    ) -> Message:
        """The message that answers a call: the tool's output, or what was wrong with the call."""
        if isinstance(call, MalformedCall):
            content = f"Error: malformed tool call: {call.reason}"
        elif call.name not in tools:
            content = f"Error: there is no tool {call.name!r}; there are: {', '.join(tools)}"
        else:
            tool, described = tools[call.name]
            try:
                content = _shortened(str(await tool(**described.arguments(call.arguments))))
            except ValueError as error:
                if type(error) is not ValueError:  # such as a JSONDecodeError: a service that the tool asks is broken
                    raise
                content = f"Error: {error}"
        return Message(self.tool_role, content, tool_call_id=answer_id(len(self.turns), number), name=call.name)


class PolicyAgent(RecordingAgent):
    """Samples its replies from a policy and records every token as it was sampled."""

    def __init__(self, policy: Policy, tokenizer: ChatTokenizer, settings: RolloutSettings, name: RolloutName) -> None:
        super().__init__()
        self._policy = policy
        self._conversation = Conversation(tokenizer)
        self._settings = settings
        self._name = name
        self._ends_at = time.monotonic() + settings.deadline
        self._generation_seconds = 0.0
        self._answered = False
        """Whether the policy has the session's ids up to the last turn."""
        stops = settings.sampling.stop_token_ids or tokenizer.stop_token_ids
        self._sampling = replace(settings.sampling, stop_token_ids=stops)
        self.tool_syntax = settings.tool_syntax or syntax_of(tokenizer.template)

    def introduce_tools(self, messages: list[Message]) -> list[Message]:
        tokenizer = self._conversation.tokenizer
        self.tool_role = answer_role(tokenizer)
        return introduced(messages, self.tools, tokenizer, self.tool_syntax, first=not self.turns)

    def check_deadline(self) -> None:
        if time.monotonic() >= self._ends_at:
            raise RolloutEnded("deadline")

    async def reply(self, messages: Sequence[Message]) -> Turn:
        self.check_deadline()
        if len(self.turns) >= self._settings.max_turns:
            raise RolloutEnded("turns")
        request = await self._plan(messages)
        room = self._settings.max_context - request.length
        if room < 1:
            raise RolloutEnded("length")
        self._conversation.send(request)
        self.opened = opened_by(request.text_end)
        generation = await self._generate(request, min(room, self._sampling.max_tokens))
        segment, text = self._conversation.receive(generation)
        return Turn(segment, text, generation.finish_reason)

    async def _plan(self, messages: Sequence[Message]) -> Request:
        characters = self._conversation.compared_characters + sum(len(m.content) for m in messages)
        schemas = [t.schema for t in self.tools]
        if characters < _LARGE:
            return self._conversation.plan(messages, schemas)
        return await asyncio.to_thread(self._conversation.plan, messages, schemas)

    async def _generate(self, request: Request, max_tokens: int) -> Generation:
        """The policy's completion. Raises PolicyError if the policy does not answer or its answer is inconsistent."""
        shares = self._conversation.begins_with_first_prompt(request)
        sampling = self._sampling
        if max_tokens != sampling.max_tokens:
            sampling = replace(sampling, max_tokens=max_tokens)
        started = time.monotonic()
        remaining = max(0.0, self._ends_at - started)
        follows = request.follows if self._answered else 0
        self._answered = False
        asked = GenerateRequest(
            prompt_ids=request.new_ids if follows else self._conversation.whole_prompt(request),
            sampling=sampling,
            key=self._name.key(self._settings.seed, len(self.turns)),
            session=self._name.session,
            prefix_group=self._name.prefix_group(self._conversation.first_prompt_digest) if shares else "",
            shared_prefix=len(self._conversation.first_prompt_ids) if shares else 0,
            deadline=remaining,
            follows=follows,
        )
        waiting = asyncio.timeout(remaining + self._settings.policy_grace)
        try:
            async with waiting:
                generation = await self._sampled(asked, request)
        except TimeoutError as error:
            if not waiting.expired():
                raise PolicyError(f"the policy timed out: {error}") from error
            raise PolicyError(f"the policy has not answered {self._name.session} within its deadline") from None
        finally:
            self._generation_seconds += time.monotonic() - started
        generation = _checked(generation, max_tokens)
        self._answered = True
        return generation

    async def _sampled(self, asked: GenerateRequest, request: Request) -> Generation:
        """The policy's answer to `asked`, which is sent as a whole if the policy has lost the session."""
        try:
            return await self._policy.generate(asked)
        except SessionLost:
            if not asked.follows:
                raise
        whole = self._conversation.whole_prompt(request)
        remaining = max(0.0, self._ends_at - time.monotonic())
        return await self._policy.generate(replace(asked, prompt_ids=whole, follows=0, deadline=remaining))

    def record(self) -> AgentRecord:
        conversation = self._conversation
        return AgentRecord(
            tuple(conversation.segments),
            conversation.leaves,
            tuple(self.turns),
            conversation.forks,
            self._generation_seconds,
        )

    async def close(self) -> None:
        await self._policy.end_session(self._name.session)


class ScriptedAgent(RecordingAgent):
    """Gives the next of `replies`, or the function's reply to the conversation. Tools are called as usual.

    Raises RolloutEnded("turns") when the replies are used up.
    """

    def __init__(self, replies: Sequence[str] | Callable[[Sequence[Message]], str]) -> None:
        super().__init__()
        self._replies = replies
        self._messages: list[Message] = []

    async def reply(self, messages: Sequence[Message]) -> Turn:
        self._messages += messages
        if callable(self._replies):
            text = self._replies(self._messages)
        elif len(self.turns) < len(self._replies):
            text = self._replies[len(self.turns)]
        else:
            raise RolloutEnded("turns")
        self._messages.append(Message.assistant(text))
        return Turn(len(self.turns), text, "stop")

    def record(self) -> AgentRecord:
        """A record with one segment of the model per turn, without tokens."""
        count = len(self.turns)
        segments = tuple(Segment(i - 1 if i else None, "model", ()) for i in range(count))
        return AgentRecord(segments, (count - 1,) if count else (), tuple(self.turns), 0, 0.0)


@dataclass(frozen=True, slots=True)
class RolloutName:
    """Identifies a rollout of a run. A retry has the same name, and so the same random draws."""

    environment: str
    task_id: str
    group: int
    rollout: int

    @property
    def session(self) -> str:
        return f"{self.environment}/{self.group}/{self.rollout}"

    def prefix_group(self, digest: str) -> str:
        """A name that is equal for the rollouts of a group that begin with the same prompt (`digest`)."""
        return f"{self.environment}/{self.group}/{digest}"

    def key(self, seed: int, turn: int) -> tuple[int, ...]:
        """(run seed, task, rollout, turn). A task that appears again in a later group gets different draws."""
        text = f"{self.environment}\0{self.task_id}\0{self.group}"
        task = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
        return (seed, task, self.rollout, turn)


class AgentMaker(Protocol):
    """Makes the agent of one rollout; called again for a retry."""

    def __call__(self, task: Task, name: RolloutName) -> RecordingAgent: ...


@dataclass(frozen=True, slots=True)
class PolicyAgents:
    """The maker of agents whose replies `policy` samples."""

    policy: Policy
    tokenizer: ChatTokenizer
    settings: RolloutSettings

    def __call__(self, task: Task, name: RolloutName) -> PolicyAgent:
        return PolicyAgent(self.policy, self.tokenizer, self.settings, name)


def oracle_agent(task: Task, name: RolloutName | None = None) -> ScriptedAgent:
    """An agent that always replies with the task's oracle solution. Raises ConfigError if the task has none."""
    if task.oracle is None:
        raise ConfigError(f"the task {task.id} has no oracle solution: it cannot be evaluated with gold")
    oracle = task.oracle
    return ScriptedAgent(lambda messages: oracle)


def empty_agent(task: Task, name: RolloutName | None = None) -> ScriptedAgent:
    """An agent whose replies are all empty."""
    return ScriptedAgent(lambda messages: "")


def _messages(prompt: Prompt) -> list[Message]:
    if isinstance(prompt, str):
        return [Message.user(prompt)]
    return [prompt] if isinstance(prompt, Message) else list(prompt)


def _shortened(text: str) -> str:
    if len(text) <= _TOOL_OUTPUT:
        return text
    half = _TOOL_OUTPUT // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters dropped]\n{text[-half:]}"


def _checked(generation: Generation, max_tokens: int) -> Generation:
    """`generation`, checked. Raises PolicyError if its parts do not match each other or the request."""
    count = len(generation.token_ids)
    wrong: Any = None
    if len(generation.logprobs) != count or len(generation.versions) != count:
        wrong = f"{count} tokens, {len(generation.logprobs)} log-probabilities, {len(generation.versions)} versions"
    elif count > max_tokens:
        wrong = f"{count} tokens where at most {max_tokens} were asked for"
    elif math.isnan(sum(generation.logprobs)):
        wrong = "a log-probability that is not a number"
    if wrong is not None:
        raise PolicyError(f"the policy answered with {wrong}")
    return generation
