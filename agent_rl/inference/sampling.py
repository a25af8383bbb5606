"""Draws of tokens, each keyed by (request key, position): nothing depends on arrival order or batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def fold_key(key: Sequence[int]) -> int:
    """A 64-bit number for a random key: splitmix64's output function chained over the key's integers."""
    folded = _GOLDEN ^ len(key)
    for part in key:
        folded = (folded ^ (part & _MASK)) + _GOLDEN & _MASK
        folded = ((folded ^ folded >> 30) * _MIX[0]) & _MASK
        folded = ((folded ^ folded >> 27) * _MIX[1]) & _MASK
        folded ^= folded >> 31
    return folded


def uniforms(keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One float64 in [0, 1 - 2^-52] for each (folded key, position): element `position` of splitmix64 from the key.

    keys: uint64 [n]. positions: int64 [n], of the token within its completion.
    """
    x = keys + (positions.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX[0])
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX[1])
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(12)).astype(np.float64) * 2.0**-52


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """top_p and top_k of one row; 1.0 and 0 switch them off."""

    top_p: float
    top_k: int


@dataclass(frozen=True, slots=True)
class Draw:
    """tokens int64 [n] and their log-probabilities float32 [n] under the distributions `probabilities` [n, V]."""

    tokens: np.ndarray
    logprobs: np.ndarray
    probabilities: torch.Tensor


def sample(
    logits: torch.Tensor, u: np.ndarray, temperatures: np.ndarray, filters: dict[int, TokenFilter] | None = None
) -> Draw:
    """One token per row of `logits` [n, V], by the inverse of the distribution function at `u` [n].

    temperatures: [n]; 0 is greedy, with the log-probability at temperature 1. filters: row -> TokenFilter; the
    log-probabilities are then those of the filtered, renormalised distribution.
    """
    logits = logits.float()
    greedy = temperatures == 0
    if not np.all(greedy | (temperatures == 1)):
        divisor = torch.from_numpy(np.where(greedy, 1.0, temperatures).astype(np.float32)).to(logits.device)
        logits = logits / divisor[:, None]
    probabilities = torch.softmax(logits, dim=-1)
    if filters:
        rows = list(filters)
        probabilities[rows] = _filtered(probabilities[rows], list(filters.values()))
    tokens = _invert(probabilities, torch.from_numpy(u).to(logits.device))
    if greedy.any():
        rows = torch.from_numpy(np.flatnonzero(greedy)).to(logits.device)
        tokens[rows] = logits[rows].argmax(dim=-1)
    drawn = probabilities.gather(1, tokens[:, None])[:, 0]
    return Draw(tokens.cpu().numpy(), drawn.log().cpu().numpy(), probabilities)


def top(probabilities: torch.Tensor, count: int) -> list[list[tuple[int, float]]]:
    """The `count` likeliest tokens of each row with their log-probabilities, likeliest first."""
    values, tokens = probabilities.topk(min(count, probabilities.shape[-1]), dim=-1)
    pairs = zip(tokens.tolist(), values.log().tolist(), strict=True)
    return [list(zip(ids, logs, strict=True)) for ids, logs in pairs]


def _filtered(probabilities: torch.Tensor, filters: list[TokenFilter]) -> torch.Tensor:
    """The rows, renormalised, with 0 for tokens outside the top_k and then for tokens beyond the mass top_p.

    The likeliest token always stays. The stable sort breaks ties.
    """
    size = probabilities.shape[-1]
    device = probabilities.device
    ks = torch.tensor([f.top_k if f.top_k > 0 else size for f in filters], device=device)
    ps = torch.tensor([f.top_p for f in filters], dtype=torch.float64, device=device)
    values, order = probabilities.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(size, device=device)
    values = values.double().masked_fill(rank >= ks[:, None], 0.0)
    values /= values.sum(-1, keepdim=True)
    before = values.cumsum(-1) - values
    keep = (before < ps[:, None]) & (rank < ks[:, None]) | (rank == 0)
    kept = torch.zeros_like(values).scatter_(1, order, values * keep)
    return (kept / kept.sum(-1, keepdim=True)).float()


def _invert(probabilities: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """For each row the least token at which the distribution function exceeds u: int64 [n].

    The search has two levels, blocks and tokens within a block, since a running sum over the whole vocabulary is slow.
    A token of probability 0 is never drawn.
    """
    n, size = probabilities.shape
    width = max(16, 1 << ((size.bit_length() + 1) // 2))
    if size % width:
        probabilities = torch.nn.functional.pad(probabilities, (0, width - size % width))
    blocks = probabilities.view(n, -1, width)
    upto = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    target = u * upto[:, -1]
    block = (upto <= target[:, None]).sum(-1)
    rows = torch.arange(n, device=u.device)
    chosen = blocks[rows, block].double().cumsum(-1)
    before = torch.where(block > 0, upto[rows, block - 1], 0.0)
    # the block's sum and its running sum may differ in the last bit: stay below the latter
    limit = torch.nextafter(chosen[:, -1], torch.zeros((), dtype=torch.float64, device=u.device))
    within = (chosen <= torch.minimum(target - before, limit)[:, None]).sum(-1)
    return block * width + within
