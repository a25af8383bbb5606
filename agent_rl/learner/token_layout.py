"""A flat, unpadded stream of tokens that holds each group's prefix once, and the attention over it.

    stream:   [ prefix of group 0 | row | row | ... | prefix of group 1 | row | ... ]        T tokens, no padding
    attends:    itself, causally    its group's prefix, and itself, causally

Everything but attention works token by token, so that one forward pass over [1, T] with explicit positions computes
each group's prefix once. Rows are padded only inside attention, within buckets of similar length. A group whose rows
share tokens beyond its prefix may be a `TokenTree` in the stream, which is a bucket of one row, with windows. The
attention function is registered with transformers under `ATTENTION`. It works for every decoder that takes its
attention from there and passes keyword arguments on to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from agent_rl.errors import ConfigError
from agent_rl.learner.token_tree import IntArray, TokenTree, Window

ATTENTION = "agent_rl_shared_prefix"
MAX_PADDING = 1.15
"""Limit of padded over real tokens in a bucket of rows: above it a new bucket is opened."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """`rows` rows padded to `length`, after a prefix of `prefix` tokens; queries x keys `mask` (None: plain causal).

    reach: the most keys that any query attends to. windows: the windows of a tree, which has no mask as a whole.
    """

    rows: int
    length: int
    prefix: int
    mask: Tensor | None
    reach: int
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a micro-batch's tokens. Index tensors are int64 on the model's device.

    pad: for each place of the padded stream, its position in the stream (padding repeats the row's last token)
        [T_padded]
    unpad: for each token of the stream, its place in the padded stream [T]
    groups: for each group, its prefix as a bucket (None if it has no tokens) and the buckets of its rows
    """

    pad: Tensor
    unpad: Tensor
    groups: tuple[tuple[Bucket | None, tuple[Bucket, ...]], ...]
    sizes: tuple[int, ...]
    """Padded tokens of every bucket in order: prefix, rows, prefix, rows, ..."""

    @property
    def padded(self) -> bool:
        """Whether there is any padding; without padding the padded stream equals the stream."""
        return len(self.pad) > len(self.unpad)

    @property
    def longest(self) -> int:
        """The most keys that any query attends to."""
        return max(b.reach for p, rows in self.groups for b in ((p, *rows) if p else rows))


Shape = tuple[int, Sequence[int]] | TokenTree
"""A group in the stream: (prefix length, row lengths), rows in ascending length and none empty; or a tree."""


def make_layout(groups: Sequence[Shape], device: torch.device, dtype: torch.dtype) -> Layout:
    """The layout of `groups`.

    `dtype` is the type of the additive masks, the same in which attention is computed.
    """
    pad: list[IntArray] = []
    unpad: list[IntArray] = []
    sizes: list[int] = []
    described: list[tuple[Bucket | None, tuple[Bucket, ...]]] = []
    at = padded_at = 0

    def whole(length: int) -> None:
        nonlocal at, padded_at
        pad.append(np.arange(at, at + length))
        unpad.append(np.arange(padded_at, padded_at + length))
        sizes.append(length)
        at += length
        padded_at += length

    for shape in groups:
        if isinstance(shape, TokenTree):
            length = len(shape.ids)
            described.append((None, (Bucket(1, length, 0, None, shape.depth, shape.windows(device, dtype)),)))
            whole(length)
            continue
        prefix_length, row_lengths = shape
        prefix = None
        if prefix_length:
            prefix = Bucket(1, prefix_length, 0, None, prefix_length)
            whole(prefix_length)
        buckets: list[Bucket] = []
        for lengths in _buckets(row_lengths):
            longest = lengths[-1]
            mask = _mask(prefix_length, longest, device, dtype)
            buckets.append(Bucket(len(lengths), longest, prefix_length, mask, prefix_length + longest))
            sizes.append(len(lengths) * longest)
            for length in lengths:
                pad.append(np.minimum(np.arange(at, at + longest), at + length - 1))
                unpad.append(np.arange(padded_at, padded_at + length))
                at += length
                padded_at += longest
        described.append((prefix, tuple(buckets)))
    return Layout(_index(pad, device), _index(unpad, device), tuple(described), tuple(sizes))


def _index(pieces: Sequence[IntArray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces)).to(device)


def _buckets(lengths: Sequence[int]) -> list[list[int]]:
    """`lengths` (ascending) cut into runs whose padding stays within MAX_PADDING."""
    buckets: list[list[int]] = []
    real = 0
    for length in lengths:
        if buckets and (len(buckets[-1]) + 1) * length <= MAX_PADDING * (real + length):
            buckets[-1].append(length)
            real += length
        else:
            buckets.append([length])
            real = length
    return buckets


def _mask(prefix: int, length: int, device: torch.device, dtype: torch.dtype) -> Tensor | None:
    """[length, prefix + length]: 0 where query i sees key j <= prefix + i, -inf elsewhere; None without a prefix."""
    if not prefix:
        return None
    mask = torch.full((length, prefix + length), float("-inf"), device=device, dtype=dtype)
    return mask.triu_(prefix + 1)


class _Pad(torch.autograd.Function):
    """x [T, ...] as the padded stream. Padding is never read, so only real places have a gradient. The gradient is
    gathered, which is far faster than an index add."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return x.index_select(0, layout.pad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].index_select(0, ctx.layout.unpad), None


class _Unpad(torch.autograd.Function):
    """The stream [T, ...] from the padded stream; padding gets a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, layout: Layout) -> Tensor:
        ctx.layout = layout
        return padded.index_select(0, layout.unpad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        layout: Layout = ctx.layout
        result = grads[0].new_zeros((len(layout.pad), *grads[0].shape[1:]))
        return result.index_copy_(0, layout.unpad, grads[0]), None


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention over a flat stream: query [1, H, T, d], key and value [1, H_kv, T, d]; returns ([1, T, H, d], None)."""
    if layout is None:
        raise ValueError("the shared-prefix attention needs the keyword argument `layout`")
    if (sliding_window is not None and sliding_window < layout.longest) or softcap is not None:
        raise ConfigError("models with a sliding window shorter than a row, or capped logits, are not supported")
    repeat = query.shape[1] // key.shape[1]
    with torch.autocast(query.device.type, enabled=False):
        parts = [_to_parts(x, layout, r) for x, r in ((query, 1), (key, repeat), (value, repeat))]
        flat = torch.cat(_attend_all(layout, zip(*parts, strict=True), scaling))
        if layout.padded:
            flat = _Unpad.apply(flat, layout)
    return flat.to(query.dtype)[None], None


def _attend_all(layout: Layout, parts: Iterator[tuple[Tensor, ...]], scaling: float | None) -> list[Tensor]:
    """The attention output of every bucket in order, from its (query, key, value)."""
    outputs: list[Tensor] = []
    for prefix, buckets in layout.groups:
        prefix_keys = prefix_values = None
        if prefix is not None:
            q, prefix_keys, prefix_values = next(parts)
            outputs.append(_attend(q, prefix_keys, prefix_values, prefix, scaling))
        for bucket in buckets:
            q, k, v = next(parts)
            if bucket.windows:
                outputs += [_attend_window(q, k, v, window, scaling) for window in bucket.windows]
                continue
            outputs.append(
                _attend(q, _after(prefix_keys, k, bucket), _after(prefix_values, v, bucket), bucket, scaling)
            )
    return outputs


def _to_parts(x: Tensor, layout: Layout, repeat: int) -> tuple[Tensor, ...]:
    """x [1, H, T, d] padded and cut into buckets [rows * length, H * repeat, d].

    On the CPU in float32: the half-precision backward of its attention kernel is several times slower.
    """
    flat = x[0].transpose(0, 1)
    if flat.device.type == "cpu" and flat.dtype == torch.bfloat16:
        flat = flat.float()
    if layout.padded:
        flat = _Pad.apply(flat, layout)
    if repeat > 1:
        flat = flat.repeat_interleave(repeat, dim=1)
    return flat.split(layout.sizes)


def _after(prefix: Tensor | None, x: Tensor, bucket: Bucket) -> Tensor:
    """The prefix [P, H, d] before every row of x [rows * length, H, d], as [rows * (P + length), H, d]."""
    if prefix is None:
        return x
    rows = x.unflatten(0, (bucket.rows, bucket.length))
    return torch.cat([prefix.expand(bucket.rows, *prefix.shape), rows], dim=1).flatten(0, 1)


def _attend(q: Tensor, k: Tensor, v: Tensor, bucket: Bucket, scaling: float | None) -> Tensor:
    """Attention within a bucket, from and to [rows * length, H, d]."""
    q, k, v = (x.unflatten(0, (bucket.rows, -1)).transpose(1, 2) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=bucket.mask, is_causal=bucket.mask is None, scale=scaling
    )
    return out.transpose(1, 2).flatten(0, 1)


def _attend_window(q: Tensor, k: Tensor, v: Tensor, window: Window, scaling: float | None) -> Tensor:
    """Attention of a window of a tree [T, H, d], to [stop - start, H, d]."""
    q = q[window.start : window.stop]
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k.index_select(0, window.keys), v.index_select(0, window.keys)))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=window.mask, scale=scaling)
    return out[0].transpose(0, 1)


def use_shared_prefix_attention(model: PreTrainedModel) -> None:
    """`model` computes its attention with `shared_prefix_attention`. Raises ConfigError when that is impossible."""
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    try:
        model.set_attn_implementation(ATTENTION)
    except ValueError as error:
        raise ConfigError(
            f"{type(model).__name__} does not take its attention from transformers' interface: {error}"
        ) from None
