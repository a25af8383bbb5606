"""log p of given tokens, and the entropy of their distributions, from logits or from the states before the last layer.

Many logits at once are never kept: `head_figures` computes them chunk by chunk, forward and again backward. That costs
one more product of the last layer, and needs the memory of one chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agent_rl.learner.processor_linear import product

CHUNK_BYTES = 64 * 2**20
"""The logits of a chunk, in float32."""


@dataclass(frozen=True, slots=True)
class TokenFigures:
    """`logprobs` [n] of the targets, and the `entropies` [n] of their distributions in nats, if they were asked for."""

    logprobs: Tensor
    entropies: Tensor | None = None


class _TokenLogProbability(torch.autograd.Function):
    """log_softmax(logits)[target]; the gradient of a logit is (1{target} - p) times the token's incoming gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        normalizer = logits.logsumexp(-1, keepdim=True)
        ctx.save_for_backward(logits, targets, normalizer)
        return (logits.gather(-1, targets[:, None]) - normalizer).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, targets, normalizer = ctx.saved_tensors
        (grad,) = grads
        result = (logits - normalizer).exp_().mul_(-grad[:, None])
        result.scatter_add_(-1, targets[:, None], grad[:, None])
        return result, None


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log p [n] of targets [n] under softmax(logits / temperature), with logits [n, vocabulary]; at least float32."""
    result: Tensor = _TokenLogProbability.apply(_scaled(logits, temperature), targets)  # pyright: ignore[reportAssignmentType]
    return result


def token_figures(logits: Tensor, targets: Tensor, temperature: float, *, entropies: bool) -> TokenFigures:
    """The figures of n targets under softmax(logits / temperature), with logits [n, vocabulary]."""
    logprobs = token_logprobs(logits, targets, temperature)
    if not entropies:
        return TokenFigures(logprobs)
    every = _scaled(logits, temperature).log_softmax(-1)
    return TokenFigures(logprobs, -(every.exp() * every).sum(-1))


def head_figures(
    states: Tensor, weight: Tensor, targets: Tensor, temperature: float, *, entropies: bool, chunk_bytes: int
) -> TokenFigures:
    """The same from the states [n, width] and the weight [vocabulary, width] of a last layer without bias, in chunks.

    States and weight have one type, in which the products are computed; everything else is at least float32.
    """
    rows = max(1, chunk_bytes // (4 * len(weight)))
    found = _HeadFigures.apply(states, weight, targets, temperature, entropies, rows)
    logprobs, own_entropies = found  # pyright: ignore[reportGeneralTypeIssues]
    return TokenFigures(logprobs, own_entropies if entropies else None)


class _HeadFigures(torch.autograd.Function):
    """(log p, H) of softmax(states weight^T / temperature); of logit j, with z the logits and p their distribution,

    d log p_target / d z_j = 1{j = target} - p_j        d H / d z_j = - p_j (log p_j + H)
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, temperature: float, entropies: bool, rows: int
    ) -> tuple[Tensor, Tensor]:
        logprobs, normalizers, spreads = [], [], []
        for chunk, own in zip(states.split(rows), targets.split(rows), strict=True):
            logits = _scaled(product(chunk, weight), temperature)
            normalizer = logits.logsumexp(-1, keepdim=True)
            logprobs.append((logits.gather(-1, own[:, None]) - normalizer).squeeze(-1))
            normalizers.append(normalizer)
            if entropies:
                every = logits.sub_(normalizer)
                spreads.append(-(every.exp() * every).sum(-1))
        joined = torch.cat(logprobs)
        found = torch.cat(spreads) if entropies else joined.new_zeros(0)
        ctx.save_for_backward(states, weight, targets, torch.cat(normalizers), found)
        ctx.temperature, ctx.entropies, ctx.rows = temperature, entropies, rows
        return joined, found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, targets, normalizers, spreads = ctx.saved_tensors
        of_logprobs, of_entropies = grads
        to_states = torch.empty_like(states)
        to_weight = torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
        for start in range(0, len(states), ctx.rows):
            part = slice(start, start + ctx.rows)
            every = _scaled(product(states[part], weight), ctx.temperature).sub_(normalizers[part])
            chances = every.exp()
            grad = chances * -of_logprobs[part, None]
            if ctx.entropies:
                grad -= chances * (every + spreads[part, None]) * of_entropies[part, None]
            grad.scatter_add_(-1, targets[part, None], of_logprobs[part, None])
            if ctx.temperature != 1.0:
                grad /= ctx.temperature
            grad = grad.to(states.dtype)
            to_states[part] = product(grad, weight.t())
            to_weight += product(grad.t(), states[part].t())
        return to_states, to_weight.to(weight.dtype), None, None, None, None


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """The logits divided by the temperature, in at least float32."""
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return logits / temperature if temperature != 1.0 else logits
