"""`EndlessTasks`: tasks that are made when they are asked for, so that a split can be larger than any run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import overload

from agent_rl.vocabulary.task import Task

_COUNT = 2**32
"""How many indices there are: a power of two, so that each odd factor permutes them."""
FEW = 256
"""How many tasks `some_of` takes where it is not told."""


class EndlessTasks(Sequence[Task]):
    """2**32 tasks, of which `make(index)` makes each; equal indices give equal tasks. Nothing is kept.

    Do not iterate over all of them: `some_of` takes some.
    """

    def __init__(self, make: Callable[[int], Task]) -> None:
        self._make = make

    def __len__(self) -> int:
        return _COUNT

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(_COUNT)[index]]
        return self._make(range(_COUNT)[index])

    def __iter__(self) -> Iterator[Task]:
        return map(self._make, range(_COUNT))

    def shuffled(self, position: int, seed: int) -> Task:
        """The task at `position` of an order that `seed` decides; within 2**32 positions no index comes twice.

        The index is (a position + b) mod 2**32 with an odd a: a permutation that needs no memory.
        """
        key = int.from_bytes(blake2b(f"order {seed}".encode(), digest_size=8).digest(), "big")
        factor, shift = (key >> 32) | 1, key % _COUNT
        return self._make((factor * position + shift) % _COUNT)


def some_of(tasks: Sequence[Task], most: int = FEW) -> Sequence[Task]:
    """`tasks` themselves, or the first `most` of endless ones: what a check of all tasks looks at."""
    return tasks[:most] if isinstance(tasks, EndlessTasks) else tasks
