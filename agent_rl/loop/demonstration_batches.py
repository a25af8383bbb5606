"""The demonstrations of a run's environments: drawn from the mix and turned into batches of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from agent_rl.config import EnvironmentEntry
from agent_rl.contracts import PackedGroup, TrainingRow, Verifier
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import AgentRLError, ConfigError, EnvironmentFailure
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.conversation import demonstration_rows
from agent_rl.rollouts.tools import ToolSignature, signature
from agent_rl.vocabulary import Message

MOST_TOO_LONG = 1000
"""The mix is refused after this many conversations in a row that do not fit the context."""


class Demonstration(NamedTuple):
    """A conversation, and the tools that a rollout of its environment gives the agent."""

    messages: Sequence[Message]
    tools: tuple[ToolSignature, ...]


def conversations(environments: Sequence[EnvironmentEntry], seed: int) -> Iterator[Demonstration]:
    """An endless stream of demonstrations: environments are drawn by weight, and `seed` decides the draws.

    Raises ConfigError for an environment without demonstrations, EnvironmentFailure when its code raises.
    """
    # No verifier is needed: demonstrations are never judged.
    named = make_environments(environments, cast(Verifier, None))
    choose = random.Random(f"demonstrations {seed}")
    streams = [_stream(entry, seed) for entry in named]
    weights = [entry.weight for entry in named]
    while True:
        (index,) = choose.choices(range(len(named)), weights)
        yield next(streams[index])


def _stream(entry: NamedEnvironment, seed: int) -> Iterator[Demonstration]:
    try:
        tools = tuple(map(signature, entry.environment.demonstration_tools()))
        for messages in entry.environment.demonstrations(seed):
            yield Demonstration(messages, tools)
    except NotImplementedError as error:
        raise ConfigError(f"a model cannot be made or fine-tuned here: {error}", key="model.sft") from None
    except AgentRLError:
        raise
    except Exception as error:
        raise EnvironmentFailure(f"{entry.name}: demonstrations raised {type(error).__name__}: {error}") from error
    raise EnvironmentFailure(f"{entry.name}: demonstrations ended, but they must be endless")


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The `BatchSource` of a run: the demonstrations of `environments` in the tokens of the model in `model_folder`."""

    environments: tuple[EnvironmentEntry, ...]
    model_folder: Path
    chat_template: str | None
    context: int
    """Conversations with a row of more tokens are skipped."""
    template_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def batches(self, seed: int, conversations_each: int) -> Iterator[tuple[PackedGroup, ...]]:
        """Endless batches of `conversations_each` conversations; rows with the same prefix share one group.

        A row's weight is 1. Only the assistant's tokens are trained, including the stop token after each message.
        """
        tokenizer = ChatTokenizer.load(self.model_folder, self.chat_template, self.template_variables)
        stream = conversations(self.environments, seed)
        too_long = 0
        while True:
            groups: dict[tuple[int, ...], list[TrainingRow]] = {}
            taken = 0
            while taken < conversations_each:
                rows = demonstration_rows(tokenizer, *next(stream))
                if max(len(ids) for ids, _ in rows) > self.context:
                    too_long += 1
                    if too_long >= MOST_TOO_LONG:
                        raise ConfigError(
                            f"{too_long} demonstrations in a row are longer than the context of {self.context} tokens",
                            key="model.scratch.context",
                        )
                    continue
                too_long = 0
                taken += 1
                for ids, learned in rows:
                    start = learned.index(True)
                    groups.setdefault(ids[:start], []).append(_row(ids[start:], learned[start:]))
            yield tuple(PackedGroup(prefix, rows) for prefix, rows in groups.items())


def _row(ids: Sequence[int], learned: Sequence[bool]) -> TrainingRow:
    zeros = (0,) * len(ids)
    return TrainingRow(ids, learned, zeros, zeros, advantages=[1.0] * len(ids), scale=1.0)
