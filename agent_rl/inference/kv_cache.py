"""Keys and values: running sequences in arenas by length, idle sequences parked in their own tensors.

An arena holds sequences of at most `capacity - 1` tokens as rows of one tensor per layer, without gaps, so that
attention over all of them is one batched product on a view. Column 0 of a row is all zeros: attention puts the summary
of a shared prefix there (see `attention`). Token t of a sequence is in column t + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field

import numpy as np
import torch


def capacities() -> Iterator[int]:
    """28, 60, 92, 124, 188, 252, 380, 508, ...: four short of 32, 64, 96, 128, 192, 256, 384, 512, ...

    A product over whole rows needs no copy of keys and values, so rows are never cut. With sizes that are powers of
    two, neighbouring rows would compete for the same lines of the CPU's cache.
    """
    yield from (28, 60)
    size = 64
    while True:
        yield size + size // 2 - 4
        yield 2 * size - 4
        size *= 2


@dataclass(frozen=True, slots=True)
class KVShape:
    """The shape, dtype and device of one token's keys and values."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return self.layers * 2 * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class Stretch:
    """Keys and values of consecutive tokens: in an arena's row, or parked, or (length 0) nowhere."""

    length: int = 0
    arena: Arena | None = None
    row: int = -1
    parked: torch.Tensor | None = None
    """[layers, 2, kv_heads, length, head_dim]"""

    def park(self) -> None:
        """The tokens' keys and values are copied out of the arena; the caller then removes the row from the arena."""
        assert self.arena is not None
        self.parked = self.arena.data[:, :, self.row, :, 1 : 1 + self.length].clone()
        self.arena, self.row = None, -1

    def truncate(self, length: int) -> None:
        """Only the first `length` tokens of this parked stretch are kept."""
        self.length = length
        if self.parked is not None:
            self.parked = self.parked[:, :, :, :length]

    def drop(self) -> None:
        """Nothing is kept."""
        self.length, self.parked, self.arena, self.row = 0, None, None, -1


@dataclass(eq=False, slots=True)
class Arena:
    """Rows of one capacity. Rows [0, len) are in use; `owners[row]` is a caller's number for the row."""

    shape: KVShape
    capacity: int
    rows: list[Stretch] = field(default_factory=list[Stretch])
    owners: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    data: torch.Tensor = field(init=False)
    """[layers, 2, rows, kv_heads, capacity, head_dim]"""

    def __post_init__(self) -> None:
        self.data = self._zeros(0)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def allocated_bytes(self) -> int:
        return self.data.numel() * self.data.element_size()

    def add(self, stretch: Stretch, owner: int) -> None:
        """`stretch` is the last row; its parked keys and values are copied into the row."""
        row = len(self.rows)
        if row == len(self.owners):
            self._grow(max(16, 2 * row))
        stretch.arena, stretch.row = self, row
        self.rows.append(stretch)
        self.owners[row] = owner
        if stretch.parked is not None:
            self.data[:, :, row, :, 1 : 1 + stretch.length] = stretch.parked
            stretch.parked = None

    def remove(self, rows: Ordered[int]) -> None:
        """The rows are free; rows from the end fill their places. The caller updates the removed rows' stretches."""
        gone = set(rows)
        left = len(self.rows) - len(gone)
        holes = [row for row in gone if row < left]
        movers = [row for row in range(left, len(self.rows)) if row not in gone]
        if holes:
            self.data[:, :, holes] = self.data[:, :, movers]
            for hole, mover in zip(holes, movers, strict=True):
                self.rows[hole] = self.rows[mover]
                self.rows[hole].row = hole
                self.owners[hole] = self.owners[mover]
        del self.rows[left:]

    def move(self, rows: Ordered[int], target: Arena) -> None:
        """The rows are now the last rows of `target`, a larger arena."""
        stretches = [self.rows[row] for row in rows]
        owners = [int(self.owners[row]) for row in rows]
        first = len(target)
        for stretch, owner in zip(stretches, owners, strict=True):
            target.add(stretch, owner)
        target.data[:, :, first : first + len(rows), :, : self.capacity] = self.data[:, :, list(rows)]
        self.remove(rows)

    def _grow(self, rows: int) -> None:
        data = self._zeros(rows)
        data[:, :, : self.data.shape[2]] = self.data
        self.data = data
        self.owners = np.concatenate([self.owners, np.empty(rows - len(self.owners), np.int64)])

    def _zeros(self, rows: int) -> torch.Tensor:
        s = self.shape
        return torch.zeros(s.layers, 2, rows, s.kv_heads, self.capacity, s.head_dim, dtype=s.dtype, device=s.device)


class Arenas:
    """Arenas of the capacities above, made when they are needed."""

    def __init__(self, shape: KVShape) -> None:
        self.shape = shape
        self._by_capacity: dict[int, Arena] = {}

    def fitting(self, tokens: int) -> Arena:
        """The smallest arena whose rows hold `tokens` tokens."""
        capacity = next(capacity for capacity in capacities() if capacity > tokens)
        arena = self._by_capacity.get(capacity)
        if arena is None:
            arena = self._by_capacity[capacity] = Arena(self.shape, capacity)
            self._by_capacity = dict(sorted(self._by_capacity.items()))
        return arena

    def used(self) -> list[Arena]:
        """The arenas that hold rows, by capacity."""
        return [arena for arena in self._by_capacity.values() if arena.rows]

    @property
    def allocated_bytes(self) -> int:
        return sum(arena.allocated_bytes for arena in self._by_capacity.values())

    def release(self) -> None:
        """The memory of empty arenas is freed."""
        self._by_capacity = {c: a for c, a in self._by_capacity.items() if a.rows}
