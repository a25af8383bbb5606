"""From a `Batch` to micro-batches: flat streams of tokens with what is predicted where.

A row's tokens after its last wanted one predict nothing that is wanted and are left away, as are rows with nothing
wanted at all. A group larger than a micro-batch is cut between rows, and its prefix computed once in each piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agent_rl.contracts import PackedGroup, Row
from agent_rl.learner.layout import Layout, make_layout

Wanted = Literal["trained", "all"]
"""Which tokens' log-probabilities are computed: those with a part in the loss, or every one."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A flat stream of T tokens, and the n predictions read from it. Tensors on the model's device.

    ids, positions: [1, T]; select: [n], where in the stream the token before each predicted one stands.
    targets, weights, sampler_logprobs: [n], of the predicted tokens.
    places: (group, row, index in the row) of each predicted token, as three lists of length n.
    """

    ids: Tensor
    positions: Tensor
    layout: Layout
    select: Tensor
    targets: Tensor
    weights: Tensor
    sampler_logprobs: Tensor
    places: tuple[list[int], list[int], list[int]]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One row's share: the tokens that are computed (`length` of them) and those that are predicted."""

    group: int
    index: int
    row: Row
    wanted: tuple[int, ...]

    @property
    def length(self) -> int:
        return self.wanted[-1]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A group's prefix and rows of it, in ascending length."""

    prefix_ids: Sequence[int]
    rows: tuple[_Stretch, ...]

    @property
    def tokens(self) -> int:
        return len(self.prefix_ids) + sum(r.length for r in self.rows)


def micro_batches(
    groups: Sequence[PackedGroup], *, max_tokens: int, wanted: Wanted, device: torch.device, dtype: torch.dtype
) -> Iterator[MicroBatch]:
    """Micro-batches of at most `max_tokens` tokens (one row's more where it alone is longer) that cover `groups`.

    `dtype` is that of attention, weights and log-probabilities.
    """
    gathered: list[_Piece] = []
    for piece in _pieces(groups, max_tokens, wanted):
        if gathered and sum(p.tokens for p in gathered) + piece.tokens > max_tokens:
            yield _assemble(gathered, device, dtype)
            gathered = []
        gathered.append(piece)
    if gathered:
        yield _assemble(gathered, device, dtype)


def _pieces(groups: Sequence[PackedGroup], max_tokens: int, wanted: Wanted) -> Iterator[_Piece]:
    for index, group in enumerate(groups):
        rows = sorted(_stretches(index, group.rows, wanted), key=lambda stretch: stretch.length)
        prefix = len(group.prefix_ids)
        piece: list[_Stretch] = []
        tokens = prefix
        for row in rows:
            if piece and tokens + row.length > max_tokens:
                yield _Piece(group.prefix_ids, tuple(piece))
                piece, tokens = [], prefix
            piece.append(row)
            tokens += row.length
        if piece:
            yield _Piece(group.prefix_ids, tuple(piece))


def _stretches(group: int, rows: Iterable[Row], wanted: Wanted) -> Iterator[_Stretch]:
    for index, row in enumerate(rows):
        if wanted == "all":
            tokens = tuple(range(len(row.token_ids)))
        elif row.weight == 0.0:
            continue
        else:
            tokens = tuple(t for t, trained in enumerate(row.loss_mask) if trained)
        if tokens:
            yield _Stretch(group, index, row, tokens)


def _assemble(pieces: Sequence[_Piece], device: torch.device, dtype: torch.dtype) -> MicroBatch:
    """The tensors of one micro-batch.

    A prefix with a single row shares nothing: the two are one sequence, which attends within buckets of such sequences.
    """
    alone = sorted((p for p in pieces if len(p.rows) == 1), key=lambda piece: piece.tokens)
    stream = _Stream()
    for piece in pieces:
        if len(piece.rows) > 1:
            stream.add(piece)
            stream.shapes.append((len(piece.prefix_ids), [row.length for row in piece.rows if row.length]))
    for piece in alone:
        stream.add(piece)
    if alone:
        stream.shapes.append((0, [piece.tokens for piece in alone]))
    return MicroBatch(
        ids=_integers(stream.ids, device)[None],
        positions=_integers(stream.positions, device)[None],
        layout=make_layout(stream.shapes, device, dtype),
        select=_integers(stream.select, device),
        targets=_integers(stream.targets, device),
        weights=torch.tensor(stream.weights, dtype=dtype, device=device),
        sampler_logprobs=torch.tensor(stream.logprobs, dtype=dtype, device=device),
        places=stream.places,
    )


@dataclass(slots=True)
class _Stream:
    """A micro-batch while it grows: see `MicroBatch`. `shapes` is what `make_layout` takes."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    select: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    places: tuple[list[int], list[int], list[int]] = field(default_factory=lambda: ([], [], []))
    shapes: list[tuple[int, list[int]]] = field(default_factory=list)

    def add(self, piece: _Piece) -> None:
        """The prefix and the rows of `piece` are at the end of the stream."""
        prefix = len(piece.prefix_ids)
        self.ids.extend(piece.prefix_ids)
        self.positions.extend(range(prefix))
        before_rows = len(self.ids) - 1
        for stretch in piece.rows:
            start, row, length = len(self.ids), stretch.row, stretch.length
            self.ids.extend(row.token_ids[:length])
            self.positions.extend(range(prefix, prefix + length))
            for t in stretch.wanted:
                self.select.append(start + t - 1 if t else before_rows)
                self.targets.append(row.token_ids[t])
                self.logprobs.append(row.logprobs[t])
            self.weights.extend([row.weight] * len(stretch.wanted))
            groups, rows, tokens = self.places
            groups.extend([stretch.group] * len(stretch.wanted))
            rows.extend([stretch.index] * len(stretch.wanted))
            tokens.extend(stretch.wanted)


def _integers(values: list[int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.int64)).to(device)
