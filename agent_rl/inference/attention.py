"""Attention of one forward pass over the tokens of many sequences, laid side by side without padding.

A token sees the earlier tokens of its own sequence (a row of an arena) and, if its sequence has one, a prefix that it
shares with other sequences. The prefix's part is computed for all its sequences together: a softmax over the prefix
alone gives an output o_p and the logarithm of its normaliser, lse_p. In the own part, column 0 of every row stands for
the whole prefix, with score lse_p and value o_p. One softmax over the row then equals the softmax over all tokens:

    softmax([s_prefix, s_own]) [V_prefix; V_own] = softmax([lse_p, s_own]) [o_p; V_own].

Sequences without a prefix have lse_p = -inf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent_rl.inference.kv_cache import Arena

_MAX_SCORES = 1 << 25
"""The most scores held at once while prompts are read; with more, the queries are processed in slices."""


@dataclass(frozen=True, slots=True)
class Decode:
    """Rows [0, count) of an arena with one new token each, which are tokens [start, start + count) of the pass."""

    arena: Arena
    start: int
    lengths: np.ndarray
    """int64 [count]: tokens of each row before the new one."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """The last rows of an arena; row i has `new[i]` new tokens after `cached[i]`, numbered from `start`, row by row."""

    arena: Arena
    start: int
    first_row: int
    cached: np.ndarray
    new: np.ndarray


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """A prefix (row `row` of `arena`), and the tokens of the pass that see it."""

    arena: Arena
    row: int
    length: int
    tokens: np.ndarray


class Attention:
    """The plan of one pass, made once and used by every layer through `attend`.

    An arena's new tokens are consecutive in the pass: decoded tokens first, then prompt tokens.
    """

    def __init__(
        self,
        tokens: int,
        decodes: Sequence[Decode],
        prefills: Sequence[Prefill],
        prefixes: Sequence[PrefixUse] = (),
        *,
        groups: int = 1,
    ) -> None:
        """tokens: the tokens of all parts, plus any number of padding tokens, whose outputs are never computed.

        groups: query heads per key-value head.
        """
        arenas = [*(d.arena for d in decodes), *(p.arena for p in prefills)]
        self._groups = groups
        self._kv_heads = arenas[0].shape.kv_heads
        self._tokens = tokens
        self._device = arenas[0].shape.device
        self._writes = self._plan_writes(decodes, prefills)
        self._covered = max(stop for _, _, stop, _ in self._writes)
        self._prefix = _PrefixPart(self, prefixes, self._covered) if prefixes else None
        self._decodes = [_DecodePart(self, d) for d in decodes]
        self._prefills = [_PrefillPart(self, p) for p in prefills]

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
        """The attention output of `layer`; the new keys and values are stored.

        q: [tokens, heads, head_dim]; k, v: [tokens, kv_heads, head_dim]; returns [tokens, heads, head_dim].
        """
        shape = q.shape
        for arena, start, stop, index in self._writes:
            keys, values = arena.data[layer].flatten(1, 3)
            keys.index_copy_(0, index, k[start:stop].reshape(-1, k.shape[-1]).to(keys.dtype))
            values.index_copy_(0, index, v[start:stop].reshape(-1, v.shape[-1]).to(keys.dtype))
        q = q.reshape(self._tokens * self._kv_heads, self._groups, shape[-1])
        out = torch.empty_like(q)
        out[self._covered * self._kv_heads :] = 0
        outer, logsum = self._prefix.attend(layer, q, scaling) if self._prefix is not None else (None, None)
        for decode in self._decodes:
            decode.attend(layer, q, outer, logsum, scaling, out)
        for prefill in self._prefills:
            prefill.attend(layer, q, outer, logsum, scaling, out)
        return out.view(shape)

    def index(self, array: np.ndarray) -> torch.Tensor:
        """`array` as a tensor on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def mask(self, ends: np.ndarray, slots: int) -> torch.Tensor:
        """0 for columns 1 to `ends - 1` of each row, -inf for the others: float32 [rows, `slots` columns]."""
        visible = np.arange(slots) < ends[:, None]
        visible[:, 0] = False
        return self.index(np.where(visible, np.float32(0), np.float32(-np.inf)))

    @property
    def kv_heads(self) -> int:
        return self._kv_heads

    @property
    def groups(self) -> int:
        return self._groups

    def by_head(self, tokens: np.ndarray) -> np.ndarray:
        """The row numbers of `tokens` in [tokens * kv_heads, ...]: an axis of kv_heads is appended."""
        return tokens[..., None] * self._kv_heads + np.arange(self._kv_heads)

    def _plan_writes(
        self, decodes: Sequence[Decode], prefills: Sequence[Prefill]
    ) -> list[tuple[Arena, int, int, torch.Tensor]]:
        """For each run of new tokens: its arena, its start and end, and the places where its keys are stored."""
        writes: list[tuple[Arena, int, int, torch.Tensor]] = []
        for decode in decodes:
            rows = np.arange(len(decode.lengths))
            writes.append(self._write(decode.arena, decode.start, rows, decode.lengths))
        for prefill in prefills:
            rows = np.repeat(np.arange(len(prefill.new)), prefill.new)
            within = np.arange(len(rows)) - np.repeat(np.cumsum(prefill.new) - prefill.new, prefill.new)
            rows_of = prefill.first_row + rows
            writes.append(self._write(prefill.arena, prefill.start, rows_of, prefill.cached[rows] + within))
        return writes

    def _write(
        self, arena: Arena, start: int, rows: np.ndarray, positions: np.ndarray
    ) -> tuple[Arena, int, int, torch.Tensor]:
        slots = self.by_head(rows) * arena.capacity + positions[:, None] + 1
        return arena, start, start + len(rows), self.index(slots.ravel())


class _DecodePart:
    """One new token of each of an arena's first rows."""

    def __init__(self, plan: Attention, decode: Decode) -> None:
        self._arena = decode.arena
        self._count = count = len(decode.lengths)
        self._rows = slice(decode.start * plan.kv_heads, (decode.start + count) * plan.kv_heads)
        self._mask = plan.mask(decode.lengths + 2, decode.arena.capacity)[:, None]
        """[count, 1, capacity]; the prefix's column is masked too."""

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        outer: torch.Tensor | None,
        logsum: torch.Tensor | None,
        scaling: float,
        out: torch.Tensor,
    ) -> None:
        """Fills this part's rows of `out` [tokens * kv_heads, groups, head_dim]."""
        rows = self._rows
        keys, values = self._arena.data[layer].flatten(1, 2)[:, : rows.stop - rows.start]
        queries = q[rows]
        scores = scaled_product(queries, keys, scaling)
        scores.view(self._count, -1, scores.shape[-1]).add_(self._mask)
        if logsum is not None:
            scores[:, :, 0] = logsum[rows]
        weights = torch.softmax(scores, dim=-1).to(queries.dtype)
        target = out[rows]
        torch.bmm(weights, values, out=target)
        if outer is not None:
            target.addcmul_(weights[:, :, :1], outer[rows])


class _PrefillPart:
    """Several new tokens of each of an arena's last rows."""

    def __init__(self, plan: Attention, prefill: Prefill) -> None:
        self._arena = prefill.arena
        self._heads, self._groups = plan.kv_heads, plan.groups
        count, most = len(prefill.new), int(prefill.new.max())
        self._first = prefill.first_row * self._heads
        self._count, self._most = count, most
        self._slots = prefill.arena.capacity
        within = np.arange(most)
        begins = prefill.start + np.cumsum(prefill.new) - prefill.new
        valid = within < prefill.new[:, None]
        tokens = np.where(valid, begins[:, None] + within, prefill.start)
        self._gather = plan.index(plan.by_head(tokens).transpose(0, 2, 1).ravel())
        """[count, kv_heads, most], flat: rows of q."""
        valid = np.broadcast_to(valid[:, None], (count, self._heads, most)).ravel()
        self._valid = plan.index(np.flatnonzero(valid))
        last = plan.index(prefill.cached[:, None] + 1 + within)
        self._hidden = torch.arange(self._slots, device=last.device) > last[:, :, None]
        """[count, most, slots]"""
        self._hidden[:, :, 0] = True

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        outer: torch.Tensor | None,
        logsum: torch.Tensor | None,
        scaling: float,
        out: torch.Tensor,
    ) -> None:
        """Fills this part's rows of `out` [tokens * kv_heads, groups, head_dim]."""
        count, heads, most, groups = self._count, self._heads, self._most, self._groups
        rows = slice(self._first, self._first + count * heads)
        keys, values = self._arena.data[layer].flatten(1, 2)[:, rows]
        queries = q[self._gather].view(count * heads, most, groups, -1)
        result = torch.empty_like(queries)
        step = max(1, _MAX_SCORES // (count * heads * groups * self._slots))
        for start in range(0, most, step):
            part = slice(start, min(start + step, most))
            size = part.stop - part.start
            scores = scaled_product(queries[:, part].flatten(1, 2), keys, scaling)
            hidden = self._hidden[:, None, part, None]
            scores.view(count, heads, size, groups, -1).masked_fill_(hidden, -math.inf)
            index = self._gather.view(count * heads, most)[:, part].flatten()
            if logsum is not None:
                scores[:, :, 0] = logsum[index].view(count * heads, size * groups)
            weights = torch.softmax(scores, dim=-1).to(queries.dtype)
            gathered = torch.bmm(weights, values)
            if outer is not None:
                gathered.addcmul_(weights[:, :, :1], outer[index].view(count * heads, size * groups, -1))
            result[:, part] = gathered.view(count * heads, size, groups, -1)
        flat = result.view(count * heads * most, groups, -1)
        out[self._gather[self._valid]] = flat[self._valid]


class _PrefixPart:
    """o_p and lse_p of all tokens that have a shared prefix, computed prefix by prefix."""

    def __init__(self, plan: Attention, prefixes: Sequence[PrefixUse], tokens: int) -> None:
        self._heads, self._groups = plan.kv_heads, plan.groups
        self._blocks: list[_PrefixBlocks] = []
        covered = np.concatenate([use.tokens for use in prefixes])
        sources = np.full((tokens, self._heads), -1)
        offset = 0
        for arena in dict.fromkeys(use.arena for use in prefixes):
            blocks = _PrefixBlocks(plan, [use for use in prefixes if use.arena is arena])
            self._blocks.append(blocks)
            sources[blocks.tokens] = offset + blocks.places
            offset += blocks.size
        self._all = len(covered) == tokens
        sources[sources < 0] = offset  # the extra last row, for tokens without a prefix
        self._sources = plan.index(sources.ravel())

    def attend(self, layer: int, q: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
        """o_p [tokens * kv_heads, groups, head_dim] and lse_p [tokens * kv_heads, groups], float32."""
        parts = [blocks.attend(layer, q, scaling) for blocks in self._blocks]
        if not self._all:
            nothing = q.new_zeros(1, self._groups, q.shape[-1])
            parts.append((nothing, torch.full((1, self._groups), -math.inf, device=q.device)))
        outer, logsum = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
        return outer.index_select(0, self._sources), logsum.index_select(0, self._sources)


class _PrefixBlocks:
    """The prefixes of one arena. All blocks have the same number of tokens: one batched product computes them."""

    def __init__(self, plan: Attention, uses: Sequence[PrefixUse]) -> None:
        self._arena = uses[0].arena
        self._heads, self._groups = plan.kv_heads, plan.groups
        counts = [len(use.tokens) for use in uses]
        self._width = width = _block_width(counts)
        chunks: list[np.ndarray] = []
        rows: list[int] = []
        lengths: list[int] = []
        for use in uses:
            for start in range(0, len(use.tokens), width):
                chunks.append(use.tokens[start : start + width])
                rows.append(use.row)
                lengths.append(use.length)
        tokens = np.zeros((len(chunks), width), np.int64)
        valid = np.zeros((len(chunks), width), bool)
        for i, chunk in enumerate(chunks):
            tokens[i, : len(chunk)] = chunk
            valid[i, : len(chunk)] = True
        self.tokens = tokens[valid]
        """The tokens' numbers; `places` [.., kv_heads] are their rows in the result of `attend`."""
        block, at = np.nonzero(valid)
        self.places = (block[:, None] * self._heads + np.arange(self._heads)) * width + at[:, None]
        self.size = len(chunks) * self._heads * width
        self._gather = plan.index(plan.by_head(tokens).transpose(0, 2, 1).ravel())
        consecutive = rows == list(range(rows[0], rows[0] + len(rows)))
        self._slice = slice(rows[0], rows[0] + len(rows)) if consecutive else None
        self._index = None if consecutive else plan.index(np.array(rows))
        self._blocks = len(rows)
        self._mask = plan.mask(np.array(lengths) + 1, self._arena.capacity)[:, None]
        """[blocks, 1, capacity]"""

    def attend(self, layer: int, q: torch.Tensor, scaling: float) -> tuple[torch.Tensor, torch.Tensor]:
        """o_p [size, groups, head_dim] and lse_p [size, groups], by block, head and place."""
        data = self._arena.data[layer]
        chosen = data[:, self._slice] if self._index is None else data.index_select(1, self._index)
        keys, values = chosen.flatten(1, 2)
        queries = q.index_select(0, self._gather).view(len(keys), -1, q.shape[-1])
        scores = scaled_product(queries, keys, scaling)
        scores.view(self._blocks, -1, scores.shape[-1]).add_(self._mask)
        # log(weight) = score - lse, for any column: column 1 is the prefix's first token, which every query sees
        logweights = torch.log_softmax(scores, dim=-1)
        logsum = scores[:, :, 1] - logweights[:, :, 1]
        outer = torch.bmm(logweights.exp_().to(values.dtype), values)
        return outer.view(self.size, self._groups, -1), logsum.view(self.size, self._groups)


def scaled_product(queries: torch.Tensor, keys: torch.Tensor, scaling: float) -> torch.Tensor:
    """scaling * queries keys^T in float32: [B, Q, D], [B, K, D] -> [B, Q, K]."""
    if queries.dtype == torch.float32:
        return torch.baddbmm(queries.new_zeros(1, 1, 1), queries, keys.transpose(1, 2), beta=0, alpha=scaling)
    return torch.bmm(queries, keys.transpose(1, 2)).float().mul_(scaling)


def _block_width(counts: Sequence[int]) -> int:
    """The number of tokens per block, chosen so that not much more than half of the places are empty."""
    total, width = sum(counts), max(counts)
    while width > 4 and sum(-(-count // width) * width for count in counts) > 2 * total + 16:
        width = max(4, width // 2)
    return width
