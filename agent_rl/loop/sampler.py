"""Which task comes next: a keyed shuffle of every environment's tasks, mixed by weight."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_rl.contracts import Environment
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import EndlessTasks, Task


@dataclass(frozen=True, slots=True)
class LoadedEnvironment:
    """An environment of the mix with its tasks of one split."""

    name: str
    environment: Environment
    tasks: Sequence[Task]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SampledTask:
    """The `index`-th task of the run."""

    index: int
    source: LoadedEnvironment
    task: Task


def _draw(*key: object) -> float:
    """A number in [0, 1) that depends only on `key`."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(slots=True)
class TaskSampler:
    """Hands out tasks. The index alone decides the task, so that a resumed run continues with the same tasks."""

    sources: Sequence[LoadedEnvironment]
    seed: int
    next_index: int = 0
    again: deque[int] = field(default_factory=deque[int])
    """Indices to hand out again: groups that were buffered or running at the checkpoint."""
    _orders: dict[tuple[int, int], list[int]] = field(default_factory=dict[tuple[int, int], list[int]])
    _turns: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _counts: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        self._counts = [0] * len(self.sources)
        for source in self.sources:
            if not source.tasks:
                raise ConfigError(f"environment {source.name} has no tasks to train on", key="environments")

    def next(self) -> SampledTask:
        """The next task."""
        if self.again:
            return self.at(self.again.popleft())
        self.next_index += 1
        return self.at(self.next_index - 1)

    def at(self, index: int) -> SampledTask:
        """The `index`-th task. Environments take turns by weight; each goes through its tasks epoch by epoch,
        or through endless ones once."""
        which, position = self._turn(index)
        source = self.sources[which]
        if isinstance(source.tasks, EndlessTasks):
            return SampledTask(index, source, source.tasks.shuffled(position, self.seed))
        epoch, offset = divmod(position, len(source.tasks))
        return SampledTask(index, source, source.tasks[self._order(which, epoch)[offset]])

    def _turn(self, index: int) -> tuple[int, int]:
        """(environment, number of its earlier turns) for the `index`-th turn.

        Turns are spread evenly, without randomness: the environment that is most behind its share goes next.
        """
        if len(self.sources) == 1:
            return 0, index
        total = sum(s.weight for s in self.sources)
        while len(self._turns) <= index:
            turn = len(self._turns) + 1
            behind = [s.weight / total * turn - c for s, c in zip(self.sources, self._counts, strict=True)]
            which = max(range(len(behind)), key=behind.__getitem__)
            self._turns.append((which, self._counts[which]))
            self._counts[which] += 1
        return self._turns[index]

    def _order(self, which: int, epoch: int) -> list[int]:
        """A permutation of the tasks of environment `which`, for one epoch."""
        key = (which, epoch)
        if key not in self._orders:
            name, n = self.sources[which].name, len(self.sources[which].tasks)
            self._orders[key] = sorted(range(n), key=lambda i: _draw(self.seed, name, epoch, i))
        return self._orders[key]
