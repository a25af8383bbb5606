"""`Agent`: the model as an environment sees it, one conversation of messages in text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from agent_rl.vocabulary import Message
from agent_rl.vocabulary.trajectory import Ended

Prompt = str | Message | Sequence[Message]
"""What `Agent.say` takes: a string is a user's message."""
Tool = Callable[..., Awaitable[str]]
"""An async function with a docstring and type hints; what it returns is what the model reads."""


class Agent(ABC):
    """One rollout's side of the conversation; the tokens behind it are recorded in its trajectory."""

    @abstractmethod
    async def say(self, prompt: Prompt) -> str:
        """The model's reply to `prompt` (a string is a user's message), which both become part of the conversation.

        Raises RolloutEnded where the context, the turns or the deadline are used up.
        """

    @abstractmethod
    async def run(self, prompt: Prompt, tools: Sequence[Tool], *, max_turns: int = 8) -> str:
        """The model's final reply, after it has called `tools` as often as it wanted (at most `max_turns` turns).

        A tool is an async function with a docstring and type hints, from which its JSON schema is derived; a malformed
        call, an unknown tool and a tool's exception of type ValueError come back to the model as an observation.
        """


class RolloutEnded(Exception):
    """Ends a rollout early: `ended` is how. Environments let it pass: see `Environment.submission`."""

    def __init__(self, ended: Ended) -> None:
        self.ended: Ended = ended
        super().__init__(ended)
