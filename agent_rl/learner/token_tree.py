"""Sequences with common prefixes as one tree of tokens, which holds every shared prefix once.

    A B C D        A B C D            depth first: after a token come its descendants, and then its siblings
    A B C E   ->         E            ends:        one behind the last of its descendants
    A F            F                  paths:       [0 1 2 3], [0 1 2 4], [0 5]

What a decoder computes for a token depends only on the tokens before it. The result is therefore the same for all
sequences with that prefix: a token attends to its ancestors and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agent_rl.common_prefix import common_prefix

IntArray = npt.NDArray[np.int64]

WINDOW = 96
"""The fewest queries whose attention is computed together: more waste work on masked keys, fewer need more calls."""


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens [start, stop) of a tree, and all tokens that they attend to: `keys` int64 [K], in order.

    mask: 0 where a token attends to a key, -inf elsewhere [stop - start, K].
    """

    start: int
    stop: int
    keys: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class TokenTree:
    """The tokens `ids` [T] in the order above, their `positions` in a sequence and their `ends` [T].

    paths: for each sequence, in the caller's order, the indices of its tokens.
    """

    ids: list[int]
    positions: list[int]
    ends: IntArray
    paths: list[IntArray]

    @property
    def depth(self) -> int:
        """The length of the longest sequence: the most tokens that any token attends to."""
        return max(len(path) for path in self.paths)

    @property
    def window(self) -> int:
        """The most tokens of a window."""
        return max(WINDOW, self.depth // 2)

    @property
    def most_pairs(self) -> int:
        """An upper bound on the number of (token, key of its window) pairs."""
        return len(self.ids) * (self.window + self.depth)

    def windows(self, device: torch.device, dtype: torch.dtype) -> tuple[Window, ...]:
        """The tree cut into windows. The keys before a window are the ancestors of its first token."""
        found: list[Window] = []
        for start in range(0, len(self.ids), self.window):
            stop = min(start + self.window, len(self.ids))
            ancestors = np.flatnonzero(self.ends[:start] > start)
            own = np.arange(start, stop)
            keys = np.concatenate([ancestors, own])
            unseen = torch.from_numpy((keys > own[:, None]) | (self.ends[keys] <= own[:, None])).to(device)
            mask = torch.zeros(unseen.shape, device=device, dtype=dtype).masked_fill_(unseen, float("-inf"))
            found.append(Window(start, stop, torch.from_numpy(keys).to(device), mask))
        return tuple(found)


def token_tree(sequences: Sequence[tuple[int, ...]]) -> TokenTree:
    """The tree of `sequences` (at least one)."""
    ids: list[int] = []
    positions: list[int] = []
    ends = np.zeros(sum(map(len, sequences)), np.int64)
    paths: list[IntArray] = [np.empty(0, np.int64)] * len(sequences)
    before: tuple[int, ...] = ()
    path = np.empty(0, np.int64)
    # In sorted order, no earlier sequence shares a longer prefix with a sequence than its direct predecessor.
    for index in sorted(range(len(sequences)), key=sequences.__getitem__):
        sequence = sequences[index]
        shared = common_prefix(before, sequence)
        ends[path[shared:]] = len(ids)
        path = np.concatenate([path[:shared], np.arange(len(ids), len(ids) + len(sequence) - shared)])
        ids.extend(sequence[shared:])
        positions.extend(range(shared, len(sequence)))
        paths[index] = path
        before = sequence
    ends[path] = len(ids)
    return TokenTree(ids, positions, ends[: len(ids)], paths)
