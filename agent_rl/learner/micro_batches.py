"""From a `Batch` to micro-batches: flat streams of tokens, with the tokens to predict and their positions.

The tokens of a row after its last wanted token are left out, since no wanted token depends on them; so are rows without
wanted tokens. A group larger than a micro-batch is cut between rows, and its prefix is computed once in each part.
Rows may share tokens beyond the prefix (a confident policy gives many equal answers). If computing these tokens once is
worth the wider attention, the part is laid out as a tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agent_rl.contracts import PackedGroup, TrainingRow
from agent_rl.learner.token_layout import Layout, Shape, make_layout
from agent_rl.learner.token_tree import IntArray, TokenTree, token_tree

Tokens = Literal["trained", "all"]
"""Which tokens are predicted: those that take part in the loss, or all."""
PAIRS_OF_A_TOKEN = 512
"""Number of (query, key) pairs that cost a layer as much as the rest of one token. It would be 6 times the width if
attention were as fast as a matrix product (a layer of width w has 12 w^2 weights, a pair takes 2 w products)."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A flat stream of T tokens, from which m predictions are read for n predicted tokens of rows (m <= n, since rows
    can share predictions). Tensors on the model's device.

    ids, positions: [1, T]; select: [m], the index in the stream of the token before each predicted one.
    targets: [m]; shares: [n], for each predicted token of a row its index among the m; None if m = n in the same order.
    sampler_logprobs, versions, advantages, scales: [n], of the predicted tokens; advantages are multiplied by scales.
    proximal_logprobs: [n]; None if the rows have none.
    rows: [n], which of the micro-batch's rows each belongs to, from 0.
    places: (group, row, index in the row) of each predicted token, as three lists of length n.
    """

    ids: Tensor
    positions: Tensor
    layout: Layout
    select: Tensor
    targets: Tensor
    shares: Tensor | None
    sampler_logprobs: Tensor
    versions: Tensor
    advantages: Tensor
    scales: Tensor
    rows: Tensor
    proximal_logprobs: Tensor | None
    places: tuple[list[int], list[int], list[int]]


@dataclass(frozen=True, slots=True)
class _WantedRow:
    """One row's part: the tokens to compute (`length` of them) and the tokens to predict."""

    group: int
    index: int
    row: TrainingRow
    wanted: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.wanted[-1]


@dataclass(frozen=True, slots=True)
class _GroupPart:
    """A group's prefix and some of its rows, in ascending length; `tree`: of prefix + row for each row, if cheaper."""

    prefix_ids: Sequence[int]
    rows: tuple[_WantedRow, ...]
    tree: TokenTree | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", _lesser_tree(self.prefix_ids, self.rows))

    @property
    def tokens(self) -> int:
        """The number of tokens to compute."""
        if self.tree is not None:
            return len(self.tree.ids)
        return len(self.prefix_ids) + sum(r.length for r in self.rows)


def _lesser_tree(prefix_ids: Sequence[int], rows: Sequence[_WantedRow]) -> TokenTree | None:
    """The tree of the rows, each with its prefix; None unless it costs clearly less than the separate rows."""
    if len(rows) == 1:
        return None
    first, prefix = tuple(prefix_ids), len(prefix_ids)
    tree = token_tree([(*first, *row.row.token_ids[: row.length]) for row in rows])
    tokens = prefix + sum(row.length for row in rows)
    pairs = prefix**2 + sum(row.length * (prefix + row.length) for row in rows)
    cost = len(tree.ids) + tree.most_pairs / PAIRS_OF_A_TOKEN
    return tree if cost < 0.9 * (tokens + pairs / PAIRS_OF_A_TOKEN) else None


def micro_batches(
    groups: Sequence[PackedGroup], *, max_tokens: int, tokens: Tokens, device: torch.device, dtype: torch.dtype
) -> Iterator[MicroBatch]:
    """Micro-batches that cover `groups`, of at most `max_tokens` tokens (more only if a single row is longer).

    `dtype` is the type of attention, advantages and log-probabilities.
    """
    gathered: list[_GroupPart] = []
    for part in _group_parts(groups, max_tokens, tokens):
        if gathered and sum(p.tokens for p in gathered) + part.tokens > max_tokens:
            yield _assemble(gathered, device, dtype)
            gathered = []
        gathered.append(part)
    if gathered:
        yield _assemble(gathered, device, dtype)


def _group_parts(groups: Sequence[PackedGroup], max_tokens: int, tokens: Tokens) -> Iterator[_GroupPart]:
    for index, group in enumerate(groups):
        rows = sorted(_wanted_rows(index, group.rows, tokens), key=lambda row: row.length)
        prefix = len(group.prefix_ids)
        part: list[_WantedRow] = []
        size = prefix
        for row in rows:
            if part and size + row.length > max_tokens:
                yield _GroupPart(group.prefix_ids, tuple(part))
                part, size = [], prefix
            part.append(row)
            size += row.length
        if part:
            yield _GroupPart(group.prefix_ids, tuple(part))


def _wanted_rows(group: int, rows: Iterable[TrainingRow], tokens: Tokens) -> Iterator[_WantedRow]:
    for index, row in enumerate(rows):
        if tokens == "all":
            wanted = tuple(range(len(row.token_ids)))
        else:
            wanted = tuple(t for t, trained in enumerate(row.loss_mask) if trained)
        if wanted:
            yield _WantedRow(group, index, row, wanted)


def _assemble(parts: Sequence[_GroupPart], device: torch.device, dtype: torch.dtype) -> MicroBatch:
    """The tensors of one micro-batch.

    A prefix with a single row is not shared: the two form one sequence, in a bucket with other such sequences.
    """
    alone = sorted((p for p in parts if len(p.rows) == 1), key=lambda part: part.tokens)
    stream = _Stream()
    for part in parts:
        if part.tree is not None:
            stream.add_tree(part, part.tree)
            stream.shapes.append(part.tree)
        elif len(part.rows) > 1:
            stream.add(part)
            stream.shapes.append((len(part.prefix_ids), [row.length for row in part.rows if row.length]))
    for part in alone:
        stream.add(part)
    if alone:
        stream.shapes.append((0, [part.tokens for part in alone]))
    select, targets = np.array(stream.select, np.int64), np.array(stream.targets, np.int64)
    shares = None
    if any(part.tree is not None for part in parts):
        # A prediction that several rows of a tree share is read once.
        read, shares = np.unique(np.stack((select, targets)), axis=1, return_inverse=True)
        select, targets = read
    return MicroBatch(
        ids=_integers(stream.ids, device)[None],
        positions=_integers(stream.positions, device)[None],
        layout=make_layout(stream.shapes, device, dtype),
        select=_integers(select, device),
        targets=_integers(targets, device),
        shares=None if shares is None else _integers(shares, device),
        sampler_logprobs=torch.tensor(stream.logprobs, dtype=dtype, device=device),
        versions=torch.tensor(stream.versions, dtype=dtype, device=device),
        advantages=torch.tensor(stream.advantages, dtype=dtype, device=device),
        scales=torch.tensor(stream.scales, dtype=dtype, device=device),
        rows=_integers(stream.rows, device),
        proximal_logprobs=torch.tensor(stream.proximal, dtype=dtype, device=device) if stream.proximal else None,
        places=stream.places,
    )


@dataclass(slots=True)
class _Stream:
    """A micro-batch while it grows: see `MicroBatch`. `shapes` is what `make_layout` takes.

    Here select and targets have one entry for each of the n predicted tokens.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    select: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    proximal: list[float] = field(default_factory=list)
    count: int = 0
    places: tuple[list[int], list[int], list[int]] = field(default_factory=lambda: ([], [], []))
    shapes: list[Shape] = field(default_factory=list)

    def add(self, part: _GroupPart) -> None:
        """Appends the prefix and the rows of `part` to the stream."""
        prefix = len(part.prefix_ids)
        self.ids.extend(part.prefix_ids)
        self.positions.extend(range(prefix))
        before_rows = len(self.ids) - 1
        for row in part.rows:
            start, length = len(self.ids), row.length
            self.ids.extend(row.row.token_ids[:length])
            self.positions.extend(range(prefix, prefix + length))
            self.select.extend(start + t - 1 if t else before_rows for t in row.wanted)
            self._predict(row)

    def add_tree(self, part: _GroupPart, tree: TokenTree) -> None:
        """Appends the tokens of `tree`, the tree of `part`, to the stream."""
        start, prefix = len(self.ids), len(part.prefix_ids)
        self.ids.extend(tree.ids)
        self.positions.extend(tree.positions)
        for row, path in zip(part.rows, tree.paths, strict=True):
            self.select.extend((path[np.array(row.wanted) + (prefix - 1)] + start).tolist())
            self._predict(row)

    def _predict(self, cut: _WantedRow) -> None:
        """Adds the wanted tokens of the row to the predicted ones."""
        row = cut.row
        self.targets.extend(row.token_ids[t] for t in cut.wanted)
        self.logprobs.extend(row.logprobs[t] for t in cut.wanted)
        self.versions.extend(row.versions[t] for t in cut.wanted)
        self.advantages.extend(row.advantages[t] * row.scale for t in cut.wanted)
        self.scales.extend([row.scale] * len(cut.wanted))
        if row.proximal_logprobs is not None:
            self.proximal.extend(row.proximal_logprobs[t] for t in cut.wanted)
        self.rows.extend([self.count] * len(cut.wanted))
        self.count += 1
        groups, rows, tokens = self.places
        groups.extend([cut.group] * len(cut.wanted))
        rows.extend([cut.index] * len(cut.wanted))
        tokens.extend(cut.wanted)


def _integers(values: list[int] | IntArray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.int64)).to(device)
