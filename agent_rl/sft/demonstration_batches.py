"""Demonstrations as batches of tokens: drawn from the mix of environments, and made ahead in a process of their own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, cast

from agent_rl.config import EnvironmentEntry
from agent_rl.contracts import PackedGroup, TrainingRow, Verifier
from agent_rl.environments import NamedEnvironment, make_environments
from agent_rl.errors import AgentRLError, ConfigError, EnvironmentFailure
from agent_rl.launch.role_process import die_with_parent
from agent_rl.rollouts.chat import ChatTokenizer
from agent_rl.rollouts.conversation import demonstration_rows
from agent_rl.vocabulary import Message

AHEAD = 8
"""Batches made before they are asked for."""
MOST_TOO_LONG = 1000
"""Conversations in a row that do not fit the context, before the mix is refused."""


@dataclass(frozen=True, slots=True)
class DemonstrationSource:
    """Where demonstrations come from and how they become tokens; crosses to the process that makes them."""

    environments: tuple[EnvironmentEntry, ...]
    model_folder: Path
    chat_template: str | None
    seed: int
    context: int
    """Rows of more tokens are left away."""


def conversations(environments: Sequence[EnvironmentEntry], seed: int) -> Iterator[Sequence[Message]]:
    """Endless demonstrations of the mix, each environment's by its weight, decided by `seed`.

    Raises ConfigError for an environment that has none, EnvironmentFailure where its code raises.
    """
    # Demonstrations are made by environments that nothing ever judges.
    named = make_environments(environments, cast(Verifier, None))
    choose = random.Random(f"demonstrations {seed}")
    streams = [_stream(entry, seed) for entry in named]
    weights = [entry.weight for entry in named]
    while True:
        (index,) = choose.choices(range(len(named)), weights)
        yield next(streams[index])


def _stream(entry: NamedEnvironment, seed: int) -> Iterator[Sequence[Message]]:
    try:
        yield from entry.environment.demonstrations(seed)
    except NotImplementedError as error:
        raise ConfigError(f"a model cannot be made or warm-started here: {error}", key="model.sft") from None
    except AgentRLError:
        raise
    except Exception as error:
        raise EnvironmentFailure(f"{entry.name}: demonstrations raised {type(error).__name__}: {error}") from error
    raise EnvironmentFailure(f"{entry.name}: demonstrations ended, but they must be endless")


def batches(source: DemonstrationSource, conversations_each: int) -> Iterator[tuple[PackedGroup, ...]]:
    """Endless batches of `conversations_each` conversations; those that begin alike share a group's prefix.

    A row's weight is 1; only what the assistant says, with the stop token after it, is learned.
    """
    tokenizer = ChatTokenizer.load(source.model_folder, source.chat_template)
    stream = conversations(source.environments, source.seed)
    too_long = 0
    while True:
        groups: dict[tuple[int, ...], list[TrainingRow]] = {}
        taken = 0
        while taken < conversations_each:
            rows = demonstration_rows(tokenizer, next(stream))
            if max(len(ids) for ids, _ in rows) > source.context:
                too_long += 1
                if too_long >= MOST_TOO_LONG:
                    raise ConfigError(
                        f"{too_long} demonstrations in a row are longer than the context of {source.context} tokens",
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
    return TrainingRow(ids, learned, zeros, zeros, advantage=1.0, weight=1.0)


class BatchesAhead:
    """`batches` from a process of its own, which keeps a few ready. Used as a context manager."""

    def __init__(self, source: DemonstrationSource, conversations_each: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: multiprocessing.Queue[Any] = context.Queue(AHEAD)
        self._process: SpawnProcess = context.Process(
            target=_produce, args=(source, conversations_each, self._queue, os.getpid()), daemon=True
        )

    def __enter__(self) -> BatchesAhead:
        self._process.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.join()
        self._queue.cancel_join_thread()

    def next(self) -> tuple[PackedGroup, ...]:
        """The next batch. Raises what the making of it raised, EnvironmentFailure where its process died."""
        while True:
            try:
                item = self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._process.is_alive():
                    continue
                raise EnvironmentFailure(
                    f"the process that makes demonstrations ended with code {self._process.exitcode}"
                ) from None
            if isinstance(item, AgentRLError):
                raise item
            return item


def _produce(
    source: DemonstrationSource, conversations_each: int, out: multiprocessing.Queue[Any], parent: int
) -> None:
    die_with_parent(parent)
    try:
        for batch in batches(source, conversations_each):
            out.put(batch)
    except AgentRLError as error:
        out.put(type(error)(str(error)))
