"""`Agent`: the model as an environment sees it: one conversation of text messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from agent_rl.vocabulary import Message
from agent_rl.vocabulary.trajectory import Ended

Prompt = str | Message | Sequence[Message]
"""What `Agent.say` takes: a string is a user's message."""
Tool = Callable[..., Awaitable[str]]
"""An async function with a docstring and type hints. The model reads the string that it returns."""


class Agent(ABC):
    """One rollout's side of the conversation; the tokens behind it are recorded in its trajectory."""

    @abstractmethod
    async def say(self, prompt: Prompt) -> str:
        """The model's reply to `prompt` (a string is a user's message). Both are added to the conversation.

        If the chat template opens the model's thinking, the reply begins with the mark that it wrote (`<think>`).
        Raises RolloutEnded if the context, the turns or the time until the deadline are used up.
        """

    @abstractmethod
    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        """The model's final reply, after it has called `tools` as often as it wanted (at most `max_turns` turns).

        A tool is an async function; its JSON schema is derived from its docstring and type hints. The model gets an
        observation for what looks like a call and cannot be read, for a call of an unknown tool, and for a ValueError
        that a tool raises. An error of a class of its own, such as JSONDecodeError, is no word to the model but a
        failure of the tool, and is raised.
        """


class RolloutEnded(Exception):
    """Ends a rollout early; `ended` says why. Environments do not catch it: see `Environment.submission`."""

    def __init__(self, ended: Ended) -> None:
        self.ended: Ended = ended
        super().__init__(ended)
